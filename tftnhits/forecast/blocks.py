"""Forecasts of more symbols than fit in memory: Parquet files, read by block of symbols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from ..config import LEVEL
from ..data.crowd import Crowd
from ..data.names import role_of
from ..data.read import readable
from ..errors import DataError, quoted
from .predictor import Predictor
from .result import Forecast, review


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
    model = copy.copy(model)
    model.crowd = Crowd()
    for bars in _blocks(path, block):
        fit, _ = review(model.read(bars), model.least)
        model.crowd.add(fit, model.fitted, calendar)
    for bars in _blocks(path, block):
        yield model.predict(bars, horizon, level, calendar=calendar)


def _blocks(path: str | Path, block: int) -> Iterator[pd.DataFrame]:
    """The rows of `block` symbols at a time, by name, as the files have them."""
    if not Path(path).exists():
        raise DataError(
            f"There is no {quoted(str(path), 200)}; name a Parquet file or a folder of them."
        )
    what = f"{quoted(str(path), 200)} can't be read as Parquet"
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
    for first in range(0, len(names), block):
        some = names[first : first + block]
        with readable(what):
            within = (dataset.field(label) >= some[0]) & (dataset.field(label) <= some[-1])
            bars = data.to_table(filter=within).to_pandas()
        yield bars
