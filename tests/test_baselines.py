"""Baselines: a volatility times empirical quantiles."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

from tftnhits import PanelConfig, make_panel
from tftnhits.errors import CheckpointError, ConfigError, HistoryTooShort, MissingDependency
from tftnhits.models import baselines as B
from tftnhits.models.baselines import (
    BASELINES,
    VOLATILITIES,
    Baseline,
    Walk,
    baseline_quantiles,
    empirical_quantiles,
)

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


@pytest.fixture(scope="module")
def panel():
    return make_panel(stocks(("AAPL", "GOOG"), "2012-01-01", "2016-12-31"))


@pytest.fixture
def arch():
    return pytest.importorskip("arch")


def returns(panel, rows):
    """Cumulative log returns [K, H] from the prices."""
    ahead = np.stack([panel.close[rows + h] for h in range(1, 6)], axis=1)
    return np.log(ahead / panel.close[rows, None])


def all_rows(panel, context=20):
    """Every origin [K] with `context` bars."""
    return np.concatenate(
        [s + np.arange(context - 1, n) for s, n in zip(panel.start, panel.length)]
    )


def test_random_walk_is_the_quantiles_of_all_training_returns(panel):
    rows = panel.origins("train", 20)
    found = baseline_quantiles("random walk", panel, rows[:3], LEVELS)
    expected = np.quantile(returns(panel, rows), LEVELS, axis=0).T
    assert found.shape == (3, 5, 5)
    for k in range(3):
        np.testing.assert_allclose(found[k], expected, rtol=1e-4, atol=1e-7)


def test_ewma_volatility_against_pandas(panel):
    found = VOLATILITIES["EWMA"](panel)
    for start, size in zip(panel.start, panel.length):
        squares = np.log(pd.Series(panel.close[start : start + size])).diff() ** 2
        expected = np.sqrt(squares.ewm(alpha=0.06).mean()).clip(lower=1e-8)
        np.testing.assert_allclose(found[start + 1 : start + size], expected[1:], rtol=1e-8)


@pytest.mark.parametrize("name", [n for n in BASELINES if n != B.SIMULATION])
def test_training_coverage_is_nominal_at_each_step(panel, name, arch):
    rows = panel.origins("train", 20)
    found, actual = baseline_quantiles(name, panel, rows, LEVELS), returns(panel, rows)
    share = (actual[..., None] <= found).mean(0)  # [H, Q]
    np.testing.assert_allclose(share, np.broadcast_to(LEVELS, (5, 5)), atol=2 / len(rows) + 1e-3)
    assert (np.diff(found, axis=-1) > 0).all()


def test_garch_volatility_against_arch(panel, arch):
    fitted = B.fit_garch(panel)
    found = B.garch_volatility(panel, fitted, 5)
    start, size = panel.start[0], panel.length[0]
    mean, deviation, omega, alpha, beta = fitted["AAPL"]
    r = np.diff(np.log(panel.close[start : start + size]))
    model = arch.arch_model(r / deviation, vol="GARCH", p=1, q=1, dist="t", rescale=False)
    forecast = model.fix([mean / deviation, omega, alpha, beta, 6.0]).forecast(horizon=5, start=0)
    expected = np.sqrt(forecast.variance.to_numpy().cumsum(1) / np.arange(1, 6)) * deviation
    # arch starts from another first variance, which is forgotten at the pace of beta
    np.testing.assert_allclose(found[start + 1 : start + size][300:], expected[300:], rtol=1e-6)
    assert np.isnan(found[start]).all()


def test_garch_of_a_young_symbol_takes_the_others_medians_and_its_own_level(arch):
    bars = stocks(("AAPL", "AMZN", "GOOG"), "2013-01-01", "2016-12-31")
    young = made_bars(("Z",), 120, seed=3)
    young["date"] = bars["date"].iloc[:120].to_numpy()
    panel = make_panel(pd.concat([bars, young], ignore_index=True))
    fitted = B.fit_garch(panel)
    assert set(fitted) == {"", "AAPL", "AMZN", "GOOG"}
    np.testing.assert_allclose(
        fitted[""][2:], np.median([fitted[k][2:] for k in ("AAPL", "AMZN", "GOOG")], axis=0)
    )
    found = B.garch_volatility(panel, fitted, 5)[panel.start[3] :][:120]
    omega, alpha, beta = fitted[""][2:]
    squares = np.diff(np.log(panel.close[panel.start[3] :][:120])) ** 2
    variance = squares[0]
    for t, square in enumerate(squares):  # the recursion, a bar at a time
        level = squares[: t + 1].mean()
        variance = omega * level + alpha * square + beta * variance
        ahead = [variance]
        for _ in range(4):
            ahead.append(omega * level + (alpha + beta) * ahead[-1])
        np.testing.assert_allclose(
            found[t + 1], np.sqrt(np.cumsum(ahead) / np.arange(1, 6)), rtol=1e-9
        )


def test_simulation_against_a_loop(panel):
    rows = panel.origins("test", 20)[[0, 7, -1]]
    found = Baseline(B.SIMULATION, panel, LEVELS).quantiles(panel, rows)
    sigma, symbol = np.asarray(panel.scale, float), panel.symbol_of(rows)
    for k, row in enumerate(rows):
        for h in range(1, 6):
            origins = np.arange(max(row - h - 499, panel.start[symbol[k]]), row - h + 1)
            z = np.log(panel.close[origins + h] / panel.close[origins]) / sigma[origins, h - 1]
            np.testing.assert_allclose(
                found[k, h - 1], np.quantile(z, LEVELS) * sigma[row, h - 1], rtol=1e-4, atol=1e-7
            )


@pytest.mark.parametrize("name", BASELINES)
def test_a_later_panel_gets_the_fitted_scale_and_sees_nothing_ahead(name, arch):
    bars = stocks(("AAPL", "GOOG"), "2011-06-01", "2015-12-31")
    config = PanelConfig(train_end="2013-12-31", valid_end="2014-12-31")
    past = make_panel(bars[bars["date"] <= "2014-12-31"], config)
    fold = Baseline(name, past, LEVELS)
    full = make_panel(bars, config, past.fitted)
    here = all_rows(past)
    there = here - past.start[past.symbol_of(here)] + full.start[past.symbol_of(here)]
    np.testing.assert_allclose(fold.quantiles(past, here), fold.quantiles(full, there), rtol=1e-6)
    # and of the same panel, rows asked for alone or together
    np.testing.assert_array_equal(
        fold.quantiles(full, there[5:9]), fold.quantiles(full, there)[5:9]
    )


@pytest.mark.parametrize("name", BASELINES)
def test_unit_of_the_price_does_not_matter(panel, name, arch):
    bars = stocks(("AAPL", "GOOG"), "2012-01-01", "2016-12-31")
    bars[["open", "high", "low", "close"]] *= 1000
    rows = panel.origins("valid", 20)[:50]
    found, expected = (baseline_quantiles(name, p, rows, LEVELS) for p in (make_panel(bars), panel))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_a_constant_series_and_no_dates_neither_warn_nor_crash(name, arch):
    bars = made_bars(("A", "B", "C"), 420, freq=None)
    still = bars["symbol"] == "B"
    bars.loc[still, ["open", "high", "low", "close"]] = 50.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = make_panel(bars, PanelConfig())
        member = Baseline(name, panel, LEVELS)
        found = member.quantiles(panel, all_rows(panel))
        assert member.quantiles(panel, np.array([], int)).shape == (0, 5, 5)
    assert np.isfinite(found).all() and (np.diff(found, axis=-1) >= 0).all()
    quiet = found[panel.symbol_of(all_rows(panel)) == 1]
    assert name == "random walk" or np.abs(quiet).max() < 1e-5


def test_only_training_outcomes_count():
    bars = made_bars(("A",), 300)
    config = PanelConfig(train_end="2015-10-30", valid_end="2015-12-31")
    changed = bars.copy()
    later = changed["date"] > "2015-10-30"
    changed.loc[later, ["open", "high", "low", "close"]] *= np.linspace(1, 9, later.sum())[:, None]
    one, other = make_panel(bars, config), make_panel(changed, config)
    np.testing.assert_array_equal(
        empirical_quantiles(one, np.ones(len(one.close)), LEVELS),
        empirical_quantiles(other, np.ones(len(other.close)), LEVELS),
    )


def test_no_training_origin_is_a_typed_error():
    panel = make_panel(made_bars(bars=20))
    with pytest.raises(HistoryTooShort, match="20 bars"):
        baseline_quantiles("HAR", panel, panel.last_origins(), LEVELS)


@pytest.mark.parametrize("bars", [200, 5])  # of which 140 and none train
def test_the_walk_has_no_drift_and_follows_the_scale(bars):
    panel = make_panel(made_bars(("A", "B"), bars))
    walk, rows = Walk.fit(panel, LEVELS), panel.last_origins(2)
    found = walk.quantiles(panel, rows)
    np.testing.assert_allclose(found, -found[..., ::-1], atol=1e-12)
    assert (np.diff(found) > 0).all() and found.shape == (2, 5, 5)
    scale = np.asarray(panel.scale, float)[rows, :, None]
    np.testing.assert_allclose(found[0], found[1] * scale[0] / scale[1], rtol=1e-9)


@pytest.mark.parametrize("shape", [[], [[1.0]], [[1, 0, 2, 3, 4]], [[0, 1, 2, 3, np.nan]]])
def test_a_walk_that_does_not_fit_its_levels_is_refused(shape):
    with pytest.raises(CheckpointError) as error:
        Walk(np.array(shape), LEVELS)
    assert one_sentence(str(error.value))


def test_typed_errors(panel, monkeypatch):
    with pytest.raises(ConfigError, match="no baseline 'GARCH'") as error:
        Baseline("GARCH", panel, LEVELS)
    assert one_sentence(str(error.value))
    for levels in ((0.0, 0.5), (0.5, 1.0), (0.9, 0.1), (), (float("nan"),)):
        with pytest.raises(ConfigError, match="levels"):
            Baseline("EWMA", panel, levels)
    short = make_panel(made_bars(), PanelConfig(horizon=2))
    with pytest.raises(ConfigError, match="horizon is 5 but the panel's 2"):
        Baseline("EWMA", panel, LEVELS).quantiles(short, short.last_origins())
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[evaluation\]") as error:
        Baseline(B.GARCH, panel, LEVELS)
    assert one_sentence(str(error.value))
