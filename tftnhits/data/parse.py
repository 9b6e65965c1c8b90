"""A raw table becomes typed bars: which column is what, and each column read as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, printable, quoted
from .cells import Numbers, parse_numbers, parse_symbols
from .columns import EARLIEST, input_numbers, likely_inputs, name_columns, take_inputs
from .dates import NAT, Dates, parse_dates, settle_zones
from .findings import Report
from .names import ADJUSTED, COLUMNS, FACTORS, PRICES, check_inputs, normal, text_of
from .read import Table

NO_DATES = "no dates, the order given is kept"
UNDATED = (
    "The bars have no dates, so the order given is taken for that of time; give dates for "
    "calendars, dates ahead and a measured coverage."
)
NUMBERS = {int, float}
PLAIN = re.compile(r"[\w.^=&-]{1,100}")  # symbols that need no mending
BAD_DATE = "is not a date of 1678 to 2261; write it as YYYY-MM-DD"
BAD_NUMBER = "is not a number; write numbers like 1234.5 and leave missing ones empty"


@dataclass(frozen=True)
class Options:
    """What a user says of a source; None leaves it to the source."""

    symbol: str | None = None  # the one to take, or what bars without a symbol are called
    columns: dict[str, Any] | None = None  # role -> label
    dayfirst: bool | None = None
    decimal: str | None = None
    adjusted: bool = True
    extra: tuple[str, ...] = ()  # further columns to keep, where there are any

    def __post_init__(self) -> None:
        check_inputs(self.extra)
        named = isinstance(self.symbol, str) and self.symbol.strip()
        if self.symbol is not None and not named:
            raise DataError(
                f"symbol is {quoted(self.symbol)}; give a name such as 'AAPL', or leave it out."
            )
        if not isinstance(self.dayfirst, bool | None):
            raise DataError(f"dayfirst is {quoted(self.dayfirst)}; give True, False or None.")
        if self.decimal not in (None, ".", ","):
            raise DataError(f"decimal is {quoted(self.decimal)}; give '.' or ',', or None.")


def plain_bars(
    source: Any, name: str, report: Report, extra: tuple[str, ...] = ()
) -> pd.DataFrame | None:
    """As `parse_table`, of what needs no reading; None of all else.

    That is rows [open, high, low, close(, volume)] of numbers, and frames of our columns and types,
    with those of `extra` behind them.
    """
    names = [name]
    if isinstance(source, pd.DataFrame):
        # a frame of our own columns and types
        index = source.index
        if (*source.columns,) != (*COLUMNS, *extra):
            return None
        if index.nlevels > 1 or index.name is not None or index.dtype.kind not in "iu":
            return None
        symbol, date, *numbers = (column for _, column in source.items())
        kinds = str(date.dtype), *{str(column.dtype) for column in numbers}
        if kinds != ("datetime64[ns]", "float64"):
            return None
        symbol = symbol.to_numpy(object)
        if not {*map(type, symbol)} <= {str}:
            return None
        code, names = pd.factorize(symbol, sort=True)
        if not len(code):
            return None
        date, values = date.to_numpy(), np.column_stack(numbers)
    else:
        # rows of numbers, of one width, in the usual order of prices
        if isinstance(source, list) and source:
            widths = {len(row) if isinstance(row, list | tuple) else 0 for row in source}
            if len(widths) > 1 or 0 in widths or {type(c) for row in source for c in row} - NUMBERS:
                return None
            source = np.array(source)
        if type(source) is not np.ndarray or source.dtype.kind not in "fi" or source.ndim != 2:
            return None
        if source.shape[1] not in (4, 5) or not len(source):
            return None
        values = source.astype(float)
        prices = values[:, :4].T
        ordered = (prices[1] == prices.max(axis=0)) & (prices[2] == prices.min(axis=0))
        if ordered.mean() < 0.5 or (values[:, 0] >= EARLIEST).all():
            return None
        code, date = np.zeros(len(values), np.int64), np.full(len(values), NAT)
        if values.shape[1] == 4:
            values = np.column_stack([values, np.full(len(values), np.nan)])
    if not all(isinstance(one, str) and PLAIN.fullmatch(one) for one in names):
        return None
    # rows tell neither dates nor, if four wide, the volume
    if not isinstance(source, pd.DataFrame):
        report.note(NO_DATES, len(values))
        if np.isnan(values[:, 4]).all():
            report.note("no volume column", len(values))
    if np.isnat(date).all():
        report.doubt(UNDATED)
    report.names = list(names)
    row = np.arange(1, len(values) + 1)
    values = dict(zip((*COLUMNS, *extra)[2:], values.T))  # rows have none of `extra`
    return pd.DataFrame({"code": code, "row": row, "date": date, **values})


def parse_table(table: Table, name: str, options: Options, report: Report) -> pd.DataFrame:
    """The bars of a table, typed: symbol, code (its number), row, date and five numbers, [R] each.

    Symbols with a cell that is no date or no number are left out; bars without one are of `name`.
    """
    # which column is what
    table, own = take_inputs(table, options.extra)
    places = name_columns(table, options.columns)
    frame = table.frame
    if not len(frame):
        raise DataError("There are no bars: the source has columns but no row; give at least one.")
    columns = {role: frame.iloc[:, place] for role, place in places.items()}

    # symbols, dates and zones, numbers
    symbols = columns.get("symbol", pd.Series([options.symbol or name], dtype=object))
    names, code = parse_symbols(symbols, frame.index)
    code = np.broadcast_to(code, len(frame))
    dates = _dates(columns, code, options)
    zones = settle_zones(dates, code, names)
    wanted = {role: columns[role] for role in (*COLUMNS[2:], *ADJUSTED) if role in columns}
    numbers = parse_numbers(wanted, options.decimal, table.comma, table.text)
    values = {role: numbers.values.get(role, np.nan) for role in COLUMNS[2:]}
    values |= input_numbers(own, numbers.decimal, table.text)
    bars = pd.DataFrame({"code": code, "row": frame.index, "date": dates.local, **values})

    # the symbol asked for
    report.names = names
    if options.symbol is not None and "symbol" in columns:
        if text_of(options.symbol) not in names:
            have = printable(", ".join(names[:10]), 160)
            raise DataError(
                f"There is no symbol {quoted(options.symbol)} in this source; it has {have}."
            )
        bars = bars[code == names.index(text_of(options.symbol))]

    # without the symbols that have a cell which is no date or no number
    wrong = {"date": dates.bad, **numbers.bad}
    for role in (role for role in COLUMNS if role in wrong):

        def sentence(i: int, role: str = role) -> str:
            cell = quoted(columns[role].iloc[bars.index[i]])  # noqa: B023
            return f", column {role}: {cell} {BAD_DATE if role == 'date' else BAD_NUMBER}."

        bars = report.fault(bars, wrong[role][bars.index], sentence)

    # what was inferred on the way here
    _note(bars, table, columns, dates, numbers, report)
    spare = [i for i in range(frame.shape[1]) if i not in places.values()]
    if options.adjusted:
        bars = _adjusted(bars, numbers, report)
        if "adjclose" not in columns and any(normal(frame.columns[i]) in FACTORS for i in spare):
            report.doubt(
                "The factors of adjustment in the table are not applied; give adjusted prices."
            )
    else:
        spare += [places[role] for role in ADJUSTED if role in places]
    extra = [text_of(frame.columns[i]) for i in spare] if table.labelled else []
    if extra := [label for label in extra if label]:
        report.note("extra column ignored", len(extra), ", ".join(extra[:5]))
        report.unused += likely_inputs(frame.iloc[:, spare])
    present = {names[i] for i in bars["code"].unique()}
    report.zones |= {symbol: zone for symbol, zone in zones.items() if symbol in present}
    return bars.assign(symbol=np.asarray(names, object)[bars["code"]])


def _dates(columns: dict[str, pd.Series], code: np.ndarray, options: Options) -> Dates:
    """The dates, with times of the day from a column of their own; NaT where there are none."""
    if "date" not in columns:
        local, bad = np.full(len(code), NAT), np.zeros(len(code), bool)
        return Dates(local, bad, notes=[(NO_DATES, "")], doubt=UNDATED)
    dates = parse_dates(columns["date"], code, None, options.dayfirst)
    midnight = dates.local.astype("datetime64[D]") == dates.local
    if "time" in columns and (midnight | np.isnat(dates.local)).all():
        label = text_of(columns["time"].name)
        joined = parse_dates(columns["date"], code, columns["time"], options.dayfirst)
        if not joined.bad.any():
            joined.notes.append(("date and time joined", label))
            return joined
        whole = parse_dates(columns["time"], code, None, options.dayfirst)
        if not whole.bad.any() and (whole.local.astype("datetime64[D]") == dates.local).all():
            whole.notes.append(("dates taken from the times", label))
            return whole
    return dates


def _note(
    bars: pd.DataFrame,
    table: Table,
    columns: dict[str, pd.Series],
    dates: Dates,
    numbers: Numbers,
    report: Report,
) -> None:
    """Takes down what was inferred on the way here."""
    size = len(table.frame)
    for note in table.notes:
        report.note(*note)
    for sentence in table.doubts:
        report.doubt(sentence)
    for kind, example in dates.notes:
        report.note(kind, size, example)
    report.doubt(dates.doubt)
    report.doubt(numbers.doubt)
    if numbers.decimal == ",":
        report.note("decimal comma", size)
    if "volume" not in columns:
        report.note("no volume column", size)
    for role in (role for role in COLUMNS if role in numbers.text):

        def example(i: int, role: str = role) -> str:
            place = bars.index[i]
            text = quoted(columns[role].iloc[place])
            return f"{role} {text} -> {numbers.values[role][place]:.6g}"

        report.mark(bars, numbers.text[role][bars.index], "number written as text", example)


def _adjusted(bars: pd.DataFrame, numbers: Numbers, report: Report) -> pd.DataFrame:
    """Prices adjusted for splits and dividends, where the table has them for every bar."""
    given = [role for role in ADJUSTED if role in numbers.values]
    new = {role.removeprefix("adj"): numbers.values[role][bars.index] for role in given}
    close = bars["close"].to_numpy()
    priced = ~np.isnan(close)
    if "close" not in new or not priced.any():
        return bars
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = new["close"] / close
        sound = np.isfinite(ratio) & (ratio > 0)
    if not sound[priced].all():
        report.note("adjusted prices incomplete, raw ones kept", len(bars))
        report.doubt("The adjusted prices have holes, so raw ones are used: splits may be in them.")
        return bars
    if np.allclose(ratio[priced], 1, rtol=1e-9):
        return bars
    whole = all(name in new and np.isfinite(new[name][priced]).all() for name in PRICES)
    if not whole:
        new = {name: bars[name].to_numpy() * ratio for name in PRICES[:3]} | {"close": new["close"]}
    elif "volume" in new and not np.isfinite(new["volume"][priced]).all():
        del new["volume"]
    i = int(np.nanargmax(abs(np.log(np.where(priced, ratio, np.nan)))))
    how = "columns of their own" if whole else "by the ratio of closes"
    example = f"{how}: close {close[i]:.6g} -> {new['close'][i]:.6g}"
    report.note("adjusted prices used", len(bars), example)
    return bars.assign(**{name: np.where(priced, values, np.nan) for name, values in new.items()})
