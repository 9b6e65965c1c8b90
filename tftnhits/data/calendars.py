"""Bar times ahead, inferred from the recent pattern of bar times: no calendar package, and so no holidays."""

from __future__ import annotations

import numpy as np
import pandas as pd

DAY = np.timedelta64(1, "D").astype("timedelta64[ns]")
WEEK = 7 * DAY
RECENT_BARS = 20_000  # looked at, at most
RECENT_WEEKS = {"daily": 10, "intraday": 4}  # enough that a holiday or two doesn't look like a rule
MONDAY = np.datetime64("1970-01-05", "ns")


def bar_minutes(dates: pd.DatetimeIndex) -> float:
    """Median step between bars in minutes; NaN with fewer than two different dates."""
    times = _recent(dates)
    return float(np.median(np.diff(times)) / np.timedelta64(1, "m")) if len(times) > 1 else float("nan")


def next_sessions(dates: pd.DatetimeIndex, horizon: int) -> pd.DatetimeIndex:
    """The `horizon` bar times after the last of `dates` [R]; NaT if there are no dates.

    Daily bars keep the weekdays that are usual of late, intraday bars the usual times of the week (of the day
    while the history is shorter than two weeks), months and other steps go on evenly. A single date counts
    as daily. Holidays are not known.
    """
    times = _recent(dates)
    if not len(times) or horizon < 1:
        return pd.DatetimeIndex(np.full(max(horizon, 0), np.datetime64("NaT", "ns")))
    last = times[-1]
    step = np.median(np.diff(times)).astype("timedelta64[ns]") if len(times) > 1 else DAY
    if 0.9 * DAY < step < 1.5 * DAY:
        ahead = _next_days(times, horizon)
    elif step < DAY:
        ahead = _next_slots(times, step, horizon)
    elif step >= 27 * DAY:
        ahead = _next_months(times, step, horizon)
    else:
        ahead = last + step * np.arange(1, horizon + 1)
    return pd.DatetimeIndex(ahead)


def _recent(dates: pd.DatetimeIndex) -> np.ndarray:
    """Known dates, distinct and ascending, datetime64[ns]."""
    values = pd.DatetimeIndex(dates).tz_localize(None).to_numpy().astype("datetime64[ns]")
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
