"""Conformal calibration: its update by hand, its guarantee, and that it never looks ahead."""

import json

import numpy as np
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tftnhits.config import QUANTILES
from tftnhits.errors import CheckpointError, ConfigError
from tftnhits.forecast.conformal import (
    FAR,
    GRID,
    MEASURED,
    YEAR,
    Calibration,
    Conformal,
    outcome_scores,
    quantiles_at,
    shifted,
)

SCORES = norm.ppf(QUANTILES)
KNOTS = norm.ppf(GRID)
DAY = np.timedelta64(1, "D")


def gaussian(spread, levels=QUANTILES):
    """Quantiles [K, H, Q] of normal forecasts of deviations `spread` [K, H]."""
    return np.asarray(spread, float)[..., None] * norm.ppf(levels)


def calibrate(state, quantiles, levels, wanted=None):
    """What a forecast becomes whose outcomes no update follows."""
    want = norm.ppf(levels if wanted is None else wanted)
    return quantiles_at(quantiles, norm.ppf(levels), shifted(state.steady, want))


def series(dates=60, symbols=4, horizon=3, seed=0, scale=1.0):
    """Normal forecasts of deviation 1, outcomes of deviation `scale`: quantiles, actual, date."""
    actual = np.random.default_rng(seed).normal(size=(dates * symbols, horizon)) * scale
    return gaussian(np.ones(actual.shape)), actual, np.repeat(np.arange(dates), symbols)


def run(quantiles, actual, date, rate=0.03, **given):
    start = Conformal.start(actual.shape[1], rate)
    return start.run(quantiles, QUANTILES, actual, date, **given)


def covered(out, actual, level=0.93):
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (int(np.argmin(np.abs(np.array(QUANTILES) - q))) for q in tails)
    return (out[..., low] <= actual) & (actual <= out[..., high])


def test_the_first_state_changes_nothing():
    quantiles = np.sort(np.random.default_rng(0).normal(size=(6, 3, len(QUANTILES))), -1)
    found = calibrate(Conformal.start(3), quantiles, QUANTILES)
    np.testing.assert_allclose(found, quantiles, atol=1e-12)


def test_any_level_is_interpolated_in_normal_scores_with_gaussian_tails():
    spread = np.array([[1.0, 2.0], [0.5, 3.0]])
    wanted = (0.0001, 0.01, 0.0333, 0.4, 0.5, 0.87, 0.999)
    found = calibrate(Conformal.start(2), gaussian(spread), QUANTILES, wanted)
    np.testing.assert_allclose(found, gaussian(spread, wanted), rtol=1e-9, atol=1e-12)
    kinked = np.array([[[-2.0, 0.0, 1.0]]])  # each half has its own slope, beyond its end too
    found = calibrate(Conformal.start(1), kinked, (0.1, 0.5, 0.9), (0.01, 0.3, 0.5, 0.7, 0.99))
    expected = norm.ppf([0.01, 0.3, 0.5, 0.7, 0.99]) / norm.ppf(0.9) * [2, 2, 1, 1, 1]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-12)


def test_one_update_by_hand():
    """Four symbols, one date: step 1 comes in at score 1.5, at step 2 one of four lies below -3."""
    actual = np.array([[1.5, -3.5], [1.5, 0.2], [1.5, 0.3], [1.5, np.nan]])
    out, state = run(gaussian(np.ones((4, 2))), actual, np.zeros(4), rate=0.1)
    np.testing.assert_allclose(out, gaussian(np.ones((4, 2))), atol=1e-12)  # nothing was known yet
    second = ((KNOTS >= -3.5) * 1 + (KNOTS >= 0.2) + (KNOTS >= 0.3)) / 3
    error = GRID - np.stack([KNOTS >= 1.5, second])
    error = (error - error[:, ::-1]) / 2
    np.testing.assert_allclose(state.score, np.sort(KNOTS + 0.1 * error, axis=1), rtol=1e-12)
    # By numbers: none lay inside the central 80%, of which each end makes good a half
    ninety = GRID.index(0.9)
    assert state.score[0, ninety] - KNOTS[ninety] == pytest.approx(0.1 * 0.8 / 2)


def test_what_stands_for_the_scores_is_their_mean_over_the_updates():
    quantiles, actual, date = series(40, scale=1.5)
    states, score = [], Conformal.start(3, 0.1)
    _, end = run(quantiles, actual, date, rate=0.1)
    for day in range(40 + 3):  # each update by itself: what was known by then
        due = date[:, None] + 1 + np.arange(3)
        _, score = run(quantiles, np.where(due <= day, actual, np.nan), date, rate=0.1)
        states.append(score.score)
    np.testing.assert_allclose(end.steady, np.mean(states[1:], axis=0), atol=1e-12)
    assert end.updates == len(states) - 1 and not np.allclose(end.steady, end.score)


def test_both_tails_move_alike_and_the_median_stays():
    quantiles, actual, date = series(300)
    score = run(quantiles, 1.3 * actual + 0.8, date, rate=0.05)[1].score
    np.testing.assert_allclose(score, -score[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(score[:, GRID.index(0.5)], 0, atol=1e-12)


def test_long_run_coverage_under_a_shift():
    """The outcomes' deviation doubles half-way: uncalibrated 93% intervals would then hold 64%."""
    dates, rng = 3000, np.random.default_rng(1)
    scale = np.where(np.arange(dates) < dates // 2, 1.0, 2.0)[:, None]
    actual, quantiles = rng.standard_t(5, (dates, 2)) * scale, gaussian(np.ones((dates, 2)))
    out, _ = run(quantiles, actual, np.arange(dates), rate=0.1)
    assert covered(quantiles, actual)[dates // 2 :].mean() < 0.7
    worst = np.abs(outcome_scores(quantiles, SCORES, actual)).max()
    for level in (0.93, 0.8, 0.5):
        # The module's bound; a few dates wait for their outcome
        bound = 2 * (worst + norm.ppf(0.975) + 0.1 + 2) / (0.1 * dates)
        found = covered(out, actual, level)
        assert (np.abs(found.mean(0) - level) < min(bound, 0.03)).all()
        assert abs(found[-500:].mean() - level) < 0.04


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cut=st.integers(0, 29), seed=st.integers(0, 99), gaps=st.booleans(), given=st.booleans())
def test_no_forecast_knows_a_later_outcome(cut, seed, gaps, given):
    """Outcomes that are not known by date `cut` are changed; forecasts made by then stay."""
    quantiles, actual, date = series(30, 3, seed=seed)
    if gaps:
        actual[np.random.default_rng(seed).random(actual.shape) < 0.2] = np.nan
    date, steps = np.datetime64("2020-01-01") + date * DAY, np.arange(1, 4)
    due, known = date[:, None] + steps * DAY, None
    if given:  # some symbols' steps take longer than a date
        due = known = date[:, None] + steps * (1 + np.arange(len(date))[:, None] % 3) * DAY
    now = np.datetime64("2020-01-01") + cut * DAY
    one, _ = run(quantiles, actual, date, rate=0.1, known=known)
    other, _ = run(quantiles, np.where(due > now, 50.0, actual), date, rate=0.1, known=known)
    np.testing.assert_array_equal(one[date <= now], other[date <= now])


def test_a_step_is_learnt_when_it_is_known_and_not_before():
    quantiles, actual, date = series(8, 1)
    for h in range(3):
        changed = actual.copy()
        changed[2, h] = 30.0
        differs = (run(quantiles, actual, date)[0] != run(quantiles, changed, date)[0]).any(-1)
        assert not np.delete(differs, h, axis=1).any()
        np.testing.assert_array_equal(differs[:, h], np.arange(8) >= 2 + 1 + h)


def test_neither_the_order_of_rows_nor_their_number_on_a_date_matters():
    quantiles, actual, date = series(20, 5)
    order = np.random.default_rng(0).permutation(len(date))
    one, state = run(quantiles, actual, date)
    other, end = run(quantiles[order], actual[order], date[order])
    np.testing.assert_allclose(other, one[order], atol=1e-12)
    np.testing.assert_allclose(end.score, state.score, atol=1e-12)
    _, single = run(gaussian([[1]]), np.array([[9.0]]), np.zeros(1))
    _, forty = run(gaussian(np.ones((40, 1))), np.full((40, 1), 9.0), np.zeros(40))
    np.testing.assert_allclose(forty.score, single.score, atol=1e-12)  # equal symbols, one update


def test_going_on_equals_going_through_at_once():
    """Where no outcome is pending between the parts."""
    quantiles, actual, date = series(20, 2, horizon=1)
    whole, end = run(quantiles, actual, date)
    half = date < 10
    first, state = run(quantiles[half], actual[half], date[half])
    second, state = state.run(quantiles[~half], QUANTILES, actual[~half], date[~half])
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-12)
    np.testing.assert_allclose(state.score, end.score, atol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 500),
    rate=st.floats(0, 3),
    ties=st.booleans(),
    wanted=st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=8, unique=True),
)
def test_quantiles_never_cross(seed, rate, ties, wanted):
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(size=(24, 2, len(QUANTILES))), -1)
    quantiles = quantiles.round(0) if ties else quantiles
    actual = rng.normal(size=(24, 2)).round(0) * 3
    out, state = run(quantiles, actual, np.arange(24) // 2, rate, wanted=sorted(wanted))
    assert out.shape == (24, 2, len(wanted)) and np.isfinite(out).all()
    assert (np.diff(out, axis=-1) >= -1e-9).all() and (np.diff(state.score) >= 0).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), z=st.floats(-6, 6))
def test_scores_of_outcomes_invert_the_quantile_function(seed, z):
    quantiles = np.sort(np.random.default_rng(seed).normal(size=(1, 1, len(QUANTILES))), -1)
    price = calibrate(Conformal.start(1), quantiles, QUANTILES, (norm.cdf(z),))[..., 0]
    np.testing.assert_allclose(outcome_scores(quantiles, SCORES, price), z, atol=1e-6)


def test_scores_of_outcomes_beside_a_quantile_function_without_width():
    flat, actual = np.zeros((4, 1, 3)), np.array([[-1.0], [0.0], [1.0], [np.nan]])
    found = outcome_scores(flat, norm.ppf((0.1, 0.5, 0.9)), actual)
    np.testing.assert_allclose(found[:, 0], [-FAR, norm.ppf(0.9), FAR, np.nan])


def test_levels_between_and_beyond_the_grid_move_with_their_neighbours():
    quantiles, actual, date = series(300, scale=1.5)
    shift = (state := run(quantiles, actual, date, rate=0.2)[1]).steady - KNOTS
    wanted = (1e-6, norm.cdf((KNOTS[0] + KNOTS[1]) / 2), 1 - 1e-6)
    found = calibrate(state, quantiles[:1], QUANTILES, wanted)[0] - norm.ppf(wanted)
    expected = np.stack([shift[:, 0], shift[:, :2].mean(1), shift[:, -1]], 1)
    assert (np.abs(np.diff(shift[:, :2])) > 1e-3).all()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_unknown_outcomes_teach_nothing():
    quantiles, actual, date = series(40)
    out, state = run(quantiles, np.full_like(actual, np.nan), date)
    np.testing.assert_allclose(out, quantiles, atol=1e-12)
    assert (state.score == Conformal.start(3).score).all()
    _, state = run(quantiles, actual, date)


@pytest.mark.parametrize(
    "levels, wanted",
    [
        (QUANTILES, (0.0, 0.5)),
        (QUANTILES, (0.5, 1.0)),
        (QUANTILES, (0.5, float("nan"))),
        (QUANTILES, (0.9, 0.1)),
        (QUANTILES, (0.5, 0.5)),
        ((0.5,), None),
        ((0.5, 0.1), (0.5,)),
    ],
)
def test_levels_that_mean_nothing_are_refused(levels, wanted):
    quantiles, start = np.zeros((2, 1, len(levels))), Conformal.start(1)
    for call in (
        lambda: start.run(quantiles, levels, np.zeros((2, 1)), np.arange(2), wanted),
        lambda: Conformal.start(1, rate=-1),
        lambda: Conformal.start(1, rate=float("nan")),
    ):
        with pytest.raises(ConfigError, match=r"level|rate") as caught:
            call()
        assert one_sentence(str(caught.value))


def updated(quantiles, actual, date, before=None):
    due = date[:, None] + 1 + np.arange(actual.shape[1])
    before = before or Calibration(Conformal.start(actual.shape[1]))
    return before.update(quantiles, QUANTILES, actual, date, due)


def test_json_round_trip():
    record = updated(*series(30))
    found = Calibration.restored(json.loads(json.dumps(record.to_dict())), record.arrays())
    np.testing.assert_array_equal(found.state.score, record.state.score)
    assert found.state.rate == record.state.rate
    assert (found.coverage, found.dates) == (record.coverage, record.dates)
    never = Calibration(Conformal.start(2))
    assert Calibration.restored(never.to_dict(), never.arrays()).realised(0.9) is None


@pytest.mark.parametrize(
    "change",
    [
        {"score": [[0.0]]},
        {"score": [[float("nan")] * len(GRID)]},
        {"score": [list(range(len(GRID)))[::-1]]},
        {"mean": [[0.0] * len(GRID)]},
        {"mean": [list(range(len(GRID)))[::-1]] * 3},
    ],
    ids=str,
)
def test_scores_that_do_not_fit_their_levels_are_refused(change):
    good = updated(*series(5))
    change = {name: np.array(values) for name, values in change.items()}
    with pytest.raises(CheckpointError, match="calibration") as caught:
        Calibration.restored(good.to_dict(), good.arrays() | change)
    assert one_sentence(str(caught.value))


def test_realised_coverage_is_that_of_the_last_year_as_it_was_forecast():
    quantiles, actual, date = series(YEAR + 50, 2, scale=1.5)
    record = updated(quantiles, actual, date)
    states = []
    _, state = run(quantiles, actual, date, states=states)
    frozen = [Conformal(score) for score in states]
    out = np.stack([calibrate(frozen[d], q[None], QUANTILES)[0] for q, d in zip(quantiles, date)])
    for level in (0.93, 0.9, 0.8, 0.5):
        expected = covered(out, actual, level)[date >= 50].mean()
        assert record.realised(level) == pytest.approx(expected)
    assert record.dates == YEAR and (record.state.score == state.score).all()
    assert record.realised(0.93) < record.realised(0.94) < record.realised(0.95)  # interpolated
    for unmeasured in (0.001, MEASURED[0] - 0.01, MEASURED[-1] + 0.001):
        assert record.realised(unmeasured) is None  # no number is made up


def test_the_record_makes_room_for_new_dates():
    quantiles, actual, date = series(YEAR, 1)
    first = updated(quantiles, actual, date)
    far = np.full((63, 3), 100.0)  # a quarter of a year in which every outcome is missed
    second = updated(quantiles[:63], far, date[:63] + YEAR, first)
    assert second.dates == YEAR
    np.testing.assert_allclose(second.coverage, 0.75 * np.array(first.coverage), atol=1e-12)
    none = updated(quantiles[:3], np.full((3, 3), np.nan), date[:3], first)
    assert none.coverage == first.coverage
