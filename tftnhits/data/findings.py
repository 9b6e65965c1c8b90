"""What is found while bars are read and repaired: counts, doubts, and symbols that are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import DataError

REPORT = ("symbol", "repair", "count", "first", "example")
ALL = "all"  # stands for the whole source


@dataclass
class Report:
    """What is said of bars, in frames with the columns code, row, date and five of numbers."""

    strict: bool = False  # raise at the first fault
    names: list[str] = field(default_factory=list)  # symbols by code
    entries: dict[tuple[str, str], list] = field(default_factory=dict)  # by symbol and repair
    doubts: dict[str, list[str]] = field(default_factory=dict)  # sentences by symbol
    skipped: dict[str, str] = field(default_factory=dict)  # why a symbol is left out
    zones: dict[str, str] = field(default_factory=dict)  # by symbol, where the source tells it
    unused: list[str] = field(default_factory=list)  # columns that a model might have as inputs

    def note(
        self, repair: str, count: int, example: str = "", symbol: str = ALL, first: str = ""
    ) -> None:
        """Adds `count` to a kind of repair."""
        entry = self.entries.setdefault((symbol, repair), [symbol, repair, 0, first, example])
        entry[2] += count

    def mark(
        self, bars: pd.DataFrame, mask: np.ndarray, repair: str, example: Callable[[int], str]
    ) -> None:
        """Counts the rows of `mask` [R] a symbol; `example` describes one row."""
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        codes, first, counts = np.unique(
            bars["code"].to_numpy()[rows], return_index=True, return_counts=True
        )
        for code, i, count in zip(codes, rows[first], counts, strict=True):
            self.note(repair, int(count), example(i), self.names[code], when(bars, i))

    def doubt(self, sentence: str, symbol: str = ALL) -> None:
        """A guess that reaches the result's warnings."""
        if sentence and sentence not in self.doubts.get(symbol, []):
            self.doubts.setdefault(symbol, []).append(sentence)

    def fault(
        self, bars: pd.DataFrame, mask: np.ndarray, sentence: Callable[[int], str]
    ) -> pd.DataFrame:
        """The bars without the symbols that have a row in `mask` [R]; `sentence` says why.

        Raises DataError where `strict`, and where no symbol would be left.
        """
        rows = np.flatnonzero(mask)
        if not rows.size:
            return bars
        code = bars["code"].to_numpy()
        codes, first = np.unique(code[rows], return_index=True)
        sound = ~np.isin(code, codes)
        if self.strict or not sound.any():
            raise DataError(self.where(bars, rows[0]) + sentence(rows[0]))
        for one, i in zip(codes, rows[first], strict=True):
            self.skipped.setdefault(self.names[one], self.where(bars, i) + sentence(i))
        return bars[sound]

    def where(self, bars: pd.DataFrame, i: int) -> str:
        """Symbol, row and date of a bar, for a message."""
        row, day = f"row {bars['row'].iloc[i]}", when(bars, i)
        return f"{self.names[bars['code'].iloc[i]]}, {row}" + (f" ({day})" if day != row else "")


def when(bars: pd.DataFrame, i: int) -> str:
    """The date of a bar, else its row."""
    date = bars["date"].iloc[i]
    return f"row {bars['row'].iloc[i]}" if pd.isna(date) else str(date).removesuffix(" 00:00:00")
