"""What a person waits for in a real browser, into data/results/browser.json: medians over some runs of make browser.

python bench/browser.py [--runs 3] [--out data/results/browser.json]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
from pathlib import Path

from tftnhits.files import read_json, write_json

MEASURES = Path("build/browser/measures.json")  # what the tests in tests/browser leave


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", default="data/results/browser.json")
    options = parser.parse_args()
    found: dict[str, dict] = {}
    for _ in range(options.runs):
        MEASURES.unlink(missing_ok=True)
        subprocess.run(["make", "browser"], check=True)
        record = read_json(MEASURES)
        for name, measure in record["measures"].items():
            found.setdefault(name, {**measure, "values": []})["values"] += measure["values"]
    rows = [
        {"measure": name, "median": statistics.median(row["values"]), "limit": row["limit"], "unit": row["unit"]}
        for name, row in found.items()
    ]
    machine = {"cores": record["cores"], "python": record["python"], "chromium": record["chromium"]}
    write_json(options.out, {**machine, "runs": options.runs, "rows": rows})
    for row in rows:
        print(f"{row['measure']:45s} {row['median']:6.2f} {row['unit']} of {row['limit']}")
    print(options.out)


if __name__ == "__main__":
    main()
