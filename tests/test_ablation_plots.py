"""The ablation's figure: dots at the differences, filled where measured, a title that says the verdicts."""

import numpy as np
import pytest
from pictures import faults

import tftnhits as tn
from tftnhits.evaluation.verdicts import enhancements
from tftnhits.viz.ablation_plots import ENHANCEMENTS, ablation_finding, label, plot_ablation
from tftnhits.viz.style import THEMES

NOTHING = "no difference measured"


def row(
    network: str, variant: str, difference: float, verdict: str | None, sd: float | None = 0.02
) -> dict:
    return {
        "network": network,
        "variant": variant,
        "difference": difference,
        "difference sd": sd,
        "verdict": verdict,
    }


ROWS = [
    {"network": "TFT", "variant": "enhanced"},
    row("TFT", "classic", 0.1, "helps"),
    row("TFT", "without extra_gate", -0.04, NOTHING),
    {"network": "N-HITS", "variant": "enhanced"},
    row("N-HITS", "without learned_pooling", -0.2, "hurts"),
]
RUNS = [
    {
        "network": "TFT",
        "variant": name,
        "seed": seed,
        "valid": 40 + off + 0.02 * (seed - 1) * (name != "enhanced"),
    }
    for name, off in (("enhanced", 0.0), ("classic", 0.1), ("without extra_gate", -0.04))
    for seed in range(3)
]


def test_every_enhancement_of_both_networks_is_explained():
    assert set(ENHANCEMENTS) == {*enhancements(tn.TFTConfig()), *enhancements(tn.NHITSConfig())}


def test_the_title_names_what_is_measurable():
    assert ablation_finding(ROWS) == (
        "Measurable: TFT without all of them (classic) (loss +0.100), N-HITS without learned pooling (loss -0.200); "
        "1 of 3 differences can't be told from zero"
    )


def test_the_title_says_when_nothing_is():
    none = [row("TFT", "classic", 0.01, NOTHING), row("TFT", "without extra_gate", -0.04, NOTHING)]
    text = ablation_finding(none)
    assert (
        text.startswith("No enhancement is measurably better than none")
        and "extra gate (loss -0.040)" in text
    )
    assert ablation_finding(none[:1]).startswith("No measurable difference: TFT without all")
    assert ablation_finding([row("TFT", "classic", 0.1, "one seed, no verdict", None)]).startswith(
        "One seed gives no"
    )


@pytest.mark.parametrize("theme", THEMES)
def test_it_is_whole_and_legible(theme):
    assert faults(plot_ablation(ROWS, RUNS, theme)) == []
    assert faults(plot_ablation(ROWS[:2], theme=theme)) == []


def test_dots_intervals_and_seeds_are_where_they_belong():
    figure = plot_ablation(ROWS, RUNS)
    left, right = figure.axes
    assert (left.get_title("left"), right.get_title("left")) == ("TFT", "N-HITS")
    dots = left.collections[-1]
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx([0.1, -0.04])
    assert not np.allclose(*dots.get_facecolor()), "the measured one is filled, the other hollow"
    seeds = left.lines[1]
    assert seeds.get_xdata().tolist() == pytest.approx([0.08, 0.1, 0.12])
    ends = left.collections[0].get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx(
        [0.1 - 4.3027 * 0.02 / 3**0.5, 0.1 + 4.3027 * 0.02 / 3**0.5], rel=1e-4
    )
    assert [t.get_text() for t in left.get_yticklabels()] == [
        label("classic"),
        "without extra gate",
    ]


def test_without_runs_there_are_dots_alone():
    (ax, _) = plot_ablation(ROWS, theme="dark").axes
    assert len(ax.collections) == 1


def test_no_comparison_is_an_error():
    with pytest.raises(tn.DataError, match="compare at least one variant"):
        plot_ablation(ROWS[:1])
