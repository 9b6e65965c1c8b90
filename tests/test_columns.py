"""Which column is what: names, what a user says, what columns hold; and tables that are no bars."""

import io

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence
from test_read import bars_of, inferred, lines, prices, refuses, same

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.names import PRICES

LABELS = ("trade_date", "open_time", "Gmt time", "Local time", "<DATE>", "ds", "交易日期", "Дата")


@pytest.mark.parametrize("label", LABELS)
def test_a_date_is_known_by_many_names(label):
    bars = bars_of()
    read = load_bars(bars[::-1].rename(columns={"date": label}))
    same(read, bars)
    assert inferred(read)["descending dates reversed"]


@pytest.mark.parametrize("label", ["ts_code", "secid", "<TICKER>", "asset", "unique_id"])
def test_several_symbols_are_several_series(label):
    bars = bars_of(("600036.SH", "600519.SH"))
    named = bars.rename(columns={"symbol": label})
    same(load_bars(named), bars)
    same(load_bars(named.set_index([label, "date"])), bars)
    refuses(bars.rename(columns={"symbol": "whatever"}), "second bar for one date", "'symbol'")


def test_a_column_of_dates_is_the_date_whatever_its_name():
    bars = bars_of()
    same(load_bars(bars.rename(columns={"date": "when"})), bars)
    same(load_bars(bars.set_index("date").rename_axis("anything")), bars)
    two = bars.rename(columns={"date": "began"}).assign(ended=bars["date"] + pd.Timedelta("8h"))
    refuses(two, "'began'", "'ended'")
    same(load_bars(two, columns={"date": "began"}), bars)
    text = bars.rename(columns={"date": "when"}).to_csv(index=False)
    same(load_bars(io.StringIO(text)), bars)
    refuses(text.replace("2015-03-02", "soon"), "column date", "'soon'")
    for read in (load_bars(io.StringIO(text)), load_bars(bars.rename(columns={"date": "when"}))):
        (doubt,) = read.attrs["doubts"]["all"]
        assert "'when' is taken for the date" in doubt and one_sentence(doubt)
    assert not load_bars(bars.set_index("date").rename_axis(None)).attrs["doubts"]
    named = load_bars(bars.rename(columns={"date": "when"}), columns={"date": "when"})
    assert not named.attrs["doubts"]
    large = bars.assign(volume=bars["volume"] + 10**8)  # as large as times
    text = large.rename(columns={"date": "when"}).to_csv(index=False)
    same(load_bars(io.StringIO(text)), large)
    undated = load_bars(bars.drop(columns=["date", "symbol"]).assign(count=np.arange(80)))
    assert undated["date"].isna().all() and "no dates" in undated.attrs["doubts"]["all"][0]


def test_of_two_dates_that_differ_the_one_that_is_taken_is_a_doubt():
    bars = bars_of()
    both = bars.assign(trade_date=bars["date"] - pd.Timedelta("1D"))
    assert "tells most times" in load_bars(both).attrs["doubts"]["all"][0]
    both["trade_date"] += pd.Timedelta("25h")
    assert not load_bars(both).attrs["doubts"]


def test_what_a_user_says_goes_before_all_guesses():
    bars = bars_of()
    later, last = bars["date"] + pd.Timedelta("1D"), bars["close"] + 0.01
    other = bars.assign(later=later, last=last, idle=0.0, high=bars["high"] + 1)
    read = load_bars(other, columns={"date": "later", "close": "last", "volume": "idle"})
    assert read["date"][0] == later[0] and read["close"][0] == last[0]
    assert read["volume"].isna().all()
    names = dict(zip(("date", *PRICES), ("when", *"abcd"), strict=True))
    text = "when,a,b,c,d\n" + lines(bars, lambda r: f"{r.date:%d/%m/%Y},{prices(r)}")
    same(load_bars(io.StringIO(text), columns=names), bars, symbol=False, volume=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"columns": {"date": "nope"}}, "no column 'nope'"),
        ({"columns": {"colour": "close"}}, "'colour'"),
        ({"columns": 5}, "dict"),
        ({"columns": {"open": "open", "close": "open"}}, "two roles"),
        ({"dayfirst": "yes"}, "dayfirst"),
        ({"decimal": ";"}, "decimal"),
    ],
)
def test_options_that_can_not_be_are_refused(options, named):
    refuses(bars_of(), named, **options)


def test_date_and_time_in_two_columns_are_joined():
    bars = bars_of(freq="h")
    head = "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>\n"
    clocks = {"%Y.%m.%d": "%H:%M:%S", "%Y%m%d": "%H%M%S", "%m/%d/%Y": "%I:%M %p"}
    for day, clock in clocks.items():
        row = lambda r: f"{r.date:{day}},{r.date:{clock}},{prices(r)},{r.volume},0"  # noqa: B023, E731
        read = load_bars(io.StringIO(head + lines(bars, row)))
        same(read, bars, symbol=False)
        assert inferred(read)["date and time joined"] == "<TIME>"
    noon = head.replace("TIME", "SESSION") + lines(
        bars_of(), lambda r: f"{r.date:%Y-%m-%d},noon,{prices(r)},{r.volume},0"
    )
    same(load_bars(io.StringIO(noon)), bars_of(), symbol=False)


@pytest.mark.parametrize("form", ["AAPL.{}", "{}_bid", "Day {}"])
def test_a_word_that_all_prices_share_is_no_part_of_their_names(form):
    bars = bars_of()
    same(load_bars(bars.rename(columns={name: form.format(name.title()) for name in PRICES})), bars)


def test_a_word_of_one_price_is_part_of_its_name():
    refuses(bars_of().rename(columns={"close": "Prev. Close"}), "Missing column close")


def test_columns_of_crypto_exchanges():
    bars = bars_of(("BTC/USDT",))
    head = "Unix,Date,Symbol,Open,High,Low,Close,Volume USDT,Volume BTC,tradecount\n"
    stamps = (bars["date"].astype("datetime64[s]").astype("int64") * 1000).tolist()
    row = lambda r: f"{stamps[r.Index]},{r.date},{r.symbol},{prices(r)},{r.volume * 9},{r.volume},7"  # noqa: E731
    rows = lines(bars[::-1], row)
    same(load_bars(io.StringIO(head + rows)), bars)


def test_adjusted_prices_are_used_where_they_are_whole():
    ratio = np.where(np.arange(80) < 50, 1 / 7, 1.0)
    adjusted = bars_of()
    bars = adjusted.assign(**{name: adjusted[name] / ratio for name in PRICES})
    assert "7:1 split" in load_bars(bars).attrs["doubts"]["ACME"][0]
    every = bars.assign(**{f"adj{name.title()}": adjusted[name] for name in PRICES})
    for table in (every, bars.assign(**{"Adj Close": adjusted["close"]})):
        read = load_bars(table)
        np.testing.assert_allclose(read[list(PRICES)], adjusted[list(PRICES)], rtol=1e-12)
        assert "adjusted prices used" in inferred(read) and not read.attrs["doubts"]
        same(load_bars(table, adjusted=False), bars)
    read = load_bars(bars.assign(adj_close=adjusted["close"].where(np.arange(80) != 20)))
    same(read, bars)
    assert "holes" in " ".join(read.attrs["doubts"]["all"])
    factors = load_bars(adjusted.assign(adj_factor=pd.Series([[1.0]] * 80)))
    assert "factors of adjustment" in factors.attrs["doubts"]["all"][0]


# -- tables that are no bars


def test_one_day_of_a_market_is_no_history():
    rows = np.full((400, 4), 10.0)
    bars = pd.DataFrame(rows, columns=["OPEN", "HIGH", "LOW", "CLOSE"])
    bars.insert(0, "SC_CODE", 500_000 + np.arange(400))
    refuses(bars, "400 symbols", "one day", "history")
    refuses(bars.assign(date="2020-01-02"), "400 symbols", "one day")
    refuses(bars.assign(date=pd.date_range("2020-01-01", periods=400)), "400 symbols", "'symbol'")


def test_ticks_closes_and_quotes_lack_columns():
    times = pd.date_range("2020-01-02 09:30", periods=300, freq="s")
    ticks = pd.DataFrame({"time": times, "price": 100.0, "size": 1})
    for table in (ticks, ticks.to_csv(index=False)):
        refuses(table, "Missing column open, high, low", "ticks", "resampled")
    refuses("date,close\n2020-01-02,5\n2020-01-03,6\n", "Missing column open, high, low")
    refuses(pd.DataFrame({"Date": times, "AAA": 1.0, "BBB": 1.0}), "Missing column open", "AAA")
    refuses(bars_of().drop(columns=["open", "low"]), "Missing column open, low")
    refuses(bars_of().drop(columns="close"), "Missing column close", "columns={'close': …}")
    refuses("name,age\nBob,3\nEve,4\n", "Missing column open", "found name, age")


def test_mislabelled_columns_are_refused_not_repaired_row_by_row():
    bars = bars_of()
    refuses(bars.rename(columns={"high": "low", "low": "high"}), "high", "low", "100%")
    refuses(bars.rename(columns={"high": "close", "close": "high"}), "outside", "mislabelled")
    some = bars.copy()
    some.loc[::15, ["high", "low"]] = bars.loc[::15, ["low", "high"]].to_numpy()  # 6 of 80
    refuses(some, "8% of the rows")
    few = bars.copy()
    few.loc[::30, ["high", "low"]] = bars.loc[::30, ["low", "high"]].to_numpy()  # 3 of 80
    assert repairs(load_bars(few))["count"].sum() == 3
    wide = bars.assign(close=bars["close"].where(np.arange(80) % 3 > 0, bars["high"] * 1.01))
    doubts = load_bars(wide).attrs["doubts"]["all"]
    assert "outside" in doubts[0] and repairs(load_bars(wide))["count"].sum() == 27
