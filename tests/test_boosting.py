"""Gradient boosting: from two bars on, as plain arrays that say what scikit-learn's models say."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from helpers import BOOSTING_TINY, made_bars, one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from tftnhits import Boosting, BoostingConfig, PanelConfig, make_panel
from tftnhits.errors import CheckpointError, ConfigError, HistoryTooShort
from tftnhits.models.boosting import Trees
from tftnhits.models.checkpoint import Part, load_part, save_part

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def panel():
    return make_panel(made_bars(bars=260))


@pytest.fixture(scope="module")
def boosting(panel):
    return Boosting(BOOSTING_TINY).fit(panel)


def refused(record, weights):
    with pytest.raises(CheckpointError) as caught:
        Boosting.from_part(Part(record, weights))
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


def packed(arrays):
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


def test_quantiles_are_finite_sorted_and_of_the_right_shape(boosting, panel):
    found = boosting.quantiles(panel, panel.last_origins())
    assert found.shape == (4, 5, len(boosting.levels)) and np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    width = found[..., -1] - found[..., 0]
    assert (width[:, -1] > 1.5 * width[:, 0]).all()  # five steps are wider than one


def test_answers_from_two_bars(boosting, panel):
    short = make_panel(made_bars(("X",), 2, freq=None, volume=False), fitted=panel.fitted)
    assert np.isfinite(boosting.quantiles(short, short.last_origins(boosting.context))).all()
    assert boosting.context == 2 and boosting.horizon == 5


def test_training_coverage_is_near_nominal(panel):
    config = BoostingConfig(quantiles=LEVELS, trees=40, min_leaf=100, rows=5_000)
    rows = panel.origins("train", 2)
    found = Boosting(config).fit(panel).quantiles(panel, rows)
    share = (panel.outcomes(rows)[..., None] <= found).mean((0, 1))
    np.testing.assert_allclose(share, LEVELS, atol=0.05)


def test_a_seed_gives_the_same_forecast_and_files_and_another_does_not(boosting, panel):
    rows = panel.origins("valid")
    again = Boosting(BOOSTING_TINY).fit(panel)
    np.testing.assert_array_equal(boosting.quantiles(panel, rows), again.quantiles(panel, rows))
    other = Boosting(replace(BOOSTING_TINY, seed=1)).fit(panel)
    assert not np.array_equal(other.quantiles(panel, rows), again.quantiles(panel, rows))
    assert boosting.to_part() == again.to_part()


def test_errors_of_fitting(panel):
    with pytest.raises(HistoryTooShort, match="2 bars"):
        Boosting(BOOSTING_TINY).fit(make_panel(made_bars(bars=4)))
    with pytest.raises(ConfigError, match="horizon is 5 but the panel's 2"):
        Boosting(BOOSTING_TINY).fit(make_panel(made_bars(bars=60), PanelConfig(horizon=2)))


def test_round_trip_is_equal_to_the_bit(boosting, panel, tmp_path):
    record = save_part(tmp_path, "boosting", boosting.to_part())
    loaded, rows = Boosting.from_part(load_part(tmp_path, record)), panel.origins("valid")
    np.testing.assert_array_equal(loaded.quantiles(panel, rows), boosting.quantiles(panel, rows))
    assert loaded.config == boosting.config
    assert [path.name for path in tmp_path.iterdir()] == [record["weights"]]


FOREIGN = [
    ({}, ""),
    ({"config": None}, ""),
    ({"config": {"trees": 5, "colour": 1}}, "colour"),
    ({"config": {"horizon": 0}}, "horizon"),
]


@pytest.mark.parametrize("values, words", FOREIGN)
def test_foreign_records_are_refused(boosting, values, words):
    assert words in refused(values, boosting.to_part().weights)


WRONG = {
    "more": lambda a: np.zeros(3),
    "child": lambda a: np.full_like(a["child"], len(a["child"])),
    "root": lambda a: -a["root"] - 1,
    "feature": lambda a: -a["feature"] - 1,
    "value": lambda a: a["value"] * np.nan,
    "base": lambda a: a["base"][:-1],
    "threshold": lambda a: np.zeros(len(a["threshold"]), np.int64),
    "depth": lambda a: a["depth"] + 10**9,
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_are_no_trees_are_refused(boosting, name):
    record, arrays = boosting.to_part().record, boosting.trees.arrays()
    refused(record, packed({**arrays, name: WRONG[name](arrays)}))
    refused(record, b"PK\x03\x04 no archive")


def test_trees_of_other_inputs_are_refused(boosting, panel):
    arrays = boosting.trees.arrays()
    far = np.where(arrays["feature"] > 0, 999, 0).astype(np.int16)
    strange = Part(boosting.to_part().record, packed({**arrays, "feature": far}))
    with pytest.raises(CheckpointError, match="inputs"):
        Boosting.from_part(strange).quantiles(panel, panel.last_origins())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), leaves=st.integers(2, 31), rows=st.integers(1, 300))
def test_trees_predict_as_scikit_learns_models(seed, leaves, rows):
    generator = np.random.default_rng(seed)
    x = np.round(generator.normal(size=(400, 3)), 1)  # ties with thresholds
    y = x[:, 0] * x[:, 1] + generator.standard_t(3, 400)
    given = {"max_iter": 7, "max_leaf_nodes": leaves, "min_samples_leaf": 5}
    given |= {"loss": "quantile", "early_stopping": False}
    models = [HistGradientBoostingRegressor(quantile=q, **given).fit(x, y) for q in (0.1, 0.5)]
    new = generator.normal(size=(rows, 3)) * 3
    for inputs in (x, new, new.astype(np.float32)):
        expected = np.stack([m.predict(np.asarray(inputs, float)) for m in models], -1)
        predicted = Trees.of(models).predict(inputs)
        np.testing.assert_allclose(predicted, expected, rtol=1e-12, atol=1e-12)


def test_trees_of_a_target_without_anything_to_learn():
    model = HistGradientBoostingRegressor(loss="quantile", max_iter=3, early_stopping=False)
    trees = Trees.of([model.set_params(quantile=0.5).fit(np.zeros((40, 2)), np.full(40, 2.5))])
    again = Trees.from_arrays(trees.arrays(), 1)
    assert again.predict(np.ones((3, 2))).tolist() == [[2.5]] * 3
