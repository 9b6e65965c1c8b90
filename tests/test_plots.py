"""Figures: titles that repeat the data's numbers, drawn parts that match them, both themes legible."""

import re

import numpy as np
import pandas as pd
import pytest

import tftnhits as tn
from tftnhits.viz import plots
from tftnhits.viz.explain import explain_rows, permutation_importance
from tftnhits.viz.market import autocorrelation
from tftnhits.viz.style import THEMES


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    every = tn.load_bars("djia")
    recent = every[every["symbol"].isin(["AAPL", "IBM", "KO"]) & (every["date"] >= "2014-06-01")]
    return recent.reset_index(drop=True)


@pytest.fixture(scope="module")
def predictor(bars) -> tn.Predictor:
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2015-12-31", valid_end="2016-12-31"))
    return tn.Predictor({"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel)}, panel)


@pytest.fixture(scope="module")
def forecast(predictor, bars) -> tn.Forecast:
    return predictor.predict(bars[bars["date"] < "2017-12-15"])


def title(figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def test_a_forecasts_title_states_its_numbers(forecast, bars):
    part = forecast.frame.query("symbol == 'KO'")
    close = bars[(bars["symbol"] == "KO") & (bars["date"] < "2017-12-15")]["close"].iloc[-1]
    text = title(forecast.plot("KO"))
    found = re.fullmatch(r"KO: median (\S+)% in 5 sessions, 93% between (\S+) and (\S+)", text)
    assert found, text
    assert float(found[1]) == pytest.approx(100 * (part["median"].iloc[-1] / close - 1), abs=0.051)
    assert [float(found[2]), float(found[3])] == pytest.approx(part[["lower", "upper"]].iloc[-1].tolist(), abs=0.0051)


def test_the_fan_nests_and_starts_at_the_last_close(forecast):
    (ax,) = plots.plot_forecast(forecast, "KO").axes
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
    caption = f"{shown} interval ({fc.coverage['KO']:.0%} of outcomes inside over the last year)"
    figure = plots.plot_forecast(fc, "KO")
    assert caption in names(figure) and f", {shown} between" in title(figure)
    assert "50% interval" in " ".join(names(figure))
    interactive = plots.plot_forecast(fc, "KO", interactive=True)
    assert [t.name for t in interactive.data if t.fill and t.showlegend] == [caption]


@pytest.mark.parametrize("shift, where", [(1.0, "inside"), (3.0, "outside")])
def test_a_known_outcome_is_drawn_and_judged(forecast, bars, shift, where):
    later = bars.assign(close=bars["close"].where(bars["date"] < "2017-12-15", bars["close"] * shift))
    figure = plots.plot_forecast(forecast, "KO", actual=later)
    came = next(line for line in figure.axes[0].lines if line.get_label() == "what came")
    own = later[(later["symbol"] == "KO") & (later["date"] >= "2017-12-15")]["close"].iloc[:5]
    assert np.array_equal(came.get_ydata()[1:], own)
    assert title(figure).endswith(f"it came to {own.iloc[-1]:.2f}, {where}")


def test_an_earlier_origin_finds_its_outcome_in_the_forecasts_bars(predictor, bars):
    fc = predictor.predict(bars[bars["date"] >= "2017-06-01"], origins="all")
    origin = fc.frame[fc.frame["symbol"] == "IBM"]["origin"].unique()[60]
    figure = plots.plot_forecast(fc, "IBM", origin=origin)
    assert any(line.get_label() == "what came" for line in figure.axes[0].lines)
    with pytest.raises(tn.DataError, match="no forecast from"):
        plots.plot_forecast(fc, "IBM", origin=pd.Timestamp("1999-01-01"))


def test_bars_without_dates_stand_on_their_numbers(predictor, bars):
    rows = bars[bars["symbol"] == "KO"][["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    fc = predictor.predict(rows)
    figure = fc.plot()
    assert figure.axes[0].get_xlabel() == "bar number" and "5 bars" in title(figure)
    assert plots.plot_candles(fc.bars).axes[1].get_xlabel() == "bar number"


def test_interactive_figures_are_small_and_need_no_network(forecast, bars):
    go, pio = pytest.importorskip("plotly.graph_objects"), pytest.importorskip("plotly.io")
    for figure in (forecast.plot("KO", interactive=True), plots.plot_candles(bars, "KO", interactive=True)):
        assert isinstance(figure, go.Figure) and len(figure.to_json()) < 200_000
        assert figure.layout.title.text.startswith("KO") and figure.layout.yaxis.title.text == "price"
    assert "notebook" not in str(pio.renderers.default)


def test_candles_state_the_close_and_draw_every_bar(bars):
    part = bars[bars["symbol"] == "AAPL"].tail(50)
    figure = plots.plot_candles(bars, "AAPL", last=50)
    assert f"{part['close'].iloc[-1]:,.2f}" in title(figure) and f"{part['high'].max():,.2f}" in title(figure)
    price, volume = figure.axes
    assert len(price.patches) == len(volume.patches) == 50
    hollow = [p for p in price.patches if p.get_facecolor()[:3] == (1, 1, 1)]
    assert len(hollow) == (part["close"] >= part["open"]).sum()


def test_far_moves_are_counted(bars):
    part = bars[bars["symbol"] == "IBM"]
    r = np.diff(np.log(part["close"]))
    far = int((np.abs((r - r.mean()) / r.std()) > 4).sum())
    assert title(plots.plot_returns(bars, "IBM")).startswith(f"IBM: {far} of {len(r):,} moves")


def test_autocorrelation_of_a_known_process():
    generator = np.random.default_rng(0)
    x = np.zeros(20_000)
    for i, shock in enumerate(generator.normal(size=len(x) - 1), 1):
        x[i] = 0.8 * x[i - 1] + shock
    assert np.allclose(autocorrelation(x, 4), 0.8 ** np.arange(1, 5), atol=0.03)


def test_clustering_counts_the_lags_inside_the_band(bars):
    figure = plots.plot_volatility_clustering(bars, "KO", lags=30)
    r = np.diff(np.log(bars[bars["symbol"] == "KO"]["close"]))
    inside = (np.abs(autocorrelation(r, 30)) <= 1.96 / np.sqrt(len(r))).sum()
    assert f"{inside} of 30 lags" in title(figure)
    with pytest.raises(tn.DataError, match="more bars"):
        plots.plot_volatility_clustering(bars.head(50), lags=60)


def test_repairs_add_up_and_none_are_fine(bars):
    everything = tn.load_bars("djia")
    total = tn.repairs(everything)["count"].sum()
    assert title(plots.plot_repairs(everything)).startswith(f"{total} of {5 * len(everything):,} cells")
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
    model = tn.train_predictor(panel, "tiny", progress=False)
    rows = panel.origins("valid", 20)
    average = {k: explain_rows(model.members[k], panel, rows) for k in ("tft", "nhits")}
    importance = permutation_importance(model.members["tft"], panel, rows[:100])
    return model.predict(bars).explain(), average, importance


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_of_an_explanation_is_drawn(explained, theme):
    last, average, importance = explained
    made = [
        plots.plot_attention(last, "KO", theme=theme), plots.plot_attention(average["tft"], theme=theme),
        plots.plot_selection(last, "KO", theme=theme), plots.plot_selection_over_time(last, "KO", theme=theme),
        plots.plot_selection_over_time(average["tft"], smooth=5, theme=theme),
        plots.plot_importance(importance, average["tft"], theme=theme), plots.plot_importance(importance, theme=theme),
        plots.plot_decomposition(last, "KO", theme=theme), plots.plot_decomposition(average["nhits"], theme=theme),
    ]  # fmt: skip
    for figure in made:
        assert figure._repr_png_().startswith(b"\x89PNG") and len(title(figure)) > 20
        assert all(ax.get_xlabel() for ax in figure.axes)


def test_titles_of_explanations_repeat_the_tables(explained):
    last, average, _ = explained
    share = average["tft"].past.groupby("input")["weight"].mean().sort_values()
    assert f"{share.index[-1]} and {share.index[-2]} take {share.iloc[-2:].sum():.0%}" in title(
        plots.plot_selection(average["tft"])
    )
    own = last.parts[(last.parts["symbol"] == "KO") & (last.parts["step"] == 5)]
    assert f"median ends at {100 * own['median'].sum():+.2f}%" in title(plots.plot_decomposition(last, "KO"))
    with pytest.raises(tn.DataError, match="has no attention"):
        plots.plot_attention(average["nhits"])
    with pytest.raises(tn.DataError, match="'XOM'"):
        plots.plot_attention(last, "XOM")


def luminance(color: str) -> float:
    part = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", THEMES.values(), ids=THEMES)
def test_ink_and_data_stand_out_from_the_paper(look):
    assert contrast(look.ink, look.paper) >= 7  # WCAG 2.2, AAA for text
    assert min(contrast(c, look.paper) for c in (look.first, look.second, look.faint)) >= 3  # for graphics


def test_figures_stay_out_of_pyplot_and_unknown_names_are_refused(forecast):
    from matplotlib import pyplot

    forecast.plot("KO")
    assert not pyplot.get_fignums()
    with pytest.raises(tn.ConfigError, match="'sepia'"):
        plots.plot_forecast(forecast, theme="sepia")
    with pytest.raises(tn.DataError, match="'XOM'"):
        forecast.plot("XOM")


def test_links_stand_side_by_side(predictor, bars):
    found = {f"{level:.0%}": predictor.predict(bars, level=level) for level in (0.8, 0.93)}
    figure = plots.plot_links(found, "KO")
    close = bars[bars["symbol"] == "KO"]["close"].iloc[-1]
    ends = {k: fc.frame.query("symbol == 'KO'").iloc[-1] for k, fc in found.items()}
    widths = [100 * (row["upper"] - row["lower"]) / close for row in ends.values()]
    said = [float(x) for x in re.findall(r"([0-9.]+)%(?: to| of the price)", title(figure))]
    assert said == pytest.approx(sorted(widths), abs=0.051)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["80%", "93%"]
    (ax,) = figure.axes
    assert len(ax.containers) == 2 and not set(ax.containers[0][0].get_xdata()) & set(ax.containers[1][0].get_xdata())
    with pytest.raises(tn.DataError, match="no symbol 'NONE'"):
        plots.plot_links(found, "NONE")
