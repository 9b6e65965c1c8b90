"""Whatever holds bars, in memory or as JSON: frames, rows, records, columns, one inside another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown
from .names import PRICES, listed, match_columns, normal, role_of, text_of
from .read import file_bytes, parse_bytes, stream_bytes
from .text import Table

DEEPEST, MOST = 6, 1_000  # levels and places of a JSON object in which tables are looked for
# keys over a table that name no symbol
WRAPPERS = {
    *("results", "result", "data", "candles", "values", "prices", "bars", "historical", "items"),
    *("quotes", "quote", "rows", "records", "ohlc", "ohlcv", "klines", "chart", "response", "list"),
}


def read_tables(source: Any, symbol: str) -> list[tuple[str, Table]]:
    """The raw tables of a source, and what each one's bars are called if no column says it."""
    if hasattr(source, "to_pandas") and not isinstance(source, pd.DataFrame):  # polars, pyarrow
        source = source.to_pandas()
    elif isinstance(source, str | os.PathLike):
        source = parse_bytes(file_bytes(source), shown(os.fspath(source), 200))
    elif hasattr(source, "read"):
        source = parse_bytes(stream_bytes(source), "The open file")
    if isinstance(source, pd.DataFrame):
        return [(symbol, Table(plain_frame(source)))]
    if isinstance(source, Table):
        return [(symbol, replace(source, frame=plain_frame(source.frame)))]
    if isinstance(source, Mapping):
        return _of_mapping(source, symbol)
    if _is_list(source) or (isinstance(source, np.ndarray) and source.ndim):
        return [(symbol, _of_list(source))]
    raise DataError(
        f"Bars can't be read from a {type(source).__name__}; give a file name, an open file, a "
        "frame, a dict, or a list of [open, high, low, close, volume] rows."
    )


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """One level of columns, rows counted from 1, index levels of dates or symbols as columns."""
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
            levels[i] = "index" if name is None else name
    if levels:
        names = [*levels.values()]
        frame = frame.reset_index(level=[*levels], names=names, allow_duplicates=True)
    return frame.set_axis(range(1, len(frame) + 1), axis=0)


def _stacked(frame: pd.DataFrame) -> pd.DataFrame:
    """The tickers of yfinance's columns, (price, ticker) or the reverse, one below the other."""
    if (count := frame.columns.nlevels) != 2:
        raise DataError(f"The columns have {count} levels; give one, or price and ticker.")
    levels = [[text_of(name) for name in frame.columns.get_level_values(i)] for i in (0, 1)]
    prices = [len({normal(name) for name in level} & {*PRICES}) for level in levels]
    names, tickers = levels if prices[0] >= prices[1] else levels[::-1]
    places: dict[str, list[int]] = {}
    shared = []  # ("Date", "") or ("", "Date"): an index that reset_index has made a column
    for i, (name, ticker) in enumerate(zip(names, tickers, strict=True)):
        alone = not (name and ticker) and _role(name or ticker) == "date"
        (shared if alone else places.setdefault(ticker, [])).append(i)
    parts = []
    for ticker, own in (places or {"": []}).items():
        labels = pd.Index([names[i] or tickers[i] for i in shared + own], dtype=object)
        if missing := [name for name in PRICES if name not in match_columns(labels)]:
            raise DataError(f"Missing column {', '.join(missing)}; found {listed(labels)}.")
        part = frame.iloc[:, shared + own].set_axis(labels, axis=1)
        parts.append(part.assign(symbol=ticker) if ticker else part)
    return pd.concat(parts)


def _of_mapping(value: Mapping, symbol: str) -> list[tuple[str, Table]]:
    """Tables of columns, of records by date, or that a dict holds by symbol or deeper inside."""
    if not value:
        raise DataError("The dict is empty; give columns or a table for each symbol.")
    if {"columns", "data"} <= {*value}:  # pandas' orient="split"
        frame = pd.DataFrame(value["data"], value.get("index"), value["columns"])
        return [(symbol, Table(plain_frame(frame)))]
    if _by_date(value):
        return [(symbol, _of_list([{"date": day, **record} for day, record in value.items()]))]
    wrapped = any(isinstance(name, str) and name in WRAPPERS for name in value)
    if all(map(_is_table, value.values())) and not wrapped:
        return [one for name, table in value.items() for one in read_tables(table, text_of(name))]
    if not _prices_in(value):
        if inside := list(_inside(value, "", {}, 0)):
            return [_of_inside(*one, symbol) for one in inside]
        if not any(map(_is_list, value.values())):
            said = next((v for v in value.values() if isinstance(v, str) and " " in v), value)
            raise DataError(f"There is no table of bars in the object, but {shown(said, 120)}.")
    empty = [name for name, cells in value.items() if _is_list(cells) and not len(cells)]
    frame = pd.DataFrame({name: value[name] for name in value if name not in empty})
    return [(symbol, Table(plain_frame(frame)))]


def _inside(
    value: Any, key: str, around: dict[str, Any], depth: int
) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """Each table inside an object, its key, and by name the plain values and lists around it."""
    if depth and _is_bars(value):
        yield value, key, around
    elif isinstance(value, Mapping) and depth < DEEPEST:
        described = [one for one in value.values() if isinstance(one, Mapping) and len(one) < 50]
        for one in (*described, value):
            around = around | {text_of(k): v for k, v in one.items() if _is_plain(v)}
        for name, child in value.items():
            yield from _inside(child, text_of(name), around, depth + 1)
    elif _is_list(value) and depth < DEEPEST and len(value) and isinstance(value[0], Mapping):
        for child in value[:MOST]:
            yield from _inside(child, key, around, depth + 1)


def _of_inside(value: Any, key: str, around: dict[str, Any], symbol: str) -> tuple[str, Table]:
    """The table found inside an object, with the symbol and the times that stand beside it."""
    table = read_tables(value, symbol)[0][1]
    plain = {k: v for k, v in around.items() if isinstance(v, str) and normal(k) != "name"}
    names = [text_of(v) for k, v in plain.items() if _role(k) == "symbol"]
    if not names and key and key.lower() not in WRAPPERS and role_of(key) is None:
        names = [key] if not _by_date(value) else []
    if table.labelled and "date" not in match_columns(table.frame.columns):
        for name, cells in around.items():
            if _role(name) == "date" and _is_list(cells) and len(cells) == len(table.frame):
                table.frame.insert(0, name, cells)
                break
    return (names or [symbol])[-1], table


def _role(label: Any) -> str:
    return (role_of(label) or ("",))[0]


def _is_plain(value: Any) -> bool:
    """Whether a value is no table: a number or text, or a list of such."""
    first = value[0] if _is_list(value) and len(value) else value
    return not isinstance(first, Mapping) and (first is value or not _is_list(first))


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
    if isinstance(value[0], Mapping):
        return _prices_in(value[0]) >= 2 and not any(map(_is_list, value[0].values()))
    return _is_list(value[0]) and len(value[0]) >= 4


def _by_date(value: Mapping) -> bool:
    """Whether keys are dates, over records."""
    some = list(value.items())[:5] if isinstance(value, Mapping) else []
    return bool(some) and all(_is_day(key) and isinstance(record, Mapping) for key, record in some)


def _is_day(key: Any) -> bool:
    dated = isinstance(key, str) or hasattr(key, "year")
    return dated and str(key)[:4].isdigit() and len(str(key)) >= 8


def _of_list(rows: Any) -> Table:
    """Records (dicts by column name), or rows of numbers, perhaps with a time first."""
    if not len(rows):
        raise DataError("There are no bars: the list of rows is empty; give at least one bar.")
    if all(isinstance(row, Mapping) for row in rows):
        return Table(plain_frame(pd.DataFrame(list(rows))))
    width = None
    for number, row in enumerate(rows, 1):
        size = len(row) if isinstance(row, list | tuple) or getattr(row, "ndim", 0) == 1 else 0
        if not 4 <= size <= 50 or size != (width or size):
            before = f" after rows of {width}" if width else ""
            raise DataError(
                f"Row {number} has {size or 'no'} cells{before}; a row is [open, high, low, close]"
                " or [open, high, low, close, volume], perhaps with the time first."
            )
        width = size
    frame = pd.DataFrame([list(row) for row in rows])
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
        _is_list(value) and bool(value) and isinstance(value[0], list | tuple | np.ndarray | dict)
    )
