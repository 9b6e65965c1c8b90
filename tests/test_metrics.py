"""Scores against hands, loops and the packages that have them."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, made_panel, one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tftnhits import PanelConfig, make_panel
from tftnhits.config import QUANTILES, SCORE_LEVELS
from tftnhits.errors import ConfigError
from tftnhits.evaluation import metrics as M
from tftnhits.evaluation.metrics import pinball_loss

SCORED = [QUANTILES.index(level) for level in SCORE_LEVELS]


def made_forecasts(seed=0, days=40, symbols=5, horizon=3):
    """Quantiles [K, H, Q] of the right spread, outcomes [K, H], dates [K]."""
    rng = np.random.default_rng(seed)
    origins = days * symbols
    scale = 0.01 * np.exp(rng.normal(size=(origins, horizon, 1)))
    quantiles = scale * (stats.norm.ppf(QUANTILES) + 0.05 * rng.normal(size=(origins, 1, 1)))
    actual = scale[..., 0] * rng.normal(size=(origins, horizon))
    date = np.repeat(pd.bdate_range("2020-01-01", periods=days).to_numpy(), symbols)
    return quantiles, actual, date


def scores(quantiles, actual, date, levels=QUANTILES, naive=0.01):
    return M.scores(quantiles, levels, actual, date, np.full(len(date), naive))


def test_pinball_of_the_training_loss_is_the_same():
    torch = pytest.importorskip("torch")
    from tftnhits.models.losses import pinball

    rng = np.random.default_rng(1)
    quantiles, actual = rng.normal(size=(50, len(SCORE_LEVELS))), rng.normal(size=50)
    ours = pinball(torch.tensor(quantiles), torch.tensor(actual), torch.tensor(SCORE_LEVELS))
    assert float(ours) == pytest.approx(pinball_loss(quantiles, actual, SCORE_LEVELS).mean())


# --- CRPS and intervals


def test_crps_of_even_levels_is_scoringrules():
    scoringrules = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    levels = (np.arange(20) + 0.5) / 20
    quantiles, actual = np.sort(rng.normal(size=(7, 3, 20))), rng.normal(size=(7, 3))
    expected = scoringrules.crps_quantile(actual, quantiles, levels)
    np.testing.assert_allclose(M.crps(quantiles, actual, levels), expected)


def test_crps_tends_to_the_normal_distributions_closed_form():
    actual = np.linspace(-3, 3, 9)
    # Gneiting & Raftery 2007, eq. 5
    density, below = stats.norm.pdf(actual), stats.norm.cdf(actual)
    expected = actual * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)
    # Crowded levels don't count twice
    fine = np.sort(np.r_[np.arange(1, 1000) / 1000, 0.0301, 0.0302, 0.0303])
    for levels, tolerance in ((fine, 2e-3), (QUANTILES, 0.12)):
        quantiles = np.broadcast_to(stats.norm.ppf(levels), (9, len(levels)))
        np.testing.assert_allclose(M.crps(quantiles, actual, levels), expected, rtol=tolerance)
    assert M.crps(np.array([[1.0]]), np.array([4.0]), (0.5,))[0] == 3  # the absolute error


def test_interval_finds_its_levels_or_says_what_there_is():
    lower, upper = M.interval(np.arange(11.0)[None], QUANTILES, 0.93)
    assert (lower[0], upper[0]) == (1, 9)
    with pytest.raises(ConfigError, match=r"0\.005 was not forecast") as error:
        M.interval(np.zeros((1, 11)), QUANTILES, 0.99)
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
        rows = bars[(bars["symbol"] == name) & (bars["date"] <= "2015-08-31")]
        expected = np.log(rows["close"]).diff().abs().mean()
        assert M.random_walk_mae(panel)[s] == pytest.approx(expected)
    assert np.isnan(M.random_walk_mae(made_panel(bars=4))).all()


# --- direction and correlation


def test_share_of_right_signs_by_hand():
    # up-up 30, up-down 15, down-up 10, down-down 45 (forecast first)
    forecast = np.r_[np.ones(45), -np.ones(55)]
    actual = np.r_[np.ones(30), -np.ones(15), np.ones(10), -np.ones(45)]
    found = M.pesaran_timmermann(forecast, actual, np.arange(100))
    assert found["hit_rate"] == pytest.approx(0.75) and found["directions"] == 100
    assert found["hit_rate_expected"] == pytest.approx(0.45 * 0.40 + 0.55 * 0.60)
    # Of independent dates it is near the statistic of the 1992 paper
    v = 0.51 * 0.49 / 100
    v_star = 0.2**2 * 0.45 * 0.55 / 100 + 0.1**2 * 0.4 * 0.6 / 100 + 4 * 0.18 * 0.33 / 100**2
    assert found["pt"] == pytest.approx(0.24 / math.sqrt(v - v_star), rel=0.2)
    assert found["pt_p"] == pytest.approx(stats.norm.sf(found["pt"]))


def test_always_up_is_no_skill_even_if_it_is_mostly_right():
    actual, date = np.r_[np.ones(80), -np.ones(20)], np.arange(100)
    found = M.pesaran_timmermann(np.full(100, 0.001), actual, date)
    assert found["hit_rate"] == 0.8 and found["hit_rate_expected"] == pytest.approx(0.8)
    assert math.isnan(found["pt"]) and math.isnan(found["pt_p"]) and found["directions"] == 100
    found = M.pesaran_timmermann(np.zeros(100), actual, date)  # no sign at all
    assert math.isnan(found["hit_rate"]) and found["directions"] == 0


def test_clustering_by_date_counts_copies_of_a_symbol_once():
    rng = np.random.default_rng(0)
    forecast, date = rng.normal(size=300), np.arange(300)
    actual = rng.normal(size=300) + 0.5 * forecast
    one = M.pesaran_timmermann(forecast, actual, date)
    ten = M.pesaran_timmermann(*(np.tile(x, 10) for x in (forecast, actual, date)))
    assert ten.pop("directions") == 10 * one.pop("directions") and ten == pytest.approx(one)
    apart = M.pesaran_timmermann(np.tile(forecast, 10), np.tile(actual, 10), np.arange(3000))
    assert apart["pt"] > 2.5 * one["pt"]


@pytest.mark.parametrize("rank, method", [(False, "pearson"), (True, "spearman")])
def test_information_coefficient_against_pandas(rank, method):
    quantiles, actual, date = made_forecasts()
    forecast = quantiles[..., 5]
    actual[3, 1] = np.nan
    found, t = M.information_coefficient(forecast, actual, date, lags=0, rank=rank)
    daily = []
    for day in np.unique(date):
        pairs = zip(forecast[date == day].T, actual[date == day].T)
        daily.append(np.mean([pd.Series(f).corr(pd.Series(a), method=method) for f, a in pairs]))
    assert found == pytest.approx(np.mean(daily))
    assert t == pytest.approx(np.mean(daily) / (np.std(daily) / math.sqrt(40)))


def test_information_coefficient_where_there_is_no_cross_section():
    two = np.arange(20.0)[:, None]
    assert np.isnan(M.information_coefficient(two, two, np.repeat(np.arange(10), 2))).all()
    equal = np.full((310, 1), 0.1)  # whose mean by date is not 0.1 to the last bit
    other, date = np.arange(310.0)[:, None], np.repeat(np.arange(10), 31)
    assert np.isnan(M.information_coefficient(equal, other, date)).all()
    perfect, t = M.information_coefficient(other, other**3, date, rank=True)
    assert perfect == pytest.approx(1) and math.isnan(t)  # no variation: no t


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


def test_by_group_by_hand():
    levels = (0.1, 0.5, 0.9)
    quantiles = np.array([[[-1.0, 0, 1]], [[-1.0, 0, 1]], [[-2.0, 0, 2]], [[-2.0, 0, 2]]])
    actual = np.array([[0.5], [3.0], [-2.0], [np.nan]])
    found = M.by_group(quantiles, levels, actual, np.array(["a", "a", "b", "b"]))
    assert found.index.tolist() == ["a", "b"] and found["outcomes"].tolist() == [2, 1]
    assert found["coverage_80"].tolist() == [0.5, 1.0]
    assert found["width_80"].tolist() == [20_000.0, 40_000.0]
    # Of the medians, which are 0
    assert found["mae"].tolist() == [1e4 * (0.5 + 3) / 2, 20_000.0]
    assert found["mse"].tolist() == [1e8 * (0.25 + 9) / 2, 4e8]
    # Inside: the width; outside: 2 / 0.2 = 10 times the distance more
    assert found["winkler_80"].tolist() == pytest.approx([1e4 * (2 + 22) / 2, 40_000.0])
    assert "pinball" not in found and "coverage_93" not in found


def test_pinball_is_of_all_score_levels_or_left_out():
    quantiles, actual, date = made_forecasts()
    group = np.arange(len(date)) % 3
    loss = 1e4 * pinball_loss(quantiles[..., SCORED], actual, SCORE_LEVELS)
    found = M.by_group(quantiles, QUANTILES, actual, group)["pinball"]
    np.testing.assert_allclose(found, [loss[group == g].mean() for g in range(3)])
    for lost in (0.025, 0.05, 0.25, 0.75):
        places = [i for i, q in enumerate(QUANTILES) if q != lost]
        few = scores(quantiles[..., places], actual, date, [QUANTILES[i] for i in places])
        assert "pinball" not in few and math.isfinite(few["crps"])


def test_scores_by_hand():
    quantiles = np.array([[[-0.01, 0.001, 0.01]], [[-0.02, -0.001, 0.02]]])
    actual = np.array([[0.003], [np.nan]])
    found = scores(quantiles, actual, np.arange(2), (0.1, 0.5, 0.9), naive=0.001)
    crps = 2e4 * (0.3 * 0.1 * 0.013 + 0.4 * 0.5 * 0.002 + 0.3 * 0.1 * 0.007)
    expected = {"mae": 20, "mse": 400, "mase": 2, "crps": crps, "coverage_80": 1, "width_80": 200}
    expected |= {"origins": 2, "outcomes": 1, "missing": 1, "hit_rate": 1}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(found["pt"]) and math.isnan(found["ic"])


def test_scores_are_plain_and_in_the_protocols_unit():
    quantiles, actual, date = made_forecasts()
    found = scores(quantiles, actual, date)
    assert all(type(v) is float and math.isfinite(v) for v in found.values())
    loss = 1e4 * pinball_loss(quantiles[..., SCORED], actual, SCORE_LEVELS).mean()
    assert found["pinball"] == pytest.approx(loss)
    assert 0.85 < found["coverage_93"] < 1 and 0.7 < found["coverage_80"] < 0.9
    assert found["winkler_93"] > found["width_93"] > found["width_80"]


def test_scores_of_nothing_known_are_nan():
    quantiles, actual, date = made_forecasts(days=4)
    found = scores(quantiles, np.full_like(actual, np.nan), date)
    counts = {"origins": 20, "outcomes": 0, "missing": 60, "directions": 0}
    assert {k: found[k] for k in counts} == counts
    assert all(math.isnan(v) for k, v in found.items() if k not in counts)


LENGTHS = ("pinball", "crps", "mae", "width_93", "width_80", "winkler_93", "winkler_80")


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100), gaps=st.integers(0, 10))
def test_scores_scale_with_the_unit_and_know_neither_order_nor_gaps(seed, factor, gaps):
    quantiles, actual, date = made_forecasts(seed, days=8)
    one = scores(quantiles, actual, date)
    scaled = scores(factor * quantiles, factor * actual, date, naive=factor * 0.01)
    for name, value in one.items():
        power = 1 if name in LENGTHS else 2 if name == "mse" else 0
        assert scaled[name] == pytest.approx(value * factor**power, rel=1e-6, nan_ok=True), name
    order = np.random.default_rng(seed).permutation(len(date))
    mixed = scores(quantiles[order], actual[order], date[order])
    assert mixed == pytest.approx(one, nan_ok=True)
    # Origins without an outcome are counted and change nothing else
    quantiles, actual, date = (np.concatenate([x, x[:gaps]]) for x in (quantiles, actual, date))
    actual[len(order) :] = np.nan
    longer = scores(quantiles, actual, date)
    assert longer.pop("missing") == 3 * gaps and longer.pop("origins") == len(order) + gaps
    assert longer == pytest.approx({k: v for k, v in one.items() if k in longer}, nan_ok=True)
