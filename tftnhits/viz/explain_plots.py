"""Figures of what a forecast was made from (viz.explain); each docstring says what its picture does not prove."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import DataError
from .explain import BASELINE, Explanation
from .market import date_axis
from .style import DASHES, SERIES, axis_title, canvas, headline, legend


def _rows(table: pd.DataFrame, symbol: str | None, what: str) -> tuple[pd.DataFrame, str]:
    """A table's rows of one symbol (None: the first) and what to call it."""
    if table.empty:
        raise DataError(f"This explanation has no {what}; it comes from a network that has none.")
    names = table["symbol"].unique()
    name = str(names[0]) if symbol is None else symbol
    if name not in names:
        raise DataError(f"There is no {name!r} in this explanation; it has {', '.join(map(str, names[:10]))}.")
    return table[table["symbol"] == name], "mean of all symbols" if name == "all" else name


def plot_attention(explanation: Explanation, symbol: str | None = None, theme: str = "light") -> Figure:
    """Mean attention of TFT by lag, one line a step ahead, beside what uniform attention would be.

    It shows where the network looked. It does not prove that those bars made the forecast: other weights may
    give the same output (Jain & Wallace 2019; Wiegreffe & Pinter 2019).
    """
    table, name = _rows(explanation.attention, symbol, "attention")
    mean = table[table["lag"] >= 0].groupby("lag")["weight"].mean()
    share = (mean / mean.sum()).sort_index()
    context, half = len(share), int(np.searchsorted(share.cumsum().to_numpy(), 0.5)) + 1
    seen = float(table[table["lag"] >= 0].groupby("step")["weight"].sum().mean())
    title = (
        f"{name}: half of TFT's attention to the past falls on the last {half} of {context} bars "
        f"(uniform: {context // 2}); {1 - seen:.0%} goes to the steps ahead"
    )
    figure, ax, look = canvas(theme)
    steps = sorted(table["step"].unique())
    shades = colormaps["viridis" if theme == "light" else "plasma"](
        np.linspace(0, 0.8, len(steps)) if theme == "light" else np.linspace(0.35, 0.95, len(steps))
    )
    for i, (step, color) in enumerate(zip(steps, shades)):
        own = table[table["step"] == step].sort_values("lag")
        ax.plot(-own["lag"], own["weight"], color=color, linewidth=1.4, linestyle=DASHES[i % 4], label=f"step {step}")
    ax.axhline(1 / context, color=look.faint, linestyle=":", linewidth=1, label="uniform over the past")
    ax.axvline(0.5, color=look.faint, linewidth=0.8)
    ax.set(xlabel="bars from the origin (0: the last bar known; above: steps ahead)", ylabel="attention weight", ylim=0)
    legend(ax, look, ncols=2)
    headline(figure, title, look)
    return figure


def plot_selection(explanation: Explanation, symbol: str | None = None, top: int = 8, theme: str = "light") -> Figure:
    """The inputs that TFT's variable selection weighs most: of the past, of the future and of the symbol.

    A weight is a share of a sum of transformed inputs, so a small one may still carry a large value, and inputs
    that say the same share their weight at the network's whim. Compare with plot_importance.
    """
    tables = {"past inputs": explanation.past, "known future": explanation.future, "symbol": explanation.static}
    shares, name = {}, ""
    for panel, table in tables.items():
        rows, name = _rows(table, symbol, "selection weights")
        shares[panel] = rows.groupby("input")["weight"].mean().sort_values()
    past = shares["past inputs"]
    title = (
        f"{name}: {past.index[-1]} and {past.index[-2]} take {past.iloc[-2:].sum():.0%} of the selection among "
        f"{len(past)} past inputs; equal shares would be {1 / len(past):.1%} each"
    )
    figure, axes, look = canvas(theme, 1, 3, size=(9, 3.9))
    for ax, (panel, share) in zip(axes, shares.items()):
        kept = share.tail(top)
        ax.barh(np.arange(len(kept)), 100 * kept, color=look.first, height=0.7)
        ax.axvline(100 / len(share), color=look.second, linestyle="--", linewidth=1)
        ax.set_yticks(np.arange(len(kept)), kept.index, fontsize=8)
        ax.set_xlabel("weight, %")
        ax.grid(False)
        rest = f" (top {top} of {len(share)})" if len(share) > top else ""
        axis_title(ax, panel + rest, look)
    note = {"xycoords": "axes fraction", "ha": "right", "fontsize": 8, "color": look.second}
    axes[0].annotate("dashed: equal shares", (0.98, 0.02), **note)
    headline(figure, title, look)
    return figure


def plot_selection_over_time(
    explanation: Explanation, symbol: str | None = None, top: int = 5, smooth: int = 1, theme: str = "light"
) -> Figure:
    """Selection weights of the past inputs bar by bar, the `top` of them; `smooth` averages that many dates.

    A weight that moves shows that the network's mix depends on the bar. It does not show that the mix is right,
    nor that the input drives the forecast.
    """
    table, name = _rows(explanation.past, symbol, "selection weights")
    by = "lag" if table["date"].isna().any() else "date"
    wide = table.pivot_table(index=by, columns="input", values="weight", aggfunc="mean")
    wide = wide.iloc[::-1] if by == "lag" else wide
    kept = wide.mean().sort_values(ascending=False).index[:top]
    wide = wide[kept].rolling(smooth, min_periods=1).mean()
    spread = (wide.max() - wide.min()).sort_values(ascending=False)
    moving = spread.index[0]
    title = (
        f"{name}: of the {len(kept)} heaviest inputs {moving} moves most, between {wide[moving].min():.1%} and "
        f"{wide[moving].max():.1%} of the selection"
    )
    figure, ax, look = canvas(theme)
    x = wide.index.to_numpy()
    x = -x if by == "lag" else x
    for i, column in enumerate(kept):
        ax.plot(x, 100 * wide[column], color=SERIES[i % 6], linestyle=DASHES[i % 6], linewidth=1.4, label=column)
    date_axis(ax, x)
    ax.set(xlabel="bars from the origin" if by == "lag" else "date", ylabel="selection weight, %", ylim=0)
    legend(figure, look, loc="outside lower center", ncols=top)
    headline(figure, title, look)
    return figure


def plot_importance(
    importance: pd.DataFrame,
    explanation: Explanation | None = None,
    top: int = 12,
    name: str = "",
    theme: str = "light",
) -> Figure:
    """Permutation importance, with the selection weights of the same inputs beside it when given; `name` it by network.

    It holds for this network and these origins. Inputs that share their news hide each other; a rise near 0
    does not say that the input is useless, only that this network does without it here.
    """
    kept = importance.sort_values("rise").tail(top)
    first = kept.iloc[-1]
    title = f"mixing up the dates of {first['input']} raises the loss most, by {first['percent']:.2f}%"
    if not first["percent"] >= 0.005:
        title = f"no input's timing matters here: the largest rise of the loss is {first['percent']:.3f}%"
    title = f"{name}: {title}" if name else title
    weights = None
    if explanation is not None and not explanation.past.empty:
        weights = explanation.past.groupby("input")["weight"].mean()
        both = importance.set_index("input")["rise"].to_frame().join(weights, how="inner")
        if len(both) > 2 and both["rise"].nunique() > 1:
            rank = both["rise"].corr(both["weight"], method="spearman")
            title += f". Selection weights rank the inputs {_agreement(rank)} (rank correlation {rank:.2f})"
    columns = 1 if weights is None else 2
    figure, axes, look = canvas(theme, 1, columns, size=(8, 1.6 + 0.25 * len(kept)), sharey=True)
    left, at = np.ravel(axes)[0], np.arange(len(kept))
    left.barh(at, kept["rise"], xerr=kept["spread"], color=look.first, height=0.7, ecolor=look.ink)
    left.set_yticks(at, kept["input"], fontsize=8.5)
    left.set_xlabel("rise of the pinball loss × 10⁴")
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.axvline(0, color=look.faint, linewidth=0.8)
    left.grid(False)
    if weights is not None:
        right = axes[1]
        right.barh(at, 100 * weights.reindex(kept["input"]).fillna(0), color=look.second, height=0.7)
        right.set_xlabel("selection weight, %")
        right.grid(False)
        axis_title(left, "permutation importance", look)
        axis_title(right, "selection weight", look)
    headline(figure, title, look)
    return figure


def _agreement(rank: float) -> str:
    if not np.isfinite(rank) or abs(rank) < 0.3:
        return "quite differently"
    return ("much alike" if rank >= 0.7 else "somewhat alike") if rank > 0 else "the other way round"


def plot_decomposition(explanation: Explanation, symbol: str | None = None, theme: str = "light") -> Figure:
    """What the volatility baseline and each N-HITS stack add, by step: to the median, and to the interval's width.

    The stacks are trained together, so a part says how this network shares its work, not that the market has
    a component of that time scale.
    """
    table, name = _rows(explanation.parts, symbol, "stack parts")
    stacks = list(dict.fromkeys(table["stack"]))
    last = table[table["step"] == table["step"].max()].set_index("stack")
    own, base = last.drop(BASELINE), last.loc[BASELINE]
    lead = own["width"].abs().idxmax()
    change, width, end = (100 * x for x in (own["width"].sum(), base["width"], last["median"].sum()))
    title = (
        f"{name}: the stacks change the interval's width by {change:+.2f} points on the baseline's {width:.2f}%, "
        f"mostly {lead.split(':')[0]}; the median ends at {end:+.2f}%"
    )
    figure, axes, look = canvas(theme, 1, 2, size=(9, 4))
    for ax, column, what in zip(axes, ("median", "width"), ("median", "width of the interval")):
        _stacked(ax, table, stacks, column, look)
        ax.set(xlabel="steps ahead, bars", ylabel="log return, %")
        axis_title(ax, what, look)
    handles, labels = axes[0].get_legend_handles_labels()
    legend(figure, look, handles, labels, loc="outside lower center", ncols=len(labels))
    headline(figure, title, look)
    return figure


def _stacked(ax: Any, table: pd.DataFrame, stacks: list[str], column: str, look: Any) -> None:
    """Bars that pile up from zero, positive parts above and negative ones below, and a mark at their sum."""
    wide = 100 * table.pivot_table(index="step", columns="stack", values=column)[stacks]
    up, down = np.zeros(len(wide)), np.zeros(len(wide))
    colors = [look.faint, *SERIES]
    hatches = ["", "", "//", "..", "xx", "\\\\"]
    for i, stack in enumerate(stacks):
        values = wide[stack].to_numpy()
        bottom = np.where(values >= 0, up, down)
        ax.bar(
            wide.index, values, 0.7, bottom=bottom, color=colors[i % 7], hatch=hatches[i % 6],
            edgecolor=look.paper, linewidth=0.5, label=stack,
        )  # fmt: skip
        up, down = up + np.maximum(values, 0), down + np.minimum(values, 0)
    ax.plot(wide.index, wide.sum(axis=1), "D", color=look.ink, markersize=5, label="sum")
    ax.axhline(0, color=look.faint, linewidth=0.8)
    ax.set_xticks(wide.index)
