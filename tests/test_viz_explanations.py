"""Figures of explanations: they draw what is in the tables, and say what it does not prove."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from pictures import explained, faults, title

import tftnhits as tn
from tftnhits.data.features import in_words
from tftnhits.viz import explanations as plots
from tftnhits.viz.importance import plot_importance
from tftnhits.viz.style import THEMES

pytest.importorskip("torch")


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_is_whole_legible_and_says_what_it_does_not_prove(theme):
    last, mean, importance = explained()
    tft, nhits = mean["tft"], mean["nhits"]
    for figure in (
        plots.plot_attention(tft, theme=theme),
        plots.plot_selection(tft, theme=theme),
        plots.plot_selection_over_time(tft, smooth=5, theme=theme),
        plot_importance(importance, tft, name="TFT", theme=theme),
        plots.plot_decomposition(nhits, theme=theme),
        plots.plot_decomposition(last, "META", theme=theme),
        plots.plot_explanation(last, "META", theme),
    ):
        assert faults(figure) == [] and len(title(figure)) > 20
        assert re.search(r"prove|no proof|not that|a part is not|not what made", figure.caption)


def test_titles_repeat_the_tables():
    last, mean, _ = explained()
    selection = mean["tft"].selection
    selection = selection[(selection["kind"] == "past") & selection["varies"]]
    share = selection.set_index("input")["weight"].sort_values()
    one, two = (in_words(name) for name in share.index[-2:])
    words = f"{two} and {one} take {share.iloc[-2:].sum():.0%}"
    assert words in title(plots.plot_selection(mean["tft"]))
    parts = last.parts[(last.parts["symbol"] == "META") & (last.parts["step"] == 5)]
    words = f"median ends at {100 * parts['median'].sum():+.2f}%"
    assert words in title(plots.plot_decomposition(last, "META"))
    inputs = next(one["inputs"] for one in last.summary() if one["symbol"] == "META")
    most = in_words(max(inputs, key=inputs.get))
    assert f"TFT weighs {most} most" in title(last.plot("META"))


def test_inputs_that_never_vary_are_left_out_and_named():
    average = explained()[1]["tft"]
    figure = plots.plot_selection(average)
    titles = [ax.get_title("left") for ax in figure.axes]
    assert [name.split(" (")[0] for name in titles] == ["past inputs", "known future"]
    drawn = {label.get_text() for ax in figure.axes for label in ax.get_yticklabels()}
    still = {in_words(name) for name in ("has_year", "hour_cos", "has_calendar")}
    assert not drawn & still and all(name in figure.caption for name in still)


def test_attention_is_drawn_as_a_multiple_of_uniform():
    last = explained()[0]
    figure = plots.plot_attention(last, "META")
    (mesh,) = [c for c in figure.axes[1].collections if isinstance(c, QuadMesh)]
    drawn = np.ma.filled(mesh.get_array(), np.nan)
    table = last.attention[last.attention["symbol"] == "META"]
    assert drawn.shape == (5, 25) and np.isnan(drawn[0, -4:]).all()
    third = table[table["step"] == 3].sort_values("lag", ascending=False)
    assert np.allclose(drawn[2, :23], third["weight"] * 23)
    lines = {line.get_label(): line.get_ydata()[0] for line in figure.axes[0].lines}
    assert lines["uniform, step 1"] == pytest.approx(100 / 21)
    assert lines["uniform, step 5"] == pytest.approx(100 / 25)


def test_bands_are_spreads_over_origins_or_seeds():
    last, mean, _ = explained()
    average, figure = mean["tft"], plots.plot_attention(mean["tft"])
    bands = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    at_origin = [y for band in bands for x, y in band.get_paths()[0].vertices if x == 0]
    first = average.attention.query("step == 1 and lag == 0").iloc[0]
    for bound in (first["weight"] - first["sd"], first["weight"] + first["sd"]):
        assert np.isclose(at_origin, 100 * bound).any()
    assert f"over {average.origins:,} origins" in figure.caption
    alone = plots.plot_attention(last, "META").axes[0].collections
    assert not [c for c in alone if isinstance(c, PolyCollection)], "no spread of one origin"
    many = replace(average, seeds={"tft": 3})
    for draw in (plots.plot_attention, plots.plot_selection, plots.plot_selection_over_time):
        assert "over 3 networks that differ by seed" in draw(many).caption


def test_importance_stands_beside_the_selection_with_both_spreads():
    _, mean, importance = explained()
    figure = plot_importance(importance, mean["tft"], top=4, name="TFT")
    left, right = figure.axes
    table = importance.head(4).iloc[::-1]
    selection = mean["tft"].selection.query("kind == 'past'").set_index("input")
    selection = 100 * selection.loc[table["input"], ["weight", "sd"]]
    assert [t.get_text() for t in left.get_yticklabels()] == table["input"].map(in_words).tolist()
    assert [b.get_width() for b in left.patches] == pytest.approx(table["rise"].tolist())
    assert [b.get_width() for b in right.patches] == pytest.approx(selection["weight"].tolist())
    for ax, spread in ((left, table["spread"]), (right, selection["sd"])):
        (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
        widths = [np.ptp(segment[:, 0]) for segment in bars.get_segments()]
        assert widths == pytest.approx((2 * spread).tolist())
    assert "over the permutations. Right: ± one standard deviation" in figure.caption


@pytest.mark.parametrize("rows", [1, 30])
def test_importance_of_many_long_names_fits(rows):
    names = [f"an input of a very long name, number {i}" for i in range(rows)]
    table = pd.DataFrame({"input": names, "rise": -np.arange(float(rows))})
    figure = plot_importance(table.assign(spread=np.nan, percent=-1.0), top=rows)
    assert faults(figure) == [] and "no input's timing matters" in title(figure)


def test_inputs_of_the_future_are_drawn_where_they_move():
    average = explained()[1]["tft"]
    titles = [ax.get_title("left") for ax in plots.plot_selection_over_time(average).axes]
    assert titles == ["past inputs", "known future"]
    still = replace(average, future=average.future.assign(weight=0.2))
    assert len(plots.plot_selection_over_time(still).axes) == 1


def test_mean_parts_stand_side_by_side_and_those_of_one_forecast_pile_up():
    last, mean, _ = explained()
    piled = plots.plot_decomposition(last, "META").axes[1].patches
    beside = plots.plot_decomposition(mean["nhits"]).axes[1].patches
    assert {round(b.get_width(), 6) for b in piled} == {0.7}
    middles = {round(b.get_x() + b.get_width() / 2, 6) for b in beside}
    assert len(middles) == len(beside) == 10
    table = mean["nhits"].parts.query("stack != 'volatility baseline'")
    table = table.sort_values(["stack", "step"])
    assert [b.get_height() for b in beside] == pytest.approx(100 * table["width"])


def test_parts_that_attention_mixes_are_said_to_be_inseparable():
    last, mean, _ = explained()
    parts = last.parts
    assert parts["mixed"].all()  # the preset's N-HITS has it
    alone = replace(last, parts=parts.assign(mixed=False))
    for draw in (plots.plot_decomposition, plots.plot_explanation):
        assert "Attention across scales" in draw(last, "META").caption
        assert "Attention across scales" not in draw(alone, "META").caption
        assert faults(draw(last, "META")) == []
    assert "Attention across scales" not in plots.plot_explanation(mean["tft"]).caption


@pytest.mark.parametrize("member, panels", [("tft", 2), ("nhits", 1)])
def test_one_network_is_explained_too(member, panels):
    figure = explained()[1][member].plot()
    assert len(figure.axes) == panels and faults(figure) == []


@pytest.mark.parametrize(
    "draw, error, words",
    [
        (lambda last, mean: plots.plot_attention(mean["nhits"]), tn.DataError, "attention"),
        (lambda last, mean: plots.plot_decomposition(mean["tft"]), tn.DataError, "stack parts"),
        (lambda last, mean: plots.plot_attention(last, "XOM"), tn.DataError, "'XOM'"),
        (lambda last, mean: plots.plot_explanation(last, "XOM"), tn.DataError, "'XOM'"),
        (lambda last, _: plots.plot_selection_over_time(last, smooth=0), tn.ConfigError, "is 0"),
        (lambda *_: plot_importance(pd.DataFrame({"rise": []})), tn.DataError, "one input"),
    ],
)
def test_what_cant_be_drawn_is_named(draw, error, words):
    last, mean, _ = explained()
    with pytest.raises(error, match=words):
        draw(last, mean)
