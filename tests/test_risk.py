"""What paths answer, against the paths themselves and against what is known in closed form."""

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence, stocks

import tftnhits as tn
from tftnhits.forecast import risk as R
from tftnhits.forecast.paths import COLUMNS, Paths

STEPS = 5
ENDS = (0.035, 0.1, 0.5, 0.9, 0.965)


@pytest.fixture(scope="module")
def fc():
    bars = stocks(("AAPL", "GOOG", "NVDA"), "2014-01-01", "2017-12-31")
    return tn.Predictor.load().predict(bars)


@pytest.fixture(scope="module")
def frame(fc):
    return fc.paths()


def made(close, last=100.0):
    """Paths of one symbol and step with these closes."""
    close = np.asarray(close, float)[None, None]
    bars = dict.fromkeys(COLUMNS, close)
    date = np.full((1, 1), np.datetime64("2020-01-02"))
    return Paths(np.array(["A"], object), date[0], np.array([last]), date, bars, {"A": []})


def test_the_value_at_risk_and_shortfall_of_known_losses():
    # 100 losses of 1, 2, … 100%
    table = R.value_at_risk(made(100 - np.arange(1, 101)), 1.0, (0.05, 0.025, 0.001))
    np.testing.assert_allclose(table["var"], [0.955, 0.98, 1.0])
    np.testing.assert_allclose(table["es"], [0.98, (1 + 0.99 + 0.98 / 2) / 2.5, 1.0])
    short = R.value_at_risk(made(100 - np.arange(1, 101)), "short", (0.05,))
    np.testing.assert_allclose(short["var"], [-0.055])  # all of it is a gain
    money = R.value_at_risk(made(100 - np.arange(1, 101)), -10_000, (0.05,))
    np.testing.assert_allclose(money[["var", "es"]], [[-550, -300]])


def test_risk_is_read_from_the_forecasts_quantiles(fc):
    table = fc.risk(levels=(0.05, 0.025))
    assert list(table) == ["symbol", "step", "date", "level", "var", "es"]
    last = fc.bars.groupby("symbol")["close"].last()
    for level in ("0.05", "0.025"):
        rows = table[table["level"] == float(level)]
        wanted = 1 - fc.frame[level].to_numpy() / last[fc.frame["symbol"]].to_numpy()
        np.testing.assert_allclose(rows["var"], wanted, rtol=0.02)
    assert (table["es"] > table["var"]).all()


def test_a_portfolios_risk_is_that_of_its_paths(fc, frame):
    weights = {"AAPL": 0.5, "NVDA": -0.25}
    table = fc.risk(weights=weights, levels=(0.1,))
    close = frame.set_index(["symbol", "step", "path"])["close"]
    last = fc.bars.groupby("symbol")["close"].last()
    gain = sum(w * (close[s] / last[s] - 1) for s, w in weights.items())
    wanted = -gain.groupby("step").apply(lambda x: np.sort(x)[99:101].mean())
    np.testing.assert_allclose(table["var"], wanted, rtol=1e-9)
    assert set(table["symbol"]) == {"portfolio"}
    alone = fc.risk(weights={"AAPL": 1.0})
    np.testing.assert_allclose(alone["var"], fc.risk().query("symbol == 'AAPL'")["var"], rtol=1e-9)


def test_a_level_is_touched_by_highs_or_lows_until_a_step(fc, frame):
    last = fc.bars.groupby("symbol")["close"].last()
    above, below = 1.02 * last["AAPL"], 0.97 * last["AAPL"]
    table = fc.touch({"AAPL": [above, below]})
    mine = frame[frame["symbol"] == "AAPL"].set_index(["path", "step"])
    high = mine["high"].unstack().cummax(axis=1)
    low = mine["low"].unstack().cummin(axis=1)
    np.testing.assert_allclose(table["probability"][:STEPS], (high >= above).mean())
    np.testing.assert_allclose(table["probability"][STEPS:], (low <= below).mean())
    assert table["side"].tolist() == ["above"] * STEPS + ["below"] * STEPS
    np.testing.assert_allclose(table["percent"][[0, STEPS]], [2, -3])
    by_percent = fc.touch(percent=[2, -3]).query("symbol == 'AAPL'")
    np.testing.assert_allclose(by_percent["probability"], table["probability"])
    # nearer levels, and more bars, are touched more often
    assert (table.groupby("price")["probability"].diff().dropna() >= 0).all()
    assert (fc.touch(percent=0)["probability"] > 0.5).all()


def test_the_range_of_tomorrow(fc, frame):
    table = fc.range()
    assert list(table) == ["symbol", "step", "date", "what", *(f"{q:g}" for q in ENDS)]
    assert table["what"].tolist() == ["high", "low", "high ÷ low"] * 3
    first = frame[(frame["step"] == 1) & (frame["symbol"] == "GOOG")]
    ratio = (first["high"] / first["low"]).quantile(ENDS)
    mine = table.query("symbol == 'GOOG' and what == 'high ÷ low'")
    np.testing.assert_allclose(mine[[f"{q:g}" for q in ENDS]].to_numpy()[0], ratio)
    later = fc.range(step=3)
    assert later["step"].eq(3).all() and later.attrs["warnings"] == []


def test_the_probability_of_closes(fc):
    up = fc.probability()
    assert up["event"].eq("up").all() and len(up) == 3 * STEPS
    watchlist = fc.table().set_index("symbol")["p_up"]
    last = up[up["step"] == STEPS].set_index("symbol")["probability"]
    np.testing.assert_allclose(last, watchlist[last.index], atol=0.002)
    median = fc.frame.query("symbol == 'NVDA'")["median"].iloc[0]
    both = fc.probability(above={"NVDA": median}, below={"NVDA": [median]}).query("step == 1")
    np.testing.assert_allclose(both["probability"], [0.5, 0.5], atol=0.002)
    whole = fc.probability(below=0.9, weights={"NVDA": 1.0})
    assert (whole["symbol"] == "portfolio").all() and whole["probability"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda fc: fc.touch(180), "by symbol"),
        (lambda fc: fc.touch({"AAPL": -1}), "no price"),
        (lambda fc: fc.touch({"AAPL": float("nan")}), "no price"),
        (lambda fc: fc.touch({"AAPL": "high"}), "no price"),
        (lambda fc: fc.touch({"TSLA": 100}), "'TSLA'"),
        (lambda fc: fc.touch(percent=-100), "no price"),
        (lambda fc: fc.touch(), "one of the two"),
        (lambda fc: fc.touch(percent=1, price={"AAPL": 1}), "one of the two"),
        (lambda fc: fc.risk("sideways"), "'short'"),
        (lambda fc: fc.risk(0), "other than 0"),
        (lambda fc: fc.risk(float("nan")), "other than 0"),
        (lambda fc: fc.risk(levels=(5,)), "between 0 and 1"),
        (lambda fc: fc.risk(weights={"TSLA": 1}), "'TSLA'"),
        (lambda fc: fc.risk(weights={}), "by symbol"),
        (lambda fc: fc.risk(weights={"AAPL": "all"}), "by symbol"),
        (lambda fc: fc.range([0]), "between 0 and 1"),
        (lambda fc: fc.range(step=9), "steps 1 to 5"),
        (lambda fc: fc.probability(above=180), "by symbol"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(fc, ask, words):
    with pytest.raises(tn.ConfigError, match=words) as caught:
        ask(fc)
    assert one_sentence(str(caught.value))


def test_one_price_is_enough_for_one_symbol():
    fc = tn.Predictor.load().predict(stocks(("AAPL",), "2016-01-01", "2017-12-31"))
    assert len(fc.touch(45)) == STEPS and len(fc.probability(above=[40, 45])) == 2 * STEPS


def test_a_portfolio_of_other_dates_says_so():
    bars = stocks(("AAPL", "GOOG"), "2015-01-01", "2017-12-31")
    late = (bars["symbol"] == "GOOG") & (bars["date"] > "2017-12-26")
    table = tn.Predictor.load().predict(bars[~late]).risk(weights={"AAPL": 1, "GOOG": 1})
    assert any("differ in dates" in text for text in table.attrs["warnings"])
    assert isinstance(table, pd.DataFrame) and table["var"].notna().all()
