"""What the what-if panel shows of a comparison: the two fans, live or drawn afresh, and its tables as HTML."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import DataError, MissingDependency
from ..viz.bars import bar_axis, plain_axis, plotly_bars
from ..viz.style import (
    Picture,
    Theme,
    canvas,
    fan_color,
    headline,
    legend,
    plotly_figure,
    price,
    price_pattern,
    signed,
    text_width,
    theme_of,
)
from .shock import NOTHING, PRICES, Comparison

SHOWN = 30  # bars in a picture
INNER = ("0.25", "0.75")  # the fan's inner band
TOP = 10  # inputs, and days, that are shown
READING = "Percent below a price: of the close that its forecast starts from."
COMPARED = (
    "Change: the shocked price over the other; width: of the interval, in percent of that close. After more bars the "
    "same step lies on a later date."
)
LIMITS = (
    "Both fans say what this model makes of what it is shown. They don't say what such a bar would cause, nor that the "
    "model is right about a kind of bar that it has seldom seen; one outcome proves neither right."
)
RESPONSE = (
    "How this model's last step answers to another last bar at this origin, not how a market does. Few bars that it "
    "learnt from moved as far as those at either end."
)
NO_PROOF = (
    "TFT's selection weights, mean over the bars that it sees, and its attention, mean over the steps ahead. They say "
    "where this network looked, not that an input or a day made the forecast: other weights may give the same one. "
    "N-HITS has none."
)

_FAINT, _ALERT = theme_of("light").faint, theme_of("light").second
CSS = f"""<style>
.tftnhits-what-if {{ max-width: 1080px; }}
.tftnhits-what-if table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }}
.tftnhits-what-if th, .tftnhits-what-if td {{
    padding: 2px 6px; line-height: 1.35; text-align: right; white-space: nowrap; }}
.tftnhits-what-if thead tr:last-child th {{ border-bottom: 1px solid {_FAINT}; }}
.tftnhits-what-if th.group {{ text-align: center; }}
.tftnhits-what-if .first {{ border-left: 1px solid {_FAINT}; }}
.tftnhits-what-if td.name, .tftnhits-what-if th.name {{ text-align: left; }}
.tftnhits-what-if small {{ opacity: .8; font-size: 11px; }}
.tftnhits-what-if p {{ margin: 4px 0; line-height: 1.4; font-size: 13px; white-space: normal; opacity: .85; }}
.tftnhits-what-if .bar {{ display: inline-block; height: 9px; margin-right: 6px; }}
.tftnhits-what-if .pair {{ display: flex; flex-wrap: wrap; gap: 8px 36px; align-items: flex-start; }}
.tftnhits-title h3 {{ margin: 6px 0 0; font-size: 16px; line-height: 1.35; font-weight: 600; white-space: normal; }}
.tftnhits-status div {{ font-size: 13px; line-height: 1.4; white-space: normal; }}
.tftnhits-status .error {{ border-left: 5px solid {_ALERT}; padding: 3px 0 3px 8px; font-weight: 600; }}
.tftnhits-picture {{ position: relative; }}
.tftnhits-picture > * {{ width: 100%; }}
.tftnhits-picture > .tftnhits-fitter {{ position: absolute; inset: 0; margin: 0; pointer-events: none; }}
.tftnhits-table .widget-html-content {{ overflow-x: auto; }}
</style>"""


def plot_what_if(comparison: Comparison, theme: str = "light", titled: bool = True) -> Picture:
    """Recent bars, the forecast and the shocked one as fans (50% inside the interval), what is assumed and what came.

    `titled` False leaves out headline and caption, and fixes the margins: that takes half the time.
    """
    c, (figure, ax, look) = comparison, canvas(theme, caption=LIMITS if titled else "")
    bars = _bars(c)
    bar_axis(ax, bars)

    def at(part: pd.DataFrame) -> np.ndarray:
        return np.searchsorted(bars, part["x"].to_numpy())

    past = c.past.tail(SHOWN)
    ax.vlines(at(past), past["low"], past["high"], color=look.faint, linewidth=0.9, alpha=0.7)
    ax.plot(at(past), past["close"], color=look.ink, linewidth=1.3, label="close, low to high")
    _draw_fan(ax, c, "before", at(c.fans["before"]), look.first, "-", "o")
    if c.shock != NOTHING:
        _draw_fan(ax, c, "after", at(c.fans["after"]), look.second, "--", "D")
        made = c.changed.iloc[1:]
        ax.vlines(at(made), made["low"], made["high"], color=look.second, linewidth=2.2)
        ax.plot(
            at(c.changed),
            c.changed["close"],
            ":",
            color=look.second,
            linewidth=1.5,
            label="assumed",
        )
    if len(c.came):
        style = {"linestyle": ":", "marker": "o", "markerfacecolor": look.paper, "markersize": 4}
        came = _since(c)
        ax.plot(at(came), came["close"], color=look.ink, linewidth=1.2, label="what came", **style)
    ax.set(xlabel=c.axis, ylabel="price")
    ax.margins(x=0.02, y=0.08)
    plain_axis(ax.yaxis, past["close"])
    legend(figure, look, loc="outside lower center", ncols=5)
    if titled:
        headline(figure, c.title, look)
    else:
        figure.set_layout_engine("none")
        labels = ax.yaxis.get_major_formatter().format_ticks(ax.get_yticks())
        left = max(
            0.085, (0.32 + max(text_width(label, 9) for label in labels)) / figure.get_figwidth()
        )
        ax.set_position((left, 0.24, 0.99 - left, 0.74))
    return figure


def _draw_fan(
    ax: Any, c: Comparison, which: str, x: np.ndarray, color: str, dash: str, marker: str
) -> None:
    fan = c.fans[which]
    ax.fill_between(
        x, fan["lower"], fan["upper"], color=color, alpha=0.16, linewidth=0, label=_name(c, which)
    )
    if set(INNER) <= set(fan):
        ax.fill_between(x, fan[INNER[0]], fan[INNER[1]], color=color, alpha=0.22, linewidth=0)
    for bound in ("lower", "upper"):
        ax.plot(x, fan[bound], color=color, linewidth=0.9, linestyle=dash)
    style = {"color": color, "linewidth": 1.8, "markersize": 3.5, "markevery": slice(1, None)}
    ax.plot(x, fan["median"], linestyle=dash, marker=marker, **style)


def plot_sensitivity(table: pd.DataFrame, name: str, theme: str = "light") -> Picture:
    """what_if.sensitivity's table: median and width of the last step's interval over the last bar's move.

    The caption says what it does not show. Raises DataError on an empty table.
    """
    if table.empty:
        raise DataError("There is no shock to draw; give at least one.")
    by = table.set_index("change").sort_index()
    change, width = by.index.to_numpy(), by["width"].to_numpy()
    least = int(np.abs(change).argmin())  # no move, if that was asked for
    named = {
        i: f"after {change[i]:+g}%" if change[i] else "as it is" for i in (least, 0, len(by) - 1)
    }
    title = f"{name}: the {table.attrs.get('interval', 'interval')} is {width[least]:.1f}% wide {named.pop(least)}"
    title += "".join(f", {width[i]:.1f}% {how}" for i, how in named.items())
    title += f"; the median stays between {signed(by['median'].min())}% and {signed(by['median'].max())}%"
    figure, axes, look = canvas(theme, 1, 2, size=(8.0, 3.6), caption=RESPONSE)
    for ax, column, what in zip(axes, ("median", "width"), ("median", "width of the interval")):
        ax.plot(by.index, by[column], color=look.first, marker="o", markersize=4, linewidth=1.6)
        ax.axvline(0, color=look.faint, linewidth=0.8)
        ax.set(xlabel="move of the last bar's close, %", ylabel=f"{what}, % of that close")
    axes[0].axhline(0, color=look.faint, linewidth=0.8)
    axes[1].set_ylim(0)
    headline(figure, title, look)
    return figure


def _name(c: Comparison, which: str) -> str:
    return f"{'forecast' if which == 'before' else 'shocked'}, {100 * c.before.level:g}% interval"


def _bars(c: Comparison) -> np.ndarray:
    """Where on the axis there is a bar: dates or numbers, in order."""
    return np.unique(
        np.concatenate(
            [part["x"] for part in (c.past.tail(SHOWN), c.changed, c.came, *c.fans.values())]
        )
    )


def _since(c: Comparison) -> pd.DataFrame:
    """What came, from the origin on."""
    return pd.concat([c.past.tail(1), c.came]) if len(c.came) else c.came


class RedrawnPicture:
    """An Output that a matplotlib picture is drawn into, again and again."""

    def __init__(self, theme: str):
        import ipywidgets

        self.theme, self.output = theme, ipywidgets.Output()
        self.widgets = [self.output]

    def draw(self, comparison: Comparison) -> None:
        """Show another comparison."""
        from IPython.display import Image as Shown
        from IPython.display import display

        self.output.clear_output(wait=True)
        with self.output:
            display(Shown(self.png(comparison), format="png", width=880, alt=comparison.title))

    def png(self, comparison: Comparison) -> bytes:
        """The picture; drawn once, where savefig draws twice, and in few colours: a third of the bytes to send."""
        figure = plot_what_if(comparison, self.theme, titled=False)
        figure.canvas.draw()
        image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
        buffer = io.BytesIO()
        image.quantize(128, method=Image.Quantize.FASTOCTREE).save(buffer, "png", compress_level=1)
        return buffer.getvalue()


class LivePicture:
    """A FigureWidget whose lines are moved in place. Raises MissingDependency where there can be none."""

    def __init__(self, theme: str):
        figure, look = plotly_figure(
            "", theme, margin={"l": 60, "r": 15, "t": 10, "b": 80}, height=420
        )
        figure.add_traces([{"type": "scatter", **style} for style in _styles(look)])
        figure.update_layout(
            uirevision="kept", xaxis_title_text="date", yaxis_title_text="price", legend_y=-0.2
        )
        try:
            import plotly.graph_objects as go

            self.figure = go.FigureWidget(figure)
        except ImportError as error:
            raise MissingDependency(
                "Live figures need plotly 6 and anywidget: pip install 'tftnhits[notebook]', or choose 'matplotlib'."
            ) from error
        self.figure._config = {"responsive": True, "displaylogo": False}  # there is no public way
        self.widgets = [self.figure, *_fitters()]
        self.symbol = ""

    def draw(self, comparison: Comparison) -> None:
        """Show another comparison; a zoom stays until another symbol is chosen."""
        bars, another = _bars(comparison), comparison.symbol != self.symbol
        self.symbol = comparison.symbol
        places, axis = _axis(bars)
        pattern = price_pattern(comparison.past["close"].tail(SHOWN))
        if another:  # first off, since only changes are sent, and of a zoom the kernel doesn't hear
            self.figure.update_layout(xaxis_autorange=False, yaxis_autorange=False)
        with self.figure.batch_update():
            for line, new in zip(self.figure.data, _lines(comparison, pattern)):
                line.update(
                    {**new, "x": places[np.searchsorted(bars, new["x"].astype(bars.dtype))]}
                )
            for key, value in axis.items():
                self.figure.layout.xaxis[key] = value
            self.figure.layout.xaxis.title.text = comparison.axis
            self.figure.layout.yaxis.tickformat = pattern
            if another:
                self.figure.update_layout(xaxis_autorange=True, yaxis_autorange=True)
        self.figure._repr_mimebundle_()  # else Voila, and a page that is loaded again, show what was there at first


def _fitters() -> list[Any]:
    """What fits the figure into the page: it is drawn, 700 pixels wide, before it has a place, and would stay so."""
    try:
        from anywidget import AnyWidget
    except ImportError:
        return []
    script = """export default { render({ el }) {
        const sizes = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
        sizes.observe(el);
        return () => sizes.disconnect();
    } }"""
    fitter = type("Fitter", (AnyWidget,), {"_esm": script})()
    fitter.add_class("tftnhits-fitter")
    return [fitter]


def _styles(look: Theme) -> Iterator[dict[str, Any]]:
    """The lines of the plotly figure, in the order of `_lines`."""
    quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    yield {"mode": "lines", "line": {"color": look.ink, "width": 1.6}}
    yield {**quiet, "line": {"color": look.faint, "width": 1}}
    for color, dash, marker in ((look.first, "solid", "circle"), (look.second, "dash", "diamond")):
        band = {**quiet, "fill": "toself", "line": {"width": 0}}
        yield {**band, "fillcolor": fan_color(color, 0.3), "showlegend": True}
        yield {**band, "fillcolor": fan_color(color, 0.8)}
        yield {**quiet, "line": {"color": color, "width": 1, "dash": dash}}
        yield {
            "mode": "lines+markers",
            "line": {"color": color, "width": 2.2, "dash": dash},
            "marker": {"color": color, "symbol": marker, "size": 6},
            "showlegend": False,
        }
    yield {**quiet, "line": {"color": look.second, "width": 3}}
    yield {"mode": "lines", "line": {"color": look.second, "width": 2, "dash": "dot"}}
    yield {
        "mode": "lines+markers",
        "line": {"color": look.ink, "width": 1.4, "dash": "dot"},
        "marker": {"color": look.paper, "size": 7, "line": {"color": look.ink, "width": 1.4}},
    }


def _axis(bars: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What to give plotly for `bars` [N], and the settings of their axis; None takes back those of other bars."""
    dated, (places, own) = bars.dtype.kind == "M", plotly_bars(bars)
    places = (
        np.datetime_as_string(places, "D").astype(object) if places.dtype.kind == "M" else places
    )
    plain = dict.fromkeys(("rangebreaks", "categoryorder", "categoryarray", "tickvals", "ticktext"))
    return places, {**plain, "type": "date" if dated else "linear", **own}


def _lines(c: Comparison, pattern: str) -> Iterator[dict[str, Any]]:
    """What is in each line of the plotly figure; one that isn't there is empty. `pattern` is that of its prices.

    All have the same keys: in the browser a key that only some lines have would be lost in the others.
    """
    past = c.past.tail(SHOWN)
    hover = f"%{{y:{pattern}}}"
    between = f"{hover} (%{{customdata[0]:{pattern}}} to %{{customdata[1]:{pattern}}})"
    yield _line("close, low to high", past["x"], past["close"], hover)
    yield _apart("", past, ("low", "high"))
    for which, fan in c.fans.items():
        fan = fan if which == "before" or c.shock != NOTHING else fan.head(0)
        yield _band(_name(c, which), fan, ("lower", "upper"))
        yield _band(
            "",
            fan if set(INNER) <= set(fan) else fan.head(0).assign(**dict.fromkeys(INNER, 0.0)),
            INNER,
        )
        yield _line(
            "",
            [*fan["x"], *fan["x"].head(1), *fan["x"]],
            [*fan["lower"], *[np.nan][: len(fan)], *fan["upper"]],
        )
        yield _line(
            _name(c, which).split(",")[0], fan["x"], fan["median"], between, fan[["lower", "upper"]]
        )
    yield _apart("", c.changed.iloc[1:], ("low", "high"))
    for name, bars in (("assumed", c.changed), ("what came", _since(c))):
        yield _line(name, bars["x"], bars["close"], hover)


def _line(
    name: str, x: Iterable, y: Iterable, hover: str = "", more: pd.DataFrame | None = None
) -> dict[str, Any]:
    x, y = pd.Series(x).to_numpy(), np.asarray(y, float)
    more = None if more is None else more.to_numpy()
    return {
        "name": name,
        "x": x,
        "y": y,
        "visible": len(y) > 0,
        "hovertemplate": hover,
        "customdata": more,
    }


def _band(name: str, fan: pd.DataFrame, bounds: tuple[str, str]) -> dict[str, Any]:
    return _line(
        name, pd.concat([fan["x"], fan["x"][::-1]]), np.r_[fan[bounds[1]], fan[bounds[0]][::-1]]
    )


def _apart(name: str, bars: pd.DataFrame, bounds: tuple[str, str]) -> dict[str, Any]:
    """A line from one to the other for each bar."""
    gap = np.full(len(bars), np.nan)
    return _line(name, bars["x"].repeat(3), np.c_[bars[bounds[0]], bars[bounds[1]], gap].ravel())


def table_html(c: Comparison) -> str:
    """Comparison.table as HTML; without a shock, of the forecast alone."""
    cell, both = c.table.to_dict("list"), c.shock != NOTHING  # a frame's cells one by one take long
    axis = c.axis.split()[0]  # date, or bar
    groups = {"before": ("forecast", axis, *PRICES)}
    if both:
        groups["after"] = ("shocked", *[axis] * bool(c.shock.bars), *PRICES)
    top = [(name, len(columns)) for name, *columns in groups.values()] + [("change, %", 4)] * both
    head = "".join(f'<th class="group first" colspan="{n}">{name}</th>' for name, n in top)
    under = "".join(_cells("th", columns) for _, *columns in groups.values()) + _cells(
        "th", (*PRICES, "width") * both
    )
    rows = ""
    for i, step in enumerate(c.table.index):
        rows += f"<tr><td>{step}</td>"
        for part in groups:
            at = [when(cell[part, "x"][i])] * (len(groups[part]) > 4)
            shares = [f"<br><small>{signed(cell[part, f'{k} %'][i])}%</small>" for k in PRICES]
            rows += _cells(
                "td", [*at, *(price(cell[part, k][i]) + share for k, share in zip(PRICES, shares))]
            )
        rows += (
            _cells("td", [signed(cell["change", k][i], 1) for k in (*PRICES, "width") * both])
            + "</tr>"
        )
    return (
        f"<table><thead><tr><th></th>{head}</tr><tr><th>step</th>{under}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{READING} {COMPARED * both}</p>"
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(
        f"<{tag}{'' if i else ' class=first'}>{text}</{tag}>" for i, text in enumerate(texts)
    )


def when(x: Any) -> str:
    """A date without a time that says nothing; a bar's number as it is."""
    return f"{x}".removesuffix(" 00:00:00")


def drivers_html(c: Comparison, theme: str) -> str:
    """Comparison.drivers as HTML: the inputs and the days that TFT weighed most, with bars."""
    look, both, (inputs, days) = theme_of(theme), c.shock != NOTHING, c.drivers()
    heads = "<th class=name>forecast, %</th>" + "<th class=name>shocked, %</th>" * both

    def shares(row: pd.Series, most: float) -> str:
        cells = ""
        for value, color in ((row["before"], look.first), (row["after"], look.second))[: 1 + both]:
            bar = f'<span class="bar" style="width:{60 * value / most:.0f}px;background:{color}"></span>{value:.1f}'
            cells += f"<td class=name>{bar if np.isfinite(value) else '–'}</td>"
        return cells

    left, right = "", ""
    for name, row in inputs.head(TOP).iterrows():
        left += f"<tr><td class=name>{escape(name)}</td>{shares(row, inputs.max().max())}</tr>"
    for x, row in days.head(TOP).iterrows():
        moves = dict.fromkeys(signed(row[k]) for k in ("return", "assumed") if np.isfinite(row[k]))
        bars = shares(row, days[["before", "after"]].max().max())
        right += f"<tr><td class=name>{when(x)}</td><td>{' → '.join(moves)}</td>{bars}</tr>"
    left = f"<thead><tr><th class=name>past input</th>{heads}</tr></thead><tbody>{left}</tbody>"
    right = f"<thead><tr><th class=name>past {c.axis}</th><th>return, %</th>{heads}</tr></thead><tbody>{right}</tbody>"
    return f"<div class=pair><table>{left}</table><table>{right}</table></div><p>{NO_PROOF}</p>"
