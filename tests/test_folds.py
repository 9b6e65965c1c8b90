"""Walk-forward folds: their arithmetic, what they may see, and histories that don't allow them."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tftnhits import BacktestConfig, make_panel
from tftnhits.errors import ConfigError, DataError, HistoryTooShort
from tftnhits.evaluation.folds import TRAIN_ORIGINS, check_fold, fold_bars, make_folds

DAY = np.timedelta64(1, "D")


def dates_only(days: pd.DatetimeIndex) -> pd.DataFrame:
    return pd.DataFrame({"symbol": "A", "date": days})


def plan(bars: pd.DataFrame, config: BacktestConfig, context: int = 20):
    return make_folds(bars, config, context)


def days_of(bars: pd.DataFrame) -> np.ndarray:
    return np.unique(bars["date"].to_numpy("datetime64[D]"))


@st.composite
def plans(draw):
    """Business days with holes, and settings that are sometimes too much for them."""
    size = draw(st.integers(500, 2_500))
    first = pd.Timestamp("2001-01-01") + pd.Timedelta(days=draw(st.integers(0, 4_000)))
    days = pd.bdate_range(first, periods=size)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    days = days[rng.random(size) > draw(st.sampled_from([0, 0.05, 0.3]))]
    start = draw(st.none() | st.integers(0, size))
    config = BacktestConfig(
        start=None if start is None else str((days[0] + pd.Timedelta(days=start)).date()),
        months=draw(st.integers(1, 18)),
        valid_months=draw(st.integers(1, 14)),
        embargo=draw(st.integers(0, 15)),
        train_years=draw(st.none() | st.integers(1, 3)),
        horizon=draw(st.integers(1, 10)),
    )
    return dates_only(days), config


@settings(max_examples=60, deadline=None, derandomize=True)
@given(plans())
def test_tests_tile_the_span_and_nothing_reaches_over_a_border(drawn):
    bars, config = drawn
    try:
        folds = plan(bars, config)
    except (HistoryTooShort, ConfigError) as error:
        assert one_sentence(str(error))
        assume(False)
    days = days_of(bars)
    place = {day: i for i, day in enumerate(days)}
    tested = [d for f in folds for d in days[(days >= f.test_begin) & (days <= f.test_end)]]
    # no hole, no overlap, and the span that was asked for
    begin = np.datetime64(config.start) if config.start else folds[0].test_begin
    assert tested == list(days[(days >= begin) & (days <= folds[-1].test_end)])
    assert place[folds[-1].test_end] == len(days) - 1 - config.horizon
    assert [f.number for f in folds] == list(range(len(folds)))
    gap = config.embargo + 1
    for fold in folds:
        b, t, v, w, x, y = (place[d] for d in list(vars(fold).values())[1:])
        assert b < t < v <= w - config.horizon and x <= y  # a validation origin has its outcome
        assert v - t == gap and x - w == gap
        assert t - b + 1 >= 20 + config.horizon + TRAIN_ORIGINS - config.embargo - 1
        months = pd.DateOffset(months=config.valid_months)
        assert days[v - 1] < (pd.Timestamp(fold.test_begin) - months).to_datetime64() <= days[v]
        edge = days[0]
        if config.train_years:
            years = pd.DateOffset(years=config.train_years)
            edge = (pd.Timestamp(fold.train_end + DAY) - years).to_datetime64()
        assert days[b] >= edge and (b == 0 or days[b - 1] < edge)
    # each refit comes `months` after the one before
    for one, other in pairwise(folds):
        ahead = pd.Timestamp(one.test_begin) + pd.DateOffset(months=config.months)
        assert abs((pd.Timestamp(other.test_begin) - ahead).days) <= 12


@settings(max_examples=30, deadline=None, derandomize=True)
@given(plans())
def test_a_too_short_history_says_what_would_fit(drawn):
    bars, config = drawn
    try:
        plan(bars, config)
        assume(False)
    except (HistoryTooShort, ConfigError) as error:
        assume("earliest possible start is" in str(error))
        start = str(error).split("earliest possible start is ")[1].split(",")[0]
        count = int(str(error).split("makes ")[1].split()[0])
    # Else some fold lacks a validation
    assume(config.valid_months * 15 > config.embargo + config.horizon + 10)
    changed = {**config.to_dict(), "start": start}
    assert len(plan(bars, BacktestConfig(**changed))) == count
    days = days_of(bars)
    before = days[np.searchsorted(days, np.datetime64(start)) - 1]
    with pytest.raises(HistoryTooShort):  # a session earlier is too early
        plan(bars, BacktestConfig(**{**changed, "start": str(before)}))


@pytest.mark.parametrize("embargo", [0, 4])
@pytest.mark.parametrize("train_years", [None, 1])
def test_a_folds_panel_splits_at_its_dates(embargo, train_years):
    options = {"embargo": embargo, "train_years": train_years, "horizon": 3}
    config = BacktestConfig(months=3, valid_months=4, **options)
    bars = made_bars(("A", "B"), 700)
    bars = bars[(bars["symbol"] == "A") | (bars.index % 7 > 0)]  # B trades on fewer days
    folds = plan(bars, config)
    assert len(folds) >= 3
    symbol_a = days_of(bars[bars["symbol"] == "A"])
    for fold in folds:
        panel = make_panel(fold_bars(bars, fold, config.horizon), fold.panel_config(config))
        for split, first, last in (
            ("train", fold.begin, fold.train_end),
            ("valid", fold.valid_begin, fold.valid_end),
            ("test", fold.test_begin, None),
        ):
            rows = panel.origins(split)
            day = panel.date[rows].astype("datetime64[D]")
            reach = panel.date[rows + 3].astype("datetime64[D]")
            assert day.min() == first and (last is None or reach.max() <= last)
            # All that could be there is there
            last = fold.test_end if last is None else symbol_a[np.searchsorted(symbol_a, last) - 3]
            expected = symbol_a[(symbol_a >= first) & (symbol_a <= last)]
            assert set(expected) == set(day[panel.symbol_of(rows) == 0])


def test_a_fold_sees_its_own_bars_and_the_outcomes_of_its_test():
    config = BacktestConfig(months=2, valid_months=3, train_years=1, horizon=4)
    bars = made_bars(("A", "B", "C", "D"), 700)
    bars = bars[(bars["symbol"] != "C") | (bars["date"] < "2016-11-15")]  # ends early
    bars = bars[(bars["symbol"] != "D") | (bars["date"] > "2017-04-15")]  # begins late
    for fold in plan(bars, config):
        seen = fold_bars(bars, fold, 4)
        assert days_of(seen).min() >= fold.begin
        for symbol, rows in seen.groupby("symbol"):
            every = bars[bars["symbol"] == symbol]
            later = every["date"].to_numpy("datetime64[D]") > fold.test_end
            begun = every["date"].to_numpy("datetime64[D]") >= fold.begin
            expected = pd.concat([every[begun & ~later], every[later][:4]])
            np.testing.assert_array_equal(rows["date"], expected["date"])
        tested = bars["date"].between(pd.Timestamp(fold.begin), pd.Timestamp(fold.test_end))
        assert set(seen["symbol"]) == set(bars["symbol"][tested])


def test_intraday_bars_fold_by_whole_days():
    bars = made_bars(("A",), 24 * 200, freq="h")
    config = BacktestConfig(months=1, valid_months=1, embargo=1, horizon=30)
    folds = plan(bars, config, context=60)
    assert len(folds) == 2 and folds[0].test_end + DAY == folds[1].test_begin
    panel = make_panel(fold_bars(bars, folds[0], 30), folds[0].panel_config(config))
    assert panel.date[panel.origins("test")].min() == folds[0].test_begin
    assert panel.date[panel.origins("valid")].min() == folds[0].valid_begin
    reach = panel.date[panel.origins("valid") + 30].max()
    assert reach == folds[0].valid_end + np.timedelta64(23, "h")


def test_by_default_whole_folds_of_the_last_part_of_the_history():
    days = pd.bdate_range("2004-01-01", "2013-12-31")
    folds = plan(dates_only(days), BacktestConfig(months=12, horizon=5))
    length = [(f.test_end - f.test_begin).astype(int) for f in folds]
    assert len(folds) == 3 and max(length) - min(length) <= 4
    assert folds[-1].test_end == days[-6].to_datetime64().astype("datetime64[D]")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"start": "2015-06-01"}, HistoryTooShort, r"700 sessions.*start is 2016-.* 4 folds"),
        ({"start": "2001-01-01"}, HistoryTooShort, "earliest possible start"),
        ({"valid_months": 40}, HistoryTooShort, "no test date has that"),
        ({"train_years": 9}, HistoryTooShort, "9 years"),
        ({"start": "2030-01-01"}, ConfigError, "after the last possible test date"),
        ({"end": "2001-01-01"}, ConfigError, "before the first bar"),
        ({"valid_months": 1, "embargo": 25}, ConfigError, r"Fold 0 .*valid_months"),
    ],
)
def test_folds_that_cannot_be_are_refused(changes, error, words):
    with pytest.raises(error, match=words) as caught:
        plan(made_bars(("A",), 700), BacktestConfig(**{"months": 6, "valid_months": 6, **changes}))
    assert one_sentence(str(caught.value))


def test_a_hole_as_long_as_a_fold_is_named():
    bars = made_bars(("A",), 900)
    bars = bars[~bars["date"].between("2017-03-01", "2017-06-15")]
    with pytest.raises(DataError, match=r"Fold \d has no session from 2017-0[34]"):
        plan(bars, BacktestConfig(months=1, valid_months=3, start="2016-12-01"))


def test_a_fold_without_outcomes_is_named():
    bars = made_bars(("A", "B"), 600)
    last = bars["date"].max()

    def check(start):
        span = {"start": str(start.date()), "end": str(last.date())}
        config = BacktestConfig(**span, valid_months=3, months=1)
        (fold,) = plan(bars, config)
        check_fold(fold_bars(bars, fold, 5), fold, config, 20)

    with pytest.raises(DataError, match=rf"No outcomes in the test of fold 0 \(test {last.date()}"):
        check(last)
    check(last - pd.offsets.BDay())  # one more session, and there is one


def test_symbols_whose_closes_never_change_in_training_are_named():
    bars = made_bars(("A", "B", "C"), 600)
    config = BacktestConfig(months=3, valid_months=3)
    fold = plan(bars, config)[0]

    def check(symbols, first="2000", last="2100"):
        standing = bars["symbol"].isin(symbols) & bars["date"].between(first, last)
        flat = bars.assign(close=bars["close"].mask(standing, 7.0))
        check_fold(fold_bars(flat, fold, 5), fold, config, 20)

    for symbols, words in ((["B"], "close of B never"), (["A", "C"], "close of A, C never")):
        with pytest.raises(DataError, match=f"{words} changes in the training of fold 0") as caught:
            check(symbols)
        assert one_sentence(str(caught.value))
    with pytest.raises(DataError, match="close of B"):
        check(["B"], last=str(fold.train_end))  # moving later doesn't help
    check(["B"], first=str(fold.valid_begin))  # nor does standing still later hurt
    check(["B"], first=str(fold.begin + 3 * DAY))
    # A symbol of so few bars that it isn't trained on may stand still: it has hardly begun
    late = bars["date"] > pd.Timestamp(fold.train_end) - pd.offsets.BDay(15)
    bars = bars[(bars["symbol"] != "B") | late]
    check(["B"], last=str(fold.train_end))
