"""The page that make app serves, in a real Chromium."""

import os
import signal
import time

import psutil
import pytest
from panel import WhatIf
from servers import kernels, serving_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def app(chromium, tmp_path):
    with serving_app(tmp_path) as server:
        yield server


def test_the_page_is_ready_and_answers(app, visit, measure):
    page, begin = visit.page, time.monotonic()
    page.goto(app.url, wait_until="commit")
    panel = WhatIf(page)
    panel.wait()
    ready = time.monotonic() - begin + app.started
    panel.settle()
    source = page.content()
    assert (
        "tftnhits-what-if" in source
        and "find_spec" not in source
        and "import tftnhits" not in source
    )  # no code

    before = panel.shown()
    took = [panel.seconds(lambda: panel.press("change", "ArrowLeft")) for _ in range(3)]
    panel.settle()
    assert all(a != b for a, b in zip(before, panel.shown()))
    whole = panel.prices()
    panel.zoom()
    zoomed = panel.prices()
    panel.press("volume", "ArrowRight")
    panel.settle()
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1] and panel.prices() == zoomed
    before, other = panel.shown(), next(s for s in panel.symbols() if s not in panel.title())
    took.append(panel.seconds(lambda: panel.choose(other)))
    panel.settle()
    assert all(a != b for a, b in zip(before, panel.shown())) and not panel.problem()
    assert panel.prices() != zoomed  # which would show nothing of another symbol's prices
    visit.picture("page")
    measure("make app: typed to interactive panel", [ready], 15)
    measure("make app: slider to picture", took, 0.5)


def test_without_the_token_nothing_is_shown_and_no_kernel_starts(app, visit):
    page = visit.page
    page.goto(app.url.split("?")[0])
    assert "token" in page.url or page.locator("input[type=password]").count()
    assert not page.locator("#rendered_cells").count() and not kernels(app.process)


def test_ctrl_c_ends_the_server_and_its_kernels(app, visit):
    visit.page.goto(app.url, wait_until="commit")
    WhatIf(visit.page).wait()
    started = [app.process, *app.process.children(recursive=True)]
    assert kernels(app.process)
    os.killpg(app.process.pid, signal.SIGINT)
    gone, alive = psutil.wait_procs(started, timeout=20)
    assert gone and not alive and "Traceback" not in "".join(app.said)
