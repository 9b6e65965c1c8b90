"""A column of dates: every notation, one reading for all of it, and the zone that it tells."""

import io

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars
from test_read import bars_of, inferred, lines, prices, refuses, same

import tftnhits as tn
from tftnhits.data.bars import load_bars
from tftnhits.data.dates import parse_dates
from tftnhits.errors import DataError

DAYS = pd.bdate_range("2020-01-02", periods=40)


def read(cells, **options):
    series = pd.Series(cells)
    return parse_dates(series, np.zeros(len(series), np.int64), **options)


@pytest.mark.parametrize(
    "form",
    [
        *(
            "%Y-%m-%d",
            "%Y/%m/%d",
            "%Y.%m.%d",
            "%Y%m%d",
            "%d.%m.%Y",
            "%d/%m/%Y",
            "%m/%d/%Y",
            "%d-%m-%y",
            "%y-%m-%d",
        ),
        *(
            "%d-%b-%y",
            "%d %b %Y",
            "%d %B %Y",
            "%b %d, %Y",
            "%B %d %Y",
            "%a, %d %b %Y",
            "%Y-%b-%d",
            "%Y年%m月%d日",
        ),
        *("%Y년 %m월 %d일", "%Y-%m-%d 00:00:00", "%Y-%m-%dT00:00:00.000", "%d-%m-%Y 12:00 AM"),
    ],
)
def test_days_in_many_notations(form):
    dates = read(DAYS.strftime(form))
    assert (dates.local == DAYS.to_numpy()).all() and not dates.bad.any() and not dates.doubt
    assert (read(DAYS.strftime(form)[::-1]).local == DAYS.to_numpy()[::-1]).all()


@pytest.mark.parametrize(
    "form",
    [
        "%Y%m%d%H%M",
        "%Y%m%d%H%M%S",
        "%Y%m%d%H%M%S000",
        "%Y%m%d %H%M%S",
        "%Y%m%d %H:%M",
        "%d.%m.%Y %H:%M:%S.000",
        "%m/%d/%Y %I:%M %p",
        "%d-%b-%Y %H:%M",
        "%Y%m%d%H",
        "%Y-%m-%d, %H:%M:%S",
    ],
)
def test_times_in_many_notations(form):
    hours = pd.date_range("2020-03-02 10:00", periods=60, freq="h")
    assert (read(hours.strftime(form)).local == hours.to_numpy()).all()
    if " " not in form and form != "%Y-%m-%d, %H:%M:%S":  # the same as numbers
        assert (read(hours.strftime(form).astype("int64")).local == hours.to_numpy()).all()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_time_since_1970_by_its_size(unit):
    hours = pd.date_range("2020-03-02 10:00", periods=60, freq="h")
    stamps = hours.as_unit(unit).astype("int64")
    for cells in (stamps, stamps.astype(str), stamps.astype(float) if unit != "ns" else stamps):
        assert (read(cells).local == hours.to_numpy()).all()


def test_months_and_years():
    months = pd.date_range("2010-01-01", periods=40, freq="MS")
    for form in ("%Y%m", "%Y-%m", "%b %Y"):
        assert (read(months.strftime(form)).local == months.to_numpy()).all()
    years = pd.date_range("1980-01-01", periods=40, freq="YS")
    assert (read(years.year).local == years.to_numpy()).all()


def test_the_whole_column_decides_which_number_is_the_month():
    """By what it allows, then by which reading lacks fewer days, weeks or months."""
    months = pd.date_range("2010-01-01", periods=100, freq="MS").strftime("%d/%m/%Y")
    assert read(months).local[1] == np.datetime64("2010-02-01") and not read(months).doubt
    early = pd.DatetimeIndex([d for d in pd.bdate_range("2020-01-01", "2020-06-30") if d.day <= 12])
    for form, first in (("%d/%m/%Y", "day first"), ("%m/%d/%Y", "month first")):
        dates = read(early.strftime(form))
        assert (dates.local == early.to_numpy()).all() and first in dates.notes[0][0]
        assert (read(early.strftime(form)[::-1]).local == early.to_numpy()[::-1]).all()


def test_where_both_readings_are_regular_the_result_says_so():
    days = pd.date_range("2020-01-01", periods=12)
    for dates in (
        days.strftime("%m/%d/%Y"),
        pd.date_range("2020-01-01", periods=12, freq="MS").strftime("%d/%m/%Y"),
    ):
        column = read(dates)
        assert (column.local == days.to_numpy()).all() and "dayfirst=True" in column.doubt
        assert "day first" in column.doubt and column.notes[0][0] == "ambiguous dates"
    text = "date,open,high,low,close\n" + "".join(f"{day:%m/%d/%Y},1,2,1,2\n" for day in days)
    bars = load_bars(io.StringIO(text))
    assert "month first" in bars.attrs["doubts"]["all"][0]
    other = load_bars(io.StringIO(text), dayfirst=True)
    assert other["date"][1] == pd.Timestamp("2020-02-01") and not other.attrs["doubts"]


def test_two_digits_of_a_year_are_of_the_past():
    for first in ("1955-01-03", "1990-01-03", "2019-01-03"):
        days = pd.bdate_range(first, periods=60)
        for form in ("%d/%m/%y", "%d-%b-%y", "%m/%d/%y"):
            assert (read(days.strftime(form)).local == days.to_numpy()).all()


def test_hours_of_few_days_tell_the_month():
    hours = pd.date_range("2020-03-02", periods=240, freq="h")  # days 2 to 11
    for form in ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"):
        assert (read(hours.strftime(form)).local == hours.to_numpy()).all()
    days = parse_dates(
        pd.Series(hours.strftime("%d/%m/%y")),
        np.zeros(240, int),
        pd.Series(hours.strftime("%H:%M")),
    )
    assert (days.local == hours.to_numpy()).all()


def test_zones_at_the_end_of_a_text():
    hours = pd.date_range("2020-03-02 10:00", periods=60, freq="h")
    for form, zone in (
        ("%Y%m%dT%H%M%SZ", ""),
        ("%Y%m%d %H:%M:%S US/Eastern", "US/Eastern"),
        ("%Y-%m-%dT%H:%M+0100", ""),
    ):
        dates = read(hours.strftime(form))
        assert (
            (dates.local == hours.to_numpy()).all() and dates.utc is not None and dates.zone == zone
        )


def test_a_reading_that_is_asked_for_and_impossible_is_refused():
    with pytest.raises(DataError, match="month first"):
        read(["13/01/2020", "14/01/2020"], dayfirst=False)


@pytest.mark.parametrize(
    "cell", ["soon", "5", "2020-13-45", "0001-01-01", "9999-12-31", "2020-01-02 25:61"]
)
def test_a_cell_that_is_no_date_is_told(cell):
    dates = read([*DAYS[:5].astype(str), cell])
    assert dates.bad.tolist() == [False] * 5 + [True]


# -- zones


def walk(index):
    return bars_of(size=len(index)).drop(columns=["symbol", "date"]).set_axis(index, axis=0)


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


def test_offsets_that_change_with_the_season_are_a_zone():
    days = pd.bdate_range("2024-02-01", periods=60)
    for zone in ("America/New_York", "Europe/Berlin", "Asia/Tokyo", "Asia/Kolkata"):
        index = (days + pd.Timedelta("10h")).tz_localize(zone)
        frame, csv = (
            load_bars(walk(index)),
            load_bars(io.StringIO(walk(index).rename_axis("Time").to_csv())),
        )
        pd.testing.assert_frame_equal(frame, csv)
        assert frame["date"][0] == index[0].tz_localize(None) and frame.attrs["zones"] == {
            "series": zone
        }
        offset = index[0].strftime("UTC%z")
        fixed = f"{offset[:6]}:{offset[6:]}"
        assert csv.attrs["zones"]["series"] == (
            zone if zone[0] in "AE" and zone[:4] != "Asia" else fixed
        )


def test_local_time_of_a_fixed_offset_is_kept():
    bars = bars_of(freq="h")
    text = "Local time,Open,High,Low,Close,Volume\n"
    text += lines(bars, lambda r: f"{r.date:%d.%m.%Y %H:%M:%S}.000 GMT+0800,{prices(r)},{r.volume}")
    out = load_bars(io.StringIO(text))
    same(out, bars, symbol=False)
    assert out.attrs["zones"] == {"series": "UTC+08:00"}
    zulu = load_bars(io.StringIO(text.replace(".000 GMT+0800", "Z")))
    assert zulu.attrs["zones"] == {"series": "UTC"}


def test_midnights_keep_their_day_over_a_clock_change():
    days = pd.bdate_range("2024-03-01", periods=20)
    csv = walk(days.tz_localize("America/New_York")).rename_axis("Date").to_csv()
    assert (load_bars(io.StringIO(csv))["date"].to_numpy() == days.to_numpy()).all()


def test_a_zone_stays_known_when_bars_are_read_again():
    bars = load_bars(walk(DAYS.tz_localize("Asia/Tokyo")), symbol="7203")
    assert load_bars(bars).attrs["zones"] == {"7203": "Asia/Tokyo"}


def test_times_of_a_clock_that_are_none_are_refused():
    bars = bars_of()
    text = "Date,Time,Open,High,Low,Close\n" + lines(
        bars, lambda r: f"{r.date:%Y-%m-%d},noon,{prices(r)}"
    )
    out = load_bars(io.StringIO(text))  # all at midnight, and the column is none of times
    same(out, bars, symbol=False, volume=False)
    refuses(text.replace("2015-03-02", "2015-13-02"), "column date", "2015-13-02")


def test_a_frame_its_csv_and_its_utc_twin_give_one_forecast():
    """Of New York's hours over a clock change, which only the calendar knows to come."""
    predictor = tn.Predictor.load()
    days = pd.bdate_range("2023-11-13", "2024-03-08")
    days = days.difference(
        pd.to_datetime(["2023-11-23", "2023-12-25", "2024-01-01", "2024-01-15", "2024-02-19"])
    )
    hours = [
        day + pd.Timedelta("9h30min") + i * pd.Timedelta("1h") for day in days for i in range(7)
    ]
    frame = walk(pd.DatetimeIndex(hours).tz_localize("America/New_York").rename("Datetime"))
    forecast = predictor.predict(frame)
    ahead = pd.date_range("2024-03-11 09:30", periods=5, freq="h")
    assert forecast.frame["date"].tolist() == ahead.tolist()
    for twin, shift in ((io.StringIO(frame.to_csv()), "0h"), (frame.tz_convert("UTC"), "4h")):
        other = predictor.predict(twin)
        assert other.frame["date"].tolist() == (ahead + pd.Timedelta(shift)).tolist()
        columns = forecast.frame.columns[4:]
        np.testing.assert_array_equal(other.frame[columns], forecast.frame[columns])


def test_a_fall_in_new_york_is_no_news_in_tokyo_before_it_happens():
    predictor = tn.Predictor.load()
    bars = made_bars(("AAPL", "7203.T"), 300)
    bars = pd.concat(
        [bars, *(bars[bars["symbol"] == "AAPL"].assign(symbol=name) for name in ("KO", "IBM"))]
    )
    fallen = bars.copy()
    last = (fallen["date"] == fallen["date"].max()) & (fallen["symbol"] != "7203.T")
    fallen.loc[last, ["low", "close"]] *= 0.92
    before, after = (predictor.predict(table).frame for table in (bars, fallen))
    tokyo = before["symbol"] == "7203.T"
    pd.testing.assert_frame_equal(before[tokyo], after[tokyo])
    assert (before[~tokyo]["lower"].to_numpy() != after[~tokyo]["lower"].to_numpy()).all()


def test_a_slip_among_numbers_is_what_a_message_names():
    """Of 20200101, ..., 5 the slip was read as the notation: row 1 was blamed, as np.int64(20200101)."""
    days = [*range(20200101, 20200110), 5]
    frame = pd.DataFrame({"date": days, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0})
    for bars in (frame, frame.astype({"date": str})):
        with pytest.raises(DataError, match=r"row 10, column date: '?5'? is not a date"):
            load_bars(bars)


def test_years_that_may_stand_first_are_to_be_written_out():
    """The doubt said dayfirst=False, which only raised that the dates can't be read month first."""
    cells = [f"20/01/{day:02}" for day in range(1, 11)]
    assert "but may be year first; write them as YYYY-MM-DD if so" in read(cells).doubt
