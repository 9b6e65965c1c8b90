"""Bar times ahead by exchanges' calendars; exchange_calendars itself is the judge."""

import logging
import sys
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits.data import sessions
from tftnhits.data.calendars import market_of, next_sessions, sessions_ahead
from tftnhits.errors import ConfigError, MissingDependency

exchanges = pytest.importorskip("exchange_calendars")


def stamps(*texts):
    return pd.DatetimeIndex(texts).as_unit("ns")


def times_of(days, start="09:30", end="15:30", freq="30min"):
    """The bars of each day, from `start` to `end`."""
    parts = [pd.date_range(f"{d:%F} {start}", f"{d:%F} {end}", freq=freq) for d in days]
    return pd.DatetimeIndex(np.concatenate(parts)).as_unit("ns")


@cache
def calendar(name, first="2000-01-01", last="2025-12-31"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3 on exchange_calendars' code
        return exchanges.get_calendar(name, first, last)


def days_of(name, first="2000-01-01", last="2025-12-31"):
    days = calendar(name).sessions.as_unit("ns").rename(None)
    return days[(days >= first) & (days <= last)]


def calendar_of(*args, **kwargs):
    return market_of(*args, **kwargs).calendar


def ahead_of(dates, horizon, symbol="", calendar=None):
    """What a panel does."""
    return next_sessions(dates, horizon, calendar_of(dates, symbol, calendar))


@cache
def half_hours():
    """Every half-hour bar of the New York Stock Exchange, local time of its start."""
    nyse, how = calendar("XNYS"), {"intervals": False, "closed": "left"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = nyse.trading_index("2009-01-02", "2019-12-31", "30min", **how)
    return index.tz_convert(nyse.tz).tz_localize(None).as_unit("ns").rename(None)


# --- dates ahead


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    market=st.sampled_from([("", "XNYS"), (".L", "XLON"), (".T", "XTKS"), (".TO", "XTSE")]),
    end=st.integers(300, 5_500),
    bars=st.integers(6, 600),
    horizon=st.integers(1, 60),
    hour=st.sampled_from([0, 9, 16]),
)
def test_daily_bars_go_on_at_the_sessions_of_their_exchange(market, end, bars, horizon, hour):
    suffix, name = market
    every = days_of(name) + pd.Timedelta(hours=hour)
    past = every[max(end - bars, 0) : end + 1]
    assert calendar_of(past, f"X{suffix}") == name
    assert ahead_of(past, horizon, f"X{suffix}").equals(every[end + 1 : end + 1 + horizon])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    end=st.integers(300, 35_000),
    bars=st.integers(200, 600),
    horizon=st.integers(1, 40),
    late=st.booleans(),
)
def test_half_hours_go_on_at_the_slots_that_came(end, bars, horizon, late):
    """Holidays and half days included; stamped with the start of each bar or with its end."""
    every = half_hours() + pd.Timedelta(minutes=30 * late)
    past = every[max(end - bars, 0) : end + 1]
    assert calendar_of(past) == "XNYS"
    assert ahead_of(past, horizon).equals(every[end + 1 : end + 1 + horizon])


@pytest.mark.parametrize(
    "hours",
    [
        "10:00 16:00 13:00",  # stamped with the end of each bar
        "04:00 19:30 16:30",  # before and after hours too: all ends three hours earlier
        "14:30 20:30 17:30",  # in UTC: no New York day, not inferred
    ],
)
def test_half_days_cut_hours_of_all_kinds(hours):
    first, last, early = hours.split()
    past = times_of(days_of("XNYS", "2019-10-02", "2019-11-27"), first, last)
    half = times_of(stamps("2019-11-29"), first, early)
    expected = half.append(times_of(stamps("2019-12-02", "2019-12-03"), first, last))
    assert ahead_of(past, len(expected), calendar="XNYS").equals(expected)
    assert ahead_of(past, len(expected)).equals(expected) == (first != "14:30")


def test_lunch_golden_week_and_a_half_day_in_asia():
    def both(days, *hours):
        morning, afternoon = times_of(days, *hours[:2]), times_of(days, *hours[2:])
        return morning.append(afternoon).sort_values()

    tokyo = "09:00", "11:00", "12:30", "14:30"
    past = both(days_of("XTKS", "2019-04-02", "2019-04-26"), *tokyo)
    assert calendar_of(past, "7203.T") == "XTKS"
    then = both(stamps("2019-05-07", "2019-05-08"), *tokyo)
    assert ahead_of(past, 12, "7203.T").equals(then[:12])
    past = both(days_of("XHKG", "2019-11-21", "2019-12-23"), "09:30", "11:30", "13:00", "15:30")
    eves = times_of(stamps("2019-12-24", "2019-12-27"), "09:30", "11:30")
    assert ahead_of(past, 10, "0700.HK").equals(eves)


def test_a_single_day_goes_on_by_the_hours_of_its_exchange():
    morning = times_of(stamps("2019-11-27"), "09:30", "11:29", "min")
    rest = times_of(stamps("2019-11-27"), "11:30", "15:59", "min")
    half = times_of(stamps("2019-11-29"), "09:30", "12:59", "min")
    then = rest.append([half, stamps("2019-12-02 09:30")])
    assert ahead_of(morning, 481).equals(then)
    tokyo = times_of(stamps("2019-05-08"), "09:00", "11:00")
    assert ahead_of(tokyo, 2, "7203.T").equals(stamps("2019-05-08 12:30", "2019-05-08 13:00"))


def test_futures_open_the_evening_before():
    hours = pd.date_range("2019-10-13 17:00", "2019-11-22 15:00", freq="h")
    day, hour = hours.day_of_week, hours.hour
    rest = (hour == 16) | (day == 5) | ((day == 4) & (hour > 15)) | ((day == 6) & (hour < 17))
    past = hours[~rest]
    assert calendar_of(past, calendar="CMES") == "CMES" and calendar_of(past) is None
    assert ahead_of(past, 2, calendar="CMES").equals(stamps("2019-11-24 17:00", "2019-11-24 18:00"))


@pytest.mark.parametrize("freq", ["D", "h", "7min"])
def test_bars_of_every_day_go_on_evenly(freq):
    every = pd.date_range("2020-05-25", periods=3000, freq=freq).as_unit("ns")
    assert calendar_of(every[:2000]) == "24/7"
    assert ahead_of(every[:2000], 900).equals(every[2000:2900])
    few = every[:3]  # no weekend yet: the name tells
    assert calendar_of(few) != "24/7"
    assert ahead_of(few, 20, "BTC-USD").equals(every[3:23])


@pytest.mark.parametrize("freq", ["W", "M", "Q"])
@pytest.mark.parametrize("which", ["max", "min"])
def test_weeks_and_months_by_their_last_or_first_sessions_go_on_so(freq, which):
    for suffix, name in (("", "XNYS"), (".T", "XTKS")):
        days = days_of(name).to_series()
        every = pd.DatetimeIndex(days.groupby(days.index.to_period(freq)).agg(which))[1:]
        for end in range(60, len(every) - 5, 29):
            assert calendar_of(every[:end], suffix) == name
            assert ahead_of(every[:end], 5, suffix).equals(every[end : end + 5])
    weeks = days_of("XNYS", "2015-01-01", "2017-04-11").to_series()  # ends on a Tuesday
    weeks = pd.DatetimeIndex(weeks.groupby(weeks.index.to_period("W")).max())
    assert ahead_of(weeks, 2).equals(stamps("2017-04-21", "2017-04-28"))


@pytest.mark.parametrize("freq", ["W-MON", "W-FRI", "MS", "ME", "10D"])
def test_weeks_and_months_by_labels_stay_as_they_are(freq):
    past = pd.date_range("2015-01-01", "2023-06-30", freq=freq).as_unit("ns")
    assert calendar_of(past, "KO") is None
    ahead, told = sessions_ahead(past, 5, "XNYS")
    assert ahead.equals(next_sessions(past, 5)) and told == 5


# --- which calendar, which clock


def new_york(drop=()):
    return days_of("XNYS", "2018-01-01", "2019-03-01").delete(drop)


HOLIDAYS = stamps("2018-11-22", "2018-07-04", "2018-05-28")
INFERRED = [
    (new_york(), "BRK.B", "XNYS"),
    (new_york(), "VOD.L", None),
    (days_of("XLON", "2018-01-01", "2019-03-01"), "VOD.L", "XLON"),
    (days_of("XLON", "2018-01-01", "2019-03-01"), "", None),
    (new_york(range(100, 110)), "", "XNYS"),  # ten sessions without a bar
    (new_york(range(100, 130)), "", None),
    (new_york()[::5], "", None),
    (pd.DatetimeIndex([pd.NaT] * 3), "", None),
    (pd.bdate_range("2010-01-01", "2016-12-30").append(new_york()), "", "XNYS"),  # long ago
    (new_york().append(HOLIDAYS[:1]), "", "XNYS"),  # a stray row
    (new_york().append(HOLIDAYS), "", None),
    (new_york()[:60].append(stamps("2018-02-19")), "", None),  # might be of any market
]


@pytest.mark.parametrize("dates, symbol, name", INFERRED)
def test_a_calendar_is_inferred_only_if_it_explains_the_bars(dates, symbol, name):
    assert calendar_of(dates.sort_values(), symbol) == name


def test_a_zone_tells_the_clock_and_the_exchange():
    hours, zone = half_hours()[-3000:], "America/New_York"
    utc = hours.tz_localize(zone).tz_convert("UTC").tz_localize(None)
    assert market_of(hours, "X", zone=zone) == ("XNYS", zone, zone)
    assert market_of(utc, "X", zone="UTC") == ("XNYS", "UTC", zone)
    assert market_of(hours, "X") == ("XNYS", None, None)
    assert market_of(hours, "X", zone="Asia/Tokyo") == (None, "Asia/Tokyo", "UTC")  # its nights
    for zone, name in (("Asia/Tokyo", "XTKS"), ("Europe/Berlin", "XETR")):
        days = days_of(name)[-300:]
        assert market_of(days, "7203", zone=zone) == (name, zone, zone)
        assert calendar_of(days, "7203") is None
    every = pd.date_range("2021-01-01", periods=400)
    assert market_of(every, "X", zone=zone) == ("24/7", zone, None)


def test_a_given_calendar_decides():
    dates = pd.bdate_range("2018-01-01", "2018-12-21")
    assert calendar_of(dates, "X", "NYSE") == calendar_of(dates, "X", {"X": "XNYS"}) == "XNYS"
    assert calendar_of(dates, "X", {"Y": "XNYS"}) is calendar_of(dates, "X", {"X": None}) is None
    assert ahead_of(dates, 2, "X", "XLON").equals(stamps("2018-12-24", "2018-12-27"))
    assert ahead_of(dates, 2, "X", "24/7").equals(stamps("2018-12-22", "2018-12-23"))


@pytest.mark.parametrize("bad", ["NYSX", "", 5, {"X": "nope"}])
def test_an_unknown_calendar_is_refused_with_names_that_there_are(bad):
    with pytest.raises(ConfigError, match="XNYS") as caught:
        calendar_of(pd.bdate_range("2018-01-01", periods=9), "X", bad)
    assert one_sentence(str(caught.value))
    with pytest.raises(ConfigError, match="There is no time zone 'New York'"):
        market_of(pd.bdate_range("2020-01-01", periods=40), zone="New York")


# --- what the library does not know


def test_a_calendar_tells_as_far_as_it_goes(caplog):
    """Bombay's is drawn up a year at a time; Christmas is known to the last of its days."""
    end = pd.Timestamp(calendar("XBOM", "2020-01-01", "2020-12-31").bound_max())
    days = calendar("XBOM", f"{end.year - 2}-01-01", end).sessions.as_unit("ns").rename(None)
    last = days.searchsorted(end.replace(day=24), side="right")
    later = pd.bdate_range(end + pd.Timedelta(days=1), periods=8).as_unit("ns")
    for past in (days[last - 300 : last], days[-300:], days[-300:].append(later[:5])):
        known, new = days[days > past[-1]], later[later > past[-1]]
        with caplog.at_level(logging.WARNING, "tftnhits"):
            ahead, told = sessions_ahead(past, len(known) + len(new), "XBOM")
        assert ahead.equals(known.append(new)) and told == len(known)
        assert "XBOM" in caplog.text
    old = pd.bdate_range("1700-01-01", periods=30)
    assert len(ahead_of(old, 5)) == len(ahead_of(old, 5, calendar="XTKS")) == 5


def test_sessions_are_kept_in_a_file_and_made_again_where_it_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path))
    make = sessions._schedule.__wrapped__
    made = make("XHKG", 2010, 2019)
    (path,) = (tmp_path / "sessions").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_made", None)  # the file alone answers
        kept = make("XHKG", 2010, 2019)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(made[:6], kept[:6]))
    assert made[6:] == kept[6:] and not np.isnat(kept.break_start).all()
    path.write_bytes(path.read_bytes()[:-99])
    assert np.array_equal(make("XHKG", 2010, 2019).day, made.day)
    monkeypatch.setenv("TFTNHITS_CACHE", str(path))  # a file, in which nothing can be kept
    assert np.array_equal(make("XHKG", 2010, 2019).day, made.day)


def test_without_the_package_the_pattern_is_inferred(monkeypatch):
    dates = days_of("XNYS")[:300]
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    sessions._schedule.cache_clear()
    assert calendar_of(dates, "X") is None and calendar_of(dates, "X", "24/7") == "24/7"
    with pytest.raises(MissingDependency, match="live-data") as caught:
        calendar_of(dates, "X", "XNYS")
    assert one_sentence(str(caught.value))
    sessions._schedule.cache_clear()
