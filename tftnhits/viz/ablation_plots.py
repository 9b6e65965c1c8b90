"""What each enhancement buys, as a figure: rows as bench/ablation.py writes them, or made live in notebook 07."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from ..errors import DataError
from ..evaluation.verdicts import CLASSIC, ENHANCED
from .style import Theme, axis_title, body, canvas, headline

CAPTION = (
    "Dots: means over the seeds; lines: 95% intervals (Student's t); filled: measurable, over the dates too. Nothing "
    "was tuned anew without an enhancement, and what buys nothing here may buy something with other data."
)
# field of TFTConfig or NHITSConfig -> what it is, what it is for
ENHANCEMENTS = {
    "lstm_layers": (
        "second LSTM layer",
        "a second recurrent layer, with dropout between the two; the paper has one",
    ),
    "deep_selection": (
        "three-layer selection",
        "variable weights from three layers rather than one gated network",
    ),
    "extra_gate": ("extra gate", "a second gated layer in every gated residual network"),
    "learned_pooling": (
        "learned pooling",
        "each stack learns how to thin its input out; the paper takes the maximum",
    ),
    "neural_interpolation": (
        "neural interpolation",
        "a small network draws the path through a stack's knots; the paper interpolates linearly",
    ),
    "scale_attention": (
        "attention across scales",
        "stacks are weighed against each other; the paper adds them up",
    ),
    "learned_residual": (
        "learned residual",
        "a learnt share of the backcast is subtracted; the paper takes it all",
    ),
}


def label(variant: str) -> str:
    """A variant's name for readers: "without extra_gate" → "without extra gate"."""
    if variant == CLASSIC:
        return "without all of them (classic)"
    field = variant.removeprefix("without ")
    return f"without {ENHANCEMENTS[field][0]}" if field in ENHANCEMENTS else variant


def ablation_finding(rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence from the rows' verdicts; raises DataError if no variant is compared with the enhanced network."""
    compared = [r for r in rows if r.get("verdict")]
    if not compared:
        raise DataError(
            "No row has a verdict; compare at least one variant with the enhanced network."
        )
    if all(r["verdict"].startswith("one seed") for r in compared):
        return "One seed gives no verdict: what differs here may be luck"
    found = [_named(r) for r in compared if r["verdict"] in ("helps", "hurts")]
    if not found and len(compared) == 1:
        return f"No measurable difference: {_named(compared[0])}"
    if not found:
        most = max(compared, key=lambda r: abs(r["difference"]))
        return f"No enhancement is measurably better than none; largest of {len(compared)}: {_named(most)}"
    rest = f"; {len(compared) - len(found)} of {len(compared)} differences can't be told from zero"
    return f"Measurable: {', '.join(found)}{rest}"


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['network']} {label(row['variant'])} (loss {row['difference']:+.3f})"


def plot_ablation(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]] = (), theme: str = "light"
) -> Figure:
    """Each variant's validation loss less the enhanced network's, a panel a network; to the right is worse without.

    rows: network, variant, `difference`, `difference sd` (over seeds, or None), `verdict`. Dots are means, lines 95%
    intervals (Student's t over the seeds); filled dots are measurable, also over dates. runs: network, variant,
    seed, `valid`; where given, each seed's own difference is a tick. Raises DataError without any comparison.
    """
    table = pd.DataFrame([r for r in rows if r.get("verdict")])
    text = ablation_finding(rows)
    networks, most = table["network"].unique(), table.groupby("network").size().max()
    figure, axes, look = canvas(
        theme,
        1,
        len(networks),
        size=(9.5, 1.7 + 0.34 * most),
        caption=CAPTION,
        sharex=True,
        squeeze=False,
    )
    for ax, network in zip(axes[0], networks):
        own = [r for r in runs if r["network"] == network]
        _panel(ax, table[table["network"] == network], pd.DataFrame(own), look)
        axis_title(ax, network, look)
    unit = "validation loss less the enhanced network's, × 10⁴ (right of 0: worse without it)"
    body(figure).supxlabel(
        unit + "; ticks: the seeds" * bool(len(runs)), fontsize=9.5, color=look.ink
    )
    headline(figure, text, look)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, runs: pd.DataFrame, look: Theme) -> None:
    at = np.arange(len(table))
    ax.axvline(0, color=look.ink, linewidth=0.9)
    for y, (_, row) in zip(at, table.iterrows()):
        seeds = _by_seed(runs, row["variant"])
        ax.plot(seeds, np.full(len(seeds), y + 0.24), "|", color=look.second, markersize=6)
        deviation = row.get("difference sd")
        if len(seeds) > 1 and deviation is not None and np.isfinite(deviation):
            error = stats.t.ppf(0.975, len(seeds) - 1) * deviation / np.sqrt(len(seeds))
            ax.hlines(
                y,
                row["difference"] - error,
                row["difference"] + error,
                color=look.first,
                linewidth=1.6,
            )
    sure = table["verdict"].isin(["helps", "hurts"]).to_numpy()
    ax.scatter(
        table["difference"],
        at,
        40,
        facecolor=np.where(sure, look.first, look.paper),
        edgecolor=look.first,
        linewidth=1.4,
        zorder=3,
    )
    ax.set_yticks(at, [label(v) for v in table["variant"]])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.margins(x=0.1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(False)


def _by_seed(runs: pd.DataFrame, variant: str) -> np.ndarray:
    """[S] differences to the enhanced network by seed."""
    if runs.empty:
        return np.empty(0)
    wide = runs.pivot(index="seed", columns="variant", values="valid")
    return (wide[variant] - wide[ENHANCED]).dropna().to_numpy()
