"""Figures: titles that repeat the data's numbers, drawn parts that match them, both themes legible."""

import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from pictures import GRAPHICS, SIGHTS, TEXT, contrast, difference, faults
from PIL import Image

import tftnhits as tn
from tftnhits.forecast.explain import explain_rows, permutation_importance
from tftnhits.viz import forecasts as plots
from tftnhits.viz.bars import autocorrelation, labels_of, plotly_bars
from tftnhits.viz.style import DPI, PRINT_DPI, THEMES, caption_of, price, unit_of


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    every = tn.load_bars("stocks")
    recent = every[
        every["symbol"].isin(["AAPL", "GOOG", "META"])
        & every["date"].between("2014-06-01", "2017-12-31")
    ]
    return recent.reset_index(drop=True)


@pytest.fixture(scope="module")
def predictor(bars) -> tn.Predictor:
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31"))
    return tn.Predictor.from_members(
        {"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel)}, panel
    )


@pytest.fixture(scope="module")
def forecast(predictor, bars) -> tn.Forecast:
    return predictor.predict(bars[bars["date"] < "2017-12-15"])


def title(figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def test_a_forecasts_title_states_its_numbers(forecast, bars):
    part = forecast.frame.query("symbol == 'META'")
    close = bars[(bars["symbol"] == "META") & (bars["date"] < "2017-12-15")]["close"].iloc[-1]
    text = title(forecast.plot("META"))
    found = re.fullmatch(r"META: median (\S+)% in 5 sessions, 93% between (\S+) and (\S+)", text)
    assert found, text
    assert float(found[1]) == pytest.approx(100 * (part["median"].iloc[-1] / close - 1), abs=0.051)
    assert [float(found[2]), float(found[3])] == pytest.approx(
        part[["lower", "upper"]].iloc[-1].tolist(), abs=0.0051
    )


def test_the_fan_nests_and_starts_at_the_last_close(forecast):
    (ax,) = plots.plot_forecast(forecast, "META").axes
    bands = [c.get_paths()[0].vertices[:, 1] for c in ax.collections if c.get_paths()]
    assert len(bands) == 5  # five symmetric pairs of quantiles
    heights = [np.ptp(band) for band in bands]
    assert heights == sorted(heights, reverse=True)
    median = next(line for line in ax.lines if line.get_label() == "median")
    close = next(line for line in ax.lines if line.get_label() == "close")
    assert median.get_ydata()[0] == close.get_ydata()[-1] and len(median.get_ydata()) == 6
    assert len(close.get_ydata()) == 60 and ax.get_xlabel() == "date" and ax.get_ylabel() == "price"


def names(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("level, shown", [(0.93, "93%"), (0.985, "98.5%"), (0.5, "50%")])
def test_the_intervals_name_says_how_many_outcomes_it_held(predictor, bars, level, shown):
    fc = predictor.predict(bars, level=level)
    caption = f"{shown} interval (held {fc.coverage['META']:.0%} {fc.measured})"
    figure = plots.plot_forecast(fc, "META")
    assert caption in names(figure) and f", {shown} between" in title(figure)
    assert "50% interval" in " ".join(names(figure))
    interactive = plots.plot_forecast(fc, "META", interactive=True)
    outer = [] if level > 0.95 else ["95% interval"]  # the widest band has a name, too
    assert [t.name for t in interactive.data if t.fill and t.showlegend] == [*outer, caption]
    assert names(figure)[: len(outer) + 1] == [*outer, caption]


@pytest.mark.parametrize("shift, where", [(1.0, "inside"), (3.0, "outside")])
def test_a_known_outcome_is_drawn_and_judged(forecast, bars, shift, where):
    later = bars.assign(
        close=bars["close"].where(bars["date"] < "2017-12-15", bars["close"] * shift)
    )
    figure = plots.plot_forecast(forecast, "META", actual=later)
    came = next(line for line in figure.axes[0].lines if line.get_label() == "what came")
    own = later[(later["symbol"] == "META") & (later["date"] >= "2017-12-15")]["close"].iloc[:5]
    assert np.array_equal(came.get_ydata()[1:], own)
    assert title(figure).endswith(f"it came to {own.iloc[-1]:.2f}, {where}")


def test_an_earlier_origin_finds_its_outcome_in_the_forecasts_bars(predictor, bars):
    fc = predictor.predict(bars[bars["date"] >= "2017-06-01"], origins="all")
    origin = fc.frame[fc.frame["symbol"] == "GOOG"]["origin"].unique()[60]
    figure = plots.plot_forecast(fc, "GOOG", origin=origin)
    assert any(line.get_label() == "what came" for line in figure.axes[0].lines)
    with pytest.raises(tn.DataError, match="no forecast from"):
        plots.plot_forecast(fc, "GOOG", origin=pd.Timestamp("1999-01-01"))


def test_bars_without_dates_stand_on_their_numbers(predictor, bars):
    rows = (
        bars[bars["symbol"] == "META"][["open", "high", "low", "close", "volume"]]
        .to_numpy()
        .tolist()
    )
    fc = predictor.predict(rows)
    figure = fc.plot()
    assert figure.axes[0].get_xlabel() == "bar number" and "5 bars" in title(figure)
    last = plots.plot_candles(fc.bars, last=20)
    assert last.axes[1].get_xlabel() == "bar number"
    ends = (
        last.axes[1].xaxis.get_major_formatter()(19),
        figure.axes[0].xaxis.get_major_formatter()(59),
    )
    assert (
        ends == (str(len(rows) - 1),) * 2
    )  # counted from the first bar, as the forecast's origin is
    assert plots.plot_candles(fc.bars, last=20, interactive=True).data[0].x[-1] == len(rows) - 1


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "3"])
def test_how_many_is_a_whole_number_from_1(forecast, explained, bars, number):
    draws = {
        "history": lambda: plots.plot_forecast(forecast, "META", history=number),
        "last": lambda: plots.plot_candles(bars, "META", last=number),
        "lags": lambda: plots.plot_volatility_clustering(bars, "META", lags=number),
        "smooth": lambda: plots.plot_selection_over_time(explained[0], "META", smooth=number),
    }
    for name, draw in draws.items():
        with pytest.raises(tn.errors.ConfigError, match=f"{name} is .*whole number"):
            draw()


def test_titles_name_the_bars_unit_and_no_negative_zero(predictor, bars):
    for freq, unit in (
        ("W-FRI", "week"),
        ("ME", "month"),
        ("QE", "bar"),
        ("h", "bar"),
        ("B", "session"),
    ):
        own = bars[bars["symbol"] == "META"].tail(60)
        fc = predictor.predict(
            own.assign(date=pd.date_range(end="2017-12-15", periods=60, freq=freq)), horizon=1
        )
        assert f"% in 1 {unit}, " in title(fc.plot())
    assert (
        unit_of(pd.DatetimeIndex(["2017-12-15", "2017-12-18"])) == "bar"
        and unit_of(np.arange(5)) == "bar"
    )
    assert unit_of(pd.DatetimeIndex(["2017-12-14", "2017-12-15", "2017-12-18"])) == "session"
    still = replace(fc, frame=fc.frame.assign(median=own["close"].iloc[-1] * (1 - 1e-5)))
    assert "median +0.0% in 1 session" in title(still.plot())


def test_interactive_figures_are_small_and_need_no_network(forecast, bars):
    go, pio = pytest.importorskip("plotly.graph_objects"), pytest.importorskip("plotly.io")
    for figure in (
        forecast.plot("META", interactive=True),
        plots.plot_candles(bars, "META", interactive=True),
    ):
        assert isinstance(figure, go.Figure) and len(figure.to_json()) < 200_000
        assert (
            figure.layout.title.text.startswith("META")
            and figure.layout.yaxis.title.text == "price"
        )
    assert "notebook" not in str(pio.renderers.default)


def test_candles_state_the_close_and_draw_every_bar(bars):
    part = bars[bars["symbol"] == "AAPL"].tail(50)
    figure = plots.plot_candles(bars, "AAPL", last=50)
    assert f"{part['close'].iloc[-1]:,.2f}" in title(
        figure
    ) and f"{part['high'].max():,.2f}" in title(figure)
    prices, volume = figure.axes
    assert len(prices.patches) == len(volume.patches) == 50
    hollow = [p for p in prices.patches if p.get_facecolor()[:3] == (1, 1, 1)]
    assert len(hollow) == (part["close"] >= part["open"]).sum()


def test_far_moves_are_counted(bars):
    part = bars[bars["symbol"] == "GOOG"]
    r = np.diff(np.log(part["close"]))
    far = int((np.abs((r - r.mean()) / r.std()) > 4).sum())
    assert title(plots.plot_returns(bars, "GOOG")).startswith(f"GOOG: {far} of {len(r):,} moves")


def test_autocorrelation_of_a_known_process():
    generator = np.random.default_rng(0)
    x = np.zeros(20_000)
    for i, shock in enumerate(generator.normal(size=len(x) - 1), 1):
        x[i] = 0.8 * x[i - 1] + shock
    assert np.allclose(autocorrelation(x, 4), 0.8 ** np.arange(1, 5), atol=0.03)


def test_clustering_counts_the_lags_inside_the_band(bars):
    figure = plots.plot_volatility_clustering(bars, "META", lags=30)
    r = np.diff(np.log(bars[bars["symbol"] == "META"]["close"]))
    inside = (np.abs(autocorrelation(r, 30)) <= 1.96 / np.sqrt(len(r))).sum()
    assert f"{inside} of 30 lags" in title(figure)
    with pytest.raises(tn.DataError, match="more bars"):
        plots.plot_volatility_clustering(bars.head(50), lags=60)


def test_repairs_add_up_and_none_are_fine(bars):
    everything = tn.load_bars("stocks")
    total = tn.repairs(everything)["count"].sum()
    assert title(plots.plot_repairs(everything)).startswith(
        f"{total} of {5 * len(everything):,} cells"
    )
    clean = bars.copy()
    clean.attrs = {}
    assert title(plots.plot_repairs(clean)).startswith("0 of")


def test_the_learning_curve_names_its_best_epoch():
    history = [{"epoch": i, "train": 1.0, "valid": v} for i, v in enumerate((0.20, 0.18, 0.19), 1)]
    text = title(plots.plot_learning_curve(history, 0.19, "TFT"))
    assert "0.1800, after epoch 2" in text and "5.3% below" in text
    assert "above" in title(plots.plot_learning_curve(history, 0.17))
    with pytest.raises(tn.DataError):
        plots.plot_learning_curve([])


def test_the_leaderboard_is_sorted_and_compares_with_its_reference():
    frame = pd.DataFrame({"forecaster": ["a", "b", "c"], "loss": [40.0, 36.0, 50.0]})
    figure = plots.plot_leaderboard(frame, reference="a")
    assert title(figure) == "b has the lowest loss, 36.00, 10.0% below a"
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["c", "a", "b"]
    assert "28.0% below c" in title(plots.plot_leaderboard(frame))


@pytest.fixture(scope="module")
def explained(bars):
    pytest.importorskip("torch")
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31"))
    tft, nhits, _, settings = tn.preset("tiny")
    settings = replace(
        settings, epochs=3
    )  # after one, the start is still the best on these bars: nothing to explain
    networks = {
        k: tn.fit(c, panel, settings, progress=False).model
        for k, c in (("tft", tft), ("nhits", nhits))
    }
    model, rows = tn.Predictor.from_members(networks, panel), panel.origins("valid", 20)
    average = {k: explain_rows(model.members[k], panel, rows) for k in ("tft", "nhits")}
    importance = permutation_importance(model.members["tft"], panel, rows[:100], repeats=2)
    return model.predict(bars).explain(), average, importance


def test_titles_of_explanations_repeat_the_tables(explained):
    last, average, _ = explained
    share = average["tft"].past.groupby("input")["weight"].mean().sort_values()
    assert f"{share.index[-1]} and {share.index[-2]} take {share.iloc[-2:].sum():.0%}" in title(
        plots.plot_selection(average["tft"])
    )
    own = last.parts[(last.parts["symbol"] == "META") & (last.parts["step"] == 5)]
    assert f"median ends at {100 * own['median'].sum():+.2f}%" in title(
        plots.plot_decomposition(last, "META")
    )
    with pytest.raises(tn.DataError, match="has no attention"):
        plots.plot_attention(average["nhits"])
    with pytest.raises(tn.DataError, match="'XOM'"):
        plots.plot_attention(last, "XOM")


@pytest.mark.parametrize("look", THEMES.values(), ids=THEMES)
def test_the_palette_stands_out_and_can_be_told_apart(look):
    assert contrast(look.ink, look.paper) >= 7  # WCAG 2.2, AAA for text
    assert contrast(look.quiet, look.paper) >= TEXT
    assert min(contrast(c, look.paper) for c in (look.faint, *look.series)) >= GRAPHICS
    assert look.series[:2] == (look.first, look.second) and len(set(look.series)) == 6
    for sight in SIGHTS:
        assert (
            min(difference(a, b, sight) for a, b in itertools.combinations(look.series, 2)) >= 20
        ), sight


def test_the_checks_find_what_is_wrong(forecast):
    """Else a fault-free gallery would say nothing."""
    figure = plots.plot_forecast(forecast, "META")
    (ax,) = figure.axes
    ax.text(0.5, 0.5, "over", transform=ax.transAxes, color="#999999")
    ax.text(0.5, 0.5, "under", transform=ax.transAxes)
    ax.text(1.2, 0.5, "outside", transform=ax.transAxes).set_in_layout(False)
    middle = np.mean(ax.get_ylim())  # behind the legend
    ax.plot([0, 1], [middle, middle * 1.001], color="#EEEEEE", label="pale")
    ax.legend(loc="center")
    said = " ".join(faults(figure))
    for word in (
        "faint text: 'over'",
        "'over' on 'under'",
        "cut off: 'outside'",
        "faint line 'pale'",
        "legend hides",
    ):
        assert word in said, word


HISTORY = [{"epoch": i, "train": 1 / i, "valid": 0.2 + 1 / i} for i in range(1, 9)]
BOARD = pd.DataFrame({"forecaster": ["ensemble", "HAR", "random walk"], "loss": [38.5, 39.0, 42.1]})
GALLERY = {  # name -> (forecast, bars, explanation, its mean, importance, theme) -> figure
    "plot_candles": lambda fc, bars, *_, theme: plots.plot_candles(bars, "META", theme=theme),
    "plot_forecast": lambda fc, bars, *_, theme: plots.plot_forecast(
        fc, "META", actual=bars, theme=theme
    ),
    "plot_links": lambda fc, *_, theme: plots.plot_links(
        {"one": fc, "two": fc}, "META", theme=theme
    ),
    "plot_learning_curve": lambda *_, theme: plots.plot_learning_curve(HISTORY, 0.4, "TFT", theme),
    "plot_leaderboard": lambda *_, theme: plots.plot_leaderboard(
        BOARD, reference="HAR", theme=theme
    ),
    "plot_returns": lambda fc, bars, *_, theme: plots.plot_returns(bars, theme=theme),
    "plot_repairs": lambda fc, bars, *_, theme: plots.plot_repairs(bars, theme=theme),
    "plot_volatility_clustering": lambda fc, bars, *_, theme: plots.plot_volatility_clustering(
        bars, theme=theme
    ),
    "plot_attention": lambda fc, bars, last, mean, *_, theme: plots.plot_attention(
        mean["tft"], theme=theme
    ),
    "plot_selection": lambda fc, bars, last, mean, *_, theme: plots.plot_selection(
        mean["tft"], theme=theme
    ),
    "plot_selection_over_time": lambda fc, bars, last, mean, *_, theme: (
        plots.plot_selection_over_time(mean["tft"], smooth=5, theme=theme)
    ),
    "plot_importance": lambda fc, bars, last, mean, found, theme: plots.plot_importance(
        found, mean["tft"], name="TFT", theme=theme
    ),
    "plot_decomposition": lambda fc, bars, last, mean, *_, theme: plots.plot_decomposition(
        mean["nhits"], theme=theme
    ),
    "plot_explanation": lambda fc, bars, last, *_, theme: last.plot("META", theme),
}
PROVE_LITTLE = {
    name for name in GALLERY if name.split("_")[1] in ("attention", "selection", "importance")
}
PROVE_LITTLE |= {"plot_decomposition", "plot_explanation"}


def test_the_gallery_has_every_figure():
    assert set(GALLERY) == set(plots.__all__)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_is_whole_and_legible(forecast, bars, explained, name, theme):
    figure = GALLERY[name](forecast, bars, *explained, theme=theme)
    assert faults(figure) == []
    assert figure.get_facecolor()[:3] == pytest.approx(to_rgb(THEMES[theme].paper))
    shared = [ax.get_shared_x_axes() for ax in figure.axes]
    for ax, group in zip(
        figure.axes, shared
    ):  # each axis says what it shows, itself or the one that it shares
        labelled = any(one.get_xlabel() for one in group.get_siblings(ax))
        assert labelled or ax.get_ylabel() == "× uniform"
    assert len(title(figure)) > 20
    if name in PROVE_LITTLE:
        assert re.search(r"prove|no proof|not that|a part is not|not what made", caption_of(figure))


HOSTILE = {  # what -> changes to the bars
    "a long symbol": lambda b: b.assign(symbol="W$_1$" * 20),
    "tags for a symbol": lambda b: b.assign(symbol="<b>A & B</b>"),
    "tiny prices": lambda b: b.assign(**{k: b[k] * 1e-9 for k in ("open", "high", "low", "close")}),
    "huge prices": lambda b: b.assign(**{k: b[k] * 1e12 for k in ("open", "high", "low", "close")}),
    "no volume": lambda b: b.assign(volume=np.nan),
    "no dates": lambda b: b.assign(date=pd.NaT),
    "hours": lambda b: b.assign(date=pd.date_range("2024-03-04", periods=len(b), freq="h")),
    "weeks": lambda b: b.assign(date=pd.date_range("2012-03-02", periods=len(b), freq="W-FRI")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bars_make_whole_figures_too(predictor, bars, what):
    own = tn.load_bars(HOSTILE[what](bars[bars["symbol"] == "META"].tail(200)))
    for figure in (plots.plot_candles(own), predictor.predict(own).plot(), plots.plot_returns(own)):
        assert faults(figure) == []
    pytest.importorskip("plotly")
    for figure in (
        plots.plot_candles(own, interactive=True),
        predictor.predict(own).plot(interactive=True),
    ):
        assert "<b>" not in figure.layout.title.text and figure.layout.yaxis.title.text == "price"
    assert (
        "volume" in [trace.name for trace in plots.plot_candles(own, interactive=True).data]
    ) == (what != "no volume")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_bars_make_whole_figures_too(predictor, bars, count):
    own = tn.load_bars(bars[bars["symbol"] == "META"].tail(count))
    assert faults(plots.plot_candles(own)) == []
    if count > 1:
        assert faults(predictor.predict(own, horizon=1).plot(history=1)) == []
    else:
        with pytest.raises(tn.DataError, match="closes that differ"):
            plots.plot_returns(own)


def test_many_and_long_names_make_whole_figures_too(predictor, bars):
    names = [f"a forecaster of a very long name, number {i}" for i in range(30)]
    board = pd.DataFrame({"forecaster": names, "loss": np.linspace(1e-6, 2e-6, 30)})
    fcs = {name: predictor.predict(bars, level=0.5 + i / 20) for i, name in enumerate(names[:7])}
    many = bars.head(100).copy()
    found = [
        {"symbol": f"S{i:03d}" + "X" * (i % 90), "repair": names[i % 9], "count": i}
        for i in range(300)
    ]
    many.attrs["repairs"] = [row | {"first": "", "example": ""} for row in found]
    table = pd.DataFrame(
        {"input": names, "rise": -np.arange(30.0), "spread": np.nan, "percent": -1.0}
    )
    made = [
        plots.plot_leaderboard(board),
        plots.plot_leaderboard(board.head(1)),
        plots.plot_links(fcs, "META"),
        plots.plot_repairs(many),
        plots.plot_importance(table, top=30),
        plots.plot_importance(table.head(1)),
        plots.plot_learning_curve(HISTORY[:1], name="W" * 100),
    ]
    for figure in made:
        assert faults(figure) == []
    assert made[3].get_figheight() < 8 and "269 more" in made[3].axes[1].get_title("left").replace(
        "\n", " "
    )


def test_scores_that_are_unknown_are_no_winners():
    frame = pd.DataFrame({"forecaster": ["a", "b"], "loss": [3.0, np.nan]})
    assert title(plots.plot_leaderboard(frame)) == "a has the lowest loss, 3.00"
    with pytest.raises(tn.DataError, match="with a score"):
        plots.plot_leaderboard(frame.tail(1))
    text = title(plots.plot_learning_curve([{"epoch": 1, "train": 0.2, "valid": np.nan}]))
    assert "no validation loss" in text and "0.2000" in text


def test_attention_is_drawn_as_a_multiple_of_uniform(explained):
    last, average, _ = explained
    figure = plots.plot_attention(last, "META")
    (mesh,) = [c for c in figure.axes[1].collections if isinstance(c, QuadMesh)]
    drawn = np.ma.filled(mesh.get_array(), np.nan)
    own = last.attention[last.attention["symbol"] == "META"]
    assert drawn.shape == (5, 25) and np.isnan(drawn[0, -4:]).all()
    third = own[own["step"] == 3].sort_values("lag", ascending=False)
    assert np.allclose(drawn[2, :23], third["weight"] * 23)
    assert not [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)], (
        "no spread of one origin"
    )
    bands = [
        c
        for c in plots.plot_attention(average["tft"]).axes[0].collections
        if isinstance(c, PolyCollection)
    ]
    table = average["tft"].attention
    first = table[(table["step"] == 1) & (table["lag"] == 0)].iloc[0]
    at_origin = [y for band in bands for x, y in band.get_paths()[0].vertices if x == 0]
    for bound in (first["weight"] - first["sd"], first["weight"] + first["sd"]):
        assert np.isclose(at_origin, 100 * bound).any()
    assert f"over {average['tft'].origins:,} origins" in caption_of(
        plots.plot_attention(average["tft"])
    )


def test_spreads_over_seeds_are_named(explained):
    many = replace(explained[1]["tft"], seeds={"tft": 3})
    for figure in (
        plots.plot_attention(many),
        plots.plot_selection(many),
        plots.plot_selection_over_time(many),
    ):
        assert "over 3 networks that differ by seed" in caption_of(figure)


def test_importance_stands_beside_the_selection_with_both_spreads(explained):
    _, average, importance = explained
    figure = plots.plot_importance(importance, average["tft"], top=4, name="TFT")
    left, right = figure.axes
    chosen = average["tft"].selection.query("kind == 'past'").set_index("input")
    kept = importance.head(4).iloc[::-1]
    assert [t.get_text() for t in left.get_yticklabels()] == kept["input"].tolist()
    assert [b.get_width() for b in left.patches] == pytest.approx(kept["rise"].tolist())
    assert [b.get_width() for b in right.patches] == pytest.approx(
        100 * chosen.loc[kept["input"], "weight"]
    )
    for ax, spread in ((left, kept["spread"]), (right, 100 * chosen.loc[kept["input"], "sd"])):
        (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
        assert [np.ptp(s[:, 0]) for s in lines.get_segments()] == pytest.approx(
            (2 * spread).tolist()
        )
    assert "over the permutations; right: ± one standard deviation" in caption_of(figure)


def test_inputs_of_the_future_are_drawn_where_they_move(explained):
    average = explained[1]["tft"]
    figure = plots.plot_selection_over_time(average)
    assert [ax.get_title("left") for ax in figure.axes] == ["past inputs", "known future"]
    assert "The weights of the symbol inputs don't move." in caption_of(figure)
    still = replace(average, future=average.future.assign(weight=0.2))
    figure = plots.plot_selection_over_time(still)
    assert len(figure.axes) == 1 and "of the known future and the symbol inputs" in caption_of(
        figure
    )


def test_mean_parts_stand_side_by_side_and_those_of_one_forecast_pile_up(explained):
    last, average, _ = explained
    piled, beside = (
        plots.plot_decomposition(last, "META").axes[1],
        plots.plot_decomposition(average["nhits"]).axes[1],
    )
    assert {round(b.get_width(), 6) for b in piled.patches} == {0.7}
    assert (
        len({round(b.get_x() + b.get_width() / 2, 6) for b in beside.patches})
        == len(beside.patches)
        == 10
    )
    table = (
        average["nhits"]
        .parts.query("stack != 'volatility baseline'")
        .sort_values(["stack", "step"])
    )
    assert [b.get_height() for b in beside.patches] == pytest.approx(100 * table["width"])


def test_prices_have_the_digits_that_their_size_asks_for():
    said = {
        45.884: "45.88",
        1.20074: "1.201",
        1234.5: "1,234.50",
        45_678.9: "45,679",
        0.012345: "0.01235",
        4.5e-9: "4.5e-09",
    }
    assert {value: price(value) for value in said} == said
    assert (price(3.21e13), price(0.0), price(float("nan"))) == ("3.21e+13", "0", "nan")


def test_dates_are_labelled_once_and_bars_stand_evenly():
    assert labels_of(pd.to_datetime(["2014-01-01", "2015-01-01"])) == ["2014", "2015"]
    assert labels_of(pd.to_datetime(["2014-11-01", "2014-12-01", "2015-01-01"])) == [
        "Nov\n2014",
        "Dec",
        "Jan\n2015",
    ]
    assert labels_of(pd.to_datetime(["2014-11-03", "2014-11-17"])) == ["3 Nov\n2014", "17 Nov"]
    assert labels_of(pd.to_datetime(["2014-11-03 09:00", "2014-11-03 15:00"])) == [
        "09:00\n3 Nov 2014",
        "15:00",
    ]


def test_plotly_leaves_closed_days_out_and_sets_hours_side_by_side():
    def settings(dates):
        return plotly_bars(pd.DatetimeIndex(dates).to_numpy())[1]

    closed = ["2014-11-08", "2014-11-09", "2014-11-11"]
    days = ["2014-11-06", "2014-11-07", "2014-11-10", "2014-11-12"]
    assert settings(days) == {"rangebreaks": [{"values": closed}]}
    assert settings(pd.date_range("2014-01-03", periods=9, freq="W-FRI")) == {}
    assert plotly_bars(np.arange(5))[1] == {}
    hours = [
        pd.Timestamp(day) + pd.Timedelta(hours=h)
        for day in ("2014-11-06", "2014-11-10")
        for h in range(10, 17)
    ]
    names, axis = plotly_bars(pd.DatetimeIndex(hours).to_numpy())
    assert (
        axis["type"] == "category"
        and axis["categoryarray"] == names.tolist()
        and len(set(names)) == 14
    )
    assert names[0] == "2014-11-06 10:00" and set(axis["tickvals"]) <= set(names)
    assert len(axis["ticktext"]) == len(axis["tickvals"]) > 1


def test_a_file_is_finer_than_the_screen(forecast, tmp_path):
    figure = forecast.plot("META")
    figure.savefig(tmp_path / "a.png")
    size = [
        int.from_bytes(png[16:20], "big")
        for png in ((tmp_path / "a.png").read_bytes(), figure._repr_png_())
    ]
    assert size == [8 * PRINT_DPI, 8 * DPI]


@pytest.mark.parametrize("theme", THEMES)
def test_what_a_notebook_keeps_is_small_and_looks_the_same(forecast, explained, theme):
    figure = plots.plot_forecast(forecast, "META", theme=theme)
    shown = pixels(content := figure._repr_png_())
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    assert len(content) < 40_000 and np.abs(shown - drawn).max() < 15
    assert shown[0, 0].tolist() == [int(THEMES[theme].paper[i : i + 2], 16) for i in (1, 3, 5)]
    heat = plots.plot_attention(explained[1]["tft"], theme=theme)._repr_png_()
    assert len(np.unique(pixels(heat).reshape(-1, 3), axis=0)) > 256, (
        "shades of a map are data: they stay"
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_figures_stay_out_of_pyplot_and_unknown_names_are_refused(forecast):
    from matplotlib import pyplot

    forecast.plot("META")
    assert not pyplot.get_fignums()
    with pytest.raises(tn.ConfigError, match="'sepia'"):
        plots.plot_forecast(forecast, theme="sepia")
    with pytest.raises(tn.DataError, match="'XOM'"):
        forecast.plot("XOM")


def test_links_stand_side_by_side(predictor, bars):
    found = {f"{level:.0%}": predictor.predict(bars, level=level) for level in (0.8, 0.93)}
    figure = plots.plot_links(found, "META")
    close = bars[bars["symbol"] == "META"]["close"].iloc[-1]
    ends = {k: fc.frame.query("symbol == 'META'").iloc[-1] for k, fc in found.items()}
    widths = [100 * (row["upper"] - row["lower"]) / close for row in ends.values()]
    said = [float(x) for x in re.findall(r"([0-9.]+)%(?: to| of the price)", title(figure))]
    assert said == pytest.approx(sorted(widths), abs=0.051)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["80%", "93%"]
    (ax,) = figure.axes
    assert len(ax.containers) == 2 and not set(ax.containers[0][0].get_xdata()) & set(
        ax.containers[1][0].get_xdata()
    )
    with pytest.raises(tn.DataError, match="no symbol 'NONE'"):
        plots.plot_links(found, "NONE")


def test_uniform_attention_is_that_of_a_step(explained):
    explanation = explained[0]
    top = plots.plot_attention(explanation, "META").axes[0]
    context, last = (
        int(explanation.attention["lag"].max()) + 1,
        int(explanation.attention["step"].max()),
    )
    lines = {
        line.get_label(): line.get_ydata()[0]
        for line in top.lines
        if "uniform" in str(line.get_label())
    }
    assert lines == {f"uniform, step {k}": pytest.approx(100 / (context + k)) for k in (1, last)}
    assert top.get_ylim()[1] > max(lines.values())
    assert "Dashed: equal shares" in caption_of(plots.plot_explanation(explanation, "META"))
