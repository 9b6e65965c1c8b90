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
from tftnhits.data.windows import SPLITS, blocks, gather, training_starts
from tftnhits.errors import ConfigError, HistoryTooShort, TftnhitsError

LENGTHS = {"A": 300, "B": 40, "C": 1, "D": 170, "E": 2}


def uneven(freq="B"):
    """Symbols of very different lengths that all end on the same date."""
    parts = []
    for symbol, size in LENGTHS.items():
        bars = made_bars((symbol,), 300, freq=freq)
        parts.append(bars.iloc[-size:])
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module", params=["B", None], ids=["dated", "undated"])
def panel(request):
    return make_panel(uneven(request.param), PanelConfig(horizon=3))


def test_rows_are_bars_followed_by_the_known_future(panel):
    assert panel.symbols == tuple(LENGTHS) and panel.length.tolist() == list(LENGTHS.values())
    assert len(panel.close) == sum(LENGTHS.values()) + 3 * len(LENGTHS)
    bars = uneven()
    for symbol, start, size in zip(panel.symbols, panel.start, panel.length):
        own = bars[bars["symbol"] == symbol]
        np.testing.assert_array_equal(panel.close[start : start + size], own["close"])
        ahead = slice(start + size, start + size + 3)
        assert np.isnan(panel.close[ahead]).all() and (panel.split[ahead] == 3).all()
        if not np.isnat(panel.date).all():
            expected = pd.bdate_range(own["date"].iloc[-1], periods=4)[1:]
            if size > 2:  # fewer bars don't tell that weekends are off
                np.testing.assert_array_equal(panel.date[ahead], expected.to_numpy())
    assert (panel.symbol_of(panel.start + panel.length + 2) == np.arange(len(LENGTHS))).all()


def test_known_future_rows_carry_the_calendar():
    panel = made_panel(100)
    column = panel.inputs["known"].index("has_calendar")
    assert (panel.known[:, column] == 1).all()
    friday = pd.DatetimeIndex(panel.date).day_of_week == 4
    cos = panel.known[:, panel.inputs["known"].index("weekday_cos")]
    np.testing.assert_allclose(cos[friday], np.cos(2 * np.pi * 4 / 7), atol=1e-6)


def known(panel, name):
    return panel.known[:, panel.inputs["known"].index(name)]


def test_dates_and_gaps_ahead_are_those_of_the_calendar():
    pytest.importorskip("exchange_calendars")
    bars = stocks(("AAPL", "META"), "2016-01-01", "2017-12-29")
    for name, day, days in (
        (None, "2018-01-02", 4),
        ("XNYS", "2018-01-02", 4),
        ("24/7", "2017-12-30", 1),
    ):
        panel = make_panel(bars, calendar=name)
        first = panel.start + panel.length
        assert (panel.date[first] == np.datetime64(day)).all()
        np.testing.assert_allclose(known(panel, "gap")[first], np.log(days), rtol=1e-6)
    both = make_panel(bars, calendar={"META": "XTKS"})  # the same dates, yet calendars of their own
    found = both.date[both.start + both.length]
    assert found.astype("datetime64[D]").astype(str).tolist() == ["2018-01-02", "2018-01-04"]
    np.testing.assert_array_equal(make_panel(bars).observed, both.observed)


def test_lengths_of_sessions_are_an_input_for_those_who_name_it():
    pytest.importorskip("exchange_calendars")
    bars = stocks(("META",), "2016-01-01", "2017-11-22")  # half a day two sessions ahead
    every = make_panel(bars, PanelConfig(known=None))
    assert (
        "session" not in every.inputs["known"] and "session" not in make_panel(bars).inputs["known"]
    )
    named = make_panel(bars, PanelConfig(known=("gap", "session")))
    short = pd.DatetimeIndex(named.date[known(named, "session") < 0])
    assert short.equals(pd.DatetimeIndex(["2016-11-25", "2017-07-03", "2017-11-24"]).as_unit("ns"))
    np.testing.assert_allclose(known(named, "session").min(), np.log(3.5 / 6.5), rtol=1e-6)
    np.testing.assert_array_equal(known(named, "gap"), known(every, "gap"))
    weeks = bars.groupby(bars["date"].dt.to_period("W")).tail(
        1
    )  # by their last sessions, half days too
    assert "2016-11-25" in weeks["date"].astype(str).tolist()
    assert not make_panel(weeks, PanelConfig(known=("session",)), calendar="XNYS").known.any()
    undated = make_panel(bars.assign(date=pd.NaT), PanelConfig(known=("session",)))
    assert not undated.known.any()


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_splits_are_purged_by_date(horizon):
    config = PanelConfig(horizon=horizon, train_end="2015-10-30", valid_end="2015-12-31")
    panel = make_panel(uneven(), config)
    ends = np.array(["2015-10-31", "2016-01-01", "2100-01-01"], "datetime64[ns]")
    begins = np.array(["1900-01-01", "2015-10-31", "2016-01-01"], "datetime64[ns]")
    for name, begin, end in zip(SPLITS, begins, ends):
        rows = panel.origins(name)
        assert (
            len(rows)
            and (panel.date[rows] >= begin).all()
            and (panel.date[rows + horizon] < end).all()
        )
        assert np.isfinite(panel.target[rows]).all()
        same = panel.symbol_of(rows) == panel.symbol_of(rows + horizon)
        assert same.all() and np.isfinite(panel.close[rows + horizon]).all()
    # nothing is lost but the purged origins: those whose outcome crosses a border or is not there yet
    lost = np.flatnonzero((panel.split == 3) & np.isfinite(panel.close))
    for row in lost:
        reach = row + horizon
        crosses = any(panel.date[row] < e <= panel.date[reach] for e in ends[:2])
        assert (
            crosses
            or np.isnan(panel.close[reach])
            or panel.symbol_of(reach) != panel.symbol_of(row)
        )


def test_splits_without_dates_are_by_share_of_each_history():
    panel = make_panel(made_bars(("A", "B"), 100, freq=None), PanelConfig(horizon=5))
    for start in panel.start:
        own = panel.split[start : start + 100]
        np.testing.assert_array_equal(np.flatnonzero(own == 0), np.arange(0, 66))
        np.testing.assert_array_equal(np.flatnonzero(own == 1), np.arange(71, 81))
        np.testing.assert_array_equal(np.flatnonzero(own == 2), np.arange(86, 95))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(embargo=st.integers(0, 60), horizon=st.integers(1, 8), freq=st.sampled_from(["B", "7h"]))
def test_the_first_sessions_after_a_border_are_embargoed(embargo, horizon, freq):
    bars = made_bars(("A", "B"), 160, freq=freq)
    bars = bars[
        (bars["symbol"] == "A") | (np.arange(len(bars)) % 9 > 0)
    ]  # sessions are those of any symbol
    config = PanelConfig(horizon=horizon, train_end="2015-01-20", valid_end="2015-02-09")
    free, panel = make_panel(bars, config), make_panel(bars, replace(config, embargo=embargo))
    day = panel.date.astype("datetime64[D]")
    sessions = np.unique(day[np.isfinite(panel.close)])
    banned = [
        d
        for end in (config.train_end, config.valid_end)
        for d in sessions[sessions > np.datetime64(end)][:embargo]
    ]
    np.testing.assert_array_equal(panel.split, np.where(np.isin(day, banned), 3, free.split))
    if embargo < 14 and freq == "B":
        for split, end in (("valid", config.train_end), ("test", config.valid_end)):
            begin = sessions[sessions > np.datetime64(end)][embargo]
            rows = panel.origins(split)
            assert not len(rows) or day[rows].min() == begin


def test_an_embargo_without_dates_counts_bars():
    panel = make_panel(made_bars(("A", "B"), 100, freq=None), PanelConfig(horizon=5, embargo=3))
    for start in panel.start:
        own = panel.split[start : start + 100]
        np.testing.assert_array_equal(np.flatnonzero(own == 0), np.arange(0, 66))
        np.testing.assert_array_equal(np.flatnonzero(own == 1), np.arange(74, 81))
        np.testing.assert_array_equal(np.flatnonzero(own == 2), np.arange(89, 95))


def test_default_splits_are_the_first_70_and_next_15_percent_of_the_dates():
    panel = made_panel(200)
    dates = np.unique(panel.date[np.isfinite(panel.close)])
    assert panel.date[panel.origins("train") + 5].max() == dates[int(0.7 * 199)]
    assert panel.date[panel.origins("valid")].min() == dates[int(0.7 * 199) + 1]
    assert panel.date[panel.origins("valid") + 5].max() == dates[int(0.85 * 199)]


def test_a_split_date_means_the_whole_day():
    bars = made_bars(("A",), 400, freq="h")
    config = PanelConfig(horizon=1, train_end="2015-01-10", valid_end="2015-01-14")
    panel = make_panel(bars, config)
    assert panel.date[panel.origins("train") + 1].max() == np.datetime64("2015-01-10T23:00")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"train_end": "2016-01-01", "valid_end": "2015-01-01"}, "comes after"),
        ({"train_end": "yesterday-ish"}, "no date"),
        ({"observed": ("return", "rsi")}, "no feature 'rsi'"),
        ({"known": ("moon",)}, "no feature 'moon'"),
    ],
)
def test_bad_panel_settings_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        made_panel(60, **changes)
    assert one_sentence(str(caught.value))


def test_an_unknown_split_is_refused(panel):
    with pytest.raises(ConfigError, match=r"'validation'.*train, valid, test"):
        panel.origins("validation")


def test_chosen_features_come_in_the_order_asked_for():
    panel, chosen = made_panel(120), ("range", "return", "has_volume")
    part = made_panel(120, observed=chosen, known=("gap", "weekday_sin"))
    assert part.inputs == {"observed": chosen, "known": ("gap", "weekday_sin"), "static": F.STATIC}
    for i, name in enumerate(chosen):
        np.testing.assert_array_equal(
            part.observed[:, i], panel.observed[:, panel.inputs["observed"].index(name)]
        )
    np.testing.assert_array_equal(
        part.known[:, 0], panel.known[:, panel.inputs["known"].index("gap")]
    )


def test_origins_have_their_context(panel):
    for context in (1, 20):
        rows = panel.origins("train", context)
        assert len(rows) and (rows - panel.start[panel.symbol_of(rows)] >= context - 1).all()
    assert len(panel.origins("train", 1)) > len(panel.origins("train", 20))


def test_last_origins_and_the_symbol_that_is_too_short(panel):
    np.testing.assert_array_equal(panel.last_origins(), panel.start + panel.length - 1)
    with pytest.raises(
        HistoryTooShort, match=r"B has 40 bars but the model needs 60; give 20 more"
    ) as caught:
        panel.last_origins(60)
    assert one_sentence(str(caught.value))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(context=st.integers(1, 45), origins=st.integers(1, 70), seed=st.integers(0, 999))
def test_every_origin_is_found_at_its_place(panel, context, origins, seed):
    rows = np.concatenate(
        [start + np.arange(context - 1, size) for start, size in zip(panel.start, panel.length)]
    )
    rows = np.random.default_rng(seed).permutation(rows)[: 1 + seed % 50]
    starts, place = blocks(panel, rows, context, origins)
    batch = gather(panel, starts, context, origins)
    bars, horizon = context + origins - 1, 3
    assert batch.observed.shape == (len(starts), bars, len(panel.inputs["observed"]))
    assert batch.known.shape == (len(starts), bars + horizon, len(panel.inputs["known"]))
    assert batch.target.shape == (len(starts), origins, horizon) and batch.scale.shape == (
        len(starts),
        origins,
    )
    chunk, fork = place // origins, place % origins
    bar = context - 1 + fork
    np.testing.assert_array_equal(batch.target[chunk, fork], panel.target[rows])
    np.testing.assert_array_equal(batch.scale[chunk, fork], panel.scale[rows])
    for lag in range(context):
        np.testing.assert_array_equal(batch.observed[chunk, bar - lag], panel.observed[rows - lag])
    for step in range(1, horizon + 1):
        np.testing.assert_array_equal(batch.known[chunk, bar + step], panel.known[rows + step])
    np.testing.assert_array_equal(batch.static[chunk], panel.static[panel.symbol_of(rows)])
    assert np.isfinite(batch.scale).all() and np.isfinite(batch.observed).all()


def test_a_chunk_does_not_depend_on_which_other_origins_are_asked_for(panel):
    rows = panel.origins("train", 10)
    every, place = blocks(panel, rows, 10, 16)
    for i in (0, 7, len(rows) // 2, len(rows) - 1):
        one, alone = blocks(panel, rows[i : i + 1], 10, 16)
        assert one[0] == every[place[i] // 16] and alone[0] == place[i] % 16


def test_an_origin_without_its_context_is_refused(panel):
    with pytest.raises(TftnhitsError, match="fewer than 10 bars"):
        blocks(panel, panel.start[:1] + 8, 10, 16)
    assert len(blocks(panel, panel.start[:1] + 9, 10, 16)[0]) == 1


def test_nothing_of_the_next_symbol_enters_a_chunk(panel):
    second = panel.start[1]
    batch = gather(panel, np.array([second + 30]), 10, 64)  # far past the end of its 40 bars
    last = second + 39
    np.testing.assert_array_equal(
        batch.observed[0, 10:], np.repeat(panel.observed[last][None], 63, 0)
    )
    np.testing.assert_array_equal(
        batch.known[0, 13:], np.repeat(panel.known[last + 3][None], 63, 0)
    )
    assert np.isnan(batch.target[0, 1:]).all()


@pytest.mark.parametrize("split", SPLITS)
def test_targets_outside_the_split_are_nan(split):
    panel = made_panel(200)
    context, origins = 10, 32
    rows = np.concatenate([start + np.arange(context - 1, 200) for start in panel.start])
    starts, place = blocks(panel, rows, context, origins)
    target = gather(panel, starts, context, origins, split).target.reshape(-1, 5)[place]
    inside = panel.split[rows] == SPLITS.index(split)
    np.testing.assert_array_equal(target[inside], panel.target[rows[inside]])
    assert np.isnan(target[~inside]).all() and inside.any()
    assert np.isfinite(panel.target[rows[~inside]]).any()  # gather must not have changed the panel


@settings(max_examples=40, deadline=None, derandomize=True)
@given(context=st.integers(1, 30), origins=st.integers(1, 80), seed=st.integers(0, 10_000))
def test_training_covers_every_origin(panel, context, origins, seed):
    starts = training_starts(panel, context, origins, seed)
    rows = panel.origins("train", context)
    at = starts[:, None] + context - 1 + np.arange(origins)
    at = at[
        panel.symbol_of(np.minimum(at, len(panel.close) - 1)) == panel.symbol_of(starts)[:, None]
    ]
    assert set(rows) <= set(at)
    assert (
        len(set(starts)) == len(starts) and (starts >= panel.start[panel.symbol_of(starts)]).all()
    )
    # each about once: a block more a symbol at the most
    assert len(starts) <= sum(np.ceil(LENGTHS[s] / origins) + 1 for s in panel.symbols)


def test_training_chunks_move_and_shuffle_with_the_seed():
    panel = made_panel(300)
    first, again, other = (training_starts(panel, 10, 32, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other and sorted(first) != sorted(other) and first != sorted(first)


def test_training_without_enough_bars_says_how_many():
    panel = made_panel(30)
    with pytest.raises(HistoryTooShort, match=r"60 bars of context .*30 bars") as caught:
        training_starts(panel, 60, 8, 0)
    assert one_sentence(str(caught.value))


def test_batches_of_torch_are_those_of_numpy(panel):
    pytest.importorskip("torch")
    starts, _ = blocks(panel, panel.origins("train", 10), 10, 16)
    tensors = gather(panel.with_tensors(), starts, 10, 16, "train")
    for one, other in zip(gather(panel, starts, 10, 16, "train"), tensors):
        np.testing.assert_array_equal(one, other.numpy())


def test_the_digest_tells_any_change_of_data_or_split():
    bars = made_bars(bars=80)
    base = make_panel(bars)
    assert base.digest() == make_panel(bars.copy()).digest()
    seen = {base.digest()}
    for column in ("open", "high", "low", "close", "volume"):
        changed = bars.copy()
        changed.loc[40, column] *= {"high": 1.01, "low": 0.99}.get(column, 1.00001)
        seen.add(make_panel(changed).digest())
    seen.add(make_panel(bars.assign(symbol=bars["symbol"] + "x")).digest())
    seen.add(make_panel(bars, PanelConfig(train_end="2015-03-02")).digest())
    assert len(seen) == 8


def test_a_horizon_longer_than_the_history_leaves_no_outcome():
    panel = make_panel(made_bars(bars=10), PanelConfig(horizon=25))
    assert np.isnan(panel.target[:, 9:]).all() and (panel.split == 3).all()
    assert np.isfinite(panel.observed).all() and len(panel.date) == 4 * 35


def test_outcomes_are_log_returns_to_later_closes_and_unknown_past_the_end():
    bars = made_bars(symbols=("A", "B"), bars=60)
    panel = make_panel(bars, PanelConfig(horizon=3))
    close = bars[bars["symbol"] == "B"]["close"].to_numpy()
    found = panel.outcomes(panel.start[1] + np.array([10, 58, 59]))
    np.testing.assert_allclose(found[0], np.log(close[11:14] / close[10]))
    np.testing.assert_allclose(found[1, 0], np.log(close[59] / close[58]))
    assert np.isnan(found[1, 1:]).all() and np.isnan(found[2]).all()
    assert np.isnan(panel.outcomes(panel.start[:1] + 59)).all()  # not the next symbol's closes
