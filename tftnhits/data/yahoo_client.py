"""One symbol's bars from Yahoo Finance: yfinance, asked with patience from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing import TimeoutError as NoResult
from multiprocessing.pool import ThreadPool
from typing import Any

import pandas as pd

from ..errors import MissingDependency, printable
from .names import PRICES

ANSWER = 10.0  # seconds for one answer
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts
LATE = pd.Timedelta("30min")  # by then exchanges that report late have reported
SETTLED = timedelta(days=7)  # by then a bar that Yahoo doesn't have won't come any more
CELLS = [*PRICES, "volume"]
WORKER = "tftnhits-yahoo"  # name of the thread that asks


@dataclass
class History:
    """Finished bars of one symbol: all that Yahoo has from day `first` to day `last`."""

    bars: pd.DataFrame  # CELLS, by local date
    first: date
    last: date
    zone: str  # of the dates
    unfinished: str = ""  # the bar that was left out
    doubt: str = ""  # a sentence where they are not what Yahoo has today

    def between(self, first: date, last: date) -> History | None:
        """Its bars of some days; None if there are none."""
        bars = self.bars.loc[str(first) : str(last)]
        unfinished = self.unfinished if self.unfinished[:10] <= str(last) else ""
        last = min(last, self.last)
        return replace(self, bars=bars, last=last, unfinished=unfinished) if len(bars) else None


Ask = Callable[[str, date, date], History]  # symbol, first and last day


class Failed(Exception):
    """Why Yahoo gave no bars, as the end of a sentence that starts with its name."""

    def __init__(self, why: str, again=False, missing=False, for_all=False) -> None:
        super().__init__(why)
        self.again = again  # it may work in a moment
        self.missing = missing  # Yahoo says that it has no such bars
        self.for_all = for_all  # nor would it give those of another symbol


@contextmanager
def asking(interval: str, seconds: float, folder: str) -> Iterator[Ask]:
    """A function that asks yfinance for bars of `interval` ("1d" or of a part of a day).

    It does in one daemon thread: neither an interrupt nor the process's end waits for Yahoo, and
    many would lock yfinance's databases, which are in `folder`. It raises Failed.
    """
    try:
        import tenacity  # noqa: F401 (it is for `_patiently`)
        import yfinance
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "Live data needs yfinance and tenacity; pip install 'tftnhits[live-data]', or take "
            "bundled bars: tn.load_bars('stocks')."
        ) from error
    yfinance.set_tz_cache_location(folder)
    logging.getLogger("yfinance").addFilter(_of_others)
    deadline = time.monotonic() + seconds
    over = threading.Event()  # nobody waits any more
    down: list[Failed] = []  # why no other symbol needs to be asked for

    def ask(name: str, first: date, last: date) -> History:
        if down:
            raise down[0]
        left = max(deadline - time.monotonic(), 0.0)
        call = pool.apply_async(_patiently, (over, left, name, first, last, interval))
        try:
            return call.get(left)
        except NoResult:
            failure = Failed("doesn't answer in time", for_all=True)
        except Failed as error:
            failure = error
        if failure.for_all:
            down.append(failure)
        raise failure

    # yfinance raises, rather than logs, why there are no bars, while this lasts
    pool = ThreadPool(1, lambda: setattr(threading.current_thread(), "name", WORKER))
    debug = yfinance.config.debug
    hidden = debug.hide_exceptions
    debug.hide_exceptions = False
    try:
        yield ask
    finally:
        over.set()
        pool.terminate()
        debug.hide_exceptions = hidden


def _of_others(record: logging.LogRecord) -> bool:
    """What fails in a download is told once, by us."""
    return record.threadName != WORKER


def _patiently(over: threading.Event, seconds: float, *what: Any) -> History:
    """`_attempt` until it works, for `seconds` at most and until it is over."""
    from tenacity import Retrying, retry_if_exception, wait_chain, wait_fixed
    from tenacity.stop import stop_after_attempt, stop_before_delay

    attempts = Retrying(
        stop=stop_after_attempt(len(WAITS) + 1) | stop_before_delay(seconds),
        wait=wait_chain(*map(wait_fixed, WAITS)),
        retry=retry_if_exception(
            lambda error: getattr(error, "again", False) and not over.is_set()
        ),
        sleep=over.wait,
        reraise=True,
    )
    return attempts(_attempt, *what)


def _attempt(name: str, first: date, last: date, interval: str) -> History:
    """One symbol's bars, asked for once; raises Failed."""
    from yfinance import Ticker
    from yfinance.data import YfData

    with suppress(AttributeError):
        YfData.cache_get.cache_clear()  # it keeps failed answers, too
    ticker = Ticker(name)
    days = {"start": str(first), "end": str(last + timedelta(days=1))}  # its end is exclusive
    try:
        frame = ticker.history(**days, interval=interval, timeout=ANSWER)
        return _finished(frame, ticker.history_metadata, first, last, interval)
    except Failed:
        raise
    except Exception as error:  # of yfinance, curl or requests, SQLite, pandas
        wanted = f"{interval} bars of {name} from {first} to {last}"
        raise _failure(error, ticker, wanted) from error


def _failure(error: Exception, ticker: Any, wanted: str) -> Failed:
    """Why there are no bars: yfinance's exceptions tell."""
    from yfinance import exceptions

    kind = type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, exceptions.YFRateLimitError):
        return Failed("gets too many requests from here", again=True, for_all=True)
    if isinstance(error, exceptions.YFTzMissingError) or status == 404:
        return Failed(f"knows no symbol {ticker.ticker!r}", missing=True)
    if isinstance(error, exceptions.YFPricesMissingError):
        reason = getattr(error, "yahoo_reason", None)  # older yfinance tells none
        why = f" ({printable(reason, 120).rstrip('.')})" if reason else ""
        if why or ticker.history_metadata.get("symbol"):  # else it was no chart: HTTP 500, say
            return Failed(f"has no {wanted}{why}", missing=True)
    elif isinstance(error, OSError) and not isinstance(error, ValueError) and not status:
        if "timeout" in kind.lower():
            return Failed("doesn't answer in time")
        return Failed(f"can't be reached ({kind})", for_all=True)
    return Failed(f"gives no answer that yfinance can read ({kind})", again=True)


def _finished(frame: pd.DataFrame, meta: Any, first: date, last: date, interval: str) -> History:
    """yfinance's frame in our form, without the bar that isn't finished."""
    zone = str(frame.index.tz)
    local = frame.index.tz_localize(None)
    if not local.is_monotonic_increasing or not local.is_unique:  # autumn's hour comes twice
        zone = "UTC"
        local = frame.index.tz_convert("UTC").tz_localize(None)
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
