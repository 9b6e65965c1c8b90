"""Scores of quantile forecasts: quantiles [K, H, Q] and outcomes [K, H] of cumulative log returns.

An unknown outcome is NaN: it is counted and left out, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ..config import SCORE_LEVELS
from ..data.windows import Panel
from ..errors import ConfigError
from ..forecast.ensemble import pinball_loss

INTERVALS = (0.93, 0.8)  # nominal levels, everywhere
# The quantile level of each of their ends, ascending
ENDS = {"lower_93": 0.035, "lower_80": 0.1, "upper_80": 0.9, "upper_93": 0.965}
POINTS = 1e4  # basis points in a log return of one
LEAST_SYMBOLS = 3  # fewer symbols on a date have no cross-section
ROUNDING = 1e-20  # variance below this share of the squares is rounding


def crps(quantiles: np.ndarray, actual: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Continuous ranked probability score [...] of [..., Q] (Gneiting & Ranjan 2011, eq. 12).

    Each level stands for those nearer to it than to its neighbours: crowded ones don't count twice.
    """
    level = np.asarray(levels)
    error = np.asarray(actual)[..., None] - quantiles
    loss = np.maximum(level * error, (level - 1) * error)
    edges = np.r_[0.0, (level[1:] + level[:-1]) / 2, 1.0]
    return 2 * (loss * np.diff(edges)).sum(-1)


def interval(
    quantiles: np.ndarray, levels: Sequence[float], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper quantile [...] of a central interval; ConfigError if not forecast."""
    places = _places(levels, ((1 - level) / 2, (1 + level) / 2))
    if not places:
        known = ", ".join(map(str, levels))
        raise ConfigError(f"The quantile {(1 - level) / 2:.4g} was not forecast, only {known}.")
    return quantiles[..., places[0]], quantiles[..., places[1]]


def _places(levels: Sequence[float], wanted: Sequence[float]) -> list[int]:
    """Where the `wanted` levels are in `levels`; empty unless all are there."""
    equal = np.isclose(np.asarray(levels), np.asarray(wanted)[:, None], rtol=0, atol=1e-9)  # [W, Q]
    return equal.argmax(1).tolist() if equal.any(1).all() else []


# --- points


def random_walk_mae(panel: Panel) -> np.ndarray:
    """[S] mean absolute log return of a bar in each symbol's training split, NaN without one."""
    out = np.full(len(panel.symbols), np.nan)
    for s, (start, size) in enumerate(zip(panel.start, panel.length, strict=True)):
        train = np.flatnonzero(panel.split[start : start + size] == 0)
        if len(train):  # outcomes of the last training origin are training data too
            span = panel.close[start + train[0] : start + train[-1] + panel.config.horizon + 1]
            out[s] = np.abs(np.diff(np.log(span))).mean()
    return out


def mase(median: np.ndarray, actual: np.ndarray, naive: np.ndarray) -> float:
    """Mean absolute scaled error of medians [K, H] (Hyndman & Koehler 2006).

    naive: [K] in-sample error of a random walk of one step; left out where it is 0 or unknown.
    """
    usable = np.where(naive > 0, naive, np.nan)[:, None]
    return _mean(np.abs(actual - median) / usable)


def _mean(x: np.ndarray) -> float:
    """Mean of the finite cells; NaN if there is none."""
    known = np.isfinite(x)
    return float(x[known].mean()) if known.any() else float("nan")


# --- series by date


def by_date(x: np.ndarray, date: np.ndarray) -> np.ndarray:
    """Means [n] over the finite cells [K] or [K, H] of each date [K] that has any, ascending."""
    x = np.asarray(x, float).reshape(len(date), -1)
    code, dates = pd.factorize(np.asarray(date), sort=True)  # -1 where there is no date
    known = np.isfinite(x) & (code >= 0)[:, None]
    cell = np.broadcast_to(code[:, None], x.shape)[known]
    count = np.bincount(cell, minlength=len(dates))
    total = np.bincount(cell, x[known], len(dates))
    return total[count > 0] / count[count > 0]


def hac_variance(x: np.ndarray, lags: int) -> float:
    """Long-run variance [n] with Bartlett weights (Newey & West 1987); over n, the mean's."""
    lags = min(lags, len(x) - 1)
    away = x - x.mean()
    total = away @ away
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * (away[lag:] @ away[:-lag])
    return float(total) / len(x)


def _t_statistic(x: np.ndarray, lags: int) -> float:
    """Mean over its HAC standard error; NaN for fewer than three values or a constant series."""
    variance = hac_variance(x, lags) if len(x) > 2 else 0.0
    if variance <= ROUNDING * (x @ x):
        return float("nan")
    return float(x.mean() / np.sqrt(variance / len(x)))


def pesaran_timmermann(
    forecast: np.ndarray, actual: np.ndarray, date: np.ndarray, lags: int = 0
) -> dict[str, float]:
    """Test of the signs of forecast and outcome [K, H] (Pesaran & Timmermann 1992).

    The covariance of signs is averaged by `date` [K] and divided by its HAC error, as in their 2009
    paper: a day's symbols and overlapping steps aren't independent. Zeros have no sign; where all
    are of one sign, statistic `pt` and one-sided p-value `pt_p` are NaN.
    """
    signed = np.isfinite(forecast * actual) & (forecast != 0) & (actual != 0)
    rise, rose = forecast[signed] > 0, actual[signed] > 0
    right, share, base = (_mean(x.astype(float)) for x in (rise == rose, rise, rose))
    covariance = np.full(signed.shape, np.nan)
    covariance[signed] = (rise - share) * (rose - base)
    statistic = _t_statistic(by_date(covariance, date), lags)
    return {
        "hit_rate": right,
        "hit_rate_expected": share * base + (1 - share) * (1 - base),
        "pt": statistic,
        "pt_p": float(stats.norm.sf(statistic)),
        "directions": float(len(rise)),
    }


def information_coefficient(
    forecast: np.ndarray, actual: np.ndarray, date: np.ndarray, lags: int = 0, rank: bool = False
) -> tuple[float, float]:
    """Mean over dates [K] of the correlation across symbols, and its HAC t (Grinold 1989).

    With several steps [K, H], a date's value is the mean of theirs; `rank` takes Spearman's. Dates
    with fewer than three symbols or without any variation are left out.
    """
    steps = forecast.shape[1]
    cells = pd.DataFrame(
        {
            "date": np.repeat(date, steps),
            "step": np.tile(np.arange(steps), len(date)),
            "x": forecast.ravel(),
            "y": actual.ravel(),
        }
    ).dropna()
    section = [cells["date"], cells["step"]]
    values = cells[["x", "y"]]
    if rank:
        values = values.groupby(section).rank()
    # Equal values leave this much about their mean
    rounding = ROUNDING * (values**2).groupby(section).sum()
    away = values - values.groupby(section).transform("mean")
    squares = (away**2).groupby(section).sum()
    products = (away["x"] * away["y"]).groupby(section).agg(["sum", "size"])
    usable = (products["size"] >= LEAST_SYMBOLS) & (squares > rounding).all(axis=1)
    correlation = products["sum"] / np.sqrt(squares["x"] * squares["y"])
    daily = correlation[usable].groupby(level="date").mean().to_numpy()
    return _mean(daily), _t_statistic(daily, lags)


# --- tables


def terciles(scale: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for the lower, middle and upper third, int [K]; an unknown scale counts as -1."""
    known = np.isfinite(scale)
    if not known.any():
        return np.full(len(scale), -1)
    cuts = np.quantile(scale[known], (1 / 3, 2 / 3))
    return np.where(known, np.searchsorted(cuts, scale, side="right"), -1)


def _cells(
    quantiles: np.ndarray, levels: Sequence[float], actual: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores [K, H] of every outcome, NaN where it is unknown; lengths in basis points.

    mae and mse are of the median, in basis points and in their square; winkler is the interval
    score (Winkler 1972) in the form of Gneiting & Raftery 2007.
    """
    known = np.isfinite(actual)
    out = {}
    places = _places(levels, SCORE_LEVELS)
    if places:  # a mean over other levels would be another score
        out["pinball"] = POINTS * pinball_loss(quantiles[..., places], actual, SCORE_LEVELS)
    middle = _places(levels, (0.5,))
    if middle:
        error = POINTS * (actual - quantiles[..., middle[0]])
        out |= {"mae": np.abs(error), "mse": error**2}
    for level in INTERVALS:
        if not _places(levels, ((1 - level) / 2, (1 + level) / 2)):
            continue
        lower, upper = interval(quantiles, levels, level)
        outside = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
        name = f"{100 * level:g}"
        out[f"coverage_{name}"] = np.where(known, outside == 0, np.nan)
        out[f"width_{name}"] = np.where(known, POINTS * (upper - lower), np.nan)
        out[f"winkler_{name}"] = POINTS * (upper - lower + 2 / (1 - level) * outside)
    return out


def by_group(
    quantiles: np.ndarray, levels: Sequence[float], actual: np.ndarray, group: np.ndarray
) -> pd.DataFrame:
    """Scores of [K, H, Q] at `levels` by a label [K] of the origins, such as fold or tercile.

    A row a group: `outcomes` (known ones), `pinball` (mean over SCORE_LEVELS), `mae` and `mse` of
    the median, and of each interval `coverage_` (a share), `width_` and `winkler_`, in basis points
    (mse: their square). What takes levels that were not forecast is left out.
    """
    label = np.repeat(np.asarray(group), actual.shape[1])
    cells = {name: values.ravel() for name, values in _cells(quantiles, levels, actual).items()}
    table = pd.DataFrame(cells).groupby(label).mean()
    known = pd.Series(np.isfinite(actual).ravel())
    table.insert(0, "outcomes", known.groupby(label).sum())
    return table.rename_axis("group")


def scores(
    quantiles: np.ndarray,
    levels: Sequence[float],
    actual: np.ndarray,
    date: np.ndarray,
    naive: np.ndarray,
) -> dict[str, float]:
    """All scores of one forecaster, over all steps.

    Parameters
    ----------
    quantiles : [K, H, Q] at `levels`, the median among them
    actual : [K, H], NaN where unknown
    date : [K] of the origins, by which direction and correlation are clustered (2H − 1 lags)
    naive : [K] of `random_walk_mae`, for MASE

    Returns
    -------
    dict : pinball, crps, mae, width_ and winkler_ in basis points of log return, mse in their
        square, shares for coverage_ and hit rates. NaN where a score can't be had; what takes
        levels that were not forecast is left out
    """
    median, _ = interval(quantiles, levels, 0.0)
    lags = 2 * actual.shape[1] - 1
    out = {name: _mean(values) for name, values in _cells(quantiles, levels, actual).items()}
    out["crps"] = _mean(POINTS * crps(quantiles, actual, levels))
    out["mase"] = mase(median, actual, naive)
    out |= pesaran_timmermann(median, actual, date, lags)
    out["ic"], out["ic_t"] = information_coefficient(median, actual, date, lags)
    rank_ic = information_coefficient(median, actual, date, lags, rank=True)
    out["rank_ic"], out["rank_ic_t"] = rank_ic
    out["origins"] = float(len(actual))
    out["outcomes"] = float(np.isfinite(actual).sum())
    out["missing"] = actual.size - out["outcomes"]
    return out
