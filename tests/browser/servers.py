"""Servers on 127.0.0.1 that end with the test, their kernels, and the browser that is here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def chromium_path() -> str | None:
    """A Chromium or a Chrome that is installed here."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A server, where it listens and what it said."""

    url: str
    process: psutil.Process
    said: list[str]
    started: float  # seconds from the command to the URL

    def kernel(self) -> psutil.Process:
        """Its only kernel."""
        (kernel,) = kernels(self.process)
        return kernel


def kernels(process: psutil.Process) -> list[psutil.Process]:
    """The kernels that a process started."""
    return [
        p for p in process.children(recursive=True) if "ipykernel_launcher" in " ".join(p.cmdline())
    ]


@contextmanager
def serving(
    command: list[str], pattern: str, folder: Path, cwd: Path = ROOT, wait: float = 60
) -> Iterator[Server]:
    """Run a server until the end of the block; its URL is what `pattern` finds in its output."""
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    env = {**os.environ, **{f"JUPYTER_{name}": str(folder / name.lower()) for name in names}}
    env |= {
        f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")
    }
    env |= {"IPYTHONDIR": str(folder / "ipython"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    reader = threading.Thread(
        target=lambda: said.extend(iter(process.stdout.readline, "")), daemon=True
    )
    reader.start()
    begin = time.monotonic()
    try:
        while not (found := re.search(pattern, "".join(said))):
            assert process.poll() is None and time.monotonic() < begin + wait, "".join(said)
            time.sleep(0.05)
        yield Server(found[0], psutil.Process(process.pid), said, time.monotonic() - begin)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@contextmanager
def serving_app(folder: Path) -> Iterator[Server]:
    """make app, as typed, on a port that was asked for."""
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True)
    port = free_port()
    with serving(
        ["make", "app", f"PORT={port}"], rf"http://127\.0\.0\.1:{port}/\?token=\w+", folder
    ) as server:
        yield server
