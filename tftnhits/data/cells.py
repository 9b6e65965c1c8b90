"""Columns of cells of any type become symbols and numbers: each column is read as a whole."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

from ..errors import DataError, quoted
from .names import PRICES, text_of
from .read import readable

NO_VALUE = {"", "-", "--", ".", "—", "na", "n/a", "n.a.", "#n/a", "#n/a n/a"}
NO_VALUE |= {"nan", "nat", "null", "none", "<na>"}
ENOUGH = 1_000  # votes by which a decimal mark is known
MAX_SYMBOL = 100  # characters: file names, captions and messages carry it
# what stands after a number: currencies, and powers of ten in English, German, Chinese, Korean, …
UNITS = dict.fromkeys(("", "$", "€", "£", "¥", "₽", "₹", "usd", "eur", "元", "円", "원"), 1.0)
SCALES = {
    **dict.fromkeys(("k", "tsd", "тыс", "千"), 1e3),
    **dict.fromkeys(("m", "mn", "mio", "mln", "млн"), 1e6),
    **dict.fromkeys(("b", "bn", "mrd", "млрд"), 1e9),
    **{"%": 1.0, "t": 1e12, "万": 1e4, "萬": 1e4, "만": 1e4, "亿": 1e8, "億": 1e8, "억": 1e8},
}
# they move the cursor or end the line
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTED = re.compile(r"""^=?"(.*)"$|^'(.+)$""")  # how spreadsheets are told that 005930 is text
_SPACED = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")  # thousands, as in 1 234 or 1'234
_PARTS = re.compile(
    r"(?P<minus>-?)\+?\s*(?:[A-Z]{1,3}\$?|Rs\.?|[$€£¥₽₹])?\s*(?P<digits>[.,]?\d[\d.,]*)"
    r"(?P<power>[eE][+-]?\d+)?\s*(?P<unit>[^\d\s.,()]*)\.?"
)
_OTHER = ((".", ","), (",", "."))
_GROUPED = {
    mark: re.compile(rf"\d{{1,3}}(\{other}\d{{2,3}})*\{other}\d{{3}}(\{mark}\d*)?|\d*(\{mark}\d*)?")
    for mark, other in _OTHER
}
# digits that prove the decimal mark: not three behind it, no or many before it, beside the other
_PROOF = {
    mark: re.compile(
        rf"\d*\{mark}(\d\d?|\d{{4,}})?|(0?|\d{{4,}})\{mark}\d*"
        rf"|[\d\{other}]*\{other}\d*\{mark}\d*|\d*(\{other}\d*){{2,}}"
    )
    for mark, other in _OTHER
}


def parse_symbols(series: pd.Series, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Sorted names and, for each row [R], its index among them; `rows` [R] are named in errors.

    Raises DataError on a missing symbol, and on one that no message or file name could carry.
    """
    with readable("Column symbol can't be read"):
        code, unique = pd.factorize(series)
        cleaned = [_QUOTED.sub(r"\1\2", text_of(name)) for name in unique]
    if all(re.fullmatch(r"\d+\.0", name) for name in cleaned):
        cleaned = [name[:-2] for name in cleaned]  # 600036.0 is a code
    # the last one answers for code -1, which stands for missing cells
    blank = np.array([not name for name in cleaned] + [True])
    if (bad := np.flatnonzero(blank[code])).size:
        raise DataError(f"Row {rows[bad[0]]} has no symbol; fill the column symbol in every row.")
    for i, name in enumerate(cleaned):
        if len(name) > MAX_SYMBOL or _UNPRINTABLE.search(name):
            raise DataError(
                f"Row {rows[np.argmax(code == i)]} has the symbol {quoted(name)}; give one of at "
                f"most {MAX_SYMBOL} characters, without control characters."
            )
    names = sorted(set(cleaned))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[name] for name in cleaned], dtype=np.int64)[code]


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
    text: bool = False,
) -> Numbers:
    """Numbers of columns by name, with one decimal mark for all, told from them if it is None.

    With `comma` that may be the mark where cells don't tell; with `text` all is text since the
    file is, so that only odd spellings count as such.
    """
    out = Numbers(decimal=decimal or ".")
    texts: dict[str, np.ndarray] = {}
    for name, series in columns.items():
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiu":
            out.values[name] = series.to_numpy(dtype=np.float64)
        else:
            texts[name] = series.astype(object).to_numpy()

    # the decimal mark, from the distinct texts of all columns
    written = [cell for cells in texts.values() for cell in cells if isinstance(cell, str)]
    if decimal is None and "," in "".join(written):
        out.decimal, out.doubt = _decimal_mark(texts, {*written}, comma)

    # the cells, each distinct text read once
    usual = {*"0123456789+-eE", out.decimal}  # in a text no oddity
    for name, cells in texts.items():
        if text:
            with suppress(ValueError, TypeError, OverflowError):
                out.values[name] = _floats(cells, out.decimal)
                continue
        with readable(f"Column {name} can't be read"):
            gone = np.asarray(pd.isna(cells))
        distinct = {cell for cell in cells if isinstance(cell, str)}
        known = {cell: _value(cell, out.decimal, name in PRICES) for cell in distinct}
        values = [
            math.nan if skip else known.get(cell) if isinstance(cell, str) else _number(cell)
            for cell, skip in zip(cells, gone, strict=True)
        ]
        odd = [isinstance(c, str) and not (text and {*c.strip()} <= usual) for c in cells]
        out.bad[name] = np.array([value is None for value in values], bool)
        out.values[name] = np.array(values, np.float64)  # None becomes NaN
        out.text[name] = np.array(odd, bool) & ~np.isnan(out.values[name])
    return out


def _floats(cells: np.ndarray, mark: str) -> np.ndarray:
    """Texts as Python reads numbers, but for the decimal mark; raises ValueError on any other."""
    other = "," if mark == "." else "."
    every = "".join(cells)
    if "_" in every or other in every:  # Python takes 1_000 for a number
        raise ValueError
    plain = ["nan" if cell in NO_VALUE else cell.replace(mark, ".") for cell in cells]
    return np.array(plain, dtype=object).astype(np.float64)


def _number(cell: object) -> float | None:
    """A cell that is no text as a float; None if it isn't a number."""
    if not isinstance(cell, Real | Decimal) or isinstance(cell, bool | np.bool_ | np.timedelta64):
        return None
    with suppress(TypeError, ValueError, OverflowError):
        return float(cell)
    return None


def _value(cell: str, mark: str, price: bool = False) -> float | None:
    """The number that a text stands for if `mark` is the decimal mark; None if it is none."""
    cell = _SPACED.sub("", cell[:100].strip())
    if cell.lower() in NO_VALUE:
        return math.nan
    parts = _PARTS.fullmatch(cell)
    if parts is None or not _GROUPED[mark].fullmatch(parts["digits"]):
        return None
    unit = parts["unit"].casefold()
    if unit not in UNITS and (price or unit not in SCALES):  # a price of 5m among 5s is a slip
        return None
    digits = parts["digits"].replace("." if mark == "," else ",", "").replace(",", ".")
    return float(parts["minus"] + digits + (parts["power"] or "")) * SCALES.get(unit, 1.0)


def _digits(cell: str) -> str:
    """The digits and marks of a number in a text; empty if it is none."""
    match = _PARTS.fullmatch(_SPACED.sub("", cell.strip())) if len(cell) < 100 else None
    return match["digits"] if match else ""


def _decimal_mark(texts: dict[str, np.ndarray], written: set[str], comma: bool) -> tuple[str, str]:
    """The decimal mark of a file, and a sentence where its numbers, as `written`, don't tell it."""
    votes = dict.fromkeys(_PROOF, 0)
    for cell in written:
        if ("," in cell or "." in cell) and (digits := _digits(cell)):
            for mark, proof in _PROOF.items():
                votes[mark] += proof.fullmatch(digits) is not None
        if abs(votes["."] - votes[","]) > ENOUGH:
            break
    if votes[","] - votes["."] in (0, 1):  # else a cell that is a float would not turn the scale
        floats = (c for cells in texts.values() for c in cells if isinstance(c, float))
        votes["."] += any(c == c for c in floats)
    if any(votes.values()):
        return ("," if votes[","] > votes["."] else "."), ""
    digits = {cell: _digits(cell) for cell in written}
    unsure = sorted(c for c, text in digits.items() if "," in text and _value(c, ",") is not None)
    if not unsure:
        return ".", ""
    # 1,474 may be 1474 or 1.474: what stands beside it without a mark is of the same size
    prices = {c for name in PRICES for c in texts.get(name, ()) if isinstance(c, str)}
    whole = [float(digits[c]) for c in prices if digits[c].isdigit()]
    marked = [float(digits[c].replace(",", "")) for c in prices.intersection(unsure)]
    if whole and marked:
        apart = np.log(np.median(whole) + 1e-9) - np.log(np.median(marked) + 1e-9)
        return ("." if abs(apart) < abs(apart + np.log(1000)) else ","), ""
    mark, other = (",", ".") if comma else (".", ",")
    return mark, (
        f"Numbers such as {quoted(unsure[0])} are read as {_value(unsure[0], mark):g}, since "
        f"nothing tells a decimal comma from thousands; say decimal={other!r} if that is wrong."
    )
