"""Pinball loss and the rearrangement that keeps quantiles from crossing."""

from __future__ import annotations

import torch
from torch import Tensor


def pinball(quantiles: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """Mean pinball loss over all known targets and levels; zero if no target is known.

    Parameters
    ----------
    quantiles : [..., Q]
    target : [...], NaN where unknown
    levels : [Q]

    References
    ----------
    Koenker & Bassett 1978, Regression Quantiles.
    """
    loss, known = _losses(quantiles, target, levels)
    return loss.sum() / known.sum().clamp(min=1)


def pinball_by_origin(quantiles: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """`pinball` of each origin [K] alone; quantiles [K, H, Q], target [K, H]."""
    loss, known = _losses(quantiles, target, levels)
    return loss.sum(-1) / known.sum(-1).clamp(min=1)


def _losses(quantiles: Tensor, target: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [...] over all levels, zero where the target is unknown; and where it is known."""
    known = torch.isfinite(target)
    error = torch.where(known, target, 0.0)[..., None] - quantiles
    return torch.maximum(levels * error, (levels - 1) * error).mean(-1) * known, known


def squared(quantiles: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of quantiles [..., Q] from `wanted` [..., Q], where `known` [...]."""
    distance = (quantiles - wanted).square().mean(-1)
    return torch.where(known, distance, 0.0).sum() / known.sum().clamp(min=1)


def rearrange(raw: Tensor) -> Tensor:
    """Sort the last axis: crossing quantiles rearranged (Chernozhukov et al. 2010)."""
    return raw.sort(-1).values
