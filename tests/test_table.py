"""The watchlist of a forecast: a row each for all symbols, and its files."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks
from scipy.special import ndtr, ndtri

import tftnhits as tn
from tftnhits.errors import MissingDependency, OutputError
from tftnhits.forecast import table as table_module
from tftnhits.forecast.table import MARKS, PER_MARK, TREND

COLUMNS = ["symbol", "origin", "date", "step", "last", "median", "median_pct", "low_80", "high_80"]
COLUMNS += ["low_93", "high_93", "width_vs_year", "p_up", "age", "trend", "status", "model_used"]
COLUMNS += ["why"]
ENDS = {"low_80": "0.1", "high_80": "0.9", "low_93": "lower", "high_93": "upper"}
EVIL = "=1+<b>&\"'"


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def forecast(predictor):
    """Two real symbols, one whose name is hostile, one of few bars, and one that is left out."""
    bars = [stocks(("AAPL", "GOOG"), "2016-01-01", "2017-12-31"), made_bars((EVIL,), 400)]
    few, one = made_bars(("FEW",), 90), made_bars(("ONE",), 1)
    return predictor.predict(pd.concat([*bars, few, one], ignore_index=True))


@pytest.fixture(scope="module")
def table(forecast):
    return forecast.table()


def test_a_row_a_symbol_of_the_last_step(forecast, table):
    assert list(table) == COLUMNS
    assert table["symbol"].tolist() == [*forecast.reports] and len(table) == 5
    answered = table[table["status"] != "left out"].set_index("symbol")
    last = forecast.frame.groupby("symbol").tail(1).set_index("symbol").loc[answered.index]
    assert (answered["step"] == last["step"]).all() and (answered["date"] == last["date"]).all()
    assert (answered["origin"] == last["origin"]).all()
    close = forecast.bars.groupby("symbol")["close"].last().loc[answered.index]
    np.testing.assert_array_equal(answered["last"], close)
    np.testing.assert_allclose(answered["median_pct"], 100 * (last["median"] / close - 1))
    for name, column in ENDS.items():
        np.testing.assert_allclose(answered[name], last[column], rtol=1e-9)


def test_a_symbol_that_is_left_out_has_a_row_that_says_why(forecast, table):
    row = table.set_index("symbol").loc["ONE"]
    assert row["status"] == "left out" and pd.isna(row["model_used"])
    assert row["why"] == forecast.skipped["ONE"] and row["trend"] == ""
    assert row.drop(["status", "why", "trend"]).isna().all()
    others = table[table["symbol"] != "ONE"]
    for name, status, model, why in others[["symbol", "status", "model_used", "why"]].to_numpy():
        report = forecast.reports[name]
        assert model == report.model_used and why == " ".join(report.warnings)
        assert status == ("warned" if report.warnings else "answered")


def test_levels_between_those_of_the_forecast_are_linear_in_normal_scores(forecast, predictor):
    table = forecast.table(levels=[0.86]).iloc[0]
    path = forecast.frame[forecast.frame["symbol"] == table["symbol"]].iloc[-1]
    high = np.interp(ndtri(0.93), ndtri([0.9, 0.95]), np.log([path["0.9"], path["0.95"]]))
    assert np.isclose(table["high_86"], np.exp(high)) and "low_93" not in table
    own = predictor.predict(forecast.bars, level=0.86).table()  # nearly: it calibrates that level
    assert list(own)[7:11] == ["low_80", "high_80", "low_86", "high_86"]
    assert np.isclose(own["low_86"][0], table["low_86"], rtol=2e-3)
    assert list(forecast.table([0.8, 0.8]))[7:10] == ["low_80", "high_80", "width_vs_year"]
    for levels in ([], [1.0], [0.8, 0], "80%", [None], [1 - 1e-14]):
        with pytest.raises(tn.ConfigError, match="between 0 and 1") as caught:
            forecast.table(levels)
        assert one_sentence(str(caught.value))


def test_the_probability_of_a_rise_is_where_the_last_close_lies(forecast, table):
    for row in table[table["status"] != "left out"].itertuples():
        path = forecast.frame[forecast.frame["symbol"] == row.symbol].iloc[-1]
        names = [name for name in path.index if name[0].isdigit()]
        price = path[names].to_numpy(float)
        score = np.interp(np.log(row.last), np.log(price), ndtri([float(n) for n in names]))
        assert np.isclose(row.p_up, 1 - ndtr(score), atol=1e-6)
        assert (row.p_up > 0.5) == (row.median > row.last)


def test_a_width_is_compared_with_what_the_symbols_own_scale_gave_over_a_year(predictor):
    calm, late = made_bars(("A",), 600), made_bars(("A",), 600)
    for name in ("open", "high", "low", "close"):  # the last 30 bars move three times as much
        log = np.log(late[name].to_numpy())
        base = np.log(late["close"].to_numpy())[569]
        late[name] = np.exp(np.where(np.arange(600) < 570, log, base + 3 * (log - base)))
    usual, wild = (predictor.predict(bars).table()["width_vs_year"][0] for bars in (calm, late))
    assert 0.7 < usual < 1.4 and 1.5 < wild < 4
    forecast = predictor.predict(calm)
    _, panel, rows = forecast.source
    year = np.asarray(panel.scale)[rows[0] - np.arange(252), -1]
    path = forecast.frame.iloc[-1]
    shape = predictor.walk.shape[panel.steps - 1]
    high = np.interp(0.9, predictor.walk.levels, shape) * year.mean() * np.sqrt(panel.steps)
    raw = np.log(path["0.9"] / path["0.1"]) / (2 * high)  # without a calibration
    assert 0.7 < usual / raw < 1.4


def test_a_width_of_few_bars_is_compared_with_nothing(table):
    by_symbol = table.set_index("symbol")["width_vs_year"]
    assert np.isnan(by_symbol["FEW"]) and (by_symbol[["AAPL", "GOOG", EVIL]] > 0).all()


def test_of_several_origins_the_last_is_shown(predictor):
    bars = made_bars(("A", "B"), 130)
    every, last = (predictor.predict(bars, origins=kind) for kind in ("all", "last"))
    assert every.frame["origin"].nunique() > 1
    pd.testing.assert_frame_equal(every.table(), last.table(), rtol=1e-5)


def test_bars_without_dates_have_numbers_for_origins_and_no_age(predictor):
    table = predictor.predict(made_bars(("A",), 90).drop(columns="date"), 2).table()
    assert table["origin"].tolist() == [89] and table["step"].tolist() == [2]
    assert table["date"].isna().all() and table["age"].isna().all() and table["last"][0] > 0


@pytest.mark.parametrize("freq", ["B", "D"])
def test_the_age_counts_sessions_since_the_last_bar(predictor, freq):
    today = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    dates = pd.date_range(end=today - pd.Timedelta("9D"), periods=120, freq=freq)
    table = predictor.predict(made_bars(("A",), 120).assign(date=dates)).table()
    days = pd.date_range(dates[-1], today, freq=freq, inclusive="neither")
    assert table["age"].tolist() == [len(days)]


def test_a_trend_goes_from_the_lowest_to_the_highest_close(forecast, table):
    by_symbol = table.set_index("symbol")["trend"]
    for name in ("AAPL", EVIL):
        close = forecast.bars.loc[forecast.bars["symbol"] == name, "close"].to_numpy()[-TREND:]
        mean = close.reshape(-1, PER_MARK).mean(1)
        trend = by_symbol[name]
        assert len(trend) == len(mean) == 20 and set(trend) <= set(MARKS)
        assert trend[mean.argmin()] == MARKS[0] and trend[mean.argmax()] == MARKS[-1]


def test_a_short_trend_begins_late_and_a_flat_one_is_flat(predictor):
    short = made_bars(("S",), 31)
    still = made_bars(("T",), 200)
    still.loc[still.index[-70:], ["open", "high", "low", "close"]] = 50.0
    trends = predictor.predict(pd.concat([short, still], ignore_index=True)).table()["trend"]
    assert trends[0][:9] == " " * 9 and trends[0].strip() == trends[0][9:]
    assert set(trends[1]) == {MARKS[0]}


def test_many_symbols_are_one_table(predictor):
    """Those of one symbol that is forecast again and again, so that the fleet costs nothing."""
    names = [f"S{i:03}" for i in range(500)]
    bars = pd.concat([made_bars(("A",), 70).assign(symbol=name) for name in names])
    table = predictor.predict(bars, 1).table()
    assert table["symbol"].tolist() == names and table["p_up"].between(0, 1).all()


# --- files


def test_csv_and_parquet_hold_the_table_or_the_tidy_frame(forecast, table, tmp_path):
    path = forecast.to_csv(tmp_path / "new" / "watch.csv")
    read = pd.read_csv(path, parse_dates=["origin", "date"])
    assert read["symbol"].tolist() == [f"'{EVIL}", "AAPL", "FEW", "GOOG", "ONE"]
    np.testing.assert_allclose(read["low_93"], table["low_93"])
    pd.testing.assert_frame_equal(
        pd.read_parquet(forecast.to_parquet(tmp_path / "w.parquet")), table, check_dtype=False
    )
    every = pd.read_parquet(forecast.to_parquet(tmp_path / "all.parquet", tidy=True))
    pd.testing.assert_frame_equal(every, forecast.frame, check_dtype=False)
    assert len(pd.read_csv(forecast.to_csv(tmp_path / "all.csv", tidy=True))) == len(every)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "all.csv",
        "all.parquet",
        "new",
        "w.parquet",
    ]


def test_a_file_that_cannot_be_written_leaves_the_old_one(forecast, tmp_path, monkeypatch):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError) as caught:
        forecast.to_csv(tmp_path / "folder.csv")
    assert one_sentence(str(caught.value))
    old = forecast.to_parquet(tmp_path / "w.parquet")
    before = old.read_bytes()

    def broken(self, content, **options):
        content.write(b"half")
        raise RuntimeError

    monkeypatch.setattr(pd.DataFrame, "to_parquet", broken)
    with pytest.raises(RuntimeError):
        forecast.to_parquet(old)
    assert old.read_bytes() == before


def test_excel_without_openpyxl_says_what_to_install(forecast, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[excel\]") as caught:
        forecast.to_excel(tmp_path / "w.xlsx")
    assert one_sentence(str(caught.value)) and not [*tmp_path.iterdir()]
    monkeypatch.setattr(table_module, "SHEET", 2)
    with pytest.raises(OutputError, match="to_parquet"):
        forecast.to_excel(tmp_path / "w.xlsx")


def test_a_workbook_has_no_formulas(forecast, table, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    sheet = openpyxl.load_workbook(forecast.to_excel(tmp_path / "w.xlsx")).active
    rows = list(sheet.values)
    assert list(rows[0]) == list(table) and len(rows) == len(table) + 1
    assert not [cell for row in sheet.rows for cell in row if cell.data_type == "f"]
    assert f"'{EVIL}" in [row[0] for row in rows]
