"""Bar times ahead: sessions of an exchange where its calendar explains the bars, else a pattern.

Calendars are those of exchange_calendars, by name; times are read by the market's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import ConfigError, shown
from .dates import is_zone
from .patterns import (
    DAY,
    LATE,
    midnight,
    pattern_ahead,
    periods_ahead,
    plain,
    recent,
    step_of,
    weekday_of,
)
from .sessions import ALWAYS, NO_TIME, Sessions, canonical_name, late_weeks, log, sessions_of

DEFAULT = "XNYS"
PROOF = 371  # days back that a calendar must explain: all of a year's holidays come by
MISSING = 0.05  # share of a calendar's sessions that bars may lack
STRAY = 0.01  # share of bars that may lie outside them, if the calendar's closed weekdays have
HEEDED = 4  # times as many as those with such a bar: with less proof, any exchange would do
EXTENDED = 0.4  # least share in opening hours: 6.5 hours of the 16 with those around them
SHIFTED = 1 / 3  # and where the zone is unknown: New York's bars may be stamped in UTC
SECOND = np.timedelta64(1, "s")

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
    ConfigError on an unknown name or zone, MissingDependency on a name without exchange_calendars;
    to infer, the package may be missing.
    """
    if not isinstance(calendar, str | Mapping | None):
        raise ConfigError(
            f"The calendar is {shown(calendar)}; give a name such as XNYS, or a dict of symbols."
        )
    if zone is not None and not is_zone(zone):
        raise ConfigError(
            f"There is no time zone {shown(zone)}; give one such as America/New_York or UTC+08:00."
        )
    given = calendar.get(symbol) if isinstance(calendar, Mapping) else calendar
    if given is not None:
        given = canonical_name(given)
        if given == ALWAYS and zone is None:
            zone = "UTC"
    times = recent(dates)
    if not len(times):
        return Market(given, zone)
    name = given or _candidate(times, symbol, zone)
    clock = _clock(times, name, zone, explained=True)
    least = SHIFTED if zone is None else EXTENDED
    local = moved(times, zone, clock)
    if given is not None or _explains(name, local, least):
        if clock and (local == times).all():  # the offset -05:00 is this clock's, of a season
            zone = clock
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
    sessions = sessions_of(name, times[0], times[-1])
    there = "UTC" if sessions is None else sessions.zone
    if step_of(times) < 0.9 * DAY:
        return there if explained else "UTC"
    local = moved(times, zone, there)
    more = np.sum(local == midnight(local)) - np.sum(times == midnight(times))
    return there if more > 0 or (explained and more == 0) else None


def _explains(name: str, times: np.ndarray, least: float) -> bool:
    """Whether nearly all late bars are in sessions, some in hours, and few sessions lack bars."""
    late, step = _last_year(times), step_of(times)
    if name == ALWAYS:
        days = np.unique(midnight(late))
        span = (days[-1] - days[0]) // DAY + 1
        return bool(step < 1.5 * DAY and span - len(days) <= max(1, MISSING * span))
    s = sessions_of(name, times[0], times[-1])
    if s is None:
        return False
    if step >= 1.5 * DAY:
        return periods_ahead(times, step, 1, s.trading_days(late[0], late[-1] + 31 * DAY))[1]
    late = late[(late >= s.day[0]) & (late < s.end + DAY)]
    number, in_hours, in_session = s.at(late)
    if step > 0.9 * DAY:
        number, in_session = s.on(late)
        in_hours = in_session
    if not in_session.any() or in_hours.mean() < least:
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


def next_sessions(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | Market | None = None
) -> pd.DatetimeIndex:
    """The `horizon` bar times after the last of `dates` [R]; NaT if there are no dates.

    With a calendar (`calendar_of`) daily bars come at its sessions and intraday bars at the usual
    times of these, until they close; round the clock if it is 24/7. Without one, and beyond its
    range, they keep the usual times of the week, and longer bars their pattern (`patterns`). A
    single date counts as daily. With a Market (`market_of`) dates are as its source has them.
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
        log.warning(
            "The calendar %s tells %d of the %d bars after %s; the others go by the bars' pattern.",
            *(market.calendar, told, horizon, times[-1]),
        )
        before = np.concatenate([times, ahead])
        others = pattern_ahead(before, step_of(times), horizon - told, known_to)
        ahead = np.concatenate([ahead, others])
    return pd.DatetimeIndex(market.source_time(ahead)), told


def _in_sessions(
    name: str | None, times: np.ndarray, horizon: int
) -> tuple[np.ndarray | None, np.datetime64 | None]:
    """Times ahead by the calendar, as far as it tells, and up to when; None if it says nothing."""
    last, step = times[-1], step_of(times)
    if name is None or (name == ALWAYS and step >= 1.5 * DAY):
        return None, None
    if name == ALWAYS:
        return last + (DAY if step > 0.9 * DAY else step) * np.arange(1, horizon + 1), None
    until = last + 31 * DAY + 2 * horizon * max(step, DAY)
    s = sessions_of(name, times[0], until)
    if step >= 1.5 * DAY:
        days = s and s.trading_days(times[-LATE:][0], until)
        ahead, by_sessions = periods_ahead(times, step, horizon, days)
        return (ahead if by_sessions else None), None
    if s is None or last < s.day[0]:
        return times[:0], None
    if step > 0.9 * DAY:
        ahead = s.day[s.day > midnight(last)][:horizon] + (last - midnight(last))
    else:
        ahead = _slots_ahead(s, times, step, horizon)
        if not len(ahead) and last < s.open[-1]:
            return ahead, None  # there are sessions, but no usual places in them
    return ahead, s.end + DAY - np.timedelta64(1, "ns")


def _slots_ahead(s: Sessions, times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """Bar times ahead at the usual places in the sessions, fewer in short ones."""
    late = late_weeks(times)
    in_hours = s.holds_hours(times)
    # Bars of hours of their own are placed by the time of day
    base = s.open if in_hours else s.day
    number = np.maximum(np.searchsorted(base, late, side="right") - 1, 0)
    offset = late - base[number]
    # The first session and the last one may be cut
    whole = (s.full[number] == number) & (number > number[0]) & (number < number[-1])
    usual, count = np.unique(offset[whole & (offset < DAY)], return_counts=True)
    usual = usual[2 * count >= len(np.unique(number[whole]))]
    if not len(usual) and in_hours and step >= SECOND:
        usual = _even_places(s, s.full[number[-1]], offset[-1] % step, step, s.ends_bars(late))
    # The last place comes earlier by as much as a session is shorter than a full one
    at = np.arange(number[-1], min(number[-1] + horizon + 10, len(base)))
    length = s.close - base
    earlier = np.maximum(length[s.full[at]] - length[at], NO_TIME)
    ahead = base[at, None] + usual  # [sessions, places]
    keep = usual <= usual.max(initial=NO_TIME) - earlier[:, None]
    return ahead[keep & (ahead > times[-1])][:horizon]


def _even_places(
    s: Sessions, full: int, first: np.timedelta64, step: np.timedelta64, with_end: bool
) -> np.ndarray:
    """Offsets of each step in a full session's hours but for the break; of bars' ends or starts."""
    places = np.arange(first, s.close[full] - s.open[full] + step, step)
    times = s.open[full] + places
    start, stop = s.break_start[full], s.break_end[full]
    if with_end:
        keep = (places > NO_TIME) & (times <= s.close[full]) & ~((times > start) & (times <= stop))
    else:
        keep = (times < s.close[full]) & ~((times >= start) & (times < stop))
    return places[keep]


def session_lengths(dates: pd.DatetimeIndex, calendar: str | None) -> np.ndarray:
    """Log of the length of each bar's session relative to a full one, [R]: below 0 on half days.

    0 without a calendar, beyond its range, and for dates without a session. A break for lunch is no
    part of a session.
    """
    times, out = plain(dates), np.zeros(len(dates))
    known = len(times) and not np.isnat(times).any()
    s = sessions_of(calendar, times.min(), times.max()) if known else None
    if s is None:
        return out
    pause = s.break_end - s.break_start
    length = s.close - s.open - np.where(np.isnat(pause), NO_TIME, pause)
    number, _, in_session = s.at(times)
    out[in_session] = np.log(length / length[s.full])[number[in_session]]
    return out
