"""The page's risk: the same numbers as the forecast's questions give."""

import base64
import io
from html import unescape

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, stocks

import tftnhits as tn
from tftnhits.viz.risks import TOUCHED, risk_section


@pytest.fixture(scope="module")
def fc():
    return tn.Predictor.load().predict(stocks(("AAPL",), "2014-01-01"))


@pytest.fixture(scope="module")
def told(fc):
    return risk_section(fc)


def test_the_ladder_is_the_forecasts_own(fc, told):
    lost = fc.risk().pivot(index="step", columns="level", values=["var", "es"])
    order = [("var", 0.05), ("es", 0.05), ("var", 0.01), ("es", 0.01)]
    assert [step for step, _ in told["ladder"]] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([losses for _, losses in told["ladder"]], lost[order])
    assert told["reasons"] == []


def test_the_sentences_are_about_the_next_range_and_both_sides(fc, told):
    touch = fc.touch(percent=[3, -3]).query("step == 5").set_index("side")["probability"]
    assert told["named"]["above"]["probability"] == touch["above"]
    assert told["named"]["below"]["probability"] == touch["below"]
    row = fc.range().set_index("what").loc["low"]
    assert told["range"]["low"] == row[["0.1", "0.5", "0.9"]].to_dict()


def test_drawn_prices_are_touched_as_often_as_is_said(fc, told):
    text = told["plot"].texts[2]
    assert text.startswith(f"by {fc.frame['date'].iloc[2]:%Y-%m-%d}: 5% ")
    for part in text.partition(": ")[2].split(", "):
        share, below, _, above = part.split()
        found = fc.touch([float(below), float(above)]).query("step == 3")["probability"]
        np.testing.assert_allclose(found, float(share.rstrip("%")) / 100, atol=0.01)
    spans = [path for kind, path in told["plot"].paths if kind == "reach"]
    assert len(spans) == len(TOUCHED) and all(path.count("Z") == 5 for path in spans)


def test_the_csv_has_all_values(fc, told):
    rows = pd.read_csv(io.BytesIO(base64.b64decode(told["csv"])), parse_dates=["date"])
    assert rows["value"].notna().all()
    touch = rows[rows["question"].str.startswith("touch")]
    levels = fc.touch(percent=[-10, -5, -3, -2, -1, 1, 2, 3, 5, 10])
    np.testing.assert_allclose(touch["value"], levels["probability"])
    np.testing.assert_allclose(rows.query("question == 'var'")["value"], fc.risk()["var"])


@pytest.mark.parametrize("bars", [2, 30])
def test_few_bars_have_losses_and_a_reason(bars):
    fc = tn.Predictor.load().predict(made_bars(("A",), bars))
    told = risk_section(fc)
    assert "plot" not in told and "fewer than 60" in told["reasons"][0]
    assert np.isfinite([losses for _, losses in told["ladder"]]).all()
    html = fc.report().html
    assert "VaR 5%" in html and "nan%" not in html and told["reasons"][0] in unescape(html)


def test_bars_without_dates_are_counted():
    bare = made_bars(("A",), 300, freq=None).drop(columns="date")
    told = risk_section(tn.Predictor.load().predict(bare))
    assert told["plot"].texts[1].startswith("within 2 bars: ")
