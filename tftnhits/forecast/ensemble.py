"""Members with one interface, and their quantile average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..data.windows import Panel
from ..errors import ConfigError, shown

if TYPE_CHECKING:
    from torch import nn


MEMBERS = ("tft", "nhits", "boosting")  # that are trained
WALK = "walk"
NAMES = dict(
    zip((*MEMBERS, WALK), ("TFT", "N-HITS", "gradient boosting", "volatility-scaled random walk"))
)


def has_torch() -> bool:
    """Whether the networks can run here."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError):  # OSError: a broken shared library
        return False
    return True


class Member(Protocol):
    """Anything that forecasts quantiles from origins of a panel."""

    context: int  # bars needed, the origin's included
    horizon: int
    levels: tuple[float, ...]

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        ...


class Network:
    """A trained TFT or N-HITS as a member; several of one configuration, as of several seeds, are averaged."""

    def __init__(self, model: nn.Module | Sequence[nn.Module]):
        self.models: tuple[nn.Module, ...] = (
            tuple(model) if isinstance(model, list | tuple) else (model,)
        )
        if not self.models:
            raise ConfigError("A member has no network; give at least one model.")
        first = self.model = self.models[0]
        if any(
            (type(m), m.config, m.inputs) != (type(first), first.config, first.inputs)
            for m in self.models
        ):
            raise ConfigError(
                "The networks of a member differ in more than their weights; train them alike."
            )
        self.context, self.horizon = first.config.context, first.config.horizon
        self.levels = tuple(first.config.quantiles)

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K], averaged level by level."""
        from ..training.loop import (
            forecast_rows,
        )  # here, since a session without torch never gets this far

        return sum(forecast_rows(m, panel, rows) for m in self.models) / len(self.models)


def check_weights(weights: dict[str, float]) -> dict[str, float]:
    """Weights that are finite, not negative, and scaled to sum 1; raises ConfigError."""
    try:
        values = np.array(list(weights.values()), float)
    except (TypeError, ValueError, OverflowError):
        values = np.array([np.nan])
    with np.errstate(over="ignore"):
        total = values.sum()
    if values.ndim != 1 or (values < 0).any() or not 0 < total < np.inf:
        raise ConfigError(
            f"The ensemble weights {shown(weights)} can't be used; give numbers of at least 0, not all 0."
        )
    return {k: float(v) for k, v in zip(weights, values / total, strict=True)}


def combine(quantiles: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """Weighted average of quantiles, level by level (Vincent 1912): it keeps their order. Arrays [..., Q]."""
    return sum(
        share * np.asarray(quantiles[name], float) for name, share in weights.items() if share
    )


def coverage(lower: np.ndarray, upper: np.ndarray, actual: np.ndarray) -> float:
    """Share of the known actual values inside [lower, upper]; NaN if none is known."""
    known = np.isfinite(actual)
    return (
        float(((actual >= lower) & (actual <= upper))[known].mean())
        if known.any()
        else float("nan")
    )
