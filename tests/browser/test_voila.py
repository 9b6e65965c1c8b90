"""The page that make app serves, in a real Chromium."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urljoin, urlsplit

import psutil
import pytest
from conftest import LEFT
from panel import ROOT, WhatIf
from servers import ROOT as ROOT_FOLDER
from servers import serving_app

from tftnhits.viz.style import THEMES, price
from tftnhits.whatif import shock

SHOCKS = ["More bars (0: shock the last)", "Close move, %", "Range, ×", "Volume, ×"]
SHOCKS += ["Market move, %"]
BOXES = f"{ROOT} .js-plotly-plot .boxlayer path.box"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def app(chromium, tmp_path):
    with serving_app(tmp_path) as server:
        yield server


def test_the_page_is_ready_and_answers_and_ctrl_c_ends_it(app, page, measure):
    begin = time.monotonic()
    page.goto(app.url, wait_until="commit")
    panel = WhatIf(page)
    panel.wait()
    measure("make app: typed to interactive panel", [time.monotonic() - begin + app.started], 15)
    assert "import tftnhits" not in page.content()  # no code

    before = panel.content()
    took = [panel.seconds(lambda: panel.press("change", "ArrowLeft")) for _ in range(3)]
    assert all(a != b for a, b in zip(before, panel.content()))
    measure("make app: slider to picture", took, 0.5)
    whole = panel.prices()
    panel.zoom()
    zoomed = panel.prices()
    panel.press("volume", "ArrowRight")
    panel.settle()
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1] and panel.prices() == zoomed
    other = panel.another()
    panel.seconds(lambda: panel.choose(other))
    assert other in panel.title() and not panel.problem()
    assert panel.prices() != zoomed  # which would show nothing of another symbol's prices

    started = [app.process, *app.process.children(recursive=True)]
    assert app.kernels()
    os.killpg(app.process.pid, signal.SIGINT)
    gone, alive = psutil.wait_procs(started, timeout=20)
    assert gone and not alive and "Traceback" not in app.log.read_text()


# anywidget gives a widget's module two seconds to load, then drops all that is sent to the widget.
# Whether that happens to a slow processor is luck; to this page it always does.
IMPATIENT = """const patience = AbortSignal.timeout
AbortSignal.timeout = ms => patience.call(AbortSignal, ms === 2000 ? 1 : ms)"""


@pytest.fixture(scope="module")
def lab():
    """Asked beside the page, for what it should show."""
    return shock.WhatIf("stocks")


@pytest.mark.parametrize("slow", ["processor", "modules"])
def test_a_slow_page_shows_the_chosen_symbols_title_picture_and_table(app, page, lab, slow):
    if slow == "processor":
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 6})
    else:
        page.add_init_script(IMPATIENT)
    page.goto(app.url, wait_until="commit", timeout=180_000)
    panel = WhatIf(page)
    page.locator(f"{ROOT} .tftnhits-symbol input").wait_for(timeout=180_000)
    for symbol in ("NVDA", "GOOG"):  # the first may come before there is a picture
        panel.choose(symbol)
        panel.chosen(symbol, 180)
        answer = lab.ask(symbol, "2015-08-21")
        assert panel.title() == answer.title
        drawn = panel.drawn()
        assert drawn["close, low to high"][-1] == pytest.approx(answer.past["close"].iloc[-1])
        median = answer.fans["before"]["median"].tolist()
        assert drawn["forecast, 93% interval"] == pytest.approx(median)
        assert price(median[-1]) in panel.content()[2]


def test_it_is_busy_from_the_choice_to_the_picture_and_every_control_has_a_name(app, page):
    page.goto(app.url, wait_until="commit")
    panel = WhatIf(page)
    panel.wait()
    assert panel.order(lambda: panel.choose("NVDA")) == ["busy", "drawn", "done"]
    sliders = ["Horizon, sessions", "Interval, %", "TFT's weight, %", *SHOCKS]
    for name in sliders:
        for role in ("slider", "textbox"):  # a handle, and a number that can be typed
            assert page.get_by_role(role, name=name, exact=True).is_enabled(), (role, name)
    assert page.get_by_role("combobox", name="Symbol").is_enabled()
    assert page.get_by_role("button", name="No shock").is_enabled()
    assert page.get_by_label("Origin").is_enabled()
    assert page.get_by_role("figure", name="NVDA, no shock").count() == 1
    unnamed = page.locator(f"{ROOT} :is([role=slider], [role=textbox]):not([aria-labelledby])")
    assert not unnamed.count()


def opened(url, page, width=1280, height=800):
    """The page at an address, once it has answered."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto(url, wait_until="commit")
    panel = WhatIf(page)
    panel.wait()
    return panel


def kept(page, name):
    LEFT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=LEFT / f"what_if_{name}.png")


def test_controls_and_picture_stand_side_by_side_above_the_fold(app, page):
    panel = opened(app.url, page)
    panel.press("change", "ArrowLeft")
    panel.settle()
    for width, height, least in ((1280, 800, 850), (1920, 1080, 1300)):
        page.set_viewport_size({"width": width, "height": height})
        panel.settle()
        controls, picture = panel.box("controls"), panel.box("picture")
        assert controls["x"] + controls["width"] < picture["x"]
        assert picture["x"] + picture["width"] <= width and picture["width"] > least
        for box in (controls, picture):
            assert 0 < box["y"] < 130 and box["y"] + box["height"] < height, box
        plot = page.locator(f"{ROOT} .js-plotly-plot").bounding_box()
        assert plot["width"] == pytest.approx(picture["width"], abs=2) and plot["height"] > 400
        reset = panel.box("reset")
        assert reset["y"] + reset["height"] <= controls["y"] + controls["height"]
        kept(page, f"{width}_light")
    page.set_viewport_size({"width": 760, "height": 900})  # as in a narrow place of a notebook
    panel.settle()
    controls, picture = panel.box("controls"), panel.box("picture")
    assert controls["y"] + controls["height"] < picture["y"]
    assert picture["width"] == pytest.approx(controls["width"], abs=2) and picture["width"] > 650


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_the_picture_stays_in_sight(app, page, scheme):
    page.emulate_media(color_scheme=scheme)
    panel = opened(app.url, page, 390, 844)
    wide = "[...document.querySelectorAll('html, body, #rendered_cells')].map(e => e.scrollWidth)"
    assert max(page.evaluate(wide)) <= 390
    kept(page, f"390_{scheme}")
    cut = "part => part.scrollWidth > part.clientWidth + 1"
    for label in page.locator(f"{ROOT} .tftnhits-controls .widget-label").all():
        assert not label.evaluate(cut), label.inner_text()
    for slider in page.locator(f"{ROOT} .slider-container").all():
        assert slider.bounding_box()["width"] > 250
    letters = f"{ROOT} .js-plotly-plot :is(.xtick, .ytick, .legendtext) text"
    assert all(text.bounding_box()["x"] >= 0 for text in page.locator(letters).all())
    panel.press("market", "ArrowRight")  # the last: it is scrolled to
    panel.settle()
    kept(page, f"390_{scheme}_scrolled")
    slider, picture = panel.box("market"), panel.box("picture")
    assert 0 <= picture["y"] < picture["y"] + picture["height"] < slider["y"] < 844
    assert picture["width"] > 340 and picture["height"] > 300 and "market +0.5%" in panel.title()


def test_page_tables_and_picture_follow_a_dark_theme(app, page):
    panel = opened(app.url, page)
    panel.press("change", "ArrowLeft")
    panel.settle()
    paper = "plot => plot._fullLayout.paper_bgcolor"
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, height in ((1920, 1080), (1280, 800)):
            page.set_viewport_size({"width": width, "height": height})
            panel.settle()
            kept(page, f"{width}_{scheme}")
        seen[scheme] = page.eval_on_selector(f"{ROOT} .js-plotly-plot", paper)
        red, green, blue = (int(seen[scheme][i : i + 2], 16) for i in (1, 3, 5))
        assert page.evaluate(ground) == f"rgb({red}, {green}, {blue})"  # no seam around it
        assert min(panel.contrasts().values()) >= 4.5, (scheme, panel.contrasts())
    assert seen == {name: THEMES[name].paper for name in seen}
    page.get_by_role("tab", name="Where TFT looked").click()
    page.locator(f"{ROOT} .tftnhits-drivers table").first.wait_for()
    kept(page, "drivers_dark")


def test_the_address_keeps_what_was_chosen_and_opens_with_it(app, page):
    panel = opened(app.url, page)
    assert page.url == app.url  # nothing was chosen yet
    panel.choose("NVDA")
    panel.chosen("NVDA")
    for control, key in (("horizon", "ArrowLeft"), ("level", "ArrowLeft"), ("change", "ArrowLeft")):
        panel.press(control, key)
        panel.settle()
    said = {key: values[-1] for key, values in parse_qs(urlsplit(page.url).query).items()}
    token = parse_qs(urlsplit(app.url).query)["token"][0]
    chosen = {"symbol": "NVDA", "origin": "2015-08-21", "horizon": "4", "level": "92"}
    assert said == {**chosen, "token": token, "weight": "65", "change": "-0.5"}
    title, address = panel.title(), page.url
    panel = opened(address, page)
    assert panel.title() == title and page.url == address and not panel.problem()
    shown = {name: panel.chosen_value(name) for name in chosen}
    assert shown == chosen and panel.chosen_value("change") == "\u22120.5"
    page.locator(f"{ROOT} .tftnhits-candles input").check()
    panel.settle()
    boxes, title, address = page.locator(BOXES).count(), panel.title(), page.url
    assert boxes == 2 * 4 and "median range" in title and "candles=1" in address
    panel = opened(address, page)
    assert panel.title() == title and page.locator(BOXES).count() == boxes
    panel.click("reset")
    panel.settle()
    assert "change=" not in page.url and token in page.url


def test_an_address_that_makes_no_sense_is_answered_in_sentences(app, page):
    query = "&horizon=99&origin=soon&change=nan&level=80&market=<img src=x onerror=alert(1)>"
    panel = opened(app.url + query, page)
    assert "AAPL, no shock" in panel.title() and "80% interval" in panel.title()
    problem = panel.problem()
    assert '"99" as horizon; give a number from 1 to' in problem.replace("'", '"')
    assert "as origin; give a date" in problem and "as change; give" in problem
    assert "<img src=x" in problem and "answers from 2015-08-21" in panel.status()


def test_a_ticker_brings_live_bars_or_says_why_not(chromium, page, tmp_path, monkeypatch):
    yahoo_server = pytest.importorskip("yahoo_server", reason="live bars need yfinance")
    pytest.importorskip("yfinance")
    with yahoo_server.yahoo_server() as yahoo:
        for name, value in yahoo.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))
        for number, name in enumerate(("TSLA", "BRK-B", "AAPL")):
            yahoo.listings[name] = yahoo_server.Listing(yahoo_server.walk(500, number))
        with serving_app(tmp_path) as server:
            panel = opened(server.url, page)
            box = page.locator(f"{ROOT} .tftnhits-symbol input")
            box.focus()  # so that the whole list opens
            assert box.input_value() == "" and box.get_attribute("placeholder") == "AAPL"
            box.blur()
            assert box.input_value() == "AAPL"
            last = yahoo.listings["TSLA"].closes.index[-1]
            for typed in ("tsla", "BRK-B"):
                panel.choose(typed)
                panel.chosen(typed.upper())
                assert f"answers from {last:%Y-%m-%d}" in panel.status() and not panel.problem()
                assert panel.chosen_value("origin") == f"{last:%Y-%m-%d}"
            assert "symbol=BRK-B" in page.url and "live=1" in page.url
            title = panel.title()
            for typed in ("NOSUCH", "no such"):
                panel.choose(typed)
                page.locator(f"{ROOT} .tftnhits-status .error").wait_for()
                assert "Yahoo" in panel.problem() and "still shows" in panel.problem()
                assert panel.title() == title and "BRK-B" in page.url
                panel.choose("BRK-B")
                panel.settle()
            assert not panel.problem()
            panel.choose("NVDA")  # not there, but bundled
            panel.chosen("NVDA")
            assert "Live bars of NVDA can't be had" in panel.status()
            kept(page, "stand_in")
            address = page.url
            panel = opened(address.replace("NVDA", "TSLA"), page)
            assert panel.title().startswith("TSLA, no shock")


def test_without_the_token_nothing_is_shown_and_no_kernel_starts(app, page):
    page.goto(app.url.split("?")[0])
    assert "token" in page.url or page.locator("input[type=password]").count()
    assert not page.locator("#rendered_cells").count() and not app.kernels()


def answered(url, host):
    """Status and headers of the answer to who calls the server by another name."""
    request = urllib.request.Request(url, headers={"Host": host})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def test_it_answers_to_its_own_names_alone_and_in_no_frame_of_others(app):
    port = urlsplit(app.url).port
    login, kernels = (urljoin(app.url, path) for path in ("/login", "/api/kernels"))
    for name in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1"):
        for url in (app.url, login, kernels):  # a name that another site made point here
            assert answered(url, f"{name}:{port}")[0] == 403, (name, url)
    assert not app.kernels()
    for name in ("127.0.0.1", "localhost", "[::1]"):
        status, headers = answered(login, f"{name}:{port}")
        assert status == 200, name
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'self'" in policy and "default-src 'self'" in policy


def test_a_kernel_whose_page_is_gone_ends(chromium, tmp_path):
    config = (ROOT_FOLDER / "tftnhits" / "apps" / "voila" / "voila.py").read_text()
    patience = re.search(r"cull_idle_timeout = (\d+)", config)
    assert 60 <= int(patience[1]) <= 3600
    sooner = "--MappingKernelManager.cull_idle_timeout=2 --MappingKernelManager.cull_interval=1"
    with serving_app(tmp_path, sooner) as server:
        with urllib.request.urlopen(server.url) as answer:  # a visitor who never comes back
            assert answer.read()
        deadline = time.monotonic() + 60
        while server.kernels():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "Culling" in server.log.read_text()
