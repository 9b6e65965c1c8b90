"""Bar times ahead by the pattern of those before: the usual weekdays, times of the week, days of the month.

Times are arrays [R] of datetime64[ns], distinct and ascending (`recent`). Holidays are not known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

DAY = np.timedelta64(1, "D").astype("timedelta64[ns]")
WEEK = 7 * DAY
RECENT_BARS = 20_000  # looked at, at most
RECENT_WEEKS = {"daily": 10, "intraday": 4}  # enough that a holiday or two doesn't look like a rule
MONDAY = np.datetime64("1970-01-05", "ns")


def midnight(times: np.ndarray) -> np.ndarray:
    """Midnight before."""
    return times.astype("datetime64[D]").astype("datetime64[ns]")


def plain(dates: pd.DatetimeIndex) -> np.ndarray:
    """Local times as datetime64[ns], as many as there are dates, NaT too."""
    return pd.DatetimeIndex(dates).tz_localize(None).to_numpy().astype("datetime64[ns]")


def step_of(times: np.ndarray) -> np.timedelta64:
    """Median step, the lower of two, so that few days around a weekend are daily; a single date counts as daily."""
    steps, middle = np.diff(times), (len(times) - 2) // 2
    return np.partition(steps, middle)[middle] if len(steps) else DAY


def recent(dates: pd.DatetimeIndex) -> np.ndarray:
    """Known dates, distinct and ascending, datetime64[ns]."""
    values = plain(dates)
    values = values[~np.isnat(values)]
    if (np.diff(values) > np.timedelta64(0)).all():
        return values[-RECENT_BARS:]
    return np.unique(values)[-RECENT_BARS:]


def usual_weekdays(times: np.ndarray) -> np.ndarray:
    """Weekdays (Monday is 0) with a bar in at least half of the recent weeks; Monday to Friday if unclear."""
    age = (times[-1] - times) // WEEK
    span = min(RECENT_WEEKS["daily"], int(age[0]))
    weekday = weekday_of(times)
    if span < 2:  # too short to tell a holiday from a rule, but a weekend bar speaks for itself
        return np.arange(7 if (weekday >= 5).any() else 5)
    inside = age < span
    return np.flatnonzero(2 * _weeks_seen(weekday[inside], age[inside]) >= span)


def _weeks_seen(slot: np.ndarray, age: np.ndarray) -> np.ndarray:
    """For each slot 0 .. max, the number of different weeks in which it occurs."""
    pairs = np.unique(np.stack([slot, age.astype(np.int64)]), axis=1)
    return np.bincount(pairs[0], minlength=7)


def weekday_of(times: np.ndarray) -> np.ndarray:
    return ((times - MONDAY) // DAY % 7).astype(np.int64)


def pattern_ahead(
    times: np.ndarray, step: np.timedelta64, horizon: int, after: np.datetime64 | None = None
) -> np.ndarray:
    """The `horizon` bar times after `times`, which are `step` apart; those of up to a day after `after` too."""
    after = times[-1] if after is None else max(after, times[-1])
    if 0.9 * DAY < step < 1.5 * DAY:
        return _next_days(times, horizon, after)
    if step < DAY:
        return _next_slots(times, step, horizon, after)
    if step >= 27 * DAY:
        return _next_months(times, step, horizon)
    return times[-1] + step * np.arange(1, horizon + 1)


def _evenly(
    last: np.datetime64, step: np.timedelta64, count: int, after: np.datetime64
) -> np.ndarray:
    """The `count` times after `after` that are some steps after `last`."""
    return last + step * ((after - last) // step + np.arange(1, count + 1))


def _next_days(times: np.ndarray, horizon: int, after: np.datetime64) -> np.ndarray:
    """The usual weekdays at the last bar's time of day."""
    weekdays = usual_weekdays(times)
    if not len(weekdays):
        return _evenly(times[-1], DAY, horizon, after)
    days = _evenly(times[-1], DAY, 7 * (horizon // len(weekdays) + 2), after)
    return days[np.isin(weekday_of(days), weekdays)][:horizon]


def _next_slots(
    times: np.ndarray, step: np.timedelta64, horizon: int, after: np.datetime64
) -> np.ndarray:
    """The usual times of the week; even steps where no time is usual (irregular stamps, less than a day)."""
    slots = _slots(times)
    if not len(slots):
        return _evenly(times[-1], step, horizon, after)
    week = MONDAY + (after - MONDAY) // WEEK * WEEK
    weeks = week + WEEK * np.arange(horizon // len(slots) + 2)
    ahead = (weeks[:, None] + slots).ravel()
    return ahead[ahead > after][:horizon]


def _slots(times: np.ndarray) -> np.ndarray:
    """Offsets from Monday 00:00, ascending, at which bars are usual; empty if there is no such pattern."""
    last = times[-1]
    span = min(RECENT_WEEKS["intraday"], int((last - times[0]) // WEEK))
    if span >= 2:
        inside = times[
            times > last - span * WEEK
        ]  # whole weeks back from the last bar: each slot once a week
        offset, count = np.unique((inside - MONDAY) % WEEK, return_counts=True)
        return offset[2 * count >= span]
    days, clock = (times - MONDAY) // DAY, (times - MONDAY) % DAY
    whole = (days > days[0]) & (days < days[-1])  # the first and the last day may be cut
    whole = whole if whole.any() else days == days[0]
    if days[-1] == days[0]:
        return np.array([], dtype="timedelta64[ns]")
    usual, count = np.unique(clock[whole], return_counts=True)
    usual = usual[2 * count >= len(np.unique(days[whole]))]
    return (usual_weekdays(times)[:, None] * DAY + usual).ravel()


def _next_months(times: np.ndarray, step: np.timedelta64, horizon: int) -> np.ndarray:
    """The same day some months on; the month's end (its last usual weekday) where that is the habit."""
    last, recent = times[-1], times[-12:]
    month = last.astype("datetime64[M]")
    months = month + max(1, round(float(step / DAY) / 30.44)) * np.arange(1, horizon + 1)
    ends = (months + 1).astype("datetime64[D]") - 1
    left = (recent.astype("datetime64[M]") + 1).astype("datetime64[D]") - recent.astype(
        "datetime64[D]"
    )
    if (left.astype(np.int64) <= 3).all():
        if (weekday_of(recent) < 5).all() and len(recent) > 3:
            ends = np.busday_offset(ends, 0, roll="backward")
        days = ends
    else:
        day = last.astype("datetime64[D]") - month.astype("datetime64[D]")
        days = np.minimum(months.astype("datetime64[D]") + day, ends)
    return days.astype("datetime64[ns]") + (last - last.astype("datetime64[D]"))
