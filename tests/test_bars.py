"""Sources of bars: each kind in, each unusable kind refused in one sentence."""

import io
import json
import logging
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, one_sentence

from tftnhits import Predictor
from tftnhits.data.bars import concat_bars, load_bars, repairs, validate_bars
from tftnhits.data.names import COLUMNS
from tftnhits.errors import DataError

ROWS = [[10, 11, 9, 10.5, 100], [10.5, 12, 10, 11, 200], [11, 11.5, 10.5, 11, 150]]
DAYS = pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06"])
CSV = "Date,Open,High,Low,Close,Volume\n2020-01-02,10,11,9,10.5,100\n2020-01-03,10.5,12,10,11,200\n"


def tidy(symbol="A", dates=DAYS):
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS[2:])).astype(float)
    frame.insert(0, "date", dates)
    frame.insert(0, "symbol", symbol)
    return frame


def check(bars, symbols=("A",), rows=3):
    """The contract of load_bars, on bars that needed no price repaired."""
    assert tuple(bars.columns) == COLUMNS and isinstance(bars.index, pd.RangeIndex)
    assert bars["date"].dtype == "datetime64[ns]" and (bars.dtypes.iloc[2:] == "float64").all()
    assert bars["symbol"].drop_duplicates().tolist() == list(symbols)
    for _, part in bars.groupby("symbol"):
        assert part["close"].tolist() == [row[3] for row in ROWS][:rows]
        assert part["open"].tolist() == [row[0] for row in ROWS][:rows]


def counted(bars):
    return dict(zip(repairs(bars)["repair"], repairs(bars)["count"], strict=True))


def refuses(source, pattern, **options):
    with pytest.raises(DataError, match=pattern) as caught:
        load_bars(source, **options)
    message = str(caught.value)
    assert one_sentence(message) and message.isprintable()
    return message


# -- the bundled set


def test_bundled_sets_are_whole_and_reported(caplog):
    with caplog.at_level(logging.INFO, logger="tftnhits"):
        bars, hourly = load_bars("stocks"), load_bars("eurusd")
    assert bars["symbol"].nunique() == 10 and hourly["symbol"].unique().tolist() == ["EURUSD"]
    assert len(bars) + len(hourly) == len(pd.read_parquet(ROOT / "data" / "bars.parquet"))
    assert bars[list(COLUMNS[2:6])].notna().all().all() and bars["volume"].isna().sum() == 2
    assert hourly["volume"].isna().all() and (hourly["date"].dt.hour > 0).any()
    assert len(caplog.records) == 2 and "10 symbols" in caplog.text
    assert json.loads(json.dumps(bars.attrs["repairs"])) == bars.attrs["repairs"]
    first = repairs(bars).query("symbol == '^IXIC' and repair == 'zero volume taken as missing'")
    assert first.iloc[0]["count"] == 2 and first.iloc[0]["first"] == "2015-05-12"
    assert repairs(load_bars(bars)).empty and repairs(hourly).empty
    both = concat_bars([bars, hourly])
    assert len(both) == len(bars) + len(hourly) and repairs(both).equals(repairs(bars))


def test_readme_of_the_data_gives_the_reported_counts():
    text = (ROOT / "data" / "README.md").read_text()
    told = re.findall(r"^\| ([a-z ]+?) \| (\d+) \|$", text, re.MULTILINE)
    counts = repairs(load_bars("stocks")).groupby("repair")["count"].sum().to_dict()
    assert {name: int(count) for name, count in told} == counts


def test_bundled_set_can_lie_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TFTNHITS_DATA", str(tmp_path))
    assert str(tmp_path / "bars.parquet") in refuses("stocks", "TFTNHITS_DATA")
    tidy("X").to_parquet(tmp_path / "bars.parquet")
    check(load_bars("stocks"), ["X"])


def test_symbol_selects_from_a_source_with_symbols():
    assert load_bars("stocks", symbol="AAPL")["symbol"].unique().tolist() == ["AAPL"]
    assert "AMZN" in refuses("stocks", "no symbol 'NOPE'", symbol="NOPE")
    refuses(ROWS, "symbol is 3", symbol=3)


# -- files


def test_csv_and_parquet_files(tmp_path):
    path = tmp_path / "BRK.B.csv"
    path.write_text(CSV)
    check(load_bars(path), ["BRK.B"], rows=2)
    check(load_bars(str(path), symbol="mine"), ["mine"], rows=2)
    tidy().drop(columns="symbol").set_index("date").to_parquet(tmp_path / "MSFT.parquet")
    bars = load_bars(tmp_path / "MSFT.parquet")
    check(bars, ["MSFT"])
    assert bars["date"].tolist() == DAYS.tolist()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_text_streams_separators_and_byte_order_mark(separator):
    text = "\ufeff" + CSV.replace(",", separator)
    check(load_bars(io.StringIO(text)), ["series"], rows=2)
    check(load_bars(io.BytesIO(text.encode())), ["series"], rows=2)


def test_standard_input():
    code = "import sys, tftnhits as tn; print(len(tn.load_bars(sys.stdin, 'A')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=CSV, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "2", done.stderr


def test_csv_symbols_stay_as_written():
    lines = [f"{name},2020-01-02,1,1,1,1,5" for name in ("NA", "005930", "TRUE")]
    bars = load_bars(io.StringIO("Ticker,Date,open,high,low,close,volume\n" + "\n".join(lines)))
    assert bars["symbol"].tolist() == ["005930", "NA", "TRUE"]


def test_csv_with_a_nameless_date_index():
    frame = tidy().drop(columns="symbol").set_index("date").rename_axis(None)
    assert load_bars(io.StringIO(frame.to_csv()))["date"].tolist() == DAYS.tolist()
    assert load_bars(frame.reset_index())["date"].tolist() == DAYS.tolist()
    numbered = load_bars(io.StringIO(tidy().to_csv()))  # an old row number is no date
    assert numbered["date"].tolist() == DAYS.tolist() and counted(numbered) == {}


BAD_FILES = {
    "empty.csv": b"",
    "blank.csv": b" \n\n",
    "binary.csv": bytes(range(256)),
    "nul.csv": b"Date\0,Open",
    "fake.parquet": b"PAR1 and nothing more",
    "torn.csv": b"Open,High\n1,2\n1,2,3\n",
    "quote.csv": b'"a',
    "long.csv": b"Open,High,Low,Close\n1,1,1,1,9\n1,1,1,1,9\n",
    "header.csv": b"Open,High,Low,Close\n",
    "no_header.csv": b"2020-01-02,1,1,1\n",
    "picture.png": b"\x89PNG\r\n\x1a\n\xff",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_unreadable_files(tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    refuses(tmp_path / name, name)


def test_a_symbol_is_no_file_and_gets_the_calls_for_it():
    refuses("AAPL", r"download_bars\('AAPL'\).*'eurusd', as tn.load_bars\('stocks', symbol='AAPL'")
    refuses("ko", r"download_bars\('KO'\).*'stocks' and 'eurusd'\.")
    refuses("here/none.csv", "'stocks' or 'eurusd'")


def test_paths_that_are_no_files(tmp_path):
    assert str(tmp_path / "none.csv") in refuses(tmp_path / "none.csv", "There is no file")
    refuses(tmp_path, "is a folder")
    if Path("/dev/zero").exists():
        refuses("/dev/zero", "is a device")  # it has no end
    for path in ("nul\0byte", "x" * 100_000, "a\nb" * 100, "\x1b[2J", "\udc80", Path("nul\0byte")):
        assert len(refuses(path, "no file|can't be read")) < 400


def test_a_files_odd_name_is_a_symbol_in_one_line(tmp_path):
    names = {"a\nb": "a b", "\x1b[2J": "?[2J", "x" * 200: "x" * 97 + "...", "日本": "日本"}
    for name, symbol in names.items():
        (tmp_path / f"{name}.csv").write_text(CSV)
        check(load_bars(tmp_path / f"{name}.csv"), [symbol], rows=2)


class Reader:
    """An open file of anyone's class."""

    def __init__(self, content):
        self.content = content

    def read(self):
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


@pytest.mark.parametrize(
    "content", [None, 2**40, [1], KeyError("x"), EOFError(), b"\xff", "\udc80", Reader(1)]
)
def test_streams_that_give_no_text(content):
    refuses(Reader(content), "open file")


def test_streams_that_give_any_kind_of_bytes():
    for content in (CSV, CSV.encode(), bytearray(CSV.encode()), memoryview(CSV.encode())):
        check(load_bars(Reader(content), symbol="A"), rows=2)


# -- frames


def test_frames_are_taken_in_many_shapes_and_left_alone():
    frame = tidy()
    before = frame.copy()
    check(load_bars(frame))
    check(load_bars(frame.rename(columns=str.capitalize)))
    check(load_bars(frame.rename(columns={"symbol": "Ticker", "date": "timestamp"})))
    check(load_bars(frame.set_index("date")))
    check(load_bars(frame.set_index(["symbol", "date"])))
    check(load_bars(frame.set_index("date").drop(columns="symbol"), symbol="A"))
    check(load_bars(frame.drop(columns="symbol")), ["series"])
    check(load_bars(frame.astype({"symbol": "category", "close": "Float64", "volume": "Int64"})))
    check(load_bars(frame.convert_dtypes(dtype_backend="pyarrow")))
    check(load_bars(frame.astype(object)))
    both = pd.concat([tidy("B"), tidy("A")])
    check(load_bars(both), ["A", "B"])
    check(load_bars(both.sort_values("date")), ["A", "B"])
    pd.testing.assert_frame_equal(frame, before)


HALF = "é\udc80"  # half a character: UTF-8, and so pandas' own text, can't hold it


def test_names_that_can_not_be_written():
    """Such text, and whole numbers too long to be printed, as the name of a symbol or a column."""
    rows = [row[:4] for row in ROWS]
    check(load_bars({HALF: rows}), ["é?"])
    named = tidy(symbol=pd.Series([HALF] * 3, dtype=object))
    check(load_bars(named, symbol="é?"), ["é?"])
    check(load_bars(rows, symbol=HALF), ["é?"])
    check(load_bars({10**5000: rows}), ["<int>"])
    other = tidy().set_axis(pd.Index([*COLUMNS[:-1], HALF], dtype=object), axis=1)
    assert counted(load_bars(other)) == {"extra column ignored": 1, "no volume column": 3}
    for name in ("x" * 5000, "a\nb", "\x1b[2J", "\0"):
        message = refuses(tidy().rename(columns={"close": name}), "Missing column close")
        assert len(message) < 400


def yfinance(tickers, order):
    columns = [name.capitalize() for name in COLUMNS[2:]]
    one = tidy().set_index("date")[[*COLUMNS[2:]]].set_axis(columns, axis=1)
    wide = pd.concat({ticker: one.assign(**{"Capital Gains": 0.0}) for ticker in tickers}, axis=1)
    wide.columns.names = ["Ticker", "Price"]
    return (wide.swaplevel(axis=1) if order == "price first" else wide).rename_axis("Date")


@pytest.mark.parametrize("order", ["price first", "ticker first"])
@pytest.mark.parametrize("tickers", [["A"], ["A", "B"], ["LOW", "OPEN"]])
def test_yfinance_frames(tickers, order):
    wide = yfinance(tickers, order)
    bars = load_bars(wide)
    check(bars, tickers)
    (record,) = repairs(bars).to_dict("records")
    assert record["repair"] == "extra column ignored" and record["example"] == "Capital Gains"
    check(load_bars(wide.reset_index()), tickers)
    check(load_bars(io.StringIO(wide.to_csv())), tickers)
    check(load_bars(wide, symbol=tickers[-1]), tickers[-1:])


def test_yfinance_listing_gaps_are_counted():
    wide = yfinance(["A", "B"], "price first")
    wide.loc[DAYS[0], (slice(None), "B")] = np.nan
    bars = load_bars(wide)
    assert bars["symbol"].tolist() == ["A", "A", "A", "B", "B"]
    assert counted(bars)["row without prices removed"] == 1
    refuses(wide.drop(columns=[("High", "A")]), "Missing column high")


def test_frames_without_what_is_needed():
    refuses(tidy().drop(columns=["low", "open"]), "Missing column open, low; found")
    refuses(tidy().rename(columns={"close": "Adj Close"}), "Missing column close")
    refuses(tidy().assign(Open=1.0), "Column open is there more than once")
    refuses(tidy().iloc[:0], "no bars")
    refuses(pd.DataFrame(), "Missing column")
    three = pd.MultiIndex.from_product([COLUMNS, ["x"], ["y"]])
    refuses(tidy().set_axis(three, axis=1), "3 levels")
    refuses(tidy().assign(symbol=["A", None, "A"]), "Row 2 has no symbol")
    refuses(tidy().assign(symbol=["A", "A", " "]), "Row 3 has no symbol")
    refuses(tidy().assign(symbol=[["A"], ["A"], ["A"]]), "symbol")
    refuses(tidy().assign(date=[[1], [2], [3]]), "date")


# -- rows and dicts


@pytest.mark.parametrize("shape", [list, tuple, np.array])
def test_bare_rows(shape):
    bars = load_bars(shape(ROWS))
    check(bars, ["series"])
    assert bars["date"].isna().all() and counted(bars) == {"no dates, the order given is kept": 3}
    four = load_bars(shape([row[:4] for row in ROWS]), symbol="A")
    check(four)
    assert four["volume"].isna().all() and counted(four)["no volume column"] == 3


def test_dicts_and_records():
    check(load_bars(tidy().to_dict("list")))
    check(load_bars(tidy().to_dict("records")))
    check(load_bars({"LOW": ROWS, "OPEN": np.array(ROWS)}), ["LOW", "OPEN"])
    nameless = tidy().drop(columns="symbol")
    check(load_bars({"B": nameless, "A": nameless}), ["A", "B"])
    bad = {"A": ROWS, "B": [*ROWS, [1, 1, 1, -1, 5]]}
    refuses(bad, r"B, row 4, column close is -1", strict=True)
    bars = load_bars(bad)
    check(bars, ["A"])
    assert "B, row 4, column close is -1" in bars.attrs["skipped"]["B"]


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ([], "list of rows is empty"),
        (np.empty((0, 5)), "list of rows is empty"),
        ({}, "no table of bars"),
        ([[1, 2, 3]], "Row 1 has 3 cells"),
        ([[1, 2, 3, 4], [1, 2, 3, 4, 5]], "Row 2 has 5 cells after rows of 4"),
        ([1.0, 2.0], "Row 1 has no cells"),
        (np.ones((2, 2, 5)), "no cells"),
        (np.array(5.0), "can't be read"),
        ([[1, 1, 1, "x"]], "series, row 1, column close: 'x' is not a number"),
        ([[1, 1, 1, True]], "series, row 1, column close: True is not a number"),
        ({"open": [1, 2], "high": [1], "low": [1], "close": [1]}, "arrays must be of the same"),
        *((source, "can't be read") for source in (3, None, object(), {1, 2}, b"stocks")),
        (pd.Series([1.0]), "can't be read"),
        (iter(ROWS), "can't be read"),
    ],
)
def test_rows_and_dicts_that_are_none(source, pattern):
    refuses(source, pattern)


# -- dates


@pytest.mark.parametrize(
    "dates",
    [
        [20200102, 20200103, 20200106],
        [20200102.0, 20200103.0, 20200106.0],
        ["01/02/2020", "01/03/2020", "01/06/2020"],
        [pd.Timestamp(day).date() for day in DAYS],
        [datetime(2020, 1, 2), np.datetime64("2020-01-03"), "2020-01-06"],
        [1577923200, 1578009600, 1578268800],
        DAYS.to_period("D"),
        DAYS.as_unit("s"),
        DAYS.tz_localize("America/New_York"),
        DAYS.tz_localize("America/New_York").astype(object),
    ],
)
def test_dates_of_any_type(dates):
    assert load_bars(tidy(dates=dates))["date"].tolist() == DAYS.tolist()


@pytest.mark.parametrize("bad", ["soon", "2020-13-45", "5", "9999-01-01", 3.5, True, "by Yahoo"])
def test_dates_that_are_none(bad):
    dates = ["2020-01-02", bad, "2020-01-06"]
    assert "A, row 2, column date" in refuses(tidy(dates=dates), "is not a date")


def test_what_is_doubted_of_one_source_is_not_doubted_of_another():
    undated = load_bars(tidy().drop(columns="date"))
    doubts = concat_bars([undated, load_bars(tidy("B"))]).attrs["doubts"]
    assert doubts == {"A": undated.attrs["doubts"]["all"]}


def test_validated_bars_pass_again():
    bars = load_bars(pd.concat([tidy("B"), tidy("A")]))
    again, report = validate_bars(bars)
    pd.testing.assert_frame_equal(again, bars, check_flags=False)
    assert report.empty


def test_parquet_keeps_what_is_known_of_its_symbols(tmp_path):
    bars = load_bars("stocks", symbol="AAPL")
    bars.attrs["zones"] = {"AAPL": "America/New_York"}
    bars.attrs["doubts"]["AAPL"] = ["Live bars of AAPL can't be had, so bundled ones stand in."]
    bars.to_parquet(tmp_path / "kept.parquet", index=False)
    again = load_bars(tmp_path / "kept.parquet").attrs
    assert again["zones"] == bars.attrs["zones"]
    assert again["doubts"]["AAPL"] == bars.attrs["doubts"]["AAPL"]


WRONG = [3, "AAPL", [1], {"AAPL": 3}, {"AAPL": [3]}, {"AAPL": "Nowhere/Land"}, None]


@pytest.mark.parametrize("value", WRONG, ids=str)
def test_attrs_of_a_file_may_be_anything(tmp_path, value):
    bars = load_bars("stocks", symbol="AAPL")
    bars.attrs = dict.fromkeys(("zones", "doubts", "unused"), value)
    bars.to_parquet(tmp_path / "odd.parquet", index=False)
    again = load_bars(tmp_path / "odd.parquet")
    assert again.attrs["zones"] == {} and again.attrs["unused"] == []
    Predictor.load().predict(again)
