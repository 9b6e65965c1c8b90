"""Figures of forecasts and of training: fan chart, learning curve, leaderboard, comparison.

In all of them `theme` is "light" or "dark"; an unknown one raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import DataError
from ..forecast.result import Forecast, quantile_columns
from . import style
from .bars import bar_axis, of_symbol, plotly_bars

TINT = 0.13  # opacity of one band of the fan; the inner ones lie on the outer ones
ONE_OUTCOME = (
    "One outcome says nothing about the intervals: the legend's share counts a year of them."
)
TWO_LOSSES = (
    "Training has dropout and weights that still move, validation averaged ones: the gap between "
    "the two lines is no measure of overfitting."
)
MEANS = "Means of one sample: a small difference may be chance. The axis does not start at 0."


@dataclass(frozen=True)
class Fan:
    """What a fan chart draws of one symbol and origin: n past bars, H steps."""

    x: np.ndarray  # [n + H] dates or bar numbers
    close: np.ndarray  # [n], the origin's last
    path: pd.DataFrame  # H + 1 rows, the origin's close first: median, lower, upper
    bands: list[tuple[str, pd.Series, pd.Series]]  # name, lower, upper; widest first
    interval: str  # name of the band that is the forecast's interval
    outcome: np.ndarray  # [at most H + 1] closes from the origin on, as far as they are known
    label: str  # of the x axis


def plot_forecast(
    fc: Forecast,
    symbol: str | None = None,
    history: int = 60,
    interactive: bool = False,
    theme: str = "light",
    actual: pd.DataFrame | None = None,
    origin: Any = None,
) -> Any:
    """Fan chart: recent closes, the median, nested quantile bands, and the outcome if it is known.

    One outcome inside or outside a band says nothing about its calibration: that is the coverage
    in the legend, measured on a year of its origins. The caption has the symbol's warnings.

    Parameters
    ----------
    symbol : one of the forecast's (None: the first); DataError on an unknown one.
    history : how many bars before the origin; ConfigError unless a whole number from 1.
    interactive : a plotly figure instead of matplotlib's.
    actual : bars that go on after the origin (None: the forecast's own bars are searched).
    origin : one of the forecast's (None: the last); DataError on an unknown one.
    """
    history = style.count(history, "history")
    path = of_symbol(fc.frame, symbol)
    symbol = str(path["symbol"].iloc[0])
    origin = path["origin"].iloc[-1] if origin is None else origin
    path = path[path["origin"] == origin]
    if path.empty:
        raise DataError(f"{symbol} has no forecast from {origin!r}; choose one of the frame's.")
    fan = fan_of(fc, path, of_symbol(fc.bars if actual is None else actual, symbol), history)
    title = _fan_title(fc, fan, symbol)
    sentences = [ONE_OUTCOME] if len(fan.outcome) > 1 else []
    caption = " ".join([*sentences, *fc.reports[symbol].warnings])
    caption = caption.replace(symbol, style.shorten(symbol))
    draw = _draw_plotly if interactive else _draw
    return draw(fan, title, caption, theme)


def fan_of(fc: Forecast, path: pd.DataFrame, bars: pd.DataFrame, history: int) -> Fan:
    """One symbol's bars and the path of one origin, side by side."""
    origin, close = path["origin"].iloc[0], bars["close"].to_numpy()
    dated = isinstance(origin, pd.Timestamp)
    if dated:
        x, ahead = bars["date"].to_numpy(), path["date"].to_numpy()
        last = int(np.searchsorted(x, origin.to_datetime64(), side="right")) - 1
    else:
        x, last = np.arange(len(bars)), int(origin)
        ahead = last + path["step"].to_numpy()
    past = slice(max(last + 1 - history, 0), last + 1)
    # quantiles, the origin's close in front
    levels = quantile_columns(path)
    columns = ["median", "lower", "upper", *levels]
    start = pd.DataFrame({column: [close[last]] for column in columns})
    whole = pd.concat([start, path[columns]], ignore_index=True)
    interval = fc.caption(str(path["symbol"].iloc[0]))
    bands = []
    for low in sorted(levels, key=float):
        high, nominal = f"{1 - float(low):.12g}", 1 - 2 * float(low)
        if nominal > 0 and high in levels:
            name = f"{100 * nominal:.6g}% interval"
            name = interval if abs(nominal - fc.level) < 1e-9 else name
            bands.append((name, whole[low], whole[high]))
    return Fan(
        x=np.concatenate([x[past], ahead]),
        close=close[past],
        path=whole,
        bands=bands,
        interval=interval,
        outcome=close[last : last + len(whole)],
        label="date" if dated else "bar number",
    )


def _fan_title(fc: Forecast, fan: Fan, symbol: str) -> str:
    steps, known, end = len(fan.path) - 1, len(fan.outcome) - 1, fan.path.iloc[-1]
    unit = style.unit_of(of_symbol(fc.bars, symbol)["date"]) + "s" * (steps > 1)
    move = 100 * (end["median"] / fan.close[-1] - 1)
    title = (
        f"{style.shorten(symbol)}: median {style.signed(move, 1)}% in {steps} {unit}, "
        f"{100 * fc.level:.6g}% between {style.price(end['lower'])} and {style.price(end['upper'])}"
    )
    if known:
        last, bounds = fan.outcome[-1], fan.path.iloc[known]
        where = "inside" if bounds["lower"] <= last <= bounds["upper"] else "outside"
        when = f"after {known} " if known < steps else ""
        title += f"; {when}it came to {style.price(last)}, {where}"
    return title


def _draw(fan: Fan, title: str, caption: str, theme: str) -> Figure:
    figure, ax, colors = style.canvas(theme, caption=caption)
    places = bar_axis(ax, fan.x)
    past, ahead = places[: len(fan.close)], places[len(fan.close) - 1 :]
    _draw_bands(ax, ahead, fan, colors)
    ax.plot(past, fan.close, color=colors.ink, linewidth=1.3, label="close")
    ax.plot(ahead, fan.path["median"], color=colors.first, linewidth=1.8, label="median")
    if len(fan.outcome) > 1:
        dots = {"markersize": 3.5, "markevery": slice(1, None), "linewidth": 1.3, "zorder": 5}
        x = ahead[: len(fan.outcome)]
        ax.plot(x, fan.outcome, "o--", color=colors.second, label="what came", **dots)
    ax.set(xlabel=fan.label, ylabel="price")
    ax.margins(x=0.02, y=0.08)
    style.plain_axis(ax.yaxis, fan.close)
    style.legend(figure, colors)
    return style.headline(figure, title, colors)


def _draw_bands(ax: Axes, ahead: np.ndarray, fan: Fan, colors: style.Theme) -> None:
    """Bands on top of each other, the inner ones darker, and a dotted edge around the interval."""
    named = (fan.bands[0][0], fan.bands[-1][0], fan.interval)
    dotted = {"color": colors.first, "linewidth": 0.8, "linestyle": ":"}
    for i, (name, low, high) in enumerate(fan.bands):
        area = {"color": colors.first, "alpha": TINT, "linewidth": 0, "zorder": 2 + i / 100}
        ax.fill_between(ahead, low, high, **area)
        if name in named:  # the legend shows what lies on top of each other there
            face = to_rgba(colors.first, 1 - (1 - TINT) ** (i + 1))
            edge = dotted if name == fan.interval else {}
            ax.fill_between([], [], label=name, **edge, facecolor=face)
    for bound in ("lower", "upper"):
        ax.plot(ahead, fan.path[bound], **dotted)


def _draw_plotly(fan: Fan, title: str, caption: str, theme: str) -> Any:
    figure, colors = style.plotly_figure(title, theme, caption)
    x, axis = plotly_bars(fan.x)
    past, ahead = x[: len(fan.close)], x[len(fan.close) - 1 :]
    pattern = style.price_pattern(fan.close)
    for i, (name, low, high) in enumerate(fan.bands):
        group = {"x": ahead, "mode": "lines", "line": {"width": 0}, "legendgroup": str(i)}
        figure.add_scatter(y=high, showlegend=False, hoverinfo="skip", **group)
        figure.add_scatter(
            y=low,
            fill="tonexty",
            fillcolor=style.fan_color(colors.first, i / max(len(fan.bands) - 1, 1)),
            name=name,
            showlegend=name == fan.interval or i == 0,
            customdata=high,
            hovertemplate=f"%{{y:{pattern}}} to %{{customdata:{pattern}}}",
            **group,
        )
    line = {"mode": "lines", "hovertemplate": f"%{{y:{pattern}}}"}
    ink, blue = {"color": colors.ink, "width": 1.6}, {"color": colors.first, "width": 2.2}
    figure.add_scatter(x=past, y=fan.close, name="close", line=ink, **line)
    figure.add_scatter(x=ahead, y=fan.path["median"], name="median", line=blue, **line)
    if len(fan.outcome) > 1:
        line |= {"mode": "lines+markers", "line": {"color": colors.second, "dash": "dash"}}
        x = ahead[1 : len(fan.outcome)]
        figure.add_scatter(x=x, y=fan.outcome[1:], name="what came", **line)
    figure.update_xaxes(title_text=fan.label, **axis)
    figure.update_yaxes(title_text="price", tickformat=pattern)
    return figure


def plot_learning_curve(
    history: list[dict[str, float]],
    baseline: float | None = None,
    name: str = "network",
    theme: str = "light",
    stopped: int | None = None,
) -> Figure:
    """Training and validation loss by epoch; a gap between them is no measure of overfitting.

    Parameters
    ----------
    history : Fit.history, a dict an epoch: epoch, train, valid; DataError if there is none.
    baseline : the validation loss of the volatility baseline; name : the network's.
    stopped : Fit.stopped, the epoch at which early stopping ended it; None: it did not.
    """
    table = pd.DataFrame(history)
    if table.empty:
        raise DataError("The learning curve has no epoch; train for at least one.")
    early = f"Early stopping ended the training after epoch {stopped}. " if stopped else ""
    figure, ax, colors = style.canvas(theme, caption=early + TWO_LOSSES)
    size = 3.5 if len(table) < 40 else 0
    epoch, valid = table["epoch"], table["valid"]
    ax.plot(epoch, table["train"], "s--", color=colors.quiet, label="training", markersize=size)
    ax.plot(epoch, valid, "o-", color=colors.first, label="validation", markersize=size)
    title = f"no validation loss; the training loss ends at {table['train'].iloc[-1]:.4f}"
    if valid.notna().any():
        best, lowest = epoch[valid.idxmin()], valid.min()
        ax.plot(best, lowest, "o", markersize=10, markerfacecolor="none", color=colors.first)
        title = f"validation loss is lowest, {lowest:.4f}, after epoch {best:.0f}"
        if baseline is not None:
            change = lowest / baseline - 1
            side = "below" if change < 0 else "above"
            title += f": {abs(change):.1%} {side} its volatility baseline"
    if baseline is not None:
        dotted = {"color": colors.second, "linestyle": ":"}
        ax.axhline(baseline, label="volatility baseline, validation", **dotted)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel="epoch", xlim=(0.5, epoch.max() + 0.5))
    ax.set_ylabel("mean pinball loss,\nin units of volatility·√step")
    style.plain_axis(ax.yaxis, table[["train", "valid"]])
    style.legend(figure, colors)
    return style.headline(figure, f"{style.shorten(name)}: {title}", colors)


def plot_leaderboard(
    frame: pd.DataFrame, reference: str | None = None, theme: str = "light"
) -> Figure:
    """Forecasters by loss, lower is better; a difference of means is not yet a significant one.

    Parameters
    ----------
    frame : the columns forecaster and loss (× 10⁴); DataError where no forecaster has a loss.
    reference : the forecaster that the best is compared with (None: the worst).
    """
    table = frame.dropna(subset="loss").sort_values("loss", ascending=False, ignore_index=True)
    if table.empty:
        raise DataError("The leaderboard is empty; give at least one forecaster with a loss.")
    names, values = table["forecaster"].astype(str), table["loss"]
    place = int((names == reference).argmax())  # the first, which is the worst, if there is none
    other, best = names[place], names.iloc[-1]
    title = f"{style.shorten(best)} has the lowest loss, {style.price(values.iloc[-1])}"
    if other != best:
        title += f", {1 - values.iloc[-1] / values[place]:.1%} below {style.shorten(other)}"
    figure, ax, colors = style.canvas(theme, size=(8, 1.2 + 0.3 * len(table)), caption=MEANS)
    ax.hlines(table.index, values.min(), values, color=colors.faint, linewidth=1)
    ax.axvline(values[place], color=colors.second, linestyle=":", linewidth=1)
    ax.plot(values, table.index, "o", color=colors.first, markersize=7)
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    for row, value in enumerate(values):  # beside the axes, where no line crosses them
        ax.annotate(style.price(value), (1.015, row), fontsize=9, color=colors.ink, **beside)
    ax.set_yticks(table.index, [style.shorten(name) for name in names])
    label = f"mean pinball loss × 10⁴ (lower is better; dotted: {style.shorten(other, 20)})"
    ax.set_xlabel(label)
    ax.grid(False)
    ax.margins(x=0.04)
    ax.set_ylim(-0.6, len(table) - 0.4)
    style.plain_axis(ax.xaxis, values)
    return style.headline(figure, title, colors)


def plot_comparison(forecasts: Mapping[str, Forecast], symbol: str, theme: str = "light") -> Figure:
    """Medians and intervals of several forecasts of one symbol's last origin, side by side.

    Parameters
    ----------
    forecasts : by their labels, such as the models of the fallback chain.
    symbol : one that all of them have; else DataError.
    """
    figure, ax, colors = style.canvas(theme)
    widths = []
    for i, (name, fc) in enumerate(forecasts.items()):
        path = of_symbol(fc.frame, symbol).groupby("step").last()
        close = float(of_symbol(fc.bars, symbol)["close"].iloc[-1])
        change = 100 * (path[["lower", "median", "upper"]] / close - 1)
        low, middle, high = change["lower"], change["median"], change["upper"]
        x = path.index + 0.8 * ((i + 0.5) / len(forecasts) - 0.5)
        error, label = [middle - low, high - middle], style.shorten(name, 40)
        marks = {"color": colors.series[i % 6], "fmt": style.MARKERS[i % 6], "markersize": 4.5}
        ax.errorbar(x, middle, error, label=label, capsize=2, **marks)
        widths.append(high.iloc[-1] - low.iloc[-1])
    ax.set(xlabel="steps ahead", ylabel="change from the last close, %")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(figure, colors)
    width = " to ".join(dict.fromkeys(f"{w:.1f}%" for w in (min(widths), max(widths))))
    title = (
        f"{style.shorten(symbol)}: whoever answers, the {100 * fc.level:g}% interval "
        f"of step {path.index[-1]} is {width} of the price wide"
    )
    return style.headline(figure, title, colors)
