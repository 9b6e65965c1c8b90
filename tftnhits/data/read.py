"""The content of a file becomes a raw table, or the value of a JSON file."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, MissingDependency, one_line, shown
from .names import role_of
from .text import Malformed, Table, read_text

KINDS = "CSV, Parquet, Feather or JSON file"
LARGEST = 2**29  # bytes of an unpacked file: a small one can unpack to terabytes
# a text that isn't UTF-8 is read in the one in which most of its labels are known names
ENCODINGS = ("gb18030", "big5", "cp932", "cp949", "cp1251", "cp1252", "latin-1")
ARCHIVED = (".csv", ".txt", ".tsv", ".json", ".parquet", ".feather")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


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
        why = one_line(str(error), 160).rstrip(".")
        raise DataError(f"{what}: {why}; write it again as a plain CSV or Parquet file.") from error


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
            f"There is no file {name}; give the path of a {KINDS}, or 'stocks' (the bundled bars)."
        ) from error
    except (OSError, ValueError, TypeError) as error:  # a NUL in the name; a path of bytes
        why = getattr(error, "strerror", None) or one_line(str(error), 100)
        raise DataError(f"{name} can't be read: {why}; check its name and permissions.") from error


def stream_bytes(stream: Any) -> bytes:
    """All that an open file holds, text as UTF-8; raises DataError."""
    try:
        content = stream.read()
        if not isinstance(content, str | bytes | bytearray | memoryview):  # bytes(2**40) is large
            raise TypeError(f"its read() returns {type(content).__name__}")
        return content.encode() if isinstance(content, str) else bytes(content)
    except Exception as error:  # it may be anyone's class
        why = one_line(str(error), 100).rstrip(".")
        raise DataError(f"The open file can't be read: {why}; open it as UTF-8 text.") from error


def parse_bytes(raw: bytes, name: str) -> Table | Any:
    """The table of a file by what its first bytes are, or the value of a JSON file.

    Messages call the file `name`. Raises DataError, and MissingDependency if pyarrow doesn't fit.
    """
    notes: list[tuple[str, int, str]] = []
    with readable(f"{name} is damaged"):
        raw = _unpacked(raw, name, notes)
    if raw[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{name} is an Excel workbook (xlsx or xls); save the sheet as CSV.")
    reader = {b"PAR1": pd.read_parquet, b"ARRO": pd.read_feather, b"FEA1": pd.read_feather}
    if raw[:4] in reader:
        with readable(f"{name} is a damaged Parquet or Feather file"):
            return Table(reader[raw[:4]](io.BytesIO(raw)), notes)
    text = _decoded(raw, name, notes)
    start = text.lstrip()[:15].lower()
    if not start:
        raise DataError(f"{name} is empty; give at least a header and one bar.")
    if start.startswith(("<!doctype", "<html", "<?xml")):
        raise DataError(f"{name} is a web page (HTML) or XML, no table; download the data itself.")
    if start[0] in "[{":
        return _json(text, name)
    try:
        table = read_text(text)
    except Malformed as error:
        raise DataError(f"{name} is not a table of bars: {error}.") from error
    table.notes = notes + table.notes
    return table


def _unpacked(raw: bytes, name: str, notes: list) -> bytes:
    """The content of a gzip, or of a zip that holds one table."""
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(LARGEST + 1)
    elif raw[:4] == b"PK\x03\x04" and b"xl/" not in raw:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        files = [file for file in archive.namelist() if file.lower().endswith(ARCHIVED)]
        files = [file for file in files if not re.search("__MACOSX|readme|licen[cs]e", file, re.I)]
        if len(files) != 1:
            what = f"{len(files)} tables" if files else "no table"
            raise DataError(f"{name} is a zip with {what}; unpack it and give one {KINDS}.")
        notes.append(("zip member read", 1, files[0]))
        raw = archive.open(files[0]).read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise DataError(f"{name} holds more than {LARGEST >> 20} MB; split it by symbol.")
    return raw


def _decoded(raw: bytes, name: str, notes: list) -> str:
    """The text, in UTF-8 if it is that, else in the encoding that labels and letters fit best."""
    marked = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    raw = raw if marked else raw.rstrip(b"\0")
    texts = {}
    for encoding in ("utf-16",) if marked else ("utf-8-sig", *ENCODINGS):
        try:
            texts[encoding] = raw.decode(encoding)
        except UnicodeError:
            continue
        if encoding.startswith("utf"):
            break
    best = max(texts, key=lambda encoding: _plausible(texts[encoding], raw, encoding), default="")
    control = _CONTROL.search(texts.get(best, "\0"))
    if control and (control[0] == "\0" or not best.startswith("utf")):
        raise DataError(f"{name} holds binary data; give a {KINDS}.")
    if best != "utf-8-sig":
        notes.append(("encoding", 1, best))
    return texts[best].strip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _plausible(text: str, raw: bytes, encoding: str) -> tuple[int, float]:
    """How many labels are known names in an encoding, then the share of letters of its script."""
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
    if encoding in ("cp932", "big5"):
        return "\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff"
    first, last = {"cp949": "가힣", "cp1251": "Аё"}.get(encoding, "\u00c0\u024f")
    return first <= c <= last


def _json(text: str, name: str) -> Any:
    """The value of a JSON file, or the list of the values of one value a line."""
    try:
        try:
            return json.loads(text)
        except ValueError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            return [json.loads(line) for line in lines]
    except RecursionError as error:
        raise DataError(f"{name} is JSON nested too deeply; give a list of records.") from error
    except ValueError as error:
        why = one_line(str(error), 100)
        raise DataError(f"{name} is damaged JSON ({why}); write it again or give CSV.") from error
