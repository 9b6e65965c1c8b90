"""Which column is what: names, what a user says, what columns hold; and tables that are no bars."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from test_read import bars_of, inferred, lines, prices, refuses, same

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.names import COLUMNS, PRICES


@pytest.mark.parametrize(
    "label",
    ["trade_date", "open_time", "Gmt time", "Local time", "<DATE>", "ds", "交易日期", "Дата"],
)
def test_a_date_is_known_by_many_names(label):
    bars = bars_of()
    read = load_bars(bars[::-1].rename(columns={"date": label}))
    same(read, bars)
    assert inferred(read)["descending dates reversed"]


@pytest.mark.parametrize(
    "label",
    ["ts_code", "code", "secid", "<TICKER>", "asset", "instrument", "unique_id", "whatever"],
)
def test_several_symbols_are_several_series_whatever_their_column_is_called(label):
    bars = bars_of(("600036.SH", "600519.SH"))
    same(load_bars(bars.rename(columns={"symbol": label})), bars)
    levels = bars.rename(columns={"symbol": label}).set_index([label, "date"])
    same(load_bars(levels), bars)


def test_a_datetime_is_the_date_whatever_its_name():
    bars = bars_of()
    same(load_bars(bars.rename(columns={"date": "when"})), bars)
    same(load_bars(bars.set_index("date").rename_axis("anything")), bars)
    two = bars.rename(columns={"date": "began"}).assign(ended=bars["date"] + pd.Timedelta("8h"))
    refuses(two, "'began'", "'ended'")
    same(load_bars(two, columns={"date": "began"}), bars)


def test_a_column_that_holds_dates_in_order_is_the_date():
    bars = bars_of()
    text = bars.rename(columns={"date": "when"}).to_csv(index=False)
    same(load_bars(io.StringIO(text)), bars)
    refuses(text.replace("2015-03-02", "soon"), "'when'", "'soon'")
    refuses(
        bars.assign(date=bars["date"].astype(str), other=bars["date"].astype(str)).rename(
            columns={"date": "one"}
        ),
        "'one'",
        "'other'",
    )
    undated = load_bars(bars.drop(columns=["date", "symbol"]).assign(count=np.arange(80)))
    assert undated["date"].isna().all() and "no dates" in undated.attrs["doubts"]["all"][0]


def test_what_a_user_says_goes_before_all_guesses():
    bars = bars_of()
    other = bars.assign(
        later=bars["date"] + pd.Timedelta("1D"), last=bars["close"] + 0.01, high=bars["high"] + 1
    )
    read = load_bars(other, columns={"date": "later", "close": "last"})
    assert read["date"][0] == other["later"][0] and read["close"][0] == other["last"][0]
    refuses(other, "no column", "nope", columns={"date": "nope"})
    refuses(other, "'colour'", columns={"colour": "close"})
    refuses(other, "dict", columns=5)
    refuses(other, "dayfirst", dayfirst="yes")
    refuses(other, "decimal", decimal=";")
    text = "when,a,b,c,d\n" + lines(bars, lambda r: f"{r.date:%d/%m/%Y},{prices(r)}")
    names = dict(zip(("date", *PRICES), ("when", *"abcd"), strict=True))
    same(load_bars(io.StringIO(text), columns=names), bars, symbol=False, volume=False)


def test_date_and_time_in_two_columns_are_joined():
    bars = bars_of(freq="h")
    for day, clock in (
        ("%Y.%m.%d", "%H:%M:%S"),
        ("%Y%m%d", "%H%M%S"),
        ("%d.%m.%Y", "%H:%M"),
        ("%m/%d/%Y", "%I:%M %p"),
    ):
        text = "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>\n"
        text += lines(bars, lambda r: f"{r.date:{day}},{r.date:{clock}},{prices(r)},{r.volume},0")  # noqa: B023
        read = load_bars(io.StringIO(text))
        same(read, bars, symbol=False)
        assert inferred(read)["date and time joined"] == "<TIME>"


def test_a_word_that_all_prices_share_is_no_part_of_their_names():
    bars = bars_of()
    for form in ("AAPL.{}", "{}_bid", "Day {}"):
        named = bars.rename(columns={name: form.format(name.title()) for name in PRICES})
        same(load_bars(named), bars)


def test_hours_are_no_symbols():
    bars = bars_of(freq="h")
    table = bars.assign(hour=bars["date"].dt.hour, date=bars["date"].dt.normalize()).drop(
        columns="symbol"
    )
    refuses(table, "second bar for one date")
    both = pd.concat([bars_of().assign(whose=name, symbol="X") for name in ("mine", "yours")]).drop(
        columns="symbol"
    )
    read = load_bars(both)
    assert (
        read["symbol"].unique().tolist() == ["mine", "yours"]
        and "'whose'" in read.attrs["doubts"]["all"][0]
    )


def test_one_column_is_not_two():
    refuses(bars_of(), "two roles", columns={"open": "open", "close": "open"})


def test_columns_of_crypto_exchanges():
    bars = bars_of(("BTC/USDT",))
    head = "Unix,Date,Symbol,Open,High,Low,Close,Volume USDT,Volume BTC,tradecount\n"
    row = lambda r: (
        f"{int(r.date.timestamp())}000,{r.date},BTC/USDT,{prices(r)},{r.volume * 9},{r.volume},7"
    )
    same(load_bars(io.StringIO(head + lines(bars[::-1], row))), bars)


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
        raw = load_bars(table, adjusted=False)
        same(raw, bars)
    holes = bars.assign(adj_close=adjusted["close"].where(np.arange(80) != 20))
    read = load_bars(holes)
    same(read, bars)
    assert "holes" in " ".join(read.attrs["doubts"]["all"])


# -- tables that are no bars


def test_one_day_of_a_market_is_no_history():
    bars = made_section(400)
    assert "day" in refuses(bars, "400 stocks", "history")
    refuses(bars.assign(date="2020-01-02"), "one day of 400 stocks")
    refuses(bars.assign(date=pd.date_range("2020-01-01", periods=400)), "names no symbol")


def made_section(size):
    rng = np.random.default_rng(0)
    close = np.exp(rng.normal(3, 1, size))
    frame = pd.DataFrame(
        {"SC_CODE": 500_000 + np.arange(size), "SC_NAME": [f"NAME {i}" for i in range(size)]}
    )
    return frame.assign(
        OPEN=close, HIGH=close * 1.02, LOW=close * 0.98, CLOSE=close, NO_OF_SHRS=1000
    )


def test_ticks_options_and_a_column_a_symbol():
    times = pd.date_range("2020-01-02 09:30", periods=300, freq="s")
    refuses(pd.DataFrame({"time": times, "price": 100.0, "size": 1}), "ticks", "Resample")
    text = pd.DataFrame({"time": times, "price": 100.0, "size": 1}).to_csv(index=False)
    refuses(text, "ticks", "Resample")
    refuses("date,close\n2020-01-02,5\n2020-01-03,6\n", "Missing column open, high, low")
    refuses(pd.DataFrame({"time": times, "bid": 100.0, "ask": 101.0}), "quotes", "Resample")
    wide = pd.DataFrame({"Date": times, **{name: 1.0 for name in ("AAA", "BBB", "CCC")}})
    refuses(wide, "a column a symbol", "open")
    chain = pd.DataFrame(
        {"strike": [90.0, 100.0], "expiration": "2020-01-17", "bid": 1.0, "ask": 1.1, "last": 1.0}
    )
    refuses(chain, "option chain")
    refuses(bars_of().assign(strike=100.0), "option chain")
    refuses(bars_of().drop(columns=["open", "low"]), "Missing column open, low")


def test_mislabelled_columns_are_refused_not_repaired_row_by_row():
    bars = bars_of()
    refuses(
        bars.rename(columns={"high": "low", "low": "high"}), "high", "low", "100%", "mislabelled"
    )
    refuses(bars.rename(columns={"high": "close", "close": "high"}), "outside", "mislabelled")
    some = bars.copy()
    some.loc[::15, ["high", "low"]] = bars.loc[::15, ["low", "high"]].to_numpy()  # 6 of 80
    refuses(some, "8% of the rows")
    few = bars.copy()
    few.loc[::30, ["high", "low"]] = bars.loc[::30, ["low", "high"]].to_numpy()  # 3 of 80
    assert repairs(load_bars(few))["count"].sum() == 3
    assert set(load_bars(few).columns) == set(COLUMNS)


def test_blank_rows_without_a_header_warn_of_nothing():
    """Between blank rows no open follows a close: the median of nothing warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bars = load_bars(
            io.StringIO("2020-01-01,1,3,0.5,2\n2020-01-02,,,,\n2020-01-03,1,3,0.5,2\n")
        )
    assert bars["high"].tolist() == [3.0, 3.0] and bars["close"].tolist() == [2.0, 2.0]


def test_a_volume_that_a_user_names_stays_though_it_is_zero():
    bars = bars_of().assign(idle=0.0)
    read = load_bars(bars, columns={"volume": "idle"})
    assert read["volume"].isna().all()
