"""Validation: each repair, each fault, what is odd and said, and random broken frames."""

import warnings
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence
from hostile import hostile
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits.data.bars import load_bars, repairs, validate_bars
from tftnhits.data.cells import MAX_SYMBOL
from tftnhits.data.names import COLUMNS, PRICES
from tftnhits.data.repair import MAX_RUN, RECENT
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


def empty(rows, columns=PRICES, **options):
    """Bars without these prices in these rows."""
    return edited({(row, column): NAN for row in rows for column in columns}, **options)


def repaired(source, **counts):
    """The bars, after checking that the report has just these repairs (spaces as underscores)."""
    bars, report = validate_bars(source)
    expected = {name.replace("_", " "): count for name, count in counts.items()}
    assert report.groupby("repair")["count"].sum().to_dict() == expected
    assert tuple(report.columns) == ("symbol", "repair", "count", "first", "example")
    sound(bars)
    return bars


def sound(bars):
    """What every validated frame promises; a second pass finds nothing."""
    assert tuple(bars.columns) == COLUMNS and len(bars) and isinstance(bars.index, pd.RangeIndex)
    prices = bars[list(PRICES)].to_numpy()
    assert np.isfinite(prices).all() and (prices > 0).all()
    assert (bars["high"] == prices.max(axis=1)).all() and (bars["low"] == prices.min(axis=1)).all()
    assert not (bars["volume"] <= 0).any() and not np.isinf(bars["volume"]).any()
    assert bars["date"].dtype == "datetime64[ns]" and bars["symbol"].is_monotonic_increasing
    assert bars["date"].isna().all() or bars["date"].notna().all()
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
    assert one_sentence(message) and len(message) < 400 and message.isprintable()


# -- repairs


def test_clean_bars_are_left_as_they_are():
    source = frame()
    before = source.copy()
    pd.testing.assert_frame_equal(repaired(source), before.astype({"date": "datetime64[ns]"}))
    pd.testing.assert_frame_equal(source, before)


@pytest.mark.parametrize(
    ("changes", "counts", "row", "expected"),
    [
        # the previous close, but within the range; in a first bar its close
        ({(3, "open"): NAN}, {"missing_open_filled": 1}, 3, {"open": 102}),
        ({(0, "open"): NAN}, {"missing_open_filled": 1}, 0, {"open": 100}),
        ({(3, "open"): NAN, (3, "low"): 102.5}, {"missing_open_filled": 1}, 3, {"open": 102.5}),
        ({(3, "high"): NAN}, {"missing_high_filled": 1}, 3, {"high": 103}),
        ({(3, "low"): NAN}, {"missing_low_filled": 1}, 3, {"low": 102.5}),
        ({(3, "close"): NAN}, {"missing_close_filled": 1}, 3, {"close": 102.5}),
        ({(3, "high"): 102.0}, {"high_below_open_or_close_raised": 1}, 3, {"high": 103}),
        ({(3, "low"): 102.75}, {"low_above_open_or_close_lowered": 1}, 3, {"low": 102.5}),
        (
            {(3, "open"): NAN, (3, "close"): NAN},
            {"missing_open_filled": 1, "missing_close_filled": 1},
            3,
            {"open": 102, "close": 102},
        ),
        (
            {(3, "low"): 104.0, (3, "high"): 102.0},
            {"high_below_low_swapped": 1},
            3,
            {"high": 104, "low": 102},
        ),
        (
            {(0, "open"): NAN, (0, "close"): NAN, (0, "high"): NAN},
            {"missing_open_filled": 1, "missing_close_filled": 1, "missing_high_filled": 1},
            0,
            dict.fromkeys(PRICES, 99),
        ),
    ],
)
def test_missing_cells_and_impossible_ranges(changes, counts, row, expected):
    bars = repaired(edited(changes), **counts)
    assert bars.loc[row, [*expected]].to_dict() == expected


def test_the_report_tells_where_and_what():
    report = validate_bars(edited({(3, "high"): 102.0}))[1].iloc[0]
    kind = "high below open or close raised"
    assert report.tolist() == ["A", kind, 1, "2020-01-09", "high 102 -> 103"]


def test_filling_never_looks_into_another_symbol():
    second = edited({(0, "open"): NAN, (0, "close"): NAN}, symbol="B")
    bars = repaired(pd.concat([frame(), second]), missing_open_filled=1, missing_close_filled=1)
    # the middle of its own range, not A's 107
    assert bars[bars["symbol"] == "B"]["close"].iloc[0] == 100


def test_rows_without_prices_are_no_bars():
    """Of a common index, say: a holiday here is a session elsewhere, or before listing."""
    bars = repaired(empty([0, 4, 5, 11], n=12), row_without_prices_removed=4)
    assert bars["close"].tolist() == [101, 102, 103, 106, 107, 108, 109, 110]
    both = repaired(pd.concat([frame(), empty(range(8), symbol="B")]), row_without_prices_removed=8)
    assert both["symbol"].unique().tolist() == ["A"]
    assert "no price at all" in both.attrs["skipped"]["B"]
    fails(empty(range(8)), "No row has a price")


RUNS = [(0, 6, 0), (2, 6, 1), (10, 6, 1), (2, 5, 0), (15, 1, 1), (14, 1, 0)]


@pytest.mark.parametrize(("begin", "size", "told"), RUNS)
def test_runs_without_prices_are_told_if_long_or_last_but_not_before_listing(begin, size, told):
    doubts = load_bars(empty(range(begin, begin + size), n=16)).attrs["doubts"].get("A", [])
    rows = f"{size} row{'s' * (size > 1)}"
    assert len(doubts) == told and all(f"no prices in {rows} after" in one for one in doubts)


def test_volume():
    changes = dict(
        zip([(i, "volume") for i in (1, 2, 3, 4)], [-5.0, np.inf, 0.0, NAN], strict=True)
    )
    counts = {"negative_or_infinite_volume_removed": 2, "zero_volume_taken_as_missing": 1}
    assert repaired(edited(changes), **counts)["volume"].isna().sum() == 4
    assert repaired(frame().drop(columns="volume"), no_volume_column=8)["volume"].isna().all()
    assert repaired(frame().assign(volume=0), zero_volume_taken_as_missing=8)["volume"].isna().all()


def test_numbers_as_text():
    cells = {(1, "close"): " 1,234.5", (2, "close"): "102", (3, "close"): "n/a"}
    text = edited(cells | {(1, "high"): "+1,300", (4, "close"): Decimal("104")})
    bars = repaired(text, number_written_as_text=3, missing_close_filled=1)
    assert bars["close"].tolist()[:5] == [100, 1234.5, 102, 102.5, 104] and bars["high"][1] == 1300


def test_order_and_copies():
    expected = frame().astype({"date": "datetime64[ns]"})
    falling = frame()[::-1]
    pd.testing.assert_frame_equal(repaired(falling, descending_dates_reversed=8), expected)
    both = repaired(pd.concat([falling, frame(symbol="B")]), descending_dates_reversed=8)
    assert both["close"].tolist() == expected["close"].tolist() * 2
    mixed = frame().iloc[[7, 6, 4, 5, 3, 2, 1, 0]]
    pd.testing.assert_frame_equal(repaired(mixed, rows_sorted_by_date=8), expected)
    again = repaired(pd.concat([frame(), frame()]), rows_sorted_by_date=16, duplicate_row_removed=8)
    pd.testing.assert_frame_equal(again, expected)
    beside = frame().loc[[*range(8), *range(8)]].sort_index()
    pd.testing.assert_frame_equal(repaired(beside, duplicate_row_removed=8), expected)


def test_other_columns_and_blank_rows():
    assert len(repaired(frame().assign(adj=1.0, note="x"), extra_column_ignored=2)) == 8
    blank = pd.concat([frame(), pd.DataFrame({"symbol": ["A"]})])
    assert len(repaired(blank, blank_row_removed=1)) == 8
    undated = repaired(frame().drop(columns="date"), **{"no_dates,_the_order_given_is_kept": 8})
    assert undated["date"].isna().all()


# -- faults


@pytest.mark.parametrize("column", PRICES)
def test_prices_that_cannot_be(column):
    where = ("A, row 4 (2020-01-09)", f"column {column}")
    for value in (-1.5, np.inf, 1e16, 1e-13):
        fails(edited({(3, column): value}), *where, f"is {value:g}", "positive", "unit")
    for value in ("cheap", "10,5", "1_000", True, [1], datetime(2020, 1, 1), 1j, "0x10"):
        fails(edited({(3, column): value}), *where, "is not a number", str(value)[:4].strip("("))
    fails(frame().assign(**{column: pd.Timestamp("2020-01-01")}), "A, row 1", "not a number")


@pytest.mark.parametrize("column", PRICES[:3])
def test_a_zero_beside_a_close_is_a_missing_price(column):
    counts = {f"zero_{column}_taken_as_missing": 1, f"missing_{column}_filled": 1}
    assert 102 <= repaired(edited({(3, column): 0.0}), **counts)[column][3] <= 103
    fails(edited({(3, column): 0.0, (3, "close"): NAN}), f"column {column} is 0")


def test_a_row_of_zeros_is_no_bar_and_a_zero_close_a_fault():
    counts = {"row_of_zeros_taken_as_missing": 1, "row_without_prices_removed": 1}
    assert len(repaired(edited({(3, name): 0.0 for name in PRICES}), **counts)) == 7
    fails(edited({(3, "close"): 0.0}), "column close is 0", "positive")


def test_dates_that_cannot_be():
    twice = pd.concat([frame(), frame().iloc[[7]].assign(close=107.5)])
    fails(twice, "A, row 9 (2020-01-15)", "close 107.5 instead of 107 in row 8")
    fails(edited({(3, "date"): "soon"}), "A, row 4", "'soon' is not a date")
    fails(edited({(3, "date"): None}), "A, row 4", "column date is empty")
    undated = pd.concat([frame(), frame(symbol="B").assign(date=pd.NaT)])
    fails(undated, "B, row 9", "column date is empty")


@pytest.mark.parametrize("column", ["symbol", "date", "close"])
def test_cells_that_can_not_be_read_or_shown_whole(column):
    cells = [[[1]] * 500, "x" * 5000, Decimal("sNaN")]
    if column != "symbol":
        cells += [10**5000, pd.DataFrame(), pd.Series([1.0, 2.0]), 1j]
    for cell in cells:
        bars = frame().astype({column: object})
        bars[column] = pd.Series([*bars[column][:3], cell, *bars[column][4:]], dtype=object)
        fails(bars, column)


def test_symbols_that_no_message_or_file_name_could_carry():
    for name in ("A\nB", "\x1b[31mA", "A\u2028B", "A\x85B", "x" * (MAX_SYMBOL + 1)):
        both = pd.concat([frame(), frame(symbol=name)])
        fails(both, "Row 9 has the symbol", f"at most {MAX_SYMBOL} characters")
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
    gap = empty(range(2, 2 + size), ("close", "high"), n=16)
    fails(gap, "A, row 10 (2020-01-17)", f"{size} bars in a row without a close", "2020-01-08")
    fails(empty(range(MAX_RUN + 1), ("close",)), "from 2020-01-06")
    # three at A's end, three at B's start: no run
    apart = [empty((0, 1, 2, 5, 6, 7), ("close",), symbol=name) for name in "AB"]
    assert len(repaired(pd.concat(apart), missing_close_filled=12)) == 16


def test_frames_that_are_none():
    fails([1, 2], "data frame")
    fails(pd.DataFrame(), "Missing column symbol, open, high, low, close; found none")
    fails(frame().drop(columns="close"), "Missing column close; found symbol, date")
    fails(frame().iloc[:0], "no bars")
    fails(pd.concat([frame(), frame()["close"]], axis=1), "more than one column 'close'")
    fails(edited({(2, "symbol"): None}), "Row 3 has no symbol")


# -- what is odd, and said


def moved(ratio, at=150, bars=300, until=None):
    """Bars whose prices are multiplied by `ratio` from bar `at` on."""
    table = made_bars(("A",), bars)
    rows = (np.arange(bars) >= at) & (np.arange(bars) < (until or bars))
    table.loc[rows, list(PRICES)] *= ratio
    return table


@pytest.mark.parametrize("split", [2, 3, 4, 5, 7, 10, 15, 20])
def test_a_split_that_was_not_adjusted_is_pointed_out(split):
    for ratio, name in ((1 / split, f"{split}:1 split"), (split, f"1:{split} reverse split")):
        for at in (150, 298):
            (sentence,) = load_bars(moved(ratio, at)).attrs["doubts"]["A"]
            day = f"{made_bars(('A',), 300)['date'][at]:%Y-%m-%d}"
            assert name in sentence and day in sentence and one_sentence(sentence)


def test_other_moves_are_no_splits():
    crash = moved(0.5)
    crash.loc[150, "volume"] *= 100  # on news, not since there are twice as many shares
    wild = made_bars(("A",), 300)
    wild[list(PRICES)] *= np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.5, 300)))[:, None]
    for table in (moved(0.7), moved(1.4), moved(0.1, until=151), moved(0.4), crash, wild):
        assert not load_bars(table).attrs["doubts"]


def test_doubts_go_with_the_bars_and_their_symbol():
    parts = {"GOOD": made_bars(("A",)), "SPLIT": moved(0.1)}
    bars = load_bars({name: part.drop(columns="symbol") for name, part in parts.items()})
    assert [*bars.attrs["doubts"]] == ["SPLIT"]
    assert load_bars(bars).attrs["doubts"] == bars.attrs["doubts"]


CHANGES = {  # of a bar's cells
    "missing open": ({"open": NAN}, "the open of DAY was missing"),
    "missing high": ({"high": NAN}, "the high of DAY was missing"),
    "missing low": ({"low": NAN}, "the low of DAY was missing"),
    "missing close": ({"close": NAN}, "the close of DAY was missing"),
    "zero open": ({"open": 0.0}, "the open of DAY was 0 and is taken to be"),
    "low and high crossed": ({"low": 300.0, "high": 80.0}, "the low of DAY was 300 and"),
    "high below close": ({"high": 80.0}, "the high of DAY was 80 and is taken to be"),
    "low above close": ({"low": 300.0}, "the low of DAY was 300 and is taken to be"),
    "zero volume": ({"volume": 0.0}, "the volume of DAY was 0 and is taken to be missing"),
    "negative volume": ({"volume": -1.0}, "the volume of DAY was -1"),
    "infinite volume": ({"volume": np.inf}, "the volume of DAY was inf"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_repair_of_one_of_the_last_bars_is_a_doubt_and_an_older_one_is_not(kind):
    cells, words = CHANGES[kind]
    for row in (2, 19 - RECENT, 20 - RECENT, 19):
        table = edited({(row, name): value for name, value in cells.items()}, n=20)
        bars = load_bars(pd.concat([table, frame(20, "B")]))
        assert len(repairs(bars)) and "B" not in bars.attrs["doubts"]
        doubts = bars.attrs["doubts"].get("A", [])
        assert len(doubts) == (row >= 20 - RECENT)
        day = f"{table['date'][row]:%Y-%m-%d}"
        assert all(words.replace("DAY", day) in one and one_sentence(one) for one in doubts)


def test_doubts_of_the_last_bars_are_short_and_leave_out_what_is_no_repair():
    none = edited({(row, name): NAN for row in range(15, 20) for name in PRICES[:2]}, n=20)
    (many,) = load_bars(none).attrs["doubts"]["A"]
    assert many.count("was missing") == 3 and "7 more" in many and one_sentence(many)
    currency, rounded = frame(20).assign(volume=0.0), frame(20)
    rounded.loc[19, "high"] = rounded.loc[19, "close"] * (1 - 1e-6)
    for bars in (currency, rounded):
        assert len(repairs(load_bars(bars))) and not load_bars(bars).attrs["doubts"]


def test_todays_bar_twice_is_one_bar():
    table = made_bars(("A",), 60)
    later, low = table["date"].iloc[-1] + pd.Timedelta("16h"), table["low"].iloc[-1]
    bars = load_bars(pd.concat([table, table.iloc[[-1]].assign(date=later, close=low)]))
    assert len(bars) == 60 and bars["close"].iloc[-1] == low
    assert bars["date"].iloc[-1] == table["date"].iloc[-1]
    assert repairs(bars)["repair"].tolist() == ["last day is there twice, the later bar kept"]
    assert "twice" in bars.attrs["doubts"]["A"][0] and one_sentence(bars.attrs["doubts"]["A"][0])
    assert len(load_bars(made_bars(("A",), 60, "h"))) == 60


# -- whatever comes


def test_whatever_comes_ends_in_sound_bars_or_a_typed_error():
    repaired_sources = 0
    for seed in range(1, 400):
        if seed % 100:  # the huge ones are test_hostile's
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pandas, about what is built here
                kind, source = hostile(seed)
            try:
                bars = load_bars(source)
            except TftnhitsError as error:
                assert one_sentence(str(error)), (seed, kind)
            else:
                sound(bars)
                repaired_sources += 1
    assert 50 < repaired_sources < 300  # neither all hopeless nor all sound


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=60), st.text(max_size=30))
def test_any_file_ends_in_sound_bars_or_a_typed_error(tmp_path_factory, raw, text):
    header = b"Date,Open,High,Low,Close\n"
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (raw, header + raw, header + text.encode(), b"PAR1" + raw):
        path.write_bytes(content)
        try:
            sound(load_bars(path))
        except TftnhitsError as error:
            assert str(error)
