"""Scores of quantile forecasts; arrays of numpy, prices' log returns unless said."""

from __future__ import annotations

import numpy as np

from ..forecast.ensemble import coverage

__all__ = ["SCORE_LEVELS", "coverage", "pinball_loss"]

# the levels of the DJIA protocol
SCORE_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def pinball_loss(quantiles: np.ndarray, actual: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Pinball loss averaged over levels: quantiles [..., Q], actual [...] → [...] (Koenker & Bassett 1978)."""
    error = np.asarray(actual)[..., None] - quantiles
    return np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error).mean(-1)
