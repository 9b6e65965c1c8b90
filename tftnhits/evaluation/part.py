"""One part of a backtest, a fold with a seed: train inside the fold, forecast its test span, write what came out.

Everything that is fitted (volatility scale, means and deviations, networks, early stopping, ensemble weights, the
start of the calibration) sees the fold's training and validation only.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, QUANTILES, BacktestConfig, preset, with_horizon
from ..data.windows import Panel, make_panel
from ..errors import BacktestIncomplete, DataError, TftnhitsError
from ..files import atomic_write, write_json
from ..forecast.conformal import Conformal
from ..forecast.ensemble import MEMBERS as TRAINED
from ..forecast.ensemble import NAMES, Member, Network, combine, learn_weights
from ..models.baselines import BASELINES, WARM_UP, Baseline
from ..models.boosting import Boosting
from .folds import Fold
from .metrics import INTERVALS, random_walk_mae

LEVELS = QUANTILES
NETWORKS = tuple(NAMES[k] for k in ENSEMBLE_WEIGHTS)
MEMBERS = (*(NAMES[k] for k in TRAINED), *BASELINES)
ENSEMBLES = ("ensemble", "equal weights", "learned weights", "learned weights + HAR")


@dataclass(frozen=True)
class Run:
    """What all parts of a backtest share."""

    config: BacktestConfig
    members: tuple[str, ...]  # those of MEMBERS that take part
    symbols: tuple[str, ...]
    folder: Path
    key: str  # tells parts of this backtest from those of another
    one_thread: bool  # torch must leave the other cores to the other parts

    @property
    def forecasters(self) -> tuple[str, ...]:
        """Members and the ensembles that can be made of them, in the order of the frame."""
        made = (
            ENSEMBLES[: len(ENSEMBLES) - ("HAR" not in self.members)]
            if {*NETWORKS} <= {*self.members}
            else ()
        )
        return self.members + made

    @property
    def context(self) -> int:
        """Bars that an origin needs, so that every forecaster answers for it."""
        return context_of(self.config, self.members)


@dataclass(frozen=True)
class Part:
    """A fold with a seed; `lead` is the first seed, whose part holds the forecasters that have none as well."""

    fold: Fold
    seed: int
    lead: bool

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"fold-{self.fold.number:02d}-seed-{self.seed}"

    def members(self, run: Run) -> tuple[str, ...]:
        """Members that this part trains; HAR always, since an ensemble takes it as its third."""
        return tuple(
            m for m in run.members if self.lead or m in NETWORKS or (m == "HAR" and _ensembles(run))
        )

    def files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Forecasts, record (written last), and the folder of what is under way."""
        parts = folder / "parts"
        return (
            parts / f"{self.name}.parquet",
            parts / f"{self.name}.json",
            folder / "work" / self.name,
        )


def _ensembles(run: Run) -> bool:
    return len(run.forecasters) > len(run.members)


def context_of(config: BacktestConfig, members: tuple[str, ...]) -> int:
    """Bars that an origin needs, itself included, so that each of `members` answers."""
    needs = dict(zip(MEMBERS, (c.context for c in preset(config.preset)[:3])))
    return max(needs.get(name, WARM_UP) for name in members)


def attempt(bars: pd.DataFrame, part: Part, run: Run) -> TftnhitsError | None:
    """Run a part; returns the error that it ended with, naming the part, so that the other parts go on."""
    try:
        if run.one_thread and set(NETWORKS) & set(run.members):
            import torch

            torch.set_num_threads(1)
        run_part(bars, part, run)
    except Exception as error:
        return _with_name(error, part, run)
    return None


def _with_name(error: Exception, part: Part, run: Run) -> TftnhitsError:
    """The error with the part's name in front: a typed one of its own class, any other as BacktestIncomplete.

    Another process's cause doesn't survive pickling, so the message says all.
    """
    where = f"{part.name} (test {part.fold.test_begin} to {part.fold.test_end})"
    if isinstance(error, TftnhitsError):
        found = type(error)(f"{where}: {error}")
    else:
        what = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        found = BacktestIncomplete(
            f"{where} ended with {what!r}; the parts that are done are kept in {run.folder}: call backtest again with "
            f"this folder to resume."
        )
    found.__cause__ = error
    return found


def run_part(bars: pd.DataFrame, part: Part, run: Run) -> None:
    """Train, forecast, combine, calibrate, and write a part's forecasts and record; `bars` are the fold's own.

    A file `started` with the process's id marks it as under way; networks that were cut short train on from their
    last epoch. Raises DataError (names symbol and forecaster) if a forecast is not finite.
    """
    begin = time.perf_counter()
    forecasts, record_file, work = part.files(run.folder)
    atomic_write(work / "started", str(os.getpid()))
    panel = make_panel(bars, part.fold.panel_config(run.config))
    valid, test = panel.origins("valid", run.context), test_origins(panel, part.fold, run.context)
    rows, count = np.r_[valid, test], len(valid)
    actual = panel.outcomes(rows)
    found, trained = {}, {}
    for name in part.members(run):
        since = time.perf_counter()
        member, notes = train_member(name, panel, part, run, work)
        found[name] = np.asarray(member.quantiles(panel, rows), float)
        trained[name] = {**notes, "seconds": time.perf_counter() - since}
    shares = (
        ensemble_weights({k: v[:count] for k, v in found.items()}, actual[:count])
        if _ensembles(run)
        else {}
    )
    found |= {name: combine(found, weights) for name, weights in shares.items()}
    check_finite(found, panel, rows)
    intervals, states = {}, {}
    for name, quantiles in found.items():
        intervals[name], states[name] = calibrate(quantiles, actual, panel, rows, count)
    check_finite(intervals, panel, test)
    kept = [
        f for f in run.forecasters if f in found and (part.lead or f in (*NETWORKS, *ENSEMBLES))
    ]
    frame = pd.concat(
        [
            tidy(f, found[f][count:], intervals[f], actual[count:], panel, test, part, run)
            for f in kept
        ],
        ignore_index=True,
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    atomic_write(forecasts, buffer.getvalue())
    lost = pd.Series(np.isnan(actual[count:]).sum(1)).groupby(panel.symbol_of(test)).sum()
    record = {
        "key": run.key,
        "fold": part.fold.to_dict(),
        "seed": part.seed,
        "forecasters": kept,
        "origins": {"validation": count, "test": len(test)},
        "members": trained,
        "weights": shares,
        "missing_outcomes": {panel.symbols[s]: int(n) for s, n in lost.items() if n},
        "fitted": {k: np.asarray(v).tolist() for k, v in panel.fitted.items()},
        "calibration": {k: s.to_dict() for k, s in states.items() if k in kept},
        "seconds": time.perf_counter() - begin,
    }
    write_json(record_file, record)
    shutil.rmtree(work, ignore_errors=True)


def test_origins(panel: Panel, fold: Fold, context: int) -> np.ndarray:
    """Rows [K] of all bars of the test span that have their context, those without an outcome too."""
    day = panel.date.astype("datetime64[D]")
    rows = np.flatnonzero(
        np.isfinite(panel.close) & (day >= fold.test_begin) & (day <= fold.test_end)
    )
    return rows[rows - panel.start[panel.symbol_of(rows)] >= context - 1]


def train_member(
    name: str, panel: Panel, part: Part, run: Run, work: Path
) -> tuple[Member, dict[str, Any]]:
    """A forecaster fitted on the fold's training split, and what the record says of it."""
    tft, nhits, boosting, train = preset(run.config.preset)
    horizon = panel.config.horizon
    if name in NETWORKS:
        from ..training.loop import fit

        key = next(k for k, label in NAMES.items() if label == name)
        config = with_horizon({"tft": tft, "nhits": nhits}[key], horizon)
        done = fit(
            config, panel, replace(train, seed=part.seed), work / f"{key}.state", progress=False
        )
        best = min(
            (row["valid"] for row in done.history if math.isfinite(row["valid"])), default=None
        )
        return Network(done.model), {"epochs": len(done.history), "validation_loss": best}
    if name in BASELINES:
        return Baseline(name, panel, LEVELS), {}
    return Boosting(with_horizon(boosting, horizon)).fit(panel), {}


def ensemble_weights(
    quantiles: dict[str, np.ndarray], actual: np.ndarray
) -> dict[str, dict[str, float]]:
    """Weights of each of ENSEMBLES; those learnt have the least loss on the validation's quantiles [K, H, Q]."""
    networks = {name: quantiles[name] for name in NETWORKS}
    out = {
        "ensemble": {NAMES[k]: share for k, share in ENSEMBLE_WEIGHTS.items()},
        "equal weights": dict.fromkeys(networks, 1 / len(networks)),
        "learned weights": learn_weights(networks, actual, LEVELS),
    }
    if "HAR" in quantiles:
        out["learned weights + HAR"] = learn_weights(
            networks | {"HAR": quantiles["HAR"]}, actual, LEVELS
        )
    return out


def check_finite(found: dict[str, np.ndarray], panel: Panel, rows: np.ndarray) -> None:
    """Raises DataError on the first forecast that is no number."""
    for name, quantiles in found.items():
        bad = np.flatnonzero(~np.isfinite(quantiles).all((1, 2)))
        if bad.size:
            row = rows[bad[0]]
            raise DataError(
                f"{name} gives no finite forecast for {panel.symbols[panel.symbol_of(row)]} at "
                f"{pd.Timestamp(panel.date[row]).date()}; check its bars around there or leave it out."
            )


def calibrate(
    quantiles: np.ndarray, actual: np.ndarray, panel: Panel, rows: np.ndarray, count: int
) -> tuple[np.ndarray, Conformal]:
    """Calibrated [K, H, 4] of the test origins and the state as test begins; the narrow interval comes first.

    The first `count` rows are validation. An outcome counts from its own symbol's date on.
    """
    wanted = sorted(tail for level in INTERVALS for tail in _tails(level))
    known = panel.date[rows[:, None] + 1 + np.arange(panel.config.horizon)]
    date = panel.date[rows]
    valid, test = slice(None, count), slice(count, None)
    start = Conformal.start(panel.config.horizon)
    _, state = start.run(quantiles[valid], LEVELS, actual[valid], date[valid], wanted, known[valid])
    found, _ = state.run(quantiles[test], LEVELS, actual[test], date[test], wanted, known[test])
    order = [wanted.index(tail) for level in sorted(INTERVALS) for tail in _tails(level)]
    return found[..., order], state


def _tails(level: float) -> tuple[float, float]:
    return round((1 - level) / 2, 6), round((1 + level) / 2, 6)


def tidy(
    forecaster: str,
    quantiles: np.ndarray,
    intervals: np.ndarray,
    actual: np.ndarray,
    panel: Panel,
    rows: np.ndarray,
    part: Part,
    run: Run,
) -> pd.DataFrame:
    """The K · H rows of a forecaster in the backtest's frame: quantiles [K, H, Q] and intervals [K, H, 4] as prices."""
    steps, close = panel.config.horizon, panel.close[rows]
    code = pd.Index(run.symbols).get_indexer(
        np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    )
    ahead = rows[:, None] + 1 + np.arange(steps)
    columns = {
        "symbol": pd.Categorical.from_codes(np.repeat(code, steps), list(run.symbols)),
        "origin": np.repeat(panel.date[rows], steps),
        "step": np.tile(np.arange(1, steps + 1, dtype=np.int16), len(rows)),
        "date": panel.date[ahead].ravel(),
        "fold": np.int16(part.fold.number),
        "seed": np.int32(part.seed),
        "forecaster": pd.Categorical([forecaster] * ahead.size, list(run.forecasters)),
        "close": np.repeat(close, steps),
        "scale": np.repeat(np.asarray(panel.scale, np.float32)[rows], steps),
        "naive": np.repeat(random_walk_mae(panel).astype(np.float32)[panel.symbol_of(rows)], steps),
        "actual": np.where(np.isfinite(actual), panel.close[ahead], np.nan).ravel(),
    }
    priced = {f"{q:g}": quantiles[..., i] for i, q in enumerate(LEVELS)}
    ends = [f"{end}_{100 * level:.0f}" for level in sorted(INTERVALS) for end in ("lower", "upper")]
    priced |= {name: intervals[..., i] for i, name in enumerate(ends)}
    return pd.DataFrame(
        columns
        | {k: (close[:, None] * np.exp(v)).ravel().astype(np.float32) for k, v in priced.items()}
    )
