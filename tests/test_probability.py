"""The distributions, against scipy's."""

import numpy as np
import pytest
from scipy import special

from tftnhits.probability import beta_quantile, ndtr, ndtri


def test_normal_scores_and_probabilities_are_scipys_far_into_the_tails():
    levels = np.r_[np.logspace(-300, -1, 200), np.linspace(0.1, 0.9, 81), 1 - np.logspace(-12, -1)]
    np.testing.assert_allclose(ndtri(levels), special.ndtri(levels), rtol=1e-13, atol=1e-15)
    scores = np.linspace(-8, 8, 161).reshape(7, 23)
    np.testing.assert_allclose(ndtr(scores), special.ndtr(scores), rtol=1e-12)
    assert ndtri(0.5) == 0.0


@pytest.mark.parametrize("count", [1, 7, 252, 999, 50_000])
def test_quantiles_of_the_beta_distribution_are_scipys_up_to_its_corners(count):
    for hits in np.r_[0.2, count * np.array([0.01, 0.5, 0.93, 0.999])]:
        for a, b in ((hits, count - hits + 1), (hits + 1, count - hits)):
            for level in (0.025, 0.975) if b > 0 else ():
                expected = special.betaincinv(a, b, level)
                assert beta_quantile(a, b, level) == pytest.approx(expected, abs=1e-9)
