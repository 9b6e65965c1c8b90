"""Figures of paths: titles that repeat the numbers, drawn parts that are the paths' own."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars
from pictures import boosted, forecast

import tftnhits as tn
from tftnhits.forecast.paths import paths_of
from tftnhits.viz import paths as plots
from tftnhits.viz.style import THEMES

pytest.importorskip("plotly")


def title(figure) -> str:
    """The finding, without the small print."""
    return figure.layout.title.text.split("<br><span")[0].replace("<br>", " ")


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    frame = forecast().paths()
    return frame[frame["symbol"] == "META"]


def numbers(pattern: str, text: str) -> list[float]:
    match = re.fullmatch(pattern.replace("#", r"([-+]?[\d.]+)"), text)
    assert match, text
    return [float(number) for number in match.groups()]


def test_the_cloud_has_the_paths_medians_and_its_title_their_numbers(drawn):
    figure = plots.plot_paths(forecast(), "META", history=30)
    past, ahead = figure.data
    assert len(past.x) == 30 and len(ahead.x) == 5 and past.x[-1] < ahead.x[0]
    by_step = drawn.groupby("step")
    for part, column in {"q1": "low", "median": "close", "q3": "high"}.items():
        assert np.allclose(ahead[part], by_step[column].median())
    assert np.allclose(ahead.lowerfence, by_step["low"].quantile(0.035))
    assert np.allclose(ahead.upperfence, by_step["high"].quantile(0.965))
    told = numbers(
        "META: the next session's high is #% above its low in the median; "
        "#% of bars 5 sessions ahead lie between # and #",
        title(figure),
    )
    first, last = (drawn[drawn["step"] == step] for step in (1, 5))
    low, high = ahead.lowerfence[-1], ahead.upperfence[-1]
    inside = 100 * ((last["low"] >= low) & (last["high"] <= high)).mean()
    widest = 100 * ((first["high"] / first["low"]).median() - 1)
    assert told == pytest.approx([widest, inside, low, high], abs=0.5)
    assert told[0] == pytest.approx(widest, abs=0.051) and inside >= 93


def test_the_map_of_touches_is_touch_and_its_title_the_even_prices():
    fc = forecast()
    figure = plots.plot_touch(fc, "META")
    (map_,) = figure.data
    share = fc.touch({"META": list(map_.y)})
    table = share.pivot_table(index="price", columns="step", values="probability")
    assert np.allclose(np.asarray(map_.z), 100 * table)
    above, up, below, down = numbers(
        r"META: within 5 sessions one path in two touches # \(#%\), one in two # \(#%\)",
        title(figure),
    )
    even = fc.touch({"META": [above, below]}).query("step == 5")
    assert even["probability"].tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert even["percent"].tolist() == pytest.approx([up, down], abs=0.06) and down < 0 < up


@pytest.mark.parametrize("weights", [None, {"META": 0.7, "GOOG": 0.3}])
def test_the_ladder_is_what_risk_tells(weights):
    fc = forecast()
    figure = plots.plot_risk(fc, None if weights else "META", weights, position="short")
    name = "portfolio" if weights else "META"
    table = fc.risk("short", weights, (0.05, 0.025, 0.01)).query("symbol == @name")
    assert len(figure.data) == 6
    for rung, (level, column) in zip(
        figure.data, ((level, c) for level in (0.05, 0.025, 0.01) for c in ("var", "es"))
    ):
        assert np.allclose(rung.y, 100 * table[table["level"] == level][column])
        assert rung.name.startswith(f"{100 * level:g}%: ")
    var, es = numbers(
        f"{name}, short: after 5 sessions 5% of paths have lost more than #%, #% on average",
        title(figure),
    )
    last = table.query("step == 5 and level == 0.05").iloc[0]
    assert [var, es] == pytest.approx([100 * last["var"], 100 * last["es"]], abs=0.051)


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_follows_the_theme_and_names_its_axes(theme):
    fc = forecast()
    for figure in (
        plots.plot_paths(fc, "META", theme=theme),
        plots.plot_touch(fc, "META", theme=theme),
        plots.plot_risk(fc, "META", theme=theme),
    ):
        assert figure.layout.template.layout.paper_bgcolor == THEMES[theme].paper
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert plots.DRAWN.split(";")[0] in figure.layout.title.text
        assert len(figure.to_json()) < 60_000


def test_closes_alone_have_a_cloud_but_no_touches():
    bars = made_bars(("A",), 300)
    bars[["open", "high", "low"]] = bars[["close"] * 3].to_numpy()
    fc = boosted().predict(bars)
    figure = plots.plot_paths(fc)
    assert "lack open, high and" in figure.layout.title.text.replace("<br>", " ")
    table = plots.median_candles(paths_of(fc), 0, fc.level)
    assert np.array_equal(table["close"], table["high"]) and (table["range"] == 1).all()
    with pytest.raises(tn.DataError, match="A has bars without a high and low"):
        plots.plot_touch(fc)


def test_bars_without_dates_stand_on_their_numbers():
    bars = made_bars(("A",), 300, freq=None)
    figure = plots.plot_paths(boosted().predict(bars), history=10)
    past, ahead = figure.data
    assert list(past.x) == list(range(290, 300)) and list(ahead.x) == list(range(300, 305))
    assert figure.layout.xaxis.title.text == "bar number"


def test_what_is_not_there_is_said():
    for draw in (plots.plot_paths, plots.plot_touch, plots.plot_risk):
        with pytest.raises(tn.DataError, match="no symbol 'X'"):
            draw(forecast(), "X")
    with pytest.raises(tn.ConfigError, match="history"):
        plots.plot_paths(forecast(), history=0)
