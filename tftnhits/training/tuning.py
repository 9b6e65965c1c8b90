"""Tuning: Optuna's TPE over a preset's main fields, pruned by the median, resumable after a kill, all of it logged."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from ..config import SCORE_LEVELS, NHITSConfig, TFTConfig, TrainConfig, preset, with_horizon
from ..data.windows import Panel, training_starts
from ..errors import CheckpointError, ConfigError, MissingDependency, OutputError
from ..models.losses import pinball
from .loop import fit, forecast_rows
from .trials import locked, log_trial

if TYPE_CHECKING:
    import optuna

NETWORKS = ("tft", "nhits")
UNPRUNED = 4  # trials that finish before any is pruned
CALM = (
    2  # the first epoch after which a trial can be pruned: before, the averaged weights say little
)
Config = TFTConfig | NHITSConfig
POOLS = ("8-4-1", "16-4-1", "4-2-1", "8-1", "4-1", "1")  # text, since Optuna keeps no tuples


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    frame: (
        pd.DataFrame
    )  # a row a trial, best first: trial, preset (is it?), state, valid, epochs, seconds, …
    configs: list[
        tuple[Config, TrainConfig]
    ]  # of the finished trials, best first; configs[0] is the one to use


def valid_loss(
    model: nn.Module | np.ndarray, panel: Panel, rows: np.ndarray | None = None
) -> float:
    """Mean pinball loss × 10⁴ over SCORE_LEVELS of the cumulative log return, over validation origins and all steps.

    `model` is a network, or quantiles [K, H, 9] at the origins `rows` [K]; None takes all validation origins that the
    model's context allows (for quantiles: all). This is the score of the DJIA protocol.
    Raises ConfigError on a model that lacks one of the levels, a panel without validation, quantiles of another shape.
    """
    network = isinstance(model, nn.Module)
    if rows is None:
        rows = panel.origins("valid", model.config.context if network else 1)
    if not len(rows):
        raise ConfigError(
            "The panel has no validation origin to score on; move PanelConfig.train_end or valid_end."
        )
    if network and (lacking := set(SCORE_LEVELS) - set(model.config.quantiles)):
        raise ConfigError(
            f"The model has no quantile level {min(lacking)}; add it to its config's quantiles."
        )
    quantiles = model
    if network:
        pick = [model.config.quantiles.index(level) for level in SCORE_LEVELS]
        quantiles = forecast_rows(model, panel, rows)[..., pick]
    actual = panel.outcomes(rows)  # [K, H]
    if np.shape(quantiles) != (*actual.shape, len(SCORE_LEVELS)):
        raise ConfigError(
            f"The quantiles are {np.shape(quantiles)}; give {(*actual.shape, len(SCORE_LEVELS))}."
        )
    as_tensor = (torch.as_tensor(np.asarray(x, float)) for x in (quantiles, actual, SCORE_LEVELS))
    return 1e4 * float(pinball(*as_tensor))


def tune(
    network: str,
    panel: Panel,
    preset_name: str,
    trials: int,
    folder: str | Path,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = True,
    log: str | Path | None = None,
    study: str = "tuning",
) -> Tuned:
    """Search around a preset for the settings of "tft" or "nhits" with the least `valid_loss`.

    The first trial is the preset itself; `trials` counts those that finish or are pruned. The search is kept in
    `folder`, so that a second call goes on to the total asked for: with one job it makes the very trials that an
    uninterrupted call makes. With more jobs, processes of one thread each (every one must see `folder`), the trials
    depend on who finishes first. Each trial goes into the trial log at `log` (None: trials.jsonl in `folder`) under
    the name `study`. Raises ConfigError, HistoryTooShort, MissingDependency, CheckpointError (the folder holds another
    search), OutputError (it can't be written, or another process is using it).
    """
    for name, value in (("trials", trials), ("jobs", jobs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"tune: {name} is {value!r}; give a whole number of at least 1.")
    if network not in NETWORKS:
        raise ConfigError(
            f"There is no network {network!r} to tune; choose one of {', '.join(NETWORKS)}."
        )
    config, train = (
        preset(preset_name)[NETWORKS.index(network)],
        replace(preset(preset_name)[3], seed=seed),
    )
    config, folder = with_horizon(config, panel.config.horizon), Path(folder)
    training_starts(panel, config.context, train.origins, 0)  # raises HistoryTooShort
    if not len(panel.origins("valid", config.context)):
        raise ConfigError(
            "The panel has no validation origin to choose by; move PanelConfig.train_end or valid_end."
        )
    with quiet(), locked(folder / f"{network}-{preset_name}.lock", wait=False):
        around, path = spaces(config, train, panel), folder / f"{network}-{preset_name}.sqlite"
        search = _Search(
            panel, config, train, around, path, str(log or folder / "trials.jsonl"), study
        )
        done = search.prepare()
        tasks = (joblib.delayed(_trial)(search, index, jobs > 1) for index in range(done, trials))
        # arrays are copied (max_nbytes), since torch warns of those that joblib shares read-only
        found = joblib.Parallel(
            jobs,
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
            max_nbytes=None,
        )(tasks)
        with tqdm(
            total=trials, initial=min(done, trials), desc=f"tuning {network}", disable=not progress
        ) as bar:
            for best in found:
                bar.set_postfix_str(f"best {best:.2f}")
                bar.update(1)
        return search.result()


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and notes on what is experimental; raises MissingDependency if it is absent."""
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency(
            "Tuning needs Optuna; install it with pip install 'tftnhits[tuning]'."
        ) from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def spaces(config: Config, train: TrainConfig, panel: Panel) -> dict[str, Any]:
    """Field -> Optuna distribution around a preset, which lies inside of each.

    Only contexts that leave the validation origins and some training origins are offered, so that all trials are
    scored on the same ones.
    """
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Range

    heads, valid = getattr(config, "heads", 1), len(panel.origins("valid", config.context))
    contexts = [
        c
        for c in (config.context // 2, config.context, 2 * config.context, 4 * config.context)
        if c
    ]
    contexts = [
        c
        for c in contexts
        if len(panel.origins("valid", c)) == valid and len(panel.origins("train", c))
    ]
    widths = {max(round(config.hidden * share / heads), 1) * heads for share in (0.5, 1, 1.5, 2)}
    rate, decay = train.learning_rate, train.weight_decay
    out = {
        "context": Choice(contexts),
        "hidden": Choice(sorted(widths)),
        "dropout": Range(0.0, max(0.7, config.dropout)),
        "learning_rate": Range(rate / 5, rate * 5, log=True),
        "weight_decay": Range(min(1e-3, decay), max(0.3, decay), log=True),
        "batch": Choice(
            sorted({max(train.batch // 2, 1), train.batch, 2 * train.batch, 4 * train.batch})
        ),
        "averaging": Choice(sorted({0.9, 0.95, 0.98, 0.99, 0.995, train.averaging})),
        "mask": Range(0.0, max(0.3, train.mask)),
    }
    if hasattr(config, "pools"):
        out["pools"] = Choice(sorted({*POOLS, "-".join(map(str, config.pools))}))
    return out


@dataclass(frozen=True)
class _Search:
    """All that a worker needs to make a trial."""

    panel: Panel
    config: Config  # the preset's
    train: TrainConfig
    around: dict[str, Any]  # field -> distribution
    path: Path
    log: str
    name: str

    def study(self, seed: int = 0) -> optuna.Study:
        """The search as kept on disk, with a sampler for one trial."""
        import optuna
        import sqlalchemy

        if "?" in str(self.path):
            raise OutputError(
                f"The folder {self.path.parent} has a '?' in its name; choose another."
            )
        try:
            wait = {"connect_args": {"timeout": 60}}  # seconds, while another process writes
            storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs=wait)
            return optuna.create_study(
                storage=storage,
                sampler=optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, constant_liar=True
                ),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=CALM),
                study_name=self.path.stem,
                load_if_exists=True,
            )
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.OptunaError,
            RuntimeError,
        ) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise CheckpointError(
                f"{self.path} holds no search that can be read ({reason}); delete it."
            ) from error

    def prepare(self) -> int:
        """Take the search up: enqueue the preset, or again what a kill cut short. Returns how many trials are done."""
        from optuna.trial import TrialState

        study = self.study()
        key = {
            "config": self.config.to_dict(),
            "train": self.train.to_dict(),
            "search": repr(self.around),
        }
        key |= {"panel": self.panel.config.to_dict(), "data": self.panel.digest()}
        key = json.loads(json.dumps(key))  # as it will be read back: tuples are lists
        found = study.user_attrs.get("key", key)
        if changed := ", ".join(k for k in key if found.get(k) != key[k]):
            raise CheckpointError(
                f"{self.path} was made with another {changed}; delete it, or choose another folder."
            )
        study.set_user_attr("key", key)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
            if set(trial.params) == set(self.around) and not trial.user_attrs.get("preset"):
                study.enqueue_trial(trial.params)
        alive = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        if not any(t.user_attrs.get("preset") for t in alive):
            start = {**self.train.to_dict(), **self.config.to_dict()}
            start = {
                k: "-".join(map(str, start[k])) if k == "pools" else start[k] for k in self.around
            }
            study.enqueue_trial(start, user_attrs={"preset": True})
        return sum(t.state.is_finished() for t in alive)

    def result(self) -> Tuned:
        """All finished and pruned trials, best first."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED)
        found = self.study().get_trials(deepcopy=False, states=states)
        found.sort(key=lambda t: (t.state != TrialState.COMPLETE, t.value or 0.0, t.number))
        rows = [
            {
                "trial": t.number,
                "preset": bool(t.user_attrs.get("preset")),
                "state": t.user_attrs["state"],
                "valid": t.value if t.state == TrialState.COMPLETE else math.nan,
                "epochs": len(t.intermediate_values),
                "seconds": t.duration.total_seconds(),
                **t.params,
            }
            for t in found
        ]
        configs = [self.settings(t.params) for t in found if t.state == TrialState.COMPLETE]
        return Tuned(pd.DataFrame(rows), configs)

    def settings(self, params: dict[str, Any]) -> tuple[Config, TrainConfig]:
        """The preset with a trial's parameters."""
        params = {
            k: tuple(map(int, v.split("-"))) if k == "pools" else v for k, v in params.items()
        }
        ours = {k: v for k, v in params.items() if hasattr(self.config, k)}
        return replace(self.config, **ours), replace(
            self.train, **{k: params[k] for k in set(params) - set(ours)}
        )


def _trial(search: _Search, index: int, alone: bool) -> float:
    """Make one trial; returns the best score so far. `alone` keeps to one thread in a process of its own."""
    import optuna

    if alone:
        torch.set_num_threads(1)
    with quiet():
        # a seed a trial, counted over those that are done: a resumed search draws what an uninterrupted one would
        study = search.study((search.train.seed * 1_000_003 + index) % 2**32)
        with locked(
            search.path.with_suffix(".ask")
        ):  # else two processes may take the same enqueued trial
            trial = study.ask(search.around)
        config, train = search.settings(trial.params)
        seen: list[float | None] = []

        def watch(row: dict[str, float]) -> None:
            seen.append(row["valid"] if math.isfinite(row["valid"]) else None)
            trial.report(row["valid"], int(row["epoch"]))
            if row["epoch"] < train.epochs and trial.should_prune():
                raise optuna.TrialPruned

        state, loss = "complete", None
        try:
            model = fit(config, search.panel, train, progress=False, watch=watch).model
        except optuna.TrialPruned:
            state = "pruned"
        except ConfigError:  # the settings were checked: what is left is a loss that exploded
            state = "diverged"
        else:
            loss = valid_loss(model, search.panel)
        trial.set_user_attr("state", state)
        # logged first: a kill in between logs it again, and the same configuration counts once
        log_trial(
            search.log,
            search.name,
            type(config).__name__.removesuffix("Config"),
            config,
            train,
            loss,
            train.seed,
            panel=search.panel.config,
            state=state,
            epochs=len(seen),
            learning_curve=seen,
        )
        study.tell(trial, loss, None if state == "complete" else optuna.trial.TrialState.PRUNED)
        finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return min((t.value for t in finished), default=math.nan)
