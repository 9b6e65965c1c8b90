"""What the symbols of all blocks did on each session, where a panel is made block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from . import features as F
from . import scale as V
from .grid import Grid
from .markets import Joined, Timeline, join_markets, timelines
from .measures import measured


class Crowd:
    """Sums over symbols, of which market features are made, gathered block by block.

    Symbols of one market (a calendar, zone, exchange and bar length) share a timeline, so that
    memory grows with the markets and not with the symbols; those of no calendar keep their own.
    """

    def __init__(self) -> None:
        self.lines: dict[tuple, tuple[Timeline, np.ndarray]] = {}  # and sums [4, R] of each
        self.sums = np.zeros((4, 1))  # [4, M + 1] of the sessions that `joined` has numbered

    def add(
        self,
        bars: pd.DataFrame,
        fitted: Mapping[str, np.ndarray],
        calendar: str | Mapping[str, str | None] | None = None,
    ) -> None:
        """Take in a block of validated bars, whole symbols; parameters as of `make_panel`."""
        if bars["date"].isna().all():
            return
        grid = Grid.of(bars, 1)
        lines, which = timelines(bars, grid.symbols, grid.length, 1, calendar)
        slots = [V.session_slots(np.r_[line.times, line.ahead], line.step) for line in lines]
        slot = np.concatenate([slots[i] for i in which])
        _, parts, _ = measured(bars, grid, slot, None, fitted)
        for i, line in enumerate(lines):
            shock, trend = (parts[n][which == i, : len(line.times)] for n in ("shock", "trend"))
            session = np.broadcast_to(np.arange(len(line.times)), shock.shape)
            self._take(line, F.session_sums(shock, trend, session)[:, :-1])

    def _take(self, line: Timeline, sums: np.ndarray) -> None:
        """Add the sums [4, R] of a timeline to those of its market."""
        key = line.market, line.exchange, line.step
        if line.market.calendar is None:
            key = *key, line.times.tobytes()
        if key in self.lines:
            before, gathered = self.lines[key]
            times = np.union1d(before.times, line.times)
            both = np.zeros((4, len(times)))
            both[:, np.searchsorted(times, before.times)] = gathered
            both[:, np.searchsorted(times, line.times)] += sums
            line, sums = line._replace(times=times), both
        self.lines[key] = line, sums

    def joined(self, lines: Sequence[Timeline], which: np.ndarray) -> Joined:
        """`join_markets` of a block's timelines, of sessions whose sums are in `sums` from now."""
        own, parts = zip(*self.lines.values())
        found = join_markets([*own, *lines], np.r_[np.arange(len(own)), which + len(own)])
        gathered = np.concatenate(parts, axis=1)  # [4, size]
        size, count = gathered.shape[1], int(found.session.max()) + 2
        self.sums = np.stack([np.bincount(found.session[:size], p, count) for p in gathered])
        others = (other[size:] for other in found.others)
        return Joined(
            found.session[size:], others, found.market[len(own) :], found.timed[len(own) :]
        )
