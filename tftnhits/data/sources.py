"""Whatever holds bars, in memory or as JSON: frames, rows, records, columns, one inside another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, quoted
from .names import PRICES, listed, match_columns, role_of, text_of
from .read import Table, file_bytes, parse_bytes, stream_bytes

DEEPEST, MOST = 7, 1_000  # levels and places of an object in which tables are looked for
# keys over a table that name no symbol
WRAPPERS = {
    *("results", "result", "data", "candles", "values", "prices", "bars", "historical", "items"),
    *("quotes", "quote", "rows", "records", "ohlc", "ohlcv", "klines", "chart", "response", "list"),
}


def read_tables(source: Any, symbol: str) -> list[tuple[str, Table]]:
    """The raw tables of a source, and what each one's bars are called if no column says it."""
    if isinstance(source, str | os.PathLike):
        source = parse_bytes(file_bytes(source), quoted(os.fspath(source), 200))
    elif hasattr(source, "read"):
        source = parse_bytes(stream_bytes(source), "The open file")
    elif hasattr(source, "to_pandas") and not isinstance(source, pd.DataFrame):  # polars, pyarrow
        source = source.to_pandas()
    if isinstance(source, pd.DataFrame):
        source = Table(source)
    if isinstance(source, Table):
        table = replace(source, frame=plain_frame(source.frame), attrs=source.frame.attrs)
        return [(symbol, table)]
    if isinstance(source, list | tuple) or (isinstance(source, np.ndarray) and source.ndim):
        return [(symbol, _of_rows(source))]
    if isinstance(source, Mapping):
        if tables := list(_inside(source, symbol, {}, 0)):
            return tables
        raise DataError(
            f"There is no table of bars in {quoted(source, 120)}; give columns, or one a symbol."
        )
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
    if not isinstance(frame.index, pd.RangeIndex) or frame.index.name is not None:
        taken = {role_of(name) for name in frame.columns}
        levels = {}
        for i, name in enumerate(frame.index.names):
            values = frame.index.get_level_values(i)
            role = "" if name is None else role_of(name)
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
    prices = [len({*map(role_of, level)} & {*PRICES}) for level in levels]
    names, tickers = levels if prices[0] >= prices[1] else levels[::-1]
    places: dict[str, list[int]] = {}
    shared = []  # ("Date", "") or ("", "Date"): an index that reset_index has made a column
    for i, (name, ticker) in enumerate(zip(names, tickers, strict=True)):
        if not (name and ticker) and role_of(name or ticker) == "date":
            shared.append(i)
        else:
            places.setdefault(ticker, []).append(i)
    parts = []
    for ticker, columns in (places or {"": []}).items():
        labels = pd.Index([names[i] or tickers[i] for i in shared + columns], dtype=object)
        if missing := [name for name in PRICES if name not in match_columns(labels)]:
            raise DataError(f"Missing column {', '.join(missing)}; found {listed(labels)}.")
        part = frame.iloc[:, shared + columns].set_axis(labels, axis=1)
        parts.append(part.assign(symbol=ticker) if ticker else part)
    return pd.concat(parts)


def _inside(value: Any, name: str, around: dict, depth: int) -> Iterator[tuple[str, Table]]:
    """Each table inside an object and its symbol; `around` has what stands beside it, by key."""
    if depth > DEEPEST:
        return
    table = _table_of(value, depth)
    if table is not None:
        symbols = [v for k, v in around.items() if role_of(k) == "symbol" and isinstance(v, str)]
        if table.labelled and "date" not in match_columns(table.frame.columns):
            for key, cells in around.items():  # Yahoo's timestamps
                if role_of(key) == "date" and _is_list(cells) and len(cells) == len(table.frame):
                    table.frame.insert(0, key, cells)
                    break
        yield (symbols or [name])[-1], table
    elif isinstance(value, Mapping):
        beside = [part for part in value.values() if isinstance(part, Mapping) and len(part) < 50]
        for part in (*beside, value):
            plain = {text_of(k): v for k, v in part.items() if not isinstance(v, Mapping)}
            around = around | {k: v for k, v in plain.items() if k != "name"}
        for key, part in value.items():
            key = text_of(key)
            above = key.lower() in WRAPPERS or (depth > 0 and role_of(key)) or _by_date(part)
            yield from _inside(part, name if above else key, around, depth + 1)
    elif _is_list(value) and len(value) and isinstance(value[0], Mapping):
        for part in value[:MOST]:
            yield from _inside(part, name, around, depth + 1)


def _table_of(value: Any, depth: int) -> Table | None:
    """The table that a value is itself, if it is one and none of several."""
    if hasattr(value, "to_pandas") and not isinstance(value, pd.DataFrame):
        value = value.to_pandas()
    if isinstance(value, pd.DataFrame):
        return Table(plain_frame(value))
    if isinstance(value, np.ndarray):
        return _of_rows(value) if value.ndim == 2 else None
    if isinstance(value, Mapping):
        if {"columns", "data"} <= {*value}:  # pandas' orient="split"
            frame = pd.DataFrame(value["data"], value.get("index"), value["columns"])
            return Table(plain_frame(frame))
        if _by_date(value):
            return _of_rows([{"date": day, **record} for day, record in value.items()])
        prices = [cells for key, cells in [*value.items()][:50] if role_of(key) in PRICES]
        if len(prices) < 2 or any(_holds_lists(cells) for cells in prices):
            return None
        return Table(plain_frame(pd.DataFrame(dict(value))))
    if _is_list(value) and len(value) and depth:
        first = value[0]
        if isinstance(first, Mapping):
            bars = len({*map(role_of, [*first][:50])} & {*PRICES}) >= 2
            return _of_rows(value) if bars and not any(map(_is_list, first.values())) else None
        if isinstance(first, np.ndarray) or (_is_list(first) and (len(first) >= 4 or depth == 1)):
            return _of_rows(value)
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _holds_lists(value: Any) -> bool:
    """Whether what a price's name stands for is a table, not a column."""
    if isinstance(value, Mapping):
        return any(_is_list(cells) or isinstance(cells, Mapping) for cells in value.values())
    if _is_list(value) and len(value):
        return isinstance(value[0], list | tuple | dict | np.ndarray)
    return getattr(value, "ndim", 1) > 1


def _by_date(value: Any) -> bool:
    """Whether keys are dates, over records."""
    some = [*value.items()][:5] if isinstance(value, Mapping) else []
    return bool(some) and all(
        re.match(r"\d{4}.{4}", text_of(key)) and isinstance(record, Mapping) for key, record in some
    )


def _of_rows(rows: Any) -> Table:
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
