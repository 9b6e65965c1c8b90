"""Tables of explanation: they add up to what the networks returned, for every origin."""

import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import stir, stocks  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.data import features as F  # noqa: E402
from tftnhits.data.windows import blocks, gather  # noqa: E402
from tftnhits.forecast.explain import BASELINE, explain_rows  # noqa: E402
from tftnhits.forecast.importance import FAMILIES, permutation_importance  # noqa: E402
from tftnhits.models.store import build  # noqa: E402
from tftnhits.training import loop  # noqa: E402

TABLES = [("tft", "attention", "weight", "sd"), ("nhits", "parts", "width", "width_sd")]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return stocks(("AAPL", "GOOG", "META"), "2013-06-01", "2017-12-31")


@pytest.fixture(scope="module")
def predictor(bars) -> tn.Predictor:
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31"))
    return tn.train_predictor(panel, "tiny", progress=False)


@pytest.fixture(scope="module")
def forecast(predictor, bars) -> tn.Forecast:
    return predictor.predict(bars)


@pytest.fixture(scope="module")
def panel(predictor, bars) -> tn.Panel:
    return tn.make_panel(bars, predictor.panel_config, predictor.fitted)


def of(table, symbol):
    return table[table["symbol"] == symbol]


def single(model, panel, row):
    """The network's output for the chunk of one origin, and the origin's place in it."""
    starts, place = blocks(panel, np.array([row]), model.config.context, loop.ORIGINS)
    with torch.inference_mode():
        batch = gather(panel.with_tensors(), starts, model.config.context, loop.ORIGINS)
        return model(batch), int(place[0])


# -- of a forecast


def test_weights_sum_to_one_and_a_step_attends_to_no_later_one(forecast):
    found = forecast.explain()
    for table, by in (
        (found.attention, ["symbol", "step"]),
        (found.past, ["symbol", "date"]),
        (found.future, ["symbol", "step"]),
        (found.static, ["symbol"]),
        (found.selection, ["symbol", "kind"]),
    ):
        assert np.allclose(table.groupby(by)["weight"].sum(), 1, atol=1e-5)
        assert set(table["symbol"]) == {"AAPL", "GOOG", "META"}
    assert (-found.attention["lag"] <= found.attention["step"]).all()
    assert (found.attention.groupby("step")["lag"].min() == -np.arange(1, 6)).all()
    assert found.attention["lag"].max() == 19


def test_tables_repeat_the_networks_output_for_that_origin(forecast, predictor, panel):
    found, row = forecast.explain(), panel.last_origins()[1]
    out, n = single(predictor.members["tft"].model, panel, row)
    attention, past, future = (of(t, "GOOG") for t in (found.attention, found.past, found.future))
    second = attention[attention["step"] == 2]["weight"]
    assert np.allclose(second, out.attention[0, n, 1, :22].numpy(), atol=1e-5)
    weights = out.past_weights[0, n : n + 20].flatten().numpy()
    assert np.allclose(past["weight"], weights, atol=1e-5)
    assert past["date"].iloc[-1] == panel.date[row] and past["lag"].iloc[0] == 19
    weights = out.future_weights[0, n : n + 5].flatten().numpy()
    assert np.allclose(future["weight"], weights, atol=1e-5)


def test_the_parts_of_nhits_add_up_to_its_median_and_width(forecast, predictor, panel):
    total = forecast.explain().parts.groupby(["symbol", "step"])[["median", "width"]].sum()
    member = predictor.members["nhits"]
    low, middle, high = (
        member.quantiles(panel, panel.last_origins())[..., member.levels.index(q)].ravel()
        for q in (0.035, 0.5, 0.965)
    )
    assert np.allclose(total["median"], middle, atol=1e-6)
    assert np.allclose(total["width"], high - low, atol=1e-6)


def test_of_all_origins_the_last_is_explained_up_to_the_horizon(predictor, bars, forecast):
    recent = bars[bars["date"] >= "2017-01-01"]
    found = predictor.predict(recent, horizon=2, origins="all").explain()
    assert (found.past.groupby("symbol")["date"].max() == bars["date"].max()).all()
    for name in ("attention", "future", "parts"):
        assert getattr(found, name)["step"].max() == 2
    two, whole = predictor.predict(bars, horizon=2).explain(), forecast.explain()
    first = whole.attention[whole.attention["step"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(two.attention, first)


@pytest.mark.parametrize("name, table", [("tft", "attention"), ("nhits", "parts")])
def test_only_the_networks_that_took_part_are_explained(predictor, bars, name, table):
    other = {"attention": "parts", "parts": "attention"}[table]
    found = predictor.predict(bars, weights={name: 1}).explain()
    assert len(getattr(found, table)) and not len(getattr(found, other))
    assert set(found.seeds) == {name}


def test_networks_that_failed_and_symbols_without_one_are_left_out(predictor, bars):
    broken, model = copy.copy(predictor), copy.deepcopy(predictor.members["tft"].model)
    model.head.bias.data.fill_(float("nan"))
    broken.members = {**predictor.members, "tft": type(predictor.members["tft"])(model)}
    found = broken.predict(bars).explain()
    assert found.attention.empty and set(found.model_used.values()) == {"N-HITS"}
    short = bars[(bars["symbol"] != "GOOG") | (bars["date"] >= "2017-12-15")]
    found = predictor.predict(short).explain()
    assert found.model_used["GOOG"] == "gradient boosting"
    assert set(found.past["symbol"]) == set(found.parts["symbol"]) == {"AAPL", "META"}
    with pytest.raises(tn.DataError, match="no symbol 'GOOG'"):
        found.plot("GOOG")
    with pytest.raises(tn.ConfigError, match="No network answered but gradient boosting"):
        predictor.predict(of(short, "GOOG")).explain()


def test_the_summary_repeats_the_tables(forecast):
    found = forecast.explain()
    every = found.summary(top=3)
    assert [s["symbol"] for s in every] == ["AAPL", "GOOG", "META"]
    meta, past, attention = every[2], of(found.past, "META"), of(found.attention, "META")
    assert meta["model_used"] == forecast.reports["META"].model_used and meta["origins"] == 1
    varies = of(found.selection, "META").query("kind == 'past' and varies")["input"]
    inputs = past.groupby("input")["weight"].mean()[varies].nlargest(3)
    assert meta["inputs"] == pytest.approx(inputs.to_dict())
    back = attention[attention["lag"] >= 0]
    by_lag = back.groupby("lag")["weight"].mean().nlargest(3)
    assert [bar["lag"] for bar in meta["bars"]] == by_lag.index.tolist()
    assert meta["bars"][0]["date"] == str(
        past[past["lag"] == by_lag.index[0]]["date"].iloc[0].date()
    )
    assert meta["ahead"] == pytest.approx(1 - back.groupby("step")["weight"].sum().mean())
    last = of(found.parts, "META").query("step == 5").set_index("stack")
    assert meta["stacks"] == last[["median", "width"]].to_dict("index")
    assert last["scale"].tolist() == [0, 4, 1]
    json.dumps(every)


# -- of many origins


@pytest.mark.parametrize("name, table, column, sd", TABLES)
def test_seeds_are_averaged(predictor, panel, bars, name, table, column, sd):
    models = [predictor.members[name].model, copy.deepcopy(predictor.members[name].model)]
    stir(models[1], 1)
    both, one, two = (
        tn.Predictor.from_members({name: m}, tn.make_panel(bars)) for m in (models, *models)
    )
    rows = panel.origins("valid", 20)[::40]
    forecasts = [getattr(p.predict(bars).explain(), table) for p in (both, one, two)]
    means = [explain_rows(p.members[name], panel, rows) for p in (both, one, two)]
    assert [m.seeds for m in means] == [{name: 2}, {name: 1}, {name: 1}]
    for found, *each in (forecasts, [getattr(m, table) for m in means]):
        assert abs(each[0][column] - each[1][column]).max() > 1e-3
        assert np.allclose(found[column], np.mean([t[column] for t in each], 0), atol=1e-6)
        assert np.allclose(found[sd], np.std([t[column] for t in each], 0, ddof=1), atol=1e-6)


@pytest.mark.parametrize("name, table, column, sd", TABLES)
def test_a_mean_over_origins_is_over_all_of_them(
    name, table, column, sd, predictor, panel, monkeypatch
):
    rows, member = panel.origins("valid", 20)[::7], predictor.members[name]
    whole = explain_rows(member, panel, rows)
    monkeypatch.setattr(loop, "CHUNKS", 1)  # as many batches as chunks
    split = explain_rows(member.model, panel, rows)
    assert whole.origins == len(rows) == split.origins
    one, other = (getattr(found, table) for found in (whole, split))
    assert np.allclose(one[column], other[column], atol=1e-6)
    each = [getattr(explain_rows(member, panel, rows[[i]]), table) for i in range(len(rows))]
    assert each[0][sd].isna().all()
    values = [t[column] for t in each]
    assert np.allclose(one[column], np.mean(values, 0), atol=1e-5)
    assert np.allclose(one[sd], np.std(values, 0), rtol=1e-3, atol=1e-7)


def test_selection_over_time_is_the_mean_of_the_symbols_at_a_date(predictor, panel):
    member, rows = predictor.members["tft"], panel.origins("valid", 20)
    found, row = explain_rows(member, panel, rows), rows[30]
    same_day = rows[panel.date[rows] == panel.date[row]]
    outputs = [single(member.model, panel, r) for r in same_day]
    assert len(outputs) == 3
    past = np.array([out.past_weights[0, n + 19].numpy() for out, n in outputs])
    future = np.array([out.future_weights[0, n].numpy() for out, n in outputs])
    static = np.array([out.static_weights[0].numpy() for out, _ in outputs])
    for table, date, weights in (
        (found.past, panel.date[row], past),
        (found.future, panel.date[row + 1], future),
        (found.static, panel.date[row], static),
    ):
        day = table[table["date"] == date]
        assert np.allclose(day["weight"], weights.mean(0), atol=1e-5)
        assert np.allclose(day["sd"], weights.std(0), atol=1e-5)  # over the symbols of the date
    assert found.past["date"].nunique() == len(np.unique(panel.date[rows]))
    # Overall the mean is over origins, not over dates
    counts = pd.Series(panel.date[rows]).value_counts()
    by_date = found.past.pivot(index="date", columns="input", values="weight")
    mean = by_date.mul(counts, axis=0).sum() / counts.sum()
    chosen = found.selection[found.selection["kind"] == "past"].set_index("input")["weight"]
    assert np.allclose(chosen[mean.index], mean, atol=1e-6)


def test_bars_without_dates_count(predictor, bars):
    columns = ["open", "high", "low", "close", "volume"]
    fc = predictor.predict(of(bars, "META").tail(90)[columns].to_numpy().tolist())
    panel, last = fc.source[1], fc.source[2][-1]
    found = explain_rows(predictor.members["tft"], panel, np.arange(last - 9, last + 1))
    assert found.past["date"].unique().tolist() == list(range(80, 90))
    assert found.future["date"].unique().tolist() == list(range(81, 91))
    assert fc.explain().past["date"].isna().all()


def test_memory_does_not_grow_with_the_origins(predictor, panel, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(loop, "CHUNKS", 1)
    rows = panel.origins("train", 20)  # of three symbols on the same dates
    one, peaks = rows[panel.symbol_of(rows) == 0], []
    for some in (one, rows):
        tracemalloc.start()
        explain_rows(predictor.members["tft"], panel, some)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    attention = (len(rows) - len(one)) * 5 * 25 * 4  # bytes, were it kept
    assert len(one) > 500 and peaks[1] - peaks[0] < attention / 2


def test_the_baseline_alone_is_what_an_untrained_nhits_forecasts(panel):
    model = build(tn.preset("tiny")[1], panel.inputs).eval()
    model.base.copy_(torch.linspace(-1, 1, 11).expand(5, -1))
    parts = explain_rows(model, panel, panel.last_origins()).parts.set_index("stack")
    assert np.allclose(parts.drop(BASELINE)["width"], 0)
    assert (parts.loc[BASELINE, "width"] > 0).all()


# -- importance


class OneInput:
    """A member that repeats the first observed input: perfect where that holds the outcome."""

    context, horizon, levels = 2, 5, (0.25, 0.5, 0.75)

    def quantiles(self, panel, rows):
        values = panel.observed[rows, 0] * panel.scale[rows, 0]
        by_step = values[:, None, None] * np.sqrt(np.arange(1, 6))[:, None]
        return np.broadcast_to(by_step, (len(rows), 5, 3))


@pytest.fixture(scope="module")
def known(panel) -> tn.Panel:
    """A panel whose first observed input is the outcome, the same at every step."""
    observed, target = np.array(panel.observed), np.array(panel.target)
    target[:] = target[:, :1]
    observed[:, 0] = target[:, 0]
    return replace(panel, observed=observed, target=target)


def test_only_an_input_that_is_used_is_important(known):
    rows = known.origins("valid", 2)
    found = permutation_importance(OneInput(), known, rows).set_index("input")
    first = known.inputs["observed"][0]
    assert found.index[0] == first and found.loc[first, "rise"] > 10
    assert (found.drop(first)["rise"] == 0).all()
    # what never varies on daily bars of three stocks with a year of history has no timing
    left_out = set(known.inputs["observed"]) - set(found.index)
    assert left_out == {"has_volume", "has_market", "has_year"}


def test_inputs_that_never_vary_are_marked(forecast, predictor, panel):
    still = {"hour_sin", "hour_cos", "has_calendar", *F.STATIC}
    last = of(forecast.explain().selection, "META").set_index("input")
    assert still <= set(last.index[~last["varies"]]) and "return" in last.index[last["varies"]]
    found = explain_rows(predictor.members["tft"], panel, panel.origins("valid", 20)).selection
    assert still | {"has_year"} == set(found[~found["varies"]]["input"]) - {"has_market"}
    groups = {"hours": ("hour_sin", "hour_cos"), "gap": ("gap",)}
    rows = panel.origins("valid", 20)[:9]
    table = permutation_importance(predictor.members["tft"], panel, rows, groups=groups)
    assert table["input"].tolist() == ["gap"]


def test_importance_follows_the_seed_and_has_the_spread_of_its_repeats(known):
    before, rows = known.observed.copy(), known.origins("valid", 2)
    groups = {"used": known.inputs["observed"][:1]}
    one, same, other, thrice = (
        permutation_importance(OneInput(), known, rows, seed, repeats, groups)
        for seed, repeats in ((1, 1), (1, 1), (2, 1), (1, 3))
    )
    pd.testing.assert_frame_equal(one, same)
    assert one["rise"].iloc[0] != other["rise"].iloc[0] and np.isnan(one["spread"].iloc[0])
    assert 0 < thrice["spread"].iloc[0] < thrice["rise"].iloc[0]
    assert np.array_equal(known.observed, before, equal_nan=True)


def test_every_input_has_a_name_in_words():
    names = {F.in_words(name) for name in {*F.OBSERVED, *F.KNOWN, *F.STATIC}}
    assert len(names) == len({*F.OBSERVED, *F.KNOWN, *F.STATIC})
    assert not [name for name in names if "_" in name] and max(map(len, names)) <= 28


def test_families_cover_every_input_once():
    every = [name for names in FAMILIES.values() for name in names]
    assert sorted(every) == sorted({*F.OBSERVED, *F.KNOWN})


def test_what_cannot_be_explained_is_refused(predictor, panel):
    rows = panel.origins("valid", 2)
    with pytest.raises(tn.ConfigError, match="no origins"):
        explain_rows(predictor.members["tft"], panel, rows[:0])
    with pytest.raises(tn.ConfigError, match="'moon'"):
        permutation_importance(OneInput(), panel, rows, groups={"sky": ("moon",)})
