"""Which column is what: by its name, by what a user says, and failing both by what it holds."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, quoted
from .cells import parse_numbers
from .dates import clock_times, parse_dates
from .names import COLUMNS, PRICES, chosen_columns, listed, match_columns, normal, role_of, text_of
from .read import Table

SAMPLE = 1_000  # rows by which a column without a name is told
EARLIEST = 10**7  # a first number from here on is a time
MOSTLY = 0.5  # share of its texts from which a column without a date's name is one of dates
ORDERED, LOOSE = 0.95, 0.5  # share of rows in which the high is highest and the low lowest
NEARER = 0.25  # how much nearer opens must be to the closes before for another layout
# the orders of columns without names, the usual one first: Coinbase, Bitfinex and KuCoin, Gate
LAYOUTS = (
    ("open", "high", "low", "close", "volume"),
    ("low", "high", "open", "close", "volume"),
    ("open", "close", "high", "low", "volume"),
    ("close", "open", "high", "low", "volume"),
    ("volume", "close", "high", "low", "open"),
    ("volume", "open", "high", "low", "close"),
)

# what providers add to bars, which nobody means as an input: the beginnings of such names
PROVIDED = re.compile(
    "adj|amount|ask|average|avg|bid|capital|change|close|count|currency|date|day|dividend|epoch"
    "|factor|high|hour|id$|ignore|index$|label|level|low|marketcap|mean|minute|month|n$|no$|noof"
    "|num|offset|oi$|open|pct|percent|prev|price|quote|raw|repair|sector|shares|spread$|split"
    "|stocksplit|taker|time|trades?$|traded|transaction|turnover|unadj|unix|unnamed|value|volume"
    r"|vwap|wap|week|year|zone|\d"
)
FLAGS = {"true": "1", "false": "0"}


def take_inputs(table: Table, names: tuple[str, ...]) -> tuple[Table, dict[str, pd.Series]]:
    """The table without the columns `names`, a user's own inputs; and those that there are."""
    labels = [text_of(label) for label in table.frame.columns] if table.labelled else []
    places = {}
    for name in names:
        if labels.count(name) > 1:
            raise DataError(f"Column {quoted(name)} is there more than once; keep one of them.")
        if name in labels:
            places[name] = labels.index(name)
    if not places:
        return table, {}
    rest = [i for i in range(len(labels)) if i not in places.values()]
    own = {name: table.frame.iloc[:, place] for name, place in places.items()}
    return replace(table, frame=table.frame.iloc[:, rest]), own


def input_numbers(
    columns: dict[str, pd.Series], decimal: str | None = None, text: bool = False
) -> dict[str, np.ndarray]:
    """Own inputs by name, float64 [R], NaN where missing; DataError on a cell that is no number."""
    for name, series in columns.items():
        if series.dtype.kind not in "fiu":  # flags count as 1 and 0
            cells = series.astype(object)
            columns[name] = cells.map(lambda cell: FLAGS.get(text_of(cell).lower(), cell))
    numbers = parse_numbers(columns, decimal, text=text)
    for name, bad in numbers.bad.items():
        if bad.any():
            cell = columns[name].iloc[int(np.argmax(bad))]
            raise DataError(
                f"Column {quoted(name)}, row {np.argmax(bad) + 1}: {quoted(cell)} is not a number; "
                "an input is one, empty where it is missing."
            )
    return numbers.values


def likely_inputs(spare: pd.DataFrame) -> list[str]:
    """Labels of columns that look like inputs: numbers, by no name that providers use."""
    found = []
    for place, label in enumerate(spare.columns):
        name = normal(label)
        if name and name.isascii() and not (role_of(label) or PROVIDED.match(name)):
            with suppress(DataError):
                if np.isfinite(input_numbers({"": spare.iloc[:SAMPLE, place]})[""]).any():
                    found.append(text_of(label))
    return found


def name_columns(table: Table, given: Any = None) -> dict[str, int]:
    """The position of the column of each role; the labels `given` by role go before all guesses.

    Raises DataError on what has not all prices, and if several columns could be the date.
    """
    labels = table.frame.columns
    places = chosen_columns(given, labels)
    if not table.labelled:
        return _by_shape(table) | places
    candidates = match_columns(labels)
    for role, positions in candidates.items():
        if role not in ("date", "time", "volume"):
            places.setdefault(role, positions[0])
    if missing := [name for name in PRICES if name not in places]:
        raise DataError(
            f"Missing column {', '.join(missing)}; found {listed(labels)}. Rename one, or say "
            f"columns={{'{missing[0]}': …}}; ticks or trades are to be resampled to bars first."
        )
    if "date" not in places:
        places |= _date_column(table, candidates, places)
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


def _date_column(table: Table, candidates: dict, taken: dict) -> dict[str, int]:
    """The position of the column of dates, by role; empty if there is none."""
    frame = table.frame
    named = candidates.get("date", []) + candidates.get("time", [])
    if len(candidates.get("date", [])) == 1 or len(named) == 1:
        return {"date": named[0]}
    if named:  # the one that tells most times apart, of those that can be read
        read = [_dates(frame.iloc[:, place]) for place in named]
        distinct = [-1 if dates is None else len(np.unique(dates)) for dates in read]
        best = int(np.argmax(distinct))
        days = [dates.astype("datetime64[D]") for dates in read if dates is not None]
        if any((one != days[0]).any() for one in days[1:]):
            table.doubts.append(_taken_for_date(frame, named[best], "tells most times apart"))
        return {"date": named[best]}

    # the one column that holds dates, though its name doesn't say so
    fits = []
    known = {place for places in candidates.values() for place in places} | {*taken.values()}
    for place in sorted({*range(frame.shape[1])} - known):  # a volume can look like a time
        series = frame.iloc[:, place]
        number = pd.api.types.is_numeric_dtype(series.dtype)
        if not number and _dates(series, MOSTLY) is not None:
            fits.append(place)
    if len(fits) > 1:
        names = " and ".join(quoted(frame.columns[place]) for place in fits[:2])
        raise DataError(f"Columns {names} could both be the date; say columns={{'date': …}}.")
    if not fits:
        return {}
    # an index of dates that has no name is one in pandas' own words, not by our guess
    index = pd.api.types.is_datetime64_any_dtype(frame.dtypes.iloc[fits[0]])
    if not (index and text_of(frame.columns[fits[0]]) == "index"):
        table.doubts.append(_taken_for_date(frame, fits[0], "holds dates"))
    return {"date": fits[0]}


def _taken_for_date(frame: pd.DataFrame, place: int, why: str) -> str:
    """The sentence about a column of dates that its name does not tell."""
    label = text_of(frame.columns[place])
    column = f"Column {quoted(label)}" if label else f"Column {place + 1}, which has no name,"
    return f"{column} is taken for the date since it {why}; say columns={{'date': …}} if it is not."


def _dates(series: pd.Series, share: float = 1.0) -> np.ndarray | None:
    """The column as dates, if this share of its cells, or more, are some of 1900 to 2200."""
    try:
        dates = parse_dates(series, np.zeros(len(series), np.int64)).local
    except DataError:
        return None
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    given = series.map(text_of).ne("").to_numpy() & ~series.isna().to_numpy()
    sound = (abs(years - 2050) <= 150) & given
    return dates if sound.any() and sound.sum() >= share * given.sum() else None


def _by_shape(table: Table) -> dict[str, int]:
    """Roles of columns without names: a symbol, a time, perhaps a clock, four prices, a volume."""
    sample = table.frame.iloc[:SAMPLE]
    count = sample.shape[1]
    columns = {str(i): sample.iloc[:, i] for i in range(count)}
    numbers = parse_numbers(columns, None, table.comma, table.text)
    values = [numbers.values[name] for name in columns]
    bad = [numbers.bad.get(name, np.zeros(1, bool)).any() for name in columns]

    # texts and times come before prices
    roles: dict[str, int] = {}
    dates = None
    for i in range(min(count, 4) if count > 4 else 0):
        if bad[i] or not (values[i] < EARLIEST).any():
            dates = _dates(sample.iloc[:, i])
        if dates is not None:
            roles["date"] = i
            break
    clock = roles.get("date", count) + 1
    if count - clock > 4 - bad[min(clock, count - 1)] and _is_clock(sample.iloc[:, clock]):
        roles["time"] = clock
    first = max(roles.values(), default=-1) + 1
    if dates is None and (table.text or any(bad[:1])):
        first = bad.index(False) if False in bad else 0
    texts = [i for i in range(first) if bad[i] and i not in roles.values()]
    if texts:
        roles["symbol"] = texts[0]

    # the layout in which highs are highest and lows lowest, and bars open where others closed
    order = slice(None) if dates is None else np.argsort(dates, kind="stable")
    rest = np.array([one[order] for one in values[first:]], float)  # [C, R]
    layout = _layout(rest, dated=dates is not None)
    if layout is None:
        if table.text or len(rest) < 4:
            raise DataError(
                "There is no header, and no four columns of which one is the high and one the low "
                "of the same symbol; name the columns in a first line."
            )
        layout = LAYOUTS[0]  # rows as they are asked for
    roles |= {role: first + i for i, role in enumerate(layout) if i < len(rest)}
    if len(rest) > 5 and layout == LAYOUTS[0]:
        _, high, low, close, fifth = rest[:5]
        inside = (fifth >= low) & (fifth <= high)
        if inside.mean() >= ORDERED or fifth[-1] == close[-1]:  # a mean or adjusted price
            roles["volume"] += 1
    if table.text or dates is not None or layout != LAYOUTS[0]:
        roles_text = ", ".join(f"{name} {roles[name] + 1}" for name in COLUMNS if name in roles)
        table.note("columns told by what they hold", 1, roles_text)
        table.doubts.append(
            f"The columns have no names, so what they hold tells which is which ({roles_text}); "
            "name them if that is wrong."
        )
    return roles


def _layout(values: np.ndarray, dated: bool) -> tuple[str, ...] | None:
    """The one of `LAYOUTS` that columns of numbers [C, R] have; None if they have none."""
    best, nearest = None, np.inf
    for layout in LAYOUTS:
        if not {*layout[: len(values)]} >= {*PRICES}:
            continue
        opening, high, low, close = prices = values[[layout.index(name) for name in PRICES]]
        whole = ~np.isnan(prices).any(axis=0)
        fits = (high == prices.max(axis=0)) & (low == prices.min(axis=0))
        if not whole.any() or fits[whole].mean() < (
            ORDERED if best or layout != LAYOUTS[0] else LOOSE
        ):
            continue
        jumps = pd.Series(abs(opening[1:] - close[:-1])).median() if dated else 0.0
        if best is None or jumps < NEARER * nearest:
            best, nearest = layout, jumps
    return best


def _is_clock(series: pd.Series) -> bool:
    """Whether a column without a name is one of times of the day: 09:30, or 093000 as text."""
    texts = series.map(text_of)
    if not (texts.str.contains(":") | texts.str.fullmatch(r"\d{4}|\d{6}")).all():
        return False
    return not clock_times(series)[1].any()
