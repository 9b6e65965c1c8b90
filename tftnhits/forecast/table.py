"""A forecast's frame, and the watchlist: many symbols as one row each, and written to a file.

All symbols are worked on at once, as arrays [S]: 5,000 of them take a fraction of their forecast.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data import features as F
from ..data.patterns import sessions_since
from ..data.windows import Panel
from ..errors import ConfigError, MissingDependency, OutputError, quoted
from ..escape import csv_text, without_formulas
from ..files import atomic_write
from ..probability import ndtr, ndtri
from .conformal import YEAR, outcome_scores, quantiles_at
from .ensemble import WALK
from .own import LEAST, WARM, own_history
from .pools import pool_scores
from .result import Forecast, SymbolReport, quantile_columns

if TYPE_CHECKING:
    from .predictor import Predictor

INNER = 0.8  # level of the interval shown beside the forecast's own, and whose width is compared
TREND, PER_MARK = 60, 3  # closes that a trend shows, and of how many of them a mark is the mean
MARKS = np.array(list("▁▂▃▄▅▆▇█"))
MOST = 1 - 1e-11  # of a level: beyond it a tail is rounded to none
SHEET = 2**20 - 1  # rows of an Excel sheet below its head
FLOAT = np.finfo(float)


def tidy(
    panel: Panel, rows: np.ndarray, quantiles: np.ndarray, levels: tuple[float, ...], level: float
) -> pd.DataFrame:
    """Quantiles [K, H, Q] of log returns → the tidy frame of prices, K · H rows.

    Among `levels` are .5 and the two of the interval of nominal `level`.
    """
    origins, steps, _ = quantiles.shape
    with np.errstate(over="ignore", under="ignore"):
        price = panel.close[rows, None, None] * np.exp(np.asarray(quantiles, float))
    price = np.clip(price, FLOAT.tiny, FLOAT.max)  # a tail of bars that leap can be beyond a float
    symbol, date = panel.symbol_of(rows), panel.date[rows]
    origin = panel.number(rows) if np.isnat(date).any() else date
    by_level = {round(q, 12): price[..., i].ravel() for i, q in enumerate(levels)}
    tail = (1 - level) / 2
    columns = {
        "symbol": np.repeat(np.asarray(panel.symbols, object)[symbol], steps),
        "origin": np.repeat(origin, steps),
        "step": np.tile(np.arange(1, steps + 1), origins),
        "date": panel.date[rows[:, None] + 1 + np.arange(steps)].ravel(),
        "median": by_level[0.5],
        "lower": by_level[round(tail, 12)],
        "upper": by_level[round(1 - tail, 12)],
    }
    return pd.DataFrame(columns | {f"{q:.12g}": by_level[round(q, 12)] for q in levels})


def watchlist(forecast: Forecast, levels: Sequence[float] | None = None) -> pd.DataFrame:
    """The table of `Forecast.table`, which says what its columns are."""
    levels = _checked((INNER, forecast.level) if levels is None else levels)
    predictor, panel, _ = forecast.source
    rows = forecast.frame.drop_duplicates("symbol", keep="last")  # last origin, last step [S]
    symbol = pd.Index(panel.symbols).get_indexer(rows["symbol"])
    origin = panel.start[symbol] + panel.length[symbol] - 1
    close = panel.close[origin]
    # what lies between the forecast's levels, as `predict` has it: linear in normal scores
    names = quantile_columns(rows)
    base = ndtri(np.array(names, float))
    move = np.log(rows[names].to_numpy() / close[:, None])  # [S, Q]
    table = rows[["symbol", "origin", "date", "step", "median"]].reset_index(drop=True)
    table.insert(4, "last", close)
    table["median_pct"] = 100 * (table["median"] / close - 1)
    for level in levels:
        low, high = central(move, base, level).T
        table[f"low_{100 * level:.6g}"] = close * np.exp(low)
        table[f"high_{100 * level:.6g}"] = close * np.exp(high)
    width = np.diff(central(move, base, INNER))[:, 0]
    table["width_vs_year"] = width / _usual_width(predictor, panel, origin)
    table["p_up"] = ndtr(-outcome_scores(move, base, np.zeros(len(move))))
    table["age"] = _age(panel, symbol, origin)
    table["trend"] = _trends(panel, symbol, origin)
    return _with_reports(table, forecast.reports)


def _checked(levels: Sequence[float]) -> list[float]:
    """The levels, each once; raises ConfigError on one outside (0, 1)."""
    values = np.ravel(levels)
    inside = values.dtype.kind == "f" and ((values > 0) & (values < MOST)).all()
    if not inside or not len(values):
        raise ConfigError(
            f"The levels of a table are {quoted(levels)}; give numbers between 0 and 1, "
            "such as (0.8, 0.93)."
        )
    return list(dict.fromkeys(values.tolist()))


def central(move: np.ndarray, base: np.ndarray, level: float) -> np.ndarray:
    """Ends [S, 2] of the central interval, of quantiles `move` [S, Q] at normal scores `base`."""
    upper = ndtri((1 + level) / 2)
    return quantiles_at(move[:, None], base, np.array([[-upper, upper]]))[:, 0]


def _usual_width(predictor: Predictor, panel: Panel, origin: np.ndarray) -> np.ndarray:
    """Mean width [S] of the inner interval at the last step, had the scale alone told it, a year.

    That is what the random walk answers on each of the last YEAR bars: their volatility scale, the
    same calibration as today's. So 1 is a usual width whatever the symbol's tails are, and more is
    a wilder time or a network that expects one. No past of the networks is run for it. The inner
    interval is compared since three times as many outcomes lie beyond it as beyond that of 93%.
    NaN for fewer than LEAST bars of a scale of their own.
    """
    upper = ndtri((1 + INNER) / 2)
    want, walk = np.array([-upper, upper]), predictor.walk
    scores = partial(pool_scores, predictor.pools, WALK, panel)
    own, _ = own_history(panel, origin, walk, scores, want, INNER)
    score = np.sort(scores(origin, want) + own, axis=-1)  # [S, H, 2]
    shape = np.broadcast_to(walk.shape[: panel.steps], (*score.shape[:2], len(walk.levels)))
    unit = np.diff(quantiles_at(shape, ndtri(walk.levels), score)[:, -1])[:, 0]
    # the scale of the return over all steps, at each bar of the year
    past = origin[:, None] - np.arange(YEAR)
    known = past >= panel.start[panel.symbol_of(origin)][:, None] + WARM
    count = known.sum(1)
    scale = np.where(known, np.asarray(panel.scale)[np.maximum(past, 0), -1], 0.0).sum(1)
    usual = unit * np.sqrt(panel.steps) * scale / np.maximum(count, 1)
    return np.where((count >= LEAST) & (usual > 0), usual, np.nan)


def _age(panel: Panel, symbol: np.ndarray, origin: np.ndarray) -> pd.arrays.IntegerArray:
    """Sessions [S] without a bar since the last one; NA without dates."""
    day = panel.date[origin].astype("datetime64[D]")
    dated = ~np.isnat(day)
    weekends = panel.static[symbol, F.STATIC.index("weekends")] > 0
    age = np.full(len(day), np.nan)
    age[dated] = sessions_since(day[dated], weekends[dated])
    return pd.array(age, dtype="Int64")


def _trends(panel: Panel, symbol: np.ndarray, origin: np.ndarray) -> list[str]:
    """The last closes of each symbol as a line of blocks, from the lowest to the highest of them.

    Spaces stand where bars begin later.
    """
    past = origin[:, None] - np.arange(TREND)[::-1]
    known = (past >= panel.start[symbol][:, None]).reshape(len(past), -1, PER_MARK)
    close = np.where(known, panel.close[np.maximum(past, 0)].reshape(known.shape), 0.0)
    count = known.sum(-1)
    mean = close.sum(-1) / np.maximum(count, 1)  # [S, marks]
    low = np.where(count, mean, np.inf).min(1, keepdims=True)
    span = np.where(count, mean, -np.inf).max(1, keepdims=True) - low
    share = (mean - low) / np.where(span > 0, span, np.inf)
    mark = MARKS[np.clip(share * len(MARKS), 0, len(MARKS) - 1).astype(int)]
    lines = np.ascontiguousarray(np.where(count, mark, " "))
    return lines.view(f"U{lines.shape[1]}")[:, 0].tolist()


def _with_reports(table: pd.DataFrame, reports: dict[str, SymbolReport]) -> pd.DataFrame:
    """The table with what the reports say, in their order, those left out with empty cells."""
    whole = {name: "Int64" for name in ("origin", "step") if table[name].dtype.kind == "i"}
    table = table.astype(whole).set_index("symbol").reindex([*reports]).reset_index(names="symbol")
    table["trend"] = table["trend"].fillna("")
    table["status"] = [_status(report) for report in reports.values()]
    table["model_used"] = [report.model_used for report in reports.values()]
    table["why"] = [" ".join(report.warnings) for report in reports.values()]
    return table


def _status(report: SymbolReport) -> str:
    if report.model_used is None:
        return "left out"
    return "warned" if report.warnings else "answered"


# --- files


def write_table(table: pd.DataFrame, path: str | Path, form: str) -> Path:
    """Write a table atomically as "csv", "parquet" or "excel"; returns the path.

    Raises
    ------
    OutputError : the file can't be written, or a sheet has no room for the rows
    MissingDependency : Excel without openpyxl
    """
    if form == "csv":
        return atomic_write(path, csv_text(table))
    content = io.BytesIO()
    if form == "parquet":
        table.to_parquet(content, index=False)
    else:
        _to_excel(table, content)
    return atomic_write(path, content.getvalue())


def _to_excel(table: pd.DataFrame, content: io.BytesIO) -> None:
    if len(table) > SHEET:
        raise OutputError(
            f"An Excel sheet takes {SHEET:,} rows and there are {len(table):,}; use to_parquet."
        )
    try:
        without_formulas(table).to_excel(content, index=False, engine="openpyxl")
    except ImportError as error:  # not there, or too old for pandas
        raise MissingDependency(
            "Writing Excel needs openpyxl; pip install 'tftnhits[excel]', or use to_csv."
        ) from error
