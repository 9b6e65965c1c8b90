"""Bars from anywhere: the bundled set, files, frames, rows, into one tidy and validated frame."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDependency, one_line, shown
from .cells import MAX_SYMBOL, NO_VALUE, text_of
from .repair import COLUMNS, PRICES, REPORT, require_columns, validate_bars

BUNDLED = ("stocks", "eurusd")  # sets of symbols in one file
HOURLY = ("EURUSD",)  # the symbols of "eurusd"; "stocks" has all others
# what other sources call our columns, the preferred name first
ALIASES = {
    "symbol": ("symbol", "ticker", "name"),
    "date": ("date", "datetime", "timestamp", "time"),
}
UNNAMED = (
    "",
    "index",
    "unnamed: 0",
)  # what a nameless date index becomes in a file or by reset_index

log = logging.getLogger("tftnhits")


def load_bars(source: Any, symbol: str | None = None) -> pd.DataFrame:
    """Validated bars: symbol, date (local time, NaT if unknown), open, high, low, close, volume: float64.

    source: "stocks" or "eurusd" (bundled), the path of a CSV or Parquet file, an open file such as
    stdin (CSV), a frame (tidy, capitalised, or of yfinance with its two levels of columns), a list of `[open, high, low, close]`
    or `[open, high, low, close, volume]` rows, a dict of columns, or a dict symbol -> frame, rows or columns.
    symbol: names the bars of a source that doesn't (default: the file's stem, else "series"); for a source
    with symbols of its own it takes that one.
    Sorted by symbol and date; `repairs(bars)` lists what was repaired. Rows count from 1 without the header.
    Raises DataError on what can't be read or repaired (see `validate_bars`).
    """
    if symbol is not None and (not isinstance(symbol, str) or not symbol.strip()):
        raise DataError(f"symbol is {shown(symbol)}; give a name such as 'AAPL', or leave it out.")
    frame = _read(source, symbol or _default_symbol(source))
    if symbol is not None:
        own = frame["symbol"]
        own = (
            own.str.strip().fillna("")
            if isinstance(own.dtype, pd.StringDtype)
            else own.map(text_of)
        )
        frame = frame[(own == text_of(symbol)).to_numpy()]
        if len(own) and not len(frame):
            found = one_line(", ".join(map(text_of, own.unique()[:10])), 160)
            raise DataError(f"There is no symbol {shown(symbol)} in this source; it has {found}.")
    bars, report = validate_bars(frame.reset_index(drop=True), rows=frame.index.to_numpy() + 1)
    bars.attrs["repairs"] = report.to_dict("records")
    log.info(
        "%d bars of %d symbols loaded, %d repairs of %d kinds",
        *(len(bars), bars["symbol"].nunique(), report["count"].sum(), report["repair"].nunique()),
    )
    return bars


def repairs(bars: pd.DataFrame) -> pd.DataFrame:
    """What `load_bars` repaired: symbol, repair, count, first (date or row), example; empty if nothing."""
    return pd.DataFrame(bars.attrs.get("repairs", []), columns=list(REPORT))


def _default_symbol(source: Any) -> str:
    stem = Path(os.fsdecode(source)).stem if isinstance(source, (str, os.PathLike)) else ""
    return one_line(text_of(stem), MAX_SYMBOL) or "series"


def _read(source: Any, symbol: str) -> pd.DataFrame:
    """The source with our column names and whatever others it has; the index is the row in it, from 0."""
    if isinstance(source, pd.DataFrame):
        source = source.copy(deep=False)
        source.attrs = {}  # pandas copies them deeply at every step, and repairs of a former load can be many
        return _tidy(source, symbol)
    if isinstance(source, (str, os.PathLike)):
        if source in BUNDLED:
            return _bundled(source)
        return _tidy(_parse(_file_bytes(source), shown(os.fspath(source), 200)), symbol)
    if hasattr(source, "read"):
        return _tidy(_parse(_stream_bytes(source), "the open file"), symbol)
    if isinstance(source, Mapping):
        return _from_mapping(source, symbol)
    if isinstance(source, (list, tuple)) or (isinstance(source, np.ndarray) and source.ndim):
        return _tidy(_from_rows(source), symbol)
    raise DataError(
        f"Bars can't be read from a {type(source).__name__}; "
        "give a file name, an open file, a frame, a dict, or a list of [open, high, low, close, volume] rows."
    )


def bundled_path() -> Path:
    """Where the bundled bars lie: in the folder TFTNHITS_DATA, else in data/ beside the package.

    Raises DataError if they aren't there.
    """
    override = os.environ.get("TFTNHITS_DATA")
    folder = Path(override) if override else Path(__file__).resolve().parents[2] / "data"
    path = folder / "bars.parquet"
    if not path.is_file():
        raise DataError(
            f"The bundled bars are not at {path}; set TFTNHITS_DATA to the folder of {path.name}."
        )
    return path


def _bundled(name: str) -> pd.DataFrame:
    """The symbols of one bundled set."""
    path = bundled_path()
    frame = _parse(_file_bytes(path), shown(os.fspath(path), 200))
    hourly = frame["symbol"].isin(HOURLY)
    return frame[hourly if name == "eurusd" else ~hourly]


def _file_bytes(path: str | os.PathLike) -> bytes:
    name = shown(os.fspath(path), 200)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{name} is a folder; give one CSV or Parquet file.")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # /dev/zero has no end
            raise DataError(f"{name} is a device; give one CSV or Parquet file.")
        return Path(path).read_bytes()
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {name}; give the path of a CSV or Parquet file, or 'stocks'."
        ) from error
    except (
        OSError,
        ValueError,
        TypeError,
    ) as error:  # ValueError: a NUL in the name; TypeError: a bytes path
        why = getattr(error, "strerror", None) or one_line(str(error), 100)
        raise DataError(f"{name} can't be read: {why}; check its name and permissions.") from error


def _stream_bytes(stream: Any) -> bytes:
    try:
        content = stream.read()
        if not isinstance(
            content, str | bytes | bytearray | memoryview
        ):  # bytes(2**40) would be a terabyte
            raise TypeError(f"its read() returns {type(content).__name__}")
        return content.encode() if isinstance(content, str) else bytes(content)
    except Exception as error:  # it may be anyone's class
        why = one_line(str(error), 100).rstrip(".")
        raise DataError(
            f"The open file can't be read: {why}; open it for reading as UTF-8 text."
        ) from error


def _parse(raw: bytes, name: str) -> pd.DataFrame:
    """Parquet by its magic bytes, else CSV. `name` is for messages."""
    if raw[:4] == b"PAR1":
        return _guarded(f"{name} is a damaged Parquet file", pd.read_parquet, io.BytesIO(raw))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is neither Parquet nor UTF-8 text; save it as CSV in UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(f"{name} holds binary data; give a CSV or Parquet file.")
    if not text.strip():
        raise DataError(f"{name} is empty; give at least a header and one bar.")
    return _guarded(f"{name} is not a table of bars", _read_csv, text)


def _guarded(what: str, reader: Any, *args: Any) -> pd.DataFrame:
    try:
        return reader(*args)
    except DataError:
        raise
    except ImportError as error:
        raise MissingDependency(
            "Parquet files need a pyarrow that fits this numpy: pip install -U pyarrow."
        ) from error
    except Exception as error:  # parsers raise a dozen kinds, some of them their own
        why = one_line(str(error), 160).rstrip(".")
        raise DataError(f"{what}: {why}; write it again as a plain CSV or Parquet file.") from error


def _read_csv(text: str) -> pd.DataFrame:
    head = text.lstrip().splitlines()[:2]
    separator = max(",;\t|", key=head[0].count)  # the comma where none is there
    options: dict[str, Any] = {"sep": separator, "low_memory": False}
    corner = [line.split(separator)[0].strip().lower() for line in head]
    if corner in (
        ["price", "ticker"],
        ["ticker", "price"],
    ):  # a yfinance frame as its to_csv writes it
        return pd.read_csv(io.StringIO(text), header=[0, 1], index_col=0, **options)
    columns = pd.read_csv(io.StringIO(head[0]), nrows=0, **options).columns
    names = [column for column in columns if _label(column) in ALIASES["symbol"]]
    # a symbol may be "NA" or "005930": its column stays as it is written
    empty = {column: list(NO_VALUE) for column in columns if column not in names}
    options |= {"keep_default_na": False, "na_values": empty, "dtype": dict.fromkeys(names, str)}
    frame = pd.read_csv(io.StringIO(text), **options)
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError("the rows have more cells than the header; give each column a name.")
    for column in frame.columns:
        if _label(column) in COLUMNS[2:] and not pd.api.types.is_numeric_dtype(frame[column]):
            # one odd cell makes pandas leave a whole column as text: only that cell is to be reported
            number = pd.to_numeric(frame[column], errors="coerce")
            frame[column] = frame[column].astype(object).where(number.isna(), number)
    return frame


def _from_rows(source: list | tuple | np.ndarray) -> pd.DataFrame:
    """Rows of 4 or 5 numbers, or records: dicts by column name."""
    if not len(source):
        raise DataError("There are no bars: the list of rows is empty; give at least one bar.")
    if all(isinstance(row, Mapping) for row in source):
        return _guarded("The list of records is not a table", pd.DataFrame, list(source))
    width = None
    for number, row in enumerate(source, 1):
        size = len(row) if isinstance(row, (list, tuple)) or getattr(row, "ndim", 0) == 1 else 0
        if size not in (4, 5) or size != (width or size):
            before = f" after rows of {width}" if width else ""
            raise DataError(
                f"Row {number} has {size or 'no'} cells{before}; every row is "
                "[open, high, low, close] or [open, high, low, close, volume]."
            )
        width = size
    rows = [list(row) for row in source]
    return _guarded(
        "The list of rows is not a table",
        lambda: pd.DataFrame(rows, columns=list(COLUMNS[2 : 2 + width])),
    )


def _from_mapping(source: Mapping, symbol: str) -> pd.DataFrame:
    """A dict of columns, or of a table for each symbol; tickers may be LOW or OPEN, so the values decide."""
    if not source:
        raise DataError(
            "There are no bars: the dict is empty; give columns or a table for each symbol."
        )
    if not all(_is_table(value) for value in source.values()):
        return _tidy(
            _guarded("The dict of columns is not a table", pd.DataFrame, dict(source)), symbol
        )
    return pd.concat([_read(table, text_of(name)) for name, table in source.items()])


def _is_table(value: Any) -> bool:
    if isinstance(value, (pd.DataFrame, Mapping)):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim == 2
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and isinstance(value[0], (list, tuple, np.ndarray, dict))
    )


def _label(column: Any) -> str:
    return text_of(column).lstrip("\ufeff").lower()


def _tidy(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """Our names for the columns, `symbol` where the frame has none; its index is the row, from 0."""
    if frame.columns.nlevels > 1:
        return _from_levels(frame, symbol)
    frame = _index_to_column(frame)
    labels = [_label(column) for column in frame.columns]
    for target, names in ALIASES.items():
        if found := next((name for name in names if name in labels), None):
            labels = [target if label == found else label for label in labels]
    if "date" not in labels:
        nameless = [i for i, label in enumerate(labels) if label in UNNAMED]
        if nameless and not pd.api.types.is_numeric_dtype(frame.dtypes.iloc[nameless[0]]):
            labels[nameless[0]] = "date"
    require_columns(pd.Index(labels))
    # extra columns keep their own names for the report
    names = [
        label if label in COLUMNS else text_of(own)
        for label, own in zip(labels, frame.columns, strict=True)
    ]
    frame = frame.set_axis(names, axis=1)
    if "symbol" in names:
        return frame
    # assign would comment on frames that were built column by column
    return pd.concat(
        [frame, pd.Series(text_of(symbol), frame.index, name="symbol", dtype=object)], axis=1
    )


def _index_to_column(frame: pd.DataFrame) -> pd.DataFrame:
    """Index levels that carry dates or symbols become columns; any other index is dropped."""
    known = {name for names in ALIASES.values() for name in names}
    taken = {_label(column) for column in frame.columns}
    kept = {}
    for i, name in enumerate(frame.index.names):
        values = frame.index.get_level_values(i)
        label = _label(name) if name is not None else ""
        if (
            not label
            and not pd.api.types.is_numeric_dtype(values.dtype)
            and not taken & {*ALIASES["date"]}
        ):
            label = "date"
        if label in known and label not in taken:
            kept[label] = values
    frame = frame.reset_index(drop=True)
    return pd.concat([pd.DataFrame(kept), frame], axis=1) if kept else frame


def _from_levels(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """Columns of yfinance: (price, ticker) or (ticker, price); one part a ticker, stacked."""
    if frame.columns.nlevels != 2:
        raise DataError(
            f"The columns have {frame.columns.nlevels} levels; give one, or price and ticker."
        )
    levels = [[_label(name) for name in frame.columns.get_level_values(i)] for i in (0, 1)]
    price = max((0, 1), key=lambda i: len({*levels[i]} & {*PRICES}))
    names, tickers = (
        [text_of(name) for name in frame.columns.get_level_values(i)] for i in (price, 1 - price)
    )
    parts: dict[str, list[int]] = {}
    shared = []  # ("Date", "") or ("", "Date"): an index that reset_index has made a column
    for i, (name, ticker) in enumerate(zip(names, tickers)):
        if _label(name or ticker) in ALIASES["date"] and not (name and ticker):
            names[i] = name or ticker
            shared.append(i)
        else:
            parts.setdefault(ticker, []).append(i)
    if not parts:
        require_columns(pd.Index(names))
    own = pd.Index(names)
    return pd.concat(
        [
            _tidy(frame.iloc[:, shared + at].set_axis(own[shared + at], axis=1), ticker or symbol)
            for ticker, at in parts.items()
        ]
    )
