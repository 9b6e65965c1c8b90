"""Fine-tuning: a trained predictor's networks go on learning, at a low rate, on other bars."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from ..config import STEPS, TrainConfig
from ..data.splits import SHARES
from ..data.windows import Panel, panel_of
from ..errors import ConfigError, HistoryTooShort, counted
from ..files import versions
from ..models.store import fingerprint
from ..training.loop import fit
from .ensemble import WALK, Member, Network, pinball_loss
from .pools import last_days, latest, unseen
from .predictor import PACKAGES, Predictor

SHIPPED = "shipped"
# bench/finetune.py: of twelve settings on bars of five kinds the quickest that is good on all
GENTLE = TrainConfig(epochs=4, patience=2, batch=2, learning_rate=1e-3)
BLOCK = 20  # dates, as far as the shipped model looks ahead
LUCK = 0.01  # probability of taking networks that are no better


def fine_tune(
    model: Predictor | str | Path | None,
    bars: Any,
    train_end: str | None = None,
    valid_end: str | None = None,
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    device: str = "auto",
) -> Predictor:
    """A predictor whose networks have gone on learning on other bars; never worse on validation.

    A network stays as it was unless its loss on validation falls, and all of them do unless their
    ensemble's does by more than luck: with one symbol's few months a network soon learns the calm
    or the storm of just these, and a loss that fell by 2% rose by as much afterwards. Inputs,
    scale, weights, gradient boosting and the random walk are the start's; its calibration goes on
    over validation and test. `manifest["fine-tuned"]` tells what became of each network: by name
    its loss at the start and at the end, in units of scale · √step.

    Parameters
    ----------
    model : a predictor, or what Predictor.load takes; None or "shipped" is the shipped one
    bars : anything that load_bars takes
    train_end, valid_end : last dates of training and of validation; None takes 70% and 85% of them
    train : settings of the training loop instead of GENTLE
    folder : for the predictor and the training states, from which a call that was cut short goes on
    progress : show a bar
    device : to train on, as of training.loop.fit, and to forecast on, as of Predictor.to

    Raises
    ------
    DataError : bad bars; HistoryTooShort where no origin is left to train or to validate on
    ConfigError : dates out of order, a rate at which training diverges, no network to train
    CheckpointError, OutputError : a folder that can't be read, written, or is of another run
    """
    if not isinstance(model, Predictor):
        model = Predictor.load(None if model == SHIPPED else model, device)
    networks = {k: m for k, m in model.members.items() if isinstance(m, Network)}
    if not networks or set(networks) != set(model.weights) - {WALK}:
        raise ConfigError("A network of this model is missing or can't run; give a whole one.")
    config = replace(model.panel_config, train_end=train_end, valid_end=valid_end)
    panel = panel_of(model.read(bars), config, model.fitted)
    _check_history(panel, model.context)
    tuned, losses, how = {}, {}, {"progress": progress, "device": device}
    for name, network in networks.items():
        state = Path(folder) / name if folder else None
        tuned[name] = _tuned(network, panel, train or GENTLE, state, how)
        pair = [_losses(one, panel, model.context) for one in (network, tuned[name])]
        losses[name] = [float(loss.mean()) for loss in pair]
        if losses[name][1] >= losses[name][0]:
            tuned[name] = network
    # each may be better and their average not: what one had over the other is gone
    both = replace(model, members={**model.members, **tuned})
    pair = [_losses(one, panel, model.context) for one in (model, both)]
    losses["ensemble"] = [float(loss.mean()) for loss in pair]
    if not _surely_less(pair[1] - pair[0], panel, panel.origins("valid", model.context)):
        tuned = networks
    better = _with(model, tuned, panel, losses)
    if folder:
        better.save(folder)
    return better


def _check_history(panel: Panel, context: int) -> None:
    """Raises HistoryTooShort if there is no origin to train or to validate on."""
    horizon, (train, valid) = panel.config.horizon, SHARES
    least = math.ceil(max((context + horizon) / train, (horizon + 1) / (valid - train))) + 1
    for split, what in (("train", "training"), ("valid", "validation")):
        if not len(panel.origins(split, context)):
            longest = counted(int(panel.length.max()), "bar")
            raise HistoryTooShort(
                f"No {what} origin has {context} bars up to it and {horizon} after it in its split "
                f"(the longest history is {longest}); give at least {least} or other split dates, "
                "or forecast with the model as it is."
            )


def _tuned(
    network: Network, panel: Panel, train: TrainConfig, state: Path | None, how: dict[str, Any]
) -> Network:
    """A member whose models have been trained on; their states are at `state` and an ending."""
    fits = []
    for i, model in enumerate(network.models):
        path = state.with_name(f"{state.name}{f'-{i}' if i else ''}.state") if state else None
        settings = replace(train, seed=train.seed + i)
        fits.append(fit(model.config, panel, settings, path, start=model, **how))
    return Network([one.model for one in fits], fits[0].history).to(how["device"])


def _losses(member: Member, panel: Panel, context: int) -> np.ndarray:
    """A member's pinball losses [K] on validation, of the first steps, in units of scale · √step.

    An origin's is the mean over the steps.
    """
    panel = panel.first(STEPS)
    rows = panel.origins("valid", context)
    unit = panel.scale[rows] * np.sqrt(np.arange(1, panel.steps + 1))  # [K, H]
    scaled = member.quantiles(panel, rows) / unit[..., None]
    return pinball_loss(scaled, panel.target[rows], member.levels).mean(1)


def _surely_less(difference: np.ndarray, panel: Panel, rows: np.ndarray) -> bool:
    """Whether losses [K] at the origins `rows` fell by more than luck: Student's t over blocks.

    The symbols of a date are one, and the dates of a block of BLOCK, since they share outcomes.
    """
    date = panel.date[rows]
    when = panel.number(rows) if np.isnat(date).any() else date
    _, place = np.unique(when, return_inverse=True)
    by_date = np.bincount(place, difference) / np.bincount(place)
    blocks = by_date[: len(by_date) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(1)
    if len(blocks) < 2 or difference.mean() >= 0:
        return False
    error = blocks.std(ddof=1) / math.sqrt(len(blocks))
    return bool(blocks.mean() < error * student_t.ppf(LUCK, len(blocks) - 1))


def _with(
    start: Predictor, networks: dict[str, Member], panel: Panel, losses: dict[str, list[float]]
) -> Predictor:
    """The predictor with other networks, calibrated on the panel; its manifest says of what."""
    names = [k for k, member in networks.items() if member is not start.members[k]]
    ends = start.manifest["trained to"]
    if names:
        ends = latest(ends, last_days(panel, panel.origins("train")))
    manifest = start.manifest | {
        "versions": versions(*PACKAGES),
        "trained to": ends,
        "fine-tuned": {
            "from": {k: [fingerprint(m) for m in start.members[k].models] for k in networks},
            "data": panel.digest(),
            "valid": losses,
            "better": names,
        },
    }
    members = {**start.members, **networks}
    tuned = replace(start, members=members, panel_config=panel.config, manifest=manifest)
    rows = np.concatenate([panel.origins(split, tuned.context) for split in ("valid", "test")])
    return tuned._updated(panel, unseen(tuned.pools, panel, rows))
