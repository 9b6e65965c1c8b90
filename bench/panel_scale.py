"""What a panel of many symbols costs: seconds and memory by their number, origins a second.

    python bench/panel_scale.py [--symbols 50,500,5000] [--bars 2500] [--threads 2]
    [--out data/results/panel_scale.json]

Bars of a made-up market (bench/market.py) as Parquet files, a file a range of symbols. Each size is
measured in a fresh process, in memory and by blocks, from bars to the calibrated forecast at the
last bar; the exponent is that of the seconds by the number of symbols, fitted. Origins a second are
those of every day of the last two years.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from market import block_bars, write_market
from peers import peak

import tftnhits as tn
from tftnhits.files import write_json

WAYS = ("in memory", "by blocks")
ORIGINS_OF = 100  # symbols whose last two years are forecast from every day
YEARS = 504  # bars of two years


def warm_model() -> tn.Predictor:
    """The shipped model after its first forecast, which reads the calendar."""
    model = tn.Predictor.load()
    model.predict(block_bars(0, 4, 300, 1))
    return model


def by_blocks(model: tn.Predictor, folder: Path) -> int:
    """Symbols that were forecast block by block."""
    return sum(forecast.frame["symbol"].nunique() for forecast in tn.predict_folder(model, folder))


def in_memory(model: tn.Predictor, folder: Path) -> int:
    """Symbols that were forecast in one call, reading included."""
    return model.predict(pd.read_parquet(folder)).frame["symbol"].nunique()


def one_size(way: str, folder: Path) -> dict:
    """Seconds and memory of one way to forecast all symbols of a folder, in this process."""
    calls: dict[str, Callable[[tn.Predictor, Path], int]] = dict(zip(WAYS, (in_memory, by_blocks)))
    model, before = warm_model(), peak()
    begin, used = time.perf_counter(), time.process_time()
    symbols = calls[way](model, folder)
    row = {"way": way, "symbols": symbols, "seconds": time.perf_counter() - begin}
    return row | {"cpu": time.process_time() - used, "before_mb": before, "peak_mb": peak()}


def every_origin(bars: int) -> dict:
    """Origins a second with every bar an origin; the years before them are no origins' cost."""
    model = warm_model()
    market = block_bars(0, ORIGINS_OF, bars, 0)
    last = market.groupby("symbol").tail(YEARS + model.context - 1).reset_index(drop=True)
    begin = time.perf_counter()
    frame = model.predict(last, origins="all").frame
    seconds = time.perf_counter() - begin
    origins = len(frame) // frame["step"].max()
    return {"origins": int(origins), "seconds": seconds, "a_second": origins / seconds}


def fresh(*arguments: object) -> dict:
    """What this file measures in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def exponent(rows: list[dict]) -> float:
    """Slope of the logs of the seconds by those of the symbols."""
    size, seconds = (np.log([row[name] for row in rows]) for name in ("symbols", "seconds"))
    return float(np.polyfit(size, seconds, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", default="50,500,5000")
    parser.add_argument("--bars", type=int, default=2500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="data/results/panel_scale.json")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help="used by itself")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        way, folder = options.measure
        found = one_size(way, Path(folder)) if way in WAYS else every_origin(options.bars)
        print(json.dumps(found))
        return
    shared = ("--bars", options.bars, "--threads", options.threads, "--measure")
    rows = []
    for size in map(int, options.symbols.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_market(Path(folder), size, options.bars)
            for way in WAYS:
                rows.append(fresh(*shared, way, folder))
                print(
                    {k: v if k == "way" else round(v, 1) for k, v in rows[-1].items()}, flush=True
                )
    record = {
        "bars": options.bars,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": rows,
        "exponent": {way: exponent([r for r in rows if r["way"] == way]) for way in WAYS},
        "every origin": fresh(*shared, "every", "."),
    }
    write_json(options.out, record)
    print(record["exponent"], record["every origin"], options.out)


if __name__ == "__main__":
    main()
