"""The table in a text: its separator, where it begins and ends, and whether it has a header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field

import pandas as pd

from ..errors import one_line, shown
from .names import PRICES, role_of

LONGEST = 200_000  # characters of a line
WIDEST = 2_000  # columns
# a number or a date: digits with signs around them, perhaps with a unit such as M or 万
_NUMBER = re.compile(r"[\s'\"$€£¥₽₹+(=-]*\d[\d\s.,:/'TZ+-]*[KMBTkmbt%)\"亿億万萬]?\s*")
_EVENT = re.compile("dividend|stock split", re.IGNORECASE)


class Malformed(Exception):
    """Why a text holds no table, as a clause."""


@dataclass
class Table:
    """Raw cells under the source's own names; the index counts rows from 1, without the header."""

    frame: pd.DataFrame
    notes: list[tuple[str, int, str]] = field(default_factory=list)  # repair, count, example
    plain: bool = False  # all cells are text since the file is: a number in it is no oddity
    comma: bool = False  # columns are told apart otherwise, so that a comma may be a decimal mark
    labelled: bool = True  # it has a header

    def note(self, repair: str, count: int = 1, example: str = "") -> None:
        """Takes down what was done to read it."""
        self.notes.append((repair, count, one_line(example, 100)))


def read_text(text: str) -> Table:
    """The table as text cells; columns without a header are called 0, 1, …. Raises Malformed."""
    longest = max(map(len, text.split("\n")))
    if longest > LONGEST:
        raise Malformed(f"it has a line of {longest} characters; write one bar a line")
    separator = _separator(text)
    if separator == " ":
        text = "\n".join("\t".join(line.split()) for line in text.split("\n"))
        separator = "\t"
    table = Table(pd.DataFrame(), plain=True, comma=separator != ",")
    if table.comma:
        table.note("separator", 1, "tab" if separator == "\t" else separator)
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        rows = [row for row in rows if any(map(str.strip, row))]
    except csv.Error as error:
        raise Malformed(f"{error}; write it again as a plain CSV file") from error
    if max(map(len, rows), default=0) > WIDEST:
        raise Malformed("it has thousands of columns; give date, open, high, low, close, volume")

    # where the header and the bars begin
    if not any(len(row) > 1 for row in rows):
        begin = shown(text.strip())
        raise Malformed(f"no line has more than one cell; it begins with {begin}")
    first = next((i for i, row in enumerate(rows) if _numeric(row)), len(rows))
    top, tickers = _header(rows[:first])
    begin = first if top is None else max(top, tickers or 0) + 1
    while begin < first and not _dated(rows[begin]):
        begin += 1  # units, or the line of yfinance that names the index
    skipped = [row for i, row in enumerate(rows[:begin]) if i not in (top, tickers)]
    if skipped and tickers is None:
        table.note("line before the table skipped", len(skipped), " ".join(skipped[0]))

    # the rows as columns
    usual = Counter(map(len, rows[begin:])).most_common(1)
    usual = usual[0][0] if usual else 0
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
    """The one that splits nearly all lines alike; a comma, which may be a decimal mark, last."""
    lines = [line for line in text[:200_000].split("\n") if line.strip()][:200]
    for separator in "\t;|,":
        count, often = Counter(line.count(separator) for line in lines).most_common(1)[0]
        if count >= 3 and often >= 0.6 * len(lines) - 2:
            return separator
    words, often = Counter(len(line.split()) for line in lines).most_common(1)[0]
    if words > 4 and often >= 0.8 * len(lines):
        return " "
    return max(",;\t|", key="\n".join(lines).count)


def _numeric(row: list[str]) -> bool:
    """Whether at least three cells are numbers or dates, as in a row of bars."""
    return sum(map(bool, map(_NUMBER.fullmatch, row))) >= 3


def _dated(row: list[str]) -> bool:
    """Whether a date or a number stands in one of the first two cells."""
    return any(map(_NUMBER.fullmatch, filter(None, row[:2])))


def _header(rows: list[list[str]]) -> tuple[int | None, int | None]:
    """Which of the rows over the first numbers names columns, and which one tickers, if any."""
    roles = [{match[0] for match in map(role_of, row) if match} for row in rows]
    known = max(range(len(rows)), key=lambda i: len(roles[i]), default=None)
    if known is None or not (len(roles[known]) >= 2 or roles[known] & {*PRICES}):
        wide = [i for i, row in enumerate(rows) if len(row) > 1]
        return (wide[-1] if wide else None), None
    for i in (known - 1, known + 1):  # yfinance writes them under or over the prices
        if 0 <= i < len(rows) and len(rows[i]) == len(rows[known]) and all(rows[i][1:]):
            corners = {rows[i][0].strip().lower(), rows[known][0].strip().lower()}
            tickers = "ticker" in corners or not roles[i] - {"close", "symbol"}
            if tickers and corners <= {"price", "ticker", "", "date"}:
                return known, i
    return known, None


def _body(rows: list[list[str]], header: list, usual: int, table: Table) -> list[list[str]]:
    """The rows of bars, as wide as the header; what stands between and after them is noted."""
    width = len(header)
    if usual > width and any(any(row[width:]) for row in rows if len(row) == usual):
        raise Malformed("the rows have more cells than the header; give each column a name")
    last = max((i for i, row in enumerate(rows) if len(row) in (usual, width)), default=-1)
    body = []
    for i, row in enumerate(rows):
        whole = len(row) in (usual, width)
        filled = sum(map(bool, row))
        if row == header:
            table.note("repeated header removed", 1, f"row {i + 1}")
        elif filled <= 3 and _EVENT.search(" ".join(row)):
            table.note("dividend or split between the rows skipped", 1, " ".join(row))
        elif whole and (filled > 3 or _dated(row) or (i < last and filled > 1)):
            body.append((row + [""] * width)[:width])
        elif filled <= 3 and not (_NUMBER.fullmatch(row[0]) and not whole):
            where = "footer" if i >= last else "line between the rows"
            table.note(f"{where} skipped", 1, " ".join(row))
        elif i > last and len(row) < width:
            table.note("incomplete last row removed", 1, " ".join(row))
        else:
            raise Malformed(f"row {i + 1} has {len(row)} cells, the header {width}; mend that row")
    return body
