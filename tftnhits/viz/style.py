"""The look that all figures share: one palette for matplotlib and plotly, and a figure that shows itself.

Every theme's series colours stand out from its paper by a contrast of 3 or more, and can be told apart by people with
any of the common colour blindnesses; lines differ in dash or marker too, so that no figure needs colour to be read.
"""

from __future__ import annotations

import html
import io
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from PIL import Image

from ..errors import ConfigError, MissingDependency, shown

DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKERS = "osD^vP"
HATCHES = ("", "//", "..", "xx", "\\\\", "++")
DPI, PRINT_DPI = 110, 160  # on the screen, and in a file
SMALL, TITLE = 7.5, 11.5  # points: of captions, of headlines
FONT = "DejaVu Sans, Verdana, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink; `first` is the leading data colour, light enough to be seen on the paper."""

    paper: str
    ink: str
    faint: str  # axes, grid and reference lines
    first: str
    second: str
    quiet: str  # small print
    series: tuple[str, ...]  # in the order of use, `first` and `second` among them


# blue, vermilion, sky blue and orange are Okabe & Ito's (2008); the others were searched for the two papers
_LIGHT = ("#0072B2", "#D55E00", "#1D4D2B", "#A08C5A", "#5B1A5E", "#7C3AED")
_DARK = ("#56B4E9", "#E69F00", "#4F9460", "#FFF2B2", "#D45BB0", "#7F63F0")
THEMES = {
    "light": Theme("#FFFFFF", "#1D2733", "#8895A3", _LIGHT[0], _LIGHT[1], "#5B6875", _LIGHT),
    "dark": Theme("#151B23", "#E6EAF0", "#7C8896", _DARK[0], _DARK[1], "#A3AFBC", _DARK),
}


def theme_of(name: str) -> Theme:
    """The theme called `name`; raises ConfigError on an unknown one."""
    if name not in THEMES:
        raise ConfigError(f"There is no theme {name!r}; choose one of {', '.join(THEMES)}.")
    return THEMES[name]


def diverging(look: Theme) -> Colormap:
    """From `second` (low) over nearly the paper to `first` (high)."""
    middle = "#EEF1F4" if look.paper == "#FFFFFF" else "#29323D"
    return LinearSegmentedColormap.from_list("diverging", [look.second, middle, look.first])


class Picture(Figure):
    """A matplotlib figure outside of pyplot: a notebook shows it once, and nothing keeps it in memory."""

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            text.set_parse_math(False)  # a symbol may hold dollar signs
        super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As Figure.savefig, fine enough to be printed unless `dpi` is given."""
        super().savefig(*args, **{"dpi": PRINT_DPI, **kwargs})

    def _repr_png_(self) -> bytes:
        """For a notebook's output: 256 colours take a third of the space, and but for maps no eye sees a difference."""
        if self.findobj(QuadMesh):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=DPI)
            return buffer.getvalue()
        self.canvas.draw()
        pixels = np.array(self.canvas.buffer_rgba())[..., :3]
        image = Image.fromarray(pixels).quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        palette, paper = image.getpalette(), 3 * image.getpixel((0, 0))
        palette[paper : paper + 3] = pixels[
            0, 0
        ].tolist()  # to the last digit, or the page would show around it
        image.putpalette(palette)
        buffer = io.BytesIO()
        image.save(buffer, "png")
        return buffer.getvalue()


def canvas(
    theme: str,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (8.0, 4.2),
    caption: str = "",
    **grid: Any,
) -> tuple[Picture, Any, Theme]:
    """An empty figure of rows × columns axes in the house style; `grid` goes to Figure.subplots.

    `caption`, small print, stands below everything else and makes the figure higher than `size` (inches).
    """
    look = theme_of(theme)
    lines = wrapped(caption, size[0] - 0.16, SMALL) if caption else []
    foot = len(lines) * SMALL * 1.3 / 72 + 0.1 * bool(lines)
    figure = Picture(
        figsize=(size[0], size[1] + foot), dpi=DPI, layout="constrained", facecolor=look.paper
    )
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.05)
    FigureCanvasAgg(figure)
    if lines:
        _, below = figure.subfigures(2, 1, height_ratios=(size[1], foot), hspace=0)
        text = "\n".join(lines)
        below.text(0.01, 0.99, text, va="top", fontsize=SMALL, color=look.quiet, linespacing=1.25)
    axes = body(figure).subplots(rows, columns, **grid)
    for ax in np.ravel(axes):
        _dress(ax, look)
    return figure, axes, look


def body(figure: Figure) -> Any:
    """The part of a figure above its caption: where legends and common labels go."""
    return figure.subfigs[0] if figure.subfigs else figure


def caption_of(figure: Figure) -> str:
    """The small print below a figure, in one line; empty if there is none."""
    return figure.subfigs[1].texts[0].get_text().replace("\n", " ") if figure.subfigs else ""


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


@lru_cache(maxsize=4096)
def _advance(character: str) -> float:
    """Width of a character of the house's font, in its size."""
    if character >= "\u2e80":  # the font has no CJK, and would say so each time
        return 1.0
    font = FontProperties(family="DejaVu Sans", size=100)
    return text_to_path.get_text_width_height_descent(character, font, ismath=False)[0] / 100


def text_width(text: str, size: float) -> float:
    """Inches that a line takes in `size` points."""
    return sum(map(_advance, text)) * size / 72


def wrapped(text: str, width: float, size: float) -> list[str]:
    """`text` in as few lines as `width` inches allow, all of about one length; a word that is too long is cut."""
    lines = _filled(text, width, size)
    widest = max((text_width(word, size) for word in text.split()), default=0.0)
    low, high = min(max(width / 2, widest), width), width
    for _ in range(6):  # the narrowest column that takes no more lines leaves no last word alone
        middle = (low + high) / 2
        low, high = (
            (low, middle) if len(_filled(text, middle, size)) == len(lines) else (middle, high)
        )
    return _filled(text, high, size)


def _filled(text: str, width: float, size: float) -> list[str]:
    lines, used, gap = [""], 0.0, text_width(" ", size)
    for word in text.split():
        word = shorten(word, width, size)
        wide = text_width(word, size)
        if lines[-1] and used + gap + wide > width:
            lines.append(word)
            used = wide
        else:
            used += (gap if lines[-1] else 0.0) + wide
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def shorten(text: str, width: float, size: float) -> str:
    """`text`, cut to `width` inches with an ellipsis if it is longer."""
    if text_width(text, size) <= width:
        return text
    kept = text
    while kept and text_width(kept + "…", size) > width:
        kept = kept[:-1]
    return kept + "…"


def short(name: Any) -> str:
    """A symbol or network's name as headlines have it: a very long one is cut."""
    return shorten(str(name), 2.5, TITLE)


def headline(figure: Figure, text: str, look: Theme) -> None:
    """The finding, above the axes, left-aligned and wrapped to the figure's width."""
    lines = wrapped(text, figure.get_figwidth() - 0.2, TITLE)
    title = figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=TITLE)
    title.set_color(look.ink)


def legend(of: Axes | Figure, look: Theme, *handles: Any, **where: Any) -> None:
    """A legend of an axes or a figure without a frame, in the theme's ink.

    Outside of the axes it takes as many columns as fit beside each other, at most `ncols` if given.
    """
    size = 8.5
    if str(where.get("loc", "")).startswith("outside") and isinstance(of, Figure):
        names = where.get("handles") and [h.get_label() for h in where["handles"]]
        names = names or (
            handles[1] if len(handles) > 1 else [n for ax in of.axes for n in _names(ax)]
        )
        names = list(names)
        room = of.get_figwidth() - 0.3
        most = min(where.get("ncols", len(names)), len(names))
        fitting = [n for n in range(1, most + 1) if _columns_width(names, n, size) <= room]
        where["ncols"] = min(
            fitting, key=lambda n: (-(-len(names) // n), n), default=1
        )  # few rows, of similar length
    of = body(of) if isinstance(of, Figure) else of
    of.legend(*handles, frameon=False, labelcolor=look.ink, fontsize=size, **where)


def _names(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def _columns_width(names: list[str], columns: int, size: float) -> float:
    """Inches that a legend takes in so many columns, filled one after the other as matplotlib does."""
    rows, more = divmod(len(names), columns)
    heights = [rows + 1] * more + [rows] * (columns - more)
    ends = np.cumsum(heights)
    widest = [
        max((text_width(n, size) for n in names[e - h : e]), default=0.0)
        for h, e in zip(heights, ends)
    ]
    return (
        sum(widest) + columns * 2.8 * size / 72 + (columns - 1) * 2 * size / 72
    )  # handle and its pad, gaps


def axis_title(
    ax: Axes, text: str, look: Theme, width: float | None = None, size: float = 9.5
) -> None:
    """A panel's name, smaller than the headline; wrapped to `width` inches if given."""
    text = text if width is None else "\n".join(wrapped(text, width, size))
    ax.set_title(text, loc="left", fontsize=size, color=look.ink)


def count(value: Any, name: str) -> int:
    """A whole number from 1; raises ConfigError on all else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name} is {shown(value)}; give a whole number from 1.")
    return int(value)


def price(value: float) -> str:
    """A price with as many digits as its size asks for."""
    size = abs(value)
    if not math.isfinite(value) or size == 0:
        return f"{value:g}"
    if size >= 1e12 or size < 1e-5:
        return f"{value:.4g}"
    if size < 1:
        return f"{value:.4g}"
    digits = (
        0 if size >= 10_000 else 2 if size >= 10 else 3
    )  # an exchange rate near 1 moves in its third
    return f"{value:,.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; none that is shown as zero is negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def unit_of(x: Any) -> str:
    """What one of the bars at x [N], dates or numbers, is called: "session", "week", "month"; "bar" if none fits."""
    x = np.asarray(x)
    if x.dtype.kind != "M" or np.isnat(x).any():
        return "bar"
    steps = np.diff(x) / np.timedelta64(1, "D")
    step = (
        np.quantile(steps, 0.5, method="lower") if len(steps) else 1.0
    )  # lower: few days around a weekend are daily
    names = {"session": (0.9, 1.5), "week": (6, 8), "month": (27, 32)}
    return next((name for name, (low, high) in names.items() if low < step < high), "bar")


def price_pattern(values: Any) -> str:
    """d3's pattern, for plotly, of numbers as `price` writes them."""
    size = float(np.nanmax(np.abs(np.asarray(values, float)), initial=0))
    if not 1 <= size < 1e12:
        return ".4~g"
    return ",.0f" if size >= 10_000 else ",.2f" if size >= 10 else ",.3f"


def plotly_figure(title: str, theme: str, **layout: Any) -> tuple[Any, Theme]:
    """An empty plotly figure in the same look; raises MissingDependency without plotly.

    In Jupyter it is shown through its mimetype: the other renderer writes 5 MB of script into each output.
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
    look = theme_of(theme)
    axis = plotly_axis(look)
    lines = wrapped(title, 5.6, TITLE)  # it can't know how wide it will be: about 560 pixels
    text = "<br>".join(html.escape(line, quote=False) for line in lines)
    figure = go.Figure(
        layout={
            "title": {
                "text": text,
                "x": 0.01,
                "y": 1,
                "xanchor": "left",
                "yanchor": "top",
                "pad": {"t": 2 + 12 * len(lines)},
                "font": {"size": 15},
            },
            "font": {"color": look.ink, "family": FONT, "size": 12},
            "colorway": list(look.series),
            "paper_bgcolor": look.paper,
            "plot_bgcolor": look.paper,
            "hovermode": "x unified",
            "hoverlabel": {"bgcolor": look.paper, "font": {"color": look.ink}},
            "margin": {"l": 60, "r": 20, "t": 34 + 20 * len(lines), "b": 50},
            "height": 430,
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": -0.3, "yanchor": "top"},
            **layout,
        }
    )
    return figure, look


def plotly_axis(look: Theme) -> dict[str, Any]:
    """What every axis of a plotly figure has in common."""
    return {"gridcolor": _see_through(look.faint, 0.25), "linecolor": look.faint, "zeroline": False}


def _see_through(color: str, alpha: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def fan_color(color: str, share: float) -> str:
    """`color` for a band of plotly's fan: the inner ones (share near 1) lie on top of the outer ones."""
    return _see_through(color, 0.10 + 0.12 * share)
