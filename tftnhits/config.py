"""Frozen settings of at most ten fields each, and the presets that name sets of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any

from .errors import ConfigError

# Symmetric around the median; (.035, .965) is the 93% interval, (.1, .9) the 80% one.
QUANTILES = (0.025, 0.035, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.965, 0.975)
# the levels whose mean pinball loss is the score of the DJIA protocol
SCORE_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
LEVEL = 0.93  # nominal level of the interval returned unless told otherwise
ENSEMBLE_WEIGHTS = {"tft": 0.65, "nhits": 0.35}


_WHOLE = {
    **dict.fromkeys(
        ("context", "horizon", "hidden", "heads", "lstm_layers", "epochs", "batch", "origins"), 1
    ),
    **dict.fromkeys(("patience", "trees", "min_leaf", "rows", "months", "valid_months"), 1),
    **{"leaves": 2, "seed": 0, "embargo": 0},
}
_POSITIVE = ("learning_rate", "clip")
_SHARES = ("dropout", "averaging", "mask")


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class _Config:
    """Shared checks: numbers in range, unknown names refused, JSON in and out."""

    def __post_init__(self) -> None:
        here = type(self).__name__
        for name, value in vars(self).items():
            whole, least = name in _WHOLE, _WHOLE.get(name, 0)
            if whole and not _whole(value, least):
                raise ConfigError(
                    f"{here}.{name} is {value!r}; give a whole number of at least {least}."
                )
            if name in _POSITIVE and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ConfigError(f"{here}.{name} is {value!r}; give a number above 0.")
            if name in _SHARES and not (isinstance(value, int | float) and 0 <= value < 1):
                raise ConfigError(
                    f"{here}.{name} is {value!r}; give a number from 0 up to below 1."
                )
        levels = getattr(self, "quantiles", QUANTILES)
        inside = all(isinstance(q, int | float) and 0 < q < 1 for q in levels)
        symmetric = inside and all(
            math.isclose(a + b, 1) for a, b in zip(levels, levels[::-1], strict=True)
        )
        if (
            not symmetric
            or list(levels) != sorted(set(levels))
            or 0.5 not in levels
            or not levels[0] < 0.5
        ):
            raise ConfigError(
                f"{here}.quantiles are {levels}; give ascending levels, symmetric around 0.5."
            )
        if not (pools := getattr(self, "pools", (1,))) or not all(
            isinstance(k, int) and k > 0 for k in pools
        ):
            raise ConfigError(f"{here}.pools are {pools}; give at least one whole number above 0.")
        if getattr(self, "hidden", 1) % getattr(self, "heads", 1):
            raise ConfigError(
                f"{here}: hidden {self.hidden} can't be split over {self.heads} heads."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; tuples become lists there."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]):
        """Inverse of `to_dict`; raises ConfigError on a field that this version doesn't know."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"{cls.__name__} has no field {unknown[0]!r}; its fields are {', '.join(sorted(known))}."
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class PanelConfig(_Config):
    """What the panel is made of.

    `train_end` and `valid_end` are dates (the last of each split); None takes the first 70% and the
    next 15% of the dates. The first `embargo` sessions after each of the two belong to no split (a session is a
    day with bars; of bars without dates, one bar). `observed` and `known` name the features to use; None takes
    all but the known `session`, the length of a session relative to a full one, which is for those who name it: half
    days bought nothing measurable (bench/session.py). The day of the year and of the month are left out by default:
    over a few years they tell each date from all others, so that networks learn dates by heart (validation loss 39.68
    with them, 39.46 without).
    """

    horizon: int = 5
    train_end: str | None = None
    valid_end: str | None = None
    observed: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = (
        "weekday_sin",
        "weekday_cos",
        "gap",
        "hour_sin",
        "hour_cos",
        "has_calendar",
    )
    embargo: int = 0


@dataclass(frozen=True)
class TFTConfig(_Config):
    """Temporal Fusion Transformer (Lim et al. 2021); the last three fields are the v2.1 enhancements."""

    context: int = 60
    horizon: int = 5
    hidden: int = 16
    heads: int = 4
    dropout: float = 0.3
    quantiles: tuple[float, ...] = QUANTILES
    lstm_layers: int = 2  # classic: 1
    deep_selection: bool = True  # three-layer variable selection; classic: the paper's GRN
    extra_gate: bool = True  # a second gated layer in each GRN; classic: one

    @classmethod
    def classic(cls, **changes: Any) -> TFTConfig:
        """The paper's network."""
        return cls(**{"lstm_layers": 1, "deep_selection": False, "extra_gate": False, **changes})


@dataclass(frozen=True)
class NHITSConfig(_Config):
    """N-HITS (Challu et al. 2023); the last four fields are the v2.1 enhancements.

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
        off = dict.fromkeys(
            ("learned_pooling", "neural_interpolation", "scale_attention", "learned_residual"),
            False,
        )
        return cls(**{**off, **changes})


@dataclass(frozen=True)
class BoostingConfig(_Config):
    """scikit-learn's histogram gradient boosting with the quantile loss, one model a quantile level."""

    context: int = 2  # bars needed before the first origin: it takes missing features as they are
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
    clip: float = 1.0
    averaging: float = 0.98  # decay of the exponential moving average of the weights, a step
    mask: float = 0.1  # chance that a chunk trains without its volume, market, calendar or long-history inputs
    seed: int = 0


@dataclass(frozen=True)
class BacktestConfig(_Config):
    """A walk-forward backtest: refit every `months`, forecast until the next refit, never look ahead.

    `start` and `end` are the first and last date of the test origins, written 2012-01-31; by default `end` is the
    last date whose outcomes are all known, and `start` takes whole folds of the last 40% of the dates. A fold trains
    on the `train_years` before its validation (None: on all before it), validates on `valid_months`, and
    leaves out `embargo` sessions before validation and before test, beside the purge of outcomes that reach over.
    `members` are the forecasters by name (None: all that can run here); each of `seeds` trains networks of its own.
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
        for name in ("start", "end"):
            given = getattr(self, name)
            try:
                plain = (
                    given is None or date.fromisoformat(given).isoformat() == given
                )  # newer Pythons read more
            except (TypeError, ValueError):
                plain = False
            if not plain:
                raise ConfigError(
                    f"BacktestConfig.{name} is {given!r}; write a date as 2012-01-31."
                )
        if (
            self.start
            and self.end
            and date.fromisoformat(self.start) > date.fromisoformat(self.end)
        ):
            raise ConfigError(
                f"BacktestConfig.start {self.start} comes after end {self.end}; give them in order."
            )
        if not (self.train_years is None or _whole(self.train_years, 1)):
            raise ConfigError(
                f"BacktestConfig.train_years is {self.train_years!r}; give a whole number of at least 1, or None."
            )
        seeds = self.seeds
        if (
            not isinstance(seeds, tuple)
            or not seeds
            or not all(map(_whole, seeds))
            or len({*seeds}) < len(seeds)
        ):
            raise ConfigError(
                f"BacktestConfig.seeds are {seeds!r}; give at least one whole number, each once."
            )
        if (names := self.members) is not None and (
            not isinstance(names, tuple)
            or not all(isinstance(n, str) for n in names)
            or not 0 < len({*names}) == len(names)
        ):
            raise ConfigError(
                f"BacktestConfig.members are {names!r}; name at least one, each once, or give None."
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
    # hidden 128 was worse on validation than quick's 16 (39.53; 39.44 over seeds): "cloud" has more seeds instead
    "cloud": (
        TFTConfig(),
        NHITSConfig(),
        BoostingConfig(rows=300_000, min_leaf=1_000),
        TrainConfig(),
    ),
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
