"""The market that an origin sees: the bars of other symbols that had closed by its own close.

Symbols of one market (a calendar, a bar length) share its sessions by their stamps. What other
markets add is told by instants: their latest session that closed since the origin's bar before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .calendars import Market, moved
from .patterns import DAY, midnight
from .sessions import ALWAYS, NO_TIME, Sessions, sessions_of

ALIKE = 0.98  # share of the stamps of a common span that symbols of one market have in common
WITHIN = 0.99  # share that a symbol with gaps has in common with a market whose calendar is known
SAME_LENGTH = 1.25  # bars are of one length if the ratio is less: months of 30 and 31 days
NEVER = np.iinfo(np.int64).max


class Timeline(NamedTuple):
    """Bar times [R] that symbols have in common, by the market's clock, and their median step."""

    times: np.ndarray  # datetime64[ns]
    step: np.timedelta64
    market: Market


class Joined(NamedTuple):
    """Numbers of sessions, each of one market, for every timeline."""

    session: list[np.ndarray]  # [R], that of its own market
    others: list[np.ndarray]  # [G, R], those of other markets that a bar sees; -1 for none
    group: list[int]  # its market
    timed: list[bool]  # whether the instants of its bars are known


def join_markets(lines: Sequence[Timeline]) -> Joined:
    """Number the sessions of each market, and find those of other markets that each bar sees.

    A bar that closes at C, its predecessor at P, sees of each other market the latest session that
    closed in (P, C]: on a Monday in Tokyo New York's Friday, and nothing of a market that was shut.
    Where a time zone is unknown no other market is seen, nor is this one by others.
    """
    lines = [_adopted(line, lines) for line in lines]
    zones = [_zone_of(line) for line in lines]
    group = _groups(lines, zones)
    count = max(group, default=-1) + 1
    closes = [_closes(*pair) if count > 1 else None for pair in zip(lines, zones, strict=True)]
    session: list[np.ndarray] = [np.array([], int)] * len(lines)
    known_from, offset = [], [0]
    for g in range(count):
        # Sessions of the market, and when the last bar of each has closed
        members = [i for i in range(len(lines)) if group[i] == g]
        stamps = np.unique(np.concatenate([lines[i].times for i in members]))
        known = np.full(len(stamps), np.iinfo(np.int64).min if count > 1 else NEVER)
        for i in members:
            place = np.searchsorted(stamps, lines[i].times)
            session[i] = place + offset[g]
            known[place] = np.maximum(known[place], NEVER if closes[i] is None else closes[i][1])
        known_from.append(np.maximum.accumulate(known))
        offset.append(offset[g] + len(stamps))
    others = []
    for i, line in enumerate(lines):
        seen = np.full((count if count > 1 else 0, len(line.times)), -1)
        if closes[i] is not None:
            for g in range(count):
                if g != group[i]:
                    seen[g] = _latest(closes[i][0], known_from[g], offset[g])
        others.append(seen)
    return Joined(session, others, group, [zone is not None for zone in zones])


def _latest(closes: np.ndarray, known_from: np.ndarray, offset: int) -> np.ndarray:
    """Number of the latest session that was known since the close before, [R]; -1 for none."""
    place = np.searchsorted(known_from, closes, side="right") - 1
    before = np.concatenate([closes[:1], closes[:-1]])
    fresh = (place >= 0) & (known_from[place] > before)
    return np.where(fresh, place + offset, -1)


def _adopted(line: Timeline, lines: Sequence[Timeline]) -> Timeline:
    """A timeline with too many gaps for a calendar, read by that of another one which it is part of."""
    if line.market.calendar is None and line.market.zone is None:
        for other in lines:
            if other.market.calendar not in (None, ALWAYS) and _same_length(line, other):
                mine, theirs = _common_span(line.times, other.times)
                if 0 < WITHIN * len(mine) <= np.isin(mine, theirs).sum():
                    return line._replace(market=Market(other.market.calendar))
    return line


def _sessions(line: Timeline) -> Sessions | None:
    return sessions_of(line.market.calendar, line.times[0], line.times[-1])


def _zone_of(line: Timeline) -> str | None:
    """The zone that makes instants of a timeline; None where it is unknown."""
    market, s = line.market, _sessions(line)
    if line.step < 0.9 * DAY:
        if market.zone is not None:
            return market.clock or market.zone
        return s.zone if s is not None and s.holds_hours(line.times) else None
    if s is not None:
        return s.zone
    return market.clock or market.zone or ("UTC" if market.calendar == ALWAYS else None)


def _closes(line: Timeline, zone: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """UTC instants [R] in ns, up to which a bar sees others and from which it is seen; None if unknown.

    They are one for a daily bar of a calendar, which closes with its session, and for intraday
    bars, a step after their stamp or with the session. The others (longer bars, days without a
    session) are safe on both sides: their first day's begin and their last day's end.
    """
    if zone is None:
        return None
    times, step, s = line.times, line.step, _sessions(line)
    if step < 0.9 * DAY:
        sees = seen = _intraday_closes(times, step, s)
    else:
        sees, seen = midnight(times), midnight(times) + DAY
        if step >= 1.5 * DAY:
            seen = seen + step + (3 * DAY if step >= 27 * DAY else NO_TIME)
        elif line.market.calendar == ALWAYS:
            sees = np.where(times == sees, seen, sees)
        elif s is not None:
            number, in_session = s.on(times)
            sees = np.where(in_session, s.close[number], sees)
            seen = np.where(in_session, s.close[number], seen)
    return moved(sees, zone, "UTC").view(np.int64), moved(seen, zone, "UTC").view(np.int64)


def _intraday_closes(times: np.ndarray, step: np.timedelta64, s: Sessions | None) -> np.ndarray:
    if s is None:
        return times + step
    if s.ends_bars(times):
        return times
    number, inside, _ = s.at(times)
    cut = inside & (times < s.close[number])
    return np.where(cut, np.minimum(times + step, s.close[number]), times + step)


def _groups(lines: Sequence[Timeline], zones: Sequence[str | None]) -> list[int]:
    """The number of the market that each timeline belongs to, [L]."""
    group: list[int] = []
    leaders: list[int] = []  # first timeline of each market
    stamps: list[np.ndarray] = []
    for i, line in enumerate(lines):
        for g, leader in enumerate(leaders):
            timed = (zones[i] is None) == (zones[leader] is None)
            if timed and _same_market(lines[leader], line, stamps[g]):
                break
        else:
            g = len(leaders)
            leaders.append(i)
            stamps.append(line.times)
        if line.times[0] < stamps[g][0] or line.times[-1] > stamps[g][-1]:
            stamps[g] = np.union1d(stamps[g], line.times)
        group.append(g)
    return group


def _same_market(leader: Timeline, line: Timeline, stamps: np.ndarray) -> bool:
    """Whether a timeline is of the leader's market, with `stamps` [R]."""
    if not _same_length(leader, line):
        return False
    if leader.market.calendar and line.market.calendar:
        return leader.market.calendar == line.market.calendar
    if leader.market.zone != line.market.zone:
        return False
    one, other = _common_span(stamps, line.times)
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return 0 < shared >= ALIKE * (len(one) + len(other) - shared)


def _same_length(one: Timeline, other: Timeline) -> bool:
    return bool(1 / SAME_LENGTH < one.step / other.step < SAME_LENGTH)


def _common_span(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stamps of either in the time that both cover."""
    first, last = max(one[0], other[0]), min(one[-1], other[-1])
    return one[(one >= first) & (one <= last)], other[(other >= first) & (other <= last)]
