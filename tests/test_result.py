"""What a forecast says of each symbol: a bad one never stops the others, no claim is made up."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, specific, stocks

import tftnhits as tn
from tftnhits.data.names import PRICES
from tftnhits.errors import DataError, HistoryTooShort

GOOD = ("A", "B")
OLD = "The last bar is of 2017-12-29, more than 3 sessions ago."
KEYS = {"symbol", "origin", "prediction", "interval", "confidence", "model_used", "path"}
KEYS |= {"quantiles", "warnings"}


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


def spoiled(kind):
    """Bars of a symbol Z that can't be forecast, and a word of why."""
    bars = made_bars(("Z",), 300)
    if kind == "short":
        return bars.iloc[:1], "1 bar "
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
    assert all(specific(one["warnings"]) == [reason] for one in forecast.summary())
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
    for names in (["B", "moon"], [], 5):
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
    (text,) = specific(forecast.reports["OLD"].warnings)
    assert str(old["date"].iloc[-1].date()) in text and one_sentence(text)
    assert not specific(forecast.reports["NEW"].warnings)
    gone["date"] -= pd.Timedelta("3000D")
    (only,) = specific(predictor.predict(pd.concat([gone, old])).reports["GONE"].warnings)
    assert "last bar" in only  # and of its market there is nothing to say


def test_bars_without_dates_claim_no_coverage_and_say_so(predictor):
    forecast = predictor.predict(made_bars(("A",), 300).drop(columns="date"))
    report = forecast.reports["A"]
    assert report.coverage is None and "no dates" in report.warnings[0]
    assert one_sentence(report.warnings[0]) and np.isfinite(forecast.frame["median"]).all()
    again = forecast.bars.copy()
    again.attrs = {}  # as after a merge
    assert "no dates" in predictor.predict(again).reports["A"].warnings[0]


@pytest.mark.parametrize(
    ("bars", "options", "words"),
    [
        (3, {}, "A has 3 bars"),
        (59, {}, "A has 59 bars"),
        (150, {}, "no outcome was known"),
        (300, {"weights": {"tft": 0.2, "nhits": 0.8}}, "weights given"),
        (300, {}, ""),
    ],
)
def test_a_coverage_that_is_not_claimed_has_its_reason(predictor, bars, options, words):
    summary = predictor.predict(made_bars(("A",), bars), **options).summary()
    texts = [text for text in summary["warnings"] if "claimed" in text]
    assert (summary["interval"]["coverage"] is None) is (words != "") and len(texts) == bool(words)
    assert all(words in text and one_sentence(text) for text in texts)


def test_a_level_beyond_those_measured_claims_no_coverage(predictor):
    late = made_bars(("A",), 150)
    late["date"] += pd.Timedelta("3000D")  # after the pool's record
    for level, words in ((0.999, "0.25 to 0.99"), (0.9, "")):
        report = predictor.predict(late, level=level).reports["A"]
        assert (report.coverage is None) is (words != "")
        assert any(words in text for text in report.warnings if "claimed" in text) is (words != "")
        of_others = [text for text in report.warnings if text.startswith("Coverage was measured")]
        assert len(of_others) == (words == "") and all(one_sentence(text) for text in of_others)


def test_doubts_of_the_reading_reach_the_result(predictor):
    bars = made_bars(GOOD, 300)
    late = (bars["symbol"] == "B") & (bars["date"] >= bars["date"][150])
    bars.loc[late, list(PRICES)] /= 10
    forecast = predictor.predict(tn.load_bars(bars))
    assert "10:1 split" in forecast.reports["B"].warnings[0]
    assert not specific(forecast.reports["A"].warnings)
    assert "10:1 split" in forecast.summary()[1]["warnings"][0]


def test_a_repaired_last_bar_and_a_guessed_column_reach_summary_and_caption(predictor):
    bars = made_bars(("A",), 300)
    bars.loc[299, "close"] = np.nan
    forecast = predictor.predict(bars.rename(columns={"date": "when"}))
    guess, repair = specific(forecast.summary()["warnings"])
    assert "'when'" in guess and f"the close of {bars['date'][299]:%Y-%m-%d} was missing" in repair
    assert repair in forecast.plot().caption
    assert specific(predictor.predict(made_bars(("A",), 300)).summary()["warnings"]) == []


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
    assert specific(one["warnings"]) == [] and several[0]["warnings"] == [OLD]
    goog = frame[frame["symbol"] == "GOOG"]
    assert [bar["step"] for bar in one["path"]] == goog["step"].tolist()
    assert [bar["date"] for bar in one["path"]] == goog["date"].astype(str).tolist()
    first = one["path"][0]
    assert one["prediction"] == first["median"] and isinstance(one["prediction"], float)
    assert (one["interval"]["lower"], one["interval"]["upper"]) == (first["lower"], first["upper"])
    for level in ("0.035", "0.5", "0.965"):
        name = {"0.035": "lower", "0.5": "median", "0.965": "upper"}[level]
        assert one["quantiles"][level] == [bar[name] for bar in one["path"]]
    keys = {"level", "lower", "upper", "coverage", "coverage_interval"}
    assert set(one["interval"]) == keys
    assert one["interval"]["level"] == one["confidence"] == 0.93
    assert one["model_used"] == "ensemble (0.65 TFT + 0.35 N-HITS)"
    low, high = one["interval"]["coverage_interval"]
    assert 0.5 < low < one["interval"]["coverage"] < high < 1
    json.dumps(several)
    caption = forecast.caption("AAPL")
    assert caption.startswith("93% interval (held ") and caption.endswith(
        "of its own to 2017-12-21)"
    )
    assert repr(forecast).splitlines()[1] == f"  AAPL: {several[0]['model_used']}, {caption}"


# --- warnings that are true of many forecasts


def ending(day, symbols=("A",), freq="B"):
    """Bars up to a day."""
    bars = made_bars(symbols, 300)
    days = pd.date_range(end=day, periods=300, freq=freq)
    return bars.assign(date=np.tile(days, len(symbols)))


@pytest.mark.parametrize(
    ("freq", "days", "unit"),
    [("B", 7, "sessions"), ("D", 5, "sessions"), ("W", 29, "bars"), ("h", 7, "sessions")],
)
def test_bars_that_end_long_ago_say_so_and_fresh_ones_do_not(predictor, freq, days, unit):
    today = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    texts = (
        predictor.predict(ending(today - pd.Timedelta(days=days), freq=freq)).reports["A"].warnings
    )
    (text,) = [text for text in texts if "ago" in text]
    assert unit in text and one_sentence(text)
    fresh = today - pd.tseries.offsets.BDay(1)
    fresh = predictor.predict(ending(fresh, freq=freq)).reports["A"].warnings
    assert not [text for text in fresh if "ago" in text]


def test_a_market_that_too_few_symbols_tell_is_a_warning(predictor):
    for names, missing in ((("A",), True), (("A", "B"), True), (("A", "B", "C"), False)):
        for report in predictor.predict(made_bars(names, 300)).reports.values():
            assert any("its market" in text for text in report.warnings) == missing


def test_hours_of_an_unknown_zone_are_a_warning(predictor):
    bars = ending("2017-12-29 12:00", freq="h")
    unknown = predictor.predict(bars).reports["A"].warnings
    assert any("time zone of A is unknown" in text for text in unknown)
    aware = bars.assign(date=bars["date"].dt.tz_localize("UTC"))
    known = predictor.predict(aware).reports["A"].warnings
    assert not any("time zone" in text for text in known)


def test_warnings_are_in_the_pictures_caption(predictor):
    forecast = predictor.predict(made_bars(("A",), 300))
    caption = " ".join(forecast.reports["A"].warnings)
    assert caption in forecast.plot().caption
    title = re.sub(r"<[^>]*>", " ", forecast.plot(interactive=True).layout.title.text)
    assert "more than 3 sessions ago" in html.unescape(title)
