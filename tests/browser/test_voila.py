"""The page that make app serves, in a real Chromium."""

import os
import signal
import time

import psutil
import pytest
from panel import WhatIf
from servers import serving_app

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


def test_without_the_token_nothing_is_shown_and_no_kernel_starts(app, page):
    page.goto(app.url.split("?")[0])
    assert "token" in page.url or page.locator("input[type=password]").count()
    assert not page.locator("#rendered_cells").count() and not app.kernels()
