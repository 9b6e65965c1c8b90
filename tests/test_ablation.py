"""Ablation: variants that lack just what they say, and verdicts that need the seeds and the dates."""

import numpy as np
import pytest
from scipy import stats

import tftnhits as tn
from tftnhits.evaluation.ablation import compare, enhancements, variants

DATES = np.repeat(np.arange(200), 3)


def test_enhancements_are_what_the_papers_lack():
    assert enhancements(tn.TFTConfig(hidden=8, heads=2)) == {
        "lstm_layers": 1,
        "deep_selection": False,
        "extra_gate": False,
    }
    assert len(enhancements(tn.NHITSConfig())) == 4


def test_variants_lack_one_enhancement_each_and_keep_the_size():
    config = tn.TFTConfig(hidden=8, heads=2)
    found = variants(config)
    assert list(found) == [
        "enhanced",
        "classic",
        "without lstm_layers",
        "without deep_selection",
        "without extra_gate",
    ]
    assert found["enhanced"] == config and found["classic"] == tn.TFTConfig.classic(
        hidden=8, heads=2
    )
    for field in enhancements(config):
        own = vars(found[f"without {field}"])
        assert {k for k, v in vars(config).items() if own[k] != v} == {field}
    assert list(variants(config, "classic, extra_gate")) == [
        "enhanced",
        "classic",
        "without extra_gate",
    ]


def test_an_unknown_variant_is_named():
    with pytest.raises(
        tn.ConfigError, match="no variant 'gates'; choose from classic, lstm_layers"
    ):
        variants(tn.TFTConfig(), "classic,gates")


def losses(by_seed: list[float], noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Without and with an enhancement: [S, K], the difference of each seed and noise over the origins."""
    rng = np.random.default_rng(seed)
    on = rng.gamma(2, 1, (len(by_seed), len(DATES)))
    away = noise * rng.standard_normal(len(DATES))
    return on + np.array(by_seed)[:, None] + away - away.mean(), on


@pytest.mark.parametrize(
    "by_seed, noise, verdict",
    [
        ([0.10, 0.11, 0.09], 0.1, "helps"),
        ([-0.10, -0.11, -0.09], 0.1, "hurts"),
        ([0.10, -0.11, 0.09], 0.1, "no difference measured"),  # the seeds disagree
        ([0.10, 0.11, 0.09], 9.0, "no difference measured"),  # the dates do
        ([0.10], 0.1, "one seed, no verdict"),
        ([0.0, 0.0, 0.0], 0.0, "no difference measured"),
    ],
)
def test_a_verdict_needs_seeds_and_dates(by_seed, noise, verdict):
    found = compare(*losses(by_seed, noise), DATES, 4)
    assert found["verdict"] == verdict and found["difference"] == pytest.approx(np.mean(by_seed))


def test_p_over_seeds_is_the_paired_t_tests():
    found = compare(*losses([0.1, 0.3, 0.2], 0.1), DATES, 4)
    t = 0.2 / (0.1 / np.sqrt(3))
    assert found["difference sd"] == pytest.approx(0.1)
    assert found["p seeds"] == pytest.approx(2 * stats.t.sf(t, 2))


def test_seeds_that_all_differ_alike_are_certain():
    on = np.random.default_rng(1).gamma(2, 1, (1, len(DATES))).repeat(2, axis=0)
    found = compare(on + np.where(np.arange(len(DATES)) % 2, 0.5, 0.1), on, DATES, 4)
    assert found["p seeds"] == 0.0 and found["verdict"] == "helps"
