"""Files in the layouts that people have, each written from made bars and read back as those."""

import gzip
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import made_bars, one_sentence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.names import COLUMNS, PRICES, SYNONYMS, normal
from tftnhits.errors import DataError


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
    """A typed sentence that names the things; a text is the content of a file."""
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
    bars.to_csv(tmp_path / "z.zip", index=False)  # pandas calls its member "z"
    same(load_bars(tmp_path / "z.zip"), bars)
    nameless = bars.drop(columns="symbol").to_csv(index=False).encode()
    (tmp_path / "ACME.csv.gz").write_bytes(gzip.compress(nameless))
    same(load_bars(tmp_path / "ACME.csv.gz"), bars)


def test_archives_that_hold_no_table(tmp_path):
    for name, members in (("two.zip", ["one.csv", "two.csv"]), ("book.xlsx", ["xl/book.xml"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "date,open,high,low,close\n")
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"date" * 100)[:20])
    refuses(tmp_path / "two.zip", "two.zip", "2 tables", "unpack")
    refuses(tmp_path / "book.xlsx", "Excel", "save the sheet as CSV")
    refuses(tmp_path / "old.xls", "Excel")
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


@pytest.mark.parametrize("encoding", ["gb18030", "cp1252"])
def test_letters_of_cells_tell_the_encoding_where_the_header_does_not(encoding):
    bars = bars_of((WORDS[encoding][1],))
    same(load_bars(io.BytesIO(bars.to_csv(index=False).encode(encoding))), bars)


# -- what stands around a table


def test_lines_around_the_table_are_skipped_and_noted():
    bars = bars_of()
    plain = bars.drop(columns="symbol").to_csv(index=False).splitlines()
    above = ["https://www.example.com/data", "Daily prices", plain[0], ",USD,USD,USD,USD,shares"]
    between = [plain[0], "2015-02-27,0.82 Dividend,,,,", "2015-02-28,,,,,"]
    below = ["Total,,,,,123456", '"Downloaded today, 10pm"']
    text = "\n".join([*above, *plain[1:40], *between, *plain[40:], *below])
    read = load_bars(io.StringIO(text))
    same(read, bars, symbol=False)
    notes = repairs(read).set_index("repair")["count"]
    assert notes["line before the table skipped"] == 3 and notes["repeated header removed"] == 1
    assert notes["line without a bar skipped"] == 2 and notes["row without prices removed"] == 1
    assert notes["dividend or split between the rows skipped"] == 1
    cut = load_bars(io.StringIO("\n".join(plain)[:-30]))
    same(cut, bars[:-1], symbol=False)
    assert inferred(cut)["incomplete last row removed"]
    assert "cut off" in cut.attrs["doubts"]["all"][-1]
    spaced = "\n".join(" ".join(line.split(",")) for line in plain)
    same(load_bars(io.StringIO(spaced)), bars, symbol=False)
    refuses("\n".join([*plain[:5], "2020-01-01,5,5", *plain[5:]]), "row 5 has 3 cells", "mend")


def test_texts_that_are_no_tables_are_refused_at_once():
    refuses("<!DOCTYPE html><html><body>404</body></html>", "web page")
    refuses("date,open,high,low,close\n" + "1" * 2_000_000, "line of 2000000 characters")
    refuses("a," * 50_000 + "\n1,2,3\n", "50001 columns")
    refuses("[" * 100_000, "damaged JSON")
    refuses('{"a": [' + "1," * 400_000 + "1]}", "no table of bars")


# -- no header


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_no_header_time_and_prices(unit):
    bars = continuous(bars_of(freq="h"))
    bars["at"] = bars["date"].astype("datetime64[s]").astype("int64") * unit
    mean = (bars["high"] + bars["low"]) / 2
    layouts = {
        "kraken": "at open high low close volume count",
        "kraken api": "at open high low close mean volume count",
        "binance": "at open high low close volume end count count",
        "coinbase": "at low high open close volume",
        "bitfinex": "at open close high low volume",
        "moex": "at close open high low volume",
        "gate": "at volume close high low open",
    }
    table = bars.assign(mean=mean, end=bars["at"] + 3599, count=bars.index % 7 + 1)
    for name, layout in layouts.items():
        for rows in (table, table[::-1]):
            text = rows[layout.split()].to_csv(index=False, header=False)
            read = load_bars(io.StringIO(text))
            same(read, bars.drop(columns="at"), symbol=False), name
            assert "columns told by what they hold" in inferred(read)
            (doubt,) = read.attrs["doubts"]["all"]
            assert f"close {layout.split().index('close') + 1}" in doubt and one_sentence(doubt)


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


def test_no_header_and_nothing_that_tells_prices():
    bars = bars_of()
    wide = lambda r: f"{r.date:%Y-%m-%d},{r.close},{r.close * 1.5},{r.close * 2},{r.close * 1.2}"  # noqa: E731
    refuses(lines(bars, wide), "no header", "the same symbol")
    blank = "2020-01-01,1,3,0.5,2\n2020-01-02,,,,\n2020-01-03,1,3,0.5,2\n"
    assert load_bars(io.StringIO(blank))["close"].tolist() == [2.0, 2.0]


def test_rows_of_a_list_in_another_order_are_a_doubt_and_in_the_usual_one_are_none():
    bars = continuous(bars_of())
    for layout, words in (("open high low close", []), ("low high open close", ["close 4"])):
        rows = bars[layout.split()].to_numpy().tolist()
        doubts = load_bars(rows).attrs["doubts"]["all"]
        assert len(doubts) == 1 + len(words) and all(word in doubts[-2] for word in words)


def test_rows_of_a_list_with_their_time():
    bars = bars_of(freq="h")
    numbers = bars[list(COLUMNS[2:])].to_numpy().tolist()
    stamps = (bars["date"].astype("datetime64[s]").astype("int64") * 1000).tolist()
    rows = [[stamp, *row] for stamp, row in zip(stamps, numbers, strict=True)]
    same(load_bars(rows), bars, symbol=False)
    same(load_bars(np.array(rows)), bars, symbol=False)
    same(load_bars([row[:5] for row in rows]), bars.assign(volume=np.nan), symbol=False)
    dates = [[r.date, r.open, r.high, r.low, r.close] for r in bars.itertuples()]
    same(load_bars(dates), bars.assign(volume=np.nan), symbol=False)


# -- JSON and other libraries


def test_json_in_many_shapes(tmp_path):
    bars = bars_of()
    plain = bars.drop(columns="symbol")
    stamps = [int(date.timestamp() * 1000) for date in bars["date"]]
    numbers = bars[list(COLUMNS[2:])].to_numpy().tolist()
    rows = [[stamp, *row] for stamp, row in zip(stamps, numbers, strict=True)]
    records = plain.assign(date=bars["date"].astype(str)).to_dict("records")
    short = [dict(zip("tohlcv", row, strict=True)) for row in rows]
    numbered = {f"{i}. {name}": name for i, name in enumerate(COLUMNS[2:], 1)}
    by_date = {r["date"]: {k: str(r[name]) for k, name in numbered.items()} for r in records}
    chart = {
        "meta": {"symbol": "ACME"},
        "timestamp": [stamp // 1000 for stamp in stamps],
        "indicators": {"quote": [plain.drop(columns="date").to_dict("list")]},
    }
    shapes = {
        "rows": rows,
        "records": records,
        "reversed": short[::-1],
        "columns": {"s": "ok", **{key: [record[key] for record in short] for key in "tohlcv"}},
        "orient columns": json.loads(plain.to_json(date_format="iso")),
        "orient split": json.loads(plain.to_json(orient="split", date_format="iso")),
        "orient table": json.loads(plain.to_json(orient="table")),
        "results": {"ticker": "ACME", "queryCount": 80, "results": short},
        "nested": {"error": [], "result": {"ACME": rows, "last": 1}},
        "pair": {"data": {"pair": "ACME", "ohlc": short}},
        "by date": {"Meta Data": {"2. Symbol": "ACME"}, "Time Series (Daily)": by_date},
        "chart": {"chart": {"result": [chart]}},
    }
    path = tmp_path / "ACME.json"
    for name, shape in shapes.items():
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
    dated = bars.assign(date=bars["date"].astype(str))
    parts = {k: v.drop(columns="symbol").to_dict("records") for k, v in dated.groupby("symbol")}
    rows = [{"symbol": name, "bars": records} for name, records in parts.items()]
    for shape in (parts, {"bars": parts}, {"data": parts, "next": None}, {"result": rows, "s": 1}):
        same(load_bars(io.StringIO(json.dumps(shape))), bars)
    for nothing in ({"s": "no_data"}, {"code": -1121, "msg": "Invalid symbol."}, {"Note": "Less."}):
        refuses(json.dumps(nothing), "no table of bars")


def test_frames_of_other_libraries():
    bars = bars_of(("A", "B"))
    pa = pytest.importorskip("pyarrow")
    same(load_bars(pa.Table.from_pandas(bars)), bars)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    same(load_bars(polars.from_pandas(bars)), bars)


# -- the same bars, however they are written

ENCODED = ("utf-8", "utf-8-sig", "gb18030", "cp932", "cp1252")
DATED = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%y", "%b %d, %Y")
DATED += ("%d %b %Y", "%Y年%m月%d日", "%Y-%m-%dT00:00:00")
ASCII = {role: [name for name in SYNONYMS[role] if name.isascii()] for role in COLUMNS}
NATIVE = {
    "gb18030": "股票代码 日期 开盘价 最高价 最低价 收盘 成交量",
    "cp932": "コード 日付 始値 高値 安値 終値 出来高",
    "cp1252": "Symbol Datum Eröffnung Höchst Tief Schluss Stück",
}
MIXED = made_bars(("AAA", "BBB"), 60)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_order_names_encoding_separator_and_dates_change_nothing(data):
    encoding, form = data.draw(st.sampled_from(ENCODED)), data.draw(st.sampled_from(DATED))
    if "年" in form and encoding in ("cp1252", "cp932"):
        encoding = "utf-8"
    if encoding in NATIVE:
        labels = dict(zip(COLUMNS, NATIVE[encoding].split(), strict=True))
    else:
        case = data.draw(st.sampled_from([str, str.title, str.upper, "<{}>".format]))
        labels = {role: case(data.draw(st.sampled_from(ASCII[role]))) for role in COLUMNS}
    comma = data.draw(st.booleans())
    separator = data.draw(st.sampled_from(";\t|" if comma else ",;\t|"))
    cells = MIXED.assign(date=MIXED["date"].dt.strftime(form))
    if comma:
        for name in COLUMNS[2:]:
            cells[name] = cells[name].map(lambda value: repr(value).replace(".", ","))
    order = list(data.draw(st.permutations(COLUMNS)))
    table = cells.iloc[data.draw(st.permutations(range(len(MIXED))))][order]
    text = table.rename(columns=labels).to_csv(index=False, sep=separator)
    same(load_bars(io.BytesIO(text.encode(encoding))), MIXED)


def test_synonyms_are_in_normal_form():
    """Or they would never be met."""
    for names in SYNONYMS.values():
        assert [normal(name) for name in names] == names


def test_a_parquet_file_that_would_unpack_to_gigabytes_is_refused_by_what_it_declares(tmp_path):
    table = pa.table({f"c{i}": pa.nulls(1_000_000) for i in range(60)})
    with parquet.ParquetWriter(tmp_path / "bars.parquet", table.schema) as writer:
        for _ in range(9):
            writer.write_table(table)
    assert (tmp_path / "bars.parquet").stat().st_size < 1e6
    with pytest.raises(DataError, match="540000000 cells") as caught:
        load_bars(tmp_path / "bars.parquet")
    assert one_sentence(str(caught.value))
