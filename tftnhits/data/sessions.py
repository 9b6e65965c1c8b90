"""Sessions of exchanges in local time: the schedules of exchange_calendars, as arrays.

They know holidays and half days, those announced after the fact too (2012-10-29, a hurricane): for
bars that end before one, that is hindsight.
"""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from ..errors import ConfigError, MissingDependency, OutputError, quoted
from ..files import atomic_write, cache_folder, read_at_most, safe_name
from .patterns import RECENT_WEEKS, WEEK, midnight

ALWAYS = "24/7"  # its sessions need no schedule, nor the package
IN_HOURS = 0.9  # share of intraday bars that keep to the opening hours
NO_TIME = np.timedelta64(0, "ns")
MOST_KEPT = 1 << 22  # bytes of a file of sessions; 50 for each

log = logging.getLogger("tftnhits")


class Sessions(NamedTuple):
    """An exchange's sessions [N], ascending; local times are datetime64[ns]."""

    day: np.ndarray  # the date that a session is named by, at midnight
    open: np.ndarray
    close: np.ndarray
    break_start: np.ndarray  # NaT where there is no break
    break_end: np.ndarray
    full: np.ndarray  # number of a full session: its own, or the one before on a short day
    end: np.datetime64  # last day that is known
    zone: str

    def of(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The session in whose hours, or else on whose day, a time [R] lies; in hours? in any?"""
        number = np.maximum(np.searchsorted(self.open, times, side="right") - 1, 0)
        in_hours = (times >= self.open[number]) & (times <= self.close[number])
        dated, has_session = self.of_day(times)
        return np.where(in_hours, number, dated), in_hours, in_hours | has_session

    def of_day(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The session of each time's day [R], and whether there is one [R]."""
        days = midnight(times)
        number = np.minimum(np.searchsorted(self.day, days), len(self.day) - 1)
        return number, self.day[number] == days

    def holds_hours(self, times: np.ndarray) -> bool:
        """Whether intraday bars keep to the opening hours, of late."""
        return bool(self.of(late_weeks(times))[1].mean() >= IN_HOURS)

    def ends_bars(self, times: np.ndarray) -> bool:
        """Whether intraday bars are stamped with their end: more at the close than at the open."""
        return bool(np.isin(times, self.close).sum() > np.isin(times, self.open).sum())


def late_weeks(times: np.ndarray) -> np.ndarray:
    """The intraday bars [R] whose hours count."""
    return times[times > times[-1] - RECENT_WEEKS["intraday"] * WEEK]


def canonical_name(name: str) -> str:
    """A calendar's name without aliases such as NYSE; raises ConfigError, MissingDependency."""
    if name == ALWAYS:
        return name
    try:
        import exchange_calendars
    except Exception as error:  # an old one fails with a new pandas in ways of its own
        raise MissingDependency(
            f"The calendar {quoted(name)} needs exchange_calendars; pip install "
            "'tftnhits[live-data]', or leave it out."
        ) from error
    if name not in exchange_calendars.get_calendar_names():
        raise ConfigError(
            f"There is no calendar {quoted(name)}; give one of exchange_calendars, such as XNYS, "
            "XLON, XETR, XTKS, XHKG or 24/7, or None to infer it from the bars."
        )
    return exchange_calendars.resolve_alias(name)


def sessions_of(name: str | None, first: np.datetime64, last: np.datetime64) -> Sessions | None:
    """Sessions of the decades of `first` to `last`; None of 24/7 and of what can't be had."""
    if name in (None, ALWAYS):
        return None
    years = np.array([first, last]).astype("datetime64[Y]").astype(int) + 1970
    start, end = np.clip(years, 1680, 2259) // 10 * 10
    return _schedule(name, int(start), int(end) + 9)


@lru_cache(maxsize=64)
def _schedule(name: str, first: int, last: int) -> Sessions | None:
    """Sessions of the years `first` to `last`, or as many as the library knows of them.

    What it made is kept in a file of its version, since that takes it a third of a second.
    """
    if find_spec("exchange_calendars") is None:
        log.info("Holidays are not known: pip install 'tftnhits[live-data]' brings the calendars.")
        return None
    stem = f"{name}-{first}-{last}-{version('exchange_calendars')}"
    path = cache_folder() / "sessions" / f"{safe_name(stem)}.npz"
    with suppress(OSError, ValueError, KeyError, BadZipFile):
        kept = np.load(io.BytesIO(read_at_most(path, MOST_KEPT)))
        return Sessions(*(kept[field][()] for field in Sessions._fields))
    sessions = _made(name, first, last)
    if sessions is not None:
        content = io.BytesIO()
        np.savez(content, **sessions._asdict())
        with suppress(OutputError):  # where nothing can be written, it is made again
            atomic_write(path, content.getvalue())
    return sessions


def _made(name: str, first: int, last: int) -> Sessions | None:
    """The sessions as the library makes them."""
    start, end = pd.Timestamp(first, 1, 1), pd.Timestamp(last, 12, 31)
    try:
        from exchange_calendars import get_calendar

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas 3 says of exchange_calendars' code
            try:
                calendar = get_calendar(name, start, end)
            except ValueError:  # one of them is beyond its bounds
                usual = get_calendar(name)
                end = min(end, usual.bound_max() or end)
                calendar = get_calendar(name, max(start, usual.bound_min() or start), end)
            table = calendar.schedule
            short = table.index.isin(calendar.early_closes.union(calendar.late_opens))
    except Exception as error:  # beyond its range, or it fails with a new pandas
        log.info("The calendar %s can't be had for %d to %d: %s", name, first, last, error)
        return None
    local = {
        name: table[name].dt.tz_convert(calendar.tz).dt.tz_localize(None).to_numpy("datetime64[ns]")
        for name in ("open", "close", "break_start", "break_end")
    }
    full = np.maximum.accumulate(np.where(short, np.argmin(short), np.arange(len(table))))
    day = table.index.to_numpy("datetime64[ns]")
    return Sessions(day=day, full=full, end=end.to_datetime64(), zone=str(calendar.tz), **local)
