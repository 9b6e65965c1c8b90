"""Frozen settings of at most ten fields each, and the presets that name sets of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from typing import Any

from .errors import ConfigError, quoted

# Symmetric around the median; (.035, .965) is the 93% interval, (.1, .9) the 80% one.
QUANTILES = (0.025, 0.035, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.965, 0.975)
# the levels whose mean pinball loss is the score of the DJIA protocol
SCORE_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
LEVEL = 0.93  # nominal level of the interval returned unless told otherwise
# ahead: forecast where no horizon is asked for; training judges by them and has them in each batch
STEPS = 5
ENSEMBLE_WEIGHTS = {"tft": 0.65, "nhits": 0.35}
# what a stack of N-HITS takes from the path: a value a bar, or knots with lines between them
# (eq. 4), whole or a learnt share of it
BACKCASTS = ("weighted bars", "bars", "weighted knots", "knots")


# --- fields that check themselves: a default, which values are valid, and what to give instead


def _checked(default: Any, advice: str, valid: Callable[[Any], bool]) -> Any:
    return field(default=default, metadata={"valid": valid, "advice": advice})


def _whole(default: int | None, least: int = 1) -> Any:
    """A whole number; None, too, where that is the default."""
    advice = f"give a whole number of at least {least}" + (", or None" if default is None else "")
    return _checked(default, advice, lambda v: v is default or _is_whole(v, least))


def _positive(default: float) -> Any:
    return _checked(default, "give a number above 0", lambda v: _is_number(v) and v > 0)


def _share(default: float) -> Any:
    advice = "give a number from 0 up to below 1"
    return _checked(default, advice, lambda v: _is_number(v) and 0 <= v < 1)


def _choice(options: tuple[str, ...]) -> Any:
    """One of `options`; the first is the default."""
    return _checked(options[0], f"choose one of {', '.join(options)}", lambda v: v in options)


def _levels() -> Any:
    advice = "give ascending levels, symmetric around 0.5"
    return _checked(QUANTILES, advice, _are_quantiles)


def _columns() -> Any:
    advice = "give names of columns, each once, such as ('vix',)"
    return _checked((), advice, lambda v: v == () or (v is not None and _are_names(v)))


def _date() -> Any:
    return _checked(None, "write a date as 2012-01-31", lambda v: v is None or _is_date(v))


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_quantiles(levels: Any) -> bool:
    if not isinstance(levels, tuple) or not all(map(_is_number, levels)):
        return False
    symmetric = all(math.isclose(a + b, 1) for a, b in zip(levels, levels[::-1]))
    ascending = list(levels) == sorted(set(levels))
    return symmetric and ascending and len(levels) > 1 and 0.5 in levels and levels[0] > 0


def _are_pools(kernels: Any) -> bool:
    return isinstance(kernels, tuple) and kernels and all(_is_whole(k, 1) for k in kernels)


def _are_seeds(seeds: Any) -> bool:
    return _are_distinct(seeds) and all(map(_is_whole, seeds))


def _are_names(names: Any) -> bool:
    return names is None or (_are_distinct(names) and all(isinstance(n, str) for n in names))


def _are_distinct(items: Any) -> bool:
    return isinstance(items, tuple) and 0 < len(items) == len(set(items))


def _is_date(text: Any) -> bool:
    try:  # newer Pythons read more than 2012-01-31
        return date.fromisoformat(text).isoformat() == text
    except (TypeError, ValueError):
        return False


class _Config:
    """Shared by the settings: checked fields, JSON in and out."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if "valid" in setting.metadata and not setting.metadata["valid"](value):
                name = f"{type(self).__name__}.{setting.name}"
                raise ConfigError(f"{name} is {quoted(value)}; {setting.metadata['advice']}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; tuples become lists there."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]):
        """Inverse of `to_dict`; raises ConfigError on a field that this version doesn't know."""
        known = {setting.name for setting in fields(cls)}
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__} can't be made of {quoted(values)}; name its fields.")
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"{cls.__name__} has no field {unknown[0]!r}; "
                f"its fields are {', '.join(sorted(known))}."
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class PanelConfig(_Config):
    """What the panel is made of.

    `train_end` and `valid_end` are dates (the last of each split); None takes the first 70% and
    the next 15% of the dates. The first `embargo` sessions (days with bars; without dates, bars)
    after each of the two belong to no split. `observed` and `known` name the features to use;
    None takes all. The day of the year and of the month are left out by default: networks learn
    dates by heart (validation loss 39.68, without 39.46). `extra_observed` and `extra_known` name
    columns of the bars' frame that are inputs, too: known at their own bar, or ahead of it.
    """

    horizon: int = _whole(5)
    train_end: str | None = None
    valid_end: str | None = None
    observed: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = (
        *("weekday_sin", "weekday_cos", "gap"),
        *("hour_sin", "hour_cos", "has_calendar"),
    )
    embargo: int = _whole(0, 0)
    extra_observed: tuple[str, ...] = _columns()  # a volatility index, another market's return
    extra_known: tuple[str, ...] = _columns()  # earnings dates, rate decisions

    @property
    def extra(self) -> tuple[str, ...]:
        """Columns that the bars have to have beside their own."""
        return self.extra_observed + self.extra_known

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without extra columns as before there were any."""
        return {k: v for k, v in super().to_dict().items() if v != ()}


@dataclass(frozen=True)
class TFTConfig(_Config):
    """Temporal Fusion Transformer (Lim et al. 2021); the last three fields are v2.1's additions."""

    context: int = _whole(60)
    horizon: int = _whole(5)
    hidden: int = _whole(16)
    heads: int = _whole(4)
    dropout: float = _share(0.3)
    quantiles: tuple[float, ...] = _levels()
    lstm_layers: int = _whole(2)  # classic: 1
    deep_selection: bool = True  # three-layer variable selection; classic: the paper's GRN
    extra_gate: bool = True  # a second gated layer in each GRN; classic: one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ConfigError(
                f"TFTConfig.hidden {self.hidden} can't be split over {self.heads} heads."
            )

    @classmethod
    def classic(cls, **changes: Any) -> TFTConfig:
        """The paper's network."""
        return cls(**{"lstm_layers": 1, "deep_selection": False, "extra_gate": False, **changes})


@dataclass(frozen=True)
class NHITSConfig(_Config):
    """N-HITS (Challu et al. 2023); the last four fields are v2.1's additions.

    `pools` gives each stack's pooling kernel and thereby its knots: a stack with kernel k sees
    context/k points and forecasts horizon/k knots (both rounded up). `backcast` is one of
    BACKCASTS; "bars" is neuralforecast's.
    """

    context: int = _whole(60)
    horizon: int = _whole(5)
    hidden: int = _whole(64)
    pools: tuple[int, ...] = _checked(
        (8, 4, 1), "give at least one whole number above 0", _are_pools
    )
    dropout: float = _share(0.4)
    quantiles: tuple[float, ...] = _levels()
    learned_pooling: bool = True  # classic: max pooling
    neural_interpolation: bool = True  # classic: linear
    scale_attention: bool = True  # classic: stacks are summed
    backcast: str = _choice(BACKCASTS)  # classic: knots

    @classmethod
    def classic(cls, **changes: Any) -> NHITSConfig:
        """The paper's network."""
        switches = ("learned_pooling", "neural_interpolation", "scale_attention")
        return cls(**{**dict.fromkeys(switches, False), "backcast": "knots", **changes})


@dataclass(frozen=True)
class BoostingConfig(_Config):
    """scikit-learn's histogram gradient boosting with the quantile loss, a model a level."""

    context: int = _whole(2)  # bars up to the first origin: it takes missing features as they are
    horizon: int = _whole(5)
    quantiles: tuple[float, ...] = _levels()
    trees: int = _whole(60)
    learning_rate: float = _positive(0.06)
    leaves: int = _whole(12, 2)
    min_leaf: int = _whole(400)
    rows: int = _whole(60_000)  # (origin, step) pairs drawn for training
    seed: int = _whole(0, 0)


@dataclass(frozen=True)
class TrainConfig(_Config):
    """One training run: AdamW, cosine annealing, early stopping on the validation loss."""

    epochs: int = _whole(8)
    patience: int = _whole(4)
    batch: int = _whole(8)  # chunks a step
    origins: int = _whole(64)  # forecast origins a chunk
    learning_rate: float = _positive(5e-3)
    weight_decay: float = _checked(
        0.01, "give a number of at least 0", lambda v: _is_number(v) and v >= 0
    )
    clip: float = _positive(1.0)  # largest norm of the gradients
    averaging: float = _share(0.98)  # decay of the moving average of the weights, a step
    mask: float = _share(0.1)  # chance that a chunk trains without one of its groups of inputs
    seed: int = _whole(0, 0)


@dataclass(frozen=True)
class BacktestConfig(_Config):
    """A walk-forward backtest: refit every `months`, forecast until the next refit.

    `start` and `end` are the first and last date of the test origins; by default `end` is the last
    date whose outcomes are all known, and `start` takes whole folds of the last 40% of the dates.
    A fold trains on the `train_years` before its validation (None: on all before it), validates on
    `valid_months`, and leaves out `embargo` sessions before validation and before test, beside the
    purge of outcomes that reach over. `members` are the forecasters by name (None: all that can
    run here); each of `seeds` trains networks of its own.
    """

    start: str | None = _date()
    end: str | None = _date()
    months: int = _whole(12)
    train_years: int | None = _whole(None)
    valid_months: int = _whole(12)
    embargo: int = _whole(5, 0)
    preset: str = "quick"
    seeds: tuple[int, ...] = _checked((0,), "give at least one whole number, each once", _are_seeds)
    members: tuple[str, ...] | None = _checked(
        None, "name at least one, each once, or give None", _are_names
    )
    horizon: int = _whole(5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start and self.end and self.start > self.end:
            raise ConfigError(
                f"BacktestConfig.start {self.start} comes after end {self.end}; give them in order."
            )
        preset(self.preset)


@dataclass(frozen=True)
class WorkerConfig(_Config):
    """How the notebooks of a batch are executed: `jobs` side by side, each in a process.

    By default that is one at a time here, and as many as there are workers on a cluster.
    `address` is that of a running cluster's scheduler (None: Dask and Ray begin one here). A
    notebook that takes longer than `timeout` seconds (None: no limit) has failed, and one that
    fails is tried again up to `retries` times.
    """

    jobs: int | None = _whole(None)
    backend: str = _choice(("loky", "dask", "ray"))
    address: str | None = None
    timeout: int | None = _checked(
        3600, "give whole seconds above 0, or None", lambda v: v is None or _is_whole(v, 1)
    )
    retries: int = _whole(1, 0)


_QUICK = (TFTConfig(), NHITSConfig(), BoostingConfig(), TrainConfig())
# v1.0: the papers' networks. v2.0: later improvements, but none that mixes the stacks' scales.
_PAPERS = (TFTConfig.classic(), NHITSConfig.classic(), BoostingConfig(), TrainConfig())
_IMPROVED = NHITSConfig(scale_attention=False, backcast="weighted knots")
# v2.1: as the kit was described, to the letter. The description leaves open the rate, for which
# this is the usual one at such a width, and dropout, batch and patience, which are quick's.
_CARD = (
    TFTConfig(hidden=128, heads=4, lstm_layers=2),
    NHITSConfig(hidden=128),
    BoostingConfig(),
    TrainConfig(epochs=100, learning_rate=1e-3, weight_decay=0.01, clip=1.0),
)
# name -> (TFT, N-HITS, boosting, training); "tiny" is for tests and a first look
PRESETS: dict[str, tuple[TFTConfig, NHITSConfig, BoostingConfig, TrainConfig]] = {
    "tiny": (
        TFTConfig(hidden=8, heads=2, context=20),
        NHITSConfig(hidden=16, context=20, pools=(4, 1)),
        BoostingConfig(trees=5, rows=4_000, min_leaf=50),
        TrainConfig(epochs=1, batch=4, origins=32),
    ),
    "quick": _QUICK,
    # for one market: as wide as quick, since wider is no better (bench/presets.py); more seeds.
    # What is shipped learnt from many and is wider (bench/pretrain.py)
    "cloud": (*_QUICK[:2], BoostingConfig(rows=300_000, min_leaf=1_000), TrainConfig()),
    "v1.0": _PAPERS,
    "v2.0": (_QUICK[0], _IMPROVED, *_QUICK[2:]),
    "v2.1": _CARD,
    "card": _CARD,  # the same: what a model card of that description means
}

SEEDS = {"cloud": 5}  # networks that a member is distilled from; the others train one


def preset(name: str) -> tuple[TFTConfig, NHITSConfig, BoostingConfig, TrainConfig]:
    """The configurations that `name` stands for; raises ConfigError on an unknown name."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def with_horizon(config, horizon: int):
    """`config` with another forecast horizon."""
    return replace(config, horizon=horizon)
