"""A backtest's frame as arrays for the scores and tests, and as the table of who forecasts best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..config import QUANTILES, SCORE_LEVELS
from ..errors import ConfigError
from .metrics import ENDS, POINTS, by_group, pinball_loss, terciles
from .verdicts import confidence_set, diebold_mariano

BENCHMARK = "HAR"
PERIODS = {"month": "M", "quarter": "Q", "year": "Y"}
GROUPS = ("fold", "tercile", *PERIODS, "symbol")
COLUMNS = [f"{q:g}" for q in QUANTILES]  # of the frame, at QUANTILES
OF_INTERVALS = ["coverage_80", "width_80", "coverage_93", "width_93"]
SCORED = [QUANTILES.index(level) for level in SCORE_LEVELS]


class Arrays(NamedTuple):
    """Forecasts of one forecaster, in log returns since the origin; origins by symbol and date."""

    quantiles: np.ndarray  # [K, H, Q] at `levels`
    calibrated: np.ndarray  # [K, H, 4] ends of the calibrated intervals, as in metrics.ENDS
    actual: np.ndarray  # [K, H], NaN where unknown
    date: np.ndarray  # [K] of the origin
    symbol: np.ndarray  # [K]
    scale: np.ndarray  # [K] one-bar volatility forecast at the origin
    naive: np.ndarray  # [K] metrics.random_walk_mae of the symbol in the fold's training
    fold: np.ndarray  # [K]
    levels: tuple[float, ...] = QUANTILES


def arrays(frame: pd.DataFrame, forecaster: str, seed: int | None = None) -> Arrays:
    """The forecasts of one forecaster; all of a backtest have the same origins in the same order.

    Parameters
    ----------
    frame : Backtest.frame, or whole origins of it
    forecaster : by name
    seed : of the networks; None takes the average of all seeds' quantiles
    """
    # the rows of the forecaster, and whether they are whole origins
    rows = frame[frame["forecaster"] == forecaster]
    if rows.empty:
        known = ", ".join(map(str, frame["forecaster"].unique()))
        raise ConfigError(f"There is no forecaster {forecaster!r}; choose from {known}.")
    if seed is not None:
        known = ", ".join(map(str, rows["seed"].unique()))
        rows = rows[rows["seed"] == seed]
        if rows.empty:
            raise ConfigError(f"{forecaster} has no seed {seed}; choose from {known}.")
    _check_origins(rows)
    rows = rows.sort_values(["seed", "symbol", "origin", "step"])
    steps = int(rows["step"].max())
    if not np.array_equal(rows["step"], np.resize(np.arange(1, steps + 1), len(rows))):
        raise ConfigError(f"An origin of {forecaster} lacks a step or has one twice.")
    # from prices back to log returns
    seeds = rows["seed"].nunique()
    close = rows["close"].to_numpy(float)[:, None]

    def returns(columns: list[str]) -> np.ndarray:  # [seeds, K, H, columns]
        values = np.log(rows[columns].to_numpy(float) / close)
        return values.reshape(seeds, -1, steps, len(columns))

    origins = rows.iloc[: len(rows) // seeds : steps]
    return Arrays(
        quantiles=returns(COLUMNS).mean(0),
        calibrated=returns(list(ENDS)).mean(0),
        actual=returns(["actual"])[0, ..., 0],
        date=origins["origin"].to_numpy(),
        symbol=origins["symbol"].astype(str).to_numpy(),
        scale=origins["scale"].to_numpy(float),
        naive=origins["naive"].to_numpy(float),
        fold=origins["fold"].to_numpy(),
    )


def _check_origins(frame: pd.DataFrame) -> None:
    """Raise ConfigError unless all forecasters and seeds answer for the same origins and steps."""
    # Equal sums of the rows' hashes are equal sets of rows, whatever their order
    keys = pd.util.hash_pandas_object(frame[["symbol", "origin", "step"]], index=False)
    sums = keys.groupby([frame["forecaster"], frame["seed"]], observed=True).sum()
    odd = sums[sums != sums.mode()[0]]
    if len(odd):
        name, seed = odd.index[0]
        raise ConfigError(
            f"The forecasts of {name} (seed {seed}) and others are not from the same origins; "
            f"finish the backtest: call it again with its folder."
        )


def summary(
    frame: pd.DataFrame, by: str | None = None, verdicts: bool = True, benchmark: str = BENCHMARK
) -> pd.DataFrame:
    """The leaderboard, best first.

    Parameters
    ----------
    frame : Backtest.frame, or whole origins of it
    by : one of GROUPS, for a row a group and forecaster, without verdicts
    verdicts : whether to test who is better, which takes the package arch
    benchmark : the forecaster that the others are tested against

    Returns
    -------
    DataFrame : `pinball` (mean over SCORE_LEVELS, steps, origins and seeds), `pinball_sd` (over
        seeds), `pinball_1` (step 1), `mae` and `mse` of the median, `outcomes` (known ones); of
        each interval `coverage_` and `width_`, and both as `calibrated_…`, after the online
        calibration. Lengths are basis points of log return, mse their square. Verdicts, on
        losses averaged over the seeds and clustered by date: `dm_p`, the one-sided p-value of
        Diebold and Mariano that it beats the benchmark (if the frame has that), `mcs_p` and
        `in_mcs`, the 90% model confidence set
    """
    if by is not None and by not in GROUPS:
        raise ConfigError(f"There is no grouping {by!r}; choose one of {', '.join(GROUPS)}.")
    _check_origins(frame)
    seeds = frame.groupby("forecaster", observed=True)["seed"].unique()
    tables, losses = [], {}
    for name in map(str, frame["forecaster"].unique()):
        runs = [arrays(frame, name, seed) for seed in seeds[name]]
        group = _labels(runs[0], by)
        tables += [_scores(run, group).assign(forecaster=name) for run in runs]
        losses[name] = np.mean([loss_of(run) for run in runs], axis=0)
    # Mean and deviation over the seeds
    over_seeds = pd.concat(tables).groupby(["group", "forecaster"], sort=False)
    board = over_seeds.mean().astype({"outcomes": int})
    board.insert(1, "pinball_sd", over_seeds["pinball"].std().fillna(0.0))
    if by:
        board = board.reset_index().rename(columns={"group": by})
        return board.sort_values([by, "pinball"], kind="stable", ignore_index=True)
    board = board.droplevel("group")
    if verdicts:
        board = board.join(_verdicts(losses, runs[0], benchmark))
    return board.sort_values("pinball", kind="stable")


def _labels(run: Arrays, by: str | None) -> np.ndarray:
    """The group [K] of each origin; of the terciles of volatility, 0 is calm and 2 wild."""
    if by is None:
        return np.zeros(len(run.date), int)
    if by == "tercile":
        return terciles(run.scale)
    if by in PERIODS:
        return pd.PeriodIndex(run.date, freq=PERIODS[by]).astype(str).to_numpy()
    return run.fold if by == "fold" else run.symbol


def loss_of(run: Arrays) -> np.ndarray:
    """Pinball losses [K, H] in basis points."""
    return POINTS * pinball_loss(run.quantiles[..., SCORED], run.actual, SCORE_LEVELS)


def _scores(run: Arrays, group: np.ndarray) -> pd.DataFrame:
    """A row a group: the leaderboard's scores of one forecaster and seed."""
    raw = by_group(run.quantiles, run.levels, run.actual, group)
    first = by_group(run.quantiles[:, :1], run.levels, run.actual[:, :1], group)
    calibrated = by_group(run.calibrated, list(ENDS.values()), run.actual, group)
    scores = raw[["pinball", "mae", "mse", "outcomes", *OF_INTERVALS]]
    scores.insert(1, "pinball_1", first["pinball"])
    return scores.join(calibrated[OF_INTERVALS].add_prefix("calibrated_"))


def _verdicts(losses: dict[str, np.ndarray], run: Arrays, benchmark: str) -> pd.DataFrame:
    """A row a forecaster: tests of its losses [K, H]."""
    steps = run.actual.shape[1]
    out = pd.DataFrame(index=list(losses))
    if benchmark in losses:
        tests = {
            name: diebold_mariano(loss, losses[benchmark], run.date, 2 * steps - 1).p_value
            for name, loss in losses.items()
        }
        out["dm_p"] = pd.Series(tests | {benchmark: np.nan})
    sets = confidence_set(losses, run.date, block=max(10, 2 * steps))
    return out.assign(mcs_p=sets["p_value"], in_mcs=sets["included"])
