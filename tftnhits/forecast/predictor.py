"""The predictor: trained members, and all that makes calibrated forecasts of bars with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, LEVEL, STEPS, PanelConfig, TrainConfig
from ..data.bars import former_repairs, read_bars
from ..data.crowd import Crowd
from ..data.extras import input_names, with_future
from ..data.grid import ORIGINS
from ..data.names import listed
from ..data.parse import Options
from ..data.scale import HAR_SIZE
from ..data.windows import Panel, panel_of
from ..device import device_of
from ..errors import CheckpointError, ConfigError, DataError, HistoryTooShort, quoted
from ..files import versions
from ..models.baselines import Walk
from ..models.hub import model_folder
from .ensemble import (
    MEMBERS,
    NAMES,
    WALK,
    Member,
    Network,
    check_weights,
    combine,
    has_torch,
    train_members,
    with_har,
)
from .fallback import NO_TORCH, chain, chain_origins
from .folder import read_folder, write_folder
from .own import BLOCK
from .past import answered
from .pools import Pool, calibration_of, kinds, last_days, latest, taught, unseen
from .remarks import remark, review
from .result import Forecast, SymbolReport
from .table import tidy

PACKAGES = ("tftnhits", "torch", "numpy", "pandas", "scikit-learn")  # whose versions matter


@dataclass(eq=False, repr=False)
class Predictor:
    """Trained members, their weights, their calibration, and what makes their inputs from bars.

    `from_members`, `train_predictor` and `load` make one. ConfigError says which parts don't fit.

    Parameters
    ----------
    members : by name ("tft", "nhits", "boosting"), those that can answer
    missing : by name, why other members that there should be can't
    walk : the random walk, which always answers
    panel_config, fitted : how inputs are made of bars, as of the panel of the training
    weights : of the networks, and of HAR where it has one ("walk"), scaled to sum 1
    pools : by kind of bars, the calibrations of all that can answer
    depth : bars that each origin of the calibrations had at least
    manifest : versions and data of the training
    """

    members: dict[str, Member]
    missing: dict[str, str]
    walk: Walk
    panel_config: PanelConfig
    fitted: dict[str, np.ndarray]
    weights: dict[str, float]
    pools: dict[str, Pool]
    depth: int
    manifest: dict[str, Any]
    horizon: int = field(init=False)  # steps ahead that the members were trained for
    levels: tuple[float, ...] = field(init=False)  # of the quantiles, ascending
    least: int = field(init=False)  # bars that a forecast takes, the origin's included
    context: int = field(init=False)  # bars that all members need, likewise
    crowd: Crowd | None = field(init=False, default=None)  # of all blocks, where bars are of one

    def __post_init__(self) -> None:
        self.horizon, self.levels = self.panel_config.horizon, tuple(self.walk.levels)
        contexts = [m.context for m in (*self.members.values(), self.walk)]
        self.least, self.context = min(contexts), max(contexts)
        self._check_parts()
        self.weights = check_weights(self.weights or ENSEMBLE_WEIGHTS, self._networks())

    def _check_parts(self) -> None:
        """Raises ConfigError if the parts don't fit each other."""
        inputs = input_names(self.panel_config)
        for name, member in self.able.items():
            fits = (member.horizon, tuple(member.levels)) == (self.horizon, self.levels)
            if not fits or (isinstance(member, Network) and member.model.inputs != inputs):
                raise ConfigError(
                    f"{NAMES[name]} has another horizon, other quantile levels or other inputs "
                    "than the rest of the predictor; train it again."
                )
        count = len(inputs["observed"]) + len(self.panel_config.extra_known)
        sizes = {"har": (HAR_SIZE,), "moments": (HAR_SIZE, HAR_SIZE)}
        sizes |= {"center": (count,), "spread": (count,)}
        fits = {name: np.shape(values) for name, values in self.fitted.items()} == sizes
        finite = fits and all(np.isfinite(values).all() for values in self.fitted.values())
        if not finite or (self.fitted["spread"] <= 0).any():
            raise ConfigError("The fitted scale is none of the panel's inputs; train again.")
        known = [c for pool in self.pools.values() for c in pool.calibration.values()]
        if any(len(calibration.state.score) != self.horizon for calibration in known):
            raise ConfigError("A calibration is for another horizon; train again.")

    def _networks(self) -> list[str]:
        """Networks that there should be."""
        return [k for k in ENSEMBLE_WEIGHTS if k in self.members or k in self.missing]

    @classmethod
    def from_members(
        cls, members: Mapping[str, Any], panel: Panel, weights: dict[str, float] | None = None
    ) -> Predictor:
        """A predictor of trained models, calibrated online on the panel's validation and test.

        `members` maps "tft", "nhits" (a torch module, several that differ by seed, or a member) and
        "boosting" to models, `panel` is the one that they were trained on, `weights` are those of
        the networks (None: 65/35). Raises ConfigError on members that are unknown or don't fit.
        """
        unknown = sorted(set(members) - set(MEMBERS))
        if unknown or not members:
            what = f"There is no member {unknown[0]!r}" if unknown else "A predictor needs a member"
            raise ConfigError(f"{what}; the members are {', '.join(MEMBERS)}.")
        wrapped = {k: m if hasattr(m, "quantiles") else Network(m) for k, m in members.items()}
        absent = [] if has_torch() else [k for k in ENSEMBLE_WEIGHTS if k not in members]
        manifest = {
            "versions": versions(*PACKAGES),
            "data": panel.digest(),
            "symbols": len(panel.symbols),
            "bars": int(panel.length.sum()),
            "trained to": last_days(panel, panel.origins("train")),
        }
        predictor = cls(
            members=wrapped,
            missing=dict.fromkeys(absent, NO_TORCH),
            walk=Walk.fit(panel, next(iter(wrapped.values())).levels),
            panel_config=panel.config,
            fitted=panel.fitted,
            weights=weights or {},
            pools={},
            depth=max(m.context for m in wrapped.values()),
            manifest=manifest,
        )
        splits = [panel.judged(split, predictor.context)[0] for split in ("valid", "test")]
        return predictor._updated(panel, np.concatenate(splits))

    def predict(
        self,
        bars: Any,
        horizon: int | None = None,
        level: float = LEVEL,
        origins: str = "last",
        weights: dict[str, float] | None = None,
        calendar: str | Mapping[str, str | None] | None = None,
        strict: bool = False,
        symbols: Sequence[str] | None = None,
        future: Any = None,
    ) -> Forecast:
        """Forecast from the last bar of every symbol, or from every bar with origins="all".

        For each symbol the first answers that can: the ensemble, the TFT alone, N-HITS alone,
        gradient boosting, a random walk. Its report names it, and says why no earlier one does.
        Quantiles are calibrated as of their origin, by the pool of that kind of bars and by what
        came of the symbol's own last bars: no state is used that later outcomes made.

        Parameters
        ----------
        bars : anything that load_bars takes; the bars of all symbols tell the market's move
        horizon : steps ahead, at most those trained for; None for STEPS of them
        level : nominal level of [lower, upper], any inside (0, 1)
        origins : "last" or "all"
        weights : {"tft": …, "nhits": …} and maybe "walk", HAR's, instead of the predictor's own
        calendar : a name ("XNYS", "24/7") or names by symbol, for the dates ahead; None infers it
        strict : refuse a symbol that can't be forecast, instead of leaving it out with a warning
        symbols : those to forecast, if not all
        future : frame or file of the dates ahead: symbol (none: of all), date, and the inputs that
            are known ahead (PanelConfig.extra_known); a warning names the dates that it lacks

        Raises
        ------
        DataError : bad bars; HistoryTooShort where no member has enough of them
        ConfigError : a horizon, level, weights, calendar or symbol that there is not
        MissingDependency : a calendar's name without exchange_calendars
        """
        horizon, level, levels = self._check_request(horizon, level, origins)
        shares = self.weights
        if weights is not None and not (isinstance(weights, dict) and not weights):
            shares = check_weights(weights, self._networks())
        candidates = chain({**self.able, **self.missing}, shares)
        # Bars, the origins in them, and what must be said of each symbol
        bars, reports = review(self.read(bars, strict), self.least, strict)
        # a forecast from the last bar and its calibration look back so far
        keep = max(2 * BLOCK, self.context + ORIGINS) if origins == "last" else None
        panel = panel_of(bars, self.panel_config, self.fitted, calendar, keep, self.crowd)
        panel = panel.first(horizon)
        panel = with_future(panel, future)
        rows = chain_origins(panel, self.able, candidates, origins == "all")
        if symbols is not None:
            reports = _chosen(reports, symbols, panel)
            numbers = [s for s, name in enumerate(panel.symbols) if name in reports]
            rows = rows[np.isin(panel.symbol_of(rows), numbers)]
        # Who answers for a symbol, calibrated by its kind's record and by its own
        quantiles, answers, measured = answered(self, panel, rows, candidates, level, levels)
        for one in answers:
            origins = rows[one.index]
            as_measured = one.key != "ensemble" or shares == self.weights
            symbol, kind = panel.symbol_of(origins), kinds(panel, origins)
            for s, why in one.warnings.items():
                report, last = reports[panel.symbols[s]], int(np.flatnonzero(symbol == s)[-1])
                remark(report, panel, origins[symbol == s], horizon, self, kind[last])
                report.model_used = one.name
                report.warnings = [*why, *report.warnings]
                pool = calibration_of(self.pools, kind[last], one.key, self.horizon)
                ((_, then),) = pool.as_of(panel.date[origins[[last]]])
                report.claim(level, then, kind[last], measured.get(s), as_measured)
        frame = tidy(panel, rows, quantiles, levels, level)
        return Forecast(frame, bars, level, reports, (self, panel, rows))

    def read(self, bars: Any, strict: bool = False) -> pd.DataFrame:
        """Validated bars of what load_bars takes, with the columns that are the model's inputs.

        Its repairs are among those that an earlier reading made.
        """
        read = read_bars(bars, Options(extra=self.panel_config.extra), strict)
        read.attrs["repairs"] = [*former_repairs(bars), *read.attrs["repairs"]]
        return read

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """The ensemble's, as a member's: [K, H, Q] from the origins `rows` [K], not calibrated."""
        able = self.able
        return combine({k: able[k].quantiles(panel, rows) for k in self.weights}, self.weights)

    @property
    def able(self) -> dict[str, Member]:
        """All that can answer, by name."""
        return {**self.members, WALK: self.walk}

    def calibrated(
        self, bars: Any, calendar: str | Mapping[str, str | None] | None = None
    ) -> Predictor:
        """A copy whose calibration has gone on, date by date, over the origins of new bars.

        With a year of them, HAR gets the weight in the ensemble that it earns there, if any.
        `bars` and `calendar` are as in `predict`. Origins that it has taken in are left out, so
        that bars may hold the whole history; without dates they can't be told apart and count each
        time. Bars of a new kind begin a record of their own. Raises as `predict`, and
        HistoryTooShort if no origin has the context before and the horizon after.
        """
        panel = panel_of(self.read(bars), self.panel_config, self.fitted, calendar)
        first = panel.start + self.context - 1
        stop = panel.start + panel.length - self.horizon
        rows = np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])
        if not len(rows):
            raise HistoryTooShort(
                f"{panel.symbols[0]} has {panel.length[0]} bars but an origin with its outcome "
                f"takes {self.context + self.horizon}; give more."
            )
        return self._updated(panel, unseen(self.pools, panel, rows), weigh=True)

    def save(self, folder: str | Path) -> Path:
        """Write the predictor as a folder of safetensors and JSON files; returns the folder.

        Raises
        ------
        OutputError : the folder can't be written
        CheckpointError : a member that it was loaded with is missing, and would be lost
        """
        kept = {name for pool in self.pools.values() for name in pool.calibration}
        if lost := [name for name in self.missing if name in kept]:
            raise CheckpointError(
                f"{NAMES[lost[0]]} of this predictor is missing and would be lost; "
                "load the whole folder, then save it."
            )
        return write_folder(Path(folder), self)

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str = "auto") -> Predictor:
        """Read a predictor's folder; None takes the shipped one.

        A member that is missing, corrupt or can't run (networks without torch) is left out: the
        next of the chain answers, and each forecast says so.

        Parameters
        ----------
        folder : a folder, or else a model's id "owner/name", which models.hub.fetch downloads
        device : as of `to`, which raises ConfigError

        Raises
        ------
        CheckpointError : no predictor's folder, of another format, or of parts that don't fit
        """
        return read_folder(model_folder(folder), cls).to(device)

    def to(self, device: str) -> Predictor:
        """Have the networks on a device: "cpu", "cuda:1", "mps"; ConfigError says what there is.

        "auto" is the CPU until so many origins are asked for at once that starting a GPU pays.
        """
        if device != "auto":  # without networks, too
            device = device_of(device)
        for member in self.members.values():
            if isinstance(member, Network):
                member.to(device)
        return self

    def _check_request(
        self, horizon: Any, level: Any, origins: Any
    ) -> tuple[int, float, tuple[float, ...]]:
        """Steps, the interval's level, and the levels of the quantiles; raises ConfigError."""
        if not isinstance(origins, str) or origins not in ("last", "all"):
            raise ConfigError(f"origins is {quoted(origins)}; choose 'last' or 'all'.")
        horizon = min(STEPS, self.horizon) if horizon is None else horizon
        whole = isinstance(horizon, int | np.integer) and not isinstance(horizon, bool)
        if not whole or not 1 <= horizon <= self.horizon:
            raise ConfigError(
                f"The horizon {quoted(horizon)} is outside what this model was trained for, 1 to "
                f"{self.horizon} bars ahead; choose one of these or train with a longer one."
            )
        inside = isinstance(level, int | float | np.floating) and 0 < level < 1
        tail = (1 - float(level)) / 2 if inside else 0.0
        if not round(tail, 12):  # quantiles are told apart by as many digits
            raise ConfigError(
                f"The interval's level is {quoted(level)}; give a number between 0 and 1, "
                f"such as {LEVEL}."
            )
        levels = {round(float(q), 12) for q in (*self.levels, 0.5, tail, 1 - tail)}
        return int(horizon), float(level), tuple(sorted(levels))

    def _updated(self, panel: Panel, rows: np.ndarray, weigh: bool = False) -> Predictor:
        """A copy whose pools have taken in the origins `rows` with all outcomes known.

        If it is to `weigh` HAR, the origins that it did so by count as trained on.
        """
        rows = rows[np.isfinite(np.asarray(panel.target)[rows]).all(1)]
        if not len(rows):
            return self
        # What all that can answer would have forecast, against the outcomes
        quantiles = {k: m.quantiles(panel, rows) for k, m in self.members.items()}
        quantiles[WALK] = self.walk.quantiles(panel, rows)
        weights, manifest = self.weights, self.manifest
        if all(name in quantiles for name in ENSEMBLE_WEIGHTS):
            if weigh:
                date = panel.date[rows]
                weights = with_har(quantiles, weights, panel.outcomes(rows), date, self.levels)
            quantiles["ensemble"] = combine(quantiles, weights)
        if weights != self.weights:
            ends = latest(manifest["trained to"], last_days(panel, rows))
            manifest = manifest | {"trained to": ends}
        pools = taught(self.pools, panel, rows, quantiles, self.levels)
        return replace(self, pools=pools, weights=weights, manifest=manifest)


def train_predictor(
    panel: Panel,
    preset_name: str = "quick",
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    device: str = "auto",
) -> Predictor:
    """Train every member that can be trained here and weigh the networks 65/35.

    Parameters
    ----------
    panel : the training data
    preset_name : a name of config.PRESETS; `cloud` distils several seeds of each network into one
    train : settings of the training loop instead of the preset's
    folder : for the predictor and the training states, from which a call that was cut short goes on
    device : to train on, as of training.loop.fit, and to forecast on, as of Predictor.to

    Raises
    ------
    ConfigError, HistoryTooShort, CheckpointError, OutputError
    """
    members = train_members(panel, preset_name, train, folder, progress, device=device)
    predictor = Predictor.from_members(members, panel)
    if folder:
        predictor.save(folder)
    return predictor


def _chosen(
    reports: dict[str, SymbolReport], symbols: Sequence[str], panel: Panel
) -> dict[str, SymbolReport]:
    """The reports of the symbols to forecast; raises ConfigError and DataError."""
    names = [str(name) for name in np.ravel(symbols)]
    unknown = [quoted(name) for name in names if name not in reports]
    if unknown or not names:
        raise ConfigError(
            f"There is no symbol {listed(unknown)} to forecast; the bars have "
            f"{listed(panel.symbols)}."
        )
    if not any(name in panel.symbols for name in names):
        raise DataError(reports[names[0]].warnings[0])
    return {name: report for name, report in reports.items() if name in names}
