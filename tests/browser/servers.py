"""Servers on 127.0.0.1 that end with the test, and the browser that is here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
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
    """A server, where it listens, and the seconds from the command to the URL."""

    url: str
    process: psutil.Process
    log: Path
    started: float

    def kernels(self) -> list[psutil.Process]:
        """The kernels that it started."""
        found = []
        for child in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it may end meanwhile
                if "ipykernel_launcher" in " ".join(child.cmdline()):
                    found.append(child)
        return found


@contextmanager
def serving(command: list[str], pattern: str, folder: Path, wait: float = 60) -> Iterator[Server]:
    """Run a server until the end of the block; its URL is what `pattern` finds in its output."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    env = {**os.environ, **{name: str(folder / name.lower()) for name in names}}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    handle, log = tempfile.mkstemp(dir=folder)
    options = {"cwd": ROOT, "env": env, "stdout": handle, "stderr": handle}
    process = subprocess.Popen(command, start_new_session=True, **options)
    begin = time.monotonic()
    try:
        while not (url := re.search(pattern, Path(log).read_text())):
            late = process.poll() is not None or time.monotonic() > begin + wait
            assert not late, Path(log).read_text()
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        yield Server(url[0], psutil.Process(process.pid), Path(log), seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
        os.close(handle)


@contextmanager
def serving_app(folder: Path, arguments: str = "") -> Iterator[Server]:
    """make app, as typed, on a port that was asked for."""
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True)
    port = free_port()
    url = rf"http://127\.0\.0\.1:{port}/\?token=\w+"
    command = ["make", "app", f"PORT={port}", f"APP_ARGS={arguments}"]
    with serving(command, url, folder) as server:
        yield server
