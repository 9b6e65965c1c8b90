"""Live bars: yfinance's real client against a Yahoo-shaped server on 127.0.0.1."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, environment, one_sentence, python

import tftnhits as tn
from tftnhits.apps.sources import read_sources
from tftnhits.data import yahoo, yahoo_client
from tftnhits.data.names import PRICES
from tftnhits.data.yahoo_client import CELLS, History

pytest.importorskip("yfinance")
from yahoo_server import CRUMB, FAULTS, Listing, noon_zone, walk, yahoo_server

SOON = 8  # seconds: less than a single answer of Yahoo is waited for


@pytest.fixture(scope="module")
def server():
    """Where all requests of this process go."""
    with yahoo_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def market(server, tmp_path, monkeypatch):
    """The server with AAPL and KO, an empty cache, short waits; in the end it is seen that nobody asked elsewhere."""
    from yfinance.data import requests as backend

    server.reset()
    server.listings = {"AAPL": Listing(walk()), "KO": Listing(walk(seed=1))}
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(yahoo_client, "WAITS", (0.001, 0.002))
    yahoo_client.client.cache_clear()  # its session knows the last server
    addresses, ask = [], backend.Session.request

    def watched(session, *args, **kwargs):
        answer = ask(session, *args, **kwargs)
        addresses.append(
            getattr(answer, "primary_ip", "127.0.0.1")
        )  # requests, of old versions, doesn't tell
        return answer

    monkeypatch.setattr(backend.Session, "request", watched)
    yield server
    assert {*addresses} <= {"127.0.0.1"}
    assert all(asked.host.endswith("yahoo.com") for asked in server.seen)


def expected(listing: Listing, name: str) -> pd.DataFrame:
    """What a listing's days are, adjusted."""
    table = listing.daily()
    scale = table["adj"] / table["close"]
    prices = {column: (table[column] * scale).to_numpy() for column in PRICES}
    return pd.DataFrame(
        {"symbol": name, "date": table.index, **prices, "volume": table["volume"].to_numpy()}
    )


def same(bars: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        bars.reset_index(drop=True), other.reset_index(drop=True), check_dtype=False, rtol=1e-6
    )


def days_ago(days: int) -> date:
    return (pd.Timestamp.now("UTC") - pd.Timedelta(days=days)).date()


def failing(*args, **kwargs) -> str:
    """The DownloadError's sentence, which offers the bundled bars."""
    with pytest.raises(tn.DownloadError) as caught:
        tn.download_bars(*args, **kwargs)
    text = str(caught.value)
    assert (
        one_sentence(text)
        and text.startswith("Yahoo Finance ")
        and "tn.load_bars('stocks')" in text
    )
    assert isinstance(caught.value, OSError) and caught.value.code == 2
    return text


def refused(*args, **kwargs) -> str:
    """The DataError's sentence."""
    with pytest.raises(tn.DataError) as caught:
        tn.download_bars(*args, **kwargs)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


# --- what comes


def test_one_symbol_is_a_validated_frame(market):
    bars = tn.download_bars("AAPL")
    same(bars, expected(market.listings["AAPL"], "AAPL"))
    again = tn.load_bars(bars)
    same(bars, again)
    assert list(bars.dtypes) == list(again.dtypes) and bars["date"].dt.tz is None
    listing = {
        "symbol": "AAPL",
        "time_zone": "America/New_York",
        "exchange": "NMS",
        "kind": "EQUITY",
        "currency": "USD",
    }
    zones = {"AAPL": "America/New_York"}
    noted = {"repairs": [], "actions": [], "warnings": []}
    assert bars.attrs == {
        "listings": [listing],
        "zones": zones,
        "doubts": {},
        "skipped": {},
        **noted,
    }
    (chart,) = market.charts()
    assert chart.query["crumb"] == CRUMB and chart.query["interval"] == "1d"
    assert abs(chart.days - 3 * 365.25) < 4
    assert {"fc.yahoo.com", "query1.finance.yahoo.com"} <= {
        asked.host for asked in market.seen
    }  # cookie and crumb


@pytest.mark.parametrize(
    "symbols",
    ["ko aapl", "KO,AAPL", ["KO", " aapl", "KO"], ("AAPL", "KO"), pd.Index(["ko", "aapl"])],
)
def test_many_symbols_are_one_frame(market, symbols):
    bars = tn.download_bars(symbols)
    same(bars, pd.concat([expected(market.listings[name], name) for name in ("AAPL", "KO")]))
    assert len(market.charts()) == 2


def test_ends_are_included_and_dates_may_be_of_any_type(market):
    days = market.listings["AAPL"].closes.index
    first, last = days[5].date(), days[20].date()
    wanted = expected(market.listings["AAPL"], "AAPL")[5:21]
    for kind in (
        str,
        pd.Timestamp,
        np.datetime64,
        lambda day: datetime(day.year, day.month, day.day, 15),
        lambda day: day,
    ):
        same(tn.download_bars("AAPL", kind(first), kind(last)), wanted)
    assert len(market.charts()) == 1


def test_splits_and_dividends_are_in_the_prices_and_noted(market):
    listing = market.listings["AAPL"]
    days = [str(day.date()) for day in listing.closes.index]
    listing.closes.iloc[20:] /= 4  # as traded
    listing.splits, listing.dividends = {days[20]: 4.0}, {days[10]: 2.0, days[30]: 0.5}
    bars = tn.download_bars(["AAPL", "KO"])
    own = bars[bars["symbol"] == "AAPL"]
    same(own, expected(listing, "AAPL"))
    assert np.abs(np.diff(np.log(own["close"]))).max() < 0.06  # nothing jumps
    records = [(days[10], "dividend", 0.5), (days[20], "split", 4.0), (days[30], "dividend", 0.5)]
    names = ("symbol", "date", "action", "value")
    assert bars.attrs["actions"] == [dict(zip(names, ("AAPL", *record))) for record in records]
    assert list(tn.download_bars("AAPL", days[15], days[25]).attrs["actions"][0].values()) == [
        "AAPL",
        days[20],
        "split",
        4.0,
    ]


def test_the_frame_can_be_saved_with_what_is_noted(market, tmp_path):
    market.listings["AAPL"].dividends = {str(market.listings["AAPL"].closes.index[10].date()): 1.0}
    bars = tn.download_bars("AAPL")
    bars.to_parquet(tmp_path / "bars.parquet")
    found = pd.read_parquet(tmp_path / "bars.parquet")
    assert found.attrs == bars.attrs and found.attrs["actions"]
    same(tn.load_bars(tmp_path / "bars.parquet"), bars)


def test_days_are_the_exchanges_own(market):
    tokyo = Listing(
        walk(seed=2)[:-1], zone="Asia/Tokyo", hours=("09:00:00", "15:30:00")
    )  # it opens at 0:00 UTC
    market.listings["7203.T"] = tokyo
    bars = tn.download_bars(["7203.T", "AAPL"])
    own = bars[bars["symbol"] == "7203.T"]
    assert list(own["date"]) == list(tokyo.closes.index)
    zones = {"7203.T": "Asia/Tokyo", "AAPL": "America/New_York"}
    assert {one["symbol"]: one["time_zone"] for one in bars.attrs["listings"]} == zones
    assert bars.attrs["zones"] == zones
    same(
        tn.download_bars(["7203.T", "AAPL"], end=bars["date"].iloc[20]),
        bars[bars["date"] <= bars["date"].iloc[20]],
    )


def test_bars_within_a_day_have_local_times(market):
    market.listings["7203.T"] = Listing(
        walk(seed=2)[:-1], zone="Asia/Tokyo", hours=("09:00:00", "15:00:00")
    )
    bars = tn.download_bars(["AAPL", "7203.T"], interval="1h")
    hours = bars.groupby("symbol")["date"].agg(
        lambda dates: sorted({f"{when:%H:%M}" for when in dates})
    )
    assert hours["AAPL"] == ["09:30", "10:30", "11:30", "12:30", "13:30", "14:30", "15:30"]
    assert hours["7203.T"] == ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00"]
    assert (bars[bars["symbol"] == "AAPL"].groupby(bars["date"].dt.date).size() == 7).all()
    same(tn.download_bars(["AAPL", "7203.T"], interval="60m"), bars)
    assert tn.download_bars("AAPL", interval="30m")["date"].dt.minute.isin([0, 30]).all()


def test_an_hour_that_is_there_twice_is_told_apart(market):
    october = pd.Timestamp(f"{pd.Timestamp.now('UTC').year - 1}-10-31")
    sunday = october - pd.Timedelta(days=(october.weekday() + 1) % 7)
    days = pd.date_range(sunday - pd.Timedelta("1D"), periods=3)
    market.listings["X=X"] = Listing(
        pd.Series(100.0, days), zone="Europe/London", hours=("00:00:00", "23:59:00")
    )
    bars = tn.download_bars("X=X", days[0] - pd.Timedelta("1D"), days[-1], interval="1h")
    assert len(bars) == 3 * 24 + 1 and (bars["date"].diff()[1:] == pd.Timedelta("1h")).all()
    assert bars.attrs["listings"][0]["time_zone"] == "UTC" and bars.attrs["zones"] == {"X=X": "UTC"}
    since = days[-1] - pd.Timedelta("1D")  # winter: London's hours are those of UTC
    assert tn.download_bars("X=X", since, interval="1h").attrs["zones"] == {"X=X": "UTC"}


def test_bars_in_utc_and_in_local_hours_are_not_joined(market):
    """In winter the hours of London and of UTC look the same, and those of summer in the cache are UTC's."""
    october = pd.Timestamp(f"{pd.Timestamp.now('UTC').year - 1}-10-31")
    sunday = october - pd.Timedelta(days=(october.weekday() + 1) % 7)
    days = pd.date_range(sunday - pd.Timedelta("1D"), periods=12)
    market.listings["X=X"] = Listing(
        pd.Series(100.0, days), zone="Europe/London", hours=("00:00:00", "23:59:00")
    )
    since = days[0] - pd.Timedelta("1D")
    tn.download_bars("X=X", since, days[8], interval="1h")
    bars = tn.download_bars("X=X", since, days[-1], interval="1h")
    assert bars.attrs["zones"] == {"X=X": "UTC"} and len(bars) == 12 * 24 + 1
    assert [chart.days > 5 for chart in market.charts()] == [True, False, True]


@pytest.mark.parametrize("interval", ["1wk", "1mo"])
def test_weeks_and_months_are_made_of_days(market, interval):
    market.listings["AAPL"] = listing = Listing(walk(300))
    daily = expected(listing, "AAPL")
    starts = daily["date"].dt.to_period("W" if interval == "1wk" else "M").dt.start_time
    groups = daily.groupby(starts)
    wanted = (
        groups.agg(
            symbol=("symbol", "first"),
            open=("open", "first"),
            high=("high", "max"),
            low=("low", "min"),
            close=("close", "last"),
            volume=("volume", "sum"),
        )
        .rename_axis("date")
        .reset_index()[list(daily.columns)]
    )
    since, until = wanted["date"].iloc[2], wanted["date"].iloc[-3]
    bars = tn.download_bars("AAPL", since + pd.Timedelta(days=2), until, interval=interval)
    same(bars, wanted[2:-2])
    full = tn.download_bars("AAPL", since, interval=interval)
    last, friday = daily["date"].iloc[-1], until
    if interval == "1wk" and last.weekday() < 4:  # the week goes on
        same(full, wanted[2:-1])
        (cut,) = tn.repairs(full).to_dict("records")
        assert (cut["repair"], cut["first"]) == (
            "unfinished bar left out",
            str(wanted["date"].iloc[-1].date()),
        )
    elif interval == "1wk":
        same(full, wanted[2:])
    assert friday is not None


# --- bars that are not finished


@pytest.mark.parametrize(
    ("until", "delay", "kept"),
    [
        ("2h", "0s", False),
        ("-1h", "0s", True),
        ("-10min", "0s", True),
        ("-10min", "15min", False),
        ("-40min", "1h", True),
    ],
)
def test_a_session_that_goes_on_is_left_out(market, until, delay, kept):
    zone = noon_zone()
    listing = Listing(walk(today=zone), zone=zone, until=pd.Timedelta(until), delay=delay)
    market.listings["AAPL"] = listing
    bars, today = tn.download_bars("AAPL"), listing.closes.index[-1]
    same(bars, expected(listing, "AAPL")[: None if kept else -1])
    left_out = {
        "symbol": "AAPL",
        "repair": "unfinished bar left out",
        "count": 1,
        "first": str(today.date()),
        "example": "",
    }
    assert tn.repairs(bars).to_dict("records") == ([] if kept else [left_out])
    listing.until, listing.delay = pd.Timedelta("-2h"), "0s"
    bars = tn.download_bars("AAPL")
    same(bars, expected(listing, "AAPL"))  # the cache has no half bars
    assert not len(tn.repairs(bars))


def test_what_is_paid_in_a_session_that_goes_on_is_noted(market):
    zone = noon_zone()
    market.listings["AAPL"] = listing = Listing(
        walk(today=zone), zone=zone, until=pd.Timedelta("2h")
    )
    day = str(listing.closes.index[-1].date())
    listing.dividends = {day: 1.0}
    for kept, until in ((-1, "2h"), (-1, "2h"), (None, "-2h")):
        listing.until = pd.Timedelta(until)
        bars = tn.download_bars("AAPL")
        same(bars, expected(listing, "AAPL")[:kept])
        assert bars.attrs["actions"] == [
            {"symbol": "AAPL", "date": day, "action": "dividend", "value": 1.0}
        ]
        assert list(tn.repairs(bars)["first"]) == ([day] if kept else [])
    assert [chart.days < 20 for chart in market.charts()] == [False, True, True]


def test_bars_within_a_day_end_before_now(market):
    zone = noon_zone()
    market.listings["AAPL"] = listing = Listing(
        walk(today=zone), zone=zone, until=pd.Timedelta("2h")
    )
    bars = tn.download_bars("AAPL", interval="5m")
    now = pd.Timestamp.now(zone).tz_localize(None)
    assert now - pd.Timedelta("11min") < bars["date"].iloc[-1] <= now - pd.Timedelta("5min")
    (cut,) = tn.repairs(bars).to_dict("records")
    assert pd.Timestamp(cut["first"]) == bars["date"].iloc[-1] + pd.Timedelta("5min")
    for count in (2, 3):  # a day that is not over is never whole in the cache
        tn.download_bars("AAPL", listing.closes.index[-5], listing.closes.index[-1], interval="5m")
        assert len(market.charts()) == count
    listing.delay = "15min"
    bars = tn.download_bars("AAPL", interval="15m")
    assert bars["date"].iloc[-1] <= now - pd.Timedelta("15min")


# --- the cache


def test_what_is_cached_is_not_asked_for(market, tmp_path):
    days = market.listings["AAPL"].closes.index
    whole = tn.download_bars("AAPL", days[10], days[30])
    part = tn.download_bars("AAPL", days[12], days[20])
    assert len(market.charts()) == 1
    same(part, whole[2:11])
    assert [path.name for path in (tmp_path / "cache" / "yahoo" / "1d").iterdir()] == [
        "AAPL.parquet"
    ]


def test_only_missing_days_are_asked_for(market):
    listing = market.listings["AAPL"]
    days, whole = listing.closes.index, expected(listing, "AAPL")
    tn.download_bars("AAPL", days[15], days[25])
    same(tn.download_bars("AAPL", days[15]), whole[15:])
    same(tn.download_bars("AAPL", days[0], days[25]), whole[:26])
    same(tn.download_bars("AAPL", days[0]), whole)
    spans = [
        [
            pd.Timestamp(int(chart.query[end]), unit="s").normalize()
            for end in ("period1", "period2")
        ]
        for chart in market.charts()
    ]
    assert len(spans) == 4
    assert spans[1][0] == days[25 - yahoo.OVERLAP + 1] and spans[1][1] > days[-1]
    assert spans[2][0] == days[0] and spans[2][1] == days[15 + yahoo.OVERLAP - 1] + pd.Timedelta(
        "1D"
    )
    assert spans[3][0] == days[-yahoo.OVERLAP]


def test_new_sessions_are_added(market):
    listing = market.listings["AAPL"]
    closes, listing.closes = listing.closes, listing.closes[:-3]
    same(tn.download_bars("AAPL"), expected(listing, "AAPL"))
    listing.closes = closes
    same(tn.download_bars("AAPL"), expected(listing, "AAPL"))
    assert [chart.days < 20 for chart in market.charts()] == [False, True]


def test_a_bar_that_comes_late_is_not_missed(market):
    listing = market.listings["AAPL"]
    closes, end = listing.closes, listing.closes.index[-1]
    listing.closes = closes[:-1]
    assert len(tn.download_bars("AAPL", end=end)) == len(closes) - 1
    listing.closes = closes
    same(tn.download_bars("AAPL", end=end), expected(listing, "AAPL"))
    tn.download_bars("AAPL", end=end)
    assert len(market.charts()) == 2


@pytest.mark.parametrize("action", ["split", "dividend", "small dividend"])
def test_after_an_action_all_is_downloaded_anew(market, tmp_path, monkeypatch, action):
    listing = market.listings["AAPL"]
    closes, listing.closes = listing.closes, listing.closes[:-2]
    tn.download_bars("AAPL")
    day = str(closes.index[-1].date())
    listing.closes = closes
    if action == "split":
        listing.closes.iloc[-1] /= 2
        listing.splits = {day: 2.0}
    else:
        listing.dividends = {day: 1.0 if action == "dividend" else 0.01}
    bars = tn.download_bars("AAPL")
    same(bars, expected(listing, "AAPL"))
    assert bars.attrs["actions"][0]["date"] == day
    assert [chart.days < 20 for chart in market.charts()] == [False, True, False]
    same(tn.download_bars("AAPL"), bars)
    assert len(market.charts()) == 4 and market.charts()[-1].days < 20  # the cache is the new one


def test_days_that_are_corrected_are_downloaded_anew(market):
    listing = market.listings["AAPL"]
    tn.download_bars("AAPL")
    listing.closes.iloc[-2] *= 1.001
    same(tn.download_bars("AAPL"), expected(listing, "AAPL"))
    listing.closes = listing.closes.drop(listing.closes.index[-3])
    same(tn.download_bars("AAPL"), expected(listing, "AAPL"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "PAR1 no more",
        "half",
        "other columns",
        "other format",
        "no record",
        "unsorted",
        "text",
        "zone",
        "negative",
        "folder",
    ],
)
def test_a_damaged_cache_is_no_cache(market, tmp_path, content):
    whole = tn.download_bars("AAPL")
    path = tmp_path / "cache" / "yahoo" / "1d" / "AAPL.parquet"
    raw, frame = path.read_bytes(), pd.read_parquet(path)
    if content == "half":
        path.write_bytes(raw[: len(raw) // 2])
    elif content == "other columns":
        frame.drop(columns="close").to_parquet(path)
    elif content == "other format":
        frame.attrs["tftnhits"] = frame.attrs["tftnhits"].replace(
            f'"format": {yahoo.FORMAT}', '"format": 0'
        )
        frame.to_parquet(path)
    elif content == "no record":
        frame.attrs = {}
        frame.to_parquet(path)
    elif content == "text":
        frame.assign(close="1.0").to_parquet(path)
    elif content == "zone":
        frame.assign(date=frame["date"].dt.tz_localize("UTC")).to_parquet(path)
    elif content == "negative":
        frame.assign(close=-frame["close"]).to_parquet(path)
    elif content == "unsorted":
        frame[::-1].to_parquet(path)
    elif content == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    if content == "folder":
        with pytest.warns(UserWarning, match="not cached"):
            same(tn.download_bars("AAPL"), whole)
        return
    same(tn.download_bars("AAPL"), whole)
    assert [chart.days > 1000 for chart in market.charts()] == [True, True]
    tn.download_bars("AAPL", whole["date"].iloc[3], whole["date"].iloc[-9])
    assert len(market.charts()) == 2


def test_a_cache_from_a_clock_that_was_ahead_is_brought_up_to_date(market, tmp_path):
    whole = tn.download_bars("AAPL")
    path = tmp_path / "cache" / "yahoo" / "1d" / "AAPL.parquet"
    frame = pd.read_parquet(path)
    record = json.loads(frame.attrs["tftnhits"])
    frame = frame[:-20]
    frame.attrs["tftnhits"] = json.dumps(record | {"last": str(days_ago(-30))[:10]})
    frame.to_parquet(path)
    same(tn.download_bars("AAPL"), whole)


def test_without_a_place_for_the_cache_bars_come_all_the_same(market, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="not cached") as caught:
        bars = tn.download_bars(["AAPL", "KO"])
    assert (
        len(caught) == 1
        and bars.attrs["warnings"] == [str(caught[0].message)]
        and one_sentence(str(caught[0].message))
    )
    same(bars, pd.concat([expected(market.listings[name], name) for name in ("AAPL", "KO")]))


@pytest.mark.parametrize("symbol", ["^GSPC", "EURUSD=X", "BRK-B", "CON", "M&M.NS", "BTC-USD"])
def test_symbols_of_all_kinds_are_cached_by_safe_names(market, tmp_path, symbol):
    market.listings[symbol] = market.listings["KO"]
    tn.download_bars(symbol)
    (path,) = (tmp_path / "cache" / "yahoo" / "1d").iterdir()
    assert path.name == f"{yahoo.safe_name(symbol)}.parquet"
    (again,) = [tn.download_bars(symbol, days_ago(30), days_ago(9))]
    assert set(again["symbol"]) == {symbol} and len(market.charts()) == 1


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path))
    assert yahoo.cache_folder() == tmp_path
    monkeypatch.setenv("TFTNHITS_CACHE", "~/bars")
    assert yahoo.cache_folder() == Path.home() / "bars"
    monkeypatch.delenv("TFTNHITS_CACHE")
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path))
    assert yahoo.cache_folder() == tmp_path / "tftnhits"


def test_processes_at_once_share_a_cache(market, tmp_path):
    """Each gets whole bars; nothing is printed, nothing lies outside the cache's folder."""
    names = [f"S{i}" for i in range(4)]
    market.listings |= {name: Listing(walk(seed=i)) for i, name in enumerate(names)}
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys, tftnhits as tn; print(tn.download_bars(sys.argv[1:])['close'].sum())"
    own = (
        environment()
        | market.environment
        | {"HOME": str(home), "TFTNHITS_CACHE": str(tmp_path / "cache")}
    )
    own.pop("XDG_CACHE_HOME", None)
    command, pipes = (
        [sys.executable, "-c", code, *names],
        {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )
    running = [subprocess.Popen(command, text=True, cwd=ROOT, env=own, **pipes) for _ in range(3)]
    done = [process.communicate(timeout=100) for process in running]
    wanted = sum(expected(market.listings[name], name)["close"].sum() for name in names)
    assert [err for _, err in done] == [""] * 3
    assert [float(out) for out, _ in done] == pytest.approx([wanted] * 3, rel=1e-6)
    assert not list(home.rglob("*")) and {path.name for path in (tmp_path / "cache").iterdir()} == {
        "yahoo",
        "yfinance",
    }
    found = sorted(path.name for path in (tmp_path / "cache" / "yahoo" / "1d").iterdir())
    assert found == [f"{name}.parquet" for name in names]
    assert all(yahoo.load(tmp_path / "cache" / "yahoo" / "1d" / name) for name in found)


# --- failures


@pytest.mark.parametrize("fault", [429, 500, 502, 401, "cut", "html"])
def test_what_passes_is_waited_for(market, fault):
    for name in (
        f"NEW{fault}".upper(),
        "AAPL",
    ):  # of a new one yfinance asks the time zone first, and keeps any answer
        market.listings[name] = market.listings["KO"]
        market.fail(name, fault, 2)
        same(tn.download_bars(name), expected(market.listings["KO"], name))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (429, "HTTP 429"),
        (500, "HTTP 500"),
        ("cut", "can read"),
        ("html", "can read"),
        ("drop", "can't be reached"),
    ],
)
def test_what_lasts_is_told_in_a_sentence(market, capfd, caplog, fault, why):
    market.fail("", fault)
    text = failing(["AAPL", "KO"])
    assert why in text and "AAPL" in text and "KO" in text
    assert capfd.readouterr() == ("", "")
    assert not [
        record for record in caplog.records if record.name != "tftnhits"
    ]  # nothing of yfinance's


@pytest.mark.parametrize("fault", [429, 500, "cut", "drop", "hang"])
def test_cached_bars_stand_in_and_it_is_said(market, fault):
    days = market.listings["AAPL"].closes.index
    market.listings["KO"].closes = market.listings["KO"].closes[:-1]
    whole = tn.download_bars(["AAPL", "KO"])
    market.fail("", fault)
    started = time.monotonic()
    with pytest.warns(UserWarning, match="cached bars stand in") as caught:
        bars = tn.download_bars(["AAPL", "KO"], days[3], seconds=1)
    assert time.monotonic() - started < SOON
    (text,) = bars.attrs["warnings"]
    assert [str(warning.message) for warning in caught] == [text] and one_sentence(text)
    assert caught[0].filename == __file__
    for name, end in (("AAPL", days[-1]), ("KO", days[-2])):
        assert f"{name} ({days[3].date()} to {end.date()})" in text
    same(bars, whole[whole["date"] >= days[3]])


def test_without_an_answer_the_time_is_bounded(market):
    market.fail("", "hang")
    started = time.monotonic()
    text = failing([f"S{i}" for i in range(30)], seconds=1)
    assert "in time" in text and "S5 and 24 more" in text and time.monotonic() - started < SOON


def test_one_symbol_that_hangs_keeps_no_other(market, monkeypatch):
    monkeypatch.setattr(yahoo_client, "ANSWER", 0.5)
    market.fail("AAPL", "hang")
    text = failing(["KO", "AAPL"])
    assert "AAPL" in text and "KO" not in text
    market.faults = {}
    asked = len(market.charts("KO"))
    assert (
        asked == 1
        and len(tn.download_bars(["AAPL", "KO"], days_ago(30), days_ago(9)))
        and len(market.charts("KO")) == asked
    )


def test_waits_that_the_time_does_not_allow_are_not_begun(market, monkeypatch):
    monkeypatch.setattr(yahoo_client, "WAITS", (100.0,))
    market.fail("AAPL", 429)
    started = time.monotonic()
    assert "429" in failing("AAPL")
    assert time.monotonic() - started < SOON


def test_attempts_are_counted_and_too_many_requests_stop_the_others(market):
    names = [f"S{i}" for i in range(20)]
    market.fail("", 429)
    failing(names)
    asked = sum("/v8/finance/chart/" in asked.path for asked in market.seen)
    assert (
        asked <= 2 * 3
    )  # three attempts for the first, each asked twice by yfinance; no more for the others


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interrupt_does_not_wait_for_yahoo(market, tmp_path):
    market.fail("", "hang")
    code = "import tftnhits as tn; print('ready', flush=True); tn.download_bars('AAPL')"
    own = environment() | market.environment | {"TFTNHITS_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=own, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not any("/chart/" in asked.path for asked in market.seen):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.communicate(timeout=60)[1].endswith("KeyboardInterrupt\n")
    assert time.monotonic() - started < SOON and process.returncode == -signal.SIGINT


def test_unknown_symbols_are_named(market):
    text = refused("APPL")
    assert "no symbol 'APPL'" in text and "spelling" in text
    text = refused(["AAPL", "NOPE", "KO", "NADA"])
    assert "'NOPE'" in text and "NADA" in text and "KO" not in text
    tn.download_bars(["AAPL", "KO"], days_ago(30), days_ago(9))
    assert len(market.charts("AAPL")) == len(market.charts("KO")) == 1  # the others had been kept


def test_one_symbol_that_fails_among_many(market):
    names = [f"S{i}" for i in range(8)]
    market.listings |= {name: Listing(walk(seed=i)) for i, name in enumerate(names)}
    market.fail("S3", 500)
    text = failing(names)
    assert "S3" in text and not any(name in text for name in names if name != "S3")
    market.faults = {}
    tn.download_bars("S3", days_ago(90), days_ago(5))
    market.fail("S3", 500)
    with pytest.warns(UserWarning, match=r"S3 \("):
        bars = tn.download_bars(names)
    same(
        bars[bars["symbol"] != "S3"],
        pd.concat([expected(market.listings[n], n) for n in names if n != "S3"]),
    )
    assert len(bars[bars["symbol"] == "S3"]) > 30


def test_offline_it_is_quick_to_say_so(market, monkeypatch):
    whole = tn.download_bars("AAPL")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(yahoo_client, "WAITS", (100.0,))
    yahoo_client.client.cache_clear()
    started = time.monotonic()
    assert "can't be reached" in failing(["KO", *(f"S{i}" for i in range(20))])
    with pytest.warns(
        UserWarning, match=r"can't be reached \(\w+\), so cached bars stand in: AAPL"
    ):
        same(tn.download_bars("AAPL"), whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what the cache has whole needs no network
        tn.download_bars("AAPL", days_ago(30), days_ago(9))
    assert time.monotonic() - started < SOON


def test_days_without_bars_are_an_error(market):
    first = market.listings["AAPL"].closes.index[0]
    text = refused("AAPL", "2001-01-01", "2001-12-31")
    assert "no 1d bars of AAPL from 2001-01-01 to 2001-12-31" in text
    bars = tn.download_bars("AAPL", "2001-01-01")
    assert bars["date"].iloc[0] == first
    refused("AAPL", "2001-01-01", "2001-12-31")  # nor does the cache invent any
    market.fail("KO", "blank")
    assert "no 1d bars of KO" in refused("KO")


def test_bars_that_cannot_be_repaired_are_told_and_not_cached(market, tmp_path):
    market.listings["AAPL"].closes.iloc[7] = -1.0
    day = market.listings["AAPL"].closes.index[7].date()
    text = refused(["AAPL", "KO"])
    assert "AAPL" in text and str(day) in text and "positive" in text
    assert not (tmp_path / "cache" / "yahoo" / "1d" / "AAPL.parquet").exists()
    market.listings["AAPL"] = Listing(walk())
    same(tn.download_bars("AAPL"), expected(market.listings["AAPL"], "AAPL"))


def test_parts_of_a_day_go_back_as_far_as_yahoo_does(market):
    market.listings["AAPL"] = Listing(walk(90))
    text = refused("AAPL", days_ago(80), interval="5m")
    assert "59 days" in text and str(days_ago(59)) in text
    assert not market.charts()
    bars = tn.download_bars("AAPL", interval="5m")
    assert bars["date"].iloc[0] < pd.Timestamp(days_ago(52))
    same(tn.download_bars("AAPL", interval="5m"), bars)
    assert market.charts()[-1].days < 20


@pytest.mark.filterwarnings("ignore")  # yfinance's, about pandas
def test_an_old_cache_of_parts_of_a_day_is_left(market, tmp_path):
    """From its end on Yahoo has no bars any more: there would be a hole."""
    path = tmp_path / "cache" / "yahoo" / "5m" / "AAPL.parquet"
    dates = pd.date_range(days_ago(90), periods=50, freq="5min", name="date")
    old = pd.DataFrame(1.0, dates, CELLS)
    yahoo.save(
        path, History(old, days_ago(90), days_ago(90), {"time_zone": "America/New_York"}, [])
    )
    assert yahoo.load(path) is not None
    bars = tn.download_bars("AAPL", interval="5m")
    assert bars["date"].iloc[0] > pd.Timestamp(days_ago(60)) and not bars.attrs["warnings"]
    same(tn.download_bars("AAPL", interval="5m"), bars)


def test_after_the_connection_broke_nothing_else_is_asked(market, monkeypatch):
    import yfinance.base

    monkeypatch.setattr(
        yfinance.base, "_tz_info_fetch_ctr", 0, raising=False
    )  # it looks for a time zone elsewhere
    market.fail("FRESH", "drop")
    failing("FRESH")
    assert not any("quoteSummary" in asked.path for asked in market.seen)


def test_others_may_use_yfinance_beside_us(market, caplog):
    import yfinance

    tn.download_bars("AAPL")
    frame = yfinance.Ticker("KO").history(
        start=days_ago(30).isoformat()
    )  # our session, and no deadline
    assert len(frame) > 10
    logging.getLogger("yfinance").warning("theirs")
    assert "theirs" in caplog.messages


# --- on the command line, where a symbol is live first


def test_a_symbol_that_is_no_file_is_live(market, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    zone = noon_zone()
    market.listings["KO"] = Listing(walk(today=zone), zone=zone, until=pd.Timedelta("2h"))
    bars, notes = read_sources(["ko", "AAPL"])
    same(bars[bars["symbol"] == "AAPL"], expected(market.listings["AAPL"], "AAPL"))
    same(bars[bars["symbol"] == "KO"], expected(market.listings["KO"], "KO")[:-1])
    day = market.listings["KO"].closes.index[-1].date()
    assert notes == [f"ko: unfinished bar left out (1 x, first {day})"]
    market.fail("", 500)
    again, notes = read_sources(["AAPL", "ko"])
    assert (
        set(again["symbol"]) == {"AAPL", "KO"}
        and "fails (HTTP 500), so cached bars stand in" in notes[-1]
    )
    (tmp_path / "AAPL").write_text("open,high,low,close\n1,2,1,2\n")
    asked = len(market.seen)
    assert len(read_sources(["AAPL"])[0]) == 1 and len(market.seen) == asked


def test_bundled_bars_are_taken_where_live_ones_fail(market, tmp_path):
    market.fail("", "drop")
    bars, notes = read_sources(["META"])
    same(bars, tn.load_bars("stocks", symbol="META"))
    (note,) = notes
    assert (
        note.startswith("META: bundled bars, which end on 2023-09-21")
        and "Yahoo Finance can't be reached" in note
    )
    with pytest.raises(
        tn.DownloadError,
        match=r"'KOX' is neither a file nor a bundled symbol.*can't be reached.*'stocks'",
    ):
        read_sources(["META", "KOX"])
    market.faults = {}
    bars, notes = read_sources(["IBM", "AAPL"])  # a symbol that is not listed
    assert "IBM: bundled bars" in notes[0] and "no symbol 'IBM'" in notes[0]
    same(bars[bars["symbol"] == "AAPL"], expected(market.listings["AAPL"], "AAPL"))
    with pytest.raises(tn.DataError, match="no symbol 'KOX'"):
        read_sources(["KOX"])


def test_nothing_is_asked_for_what_is_a_file_or_nothing(market, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("none.csv", "NONE.CSV", "bars.parquet", "a/b", "", "US0378331005"):
        with pytest.raises(tn.DataError, match="neither a file nor a bundled symbol"):
            read_sources(["AAPL", name])
    with pytest.raises(tn.DataError, match="twice"):
        read_sources(["AAPL", "AAPL"])
    assert not market.seen


# --- arguments


@pytest.mark.parametrize(
    ("symbols", "word"),
    [
        ("", "no symbols"),
        ([], "no symbols"),
        (None, "None"),
        (5, "5"),
        ([None], "None"),
        (b"AAPL", "AAPL"),
        ("../x", "'../X'"),
        (["A B"], "'A B'"),
        ("a?b=c", "A?B=C"),
        ("US0378331005", "US0378331005"),
        ("x" * 99, "XX"),
        ([f"S{i}" for i in range(501)], "501"),
        ([["AAPL"]], "AAPL"),
        ({"AAPL": 1, "a/b": 2}, "A/B"),
        ("日本", "日本"),
    ],
)
def test_symbols_that_are_none(market, symbols, word):
    assert word in refused(symbols)
    assert not market.seen


@pytest.mark.parametrize(
    ("start", "end", "word"),
    [
        ("yesterday", None, "start is 'yesterday'"),
        (None, "31.1.2020", "end is '31.1.2020'"),
        (5, None, "start is 5"),
        ("2020-02-30", None, "2020-02-30"),
        (pd.NaT, None, "NaT"),
        ("", None, "''"),
        ("1066-10-14", None, "1066"),
        ("2020-01-02", "2020-01-01", "2020-01-02 comes after end 2020-01-01"),
        ("2999-01-01", None, "after today"),
        (np.datetime64("NaT"), None, "NaT"),
        (True, None, "True"),
        (float("nan"), None, "nan"),
        ([], None, "[]"),
    ],
)
def test_dates_that_are_none(market, start, end, word):
    assert word in refused("AAPL", start, end)
    assert not market.seen


@pytest.mark.parametrize("interval", ["2d", "", None, 5, "1D", ["1d"], "3mo"])
def test_intervals_that_are_none(market, interval):
    assert "choose one of 1d, 1wk, 1mo, 1m" in refused("AAPL", interval=interval)


@pytest.mark.parametrize("seconds", [0, -1, "5", float("nan"), float("inf"), True])
def test_seconds_that_are_none(market, seconds):
    assert "seconds is" in refused("AAPL", seconds=seconds)


def test_faults_are_all_tried():
    assert {*FAULTS} == {429, 500, 502, 401, "cut", "html", "drop", "hang", "blank"}


# --- packages


def test_yfinance_is_imported_when_needed_and_missed_by_name():
    done = python(
        "import sys, tftnhits as tn; tn.download_bars; assert 'yfinance' not in sys.modules\n"
        "sys.modules['yfinance'] = None\n"
        "try: tn.download_bars('AAPL')\n"
        "except tn.MissingDependency as error: print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert "tftnhits[live-data]" in done.stdout and one_sentence(done.stdout.strip())
