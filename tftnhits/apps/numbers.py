"""The numbers of a batch: forecasts of all symbols at once, without notebooks."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from ..config import LEVEL
from ..data.bars import concat_bars
from ..data.read import readable
from ..errors import ConfigError, DataError, OutputError, quoted
from ..files import write_json
from ..forecast.blocks import predict_each, predict_some
from ..forecast.predictor import Predictor
from ..forecast.result import Forecast
from ..forecast.table import write_table
from .sources import read_sources, read_symbols
from .tasks import LIVE, Plan, in_blocks

FRAME, TABLE, DONE = "forecasts.parquet", "watchlist.parquet", "numbers.json"
EMPTY = "symbol origin date step last median median_pct low_80 high_80 low_93 high_93 width_vs_year"
EMPTY += " p_up age trend status model_used why"
LEFT_OUT = "left out"


def make_numbers(plan: Plan, progress: bool = True) -> tuple[pd.DataFrame, str | None]:
    """The watchlist of a batch, from its folder if it is there; and why it can't be kept there.

    Beside it lies forecasts.parquet. In both a row has its `variant` and, in a sweep, that one's
    parameters. Each symbol has a row a variant: one that can't be forecast has the reason. Raises
    ConfigError, CheckpointError and MissingDependency on settings that are wrong for all.
    """
    clock = time.perf_counter()
    kept = _kept(plan.folder)
    todo = set(plan.symbols)
    if kept is not None:  # live symbols that could not be had are tried again
        missing = kept[1].loc[kept[1]["status"] == LEFT_OUT, "symbol"]
        todo = {*missing} if plan.source is None else set()
        if not todo:
            return kept[1], None
    frame, table = _made(plan, sorted(todo), progress)
    if kept is not None:
        old = [part[~part["symbol"].isin(todo)] for part in kept]
        frame, table = pd.concat([old[0], frame]), pd.concat([old[1], table])
    table = _ordered(table, plan)
    try:
        write_table(frame, plan.folder / FRAME, "parquet")
        write_table(table, plan.folder / TABLE, "parquet")
        write_json(plan.folder / DONE, {"seconds": time.perf_counter() - clock})
    except OutputError as error:
        return table, str(error)
    return table, None


def _kept(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Forecasts and watchlist that an earlier call finished, unless they can't be read now."""
    if (folder / DONE).exists():
        with suppress(OSError, ValueError):  # pyarrow's own errors are of these kinds
            return pd.read_parquet(folder / FRAME), pd.read_parquet(folder / TABLE)
    return None


def _made(plan: Plan, todo: list[str], progress: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts and watchlist of the symbols to do, under every variant."""
    live, why = _live(plan, todo) if plan.source is None else (None, {})
    frames, tables = [], []
    made: dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]] = {}  # variants may share settings
    with tqdm(total=len(todo), desc="forecasts", unit=" symbols", disable=not progress) as bar:
        for i, parameters in enumerate(plan.variants):
            settings = plan.settings(parameters)
            key = json.dumps(settings, sort_keys=True)
            if key not in made:
                bar.reset()
                made[key] = list(_tables(_forecasts(plan, settings, todo, live), bar))
            given = {"variant": i, **{name: _plain(value) for name, value in parameters.items()}}
            tables += [_with(_reasons(why), given)] if why else []
            frames += [_with(frame, given) for frame, _ in made[key] if len(frame)]
            tables += [_with(table, given) for _, table in made[key] if len(table)]
    nothing = [_with(_reasons({}), {"variant": 0})]
    return tuple(pd.concat(one or nothing, ignore_index=True) for one in (frames, tables))


def _tables(
    pieces: Iterator[Forecast | dict[str, str]], bar: tqdm
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Each piece's forecasts and watchlist, without its bars: memory holds those of one block."""
    for piece in pieces:
        bar.update(len(piece if isinstance(piece, dict) else piece.reports))
        if isinstance(piece, dict):
            yield pd.DataFrame(), _reasons(piece)
        else:
            _keep(piece)
            yield piece.frame, piece.table()


def _keep(forecast: Forecast) -> None:
    """In the user's journal, what is of bars to come; numbers are made whether it can or not."""
    try:
        forecast.keep()
    except (ConfigError, OutputError) as error:
        warnings.warn(f"Forecasts are not kept in the journal: {error}", stacklevel=2)


def _with(table: pd.DataFrame, given: dict[str, Any]) -> pd.DataFrame:
    """The table with a column for each parameter, unless it has one of that name: origin, say."""
    return table.assign(**{name: value for name, value in given.items() if name not in table})


def _forecasts(
    plan: Plan, settings: dict[str, Any], symbols: list[str], live: pd.DataFrame | None
) -> Iterator[Forecast | dict[str, str]]:
    """Forecasts of the symbols, and why others have none: by blocks where the source allows it."""
    model = Predictor.load(settings.get("model") or None, settings.get("device", "auto"))
    asked = (settings.get("horizon"), settings.get("level", LEVEL), settings.get("calendar"))
    try:
        if plan.source is None:
            if live is not None:
                yield from predict_each(model, live, symbols, *asked)
        elif in_blocks(plan.source):
            yield from predict_some(model, plan.source, symbols, *asked)
        else:
            bars, _ = read_sources([plan.source], extra=model.panel_config.extra)
            yield bars.attrs.get("skipped", {})
            yield from predict_each(model, bars, symbols, *asked)
    except DataError as error:  # of the source: of symbols it is among the reasons
        yield dict.fromkeys(symbols, str(error))


def _live(plan: Plan, todo: list[str]) -> tuple[pd.DataFrame | None, dict[str, str]]:
    """Live bars, with those that the folder has, kept there for the pages; why others are not."""
    path = plan.folder / LIVE
    bars, why = read_symbols(todo)
    parts = [] if bars is None else [bars]
    if (plan.folder / DONE).exists() and path.exists():
        with readable(f"{path} can't be read"):
            parts.insert(0, pd.read_parquet(path))  # with what is known of its symbols
    if not parts:
        return None, why
    bars = concat_bars(parts)
    write_table(bars, path, "parquet")
    return bars, why


def _reasons(why: dict[str, str]) -> pd.DataFrame:
    """Rows of a watchlist for symbols that have no forecast."""
    table = pd.DataFrame({"symbol": list(why), "why": list(why.values())}, dtype=object)
    return table.assign(status=LEFT_OUT, trend="")


def _ordered(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """A row for each symbol and variant, in the batch's order, whatever is known of it."""
    if "last" not in table:  # nothing was forecast
        table = table.reindex(columns=[*EMPTY.split(), *table.columns.difference(EMPTY.split())])
    wanted = [(task.symbol, task.variant) for task in plan.tasks()]
    table = table.drop_duplicates(["symbol", "variant"]).set_index(["symbol", "variant"])
    rows = pd.MultiIndex.from_tuples(wanted, names=table.index.names)
    table = table.reindex(rows).reset_index()
    where = "live" if plan.source is None else f"in {quoted(plan.source, 200)}"
    absent = table["status"].isna()
    reasons = [f"There is no symbol {quoted(name)} {where}." for name in table["symbol"]]
    table["why"] = table["why"].where(~absent, pd.Series(reasons, index=table.index))
    table["status"] = table["status"].where(~absent, LEFT_OUT)
    return table.assign(trend=table["trend"].fillna(""))


def _plain(value: Any) -> Any:
    """A parameter as a cell of a table: lists and dicts as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value
