"""The predictor: what it forecasts, how sure it is, how it learns on, and what it refuses."""

import copy
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    BOOSTING_TINY,
    TFT_TINY,
    TRAIN_TINY,
    calibrated_by_hand,
    made_bars,
    one_sentence,
    specific,
    stocks,
    tiny_members,
)

import tftnhits as tn  # noqa: E402
from tftnhits.config import SEEDS  # noqa: E402
from tftnhits.data.names import PRICES  # noqa: E402
from tftnhits.errors import ConfigError, DataError, HistoryTooShort  # noqa: E402
from tftnhits.forecast.conformal import (  # noqa: E402
    MEASURED,
    YEAR,
    Conformal,
    quantiles_at,
    shifted,
)
from tftnhits.forecast.ensemble import Network, combine  # noqa: E402
from tftnhits.models.boosting import Boosting  # noqa: E402

CONTEXT = TFT_TINY.context
KIND = "daily bars of usual volatility"
WEEKLY = "weekly bars of usual volatility"


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "GOOG", "META"), "2016-01-01", "2017-12-31")


@pytest.fixture(scope="module")
def meta(bars):
    return bars[bars["symbol"] == "META"]


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars)


@pytest.fixture(scope="module")
def members(panel):
    return tiny_members(panel)


@pytest.fixture(scope="module")
def predictor(members, panel):
    return tn.Predictor.from_members(members, panel)


@pytest.fixture(scope="module")
def every(predictor, bars):
    return predictor.predict(bars, origins="all")


def values(frame):
    return frame.drop(columns=["symbol", "origin", "date"]).to_numpy()


def rows_of(bars):
    """Bare rows without names or dates."""
    return bars[["open", "high", "low", "close", "volume"]].to_numpy().tolist()


# -- what is forecast


def test_ensemble_is_the_calibrated_hand_made_average(predictor, bars, panel):
    rows = panel.last_origins(CONTEXT)
    raw = {k: predictor.members[k].quantiles(panel, rows) for k in ("tft", "nhits")}
    for weights, (a, b) in ((None, (0.65, 0.35)), ({"tft": 1, "nhits": 3}, (0.25, 0.75))):
        mean = a * raw["tft"] + b * raw["nhits"]
        returns = calibrated_by_hand(predictor, "ensemble", panel, rows, mean)
        frame = predictor.predict(bars, weights=weights).frame
        found = frame[[f"{q:g}" for q in predictor.levels]].to_numpy()
        expected = panel.close[rows, None, None] * np.exp(returns)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-6)


def test_har_in_the_ensemble_is_combined_named_kept_and_asked_alone_last(
    predictor, bars, panel, tmp_path
):
    weights = {"tft": 0.4, "nhits": 0.2, "walk": 0.4}
    model = replace(predictor, weights=weights)
    rows = panel.last_origins(CONTEXT)
    parts = {**predictor.members, "walk": predictor.walk}
    expected = sum(weight * parts[name].quantiles(panel, rows) for name, weight in weights.items())
    np.testing.assert_allclose(model.quantiles(panel, rows), expected)
    frame = model.predict(bars).frame
    asked = predictor.predict(bars, weights=weights)
    pd.testing.assert_frame_equal(asked.frame, frame, check_exact=False, rtol=0.05)
    assert asked.reports["META"].model_used == (
        "ensemble (0.40 TFT + 0.20 N-HITS + 0.40 volatility-scaled random walk)"
    )
    again = tn.Predictor.load(model.save(tmp_path))
    assert again.weights == weights
    pd.testing.assert_frame_equal(again.predict(bars).frame, frame, check_exact=True)
    few = bars.groupby("symbol").tail(10)
    assert model.predict(few).reports["META"].model_used == "gradient boosting"


def test_har_earns_a_weight_where_the_networks_are_too_wide(predictor, bars):
    class Wide(Network):
        def quantiles(self, panel, rows):
            return 3 * super().quantiles(panel, rows)

    wide = {k: Wide(m.models) for k, m in predictor.members.items() if k != "boosting"}
    model = replace(predictor, members={**predictor.members, **wide}, pools={})
    found = model.calibrated(bars)
    assert found.weights["walk"] > 0.5 and sum(found.weights.values()) == pytest.approx(1)
    assert found.weights["tft"] / found.weights["nhits"] == pytest.approx(65 / 35)
    # what it was weighed by counts as seen, and a forecast of today is none of that
    last = found.manifest["trained to"][KIND]
    assert predictor.manifest["trained to"][KIND] < last < str(bars["date"].max())[:10]
    texts = found.predict(bars).reports["META"].warnings
    assert not any("trained on outcomes" in text for text in texts)
    short = bars.groupby("symbol").tail(CONTEXT + 100)
    assert model.calibrated(short).weights == model.weights  # too few dates


@pytest.mark.parametrize("name, label", [("tft", "TFT"), ("nhits", "N-HITS")])
def test_all_the_weight_on_one_network_is_that_network(
    predictor, members, bars, panel, name, label
):
    alone = tn.Predictor.from_members({name: members[name]}, panel).predict(bars)
    for weights in ({"tft": 0.0, "nhits": 0.0} | {name: 1.0}, {name: 7}):
        forecast = predictor.predict(bars, weights=weights)
        np.testing.assert_allclose(values(forecast.frame), values(alone.frame))
        report = forecast.reports["META"]
        assert report.model_used == label == alone.reports["META"].model_used
        assert report.coverage == pytest.approx(alone.reports["META"].coverage)


def test_dates_ahead_are_those_of_the_calendar_given(predictor, bars, meta):
    exchange_calendars = pytest.importorskip("exchange_calendars")
    inferred = predictor.predict(bars).frame
    assert (inferred.loc[inferred["step"] == 1, "date"] == pd.Timestamp("2018-01-02")).all()
    pd.testing.assert_frame_equal(predictor.predict(bars, calendar="XNYS").frame, inferred)
    calendar = {"META": "XTKS", "GOOG": "24/7"}
    found = predictor.predict(bars, 1, calendar=calendar).frame.set_index("symbol")["date"]
    assert found.dt.strftime("%Y-%m-%d").to_dict() == {
        "AAPL": "2018-01-02",
        "GOOG": "2017-12-30",
        "META": "2018-01-04",
    }
    undated = predictor.predict(bars.drop(columns="date"), calendar="XNYS").frame
    assert undated["date"].isna().all()
    # Bombay's calendar is drawn up a year at a time
    days = exchange_calendars.get_calendar("XBOM").sessions[-61:-1]
    late = meta.tail(60).assign(date=days)
    found, one = (predictor.predict(late, h, calendar="XBOM").reports["META"] for h in (5, 1))
    assert any("XBOM tells 1 of the 5" in w and one_sentence(w) for w in found.warnings)
    assert not any("XBOM" in text for text in one.warnings)
    with pytest.raises(ConfigError, match="no calendar 'NYSX'"):
        predictor.predict(bars, calendar="NYSX")


def test_last_is_the_last_of_all_and_a_shorter_horizon_its_beginning(predictor, every, bars):
    last = predictor.predict(bars).frame
    found = every.frame[every.frame["origin"] == every.frame["origin"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, last, rtol=1e-5)
    counts = every.frame.groupby("symbol")["origin"].nunique()
    assert (counts == bars.groupby("symbol").size() - CONTEXT + 1).all()
    two = predictor.predict(bars, horizon=2).frame
    pd.testing.assert_frame_equal(two, last[last["step"] <= 2].reset_index(drop=True))


def test_the_past_of_all_origins_does_not_know_the_future(predictor, every, bars):
    """The forecast from an origin is what one gets by giving the bars up to there."""
    pytest.importorskip("exchange_calendars")  # without it New Year is taken for a session
    known = predictor.predict(bars[bars["date"] <= "2016-12-30"]).frame
    found = every.frame[every.frame["origin"] == pd.Timestamp("2016-12-30")]
    pd.testing.assert_frame_equal(known, found.reset_index(drop=True), rtol=1e-5)


def test_prices_and_volumes_of_another_scale_give_the_same_relative_forecast(predictor):
    bars = made_bars(("X",), 90)
    scaled = bars.assign(**{c: bars[c] * 300 for c in PRICES}, volume=bars["volume"] * 7)
    one, other = predictor.predict(bars).frame, predictor.predict(scaled).frame
    columns = ["lower", "median", "upper"]
    np.testing.assert_allclose(other[columns], 300 * one[columns], rtol=1e-5)


KINDS = {
    "daily": made_bars(("X", "Y"), 90),
    "no volume": made_bars(("X",), 90, volume=False),
    "rows": rows_of(made_bars(("X",), 90)),
    "short rows": rows_of(made_bars(("X",), 3)),
    "minutes": made_bars(("X",), 90, freq="min"),
    "weekly": made_bars(("X",), 90, freq="W-FRI"),
    "24/7": made_bars(("X",), 90, freq="D"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_bars_give_finite_forecasts(predictor, kind):
    bars = KINDS[kind]
    found = predictor.predict(bars)
    assert np.isfinite(values(found.frame)).all() and (values(found.frame) > 0).all()
    dated = not isinstance(bars, list)
    assert found.frame["date"].notna().all() == dated
    if not dated:
        assert found.summary()["origin"] == len(bars) - 1
    width = found.frame["upper"] / found.frame["lower"]
    assert ((width > 1.005) & (width < 1.5)).all()
    if kind == "minutes":
        assert (found.frame["date"].diff().dropna() == pd.Timedelta("1min")).all()


# -- how sure it is


@pytest.mark.parametrize("name", ["ensemble", "tft", "nhits", "boosting"])
def test_states_and_coverage_come_from_a_walk_through_validation_and_test(predictor, panel, name):
    rows = np.concatenate([panel.origins(split, CONTEXT) for split in ("valid", "test")])
    ahead = rows[:, None] + np.arange(1, 6)
    raw = {k: m.quantiles(panel, rows) for k, m in predictor.members.items()}
    quantiles = combine(raw, predictor.weights) if name == "ensemble" else raw[name]
    actual, date = np.log(panel.close[ahead] / panel.close[rows, None]), panel.date[rows]
    wanted = [0.035, 0.1, 0.9, 0.965]
    states = []
    known = panel.date[ahead]
    _, state = Conformal.start(5).run(
        quantiles, predictor.levels, actual, date, known=known, states=states
    )
    found = predictor.pools[KIND].calibration[name]
    np.testing.assert_allclose(found.state.score, state.score, atol=0.01)  # float32 at an edge
    dates, day = np.unique(date, return_inverse=True)
    base, want = norm.ppf(predictor.levels), norm.ppf(wanted)
    out = quantiles_at(quantiles, base, shifted(np.array(states), want)[day])
    assert found.dates == min(len(dates), YEAR) and len(found.coverage) == len(MEASURED)
    last = date >= dates[-YEAR:][0]
    for level, low, high in ((0.93, 0, 3), (0.8, 1, 2)):
        inside = (out[..., low] <= actual) & (actual <= out[..., high])
        assert found.realised(level) == pytest.approx(inside[last].mean(), abs=5e-3)


def test_coverage_is_of_the_symbol_else_of_its_kind(predictor, members, bars, meta):
    def reports(bars=bars, model=predictor, **settings):
        return model.predict(bars, **settings).reports.values()

    ensemble, tft = (predictor.pools[KIND].calibration[name] for name in ("ensemble", "tft"))
    for report in reports(level=0.8):
        low, high = report.coverage_interval
        assert 0.6 < low < report.coverage < high < 0.95
        assert report.measured == "over 252 dates of its own to 2017-12-21"
    few = bars.groupby("symbol").tail(100)
    for weights, pool in ((None, ensemble), ({"tft": 1}, tft)):
        for report in reports(few, level=0.8, weights=weights):
            assert report.coverage == pool.realised(0.8)
            assert report.measured == f"over {pool.dates} dates of {KIND} to 2017-12-21"
    assert {r.coverage for r in reports(weights={"tft": 0.2, "nhits": 0.8})} == {None}
    assert {r.coverage for r in reports(few, level=0.999)} == {None}
    assert {r.coverage for r in reports(meta.tail(5))} == {None}  # fewer than any was measured on
    end = str(bars["date"].max().date())
    early = tn.make_panel(bars, tn.PanelConfig(train_end=end, valid_end=end))
    never = tn.Predictor.from_members(members, early)  # no later origins
    assert {r.coverage for r in reports(model=never)} == {None}
    assert never.predict(bars).caption("META") == "93% interval"
    found = predictor.predict(few, level=0.8)
    assert found.confidence == 0.8 and found.caption("META").startswith(
        f"80% interval (held {ensemble.realised(0.8):.0%} ["
    )


@pytest.mark.parametrize("place", [1, 8, -2])
def test_past_origins_are_calibrated_as_of_their_date(predictor, bars, place, tmp_path):
    fresh = replace(predictor, pools={})
    model = fresh.calibrated(bars)
    day = pd.Timestamp(model.pools[KIND].calibration["ensemble"].past.date[place, 0])
    then = bars[bars["date"] <= day]
    last_step = predictor.horizon  # of earlier steps more outcomes are known than origins are whole
    expected = fresh.calibrated(then).predict(then)
    expected = expected.frame[expected.frame["step"] == last_step].reset_index(drop=True)
    model.save(tmp_path)
    for one in (model, tn.Predictor.load(tmp_path)):
        found = one.predict(then)
        frame = found.frame[found.frame["step"] == last_step].reset_index(drop=True)
        pd.testing.assert_frame_equal(frame, expected, rtol=1e-5)
        every = one.predict(bars, origins="all").frame
        every = every[(every["origin"] == day) & (every["step"] == last_step)]
        pd.testing.assert_frame_equal(every.reset_index(drop=True), expected, rtol=1e-5)
        report = found.reports["META"]  # nor is a coverage named that came later
        assert not report.measured or report.measured.split(" to ")[1][:10] < str(day.date())
    late = model.predict(bars).frame
    assert not np.allclose(late["upper"], fresh.predict(bars).frame["upper"], rtol=1e-4)


def test_new_bars_of_old_dates_change_no_state_of_the_past(predictor, bars, meta):
    """They are learnt on top of today's state, which has seen what came after those dates."""
    later = predictor.calibrated(meta.assign(symbol="MINE"))
    past = predictor.pools[KIND].calibration["ensemble"].past
    for day in past.date[[0, 4, -1], 0]:
        then = bars[bars["date"] <= day]
        pd.testing.assert_frame_equal(later.predict(then).frame, predictor.predict(then).frame)
    assert not np.allclose(
        later.predict(bars).frame["upper"], predictor.predict(bars).frame["upper"]
    )
    # bars of another length begin with the state of when they begin
    weeks = meta[meta["date"] >= "2016-06-01"].set_index("date").resample("7D").last().dropna()
    *_, pool = predictor.calibrated(weeks.reset_index()).pools.values()
    first = pool.calibration["ensemble"].past
    ((_, then),) = predictor.pools[KIND].calibration["ensemble"].as_of(first.date[:1, 0])
    np.testing.assert_allclose(first.score[0], then.state.steady, rtol=1e-6)


def test_origins_that_the_model_was_trained_on_say_so(predictor, bars):
    trained = pd.Timestamp(predictor.manifest["trained to"][KIND])
    for until, said in ((trained, True), (trained + pd.Timedelta(days=40), False)):
        texts = predictor.predict(bars[bars["date"] <= until]).reports["META"].warnings
        assert any("trained on outcomes to" in text for text in texts) == said
    texts = predictor.predict(bars, origins="all").reports["META"].warnings
    assert any("trained on outcomes to" in text for text in texts)


def test_coverage_is_not_claimed_for_bars_of_another_length(predictor, meta, tmp_path):
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    weeks = meta.resample("W-FRI", on="date").agg(how).dropna().reset_index().assign(symbol="META")
    report = predictor.predict(weeks).reports["META"]
    assert report.coverage is None and report.coverage_interval is None
    assert WEEKLY in report.warnings[0] and one_sentence(report.warnings[0])
    (only,) = specific(predictor.predict(rows_of(weeks)).reports["series"].warnings)
    assert "no dates" in only
    calibrated = predictor.calibrated(weeks)
    calibrated.save(tmp_path)
    for weekly in (calibrated, tn.Predictor.load(tmp_path)):
        found = weekly.predict(weeks)
        report, pool = found.reports["META"], weekly.pools[WEEKLY]
        assert not specific(report.warnings)  # a hundred weeks are too few for one's own
        assert report.coverage == pool.calibration["ensemble"].realised(0.93)
        dates = len(weeks) - CONTEXT - predictor.horizon + 1  # of weeks alone
        assert report.measured == f"over {dates} dates of {WEEKLY} to {pool.seen['META'][:10]}"
        assert weekly.predict(meta).reports["META"].coverage == (
            predictor.predict(meta).reports["META"].coverage
        )


def test_any_level_inside_0_and_1(predictor, bars):
    widths = []
    for level in (0.0125, 0.3, 0.8, 0.93, 0.995, np.float64(0.9999), 1e-9):
        found = predictor.predict(bars, level=level)
        frame, interval = found.frame, found.summary()[0]["interval"]
        assert interval["level"] == level
        assert 0 <= interval["coverage"] <= 1  # each by itself, on the symbol's own past
        few = predictor.predict(bars.groupby("symbol").tail(90), level=level).summary()[0]
        measured = MEASURED[0] <= level <= MEASURED[-1]
        assert (few["interval"]["coverage"] is not None) == measured
        columns = [c for c in frame if c.replace(".", "").isdigit()]
        assert {f"{q:g}" for q in predictor.levels} <= set(columns)
        assert columns == sorted(columns, key=float)
        assert (np.diff(frame[columns].to_numpy(), axis=1) >= 0).all()
        assert (np.diff(frame[["lower", "median", "upper"]].to_numpy(), axis=1) >= 0).all()
        for name, tail in (("lower", (1 - level) / 2), ("upper", (1 + level) / 2)):
            np.testing.assert_array_equal(frame[name], frame[f"{round(float(tail), 12):.12g}"])
        widths.append(float((frame["upper"] - frame["lower"]).mean()))
    assert sorted(widths[:-1]) == widths[:-1] and 0 <= widths[-1] < 1e-6


def test_calibration_goes_on_with_new_bars_and_takes_each_origin_once(members, bars):
    panel = tn.make_panel(bars[bars["date"] <= "2017-06-30"])
    early = tn.Predictor.from_members(members, panel)
    before, frame = early.pools[KIND].calibration, early.predict(bars).frame
    later = early.calibrated(bars)
    assert later.members is early.members and early.pools[KIND].calibration is before  # a copy
    pd.testing.assert_frame_equal(early.predict(bars).frame, frame, check_exact=True)
    pool = later.pools[KIND]
    assert set(pool.seen.values()) == {"2017-12-21T00:00:00"}  # its fifth step is the last bar
    for name, calibration in pool.calibration.items():
        assert (calibration.state.score != before[name].state.score).any()
        assert before[name].dates < calibration.dates <= YEAR
    assert not np.allclose(values(later.predict(bars).frame), values(frame), rtol=1e-9)
    assert later.calibrated(bars).pools == later.pools
    # All bars of another symbol are new
    other = later.calibrated(stocks(("NVDA",), "2016-01-01", "2017-12-31"))
    pool = other.pools[KIND]
    assert pool.seen["NVDA"] == pool.seen["META"] and pool.calibration["tft"].dates == YEAR


def test_calibration_by_bars_without_dates_and_too_few(predictor, meta):
    found = predictor.calibrated(rows_of(made_bars(("X",), 90)))
    first, undated = found.pools.values()
    assert first is predictor.pools[KIND] and not undated.seen
    state, before = (pool.calibration["tft"].state for pool in (undated, first))
    assert (state.score != before.score).any()
    words = f"META has 24 bars but an origin with its outcome takes {CONTEXT + 5}"
    with pytest.raises(HistoryTooShort, match=words) as caught:
        predictor.calibrated(meta.tail(24))
    assert one_sentence(str(caught.value))


# -- what is refused


@pytest.mark.parametrize(
    "arguments, words",
    [
        *(({"horizon": value}, "1 to 5") for value in (6, 0, 2.5, True, "5")),
        *(
            ({"level": value}, "between 0 and 1")
            for value in (0, 1, True, 93, -0.5, 1 - 1e-14, "0.93", None, float("nan"))
        ),
        *(
            ({"origins": value}, "'last' or 'all'")
            for value in ("first", None, np.array(["last"] * 2))
        ),
        ({"weights": {"tft": -1, "nhits": 1}}, "at least 0"),
        *(({"weights": value}, "by network") for value in ({"lstm": 1}, np.ones(2), 0)),
    ],
    ids=str,
)
def test_what_was_not_trained_is_refused(predictor, bars, arguments, words):
    with pytest.raises(ConfigError, match=words) as caught:
        predictor.predict(bars, **arguments)
    assert one_sentence(str(caught.value))


def test_bad_bars_are_data_errors(predictor):
    for bad in ("no/such/file.csv", [], [[1, 2, 3]], pd.DataFrame({"close": [1.0]})):
        with pytest.raises(DataError):
            predictor.predict(bad)


def test_members_that_do_not_fit_are_refused(members, panel, bars):
    other = tn.make_panel(bars, tn.PanelConfig(horizon=3))
    fewer = tn.make_panel(bars, tn.PanelConfig(known=("gap", "has_calendar")))
    levels = Boosting(replace(BOOSTING_TINY, quantiles=(0.1, 0.5, 0.9))).fit(panel)
    tft = {"tft": members["tft"]}
    for wrong, where, words in (
        ({}, panel, "needs a member"),
        ({"lstm": members["tft"]}, panel, "no member 'lstm'"),
        (tft, other, "horizon"),
        (tft, fewer, "inputs"),
        (tft | {"boosting": levels}, panel, "quantile levels"),
        ({"tft": []}, panel, "no network"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            tn.Predictor.from_members(wrong, where)
        assert one_sentence(str(caught.value))


# -- training


@pytest.mark.parametrize("name", ["v1.0", "v2.0", "card"])
def test_presets_of_all_versions_train_save_and_load(meta, bars, tmp_path, name):
    short = replace(tn.preset(name)[3], epochs=1)
    trained = tn.train_predictor(tn.make_panel(meta), name, short, tmp_path, progress=False)
    loaded = tn.Predictor.load(tmp_path)
    expected = dict(zip(("tft", "nhits"), tn.preset(name)))
    assert {k: loaded.members[k].model.config for k in expected} == expected
    frames = [p.predict(bars).frame for p in (loaded, trained)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_train_predictor_goes_on_from_its_folder(bars, meta, tmp_path, monkeypatch):
    monkeypatch.setitem(SEEDS, "tiny", 2)
    panel = tn.make_panel(meta, tn.PanelConfig(horizon=1))
    first = tn.train_predictor(panel, "tiny", TRAIN_TINY, tmp_path, progress=False)
    states = {f"{n}{seed}.state" for n in ("tft", "nhits") for seed in ("", "-1", "-distilled")}
    assert states | {"predictor.json"} <= set(os.listdir(tmp_path))
    again = tn.train_predictor(panel, "tiny", TRAIN_TINY, tmp_path, progress=False)
    frame = first.predict(bars).frame
    assert (frame["step"] == 1).all()
    for other in (again, tn.Predictor.load(tmp_path)):
        pd.testing.assert_frame_equal(other.predict(bars).frame, frame, check_exact=True)


def test_a_copy_shares_nothing_that_changes(predictor, bars):
    before = copy.deepcopy(predictor.pools[KIND].calibration["tft"].arrays())
    predictor.predict(bars, origins="all")
    for name, values in predictor.pools[KIND].calibration["tft"].arrays().items():
        np.testing.assert_array_equal(values, before[name])
