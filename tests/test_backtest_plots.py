"""Figures of a backtest: drawn parts and titles agree with what is counted by hand in its frame."""

import re

import numpy as np
import pandas as pd
import pytest
from pictures import faults

import tftnhits as tn
from tftnhits.evaluation import leaderboard, trading
from tftnhits.evaluation.backtest import Backtest
from tftnhits.viz import backtests as plots
from tftnhits.viz.style import THEMES, caption_of

RIVAL = "gradient boosting"


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    every = tn.load_bars("stocks")
    span = every["date"].between("2012-01-01", "2015-12-31") & every["symbol"].isin(
        ["AAPL", "GOOG", "META"]
    )
    return every[span].reset_index(drop=True)


@pytest.fixture(scope="module")
def result(bars, tmp_path_factory) -> Backtest:
    config = tn.BacktestConfig(
        start="2015-01-01", months=6, preset="tiny", members=("random walk", "HAR", RIVAL)
    )
    return tn.backtest(bars, config, tmp_path_factory.mktemp("backtest"), progress=False)


def title(figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def test_folds_are_drawn_with_purge_and_embargo(result, bars):
    figure = plots.plot_folds(result, bars["date"].unique())
    wide, near = figure.axes
    fold = result.manifest["folds"][0]
    spans = [(p.get_x(), p.get_width()) for p in wide.patches[:3]]
    days = np.array([(b, b + w) for b, w in spans])
    assert (days[:-1, 1] < days[1:, 0]).all(), "a gap at each border"
    assert days[2, 1] - days[2, 0] == (
        np.datetime64(fold["test_end"]) - np.datetime64(fold["test_begin"])
    ).astype(int)
    colors = pd.Series([p.get_facecolor() for p in near.patches]).value_counts(sort=False).tolist()
    assert colors[1:3] == [5, 5], "five sessions purged, five embargoed"
    assert title(figure).startswith(
        "2 folds test 2015-01-02 to 2015-12-"
    ) and "5 embargoed" in title(figure)


def test_coverage_is_the_share_inside(result):
    frame = result.frame
    own = frame[(frame["forecaster"] == RIVAL) & frame["actual"].notna()]
    may = own[own["origin"].dt.strftime("%Y-%m") == "2015-05"]
    figure = plots.plot_coverage(frame, RIVAL)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert len(lines["calibrated online"].get_xdata()) == 12
    place = list(lines["calibrated online"].get_xdata()).index(np.datetime64("2015-05-01"))
    for label, low, high in (
        ("calibrated online", "lower_93", "upper_93"),
        ("as forecast", "0.035", "0.965"),
    ):
        share = 100 * may["actual"].between(may[low], may[high]).mean()
        assert lines[label].get_ydata()[place] == pytest.approx(share)
    held = own["actual"].between(own["lower_80"], own["upper_80"]).mean()
    found = re.search(r"80% intervals held (\S+)% \(", title(figure))
    assert float(found[1]) == pytest.approx(100 * held, abs=0.051)


@pytest.mark.parametrize("by, points", [("quarter", 4), ("year", 1)])
def test_coverage_goes_by_longer_spans_too(result, by, points):
    figure = plots.plot_coverage(result.frame, "HAR", by=by, theme="dark")
    assert len(figure.axes[1].lines[1].get_xdata()) == points


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_is_whole_and_legible(result, bars, theme):
    a = leaderboard.arrays(result.frame, RIVAL)
    made = [
        plots.plot_folds(result, bars["date"].unique(), theme),
        plots.plot_coverage(result.frame, RIVAL, theme=theme),
        plots.plot_skill(plots.skill(result.frame, [RIVAL, "random walk"]), theme),
        plots.plot_rule(trading.run_rule(a.symbol, a.date, a.quantiles, a.levels, a.actual), theme),
    ]
    for figure in made:
        assert faults(figure) == []
    assert all(caption_of(figure) for figure in made[1:])


def test_many_forecasters_of_long_names_fit():
    names = (
        "filtered historical simulation",
        "learned weights + HAR",
        "gradient boosting",
        "ensemble",
        "EWMA",
        "TFT",
    )
    groups = ["calm", "wild", *(f"20{i}-03 to 20{i + 1}-02" for i in range(10, 18))]
    rows = [(name, group, np.sin(i), 0.5) for name in names for i, group in enumerate(groups)]
    table = pd.DataFrame(rows, columns=["forecaster", "group", "skill", "error"])
    assert faults(plots.plot_skill(table)) == []


def test_a_fold_of_a_year_is_named_by_it():
    dates = pd.to_datetime(["2015-01-02", "2015-12-23", "2016-02-01"])
    assert plots._span(*dates[:2]) == "2015" and plots._span(*dates[1:]) == "2015-12 to 2016-02"


def test_skill_is_relative_to_har(result):
    frame = result.frame
    table = plots.skill(frame, [RIVAL, "HAR"])
    assert (table[table["forecaster"] == "HAR"][["skill", "error"]] == 0).all(axis=None)
    own = table[table["forecaster"] == RIVAL].set_index("group")
    assert own.index.tolist() == [
        "calm",
        "middle",
        "wild",
        "2015-01 to 2015-06",
        "2015-07 to 2015-12",
    ]
    loss = leaderboard.summary(frame, by="tercile").pivot(
        index="tercile", columns="forecaster", values="pinball"
    )
    assert own["skill"].iloc[:3].tolist() == pytest.approx(
        (100 * (1 - loss[RIVAL] / loss["HAR"])).tolist(), rel=1e-3
    )
    assert (own["error"] > 0).all()


def test_the_error_of_a_mean_treats_dates_as_clusters():
    rng = np.random.default_rng(0)
    date = np.repeat(np.arange(500), rng.integers(1, 9, 500))
    shared = rng.standard_normal(500)[date]  # symbols of a day move together
    x = np.repeat(shared[:, None], 3, axis=1)
    share = np.bincount(date) / len(date)
    expected = 1.96 * np.sqrt((share**2).sum())  # of a weighted mean of 500 unit normals
    assert plots._error_of_mean(x, date, 0) == pytest.approx(expected, rel=0.1)


def test_skill_fills_the_dots_that_leave_zero_out():
    table = pd.DataFrame(
        {"forecaster": "A", "group": ["calm", "wild"], "skill": [2.0, -0.5], "error": [1.0, 1.0]}
    )
    figure = plots.plot_skill(table)
    (ax,) = figure.axes
    dots = ax.collections[-1] if len(ax.collections[-1].get_offsets()) else ax.collections[0]
    faces = dots.get_facecolor()
    assert not np.allclose(faces[0], faces[1]) and np.allclose(faces[1], 1)
    assert title(figure) == (
        "A: measurably better than HAR in 1 of 2 groups, worse in 0; from -0.50% (wild) to +2.00% (calm)"
    )


def test_weights_are_averaged_over_seeds(result):
    shares = [{"TFT": 0.2, "N-HITS": 0.8}, {"TFT": 0.4, "N-HITS": 0.6}]
    given = {"ensemble": {"TFT": 0.65, "N-HITS": 0.35}}
    records = [{"fold": {"number": 0}, "weights": given | {"learned weights": s}} for s in shares]
    figure = plots.plot_weights(Backtest(result.folder, result.manifest, records))
    assert faults(figure) == []
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(
        [65, 30, 35, 70]
    )  # TFT's, then N-HITS'
    assert title(figure) == "The TFT's learnt share runs from 30% to 30% over 1 fold; given are 65%"


def test_the_rules_growth_is_compounded(result):
    a = leaderboard.arrays(result.frame, RIVAL)
    trades = trading.run_rule(a.symbol, a.date, a.quantiles, a.levels, a.actual)
    net, gross, hold = plots.plot_rule(trades).axes[0].lines[:3]
    assert net.get_ydata()[-1] == pytest.approx(100 * (np.prod(1 + trades["rule"]["net"]) - 1))
    assert hold.get_ydata()[-1] == pytest.approx(
        100 * (np.prod(1 + trades["buy and hold"]["net"]) - 1)
    )
    assert gross.get_ydata()[-1] >= net.get_ydata()[-1]


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda r: plots.plot_coverage(r.frame, "nobody"), "no forecaster 'nobody'"),
        (lambda r: plots.plot_coverage(r.frame, "HAR", by="fold"), "month, quarter, year"),
        (lambda r: plots.skill(r.frame, ["nobody"]), "no forecaster 'nobody'"),
        (lambda r: plots.plot_weights(r), "no ensemble"),
        (lambda r: plots.plot_skill(plots.skill(r.frame, [])), "at least one forecaster"),
        (lambda r: plots.skill(r.frame.assign(actual=np.nan), [RIVAL]), "No outcome"),
        (lambda r: plots.plot_coverage(r.frame.assign(actual=np.nan), RIVAL), "No outcome"),
    ],
)
def test_errors_say_what_to_do(result, ask, words):
    with pytest.raises(tn.TftnhitsError, match=words):
        ask(result)
