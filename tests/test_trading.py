"""The trading rule against loops and hands; Sharpe ratios against the papers' numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tftnhits.config import QUANTILES
from tftnhits.errors import ConfigError
from tftnhits.evaluation import trading as T
from tftnhits.evaluation.trading import TradingConfig

FREE = TradingConfig(cost=0.0, cap=9.0, gross=99.0, strength=1.0)


def made_forecasts(days=60, symbols=4, seed=0):
    """Medians and widths [D, S] of five-step log returns."""
    rng = np.random.default_rng(seed)
    median = 0.01 * rng.normal(size=(days, symbols))
    return median, 0.05 * np.exp(0.3 * rng.normal(size=(days, symbols)))


# --- positions


def test_position_by_hand():
    # 80% of a normal is 2.5631 deviations; an edge of one is a whole position of 10% volatility
    width = np.full((1, 3), 0.02 * 2 * stats.norm.ppf(0.9))
    found = T.positions(np.array([[0.02, -0.01, 0.09]]), width, 1, FREE)
    whole = 0.10 / (0.02 * math.sqrt(252)) / 3  # of three symbols
    assert found[0] == pytest.approx([whole, -whole / 2, whole])  # the last one clipped


def test_an_edge_below_its_costs_is_no_position():
    width = np.full((1, 3), 0.05)
    found = T.positions(np.array([[0.0010, -0.0010, 0.0011]]), width, 1, TradingConfig(cost=5.0))
    assert found[0, 0] == found[0, 1] == 0 < found[0, 2]


def test_positions_are_the_mean_of_the_last_targets():
    median, width = made_forecasts()
    target = T.positions(median, width, 1, FREE)
    # with five steps the same width is a smaller volatility a bar
    held = T.positions(median, width, 5, FREE)
    for t in (0, 3, 4, 30):
        window = target[max(t - 4, 0) : t + 1] * math.sqrt(5)
        np.testing.assert_allclose(held[t], window.sum(0) / 5, rtol=1e-9)


def test_caps_hold():
    median, width = made_forecasts()
    found = T.positions(20 * median, width / 20, 5, TradingConfig(cap=0.1, gross=0.25))
    assert np.abs(found).max() <= 0.1 + 1e-12 and np.abs(found).sum(1).max() <= 0.25 + 1e-12
    assert np.isclose(np.abs(found).sum(1), 0.25).any()


def test_no_forecast_no_position():
    median, width = made_forecasts()
    median[10, 0], width[11, 0], width[12, 0] = np.nan, np.nan, 0.0
    found = T.positions(median, width, 5)
    assert (found[10:13, 0] == 0).all() and np.isfinite(found).all() and (found[9] != 0).all()
    assert (T.positions(np.full((3, 2), np.nan), width[:3, :2], 5) == 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), cut=st.integers(1, 59))
def test_positions_see_nothing_ahead_and_do_not_know_the_order_of_symbols(seed, cut):
    median, width = made_forecasts(seed=seed)
    full = T.positions(median, width, 5)
    np.testing.assert_allclose(T.positions(median[:cut], width[:cut], 5), full[:cut], rtol=1e-12)
    order = np.random.default_rng(seed).permutation(4)
    np.testing.assert_allclose(T.positions(median[:, order], width[:, order], 5), full[:, order])


# --- trades


def test_trade_by_hand():
    weights = np.array([[0.5, -0.2], [0.5, 0.0], [0.5, 0.0]])
    returns = np.array([[0.10, 0.05], [0.0, np.nan], [-0.02, 0.0]])
    found = T.trade(weights, returns, cost=10.0)
    assert found["gross"].tolist() == pytest.approx([0.04, 0.0, -0.01])
    # after the first day 0.55 / 1.04 and -0.21 / 1.04 of the capital are held
    second = abs(0.5 - 0.55 / 1.04) + 0.21 / 1.04
    assert found["turnover"].tolist() == pytest.approx([0.7, second, 0.0])
    assert found["cost"].tolist() == pytest.approx([0.0007, 0.001 * second, 0.0])
    assert found["net"].tolist() == pytest.approx([0.04 - 0.0007, -0.001 * second, -0.01])


def test_buy_and_hold_of_one_symbol_is_its_return_and_trades_once():
    returns = np.random.default_rng(0).normal(0, 0.01, (50, 1))
    found = T.trade(T.holding(returns), returns, cost=10.0)
    np.testing.assert_allclose(found["gross"], returns[:, 0])
    assert found["turnover"].iloc[0] == 1 and found["turnover"].iloc[1:].abs().max() < 1e-12


def test_buy_and_hold_of_many_is_the_mean_of_their_growth():
    returns = np.random.default_rng(0).normal(0, 0.01, (50, 3))
    found = T.trade(T.holding(returns), returns, cost=0.0)
    growth = np.cumprod(1 + returns, axis=0).mean(1)
    np.testing.assert_allclose(np.cumprod(1 + found["net"]), growth)
    assert found["turnover"].iloc[1:].max() < 1e-12
    returns[20:, 2] = np.nan  # one leaves: its share goes to the others, at a cost
    found, weights = T.trade(T.holding(returns), returns, cost=0.0), T.holding(returns)
    assert weights[20].tolist() == [0.5, 0.5, 0.0] and found["turnover"].iloc[20] > 0.3
    assert (T.holding(np.full((3, 2), np.nan)) == 0).all()


def long_form(seed=0, days=80, symbols=3, skill=0.0):
    """symbol, date [K], quantiles [K, 5, Q], actual [K, 5] of independent daily returns."""
    rng = np.random.default_rng(seed)
    daily = np.cumsum(np.r_[np.zeros((1, symbols)), rng.normal(0, 0.01, (days + 5, symbols))], 0)
    ahead = [daily[h : days + h] - daily[:days] for h in range(1, 6)]
    ahead = np.stack(ahead, axis=-1)  # [D, S, H]
    root = 0.01 * np.sqrt(np.arange(1, 6))
    middle = skill * ahead + (1 - skill) * 0.3 * root * rng.normal(size=(days, symbols, 1))
    quantiles = middle[..., None] + root[:, None] * stats.norm.ppf(QUANTILES)
    date = np.repeat(pd.bdate_range("2020-01-01", periods=days).to_numpy(), symbols)
    symbol = np.tile(list("abc")[:symbols], days)
    return symbol, date, quantiles.reshape(-1, 5, len(QUANTILES)), ahead.reshape(-1, 5)


def test_the_rule_earns_the_next_days_return_whatever_the_order_of_rows():
    symbol, date, quantiles, actual = long_form()
    found = T.run_rule(symbol, date, quantiles, QUANTILES, actual)
    lower, upper = quantiles[:, 4, 3].reshape(80, 3), quantiles[:, 4, 7].reshape(80, 3)
    weights = T.positions(quantiles[:, 4, 5].reshape(80, 3), upper - lower, 5)
    expected = (weights * np.expm1(actual[:, 0].reshape(80, 3))).sum(1)
    np.testing.assert_allclose(found["rule"]["gross"], expected)
    assert found["rule"].index[0] == date[0] and list(found) == ["rule", "buy and hold"]
    order = np.random.default_rng(0).permutation(len(symbol))
    mixed = T.run_rule(symbol[order], date[order], quantiles[order], QUANTILES, actual[order])
    pd.testing.assert_frame_equal(mixed["rule"], found["rule"])


def test_foresight_pays_and_noise_does_not():
    found = []
    for skill in (1.0, 0.0):
        symbol, date, quantiles, actual = long_form(skill=skill, days=500)
        trades = T.run_rule(symbol, date, quantiles, QUANTILES, actual)
        found.append(T.summary(trades["rule"]))
    seer, blind = found
    assert seer["sharpe"] > 5 and blind["sharpe"] < min(1.5, blind["sharpe_gross"])
    assert blind["costs"] > 0 and 0 < blind["drawdown"] < 1


def test_unknown_outcomes_earn_nothing():
    symbol, date, quantiles, actual = long_form()
    actual[(symbol == "c") & (date > date[90])] = np.nan
    for table in T.run_rule(symbol, date, quantiles, QUANTILES, actual).values():
        assert np.isfinite(table).all(axis=None)


def test_typed_errors():
    symbol, date, quantiles, actual = long_form()
    with pytest.raises(ConfigError, match="twice") as error:
        T.run_rule(np.full(len(symbol), "a"), date, quantiles, QUANTILES, actual)
    assert one_sentence(str(error.value))
    for wrong in ({"cost": -1}, {"cap": 0}, {"volatility": float("nan")}):
        with pytest.raises(ConfigError, match="TradingConfig"):
            TradingConfig(**wrong)
    with pytest.raises(ConfigError, match="best of 0 trials"):
        T.deflated_sharpe(np.arange(5.0), 0)


def test_summary_by_hand():
    rows = [[0.02, 1.0, 0.01, 0.01], [0.0, 0.5, 0.0, -0.02]]
    trades = pd.DataFrame(rows, columns=["gross", "turnover", "cost", "net"])
    volatility = 2 * 0.03 / math.sqrt(2)
    expected = {"return": -0.02, "volatility": volatility, "sharpe": -0.02 / volatility}
    expected |= {"sharpe_gross": math.sqrt(2), "turnover": 3, "costs": 0.02, "drawdown": 0.02}
    assert T.summary(trades, periods=4) == pytest.approx(expected)


# --- luck


def test_deflated_sharpe_of_the_papers_example():
    # Bailey & López de Prado 2014: SR 2.5 a year over five years of 250 days, skewness -3, kurtosis
    # 10, the trials' ratios with variance 1/2 a year; 0.9505 again with 46 trials, or with 88 if
    # returns were normal
    ratio, variance = 2.5 / math.sqrt(250), 0.5 / 250
    best = T.expected_best(100, variance)
    assert best == pytest.approx(0.1132, abs=5e-5)
    assert T.probabilistic_sharpe(ratio, 1250, -3, 10, best) == pytest.approx(0.9004, abs=5e-5)
    fewer, normal = T.expected_best(46, variance), T.expected_best(88, variance)
    assert T.probabilistic_sharpe(ratio, 1250, -3, 10, fewer) == pytest.approx(0.9505, abs=5e-5)
    assert T.probabilistic_sharpe(ratio, 1250, benchmark=normal) == pytest.approx(0.9505, abs=5e-5)


def test_probabilistic_sharpe_of_the_papers_example():
    # Bailey & López de Prado 2012: two years of months, a ratio of 0.458 a month
    assert T.probabilistic_sharpe(0.458, 24) == pytest.approx(0.982, abs=5e-4)
    assert T.probabilistic_sharpe(0.458, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)


def test_deflated_sharpe_of_a_series():
    returns = np.random.default_rng(0).standard_t(5, 500) * 0.01 + 0.001
    ratio = returns.mean() / returns.std(ddof=1)
    z = (returns - returns.mean()) / returns.std()
    skew, kurtosis = (z**3).mean(), (z**4).mean()
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    expected = (ratio - T.expected_best(30, 1 / 499)) * math.sqrt(499 / spread)
    assert T.deflated_sharpe(returns, 30) == pytest.approx(stats.norm.cdf(expected))
    assert T.expected_best(1, 0.01) == 0
    assert T.deflated_sharpe(3 * returns, 30) == pytest.approx(T.deflated_sharpe(returns, 30))
    luck = [T.deflated_sharpe(returns, n) for n in (1, 2, 10, 100, 1000)]
    assert luck == sorted(luck, reverse=True) and luck[0] > luck[-1]


def test_sharpe_where_nothing_varies():
    assert math.isnan(T.sharpe(np.zeros(9))) and math.isnan(T.sharpe(np.ones(1)))
    assert math.isnan(T.deflated_sharpe(np.zeros(9), 5))
    assert T.sharpe(np.array([1.0, 3.0]), 4) == pytest.approx(2 / math.sqrt(2) * 2)
