"""One run of a backtest, a fold with a seed: train inside the fold, forecast its test, write it.

Everything that is fitted (volatility scale, networks, early stopping, ensemble weights, the start
of the calibration) sees the fold's training and validation only, and is fitted by the functions
that make the shipped model.
"""

from __future__ import annotations

import io
import math
import shutil
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, QUANTILES, BacktestConfig, preset
from ..data.windows import Panel, make_panel
from ..errors import BacktestIncomplete, DataError, TftnhitsError
from ..files import atomic_write, write_json
from ..forecast.conformal import Conformal
from ..forecast.ensemble import MEMBERS as KEYS
from ..forecast.ensemble import NAMES, combine, learn_weights, train_members
from ..models.baselines import BASELINES, WARM_UP, Baseline
from .folds import Fold
from .metrics import ENDS, random_walk_mae

TRAINED = {NAMES[key]: key for key in KEYS}
NETWORKS = tuple(NAMES[key] for key in ENSEMBLE_WEIGHTS)
MEMBERS = (*TRAINED, *BASELINES)
ENSEMBLES = ("ensemble", "equal weights", "learned weights", "learned weights + HAR")


@dataclass(frozen=True)
class Setup:
    """What all runs of a backtest share."""

    config: BacktestConfig
    members: tuple[str, ...]  # those of MEMBERS that take part
    symbols: tuple[str, ...]
    folder: Path
    key: str  # tells runs of this backtest from those of another
    one_thread: bool  # torch leaves the other cores to the other runs
    device: str = "auto"  # of the networks

    @property
    def ensembles(self) -> tuple[str, ...]:
        """Those of ENSEMBLES that can be made of the members."""
        if not {*NETWORKS} <= {*self.members}:
            return ()
        return ENSEMBLES if "HAR" in self.members else ENSEMBLES[:-1]

    @property
    def context(self) -> int:
        """Bars that an origin needs, itself included, so that every member answers for it."""
        needs = dict(zip(TRAINED, (c.context for c in preset(self.config.preset)[:3]), strict=True))
        return max(needs.get(name, WARM_UP) for name in self.members)


@dataclass(frozen=True)
class FoldRun:
    """A fold with a seed; the `first` seed's also holds the forecasters that have no seed."""

    fold: Fold
    seed: int
    first: bool

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"fold-{self.fold.number:02d}-seed-{self.seed}"

    def trained(self, setup: Setup) -> list[str]:
        """Members to train: each seed has its networks, and needs HAR, the third of an ensemble."""
        seeded = [*NETWORKS, "HAR"] if setup.ensembles else NETWORKS
        return [name for name in setup.members if self.first or name in seeded]

    def forecasters(self, setup: Setup) -> list[str]:
        """Forecasters to write, in the order of the frame."""
        names = (*setup.members, *setup.ensembles)
        return [name for name in names if self.first or name in (*NETWORKS, *ENSEMBLES)]


def attempt(bars: pd.DataFrame, run: FoldRun, setup: Setup) -> tuple[str, TftnhitsError | None]:
    """Run, and return the run's name and the error that it ended with, so that the others go on.

    A typed error keeps its class. Its message says all: no cause survives pickling.
    """
    where = f"{run.name} (test {run.fold.test_begin} to {run.fold.test_end})"
    try:
        if setup.one_thread and {*NETWORKS} & {*setup.members}:
            import torch

            torch.set_num_threads(1)
        run_fold(bars, run, setup)
    except TftnhitsError as error:
        return run.name, type(error)(f"{where}: {error}")
    except Exception as error:
        what = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        failure = BacktestIncomplete(
            f"{where} ended with {what!r}; call backtest again with {setup.folder} to resume."
        )
        failure.__cause__ = error
        return run.name, failure
    return run.name, None


def run_fold(bars: pd.DataFrame, run: FoldRun, setup: Setup) -> None:
    """Train, forecast, combine, calibrate, and write forecasts and record.

    `bars` are those of `fold_bars`; networks that were cut short train on from their last epoch.
    """
    begin = time.perf_counter()
    work = setup.folder / "work" / run.name
    panel = make_panel(bars, run.fold.panel_config(setup.config))
    # Origins of validation, then those of the test
    valid = panel.origins("valid", setup.context)
    test = test_origins(panel, run.fold, setup.context)
    rows, count = np.r_[valid, test], len(valid)
    actual = panel.outcomes(rows)  # [K, H]
    # Members, and the ensembles of them: [K, H, Q] each
    quantiles, notes = forecast(panel, rows, run, setup, work)
    weights = {}
    if setup.ensembles:
        known = {name: values[:count] for name, values in quantiles.items()}
        weights = ensemble_weights(known, actual[:count])
    quantiles |= {name: combine(quantiles, shares) for name, shares in weights.items()}
    # Intervals [K, H, 4] over the test, and the frame
    frames, states = [], {}
    for name in run.forecasters(setup):
        ends, states[name] = calibrate(quantiles[name], actual, panel, rows, count)
        prices = np.concatenate([quantiles[name][count:], ends], axis=-1)
        frames.append(forecast_frame(name, prices, actual[count:], panel, test, run, setup))
    buffer = io.BytesIO()
    pd.concat(frames, ignore_index=True).to_parquet(buffer, index=False, compression="zstd")
    atomic_write(setup.folder / "runs" / f"{run.name}.parquet", buffer.getvalue())
    lost = pd.Series(np.isnan(actual[count:]).sum(1)).groupby(panel.symbol_of(test)).sum()
    record = {
        "key": setup.key,
        "fold": run.fold.to_dict(),
        "seed": run.seed,
        "origins": {"validation": count, "test": len(test)},
        "members": notes,
        "weights": weights,
        "missing_outcomes": {panel.symbols[s]: int(n) for s, n in lost.items() if n},
        "fitted": {k: np.asarray(v).tolist() for k, v in panel.fitted.items()},
        "calibration": {name: state.score.tolist() for name, state in states.items()},
        "seconds": time.perf_counter() - begin,
    }
    write_json(setup.folder / "runs" / f"{run.name}.json", record)  # last: now it is done
    shutil.rmtree(work, ignore_errors=True)


def test_origins(panel: Panel, fold: Fold, context: int) -> np.ndarray:
    """Rows [K] of all bars of the test span that have their context, also without an outcome."""
    day = panel.date.astype("datetime64[D]")
    tested = np.isfinite(panel.close) & (day >= fold.test_begin) & (day <= fold.test_end)
    rows = np.flatnonzero(tested)
    return rows[rows - panel.start[panel.symbol_of(rows)] >= context - 1]


def forecast(
    panel: Panel, rows: np.ndarray, run: FoldRun, setup: Setup, work: Path
) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Quantiles [K, H, Q] of members fitted on the fold's training, and notes of the training."""
    settings = replace(preset(setup.config.preset)[3], seed=run.seed)
    quantiles, notes = {}, {}
    for name in run.trained(setup):
        if name in BASELINES:
            member = Baseline(name, panel, QUANTILES)
        else:
            options = {"folder": work, "progress": False, "names": (TRAINED[name],), "seeds": 1}
            options["device"] = setup.device
            (member,) = train_members(panel, setup.config.preset, settings, **options).values()
        quantiles[name] = np.asarray(member.quantiles(panel, rows), float)
        bad = rows[~np.isfinite(quantiles[name]).all((1, 2))]
        if len(bad):
            symbol, date = panel.symbols[panel.symbol_of(bad[0])], str(panel.date[bad[0]])[:10]
            raise DataError(
                f"{name} gives no finite forecast for {symbol} at {date}; leave it out."
            )
        curve = [row["valid"] for row in getattr(member, "history", ())]
        best = min(filter(math.isfinite, curve), default=None)
        notes[name] = {"epochs": len(curve), "validation_loss": best} if curve else {}
    return quantiles, notes


def ensemble_weights(
    quantiles: dict[str, np.ndarray], actual: np.ndarray
) -> dict[str, dict[str, float]]:
    """Weights of each of ENSEMBLES; those learnt are the best for these [K, H, Q] and [K, H]."""
    networks = {name: quantiles[name] for name in NETWORKS}
    weights = {
        "ensemble": {NAMES[key]: share for key, share in ENSEMBLE_WEIGHTS.items()},
        "equal weights": dict.fromkeys(networks, 1 / len(networks)),
        "learned weights": learn_weights(networks, actual, QUANTILES),
    }
    if "HAR" in quantiles:
        three = networks | {"HAR": quantiles["HAR"]}
        weights["learned weights + HAR"] = learn_weights(three, actual, QUANTILES)
    return weights


def calibrate(
    quantiles: np.ndarray, actual: np.ndarray, panel: Panel, rows: np.ndarray, count: int
) -> tuple[np.ndarray, Conformal]:
    """Calibrated ENDS [K, H, 4] of the test origins and the state as the test begins.

    The first `count` rows are validation. An outcome counts from its own symbol's date on.
    """
    horizon = panel.config.horizon
    known = panel.date[rows[:, None] + 1 + np.arange(horizon)]  # [K, H]
    wanted = list(ENDS.values())

    def update(state: Conformal, part: slice) -> tuple[np.ndarray, Conformal]:
        made = panel.date[rows[part]]
        return state.run(quantiles[part], QUANTILES, actual[part], made, wanted, known[part])

    _, begin = update(Conformal.start(horizon), slice(None, count))
    ends, _ = update(begin, slice(count, None))
    return ends, begin


def forecast_frame(
    forecaster: str,
    quantiles: np.ndarray,
    actual: np.ndarray,
    panel: Panel,
    rows: np.ndarray,
    run: FoldRun,
    setup: Setup,
) -> pd.DataFrame:
    """The K · H rows of a forecaster in Backtest.frame; quantiles [K, H, Q + 4] end with ENDS."""
    steps = panel.config.horizon
    ahead = rows[:, None] + 1 + np.arange(steps)  # [K, H]
    symbol = np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    naive = random_walk_mae(panel)[panel.symbol_of(rows)]
    forecasters = [*setup.members, *setup.ensembles]
    columns = {
        "symbol": pd.Categorical(np.repeat(symbol, steps), list(setup.symbols)),
        "origin": np.repeat(panel.date[rows], steps),
        "step": np.tile(np.arange(1, steps + 1, dtype=np.int16), len(rows)),
        "date": panel.date[ahead].ravel(),
        "fold": np.int16(run.fold.number),
        "seed": np.int32(run.seed),
        "forecaster": pd.Categorical([forecaster] * ahead.size, forecasters),
        "close": np.repeat(panel.close[rows], steps),
        "scale": np.asarray(panel.scale, np.float32)[rows, :steps].ravel(),
        "naive": np.repeat(naive.astype(np.float32), steps),
        "actual": np.where(np.isfinite(actual), panel.close[ahead], np.nan).ravel(),
    }
    prices = (panel.close[rows, None, None] * np.exp(quantiles)).astype(np.float32)
    for i, name in enumerate([*(f"{q:g}" for q in QUANTILES), *ENDS]):
        columns[name] = prices[..., i].ravel()
    return pd.DataFrame(columns)
