"""What a person waits for: medians over some runs of make browser, and over the panel's sliders in
the kernel alone.

python bench/browser.py [--runs 3] [--out data/results/browser.json]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

import tftnhits as tn
from tftnhits.files import read_json, write_json
from tftnhits.whatif.panel import PICTURES

MOVES = 20  # of each slider
LIMIT = 0.15  # seconds in the kernel
MEASURES = Path("build/browser/measures.json")  # what the tests in tests/browser leave


def kernel(backend: str) -> dict:
    """Seconds from a slider's value to a picture handed to Jupyter: the slowest slider's median,
    without a browser."""
    panel, slowest = tn.what_if(symbol="AAPL", origin="2015-08-21", backend=backend), []
    for control in panel.controls.values():
        if "Slider" not in type(control).__name__ or control.disabled:
            continue
        took, places = [], round((control.max - control.min) / control.step)
        for i in range(1, MOVES + 1):
            begin = time.perf_counter()
            control.value = control.min + control.step * (i % (places + 1))
            took.append(time.perf_counter() - begin)
        slowest = max(slowest, took, key=lambda values: statistics.median(values or [0]))
        panel.reset()
    assert panel.comparison is not None and "error" not in panel.status.value
    return {"values": slowest, "limit": LIMIT, "unit": "s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", default="data/results/browser.json")
    options = parser.parse_args()
    found: dict[str, dict] = {}
    for backend in PICTURES:
        found[f"kernel alone: slider to picture, {backend}, slowest slider"] = kernel(backend)
    for _ in range(options.runs):
        MEASURES.unlink(missing_ok=True)
        subprocess.run(["make", "browser"], check=True)
        record = read_json(MEASURES)
        for name, measure in record["measures"].items():
            found.setdefault(name, {**measure, "values": []})["values"] += measure["values"]
    rows = [
        {
            "measure": name,
            "median": statistics.median(row["values"]),
            "limit": row["limit"],
            "unit": row["unit"],
        }
        for name, row in found.items()
    ]
    machine = {"cores": record["cores"], "python": record["python"], "chromium": record["chromium"]}
    write_json(options.out, {**machine, "runs": options.runs, "rows": rows})
    for row in rows:
        print(f"{row['measure']:58s} {row['median']:6.2f} {row['unit']} of {row['limit']}")
    print(options.out)


if __name__ == "__main__":
    main()
