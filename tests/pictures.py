"""What a designer would check of a figure: nothing cut off or on top of each other, all legible.

And forecasts to draw, made once.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from helpers import stocks
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import tftnhits as tn
from tftnhits.forecast.explain import Explanation, explain_rows
from tftnhits.forecast.importance import permutation_importance

TEXT, GRAPHICS = 4.5, 3.0  # least contrasts, WCAG 2.2


@cache
def bars() -> pd.DataFrame:
    """Three stocks, three and a half years."""
    return stocks(("AAPL", "GOOG", "META"), "2014-06-01", "2017-12-31")


@cache
def panel() -> tn.Panel:
    split = tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31")
    return tn.make_panel(bars(), split)


@cache
def boosted() -> tn.Predictor:
    """A predictor that is quick to make."""
    return tn.Predictor.from_members(
        {"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel())}, panel()
    )


@cache
def forecast() -> tn.Forecast:
    """Of bars that go on for ten sessions more."""
    return boosted().predict(bars()[bars()["date"] < "2017-12-15"])


@cache
def explained() -> tuple[Explanation, dict[str, Explanation], pd.DataFrame]:
    """The last forecast's explanation, the mean ones of both networks, and TFT's importance."""
    tft, nhits, _, settings = tn.preset("tiny")
    settings = replace(settings, epochs=3)  # after one, the start is still best: nothing to explain
    networks = {
        name: tn.fit(config, panel(), settings, progress=False).model
        for name, config in (("tft", tft), ("nhits", nhits))
    }
    model, rows = tn.Predictor.from_members(networks, panel()), panel().origins("valid", 20)
    mean = {name: explain_rows(network, panel(), rows) for name, network in model.members.items()}
    importance = permutation_importance(model.members["tft"], panel(), rows[:100], repeats=2)
    return model.predict(bars()).explain(), mean, importance


def title(figure: Figure) -> str:
    """The finding."""
    return figure.get_suptitle().replace("\n", " ")


def contrast(one, other) -> float:
    """WCAG's ratio of two opaque colours, from 1 to 21."""
    low, high = sorted(
        float(_linear(to_rgba(c)[:3]) @ (0.2126, 0.7152, 0.0722)) for c in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def _linear(rgb) -> np.ndarray:
    part = np.asarray(rgb, float)
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira & Fernandes 2009, severity 1
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def difference(one, other, sight: str) -> float:
    """CIELAB distance (1976) of two colours as people with that sight see them."""
    return float(np.linalg.norm(_lab(one, SIGHTS[sight]) - _lab(other, SIGHTS[sight])))


RGB_TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.072175],
    [0.0193339, 0.119192, 0.9503041],
]


def _lab(color, sight) -> np.ndarray:
    rgb = np.clip(np.asarray(sight) @ _linear(to_rgba(color)[:3]), 0, 1)
    xyz = np.asarray(RGB_TO_XYZ) @ rgb / (0.95047, 1, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def texts(figure: Figure) -> list[Text]:
    """Every text that is seen, tick labels within their axis' limits among them."""
    seen = {id(text): text for text in figure.findobj(Text)}
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        shows = axis.axes.axison and axis.get_visible()
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            inside = low - slack <= tick.get_loc() <= high + slack
            outside = [tick.label2] if shows and inside else [tick.label1, tick.label2]
            for label in outside:
                seen.pop(id(label), None)
    return [text for text in seen.values() if text.get_visible() and text.get_text().strip()]


def faults(figure: Figure) -> list[str]:
    """What is cut off, overlaps, or is too faint, in words; empty for a figure that is fine."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that found no room, a glyph that is missing
        figure.canvas.draw()
    checks = (_cut_off, _overlaps, _hidden_data, _faint_text, _faint_data)
    return [fault for check in checks for fault in check(figure)]


def _boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    return [(text.get_text(), text.get_window_extent().padded(-1)) for text in texts(figure)]


def _cut_off(figure: Figure) -> list[str]:
    width, height = figure.canvas.get_width_height()
    return [
        f"cut off: {name!r}"
        for name, box in _boxes(figure)
        if min(box.x0, box.y0) < 0 or box.x1 > width or box.y1 > height
    ]


def _overlaps(figure: Figure) -> list[str]:
    pairs = itertools.combinations(_boxes(figure), 2)
    return [f"{a!r} on {b!r}" for (a, one), (b, two) in pairs if one.overlaps(two)]


def _hidden_data(figure: Figure) -> list[str]:
    """Legends that lie on lines or bars of their axes; reference lines are no data."""
    out = []
    for ax in (ax for ax in figure.axes if ax.get_legend() is not None):
        box = ax.get_legend().get_window_extent()
        for line in ax.lines:
            data = line.get_transform() == ax.transData and len(line.get_xdata())
            if data and line.get_path().transformed(ax.transData).intersects_bbox(box, False):
                out.append(f"the legend hides line {line.get_label()!r}")
        bars = [bar for bar in ax.patches if bar.get_window_extent().overlaps(box)]
        out += [f"the legend hides bar {bar.get_label()!r}" for bar in bars]
    return out


def _faint_text(figure: Figure) -> list[str]:
    paper = figure.get_facecolor()
    faint = [text for text in texts(figure) if contrast(text.get_color(), paper) < TEXT]
    return [f"faint text: {text.get_text()!r}" for text in faint]


def _faint_data(figure: Figure) -> list[str]:
    """Lines, bars and dots; see-through bands are bounded by what lies on them."""
    paper, out = figure.get_facecolor(), []
    for ax in figure.axes:
        colors = [(line.get_color(), f"line {line.get_label()!r}") for line in ax.lines]
        for patch in (p for p in ax.patches if (p.get_alpha() or 1) > 0.5):
            edge = patch.get_edgecolor() if patch.get_linewidth() else paper
            strongest = max(patch.get_facecolor(), edge, key=lambda c: contrast(c, paper))
            colors.append((strongest, f"bar {patch.get_label()!r}"))
        for drawn in ax.collections:
            kind = isinstance(drawn, LineCollection | PathCollection) and len(drawn.get_paths())
            if kind and (drawn.get_alpha() or 1) > 0.5:
                edges = np.unique(drawn.get_edgecolor(), axis=0)
                colors += [(color, type(drawn).__name__) for color in edges]
        out += [f"faint {what}" for color, what in colors if contrast(color, paper) < GRAPHICS]
    return out
