"""Training by several processes at once: each takes a share of every batch's chunks.

`torchrun --nproc-per-node 2 -m tftnhits train bars.csv --out model` starts them, on one machine or
many, with a GPU each where there are some. All of them hold the same weights, since each step adds
up the gradients of all: the step is that of one process with the whole batch. The first alone
writes files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ..data.windows import Batch

APART = 10**12  # between the seeds of processes, whose dropout must differ


@dataclass(frozen=True)
class Ranks:
    """This process's number among `size` that train one network."""

    rank: int
    size: int

    def gradients(
        self, loss: Callable[[Batch], Tensor], batch: Batch, weights: Sequence[Tensor]
    ) -> Tensor:
        """Set the weights' gradients to those of the whole batch's loss, which is returned.

        Parameters
        ----------
        loss : of a batch, the mean over its known targets
        batch : the same in every process
        weights : the same in every process
        """
        for weight in weights:
            weight.grad = None
        total = add_gradients(loss, batch, self.rank, self.size)
        flat = torch.cat([_gradient(weight).reshape(-1) for weight in weights] + [total[None]])
        dist.all_reduce(flat)
        *parts, total = flat.split([weight.numel() for weight in weights] + [1])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight)
        return total[0]


def add_gradients(loss: Callable[[Batch], Tensor], batch: Batch, number: int, count: int) -> Tensor:
    """Add to the gradients what every `count`th chunk gives the batch's loss; returns that part."""
    known = torch.isfinite(batch.target).sum().clamp(min=1)
    own = Batch(*(value[number::count] for value in batch))
    if not len(own.target):  # the last batch may have few chunks
        return torch.zeros((), device=known.device)
    part = loss(own) * torch.isfinite(own.target).sum() / known
    part.backward()
    return part.detach()


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def ranks(device: str = "cpu") -> Ranks | None:
    """The processes that torchrun started with this one, to train on `device`; None if alone."""
    if not dist.is_available() or not (dist.is_initialized() or dist.is_torchelastic_launched()):
        return None
    if not dist.is_initialized():
        cuda = device.startswith("cuda")
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        dist.init_process_group("nccl" if cuda else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.get_world_size() > 1 else None
