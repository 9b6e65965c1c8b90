"""Members with one interface, and their quantile average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..data.windows import Panel
from ..errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


class Member(Protocol):
    """Anything that forecasts quantiles from origins of a panel."""

    context: int  # bars needed, the origin's included
    horizon: int
    levels: tuple[float, ...]

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        ...


class Network:
    """A trained TFT or N-HITS as a member."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.context, self.horizon = model.config.context, model.config.horizon
        self.levels = tuple(model.config.quantiles)

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        from ..training.loop import forecast_rows  # here, since a session without torch never gets this far

        return forecast_rows(self.model, panel, rows)


def check_weights(weights: dict[str, float]) -> dict[str, float]:
    """Weights that are finite, not negative, and scaled to sum 1; raises ConfigError."""
    try:
        values = np.array(list(weights.values()), float)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not len(values) or not np.isfinite(values).all() or (values < 0).any() or values.sum() == 0:
        raise ConfigError(f"The ensemble weights {weights} can't be used; give numbers of at least 0, not all 0.")
    return {k: float(v) for k, v in zip(weights, values / values.sum(), strict=True)}


def combine(quantiles: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """Weighted average of quantiles, level by level (Vincent 1912): it keeps their order. Arrays [..., Q]."""
    return sum(share * np.asarray(quantiles[name], float) for name, share in weights.items() if share)


def coverage(lower: np.ndarray, upper: np.ndarray, actual: np.ndarray) -> float:
    """Share of the known actual values inside [lower, upper]; NaN if none is known."""
    known = np.isfinite(actual)
    return float(((actual >= lower) & (actual <= upper))[known].mean()) if known.any() else float("nan")
