"""The figure of permutation importance; its small print says what it does not prove."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import DataError
from ..forecast.explain import Explanation
from .explanations import spread
from .style import Theme, axis_title, canvas, headline, short, shorten

IMPORTANCE = (
    "It holds for this trained network on these origins. Inputs that say the same hide each other, so a rise near 0 "
    "does not prove that an input is useless, nor a large one that it is a cause."
)


def plot_importance(
    importance: pd.DataFrame,
    explanation: Explanation | None = None,
    top: int = 12,
    name: str = "",
    theme: str = "light",
) -> Figure:
    """Permutation importance, with the selection weights of the same inputs beside it when given.

    `name` is that of the network. Raises DataError on an empty table.
    """
    kept = importance.sort_values("rise").tail(top)
    if kept.empty:
        raise DataError("The table of importance is empty; permute at least one input.")
    first = kept.iloc[-1]
    title = (
        f"mixing up the dates of {first['input']} raises the loss most, by {first['percent']:.2f}%"
    )
    if not first["percent"] >= 0.005:
        title = f"no input's timing matters here: the largest rise of the loss is {first['percent']:.3f}%"
    title, weights = f"{short(name)}: {title}" if name else title, None
    if explanation is not None and len(explanation.selection):
        chosen = explanation.selection[explanation.selection["kind"] == "past"]
        weights = chosen.groupby("input")[["weight", "sd"]].mean()
        both = importance.set_index("input")[["rise"]].join(weights["weight"], how="inner")
        if len(both) > 2 and both["rise"].nunique() > 1:
            rank = both["rise"].corr(both["weight"], method="spearman")
            title += f". Selection weights rank the inputs {_agreement(rank)} (rank correlation {rank:.2f})"
    caption = "Lines: ± one standard deviation over the permutations"
    beside = spread(explanation, "tft", "right") if weights is not None else ""
    caption = (
        (f"{caption}; {beside}" if beside else f"{caption}. ")
        if kept["spread"].notna().any()
        else ""
    )
    size = (8, 1.3 + 0.24 * len(kept))
    figure, axes, look = canvas(
        theme, 1, 1 if weights is None else 2, size=size, caption=caption + IMPORTANCE, sharey=True
    )
    left, at = np.ravel(axes)[0], np.arange(len(kept))
    error = kept["spread"].fillna(0) if kept["spread"].notna().any() else None
    left.barh(at, kept["rise"], 0.7, xerr=error, color=look.first, ecolor=look.ink)
    left.set_yticks(at, [shorten(str(n), 2.0, 8.5) for n in kept["input"]], fontsize=8.5)
    left.set_xlabel("rise of the pinball loss × 10⁴")
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.axvline(0, color=look.faint, linewidth=0.8)
    left.grid(False)
    if weights is not None:
        _beside(axes[1], weights.reindex(kept["input"]), look)
        axis_title(left, "permutation importance", look)
    headline(figure, title, look)
    return figure


def _beside(ax: Any, weights: pd.DataFrame, look: Theme) -> None:
    """The selection weights of the inputs that another axes names."""
    error = 100 * weights["sd"].fillna(0) if weights["sd"].notna().any() else None
    ax.barh(
        np.arange(len(weights)),
        100 * weights["weight"].fillna(0),
        0.7,
        xerr=error,
        color=look.second,
        ecolor=look.ink,
    )
    ax.set(xlabel="selection weight, %", xlim=0)
    ax.grid(False)
    axis_title(ax, "selection weight", look)


def _agreement(rank: float) -> str:
    if not np.isfinite(rank) or abs(rank) < 0.3:
        return "quite differently"
    return (
        ("much alike" if rank >= 0.7 else "somewhat alike") if rank > 0 else "the other way round"
    )
