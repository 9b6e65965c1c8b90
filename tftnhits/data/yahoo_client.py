"""One symbol's bars from Yahoo Finance: yfinance's client, asked with patience, made plain."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache, partial
from threading import Event
from typing import Any

import pandas as pd

from ..errors import MissingDependency, one_line
from .names import PRICES

ANSWER = 10.0  # seconds for one answer
EXTRA = 5.0  # seconds for cookies and the like: charts can be had without
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts
LATE = pd.Timedelta("30min")  # by then exchanges that report late have reported
SETTLED = timedelta(days=7)  # by then a bar that Yahoo doesn't have won't come any more
ACTIONS = {"Dividends": "dividend", "Stock Splits": "split", "Capital Gains": "capital gain"}
CELLS = [*PRICES, "volume"]


@dataclass
class History:
    """Finished bars of one symbol: all that Yahoo has from day `first` to day `last`."""

    bars: pd.DataFrame  # CELLS, by local date
    first: date
    last: date
    listing: dict[str, str]  # time_zone, exchange, kind, currency
    actions: list[dict[str, Any]]  # date, action, value
    unfinished: str = ""  # the bar that was left out

    def within(self, first: date, last: date) -> History | None:
        """Its part from one day to another; None if there is no bar in it."""
        bars = self.bars.loc[str(first) : str(last)]
        actions = [paid for paid in self.actions if str(first) <= paid["date"] <= str(last)]
        unfinished = self.unfinished if self.unfinished[:10] <= str(last) else ""
        last = min(last, self.last)
        return History(bars, first, last, self.listing, actions, unfinished) if len(bars) else None


class Failed(Exception):
    """Why Yahoo gave no bars, as the end of a sentence that starts with its name."""

    def __init__(self, why: str, again: bool = False, missing: bool = False) -> None:
        super().__init__(why)
        self.again = again  # it may work in a moment
        self.missing = missing  # Yahoo says that it has no such bars


@dataclass
class Download:
    """What one call of `download_bars` shares with its thread and its requests."""

    interval: str  # of a part of a day, or "1d"
    first: date
    last: date
    deadline: float  # of time.monotonic()
    ticker: Any  # what `client` returns
    over: Event = field(default_factory=Event)  # nobody waits for it any more
    notes: dict[str, list[str]] = field(default_factory=dict)  # for a person, and of which symbols
    heard: bool = False  # Yahoo has answered anything
    down: Failed | None = None  # why no other symbol needs to be asked for
    answer: Any = None  # of an attempt's last request for a chart, or the OSError instead


# Of the thread that downloads: in all others yfinance is as it is without us
_download: ContextVar[Download | None] = ContextVar("download", default=None)


def _session(backend: Any) -> Any:
    """A session that keeps to the deadline, and tells the chart's answer.

    yfinance's errors don't: an unknown symbol, HTTP 500 and a broken connection can all be
    YFTzMissingError; and its requests for zones and cookies have fixed timeouts.
    """

    class Session(backend.Session):
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            download = _download.get()
            if download is None:
                return super().request(method, url, *args, **options)
            chart = "/finance/chart/" in url
            if isinstance(download.answer, OSError) and not chart:
                raise download.answer  # this would fail, too, and take as long
            left = min(download.deadline - time.monotonic(), ANSWER if chart else EXTRA)
            options["timeout"] = max(left, 0.001)  # 0 is no limit
            try:
                answer = super().request(method, url, *args, **options)
                download.heard = True
            except OSError as error:  # all of curl_cffi's and of requests' are
                if chart or download.answer is None:
                    download.answer = error
                raise
            if chart:
                download.answer = answer
            return answer

    options = {"impersonate": "chrome"} if "curl_cffi" in backend.__name__ else {}
    return Session(**options)


@lru_cache(maxsize=1)
def client(folder: str) -> partial:
    """yfinance.Ticker with our session; its own caches go to `folder`. Raises MissingDependency."""
    try:
        import tenacity  # noqa: F401 (it is for `fetch`)
        import yfinance
        from yfinance.data import requests as backend  # curl_cffi's, or requests in old versions
    except (ImportError, OSError) as error:
        offer = "pip install 'tftnhits[live-data]', or take bundled bars: tn.load_bars('stocks')"
        raise MissingDependency(f"Live data needs yfinance and tenacity; {offer}.") from error

    # What fails in a download is told once, by us
    logging.getLogger("yfinance").addFilter(lambda record: _download.get() is None)
    yfinance.set_tz_cache_location(folder)
    return partial(yfinance.Ticker, session=_session(backend))


def fetch(name: str, first: date, last: date, download: Download) -> History:
    """The bars of these days, with as many attempts as there is time for; raises Failed."""
    from tenacity import Retrying, retry_if_exception, wait_chain, wait_fixed
    from tenacity.stop import stop_after_attempt, stop_before_delay

    if download.down:
        raise download.down
    left = download.deadline - time.monotonic()
    stop = stop_after_attempt(len(WAITS) + 1) | stop_before_delay(left)
    wait = wait_chain(*map(wait_fixed, WAITS))
    retry = retry_if_exception(lambda error: getattr(error, "again", False))
    attempts = Retrying(stop=stop, wait=wait, retry=retry, sleep=download.over.wait, reraise=True)
    return attempts(_attempt, name, first, last, download)


def _attempt(name: str, first: date, last: date, download: Download) -> History:
    from yfinance.data import YfData

    # Forget the last attempt: yfinance keeps failed answers, too
    _download.set(download)
    download.answer = download.down = None
    with suppress(AttributeError):
        YfData.cache_get.cache_clear()
    # Ask; where yfinance can't adjust, it goes on with a column "Adj Close"
    days = {"start": str(first), "end": str(last + timedelta(days=1))}  # its end is exclusive
    frame = None
    problem = "no bars"
    try:
        frame = download.ticker(name).history(**days, interval=download.interval)
    except Exception as error:  # of yfinance, curl, SQLite, pandas
        problem = type(error).__name__
    if frame is None or not len(frame) or "Adj Close" in frame:
        raise _reason(name, problem, download)
    meta = download.answer.json()["chart"]["result"][0]["meta"]
    return _finished(frame, meta, first, last, download.interval)


def _reason(name: str, problem: str, download: Download) -> Failed:
    """Why there is no frame, told from the chart's last answer."""
    # No answer
    answer = download.answer
    if isinstance(answer, OSError):
        kind = type(answer).__name__
        late = "timeout" in kind.lower()
        failure = Failed("doesn't answer in time" if late else f"can't be reached ({kind})")
        download.down = None if late and download.heard else failure
        return failure
    # An HTTP status that tells
    status = getattr(answer, "status_code", 0)
    if status in (401, 403, 429) or status >= 500:
        what = "gets too many requests from here" if status == 429 else "fails"
        failure = Failed(f"{what} (HTTP {status})", again=True)
        download.down = failure if status == 429 else None
        return failure
    # Yahoo's own words
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        chart = answer.json()["chart"]
        words = (chart["error"] or {}).get("description") or ""
        if status == 404:
            return Failed(f"knows no symbol {name!r}", missing=True)
        if words or not (chart["error"] or chart["result"][0].get("timestamp")):
            why = f" ({one_line(words, 120).rstrip('.')})" if words else ""
            wanted = f"{download.interval} bars of {name} from {download.first} to {download.last}"
            return Failed(f"has no {wanted}{why}", missing=True)
    return Failed(f"gives no answer that yfinance can read ({problem})", again=True)


def _finished(frame: pd.DataFrame, meta: dict, first: date, last: date, interval: str) -> History:
    """yfinance's frame in our form, without the bar that isn't finished."""
    # Dates, and a record for each dividend and the like
    zone, local = str(frame.index.tz), frame.index.tz_localize(None)
    if not local.is_monotonic_increasing or not local.is_unique:  # autumn's hour comes twice
        zone, local = "UTC", frame.index.tz_convert("UTC").tz_localize(None)
    paid = frame.reindex(columns=list(ACTIONS)).rename(columns=ACTIONS).fillna(0.0)
    paid = paid.assign(date=local.strftime("%Y-%m-%d")).melt("date", var_name="action")
    actions = paid[paid["value"] != 0].sort_values("date", kind="stable").to_dict("records")
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
    facts = {"exchange": "exchangeName", "kind": "instrumentType", "currency": "currency"}
    listing = {"time_zone": zone} | {fact: str(meta.get(key)) for fact, key in facts.items()}
    return History(bars, first, min(last, covered), listing, actions, unfinished)


def _can_change(start: pd.Timestamp, interval: str, meta: dict) -> bool:
    """Whether the bar that begins at `start` is not finished."""
    now = pd.Timestamp.now(start.tz)
    try:  # today's session or, once it is over, the next day's
        session = meta["currentTradingPeriod"]["regular"]
        times = (session["start"], session["end"], meta["regularMarketTime"])
        opens, closes, traded = (pd.Timestamp(seconds, unit="s", tz=start.tz) for seconds in times)
    except (LookupError, TypeError, ValueError):
        return start.date() >= now.date()
    if interval == "1d" and start.date() != opens.date():
        return start.date() >= max(opens.date(), now.date())
    ends = closes if interval == "1d" else start + pd.Timedelta(interval)
    ends = min(ends, closes) if start < closes else ends
    return traded < ends and now < ends + LATE
