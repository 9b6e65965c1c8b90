"""Which column is what: by its name, by what a user says, and failing both by what it holds."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown
from .cells import parse_numbers
from .dates import Dates, clock_times, parse_dates
from .names import COLUMNS, OPTIONS, PRICES, chosen_columns, listed, match_columns, normal, text_of
from .text import Table

SAMPLE = 1_000  # rows by which a column without a name is told
ORDERED = 0.95  # share of rows in which the high must be the highest and the low the lowest
ALIKE = 3.0  # times by which the typical values of four prices may differ
WIDE = 8.0  # times the usual move that a bar's range can't be
CLOCKS = {"hour", "minute", "second", "session", "slot", "bar", "barindex", "weekday"}
TICKS = {"price", "bid", "ask", "size", "qty", "quantity", "side", "lastsize", "tradeid", "bidsize"}


def name_columns(table: Table, given: Any = None) -> dict[str, int]:
    """The position of the column of each role; the labels `given` by role go before all guesses.

    Raises DataError on what has not all prices, and if several columns could be the date.
    """
    labels = table.frame.columns
    places = chosen_columns(given, labels)
    if not table.labelled:
        return _by_shape(table) | places
    candidates = match_columns(labels)
    for role, found in candidates.items():
        if role not in ("date", "time", "volume"):
            places.setdefault(role, found[0])
    missing = [name for name in PRICES if name not in places]
    if missing or {normal(label) for label in labels} & OPTIONS:
        raise _missing(missing, labels)
    if "date" not in places and (place := _date(table.frame, candidates, places)) is not None:
        places["date"] = place
    if "time" in candidates and candidates["time"][0] != places.get("date"):
        places.setdefault("time", candidates["time"][0])
    volumes = candidates.get("volume", [])
    while len(volumes) > 1:  # one of all zeros counts if there is no other
        first = parse_numbers({"volume": table.frame.iloc[:, volumes[0]]}).values["volume"]
        if first.any():
            break
        volumes = volumes[1:]
    if volumes:
        places.setdefault("volume", volumes[0])
    return places


def _missing(names: list[str], labels: pd.Index) -> DataError:
    """What to do about a table without all four prices, by what it seems to be."""
    known = {normal(label) for label in labels}
    found = listed(labels)
    columns = f"column {', '.join(names)}; found {found}"
    text = f"Missing {columns}. Rename or add what is missing."
    if known & OPTIONS:
        text = f"This is an option chain, no bars; found {found}. Give the stock's."
    elif len(names) > 2 and known & TICKS and "close" not in known:
        text = f"These are ticks, trades or quotes: missing {columns}. Resample them to bars first."
    elif len(names) == 4 and len(labels) > 2 and len(match_columns(labels)) <= 1:
        text = (
            f"Can't tell the {columns}. If there is a column a symbol, give bars with a column "
            "symbol; else say columns={'open': …}."
        )
    return DataError(text)


def _date(frame: pd.DataFrame, candidates: dict, taken: dict[str, int]) -> int | None:
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


def _parsed(series: pd.Series) -> Dates | None:
    """The column read as dates, if its cells can be."""
    try:
        return parse_dates(series, np.zeros(len(series), np.int64))
    except DataError:
        return None


def _dates(series: pd.Series) -> np.ndarray | None:
    """The column as dates of 1900 to 2200, if all of its cells are such."""
    dates = _parsed(series)
    if dates is None:
        return None
    known = dates.local[~np.isnat(dates.local)]
    years = known.astype("datetime64[Y]").astype(np.int64) + 1970
    sound = len(known) and not dates.bad.any() and (abs(years - 2050) <= 150).all()
    return dates.local if sound else None


def _unnamed_date(frame: pd.DataFrame, places: list[int]) -> int | None:
    """The one column that holds dates, in order, though its name doesn't say so."""
    typed = [i for i in places if pd.api.types.is_datetime64_any_dtype(frame.dtypes.iloc[i])]
    fits = typed
    for place in [] if typed else places:
        series = frame.iloc[:, place]
        number = pd.api.types.is_numeric_dtype(series.dtype)
        if len(series) < (5 if number else 1) or pd.api.types.is_bool_dtype(series.dtype):
            continue
        dates = _dates(series)
        if dates is None:
            if not number:
                _refuse_nearly_dates(series)
            continue
        steps = np.diff(dates[~np.isnat(dates)]).astype(np.int64)
        if min((steps < 0).mean(), (steps > 0).mean()) <= 1 - ORDERED:  # but from symbol to symbol
            fits.append(place)
    if len(fits) > 1:
        names = " and ".join(shown(frame.columns[place]) for place in fits[:2])
        raise DataError(f"Columns {names} could both be the date; say columns={{'date': …}}.")
    return fits[0] if fits else None


def _refuse_nearly_dates(series: pd.Series) -> None:
    """Raises DataError on a column most of whose texts are dates: it was meant to be the date."""
    dates = _parsed(series)
    if dates and dates.bad.any() and 2 * (~np.isnat(dates.local)).sum() > len(series):
        cell = series.iloc[int(np.argmax(dates.bad))]
        raise DataError(
            f"Column {shown(series.name)} looks like the date, but {shown(cell)} in it is none; "
            "mend it, or say columns={'date': …}."
        )


def symbol_column(frame: pd.DataFrame, places: list[int], dates: np.ndarray) -> int | None:
    """The column among `places` of fewest values by which dates that come twice come once each."""
    if not places or pd.Index(dates).is_unique:
        return None
    best, fewest = None, len(frame) // 2 + 1
    for place in places:
        names = frame.iloc[:, place].map(text_of)
        count = names.nunique()
        short = names.str.fullmatch(r"[\d.]{0,3}|.*\..*\d").all()  # hours, numbers with decimals
        short |= normal(frame.columns[place]) in CLOCKS
        stamps = pd.DataFrame({"name": names.to_numpy(), "date": dates})
        if 2 <= count < fewest and not short and not stamps.duplicated().any():
            best, fewest = place, count
    return best


def _by_shape(table: Table) -> dict[str, int]:
    """Roles of columns without names: texts, a time, perhaps a clock, four prices, a volume."""
    sample = table.frame.iloc[:SAMPLE]
    columns = {str(i): sample.iloc[:, i] for i in range(sample.shape[1])}
    numbers = parse_numbers(columns, None, table.comma, table.plain)
    values = [numbers.values[name] for name in columns]
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

    # the prices are four numbers in a row, alike and ordered, and oldest first
    order = slice(None)
    if "date" in roles:
        order = np.argsort(_dates(sample.iloc[:, roles["date"]]), kind="stable")
    first = _first_price(values, free, table.plain)
    prices = np.array([values[i][order] for i in free[first : first + 4]], float)
    found = _price_order(prices, "date" in roles)
    roles |= {name: free[first + i] for name, i in found.items()}
    close, rest = values[roles["close"]], free[first + 4 :] or free[:first]
    # a fifth that moves as the close does is adjusted, one of its size a mean
    if len(rest) > 1 and len(close) > 2:
        fifth = values[rest[0]]
        moves = [np.diff(np.log(np.abs(one) + 1e-12)) for one in (close, fifth)]
        if _median(abs(moves[0] - moves[1])) < 0.1 * _median(abs(moves[0])) + 1e-9:
            roles["adjclose"] = rest.pop(0)
        elif _alike([close, fifth]) and not _alike([close, values[rest[1]]]):
            rest = rest[1:]
    if rest:
        roles["volume"] = rest[0]

    # a text before them names the symbol
    texts = [i for i in range(free[first + 3]) if bad[i] and i not in (*roles.values(), *free)]
    if texts:
        roles["symbol"] = texts[0]
    if table.plain or "date" in roles:
        named = [name for name in (*COLUMNS, "adjclose") if name in roles]
        told = ", ".join(f"{name} {roles[name] + 1}" for name in named)
        table.note("columns told by what they hold", 1, told)
    return roles


def _first_price(values: list[np.ndarray], free: list[int], plain: bool) -> int:
    """Where among the numeric columns `free` the four prices begin; raises DataError."""
    windows = [[values[i] for i in free[k : k + 4]] for k in range(len(free) - 3)]
    for k, window in enumerate(windows):
        prices = np.array(window, float)
        if _alike(window) and _extremes(prices)[0] >= ORDERED and not _too_wide(prices):
            return k
    if not windows or (plain and all(_extremes(np.array(w, float))[0] < 0.5 for w in windows)):
        raise DataError(
            "There is no header, and no four columns of which one is the high and one the low; "
            "name the columns in a first line."
        )
    if plain and _too_wide(np.array(windows[0], float)):
        raise DataError(
            "There is no header, and the first four columns differ far more than they move, as "
            "those of several symbols do; name the columns in a first line."
        )
    return 0


def _alike(columns: list[np.ndarray]) -> bool:
    """Whether columns have typical values of one size."""
    sizes = np.array([_median(abs(column)) for column in columns])
    return bool(0 < sizes.max() < ALIKE * sizes.min())


def _median(values: np.ndarray) -> float:
    """The median of the numbers there are; NaN of none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _too_wide(prices: np.ndarray) -> bool:
    """Whether ranges [4, R] are far larger than moves from row to row, as no bar's are."""
    if prices.shape[1] < 10:
        return False
    spread = _median(prices.max(0) - prices.min(0))
    return spread > WIDE * _median(abs(np.diff(prices, axis=1))) > 0


def _ordered(prices: np.ndarray, high: int, low: int) -> float:
    """Share of the whole rows [4, R] that one column tops and another one bottoms."""
    whole = prices[:, ~np.isnan(prices).any(0)]
    found = (whole[high] == whole.max(0)) & (whole[low] == whole.min(0))
    return float(found.mean()) if len(found) else 0.0


def _extremes(prices: np.ndarray) -> tuple[float, int, int]:
    """Which columns [4, R] are most often the highest and the lowest, after the share of rows."""
    pairs = [(_ordered(prices, *pair), *pair) for pair in permutations(range(4), 2)]
    return max(pairs, key=lambda found: found[0])


def _is_clock(series: pd.Series) -> bool:
    """Whether a column without a name is one of times of the day: 09:30, or 093000 as text."""
    texts = series.map(text_of)
    if not (texts.str.contains(":") | texts.str.fullmatch(r"\d{4}|\d{6}")).all():
        return False
    return not clock_times(series)[1].any()


def _price_order(values: np.ndarray, dated: bool) -> dict[str, int]:
    """Which row of prices [4, R] is which: open, high, low, close unless their order denies it."""
    share, high, low = _extremes(values)
    if _ordered(values, 1, 2) >= ORDERED or share < ORDERED or values.shape[1] < 2:
        high, low = 1, 2
    first, second = (i for i in range(4) if i not in (high, low))
    if dated and values.shape[1] > 2:  # a bar opens near where the one before closed
        near = _median(abs(values[first, 1:] - values[second, :-1]))
        other = _median(abs(values[second, 1:] - values[first, :-1]))
        if other < (0.5 if (high, low) != (1, 2) else 0.25) * near:
            first, second = second, first
    return {"open": first, "high": high, "low": low, "close": second}
