"""Charts as SVG paths in a box that stretches to any width; their labels stand beside it as text.

The style sheet keeps lines as wide as they are however the box is stretched, dots are lines of no
length, and who changes the box zooms. x counts WIDE a bar, y goes down from 0 to UNITS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDE = 10  # units of x from bar to bar
UNITS = 10_000  # of y from the highest value to the lowest
LABELS = 5  # of an axis at most
ROOM = 0.05  # above and below what is shown, in its height


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` as units from the top."""

    low: float
    high: float

    @classmethod
    def of(cls, *values: Any) -> Axis:
        """One on which all finite `values` are."""
        flat = np.concatenate([np.ravel(np.asarray(one, float)) for one in values])
        low, high = float(np.nanmin(flat)), float(np.nanmax(flat))
        room = 0.0 if high > low else max(abs(high) / 2, 1e-9)
        return cls(low - room, high + room)

    @property
    def unit(self) -> float:
        return (self.high - self.low) / UNITS

    def units(self, values: Any) -> np.ndarray:
        """Where values [N] are, whole numbers as floats, NaN where there is none."""
        return np.round((self.high - np.asarray(values, float)) / self.unit)

    def ticks(self, box: tuple[float, float, float, float]) -> list[tuple[float, str]]:
        """Labels of round values in a box."""
        _, top, _, height = box
        high, low = self.high - top * self.unit, self.high - (top + height) * self.unit
        values = MaxNLocator(LABELS, steps=[1, 2, 5, 10]).tick_values(low, high)
        digits = max(0, -int(np.floor(np.log10(values[1] - values[0]) + 1e-9)))
        form = f",.{digits}f" if digits < 12 and abs(high) < 1e12 else ".3g"
        inside = values[(values >= low) & (values <= high)]
        return [(100 * (high - x) / (high - low), f"{x + 0.0:{form}}") for x in inside.tolist()]


@dataclass(frozen=True)
class Plot:
    """A chart as the page's template draws it.

    Attributes
    ----------
    label : what it shows, for those who don't see it
    box : x, y, width and height of what is shown, in units
    paths : (class of the style sheet, path), the first at the bottom
    across : labels below it: (percent from the left, text)
    texts : of each bar, from x = 0 on: what is said when the pointer is there
    """

    label: str
    axis: Axis
    box: tuple[float, float, float, float]
    paths: list[tuple[str, str]]
    across: list[tuple[float, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def up(self) -> list[tuple[float, str]]:
        """Labels beside it: (percent from the top, text)."""
        return self.axis.ticks(self.box)


def across(labels: tuple[Sequence[str], Sequence[str]], first: int = 0) -> list[tuple[float, str]]:
    """Evenly spaced `labels` (upper and lower lines [N]) from the bar `first` on.

    The lower line stands where it changes.
    """
    upper, lower = labels
    chosen, before = [], ""
    for place in np.unique(np.linspace(first, len(upper) - 1, LABELS).round().astype(int)).tolist():
        text = upper[place] if lower[place] == before else f"{upper[place]}\n{lower[place]}"
        before = lower[place]
        chosen.append((100 * (place - first + 0.5) / (len(upper) - first), text.strip()))
    return chosen


def view(first: int, last: int, *units: Any) -> tuple[float, float, float, float]:
    """The box of the bars `first` to `last` that has all `units` in it."""
    flat = np.concatenate([np.ravel(one) for one in units])
    top, bottom = float(np.nanmin(flat)), float(np.nanmax(flat))
    room = ROOM * max(bottom - top, 1.0)
    wide = WIDE * (last - first + 1)
    return WIDE * (first - 0.5), round(top - room), wide, round(bottom - top + 2 * room)


def line(x: Sequence[float], y: np.ndarray) -> str:
    """A path through units y [N] above the bars x [N]."""
    points = [f"{WIDE * a:g} {b:.0f}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points)


def band(x: Sequence[float], low: np.ndarray, high: np.ndarray) -> str:
    """The area between two lines."""
    return f"{line(x, high)}L{line(x[::-1], low[::-1])[1:]}Z"


def uprights(x: Sequence[float], top: np.ndarray, bottom: np.ndarray) -> str:
    """Lines from units to units; dots where they are the same."""
    return "".join(f"M{WIDE * a:g} {b:.0f}V{c:.0f}" for a, b, c in zip(x, top, bottom, strict=True))


def boxes(x: Iterable[float], top: np.ndarray, bottom: np.ndarray) -> str:
    """Bars that fill most of their place."""
    return "".join(
        f"M{WIDE * a - 3.5:g} {b:.0f}h7V{c:.0f}h-7Z" for a, b, c in zip(x, top, bottom, strict=True)
    )
