"""The look that all figures share: one palette for matplotlib and plotly, and a figure that shows itself.

The colours are Okabe & Ito's (2008), told apart by people with any of the common colour blindnesses; lines differ
in dash or direct label too, so that no figure needs colour to be read.
"""

from __future__ import annotations

import io
import os
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import ConfigError, MissingDependency

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
SERIES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)  # in the order of use
UP, DOWN = BLUE, RED
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
DPI = 110


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink; `first` is the leading data colour, light enough to be seen on the paper."""

    paper: str
    ink: str
    faint: str  # axes, grid and reference lines
    first: str
    second: str


THEMES = {
    "light": Theme("#FFFFFF", "#1D2733", "#8895A3", BLUE, RED),
    "dark": Theme("#151B23", "#E6EAF0", "#7C8896", SKY, ORANGE),
}


def theme_of(name: str) -> Theme:
    """The theme called `name`; raises ConfigError on an unknown one."""
    if name not in THEMES:
        raise ConfigError(f"There is no theme {name!r}; choose one of {', '.join(THEMES)}.")
    return THEMES[name]


class Picture(Figure):
    """A matplotlib figure outside of pyplot: a notebook shows it once, and nothing keeps it in memory."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def canvas(
    theme: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = (8.0, 4.2), **grid: Any
) -> tuple[Picture, Any, Theme]:
    """An empty figure of rows × columns axes in the house style; `grid` goes to Figure.subplots."""
    look = theme_of(theme)
    figure = Picture(figsize=size, dpi=DPI, layout="constrained", facecolor=look.paper)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **grid)
    for ax in np.ravel(axes):
        _dress(ax, look)
    return figure, axes, look


def _dress(ax: Axes, look: Theme) -> None:
    ax.set_facecolor(look.paper)
    ax.tick_params(colors=look.ink, labelsize=9, length=3)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(look.faint)
    ax.grid(True, axis="y", color=look.faint, alpha=0.25, linewidth=0.7)
    ax.set_axisbelow(True)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(look.ink)
        label.set_fontsize(9.5)


def headline(figure: Figure, text: str, look: Theme) -> None:
    """The finding, above the axes, left-aligned and wrapped to the figure's width."""
    wide = int(figure.get_figwidth() * 11.3)
    title = figure.suptitle("\n".join(textwrap.wrap(text, wide)), x=0.01, ha="left", fontsize=11.5)
    title.set_color(look.ink)


def legend(of: Axes | Figure, look: Theme, *handles: Any, **where: Any) -> None:
    """A legend of an axes or a figure without a frame, in the theme's ink."""
    of.legend(*handles, frameon=False, labelcolor=look.ink, fontsize=8.5, **where)


def axis_title(ax: Axes, text: str, look: Theme) -> None:
    """A panel's name, smaller than the headline."""
    ax.set_title(text, loc="left", fontsize=9.5, color=look.ink)


def plotly_figure(title: str, theme: str, **layout: Any) -> tuple[Any, Theme]:
    """An empty plotly figure in the same look; raises MissingDependency without plotly.

    In Jupyter it is shown through its mimetype: the other renderer writes 5 MB of script into each output.
    """
    try:
        import plotly.graph_objects as go
        import plotly.io as pio
    except ImportError as error:
        raise MissingDependency("Interactive figures need plotly: pip install 'tftnhits[notebook]'.") from error
    if "notebook" in str(pio.renderers.default) and "COLAB_RELEASE_TAG" not in os.environ:
        pio.renderers.default = "plotly_mimetype"
    look = theme_of(theme)
    axis = {"gridcolor": _see_through(look.faint, 0.25), "linecolor": look.faint, "zeroline": False}
    text = "<br>".join(textwrap.wrap(title, 84))
    figure = go.Figure(
        layout={
            "title": {"text": text, "x": 0.01, "xanchor": "left", "font": {"size": 15}},
            "font": {"color": look.ink, "family": "DejaVu Sans, Verdana, sans-serif", "size": 12},
            "paper_bgcolor": look.paper, "plot_bgcolor": look.paper, "hovermode": "x unified",
            "hoverlabel": {"bgcolor": look.paper, "font": {"color": look.ink}},
            "margin": {"l": 60, "r": 20, "t": 70, "b": 50}, "height": 430,
            "xaxis": axis, "yaxis": axis, "legend": {"orientation": "h", "y": -0.18}, **layout,
        }
    )  # fmt: skip
    return figure, look


def _see_through(color: str, alpha: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def fan_color(color: str, share: float) -> str:
    """`color` for a band of plotly's fan: the inner ones (share near 1) lie on top of the outer ones."""
    return _see_through(color, 0.10 + 0.12 * share)
