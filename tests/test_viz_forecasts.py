"""Figures of forecasts: titles that repeat the data's numbers, drawn parts that match them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pictures import bars, boosted, faults, forecast, title
from test_viz_bars import HOSTILE, of

import tftnhits as tn
from tftnhits.viz import forecasts as plots
from tftnhits.viz.style import THEMES

HISTORY = [{"epoch": i, "train": 1 / i, "valid": 0.2 + 1 / i} for i in range(1, 9)]
BOARD = pd.DataFrame({"forecaster": ["ensemble", "HAR", "random walk"], "loss": [38.5, 39.0, 42.1]})


def lines(figure) -> dict:
    return {line.get_label(): line for line in figure.axes[0].lines}


def names(figure) -> list[str]:
    return [text.get_text() for text in figure.body.legends[0].get_texts()]


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_is_whole_and_legible(theme):
    fc = forecast()
    for figure in (
        plots.plot_forecast(fc, "META", actual=bars(), theme=theme),
        plots.plot_learning_curve(HISTORY, 0.4, "TFT", theme),
        plots.plot_leaderboard(BOARD, reference="HAR", theme=theme),
        plots.plot_comparison({"one": fc, "two": fc}, "META", theme=theme),
    ):
        assert faults(figure) == [] and len(title(figure)) > 20
        assert all(ax.get_xlabel() for ax in figure.axes)


def test_a_forecasts_title_states_its_numbers():
    path = forecast().frame.query("symbol == 'META'")
    close = of("META")[of("META")["date"] < "2017-12-15"]["close"].iloc[-1]
    text = title(forecast().plot("META"))
    match = re.fullmatch(r"META: median (\S+)% in 5 sessions, 93% between (\S+) and (\S+)", text)
    assert match, text
    assert float(match[1]) == pytest.approx(100 * (path["median"].iloc[-1] / close - 1), abs=0.051)
    ends = path[["lower", "upper"]].iloc[-1].tolist()
    assert [float(match[2]), float(match[3])] == pytest.approx(ends, abs=0.0051)


def test_the_fan_nests_and_starts_at_the_last_close():
    figure = plots.plot_forecast(forecast(), "META")
    (ax,) = figure.axes
    bands = [c.get_paths()[0].vertices[:, 1] for c in ax.collections if c.get_paths()]
    heights = [np.ptp(band) for band in bands]
    assert len(bands) == 5 and heights == sorted(heights, reverse=True)
    median, close = lines(figure)["median"].get_ydata(), lines(figure)["close"].get_ydata()
    assert median[0] == close[-1] and len(median) == 6 and len(close) == 60
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("date", "price")


def test_an_interval_of_any_level_has_a_band():
    fc = boosted().predict(bars(), level=0.999999)  # its columns are "5e-07" and "0.9999995"
    assert names(plots.plot_forecast(fc, "META"))[0].startswith("99.9999% interval")


@pytest.mark.parametrize("level, name", [(0.93, "93%"), (0.985, "98.5%"), (0.5, "50%")])
def test_the_intervals_name_says_how_many_outcomes_it_held(level, name):
    fc = boosted().predict(bars(), level=level)
    caption = fc.caption("META")
    assert caption.startswith(f"{name} interval (held ")
    figure = plots.plot_forecast(fc, "META")
    assert f", {name} between" in title(figure)
    outer = [] if level > 0.95 else ["95% interval"]  # the widest band has a name, too
    assert names(figure)[: len(outer) + 1] == [*outer, caption]
    assert any(text.startswith("50% interval") for text in names(figure))
    pytest.importorskip("plotly")
    figure = plots.plot_forecast(fc, "META", interactive=True)
    assert [t.name for t in figure.data if t.fill and t.showlegend] == [*outer, caption]
    assert len(figure.to_json()) < 200_000 and figure.layout.yaxis.title.text == "price"


@pytest.mark.parametrize("shift, where", [(1.0, "inside"), (3.0, "outside")])
def test_a_known_outcome_is_drawn_and_judged(shift, where):
    close = bars()["close"]
    later = bars().assign(close=close.where(bars()["date"] < "2017-12-15", close * shift))
    figure = plots.plot_forecast(forecast(), "META", actual=later)
    outcome = later[(later["symbol"] == "META") & (later["date"] >= "2017-12-15")]["close"].iloc[:5]
    assert np.array_equal(lines(figure)["what came"].get_ydata()[1:], outcome)
    assert title(figure).endswith(f"it came to {outcome.iloc[-1]:.2f}, {where}")
    assert "One outcome" in figure.caption


def test_an_earlier_origin_finds_its_outcome_in_the_forecasts_bars():
    fc = boosted().predict(bars()[bars()["date"] >= "2017-06-01"], origins="all")
    origin = fc.frame[fc.frame["symbol"] == "GOOG"]["origin"].unique()[60]
    assert "what came" in lines(plots.plot_forecast(fc, "GOOG", origin=origin))
    with pytest.raises(tn.DataError, match="no forecast from"):
        plots.plot_forecast(fc, "GOOG", origin=pd.Timestamp("1999-01-01"))


def test_bars_without_dates_stand_on_their_numbers():
    rows = of("META")[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    figure = boosted().predict(rows).plot()
    (ax,) = figure.axes
    assert ax.get_xlabel() == "bar number" and "5 bars" in title(figure)
    assert ax.xaxis.get_major_formatter()(59) == str(len(rows) - 1), "as the forecast's origin is"


def test_no_move_has_no_sign_and_one_step_no_plural():
    fc = boosted().predict(of("META"), horizon=1)
    still = fc.frame.assign(median=of("META")["close"].iloc[-1] * (1 - 1e-5))
    assert "median +0.0% in 1 session, " in title(replace(fc, frame=still).plot())


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bars_make_whole_figures_too(what):
    table = tn.load_bars(HOSTILE[what](of("META").tail(200)))
    if len(table) == 1:
        return
    fc = boosted().predict(table, horizon=1 if len(table) < 9 else 5)
    assert faults(fc.plot()) == [] and faults(fc.plot(history=1)) == []
    pytest.importorskip("plotly")
    assert fc.plot(interactive=True).layout.yaxis.title.text == "price"


def test_the_learning_curve_names_its_best_epoch():
    losses = enumerate((0.20, 0.18, 0.19), 1)
    history = [{"epoch": i, "train": 1.0, "valid": valid} for i, valid in losses]
    text = title(plots.plot_learning_curve(history, 0.19, "TFT"))
    assert "0.1800, after epoch 2" in text and "5.3% below" in text
    assert "above" in title(plots.plot_learning_curve(history, 0.17))
    early = plots.plot_learning_curve(history, 0.19, "TFT", stopped=3)
    assert "Early stopping" in early.caption and "after epoch 3" in early.caption
    assert faults(early) == []
    assert "Early stopping" not in plots.plot_learning_curve(history).caption
    unknown = plots.plot_learning_curve([{"epoch": 1, "train": 0.2, "valid": np.nan}])
    assert "no validation loss" in title(unknown) and "0.2000" in title(unknown)
    assert faults(plots.plot_learning_curve(HISTORY[:1], name="a long name" * 9)) == []


def test_the_leaderboard_is_sorted_and_compares_with_its_reference():
    frame = pd.DataFrame({"forecaster": [*"abcd"], "loss": [40.0, 36.0, 50.0, np.nan]})
    figure = plots.plot_leaderboard(frame, reference="a")
    assert title(figure) == "b has the lowest loss, 36.00, 10.0% below a"
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["c", "a", "b"]
    assert "28.0% below c" in title(plots.plot_leaderboard(frame))
    one = plots.plot_leaderboard(frame.head(1))
    assert title(one) == "a has the lowest loss, 40.00" and faults(one) == []


def test_forecasts_stand_side_by_side():
    fcs = {f"{level:.0%}": boosted().predict(bars(), level=level) for level in (0.8, 0.93)}
    figure = plots.plot_comparison(fcs, "META")
    close = of("META")["close"].iloc[-1]
    ends = [fc.frame.query("symbol == 'META'").iloc[-1] for fc in fcs.values()]
    widths = [100 * (end["upper"] - end["lower"]) / close for end in ends]
    stated = [float(x) for x in re.findall(r"([0-9.]+)%(?: to| of the price)", title(figure))]
    assert stated == pytest.approx(sorted(widths), abs=0.051) and names(figure) == ["80%", "93%"]
    first, second = (set(c[0].get_xdata()) for c in figure.axes[0].containers)
    assert not first & second


def test_many_and_long_names_make_whole_figures_too():
    many = [f"a forecaster of a very long name, number {i}" for i in range(30)]
    board = pd.DataFrame({"forecaster": many, "loss": np.linspace(1e-6, 2e-6, 30)})
    assert faults(plots.plot_leaderboard(board)) == []
    fcs = dict.fromkeys(many[:7], forecast())
    assert faults(plots.plot_comparison(fcs, "META")) == []


@pytest.mark.parametrize(
    "draw, error, words",
    [
        (lambda fc: fc.plot("XOM"), tn.DataError, "'XOM'"),
        (lambda fc: plots.plot_comparison({"one": fc}, "NONE"), tn.DataError, "'NONE'"),
        (lambda fc: plots.plot_forecast(fc, theme="sepia"), tn.ConfigError, "'sepia'"),
        (lambda fc: plots.plot_forecast(fc, history=1.5), tn.ConfigError, "history is 1.5"),
        (lambda fc: plots.plot_learning_curve([]), tn.DataError, "no epoch"),
        (lambda fc: plots.plot_leaderboard(BOARD.head(0)), tn.DataError, "with a loss"),
    ],
)
def test_what_cant_be_drawn_is_named(draw, error, words):
    with pytest.raises(error, match=words):
        draw(forecast())
