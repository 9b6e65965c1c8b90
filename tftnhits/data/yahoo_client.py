"""One symbol's bars from Yahoo Finance: yfinance's client, asked with patience, made plain."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache, partial
from threading import Event
from typing import Any

import numpy as np
import pandas as pd

from ..errors import MissingDependency, one_line
from .repair import PRICES

ANSWER = 10.0  # seconds for one answer
EXTRA = 5.0  # seconds for cookies and the like: charts can be had without
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts
LATE = pd.Timedelta("30min")  # by then exchanges that report late have reported
SETTLED = timedelta(days=7)  # by then a bar that Yahoo doesn't have won't come any more
ACTIONS = {"Dividends": "dividend", "Stock Splits": "split", "Capital Gains": "capital gain"}
CELLS = [*PRICES, "volume"]
STORED = ("date", *CELLS, *ACTIONS.values())
CHART = "/v8/finance/chart/"


@dataclass
class History:
    """Finished bars of one symbol: all that Yahoo has from day `first` to day `last`."""

    bars: (
        pd.DataFrame
    )  # STORED; local dates; a row without prices is an action on a day without bar
    first: date
    last: date
    listing: dict[str, str]  # time_zone, exchange, kind, currency
    unfinished: str = ""  # the bar that was left out

    @property
    def priced(self) -> pd.DataFrame:
        """The rows that are bars."""
        return self.bars.dropna(subset=list(PRICES), how="all")

    def within(self, first: date, last: date) -> History | None:
        """Its part from one day to another; None if there is no bar in it."""
        days = self.bars["date"].dt.normalize()
        bars = self.bars[days.between(pd.Timestamp(first), pd.Timestamp(last))]
        unfinished = self.unfinished if self.unfinished[:10] <= str(last) else ""
        part = replace(self, bars=bars, last=min(last, self.last), unfinished=unfinished)
        return part if len(part.priced) else None


class Failed(Exception):
    """Why Yahoo gave no bars, as the end of a sentence that starts with its name."""

    def __init__(self, why: str, again=False, down=False, missing=False) -> None:
        super().__init__(why)
        self.again = again  # it may work in a moment
        self.down = down  # it would be the same for other symbols
        self.missing = missing  # Yahoo says that it has no such bars


@dataclass
class Download:
    """What one call of `download_bars` shares with its thread and its requests."""

    interval: str  # of a part of a day, or "1d"
    first: date
    last: date
    deadline: float  # of time.monotonic()
    ticker: Callable[[str], Any]  # what `client` returns
    over: Event = field(default_factory=Event)  # nobody waits for it any more
    heard: bool = False  # Yahoo has answered anything
    down: Failed | None = None  # why no other symbol needs to be asked for
    stale: dict[str, str] = field(default_factory=dict)  # symbol -> why its bars are the cache's
    uncached: str = ""  # why new bars can't be cached
    answer: Any = None  # the attempt's last answer of a chart, or the OSError instead
    trouble: OSError | None = None  # the attempt's last, of whatever request


# Of the thread that downloads: in all others yfinance is as it is without us
_download: ContextVar[Download | None] = ContextVar("download", default=None)


@lru_cache(maxsize=1)
def client(folder: str) -> partial:
    """yfinance.Ticker with our session; its own caches go to `folder`. Raises MissingDependency.

    yfinance alone doesn't tell enough: an unknown symbol, HTTP 500 and a broken connection can all
    be YFTzMissingError, only newer versions quote Yahoo's reason, and requests for time zones and
    cookies have timeouts of their own. Our session sees the answers, and keeps to the deadline.
    """
    try:
        import tenacity  # noqa: F401 (it is for `fetch`)
        import yfinance
        from yfinance.data import requests as backend  # curl_cffi's, or requests in old versions
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"{getattr(error, 'name', None) or 'yfinance'} is missing for live data; pip install "
            "'tftnhits[live-data]', or take the bundled bars: tn.load_bars('stocks')."
        ) from error

    class Session(backend.Session):
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            download = _download.get()
            if download is None:
                return super().request(method, url, *args, **options)
            if isinstance(download.answer, OSError):
                raise download.answer  # what yfinance asks next would fail, too, and take as long
            left = min(download.deadline - time.monotonic(), ANSWER if CHART in url else EXTRA)
            options["timeout"] = max(left, 0.001)  # 0 is no limit
            try:
                answer = super().request(method, url, *args, **options)
                download.heard = True
            except OSError as error:  # all of curl_cffi's and of requests' are
                answer = download.trouble = error
            if CHART in url:
                download.answer = answer
            if isinstance(answer, OSError):
                raise answer
            return answer

    # What fails in a download is told once, by us
    logging.getLogger("yfinance").addFilter(lambda record: _download.get() is None)
    yfinance.set_tz_cache_location(folder)
    options = {"impersonate": "chrome"} if "curl_cffi" in backend.__name__ else {}
    return partial(yfinance.Ticker, session=Session(**options))


def fetch(name: str, first: date, last: date, download: Download) -> History:
    """The bars of these days, with as many attempts as there is time for; raises Failed."""
    import tenacity

    if download.down:
        raise download.down
    left = download.deadline - time.monotonic()
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: getattr(error, "again", False)),
        wait=tenacity.wait_chain(*map(tenacity.wait_fixed, WAITS)),
        stop=tenacity.stop_after_attempt(len(WAITS) + 1) | tenacity.stop_before_delay(left),
        sleep=download.over.wait,
        reraise=True,
    )
    return attempts(_attempt, name, first, last, download)


def _attempt(name: str, first: date, last: date, download: Download) -> History:
    from yfinance.data import YfData

    # Forget the last attempt: yfinance keeps failed answers, too
    _download.set(download)
    download.answer = None
    download.trouble = None
    with suppress(AttributeError):
        YfData.cache_get.cache_clear()
    # Ask; where yfinance can't adjust, it goes on with a column "Adj Close"
    days = {"start": str(first), "end": str(last + timedelta(days=1))}  # its end is exclusive
    frame, problem = None, "no bars"
    try:
        frame = download.ticker(name).history(**days, interval=download.interval)
    except Exception as error:  # of yfinance, curl, SQLite, pandas
        problem = type(error).__name__
    if frame is None or not len(frame) or "Adj Close" in frame:
        wanted = f"{download.interval} bars of {name} from {first} to {last}"
        raise _reason(name, wanted, problem, download)
    meta = download.answer.json()["chart"]["result"][0]["meta"]
    return _finished(frame, meta, first, last, download.interval)


def _reason(name: str, wanted: str, problem: str, download: Download) -> Failed:
    """Why there is no frame, told from the chart's last answer."""
    # No answer; an old yfinance gives up where it gets no cookie
    answer = download.trouble if download.answer is None else download.answer
    if answer is None:
        return Failed(f"isn't asked, as yfinance fails ({problem})", again=True)
    if isinstance(answer, OSError):
        kind = type(answer).__name__
        if "timeout" in kind.lower():
            return Failed("doesn't answer in time", down=not download.heard)
        return Failed(f"can't be reached ({kind})", down=True)
    # An HTTP status that tells
    status = answer.status_code
    if status == 429:
        return Failed("gets too many requests from here (HTTP 429)", again=True, down=True)
    if status >= 500 or status in (401, 403):
        return Failed(f"fails (HTTP {status})", again=True)
    # Yahoo's own words
    try:
        chart = answer.json()["chart"]
        words = (chart["error"] or {}).get("description") or ""
        empty = not chart["error"] and not chart["result"][0].get("timestamp")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Failed("breaks off its answers", again=True)
    if status == 404:
        return Failed(f"knows no symbol {name!r}", missing=True)
    if words or empty:
        why = f" ({one_line(str(words), 120).rstrip('.')})" if words else ""
        return Failed(f"has no {wanted}{why}", missing=True)
    return Failed(f"answers what yfinance can't read ({problem})", again=True)


def _finished(
    frame: pd.DataFrame, meta: dict[str, Any], first: date, last: date, interval: str
) -> History:
    """yfinance's frame in our form, without the bar that isn't finished."""
    # Columns and dates
    zone = str(frame.index.tz)
    local = frame.index.tz_localize(None)
    if not local.is_monotonic_increasing or not local.is_unique:  # autumn's hour comes twice
        zone = "UTC"
        local = frame.index.tz_convert("UTC").tz_localize(None)
    bars = frame.rename(columns=lambda column: ACTIONS.get(column, column.lower()))
    bars = bars.reindex(columns=STORED[1:]).astype("float64").reset_index(drop=True)
    bars = bars.fillna(dict.fromkeys(ACTIONS.values(), 0.0))
    bars.insert(0, "date", local.astype("datetime64[ns]"))
    # The last bar, if it can change, goes; an action of that day stays
    rows = np.flatnonzero(bars[list(PRICES)].notna().any(axis=1))
    unfinished = ""
    if len(rows) and _can_change(frame.index[rows[-1]], interval, meta):
        unfinished = str(bars.at[rows[-1], "date"]).removesuffix(" 00:00:00")
        bars.loc[rows[-1], CELLS] = np.nan
        rows = rows[:-1]
    if not len(rows):
        raise Failed(f"has no finished bars of {meta.get('symbol')} yet", missing=True)
    # More may come of the last days, and of a day with bars of its parts
    latest = bars.at[rows[-1], "date"].date() - timedelta(days=interval != "1d")
    covered = max(latest, pd.Timestamp.now(frame.index.tz).date() - SETTLED)
    acted = (bars[list(ACTIONS.values())] != 0).any(axis=1)
    bars = bars[acted | bars.index.isin(rows)].reset_index(drop=True)
    facts = {"exchange": "exchangeName", "kind": "instrumentType", "currency": "currency"}
    listing = {"time_zone": zone} | {fact: str(meta.get(key)) for fact, key in facts.items()}
    return History(bars, first, min(last, covered), listing, unfinished)


def _can_change(start: pd.Timestamp, interval: str, meta: dict[str, Any]) -> bool:
    """Whether the bar that begins at `start` is not finished."""
    now = pd.Timestamp.now(start.tz)
    try:  # today's session or, once it is over, the next day's
        session = meta["currentTradingPeriod"]["regular"]
        times = (session["start"], session["end"], meta["regularMarketTime"])
        opens, closes, traded = (pd.Timestamp(seconds, unit="s", tz=start.tz) for seconds in times)
    except (LookupError, TypeError, ValueError):
        return start.date() >= now.date()
    if interval == "1d":
        if start.date() != opens.date():
            return start.date() >= max(opens.date(), now.date())
        ends = closes
    else:
        ends = start + pd.Timedelta(interval)
        ends = min(ends, closes) if start < closes else ends
    return traded < ends and now < ends + LATE
