"""The predictor: who answers, how sure it is, and the way to disk and back."""

import copy
import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import (
    BOOSTING_TINY,
    NHITS_TINY,
    TFT_TINY,
    TRAIN_TINY,
    made_bars,
    one_sentence,
    stir,
    stocks,
)

import tftnhits as tn  # noqa: E402
from tftnhits.config import SEEDS  # noqa: E402
from tftnhits.data import sessions  # noqa: E402
from tftnhits.errors import CheckpointError, ConfigError, DataError, HistoryTooShort, OutputError  # noqa: E402
from tftnhits.forecast.conformal import MEASURED, YEAR, Conformal  # noqa: E402
from tftnhits.forecast.ensemble import Network, combine  # noqa: E402
from tftnhits.models.boosting import Boosting  # noqa: E402

KEYS = {"symbol", "origin", "prediction", "interval", "confidence", "model_used", "warnings"}
CONTEXT = TFT_TINY.context


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "GOOG", "META"), "2016-01-01", "2017-12-31")


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars)


@pytest.fixture(scope="module")
def members(panel):
    networks = {"tft": TFT_TINY, "nhits": NHITS_TINY}
    trained = {
        name: tn.fit(config, panel, TRAIN_TINY, progress=False).model
        for name, config in networks.items()
    }
    return {"boosting": Boosting(BOOSTING_TINY).fit(panel), **trained}


@pytest.fixture(scope="module")
def predictor(members, panel):
    return tn.Predictor.from_members(members, panel)


@pytest.fixture(scope="module")
def every(predictor, bars):
    return predictor.predict(bars, origins="all")


@pytest.fixture
def folder(predictor, tmp_path):
    return predictor.save(tmp_path / "model")


def values(frame):
    return frame[[c for c in frame.columns if c not in ("symbol", "origin", "date")]].to_numpy()


def test_summary_of_one_symbol_and_of_several(predictor, bars):
    one = predictor.predict(bars[bars["symbol"] == "GOOG"]).summary()
    assert set(one) == KEYS and one["symbol"] == "GOOG" and one["origin"] == "2017-12-29"
    assert len(one["prediction"]) == 5 and set(one["interval"]) == {
        "level",
        "lower",
        "upper",
        "coverage",
    }
    assert one["interval"]["level"] == one["confidence"] == 0.93 and one["warnings"] == []
    assert (
        one["model_used"] == "ensemble (0.65 TFT + 0.35 N-HITS)"
        and 0.5 < one["interval"]["coverage"] < 1
    )
    json.dumps(one)
    several = predictor.predict(bars).summary()
    assert [s["symbol"] for s in several] == ["AAPL", "GOOG", "META"] and all(
        set(s) == KEYS for s in several
    )


def test_frame_is_tidy_prices_with_dates_ahead(predictor, bars):
    frame = predictor.predict(bars).frame
    expected = ["symbol", "origin", "step", "date", "median", "lower", "upper"]
    assert list(frame.columns) == expected + [f"{q:g}" for q in predictor.levels]
    assert len(frame) == 3 * 5 and frame["step"].tolist() == [1, 2, 3, 4, 5] * 3
    assert (frame["origin"] == pd.Timestamp("2017-12-29")).all()
    assert (frame.loc[frame["step"] == 1, "date"] > pd.Timestamp("2017-12-29")).all()
    assert (np.diff(frame[[f"{q:g}" for q in predictor.levels]].to_numpy(), axis=1) >= 0).all()
    np.testing.assert_array_equal(frame["median"], frame["0.5"])
    np.testing.assert_array_equal(frame[["lower", "upper"]], frame[["0.035", "0.965"]])
    close = bars.groupby("symbol")["close"].last()
    assert (abs(frame["median"] / frame["symbol"].map(close) - 1) < 0.1).all()


def test_dates_ahead_are_those_of_the_calendar_given(predictor, bars):
    pytest.importorskip("exchange_calendars")
    inferred = predictor.predict(bars)
    first = inferred.frame.loc[inferred.frame["step"] == 1, "date"]
    assert (first == pd.Timestamp("2018-01-02")).all()  # the day after New Year's
    pd.testing.assert_frame_equal(predictor.predict(bars, calendar="XNYS").frame, inferred.frame)
    found = predictor.predict(
        bars, horizon=1, calendar={"META": "XTKS", "GOOG": "24/7"}
    ).frame.set_index("symbol")["date"]
    assert found.dt.strftime("%Y-%m-%d").to_dict() == {
        "AAPL": "2018-01-02",
        "GOOG": "2017-12-30",
        "META": "2018-01-04",
    }
    undated = predictor.predict(bars.drop(columns="date"), calendar="XNYS").frame
    assert undated["date"].isna().all()
    days = sessions._schedule("XBOM", 2020, 2029).day[
        -61:-1
    ]  # Bombay's is drawn up a year at a time
    late = bars[bars["symbol"] == "META"].tail(60).assign(date=days)
    found = predictor.predict(late, calendar="XBOM")
    assert [
        text
        for text in found.warnings["META"]
        if "XBOM tells 1 of the 5" in text and one_sentence(text)
    ]
    assert not [
        text
        for text in predictor.predict(late, 1, calendar="XBOM").warnings["META"]
        if "XBOM" in text
    ]
    every = predictor.predict(bars, origins="all", calendar={"META": "XTKS"}).frame
    last = every[every["origin"] == pd.Timestamp("2017-12-28")]
    assert (
        last[last["step"] == 1]["date"] == pd.Timestamp("2017-12-29")
    ).all()  # what came is no forecast
    with pytest.raises(ConfigError, match="no calendar 'NYSX'"):
        predictor.predict(bars, calendar="NYSX")
    predictor.calibrated(bars, calendar="XNYS")


def test_ensemble_is_the_calibrated_hand_made_average(predictor, members, bars, panel):
    rows = panel.last_origins(CONTEXT)
    own = {k: predictor.members[k].quantiles(panel, rows) for k in ("tft", "nhits")}
    state = predictor.calibration["ensemble"].state
    for weights, (a, b) in ((None, (0.65, 0.35)), ({"tft": 1, "nhits": 3}, (0.25, 0.75))):
        returns = state.calibrate(a * own["tft"] + b * own["nhits"], predictor.levels)
        found = (
            predictor.predict(bars, weights=weights)
            .frame[[f"{q:g}" for q in predictor.levels]]
            .to_numpy()
        )
        expected = panel.close[rows, None, None] * np.exp(returns)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-6)


@pytest.mark.parametrize("name, label", [("tft", "TFT"), ("nhits", "N-HITS")])
def test_all_the_weight_on_one_network_is_that_network(
    predictor, members, bars, panel, name, label
):
    other = {"tft": "nhits", "nhits": "tft"}[name]
    alone = tn.Predictor.from_members({name: members[name]}, panel)
    for weights in ({name: 1.0, other: 0.0}, {name: 7}):
        forecast = predictor.predict(bars, weights=weights)
        np.testing.assert_allclose(values(forecast.frame), values(alone.predict(bars).frame))
        assert forecast.model_used["META"] == label == alone.predict(bars).model_used["META"]
        assert forecast.coverage["META"] == pytest.approx(alone.predict(bars).coverage["META"])


def walked(predictor, panel, link):
    """Origins [K] after training, their outcomes, and the link's quantiles of then by a walk of its own."""
    rows = np.concatenate([panel.origins(split, CONTEXT) for split in ("valid", "test")])
    own = {k: m.quantiles(panel, rows) for k, m in predictor.members.items()}
    quantiles = combine(own, predictor.weights) if link == "ensemble" else own[link]
    actual = np.log(
        np.stack([panel.close[rows + h] for h in range(1, 6)], 1) / panel.close[rows, None]
    )
    tails = [q for level in (0.8, 0.93) for q in ((1 - level) / 2, (1 + level) / 2)]
    out, state = Conformal.start(5).run(
        quantiles,
        predictor.levels,
        actual,
        panel.date[rows],
        sorted(tails),
        panel.date[rows[:, None] + np.arange(1, 6)],
    )
    return rows, actual, out, state


@pytest.mark.parametrize("link", ["ensemble", "tft", "nhits", "boosting"])
def test_states_and_coverage_come_from_a_walk_through_validation_and_test(predictor, panel, link):
    rows, actual, out, state = walked(predictor, panel, link)
    found = predictor.calibration[link]
    np.testing.assert_allclose(
        found.state.score, state.score, atol=0.01
    )  # float32 outcomes at an edge
    assert (found.state.score != Conformal.start(5).score).any()
    dates = np.unique(panel.date[rows])
    assert found.dates == min(len(dates), YEAR) and len(found.coverage) == len(MEASURED)
    last = panel.date[rows] >= dates[-YEAR:][0]
    for level, low, high in ((0.93, 0, 3), (0.8, 1, 2)):
        inside = (out[..., low] <= actual) & (actual <= out[..., high])
        assert found.realised(level) == pytest.approx(inside[last].mean(), abs=5e-3)


def test_confidence_is_nominal_and_coverage_is_of_who_answers(predictor, bars):
    found = predictor.predict(bars, level=0.8)
    assert found.level == found.confidence == 0.8
    assert found.coverage == dict.fromkeys(
        ("AAPL", "GOOG", "META"), predictor.calibration["ensemble"].realised(0.8)
    )
    other = predictor.predict(bars, level=0.8, weights={"tft": 0.2, "nhits": 0.8})
    assert set(other.coverage.values()) == {
        None
    }  # calibrated as the ensemble is, but never measured with such weights
    alone = predictor.predict(bars, level=0.8, weights={"tft": 1, "nhits": 0})
    assert set(alone.coverage.values()) == {predictor.calibration["tft"].realised(0.8)}
    assert set(predictor.predict(bars, level=0.999).coverage.values()) == {None}
    short = predictor.predict(bars[bars["symbol"] == "META"].tail(5))
    assert (
        short.coverage["META"] is None
    )  # measured on origins with the networks' context, not on such short ones
    share = predictor.calibration["ensemble"].realised(0.8)
    dates, until = predictor.calibration["ensemble"].dates, predictor.seen["META"][:10]
    assert (
        found.caption("META")
        == f"80% interval (held {share:.0%} over {dates} dates to {until}, all symbols together)"
    )
    assert repr(found).splitlines()[1:2] == [
        f"  AAPL: {found.model_used['AAPL']}, {found.caption('AAPL')}"
    ]
    assert len(repr(found).splitlines()) == 4


def test_coverage_is_not_claimed_for_bars_of_another_length(predictor, bars, tmp_path):
    meta = bars[bars["symbol"] == "META"]
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    weeks = meta.resample("W-FRI", on="date").agg(how).dropna().reset_index().assign(symbol="META")
    found = predictor.predict(weeks)
    assert found.coverage["META"] is None and found.caption("META") == "93% interval"
    assert "7 days" in found.warnings["META"][0] and "one day" in found.warnings["META"][0]
    (only,) = predictor.predict(weeks.drop(columns=["date", "symbol"])).warnings["series"]
    assert "no dates" in only and "days long" not in only  # who knows
    own = predictor.calibrated(weeks)
    own.save(tmp_path)
    for weekly in (own, tn.Predictor.load(tmp_path)):
        found = weekly.predict(weeks)
        assert not found.warnings["META"] and found.coverage["META"] == weekly.calibration[
            "ensemble"
        ].realised(0.93)
        dates = len(weeks) - CONTEXT - predictor.horizon + 1  # of weeks alone
        assert found.measured == f"over {dates} dates to {weekly.seen['META'][:10]}"
        assert weekly.predict(meta).coverage["META"] is None


def test_any_level_inside_0_and_1(predictor, bars):
    widths = []
    for level in (0.0125, 0.3, 0.8, 0.93, 0.95, 0.995, np.float64(0.9999), 1e-9):
        found = predictor.predict(bars, level=level)
        frame, one = found.frame, found.summary()[0]
        assert one["confidence"] == one["interval"]["level"] == level
        share = one["interval"]["coverage"]
        assert 0 < share < 1 if MEASURED[0] <= level <= MEASURED[-1] else share is None
        columns = [c for c in frame if c.replace(".", "").isdigit()]
        assert {f"{q:g}" for q in predictor.levels} <= set(columns) and columns == sorted(
            columns, key=float
        )
        assert (np.diff(frame[columns].to_numpy(), axis=1) >= 0).all()
        assert (frame["lower"] <= frame["median"]).all() and (
            frame["median"] <= frame["upper"]
        ).all()
        for name, level_of in (("lower", (1 - level) / 2), ("upper", (1 + level) / 2)):
            np.testing.assert_array_equal(frame[name], frame[f"{round(float(level_of), 12):.12g}"])
        widths.append(float((frame["upper"] - frame["lower"]).mean()))
        json.dumps(found.summary())
    assert sorted(widths[:-1]) == widths[:-1] and 0 <= widths[-1] < 1e-6


def test_coverage_is_unknown_without_later_origins(members, bars):
    last = str(bars["date"].max().date())
    panel = tn.make_panel(bars, tn.PanelConfig(train_end=last, valid_end=last))
    found = tn.Predictor.from_members(members, panel).predict(bars)
    assert found.coverage["META"] is None and found.summary()[0]["interval"]["coverage"] is None
    assert found.caption("META") == "93% interval"


def test_calibration_goes_on_with_new_bars_and_takes_each_origin_once(members, bars):
    upto = bars[bars["date"] <= "2017-06-30"]
    early = tn.Predictor.from_members(members, tn.make_panel(upto))
    before, frame = early.calibration, early.predict(bars).frame
    later = early.calibrated(bars)
    assert later.members is early.members and early.calibration is before  # a copy
    pd.testing.assert_frame_equal(early.predict(bars).frame, frame, check_exact=True)
    assert set(later.seen.values()) == {"2017-12-21T00:00:00"}  # its fifth step is the last bar
    for link, calibration in later.calibration.items():
        assert (calibration.state.score != before[link].state.score).any()
        assert before[link].dates < calibration.dates <= YEAR
    assert not np.allclose(values(later.predict(bars).frame), values(frame), rtol=1e-9)
    again = later.calibrated(bars)
    assert again.calibration == later.calibration
    # all bars of another symbol are new
    other = later.calibrated(stocks(("NVDA",), "2016-01-01", "2017-12-31"))
    assert other.seen["NVDA"] == other.seen["META"] and other.calibration["tft"].dates == YEAR


def test_calibration_by_bars_without_dates_and_too_few(predictor, bars):
    rows = made_bars(("X",), 90)[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    found = predictor.calibrated(rows)
    assert (found.calibration["tft"].state.score != predictor.calibration["tft"].state.score).any()
    assert found.seen == predictor.seen
    with pytest.raises(
        HistoryTooShort,
        match=f"META has 24 bars but an origin with its outcome takes {CONTEXT + 5}",
    ) as e:
        predictor.calibrated(bars[bars["symbol"] == "META"].tail(24))
    assert one_sentence(str(e.value))


def test_last_is_the_last_of_all(predictor, every, bars):
    last = predictor.predict(bars).frame
    found = every.frame[every.frame["origin"] == every.frame["origin"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, last, rtol=1e-5)
    counts = every.frame.groupby("symbol")["origin"].nunique()
    assert (counts == bars.groupby("symbol").size() - CONTEXT + 1).all()
    assert every.summary() == [
        {**s, "prediction": pytest.approx(s["prediction"]), "interval": a["interval"]}
        for s, a in zip(predictor.predict(bars).summary(), every.summary())
    ]


def test_the_past_of_all_origins_does_not_know_the_future(predictor, every, bars):
    """The forecast from an origin is what one gets by giving the bars up to there."""
    pytest.importorskip("exchange_calendars")  # without it New Year is taken for a session
    upto = bars["date"] <= "2016-12-30"
    known = predictor.predict(bars[upto]).frame
    found = every.frame[every.frame["origin"] == pd.Timestamp("2016-12-30")]
    pd.testing.assert_frame_equal(
        known, found.reset_index(drop=True), rtol=1e-5
    )  # its dates over New Year too


def test_short_history_is_answered_by_boosting_with_a_warning(predictor, bars):
    short = bars[bars["symbol"] == "META"].tail(10)
    found = predictor.predict(short).summary()
    assert found["model_used"] == "gradient boosting" and np.isfinite(found["prediction"]).all()
    (warning,) = found["warnings"]
    assert "META has 10 bars" in warning and f"need {CONTEXT}" in warning and one_sentence(warning)
    enough = predictor.predict(bars[bars["symbol"] == "META"].tail(CONTEXT)).summary()
    assert enough["warnings"] == [] and enough["model_used"].startswith("ensemble")


def test_long_and_short_symbols_together(predictor, bars):
    mixed = pd.concat([bars[bars["symbol"] == "AAPL"], bars[bars["symbol"] == "META"].tail(7)])
    found = predictor.predict(mixed)
    assert found.model_used == {
        "AAPL": "ensemble (0.65 TFT + 0.35 N-HITS)",
        "META": "gradient boosting",
    }
    assert found.warnings["AAPL"] == [] and "7 bars" in found.warnings["META"][0]
    alone = predictor.predict(bars[bars["symbol"] == "META"].tail(7))
    together = found.frame[found.frame["symbol"] == "META"]
    np.testing.assert_allclose(together["median"], alone.frame["median"])
    every = predictor.predict(mixed, origins="all").frame
    assert every[every["symbol"] == "META"]["origin"].nunique() == 6  # from the second bar on


def test_too_short_for_anyone_says_how_many(predictor, members, panel, bars):
    with pytest.raises(HistoryTooShort, match="META has 1 bars but the model needs 2") as caught:
        predictor.predict(bars[bars["symbol"] == "META"].tail(1))
    assert one_sentence(str(caught.value))
    networks = tn.Predictor.from_members({k: members[k] for k in ("tft", "nhits")}, panel)
    found = networks.predict(bars[bars["symbol"] == "META"].tail(10)).summary()
    assert (
        found["model_used"] == "volatility-scaled random walk"
        and f"need {CONTEXT}" in found["warnings"][0]
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"horizon": 6}, "1 to 5"),
        ({"horizon": 0}, "1 to 5"),
        ({"horizon": 2.5}, "1 to 5"),
        ({"horizon": True}, "1 to 5"),
        ({"horizon": "5"}, "1 to 5"),
        ({"level": 0}, "between 0 and 1"),
        ({"level": 1}, "between 0 and 1"),
        ({"level": True}, "between 0 and 1"),
        ({"level": 93}, "between 0 and 1"),
        ({"level": -0.5}, "between 0 and 1"),
        ({"level": 1 - 1e-14}, "between 0 and 1"),
        ({"level": "0.93"}, "between 0 and 1"),
        ({"level": None}, "between 0 and 1"),
        ({"level": float("nan")}, "between 0 and 1"),
        ({"origins": "first"}, "'last' or 'all'"),
        ({"origins": None}, "'last' or 'all'"),
        ({"weights": {"tft": -1, "nhits": 1}}, "at least 0"),
        ({"weights": {"tft": "much"}}, "at least 0"),
        ({"weights": {"lstm": 1}}, "no network 'lstm'"),
    ],
    ids=str,
)
def test_what_was_not_trained_is_refused(predictor, bars, arguments, words):
    with pytest.raises(ConfigError, match=words) as caught:
        predictor.predict(bars, **arguments)
    assert one_sentence(str(caught.value))


def test_a_shorter_horizon_is_the_beginning_of_the_longer(predictor, bars):
    two, five = (predictor.predict(bars, horizon=h).frame for h in (2, 5))
    expected = five[five["step"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(two, expected)


def test_bad_bars_are_data_errors(predictor):
    for bad in ("no/such/file.csv", [], [[1, 2, 3]], pd.DataFrame({"close": [1.0]})):
        with pytest.raises(DataError):
            predictor.predict(bad)


KINDS = {
    "daily": made_bars(("X", "Y"), 90),
    "no volume": made_bars(("X",), 90, volume=False),
    "rows": made_bars(("X",), 90)[["open", "high", "low", "close", "volume"]].to_numpy().tolist(),
    "rows of four": made_bars(("X",), 90)[["open", "high", "low", "close"]].to_numpy().tolist(),
    "hourly": made_bars(("X",), 90, freq="h"),
    "24/7": made_bars(("X",), 90, freq="D"),
    "minutes": made_bars(("X",), 90, freq="min"),
    "weekly": made_bars(("X",), 90, freq="W-FRI"),
    "short rows": made_bars(("X",), 3)[["open", "high", "low", "close"]].to_numpy().tolist(),
    "cheap": made_bars(("X",), 90).assign(
        **{c: lambda f, c=c: f[c] * 1e-6 for c in ("open", "high", "low", "close")}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_bars_give_finite_forecasts(predictor, kind):
    found = predictor.predict(KINDS[kind])
    assert np.isfinite(values(found.frame)).all() and (values(found.frame) > 0).all()
    dated = not isinstance(KINDS[kind], list)
    assert found.frame["date"].notna().all() == dated
    summary = found.summary()
    summary = summary[0] if isinstance(summary, list) else summary
    bars = KINDS[kind]
    assert summary["origin"] == (len(bars) - 1 if not dated else str(summary["origin"]))
    width = found.frame["upper"] / found.frame["lower"]
    assert ((width > 1.005) & (width < 1.5)).all()
    if kind == "minutes":
        assert (found.frame["date"].diff().dropna() == pd.Timedelta("1min")).all()


def test_prices_and_volumes_of_another_scale_give_the_same_relative_forecast(predictor):
    bars = made_bars(("X",), 90)
    scaled = bars.assign(
        **{c: bars[c] * 300 for c in ("open", "high", "low", "close")}, volume=bars["volume"] * 7
    )
    one, other = predictor.predict(bars).frame, predictor.predict(scaled).frame
    np.testing.assert_allclose(other["median"], 300 * one["median"], rtol=1e-5)
    np.testing.assert_allclose(other["lower"], 300 * one["lower"], rtol=1e-5)


def test_round_trip_is_equal_to_the_bit(predictor, folder, bars):
    found = tn.Predictor.load(folder)
    pd.testing.assert_frame_equal(
        found.predict(bars).frame, predictor.predict(bars).frame, check_exact=True
    )
    short = bars[bars["symbol"] == "META"].tail(9)
    pd.testing.assert_frame_equal(
        found.predict(short).frame, predictor.predict(short).frame, check_exact=True
    )
    for link, calibration in predictor.calibration.items():
        assert found.calibration[link].to_dict() == calibration.to_dict()
    assert found.seen == predictor.seen and found.weights == predictor.weights
    assert found.predict(bars).summary() == predictor.predict(bars).summary()
    assert (
        found.manifest["data"]
        and found.manifest["symbols"] == 3
        and found.manifest["versions"]["torch"]
    )
    found.save(folder)
    assert sorted(p.name for p in folder.iterdir() if "-" not in p.name) == [
        "boosting.json",
        "nhits.json",
        "predictor.json",
        "tft.json",
    ]
    assert len(list(folder.iterdir())) == 7  # and one file of weights each
    assert not [p for p in folder.iterdir() if p.suffix in (".pkl", ".pt", ".joblib")]


def test_seeds_are_averaged_saved_and_read(members, panel, bars, tmp_path):
    three = [copy.deepcopy(members["nhits"]) for _ in range(3)]
    for seed, model in enumerate(three[1:], 1):
        stir(model, seed)
    predictor = tn.Predictor.from_members({"nhits": three, "tft": [members["tft"]]}, panel)
    rows = panel.origins("test", CONTEXT)
    each = [Network(m).quantiles(panel, rows) for m in three]
    assert abs(each[0] - each[1]).max() > 1e-5
    np.testing.assert_allclose(
        predictor.members["nhits"].quantiles(panel, rows), np.mean(each, 0), rtol=1e-9
    )
    folder = predictor.save(tmp_path)
    assert {p.name for p in folder.glob("*.json")} == {
        "nhits.json",
        "nhits-1.json",
        "nhits-2.json",
        "predictor.json",
        "tft.json",
    }
    assert len(list(folder.glob("*.safetensors"))) == 4
    found = tn.Predictor.load(folder)
    pd.testing.assert_frame_equal(
        found.predict(bars).frame, predictor.predict(bars).frame, check_exact=True
    )
    (folder / "nhits-1.json").rename(folder / "away")
    assert "nhits-1.json" in tn.Predictor.load(folder).missing["nhits"]
    (folder / "away").rename(folder / "nhits-1.json")
    tn.Predictor.from_members({"nhits": three[1:], "tft": members["tft"]}, panel).save(
        folder
    )  # with fewer, none is left over
    assert {p.name for p in folder.glob("nhits*.json")} == {"nhits.json", "nhits-1.json"}
    assert len(list(folder.glob("*.safetensors"))) == 3
    tn.Predictor.load(folder)


def test_a_folder_with_all_known_inputs_keeps_those_that_it_was_trained_with(bars, tmp_path):
    """None meant these nine before `session` came, and does so for ever."""
    panel = tn.make_panel(bars, tn.PanelConfig(known=None))
    assert len(panel.inputs["known"]) == 9
    network = tn.fit(NHITS_TINY, panel, TRAIN_TINY, progress=False).model
    old = tn.Predictor.from_members(
        {"boosting": Boosting(BOOSTING_TINY).fit(panel), "nhits": network}, panel
    )
    folder = old.save(tmp_path)
    assert json.loads((folder / "predictor.json").read_text())["panel"]["known"] is None
    pd.testing.assert_frame_equal(
        tn.Predictor.load(folder).predict(bars).frame, old.predict(bars).frame
    )


def test_a_folder_of_a_newer_version_is_refused_with_a_sentence(folder):
    path = folder / "predictor.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": record["format"] + 1}))
    assert "upgrade tftnhits" in broken(folder)


@pytest.mark.parametrize("name", ["v1.0", "v2.0", "v2.1"])
def test_presets_of_all_versions_train_save_and_load(bars, tmp_path, name):
    panel = tn.make_panel(bars[bars["symbol"] != "GOOG"])
    short = replace(tn.preset(name)[3], epochs=1)
    trained = tn.train_predictor(panel, name, short, tmp_path, progress=False)
    loaded = tn.Predictor.load(tmp_path)
    config = loaded.members["tft"].model.config
    assert (config == tn.TFTConfig()) == (name == "v2.1") and (
        config == tn.TFTConfig.classic()
    ) == (name != "v2.1")
    pd.testing.assert_frame_equal(
        loaded.predict(bars).frame, trained.predict(bars).frame, check_exact=True
    )


def test_own_weights_are_saved(members, panel, tmp_path, bars):
    mine = tn.Predictor.from_members(members, panel, {"tft": 1, "nhits": 1})
    found = tn.Predictor.load(mine.save(tmp_path))
    assert found.weights == {"tft": 0.5, "nhits": 0.5}
    assert found.predict(bars).model_used["META"] == "ensemble (0.50 TFT + 0.50 N-HITS)"


def broken(folder):
    with pytest.raises(CheckpointError) as caught:
        tn.Predictor.load(folder)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


def test_broken_folders(predictor, folder, tmp_path):
    assert "model folder" in broken(tmp_path / "nowhere")
    path = folder / "predictor.json"
    content = path.read_bytes()
    path.unlink()
    assert "predictor.json" in broken(folder)
    path.write_bytes(content[: len(content) // 2])
    assert "predictor.json" in broken(folder)
    path.write_bytes(content)
    assert tn.Predictor.load(folder).weights == predictor.weights


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"format": None},
        {"members": None},
        {"members": ["tft", "oracle"]},
        {"members": []},
        {"members": [["tft"]]},
        {"panel": {"horizon": 0}},
        {"panel": {"colour": "red"}},
        {"panel": []},
        {"panel": {"horizon": 3}},
        {"panel": {"observed": ["return", "range"]}},
        {"fitted": None},
        {"fitted": {}},
        {"fitted": {"har": [1], "center": [0], "spread": [1]}},
        {"fitted": {"har": "x"}},
        {"weights": None},
        {"weights": {"tft": "x", "nhits": 1}},
        {"weights": {"tft": -1, "nhits": 1}},
        {"weights": [1, 2]},
        {"calibration": None},
        {"calibration": {"ensemble": {"dates": 3}}},
        {
            "calibration": {
                "tft": {"dates": 0, "coverage": {}, "state": Conformal.start(3).to_dict()}
            }
        },
        {"seen": None},
        {"seen": {"META": "yesterday"}},
        {"seeds": None},
        {"seeds": {"tft": "many"}},
        {"walk": None},
        {"walk": [[0.0, 1.0]]},
        {"levels": [0.1, 0.9]},
        {"format": True},
        {"format": [2]},
    ],
    ids=str,
)
def test_predictor_json_that_makes_no_sense(folder, change):
    path = folder / "predictor.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    broken(folder)


def test_a_folder_without_room_is_an_output_error(predictor, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "model", "/proc/tftnhits-model"):
        with pytest.raises(OutputError, match="Can't write") as caught:
            predictor.save(place)
        assert one_sentence(str(caught.value))


def test_members_that_do_not_fit_are_refused(members, panel, bars):
    other = tn.make_panel(bars, tn.PanelConfig(horizon=3))
    fewer = tn.make_panel(bars, tn.PanelConfig(known=("gap", "has_calendar")))
    levels = Boosting(replace(BOOSTING_TINY, quantiles=(0.1, 0.5, 0.9))).fit(panel)
    for wrong, where, words in (
        ({}, panel, "needs a member"),
        ({"lstm": members["tft"]}, panel, "no member 'lstm'"),
        ({"tft": members["tft"]}, other, "horizon"),
        ({"tft": members["tft"]}, fewer, "inputs"),
        ({"tft": members["tft"], "boosting": levels}, panel, "quantile levels"),
        ({"tft": []}, panel, "no network"),
        ({"tft": [members["tft"], members["nhits"]]}, panel, "differ"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            tn.Predictor.from_members(wrong, where)
        assert one_sentence(str(caught.value))


def test_train_predictor_goes_on_from_its_folder(bars, tmp_path):
    panel = tn.make_panel(bars[bars["symbol"] != "GOOG"])
    first = tn.train_predictor(panel, "tiny", folder=tmp_path, progress=False)
    assert {"tft.state", "nhits.state", "predictor.json"} <= set(os.listdir(tmp_path))
    again = tn.train_predictor(panel, "tiny", folder=tmp_path, progress=False)
    pd.testing.assert_frame_equal(
        first.predict(bars).frame, again.predict(bars).frame, check_exact=True
    )
    pd.testing.assert_frame_equal(
        first.predict(bars).frame, tn.Predictor.load(tmp_path).predict(bars).frame, check_exact=True
    )
    with pytest.raises(ConfigError, match="preset"):
        tn.train_predictor(panel, "giant")


def test_a_preset_may_distil_several_seeds_into_one(bars, tmp_path, monkeypatch):
    monkeypatch.setitem(SEEDS, "tiny", 2)
    panel = tn.make_panel(bars[bars["symbol"] != "GOOG"])
    found = tn.train_predictor(
        panel, "tiny", replace(TRAIN_TINY, epochs=4), tmp_path, progress=False
    )
    states = {
        f"{name}{seed}.state" for name in ("tft", "nhits") for seed in ("", "-1", "-distilled")
    }
    assert states <= set(os.listdir(tmp_path))
    assert [len(found.members[name].models) for name in ("tft", "nhits")] == [1, 1]
    assert found.members["tft"].model.config.dropout == 0
    pd.testing.assert_frame_equal(
        tn.Predictor.load(tmp_path).predict(bars).frame, found.predict(bars).frame
    )


def test_other_horizons_train_too(bars):
    panel = tn.make_panel(bars[bars["symbol"] == "META"], tn.PanelConfig(horizon=1))
    found = tn.train_predictor(panel, "tiny", progress=False).predict(
        bars[bars["symbol"] == "META"]
    )
    assert found.frame["step"].tolist() == [1] and found.summary()["confidence"] is not None
