"""A user's own inputs: named by columns, standardised, masked, causal, learnt, told by name."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    made_bars,
    one_sentence,
    specific,
    stocks,
    tiny_members,
)
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.config import PanelConfig  # noqa: E402
from tftnhits.data.extras import with_future  # noqa: E402
from tftnhits.errors import ConfigError, DataError  # noqa: E402
from tftnhits.forecast.importance import FAMILIES, permutation_importance  # noqa: E402
from tftnhits.models.boosting import Boosting  # noqa: E402
from tftnhits.whatif.shock import Shock, WhatIf  # noqa: E402

CONFIG = PanelConfig(extra_observed=("vix",), extra_known=("earnings",))
UNTOLD = "Nothing is known of 'earnings' on "


def with_columns(bars, seed=0):
    """Bars with a noise of another level in each symbol, and an event about every tenth bar."""
    generator = np.random.default_rng(seed)
    level = 15 + bars["symbol"].str.get(0).map(ord) % 7
    vix = level + generator.normal(0, 3, len(bars))
    return bars.assign(vix=vix, earnings=(generator.random(len(bars)) < 0.1).astype(float))


@pytest.fixture(scope="module")
def bars():
    return with_columns(made_bars(bars=300))


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars, CONFIG)


@pytest.fixture(scope="module")
def predictor(panel):
    return tn.Predictor.from_members(tiny_members(panel), panel)


@pytest.fixture
def future(bars):
    """An event on the second of the five days ahead."""
    dates = pd.bdate_range(bars["date"].max(), periods=6)[1:]
    return pd.DataFrame({"date": dates, "earnings": [0, 1, 0, 0, 0]})


def column(panel, kind, name):
    """An input's values [R]."""
    return getattr(panel, kind)[:, panel.inputs[kind].index(name)]


def numbers(fc):
    return fc.frame.drop(columns=["symbol", "origin", "date"]).to_numpy()


# --- from the frame into the panel


def test_inputs_come_in_deviations_of_the_training_split(bars, panel):
    assert panel.inputs["observed"][-1] == "vix" and panel.inputs["known"][-1] == "earnings"
    rows = np.flatnonzero(np.isfinite(panel.close))
    train = panel.split[rows] == 0
    for kind, name in (("observed", "vix"), ("known", "earnings")):
        raw = bars[name].to_numpy()
        expected = (raw - raw[train].mean()) / raw[train].std()
        np.testing.assert_allclose(column(panel, kind, name)[rows], expected, atol=1e-5)


def test_the_other_inputs_are_what_they_are_without(bars, panel):
    plain = tn.make_panel(bars[[*bars.columns[:7]]])
    np.testing.assert_array_equal(plain.observed, panel.observed[:, :-1])
    np.testing.assert_array_equal(plain.known, panel.known[:, :-1])
    assert plain.digest() != panel.digest()
    other = tn.make_panel(bars.assign(earnings=bars["earnings"].to_numpy()[::-1]), CONFIG)
    assert other.digest() != panel.digest()  # a training of the one isn't gone on with by the other


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_changes_nothing(random):
    bars = with_columns(made_bars(bars=60))
    order = random.sample(range(len(bars)), len(bars))
    columns = random.sample([*bars.columns], len(bars.columns))
    one, other = (tn.make_panel(b, CONFIG) for b in (bars, bars.iloc[order][columns]))
    np.testing.assert_array_equal(one.observed, other.observed)
    np.testing.assert_array_equal(one.known, other.known)


def test_columns_stay_with_their_bars_when_rows_are_repaired_and_dropped(tmp_path):
    bars = with_columns(made_bars(("A", "B"), 40))
    bars["earnings"] = bars["earnings"].astype(bool)
    dirty = pd.concat([bars, bars.iloc[[3]]]).sample(frac=1, random_state=0)
    dirty.iloc[5, 2:6] = np.nan  # no bar
    dirty.to_csv(tmp_path / "dirty.csv", index=False)
    for source in (dirty, tmp_path / "dirty.csv"):
        clean = tn.load_bars(source, extra=("vix", "earnings"))
        assert len(clean) == 79 and clean["earnings"].dtype == float
        both = clean.merge(bars, on=["symbol", "date"])
        np.testing.assert_allclose(both["vix_x"], both["vix_y"])
        np.testing.assert_array_equal(both["earnings_x"], both["earnings_y"])
    again = tn.load_bars(clean, extra=("vix", "earnings"))
    pd.testing.assert_frame_equal(again, clean)
    assert [*tn.load_bars(clean).columns] == [*clean.columns[:7]]


BAD = [
    ({"vix": "calm"}, {}, DataError, "Column 'vix', row 1: 'calm' is not a number"),
    ({"vix": 20.0}, {}, DataError, "'vix' has one value"),
    ({"vix": np.nan}, {}, DataError, "'vix' has no value"),
    ({}, {"extra_observed": ("moon",)}, DataError, "no column 'moon'"),
    ({}, {"extra_observed": ("return",)}, ConfigError, "'return' has the name of a built-in"),
    ({}, {"extra_observed": ("Close",)}, ConfigError, "'Close' comes twice, or has the name of a"),
    ({}, {"extra_known": ("vix",)}, ConfigError, "'vix' comes twice"),
    ({}, {"extra_known": "vix"}, ConfigError, "extra_known is 'vix'; give names"),
]


@pytest.mark.parametrize("cells, names, error, words", BAD)
def test_what_is_no_input_is_refused_by_its_name(bars, cells, names, error, words):
    with pytest.raises(error, match=words) as caught:
        tn.make_panel(bars.assign(**cells), PanelConfig(**{"extra_observed": ("vix",), **names}))
    assert one_sentence(str(caught.value))


def test_reading_names_a_column_that_is_not_there(bars):
    with pytest.raises(DataError, match=r"no column 'vixx', which extra names; found .* earnings"):
        tn.load_bars(bars, extra=("vixx",))
    with pytest.raises(ConfigError, match="extra is 'vix'"):
        tn.load_bars(bars, extra="vix")


def test_a_volume_by_another_name_may_be_an_input():
    bars = with_columns(made_bars(bars=60)).rename(columns={"vix": "volume_surprise"})
    loaded = tn.load_bars(bars, extra=("volume_surprise",))
    np.testing.assert_array_equal(loaded["volume"], bars["volume"])
    np.testing.assert_array_equal(loaded["volume_surprise"], bars["volume_surprise"])


# --- forecasts


def test_no_forecast_sees_an_observed_input_after_its_origin(bars, predictor):
    day = bars["date"].iloc[270]
    later = bars.assign(vix=bars["vix"].where(bars["date"] <= day, 90.0))
    one, other = (predictor.predict(b, origins="all") for b in (bars, later))
    before = (one.frame["origin"] <= day).to_numpy()
    assert (numbers(one)[before] == numbers(other)[before]).all()
    assert not np.array_equal(numbers(one)[~before], numbers(other)[~before])


def test_a_missing_input_is_the_mean_of_the_training_and_said(bars, panel, predictor, future):
    mean = panel.fitted["center"][panel.inputs["observed"].index("vix")]
    as_mean = predictor.predict(bars.assign(vix=mean), future=future)
    for lacking in (bars.assign(vix=np.nan), bars.drop(columns="vix")):
        fc = predictor.predict(lacking, future=future)
        np.testing.assert_allclose(numbers(fc), numbers(as_mean), rtol=1e-6)
        (said,) = specific(fc.reports["B"].warnings)
        assert said.startswith("The last bar of B has no 'vix', so the mean of the training")
    assert not specific(as_mean.reports["B"].warnings)


def test_what_is_known_ahead_comes_by_date_and_symbol(bars, predictor, future, tmp_path):
    plain, event = predictor.predict(bars), predictor.predict(bars, future=future)
    assert not np.array_equal(numbers(plain), numbers(event))
    path = tmp_path / "future.csv"
    future.sample(frac=1, random_state=0).to_csv(path, index=False)
    for same in (path, future.set_index("date"), future.to_dict("records")):
        assert np.array_equal(numbers(predictor.predict(bars, future=same)), numbers(event))
    of_b = predictor.predict(bars, future=future.assign(symbol="B"))
    mine = (of_b.frame["symbol"] == "B").to_numpy()
    assert np.array_equal(numbers(of_b)[mine], numbers(event)[mine])
    assert np.array_equal(numbers(of_b)[~mine], numbers(plain)[~mine])
    assert not specific(of_b.reports["B"].warnings) and specific(of_b.reports["A"].warnings)


def test_dates_that_the_future_lacks_are_said(bars, predictor, future):
    days = future["date"].dt.strftime("%Y-%m-%d").tolist()
    (said,) = specific(predictor.predict(bars).reports["A"].warnings)
    assert said.startswith(f"{UNTOLD}{', '.join(days[:3])} and 2 more, so the mean")
    part = future.drop(index=2)
    (said,) = specific(predictor.predict(bars, future=part).reports["A"].warnings)
    assert said.startswith(f"{UNTOLD}{days[2]}, so the mean")
    assert not specific(predictor.predict(bars, horizon=2, future=part).reports["A"].warnings)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"earnings": "soon"}, "Column 'earnings', row 1: 'soon' is not a number"),
        ({"date": "soon"}, "future has 'soon' for a date"),
    ],
)
def test_a_future_that_cannot_be_read_is_refused(bars, predictor, future, change, words):
    with pytest.raises(DataError, match=words) as caught:
        predictor.predict(bars, future=future.assign(**change))
    assert one_sentence(str(caught.value))
    with pytest.raises(DataError, match="no column of dates, but earnings"):
        predictor.predict(bars, future=future[["earnings"]])


def test_hourly_bars_are_told_by_the_hour(predictor):
    bars = with_columns(made_bars(bars=80, freq="h"))
    panel = tn.make_panel(bars, CONFIG)
    ahead = panel.date[panel.start[0] + panel.length[0] :][:5]
    filled = with_future(panel, pd.DataFrame({"date": ahead, "earnings": [0, 0, 1, 0, 0]}))
    values = column(filled, "known", "earnings")[panel.start[0] + panel.length[0] :][:5]
    assert values.argmax() == 2 and len({*values.round(4)}) == 2
    np.testing.assert_array_equal(panel.known[:, :-1], filled.known[:, :-1])


def test_bars_without_dates_are_told_nothing_ahead(bars, predictor, future):
    fc = predictor.predict(bars[bars["symbol"] == "A"].drop(columns="date"), future=future)
    (report,) = fc.reports.values()
    assert any(f"{UNTOLD}the bars ahead, which have no dates" in text for text in report.warnings)


def test_saved_and_calibrated_predictors_keep_their_inputs(bars, predictor, future, tmp_path):
    loaded = tn.Predictor.load(predictor.save(tmp_path / "model"))
    one, other = (p.predict(bars, future=future) for p in (predictor, loaded))
    assert np.array_equal(numbers(one), numbers(other))
    longer = with_columns(made_bars(bars=320))
    assert loaded.calibrated(longer).predict(longer).reports["A"].model_used.startswith("ensemble")


def test_the_shipped_model_ignores_other_columns_and_says_so():
    model, bars = tn.Predictor.load(), stocks()
    own = with_columns(bars).assign(vwap=bars["close"], dividends=0.0, note="text", empty=np.nan)
    plain, fc = model.predict(bars), model.predict(own, future=own.tail(1))
    assert np.array_equal(numbers(plain), numbers(fc))
    assert specific(fc.reports["AAPL"].warnings) == [
        "The model knows no input 'vix' or 'earnings'; it was trained without it and ignores it.",
        "The model has no inputs of its own that are known ahead; ignored: future.",
    ]
    assert not specific(plain.reports["AAPL"].warnings)
    # also where another reading has left the column out
    once = model.predict(tn.load_bars(own.drop(columns="earnings")))
    assert "The model knows no input 'vix'; it was" in specific(once.reports["AAPL"].warnings)[0]


# --- what is learnt, and told


@pytest.fixture(scope="module")
def eventful():
    """Bars that move four times as much on the days of an event, and a panel of them."""
    bars = with_columns(made_bars(bars=800), seed=1)
    close = np.log(bars["close"])
    move = close.groupby(bars["symbol"]).diff().fillna(0)
    lift = np.exp((3 * move * bars["earnings"]).groupby(bars["symbol"]).cumsum())
    for name in ("high", "low", "close"):
        bars[name] *= lift
    bars["open"] *= lift.groupby(bars["symbol"]).shift().fillna(1)
    bars["high"] = bars[["open", "high", "close"]].max(axis=1)
    bars["low"] = bars[["open", "low", "close"]].min(axis=1)
    return bars, tn.make_panel(bars, PanelConfig(horizon=3, extra_known=("earnings",)))


@pytest.mark.parametrize("name", ["tft", "nhits", "boosting"])
def test_an_event_known_ahead_widens_the_interval_of_its_day(eventful, name):
    bars, panel = eventful
    if name == "boosting":
        forecast = Boosting(tn.BoostingConfig(context=2, horizon=3, trees=20, min_leaf=20)).fit(
            panel
        )
    else:
        config = {
            "tft": tn.TFTConfig(hidden=8, heads=2, context=20, horizon=3, dropout=0.1),
            "nhits": tn.NHITSConfig(hidden=16, context=20, horizon=3, pools=(4, 1), dropout=0.1),
        }[name]
        train = tn.TrainConfig(epochs=16, batch=4, origins=32, learning_rate=2e-2)
        forecast = tn.fit(config, panel, train, progress=False).model
    model = tn.Predictor.from_members({name: forecast}, panel)
    days = pd.bdate_range(bars["date"].max(), periods=4)[1:]
    width = {}
    for event in (0, 1):
        future = pd.DataFrame({"date": days, "earnings": [0, event, 0]})
        fc = model.predict(bars, level=0.8, future=future)
        assert name in fc.reports["A"].model_used.lower().replace("-", "").replace("gradient ", "")
        spans = np.log(fc.frame["upper"] / fc.frame["lower"]).to_numpy().reshape(-1, 3)
        width[event] = spans.mean(0)
    ratio = width[1] / width[0]
    assert ratio[1] > 1.5 and ratio[1] > ratio[0] * 1.3


def test_explanations_and_importance_tell_own_inputs_by_name(bars, panel, predictor, future):
    explanation = predictor.predict(bars, future=future).explain()
    for kind, names in {"past": {"vix", "earnings"}, "future": {"earnings"}}.items():
        table = explanation.selection[explanation.selection["kind"] == kind]
        assert names <= {*table["input"][table["varies"]]}
    rows = panel.origins("valid", 20)
    model = predictor.members["tft"]
    assert "vix" in {*permutation_importance(model, panel, rows)["input"]}
    table = permutation_importance(model, panel, rows, groups=FAMILIES)
    assert {"vix", "earnings", "volatility"} <= {*table["input"]}
    grouped = permutation_importance(model, panel, rows, groups={"mine": ("vix", "earnings")})
    assert [*grouped["input"]] == ["mine"]


def test_what_if_moves_an_own_input_and_knows_what_was_known_ahead(bars, predictor, future):
    lab = WhatIf(bars, predictor)
    day = lab.by_symbol["A"].index[250]
    shock = Shock(inputs={"vix": 30.0})
    c = lab.ask("A", day, shock)
    assert c.title.startswith("A, last bar vix +30: ")
    assert c.assumed["vix"].iloc[-1] == pytest.approx(c.past["vix"].iloc[-1] + 30)
    assert not np.array_equal(numbers(c.before), numbers(c.after))
    assert not specific(c.before.reports["A"].warnings)  # the events of the days ahead are known
    part = bars[(bars["date"] <= day)]
    direct = predictor.predict(part, symbols=["A"], future=bars)
    np.testing.assert_allclose(numbers(direct), numbers(c.before), rtol=1e-3)
    path = lab.ask("A", day, Shock(bars=2, inputs={"vix": 30.0})).assumed["vix"].to_numpy()
    assert path[-1] == path[-2] == path[-3] and path[-3] > path[-4] + 10
    with pytest.raises(ConfigError, match="no input 'moon' to shock"):
        lab.ask("A", day, Shock(inputs={"moon": 1.0}))


def test_the_panel_has_a_slider_for_each_observed_input(bars, predictor):
    pytest.importorskip("ipywidgets")
    from tftnhits.whatif.panel import what_if

    panel = what_if(bars, predictor, "matplotlib")
    slider = panel.controls["input vix"]
    assert slider.description == "vix, +" and slider.max == -slider.min > 5
    slider.value = slider.max
    assert f"vix +{slider.max:g}" in panel.comparison.title
    panel.reset()
    assert slider.value == 0 and "no shock" in panel.comparison.title
    assert not any(
        name.startswith("input ") for name in what_if(bars, tn.Predictor.load()).controls
    )
