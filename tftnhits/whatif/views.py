"""What is shown of a comparison: both fans, live (plotly) or drawn (matplotlib), and tables."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.features import in_words
from ..errors import MissingDependency
from ..viz import style
from ..viz.bars import bar_axis, plotly_bars
from ..viz.paths import candle_boxes
from ..viz.style import Picture, Theme, price, signed
from .shock import NOTHING, PRICES, Comparison, when

RECENT = 30  # bars in a picture
TOP = 10  # inputs, and bars, in a table
FANS = {"before": "forecast", "after": "shocked"}
LIMITS = (
    "Both say what this model makes of what it is shown, not what such a bar would cause, nor "
    "that it is right about bars that it has seldom seen; one outcome proves neither right."
)
READING = (
    "Percent below a price: of the close that its forecast starts from. Change: the shocked price "
    "over the other; width: of the interval, in percent of that close."
)
NO_PROOF = (
    "TFT's selection weights (mean over the bars that it sees) and attention (mean over the steps "
    "ahead) say where it looked, not that an input or a bar made the forecast. N-HITS has none."
)


@dataclass
class Layer:
    """A line of the picture through the closes or medians, and the fan or the sticks around it."""

    name: str
    bars: pd.DataFrame  # x, close, and low and high or lower, upper and quantiles
    color: str
    dash: str  # matplotlib's
    marker: str = ""
    stick: str = ""  # color of the lines from low to high
    candles: bool = False  # instead of the fan's bands


def _layers(c: Comparison, theme: Theme, candles: bool) -> list[Layer]:
    """From back to front; one that isn't there has no bars, so that each keeps its number."""
    past, made = c.past.tail(RECENT).reset_index(names="x"), c.changed.reset_index(names="x")
    made.loc[:0, ["low", "high"]] = np.nan  # this one is real
    came = pd.concat([c.past.tail(1), c.came] if len(c.came) else [c.came]).reset_index(names="x")
    ahead = (c.candles if candles else c.fans).values()
    before, after = (fan.rename(columns={"median": "close"}) for fan in ahead)
    after = after.head(0 if c.shock == NOTHING else len(after))
    drawn = "median candles" if candles else f"{100 * c.before.level:g}% interval"
    return [
        Layer("close, low to high", past, theme.ink, "-", stick=theme.faint),
        Layer(f"forecast, {drawn}", before, theme.first, "-", "o", candles=candles),
        Layer(f"shocked, {drawn}", after, theme.second, "--", "D", candles=candles),
        Layer("assumed", made, theme.second, ":", stick=theme.second),
        Layer("what came", came, theme.ink, ":", "o"),
    ]


def _bands(fan: pd.DataFrame) -> list[tuple[str, str]]:
    """Bounds of the bands: the interval, and 50% if the model has such quantiles."""
    return [("lower", "upper"), ("0.25", "0.75") if "0.25" in fan else ("close", "close")]


def _places(layers: list[Layer]) -> np.ndarray:
    """Where on the axis there is a bar [N], in order."""
    return np.unique(np.concatenate([layer.bars["x"] for layer in layers if len(layer.bars)]))


def plot_what_if(comparison: Comparison, theme: str = "light", candles: bool = False) -> Picture:
    """Recent bars, both forecasts as fans or candles, what is assumed and what came."""
    figure, ax, colors = style.canvas(theme, caption=LIMITS)
    layers = _layers(comparison, colors, candles)
    x = _places(layers)
    places = pd.Series(bar_axis(ax, x), x)
    for layer in layers:
        bars, x = layer.bars, places[layer.bars["x"]]
        line = {"color": layer.color, "linestyle": layer.dash}
        if not len(bars):
            continue
        if layer.candles:  # side by side: mostly they are of the same dates
            x = x + (0.2 if layer.marker == "D" else -0.2)
            ax.vlines(x, bars["low"], bars["high"], color=layer.color, linewidth=6, alpha=0.4)
            ax.vlines(x, bars["lower"], bars["upper"], color=layer.color, linewidth=0.9)
            line["linestyle"] = "none"
        elif layer.stick:
            ax.vlines(x, bars["low"], bars["high"], color=layer.stick, linewidth=1.2)
        elif "lower" in bars:
            for lower, upper in _bands(bars):
                ax.fill_between(x, bars[lower], bars[upper], color=layer.color, alpha=0.18, lw=0)
            ax.plot(x, bars[["lower", "upper"]], linewidth=0.9, **line)
        ax.plot(x, bars["close"], marker=layer.marker, markersize=4, label=layer.name, **line)
    ax.set(xlabel=comparison.axis, ylabel="price")
    ax.margins(x=0.02, y=0.08)
    style.plain_axis(ax.yaxis, comparison.past["close"].tail(RECENT))
    style.legend(figure, colors, loc="outside lower center", ncols=5)
    style.headline(figure, comparison.finding(candles), colors)
    return figure


class DrawnPicture:
    """A matplotlib picture in an image widget: for Colab, and where plotly is old or missing."""

    def __init__(self, theme: str | None):
        import ipywidgets

        self.theme = theme or "light"  # an image can't know what it is on
        style.theme_of(self.theme)  # raises ConfigError
        self.image = ipywidgets.Image(format="png", layout={"max_width": "880px"})
        self.widgets = [self.image]

    def draw(self, comparison: Comparison, candles: bool = False) -> None:
        """Show another comparison."""
        buffer = io.BytesIO()
        figure = plot_what_if(comparison, self.theme, candles)
        # fixed margins: to lay out every text anew would take longer than to draw
        figure.set_layout_engine(None)
        figure.body.subplots_adjust(left=0.09, right=0.98, top=0.87, bottom=0.22)
        figure.canvas.print_png(buffer, pil_kwargs={"compress_level": 1})
        self.image.value = buffer.getvalue()


class LivePicture:
    """A plotly figure in the page, whole with each answer; MissingDependency where none works.

    Without a theme the page gets it in both, and shows the one that its own text stands out from.
    """

    def __init__(self, theme: str | None):
        import ipywidgets

        self.theme, self.follows = theme or "light", theme is None
        style.theme_of(self.theme)  # raises ConfigError
        self.figure: Any = None  # the last that was drawn
        self.source = ipywidgets.HTML()  # never shown: what it holds is drawn by page/picture.js
        try:
            from plotly.offline import get_plotlyjs

            plot = _scripted(get_plotlyjs() + _script("picture.js"), source=self.source.model_id)
        except ImportError as error:
            raise MissingDependency(
                "Live figures need plotly 6 and anywidget: pip install 'tftnhits[notebook]'."
            ) from error
        plot.add_class("tftnhits-plot")
        self.widgets = [plot]

    def draw(self, comparison: Comparison, candles: bool = False) -> None:
        """Show another comparison; a zoom stays until another symbol is chosen."""
        self.figure = _figure(comparison, self.theme, candles)
        shown = {**json.loads(self.figure.to_json()), "title": comparison.finding(candles)}
        if self.follows:
            shown["dark"] = json.loads(_figure(comparison, "dark", candles).to_json())
        self.source.value = json.dumps(shown)


def _figure(c: Comparison, theme: str, candles: bool) -> Any:
    """plot_what_if for plotly, as high as its place in the page (page/panel.css)."""
    figure, colors = style.plotly_figure("", theme, margin={"l": 60, "r": 15, "t": 5, "b": 20})
    legend = {"y": 1.01, "yanchor": "bottom", "font_size": 11}  # as many rows as the width asks for
    figure.update_layout(height=None, yaxis_title_text="price", legend=legend)
    layers = _layers(c, colors, candles)
    x = _places(layers)
    places, axis = plotly_bars(x)
    if places.dtype.kind == "M":
        places = np.datetime_as_string(places, "D")
    for layer in layers:
        figure.add_traces(_traces(layer, pd.Series(places, x)))
    kind = {"type": "date" if c.axis == "date" else "linear"}
    title = "" if c.axis == "date" else c.axis
    figure.update_xaxes(**kind | axis, title_text=title, automargin=True)
    figure.update_yaxes(tickformat=style.price_pattern(c.past["close"].tail(RECENT)))
    return figure.update_layout(uirevision=c.symbol, boxmode="group")


def helper(address: Any) -> list[Any]:
    """A widget to put among controls, for what they lack in a page (page/controls.js).

    What the widget `address` has, a JSON object of texts by name, goes into the page's address.
    """
    if find_spec("anywidget") is None:
        return []
    return [_scripted(_script("controls.js"), source=address.model_id)]


def css() -> str:
    """The panel's looks, for an HTML widget."""
    return f"<style>\n{_script('panel.css')}</style>"


def _script(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _scripted(script: str, **texts: str) -> Any:
    """A widget that runs an ES module in the page, which can read `texts`."""
    import traitlets
    from anywidget import AnyWidget

    traits = {name: traitlets.Unicode(text).tag(sync=True) for name, text in texts.items()}
    return type("Scripted", (AnyWidget,), {"_esm": script, **traits})()


def _traces(layer: Layer, places: pd.Series) -> list[dict[str, Any]]:
    """A layer for plotly: its bands, if it is a fan, and its line."""
    bars, traces = layer.bars, []
    x = places[bars["x"]].tolist()  # lists: what is drawn can be read in the page
    text = bars["close"].map(price).tolist()
    line = {"color": layer.color, "dash": {"-": "solid", "--": "dash", ":": "dot"}[layer.dash]}
    if "lower" in bars:
        bounds = zip(text, bars["lower"], bars["upper"])
        text = [f"{median} ({price(low)} to {price(high)})" for median, low, high in bounds]
        bands = [] if layer.candles else _bands(bars)
        for (lower, upper), width in zip(bands, (1, 0)):
            y = np.r_[bars[upper], bars[lower][::-1]].tolist()
            band = {"x": [*x, *x[::-1]], "y": y}
            fill = {"fill": "toself", "fillcolor": style.fan_color(layer.color, 0.8 - width / 2)}
            quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
            traces.append({**band, **fill, **quiet, "line": {**line, "width": width}})
    trace = {"name": layer.name, "x": x, "y": bars["close"].tolist(), "visible": len(bars) > 0}
    trace |= {"text": text, "hovertemplate": "%{text}", "line": {**line, "width": 2}}
    trace["mode"] = "lines+markers" if layer.marker else "lines"
    trace["marker"] = {"symbol": "diamond" if layer.marker == "D" else "circle", "size": 6}
    if layer.candles:
        boxes = candle_boxes(bars, x, layer.color, name=layer.name, offsetgroup=layer.name)
        traces.append({"type": "box", **boxes, "hoverinfo": "skip", "visible": len(bars) > 0})
        if layer.marker == "D":
            traces[-1]["fillcolor"] = style.see_through(layer.color, 0)  # told without colour
        trace |= {"mode": "markers", "opacity": 0, "showlegend": False}  # there to be pointed at
    if layer.stick:
        up, down = bars["high"] - bars["close"], bars["close"] - bars["low"]
        sticks = {"array": up.tolist(), "arrayminus": down.tolist()}
        trace["error_y"] = {**sticks, "color": layer.stick, "width": 0}
    return [*traces, trace]


def table_html(c: Comparison) -> str:
    """Comparison.table as HTML; without a shock, of the forecast alone."""
    columns = {("", "step"): c.table.index}
    for which, group in FANS.items():
        part = c.table[which]
        if which == "after" and c.shock == NOTHING:
            continue
        if which == "before" or c.shock.bars:
            columns[group, c.axis.split()[0]] = part["x"].map(when)
        for name in PRICES:
            percent = part[f"{name} %"].map(lambda value: f"<br><small>{signed(value)}%</small>")
            columns[group, name] = part[name].map(price) + percent
    if c.shock != NOTHING:
        for name, values in c.table["change"].items():
            columns["change, %", name] = values.map(lambda value: signed(value, 1))
    return f"{_html(columns)}<p>{READING}</p>"


def drivers_html(c: Comparison) -> str:
    """Comparison.drivers as HTML: the inputs and the bars that TFT weighed most."""
    colors, html = style.theme_of("light").series, ""
    for name, table in zip(("past input", f"past {c.axis}"), c.drivers()):
        table = table.head(TOP)
        columns = {name: [escape(in_words(when(x))) for x in table.index]}
        if "return" in table:
            columns["return, %"] = table.pop("return").map(signed)
        if c.shock == NOTHING:
            table = table[["before"]]
        pixels = 60 / table.max(axis=None)
        for color, which in zip(colors, table):
            cells = [_bar(weight, pixels * weight, color) for weight in table[which]]
            columns[f"{FANS[which]}, %"] = cells
        html += _html(columns)
    return f"<div>{html}</div><p>{NO_PROOF}</p>"


def _bar(value: float, width: float, color: str) -> str:
    if np.isnan(value):  # this forecast doesn't see the bar
        return "–"
    return f'<i style="background:{color};width:{width:.0f}px"></i>{value:.1f}'


def _html(columns: dict) -> str:
    """A table of cells that are HTML already."""
    return pd.DataFrame(columns).to_html(escape=False, index=False, border=0)
