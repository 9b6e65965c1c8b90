"""What a batch's pages cost: a report by function, notebook 12 by papermill, one and two at once.

    python bench/pages.py [--symbols 8] [--bars 2500] [--out data/results/pages.json]

Bars of a made-up market (bench/market.py). Overhead is what a page of the notebook takes beyond
the same report by function in a process that has read bars and model: kernel, imports, reading and
the copy. Each process has one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from market import block_bars

import tftnhits as tn
from tftnhits.files import write_json

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "12_symbol_report.ipynb"


def by_function(source: Path) -> list[float]:
    """Seconds of each symbol's report, with the market of all, by one model that is warm."""
    model, bars = tn.Predictor.load(), tn.load_bars(source)
    symbols = bars["symbol"].unique()
    tn.report(symbols[0], bars, model=model)
    seconds = []
    for symbol in symbols:
        begin = time.perf_counter()
        tn.report(symbol, bars, model=model)
        seconds.append(time.perf_counter() - begin)
    return seconds


def by_notebook(source: Path, folder: Path, jobs: int) -> tuple[float, list[float]]:
    """Seconds of all pages together, and of each; exits if one failed."""
    numbers = tn.run_batch(None, source, folder / "numbers", progress=False)
    begin = time.perf_counter()
    workers = tn.WorkerConfig(jobs=jobs)
    pages = tn.run_batch(None, source, folder / "pages", NOTEBOOK, workers=workers, progress=False)
    seconds = time.perf_counter() - begin
    if pages.count("completed") < len(numbers.tasks):
        raise SystemExit(next(task.error for task in pages.tasks if task.error))
    return seconds, [task.seconds for task in pages.tasks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=8)
    parser.add_argument("--bars", type=int, default=2500)
    parser.add_argument("--out", default="data/results/pages.json")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernels
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TFTNHITS_JOURNAL"] = str(folder / "journal")
        source = folder / "bars.parquet"
        block_bars(0, options.symbols, options.bars, 0).to_parquet(source, index=False)
        reports = by_function(source)
        alone = by_notebook(source, folder / "one", 1)
        beside = by_notebook(source, folder / "two", 2)
    record = {
        "symbols": options.symbols,
        "bars": options.bars,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "report": median(reports),
        "page": median(alone[1]),
        "page beside another": median(beside[1]),
        "overhead": median(alone[1]) - median(reports),
        "seconds by jobs": {"1": alone[0], "2": beside[0]},
        "times as fast": alone[0] / beside[0],
    }
    write_json(options.out, record)
    print(record)


if __name__ == "__main__":
    main()
