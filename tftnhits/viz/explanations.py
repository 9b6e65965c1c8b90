"""Figures of what a forecast was made from (viz.explain); the small print of each says what it does not prove."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..config import LEVEL
from ..errors import DataError
from ..forecast.explain import BASELINE, EVERY, KINDS, Explanation
from .bars import bar_axis
from .style import (
    DASHES,
    HATCHES,
    Theme,
    axis_title,
    body,
    canvas,
    count,
    diverging,
    headline,
    legend,
    short,
    shorten,
)

# what a picture does not prove
ATTENTION = (
    "Attention says where the network looked, not what made the forecast: other weights can lead to the same output "
    "(Jain & Wallace 2019), and after an LSTM the state of a bar holds news of all bars before it."
)
SELECTION = (
    "A small weight on a large value can count more than a large weight on a small one, and inputs that say the same "
    "share their weight as the training happened to go. So a weight is no proof that the forecast needs the input."
)
OVER_TIME = (
    "A weight that moves shows that the network's mix depends on the bar, not that the mix is right, nor that the "
    "input drives the forecast."
)
PARTS = (
    "The stacks are trained together and can share the work in many ways with the same sum: a part is not a component "
    "of the market. Before the quantiles are calibrated."
)
KIND_NAMES = {"past": "past inputs", "future": "known future", "static": "symbol"}
MOVES = 1e-3  # a weight that changes by less over time counts as constant


def _rows(table: pd.DataFrame, symbol: str | None, what: str) -> tuple[pd.DataFrame, str]:
    """A table's rows of one symbol (None: the first) and what to call it."""
    if table.empty:
        raise DataError(f"This explanation has no {what}; it comes from a network that has none.")
    names = table["symbol"].unique()
    name = str(names[0]) if symbol is None else symbol
    if name not in names:
        raise DataError(
            f"There is no {name!r} in this explanation; it has {', '.join(map(str, names[:10]))}."
        )
    return table[table["symbol"] == name], "mean of all symbols" if name == EVERY else short(name)


def spread(explanation: Explanation, member: str, what: str = "Bands") -> str:
    """What the bands of a picture show; empty where there are none."""
    seeds = explanation.seeds.get(member, 1)
    if seeds > 1:
        return f"{what}: ± one standard deviation over {seeds} networks that differ by seed. "
    if explanation.origins > 1:
        return f"{what}: ± one standard deviation over {explanation.origins:,} origins, of one network. "
    return ""


def _finding(table: pd.DataFrame, name: str) -> str:
    """One sentence on an attention table of one symbol."""
    past = table[table["lag"] >= 0]
    mean = past.groupby("lag")["weight"].mean().sort_index()
    share = (mean / mean.sum()).cumsum().to_numpy()
    half, context, seen = (
        int(np.searchsorted(share, 0.5)) + 1,
        len(mean),
        past.groupby("step")["weight"].sum().mean(),
    )
    return (
        f"{name}: half of TFT's attention to the past falls on the last {half} of {context} bars "
        f"(uniform: {context // 2}); {1 - seen:.0%} goes to the steps ahead"
    )


def plot_attention(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """Mean attention of TFT by lag, of the first and the last step, over a map of all steps against uniform attention.

    On what it can and can't prove: Jain & Wallace 2019, Wiegreffe & Pinter 2019.
    """
    table, name = _rows(explanation.attention, symbol, "attention")
    caption = spread(explanation, "tft") + ATTENTION
    figure, (top, low), look = canvas(
        theme, 2, size=(8, 4.6), caption=caption, sharex=True, height_ratios=(5, 4)
    )
    steps = sorted(table["step"].unique())
    context = int(table["lag"].max()) + 1
    for step, color, dash in zip(
        dict.fromkeys((steps[0], steps[-1])), (look.first, look.second), DASHES
    ):
        own = table[(table["step"] == step) & (table["lag"] >= 0)].sort_values("lag")
        x, mean, sd = -own["lag"], 100 * own["weight"], 100 * own["sd"].fillna(0)
        top.plot(x, mean, color=color, linestyle=dash, linewidth=1.5, label=f"step {step}")
        if sd.any():
            top.fill_between(
                x, np.maximum(mean - sd, 0), mean + sd, color=color, alpha=0.18, linewidth=0
            )
        top.axhline(
            100 / (context + step),
            color=color,
            linestyle=":",
            linewidth=1,
            label=f"uniform, step {step}",
        )
    top.margins(x=0.01)
    top.set(ylabel="attention, %", ylim=(0, 1.08 * top.dataLim.y1))
    _attention_map(figure, (top, low), table, context, look)
    low.set_xlabel("bars from the origin (0: the last bar known; above: steps ahead)")
    legend(figure, look, loc="outside lower center")
    headline(figure, _finding(table, name), look)
    return figure


def _attention_map(
    figure: Figure, axes: Any, table: pd.DataFrame, context: int, look: Theme
) -> None:
    """Attention by step and lag on the lower of two axes, as a multiple of what uniform attention would be."""
    wide = table.pivot_table(index="step", columns="lag", values="weight").sort_index(
        axis=1, ascending=False
    )
    ratio = wide.mul(context + wide.index.to_numpy(), axis=0)
    reach = max(
        float(np.abs(ratio - 1).max(axis=None)), 0.5
    )  # nearly uniform attention is to look so
    colors = {"cmap": diverging(look), "vmin": 1 - reach, "vmax": 1 + reach}
    x, y = -wide.columns.to_numpy(), wide.index.to_numpy()
    mesh = axes[1].pcolormesh(
        np.r_[x - 0.5, x[-1] + 0.5], np.r_[y - 0.5, y[-1] + 0.5], ratio.to_numpy(), **colors
    )
    for ax in axes:
        ax.axvline(0.5, color=look.quiet, linewidth=0.8)
    axes[1].set_ylabel("step ahead")
    axes[1].yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes[1].grid(False)
    bar = body(figure).colorbar(mesh, ax=axes[1], pad=0.01, aspect=9, extend="neither")
    bar.set_label("× uniform", color=look.ink, fontsize=9)
    bar.ax.tick_params(colors=look.ink, labelsize=8.5)
    bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    bar.ax.set_ylim(max(1 - reach, 0), 1 + reach)
    bar.outline.set_visible(False)


def plot_selection(
    explanation: Explanation, symbol: str | None = None, top: int = 8, theme: str = "light"
) -> Figure:
    """The inputs that TFT's variable selection weighs most: of the past, of the future and of the symbol.

    Compare with plot_importance.
    """
    table, name = _rows(explanation.selection, symbol, "selection weights")
    past = table[table["kind"] == "past"].sort_values("weight")
    title = (
        f"{name}: {past['input'].iloc[-1]} and {past['input'].iloc[-2]} take {past['weight'].iloc[-2:].sum():.0%} of "
        f"the selection among {len(past)} past inputs; equal shares would be {1 / len(past):.1%} each"
    )
    caption = f"Dashed: equal shares. {spread(explanation, 'tft', 'Lines')}{SELECTION}"
    figure, axes, look = canvas(theme, 1, 3, size=(9, 3.7), caption=caption)
    for ax, kind in zip(axes, KINDS):
        share = table[table["kind"] == kind].sort_values("weight")
        rest = f" (top {top} of {len(share)})" if len(share) > top else ""
        _shares(ax, share.tail(top), 100 / max(len(share), 1), top, look)
        axis_title(ax, KIND_NAMES[kind] + rest, look)
    headline(figure, title, look)
    return figure


def _shares(ax: Any, table: pd.DataFrame, equal: float, places: int, look: Theme) -> None:
    """Bars of selection weights, the largest at the top of so many places, and a line at equal shares."""
    at = np.arange(len(table)) + places - len(table)
    error = 100 * table["sd"] if table["sd"].notna().any() else None
    ax.barh(at, 100 * table["weight"], 0.7, xerr=error, color=look.first, ecolor=look.ink)
    ax.axvline(equal, color=look.second, linestyle="--", linewidth=1)
    ax.set_yticks(at, [shorten(str(n), 1.6, 8) for n in table["input"]], fontsize=8)
    ax.set(xlabel="weight, %", ylim=(-0.6, places - 0.4), xlim=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(False)


def plot_selection_over_time(
    explanation: Explanation,
    symbol: str | None = None,
    top: int = 5,
    smooth: int = 1,
    theme: str = "light",
) -> Figure:
    """Selection weights of the past inputs bar by bar, the `top` of them; `smooth` averages that many dates.

    Below them those of the known future, by its next session, and of the symbol, where they move over the dates.
    """
    top, smooth = count(top, "top"), count(smooth, "smooth")
    tables, still, name = {}, [], ""
    for kind in KINDS:
        rows, name = _rows(getattr(explanation, kind), symbol, "selection weights")
        wide, by, sd = _over_time(rows, top, smooth)
        if kind == "past" or (
            len(wide) > 1 and explanation.origins > 1 and np.ptp(wide, axis=0).max() > MOVES
        ):
            tables[kind] = wide, by, sd if explanation.seeds.get("tft", 1) > 1 else None
        elif explanation.origins > 1:
            still.append(KIND_NAMES[kind])
    caption = spread(explanation, "tft") if explanation.seeds.get("tft", 1) > 1 else ""
    caption += f"Mean of {smooth} dates. " if smooth > 1 else ""
    caption += f"The weights of the {' and the '.join(still)} inputs don't move. " if still else ""
    size = (8, 1.2 + 2.4 + 1.7 * (len(tables) - 1))
    ratios = {"height_ratios": (3, 2, 2)[: len(tables)], "squeeze": False, "sharex": True}
    figure, axes, look = canvas(
        theme, len(tables), size=size, caption=caption + OVER_TIME, **ratios
    )
    for ax, (kind, (wide, by, sd)) in zip(axes[:, 0], tables.items()):
        x = bar_axis(ax, wide.index.to_numpy()) if by == "date" else wide.index
        _lines(ax, x, wide, sd, look)
        ax.set(ylabel="weight, %", ylim=0)
        axis_title(ax, KIND_NAMES[kind], look)
        legend(ax, look, loc="upper left", bbox_to_anchor=(1.0, 1.02), borderaxespad=0.2)
    axes[-1, 0].set_xlabel({"date": "date", "lag": "bars from the origin"}.get(by, by))
    wide = tables["past"][0]
    most = (wide.max() - wide.min()).idxmax()
    title = f"{name}: of the {wide.shape[1]} heaviest inputs {most} moves most, between {wide[most].min():.1%} and "
    headline(figure, f"{title}{wide[most].max():.1%} of the selection", look)
    return figure


def _over_time(rows: pd.DataFrame, top: int, smooth: int) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    """The heaviest inputs' weights, a row a date (or bar), what that axis is, and the weights' spread."""
    by = "date"
    if rows["date"].isna().any() and "lag" in rows:
        rows, by = rows.assign(lag=-rows["lag"]), "lag"
    wide, sd = (
        rows.pivot_table(index=by, columns="input", values=v, aggfunc="mean")
        for v in ("weight", "sd")
    )
    kept = wide.mean().sort_values(ascending=False).index[:top]
    by = (
        "bar number"
        if by == "date" and not pd.api.types.is_datetime64_any_dtype(rows["date"])
        else by
    )
    return (
        wide[kept].rolling(smooth, min_periods=min(smooth, len(wide))).mean(),
        by,
        sd.reindex(columns=kept, index=wide.index),
    )


def _lines(ax: Any, x: Any, wide: pd.DataFrame, sd: pd.DataFrame | None, look: Theme) -> None:
    for i, column in enumerate(wide.columns):
        style = {"color": look.series[i % len(look.series)], "linestyle": DASHES[i % len(DASHES)]}
        ax.plot(x, 100 * wide[column], linewidth=1.4, label=shorten(str(column), 1.5, 8.5), **style)
        if sd is not None:
            low, high = (100 * (wide[column] + sign * sd[column]) for sign in (-1, 1))
            ax.fill_between(x, low.clip(0), high, color=style["color"], alpha=0.15, linewidth=0)


def plot_decomposition(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """What the volatility baseline and each N-HITS stack add to the median, and the stacks to the interval's width."""
    table, name = _rows(explanation.parts, symbol, "stack parts")
    last = table[table["step"] == table["step"].max()].set_index("stack")
    own, base = last.drop(BASELINE), last.loc[BASELINE]
    change, width, end = (
        100 * x for x in (own["width"].sum(), base["width"], last["median"].sum())
    )
    title = (
        f"{name}: the stacks change the interval's width by {change:+.2f} points on the baseline's {width:.2f}%, "
        f"mostly {own['width'].abs().idxmax().split(':')[0]}; the median ends at {end:+.2f}%"
    )
    caption = spread(explanation, "nhits", "Thin lines, of each part") + PARTS
    figure, axes, look = canvas(theme, 1, 2, size=(9, 3.9), caption=caption)
    draw = _grouped if table["median_sd"].notna().any() else _stacked
    stacks = list(dict.fromkeys(table["stack"]))
    draw(axes[0], table, stacks, "median", look)
    draw(axes[1], table, stacks[1:], "width", look)
    ends = [f"{100 * w:.1f}" for w in table[table["stack"] == BASELINE]["width"].iloc[[0, -1]]]
    axis_title(axes[0], "median", look)
    axis_title(
        axes[1],
        f"width of the {LEVEL:.0%} interval less the baseline's {' to '.join(dict.fromkeys(ends))}%",
        look,
        3.4,
    )
    for ax in axes:
        ax.set(xlabel="steps ahead, bars", ylabel="log return, %")
    handles, labels = axes[0].get_legend_handles_labels()
    legend(figure, look, handles, labels, loc="outside lower center")
    headline(figure, title, look)
    return figure


def _styles(table: pd.DataFrame, look: Theme) -> dict[str, dict[str, Any]]:
    """How each stack's bars look; the first is the baseline."""
    looks = [
        (look.faint, ""),
        *itertools.islice(zip(itertools.cycle(look.series), itertools.cycle(HATCHES)), 60),
    ]
    edge = {"edgecolor": look.paper, "linewidth": 0.5}
    stacks = dict.fromkeys(table["stack"])
    return {
        stack: {"color": color, "hatch": hatch, **edge}
        for stack, (color, hatch) in zip(stacks, looks)
    }


def _wide(table: pd.DataFrame, column: str, stacks: list[str]) -> pd.DataFrame:
    """A column of the parts in percent, a row a step and a column a stack."""
    return (
        100 * table.pivot_table(index="step", columns="stack", values=column, dropna=False)[stacks]
    )


def _stacked(ax: Any, table: pd.DataFrame, stacks: list[str], column: str, look: Theme) -> None:
    """Bars that pile up from zero, positive parts above and negative ones below, and a mark at their sum."""
    wide, styles = _wide(table, column, stacks), _styles(table, look)
    up, down = np.zeros(len(wide)), np.zeros(len(wide))
    for stack in stacks:
        values = wide[stack].to_numpy()
        ax.bar(
            wide.index,
            values,
            0.7,
            bottom=np.where(values >= 0, up, down),
            label=stack,
            **styles[stack],
        )
        up, down = up + np.maximum(values, 0), down + np.minimum(values, 0)
    _sums(ax, wide, look)


def _grouped(ax: Any, table: pd.DataFrame, stacks: list[str], column: str, look: Theme) -> None:
    """Bars side by side with a line for the spread of each, and a mark at their sum."""
    wide, sd, styles = (
        _wide(table, column, stacks),
        _wide(table, f"{column}_sd", stacks),
        _styles(table, look),
    )
    each = 0.8 / len(stacks)
    for i, stack in enumerate(stacks):
        at = wide.index + each * (i + 0.5) - 0.4
        ax.bar(
            at,
            wide[stack],
            each,
            yerr=sd[stack],
            error_kw={"ecolor": look.ink, "elinewidth": 0.9},
            label=stack,
            **styles[stack],
        )
    _sums(ax, wide, look)


def _sums(ax: Any, wide: pd.DataFrame, look: Theme) -> None:
    ax.plot(
        wide.index, wide.sum(axis=1), "D", color=look.ink, markersize=4.5, label="sum", zorder=4
    )
    ax.axhline(0, color=look.faint, linewidth=0.8)
    if len(wide) <= 12:
        ax.set_xticks(wide.index)
    reach = max(len(wide), 3) / 2 + 0.1
    ax.set_xlim(wide.index.to_numpy().mean() - reach, wide.index.to_numpy().mean() + reach)


def plot_explanation(
    explanation: Explanation, symbol: str | None = None, theme: str = "light"
) -> Figure:
    """A symbol's tables in one picture (Explanation.plot): TFT's inputs and bars, N-HITS' stacks, whichever are there.

    None of it proves a cause; see the figures of each.
    """
    parts = []
    name = symbol
    for table, what in ((explanation.attention, "tft"), (explanation.parts, "nhits")):
        if len(table) and (symbol is None or symbol in set(table["symbol"])):
            parts.append(what)
    if not parts:
        _rows(
            explanation.attention if len(explanation.attention) else explanation.parts,
            symbol,
            "tables",
        )
    columns = 2 * ("tft" in parts) + ("nhits" in parts)
    caption = "Dashed: equal shares. " if "tft" in parts else ""
    caption += "Weights say where a network looked, parts how it shares its work; neither proves what made the forecast."
    figure, axes, look = canvas(
        theme, 1, columns, size=(3.2 * max(columns, 2), 3.6), caption=caption, squeeze=False
    )
    axes, said = list(axes[0]), []
    if "tft" in parts:
        chosen, name = _rows(explanation.selection, symbol, "selection weights")
        past = chosen[chosen["kind"] == "past"].sort_values("weight")
        _shares(axes[0], past.tail(8), 100 / len(past), min(8, len(past)), look)
        axis_title(axes[0], f"TFT: inputs (top {min(8, len(past))} of {len(past)})", look)
        seen = explanation.attention[explanation.attention["symbol"] == chosen["symbol"].iloc[0]]
        mean = seen[seen["lag"] >= 0].groupby("lag")["weight"].mean()
        axes[1].plot(-mean.index, 100 * mean, color=look.first, linewidth=1.5)
        axes[1].axhline(
            100 * np.mean(1 / (len(mean) + seen["step"].unique())),
            color=look.second,
            linestyle="--",
            linewidth=1,
        )
        axes[1].set(xlabel="bars from the origin", ylabel="attention, %", ylim=0)
        axis_title(axes[1], "TFT: bars", look)
        said.append(
            f"TFT weighs {past['input'].iloc[-1]} most and looks most at the bar {int(mean.idxmax())} back"
        )
    if "nhits" in parts:
        table, name = _rows(explanation.parts, symbol, "stack parts")
        stacks = list(dict.fromkeys(table["stack"]))
        _stacked(axes[-1], table, stacks[1:], "width", look)
        axes[-1].set(xlabel="steps ahead, bars", ylabel="log return, %")
        axis_title(axes[-1], f"N-HITS: change of the {LEVEL:.0%} width", look)
        handles, labels = axes[-1].get_legend_handles_labels()
        legend(figure, look, handles, labels, loc="outside lower right")
        change = (
            table[table["step"] == table["step"].max()]
            .set_index("stack")["width"]
            .drop(BASELINE)
            .sum()
        )
        said.append(f"N-HITS' stacks change the width by {100 * change:+.2f} points")
    headline(figure, f"{name}: {'; '.join(said)}", look)
    return figure
