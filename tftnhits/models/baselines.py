"""Baselines that are hard to beat. Each returns quantiles [K, H, Q] of the log return from the given origins.

Each is a volatility at the origin times √step times the empirical quantiles, by step, of the training origins'
returns over that volatility; they differ in the volatility alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.features import RETURN_ALPHA, ewma
from ..data.windows import Panel
from ..errors import HistoryTooShort

WARM_UP = 20  # bars before a volatility means something


def _constant(panel: Panel) -> np.ndarray:
    return np.ones(len(panel.close))


def _har(panel: Panel) -> np.ndarray:
    return np.asarray(panel.scale, float)


def _ewma(panel: Panel) -> np.ndarray:
    """RiskMetrics volatility: exponential average of squared returns, decay 0.94."""
    out = np.full(len(panel.close), np.nan)
    for start, size in zip(panel.start, panel.length, strict=True):
        log_close = np.log(panel.close[start : start + size])
        squares = np.r_[np.nan, np.diff(log_close)] ** 2
        out[start : start + size] = np.sqrt(ewma(squares[None], RETURN_ALPHA)[0])
    return np.maximum(out, 1e-8)


VOLATILITIES: dict[str, Callable[[Panel], np.ndarray]] = {
    "random walk": _constant,
    "EWMA": _ewma,
    "HAR": _har,
}


def empirical_quantiles(panel: Panel, volatility: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """[H, Q] quantiles over all training origins of return / (volatility · √step); volatility is [R]."""
    rows = panel.origins("train", WARM_UP)
    scaled = np.asarray(panel.target)[rows] * (np.asarray(panel.scale) / volatility)[rows, None]
    scaled = scaled[np.isfinite(scaled).all(1)].astype(float)
    if not len(scaled):
        raise HistoryTooShort(f"No training origin has {WARM_UP} bars up to it; give more bars or move train_end.")
    return np.quantile(scaled, levels, axis=0).T


def baseline_quantiles(name: str, panel: Panel, rows: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K] by one of VOLATILITIES."""
    volatility = VOLATILITIES[name](panel)
    root = np.sqrt(np.arange(1, panel.config.horizon + 1))[:, None]
    return volatility[rows, None, None] * root * empirical_quantiles(panel, volatility, levels)
