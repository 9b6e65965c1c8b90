"""Files in the layouts that people have, each written from made bars and read back as those."""

import gzip
import io
import json
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.names import COLUMNS, PRICES, SYNONYMS, normal
from tftnhits.errors import DataError, TftnhitsError

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def bars_of(symbols=("ACME",), freq="B", size=80, price=1.0, digits=2):
    """Made bars in round numbers, so that a text holds all of them."""
    bars = made_bars(symbols, size, freq)
    bars[list(PRICES)] = (bars[list(PRICES)] * price).round(digits)
    bars["high"] = bars[list(PRICES)].max(axis=1)
    bars["low"] = bars[list(PRICES)].min(axis=1)
    return bars.assign(volume=bars["volume"].round())


def continuous(bars):
    """The same with opens next to the closes before, as where trade never rests."""
    bars = bars.assign(open=bars["close"].shift(fill_value=bars["open"][0]).round(2))
    return bars.assign(high=bars[list(PRICES)].max(axis=1), low=bars[list(PRICES)].min(axis=1))


def same(read, bars, symbol=True, volume=True):
    """Whether bars were read as they are, whatever they are called."""
    bars = bars.astype({"date": "datetime64[ns]"}).reset_index(drop=True)
    skipped = [] if symbol else ["symbol"]
    skipped += [] if volume else ["volume"]
    pd.testing.assert_frame_equal(
        read.drop(columns=skipped), bars.drop(columns=skipped), check_dtype=False, check_flags=False
    )


def inferred(read):
    return dict(zip(repairs(read)["repair"], repairs(read)["example"], strict=True))


def lines(bars, form):
    return "".join(form(row) + "\n" for row in bars.itertuples())


def prices(row):
    return f"{row.open},{row.high},{row.low},{row.close}"


def refuses(source, *words, **options):
    with pytest.raises(DataError) as caught:
        load_bars(io.StringIO(source) if isinstance(source, str) else source, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert one_sentence(message) and "np." not in message
    return message


# -- archives, binary files, encodings


def test_archives_and_binary_files(tmp_path):
    bars = bars_of()
    text = bars.to_csv(index=False).encode()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("inner.csv", text)
        archive.writestr("README.md", "not a table")
        archive.writestr("__MACOSX/inner.csv", "not a table")
    bars.set_index("date").to_feather(tmp_path / "c.feather")
    bars.to_parquet(tmp_path / "d.pq")
    for path in tmp_path.iterdir():
        same(load_bars(path), bars)
    nameless = bars.drop(columns="symbol").to_csv(index=False).encode()
    (tmp_path / "ACME.csv.gz").write_bytes(gzip.compress(nameless))
    assert load_bars(tmp_path / "ACME.csv.gz")["symbol"].unique().tolist() == ["ACME"]
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("one.csv", text)
        archive.writestr("two.csv", text)
    refuses(tmp_path / "two.zip", "two.zip", "2 tables", "unpack")
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<xml/>")
    refuses(tmp_path / "book.xlsx", "Excel", "save the sheet as CSV")
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    refuses(tmp_path / "old.xls", "Excel")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text)[:100])
    refuses(tmp_path / "cut.csv.gz", "is damaged")


WORDS = {
    "gb18030": ("日期,股票代码,名称,收盘价,最高价,最低价,开盘价,成交量", "浦发银行"),
    "cp932": ("日付,銘柄コード,名称,終値,高値,安値,始値,出来高", "トヨタ自動車"),
    "cp949": ("일자,종목코드,비고,종가,고가,저가,시가,거래량", "삼성전자"),
    "cp1251": ("Дата,Тикер,Имя,Закрытие,Макс.,Мин.,Откр.,Объём", "Газпром"),
    "cp1252": ("Datum,Kürzel,Name,Schluss,Höchst,Tief,Eröffnung,Stück", "Münchener Rück"),
}


@pytest.mark.parametrize("encoding", WORDS)
def test_encodings(encoding):
    bars, (header, name) = bars_of(("600000",)), WORDS[encoding]
    rows = lines(
        bars,
        lambda r: (
            f"{r.date:%Y-%m-%d},'600000,{name},{r.close},{r.high},{r.low},{r.open},{r.volume}"
        ),
    )
    for known in (encoding, "utf-8", "utf-8-sig", "utf-16"):
        read = load_bars(io.BytesIO(f"{header}\n{rows}".encode(known)))
        same(read, bars)
        assert inferred(read).get("encoding", "utf-8") == known.removesuffix("-sig")


@pytest.mark.parametrize("encoding", ["gb18030", "cp932", "cp1252"])
def test_letters_of_cells_tell_the_encoding_where_the_header_does_not(encoding):
    name = WORDS[encoding][1]
    bars = bars_of((name,))
    read = load_bars(io.BytesIO(bars.to_csv(index=False).encode(encoding)))
    same(read, bars)
    assert inferred(read)["encoding"] == encoding


# -- what stands around a table


def test_lines_around_the_table_are_skipped_and_noted():
    bars = bars_of()
    plain = bars.drop(columns="symbol").to_csv(index=False).splitlines()
    text = "\n".join(
        [
            "https://www.example.com/data",
            "Daily prices",
            *plain[:40],
            plain[0],
            *plain[40:],
            '"Downloaded today, 10pm"',
        ]
    )
    read = load_bars(io.StringIO(text))
    same(read, bars, symbol=False)
    notes = repairs(read).set_index("repair")["count"]
    assert notes["line before the table skipped"] == 2 and notes["repeated header removed"] == 1
    assert notes["footer skipped"] == 1
    cut = load_bars(io.StringIO("\n".join(plain)[:-30]))
    same(cut, bars[:-1], symbol=False)
    assert inferred(cut)["incomplete last row removed"]
    refuses("\n".join([*plain[:5], "2020-01-01,5,5", *plain[5:]]), "row 5 has 3 cells", "mend")


def test_rows_without_prices_between_units_and_dividends():
    bars = bars_of()
    rows = bars.drop(columns="symbol").to_csv(index=False).splitlines()
    text = [
        rows[0],
        ",USD,USD,USD,USD,shares",
        *rows[1:40],
        "2015-02-27,0.82 Dividend,,,,",
        "2015-02-28,,,,,",
        *rows[40:],
    ]
    read = load_bars(io.StringIO("\n".join([*text, "Total,,,,,123456"])))
    same(read, bars, symbol=False)
    assert {"dividend or split between the rows skipped", "row without prices removed"} <= {
        *inferred(read)
    }
    spaced = "\n".join(" ".join(line.split(",")) for line in rows)
    same(load_bars(io.StringIO(spaced)), bars, symbol=False)
    refuses("<!DOCTYPE html><html><body>404</body></html>", "web page")


def test_a_line_without_end_and_a_header_of_thousands_are_refused_at_once():
    begin = time.process_time()
    refuses("date,open,high,low,close\n" + "1" * 2_000_000, "line of 2000000 characters")
    refuses("a," * 50_000 + "\n1,2,3\n", "thousands of columns")
    refuses("[" * 100_000, "nested too deeply")
    refuses('{"a": [' + "1," * 400_000 + "1]}", "Missing column")
    assert time.process_time() - begin < 10


def test_a_long_file_is_read_within_a_second_or_so():
    bars = bars_of(freq="h", size=50_000)
    text = bars.to_csv(index=False)
    begin = time.process_time()
    same(load_bars(io.StringIO(text)), bars)
    assert (
        time.process_time() - begin < 10
    )  # about 0.4 s on an idle core; ten times as long is a fault


# -- no header


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_no_header_time_and_prices(unit):
    bars = continuous(bars_of(freq="h"))
    stamps = bars["date"].astype("datetime64[s]").astype("int64") * unit
    kraken = lines(bars.assign(at=stamps), lambda r: f"{r.at},{prices(r)},{r.volume},512")
    coinbase = lines(
        bars.assign(at=stamps), lambda r: f"{r.at},{r.low},{r.high},{r.open},{r.close},{r.volume}"
    )
    closes = lines(
        bars.assign(at=stamps), lambda r: f"{r.at},{r.close},{r.open},{r.high},{r.low},{r.volume}"
    )
    binance = lines(
        bars.assign(at=stamps),
        lambda r: f"{r.at},{prices(r)},{r.volume},{r.at + 3599},1.0,9,1.0,1.0,0",
    )
    for text in (kraken, coinbase, closes, binance):
        for shown in (text, "".join(reversed(text.splitlines(keepends=True)))):
            read = load_bars(io.StringIO(shown))
            same(read, bars, symbol=False)
            assert "columns told by what they hold" in inferred(read)


def test_no_header_prices_are_told_by_their_size():
    bars = continuous(bars_of(freq="h"))
    stamp = lambda r: f"{r.date:%Y-%m-%d %H:%M:%S}"  # noqa: E731
    forms = {
        "volume first": lambda r: f"{stamp(r)},{r.volume},{prices(r)}",
        "mean price": lambda r: (
            f"{stamp(r)},{prices(r)},{(r.high + r.low) / 2 + 0.01 * (r.Index % 7)},{r.volume},12"
        ),
        "two volumes": lambda r: (
            f"{stamp(r)},{r.volume * 50},{r.close},{r.high},{r.low},{r.open},{r.volume}"
        ),
    }
    for name, form in forms.items():
        read = load_bars(io.StringIO(lines(bars, form)))
        same(read, bars, symbol=False, volume=name != "two volumes")
    ratio = np.where(np.arange(80) < 50, 1 / 7, 1.0)
    raw = bars.assign(**{name: bars[name] / ratio for name in PRICES}, adjusted=bars["close"])
    read = load_bars(
        io.StringIO(lines(raw, lambda r: f"{stamp(r)},{prices(r)},{r.adjusted},{r.volume}"))
    )
    np.testing.assert_allclose(read[list(PRICES)], bars[list(PRICES)], rtol=1e-9)
    wide = lines(
        bars,
        lambda r: (
            f"{r.date:%Y-%m-%d %H:%M},{r.close},{r.close * 1.5},{r.close * 2},{r.close * 1.2}"
        ),
    )
    refuses(wide, "no header", "several symbols")


def test_no_header_dates_and_times_in_columns():
    bars = bars_of(freq="h")
    forms = {
        "metatrader": lambda r: f"{r.date:%Y.%m.%d},{r.date:%H:%M},{prices(r)},{r.volume}",
        "digits": lambda r: f"{r.date:%Y%m%d},{r.date:%H%M%S},{prices(r)},{r.volume}",
        "histdata": lambda r: f"{r.date:%Y%m%d %H%M%S};{prices(r).replace(',', ';')};{r.volume}",
        "symbol first": lambda r: f"ACME,{r.date:%Y-%m-%dT%H:%M:%SZ},{prices(r)},{r.volume}",
    }
    for name, form in forms.items():
        same(load_bars(io.StringIO(lines(bars, form))), bars, symbol=name == "symbol first")


def test_rows_of_a_list_with_their_time():
    bars = bars_of(freq="h")
    rows = [
        [int(r.date.timestamp() * 1000), r.open, r.high, r.low, r.close, r.volume]
        for r in bars.itertuples()
    ]
    same(load_bars(rows), bars, symbol=False)
    same(load_bars(np.array(rows)), bars, symbol=False)
    same(load_bars([row[:5] for row in rows]), bars.assign(volume=np.nan), symbol=False)
    dates = [[r.date, r.open, r.high, r.low, r.close] for r in bars.itertuples()]
    same(load_bars(dates), bars.assign(volume=np.nan), symbol=False)


# -- JSON


def test_json_in_many_shapes(tmp_path):
    bars = bars_of()
    stamps = [int(date.timestamp() * 1000) for date in bars["date"]]
    rows = [
        [s, *row]
        for s, row in zip(stamps, bars[list(COLUMNS[2:])].to_numpy().tolist(), strict=True)
    ]
    records = bars.drop(columns="symbol").assign(date=bars["date"].astype(str)).to_dict("records")
    short = [dict(zip("tohlcv", row, strict=True)) for row in rows]
    columns = {key: [record[key] for record in short] for key in "tohlcv"}
    by_date = {
        r["date"]: {f"{i}. {k}": str(r[k]) for i, k in enumerate(COLUMNS[2:], 1)} for r in records
    }
    quote = {k: [r[k] for r in records] for k in COLUMNS[2:]}
    shapes = {
        "rows": rows,
        "records": records,
        "reversed": short[::-1],
        "columns": {"s": "ok", **columns},
        "orient columns": json.loads(bars.drop(columns="symbol").to_json(date_format="iso")),
        "split": json.loads(bars.drop(columns="symbol").to_json(orient="split", date_format="iso")),
        "table": json.loads(bars.drop(columns="symbol").to_json(orient="table")),
        "results": {"ticker": "ACME", "queryCount": 80, "results": short},
        "nested": {"error": [], "result": {"ACME": rows, "last": 1}},
        "pair": {"data": {"pair": "ACME", "ohlc": short}},
        "by date": {
            "Meta Data": {"1. Information": "Daily", "2. Symbol": "ACME"},
            "Time Series (Daily)": by_date,
        },
        "chart": {
            "chart": {
                "result": [
                    {
                        "meta": {"symbol": "ACME"},
                        "timestamp": [s // 1000 for s in stamps],
                        "indicators": {"quote": [quote]},
                    }
                ]
            }
        },
    }
    for name, shape in shapes.items():
        path = tmp_path / "ACME.json"
        path.write_text(json.dumps(shape))
        try:
            same(load_bars(path), bars)
            same(load_bars(json.loads(path.read_text())), bars, symbol=False)  # the same as objects
        except Exception as error:
            raise AssertionError(name) from error
    path.write_text("\n".join(map(json.dumps, short)))
    same(load_bars(path), bars)
    path.write_text(json.dumps(records)[:-50])
    refuses(path, "damaged JSON")


def test_json_of_several_symbols():
    bars = bars_of(("AAA", "BBB"))
    parts = {}
    for name, part in bars.groupby("symbol"):
        parts[name] = (
            part.drop(columns="symbol").assign(date=part["date"].astype(str)).to_dict("records")
        )
    listed = [{"symbol": name, "bars": rows} for name, rows in parts.items()]
    for shape in (
        parts,
        {"bars": parts},
        {"data": parts, "next": None},
        {"result": listed, "status": "ok"},
    ):
        same(load_bars(io.StringIO(json.dumps(shape))), bars)
    for nothing in (
        {"s": "no_data"},
        {"code": -1121, "msg": "Invalid symbol."},
        {"Note": "Call us less often."},
    ):
        refuses(json.dumps(nothing), "no table of bars")


def test_frames_of_other_libraries():
    bars = bars_of(("A", "B"))
    pa = pytest.importorskip("pyarrow")
    same(load_bars(pa.Table.from_pandas(bars)), bars)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    same(load_bars(polars.from_pandas(bars)), bars)


# -- the same bars, however they are written


ENCODED = {
    "utf-8": 0,
    "utf-8-sig": 0,
    "gb18030": 3,
    "cp932": 4,
    "cp1252": 6,
}
DATED = {
    "%Y-%m-%d": False,
    "%Y%m%d": False,
    "%d.%m.%Y": False,
    "%d/%m/%Y": True,
    "%m/%d/%Y": True,
    "%d-%b-%y": False,
    "%b %d, %Y": False,
    "%d %b %Y": False,
    "%Y年%m月%d日": False,
    "%Y-%m-%dT00:00:00": False,
}
LABELS = {
    "utf-8": {role: [name for name in names if name.isascii()] for role, names in SYNONYMS.items()},
    "gb18030": dict(
        zip(
            COLUMNS,
            (["股票代码"], ["日期"], ["开盘价"], ["最高价"], ["最低价"], ["收盘"], ["成交量"]),
        )
    ),
    "cp932": dict(
        zip(COLUMNS, (["コード"], ["日付"], ["始値"], ["高値"], ["安値"], ["終値"], ["出来高"]))
    ),
    "cp1252": dict(
        zip(
            COLUMNS,
            (["Symbol"], ["Datum"], ["Eröffnung"], ["Höchst"], ["Tief"], ["Schluss"], ["Stück"]),
        )
    ),
}
MIXED = made_bars(("AAA", "BBB"), 60)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_order_names_encoding_separator_and_dates_change_nothing(data):
    encoding, form = data.draw(st.sampled_from([*ENCODED])), data.draw(st.sampled_from([*DATED]))
    if "年" in form and encoding in ("cp1252", "cp932"):
        encoding = "utf-8"
    names = LABELS.get(encoding.removesuffix("-sig"), LABELS["utf-8"])
    labels = {role: data.draw(st.sampled_from(names[role])) for role in COLUMNS}
    if encoding.startswith("utf") and data.draw(st.booleans()):
        labels = {
            role: data.draw(st.sampled_from([str.title, str.upper, "<{}>".format]))(n)
            for role, n in labels.items()
        }
    comma = data.draw(st.booleans())
    separator = data.draw(st.sampled_from(";\t|" if comma else ",;\t|"))
    rows = data.draw(st.permutations(range(len(MIXED))))
    order = data.draw(st.permutations(COLUMNS))
    cells = MIXED.assign(date=MIXED["date"].dt.strftime(form))
    if comma:
        for name in COLUMNS[2:]:
            cells[name] = cells[name].map(lambda value: repr(value).replace(".", ","))
    table = cells.iloc[rows][list(order)].rename(columns=labels)
    text = table.to_csv(index=False, sep=separator)
    read = load_bars(io.BytesIO(text.encode(encoding)))
    same(read, MIXED)


def test_synonyms_are_in_normal_form():
    """Or they would never be met."""
    for names in SYNONYMS.values():
        assert [normal(name) for name in names] == names


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from("tohlcv") | st.text(max_size=3), inner, max_size=6)
        ),
    )
)
def test_any_json_ends_in_bars_or_a_typed_error(value):
    try:
        load_bars(io.StringIO(json.dumps(value)))
    except TftnhitsError as error:
        assert str(error)


def test_factors_of_adjustment_may_be_cells_of_any_kind():
    """Cells without a hash raised TypeError."""
    bars = bars_of()
    bars["adj_factor"] = pd.Series([[1.0], *[[2.0]] * (len(bars) - 1)], index=bars.index)
    assert "factors of adjustment" in load_bars(bars).attrs["doubts"]["all"][0]
