"""Bar times ahead, from the calendars of exchanges and from the pattern of bar times."""

import logging
import sys
import time
import warnings
from functools import cache
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence, python, stocks
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits.data import sessions
from tftnhits.data.calendars import (
    calendar_of,
    market_of,
    next_sessions,
    session_lengths,
    sessions_ahead,
)
from tftnhits.errors import ConfigError, MissingDependency

needs_package = pytest.mark.skipif(
    find_spec("exchange_calendars") is None,
    reason="exchange_calendars (the extra 'live-data') is not installed",
)


def stamps(*texts):
    return pd.DatetimeIndex(texts).as_unit("ns")


def session(days, start="09:30", end="15:30", freq="30min"):
    return pd.DatetimeIndex(
        np.concatenate(
            [pd.date_range(f"{d:%Y-%m-%d} {start}", f"{d:%Y-%m-%d} {end}", freq=freq) for d in days]
        )
    )


def test_no_dates_give_no_dates():
    for dates in (pd.DatetimeIndex([]), pd.DatetimeIndex([pd.NaT] * 4)):
        ahead = next_sessions(dates, 3)
        assert len(ahead) == 3 and ahead.isna().all()


def test_business_days_skip_weekends():
    dates = pd.bdate_range("2020-01-01", "2020-06-05")  # ends on a Friday
    assert next_sessions(dates, 6).equals(pd.bdate_range("2020-06-08", periods=6).as_unit("ns"))


def test_business_days_with_holidays_and_one_saturday_session():
    dates = pd.bdate_range("2020-01-01", "2020-06-05").drop(
        pd.to_datetime(["2020-05-25", "2020-04-13"])
    )
    dates = dates.append(pd.DatetimeIndex(["2020-05-16"])).sort_values()
    assert next_sessions(dates, 5).equals(pd.bdate_range("2020-06-08", periods=5).as_unit("ns"))


def test_sunday_to_thursday_week():
    every = pd.date_range("2020-01-01", "2020-06-04")
    dates = every[~every.day_of_week.isin([4, 5])]
    assert next_sessions(dates, 3).equals(stamps("2020-06-07", "2020-06-08", "2020-06-09"))


def test_every_day_market_keeps_weekends():
    dates = pd.date_range("2020-01-01", "2020-06-05")
    assert next_sessions(dates, 3).equals(stamps("2020-06-06", "2020-06-07", "2020-06-08"))


def test_short_daily_histories():
    week = stamps("2020-06-02", "2020-06-03", "2020-06-04")
    assert next_sessions(week, 3).equals(stamps("2020-06-05", "2020-06-08", "2020-06-09"))
    assert next_sessions(stamps("2020-06-05"), 1).equals(stamps("2020-06-08"))
    assert next_sessions(stamps("2020-06-05", "2020-06-06"), 2).equals(
        stamps("2020-06-07", "2020-06-08")
    )


def test_a_few_bars_around_weekends_are_daily():
    for bars in (3, 4, 5, 6, 7, 8):
        dates = pd.bdate_range("2020-06-05", periods=bars)  # a Friday
        assert next_sessions(dates, 4).equals(
            pd.bdate_range(dates[-1], periods=5)[1:].as_unit("ns")
        )


def test_time_of_day_is_kept():
    dates = pd.bdate_range("2020-01-01", "2020-06-05") + pd.Timedelta(hours=16)
    assert next_sessions(dates, 1).equals(stamps("2020-06-08 16:00"))


def test_weekly_and_monthly():
    weekly = pd.date_range("2020-01-03", periods=30, freq="7D")
    assert (next_sessions(weekly, 2) - weekly[-1]).days.tolist() == [7, 14]
    first = pd.date_range("2020-01-01", periods=14, freq="MS")
    assert next_sessions(first, 2).equals(stamps("2021-03-01", "2021-04-01"))
    end = first - pd.Timedelta(days=1)  # the last is 2021-01-31
    assert next_sessions(end, 2).equals(stamps("2021-02-28", "2021-03-31"))
    business = (
        pd.bdate_range("2019-01-01", "2021-01-31")
        .to_series()
        .groupby(lambda d: (d.year, d.month))
        .max()
    )
    assert next_sessions(pd.DatetimeIndex(business), 2).equals(stamps("2021-02-26", "2021-03-31"))
    thirtieth = stamps("2020-10-30", "2020-11-30", "2020-12-30", "2021-01-30")
    assert next_sessions(thirtieth.delete(0).insert(0, stamps("2020-10-15")[0]), 1).equals(
        stamps("2021-02-28")
    )


def periods(freq, first="1996-01-01", last="2021-12-31"):
    return pd.date_range(first, last, freq=freq).as_unit("ns")


STAMPS = {
    "the 1st and the 15th": periods("SMS"),
    "the 15th and the last": periods("SME"),
    "first of the month": periods("MS"),
    "last of the month": periods("ME"),
    "first weekday of the month": periods("BMS"),
    "last weekday of the month": periods("BME"),
    "the 20th": periods("MS") + pd.Timedelta(days=19),
    "the 30th or the last": (periods("MS") + pd.Timedelta(days=29)).where(
        periods("MS").month != 2, periods("ME")
    ),
    "quarter starts": periods("QS"),
    "quarter ends": periods("QE"),
    "fiscal quarter ends": periods("QE-JAN"),
    "last weekday of the quarter": periods("BQE"),
    "year ends": periods("YE", "1960-01-01"),
    "28 days": periods("28D"),
    "two weeks": periods("14D"),
    "5-4-4 weeks": periods("7D")[np.cumsum(np.resize([5, 4, 4], 280)) - 5],
    "Tuesdays and Fridays": periods("D", "2015-01-01")[
        periods("D", "2015-01-01").day_of_week.isin([1, 4])
    ],
}


@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS.keys())
def test_longer_bars_go_on_by_their_pattern(stamps):
    """At midnight and at four; with one stamp missing too."""
    for end in np.linspace(24, len(stamps) - 6, 25).astype(int):
        past, then = stamps[:end], stamps[end : end + 5]
        assert next_sessions(past, 5).equals(then)
        afternoon = pd.Timedelta(hours=16)
        assert next_sessions(past + afternoon, 5).equals(then + afternoon)
        if end >= 40 and stamps is not STAMPS["5-4-4 weeks"]:
            assert next_sessions(past.delete(-9), 2).equals(then[:2])


def test_few_longer_bars_go_on_by_the_plainest_pattern():
    assert next_sessions(stamps("2021-03-31", "2021-04-30"), 2).equals(
        stamps("2021-05-31", "2021-06-30")
    )
    assert next_sessions(stamps("2021-03-01", "2021-04-01"), 2).equals(
        stamps("2021-05-01", "2021-06-01")
    )
    assert next_sessions(stamps("2021-03-05", "2021-03-12", "2021-03-26"), 1).equals(
        stamps("2021-04-02")
    )
    ninety = pd.date_range("2021-01-01 00:00", periods=9, freq="90h")
    assert next_sessions(ninety, 2).equals(
        pd.date_range(ninety[-1], periods=3, freq="90h")[1:].as_unit("ns")
    )


@pytest.mark.parametrize("weeks", [1, 6])
def test_sessions_of_half_hours(weeks):
    days = pd.bdate_range("2020-06-01", periods=5 * weeks)
    dates = session(days)
    after = session(pd.bdate_range(days[-1] + pd.Timedelta(days=1), periods=2))
    assert next_sessions(dates, 20).equals(after[:20].as_unit("ns"))
    assert next_sessions(dates[:-3], 5)[:3].equals(
        dates[-3:].as_unit("ns")
    )  # goes on within the session first


def test_minutes_round_the_clock():
    dates = pd.date_range("2020-06-05 00:00", "2020-06-05 23:58", freq="min")
    assert next_sessions(dates, 3).equals(
        stamps("2020-06-05 23:59", "2020-06-06 00:00", "2020-06-06 00:01")
    )
    hours = pd.date_range("2020-05-01", "2020-06-05 22:00", freq="h")
    assert next_sessions(hours, 30).equals(
        pd.date_range("2020-06-05 23:00", periods=30, freq="h").as_unit("ns")
    )


def test_currencies_rest_from_friday_to_sunday_evening():
    hours = pd.date_range("2020-04-01", "2020-06-05 16:00", freq="h")
    rest = (hours.day_of_week == 5) | ((hours.day_of_week == 4) & (hours.hour >= 17))
    rest |= (hours.day_of_week == 6) & (hours.hour < 17)
    assert next_sessions(hours[~rest], 2).equals(stamps("2020-06-07 17:00", "2020-06-07 18:00"))


def test_irregular_stamps_go_on_by_the_median_step():
    rng = np.random.default_rng(0)
    dates = pd.DatetimeIndex(
        pd.Timestamp("2020-06-01") + pd.to_timedelta(rng.integers(40, 80, 9000).cumsum(), "s")
    )
    ahead = next_sessions(dates, 3)
    assert (
        (ahead - dates[-1]).total_seconds().to_numpy() > 30
    ).all() and ahead.is_monotonic_increasing


def test_order_and_double_dates_do_not_matter():
    dates = pd.bdate_range("2020-01-01", "2020-06-05")
    mixed = dates[::-1].append(dates)
    assert next_sessions(mixed, 4).equals(next_sessions(dates, 4))


def test_five_hundred_symbols_in_seconds():
    dates = pd.bdate_range("2008-01-01", periods=3000)
    start = time.perf_counter()
    for _ in range(500):
        next_sessions(dates, 5)
    assert time.perf_counter() - start < 10  # 0.5 s on a quiet machine; bench/latency.py measures


# Below, exchange_calendars itself is the judge: one calendar a name over all years, asked for its sessions.


@cache
def calendar(name, *years):
    import exchange_calendars as exchanges

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3 on exchange_calendars' code
        return exchanges.get_calendar(name, *(years or ("2000-01-01", "2025-12-31")))


def days_of(name):
    return calendar(name).sessions.as_unit("ns").rename(None)


def ahead_of(dates, horizon, symbol="", calendar=None):
    """What a panel does."""
    return next_sessions(dates, horizon, calendar_of(dates, symbol, calendar))


@cache
def half_hours():
    """Every half-hour bar of the New York Stock Exchange, local time of its start."""
    nyse = calendar("XNYS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = nyse.trading_index(
            "2009-01-02", "2019-12-31", "30min", intervals=False, closed="left"
        )
    return index.tz_convert(nyse.tz).tz_localize(None).as_unit("ns").rename(None)


@needs_package
def test_the_first_session_of_2018_is_the_second_of_january():
    dates = pd.DatetimeIndex(stocks(("AAPL",))["date"])
    assert dates[-1] == pd.Timestamp("2017-12-29")
    assert ahead_of(dates, 2, "AAPL").equals(stamps("2018-01-02", "2018-01-03"))
    assert next_sessions(dates, 1).equals(stamps("2018-01-01"))  # what the pattern of the bars says


@needs_package
def test_the_next_five_sessions_are_those_that_came():
    """From every date of twelve years, by what was known then, but for three closures that no one foresaw."""
    dates = pd.DatetimeIndex(stocks(("GOOG",), "2006-01-01")["date"])
    assert len(dates) == 3020
    wrong = [
        i
        for i in range(len(dates) - 5)
        if not ahead_of(dates[: i + 1], 5, "GOOG").equals(dates[i + 1 : i + 6])
    ]
    assert wrong == []
    by_pattern = [
        next_sessions(dates[: i + 1], 5).equals(dates[i + 1 : i + 6])
        for i in range(0, len(dates) - 5, 20)
    ]
    assert 0.75 < np.mean(by_pattern) < 0.9


@needs_package
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(
        [("", "XNYS"), (".L", "XLON"), (".T", "XTKS"), (".DE", "XETR"), (".TO", "XTSE")]
    ),
    end=st.integers(0, 6_000),
    bars=st.integers(6, 600),
    horizon=st.integers(1, 60),
    clock=st.sampled_from([0, 9, 16]),
)
def test_daily_bars_go_on_at_the_sessions_of_their_exchange(name, end, bars, horizon, clock):
    suffix, name = name
    days = days_of(name)[300:]
    end = 6 + end % (len(days) - 67)
    past = days[max(end - bars, 0) : end + 1] + pd.Timedelta(hours=clock)
    assert calendar_of(past, f"X{suffix}") == name
    ahead = ahead_of(past, horizon, f"X{suffix}")
    assert ahead.equals(days[end + 1 : end + 1 + horizon] + pd.Timedelta(hours=clock))
    assert ahead.is_monotonic_increasing and ahead.is_unique and ahead[0] > past[-1]
    closed = pd.date_range(past[-1].normalize(), ahead[-1].normalize()).difference(days)
    assert not ahead.normalize().isin(closed).any()


@needs_package
@settings(max_examples=60, deadline=None, derandomize=True)
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


@needs_package
def test_each_half_day_ends_at_one():
    early = calendar("XNYS").early_closes
    early = early[(early > "2009-03-01") & (early < "2019-12-20")]
    assert len(early) > 20
    for day in early:
        begun = np.flatnonzero(half_hours().normalize() == day)
        assert len(begun) == 7  # 9:30 to 13:00
        assert ahead_of(half_hours()[: begun[0]][-300:], 9).equals(
            half_hours()[begun[0] : begun[0] + 9]
        )


@needs_package
@pytest.mark.parametrize(
    "first, last, early",
    [
        ("10:00", "16:00", "13:00"),  # stamped with the end of each bar
        (
            "04:00",
            "19:30",
            "16:30",
        ),  # before and after hours too: all that comes after them is three hours earlier
        ("14:30", "20:30", "17:30"),  # in UTC
        ("09:30", "15:30", "12:30"),
    ],
)
def test_half_days_cut_hours_of_all_kinds(first, last, early):
    days = days_of("XNYS")
    days = days[(days > "2019-10-01") & (days < "2020-01-01")]
    dates = session(days[days < "2019-11-28"], first, last)
    half, full = (
        session(stamps("2019-11-29"), first, early),
        session(stamps("2019-12-02", "2019-12-03"), first, last),
    )
    expected = half.append(full).as_unit("ns")
    assert ahead_of(dates, len(expected), calendar="XNYS").equals(expected)
    assert ahead_of(dates, len(expected)).equals(expected) == (
        first != "14:30"
    )  # UTC is no New York day: not inferred


@needs_package
def test_lunch_golden_week_and_a_half_day_in_asia():
    def tokyo(days):
        parts = session(days, "09:00", "11:00"), session(days, "12:30", "14:30")
        return parts[0].append(parts[1]).sort_values().as_unit("ns")

    days = days_of("XTKS")
    past = days[(days > "2019-04-01") & (days <= "2019-04-26")]
    assert calendar_of(tokyo(past), "7203.T") == "XTKS"
    assert ahead_of(tokyo(past), 12, "7203.T").equals(
        tokyo(stamps("2019-05-07", "2019-05-08"))[:12]
    )

    days = days_of("XHKG")
    past = days[(days > "2019-11-20") & (days < "2019-12-24")]
    hong_kong = (
        session(past, "09:30", "11:30").append(session(past, "13:00", "15:30")).sort_values()
    )
    eve = session(stamps("2019-12-24"), "09:30", "11:30")
    after = session(stamps("2019-12-27"), "09:30", "11:30")
    assert ahead_of(hong_kong, 10, "0700.HK").equals(eve.append(after).as_unit("ns"))


@needs_package
@pytest.mark.parametrize("freq", ["60min", "90min", "120min"])
def test_a_bar_that_begins_in_the_break_and_outlasts_it_comes_each_day(freq):
    days = days_of("XTKS")
    days = days[(days > "2018-09-01") & (days < "2019-01-10")]
    every = session(days, "09:00", "14:59", freq).as_unit(
        "ns"
    )  # 12:00 too; the break ends at 12:30
    past, then = every[every < "2018-12-28"], every[every > "2018-12-28"]
    assert calendar_of(past, "7203.T") == "XTKS" and ahead_of(past, 9, "7203.T").equals(then[:9])
    assert ahead_of(past[-3:], 9, "7203.T")[:2].equals(then[:2])  # of a day cut off


@needs_package
def test_a_single_day_goes_on_by_the_hours_of_its_exchange():
    morning = session(stamps("2019-11-27"), "09:30", "11:29", "min")
    rest = session(stamps("2019-11-27"), "11:30", "15:59", "min")
    then = session(stamps("2019-11-29"), "09:30", "12:59", "min").append(stamps("2019-12-02 09:30"))
    assert ahead_of(morning, 481).equals(rest.append(then).as_unit("ns"))
    ends = session(stamps("2019-11-27"), "10:00", "16:00")
    assert ahead_of(ends, 8).equals(
        session(stamps("2019-11-29"), "10:00", "13:00").append(stamps("2019-12-02 10:00"))
    )
    tokyo = session(stamps("2019-05-08"), "09:00", "11:00")
    assert ahead_of(tokyo, 2, "7203.T").equals(stamps("2019-05-08 12:30", "2019-05-08 13:00"))


@needs_package
def test_futures_open_the_evening_before():
    hours = pd.date_range("2019-10-13 17:00", "2019-11-22 15:00", freq="h")
    rest = (
        (hours.hour == 16)
        | (hours.day_of_week == 5)
        | ((hours.day_of_week == 4) & (hours.hour > 15))
    )
    rest |= (hours.day_of_week == 6) & (hours.hour < 17)
    past = hours[~rest]
    assert calendar_of(past, calendar="CMES") == "CMES" and calendar_of(past) is None
    assert ahead_of(past, 2, calendar="CMES").equals(stamps("2019-11-24 17:00", "2019-11-24 18:00"))


@pytest.mark.parametrize("freq", ["D", "h", "7min"])
def test_bars_of_every_day_go_on_evenly(freq):
    every = pd.date_range("2020-05-25", periods=3000, freq=freq)
    assert calendar_of(every[:2000]) == "24/7"
    assert ahead_of(every[:2000], 900).equals(every[2000:2900].as_unit("ns"))
    few = every[:3]  # no weekend yet: the name tells
    assert calendar_of(few, "BTC-USD") == "24/7" and calendar_of(few) != "24/7"
    assert ahead_of(few, 20, "BTC-USD").equals(every[3:23].as_unit("ns"))


@needs_package
def test_a_calendar_is_inferred_only_if_it_explains_the_bars():
    nyse, london = (d[d > "2018-01-01"][:300] for d in (days_of("XNYS"), days_of("XLON")))
    assert calendar_of(nyse) == calendar_of(nyse, "BRK.B") == calendar_of(nyse, "^GSPC") == "XNYS"
    assert calendar_of(london, "VOD.L") == "XLON"
    assert calendar_of(london) is None and calendar_of(nyse, "VOD.L") is None
    assert calendar_of(pd.bdate_range("2018-01-01", periods=300)) is None  # has bars on holidays
    assert calendar_of(nyse.delete(range(100, 110))) == "XNYS"  # ten sessions without a bar
    assert calendar_of(nyse.delete(range(100, 130))) is None
    assert calendar_of(nyse[nyse.day_of_week != 4]) is None
    assert (
        calendar_of(nyse[::5])
        is calendar_of(pd.date_range("2018-01-01", periods=30, freq="MS"))
        is None
    )
    assert calendar_of(pd.DatetimeIndex([])) is calendar_of(pd.DatetimeIndex([pd.NaT] * 3)) is None
    sundays = pd.date_range("2018-01-01", "2018-12-31")
    assert calendar_of(sundays[~sundays.day_of_week.isin([4, 5])]) is None
    # bars long ago don't matter
    assert calendar_of(pd.bdate_range("2010-01-01", "2016-12-30").append(nyse)) == "XNYS"


@needs_package
def test_a_stray_row_or_two_on_holidays_turn_no_calendar_off():
    days = days_of("XNYS")
    past, then = days[days < "2017-12-22"][-300:], days[days > "2017-12-21"][:5]
    closed = stamps("2017-11-23", "2017-05-29", "2017-01-16")
    for rows, name in ((1, "XNYS"), (2, "XNYS"), (3, None)):  # of 255 bars in a year
        found = past.append(closed[:rows]).sort_values()
        assert calendar_of(found) == name and ahead_of(found, 5).equals(then) == (name is not None)
    assert calendar_of(past.append(stamps("2017-09-16")).sort_values()) == "XNYS"  # a Saturday
    assert calendar_of(past[:-1].append(past[-1:] + pd.Timedelta(days=2))) == "XNYS"  # the last row
    assert (
        calendar_of(past[-60:].append(closed[:1]).sort_values()) is None
    )  # might be of any market
    hours = session(past[-250:], "09:30", "15:30", "60min")
    assert (
        calendar_of(hours.append(session(closed[:1], "09:30", "15:30", "60min")).sort_values())
        == "XNYS"
    )


def ends_of(days, freq):
    """The last of the days in each period."""
    return pd.DatetimeIndex(days.to_series().groupby(days.to_period(freq)).max())


@needs_package
@pytest.mark.parametrize("freq", ["W", "M", "Q"])
def test_weeks_and_months_by_their_last_sessions_go_on_so(freq):
    """From each of them, and from a week that is not over."""
    for suffix, name in (("", "XNYS"), (".T", "XTKS"), (".SS", "XSHG")):
        days = days_of(name)[300:]
        ends = ends_of(days, freq) + pd.Timedelta(hours=16)
        for i in range(12, len(ends) - 5):
            assert ahead_of(ends[:i], 5, suffix).equals(ends[i : i + 5])
    assert calendar_of(ends, ".SS") == "XSHG"
    good_friday = stamps("2017-04-13")  # closed on the next day
    weeks = ends_of(days_of("XNYS"), "W")
    past = weeks[weeks <= good_friday[0]]
    assert past[-1] == good_friday[0]
    assert ahead_of(past, 5).equals(
        pd.date_range("2017-04-21", periods=5, freq="W-FRI").as_unit("ns")
    )
    assert ahead_of(past[:-1].append(stamps("2017-04-11")), 1).equals(stamps("2017-04-21"))


@needs_package
@pytest.mark.parametrize("freq", ["W", "M", "Q"])
def test_weeks_and_months_by_their_first_sessions_go_on_so(freq):
    for suffix, name in (("", "XNYS"), (".L", "XLON"), (".T", "XTKS")):
        days = days_of(name)[300:]
        starts = pd.DatetimeIndex(days.to_series().groupby(days.to_period(freq)).min())[1:]
        for end in range(60, len(starts) - 5, 7):
            past = starts[:end]
            assert calendar_of(past, suffix) == name
            assert ahead_of(past, 5, suffix).equals(starts[end : end + 5])


@needs_package
def test_a_zone_tells_the_clock_and_the_exchange():
    hours = half_hours()[-3000:]
    utc = hours.tz_localize("America/New_York").tz_convert("UTC").tz_localize(None)
    assert market_of(hours, "X", zone="America/New_York") == (
        "XNYS",
        "America/New_York",
        "America/New_York",
    )
    assert market_of(utc, "X", zone="UTC") == ("XNYS", "UTC", "America/New_York")
    assert market_of(hours, "X") == ("XNYS", None, None)
    assert market_of(hours, "X", zone="Asia/Tokyo") == (None, "Asia/Tokyo", "UTC")  # its nights
    ahead = next_sessions(utc, 9, market_of(utc, "X", zone="UTC"))
    local = next_sessions(hours, 9, market_of(hours, "X", zone="America/New_York"))
    assert ahead.equals(local.tz_localize("America/New_York").tz_convert("UTC").tz_localize(None))
    for zone, name in (("Asia/Tokyo", "XTKS"), ("Europe/Berlin", "XETR"), ("Asia/Kolkata", "XBOM")):
        days = days_of(name)[-300:]
        assert calendar_of(days, "7203", zone=zone) == name and calendar_of(days, "7203") is None
        assert market_of(days, "7203", zone=zone).clock == zone  # midnights there
    currencies = pd.date_range("2019-10-14", "2019-11-22 21:00", freq="h")
    currencies = currencies[
        currencies.day_of_week < 5
    ]  # five days round the clock are no exchange's
    assert market_of(currencies, "EURUSD", zone="Europe/London") == (None, "Europe/London", "UTC")
    every = pd.date_range("2021-01-01", periods=400)
    assert market_of(every, "X", zone="America/New_York") == ("24/7", "America/New_York", None)
    assert market_of(every, "X", "24/7") == ("24/7", "UTC", "UTC")


@needs_package
def test_days_of_another_zone_are_read_where_they_are_midnights():
    tokyo = days_of("XTKS")[-300:]
    utc = (
        tokyo.tz_localize("Asia/Tokyo").tz_convert("UTC").tz_localize(None)
    )  # 15:00 on the day before
    market = market_of(utc, "7203.T", zone="UTC")
    assert market == ("XTKS", "UTC", "Asia/Tokyo")
    assert pd.DatetimeIndex(market.market_time(utc.to_numpy())).equals(tokyo)
    assert market_of(tokyo, "7203.T", zone="UTC") == ("XTKS", "UTC", None)  # labels stay labels
    assert calendar_of(utc, "7203.T") is None  # of an unknown zone


@needs_package
@pytest.mark.parametrize(
    "freq", ["W-MON", "W-WED", "W-FRI", "W-SAT", "W-SUN", "MS", "ME", "QE", "10D"]
)
def test_weeks_and_months_by_labels_stay_as_they_are(freq):
    every = pd.date_range("2015-01-01", "2023-12-31", freq=freq).as_unit("ns")
    for end in range(len(every) // 2, len(every) - 5, 3):
        past, then = every[:end], next_sessions(every[:end], 5)
        assert calendar_of(past, "KO") is None
        assert (
            sessions_ahead(past, 5, "XNYS")[0].equals(then)
            and sessions_ahead(past, 5, "XNYS")[1] == 5
        )


@needs_package
def test_no_other_market_is_taken_for_new_york():
    markets = [
        days_of(name)[300:] for name in ("XLON", "XETR", "XTKS", "XTSE", "XHKG", "XASX", "BVMF")
    ]
    markets += [
        pd.bdate_range("2002-01-01", "2025-12-31"),
        pd.date_range("2002-01-01", "2025-12-31"),
    ]
    for days in markets:
        taken = [
            calendar_of(days[i : i + 150], "X") == "XNYS" for i in range(0, len(days) - 150, 40)
        ]
        assert len(taken) > 100 and np.mean(taken) < 0.01


@needs_package
def test_currencies_round_the_clock_are_no_stocks():
    hours = pd.date_range("2019-10-14", "2019-11-22 16:00", freq="h")
    hours = hours[hours.day_of_week < 5]
    assert calendar_of(hours) is None
    assert (
        ahead_of(hours, 200).normalize().isin(stamps("2019-11-28")).any()
    )  # Thanksgiving is a day as any


@needs_package
def test_a_given_calendar_decides():
    dates = pd.bdate_range("2018-01-01", "2018-12-21")
    assert calendar_of(dates, "X", "NYSE") == calendar_of(dates, "X", {"X": "XNYS"}) == "XNYS"
    assert calendar_of(dates, "X", {"Y": "XNYS"}) is calendar_of(dates, "X", {"X": None}) is None
    london = ahead_of(dates, 3, "X", "XLON")
    assert london.equals(stamps("2018-12-24", "2018-12-27", "2018-12-28"))
    assert ahead_of(dates, 2, "X", "24/7").equals(stamps("2018-12-22", "2018-12-23"))


@needs_package
@pytest.mark.parametrize("bad", ["NYSX", "", "xnys ", 5, ["XNYS"], {"X": "nope"}, {"X": 5}])
def test_an_unknown_calendar_is_refused_with_names_that_there_are(bad):
    with pytest.raises(ConfigError, match="XNYS") as caught:
        calendar_of(pd.bdate_range("2018-01-01", periods=9), "X", bad)
    assert one_sentence(str(caught.value))


@needs_package
def test_beyond_the_range_of_a_calendar_the_pattern_goes_on(caplog):
    bound = calendar("XSHG", "2020-01-01", "2020-12-31").bound_max()
    every = pd.bdate_range(end=bound, periods=40)
    with caplog.at_level(logging.WARNING, "tftnhits"):
        ahead = ahead_of(every[:-2], 5, calendar="XSHG")
    assert "XSHG" in caplog.text
    assert ahead.equals(pd.bdate_range(every[-2], periods=5).as_unit("ns"))
    assert (
        sessions_ahead(every[:-2], 5, "XSHG")[1] == 2
        and sessions_ahead(every[:-2], 2, "XSHG")[1] == 2
    )
    assert calendar_of(pd.bdate_range("1900-01-01", periods=30), "1.SS") is None
    old = pd.bdate_range("1700-01-01", periods=30)
    assert len(ahead_of(old, 5)) == len(ahead_of(old, 5, calendar="XTKS")) == 5


@needs_package
def test_a_calendar_tells_as_far_as_it_goes():
    """Bombay's is drawn up a year at a time; Christmas is known to the last of its days."""
    end = pd.Timestamp(calendar("XBOM", "2020-01-01", "2020-12-31").bound_max())
    days = calendar("XBOM", f"{end.year - 2}-01-01", end).sessions.as_unit("ns").rename(None)
    last = days.searchsorted(end.replace(day=24), side="right")
    later = pd.bdate_range(end + pd.Timedelta(days=1), periods=8).as_unit("ns")
    assert len(pd.bdate_range(days[last - 1], end)) > len(
        days[last - 1 :]
    )  # days closed, yet usual by the pattern
    for past in (days[last - 300 : last], days[-300:], days[-300:].append(later[:5])):
        known, new = days[days > past[-1]], later[later > past[-1]]
        assert calendar_of(past, "X.NS") == "XBOM"
        ahead, told = sessions_ahead(past, len(known) + len(new), "XBOM")
        assert ahead.equals(known.append(new)) and told == len(known)
    hours = session(days[last - 60 : last], "09:15", "15:15", "60min")
    ahead, told = sessions_ahead(hours, told + 7 * (len(days) - last) + 3, "XBOM")
    assert told == len(ahead) - 3 == 7 * (len(days) - last)
    assert ahead[told:].equals(session(later[:1], "09:15", "11:15", "60min").as_unit("ns"))


@needs_package
def test_a_holiday_that_a_calendar_ends_on_is_known(monkeypatch):
    full, days = sessions._schedule("XNYS", 2010, 2019), days_of("XNYS")
    n, end = (
        np.searchsorted(full.day, np.datetime64("2017-12-25")),
        np.datetime64("2017-12-25", "ns"),
    )
    cut = sessions.Sessions(*(x[:n] for x in full[:6]), end, full.zone)
    monkeypatch.setattr(sessions, "_schedule", lambda *_: cut)
    past = days[days < "2017-12-22"][-300:]
    expected = stamps("2017-12-22", "2017-12-26", "2017-12-27")
    ahead, told = sessions_ahead(past, 3, "XNYS")
    assert ahead.equals(expected) and told == 1
    hours = session(past[-30:], freq="60min")
    ahead, told = sessions_ahead(hours, 21, "XNYS")
    assert ahead.equals(session(expected, freq="60min").as_unit("ns")) and told == 7


@needs_package
def test_without_the_package_the_pattern_is_inferred(monkeypatch):
    dates = days_of("XNYS")[:300]
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    sessions._schedule.cache_clear()
    try:
        assert calendar_of(dates, "X") is None and calendar_of(dates, "X", "24/7") == "24/7"
        with pytest.raises(MissingDependency, match="live-data") as caught:
            calendar_of(dates, "X", "XNYS")
        assert one_sentence(str(caught.value))
    finally:
        sessions._schedule.cache_clear()


@needs_package
def test_lengths_of_sessions():
    nyse = days_of("XNYS")
    nyse = nyse[(nyse > "2017-01-01") & (nyse < "2018-01-01")]
    found = pd.Series(session_lengths(nyse, "XNYS"), nyse)
    short = {"2017-07-03": np.log(3.5 / 6.5), "2017-11-24": np.log(3.5 / 6.5)}
    assert found[found != 0].index.equals(stamps(*short))
    np.testing.assert_allclose(found[found != 0], list(short.values()))
    bars = session(
        stamps("2017-11-22", "2017-11-24"), "04:00", "19:30"
    )  # those before and after hours too
    np.testing.assert_allclose(session_lengths(bars, "XNYS"), np.repeat([0, np.log(3.5 / 6.5)], 32))
    hong_kong = stamps("2019-12-23", "2019-12-24", "2019-12-27")  # lunch is no part of a full day
    np.testing.assert_allclose(session_lengths(hong_kong, "XHKG"), [0, np.log(2.5 / 5.5), 0])
    longer = stamps(
        "2024-11-01", "2024-11-05", "2024-11-06"
    )  # Tokyo closes half an hour later for good
    assert not session_lengths(longer, "XTKS").any()
    for dates, name in (
        (nyse, "24/7"),
        (nyse, None),
        (stamps("1900-01-01"), "XTKS"),
        (nyse[:0], "XNYS"),
    ):
        assert not session_lengths(dates, name).any()
    holiday = session_lengths(stamps("2017-12-25", "2017-07-03 12:00"), "XNYS")
    np.testing.assert_allclose(holiday, [0, np.log(3.5 / 6.5)])


@needs_package
def test_calendars_are_imported_only_for_dates():
    done = python(
        "import sys, tftnhits as tn\n"
        "bars = [[9.0, 9.2, 8.9, 9.1, 5.0]] * 30\n"
        "tn.make_panel(tn.load_bars(bars))\n"
        "assert 'exchange_calendars' not in sys.modules\n"
        "tn.make_panel(tn.load_bars(bars).assign(date='2020-01-02')[:1])\n"
        "assert 'exchange_calendars' in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr


@needs_package
def test_five_hundred_calendars_in_seconds():
    dates = days_of("XNYS")[:3000]
    ahead_of(dates, 5)
    start = time.perf_counter()
    for i in range(500):
        ahead_of(dates[i:], 5)
    assert time.perf_counter() - start < 10  # 0.5 s on a quiet machine; bench/latency.py measures


def test_a_zone_that_there_is_not():
    """It raised a ZoneInfoNotFoundError from deep inside."""
    with pytest.raises(ConfigError, match="There is no time zone 'New York'"):
        market_of(pd.bdate_range("2020-01-01", periods=40), zone="New York")
