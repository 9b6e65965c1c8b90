"""A raw table becomes typed bars: which column is what, and each column read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, one_line, shown
from .cells import Numbers, parse_numbers, parse_symbols
from .columns import name_columns, symbol_column
from .dates import Dates, parse_dates, settle_zones
from .names import ADJUSTED, COLUMNS, FACTORS, PRICES, normal, text_of
from .report import Report
from .text import Table


@dataclass(frozen=True)
class Options:
    """What a user says of a source; None leaves it to the source."""

    symbol: str | None = None  # the one to take, or what bars without a symbol are called
    columns: dict[str, Any] | None = None  # role -> label
    dayfirst: bool | None = None
    decimal: str | None = None
    adjusted: bool = True

    def __post_init__(self) -> None:
        named = isinstance(self.symbol, str) and self.symbol.strip()
        if self.symbol is not None and not named:
            raise DataError(
                f"symbol is {shown(self.symbol)}; give a name such as 'AAPL', or leave it out."
            )
        if not isinstance(self.dayfirst, bool | None):
            raise DataError(f"dayfirst is {shown(self.dayfirst)}; give True, False or None.")
        if self.decimal not in (None, ".", ","):
            raise DataError(f"decimal is {shown(self.decimal)}; give '.' or ',', or None.")


def parse_table(table: Table, name: str, options: Options, report: Report) -> pd.DataFrame:
    """The bars of a table, typed: symbol, code (its number), row, date and five numbers, [R] each.

    Symbols with a cell that is no date or no number are left out; bars without one are of `name`.
    """
    # which column is what
    places = name_columns(table, options.columns)
    frame = table.frame
    if not len(frame):
        raise DataError("There are no bars: the source has columns but no row; give at least one.")
    columns = {role: frame.iloc[:, place] for role, place in places.items()}
    spare = [i for i in range(frame.shape[1]) if i not in places.values()]

    # symbols, dates and zones
    names, code = _symbols(columns, frame.index, options.symbol or name)
    dates = _dates(columns, code, options)
    if "symbol" not in columns and _find_symbol(frame, columns, spare, dates):
        names, code = _symbols(columns, frame.index, name)
    zones = settle_zones(dates, code, names)

    # numbers
    wanted = {role: columns[role] for role in (*COLUMNS[2:], *ADJUSTED) if role in columns}
    numbers = parse_numbers(wanted, options.decimal, table.comma, table.plain)
    values = {role: numbers.values.get(role, np.nan) for role in COLUMNS[2:]}
    bars = pd.DataFrame({"code": code, "row": frame.index, "date": dates.local, **values})

    # the symbol asked for, and those without a fault
    report.names = names
    if options.symbol is not None and "symbol" in columns:
        bars = bars[code == _code_of(options.symbol, names)]
    bars = _without_faults(bars, columns, dates, numbers, report)
    _note(bars, table, columns, dates, numbers, report)
    if options.adjusted:
        bars = _adjusted(bars, numbers, report)
        factors = [frame.iloc[:, i] for i in spare if normal(frame.columns[i]) in FACTORS]
        if "adjclose" not in columns and any(one.map(text_of).nunique() > 1 for one in factors):
            report.doubt(
                "The factors of adjustment in the table are not applied; give adjusted prices."
            )
    else:
        spare += [places[role] for role in ADJUSTED if role in places]
    extra = [text_of(frame.columns[i]) for i in spare if table.labelled]
    if extra := [label for label in extra if label]:
        report.note("extra column ignored", len(extra), ", ".join(extra[:5]))
    present = {names[i] for i in bars["code"].unique()}
    report.zones |= {symbol: zone for symbol, zone in zones.items() if symbol in present}
    return bars.assign(symbol=np.asarray(names, object)[bars["code"]])


def _symbols(
    columns: dict[str, pd.Series], rows: pd.Index, name: str
) -> tuple[list[str], np.ndarray]:
    """Symbols by number, and each row's; all are `name` where no column names them."""
    if "symbol" in columns:
        return parse_symbols(columns["symbol"], rows)
    names, _ = parse_symbols(pd.Series([name], dtype=object), rows[:1])
    return names, np.zeros(len(rows), np.int64)


def _find_symbol(
    frame: pd.DataFrame, columns: dict[str, pd.Series], spare: list[int], dates: Dates
) -> bool:
    """Takes a column among the `spare` ones for the symbol, if dates come twice without one."""
    if "date" not in columns or (place := symbol_column(frame, spare, dates.local)) is None:
        return False
    spare.remove(place)
    columns["symbol"] = frame.iloc[:, place]
    label = text_of(frame.columns[place])
    dates.notes.append(("symbol taken from a column", label))
    dates.doubt = dates.doubt or (
        f"Column {shown(label)} is taken for the symbol, since each date comes once for each of "
        "its values; say columns={'symbol': …} if it is another."
    )
    return True


def _dates(columns: dict[str, pd.Series], code: np.ndarray, options: Options) -> Dates:
    """The dates, with times of the day from a column of their own; NaT where there are none."""
    if "date" not in columns:
        return Dates(
            local=np.full(len(code), "NaT", "datetime64[ns]"),
            bad=np.zeros(len(code), bool),
            notes=[("no dates, the order given is kept", "")],
            doubt="The bars have no dates, so the order given is taken for that of time; give "
            "dates for calendars, dates ahead and a measured coverage.",
        )
    dates = parse_dates(columns["date"], code, None, options.dayfirst)
    midnight = dates.local.astype("datetime64[D]") == dates.local
    if "time" in columns and (midnight | np.isnat(dates.local)).all():
        joined = parse_dates(columns["date"], code, columns["time"], options.dayfirst)
        if not joined.bad.any():
            joined.notes.append(("date and time joined", text_of(columns["time"].name)))
            return joined
        whole = parse_dates(columns["time"], code, None, options.dayfirst)
        if not whole.bad.any() and (whole.local.astype("datetime64[D]") == dates.local).all():
            whole.notes.append(("dates taken from the times", text_of(columns["time"].name)))
            return whole
    return dates


def _code_of(symbol: str, names: list[str]) -> int:
    if text_of(symbol) in names:
        return names.index(text_of(symbol))
    have = one_line(", ".join(names[:10]), 160)
    raise DataError(f"There is no symbol {shown(symbol)} in this source; it has {have}.")


def _without_faults(
    bars: pd.DataFrame,
    columns: dict[str, pd.Series],
    dates: Dates,
    numbers: Numbers,
    report: Report,
) -> pd.DataFrame:
    """The bars without the symbols that have a cell which is no date or no number."""

    def sentence(role: str, i: int) -> str:
        cell = shown(columns[role].iloc[bars.index[i]])
        why = "is not a number; write numbers like 1234.5 and leave missing ones empty"
        if role == "date":
            why = "is not a date of 1678 to 2261; write it as YYYY-MM-DD"
        return f"{report.where(bars, i)}, column {role}: {cell} {why}."

    wrong = {"date": dates.bad, **numbers.bad}
    for role in (role for role in COLUMNS if role in wrong):
        bars = report.fault(bars, wrong[role][bars.index], partial(sentence, role))
    return bars


def _note(
    bars: pd.DataFrame,
    table: Table,
    columns: dict[str, pd.Series],
    dates: Dates,
    numbers: Numbers,
    report: Report,
) -> None:
    """Takes down what was inferred on the way here."""
    for note in table.notes:
        report.note(*note)
    for kind, example in dates.notes:
        report.note(kind, len(table.frame), example)
    report.doubt(dates.doubt)
    report.doubt(numbers.doubt)
    if numbers.decimal == ",":
        report.note("decimal comma", len(table.frame))
    if "volume" not in columns:
        report.note("no volume column", len(table.frame))

    def example(role: str, i: int) -> str:
        place = bars.index[i]
        return f"{role} {shown(columns[role].iloc[place])} -> {numbers.values[role][place]:.6g}"

    for role, text in numbers.text.items():
        if role in COLUMNS:
            report.mark(bars, text[bars.index], "number written as text", partial(example, role))


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
