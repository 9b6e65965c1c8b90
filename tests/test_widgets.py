"""The what-if panel: what its controls do in both backends, in a process and in a real kernel."""

import json
import re
import statistics
import time
from datetime import date
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn

pytest.importorskip("ipywidgets")
pytest.importorskip("torch")

from tftnhits.viz.style import THEMES
from tftnhits.whatif import panel as widgets
from tftnhits.whatif import views as what_if_views
from tftnhits.whatif.shock import Shock, WhatIf

ORIGIN = date(2015, 8, 21)
SLIDERS = ("horizon", "level", "weight", "bars", "change", "range", "volume", "market")
LIMIT = 0.150  # seconds from a slider's move to the picture
SLACK = 2  # what it may take here: machines that test are slow and shared


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
    found = {}

    def get(backend):
        if backend not in found:
            if backend == "plotly":
                pytest.importorskip("plotly")
            found[backend] = tn.what_if(bars, model, backend, "META", ORIGIN)
        return found[backend]

    yield get
    for panel in found.values():
        panel.close()


@pytest.fixture(params=widgets.BACKENDS)
def panel(opened, request):
    """As it opens, in each backend."""
    panel = opened(request.param)
    controls = {
        "symbol": "META",
        "origin": ORIGIN,
        "horizon": 5,
        "level": 93,
        "weight": 65,
        "mode": False,
        "bars": 1,
    }
    panel.tabs.selected_index = 0
    panel.set(**controls, change=0.0, range=1.0, volume=1.0, market=0.0)
    return panel


@pytest.fixture
def live(opened):
    panel = opened("plotly")
    panel.set(symbol="META", origin=ORIGIN, horizon=5, level=93, weight=65)
    panel.reset()
    return panel


def text(widget) -> str:
    """What an HTML widget says."""
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", widget.value)).strip())


def shown(panel) -> tuple[str, ...]:
    return panel.title.value, panel.status.value, panel.table.value


def test_it_opens_with_the_forecast_as_it_is(panel, lab):
    answer = lab.ask("META", ORIGIN)
    assert text(panel.title) == answer.title and "error" not in panel.status.value
    assert "Ensemble (0.65 TFT + 0.35 N-HITS) answers from 2015-08-21: 93% interval" in text(
        panel.status
    )
    assert f"{answer.before.frame['median'].iloc[-1]:.2f}" in text(panel.table)


@pytest.mark.parametrize(
    "control, value, asked",
    [
        ("change", -5.0, {"shock": Shock(-5)}),
        ("range", 2.5, {"shock": Shock(range=2.5)}),
        ("volume", 3.0, {"shock": Shock(volume=3)}),
        ("market", -4.0, {"shock": Shock(market=-4)}),
        ("horizon", 2, {"horizon": 2}),
        ("level", 80, {"level": 0.8}),
        ("weight", 20, {"weights": {"tft": 0.2, "nhits": 0.8}}),
        ("symbol", "GOOG", {"symbol": "GOOG"}),
        ("origin", date(2015, 7, 1), {"origin": "2015-07-01"}),
    ],
)
def test_each_control_asks_its_question(panel, lab, control, value, asked):
    before = shown(panel)
    panel.controls[control].value = value
    answer = lab.ask(**{"symbol": "META", "origin": ORIGIN, **asked})
    assert text(panel.title) == answer.title and panel.comparison.title == answer.title
    assert panel.table.value == what_if_views.table_html(answer)
    assert panel.title.value != before[0] and panel.table.value != before[2]


def test_bars_that_follow_are_asked_for_once_chosen(panel, lab):
    assert panel.controls["bars"].disabled and "last bar closes" in text(panel.hint)
    panel.set(change=-1.0, bars=3)
    assert text(panel.title) == lab.ask("META", ORIGIN, Shock(-1)).title
    panel.controls["mode"].value = True
    assert not panel.controls["bars"].disabled and "Bars that follow" in text(panel.hint)
    assert text(panel.title) == lab.ask("META", ORIGIN, Shock(-1, bars=3)).title
    assert "on 2015-08-26" in text(panel.status)
    panel.controls["reset"].click()
    assert (
        text(panel.title) == lab.ask("META", ORIGIN).title and panel.controls["change"].value == 0
    )


def test_earlier_and_later_go_from_bar_to_bar(panel):
    panel.controls["later"].click()
    assert panel.controls["origin"].value == date(2015, 8, 24)  # over a weekend
    panel.controls["earlier"].click()
    panel.controls["earlier"].click()
    assert panel.controls["origin"].value == date(2015, 8, 20) and "from 2015-08-20" in text(
        panel.status
    )
    panel.controls["origin"].value = date(2015, 10, 30)
    panel.controls["later"].click()
    assert panel.controls["origin"].value == date(2015, 10, 30)
    panel.controls["origin"].value = date(1999, 1, 1)
    panel.controls["later"].click()
    assert panel.controls["origin"].value == date(2014, 3, 4)  # the first has too few before it
    assert "error" not in panel.status.value


def test_the_other_tab_is_made_when_it_is_open(panel):
    panel.drivers.value = ""
    panel.controls["change"].value = -3.0
    assert not panel.drivers.value
    panel.tabs.selected_index = 1
    first = panel.drivers.value
    assert (
        "past input" in text(panel.drivers)
        and "2015-08-21" in first
        and "not that an input" in first
    )
    panel.controls["change"].value = -6.0
    assert panel.drivers.value != first
    panel.controls["weight"].value = 0
    assert one_sentence(text(panel.drivers)) and "TFT didn't answer" in text(panel.drivers)


def test_what_can_t_be_answered_is_said_and_the_panel_goes_on(panel, monkeypatch):
    title = panel.title.value
    for value, says in (
        (date(1999, 1, 4), "META has no bar up to 1999-01-04"),
        (None, "There is no origin"),
        (date(2014, 3, 3), "META has 1 bars but"),
    ):
        panel.controls["origin"].value = value
        assert says in text(panel.status) and 'role="alert"' in panel.status.value
        assert (
            text(panel.status).endswith("The picture still shows the last answer.")
            and panel.title.value == title
        )
    panel.controls["origin"].value = ORIGIN
    assert "error" not in panel.status.value
    with monkeypatch.context() as patched:
        patched.setattr(panel.picture, "draw", lambda _: 1 / 0)
        panel.controls["change"].value = -2.0
        assert "That didn't work (ZeroDivisionError: division by zero)" in text(panel.status)
    panel.controls["change"].value = -2.5
    assert "error" not in panel.status.value and "-2.5%" in text(panel.title)


def test_a_day_without_a_bar_is_the_one_before(panel):
    panel.controls["origin"].value = date(2015, 8, 23)
    assert "answers from 2015-08-21" in text(
        panel.status
    ) and "2015-08-23 has no bar of META." in text(panel.status)


def test_several_controls_are_one_question(panel, monkeypatch):
    asked = []
    monkeypatch.setattr(
        panel.lab, "ask", lambda *a, ask=panel.lab.ask, **k: asked.append(a) or ask(*a, **k)
    )
    panel.set(symbol="GOOG", change=-5.0, range=2.0, origin="2015-07-01")
    assert len(asked) == 1 and "GOOG, last bar -5.0%, range ×2" in text(panel.title)
    with pytest.raises(tn.ConfigError, match="'colour' is none; see panel"):
        panel.set(colour="red")
    with pytest.raises(tn.ConfigError, match=r"'earlier' is a button; call panel.earlier\(\)"):
        panel.set(earlier=True)
    panel.set(mode="bars that follow", bars=2)
    assert "GOOG, 2 more bars" in text(panel.title)


@pytest.mark.parametrize(
    "wrong, kind, says",
    [
        ({"origin": "blah"}, tn.DataError, "The origin 'blah' is no date"),
        ({"symbol": "ZZZ"}, tn.DataError, "no symbol 'ZZZ'"),
        (
            {"symbol": "GOOG", "mode": "x"},
            tn.ConfigError,
            "mode can't be 'x'; choose one of the last bar, bars that follow",
        ),
        ({"level": "wide"}, tn.ConfigError, "level can't be 'wide'"),
        ({"level": 0.8}, tn.ConfigError, "level can't be 0.8; give a whole number from 50 to 99"),
        ({"change": -20.0}, tn.ConfigError, "change can't be -20.0; give a number from -15 to 15"),
        ({"volume": float("nan")}, tn.ConfigError, "volume can't be nan"),
    ],
)
def test_what_can_t_be_set_leaves_all_as_it_was(panel, wrong, kind, says):
    kept, before = (
        {n: c.value for n, c in panel.controls.items() if hasattr(c, "value")},
        shown(panel),
    )
    with pytest.raises(kind, match=says) as caught:
        panel.set(**{"change": -5.0, **wrong})
    assert one_sentence(str(caught.value)) and shown(panel) == before
    assert {name: panel.controls[name].value for name in kept} == kept
    panel.controls["range"].value = 2.0
    assert text(panel.title).startswith("META, last bar range ×2: ")


def test_another_symbol_is_asked_where_it_has_bars(model):
    late = made_bars(("LATE",), 80).assign(date=pd.bdate_range("2020-01-01", periods=80))
    panel = tn.what_if(
        pd.concat([late, made_bars(("OLD",), 80)]), model, "matplotlib", "OLD", "2015-03-02"
    )
    panel.controls["symbol"].value = "LATE"
    assert panel.controls["origin"].value == date(2020, 1, 2) and "error" not in panel.status.value
    assert "LATE can't be forecast from 2015-03-02, so the origin is now 2020-01-02." in text(
        panel.status
    )
    panel.controls["later"].click()
    assert panel.controls["origin"].value == date(2020, 1, 3) and "is now" not in text(panel.status)
    panel.set(symbol="OLD", origin="2015-03-02")
    panel.set(symbol="LATE", origin="2020-03-02")
    assert "answers from 2020-03-02" in text(panel.status) and "is now" not in text(panel.status)
    panel.close()
    rows = pd.concat([made_bars(("A",), 300, None), made_bars(("B",), 80, None)])
    panel = tn.what_if(rows, model, "matplotlib", "A")
    panel.controls["symbol"].value = "B"
    assert "B can't be forecast from bar 299, so the origin is now bar 79." in text(panel.status)
    assert panel.comparison.symbol == "B" and panel.controls["origin"].value == 79
    panel.close()


def test_two_models_are_both_named(bars, model):
    short = bars[(bars["symbol"] == "META") & (bars["date"] <= "2015-08-21")].tail(58)
    panel = tn.what_if(short, model, "matplotlib")
    panel.set(mode=True, bars=5)
    said = text(panel.status)
    assert (
        "Gradient boosting answers from 2015-08-21" in said
        and "part of the difference is this change" in said
    )
    assert "After it ensemble (0.65 TFT + 0.35 N-HITS) answers, with a 93% interval" in said
    panel.controls["bars"].value = 1
    assert "change of model" not in text(panel.status)
    assert "META has 58 bars" in text(panel.status) and "With the shock: META has 59 bars" in text(
        panel.status
    )
    panel.close()


def test_the_horizon_is_counted_in_the_symbols_bars(model):
    weeks = made_bars(("W",), 100, "W-FRI")
    panel = tn.what_if(pd.concat([made_bars(("D",), 100), weeks]), model, "matplotlib", "W")
    assert panel.controls["horizon"].description == "Horizon, weeks" and "5 weeks" in text(
        panel.title
    )
    panel.controls["symbol"].value = "D"
    assert panel.controls["horizon"].description == "Horizon, sessions"
    panel.close()


def test_controls_can_be_read_reached_and_found(panel):
    assert set(panel.controls) == {
        *SLIDERS,
        "symbol",
        "origin",
        "earlier",
        "later",
        "mode",
        "reset",
    }
    for name, control in panel.controls.items():
        assert control.description and f"tftnhits-{name}" in control._dom_classes
    for name in SLIDERS:
        slider = panel.controls[name]
        assert re.search(r", (%|×|bars|sessions)$", slider.description), slider.description
        assert not slider.continuous_update, "a drag would be dozens of questions"
    assert "tftnhits-what-if" in panel.root._dom_classes
    classes = {
        c for widget in widgets._all(panel.root) for c in getattr(widget, "_dom_classes", ())
    }
    assert {f"tftnhits-{n}" for n in ("title", "status", "picture", "table", "drivers")} <= classes


def lines(panel) -> dict[str, np.ndarray]:
    return {
        line.name: np.asarray(line.y, float)
        for line in panel.picture.figure.data
        if line.name and line.visible
    }


def test_lines_are_moved_in_place(live):
    figure, data = live.picture.figure, live.picture.figure.data
    assert set(lines(live)) == {
        "close, low to high",
        "forecast, 93% interval",
        "forecast",
        "what came",
    }
    uids = [line.uid for line in data]
    live.set(change=-5.0)
    assert live.picture.figure is figure and [line.uid for line in figure.data] == uids
    fans = live.comparison.fans
    assert np.array_equal(lines(live)["forecast"], fans["before"]["median"])
    assert np.array_equal(lines(live)["shocked"], fans["after"]["median"])
    band = np.r_[fans["after"]["upper"], fans["after"]["lower"][::-1]]
    assert np.array_equal(lines(live)["shocked, 93% interval"], band)
    live.set(level=80)
    assert "shocked, 80% interval" in lines(live)
    live.reset()
    assert "shocked" not in lines(live)


def test_the_axis_follows_the_symbols_bars(model):
    pytest.importorskip("plotly")
    hours = [
        d + pd.Timedelta(hours=9.5 + i)
        for d in pd.bdate_range("2015-01-05", periods=30)
        for i in range(7)
    ]
    frames = [made_bars((name,), 210) for name in ("days", "hours")]
    hourly = frames[1].assign(date=hours)
    both = tn.what_if(pd.concat([frames[0], hourly]), model, "plotly", "hours")
    axis, drawn = both.picture.figure.layout.xaxis, both.picture.figure.data
    both.set(mode=True, bars=3)
    bars = axis.categoryarray
    assert axis.type == "category" and list(bars) == sorted(set(bars)) and len(bars) == 30 + 3 + 5
    assert all(set(line.x) <= set(bars) for line in drawn) and set(axis.tickvals) <= set(bars)
    both.controls["symbol"].value = "days"
    assert axis.type == "date" and axis.rangebreaks and drawn[0].x[-1] == "2015-10-22"
    assert (axis.categoryorder, axis.categoryarray, axis.tickvals, axis.ticktext) == (None,) * 4
    both.controls["symbol"].value = "hours"
    assert axis.type == "category" and not axis.rangebreaks
    both.close()
    numbered = tn.what_if(
        frames[0][["open", "high", "low", "close"]].to_numpy().tolist(), model, "plotly"
    )
    assert (
        numbered.picture.figure.layout.xaxis.type == "linear"
        and numbered.picture.figure.data[0].x[-1] == 209
    )
    numbered.close()


def test_the_live_axis_writes_prices_as_the_title_does(bars, model):
    pytest.importorskip("plotly")
    for size, pattern in ((1e-7, ".4~g"), (1e8, ",.0f")):
        own = bars[bars["symbol"] == "META"]
        own = own.assign(**{k: own[k] * size for k in ("open", "high", "low", "close")})
        panel = tn.what_if(own, model, "plotly")
        assert panel.picture.figure.layout.yaxis.tickformat == pattern
        panel.close()


def test_a_page_that_is_loaded_again_gets_the_picture_as_it_is(live):
    live.set(change=-7.0)
    figure = live.picture.figure
    if "_widget_data" not in figure.keys:
        pytest.skip("plotly before 6, whose figures are never chosen")
    kept = {line["name"]: line for line in figure._widget_data}
    assert kept["shocked"]["visible"]
    assert np.array_equal(
        np.asarray(kept["shocked"]["y"], float), live.comparison.fans["after"]["median"]
    )


def test_the_redrawn_picture_is_the_figure(lab):
    picture = what_if_views.RedrawnPicture("dark")
    one, other = (picture.png(lab.ask("META", ORIGIN, Shock(change))) for change in (-5, -8))
    assert one.startswith(b"\x89PNG") and one != other and len(one) < 200_000


@pytest.mark.parametrize(
    "where, why",
    [
        ("colab", "Colab"),
        ("old", "before plotly 6"),
        ("no anywidget", "anywidget is missing"),
        ("no plotly", "plotly is"),
    ],
)
def test_matplotlib_stands_in_where_live_figures_can_t_be(monkeypatch, bars, model, where, why):
    plotly = pytest.importorskip("plotly")
    monkeypatch.setattr(plotly, "__version__", "5.24.1" if where == "old" else "7.1.0")
    if where == "colab":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    if where == "no anywidget":
        monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    if where == "no plotly":
        monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    assert why in widgets.without_live_figures()
    panel = tn.what_if(bars, model, symbol="META", origin="2015-08-21")
    assert isinstance(panel.picture, what_if_views.RedrawnPicture)
    panel.close()


def test_live_figures_are_chosen_where_they_can_be(monkeypatch, bars, model):
    plotly, _ = pytest.importorskip("plotly"), pytest.importorskip("anywidget")
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setattr(plotly, "__version__", "6.0.0")
    panel = tn.what_if(bars, model)
    assert (
        isinstance(panel.picture, what_if_views.LivePicture)
        and panel.controls["symbol"].value == "AAPL"
    )
    assert panel.controls["origin"].value == date(2015, 10, 30)
    panel.close()


@pytest.mark.parametrize(
    "asked, says",
    [
        ({"backend": "bokeh"}, "no backend 'bokeh'; choose plotly or matplotlib"),
        ({"theme": "pink"}, "no theme 'pink'"),
    ],
)
def test_an_unknown_backend_or_theme_is_refused_at_once(monkeypatch, asked, says):
    monkeypatch.setattr(widgets, "WhatIf", lambda *_: pytest.fail("nothing is to be loaded"))
    with pytest.raises(tn.ConfigError, match=says) as caught:
        tn.what_if(**asked)
    assert one_sentence(str(caught.value))


def test_what_is_missing_is_named(monkeypatch, bars, model):
    go = pytest.importorskip("plotly.graph_objects")

    def none(*_):
        raise ImportError("Please install anywidget")

    with monkeypatch.context() as patched:
        patched.setattr(go, "FigureWidget", none)
        with pytest.raises(tn.MissingDependency, match="plotly 6 and anywidget"):
            tn.what_if(bars, model, "plotly")
    monkeypatch.setattr(widgets, "ipywidgets", None)
    with pytest.raises(
        tn.MissingDependency, match=r"needs ipywidgets: pip install 'tftnhits\[notebook\]'"
    ):
        tn.what_if(bars, model)
    monkeypatch.undo()
    with pytest.raises(tn.DataError, match="no symbol 'TSLA'"):
        tn.what_if(bars, model, symbol="TSLA")


def test_bars_without_dates_volume_or_market(bars, model):
    rows = bars[bars["symbol"] == "META"][["open", "high", "low", "close"]].to_numpy().tolist()
    panel = tn.what_if(rows, model, "matplotlib", origin=300)
    assert (
        panel.controls["origin"].value == 300
        and panel.controls["horizon"].description == "Horizon, bars"
    )
    assert panel.controls["market"].disabled and panel.controls["volume"].disabled
    panel.set(change=-3.0, market=2.0, volume=2.0)
    assert "Too few other symbols" in text(panel.status) and "The volume is not known" in text(
        panel.status
    )
    panel.controls["later"].click()
    assert panel.controls["origin"].value == 301 and "answers from bar 301" in text(panel.status)
    panel.close()
    hourly = tn.what_if(made_bars(("A",), 200, "h"), model, "matplotlib", origin=150)
    assert "answers from 2015-01-08 06:00:00" in text(hourly.status) and "5 bars" in text(
        hourly.title
    )
    hourly.close()


def test_a_predictor_without_networks_has_no_weights_to_choose(bars):
    panel = tn.make_panel(bars, tn.PanelConfig(train_end="2014-12-31", valid_end="2015-03-31"))
    model = tn.Predictor.from_members(
        {"boosting": tn.Boosting(tn.preset("tiny")[2]).fit(panel)}, panel
    )
    panel = tn.what_if(bars, model, "matplotlib", "META", ORIGIN)
    assert panel.controls["weight"].disabled and "Gradient boosting answers" in text(panel.status)
    panel.close()


def test_a_hostile_symbol_stays_text(bars, model):
    name = "<img src=x onerror=alert(1)>"
    hostile = bars[bars["symbol"] == "META"].assign(symbol=name)
    panel = tn.what_if(hostile, model, "matplotlib", name, ORIGIN)
    panel.set(change=-5.0, origin=date(1999, 1, 1))
    panel.tabs.selected_index = 1
    assert "<img" not in "".join([*shown(panel), panel.drivers.value])
    panel.close()


def test_a_closed_panel_leaves_nothing_behind(bars, model):
    registry = pytest.importorskip("ipywidgets.widgets.widget")
    known = getattr(registry, "_instances", None)
    if known is None:
        known = registry.Widget.widgets
    before = set(known)
    panel = tn.what_if(bars, model, "matplotlib")
    assert len(set(known) - before) > 60  # each with its layout and style
    panel.close()
    left = [type(known[key]).__name__ for key in set(known) - before]
    assert not [name for name in left if not name.endswith(("Layout", "Style", "StyleModel"))]


def test_a_slider_shows_its_picture_in_time(model):
    """On the bundled bars; measured in the main thread's own time, so that other processes don't matter."""
    pytest.importorskip("plotly")
    panel = tn.what_if(None, model, "plotly", "META", ORIGIN)
    found = {}
    for name, values in {
        "change": np.arange(-5, 0, 0.5),
        "level": range(60, 70),
        "weight": range(10, 20),
    }.items():
        taken = []
        for value in values:
            begin = time.thread_time()
            panel.controls[name].value = value
            taken.append(time.thread_time() - begin)
        found[name] = round(statistics.median(taken), 4)
    panel.close()
    print("slider to picture, seconds:", found)
    assert max(found.values()) < LIMIT * SLACK


ACTIONS = """
import gc, json, random, sys, datetime
import psutil
sys.path.insert(0, {tests!r})
from helpers import stocks
import tftnhits as tn
bars, model = stocks(("AAPL", "GOOG", "META", "NVDA"), "2014-03-01", "2015-10-30"), tn.Predictor.load()
choose, process = random.Random(1), psutil.Process()

def act(panel):
    name = choose.choice(list(panel.controls))
    control = panel.controls[name]
    if name in ("earlier", "later", "reset"):
        control.click()
    elif name in ("symbol", "mode"):
        control.value = choose.choice([o[-1] if isinstance(o, tuple) else o for o in control.options])
    elif name == "origin":
        control.value = datetime.date(2015, choose.randint(1, 10), choose.randint(1, 28))
    else:
        steps = round((control.max - control.min) / control.step)
        control.value = control.min + control.step * choose.randint(0, steps)
    panel.tabs.selected_index = choose.randint(0, 1)
    return "error" in panel.status.value

def resident():
    gc.collect()
    return process.memory_info().rss
"""
OPEN = "{backend} = tn.what_if(bars, model, {backend!r}, 'META', '2015-08-21')\n{backend}"
ACT = """
errors = sum(act({backend}) for _ in range(10))
before = resident()
errors += sum(act({backend}) for _ in range(30))
json.dumps({{"errors": errors, "grown": resident() - before}})
"""


@pytest.fixture(scope="module")
def after_actions():
    """A notebook that a real kernel has run: a panel of each backend, and 40 random actions on it."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name in ("ipykernel", "plotly", "anywidget"):
        pytest.importorskip(name)
    cells = [ACTIONS.format(tests=str(Path(__file__).parent))]
    cells += [cell.format(backend=name) for name in widgets.BACKENDS for cell in (OPEN, ACT)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, store_widget_state=True).execute()
    return notebook


@pytest.mark.slow
def test_random_actions_leave_no_error_and_no_memory(after_actions):
    said = [output for cell in after_actions.cells for output in cell.outputs]
    assert not [output for output in said if output.output_type in ("error", "stream")]
    for shown, done in (said[:2], said[2:]):
        assert (
            "application/vnd.jupyter.widget-view+json" in shown.data
            and "running kernel" in shown.data["text/plain"]
        )
        result = json.loads(done.data["text/plain"].strip("'"))
        print(result)
        assert result["errors"] == 0 and result["grown"] < 50e6


@pytest.mark.slow
def test_the_page_holds_one_picture_of_each_panel(after_actions):
    kept = after_actions.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    states = [entry["state"] for entry in kept.values()]
    (outputs,) = (state["outputs"] for state in states if "outputs" in state)
    assert [sorted(output["data"]) for output in outputs] == [["image/png", "text/plain"]]
    (lines,) = (
        state.get("_widget_data", state.get("_data"))
        for state in states
        if "_py2js_update" in state
    )
    assert len(lines) == len(list(what_if_views._styles(THEMES["light"])))
