"""What a forecast says of each symbol: a bad one never stops the others, no claim is made up."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.data.names import PRICES
from tftnhits.errors import DataError, HistoryTooShort

GOOD = ("A", "B")
KEYS = {"symbol", "origin", "prediction", "interval", "confidence", "model_used", "warnings"}


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
    return pd.concat([bars, bars.iloc[[9]].assign(close=bars["low"][9])]), "second bar"


@pytest.mark.parametrize("kind", ["short", "constant", "negative", "twice"])
def test_a_bad_symbol_is_left_out_with_its_reason_and_the_rest_is_answered(predictor, kind):
    bad, word = spoiled(kind)
    bars = pd.concat([made_bars(GOOD, 300), bad], ignore_index=True)
    forecast = predictor.predict(bars)
    assert forecast.frame["symbol"].unique().tolist() == [*GOOD]
    reason = forecast.skipped["Z"]
    assert word in reason and one_sentence(reason)
    assert forecast.reports["Z"].warnings == [reason] and "Z" in repr(forecast)
    assert all(one["warnings"] == [reason] for one in forecast.summary())
    alone = predictor.predict(made_bars(GOOD, 300))
    pd.testing.assert_frame_equal(forecast.frame, alone.frame)
    for call in (
        lambda: predictor.predict(bars, strict=True),
        lambda: predictor.predict(bars, symbols=["Z"]),
    ):
        with pytest.raises(DataError, match=word) as caught:
            call()
        assert one_sentence(str(caught.value))
    again = predictor.predict(tn.load_bars(bars))  # what was read before says the same
    assert again.skipped == forecast.skipped
    pd.testing.assert_frame_equal(again.frame, alone.frame)


def test_only_a_frame_in_which_none_can_be_answered_raises(predictor):
    short = spoiled("short")[0]
    with pytest.raises(HistoryTooShort):
        predictor.predict(pd.concat([short, short.assign(symbol="Y")]))
    report = predictor.predict(spoiled("constant")[0]).reports["Z"]
    assert report.coverage is None and "halted or stale" in report.warnings[0]


def test_only_the_symbols_asked_for_are_forecast_and_the_others_tell_the_market(predictor):
    bars = made_bars(("A", "B", "C"), 300)
    every = predictor.predict(bars)
    one = predictor.predict(bars, symbols=["B"])
    expected = every.frame[every.frame["symbol"] == "B"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one.frame, expected, rtol=1e-6)
    assert one.reports == {"B": every.reports["B"]} and one.summary()["symbol"] == "B"
    alone = predictor.predict(bars[bars["symbol"] == "B"]).frame
    assert not np.allclose(alone["upper"], one.frame["upper"], rtol=1e-6)
    for names in (["B", "moon"], []):
        with pytest.raises(tn.ConfigError, match="no symbol"):
            predictor.predict(bars, symbols=names)


@pytest.mark.parametrize("bars, claims", [(9, True), (10, False), (65, False)])
def test_a_symbol_that_does_not_move_claims_no_coverage(predictor, bars, claims):
    halted = made_bars(("A",), 300)
    halted.loc[halted.index[-bars:], list(PRICES)] = halted["close"].iloc[-bars - 1]
    report = predictor.predict(halted).reports["A"]
    assert (report.coverage is not None) is claims
    assert any("halted or stale" in text for text in report.warnings) is not claims


def test_a_stale_last_bar_is_named_beside_newer_ones(predictor):
    old, gone = made_bars(("OLD",), 200), made_bars(("GONE",), 200)
    forecast = predictor.predict(pd.concat([old, made_bars(("NEW",), 300)]))
    (text,) = forecast.reports["OLD"].warnings
    assert str(old["date"].iloc[-1].date()) in text and one_sentence(text)
    assert not forecast.reports["NEW"].warnings
    gone["date"] -= pd.Timedelta("3000D")
    (only,) = predictor.predict(pd.concat([gone, old])).reports["GONE"].warnings
    assert "last bar" in only  # and of its market there is nothing to say


def test_bars_without_dates_claim_no_coverage_and_say_so(predictor):
    forecast = predictor.predict(made_bars(("A",), 300).drop(columns="date"))
    report = forecast.reports["A"]
    assert report.coverage is None and "no dates" in report.warnings[0]
    assert one_sentence(report.warnings[0]) and np.isfinite(forecast.frame["median"]).all()


def test_doubts_of_the_reading_reach_the_result(predictor):
    bars = made_bars(GOOD, 300)
    late = (bars["symbol"] == "B") & (bars["date"] >= bars["date"][150])
    bars.loc[late, list(PRICES)] /= 10
    forecast = predictor.predict(tn.load_bars(bars))
    assert "10:1 split" in forecast.reports["B"].warnings[0]
    assert not forecast.reports["A"].warnings
    assert "10:1 split" in forecast.summary()[1]["warnings"][0]


def test_frame_and_summary(predictor):
    bars = stocks(("AAPL", "GOOG", "META"), "2016-01-01", "2017-12-31")
    forecast = predictor.predict(bars)
    frame = forecast.frame
    names = [f"{q:g}" for q in predictor.levels]
    columns = ["symbol", "origin", "step", "date", "median", "lower", "upper"]
    assert list(frame.columns) == columns + names
    assert frame["step"].tolist() == [1, 2, 3, 4, 5] * 3
    assert (frame["origin"] == pd.Timestamp("2017-12-29")).all()
    assert (frame.loc[frame["step"] == 1, "date"] > pd.Timestamp("2017-12-29")).all()
    assert (np.diff(frame[names].to_numpy(), axis=1) >= 0).all()
    np.testing.assert_array_equal(
        frame[["lower", "median", "upper"]], frame[["0.035", "0.5", "0.965"]]
    )
    close = bars.groupby("symbol")["close"].last()
    assert (abs(frame["median"] / frame["symbol"].map(close) - 1) < 0.1).all()
    several = forecast.summary()
    assert [s["symbol"] for s in several] == ["AAPL", "GOOG", "META"]
    one = predictor.predict(bars[bars["symbol"] == "GOOG"]).summary()
    assert set(one) == KEYS == set(several[0]) and one["origin"] == "2017-12-29"
    assert len(one["prediction"]) == 5 and one["warnings"] == []
    assert set(one["interval"]) == {"level", "lower", "upper", "coverage"}
    assert one["interval"]["level"] == one["confidence"] == 0.93
    assert one["model_used"] == "ensemble (0.65 TFT + 0.35 N-HITS)"
    assert 0.5 < one["interval"]["coverage"] < 1
    json.dumps(several)
    caption = forecast.caption("AAPL")
    assert caption.startswith("93% interval (held ") and caption.endswith("all symbols together)")
    assert repr(forecast).splitlines()[1] == f"  AAPL: {several[0]['model_used']}, {caption}"
