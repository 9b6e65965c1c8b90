"""Scores of quantile forecasts. Arrays of numpy: quantiles [K, H, Q] and outcomes [K, H] of cumulative log returns.

An unknown outcome is NaN: it is counted and left out, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..config import SCORE_LEVELS
from ..data.windows import Panel
from ..errors import ConfigError, MissingDependency
from ..forecast.ensemble import coverage

__all__ = [
    "INTERVALS",
    "SCORE_LEVELS",
    "Direction",
    "by_date",
    "by_group",
    "coverage",
    "crps",
    "hac_variance",
    "information_coefficient",
    "interval",
    "mase",
    "pesaran_timmermann",
    "pinball_loss",
    "random_walk_mae",
    "scores",
    "terciles",
    "winkler",
]

INTERVALS = (0.93, 0.8)  # nominal levels, everywhere
POINTS = 1e4  # basis points in a log return of one
LEAST_SYMBOLS = 3  # fewer symbols on a date have no cross-section


def pinball_loss(quantiles: np.ndarray, actual: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Pinball loss averaged over levels: quantiles [..., Q], actual [...] → [...] (Koenker & Bassett 1978)."""
    error = np.asarray(actual)[..., None] - quantiles
    return np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error).mean(-1)


def crps(quantiles: np.ndarray, actual: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Continuous ranked probability score from quantiles: [..., Q], [...] → [...], in the unit of the outcome.

    Twice the integral of the pinball loss over all levels (Gneiting & Ranjan 2011, eq. 12), each level standing for
    those nearer to it than to its neighbours: levels that crowd in the tails don't count twice. Raises
    MissingDependency.
    """
    edges = np.r_[0.0, (np.asarray(levels)[1:] + np.asarray(levels)[:-1]) / 2, 1.0]
    actual = np.broadcast_to(np.asarray(actual, float)[..., None], np.shape(quantiles))
    found = _scoringrules().quantile_score(actual, np.asarray(quantiles, float), np.asarray(levels))
    return 2 * (found * np.diff(edges)).sum(-1)


def winkler(lower: np.ndarray, upper: np.ndarray, actual: np.ndarray, level: float) -> np.ndarray:
    """Interval score [...]: width, and 2 / (1 − level) times what lies outside (Winkler 1972; Gneiting & Raftery 2007).

    Raises MissingDependency.
    """
    return _scoringrules().interval_score(np.asarray(actual, float), lower, upper, 1 - level)


def _scoringrules() -> Any:
    try:
        import scoringrules
    except ImportError as error:
        raise MissingDependency(
            f"Scores need scoringrules, which can't be imported ({error}): pip install 'tftnhits[evaluation]'."
        ) from error
    return scoringrules


def interval(
    quantiles: np.ndarray, levels: Sequence[float], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper quantile [...] of the central interval; raises ConfigError if its levels were not forecast."""
    return tuple(quantiles[..., _place(levels, (1 + sign * level) / 2)] for sign in (-1, 1))  # type: ignore[return-value]


def _place(levels: Sequence[float], level: float) -> int:
    near = np.flatnonzero(np.isclose(levels, level, atol=1e-9))
    if not len(near):
        raise ConfigError(
            f"The quantile {level:.4g} was not forecast; choose from {', '.join(map(str, levels))}."
        )
    return int(near[0])


# --- points


def random_walk_mae(panel: Panel) -> np.ndarray:
    """[S] mean absolute log return of one bar in each symbol's training split, NaN where it has none."""
    out = np.full(len(panel.symbols), np.nan)
    for s, (start, size) in enumerate(zip(panel.start, panel.length, strict=True)):
        train = np.flatnonzero(panel.split[start : start + size] == 0)
        if len(train):  # outcomes of the last training origin are training data too
            span = panel.close[start + train[0] : start + train[-1] + panel.config.horizon + 1]
            out[s] = np.abs(np.diff(np.log(span))).mean()
    return out


def mase(median: np.ndarray, actual: np.ndarray, naive: np.ndarray) -> float:
    """Mean absolute scaled error: median and actual [K, H], naive [K] the in-sample error of a one-step random walk.

    Hyndman & Koehler 2006, whose scale is that of one step for every horizon. An origin whose naive error is
    0 or unknown is left out; NaN if none is left.
    """
    naive = np.asarray(naive, float)
    usable = np.where(naive > 0, naive, np.nan)[:, None]
    return _mean(np.abs(actual - median) / usable)


def _mean(x: np.ndarray) -> float:
    """Mean of the finite cells as a plain float; NaN if there is none."""
    known = np.isfinite(x)
    return float(x[known].mean()) if known.any() else float("nan")


# --- series by date


def by_date(x: np.ndarray, date: np.ndarray) -> np.ndarray:
    """[n] means over each date's finite cells, dates ascending; x [K] or [K, H], date [K] (NaT and NaN left out)."""
    x = np.asarray(x, float).reshape(len(date), -1)
    code, dates = pd.factorize(np.asarray(date), sort=True, use_na_sentinel=True)
    known = np.isfinite(x) & (code >= 0)[:, None]
    at = np.broadcast_to(code[:, None], x.shape)[known]
    count = np.bincount(at, minlength=len(dates))
    return (np.bincount(at, x[known], len(dates))[count > 0]) / count[count > 0]


def hac_variance(x: np.ndarray, lags: int) -> float:
    """Long-run variance of a series [n] with Bartlett weights (Newey & West 1987); the mean's is this over n."""
    n, e = len(x), x - x.mean()
    lags = min(lags, n - 1)
    return (
        float(e @ e + 2 * sum((1 - j / (lags + 1)) * (e[j:] @ e[:-j]) for j in range(1, lags + 1)))
        / n
    )


def _t_statistic(x: np.ndarray, lags: int) -> float:
    """Mean over its HAC standard error; NaN for fewer than three values or a constant series."""
    if len(x) < 3 or not (variance := hac_variance(x, lags)) > 1e-24 * max(
        float((x**2).mean()), 1e-300
    ):
        return float("nan")
    return float(x.mean() / np.sqrt(variance / len(x)))


class Direction(NamedTuple):
    """Test of directional accuracy; the p-value is one-sided, small where the forecast knows the sign."""

    hit_rate: float  # share of outcomes with the forecast's sign
    expected: float  # the share if forecast and outcome were independent
    statistic: float
    p_value: float
    count: int  # forecasts and outcomes that have a sign


def pesaran_timmermann(
    forecast: np.ndarray, actual: np.ndarray, date: np.ndarray | None = None, lags: int = 0
) -> Direction:
    """Pesaran & Timmermann (1992) test of independence between the signs of forecast and outcome, [K] or [K, H] each.

    Without `date`: the paper's statistic for independent observations. With `date` [K]: the same covariance of
    signs, averaged by date and divided by its HAC error, since a day's symbols and overlapping steps aren't
    independent (in the way of their 2009 paper). Zeros have no sign and are left out. Where all forecasts or all
    outcomes have one sign there is nothing to test: statistic and p-value are NaN. Medians of returns are small and
    mostly positive: don't expect much.
    """
    forecast, actual = np.broadcast_arrays(np.asarray(forecast, float), np.asarray(actual, float))
    known = np.isfinite(forecast * actual) & (forecast != 0) & (actual != 0)
    x, y, n = (
        (forecast[known] > 0).astype(float),
        (actual[known] > 0).astype(float),
        int(known.sum()),
    )
    if not n:
        return Direction(*[float("nan")] * 4, 0)
    hits, px, py = float((x == y).mean()), x.mean(), y.mean()
    expected = float(px * py + (1 - px) * (1 - py))
    if px in (0, 1) or py in (0, 1):
        return Direction(hits, expected, float("nan"), float("nan"), n)
    if date is None:
        vx, vy = px * (1 - px) / n, py * (1 - py) / n
        spread = (
            expected * (1 - expected) / n
            - (2 * py - 1) ** 2 * vx
            - (2 * px - 1) ** 2 * vy
            - 4 * vx * vy
        )
        statistic = (hits - expected) / np.sqrt(spread) if spread > 0 else float("nan")
    else:
        together = np.full(known.shape, np.nan)
        together[known] = (x - px) * (y - py)
        statistic = _t_statistic(by_date(together, date), lags)
    return Direction(hits, expected, float(statistic), float(stats.norm.sf(statistic)), n)


def information_coefficient(
    forecast: np.ndarray, actual: np.ndarray, date: np.ndarray, lags: int = 0, rank: bool = False
) -> tuple[float, float, int]:
    """Mean over dates of the correlation across symbols of forecast and outcome, its HAC t-statistic, and the dates.

    forecast, actual [K] or [K, H], date [K]; with several steps, a date's value is the mean of theirs. `rank` takes
    Spearman's correlation. Dates with fewer than three symbols or without any variation are left out (Grinold 1989).
    """
    forecast, actual = (np.asarray(v, float).reshape(len(date), -1) for v in (forecast, actual))
    steps = [_correlations(f, a, np.asarray(date), rank) for f, a in zip(forecast.T, actual.T)]
    daily = pd.concat(steps, axis=1).mean(axis=1).dropna().to_numpy()
    return _mean(daily), _t_statistic(daily, lags), len(daily)


def _correlations(
    forecast: np.ndarray, actual: np.ndarray, date: np.ndarray, rank: bool
) -> pd.Series:
    """Correlation [n] across the symbols of each date; NaN where there is none."""
    known = np.isfinite(forecast) & np.isfinite(actual) & ~pd.isna(date)
    cells = pd.DataFrame({"x": forecast[known], "y": actual[known]})
    day = pd.Series(date[known])
    if rank:
        cells = cells.groupby(day).rank()
    rounding = (
        1e-20 * (cells**2).groupby(day).sum()
    )  # equal values leave this much about their mean
    cells = cells - cells.groupby(day).transform("mean")
    parts = pd.DataFrame({"xy": cells.x * cells.y, "xx": cells.x**2, "yy": cells.y**2, "n": 1.0})
    total = parts.groupby(day).sum()
    usable = (total.n >= LEAST_SYMBOLS) & (total.xx > rounding.x) & (total.yy > rounding.y)
    return total.xy[usable] / np.sqrt(total.xx * total.yy)[usable]


# --- tables


def terciles(scale: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for the lower, middle and upper third, int [K]; an unknown scale counts as -1."""
    scale = np.asarray(scale, float)
    if not np.isfinite(scale).any():
        return np.full(len(scale), -1)
    cuts = np.nanquantile(scale, (1 / 3, 2 / 3))
    return np.where(np.isfinite(scale), np.searchsorted(cuts, scale, side="right"), -1)


def by_group(
    quantiles: np.ndarray,
    levels: Sequence[float],
    actual: np.ndarray,
    group: np.ndarray,
    intervals: Sequence[float] = INTERVALS,
) -> pd.DataFrame:
    """A row a group (fold, volatility tercile …): outcomes, pinball loss, each interval's coverage, width and score.

    quantiles [K, H, Q], actual [K, H], group [K] or [K, H]. Coverage is a share; the others are in basis points. The
    pinball loss is that of SCORE_LEVELS, and left out unless all of them were forecast.
    """
    group = np.asarray(group)
    group = np.broadcast_to(
        group.reshape(group.shape + (1,) * (actual.ndim - group.ndim)), actual.shape
    ).ravel()
    cells = _cells(quantiles, levels, actual, intervals)
    frame = pd.DataFrame({k: v.ravel() for k, v in cells.items()})[np.isfinite(actual).ravel()]
    labels = pd.Series(group[np.isfinite(actual).ravel()], index=frame.index, name="group")
    found = frame.groupby(labels).mean()
    found.insert(0, "outcomes", frame.groupby(labels).size())
    return found


def _cells(
    quantiles: np.ndarray, levels: Sequence[float], actual: np.ndarray, intervals: Sequence[float]
) -> dict[str, np.ndarray]:
    """Scores [K, H] of every outcome, NaN where it is unknown; lengths in basis points."""
    known = np.isfinite(actual)
    pick = np.isclose(np.asarray(levels)[:, None], SCORE_LEVELS, atol=1e-9).any(1)
    out = {}
    if pick.sum() == len(SCORE_LEVELS):  # a mean over other levels would be another score
        out["pinball"] = POINTS * pinball_loss(
            quantiles[..., pick], actual, np.asarray(levels)[pick]
        )
    for level in intervals:
        lower, upper = interval(quantiles, levels, level)
        label = f"{100 * level:g}"
        out[f"coverage_{label}"] = np.where(known, (actual >= lower) & (actual <= upper), np.nan)
        out[f"width_{label}"] = np.where(known, POINTS * (upper - lower), np.nan)
        out[f"winkler_{label}"] = POINTS * winkler(lower, upper, actual, level)
    return out


def scores(
    quantiles: np.ndarray,
    levels: Sequence[float],
    actual: np.ndarray,
    date: np.ndarray | None = None,
    naive: np.ndarray | None = None,
    intervals: Sequence[float] = INTERVALS,
) -> dict[str, float]:
    """One row of the leaderboard: plain floats, over all steps, NaN where a score can't be had.

    quantiles [K, H, Q], actual [K, H], date [K] of the origins (for direction and IC: clustered by date, 2H − 1
    lags), naive [K] of `random_walk_mae` for MASE. pinball, crps, mae, width_ and winkler_ are in basis points of
    log return, mse in their square. Intervals that were not forecast are left out, and so is pinball, the mean over
    SCORE_LEVELS, unless all of them were. Raises MissingDependency.
    """
    actual, quantiles = np.asarray(actual, float), np.asarray(quantiles, float)
    median = quantiles[..., _place(levels, 0.5)]
    have = [
        v
        for v in intervals
        if np.isclose(np.asarray(levels)[:, None], ((1 - v) / 2, (1 + v) / 2)).any(0).all()
    ]
    error = POINTS * (actual - median)
    out = {k: _mean(v) for k, v in _cells(quantiles, levels, actual, have).items()}
    out |= {"crps": _mean(POINTS * crps(quantiles, actual, levels))}
    out |= {"mae": _mean(np.abs(error)), "mse": _mean(error**2)}
    out["mase"] = float("nan") if naive is None else mase(median, actual, naive)
    lags = 2 * actual.shape[1] - 1
    direction = pesaran_timmermann(median, actual, date, lags)
    out |= {"hit_rate": direction.hit_rate, "hit_rate_expected": direction.expected}
    out |= {
        "pt": direction.statistic,
        "pt_p": direction.p_value,
        "directions": float(direction.count),
    }
    for label, rank in (("ic", False), ("rank_ic", True)):
        found = (
            (np.nan, np.nan, 0)
            if date is None
            else information_coefficient(median, actual, date, lags, rank)
        )
        out |= {label: float(found[0]), f"{label}_t": float(found[1])}
    known = int(np.isfinite(actual).sum())
    return out | {
        "origins": float(len(actual)),
        "outcomes": float(known),
        "missing": float(actual.size - known),
    }
