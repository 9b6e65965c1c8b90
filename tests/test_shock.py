"""Shocks that are exact and leave valid bars, forecasts that see nothing else, their comparison."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks
from hypothesis import given, settings
from hypothesis import strategies as st

import tftnhits as tn
from tftnhits.whatif.shock import CONTEXT, MAX_BARS, NOTHING, USUAL, Shock, WhatIf, shocked

ORIGIN = "2015-08-21"
CELLS = ["open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return stocks(("AAPL", "GOOG", "META", "NVDA"), "2013-06-01", "2015-10-30")


@pytest.fixture(scope="module")
def model() -> tn.Predictor:
    pytest.importorskip("torch")
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def lab(bars, model) -> WhatIf:
    return WhatIf(bars, model)


def cut(bars, origin=ORIGIN) -> pd.DataFrame:
    """What a forecast from the origin sees, by other means than WhatIf's."""
    return bars[bars["date"] <= origin].groupby("symbol").tail(CONTEXT).reset_index(drop=True)


def rows_of(frame, symbol="META") -> pd.DataFrame:
    return frame[frame["symbol"] == symbol].reset_index(drop=True)


def valid(bars) -> bool:
    """Whether validation has nothing to repair, and changes nothing."""
    again, report = tn.validate_bars(bars)
    return report.empty and again[["date", *CELLS]].equals(bars[["date", *CELLS]])


@settings(max_examples=40, deadline=None)
@given(st.floats(-60, 60), st.floats(0.01, 6), st.floats(0.05, 6), st.floats(-60, 60))
def test_a_shocked_last_bar_is_exact_and_valid(change, stretch, volume, market):
    bars = tn.load_bars(made_bars(bars=30))
    after = shocked(bars, "B", Shock(change, stretch, volume, market))
    assert valid(after)
    for symbol in "ABCD":
        move, wide, heavy = (change, stretch, volume) if symbol == "B" else (market, 1, 1)
        was, now = rows_of(bars, symbol).iloc[-1], rows_of(after, symbol).iloc[-1]
        assert now["close"] == pytest.approx(was["close"] * (1 + move / 100), rel=1e-14)
        assert now["open"] == was["open"] and now["volume"] == pytest.approx(was["volume"] * heavy)
        high, low = max(was["high"], now["close"]), min(was["low"], now["close"])
        middle, half = np.log(high * low) / 2, wide * np.log(high / low) / 2
        assert now["high"] == pytest.approx(max(np.exp(middle + half), now["open"], now["close"]))
        assert now["low"] == pytest.approx(min(np.exp(middle - half), now["open"], now["close"]))
    earlier = after.index.difference(after.groupby("symbol").tail(1).index)
    assert after.loc[earlier].equals(bars.loc[earlier])


numbers = st.floats(-20, 20), st.floats(0.01, 6), st.floats(0.05, 6), st.floats(-20, 20)


@settings(max_examples=25, deadline=None)
@given(*numbers, st.integers(1, MAX_BARS))
def test_a_path_is_exact_and_valid(change, stretch, volume, market, count):
    bars = tn.load_bars(made_bars(bars=30))
    after = shocked(bars, "B", Shock(change, stretch, volume, market, count))
    assert valid(after)
    for symbol, step, wide, heavy in (("B", change, stretch, volume), ("C", market, 1, 1)):
        past, more = rows_of(bars, symbol), rows_of(after, symbol).iloc[30:]
        assert rows_of(after, symbol).iloc[:30].equals(past) and len(more) == count
        assert (more["date"] > past["date"].iloc[-1]).all() and more["date"].is_monotonic_increasing
        recent = past.tail(USUAL)
        assert more["open"].tolist() == [past["close"].iloc[-1], *more["close"].iloc[:-1]]
        assert np.allclose(more["close"] / more["open"], 1 + step / 100, rtol=1e-12)
        usual = np.median(np.log(recent["high"] / recent["low"]))
        ranges = np.maximum(wide * usual, np.abs(np.log(1 + step / 100)))
        assert np.allclose(np.log(more["high"] / more["low"]), ranges, atol=1e-12)
        assert np.allclose(more["volume"], heavy * recent["volume"].median())


def test_no_shock_changes_no_bit_and_no_forecast(bars, lab):
    assert shocked(cut(bars), "META", NOTHING).equals(cut(bars))
    answer = lab.ask("META", ORIGIN)
    assert answer.after is answer.before and (answer.table["change"] == 0).all(axis=None)
    assert answer.changed.empty


@pytest.mark.parametrize("shock", [Shock(-5, 2, 3, -4), Shock(1, market=-2, bars=3)])
def test_both_forecasts_are_the_predictors_rows_of(bars, lab, model, shock):
    asked = {"horizon": 3, "level": 0.8, "weights": {"tft": 1, "nhits": 3}}
    answer = lab.ask("META", ORIGIN, shock, **asked)
    for fc, seen in ((answer.before, cut(bars)), (answer.after, shocked(cut(bars), "META", shock))):
        pd.testing.assert_frame_equal(
            fc.frame, rows_of(model.predict(seen, **asked).frame), rtol=1e-6
        )
    assert answer.models == ("ensemble (0.25 TFT + 0.75 N-HITS)",) * 2
    assert not np.allclose(answer.after.frame["upper"], answer.before.frame["upper"], rtol=1e-4)
    path = answer.changed.index[1:]
    ahead = answer.fans["before"]["x"].iloc[1:]
    assert path.tolist() == (ahead.tolist() if shock.bars else [pd.Timestamp(ORIGIN)])
    assert answer.fans["after"]["x"].iloc[0] == path[-1]


def test_another_question_is_not_answered_from_memory(bars, model):
    lab = WhatIf(bars, model)
    for symbol, origin, shock, more in [
        ("META", ORIGIN, Shock(-3), {}),
        ("META", ORIGIN, Shock(-4), {}),
        ("META", ORIGIN, Shock(-4), {"level": 0.5}),
        ("META", "2015-08-20", Shock(-4), {}),
        ("GOOG", "2015-08-20", Shock(-4), {}),
        ("GOOG", "2015-08-20", Shock(bars=2), {"weights": {"tft": 1, "nhits": 0}}),
    ]:
        fresh, again = (x.ask(symbol, origin, shock, **more) for x in (WhatIf(bars, model), lab))
        for which in ("before", "after"):
            pd.testing.assert_frame_equal(fresh.fans[which], again.fans[which], rtol=0, atol=0)


@pytest.mark.parametrize("shock", [Shock(-5), Shock(-1, bars=4)])
def test_bars_after_the_origin_are_never_seen(bars, lab, model, shock):
    later = bars["date"] > ORIGIN
    changed = bars.assign(**{c: bars[c].where(~later, 3 * bars[c]) for c in CELLS})
    answer, other = (x.ask("META", ORIGIN, shock) for x in (lab, WhatIf(changed, model)))
    for which in ("before", "after"):
        assert answer.fans[which].equals(other.fans[which])
    assert np.allclose(other.came["close"], 3 * answer.came["close"])
    assert len(answer.came) == 5 + shock.bars


def test_the_markets_move_needs_a_market(bars, lab, model):
    assert abs(lab.ask("META", ORIGIN, Shock(market=-8)).table["change", "width"].iloc[-1]) > 0.1
    alone = WhatIf(rows_of(bars), model).ask("META", ORIGIN, Shock(market=-8))
    assert (alone.table["change"].abs() < 1e-10).all(axis=None)
    late = bars[(bars["symbol"] == "META") | (bars["date"] < ORIGIN)]  # others end before
    assert shocked(cut(late), "META", Shock(market=-8)).equals(cut(late))


def test_the_table_repeats_the_forecasts_and_compares_them(lab):
    answer = lab.ask("META", ORIGIN, Shock(-5, range=2))
    table, change = answer.table, answer.table["change"]
    for which, fc, start in (("before", answer.before, 1), ("after", answer.after, 0.95)):
        close = answer.past["close"].iloc[-1] * start
        for name in ("median", "lower", "upper"):
            assert table[which, name].tolist() == fc.frame[name].tolist()
            assert np.allclose(table[which, f"{name} %"], 100 * (fc.frame[name] / close - 1))
    assert np.allclose(
        change["lower"], 100 * (table["after", "lower"] / table["before", "lower"] - 1)
    )
    wide = [table[which, "upper %"] - table[which, "lower %"] for which in ("before", "after")]
    assert np.allclose(change["width"], 100 * (wide[1] / wide[0] - 1))
    assert table.index.tolist() == [1, 2, 3, 4, 5] and change["width"].iloc[-1] > 20


def test_titles_state_the_numbers(lab, model):
    answer = lab.ask("META", ORIGIN, Shock(-5, range=2))
    last = answer.table.iloc[-1]
    assert answer.title == (
        f"META, last bar -5.0%, range ×2: median {last['after', 'median %']:+.2f}% in 5 sessions "
        f"instead of {last['before', 'median %']:+.2f}%, "
        f"93% interval {last['change', 'width']:.0f}% wider"
    )
    none = lab.ask("META", ORIGIN, horizon=2, level=0.5)
    came, last = none.came["close"].iloc[1], none.before.frame.iloc[-1]
    where = "inside" if last["lower"] <= came <= last["upper"] else "outside"
    assert none.title.startswith("META, no shock: median ") and "in 2 sessions, 50%" in none.title
    assert none.title.endswith(f"; it came to {came:.2f}, {where}")
    words = str(Shock(1, volume=3, market=-2, bars=2))
    assert words == "2 more bars +1.0% each, volume ×3, market -2.0% each"
    assert "% in 5 weeks, " in WhatIf(made_bars(("A",), 100, "W-FRI"), model).ask("A").title


def test_a_change_of_model_is_no_effect_of_the_shock(bars, model):
    lab = WhatIf(rows_of(bars[bars["date"] <= ORIGIN]).tail(58), model)
    answer = lab.ask("META", None, Shock(bars=5))
    assert answer.models == ("gradient boosting", "ensemble (0.65 TFT + 0.35 N-HITS)")
    assert f"change of model, from {answer.models[0]} to {answer.models[1]}" in answer.title
    assert "change of model" not in lab.ask("META", None, Shock(bars=1)).title


def test_drivers_are_tfts_weights_before_and_after(lab):
    answer = lab.ask("META", ORIGIN, Shock(-3, bars=2))
    inputs, days = answer.drivers()
    assert inputs.sum().between(50, 100).all() and inputs["after"].is_monotonic_decreasing
    assert not {"has_year", "hour_cos"} & {*inputs.index}  # they don't vary on daily bars
    past = answer.after.explain().past.groupby("input")["weight"].mean()
    assert np.allclose(inputs["after"], 100 * past[inputs.index])
    assert days[["before", "after"]].sum().between(1, 100).all()
    made, gone = days.loc[answer.assumed.index[-2:]], days[days["after"].isna()]
    assert made["before"].isna().all() and np.allclose(made["return"], -3)
    assert len(gone) == 2 and gone.index.max() < days[days["after"].notna()].index.min()
    with pytest.raises(tn.ConfigError, match="TFT didn't answer"):
        lab.ask("META", ORIGIN, weights={"tft": 0, "nhits": 1}).drivers()


def test_an_origin_is_a_day_a_time_a_number_or_the_last(lab, bars, model):
    dates = rows_of(bars)["date"]
    assert lab.bar_at("META") == lab.bar_at("META", "2031-01-01") == len(dates) - 1
    friday = lab.bar_at("META", ORIGIN)
    assert dates[friday] == pd.Timestamp(ORIGIN) and lab.bar_at("META", dates[friday]) == friday
    assert lab.bar_at("META", "2015-08-23") == friday  # a Sunday: the last bar before
    hourly = made_bars(("A",), 200, "h")
    hours = WhatIf(hourly, model)
    for origin, last in (("2015-01-04", "04 23:00"), ("2015-01-04 05:30", "04 05:00")):
        assert hourly["date"][hours.bar_at("A", origin)] == pd.Timestamp(f"2015-01-{last}")
    assert lab.daily and not hours.daily


@pytest.mark.parametrize("dates", [True, False])
@pytest.mark.parametrize(
    "asked, named",
    [({"symbol": "TSLA"}, "'TSLA'"), ({"origin": "soon"}, "'soon'"), ({"origin": -1}, "-1")]
    + [({"weights": {"tft": 0, "nhits": 0}}, "weights"), ({"horizon": 99}, "99")]
    + [({"shock": Shock(-99.9, bars=20)}, "META")],
)
def test_what_can_t_be_asked_is_said_in_a_sentence(bars, model, dates, asked, named):
    bars = rows_of(bars) if dates else rows_of(bars).assign(date=pd.NaT)
    with pytest.raises(tn.TftnhitsError) as caught:
        WhatIf(bars, model).ask(**{"symbol": "META", **asked})
    assert one_sentence(str(caught.value)) and named in str(caught.value)


def test_too_few_bars_are_counted_and_the_others_go_on(bars, lab, model):
    with pytest.raises(tn.HistoryTooShort, match="META has 1 bars up to 2013-06-03"):
        lab.ask("META", "2013-06-03")
    early = lab.ask("META", "2013-06-20", Shock(-5))
    assert early.models == ("gradient boosting",) * 2
    assert "14 bars" in early.before.reports["META"].warnings[0]
    new = rows_of(bars, "GOOG").assign(symbol="NEW")
    new = new[new["date"] == ORIGIN]  # a single bar, too few for any member
    answer = WhatIf(pd.concat([bars, new]), model).ask("META", ORIGIN, Shock(-5))
    assert answer.fans["after"].equals(lab.ask("META", ORIGIN, Shock(-5)).fans["after"])


@pytest.mark.parametrize(
    "name, wrong",
    [("change", (-100, np.nan, "5", True, None)), ("range", (0, -0.1, np.inf)), ("volume", (0,))]
    + [("market", (-100,)), ("bars", (MAX_BARS + 1, -1, 1.5, "2"))],
)
def test_a_shock_that_makes_no_bar_is_refused(name, wrong):
    for value in wrong:
        with pytest.raises(tn.ConfigError) as caught:
            Shock(**{name: value})
        assert one_sentence(str(caught.value)) and name in str(caught.value)


def test_bars_without_dates_stand_on_their_numbers(bars, model):
    lab = WhatIf(rows_of(bars)[CELLS].to_numpy().tolist(), model)
    (symbol,) = lab.by_symbol
    answer = lab.ask(symbol, 500, Shock(-2, bars=2))
    assert answer.axis == "bar number" and answer.past.index[-1] == 500
    assert answer.fans["before"]["x"].tolist() == [500, 501, 502, 503, 504, 505]
    assert answer.fans["after"]["x"].tolist() == [502, 503, 504, 505, 506, 507]
    assert answer.came.index.tolist() == list(range(501, 508)) and "5 bars" in answer.title


def test_a_volume_that_is_not_known_stays_so(model):
    bars = tn.load_bars(made_bars(("A", "B", "C"), 120, volume=False))
    for shock in (Shock(-2, volume=3), Shock(-2, volume=3, bars=2)):
        assert valid(shocked(bars, "A", shock)) and shocked(bars, "A", shock)["volume"].isna().all()
        table = WhatIf(bars, model).ask("A", None, shock).table.drop(columns="x", level=1)
        assert np.isfinite(table).all(axis=None)
