"""Columns of cells of any type become symbols and numbers: each column is read as a whole."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown
from .names import PRICES, text_of

NO_VALUE = {"", "-", "--", ".", "—", "na", "n/a", "n.a.", "#n/a", "#n/a n/a"}
NO_VALUE |= {"nan", "nat", "null", "none", "<na>"}
MAX_SYMBOL = 100  # characters: file names, captions and messages carry it
# what stands after a number: powers of ten, in English, German, Russian, Chinese, Japanese, Korean
UNITS = {
    **dict.fromkeys(
        ("", "%", "$", "€", "£", "¥", "₽", "₹", "usd", "eur", "gbp", "元", "円", "원"), 1.0
    ),
    **dict.fromkeys(("k", "tsd", "тыс", "千", "천"), 1e3),
    **dict.fromkeys(("m", "mn", "mio", "mln", "млн", "백만"), 1e6),
    **dict.fromkeys(("b", "bn", "mrd", "млрд", "十億"), 1e9),
    **dict.fromkeys(("t", "tn", "bio", "трлн"), 1e12),
    **dict.fromkeys(("万", "萬", "만"), 1e4),
    **dict.fromkeys(("亿", "億", "억"), 1e8),
}
SCALED = {unit for unit, factor in UNITS.items() if factor != 1.0} | {"%"}
# they move the cursor or end the line
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTED = re.compile(r"""^=?"(.*)"$|^'(.+)$""")  # how spreadsheets are told that 005930 is text
_SPACED = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")  # thousands, as in 1 234 or 1'234
_PARTS = re.compile(
    r"(?P<minus>[-−(]?)\+?\s*(?:[A-Z]{1,3}\$?|Rs\.?|[$€£¥₽₹])?\s*(?P<inner>[-−]?)"
    r"(?P<digits>[.,]?\d[\d.,]*)"
    r"(?P<power>[eE][+-]?\d+)?\s*(?P<unit>[^\d\s.,()]*)\.?\)?"
)
_GROUPED = {
    mark: re.compile(rf"\d{{1,3}}(\{other}\d{{2,3}})*\{other}\d{{3}}(\{mark}\d*)?|\d*(\{mark}\d*)?")
    for mark, other in ((".", ","), (",", "."))
}


def parse_symbols(series: pd.Series, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Sorted names and, for each row [R], its index among them; `rows` [R] are named in errors.

    Raises DataError on a missing symbol, and on one that no message or file name could carry.
    """
    if series.dtype == object:  # text of pandas 2, for which "A\0B" is the same as "A"
        for row, name in zip(rows, series, strict=True):
            if isinstance(name, str) and "\0" in name:
                raise _no_symbol(row, name)
    code, unique = distinct(series, "Column symbol", "text; give one name a row")
    cleaned = [_QUOTED.sub(r"\1\2", text_of(name)) for name in unique]
    if all(re.fullmatch(r"\d+\.0", name) for name in cleaned):
        cleaned = [name[:-2] for name in cleaned]  # 600036.0 is a code
    # the last one answers for code -1, which stands for missing cells
    blank = np.array([not name for name in cleaned] + [True])
    if (bad := np.flatnonzero(blank[code])).size:
        raise DataError(f"Row {rows[bad[0]]} has no symbol; fill the column symbol in every row.")
    names = sorted(set(cleaned))
    for name in names:
        if len(name) > MAX_SYMBOL or _UNPRINTABLE.search(name):
            raise _no_symbol(rows[np.flatnonzero(code == cleaned.index(name))[0]], name)
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[name] for name in cleaned], dtype=np.int64)[code]


def _no_symbol(row: int, name: str) -> DataError:
    limit = f"at most {MAX_SYMBOL} characters, without control characters"
    return DataError(f"Row {row} has the symbol {shown(name)}; give one of {limit}.")


def distinct(series: pd.Series, what: str, wanted: str) -> tuple[np.ndarray, Any]:
    """For each cell [R] its number among the distinct ones, -1 where missing, and these [U]."""
    try:
        return pd.factorize(series)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError, RecursionError) as error:
        raise DataError(f"{what} holds {series.dtype} cells that aren't {wanted}.") from error


def missing(cells: Any) -> np.ndarray:
    """Mask [R] of the cells that stand for nothing."""
    try:
        return np.asarray(pd.isna(cells))
    except ArithmeticError:  # a signalling NaN of decimal doesn't compare
        gone = [
            cell.is_nan() if isinstance(cell, Decimal) else pd.isna(cell) is True for cell in cells
        ]
        return np.array(gone, bool)


@dataclass
class Numbers:
    """Columns of numbers, how they were written, and the cells that are none."""

    values: dict[str, np.ndarray] = field(default_factory=dict)  # float64 [R], NaN where missing
    text: dict[str, np.ndarray] = field(default_factory=dict)  # [R] numbers written as text
    bad: dict[str, np.ndarray] = field(default_factory=dict)  # [R] cells that are no numbers
    decimal: str = "."  # the mark that was read
    doubt: str = ""  # a sentence where it could as well be the other


def parse_numbers(
    columns: dict[str, pd.Series],
    decimal: str | None = None,
    comma: bool = False,
    plain: bool = False,
) -> Numbers:
    """Numbers of columns by name, with one decimal mark for all, told from them if it is None.

    With `comma` that may be the mark where cells don't tell; with `plain` all is text since the
    file is, so that only odd spellings count as such.
    """
    out = Numbers(decimal=decimal or ".")
    texts: dict[str, np.ndarray] = {}
    for name, series in columns.items():
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiu":
            out.values[name] = series.to_numpy(dtype=np.float64)
        else:
            texts[name] = series.astype(object).to_numpy()
    if plain and _read_plain(texts, out, decimal):
        return out
    marked = {c for cells in texts.values() for c in cells if isinstance(c, str) and len(c) < 100}
    parts = {cell: _parts(cell) for cell in marked}
    if decimal is None:
        prices = {c for name in PRICES for c in texts.get(name, ()) if isinstance(c, str)}
        floats = any(isinstance(c, float) and c == c for cells in texts.values() for c in cells)
        out.decimal, out.doubt = _decimal_mark(parts, prices & marked, comma, floats)
    known = {cell: _value(cell, parts[cell], out.decimal) for cell in marked}
    scaled = {cell for cell in marked if parts[cell] and parts[cell]["unit"].casefold() in SCALED}
    unscaled = {cell: None if cell in scaled else value for cell, value in known.items()}
    for name, cells in texts.items():  # a price of 5m among 5s is a slip
        _read_text(name, cells, unscaled if name in PRICES else known, out, plain)
    return out


def _read_plain(texts: dict[str, np.ndarray], out: Numbers, decimal: str | None) -> bool:
    """Reads text that needs no interpretation but of a decimal comma, the usual case, at once."""
    try:
        columns = {n: ["nan" if c in NO_VALUE else c for c in cells] for n, cells in texts.items()}
        everything = "\n".join("\n".join(cells) for cells in columns.values())
        if "_" in everything:  # Python takes 1_000 for a number
            return False
        if "," in everything:
            # not thousands, where there are no points and more or less than three digits behind
            behind = {len(part) for part in re.findall(r",([^,\n]*)", everything)}
            if "." in everything or decimal == "." or not (behind - {3} or decimal == ","):
                return False
            columns = {n: [cell.replace(",", ".") for cell in c] for n, c in columns.items()}
        elif decimal == "," and "." in everything:
            return False
        for name, cells in columns.items():
            out.values[name] = np.array(cells, dtype=object).astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return False
    out.decimal = "," if "," in everything else "."
    return True


def _read_text(name: str, cells: np.ndarray, known: dict, out: Numbers, plain: bool) -> None:
    """Reads a column cell by cell, with what is known of its texts."""
    gone = missing(cells)
    values = [
        np.nan if skip else _number(cell, known) for cell, skip in zip(cells, gone, strict=True)
    ]
    out.bad[name] = np.array([value is None for value in values], bool)
    numbers = np.array(values, np.float64)  # None becomes NaN
    odd = [isinstance(c, str) and not (plain and _floats(c, out.decimal)) for c in cells]
    out.values[name] = numbers
    out.text[name] = np.array(odd, bool) & ~np.isnan(numbers)


def _floats(cell: str, decimal: str) -> bool:
    """Whether a text is a number but for its decimal mark."""
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return "_" not in cell


def _number(cell: object, known: dict[str, float | None]) -> float | None:
    """The cell as a float; NaN for a word that means missing; None if it isn't a number."""
    if isinstance(cell, str):
        return known.get(cell)
    if not isinstance(cell, Real | Decimal) or isinstance(cell, bool | np.bool_ | np.timedelta64):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _parts(cell: str) -> re.Match | None:
    """Sign, digits with their marks, power and unit of a number in any notation."""
    return _PARTS.fullmatch(_SPACED.sub("", cell.strip()))


def _value(cell: str, parts: re.Match | None, mark: str) -> float | None:
    """The number that a text stands for if `mark` is the decimal mark; None if it is none."""
    cell = cell.strip()
    if cell.lower() in NO_VALUE:
        return math.nan
    if cell.lower().lstrip("+-") in ("inf", "infinity"):
        return float(cell)
    if parts is None or not _GROUPED[mark].fullmatch(parts["digits"]):
        return None
    factor = UNITS.get(parts["unit"].casefold())
    if factor is None or (parts["minus"] and parts["inner"]):
        return None
    digits = parts["digits"].replace("." if mark == "," else ",", "").replace(",", ".")
    number = float(digits + (parts["power"] or "")) * factor
    return -number if parts["minus"] or parts["inner"] else number


def _decimal_mark(
    parts: dict[str, re.Match | None], prices: set[str], comma: bool, floats: bool
) -> tuple[str, str]:
    """The decimal mark of a file, and a sentence where its numbers don't tell it."""
    digits = {cell: match["digits"] for cell, match in parts.items() if match}
    votes = Counter(filter(None, map(_vote, digits.values())))
    votes["."] += floats
    if votes["."] or votes[","]:
        return ("," if votes[","] > votes["."] else "."), ""
    open_cells = [cell for cell, text in digits.items() if "," in text]
    if not open_cells:
        return ".", ""
    # 1,474 may be 1474 or 1.474: what stands beside it without a mark is of the same size
    whole = [float(digits[c]) for c in prices if c in digits and digits[c].isdigit()]
    if whole and prices & {*open_cells}:
        thousands = np.median([float(digits[c].replace(",", "")) for c in prices & {*open_cells}])
        apart = np.log(np.median(whole) + 1e-9) - np.log(thousands)
        return ("." if abs(apart) < abs(apart + np.log(1000)) else ","), ""
    mark = "," if comma else "."
    example = open_cells[0]
    value = _value(example, parts[example], mark)
    other = "." if mark == "," else ","
    return mark, (
        f"Numbers such as {shown(example)} are read as {value:g}, since nothing tells a decimal "
        f"comma from thousands; say decimal={other!r} if that is wrong."
    )


def _vote(digits: str) -> str:
    """The decimal mark that the digits of one number prove; an empty text if they prove none."""
    commas, dots = digits.count(","), digits.count(".")
    if commas and dots:
        return "," if digits.rfind(",") > digits.rfind(".") else "."
    if commas + dots > 1:  # repeated, it separates thousands
        return "." if commas else ","
    if not commas + dots:
        return ""
    mark = "," if commas else "."
    whole, part = digits.split(mark)
    return mark if len(part) != 3 or len(whole) > 3 or whole in ("", "0") else ""
