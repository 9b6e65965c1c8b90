"""The volatility scale: causal, the same for any market, and equal to what a loop would compute."""

import numpy as np
import pytest
from helpers import made_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from tftnhits import make_panel
from tftnhits.data import scale as V

FITTED = {"har": np.array([-0.07, 0.32, 0.09, 0.03, 0.2, 0.13])}
FITTED["moments"] = np.diag([1.0, 0.2, 0.1, 0.05, 0.1, 0.1])


def made(symbols=2, bars=400, seed=0):
    """Variances and returns [S, T] of clustered volatility, and slots [S, T+H] of 4 parts."""
    rng = np.random.default_rng(seed)
    level = np.cumsum(rng.normal(0, 0.05, (symbols, bars)), axis=1) - 9
    slot = np.tile(np.arange(bars + 5) % 4, (symbols, 1)).astype(np.int16)
    busy = 1 + 3 * (slot[:, :bars] == 2)
    returns = np.exp(level / 2) * np.sqrt(busy) * rng.normal(size=(symbols, bars))
    variance = returns**2 * rng.uniform(0.3, 1.5, (symbols, bars)) + np.exp(level) * 0.3 * busy
    returns[:, 0] = np.nan
    return variance, returns, slot


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cut=st.integers(2, 399), seed=st.integers(0, 9))
def test_nothing_is_known_before_it_comes(cut, seed):
    variance, returns, slot = made(seed=seed)
    whole = V.volatility_scale(variance, returns, slot, fitted=FITTED)
    part = V.volatility_scale(variance[:, :cut], returns[:, :cut], slot[:, : cut + 5], None, FITTED)
    np.testing.assert_array_equal(part.by_step(), whole.by_step()[:, :cut])
    np.testing.assert_array_equal(part.averages, whole.averages[:, :cut])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(factor=st.floats(1e-3, 1e3))
def test_larger_moves_of_all_bars_shift_the_level_alone(factor):
    """So that a model which knows one market's volatility fits another's."""
    variance, returns, slot = made()
    one = V.volatility_scale(variance, returns, slot, fitted=FITTED)
    other = V.volatility_scale(variance * factor**2, returns * factor, slot, fitted=FITTED)
    np.testing.assert_allclose(other.by_step()[:, 1:], factor * one.by_step()[:, 1:], rtol=1e-4)


def test_a_symbols_scale_does_not_depend_on_the_others():
    variance, returns, slot = made(3)
    slot[1] = 0  # of other sessions
    whole = V.volatility_scale(variance, returns, slot, fitted=FITTED).by_step()
    for s in range(3):
        own = slice(s, s + 1)
        alone = V.volatility_scale(variance[own], returns[own], slot[own], fitted=FITTED)
        np.testing.assert_array_equal(alone.by_step()[0], whole[s])


def test_the_season_is_each_parts_own_average():
    variance, returns, slot = made(1, 120)
    slow, prior = V.ewma(variance, V.ALPHAS[-1])[0], V.SEASON_PRIOR
    sums, counts = np.full(4, float(prior)), np.full(4, float(prior))
    expected = np.ones((120, 5))
    for t in range(120):
        if t:
            # all parts are remembered by their own bars: those of others don't age them
            k = slot[0, t]
            ratio = min(variance[0, t] / slow[t - 1], V.LARGEST_RATIO)
            sums[k] = prior + V.SEASON_DECAY * (sums[k] - prior) + ratio
            counts[k] = prior + V.SEASON_DECAY * (counts[k] - prior) + 1
        expected[t] = (sums / counts)[slot[0, t + 1 : t + 6]]
    found = V.volatility_scale(variance, returns, slot, fitted=FITTED).season[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[-1, 2] == found[-1].max() > 1.5  # the busy part, slot 2


def test_own_history_draws_the_coefficients_to_its_least_squares():
    variance, returns, _ = made(1, 300)
    averages = V._log_averages(variance, returns**2)
    design, rest = V._regression(averages, variance)
    own = V._own_har(design, rest, FITTED["har"], FITTED["moments"])[0]
    np.testing.assert_array_equal(own[: V.HAR_STEPS], np.tile(FITTED["har"], (V.HAR_STEPS, 1)))
    t, har = 299, FITTED["har"]
    known = np.arange(t - V.HAR_STEPS + 1)  # whose five bars ahead are over
    weight = V.OWN_DECAY ** (known[-1] - known)
    x = design[0, known]
    error = np.clip(rest[0, known] - x @ har, -V.LARGEST_ERROR, V.LARGEST_ERROR)
    left = (x * weight[:, None]).T @ x + V.OWN_PRIOR * FITTED["moments"]
    expected = har + np.linalg.solve(left, (x * weight[:, None]).T @ error)
    np.testing.assert_allclose(own[t], expected, rtol=1e-9)


def test_har_fit_recovers_known_coefficients():
    rng = np.random.default_rng(0)
    truth = np.array([0.2, 0.5, 0.2, -0.1, 0.15, 0.25])
    x = np.concatenate([np.ones((2, 400, 1)), rng.normal(size=(2, 400, 5))], axis=-1)
    rest = x @ truth
    train = np.arange(400) < np.array([[250], [300]])
    x[~train] = 1e6  # no such row may be used
    har, moments = V.fit_har(x, rest, train)
    np.testing.assert_allclose(har, truth, rtol=1e-8)
    used = x[train]
    np.testing.assert_allclose(moments, used.T @ used / len(used), atol=2 * V.RIDGE)


@pytest.mark.parametrize("bars", [1, 2, 5, 6, 40])
def test_har_of_too_few_rows_is_a_plain_average(bars):
    x, rest, train = np.ones((2, bars, 6)), np.zeros((2, bars)), np.ones((2, bars), bool)
    np.testing.assert_allclose(V.fit_har(x, rest, train)[0], [0, *[1 / 6] * 5])


def test_the_scale_knows_the_hours_of_the_session():
    """Bars from 9 to 15 whose first is three times as wide."""
    bars = made_bars(("A",), 700)
    day, hour = np.divmod(np.arange(700), 7)
    bars["date"] = np.datetime64("2015-01-05T09:00") + day * np.timedelta64(1, "D")
    bars["date"] += hour * np.timedelta64(1, "h")
    wide = np.where(hour == 0, 3.0, 1.0)
    path = np.log(bars["close"]).diff().fillna(0) * wide
    bars["close"] = 50 * np.exp(path.cumsum())
    bars["open"] = bars["close"].shift().fillna(50)
    bars["high"] = bars[["open", "close"]].max(axis=1) * (1 + 0.004 * wide)
    bars["low"] = bars[["open", "close"]].min(axis=1) * (1 - 0.004 * wide)
    panel = make_panel(bars)
    late = panel.scale[350:700, 0].reshape(-1, 7).mean(0)  # by the hour of the origin
    assert late.argmax() == 6 and late[6] > 1.8 * np.median(late)


@pytest.mark.parametrize("shape", [(3, 1), (2, 64), (2, 65, 6), (2, 200, 2, 3), (0, 9), (2, 0, 6)])
@pytest.mark.parametrize("decay", [0.5, 0.94, 0.9993])
def test_decayed_sums_are_the_recursive_filters(shape, decay):
    x = np.random.default_rng(0).normal(size=shape)
    found = V.decayed_sums(x, decay)
    assert found.shape == shape
    if x.size:
        np.testing.assert_allclose(found, lfilter([1.0], [1.0, -decay], x, axis=1), atol=1e-12)
    np.testing.assert_array_equal(V.decayed_sums(x[:, :40], decay), found[:, :40])  # causal
