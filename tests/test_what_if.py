"""Shocks that are exact and leave valid bars, forecasts that see nothing else, tables and pictures that repeat them."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks
from hypothesis import given, settings
from hypothesis import strategies as st

import tftnhits as tn
from tftnhits.viz.style import THEMES, caption_of, signed
from tftnhits.whatif.shock import (
    KEEP,
    MAX_BARS,
    NOTHING,
    USUAL,
    Comparison,
    Shock,
    WhatIf,
    sensitivity,
    shocked,
)
from tftnhits.whatif.views import (
    LIMITS,
    RESPONSE,
    drivers_html,
    plot_sensitivity,
    plot_what_if,
    table_html,
)

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


@pytest.fixture(scope="module")
def shock_of(lab):
    return lab.ask("META", ORIGIN, Shock(-5, range=2))


def cut(bars, origin=ORIGIN) -> pd.DataFrame:
    """What a forecast from the origin sees, by other means than WhatIf's."""
    return bars[bars["date"] <= origin].groupby("symbol").tail(KEEP).reset_index(drop=True)


def own(frame, symbol="META") -> pd.DataFrame:
    return frame[frame["symbol"] == symbol].reset_index(drop=True)


def valid(bars) -> bool:
    """Whether validation has nothing to repair, and changes nothing."""
    again, report = tn.validate_bars(bars)
    return report.empty and again[["date", *CELLS]].equals(bars[["date", *CELLS]])


percents = st.floats(-60, 60)


@settings(max_examples=40, deadline=None)
@given(percents, st.floats(0, 6), st.floats(0.05, 6), percents)
def test_a_shocked_last_bar_is_exact_and_valid(change, stretch, volume, market):
    bars = tn.load_bars(made_bars(bars=30))
    after = shocked(bars, "B", Shock(change, stretch, volume, market))
    was, now = own(bars, "B").iloc[-1], own(after, "B").iloc[-1]
    assert now["close"] == pytest.approx(was["close"] * (1 + change / 100), rel=1e-14)
    assert now["open"] == was["open"] and now["volume"] == pytest.approx(was["volume"] * volume)
    high, low = max(was["high"], now["close"]), min(was["low"], now["close"])
    middle, half = np.log(high * low) / 2, stretch * np.log(high / low) / 2
    assert now["high"] == pytest.approx(max(np.exp(middle + half), now["open"], now["close"]))
    assert now["low"] == pytest.approx(min(np.exp(middle - half), now["open"], now["close"]))
    for symbol in "ACD":
        was, now = own(bars, symbol).iloc[-1], own(after, symbol).iloc[-1]
        assert now["close"] == pytest.approx(was["close"] * (1 + market / 100), rel=1e-14)
        assert now["open"] == was["open"] and now["volume"] == was["volume"]
        assert now["high"] == max(was["high"], now["close"]) and now["low"] == min(
            was["low"], now["close"]
        )
    earlier = after.index.difference(after.groupby("symbol").tail(1).index)
    assert after.loc[earlier].equals(bars.loc[earlier])
    assert valid(after)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-20, 20),
    st.floats(0, 6),
    st.floats(0.05, 6),
    st.floats(-20, 20),
    st.integers(1, MAX_BARS),
)
def test_a_path_is_exact_and_valid(change, stretch, volume, market, count):
    bars = tn.load_bars(made_bars(bars=30))
    after = shocked(bars, "B", Shock(change, stretch, volume, market, count))
    assert valid(after)
    for symbol, step, wide, heavy in (("B", change, stretch, volume), ("C", market, 1, 1)):
        past, more = own(bars, symbol), own(after, symbol).iloc[30:]
        assert own(after, symbol).iloc[:30].equals(past) and len(more) == count
        assert (more["date"] > past["date"].iloc[-1]).all() and more["date"].is_monotonic_increasing
        recent = past.tail(USUAL)
        assert more["open"].iloc[0] == past["close"].iloc[-1]
        assert np.array_equal(more["open"].iloc[1:], more["close"].iloc[:-1])
        assert np.allclose(more["close"] / more["open"], 1 + step / 100, rtol=1e-12)
        usual = np.median(np.log(recent["high"] / recent["low"]))
        ranges = np.maximum(wide * usual, np.abs(np.log(1 + step / 100)))
        assert np.allclose(np.log(more["high"] / more["low"]), ranges, atol=1e-12)
        assert np.allclose(more["volume"], heavy * recent["volume"].median())


def test_no_shock_changes_no_bit_and_no_forecast(bars, lab, model):
    assert shocked(cut(bars), "META", NOTHING).equals(cut(bars))
    answer = lab.ask("META", ORIGIN)
    pd.testing.assert_frame_equal(answer.after.frame, answer.before.frame, rtol=0, atol=1e-12)
    numbers = own(model.predict(shocked(cut(bars), "META", Shock(0.0, 1.0, 1.0, 0.0, 0))).frame)
    pd.testing.assert_frame_equal(
        answer.after.frame, numbers, rtol=1e-6
    )  # of a batch of all symbols: float32
    assert (answer.table["change"].abs() < 1e-10).all(axis=None)


@pytest.mark.parametrize(
    "shock", [Shock(-5, 2, 3, -4), Shock(1, market=-2, bars=3)], ids=["last", "path"]
)
def test_both_forecasts_are_the_predictors_own(bars, lab, model, shock):
    answer = lab.ask("META", ORIGIN, shock, horizon=3, level=0.8, weights={"tft": 1, "nhits": 3})
    asked = {"horizon": 3, "level": 0.8, "weights": {"tft": 1, "nhits": 3}}
    for fc, seen in ((answer.before, cut(bars)), (answer.after, shocked(cut(bars), "META", shock))):
        pd.testing.assert_frame_equal(fc.frame, own(model.predict(seen, **asked).frame), rtol=1e-6)
        assert fc.model_used == {"META": "ensemble (0.25 TFT + 0.75 N-HITS)"}
    assert not np.allclose(answer.after.frame["upper"], answer.before.frame["upper"], rtol=1e-4)


def test_another_question_is_not_answered_from_memory(bars, model):
    shock, before = Shock(-4), "2015-08-20"
    asked = [
        ("META", ORIGIN, Shock(-3), {}),
        ("META", ORIGIN, shock, {}),
        ("META", ORIGIN, shock, {"level": 0.5}),
        ("META", before, shock, {}),
        ("GOOG", before, shock, {}),
        ("GOOG", before, Shock(bars=2), {}),
        ("GOOG", before, Shock(bars=2), {"weights": {"tft": 1, "nhits": 0}}),
        ("META", ORIGIN, Shock(-3), {"horizon": 2}),
    ]
    lab = WhatIf(bars, model)
    for symbol, origin, shock, more in asked:
        fresh, again = (
            one.ask(symbol, origin, shock, **more) for one in (WhatIf(bars, model), lab)
        )
        for which in ("before", "after"):
            pd.testing.assert_frame_equal(fresh.fans[which], again.fans[which], rtol=0, atol=0)


@pytest.mark.parametrize("shock", [Shock(-5), Shock(-1, bars=4)], ids=["last", "path"])
def test_bars_after_the_origin_are_never_seen(bars, lab, model, shock):
    later = bars["date"] > ORIGIN
    changed = bars.assign(**{c: bars[c].where(~later, 3 * bars[c]) for c in CELLS})
    answer, other = (
        lab.ask("META", ORIGIN, shock),
        WhatIf(changed, model).ask("META", ORIGIN, shock),
    )
    for which in ("before", "after"):
        assert answer.fans[which].equals(other.fans[which])
    assert (
        np.allclose(other.came["close"], 3 * answer.came["close"])
        and len(answer.came) == 5 + shock.bars
    )


def test_what_is_cut_off_hardly_matters(model):
    long = stocks(("AAPL", "GOOG", "^GSPC", "^IXIC"), "2006-01-01", ORIGIN)
    fan = WhatIf(long, model).ask("GOOG").fans["before"]
    every = own(model.predict(long).frame, "GOOG")
    width = (fan["upper"] - fan["lower"]).iloc[1:].to_numpy() / (
        every["upper"] - every["lower"]
    ).to_numpy()
    assert np.abs(width - 1).max() < 5e-4


def test_the_markets_move_needs_a_market(bars, lab, model):
    assert lab.has_market("META", ORIGIN)
    assert abs(lab.ask("META", ORIGIN, Shock(market=-8)).table["change", "width"].iloc[-1]) > 0.1
    alone = WhatIf(own(bars), model)
    assert not alone.has_market("META", ORIGIN)
    assert (alone.ask("META", ORIGIN, Shock(market=-8)).table["change"].abs() < 1e-10).all(
        axis=None
    )
    late = bars[
        (bars["symbol"] == "META") | (bars["date"] < ORIGIN)
    ]  # the others have no bar on that date
    assert not WhatIf(late, model).has_market("META", ORIGIN)
    assert shocked(cut(late), "META", Shock(market=-8)).equals(cut(late))


def test_a_paths_dates_are_those_of_the_forecast(lab):
    answer = lab.ask("META", ORIGIN, Shock(bars=3))
    assert answer.assumed["x"].tolist()[-3:] == answer.fans["before"]["x"].tolist()[1:4]
    assert answer.fans["after"]["x"].iloc[0] == answer.assumed["x"].iloc[-1]
    assert answer.changed["x"].tolist() == [
        answer.past["x"].iloc[-1],
        *answer.assumed["x"].tolist()[-3:],
    ]


def test_the_table_repeats_the_forecasts_and_compares_them(shock_of):
    table = shock_of.table
    for which, fc, start in (("before", shock_of.before, 1), ("after", shock_of.after, 0.95)):
        close = shock_of.past["close"].iloc[-1] * start
        for name in ("median", "lower", "upper"):
            assert table[which, name].tolist() == fc.frame[name].tolist()
            assert np.allclose(table[which, f"{name} %"], 100 * (fc.frame[name] / close - 1))
    ratio = shock_of.after.frame["lower"] / shock_of.before.frame["lower"]
    assert np.allclose(table["change", "lower"], 100 * (ratio - 1))
    widths = [table[which, "upper %"] - table[which, "lower %"] for which in ("before", "after")]
    assert np.allclose(table["change", "width"], 100 * (widths[1] / widths[0] - 1))
    assert table.index.tolist() == [1, 2, 3, 4, 5] and table["change", "width"].iloc[-1] > 20


def test_titles_state_the_numbers(lab, shock_of):
    last = shock_of.table.iloc[-1]
    found = re.fullmatch(
        r"META, last bar -5\.0%, range ×2: median (\S+)% in 5 sessions instead of (\S+)%, 93% interval (\d+)% wider",
        shock_of.title,
    )
    assert found, shock_of.title
    assert float(found[1]) == pytest.approx(last["after", "median %"], abs=0.0051)
    assert float(found[2]) == pytest.approx(last["before", "median %"], abs=0.0051)
    assert float(found[3]) == pytest.approx(last["change", "width"], abs=0.51)
    none = lab.ask("META", ORIGIN, horizon=2, level=0.5)
    came, last = none.came["close"].iloc[1], none.before.frame.iloc[-1]
    where = "inside" if last["lower"] <= came <= last["upper"] else "outside"
    assert (
        none.title.startswith("META, no shock: median ")
        and "in 2 sessions, 50% interval" in none.title
    )
    assert none.title.endswith(f"; it came to {came:.2f}, {where}")
    assert "came" not in lab.ask("META").title  # the last bar: nothing has come
    assert signed(-0.001) == "+0.00" and signed(-0.06, 1) == "-0.1"
    assert (
        str(Shock(1, volume=3, market=-2, bars=2))
        == "2 more bars +1.0% each, volume ×3, market -2.0% each"
    )
    assert str(Shock(bars=1)) == "1 more bar of no change"


def test_drivers_are_tfts_weights_before_and_after(lab):
    answer = lab.ask("META", ORIGIN, Shock(-3, bars=2))
    inputs, days = answer.drivers()
    assert np.allclose(inputs.sum(), 100) and inputs["after"].is_monotonic_decreasing
    past = answer.after.explain().past.groupby("input")["weight"].mean()
    assert np.allclose(inputs["after"], 100 * past[inputs.index])
    assert (days[["before", "after"]].sum().between(1, 100)).all()
    made, gone = days.loc[answer.assumed["x"].iloc[-2:]], days[days["after"].isna()]
    assert (
        made["before"].isna().all()
        and np.allclose(made["assumed"], -3)
        and made["return"].isna().all()
    )
    assert len(gone) == 2 and gone.index.max() < days[days["after"].notna()].index.min()
    with pytest.raises(tn.ConfigError, match="TFT didn't answer"):
        lab.ask("META", ORIGIN, weights={"tft": 0, "nhits": 1}).drivers()


def test_an_origin_is_a_day_a_number_or_the_last(lab, bars):
    dates = own(bars)["date"]
    assert lab.bar_at("META") == lab.bar_at("META", "2031-01-01") == len(dates) - 1
    friday = lab.bar_at("META", ORIGIN)
    assert dates[friday] == pd.Timestamp(ORIGIN) and lab.bar_at("META", friday) == friday
    assert lab.bar_at("META", "2015-08-23") == friday  # a Sunday: the last bar before
    assert lab.ask("META", friday).past["x"].iloc[-1] == pd.Timestamp(ORIGIN)
    hourly = made_bars(("A",), 200, "h")
    number = WhatIf(hourly, lab.model)
    assert not number.by_day and lab.by_day
    assert hourly["date"][number.bar_at("A", "2015-01-04")] == pd.Timestamp(
        "2015-01-04 23:00"
    )  # all of that day
    assert hourly["date"][number.bar_at("A", "2015-01-04 05:30")] == pd.Timestamp(
        "2015-01-04 05:00"
    )


@pytest.mark.parametrize(
    "symbol, origin, says",
    [
        ("TSLA", None, "no symbol 'TSLA'"),
        (
            "META",
            "2001-01-01",
            "no bar up to 2001-01-01; choose a date from 2013-06-03 to 2015-10-30",
        ),
        ("META", "soon", "'soon' is no date"),
        ("META", 10_000, "has no bar 10000"),
        ("META", -1, "has no bar -1"),
        ("META", "2013-06-03", "META has 1 bars"),
    ],
)
def test_what_can_t_be_asked_is_said_in_a_sentence(lab, symbol, origin, says):
    with pytest.raises(tn.DataError, match=re.escape(says)) as caught:
        lab.ask(symbol, origin)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"change": -100},
        {"change": np.nan},
        {"change": "5"},
        {"range": -0.1},
        {"range": np.inf},
        {"volume": 0},
        {"market": -100},
        {"bars": MAX_BARS + 1},
        {"bars": -1},
        {"bars": 1.5},
        {"bars": True},
        {"change": True},
    ],
)
def test_a_shock_that_makes_no_bar_is_refused(wrong):
    with pytest.raises(tn.ConfigError) as caught:
        Shock(**wrong)
    assert one_sentence(str(caught.value)) and next(iter(wrong)) in str(caught.value)


def test_weights_of_nothing_and_absurd_prices_end_in_a_sentence(lab):
    with pytest.raises(tn.ConfigError, match="not all 0"):
        lab.ask("META", ORIGIN, weights={"tft": 0, "nhits": 0})
    with pytest.raises(tn.DataError, match="check its unit"):
        lab.ask("META", ORIGIN, Shock(-99.9, bars=20))
    with pytest.raises(tn.DataError, match="no symbol 'X'"):
        shocked(own(lab.bars), "X", Shock())


def test_a_short_history_is_answered_by_the_chain_and_doesnt_stop_others(bars, lab, model):
    early = lab.ask("META", "2013-06-20", Shock(-5))
    assert (
        early.before.model_used["META"] == "gradient boosting"
        and "14 bars" in early.before.warnings["META"][0]
    )
    with pytest.raises(tn.ConfigError, match="No network answered"):
        early.drivers()
    new = own(bars, "GOOG").assign(symbol="NEW")
    new = new[new["date"] == ORIGIN]  # a single bar, too few for any member
    with_new = WhatIf(pd.concat([bars, new]), model).ask("META", ORIGIN, Shock(-5))
    assert with_new.fans["after"].equals(lab.ask("META", ORIGIN, Shock(-5)).fans["after"])


def test_a_change_of_model_is_no_effect_of_the_shock(bars, model):
    short = own(bars[bars["date"] <= ORIGIN]).tail(58)
    answer = WhatIf(short, model).ask("META", None, Shock(bars=5))
    assert answer.models == ("gradient boosting", "ensemble (0.65 TFT + 0.35 N-HITS)")
    said = "; part of it is a change of model, from gradient boosting to ensemble (0.65 TFT + 0.35 N-HITS)"
    assert answer.title.endswith(said)
    assert plot_what_if(answer).get_suptitle().replace("\n", " ") == answer.title
    assert "change of model" not in WhatIf(short, model).ask("META", None, Shock(bars=1)).title


def test_weeks_are_no_sessions(model):
    for freq, unit in (("W-FRI", "weeks"), ("h", "bars"), ("B", "sessions")):
        assert f"% in 5 {unit}, " in WhatIf(made_bars(("A",), 100, freq), model).ask("A").title


def test_bars_without_dates_stand_on_their_numbers(bars, model):
    rows = own(bars)[CELLS].to_numpy().tolist()
    lab = WhatIf(rows, model)
    (symbol,) = lab.symbols
    answer = lab.ask(symbol, 500, Shock(-2, bars=2))
    assert (
        answer.axis == "bar number"
        and answer.past["x"].iloc[-1] == 500
        and not lab.has_market(symbol, 500)
    )
    assert answer.fans["before"]["x"].tolist() == [500, 501, 502, 503, 504, 505]
    assert answer.fans["after"]["x"].tolist() == [502, 503, 504, 505, 506, 507]
    assert answer.came["x"].tolist() == list(range(501, 508)) and "5 bars" in answer.title
    assert plot_what_if(answer).axes[0].get_xlabel() == "bar number" and ">501<" in table_html(
        answer
    )


def test_volume_that_is_not_known_stays_so(model):
    bars = tn.load_bars(made_bars(("A", "B", "C"), 120, volume=False))
    for shock in (Shock(-2, volume=3), Shock(-2, volume=3, bars=2)):
        assert valid(shocked(bars, "A", shock)) and shocked(bars, "A", shock)["volume"].isna().all()
        assert np.isfinite(
            WhatIf(bars, model).ask("A", None, shock).table.drop(columns="x", level=1)
        ).all(axis=None)


def legend_of(figure) -> list[str]:
    return [
        text.get_text()
        for part in (figure, *figure.subfigs)
        for box in part.legends
        for text in box.get_texts()
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_the_picture_holds_both_fans_what_is_assumed_and_what_came(shock_of, theme):
    figure = plot_what_if(shock_of, theme)
    (ax,) = figure.axes
    assert figure.get_suptitle().replace("\n", " ") == shock_of.title
    assert ax.get_xlabel() == "date" and ax.get_ylabel() == "price"
    names = [
        "close, low to high",
        "forecast, 93% interval",
        "shocked, 93% interval",
        "assumed",
        "what came",
    ]
    assert legend_of(figure) == names
    drawn = [line.get_ydata().tolist() for line in ax.lines]
    for which in ("before", "after"):
        for column in ("median", "lower", "upper"):
            assert shock_of.fans[which][column].tolist() in drawn
    assert [shock_of.past["close"].iloc[-1], *shock_of.came["close"]] in drawn
    assert caption_of(figure) == LIMITS
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_picture_without_a_shock_or_an_outcome_has_one_fan(lab):
    figure = plot_what_if(lab.ask("META"), titled=False)
    assert legend_of(figure) == ["close, low to high", "forecast, 93% interval"]
    assert not figure.get_suptitle() and not figure.subfigs


@pytest.mark.parametrize("size, labels", [(1e-7, r"\d(\.\d+)?e-06"), (1e8, r"\d(\.\d+)?e\+09")])
@pytest.mark.parametrize("titled", [True, False])
def test_prices_of_any_size_are_written_out_and_have_room(bars, model, size, labels, titled):
    unit = size * 40 / cut(own(bars))["close"].iloc[-1]  # a close of 40, or 4e-6, or 4e9
    tiny = own(bars).assign(**{k: own(bars)[k] * unit for k in ("open", "high", "low", "close")})
    figure = plot_what_if(WhatIf(tiny, model).ask("META", ORIGIN), titled=titled)
    figure.canvas.draw()
    (ax,) = figure.axes
    assert not ax.yaxis.get_offset_text().get_text()
    assert all(re.fullmatch(labels, label.get_text()) for label in ax.get_yticklabels())
    assert ax.yaxis.label.get_window_extent().x0 >= 0


def test_html_repeats_the_table(shock_of, lab):
    text = table_html(shock_of)
    assert text.count("<tr>") == 2 + 5 and "2015-08-28" in text and "shocked" in text
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
    row = shock_of.table.iloc[0]
    assert (
        cells[2].startswith(f"{row['before', 'median']:.2f}<br>")
        and f"{row['before', 'median %']:+.2f}%" in cells[2]
    )
    assert cells[11] == f"{row['change', 'width']:+.1f}" and len(cells) == 5 * 12
    assert "shocked" not in table_html(lab.ask("META", ORIGIN))
    assert "2015-09-01" in table_html(lab.ask("META", ORIGIN, Shock(bars=2)))


def test_html_of_the_drivers_says_what_it_does_not_prove(shock_of, lab):
    text = drivers_html(shock_of, "light")
    inputs, days = shock_of.drivers()
    assert (
        text.count("<tr>") == 2 * (1 + 10)
        and inputs.index[0] in text
        and str(days.index[0].date()) in text
    )
    assert (
        f"{inputs['before'].iloc[0]:.1f}" in text
        and "not that an input or a day made the forecast" in text
    )
    assert f"{days.loc[ORIGIN, 'return']:+.2f} → {days.loc[ORIGIN, 'assumed']:+.2f}" in text
    assert "shocked" not in drivers_html(lab.ask("META", ORIGIN), "dark")


def test_a_hostile_symbol_stays_text(bars, model):
    name = "<img src=x onerror=alert(1)>$x$"
    answer = WhatIf(own(bars).assign(symbol=name), model).ask(name, ORIGIN, Shock(-5))
    assert "<img" not in table_html(answer) + drivers_html(answer, "light")
    assert plot_what_if(answer)._repr_png_() and answer.title.startswith(name)


def test_sensitivity_is_asked_shock_by_shock(lab):
    table = sensitivity(lab, "META", ORIGIN, (-10, 0, 10), level=0.8, shock=Shock(volume=2))
    assert table["change"].tolist() == [-10, 0, 10]
    for change, median, width in table.itertuples(index=False):
        row = lab.ask("META", ORIGIN, Shock(change, volume=2), level=0.8).table.iloc[-1]["after"]
        assert median == pytest.approx(row["median %"]) and width == pytest.approx(
            row["upper %"] - row["lower %"]
        )
    assert table["width"].iloc[0] > table["width"].iloc[1] < table["width"].iloc[2]
    figure = plot_sensitivity(table, "META")
    title = figure.get_suptitle().replace("\n", " ")
    assert (
        caption_of(figure) == RESPONSE
        and f"80% interval is {table['width'].iloc[1]:.1f}% wide as it is" in title
    )
    assert f"{table['width'].iloc[0]:.1f}% after -10%" in title
    assert all("%" in ax.get_xlabel() and "%" in ax.get_ylabel() for ax in figure.axes)
    for changes, says in (
        ((-5, 5, 10), ("wide after -5%, ", "% after +10%;")),
        ((2.5,), ("wide after +2.5%; the",)),
    ):
        title = (
            plot_sensitivity(sensitivity(lab, "META", ORIGIN, changes), "META")
            .get_suptitle()
            .replace("\n", " ")
        )
        assert "as it is" not in title and all(part in title for part in says), title
    with pytest.raises(tn.DataError, match="no shock to draw"):
        plot_sensitivity(table.head(0), "META")


def test_boosting_alone_can_be_asked(bars):
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2014-06-30", valid_end="2014-12-31"))
    model = tn.Predictor.from_members(
        {"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel)}, panel
    )
    answer = WhatIf(bars, model).ask("META", ORIGIN, Shock(-8, range=3))
    assert (
        isinstance(answer, Comparison) and answer.before.model_used["META"] == "gradient boosting"
    )
    assert answer.table["change", "width"].iloc[-1] != 0
