"""Figures of bars: titles that repeat the data's numbers, drawn parts that match them."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars
from pictures import bars, faults, title

import tftnhits as tn
from tftnhits.viz import bars as plots
from tftnhits.viz.style import THEMES

PRICES = ["open", "high", "low", "close"]


def of(symbol: str) -> pd.DataFrame:
    return bars()[bars()["symbol"] == symbol]


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_is_whole_and_legible(theme):
    for figure in (
        plots.plot_candles(bars(), "META", theme=theme),
        plots.plot_returns(bars(), theme=theme),
        plots.plot_volatility_clustering(bars(), theme=theme),
        plots.plot_repairs(bars(), theme=theme),
    ):
        assert faults(figure) == [] and len(title(figure)) > 20
        assert all(ax.get_ylabel() or ax.get_xlabel() for ax in figure.axes)


def test_candles_state_the_close_and_draw_every_bar():
    part = of("AAPL").tail(50)
    figure = plots.plot_candles(bars(), "AAPL", last=50)
    for number in (part["close"].iloc[-1], part["high"].max()):
        assert f"{number:,.2f}" in title(figure)
    prices, volume = figure.axes
    assert len(prices.patches) == len(volume.patches) == 50
    hollow = [p for p in prices.patches if p.get_facecolor()[:3] == (1, 1, 1)]
    assert len(hollow) == (part["close"] >= part["open"]).sum()


def test_interactive_candles_are_small():
    pytest.importorskip("plotly")
    figure = plots.plot_candles(bars(), "META", interactive=True)
    assert len(figure.to_json()) < 200_000 and figure.layout.yaxis.title.text == "price"
    assert figure.layout.title.text.startswith("META") and len(figure.data) == 2
    assert len(plots.plot_candles(bars().assign(volume=np.nan), interactive=True).data) == 1


def test_far_moves_are_counted():
    r = np.diff(np.log(of("GOOG")["close"]))
    far = int((np.abs((r - r.mean()) / r.std()) > 4).sum())
    assert title(plots.plot_returns(bars(), "GOOG")).startswith(f"GOOG: {far} of {len(r):,} moves")


def test_autocorrelation_of_a_known_process():
    shocks = np.random.default_rng(0).normal(size=20_000)
    x = np.zeros(len(shocks))
    for i in range(1, len(x)):
        x[i] = 0.8 * x[i - 1] + shocks[i]
    assert np.allclose(plots.autocorrelation(x, 4), 0.8 ** np.arange(1, 5), atol=0.03)


def test_clustering_counts_the_lags_inside_the_band():
    r = np.diff(np.log(of("META")["close"]))
    inside = (np.abs(plots.autocorrelation(r, 30)) <= 1.96 / np.sqrt(len(r))).sum()
    figure = plots.plot_volatility_clustering(bars(), "META", lags=30)
    assert f"{inside} of 30 lags" in title(figure)


def test_repairs_add_up_and_none_are_fine():
    everything = tn.load_bars("stocks")
    total = tn.repairs(everything)["count"].sum()
    text = title(plots.plot_repairs(everything))
    assert text.startswith(f"{total} of {5 * len(everything):,} cells")
    clean = bars().copy()
    clean.attrs = {}
    assert title(plots.plot_repairs(clean)).startswith("0 of")


def test_many_repairs_of_long_names_fit():
    many = bars().head(100).copy()
    many.attrs["repairs"] = [
        {"symbol": f"S{i:03d}" + "X" * (i % 90), "repair": f"a long name {i % 9}", "count": i}
        for i in range(300)
    ]
    figure = plots.plot_repairs(many)
    assert faults(figure) == [] and figure.get_figheight() < 8
    assert "269 more" in figure.axes[1].get_title("left").replace("\n", " ")


HOSTILE = {  # what -> changes to the bars
    "a long symbol": lambda b: b.assign(symbol="W$_1$" * 20),
    "tiny prices": lambda b: b.assign(**(b[PRICES] * 1e-9)),
    "huge prices": lambda b: b.assign(**(b[PRICES] * 1e12)),
    "no volume": lambda b: b.assign(volume=np.nan),
    "no dates": lambda b: b.assign(date=pd.NaT),
    "hours": lambda b: b.assign(date=pd.date_range("2024-03-04", periods=len(b), freq="h")),
    "weeks": lambda b: b.assign(date=pd.date_range("2012-03-02", periods=len(b), freq="W-FRI")),
    "two bars": lambda b: b.tail(2),
    "one bar": lambda b: b.tail(1),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bars_make_whole_figures_too(change):
    table = tn.load_bars(change(of("META").tail(200)))
    assert faults(plots.plot_candles(table)) == []
    if len(table) > 2:
        assert faults(plots.plot_returns(table)) == []


@pytest.mark.parametrize(
    "draw, error, words",
    [
        (lambda b: plots.plot_candles(b, "XOM"), tn.DataError, "'XOM'"),
        (lambda b: plots.plot_candles(b, last=0), tn.ConfigError, "last is 0"),
        (lambda b: plots.plot_candles(b.head(0)), tn.DataError, "no symbol"),
        (lambda b: plots.plot_returns(b.head(1)), tn.DataError, "closes that differ"),
        (lambda b: plots.plot_volatility_clustering(b, lags="3"), tn.ConfigError, "lags is '3'"),
        (lambda b: plots.plot_volatility_clustering(b.head(50)), tn.DataError, "more bars"),
    ],
)
def test_what_cant_be_drawn_is_named(draw, error, words):
    with pytest.raises(error, match=words):
        draw(bars())


def test_bars_without_dates_stand_on_their_numbers():
    table = tn.load_bars(made_bars(("A",), 60, freq=None))
    axis = plots.plot_candles(table, last=20).axes[1]
    assert axis.get_xlabel() == "bar number"
    assert axis.xaxis.get_major_formatter()(19) == "59"  # counted from the first bar


@pytest.mark.parametrize(
    "dates, labels",
    [
        (["2014-11-03", "2014-11-17", "2015-01-02"], ["03 Nov\n2014", "17 Nov", "02 Jan\n2015"]),
        (["2014-11-03 09:00", "2014-11-03 15:00"], ["09:00\n03 Nov 2014", "15:00"]),
        (["2014-11-03"], ["03 Nov\n2014"]),
    ],
)
def test_dates_are_labelled_once(dates, labels):
    places, ticks = plots.bar_ticks(pd.DatetimeIndex(dates).to_numpy())
    assert ticks == labels and places.tolist() == list(range(len(dates)))
    many = pd.bdate_range("2014-01-01", periods=500).to_numpy()
    assert np.ptp(np.diff(plots.bar_ticks(many)[0])) <= 1, "evenly spaced"


def test_plotly_leaves_closed_days_out_and_sets_hours_side_by_side():
    def settings(dates):
        return plots.plotly_bars(pd.DatetimeIndex(dates).to_numpy())[1]

    closed = ["2014-11-08", "2014-11-09", "2014-11-11"]
    days = ["2014-11-06", "2014-11-07", "2014-11-10", "2014-11-12"]
    assert settings(days) == {"rangebreaks": [{"values": closed}]}
    assert settings(pd.date_range("2014-01-03", periods=9, freq="W-FRI")) == {}
    assert plots.plotly_bars(np.arange(5))[1] == {}
    hours = pd.date_range("2014-11-06 10:00", periods=7, freq="h").union(
        pd.date_range("2014-11-10 10:00", periods=7, freq="h")
    )
    names, axis = plots.plotly_bars(hours.to_numpy())
    assert axis["type"] == "category" and axis["categoryarray"] == names.tolist()
    assert len(set(names)) == 14 and names[0] == "2014-11-06 10:00"
    assert set(axis["tickvals"]) <= set(names)
    assert len(axis["ticktext"]) == len(axis["tickvals"]) > 1
