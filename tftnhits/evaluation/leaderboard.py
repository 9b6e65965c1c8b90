"""A backtest's frame as arrays for the scores and tests, and as the table of who forecasts best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..config import SCORE_LEVELS
from ..errors import ConfigError
from .metrics import INTERVALS, POINTS, coverage, pinball_loss, terciles
from .verdicts import confidence_set, diebold_mariano

BENCHMARK = "HAR"


class Arrays(NamedTuple):
    """Forecasts of one forecaster, all in log returns since the origin; K origins by symbol and date, H steps."""

    quantiles: np.ndarray  # [K, H, Q] at `levels`
    actual: np.ndarray  # [K, H], NaN where unknown
    date: np.ndarray  # [K] of the origin
    symbol: np.ndarray  # [K]
    scale: np.ndarray  # [K] one-bar volatility forecast at the origin
    naive: (
        np.ndarray
    )  # [K] mean absolute one-bar return of the symbol in the fold's training split, for MASE
    fold: np.ndarray  # [K]
    calibrated: dict[
        float, tuple[np.ndarray, np.ndarray]
    ]  # nominal level -> lower and upper [K, H]
    levels: tuple[float, ...]


def arrays(frame: pd.DataFrame, forecaster: str, seed: int | None = None) -> Arrays:
    """The forecasts of one forecaster; with several seeds, those of `seed`, or (None) the average of all seeds.

    Every forecaster of a backtest has the same K origins in the same order. Raises ConfigError on a forecaster or
    seed that the frame doesn't have, if steps of an origin are missing, or if seeds don't have the same origins.
    """
    part = frame[frame["forecaster"] == forecaster]
    if not len(part):
        known = ", ".join(map(str, frame["forecaster"].unique()))
        raise ConfigError(
            f"There is no forecaster {forecaster!r} in the frame; choose from {known}."
        )
    seeds = part["seed"].unique().tolist()
    if seed is not None and seed not in seeds:
        raise ConfigError(
            f"{forecaster} has no seed {seed}; choose from {', '.join(map(str, seeds))}."
        )
    found = [_one(part[part["seed"] == s], forecaster) for s in (seeds if seed is None else [seed])]
    if len(found) == 1:
        return found[0]
    for one in found[1:]:
        _check_same(one, found[0], f"The seeds of {forecaster}")
    means = {
        k: tuple(np.mean([f.calibrated[k][i] for f in found], axis=0) for i in (0, 1))
        for k in INTERVALS
    }
    return found[0]._replace(
        quantiles=np.mean([f.quantiles for f in found], axis=0), calibrated=means
    )


def _check_same(found: Arrays, first: Arrays, what: str) -> None:
    """Raises ConfigError unless both have the same origins."""
    if not (np.array_equal(found.date, first.date) and np.array_equal(found.symbol, first.symbol)):
        raise ConfigError(
            f"{what} are not from the same origins; finish the backtest: call it again with its folder."
        )


def _one(part: pd.DataFrame, forecaster: str) -> Arrays:
    """`arrays` of rows of one forecaster and seed."""
    step, horizon = part["step"].to_numpy(), int(part["step"].max())
    symbol = part["symbol"].astype("category").cat.codes.to_numpy()
    order = np.lexsort((step, part["origin"].to_numpy(), symbol))
    part = part.iloc[order]
    whole = (
        len(part) % horizon == 0
        and (step[order].reshape(-1, horizon) == np.arange(1, horizon + 1)).all()
    )
    if not whole:
        raise ConfigError(
            f"Some origin of {forecaster} lacks a step or has one twice; give whole forecasts."
        )
    first = part.iloc[::horizon]
    close = first["close"].to_numpy(float)[:, None]

    def returns(column: str) -> np.ndarray:  # [K, H]
        return np.log(part[column].to_numpy(float).reshape(-1, horizon) / close)

    names = [c for c in part.columns if c[:1].isdigit()]
    ends = {level: f"{100 * level:.0f}" for level in INTERVALS}
    return Arrays(
        np.stack([returns(c) for c in names], axis=-1),
        returns("actual"),
        first["origin"].to_numpy(),
        first["symbol"].astype(str).to_numpy(),
        first["scale"].to_numpy(float),
        first["naive"].to_numpy(float),
        first["fold"].to_numpy(),
        {v: (returns(f"lower_{k}"), returns(f"upper_{k}")) for v, k in ends.items()},
        tuple(float(c) for c in names),
    )


GROUPS: dict[str, Callable[[Arrays], np.ndarray]] = {
    "fold": lambda found: found.fold,
    "tercile": lambda found: terciles(
        found.scale
    ),  # of the volatility over all origins: 0 calm, 2 wild
    "month": lambda found: found.date.astype("datetime64[M]").astype(str),
    "quarter": lambda found: pd.PeriodIndex(found.date, freq="Q").astype(str).to_numpy(),
    "year": lambda found: found.date.astype("datetime64[Y]").astype(str),
    "symbol": lambda found: found.symbol,
}


def summary(
    frame: pd.DataFrame,
    levels: Sequence[float] = SCORE_LEVELS,
    by: str | None = None,
    verdicts: bool | None = None,
    benchmark: str = BENCHMARK,
    seed: int = 0,
) -> pd.DataFrame:
    """The leaderboard, best first: a row a forecaster; with `by` (one of GROUPS) a row a group and forecaster.

    Columns: `pinball` (mean over `levels`, steps and origins, basis points of log return; mean over seeds),
    `pinball_sd` (over seeds), `pinball_1` (step 1), `outcomes`; for the 80% and the 93% interval `coverage_80`,
    `width_80` and, after the online calibration, `calibrated_coverage_80`, `calibrated_width_80` (widths in basis
    points). With `verdicts` (by default without `by`): `dm_p`, the one-sided p-value of Diebold and Mariano that the
    forecaster beats the `benchmark` (left out where the frame lacks it), and `mcs_p`, `in_mcs`, the 90% model
    confidence set; both on losses averaged over the seeds, clustered by date. `seed` is that of the set's bootstrap.
    Raises ConfigError on levels that were not forecast, an unknown `by`, or runs that don't have the same origins,
    MissingDependency without arch.
    """
    if by is not None and by not in GROUPS:
        raise ConfigError(f"There is no grouping {by!r}; choose one of {', '.join(GROUPS)}.")
    verdicts = by is None if verdicts is None else verdicts
    seeds = frame.groupby("forecaster", observed=True)["seed"].unique()
    rows, losses, shared, lead = [], {}, None, ""
    for name in frame["forecaster"].unique():
        runs = [_Scored.of(arrays(frame, name, int(s)), levels) for s in seeds[name]]
        if shared is None:
            shared, lead = runs[0].found, f"{name} (seed {seeds[name][0]})"
        for run, s in zip(runs, seeds[name]):
            _check_same(run.found, shared, f"The forecasts of {name} (seed {s}) and {lead}")
        losses[name] = np.mean([run.loss for run in runs], axis=0)
        label = GROUPS[by](runs[0].found) if by else np.zeros(len(runs[0].loss), int)
        for group in np.unique(label):
            rows.append({"group": group, "forecaster": str(name)} | _row(runs, label == group))
    out = pd.DataFrame(rows)
    if verdicts:
        label = GROUPS[by](shared) if by else np.zeros(len(shared.date), int)
        tested = {
            group: _verdicts(losses, shared, label == group, benchmark, seed)
            for group in np.unique(label)
        }
        found = [table.assign(group=group) for group, table in tested.items()]
        out = out.merge(pd.concat(found), on=["group", "forecaster"])
    out = out.sort_values(["group", "pinball"], kind="stable").reset_index(drop=True)
    return (
        out.rename(columns={"group": by})
        if by
        else out.drop(columns="group").set_index("forecaster")
    )


class _Scored(NamedTuple):
    found: Arrays
    loss: np.ndarray  # [K, H] basis points
    intervals: dict[
        str, tuple[np.ndarray, np.ndarray]
    ]  # column's ending and beginning -> lower, upper [K, H]

    @classmethod
    def of(cls, found: Arrays, levels: Sequence[float]) -> _Scored:
        place = {round(q, 6): i for i, q in enumerate(found.levels)}
        if lacking := [q for q in levels if round(q, 6) not in place]:
            raise ConfigError(
                f"The level {lacking[0]} was not forecast; choose from {', '.join(map(str, place))}."
            )
        pick = [place[round(q, 6)] for q in levels]
        loss = POINTS * pinball_loss(found.quantiles[..., pick], found.actual, levels)
        nominal = sorted(INTERVALS)
        raw = {
            v: [found.quantiles[..., place[round((1 + s * v) / 2, 6)]] for s in (-1, 1)]
            for v in nominal
        }
        intervals = {f"_{100 * v:.0f}": tuple(raw[v]) for v in nominal}
        return cls(
            found,
            loss,
            intervals | {f"calibrated_{100 * v:.0f}": found.calibrated[v] for v in nominal},
        )


def _row(runs: list[_Scored], chosen: np.ndarray) -> dict[str, float]:
    """Scores of the origins `chosen` [K], averaged over the runs of several seeds."""
    means = [
        float(np.nanmean(run.loss[chosen])) if np.isfinite(run.loss[chosen]).any() else np.nan
        for run in runs
    ]
    out = {
        "pinball": float(np.mean(means)),
        "pinball_sd": float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
    }
    first = [run.loss[chosen, 0] for run in runs]
    out["pinball_1"] = float(np.nanmean(first)) if np.isfinite(first).any() else np.nan
    out["outcomes"] = int(np.isfinite(runs[0].found.actual[chosen]).sum())
    for name in runs[0].intervals:
        kind, level = name.rsplit("_", 1)
        kind = f"{kind}_" if kind else ""
        inside, width = [], []
        for run in runs:
            lower, upper = (x[chosen] for x in run.intervals[name])
            known = np.isfinite(run.found.actual[chosen])
            inside.append(coverage(lower, upper, run.found.actual[chosen]))
            width.append(POINTS * float((upper - lower)[known].mean()) if known.any() else np.nan)
        out |= {
            f"{kind}coverage_{level}": float(np.mean(inside)),
            f"{kind}width_{level}": float(np.mean(width)),
        }
    return out


def _verdicts(
    losses: dict[str, np.ndarray], shared: Arrays, chosen: np.ndarray, benchmark: str, seed: int
) -> pd.DataFrame:
    """A row a forecaster: dm_p against the benchmark and the confidence set, on the origins `chosen` [K]."""
    losses, date = {k: v[chosen] for k, v in losses.items()}, shared.date[chosen]
    steps = shared.actual.shape[1]
    sets = confidence_set(losses, date, seed=seed, block=max(10, 2 * steps))
    out = pd.DataFrame({"forecaster": list(map(str, losses))})
    if benchmark in losses:
        tests = [
            diebold_mariano(v, losses[benchmark], date, 2 * steps - 1).p_value
            for v in losses.values()
        ]
        out["dm_p"] = [np.nan if k == benchmark else p for k, p in zip(losses, tests)]
    out["mcs_p"] = sets["p_value"].reindex(losses).to_numpy()
    out["in_mcs"] = sets["included"].reindex(losses).to_numpy()
    return out
