"""Bar times ahead: sessions of an exchange where its calendar explains the bars, else a pattern.

Calendars are those of exchange_calendars, by name; times are read by the market's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import ConfigError, quoted
from .dates import is_zone, moved
from .patterns import (
    DAY,
    INTRADAY,
    LATE,
    LONGER,
    midnight,
    pattern_ahead,
    periods_ahead,
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


def exchange_of(symbol: str) -> str | None:
    """The calendar that a symbol's ending names, as Yahoo writes it; None if it names none."""
    symbol = symbol.upper()
    if _COIN.fullmatch(symbol):
        return ALWAYS
    return SUFFIXES.get(symbol.rpartition(".")[2]) if "." in symbol else None


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
            f"The calendar is {quoted(calendar)}; give a name such as XNYS, or a dict of symbols."
        )
    if zone is not None and not is_zone(zone):
        raise ConfigError(
            f"There is no time zone {quoted(zone)}; give one such as America/New_York or UTC+08:00."
        )
    given = calendar.get(symbol) if isinstance(calendar, Mapping) else calendar
    if given is not None:
        given = canonical_name(given)
        if given == ALWAYS and zone is None:
            zone = "UTC"
    times = recent(dates)
    if not len(times):
        return Market(given, zone)
    return _judged(times, symbol, given, zone)


def _judged(times: np.ndarray, symbol: str, given: str | None, zone: str | None) -> Market:
    """The market of known times [R]; a calendar that is given needs no proof."""
    # The candidate
    step = step_of(times)
    proof = midnight(times[-1]) - (PROOF - 1) * DAY
    first = max(len(times) - LATE, 0) if step >= LONGER else np.searchsorted(times, proof)
    name = given or exchange_of(symbol) or ZONES.get(zone or "", DEFAULT)
    if given is None and {5, 6} <= {*weekday_of(times[first:])}:
        name = ALWAYS
    # Its clock, unless the stamps are labels
    sessions = sessions_of(name, times[0], times[-1])
    clock = "UTC" if sessions is None else sessions.zone
    local = moved(times, zone, clock)
    labels = 0  # how many more are midnights in their own zone than by the clock
    if step >= INTRADAY:
        labels = np.sum(times == midnight(times)) - np.sum(local == midnight(local))
    if labels > 0:
        local = times
    # The proof
    least = SHIFTED if zone is None else EXTENDED
    if given is not None or _explains(name, sessions, local[first:], step, least):
        if labels > 0 or zone is None:
            return Market(name, zone)
        # The offset -05:00 is this clock's, of a season, if it moves nothing
        return Market(name, clock if (local == times).all() else zone, clock)
    if zone is None or (step >= INTRADAY and labels >= 0):
        return Market(None, zone)
    return Market(None, zone, "UTC" if step < INTRADAY else clock)


def _explains(
    name: str, s: Sessions | None, late: np.ndarray, step: np.timedelta64, least: float
) -> bool:
    """Whether nearly all late bars are in sessions, some in hours, and few sessions lack bars."""
    if name == ALWAYS:
        days = np.unique(midnight(late))
        span = (days[-1] - days[0]) // DAY + 1
        return bool(step < LONGER and span - len(days) <= max(1, MISSING * span))
    if s is None:
        return False
    if step >= LONGER:
        return periods_ahead(late, step, 1, s.day)[1]
    # Bars in sessions, and those that stray on days that the calendar knows
    late = late[(late >= s.day[0]) & (late < s.end + DAY)]
    number, in_hours, in_session = s.of(late)
    if step >= INTRADAY:
        number, in_session = s.of_day(late)
        in_hours = in_session
    if not in_session.any() or in_hours.mean() < least:
        return False
    stray = late[~in_session]
    number = number[in_session]
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

    With a calendar daily bars come at its sessions and intraday bars at the usual times of these,
    until they close; round the clock if it is 24/7. Without one, and beyond its range, they keep
    the usual times of the week, and longer bars their pattern (`patterns`). A single date counts as
    daily. With a Market (`market_of`) dates are as its source has them.
    """
    return sessions_ahead(dates, horizon, calendar)[0]


def sessions_ahead(
    dates: pd.DatetimeIndex, horizon: int, calendar: str | Market | None = None
) -> tuple[pd.DatetimeIndex, int]:
    """`next_sessions`, and how many of them, the first ones, are as sure as the calendar."""
    market = calendar if isinstance(calendar, Market) else Market(calendar)
    name = market.calendar
    times = recent(market.market_time(np.asarray(dates, "datetime64[ns]")))
    if not len(times) or horizon < 1:
        return pd.DatetimeIndex(np.full(max(horizon, 0), np.datetime64("NaT", "ns"))), horizon
    last = times[-1]
    step = step_of(times)
    s = sessions_of(name, times[0], last + 31 * DAY + 2 * horizon * max(step, DAY))
    told = horizon
    if name == ALWAYS and step < LONGER:
        ahead = last + (DAY if step > INTRADAY else step) * np.arange(1, horizon + 1)
    elif name in (None, ALWAYS):
        ahead = pattern_ahead(times, step, horizon)
    elif step >= LONGER:
        ahead, by_sessions = periods_ahead(times, step, horizon, s and s.day)
        told = len(ahead) if by_sessions else horizon
    else:
        known = s is not None and last >= s.day[0]
        ahead = _days_or_slots_ahead(s, times, step, horizon) if known else times[:0]
        told = len(ahead)
    if told < horizon:
        log.warning(
            "The calendar %s tells %d of the %d bars after %s; the others go by the bars' pattern.",
            *(name, told, horizon, last),
        )
        others = pattern_ahead(np.concatenate([times, ahead]), step, horizon - told)
        ahead = np.concatenate([ahead, others])
    return pd.DatetimeIndex(market.source_time(ahead)), told


def _days_or_slots_ahead(
    s: Sessions, times: np.ndarray, step: np.timedelta64, horizon: int
) -> np.ndarray:
    """Bar times ahead: each session's day, or the usual places in it, fewer in short ones."""
    if step > INTRADAY:
        return s.day[s.day > midnight(times[-1])][:horizon] + (times[-1] - midnight(times[-1]))
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
    if not len(usual) and in_hours and step >= np.timedelta64(1, "s"):
        # Each step in a full session's hours but for the break; of bars' ends or starts
        full = s.full[number[-1]]
        usual = np.arange(offset[-1] % step, s.close[full] - s.open[full] + step, step)
        end = s.open[full] + usual + (NO_TIME if s.ends_bars(late) else step)
        start = end - step
        paused = (start >= s.break_start[full]) & (start < s.break_end[full])
        usual = usual[(start >= s.open[full]) & (start < s.close[full]) & ~paused]
    # The last place comes earlier by as much as a session is shorter than a full one
    coming = np.arange(number[-1], min(number[-1] + horizon + 10, len(base)))
    length = s.close - base
    earlier = np.maximum(length[s.full[coming]] - length[coming], NO_TIME)
    ahead = base[coming, None] + usual  # [sessions, places]
    inside = usual <= usual.max(initial=NO_TIME) - earlier[:, None]
    return ahead[inside & (ahead > times[-1])][:horizon]
