"""The what-if panel and its views: what its controls ask, and what it shows in both backends."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from datetime import date
from html import unescape

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.data import live
from tftnhits.data.features import in_words
from tftnhits.viz.style import THEMES
from tftnhits.whatif import views
from tftnhits.whatif.shock import Shock, WhatIf

pytest.importorskip("torch")
panels = pytest.importorskip("tftnhits.whatif.panel", exc_type=ImportError)

ORIGIN = date(2015, 8, 21)
START = {"live": False, "symbol": "META", "origin": ORIGIN, "horizon": 5, "level": 93, "weight": 65}
START |= {"candles": False}


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return stocks(("AAPL", "GOOG", "META", "NVDA"), "2014-03-01", "2015-10-30")


@pytest.fixture(scope="module")
def model() -> tn.Predictor:
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def lab(bars, model) -> WhatIf:
    """Asked beside the panel, for what it should show."""
    return WhatIf(bars, model)


@pytest.fixture(scope="module")
def opened(bars, model):
    """A panel of each backend, made when it is first asked for."""
    panels_by_backend = {}

    def get(backend):
        if backend == "plotly":
            pytest.importorskip("plotly")
        if backend not in panels_by_backend:
            panels_by_backend[backend] = tn.what_if(bars, model, backend, "META", ORIGIN)
        panel = panels_by_backend[backend]
        panel.tabs.selected_index = 0
        for name, value in START.items():
            panel.controls[name].value = value
        panel.reset()
        return panel

    return get


@pytest.fixture(params=panels.PICTURES)
def panel(opened, request):
    return opened(request.param)


def text(widget) -> str:
    """What an HTML widget says."""
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", widget.value)).strip())


def test_it_opens_with_the_forecast_as_it_is(panel, lab):
    answer = lab.ask("META", ORIGIN)
    assert text(panel.title) == answer.title and "error" not in panel.status.value
    words = "Ensemble (0.65 TFT + 0.35 N-HITS) answers from 2015-08-21: 93% interval (held "
    assert words in text(panel.status)
    assert f"{answer.before.frame['median'].iloc[-1]:.2f}" in text(panel.table)
    assert {*START, *panels.SHOCKS, "reset"} == set(panel.controls)
    for name, control in panel.controls.items():
        assert control.description and f"tftnhits-{name}" in control._dom_classes
        assert not getattr(control, "continuous_update", False)  # a drag is one question


@pytest.mark.parametrize(
    "control, value, asked",
    [
        ("change", -5.0, {"shock": Shock(-5)}),
        ("range", 2.5, {"shock": Shock(range=2.5)}),
        ("volume", 3.0, {"shock": Shock(volume=3)}),
        ("market", -4.0, {"shock": Shock(market=-4)}),
        ("bars", 3, {"shock": Shock(bars=3)}),
        ("horizon", 2, {"horizon": 2}),
        ("level", 80, {"level": 0.8}),
        ("weight", 20, {"weights": {"tft": 0.2, "nhits": 0.8}}),
        ("symbol", "GOOG", {"symbol": "GOOG"}),
        ("origin", date(2015, 7, 1), {"origin": "2015-07-01"}),
    ],
)
def test_each_control_asks_its_question(panel, lab, control, value, asked):
    table = panel.table.value
    panel.controls[control].value = value
    answer = lab.ask(**{"symbol": "META", "origin": ORIGIN, **asked})
    assert text(panel.title) == answer.title == panel.comparison.title
    assert panel.table.value == views.table_html(answer) != table
    panel.reset()
    assert panel.comparison.shock == Shock() and panel.controls[control].value is not None


def test_it_says_that_it_is_busy_until_all_is_there(panel, monkeypatch):
    shown = []
    monkeypatch.setattr(
        panel, "_ask", lambda ask=panel._ask: shown.append(panel.status.value) or ask()
    )
    monkeypatch.setattr(panel, "_explain", lambda: shown.append(panel.status.value))
    panel.controls["change"].value = -2.0
    assert len(shown) == 2 and all('aria-busy="true"' in status for status in shown)
    assert "aria-busy" not in panel.status.value
    assert not any(control.disabled for control in panel.controls.values())


def test_the_other_tab_is_made_when_it_is_open(panel):
    panel.drivers.value = ""
    panel.controls["change"].value = -3.0
    assert not panel.drivers.value
    panel.tabs.selected_index = 1
    first = panel.drivers.value
    assert "past input" in first and "2015-08-21" in first and "not that an input" in first
    panel.controls["change"].value = -6.0
    assert panel.drivers.value != first
    panel.controls["weight"].value = 0
    assert one_sentence(text(panel.drivers)) and "TFT didn't answer" in text(panel.drivers)


def test_what_can_t_be_answered_is_said_and_the_panel_goes_on(panel, monkeypatch):
    title = panel.title.value
    for value in (date(1999, 1, 4), date(2014, 3, 3)):
        panel.controls["origin"].value = value
        assert f"bars up to {value}" in text(panel.status) and 'role="alert"' in panel.status.value
        assert text(panel.status).endswith("The picture still shows the last answer.")
        assert panel.title.value == title
    panel.controls["origin"].value = ORIGIN
    with monkeypatch.context() as patched:
        patched.setattr(panel.picture, "draw", lambda *_: 1 / 0)
        panel.controls["change"].value = -2.0
        assert "That didn't work (ZeroDivisionError: division by zero)" in text(panel.status)
    panel.controls["change"].value = -2.5
    assert "error" not in panel.status.value and "-2.5%" in text(panel.title)


@pytest.fixture
def yahoo(monkeypatch):
    """What was asked of Yahoo Finance, which knows TSLA, and META from after our bars."""
    asked = []

    def live_bars(symbol, seconds):
        asked.append(symbol)
        if symbol not in ("TSLA", "META"):
            raise tn.DataError(f"Yahoo Finance knows no symbol {symbol!r}.")
        return stocks(("AAPL",), "2016-01-01", "2017-06-30").assign(symbol=symbol)

    monkeypatch.setattr(panels, "live_bars", live_bars)
    return asked


def test_a_symbol_that_is_not_at_hand_has_live_bars(panel, yahoo):
    c = panel.controls
    c["symbol"].value = " tsla "
    assert (c["symbol"].value, c["live"].value, c["origin"].value) == (
        "TSLA",
        True,
        date(2017, 6, 30),
    )
    assert "TSLA, no shock" in text(panel.title) and "from 2017-06-30" in text(panel.status)
    c["origin"].value = date(2017, 3, 1)
    c["change"].value = -2.0
    assert "from 2017-03-01" in text(panel.status) and yahoo == ["TSLA"]  # once for each choice
    title = panel.title.value
    c["symbol"].value = "NOSUCH"
    c["change"].value = -3.0
    assert "knows no symbol 'NOSUCH'" in text(panel.status) and panel.title.value == title
    assert yahoo == ["TSLA", "NOSUCH"]
    c["symbol"].value = "META"
    assert "META, last bar -3.0%" in text(panel.title) and yahoo[2:] == ["META"]
    c["live"].value = False
    assert c["origin"].value == date(2015, 10, 30) and "from 2015-10-30" in text(panel.status)
    c["symbol"].value = ""
    assert c["symbol"].value == "META" and "error" not in panel.status.value
    c["symbol"].value = "TSLA"
    c["live"].value = False
    assert "There is no symbol 'TSLA'; there are AAPL, GOOG" in text(panel.status)


def test_bundled_bars_stand_in_and_the_panel_says_so(panel, monkeypatch):
    def unreachable(*_, **__):
        raise tn.DownloadError("Yahoo Finance can't be reached; try again later.")

    monkeypatch.setattr(live, "download_bars", unreachable)
    panel.controls["live"].value = True
    assert "META, no shock" in text(panel.title) and "from 2023-09-2" in text(panel.status)
    why = "Live bars of META can't be had (Yahoo Finance can't be reached), so the bundled ones"
    assert why in text(panel.status) and "error" not in panel.status.value
    panel.controls["symbol"].value = "KO"
    assert "Yahoo Finance can't be reached" in text(panel.status) and "KO" not in panel.title.value


def test_an_emptied_origin_is_the_last_bar(panel):
    panel.controls["origin"].value = None
    assert panel.controls["origin"].value == date(2015, 10, 30)
    assert "from 2015-10-30" in text(panel.status)


def on_voila(monkeypatch, query):
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.13")
    monkeypatch.setenv("QUERY_STRING", query)


def test_the_address_opens_a_page_as_it_was_left(bars, model, monkeypatch, yahoo):
    query = "token=x&symbol=tsla&origin=2017-03-01&horizon=3&level=80&weight=40&bars=2&change=-1.5"
    query += "&candles=1"
    on_voila(monkeypatch, query)
    panel = tn.what_if(bars, model, "matplotlib")
    assert "TSLA, 2 more bars -1.5% each" in text(panel.title) and yahoo == ["TSLA"]
    assert "from 2017-03-01: 80% interval" in text(panel.status) and "0.40 TFT" in text(
        panel.status
    )
    said = {name: value for name, value in json.loads(panel.address.value).items() if value}
    asked = dict(pair.split("=") for pair in query.split("&")[1:])
    assert said == {**asked, "symbol": "TSLA", "live": "1"}
    panel.reset()
    assert json.loads(panel.address.value)["change"] == ""  # which takes it out of the address


@pytest.mark.parametrize(
    "query, words",
    [
        ("horizon=0", "'0' as horizon; give a number from 1 to"),
        ("level=93.5", "'93.5' as level; give a number from 50 to 99"),
        ("change=inf", "'inf' as change; give a number from -15 to 15"),
        ("origin=2015-02-30", "'2015-02-30' as origin; give a date, such as"),
        ("live=yes", "'yes' as live; give 0 or 1"),
        ("origin=1999-01-04", "bars up to 1999-01-04"),
        ("symbol=NOSUCH&level=80", "knows no symbol 'NOSUCH'"),
        ("symbol=<b>&reset=1", "knows no symbol '<B>'"),
    ],
)
def test_a_bad_address_is_a_sentence_beside_the_answer(
    bars, model, monkeypatch, yahoo, query, words
):
    on_voila(monkeypatch, query)
    panel = tn.what_if(bars, model, "matplotlib", "META", ORIGIN)
    assert words in text(panel.status) and 'role="alert"' in panel.status.value
    assert "<B>" not in panel.status.value and text(panel.title).startswith("META, no shock")


def test_outside_of_the_page_no_address_is_read_or_written(bars, model, monkeypatch):
    monkeypatch.setenv("QUERY_STRING", "symbol=GOOG")
    panel = tn.what_if(bars, model, "matplotlib", "META", ORIGIN)
    panel.controls["change"].value = -2.0
    assert "META, last bar -2.0%" in text(panel.title) and panel.address.value == ""


def test_a_picture_follows_the_page_unless_it_has_a_theme(opened, bars, model):
    sent = json.loads(opened("plotly").picture.source.value)
    papers = [
        part["layout"]["template"]["layout"]["paper_bgcolor"] for part in (sent, sent["dark"])
    ]
    assert papers == [THEMES[name].paper for name in ("light", "dark")]
    assert [line["y"] for line in sent["data"]] == [line["y"] for line in sent["dark"]["data"]]
    fixed = json.loads(tn.what_if(bars, model, "plotly", theme="dark").picture.source.value)
    assert "dark" not in fixed
    assert fixed["layout"]["template"]["layout"]["paper_bgcolor"] == THEMES["dark"].paper


@pytest.mark.parametrize(
    "asked, error, named",
    [
        ({"backend": "bokeh"}, tn.ConfigError, "bokeh"),
        ({"theme": "pink"}, tn.ConfigError, "pink"),
        ({"symbol": "TSLA"}, tn.DataError, "TSLA"),
        ({"origin": "soon"}, tn.DataError, "soon"),
        ({"bars": [[1, 2, 3, -4]] * 70}, tn.DataError, "-4"),
        ({"bars": pd.DataFrame({"close": []})}, tn.DataError, ""),
    ],
)
def test_what_can_t_be_opened_is_refused_in_a_sentence(bars, model, asked, error, named):
    with pytest.raises(error) as caught:
        tn.what_if(**{"bars": bars, "model": model, "backend": "matplotlib", **asked})
    assert one_sentence(str(caught.value)) and named in str(caught.value)


def lines(panel) -> dict[str, np.ndarray]:
    seen = [line for line in panel.picture.figure.data if line.name and line.visible]
    return {line.name: np.asarray(line.y, float) for line in seen}


def test_the_page_gets_each_picture_whole(opened):
    live = opened("plotly")
    assert set(lines(live)) == {"close, low to high", "forecast, 93% interval", "what came"}
    live.controls["change"].value = -5.0
    fans = live.comparison.fans
    assert np.array_equal(lines(live)["forecast, 93% interval"], fans["before"]["median"])
    assert np.array_equal(lines(live)["shocked, 93% interval"], fans["after"]["median"])
    band = np.r_[fans["after"]["upper"], fans["after"]["lower"][::-1]]
    assert any(np.array_equal(line.y, band) for line in live.picture.figure.data)
    live.controls["level"].value = 80
    assert "shocked, 80% interval" in lines(live) and "assumed" in lines(live)
    sent = json.loads(live.picture.source.value)
    drawn = {line["name"]: line["y"] for line in sent["data"] if "name" in line}
    assert drawn["shocked, 80% interval"] == live.comparison.fans["after"]["median"].tolist()
    assert sent["title"] == live.comparison.title
    assert sent["layout"]["uirevision"] == "META"  # a zoom stays as long as this does
    live.reset()
    assert len(lines(live)) == 3


def boxes(panel) -> dict:
    return {box.name: box for box in panel.picture.figure.data if box.type == "box" and box.visible}


def test_candles_show_whole_bars_of_both_forecasts_by_the_same_draw(opened, lab):
    live = opened("plotly")
    live.controls["candles"].value = True
    assert set(boxes(live)) == {"forecast, median candles"} and "no shock" in text(live.title)
    live.controls["range"].value = 3.0
    answer = lab.ask("META", ORIGIN, Shock(range=3))
    assert text(live.title) == answer.finding(True) != answer.title
    drawn, names = boxes(live), ("forecast, median candles", "shocked, median candles")
    for name, fc in zip(names, (answer.before, answer.after)):
        bars = fc.paths(seed=0).groupby("step")[["low", "close", "high"]]
        for part, column in {"q1": "low", "median": "close", "q3": "high"}.items():
            assert np.allclose(drawn[name][part], bars.median()[column])
        assert np.allclose(drawn[name].lowerfence, bars.quantile(0.035)["low"])
    shown = [f"{table['range'].iloc[0] - 1:.1%}" for table in answer.candles.values()]
    assert f"session {shown[1]} instead of {shown[0]}; " in text(live.title)
    lines_drawn = [line for line in live.picture.figure.data if line.type == "scatter"]
    assert not [line for line in lines_drawn if line.fill]  # no fan
    live.controls["candles"].value = False
    assert not boxes(live) and text(live.title) == answer.title


def test_without_a_shock_both_forecasts_have_the_same_candles(lab):
    answer = lab.ask("META", ORIGIN)
    pd.testing.assert_frame_equal(*answer.candles.values())
    assert (answer.candles["before"]["x"] == answer.fans["before"]["x"][1:]).all()


def test_candles_are_drawn_side_by_side_by_matplotlib_too(lab):
    answer = lab.ask("META", ORIGIN, Shock(-5))
    figure = views.plot_what_if(answer, candles=True)
    assert figure.get_suptitle().replace("\n", " ") == answer.finding(True)
    (ax,) = figure.axes
    drawn = {line.get_label(): line for line in ax.lines}
    apart = [drawn[f"{name}, median candles"].get_xdata() for name in ("shocked", "forecast")]
    assert np.allclose(apart[0] - apart[1], 0.4) and len(apart[0]) == 5


def test_candles_of_closes_alone_say_why(model):
    closes = made_bars(("A",), 300)
    closes[["open", "high", "low"]] = closes[["close"] * 3].to_numpy()
    panel = tn.what_if(closes, model, "matplotlib")
    assert "open, high and low" not in text(panel.status)
    panel.controls["candles"].value = True
    assert "its paths lack open, high and low" in text(panel.status)


def test_the_axis_follows_the_symbols_bars(model):
    pytest.importorskip("plotly")
    days, hours = (made_bars((name,), 210) for name in ("days", "hours"))
    opening = pd.bdate_range("2015-01-05", periods=30) + pd.Timedelta(hours=9.5)
    hours["date"] = [day + pd.Timedelta(hours=i) for day in opening for i in range(7)]
    panel = tn.what_if(pd.concat([days, hours]), model, "plotly", "hours")
    panel.controls["bars"].value = 3
    axis, drawn = panel.picture.figure.layout.xaxis, panel.picture.figure.data
    bars = list(axis.categoryarray)
    assert axis.type == "category" and bars == sorted(set(bars)) and len(bars) == 30 + 3 + 5
    assert all(set(line.x) <= set(bars) for line in drawn)
    panel.controls["symbol"].value = "days"
    drawn = panel.picture.figure.data
    assert "sessions" in text(panel.title) and drawn[0].x[-1] == "2015-02-13"
    panel.controls["symbol"].value = "hours"
    axis = panel.picture.figure.layout.xaxis
    assert "5 bars" in text(panel.title) and list(axis.categoryarray) == bars
    assert panel.controls["origin"].value == str(hours["date"].iloc[-1])
    panel.controls["origin"].value = "2015-02-02 11:00"
    assert "answers from 2015-02-02 10:30:00" in text(panel.status)


def test_the_drawn_picture_holds_both_fans_what_is_assumed_and_what_came(lab):
    answer = lab.ask("META", ORIGIN, Shock(-5))
    figure = views.plot_what_if(answer, "dark")
    (ax,) = figure.axes
    assert figure.get_suptitle().replace("\n", " ") == answer.title
    names = ax.get_legend_handles_labels()[1]
    fans = ["forecast, 93% interval", "shocked, 93% interval"]
    assert names == ["close, low to high", *fans, "assumed", "what came"]
    drawn = [line.get_ydata().tolist() for line in ax.lines]
    for fan in answer.fans.values():
        assert all(fan[name].tolist() in drawn for name in ("median", "lower", "upper"))
    assert [answer.past["close"].iloc[-1], *answer.came["close"]] in drawn
    assert figure._repr_png_().startswith(b"\x89PNG")
    alone = views.plot_what_if(lab.ask("META"))
    assert alone.axes[0].get_legend_handles_labels()[1] == names[:2]


def test_html_repeats_the_tables(lab):
    answer = lab.ask("META", ORIGIN, Shock(-5))
    cells = re.findall(r"<td>(.*?)</td>", views.table_html(answer))
    row, (inputs, days) = answer.table.iloc[0], answer.drivers()
    price, percent = row["before", "median"], row["before", "median %"]
    assert cells[2] == f"{price:.2f}<br><small>{percent:+.2f}%</small>" and len(cells) == 5 * 12
    assert cells[11] == f"{row['change', 'width']:+.1f}"
    drivers = views.drivers_html(answer)
    assert in_words(inputs.index[0]) in drivers and f"{inputs['before'].iloc[0]:.1f}" in drivers
    assert str(days.index[0].date()) in drivers and f"{days['return'].iloc[0]:+.2f}" in drivers
    path = lab.ask("AAPL", ORIGIN, Shock(-3, range=2, bars=10))
    assert "<td>–</td>" in views.drivers_html(path)  # bars that the first forecast doesn't see
    for html in (views.table_html, views.drivers_html):
        assert "shocked" in html(answer) and "shocked, %" not in html(lab.ask("META", ORIGIN))


@pytest.mark.parametrize(
    "module, missing",
    [("plotly", "version"), ("plotly", "COLAB"), ("anywidget", None), ("plotly", None)],
)
def test_matplotlib_stands_in_where_live_figures_can_t_be(
    monkeypatch, bars, model, module, missing
):
    plotly = pytest.importorskip("plotly")
    monkeypatch.setattr(plotly, "__version__", "5.24.1" if missing == "version" else "7.1.0")
    if missing == "COLAB":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    if missing is None:
        monkeypatch.setattr(panels, "find_spec", lambda name: None if name == module else True)
    panel = tn.what_if(bars, model)
    assert isinstance(panel.picture, views.DrawnPicture)
    assert bytes(panel.picture.image.value).startswith(b"\x89PNG")
    assert panel.controls["origin"].value == date(2015, 10, 30)


def test_bars_without_dates_volume_or_market(bars, model):
    rows = bars[bars["symbol"] == "META"][["open", "high", "low", "close"]].to_numpy().tolist()
    panel = tn.what_if(rows, model, "matplotlib", origin=300)
    for name, value in {"change": -3.0, "market": 2.0, "volume": 2.0}.items():
        panel.controls[name].value = value
    words = text(panel.status)
    assert "Too few other symbols" in words and "The volume is not known" in words
    panel.controls["origin"].value = "301"
    assert "answers from 301" in text(panel.status)


def test_a_picture_stands_in_where_no_kernel_runs(bars, model, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    panel = tn.what_if(bars, model, "matplotlib", "META", ORIGIN)
    panel._ipython_display_()
    assert b64decode(shown[0]["image/png"]).startswith(b"\x89PNG")
    assert shown[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.root.model_id


def test_har_keeps_its_weight_where_the_networks_are_moved(bars, model):
    weights = {"tft": 0.65 * 0.8, "nhits": 0.35 * 0.8, "walk": 0.2}
    panel = tn.what_if(bars, replace(model, weights=weights), "matplotlib", "META", ORIGIN)
    assert panel.controls["weight"].value == 65
    panel.controls["weight"].value = 50
    assert "0.40 TFT + 0.40 N-HITS + 0.20" in panel.comparison.after.reports["META"].model_used


def test_a_predictor_without_networks_has_no_weights_to_choose(bars):
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2014-12-31", valid_end="2015-03-31"))
    model = tn.Predictor.from_members(
        {"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel)}, panel
    )
    panel = tn.what_if(bars, model, "matplotlib", "META", ORIGIN)
    assert panel.controls["weight"].disabled and "Gradient boosting answers" in text(panel.status)


@pytest.mark.parametrize("backend", panels.PICTURES)
def test_a_hostile_symbol_stays_text(bars, model, backend):
    name = "<img src=x onerror=alert(1)>$x$"
    hostile = bars[bars["symbol"] == "META"].assign(symbol=name)
    panel = tn.what_if(hostile, model, backend, name, ORIGIN)
    panel.tabs.selected_index = 1
    panel.controls["change"].value = -5.0
    assert text(panel.title).startswith(name)
    parts = [panel.title.value, panel.status.value, panel.table.value, panel.drivers.value]
    panel.controls["origin"].value = date(1999, 1, 1)
    assert "<img" not in "".join([*parts, panel.status.value])
