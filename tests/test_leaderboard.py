"""The backtest's frame as arrays, and the leaderboard that is made of them."""

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence, stocks

from tftnhits import BacktestConfig, backtest
from tftnhits.config import QUANTILES, SCORE_LEVELS
from tftnhits.errors import ConfigError
from tftnhits.evaluation.leaderboard import GROUPS, arrays, summary
from tftnhits.evaluation.metrics import ENDS, pinball_loss, scores
from tftnhits.evaluation.verdicts import confidence_set, diebold_mariano
from tftnhits.forecast.ensemble import coverage

NAMES = ("random walk", "EWMA", "HAR")
SCORED = [q in SCORE_LEVELS for q in QUANTILES]


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
    prices = [*map(str, QUANTILES), *ENDS]
    close = wider[["close"]].to_numpy()
    wider[prices] = close * np.exp(1.1 * np.log(wider[prices].to_numpy(float) / close))
    return pd.concat([found, wider], ignore_index=True)


def losses_of(run):
    return 1e4 * pinball_loss(run.quantiles[..., SCORED], run.actual, SCORE_LEVELS)


def test_arrays_are_log_returns_in_one_order(frame):
    har, walk = arrays(frame, "HAR"), arrays(frame.sample(frac=1, random_state=0), "random walk")
    for name in ("date", "symbol", "scale", "fold", "naive", "actual"):
        np.testing.assert_array_equal(getattr(har, name), getattr(walk, name))
    assert har.levels == QUANTILES and har.quantiles.shape == (len(har.date), 5, len(QUANTILES))
    rows = frame[(frame["forecaster"] == "HAR") & (frame["step"] == 3)]
    rows = rows.sort_values(["symbol", "origin"], kind="stable")
    np.testing.assert_array_equal(har.symbol, rows["symbol"].astype(str))
    for found, column in (
        (har.quantiles[:, 2, 3], "0.1"),
        (har.actual[:, 2], "actual"),
        (har.calibrated[:, 2, 0], "lower_93"),
        (har.calibrated[:, 2, 3], "upper_93"),
    ):
        np.testing.assert_allclose(found, np.log(rows[column] / rows["close"]), atol=1e-7)
    assert np.isnan(har.actual).sum() == 15


def test_seeds_are_averaged_unless_one_is_named(frame):
    one, two, mean = (arrays(frame, "EWMA", s) for s in (0, 1, None))
    np.testing.assert_allclose(two.quantiles, 1.1 * one.quantiles, atol=1e-6)
    np.testing.assert_allclose(mean.quantiles, 1.05 * one.quantiles, atol=1e-6)
    np.testing.assert_allclose(mean.calibrated, 1.05 * one.calibrated, atol=1e-6)
    np.testing.assert_array_equal(mean.actual, one.actual)


def test_the_summary_agrees_with_the_scores(frame):
    table = summary(frame)
    assert set(table.index) == set(NAMES) and table["pinball"].is_monotonic_increasing
    for name in ("HAR", "random walk"):
        run, row = arrays(frame, name), table.loc[name]
        expected = scores(run.quantiles, run.levels, run.actual, run.date, run.naive)
        for column in ("pinball", "coverage_80", "coverage_93", "width_80", "width_93", "outcomes"):
            assert row[column] == pytest.approx(expected[column], rel=1e-9)
        assert row["pinball_1"] == pytest.approx(np.nanmean(losses_of(run)[:, 0]))
        lower, upper = run.calibrated[..., 1], run.calibrated[..., 2]
        width = 1e4 * (upper - lower)[np.isfinite(run.actual)].mean()
        assert row["calibrated_coverage_80"] == coverage(lower, upper, run.actual)
        assert row["calibrated_width_80"] == pytest.approx(width) and row["pinball_sd"] == 0


def test_seeds_count_by_their_mean_and_spread(frame):
    losses = [np.nanmean(losses_of(arrays(frame, "EWMA", seed))) for seed in (0, 1)]
    row = summary(frame).loc["EWMA"]
    assert row["pinball"] == pytest.approx(np.mean(losses))
    assert row["pinball_sd"] == pytest.approx(np.std(losses, ddof=1)) and row["pinball_sd"] > 0


def test_verdicts_are_those_of_the_losses_by_date(frame):
    table = summary(frame[frame["seed"] == 0])
    losses = {name: losses_of(arrays(frame, name, 0)) for name in NAMES}
    date = arrays(frame, "HAR").date
    sets = confidence_set(losses, date, block=10, seed=0)
    for name in NAMES:
        assert table.loc[name, "in_mcs"] == sets.loc[name, "included"]
        if name != "HAR":
            expected = diebold_mariano(losses[name], losses["HAR"], date, 9).p_value
            assert table.loc[name, "dm_p"] == pytest.approx(expected)
    assert np.isnan(table.loc["HAR", "dm_p"]) and table["in_mcs"].iloc[0]


@pytest.mark.parametrize("by, groups", [*zip(GROUPS, (2, 3, 6, 2, 1, 3))])
def test_groups_add_up_to_the_whole(frame, by, groups):
    whole, parts = summary(frame), summary(frame, by=by)
    assert list(parts.columns[:2]) == [by, "forecaster"] and "dm_p" not in parts
    assert parts[by].nunique() == groups
    for name in NAMES:
        rows = parts[parts["forecaster"] == name]
        assert rows["outcomes"].sum() == whole.loc[name, "outcomes"] and rows[by].is_unique
        for column in ("coverage_80", "calibrated_coverage_93", "width_93"):
            mean = np.average(rows[column], weights=rows["outcomes"])
            assert mean == pytest.approx(whole.loc[name, column])


@pytest.mark.parametrize(
    "name, seed, lost", [("EWMA", 1, "fold"), ("HAR", 0, "fold"), ("EWMA", 1, "symbol")]
)
def test_a_backtest_that_is_not_complete_is_refused(frame, name, seed, lost):
    gone = (frame["forecaster"] == name) & (frame["seed"] == seed)
    cut = frame[~gone | (frame[lost] != frame[lost].iloc[-1])]
    with pytest.raises(ConfigError, match=rf"{name} .*not from the same origins") as caught:
        summary(cut)
    assert one_sentence(str(caught.value))
    if seed == 1:
        with pytest.raises(ConfigError, match=rf"{name} .*not from the same origins"):
            arrays(cut, name)
    one = arrays(cut, name, seed)  # alone it can be had
    assert len(one.date) < len(arrays(frame, name, seed).date)


def test_origins_of_other_symbols_are_not_the_same(frame):
    symbol = frame["symbol"].astype(str)
    other = symbol.replace({"AAPL": "AAA"})  # as many, on the same dates, in the same order
    swapped = frame.assign(symbol=other.where(frame["seed"] == 1, symbol))
    with pytest.raises(ConfigError, match=r"EWMA .*not from the same origins"):
        summary(swapped)


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda frame: arrays(frame, "TFT"), "no forecaster 'TFT'.*HAR"),
        (lambda frame: arrays(frame, "HAR", 7), "no seed 7"),
        (lambda frame: arrays(frame[1:], frame["forecaster"].iloc[0]), "lacks a step"),
        (lambda frame: summary(frame, by="moon"), "no grouping 'moon'"),
    ],
)
def test_what_is_not_in_the_frame_is_named(frame, ask, words):
    with pytest.raises(ConfigError, match=words) as caught:
        ask(frame)
    assert one_sentence(str(caught.value))
