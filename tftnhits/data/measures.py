"""What dates and prices tell of each bar: the first steps of a panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from . import features as F
from . import scale as V
from .grid import Grid
from .markets import Joined, Timeline, join_markets, timelines, unknown_zones
from .names import PRICES
from .patterns import INTRADAY, weekday_of

MINUTE = np.timedelta64(1, "m")


class Times(NamedTuple):
    """What the dates tell."""

    market: np.ndarray  # [N] by each market's clock
    date: np.ndarray  # [R] as the source has it, those ahead too
    known: np.ndarray  # [R, F_k]
    slot: np.ndarray  # [R] part of the session
    static: np.ndarray  # [S, F_s], has_volume not filled in
    joined: Joined | None
    outrun: dict[str, tuple[str, int]]
    notes: dict[str, list[str]]


def times_of(
    bars: pd.DataFrame,
    grid: Grid,
    names: tuple[str, ...],
    calendar: Any,
    join: Callable[..., Joined] = join_markets,
) -> Times:
    """Dates ahead, the known inputs `names`, the sessions that bars see; zeros without dates."""
    stamps = bars["date"].to_numpy("datetime64[ns]")
    date = np.full(grid.size, np.datetime64("NaT", "ns"))
    static = np.zeros((len(grid.symbols), len(F.STATIC)), np.float32)
    if np.isnat(stamps).all():
        known = np.zeros((grid.size, len(names)), np.float32)
        slot = np.zeros(grid.size, np.int16)
        return Times(stamps, date, known, slot, static, joined=None, outrun={}, notes={})
    lines, which = timelines(bars, grid.symbols, grid.length, grid.horizon, calendar)
    known = [_known(line, names) for line in lines]
    slots = [V.session_slots(np.concatenate([line.times, line.ahead]), line.step) for line in lines]
    outrun = {}
    for s, (symbol, i) in enumerate(zip(grid.symbols, which, strict=True)):
        line = lines[i]
        days = max(line.step / MINUTE, 1e-3) / 1440
        static[s] = np.log10(days), (weekday_of(line.times) >= 5).any(), 0.0, 1.0
        end = grid.start[s] + grid.length[s]
        date[end : end + grid.horizon] = line.market.source_time(line.ahead)
        if line.told < grid.horizon:
            outrun[symbol] = line.market.calendar, line.told
    date[grid.rows] = stamps
    joined = join(lines, which)
    intraday = np.array([line.step < INTRADAY for line in lines])[which]
    return Times(
        market=np.concatenate([lines[i].times for i in which]),
        date=date,
        known=np.concatenate([known[i] for i in which]),
        slot=np.concatenate([slots[i] for i in which]),
        static=static,
        joined=joined,
        outrun=outrun,
        notes=unknown_zones(grid.symbols, joined, intraday),
    )


def _known(line: Timeline, names: tuple[str, ...]) -> np.ndarray:
    """Known inputs [R+H, F_k] of bars and of those ahead."""
    times = np.concatenate([line.times, line.ahead])
    every = F.known_features(times, line.step / MINUTE)
    return every[:, [F.KNOWN.index(name) for name in names]].astype(np.float32)


def measured(
    bars: pd.DataFrame,
    grid: Grid,
    slot: np.ndarray,
    train: np.ndarray | None,
    fitted: dict[str, np.ndarray] | None,
    place: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], V.Scale]:
    """Closes and volumes, what each bar tells alone, and the volatility scale, [S, T] each.

    `slot` [R] is the part of the session, `place` as in `volatility_scale`.
    """
    column = {name: grid.wide(bars[name].to_numpy(float)) for name in (*PRICES, "volume")}
    parts = F.bar_parts({name: np.log(column[name]) for name in PRICES})
    slot = grid.with_ahead(slot, -1)
    scale = V.volatility_scale(parts["variance"], parts["return"], slot, train, fitted, place)
    parts |= F.scale_parts(parts["return"], scale)
    return {name: column[name] for name in ("close", "volume")}, parts, scale
