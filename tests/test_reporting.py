"""tn.report and the command: pages of a symbol, a file or a bundled set, as of a day."""

import json
import re
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
