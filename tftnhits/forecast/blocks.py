"""Forecasts of more symbols than fit in memory: Parquet files, read by block of symbols."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..config import LEVEL
from ..data.crowd import Crowd
from ..data.names import role_of
from ..data.read import readable
from ..errors import DataError, quoted
from .predictor import Predictor
from .remarks import review
from .result import Forecast

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


def predict_folder(
    model: Predictor,
    path: str | Path,
    horizon: int | None = None,
    level: float = LEVEL,
    calendar: str | Mapping[str, str | None] | None = None,
    block: int = 250,
) -> Iterator[Forecast]:
    """Forecast from the last bar of every symbol of a Parquet file or folder, block by block.

    Forecasts are those of one `predict` of all bars: a first pass gathers what the market did. Only
    remarks that compare symbols (an old last bar) compare those of a block.

    Parameters
    ----------
    path : file, or folder of files, read fastest where each has a range of the symbols
    horizon, level, calendar : as of `predict`
    block : symbols that are read at a time, which bounds memory

    Yields
    ------
    Forecast of the symbols of a block, by name.

    Raises
    ------
    DataError : no such files, or no symbols in them
    DataError, ConfigError, MissingDependency : as `predict`, of a block of which it forecasts none
    """
    model = _with_crowd(model, path, calendar, block)
    for bars in _blocks(path, block):
        yield model.predict(bars, horizon, level, calendar=calendar)


def predict_some(
    model: Predictor,
    path: str | Path,
    symbols: Iterable[str],
    horizon: int | None = None,
    level: float = LEVEL,
    calendar: str | Mapping[str, str | None] | None = None,
    block: int = 250,
) -> Iterator[Forecast | dict[str, str]]:
    """As `predict_folder`, but of the named symbols of the files, and a bad block stops no other.

    Where nothing of a block can be forecast together, each of its symbols is forecast alone, and
    of one that can't be a dict gives the reason. Raises as `predict_folder` on the files.
    """
    wanted = set(symbols)
    model = _with_crowd(model, path, calendar, block)
    for bars in _blocks(path, block, wanted):
        label = next(name for name in bars if role_of(name) == "symbol")
        bars[label] = bars[label].astype(str)
        yield from predict_each(model, bars, wanted, horizon, level, calendar, label)


def predict_each(
    model: Predictor,
    bars: pd.DataFrame,
    symbols: Iterable[str],
    horizon: int | None = None,
    level: float = LEVEL,
    calendar: str | Mapping[str, str | None] | None = None,
    label: str = "symbol",
) -> Iterator[Forecast | dict[str, str]]:
    """One forecast of those of the symbols that bars have; if that fails, each by itself.

    `label` is the column of symbols. Of a symbol that can't be forecast a dict gives the reason.
    """
    some = sorted(set(symbols) & {*bars[label].unique()})
    if not some:
        return
    try:
        yield model.predict(bars, horizon, level, calendar=calendar, symbols=some)
    except DataError as error:
        if len(some) == 1:
            yield {some[0]: str(error)}
            return
        for name in some:
            one = bars[bars[label] == name]
            yield from predict_each(model, one, [name], horizon, level, calendar, label)


def symbols_in(path: str | Path) -> list[str]:
    """The symbols of a Parquet file or folder, by name; raises DataError, also if it has none."""
    _, _, names = _opened(path)
    return [str(name) for name in names]


def _with_crowd(
    model: Predictor,
    path: str | Path,
    calendar: str | Mapping[str, str | None] | None,
    block: int,
) -> Predictor:
    """A copy of the model that knows what the market of all blocks did."""
    model = copy.copy(model)
    model.crowd = Crowd()
    for bars in _blocks(path, block):
        with suppress(DataError):  # of bars alone: they are no part of the market
            fit, _ = review(model.read(bars), model.least)
            model.crowd.add(fit, model.fitted, calendar)
    return model


def _blocks(path: str | Path, block: int, wanted: set[str] | None = None) -> Iterator[pd.DataFrame]:
    """The rows of `block` symbols at a time, by name, as the files have them.

    Blocks without a symbol that is `wanted` are not read.
    """
    data, label, names = _opened(path)
    from pyarrow.dataset import field

    for first in range(0, len(names), block):
        some = names[first : first + block]
        if wanted is not None and wanted.isdisjoint(map(str, some)):
            continue
        with readable(_unreadable(path)):
            within = (field(label) >= some[0]) & (field(label) <= some[-1])
            bars = data.to_table(filter=within).to_pandas()
        yield bars


def _unreadable(path: str | Path) -> str:
    return f"{quoted(str(path), 200)} can't be read as Parquet"


def _opened(path: str | Path) -> tuple[Dataset, str, list[Any]]:
    """The files, their column of symbols, and the symbols in it in order; raises DataError."""
    if not Path(path).exists():
        raise DataError(
            f"There is no {quoted(str(path), 200)}; name a Parquet file or a folder of them."
        )
    what = _unreadable(path)
    with readable(what):
        from pyarrow import dataset

        data = dataset.dataset(path, format="parquet", partitioning="hive")
        label = next((name for name in data.schema.names if role_of(name) == "symbol"), None)
        symbols: set[str | None] = set()
        for batch in data.to_batches(columns=[label] if label else []):
            symbols.update(batch.column(0).unique().to_pylist() if label else [])
        names = sorted(symbols - {None})
    if not names:
        raise DataError(f"{what} of several symbols; give its files a column symbol.")
    return data, label, names
