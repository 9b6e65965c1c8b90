"""How long a forecast takes: warm for one symbol and for many, and cold from the command line, with
and without torch.

    python bench/latency.py [--threads 2] [--repeats 100] [--out data/results/latency.json]

The shipped model, bars of the bundled set in pieces of 260. Medians; cold starts are whole
commands, a process each, without torch by an import hook that refuses it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

import tftnhits as tn
from tftnhits.files import write_json

BARS, SYMBOLS = 260, 500
REFUSE = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Refuse())
"""


def timed(call: Callable[[], object], repeats: int) -> dict:
    """Seconds of a call: median and fastest, after two calls that don't count."""
    call(), call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return {"median": statistics.median(seconds), "fastest": min(seconds), "repeats": repeats}


def command(file: Path, folder: Path | None) -> str:
    """Runs `tftnhits predict`, with `folder` first on the path; returns who answered. Raises
    CalledProcessError."""
    path = {"PYTHONPATH": str(folder)} if folder else {}
    done = subprocess.run(
        [sys.executable, "-m", "tftnhits", "predict", str(file), "--json"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **path},
    )
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", default="data/results/latency.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bars = tn.load_bars("stocks")
    parts = [part.tail(BARS) for _, part in bars.groupby("symbol")]
    one = parts[0].reset_index(drop=True)
    rows = one[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    copies = [parts[i % len(parts)].assign(symbol=f"S{i:03d}") for i in range(SYMBOLS)]
    many = pd.concat(copies, ignore_index=True)
    model = tn.Predictor.load()
    found = {
        f"one symbol, {BARS} bars, a frame": timed(lambda: model.predict(one), options.repeats),
        f"one symbol, {BARS} bars, a list of rows": timed(
            lambda: model.predict(rows), options.repeats
        ),
        f"{SYMBOLS} symbols of {BARS} bars in one call": timed(lambda: model.predict(many), 5),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.csv"
        one.to_csv(file, index=False)
        hook = Path(folder) / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(REFUSE)
        assert "ensemble" in command(file, None) and "gradient boosting" in command(file, hook)
        found["tftnhits predict FILE, cold"] = timed(lambda: command(file, None), 5)
        found["tftnhits predict FILE, cold, without PyTorch"] = timed(
            lambda: command(file, hook), 5
        )
    record = {
        "threads": options.threads,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": [{"what": what, **row} for what, row in found.items()],
    }
    write_json(options.out, record)
    for what, row in found.items():
        print(f"{what:45s} {1e3 * row['median']:8.1f} ms  (fastest {1e3 * row['fastest']:.1f})")
    print(options.out)


if __name__ == "__main__":
    main()
