"""Live bars of Yahoo Finance through yfinance, and a cache of finished bars."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing import TimeoutError as NoResult
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DownloadError, MissingDependency, OutputError, one_line, shown
from ..files import atomic_write, safe_name
from .bars import load_bars
from .names import PRICES

ANSWER = 10.0  # seconds for one answer
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts
LATE = pd.Timedelta("30min")  # by then exchanges that report late have reported
SETTLED = timedelta(days=7)  # by then a bar that Yahoo doesn't have won't come any more
# Days for which Yahoo keeps parts of a day; years of the others that are asked for by default
REACH = {"1m": 7, **dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59), "60m": 729, "1h": 729}
YEARS = {"1d": 3, "1wk": 10, "1mo": 20}
PERIODS = {"1wk": "W", "1mo": "M"}  # made of days: Yahoo adjusts its own in another way
CELLS = [*PRICES, "volume"]
FORMAT = 3  # of cached files; others are taken for missing
DTYPES = {"date": "datetime64[ns]", **dict.fromkeys(CELLS, "float64")}
# But no ISIN, for which yfinance would answer under another name
SYMBOL = re.compile(r"(?![A-Z]{2}[A-Z0-9]{9}[0-9]$)[A-Z0-9^][A-Z0-9^=.&_+$-]{0,29}")
WORKER = "tftnhits-yahoo"  # name of the thread that asks


@dataclass
class History:
    """Finished bars of one symbol: all that Yahoo has from day `first` to day `last`."""

    bars: pd.DataFrame  # CELLS, by local date
    first: date
    last: date
    zone: str  # of the dates
    unfinished: str = ""  # the bar that was left out

    def between(self, first: date, last: date) -> History | None:
        """Its bars of some days; None if there are none."""
        bars = self.bars.loc[str(first) : str(last)]
        unfinished = self.unfinished if self.unfinished[:10] <= str(last) else ""
        last = min(last, self.last)
        return replace(self, bars=bars, last=last, unfinished=unfinished) if len(bars) else None


class Failed(Exception):
    """Why Yahoo gave no bars, as the end of a sentence that starts with its name."""

    def __init__(self, why: str, again=False, missing=False, for_all=False) -> None:
        super().__init__(why)
        self.again = again  # it may work in a moment
        self.missing = missing  # Yahoo says that it has no such bars
        self.for_all = for_all  # nor would it give those of another symbol


def download_bars(
    symbols: str | Iterable[str],
    start: str | date | None = None,
    end: str | date | None = None,
    interval: str = "1d",
    seconds: float | None = None,
) -> pd.DataFrame:
    """Validated bars of Yahoo Finance, adjusted for splits and dividends, as `load_bars` has them.

    Finished bars are cached in the folder TFTNHITS_CACHE (default: the user's cache folder). Where
    Yahoo fails, cached bars stand in, and a UserWarning says so.

    Parameters
    ----------
    symbols : one or many of Yahoo's: "AAPL", "AAPL KO", ["^GSPC", "EURUSD=X", "BTC-USD"]
    start, end : first and last day, both included; by default the last 3 years of days, 10 of
        weeks, 20 of months, all that Yahoo has of parts of a day (adjusted for splits alone)
    interval : "1d", "1wk", "1mo", "1m" (7 days), "2m", "5m", "15m", "30m", "90m" (59), "1h" (729)
    seconds : the time for all; by default 60, and one more a symbol

    Returns
    -------
    Frame of the exchange's local dates; a week's is its Monday, a month's its 1st. Bars that are
    not finished are left out, which `repairs(bars)` tells. `attrs["zones"]` has the dates' IANA
    zones by symbol ("UTC" where autumn's hour comes twice), `attrs["warnings"]` what was warned of.

    Raises
    ------
    DataError on bad arguments or bars, and on what Yahoo doesn't have; DownloadError if it fails;
    MissingDependency without yfinance.
    """
    names = _symbols(symbols)
    first, last = _days(start, end, interval)
    seconds = 60.0 + len(names) if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise DataError(f"seconds is {shown(seconds)}; give a number above 0, such as 60.")
    basis = {"60m": "1h", "1wk": "1d", "1mo": "1d"}.get(interval, interval)
    notes: dict[str, list[str]] = {}
    histories: dict[str, History] = {}
    failures: dict[str, Failed] = {}
    with warnings.catch_warnings(), _Client(basis, seconds) as client:
        warnings.filterwarnings("ignore", module="yfinance")  # about its own use of pandas
        for name in names:
            try:
                histories[name] = _history(name, first, last, client, notes)
            except Failed as failure:
                failures[name] = failure
    _refuse(failures)
    bars = _assembled(histories, interval)
    bars.attrs["warnings"] = [f"{note}: {_listed(causes)}." for note, causes in notes.items()]
    for text in bars.attrs["warnings"]:
        warnings.warn(text, stacklevel=2)
    return bars


def cache_folder() -> Path:
    """TFTNHITS_CACHE, else tftnhits in the user's cache folder."""
    from platformdirs import user_cache_path

    given = os.environ.get("TFTNHITS_CACHE")
    return Path(given).expanduser().absolute() if given else user_cache_path("tftnhits", False)


def is_symbol(name: Any) -> bool:
    """Whether `name` looks like a symbol of Yahoo Finance, in any case."""
    return isinstance(name, str) and SYMBOL.fullmatch(name.upper()) is not None


def _symbols(symbols: Any) -> list[str]:
    given = symbols.replace(",", " ").split() if isinstance(symbols, str) else symbols
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise DataError(f"symbols are {shown(symbols)}; give one such as 'AAPL', or a list.")
    names = [name.strip().upper() if isinstance(name, str) else name for name in given]
    for name in names:
        if not is_symbol(name):
            raise DataError(f"{shown(name)} is no symbol of Yahoo; give one as 'AAPL' or '7203.T'.")
    names = list(dict.fromkeys(names))
    if not 0 < len(names) <= 500:
        raise DataError(f"There are {len(names) or 'no'} symbols to download; give 1 to 500.")
    return names


def _days(start: Any, end: Any, interval: Any) -> tuple[date, date]:
    """The first and the last day to ask for; of weeks and months, whole ones."""
    if not isinstance(interval, str) or interval not in YEARS | REACH:
        choice = ", ".join(YEARS | REACH)
        raise DataError(f"There is no interval {shown(interval)}; choose one of {choice}.")
    today = pd.Timestamp.now("UTC").date()
    ahead = today + timedelta(days=1)  # it is tomorrow in the east
    last = ahead if end is None else min(_day(end, "end"), ahead)
    if start is not None:
        first = _day(start, "start")
    elif interval in REACH:
        first = today - timedelta(days=REACH[interval])
    else:
        first = (pd.Timestamp(last) - pd.DateOffset(years=YEARS[interval])).date()
    if first > last:
        raise DataError(f"start {first} comes after the last day, {last}; give an earlier one.")
    if period := PERIODS.get(interval):
        return pd.Period(first, period).start_time.date(), pd.Period(last, period).end_time.date()
    return first, last


def _day(value: Any, argument: str) -> date:
    with suppress(ValueError):  # NaT has no date
        if isinstance(value, str):
            value = date.fromisoformat(value.strip())
        if isinstance(value, date | np.datetime64) and pd.Timestamp(value).date().year >= 1900:
            return pd.Timestamp(value).date()
    raise DataError(f"{argument} is {shown(value)}; write a date from 1900 on as 2012-01-31.")


def _refuse(failures: dict[str, Failed]) -> None:
    """Raise the first failure; what Yahoo doesn't have goes before what may work later."""
    missing = [name for name, failure in failures.items() if failure.missing]
    if missing:
        what = f"{failures[missing[0]]}; check spelling and dates of {_listed(missing)}"
        raise DataError(f"Yahoo Finance {what}, or leave out what it doesn't have.")
    for failure in failures.values():
        what = f"{failure}, and {_listed(list(failures))} can't be had from the cache"
        offer = "try again later, or take the bundled bars: tn.load_bars('stocks')"
        raise DownloadError(f"Yahoo Finance {what}; {offer}.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _history(
    name: str, first: date, last: date, client: _Client, notes: dict[str, list[str]]
) -> History:
    """The bars asked for: from the cache if it has all, else from Yahoo if that can be."""
    path = cache_folder() / "yahoo" / client.interval / f"{safe_name(name)}.parquet"
    cached = load(path)
    usable = cached.between(first, last) if cached else None
    if usable and cached.first <= first and last <= cached.last:
        return usable
    earliest = pd.Timestamp.now("UTC").date() - timedelta(REACH.get(client.interval, 100_000))
    if first < earliest:
        what = f"{client.interval} bars for {REACH[client.interval]} days"
        choice = f"start on {earliest} or later, or choose a longer interval"
        raise DataError(f"Yahoo Finance keeps {what}; {choice}.")
    try:
        # All of it anew: a split or a dividend changes every price before
        since, until = first, last
        if cached:
            since, until = min(first, max(cached.first, earliest)), max(last, cached.last)
        history = client.ask(name, since, until)
        wanted = history.between(first, last)
        if wanted is None:
            raise Failed(f"has no finished bars of {name} from {first} to {last}", missing=True)
    except Failed as failure:
        if usable is None:
            raise
        days = usable.bars.index.date
        note = f"Yahoo Finance {failure}, so cached bars stand in"
        notes.setdefault(note, []).append(f"{name} ({days[0]} to {days[-1]})")
        return usable
    load_bars(history.bars.reset_index().assign(symbol=name))  # raises before bad bars are cached
    try:
        save(path, history)
    except OutputError as error:
        notes["Downloaded bars are not cached"] = [str(error).rstrip(".")]
    return wanted


def load(path: Path) -> History | None:
    """What the cache's file holds; None if it is missing, damaged or of another format."""
    try:
        bars = pd.read_parquet(path)
        record = json.loads(bars.attrs.pop("tftnhits"))
        first, last = date.fromisoformat(record["first"]), date.fromisoformat(record["last"])
        sound = record["format"] == FORMAT and bars.dtypes.astype(str).to_dict() == DTYPES
        sound = sound and last <= pd.Timestamp.now("UTC").date() + timedelta(days=1)
        sound = sound and bars["date"].is_monotonic_increasing and bars["date"].is_unique
        sound = sound and len(bars) and (bars["close"] > 0).all()
        return History(bars.set_index("date"), first, last, record["zone"]) if sound else None
    except Exception:  # anything may be in a file, and readers raise a dozen kinds
        return None


def save(path: Path, history: History) -> None:
    """Keep all but `unfinished`, whole or not at all; raises OutputError."""
    record = {"format": FORMAT, "zone": history.zone}
    record |= {"first": str(history.first), "last": str(history.last)}
    bars = history.bars.reset_index().astype(DTYPES)
    bars.attrs["tftnhits"] = json.dumps(record)
    atomic_write(path, bars.to_parquet(index=False))


def _assembled(histories: dict[str, History], interval: str) -> pd.DataFrame:
    """The frame of all, and its attrs, which are plain values so that the frame can be saved."""
    parts = []
    repairs = []
    for name, history in histories.items():
        bars, unfinished = history.bars, history.unfinished
        if interval in PERIODS:
            bars, unfinished = _coarser(bars, PERIODS[interval], history.last)
        if not len(bars):
            raise DataError(f"Yahoo Finance has no finished {interval} of {name}; start earlier.")
        parts.append(bars.reset_index().assign(symbol=name))
        if unfinished:
            repair = {"symbol": name, "repair": "unfinished bar left out", "count": 1}
            repairs.append(repair | {"first": unfinished, "example": ""})
    bars = load_bars(pd.concat(parts, ignore_index=True))
    bars.attrs["repairs"] += repairs
    bars.attrs["zones"] = {name: history.zone for name, history in histories.items()}
    return bars


def _coarser(bars: pd.DataFrame, period: str, covered: date) -> tuple[pd.DataFrame, str]:
    """Weeks or months of days; the last is left out, and its start told, if it lacks days."""
    periods = bars.index.to_period(period)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    whole = bars.groupby(periods.start_time.rename("date")).agg(how)
    final = periods[-1].end_time.date()
    if not (bars.index.day_of_week >= 5).any():  # closed at weekends
        final -= timedelta(days=max(0, final.weekday() - 4))
    if max(bars.index[-1].date(), covered) >= final:
        return whole, ""
    return whole[:-1], str(periods[-1].start_time.date())


class _Client:
    """yfinance in a daemon thread: neither an interrupt nor the process's end waits for Yahoo."""

    def __init__(self, interval: str, seconds: float) -> None:
        try:
            import tenacity  # noqa: F401 (it is for `_patiently`)
            import yfinance
        except (ImportError, OSError) as error:
            raise MissingDependency(
                "Live data needs yfinance and tenacity; pip install 'tftnhits[live-data]', or take "
                "bundled bars: tn.load_bars('stocks')."
            ) from error
        yfinance.set_tz_cache_location(str(cache_folder() / "yfinance"))
        logging.getLogger("yfinance").addFilter(_of_others)
        self.debug = yfinance.config.debug
        self.interval = interval  # of a part of a day, or "1d"
        self.deadline = time.monotonic() + seconds
        self.over = threading.Event()  # nobody waits any more
        self.down: Failed | None = None  # why no other symbol needs to be asked for

    def __enter__(self) -> _Client:
        # One thread: many would lock yfinance's databases, and be a burst to Yahoo
        self.pool = ThreadPool(1, lambda: setattr(threading.current_thread(), "name", WORKER))
        self.hidden, self.debug.hide_exceptions = self.debug.hide_exceptions, False
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.pool.terminate()
        self.debug.hide_exceptions = self.hidden

    def ask(self, name: str, first: date, last: date) -> History:
        """The bars of these days, with as many attempts as there is time for; raises Failed."""
        if self.down:
            raise self.down
        left = max(self.deadline - time.monotonic(), 0.0)
        call = self.pool.apply_async(
            _patiently, (self.over, left, name, first, last, self.interval)
        )
        try:
            return call.get(left)
        except NoResult:
            failure = Failed("doesn't answer in time", for_all=True)
        except Failed as error:
            failure = error
        self.down = failure if failure.for_all else None
        raise failure


def _of_others(record: logging.LogRecord) -> bool:
    """What fails in a download is told once, by us."""
    return record.threadName != WORKER


def _patiently(over: threading.Event, seconds: float, *what: Any) -> History:
    """`_attempt` until it works, for `seconds` at most and until it is over."""
    from tenacity import Retrying, retry_if_exception, wait_chain, wait_fixed
    from tenacity.stop import stop_after_attempt, stop_before_delay, stop_when_event_set

    stop = stop_after_attempt(len(WAITS) + 1) | stop_before_delay(seconds)
    again = retry_if_exception(lambda error: getattr(error, "again", False))
    wait = wait_chain(*map(wait_fixed, WAITS))
    stop = stop | stop_when_event_set(over)
    return Retrying(stop=stop, wait=wait, retry=again, sleep=over.wait, reraise=True)(
        _attempt, *what
    )


def _attempt(name: str, first: date, last: date, interval: str) -> History:
    """One symbol's bars, or why there are none: yfinance's exceptions tell."""
    from yfinance import Ticker, exceptions
    from yfinance.data import YfData

    with suppress(AttributeError):
        YfData.cache_get.cache_clear()  # it keeps failed answers, too
    ticker = Ticker(name)
    days = {"start": str(first), "end": str(last + timedelta(days=1))}  # its end is exclusive
    unreadable = "gives no answer that yfinance can read"
    try:
        frame = ticker.history(**days, interval=interval, timeout=ANSWER)
        return _finished(frame, ticker.history_metadata, first, last, interval)
    except exceptions.YFRateLimitError as error:
        raise Failed("gets too many requests from here", again=True, for_all=True) from error
    except exceptions.YFTzMissingError as error:
        raise Failed(f"knows no symbol {name!r}", missing=True) from error
    except exceptions.YFPricesMissingError as error:
        reason = error.yahoo_reason
        if not reason and not ticker.history_metadata.get("symbol"):  # HTTP 500, say
            raise Failed(f"{unreadable} (no bars and no reason)", again=True) from error
        why = f" ({one_line(reason, 120).rstrip('.')})" if reason else ""
        wanted = f"{interval} bars of {name} from {first} to {last}"
        raise Failed(f"has no {wanted}{why}", missing=True) from error
    except Failed:
        raise
    except Exception as error:  # of curl or requests, SQLite, pandas
        kind = type(error).__name__
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == 404:
            raise Failed(f"knows no symbol {name!r}", missing=True) from error
        if not isinstance(error, OSError) or isinstance(error, ValueError) or status:
            raise Failed(f"{unreadable} ({kind})", again=True) from error
        if "timeout" in kind.lower():
            raise Failed("doesn't answer in time") from error
        raise Failed(f"can't be reached ({kind})", for_all=True) from error


def _finished(frame: pd.DataFrame, meta: Any, first: date, last: date, interval: str) -> History:
    """yfinance's frame in our form, without the bar that isn't finished."""
    zone, local = str(frame.index.tz), frame.index.tz_localize(None)
    if not local.is_monotonic_increasing or not local.is_unique:  # autumn's hour comes twice
        zone, local = "UTC", frame.index.tz_convert("UTC").tz_localize(None)
    # Bars, but for the last if it can change
    priced = frame[["Open", "High", "Low", "Close"]].notna().any(axis=1)
    bars = frame.rename(columns=str.lower)[CELLS].astype("float64")
    bars = bars.set_axis(local.astype("datetime64[ns]").rename("date"))[priced.to_numpy()]
    unfinished = ""
    if len(bars) and _can_change(frame.index[priced][-1], interval, meta):
        unfinished = str(bars.index[-1]).removesuffix(" 00:00:00")
        bars = bars[:-1]
    if not len(bars):
        raise Failed(f"has no finished bars of {meta.get('symbol')} yet", missing=True)
    # More may come of the last days, and of a day with bars of its parts
    latest = bars.index[-1].date() - timedelta(days=interval != "1d")
    covered = max(latest, pd.Timestamp.now(frame.index.tz).date() - SETTLED)
    return History(bars, first, min(last, covered), zone, unfinished)


def _can_change(start: pd.Timestamp, interval: str, meta: Any) -> bool:
    """Whether the bar that begins at `start` is not finished."""
    now = pd.Timestamp.now(start.tz)
    try:  # today's session or, once it is over, the next day's
        session, traded = meta["currentTradingPeriod"]["regular"], meta["regularMarketTime"]
        opens, closes, traded = map(pd.Timestamp, (session["start"], session["end"], traded))
        if interval == "1d" and start.date() != opens.tz_convert(start.tz).date():
            return start.date() >= max(opens.tz_convert(start.tz).date(), now.date())
    except (LookupError, TypeError, ValueError):
        return start.date() >= now.date()
    ends = closes if interval == "1d" else start + pd.Timedelta(interval)
    ends = min(ends, closes) if start < closes else ends
    return bool(traded < ends and now < ends + LATE)
