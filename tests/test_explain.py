"""Tables of explanation: they add up to what the networks returned, for every origin and not the last batch."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import tftnhits as tn
from tftnhits.data import features as F
from tftnhits.viz.explain import BASELINE, FAMILIES, explain_forecast, explain_rows, permutation_importance

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    every = tn.load_bars("djia")
    recent = every[every["symbol"].isin(["AAPL", "IBM", "KO"]) & (every["date"] >= "2013-06-01")]
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
        return model(gather(panel.with_tensors(), starts, model.config.context, ORIGINS)), int(place[0])


def test_weights_sum_to_one_for_each_symbol_and_step(forecast):
    found = forecast.explain()
    for table, by in (
        (found.attention, ["symbol", "step"]), (found.past, ["symbol", "date"]), (found.future, ["symbol", "step"]),
        (found.static, ["symbol"]),
    ):  # fmt: skip
        total = table.groupby(by)["weight"].sum()
        assert len(total) and np.allclose(total, 1, atol=1e-5)
        assert set(table["symbol"]) == {"AAPL", "IBM", "KO"}


def test_a_step_attends_to_no_later_step(forecast):
    table = forecast.explain().attention
    assert (-table["lag"] <= table["step"]).all()
    assert (table.groupby("step")["lag"].min() == -np.arange(1, 6)).all()
    assert table["lag"].max() == 19


def test_tables_repeat_the_networks_output_for_that_origin(forecast, predictor, panel):
    found, row = forecast.explain(), panel.last_origins()[1]
    out, n = single(predictor.members["tft"].model, panel, row)
    own = found.attention[(found.attention["symbol"] == "IBM") & (found.attention["step"] == 2)]
    assert np.allclose(own["weight"], out.attention[0, n, 1, :22].numpy(), atol=1e-5)
    past = found.past[found.past["symbol"] == "IBM"]
    assert np.allclose(past["weight"], out.past_weights[0, n : n + 20].flatten().numpy(), atol=1e-5)
    assert past["date"].iloc[-1] == panel.date[row] and past["lag"].iloc[0] == 19
    future = found.future[found.future["symbol"] == "IBM"]
    assert np.allclose(future["weight"], out.future_weights[0, n : n + 5].flatten().numpy(), atol=1e-5)


def test_the_parts_of_nhits_add_up_to_its_median_and_width(forecast, predictor, panel):
    total = forecast.explain().parts.groupby(["symbol", "step"])[["median", "width"]].sum()
    member = predictor.members["nhits"]
    quantiles = member.quantiles(panel, panel.last_origins())
    middle, low, high = (member.levels.index(q) for q in (0.5, 0.035, 0.965))
    assert np.allclose(total["median"], quantiles[..., middle].ravel(), atol=1e-6)
    assert np.allclose(total["width"], (quantiles[..., high] - quantiles[..., low]).ravel(), atol=1e-6)


@pytest.mark.parametrize("name, table, column", [("tft", "attention", "weight"), ("nhits", "parts", "width")])
def test_seeds_are_averaged(predictor, panel, bars, name, table, column):
    from copy import deepcopy

    from helpers import stir

    models = [predictor.members[name].model, deepcopy(predictor.members[name].model)]
    stir(models[1], 1)
    both = tn.Predictor({name: models}, tn.make_panel(bars))
    found = getattr(both.predict(bars).explain(), table)
    each = [getattr(tn.Predictor({name: m}, tn.make_panel(bars)).predict(bars).explain(), table) for m in models]
    assert abs(each[0][column] - each[1][column]).max() > 1e-3
    assert np.allclose(found[column], (each[0][column] + each[1][column]) / 2, atol=1e-6)
    rows = panel.origins("valid", 20)[::40]
    over = [getattr(explain_rows(m, panel, rows), table)[column] for m in (both.members[name], *models)]
    assert np.allclose(over[0], (over[1] + over[2]) / 2, atol=1e-6)


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
    by_hand = np.mean(
        [explain_rows(member, panel, rows[i : i + 1]).__dict__[table][column] for i in range(len(rows))], 0
    )
    assert np.allclose(getattr(whole, table)[column], by_hand, atol=1e-5)
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
    assert found["date"].nunique() == len(np.unique(panel.date[rows]))


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
    one, same, other = (permutation_importance(member, known, rows, s, groups=groups) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert one["rise"].iloc[0] != other["rise"].iloc[0]
    assert np.array_equal(known.observed, before, equal_nan=True)


def test_families_cover_every_input_once():
    every = [n for members in FAMILIES.values() for n in members]
    assert sorted(every) == sorted({*F.OBSERVED, *F.KNOWN})


def test_what_cannot_be_explained_is_refused(predictor, bars, panel):
    alone = tn.Predictor({"boosting": predictor.members["boosting"]}, panel)
    with pytest.raises(tn.ConfigError, match="boosting"):
        alone.predict(bars).explain()
    with pytest.raises(tn.ConfigError, match="no origins"):
        explain_rows(predictor.members["tft"], panel, np.array([], int))
    with pytest.raises(tn.ConfigError, match="'moon'"):
        permutation_importance(OneInput(0), panel, panel.origins("valid", 2), groups={"sky": ("moon",)})


def test_the_baseline_alone_is_what_an_untrained_nhits_forecasts(panel):
    from tftnhits.training.checkpoint import build

    model = build(tn.preset("tiny")[1], panel.inputs).eval()
    model.base.copy_(torch.linspace(-1, 1, 11).expand(5, -1))
    parts = explain_rows(model, panel, panel.last_origins()).parts.set_index("stack")
    assert np.allclose(parts.drop(BASELINE)["width"], 0)
    assert (parts.loc[BASELINE, "width"] > 0).all()
