"""Notebook 09 in a real JupyterLab: opened, run by the menu, and its panel used by keys."""

import random
import re
import shutil
import sys
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from panel import PLOT, WhatIf
from servers import ROOT, free_port, serving

from tftnhits.viz.style import THEMES

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TROUBLE = '.jp-NotebookPanel [data-mime-type="application/vnd.jupyter.stderr"]'


@pytest.fixture
def lab(chromium, tmp_path):
    """JupyterLab on a copy of the notebooks: it saves what it shows."""
    folder = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("runs", ".*"))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--allow-root"]
    command += [f"--port={free_port()}", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    command += ["--LabApp.expose_app_in_browser=True"]
    with serving(command, r"http://127\.0\.0\.1:\S+token=\w+", tmp_path) as server:
        yield server


def run_all(server, page):
    """Opens the notebook in a workspace of its own and has the menu run it, once Lab is idle."""
    parts = urlsplit(server.url)
    token = parse_qs(parts.query)["token"][0]
    workspace = f"http://{parts.netloc}/lab/workspaces/t/tree/09_what_if.ipynb"
    page.goto(f"{workspace}?reset&token={token}", timeout=90_000)
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=90_000)
    page.click('li.lm-MenuBar-item:has-text("Run")')
    page.click('[data-command="runmenu:run-all"]')


def completed(page):
    """Waits until the last code cell has a number; no cell left a traceback or wrote to stderr."""
    last = page.locator(".jp-NotebookPanel .jp-CodeCell .jp-InputArea-prompt").last
    numbered, trouble = last.filter(has_text=re.compile(r"\[\d+\]:")), page.locator(TROUBLE)
    numbered.or_(trouble).first.wait_for(timeout=120_000)
    assert not trouble.all_inner_texts()


def paper(page, theme):
    """The picture's colour a while after JupyterLab was given another theme."""
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
    page.evaluate(change, theme)
    page.wait_for_timeout(3000)
    return page.eval_on_selector(PLOT, "plot => plot._fullLayout.paper_bgcolor")


SLIDERS = ("horizon", "level", "weight", "bars", "change", "range", "volume", "market")
ACTIONS = [("press", name, key) for name in SLIDERS for key in ("ArrowLeft", "ArrowRight")]
ACTIONS += [("click", "reset")]


def test_the_panel_answers_and_random_actions_leave_no_error_and_no_memory(lab, page, measure):
    begin = time.monotonic()
    run_all(lab, page)
    panel, draw = WhatIf(page), random.Random(7)
    panel.wait()
    address = page.url
    opened, took = time.monotonic() - begin, []
    for control in ("change", "range", "market"):
        before = panel.content()
        took.append(panel.seconds(lambda name=control: panel.press(name, "ArrowRight")))
        assert all(a != b for a, b in zip(before, panel.content())), control
    (kernel,) = lab.kernels()
    first = kernel.memory_info().rss
    for _ in range(20):
        what, *names = draw.choice([*ACTIONS, ("choose", panel.another())])
        getattr(panel, what)(*names)
        panel.settle()
        assert not panel.problem(), (what, names)
    grown = (kernel.memory_info().rss - first) / 2**20
    completed(page)
    assert page.url == address  # it is JupyterLab's own
    assert paper(page, "JupyterLab Dark") == THEMES["dark"].paper
    assert paper(page, "JupyterLab Light") == THEMES["light"].paper
    assert grown < 100
    measure("JupyterLab: opened, run, first answer of the panel", [opened], 20)
    measure("JupyterLab: slider to picture", took, 0.5)
    measure("20 actions: the kernel grows by", [grown], 50, "MiB")
