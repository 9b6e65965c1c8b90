"""Figures of forecasts and of training; with those of viz.market and viz.explain_plots the whole gallery.

Every function returns the figure and never shows it. Titles state what the data say; `theme` is "light" or "dark".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import DataError
from ..forecast.result import Forecast
from .bars import (
    bar_axis,
    of_symbol,
    plain_axis,
    plot_candles,
    plot_repairs,
    plot_returns,
    plot_volatility_clustering,
    plotly_bars,
)
from .explanations import (
    plot_attention,
    plot_decomposition,
    plot_explanation,
    plot_selection,
    plot_selection_over_time,
)
from .importance import plot_importance
from .style import (
    MARKERS,
    canvas,
    count,
    fan_color,
    headline,
    legend,
    plotly_figure,
    price,
    price_pattern,
    short,
    shorten,
    signed,
    unit_of,
)

__all__ = [
    "plot_attention",
    "plot_candles",
    "plot_decomposition",
    "plot_explanation",
    "plot_forecast",
    "plot_importance",
    "plot_leaderboard",
    "plot_learning_curve",
    "plot_links",
    "plot_repairs",
    "plot_returns",
    "plot_selection",
    "plot_selection_over_time",
    "plot_volatility_clustering",
]

TINT = 0.13  # opacity of one band of the fan; the inner ones lie on the outer ones
ONE_OUTCOME = "One outcome, inside or outside, says nothing about the intervals: the share in the legend counts a year of them."
TWO_LOSSES = (
    "Training: with dropout and hidden inputs, of weights that still move. Validation: of averaged weights, with all "
    "on. So the gap between the two lines is no measure of overfitting."
)
MEANS = (
    "Lower is better, and lower than another's is no profit. Means of one sample: a small difference may be chance. "
    "The axis does not start at 0."
)


def plot_forecast(
    fc: Forecast,
    symbol: str | None = None,
    history: int = 60,
    interactive: bool = False,
    theme: str = "light",
    actual: pd.DataFrame | None = None,
    origin: Any = None,
) -> Any:
    """Fan chart: recent closes, the median and nested quantile bands, and the outcome where it is known.

    `origin` is one of the forecast's (None: the last). `actual` are bars that go on after it; without them the
    forecast's own bars are searched. One outcome inside or outside a band says nothing about its calibration:
    that is `coverage`, measured on a year of origins.
    Raises DataError on an unknown symbol or origin, ConfigError unless `history` is a whole number from 1.
    """
    history = count(history, "history")
    names = fc.frame["symbol"].unique()
    symbol = str(names[0]) if symbol is None else symbol
    part = of_symbol(fc.frame, symbol)
    origin = part["origin"].iloc[-1] if origin is None else origin
    part = part[part["origin"] == origin]
    if part.empty:
        raise DataError(
            f"{symbol} has no forecast from {origin!r}; choose one of the frame's origins."
        )
    past, path, after = _series(fc, symbol, origin, part, actual, history)
    move = part["median"].iloc[-1] / past["close"].iloc[-1] - 1
    unit = unit_of(of_symbol(fc.bars, symbol)["date"])
    title = (
        f"{short(symbol)}: median {signed(100 * move, 1)}% in {len(part)} {unit}{'s' * (len(part) > 1)}, "
        f"{100 * fc.level:.6g}% between {price(part['lower'].iloc[-1])} and {price(part['upper'].iloc[-1])}"
    )
    if len(after):
        last = after["close"].iloc[-1]
        inside = part["lower"].iloc[len(after) - 1] <= last <= part["upper"].iloc[len(after) - 1]
        when = f"after {len(after)} " if len(after) < len(part) else ""
        title += f"; {when}it came to {price(last)}, {'inside' if inside else 'outside'}"
    draw = _plotly_fan if interactive else _fan
    return draw(fc, part, past, path, after, title, theme)


def _series(
    fc: Forecast,
    symbol: str,
    origin: Any,
    part: pd.DataFrame,
    actual: pd.DataFrame | None,
    history: int,
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Bars up to the origin (columns x, close), x of the path from the origin on [H+1], and bars after it."""
    own = of_symbol(fc.bars if actual is None else actual, symbol)
    if isinstance(origin, pd.Timestamp):
        x, ahead = own["date"].to_numpy(), part["date"].to_numpy()
        at = int(np.searchsorted(x, origin.to_datetime64(), side="right")) - 1
    else:
        x, at = np.arange(len(own)), int(origin)
        ahead = at + part["step"].to_numpy()
    series = pd.DataFrame({"x": x, "close": own["close"].to_numpy()})
    past = series.iloc[max(at + 1 - history, 0) : at + 1]
    after = series.iloc[at + 1 : at + 1 + len(part)]
    return past, np.r_[past["x"].to_numpy()[-1:], ahead], after


def _bands(part: pd.DataFrame, start: float) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """(nominal level, lower [H+1], upper [H+1]) of each symmetric pair of quantiles, widest first."""
    columns = [c for c in part.columns if c.replace(".", "", 1).isdigit()]
    low = sorted((c for c in columns if float(c) < 0.5), key=float)
    pairs = [(c, f"{1 - float(c):.12g}") for c in low]
    return [
        (round(1 - 2 * float(a), 9), np.r_[start, part[a]], np.r_[start, part[b]])
        for a, b in pairs
        if b in columns
    ]


def _label(fc: Forecast, part: pd.DataFrame, level: float) -> str:
    """A band's name; that of the forecast's own interval says how many outcomes such intervals held."""
    return (
        fc.caption(str(part["symbol"].iloc[0]))
        if _same(level, fc.level)
        else f"{100 * level:.6g}% interval"
    )


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-9


def _fan(fc, part, past, path, after, title: str, theme: str) -> Figure:
    figure, ax, look = canvas(theme, caption=ONE_OUTCOME if len(after) else "")
    close = float(past["close"].iloc[-1])
    at = bar_axis(ax, np.r_[past["x"].to_numpy(), path[1:]])
    ahead = at[len(past) - 1 :]
    bands = _bands(part, close)
    for i, (level, low, high) in enumerate(bands):
        ax.fill_between(
            ahead, low, high, color=look.first, alpha=TINT, linewidth=0, zorder=2 + i * 0.01
        )
        if level in (bands[0][0], bands[-1][0]) or _same(level, fc.level):
            depth = 1 - (1 - TINT) ** (
                i + 1
            )  # what lies on top of each other there, for the legend
            edge = (
                {"edgecolor": look.first, "linestyle": ":"}
                if _same(level, fc.level)
                else {"edgecolor": "none"}
            )
            face = to_rgba(look.first, depth)
            ax.fill_between(
                [], [], facecolor=face, linewidth=0.8, label=_label(fc, part, level), **edge
            )
    for bound in ("lower", "upper"):
        ax.plot(ahead, np.r_[close, part[bound]], color=look.first, linewidth=0.8, linestyle=":")
    ax.plot(at[: len(past)], past["close"], color=look.ink, linewidth=1.3, label="close")
    ax.plot(ahead, np.r_[close, part["median"]], color=look.first, linewidth=1.8, label="median")
    if len(after):
        ax.plot(
            ahead[: len(after) + 1],
            np.r_[close, after["close"]],
            color=look.second,
            linewidth=1.3,
            linestyle="--",
            marker="o",
            markersize=3.5,
            markevery=slice(1, None),
            label="what came",
            zorder=5,
        )
    ax.set_xlabel("date" if path.dtype.kind == "M" else "bar number")
    ax.set_ylabel("price")
    ax.margins(x=0.02, y=0.08)
    plain_axis(ax.yaxis, past["close"])
    legend(figure, look, loc="outside lower center")
    headline(figure, title, look)
    return figure


def _plotly_fan(fc, part, past, path, after, title: str, theme: str) -> Any:
    figure, look = plotly_figure(title, theme)
    label, close = "date" if path.dtype.kind == "M" else "bar number", float(past["close"].iloc[-1])
    x, axis = plotly_bars(np.r_[past["x"].to_numpy(), path[1:]])
    path = x[len(past) - 1 :]
    bands, pattern = _bands(part, close), price_pattern(past["close"])
    for i, (level, low, high) in enumerate(bands):
        fill = fan_color(look.first, i / max(len(bands) - 1, 1))
        edge = {"mode": "lines", "line": {"width": 0}, "legendgroup": f"{level}"}
        figure.add_scatter(x=path, y=high, **edge, showlegend=False, hoverinfo="skip")
        figure.add_scatter(
            x=path,
            y=low,
            **edge,
            fill="tonexty",
            fillcolor=fill,
            name=_label(fc, part, level),
            showlegend=_same(level, fc.level) or level == bands[0][0],
            customdata=high,
            hovertemplate=f"%{{y:{pattern}}} to %{{customdata:{pattern}}}",
        )
    plain = {"mode": "lines", "hovertemplate": f"%{{y:{pattern}}}"}
    figure.add_scatter(
        x=x[: len(past)],
        y=past["close"],
        name="close",
        line={"color": look.ink, "width": 1.6},
        **plain,
    )
    median = np.r_[close, part["median"]]
    figure.add_scatter(
        x=path, y=median, name="median", line={"color": look.first, "width": 2.2}, **plain
    )
    if len(after):
        figure.add_scatter(
            x=path[1 : len(after) + 1],
            y=after["close"],
            name="what came",
            mode="lines+markers",
            line={"color": look.second, "dash": "dash"},
            hovertemplate=plain["hovertemplate"],
        )
    figure.update_layout(
        xaxis={"title": {"text": label}, **axis},
        yaxis={"title": {"text": "price"}, "tickformat": pattern},
    )
    return figure


def plot_learning_curve(
    history: list[dict[str, float]],
    baseline: float | None = None,
    name: str = "network",
    theme: str = "light",
) -> Figure:
    """Training and validation loss by epoch (Fit.history), with the loss of the volatility baseline.

    The training loss is measured with dropout and hidden inputs on, of weights that still move; the validation
    loss is of averaged weights with everything on. A gap between the two is therefore no measure of overfitting.
    """
    table = pd.DataFrame(history)
    if table.empty:
        raise DataError("The learning curve has no epoch; train for at least one.")
    figure, ax, look = canvas(theme, caption=TWO_LOSSES)
    dots = {"markersize": 3.5 if len(table) < 40 else 0}
    ax.plot(table["epoch"], table["train"], "s--", color=look.quiet, label="training", **dots)
    ax.plot(table["epoch"], table["valid"], "o-", color=look.first, label="validation", **dots)
    title = f"{short(name)}: no validation loss; the training loss ends at {table['train'].iloc[-1]:.4f}"
    if table["valid"].notna().any():
        best = table.loc[table["valid"].idxmin()]
        title = f"{short(name)}: validation loss is lowest, {best['valid']:.4f}, after epoch {best['epoch']:.0f}"
        ax.plot(
            best["epoch"],
            best["valid"],
            "o",
            markersize=10,
            markerfacecolor="none",
            color=look.first,
        )
        if baseline is not None:
            change = best["valid"] / baseline - 1
            title += (
                f": {abs(change):.1%} {'below' if change < 0 else 'above'} its volatility baseline"
            )
    if baseline is not None:
        ax.axhline(
            baseline, color=look.second, linestyle=":", label="volatility baseline, validation"
        )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(
        xlabel="epoch",
        xlim=(0.5, table["epoch"].max() + 0.5),
        ylabel="mean pinball loss,\nin units of volatility·√step",
    )
    plain_axis(ax.yaxis, table[["train", "valid"]])
    legend(figure, look, loc="outside lower center")
    headline(figure, title, look)
    return figure


def plot_leaderboard(
    frame: pd.DataFrame,
    score: str = "loss",
    unit: str = "mean pinball loss × 10⁴",
    reference: str | None = None,
    theme: str = "light",
) -> Figure:
    """Forecasters by score, lower is better; `frame` has columns forecaster and `score`.

    `reference` names the row that the best is compared with (None: the worst). The axis does not start at 0, so
    dots are drawn, not bars. A difference of means is not yet a significant one. Raises DataError without any score.
    """
    table = frame.dropna(subset=score).sort_values(score, ascending=False, ignore_index=True)
    if table.empty:
        raise DataError("The leaderboard is empty; give at least one forecaster with a score.")
    best = table.iloc[-1]
    other = table.iloc[0]
    if reference is not None and (table["forecaster"] == reference).any():
        other = table[table["forecaster"] == reference].iloc[0]
    title = f"{short(best['forecaster'])} has the lowest loss, {_score(best[score])}"
    if other["forecaster"] != best["forecaster"]:
        title += f", {1 - best[score] / other[score]:.1%} below {short(other['forecaster'])}"
    figure, ax, look = canvas(theme, size=(8, 1.2 + 0.3 * len(table)), caption=MEANS)
    at = np.arange(len(table))
    ax.hlines(at, table[score].min(), table[score], color=look.faint, linewidth=1)
    ax.axvline(float(other[score]), color=look.second, linestyle=":", linewidth=1)
    ax.plot(table[score], at, "o", color=look.first, markersize=7)
    for y, value in zip(at, table[score]):  # beside the axes, where no line crosses them
        where = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
        ax.annotate(_score(value), (1.015, y), fontsize=9, color=look.ink, **where)
    ax.set_yticks(at, [shorten(str(name), 2.5, 9) for name in table["forecaster"]])
    ax.set_xlabel(
        f"{unit} (lower is better; dotted: {shorten(str(other['forecaster']), 1.6, 9.5)})"
    )
    ax.grid(False)
    ax.margins(x=0.04)
    ax.set_ylim(-0.6, len(table) - 0.4)
    plain_axis(ax.xaxis, table[score])
    headline(figure, title, look)
    return figure


def _score(value: float) -> str:
    return f"{value:,.2f}" if 1 <= abs(value) < 1e7 else f"{value:.4g}"


def plot_links(forecasts: Mapping[str, Forecast], symbol: str, theme: str = "light") -> Figure:
    """Medians and intervals of several forecasts of one symbol's last origin side by side, a colour and a marker each.

    `forecasts` maps labels to them, such as the links of the chain. Raises DataError on a symbol they don't have.
    """
    figure, ax, look = canvas(theme)
    colors = look.series
    widths, at = [], 0.0
    for i, (name, fc) in enumerate(forecasts.items()):
        own = of_symbol(fc.frame, symbol).groupby("step").last()
        close = float(of_symbol(fc.bars, symbol)["close"].iloc[-1])
        low, middle, high = (100 * (own[c] / close - 1) for c in ("lower", "median", "upper"))
        at = own.index + 0.8 * ((i + 0.5) / len(forecasts) - 0.5)
        style = {"color": colors[i % len(colors)], "fmt": MARKERS[i % len(MARKERS)]}
        ax.errorbar(
            at,
            middle,
            [middle - low, high - middle],
            label=shorten(str(name), 3.4, 8.5),
            capsize=2,
            markersize=4.5,
            **style,
        )
        widths.append(float(high.iloc[-1] - low.iloc[-1]))
    ax.set(xlabel="steps ahead", ylabel="change from the last close, %")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, look, loc="outside lower center")
    last, level = int(own.index[-1]), 100 * next(iter(forecasts.values())).level
    narrow, wide = (f"{w:.1f}%" for w in (min(widths), max(widths)))
    width = f"{narrow} to {wide}" if narrow != wide else narrow
    headline(
        figure,
        f"{short(symbol)}: whoever answers, the {level:g}% interval of step {last} is {width} of the price wide",
        look,
    )
    return figure
