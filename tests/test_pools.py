"""Kinds of bars, and the calibrations that symbols of a kind share."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars

import tftnhits as tn
from tftnhits.config import QUANTILES
from tftnhits.forecast.pools import UNDATED, calibration_of, kinds, pool_scores, taught, unseen
from tftnhits.models.baselines import Walk


def kind_of(bars):
    panel = tn.make_panel(bars)
    return str(kinds(panel, panel.last_origins())[0])


def moving(size, freq="B", bars=300):
    """Bars whose returns have a deviation of `size`."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(size=bars) * size))
    date = pd.date_range("2015-01-01", periods=bars, freq=freq)
    high, low = close * np.exp(size / 2), close * np.exp(-size / 2)
    columns = {"open": close, "high": high, "low": low, "close": close, "volume": 1.0}
    return pd.DataFrame({"symbol": "A", "date": date, **columns})


@pytest.mark.parametrize(
    "freq, size, kind",
    [
        ("B", 0.003, "daily bars of low volatility"),
        ("B", 0.015, "daily bars of usual volatility"),
        ("D", 0.06, "daily bars of high volatility"),
        ("h", 0.001, "hourly bars of low volatility"),
        ("5min", 0.001, "minute bars of usual volatility"),
        ("W-FRI", 0.03, "weekly bars of usual volatility"),
    ],
)
def test_a_kind_is_a_length_and_a_volatility(freq, size, kind):
    bars = moving(size, freq)
    assert kind_of(bars) == kind
    prices = ["open", "high", "low", "close"]
    assert kind_of(bars.assign(**{name: 9 * bars[name] for name in prices})) == kind
    assert kind_of(bars.drop(columns="date")) == UNDATED


def test_the_kind_of_an_origin_knows_no_later_bar():
    calm, wild = moving(0.002, bars=400), moving(0.08, bars=400)
    bars = pd.concat([calm.head(200), wild.tail(200)], ignore_index=True)
    fitted = tn.make_panel(bars).fitted
    whole, part = (tn.make_panel(b, fitted=fitted) for b in (bars, bars.head(200)))
    rows = np.arange(200)
    np.testing.assert_array_equal(kinds(whole, rows), kinds(part, rows))
    assert kinds(whole, whole.last_origins()) != kinds(whole, rows[-1:])


def test_each_kind_learns_by_itself_and_a_new_one_begins_with_the_first():
    def learnt(pools, bars):
        panel = tn.make_panel(bars)
        walk, rows = Walk.fit(panel, QUANTILES), np.arange(60, 290)
        rows = unseen(pools, panel, rows)
        quantiles = {"walk": 0.7 * walk.quantiles(panel, rows)}  # too narrow
        return taught(pools, panel, rows, quantiles, QUANTILES), panel, rows

    daily, panel, rows = learnt({}, made_bars(("A",), 300))
    (pool,) = daily.values()
    assert set(pool.seen) == {"A"} and len(unseen(daily, panel, rows)) == 0
    unknown = calibration_of(daily, "hourly bars of low volatility", "walk", 5)
    assert unknown is pool.calibration["walk"]
    both, panel, rows = learnt(daily, moving(0.001, "4h"))
    first, second = both.values()
    assert first is pool and set(second.seen) == {"A"}  # the same name, bars of another kind
    assert second.calibration["walk"].dates == len(rows)
    scores = pool_scores(both, "walk", panel, rows, np.array([1.0, 2.0]))
    assert scores.shape == (len(rows), 5, 2) and (scores[-1] > scores[0] + 1e-6).all()
