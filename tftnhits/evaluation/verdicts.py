"""Is one forecaster better than another? Tests on losses, always on means by origin date.

Symbols of a day move together and forecasts of several steps overlap, so that neither are independent draws: losses
are first averaged over the symbols and steps of an origin date, and the series of these means is treated as
autocorrelated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ConfigError, MissingDependency
from .metrics import by_date, hac_variance

TINY = 1e-20  # variance below this share of the squared losses is rounding


class DM(NamedTuple):
    """Diebold-Mariano test of a against b; a small p-value says that a is better."""

    statistic: float  # negative where a's loss is the smaller one
    p_value: float  # one-sided
    difference: float  # mean over dates of a's loss less b's
    dates: int


def diebold_mariano(loss_a: np.ndarray, loss_b: np.ndarray, date: np.ndarray, lags: int) -> DM:
    """Diebold & Mariano (1995) on losses [K] or [K, H] of the same forecasts, clustered by origin `date` [K].

    Newey-West variance with `lags` (at least H − 1), the small-sample correction of Harvey, Leybourne & Newbold (1997,
    eq. 9, with lags + 1 for the horizon) and Student's t with n − 1 degrees. Cells that either lacks are left out.
    Equal losses give statistic 0 and p 0.5, a constant difference an infinite one; below two dates all is NaN.
    Raises ConfigError if the shapes differ or lags < 0.
    """
    loss_a, loss_b = np.asarray(loss_a, float), np.asarray(loss_b, float)
    if loss_a.shape != loss_b.shape or len(loss_a) != len(date) or lags < 0:
        raise ConfigError(
            f"Losses of shapes {loss_a.shape} and {loss_b.shape} with {len(date)} dates and {lags} lags can't be "
            f"compared; give two of one shape, a date a row, and lags of at least 0."
        )
    d = by_date(loss_a - loss_b, date)
    n, mean = len(d), float(d.mean()) if len(d) else float("nan")
    if n < 2:
        return DM(float("nan"), float("nan"), mean, n)
    h = min(lags + 1, n - 1)
    variance = hac_variance(d, h - 1)
    if variance <= TINY * float(np.nanmean(loss_a**2) + np.nanmean(loss_b**2)):
        small = abs(mean) <= 1e-10 * float(np.nanmean(np.abs(loss_a)))
        statistic = 0.0 if small else float(np.copysign(np.inf, mean))
    else:
        correction = (n + 1 - 2 * h + h * (h - 1) / n) / n
        statistic = float(mean / np.sqrt(variance / n) * np.sqrt(correction))
    return DM(statistic, float(stats.t.cdf(statistic, n - 1)), mean, n)


def date_losses(losses: Mapping[str, np.ndarray], date: np.ndarray) -> pd.DataFrame:
    """A column a forecaster, a row an origin date: mean losses over the cells that all of them have.

    Raises ConfigError if shapes differ or nothing is common to all.
    """
    arrays = {k: np.asarray(v, float).reshape(len(date), -1) for k, v in losses.items()}
    if not arrays or len({v.shape for v in arrays.values()}) > 1:
        raise ConfigError(
            "The losses can't be compared; give at least one forecaster, and arrays of one shape."
        )
    known = np.all([np.isfinite(v) for v in arrays.values()], axis=0)
    means = {k: by_date(np.where(known, v, np.nan), date) for k, v in arrays.items()}
    frame = pd.DataFrame(means)
    if not len(frame):
        raise ConfigError(
            f"No origin has a loss from each of {', '.join(arrays)}; score them on the same origins."
        )
    return frame


def confidence_set(
    losses: Mapping[str, np.ndarray],
    date: np.ndarray,
    size: float = 0.10,
    reps: int = 2000,
    seed: int = 0,
    block: int = 10,
) -> pd.DataFrame:
    """Model confidence set (Hansen, Lunde & Nason 2011), range statistic, stationary bootstrap of date means.

    losses: name → [K] or [K, H]; `block` is the mean block length in dates (at least 2H). A row a forecaster, best
    first: `loss` (mean over dates), `p_value` (that it belongs to the best), `included` (p > size). Forecasters with
    equal losses share one verdict. Raises ConfigError, MissingDependency.
    """
    frame = date_losses(losses, date)
    same = _twins(frame)
    rivals = [k for k in frame if same[k] == k]
    p_value = dict.fromkeys(rivals, 1.0)
    if len(rivals) > 1 and len(frame) > 2:
        bootstrap = _arch().MCS(
            frame[rivals], size, reps=reps, block_size=_block(block, frame), method="R", seed=seed
        )
        bootstrap.compute()
        p_value |= bootstrap.pvalues["Pvalue"].to_dict()
    found = pd.DataFrame(
        {"loss": frame.mean(), "p_value": [float(p_value[same[k]]) for k in frame]}
    )
    found["included"] = found["p_value"] > size
    return found.rename_axis("forecaster").sort_values("loss", kind="stable")


def superior_ability(
    losses: Mapping[str, np.ndarray],
    benchmark: str,
    date: np.ndarray,
    reps: int = 2000,
    seed: int = 0,
    block: int = 10,
) -> float:
    """Test for superior predictive ability (Hansen 2005): p-value of "none of the others beats `benchmark`".

    As `confidence_set`, with differences divided by their HAC deviation (which `arch` leaves to its caller) and the
    consistent p-value, 1 / (reps + 1) at the least: draws can't tell it from less. Others with the benchmark's own
    losses say nothing, and without any more p is 1. Raises ConfigError, MissingDependency.
    """
    if benchmark not in losses:
        raise ConfigError(f"There is no forecaster {benchmark!r}; choose from {', '.join(losses)}.")
    frame = date_losses(losses, date)
    excess = frame.drop(columns=benchmark).sub(frame[benchmark], axis=0)
    floor = TINY * float((frame[benchmark] ** 2).mean())
    deviation = {k: np.sqrt(hac_variance(v.to_numpy(), block)) for k, v in excess.items()}
    moving = [k for k in excess if deviation[k] ** 2 > floor]
    if any(excess[k].mean() < -np.sqrt(floor) for k in excess if k not in moving):
        return 1 / (reps + 1)  # better by the same amount each day
    if not moving or len(frame) < 3:
        return 1.0
    scaled = excess[moving] / pd.Series(deviation)[moving]
    test = _arch().SPA(
        np.zeros(len(frame)), scaled, block_size=_block(block, frame), reps=reps, seed=seed
    )
    test.compute()
    return max(float(test.pvalues["consistent"]), 1 / (reps + 1))


def _twins(frame: pd.DataFrame) -> dict[str, str]:
    """For each column the first one that equals it, but for rounding."""
    same: dict[str, str] = {}
    for name in frame:
        near = 1e-10 * np.sqrt((frame[name] ** 2).mean())
        same[name] = next(
            (same[k] for k in same if np.allclose(frame[name], frame[k], rtol=0, atol=near)), name
        )
    return same


def _block(block: int, frame: pd.DataFrame) -> int:
    return max(1, min(block, len(frame) // 2))


def _arch() -> Any:
    try:
        from arch import bootstrap
    except ImportError as error:
        raise MissingDependency(
            f"Confidence sets need arch, which can't be imported ({error}): pip install 'tftnhits[evaluation]'."
        ) from error
    return bootstrap
