"""Whatever holds bars, in memory or as JSON: frames, rows, records, columns, and these inside others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown
from .names import PRICES, listed, match_columns, normal, role_of, text_of
from .read import Table, file_bytes, guarded, parse_bytes, stream_bytes

DEEPEST, MOST = 6, 10_000  # levels and places of a JSON object in which a table is looked for
# keys over a table that name no symbol
WRAPPERS = {
    *("results", "result", "data", "candles", "values", "prices", "bars", "historical", "items"),
    *("quotes", "quote", "rows", "records", "ohlc", "ohlcv", "klines", "chart", "response", "list"),
}
ACCEPTED = (
    "give a file name, an open file, a frame, a dict, or a list of "
    "[open, high, low, close, volume] rows"
)


def read_tables(source: Any, symbol: str) -> list[tuple[str, Table]]:
    """The raw tables of a source and what the bars of each are called if no column says it.

    Raises DataError on what can't be read.
    """
    if hasattr(source, "to_pandas") and not isinstance(source, pd.DataFrame):  # polars, pyarrow
        source = guarded("The frame can't be converted", source.to_pandas)
    if isinstance(source, pd.DataFrame):
        return [(symbol, frame_table(source))]
    if isinstance(source, str | os.PathLike):
        name = shown(os.fspath(source), 200)
        parsed = parse_bytes(file_bytes(source), name)
    elif hasattr(source, "read"):
        parsed = parse_bytes(stream_bytes(source), "the open file")
    elif isinstance(source, Mapping | list | tuple) or (
        isinstance(source, np.ndarray) and source.ndim
    ):
        return _of_object(source, symbol)
    else:
        raise DataError(f"Bars can't be read from a {type(source).__name__}; {ACCEPTED}.")
    if not isinstance(parsed, Table):
        return _of_object(parsed, symbol)
    notes, table = parsed.notes, frame_table(parsed.frame)
    parsed.frame, parsed.notes = table.frame, notes
    return [(symbol, parsed)]


def frame_table(frame: pd.DataFrame) -> Table:
    """A frame with one level of columns; index levels that may be dates or symbols are columns."""
    frame = frame.copy(deep=False)
    frame.attrs = {}  # pandas copies them deeply at every step, and repairs can be many
    if frame.columns.nlevels > 1:
        frame = _stacked(frame)
    taken = {_role(name) for name in frame.columns}
    levels = {}
    for i, name in enumerate(frame.index.names):
        values, role = frame.index.get_level_values(i), "" if name is None else _role(name)
        dated = isinstance(values, pd.DatetimeIndex | pd.PeriodIndex)
        nameless = not role and not pd.api.types.is_numeric_dtype(values.dtype)
        if (role and role not in taken) or dated or (nameless and "date" not in taken):
            levels["index" if name is None else name] = values
    rows = range(1, len(frame) + 1)
    frame = frame.set_axis(rows, axis=0)
    if levels:
        index = pd.concat([pd.Series(values, rows) for values in levels.values()], axis=1)
        index.columns = pd.Index([*levels], dtype=object)
        frame = pd.concat([index, frame], axis=1)
    return Table(frame)


def _stacked(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of two levels, (price, ticker) or (ticker, price) as yfinance has them, one below the other."""
    if frame.columns.nlevels != 2:
        raise DataError(
            f"The columns have {frame.columns.nlevels} levels; give one, or price and ticker."
        )
    levels = [[text_of(name) for name in frame.columns.get_level_values(i)] for i in (0, 1)]
    prices = [len({normal(name) for name in level} & {*PRICES}) for level in levels]
    names, tickers = levels if prices[0] >= prices[1] else levels[::-1]
    # ("Date", "") or ("", "Date"): an index that reset_index has made a column
    shared = [
        i
        for i, (name, ticker) in enumerate(zip(names, tickers, strict=True))
        if not (name and ticker) and _role(name or ticker) == "date"
    ]
    parts = []
    for ticker in dict.fromkeys(t for i, t in enumerate(tickers) if i not in shared):
        places = shared + [i for i, t in enumerate(tickers) if t == ticker and i not in shared]
        labels = pd.Index([names[i] or tickers[i] for i in places], dtype=object)
        part = frame.iloc[:, places].set_axis(labels, axis=1)
        if missing := [name for name in PRICES if name not in match_columns(labels)]:
            raise DataError(
                f"Missing column {', '.join(missing)} of {ticker}; found {listed(labels)}."
            )
        parts.append(pd.concat([part, pd.Series(ticker, part.index, name="symbol")], axis=1))
    if not parts:
        raise DataError(f"Missing column {', '.join(PRICES)}; found {listed(names)}.")
    if all(not ticker for ticker in tickers):
        parts = [part.drop(columns="symbol") for part in parts]
    return pd.concat(parts)


def _of_object(value: Any, symbol: str) -> list[tuple[str, Table]]:
    """Tables of rows, records, columns, or of a dict that holds them by symbol or somewhere inside."""
    if not isinstance(value, Mapping):
        return [(symbol, _of_list(value))]
    if not value:
        raise DataError("The dict is empty; give columns or a table for each symbol.")
    if {"columns", "data"} <= {*value}:  # pandas' orient="split"
        return [(symbol, guarded("The split frame is not a table", _of_split, value))]
    if _by_date(value):
        records = [{"date": day, **record} for day, record in value.items()]
        return [(symbol, _of_list(records))]
    wrapped = any(isinstance(name, str) and name in WRAPPERS for name in value)
    if all(map(_is_table, value.values())) and not wrapped:
        return [one for name, table in value.items() for one in read_tables(table, text_of(name))]
    if not _prices_in(value) and (inside := _search(value)) is not None:
        return [_of_inside(*inside, symbol)]
    columns = {
        name: cells for name, cells in value.items() if not (_is_list(cells) and not len(cells))
    }
    frame = guarded("The dict of columns is not a table", pd.DataFrame, columns)
    return [(symbol, frame_table(frame))]


def _search(value: Mapping) -> tuple[Any, str, dict[str, Any]] | None:
    """The first table somewhere inside, its key, and by name all else that is plain."""
    table, key, around, queue = None, "", {}, [("", value, 0)]
    for name, node, depth in queue:
        if len(queue) > MOST or depth > DEEPEST:
            break
        if table is None and depth and _is_bars(node):
            table, key = node, name
        elif isinstance(node, Mapping):
            queue += [(text_of(k), child, depth + 1) for k, child in node.items()]
        elif _is_list(node) and len(node) and isinstance(node[0], Mapping):
            queue += [(name, child, depth + 1) for child in node[:20]]
        else:
            around.setdefault(name, node)
    return None if table is None else (table, key, around)


def _of_inside(value: Any, key: str, around: dict[str, Any], symbol: str) -> tuple[str, Table]:
    """The table found inside an object, with the symbol and the times that stand beside it."""
    table = _of_object(value, symbol)[0][1]
    plain = {k: v for k, v in around.items() if isinstance(v, str) and normal(k) != "name"}
    names = [text_of(v) for k, v in plain.items() if _role(k) == "symbol"]
    if not names and key and key.lower() not in WRAPPERS and role_of(key) is None:
        names = [key]
    if "date" not in match_columns(table.frame.columns) and table.labelled:
        for name, cells in around.items():
            if _role(name) == "date" and _is_list(cells) and len(cells) == len(table.frame):
                table.frame.insert(0, name, cells)
                break
    return (names or [symbol])[0], table


def _role(label: Any) -> str:
    return (role_of(label) or ("",))[0]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _prices_in(value: Mapping) -> int:
    """How many of the four prices are among the keys."""
    return len({_role(name) for name in list(value)[:50]} & {*PRICES})


def _is_bars(value: Any) -> bool:
    """Whether a value inside a JSON object is a table of bars."""
    if isinstance(value, Mapping):
        listed_ = any(_is_list(cells) or isinstance(cells, Mapping) for cells in value.values())
        return _by_date(value) or (listed_ and _prices_in(value) >= 2)
    if not (_is_list(value) and len(value)):
        return False
    first = value[0]
    if isinstance(first, Mapping):
        return _prices_in(first) >= 2 and not any(map(_is_list, first.values()))
    return _is_list(first) and len(first) >= 4


def _by_date(value: Mapping) -> bool:
    """Whether keys are dates, over records."""
    some = list(value.items())[:5]
    dates = all(str(key)[:4].isdigit() and len(str(key)) >= 8 for key, _ in some if _short(key))
    return dates and all(_short(key) and isinstance(record, Mapping) for key, record in some)


def _short(key: Any) -> bool:
    return isinstance(key, str) or hasattr(key, "year")


def _of_split(value: Mapping) -> Table:
    frame = pd.DataFrame(value["data"], columns=value["columns"])
    return frame_table(frame.set_index(pd.Index(value["index"])) if "index" in value else frame)


def _of_list(rows: Any) -> Table:
    """Records (dicts by column name), or rows of numbers, perhaps with a time first."""
    if not len(rows):
        raise DataError("There are no bars: the list of rows is empty; give at least one bar.")
    if all(isinstance(row, Mapping) for row in rows):
        return frame_table(guarded("The list of records is not a table", pd.DataFrame, list(rows)))
    width = None
    for number, row in enumerate(rows, 1):
        size = len(row) if isinstance(row, list | tuple) or getattr(row, "ndim", 0) == 1 else 0
        if not 4 <= size <= 50 or size != (width or size):
            before = f" after rows of {width}" if width else ""
            raise DataError(
                f"Row {number} has {size or 'no'} cells{before}; every row is [open, high, low, close]"
                " or [open, high, low, close, volume], perhaps with the time first."
            )
        width = size
    cells = [list(row) for row in rows]
    frame = guarded("The list of rows is not a table", pd.DataFrame, cells)
    return Table(frame.set_axis(range(1, len(frame) + 1), axis=0), labelled=False)


def _is_table(value: Any) -> bool:
    """Whether a value of a dict is a whole table, not a column."""
    if isinstance(value, pd.DataFrame) or hasattr(value, "to_pandas"):
        return True
    if isinstance(value, Mapping):
        return any(_is_list(c) or isinstance(c, Mapping | np.ndarray) for c in value.values())
    if isinstance(value, np.ndarray):
        return value.ndim == 2
    return (
        _is_list(value)
        and len(value) > 0
        and isinstance(value[0], list | tuple | np.ndarray | dict)
    )
