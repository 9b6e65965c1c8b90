"""The market that an origin sees: the bars of other symbols that had closed by its own close.

Symbols of one market (a calendar, a bar length) share its sessions by their stamps. What other
markets add is told by instants: their latest session that closed since the origin's bar before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import quoted
from .calendars import Market, exchange_of, market_of, sessions_ahead
from .dates import moved
from .patterns import DAY, INTRADAY, LONGER, midnight, recent, step_of
from .sessions import ALWAYS, NO_TIME, Sessions, sessions_of

ALIKE = 0.98  # share of the stamps of a common span that symbols of one market have in common
WITHIN = 0.99  # share that a symbol with gaps has in common with a market whose calendar is known
SAME_LENGTH = 1.25  # bars are of one length if the ratio is less: months of 30 and 31 days
TRIES = 20  # markets that a symbol without a calendar is compared with
NEVER = np.iinfo(np.int64).max


class Timeline(NamedTuple):
    """Bar times that symbols have in common, by their market's clock, datetime64[ns]."""

    times: np.ndarray  # [R], NaT where there are no dates
    ahead: np.ndarray  # [H] those after them
    told: int  # how many of these the calendar tells
    step: np.timedelta64  # median
    market: Market
    exchange: str | None = None  # that the symbols' endings name

    @property
    def sessions(self) -> Sessions | None:
        """Those of the calendar, over all its bars."""
        return sessions_of(self.market.calendar, self.times[0], self.times[-1])

    @property
    def zone(self) -> str | None:
        """The zone that makes instants of the times; None where it is unknown."""
        market = self.market
        s = self.sessions
        if self.step < INTRADAY and market.zone is None:
            return s.zone if s is not None and s.holds_hours(self.times) else None
        if s is not None:
            return s.zone
        return market.clock or market.zone or ("UTC" if market.calendar == ALWAYS else None)


class Joined(NamedTuple):
    """Numbers of sessions, each of one market, for the bars [N] of all symbols."""

    session: np.ndarray  # [N] that of a bar's own market; -1 without dates
    others: Iterator[np.ndarray]  # [N] those of other markets that it sees, in turn; -1 for none
    market: np.ndarray  # [S] number of each symbol's market
    timed: np.ndarray  # [S] whether the instants of its bars are known


def timelines(
    bars: pd.DataFrame,
    symbols: Sequence[str],
    length: np.ndarray,
    horizon: int,
    calendar: str | Mapping[str, str | None] | None,
) -> tuple[list[Timeline], np.ndarray]:
    """The different timelines of validated bars, and which one is each symbol's, [S].

    `length` [S] are the symbols' numbers of bars; `bars.attrs["zones"]` names time zones.
    """
    stamps = bars["date"].to_numpy("datetime64[ns]")
    zones = bars.attrs.get("zones", {})
    lines: dict[tuple, Timeline] = {}
    keys = []
    for symbol, dates in zip(symbols, np.split(stamps, np.cumsum(length)[:-1]), strict=True):
        given = calendar.get(symbol) if isinstance(calendar, Mapping) else None
        exchange = exchange_of(symbol)
        key = dates.tobytes(), zones.get(symbol), exchange, quoted(given)
        keys.append(key)
        if key not in lines:
            market = market_of(dates, symbol, calendar, zones.get(symbol))
            times = market.market_time(dates)
            ahead, told = sessions_ahead(times, horizon, market.calendar)
            ahead = ahead.to_numpy("datetime64[ns]")
            lines[key] = Timeline(times, ahead, told, step_of(recent(times)), market, exchange)
    number = {key: i for i, key in enumerate(lines)}
    return list(lines.values()), np.array([number[key] for key in keys])


def join_markets(lines: Sequence[Timeline], which: np.ndarray) -> Joined:
    """Number the sessions of each market, and find those of other markets that each bar sees.

    A bar that closes at C, its predecessor at P, sees of each other market the latest session that
    closed in (P, C]: on a Monday in Tokyo New York's Friday, and nothing of a market that was shut.
    Where a time zone is unknown no other market is seen, nor is this one by others.
    """
    # Of each calendar the longest timeline stands for its market
    longest = {line.market.calendar: line for line in sorted(lines, key=lambda x: len(x.times))}
    known = [line for name, line in longest.items() if name not in (None, ALWAYS)]
    lines = [_adopted(line, known) for line in lines]
    zones = [line.zone for line in lines]
    market = np.array(_markets(lines, zones))
    many = market.max() > 0
    closes = [_closes(*pair) if many else None for pair in zip(lines, zones, strict=True)]
    # Number the sessions, and tell when all bars of each had closed
    session: dict[int, np.ndarray] = {}
    known_from: list[np.ndarray] = []
    offsets = [0]
    for number in range(market.max() + 1):
        members = np.flatnonzero(market == number)
        stamps = np.unique(np.concatenate([lines[i].times for i in members]))
        latest = np.full(len(stamps), -NEVER)
        for i in members:
            place = np.searchsorted(stamps, lines[i].times)
            session[i] = place + offsets[-1]
            latest[place] = np.maximum(latest[place], NEVER if closes[i] is None else closes[i][1])
        known_from.append(np.maximum.accumulate(latest))
        offsets.append(offsets[-1] + len(stamps))

    def seen_of_others() -> Iterator[np.ndarray]:
        """For each market that others see, its latest session known since a bar's predecessor."""
        for number, known in enumerate(known_from):
            if known[0] == NEVER:
                continue
            seen = [np.full(len(line.times), -1) for line in lines]
            for i in range(len(lines)):
                if closes[i] is not None and market[i] != number:
                    sees = closes[i][0]
                    place = np.searchsorted(known, sees, side="right") - 1
                    fresh = (place >= 0) & (known[place] > np.concatenate([sees[:1], sees[:-1]]))
                    seen[i] = np.where(fresh, place + offsets[number], -1)
            yield np.concatenate([seen[i] for i in which])

    return Joined(
        session=np.concatenate([session[i] for i in which]),
        others=seen_of_others(),
        market=market[which],
        timed=np.array([zone is not None for zone in zones])[which],
    )


def unknown_zones(
    symbols: Sequence[str], joined: Joined, intraday: np.ndarray
) -> dict[str, list[str]]:
    """By symbol of an unknown time zone, a sentence on what is assumed, or which inputs it lacks.

    `intraday` [S] says whose bars are shorter than a day.
    """
    notes = {}
    for s in np.flatnonzero(~joined.timed):
        others = np.flatnonzero(joined.market != joined.market[s])
        if intraday[s]:
            notes[symbols[s]] = [
                f"The time zone of {symbols[s]} is unknown, so its hours are taken for those of "
                "its market; give a time-zone-aware index or a calendar."
            ]
        if len(others):
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            notes.setdefault(symbols[s], []).append(
                f"The time zone of {symbols[s]} is unknown, so bars of other markets "
                f"({symbols[others[0]]}{more}) are no input to its forecast; give a "
                "time-zone-aware index or a calendar."
            )
    return notes


def _closes(line: Timeline, zone: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """UTC instants [R] in ns, up to which a bar sees others and from which it is seen.

    They are one for a daily bar of a calendar, which closes with its session, and for intraday
    bars, a step after their stamp or with the session. The others (longer bars, days without a
    session) are safe on both sides: their first day's begin and their last day's end.
    """
    if zone is None:
        return None
    times, step = line.times, line.step
    s = line.sessions
    sees = midnight(times)
    seen = sees + DAY
    if step < INTRADAY:
        sees = times + step
        if s is not None and s.ends_bars(times):
            sees = times
        elif s is not None:
            number, in_hours, _ = s.of(times)
            close = np.where(in_hours & (times < s.close[number]), s.close[number], sees)
            sees = np.minimum(sees, close)
        seen = sees
    elif step >= LONGER:
        seen = seen + step + (3 * DAY if step >= 27 * DAY else NO_TIME)
    elif s is not None:
        number, in_session = s.of_day(times)
        sees[in_session] = seen[in_session] = s.close[number[in_session]]
    elif line.market.calendar == ALWAYS:
        sees = np.where(times == sees, seen, sees)
    return moved(sees, zone, "UTC").view(np.int64), moved(seen, zone, "UTC").view(np.int64)


def _markets(lines: Sequence[Timeline], zones: Sequence[str | None]) -> list[int]:
    """The number of the market that each timeline belongs to, [L]."""
    market: list[int] = []
    leaders: list[int] = []  # first timeline of each market
    stamps: list[np.ndarray] = []  # of each market, as far as its timelines reach
    for i, line in enumerate(lines):
        # Symbols of nothing but gaps are not compared each with each
        for number, leader in enumerate(leaders[: None if line.market.calendar else TRIES]):
            both_timed = (zones[i] is None) == (zones[leader] is None)
            if both_timed and _same_market(lines[leader], line, stamps[number]):
                break
        else:
            number = len(leaders)
            leaders.append(i)
            stamps.append(line.times)
        if line.times[0] < stamps[number][0] or line.times[-1] > stamps[number][-1]:
            stamps[number] = np.union1d(stamps[number], line.times)
        market.append(number)
    return market


def _same_market(leader: Timeline, line: Timeline, stamps: np.ndarray) -> bool:
    """Whether a timeline is of the leader's market: the calendar's, or that of the `stamps`."""
    if not 1 / SAME_LENGTH < leader.step / line.step < SAME_LENGTH:
        return False
    if leader.market.calendar and line.market.calendar:
        return leader.market.calendar == line.market.calendar
    if leader.market.zone != line.market.zone or leader.exchange != line.exchange:
        return False
    shared, some, every = _overlap(line.times, stamps)
    if not some or not every:  # at no time together, there is nothing that tells them apart
        return True
    return shared >= ALIKE * (some + every - shared)


def _adopted(line: Timeline, lines: Sequence[Timeline]) -> Timeline:
    """A timeline with too many gaps for a calendar, as of the market that it is a part of."""
    if line.market.calendar is not None or line.market.zone is not None:
        return line
    for other in lines:
        shared, some, _ = _overlap(line.times, other.times)
        fits = line.exchange in (None, other.market.calendar)
        fits = fits and 1 / SAME_LENGTH < line.step / other.step < SAME_LENGTH
        if fits and 0 < shared >= WITHIN * some:
            return line._replace(market=Market(other.market.calendar))
    return line


def _overlap(one: np.ndarray, other: np.ndarray) -> tuple[int, int, int]:
    """How many stamps two timelines share, and how many either has, in the span of both."""
    first, last = max(one[0], other[0]), min(one[-1], other[-1])
    one = one[(one >= first) & (one <= last)]
    other = other[(other >= first) & (other <= last)]
    return int(np.isin(one, other).sum()), len(one), len(other)
