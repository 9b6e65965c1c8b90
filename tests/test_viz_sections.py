"""The numbers of a page below its prices."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, stocks
from scipy.special import ndtr, ndtri

import tftnhits as tn
from tftnhits.forecast.own import binomial_interval
from tftnhits.forecast.past import PAST, past_forecasts
from tftnhits.viz.sections import (
    BINS,
    drivers,
    inner_ends,
    kept_forecasts,
    next_bar,
    past_and_volatility,
    when,
)


@pytest.fixture(scope="module")
def forecast():
    return tn.Predictor.load().predict(stocks(("AAPL",), "2014-01-01"))


def test_the_inner_interval_is_that_of_the_forecasts_levels(forecast):
    frame = forecast.frame
    last = float(forecast.bars["close"].iloc[-1])
    np.testing.assert_allclose(inner_ends(frame, last), frame[["0.1", "0.9"]], rtol=1e-9)


def test_coverage_is_counted_for_the_next_bar_and_for_all_steps(forecast):
    past = past_and_volatility(forecast, "AAPL")["past"]
    frame = past_forecasts(forecast, "AAPL").frame.dropna(subset="came")
    inside = frame["came"].between(frame["lower"], frame["upper"])
    assert past["count"] == PAST and past["steps"] == 5
    assert past["inside"] == inside[frame["step"] == 1].sum()
    assert past["all"] == pytest.approx(inside.mean())
    assert past["interval"] == binomial_interval(past["inside"] / PAST, PAST)


def test_volatility_is_half_of_an_interval_beside_hars(forecast):
    shown = past_and_volatility(forecast, "AAPL")["volatility"]
    frame = forecast.frame
    width = 50 * np.log(frame["0.9"] / frame["0.1"]).to_numpy()
    assert shown["now"] == pytest.approx(width[0], rel=1e-5)
    har = past_forecasts(forecast, "AAPL").har.tail(5)
    other = 50 * np.log(har["0.9"] / har["0.1"]).to_numpy()
    assert shown["far"] == pytest.approx(width[-1] / other[-1], rel=1e-5)
    assert shown["ratio"] == pytest.approx(shown["now"] / shown["har"])
    assert 0.5 < shown["ratio"] < 2 and 30 < shown["below"] <= shown["count"] == PAST


def test_the_next_bar_is_a_distribution_that_meets_at_the_last_close(forecast):
    last = float(forecast.bars["close"].iloc[-1])
    shown = next_bar(forecast.frame, last)
    texts = shown["plot"].texts
    share = np.array([float(text.rpartition(": ")[2].rstrip("%")) for text in texts])
    assert len(share) == 2 * BINS and 98 < share.sum() <= 100.5
    assert texts[BINS].startswith("+0.00% to") and texts[BINS - 1].split(":")[0].endswith("0.00%")
    assert share[BINS:].sum() / 100 == pytest.approx(shown["up"], abs=0.01)
    first = forecast.frame.iloc[0]
    assert shown["middle"] == [first["0.25"], first["0.75"]]
    names = [name for name in first.index if name[0].isdigit()]
    price = first[names].to_numpy(float)
    score = np.interp(np.log(last), np.log(price), ndtri([float(name) for name in names]))
    assert shown["up"] == pytest.approx(1 - ndtr(score), abs=1e-6)


def test_what_drove_it_is_the_explanation_in_numbers(forecast):
    told, summary = drivers(forecast), forecast.explain().summary(top=3)
    assert [*told["tft"]["inputs"].values()] == [*summary["inputs"].values()]
    assert told["tft"]["ahead"] == summary["ahead"] and 1 <= told["tft"]["half"] <= 60
    stacks = summary["stacks"]
    base = stacks.pop("volatility baseline")["width"]
    change = sum(stack["width"] for stack in stacks.values())
    assert told["nhits"]["width"] == pytest.approx(100 * change / base)


def test_a_part_that_cannot_be_made_is_its_reason():
    few = tn.Predictor.load().predict(made_bars(("A",), 4))
    parts = past_and_volatility(few, "A")
    assert parts["past"] == parts["volatility"] and "too few" in parts["past"]["reason"]
    assert "No network answered" in drivers(few)["reason"]


@pytest.fixture
def kept(forecast, tmp_path, monkeypatch):
    """The journal of AAPL's forecasts of eight evenings, of which the last one's is to come."""
    bars, journal = forecast.bars, tn.journal(tmp_path / "journal")
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(journal.folder))
    for day in bars["date"].iloc[-8:]:
        made = forecast.source[0].predict(bars[bars["date"] <= day])
        assert journal.keep(made, day + pd.Timedelta(hours=22)).origins == 1
    return journal


def test_kept_forecasts_are_counted_against_what_came(forecast, kept):
    told, frame = kept_forecasts(forecast, "AAPL"), kept.score(forecast.bars).frame
    first = frame[frame["step"] == 1]
    assert told["count"] == len(first) == 7 and told["inside"] == first["inside_93"].sum()
    assert told["interval"] == binomial_interval(told["inside"] / 7, 7)
    assert told["all"] == frame["inside_93"].mean() and told["steps"] == 5
    assert told["to_har"] == pytest.approx(frame["loss"].mean() / frame["har"].mean())
    text, row = told["plot"].texts[0], first.iloc[0]
    assert text.startswith(when(row["date"])) and len(told["plot"].texts) == 7
    assert f"came {100 * np.expm1(row['outcome']):+.2f}%" in text
    assert any("will be known by later bars" in note for note in told["notes"])


def test_of_many_kept_forecasts_the_last_are_drawn(forecast, kept, monkeypatch):
    monkeypatch.setattr("tftnhits.viz.sections.PAST", 3)
    told = kept_forecasts(forecast, "AAPL")
    assert told["count"] == 7 and len(told["plot"].texts) == 3


def test_without_kept_forecasts_there_is_a_sentence(forecast, kept, tmp_path, monkeypatch):
    early = forecast.source[0].predict(forecast.bars.iloc[:-7])
    assert "No kept forecast of AAPL has come yet." in kept_forecasts(early, "AAPL")["reason"]
    (first, *_) = sorted(kept.folder.rglob("*.parquet"))
    first.write_bytes(b"PAR1")
    told = kept_forecasts(forecast, "AAPL")
    assert told["count"] == 6 and any("left out" in note for note in told["notes"])
    assert not any(str(tmp_path) in note for note in told["notes"])  # nor whose folder it is
    foreign = pd.DataFrame({"symbol": ["AAPL"], "origin": ["soon"]})
    for content in (foreign, foreign.assign(symbol=1)):
        content.to_parquet(first)
        assert "The journal can't be read" in kept_forecasts(forecast, "AAPL")["reason"]
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(tmp_path / "none"))
    reason = kept_forecasts(forecast, "AAPL")["reason"]
    assert reason.startswith("No forecast of AAPL is kept in the journal; keep some")


def test_times_are_said_without_what_says_nothing():
    assert when(pd.Timestamp("2020-01-31")) == "2020-01-31"
    assert when(np.datetime64("2020-01-31T14:30")) == "2020-01-31 14:30"
    assert (when(7), when(pd.NaT)) == ("7", "")
