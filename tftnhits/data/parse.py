"""A raw table becomes typed bars: which column is what, and each column read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, one_line, shown
from .cells import Numbers, parse_numbers, parse_symbols
from .columns import name_columns, symbol_column
from .dates import Dates, parse_dates, settle_zones
from .names import ADJUSTED, COLUMNS, PRICES, text_of
from .read import Table
from .report import Report


@dataclass(frozen=True)
class Options:
    """What a user says of a source; None leaves it to the source."""

    symbol: str | None = None  # the one to take, or what bars without a symbol are called
    columns: dict[str, Any] | None = None  # role -> label
    dayfirst: bool | None = None
    decimal: str | None = None
    adjusted: bool = True

    def __post_init__(self) -> None:
        symbol = self.symbol
        if symbol is not None and (not isinstance(symbol, str) or not symbol.strip()):
            raise DataError(
                f"symbol is {shown(symbol)}; give a name such as 'AAPL', or leave it out."
            )
        if not isinstance(self.dayfirst, bool | None):
            raise DataError(f"dayfirst is {shown(self.dayfirst)}; give True, False or None.")
        if self.decimal not in (None, ".", ","):
            raise DataError(f"decimal is {shown(self.decimal)}; give '.' or ',', or None.")


def parse_table(table: Table, name: str, options: Options, report: Report) -> pd.DataFrame:
    """The bars of a table: symbol, code (its number), row, date and the five numbers, [R] each.

    Symbols with a cell that is no date or no number are left out. `name` is that of bars without a
    symbol. Raises DataError on what is no table of bars.
    """
    # which column is what
    places = name_columns(table, options.columns)
    frame = table.frame
    if not len(frame):
        raise DataError(
            "There are no bars: the source has columns but no row; give at least one bar."
        )
    columns = {role: frame.iloc[:, place] for role, place in places.items()}
    spare = [i for i in range(frame.shape[1]) if i not in places.values()]

    # symbols, dates and zones
    rows = frame.index.to_numpy()
    if "symbol" in columns:
        names, code = parse_symbols(columns["symbol"], rows)
    else:
        names, _ = parse_symbols(pd.Series([options.symbol or name], dtype=object), rows[:1])
        code = np.zeros(len(frame), np.int64)
    dates = _dates(columns, code, options, report)
    if "symbol" not in columns and "date" in columns and len(np.unique(dates.local)) < len(frame):
        if (place := symbol_column(frame, spare, dates.local)) >= 0:
            names, code = parse_symbols(frame.iloc[:, place], rows)
            spare.remove(place)
            report.note("symbol taken from a column", len(frame), text_of(frame.columns[place]))
    zones = settle_zones(dates, code, names)

    # numbers
    wanted = {role: columns[role] for role in (*COLUMNS[2:], *ADJUSTED) if role in columns}
    numbers = parse_numbers(wanted, options.decimal, table.comma, table.plain)
    values = {role: numbers.values.get(role, np.nan) for role in COLUMNS[2:]}
    bars = pd.DataFrame({"code": code, "row": rows, "date": dates.local, **values})
    bars["place"] = np.arange(len(frame))

    # the symbol asked for, and those without a fault
    report.names = names
    if options.symbol is not None and ("symbol" in columns or len(names) > 1):
        bars = bars[code == _code_of(options.symbol, names)].reset_index(drop=True)
    bars = _without_faults(bars, columns, dates, numbers, report)
    _note(bars, table, columns, dates, numbers, report)
    extra = [text_of(frame.columns[i]) for i in spare] if table.labelled else []
    if options.adjusted:
        bars = _adjusted(bars, numbers, report)
    else:
        extra += [role for role in ADJUSTED if role in columns]
    if extra := [label for label in extra if label]:
        report.note("extra column ignored", len(extra), ", ".join(extra[:5]))
    bars["symbol"] = np.asarray(names, object)[bars["code"]]
    report.zones |= {
        name: zone for name, zone in zones.items() if name in {*bars["symbol"].unique()}
    }
    return bars.drop(columns="place")


def _dates(
    columns: dict[str, pd.Series], code: np.ndarray, options: Options, report: Report
) -> Dates:
    """The dates, with times of the day from a column of their own; NaT where there are none."""
    if "date" not in columns:
        report.note("no dates, the order given is kept", len(code))
        report.doubt(
            "The bars have no dates, so the order given is taken for that of time; give dates for "
            "calendars, dates ahead and a measured coverage."
        )
        return Dates(np.full(len(code), "NaT", "datetime64[ns]"), np.zeros(len(code), bool))
    dates = parse_dates(columns["date"], code, None, options.dayfirst)
    midnight = dates.local.astype("datetime64[D]") == dates.local
    if "time" in columns and (midnight | np.isnat(dates.local)).all():
        joined = parse_dates(columns["date"], code, columns["time"], options.dayfirst)
        if not joined.bad.any():
            joined.notes.append(("date and time joined", text_of(columns["time"].name)))
            return joined
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
    faults = [
        ("date", dates.bad, " is not a date of 1678 to 2261; write it as YYYY-MM-DD."),
        *(
            (role, bad, " is not a number; write numbers like 1234.5 and leave missing ones empty.")
            for role, bad in numbers.bad.items()
            if role in COLUMNS
        ),
    ]
    for role, bad, why in faults:
        if bad.any():
            places = bars["place"].to_numpy()

            def sentence(
                i: int,
                role: str = role,
                why: str = why,
                bars: pd.DataFrame = bars,
                places: Any = places,
            ) -> str:
                cell = shown(columns[role].iloc[places[i]])
                return f"{report.where(bars, i)}, column {role}: {cell}{why}"

            bars = report.fault(bars, bad[places], sentence)
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
    count = len(table.frame)
    for kind, number, example in table.notes:
        report.note(kind, number, example)
    for kind, example in dates.notes:
        report.note(kind, count, example)
    for sentence in (*table.doubts, dates.doubt, numbers.doubt):
        report.doubt(sentence)
    if numbers.decimal == ",":
        report.note("decimal comma", count)
    if "volume" not in columns:
        report.note("no volume column", count)
    places = bars["place"].to_numpy()
    for role, text in numbers.text.items():
        if role in COLUMNS:
            cells, values = columns[role], numbers.values[role]

            def example(i: int, role: str = role, cells: Any = cells, values: Any = values) -> str:
                return f"{role} {shown(cells.iloc[places[i]])} -> {values[places[i]]:.6g}"

            report.mark(bars, text[places], "number written as text", example)


def _adjusted(bars: pd.DataFrame, numbers: Numbers, report: Report) -> pd.DataFrame:
    """Prices adjusted for splits and dividends, where the table has them for every bar."""
    places = bars["place"].to_numpy()
    adjusted = {role: numbers.values[role][places] for role in ADJUSTED if role in numbers.values}
    close = bars["close"].to_numpy()
    if "adjclose" not in adjusted:
        return bars
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = adjusted["adjclose"] / close
    if not (np.isfinite(ratio) & (ratio > 0))[~np.isnan(close)].all() or np.isnan(close).all():
        report.note("adjusted prices incomplete, raw ones kept", len(bars))
        report.doubt(
            "The adjusted prices have holes, so the raw ones are used: splits may be in them."
        )
        return bars
    if np.allclose(ratio[~np.isnan(close)], 1, rtol=1e-9):
        return bars
    whole = all(
        f"adj{name}" in adjusted and np.isfinite(adjusted[f"adj{name}"]).all() for name in PRICES
    )
    used = "all four columns" if whole else "all prices by the ratio of the closes"
    i = int(np.nanargmax(abs(np.log(ratio))))
    report.note(
        "adjusted prices used",
        len(bars),
        f"{used}, close {close[i]:.6g} -> {close[i] * ratio[i]:.6g}",
    )
    new = {n: adjusted[f"adj{n}"] if whole else bars[n].to_numpy() * ratio for n in PRICES[:3]}
    new["close"] = np.where(np.isnan(close), np.nan, adjusted["adjclose"])
    if whole and "adjvolume" in adjusted and np.isfinite(adjusted["adjvolume"]).all():
        new["volume"] = adjusted["adjvolume"]
    return bars.assign(**new)
