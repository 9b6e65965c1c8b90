"""tn.report and the command: pages of a symbol, a file or a bundled set, as of a day."""

import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.apps import cli


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


@pytest.fixture
def bars_csv(tmp_path) -> Path:
    bars = stocks(("AAPL", "GOOG"), "2016-01-01")
    bars.to_csv(tmp_path / "two.csv", index=False)
    return tmp_path / "two.csv"


def data_of(html: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_a_report_is_the_forecasts_own_page(predictor, bars_csv):
    bars = tn.load_bars(bars_csv)
    page = tn.report("goog", bars_csv.as_posix(), horizon=3, level=0.8, model=predictor)
    fc = predictor.predict(bars, 3, 0.8, symbols=["GOOG"])
    assert page.html == fc.report("GOOG").html
    pd.testing.assert_frame_equal(page.forecast.frame, fc.frame)
    assert tn.report(source=bars, model=predictor).symbol == "AAPL"


def test_the_forecast_knows_no_bar_after_its_origin(predictor, bars_csv):
    bars = tn.load_bars(bars_csv)
    given = {"start": "2016-06-01", "end": "2017-10-05", "origin": "2017-10-01"}
    page = tn.report("AAPL", bars, **given, model=predictor)
    used = page.forecast.bars["date"]
    assert str(used.min().date()) == "2016-06-01" and str(used.max().date()) == "2017-09-29"
    known = bars[bars["date"].between("2017-10-01", "2017-10-05") & (bars["symbol"] == "AAPL")]
    assert data_of(page.html)["came"] == known["close"].tolist()


def test_function_forecast_and_command_show_the_same_record(predictor, bars_csv, monkeypatch):
    out = bars_csv.parent
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(out / "journal"))
    bars = tn.load_bars(bars_csv)
    day = bars["date"].max() - pd.Timedelta(days=7)
    kept = predictor.predict(bars[bars["date"] <= day])
    assert tn.journal().keep(kept, day + pd.Timedelta(hours=22)).origins == 2
    page = tn.report("GOOG", bars_csv.as_posix(), model=predictor)
    assert "The forecasts that you kept" in page.html
    assert page.html == predictor.predict(bars, symbols=["GOOG"]).report().html
    assert cli.main(["report", str(bars_csv), "--out", str(out)]) == 0
    assert "The forecasts that you kept" in (out / "GOOG.html").read_text(encoding="utf-8")


def test_a_large_journal_makes_no_report_slow(predictor, bars_csv, monkeypatch):
    """A hundred evenings of 500 symbols: rows of others are not read."""
    journal = tn.journal(bars_csv.parent / "journal")
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(journal.folder))
    bars = tn.load_bars(bars_csv)
    days = bars.loc[bars["symbol"] == "GOOG", "date"].iloc[-110:-10]
    first = predictor.predict(bars[bars["date"] <= days.iloc[0]])
    made = journal.keep(first, days.iloc[0] + pd.Timedelta(hours=22)).path
    one = pd.read_parquet(made).query("symbol == 'GOOG'")
    names = [f"G{i:03d}" for i in range(499)]
    every = pd.concat([one.assign(symbol=name) for name in sorted([*names, "GOOG"])])
    for day in days:
        every.assign(origin=day, made=day).to_parquet(made.with_name(f"{day:%Y%m%d}.parquet"))
    times = []
    for folder in (bars_csv.parent / "none", journal.folder):
        monkeypatch.setenv("TFTNHITS_JOURNAL", str(folder))
        begun = time.perf_counter()
        html = tn.report("GOOG", bars, model=predictor).html
        times.append(time.perf_counter() - begun)
    assert "of 100</strong> held" in html and times[1] - times[0] < 1


def test_it_is_written_where_it_is_told(predictor, tmp_path):
    bars = made_bars(("A",), 90)
    for output in (tmp_path, tmp_path / "new" / "page.html"):
        page = tn.report(source=bars, model=predictor, output=output)
        path = output / "A.html" if output is tmp_path else output
        assert path.read_text(encoding="utf-8") == page.html


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "a symbol or a source"),
        ({"source": made_bars(("A",), 90), "symbol": "B"}, "no symbol 'B'"),
        ({"source": made_bars(("A",), 90), "origin": "soon"}, "'soon' is no day"),
        ({"source": made_bars(("A",), 90), "start": "2033-01-01"}, "no bars from 2033-01-01"),
        ({"source": made_bars(("A",), 90, freq=None), "end": "2033-01-01"}, "no dates"),
        ({"source": made_bars(("A",), 90), "horizon": 99}, "horizon 99"),
    ],
)
def test_what_cannot_be_is_one_sentence(predictor, given, words):
    with pytest.raises(tn.TftnhitsError, match=words) as caught:
        tn.report(**given, model=predictor)
    assert one_sentence(str(caught.value))


def test_the_command_writes_a_page_a_symbol(capsys, bars_csv, tmp_path, predictor):
    one = made_bars(("ONE",), 1)
    pd.concat([pd.read_csv(bars_csv), one]).to_csv(bars_csv, index=False)
    out = tmp_path / "pages"
    code = cli.main(["report", str(bars_csv), "--out", str(out), "--origin", "2017-11-30"])
    done = capsys.readouterr()
    assert code == 0 and done.out.split() == [str(out / "AAPL.html"), str(out / "GOOG.html")]
    assert "warning: ONE" in done.err
    bars = tn.load_bars(bars_csv)
    fc = predictor.predict(bars[bars["date"] <= "2017-11-30"])
    page = fc.report("GOOG", bars)
    assert (out / "GOOG.html").read_text(encoding="utf-8") == page.html


def test_the_command_says_what_is_wrong(capsys, bars_csv, tmp_path):
    where = ["--out", str(tmp_path / "out")]
    assert cli.main(["report", str(bars_csv), *where, "--origin", "1999-01-01"]) == 2
    done = capsys.readouterr()
    assert done.out == "" and "There are no bars" in done.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert cli.main(["report", "nothing.csv", *where]) == 2
