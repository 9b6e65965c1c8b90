"""The theme of all figures, for matplotlib and plotly, and what their parts have in common.

Series colours stand out from the paper by a contrast of 3 or more and can be told apart with
any common colour blindness; lines differ in dash or marker too: no figure needs colour to be read.
"""

from __future__ import annotations

import html
import io
import math
import os
import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from ..errors import ConfigError, MissingDependency, quoted

DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKERS = "osD^vP"
HATCHES = ("", "//", "..", "xx", "\\\\", "++")
DPI, PRINT_DPI = 110, 160  # in a notebook, and in a file
HEIGHT = 430  # of plotly's figures, in pixels
SMALL, MEDIUM, TITLE = 7.5, 8.5, 11.5  # points: of small print, legends, headlines
PROSE, NAMES = 0.52, 0.6  # width of a letter in its size: in prose, and where names are wide


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink; the series' first two are the leading data colours."""

    paper: str
    ink: str
    faint: str  # axes, grid and reference lines
    quiet: str  # small print
    middle: str  # of a diverging colour map: nearly the paper
    series: tuple[str, ...]

    @property
    def first(self) -> str:
        return self.series[0]

    @property
    def second(self) -> str:
        return self.series[1]

    @property
    def diverging(self) -> Colormap:
        """From `second` (low) over nearly the paper to `first` (high)."""
        colors = [self.second, self.middle, self.first]
        return LinearSegmentedColormap.from_list("diverging", colors)

    @property
    def rc(self) -> dict[str, Any]:
        """The theme as matplotlib's rcParams."""
        return {
            "figure.facecolor": self.paper,
            "figure.dpi": DPI,
            "figure.constrained_layout.use": True,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.faint,
            "axes.labelcolor": self.ink,
            "axes.labelsize": 9.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": self.faint,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.7,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
        }


# blue, vermilion, sky blue and orange are Okabe & Ito (2008); the others suit these papers
THEMES = {
    "light": Theme(
        paper="#FFFFFF",
        ink="#1D2733",
        faint="#8895A3",
        quiet="#5B6875",
        middle="#EEF1F4",
        series=("#0072B2", "#D55E00", "#1D4D2B", "#A08C5A", "#5B1A5E", "#7C3AED"),
    ),
    "dark": Theme(
        paper="#151B23",
        ink="#E6EAF0",
        faint="#7C8896",
        quiet="#A3AFBC",
        middle="#29323D",
        series=("#56B4E9", "#E69F00", "#4F9460", "#FFF2B2", "#D45BB0", "#7F63F0"),
    ),
}


def theme_of(name: str) -> Theme:
    """The theme called `name`; raises ConfigError on an unknown one."""
    if name not in THEMES:
        raise ConfigError(f"There is no theme {name!r}; choose one of {', '.join(THEMES)}.")
    return THEMES[name]


class Picture(Figure):
    """A matplotlib figure outside of pyplot: a notebook shows it once, and nothing keeps it."""

    caption: str  # the small print
    body: Figure | SubFigure  # what is above it: axes, legend, common labels

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            text.set_parse_math(False)  # a symbol may hold dollar signs
        super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As Figure.savefig, fine enough to be printed unless `dpi` is given.

        The file's title is the figure's: who finds the picture can read what it says.
        """
        title = {"Title": " ".join(self.get_suptitle().split())}
        super().savefig(*args, **{"dpi": PRINT_DPI, "metadata": title, **kwargs})

    def _repr_png_(self) -> bytes:
        """For a notebook, where it is looked at on a screen."""
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=DPI)
        return content.getvalue()


def canvas(
    theme: str,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (8.0, 4.2),
    caption: str = "",
    **grid: Any,
) -> tuple[Picture, Any, Theme]:
    """An empty figure, its axes, and the theme.

    Parameters
    ----------
    size : width and height in inches, without the caption.
    caption : small print below everything else.
    grid : further arguments of Figure.subplots.
    """
    colors = theme_of(theme)
    lines = textwrap.wrap(caption, int((size[0] - 0.2) * 72 / (PROSE * SMALL)))
    foot = (len(lines) * SMALL * 1.35 + 8) / 72 if lines else 0.0
    with mpl.rc_context(colors.rc):
        figure = Picture(figsize=(size[0], size[1] + foot))
        FigureCanvasAgg(figure)
        figure.caption, figure.body = caption.strip(), figure
        if lines:
            figure.body, below = figure.subfigures(2, 1, height_ratios=(size[1], foot), hspace=0)
            small = {"fontsize": SMALL, "color": colors.quiet, "linespacing": 1.25}
            below.text(0.01, 0.99, "\n".join(lines), va="top", **small)
        axes = figure.body.subplots(rows, columns, **grid)
    return figure, axes, colors


def shorten(name: Any, most: int = 30) -> str:
    """A name, cut to `most` letters with an ellipsis."""
    name = str(name)
    return name if len(name) <= most else name[: most - 1] + "…"


def headline(figure: Figure, text: str, theme: Theme) -> Figure:
    """The figure, with its finding above the axes, left-aligned and wrapped to its width."""
    text = textwrap.fill(text, int((figure.get_figwidth() - 0.2) * 72 / (NAMES * TITLE)))
    figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE, color=theme.ink)
    return figure


def legend(of: Axes | Picture, theme: Theme, handles: Any = None, **where: Any) -> None:
    """A legend without a frame: inside of axes, or below a figure's in as few rows as fit."""
    plain = {"frameon": False, "labelcolor": theme.ink, "fontsize": MEDIUM}
    if isinstance(of, Axes):
        of.legend(**plain, **where)
        return
    if handles is None:  # what the axes label, each label once
        named = [ax.get_legend_handles_labels() for ax in of.axes]
        by_label = {label: handle for pair in named for handle, label in zip(*pair)}
        handles = list(by_label.values())
    widths = [MEDIUM * (PROSE * len(handle.get_label()) + 5) for handle in handles]
    rows, room = 1, 72 * (of.get_figwidth() - 0.3)
    while rows < len(handles):
        columns = [max(widths[i : i + rows]) for i in range(0, len(widths), rows)]
        if sum(columns) <= room:
            break
        rows += 1
    where = {"loc": "outside lower center", **where, "ncols": math.ceil(len(handles) / rows)}
    of.body.legend(handles=handles, **plain, **where)


def axis_title(ax: Axes, text: str, theme: Theme, most: int = 60) -> None:
    """A panel's name, smaller than the headline, in lines of at most `most` letters."""
    ax.set_title(textwrap.fill(text, most), loc="left", fontsize=9.5, color=theme.ink)


def date_axis(ax: Axes) -> None:
    """Few, short labels for an axis that carries dates."""
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S"]
    zeros = ["", "%b\n%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    formatter = mdates.ConciseDateFormatter(
        locator, formats=formats, zero_formats=zeros, show_offset=False
    )
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)


def plain_axis(axis: Any, values: Any) -> None:
    """Numbers written out, without an offset or a power to apply; `values` show their size."""
    if 1e-3 <= _largest(values) < 1e7:
        axis.get_major_formatter().set_useOffset(False)
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))


def _largest(values: Any) -> float:
    return float(np.nanmax(np.abs(np.asarray(values, float)), initial=0))


def count(value: Any, name: str) -> int:
    """A whole number from 1; raises ConfigError on all else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name} is {quoted(value)}; give a whole number from 1.")
    return int(value)


def price(value: float) -> str:
    """A price with as many digits as its size asks for."""
    size = abs(value)
    if not 1 <= size < 1e12:
        return f"{value:.4g}"
    return f"{value:,.{_digits(size)}f}"


def price_pattern(values: Any) -> str:
    """d3's pattern, for plotly, of numbers as `price` writes them."""
    size = _largest(values)
    return f",.{_digits(size)}f" if 1 <= size < 1e12 else ".4~g"


def _digits(size: float) -> int:
    if size >= 10_000:
        return 0
    return 2 if size >= 10 else 3  # an exchange rate near 1 moves in its third


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; none that is shown as zero is negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def unit_of(x: Any) -> str:
    """What one of the bars at x [N] is called: "session", "week", "month" or "bar"."""
    x = np.asarray(x)
    if x.dtype.kind != "M" or np.isnat(x).any():
        return "bar"
    days = np.diff(x) / np.timedelta64(1, "D")
    step = np.quantile(days, 0.5, method="lower") if len(days) else 1.0  # a weekend is no step
    for name, low, high in (("session", 0.9, 1.5), ("week", 6, 8), ("month", 27, 32)):
        if low < step < high:
            return name
    return "bar"


def plotly_figure(title: str, theme: str, caption: str = "", **layout: Any) -> tuple[Any, Theme]:
    """An empty plotly figure in the same theme; raises MissingDependency without plotly.

    `caption` is small print below the title.

    In Jupyter it is shown through its mimetype: the other renderer writes 5 MB of script each time.
    """
    try:
        import plotly.graph_objects as go
        import plotly.io as pio
    except ImportError as error:
        raise MissingDependency(
            "Interactive figures need plotly: pip install 'tftnhits[notebook]'."
        ) from error
    if "notebook" in str(pio.renderers.default) and "COLAB_RELEASE_TAG" not in os.environ:
        pio.renderers.default = "plotly_mimetype"
    colors = theme_of(theme)
    # it can't know how wide it will be: about 560 pixels
    lines, small = textwrap.wrap(title, 60), textwrap.wrap(caption, 100)
    text = _plotly_text(lines)
    if small:
        text += f'<br><span style="font-size:10px">{_plotly_text(small)}</span>'
    top = 20 * (len(lines) + len(small))
    layout["height"] = layout.get("height", HEIGHT) + 20 * len(small)
    margin = {"l": 60, "r": 20, "t": 34 + top, "b": 50}
    template = go.layout.Template(layout=_plotly_layout(colors))
    figure = go.Figure(layout={"template": template, "margin": margin, **layout})
    figure.update_layout(title={"text": text, "pad": {"t": 2 + 0.6 * top}})
    return figure, colors


def _plotly_text(lines: list[str]) -> str:
    """Lines as plotly's text, in which tags would count."""
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _plotly_layout(theme: Theme) -> dict[str, Any]:
    """The theme as a plotly template's layout."""
    grid = see_through(theme.faint, 0.25)
    axis = {"gridcolor": grid, "linecolor": theme.faint, "zeroline": False}
    corner = {"x": 0.01, "y": 1, "xanchor": "left", "yanchor": "top"}
    return {
        "title": {**corner, "font": {"size": 15}},
        "font": {"color": theme.ink, "family": "DejaVu Sans, Verdana, sans-serif", "size": 12},
        "colorway": list(theme.series),
        "paper_bgcolor": theme.paper,
        "plot_bgcolor": theme.paper,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": theme.paper, "font": {"color": theme.ink}},
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"orientation": "h", "y": -0.3, "yanchor": "top"},
    }


def see_through(color: str, alpha: float) -> str:
    """A colour for plotly that lets others through."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def fan_color(color: str, share: float) -> str:
    """`color` for a band of plotly's fan; the inner ones (share near 1) lie on the outer ones."""
    return see_through(color, 0.10 + 0.12 * share)
