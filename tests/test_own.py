"""What a symbol's own past tells of its intervals: causal, shrunk to the pool's, in order."""

import numpy as np
import pytest
from helpers import made_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

import tftnhits as tn
from tftnhits.config import QUANTILES
from tftnhits.forecast.conformal import YEAR
from tftnhits.forecast.own import BLOCK, LEAST, PRIOR, WARM, binomial_interval, own_history
from tftnhits.models.baselines import Walk

WANT = norm.ppf(QUANTILES)
WALK = Walk(np.tile(WANT, (5, 1)), QUANTILES)


def pool(rows, want):
    """A pool whose state is the identity."""
    return np.broadcast_to(want, (len(rows), 5, len(want)))


def panel_of(target, size=900, symbols=("A", "B")):
    """A panel whose outcomes over the scale are `target`(symbol, origin, step)."""
    panel = tn.make_panel(made_bars(symbols, size))
    for start, length in zip(panel.start, panel.length, strict=True):
        panel.target[start : start + length] = target[: len(panel.target[start : start + length])]
    return panel


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(900, 5)).astype(np.float32)


def history(panel, rows, level=0.93):
    return own_history(panel, rows, WALK, pool, WANT, level)


def test_wide_outcomes_widen_and_narrow_ones_narrow(noise):
    for size in (0.5, 1.0, 2.0):
        panel = panel_of(size * noise)
        departure, _ = history(panel, panel.last_origins())
        found = (WANT + departure)[..., -1] / WANT[-1]
        # PRIOR outcomes of the pool's stay beside 252 to 504 of its own
        assert np.all((found - 1) * (size - 1) >= 0) or size == 1
        assert (np.abs(found - size) < 0.45).all()
        np.testing.assert_allclose(departure, -departure[..., ::-1], atol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(cut=st.integers(WARM, 890), seed=st.integers(0, 99))
def test_no_origin_knows_a_later_outcome(cut, seed):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(900, 5)).astype(np.float32)
    changed = target.copy()
    for h in range(5):  # step h + 1 of an origin is known h + 1 bars later
        changed[cut - h :, h] = 50.0
    rows = np.arange(cut + 1)
    (one, before), (other, after) = (history(panel_of(t), rows) for t in (target, changed))
    np.testing.assert_array_equal(one, other)
    assert before == after


def test_the_last_is_the_last_of_all_and_other_symbols_do_not_matter(noise):
    panel = panel_of(noise * np.linspace(0.5, 2, 900)[:, None])
    last = panel.last_origins()
    every, measured = history(panel, np.flatnonzero(np.isfinite(panel.close)))
    rows = np.flatnonzero(np.isfinite(panel.close))
    for some in (last, last[:1]):
        found, one = history(panel, some)
        np.testing.assert_allclose(found, every[np.isin(rows, some)], atol=1e-12)
        assert all(measured[s] == one[s] for s in one)


@pytest.mark.parametrize("size", [2, 30, WARM, WARM + 6, WARM + 30])
def test_few_bars_leave_the_pool_as_it_is(size):
    """A new symbol whose outcomes are all far out moves by what they are beside PRIOR."""
    panel = panel_of(np.full((900, 5), 6.0, np.float32), size, ("A",))
    departure, measured = history(panel, panel.last_origins())
    known = max(size - WARM - 1, 0)
    bound = np.log1p(known / PRIOR) / (2 * norm.pdf(1.96))
    assert (np.abs(departure) <= bound + 1e-9).all() and not measured
    assert (departure[0, 0, -1] > 0) == (known > 0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), size=st.floats(0, 9), ties=st.booleans())
def test_levels_stay_in_order(seed, size, ties):
    target = np.random.default_rng(seed).standard_t(2, size=(400, 5)) * size
    panel = panel_of(target.round(0 if ties else 9).astype(np.float32), 400)
    departure, _ = history(panel, np.arange(200, 400))
    assert (np.diff(WANT + departure, axis=-1) >= -1e-9).all() and np.isfinite(departure).all()


def test_coverage_is_the_share_inside_as_calibrated_then(noise):
    panel = panel_of(noise * 1.5)
    (row, _) = panel.last_origins()
    place = row - panel.start[0]
    for level in (0.8, 0.93):
        share, dates, last = history(panel, np.array([row]), level)[1][0]
        assert dates == YEAR and last == str(panel.date[row - 5])[:10]
        # by hand: the same lane of origins, each with its own departure
        origins = np.arange(place - 5 - YEAR + 1, place - 4)
        begin = WARM + ((place - WARM) // BLOCK - 1) * BLOCK
        upper = norm.ppf((1 + level) / 2)
        state, count, inside = np.full(5, upper), np.zeros(5), []
        for t in range(begin, place):
            for h in range(1, 6):
                if t - h >= begin:
                    step = 1 / (PRIOR + count[h - 1]) / (2 * norm.pdf(min(upper, 1.96)))
                    far = abs(panel.target[t - h, h - 1]) > state[h - 1]
                    state[h - 1] += step * (level - (not far))
                    count[h - 1] += 1
            if t in origins:
                inside.append(np.abs(panel.target[t]) <= state)
        assert share == pytest.approx(np.mean(inside), abs=0.002)
    few = tn.make_panel(made_bars(("A",), WARM + LEAST + 3))
    assert not history(few, few.last_origins())[1]


@pytest.mark.parametrize("hits, count", [(0, 20), (20, 20), (13, 20), (234, 252)])
def test_the_binomial_interval_is_clopper_and_pearsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="exact")
    assert binomial_interval(hits / count, count) == pytest.approx((expected.low, expected.high))
