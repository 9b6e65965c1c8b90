"""Figure of permutation importance (forecast.importance), and what it does not prove."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..data.features import in_words
from ..errors import DataError
from ..forecast.explain import Explanation
from . import style
from .explanations import spread, tick

IMPORTANCE = (
    "Of this network on these origins. Inputs that say the same hide each other: a rise near 0 "
    "does not prove that an input is useless, nor a large one that it is a cause."
)


def plot_importance(
    importance: pd.DataFrame,
    explanation: Explanation | None = None,
    top: int = 12,
    name: str = "",
    theme: str = "light",
) -> Figure:
    """Permutation importance, with the selection weights of the same inputs beside it if given.

    Parameters
    ----------
    importance : permutation_importance's table: input, rise, spread, percent.
    explanation : brings the selection weights; name : the network's; top : how many inputs.
    """
    table = importance.sort_values("rise").tail(top)
    if table.empty:
        raise DataError("The table of importance is empty; permute at least one input.")
    weights = None
    if explanation is not None and len(explanation.selection):
        past = explanation.selection[explanation.selection["kind"] == "past"]
        weights = past.groupby("input")[["weight", "sd"]].mean()
    caption = spread(explanation, "tft", "Right") if weights is not None else ""
    if table["spread"].notna().any():
        caption = f"Lines: ± one standard deviation over the permutations. {caption}"
    size, columns = (8, 1.3 + 0.24 * len(table)), 1 if weights is None else 2
    grid = {"caption": caption + IMPORTANCE, "sharey": True, "squeeze": False}
    figure, axes, colors = style.canvas(theme, 1, columns, size, **grid)
    left = axes[0, 0]
    _draw_bars(left, table["rise"], table["spread"], colors.first, colors)
    left.set_yticks(np.arange(len(table)), [tick(i) for i in table["input"]], fontsize=8.5)
    left.set_xlabel("rise of the pinball loss × 10⁴")
    left.xaxis.set_major_locator(MaxNLocator(5))
    if weights is not None:
        right, same = axes[0, 1], 100 * weights.reindex(table["input"])
        _draw_bars(right, same["weight"].fillna(0), same["sd"], colors.second, colors)
        right.set(xlabel="selection weight, %", xlim=0)
    title = f"{style.shorten(name)}: " if name else ""
    return style.headline(figure, title + _importance_title(importance, weights), colors)


def _draw_bars(ax: Axes, values: pd.Series, sd: pd.Series, color: str, colors: Any) -> None:
    error = sd.fillna(0) if sd.notna().any() else None
    ax.barh(np.arange(len(values)), values, 0.7, xerr=error, color=color, ecolor=colors.ink)
    ax.grid(False)


def _importance_title(importance: pd.DataFrame, weights: pd.DataFrame | None) -> str:
    first = importance.loc[importance["rise"].idxmax()]
    percent = first["percent"]
    title = (
        f"mixing up the dates of {in_words(first['input'])} raises the loss most, by {percent:.2f}%"
    )
    if not percent >= 0.005:
        title = f"no input's timing matters: the largest rise of the loss is {percent:.3f}%"
    if weights is not None and len(importance) > 2:
        rise = importance.set_index("input")["rise"]
        rank = rise.corr(weights["weight"], method="spearman")
        if np.isfinite(rank):
            title += f". Ranks of rise and of selection weight correlate by {rank:.2f}"
    return title
