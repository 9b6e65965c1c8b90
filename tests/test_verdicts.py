"""Diebold-Mariano by hand; confidence sets where the winner is known; verdicts of an ablation."""

import math
import sys
import warnings

import numpy as np
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tftnhits as tn
from tftnhits.errors import ConfigError, MissingDependency
from tftnhits.evaluation import verdicts as V

DAYS, SYMBOLS = 250, 4
DATE = np.repeat(np.arange(DAYS), SYMBOLS)


@pytest.fixture
def arch():
    return pytest.importorskip("arch")


def made_losses(seed=0, **shift):
    """Losses [K, 2] by name: a common part by day, an own part, and the shift given."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.gamma(2, 1, DAYS), SYMBOLS)[:, None]
    return {k: common + v + 0.3 * rng.normal(size=(len(DATE), 2)) for k, v in shift.items()}


# --- Diebold-Mariano


def test_by_hand():
    # date means of the differences: -2, 0, -1, -5; deviations 0, 2, 1, -3
    loss_a = np.array([[0.0, 2.0], [1.0, 1.0], [4.0, 4.0], [1.0, 1.0]])
    loss_b = np.array([[3.0, 3.0], [1.0, 1.0], [5.0, 5.0], [6.0, 6.0]])
    mean = -2.0
    gamma = [14 / 4, (0 + 2 - 3) / 4]
    variance = gamma[0] + 2 * 0.5 * gamma[1]  # lags 1: Bartlett weight 1/2
    correction = math.sqrt((4 + 1 - 2 * 2 + 2 * 1 / 4) / 4)  # n = 4, h = 2
    expected = correction * mean / math.sqrt(variance / 4)
    found = V.diebold_mariano(loss_a, loss_b, np.arange(4), lags=1)
    assert found == pytest.approx((expected, stats.t.cdf(expected, 3), mean, 4))


def test_without_lags_it_is_the_t_test():
    rng = np.random.default_rng(0)
    a, b, date = rng.normal(size=60), rng.normal(size=60), np.arange(60)
    expected = stats.ttest_rel(a, b, alternative="less")
    found = V.diebold_mariano(a, b, date, lags=0)
    # the correction makes the variance's n an n − 1
    assert found[:2] == pytest.approx((expected.statistic, expected.pvalue))


def test_a_is_better_and_b_is_the_mirror():
    losses = made_losses(a=0.0, b=0.05)
    a, b = losses.values()
    one, other = V.diebold_mariano(a, b, DATE, 5), V.diebold_mariano(b, a, DATE, 5)
    assert one.p_value < 0.01 and one.difference < 0
    assert other == pytest.approx((-one.statistic, 1 - one.p_value, -one.difference, DAYS))


def test_p_values_are_uniform_where_neither_is_better():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(400, 254))
    overlapping = sum(noise[:, i : i + 250] for i in range(5))  # as losses of five steps are
    p = [V.diebold_mariano(d, np.zeros(250), np.arange(250), 9).p_value for d in overlapping]
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.10  # Bartlett's errors are a little small
    naive = [V.diebold_mariano(d, np.zeros(250), np.arange(250), 0).p_value for d in overlapping]
    assert np.mean(np.array(naive) < 0.05) > 0.15


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), factor=st.floats(1e-6, 1e3), gaps=st.integers(1, 40))
def test_unit_order_and_gaps_do_not_matter(seed, factor, gaps):
    a, b = made_losses(seed, a=0.0, b=0.01).values()
    one = V.diebold_mariano(a, b, DATE, 5)
    scaled = V.diebold_mariano(factor * a, factor * b, DATE, 5)
    assert scaled.statistic == pytest.approx(one.statistic, rel=1e-6)
    order = np.random.default_rng(seed).permutation(len(DATE))
    assert V.diebold_mariano(a[order], b[order], DATE[order], 5) == pytest.approx(one)
    # What only one of the two lacks
    a, b = np.vstack([a, np.full((gaps, 2), np.nan)]), np.vstack([b, b[:gaps]])
    assert V.diebold_mariano(a, b, np.r_[DATE, DATE[:gaps]], 5) == pytest.approx(one)


def test_ties_and_too_little():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, date = np.random.default_rng(0).normal(size=30), np.arange(30)
        assert V.diebold_mariano(x, x, date, 4) == (0.0, 0.5, 0.0, 30)
        assert V.diebold_mariano(x * 0, x * 0, date, 4)[:2] == (0.0, 0.5)
        assert V.diebold_mariano(x - 1, x, date, 4)[:2] == (-math.inf, 0.0)
        assert V.diebold_mariano(x + 1, x, date, 4)[:2] == (math.inf, 1.0)
        assert math.isnan(V.diebold_mariano(x[:1], x[1:2], date[:1], 4).p_value)
        more_lags_than_dates = V.diebold_mariano(x[:3], x[3:6], date[:3], 40)
        assert math.isfinite(more_lags_than_dates.statistic)
    for other, words in ((x[:5], "one shape"), (x * np.nan, "No origin")):
        with pytest.raises(ConfigError, match=words):
            V.diebold_mariano(x, other, date, 4)


# --- confidence set


def test_the_winner_stays_and_the_loser_leaves(arch):
    losses = made_losses(best=0.0, close=0.001, worse=0.2, worst=0.5)
    found = V.confidence_set(losses, DATE, reps=300, seed=1)
    assert found.index.tolist()[2:] == ["worse", "worst"] and found.index.name == "forecaster"
    assert found["included"].tolist() == [True, True, False, False]
    assert found["p_value"].max() == 1 and (found.loc[["worse", "worst"], "p_value"] < 0.1).all()
    np.testing.assert_allclose(found["loss"]["best"], losses["best"].mean())
    again = V.confidence_set(losses, DATE, reps=300, seed=1)
    assert again.equals(found)


def test_twins_share_a_verdict(arch):
    losses = made_losses(a=0.0, b=0.3)
    losses["a again"] = losses["a"].copy()
    losses["b again"] = losses["b"] * (1 + 1e-15)  # but for rounding
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p_value = V.confidence_set(losses, DATE, reps=200)["p_value"]
        for loss in (losses["a"], losses["a"] * 0):
            assert V.confidence_set({"a": loss, "b": loss}, DATE)["p_value"].tolist() == [1, 1]
    assert p_value["a"] == p_value["a again"] == 1
    assert p_value["b"] == p_value["b again"] < 0.1


def test_only_what_all_have_is_compared():
    losses = made_losses(a=0.0, b=0.3)
    losses["a"][:50] = np.nan
    losses["b"][-30:, 1] = np.nan
    frame = V.date_losses(losses, DATE)
    known = np.isfinite(losses["a"]) & np.isfinite(losses["b"])
    assert len(frame) == DAYS - 12
    assert frame["a"].iloc[-1] == pytest.approx(losses["a"][-SYMBOLS:][known[-SYMBOLS:]].mean())


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a, b: {"a": a * np.nan, "b": b}, "No origin"),
        (lambda a, b: {"a": a, "b": b[:, :1]}, "one shape"),
        (lambda a, b: {}, "at least one"),
    ],
)
def test_losses_that_cannot_be_compared_are_refused(change, words):
    with pytest.raises(ConfigError, match=words) as error:
        V.confidence_set(change(**made_losses(a=0.0, b=0.3)), DATE)
    assert one_sentence(str(error.value))


@pytest.mark.parametrize("days", [2, 5])
def test_few_dates_do_not_crash(arch, days):
    losses = {k: v[: days * SYMBOLS] for k, v in made_losses(a=0.0, b=0.3).items()}
    found = V.confidence_set(losses, DATE[: days * SYMBOLS], reps=50)
    assert len(found) == 2 and (found["included"].all() or days > 2)  # two dates say nothing


def test_without_arch_a_typed_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[evaluation\]") as error:
        V.confidence_set(made_losses(a=0.0, b=0.1), DATE)
    assert one_sentence(str(error.value))


# --- ablation


def test_variants_lack_one_enhancement_each_and_keep_the_size():
    config = tn.TFTConfig(hidden=8, heads=2)
    off = V.enhancements(config)
    assert off == {"lstm_layers": 1, "deep_selection": False, "extra_gate": False}
    assert len(V.enhancements(tn.NHITSConfig())) == 4
    found = V.variants(config)
    assert list(found) == ["enhanced", "classic", *(f"without {name}" for name in off)]
    assert found["enhanced"] == config
    assert found["classic"] == tn.TFTConfig.classic(hidden=8, heads=2)
    for name in off:
        variant = vars(found[f"without {name}"])
        assert {k for k, v in vars(config).items() if variant[k] != v} == {name}
    few = V.variants(config, "classic, extra_gate")
    assert list(few) == ["enhanced", "classic", "without extra_gate"]


def test_an_unknown_variant_is_named():
    with pytest.raises(ConfigError, match="no variant 'gates'; choose from classic, lstm_layers"):
        V.variants(tn.TFTConfig(), "classic,gates")


def ablation_losses(by_seed: list[float], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Without and with an enhancement: [S, K], differences by seed and noise over the origins."""
    rng = np.random.default_rng(0)
    on = rng.gamma(2, 1, (len(by_seed), len(DATE)))
    away = noise * rng.standard_normal(len(DATE))
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
    found = V.compare(*ablation_losses(by_seed, noise), DATE, 4)
    assert found["verdict"] == verdict and found["difference"] == pytest.approx(np.mean(by_seed))


def test_p_over_seeds_is_the_paired_t_tests():
    found = V.compare(*ablation_losses([0.1, 0.3, 0.2], 0.1), DATE, 4)
    t = 0.2 / (0.1 / np.sqrt(3))
    assert found["difference sd"] == pytest.approx(0.1)
    assert found["p seeds"] == pytest.approx(2 * stats.t.sf(t, 2))


def test_seeds_that_all_differ_alike_are_certain():
    on = np.random.default_rng(1).gamma(2, 1, (1, len(DATE))).repeat(2, axis=0)
    found = V.compare(on + np.where(np.arange(len(DATE)) % 2, 0.5, 0.1), on, DATE, 4)
    assert found["p seeds"] == 0.0 and found["verdict"] == "helps"
