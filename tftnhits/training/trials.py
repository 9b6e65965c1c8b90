"""Tuning by Optuna, and the log of all trials: a JSON line for each configuration ever scored.

How many were tried decides how much of the best score is luck (Bailey & López de Prado 2014), so
the log is only ever added to, by any number of processes, and a line that a kill cut off counts.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from ..config import NHITSConfig, TFTConfig, TrainConfig, preset, with_horizon
from ..data.windows import Panel, training_starts
from ..errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingDependency,
    OutputError,
)
from ..files import locked, sha256

if TYPE_CHECKING:
    import optuna

UNIT = "mean pinball loss x 1e4 of the cumulative log return, 9 levels"  # the DJIA protocol's
FIELDS = ("time", "study", "model", "config", "train", "valid", "unit", "seed")
START = b'{"time": '  # how each line begins
# no part of a configuration: seeds are replicas, and a walk-forward's dates differ by fold
REPLICAS = ("seed", "train_end", "valid_end")

NETWORKS = ("tft", "nhits")
UNPRUNED = 4  # trials that finish before any is pruned
FIRST_PRUNED = 2  # epochs that each trial has: before, the averaged weights say little
POOLS = ("8-4-1", "16-4-1", "4-2-1", "8-1", "4-1", "1")  # text, since Optuna keeps no tuples
Config = TFTConfig | NHITSConfig


# --- the log


def log_trial(
    path: str | Path,
    study: str,
    model: str,
    config: Any,
    train: Any,
    valid: float | None,
    seed: int,
    **more: Any,
) -> None:
    """Append one scored configuration to the log, whole or not at all.

    `config` and `train` are settings of the kit, dicts or None; `valid` is the validation loss in
    `unit` (UNIT unless given), None or NaN for a pruned run. Among `more`, `panel` is part of the
    configuration, and `count` says for how many configurations the line stands (those before the
    log began). Raises OutputError if the file can't be written.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = {"time": now, "study": study, "model": model, "config": config, "train": train}
    scored = valid is not None and math.isfinite(valid)
    record |= {"valid": float(valid) if scored else None, "unit": UNIT, "seed": seed, **more}
    line = json.dumps(record, default=_to_json, allow_nan=False).encode() + b"\n"
    with locked(path):
        try:
            _append(path, line)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"Can't write {path}: {reason}; choose another folder.") from error


def _append(path: str | Path, line: bytes) -> None:
    """Add a line, on a line of its own whatever the last one is."""
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the last line was cut off: it spoils no other
                line = b"\n" + line
        file.write(line)


def _to_json(value: Any) -> Any:
    """The kit's settings and numpy's numbers as plain data."""
    return value.to_dict() if hasattr(value, "to_dict") else value.tolist()


def read_trials(path: str | Path) -> pd.DataFrame:
    """The log as a frame, a row a line in the order written, with FIELDS and whatever was given.

    `config` and `train` are dicts. Lines that a kill cut off are left out; `frame.attrs["cut"]`
    counts them. Raises DataError if there is no such log, or a line is none of `log_trial`'s.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror
        raise DataError(f"Can't read the trial log {path}: {reason}; give one's path.") from error
    rows, cut = [], 0
    for number, line in enumerate(filter(None, content.split(b"\n")), 1):
        row = None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if line[: len(START)] == START[: len(line)]:
                cut += 1
                continue
        if not isinstance(row, dict) or not set(FIELDS) <= set(row):
            raise DataError(
                f"{path} is no trial log: line {number} is {line[:40]!r}; give the path of one."
            )
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else list(FIELDS))
    frame.attrs["cut"] = cut
    return frame


def count_trials(path: str | Path, study: str = "") -> int:
    """How many configurations the log holds, of network, training and, where logged, inputs.

    Runs that differ in nothing but the seed or the split dates count once, a line with a `count`
    that often, a line that was cut off once. `study` is how the studies' names begin.
    """
    frame = read_trials(path)
    distinct, others = set(), frame.attrs["cut"]
    for row in frame.to_dict("records"):
        if not str(row["study"]).startswith(study):
            continue
        if row.get("count", 0) > 0:  # NaN where the line has none
            others += int(row["count"])
            continue
        settings = [_configuration(row.get(name)) for name in ("config", "train", "panel")]
        distinct.add(json.dumps([row["model"], *settings], sort_keys=True))
    return len(distinct) + others


def _configuration(settings: Any) -> dict[str, Any]:
    """What tells configurations apart; settings that were not logged (None, NaN) tell nothing."""
    if not isinstance(settings, dict):
        return {}
    return {k: v for k, v in settings.items() if k not in REPLICAS}


# --- the search


@dataclass(frozen=True)
class Tuned:
    """A search, best trial first."""

    frame: pd.DataFrame  # a row a trial: trial, preset (is it?), state, valid, epochs, seconds, …
    configs: list[tuple[Config, TrainConfig]]  # of the finished trials; the first is to be used


@dataclass(frozen=True)
class _Search:
    """What a search starts from, and where its trials are logged."""

    panel: Panel
    config: Config  # the preset's
    train: TrainConfig
    space: dict[str, Any]  # field -> distribution
    log: Path
    name: str  # in the log


def tune(
    network: str,
    panel: Panel,
    preset_name: str,
    trials: int,
    folder: str | Path,
    seed: int = 0,
    progress: bool = True,
    log: str | Path | None = None,
    study: str = "tuning",
) -> Tuned:
    """Search around a preset for the settings with the least `valid_loss`, by Optuna's TPE.

    The first trial is the preset itself; bad ones are pruned by the median. Optuna's database in
    `folder` keeps the search, so that a second call with the same panel and preset goes on to the
    total asked for.

    Parameters
    ----------
    network, panel, preset_name : "tft" or "nhits", what it trains on, where the search starts
    trials : how many finish or are pruned, those of earlier calls included
    folder, seed : where the search is kept; of the search and of the training runs
    log, study : the trial log (None: trials.jsonl in `folder`), and the search's name there

    Raises ConfigError, HistoryTooShort, MissingDependency, CheckpointError (a broken database),
    OutputError (it can't be written, or another process is using it).
    """
    optuna = _import_optuna()
    # 1. where it starts: a preset that this panel can train and score
    if network not in NETWORKS:
        raise ConfigError(f"There is no network {network!r}; choose one of {', '.join(NETWORKS)}.")
    configs = preset(preset_name)
    config = with_horizon(configs[NETWORKS.index(network)], panel.config.horizon)
    train = replace(configs[3], seed=seed)
    training_starts(panel, config.context, train.origins, 0)  # raises HistoryTooShort
    if not len(panel.origins("valid", config.context)):
        raise ConfigError("The panel has no validation origin; move PanelConfig.train_end.")
    space = spaces(config, train, panel)
    log = Path(log or Path(folder) / "trials.jsonl")
    search = _Search(panel, config, train, space, log, study)

    # 2. its trials, one after the other
    path = Path(folder) / f"{network}-{preset_name}.sqlite"
    with locked(path, wait=0):
        database = _open_study(path, search)
        done = _resume(database, search)
        bar = {"total": trials, "initial": min(done, trials), "desc": f"tuning {network}"}
        for number in tqdm(range(done, trials), **bar, disable=not progress):
            # a seed a trial, so that a resumed search draws nothing twice
            database.sampler = _sampler((seed * 1_000_003 + number) % 2**32)
            trial = database.ask(space)
            loss = _score(search, trial)
            database.tell(trial, loss, optuna.trial.TrialState.PRUNED if loss is None else None)
        return _result(database, search)


def spaces(config: Config, train: TrainConfig, panel: Panel) -> dict[str, Any]:
    """Field -> Optuna distribution around a preset, which lies inside of each."""
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Range

    def is_scored_alike(context: int) -> bool:  # all trials on the same validation origins
        origins = len(panel.origins("valid", context))
        return origins == valid and len(panel.origins("train", context)) > 0

    heads, valid = getattr(config, "heads", 1), len(panel.origins("valid", config.context))
    contexts = {max(config.context // 2, 1), config.context, 2 * config.context, 4 * config.context}
    widths = {max(round(config.hidden * share / heads), 1) * heads for share in (0.5, 1, 1.5, 2)}
    batches = {max(train.batch // 2, 1), train.batch, 2 * train.batch, 4 * train.batch}
    rate, decay = train.learning_rate, train.weight_decay
    space = {
        "context": Choice(sorted(filter(is_scored_alike, contexts))),
        "hidden": Choice(sorted(widths)),
        "dropout": Range(0.0, max(0.7, config.dropout)),
        "learning_rate": Range(rate / 5, rate * 5, log=True),
        "weight_decay": Range(min(1e-3, decay), max(0.3, decay), log=True),
        "batch": Choice(sorted(batches)),
        "averaging": Choice(sorted({0.9, 0.95, 0.98, 0.99, 0.995, train.averaging})),
        "mask": Range(0.0, max(0.3, train.mask)),
    }
    if hasattr(config, "pools"):
        space["pools"] = Choice(sorted({*POOLS, "-".join(map(str, config.pools))}))
    return space


def _import_optuna():
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency(
            "Tuning needs Optuna; install it with pip install 'tftnhits[tuning]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    optuna = _import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _open_study(path: Path, search: _Search) -> optuna.Study:
    """The search as kept on disk; one with other settings or data goes by another name there."""
    optuna = _import_optuna()
    panel = search.panel
    key = [search.config, search.train, search.space, panel.config, panel.digest()]
    try:
        return optuna.create_study(
            storage=f"sqlite:///{path}",
            pruner=optuna.pruners.MedianPruner(UNPRUNED, n_warmup_steps=FIRST_PRUNED),
            study_name=sha256(repr(key).encode())[:16],
            load_if_exists=True,
        )
    except Exception as error:  # Optuna's, SQLAlchemy's or the database's, by what is broken
        reason = str(error).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"{path} holds no search that can be read ({reason}); delete it."
        ) from error


def _resume(study: optuna.Study, search: _Search) -> int:
    """Enqueue the preset, or again what a kill cut short; returns how many trials are done."""
    for trial in study.trials:
        if trial.state.name == "RUNNING":  # its process is dead, since we hold the lock
            study.tell(trial.number, state=type(trial.state).FAIL)
            if set(trial.params) == set(search.space):
                study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    alive = [trial for trial in study.trials if trial.state.name != "FAIL"]
    if not alive:
        start = {**vars(search.train), **vars(search.config)}
        start["pools"] = "-".join(map(str, start.get("pools", ())))
        study.enqueue_trial({k: start[k] for k in search.space}, user_attrs={"preset": True})
    return sum(trial.state.is_finished() for trial in alive)


def _settings(search: _Search, params: dict[str, Any]) -> tuple[Config, TrainConfig]:
    """The preset with a trial's parameters."""
    params = dict(params)
    if "pools" in params:
        params["pools"] = tuple(map(int, params["pools"].split("-")))
    of_network = {k: v for k, v in params.items() if hasattr(search.config, k)}
    of_training = {k: v for k, v in params.items() if k not in of_network}
    return replace(search.config, **of_network), replace(search.train, **of_training)


def _score(search: _Search, trial: optuna.Trial) -> float | None:
    """Train a trial and log it; returns its validation loss, None if it was pruned or diverged."""
    from .loop import fit, valid_loss

    optuna = _import_optuna()
    config, train = _settings(search, trial.params)
    curve: list[float | None] = []

    def watch(row: dict[str, float]) -> None:
        curve.append(row["valid"] if math.isfinite(row["valid"]) else None)
        trial.report(row["valid"], int(row["epoch"]))
        if row["epoch"] < train.epochs and trial.should_prune():
            raise optuna.TrialPruned

    loss, more = None, {"panel": search.panel.config}
    try:
        found = fit(config, search.panel, train, progress=False, watch=watch)
        state, loss = "complete", valid_loss(found.model, search.panel)
        more["stopped"] = found.stopped
    except optuna.TrialPruned:
        state = "pruned"
    except ConfigError:  # the settings were checked: what is left is a loss that exploded
        state = "diverged"
    trial.set_user_attr("state", state)
    # logged first: a kill in between logs it again, and the same configuration counts once
    kind = type(config).__name__.removesuffix("Config")
    more |= {"state": state, "learning_curve": curve}
    log_trial(search.log, search.name, kind, config, train, loss, train.seed, **more)
    return loss


def _result(study: optuna.Study, search: _Search) -> Tuned:
    """All finished and pruned trials, best first."""
    rows, settings = [], {}
    for trial in study.trials:
        if trial.state.name not in ("COMPLETE", "PRUNED"):
            continue
        state = trial.user_attrs["state"]
        row = {"trial": trial.number, "preset": "preset" in trial.user_attrs, "state": state}
        row["valid"] = trial.value if state == "complete" else math.nan
        row["epochs"] = len(trial.intermediate_values)
        row["seconds"] = trial.duration.total_seconds()
        rows.append(row | trial.params)
        settings[trial.number] = _settings(search, trial.params)
    frame = pd.DataFrame(rows).sort_values(["valid", "trial"], ignore_index=True)
    best = frame.loc[frame["state"] == "complete", "trial"]
    return Tuned(frame, [settings[number] for number in best])
