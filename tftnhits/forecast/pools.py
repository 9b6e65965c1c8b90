"""What is known of intervals on each kind of bars: calibrations that symbols of a kind share.

A kind is a bar length and a class of volatility. On bars of a kind that no outcome has taught, the
state of the first pool, that of most origins, is where calibration begins, and no coverage is
claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..data import features as F
from ..data.windows import Panel
from .conformal import Calibration, Conformal, shifted

LENGTHS = {"minute": 1 / 48, "hourly": 0.5, "daily": 3.0, "weekly": np.inf}  # to so many days
VOLATILITIES = {"low": 0.006, "usual": 0.03, "high": np.inf}  # to so much a √day
KINDS = np.array([[f"{a} bars of {b} volatility" for b in VOLATILITIES] for a in LENGTHS])
UNDATED = "bars without dates"
SOME = 10_000  # origins whose kinds are looked at for their last days


@dataclass(frozen=True)
class Pool:
    """The record of one kind of bars.

    Parameters
    ----------
    calibration : by who answers: "ensemble", a member's name or "walk"
    seen : by symbol, the last origin date that the calibrations have taken in
    """

    calibration: dict[str, Calibration]
    seen: dict[str, str] = field(default_factory=dict)


def kinds(panel: Panel, rows: np.ndarray) -> np.ndarray:
    """The kind of the bars that lead to each origin, [K]: "daily bars of usual volatility".

    Volatility is the geometric mean of the scale over the symbol's bars up to the origin.
    """
    symbol = panel.symbol_of(rows)
    first = panel.start[symbol]
    logs = np.nan_to_num(np.log(np.asarray(panel.scale[:, 0], float)))  # there is none ahead
    total = np.cumsum(logs)
    before = 0.0 if panel.gone is None else panel.gone[1, symbol]
    mean = (before + total[rows] - total[first] + logs[first]) / (panel.number(rows) + 1)
    days = bar_days(panel)[symbol]
    level = np.searchsorted([*VOLATILITIES.values()], np.exp(mean) / np.sqrt(days))
    length = np.searchsorted([*LENGTHS.values()], days)
    dated = np.isfinite(days)
    return np.where(dated, KINDS[np.where(dated, length, 0), np.where(dated, level, 0)], UNDATED)


def last_days(panel: Panel, rows: np.ndarray) -> dict[str, str]:
    """By kind of bars, the last day of the origins `rows`, ascending; of some of many."""
    ends = np.diff(panel.symbol_of(rows), append=-1) != 0
    some = np.unique(np.r_[rows[:: max(1, len(rows) // SOME)], rows[ends]])
    days = panel.date[some].astype("datetime64[D]")
    dated = ~np.isnat(days)
    last = pd.Series(days[dated]).groupby(kinds(panel, some[dated])).max()
    return {str(kind): day.strftime("%Y-%m-%d") for kind, day in last.items()}


def latest(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """By kind, the later of two days."""
    return {**one, **{kind: max(day, one.get(kind, day)) for kind, day in other.items()}}


def bar_days(panel: Panel, symbols: Any = slice(None)) -> np.ndarray:
    """How long the bars of symbols are, in days; NaN where they have no dates."""
    static = np.asarray(panel.static[symbols], float)  # [S, F_s]
    dated = static[..., F.STATIC.index("has_calendar")] > 0
    return np.where(dated, 10 ** static[..., F.STATIC.index("bar_length")], np.nan)


def calibration_of(pools: Mapping[str, Pool], kind: str, key: str, horizon: int) -> Calibration:
    """Who answers' calibration on a kind of bars; on an unknown one, where it begins."""
    pool = pools.get(kind) or next(iter(pools.values()), Pool({}))
    return pool.calibration.get(key) or Calibration(Conformal.start(horizon))


def pool_scores(
    pools: Mapping[str, Pool], key: str, panel: Panel, rows: np.ndarray, want: np.ndarray
) -> np.ndarray:
    """What stood for the normal scores `want` [W] as of the origins `rows` [K]: [K, H, W]."""
    out = np.empty((len(rows), panel.steps, len(want)))
    kind = kinds(panel, rows)
    for name in np.unique(kind):
        group = np.flatnonzero(kind == name)
        calibration = calibration_of(pools, name, key, panel.config.horizon)
        for index, then in calibration.as_of(panel.date[rows[group]]):
            out[group[index]] = shifted(then.state.steady, want)[: panel.steps]
    return out


def unseen(pools: Mapping[str, Pool], panel: Panel, rows: np.ndarray) -> np.ndarray:
    """Those of the origins `rows` that come after what their kind's pool has taken in."""
    kind, names = kinds(panel, rows), np.array(panel.symbols, object)[panel.symbol_of(rows)]
    new = np.ones(len(rows), bool)
    for one, pool in pools.items():
        last = [pool.seen.get(name, "NaT") for name in names[kind == one]]
        new[kind == one] = ~(panel.date[rows[kind == one]] <= np.array(last, "datetime64[ns]"))
    return rows[new]


def taught(
    pools: Mapping[str, Pool],
    panel: Panel,
    rows: np.ndarray,
    quantiles: Mapping[str, np.ndarray],
    levels: tuple[float, ...],
) -> dict[str, Pool]:
    """The pools after origins `rows` [K] with known outcomes, the commonest kind's first."""
    after, kind = dict(pools), kinds(panel, rows)
    names, count = np.unique(kind, return_counts=True)
    for name in names[np.argsort(-count, kind="stable")]:
        index = np.flatnonzero(kind == name)
        made, symbol = rows[index], panel.symbol_of(rows[index])
        ahead = made[:, None] + np.arange(1, panel.config.horizon + 1)
        date, due = panel.date[made], panel.date[ahead]
        pool = pools.get(name) or _begin(pools, quantiles, date.min(), panel.config.horizon)
        seen, calibration = pool.seen, dict(pool.calibration)
        if name == UNDATED:  # bars count where there are no dates
            date, due = made - panel.start[symbol], ahead - panel.start[symbol][:, None]
        else:
            last = pd.Series(date).groupby(symbol).max()
            seen = seen | {panel.symbols[s]: day.isoformat() for s, day in last.items()}
        for key, values in quantiles.items():
            before = calibration.get(key) or Calibration(Conformal.start(panel.config.horizon))
            calibration[key] = before.update(values[index], levels, panel.outcomes(made), date, due)
        after[str(name)] = Pool(calibration, seen)
    return after


def _begin(
    pools: Mapping[str, Pool], keys: Iterable[str], date: np.datetime64, horizon: int
) -> Pool:
    """A new kind's pool: it goes on from the first pool's states of `date`, without a record."""
    calibration = {}
    for key in keys:
        _, then = next(calibration_of(pools, "", key, horizon).as_of(np.array([date])))
        calibration[key] = Calibration(Conformal(then.state.steady, then.state.rate))
    return Pool(calibration)
