"""What a command names as bars: files, standard input, the bundled set and its symbols."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..data.bars import BUNDLED, bundled_path, load_bars, repairs
from ..errors import DataError, shown

STDIN = "-"
ENDINGS = (".csv", ".parquet")
WIDE = 100  # characters of a name that a message shows


def read_sources(names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Validated bars of all that is named, and notes for a person: where bundled bars end, what was repaired.

    A name is that of a CSV or Parquet file, "-" (CSV on standard input), "djia" (the bundled set), or one of the
    bundled symbols in any case; a file goes before a symbol of the same name.
    Raises DataError on what can't be read or repaired, and if two names bring the same symbol, or only some dates.
    """
    parts: dict[str, pd.DataFrame] = {}
    notes = []
    for name in names:
        if name in parts:
            raise DataError(f"{shown(name, WIDE)} is named twice; name it once.")
        bars, bundled = _read(name)
        parts[name] = bars
        if bundled:  # its repairs are known: their number will do
            count, ends = repairs(bars)["count"].sum(), bars["date"].max()
            notes.append(f"{name}: bundled bars, which end on {ends:%Y-%m-%d} ({count} of them repaired)")
        else:
            notes += _repairs(name, bars)
    _check_apart(parts)
    bars = list(parts.values())
    return (bars[0] if len(bars) == 1 else pd.concat(bars, ignore_index=True)), notes


def _read(name: str) -> tuple[pd.DataFrame, bool]:
    """The bars that `name` stands for, and whether they are bundled ones. Live download will come in here."""
    if name == STDIN:
        return _standard_input(), False
    if name in BUNDLED:
        return load_bars(name), True
    if os.path.exists(name) and not os.path.isdir(name):  # a pipe is no regular file
        return load_bars(name), False
    symbols = _bundled_symbols()
    if name.upper() in symbols:
        return load_bars(BUNDLED[0], symbol=name.upper()), True
    if os.path.isdir(name):
        raise DataError(_folder(name))
    known = f", '{BUNDLED[0]}', or one of its symbols: {', '.join(symbols)}." if symbols else "."
    offer = f"give a CSV or Parquet file, '-' (standard input){known}"
    raise DataError(f"{shown(name, WIDE)} is neither a file nor a bundled symbol; {offer}")


def _standard_input() -> pd.DataFrame:
    if sys.stdin is None:
        raise DataError("Standard input is closed; pipe CSV into it, or name a file.")
    if sys.stdin.isatty():
        print("note: reading CSV from standard input; Ctrl-D ends it", file=sys.stderr, flush=True)
    return load_bars(getattr(sys.stdin, "buffer", sys.stdin))


def _bundled_symbols() -> list[str]:
    try:
        path = bundled_path(BUNDLED[0])
    except DataError:  # an installation without data: there is nothing to offer
        return []
    return sorted(pd.read_parquet(path, columns=["symbol"])["symbol"].astype(str).unique())


def _folder(name: str) -> str:
    """Why a folder can't be read, and what to name instead."""
    try:
        found = sorted(path for path in Path(name).iterdir() if path.suffix.lower() in ENDINGS)
    except OSError:
        found = []
    if not found:
        return f"{shown(name, WIDE)} is a folder without CSV or Parquet files; name a file."
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{shown(name, WIDE)} is a folder; name files in it: {', '.join(map(str, found[:3]))}{more}."


def _check_apart(parts: dict[str, pd.DataFrame]) -> None:
    """Raises DataError if a symbol comes from two sources, or if only some sources have dates."""
    owner: dict[str, str] = {}
    for name, bars in parts.items():
        for symbol in bars["symbol"].unique():
            if symbol in owner:
                both = f"{shown(owner[symbol], WIDE)} and in {shown(name, WIDE)}"
                raise DataError(
                    f"The symbol {symbol!r} is in {both}; leave one out, or tell them apart by a column 'symbol' "
                    "(without one, the file's name is the symbol)."
                )
            owner[symbol] = name
    dated = {name: bool(bars["date"].notna().any()) for name, bars in parts.items()}
    if len(set(dated.values())) > 1:
        bare = next(name for name, has in dated.items() if not has)
        raise DataError(
            f"{shown(bare, WIDE)} has no dates and other sources have; forecast it on its own, or give it dates."
        )


def _repairs(name: str, bars: pd.DataFrame) -> list[str]:
    where = "standard input" if name == STDIN else name
    return [
        f"{where}{f', {symbol}' if symbol != 'all' else ''}: {repair} ({count} x{f', first {first}' if first else ''})"
        for symbol, repair, count, first in repairs(bars)[["symbol", "repair", "count", "first"]].itertuples(
            index=False
        )
    ]
