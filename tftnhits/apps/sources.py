"""What a command names as bars: files, standard input, symbols, live or bundled, and the bundled set."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.bars import BUNDLED, HOURLY, bundled_path, concat_bars, load_bars, repairs
from ..data.yahoo import download_bars, is_symbol
from ..errors import DataError, DownloadError, MissingDependency, TftnhitsError, shown

STDIN = "-"
ENDINGS = (".csv", ".parquet")
# no exchange is called that
FILES = (
    *ENDINGS,
    ".arrow",
    ".feather",
    ".gz",
    ".json",
    ".pq",
    ".tsv",
    ".txt",
    ".xls",
    ".xlsx",
    ".zip",
)
YEARS = 15  # of live bars: enough to train on
WIDE = 100  # characters of a name that a message shows


def read_sources(names: Sequence[str], **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """Validated bars of all that is named, and notes for a person: whose bars they are, what was repaired.

    A name is that of a file that load_bars takes, "-" (standard input), "stocks" or "eurusd" (the bundled sets), or a
    symbol of Yahoo Finance in any case; a file goes before a symbol of the same name. A symbol's bars are live; if that
    can't be, bundled ones where there are. `options` are load_bars' for files and standard input.
    Raises DataError on what can't be read or repaired, and if two names bring the same symbol, or only some dates;
    DownloadError and MissingDependency for a symbol whose bars are neither live nor bundled to be had.
    """
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise DataError(f"{shown(twice, WIDE)} is named twice; name it once.")
    bundled = _bundled_symbols()
    wanted = [name for name in names if _wants_live(name, bundled)]
    # before anything is downloaded
    read = {
        name: _read(name, bundled, options) for name in names if name not in (*wanted, *BUNDLED)
    }
    live = _live(wanted)
    parts: dict[str, pd.DataFrame] = {}
    notes = []
    for name in names:
        bars, failed = read.get(name, live.get(name)), None
        if isinstance(bars, TftnhitsError):
            bars, failed = None, bars
            if name.upper() not in bundled:
                raise _neither(name, bundled, failed)
        if bars is not None:
            notes += _repairs(name, bars)
        else:  # the bundled ones' repairs are known: their number will do
            bars = load_bars(name) if name in BUNDLED else load_bars("stocks", symbol=name.upper())
            count, ends = repairs(bars)["count"].sum(), bars["date"].max()
            why = f"; {_reason(failed)}" if failed else ""
            notes.append(
                f"{name}: bundled bars, which end on {ends:%Y-%m-%d} ({count} of them repaired){why}"
            )
        parts[name] = bars
    notes += dict.fromkeys(
        text for bars in parts.values() for text in bars.attrs.get("warnings", [])
    )
    _check_apart(parts)
    bars = list(parts.values())
    return (bars[0] if len(bars) == 1 else concat_bars(bars)), notes


def _wants_live(name: str, bundled: Sequence[str]) -> bool:
    if name in (STDIN, *BUNDLED) or not is_symbol(name) or name.lower().endswith(FILES):
        return False
    return not os.path.exists(name) or (os.path.isdir(name) and name.upper() in bundled)


def _live(names: list[str]) -> dict[str, pd.DataFrame | TftnhitsError]:
    """Each name's live bars, or why there are none; where Yahoo fails, that is for all, so that they go together."""
    if not names:
        return {}
    today = date.today()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are among the bars' attrs
            bars = download_bars(
                names, today.replace(year=today.year - YEARS, day=min(today.day, 28))
            )
    except (DownloadError, MissingDependency) as error:
        return dict.fromkeys(names, error)
    except DataError as error:  # of one of them: the others are cached now
        return (
            {names[0]: error}
            if len(names) == 1
            else {k: v for name in names for k, v in _live([name]).items()}
        )
    found = {}
    for name in names:
        found[name] = bars[bars["symbol"] == name.upper()].reset_index(drop=True)
        own = [
            repair for repair in bars.attrs["repairs"] if repair["symbol"] in (name.upper(), "all")
        ]
        found[name].attrs["repairs"] = own
    return found


def _reason(error: TftnhitsError) -> str:
    """The first clause of its sentence: the rest tells what to do in Python."""
    return str(error).split(";")[0].split(", and ")[0].rstrip(".")


def _read(name: str, bundled: Sequence[str], options: dict[str, Any]) -> pd.DataFrame:
    """The bars of a file or of standard input."""
    if name == STDIN:
        return _standard_input(options)
    if os.path.isdir(name):
        raise DataError(_folder(name))
    if os.path.exists(name):  # a pipe is no regular file
        return load_bars(name, **options)
    raise _neither(name, bundled)


def _neither(
    name: str, bundled: Sequence[str], failed: TftnhitsError | None = None
) -> TftnhitsError:
    """What to name instead; `failed` says why a symbol's bars are not live."""
    known = (
        f", 'stocks', 'eurusd', or one of the bundled symbols: {', '.join(bundled)}."
        if bundled
        else "."
    )
    offer = f"give a file of bars, '-' (standard input){known}"
    if isinstance(failed, MissingDependency):
        offer = f"pip install 'tftnhits[live-data]', or {offer}"
    why = f", and {_reason(failed)}" if failed else ""
    kind = type(failed) if failed else DataError
    return kind(f"{shown(name, WIDE)} is neither a file nor a bundled symbol{why}; {offer}")


def _standard_input(options: dict[str, Any]) -> pd.DataFrame:
    if sys.stdin is None:
        raise DataError("Standard input is closed; pipe CSV into it, or name a file.")
    if sys.stdin.isatty():
        print("note: reading CSV from standard input; Ctrl-D ends it", file=sys.stderr, flush=True)
    return load_bars(getattr(sys.stdin, "buffer", sys.stdin), **options)


def _bundled_symbols() -> list[str]:
    """Those of "stocks": they are also Yahoo's, which calls EURUSD by another name."""
    try:
        path = bundled_path()
    except DataError:  # an installation without data: there is nothing to offer
        return []
    return sorted({*pd.read_parquet(path, columns=["symbol"])["symbol"].astype(str)} - {*HOURLY})


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
        f"{where}{f', {symbol}' if symbol not in ('all', name.upper()) else ''}: {repair} "
        f"({count} x{f', first {first}' if first else ''})"
        for symbol, repair, count, first in repairs(bars)[
            ["symbol", "repair", "count", "first"]
        ].itertuples(index=False)
    ]
