"""Bars from anywhere: read → name the columns → parse each whole → judge → repair and count."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, printable, quoted
from .cells import MAX_SYMBOL
from .dates import is_zone
from .findings import ALL, REPORT, Report
from .names import COLUMNS, PRICES, listed, text_of
from .parse import Options, parse_table, plain_bars
from .read import Table, readable
from .repair import repair
from .sources import read_tables

ENDINGS = re.compile(
    r"(\.(csv|txt|tsv|json|parquet|pq|feather|arrow|gz|zip|dat|asc|prn|data|jsonl|ndjson))+$", re.I
)
TICKER = re.compile(r"\^?[A-Za-z0-9]{1,6}([.=-][A-Za-z0-9]{1,4})?")  # BRK-B, 7203.T, EURUSD=X
BUNDLED = ("stocks", "eurusd")  # sets of symbols in one file
HOURLY = ("EURUSD",)  # the symbols of "eurusd"; "stocks" has all others
# of attrs, by symbol, that bars keep when read again, from their Parquet file, too
CARRIED = ("zones", "doubts", "skipped")

log = logging.getLogger("tftnhits")


def load_bars(
    source: Any,
    symbol: str | None = None,
    *,
    columns: dict[str, Any] | None = None,
    dayfirst: bool | None = None,
    decimal: str | None = None,
    adjusted: bool = True,
    strict: bool = False,
    extra: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Validated bars of any source, in one tidy frame.

    Parameters
    ----------
    source
        "stocks" or "eurusd" (bundled); a CSV or other text file, Parquet, Feather or JSON, also in
        .gz or .zip; an open file; a frame of pandas, polars or pyarrow, tidy or of yfinance; rows
        `[open, high, low, close(, volume)]`, with a time first or not; records; a dict of columns,
        or symbol -> any of these.
    symbol
        Names the bars of a source that doesn't (default: the file's stem, else "series"); of a
        source with symbols of its own it takes that one.
    columns
        Role -> the source's name for it, such as {"date": "trade_date"}; goes before all guesses.
    dayfirst, decimal
        How 01/02/2020 and 1,474 are to be read; None tells it from the whole file.
    adjusted
        Use adjusted prices where the source has them beside the raw ones, all of them.
    strict
        Raise at the first symbol that can't be repaired, instead of leaving it out.
    extra
        Names of further columns of numbers to keep: inputs of a model (PanelConfig.extra_observed).

    Returns
    -------
    pd.DataFrame
        symbol, date (local time without a zone, NaT if unknown), open, high, low, close, volume,
        extra (float64, NaN if unknown), sorted by symbol and date. attrs, by symbol: "zones" where
        known, "doubts" (sentences on what was guessed, or repaired among the last bars), "skipped"
        (why it was left out); "repairs", see `repairs`; "unused", columns that look like inputs.

    Raises
    ------
    DataError
        One sentence on what can't be read or repaired; rows count from 1 without the header.
    ConfigError
        An extra column whose name is that of a bar's own.
    """
    options = Options(symbol, columns, dayfirst, decimal, adjusted, extra)
    bars = read_bars(source, options, strict)
    if lacking := [name for name in extra if name not in bars.columns]:
        raise DataError(
            f"The bars have no column {quoted(lacking[0])}, which extra names; found "
            f"{listed([*bars.columns, *bars.attrs['unused']])}."
        )
    return bars


def read_bars(source: Any, options: Options, strict: bool = False) -> pd.DataFrame:
    """`load_bars`, without those of the extra columns that the source doesn't have."""
    report = Report(strict)
    if isinstance(source, str) and source in BUNDLED:
        source = bundled_bars(source)
    elif isinstance(source, str):
        _refuse_symbol(source)
    bars, before = None, [getattr(source, "attrs", {})]
    if options == Options(extra=options.extra):  # nothing said of how to read it
        bars = plain_bars(source, "series", report, options.extra)
    if bars is None:
        name = "The open file" if hasattr(source, "read") else ""
        if isinstance(source, str | os.PathLike):
            name = quoted(os.fspath(source), 200)
        try:
            with readable("The bars can't be read"):
                tables = read_tables(source, options.symbol or _default_symbol(source))
            before += [table.attrs for _, table in tables]
            bars = _parsed(tables, options, report)
        except DataError as error:
            if not name or name.lower() in str(error).lower():
                raise
            raise type(error)(f"{name}: {error}") from error
    bars = _public(repair(bars, report), report, _known(before))
    if log.isEnabledFor(logging.INFO):
        what = len(bars), bars["symbol"].nunique(), len(report.entries)
        log.info("%d bars of %d symbols loaded, %d kinds of repairs", *what)
    return bars


def validate_bars(
    frame: pd.DataFrame, strict: bool = True, extra: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Repaired bars of a tidy frame, and the report of the repairs; a second pass repairs nothing.

    Parameters
    ----------
    frame : columns symbol, open, high, low, close, and if there are any date and volume
    strict : raise at the first symbol that can't be repaired, instead of leaving it out
    extra : further columns to keep, where there are any

    Returns
    -------
    bars, report
        As `load_bars`; symbol, repair, count, first (date or row), example. Symbol "all" stands for
        the whole source.

    Raises
    ------
    DataError
        On missing or double columns, and what can't be repaired.
    """
    report = Report(strict)
    if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels > 1:
        raise DataError(
            "validate_bars takes a data frame with plain columns; load_bars takes others."
        )
    bars = plain_bars(frame, "series", report, extra)
    if bars is None:
        if missing := [name for name in ("symbol", *PRICES) if name not in frame.columns]:
            raise DataError(
                f"Missing column {', '.join(missing)}; found {listed(frame.columns)}. "
                "Rename or add what is missing."
            )
        plain = frame.set_axis(np.arange(1, len(frame) + 1), axis=0)
        plain.attrs = {}
        exact = {name: name for name in COLUMNS if name in frame.columns}
        options = Options(columns=exact, adjusted=False, extra=extra)
        bars = _parsed([("series", Table(plain))], options, report)
    bars = _public(repair(bars, report), report, _known([frame.attrs]))
    return bars, repairs(bars)


def repairs(bars: pd.DataFrame) -> pd.DataFrame:
    """What `load_bars` repaired or inferred: symbol, repair, count, first date or row, example."""
    return pd.DataFrame(bars.attrs.get("repairs", []), columns=list(REPORT))


def former_repairs(source: Any) -> list[dict[str, Any]]:
    """The entries that an earlier reading left with a frame: `load_bars` tells of its own alone."""
    entries = getattr(source, "attrs", {}).get("repairs", [])
    entries = entries if isinstance(entries, list) else []
    return [one for one in entries if isinstance(one, dict) and {*REPORT} <= {*one}]


def concat_bars(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Validated bars of several sources in one frame, with what is known of each symbol."""
    bars = pd.concat(parts, ignore_index=True)
    bars.attrs = {"repairs": [one for part in parts for one in part.attrs.get("repairs", [])]}
    for key in CARRIED:
        bars.attrs[key] = {k: v for part in parts for k, v in part.attrs.get(key, {}).items()}
    # what is doubted of a whole source is doubted of its symbols, not of other sources'
    bars.attrs["doubts"].pop(ALL, None)
    unused = [name for part in parts for name in part.attrs.get("unused", [])]
    bars.attrs["unused"] = [*dict.fromkeys(unused)]
    for part in parts:
        of_all = part.attrs.get("doubts", {}).get(ALL, [])
        for name in part["symbol"].unique() if of_all else ():
            bars.attrs["doubts"][name] = [*of_all, *bars.attrs["doubts"].get(name, [])]
    return bars


def bundled_bars(name: str) -> pd.DataFrame:
    """The bars of a bundled set; raises DataError if they aren't there."""
    frame = pd.read_parquet(bundled_path())
    hourly = frame["symbol"].isin(HOURLY)
    return frame[hourly if name == "eurusd" else ~hourly]


def bundled_path() -> Path:
    """Where the bundled bars lie: in the folder TFTNHITS_DATA, else in data/ beside the package."""
    override = os.environ.get("TFTNHITS_DATA")
    folder = Path(override) if override else Path(__file__).resolve().parents[2] / "data"
    path = folder / "bars.parquet"
    if not path.is_file():
        raise DataError(f"The bundled bars are not at {path}; set TFTNHITS_DATA to their folder.")
    return path


def bundled_symbols() -> list[str]:
    """Those of "stocks": they are also Yahoo's, which calls EURUSD by another name."""
    try:
        path = bundled_path()
    except DataError:  # an installation without data: there is nothing to offer
        return []
    return sorted({*pd.read_parquet(path, columns=["symbol"])["symbol"].astype(str)} - {*HOURLY})


def _refuse_symbol(name: str) -> None:
    """Raises DataError with the right calls for what is no file, but looks like a symbol."""
    if not TICKER.fullmatch(name) or ENDINGS.search(name) or os.path.exists(name):
        return
    offer = f"tn.download_bars({name.upper()!r}) gets live bars"
    if symbols := bundled_symbols():
        offer += ", and bundled are 'stocks' and 'eurusd'"
        if name.upper() in symbols:
            offer += f", as tn.load_bars('stocks', symbol={name.upper()!r})"
    raise DataError(
        f"There is no file {name!r}; give the path of one, or if it is a symbol: {offer}."
    )


def _default_symbol(source: Any) -> str:
    """The stem of a file's name, without the endings of archives."""
    if not isinstance(source, str | os.PathLike):
        return "series"
    name = Path(os.fsdecode(source)).name
    return printable(text_of(ENDINGS.sub("", name)), MAX_SYMBOL) or "series"


def _parsed(tables: list[tuple[str, Table]], options: Options, report: Report) -> pd.DataFrame:
    """The typed bars of all tables; one that can't be read leaves only its symbols out."""
    parts = []
    for name, table in tables:
        try:
            parts.append(parse_table(table, name, options, report))
        except DataError as error:
            if report.strict or len(tables) == 1:
                raise
            report.skipped[name] = str(error)
    if not parts:
        raise DataError(next(iter(report.skipped.values())))
    bars = pd.concat(parts, ignore_index=True)
    bars["code"], names = pd.factorize(bars.pop("symbol"), sort=True)  # one a symbol over all
    report.names = names.tolist()
    return bars


def _known(attrs: list[dict[Any, Any]]) -> dict[str, Any]:
    """What earlier readings left, less what is of another kind: a file is anyone's."""
    known: dict[str, Any] = {key: {} for key in CARRIED}
    unused: list[str] = []
    for one in attrs:
        for key in CARRIED:
            by_symbol = one.get(key)
            known[key] |= by_symbol if isinstance(by_symbol, dict) else {}
        unused += one["unused"] if _are_texts(one.get("unused")) else []
    zones, doubts, skipped = (known[key].items() for key in CARRIED)
    return {
        "zones": {name: zone for name, zone in zones if isinstance(zone, str) and is_zone(zone)},
        "doubts": {
            name: [printable(line, 500) for line in lines]
            for name, lines in doubts
            if _are_texts(lines)
        },
        "skipped": {name: why for name, why in skipped if isinstance(why, str)},
        "unused": unused,
    }


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _public(bars: pd.DataFrame, report: Report, former: dict[str, Any]) -> pd.DataFrame:
    """The public frame, with the report and what a former reading found in its attrs."""
    code = bars["code"].to_numpy()
    symbol = pd.Series(report.names, dtype=str).array.take(code)
    extra = [name for name in bars.columns if name not in (*COLUMNS, "code", "row")]
    columns = {name: bars[name].to_numpy() for name in (*COLUMNS[1:], *extra)}
    out = pd.DataFrame({"symbol": symbol, **columns})
    for name, sentences in former["doubts"].items():
        for sentence in sentences:
            report.doubt(sentence, name)
    present = {ALL, *(report.names[i] for i in np.unique(code))}
    zones = former["zones"] | report.zones
    out.attrs["zones"] = {name: zone for name, zone in zones.items() if name in present}
    out.attrs["doubts"] = {name: report.doubts[name] for name in report.doubts if name in present}
    out.attrs["skipped"] = former["skipped"] | report.skipped
    unused = dict.fromkeys([*former["unused"], *report.unused])
    out.attrs["unused"] = [name for name in unused if name not in extra]
    entries = sorted(report.entries.values(), key=lambda entry: (entry[0] != ALL, entry[0]))
    out.attrs["repairs"] = [dict(zip(REPORT, entry, strict=True)) for entry in entries]
    return out
