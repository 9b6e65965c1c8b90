"""Back-tests of risk on published examples and on simulations of known truth."""

import numpy as np
import pytest
from scipy.stats import norm, t

from tftnhits.evaluation import risk as R


@pytest.mark.parametrize(
    ("hits", "count", "level", "rejected"),
    [
        # Kupiec 1995, table 3 (as in Jorion, Value at Risk, table 6.2): the non-rejection
        # region of 5% tests at 255 days is hits < 7 at 1%, 7 to 20 at 5%; at 1,000 days 5 to 16
        # at 1% and 38 to 64 at 5%
        (6, 255, 0.01, False),
        (7, 255, 0.01, True),
        (6, 255, 0.05, True),
        (7, 255, 0.05, False),
        (20, 255, 0.05, False),
        (21, 255, 0.05, True),
        (4, 1000, 0.01, True),
        (5, 1000, 0.01, False),
        (16, 1000, 0.01, False),
        (17, 1000, 0.01, True),
        (37, 1000, 0.05, True),
        (38, 1000, 0.05, False),
        (64, 1000, 0.05, False),
        (65, 1000, 0.05, True),
    ],
)
def test_kupiecs_published_regions(hits, count, level, rejected):
    test = R.kupiec(np.arange(count) < hits, level)
    assert (test.p_value < 0.05) == rejected


def test_kupiecs_ratio_without_hits_and_at_the_level():
    assert R.kupiec(np.zeros(250, bool), 0.01).statistic == pytest.approx(-500 * np.log(0.99))
    assert R.kupiec(np.arange(100) < 5, 0.05).statistic == pytest.approx(0, abs=1e-9)


def test_christoffersens_ratio_by_hand():
    hit = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0], bool)
    # from 0: 5 stay, 2 become hits; from 1: 2 fall, 1 stays; 3 hits of 10
    apart = 5 * np.log(5 / 7) + 2 * np.log(2 / 7) + 2 * np.log(2 / 3) + np.log(1 / 3)
    whole = 3 * np.log(0.3) + 7 * np.log(0.7)
    assert R.christoffersen(hit).statistic == pytest.approx(2 * (apart - whole))
    assert R.christoffersen(np.zeros(50, bool)).p_value == 1.0


def test_clustered_hits_fail_and_independent_ones_pass_as_often_as_they_should():
    rng = np.random.default_rng(0)
    hits = rng.random((400, 1000)) < 0.05
    p = [R.christoffersen(one).p_value for one in hits]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.04)
    clustered = np.repeat(rng.random(200) < 0.05, 5)
    assert R.christoffersen(clustered).p_value < 1e-6
    assert R.kupiec(clustered, 0.05).p_value > 1e-6


def test_the_dynamic_quantile_test_has_its_size_and_finds_what_the_var_tells():
    rng = np.random.default_rng(1)
    var = np.exp(0.3 * rng.standard_normal((300, 1500)))
    p = [R.dynamic_quantile(rng.random(1500) < 0.05, one, 0.05).p_value for one in var]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.04)
    told = rng.random(1500) < np.where(var[0] < 1, 0.1, 0.01)  # too small where it is small
    assert R.dynamic_quantile(told, var[0], 0.05).p_value < 0.05


def test_acerbi_and_szekelys_second_test():
    """Their case: t of 3 degrees for what a normal distribution was forecast."""
    rng, level = np.random.default_rng(2), 0.025
    var, shortfall = norm.ppf(1 - level), norm.pdf(norm.ppf(level)) / level
    draws, dates = rng.standard_normal((500, 1000)), np.ones(500)
    right = R.acerbi_szekely(rng.standard_normal(500), var * dates, shortfall * dates, level, draws)
    heavy = t.rvs(3, size=500, random_state=3)
    wrong = R.acerbi_szekely(heavy, var * dates, shortfall * dates, level, draws)
    assert abs(right.statistic) < 0.7 and right.p_value > 0.05
    # about −0.7 is their 5% bound at 250 dates; the mean of the wrong case is far below
    assert wrong.statistic < -0.7 and wrong.p_value < 0.01
    losses = np.array([shortfall] + [0.0] * 9)
    one = R.acerbi_szekely(losses, var * dates[:10], shortfall * dates[:10], 0.05, draws[:10])
    assert one.statistic == pytest.approx(1 - 1 / (10 * 0.05))


def test_a_probability_has_slope_one_where_it_is_right():
    rng = np.random.default_rng(5)
    told = rng.random(50_000)
    assert R.calibration_slope(told, rng.random(50_000) < told) == pytest.approx(1, abs=0.02)
    timid = 0.5 + (told - 0.5) / 2
    assert R.calibration_slope(timid, rng.random(50_000) < told) == pytest.approx(2, abs=0.04)
    assert np.isnan(R.calibration_slope(np.full(9, 0.2), np.ones(9)))
