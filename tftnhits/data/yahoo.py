"""Live bars of Yahoo Finance through yfinance, and a cache of finished bars."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DownloadError, OutputError, quoted
from ..files import atomic_write, cache_folder, locked, safe_name
from .bars import load_bars
from .names import PRICES
from .yahoo_client import CELLS, Ask, Failed, History, asking

# Days that are asked for by default; of parts of a day Yahoo keeps no more
DAYS = {"1d": 1096, "1wk": 3653, "1mo": 7305, "1m": 7, **dict.fromkeys(("60m", "1h"), 729)}
DAYS |= dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59)
PERIODS = {"1wk": "W", "1mo": "M"}  # made of days: Yahoo adjusts its own in another way
FORMAT = 3  # of cached files; others are taken for missing
DTYPES = {"date": "datetime64[ns]", **dict.fromkeys(CELLS, "float64")}
# But no ISIN, for which yfinance would answer under another name
SYMBOL = re.compile(r"(?![A-Z]{2}[A-Z0-9]{9}[0-9]$)[A-Z0-9^][A-Z0-9^=.&_+$-]{0,29}")


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
    zones by symbol ("UTC" where autumn's hour comes twice), `attrs["warnings"]` what was warned of,
    `attrs["doubts"]` by symbol whose bars are cached ones, for the forecast's warnings.

    Raises
    ------
    DataError on bad arguments or bars, and on what Yahoo doesn't have; DownloadError if it fails;
    MissingDependency without yfinance.
    """
    names = _symbols(symbols)
    first, last = _days(start, end, interval)
    seconds = 60.0 + len(names) if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise DataError(f"seconds is {quoted(seconds)}; give a number above 0, such as 60.")
    basis = {"60m": "1h", "1wk": "1d", "1mo": "1d"}.get(interval, interval)
    folder = str(cache_folder() / "yfinance")
    notes: dict[str, list[str]] = {}
    histories: dict[str, History] = {}
    failures: dict[str, Failed] = {}
    deadline = time.monotonic() + seconds
    with warnings.catch_warnings(), asking(basis, seconds, folder) as ask:
        warnings.filterwarnings("ignore", module="yfinance")  # about its own use of pandas
        for name in names:
            try:
                histories[name] = _history(name, first, last, basis, ask, deadline, notes)
            except Failed as failure:
                failures[name] = failure
    _refuse(failures)
    bars = _assembled(histories, interval)
    bars.attrs["warnings"] = [f"{note}: {_listed(causes)}." for note, causes in notes.items()]
    for text in bars.attrs["warnings"]:
        warnings.warn(text, stacklevel=2)
    for name, history in histories.items():
        if history.doubt:
            bars.attrs["doubts"].setdefault(name, []).append(history.doubt)
    return bars


def is_symbol(name: Any) -> bool:
    """Whether `name` looks like a symbol of Yahoo Finance, in any case."""
    return isinstance(name, str) and SYMBOL.fullmatch(name.upper()) is not None


def _symbols(symbols: Any) -> list[str]:
    given = symbols.replace(",", " ").split() if isinstance(symbols, str) else symbols
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise DataError(f"symbols are {quoted(symbols)}; give one such as 'AAPL', or a list.")
    names = [name.strip().upper() if isinstance(name, str) else name for name in given]
    for name in names:
        if not is_symbol(name):
            raise DataError(f"{quoted(name)} is no symbol of Yahoo; give 'AAPL' or '7203.T'.")
    names = list(dict.fromkeys(names))
    if not 0 < len(names) <= 500:
        raise DataError(f"There are {len(names) or 'no'} symbols to download; give 1 to 500.")
    return names


def _days(start: Any, end: Any, interval: Any) -> tuple[date, date]:
    """The first and the last day to ask for; of weeks and months, whole ones."""
    if not isinstance(interval, str) or interval not in DAYS:
        choice = ", ".join(DAYS)
        raise DataError(f"There is no interval {quoted(interval)}; choose one of {choice}.")
    today = pd.Timestamp.now("UTC").date()
    ahead = today + timedelta(days=1)  # it is tomorrow in the east
    last = min(_day(end, "end", ahead), ahead)
    latest = last if interval in ("1d", *PERIODS) else today
    first = _day(start, "start", latest - timedelta(DAYS[interval]))
    if first > last:
        raise DataError(f"start {first} comes after the last day, {last}; give an earlier one.")
    if period := PERIODS.get(interval):
        return pd.Period(first, period).start_time.date(), pd.Period(last, period).end_time.date()
    return first, last


def _day(value: Any, argument: str, default: date) -> date:
    if value is None:
        return default
    with suppress(ValueError):  # NaT has no date
        if isinstance(value, str):
            value = date.fromisoformat(value.strip())
        if isinstance(value, date | np.datetime64) and pd.Timestamp(value).date().year >= 1900:
            return pd.Timestamp(value).date()
    raise DataError(f"{argument} is {quoted(value)}; write a date from 1900 on as 2012-01-31.")


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
    name: str,
    first: date,
    last: date,
    interval: str,
    ask: Ask,
    deadline: float,
    notes: dict[str, list[str]],
) -> History:
    """The bars asked for: from the cache if it has all, else from Yahoo if that can be."""
    path = cache_folder() / "yahoo" / interval / f"{safe_name(name)}.parquet"
    cached = load(path)
    usable = cached.between(first, last) if cached else None
    if usable and cached.first <= first and last <= cached.last:
        return usable
    with ExitStack() as stack:
        # another process may be at this symbol: it must not lose what that one adds
        with suppress(OutputError):  # where nothing can be locked, nothing is cached either
            stack.enter_context(locked(path, max(deadline - time.monotonic(), 0.0)))
        return _refreshed(path, name, first, last, interval, ask, notes)


def _refreshed(
    path: Path,
    name: str,
    first: date,
    last: date,
    interval: str,
    ask: Ask,
    notes: dict[str, list[str]],
) -> History:
    """The bars asked for, and the cache's file with all that it had and them."""
    cached = load(path)
    usable = cached.between(first, last) if cached else None
    if usable and cached.first <= first and last <= cached.last:
        return usable
    earliest = date(1900, 1, 1)
    if interval != "1d":
        earliest = pd.Timestamp.now("UTC").date() - timedelta(DAYS[interval])
    what = f"{interval} bars for {DAYS[interval]} days"
    choice = f"start on {earliest} or later, or choose a longer interval"
    out_of_reach = DataError(f"Yahoo Finance keeps {what}; {choice}.")
    if first < earliest and not (cached and cached.first <= first and earliest <= cached.last):
        raise out_of_reach
    try:
        # All that Yahoo has anew: a split or a dividend changes every price before
        since, until = first, last
        if cached:
            since, until = max(min(first, cached.first), earliest), max(last, cached.last)
        history = ask(name, since, until)
        if cached and cached.first < since:
            history = _with_older(cached, history)
        if history.first > first:
            raise out_of_reach
        wanted = history.between(first, last)
        if wanted is None:
            raise Failed(f"has no finished bars of {name} from {first} to {last}", missing=True)
    except Failed as failure:
        if usable is None:
            raise
        days = usable.bars.index.date
        note = f"Yahoo Finance {failure}, so cached bars stand in"
        notes.setdefault(note, []).append(f"{name} ({days[0]} to {days[-1]})")
        return replace(usable, doubt=f"{note}: {name} to {days[-1]}.")
    load_bars(history.bars.reset_index().assign(symbol=name))  # raises before bad bars are cached
    try:
        save(path, history)
    except OutputError as error:
        notes["Downloaded bars are not cached"] = [str(error).rstrip(".")]
    return wanted


def _with_older(cached: History, history: History) -> History:
    """Also the cached bars from before it, which Yahoo has no more, if they are on its scale."""
    old = cached.bars.loc[str(history.first) :, [*PRICES]]
    new = history.bars.loc[: cached.bars.index[-1], [*PRICES]]
    alike = len(old) and old.index.equals(new.index) and cached.zone == history.zone
    if not alike or not np.allclose(old, new, rtol=1e-4, atol=0, equal_nan=True):
        return history
    older = cached.bars.loc[: str(history.first - timedelta(days=1))]
    return replace(history, bars=pd.concat([older, history.bars]), first=cached.first)


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
