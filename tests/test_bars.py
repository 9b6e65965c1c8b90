"""Sources of bars: each kind in, each unusable kind refused in one sentence."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tftnhits.data.bars import load_bars, repairs, validate_bars
from tftnhits.data.names import COLUMNS
from tftnhits.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
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


def found(bars):
    return dict(zip(repairs(bars)["repair"], repairs(bars)["count"], strict=True))


def refuses(source, pattern, **options):
    with pytest.raises(DataError, match=pattern) as caught:
        load_bars(source, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
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
    report = repairs(bars)
    assert json.loads(json.dumps(bars.attrs["repairs"])) == bars.attrs["repairs"]
    first = report[
        (report["symbol"] == "^IXIC") & (report["repair"] == "zero volume taken as missing")
    ].iloc[0]
    assert first["count"] == 2 and first["first"] == "2015-05-12"
    assert repairs(load_bars(bars)).empty and repairs(hourly).empty


def test_dirt_as_it_comes_is_repaired_and_reported():
    """What a real collection of stocks had: a day of empty cells for most of them, odd highs, days without trades."""
    bars = load_bars("stocks")
    bars = bars[bars["symbol"].isin(["AAPL", "GOOG"]) & (bars["date"] >= "2017-01-01")].reset_index(
        drop=True
    )
    dirty, day = bars.copy(), bars["date"] == "2017-07-31"
    dirty.loc[day, ["open", "high", "low"]] = np.nan
    apple = dirty.index[dirty["symbol"] == "AAPL"]
    dirty.loc[apple[3], "high"] = dirty.loc[apple[3], ["open", "close"]].max() * 0.99
    dirty.loc[apple[5], "low"] = 0.0
    dirty.loc[apple[[7, 8]], "volume"] = 0.0
    clean = load_bars(dirty)
    counts = repairs(clean).groupby("repair")["count"].sum().to_dict()
    assert counts == {
        "missing open filled": 2,
        "missing high filled": 2,
        "missing low filled": 3,
        "zero low taken as missing": 1,
        "high below open or close raised": 1,
        "zero volume taken as missing": 2,
    }
    first = repairs(clean).query("symbol == 'GOOG' and repair == 'missing open filled'").iloc[0]
    assert first["count"] == 1 and first["first"] == "2017-07-31"
    untouched = clean["close"].notna() & ~clean.index.isin([*bars.index[day], *apple[[3, 5, 7, 8]]])
    pd.testing.assert_frame_equal(clean[untouched], bars[untouched], check_like=True)
    assert (clean["high"] >= clean[["open", "close"]].max(axis=1)).all()
    assert (clean["low"] <= clean[["open", "close"]].min(axis=1)).all() and (clean["low"] > 0).all()
    assert clean["volume"].isna().sum() == 2 and repairs(load_bars(clean)).empty


def test_readme_of_the_data_gives_the_reported_counts():
    text = (ROOT / "data" / "README.md").read_text()
    told = {
        name: int(count)
        for name, count in re.findall(r"^\| ([a-z ]+?) \| (\d+) \|$", text, re.MULTILINE)
    }
    assert told == repairs(load_bars("stocks")).groupby("repair")["count"].sum().to_dict()


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
    path = tmp_path / "AAPL.csv"
    path.write_text(CSV)
    check(load_bars(path), ["AAPL"], rows=2)
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
    code = "import sys; from tftnhits.data.bars import load_bars; print(len(load_bars(sys.stdin, 'A')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=CSV, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "2", done.stderr


def test_csv_symbols_stay_as_written():
    lines = [f"{name},2020-01-02,1,1,1,1,5" for name in ("NA", "005930", "TRUE")]
    bars = load_bars(io.StringIO("Ticker,Date,open,high,low,close,volume\n" + "\n".join(lines)))
    assert bars["symbol"].tolist() == ["005930", "NA", "TRUE"]


def test_csv_counts_only_the_cells_that_were_odd():
    text = 'Date,Open,High,Low,Close\n2020-01-02,10,11,9,10.5\n2020-01-03,"1,010.5",1200,10,n/a\n'
    bars = load_bars(io.StringIO(text))
    assert bars["open"].tolist() == [10, 1010.5]
    assert found(bars) == {
        "number written as text": 1,
        "no volume column": 2,
        "missing close filled": 1,
    }


def test_csv_with_a_nameless_date_index():
    frame = tidy().drop(columns="symbol").set_index("date").rename_axis(None)
    assert load_bars(io.StringIO(frame.to_csv()))["date"].tolist() == DAYS.tolist()
    assert load_bars(frame.reset_index())["date"].tolist() == DAYS.tolist()
    numbered = load_bars(io.StringIO(tidy().to_csv()))  # an old row number is no date
    assert numbered["date"].tolist() == DAYS.tolist() and found(numbered) == {}


def test_unreadable_files(tmp_path):
    refuses(tmp_path / "none.csv", "There is no file .*none.csv")
    refuses("nul\0byte", "can't be read")
    refuses("x" * 5000, "can't be read")
    refuses(tmp_path, "is a folder")
    bad = {
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
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        refuses(tmp_path / name, ".")
    closed = io.StringIO(CSV)
    closed.close()
    refuses(closed, "open file can't be read")


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


def test_paths_that_are_no_files(tmp_path):
    if Path("/dev/zero").exists():
        refuses("/dev/zero", "is a device")  # it has no end
    for path in (
        "x" * 100_000,
        "a\nb" * 100,
        "\x1b[2J",
        "\udc80",
        tmp_path / ("x" * 200) / "y",
        Path("nul\0byte"),
    ):
        assert len(refuses(path, "no file|can't be read")) < 400
    assert str(tmp_path / "none.csv") in refuses(tmp_path / "none.csv", "no file")


def test_a_files_odd_name_is_a_symbol_in_one_line(tmp_path):
    names = {
        "a\nb.csv": "a b",
        "\x1b[2J.csv": "?[2J",
        "x" * 200 + ".csv": "x" * 97 + "...",
        "日本.csv": "日本",
    }
    for name, symbol in names.items():
        (tmp_path / name).write_text(CSV)
        check(load_bars(tmp_path / name), [symbol], rows=2)


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
    pd.testing.assert_frame_equal(frame, before)


HALF = "é\udc80"  # half a character: UTF-8, and so pandas' own text, can't hold it


def test_names_that_can_not_be_written():
    """Such text, and whole numbers too long to be printed, as the name of a symbol or a column."""
    rows = [row[:4] for row in ROWS]
    check(load_bars({HALF: rows}), ["é?"])
    check(load_bars(tidy(symbol=pd.Series([HALF] * 3, dtype=object))), ["é?"])
    check(load_bars(rows, symbol=HALF), ["é?"])
    check(load_bars(tidy(symbol=pd.Series([HALF] * 3, dtype=object)), symbol="é?"), ["é?"])
    check(load_bars({10**5000: rows}), ["<int>"])
    other = tidy().set_axis(pd.Index([*COLUMNS[:-1], HALF], dtype=object), axis=1)
    assert found(load_bars(other)) == {"extra column ignored": 1, "no volume column": 3}


def test_columns_whose_names_are_no_names():
    for name in ("x" * 5000, "a\nb", "\x1b[2J", "\0"):
        message = refuses(tidy().rename(columns={"close": name}), "Missing column close")
        assert len(message) < 400 and message.isprintable()
    assert len(refuses(tidy(), "There is no symbol", symbol="x" * 5000)) < 400


def test_a_frame_built_column_by_column_is_no_news():
    wide = tidy().drop(columns="symbol")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about this loop
        for i in range(150):
            wide[f"c{i}"] = i
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(load_bars(wide), ["series"])


def test_several_symbols_in_any_arrangement():
    frame = pd.concat([tidy("B"), tidy("A")])
    check(load_bars(frame), ["A", "B"])
    check(load_bars(frame.sort_values("date")), ["A", "B"])


def yfinance(tickers, order):
    wide = pd.concat(
        {t: tidy().set_index("date")[["open", "high", "low", "close", "volume"]] for t in tickers},
        axis=1,
    )
    wide.columns = wide.columns.set_levels(
        [name.capitalize() for name in wide.columns.levels[1]], level=1
    )
    for ticker in tickers:
        wide[ticker, "Capital Gains"] = 0.0
    wide.columns.names = ["Ticker", "Price"]
    return (wide.swaplevel(axis=1) if order == "price first" else wide).rename_axis("Date")


@pytest.mark.parametrize("order", ["price first", "ticker first"])
@pytest.mark.parametrize("tickers", [["A"], ["A", "B"], ["LOW", "OPEN"]])
def test_yfinance_frames(tickers, order):
    wide = yfinance(tickers, order)
    bars = load_bars(wide)
    check(bars, tickers)
    assert repairs(bars).to_dict("records") == [
        {
            "symbol": "all",
            "repair": "extra column ignored",
            "count": 1,
            "first": "",
            "example": "Capital Gains",
        }
    ]
    check(load_bars(wide.reset_index()), tickers)
    check(load_bars(io.StringIO(wide.to_csv())), tickers)
    check(load_bars(wide, symbol=tickers[-1]), tickers[-1:])


def test_yfinance_listing_gaps_are_counted():
    wide = yfinance(["A", "B"], "price first")
    wide.loc[DAYS[0], (slice(None), "B")] = np.nan
    bars = load_bars(wide)
    assert bars["symbol"].tolist() == ["A", "A", "A", "B", "B"]
    assert found(bars)["row without prices removed"] == 1


def test_frames_without_what_is_needed():
    assert "found" in refuses(tidy().drop(columns=["low", "open"]), "Missing column open, low")
    refuses(tidy().rename(columns={"close": "Adj Close"}), "Missing column close")
    refuses(tidy().assign(Open=1.0), "Column open is there more than once")
    refuses(tidy().iloc[:0], "no bars")
    refuses(pd.DataFrame(), "Missing column")
    refuses(yfinance(["A"], "price first").drop(columns=[("High", "A")]), "Missing column high")
    three = tidy()
    three.columns = pd.MultiIndex.from_tuples([(c, "x", "y") for c in three.columns])
    refuses(three, "3 levels")
    refuses(tidy().assign(symbol=["A", None, "A"]), "Row 2 has no symbol")
    refuses(tidy().assign(symbol=["A", "A", " "]), "Row 3 has no symbol")
    refuses(tidy().assign(symbol=[["A"], ["A"], ["A"]]), "symbol")
    refuses(tidy().assign(date=[[1], [2], [3]]), "date")


# -- rows and dicts


@pytest.mark.parametrize("shape", [list, tuple, np.array])
def test_bare_rows(shape):
    bars = load_bars(shape(ROWS))
    check(bars, ["series"])
    assert bars["date"].isna().all() and found(bars) == {"no dates, the order given is kept": 3}
    four = load_bars(shape([row[:4] for row in ROWS]), symbol="A")
    check(four)
    assert four["volume"].isna().all() and found(four)["no volume column"] == 3


def test_dicts_and_records():
    check(load_bars(tidy().to_dict("list")))
    check(load_bars(tidy().to_dict("records")))
    check(load_bars({"LOW": ROWS, "OPEN": np.array(ROWS)}), ["LOW", "OPEN"])
    check(
        load_bars({"B": tidy().drop(columns="symbol"), "A": tidy().drop(columns="symbol")}),
        ["A", "B"],
    )
    bad = {"A": ROWS, "B": [*ROWS, [1, 1, 1, -1, 5]]}
    refuses(bad, r"B, row 4, column close is -1", strict=True)
    bars = load_bars(bad)
    check(bars, ["A"])
    assert "B, row 4, column close is -1" in bars.attrs["skipped"]["B"]


def test_rows_and_dicts_that_are_none():
    refuses([], "list of rows is empty")
    refuses(np.empty((0, 5)), "list of rows is empty")
    refuses({}, "dict is empty")
    refuses([[1, 2, 3]], "Row 1 has 3 cells")
    refuses([[1, 2, 3, 4], [1, 2, 3, 4, 5]], "Row 2 has 5 cells after rows of 4")
    refuses([1.0, 2.0], "Row 1 has no cells")
    refuses(np.ones((2, 2, 5)), "cells|number")
    refuses(np.array(5.0), ".")
    refuses([[1, 1, 1, "x"]], "series, row 1, column close: 'x' is not a number")
    refuses(
        {"open": [1, 2], "high": [1], "low": [1], "close": [1]}, "arrays must be of the same length"
    )
    for source in (3, None, object(), pd.Series([1.0]), {1, 2}, b"stocks", iter(ROWS)):
        refuses(source, "can't be read")


# -- dates


@pytest.mark.parametrize(
    "dates",
    [
        [20200102, 20200103, 20200106],
        ["20200102", "20200103", "20200106"],
        [20200102.0, 20200103.0, 20200106.0],
        ["2020-01-02", "2020-01-03", "2020-01-06"],
        ["01/02/2020", "01/03/2020", "01/06/2020"],
        ["02.01.2020", "03.01.2020", "06.01.2020"],
        ["Jan 2, 2020", "Jan 3, 2020", "Jan 6, 2020"],
        [pd.Timestamp(day).date() for day in DAYS],
        [datetime(2020, 1, 2), np.datetime64("2020-01-03"), "2020-01-06"],
        [1577923200, 1578009600, 1578268800],
        [1577923200000, 1578009600000, 1578268800000],
        DAYS.to_period("D"),
        DAYS.as_unit("s"),
    ],
)
def test_dates_are_read_in_many_notations(dates):
    assert load_bars(tidy(dates=dates))["date"].tolist() == DAYS.tolist()


def test_zones():
    zoned = DAYS.tz_localize("America/New_York")
    local = "time zone dropped, local time kept"
    for dates in (
        zoned,
        zoned.astype(str),
        zoned.astype(object),
        ["2020-01-02T00:00Z", "2020-01-03T00:00Z", "2020-01-06T00:00Z"],
    ):
        bars = load_bars(tidy(dates=dates))
        assert bars["date"].tolist() == DAYS.tolist() and found(bars) == {local: 3}
    mixed = [
        "2020-01-02 09:30+01:00",
        "2020-01-03 09:30:00-0500",
        datetime(2020, 1, 6, 9, 30, tzinfo=timezone.utc),
    ]
    bars = load_bars(tidy(dates=mixed))
    assert bars["date"].dt.strftime("%H:%M").tolist() == ["08:30", "14:30", "09:30"]
    assert found(bars) == {"mixed time zones turned into UTC": 3}
    summer = ["2020-03-06 00:00:00-05:00", "2020-03-09 00:00:00-04:00", "2020-03-10 00:00:00-04:00"]
    bars = load_bars(tidy(dates=summer))  # daily bars over a clock change stay on their day
    assert bars["date"].dt.strftime("%d %H").tolist() == ["06 00", "09 00", "10 00"] and found(
        bars
    ) == {local: 3}


def test_day_and_month_that_could_be_swapped_are_told():
    assert (
        found(load_bars(tidy(dates=["01/02/2020", "01/03/2020", "02/04/2020"])))["ambiguous dates"]
        == 3
    )
    day_first = load_bars(tidy(dates=["30/01/2020", "31/01/2020", "03/02/2020"]))
    assert day_first["date"].iloc[2] == pd.Timestamp("2020-02-03") and repairs(day_first).empty


@pytest.mark.parametrize(
    "bad", ["soon", "2020-13-45", "5", "9999-01-01", "0001-01-01", 3.5, True, "Data by Yahoo"]
)
def test_dates_that_are_none(bad):
    assert "A, row 2, column date" in refuses(
        tidy(dates=["2020-01-02", bad, "2020-01-06"]), "is not a date"
    )
    refuses(tidy(dates=pd.Series([DAYS[0], pd.NaT, DAYS[2]])), r"A, row 2, column date is empty")
    refuses(tidy(dates=[20200102, 20201399, 20200106]), "A, row 2, column date: .*20201399")


def test_validated_bars_pass_again():
    bars = load_bars(pd.concat([tidy("B"), tidy("A")]))
    again, report = validate_bars(bars)
    pd.testing.assert_frame_equal(again, bars, check_flags=False)
    assert report.empty
