"""Calibrated forecasts from any origins of a panel: today's, and the last against what came."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.windows import Panel
from ..errors import DataError, HistoryTooShort, counted
from ..probability import ndtri
from .conformal import quantiles_at
from .ensemble import WALK
from .fallback import Answer, Candidate, answer, chain, chain_origins
from .own import Measured, own_history
from .pools import pool_scores
from .result import Forecast, quantile_columns
from .table import tidy

if TYPE_CHECKING:
    from .predictor import Predictor

PAST = 60  # origins that are set against what came
FEWEST = 5  # of them


def answered(
    predictor: Predictor,
    panel: Panel,
    rows: np.ndarray,
    candidates: list[Candidate],
    level: float,
    levels: tuple[float, ...],
) -> tuple[np.ndarray, list[Answer], dict[int, Measured]]:
    """Quantiles [K, H, Q] at `levels` from the origins `rows` [K], calibrated as of each.

    Of the first of `candidates` that can answer for a symbol; these answers; and how well intervals
    of `level` held on the symbols' own past, by number.
    """
    want = ndtri(levels)
    scores = partial(pool_scores, predictor.pools)
    walk = partial(scores, WALK, panel)
    own, measured = own_history(panel, rows, predictor.walk, walk, want, level)
    quantiles = np.empty((len(rows), panel.steps, len(levels)))
    answers = answer(panel, rows, predictor.able, predictor.missing, candidates)
    for one in answers:
        score = np.sort(scores(one.key, panel, rows[one.index], want) + own[one.index], axis=-1)
        quantiles[one.index] = quantiles_at(one.quantiles, ndtri(predictor.levels), score)
    return quantiles, answers, measured


@dataclass(frozen=True)
class Past:
    """A symbol's last forecasts, each as it would have been made, and what came of them.

    Attributes
    ----------
    frame : as Forecast.frame, with the columns `last`, the close at the origin, and `came`, that of
        the bar forecast, NaN if none came yet
    har : the same of the volatility scale alone, whose intervals are calibrated alike
    """

    frame: pd.DataFrame
    har: pd.DataFrame


def past_forecasts(fc: Forecast, symbol: str, count: int = PAST) -> Past:
    """The last `count` forecasts of a symbol whose next bar is known, and the present one.

    Raises
    ------
    HistoryTooShort : there are fewer than FEWEST
    DataError : others answer for the past than for the forecast, as with weights given to predict
    """
    predictor, panel, _ = fc.source
    s = panel.symbols.index(symbol)
    candidates = chain({**predictor.able, **predictor.missing}, predictor.weights)
    rows = chain_origins(panel, predictor.able, candidates, every=True)
    rows = rows[panel.symbol_of(rows) == s][-count - 1 :]
    if len(rows) <= FEWEST:
        raise HistoryTooShort(
            f"{symbol} has {counted(panel.length[s], 'bar')}, too few to forecast its past again; "
            "give more bars."
        )
    levels = tuple(map(float, quantile_columns(fc.frame)))
    quantiles, (one, *_), _ = answered(predictor, panel, rows, candidates, fc.level, levels)
    if one.name != fc.reports[symbol].model_used:
        raise DataError(
            f"Its past would be forecast by {one.name}, not by who answers now; "
            "forecast with the predictor's own weights."
        )
    walk, _, _ = answered(predictor, panel, rows, [{WALK: 1.0}], fc.level, levels)
    ahead = rows[:, None] + 1 + np.arange(panel.steps)
    closes = {"last": np.repeat(panel.close[rows], panel.steps), "came": panel.close[ahead].ravel()}
    frames = (tidy(panel, rows, values, levels, fc.level) for values in (quantiles, walk))
    return Past(*(frame.assign(**closes) for frame in frames))
