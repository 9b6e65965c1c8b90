"""One bad symbol never stops the others, and a symbol of which nothing can be claimed says so."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence

import tftnhits as tn
from tftnhits.data.names import PRICES
from tftnhits.errors import DataError, HistoryTooShort

GOOD = ("A", "B")


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


def spoiled(kind):
    """Bars of a symbol Z that can't be forecast, and a word of why."""
    bars = made_bars(("Z",), 300)
    if kind == "short":
        return bars.iloc[:1], "1 bars"
    if kind == "constant":
        return bars.assign(**dict.fromkeys(PRICES, 7.25)), "never moves"
    if kind == "negative":
        bars.loc[150, "low"] = -5.0
        return bars, "column low is -5"
    if kind == "text":
        return bars.astype({"close": object}).replace(
            {"close": {bars["close"][150]: "cheap"}}
        ), "'cheap'"
    return pd.concat([bars, bars.iloc[[9]].assign(close=bars["low"][9])]), "second bar"


@pytest.mark.parametrize("kind", ["short", "constant", "negative", "text", "twice"])
def test_it_is_left_out_with_its_reason_and_the_rest_is_answered(predictor, kind):
    bad, word = spoiled(kind)
    bars = pd.concat([made_bars(GOOD, 300), bad], ignore_index=True)
    forecast = predictor.predict(bars)
    assert [*forecast.model_used] == [*GOOD] == forecast.frame["symbol"].unique().tolist()
    assert (
        [*forecast.skipped] == ["Z"]
        and word in forecast.skipped["Z"]
        and one_sentence(forecast.skipped["Z"])
    )
    assert forecast.warnings["Z"] == [forecast.skipped["Z"]]
    assert all(one["warnings"] == [forecast.skipped["Z"]] for one in forecast.summary())
    alone = predictor.predict(made_bars(GOOD, 300))
    pd.testing.assert_frame_equal(forecast.frame, alone.frame)
    assert "Z" in repr(forecast)
    with pytest.raises(DataError, match=word):
        predictor.predict(bars, strict=True)
    if kind != "constant":  # alone, that is answered
        with pytest.raises(DataError, match=word):
            predictor.predict(bad)
    loaded = tn.load_bars(bars)
    pd.testing.assert_frame_equal(predictor.predict(loaded).frame, alone.frame)
    assert predictor.predict(loaded).skipped == forecast.skipped


def test_only_a_frame_in_which_none_can_be_answered_raises(predictor):
    with pytest.raises(HistoryTooShort):
        predictor.predict(pd.concat([spoiled("short")[0], spoiled("short")[0].assign(symbol="Y")]))
    constant = predictor.predict(spoiled("constant")[0])
    assert constant.coverage == {"Z": None} and "halted or stale" in constant.warnings["Z"][0]


def test_a_symbol_that_does_not_move_claims_no_coverage(predictor):
    bars = made_bars(("A",), 300)
    for idle, claims in ((9, True), (10, False), (65, False)):
        halted = bars.copy()
        halted.loc[halted.index[-idle:], list(PRICES)] = bars["close"].iloc[-idle - 1]
        forecast = predictor.predict(halted)
        assert (forecast.coverage["A"] is not None) is claims
        assert any("halted or stale" in text for text in forecast.warnings["A"]) is not claims


def test_a_stale_last_bar_is_named_beside_newer_ones(predictor):
    old = made_bars(("OLD",), 200)
    forecast = predictor.predict(pd.concat([old, made_bars(("NEW",), 300)]))
    (text,) = forecast.warnings["OLD"]
    gone = made_bars(("GONE",), 200)
    gone["date"] -= pd.Timedelta("3000D")
    (only,) = predictor.predict(pd.concat([gone, old])).warnings["GONE"]
    assert "last bar" in only  # and of its market there is nothing to say
    assert (
        str(old["date"].iloc[-1].date()) in text
        and one_sentence(text)
        and not forecast.warnings["NEW"]
    )


def test_bars_without_dates_claim_no_coverage_and_say_so(predictor):
    forecast = predictor.predict(made_bars(("A",), 300).drop(columns="date"))
    assert forecast.coverage == {"A": None} and "no dates" in forecast.warnings["A"][0]
    assert one_sentence(forecast.warnings["A"][0]) and np.isfinite(forecast.frame["median"]).all()


def test_doubts_of_the_reading_reach_the_result(predictor):
    bars = made_bars(("A", "B"), 300)
    late = (bars["symbol"] == "B") & (bars["date"] >= bars["date"][150])
    bars.loc[late, list(PRICES)] /= 10
    forecast = predictor.predict(tn.load_bars(bars))
    assert "10:1 split" in forecast.warnings["B"][0] and not forecast.warnings["A"]
    assert "10:1 split" in forecast.summary()[1]["warnings"][0]
