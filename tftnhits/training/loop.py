"""The training loop: AdamW, cosine annealing, averaged weights, early stopping, and a state that survives kill -9."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..config import NHITSConfig, TFTConfig, TrainConfig
from ..data.features import GROUPS
from ..data.windows import Batch, Panel, blocks, gather, training_starts
from ..errors import CheckpointError, ConfigError
from ..models.baselines import empirical_quantiles
from ..models.losses import pinball, squared
from ..models.store import build, fingerprint, load_state, save_state
from ..models.tft import TFT

ORIGINS = 64  # origins a chunk in evaluation: a constant, since the grid of chunks is part of the forecast
CHUNKS = 32  # chunks a batch in evaluation
WARMUP = 0.05  # share of the steps over which the learning rate rises


@dataclass
class Fit:
    """A trained network with its learning curve."""

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)  # a row an epoch
    seconds: float = 0.0


def device() -> str:
    """Where networks train: the GPU if torch sees one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def outputs(
    model: nn.Module, panel: Panel, rows: np.ndarray
) -> Iterator[tuple[Any, Batch, np.ndarray, tuple]]:
    """Run the network on the chunks that hold the origins `rows` [K].

    Yields the network's output, its batch, and for the origins found in it their index in `rows` [k] and their
    places ([k], [k]) in the [B, N] forecasts. Chunks that hold one of the origins each are decoded for that alone.
    """
    context = model.config.context
    where = next(model.parameters()).device
    panel = panel.with_tensors(str(where))
    starts, place = blocks(panel, rows, context, ORIGINS)
    chunk, fork = np.divmod(place, ORIGINS)
    single = len(starts) == len(rows)
    order = np.argsort(fork if single else chunk, kind="stable")
    if model.training:
        model.eval()  # it visits every part, which takes as long as a small forecast
    for first in range(0, len(starts), CHUNKS):
        if single:
            index = order[first : first + CHUNKS]
            found, batch = _single(model, panel, rows[index], fork[index], where)
            yield found, batch, index, (np.arange(len(index)), np.zeros(len(index), int))
            continue
        batch = gather(panel, starts[first : first + CHUNKS], context, ORIGINS)
        with torch.inference_mode():
            found = model(batch)
        low, high = np.searchsorted(chunk[order], [first, first + CHUNKS])
        # outside: a generator that is left half-way would leave gradients off for all
        index = order[low:high]
        yield found, batch, index, (chunk[index] - first, fork[index])


def _single(
    model: nn.Module, panel: Panel, rows: np.ndarray, fork: np.ndarray, where: Any
) -> tuple[Any, Batch]:
    """The output with N = 1 for origins `rows` [B], each the one at `fork` [B] of its chunk, and the batch."""
    context = model.config.context
    with torch.inference_mode():
        if isinstance(model, TFT):  # the encoder starts where the chunk does
            batch = gather(panel, rows - fork - context + 1, context, int(fork.max()) + 1)
            at = torch.as_tensor(fork, device=where)
            own = [
                x[torch.arange(len(at), device=where), at][:, None]
                for x in (batch.target, batch.scale)
            ]
            return model(batch, at), batch._replace(target=own[0], scale=own[1])
        batch = gather(panel, rows - context + 1, context, 1)
        return model(batch), batch


def forecast_rows(model: nn.Module, panel: Panel, rows: np.ndarray) -> np.ndarray:
    """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
    out = np.empty((len(rows), model.config.horizon, len(model.config.quantiles)), np.float32)
    for found, _, index, place in outputs(model, panel, rows):
        out[index] = found.quantiles.cpu().numpy()[place]
    root = np.sqrt(np.arange(1, model.config.horizon + 1))[:, None]
    return out * np.asarray(panel.scale)[rows, None, None] * root


def split_loss(model: nn.Module, panel: Panel, split: str = "valid") -> float:
    """Mean pinball loss over a split's origins, in units of scale · √step; NaN if the split is empty."""
    rows, levels = panel.origins(split, model.config.context), torch.tensor(model.config.quantiles)
    total = torch.zeros(())
    for found, batch, index, place in outputs(model, panel, rows):
        quantiles, target = found.quantiles[place], batch.target[place]
        total += pinball(quantiles, target, levels.to(target.device)).cpu() * len(index)
    return float(total) / len(rows) if len(rows) else math.nan


class _Run:
    """All that changes while training, so that it can be written and read back."""

    def __init__(
        self, model: nn.Module, train: TrainConfig, steps: int, teachers: Sequence[nn.Module] = ()
    ):
        self.model, self.train, self.teachers = model, train, teachers
        self.average, self.best = copy.deepcopy(model), copy.deepcopy(model)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, fused=True
        )
        self.epoch, self.best_loss, self.bad, self.history = 0, math.inf, 0, []
        self.total = steps * train.epochs
        self.pairs = list(self.average.parameters()), list(model.parameters())

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine down to zero."""
        warm = max(WARMUP * self.total, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.total))
        return self.train.learning_rate * min((step + 1) / warm, 1.0) * cosine

    def loss(self, batch: Batch, levels: torch.Tensor) -> torch.Tensor:
        """Pinball loss against the outcomes, or squared distance from the teachers' mean quantiles."""
        found = self.model(batch).quantiles
        if not self.teachers:
            return pinball(found, batch.target, levels)
        with torch.no_grad():
            taught = sum(teacher(batch).quantiles for teacher in self.teachers) / len(self.teachers)
        return squared(found, taught, torch.isfinite(batch.target))

    def step(self, batch: Batch, levels: torch.Tensor, index: int) -> torch.Tensor:
        """One update of the weights and of their average; returns the loss, still on its device."""
        self.optimizer.param_groups[0]["lr"] = self.rate(index)
        loss = self.loss(batch, levels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip)
        self.optimizer.step()
        # a young average follows quickly, else the random start would weigh on it
        decay = min(self.train.averaging, (1 + index) / (10 + index))
        with torch.no_grad():
            torch._foreach_lerp_(self.pairs[0], self.pairs[1], 1 - decay)
        return loss.detach()

    def judge(self, loss: float) -> None:
        """Keep the averaged weights if their validation loss is the best so far (or there is none to see)."""
        if loss < self.best_loss or (math.isnan(loss) and not math.isfinite(self.best_loss)):
            self.best_loss, self.bad = loss, 0
            self.best.load_state_dict(self.average.state_dict())
        else:
            self.bad += 1

    def save(self, path: Path, key: dict[str, Any]) -> None:
        """Write the state after an epoch."""
        parts = {"model": self.model, "average": self.average, "best": self.best}
        tensors = {
            f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()
        }
        for i, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in values.items()}
        best = None if math.isnan(self.best_loss) else self.best_loss
        record = {
            "key": key,
            "epoch": self.epoch,
            "best_loss": best,
            "bad": self.bad,
            "history": self.history,
        }
        save_state(path, tensors, record)

    def load(self, path: Path, key: dict[str, Any]) -> None:
        """Read the state that `save` wrote; raises CheckpointError if it belongs to another run."""
        tensors, record = load_state(path)
        found = record.get("key")
        if found != key:
            changed = ", ".join(
                k for k in key if not isinstance(found, dict) or found.get(k) != key[k]
            )
            raise CheckpointError(
                f"{path} was made with another {changed}; delete it, or choose another folder."
            )
        for name, part in {"model": self.model, "average": self.average, "best": self.best}.items():
            part.load_state_dict(
                {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}
            )
        state: dict[int, dict[str, torch.Tensor]] = {}
        for k, v in tensors.items():
            if k.startswith("adam."):
                _, i, name = k.split(".")
                state.setdefault(int(i), {})[name] = v
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.epoch, self.bad, self.history = record["epoch"], record["bad"], record["history"]
        self.best_loss = math.nan if record["best_loss"] is None else record["best_loss"]


def _masked(batch: Batch, panel: Panel, chance: float, generator: np.random.Generator) -> Batch:
    """Hide whole groups of inputs from some chunks, so that a panel that lacks them needs no imputing."""
    kept = {name: generator.random(len(batch.observed)) >= chance for name in GROUPS}
    out: dict[str, torch.Tensor] = {}
    for kind, names in panel.inputs.items():
        values = getattr(batch, kind)
        keep = np.ones((len(values), len(names)), np.float32)
        for group, members in GROUPS.items():
            keep[:, [i for i, n in enumerate(names) if n in members]] *= kept[group][:, None]
        keep = keep if values.ndim == 2 else keep[:, None]
        out[kind] = values * torch.as_tensor(keep, device=values.device)
    return batch._replace(**out)


def _epoch(run: _Run, panel: Panel, levels: torch.Tensor, bar: tqdm) -> dict[str, float]:
    """Train one epoch and judge it; returns its row of the learning curve."""
    train, context = run.train, run.model.config.context
    # all randomness of an epoch follows from seed and number, so a resumed run repeats it
    torch.manual_seed(train.seed * 1_000_003 + run.epoch + 1)
    generator = np.random.default_rng([train.seed, run.epoch, 1])
    starts = training_starts(panel, context, train.origins, train.seed * 1_000_003 + run.epoch)
    run.model.train()
    begin, windows, losses = time.perf_counter(), 0, []
    steps = math.ceil(len(starts) / train.batch)
    for i in range(steps):
        batch = gather(
            panel, starts[i * train.batch : (i + 1) * train.batch], context, train.origins, "train"
        )
        batch = _masked(batch, panel, train.mask, generator)
        losses.append(run.step(batch, levels, min(run.epoch * steps + i, run.total - 1)))
        windows += int(torch.isfinite(batch.target[..., 0]).sum())
        bar.update(1)
    seconds = time.perf_counter() - begin
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise ConfigError(
            f"The training loss is {loss} in epoch {run.epoch + 1}; lower TrainConfig.learning_rate."
        )
    valid = split_loss(run.average, panel)
    run.judge(valid)
    row = {
        "epoch": run.epoch + 1,
        "train": loss,
        "valid": valid,
        "rate": windows / seconds,
        "seconds": seconds,
    }
    bar.set_postfix_str(f"loss {loss:.4f}, valid {valid:.4f}, {row['rate']:,.0f} windows/s")
    return row


def _like(teacher: nn.Module, model: nn.Module) -> nn.Module:
    """The teacher; raises ConfigError if its quantiles are not comparable with the model's."""
    own, others = ((m.inputs, m.config.horizon, m.config.quantiles) for m in (model, teacher))
    if own != others:
        raise ConfigError(
            "A teacher has other inputs, horizon or levels than the network; train it alike."
        )
    return teacher


def fit(
    config: TFTConfig | NHITSConfig,
    panel: Panel,
    train: TrainConfig | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    watch: Callable[[dict[str, float]], None] | None = None,
    teachers: Sequence[nn.Module] = (),
) -> Fit:
    """Train a network on a panel's training split; the best averaged weights on validation are kept.

    The network starts as its volatility scale times the training split's empirical quantiles and never ends
    worse than that on validation. With `checkpoint` (a file) the state is written after each epoch, and a run
    that finds one goes on from it to the very weights of an uninterrupted run. `watch` is called after each epoch
    with a copy of its row of the learning curve (epoch, train, valid, rate, seconds), and may raise to stop.
    With `teachers`, trained networks with the same inputs, horizon and levels, it learns their mean quantiles
    instead of the outcomes (distillation, Hinton et al. 2015): one network that forecasts as several averaged do.
    Raises ConfigError, HistoryTooShort (no training origin), CheckpointError, OutputError.
    """
    train = train or TrainConfig()
    if config.horizon != panel.config.horizon:
        raise ConfigError(
            f"The model's horizon is {config.horizon} but the panel's {panel.config.horizon}; make both the same."
        )
    begin = time.perf_counter()
    torch.manual_seed(train.seed)
    model = build(config, panel.inputs)
    steps = math.ceil(len(training_starts(panel, config.context, train.origins, 0)) / train.batch)
    model.base.copy_(
        torch.as_tensor(
            empirical_quantiles(panel, np.asarray(panel.scale, float), config.quantiles)
        )
    )
    model.to(device())
    tensors = panel.with_tensors(device())
    teachers = [copy.deepcopy(_like(teacher, model)).to(device()).eval() for teacher in teachers]
    run, path = _Run(model, train, steps, teachers), Path(checkpoint) if checkpoint else None
    key = {"model": type(model).__name__, "config": config.to_dict(), "train": train.to_dict()}
    key |= {"panel": panel.config.to_dict(), "data": panel.digest()}
    if teachers:
        key["teachers"] = [fingerprint(teacher) for teacher in teachers]
    key = json.loads(json.dumps(key))  # as it will be read back: tuples are lists
    if path and path.exists():
        run.load(path, key)
    else:
        run.judge(split_loss(model, tensors))
    levels = torch.tensor(config.quantiles, device=device())
    with tqdm(
        total=run.total, initial=run.epoch * steps, desc=type(model).__name__, disable=not progress
    ) as bar:
        while run.epoch < train.epochs and run.bad < train.patience:
            row = _epoch(run, tensors, levels, bar)
            run.epoch += 1
            run.history.append(row)
            if path:
                run.save(path, key)
            if watch:
                watch(dict(row))
    return Fit(run.best.cpu().eval(), run.history, time.perf_counter() - begin)
