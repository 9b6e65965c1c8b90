"""Boosted trees as arrays say what scikit-learn's models say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from tftnhits.models.trees import Trees


def grown(seed, rows=400, columns=3, trees=7, leaves=6, levels=(0.1, 0.5)):
    generator = np.random.default_rng(seed)
    x = np.round(generator.normal(size=(rows, columns)), 1)  # ties with thresholds
    y = x[:, 0] * x[:, 1] + generator.standard_t(3, rows)
    settings = {
        "loss": "quantile",
        "max_iter": trees,
        "max_leaf_nodes": leaves,
        "min_samples_leaf": 5,
    }
    return x, [
        HistGradientBoostingRegressor(**settings, quantile=q, early_stopping=False).fit(x, y)
        for q in levels
    ]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), leaves=st.integers(2, 31), rows=st.integers(1, 300))
def test_predictions_are_scikit_learns(seed, leaves, rows):
    x, models = grown(seed, leaves=leaves)
    new = np.random.default_rng(seed + 1).normal(size=(rows, x.shape[1])) * 3
    for inputs in (x, new, new.astype(np.float32)):
        wanted = np.stack([m.predict(np.asarray(inputs, float)) for m in models], -1)
        np.testing.assert_allclose(Trees.of(models).predict(inputs), wanted, rtol=1e-12, atol=1e-12)


def test_a_target_without_anything_to_learn():
    model = HistGradientBoostingRegressor(
        loss="quantile", quantile=0.5, max_iter=3, early_stopping=False
    )
    trees = Trees.of([model.fit(np.zeros((40, 2)), np.full(40, 2.5))])
    assert trees.predict(np.ones((3, 2))).tolist() == [[2.5]] * 3


def test_round_trip_of_the_arrays():
    x, models = grown(0)
    trees = Trees.of(models)
    again = Trees.from_arrays(trees.arrays(), len(models))
    np.testing.assert_array_equal(again.predict(x), trees.predict(x))
    assert {k: v.dtype for k, v in again.arrays().items()} == {
        k: v.dtype for k, v in trees.arrays().items()
    }
    with pytest.raises(Exception, match="don't fit"):
        Trees.from_arrays(trees.arrays(), 3)
