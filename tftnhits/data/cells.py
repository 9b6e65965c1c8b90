"""Cells of any type become symbols, dates and numbers, or an error that names the cell."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, shown

NO_VALUE = ("", "-", "--", "na", "n/a", "#n/a", "nan", "nat", "null", "none", "<na>")
MAX_SYMBOL = 100  # characters: file names, captions and messages carry it
NAT = np.datetime64("NaT", "ns")

_THOUSANDS = re.compile(
    r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?"
)  # "1,234.5", but not "10,5": that may mean 10.5
_DIGITS = re.compile(r"\d{8,19}(\.0)?")
_LOOKS_LIKE_DATE = re.compile(
    r"\d{4}|\d+[/.-]\d+[/.-]\d+"
)  # keeps "5" from meaning the 5th of this month
_DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}")
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
)  # they move the cursor or end the line
_OFFSET = re.compile(r"(?<=[\d ])(Z|UTC|GMT|[+-]\d\d:?\d\d(:\d\d)?)$", re.IGNORECASE)


def parse_symbols(series: pd.Series, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Sorted names and, for each row, its index among them.

    series: [R] cells of any type; rows: [R] row numbers for the error. Raises DataError on a missing symbol, and on
    one that no message, figure or file name could carry: of control characters, or longer than MAX_SYMBOL.
    """
    if series.dtype == object:  # text of pandas 2, for which "A\0B" is the same as "A"
        for row, name in zip(rows, series, strict=True):
            if isinstance(name, str) and "\0" in name:
                raise _no_symbol(row, name)
    code, unique = _distinct(series, "Column symbol", "text; give one name a row")
    cleaned = [text_of(name) for name in unique]
    blank = np.array(
        [not name for name in cleaned] + [True]
    )  # the last one answers for code -1: missing
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


def text_of(cell: object) -> str:
    """The cell as text that can be written as UTF-8."""
    try:
        text = str(cell)
    except (ValueError, RecursionError):  # an integer of 5,000 digits
        text = shown(cell)
    return text.strip().encode("utf-8", "replace").decode()


def _distinct(series: pd.Series, what: str, wanted: str) -> tuple[np.ndarray, Any]:
    """For each cell [R] its number among the distinct ones, -1 where missing, and these [U]."""
    try:
        return pd.factorize(series)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError, RecursionError) as error:
        raise DataError(f"{what} holds {series.dtype} cells that aren't {wanted}.") from error


def _missing(cells: Any) -> Any:
    """Mask [R] of the cells that stand for nothing."""
    try:
        return pd.isna(cells)
    except ArithmeticError:  # a signalling NaN of decimal doesn't compare
        return np.array(
            [
                cell.is_nan() if isinstance(cell, Decimal) else pd.isna(cell) is True
                for cell in cells
            ],
            bool,
        )


def parse_numbers(
    series: pd.Series, column: str, where: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """float64 [R] (missing is NaN) and a mask [R] of the numbers that were written as text, None without any.

    Raises DataError naming `where(row)`, column and value on a cell that isn't a number.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "fiu":
        return series.to_numpy(dtype=np.float64), None
    cells = series.astype(object).to_numpy()
    missing = _missing(cells)
    pairs = zip(cells, missing, strict=True)
    values = np.array([np.nan if gone else _number(cell) for cell, gone in pairs], dtype=object)
    if (bad := np.flatnonzero(np.equal(values, None))).size:
        raise DataError(
            f"{where(bad[0])}, column {column}: {shown(cells[bad[0]])} is not a number; "
            "write numbers like 1234.5 and leave missing ones empty."
        )
    values = values.astype(np.float64)
    text = np.fromiter((isinstance(cell, str) for cell in cells), bool, len(cells)) & ~np.isnan(
        values
    )
    return values, text if text.any() else None


def _number(cell: object) -> float | None:
    """The cell as a float; NaN for a word that means missing; None if it isn't a number."""
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.lower() in NO_VALUE:
            return float("nan")
        if _THOUSANDS.fullmatch(cell):
            cell = cell.replace(",", "")
        elif "_" in cell:
            return None
    elif not isinstance(cell, (Real, Decimal)) or isinstance(
        cell, (bool, np.bool_, np.timedelta64)
    ):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def parse_dates(
    series: pd.Series, where: Callable[[int], str]
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """datetime64[ns] [R], zone-less local wall time, NaT where missing, and notes (repair, example).

    Whole numbers of 8 digits are YYYYMMDD, longer ones seconds, ms, us or ns since 1970 by their size. One
    zone or offset is dropped; several go to UTC, but bars at midnight keep their local date.
    Raises DataError naming `where(row)` and value on a cell that isn't a date.
    """
    notes: list[tuple[str, str]] = []
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        notes.append(("time zone dropped, local time kept", str(series.dtype.tz)))
        series = series.dt.tz_localize(None)
    missing = np.asarray(_missing(series))
    if isinstance(series.dtype, np.dtype) and series.dtype.kind == "M":
        parsed = _nanoseconds(series.to_numpy())
    else:
        # dates repeat over symbols: parse each once
        code, unique = _distinct(series, "Column date", "dates; give one date a row")
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiu":
            values, blank = _from_numbers(np.asarray(unique)), np.zeros(len(unique), bool)
        else:
            values, blank = _from_text([text_of(cell) for cell in unique], notes)
        parsed, missing = np.append(values, NAT)[code], missing | np.append(blank, True)[code]
    if (bad := np.flatnonzero(np.isnat(parsed) & ~missing)).size:
        value = shown(series.iloc[bad[0]])
        raise DataError(
            f"{where(bad[0])}, column date: {value} is not a date of 1678 to 2261; write it as YYYY-MM-DD."
        )
    return parsed, notes


def _nanoseconds(values: np.ndarray) -> np.ndarray:
    """Any datetime64 unit to nanoseconds; what doesn't fit becomes NaT instead of wrapping around."""
    fits = (values >= np.datetime64("1678-01-01", "s")) & (
        values < np.datetime64("2262-01-01", "s")
    )
    return np.where(fits, values, np.datetime64("NaT")).astype("datetime64[ns]")


def _from_numbers(values: np.ndarray) -> np.ndarray:
    """YYYYMMDD or time since 1970, by the number of digits; NaT for anything else."""
    out = np.full(len(values), NAT)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (np.abs(values) < 9e18) & (values == np.floor(values))
    number = np.where(whole, values, 0).astype(np.int64)
    ymd = (number >= 10**7) & (number < 10**8)
    out[ymd] = _nanoseconds(
        pd.to_datetime(
            pd.Series(number[ymd].astype(str), dtype=object), format="%Y%m%d", errors="coerce"
        ).to_numpy()
    )
    for unit, low, high in (("s", 8, 11), ("ms", 11, 14), ("us", 14, 17), ("ns", 17, 19)):
        hit = (number >= 10**low) & (number < 10**high)
        out[hit] = _nanoseconds(number[hit].astype(f"datetime64[{unit}]"))
    return out


def _from_text(texts: list[str], notes: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Dates [U] of distinct texts and a mask [U] of those that mean missing."""
    blank = np.array([text.lower() in NO_VALUE for text in texts], dtype=bool)
    out = np.full(len(texts), NAT)
    given = [text for text, skip in zip(texts, blank, strict=True) if not skip]
    if not given:
        return out, blank
    if all(_DIGITS.fullmatch(text) for text in given):
        out[~blank] = _from_numbers(
            np.array([min(int(text.split(".")[0]), 9 * 10**18) for text in given])
        )
        return out, blank
    offsets = [
        match[0].upper() if ":" in text and (match := _OFFSET.search(text)) else ""
        for text in given
    ]
    local = [
        text[: len(text) - len(offset)].strip() for text, offset in zip(given, offsets, strict=True)
    ]
    values, ambiguous = _parse(local)
    if ambiguous:
        notes.append(("ambiguous dates", f"{given[0]} read as {str(values[0])[:10]}"))
    zones = sorted(set(offsets))
    midnight = (values == values.astype("datetime64[D]")).all()
    if len(zones) > 1 and not midnight:
        values = values - np.array([_shift(offset) for offset in offsets], dtype="timedelta64[s]")
        notes.append(
            ("mixed time zones turned into UTC", ", ".join(zone or "no zone" for zone in zones[:3]))
        )
    elif zones != [""]:
        notes.append(
            (
                "time zone dropped, local time kept",
                ", ".join(zone or "no zone" for zone in zones[:3]),
            )
        )
    out[~blank] = values
    return out, blank


def _shift(offset: str) -> int:
    """Seconds east of UTC of "+02:00", "-0530", "Z" or nothing."""
    digits = offset[1:].replace(":", "")
    if not digits.isdigit():
        return 0
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:] or 0)
    return -seconds if offset[0] == "-" else seconds


def _parse(texts: list[str]) -> tuple[np.ndarray, bool]:
    """Dates [U], NaT where unreadable, and whether day and month could as well be the other way round.

    One reading holds for all: ISO 8601, else month first, else day first; where both fit, the one in order.
    """
    readable = pd.Series(
        [text if _LOOKS_LIKE_DATE.search(text) else None for text in texts], dtype=object
    )
    iso, month, day = {"format": "ISO8601"}, {"dayfirst": False}, {"dayfirst": True}
    if all(_DOTTED.match(text) for text in texts):
        month = day  # 31.12.2020 is never written month first
    tried = [_to_datetime(readable, iso)]
    if not np.isnat(tried[0]).any():
        return tried[0], False
    tried += [_to_datetime(readable, month), _to_datetime(readable, day)]
    complete = [values for values in tried[1:] if not np.isnat(values).any()]
    if len(complete) < 2 or (complete[0] == complete[1]).all():
        return (complete or sorted(tried, key=lambda values: np.isnat(values).sum()))[0], False
    ordered = [
        values
        for values in complete
        if len({*np.sign(np.diff(values).astype(np.int64))} - {0}) <= 1
    ]
    return (ordered or complete)[0], len(ordered) != 1


def _to_datetime(texts: pd.Series, options: dict) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas comments on formats that it has to guess
        try:
            parsed = pd.to_datetime(texts, errors="coerce", **options)
        except (TypeError, ValueError, OverflowError):
            return np.full(len(texts), NAT)
    if isinstance(parsed.dtype, np.dtype) and parsed.dtype.kind == "M":
        return _nanoseconds(parsed.to_numpy())
    return np.full(len(texts), NAT)
