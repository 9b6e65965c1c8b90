"""Wall time and peak memory of `make run` and `make test`, after set-up, into
data/results/commands.json.

    python bench/commands.py [--out data/results/commands.json]

Memory is the largest sum of the resident sizes of all processes that the command started, seen
twice a second.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import subprocess
import time

import psutil

from tftnhits.files import write_json

TARGETS = ("run", "test")


def measure(target: str) -> dict:
    """Run `make target`; raises CalledProcessError if it fails."""
    begin, peak = time.perf_counter(), 0
    process = subprocess.Popen(["make", target])
    root = psutil.Process(process.pid)
    while process.poll() is None:
        sizes = []
        for one in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(one.memory_info().rss)
        peak = max(peak, sum(sizes))
        time.sleep(0.5)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, f"make {target}")
    return {
        "command": f"make {target}",
        "seconds": time.perf_counter() - begin,
        "peak_gib": peak / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="data/results/commands.json")
    options = parser.parse_args()
    subprocess.run(["make", "setup"], check=True)
    rows = [measure(target) for target in TARGETS]
    write_json(
        options.out, {"cores": os.cpu_count(), "python": platform.python_version(), "rows": rows}
    )
    for row in rows:
        print(f"{row['command']:10s} {row['seconds']:6.0f} s {row['peak_gib']:5.1f} GiB")
    print(options.out)


if __name__ == "__main__":
    main()
