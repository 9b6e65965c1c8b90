"""Tables of explanation: they add up to what the networks returned, for every origin and not the last batch."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import tftnhits as tn
from tftnhits.data import features as F
from tftnhits.forecast.explain import (
    BASELINE,
    FAMILIES,
    explain_forecast,
    explain_rows,
    permutation_importance,
)

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    every = tn.load_bars("stocks")
    recent = every[
        every["symbol"].isin(["AAPL", "GOOG", "META"])
        & every["date"].between("2013-06-01", "2017-12-31")
    ]
    return recent.reset_index(drop=True)


@pytest.fixture(scope="module")
def predictor(bars) -> tn.Predictor:
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31"))
    return tn.train_predictor(panel, "tiny", progress=False)


@pytest.fixture(scope="module")
def forecast(predictor, bars) -> tn.Forecast:
    return predictor.predict(bars)


@pytest.fixture(scope="module")
def panel(forecast) -> tn.Panel:
    return forecast.source[1]


def single(model, panel, row):
    """The network's output for the chunk of one origin, and the origin's place in it."""
    from tftnhits.data.windows import blocks, gather
    from tftnhits.training.loop import ORIGINS

    starts, place = blocks(panel, np.array([row]), model.config.context, ORIGINS)
    with torch.inference_mode():
        return model(gather(panel.with_tensors(), starts, model.config.context, ORIGINS)), int(
            place[0]
        )


def test_weights_sum_to_one_for_each_symbol_and_step(forecast):
    found = forecast.explain()
    for table, by in (
        (found.attention, ["symbol", "step"]),
        (found.past, ["symbol", "date"]),
        (found.future, ["symbol", "step"]),
        (found.static, ["symbol"]),
    ):
        total = table.groupby(by)["weight"].sum()
        assert len(total) and np.allclose(total, 1, atol=1e-5)
        assert set(table["symbol"]) == {"AAPL", "GOOG", "META"}


def test_a_step_attends_to_no_later_step(forecast):
    table = forecast.explain().attention
    assert (-table["lag"] <= table["step"]).all()
    assert (table.groupby("step")["lag"].min() == -np.arange(1, 6)).all()
    assert table["lag"].max() == 19


def test_tables_repeat_the_networks_output_for_that_origin(forecast, predictor, panel):
    found, row = forecast.explain(), panel.last_origins()[1]
    out, n = single(predictor.members["tft"].model, panel, row)
    own = found.attention[(found.attention["symbol"] == "GOOG") & (found.attention["step"] == 2)]
    assert np.allclose(own["weight"], out.attention[0, n, 1, :22].numpy(), atol=1e-5)
    past = found.past[found.past["symbol"] == "GOOG"]
    assert np.allclose(past["weight"], out.past_weights[0, n : n + 20].flatten().numpy(), atol=1e-5)
    assert past["date"].iloc[-1] == panel.date[row] and past["lag"].iloc[0] == 19
    future = found.future[found.future["symbol"] == "GOOG"]
    assert np.allclose(
        future["weight"], out.future_weights[0, n : n + 5].flatten().numpy(), atol=1e-5
    )


def test_the_parts_of_nhits_add_up_to_its_median_and_width(forecast, predictor, panel):
    total = forecast.explain().parts.groupby(["symbol", "step"])[["median", "width"]].sum()
    member = predictor.members["nhits"]
    quantiles = member.quantiles(panel, panel.last_origins())
    middle, low, high = (member.levels.index(q) for q in (0.5, 0.035, 0.965))
    assert np.allclose(total["median"], quantiles[..., middle].ravel(), atol=1e-6)
    assert np.allclose(
        total["width"], (quantiles[..., high] - quantiles[..., low]).ravel(), atol=1e-6
    )


@pytest.mark.parametrize(
    "name, table, column", [("tft", "attention", "weight"), ("nhits", "parts", "width")]
)
def test_seeds_are_averaged(predictor, panel, bars, name, table, column):
    from copy import deepcopy

    from helpers import stir

    models = [predictor.members[name].model, deepcopy(predictor.members[name].model)]
    stir(models[1], 1)
    both = tn.Predictor.from_members({name: models}, tn.make_panel(bars))
    found = getattr(both.predict(bars).explain(), table)
    each = [
        getattr(
            tn.Predictor.from_members({name: m}, tn.make_panel(bars)).predict(bars).explain(), table
        )
        for m in models
    ]
    assert abs(each[0][column] - each[1][column]).max() > 1e-3
    assert np.allclose(found[column], (each[0][column] + each[1][column]) / 2, atol=1e-6)
    rows = panel.origins("valid", 20)[::40]
    sd = "sd" if name == "tft" else "width_sd"
    assert np.allclose(found[sd], np.std([t[column] for t in each], 0, ddof=1), atol=1e-6), (
        "over the seeds"
    )
    over = [explain_rows(m, panel, rows) for m in (both.members[name], *models)]
    many, *means = (getattr(o, table)[column] for o in over)
    assert np.allclose(many, np.mean(means, 0), atol=1e-6)
    assert np.allclose(getattr(over[0], table)[sd], np.std(means, 0, ddof=1), atol=1e-6)
    assert over[0].seeds == {name: 2} and over[1].seeds == {name: 1}


def test_all_origins_of_a_forecast_are_explained_by_their_last(predictor, bars, forecast):
    many = predictor.predict(bars[bars["date"] >= "2017-01-01"], origins="all")
    assert many.frame["origin"].nunique() > 100
    found = explain_forecast(many)
    assert (found.past.groupby("symbol")["date"].max() == bars["date"].max()).all()


@pytest.mark.parametrize("name", ["tft", "nhits"])
def test_a_mean_over_origins_is_over_all_of_them(name, predictor, panel, monkeypatch):
    from tftnhits.training import loop

    rows, member = panel.origins("valid", 20)[::7], predictor.members[name]
    whole = explain_rows(member, panel, rows)
    monkeypatch.setattr(loop, "CHUNKS", 1)  # as many batches as chunks
    split = explain_rows(member.model, panel, rows)
    assert whole.origins == len(rows) == split.origins
    table, column = ("attention", "weight") if name == "tft" else ("parts", "width")
    assert np.allclose(getattr(whole, table)[column], getattr(split, table)[column], atol=1e-6)
    each = [
        getattr(explain_rows(member, panel, rows[i : i + 1]), table)[column]
        for i in range(len(rows))
    ]
    assert np.allclose(getattr(whole, table)[column], np.mean(each, 0), atol=1e-5)
    sd = "sd" if name == "tft" else "width_sd"
    assert np.allclose(getattr(whole, table)[sd], np.std(each, 0), rtol=1e-3, atol=1e-7), (
        "over the origins"
    )
    assert getattr(explain_rows(member, panel, rows[:1]), table)[sd].isna().all()
    last = explain_rows(member, panel, rows[-1:])
    assert not np.allclose(getattr(whole, table)[column], getattr(last, table)[column], atol=1e-5)


def test_selection_over_time_is_the_mean_of_the_symbols_at_a_date(predictor, panel):
    member, rows = predictor.members["tft"], panel.origins("valid", 20)
    found = explain_rows(member, panel, rows).past
    date = panel.date[rows][5]
    here = rows[panel.date[rows] == date]
    assert len(here) == 3
    outs = [single(member.model, panel, r) for r in here]
    by_hand = np.mean([out.past_weights[0, n + 19].numpy() for out, n in outs], 0)
    assert np.allclose(found[found["date"] == date]["weight"], by_hand, atol=1e-5)
    spread = np.std([out.past_weights[0, n + 19].numpy() for out, n in outs], 0)
    assert np.allclose(found[found["date"] == date]["sd"], spread, atol=1e-5), (
        "over the symbols of the date"
    )
    assert found["date"].nunique() == len(np.unique(panel.date[rows]))


def test_future_and_static_weights_stand_at_their_dates(predictor, panel):
    member, rows = predictor.members["tft"], panel.origins("valid", 20)
    found, row = explain_rows(member, panel, rows), rows[30]
    here = rows[panel.date[rows] == panel.date[row]]
    outs = [single(member.model, panel, r) for r in here]
    future = found.future[found.future["date"] == panel.date[row + 1]]
    assert future["input"].tolist() == list(panel.inputs["known"]) and (future["step"] == 1).all()
    by_hand = np.mean([out.future_weights[0, n].numpy() for out, n in outs], 0)
    assert np.allclose(future["weight"], by_hand, atol=1e-5)
    static = found.static[found.static["date"] == panel.date[row]]
    assert np.allclose(
        static["weight"], np.mean([out.static_weights[0].numpy() for out, _ in outs], 0), atol=1e-5
    )
    chosen = found.selection.set_index(["kind", "input"])["weight"]
    assert np.allclose(chosen.groupby("kind").sum(), 1, atol=1e-5)
    counts = pd.Series(panel.date[rows]).value_counts()
    past = found.past.pivot(index="date", columns="input", values="weight")
    mean = past.mul(counts, axis=0).sum() / counts.sum()
    assert np.allclose(chosen["past"][mean.index], mean, atol=1e-6), (
        "the mean over origins, not over dates"
    )


def test_bars_without_dates_count(predictor, bars):
    rows = (
        bars[bars["symbol"] == "META"]
        .tail(90)[["open", "high", "low", "close", "volume"]]
        .to_numpy()
        .tolist()
    )
    fc = predictor.predict(rows)
    panel, last = fc.source[1], fc.source[2][-1]
    found = explain_rows(predictor.members["tft"], panel, np.arange(last - 9, last + 1))
    assert found.past["date"].unique().tolist() == list(range(80, 90))
    assert found.future["date"].unique().tolist() == list(range(81, 91))
    assert fc.explain().past["date"].isna().all()


def test_memory_does_not_grow_with_the_origins(predictor, panel, monkeypatch):
    import tracemalloc

    from tftnhits.training import loop

    monkeypatch.setattr(loop, "CHUNKS", 1)
    rows = panel.origins(
        "train", 20
    )  # of three symbols on the same dates: a table by date has its rows for one
    one, peaks = rows[panel.symbol_of(rows) == 0], []
    for some in (one, rows):
        tracemalloc.start()
        explain_rows(predictor.members["tft"], panel, some)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    kept = (len(rows) - len(one)) * 5 * 25 * 4  # bytes of attention alone, were it kept
    assert len(one) > 500 and peaks[1] - peaks[0] < kept / 2


class OneInput:
    """A member that repeats one observed input: it is perfect where that input holds the outcome."""

    context, horizon, levels = 2, 5, (0.25, 0.5, 0.75)

    def __init__(self, column: int):
        self.column = column

    def quantiles(self, panel, rows):
        root = np.sqrt(np.arange(1, 6))[:, None]
        values = panel.observed[rows, self.column] * panel.scale[rows]
        return np.broadcast_to(values[:, None, None] * root, (len(rows), 5, 3))


def oracle(panel):
    """A panel whose first observed input is the outcome, the same at every step, and a member that reads it."""
    observed, target = np.array(panel.observed), np.array(panel.target)
    target[:] = target[:, :1]
    observed[:, 0] = target[:, 0]
    return replace(panel, observed=observed, target=target), OneInput(0)


def test_only_an_input_that_is_used_is_important(panel):
    known, member = oracle(panel)
    found = permutation_importance(member, known, known.origins("valid", 2)).set_index("input")
    first = known.inputs["observed"][0]
    assert found.index[0] == first and found.loc[first, "rise"] > 10
    assert (found.drop(first)["rise"] == 0).all()
    assert len(found) == len(known.inputs["observed"])


def test_importance_follows_the_seed_and_leaves_the_panel_alone(panel):
    known, member = oracle(panel)
    before, rows = known.observed.copy(), known.origins("valid", 2)
    groups = {"used": known.inputs["observed"][:1]}
    one, same, other = (
        permutation_importance(member, known, rows, s, groups=groups) for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, same)
    assert one["rise"].iloc[0] != other["rise"].iloc[0]
    assert np.array_equal(known.observed, before, equal_nan=True)


def test_families_cover_every_input_once():
    every = [n for members in FAMILIES.values() for n in members]
    assert sorted(every) == sorted({*F.OBSERVED, *F.KNOWN})


@pytest.mark.parametrize(
    "weights, there", [({"tft": 1, "nhits": 0}, "tft"), ({"tft": 0, "nhits": 1}, "nhits")]
)
def test_only_the_networks_that_took_part_are_explained(predictor, bars, weights, there):
    found = predictor.predict(bars, weights=weights).explain()
    assert (len(found.attention) > 0, len(found.parts) > 0) == (there == "tft", there == "nhits")
    assert set(found.seeds) == {there}


def test_a_network_that_failed_is_not_explained(predictor, bars):
    from copy import copy, deepcopy

    broken, model = copy(predictor), deepcopy(predictor.members["tft"].model)
    model.head.bias.data.fill_(float("nan"))
    broken.members = {**predictor.members, "tft": type(predictor.members["tft"])(model)}
    fc = broken.predict(bars)
    assert fc.model_used["META"] == "N-HITS"
    found = fc.explain()
    assert found.attention.empty and set(found.parts["symbol"]) == {"AAPL", "GOOG", "META"}


def test_symbols_that_no_network_answered_for_are_left_out(predictor, bars):
    short = bars[(bars["symbol"] != "GOOG") | (bars["date"] >= "2017-12-15")]
    fc = predictor.predict(short)
    assert fc.model_used["GOOG"] == "gradient boosting"
    found = fc.explain()
    assert set(found.past["symbol"]) == set(found.parts["symbol"]) == {"AAPL", "META"}
    with pytest.raises(tn.DataError, match="no symbol 'GOOG'"):
        found.plot("GOOG")
    with pytest.raises(tn.ConfigError, match="No network answered but gradient boosting"):
        predictor.predict(short[short["symbol"] == "GOOG"]).explain()


def test_the_explanation_ends_with_the_forecasts_horizon(predictor, bars, forecast):
    found, whole = predictor.predict(bars, horizon=2).explain(), forecast.explain()
    for name in ("attention", "future", "parts"):
        assert getattr(found, name)["step"].max() == 2
    assert found.attention["lag"].min() == -2
    first = whole.attention[whole.attention["step"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.attention, first)


def test_the_summary_repeats_the_tables(forecast):
    found = forecast.explain()
    every = found.summary(top=3)
    assert [s["symbol"] for s in every] == ["AAPL", "GOOG", "META"]
    own = every[2]
    assert own["model_used"] == forecast.model_used["META"] and own["origins"] == 1
    past = found.past[found.past["symbol"] == "META"].groupby("input")["weight"].mean().nlargest(3)
    assert own["inputs"] == pytest.approx(past.to_dict())
    seen = found.attention[(found.attention["symbol"] == "META") & (found.attention["lag"] >= 0)]
    mean = seen.groupby("lag")["weight"].mean().nlargest(3)
    assert [b["lag"] for b in own["bars"]] == mean.index.tolist() and own["ahead"] == pytest.approx(
        1 - seen.groupby("step")["weight"].sum().mean()
    )
    first = found.past[(found.past["symbol"] == "META") & (found.past["lag"] == mean.index[0])]
    assert own["bars"][0]["date"] == str(first["date"].iloc[0].date())
    last = found.parts[(found.parts["symbol"] == "META") & (found.parts["step"] == 5)]
    assert sum(s["width"] for s in own["stacks"].values()) == pytest.approx(last["width"].sum())
    assert [s for s in own["stacks"]] == last["stack"].tolist() and last["scale"].tolist() == [
        0,
        4,
        1,
    ]
    json.dumps(every)


def test_importance_has_the_spread_of_its_repeats(panel):
    known, member = oracle(panel)
    rows, groups = known.origins("valid", 2), {"used": known.inputs["observed"][:1]}
    once = permutation_importance(member, known, rows, 1, groups=groups)
    assert np.isnan(once["spread"].iloc[0])
    thrice = permutation_importance(member, known, rows, 1, repeats=3, groups=groups)
    assert 0 < thrice["spread"].iloc[0] < thrice["rise"].iloc[0]


def test_what_cannot_be_explained_is_refused(predictor, bars, panel):
    alone = tn.Predictor.from_members({"boosting": predictor.members["boosting"]}, panel)
    with pytest.raises(tn.ConfigError, match="boosting"):
        alone.predict(bars).explain()
    with pytest.raises(tn.ConfigError, match="no origins"):
        explain_rows(predictor.members["tft"], panel, np.array([], int))
    with pytest.raises(tn.ConfigError, match="'moon'"):
        permutation_importance(
            OneInput(0), panel, panel.origins("valid", 2), groups={"sky": ("moon",)}
        )


def test_the_baseline_alone_is_what_an_untrained_nhits_forecasts(panel):
    from tftnhits.models.store import build

    model = build(tn.preset("tiny")[1], panel.inputs).eval()
    model.base.copy_(torch.linspace(-1, 1, 11).expand(5, -1))
    parts = explain_rows(model, panel, panel.last_origins()).parts.set_index("stack")
    assert np.allclose(parts.drop(BASELINE)["width"], 0)
    assert (parts.loc[BASELINE, "width"] > 0).all()
