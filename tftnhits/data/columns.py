"""Which column is what: by its name, by what a user says, and failing both by what it holds."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown
from .cells import parse_numbers
from .dates import clock_times, parse_dates
from .names import COLUMNS, PRICES, chosen_columns, listed, match_columns, normal, text_of
from .read import Table

SAMPLE = 1_000  # rows by which a column without a name is told
ORDERED = 0.95  # share of rows in which the high must be the highest and the low the lowest
TICKS = {"price", "bid", "ask", "size", "qty", "quantity", "side", "lastsize", "tradeid", "bidsize"}
OPTIONS = {"strike", "strikeprice", "expiry", "expiration", "expirationdate", "impliedvolatility"}


def name_columns(table: Table, given: Any = None) -> dict[str, int]:
    """The position of the column of each role; what has none is no column of bars.

    Parameters
    ----------
    table : Table
    given : dict role -> label, by a user; goes before all guesses

    Raises
    ------
    DataError
        Where a price is missing, with what the table seems to be instead, and where it isn't clear
        which of several columns is the date.
    """
    labels = table.frame.columns
    places = chosen_columns(given, labels)
    if not table.labelled:
        return _by_shape(table) | places
    candidates = match_columns(labels)
    for role, found in candidates.items():
        if role not in ("date", "time", "volume"):
            places.setdefault(role, found[0])
    if missing := [name for name in PRICES if name not in places]:
        raise _missing(missing, labels)
    if "date" not in places and (place := _date(table.frame, candidates, places)) is not None:
        places["date"] = place
    if "time" in candidates and candidates["time"][0] != places.get("date"):
        places.setdefault("time", candidates["time"][0])
    for place in candidates.get("volume", []):  # a second one counts if the first is all zeros
        if "volume" not in places or not _any(table.frame.iloc[:, places["volume"]]):
            places["volume"] = place
    return places


def _any(series: pd.Series) -> bool:
    """Whether a column of volumes has any but zeros."""
    return bool((parse_numbers({"volume": series}).values["volume"] != 0).any())


def _missing(names: list[str], labels: pd.Index) -> DataError:
    """What to do about a table without all four prices, by what it seems to be."""
    known = {normal(label) for label in labels}
    columns = f"column {', '.join(names)}; found {listed(labels)}"
    if len(known & OPTIONS) >= 2:
        return DataError(
            f"This is an option chain, not bars: missing {columns}. Give the underlying's."
        )
    if len(names) > 2 and known & TICKS and "close" not in known:
        return DataError(
            f"These are ticks, trades or quotes: missing {columns}. Resample them to bars first."
        )
    if len(names) == 4 and len(labels) > 2 and len(match_columns(labels)) <= 1:
        return DataError(
            f"There seems to be a column a symbol, of one price each: missing {columns}. "
            "Give open, high, low and close, with a column symbol."
        )
    return DataError(f"Missing {columns}. Rename or add what is missing.")


def _date(
    frame: pd.DataFrame, candidates: dict[str, list[int]], taken: dict[str, int]
) -> int | None:
    """The column of dates; None if there is none."""
    named = candidates.get("date", []) + candidates.get("time", [])
    if not named:
        return _unnamed_date(frame, [i for i in range(frame.shape[1]) if i not in taken.values()])
    if len(candidates.get("date", [])) < 2:
        return named[0]
    # the one that tells most times apart, of those that can be read
    distinct = {}
    for place in named:
        dates = _dates(frame.iloc[:, place])
        distinct[place] = -1 if dates is None else len(np.unique(dates))
    return max(named, key=lambda place: distinct[place])


def _dates(series: pd.Series) -> np.ndarray | None:
    """The column as dates of 1900 to 2200, if all of its cells are such."""
    try:
        dates = parse_dates(series, np.zeros(len(series), np.int64))
    except DataError:
        return None
    known = dates.local[~np.isnat(dates.local)]
    years = known.astype("datetime64[Y]").astype(np.int64) + 1970
    sound = len(known) and not dates.bad.any() and (abs(years - 2050) <= 150).all()
    return dates.local if sound else None


def _unnamed_date(frame: pd.DataFrame, places: list[int]) -> int | None:
    """The one column that holds dates, in order, though its name doesn't say so."""
    fits = []
    for place in places:
        series = frame.iloc[:, place]
        number = pd.api.types.is_numeric_dtype(series.dtype)
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            return place
        if len(series) < (5 if number else 1) or pd.api.types.is_bool_dtype(series.dtype):
            continue
        dates = _dates(series)
        if dates is None:
            _refuse_nearly_dates(series, number)
            continue
        steps = np.diff(dates[~np.isnat(dates)]).astype(np.int64)
        if (steps >= 0).all() or (steps <= 0).all():
            fits.append(place)
    if len(fits) > 1:
        names = " and ".join(shown(frame.columns[place]) for place in fits[:2])
        raise DataError(f"Columns {names} could both be the date; say columns={{'date': …}}.")
    return fits[0] if fits else None


def _refuse_nearly_dates(series: pd.Series, number: bool) -> None:
    """Raises DataError on a column most of whose texts are dates: it was meant to be the date."""
    try:
        dates = parse_dates(series, np.zeros(len(series), np.int64))
    except DataError:
        return
    if not number and dates.bad.any() and 2 * (~np.isnat(dates.local)).sum() > len(series):
        cell = series.iloc[int(np.flatnonzero(dates.bad)[0])]
        raise DataError(
            f"Column {shown(series.name)} looks like the date, but {shown(cell)} in it is none; "
            "mend it, or say columns={'date': …}."
        )


def symbol_column(frame: pd.DataFrame, places: list[int], dates: np.ndarray) -> int | None:
    """The column among `places` of fewest values by which dates that come twice come once each."""
    best, fewest = None, len(frame) // 2 + 1
    if len(np.unique(dates)) == len(dates):
        return best
    for place in places:
        series = frame.iloc[:, place]
        if pd.api.types.is_float_dtype(series.dtype) or pd.api.types.is_datetime64_any_dtype(
            series.dtype
        ):
            continue
        names = series.map(text_of)
        count = names.nunique()
        if (
            2 <= count < fewest
            and not pd.DataFrame({"name": names.values, "date": dates}).duplicated().any()
        ):
            best, fewest = place, count
    return best


def _by_shape(table: Table) -> dict[str, int]:
    """Roles of columns without names: texts, a time, perhaps a clock, four prices, a volume."""
    sample = table.frame.iloc[:SAMPLE]
    columns = {str(i): sample.iloc[:, i] for i in range(sample.shape[1])}
    numbers = parse_numbers(columns, None, table.comma, table.plain)
    values = list(numbers.values.values())
    bad = [numbers.bad.get(name, np.zeros(1, bool)).any() for name in columns]
    roles: dict[str, int] = {}

    # times come before prices
    for i in range(min(4, len(bad)) if len(bad) > 4 else 0):
        if (bad[i] or not (values[i] < 10**7).any()) and _dates(sample.iloc[:, i]) is not None:
            roles["date"] = i
            break
    free = [i for i in range(roles.get("date", -1) + 1, len(bad)) if not bad[i]]
    clock = roles.get("date", len(bad)) + 1
    if clock < len(bad) and len(free) > 4 - bad[clock] and _is_clock(sample.iloc[:, clock]):
        roles["time"] = clock
        free = [i for i in free if i != clock]
    if "date" not in roles and not table.plain and len(bad) < 6 and len(free) < 4:
        free = [*range(len(bad))]  # a row of prices has a cell that is no number: it is told later
    if len(free) < 4:
        raise DataError(
            "There is no header, and no four columns of prices; name the columns in a first line."
        )

    # texts name the symbol, four numbers are the prices and a fifth the volume
    texts = [i for i in range(free[3]) if bad[i] and i not in roles.values() and i not in free]
    if texts:
        roles["symbol"] = texts[0]
    prices = np.array([values[i] for i in free[:4]], float)
    if "date" in roles:  # oldest first
        prices = prices[:, np.argsort(_dates(sample.iloc[:, roles["date"]]), kind="stable")]
    roles |= {name: free[i] for name, i in _price_order(prices).items()}
    if len(free) > 4:
        roles["volume"] = free[4]
    told = ", ".join(f"{name} {roles[name] + 1}" for name in COLUMNS if name in roles)
    if table.plain or "date" in roles:
        table.notes.append(("columns told by what they hold", 1, told))
    return roles


def _is_clock(series: pd.Series) -> bool:
    """Whether a column without a name is one of times of the day: 09:30, or 093000 as text."""
    texts = series.map(text_of)
    if not (texts.str.contains(":") | texts.str.fullmatch(r"\d{4}|\d{6}")).all():
        return False
    return not clock_times(series)[1].any()


def _price_order(values: np.ndarray) -> dict[str, int]:
    """Which row of prices [4, R] is which: open, high, low, close unless their order denies it."""

    def share(high: int, low: int) -> float:
        return float(((values[high] >= values.max(0)) & (values[low] <= values.min(0))).mean())

    high, low = max(permutations(range(4), 2), key=lambda pair: share(*pair))
    if share(1, 2) >= ORDERED or share(high, low) < ORDERED or values.shape[1] < 2:
        return {name: i for i, name in enumerate(PRICES)}
    first, second = (i for i in range(4) if i not in (high, low))
    # a bar opens near where the one before closed
    near = np.median(abs(values[first, 1:] - values[second, :-1]))
    if np.median(abs(values[second, 1:] - values[first, :-1])) < 0.5 * near:
        first, second = second, first
    return {"open": first, "high": high, "low": low, "close": second}
