"""A real Chromium that may reach nothing but 127.0.0.1; pictures and measures in build/browser/."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers import FLAGS, ROOT, chromium_path

pytest.register_assert_rewrite("media")
LEFT = ROOT / "build" / "browser"
# What anywidget says where a module took more than two seconds: the panel needs no message then.
HASTY = "[anywidget] Failed to initialize model."


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="make browser-setup")
    if chromium_path() is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty tab, kept as a picture; it must not ask other hosts nor leave errors of scripts.

    A test's parameter is of its context: its size and theme.
    """
    options = getattr(request, "param", {"viewport": {"width": 1400, "height": 1100}})
    context = chromium.new_context(**options)
    page, asked, errors = context.new_page(), [], []
    context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    LEFT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=LEFT / f"{request.node.name.removeprefix('test_')}.png")
    context.close()
    elsewhere = [url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)]
    assert asked and not elsewhere and not {*errors} - {HASTY}


@pytest.fixture(scope="session")
def measure(chromium: Any) -> Iterator[Callable[..., None]]:
    """measure(name, values, limit, unit) is kept in build/browser/measures.json."""
    measures: dict[str, Any] = {}

    def keep(name: str, values: list[float], limit: float, unit: str = "s") -> None:
        median = statistics.median(values)
        measures[name] = {"median": median, "limit": limit, "unit": unit, "values": values}

    yield keep
    LEFT.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    record = {**machine, "chromium": chromium.version, "measures": measures}
    (LEFT / "measures.json").write_text(json.dumps(record, indent=1) + "\n")
