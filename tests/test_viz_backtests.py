"""Figures of a backtest and an ablation: drawn parts and titles agree with what is counted here."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import stocks
from pictures import faults, title

import tftnhits as tn
from tftnhits.evaluation import leaderboard, trading
from tftnhits.evaluation.backtest import Backtest
from tftnhits.evaluation.metrics import terciles
from tftnhits.evaluation.verdicts import enhancements
from tftnhits.viz import backtests as plots
from tftnhits.viz.style import THEMES

RIVAL = "gradient boosting"
NOTHING = "no difference measured"


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return stocks(("AAPL", "GOOG", "META"), "2012-01-01", "2015-12-31")


@pytest.fixture(scope="module")
def result(bars, tmp_path_factory) -> Backtest:
    members = ("random walk", "HAR", RIVAL)
    config = tn.BacktestConfig(start="2015-01-01", months=6, preset="tiny", members=members)
    return tn.backtest(bars, config, tmp_path_factory.mktemp("backtest"), progress=False)


@pytest.fixture(scope="module")
def trades(result) -> dict[str, pd.DataFrame]:
    a = leaderboard.arrays(result.frame, RIVAL)
    return trading.run_rule(a.symbol, a.date, a.quantiles, a.levels, a.actual)


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_is_whole_and_legible(result, bars, trades, theme):
    figures = [
        plots.plot_folds(result, bars["date"].unique(), theme),
        plots.plot_coverage(result.frame, RIVAL, theme=theme),
        plots.plot_skill(plots.skill(result.frame, [RIVAL, "random walk"]), theme),
        plots.plot_rule(trades, theme),
        plots.plot_ablation(ROWS, RUNS, theme),
        plots.plot_ablation(ROWS[:2], theme=theme),
    ]
    for figure in figures:
        assert faults(figure) == [] and len(title(figure)) > 20
    assert all(figure.caption for figure in figures[1:])


def test_folds_are_drawn_with_purge_and_embargo(result, bars):
    figure = plots.plot_folds(result, bars["date"].unique())
    spans, border = figure.axes
    fold = result.manifest["folds"][0]
    days = np.array([(p.get_x(), p.get_x() + p.get_width()) for p in spans.patches[:3]])
    assert (days[:-1, 1] < days[1:, 0]).all(), "a gap at each border"
    length = np.datetime64(fold["test_end"]) - np.datetime64(fold["test_begin"])
    assert days[2, 1] - days[2, 0] == length.astype(int)
    colors = pd.Series([p.get_facecolor() for p in border.patches]).value_counts(sort=False)
    assert colors.tolist()[1:3] == [5, 5], "five sessions purged, five embargoed"
    assert title(figure).startswith("2 folds test 2015-01-02 to 2015-12-")
    assert "5 embargoed" in title(figure)


def test_coverage_is_the_share_inside(result):
    rows = result.frame[result.frame["forecaster"] == RIVAL].dropna(subset="actual")
    may = rows[rows["origin"].dt.strftime("%Y-%m") == "2015-05"]
    figure = plots.plot_coverage(result.frame, RIVAL)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    months = list(lines["calibrated online"].get_xdata())
    place = months.index(np.datetime64("2015-05-01"))
    bounds = {"calibrated online": ("lower_93", "upper_93"), "as forecast": ("0.035", "0.965")}
    for label, (low, high) in bounds.items():
        share = 100 * may["actual"].between(may[low], may[high]).mean()
        assert lines[label].get_ydata()[place] == pytest.approx(share)
    held = rows["actual"].between(rows["lower_80"], rows["upper_80"]).mean()
    stated = re.search(r"80% intervals held (\S+)% \(", title(figure))
    assert float(stated[1]) == pytest.approx(100 * held, abs=0.051)
    assert len(months) == 12


def test_skill_is_relative_to_har(result):
    table = plots.skill(result.frame, [RIVAL, "HAR"])
    assert (table[table["forecaster"] == "HAR"][["skill", "error"]] == 0).all(axis=None)
    rival = table[table["forecaster"] == RIVAL].set_index("group")
    halves = ["2015-01 to 2015-06", "2015-07 to 2015-12"]
    assert rival.index.tolist() == ["calm", "middle", "wild", *halves]
    har, rival_arrays = (leaderboard.arrays(result.frame, name) for name in ("HAR", RIVAL))
    third = terciles(har.scale)
    for group, name in enumerate(rival.index[:3]):
        loss = [np.nanmean(leaderboard.loss_of(a)[third == group]) for a in (har, rival_arrays)]
        assert rival["skill"][name] == pytest.approx(100 * (1 - loss[1] / loss[0]), rel=1e-3)
    assert (rival["error"] > 0).all()


def test_the_error_of_a_mean_treats_dates_as_clusters():
    rng = np.random.default_rng(0)
    date = np.repeat(np.arange(500), rng.integers(1, 9, 500))
    shared = rng.standard_normal(500)[date]  # symbols of a day move together
    share = np.bincount(date) / len(date)
    expected = 1.96 * np.sqrt((share**2).sum())  # of a weighted mean of 500 unit normals
    error = plots._error_of_mean(np.repeat(shared[:, None], 3, axis=1), date, 0)
    assert error == pytest.approx(expected, rel=0.1)


def test_skill_fills_the_dots_that_leave_zero_out():
    table = pd.DataFrame({"group": ["calm", "wild"], "skill": [2.0, -0.5], "error": [1.0, 1.0]})
    figure = plots.plot_skill(table.assign(forecaster="A"))
    dots = next(c for c in figure.axes[0].collections if len(c.get_offsets()) == 2)
    filled, hollow = dots.get_facecolor()
    assert not np.allclose(filled, 1) and np.allclose(hollow, 1)
    words = "measurably better than HAR in 1 of 2 groups, worse in 0; from -0.50% (wild) to +2.00%"
    assert title(figure) == f"A: {words} (calm)"


def test_many_forecasters_of_long_names_fit():
    names = ("filtered historical simulation", "learned weights + HAR", RIVAL, "ensemble", "EWMA")
    groups = ["calm", "wild", *(f"20{i}-03 to 20{i + 1}-02" for i in range(10, 18))]
    rows = [(name, group, np.sin(i), 0.5) for name in names for i, group in enumerate(groups)]
    table = pd.DataFrame(rows, columns=["forecaster", "group", "skill", "error"])
    assert faults(plots.plot_skill(table)) == []


def test_weights_are_averaged_over_seeds(result):
    shares = [{"TFT": 0.2, "N-HITS": 0.8}, {"TFT": 0.4, "N-HITS": 0.6}]
    given = {"ensemble": {"TFT": 0.65, "N-HITS": 0.35}}
    records = [{"fold": {"number": 0}, "weights": given | {"learned weights": s}} for s in shares]
    figure = plots.plot_weights(Backtest(result.folder, result.manifest, records))
    assert faults(figure) == []
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([65, 30, 35, 70])  # TFT's, then N-HITS'
    assert title(figure) == "The TFT's learnt share runs from 30% to 30% over 1 fold; given are 65%"


def test_the_rules_growth_is_compounded(trades):
    net, gross, hold = plots.plot_rule(trades).axes[0].lines[:3]
    for line, name in ((net, "rule"), (hold, "buy and hold")):
        growth = 100 * (np.prod(1 + trades[name]["net"]) - 1)
        assert line.get_ydata()[-1] == pytest.approx(growth)
    assert gross.get_ydata()[-1] >= net.get_ydata()[-1]


def row(network: str, variant: str, difference: float, verdict: str, sd: float | None = 0.02):
    row = {"network": network, "variant": variant, "difference": difference}
    return row | {"difference sd": sd, "verdict": verdict}


ROWS = [
    {"network": "TFT", "variant": "enhanced"},
    row("TFT", "classic", 0.1, "helps"),
    row("TFT", "without extra_gate", -0.04, NOTHING),
    {"network": "N-HITS", "variant": "enhanced"},
    row("N-HITS", "without learned_pooling", -0.2, "hurts"),
]
RUNS = [
    {"network": "TFT", "variant": name, "seed": seed, "valid": 40 + off + spread * (seed - 1)}
    for name, off, spread in (
        ("enhanced", 0.0, 0.0),
        ("classic", 0.1, 0.02),
        ("without extra_gate", -0.04, 0.02),
    )
    for seed in range(3)
]


def test_every_enhancement_of_both_networks_is_explained():
    names = {*enhancements(tn.TFTConfig()), *enhancements(tn.NHITSConfig())}
    assert set(plots.ENHANCEMENTS) == names


@pytest.mark.parametrize(
    "rows, words",
    [
        (ROWS, "Measurable: TFT without all of them (classic) (loss +0.100), N-HITS without"),
        (ROWS, "learned pooling (loss -0.200); 1 of 3 differences can't be told from zero"),
        ([row("TFT", "classic", 0.01, NOTHING), ROWS[2]], "largest of 2: TFT without extra gate"),
        ([row("TFT", "classic", 0.1, "one seed, no verdict", None)], "One seed gives no verdict"),
    ],
)
def test_an_ablations_title_says_the_verdicts(rows, words):
    assert words in title(plots.plot_ablation(rows))


def test_dots_intervals_and_seeds_are_where_they_belong():
    left, right = plots.plot_ablation(ROWS, RUNS).axes
    assert (left.get_title("left"), right.get_title("left")) == ("TFT", "N-HITS")
    dots = next(c for c in left.collections if len(c.get_offsets()) == 2)
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx([0.1, -0.04])
    assert not np.allclose(*dots.get_facecolor()), "the measured one is filled, the other hollow"
    ticks = [line.get_xdata() for line in left.lines if line.get_marker() == "|"]
    assert ticks[0].tolist() == pytest.approx([0.08, 0.1, 0.12])
    ends = left.collections[0].get_segments()[0][:, 0]
    half = 4.3027 * 0.02 / 3**0.5  # Student's t with two degrees of freedom
    assert ends.tolist() == pytest.approx([0.1 - half, 0.1 + half], rel=1e-4)
    assert [t.get_text() for t in left.get_yticklabels()][1] == "without extra gate"


@pytest.mark.parametrize(
    "draw, error, words",
    [
        (lambda r: plots.plot_coverage(r.frame, "nobody"), tn.ConfigError, "'nobody'"),
        (lambda r: plots.skill(r.frame, ["nobody"]), tn.ConfigError, "'nobody'"),
        (lambda r: plots.plot_weights(r), tn.DataError, "no ensemble"),
        (lambda r: plots.plot_skill(plots.skill(r.frame, [])), tn.DataError, "one forecaster"),
        (lambda r: plots.skill(r.frame.assign(actual=np.nan), [RIVAL]), tn.DataError, "No outcome"),
        (lambda r: plots.plot_ablation(ROWS[:1]), tn.DataError, "at least one variant"),
    ],
)
def test_what_cant_be_drawn_is_named(result, draw, error, words):
    with pytest.raises(error, match=words):
        draw(result)
