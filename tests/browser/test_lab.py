"""Notebooks in a real JupyterLab: opened, run by the menu, and the what-if panel used by keys and clicks."""

import random
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from panel import WhatIf

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOK = "09_what_if.ipynb"
TROUBLE = '.jp-NotebookPanel [data-mime-type="application/vnd.jupyter.stderr"]'


def run_all(server, visit, name):
    """Opens a notebook in a workspace of its own and has the menu run it, which does nothing before Lab is idle."""
    parts = urlsplit(server.url)
    token = parse_qs(parts.query)["token"][0]
    visit.page.goto(
        f"http://{parts.netloc}/lab/workspaces/t/tree/{name}?reset&token={token}", timeout=90_000
    )
    visit.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=90_000)
    visit.page.click('li.lm-MenuBar-item:has-text("Run")')
    visit.page.click('[data-command="runmenu:run-all"]')


def completed(visit):
    """Waits until the last code cell has a number, and sees that no cell left a traceback or wrote to stderr."""
    last = visit.page.locator(".jp-NotebookPanel .jp-CodeCell .jp-InputArea-prompt").last
    trouble = visit.page.locator(TROUBLE)
    last.filter(has_text=re.compile(r"\[\d+\]:")).or_(trouble).first.wait_for(timeout=120_000)
    assert not trouble.all_inner_texts()


def test_the_quickstart_runs_to_its_figure(lab, visit):
    run_all(lab, visit, "00_quickstart.ipynb")
    completed(visit)
    figure = visit.page.locator(".jp-NotebookPanel .js-plotly-plot")
    figure.scroll_into_view_if_needed()
    figure.locator("path.js-line").first.wait_for(state="attached")
    assert "AAPL" in figure.locator(".gtitle").text_content()


def test_the_panel_answers_sliders_and_another_symbol(lab, visit, measure):
    begin = time.monotonic()
    run_all(lab, visit, NOTEBOOK)
    panel = WhatIf(visit.page)
    panel.wait()
    panel.seconds(
        lambda: panel.press("volume", "ArrowRight")
    )  # the kernel is still busy with the cells below
    opened = time.monotonic() - begin
    panel.settle()

    took = []
    for control, key in [
        ("change", "ArrowLeft"),
        ("range", "ArrowRight"),
        ("market", "ArrowLeft"),
    ] * 3:
        lines, title, table = panel.shown()
        took.append(panel.seconds(lambda control=control, key=key: panel.press(control, key)))
        panel.settle()
        now = panel.shown()
        assert now[0] != lines and now[1] != title and now[2] != table, control

    before, other = panel.shown(), next(s for s in panel.symbols() if s not in panel.title())
    took.append(panel.seconds(lambda: panel.choose(other)))
    panel.settle()
    after = panel.shown()
    assert all(a != b for a, b in zip(before, after)) and other in after[1]

    visit.page.locator(".tftnhits-what-if").scroll_into_view_if_needed()
    visit.picture("lab")
    completed(visit)
    assert not panel.problem()
    measure("JupyterLab: opened, run, first answer of the panel", [opened], 20)
    measure("JupyterLab: slider to picture", took, 0.5)


ACTIONS = [
    ("press", name, key)
    for name in ("change", "range", "volume", "market")
    for key in ("ArrowLeft", "ArrowRight")
]
ACTIONS += [
    ("press", name, key)
    for name in ("horizon", "level", "weight")
    for key in ("ArrowLeft", "Home", "End")
]
ACTIONS += [("click", name) for name in ("earlier", "later", "reset")]
ACTIONS += [
    ("assume", "the last bar"),
    ("assume", "bars that follow"),
    ("press", "bars", "ArrowRight"),
]


def test_thirty_random_actions_leave_no_error_and_no_memory(lab, visit, measure):
    run_all(lab, visit, NOTEBOOK)
    panel, draw = WhatIf(visit.page), random.Random(7)
    panel.wait()
    panel.settle()
    symbols = panel.symbols()

    def act():
        name, *what = draw.choice([*ACTIONS, *[("choose", s) for s in draw.sample(symbols, 6)]])
        getattr(panel, name)(*what)
        panel.settle()
        assert not panel.problem(), (name, what)

    for _ in range(5):  # the first ones fill caches
        act()
    kernel = lab.kernel()
    first = kernel.memory_info().rss
    for _ in range(30):
        act()
    grown = (kernel.memory_info().rss - first) / 2**20
    completed(visit)
    measure("30 actions: the kernel grows by", [grown], 50, "MiB")
