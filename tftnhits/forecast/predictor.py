"""One predictor: the first link of the chain that can answer does, with its own interval and the reasons beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, LEVEL, SEEDS, TrainConfig, preset, with_horizon
from ..data import features as F
from ..data.bars import load_bars
from ..data.names import listed
from ..data.windows import Panel, input_names, panel_of
from ..errors import CheckpointError, ConfigError, HistoryTooShort, shown
from ..files import versions
from ..models.boosting import Boosting
from ..models.hub import model_folder
from ..models.baselines import Walk
from .conformal import Calibration, Conformal
from .ensemble import MEMBERS, NAMES, WALK, Member, Network, check_weights, combine, has_torch
from .fallback import Reason, answer, chain, chain_origins
from .result import Forecast, SymbolReport, tidy
from .store import Parts, load_parts, save_parts
from .symbols import answerable, remarks

OTHER = 2.0  # times as long a bar can be and still count as of the same length


class Predictor:
    """Trained members, their weights, their calibration, and what is needed to make their inputs from bars.

    `members` maps "tft", "nhits" (a torch module, a list of them that differ by seed, or a member) and "boosting"
    to models; `panel` is the one that they were trained on. Its validation and test origins start the calibration,
    online: an outcome changes the intervals of later origins only.
    """

    def __init__(
        self, members: dict[str, Any], panel: Panel, weights: dict[str, float] | None = None
    ):
        if unknown := set(members) - set(MEMBERS):
            raise ConfigError(
                f"There is no member {sorted(unknown)[0]!r}; the members are {', '.join(MEMBERS)}."
            )
        if not members:
            raise ConfigError("A predictor needs at least one member: tft, nhits or boosting.")
        found: dict[str, Member] = {
            k: m if hasattr(m, "quantiles") else Network(m) for k, m in members.items()
        }
        missing = (
            {} if has_torch() else {k: Reason("torch") for k in ENSEMBLE_WEIGHTS if k not in found}
        )
        walk = Walk.fit(panel, next(iter(found.values())).levels)
        weights = weights or ENSEMBLE_WEIGHTS
        depth = max(m.context for m in found.values())
        self._set(
            Parts(
                found,
                missing,
                walk,
                panel.config,
                panel.fitted,
                weights,
                {},
                {},
                depth,
                None,
                _manifest(panel),
            )
        )
        self._take_in(
            panel,
            np.concatenate([panel.origins(split, self.context) for split in ("valid", "test")]),
        )

    def _set(self, parts: Parts) -> None:
        self.members, self.missing, self.walk = parts.members, parts.missing, parts.walk
        self.panel_config, self.fitted = parts.panel_config, parts.fitted
        self._check()
        self.weights = self._weights(parts.weights)
        links = [*self._here, *["ensemble"] * all(k in self.members for k in ENSEMBLE_WEIGHTS)]
        identity = Calibration(Conformal.start(self.horizon))
        # by link: who answered; those that can't answer here are kept, to be saved again
        self.calibration = dict.fromkeys(links, identity) | parts.calibration
        self.seen, self.depth, self.bar_days = parts.seen, parts.depth, parts.bar_days
        self.manifest = parts.manifest

    @property
    def _here(self) -> dict[str, Member]:
        """All that can answer."""
        return {**self.members, WALK: self.walk}

    @property
    def horizon(self) -> int:
        """Steps ahead that the members were trained for."""
        return self.panel_config.horizon

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantile levels, ascending."""
        return self.walk.levels

    @property
    def context(self) -> int:
        """Bars that the first link of the chain needs, the origin's included."""
        return max(m.context for m in self._here.values())

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
    ) -> Forecast:
        """Forecast from the last bar of every symbol, or from every bar with origins="all".

        `bars` is anything load_bars takes; `level` is the nominal one of [lower, upper], any inside (0, 1).
        `weights` {"tft": …, "nhits": …} replace the predictor's own. For each symbol the first link answers that can:
        the ensemble, the TFT alone, N-HITS alone, gradient boosting, a random walk; `model_used` names it, and
        `warnings` say why no earlier one does. Other symbols' bars tell the market's move, an input: a symbol alone is
        forecast a little differently. All quantiles are calibrated as of now, those of past origins too.
        `calendar` tells the dates ahead: a name ("XNYS", "24/7"), or names by symbol; None infers it (make_panel).
        Where it ends before the horizon does, the bars' pattern tells the later dates, and `warnings` say so.
        Of several symbols, one that can't be read, has too few bars or a price that never moves is left out, with its
        reason in `skipped` and `warnings`; with `strict` it is an error.
        `symbols` names those to forecast, where the others are there for the market's move only.
        Raises DataError on bad bars, HistoryTooShort where no link has enough of them, ConfigError on a horizon beyond
        the trained one, a level outside (0, 1), bad weights or an unknown calendar, MissingDependency on a calendar's
        name without exchange_calendars.
        """
        horizon, wanted, level = self._horizon(horizon), self._wanted(level), float(level)
        if not isinstance(origins, str) or origins not in ("last", "all"):
            raise ConfigError(f"origins is {shown(origins)}; choose 'last' or 'all'.")
        own = weights is None or (isinstance(weights, dict) and not weights)
        shares = self.weights if own else self._weights(weights)
        members = self._here
        links = chain({**members, **self.missing}, shares)
        bars, skipped = answerable(
            load_bars(bars, strict=strict), min(m.context for m in members.values()), strict
        )
        remarked, unclaimed = remarks(bars)
        panel = panel_of(bars, self.panel_config, self.fitted, calendar)
        rows = chain_origins(panel, members, links, origins == "all")
        if symbols is not None:
            rows = rows[np.isin(panel.symbol_of(rows), _numbers(panel, symbols))]
        found = answer(panel, rows, members, self.missing, links)
        frames, reports, days = [], {}, _bar_days(panel)
        for one in found:
            quantiles = self.calibration[one.link].state.calibrate(
                one.quantiles[:, :horizon], self.levels, wanted
            )
            frames.append(tidy(panel, one.rows, quantiles, wanted, level))
            for symbol, warnings in one.warnings.items():
                s = panel.symbols.index(symbol)
                other, deep = self._other_bars(days[s]), panel.length[s] >= self.depth
                claimed = deep and not other and symbol not in unclaimed
                coverage = self._coverage(one.link, shares, level) if claimed else None
                more = (
                    other
                    + _outrun(panel, symbol, horizon)
                    + panel.notes.get(symbol, [])
                    + remarked[symbol]
                )
                reports[symbol] = SymbolReport(
                    self._name(one.link, shares), coverage, warnings + more
                )
        frame = frames[0]
        if len(frames) > 1:
            frame = pd.concat(frames).sort_values(["symbol", "origin", "step"], ignore_index=True)
        reports = {s: reports[s] for s in panel.symbols if s in reports}
        reports |= {symbol: SymbolReport(None, None, [why]) for symbol, why in skipped.items()}
        source = (self, panel, rows)
        return Forecast(frame, bars, float(level), reports, self.measured(), source)

    def calibrated(
        self, bars: Any, calendar: str | Mapping[str, str | None] | None = None
    ) -> Predictor:
        """A copy whose calibration has gone on, date by date, over the origins of `bars` with known outcomes.

        An origin that was taken in before (`seen` has the last date by symbol) is left out, so that bars may hold the
        whole history; bars without dates can't be told apart and count each time. Bars of another length than before
        begin a new record of coverage. Members stay as they are. Raises DataError on bad bars, HistoryTooShort if no
        origin has the context before it and the horizon after it.
        """
        panel = panel_of(load_bars(bars), self.panel_config, self.fitted, calendar)
        need = self.context + self.horizon
        rows = np.concatenate(
            [
                s + np.arange(self.context - 1, n - self.horizon)
                for s, n in zip(panel.start, panel.length, strict=True)
            ]
        )
        if not len(rows):
            raise HistoryTooShort(
                f"{panel.symbols[0]} has {panel.length[0]} bars but an origin with its outcome takes {need}; give more."
            )
        out = copy.copy(self)
        if any(self._other_bars(days) for days in _bar_days(panel)):
            out.calibration, out.seen = (
                {k: Calibration(c.state) for k, c in self.calibration.items()},
                {},
            )
        seen = np.array([out.seen.get(s, "NaT") for s in panel.symbols], "datetime64[ns]")
        out._take_in(panel, rows[~(panel.date[rows] <= seen[panel.symbol_of(rows)])])
        return out

    def save(self, folder: str | Path) -> Path:
        """Write the predictor as a folder of safetensors and JSON files; returns the folder.

        Raises OutputError, and CheckpointError if a member that it was loaded from is missing: it would be lost.
        """
        if lost := [k for k in self.missing if k in self.calibration]:
            raise CheckpointError(
                f"{NAMES[lost[0]]} of this predictor is missing and would be lost; load the whole folder, then save it."
            )
        parts = Parts(
            self.members,
            self.missing,
            self.walk,
            self.panel_config,
            self.fitted,
            self.weights,
            self.calibration,
            self.seen,
            self.depth,
            self.bar_days,
            self.manifest,
        )
        return save_parts(folder, parts)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Predictor:
        """Read a predictor's folder, by default data/pretrained beside the package, or a model by id: "owner/name".

        An id is downloaded from a ModelScope hub, verified, and from then on read from the cache (remote.fetch, whose
        errors can be raised too); a folder of that name that is there wins.
        A member that is missing, corrupt or can't run here (networks without torch) is left out, later links of the
        chain answer, and each forecast says so. Raises CheckpointError if the folder is no predictor's, newer than
        this version, or of parts that don't fit each other.
        """
        folder = model_folder(folder)
        self, parts = cls.__new__(cls), load_parts(folder)
        try:
            self._set(parts)
        except ConfigError as error:
            raise CheckpointError(
                f"{folder or 'The shipped model'} can't be used: {error}"
            ) from error
        return self

    def _check(self) -> None:
        """Raises ConfigError if the members don't fit each other, the panel, or what a forecast is made of."""
        names, levels = input_names(self.panel_config), tuple(self.levels)
        for name, member in self.members.items():
            inputs = member.model.inputs if isinstance(member, Network) else names
            pairs_of = {
                "horizon": (member.horizon, self.horizon),
                "quantile levels": (tuple(member.levels), levels),
                "inputs": (inputs, names),
            }
            if wrong := [what for what, (own, others) in pairs_of.items() if own != others]:
                raise ConfigError(
                    f"{NAMES[name]} has other {wrong[0]} than the rest of the predictor; train it again."
                )
        shapes = {
            "har": F.HAR_INPUTS,
            "center": len(names["observed"]),
            "spread": len(names["observed"]),
        }
        fits = {k: np.shape(v) for k, v in self.fitted.items()} == {
            k: (n,) for k, n in shapes.items()
        }
        fits = (
            fits
            and np.isfinite(np.concatenate([*self.fitted.values()])).all()
            and (self.fitted["spread"] > 0).all()
        )
        if not fits:
            raise ConfigError(
                "The fitted scale is not for the panel's inputs; train the predictor again."
            )
        if 0.5 not in levels or len(levels) < 2:
            raise ConfigError(
                f"The quantile levels {levels} lack the median or are too few; train with at least 3."
            )

    def _weights(self, weights: dict[str, float] | None) -> dict[str, float]:
        """Weights over the networks that there should be."""
        here = [k for k in ENSEMBLE_WEIGHTS if k in self.members or k in self.missing]
        if not isinstance(weights, dict | None):
            raise ConfigError(
                f"The ensemble weights are {shown(weights)}; give a dict such as {ENSEMBLE_WEIGHTS}."
            )
        if unknown := [k for k in weights or () if k not in ENSEMBLE_WEIGHTS]:
            raise ConfigError(
                f"There is no network {shown(unknown[0])} to weigh; give weights for {', '.join(ENSEMBLE_WEIGHTS)}."
            )
        if not here:
            return {}
        return check_weights({k: (weights or ENSEMBLE_WEIGHTS).get(k, 0.0) for k in here})

    def _horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.horizon
        if (
            isinstance(horizon, bool)
            or not isinstance(horizon, int | np.integer)
            or not 1 <= horizon <= self.horizon
        ):
            raise ConfigError(
                f"The horizon {shown(horizon)} is outside what this model was trained for, 1 to {self.horizon} bars "
                f"ahead; choose one of these or train with a longer one."
            )
        return int(horizon)

    def _wanted(self, level: float) -> tuple[float, ...]:
        """The trained levels and the interval's two, ascending."""
        fits = isinstance(level, int | float | np.floating) and 0 < level < 1
        tail = (1 - float(level)) / 2 if fits else 0.0
        if not round(tail, 12):  # the tails' quantiles are told apart by as many digits
            given = shown(level)
            raise ConfigError(
                f"The interval's level is {given}; give a number between 0 and 1, such as {LEVEL}."
            )
        return tuple(sorted({round(float(q), 12) for q in (*self.levels, tail, 1 - tail)}))

    def _name(self, link: str, shares: dict[str, float]) -> str:
        if link != "ensemble":
            return NAMES[link]
        used = {NAMES[k]: share for k, share in shares.items() if share}
        return f"ensemble ({' + '.join(f'{share:.2f} {name}' for name, share in used.items())})"

    def _coverage(self, link: str, shares: dict[str, float], level: float) -> float | None:
        """Realised coverage of the answer's intervals; None for weights that it was not measured with."""
        own = link != "ensemble" or shares == self.weights
        return self.calibration[link].realised(level) if own else None

    def measured(self) -> str:
        """What the coverage was measured on: "over 252 dates to 2017-12-21, all symbols together"."""
        dates = max((c.dates for c in self.calibration.values()), default=0)
        if not self.seen:
            return f"over {dates} bars"
        return f"over {dates} dates to {max(self.seen.values())[:10]}{', all symbols together' * (len(self.seen) > 1)}"

    def _other_bars(self, days: float) -> list[str]:
        """A warning if bars of so many days are longer or shorter than those that the intervals were calibrated on."""
        if self.bar_days is None or not max(days, self.bar_days) > OTHER * min(days, self.bar_days):
            return []
        return [
            f"Bars are {_span(days)} long here and {_span(self.bar_days)} where the model was calibrated, so how well "
            "its intervals hold was not measured; see calibrated()."
        ]

    def _take_in(self, panel: Panel, rows: np.ndarray) -> None:
        """Move every calibration on over the origins `rows` of `panel` whose outcomes are all known."""
        rows = rows[np.isfinite(np.asarray(panel.target)[rows]).all(1)]
        if not len(rows):
            return
        days = _bar_days(panel)
        self.bar_days = (
            float(np.median(days[np.isfinite(days)])) if np.isfinite(days).any() else None
        )
        actual = panel.outcomes(rows)
        symbol, ahead = panel.symbol_of(rows), rows[:, None] + np.arange(1, self.horizon + 1)
        date, due = panel.date[rows], panel.date[ahead]
        if np.isnat(date).any():  # bars count where there are no dates
            date, due = rows - panel.start[symbol], ahead - panel.start[symbol][:, None]
        else:
            last = {
                panel.symbols[s]: pd.Timestamp(date[symbol == s].max()).isoformat()
                for s in np.unique(symbol)
            }
            self.seen = {**self.seen, **last}
        found = {k: m.quantiles(panel, rows) for k, m in self._here.items()}
        if all(k in found for k in ENSEMBLE_WEIGHTS):
            found["ensemble"] = combine(found, self.weights)
        moved = {
            k: self.calibration[k].moved(q, self.levels, actual, date, due)
            for k, q in found.items()
        }
        self.calibration = self.calibration | moved


def train_predictor(
    panel: Panel,
    preset_name: str = "quick",
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Predictor:
    """Train every member that can be trained here and weigh them 65/35; without torch that is boosting alone.

    The preset `cloud` trains several seeds of each network and distils them into one. With `folder` the training states
    and the finished predictor are written there, and an interrupted call goes on where it stopped. Raises
    ConfigError, HistoryTooShort, CheckpointError, OutputError.
    """
    tft, nhits, boosting, usual = preset(preset_name)
    horizon = panel.config.horizon
    members: dict[str, Any] = {"boosting": Boosting(with_horizon(boosting, horizon)).fit(panel)}
    if has_torch():
        from ..training.loop import fit

        train = train or usual
        for name, config in (("tft", tft), ("nhits", nhits)):
            found = []
            for i in range(SEEDS.get(preset_name, 1)):
                state = Path(folder) / f"{name}{f'-{i}' if i else ''}.state" if folder else None
                settings = replace(train, seed=train.seed + i)
                found.append(
                    fit(with_horizon(config, horizon), panel, settings, state, progress).model
                )
            if len(found) > 1:
                state = Path(folder) / f"{name}-distilled.state" if folder else None
                student = replace(found[0].config, dropout=0.0)  # what it learns from has no noise
                found = [fit(student, panel, train, state, progress, teachers=found).model]
            members[name] = found
    predictor = Predictor(members, panel)
    if folder:
        predictor.save(folder)
    return predictor


def _numbers(panel: Panel, symbols: Sequence[str]) -> list[int]:
    """The numbers of these symbols in the panel; raises ConfigError on one that isn't there."""
    names = [symbols] if isinstance(symbols, str) else list(symbols)
    if unknown := [name for name in names if name not in panel.symbols]:
        raise ConfigError(
            f"There is no symbol {shown(unknown[0])} to forecast; the bars have {listed(panel.symbols)}."
        )
    return [panel.symbols.index(name) for name in names]


def _bar_days(panel: Panel) -> np.ndarray:
    """How long the bars of each symbol are [S], in days; NaN where they have no dates."""
    static = dict(zip(F.STATIC, np.asarray(panel.static, float).T, strict=True))
    return np.where(static["has_calendar"] > 0, 10 ** static["bar_length"], np.nan)


def _span(days: float) -> str:
    """A bar's length in words."""
    return (
        f"{days:.3g} days"
        if days > 1.5
        else "one day"
        if days > 0.9
        else f"{1440 * days:.3g} minutes"
    )


def _outrun(panel: Panel, symbol: str, horizon: int) -> list[str]:
    """A sentence if the symbol's calendar ends before the `horizon` dates ahead do."""
    name, told = panel.outrun.get(symbol, ("", horizon))
    said = (
        f"The calendar {name} tells {told} of the {horizon} dates ahead of {symbol}; the later ones go by the "
        f"pattern of its bars, which knows no holidays."
    )
    return [said] if told < horizon else []


def _manifest(panel: Panel) -> dict[str, Any]:
    """What the predictor was made with and from."""
    return {
        "versions": versions("tftnhits", "torch", "numpy", "pandas", "scikit-learn"),
        "data": panel.digest(),
        "symbols": len(panel.symbols),
        "bars": int(panel.length.sum()),
    }
