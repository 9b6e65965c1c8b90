"""Bar times ahead: the sessions of an exchange where its calendar explains the bars, else the bars' own pattern.

Calendars are those of exchange_calendars, by name, built a decade at a time and kept. They know holidays and half days,
those announced after the fact too (2012-10-29, a hurricane): for bars that end before one, that is hindsight.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import ConfigError, MissingDependency, shown

DAY = np.timedelta64(1, "D").astype("timedelta64[ns]")
WEEK = 7 * DAY
SECOND = np.timedelta64(10**9, "ns")
RECENT_BARS = 20_000  # looked at, at most
RECENT_WEEKS = {"daily": 10, "intraday": 4}  # enough that a holiday or two doesn't look like a rule
MONDAY = np.datetime64("1970-01-05", "ns")

DEFAULT, ALWAYS = "XNYS", "24/7"
PROOF = 371  # days back over which bars must agree with a calendar: all of a year's holidays come by
MISSING = 0.05  # share of a calendar's sessions that bars may lack
IN_HOURS = 0.9  # share of intraday bars within opening hours; bars before and after them are placed by their date
EXTENDED = 1 / 3  # least share in hours that bars of an exchange have: 6.5 hours of the 16 with those around them
_YAHOO = """
    L:XLON IL:XLON IR:XDUB PA:XPAR AS:XAMS BR:XBRU LS:XLIS MI:XMIL MC:XMAD DE:XETR F:XFRA SG:XSTU DU:XDUS HM:XHAM
    SW:XSWX VI:XWBO ST:XSTO CO:XCSE HE:XHEL OL:XOSL IC:XICE TL:XTAL RG:XRIS VS:XLIT WA:XWAR PR:XPRA BD:XBUD RO:XBSE
    AT:ASEX IS:XIST ME:XMOS TA:XTAE SR:XSAU JO:XJSE T:XTKS HK:XHKG SS:XSHG SZ:XSHG KS:XKRX KQ:XKRX TW:XTAI TWO:XTAI
    SI:XSES KL:XKLS JK:XIDX BK:XBKK PS:XPHS NS:XBOM BO:XBOM KA:XKAR AX:XASX NZ:XNZE TO:XTSE V:XTSE NE:XTSE SA:BVMF
    MX:XMEX BA:XBUE SN:XSGO CL:XBOG
"""
SUFFIXES = dict(pair.split(":") for pair in _YAHOO.split())  # endings of Yahoo's symbols
_COIN = re.compile(r"[A-Z0-9]+-(USD|USDT|USDC|EUR|GBP|BTC|ETH)")

log = logging.getLogger("tftnhits")


class Sessions(NamedTuple):
    """An exchange's sessions [N], ascending; times are local, datetime64[ns]."""

    day: np.ndarray  # the date that a session is named by, at midnight
    open: np.ndarray
    close: np.ndarray
    pause: np.ndarray  # [N, 2] from … to, NaT where there is none
    usual: np.ndarray  # number of a full session: its own, or the one before where it closes early or opens late
    start: np.datetime64  # first day that is known


def bar_minutes(dates: pd.DatetimeIndex) -> float:
    """Median step between bars in minutes; NaN with fewer than two different dates."""
    times = _recent(dates)
    return float(_step(times) / np.timedelta64(1, "m")) if len(times) > 1 else float("nan")


def calendar_of(
    dates: pd.DatetimeIndex, symbol: str = "", calendar: str | Mapping[str, str | None] | None = None
) -> str | None:
    """The name of the calendar of bars at `dates` [R]; None if none explains them, or they have no dates.

    `calendar`, a name or names by symbol, decides; where it says nothing, the candidate is 24/7 for bars on both days
    of the weekend, the exchange of a Yahoo suffix (".L", "-USD"), else XNYS. It is taken if all bars of the last year
    lie in its sessions and few of these have no bar. Raises ConfigError on an unknown name, MissingDependency on a
    name without exchange_calendars; to infer, the package may be missing.
    """
    if not isinstance(calendar, str | Mapping | None):
        raise ConfigError(f"The calendar is {shown(calendar)}; give a name such as {DEFAULT}, or a dict of symbols.")
    given = calendar.get(symbol) if isinstance(calendar, Mapping) else calendar
    if given is not None:
        return _resolved(given)
    times = _recent(dates)
    if not len(times) or (step := _step(times)) >= 1.5 * DAY:
        return None
    days = times.astype("datetime64[D]")
    times = times[days > days[-1] - PROOF]
    name = _candidate(symbol, times)
    s = _sessions_around(name, times[-1])
    return name if s and _explains(s, times[times >= s.start], step > 0.9 * DAY) else None


def next_sessions(dates: pd.DatetimeIndex, horizon: int, calendar: str | None = None) -> pd.DatetimeIndex:
    """The `horizon` bar times after the last of `dates` [R]; NaT if there are no dates.

    With a calendar (see `calendar_of`) daily bars come at its sessions and intraday bars at the usual times of these,
    until they close; round the clock if it is 24/7. Without one, and beyond its range, daily bars keep the
    weekdays that are usual of late, intraday bars the usual times of the week (of the day while the history is
    shorter than two weeks), and holidays are not known. Months and other steps go on evenly. A single date counts
    as daily.
    """
    times = _recent(dates)
    if not len(times) or horizon < 1:
        return pd.DatetimeIndex(np.full(max(horizon, 0), np.datetime64("NaT", "ns")))
    last, step = times[-1], _step(times)
    if calendar is not None and step < 1.5 * DAY:
        if (ahead := _in_sessions(calendar, times, step, horizon)) is not None:
            return pd.DatetimeIndex(ahead)
        log.warning("The calendar %s tells no bars after %s; dates ahead go by the bars' pattern.", calendar, last)
    if 0.9 * DAY < step < 1.5 * DAY:
        ahead = _next_days(times, horizon)
    elif step < DAY:
        ahead = _next_slots(times, step, horizon)
    elif step >= 27 * DAY:
        ahead = _next_months(times, step, horizon)
    else:
        ahead = last + step * np.arange(1, horizon + 1)
    return pd.DatetimeIndex(ahead)


def session_lengths(dates: pd.DatetimeIndex, calendar: str | None) -> np.ndarray:
    """Log of the length of each bar's session relative to a full one, [R]: below 0 on half days.

    0 without a calendar, beyond its range, and for dates without a session. A break for lunch is no part of a session.
    """
    times, out = _plain(dates), np.zeros(len(dates))
    if calendar in (None, ALWAYS) or not len(times) or np.isnat(times).any():
        return out
    if (s := _sessions_around(calendar, times.max(), first=times.min())) is None:
        return out
    pause = s.pause[:, 1] - s.pause[:, 0]
    length = s.close - s.open - np.where(np.isnat(pause), np.timedelta64(0), pause)
    own, _, found = _owners(s, times)
    out[found] = np.log(length / length[s.usual])[own[found]]
    return out


def _resolved(name: str) -> str:
    """`name` without aliases such as NYSE; raises ConfigError, MissingDependency."""
    if name == ALWAYS:
        return name
    try:
        from exchange_calendars import resolve_alias
        from exchange_calendars.errors import InvalidCalendarName
    except Exception as error:  # an old one fails with a new pandas in ways of its own
        raise MissingDependency(
            f"The calendar {shown(name)} needs exchange_calendars; pip install 'tftnhits[live-data]', or leave it out."
        ) from error
    try:
        return resolve_alias(name)
    except (InvalidCalendarName, TypeError) as error:  # TypeError: what has no hash
        raise ConfigError(
            f"There is no calendar {shown(name)}; give one of exchange_calendars, such as XNYS, XLON, XETR, XTKS, XHKG "
            f"or 24/7, or None to infer it from the bars."
        ) from error


def _candidate(symbol: str, times: np.ndarray) -> str:
    weekday, symbol = _weekday(times), symbol.upper()
    if _COIN.fullmatch(symbol) or ((weekday == 5).any() and (weekday == 6).any()):
        return ALWAYS
    return SUFFIXES.get(symbol.rpartition(".")[2], DEFAULT) if "." in symbol else DEFAULT


def _sessions_around(
    name: str, last: np.datetime64, more: int = 0, first: np.datetime64 | None = None
) -> Sessions | None:
    """Sessions from `first` (None: a year before `last`) to `more` of them after `last`; None if they can't be had."""
    first = last if first is None else first
    days = np.array([first, last]).astype("datetime64[D]") + [-PROOF, 30 + 2 * more]
    years = np.clip(days.astype("datetime64[Y]").astype(int) + 1970, 1680, 2259)
    return _sessions(name, *(years // 10 * 10).tolist())


@lru_cache(maxsize=64)
def _sessions(name: str, first: int, last: int) -> Sessions | None:
    """Sessions of the decades `first` to `last`, as far as the calendar goes; None if it can't be had."""
    start, end = pd.Timestamp(first, 1, 1), pd.Timestamp(last + 9, 12, 31)
    if name == ALWAYS:
        day = pd.date_range(start, end).to_numpy("datetime64[ns]")
        pause = np.full((len(day), 2), np.datetime64("NaT", "ns"))
        return Sessions(day, day, day + DAY, pause, np.arange(len(day)), day[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas 3 says of exchange_calendars' code
            return _tabled(*_built(name, start, end))
    except ImportError:
        log.info("Holidays ahead are not known: pip install 'tftnhits[live-data]' brings the calendars.")
    except Exception as error:  # beyond its range; and some calendars fail with a new pandas in ways of their own
        log.info("The calendar %s can't be had for %d to %d: %s", name, first, last + 9, error)
    return None


def _built(name: str, start: pd.Timestamp, end: pd.Timestamp):
    """The calendar from `start` to `end`, or as much of that as it knows, and its first day."""
    from exchange_calendars import get_calendar

    try:
        return get_calendar(name, start, end), start
    except ValueError:  # one of them is beyond its bounds
        usual = get_calendar(name)
        least, most = usual.bound_min() or start, usual.bound_max() or end
        start = max(start, least)
        return get_calendar(name, start, min(end, most)), start


def _tabled(calendar, start: pd.Timestamp) -> Sessions:
    table = calendar.schedule

    def local(column: str) -> np.ndarray:
        return pd.DatetimeIndex(table[column]).tz_convert(calendar.tz).tz_localize(None).to_numpy("datetime64[ns]")

    special = table.index.isin(calendar.early_closes) | table.index.isin(calendar.late_opens)
    usual = np.maximum.accumulate(np.where(special, np.argmin(special), np.arange(len(table))))
    day, pause = table.index.to_numpy("datetime64[ns]"), np.stack([local("break_start"), local("break_end")], axis=1)
    return Sessions(day, local("open"), local("close"), pause, usual, np.datetime64(start, "ns"))


def _owners(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The session in whose hours a time lies, else that of its date; whether in hours; whether in either. [R] each."""
    own = np.maximum(np.searchsorted(s.open, times, side="right") - 1, 0)
    inside = (times >= s.open[own]) & (times <= s.close[own])
    dated, found = _dated(s, times)
    return np.where(inside, own, dated), inside, inside | found


def _dated(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The session of each time's date, and whether there is one. [R] each."""
    days = _days(times)
    own = np.minimum(np.searchsorted(s.day, days), len(s.day) - 1)
    return own, s.day[own] == days


def _explains(s: Sessions, times: np.ndarray, daily: bool) -> bool:
    """Whether all bars are in sessions and few sessions have none."""
    if not len(times):
        return False
    own, inside, found = _owners(s, times)
    if daily:
        (own, found), inside = _dated(s, times), found
    span = own[-1] - own[0] + 1
    missing = span - len(np.unique(own))
    return bool(found.all() and inside.mean() >= EXTENDED and missing <= max(1, MISSING * span))


def _in_sessions(name: str, times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray | None:
    """Bar times ahead by the calendar `name`; None where it says nothing."""
    last, daily = times[-1], step > 0.9 * DAY
    if name == ALWAYS:
        return last + (DAY if daily else step) * np.arange(1, horizon + 1)
    s = _sessions_around(name, last, horizon)
    if s is None or last < s.start:
        return None
    if daily:
        ahead = s.day[s.day > _days(last)][:horizon] + (last - _days(last))
    else:
        ahead = _open_slots(s, times, step, horizon)
    return ahead if len(ahead) == horizon else None


def _open_slots(s: Sessions, times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """Bar times ahead at the usual places in the sessions, up to each one's close; empty if no places are usual."""
    recent = times[times > times[-1] - RECENT_WEEKS["intraday"] * WEEK]
    hours = bool(_owners(s, recent)[1].mean() >= IN_HOURS)
    base = s.open if hours else s.day  # bars of hours of their own are placed by the time of day
    own = np.maximum(np.searchsorted(base, recent, side="right") - 1, 0)
    ends = bool(np.isin(recent, s.close).sum() > np.isin(recent, s.open).sum())  # bars are stamped with their end
    usual = _usual_places(s, own, recent - base[own], step, hours)
    at = np.arange(own[-1], min(own[-1] + horizon + 10, len(base)))[:, None]
    ahead = base[at] + usual  # [sessions, places]
    if hours:
        start, stop = s.pause[at, 0], s.pause[at, 1]
        if ends:
            keep = (ahead > s.open[at]) & (ahead <= s.close[at]) & ~((ahead > start) & (ahead <= stop))
        else:
            keep = (ahead < s.close[at]) & ~((ahead >= start) & (ahead < stop))
    else:  # they end as much earlier on half days as the exchange's do
        close = s.close - s.day
        earlier = np.maximum(close[s.usual] - close, np.timedelta64(0))
        keep = usual <= usual.max(initial=np.timedelta64(0)) - earlier[at]
    return ahead[keep & (ahead > times[-1])][:horizon]


def _usual_places(s: Sessions, own: np.ndarray, offset: np.ndarray, step: np.timedelta64, hours: bool) -> np.ndarray:
    """Offsets from a session's start at which bars are usual, ascending; each step of its hours where none is known."""
    whole = (s.usual[own] == own) & (own > own[0]) & (own < own[-1])  # the first and the last may be cut
    usual, count = np.unique(offset[whole & (offset < DAY)], return_counts=True)
    usual = usual[2 * count >= len(np.unique(own[whole]))]
    if len(usual) or not hours or step < SECOND:
        return usual
    full = s.usual[own[-1]]
    return np.arange(offset[-1] % step, s.close[full] - s.open[full] + step, step)


def _days(times: np.ndarray) -> np.ndarray:
    """Midnight before."""
    return times.astype("datetime64[D]").astype("datetime64[ns]")


def _plain(dates: pd.DatetimeIndex) -> np.ndarray:
    return pd.DatetimeIndex(dates).tz_localize(None).to_numpy().astype("datetime64[ns]")


def _step(times: np.ndarray) -> np.timedelta64:
    """Median step, the lower of two, so that few days around a weekend are daily; a single date counts as daily."""
    steps, middle = np.diff(times), (len(times) - 2) // 2
    return np.partition(steps, middle)[middle] if len(steps) else DAY


def _recent(dates: pd.DatetimeIndex) -> np.ndarray:
    """Known dates, distinct and ascending, datetime64[ns]."""
    values = _plain(dates)
    values = values[~np.isnat(values)]
    if (np.diff(values) > np.timedelta64(0)).all():
        return values[-RECENT_BARS:]
    return np.unique(values)[-RECENT_BARS:]


def _weekdays(times: np.ndarray) -> np.ndarray:
    """Weekdays (Monday is 0) with a bar in at least half of the recent weeks; Monday to Friday if unclear."""
    age = (times[-1] - times) // WEEK
    span = min(RECENT_WEEKS["daily"], int(age[0]))
    weekday = _weekday(times)
    if span < 2:  # too short to tell a holiday from a rule, but a weekend bar speaks for itself
        return np.arange(7 if (weekday >= 5).any() else 5)
    inside = age < span
    return np.flatnonzero(2 * _weeks_seen(weekday[inside], age[inside]) >= span)


def _weeks_seen(slot: np.ndarray, age: np.ndarray) -> np.ndarray:
    """For each slot 0 .. max, the number of different weeks in which it occurs."""
    pairs = np.unique(np.stack([slot, age.astype(np.int64)]), axis=1)
    return np.bincount(pairs[0], minlength=7)


def _weekday(times: np.ndarray) -> np.ndarray:
    return ((times - MONDAY) // DAY % 7).astype(np.int64)


def _next_days(times: np.ndarray, horizon: int) -> np.ndarray:
    """The usual weekdays at the last bar's time of day."""
    weekdays = _weekdays(times)
    last = times[-1]
    if not len(weekdays):
        return last + DAY * np.arange(1, horizon + 1)
    days = last + DAY * np.arange(1, 7 * (horizon // len(weekdays) + 2) + 1)
    return days[np.isin(_weekday(days), weekdays)][:horizon]


def _next_slots(times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """The usual times of the week; even steps where no time is usual (irregular stamps, less than a day)."""
    last = times[-1]
    slots = _slots(times)
    if not len(slots):
        return last + step * np.arange(1, horizon + 1)
    week = MONDAY + (last - MONDAY) // WEEK * WEEK
    weeks = week + WEEK * np.arange(horizon // len(slots) + 2)
    ahead = (weeks[:, None] + slots).ravel()
    return ahead[ahead > last][:horizon]


def _slots(times: np.ndarray) -> np.ndarray:
    """Offsets from Monday 00:00, ascending, at which bars are usual; empty if there is no such pattern."""
    last = times[-1]
    span = min(RECENT_WEEKS["intraday"], int((last - times[0]) // WEEK))
    if span >= 2:
        inside = times[times > last - span * WEEK]  # whole weeks back from the last bar: each slot once a week
        offset, count = np.unique((inside - MONDAY) % WEEK, return_counts=True)
        return offset[2 * count >= span]
    days, clock = (times - MONDAY) // DAY, (times - MONDAY) % DAY
    whole = (days > days[0]) & (days < days[-1])  # the first and the last day may be cut
    whole = whole if whole.any() else days == days[0]
    if days[-1] == days[0]:
        return np.array([], dtype="timedelta64[ns]")
    usual, count = np.unique(clock[whole], return_counts=True)
    usual = usual[2 * count >= len(np.unique(days[whole]))]
    return (_weekdays(times)[:, None] * DAY + usual).ravel()


def _next_months(times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """The same day some months on; the month's end (its last usual weekday) where that is the habit."""
    last, recent = times[-1], times[-12:]
    month = last.astype("datetime64[M]")
    months = month + max(1, round(float(step / DAY) / 30.44)) * np.arange(1, horizon + 1)
    ends = (months + 1).astype("datetime64[D]") - 1
    left = (recent.astype("datetime64[M]") + 1).astype("datetime64[D]") - recent.astype("datetime64[D]")
    if (left.astype(np.int64) <= 3).all():
        if (_weekday(recent) < 5).all() and len(recent) > 3:
            ends = np.busday_offset(ends, 0, roll="backward")
        days = ends
    else:
        day = last.astype("datetime64[D]") - month.astype("datetime64[D]")
        days = np.minimum(months.astype("datetime64[D]") + day, ends)
    return days.astype("datetime64[ns]") + (last - last.astype("datetime64[D]"))
