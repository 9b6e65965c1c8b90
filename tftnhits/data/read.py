"""Any source becomes raw tables: cells as they stand, under the source's own column names.

Nothing is interpreted here but where a table begins and ends. A table's index counts its rows
from 1, without the header.
"""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, MissingDependency, one_line, shown
from .names import PRICES, role_of

KINDS = "CSV, Parquet, Feather or JSON file"
LARGEST = 2**29  # bytes of an unpacked file: a small one can unpack to terabytes
LONGEST = 200_000  # characters of a line
WIDEST = 2_000  # columns
HEAD = 60  # lines among which a header is looked for
# other scripts than UTF-8; a text is read in the one that makes most of its labels known names
ENCODINGS = ("gb18030", "cp932", "cp949", "cp1251", "cp1252", "latin-1")
ARCHIVED = (".csv", ".txt", ".tsv", ".json", ".parquet", ".feather")
# a number or a date: digits with signs around them, perhaps with a unit such as M or 万
_NUMBER = re.compile(r"[\s'\"$€£¥₽₹+(=-]*\d[\d\s.,:/'TZ+-]*[KMBTkmbt%)\"亿億万萬]?\s*")


@dataclass
class Table:
    """Raw cells and how they were got."""

    frame: pd.DataFrame
    notes: list[tuple[str, int, str]] = field(default_factory=list)  # repair, count, example
    doubts: list[str] = field(default_factory=list)
    plain: bool = False  # all cells are text since the file is: a number in it is no oddity
    comma: bool = False  # columns are separated by something else, so that a comma may be a decimal
    labelled: bool = True  # it has a header

    def note(self, repair: str, count: int = 1, example: str = "") -> None:
        self.notes.append((repair, count, one_line(example, 100)))


def file_bytes(path: str | os.PathLike) -> bytes:
    """The content of a regular file or a pipe; raises DataError."""
    name = shown(os.fspath(path), 200)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{name} is a folder; give one {KINDS}.")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # /dev/zero has no end
            raise DataError(f"{name} is a device; give one {KINDS}.")
        return Path(path).read_bytes()
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {name}; give the path of a {KINDS}, or 'stocks' for the bundled bars."
        ) from error
    except (
        OSError,
        ValueError,
        TypeError,
    ) as error:  # ValueError: NUL in the name; TypeError: bytes
        why = getattr(error, "strerror", None) or one_line(str(error), 100)
        raise DataError(f"{name} can't be read: {why}; check its name and permissions.") from error


def stream_bytes(stream: Any) -> bytes:
    """All that an open file holds, text as UTF-8; raises DataError."""
    try:
        content = stream.read()
        if not isinstance(
            content, str | bytes | bytearray | memoryview
        ):  # bytes(2**40): a terabyte
            raise TypeError(f"its read() returns {type(content).__name__}")
        return content.encode() if isinstance(content, str) else bytes(content)
    except Exception as error:  # it may be anyone's class
        why = one_line(str(error), 100).rstrip(".")
        raise DataError(f"The open file can't be read: {why}; open it as UTF-8 text.") from error


def parse_bytes(raw: bytes, name: str) -> Table | Any:
    """The table of a file's content by what its first bytes are, or the object of a JSON file.

    Parameters
    ----------
    raw : bytes
    name : str
        How messages call the file.

    Raises
    ------
    DataError
        What is no table, with what to do; MissingDependency where pyarrow doesn't fit.
    """
    raw, notes = _unpacked(raw, name)
    if b"xl/" in raw[:4096] or raw[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{name} is an Excel workbook (xlsx or xls); save the sheet as CSV.")
    if raw[:4] == b"PAR1":
        return _binary(raw, name, "Parquet", pd.read_parquet, notes)
    if raw[:4] in (b"ARRO", b"FEA1"):
        return _binary(raw, name, "Feather", pd.read_feather, notes)
    text = _decoded(raw, name, notes)
    if not text.strip():
        raise DataError(f"{name} is empty; give at least a header and one bar.")
    if text.lstrip()[0] in "[{":
        return _json(text, name)
    table = guarded(f"{name} is not a table of bars", _read_csv, text)
    table.notes[:0] = notes
    return table


def guarded(what: str, reader: Any, *args: Any) -> Any:
    """`reader(*args)`, whose errors become a DataError that begins with `what`."""
    try:
        return reader(*args)
    except DataError as error:
        raise error if str(error).endswith(".") else DataError(f"{what}: {error}.") from error
    except ImportError as error:
        raise MissingDependency(
            "Parquet and Feather files need a pyarrow that fits this numpy: pip install -U pyarrow."
        ) from error
    except Exception as error:  # parsers raise a dozen kinds, some of them their own
        why = one_line(str(error), 160).rstrip(".")
        raise DataError(f"{what}: {why}; write it again as a plain CSV or Parquet file.") from error


def _unpacked(raw: bytes, name: str) -> tuple[bytes, list]:
    """The content of a gzip or of a zip that holds one table."""
    notes = []
    if raw[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=io.BytesIO(raw))
        raw = guarded(f"{name} is a damaged gzip file", stream.read, LARGEST + 1)
    elif raw[:4] == b"PK\x03\x04" and b"xl/" not in raw:
        archive = guarded(f"{name} is a damaged zip file", zipfile.ZipFile, io.BytesIO(raw))
        files = [one for one in archive.namelist() if one.lower().endswith(ARCHIVED)]
        files = [one for one in files if not one.startswith("__MACOSX")]
        if len(files) != 1:
            what = f"{len(files)} tables" if files else "no table"
            raise DataError(f"{name} is a zip with {what}; unpack it and give one {KINDS}.")
        notes.append(("zip member read", 1, files[0]))
        with guarded(f"{name} is a damaged zip file", archive.open, files[0]) as member:
            raw = guarded(f"{name} is a damaged zip file", member.read, LARGEST + 1)
    if len(raw) > LARGEST:
        raise DataError(f"{name} holds more than {LARGEST >> 20} MB; split it by symbol.")
    return raw, notes


def _binary(raw: bytes, name: str, kind: str, reader: Any, notes: list) -> Table:
    frame = guarded(f"{name} is a damaged {kind} file", reader, io.BytesIO(raw))
    return Table(frame, notes)


def _decoded(raw: bytes, name: str, notes: list) -> str:
    """The text, in UTF-8 if it is that, else in the encoding that its labels and letters fit best."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ("utf-16",)
    else:
        encodings = ("utf-8-sig", *ENCODINGS) if b"\0" not in raw else ()
    texts = {}
    for encoding in encodings:
        try:
            texts[encoding] = raw.decode(encoding)
        except UnicodeError:
            continue
        if encoding.startswith("utf"):
            break
    best = max(texts, key=lambda one: _plausible(texts[one], raw, one), default="")
    control = re.search(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]", texts.get(best, "\0"))
    if control and (control[0] == "\0" or not best.startswith("utf")):
        raise DataError(f"{name} holds binary data; give a {KINDS}.")
    if best != "utf-8-sig":
        notes.append(("encoding", 1, best))
    return texts[best].lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _plausible(text: str, raw: bytes, encoding: str) -> tuple[int, float]:
    """How many labels are known names in this encoding, then the share of letters of its script."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()][:5]
    labels = [cell.strip('" ') for line in lines for cell in re.split(r"[,;\t|]", line)]
    known = sum(not label.isascii() and role_of(label) is not None for label in labels)
    letters = [c for c in text[:20_000] if not c.isascii()]
    # in Western text a byte beyond ASCII stands alone, in Chinese and Japanese text in rows
    rows = re.findall(rb"[\x80-\xff]+", raw[:20_000])
    western = sum(len(row) == 1 for row in rows) > len(rows) / 2
    fits = western == (encoding in ("cp1252", "latin-1"))
    share = sum(_of_script(c, encoding) for c in letters) / max(len(letters), 1)
    return known, share if fits else share / 3


def _of_script(c: str, encoding: str) -> bool:
    """Whether a letter is one that texts in this encoding are mostly written in."""
    if encoding == "gb18030":  # its rarer characters are what text in Shift-JIS looks like
        return "\u4e00" <= c <= "\u9fff" and bool(c.encode("gb2312", "ignore"))
    if encoding == "cp932":
        return "\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff"
    first, last = {"cp949": "가힣", "cp1251": "Аё"}.get(encoding, "\u00c0\u024f")
    return first <= c <= last


def _json(text: str, name: str) -> Any:
    """The value of a JSON file, or the list of the values of one value a line."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(
            f"{name} is JSON nested too deeply; give a list of records or rows."
        ) from error
    except ValueError as error:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            why = one_line(str(error), 100)
            raise DataError(
                f"{name} is damaged JSON ({why}); write it again or give CSV."
            ) from error


def _read_csv(text: str) -> Table:
    """The table in a text: its separator, its header if it has one, without what stands around it."""
    longest = max(map(len, text.split("\n")))
    if longest > LONGEST:
        raise DataError(f"it has a line of {longest} characters; write one bar a line")
    separator = _separator(text)
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    rows = [row for row in rows if any(map(str.strip, row))]
    if max(map(len, rows), default=0) > WIDEST:
        raise DataError("it has thousands of columns; give date, open, high, low, close and volume")
    table = Table(pd.DataFrame(), plain=True, comma=separator != ",")
    if separator != ",":
        table.note("separator", 1, {"\t": "tab"}.get(separator, separator))

    # where the header and the bars begin
    first = next((i for i, row in enumerate(rows) if _numeric(row)), len(rows))
    top, tickers = _header(rows[:first])
    begin = first if top is None else max(top, tickers or 0) + 1
    if begin < first and not any(map(str.strip, rows[begin][1:])) and tickers is not None:
        begin += 1  # the line of yfinance that names the index
    skipped = [row for i, row in enumerate(rows[:begin]) if i not in (top, tickers)]
    if skipped and tickers is None:
        table.note("line before the table skipped", len(skipped), " ".join(skipped[0]))

    # the rows as columns
    usual = Counter(map(len, rows[begin:])).most_common(1)[0][0] if rows[begin:] else 0
    table.labelled = top is not None
    header = rows[top] if table.labelled else [*range(usual)]
    body = _body(rows[begin:], header, usual, table)
    columns = [list(cells) for cells in zip(*body, strict=True)] or [[] for _ in header]
    frame = pd.DataFrame(dict(enumerate(columns)), dtype=object, index=range(1, len(body) + 1))
    if tickers is None:
        table.frame = frame.set_axis(pd.Index(header, dtype=object), axis=1)
        return table
    levels = pd.MultiIndex.from_arrays([header[1:], rows[tickers][1:]])
    dates = pd.Index(columns[0], name="Date")
    table.frame = frame.drop(columns=0).set_axis(levels, axis=1).set_index(dates)
    return table


def _separator(text: str) -> str:
    """The one that splits nearly all lines into as many cells; a comma, which may be a decimal, last."""
    lines = [line for line in text[:200_000].split("\n") if line.strip()][:200]
    for separator in "\t;|,":
        count, often = Counter(line.count(separator) for line in lines).most_common(1)[0]
        if count >= 3 and often >= 0.6 * len(lines) - 2:
            return separator
    return max(",;\t|", key="\n".join(lines).count)


def _numeric(row: list[str]) -> bool:
    """Whether at least three cells are numbers or dates, as in a row of bars."""
    return sum(map(bool, map(_NUMBER.fullmatch, row))) >= 3


def _header(rows: list[list[str]]) -> tuple[int | None, int | None]:
    """Which of the rows over the first numbers names the columns, and which the tickers, if any."""
    roles = [{match[0] for match in map(role_of, row) if match} for row in rows]
    known = max(range(len(rows)), key=lambda i: len(roles[i]), default=None)
    if known is None or not (len(roles[known]) >= 2 or roles[known] & {*PRICES}):
        wide = [i for i, row in enumerate(rows) if len(row) > 1]
        return (wide[-1] if wide else None), None
    for i in (known - 1, known + 1):  # yfinance writes them under or over the prices
        if 0 <= i < len(rows) and len(rows[i]) == len(rows[known]) and all(rows[i][1:]):
            corners = {rows[i][0].strip().lower(), rows[known][0].strip().lower()}
            labelled = "ticker" in corners or not roles[i] - {"close", "symbol"}
            if labelled and corners <= {"price", "ticker", "", "date"}:
                return known, i
    return known, None


def _body(rows: list[list[str]], header: list, usual: int, table: Table) -> list[list[str]]:
    """The rows of bars, each as wide as the header; what stands between and after them is noted."""
    width = len(header)
    if usual > width and any(any(row[width:]) for row in rows if len(row) == usual):
        raise DataError("the rows have more cells than the header; give each column a name")
    last = max((i for i, row in enumerate(rows) if len(row) in (usual, width)), default=-1)
    body = []
    for i, row in enumerate(rows):
        filled = sum(map(bool, row))
        if row == header:
            table.note("repeated header removed", 1, f"row {i + 1}")
        elif len(row) in (usual, width) and (filled > 1 or width == 1):
            body.append((row + [""] * width)[:width])
        elif filled <= 2 and not _NUMBER.fullmatch(row[0]):
            where = "footer" if i > last else "line between the rows"
            table.note(f"{where} skipped", 1, " ".join(row))
        elif i > last and len(row) < width:
            table.note("incomplete last row removed", 1, " ".join(row))
        else:
            raise DataError(
                f"row {i + 1} has {len(row)} cells and the header {width}; mend that row"
            )
    return body
