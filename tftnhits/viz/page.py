"""A walk-forward backtest on one printed page: who forecasts best, coverage over time, skill by regime, caveats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import ConfigError
from ..evaluation.backtest import Backtest
from ..evaluation.leaderboard import BENCHMARK, summary
from .backtests import coverage_finding, draw_coverage, draw_skill, skill, skill_finding
from .style import Theme, canvas, wrapped

A4 = (8.27, 11.69)  # inches, portrait
LEFT, WIDTH = 0.09, 0.83  # of the page
PANEL, SMALL = 1.4, 8.0  # inches that a panel's name may take, and the size of its letters
RIVALS = ("TFT", "N-HITS", "gradient boosting", "GARCH-t")
# heading, place on the page's width, alignment
COLUMNS = (
    ("forecaster", 0.0, "left"),
    ("loss", 0.44, "right"),
    (f"against {BENCHMARK}", 0.57, "right"),
    (f"p, beats {BENCHMARK}", 0.70, "right"),
    ("90% set", 0.79, "right"),
    ("inside 93%", 0.90, "right"),
    ("width", 1.0, "right"),
)
CAVEATS = (
    "Loss: mean pinball loss × 10⁴ of cumulative log returns over nine quantile levels, all steps, origins and "
    "symbols; lower is better, and lower than another's is no profit.",
    f"p: one-sided Diebold-Mariano test against {BENCHMARK} on means by date with HAC errors. 90% set: model "
    "confidence set; each forecaster in it (bold) may be the best. Neither corrects for configurations tried before.",
    "Inside and width (basis points) are of 93% intervals calibrated online by the outcomes known at each origin. "
    "Outcomes overlap and symbols move together, so months swing by chance.",
    "Groups: thirds of all origins by forecast volatility, then folds. Bars are 95% intervals; hollow dots can't be "
    "told from zero, and of many intervals some leave zero out by luck.",
)
LAST = "Research and education, not trading advice."


def plot_page(
    result: Backtest,
    forecaster: str = "ensemble",
    rivals: Sequence[str] = RIVALS,
    caveats: Sequence[str] = (),
    board: pd.DataFrame | None = None,
) -> Figure:
    """One A4 page, portrait, of a finished backtest; save it as PDF to print it.

    `forecaster` is the one that the page is about, `rivals` stand beside it in the skill panels (those that took part),
    `caveats` are added to the small print. board: leaderboard.summary of the frame, if it is there already.
    Raises ConfigError on an unknown forecaster.
    """
    frame = result.frame
    board = summary(frame) if board is None else board
    if forecaster not in board.index:
        raise ConfigError(
            f"There is no forecaster {forecaster!r} here; choose from {', '.join(board.index)}."
        )
    names = [forecaster, *(r for r in rivals if r in board.index and r != forecaster)]
    gains = skill(frame, names)
    figure, axes, look = canvas("light", 1, 3 + len(names), size=A4)
    figure.set_layout_engine("none")
    text = _headline(board, forecaster, result)
    figure.text(
        LEFT,
        0.965,
        "\n".join(wrapped(text, WIDTH * A4[0] * 0.88, 14)),
        va="top",
        fontsize=14,
        weight="bold",
        color=look.ink,
    )
    figure.text(
        LEFT, 0.917, _settings(result, frame), va="top", fontsize=8, color=look.ink, linespacing=1.4
    )
    rows = len(board) + 1
    _section(figure, 0.862, "Who forecasts best", "", look)
    axes[0].set_position((LEFT, 0.854 - 0.0185 * rows, WIDTH, 0.0185 * rows))
    _table(axes[0], board, forecaster, look)
    top = 0.854 - 0.0185 * rows - 0.036
    finding = coverage_finding(frame, forecaster)
    top -= 0.011 * (
        _section(figure, top, "Do the intervals hold what they say?", finding, look) - 1
    )
    months = summary(frame[frame["forecaster"] == forecaster], by="month")
    chart = (top - 0.19) / 3 - 0.045  # height of each of the three charts that share what is left
    for i, (ax, level) in enumerate(zip(axes[1:3], (0.93, 0.8))):
        ax.set_position((LEFT + i * 0.44, top - 0.045 - 1.35 * chart, 0.39, 1.35 * chart))
        draw_coverage(ax, months, "month", level, look)
        ax.tick_params(labelsize=7.5)
    axes[1].set_ylabel("inside, %", fontsize=8)
    axes[2].set_ylabel("")
    axes[1].legend(
        fontsize=7, loc="lower left", ncols=3, handlelength=1.6, frameon=False, borderaxespad=0.1
    )
    low, high = axes[1].get_ylim()
    axes[1].set_ylim(low - 0.12 * (high - low), high)
    top = top - 0.045 - 1.35 * chart - 0.058
    lines = _section(
        figure, top, f"When is it better than {BENCHMARK}?", skill_finding(gains), look
    )
    names = max(len(wrapped(name, PANEL, SMALL)) for name in gains["forecaster"].unique())
    _skill(axes[3:], gains, (0.158, top - 0.019 - 0.011 * lines - 0.012 * names), look)
    _small_print(figure, [*caveats, *CAVEATS], look)
    return figure


def _headline(board: pd.DataFrame, forecaster: str, result: Backtest) -> str:
    own, folds = board.loc[forecaster], len(result.manifest["folds"])
    place = board.index.get_loc(forecaster) + 1
    text = f"{forecaster}: number {place} of {len(board)} over {folds} walk-forward fold{'s' * (folds > 1)}"
    if BENCHMARK in board.index and forecaster != BENCHMARK:
        change = 100 * (own["pinball"] / board.loc[BENCHMARK, "pinball"] - 1)
        text += f", loss {abs(change):.2f}% {'below' if change < 0 else 'above'} {BENCHMARK}'s (p {_p(own['dm_p'])})"
    return text


def _settings(result: Backtest, frame: pd.DataFrame) -> str:
    config, folds = result.manifest["config"], result.manifest["folds"]
    versions, data = result.manifest["versions"], result.manifest["key"]["data"]
    seeds = ", ".join(map(str, config["seeds"]))
    lost = "" if not result.missing else f"; {len(result.missing)} runs missing"
    return (
        f"Test origins {folds[0]['test_begin']} to {folds[-1]['test_end']}, refit every {config['months']} months, "
        f"{frame['symbol'].nunique()} symbols, {config['horizon']} steps ahead{lost}\n"
        f"Preset {config['preset']}, seed {seeds}; tftnhits {versions['tftnhits']}, data {data}"
    )


def _section(figure: Figure, y: float, title: str, finding: str, look: Theme) -> int:
    """A heading under a thin rule, and its finding, which takes so many lines."""
    figure.add_artist(_rule(figure, y + 0.017, look))
    figure.text(LEFT, y, title, fontsize=10.5, weight="bold", color=look.ink)
    lines = wrapped(finding, WIDTH * A4[0], 8)
    figure.text(LEFT, y - 0.005, "\n".join(lines), va="top", fontsize=8, color=look.ink)
    return len(lines)


def _rule(figure: Figure, y: float, look: Theme) -> Line2D:
    return Line2D(
        [LEFT, LEFT + WIDTH], [y, y], transform=figure.transFigure, color=look.faint, linewidth=0.6
    )


def _table(ax: Axes, board: pd.DataFrame, forecaster: str, look: Theme) -> None:
    """The leaderboard as text; the row that the page is about is shaded, members of the confidence set are bold."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(len(board) + 1, 0))
    base = board["pinball"].get(BENCHMARK, math.nan)
    for heading, x, side in COLUMNS:
        ax.text(x, 0.5, heading, ha=side, va="center", fontsize=7.5, color=look.quiet)
    ax.axhline(1, color=look.faint, linewidth=0.6)
    for i, (name, row) in enumerate(board.iterrows(), 1):
        if name == forecaster:
            ax.axhspan(i, i + 1, color=look.first, alpha=0.12, linewidth=0)
        change = (
            "–"
            if name == BENCHMARK or math.isnan(base)
            else f"{100 * (row['pinball'] / base - 1):+.2f}%".replace("-", "−")
        )
        loss = f"{row['pinball']:.2f}" + (
            f" ± {row['pinball_sd']:.2f}" if row["pinball_sd"] > 0 else ""
        )
        inside, width = f"{row['calibrated_coverage_93']:.1%}", f"{row['calibrated_width_93']:.0f}"
        cells = (
            name,
            loss,
            change,
            _p(row.get("dm_p")),
            "in" if row["in_mcs"] else "out",
            inside,
            width,
        )
        for cell, (_, x, side) in zip(cells, COLUMNS):
            weight = "bold" if row["in_mcs"] and x == 0 else "normal"
            ax.text(
                x, i + 0.5, cell, ha=side, va="center", fontsize=8.5, color=look.ink, weight=weight
            )


def _p(value: Any) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _skill(
    axes: Sequence[Axes], gains: pd.DataFrame, span: tuple[float, float], look: Theme
) -> None:
    """The panels side by side between two heights, with room for the groups' names."""
    draw_skill(axes, gains, look, SMALL, PANEL)
    reach = 1.08 * (gains["skill"].abs() + gains["error"]).max() or 1.0
    begin, gap = LEFT + 0.13, 0.018
    each = (WIDTH - 0.13 + gap) / len(axes)
    for i, ax in enumerate(axes):
        ax.set_position((begin + i * each, span[0], each - gap, span[1] - span[0]))
        ax.set_xlim(-reach, reach)
        ax.tick_params(labelsize=7.5, labelleft=i == 0)
    axes[len(axes) // 2].set_xlabel(f"loss lower than {BENCHMARK}'s by, %", fontsize=8)


def _small_print(figure: Figure, lines: Sequence[str], look: Theme) -> None:
    figure.add_artist(_rule(figure, 0.116, look))
    text = "\n".join(wrapped(" ".join([*lines, LAST]), WIDTH * A4[0], 6.2))
    figure.text(LEFT, 0.110, text, va="top", fontsize=6.2, color=look.ink, linespacing=1.45)
