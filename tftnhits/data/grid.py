"""Bars as cells [S, T] (symbol, bar number), and as rows [R] with H spare ones a symbol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

# Origins of a chunk where networks forecast: the grid of chunks, from a symbol's first bar on, is
# part of the forecast, so that bars are left out by whole chunks
ORIGINS = 64


@dataclass
class Grid:
    """Where the bars of S symbols are; of each symbol all, or the last ones (`tail`)."""

    symbols: tuple[str, ...]
    before: np.ndarray  # [S] bars left out
    length: np.ndarray  # [S] bars
    horizon: int
    place: np.ndarray  # [S, T] numbers of the bars among all of the symbol's

    def __post_init__(self) -> None:
        every, spare = self.length + self.horizon, self.horizon * np.arange(len(self.length))
        self.start = np.cumsum(every) - every  # [S] first row of each symbol
        self.size = int(every.sum())  # rows in all, R
        self.cells = np.arange(self.place.shape[1]) < self.length[:, None]  # [S, T] which are bars
        self.rows = np.arange(self.length.sum()) + np.repeat(spare, self.length)  # [N] of the bars

    @classmethod
    def of(cls, bars: pd.DataFrame, horizon: int) -> Grid:
        """The grid of all validated bars."""
        symbol = bars["symbol"].to_numpy()
        first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]
        length = np.diff(np.r_[first, len(symbol)])  # [S]
        place = np.broadcast_to(np.arange(length.max()), (len(length), length.max()))
        return cls(tuple(symbol[first].tolist()), np.zeros_like(length), length, horizon, place)

    def tail(self, keep: int | None) -> Grid:
        """That of the last `keep` bars of each symbol, or a few more; None keeps all."""
        before = self.length * 0 if keep is None else np.maximum(self.length - keep, 0)
        before = before // ORIGINS * ORIGINS
        if not before.any():
            return self
        length = self.length - before
        place = np.minimum(before[:, None] + np.arange(length.max()), self.place.shape[1] - 1)
        return replace(self, before=before, length=length, place=place)

    def wide(self, column: np.ndarray, fill: Any = np.nan) -> np.ndarray:
        """A column of bars [N] as [S, T]."""
        out = np.full(self.cells.shape, fill, column.dtype)
        out[self.cells] = column
        return out

    def with_ahead(self, rows: np.ndarray, fill: Any) -> np.ndarray:
        """Values of rows [R] as [S, T+H]: a symbol's bars, then those ahead of it."""
        out = np.full((len(self.length), self.length.max() + self.horizon), fill, rows.dtype)
        out[np.arange(out.shape[1]) < (self.length + self.horizon)[:, None]] = rows
        return out

    def flat(self, values: np.ndarray, fill: Any, dtype: Any = np.float32) -> np.ndarray:
        """[S, T, …] as rows [R, …]."""
        out = np.full((self.size, *values.shape[2:]), fill, dtype)
        out[self.rows] = values[self.cells]
        return out

    def cut(self, values: np.ndarray, fill: Any = np.nan) -> np.ndarray:
        """Of values of all bars [S, …] those of the bars that are left, [S, T, …]."""
        if not self.before.any():
            return values
        out = values[np.arange(len(self.length))[:, None], self.place]
        out[~self.cells] = fill
        return out

    def cut_rows(self, rows: np.ndarray) -> np.ndarray:
        """Of all rows those of the bars that are left and of what is ahead of them, [R, …]."""
        size = self.before + self.length + self.horizon  # [S] before it was cut
        number = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        return rows[number >= np.repeat(self.before, size)]
