"""Live bars of Yahoo Finance, and a cache of finished bars to which what is missing is added."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DownloadError, OutputError, shown
from ..files import atomic_write, safe_name
from .bars import load_bars
from .names import PRICES
from .yahoo_client import CELLS, Download, Failed, History, client, fetch

OVERLAP = 5  # bars asked for again, to see whether their adjustment has changed
TOLERANCE = 1e-5  # relative: Yahoo's prices are 32-bit floats, and hardly a dividend is smaller
# Days for which Yahoo keeps parts of a day; years of the others that are asked for by default
REACH = {"1m": 7, **dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59), "60m": 729, "1h": 729}
YEARS = {"1d": 3, "1wk": 10, "1mo": 20}
PERIODS = {"1wk": "W", "1mo": "M"}  # made of days: Yahoo adjusts its own in another way
FORMAT = 2  # of cached files; others are taken for missing
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

    Finished bars are cached in the folder TFTNHITS_CACHE (default: the user's cache folder); only
    missing days are asked for, after a split or dividend all. Where Yahoo fails, cached bars stand
    in, and a UserWarning says so.

    Parameters
    ----------
    symbols : str or iterable of str
        Yahoo's, one or many: "AAPL", "AAPL KO", ["^GSPC", "EURUSD=X", "BTC-USD"].
    start, end : str or date, optional
        First and last day, both included; by default the last 3 years of days, 10 of weeks, 20 of
        months, and of parts of a day (adjusted for splits alone) all that Yahoo has.
    interval : str
        "1d", "1wk", "1mo", "1m" (of 7 days), "2m", "5m", "15m", "30m", "90m" (59), "1h" (729).
    seconds : float, optional
        The time for all; by default 60, and one more a symbol.

    Returns
    -------
    DataFrame
        Dates are the exchange's, without zone; a week's is its Monday, a month's its 1st. Bars that
        are not finished are left out, which `repairs(bars)` tells. attrs, plain values: "zones"
        (symbol -> its dates' IANA zone; "UTC" where autumn's hour comes twice), "actions",
        "listings" (time_zone, exchange, kind, currency), "repairs", "warnings".

    Raises
    ------
    DataError, DownloadError, MissingDependency
        On bad arguments or bars, and what Yahoo doesn't have; if it fails; without yfinance.
    """
    names = _symbols(symbols)
    first, last = _days(start, end, interval)
    seconds = 60.0 + len(names) if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise DataError(f"seconds is {shown(seconds)}; give a number above 0, such as 60.")
    basis = {"60m": "1h", "1wk": "1d", "1mo": "1d"}.get(interval, interval)
    ticker = client(str(cache_folder() / "yfinance"))
    download = Download(basis, first, last, time.monotonic() + seconds, ticker)
    # In a daemon thread, so that neither an interrupt nor the process's end waits for Yahoo
    with warnings.catch_warnings(), ThreadPool(1) as pool:
        warnings.filterwarnings("ignore", module="yfinance")  # about its own use of pandas
        try:
            histories = pool.apply(_gather, (names, download))
        finally:
            download.over.set()
    bars = _assembled(histories, interval)
    notes = [f"{note}: {_listed(causes)}." for note, causes in download.notes.items()]
    bars.attrs["warnings"] = notes
    for text in notes:
        warnings.warn(text, stacklevel=2)
    return bars


def cache_folder() -> Path:
    """TFTNHITS_CACHE, else tftnhits in the user's cache folder."""
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get("TFTNHITS_CACHE") or os.path.join(base, "tftnhits")
    return Path(folder).expanduser().absolute()


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
        after = "today" if first > ahead else f"end {last}"
        raise DataError(f"start {first} comes after {after}; give an earlier one.")
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


def _gather(names: list[str], download: Download) -> dict[str, History]:
    """Each symbol's bars, from Yahoo or from the cache; raises DataError, DownloadError."""
    from tqdm.auto import tqdm  # costs more than all else that is imported here

    # One after the other: at once they would lock yfinance's databases, and be a burst to Yahoo
    histories: dict[str, History] = {}
    failures: dict[str, Failed] = {}
    for name in tqdm(names, "Yahoo Finance", unit="symbol", disable=len(names) < 10):
        if download.over.is_set():
            break
        try:
            histories[name] = _history(name, download)
        except Failed as failure:
            failures[name] = failure
    # What Yahoo doesn't have is told before what failed
    if missing := [name for name, failure in failures.items() if failure.missing]:
        what = f"{failures[missing[0]]}; check spelling and dates of {_listed(missing)}"
        raise DataError(f"Yahoo Finance {what}, or leave out what it doesn't have.")
    for failure in failures.values():
        what = f"{failure}, and {_listed(list(failures))} can't be had from the cache"
        offer = "try again later, or take the bundled bars: tn.load_bars('stocks')"
        raise DownloadError(f"Yahoo Finance {what}; {offer}.")
    return histories


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _assembled(histories: dict[str, History], interval: str) -> pd.DataFrame:
    """The frame of all, and its attrs, which are plain values so that the frame can be saved."""
    parts = []
    left_out = []
    actions = []
    for name, history in histories.items():
        bars, unfinished = history.bars, history.unfinished
        if interval in PERIODS:
            bars, unfinished = _coarser(bars, PERIODS[interval], history.last)
        if not len(bars):
            raise DataError(f"Yahoo Finance has no finished {interval} of {name}; start earlier.")
        parts.append(bars.reset_index().assign(symbol=name))
        if unfinished:
            repair = {"symbol": name, "repair": "unfinished bar left out", "count": 1}
            left_out.append(repair | {"first": unfinished, "example": ""})
        actions += [{"symbol": name} | action for action in history.actions]
    bars = load_bars(pd.concat(parts, ignore_index=True))
    bars.attrs["repairs"] += left_out
    bars.attrs["actions"] = actions
    bars.attrs["listings"] = [{"symbol": name} | histories[name].listing for name in histories]
    bars.attrs["zones"] = {name: histories[name].listing["time_zone"] for name in histories}
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


def _history(name: str, download: Download) -> History:
    """The bars asked for: from the cache, brought up to date where need be and if that can be."""
    first, last = download.first, download.last
    path = cache_folder() / "yahoo" / download.interval / f"{safe_name(name)}.parquet"
    cached = load(path)
    usable = cached.within(first, last) if cached else None
    if usable and cached.first <= first and last <= cached.last:
        return usable
    try:
        history = _updated(name, cached, download)
        wanted = history.within(first, last)
        if wanted is None:
            raise Failed(f"has no finished bars of {name} from {first} to {last}", missing=True)
    except Failed as failure:
        if usable is None:
            raise
        days = usable.bars.index.date
        note = f"Yahoo Finance {failure}, so cached bars stand in"
        download.notes.setdefault(note, []).append(f"{name} ({days[0]} to {days[-1]})")
        return usable
    load_bars(history.bars.reset_index().assign(symbol=name))  # raises before bad bars are cached
    try:
        save(path, history)
    except OutputError as error:
        download.notes["Downloaded bars are not cached"] = [str(error).rstrip(".")]
    return wanted


def _updated(name: str, cached: History | None, download: Download) -> History:
    """The cached bars with the missing days; all anew if none are cached, or other ones."""
    first, last = download.first, download.last
    reach = REACH.get(download.interval, 100_000)
    earliest = pd.Timestamp.now("UTC").date() - timedelta(days=reach)
    if cached:
        # Only the missing days, and some that are cached; between two gaps, all of them
        days = cached.bars.index.date
        edge = min(OVERLAP, len(days))
        since = days[-edge] if cached.first <= first else first
        until = days[edge - 1] if last <= cached.last else last
        part = fetch(name, since, until, download) if since >= earliest else None
        if part and (joined := _joined(cached, part)):
            return joined
        first, last = min(first, max(cached.first, earliest)), max(last, cached.last)
    if first < earliest:
        what = f"{download.interval} bars for {reach} days; start on {earliest} or later"
        raise DataError(f"Yahoo Finance keeps {what}, or choose a longer interval.")
    return fetch(name, first, last, download)


def _joined(cached: History, part: History) -> History | None:
    """Both in one; None where zone or prices differ in the days that both have."""
    old = cached.bars.loc[part.bars.index[0] : part.bars.index[-1], [*PRICES]]
    new = part.bars.loc[cached.bars.index[0] : cached.bars.index[-1], [*PRICES]]
    same = len(old) and old.index.equals(new.index)
    same = same and np.allclose(old, new, rtol=TOLERANCE, atol=0, equal_nan=True)
    if not same or cached.listing["time_zone"] != part.listing["time_zone"]:
        return None
    bars = pd.concat([cached.bars.drop(new.index), part.bars]).sort_index()
    paid = {(action["date"], action["action"]): action for action in cached.actions + part.actions}
    actions = [paid[key] for key in sorted(paid)]
    first, last = min(cached.first, part.first), max(cached.last, part.last)
    return History(bars, first, last, part.listing, actions, part.unfinished)


def load(path: Path) -> History | None:
    """What the cache's file holds; None if it is missing, damaged or of another format."""
    try:
        bars = pd.read_parquet(path)
        record = json.loads(bars.attrs.pop("tftnhits"))
        sound = record["format"] == FORMAT and bars.dtypes.astype(str).to_dict() == DTYPES
        sound = sound and bars["date"].is_monotonic_increasing and bars["date"].is_unique
        sound = sound and len(bars) and not (bars[[*PRICES]] < 0).any(axis=None)
        first, last = date.fromisoformat(record["first"]), date.fromisoformat(record["last"])
        if pd.Timestamp(last, tz="UTC") > pd.Timestamp.now("UTC") + timedelta(days=1):
            last = bars["date"].iloc[-1].date()  # a clock went ahead: more may have come since
        listing, actions = record["listing"], record["actions"]
        sound = sound and isinstance(actions, list) and "time_zone" in listing
        return History(bars.set_index("date"), first, last, listing, actions) if sound else None
    except Exception:  # anything may be in a file, and readers raise a dozen kinds
        return None


def save(path: Path, history: History) -> None:
    """Keep all but `unfinished`; raises OutputError."""
    record = {"format": FORMAT, "listing": history.listing, "actions": history.actions}
    record |= {"first": str(history.first), "last": str(history.last)}
    bars = history.bars.reset_index().astype(DTYPES)
    bars.attrs["tftnhits"] = json.dumps(record)
    atomic_write(path, bars.to_parquet(index=False))
