"""The content of a file becomes a raw table, or the value of a JSON file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, MissingDependency, counted, printable, quoted
from .names import PRICES, role_of

KINDS = "CSV, Parquet, Feather or JSON file"
LARGEST = 2**29  # bytes of an unpacked file: a small one can unpack to terabytes
MOST_CELLS = 2**29  # of a Parquet file, 4 GiB as numbers: a few kB can say that a value repeats
MOST_UNPACKED = 2**32  # bytes of a Parquet file's columns, unpacked
LONGEST, WIDEST = 200_000, 2_000  # characters of a line, columns
# a text that isn't UTF-8 is read in the first in which most of its labels are known names
ENCODINGS = ("gb18030", "big5", "cp932", "cp949", "cp1251", "cp1252", "latin-1")
ARCHIVED = (".csv", ".txt", ".tsv", ".json", ".parquet", ".feather")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# a number or a date: digits with signs around them, perhaps with a unit such as M or 万
_NUMBER = re.compile(r"[\s'\"$€£¥₽₹+(=-]*\d[\d\s.,:/'TZ+-]*[KMBTkmbt%)\"亿億万萬]?\s*")
_EVENT = re.compile("dividend|stock split", re.IGNORECASE)


@dataclass
class Table:
    """Raw cells under the source's own names; the index counts rows from 1, without the header."""

    frame: pd.DataFrame
    notes: list[tuple[str, int, str]] = field(default_factory=list)  # repair, count, example
    doubts: list[str] = field(default_factory=list)  # sentences for the result's warnings
    text: bool = False  # all cells are text since the file is: a number in it is no oddity
    comma: bool = False  # columns are told apart otherwise, so that a comma may be a decimal mark
    labelled: bool = True  # it has a header
    attrs: dict[Any, Any] = field(default_factory=dict)  # the frame's, or the Parquet file's

    def note(self, repair: str, count: int = 1, example: str = "") -> None:
        """Takes down what was done to read it."""
        self.notes.append((repair, count, printable(example, 100)))


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turns what readers raise, of a dozen kinds, into one DataError that begins with `what`."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        raise MissingDependency(
            "Parquet and Feather files need a pyarrow that fits this numpy: pip install -U pyarrow."
        ) from error
    except Exception as error:
        why = getattr(error, "strerror", None) or printable(str(error), 120).rstrip(".")
        raise DataError(f"{what}: {why}; write it again as a plain CSV or Parquet file.") from error


def file_bytes(path: str | os.PathLike) -> bytes:
    """The content of a regular file or a pipe; raises DataError."""
    name = quoted(os.fspath(path), 200)
    with readable(f"{name} can't be read"):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError as error:
            raise DataError(
                f"There is no file {name}; give the path of a {KINDS}, or 'stocks' or 'eurusd' "
                "(bundled)."
            ) from error
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):  # /dev/zero has no end
            kind = "folder" if stat.S_ISDIR(mode) else "device"
            raise DataError(f"{name} is a {kind}; give one {KINDS}.")
        return Path(path).read_bytes()


def stream_bytes(stream: Any) -> bytes:
    """All that an open file holds, text as UTF-8; raises DataError."""
    with readable("The open file can't be read"):
        content = stream.read()
        if not isinstance(content, str | bytes | bytearray | memoryview):  # bytes(2**40) is large
            raise TypeError(f"its read() returns {type(content).__name__}")
        return content.encode() if isinstance(content, str) else bytes(content)


def read_parquet(file: io.BytesIO) -> pd.DataFrame:
    """The frame, once what the file says of its own size has been looked at; raises DataError."""
    from pyarrow import parquet

    about = parquet.read_metadata(file)
    cells = about.num_rows * about.num_columns
    unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    if cells > MOST_CELLS or unpacked > MOST_UNPACKED:
        raise DataError(
            f"The Parquet file holds {cells} cells, {unpacked} bytes unpacked, more than the "
            f"{MOST_CELLS} or {MOST_UNPACKED} that are read; give its bars in several files."
        )
    file.seek(0)
    return pd.read_parquet(file)


def parse_bytes(raw: bytes, name: str) -> Table | Any:
    """The table of a file by what its first bytes are, or the value of a JSON file.

    Messages call the file `name`. Raises DataError, and MissingDependency if pyarrow doesn't fit.
    """
    table = Table(pd.DataFrame())
    with readable(f"{name} is damaged"):
        raw = _unpacked(raw, name, table)
        if raw[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
            raise DataError(f"{name} is an Excel workbook (xlsx or xls); save the sheet as CSV.")
        reader = {b"PAR1": read_parquet, b"ARRO": pd.read_feather, b"FEA1": pd.read_feather}
        if raw[:4] in reader:
            table.frame = reader[raw[:4]](io.BytesIO(raw))
            return table
    text = _decoded(raw, name, table)
    start = text.lstrip()[:15].lower()
    if not start:
        raise DataError(f"{name} is empty; give at least a header and one bar.")
    if start.startswith(("<!doctype", "<html", "<?xml")):
        raise DataError(f"{name} is a web page (HTML) or XML, no table; download the data itself.")
    if start[0] in "[{":
        with readable(f"{name} is damaged JSON"):
            try:
                return json.loads(text)
            except json.JSONDecodeError:  # one value a line
                lines = [line for line in text.splitlines() if line.strip()]
                if len(lines) < 2:
                    raise
                return [json.loads(line) for line in lines]
    return read_text(text, table, name)


def _unpacked(raw: bytes, name: str, table: Table) -> bytes:
    """The content of a gzip, or of a zip that holds one table."""
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(LARGEST + 1)
    elif raw[:4] == b"PK\x03\x04" and b"xl/" not in raw:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        files = [file for file in archive.namelist() if not file.endswith("/")]
        files = [file for file in files if not re.search("__MACOSX|readme|licen[cs]e", file, re.I)]
        if len(files) > 1:  # a sole one needs no ending: pandas names it after the archive
            files = [file for file in files if file.lower().endswith(ARCHIVED)]
        if len(files) != 1:
            raise DataError(f"{name} is a zip with {len(files)} tables; unpack it, give one file.")
        table.note("zip member read", 1, files[0])
        raw = archive.open(files[0]).read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise DataError(f"{name} holds more than {LARGEST >> 20} MB; split it by symbol.")
    return raw


def _decoded(raw: bytes, name: str, table: Table) -> str:
    """The text, in UTF-8 if it is that, else in the encoding in which it has most known labels."""
    marked = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    # in Western text a byte beyond ASCII stands alone, in Chinese text in rows
    rows = re.findall(rb"[\x80-\xff]+", raw[:20_000])
    western = sum(len(row) == 1 for row in rows) > len(rows) / 2
    order = [*ENCODINGS[-2:], *ENCODINGS] if western else ENCODINGS
    best, most = "", -1
    for encoding in ("utf-16",) if marked else ("utf-8-sig", *order):
        try:
            text = (raw if marked else raw.rstrip(b"\0")).decode(encoding)
        except UnicodeError:
            continue
        labels = re.split(r"[,;\t|\n]", text[:2_000])
        known = sum(not label.isascii() and role_of(label) != "" for label in labels)
        if known > most:
            best, most, decoded = encoding, known, text
        if encoding.startswith("utf"):
            break
    control = _CONTROL.search(decoded) if best else None
    if not best or (control and (control[0] == "\0" or not best.startswith("utf"))):
        raise DataError(f"{name} holds binary data; give a {KINDS}.")
    if best != "utf-8-sig":
        table.note("encoding", 1, best)
    return decoded.strip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


# -- text


def read_text(text: str, table: Table, name: str) -> Table:
    """The table as text cells; columns without a header are called 0, 1, …; raises DataError."""
    rows = _rows_of(text, table, name)

    # where the header and the bars begin
    first = next((i for i, row in enumerate(rows) if _numbers(row) >= 3), len(rows))
    top, tickers = _header(rows[:first], first < len(rows))
    begin = first if top is None else max(top, tickers or 0) + 1
    while begin < first and not _numbers(rows[begin][:2]):
        begin += 1  # units, or the line of yfinance that names the index
    skipped = [row for i, row in enumerate(rows[:begin]) if i not in (top, tickers)]
    if skipped and tickers is None:
        table.note("line before the table skipped", len(skipped), " ".join(skipped[0]))

    # the rows as columns
    usual = Counter(map(len, rows[begin:])).most_common(1)
    usual = usual[0][0] if usual else 0
    table.labelled = top is not None
    header = rows[top] if table.labelled else [*range(usual)]
    body = _body(rows[begin:], header, usual, table, name)
    columns = [list(cells) for cells in zip(*body, strict=True)] or [[] for _ in header]
    frame = pd.DataFrame(dict(enumerate(columns)), dtype=object, index=range(1, len(body) + 1))
    if tickers is None:
        table.frame = frame.set_axis(pd.Index(header, dtype=object), axis=1)
        return table
    levels = pd.MultiIndex.from_arrays([header[1:], rows[tickers][1:]])
    dates = pd.Index(columns[0], name="Date")
    table.frame = frame.drop(columns=0).set_axis(levels, axis=1).set_index(dates)
    return table


def _rows_of(text: str, table: Table, name: str) -> list[list[str]]:
    """The cells of each line that has any."""
    lines = [line for line in text.split("\n") if line.strip()]
    longest = max(map(len, lines))
    if longest > LONGEST:
        raise DataError(f"{name} has a line of {longest} characters; write one bar a line.")
    separator = _separator(lines[:200])
    if separator == " ":
        text, separator = "\n".join("\t".join(line.split()) for line in lines), "\t"
    table.text, table.comma = True, separator != ","
    if table.comma:
        table.note("separator", 1, "tab" if separator == "\t" else separator)
    with readable(f"{name} is not a table of bars"):
        cells = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        rows = [row for row in cells if any(map(str.strip, row))]
    widest = max(map(len, rows), default=0)
    if not 1 < widest <= WIDEST:
        raise DataError(
            f"{name} has {counted(widest, 'column')} and begins with {quoted(text.strip())}, so it "
            "is not a table of bars; give date, open, high, low, close, volume."
        )
    return rows


def _separator(lines: list[str]) -> str:
    """The one that splits nearly all lines alike; a comma, which may be a decimal mark, last."""
    for separator in "\t;|,":
        count, often = Counter(line.count(separator) for line in lines).most_common(1)[0]
        if count >= 3 and often >= 0.6 * len(lines) - 2:
            return separator
    words, often = Counter(len(line.split()) for line in lines).most_common(1)[0]
    if words > 4 and often >= 0.8 * len(lines):
        return " "
    return max(",;\t|", key="\n".join(lines).count)


def _numbers(row: list[str]) -> int:
    """How many cells of a row are numbers or dates."""
    return sum(_NUMBER.fullmatch(cell) is not None for cell in row)


def _header(rows: list[list[str]], numbers: bool) -> tuple[int | None, int | None]:
    """Which of the rows over the first `numbers` names columns, and which one tickers, if any."""
    roles = [{*map(role_of, row)} - {""} for row in rows]
    known = max(range(len(rows)), key=lambda i: len(roles[i]), default=None)
    if known is None or not (len(roles[known]) >= 2 or roles[known] & {*PRICES}):
        wide = [i for i, row in enumerate(rows) if len(row) > 1]
        if not wide:
            return None, None
        return wide[-1 if numbers else 0], None  # without numbers nothing says where bars begin
    for i in (known - 1, known + 1):  # yfinance writes them under or over the prices
        if 0 <= i < len(rows) and len(rows[i]) == len(rows[known]) and all(rows[i][1:]):
            corners = {rows[i][0].strip().lower(), rows[known][0].strip().lower()}
            tickers = "ticker" in corners or not roles[i] - {"close", "symbol"}
            if tickers and corners <= {"price", "ticker", "", "date"}:
                return known, i
    return known, None


def _body(rows: list, header: list, usual: int, table: Table, name: str) -> list[list[str]]:
    """The rows of bars, as wide as the header; what stands between and after them is noted."""
    width = len(header)
    if usual > width and any(any(row[width:]) for row in rows if len(row) == usual):
        raise DataError(f"{name} has rows with more cells than the header; name each column.")
    last = max((i for i, row in enumerate(rows) if len(row) in (usual, width)), default=-1)
    body = []
    for i, row in enumerate(rows):
        whole = len(row) in (usual, width)
        filled = sum(map(bool, row))
        if row == header:
            table.note("repeated header removed", 1, f"row {i + 1}")
        elif filled <= 3 and _EVENT.search(" ".join(row)):
            table.note("dividend or split between the rows skipped", 1, " ".join(row))
        elif whole and (filled > 3 or _numbers(row[:2]) or (i < last and filled > 1)):
            body.append((row + [""] * width)[:width])
        elif filled <= 3 and (whole or not _numbers(row[:1])):
            table.note("line without a bar skipped", 1, " ".join(row))
        elif i > last and len(row) < width:
            table.note("incomplete last row removed", 1, " ".join(row))
            shown = printable(" ".join(row), 60)
            table.doubts.append(f"The last row is cut off ({shown}) and left out.")
        else:
            raise DataError(
                f"{name}, row {i + 1} has {len(row)} cells, the header {width}; mend that row."
            )
    return body
