"""Frozen settings of at most ten fields each, and the presets that name sets of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any

from .errors import ConfigError, quoted

# Symmetric around the median; (.035, .965) is the 93% interval, (.1, .9) the 80% one.
QUANTILES = (0.025, 0.035, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.965, 0.975)
# the levels whose mean pinball loss is the score of the DJIA protocol
SCORE_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
LEVEL = 0.93  # nominal level of the interval returned unless told otherwise
ENSEMBLE_WEIGHTS = {"tft": 0.65, "nhits": 0.35}
KNOWN = ("weekday_sin", "weekday_cos", "gap", "hour_sin", "hour_cos", "has_calendar")
# fields that are whole numbers of at least 1
COUNTS = ("context", "horizon", "hidden", "heads", "lstm_layers", "trees", "min_leaf", "rows")
COUNTS += ("epochs", "patience", "batch", "origins", "months", "valid_months")


def _check(name: str, value: Any) -> tuple[bool, str]:
    """Whether `value` is one for the field `name` of any settings, and what to give instead."""
    items = value if isinstance(value, tuple) else ()
    match name:
        case "seed" | "embargo":
            return _is_whole(value, 0), "give a whole number of at least 0"
        case "leaves":
            return _is_whole(value, 2), "give a whole number of at least 2"
        case "train_years":
            return value is None or _is_whole(value), "give whole years, or None"
        case "learning_rate" | "clip":
            return _is_number(value) and value > 0, "give a number above 0"
        case "dropout" | "averaging" | "mask":
            return _is_number(value) and 0 <= value < 1, "give a number from 0 up to below 1"
        case "quantiles":
            return _are_quantiles(value), "give ascending levels, symmetric around 0.5"
        case "pools":
            valid = all(map(_is_whole, items)) and len(items) > 0
            return valid, "give at least one whole number above 0"
        case "seeds":
            valid = all(_is_whole(seed, 0) for seed in items) and 0 < len(items) == len(set(items))
            return valid, "give at least one whole number, each once"
        case "members":
            named = all(isinstance(name, str) for name in items) and 0 < len(items) == len(
                set(items)
            )
            return value is None or named, "name at least one, each once, or give None"
        case "start" | "end":
            return value is None or _is_date(value), "write a date as 2012-01-31"
    return name not in COUNTS or _is_whole(value), "give a whole number of at least 1"


def _is_whole(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_quantiles(levels: Any) -> bool:
    if not isinstance(levels, tuple) or not all(map(_is_number, levels)):
        return False
    symmetric = all(math.isclose(a + b, 1) for a, b in zip(levels, levels[::-1]))
    ascending = list(levels) == sorted(set(levels))
    return symmetric and ascending and len(levels) > 1 and 0.5 in levels and levels[0] > 0


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
            valid, advice = _check(setting.name, value)
            if not valid:
                name = f"{type(self).__name__}.{setting.name}"
                raise ConfigError(f"{name} is {quoted(value)}; {advice}.")

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
    None takes all but the known `session`, the length of a session relative to a full one: half
    days bought nothing measurable (bench/session.py). The day of the year and of the month are
    left out by default: networks learn dates by heart (validation loss 39.68, without 39.46).
    """

    horizon: int = 5
    train_end: str | None = None
    valid_end: str | None = None
    observed: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = KNOWN
    embargo: int = 0


@dataclass(frozen=True)
class TFTConfig(_Config):
    """Temporal Fusion Transformer (Lim et al. 2021); the last three fields are v2.1's additions."""

    context: int = 60
    horizon: int = 5
    hidden: int = 16
    heads: int = 4
    dropout: float = 0.3
    quantiles: tuple[float, ...] = QUANTILES
    lstm_layers: int = 2  # classic: 1
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
    context/k points and forecasts horizon/k knots (both rounded up).
    """

    context: int = 60
    horizon: int = 5
    hidden: int = 64
    pools: tuple[int, ...] = (8, 4, 1)
    dropout: float = 0.4
    quantiles: tuple[float, ...] = QUANTILES
    learned_pooling: bool = True  # classic: max pooling
    neural_interpolation: bool = True  # classic: linear
    scale_attention: bool = True  # classic: stacks are summed
    learned_residual: bool = True  # classic: the backcast is subtracted whole

    @classmethod
    def classic(cls, **changes: Any) -> NHITSConfig:
        """The paper's network."""
        additions = [setting.name for setting in fields(cls)][-4:]
        return cls(**{**dict.fromkeys(additions, False), **changes})


@dataclass(frozen=True)
class BoostingConfig(_Config):
    """scikit-learn's histogram gradient boosting with the quantile loss, a model a level."""

    context: int = 2  # bars up to the first origin: it takes missing features as they are
    horizon: int = 5
    quantiles: tuple[float, ...] = QUANTILES
    trees: int = 60
    learning_rate: float = 0.06
    leaves: int = 12
    min_leaf: int = 400
    rows: int = 60_000  # (origin, step) pairs drawn for training
    seed: int = 0


@dataclass(frozen=True)
class TrainConfig(_Config):
    """One training run: AdamW, cosine annealing, early stopping on the validation loss."""

    epochs: int = 8
    patience: int = 4
    batch: int = 8  # chunks a step
    origins: int = 64  # forecast origins a chunk
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of the gradients
    averaging: float = 0.98  # decay of the moving average of the weights, a step
    mask: float = 0.1  # chance that a chunk trains without one of its groups of inputs
    seed: int = 0


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

    start: str | None = None
    end: str | None = None
    months: int = 12
    train_years: int | None = None
    valid_months: int = 12
    embargo: int = 5
    preset: str = "quick"
    seeds: tuple[int, ...] = (0,)
    members: tuple[str, ...] | None = None
    horizon: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start and self.end and self.start > self.end:
            raise ConfigError(
                f"BacktestConfig.start {self.start} comes after end {self.end}; give them in order."
            )
        preset(self.preset)


_ENHANCED = (TFTConfig(), NHITSConfig(), BoostingConfig(), TrainConfig())
_CLASSIC = (TFTConfig.classic(), NHITSConfig.classic(), BoostingConfig(), TrainConfig())
# name -> (TFT, N-HITS, boosting, training); "tiny" is for tests and a first look
PRESETS: dict[str, tuple[TFTConfig, NHITSConfig, BoostingConfig, TrainConfig]] = {
    "tiny": (
        TFTConfig(hidden=8, heads=2, context=20),
        NHITSConfig(hidden=16, context=20, pools=(4, 1)),
        BoostingConfig(trees=5, rows=4_000, min_leaf=50),
        TrainConfig(epochs=1, batch=4, origins=32),
    ),
    "quick": _ENHANCED,
    # hidden 128 was worse on validation than 16 (39.53; 39.44): more seeds instead
    "cloud": (*_ENHANCED[:2], BoostingConfig(rows=300_000, min_leaf=1_000), TrainConfig()),
    # by version: the papers' networks, and those with the enhancements
    **{"v1.0": _CLASSIC, "v2.0": _CLASSIC, "v2.1": _ENHANCED},
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
