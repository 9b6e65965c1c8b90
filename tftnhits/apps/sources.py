"""What a command names as bars: files, standard input, symbols, live or bundled."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..data.bars import BUNDLED, bundled_symbols, concat_bars, load_bars, read_bars, repairs
from ..data.live import first_day, reason, stand_in
from ..data.parse import Options
from ..data.yahoo import download_bars, is_symbol
from ..errors import DataError, DownloadError, MissingDependency, TftnhitsError, quoted

STDIN = "-"
# no exchange is called that
ENDINGS = (".csv", ".tsv", ".txt", ".json", ".parquet", ".pq", ".feather", ".arrow")
ENDINGS += (".xls", ".xlsx", ".gz", ".zip")


def read_sources(names: Sequence[str], **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """Validated bars of all that is named, and notes on whose bars they are and what was repaired.

    Parameters
    ----------
    names : each a file; "-" for standard input; "stocks" or "eurusd", the bundled sets; or a symbol
        of Yahoo Finance in any case, whose bundled bars stand in where live ones can't be had. A
        file goes before a symbol of the same name.
    options : load_bars' for files and standard input; they need not have its `extra` columns

    Raises
    ------
    DataError (unreadable, named twice, one symbol from two sources, dates in some alone),
    DownloadError, MissingDependency (no symbol is live or bundled to be had, or with `strict` one
    is not; else it is among the bars' attrs["skipped"])
    """
    for name in names:
        if list(names).count(name) > 1:
            raise DataError(f"{quoted(name, 100)} is named twice; name it once.")
    bundled = bundled_symbols()
    symbols = [name for name in names if _is_live(name, bundled)]
    # files before anything is downloaded
    sources = {name: _read(name, bundled, options) for name in names if name not in symbols}
    reasons = dict.fromkeys(set(sources) & set(BUNDLED), "")  # why bars are not live
    live, stand_ins, left_out = _live(symbols, bundled)
    sources |= live
    reasons |= stand_ins
    if left_out and (options.get("strict") or not sources):
        raise next(iter(left_out.values()))
    _check_apart(sources)
    notes = []
    for name in names:
        if name in sources:
            notes += _notes(name, sources[name], reasons.get(name))
    frames = [sources[name] for name in names if name in sources]
    bars = frames[0] if len(frames) == 1 else concat_bars(frames)
    bars.attrs["skipped"] |= {name.upper(): str(why) for name, why in left_out.items()}
    return bars, list(dict.fromkeys(notes))


def read_symbols(symbols: Sequence[str]) -> tuple[pd.DataFrame | None, dict[str, str]]:
    """Bars of symbols of Yahoo Finance, and of each symbol without any the reason.

    Bundled bars stand in where live ones can't be had, and their forecast's warnings say so. No
    symbol is taken for a file. The bars are None where no symbol has any.
    """
    bundled = bundled_symbols()
    foreign = {name: _unknown(name, bundled) for name in symbols if not is_symbol(name)}
    live, _, left_out = _live([name for name in symbols if name not in foreign], bundled)
    frames = list(live.values())
    reasons = {name: str(error) for name, error in (foreign | left_out).items()}
    return concat_bars(frames) if frames else None, reasons


def _live(
    symbols: list[str], bundled: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, str], dict[str, TftnhitsError]]:
    """The bars of symbols; of those whose bundled bars stand in, why; why others have none."""
    frames: dict[str, pd.DataFrame] = {}
    reasons: dict[str, str] = {}
    left_out: dict[str, TftnhitsError] = {}
    for name, bars in _download(symbols).items():
        if isinstance(bars, TftnhitsError):
            error = bars
            if name.upper() not in bundled:
                left_out[name] = _unknown(name, bundled, error)
                continue
            reasons[name] = f"; {reason(error)}"
            bars = stand_in(name, error)
        frames[name] = bars
    return frames, reasons, left_out


def _is_live(name: str, bundled: Sequence[str]) -> bool:
    if name in (STDIN, *BUNDLED) or name.lower().endswith(ENDINGS) or not is_symbol(name):
        return False
    return not os.path.exists(name) or (os.path.isdir(name) and name.upper() in bundled)


def _read(name: str, bundled: Sequence[str], options: dict[str, Any]) -> pd.DataFrame:
    """The bars of a file, of standard input or of a bundled set."""
    options = {**options}
    strict = options.pop("strict", False)
    if name == STDIN:
        if sys.stdin is None:
            raise DataError("Standard input is closed; pipe CSV into it, or name a file.")
        if sys.stdin.isatty():
            print("note: reading CSV from standard input; Ctrl-D ends it", file=sys.stderr)
        return read_bars(getattr(sys.stdin, "buffer", sys.stdin), Options(**options), strict)
    if name in BUNDLED:
        return load_bars(name)
    if os.path.isdir(name):
        raise DataError(f"{quoted(name, 100)} is a folder; name a file of bars.")
    if not os.path.exists(name):  # a pipe is no regular file
        raise _unknown(name, bundled)
    return read_bars(name, Options(**options), strict)


def _download(symbols: list[str]) -> dict[str, pd.DataFrame | TftnhitsError]:
    """Each symbol's live bars, or why there are none."""
    if not symbols:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are among the bars' attrs
            bars = download_bars(symbols, first_day())
    except (DownloadError, MissingDependency) as error:  # Yahoo fails: for all of them
        return dict.fromkeys(symbols, error)
    except DataError as error:  # of one of them: the others are cached now
        if len(symbols) == 1:
            return {symbols[0]: error}
        return {key: bars for name in symbols for key, bars in _download([name]).items()}
    live = {}
    for name in symbols:
        frame = bars[bars["symbol"] == name.upper()].reset_index(drop=True)
        of_symbol = (name.upper(), "all")
        frame.attrs["repairs"] = [r for r in bars.attrs["repairs"] if r["symbol"] in of_symbol]
        live[name] = frame
    return live


def _unknown(
    name: str, bundled: Sequence[str], error: TftnhitsError | None = None
) -> TftnhitsError:
    """What to name instead; `error` says why a symbol's bars are not live."""
    why = f", and {reason(error)}" if error else ""
    offer = "give a file of bars or '-' (standard input)"
    if isinstance(error, MissingDependency):
        offer = f"pip install 'tftnhits[live-data]', or {offer}"
    if bundled:
        offer += f", 'stocks', 'eurusd', or one of the bundled symbols: {', '.join(bundled)}"
    kind = type(error) if error else DataError
    return kind(f"{quoted(name, 100)} is neither a file nor a bundled symbol{why}; {offer}.")


def _notes(name: str, bars: pd.DataFrame, bundled: str | None) -> list[str]:
    """What to know of a source's bars; `bundled` is why bundled ones stand in, None if none do."""
    repaired = repairs(bars)
    warned = bars.attrs.get("warnings", [])
    if bundled is not None:  # the bundled bars' repairs are known: their number will do
        last, count = bars["date"].max(), repaired["count"].sum()
        note = f"{name}: bundled bars, which end on {last:%Y-%m-%d} ({count} of them repaired)"
        return [note + bundled, *warned]
    notes = []
    for row in repaired.itertuples(index=False):
        symbol = "" if row.symbol in ("all", name.upper()) else f", {row.symbol}"
        first = f", first {row.first}" if row.first else ""
        notes.append(f"{name}{symbol}: {row.repair} ({row.count} x{first})")
    return notes + warned


def _check_apart(sources: dict[str, pd.DataFrame]) -> None:
    """Raises DataError if a symbol comes from two sources, or if only some sources have dates."""
    source_of: dict[str, str] = {}
    for name, bars in sources.items():
        for symbol in bars["symbol"].unique():
            other = source_of.setdefault(symbol, name)
            if other != name:
                raise DataError(
                    f"The symbol {symbol!r} is in {quoted(other, 100)} and in {quoted(name, 100)}; "
                    "leave one out, or tell them apart by a column 'symbol'."
                )
    bare = [name for name, bars in sources.items() if bars["date"].isna().all()]
    if bare and len(bare) < len(sources):
        raise DataError(
            f"{quoted(bare[0], 100)} has no dates and other sources have; forecast it alone."
        )
