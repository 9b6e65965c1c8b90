"""The backtest's frame as arrays, and the leaderboard that is made of them."""

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence, stocks

from tftnhits import BacktestConfig, backtest
from tftnhits.config import QUANTILES, SCORE_LEVELS
from tftnhits.errors import ConfigError
from tftnhits.evaluation.leaderboard import GROUPS, arrays, summary
from tftnhits.evaluation.metrics import pinball_loss, scores
from tftnhits.evaluation.verdicts import confidence_set, diebold_mariano

NAMES = ("random walk", "EWMA", "HAR")


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Forecasts of three baselines; those of a second seed of EWMA are a tenth wider."""
    config = BacktestConfig(
        start="2014-01-01", end="2014-06-30", months=3, valid_months=6, preset="tiny", members=NAMES
    )
    bars = stocks(("AAPL", "GOOG", "META"), "2012-06-01", "2014-08-31")
    bars = bars[(bars["symbol"] != "GOOG") | (bars["date"] <= "2014-05-15")]
    found = backtest(bars, config, tmp_path_factory.mktemp("board"), progress=False).frame
    wider = found[found["forecaster"] == "EWMA"].assign(seed=1)
    prices = [*map(str, QUANTILES), "lower_80", "upper_80", "lower_93", "upper_93"]
    close = wider[["close"]].to_numpy()
    wider[prices] = close * np.exp(1.1 * np.log(wider[prices].to_numpy(float) / close))
    return pd.concat([found, wider], ignore_index=True)


def test_arrays_are_log_returns_in_one_order(frame):
    har, walk = arrays(frame, "HAR"), arrays(frame.sample(frac=1, random_state=0), "random walk")
    for name in ("date", "symbol", "scale", "fold", "naive", "actual"):
        np.testing.assert_array_equal(getattr(har, name), getattr(walk, name))
    assert har.levels == QUANTILES and har.quantiles.shape == (len(har.date), 5, len(QUANTILES))
    rows = frame[(frame["forecaster"] == "HAR") & (frame["step"] == 3)]
    rows = rows.sort_values(["symbol", "origin"], kind="stable")
    np.testing.assert_array_equal(har.symbol, rows["symbol"].astype(str))
    np.testing.assert_allclose(
        har.quantiles[:, 2, 3], np.log(rows["0.1"] / rows["close"]), atol=1e-7
    )
    np.testing.assert_allclose(har.actual[:, 2], np.log(rows["actual"] / rows["close"]), atol=1e-12)
    lower, upper = har.calibrated[0.93]
    np.testing.assert_allclose(lower[:, 2], np.log(rows["lower_93"] / rows["close"]), atol=1e-7)
    assert (lower < upper).all() and np.isnan(har.actual).sum() == 15


def test_seeds_are_averaged_unless_one_is_named(frame):
    one, two, mean = (arrays(frame, "EWMA", s) for s in (0, 1, None))
    np.testing.assert_allclose(two.quantiles, 1.1 * one.quantiles, atol=1e-6)
    np.testing.assert_allclose(mean.quantiles, 1.05 * one.quantiles, atol=1e-6)
    for level in (0.8, 0.93):
        np.testing.assert_allclose(
            mean.calibrated[level][0], 1.05 * one.calibrated[level][0], atol=1e-6
        )
    np.testing.assert_array_equal(mean.actual, one.actual)


def test_the_summary_agrees_with_the_scores(frame):
    table = summary(frame)
    assert set(table.index) == set(NAMES) and table["pinball"].is_monotonic_increasing
    for name in ("HAR", "random walk"):
        found = arrays(frame, name)
        expected = scores(found.quantiles, found.levels, found.actual)
        for column in ("pinball", "coverage_80", "coverage_93", "width_80", "width_93", "outcomes"):
            assert table.loc[name, column] == pytest.approx(expected[column], rel=1e-9)
        loss = 1e4 * pinball_loss(
            found.quantiles[:, 0][..., [q in SCORE_LEVELS for q in QUANTILES]],
            found.actual[:, 0],
            SCORE_LEVELS,
        )
        assert table.loc[name, "pinball_1"] == pytest.approx(np.nanmean(loss))
        lower, upper = found.calibrated[0.8]
        known = np.isfinite(found.actual)
        inside = ((found.actual >= lower) & (found.actual <= upper))[known].mean()
        assert table.loc[name, "calibrated_coverage_80"] == pytest.approx(inside)
        assert table.loc[name, "calibrated_width_80"] == pytest.approx(
            1e4 * (upper - lower)[known].mean()
        )
        assert table.loc[name, "pinball_sd"] == 0


def test_seeds_count_by_their_mean_and_spread(frame):
    losses = [
        float(
            summary(frame[(frame["seed"] == s) | (frame["forecaster"] == "HAR")]).loc[
                "EWMA", "pinball"
            ]
        )
        for s in (0, 1)
    ]
    row = summary(frame).loc["EWMA"]
    assert row["pinball"] == pytest.approx(np.mean(losses)) and row["pinball_sd"] == pytest.approx(
        np.std(losses, ddof=1)
    )
    assert row["pinball_sd"] > 0


def test_verdicts_are_those_of_the_losses_by_date(frame):
    table = summary(frame[frame["seed"] == 0])
    pick = [q in SCORE_LEVELS for q in QUANTILES]
    found = {name: arrays(frame, name, 0) for name in NAMES}
    losses = {
        k: 1e4 * pinball_loss(v.quantiles[..., pick], v.actual, SCORE_LEVELS)
        for k, v in found.items()
    }
    date = found["HAR"].date
    sets = confidence_set(losses, date, block=10, seed=0)
    for name in NAMES:
        assert table.loc[name, "in_mcs"] == sets.loc[name, "included"]
        if name != "HAR":
            expected = diebold_mariano(losses[name], losses["HAR"], date, 9).p_value
            assert table.loc[name, "dm_p"] == pytest.approx(expected)
    assert np.isnan(table.loc["HAR", "dm_p"]) and table["in_mcs"].iloc[0]


@pytest.mark.parametrize("by", GROUPS)
def test_groups_add_up_to_the_whole(frame, by):
    whole, parts = summary(frame), summary(frame, by=by)
    assert list(parts.columns[:2]) == [by, "forecaster"] and "dm_p" not in parts
    for name in NAMES:
        own = parts[parts["forecaster"] == name]
        assert own["outcomes"].sum() == whole.loc[name, "outcomes"] and own[by].is_unique
        for column in ("coverage_80", "calibrated_coverage_93", "width_93"):
            assert np.average(own[column], weights=own["outcomes"]) == pytest.approx(
                whole.loc[name, column]
            )
    sizes = {"fold": 2, "tercile": 3, "month": 6, "quarter": 2, "year": 1, "symbol": 3}
    assert parts[by].nunique() == sizes[by]


def test_verdicts_of_groups_on_demand(frame):
    parts = summary(frame, by="fold", verdicts=True)
    first = summary(frame[frame["fold"] == 0])
    own = parts[parts["fold"] == 0].set_index("forecaster")
    for column in ("dm_p", "mcs_p", "pinball"):
        pd.testing.assert_series_equal(
            own[column], first[column].reindex(own.index), check_names=False
        )


@pytest.mark.parametrize("lost", ["a fold of a seed", "a fold of a baseline", "a symbol of a seed"])
def test_a_backtest_that_is_not_complete_is_refused(frame, lost):
    name, seed = ("HAR", 0) if "baseline" in lost else ("EWMA", 1)
    gone = (frame["forecaster"] == name) & (frame["seed"] == seed)
    gone &= frame["symbol"] == "GOOG" if "symbol" in lost else frame["fold"] == 1
    cut = frame[~gone]
    asks = [
        lambda: summary(cut),
        lambda: summary(cut, by="month"),
        lambda: summary(cut, by="symbol", verdicts=True),
    ]
    for ask in asks + [lambda: arrays(cut, name)] * (seed == 1):
        with pytest.raises(
            ConfigError, match=rf"{name} .*not from the same origins; finish the backtest"
        ) as caught:
            ask()
        assert one_sentence(str(caught.value))
    one = arrays(cut, name, seed)  # alone it can be had
    assert len(one.date) < len(arrays(frame, name, seed).date)


def test_origins_of_other_symbols_are_not_the_same(frame):
    other = (
        frame["symbol"].astype(str).replace({"AAPL": "AAA"})
    )  # as many, on the same dates, in the same order
    swapped = frame.assign(symbol=other.where(frame["seed"] == 1, frame["symbol"].astype(str)))
    for ask in (lambda: summary(swapped), lambda: arrays(swapped, "EWMA")):
        with pytest.raises(ConfigError, match=r"EWMA .*not from the same origins"):
            ask()


def test_what_is_not_in_the_frame_is_named(frame):
    cut = frame.drop(index=frame.index[(frame["forecaster"] == "HAR") & (frame["step"] == 5)][:1])
    for ask, words in (
        (lambda: arrays(frame, "TFT"), "no forecaster 'TFT'.*HAR"),
        (lambda: arrays(frame, "HAR", 7), "no seed 7"),
        (lambda: arrays(cut, "HAR"), "lacks a step"),
        (lambda: summary(frame, levels=(0.3,)), "level 0.3 was not forecast"),
        (lambda: summary(frame, by="moon"), "no grouping 'moon'"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            ask()
        assert one_sentence(str(caught.value))
