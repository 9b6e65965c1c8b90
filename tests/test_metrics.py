"""Scores against hands, loops and the packages that have them."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, made_panel, one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tftnhits import PanelConfig, make_panel
from tftnhits.config import QUANTILES
from tftnhits.errors import ConfigError, MissingDependency
from tftnhits.evaluation import metrics as M
from tftnhits.evaluation.metrics import SCORE_LEVELS, coverage, pinball_loss


@pytest.fixture
def scoringrules():
    return pytest.importorskip("scoringrules")


def made_scores(seed=0, days=40, symbols=5, horizon=3):
    """Quantiles [K, H, Q] of the right spread, outcomes [K, H], dates [K]."""
    rng = np.random.default_rng(seed)
    scale = 0.01 * np.exp(rng.normal(size=(days * symbols, horizon, 1)))
    quantiles = scale * (stats.norm.ppf(QUANTILES) + 0.05 * rng.normal(size=(days * symbols, 1, 1)))
    actual = scale[..., 0] * rng.normal(size=(days * symbols, horizon))
    return (
        quantiles,
        actual,
        np.repeat(pd.bdate_range("2020-01-01", periods=days).to_numpy(), symbols),
    )


def test_pinball_against_a_loop():
    rng = np.random.default_rng(0)
    levels = (0.1, 0.5, 0.9)
    quantiles, actual = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2))
    found = pinball_loss(quantiles, actual, levels)
    assert found.shape == (4, 2)
    for i, h in np.ndindex(4, 2):
        parts = []
        for level, q in zip(levels, quantiles[i, h]):
            over = actual[i, h] - q
            parts.append(level * over if over >= 0 else (level - 1) * over)
        assert found[i, h] == pytest.approx(np.mean(parts))


def test_pinball_of_the_training_loss_is_the_same():
    torch = pytest.importorskip("torch")
    from tftnhits.models.losses import pinball

    rng = np.random.default_rng(1)
    quantiles, actual = rng.normal(size=(50, len(SCORE_LEVELS))), rng.normal(size=50)
    ours = pinball(torch.tensor(quantiles), torch.tensor(actual), torch.tensor(SCORE_LEVELS))
    assert float(ours) == pytest.approx(pinball_loss(quantiles, actual, SCORE_LEVELS).mean())


def test_pinball_is_zero_only_where_all_quantiles_meet_the_outcome():
    assert pinball_loss(np.full((1, 3), 2.0), np.array([2.0]), (0.1, 0.5, 0.9)) == 0
    assert (pinball_loss(np.zeros((2, 3)), np.array([2.0, -2.0]), (0.1, 0.5, 0.9)) == 1.0).all()


def test_coverage_counts_known_outcomes():
    lower, upper = np.zeros(5), np.ones(5)
    assert coverage(lower, upper, np.array([0.5, 0.0, 1.0, 1.1, np.nan])) == 0.75
    assert np.isnan(coverage(lower, upper, np.full(5, np.nan)))


def test_score_levels_are_symmetric():
    np.testing.assert_allclose(np.add(SCORE_LEVELS, SCORE_LEVELS[::-1]), 1)


# --- CRPS and intervals


def test_crps_of_even_levels_is_scoringrules(scoringrules):
    rng = np.random.default_rng(0)
    levels = (np.arange(20) + 0.5) / 20
    quantiles, actual = np.sort(rng.normal(size=(7, 3, 20))), rng.normal(size=(7, 3))
    expected = scoringrules.crps_quantile(actual, quantiles, levels)
    np.testing.assert_allclose(M.crps(quantiles, actual, levels), expected)


def test_crps_tends_to_the_normal_distributions_closed_form(scoringrules):
    actual = np.linspace(-3, 3, 9)
    expected = scoringrules.crps_normal(actual, 0.0, 1.0)
    fine = np.sort(
        np.r_[np.arange(1, 1000) / 1000, 0.0301, 0.0302, 0.0303]
    )  # crowded levels don't count twice
    found = M.crps(np.broadcast_to(stats.norm.ppf(fine), (9, len(fine))), actual, fine)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    few = M.crps(np.broadcast_to(stats.norm.ppf(QUANTILES), (9, len(QUANTILES))), actual, QUANTILES)
    np.testing.assert_allclose(few, expected, rtol=0.12)


def test_crps_of_one_level_by_hand(scoringrules):
    assert M.crps(np.array([[1.0]]), np.array([4.0]), (0.5,))[0] == pytest.approx(
        3.0
    )  # the absolute error


def test_winkler_by_hand(scoringrules):
    lower, upper = np.array([0.0, 0.0, 0.0]), np.array([2.0, 2.0, 2.0])
    # inside: the width; outside: 2 / 0.2 = 10 times the distance more
    np.testing.assert_allclose(
        M.winkler(lower, upper, np.array([1.0, 2.5, -0.1]), 0.8), [2.0, 7.0, 3.0]
    )


def test_interval_finds_its_levels_or_says_what_there_is():
    lower, upper = M.interval(np.arange(11.0)[None], QUANTILES, 0.93)
    assert (lower[0], upper[0]) == (1, 9)
    with pytest.raises(ConfigError, match=r"0\.005 was not forecast") as error:
        M.interval(np.zeros((1, 11)), QUANTILES, 0.99)
    assert one_sentence(str(error.value))


def test_without_scoringrules_a_typed_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "scoringrules", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[evaluation\]") as error:
        M.winkler(np.zeros(1), np.ones(1), np.zeros(1), 0.8)
    assert one_sentence(str(error.value))


# --- points


def test_mase_by_hand():
    median = np.array([[0.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    actual = np.array([[1.0, 3.0], [2.0, np.nan], [0.0, 0.0]])
    # (1 + 2) / 2 in units of 2, 0 in units of 4; the third symbol never moved
    assert M.mase(median, actual, np.array([2.0, 4.0, 0.0])) == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert math.isnan(M.mase(median, actual, np.array([0.0, np.nan, 0.0])))


def test_random_walk_mae_is_of_the_training_split():
    bars = made_bars(("A", "B"), 300)
    panel = make_panel(bars, PanelConfig(train_end="2015-08-31", valid_end="2015-12-31"))
    for s, name in enumerate("AB"):
        own = bars[(bars["symbol"] == name) & (bars["date"] <= "2015-08-31")]
        expected = np.log(own["close"]).diff().abs().mean()
        assert M.random_walk_mae(panel)[s] == pytest.approx(expected)
    assert np.isnan(M.random_walk_mae(made_panel(bars=4))).all()


# --- direction and correlation


def test_pesaran_timmermann_by_hand():
    # up-up 30, up-down 15, down-up 10, down-down 45 (forecast first)
    forecast = np.r_[np.ones(45), -np.ones(55)]
    actual = np.r_[np.ones(30), -np.ones(15), np.ones(10), -np.ones(45)]
    expected = 0.45 * 0.40 + 0.55 * 0.60  # 0.51
    v = 0.51 * 0.49 / 100
    v_star = (
        0.2**2 * 0.45 * 0.55 / 100 + 0.1**2 * 0.4 * 0.6 / 100 + 4 * 0.4 * 0.45 * 0.6 * 0.55 / 100**2
    )
    found = M.pesaran_timmermann(forecast, actual)
    assert found.hit_rate == pytest.approx(0.75) and found.expected == pytest.approx(expected)
    assert found.statistic == pytest.approx(0.24 / math.sqrt(v - v_star))
    assert found.p_value == pytest.approx(stats.norm.sf(found.statistic)) and found.count == 100


def test_always_up_is_no_skill_even_if_it_is_mostly_right():
    actual = np.r_[np.ones(80), -np.ones(20)]
    found = M.pesaran_timmermann(np.full(100, 0.001), actual)
    assert found.hit_rate == 0.8 and found.expected == pytest.approx(0.8)
    assert math.isnan(found.statistic) and math.isnan(found.p_value) and found.count == 100
    found = M.pesaran_timmermann(np.zeros(100), actual)  # no sign at all
    assert math.isnan(found.hit_rate) and found.count == 0


def test_clustering_by_date_counts_copies_of_a_symbol_once():
    rng = np.random.default_rng(0)
    forecast, actual, date = rng.normal(size=300), rng.normal(size=300), np.arange(300)
    actual = actual + 0.5 * forecast
    one = M.pesaran_timmermann(forecast, actual, date)
    ten = M.pesaran_timmermann(np.tile(forecast, 10), np.tile(actual, 10), np.tile(date, 10))
    assert ten.statistic == pytest.approx(one.statistic) and ten.hit_rate == pytest.approx(
        one.hit_rate
    )
    naive = M.pesaran_timmermann(np.tile(forecast, 10), np.tile(actual, 10))
    assert naive.statistic > 2.5 * one.statistic
    # with one symbol and independent days both tests say the same
    assert one.statistic == pytest.approx(M.pesaran_timmermann(forecast, actual).statistic, rel=0.1)


def test_information_coefficient_against_pandas():
    quantiles, actual, date = made_scores()
    forecast = quantiles[..., 5]
    actual[3, 1] = np.nan
    for rank, method in ((False, "pearson"), (True, "spearman")):
        found, t, days = M.information_coefficient(forecast, actual, date, lags=0, rank=rank)
        daily = []
        for day in np.unique(date):
            on = date == day
            cells = [
                pd.Series(forecast[on, h]).corr(pd.Series(actual[on, h]), method=method)
                for h in range(3)
            ]
            daily.append(np.mean(cells))
        assert found == pytest.approx(np.mean(daily)) and days == 40
        assert t == pytest.approx(np.mean(daily) / (np.std(daily) / math.sqrt(40)))


def test_information_coefficient_where_there_is_no_cross_section():
    date = np.repeat(np.arange(10), 2)
    found = M.information_coefficient(np.arange(20.0), np.arange(20.0), date)
    assert math.isnan(found[0]) and math.isnan(found[1]) and found[2] == 0
    equal = np.full(310, 0.1) + np.zeros(310)  # whose mean by date is not 0.1 to the last bit
    found = M.information_coefficient(equal, np.arange(310.0), np.repeat(np.arange(10), 31))
    assert math.isnan(found[0]) and found[2] == 0
    perfect = M.information_coefficient(
        np.arange(30.0), np.arange(30.0) ** 3, np.repeat(np.arange(10), 3), rank=True
    )
    assert perfect[0] == pytest.approx(1) and math.isnan(perfect[1])  # no variation: no t


def test_hac_variance_by_hand_and_against_arch():
    x = np.array([1.0, 3.0, 2.0, 6.0])  # deviations -2, 0, -1, 3
    zero, one, two = 14 / 4, (0 + 0 - 3) / 4, (2 + 0) / 4
    assert M.hac_variance(x, 0) == pytest.approx(zero)
    assert M.hac_variance(x, 2) == pytest.approx(zero + 2 * (2 / 3 * one + 1 / 3 * two))
    kernel = pytest.importorskip("arch.covariance.kernel")
    series = np.random.default_rng(0).normal(size=200).cumsum()
    expected = float(np.squeeze(kernel.Bartlett(series, bandwidth=7).cov.long_run))
    assert M.hac_variance(series, 7) == pytest.approx(expected, rel=1e-9)


def test_means_by_date_leave_out_what_is_unknown():
    x = np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.nan], [7.0, 9.0]])
    date = np.array(["2020-01-02", "2020-01-01", "2020-01-03", "NaT"], "datetime64[ns]")
    np.testing.assert_array_equal(M.by_date(x, date), [5.0, 2.0])


# --- tables


def test_terciles_are_thirds_of_what_is_known():
    np.testing.assert_array_equal(M.terciles(np.arange(9.0)), [0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(M.terciles(np.array([5.0, np.nan, 1.0, 3.0])), [2, -1, 0, 1])
    np.testing.assert_array_equal(M.terciles(np.array([np.nan])), [-1])


def test_by_group_by_hand(scoringrules):
    levels = (0.1, 0.5, 0.9)
    quantiles = np.array([[[-1.0, 0, 1]], [[-1.0, 0, 1]], [[-2.0, 0, 2]], [[-2.0, 0, 2]]])
    actual = np.array([[0.5], [3.0], [-2.0], [np.nan]])
    found = M.by_group(quantiles, levels, actual, np.array(["a", "a", "b", "b"]), (0.8,))
    assert found.index.tolist() == ["a", "b"] and found["outcomes"].tolist() == [2, 1]
    assert found["coverage_80"].tolist() == [0.5, 1.0]
    assert found["width_80"].tolist() == [20_000.0, 40_000.0]
    assert found["winkler_80"].tolist() == pytest.approx([1e4 * (2 + 22) / 2, 40_000.0])
    by_step = M.by_group(
        quantiles, levels, actual, np.arange(1)[None] + np.zeros((4, 1), int), (0.8,)
    )
    assert by_step["outcomes"].tolist() == [3] and "pinball" not in found


def test_pinball_is_of_all_score_levels_or_left_out(scoringrules):
    quantiles, actual, date = made_scores()
    group = np.arange(len(date)) % 3
    pick = [QUANTILES.index(v) for v in SCORE_LEVELS]
    loss = 1e4 * pinball_loss(quantiles[..., pick], actual, SCORE_LEVELS)
    found = M.by_group(quantiles, QUANTILES, actual, group)["pinball"]
    np.testing.assert_allclose(found, [loss[group == g].mean() for g in range(3)])
    for lost in SCORE_LEVELS:
        if lost not in (0.1, 0.5, 0.9):
            kept = [i for i, q in enumerate(QUANTILES) if q != lost]
            levels = [QUANTILES[i] for i in kept]
            assert "pinball" not in M.by_group(quantiles[..., kept], levels, actual, group)
            few = M.scores(quantiles[..., kept], levels, actual)
            assert "pinball" not in few and math.isfinite(few["crps"])


def test_scores_by_hand(scoringrules):
    levels = (0.1, 0.5, 0.9)
    quantiles = np.array([[[-0.01, 0.001, 0.01]], [[-0.02, -0.001, 0.02]]])
    actual = np.array([[0.003], [np.nan]])
    found = M.scores(quantiles, levels, actual, naive=np.array([0.001, 0.001]))
    assert [found[k] for k in ("mae", "mse", "mase")] == pytest.approx([20, 400, 2])
    assert "pinball" not in found  # three levels are not the protocol's nine
    assert found["crps"] == pytest.approx(
        2e4 * (0.3 * 0.1 * 0.013 + 0.4 * 0.5 * 0.002 + 0.3 * 0.1 * 0.007)
    )
    assert (
        found["coverage_80"] == 1
        and found["width_80"] == pytest.approx(200)
        and "coverage_93" not in found
    )
    assert (found["origins"], found["outcomes"], found["missing"]) == (2, 1, 1)
    assert found["hit_rate"] == 1 and math.isnan(found["pt"]) and math.isnan(found["ic"])


def test_scores_are_plain_and_in_the_protocols_unit(scoringrules):
    quantiles, actual, date = made_scores()
    found = M.scores(quantiles, QUANTILES, actual, date, np.full(len(date), 0.01))
    assert all(type(v) is float and math.isfinite(v) for v in found.values())
    pick = [QUANTILES.index(v) for v in SCORE_LEVELS]
    assert found["pinball"] == pytest.approx(
        1e4 * pinball_loss(quantiles[..., pick], actual, SCORE_LEVELS).mean()
    )
    assert 0.85 < found["coverage_93"] < 1 and 0.7 < found["coverage_80"] < 0.9
    assert found["width_93"] > found["width_80"] and found["winkler_93"] > found["width_93"]


def test_scores_of_nothing_known_are_nan(scoringrules):
    quantiles, actual, date = made_scores(days=4)
    found = M.scores(quantiles, QUANTILES, np.full_like(actual, np.nan), date, np.ones(len(date)))
    counts = {"origins": 20, "outcomes": 0, "missing": 60, "directions": 0}
    assert {k: found[k] for k in counts} == counts
    assert all(math.isnan(v) for k, v in found.items() if k not in counts)


LENGTHS = ("pinball", "crps", "mae", "width_93", "width_80", "winkler_93", "winkler_80")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100), gaps=st.integers(0, 10))
def test_scores_scale_with_the_unit_and_know_neither_order_nor_gaps(seed, factor, gaps):
    pytest.importorskip("scoringrules")
    quantiles, actual, date = made_scores(seed, days=8)
    one = M.scores(quantiles, QUANTILES, actual, date, np.full(len(date), 0.01))
    scaled = M.scores(
        factor * quantiles, QUANTILES, factor * actual, date, np.full(len(date), factor * 0.01)
    )
    for name, value in one.items():
        power = 1 if name in LENGTHS else 2 if name == "mse" else 0
        assert scaled[name] == pytest.approx(value * factor**power, rel=1e-6, nan_ok=True), name
    order = np.random.default_rng(seed).permutation(len(date))
    mixed = M.scores(
        quantiles[order], QUANTILES, actual[order], date[order], np.full(len(date), 0.01)
    )
    assert mixed == pytest.approx(one, nan_ok=True)
    # origins without an outcome are counted and change nothing else
    more = [np.concatenate([x, x[:gaps]]) for x in (quantiles, actual, date)]
    more[1][len(date) :] = np.nan
    longer = M.scores(more[0], QUANTILES, more[1], more[2], np.full(len(more[2]), 0.01))
    assert longer.pop("missing") == 3 * gaps and longer.pop("origins") == len(date) + gaps
    assert longer == pytest.approx({k: v for k, v in one.items() if k in longer}, nan_ok=True)
