"""The training loop: AdamW, cosine annealing, averaged weights, early stopping, resume."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..config import SCORE_LEVELS, STEPS, NHITSConfig, TFTConfig, TrainConfig
from ..data.features import GROUPS
from ..data.grid import ORIGINS
from ..data.windows import Batch, Panel, blocks, gather, training_starts
from ..device import device_of
from ..errors import ConfigError
from ..models.baselines import empirical_quantiles
from ..models.caller import first_of_ranks, own_torch, side_by_side
from ..models.losses import pinball, pinball_by_origin
from ..models.store import build, fingerprint
from ..models.tft import TFT
from .ranks import APART, ranks
from .run import Run

CHUNKS = 16  # chunks a batch in evaluation: what fits a core's cache takes a quarter less time
WHOLE = 6  # of so many batches one has the steps beyond the first STEPS


@dataclass
class Fit:
    """A trained network with its learning curve."""

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)  # a row an epoch
    seconds: float = 0.0
    stopped: int | None = None  # the epoch at which early stopping ended it; None: it did not


# --- evaluation


def outputs(
    model: nn.Module, panel: Panel, rows: np.ndarray
) -> Iterator[tuple[Any, Batch, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """Run the network on the chunks that hold the origins `rows` [K].

    Yields the network's output, its batch, and for the origins in it their index in `rows` [k] and
    their places ([k], [k]) in the [B, N] forecasts. Chunks that hold one of the origins each are
    decoded for that alone.
    """
    context = model.config.context
    panel = panel.with_tensors(str(next(model.parameters()).device))
    starts, place = blocks(panel, rows, context, ORIGINS)
    chunk, fork = np.divmod(place, ORIGINS)
    if model.training:
        model.eval()  # it visits every module, which takes as long as a small forecast
    alone = len(starts) == len(rows)
    order = np.argsort(fork if alone else chunk, kind="stable")
    size = 2 * CHUNKS if alone else CHUNKS  # smaller ones keep Python busier than the cores

    @torch.inference_mode()  # a thread's own
    def run(first: int) -> tuple[Any, Batch, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        if alone:
            index = order[first : first + size]
            output, batch = _decode_one(model, panel, rows[index], fork[index])
            return output, batch, index, (np.arange(len(index)), np.zeros(len(index), int))
        batch = gather(panel, starts[first : first + size], context, ORIGINS)
        low, high = np.searchsorted(chunk[order], [first, first + size])
        index = order[low:high]
        return model(batch), batch, index, (chunk[index] - first, fork[index])

    firsts = range(0, len(starts), size)
    yield from side_by_side(run, firsts) if panel.observed.is_cpu else map(run, firsts)


def _decode_one(
    model: nn.Module, panel: Panel, rows: np.ndarray, fork: np.ndarray
) -> tuple[Any, Batch]:
    """Output and batch with N = 1 for origins `rows` [B], each the one at `fork` [B] of a chunk."""
    context = model.config.context
    if not isinstance(model, TFT):
        batch = gather(panel, rows - context + 1, context, 1)
        return model(batch), batch
    # the encoder starts where the chunk does
    batch = gather(panel, rows - fork - context + 1, context, int(fork.max()) + 1)
    place = torch.as_tensor(fork, device=batch.scale.device)
    chunk = torch.arange(len(place), device=place.device)
    target, scale = batch.target[chunk, place][:, None], batch.scale[chunk, place][:, None]
    return model(batch, place), batch._replace(target=target, scale=scale)


def forecast_rows(model: nn.Module, panel: Panel, rows: np.ndarray) -> np.ndarray:
    """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
    scaled = np.empty((len(rows), panel.steps, len(model.config.quantiles)), np.float32)
    for output, _, index, place in outputs(model, panel, rows):
        scaled[index] = output.quantiles.cpu().numpy()[place]
    unit = np.asarray(panel.scale)[rows] * np.sqrt(np.arange(1, panel.steps + 1))  # [K, H]
    return scaled * unit[..., None]


def split_loss(model: nn.Module, panel: Panel, split: str = "valid") -> float:
    """Mean pinball loss of the first steps over a split's origins; NaN if it is empty.

    In units of scale · √step. Over several markets the mean of theirs, each over its unit
    (Panel.judged), of quantiles around a median of zero.
    """
    rows, weights = panel.judged(split, model.config.context)
    levels = torch.tensor(model.config.quantiles, dtype=torch.float32)
    total = 0.0
    for output, batch, index, place in outputs(model, panel.first(STEPS), rows):
        quantiles, target = output.quantiles[place], batch.target[place]
        if panel.mixture is not None:  # which way a market's few validation dates went is luck
            middle = quantiles.shape[-1] // 2
            quantiles = quantiles - quantiles[..., middle : middle + 1]
        loss = pinball_by_origin(quantiles, target, levels.to(target.device)).cpu().numpy()
        total += float(loss @ weights[index])
    return total if len(rows) else math.nan


def valid_loss(model: nn.Module, panel: Panel) -> float:
    """`protocol_loss` of a network over all validation origins that its context allows.

    Raises ConfigError on a network that lacks one of the levels, a panel without validation.
    """
    levels = model.config.quantiles
    if lacking := set(SCORE_LEVELS) - set(levels):
        raise ConfigError(
            f"The model has no quantile level {min(lacking)}; add it to its config's quantiles."
        )
    rows = panel.origins("valid", model.config.context)
    pick = [levels.index(level) for level in SCORE_LEVELS]
    return protocol_loss(forecast_rows(model, panel, rows)[..., pick], panel, rows)


def protocol_loss(quantiles: np.ndarray, panel: Panel, rows: np.ndarray) -> float:
    """Mean pinball loss × 10⁴ of the cumulative log return: the score of the DJIA protocol.

    Parameters
    ----------
    quantiles : [K, H, 9] at the levels SCORE_LEVELS
    rows : their origins [K]; ConfigError if there are none
    """
    if not len(rows):
        raise ConfigError("There is no validation origin to score; move PanelConfig.train_end.")
    actual = np.asarray(panel.outcomes(rows), float)  # [K, H]
    levels = torch.tensor(SCORE_LEVELS, dtype=torch.float64)
    quantiles = torch.as_tensor(np.asarray(quantiles, float))
    return 1e4 * float(pinball(quantiles, torch.as_tensor(actual), levels))


# --- training


def _seed(number: int, kind: str) -> None:
    """Seed the streams that `own_torch` gives back; torch.manual_seed would seed every device's."""
    torch.default_generator.manual_seed(number)
    if kind != "cpu":
        getattr(torch, kind).manual_seed(number)  # of torch.cuda or torch.mps


def _masked(batch: Batch, panel: Panel, chance: float, generator: np.random.Generator) -> Batch:
    """Hide whole groups of inputs from some chunks: a panel that lacks them needs no imputing."""
    chunks = len(batch.observed)
    keep_group = {name: generator.random(chunks) >= chance for name in GROUPS}
    masked = {}
    for kind, names in panel.inputs.items():
        values = getattr(batch, kind)  # [B, T, F], static [B, F]
        keep = np.ones((chunks, len(names)), np.float32)
        for group, members in GROUPS.items():
            columns = [i for i, name in enumerate(names) if name in members]
            keep[:, columns] *= keep_group[group][:, None]
        keep = keep if values.ndim == 2 else keep[:, None]
        masked[kind] = values * torch.as_tensor(keep, device=values.device)
    return batch._replace(**masked)


def _epoch(run: Run, panel: Panel, bar: tqdm) -> dict[str, float]:
    """Train one epoch and judge it; returns its row of the learning curve."""
    train, context = run.train, run.model.config.context
    place = next(run.model.parameters()).device
    # all randomness of an epoch follows from seed and number, so a resumed run repeats it
    apart = APART * run.ranks.rank if run.ranks else 0
    _seed(train.seed * 1_000_003 + run.epoch + 1 + apart, place.type)
    if run.shards is not None:
        run.shards.seed(train.seed * 1_000_003 + run.epoch + 1)
    generator = np.random.default_rng([train.seed, run.epoch, 1])
    starts = training_starts(panel, context, train.origins, train.seed * 1_000_003 + run.epoch)
    first = panel.first(STEPS)
    steps = math.ceil(len(starts) / train.batch)
    levels = torch.tensor(run.model.config.quantiles, dtype=torch.float32, device=place)
    run.model.train()
    begin, losses = time.perf_counter(), []
    windows = torch.zeros((), dtype=torch.int64, device=place)
    for i in range(steps):
        chunks = starts[i * train.batch : (i + 1) * train.batch]
        taught = panel if i % WHOLE == 0 else first
        batch = gather(taught, chunks, context, train.origins, "train")
        batch = _masked(batch, panel, train.mask, generator)
        losses.append(run.step(batch, levels, min(run.epoch * steps + i, run.total - 1)))
        windows += torch.isfinite(batch.target[..., 0]).sum()
        bar.update(1)
    loss = float(torch.stack(losses).mean())  # the GPU is waited for here alone
    seconds = time.perf_counter() - begin
    if not math.isfinite(loss):
        raise ConfigError(
            f"The training loss is {loss} in epoch {run.epoch + 1}; "
            f"lower TrainConfig.learning_rate."
        )
    valid, rate = split_loss(run.average, panel), int(windows) / seconds
    run.judge(valid)
    bar.set_postfix_str(f"loss {loss:.4f}, valid {valid:.4f}, {rate:,.0f} windows/s")
    row = {"epoch": run.epoch + 1, "train": loss, "valid": valid}
    return {**row, "rate": rate, "seconds": seconds}


def fit(
    config: TFTConfig | NHITSConfig,
    panel: Panel,
    train: TrainConfig | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    watch: Callable[[dict[str, float]], None] | None = None,
    teachers: Sequence[nn.Module] = (),
    start: nn.Module | None = None,
    device: str = "auto",
) -> Fit:
    """Train a network on a panel's training split; the best averaged weights are returned.

    It starts as its volatility scale times the training split's empirical quantiles, or as `start`
    is, and never ends worse than that on validation.

    Parameters
    ----------
    config : of the network
    panel : of the config's horizon
    train : settings; None for the defaults
    checkpoint : a file for the state after each epoch; a run that finds one goes on from it to the
        very weights of an uninterrupted run
    progress : show a bar
    watch : called after each epoch with a copy of its row of the learning curve (epoch, train,
        valid, rate in windows/s, seconds); may raise to stop
    teachers : trained networks with the same inputs, horizon and levels, whose mean quantiles it
        learns instead of the outcomes (distillation, Hinton et al. 2015)
    start : a trained network whose weights are the first ones (fine-tuning); alike but for dropout
    device : to train on, as "cuda:1"; "auto" is the first there is of CUDA, MPS and CPU. The
        network that comes back is on the CPU

    Raises
    ------
    ConfigError, HistoryTooShort (no training origin), CheckpointError, OutputError
    """
    train = train or TrainConfig()
    if config.horizon != panel.config.horizon:
        raise ConfigError(
            f"The model's horizon is {config.horizon} but the panel's {panel.config.horizon}; "
            f"make both the same."
        )
    begin = time.perf_counter()
    path = Path(checkpoint) if checkpoint else None
    place = device_of(device)
    ranks(place)  # joins the other processes, if there are some, and takes a GPU
    with own_torch(place):
        run, tensors, key = _start(config, panel, train, path, teachers, start, place)
    first = first_of_ranks()
    # epochs until the last, or until validation has not improved for long
    with tqdm(
        total=run.total,
        initial=run.epoch * run.steps,
        desc=type(run.model).__name__,
        disable=not progress or not first,
    ) as bar:
        while run.epoch < train.epochs and run.stopped is None:
            with own_torch(place):
                row = _epoch(run, tensors, bar)
            run.epoch += 1
            run.history.append(row)
            if path and first:
                run.save(path, key)
            if watch:
                watch(dict(row))
        if run.stopped is not None:
            early = f"stopped early after epoch {run.stopped} of {train.epochs}"
            bar.set_postfix_str(f"{early}, best valid {run.best_loss:.4f}")
    return Fit(run.best.cpu().eval(), run.history, time.perf_counter() - begin, run.stopped)


def _start(
    config: TFTConfig | NHITSConfig,
    panel: Panel,
    train: TrainConfig,
    path: Path | None,
    teachers: Sequence[nn.Module],
    start: nn.Module | None,
    place: str,
) -> tuple[Run, Panel, dict[str, Any]]:
    """The run before its next epoch, the panel on its device, and what tells it from others."""
    # 1. the network as it starts, and its teachers
    _seed(train.seed, torch.device(place).type)
    model = build(config, panel.inputs)
    steps = math.ceil(len(training_starts(panel, config.context, train.origins, 0)) / train.batch)
    if start is None:
        scale = np.asarray(panel.scale, float)
        model.base.copy_(torch.as_tensor(empirical_quantiles(panel, scale, config.quantiles)))
    elif start.inputs == model.inputs and replace(start.config, dropout=config.dropout) == config:
        model.load_state_dict(start.state_dict())
    else:
        raise ConfigError("The network to start from has other inputs or sizes; give its config.")
    model.to(place)
    tensors = panel.with_tensors(place)
    for teacher in teachers:
        alike = teacher.config.quantiles == config.quantiles and teacher.inputs == model.inputs
        if not alike or teacher.config.horizon != config.horizon:
            raise ConfigError("A teacher has other inputs, horizon or levels; train it alike.")
    teachers = [copy.deepcopy(teacher).to(place).eval() for teacher in teachers]

    # 2. the state of an earlier run, if it is one of this
    key = {"model": type(model).__name__, "config": config.to_dict(), "train": train.to_dict()}
    key |= {"panel": panel.config.to_dict(), "data": panel.digest()}
    if teachers:
        key["teachers"] = [fingerprint(teacher) for teacher in teachers]
    if start is not None:
        key["start"] = fingerprint(start)
    key = json.loads(json.dumps(key))  # as it will be read back: tuples are lists
    run = Run(model, train, steps, teachers)
    if path and path.exists():
        run.load(path, key)
    else:
        run.judge(split_loss(model, tensors))
    return run, tensors, key
