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
        Where a price is missing, with what the file seems to be instead, and where it isn't clear
        which of several columns is the date.
    """
    labels = table.frame.columns
    places = chosen_columns(given, labels)
    if not table.labelled:
        return places | {k: v for k, v in _by_shape(table).items() if k not in places}
    candidates = match_columns(labels)
    for role in candidates:
        if role not in places and role not in ("date", "time", "volume"):
            places[role] = candidates[role][0]
    if missing := [name for name in PRICES if name not in places]:
        raise _missing(missing, labels)
    places.setdefault("date", _named_date(table, candidates, [*places.values()]))
    if "time" in candidates and "time" not in places and candidates["time"][0] != places["date"]:
        places["time"] = candidates["time"][0]
    for place in candidates.get("volume", []):  # a second one counts if the first is all zeros
        if places.get("volume") is None or not _some(table.frame.iloc[:, places["volume"]]):
            places["volume"] = place
    return {role: place for role, place in places.items() if place >= 0}


def _some(series: pd.Series) -> bool:
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
            f"These are ticks, single trades or quotes: missing {columns}. Resample them to bars first."
        )
    if len(names) == 4 and len(labels) > 2 and len(match_columns(labels)) <= 1:
        return DataError(
            f"There seems to be a column a symbol, of one price each: missing {columns}. "
            "Give open, high, low and close, with a column symbol."
        )
    return DataError(f"Missing {columns}. Rename or add what is missing.")


def _named_date(table: Table, candidates: dict[str, list[int]], taken: list[int]) -> int:
    """The column of dates; -1 if there is none."""
    named = [place for role in ("date", "time") for place in candidates.get(role, [])]
    clocks = candidates.get("time", [])
    if len(named) == 1 or (len(named) == 2 and len(clocks) == 1):
        return named[0]
    if named:  # the one that tells most times apart, of those that can be read
        distinct = {}
        for place in named:
            dates = _dates(table.frame.iloc[:, place])
            distinct[place] = -1 if dates is None else len(np.unique(dates))
        return max(named, key=lambda place: distinct[place])
    unnamed = [i for i in range(table.frame.shape[1]) if i not in taken]
    return _unnamed_date(table.frame, unnamed)


def _dates(series: pd.Series) -> np.ndarray | None:
    """The column as dates of 1900 to 2200, if all of its cells are such."""
    dates = parse_dates(series, np.zeros(len(series), np.int64))
    known = dates.local[~np.isnat(dates.local)]
    years = known.astype("datetime64[Y]").astype(np.int64) + 1970
    sound = len(known) and not dates.bad.any() and (abs(years - 2050) <= 150).all()
    return dates.local if sound else None


def _unnamed_date(frame: pd.DataFrame, places: list[int]) -> int:
    """The one column that holds dates, in order, though its name doesn't say so; -1 if none does."""
    fits, nearly = [], []
    for place in places:
        series = frame.iloc[:, place]
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            return place
        number = pd.api.types.is_numeric_dtype(series.dtype)
        if (
            pd.api.types.is_bool_dtype(series.dtype)
            or not len(series)
            or (number and len(series) < 5)
        ):
            continue
        try:
            dates = parse_dates(series.iloc[:SAMPLE], np.zeros(len(series[:SAMPLE]), np.int64))
        except DataError:
            continue
        known = dates.local[~np.isnat(dates.local)]
        steps = np.diff(known)
        ordered = (steps >= np.timedelta64(0)).all() or (steps <= np.timedelta64(0)).all()
        if len(known) and not dates.bad.any() and ordered and _dates(series) is not None:
            fits.append(place)
        elif 2 * len(known) > len(series[:SAMPLE]) and not number and dates.bad.any():
            nearly.append((place, series.iloc[int(np.flatnonzero(dates.bad)[0])]))
    if len(fits) > 1:
        names = " and ".join(shown(frame.columns[place]) for place in fits[:2])
        raise DataError(f"Columns {names} could both be the date; say columns={{'date': …}}.")
    if not fits and nearly:
        place, cell = nearly[0]
        raise DataError(
            f"Column {shown(frame.columns[place])} looks like the date, but {shown(cell)} in it is none; "
            "mend it, or say columns={'date': …}."
        )
    return fits[0] if fits else -1


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
    """Roles of columns without names: a time, perhaps a time of day, texts, four prices, a volume."""
    frame = table.frame
    sample = frame.iloc[:SAMPLE]
    texts = {i: sample.iloc[:, i] for i in range(frame.shape[1])}
    numbers = parse_numbers(
        {str(i): column for i, column in texts.items()}, None, table.comma, table.plain
    )
    numeric = [i for i in texts if not numbers.bad.get(str(i), np.zeros(1)).any()]
    roles: dict[str, int] = {}
    if frame.shape[1] > 4:
        for i in list(texts)[:4]:
            if (i not in numeric or not (numbers.values[str(i)] < 10**7).any()) and _is_time(
                texts[i]
            ):
                roles["date"] = i
                break
    free = [i for i in numeric if i > roles.get("date", -1)]
    if "date" not in roles and not table.plain and frame.shape[1] < 6 and len(free) < 4:
        free = list(texts)  # rows of prices one of whose cells is no number: it is told later
    clock = roles.get("date", -2) + 1
    if clock in texts and _is_clock(texts[clock]) and len([i for i in free if i > clock]) >= 4:
        roles["time"] = clock
        free = [i for i in free if i != clock]
    if len(free) < 4:
        raise DataError(
            "There is no header, and no four columns of prices in a row; name the columns in a first line."
        )
    symbols = [i for i in texts if i not in numeric and i not in roles.values() and i < free[3]]
    if symbols:
        roles["symbol"] = symbols[0]
    values = np.array([numbers.values[str(i)] for i in free[:4]], float)
    if "date" in roles:  # oldest first
        dates = _dates(texts[roles["date"]])
        values = values if dates is None else values[:, np.argsort(dates, kind="stable")]
    roles |= {name: free[i] for name, i in _price_order(values).items()}
    if len(free) > 4:
        roles["volume"] = free[4]
    told = ", ".join(f"{name} {roles[name] + 1}" for name in COLUMNS if name in roles)
    if table.plain or "date" in roles:
        table.notes.append(("columns told by what they hold", 1, told))
    return roles


def _is_time(series: pd.Series) -> bool:
    """Whether a column without a name is one of dates: texts of such, YYYYMMDD or time since 1970."""
    try:
        return _dates(series) is not None
    except DataError:
        return False


def _is_clock(series: pd.Series) -> bool:
    """Whether a column without a name is one of times of the day: 09:30, or 093000 as text."""
    texts = series.map(text_of)
    if not (texts.str.contains(":") | texts.str.fullmatch(r"\d{4}|\d{6}")).all():
        return False
    return not clock_times(series)[1].any()


def _price_order(values: np.ndarray) -> dict[str, int]:
    """Which of four rows of prices [4, R] is which: as [open, high, low, close] unless they deny it."""

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
