"""Training on several cores of one process: each shard of a batch has a thread and a copy.

Operations of small networks that are split over cores wait for each other. A batch is always cut
into as many shards, whatever the number of cores, so that this changes no weight. A shard goes
piece by piece, for what its operations pass on to each other to stay in a core's cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..data.windows import Batch
from ..models.caller import side_by_side
from ..models.layers import Dropout
from .ranks import APART, add_gradients

SHARDS = 2
PIECE = 512  # origins that a shard takes at once, if it has more


class Shards:
    """Copies of a network with its weights, but gradients and random masks of their own."""

    def __init__(self, model: nn.Module):
        self.models = [model, *(_sharing(model) for _ in range(SHARDS - 1))]
        self.generators = [torch.Generator() for _ in self.models[1:]]
        for other, generator in zip(self.models[1:], self.generators, strict=True):
            for part in other.modules():
                if isinstance(part, Dropout):
                    part.generator = generator

    def seed(self, number: int) -> None:
        """Begin the random masks of all copies but the first, whose are torch's own."""
        for i, generator in enumerate(self.generators, 1):
            generator.manual_seed(number + i * APART)

    def gradients(self, loss: Callable[[nn.Module, Batch], Tensor], batch: Batch) -> Tensor:
        """Set the network's gradients to those of the batch's loss, which is returned.

        `loss` is the mean over the known targets of a batch.
        """

        chunks, origins = batch.scale.shape[:2]
        count = SHARDS * max(1, chunks * origins // (SHARDS * PIECE))

        def shard(number: int) -> Tensor:
            model = self.models[number]
            model.zero_grad(set_to_none=False)
            own = partial(loss, model)
            pieces = range(number, count, SHARDS)
            return sum(add_gradients(own, batch, piece, count) for piece in pieces)

        parts = [*side_by_side(shard, range(SHARDS))]
        first, *others = ([weight.grad for weight in m.parameters()] for m in self.models)
        for gradients in others:
            torch._foreach_add_(first, gradients)
        return torch.stack(parts).sum()


def _sharing(model: nn.Module) -> nn.Module:
    """A copy whose weights are the model's, in the same memory, and whose gradients are its own."""
    other = copy.deepcopy(model).train()
    for buffer, own in zip(model.buffers(), other.buffers(), strict=True):
        own.data = buffer.data
    for weight, own in zip(model.parameters(), other.parameters(), strict=True):
        weight.grad = torch.zeros_like(weight)
        own.data, own.grad = weight.data, torch.zeros_like(weight)
    return other
