"""Members and their training, the average of their quantiles, and its weights, given or learnt."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import NHITS_TINY, TFT_TINY, made_panel, one_sentence, stir
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tftnhits.config import ENSEMBLE_WEIGHTS
from tftnhits.errors import ConfigError, DataError
from tftnhits.forecast.ensemble import (
    Network,
    check_weights,
    combine,
    coverage,
    learn_weights,
    pinball_loss,
    train_members,
    with_har,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def test_weights_are_scaled_to_sum_one():
    assert ENSEMBLE_WEIGHTS == {"tft": 0.65, "nhits": 0.35} == check_weights(ENSEMBLE_WEIGHTS)
    assert check_weights({"tft": 3, "nhits": 1}) == {"tft": 0.75, "nhits": 0.25}
    assert check_weights({"nhits": 2}) == {"tft": 0.0, "nhits": 1.0}
    assert check_weights({"nhits": 2}, ["nhits"]) == {"nhits": 1.0}
    assert check_weights({"tft": 1, "walk": 1}) == {"tft": 0.5, "nhits": 0.0, "walk": 0.5}


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
        {"lstm": 1},
        {"walk": 1},
        {"walk": 1, "tft": 0},
        [1, 2],
    ],
    ids=str,
)
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ConfigError, match="ensemble weights") as caught:
        check_weights(weights)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    "wide, dates, low, high",
    [(2.0, 400, 0.7, 1.0), (1.0, 400, 0.0, 0.3), (2.0, 200, 0.0, 0.0)],
    ids=["networks are too wide", "networks know more", "too few dates"],
)
def test_har_has_the_weight_that_it_earns(wide, dates, low, high):
    generator = np.random.default_rng(0)
    known, rest = generator.normal(size=(2, dates, 1))
    actual, shape = 0.5 * known + rest, norm.ppf(LEVELS)
    har = np.sqrt(1.25) * np.broadcast_to(shape, (dates, 1, 5))
    tells = 0.5 * known[..., None] if wide == 1.0 else 0.0
    networks = tells + wide * shape * np.ones((dates, 1, 1))
    quantiles = {"tft": networks, "nhits": networks, "walk": har}
    day = np.arange(dates).astype("datetime64[D]").astype("datetime64[ns]")
    found = with_har(quantiles, ENSEMBLE_WEIGHTS, actual, day, LEVELS)
    assert low <= found.get("walk", 0.0) <= high
    assert sum(found.values()) == pytest.approx(1)
    assert found["tft"] / found["nhits"] == pytest.approx(65 / 35)
    again = with_har(quantiles, found, actual, day, LEVELS)  # from there to the same
    assert again == pytest.approx(found)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_averages_of_ordered_quantiles_are_ordered_and_between(share, seed):
    a, b = np.sort(np.random.default_rng(seed).normal(size=(2, 6, 7)), -1)
    found = combine({"tft": a, "nhits": b}, {"tft": share, "nhits": 1 - share})
    np.testing.assert_allclose(found, share * a + (1 - share) * b, atol=1e-12)
    assert (np.diff(found, axis=-1) >= -1e-12).all()
    assert (found <= np.maximum(a, b) + 1e-12).all() and (found >= np.minimum(a, b) - 1e-12).all()
    np.testing.assert_array_equal(combine({"tft": a}, {"tft": 1.0, "nhits": 0.0}), a)


def test_coverage_and_pinball_loss_by_hand():
    actual = np.array([[0.0, 2.0], [np.nan, -1.0]])
    assert coverage(np.full((2, 2), -0.5), np.full((2, 2), 0.5), actual) == pytest.approx(1 / 3)
    assert np.isnan(coverage(actual, actual, np.full((2, 2), np.nan)))
    found = pinball_loss(np.array([[1.0, 3.0]]), np.array([2.0]), (0.1, 0.9))
    assert found == pytest.approx([(0.1 * 1 + 0.1 * 1) / 2])


def test_seeds_are_averaged_and_must_be_alike():
    torch = pytest.importorskip("torch")
    from tftnhits.models.store import build

    panel = made_panel(60)
    torch.manual_seed(0)
    models = [build(NHITS_TINY, panel.inputs) for _ in range(3)]
    for seed, model in enumerate(models):
        stir(model, seed)
    rows = panel.last_origins(20)
    each = [Network(m).quantiles(panel, rows) for m in models]
    assert np.ptp(each, axis=0).max() > 1e-3
    np.testing.assert_allclose(Network(models).quantiles(panel, rows), np.mean(each, 0), rtol=1e-9)
    fewer = {**panel.inputs, "known": panel.inputs["known"][:2]}
    for other in (
        build(replace(NHITS_TINY, hidden=8), panel.inputs),
        build(TFT_TINY, panel.inputs),
        build(NHITS_TINY, fewer),
        None,
    ):
        with pytest.raises(ConfigError) as caught:
            Network([models[0], other] if other else [])
        assert one_sentence(str(caught.value))


def test_members_are_trained_by_name_and_distilled_from_seeds(tmp_path):
    pytest.importorskip("torch")
    panel = made_panel(horizon=2)
    found = train_members(panel, "tiny", None, tmp_path, False, ("nhits", "boosting"), seeds=2)
    assert list(found) == ["nhits", "boosting"] and {m.horizon for m in found.values()} == {2}
    assert {p.name for p in tmp_path.glob("*.state")} == {
        "nhits.state",
        "nhits-1.state",
        "nhits-distilled.state",
    }
    assert len(found["nhits"].models) == 1 and found["nhits"].model.config.dropout == 0
    assert found["nhits"].history[0]["epoch"] == 1
    again = train_members(panel, "tiny", None, tmp_path, False, ("nhits",), seeds=2)["nhits"]
    rows = panel.origins("test", 60)
    np.testing.assert_array_equal(
        again.quantiles(panel, rows), found["nhits"].quantiles(panel, rows)
    )
    with pytest.raises(ConfigError, match="preset"):
        train_members(panel, "giant")


def members(count, origins, seed, unit=0.01):
    """Quantiles [K, 3, 5] of members that each err in size and place, and outcomes [K, 3]."""
    rng = np.random.default_rng(seed)
    size = unit * np.exp(rng.normal(0, 0.5, (origins, 1))) * np.sqrt([1, 2, 3])
    actual = size * rng.standard_t(5, (origins, 3))
    found = {}
    for i in range(count):
        error = rng.normal(rng.normal(0, 0.2), 0.1 + 0.2 * rng.random(), (origins, 3))
        place = unit * rng.normal(0, 0.2, (origins, 3, 1))
        found[f"m{i}"] = (size * np.exp(error))[..., None] * norm.ppf(LEVELS) + place
    return found, actual


def loss(found, weights, actual):
    known = np.isfinite(actual)
    return pinball_loss(combine(found, weights), actual, LEVELS)[known].mean()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    count=st.integers(2, 3),
    origins=st.integers(2, 300),
    seed=st.integers(0, 999),
    unit=st.sampled_from([1e-6, 0.01, 1e4]),
)
def test_no_weights_of_a_grid_are_better_than_those_learnt(count, origins, seed, unit):
    found, actual = members(count, origins, seed, unit)
    actual[0, 1] = np.nan
    weights = learn_weights(found, actual, LEVELS)
    assert list(weights) == list(found) and min(weights.values()) >= 0
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * (count - 1)), -1).reshape(-1, count - 1)
    shares = [(*s, 1 - s.sum()) for s in grid if s.sum() <= 1]
    best = min(loss(found, dict(zip(found, s, strict=True)), actual) for s in shares)
    assert loss(found, weights, actual) <= best * (1 + 2e-6)


def test_weights_learnt_in_cases_with_a_known_answer():
    found, actual = members(2, 4_000, 1)
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmin([loss(found, {"m0": a, "m1": 1 - a}, actual) for a in grid])]
    assert 0.05 < best < 0.95  # neither member alone
    assert learn_weights(found, actual, LEVELS)["m0"] == pytest.approx(best, abs=0.01)
    assert learn_weights({"m0": found["m0"]}, actual, LEVELS) == {"m0": 1.0}
    perfect = found | {"m1": np.repeat(actual[..., None], 5, axis=2)}
    assert learn_weights(perfect, actual, LEVELS)["m1"] == pytest.approx(1, abs=1e-5)
    twins = {"one": found["m0"], "other": found["m0"]}
    assert sum(learn_weights(twins, actual, LEVELS).values()) == pytest.approx(1)
    assert sum(learn_weights(found, np.zeros_like(actual), LEVELS).values()) == pytest.approx(1)


def test_without_outcomes_nothing_is_learnt():
    found, actual = members(2, 5, 5)
    with pytest.raises(DataError) as caught:
        learn_weights(found, np.full_like(actual, np.nan), LEVELS)
    assert one_sentence(str(caught.value))
