"""Baselines: a volatility times empirical quantiles."""

import numpy as np
import pandas as pd
import pytest
from helpers import djia, made_bars

from tftnhits import PanelConfig, make_panel
from tftnhits.errors import HistoryTooShort
from tftnhits.models.baselines import VOLATILITIES, baseline_quantiles, empirical_quantiles

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


@pytest.fixture(scope="module")
def panel():
    return make_panel(djia(("AAPL", "KO"), "2013-01-01", "2016-12-31"))


def returns(panel, rows):
    """Cumulative log returns [K, H] from the prices."""
    ahead = np.stack([panel.close[rows + h] for h in range(1, 6)], axis=1)
    return np.log(ahead / panel.close[rows, None])


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


@pytest.mark.parametrize("name", VOLATILITIES)
def test_training_coverage_is_nominal_at_each_step(panel, name):
    rows = panel.origins("train", 20)
    found, actual = baseline_quantiles(name, panel, rows, LEVELS), returns(panel, rows)
    share = (actual[..., None] <= found).mean(0)  # [H, Q]
    np.testing.assert_allclose(share, np.broadcast_to(LEVELS, (5, 5)), atol=2 / len(rows) + 1e-3)
    assert (np.diff(found, axis=-1) > 0).all()


def test_har_scales_the_quantiles_by_the_panels_volatility(panel):
    rows = panel.origins("test")[:5]
    found = baseline_quantiles("HAR", panel, rows, LEVELS)
    shape = empirical_quantiles(panel, np.asarray(panel.scale, float), LEVELS)
    for k, row in enumerate(rows):
        for h in range(5):
            np.testing.assert_allclose(found[k, h], panel.scale[row] * np.sqrt(h + 1) * shape[h], rtol=1e-6)


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
