"""Validation of bars: what can be repaired is and is counted, the rest is an error that names the cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import DataError, one_line, shown
from .cells import parse_dates, parse_numbers, parse_symbols, text_of

PRICES = ("open", "high", "low", "close")
COLUMNS = ("symbol", "date", *PRICES, "volume")
REPORT = ("symbol", "repair", "count", "first", "example")
MAX_RUN = 5  # bars in a row that may lack a close: a trading week
PRICE_RANGE = (1e-12, 1e15)


@dataclass
class _Table:
    """The bars as arrays of R rows."""

    names: list[str]
    code: np.ndarray  # [R] index into names
    row: np.ndarray  # [R] row number in the source, for messages
    date: np.ndarray  # [R] datetime64[ns]
    cells: dict[str, np.ndarray]  # column -> float64 [R]

    def take(self, keep: np.ndarray) -> _Table:
        """Rows by mask or position."""
        cells = {name: values[keep] for name, values in self.cells.items()}
        return replace(
            self, code=self.code[keep], row=self.row[keep], date=self.date[keep], cells=cells
        )

    def where(self, i: int) -> str:
        day = (
            ""
            if np.isnat(self.date[i])
            else f" ({pd.Timestamp(self.date[i])})".replace(" 00:00:00)", ")")
        )
        return f"{self.names[self.code[i]]}, row {self.row[i]}{day}"

    def when(self, i: int) -> str:
        if np.isnat(self.date[i]):
            return f"row {self.row[i]}"
        return str(pd.Timestamp(self.date[i])).removesuffix(" 00:00:00")

    @property
    def dated(self) -> bool:
        return not np.isnat(self.date).all()

    @property
    def priceless(self) -> np.ndarray:  # [R]
        return np.logical_and.reduce([np.isnan(self.cells[name]) for name in PRICES])

    @property
    def starts(self) -> np.ndarray:  # [R] first row of each symbol, once sorted
        return np.append(True, self.code[1:] != self.code[:-1])[: len(self.code)]

    def frame(self) -> pd.DataFrame:
        symbol = pd.Series(self.names, dtype=str).take(self.code).reset_index(drop=True)
        return pd.DataFrame({"symbol": symbol, "date": self.date, **self.cells})


class _Ledger:
    """The report in the making: one entry a symbol and repair."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], list] = {}

    def note(
        self, repair: str, count: int, example: str, symbol: str = "all", first: str = ""
    ) -> None:
        if (symbol, repair) in self.entries:
            self.entries[symbol, repair][2] += count
        else:
            self.entries[symbol, repair] = [symbol, repair, count, first, example]

    def mark(
        self, table: _Table, mask: np.ndarray, repair: str, example: Callable[[int], str]
    ) -> None:
        """Counts the rows of `mask` [R] a symbol; `example` describes one row."""
        hit = np.flatnonzero(mask)
        codes, first, counts = np.unique(table.code[hit], return_index=True, return_counts=True)
        for code, i, count in zip(codes, hit[first], counts, strict=True):
            self.note(repair, int(count), example(i), table.names[code], table.when(i))

    def frame(self) -> pd.DataFrame:
        rows = sorted(self.entries.values(), key=lambda entry: (entry[0] != "all", entry[0]))
        return pd.DataFrame(rows, columns=list(REPORT))


def validate_bars(
    frame: pd.DataFrame, rows: np.ndarray | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Repaired bars and the report of the repairs; a second pass finds nothing more to repair.

    frame: columns symbol, open, high, low, close, and if there are any date and volume, of any type and in
    any order of symbols; rows: [R] numbers by which messages name a row (default 1..R).
    Returns the bars (symbol, date: datetime64[ns], open .. volume: float64, sorted by symbol and date) and a
    frame of symbol, repair, count, first (date or row), example. Symbol "all" stands for the whole source.
    Raises DataError on what can't be repaired: missing or double columns, text in a number, prices that are
    not positive and finite, unreadable, missing or unordered dates, two bars for one date, long gaps.
    """
    ledger = _Ledger()
    table = _coerce(frame, rows, ledger)
    table = _drop_blank(table, ledger)
    table = _drop_duplicates(table, ledger)
    table = _order(table, ledger)
    _blank_zero_lows(table, ledger)
    _check_prices(table)
    table = _drop_unlisted(table, ledger)
    _check_gaps(table)
    _repair_prices(table, ledger)
    _repair_volume(table, ledger)
    return table.frame(), ledger.frame()


def require_columns(columns: pd.Index, needed: tuple[str, ...] = PRICES) -> None:
    """Raises DataError if a column is missing or there twice."""
    found = one_line(", ".join(map(text_of, columns[:12])), 160) or "none"
    if missing := [name for name in needed if name not in columns]:
        raise DataError(
            f"Missing column {', '.join(missing)}; found {found}. Rename or add what is missing."
        )
    if twice := [name for name in COLUMNS if (columns == name).sum() > 1]:
        raise DataError(
            f"Column {twice[0]} is there more than once; found {found}. Keep one of them."
        )


def _coerce(frame: pd.DataFrame, rows: np.ndarray | None, ledger: _Ledger) -> _Table:
    """Typed arrays out of the frame's cells, in the source's order."""
    if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels > 1:
        raise DataError(
            "validate_bars takes a data frame with plain columns; use load_bars for other sources."
        )
    require_columns(frame.columns, ("symbol", *PRICES))
    if not len(frame):
        raise DataError(
            "There are no bars: the source has columns but not a single row; give at least one bar."
        )
    rows = np.arange(1, len(frame) + 1) if rows is None else np.asarray(rows)
    if extra := [text_of(name) for name in frame.columns if name not in COLUMNS]:
        ledger.note("extra column ignored", len(extra), ", ".join(extra[:5]))
    names, code = parse_symbols(frame["symbol"], rows)
    table = _Table(names, code, rows, np.full(len(frame), np.datetime64("NaT", "ns")), {})
    if "date" in frame:
        table.date, notes = parse_dates(frame["date"], table.where)
        for repair, example in notes:
            ledger.note(repair, len(frame), example)
    else:
        ledger.note("no dates, the order given is kept", len(frame), "")
    for name in COLUMNS[2:]:
        if name not in frame:
            ledger.note("no volume column", len(frame), "")
            table.cells[name] = np.full(len(frame), np.nan)
            continue
        _read_numbers(table, frame[name], name, ledger)
    return table


def _read_numbers(table: _Table, raw: pd.Series, name: str, ledger: _Ledger) -> None:
    values, text = parse_numbers(raw, name, table.where)
    table.cells[name] = values
    if text is not None:
        ledger.mark(
            table,
            text,
            "number written as text",
            lambda i: f"{name} {shown(raw.iloc[i])} -> {values[i]:.6g}",
        )


def _drop_blank(table: _Table, ledger: _Ledger) -> _Table:
    """Rows without date and prices go (a spreadsheet's trailing lines); a bar without a date is an error."""
    undated = np.isnat(table.date)
    if not table.dated or not undated.any():
        return table
    blank = undated & table.priceless
    if (bad := np.flatnonzero(undated & ~blank)).size:
        raise DataError(
            f"{table.where(bad[0])}, column date is empty though others have one; fill it or drop the row."
        )
    ledger.mark(table, blank, "blank row removed", lambda i: f"row {table.row[i]}")
    return table.take(~blank)


def _drop_duplicates(table: _Table, ledger: _Ledger) -> _Table:
    """Copies of a bar go wherever they stand, so that a file appended to itself still reads."""
    if not table.dated:
        return table
    suspect = np.flatnonzero(
        pd.DataFrame({"code": table.code, "date": table.date}).duplicated(keep=False)
    )
    if not suspect.size:
        return table
    some = table.take(suspect)
    copy = (
        pd.DataFrame({"code": some.code, "date": some.date, **some.cells}).duplicated().to_numpy()
    )
    mask = np.zeros(len(table.code), bool)
    mask[suspect[copy]] = True
    ledger.mark(table, mask, "duplicate row removed", lambda i: f"row {table.row[i]}")
    return table.take(~mask)


def _order(table: _Table, ledger: _Ledger) -> _Table:
    """Sorted by symbol; within a symbol ascending dates stay, descending ones are turned round."""
    if (np.diff(table.code) < 0).any():
        table = table.take(np.argsort(table.code, kind="stable"))
    if not table.dated:
        return table
    step = np.where(table.starts[1:], 0, np.diff(table.date).astype(np.int64))
    ups, downs = (
        np.bincount(table.code[1:][hit], minlength=len(table.names)) for hit in (step > 0, step < 0)
    )
    if (mixed := np.flatnonzero((ups > 0) & (downs > 0))).size:
        wrong = step < 0 if ups[mixed[0]] >= downs[mixed[0]] else step > 0
        i = int(np.flatnonzero(wrong & (table.code[1:] == mixed[0]))[0]) + 1
        raise DataError(
            f"{table.where(i)} follows {table.when(i - 1)}: the dates are not in order; sort by date."
        )
    if (same := np.flatnonzero((step == 0) & ~table.starts[1:])).size:
        i = int(same[0]) + 1
        name = next(
            name
            for name, v in table.cells.items()
            if not (v[i] == v[i - 1] or np.isnan([v[i], v[i - 1]]).all())
        )
        values = table.cells[name]
        raise DataError(
            f"{table.where(i)} is a second bar for one date, with {name} {values[i]:.6g} instead of "
            f"{values[i - 1]:.6g} in row {table.row[i - 1]}; keep one of them."
        )
    if not (falling := downs > 0).any():
        return table
    ledger.mark(
        table,
        falling[table.code],
        "descending dates reversed",
        lambda i: f"{table.when(i)} came first",
    )
    position = np.arange(len(table.code))
    return table.take(np.lexsort((np.where(falling[table.code], -position, position), table.code)))


def _blank_zero_lows(table: _Table, ledger: _Ledger) -> None:
    """A low of 0 under a positive close is a feed's missing one; any other zero price is an error."""
    zero = (table.cells["low"] == 0) & (table.cells["close"] > 0)
    ledger.mark(table, zero, "zero low taken as missing", lambda i: "low 0")
    table.cells["low"] = np.where(zero, np.nan, table.cells["low"])


def _check_prices(table: _Table) -> None:
    low, high = PRICE_RANGE
    for name in PRICES:
        values = table.cells[name]
        bad = np.flatnonzero((values < low) | (values > high))
        if not bad.size:
            continue
        value = values[bad[0]]
        if value <= 0:
            why = "a price must be positive; leave a missing one empty"
        elif np.isinf(value):
            why = "a price must be finite; leave a missing one empty"
        else:
            why = f"a price must lie within {low:g} and {high:g}; check its unit"
        raise DataError(f"{table.where(bad[0])}, column {name} is {value:g}: {why}.")


def _drop_unlisted(table: _Table, ledger: _Ledger) -> _Table:
    """Rows that only the common index of several symbols made: before listing, after the end, weekends."""
    empty, count = table.priceless, len(table.names)
    if not empty.any():
        return table
    weekend = (
        table.date.astype("datetime64[D]").astype(np.int64) + 3
    ) % 7 >= 5  # 1970-01-01 was a Thursday
    weekend &= ~np.isnat(table.date)
    open_then = np.bincount(table.code[weekend & ~empty], minlength=count) > 0
    closed = empty & weekend & ~open_then[table.code]
    priced = np.flatnonzero(~empty)
    first, last = np.full(count, len(empty)), np.full(count, -1)
    last[table.code[priced]] = priced
    first[table.code[priced[::-1]]] = priced[::-1]
    place = np.arange(len(empty))
    outside = empty & ((place < first[table.code]) | (place > last[table.code]))
    ledger.mark(table, outside, "row without prices at an end removed", table.when)
    ledger.mark(table, closed & ~outside, "empty weekend row removed", table.when)
    if not priced.size:
        raise DataError(
            "No row has a price: open, high, low and close are all empty; check the source."
        )
    return table.take(~(outside | closed))


def _check_gaps(table: _Table) -> None:
    """A run of bars without close is filled up to a trading week; beyond that it would be invention."""
    gap = np.isnan(table.cells["close"])
    place = np.arange(len(gap))
    since = np.maximum.accumulate(
        np.where(gap & ~table.starts, -1, place)
    )  # last row that breaks the run
    start = np.where(gap[since], since, since + 1)
    run = np.where(gap, place - start + 1, 0)
    if run.max() > MAX_RUN:
        end = int(np.flatnonzero(run > MAX_RUN)[0])
        while end + 1 < len(run) and run[end + 1] > run[end]:
            end += 1
        raise DataError(
            f"{table.names[table.code[end]]} has no close in {run[end]} bars in a row, from "
            f"{table.when(int(start[end]))} to {table.when(end)}; fill them, or drop them if it didn't trade."
        )


def _last_known(values: np.ndarray) -> np.ndarray:
    """Each NaN replaced by the last number before it; the first row of each symbol must have one."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(known)]


def _repair_prices(table: _Table, ledger: _Ledger) -> None:
    """Fills and widens, in place; every row has a price or follows one of its symbol that has."""
    cells, empty, starts = table.cells, table.priceless, table.starts
    ledger.mark(table, empty, "missing bar filled flat", table.when)
    before = dict(cells)
    crossed = cells["high"] < cells["low"]
    high, low = (
        np.where(crossed, cells[b], cells[a]) for a, b in (("high", "low"), ("low", "high"))
    )
    middle = np.where(np.isnan(high), low, np.where(np.isnan(low), high, (high + low) / 2))
    close = np.where(np.isnan(cells["close"]), cells["open"], cells["close"])
    close = np.where(starts & np.isnan(close), middle, close)
    # the previous close stands in, but within what the bar itself says of its range
    inside = np.fmin(np.fmax(_last_known(close), low), high)
    close = _last_known(np.where(np.isnan(close) & ~empty, inside, close))
    previous = np.where(starts, close, np.roll(close, 1))
    opening = np.where(
        np.isnan(cells["open"]), np.fmin(np.fmax(previous, low), high), cells["open"]
    )
    top, bottom = np.maximum(opening, close), np.minimum(opening, close)
    cells.update(open=opening, high=np.fmax(high, top), low=np.fmin(low, bottom), close=close)
    for name in PRICES:
        missing = np.isnan(before[name]) & ~empty
        ledger.mark(
            table, missing, f"missing {name} filled", lambda i, n=name: f"{n} {cells[n][i]:.6g}"
        )
    ledger.mark(
        table,
        crossed,
        "high below low swapped",
        lambda i: f"high {before['high'][i]:.6g}, low {before['low'][i]:.6g}",
    )
    ledger.mark(
        table,
        high < top,
        "high below open or close raised",
        lambda i: f"high {high[i]:.6g} -> {top[i]:.6g}",
    )
    ledger.mark(
        table,
        low > bottom,
        "low above open or close lowered",
        lambda i: f"low {low[i]:.6g} -> {bottom[i]:.6g}",
    )
    cells["volume"] = np.where(empty, np.nan, cells["volume"])


def _repair_volume(table: _Table, ledger: _Ledger) -> None:
    volume = table.cells["volume"]
    absurd, zero = (volume < 0) | np.isinf(volume), volume == 0
    ledger.mark(
        table, absurd, "negative or infinite volume removed", lambda i: f"volume {volume[i]:g}"
    )
    ledger.mark(table, zero, "zero volume taken as missing", lambda i: "volume 0")
    table.cells["volume"] = np.where(absurd | zero, np.nan, volume)
