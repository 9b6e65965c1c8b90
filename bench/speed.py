"""Training speed in windows a second at the peers' sizes: hidden 128, context 60, horizon 5, 4 + 2
inputs.

    python bench/speed.py [--seconds 20] [--threads 2] [--peers PYTHON] [--out
    data/results/speed.json]

One line a network, a batch's shape and a precision: the median over stretches of training steps
(forward, backward, clipping, update). Networks so wide train by products in bfloat16 where the
processor has them; peers train in float32, as they do unless told otherwise, so both are measured.
A window is a forecast origin whose outcome is known. Operations are those of torch's counter,
forward and backward; their share is of what a product of two large matrices of that precision
reaches here. PYTHON is an interpreter with the
peers (the extra `peers`) installed; bench/peers.py then runs in the same run, and each network's
ratio to the fastest peer is printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from itertools import product as product_of
from pathlib import Path

import beside
import numpy as np
import tables
import torch
from torch.utils.flop_counter import FlopCounterMode

import tftnhits as tn
from tftnhits.config import NHITSConfig, TFTConfig, TrainConfig
from tftnhits.data.windows import Batch, gather, training_starts
from tftnhits.files import write_json
from tftnhits.models.store import build
from tftnhits.training.run import Run, has_bfloat16

OBSERVED = ("return", "range", "volatility_0.15", "volume")
KNOWN = ("weekday_sin", "year_sin")
SHAPES = ((16, 64), (8, 256))  # chunks in a batch, origins of each
SIZE = 2048  # of the matrices whose product is the machine's measure
NETWORKS = {
    "TFT, paper's": TFTConfig.classic(hidden=128, heads=4),
    "TFT, enhanced": TFTConfig(hidden=128, heads=4),
    # as many weights as the peers' 512 wide, and like theirs a backcast of a value a bar
    "N-HITS, paper's": NHITSConfig.classic(hidden=640, backcast="bars"),
    "N-HITS, enhanced": NHITSConfig(hidden=512),
}


def product_rate(dtype: torch.dtype, repeats: int = 15) -> float:
    """Floating point operations a second of a product of two large matrices, the median."""
    one, other = torch.randn(2, SIZE, SIZE).to(dtype)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - begin)
    return 2 * SIZE**3 / statistics.median(seconds)


def operations(run: Run, batch: Batch, levels: torch.Tensor) -> int:
    """Floating point operations of one step's forward and backward pass."""
    shards, mixed = run.shards, run.mixed
    run.shards, run.mixed = None, False  # the counter sees its own thread alone
    # without oneDNN an LSTM is made of the products that are counted
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        run.gradients(batch, levels)
    run.shards, run.mixed = shards, mixed
    return counter.get_total_flops()


def measure(
    config, panel, train: TrainConfig, mixed: bool, seconds: float, stretch: int = 3
) -> dict:
    """Windows a second of full training steps, over about `seconds`."""
    torch.manual_seed(0)
    model = build(config, panel.inputs)
    model.train()
    run, levels, rates = Run(model, train, 10_000), torch.tensor(config.quantiles), []
    run.mixed = mixed
    starts = training_starts(panel, config.context, train.origins, 0)
    starts = starts[: len(starts) // train.batch * train.batch].reshape(-1, train.batch)
    begin, step = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds or len(rates) < 3:
        windows, mark = 0, time.perf_counter()
        for _ in range(stretch):
            batch = gather(panel, starts[step % len(starts)], config.context, train.origins)
            run.step(batch, levels, step)
            windows += int(torch.isfinite(batch.target[..., 0]).sum())
            step += 1
        rates.append(windows / (time.perf_counter() - mark))
    rates = rates[1:]  # the first stretch warms up
    known = int(torch.isfinite(batch.target[..., 0]).sum())
    return {
        "batch": train.batch,
        "origins": train.origins,
        "windows_per_second": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops": operations(run, batch, levels) / known,
    }


def peers(python: str, seconds: float, threads: int) -> list[dict]:
    """What bench/peers.py measures under another interpreter; raises CalledProcessError if it
    fails."""
    with tempfile.TemporaryDirectory() as folder:
        bars = Path(folder) / "bars.parquet"
        tn.load_bars("stocks").to_parquet(bars)
        given = ("--data", bars, "--seconds", seconds, "--threads", threads)
        return beside.elsewhere(python, "peers.py", *given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the peers installed"
    )
    parser.add_argument("--out", default="data/results/speed.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    panel = tn.make_panel(
        tn.load_bars("stocks"), tn.PanelConfig(observed=OBSERVED, known=KNOWN)
    ).with_tensors()
    kinds = {"float32": torch.float32}
    if has_bfloat16(torch.device("cpu")):
        kinds["bfloat16"] = torch.bfloat16
    products = {precision: product_rate(dtype) for precision, dtype in kinds.items()}
    rows = []
    for (name, config), shape, precision in product_of(NETWORKS.items(), SHAPES, kinds):
        train = TrainConfig(batch=shape[0], origins=shape[1])
        found = measure(config, panel, train, precision == "bfloat16", options.seconds)
        rate = found["windows_per_second"]
        found["share"] = rate * found["flops"] / products[precision]
        rows.append({"network": name, "precision": precision, **found})
        told = f"{rate:10,.0f} windows/s, {found['share']:.0%}"
        print(f"{name:20s}{shape} {precision} {told}", flush=True)
    beside = peers(options.peers, options.seconds, options.threads) if options.peers else []
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    record = {
        "threads": options.threads,
        "products": products,
        "versions": versions,
    }
    write_json(options.out, record := {**record, "rows": rows, "peers": beside})
    print(tables.speed(record), options.out, sep="\n")


if __name__ == "__main__":
    main()
