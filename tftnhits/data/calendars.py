"""Bar times ahead: the sessions of an exchange where its calendar explains the bars, else a pattern.

Calendars are those of exchange_calendars, by name. They know holidays and half days, those announced
after the fact too (2012-10-29, a hurricane): for bars that end before one, that is hindsight.
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
    LATE,
    RECENT_WEEKS,
    WEEK,
    TradingDays,
    midnight,
    pattern_ahead,
    periods_ahead,
    plain,
    recent,
    step_of,
    weekday_of,
)

DEFAULT, ALWAYS = "XNYS", "24/7"
# Days back over which bars must agree with a calendar: all of a year's holidays come by
PROOF = 371
# Share of a calendar's sessions that bars may lack
MISSING = 0.05
# Share of bars that may lie outside the sessions, if the weekdays on which the calendar is closed are
# so many times as many as those with such a bar: with less proof, any other exchange would do
STRAY, HEEDED = 0.01, 4
# Share of intraday bars within opening hours; with fewer, bars are placed by the time of day
IN_HOURS = 0.9
# Least share in hours that bars of an exchange have: 6.5 hours of the 16 with those around them
EXTENDED = 1 / 3
SECOND = np.timedelta64(10**9, "ns")
NO_TIME = np.timedelta64(0, "ns")

_YAHOO = """
    L:XLON IL:XLON IR:XDUB PA:XPAR AS:XAMS BR:XBRU LS:XLIS MI:XMIL MC:XMAD DE:XETR F:XFRA SG:XSTU
    DU:XDUS HM:XHAM SW:XSWX VI:XWBO ST:XSTO CO:XCSE HE:XHEL OL:XOSL IC:XICE TL:XTAL RG:XRIS VS:XLIT
    WA:XWAR PR:XPRA BD:XBUD RO:XBSE AT:ASEX IS:XIST ME:XMOS TA:XTAE SR:XSAU JO:XJSE T:XTKS HK:XHKG
    SS:XSHG SZ:XSHG KS:XKRX KQ:XKRX TW:XTAI TWO:XTAI SI:XSES KL:XKLS JK:XIDX BK:XBKK PS:XPHS NS:XBOM
    BO:XBOM KA:XKAR AX:XASX NZ:XNZE TO:XTSE V:XTSE NE:XTSE SA:BVMF MX:XMEX BA:XBUE SN:XSGO CL:XBOG
"""
_ZONES = """
    Europe/London:XLON Europe/Dublin:XDUB Europe/Paris:XPAR Europe/Amsterdam:XAMS Europe/Madrid:XMAD
    Europe/Rome:XMIL Europe/Berlin:XETR Europe/Zurich:XSWX Europe/Stockholm:XSTO Asia/Tokyo:XTKS
    Asia/Hong_Kong:XHKG Asia/Shanghai:XSHG Asia/Kolkata:XBOM Asia/Calcutta:XBOM Asia/Seoul:XKRX
    Asia/Taipei:XTAI Asia/Singapore:XSES Asia/Riyadh:XSAU Australia/Sydney:XASX
    Pacific/Auckland:XNZE America/Toronto:XTSE America/Sao_Paulo:BVMF America/Mexico_City:XMEX
"""
SUFFIXES = dict(pair.split(":") for pair in _YAHOO.split())  # endings of Yahoo's symbols
ZONES = dict(pair.split(":") for pair in _ZONES.split())
_COIN = re.compile(r"[A-Z0-9]+-(USD|USDT|USDC|EUR|GBP|BTC|ETH)")

log = logging.getLogger("tftnhits")


class Market(NamedTuple):
    """How to read the times of a symbol's bars."""

    calendar: str | None = None  # a name of exchange_calendars; None if none explains the bars
    zone: str | None = None  # of the stamps, as their source told it; None if it is unknown
    clock: str | None = None  # zone of weekdays, hours, dates ahead; None: that of the stamps

    def market_time(self, times: np.ndarray) -> np.ndarray:
        """Stamps [R] by the market's clock."""
        return moved(times, self.zone, self.clock)

    def source_time(self, times: np.ndarray) -> np.ndarray:
        """Times [R] of the market's clock as their source would stamp them."""
        return moved(times, self.clock, self.zone)


class Sessions(NamedTuple):
    """An exchange's sessions [N], ascending; times are local, datetime64[ns]."""

    day: np.ndarray  # the date that a session is named by, at midnight
    open: np.ndarray
    close: np.ndarray
    break_start: np.ndarray  # NaT where there is no break
    break_end: np.ndarray
    full: np.ndarray  # number of a full session: its own, or the one before on a short day
    end: np.datetime64  # last day that is known
    zone: str


def bar_minutes(dates: pd.DatetimeIndex) -> float:
    """Median step between bars in minutes; NaN with fewer than two different dates."""
    times = recent(dates)
    return float(step_of(times) / np.timedelta64(1, "m")) if len(times) > 1 else float("nan")


def moved(times: np.ndarray, zone: str | None, other: str | None) -> np.ndarray:
    """Wall times [R] of a zone as those of another one; as they are if one is unknown.

    Of an hour that comes twice as the clocks go back, the first is meant.
    """
    if zone is None or other is None or zone == other:
        return times
    first = np.ones(len(times), bool)
    local = pd.DatetimeIndex(times).tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return local.tz_convert(other).tz_localize(None).to_numpy("datetime64[ns]")


def calendar_of(
    dates: pd.DatetimeIndex,
    symbol: str = "",
    calendar: str | Mapping[str, str | None] | None = None,
    zone: str | None = None,
) -> str | None:
    """The name of the calendar of bars at `dates` [R]: `market_of(…).calendar`."""
    return market_of(dates, symbol, calendar, zone).calendar


def market_of(
    dates: pd.DatetimeIndex,
    symbol: str = "",
    calendar: str | Mapping[str, str | None] | None = None,
    zone: str | None = None,
) -> Market:
    """The calendar that explains bars, and the clock that their times are to be read by.

    Parameters
    ----------
    dates : zone-less local times of the bars [R]
    symbol : its Yahoo suffix (".L", "-USD") names a candidate
    calendar : a name, or names by symbol, decides; where it says nothing, the candidate is 24/7 for
        bars on both days of the weekend, the exchange of the suffix, that of the zone, else XNYS.
        It is taken if next to all bars of the last year lie in its sessions and few of these have
        no bar; or for longer bars if they are the first or last sessions of their weeks or months
    zone : the zone of `dates` ("America/New_York", "UTC+08:00"); None if it is unknown

    Returns
    -------
    Market: with a zone, intraday times go by the calendar's (24/7 and no calendar: UTC), daily and
    longer ones too unless they are labels: more of them midnights in their own zone.

    Raises
    ------
    ConfigError on an unknown name, MissingDependency on a name without exchange_calendars; to
    infer, the package may be missing.
    """
    if not isinstance(calendar, str | Mapping | None):
        raise ConfigError(
            f"The calendar is {shown(calendar)}; give a name such as {DEFAULT}, or a dict of symbols."
        )
    given = calendar.get(symbol) if isinstance(calendar, Mapping) else calendar
    if given is not None:
        given = _resolved(given)
        if given == ALWAYS and zone is None:
            zone = "UTC"
    times = recent(dates)
    if not len(times):
        return Market(given, zone)
    name = given or _candidate(times, symbol, zone)
    clock = _clock(times, name, zone, explained=True)
    if given is not None or _explains(name, moved(times, zone, clock)):
        return Market(name, zone, clock)
    return Market(None, zone, _clock(times, name, zone, explained=False))


def exchange_of(symbol: str) -> str | None:
    """The calendar that a symbol's ending names, as Yahoo writes it; None if it names none."""
    symbol = symbol.upper()
    if _COIN.fullmatch(symbol):
        return ALWAYS
    return SUFFIXES.get(symbol.rpartition(".")[2]) if "." in symbol else None


def _candidate(times: np.ndarray, symbol: str, zone: str | None) -> str:
    weekday = weekday_of(_last_year(times))
    if (weekday == 5).any() and (weekday == 6).any():
        return ALWAYS
    return exchange_of(symbol) or ZONES.get(zone or "", DEFAULT)


def _last_year(times: np.ndarray) -> np.ndarray:
    """The times that a calendar must explain."""
    if step_of(times) >= 1.5 * DAY:
        return times[-LATE:]
    return times[times >= midnight(times[-1:]) - (PROOF - 1) * DAY]


def _clock(times: np.ndarray, name: str, zone: str | None, explained: bool) -> str | None:
    """The zone to read times of a known zone in, by a calendar that explains them or does not."""
    if zone is None:
        return None
    sessions = None if name == ALWAYS else sessions_of(name, times[0], times[-1])
    there = "UTC" if sessions is None else sessions.zone
    if step_of(times) < 0.9 * DAY:
        return there if explained else "UTC"
    local = moved(times, zone, there)
    more = np.sum(local == midnight(local)) - np.sum(times == midnight(times))
    return there if more > 0 or (explained and more == 0) else None


def _resolved(name: str) -> str:
    """`name` without aliases such as NYSE; raises ConfigError, MissingDependency."""
    if name == ALWAYS:
        return name
    try:
        from exchange_calendars import resolve_alias
        from exchange_calendars.errors import InvalidCalendarName
    except Exception as error:  # an old one fails with a new pandas in ways of its own
        raise MissingDependency(
            f"The calendar {shown(name)} needs exchange_calendars; pip install "
            "'tftnhits[live-data]', or leave it out."
        ) from error
    try:
        return resolve_alias(name)
    except (InvalidCalendarName, TypeError) as error:  # TypeError: what has no hash
        raise ConfigError(
            f"There is no calendar {shown(name)}; give one of exchange_calendars, such as XNYS, "
            "XLON, XETR, XTKS, XHKG or 24/7, or None to infer it from the bars."
        ) from error


def sessions_of(name: str, first: np.datetime64, last: np.datetime64) -> Sessions | None:
    """The calendar's sessions in the decades of `first` to `last`; None if they can't be had."""
    years = np.array([first, last]).astype("datetime64[Y]").astype(int) + 1970
    start, end = np.clip(years, 1680, 2259) // 10 * 10
    return _sessions(name, int(start), int(end) + 9)


@lru_cache(maxsize=64)
def _sessions(name: str, first: int, last: int) -> Sessions | None:
    """Sessions of the years `first` to `last`: one takes as long to build as thirty, 0.1 s."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas 3 says of exchange_calendars' code
            return _local(*_built(name, pd.Timestamp(first, 1, 1), pd.Timestamp(last, 12, 31)))
    except ImportError:
        log.info("Holidays are not known: pip install 'tftnhits[live-data]' brings the calendars.")
    except (
        Exception
    ) as error:  # beyond its range; and some fail with a new pandas in ways of their own
        log.info("The calendar %s can't be had for %d to %d: %s", name, first, last, error)
    return None


def _built(name: str, start: pd.Timestamp, end: pd.Timestamp):
    """The library's calendar from `start` to `end`, or as much of that as it knows; its last day."""
    from exchange_calendars import get_calendar

    try:
        return get_calendar(name, start, end), end
    except ValueError:  # one of them is beyond its bounds
        usual = get_calendar(name)
        end = min(end, usual.bound_max() or end)
        return get_calendar(name, max(start, usual.bound_min() or start), end), end


def _local(calendar, end: pd.Timestamp) -> Sessions:
    """The library's schedule in local time."""
    table = calendar.schedule
    columns = ("open", "close", "break_start", "break_end")
    times = {
        name: table[name].dt.tz_convert(calendar.tz).dt.tz_localize(None).to_numpy("datetime64[ns]")
        for name in columns
    }
    short = table.index.isin(calendar.early_closes) | table.index.isin(calendar.late_opens)
    full = np.maximum.accumulate(np.where(short, np.argmin(short), np.arange(len(table))))
    day = table.index.to_numpy("datetime64[ns]")
    return Sessions(day=day, full=full, end=end.to_datetime64(), zone=str(calendar.tz), **times)


def session_at(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The session in whose hours a time lies, else that of its date; whether in hours; or in any."""
    number = np.maximum(np.searchsorted(s.open, times, side="right") - 1, 0)
    inside = (times >= s.open[number]) & (times <= s.close[number])
    dated, has_session = session_on(s, times)
    return np.where(inside, number, dated), inside, inside | has_session


def session_on(s: Sessions, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The session of each time's date [R], and whether there is one [R]."""
    days = midnight(times)
    number = np.minimum(np.searchsorted(s.day, days), len(s.day) - 1)
    return number, s.day[number] == days


def in_hours(s: Sessions, times: np.ndarray) -> bool:
    """Whether intraday bars keep to the opening hours, of late."""
    late = times[times > times[-1] - RECENT_WEEKS["intraday"] * WEEK]
    return bool(session_at(s, late)[1].mean() >= IN_HOURS)


def _explains(name: str, times: np.ndarray) -> bool:
    """Whether next to all bars of late are in sessions and few sessions have none."""
    late, step = _last_year(times), step_of(times)
    if name == ALWAYS:
        days = np.unique(midnight(late))
        span = (days[-1] - days[0]) // DAY + 1
        return bool(step < 1.5 * DAY and span - len(days) <= max(1, MISSING * span))
    s = sessions_of(name, late[0], late[-1])
    if s is None:
        return False
    if step >= 1.5 * DAY:
        return periods_ahead(times, step, 1, _trading_days(s))[1]
    late = late[(late >= s.day[0]) & (late < s.end + DAY)]
    if step > 0.9 * DAY:
        number, in_session = session_on(s, late)
        inside = in_session
    else:
        number, inside, in_session = session_at(s, late)
    if not in_session.any() or inside.mean() < EXTENDED:
        return False
    number, stray = number[in_session], late[~in_session]
    span = number[-1] - number[0] + 1
    if len(stray):
        days = s.day[number[[0, -1]]].astype("datetime64[D]")
        closed = np.busday_count(days[0], days[1] + 1) - span
        unlike = HEEDED * len(np.unique(midnight(stray))) > closed
        if unlike or len(stray) > max(1, STRAY * len(late)):
            return False
    return bool(span - len(np.unique(number)) <= max(1, MISSING * span))


def _trading_days(s: Sessions) -> TradingDays:
    return TradingDays(s.day.astype("datetime64[D]"), s.end.astype("datetime64[D]"))


def next_sessions(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | Market | None = None
) -> pd.DatetimeIndex:
    """The `horizon` bar times after the last of `dates` [R]; NaT if there are no dates.

    With a calendar (see `calendar_of`) daily bars come at its sessions and intraday bars at the usual
    times of these, until they close; round the clock if it is 24/7. Without one, and beyond its
    range, daily bars keep the weekdays that are usual of late, intraday bars the usual times of the
    week (of the day while the history is shorter than two weeks), and holidays are not known. Longer
    bars go on by the pattern that they follow (`patterns.periods_ahead`). A single date counts as daily.
    With a Market (`market_of`) `dates` are its source's, and so are those returned.
    """
    return sessions_ahead(dates, horizon, calendar)[0]


def sessions_ahead(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | Market | None = None
) -> tuple[pd.DatetimeIndex, int]:
    """`next_sessions`, and how many of them, the first ones, are as sure as the calendar."""
    market = calendar if isinstance(calendar, Market) else Market(calendar)
    times = recent(market.market_time(plain(dates)))
    if not len(times) or horizon < 1:
        return pd.DatetimeIndex(np.full(max(horizon, 0), np.datetime64("NaT", "ns"))), horizon
    ahead, known_to = _in_sessions(market.calendar, times, horizon)
    told = horizon if ahead is None else len(ahead)
    if ahead is None:
        ahead = pattern_ahead(times, step_of(times), horizon)
    elif told < horizon:
        message = (
            "The calendar %s tells %d of the %d bars after %s; the others go by the bars' pattern."
        )
        log.warning(message, market.calendar, told, horizon, times[-1])
        before, left = np.concatenate([times, ahead]), horizon - told
        ahead = np.concatenate([ahead, pattern_ahead(before, step_of(times), left, known_to)])
    return pd.DatetimeIndex(market.source_time(ahead)), told


def _in_sessions(
    name: str | None, times: np.ndarray, horizon: int
) -> tuple[np.ndarray | None, np.datetime64 | None]:
    """Bar times ahead by the calendar, as far as it tells, and up to when; None if it says nothing."""
    last, step = times[-1], step_of(times)
    if name == ALWAYS and step < 1.5 * DAY:
        return last + (DAY if step > 0.9 * DAY else step) * np.arange(1, horizon + 1), None
    if name is None or name == ALWAYS:
        return None, None
    until = last + 30 * DAY + 2 * horizon * max(step, DAY)
    s = sessions_of(name, times[0], until)
    if s is None or last < s.day[0]:
        return (None if step >= 1.5 * DAY else times[:0]), None
    if step >= 1.5 * DAY:
        ahead, by_sessions = periods_ahead(times, step, horizon, _trading_days(s))
        return (ahead if by_sessions else None), None
    if step > 0.9 * DAY:
        ahead = s.day[s.day > midnight(last)][:horizon] + (last - midnight(last))
    else:
        ahead = _slots_ahead(s, times, step, horizon)
        if not len(ahead) and last < s.open[-1]:
            return ahead, None  # there are sessions, but no usual places in them
    return ahead, s.end + DAY - np.timedelta64(1, "ns")


def _slots_ahead(s: Sessions, times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """Bar times ahead at the usual places in the sessions, up to each one's close."""
    late = times[times > times[-1] - RECENT_WEEKS["intraday"] * WEEK]
    hours = in_hours(s, times)
    base = s.open if hours else s.day  # bars of hours of their own are placed by the time of day
    number = np.maximum(np.searchsorted(base, late, side="right") - 1, 0)
    usual = _usual_places(s, number, late - base[number])
    grid = hours and not len(usual) and step >= SECOND
    if grid:  # each step of the hours, but for the break
        full = s.full[number[-1]]
        length = s.close[full] - s.open[full]
        usual = np.arange((late[-1] - base[number[-1]]) % step, length + step, step)
    at = np.arange(number[-1], min(number[-1] + horizon + 10, len(base)))[:, None]
    ahead = base[at] + usual  # [sessions, places]
    if hours:
        keep = _open_at(s, at, ahead, stamped_with_end(s, late), grid)
    else:  # they end as much earlier on half days as the exchange's do
        close = s.close - s.day
        earlier = np.maximum(close[s.full] - close, NO_TIME)
        keep = usual <= usual.max(initial=NO_TIME) - earlier[at]
    return ahead[keep & (ahead > times[-1])][:horizon]


def stamped_with_end(s: Sessions, times: np.ndarray) -> bool:
    """Whether intraday bars are stamped with their end."""
    return bool(np.isin(times, s.close).sum() > np.isin(times, s.open).sum())


def _open_at(
    s: Sessions, at: np.ndarray, times: np.ndarray, with_end: bool, grid: bool
) -> np.ndarray:
    """Whether bars `times` [sessions, places] of the sessions `at` are made in their hours.

    Breaks are heeded on a `grid` of even steps: a usual bar that begins in the break outlasts it.
    """
    start, stop = s.break_start[at], s.break_end[at]
    if with_end:
        is_open = (times > s.open[at]) & (times <= s.close[at])
        in_break = (times > start) & (times <= stop)
    else:
        is_open = times < s.close[at]
        in_break = (times >= start) & (times < stop)
    return is_open & ~(in_break & grid)


def _usual_places(s: Sessions, number: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Offsets from a session's start at which bars are usual; empty if no whole session is known."""
    # The first session and the last one may be cut
    whole = (s.full[number] == number) & (number > number[0]) & (number < number[-1])
    usual, count = np.unique(offset[whole & (offset < DAY)], return_counts=True)
    return usual[2 * count >= len(np.unique(number[whole]))]


def session_lengths(dates: pd.DatetimeIndex, calendar: str | None) -> np.ndarray:
    """Log of the length of each bar's session relative to a full one, [R]: below 0 on half days.

    0 without a calendar, beyond its range, and for dates without a session. A break for lunch is no
    part of a session.
    """
    times, out = plain(dates), np.zeros(len(dates))
    if calendar in (None, ALWAYS) or not len(times) or np.isnat(times).any():
        return out
    s = sessions_of(calendar, times.min(), times.max())
    if s is None:
        return out
    pause = s.break_end - s.break_start
    length = s.close - s.open - np.where(np.isnat(pause), NO_TIME, pause)
    number, _, in_session = session_at(s, times)
    out[in_session] = np.log(length / length[s.full])[number[in_session]]
    return out
