"""A column of dates: every notation, one reading for all of it, and the zone that it tells."""

import io

import numpy as np
import pandas as pd
import pytest
from test_read import bars_of, inferred, lines, prices, refuses, same

import tftnhits as tn
from tftnhits.data.bars import load_bars
from tftnhits.data.dates import parse_dates
from tftnhits.errors import DataError

DAYS = pd.bdate_range("2020-01-02", periods=40)
HOURS = pd.date_range("2020-03-02 10:00", periods=60, freq="h")
DAY_FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
DAY_FORMS += ("%d-%m-%y", "%y-%m-%d", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d %Y")
DAY_FORMS += ("%a, %d %b %Y", "%Y-%b-%d", "%Y年%m月%d日", "%Y년 %m월 %d일", "%Y-%m-%d 00:00:00")
DAY_FORMS += ("%Y-%m-%dT00:00:00.000", "%d-%m-%Y 12:00 AM")
HOUR_FORMS = ("%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S000", "%Y%m%d %H%M%S", "%Y%m%d %H:%M")
HOUR_FORMS += ("%d.%m.%Y %H:%M:%S.000", "%m/%d/%Y %I:%M %p", "%d-%b-%Y %H:%M", "%Y%m%d%H")
HOUR_FORMS += ("%Y-%m-%d, %H:%M:%S",)


def read(cells, **options):
    series = pd.Series(cells)
    return parse_dates(series, np.zeros(len(series), np.int64), **options)


@pytest.mark.parametrize("form", DAY_FORMS)
def test_days_in_many_notations(form):
    dates = read(DAYS.strftime(form))
    assert (dates.local == DAYS.to_numpy()).all() and not dates.bad.any() and not dates.doubt
    assert (read(DAYS.strftime(form)[::-1]).local == DAYS.to_numpy()[::-1]).all()


@pytest.mark.parametrize("form", HOUR_FORMS)
def test_times_in_many_notations(form):
    cells = HOURS.strftime(form)
    assert (read(cells).local == HOURS.to_numpy()).all()
    if cells[0].isdigit():  # the same as numbers
        assert (read(cells.astype("int64")).local == HOURS.to_numpy()).all()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_time_since_1970_by_its_size(unit):
    stamps = HOURS.as_unit(unit).astype("int64")
    for cells in (stamps, stamps.astype(str), stamps.astype(float) if unit != "ns" else stamps):
        assert (read(cells).local == HOURS.to_numpy()).all()


def test_months_and_years():
    months = pd.date_range("2010-01-01", periods=40, freq="MS")
    for form in ("%Y%m", "%Y-%m", "%b %Y"):
        assert (read(months.strftime(form)).local == months.to_numpy()).all()
    years = pd.date_range("1980-01-01", periods=40, freq="YS")
    assert (read(years.year).local == years.to_numpy()).all()


def test_the_whole_column_decides_which_number_is_the_month():
    """By what it allows, then by which reading goes forward in the more even steps."""
    months = pd.date_range("2010-01-01", periods=100, freq="MS").strftime("%d/%m/%Y")
    assert read(months).local[1] == np.datetime64("2010-02-01") and not read(months).doubt
    early = pd.DatetimeIndex([d for d in pd.bdate_range("2020-01-01", "2020-06-30") if d.day <= 12])
    for form, first in (("%d/%m/%Y", "day first"), ("%m/%d/%Y", "month first")):
        dates = read(early.strftime(form))
        assert (dates.local == early.to_numpy()).all() and first in dates.notes[0][0]
        assert (read(early.strftime(form)[::-1]).local == early.to_numpy()[::-1]).all()
        assert (read(early[:8].strftime(form)).local == early.to_numpy()[:8]).all()  # no weekends


def test_hours_of_few_days_tell_the_month():
    hours = pd.date_range("2020-03-02", periods=240, freq="h")  # days 2 to 11
    for form in ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"):
        assert (read(hours.strftime(form)).local == hours.to_numpy()).all()
    joined = read(hours.strftime("%d/%m/%y"), clock=pd.Series(hours.strftime("%H:%M")))
    assert (joined.local == hours.to_numpy()).all()


def test_where_both_readings_are_regular_the_result_says_so():
    days = pd.date_range("2020-01-01", periods=12)
    months = pd.date_range("2020-01-01", periods=12, freq="MS")
    for dates in (days.strftime("%m/%d/%Y"), months.strftime("%d/%m/%Y")):
        column = read(dates)
        assert (column.local == days.to_numpy()).all() and "dayfirst=True" in column.doubt
        assert "day first" in column.doubt and column.notes[0][0] == "ambiguous dates"
    text = "date,open,high,low,close\n" + "".join(f"{day:%m/%d/%Y},1,2,1,2\n" for day in days)
    assert "month first" in load_bars(io.StringIO(text)).attrs["doubts"]["all"][0]
    other = load_bars(io.StringIO(text), dayfirst=True)
    assert other["date"][1] == pd.Timestamp("2020-02-01") and not other.attrs["doubts"]
    assert "year first" in read([f"20/01/{day:02}" for day in range(1, 11)]).doubt
    with pytest.raises(DataError, match="month first"):
        read(["13/01/2020", "14/01/2020"], dayfirst=False)


def test_two_digits_of_a_year_are_of_the_past():
    for first in ("1955-01-03", "1990-01-03", "2019-01-03"):
        days = pd.bdate_range(first, periods=60)
        for form in ("%d/%m/%y", "%d-%b-%y", "%m/%d/%y"):
            assert (read(days.strftime(form)).local == days.to_numpy()).all()


@pytest.mark.parametrize(
    "cell", ["soon", "5", "2020-13-45", "0001-01-01", "9999-12-31", "2020-01-02 25:61"]
)
def test_a_cell_that_is_no_date_is_told(cell):
    dates = read([*DAYS[:5].astype(str), cell])
    assert dates.bad.tolist() == [False] * 5 + [True]


def test_a_slip_among_numbers_is_what_a_message_names():
    """Of 20200101, ..., 5 the slip was read as the notation, and row 1 was blamed."""
    frame = pd.DataFrame({"date": [*range(20200101, 20200110), 5], "open": 2.0, "high": 3.0})
    for bars in (frame, frame.astype({"date": str})):
        refuses(bars.assign(low=1.0, close=2.0), "row 10, column date", "5", "is not a date")
    refuses(bars_of().astype({"date": str}).replace("2015-03-02", "2015-13-02"), "2015-13-02")


# -- zones


def walk(index):
    return bars_of(size=len(index)).drop(columns=["symbol", "date"]).set_axis(index, axis=0)


@pytest.mark.parametrize(
    ("form", "zone"),
    [("%Y%m%dT%H%M%SZ", ""), ("%Y%m%d %H:%M:%S US/Eastern", "US/Eastern"), ("%FT%H:%M+0100", "")],
)
def test_zones_at_the_end_of_a_text(form, zone):
    dates = read(HOURS.strftime(form))
    assert (dates.local == HOURS.to_numpy()).all() and dates.utc is not None and dates.zone == zone


def test_the_hour_that_comes_twice_is_two_bars():
    hours = pd.date_range("2023-10-28", "2023-11-10", freq="h", tz="UTC")
    for zone in ("America/New_York", "Europe/London", "Australia/Lord_Howe"):
        local = walk(hours.tz_convert(zone))
        frame = load_bars(local)
        csv = load_bars(io.StringIO(local.rename_axis("Datetime").to_csv()))
        assert len(frame) == len(hours) == len(csv)
        if zone != "Australia/Lord_Howe":  # whose clocks went forward earlier
            assert frame.attrs["zones"] == csv.attrs["zones"] == {"series": "UTC"}
            assert (frame["date"].to_numpy() == hours.tz_localize(None).to_numpy()).all()
            assert "mixed time zones turned into UTC" in inferred(frame)
        pd.testing.assert_frame_equal(frame, csv)


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        *((zone, zone) for zone in ("America/New_York", "Europe/Berlin")),
        *(("Asia/Tokyo", "UTC+09:00"), ("Asia/Kolkata", "UTC+05:30")),
    ],
)
def test_offsets_that_change_with_the_season_are_a_zone(zone, told):
    index = (pd.bdate_range("2024-02-01", periods=60) + pd.Timedelta("10h")).tz_localize(zone)
    frame = load_bars(walk(index))
    csv = load_bars(io.StringIO(walk(index).rename_axis("Time").to_csv()))
    pd.testing.assert_frame_equal(frame, csv)
    assert frame["date"][0] == index[0].tz_localize(None)
    assert frame.attrs["zones"] == {"series": zone} and csv.attrs["zones"] == {"series": told}
    again = load_bars(frame)  # a zone stays known when bars are read again
    assert again.attrs["zones"] == frame.attrs["zones"]


def test_local_time_of_a_fixed_offset_is_kept():
    bars = bars_of(freq="h")
    text = "Local time,Open,High,Low,Close,Volume\n"
    text += lines(bars, lambda r: f"{r.date:%d.%m.%Y %H:%M:%S}.000 GMT+0800,{prices(r)},{r.volume}")
    for offset, zone in ((".000 GMT+0800", "UTC+08:00"), ("Z", "UTC")):
        out = load_bars(io.StringIO(text.replace(".000 GMT+0800", offset)))
        same(out, bars, symbol=False)
        assert out.attrs["zones"] == {"series": zone}


def test_midnights_keep_their_day_over_a_clock_change():
    days = pd.bdate_range("2024-03-01", periods=20)
    csv = walk(days.tz_localize("America/New_York")).rename_axis("Date").to_csv()
    assert (load_bars(io.StringIO(csv))["date"].to_numpy() == days.to_numpy()).all()


def test_times_of_several_zones_become_utc():
    cells = ["2020-01-02 09:30+01:00", "2020-01-03 09:30:00-0500", "2020-01-06 09:30Z"]
    bars = load_bars(bars_of(size=3).assign(date=cells))
    assert bars["date"].dt.strftime("%H:%M").tolist() == ["08:30", "14:30", "09:30"]
    assert "mixed time zones turned into UTC" in inferred(bars)


# -- forecasts


def test_a_frame_its_csv_and_its_utc_twin_give_one_forecast():
    """Of New York's hours over a clock change, which only the calendar knows to come."""
    predictor = tn.Predictor.load()
    closed = ["2023-11-23", "2023-12-25", "2024-01-01", "2024-01-15", "2024-02-19"]
    days = pd.bdate_range("2023-11-13", "2024-03-08").difference(pd.to_datetime(closed))
    hours = [day + pd.Timedelta(hours=9.5 + i) for day in days for i in range(7)]
    frame = walk(pd.DatetimeIndex(hours).tz_localize("America/New_York").rename("Datetime"))
    forecast = predictor.predict(frame)
    ahead = pd.date_range("2024-03-11 09:30", periods=5, freq="h")
    assert forecast.frame["date"].tolist() == ahead.tolist()
    for twin, shift in ((io.StringIO(frame.to_csv()), "0h"), (frame.tz_convert("UTC"), "4h")):
        other = predictor.predict(twin)
        assert other.frame["date"].tolist() == (ahead + pd.Timedelta(shift)).tolist()
        columns = forecast.frame.columns[4:]
        np.testing.assert_array_equal(other.frame[columns], forecast.frame[columns])
