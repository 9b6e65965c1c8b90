"""The page that make app serves, in a real Chromium."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from urllib.parse import urljoin, urlsplit

import psutil
import pytest
from panel import ROOT, WhatIf
from servers import ROOT as ROOT_FOLDER
from servers import serving_app

from tftnhits.viz.style import price
from tftnhits.whatif import shock

SHOCKS = ["More bars (0: shock the last)", "Close move, %", "Range, ×", "Volume, ×"]
SHOCKS += ["Market move, %"]
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
    page.locator(f"{ROOT} .tftnhits-symbol select").wait_for(timeout=180_000)
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
