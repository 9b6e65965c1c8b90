"""Figures of what a forecast was made from (forecast.explain), and what each does not prove.

In all of them `symbol` is one of the explanation's (None: the first, which may be their mean), and
`theme` "light" or "dark". DataError says of an unknown symbol, or of a table that the networks of
the explanation don't have; ConfigError of an unknown theme.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..config import LEVEL
from ..data.features import in_words
from ..errors import DataError
from ..forecast.explain import BASELINE, EVERY, KINDS, Explanation
from . import style
from .bars import bar_axis, of_symbol

ATTENTION = (
    "Attention says where the network looked, not what made the forecast: other weights can lead "
    "to the same output (Jain & Wallace 2019)."
)
SELECTION = (
    "Inputs that say the same share their weight by chance, and a small weight on a large value "
    "can count more: no proof that the forecast needs the input."
)
OVER_TIME = (
    "A weight that moves shows that the network's mix depends on the bar, not that the mix is "
    "right, nor that the input drives the forecast."
)
PARTS = (
    "The stacks are trained together and can share the work in many ways with the same sum: a part "
    "is not a component of the market. Before the quantiles are calibrated."
)
MIXED = "Attention across scales mixes the stacks' states first: the parts are not separable. "
SUMMARY = "Weights and parts say how the networks worked; neither proves what made the forecast."
KIND_NAMES = {"past": "past inputs", "future": "known future", "static": "symbol"}
TOP = 8  # inputs in a panel
LINES = 5  # inputs over time
MOVES = 1e-3  # a weight that changes by less over time counts as constant


def _of_symbol(table: pd.DataFrame, symbol: str | None, what: str) -> tuple[pd.DataFrame, str]:
    """A table's rows of one symbol (None: the first) and what to call it."""
    if table.empty:
        raise DataError(f"This explanation has no {what}; it comes from a network that has none.")
    rows = of_symbol(table, symbol)
    symbol = rows["symbol"].iloc[0]
    return rows, "mean of all symbols" if symbol == EVERY else style.shorten(symbol)


def spread(explanation: Explanation, member: str, what: str = "Bands") -> str:
    """What the bands of a figure show; empty where there are none."""
    seeds, origins = explanation.seeds.get(member, 1), explanation.origins
    if seeds > 1:
        return f"{what}: ± one standard deviation over {seeds} networks that differ by seed. "
    if origins > 1:
        return f"{what}: ± one standard deviation over {origins:,} origins, of one network. "
    return ""


def _moving(table: pd.DataFrame, selection: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of the inputs of a kind that vary: the others tell no forecast from another."""
    chosen = selection[(selection["kind"] == kind) & selection["varies"]]
    return table[table["input"].isin(chosen["input"])]


def _left_out(selection: pd.DataFrame, *kinds: str) -> str:
    """Which inputs a figure leaves out as they never vary, and what they weigh."""
    parts = []
    for kind in kinds:
        still = selection[(selection["kind"] == kind) & ~selection["varies"]]
        if len(still):
            names = ", ".join(in_words(name) for name in still["input"])
            parts.append(f"{KIND_NAMES[kind]}: {names}, {still['weight'].sum():.0%} of the weight")
    return f"Left out, since they never vary here – {'; '.join(parts)}. " if parts else ""


def plot_attention(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """Mean attention of TFT by lag, over a map of all steps in multiples of uniform attention.

    References
    ----------
    What it can and can't prove: Jain & Wallace 2019; Wiegreffe & Pinter 2019.
    """
    table, name = _of_symbol(explanation.attention, symbol, "attention")
    caption = spread(explanation, "tft") + ATTENTION
    grid = {"sharex": True, "height_ratios": (5, 4)}
    figure, (top, low), colors = style.canvas(theme, 2, size=(8, 4.6), caption=caption, **grid)
    context = int(table["lag"].max()) + 1
    # above: the first and the last step's attention by lag
    steps = dict.fromkeys((table["step"].min(), table["step"].max()))
    for step, color, dash in zip(steps, (colors.first, colors.second), style.DASHES):
        rows = table[(table["step"] == step) & (table["lag"] >= 0)].sort_values("lag")
        x, mean, sd = -rows["lag"], 100 * rows["weight"], 100 * rows["sd"].fillna(0)
        top.plot(x, mean, color=color, linestyle=dash, linewidth=1.5, label=f"step {step}")
        if sd.any():
            band = (mean - sd).clip(0), mean + sd
            top.fill_between(x, *band, color=color, alpha=0.18, linewidth=0)
        dotted = {"color": color, "linestyle": ":", "linewidth": 1}
        top.axhline(100 / (context + step), label=f"uniform, step {step}", **dotted)
    top.set(xmargin=0.01, ylabel="attention, %", ylim=(0, 1.08 * top.dataLim.y1))
    # below: all steps in multiples of uniform attention
    _draw_attention_map(low, table, context, colors)
    for ax in (top, low):
        ax.axvline(0.5, color=colors.quiet, linewidth=0.8)
    low.set_xlabel("bars from the origin (0: the last bar known; above: steps ahead)")
    style.legend(figure, colors)
    # the finding: how recent is the half of it, and how much goes to the steps ahead
    past = table[table["lag"] >= 0]
    share = past.groupby("lag")["weight"].mean().sort_index().cumsum().to_numpy()
    half = int(np.searchsorted(share, share[-1] / 2)) + 1
    ahead = 1 - past.groupby("step")["weight"].sum().mean()
    title = (
        f"{name}: half of TFT's attention to the past falls on the last {half} of {context} bars "
        f"(uniform: {context // 2}); {ahead:.0%} goes to the steps ahead"
    )
    return style.headline(figure, title, colors)


def _draw_attention_map(ax: Axes, table: pd.DataFrame, context: int, colors: style.Theme) -> None:
    """Attention by step and lag, as a multiple of what uniform attention would be."""
    wide = table.pivot_table(index="step", columns="lag", values="weight")
    wide = wide.sort_index(axis=1, ascending=False)  # [step, lag]
    ratio = wide.mul(context + wide.index.to_numpy(), axis=0)
    reach = max(float((ratio - 1).abs().max(axis=None)), 0.5)  # nearly uniform is to look so
    scale = {"cmap": colors.diverging, "vmin": 1 - reach, "vmax": 1 + reach}
    mesh = ax.pcolormesh(-wide.columns.to_numpy(), wide.index, ratio, shading="nearest", **scale)
    ax.set_ylabel("step ahead")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.grid(False)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.01, aspect=9)
    bar.set_label("× uniform", color=colors.ink, fontsize=9)
    bar.ax.tick_params(colors=colors.ink, labelsize=8.5)
    bar.ax.set_ylim(max(1 - reach, 0), 1 + reach)


def plot_selection(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """The inputs that TFT's variable selection weighs most, a panel a kind of input."""
    table, name = _of_symbol(explanation.selection, symbol, "selection weights")
    every = table["kind"].value_counts()  # equal shares are of all, since the weights are
    moving = {kind: _moving(table[table["kind"] == kind], table, kind) for kind in KINDS}
    moving = {kind: weights for kind, weights in moving.items() if len(weights)}
    past = moving["past"].sort_values("weight").tail(2)
    second, first = past["input"].map(in_words)
    title = (
        f"{name}: {first} and {second} take {past['weight'].sum():.0%} of the selection "
        f"among {every['past']} past inputs; equal shares would be {1 / every['past']:.1%} each"
    )
    caption = f"Dashed: equal shares. {_left_out(table, *KINDS)}"
    caption += spread(explanation, "tft", "Lines") + SELECTION
    grid = {"size": (9, 3.7), "caption": caption, "squeeze": False}
    figure, axes, colors = style.canvas(theme, 1, len(moving), **grid)
    for ax, (kind, weights) in zip(axes[0], moving.items()):
        _draw_weights(ax, weights, TOP, every[kind], colors)
        rest = f" (top {TOP} of {len(weights)})" if len(weights) > TOP else ""
        style.axis_title(ax, KIND_NAMES[kind] + rest, colors)
    return style.headline(figure, title, colors)


def _draw_weights(
    ax: Axes, weights: pd.DataFrame, top: int, every: int, colors: style.Theme
) -> None:
    """Bars of the largest selection weights, and a line at equal shares of `every` input."""
    equal = 100 / every
    weights = weights.sort_values("weight").tail(top)
    y = np.arange(len(weights)) + top - len(weights)  # the largest at the top
    error = 100 * weights["sd"] if weights["sd"].notna().any() else None
    ax.barh(y, 100 * weights["weight"], 0.7, xerr=error, color=colors.first, ecolor=colors.ink)
    ax.axvline(equal, color=colors.second, linestyle="--", linewidth=1)
    ax.set_yticks(y, [tick(name) for name in weights["input"]], fontsize=8)
    ax.set(xlabel="weight, %", ylim=(-0.6, top - 0.4), xlim=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(False)


def tick(name: str, most: int = 30) -> str:
    """An input's name in words, short enough to stand beside an axis."""
    return style.shorten(in_words(name), most)


def plot_selection_over_time(
    explanation: Explanation, symbol: str | None = None, smooth: int = 1, theme: str = "light"
) -> Figure:
    """Selection weights of the heaviest past inputs bar by bar, `smooth` dates averaged.

    Below them those of the known future, by its next session, and of the symbol, where they move.
    ConfigError unless `smooth` is a whole number from 1.
    """
    smooth = style.count(smooth, "smooth")
    panels = {}
    for kind in KINDS:
        rows, name = _of_symbol(getattr(explanation, kind), symbol, "selection weights")
        rows = _moving(rows, _of_symbol(explanation.selection, symbol, "weights")[0], kind)
        if rows.empty:
            continue
        panel = _over_time(rows, smooth)
        moves = explanation.origins > 1 and np.ptp(panel["weight"], axis=0).max() > MOVES
        if kind == "past" or moves:
            panels[kind] = panel
    bands = explanation.seeds.get("tft", 1) > 1
    caption = spread(explanation, "tft") if bands else ""
    caption += f"Mean of {smooth} dates. " if smooth > 1 else ""
    rows = len(panels)
    grid = {"height_ratios": (3, 2, 2)[:rows], "squeeze": False, "sharex": True}
    size = (8, 1.9 + 1.7 * rows)
    figure, axes, colors = style.canvas(theme, rows, size=size, caption=caption + OVER_TIME, **grid)
    for ax, (kind, panel) in zip(axes[:, 0], panels.items()):
        _draw_over_time(ax, panel, bands, colors)
        style.axis_title(ax, KIND_NAMES[kind], colors)
        style.legend(ax, colors, loc="upper left", bbox_to_anchor=(1.0, 1.02), borderaxespad=0.2)
    past = panels["past"]["weight"]
    dated = "date" if past.index.dtype.kind == "M" else "bar number"
    axes[-1, 0].set_xlabel(dated if past.index.name == "date" else "bars from the origin")
    most = (past.max() - past.min()).idxmax()
    title = (
        f"{name}: of the {past.shape[1]} heaviest inputs {in_words(most)} moves most, "
        f"between {past[most].min():.1%} and {past[most].max():.1%} of the selection"
    )
    return style.headline(figure, title, colors)


def _over_time(rows: pd.DataFrame, smooth: int) -> pd.DataFrame:
    """The heaviest inputs' weight and sd, a row a date (or bars from the origin)."""
    by = "date"
    if rows["date"].isna().any() and "lag" in rows:
        rows, by = rows.assign(lag=-rows["lag"]), "lag"
    wide = rows.pivot_table(index=by, columns="input", values=["weight", "sd"], dropna=False)
    weight = wide["weight"]
    heaviest = weight.mean().sort_values(ascending=False).index[:LINES]
    weight = weight[heaviest].rolling(smooth, min_periods=min(smooth, len(weight))).mean()
    return pd.concat({"weight": weight, "sd": wide["sd"][heaviest]}, axis=1)


def _draw_over_time(ax: Axes, panel: pd.DataFrame, bands: bool, colors: style.Theme) -> None:
    """A line an input, with a band if asked for."""
    x = panel.index.to_numpy()
    if panel.index.name == "date":
        x = bar_axis(ax, x)
    for i, name in enumerate(panel["weight"]):
        color, dash = colors.series[i % 6], style.DASHES[i % 6]
        weight, sd = 100 * panel["weight"][name], 100 * panel["sd"][name]
        ax.plot(x, weight, linewidth=1.4, color=color, linestyle=dash, label=tick(name))
        if bands:
            band = (weight - sd).clip(0), weight + sd
            ax.fill_between(x, *band, color=color, alpha=0.15, linewidth=0)
    ax.set(ylabel="weight, %", ylim=0)


def plot_decomposition(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """What the volatility baseline and each N-HITS stack add to the median and the width, in %."""
    table, name = _of_symbol(explanation.parts, symbol, "stack parts")
    last = table[table["step"] == table["step"].max()].set_index("stack")
    stacks = last.drop(BASELINE)
    title = (
        f"{name}: the stacks change the interval's width by {100 * stacks['width'].sum():+.2f} "
        f"points on the baseline's {100 * last.loc[BASELINE, 'width']:.2f}%, "
        f"mostly {stacks['width'].abs().idxmax().split(':')[0]}; "
        f"the median ends at {100 * last['median'].sum():+.2f}%"
    )
    caption = MIXED if table["mixed"].any() else ""
    caption += spread(explanation, "nhits", "Thin lines, of each part") + PARTS
    figure, (left, right), colors = style.canvas(theme, 1, 2, size=(9, 3.9), caption=caption)
    _draw_parts(left, table, "median", colors)
    _draw_parts(right, table[table["stack"] != BASELINE], "width", colors)
    style.axis_title(left, "median", colors)
    style.axis_title(right, f"width of the {LEVEL:.0%} interval less the baseline's", colors)
    style.legend(figure, colors)
    return style.headline(figure, title, colors)


def _draw_parts(ax: Axes, table: pd.DataFrame, column: str, colors: style.Theme) -> None:
    """Each stack's part by step, and a mark at their sum.

    Means of several forecasts stand side by side, with their spread; one forecast's pile up.
    """
    sums = 100 * table.groupby("step")[column].sum()
    steps, stacks = sums.index.to_numpy(), table["stack"].unique()
    mean = table[f"{column}_sd"].notna().any()
    width = 0.8 / len(stacks) if mean else 0.7
    up, down = np.zeros(len(steps)), np.zeros(len(steps))
    drawn = 0  # stacks without the baseline, whose styles don't depend on whether it is there
    for i, stack in enumerate(stacks):
        marks = {"color": colors.faint, "hatch": "", "edgecolor": colors.paper, "linewidth": 0.5}
        if stack != BASELINE:
            marks |= {"color": colors.series[drawn % 6], "hatch": style.HATCHES[drawn % 6]}
            drawn += 1
        part = table[table["stack"] == stack].sort_values("step")
        values = 100 * part[column].to_numpy()
        if mean:
            x = steps + width * (i + 0.5) - 0.4
            marks |= {"yerr": 100 * part[f"{column}_sd"], "ecolor": colors.ink}
            ax.bar(x, values, width, error_kw={"elinewidth": 0.9}, label=stack, **marks)
        else:
            bottom = np.where(values >= 0, up, down)
            ax.bar(steps, values, width, bottom, label=stack, **marks)
            up, down = up + np.maximum(values, 0), down + np.minimum(values, 0)
    ax.plot(steps, sums, "D", color=colors.ink, markersize=4.5, label="sum", zorder=4)
    ax.axhline(0, color=colors.faint, linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(steps[0] - 0.7, steps[-1] + 0.7)
    ax.set(xlabel="steps ahead, bars", ylabel="log return, %")


def plot_explanation(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """TFT's inputs and bars and N-HITS' stacks in one figure (Explanation.plot)."""
    attention, parts = explanation.attention, explanation.parts
    has_tft = len(attention) > 0 and symbol in {None, *attention["symbol"]}
    has_nhits = len(parts) > 0 and symbol in {None, *parts["symbol"]}
    if not has_tft and not has_nhits:  # raises DataError
        _of_symbol(attention if len(attention) else parts, symbol, "tables")
    columns = 2 * has_tft + has_nhits
    caption = "Dashed: equal shares. " if has_tft else ""
    if has_tft:
        caption += _left_out(_of_symbol(explanation.selection, symbol, "weights")[0], "past")
    caption += MIXED if has_nhits and parts["mixed"].any() else ""
    size = (3.2 * max(columns, 2), 3.6)
    figure, axes, colors = style.canvas(theme, 1, columns, size, caption + SUMMARY, squeeze=False)
    findings = []
    if has_tft:
        finding, name = _draw_tft(axes[0, :2], explanation, symbol, colors)
        findings.append(finding)
    if has_nhits:
        table, name = _of_symbol(parts, symbol, "stack parts")
        stacks = table[table["stack"] != BASELINE]
        _draw_parts(axes[0, -1], stacks, "width", colors)
        style.axis_title(axes[0, -1], f"N-HITS: change of the {LEVEL:.0%} width", colors, 30)
        style.legend(figure, colors, loc="outside lower right")
        change = 100 * stacks[stacks["step"] == stacks["step"].max()]["width"].sum()
        findings.append(f"N-HITS' stacks change the width by {change:+.2f} points")
    return style.headline(figure, f"{name}: {'; '.join(findings)}", colors)


def _draw_tft(
    axes: Any, explanation: Explanation, symbol: str | None, colors: style.Theme
) -> tuple[str, str]:
    """TFT's inputs and bars; returns what they show, and the symbol's name."""
    left, right = axes
    table, name = _of_symbol(explanation.selection, symbol, "selection weights")
    every = table[table["kind"] == "past"]
    past = _moving(every, table, "past")
    top = min(TOP, len(past))
    _draw_weights(left, past, top, len(every), colors)
    style.axis_title(left, f"TFT: inputs (top {top} of {len(past)})", colors)
    attention = _of_symbol(explanation.attention, symbol, "attention")[0]
    mean = attention[attention["lag"] >= 0].groupby("lag")["weight"].mean()
    uniform = np.mean(1 / (len(mean) + attention["step"].unique()))
    right.plot(-mean.index, 100 * mean, color=colors.first, linewidth=1.5)
    right.axhline(100 * uniform, color=colors.second, linestyle="--", linewidth=1)
    right.set(xlabel="bars from the origin", ylabel="attention, %", ylim=0)
    style.axis_title(right, "TFT: bars", colors)
    heaviest = in_words(past.loc[past["weight"].idxmax(), "input"])
    return f"TFT weighs {heaviest} most and looks most at the bar {int(mean.idxmax())} back", name
