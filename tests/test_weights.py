"""Weights learnt by pinball loss, against a grid of all weights."""

import numpy as np
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tftnhits.errors import ConfigError, DataError
from tftnhits.evaluation.metrics import pinball_loss
from tftnhits.forecast.ensemble import combine, learn_weights


LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def members(count, origins, seed, unit=0.01):
    """Outcomes [K, 3] and quantiles [K, 3, 5] of members that each err in size and place."""
    rng = np.random.default_rng(seed)
    size = unit * np.exp(rng.normal(0, 0.5, (origins, 1))) * np.sqrt([1, 2, 3])
    actual = size * rng.standard_t(5, (origins, 3))
    found = {}
    for i in range(count):
        believed = size * np.exp(
            rng.normal(rng.normal(0, 0.2), 0.1 + 0.2 * rng.random(), (origins, 3))
        )
        found[f"m{i}"] = believed[..., None] * norm.ppf(LEVELS) + unit * rng.normal(
            0, 0.2, (origins, 3, 1)
        )
    return found, actual


def loss(found, weights, actual):
    known = np.isfinite(actual)
    return pinball_loss(combine(found, weights), actual, LEVELS)[known].mean()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(2, 3), st.integers(2, 300), st.integers(0, 999), st.sampled_from([1e-6, 0.01, 1e4])
)
def test_no_weights_of_a_grid_are_better(count, origins, seed, unit):
    found, actual = members(count, origins, seed, unit)
    actual[0, 1] = np.nan
    weights = learn_weights(found, actual, LEVELS)
    assert list(weights) == list(found) and min(weights.values()) >= 0
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    grid = np.linspace(0, 1, 21)
    shares = (
        [(a, 1 - a) for a in grid]
        if count == 2
        else [(a, b, 1 - a - b) for a in grid for b in grid if a + b <= 1]
    )
    best = min(loss(found, dict(zip(found, s)), actual) for s in shares)
    assert loss(found, weights, actual) <= best * (1 + 2e-6)


def test_a_fine_grid_finds_the_same_weights():
    found, actual = members(2, 4_000, 1)
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmin([loss(found, {"m0": a, "m1": 1 - a}, actual) for a in grid])]
    assert 0.05 < best < 0.95  # neither member alone
    assert learn_weights(found, actual, LEVELS)["m0"] == pytest.approx(best, abs=0.01)


def test_a_perfect_member_takes_all():
    found, actual = members(3, 200, 2)
    found["m1"] = np.repeat(actual[..., None], 5, axis=2)
    assert learn_weights(found, actual, LEVELS)["m1"] == pytest.approx(1, abs=1e-5)


def test_twins_and_a_single_member():
    found, actual = members(1, 50, 3)
    assert learn_weights(found, actual, LEVELS) == {"m0": 1.0}
    weights = learn_weights({"one": found["m0"], "other": found["m0"]}, actual, LEVELS)
    assert sum(weights.values()) == pytest.approx(1)


def test_outcomes_that_are_all_zero_are_no_trouble():
    found, actual = members(2, 50, 4)
    weights = learn_weights(found, np.zeros_like(actual), LEVELS)
    best = min(
        loss(found, {"m0": a, "m1": 1 - a}, np.zeros_like(actual)) for a in np.linspace(0, 1, 101)
    )
    assert loss(found, weights, np.zeros_like(actual)) <= best * (1 + 2e-6)


def test_what_cannot_be_learnt_is_refused():
    found, actual = members(2, 5, 5)
    for arguments, error in (
        ((found, np.full_like(actual, np.nan)), DataError),
        (({}, actual), ConfigError),
    ):
        with pytest.raises(error) as caught:
            learn_weights(*arguments, LEVELS)
        assert one_sentence(str(caught.value))
