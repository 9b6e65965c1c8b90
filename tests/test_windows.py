"""The panel's splits, and the batches that are cut from it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, made_panel, one_sentence, stocks
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits import PanelConfig, make_panel
from tftnhits.data import features as F
from tftnhits.data.splits import SPLITS
from tftnhits.data.windows import blocks, gather, training_starts
from tftnhits.errors import ConfigError, HistoryTooShort, TftnhitsError

LENGTHS = {"A": 300, "B": 40, "C": 1, "D": 170, "E": 2}


def uneven(freq="B"):
    """Symbols of very different lengths that all end on the same date."""
    parts = [made_bars((name,), 300, freq=freq).iloc[-size:] for name, size in LENGTHS.items()]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module", params=["B", None], ids=["dated", "undated"])
def panel(request):
    return make_panel(uneven(request.param), PanelConfig(horizon=3))


def known(panel, name):
    return panel.known[:, panel.inputs["known"].index(name)]


# --- the panel


def test_rows_are_bars_followed_by_the_known_future(panel):
    assert panel.symbols == tuple(LENGTHS) and panel.length.tolist() == list(LENGTHS.values())
    assert len(panel.close) == sum(LENGTHS.values()) + 3 * len(LENGTHS)
    bars = uneven()
    for symbol, start, size in zip(panel.symbols, panel.start, panel.length, strict=True):
        mine = bars[bars["symbol"] == symbol]
        np.testing.assert_array_equal(panel.close[start : start + size], mine["close"])
        ahead = slice(start + size, start + size + 3)
        assert np.isnan(panel.close[ahead]).all() and (panel.split[ahead] == 3).all()
        if size > 2 and not np.isnat(panel.date).all():  # fewer don't tell that weekends are off
            expected = pd.bdate_range(mine["date"].iloc[-1], periods=4)[1:]
            np.testing.assert_array_equal(panel.date[ahead], expected.to_numpy())
    assert (panel.symbol_of(panel.start + panel.length + 2) == np.arange(len(LENGTHS))).all()


@pytest.mark.parametrize(
    "calendar, day, gap",
    [(None, "2018-01-02", 4), ("XNYS", "2018-01-02", 4), ("24/7", "2017-12-30", 1)],
)
def test_dates_and_gaps_ahead_are_those_of_the_calendar(calendar, day, gap):
    pytest.importorskip("exchange_calendars")
    bars = stocks(("AAPL", "META"), "2016-01-01", "2017-12-29")
    panel = make_panel(bars, calendar=calendar)
    first = panel.start + panel.length
    assert (panel.date[first] == np.datetime64(day)).all()
    np.testing.assert_allclose(known(panel, "gap")[first], np.log(gap), rtol=1e-6)
    assert known(panel, "has_calendar").all()
    both = make_panel(bars, calendar={"META": "XTKS"})  # the same dates, yet two calendars
    days = both.date[both.start + both.length].astype("datetime64[D]").astype(str)
    assert days.tolist() == ["2018-01-02", "2018-01-04"]


def test_chosen_features_come_in_the_order_asked_for():
    panel, chosen = made_panel(120), ("range", "return", "has_volume")
    part = made_panel(120, observed=chosen, known=("gap", "weekday_sin"))
    assert part.inputs == {"observed": chosen, "known": ("gap", "weekday_sin"), "static": F.STATIC}
    every = [panel.inputs["observed"].index(name) for name in chosen]
    np.testing.assert_array_equal(part.observed, panel.observed[:, every])
    np.testing.assert_array_equal(known(part, "gap"), known(panel, "gap"))


BAD = [
    ({"train_end": "2016-01-01", "valid_end": "2015-01-01"}, "2015-01-01"),
    ({"train_end": "yesterday-ish"}, "yesterday-ish"),
    ({"observed": ("return", "rsi")}, "'rsi'"),
    ({"known": ("moon",)}, "'moon'"),
]


@pytest.mark.parametrize("changes, words", BAD)
def test_bad_panel_settings_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        made_panel(60, **changes)
    assert one_sentence(str(caught.value))


def test_the_digest_tells_any_change_of_data_or_split():
    bars = made_bars(bars=80)
    digests = [make_panel(bars).digest(), make_panel(bars.copy()).digest()]
    for column in ("open", "high", "low", "close", "volume"):
        changed = bars.copy()
        changed.loc[40, column] *= {"high": 1.01, "low": 0.99}.get(column, 1.00001)
        digests.append(make_panel(changed).digest())
    digests.append(make_panel(bars.assign(symbol=bars["symbol"] + "x")).digest())
    digests.append(make_panel(bars, PanelConfig(train_end="2015-03-02")).digest())
    assert digests[0] == digests[1] and len({*digests}) == len(digests) - 1


def test_outcomes_are_log_returns_to_later_closes_and_unknown_past_the_end():
    bars = made_bars(symbols=("A", "B"), bars=60)
    panel = make_panel(bars, PanelConfig(horizon=3))
    close = bars[bars["symbol"] == "B"]["close"].to_numpy()
    returns = panel.outcomes(panel.start[1] + np.array([10, 58, 59]))
    np.testing.assert_allclose(returns[0], np.log(close[11:14] / close[10]))
    np.testing.assert_allclose(returns[1, 0], np.log(close[59] / close[58]))
    assert np.isnan(returns[1, 1:]).all() and np.isnan(returns[2]).all()
    assert np.isnan(panel.outcomes(panel.start[:1] + 59)).all()  # not the next symbol's closes


# --- splits


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_splits_are_purged_by_date(horizon):
    config = PanelConfig(horizon=horizon, train_end="2015-10-30", valid_end="2015-12-31")
    panel = make_panel(uneven(), config)
    ends = np.array(["2015-10-31", "2016-01-01", "2100-01-01"], "datetime64[ns]")
    begins = np.array(["1900-01-01", "2015-10-31", "2016-01-01"], "datetime64[ns]")
    for name, begin, end in zip(SPLITS, begins, ends, strict=True):
        rows = panel.origins(name)
        assert len(rows) and (panel.date[rows] >= begin).all()
        assert (panel.date[rows + horizon] < end).all()
        assert np.isfinite(panel.target[rows]).all() and np.isfinite(panel.outcomes(rows)).all()
    # Nothing is lost but origins whose outcome crosses a border or is not there yet
    lost = np.flatnonzero((panel.split == 3) & np.isfinite(panel.close))
    lost = lost[np.isfinite(panel.outcomes(lost)[:, -1])]
    date, ahead = panel.date[lost], panel.date[lost + horizon]
    crosses = [(date < end) & (end <= ahead) for end in ends[:2]]
    assert np.any(crosses, axis=0).all()


@pytest.mark.parametrize("embargo", [0, 3])
def test_splits_without_dates_are_by_share_of_each_history(embargo):
    bars = made_bars(("A", "B"), 100, freq=None)
    panel = make_panel(bars, PanelConfig(horizon=5, embargo=embargo))
    for start in panel.start:
        mine = panel.split[start : start + 100]
        np.testing.assert_array_equal(np.flatnonzero(mine == 0), np.arange(0, 66))
        np.testing.assert_array_equal(np.flatnonzero(mine == 1), np.arange(71 + embargo, 81))
        np.testing.assert_array_equal(np.flatnonzero(mine == 2), np.arange(86 + embargo, 95))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(embargo=st.integers(0, 60), horizon=st.integers(1, 8), freq=st.sampled_from(["B", "7h"]))
def test_the_first_sessions_after_a_border_are_embargoed(embargo, horizon, freq):
    bars = made_bars(("A", "B"), 160, freq=freq)
    bars = bars[(bars["symbol"] == "A") | (np.arange(len(bars)) % 9 > 0)]  # of any symbol
    config = PanelConfig(horizon=horizon, train_end="2015-01-20", valid_end="2015-02-09")
    free, panel = make_panel(bars, config), make_panel(bars, replace(config, embargo=embargo))
    day = panel.date.astype("datetime64[D]")
    sessions = np.unique(day[np.isfinite(panel.close)])
    ends = np.array([config.train_end, config.valid_end], "datetime64[D]")
    banned = np.concatenate([sessions[sessions > end][:embargo] for end in ends])
    np.testing.assert_array_equal(panel.split, np.where(np.isin(day, banned), 3, free.split))


def test_default_splits_are_the_first_70_and_next_15_percent_of_the_dates():
    panel = made_panel(200)
    dates = np.unique(panel.date[np.isfinite(panel.close)])
    assert panel.date[panel.origins("train") + 5].max() == dates[int(0.7 * 199)]
    assert panel.date[panel.origins("valid")].min() == dates[int(0.7 * 199) + 1]
    assert panel.date[panel.origins("valid") + 5].max() == dates[int(0.85 * 199)]
    hours = PanelConfig(horizon=1, train_end="2015-01-10", valid_end="2015-01-14")
    panel = make_panel(made_bars(("A",), 400, freq="h"), hours)  # a date means the whole day
    assert panel.date[panel.origins("train") + 1].max() == np.datetime64("2015-01-10T23:00")


# --- origins and batches


def test_origins_have_their_context(panel):
    for context in (1, 20):
        rows = panel.origins("train", context)
        assert len(rows) and (rows - panel.start[panel.symbol_of(rows)] >= context - 1).all()
    assert len(panel.origins("train", 1)) > len(panel.origins("train", 20))
    np.testing.assert_array_equal(panel.last_origins(), panel.start + panel.length - 1)


def test_what_a_panel_cannot_give_is_said(panel):
    for error, words, ask, *args in (
        (ConfigError, "'validation'", panel.origins, "validation"),
        (HistoryTooShort, "B has 40 bars", panel.last_origins, 60),
        (HistoryTooShort, r"C has 1 bar but.*give 1 more\.$", panel.last_origins, 2),
        (TftnhitsError, "10", blocks, panel, panel.start[:1] + 8, 10, 16),
        (HistoryTooShort, "999", training_starts, panel, 999, 8, 0),
    ):
        with pytest.raises(error, match=words) as caught:
            ask(*args)
        assert one_sentence(str(caught.value))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(context=st.integers(1, 45), origins=st.integers(1, 70), seed=st.integers(0, 999))
def test_every_origin_is_found_at_its_place(panel, context, origins, seed):
    sizes = zip(panel.start, panel.length, strict=True)
    rows = np.concatenate([start + np.arange(context - 1, size) for start, size in sizes])
    rows = np.random.default_rng(seed).permutation(rows)[: 1 + seed % 50]
    starts, place = blocks(panel, rows, context, origins)
    batch = gather(panel, starts, context, origins)
    assert batch.observed.shape[:2] == (len(starts), context + origins - 1)
    chunk, fork = place // origins, place % origins
    bar = context - 1 + fork
    np.testing.assert_array_equal(batch.target[chunk, fork], panel.target[rows])
    np.testing.assert_array_equal(batch.scale[chunk, fork], panel.scale[rows])
    for lag in range(context):
        np.testing.assert_array_equal(batch.observed[chunk, bar - lag], panel.observed[rows - lag])
    for step in range(1, 4):
        np.testing.assert_array_equal(batch.known[chunk, bar + step], panel.known[rows + step])
    np.testing.assert_array_equal(batch.static[chunk], panel.static[panel.symbol_of(rows)])
    assert np.isfinite(batch.scale).all() and np.isfinite(batch.observed).all()
    # A chunk does not depend on which other origins are asked for
    alone, there = blocks(panel, rows[:1], context, origins)
    assert alone[0] == starts[chunk[0]] and there[0] == fork[0]


def test_nothing_of_the_next_symbol_enters_a_chunk(panel):
    second = panel.start[1]
    last = second + 39
    batch = gather(panel, np.array([second + 30]), 10, 64)  # far past the end of its 40 bars
    assert (batch.observed[0, 10:] == panel.observed[last]).all()
    assert (batch.known[0, 13:] == panel.known[last + 3]).all()
    assert np.isnan(batch.target[0, 1:]).all()


@pytest.mark.parametrize("split", SPLITS)
def test_targets_outside_the_split_are_nan(split):
    panel = made_panel(200)
    rows = np.concatenate([start + np.arange(9, 200) for start in panel.start])
    starts, place = blocks(panel, rows, 10, 32)
    target = gather(panel, starts, 10, 32, split).target.reshape(-1, 5)[place]
    inside = panel.split[rows] == SPLITS.index(split)
    np.testing.assert_array_equal(target[inside], panel.target[rows[inside]])
    assert np.isnan(target[~inside]).all() and inside.any()
    assert np.isfinite(panel.target[rows[~inside]]).any()  # gather has not changed the panel


@settings(max_examples=40, deadline=None, derandomize=True)
@given(context=st.integers(1, 30), origins=st.integers(1, 80), seed=st.integers(0, 10_000))
def test_training_covers_every_origin_about_once(panel, context, origins, seed):
    starts = training_starts(panel, context, origins, seed)
    covered = starts[:, None] + context - 1 + np.arange(origins)
    symbol = panel.symbol_of(np.minimum(covered, len(panel.close) - 1))
    covered = covered[symbol == panel.symbol_of(starts)[:, None]]
    assert {*panel.origins("train", context)} <= {*covered}
    assert len({*starts}) == len(starts) and (starts >= panel.start[panel.symbol_of(starts)]).all()
    assert starts.tolist() == training_starts(panel, context, origins, seed).tolist()
    assert len(starts) <= sum(np.ceil(size / origins) + 1 for size in LENGTHS.values())


def test_batches_of_torch_are_those_of_numpy(panel):
    pytest.importorskip("torch")
    starts, _ = blocks(panel, panel.origins("train", 10), 10, 16)
    tensors = gather(panel.with_tensors(), starts, 10, 16, "train")
    for one, other in zip(gather(panel, starts, 10, 16, "train"), tensors, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
