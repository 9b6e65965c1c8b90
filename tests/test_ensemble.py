"""The quantile average and its weights."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits.config import ENSEMBLE_WEIGHTS
from tftnhits.errors import ConfigError
from tftnhits.forecast.ensemble import check_weights, combine, coverage

QUANTILES = {
    "tft": np.sort(np.random.default_rng(0).normal(size=(4, 3, 5)), -1),
    "nhits": np.ones((4, 3, 5)),
}


def test_default_weights_are_65_to_35():
    assert ENSEMBLE_WEIGHTS == {"tft": 0.65, "nhits": 0.35}
    found = combine(QUANTILES, check_weights(ENSEMBLE_WEIGHTS))
    np.testing.assert_allclose(
        found, 0.65 * QUANTILES["tft"] + 0.35 * QUANTILES["nhits"], rtol=1e-12
    )


def test_weights_are_scaled_to_sum_one():
    assert check_weights({"tft": 3, "nhits": 1}) == {"tft": 0.75, "nhits": 0.25}
    assert check_weights({"tft": 0.0, "nhits": 2}) == {"tft": 0.0, "nhits": 1.0}


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"tft": -1, "nhits": 2},
        {"tft": 0, "nhits": 0},
        {"tft": float("nan"), "nhits": 1},
        {"tft": float("inf"), "nhits": 1},
        {"tft": "most", "nhits": 1},
        {"tft": None, "nhits": 1},
        {"tft": [1, 2], "nhits": 1},
    ],
    ids=str,
)
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ConfigError, match="ensemble weights") as caught:
        check_weights(weights)
    assert one_sentence(str(caught.value))


def test_a_member_of_no_weight_need_not_answer():
    found = combine({"tft": QUANTILES["tft"]}, {"tft": 1.0, "nhits": 0.0})
    np.testing.assert_array_equal(found, QUANTILES["tft"])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_averages_of_ordered_quantiles_are_ordered_and_between(share, seed):
    a, b = np.sort(np.random.default_rng(seed).normal(size=(2, 6, 7)), -1)
    found = combine({"tft": a, "nhits": b}, {"tft": share, "nhits": 1 - share})
    assert (np.diff(found, axis=-1) >= -1e-12).all()
    assert (found <= np.maximum(a, b) + 1e-12).all() and (found >= np.minimum(a, b) - 1e-12).all()


def test_coverage_by_hand():
    actual = np.array([[0.0, 2.0], [np.nan, -1.0]])
    assert coverage(np.full((2, 2), -0.5), np.full((2, 2), 0.5), actual) == pytest.approx(1 / 3)


def test_seeds_are_averaged_and_must_be_alike():
    torch = pytest.importorskip("torch")
    from helpers import NHITS_TINY, TFT_TINY, made_panel, stir

    from tftnhits.forecast.ensemble import Network
    from tftnhits.models.store import build
    from tftnhits.training.loop import forecast_rows

    panel = made_panel(60)
    torch.manual_seed(0)
    models = [build(NHITS_TINY, panel.inputs) for _ in range(3)]
    for seed, model in enumerate(models):
        stir(model, seed)
    rows = panel.last_origins(20)
    each = [forecast_rows(m, panel, rows) for m in models]
    assert np.ptp(each, axis=0).max() > 1e-3
    np.testing.assert_allclose(Network(models).quantiles(panel, rows), np.mean(each, 0), rtol=1e-9)
    np.testing.assert_array_equal(Network(models[1]).quantiles(panel, rows), each[1])
    assert Network(models).models == tuple(models) and Network(models).model is models[0]
    wider = build(replace(NHITS_TINY, hidden=8), panel.inputs)
    other_inputs = build(NHITS_TINY, {**panel.inputs, "known": panel.inputs["known"][:2]})
    for wrong in (
        [],
        [models[0], wider],
        [models[0], build(TFT_TINY, panel.inputs)],
        [models[0], other_inputs],
    ):
        with pytest.raises(ConfigError) as caught:
            Network(wrong)
        assert one_sentence(str(caught.value))
