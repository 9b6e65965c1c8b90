"""One symbol's bars from Yahoo Finance: yfinance's client, asked with patience, its answers made plain.

yfinance logs most failures and returns an empty frame, in other ways from version to version, and it remembers failed
answers. So its session is one of ours, which keeps the answer itself: from that it is told why there are no bars.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache, partial
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
STORED = ("date", *PRICES, "volume", *ACTIONS.values())
THREAD = "tftnhits-yahoo"
CHART = "/v8/finance/chart/"

_mine = (
    threading.local()
)  # of a thread of ours: `call`, and `answer`, the chart's last or the error instead


@dataclass
class Series:
    """Finished bars of one symbol: all that Yahoo has from day `first` to day `last`."""

    bars: (
        pd.DataFrame
    )  # STORED; dates are local; a row without prices is an action on a day without a finished bar
    first: date
    last: date
    listing: dict[str, str]  # time_zone, exchange, kind, currency
    unfinished: str = ""  # the bar that was left out

    @property
    def priced(self) -> pd.DataFrame:
        """The rows that are bars."""
        return self.bars.dropna(subset=list(PRICES), how="all")

    def within(self, first: date, last: date) -> Series:
        """Its part from one day to another."""
        days = self.bars["date"].dt.normalize()
        bars = self.bars[(days >= pd.Timestamp(first)) & (days <= pd.Timestamp(last))]
        unfinished = self.unfinished if self.unfinished[:10] <= str(last) else ""
        return Series(bars, max(first, self.first), min(last, self.last), self.listing, unfinished)


class Failed(Exception):
    """Why Yahoo gave no bars, as the end of a sentence that starts with its name."""

    def __init__(
        self, why: str, again: bool = False, down: bool = False, known: bool = True
    ) -> None:
        super().__init__(why)
        self.again = again  # it may work in a moment
        self.down = down  # it would be the same for other symbols
        self.known = known  # False: Yahoo says that it has no such bars


@dataclass
class Call:
    """What one download and its thread share."""

    interval: str  # of a part of a day, or "1d"
    first: date
    last: date
    deadline: float  # of time.monotonic()
    ticker: Callable[[str], Any]  # what `client` returns
    down: Failed | None = None
    stale: dict[str, str] = field(default_factory=dict)  # symbol -> why its bars are the cache's
    notes: list[str] = field(default_factory=list)
    heard: bool = False  # Yahoo has answered anything
    over: threading.Event = field(default_factory=threading.Event)


@lru_cache(maxsize=1)
def client(folder: str) -> partial:
    """yfinance.Ticker with our session; its own caches go to `folder`. Raises MissingDependency."""
    try:
        import yfinance
        from yfinance.data import requests as backend  # curl_cffi's, or requests in old versions
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "yfinance is missing for live data; pip install 'tftnhits[live-data]', or take the bundled bars: "
            "tn.load_bars('stocks')."
        ) from error

    class Session(backend.Session):
        """In a thread of ours it keeps to the deadline, and the chart's last answer; elsewhere it is any session."""

        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            call = getattr(_mine, "call", None)
            if call is None:
                return super().request(method, url, *args, **kwargs)
            if isinstance(_mine.answer, OSError):
                raise _mine.answer  # what yfinance asks for next would fail, too, and take as long
            try:
                answer = super().request(
                    method, url, *args, **kwargs | {"timeout": _time_for(url, call)}
                )
                call.heard = True
            except OSError as error:  # all of curl_cffi's and of requests' are
                answer = _mine.trouble = error
            if CHART in url:
                _mine.answer = answer
            if isinstance(answer, OSError):
                raise answer
            return answer

    logging.getLogger("yfinance").addFilter(_not_ours)
    yfinance.set_tz_cache_location(folder)
    options = {"impersonate": "chrome"} if "curl_cffi" in backend.__name__ else {}
    return partial(yfinance.Ticker, session=Session(**options))


def _time_for(url: str, call: Call) -> float:
    left = call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this call is over")
    return min(left, ANSWER if CHART in url else EXTRA)


def _not_ours(_: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(THREAD)  # what failed is told once, by us


def ask(name: str, first: date, last: date, call: Call) -> Series:
    """The bars of these days, with as many attempts as there is time for; raises Failed."""
    for wait in (*WAITS, None):
        if call.down:
            raise call.down
        try:
            return _attempt(name, first, last, call)
        except Failed as error:
            late = wait is None or time.monotonic() + wait > call.deadline
            if late or not error.again or call.over.wait(wait):
                raise
    raise AssertionError("the last attempt returns or raises")


def _attempt(name: str, first: date, last: date, call: Call) -> Series:
    from yfinance.data import YfData

    _mine.answer = _mine.trouble = None
    _mine.call = call
    with suppress(AttributeError):
        YfData.cache_get.cache_clear()  # it keeps failures, too
    frame, problem = None, None
    try:
        days = {
            "start": first.isoformat(),
            "end": (last + timedelta(days=1)).isoformat(),
        }  # its end is exclusive
        frame = call.ticker(name).history(
            **days, interval=call.interval, auto_adjust=True, actions=True
        )
    except Exception as error:  # of yfinance, curl, SQLite, pandas
        problem = error
    if (
        frame is None or not len(frame) or "Adj Close" in frame
    ):  # the latter: it failed to adjust, and goes on
        raise _reason(name, f"{call.interval} bars of {name} from {first} to {last}", problem)
    meta = _mine.answer.json()["chart"]["result"][0]["meta"]
    return _series(frame, meta, first, last, call.interval)


def _reason(name: str, wanted: str, problem: Exception | None) -> Failed:
    """Why there is no frame, told from the chart's last answer."""
    answer = _mine.answer
    if answer is None:
        answer = _mine.trouble  # an old yfinance gives up where it gets no cookie
    if isinstance(answer, OSError):
        what = type(answer).__name__
        late = "timeout" in what.lower()
        return Failed(
            "doesn't answer in time" if late else f"can't be reached ({what})", down=not late
        )
    what = type(problem).__name__ if problem else "no bars"
    if answer is None:
        return Failed(f"isn't asked, as yfinance fails ({what})", again=True)
    status = answer.status_code
    if status == 429:
        return Failed("gets too many requests from here (HTTP 429)", again=True, down=True)
    if status >= 500 or status in (401, 403):
        return Failed(f"fails (HTTP {status})", again=True)
    try:
        chart = answer.json()["chart"]
        said = (chart["error"] or {}).get("description")
        empty = not chart["error"] and not chart["result"][0].get("timestamp")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Failed("breaks off its answers", again=True)
    if status == 404:
        return Failed(f"knows no symbol {name!r}", known=False)
    if said or empty:
        return Failed(
            f"has no {wanted}" + f" ({one_line(str(said), 120).rstrip('.')})" * bool(said),
            known=False,
        )
    return Failed(f"answers what yfinance can't read ({what})", again=True)


def _series(
    frame: pd.DataFrame, meta: dict[str, Any], first: date, last: date, interval: str
) -> Series:
    """yfinance's frame in our form, without the bar that isn't finished."""
    index, zone = frame.index, str(frame.index.tz)
    local = index.tz_localize(None)
    if not (
        np.diff(local) > np.timedelta64(0)
    ).all():  # bars in the hour that is there twice in autumn
        local, zone = index.tz_convert("UTC").tz_localize(None), "UTC"
    bars = frame.rename(columns=lambda name: ACTIONS.get(name, str(name).lower()))
    bars = bars.reindex(columns=list(STORED[1:])).astype("float64").reset_index(drop=True)
    bars[list(ACTIONS.values())] = bars[list(ACTIONS.values())].fillna(0)
    bars.insert(0, "date", local.astype("datetime64[ns]"))
    cut, priced = "", bars[list(PRICES)].notna().any(axis=1).to_numpy(copy=True)
    if priced.any() and _unfinished(index[priced][-1], interval, meta):
        row = np.flatnonzero(priced)[-1]
        cut = str(bars.at[row, "date"]).removesuffix(" 00:00:00")
        bars.loc[row, [*PRICES, "volume"]] = np.nan  # an action of that day stays
        priced[row] = False
    bars = bars[priced | (bars[list(ACTIONS.values())] != 0).any(axis=1)].reset_index(drop=True)
    if not priced.any():
        raise Failed(f"has no finished bars of {meta.get('symbol')} yet", known=False)
    facts = {"exchange": "exchangeName", "kind": "instrumentType", "currency": "currency"}
    listing = {"time_zone": zone} | {name: str(meta.get(key)) for name, key in facts.items()}
    latest, today = local[np.flatnonzero(priced)[-1]].date(), pd.Timestamp.now(index.tz).date()
    if interval != "1d":
        latest -= timedelta(days=1)  # more bars of that day may come
    return Series(bars, first, min(last, max(latest, today - SETTLED)), listing, cut)


def _unfinished(start: pd.Timestamp, interval: str, meta: dict[str, Any]) -> bool:
    """Whether the bar that begins at `start` can still change."""
    now = pd.Timestamp.now(start.tz)
    try:
        session = meta["currentTradingPeriod"][
            "regular"
        ]  # of today or, once today's is over, of the next day
        times = (session["start"], session["end"], meta["regularMarketTime"])
        opens, closes, traded = (pd.Timestamp(seconds, unit="s", tz=start.tz) for seconds in times)
    except (LookupError, TypeError, ValueError):
        return start.date() >= now.date()
    if interval != "1d":
        ends = start + pd.Timedelta(minutes=60 if interval == "1h" else int(interval[:-1]))
        ends = min(ends, closes) if start < closes else ends
    elif start.date() == opens.date():
        ends = closes
    else:
        return start.date() > opens.date() and start.date() >= now.date()
    return traded < ends and now < ends + LATE
