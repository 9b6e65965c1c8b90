"""Bar times ahead by the pattern of those before: weekdays, times of the week, days of the month.

Times are arrays [R] of datetime64[ns], distinct and ascending (`recent`). Holidays are known only
where a calendar's sessions are handed in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

DAY = np.timedelta64(1, "D").astype("timedelta64[ns]")
WEEK = 7 * DAY
INTRADAY, LONGER = 0.9 * DAY, 1.5 * DAY  # bars up to the one, and from the other
MONTH_DAYS = 30.44  # on average
MONDAY = np.datetime64("1970-01-05", "ns")
RECENT_BARS = 20_000  # looked at, at most
RECENT_WEEKS = {"daily": 10, "intraday": 4}  # enough that a holiday or two doesn't look like a rule
LATE = 60  # longer bars looked at: a week closed by Good Friday, a month that ends on one
MISSES = 0.1  # share of these that a pattern may miss
CYCLE = 6  # steps after which they may repeat: 4, 4, 5 weeks; Tuesdays and Fridays


def midnight(times: np.ndarray) -> np.ndarray:
    """Midnight before."""
    return times.astype("datetime64[D]").astype("datetime64[ns]")


def weekday_of(times: np.ndarray) -> np.ndarray:
    """Days since Monday."""
    return ((times - MONDAY) // DAY % 7).astype(np.int64)


def step_of(times: np.ndarray) -> np.timedelta64:
    """Median step, the lower of two, so that few days around a weekend are daily; or else a day."""
    if len(times) < 2:
        return DAY
    middle = (len(times) - 2) // 2
    return np.partition(np.diff(times), middle)[middle]


def recent(dates: pd.DatetimeIndex | np.ndarray) -> np.ndarray:
    """Known dates, distinct and ascending, datetime64[ns]."""
    times = np.asarray(dates).astype("datetime64[ns]")
    times = times[~np.isnat(times)]
    if not (np.diff(times) > np.timedelta64(0)).all():
        times = np.unique(times)
    return times[-RECENT_BARS:]


def pattern_ahead(times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """The `horizon` bar times after `times`, `step` apart.

    Days and shorter bars keep the usual times of the week, or even steps if none are usual.
    """
    if step >= LONGER:
        return periods_ahead(times, step, horizon)[0]
    slots = _usual_slots(times, step > INTRADAY)
    if not len(slots):
        return times[-1] + step * np.arange(1, horizon + 1)
    week = MONDAY + (times[-1] - MONDAY) // WEEK * WEEK
    weeks = week + WEEK * np.arange(horizon // len(slots) + 2)
    ahead = (weeks[:, None] + slots).ravel()
    return ahead[ahead > times[-1]][:horizon]


def _usual_slots(times: np.ndarray, daily: bool) -> np.ndarray:
    """Offsets from Monday 00:00 at which bars are usual, ascending; empty if none are."""
    clock = (times[-1] - midnight(times[-1:])) * daily
    if daily:
        times = np.unique(midnight(times))
    weeks = min(RECENT_WEEKS["daily" if daily else "intraday"], (times[-1] - times[0]) // WEEK)
    if weeks >= 2:
        # Whole weeks back from the last bar: each slot once a week
        inside = times[times > times[-1] - weeks * WEEK]
        offset, count = np.unique((inside - MONDAY) % WEEK, return_counts=True)
        return offset[2 * count >= weeks] + clock
    # Too short to tell a holiday from a rule, but a weekend bar speaks for itself
    weekdays = np.arange(7 if (weekday_of(times) >= 5).any() else 5) * DAY
    if daily:
        return weekdays + clock
    day = (times - MONDAY) // DAY
    if day[-1] == day[0]:
        return times[:0] - MONDAY
    # The first and the last day may be cut
    whole = (day > day[0]) & (day < day[-1])
    if not whole.any():
        whole = day == day[0]
    offset, count = np.unique((times[whole] - MONDAY) % DAY, return_counts=True)
    usual = offset[2 * count >= len(np.unique(day[whole]))]
    return (weekdays[:, None] + usual).ravel()


def periods_ahead(
    times: np.ndarray, step: np.timedelta64, horizon: int, sessions: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """Times ahead of bars longer than a day, and whether they are among the days of `sessions`.

    The pattern is taken that misses fewest of the late stamps, and the plain one if each misses too
    many. There are fewer than `horizon` times where the sessions that they go by end before.
    """
    if step % DAY:
        return times[-1] + step * np.arange(1, horizon + 1), False
    days = times[-LATE:].astype("datetime64[D]")
    until = days[-1] + 2 * (step // DAY) * (horizon + 1)
    ahead = _plain(days, step, until)
    fewest = MISSES * len(days)
    by_sessions = False
    for is_session, stamps in _patterns(days, step, until, sessions):
        # The last bar is left out: its period may not be over
        before = stamps[(stamps >= days[0]) & (stamps < days[-1])]
        misses = len(np.setxor1d(before, days[:-1], assume_unique=True))
        if misses < fewest:
            ahead, fewest, by_sessions = stamps, misses, is_session
        if not fewest:
            break
    ahead = ahead[ahead > days[-1]][:horizon].astype("datetime64[ns]")
    return ahead + (times[-1] - midnight(times[-1:])), by_sessions


def _patterns(
    days: np.ndarray, step: np.timedelta64, until: np.datetime64, sessions: np.ndarray | None
) -> Iterator[tuple[bool, np.ndarray]]:
    """Stamps to `until` by each pattern, and whether they are sessions; on a tie the first counts.

    So last sessions come before labels (Fridays), and labels (Mondays) before first sessions.
    """
    in_sessions = False
    if sessions is not None and len(days) > 3:
        sessions = sessions.astype("datetime64[D]")
        in_sessions = np.isin(days, sessions).all()
    if in_sessions:
        yield True, _period_days(days, step, until, sessions, last=True)
    yield False, _plain(days, step, until)
    every_day = np.arange(days[0] - 31, until + 63)
    weekdays = every_day[np.is_busday(every_day)]
    yield False, _period_days(days, step, until, weekdays, last=True)
    yield False, _period_days(days, step, until, weekdays, last=False)
    if 13 * DAY <= step <= 18 * DAY:
        # Two days of each month: the 1st and the 15th, the 15th and the last
        number = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
        early = 2 * number <= number.min() + number.max()
        halves = [_day_of_month(half, 1, until) for half in (days[early], days[~early])]
        yield False, np.union1d(*halves)
    if in_sessions:
        yield True, _period_days(days, step, until, sessions, last=False)
    steps = np.diff(days).astype(int)
    for count in range(1, CYCLE + 1):
        if len(steps) > 2 * count:
            yield False, _repeated_steps(days, steps[-count:], until)


def _plain(days: np.ndarray, step: np.timedelta64, until: np.datetime64) -> np.ndarray:
    """The same day of the month for months and longer bars, else even steps."""
    if step >= 27 * DAY:
        return _day_of_month(days, max(1, round(step / DAY / MONTH_DAYS)), until)
    return _repeated_steps(days, np.array([step // DAY]), until)


def _day_of_month(days: np.ndarray, every: int, until: np.datetime64) -> np.ndarray:
    """The same day of each `every`-th month: the 1st; the 30th or else the last; the last."""
    months = days.astype("datetime64[M]")
    back = (months[-1] - months[0]).astype(int) // every
    on = (until.astype("datetime64[M]") - months[-1]).astype(int) // every
    chosen = months[-1] + every * np.arange(-back, on + 1)
    ends = (chosen + 1).astype("datetime64[D]") - 1
    if np.isin(days, ends).all():
        return ends
    latest = (days - months.astype("datetime64[D]")).max()
    return np.minimum(chosen.astype("datetime64[D]") + latest, ends)


def _repeated_steps(days: np.ndarray, steps: np.ndarray, until: np.datetime64) -> np.ndarray:
    """Days on and back from the last one by `steps` [C] (in days), over and over."""
    times = int((until - days[0]).astype(int) // steps.sum() + 1)
    back = days[-1] - np.cumsum(np.tile(steps[::-1], times))[::-1]
    on = days[-1] + np.cumsum(np.tile(steps, times))
    return np.concatenate([back, days[-1:], on])


def _period_days(
    days: np.ndarray, step: np.timedelta64, until: np.datetime64, open_days: np.ndarray, last: bool
) -> np.ndarray:
    """The first or the last open day of each week or month, or of every so many."""
    monthly = step >= 27 * DAY
    if monthly:
        number = open_days.astype("datetime64[M]") - days[-1].astype("datetime64[M]")
    else:
        monday = np.datetime64("1970-01-05")
        number = (open_days - monday) // 7 - (days[-1] - monday) // 7
    number = number.astype(int)  # of each day's period, from the last bar's one on
    turns = np.diff(number) > 0  # the last period may go on
    chosen = np.append(turns, False) if last else np.append(False, turns)
    every = max(1, round(step / DAY / (MONTH_DAYS if monthly else 7)))
    chosen &= number % every == 0
    # The last bar stands for its period, over or not
    chosen &= (number != 0) | (open_days <= days[-1])
    return open_days[chosen & (open_days >= days[0]) & (open_days <= until)]


def sessions_since(last: np.ndarray, weekends: np.ndarray) -> np.ndarray:
    """Days after `last` [S] and before today on which there may have been a session.

    On weekends too where there are any `weekends` [S] in the bars; holidays are not left out.
    """
    week, every = (
        np.busday_count(last + 1, np.datetime64("today"), weekmask=mask)
        for mask in ("1111100", "1111111")
    )
    return np.maximum(np.where(weekends, every, week), 0)
