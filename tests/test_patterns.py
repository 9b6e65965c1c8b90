"""Bar times ahead by the pattern of those before, where no calendar tells them."""

import numpy as np
import pandas as pd
import pytest

from tftnhits.data.calendars import next_sessions


def stamps(*texts):
    return pd.DatetimeIndex(texts).as_unit("ns")


def periods(freq, first="1996-01-01", last="2021-12-31"):
    return pd.date_range(first, last, freq=freq).as_unit("ns")


def half_hours(days):
    times = [pd.date_range(day + pd.Timedelta("9h30min"), periods=13, freq="30min") for day in days]
    return times[0].append(times[1:]).as_unit("ns")


def test_no_dates_give_no_dates():
    for dates in (pd.DatetimeIndex([]), pd.DatetimeIndex([pd.NaT] * 4)):
        ahead = next_sessions(dates, 3)
        assert len(ahead) == 3 and ahead.isna().all()


SPRING = pd.date_range("2020-01-01", "2020-06-05").as_unit("ns")  # ends on a Friday
WORKDAYS = SPRING[SPRING.day_of_week < 5]
STRAY = SPRING[(SPRING.day_of_week < 5) | (SPRING == "2020-05-16")]  # one Saturday


PLAIN = [
    (WORKDAYS, "2020-06-08 2020-06-09"),
    (STRAY.drop(stamps("2020-05-25", "2020-04-13")), "2020-06-08 2020-06-09"),
    (SPRING[~SPRING.day_of_week.isin([4, 5])], "2020-06-07 2020-06-08"),  # from Sunday on
    (SPRING, "2020-06-06 2020-06-07"),
    (WORKDAYS + pd.Timedelta("16h"), "2020-06-08T16:00 2020-06-09T16:00"),
    (WORKDAYS[::-1].append(WORKDAYS), "2020-06-08 2020-06-09"),
    (stamps("2020-06-05"), "2020-06-08 2020-06-09"),
    (stamps("2020-06-05", "2020-06-06"), "2020-06-07 2020-06-08"),
    (stamps("2021-03-31", "2021-04-30"), "2021-05-31 2021-06-30"),
    (stamps("2021-03-05", "2021-03-12", "2021-03-26"), "2021-04-02 2021-04-09"),
    (stamps("2020-10-15", "2020-11-30", "2020-12-30", "2021-01-30"), "2021-02-28"),
    (pd.date_range("2021-01-01", periods=9, freq="90h"), "2021-02-03T18:00"),
]


@pytest.mark.parametrize("dates, ahead", PLAIN)
def test_days_and_few_bars_go_on_by_the_plainest_pattern(dates, ahead):
    expected = stamps(*ahead.split())
    assert next_sessions(dates, len(expected)).equals(expected)


EVERY_DAY = periods("D", "2015-01-01")
MONTHS = periods("MS")
FREQS = "SMS SME MS ME BMS BME QS QE-JAN BQE 28D"
LONGER_BARS = {freq: periods(freq) for freq in FREQS.split()}
LONGER_BARS |= {
    "years": periods("YE", "1960-01-01"),
    "the 20th": MONTHS + pd.Timedelta(days=19),
    "the 30th": (MONTHS + pd.Timedelta(days=29)).where(MONTHS.month != 2, periods("ME")),
    "5-4-4 weeks": periods("7D")[np.cumsum(np.resize([5, 4, 4], 280)) - 5],
    "Tuesdays and Fridays": EVERY_DAY[EVERY_DAY.day_of_week.isin([1, 4])],
}


@pytest.mark.parametrize("name", LONGER_BARS)
def test_longer_bars_go_on_by_their_pattern(name):
    """At midnight and at four; with one stamp missing too."""
    every = LONGER_BARS[name]
    for end in np.linspace(24, len(every) - 6, 25).astype(int):
        past, then = every[:end], every[end : end + 5]
        assert next_sessions(past, 5).equals(then)
        afternoon = pd.Timedelta(hours=16)
        assert next_sessions(past + afternoon, 5).equals(then + afternoon)
        if end >= 40 and name != "5-4-4 weeks":
            assert next_sessions(past.delete(-9), 2).equals(then[:2])


@pytest.mark.parametrize("weeks", [1, 6])
def test_half_hours_keep_the_times_of_the_week(weeks):
    days = pd.bdate_range("2020-06-01", periods=5 * weeks)
    after = half_hours(pd.bdate_range(days[-1] + pd.Timedelta(days=1), periods=2))
    assert next_sessions(half_hours(days), 20).equals(after[:20])
    within = next_sessions(half_hours(days)[:-3], 5)[:3]  # goes on within the session first
    assert within.equals(half_hours(days)[-3:])


def test_hours_round_the_clock_and_the_rest_of_currencies():
    minutes = pd.date_range("2020-06-05 00:00", "2020-06-05 23:59", freq="min")
    assert next_sessions(minutes, 2).equals(stamps("2020-06-06 00:00", "2020-06-06 00:01"))
    hours = pd.date_range("2020-04-01", "2020-06-05 16:00", freq="h")
    day, hour = hours.day_of_week, hours.hour
    rest = (day == 5) | ((day == 4) & (hour >= 17)) | ((day == 6) & (hour < 17))
    assert next_sessions(hours[~rest], 2).equals(stamps("2020-06-07 17:00", "2020-06-07 18:00"))


def test_irregular_stamps_go_on_by_the_median_step():
    seconds = np.random.default_rng(0).integers(40, 80, 9000).cumsum()
    dates = pd.Timestamp("2020-06-01") + pd.to_timedelta(seconds, "s")
    ahead = next_sessions(dates, 3)
    assert ((ahead - dates[-1]) > pd.Timedelta("30s")).all() and ahead.is_monotonic_increasing
