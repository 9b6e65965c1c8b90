"""Bar times ahead from the pattern of bar times."""

import time

import numpy as np
import pandas as pd
import pytest

from tftnhits.data.calendars import bar_minutes, next_sessions


def stamps(*texts):
    return pd.DatetimeIndex(texts).as_unit("ns")


def session(days, start="09:30", end="15:30", freq="30min"):
    return pd.DatetimeIndex(
        np.concatenate([pd.date_range(f"{d:%Y-%m-%d} {start}", f"{d:%Y-%m-%d} {end}", freq=freq) for d in days])
    )


def test_no_dates_give_no_dates():
    for dates in (pd.DatetimeIndex([]), pd.DatetimeIndex([pd.NaT] * 4)):
        ahead = next_sessions(dates, 3)
        assert len(ahead) == 3 and ahead.isna().all() and np.isnan(bar_minutes(dates))


def test_business_days_skip_weekends():
    dates = pd.bdate_range("2020-01-01", "2020-06-05")  # ends on a Friday
    assert next_sessions(dates, 6).equals(pd.bdate_range("2020-06-08", periods=6).as_unit("ns"))
    assert bar_minutes(dates) == 1440


def test_business_days_with_holidays_and_one_saturday_session():
    dates = pd.bdate_range("2020-01-01", "2020-06-05").drop(pd.to_datetime(["2020-05-25", "2020-04-13"]))
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
    assert next_sessions(stamps("2020-06-05", "2020-06-06"), 2).equals(stamps("2020-06-07", "2020-06-08"))


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
    business = pd.bdate_range("2019-01-01", "2021-01-31").to_series().groupby(lambda d: (d.year, d.month)).max()
    assert next_sessions(pd.DatetimeIndex(business), 2).equals(stamps("2021-02-26", "2021-03-31"))
    thirtieth = stamps("2020-10-30", "2020-11-30", "2020-12-30", "2021-01-30")
    assert next_sessions(thirtieth.delete(0).insert(0, stamps("2020-10-15")[0]), 1).equals(stamps("2021-02-28"))


@pytest.mark.parametrize("weeks", [1, 6])
def test_sessions_of_half_hours(weeks):
    days = pd.bdate_range("2020-06-01", periods=5 * weeks)
    dates = session(days)
    after = session(pd.bdate_range(days[-1] + pd.Timedelta(days=1), periods=2))
    assert next_sessions(dates, 20).equals(after[:20].as_unit("ns"))
    assert next_sessions(dates[:-3], 5)[:3].equals(dates[-3:].as_unit("ns"))  # goes on within the session first
    assert bar_minutes(dates) == 30


def test_minutes_round_the_clock():
    dates = pd.date_range("2020-06-05 00:00", "2020-06-05 23:58", freq="min")
    assert next_sessions(dates, 3).equals(stamps("2020-06-05 23:59", "2020-06-06 00:00", "2020-06-06 00:01"))
    hours = pd.date_range("2020-05-01", "2020-06-05 22:00", freq="h")
    assert next_sessions(hours, 30).equals(pd.date_range("2020-06-05 23:00", periods=30, freq="h").as_unit("ns"))


def test_currencies_rest_from_friday_to_sunday_evening():
    hours = pd.date_range("2020-04-01", "2020-06-05 16:00", freq="h")
    rest = (hours.day_of_week == 5) | ((hours.day_of_week == 4) & (hours.hour >= 17))
    rest |= (hours.day_of_week == 6) & (hours.hour < 17)
    assert next_sessions(hours[~rest], 2).equals(stamps("2020-06-07 17:00", "2020-06-07 18:00"))


def test_irregular_stamps_go_on_by_the_median_step():
    rng = np.random.default_rng(0)
    dates = pd.DatetimeIndex(pd.Timestamp("2020-06-01") + pd.to_timedelta(rng.integers(40, 80, 9000).cumsum(), "s"))
    ahead = next_sessions(dates, 3)
    assert ((ahead - dates[-1]).total_seconds().to_numpy() > 30).all() and ahead.is_monotonic_increasing


def test_order_and_double_dates_do_not_matter():
    dates = pd.bdate_range("2020-01-01", "2020-06-05")
    mixed = dates[::-1].append(dates)
    assert next_sessions(mixed, 4).equals(next_sessions(dates, 4))


def test_five_hundred_symbols_in_two_seconds():
    dates = pd.bdate_range("2008-01-01", periods=3000)
    start = time.perf_counter()
    for _ in range(500):
        next_sessions(dates, 5)
    assert time.perf_counter() - start < 2
