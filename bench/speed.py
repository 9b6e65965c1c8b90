"""Training speed in windows a second at the peers' sizes: hidden 128, context 60, horizon 5, 4 + 2
inputs.

    python bench/speed.py [--seconds 20] [--threads 2] [--peers PYTHON] [--out
    data/results/speed.json]

One line a network: the median over stretches of training steps (forward, backward, clipping,
update). A window is a forecast origin whose outcome is known. PYTHON is an interpreter with the
peers (the extra `peers`) installed; bench/peers.py then runs in the same run, and each network's
ratio to the fastest peer is printed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import tables
import torch

import tftnhits as tn
from tftnhits.config import NHITSConfig, TFTConfig, TrainConfig
from tftnhits.data.windows import gather, training_starts
from tftnhits.files import write_json
from tftnhits.models.store import build
from tftnhits.training.run import Run

OBSERVED = ("return", "range", "volatility_0.15", "volume")
KNOWN = ("weekday_sin", "year_sin")
NETWORKS = {
    "TFT, paper's": TFTConfig.classic(hidden=128, heads=4),
    "TFT, enhanced": TFTConfig(hidden=128, heads=4),
    # as many weights as the peers' 512 wide, and like theirs a backcast of a value a bar
    "N-HITS, paper's": NHITSConfig.classic(hidden=640, backcast="bars"),
    "N-HITS, enhanced": NHITSConfig(hidden=512),
}


def measure(config, panel, train: TrainConfig, seconds: float, stretch: int = 5) -> dict:
    """Windows a second of full training steps, over about `seconds`."""
    torch.manual_seed(0)
    model = build(config, panel.inputs)
    model.train()
    run, levels, rates = Run(model, train, 10_000), torch.tensor(config.quantiles), []
    starts = training_starts(panel, config.context, train.origins, 0)
    begin, step, epoch = time.perf_counter(), 0, 0
    while time.perf_counter() - begin < seconds:
        windows, mark = 0, time.perf_counter()
        for _ in range(stretch):
            if (step + 1) * train.batch > len(starts):
                step, epoch = 0, epoch + 1
                starts = training_starts(panel, config.context, train.origins, epoch)
            batch = gather(
                panel,
                starts[step * train.batch : (step + 1) * train.batch],
                config.context,
                train.origins,
            )
            run.step(batch, levels, step)
            windows += int(torch.isfinite(batch.target[..., 0]).sum())
            step += 1
        rates.append(windows / (time.perf_counter() - mark))
    rates = rates[1:]  # the first stretch warms up
    weights = sum(p.numel() for p in model.parameters())
    return {
        "windows_per_second": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "parameters": weights,
    }


def peers(python: str, seconds: float, threads: int) -> list[dict]:
    """What bench/peers.py measures under another interpreter; raises CalledProcessError if it
    fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peers.json"
        bars = Path(folder) / "bars.parquet"
        tn.load_bars("stocks").to_parquet(bars)
        here = [str(Path(__file__).with_name("peers.py")), "--data", str(bars), "--out", str(out)]
        subprocess.run(
            [python, *here, "--seconds", str(seconds), "--threads", str(threads)], check=True
        )
        return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="chunks")
    parser.add_argument("--origins", type=int, default=64)
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the peers installed"
    )
    parser.add_argument("--out", default="data/results/speed.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    panel = tn.make_panel(
        tn.load_bars("stocks"), tn.PanelConfig(observed=OBSERVED, known=KNOWN)
    ).with_tensors()
    train = TrainConfig(batch=options.batch, origins=options.origins)
    rows = []
    for name, config in NETWORKS.items():
        rows.append({"network": name, **measure(config, panel, train, options.seconds)})
        print(
            f"{name:20s}{rows[-1]['windows_per_second']:10,.0f} windows/s   "
            f"{rows[-1]['parameters']:,} weights"
        )
    beside = peers(options.peers, options.seconds, options.threads) if options.peers else []
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    record = {
        "threads": options.threads,
        "batch": options.batch,
        "origins": options.origins,
        "versions": versions,
    }
    write_json(options.out, record := {**record, "rows": rows, "peers": beside})
    print(tables.speed(record), options.out, sep="\n")


if __name__ == "__main__":
    main()
