"""Scores against loops."""

import numpy as np
import pytest

from tftnhits.evaluation.metrics import SCORE_LEVELS, coverage, pinball_loss


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
