"""Rolling forecasts, peak memory and import time beside the peers.

    python bench/rolling.py [DATA] [--peers PYTHON] [--only ROW,ROW] [--days 500] [--threads 2]
        [--out data/results/rolling.json]

DATA is the folder of the DJIA's bars (protocol.py says which) or a file of others; without it the
bundled stocks are taken. A rolling forecast is one of five steps from each of the last --days days
of every symbol, by a network that is not trained again: ours from bars to quantiles, the peers'
from inputs that are ready, by their own means (bench/rolling_peer.py). The networks have the sizes
of bench/speed.py; the ensemble is the shipped one, and makes the whole frame with prices, dates and
calibrated intervals. The faster of two calls counts. Each row is measured in processes of
its own, one that trains for some seconds and one that forecasts (the peers after a token training);
their peak memory is of the whole process, imports included. The result is written after each row;
--only repeats some of a finished result's and keeps the others.
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
from pathlib import Path

import beside
import numpy as np
import pandas as pd
import torch
from peers import PACKAGES, peak
from protocol import djia_bars
from rolling_peer import faster
from speed import KNOWN, NETWORKS, OBSERVED, SHAPES, measure

import tftnhits as tn
from tftnhits.config import TrainConfig
from tftnhits.data.extras import input_names
from tftnhits.files import read_json, write_json
from tftnhits.models.store import build
from tftnhits.training.loop import forecast_rows

HORIZON, TRAINING = 5, 3.0  # steps ahead; seconds of training whose memory is looked at
CONFIG = tn.PanelConfig(observed=OBSERVED, known=KNOWN)
SHIPPED, IMPORTS = "ours ensemble as shipped", "imports"
OURS = {f"ours {name.replace(',', '')}": config for name, config in NETWORKS.items()}
THEIRS = {
    f"{package} {network}": (peer, kind)
    for network, kind in (("TFT", "tft"), ("N-HITS", "nhits"))
    for peer, package in PACKAGES.items()
}
IMPORTED = {  # what is imported -> whether it takes the peers' interpreter
    "import tftnhits": False,
    "import torch, pandas": False,
    "import tftnhits; tftnhits.Predictor.load()": False,
    "import darts": True,
    "from darts.models import TFTModel": True,
    "import neuralforecast": True,
    "import pytorch_forecasting": True,
}


def read_bars(data: Path | None) -> pd.DataFrame:
    """The DJIA's bars, those of a file, or the bundled ones."""
    if data is not None and data.is_dir():
        return djia_bars(data)
    return tn.load_bars(data or "stocks")


def roll_network(config, bars: pd.DataFrame, days: int) -> dict:
    """Forecasts from the last days of each symbol by an untrained network, bars to quantiles."""
    model = build(config, input_names(CONFIG)).eval()

    def call() -> int:
        panel = tn.make_panel(bars, CONFIG)
        last = panel.start + panel.length
        rows = (last[:, None] + np.arange(-days, 0)).ravel()
        return len(forecast_rows(model, panel, rows))

    return faster(call)


def roll_shipped(bars: pd.DataFrame) -> dict:
    """Forecasts from every bar that the shipped ensemble can forecast from."""
    model = tn.Predictor.load()
    return faster(lambda: len(model.predict(bars, HORIZON, origins="all").frame) // HORIZON)


def measure_here(what: str, name: str, options: argparse.Namespace) -> dict:
    """What is measured of a row of ours, and the peak memory of this process."""
    bars, row = read_bars(options.data), {}
    context = tn.Predictor.load().context if name == SHIPPED else OURS[name].context
    tail = bars.groupby("symbol").tail(options.days + context - 1).reset_index(drop=True)
    if what == "train":
        panel = tn.make_panel(bars, CONFIG).with_tensors()
        batch, origins = SHAPES[0]
        measure(OURS[name], panel, TrainConfig(batch=batch, origins=origins), TRAINING)
    elif name == SHIPPED:
        row = roll_shipped(tail)
    else:
        row = roll_network(OURS[name], tail, options.days)
    return row | {f"{what}_mb": peak()}


def measure_apart(name: str, options: argparse.Namespace, bars: Path) -> dict:
    """A row, each of its parts in a process of its own; raises CalledProcessError if one fails."""
    days = ("--days", options.days, "--threads", options.threads)
    row: dict = {"name": name, "network": name.split()[1]}
    if name in THEIRS:
        peer, kind = THEIRS[name]
        for what in ("train", "roll"):
            given = (what, peer, kind, "--data", bars, "--seconds", TRAINING, *days)
            row |= beside.elsewhere(options.peers, "rolling_peer.py", *given)
        return row
    given = ([options.data] if options.data else []) + [*days, "--measure"]
    for what in ("train", "roll") if name in OURS else ("roll",):
        row |= beside.elsewhere(sys.executable, Path(__file__).name, *given, what, name)
    return row


def time_imports(peers: str | None) -> list[dict]:
    """Seconds of each import in a fresh process, the interpreter's own start included."""
    rows = []
    for what, theirs in IMPORTED.items():
        if theirs and peers is None:
            continue
        seconds = []
        for _ in range(6):
            begin = time.perf_counter()
            subprocess.run([peers if theirs else sys.executable, "-c", what], check=True)
            seconds.append(time.perf_counter() - begin)
        rows.append({"what": what, "median": statistics.median(seconds[1:])})  # files are read now
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="folder of the DJIA's bars, or a file")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the peers installed"
    )
    beside.add_only(parser)
    parser.add_argument("--days", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="data/results/rolling.json")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "ROW"), help="used by itself")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.measure:
        write_json(options.out, measure_here(*options.measure, options))
        return
    names = [SHIPPED, *OURS, *(THEIRS if options.peers else ()), IMPORTS]
    chosen, found = beside.plan(options.only, names, options.out)
    bars = read_bars(options.data)
    record = {
        "imports": read_json(options.out)["imports"] if found else [],
        "data": beside.data_name(options.data),
        "symbols": bars["symbol"].nunique(),
        "days": options.days,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.parquet"
        bars.to_parquet(file)
        for name in chosen:
            if name == IMPORTS:
                record["imports"] = time_imports(options.peers)
            else:
                found[name] = measure_apart(name, options, file)
                print(found[name], flush=True)
            record["rows"] = [found[known] for known in names if known in found]
            write_json(options.out, record)  # after each, so that what is measured stays
    print(beside.rolling(record), beside.imports(record), options.out, sep="\n\n")


if __name__ == "__main__":
    main()
