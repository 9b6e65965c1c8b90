"""Ensemble weights learnt from outcomes: the convex combination of quantiles with the least pinball loss."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ..errors import ConfigError, DataError

TOLERANCE = 1e-6  # of the loss, between the weights found and the best there are
ROUNDS = 200


def learn_weights(
    quantiles: dict[str, np.ndarray], actual: np.ndarray, levels: tuple[float, ...]
) -> dict[str, float]:
    """Weights, at least 0 and of sum 1, whose quantile average has the least mean pinball loss.

    quantiles: [K, H, Q] a member, at `levels`; actual: [K, H], NaN where unknown. The loss is convex in the
    weights, so cutting planes (Kelley 1960) find it: each round adds the loss's tangent at the last weights, and
    the least of all tangents, a linear program, bounds what is left to gain. The bound ends it at TOLERANCE.
    Raises DataError if no outcome is known, ConfigError without members.
    """
    if not quantiles:
        raise ConfigError("There are no members to weigh; give the quantiles of at least one.")
    known = np.isfinite(actual)
    if not known.any():
        raise DataError(
            "No outcome is known, so no weights can be learnt; give origins with outcomes."
        )
    parts = np.stack([np.asarray(q, float)[known].ravel() for q in quantiles.values()])  # [M, N·Q]
    target = np.repeat(np.asarray(actual, float)[known], len(levels))
    level = np.tile(np.asarray(levels, float), int(known.sum()))
    members = len(parts)
    unit = np.abs(target).mean() or 1.0  # of the loss, so that the program's numbers are near 1

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean pinball loss and a subgradient [M] of it."""
        error = target - weights @ parts
        slope = level - (error < 0)
        return float((slope * error).mean()) / unit, -(parts @ slope) / (len(target) * unit)

    best, least, planes, offsets = np.full(members, 1 / members), np.inf, [], []
    weights = best
    for _ in range(ROUNDS):
        value, gradient = loss(weights)
        if value < least:
            best, least = weights, value
        planes.append([*gradient, -1.0])  # value + gradient · (w − weights) <= t
        offsets.append(gradient @ weights - value)
        found = linprog(
            [0.0] * members + [1.0],
            A_ub=planes,
            b_ub=offsets,
            A_eq=[[1.0] * members + [0.0]],
            b_eq=[1.0],
            bounds=[(0, 1)] * members + [(0, None)],
        )
        if not found.success or least - found.fun <= TOLERANCE * least:
            break
        weights = found.x[:-1]
    best = np.clip(best, 0, None)
    return {name: float(w) for name, w in zip(quantiles, best / best.sum(), strict=True)}
