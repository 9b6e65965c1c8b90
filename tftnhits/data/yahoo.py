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
from .yahoo_client import ACTIONS, CELLS, PRICES, STORED, Download, Failed, History, client, fetch

SECONDS = 60.0  # for a call, and one more for each symbol
MOST = 500  # symbols a call
OVERLAP = 5  # bars asked for again, to see whether their adjustment has changed
TOLERANCE = 1e-5  # relative: Yahoo's prices are 32-bit floats, and hardly a dividend is smaller
# Days for which Yahoo keeps parts of a day; years of the others that are asked for by default
REACH = {"1m": 7, **dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59), "60m": 729, "1h": 729}
YEARS = {"1d": 3, "1wk": 10, "1mo": 20}
PERIODS = {"1wk": "W", "1mo": "M"}  # made of days: Yahoo adjusts its own in another way
FORMAT = 1  # of cached files; others are taken for missing
DTYPES = {"date": "datetime64[ns]", **dict.fromkeys(STORED[1:], "float64")}
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9^=.&_+$-]{0,29}")
_ISIN = re.compile("[A-Z]{2}[A-Z0-9]{9}[0-9]")  # yfinance would answer under another name


def download_bars(
    symbols: str | Iterable[str],
    start: str | date | None = None,
    end: str | date | None = None,
    interval: str = "1d",
    seconds: float | None = None,
) -> pd.DataFrame:
    """Validated bars of Yahoo Finance, in the frame of `load_bars`.

    Finished bars are cached, a file a symbol, in the folder TFTNHITS_CACHE (default: the user's
    cache folder). Only days that are missing are asked for; after a split or dividend, all. Where
    Yahoo fails or the time is over, cached bars stand in, and a UserWarning says so.

    Parameters
    ----------
    symbols : str or iterable of str
        Yahoo's, one or many: "AAPL", "AAPL KO", ["^GSPC", "EURUSD=X", "BTC-USD"].
    start, end : str or date, optional
        First and last day, both included; by default up to now, from 3 years ago for days, 10 for
        weeks, 20 for months, and for parts of a day as far back as Yahoo goes.
    interval : str
        "1d", "1wk", "1mo", or a part of a day: "1m" (Yahoo keeps 7 days), "2m", "5m", "15m",
        "30m", "90m" (59 days), "1h" (729 days).
    seconds : float, optional
        The time for all; by default 60, and one more a symbol.

    Returns
    -------
    DataFrame
        symbol, date, open, high, low, close, volume: adjusted for splits and dividends (within a
        day for splits alone). Dates are the exchange's, without a zone: the day, the time at which
        a bar within the day starts, a week's Monday, a month's 1st. A bar that is not finished is
        left out, and `repairs(bars)` says so. attrs, plain values: "zones" (symbol -> IANA zone of
        its dates, "UTC" where autumn's hour comes twice), "actions" (dividends, splits, capital
        gains), "listings" (time_zone, exchange, kind, currency), "repairs", "warnings".

    Raises
    ------
    DataError
        On bad arguments, on what Yahoo doesn't have, on bars that can't be repaired.
    DownloadError
        Where Yahoo fails and nothing is cached.
    MissingDependency
        Without yfinance.
    """
    names = _symbols(symbols)
    first, last = _days(start, end, interval)
    seconds = SECONDS + len(names) if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise DataError(f"seconds is {shown(seconds)}; give a number above 0, such as {SECONDS:g}.")
    asked = {"60m": "1h", "1wk": "1d", "1mo": "1d"}.get(interval, interval)
    ticker = client(str(cache_folder() / "yfinance"))
    download = Download(asked, first, last, time.monotonic() + seconds, ticker)
    # In a daemon thread, so that neither an interrupt nor the process's end waits for Yahoo
    with warnings.catch_warnings(), ThreadPool(1) as pool:
        warnings.filterwarnings("ignore", module="yfinance")  # about its own use of pandas
        try:
            histories = pool.apply(_gather, (names, download))
        finally:
            download.over.set()
    bars = _assembled(histories, interval)
    bars.attrs["warnings"] = _warnings(download, histories)
    for text in bars.attrs["warnings"]:
        warnings.warn(text, stacklevel=2)
    return bars


def cache_folder() -> Path:
    """TFTNHITS_CACHE, else tftnhits in the user's cache folder."""
    if folder := os.environ.get("TFTNHITS_CACHE"):
        return Path(folder).expanduser().absolute()
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return Path(base or os.path.expanduser("~/.cache")).absolute() / "tftnhits"


def is_symbol(name: Any) -> bool:
    """Whether `name` looks like a symbol of Yahoo Finance, in any case."""
    name = name.upper() if isinstance(name, str) else ""
    return bool(_SYMBOL.fullmatch(name)) and not _ISIN.fullmatch(name)


def _symbols(symbols: Any) -> list[str]:
    given = symbols.replace(",", " ").split() if isinstance(symbols, str) else symbols
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise DataError(f"symbols are {shown(symbols)}; give one such as 'AAPL', or a list.")
    names: dict[str, None] = {}
    for symbol in given:
        name = symbol.strip().upper() if isinstance(symbol, str) else symbol
        if not is_symbol(name):
            raise DataError(f"{shown(name)} is no symbol of Yahoo; give one as 'AAPL' or '7203.T'.")
        names[name] = None
    if not 0 < len(names) <= MOST:
        raise DataError(f"There are {len(names) or 'no'} symbols to download; give 1 to {MOST}.")
    return list(names)


def _days(start: Any, end: Any, interval: Any) -> tuple[date, date]:
    """The first and the last day to ask for; of weeks and months, whole ones."""
    if not isinstance(interval, str) or interval not in REACH | YEARS:
        choice = ", ".join(YEARS | REACH)
        raise DataError(f"There is no interval {shown(interval)}; choose one of {choice}.")
    ahead = _today() + timedelta(days=1)  # it is tomorrow in the east
    last = ahead if end is None else min(_day(end, "end"), ahead)
    if start is not None:
        first = _day(start, "start")
    elif interval in REACH:
        first = _earliest(interval)
    else:
        first = (pd.Timestamp(last) - pd.DateOffset(years=YEARS[interval])).date()
    if first > last:
        after = "today" if first > ahead else f"end {last}"
        raise DataError(f"start {first} comes after {after}; give an earlier one.")
    if interval in PERIODS:
        first = pd.Period(first, PERIODS[interval]).start_time.date()
        last = pd.Period(last, PERIODS[interval]).end_time.date()
    return first, last


def _day(value: Any, argument: str) -> date:
    if isinstance(value, str | date | np.datetime64):
        with suppress(ValueError):  # NaT has no date
            text = value.strip() if isinstance(value, str) else str(pd.Timestamp(value).date())
            day = date.fromisoformat(text)
            if day.year >= 1900:
                return day
    raise DataError(f"{argument} is {shown(value)}; write a date from 1900 on as 2012-01-31.")


def _today() -> date:
    return pd.Timestamp.now("UTC").date()


def _earliest(interval: str) -> date:
    """The first day that Yahoo still has."""
    return _today() - timedelta(days=REACH[interval]) if interval in REACH else date.min


def _gather(names: list[str], download: Download) -> dict[str, History]:
    """Each symbol's bars, from Yahoo or from the cache; raises DataError, DownloadError."""
    from tqdm.auto import tqdm  # costs more than all else that is imported here

    # One after the other, over one connection: at once they would undo each other's warning
    # filters, lock yfinance's databases, and be a burst to Yahoo
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
        others = f" (the same goes for {_listed(missing[1:])})" if len(missing) > 1 else ""
        why = f"{failures[missing[0]]}{others}"
        raise DataError(f"Yahoo Finance {why}; check spelling and dates, or leave it out.")
    for why in failures.values():
        raise DownloadError(
            f"Yahoo Finance {why}, and {_listed(list(failures))} can't be had from the cache; try "
            "again later, or take the bundled bars: tn.load_bars('stocks')."
        )
    return histories


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _warnings(download: Download, histories: dict[str, History]) -> list[str]:
    """A sentence for each reason why bars are not cached, or cached ones had to do."""
    texts = [f"Downloaded bars are not cached: {download.uncached}"] if download.uncached else []
    for why in dict.fromkeys(download.stale.values()):
        spans = []
        for name in [name for name, reason in download.stale.items() if reason == why]:
            dates = histories[name].priced["date"].dt.date
            spans.append(f"{name} ({dates.iloc[0]} to {dates.iloc[-1]})")
        texts.append(f"Yahoo Finance {why}, so cached bars stand in: {_listed(spans)}.")
    return texts


def _assembled(histories: dict[str, History], interval: str) -> pd.DataFrame:
    """The frame of all, and its attrs, which are plain values so that the frame can be saved."""
    parts, left_out, actions, listings, zones = [], [], [], [], {}
    for name, history in histories.items():
        # Bars, and the one that is left out
        bars, unfinished = history.priced, history.unfinished
        if interval in PERIODS:
            bars, unfinished = _coarser(bars, PERIODS[interval], history.last)
        if not len(bars):
            raise DataError(f"Yahoo Finance has no finished {interval} of {name}; start earlier.")
        parts.append(bars.assign(symbol=name))
        if unfinished:
            repair = {"symbol": name, "repair": "unfinished bar left out", "count": 1}
            left_out.append(repair | {"first": unfinished, "example": ""})
        # What is paid and split: a record for each value that is not 0
        table = history.bars.assign(symbol=name, date=history.bars["date"].dt.strftime("%Y-%m-%d"))
        table = table.melt(["symbol", "date"], list(ACTIONS.values()), "action", "value")
        table = table[table["value"] != 0].sort_values("date", kind="stable")
        actions += table.to_dict("records")
        listings.append({"symbol": name, **history.listing})
        zones[name] = history.listing["time_zone"]
    bars = load_bars(pd.concat(parts, ignore_index=True)[["symbol", "date", *CELLS]])
    bars.attrs["repairs"] += left_out
    bars.attrs |= {"actions": actions, "listings": listings, "zones": zones}
    return bars


def _coarser(bars: pd.DataFrame, period: str, covered: date) -> tuple[pd.DataFrame, str]:
    """Weeks or months of days; the last is left out, and its start told, if it lacks days."""
    periods = bars["date"].dt.to_period(period)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    whole = bars.groupby(periods.dt.start_time).agg(how).rename_axis("date").reset_index()
    final = periods.iloc[-1].end_time.date()
    if not (bars["date"].dt.day_of_week >= 5).any():  # closed at weekends
        final -= timedelta(days=max(0, final.weekday() - 4))
    if max(bars["date"].iloc[-1].date(), covered) >= final:
        return whole, ""
    return whole[:-1], f"{periods.iloc[-1].start_time:%Y-%m-%d}"


def _history(name: str, download: Download) -> History:
    """The bars of `name` asked for: from the cache, brought up to date if need be and if possible."""
    first, last = download.first, download.last
    path = cache_folder() / "yahoo" / download.interval / f"{safe_name(name)}.parquet"
    cached = load(path)
    usable = cached.within(first, last) if cached else None
    if usable and cached.first <= first and last <= cached.last:
        return usable
    try:
        history = _updated(name, cached, download)
        part = history.within(first, last)
        if part is None:
            why = f"has no {download.interval} bars of {name} from {first} to {last}"
            raise Failed(why, missing=True)
    except Failed as failure:
        download.down = failure if failure.down else download.down
        if usable is None:
            raise
        download.stale[name] = str(failure)
        return usable
    try:
        save(path, history)
    except OutputError as error:
        download.uncached = str(error)
    return part


def _updated(name: str, cached: History | None, download: Download) -> History:
    """The cached bars with the missing days; all anew if none are cached, or other ones."""
    history = None
    first, last = download.first, download.last
    earliest = _earliest(download.interval)
    if cached:
        # Only the missing days, and some that are cached; between two gaps, all of them
        days = cached.priced["date"].dt.date
        edge = min(OVERLAP, len(days))
        since = days.iloc[-edge] if cached.first <= first else first
        until = days.iloc[edge - 1] if last <= cached.last else last
        if since >= earliest:
            history = _joined(cached, fetch(name, since, until, download))
        first = min(first, max(cached.first, earliest))
        last = max(last, cached.last)
    if history is None and first < earliest:
        raise DataError(
            f"Yahoo Finance keeps {download.interval} bars for {REACH[download.interval]} days; "
            f"start on {earliest} or later, or choose a longer interval."
        )
    history = history or fetch(name, first, last, download)
    load_bars(history.priced.assign(symbol=name))  # what can't be repaired must not be cached
    return history


def _joined(cached: History, part: History) -> History | None:
    """Both in one; None where zone or prices differ in the days that both have."""
    old = cached.priced.set_index("date")[list(PRICES)]
    new = part.priced.set_index("date")[list(PRICES)]
    old, new = old[new.index[0] : new.index[-1]], new[old.index[0] : old.index[-1]]
    same = len(old) and old.index.equals(new.index)
    same = same and np.allclose(old, new, rtol=TOLERANCE, atol=0, equal_nan=True)
    if not same or cached.listing["time_zone"] != part.listing["time_zone"]:
        return None
    bars = pd.concat([cached.bars[~cached.bars["date"].isin(part.bars["date"])], part.bars])
    bars = bars.sort_values("date", ignore_index=True)
    first, last = min(cached.first, part.first), max(cached.last, part.last)
    return History(bars, first, last, part.listing, part.unfinished)


def load(path: Path) -> History | None:
    """What the cache's file holds; None if it is missing, damaged or of another format."""
    try:
        bars = pd.read_parquet(path)
        record = json.loads(bars.attrs.pop("tftnhits"))
        sound = record["format"] == FORMAT and bars.dtypes.astype(str).to_dict() == DTYPES
        sound = sound and bars["date"].is_monotonic_increasing and bars["date"].is_unique
        if (
            not sound
            or (bars[list(PRICES)] < 0).any(axis=None)
            or "time_zone" not in record["listing"]
        ):
            return None
        first, last = date.fromisoformat(record["first"]), date.fromisoformat(record["last"])
        if last > _today() + timedelta(days=1):  # a clock went ahead: who knows what has come since
            last = bars["date"].iloc[-1].date()
        history = History(bars, first, last, record["listing"])
        return history if len(history.priced) else None
    except Exception:  # anything may be in a file, and readers raise a dozen kinds
        return None


def save(path: Path, history: History) -> None:
    """Keep all but `unfinished`; raises OutputError."""
    record = {"format": FORMAT, "first": str(history.first), "last": str(history.last)}
    bars = history.bars.astype(DTYPES)
    bars.attrs["tftnhits"] = json.dumps(record | {"listing": history.listing})
    atomic_write(path, bars.to_parquet(index=False))
