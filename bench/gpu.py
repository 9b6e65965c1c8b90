"""What a GPU does: its ceilings, the TFT in NVIDIA's configuration, an epoch of a market of bars.

    python bench/gpu.py [--seconds 4] [--no-compile] [--corpus FOLDER…]
        [--out data/results/gpu.json]

Needs no network, and under six minutes without a corpus. First the rates of the card's matrix
products and of a copy in its memory. Then full training steps (forward, backward, clipping, update,
averaging) of the paper's TFT at the sizes of NVIDIA's DeepLearningExamples for "electricity"
(hidden 128, 4 heads, 168 + 24 steps, 3 quantiles), on made-up series: origins a second by
precision, by shape of batch, by CUDA graph and by torch.compile, with the peak of memory. Last, one
epoch of all origins of a made-up market of the Dow Jones' size, both networks, and of a corpus
(bench/corpus.py) if one is given: the shipped sizes and wide ones, by graph and without.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from corpus import markets_in, read_corpus
from market import block_bars
from pretrain import NETWORKS, TRAINING

import tftnhits as tn
from tftnhits.config import PanelConfig, TFTConfig, TrainConfig, preset, with_horizon
from tftnhits.data.features import STATIC
from tftnhits.data.windows import Panel, gather, training_starts
from tftnhits.files import write_json
from tftnhits.models.losses import pinball
from tftnhits.models.store import build
from tftnhits.training import graphs
from tftnhits.training.loop import fit
from tftnhits.training.run import Run

SIZE = 8192  # rows of the square matrices
ELECTRICITY = TFTConfig.classic(
    context=168, horizon=24, hidden=128, heads=4, dropout=0.1, quantiles=(0.1, 0.5, 0.9)
)
SERIES, BARS = 369, 8_000  # of electricity's customers, a year of hours
KNOWN = ("weekday_sin", "weekday_cos", "hour_sin", "hour_cos")
SHAPES = ((8, 256), (16, 512), (32, 512))  # chunks × origins a step
PRECISIONS = ("float32", "TF32", "bfloat16")
ANCHOR = 17_608  # origins a second, mixed precision, one A100: DeepLearningExamples' README


def seconds_of(work, repeats: int = 20) -> float:
    """Median seconds of `work` on the GPU."""
    times = []
    for _ in range(repeats + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times[3:])


def ceilings() -> dict[str, float]:
    """Teraflops of matrix products by precision, and terabytes a second of a copy."""
    rates = {}
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(SIZE, SIZE, device="cuda").to(dtype) for _ in range(2))
        rates[f"{name} TFLOP/s"] = 2 * SIZE**3 / seconds_of(lambda a=a, b=b: a @ b) / 1e12
    source = torch.randn(2**29, device="cuda")
    to = torch.empty_like(source)
    rates["copy TB/s"] = 2 * source.nbytes / seconds_of(lambda: to.copy_(source)) / 1e12
    return rates


def electricity(device: str = "cuda", series: int = SERIES, bars: int = BARS) -> Panel:
    """Made-up series of electricity's shape, on a device."""
    generator = np.random.default_rng(0)
    rows, steps = series * (bars + ELECTRICITY.horizon), ELECTRICITY.horizon
    target = generator.standard_normal((rows, steps)).astype(np.float32)
    split = np.zeros(rows, np.int8)
    split.reshape(series, -1)[:, bars - steps :] = 3
    panel = Panel(
        config=PanelConfig(horizon=steps, observed=("return",), known=KNOWN),
        symbols=tuple(f"S{i}" for i in range(series)),
        start=np.arange(series) * (bars + steps),
        length=np.full(series, bars),
        date=np.full(rows, "NaT", "datetime64[ns]"),
        close=np.ones(rows),
        observed=generator.standard_normal((rows, 1)).astype(np.float32),
        known=generator.standard_normal((rows, len(KNOWN))).astype(np.float32),
        static=generator.standard_normal((series, len(STATIC))).astype(np.float32),
        target=target,
        scale=np.ones((rows, steps), np.float32),
        split=split,
        fitted={},
    )
    return panel.with_tensors(device)


def loss_of(forward, autocast, model, batch, levels) -> torch.Tensor:
    """As Run.loss, in another precision or compiled."""
    with autocast():
        quantiles = forward(model, batch)
    return pinball(quantiles.float(), batch.target, levels)


def measure(panel: Panel, shape: tuple, precision: str, how: str, seconds: float) -> dict:
    """Origins a second of full training steps over about `seconds`, and the peak of memory.

    On the panel's device: the CPU, which has no such peak, tests this function.
    """
    device = panel.observed.device.type
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    train = TrainConfig(batch=shape[0], origins=shape[1])
    torch.manual_seed(0)
    model = build(ELECTRICITY, panel.inputs).to(device).train()
    run, levels = Run(model, train, 10_000), torch.tensor(ELECTRICITY.quantiles, device=device)

    def forward(model, batch):
        return model(batch).quantiles

    if how == "compiled":
        forward = torch.compile(forward)
    mixed = partial(torch.autocast, device, torch.bfloat16)
    autocast = mixed if precision == "bfloat16" else nullcontext
    run.loss = partial(loss_of, forward, autocast)
    graphs.SEEN = 10**9 if how == "eager" else 2
    starts = training_starts(panel, ELECTRICITY.context, train.origins, 0)
    starts = starts[: len(starts) // train.batch * train.batch].reshape(-1, train.batch)
    begin, count, losses = None, 0, []
    for step in range(100_000):
        batch = gather(panel, starts[step % len(starts)], ELECTRICITY.context, train.origins)
        losses.append(run.step(batch, levels, step))
        if step == 5:
            wait()
            begin, count = time.perf_counter(), 0
        elif begin is not None:
            count += 1
            if count % 10 == 0:
                wait()
                if time.perf_counter() - begin > seconds:
                    break
    spent = time.perf_counter() - begin
    return {
        "shape": shape,
        "precision": precision,
        "how": how,
        "origins a second": count * shape[0] * shape[1] / spent,
        "milliseconds a step": 1e3 * spent / count,
        "peak GB": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        "loss": float(torch.stack(losses[-20:]).mean()),
    }


def epochs(symbols: int = 31, bars: int = 3_000) -> list[dict]:
    """Seconds of an epoch of all training origins of a made-up market, by network and batch."""
    panel = tn.make_panel(tn.load_bars(block_bars(0, symbols, bars, seed=0)))
    rows = []
    for config in preset("quick")[:2]:
        for batch, origins in ((8, 64), (32, 64), (32, 256)):
            train = TrainConfig(batch=batch, origins=origins, epochs=4)
            found = fit(config, panel, train, progress=False)
            last = found.history[-1]
            rows.append(
                {
                    "network": type(found.model).__name__,
                    "shape": (batch, origins),
                    "seconds": [row["seconds"] for row in found.history],
                    "origins a second": last["rate"],
                    "valid": [row["valid"] for row in found.history],
                }
            )
    return rows


def corpus_rates(folders: list[Path], work: Path) -> list[dict]:
    """Origins a second of a short training on a corpus, of its second epoch."""
    panel, rows = read_corpus(markets_in(folders, 20), work / "panel", 512, 0.5, 1_000), []
    for kind, width in (("tft", 32), ("tft", 128), ("nhits", 128)):
        config = with_horizon(replace(NETWORKS[kind], hidden=width), panel.config.horizon)
        for how in ("graph", "eager"):
            graphs.SEEN = 10**9 if how == "eager" else 2
            found = fit(config, panel, replace(TRAINING, epochs=2), progress=False)
            row = {"network": kind, "hidden": width, "how": how, "batch": TRAINING.batch}
            rows.append(row | {"TF32": False, "origins a second": found.history[-1]["rate"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("data/results/gpu.json"))
    options = parser.parse_args()
    record: dict = {
        "card": torch.cuda.get_device_name(0),
        "anchor": ANCHOR,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ceilings": ceilings(),
    }
    print(record, flush=True)
    record["electricity"] = rows = []
    panel = electricity()
    tasks = [(SHAPES[0], p, how) for p in PRECISIONS for how in ("eager", "graph")]
    tasks += [(shape, "bfloat16", "graph") for shape in SHAPES[1:]]
    compiled = [] if options.no_compile else [(shape, "bfloat16", "compiled") for shape in SHAPES]
    for task in tasks:
        rows.append(measure(panel, *task, options.seconds))
        print(rows[-1], flush=True)
    record["epochs"] = epochs()
    print(*record["epochs"], sep="\n", flush=True)
    record["corpus"] = corpus_rates(options.corpus, options.work) if options.corpus else []
    for task in compiled:  # last: the compiler takes a minute
        rows.append(measure(panel, *task, options.seconds))
        print(rows[-1], flush=True)
    write_json(options.out, record)


if __name__ == "__main__":
    main()
