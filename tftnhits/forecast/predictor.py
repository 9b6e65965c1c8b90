"""One predictor: the ensemble where it can answer, gradient boosting where it can't, and the reason beside it."""

from __future__ import annotations

import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, LEVEL, PanelConfig, TrainConfig, preset, with_horizon
from ..data import features as F
from ..data.bars import load_bars
from ..data.windows import Panel, input_names, make_panel
from ..errors import CheckpointError, ConfigError
from ..files import read_json, write_json
from ..models.boosting import Boosting
from .ensemble import Member, Network, check_weights, combine, coverage
from .result import Forecast, tidy

FORMAT = 1
NAMES = {"tft": "TFT", "nhits": "N-HITS", "boosting": "gradient boosting"}
SHARES = tuple(round(0.05 * i, 2) for i in range(21))  # of the TFT, at which coverage is measured
NO_TORCH = "PyTorch can't be imported, so gradient boosting answers; install the extra 'torch' for the networks."


def has_torch() -> bool:
    """Whether the networks can run here."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError):  # OSError: a broken shared library
        return False
    return True


def pairs(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Nominal levels of the intervals that symmetric quantile levels allow, widest first."""
    tails = {round(q, 6) for q in levels}
    return tuple(round(1 - 2 * q, 6) for q in sorted(tails) if q < 0.5 and round(1 - q, 6) in tails)


class Predictor:
    """Trained members, their weights, and what is needed to make their inputs from bars.

    `members` maps "tft", "nhits" (torch modules or members) and "boosting" to models; `panel` is the one that
    they were trained on, on whose validation split the coverage of every interval is measured here.
    """

    def __init__(self, members: dict[str, Any], panel: Panel, weights: dict[str, float] | None = None):
        if unknown := set(members) - set(NAMES):
            raise ConfigError(f"There is no member {sorted(unknown)[0]!r}; the members are {', '.join(NAMES)}.")
        self.members: dict[str, Member] = {k: m if hasattr(m, "quantiles") else Network(m) for k, m in members.items()}
        self.panel_config, self.fitted = panel.config, panel.fitted
        self._check()
        self.weights = self._weights(weights)
        self.coverage, self.manifest = self._measure(panel), _manifest(panel)

    @property
    def horizon(self) -> int:
        """Steps ahead that the members were trained for."""
        return self.panel_config.horizon

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantile levels, ascending."""
        return next(iter(self.members.values())).levels

    @property
    def context(self) -> int:
        """Bars that the ensemble needs, the origin's included."""
        return max(m.context for m in self.members.values())

    def predict(
        self,
        bars: Any,
        horizon: int | None = None,
        level: float = LEVEL,
        origins: str = "last",
        weights: dict[str, float] | None = None,
    ) -> Forecast:
        """Forecast from the last bar of every symbol, or from every bar with origins="all".

        `bars` is anything load_bars takes. `weights` {"tft": …, "nhits": …} replace the predictor's own.
        Raises DataError on bad bars, HistoryTooShort where not even boosting has enough of them, ConfigError on
        a horizon beyond the trained one, an unknown level or bad weights.
        """
        horizon = self._horizon(horizon)
        available = pairs(self.levels)
        if not isinstance(level, int | float | np.floating) or round(level, 6) not in available:
            raise ConfigError(
                f"No interval of level {level} is trained; choose one of {', '.join(map(str, available))}."
            )
        if origins not in ("last", "all"):
            raise ConfigError(f"origins is {origins!r}; choose 'last' or 'all'.")
        shares = self._weights(weights) if weights else self.weights
        bars = load_bars(bars)
        panel = make_panel(bars, self.panel_config, self.fitted)
        rows, symbols, by_link = self._origins(panel, origins), {}, []
        for link, chosen in self._links(panel, rows, shares):
            used = shares if link == "ensemble" else {link: 1.0}
            found = combine({k: self.members[k].quantiles(panel, chosen) for k in used if used[k]}, used)
            by_link.append(tidy(panel, chosen, found[:, :horizon], self.levels, level))
            symbols |= {panel.symbols[s]: link for s in np.unique(panel.symbol_of(chosen))}
        frame = pd.concat(by_link, ignore_index=True).sort_values(["symbol", "origin", "step"], ignore_index=True)
        return Forecast(
            frame, bars, level,
            {s: self._name(link, shares) for s, link in symbols.items()},
            {s: self._confidence(link, shares, level) for s, link in symbols.items()},
            {s: self._warnings(panel, s, link) for s, link in symbols.items()},
            (self, panel, rows),
        )  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write the predictor as a folder of safetensors, skops and JSON files; returns the folder."""
        folder = Path(folder)
        for member in self.members.values():
            if isinstance(member, Network):
                from ..training.checkpoint import save_network

                save_network(folder, member.model)
            else:
                member.save(folder)
        record = {
            "format": FORMAT,
            "members": list(self.members),
            "weights": self.weights,
            "panel": self.panel_config.to_dict(),
            "fitted": {k: np.asarray(v).tolist() for k, v in self.fitted.items()},
            "coverage": self.coverage,
            "manifest": self.manifest,
        }
        write_json(folder / "predictor.json", record)
        return folder

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Predictor:
        """Read a predictor's folder, by default data/pretrained beside the package.

        Raises CheckpointError if a part is missing, corrupt, foreign or newer. Without torch the networks are
        left out, and gradient boosting answers with a warning.
        """
        if folder is None:
            folder = Path(__file__).resolve().parents[2] / "data" / "pretrained"
            if not folder.is_dir():
                raise CheckpointError(
                    f"No trained model is at {folder}; name the folder of one: `make run` leaves one in "
                    f"notebooks/runs/<time>/model."
                )
        folder = Path(folder)
        record = read_json(folder / "predictor.json")
        if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
            raise CheckpointError(
                f"{folder} has format {record.get('format')!r}, not one this version reads; upgrade tftnhits."
            )
        self = cls.__new__(cls)
        try:
            self.panel_config = PanelConfig.from_dict(record["panel"])
            self.fitted = {k: np.array(v, float) for k, v in record["fitted"].items()}
            self.coverage = {k: {q: [float(x) for x in v] for q, v in t.items()} for k, t in record["coverage"].items()}
            self.manifest, names, weights = record["manifest"], list(record["members"]), dict(record["weights"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / 'predictor.json'} is incomplete ({error}); save the predictor again."
            ) from error
        if unknown := [n for n in names if str(n) not in NAMES]:
            raise CheckpointError(f"{folder} holds the unknown member {unknown[0]!r}; upgrade tftnhits.")
        if not has_torch():
            names = [n for n in names if n == "boosting"]
            if not names:
                raise CheckpointError(
                    f"{folder} holds networks only and PyTorch is missing; install the extra 'torch'."
                )
        self.members = {n: _load_member(folder, n) for n in names}
        try:
            self._check()
            self.weights = self._weights(weights)
        except ConfigError as error:
            raise CheckpointError(f"{folder} can't be used: {error}") from error
        return self

    def _check(self) -> None:
        """Raises ConfigError if the members don't fit each other, the panel, or what a forecast is made of."""
        if not self.members:
            raise ConfigError("A predictor needs at least one member: tft, nhits or boosting.")
        names, levels = input_names(self.panel_config), tuple(self.levels)
        for name, member in self.members.items():
            inputs = member.model.inputs if isinstance(member, Network) else names
            pairs_of = {
                "horizon": (member.horizon, self.horizon),
                "quantile levels": (tuple(member.levels), levels),
                "inputs": (inputs, names),
            }
            if wrong := [what for what, (own, others) in pairs_of.items() if own != others]:
                raise ConfigError(f"{NAMES[name]} has other {wrong[0]} than the rest of the predictor; train it again.")
        shapes = {"har": F.HAR_INPUTS, "center": len(names["observed"]), "spread": len(names["observed"])}
        if {k: np.shape(v) for k, v in self.fitted.items()} != {k: (n,) for k, n in shapes.items()}:
            raise ConfigError("The fitted scale is not for the panel's inputs; train the predictor again.")
        if 0.5 not in levels or not pairs(levels):
            raise ConfigError(f"The quantile levels {levels} lack the median or a symmetric pair; train with both.")

    def _weights(self, weights: dict[str, float] | None) -> dict[str, float]:
        """Weights over the networks that are here."""
        here = [k for k in ENSEMBLE_WEIGHTS if k in self.members]
        if unknown := sorted(set(weights or ()) - set(ENSEMBLE_WEIGHTS)):
            raise ConfigError(
                f"There is no network {unknown[0]!r} to weigh; give weights for {', '.join(ENSEMBLE_WEIGHTS)}."
            )
        if not here:
            return {}
        return check_weights({k: (weights or ENSEMBLE_WEIGHTS).get(k, 0.0) for k in here})

    def _horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.horizon
        if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or not 1 <= horizon <= self.horizon:
            raise ConfigError(
                f"The horizon {horizon!r} is outside what this model was trained for, 1 to {self.horizon} bars ahead; "
                f"choose one of these or train with a longer one."
            )
        return int(horizon)

    def _origins(self, panel: Panel, origins: str) -> np.ndarray:
        shortest = min(m.context for m in self.members.values())
        last = panel.last_origins(shortest)
        if origins == "last":
            return last
        bars = np.concatenate([np.arange(s, e + 1) for s, e in zip(panel.start, last, strict=True)])
        deep = bars - panel.start[panel.symbol_of(bars)] >= self.context - 1
        enough = np.isin(panel.symbol_of(bars), np.flatnonzero(panel.length >= self.context))
        short = ~enough & (bars - panel.start[panel.symbol_of(bars)] >= shortest - 1)
        return bars[deep | short]

    def _links(self, panel: Panel, rows: np.ndarray, shares: dict[str, float]) -> list[tuple[str, np.ndarray]]:
        """The link of the chain that answers, with the rows that it answers for."""
        if not shares:
            return [("boosting", rows)]
        need = max(self.members[k].context for k in shares)
        enough = panel.length[panel.symbol_of(rows)] >= need
        if not enough.all() and "boosting" not in self.members:
            panel.last_origins(need)  # raises, naming the symbol
        found = [("ensemble", rows[enough]), ("boosting", rows[~enough])]
        return [(link, chosen) for link, chosen in found if len(chosen)]

    def _name(self, link: str, shares: dict[str, float]) -> str:
        if link != "ensemble":
            return NAMES[link]
        used = {NAMES[k]: share for k, share in shares.items() if share}
        if len(used) == 1:
            return next(iter(used))
        return f"ensemble ({' + '.join(f'{share:.2f} {name}' for name, share in used.items())})"

    def _warnings(self, panel: Panel, symbol: str, link: str) -> list[str]:
        if link == "ensemble" or not {"tft", "nhits"} & set(self.members):
            return [] if link == "ensemble" else ([] if has_torch() else [NO_TORCH])
        have = int(panel.length[panel.symbols.index(symbol)])
        return [f"{symbol} has {have} bars and the networks need {self.context}, so gradient boosting answers."]

    def _confidence(self, link: str, shares: dict[str, float], level: float) -> float | None:
        """Measured validation coverage of the interval; between two measured weights it is interpolated."""
        table = self.coverage.get(link, {}).get(f"{level:g}")
        if not table:
            return None
        if link == "boosting" or len(table) == 1:
            return table[0]
        return float(np.interp(shares.get("tft", 0.0), SHARES, table))

    def _measure(self, panel: Panel) -> dict[str, dict[str, list[float]]]:
        """Share of validation outcomes inside each interval, for each share of the TFT in SHARES."""
        rows = panel.origins("valid", self.context)
        if not len(rows):
            return {}
        steps = np.sqrt(np.arange(1, self.horizon + 1))
        actual = np.asarray(panel.target)[rows] * np.asarray(panel.scale)[rows, None] * steps
        found = {k: m.quantiles(panel, rows) for k, m in self.members.items()}
        networks = [k for k in ENSEMBLE_WEIGHTS if k in found]
        mixes = {"ensemble": [], "boosting": [found["boosting"]] if "boosting" in found else []}
        if len(networks) == 2:
            mixes["ensemble"] = [combine(found, {"tft": s, "nhits": 1 - s}) for s in SHARES]
        elif networks:
            mixes["ensemble"] = [found[networks[0]]]
        out: dict[str, dict[str, list[float]]] = {}
        for link, options in mixes.items():
            for level in pairs(self.levels) if options else ():
                low, high = (_index(self.levels, q) for q in ((1 - level) / 2, (1 + level) / 2))
                values = [coverage(q[..., low], q[..., high], actual) for q in options]
                out.setdefault(link, {})[f"{level:g}"] = [v for v in values if not math.isnan(v)]
        return out


def train_predictor(
    panel: Panel,
    preset_name: str = "quick",
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Predictor:
    """Train every member that can be trained here and weigh them 65/35; without torch that is boosting alone.

    With `folder` the training states and the finished predictor are written there, and an interrupted call goes
    on where it stopped. Raises ConfigError, HistoryTooShort, CheckpointError, OutputError.
    """
    tft, nhits, boosting, usual = preset(preset_name)
    horizon = panel.config.horizon
    members: dict[str, Any] = {"boosting": Boosting(with_horizon(boosting, horizon)).fit(panel)}
    if has_torch():
        from ..training.loop import fit

        for name, config in (("tft", tft), ("nhits", nhits)):
            state = Path(folder) / f"{name}.state" if folder else None
            members[name] = fit(with_horizon(config, horizon), panel, train or usual, state, progress).model
    predictor = Predictor(members, panel)
    if folder:
        predictor.save(folder)
    return predictor


def _index(levels: tuple[float, ...], level: float) -> int:
    return int(np.argmin(np.abs(np.asarray(levels) - level)))


def _load_member(folder: Path, name: str) -> Member:
    if name == "boosting":
        return Boosting.load(folder / "boosting.json")
    from ..training.checkpoint import load_network

    model, _ = load_network(folder / f"{name}.json")
    return Network(model)


def _manifest(panel: Panel) -> dict[str, Any]:
    """What the predictor was made with and from."""
    versions = {"python": platform.python_version()}
    for package in ("tftnhits", "torch", "numpy", "pandas", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "data": panel.digest(),
        "symbols": len(panel.symbols),
        "bars": int(panel.length.sum()),
    }
