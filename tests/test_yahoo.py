"""Live bars: yfinance's real client against a Yahoo-shaped server on 127.0.0.1."""

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, environment, one_sentence, python

import tftnhits as tn
from tftnhits.apps.sources import read_sources
from tftnhits.data import live, yahoo, yahoo_client
from tftnhits.data.names import PRICES

yfinance = pytest.importorskip("yfinance")
curl_requests = pytest.importorskip("curl_cffi.requests")
from yahoo_server import Listing, noon_zone, walk, yahoo_server  # noqa: E402


@pytest.fixture(scope="module")
def server():
    """Where all requests of this process go: a proxy that tunnels to itself alone."""
    with yahoo_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        # yfinance keeps one session, whose certificates are those of when it was made
        yfinance.Ticker("AAPL", session=curl_requests.Session(impersonate="chrome"))
        yield running


@pytest.fixture
def market(server, tmp_path, monkeypatch):
    """The server with AAPL and KO, an empty cache, short waits."""
    server.reset()
    server.listings = {"AAPL": Listing(walk()), "KO": Listing(walk(seed=1))}
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(yahoo_client, "WAITS", (0.001, 0.002))
    yield server
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
    bars, other = bars.reset_index(drop=True), other.reset_index(drop=True)
    pd.testing.assert_frame_equal(bars, other, check_dtype=False, rtol=1e-6)


def days_ago(days: int) -> date:
    return (pd.Timestamp.now("UTC") - pd.Timedelta(days=days)).date()


def failing(*args, **kwargs) -> str:
    """The DownloadError's sentence, which offers the bundled bars."""
    with pytest.raises(tn.DownloadError) as caught:
        tn.download_bars(*args, **kwargs)
    text = str(caught.value)
    assert one_sentence(text) and "tn.load_bars('stocks')" in text
    return text


def refused(*args, **kwargs) -> str:
    """The DataError's sentence."""
    with pytest.raises(tn.DataError) as caught:
        tn.download_bars(*args, **kwargs)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


# --- what comes


def test_one_symbol_is_a_validated_frame(market, tmp_path):
    bars = tn.download_bars("AAPL")
    same(bars, expected(market.listings["AAPL"], "AAPL"))
    again = tn.load_bars(bars)
    assert list(bars.dtypes) == list(again.dtypes) and bars["date"].dt.tz is None
    assert bars.attrs["zones"] == {"AAPL": "America/New_York"}
    assert bars.attrs["repairs"] == bars.attrs["warnings"] == []
    assert len(market.charts()) == 1
    bars.to_parquet(tmp_path / "bars.parquet")
    assert pd.read_parquet(tmp_path / "bars.parquet").attrs == bars.attrs


@pytest.mark.parametrize(
    "symbols", ["ko aapl", "KO,AAPL", ["KO", " aapl", "KO"], pd.Index(["ko", "aapl"])]
)
def test_many_symbols_are_one_frame(market, symbols):
    bars = tn.download_bars(symbols)
    same(bars, pd.concat([expected(market.listings[name], name) for name in ("AAPL", "KO")]))
    assert len(market.charts()) == 2


@pytest.mark.parametrize("kind", [str, pd.Timestamp, np.datetime64, date.fromisoformat])
def test_ends_are_included_and_dates_may_be_of_any_type(market, kind):
    days = market.listings["AAPL"].closes.index
    bars = tn.download_bars("AAPL", kind(str(days[5].date())), kind(str(days[20].date())))
    same(bars, expected(market.listings["AAPL"], "AAPL")[5:21])


def test_splits_and_dividends_are_in_the_prices(market):
    """Those that come later, too: all is downloaded anew, so that old bars and new ones agree."""
    listing = market.listings["AAPL"]
    days = [str(day.date()) for day in listing.closes.index]
    listing.closes.iloc[20:] /= 4  # as traded
    listing.splits, listing.dividends = {days[20]: 4.0}, {days[10]: 2.0, days[30]: 0.5}
    closes, listing.closes = listing.closes, listing.closes[:-1]
    bars = tn.download_bars("AAPL")
    same(bars, expected(listing, "AAPL"))
    assert np.abs(np.diff(np.log(bars["close"]))).max() < 0.06  # nothing jumps
    listing.closes, listing.dividends = closes, listing.dividends | {days[-1]: 1.0}
    same(tn.download_bars("AAPL"), expected(listing, "AAPL"))


def test_parts_of_a_day_that_yahoo_keeps_no_more_stay_in_the_cache(market, monkeypatch):
    before = tn.download_bars("AAPL", days_ago(30), days_ago(4), interval="1h")
    monkeypatch.setitem(yahoo.DAYS, "1h", 12)
    bars = tn.download_bars("AAPL", days_ago(30), interval="1h")
    assert len(bars) > len(before)
    same(bars[: len(before)], before)
    # after a split the old prices are on another scale: they are not mixed with new ones
    listing = market.listings["AAPL"]
    listing.closes, listing.splits = listing.closes / 4, {str(date.today()): 4.0}
    path = next((yahoo.cache_folder() / "yahoo" / "1h").glob("*.parquet"))
    history = yahoo.load(path)
    yahoo.save(path, replace(history, last=days_ago(5), bars=history.bars.loc[: str(days_ago(5))]))
    assert "keeps 1h bars for 12 days" in refused("AAPL", days_ago(30), interval="1h")


def test_dates_are_the_exchanges_own(market):
    hours = ("09:00:00", "15:00:00")  # it opens at 0:00 UTC
    market.listings["7203.T"] = Listing(walk(seed=2)[:-1], zone="Asia/Tokyo", hours=hours)
    bars = tn.download_bars(["7203.T", "AAPL"])
    assert bars.attrs["zones"] == {"7203.T": "Asia/Tokyo", "AAPL": "America/New_York"}
    tokyo = bars[bars["symbol"] == "7203.T"]
    assert list(tokyo["date"]) == list(market.listings["7203.T"].closes.index)
    bars = tn.download_bars(["AAPL", "7203.T"], interval="1h")
    times = bars["date"].dt.strftime("%H:%M").groupby(bars["symbol"]).agg(lambda x: sorted({*x}))
    assert times["AAPL"] == ["09:30", "10:30", "11:30", "12:30", "13:30", "14:30", "15:30"]
    assert times["7203.T"] == ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00"]


def test_an_hour_that_is_there_twice_is_told_apart(market):
    october = pd.Timestamp(f"{pd.Timestamp.now('UTC').year - 1}-10-31")
    sunday = october - pd.Timedelta(days=(october.weekday() + 1) % 7)
    closes = pd.Series(100.0, pd.date_range(sunday - pd.Timedelta("1D"), periods=3))
    hours = ("00:00:00", "23:59:00")
    market.listings["X=X"] = Listing(closes, zone="Europe/London", hours=hours)
    bars = tn.download_bars("X=X", sunday - pd.Timedelta("2D"), interval="1h")
    assert len(bars) == 3 * 24 + 1 and (bars["date"].diff()[1:] == pd.Timedelta("1h")).all()
    assert bars.attrs["zones"] == {"X=X": "UTC"}


@pytest.mark.parametrize("interval, period", [("1wk", "W"), ("1mo", "M")])
def test_weeks_and_months_are_made_of_days(market, interval, period):
    market.listings["AAPL"] = listing = Listing(walk(300))
    daily = expected(listing, "AAPL")
    starts = daily["date"].dt.to_period(period).dt.start_time
    how = {"symbol": "first", "open": "first", "high": "max", "low": "min", "close": "last"}
    whole = daily.groupby(starts).agg(how | {"volume": "sum"}).reset_index()[list(daily)]
    since, until = whole["date"].iloc[2] + pd.Timedelta(days=2), whole["date"].iloc[-3]
    same(tn.download_bars("AAPL", since, until, interval=interval), whole[2:-2])
    bars = tn.download_bars("AAPL", since, interval=interval)
    same(bars, whole[2 : len(whole) - len(tn.repairs(bars))])  # the last one may go on


# --- bars that are not finished, of a symbol of their own: yfinance keeps the zone of each


SESSIONS = [("2h", "0s", False), ("-1h", "0s", True), ("-10min", "15min", False)]


@pytest.mark.parametrize("until, delay, finished", SESSIONS)
def test_a_session_that_goes_on_is_left_out(market, until, delay, finished):
    zone = noon_zone()
    listing = Listing(walk(today=zone), zone=zone, until=pd.Timedelta(until), delay=delay)
    market.listings["NOON"] = listing
    bars, today = tn.download_bars("NOON"), listing.closes.index[-1]
    same(bars, expected(listing, "NOON")[: None if finished else -1])
    assert tn.repairs(bars)["first"].tolist() == ([] if finished else [str(today.date())])
    listing.until, listing.delay = pd.Timedelta("-2h"), "0s"
    bars = tn.download_bars("NOON")
    same(bars, expected(listing, "NOON"))  # the cache has no half bars
    assert not len(tn.repairs(bars))


def test_bars_within_a_day_end_before_now(market):
    zone = noon_zone()
    listing = Listing(walk(today=zone), zone=zone, until=pd.Timedelta("2h"))
    market.listings["NOON"] = listing
    bars = tn.download_bars("NOON", interval="5m")
    now = pd.Timestamp.now(zone).tz_localize(None)
    assert now - pd.Timedelta("12min") < bars["date"].iloc[-1] <= now - pd.Timedelta("5min")
    (cut,) = tn.repairs(bars).to_dict("records")
    assert pd.Timestamp(cut["first"]) == bars["date"].iloc[-1] + pd.Timedelta("5min")
    days = listing.closes.index[[-5, -1]]
    tn.download_bars("NOON", *days, interval="5m")
    assert len(market.charts()) == 2  # a day that is not over is never whole in the cache


# --- the cache


def test_what_is_cached_is_not_asked_for(market, tmp_path):
    days = market.listings["AAPL"].closes.index
    whole = tn.download_bars("AAPL", days[10], days[30])
    same(tn.download_bars("AAPL", days[12], days[20]), whole[2:11])
    assert len(market.charts()) == 1
    names = {*os.listdir(tmp_path / "cache" / "yahoo" / "1d")}
    assert names == {"AAPL.parquet", "AAPL.parquet.lock"}
    same(tn.download_bars("AAPL", days[0], days[5]), expected(market.listings["AAPL"], "AAPL")[:6])
    tn.download_bars("AAPL", days[0], days[30])
    assert len(market.charts()) == 2  # it has got no narrower


def test_a_bar_that_comes_late_is_not_missed(market):
    listing = market.listings["AAPL"]
    closes, listing.closes = listing.closes, listing.closes[:-1]
    end = closes.index[-1]
    assert len(tn.download_bars("AAPL", end=end)) == len(closes) - 1
    listing.closes = closes
    for _ in range(2):
        same(tn.download_bars("AAPL", end=end), expected(listing, "AAPL"))
    assert len(market.charts()) == 2


DAMAGE = {
    "half": lambda path, frame: path.write_bytes(path.read_bytes()[:2000]),
    "columns": lambda path, frame: frame.drop(columns="close").to_parquet(path),
    "record": lambda path, frame: pd.DataFrame(frame.to_dict("list")).to_parquet(path),
    "negative": lambda path, frame: frame.assign(close=-frame["close"]).to_parquet(path),
    "unsorted": lambda path, frame: frame[::-1].to_parquet(path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_no_cache(market, tmp_path, damage):
    whole = tn.download_bars("AAPL")
    path = tmp_path / "cache" / "yahoo" / "1d" / "AAPL.parquet"
    DAMAGE[damage](path, pd.read_parquet(path))
    same(tn.download_bars("AAPL", whole["date"].iloc[3], whole["date"].iloc[-9]), whole[3:-8])
    assert len(market.charts()) == 2


def test_without_a_place_for_the_cache_bars_come_all_the_same(market, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="not cached") as caught:
        bars = tn.download_bars(["AAPL", "KO"])
    assert bars.attrs["warnings"] == [str(caught[0].message)]
    same(bars, pd.concat([expected(market.listings[name], name) for name in ("AAPL", "KO")]))


def test_processes_at_once_share_a_cache(market, tmp_path, monkeypatch):
    """Each gets whole bars; nothing is printed, nothing lies outside the cache's folder."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    code = "import tftnhits as tn; print(tn.download_bars('AAPL KO')['close'].sum())"
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(python, [code, code])
    assert one.stdout == other.stdout != "" and one.stderr == other.stderr == ""
    assert not list((tmp_path / "home").rglob("*"))
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"yahoo", "yfinance"}
    assert all(yahoo.load(tmp_path / f"cache/yahoo/1d/{name}.parquet") for name in ("AAPL", "KO"))


def test_what_another_process_adds_meanwhile_is_kept(market, tmp_path, monkeypatch):
    """It wants later days, and asks while we are about to write ours."""
    code = "import tftnhits as tn, sys; tn.download_bars('AAPL', *sys.argv[1:])"
    save, others = yahoo.save, []

    def save_beside_another(path, history):
        days = [str(days_ago(n)) for n in (15, 9)]
        others.append(subprocess.Popen([sys.executable, "-c", code, *days], env=environment()))
        with suppress(subprocess.TimeoutExpired):
            others[0].wait(15)  # it must not have written by then
        save(path, history)

    monkeypatch.setattr(yahoo, "save", save_beside_another)
    tn.download_bars("AAPL", days_ago(40), days_ago(20))
    assert others[0].wait(60) == 0
    cached = yahoo.load(tmp_path / "cache/yahoo/1d/AAPL.parquet")
    assert cached.first <= days_ago(40) and cached.last >= days_ago(9)


# --- failures


@pytest.mark.parametrize("fault", [429, 500, 401, "cut", "html"])
def test_what_passes_is_waited_for(market, fault):
    for name in (f"NEW{fault}".upper(), "AAPL"):  # yfinance asks a new one's time zone first
        market.listings[name] = market.listings["KO"]
        market.fail(name, fault, 2)
        same(tn.download_bars(name), expected(market.listings["KO"], name))


LASTS = {429: "too many requests", 500: "can read", "cut": "can read", "html": "can read"}
LASTS |= {"drop": "can't be reached", "hang": "in time"}


@pytest.mark.parametrize("fault", LASTS)
def test_what_lasts_is_told_and_cached_bars_stand_in(market, caplog, capfd, fault):
    days = market.listings["AAPL"].closes.index
    whole = tn.download_bars("AAPL")
    market.fail("", fault)
    text = failing("KO", seconds=1)
    assert LASTS[fault] in text and "KO" in text
    with pytest.warns(UserWarning, match="cached bars stand in") as caught:
        bars = tn.download_bars("AAPL", days[3], seconds=1)
    (text,) = bars.attrs["warnings"]
    assert [str(warning.message) for warning in caught] == [text] and one_sentence(text)
    assert caught[0].filename == __file__
    assert f"AAPL ({days[3].date()} to {days[-1].date()})" in text
    same(bars, whole[3:])
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("yfinance")]


@pytest.mark.parametrize("fault", ["hang", 429])
def test_where_nothing_comes_the_others_are_not_asked_for(market, fault):
    market.fail("", fault)
    assert "S5 and 24 more" in failing([f"S{i}" for i in range(30)], seconds=1)
    assert len(market.seen) < 10


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interrupt_does_not_wait_for_yahoo(market, tmp_path):
    market.fail("", "hang")
    env = environment() | market.environment | {"TFTNHITS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "import tftnhits as tn; tn.download_bars('AAPL', seconds=999)"]
    with subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not any("/chart/" in asked.path for asked in market.seen):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT


def test_unknown_symbols_are_named(market):
    text = refused("APPL")
    assert "no symbol 'APPL'" in text and "spelling" in text
    market.fail("KO", 500)
    text = failing(["AAPL", "KO"])
    assert "KO" in text and "AAPL" not in text
    market.faults = {}
    text = refused(["AAPL", "NOPE", "KO", "NADA"])
    assert "'NOPE'" in text and "NADA" in text and "KO" not in text
    tn.download_bars(["AAPL", "KO"], days_ago(30), days_ago(9))
    assert len(market.charts("AAPL")) == 2  # it had been cached


def test_offline_it_is_quick_to_say_so(market, monkeypatch):
    whole = tn.download_bars("AAPL")
    asked = len(market.seen)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(yahoo_client, "WAITS", (1000.0,))
    assert "can't be reached" in failing(["KO", *(f"S{i}" for i in range(20))])
    with pytest.warns(UserWarning, match=r"can't be reached .*, so cached bars stand in: AAPL"):
        same(tn.download_bars("AAPL"), whole)
    tn.download_bars("AAPL", days_ago(30), days_ago(9))  # the cache has it whole: no warning
    assert len(market.seen) == asked


def test_days_without_bars_are_an_error(market):
    first = market.listings["AAPL"].closes.index[0]
    text = refused("AAPL", "2001-01-01", "2001-12-31")
    assert "no 1d bars of AAPL from 2001-01-01 to 2001-12-31" in text
    assert tn.download_bars("AAPL", "2001-01-01")["date"].iloc[0] == first
    refused("AAPL", "2001-01-01", "2001-12-31")  # nor does the cache invent any
    market.fail("KO", "blank")
    assert "no 1d bars of KO" in refused("KO")


def test_bars_that_cannot_be_repaired_are_told_and_not_cached(market, tmp_path):
    market.listings["AAPL"].closes.iloc[7] = -1.0
    day = market.listings["AAPL"].closes.index[7].date()
    text = refused(["AAPL", "KO"])
    assert "AAPL" in text and str(day) in text
    assert not (tmp_path / "cache" / "yahoo" / "1d" / "AAPL.parquet").exists()


def test_parts_of_a_day_go_back_as_far_as_yahoo_does(market):
    text = refused("AAPL", days_ago(80), interval="5m")
    assert "59 days" in text and str(days_ago(59)) in text
    assert not market.charts()


def test_others_may_use_yfinance_beside_us(market, caplog):
    tn.download_bars("AAPL")
    assert yfinance.config.debug.hide_exceptions
    assert len(yfinance.Ticker("KO").history(start=days_ago(30).isoformat())) > 10
    logging.getLogger("yfinance").warning("theirs")
    assert "theirs" in caplog.messages


# --- on the command line, where a symbol is live first


def test_a_symbol_is_live_or_else_bundled(market):
    bars, notes = read_sources(["ko", "AAPL"])
    same(bars[bars["symbol"] == "KO"], expected(market.listings["KO"], "KO"))
    assert notes == []
    bars, notes = read_sources(["IBM", "AAPL"])  # a symbol that is not listed
    assert "IBM: bundled bars" in notes[0] and "no symbol 'IBM'" in notes[0]
    market.fail("", "drop")
    bars, notes = read_sources(["META"])
    same(bars, tn.load_bars("stocks", symbol="META"))
    assert "bundled bars" in notes[0] and "can't be reached" in notes[0]
    with pytest.raises(tn.DownloadError, match=r"'KOX' is neither .*can't be reached"):
        read_sources(["META", "KOX"], strict=True)
    assert "can't be reached" in read_sources(["META", "KOX"])[0].attrs["skipped"]["KOX"]
    asked = len(market.seen)
    for name in ("none.csv", "a/b", "US0378331005"):
        with pytest.raises(tn.DataError, match="neither a file nor a bundled symbol"):
            read_sources(["AAPL", name])
    assert len(market.seen) == asked


def test_live_bars_are_of_years_or_a_warning_says_that_they_are_not(market):
    market.listings["KO"] = Listing(walk(900, seed=1))
    bars = live.live_bars("KO", 20)
    same(bars, expected(market.listings["KO"], "KO"))
    market.fail("", "drop")
    bars = live.live_bars("META", 20)
    same(bars, tn.load_bars("stocks", symbol="META"))
    (doubt,) = bars.attrs["doubts"]["META"]
    assert one_sentence(doubt) and "can't be reached" in doubt and "end on 2023-09-2" in doubt
    with pytest.raises(tn.DownloadError, match="can't be reached"):
        live.live_bars("KOX", 20)


# --- arguments and packages


NONE = [
    ({"symbols": ""}, "no symbols"),
    ({"symbols": b"AAPL"}, "AAPL"),
    ({"symbols": "../x"}, "'../X'"),
    ({"symbols": [f"S{i}" for i in range(501)]}, "501"),
    ({"symbols": "日本"}, "日本"),
    ({"start": "yesterday"}, "'yesterday'"),
    ({"start": 5}, "5"),
    ({"start": pd.NaT}, "NaT"),
    ({"start": "2020-01-02", "end": "2020-01-01"}, "2020-01-02"),
    ({"interval": "2d"}, "1d, 1wk, 1mo, 1m"),
    ({"seconds": 0}, "seconds"),
]


@pytest.mark.parametrize("arguments, word", NONE)
def test_arguments_that_are_none(market, arguments, word):
    assert word in refused(**{"symbols": "AAPL", **arguments})
    assert not market.seen


def test_yfinance_is_imported_when_needed_and_missed_by_name():
    done = python(
        "import sys, tftnhits as tn; tn.download_bars; assert 'yfinance' not in sys.modules\n"
        "sys.modules['yfinance'] = None\n"
        "try: tn.download_bars('AAPL')\n"
        "except tn.MissingDependency as error: print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert "tftnhits[live-data]" in done.stdout and one_sentence(done.stdout.strip())
