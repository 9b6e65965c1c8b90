"""The members that forecast, their training, and the weighted average of their quantiles."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..config import ENSEMBLE_WEIGHTS, SEEDS, TrainConfig, preset, with_horizon
from ..data.windows import Panel
from ..device import device_of
from ..errors import ConfigError, DataError, quoted
from ..models.boosting import Boosting

if TYPE_CHECKING:
    from torch import nn

MEMBERS = ("tft", "nhits", "boosting")  # that are trained
WALK = "walk"
NAMES = {
    "tft": "TFT",
    "nhits": "N-HITS",
    "boosting": "gradient boosting",
    WALK: "volatility-scaled random walk",
}
TOLERANCE = 1e-6  # of the loss, between the weights learnt and the best there are
ROUNDS = 200
ENOUGH = 250  # origin dates from which a weight of HAR can be learnt
MANY = 20_000  # origins to learn it by
WORTH = 10_000  # origins that take the CPU as long as a GPU takes to start: seconds
MOST = 0.9  # that it gets: an ensemble without its networks would be none


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
    """A trained TFT or N-HITS as a member; several that differ by seed are averaged.

    `history` is the learning curve of the fit, empty for networks that were loaded. Raises
    ConfigError without networks, or where they differ in more than their weights.
    """

    def __init__(self, model: nn.Module | Sequence[nn.Module], history: Sequence[dict] = ()):
        self.models = tuple(model) if isinstance(model, list | tuple) else (model,)
        if not self.models:
            raise ConfigError("A member has no network; give at least one model.")
        self.model = self.models[0]
        config, inputs = self.model.config, self.model.inputs
        if any((m.config, m.inputs) != (config, inputs) for m in self.models):
            raise ConfigError(
                "The networks of a member differ in more than their weights; train them alike."
            )
        self.context, self.horizon = config.context, config.horizon
        self.levels = tuple(config.quantiles)
        self.history = list(history)
        self.device = "auto"

    def to(self, device: str) -> Network:
        """Use copies of the networks there from now on; "auto" awaits work for which a GPU pays."""
        if device != "auto":
            place = device_of(device)
            self.models = tuple(copy.deepcopy(model).to(place) for model in self.models)
            self.model = self.models[0]
        self.device = device
        return self

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        from ..training.loop import forecast_rows  # needs torch

        if self.device == "auto" and len(rows) >= WORTH and next(self.model.parameters()).is_cpu:
            self.to(device_of())
        return sum(forecast_rows(m, panel, rows) for m in self.models) / len(self.models)


def train_members(
    panel: Panel,
    preset_name: str = "quick",
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    names: Sequence[str] = MEMBERS,
    seeds: int | None = None,
    device: str = "auto",
) -> dict[str, Member]:
    """Trained members by name; networks carry their learning curve as `history`.

    Parameters
    ----------
    panel : the training data; its horizon is that of the members
    preset_name : a name of config.PRESETS
    train : settings of the training loop instead of the preset's
    folder : of the networks' states ("tft.state"), from which a call that was cut short goes on
    names : which of MEMBERS; without torch the networks are left out
    seeds : networks that each network is distilled from; None takes the preset's number
    device : to train on, as of training.loop.fit, and to forecast on, as of Predictor.to

    Raises
    ------
    ConfigError, HistoryTooShort, CheckpointError, OutputError
    """
    tft, nhits, boosting, usual = preset(preset_name)
    configs = {"tft": tft, "nhits": nhits, "boosting": boosting}
    seeds = seeds or SEEDS.get(preset_name, 1)
    members: dict[str, Member] = {}
    for name in names:
        config = with_horizon(configs[name], panel.config.horizon)
        if name == "boosting":
            members[name] = Boosting(config).fit(panel)
        elif has_torch():
            state = Path(folder) / name if folder else None
            how = {"progress": progress, "device": device}
            members[name] = _train_network(config, panel, train or usual, seeds, state, how)
        else:
            device_of(device)  # there is the CPU alone
    return members


def _train_network(
    config: Any, panel: Panel, train: TrainConfig, seeds: int, state: Path | None, how: dict
) -> Network:
    """A network of one seed, or distilled from several; its states are at `state` and an ending."""
    from ..training.loop import fit

    def path(suffix: str) -> Path | None:
        return state.with_name(f"{state.name}{suffix}.state") if state else None

    fits = []
    for i in range(seeds):
        settings = replace(train, seed=train.seed + i)
        fits.append(fit(config, panel, settings, path(f"-{i}" if i else ""), **how))
    if seeds > 1:
        student = replace(config, dropout=0.0)  # what it learns from has no noise
        teachers = [one.model for one in fits]
        fits = [fit(student, panel, train, path("-distilled"), teachers=teachers, **how)]
    return Network(fits[0].model, fits[0].history).to(how["device"])


def check_weights(
    weights: dict[str, float], names: Sequence[str] = tuple(ENSEMBLE_WEIGHTS)
) -> dict[str, float]:
    """Weights of the networks `names`, and HAR's if it has one, scaled to sum 1.

    Raises ConfigError on what is no weight.
    """
    every = (*ENSEMBLE_WEIGHTS, WALK)
    known = isinstance(weights, dict) and all(name in every for name in weights)
    if known and not names:
        return {}
    if known and WALK in weights:
        names = [*names, WALK]
    values = np.array([np.nan])
    if known:
        with suppress(TypeError, ValueError, OverflowError):
            values = np.array([weights.get(name, 0.0) for name in names], float)
    with np.errstate(over="ignore"):
        total = values.sum()
    alone = known and not any(weights.get(name) for name in ENSEMBLE_WEIGHTS)  # HAR
    if values.ndim != 1 or (values < 0).any() or not 0 < total < np.inf or alone:
        raise ConfigError(
            f"The ensemble weights {quoted(weights)} can't be used; give numbers of at least 0 by "
            f"network, not all 0, such as {ENSEMBLE_WEIGHTS}."
        )
    return dict(zip(names, (values / total).tolist(), strict=True))


def combine(quantiles: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """Weighted average of quantiles […, Q], level by level (Vincent 1912): it keeps their order."""
    return sum(w * np.asarray(quantiles[name], float) for name, w in weights.items() if w)


def with_har(
    quantiles: dict[str, np.ndarray],
    weights: dict[str, float],
    actual: np.ndarray,
    date: np.ndarray,
    levels: Sequence[float],
) -> dict[str, float]:
    """Weights in which HAR, the scale under the random walk, has what it earned on origins.

    Learnt on the first half of their dates, but for those whose outcomes reach into the second, and
    given only if the second is forecast better by it; as before with fewer than ENOUGH dates.

    quantiles : by member, [K, H, Q] at `levels`; actual : [K, H]; date : [K]
    """
    dates = np.unique(date[~np.isnat(date)])
    if len(dates) < ENOUGH:
        return weights
    networks = {name: weight for name, weight in weights.items() if name != WALK}
    networks = check_weights(networks, list(networks))
    parts = {"networks": combine(quantiles, networks), WALK: quantiles[WALK]}
    half = len(dates) // 2
    early, late = date < dates[half - actual.shape[1]], date >= dates[half]
    some = np.flatnonzero(early)[:: max(1, early.sum() // MANY)]
    learnt = learn_weights({k: q[some] for k, q in parts.items()}, actual[some], levels)
    har = min(learnt[WALK], MOST)
    mixed = combine(parts, {"networks": 1 - har, WALK: har})
    losses = [
        np.nanmean(pinball_loss(q[late], actual[late], levels)) for q in (mixed, parts["networks"])
    ]
    if not losses[0] < losses[1]:
        return networks
    return {name: weight * (1 - har) for name, weight in networks.items()} | {WALK: har}


def pinball_loss(quantiles: np.ndarray, actual: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Pinball loss averaged over levels (Koenker & Bassett 1978): [..., Q], [...] → [...]."""
    level = np.asarray(levels)
    error = np.asarray(actual)[..., None] - quantiles
    return np.maximum(level * error, (level - 1) * error).mean(-1)


def coverage(lower: np.ndarray, upper: np.ndarray, actual: np.ndarray) -> float:
    """Share of the known actual values inside [lower, upper]; NaN if none is known."""
    known = np.isfinite(actual)
    if not known.any():
        return float("nan")
    inside = (actual >= lower) & (actual <= upper)
    return float(inside[known].mean())


def learn_weights(
    quantiles: dict[str, np.ndarray], actual: np.ndarray, levels: Sequence[float]
) -> dict[str, float]:
    """Weights, at least 0 and of sum 1, whose quantile average has the least mean pinball loss.

    The loss is convex in the weights, so cutting planes (Kelley 1960) find it: each round adds the
    loss's tangent at the last weights, and the least of all tangents, a linear program, bounds what
    is left to gain. The bound ends it at TOLERANCE.

    quantiles: by member, [K, H, Q] at `levels`; actual: [K, H], NaN where unknown. Raises DataError
    if no outcome is known.
    """
    from scipy.optimize import linprog

    known = np.isfinite(actual)
    if not known.any():
        raise DataError(
            "No outcome is known, so no weights can be learnt; give origins with outcomes."
        )
    values = np.stack([np.asarray(q, float)[known].ravel() for q in quantiles.values()])  # [M, N·Q]
    target = np.repeat(np.asarray(actual, float)[known], len(levels))
    level = np.tile(np.asarray(levels, float), int(known.sum()))
    members = len(values)
    unit = np.abs(target).mean() or 1.0  # of the loss, so that the program's numbers are near 1
    weights = best = np.full(members, 1 / members)
    least, planes, offsets = np.inf, [], []
    for _ in range(ROUNDS):
        # Mean loss at the weights, and a subgradient [M] of it
        error = target - weights @ values
        slope = level - (error < 0)
        loss = float((slope * error).mean()) / unit
        gradient = -(values @ slope) / (len(target) * unit)
        if loss < least:
            best, least = weights, loss
        # The tangent, loss + gradient · (w − weights) <= t, and the least t under all of them
        planes.append([*gradient, -1.0])
        offsets.append(gradient @ weights - loss)
        program = linprog(
            [0.0] * members + [1.0],
            A_ub=planes,
            b_ub=offsets,
            A_eq=[[1.0] * members + [0.0]],
            b_eq=[1.0],
            bounds=[(0, 1)] * members + [(0, None)],
        )
        if not program.success or least - program.fun <= TOLERANCE * least:
            break
        weights = program.x[:-1]
    best = np.clip(best, 0, None)
    return {name: float(w) for name, w in zip(quantiles, best / best.sum(), strict=True)}
