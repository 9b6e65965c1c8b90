"""Live bars of Yahoo Finance, and a cache of finished bars that is brought up to date by what is missing.

One `Ticker.history` of yfinance a symbol, rather than one `download` for all: each symbol lacks other days, fails for a
reason of its own, and has a time zone of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DownloadError, OutputError, shown
from ..files import atomic_write, safe_name
from .bars import load_bars
from .repair import COLUMNS, PRICES, REPORT, validate_bars
from .yahoo_client import ACTIONS, STORED, THREAD, Call, Failed, Series, ask, client

SECONDS = 60.0  # for a call, and one more for each symbol
MOST = 500  # symbols a call
OVERLAP = 5  # bars asked for again, to see whether their adjustment has changed
TOLERANCE = 1e-5  # relative: Yahoo's prices are 32-bit floats, and hardly a dividend is smaller
# days for which Yahoo keeps bars of parts of a day; years of the others that are asked for by default
REACH = {"1m": 7, **dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59), "60m": 729, "1h": 729}
YEARS = {"1d": 3, "1wk": 10, "1mo": 20}
FORMAT = 1  # of cached files; others are taken for missing

_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9^=.&_+$-]{0,29}")
_ISIN = re.compile(
    "[A-Z]{2}[A-Z0-9]{9}[0-9]"
)  # yfinance would look for it, and answer under another name


def download_bars(
    symbols: str | Iterable[str],
    start: str | date | None = None,
    end: str | date | None = None,
    interval: str = "1d",
    seconds: float | None = None,
) -> pd.DataFrame:
    """Validated bars of Yahoo Finance in the frame of `load_bars`: symbol, date, open, high, low, close, volume.

    symbols: Yahoo's, one or many: "AAPL", "AAPL KO", ["^GSPC", "EURUSD=X", "BTC-USD"]. start, end: first and last day,
    both included; by default up to now, from 3 years ago for days ("1d"), 10 for weeks ("1wk"), 20 for months ("1mo"),
    and for parts of a day as far back as Yahoo goes: 7 days for "1m", 59 for "2m", "5m", "15m", "30m" and "90m", 729
    for "1h". Prices are adjusted for splits and dividends (yfinance's auto_adjust=True; within a day for splits alone),
    volumes for splits. Dates are the exchange's, without a zone: the day, the local time at which a bar within the day
    starts, a week's Monday, a month's 1st. A bar that is not finished is left out, and `repairs(bars)` says so.
    bars.attrs has, as plain values, "actions" (each dividend, split and capital gain), "listings" (each symbol's
    time_zone, exchange, kind and currency), "repairs" and "warnings".

    Finished bars are cached, a file a symbol, in the folder TFTNHITS_CACHE (default: the user's cache folder). Only
    days that are missing are asked for; after a split or dividend, all; days that are all cached stay as they were
    adjusted then. Where Yahoo fails, or `seconds` are over (by default 60, and one more a symbol), cached bars stand
    in, and a UserWarning says so; what has come is kept.
    Raises DataError on bad arguments, on what Yahoo doesn't have and on bars that can't be repaired, DownloadError
    where Yahoo fails and nothing is cached, MissingDependency without yfinance.
    """
    names, (first, last) = _symbols(symbols), _days(start, end, interval)
    seconds = SECONDS + len(names) if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise DataError(f"seconds is {shown(seconds)}; give a number above 0, such as {SECONDS:g}.")
    asked = {"60m": "1h", "1wk": "1d", "1mo": "1d"}.get(interval, interval)
    ticker = client(str(cache_folder() / "yfinance"))
    call = Call(asked, first, last, time.monotonic() + seconds, ticker)
    series = _gather(names, call)
    bars = _assembled(series, interval)
    bars.attrs["warnings"] = [*call.notes, *_stale(call.stale, series)]
    for text in bars.attrs["warnings"]:
        warnings.warn(text, stacklevel=2)
    return bars


def cache_folder() -> Path:
    """TFTNHITS_CACHE, else tftnhits in the user's cache folder."""
    if own := os.environ.get("TFTNHITS_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return Path(base or os.path.expanduser("~/.cache")).absolute() / "tftnhits"


def is_symbol(name: Any) -> bool:
    """Whether `name` looks like a symbol of Yahoo Finance, in any case."""
    return (
        isinstance(name, str)
        and bool(_SYMBOL.fullmatch(name.upper()))
        and not _ISIN.fullmatch(name.upper())
    )


# --- arguments


def _symbols(symbols: Any) -> list[str]:
    given = symbols.replace(",", " ").split() if isinstance(symbols, str) else symbols
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise DataError(
            f"symbols are {shown(symbols)}; give one such as 'AAPL', or a list of them."
        )
    names = [name.strip().upper() if isinstance(name, str) else name for name in given]
    for name in names:
        if not is_symbol(name):
            raise DataError(
                f"{shown(name)} is no symbol of Yahoo Finance; they look like 'AAPL', '^GSPC' or '7203.T'."
            )
    names = list(dict.fromkeys(names))
    if not 0 < len(names) <= MOST:
        raise DataError(
            f"There are {len(names) or 'no'} symbols to download; give 1 to {MOST} in one call."
        )
    return names


def _days(start: Any, end: Any, interval: Any) -> tuple[date, date]:
    """The first and the last day to ask for; of weeks and months, whole ones."""
    if not isinstance(interval, str) or interval not in REACH | YEARS:
        raise DataError(
            f"There is no interval {shown(interval)}; choose one of {', '.join(YEARS | REACH)}."
        )
    ahead = _today() + timedelta(days=1)  # it is tomorrow in the east
    last = ahead if end is None else min(_day(end, "end"), ahead)
    if start is not None:
        first = _day(start, "start")
    elif interval in REACH:
        first = _today() - timedelta(days=REACH[interval])
    else:
        first = (pd.Timestamp(last) - pd.DateOffset(years=YEARS[interval])).date()
    if first > last:
        after = "today" if first > ahead else f"end {last}"
        raise DataError(f"start {first} comes after {after}; give an earlier one.")
    if interval in ("1wk", "1mo"):
        first, last = _span(first, interval)[0], _span(last, interval)[1] - timedelta(days=1)
    return first, last


def _day(value: Any, name: str) -> date:
    with suppress(ValueError):  # NaT has no date
        if isinstance(value, str):
            value = date.fromisoformat(value.strip())
        elif isinstance(value, datetime | np.datetime64):
            value = pd.Timestamp(value).date()
        if isinstance(value, date) and value.year >= 1900:
            return value
    raise DataError(f"{name} is {shown(value)}; write a date from 1900 on as 2012-01-31.")


def _today() -> date:
    return pd.Timestamp.now("UTC").date()


def _span(day: date, interval: str) -> tuple[date, date]:
    """The first day of the week or month of `day`, and that of the next."""
    if interval == "1wk":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    return day.replace(day=1), (day.replace(day=1) + timedelta(days=32)).replace(day=1)


# --- all symbols together


def _gather(names: list[str], call: Call) -> dict[str, Series]:
    """Each symbol's bars of the days asked for, from Yahoo or from the cache; raises DataError, DownloadError."""
    from tqdm.auto import tqdm  # costs more than all else that is imported here

    found: dict[str, Series] = {}
    failed: dict[str, Failed] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="yfinance")  # about its own use of pandas
        try:
            for name, one in tqdm(
                _in_turn(names, call),
                "Yahoo Finance",
                len(names),
                unit="symbol",
                disable=len(names) < 10,
            ):
                if isinstance(one, Series):
                    found[name] = one
                elif isinstance(one, Failed):
                    failed[name] = one
                else:
                    raise one
        finally:
            call.over.set()
    if unknown := [name for name, error in failed.items() if not error.known]:
        same = f" (the same goes for {_named(unknown[1:])})" if len(unknown) > 1 else ""
        raise DataError(
            f"Yahoo Finance {failed[unknown[0]]}{same}; check spelling and dates, or leave it out."
        )
    for error in failed.values():
        raise DownloadError(
            f"Yahoo Finance {error}, and {_named([*failed])} can't be had from the cache; try again later, or take the "
            "bundled bars: tn.load_bars('stocks')."
        )
    return found


def _in_turn(names: list[str], call: Call) -> Iterator[tuple[str, Series | Exception]]:
    """Each symbol and its bars, or why there are none.

    One after the other, over one connection: at once they would undo each other's warning filters (yfinance and pandas
    set them all the time), lock yfinance's databases, and be a burst to Yahoo. In a thread, so that an interrupt need
    not wait for Yahoo.
    """
    done: SimpleQueue[tuple[str, Series | Exception]] = SimpleQueue()

    def work() -> None:
        for name in names:
            if call.over.is_set():
                return
            try:
                done.put((name, _current(name, call)))
            except Exception as error:
                done.put((name, error))

    Thread(target=work, name=THREAD, daemon=True).start()
    for _ in names:
        yield done.get()


def _named(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _stale(stale: dict[str, str], series: dict[str, Series]) -> list[str]:
    """A sentence for each reason why cached bars had to do."""
    texts = []
    for why in dict.fromkeys(stale.values()):
        spans: dict[str, list[str]] = {}
        for name in (name for name in series if stale.get(name) == why):
            dates = series[name].priced["date"]
            spans.setdefault(f"{dates.iloc[0]:%Y-%m-%d} to {dates.iloc[-1]:%Y-%m-%d}", []).append(
                name
            )
        listed = "; ".join(f"{_named(names)} ({span})" for span, names in spans.items())
        texts.append(f"Yahoo Finance {why}, so cached bars stand in: {listed}.")
    return texts


def _assembled(series: dict[str, Series], interval: str) -> pd.DataFrame:
    """The frame of all, and its attrs, which are plain values so that the frame can be saved."""
    parts, left_out, actions = [], [], []
    for name, one in series.items():
        bars, cut = one.priced, one.unfinished
        if interval in ("1wk", "1mo"):
            bars, cut = _coarser(bars, interval, one.last)
        if not len(bars):
            raise DataError(
                f"Yahoo Finance has no finished bar ({interval}) of {name} yet; start earlier."
            )
        if cut:
            left_out.append(dict(zip(REPORT, (name, "unfinished bar left out", 1, cut, ""))))
        found = one.bars.assign(symbol=name, date=one.bars["date"].dt.strftime("%Y-%m-%d"))
        found = found.melt(["symbol", "date"], list(ACTIONS.values()), "action", "value")
        actions += found[found["value"] != 0].sort_values("date", kind="stable").to_dict("records")
        parts.append(bars.assign(symbol=name))
    bars = load_bars(pd.concat(parts, ignore_index=True)[list(COLUMNS)])
    bars.attrs["repairs"] += left_out
    bars.attrs["actions"] = actions
    bars.attrs["listings"] = [{"symbol": name, **one.listing} for name, one in series.items()]
    return bars


def _coarser(bars: pd.DataFrame, interval: str, covered: date) -> tuple[pd.DataFrame, str]:
    """Weeks or months of days; the last is left out, and its start told, if not all of its days are there.

    Yahoo adjusts its own weeks and months otherwise than its days.
    """
    starts = bars["date"].map(lambda day: pd.Timestamp(_span(day.date(), interval)[0]))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    whole = bars.groupby(starts).agg(how).rename_axis("date").reset_index()
    latest = bars["date"].iloc[-1].date()
    final = _span(latest, interval)[1] - timedelta(days=1)
    if not (bars["date"].dt.day_of_week >= 5).any():  # closed at weekends
        final -= timedelta(days=max(0, final.weekday() - 4))
    return (
        (whole, "")
        if max(latest, covered) >= final
        else (whole[:-1], f"{starts.iloc[-1]:%Y-%m-%d}")
    )


# --- one symbol, in a thread


def _current(name: str, call: Call) -> Series:
    """The bars of `name` asked for: from the cache, brought up to date where need be and if that can be."""
    path = cache_folder() / "yahoo" / call.interval / f"{safe_name(name)}.parquet"
    held = load(path)
    usable = held is not None and len(held.within(call.first, call.last).priced)
    if usable and held.first <= call.first and call.last <= held.last:
        return held.within(call.first, call.last)
    try:
        series = _updated(name, held, call)
        if not len(series.within(call.first, call.last).priced):
            raise Failed(
                f"has no {call.interval} bars of {name} from {call.first} to {call.last}",
                known=False,
            )
    except Failed as error:
        call.down = error if error.down or not call.heard else call.down
        if not usable:
            raise
        call.stale[name] = str(error)
        return held.within(call.first, call.last)
    try:
        save(path, series)
    except OutputError as error:
        call.notes = [f"Downloaded bars are not cached: {error}"]
    return series.within(call.first, call.last)


def _updated(name: str, held: Series | None, call: Call) -> Series:
    """`held` with the missing days; all days anew where nothing is held, or with prices that are adjusted otherwise."""
    floor = _today() - timedelta(days=REACH[call.interval]) if call.interval in REACH else date.min
    first, last, series = call.first, call.last, held
    if held is not None:
        edge = min(OVERLAP, len(held.priced))
        gaps = [(held.priced["date"].iloc[-edge].date(), last)] if last > held.last else []
        gaps += [(first, held.priced["date"].iloc[edge - 1].date())] if first < held.first else []
        for since, until in gaps:
            series = _joined(series, ask(name, since, until, call)) if since >= floor else None
            if series is None:
                break
        if call.interval not in REACH:
            first = min(first, held.first)
        last = max(last, held.last)
    if series is None:
        if first < floor:
            raise DataError(
                f"Yahoo Finance keeps {call.interval} bars for {REACH[call.interval]} days; start on {floor} or later, "
                "or choose a longer interval."
            )
        series = ask(name, first, last, call)
    validate_bars(
        series.priced.assign(symbol=name)[list(COLUMNS)]
    )  # what can't be repaired must not be cached
    return series


def _joined(held: Series, part: Series) -> Series | None:
    """Both in one, or None where they differ in the days that both have."""
    since = max(held.priced["date"].iloc[0], part.priced["date"].iloc[0])
    until = min(held.priced["date"].iloc[-1], part.priced["date"].iloc[-1])
    old, new = (one.priced[one.priced["date"].between(since, until)] for one in (held, part))
    if not len(old) or list(old["date"]) != list(new["date"]):
        return None
    prices = list(PRICES)
    if not np.allclose(old[prices], new[prices], rtol=TOLERANCE, atol=0, equal_nan=True):
        return None
    bars = pd.concat([held.bars[~held.bars["date"].isin(part.bars["date"])], part.bars])
    first, last = min(held.first, part.first), max(held.last, part.last)
    unfinished = held.unfinished or part.unfinished
    return Series(
        bars.sort_values("date", ignore_index=True), first, last, part.listing, unfinished
    )


# --- the cache


def load(path: Path) -> Series | None:
    """What the file holds; None if it is missing, damaged or of another format."""
    try:
        bars = pd.read_parquet(io.BytesIO(path.read_bytes()))
        record = json.loads(bars.attrs.pop("tftnhits"))
        dates = bars["date"]
        sound = list(bars.columns) == list(STORED) and (dates.diff()[1:] > pd.Timedelta(0)).all()
        sound = sound and dates.dt.tz is None and (bars.dtypes[1:] == "float64").all()
        if record["format"] != FORMAT or not sound or (bars[list(PRICES)] < 0).any(axis=None):
            return None
        first, last = (date.fromisoformat(record[end]) for end in ("first", "last"))
        if last > _today() + timedelta(days=1):  # a clock went ahead: who knows what has come since
            last = dates.iloc[-1].date()
        series = Series(bars, first, last, record["listing"])
        return series if len(series.priced) else None
    except Exception:  # anything may be in a file, and readers raise a dozen kinds
        return None


def save(path: Path, series: Series) -> None:
    """Keep all but `unfinished`; raises OutputError."""
    record = {
        "format": FORMAT,
        "first": str(series.first),
        "last": str(series.last),
        "listing": series.listing,
    }
    bars, content = series.bars.copy(deep=False), io.BytesIO()
    bars.attrs["tftnhits"] = json.dumps(record)
    bars.to_parquet(content, index=False)
    atomic_write(path, content.getvalue())
