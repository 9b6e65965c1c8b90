"""Validation: each repair, each error, and hundreds of random broken frames."""

import time
import warnings
from datetime import datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tftnhits.data.bars import load_bars, repairs, validate_bars
from tftnhits.data.cells import MAX_SYMBOL
from tftnhits.data.names import COLUMNS, PRICES
from tftnhits.data.repair import MAX_RUN
from tftnhits.errors import DataError, TftnhitsError

NAN = np.nan


def frame(n=8, symbol="A", start="2020-01-06", freq="B"):
    """Bars that need no repair, with closes 100, 101, …"""
    close = 100.0 + np.arange(n)
    bars = pd.DataFrame({"symbol": symbol, "date": pd.date_range(start, periods=n, freq=freq)})
    return bars.assign(
        open=close - 0.5, high=close + 1, low=close - 1, close=close, volume=1000.0 + np.arange(n)
    )


def edited(changes, **options):
    bars = frame(**options)
    for (row, column), value in changes.items():
        if not isinstance(value, float):
            bars[column] = bars[column].astype(object)
        bars.loc[row, column] = value
    return bars


def repaired(source, **counts):
    """The bars, after checking that the report has just these repairs (spaces as underscores)."""
    bars, report = validate_bars(source)
    assert report.groupby("repair")["count"].sum().to_dict() == {
        k.replace("_", " "): v for k, v in counts.items()
    }
    assert (report["count"] > 0).all() and tuple(report.columns) == (
        "symbol",
        "repair",
        "count",
        "first",
        "example",
    )
    sound(bars)
    return bars


def sound(bars):
    """What every validated frame promises; a second pass finds nothing."""
    assert tuple(bars.columns) == COLUMNS and len(bars) and isinstance(bars.index, pd.RangeIndex)
    prices = bars[list(PRICES)].to_numpy()
    assert np.isfinite(prices).all() and (prices > 0).all()
    assert (bars["high"] == prices.max(axis=1)).all() and (bars["low"] == prices.min(axis=1)).all()
    assert not (bars["volume"] <= 0).any() and not np.isinf(bars["volume"]).any()
    assert (
        bars["date"].dtype == "datetime64[ns]"
        and bars["date"].isna().all() | bars["date"].notna().all()
    )
    assert bars["symbol"].is_monotonic_increasing
    for _, part in bars.groupby("symbol"):
        assert part["date"].isna().all() or part["date"].diff().dropna().gt(pd.Timedelta(0)).all()
    again, report = validate_bars(bars)
    pd.testing.assert_frame_equal(again, bars)
    assert report.empty


def fails(source, *parts):
    with pytest.raises(DataError) as caught:
        validate_bars(source)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert message.endswith(".") and "\n" not in message


# -- repairs


def test_clean_bars_are_left_as_they_are():
    source = frame()
    before = source.copy()
    pd.testing.assert_frame_equal(repaired(source), before.astype({"date": "datetime64[ns]"}))
    pd.testing.assert_frame_equal(source, before)


def test_missing_cells():
    assert (
        repaired(edited({(3, "open"): NAN}), missing_open_filled=1)["open"][3] == 102
    )  # the previous close
    assert (
        repaired(edited({(0, "open"): NAN}), missing_open_filled=1)["open"][0] == 100
    )  # no previous: its close
    assert (
        repaired(edited({(3, "open"): NAN, (3, "low"): 102.5}), missing_open_filled=1)["open"][3]
        == 102.5
    )
    assert repaired(edited({(3, "high"): NAN}), missing_high_filled=1)["high"][3] == 103
    assert repaired(edited({(3, "low"): NAN}), missing_low_filled=1)["low"][3] == 102.5
    assert (
        repaired(edited({(3, "close"): NAN}), missing_close_filled=1)["close"][3] == 102.5
    )  # its open
    both = {(3, "open"): NAN, (3, "close"): NAN}
    bars = repaired(edited(both), missing_open_filled=1, missing_close_filled=1)
    assert bars.loc[3, ["open", "close"]].tolist() == [102, 102]
    first = edited({(0, "open"): NAN, (0, "close"): NAN, (0, "high"): NAN})
    bars = repaired(first, missing_open_filled=1, missing_close_filled=1, missing_high_filled=1)
    assert (bars.loc[0, list(PRICES)] == 99).all()


def test_filling_never_looks_into_another_symbol():
    second = edited({(0, "open"): NAN, (0, "close"): NAN}, symbol="B")
    bars = repaired(pd.concat([frame(), second]), missing_open_filled=1, missing_close_filled=1)
    assert (
        bars[bars["symbol"] == "B"]["close"].iloc[0] == 100
    )  # the middle of its own range, not A's 107


def test_rows_without_prices_are_no_bars():
    """Of a common index, say: a holiday here is a session elsewhere, and before listing there is nothing."""
    gap = edited({(row, column): NAN for row in (0, 4, 5, 11) for column in PRICES}, n=12)
    bars = repaired(gap, row_without_prices_removed=4)
    assert bars["close"].tolist() == [101, 102, 103, 106, 107, 108, 109, 110]
    gone = frame(symbol="B").assign(open=NAN, high=NAN, low=NAN, close=NAN)
    both = repaired(pd.concat([frame(), gone]), row_without_prices_removed=8)
    assert (
        both["symbol"].unique().tolist() == ["A"]
        and "no price at all" in both.attrs["skipped"]["B"]
    )


def test_long_runs_without_prices_are_told_but_for_the_time_before_listing():
    size = MAX_RUN + 1
    for rows, told in (
        (range(size), 0),
        (range(2, 2 + size), 1),
        (range(16 - size, 16), 1),
        (range(2, 1 + size), 0),
    ):
        bars = load_bars(edited({(row, column): NAN for row in rows for column in PRICES}, n=16))
        assert len(bars.attrs["doubts"].get("A", [])) == told
    assert (
        f"A has no prices in {size} rows after 2020-01-14" in bars.attrs["doubts"].get("A", [""])[0]
        or told == 0
    )


def test_impossible_ranges():
    bars = repaired(edited({(3, "high"): 102.0}), high_below_open_or_close_raised=1)
    assert bars["high"][3] == 103
    assert (
        repaired(edited({(3, "low"): 102.75}), low_above_open_or_close_lowered=1)["low"][3] == 102.5
    )
    swapped = repaired(edited({(3, "low"): 104.0, (3, "high"): 102.0}), high_below_low_swapped=1)
    assert swapped.loc[3, ["high", "low"]].tolist() == [104, 102]
    report = validate_bars(edited({(3, "high"): 102.0}))[1].iloc[0]
    assert report.tolist() == [
        "A",
        "high below open or close raised",
        1,
        "2020-01-09",
        "high 102 -> 103",
    ]
    assert (
        repaired(edited({(3, "low"): 0.0}), zero_low_taken_as_missing=1, missing_low_filled=1)[
            "low"
        ][3]
        == 102.5
    )


def test_volume():
    bad = edited(
        {(1, "volume"): -5.0, (2, "volume"): np.inf, (3, "volume"): 0.0, (4, "volume"): NAN}
    )
    bars = repaired(bad, negative_or_infinite_volume_removed=2, zero_volume_taken_as_missing=1)
    assert bars["volume"].isna().tolist() == [False, True, True, True, True, False, False, False]
    assert repaired(frame().drop(columns="volume"), no_volume_column=8)["volume"].isna().all()
    assert repaired(frame().assign(volume=0), zero_volume_taken_as_missing=8)["volume"].isna().all()


def test_numbers_as_text():
    text = edited(
        {(1, "close"): " 1,234.5", (2, "close"): "102", (3, "close"): "n/a", (1, "high"): "+1,300"}
    )
    bars = repaired(text, number_written_as_text=3, missing_close_filled=1)
    assert bars["close"].tolist()[:4] == [100, 1234.5, 102, 102.5] and bars["high"][1] == 1300


def test_order_and_copies():
    expected = frame().astype({"date": "datetime64[ns]"})
    falling = frame()[::-1]
    pd.testing.assert_frame_equal(repaired(falling, descending_dates_reversed=8), expected)
    both = pd.concat([falling, frame(symbol="B")])
    assert (
        repaired(both, descending_dates_reversed=8)["close"].tolist()
        == expected["close"].tolist() * 2
    )
    again = repaired(pd.concat([frame(), frame()]), rows_sorted_by_date=16, duplicate_row_removed=8)
    pd.testing.assert_frame_equal(again, expected)
    beside = frame().loc[[*range(8), *range(8)]].sort_index()
    pd.testing.assert_frame_equal(repaired(beside, duplicate_row_removed=8), expected)


def test_other_columns_and_blank_rows():
    assert len(repaired(frame().assign(adj=1.0, note="x"), extra_column_ignored=2)) == 8
    blank = pd.concat([frame(), pd.DataFrame({"symbol": ["A"]})])
    assert len(repaired(blank, blank_row_removed=1)) == 8
    assert (
        repaired(frame().drop(columns="date"), **{"no_dates,_the_order_given_is_kept": 8})["date"]
        .isna()
        .all()
    )


# -- errors


@pytest.mark.parametrize("column", PRICES)
def test_prices_that_cannot_be(column):
    where = ("A, row 4 (2020-01-09)", f"column {column}")
    fails(edited({(3, column): -1.5}), *where, "-1.5", "positive")
    fails(edited({(3, column): np.inf}), *where, "inf", "finite")
    fails(edited({(3, column): 1e16}), *where, "1e+16", "unit")
    fails(edited({(3, column): 1e-13}), *where, "1e-13", "unit")
    if column == "close":
        fails(edited({(3, column): 0.0}), *where, "is 0", "positive")
    for value in ("cheap", "10,5", "1_000", True, [1], datetime(2020, 1, 1), 1j, "0x10"):
        fails(edited({(3, column): value}), *where, "is not a number", str(value)[:4].strip("("))
    fails(
        frame().assign(**{column: pd.Timestamp("2020-01-01")}),
        "A, row 1",
        f"column {column}",
        "not a number",
    )


@pytest.mark.parametrize("column", PRICES[:3])
def test_a_zero_beside_a_close_is_a_missing_price(column):
    counts = {f"zero_{column}_taken_as_missing": 1, f"missing_{column}_filled": 1}
    assert 102 <= repaired(edited({(3, column): 0.0}), **counts)[column][3] <= 103
    fails(edited({(3, column): 0.0, (3, "close"): NAN}), f"column {column} is 0")
    nothing = edited({(3, name): 0.0 for name in PRICES})
    assert (
        len(repaired(nothing, row_of_zeros_taken_as_missing=1, row_without_prices_removed=1)) == 7
    )


def test_rows_in_any_order_are_sorted():
    for rows in ([0, 1, 3, 2, 4, 5, 6, 7], [7, 6, 4, 5, 3, 2, 1, 0]):
        pd.testing.assert_frame_equal(
            repaired(frame().iloc[rows], rows_sorted_by_date=8),
            frame().astype({"date": "datetime64[ns]"}),
        )


def test_dates_that_cannot_be():
    twice = pd.concat([frame(), frame().iloc[[7]].assign(close=107.5)])
    fails(twice, "A, row 9 (2020-01-15)", "close 107.5 instead of 107 in row 8")
    fails(edited({(3, "date"): "soon"}), "A, row 4", "'soon' is not a date")
    fails(edited({(3, "date"): None}), "A, row 4", "column date is empty")
    undated = pd.concat([frame(), frame(symbol="B").assign(date=pd.NaT)])
    fails(undated, "B, row 9", "column date is empty")


@pytest.mark.parametrize("column", ["close", "date"])
def test_cells_that_can_not_be_shown_whole(column):
    for cell in (10**5000, pd.DataFrame(), pd.Series([1.0, 2.0]), "x" * 5000, [[1]] * 500, 1j):
        bars = frame().astype({column: object})
        bars[column] = pd.Series([*bars[column][:3], cell, *bars[column][4:]], dtype=object)
        with pytest.raises(DataError) as caught:
            validate_bars(bars)
        message = str(caught.value)
        assert (
            column in message
            and len(message) < 400
            and message.endswith(".")
            and message.isprintable()
        )


def test_a_signalling_nan_is_a_missing_number_and_no_date_or_symbol():
    bars = repaired(
        edited({(3, "close"): Decimal("sNaN"), (4, "close"): Decimal("104")}),
        missing_close_filled=1,
    )
    assert bars["close"].tolist()[3:5] == [102.5, 104]
    fails(edited({(3, "date"): Decimal("sNaN")}), "Column date", "aren't dates")
    fails(edited({(3, "symbol"): Decimal("sNaN")}), "Column symbol", "aren't text")


def test_symbols_that_no_message_or_file_name_could_carry():
    for name in ("A\0B", "A\nB", "\x1b[31mA", "A\u2028B", "A\x85B", "x" * (MAX_SYMBOL + 1)):
        fails(
            pd.concat([frame(), frame(symbol=name)]),
            "Row 9 has the symbol",
            f"at most {MAX_SYMBOL} characters",
        )
    for name in (
        "x" * MAX_SYMBOL,
        "日本",
        "A\u00a0B",
        "../../x",
        "\U0001f600",
    ):  # odd, but one line
        assert repaired(frame(symbol=name))["symbol"].unique().tolist() == [name]


def test_gaps_beyond_repair():
    size = MAX_RUN + 3
    gap = edited(
        {(row, column): NAN for row in range(2, 2 + size) for column in ("close", "high")}, n=16
    )
    fails(gap, f"A has no close in {size} bars in a row, from 2020-01-08 to 2020-01-17")
    fails(
        edited({(row, "close"): NAN for row in range(MAX_RUN + 1)}), "from 2020-01-06 to 2020-01-13"
    )
    apart = {(row, "close"): NAN for row in (0, 1, 2, 5, 6, 7)}
    two = pd.concat(
        [edited(apart), edited(apart, symbol="B")]
    )  # three at A's end, three at B's start: no run
    assert len(repaired(two, missing_close_filled=12)) == 16
    fails(frame().assign(open=NAN, high=NAN, low=NAN, close=NAN), "No row has a price")


def test_frames_that_are_none():
    fails([1, 2], "data frame")
    fails(pd.DataFrame(), "Missing column symbol, open, high, low, close; found none")
    fails(frame().drop(columns="close"), "Missing column close; found symbol, date")
    fails(frame().iloc[:0], "no bars")
    doubled = pd.concat([frame(), frame()["close"]], axis=1)
    fails(doubled, "Column close is there more than once")
    fails(edited({(2, "symbol"): None}), "Row 3 has no symbol")


def test_five_hundred_symbols_in_seconds():
    bars = pd.concat([frame(n=3000, symbol=f"S{i:03}") for i in range(100)], ignore_index=True)
    bars.loc[::1000, "open"] = NAN
    start = time.perf_counter()
    clean, report = validate_bars(bars)
    assert time.perf_counter() - start < 3  # 300,000 rows; about 0.2 s on an idle core
    assert len(clean) == 300_000 and report["count"].sum() == 300


# -- whatever comes


TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
PLAIN = st.floats(1, 100) | st.just(NAN)
ODD = st.sampled_from(
    [
        0,
        0.0,
        -1.0,
        np.inf,
        -np.inf,
        1e300,
        1e-300,
        None,
        pd.NA,
        pd.NaT,
        True,
        10**400,
        3 + 1j,
        [1.0],
        {},
        (),
        b"5",
    ]
    + ["", "x", "1,234.5", "12", "nan", "inf", "1e999", "é\u0000"]
    + [np.datetime64("2020-01-01"), pd.Timestamp("2020"), pd.Timedelta(1)]
)
NUMBER = st.one_of(PLAIN, PLAIN, PLAIN, ODD, st.floats(), st.integers(), st.text(max_size=4))
ODD_DATE = st.sampled_from(
    [
        "2020-01-02",
        "2020-01-02T00:00Z",
        "2020-01-02 09:30+05:30",
        "02/01/2020",
        "1.2.2020",
        "soon",
        "",
        "99999999",
    ]
    + ["9999-12-31", "24:00", "2020-01-02 25:61", "12345678901234567890"]
    + [
        None,
        pd.NaT,
        20200102,
        2e7,
        NAN,
        np.inf,
        -1,
        10**30,
        True,
        [],
        np.datetime64("1500-01-01", "s"),
    ]
    + [datetime(2020, 1, 2, tzinfo=timezone.utc), pd.Timestamp("2020-01-02", tz="Asia/Tokyo")]
)
DATE = st.one_of(
    TIMES, TIMES.map(str), ODD_DATE, st.text(max_size=6), st.integers(-(10**20), 10**20)
)
LABELS = st.sampled_from(
    [*COLUMNS, "Open", "CLOSE", "Adj Close", "ticker", "timestamp", "", 0, None, ("a", "b")]
)


@st.composite
def dates(draw, size):
    kind = draw(
        st.sampled_from(
            ["daily", "falling", "zoned", "text", "number", "none", "any", "any", "far"]
        )
    )
    days = pd.date_range(
        "2020-01-01", periods=size, freq=draw(st.sampled_from(["B", "D", "h", "7D"]))
    )
    if kind == "any":
        return draw(st.lists(DATE, min_size=size, max_size=size))
    if kind == "zoned":
        return days.tz_localize(draw(st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"])))
    return {
        "falling": days[::-1],
        "text": days.astype(str),
        "number": days.strftime("%Y%m%d").astype("int64"),
        "none": [pd.NaT] * size,
        "far": np.arange(size).astype("datetime64[Y]") + 10_000,
    }.get(kind, days)


def series(values):
    """With the type that pandas finds, unless it trips over 10**400."""
    try:
        return pd.Series(list(values), dtype=None if len(values) else float)
    except OverflowError:
        return pd.Series(list(values), dtype=object)


@st.composite
def broken(draw):
    """A frame of 0 to 8 bars, from nearly sound to hopeless."""
    size = draw(st.integers(0, 8))
    base = np.linspace(50, 60, size)
    data = {
        "symbol": draw(
            st.sampled_from(
                [["A"] * size, (["B", "A"] * 4)[:size], [*["A"] * (size - 1), None][:size]]
            )
        )
    }
    data["date"] = draw(dates(size))
    for name in COLUMNS[2:]:
        kind = draw(st.sampled_from(["sound", "sound", "plain", "holes", "any", "text"]))
        if kind == "sound":
            data[name] = base + {"high": 2, "low": -2}.get(name, 0)
        elif kind == "holes":
            data[name] = np.where(
                draw(st.lists(st.booleans(), min_size=size, max_size=size)), base, NAN
            )
        elif kind == "text":
            data[name] = [f"{value:,.2f}" for value in base * 100]
        else:
            data[name] = draw(
                st.lists(PLAIN if kind == "plain" else NUMBER, min_size=size, max_size=size)
            )
    frame = pd.DataFrame({name: series(values) for name, values in data.items()})
    if draw(st.booleans()):
        frame = frame.drop(
            columns=draw(st.lists(st.sampled_from(frame.columns.tolist()), max_size=1))
        )
    if draw(st.integers(0, 9)) == 0:
        frame.columns = pd.Index(
            draw(st.lists(LABELS, min_size=frame.shape[1], max_size=frame.shape[1])),
            tupleize_cols=False,
        )
    order = (
        draw(st.sampled_from(["as is", "as is", "shuffled", "doubled", "reversed"]))
        if size
        else "as is"
    )
    if order == "shuffled":
        frame = frame.iloc[draw(st.permutations(range(size)))]
    elif order == "doubled":
        frame = pd.concat([frame, frame.iloc[: draw(st.integers(1, size))]])
    return frame[::-1] if order == "reversed" else frame


OUTCOMES = {"repaired": 0, "refused": 0}


@settings(
    max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(broken())
def check_whatever(source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about the odd frames that this builds
        for read in (validate_bars, load_bars):
            try:
                result = read(source)
            except TftnhitsError as error:
                OUTCOMES["refused"] += 1
                assert str(error)
                continue
            OUTCOMES["repaired"] += 1
            bars = result if isinstance(result, pd.DataFrame) else result[0]
            sound(bars)
            assert repairs(load_bars(bars)).empty


def test_any_frame_ends_in_sound_bars_or_a_typed_error():
    OUTCOMES.update(repaired=0, refused=0)
    check_whatever()
    assert min(OUTCOMES.values()) >= 100, (
        OUTCOMES
    )  # the frames are neither all hopeless nor all sound


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.recursive(
        NUMBER,
        lambda cells: st.lists(cells, max_size=6) | st.dictionaries(st.text(max_size=5), cells),
        max_leaves=30,
    )
)
def test_any_rows_or_dict_end_in_sound_bars_or_a_typed_error(source):
    try:
        sound(load_bars(source))
    except TftnhitsError as error:
        assert str(error)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60), st.text(max_size=30))
def test_any_file_ends_in_sound_bars_or_a_typed_error(tmp_path_factory, raw, text):
    header = b"Date,Open,High,Low,Close\n"
    for content in (raw, header + raw, header + text.encode(), b"PAR1" + raw):
        path = tmp_path_factory.getbasetemp() / "any.csv"
        path.write_bytes(content)
        try:
            sound(load_bars(path))
        except TftnhitsError as error:
            assert str(error)
