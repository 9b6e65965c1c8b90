"""Figures of whole bars ahead: the candle cloud, what is touched, what may be lost.

All are plotly's. `symbol` is one of the forecast's (None: the first), `theme` "light" or "dark"; an
unknown symbol raises DataError, an unknown theme ConfigError. Small print has the warnings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..forecast.paths import Paths, paths_of
from ..forecast.result import Forecast
from . import style
from .bars import candlestick, of_symbol, plotly_bars

PRICES = 81  # of the map of touches
EDGE = 0.005  # share of the highest highs, and of the lowest lows, beyond that map
DRAWN = "Paths are drawn from the forecast; they know no news, and the past that they copy is one."


def median_candles(paths: Paths, number: int, level: float) -> pd.DataFrame:
    """By step, medians of a symbol's paths: open, high, low, close and range (high over low).

    And whiskers: half of what `level` leaves has lows below `lower`, as much highs above `upper`;
    `inside` is the share of whole bars between. Paths of closes alone make candles without a body.
    """
    bars = {name: values[:, number] for name, values in paths.bars.items()}
    for name in ("open", "high", "low"):
        bars[name] = np.where(np.isnan(bars[name]), bars["close"], bars[name])
    names = ("open", "high", "low", "close")
    table = pd.DataFrame({name: np.median(bars[name], axis=-1) for name in names})
    table["range"] = np.median(bars["high"] / bars["low"], axis=-1)
    table["lower"] = np.quantile(bars["low"], (1 - level) / 2, axis=-1)
    table["upper"] = np.quantile(bars["high"], (1 + level) / 2, axis=-1)
    lower, upper = table[["lower", "upper"]].to_numpy().T[..., None]
    table["inside"] = ((bars["low"] >= lower) & (bars["high"] <= upper)).mean(-1)
    table.index += 1
    return table.rename_axis("step")


def candle_boxes(table: pd.DataFrame, x: Any, color: str, **more: Any) -> dict[str, Any]:
    """Boxes for plotly from `table`'s low to its high, a line at the close, and its whiskers."""
    parts = {"q1": "low", "median": "close", "q3": "high"}
    parts |= {"lowerfence": "lower", "upperfence": "upper"}
    return {
        "x": x,
        **{name: table[column].tolist() for name, column in parts.items()},
        "line": {"color": color, "width": 1.5},
        "fillcolor": style.see_through(color, 0.3),
        **more,
    }


def plot_paths(
    fc: Forecast,
    symbol: str | None = None,
    history: int = 40,
    seed: int = 0,
    theme: str = "light",
) -> Any:
    """Candle cloud: recent candles, then each step's median low, high and close, with whiskers.

    `history` is how many bars before the origin; ConfigError unless a whole number from 1.
    """
    symbol = _name(fc, symbol)
    paths = paths_of(fc, seed=seed)
    number = paths.symbol.tolist().index(symbol)
    ahead, end = median_candles(paths, number, fc.level), paths.origin[number]
    bars, dated = of_symbol(fc.bars, symbol), paths.origin.dtype.kind == "M"
    x = bars["date"].to_numpy() if dated else np.arange(len(bars))
    known = np.flatnonzero(x <= end)[-style.count(history, "history") :]
    steps = paths.date[:, number] if dated else end + ahead.index
    x, axis = plotly_bars(np.concatenate([x[known], steps]))
    past, later = x[: len(known)], x[len(known) :]
    title, small = _cloud_title(ahead, fc, symbol), _small_print(fc, symbol)
    figure, colors = style.plotly_figure(title, theme, small, height=480)
    figure.add_candlestick(**candlestick(bars.iloc[known], past, colors, name="bars"))
    figure.add_box(**candle_boxes(ahead, later, colors.first, name="median bars ahead"))
    pattern, axis_name = style.price_pattern(ahead), "date" if dated else "bar number"
    figure.update_xaxes(rangeslider_visible=False, title_text=axis_name, **axis)
    figure.update_yaxes(title_text="price", tickformat=pattern, hoverformat=pattern)
    return figure


def _cloud_title(ahead: pd.DataFrame, fc: Forecast, symbol: str) -> str:
    first, last, unit = ahead.iloc[0], ahead.iloc[-1], _unit(fc, symbol)
    return (
        f"{style.shorten(symbol)}: the next {unit}'s high is {first['range'] - 1:.1%}"
        f" above its low in the median; {last['inside']:.0%} of bars {_times(len(ahead), unit)} "
        f"ahead lie between {style.price(last['lower'])} and {style.price(last['upper'])}"
    )


def plot_touch(fc: Forecast, symbol: str | None = None, theme: str = "light") -> Any:
    """How probable it is that a price is touched by each step; DataError with closes alone."""
    symbol = _name(fc, symbol)
    steps, unit = int(of_symbol(fc.frame, symbol)["step"].max()), _unit(fc, symbol)
    spread = fc.range([EDGE, 1 - EDGE], steps)
    ends = of_symbol(spread, symbol).set_index("what").iloc[:, -2:]
    low, high = ends.loc["low"].iloc[0], ends.loc["high"].iloc[1]
    if np.isnan(low):
        raise DataError(f"No touches are known: {' '.join(spread.attrs['warnings'])}")
    told = fc.touch({symbol: np.linspace(low, high, PRICES)})
    title = f"{style.shorten(symbol)}: within {_times(steps, unit)} one path in two touches "
    title += ", one in two ".join(_even(told[told["step"] == steps]))
    small, pattern = _small_print(fc, symbol), style.price_pattern(told["price"])
    figure, colors = style.plotly_figure(title, theme, small, hovermode="closest")
    table = told.pivot_table(index="price", columns="step", values="probability")
    figure.add_contour(
        x=table.columns,
        y=table.index,
        z=100 * table,
        colorscale=[[0, colors.paper], [1, colors.first]],
        contours={"start": 10, "end": 90, "size": 20, "coloring": "heatmap", "showlabels": True},
        line={"color": colors.ink, "width": 1},
        colorbar={"title": {"text": "touched, %"}, "outlinewidth": 0},
        hovertemplate=f"%{{y:{pattern}}} by step %{{x}}: %{{z:.0f}}%<extra></extra>",
    )
    figure.update_xaxes(title_text=f"{unit}s ahead", dtick=max(steps // 10, 1))
    figure.update_yaxes(title_text="price", tickformat=pattern)
    return figure


def _even(told: pd.DataFrame) -> list[str]:
    """The prices above and below that half of the paths touch by a step."""
    found = []
    for _, side in told.groupby("side"):
        side = side.sort_values("probability")
        price, move = (np.interp(0.5, side["probability"], side[k]) for k in ("price", "percent"))
        found.append(f"{style.price(price)} ({style.signed(move, 1)}%)")
    return found


def plot_risk(
    fc: Forecast,
    symbol: str | None = None,
    weights: Mapping[str, float] | None = None,
    levels: Sequence[float] = (0.05, 0.025, 0.01),
    position: str = "long",
    theme: str = "light",
) -> Any:
    """Ladder of value at risk and expected shortfall by step, in percent of the position.

    `weights`, `levels` and `position` ("long", "short") are Forecast.risk's; with weights it is the
    portfolio's.
    """
    told = fc.risk(position, weights, levels)
    table = of_symbol(told, "portfolio" if weights else symbol)
    name = str(table["symbol"].iloc[0])
    last = table[table["level"] == levels[0]].iloc[-1]
    title = (
        f"{style.shorten(name)}, {position}: after {_times(int(last['step']), _unit(fc, name))} "
        f"{100 * levels[0]:.3g}% of paths have lost more than {last['var']:.1%}, "
        f"{last['es']:.1%} on average"
    )
    figure, colors = style.plotly_figure(title, theme, _small_print(fc, name))
    names = {"var": ("value at risk", "solid"), "es": ("expected shortfall", "dash")}
    for i, level in enumerate(levels):
        rung = table[table["level"] == level]
        for column, (words, dash) in names.items():
            figure.add_scatter(
                x=rung["step"],
                y=100 * rung[column],
                name=f"{100 * level:.3g}%: {words}",
                line={"color": colors.series[i % len(colors.series)], "dash": dash},
                hovertemplate="%{y:.1f}%",
            )
    figure.update_traces(mode="lines+markers")
    figure.update_xaxes(title_text=f"{_unit(fc, name)}s ahead", dtick=1)
    figure.update_yaxes(title_text="loss, % of the position", rangemode="tozero")
    return figure


def _name(fc: Forecast, symbol: str | None) -> str:
    return str(of_symbol(fc.frame, symbol)["symbol"].iloc[0])


def _unit(fc: Forecast, name: str) -> str:
    symbol = name if name in fc.reports else None
    return style.unit_of(of_symbol(fc.bars, symbol)["date"])


def _times(count: int, unit: str) -> str:
    return f"{count} {unit}{'s' * (count > 1)}"


def _small_print(fc: Forecast, name: str) -> str:
    warnings = fc.reports[name].warnings if name in fc.reports else []
    return " ".join([DRAWN, *warnings]).replace(name, style.shorten(name))
