"""Back-tests of value at risk and expected shortfall, and of probabilities.

Losses of T dates are above zero; a hit is a date whose loss was larger than the value at risk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2


class Test(NamedTuple):
    """A statistic, and how probable one so far off is if the forecasts are right."""

    statistic: float
    p_value: float


def kupiec(hit: np.ndarray, level: float) -> Test:
    """Likelihood ratio of a share of hits [T] other than `level` (Kupiec 1995)."""
    hits, count = int(np.sum(hit)), len(hit)
    ratio = 2 * (_likelihood(hits, count, hits / count) - _likelihood(hits, count, level))
    return Test(float(ratio), float(chi2.sf(ratio, 1)))


def christoffersen(hit: np.ndarray) -> Test:
    """Likelihood ratio of hits [T] that depend on that of the date before (Christoffersen 1998)."""
    before, after = np.asarray(hit[:-1], bool), np.asarray(hit[1:], bool)
    whole = _likelihood(after.sum(), len(after), after.mean())
    parts = [after[before], after[~before]]
    apart = sum(_likelihood(x.sum(), len(x), x.mean()) for x in parts if len(x))
    ratio = max(2 * (apart - whole), 0.0)
    return Test(float(ratio), float(chi2.sf(ratio, 1)))


def _likelihood(hits: float, count: float, share: float) -> float:
    return float(xlogy(hits, share) + xlogy(count - hits, 1 - share))


def dynamic_quantile(hit: np.ndarray, var: np.ndarray, level: float, lags: int = 4) -> Test:
    """Whether hits [T] can be told by earlier ones or by the value at risk [T] itself.

    The out-of-sample test of Engle & Manganelli 2004: a regression on a constant, `lags` hits and
    the value at risk.
    """
    excess = np.asarray(hit, float) - level
    past = [excess[lags - i : len(excess) - i] for i in range(1, lags + 1)]
    x = np.column_stack([np.ones(len(excess) - lags), *past, var[lags:]])
    fitted = x @ np.linalg.lstsq(x, excess[lags:], rcond=None)[0]
    statistic = fitted @ fitted / (level * (1 - level))
    return Test(float(statistic), float(chi2.sf(statistic, np.linalg.matrix_rank(x))))


def acerbi_szekely(
    loss: np.ndarray, var: np.ndarray, shortfall: np.ndarray, level: float, draws: np.ndarray
) -> Test:
    """Whether losses [T] beyond the value at risk are as large as the expected shortfall [T].

    The second test of Acerbi & Székely 2014: 0 is expected, and less than that is too little
    shortfall. `draws` [T, M] of the forecast say how probable so little is.
    """

    def statistic(losses: np.ndarray) -> np.ndarray:
        beyond = np.where(losses > var[:, None], losses, 0.0)
        return 1 - (beyond / shortfall[:, None]).mean(0) / level

    found = statistic(np.asarray(loss)[:, None])[0]
    return Test(float(found), float((statistic(draws) <= found).mean()))


def calibration_slope(probability: np.ndarray, came: np.ndarray) -> float:
    """Slope of events [K] on their probabilities [K], 1 if these are right; NaN if all are one."""
    away = probability - probability.mean()
    spread = away @ away
    return float(away @ came / spread) if spread > 0 else float("nan")
