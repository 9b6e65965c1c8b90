"""Conformal calibration: its update by hand, its guarantee under a shift, and that it never looks ahead."""

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
)

SCORES = norm.ppf(QUANTILES)


def gaussian(spread, levels=QUANTILES):
    """Quantiles [K, H, Q] of normal forecasts of deviations `spread` [K, H]."""
    return np.asarray(spread, float)[..., None] * norm.ppf(levels)


def series(dates=60, symbols=4, horizon=3, seed=0, scale=1.0):
    """Normal forecasts of deviation 1 with outcomes of deviation `scale`: quantiles, actual, date."""
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=(dates * symbols, horizon)) * scale
    return gaussian(np.ones(actual.shape)), actual, np.repeat(np.arange(dates), symbols)


def covered(out, actual, levels=QUANTILES, level=0.93):
    low, high = (
        int(np.argmin(np.abs(np.array(levels) - q))) for q in ((1 - level) / 2, (1 + level) / 2)
    )
    return (out[..., low] <= actual) & (actual <= out[..., high])


def test_the_first_state_changes_nothing():
    quantiles = np.sort(np.random.default_rng(0).normal(size=(6, 3, len(QUANTILES))), -1)
    np.testing.assert_allclose(
        Conformal.start(3).calibrate(quantiles, QUANTILES), quantiles, atol=1e-12
    )


def test_any_level_is_interpolated_in_normal_scores_with_gaussian_tails():
    spread = np.array([[1.0, 2.0], [0.5, 3.0]])
    wanted = (0.0001, 0.01, 0.0333, 0.4, 0.5, 0.87, 0.999)
    found = Conformal.start(2).calibrate(gaussian(spread), QUANTILES, wanted)
    np.testing.assert_allclose(found, gaussian(spread, wanted), rtol=1e-9, atol=1e-12)
    kinked = np.array(
        [[[-2.0, 0.0, 1.0]]]
    )  # each half has its own slope, and keeps it beyond its end
    found = Conformal.start(1).calibrate(kinked, (0.1, 0.5, 0.9), (0.01, 0.3, 0.5, 0.7, 0.99))
    unit = norm.ppf(0.9)
    expected = [
        2 * norm.ppf(0.01) / unit,
        2 * norm.ppf(0.3) / unit,
        0,
        norm.ppf(0.7) / unit,
        norm.ppf(0.99) / unit,
    ]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_update_by_hand(symmetric):
    """Four symbols, one date: at step 1 all come in at score 1.5, at step 2 one of four lies below -3."""
    actual = np.array([[1.5, -3.5], [1.5, 0.2], [1.5, 0.3], [1.5, np.nan]])
    start = Conformal.start(2, rate=0.1, symmetric=symmetric)
    out, state = start.run(gaussian(np.ones((4, 2))), QUANTILES, actual, np.zeros(4))
    np.testing.assert_allclose(out, gaussian(np.ones((4, 2))), atol=1e-12)  # nothing was known yet
    before = norm.ppf(GRID)
    below = np.stack(
        [before >= 1.5, ((before >= -3.5) * 1 + (before >= 0.2) + (before >= 0.3)) / 3]
    )
    error = GRID - below
    if symmetric:
        error = (error - error[:, ::-1]) / 2
    np.testing.assert_allclose(state.score, np.sort(before + 0.1 * error, axis=1), rtol=1e-12)
    at = GRID.index(0.9)
    # by numbers: none lay below it, nor inside the central 80%, of which each end makes good a half
    assert state.score[0, at] - before[at] == pytest.approx(
        0.1 * 0.8 / 2 if symmetric else 0.1 * 0.9
    )
    assert (start.score == before).all()


def test_symmetric_moves_both_tails_alike_and_keeps_the_median():
    quantiles, actual, date = series(300)
    actual = 1.3 * actual + 0.8  # forecasts too narrow and too low
    states = {
        kind: Conformal.start(3, 0.05, kind).run(quantiles, QUANTILES, actual, date)[1]
        for kind in (True, False)
    }
    score = states[True].score
    np.testing.assert_allclose(score, -score[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(score[:, GRID.index(0.5)], 0, atol=1e-12)
    assert (states[False].score[:, GRID.index(0.5)] > 0.5).all()  # follows the outcomes


@pytest.mark.parametrize("symmetric", [True, False])
def test_long_run_coverage_under_a_shift(symmetric):
    """The outcomes' deviation doubles half-way: without calibration 93% intervals would hold 64% from then on."""
    dates, rng = 3000, np.random.default_rng(1)
    scale = np.where(np.arange(dates) < dates // 2, 1.0, 2.0)[:, None]
    actual, date = rng.standard_t(5, (dates, 2)) * scale, np.arange(dates)
    quantiles = gaussian(np.ones(actual.shape))
    start = Conformal.start(2, 0.1, symmetric)
    out, _ = start.run(quantiles, QUANTILES, actual, date)
    assert covered(quantiles, actual)[dates // 2 :].mean() < 0.7
    worst = np.abs(outcome_scores(quantiles, SCORES, actual)).max()
    for level in (0.93, 0.8, 0.5):
        # two tails, each within (largest score + rate) / (rate · T) of nominal; a few dates wait for their outcome
        bound = 2 * (worst + norm.ppf(0.975) + 0.1 + 2) / (0.1 * dates)
        found = covered(out, actual, level=level).mean(0)
        assert (np.abs(found - level) < bound).all()
        assert (np.abs(found - level) < 0.03).all()  # and in fact better
        assert abs(covered(out, actual, level=level)[-500:].mean() - level) < 0.04


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    cut=st.integers(0, 29),
    seed=st.integers(0, 99),
    symmetric=st.booleans(),
    gaps=st.booleans(),
    given=st.booleans(),
)
def test_no_forecast_knows_a_later_outcome(cut, seed, symmetric, gaps, given):
    """Outcomes that are not known by date `cut` are changed; forecasts made at or before it stay."""
    quantiles, actual, date = series(30, 3, seed=seed)
    if gaps:
        actual[np.random.default_rng(seed).random(actual.shape) < 0.2] = np.nan
    date = np.datetime64("2020-01-01") + date.astype("timedelta64[D]")
    due = date[:, None] + np.arange(1, 4).astype("timedelta64[D]")
    if given:  # some symbols' steps take longer than a date
        due = date[:, None] + (np.arange(1, 4) * (1 + np.arange(len(date))[:, None] % 3)).astype(
            "timedelta64[D]"
        )
    late = due > np.datetime64("2020-01-01") + np.timedelta64(cut, "D")
    changed = np.where(late, 50.0, actual)
    start = Conformal.start(3, 0.1, symmetric)
    known = due if given else None
    one, _ = start.run(quantiles, QUANTILES, actual, date, known=known)
    other, _ = start.run(quantiles, QUANTILES, changed, date, known=known)
    before = date <= np.datetime64("2020-01-01") + np.timedelta64(cut, "D")
    np.testing.assert_array_equal(one[before], other[before])


def test_a_step_is_learnt_when_it_is_known_and_not_before():
    quantiles, actual, date = series(8, 1)
    for h in range(3):
        changed = actual.copy()
        changed[2, h] = 30.0
        both = [Conformal.start(3).run(quantiles, QUANTILES, y, date)[0] for y in (actual, changed)]
        differs = (both[0] != both[1]).any(-1)
        assert not differs[:, [i for i in range(3) if i != h]].any()
        np.testing.assert_array_equal(differs[:, h], np.arange(8) >= 2 + 1 + h)


def test_the_order_of_rows_does_not_matter():
    quantiles, actual, date = series(20, 5)
    order = np.random.default_rng(0).permutation(len(date))
    one, state = Conformal.start(3).run(quantiles, QUANTILES, actual, date)
    other, end = Conformal.start(3).run(quantiles[order], QUANTILES, actual[order], date[order])
    np.testing.assert_allclose(other, one[order], atol=1e-12)
    np.testing.assert_allclose(end.score, state.score, atol=1e-12)


def test_symbols_of_a_date_are_one_update():
    """A date of forty equal symbols moves the state as far as one symbol does."""
    _, one = Conformal.start(1).run(gaussian([[1]]), QUANTILES, np.array([[9.0]]), np.zeros(1))
    _, forty = Conformal.start(1).run(
        gaussian(np.ones((40, 1))), QUANTILES, np.full((40, 1), 9.0), np.zeros(40)
    )
    np.testing.assert_allclose(forty.score, one.score, atol=1e-12)


def test_going_on_equals_going_through_at_once():
    """Where no outcome is pending between the parts."""
    quantiles, actual, date = series(20, 2, horizon=1)
    whole = Conformal.start(1).run(quantiles, QUANTILES, actual, date)
    half = date < 10
    first = Conformal.start(1).run(quantiles[half], QUANTILES, actual[half], date[half])
    second = first[1].run(quantiles[~half], QUANTILES, actual[~half], date[~half])
    np.testing.assert_allclose(np.concatenate([first[0], second[0]]), whole[0], atol=1e-12)
    np.testing.assert_allclose(second[1].score, whole[1].score, atol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 500),
    rate=st.floats(0, 3),
    symmetric=st.booleans(),
    ties=st.booleans(),
    wanted=st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=8, unique=True),
)
def test_quantiles_never_cross(seed, rate, symmetric, ties, wanted):
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(size=(24, 2, len(QUANTILES))), -1)
    if ties:
        quantiles = quantiles.round(0)
    actual = rng.normal(size=(24, 2)).round(0) * 3
    start = Conformal.start(2, rate, symmetric)
    out, state = start.run(quantiles, QUANTILES, actual, np.arange(24) // 2, sorted(wanted))
    assert (
        out.shape == (24, 2, len(wanted))
        and np.isfinite(out).all()
        and np.isfinite(state.score).all()
    )
    assert (np.diff(out, axis=-1) >= -1e-9).all() and (np.diff(state.score) >= 0).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), z=st.floats(-6, 6))
def test_scores_of_outcomes_invert_the_quantile_function(seed, z):
    quantiles = np.sort(np.random.default_rng(seed).normal(size=(1, 1, len(QUANTILES))), -1)
    price = Conformal.start(1).calibrate(quantiles, QUANTILES, (norm.cdf(z),))[..., 0]
    np.testing.assert_allclose(outcome_scores(quantiles, SCORES, price), z, atol=1e-6)


def test_scores_of_outcomes_beside_a_quantile_function_without_width():
    flat = np.zeros((3, 1, 3))
    found = outcome_scores(flat, norm.ppf((0.1, 0.5, 0.9)), np.array([[-1.0], [0.0], [1.0]]))
    np.testing.assert_allclose(found[:, 0], [-FAR, norm.ppf(0.9), FAR])
    assert np.isnan(outcome_scores(flat, norm.ppf((0.1, 0.5, 0.9)), np.full((3, 1), np.nan))).all()


def test_levels_between_and_beyond_the_grid_move_with_their_neighbours():
    quantiles, actual, date = series(300, scale=1.5)
    _, state = Conformal.start(3, 0.2).run(quantiles, QUANTILES, actual, date)
    shift = state.score - norm.ppf(GRID)
    between = norm.cdf((norm.ppf(GRID[0]) + norm.ppf(GRID[1])) / 2)
    found = state.calibrate(quantiles[:1], QUANTILES, (1e-6, between, 1 - 1e-6))[0] - norm.ppf(
        (1e-6, between, 1 - 1e-6)
    )
    expected = np.stack([shift[:, 0], shift[:, :2].mean(1), shift[:, -1]], 1)
    assert (np.abs(np.diff(shift[:, :2])) > 1e-3).all()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_unknown_outcomes_teach_nothing():
    quantiles, actual, date = series(10)
    out, state = Conformal.start(3).run(quantiles, QUANTILES, np.full_like(actual, np.nan), date)
    np.testing.assert_allclose(out, quantiles, atol=1e-12)
    assert (state.score == Conformal.start(3).score).all()


def test_fewer_steps_than_the_state_has():
    quantiles, actual, date = series(40)
    _, state = Conformal.start(3).run(quantiles, QUANTILES, actual, date)
    np.testing.assert_array_equal(
        state.calibrate(quantiles[:, :2], QUANTILES), state.calibrate(quantiles, QUANTILES)[:, :2]
    )


@pytest.mark.parametrize(
    "levels, wanted",
    [
        (QUANTILES, (0.0, 0.5)),
        (QUANTILES, (0.5, 1.0)),
        (QUANTILES, (-0.1,)),
        (QUANTILES, (0.5, float("nan"))),
        (QUANTILES, (0.9, 0.1)),
        (QUANTILES, (0.5, 0.5)),
        ((0.5,), None),
        ((0.5, 0.1), (0.5,)),
    ],
)
def test_levels_that_mean_nothing_are_refused(levels, wanted):
    quantiles = np.zeros((2, 1, len(levels)))
    for call in (
        lambda: Conformal.start(1).calibrate(quantiles, levels, wanted),
        lambda: Conformal.start(1).run(quantiles, levels, np.zeros((2, 1)), np.arange(2), wanted),
    ):
        with pytest.raises(ConfigError, match="level") as caught:
            call()
        assert one_sentence(str(caught.value))


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_rate_that_means_nothing_is_refused(rate):
    with pytest.raises(ConfigError, match="rate"):
        Conformal.start(1, rate)


def moved(quantiles, actual, date, start=None):
    due = date[:, None] + 1 + np.arange(actual.shape[1])
    return (start or Calibration(Conformal.start(actual.shape[1]))).update(
        quantiles, QUANTILES, actual, date, due
    )


def test_json_round_trip():
    record = moved(*series(30))
    found = Calibration.from_dict(json.loads(json.dumps(record.to_dict())))
    np.testing.assert_array_equal(found.state.score, record.state.score)
    assert (found.state.rate, found.state.symmetric) == (record.state.rate, record.state.symmetric)
    assert (found.coverage, found.dates) == (record.coverage, record.dates)
    asymmetric = Conformal.start(2, 0.2, False)
    assert Conformal.from_dict(asymmetric.to_dict()).symmetric is False
    never = Calibration(Conformal.start(2))
    assert Calibration.from_dict(json.loads(json.dumps(never.to_dict()))).realised(0.9) is None


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"score": [[0.0]]},
        {"score": [[float("nan")] * len(GRID)]},
        {"score": [list(range(len(GRID)))[::-1]]},
        {"rate": "fast"},
        {"rate": -1},
        {"symmetric": "yes"},
        {"grid": [0.5]},
        {"grid": 3},
    ],
    ids=str,
)
def test_json_that_makes_no_sense_is_refused(change):
    good = moved(*series(5)).to_dict()
    for bad in (
        {**good, "state": {**good["state"], **change}},
        {**good, "coverage": {}},
        {**good, "dates": None},
    ):
        with pytest.raises(CheckpointError, match="calibration") as caught:
            Calibration.from_dict(bad)
        assert one_sentence(str(caught.value))


def test_realised_coverage_is_that_of_the_last_year_as_it_was_forecast():
    quantiles, actual, date = series(YEAR + 50, 2, scale=1.5)
    record = moved(quantiles, actual, date)
    out, state = Conformal.start(3).run(quantiles, QUANTILES, actual, date)
    last = date >= 50
    for level in (0.93, 0.9, 0.8, 0.5):
        expected = covered(out, actual, level=level)[last].mean()
        if level in MEASURED:
            assert record.realised(level) == pytest.approx(expected)
    assert record.dates == YEAR and (record.state.score == state.score).all()
    assert record.realised(0.93) < record.realised(0.94) < record.realised(0.95)  # interpolated
    for unmeasured in (0.001, 0.24, 0.991, 0.9999):  # no number is made up
        assert record.realised(unmeasured) is None


def test_the_record_makes_room_for_new_dates():
    quantiles, actual, date = series(YEAR, 1)
    first = moved(quantiles, actual, date)
    far = np.full((63, 3), 100.0)  # a quarter of a year in which every outcome is missed
    second = moved(quantiles[:63], far, date[:63] + YEAR, first)
    assert second.dates == YEAR
    np.testing.assert_allclose(second.coverage, 0.75 * np.array(first.coverage), atol=1e-12)
    none = moved(quantiles[:3], np.full((3, 3), np.nan), date[:3], first)
    assert none.coverage == first.coverage
