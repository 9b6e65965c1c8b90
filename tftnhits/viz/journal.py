"""Figure of the journal's record: how kept forecasts did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import DataError
from ..evaluation.record import Record
from . import style

CAPTION = (
    "Forecasts kept before their outcomes were known. Lines: where the probability lies, at 95%, a "
    "date counted once. Outcomes of a date's steps and of symbols move together."
)


def plot_record(record: Record, theme: str = "light") -> Figure:
    """Share of outcomes below each quantile, and inside the intervals by month of the origin.

    Raises
    ------
    DataError : no outcome is known yet
    ConfigError : an unknown theme
    """
    if record.frame.empty:
        raise DataError("No kept forecast has an outcome yet; score again when later bars came.")
    figure, (left, right), colors = style.canvas(theme, 1, 2, (9, 3.8), caption=CAPTION)
    _draw_reliability(left, record, colors)
    months = record.table("month")
    _draw_coverage(right, months, colors)
    whole = record.whole()
    title = (
        f"{whole['outcomes']:,} outcomes from {whole['dates']} dates: 93% intervals held "
        f"{whole['inside_93']:.1%}, the loss is {whole['to_har']:.3f} of the volatility scale's"
    )
    return style.headline(figure, title, colors)


def _draw_reliability(ax: Axes, record: Record, colors: Any) -> None:
    table = record.reliability()
    ax.plot([0, 1], [0, 1], color=colors.faint, linewidth=1)
    ax.plot(table["level"], table["har"], "o", color=colors.second, label="volatility scale")
    ax.plot(table["level"], table["below"], "o", color=colors.first, label="as forecast")
    ax.set(xlabel="level of the quantile", ylabel="share of outcomes below it")
    style.legend(ax, colors, loc="upper left")


def _draw_coverage(ax: Axes, months: pd.DataFrame, colors: Any) -> None:
    place = np.arange(len(months))
    for name, color, away in (("93", colors.first, -0.1), ("80", colors.second, 0.1)):
        share = months[f"inside_{name}"].to_numpy(float)
        error = [share - months[f"low_{name}"], months[f"high_{name}"] - share]
        marks = {"fmt": "o", "color": color, "label": f"{name}% interval"}
        ax.errorbar(place + away, share, np.clip(error, 0, 1), **marks)
        ax.axhline(float(name) / 100, color=color, linewidth=1, alpha=0.5)
    every = max(1, len(months) // 8)
    ax.set_xticks(place[::every], months["month"][::every])
    ax.set(ylabel="share inside", ylim=(None, 1.02))
    style.legend(ax, colors, loc="lower left")
