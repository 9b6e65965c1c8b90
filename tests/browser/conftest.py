"""A real JupyterLab, the page of make app, and a real Chromium that may reach nothing but 127.0.0.1.

Pictures and measures are left in build/browser/.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers import FLAGS, ROOT, Server, chromium_path, free_port, serving

LEFT = ROOT / "build" / "browser"
SLACK = 3  # what a time may exceed its limit by here: machines that test are slow and shared; bench/browser.py has none


@dataclass
class Visit:
    """A page and what it asked for."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # JavaScript's uncaught ones

    def foreign(self) -> list[str]:
        """Requests to other hosts."""
        hosts = {
            url: urlsplit(url).hostname
            for url in self.requests
            if not url.startswith(("data:", "blob:"))
        }
        return [url for url, host in hosts.items() if host != "127.0.0.1"]

    def picture(self, name: str) -> Path:
        """A screenshot, kept as build/browser/<name>.png."""
        LEFT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=LEFT / f"{name}.png")
        return LEFT / f"{name}.png"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skips where there is none."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make browser-setup"
    )
    path = chromium_path()
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """An empty tab; its last state is kept as a picture, and it must not have asked other hosts for anything."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1100})
    visit = Visit(context.new_page())
    context.on("request", lambda asked: visit.requests.append(asked.url))
    visit.page.on("websocket", lambda socket: visit.requests.append(socket.url))
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    yield visit
    visit.picture(request.node.name.removeprefix("test_"))
    context.close()
    assert visit.requests and not visit.foreign()
    assert not visit.errors


@pytest.fixture(scope="session")
def measure(chromium: Any) -> Iterator[Callable[..., None]]:
    """measure(name, values, limit, unit): kept in build/browser/measures.json, and within the limit but for SLACK."""
    found: dict[str, Any] = {}

    def keep(name: str, values: list[float], limit: float, unit: str = "s") -> None:
        found[name] = {
            "median": statistics.median(values),
            "limit": limit,
            "unit": unit,
            "values": values,
        }
        assert found[name]["median"] < limit * SLACK, f"{name}: {found[name]}"

    yield keep
    if found:
        LEFT.mkdir(parents=True, exist_ok=True)
        machine = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "chromium": chromium.version,
        }
        (LEFT / "measures.json").write_text(
            json.dumps(machine | {"measures": found}, indent=1) + "\n"
        )


@pytest.fixture
def lab(chromium: Any, tmp_path: Path) -> Iterator[Server]:
    """JupyterLab without kernels, on a copy of the notebooks: it saves what it shows."""
    folder = tmp_path
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("runs", ".*")
    )
    quiet = (
        folder
        / "settings"
        / "@jupyterlab"
        / "apputils-extension"
        / "notification.jupyterlab-settings"
    )
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={free_port()}",
    ]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    command += ["--ServerApp.allow_root=True", "--ServerApp.open_browser=False"]
    with serving(command, r"http://127\.0\.0\.1:\S+token=\w+", folder) as server:
        yield server
