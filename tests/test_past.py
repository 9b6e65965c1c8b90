"""A symbol's last forecasts, made again as of their dates."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.errors import HistoryTooShort
from tftnhits.forecast.past import PAST, past_forecasts


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "GOOG"), "2014-01-01", "2017-12-31")


def test_the_past_is_what_was_forecast_then(predictor, bars):
    fc = predictor.predict(bars, 3)
    past = past_forecasts(fc, "GOOG").frame
    origins = past["origin"].unique()
    assert len(origins) == PAST + 1
    last = fc.frame[fc.frame["symbol"] == "GOOG"]
    names = [name for name in fc.frame if name[0].isdigit()]
    np.testing.assert_allclose(past.tail(3)[names], last[names], rtol=1e-6)
    for origin in (origins[0], origins[40]):
        then = predictor.predict(bars[bars["date"] <= origin], 3, symbols=["GOOG"]).frame
        again = past[past["origin"] == origin]
        np.testing.assert_allclose(again[names], then[names], rtol=1e-6)


def test_what_came_is_the_close_of_that_date(predictor, bars):
    past = past_forecasts(predictor.predict(bars, 3), "AAPL")
    close = bars[bars["symbol"] == "AAPL"].set_index("date")["close"]
    known = past.frame[past.frame["came"].notna()]
    np.testing.assert_array_equal(known["came"], close[known["date"]])
    np.testing.assert_array_equal(known["last"], close[known["origin"]])
    assert past.frame["came"].isna().sum() == 1 + 2 + 3  # steps beyond the last bar
    assert past.har[["origin", "step", "came"]].equals(past.frame[["origin", "step", "came"]])


def test_of_few_bars_there_are_as_many_as_there_were(predictor):
    bars = made_bars(("A",), 75)
    past = past_forecasts(predictor.predict(bars, 2), "A").frame
    need = predictor.context
    assert past["origin"].nunique() == 75 - need + 1
    with pytest.raises(HistoryTooShort, match="4 bars, too few") as caught:
        past_forecasts(predictor.predict(made_bars(("A",), 4)), "A")
    assert one_sentence(str(caught.value))


def test_another_one_answers_for_the_past(predictor, bars):
    fc = predictor.predict(bars, weights={"tft": 1.0, "nhits": 0.0})
    with pytest.raises(tn.DataError, match="own weights") as caught:
        past_forecasts(fc, "AAPL")
    assert one_sentence(str(caught.value))


def test_bars_without_dates_have_a_past_too(predictor):
    fc = predictor.predict(made_bars(("A",), 400, freq=None).drop(columns="date"))
    past = past_forecasts(fc, "A").frame
    assert past["origin"].iloc[-1] == 399 and pd.isna(past["date"]).all()
    assert past["came"].notna().sum() == 5 * PAST - (1 + 2 + 3 + 4)
