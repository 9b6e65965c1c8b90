"""Forecasts of a folder by blocks of symbols: those of one pass over all bars."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, tiny_members

import tftnhits as tn
from tftnhits.forecast import predictor as P

BARS = 900  # more than a forecast from the last bar looks at


@pytest.fixture(scope="module")
def bars():
    bars = made_bars(tuple("ABCDEFG"), BARS)
    number = bars.groupby("symbol").cumcount()
    late = (bars["symbol"] == "C") & (number < 800)  # listed late
    gone = (bars["symbol"] == "F") & (number > 500)  # delisted
    return bars[~late & ~gone].reset_index(drop=True)


@pytest.fixture(scope="module")
def model():
    panel = tn.make_panel(made_bars(bars=300))
    return tn.Predictor.from_members(tiny_members(panel), panel)


@pytest.fixture(scope="module")
def whole(model, bars):
    return model.predict(bars, horizon=3)


def same(frame, other, rtol):
    keys = ["symbol", "origin", "step", "date"]
    pd.testing.assert_frame_equal(frame[keys], other[keys])
    values, others = (f.drop(columns=keys).to_numpy() for f in (frame, other))
    np.testing.assert_allclose(values, others, rtol=rtol)


def folder_of(bars, path, size):
    """Files of `size` symbols each."""
    code = bars["symbol"].factorize()[0] // size
    for i, part in bars.groupby(code):
        part.to_parquet(path / f"{i}.parquet", index=False)
    return path


@pytest.mark.parametrize("dated", [True, False])
def test_the_bars_that_are_left_give_the_forecast_of_all(model, bars, dated, monkeypatch):
    bars = bars if dated else bars.drop(columns="date")
    found = model.predict(bars)
    assert len(found.source[1].close) < len(bars) - BARS // 2

    def all_bars(bars, config, fitted, calendar, keep, crowd):
        return made(bars, config, fitted, calendar, None, crowd)

    made = P.panel_of
    monkeypatch.setattr(P, "panel_of", all_bars)
    expected = model.predict(bars)
    same(found.frame, expected.frame, rtol=1e-12)
    assert found.reports == expected.reports
    tables = (found.explain().past, expected.explain().past)
    np.testing.assert_allclose(*(t.select_dtypes("number") for t in tables), atol=1e-6)


@pytest.mark.parametrize("size, block", [(7, 2), (3, 2), (2, 250)])
def test_blocks_forecast_what_one_pass_does(model, bars, whole, tmp_path, size, block):
    forecasts = list(tn.predict_folder(model, folder_of(bars, tmp_path, size), 3, block=block))
    assert len(forecasts) == -(-7 // block)
    same(pd.concat([f.frame for f in forecasts], ignore_index=True), whole.frame, rtol=1e-6)
    found = {name: r.coverage for f in forecasts for name, r in f.reports.items()}
    assert found == {name: r.coverage for name, r in whole.reports.items()}
    assert model.crowd is None


def test_files_by_symbol_of_hive_and_other_names(model, bars, whole, tmp_path):
    named = bars.rename(columns={"symbol": "ticker"})
    named.to_parquet(tmp_path / "hive", partition_cols=["ticker"], index=False)
    named.to_parquet(tmp_path / "one.parquet", index=False)
    for path in (tmp_path / "hive", str(tmp_path / "one.parquet")):
        frames = [f.frame for f in tn.predict_folder(model, path, 3, block=3)]
        same(pd.concat(frames, ignore_index=True), whole.frame, rtol=1e-6)


@pytest.mark.parametrize("content", ["nothing", "no symbol"])
def test_what_is_no_folder_of_symbols_is_refused(model, bars, tmp_path, content):
    if content == "nothing":
        (tmp_path / "x").mkdir()
    else:
        bars.drop(columns="symbol").to_parquet(tmp_path / "x")
    with pytest.raises(tn.DataError, match=r"x' can't be read as Parquet.*\.$"):
        next(tn.predict_folder(model, tmp_path / "x"))


def test_a_folder_that_is_not_there_is_named(model, tmp_path):
    with pytest.raises(tn.DataError, match=r"^There is no .*nowhere'; name a Parquet file or a"):
        next(tn.predict_folder(model, tmp_path / "nowhere"))
