"""What a batch's pages cost: a report by function, notebook 12 by papermill, one and two at once.

    python bench/pages.py [--symbols 8] [--listed 500] [--bars 2500] [--out data/results/pages.json]

Bars of a made-up market (bench/market.py), in a file of the symbols that get a page alone, and in
one of `listed` symbols. Overhead is what a page of the notebook takes beyond the same report by
function in a process that has read bars and model: kernel, imports, reading and the copy. Each
process has one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from market import block_bars

import tftnhits as tn
from tftnhits.files import write_json

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "12_symbol_report.ipynb"


def by_function(source: Path, symbols: list[str]) -> list[float]:
    """Seconds of each symbol's report, by one model that is warm."""
    model, bars = tn.Predictor.load(), tn.load_bars(source)
    tn.report(symbols[0], bars, model=model)
    seconds = []
    for symbol in symbols:
        begin = time.perf_counter()
        tn.report(symbol, bars, model=model)
        seconds.append(time.perf_counter() - begin)
    return seconds


def by_notebook(source: Path, symbols: list[str], jobs: int) -> tuple[float, list[float]]:
    """Seconds of all pages together, and of each; exits if one failed."""
    out = source.with_suffix(f".{jobs}")
    tn.run_batch(symbols, source, out, NOTEBOOK, progress=False)  # the numbers, and pages
    shutil.rmtree(out / "state")  # the pages are made again, and they alone
    begin = time.perf_counter()
    given = {"workers": tn.WorkerConfig(jobs=jobs), "resume": True, "progress": False}
    pages = tn.run_batch(symbols, source, out, NOTEBOOK, **given)
    seconds = time.perf_counter() - begin
    if pages.count("completed") < len(symbols):
        raise SystemExit(next(task.error for task in pages.tasks if task.error))
    return seconds, [task.seconds for task in pages.tasks]


def measured(source: Path, symbols: list[str]) -> dict[str, object]:
    """What reports and pages of the symbols cost, whose bars are in the file `source`."""
    report = median(by_function(source, symbols))
    alone, beside = (by_notebook(source, symbols, jobs) for jobs in (1, 2))
    page = median(alone[1])
    return {
        "report": report,
        "page": page,
        "page beside another": median(beside[1]),
        "overhead": page - report,
        "seconds by jobs": {"1": alone[0], "2": beside[0]},
        "times as fast": alone[0] / beside[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=8)
    parser.add_argument("--listed", type=int, default=500)
    parser.add_argument("--bars", type=int, default=2500)
    parser.add_argument("--out", default="data/results/pages.json")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernels
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TFTNHITS_JOURNAL"] = str(folder / "journal")
        rows = []
        for listed in (options.symbols, options.listed):
            source = folder / f"{listed}.parquet"
            market = block_bars(0, listed, options.bars, 0)
            market.to_parquet(source, index=False)
            symbols = market["symbol"].unique()[: options.symbols].tolist()
            rows.append({"listed": listed, **measured(source, symbols)})
            print(rows[-1], flush=True)
    record = {
        "symbols": options.symbols,
        "bars": options.bars,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rows": rows,
    }
    write_json(options.out, record)
    print(options.out)


if __name__ == "__main__":
    main()
