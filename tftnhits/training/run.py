"""A network in training: all that changes from step to step, and the file that keeps it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..data.windows import Batch
from ..errors import CheckpointError
from ..files import locked
from ..models.losses import pinball, squared
from ..models.store import load_state, save_state
from .graphs import Graphs
from .ranks import ranks
from .shards import Shards

WARMUP = 0.05  # share of the steps over which the learning rate rises
MIXED = 96  # hidden size from which products in bfloat16 save more than the conversions take


class Run:
    """All that changes while training, so that it can be written and read back."""

    def __init__(
        self, model: nn.Module, train: TrainConfig, steps: int, teachers: Sequence[nn.Module] = ()
    ):
        self.model = model
        self.average = _copy(model)
        self.best = _copy(model)
        self.networks = {"model": self.model, "average": self.average, "best": self.best}
        self.pairs = list(self.average.parameters()), list(model.parameters())
        self.train = train
        self.teachers = teachers
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, fused=True
        )
        self.steps = steps  # an epoch
        self.total = steps * train.epochs
        self.epoch = 0
        self.best_loss = math.inf
        self.bad = 0  # epochs since the best
        self.graphs: Graphs | None = None  # of steps on a GPU
        self.ranks = ranks()
        alone = self.ranks is None and next(model.parameters()).is_cpu
        self.shards = Shards(model) if alone else None
        self.mixed = model.config.hidden >= MIXED and _has_bfloat16(self.pairs[1][0].device)
        self.history: list[dict[str, float]] = []

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine down to zero."""
        warm = max(WARMUP * self.total, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.total))
        return self.train.learning_rate * min((step + 1) / warm, 1.0) * cosine

    def loss(self, model: nn.Module, batch: Batch, levels: Tensor) -> Tensor:
        """Pinball loss against the outcomes, or squared distance from the teachers' mean.

        A `mixed` run multiplies matrices in bfloat16; weights, sums and losses stay float32.
        """
        with torch.autocast(levels.device.type, torch.bfloat16, enabled=self.mixed):
            quantiles = model(batch).quantiles
        if not self.teachers:
            return pinball(quantiles, batch.target, levels)
        with torch.no_grad():
            target = sum(teacher(batch).quantiles for teacher in self.teachers) / len(self.teachers)
        return squared(quantiles, target, torch.isfinite(batch.target))

    def step(self, batch: Batch, levels: Tensor, index: int) -> Tensor:
        """One update of the weights and of their average; returns the loss, on its device."""
        self.optimizer.param_groups[0]["lr"] = self.rate(index)
        loss = self.gradients(batch, levels)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip)
        self.optimizer.step()
        # a young average follows quickly, else the random start would weigh on it
        decay = min(self.train.averaging, (1 + index) / (10 + index))
        with torch.no_grad():
            torch._foreach_lerp_(*self.pairs, 1 - decay)
        return loss

    def gradients(self, batch: Batch, levels: Tensor) -> Tensor:
        """Set the weights' gradients; returns the loss, detached."""
        if self.shards is not None:
            return self.shards.gradients(partial(self.loss, levels=levels), batch)
        loss = partial(self.loss, self.model, levels=levels)
        if self.ranks is not None:
            return self.ranks.gradients(loss, batch, self.pairs[1])
        if levels.device.type == "cuda" and not self.teachers:  # what they teach is by kind
            if self.graphs is None:
                self.graphs = Graphs(loss, self.pairs[1])
            return self.graphs(batch)
        self.optimizer.zero_grad(set_to_none=True)
        value = loss(batch)
        value.backward()
        return value.detach()

    def judge(self, loss: float) -> None:
        """Keep the averaged weights if their validation loss is the best, or there is none."""
        if loss < self.best_loss or (math.isnan(loss) and not math.isfinite(self.best_loss)):
            self.best_loss, self.bad = loss, 0
            self.best.load_state_dict(self.average.state_dict())
        else:
            self.bad += 1

    @property
    def stopped(self) -> int | None:
        """The epoch at which early stopping ended it, None while it did not."""
        early = self.bad >= self.train.patience and self.epoch < self.train.epochs
        return self.epoch if early else None

    def save(self, path: Path, key: dict[str, Any]) -> None:
        """Write the state after an epoch, unless another process is further with the same run.

        CheckpointError if one with another run writes to that file: it began first, and keeps it.
        """
        tensors = {}
        for name, network in self.networks.items():
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in values.items()}
        best = None if math.isnan(self.best_loss) else self.best_loss
        record = {"key": key, "epoch": self.epoch, "best_loss": best, "bad": self.bad}
        with locked(path):
            if path.exists():
                other = load_state(path)[1]
                _check_key(path, other.get("key"), key)
                if other["epoch"] >= self.epoch:
                    return
            save_state(path, tensors, {**record, "history": self.history})

    def load(self, path: Path, key: dict[str, Any]) -> None:
        """Read the state that `save` wrote; CheckpointError if it belongs to another run."""
        tensors, record = load_state(path)
        _check_key(path, record.get("key"), key)
        for name, network in self.networks.items():
            network.load_state_dict(_below(tensors, name))
        adam = self.optimizer.state_dict()
        for i in range(len(self.pairs[0])):
            adam["state"][i] = _below(tensors, f"adam.{i}")
        self.optimizer.load_state_dict(adam)
        self.epoch, self.bad, self.history = record["epoch"], record["bad"], record["history"]
        self.best_loss = math.nan if record["best_loss"] is None else record["best_loss"]


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 itself; to emulate it would take minutes."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in able)


def _copy(model: nn.Module) -> nn.Module:
    """A copy whose LSTMs' weights are in one piece again, as cuDNN wants them."""
    copied = copy.deepcopy(model)
    for part in copied.modules():
        if isinstance(part, nn.LSTM):
            part.flatten_parameters()
    return copied


WORDS = {  # what the parts of a run's key are to who reads that one differs
    "model": "kind of network",
    "config": "size of network (the preset)",
    "train": "settings of training (the preset, the seed)",
    "panel": "horizon or split dates",
    "data": "bars",
    "teachers": "networks to learn from",
    "start": "weights to start from",
}


def _below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with `name` and a dot, without it."""
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}


def _check_key(path: Path, earlier: Any, key: dict[str, Any]) -> None:
    """Raise CheckpointError if the state at `path` belongs to another run."""
    if earlier != key:
        earlier = earlier if isinstance(earlier, dict) else {}
        changed = ", ".join(
            WORDS.get(k, k) for k in {**key, **earlier} if earlier.get(k) != key.get(k)
        )
        raise CheckpointError(
            f"{path} is of a run that differs in {changed}; delete it, or choose another folder."
        )
