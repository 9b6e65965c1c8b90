"""A random walk on the kit's volatility scale: the answer that is always there."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from ..data.windows import Panel
from ..errors import CheckpointError, HistoryTooShort


class Walk:
    """No drift: scale · √step times quantiles of the training outcomes over that scale, made symmetric.

    The scale is HAR's volatility forecast (data/features.py), so the intervals follow the market's moods.
    """

    context = 2

    def __init__(self, shape: np.ndarray, levels: tuple[float, ...]):
        self.shape, self.levels, self.horizon = (
            np.asarray(shape, float),
            tuple(levels),
            len(shape),
        )  # shape: [H, Q]
        fits = self.shape.shape == (self.horizon, len(levels)) and np.isfinite(self.shape).all()
        if not fits or not self.horizon or (np.diff(self.shape) < 0).any():
            raise CheckpointError(
                "The random walk's quantiles don't fit its levels; save the model again."
            )

    @classmethod
    def fit(cls, panel: Panel, levels: tuple[float, ...]) -> Walk:
        """From the training split's outcomes; a normal distribution's quantiles if there are none."""
        from .baselines import empirical_quantiles

        try:
            shape = empirical_quantiles(panel, np.asarray(panel.scale, float), levels)
        except HistoryTooShort:
            return cls.normal(panel.config.horizon, levels)
        return cls(
            (shape - shape[:, ::-1]) / 2, levels
        )  # the levels are symmetric around the median

    @classmethod
    def normal(cls, horizon: int, levels: tuple[float, ...]) -> Walk:
        """With a normal distribution's quantiles."""
        return cls(np.tile(ndtri(np.array(levels)), (horizon, 1)), levels)

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        root = np.sqrt(np.arange(1, self.horizon + 1))[:, None]
        return np.asarray(panel.scale, float)[rows, None, None] * root * self.shape
