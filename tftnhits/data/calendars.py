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
from .patterns import (
    DAY,
    MONDAY,
    RECENT_WEEKS,
    WEEK,
    midnight,
    pattern_ahead,
    plain,
    recent,
    step_of,
    weekday_of,
)

SECOND = np.timedelta64(10**9, "ns")

DEFAULT, ALWAYS = "XNYS", "24/7"
PROOF = (
    371  # days back over which bars must agree with a calendar: all of a year's holidays come by
)
MISSING = 0.05  # share of a calendar's sessions that bars may lack
STRAY = 0.01  # share of bars that may lie outside them, if the calendar's closed weekdays have
HEEDED = 4  # times as many as those with such a bar: with less proof, any other exchange would do
IN_HOURS = 0.9  # share of intraday bars within opening hours; bars before and after them are placed by their date
EXTENDED = (
    1 / 3
)  # least share in hours that bars of an exchange have: 6.5 hours of the 16 with those around them
ENDS = 0.9  # share of weekly and monthly bars that are stamped with their period's last session
LATE_WEEKS, LATE_MONTHS = (
    56,
    12,
)  # bars looked at for that; a Good Friday is among them, closed or a label
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
    usual: (
        np.ndarray
    )  # number of a full session: its own, or the one before where it closes early or opens late
    start: np.datetime64  # first and last day that are known
    end: np.datetime64


def bar_minutes(dates: pd.DatetimeIndex) -> float:
    """Median step between bars in minutes; NaN with fewer than two different dates."""
    times = recent(dates)
    return float(step_of(times) / np.timedelta64(1, "m")) if len(times) > 1 else float("nan")


def calendar_of(
    dates: pd.DatetimeIndex,
    symbol: str = "",
    calendar: str | Mapping[str, str | None] | None = None,
) -> str | None:
    """The name of the calendar of bars at `dates` [R]; None if none explains them, or they have no dates.

    `calendar`, a name or names by symbol, decides; where it says nothing, the candidate is 24/7 for bars on both days
    of the weekend, the exchange of a Yahoo suffix (".L", "-USD"), else XNYS. It is taken if next to all bars of the
    last year lie in its sessions and few of these have no bar, or for longer bars if they are the last sessions of
    their weeks or months. Raises ConfigError on an unknown name, MissingDependency on a name without
    exchange_calendars; to infer, the package may be missing.
    """
    if not isinstance(calendar, str | Mapping | None):
        raise ConfigError(
            f"The calendar is {shown(calendar)}; give a name such as {DEFAULT}, or a dict of symbols."
        )
    given = calendar.get(symbol) if isinstance(calendar, Mapping) else calendar
    if given is not None:
        return _resolved(given)
    times = recent(dates)
    if not len(times):
        return None
    if (step := step_of(times)) >= 1.5 * DAY:
        name = _candidate(symbol, times[-LATE_WEEKS:])
        return name if _period_ends(name, times, step, 1) is not None else None
    days = times.astype("datetime64[D]")
    times = times[days > days[-1] - PROOF]
    name = _candidate(symbol, times)
    s = _sessions_around(name, times[-1])
    return (
        name
        if s and _explains(s, times[(times >= s.start) & (times < s.end + DAY)], step > 0.9 * DAY)
        else None
    )


def next_sessions(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | None = None
) -> pd.DatetimeIndex:
    """The `horizon` bar times after the last of `dates` [R]; NaT if there are no dates.

    With a calendar (see `calendar_of`) daily bars come at its sessions and intraday bars at the usual times of these,
    until they close; round the clock if it is 24/7. Without one, and beyond its range, daily bars keep the
    weekdays that are usual of late, intraday bars the usual times of the week (of the day while the history is
    shorter than two weeks), and holidays are not known. Weeks and months that are stamped with a calendar's last
    session in each go on so; other months and steps go on evenly. A single date counts as daily.
    """
    return sessions_ahead(dates, horizon, calendar)[0]


def sessions_ahead(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | None = None
) -> tuple[pd.DatetimeIndex, int]:
    """`next_sessions`, and how many of them, the first ones, are as sure as the calendar: all if none is in use."""
    times = recent(dates)
    if not len(times) or horizon < 1:
        return pd.DatetimeIndex(np.full(max(horizon, 0), np.datetime64("NaT", "ns"))), horizon
    step, found = step_of(times), None
    if calendar is not None:
        found = (_in_sessions if step < 1.5 * DAY else _period_ends)(calendar, times, step, horizon)
    if found is None:
        return pd.DatetimeIndex(pattern_ahead(times, step, horizon)), horizon
    ahead, known_to = found
    if (told := len(ahead)) < horizon:
        said = (
            "The calendar %s tells %d of the %d bars after %s; the others go by the bars' pattern."
        )
        log.warning(said, calendar, told, horizon, times[-1])
        ahead = np.r_[ahead, pattern_ahead(np.r_[times, ahead], step, horizon - told, known_to)]
    return pd.DatetimeIndex(ahead), told


def session_lengths(dates: pd.DatetimeIndex, calendar: str | None) -> np.ndarray:
    """Log of the length of each bar's session relative to a full one, [R]: below 0 on half days.

    0 without a calendar, beyond its range, and for dates without a session. A break for lunch is no part of a session.
    """
    times, out = plain(dates), np.zeros(len(dates))
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
    weekday, symbol = weekday_of(times), symbol.upper()
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
        return Sessions(day, day, day + DAY, pause, np.arange(len(day)), day[0], day[-1])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas 3 says of exchange_calendars' code
            return _tabled(*_built(name, start, end))
    except ImportError:
        log.info(
            "Holidays ahead are not known: pip install 'tftnhits[live-data]' brings the calendars."
        )
    except (
        Exception
    ) as error:  # beyond its range; and some calendars fail with a new pandas in ways of their own
        log.info("The calendar %s can't be had for %d to %d: %s", name, first, last + 9, error)
    return None


def _built(name: str, start: pd.Timestamp, end: pd.Timestamp):
    """The calendar from `start` to `end`, or as much of that as it knows, and its first and last day."""
    from exchange_calendars import get_calendar

    try:
        return get_calendar(name, start, end), start, end
    except ValueError:  # one of them is beyond its bounds
        usual = get_calendar(name)
        least, most = usual.bound_min() or start, usual.bound_max() or end
        start, end = max(start, least), min(end, most)
        return get_calendar(name, start, end), start, end


def _tabled(calendar, start: pd.Timestamp, end: pd.Timestamp) -> Sessions:
    table = calendar.schedule

    def local(column: str) -> np.ndarray:
        return (
            pd.DatetimeIndex(table[column])
            .tz_convert(calendar.tz)
            .tz_localize(None)
            .to_numpy("datetime64[ns]")
        )

    special = table.index.isin(calendar.early_closes) | table.index.isin(calendar.late_opens)
    usual = np.maximum.accumulate(np.where(special, np.argmin(special), np.arange(len(table))))
    day, pause = (
        table.index.to_numpy("datetime64[ns]"),
        np.stack([local("break_start"), local("break_end")], axis=1),
    )
    return Sessions(
        day, local("open"), local("close"), pause, usual, *np.array([start, end], "datetime64[ns]")
    )


def _owners(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The session in whose hours a time lies, else that of its date; whether in hours; whether in either. [R] each."""
    own = np.maximum(np.searchsorted(s.open, times, side="right") - 1, 0)
    inside = (times >= s.open[own]) & (times <= s.close[own])
    dated, found = _dated(s, times)
    return np.where(inside, own, dated), inside, inside | found


def _dated(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The session of each time's date, and whether there is one. [R] each."""
    days = midnight(times)
    own = np.minimum(np.searchsorted(s.day, days), len(s.day) - 1)
    return own, s.day[own] == days


def _explains(s: Sessions, times: np.ndarray, daily: bool) -> bool:
    """Whether next to all bars are in sessions and few sessions have none."""
    own, inside, found = _owners(s, times)
    if daily:
        (own, found), inside = _dated(s, times), found
    if not found.any() or inside.mean() < EXTENDED:
        return False
    own, stray = own[found], times[~found]
    span = own[-1] - own[0] + 1
    if len(stray):
        days = s.day[[own[0], own[-1]]].astype("datetime64[D]")
        closed = np.busday_count(days[0], days[1] + 1) - span
        if (
            len(stray) > max(1, STRAY * len(times))
            or HEEDED * len(np.unique(midnight(stray))) > closed
        ):
            return False
    return bool(span - len(np.unique(own)) <= max(1, MISSING * span))


def _in_sessions(
    name: str, times: np.ndarray, step: np.timedelta64, horizon: int
) -> tuple[np.ndarray, np.datetime64 | None]:
    """Bar times ahead by the calendar `name`, as far as it tells, and up to when it does; None if it says nothing."""
    last, daily = times[-1], step > 0.9 * DAY
    if name == ALWAYS:
        return last + (DAY if daily else step) * np.arange(1, horizon + 1), None
    s = _sessions_around(name, last, horizon)
    if s is None or last < s.start:
        return times[:0], None
    if daily:
        ahead = s.day[s.day > midnight(last)][:horizon] + (last - midnight(last))
    elif not len(ahead := _open_slots(s, times, step, horizon)) and last < s.open[-1]:
        return ahead, None  # there are sessions, but no usual places in them
    return ahead, s.end + DAY - np.timedelta64(1, "ns")


def _period_ends(
    name: str, times: np.ndarray, step: np.timedelta64, horizon: int
) -> tuple[np.ndarray, np.datetime64 | None] | None:
    """`_in_sessions` of weeks and months by their last sessions; None where bars are labelled in another way."""
    last, monthly = times[-1], step >= 27 * DAY
    late = times[-(LATE_MONTHS if monthly else LATE_WEEKS) :]
    if name == ALWAYS or len(late) < 4:
        return None
    if (s := _sessions_around(name, last, int(horizon * step / DAY), first=late[0])) is None:
        return None

    def period(days: np.ndarray) -> np.ndarray:
        return (days.astype("datetime64[M]") if monthly else (days - MONDAY) // WEEK).astype(
            np.int64
        )

    number = period(s.day)
    ends = (
        np.diff(number, append=period(s.end + DAY)) > 0
    )  # not where the calendar ends before its period does
    own, found = _dated(s, late)
    if not found.all() or ends[own[:-1]].mean() < ENDS:  # the last bar's may not be over
        return None
    every = max(1, round(step / DAY / (30.44 if monthly else 7)))
    ahead = s.day[ends & (number > number[own[-1]])][every - 1 :: every]
    return ahead[:horizon] + (last - midnight(last)), None


def _open_slots(s: Sessions, times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """Bar times ahead at the usual places in the sessions, up to each one's close; empty if no places are usual."""
    late = times[times > times[-1] - RECENT_WEEKS["intraday"] * WEEK]
    hours = bool(_owners(s, late)[1].mean() >= IN_HOURS)
    base = s.open if hours else s.day  # bars of hours of their own are placed by the time of day
    own = np.maximum(np.searchsorted(base, late, side="right") - 1, 0)
    ends = bool(
        np.isin(late, s.close).sum() > np.isin(late, s.open).sum()
    )  # bars are stamped with their end
    usual = _usual_places(s, own, late - base[own])
    grid = not len(usual) and hours and step >= SECOND
    if grid:  # each step of the hours, but for the break
        full = s.usual[own[-1]]
        usual = np.arange(
            (late[-1] - base[own[-1]]) % step, s.close[full] - s.open[full] + step, step
        )
    at = np.arange(own[-1], min(own[-1] + horizon + 10, len(base)))[:, None]
    ahead = base[at] + usual  # [sessions, places]
    if hours:
        start, stop = s.pause[at, 0], s.pause[at, 1]
        if ends:
            keep, pause = (
                (ahead > s.open[at]) & (ahead <= s.close[at]),
                (ahead > start) & (ahead <= stop),
            )
        else:
            keep, pause = ahead < s.close[at], (ahead >= start) & (ahead < stop)
        keep &= ~(pause & grid)  # a usual bar that begins in the break outlasts it
    else:  # they end as much earlier on half days as the exchange's do
        close = s.close - s.day
        earlier = np.maximum(close[s.usual] - close, np.timedelta64(0))
        keep = usual <= usual.max(initial=np.timedelta64(0)) - earlier[at]
    return ahead[keep & (ahead > times[-1])][:horizon]


def _usual_places(s: Sessions, own: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Offsets from a session's start at which bars are usual, ascending; empty if no whole session is known."""
    whole = (
        (s.usual[own] == own) & (own > own[0]) & (own < own[-1])
    )  # the first and the last may be cut
    usual, count = np.unique(offset[whole & (offset < DAY)], return_counts=True)
    return usual[2 * count >= len(np.unique(own[whole]))]
