"""Training throughput of the peers, in windows a second: neuralforecast, pytorch-forecasting, darts
on CPU.

    python bench/peers.py --data bars.parquet --seconds 30 --threads 2 --out peers.json

Every peer trains as its users run it: its own data set, loader and trainer, and its own defaults
where the task does not say otherwise; only progress bars, loggers, checkpoints and validation are
off. The task is the same for all: 60 bars back and 5 ahead, 4 observed inputs (the return itself
and 3 more), 2 known ones, the pinball loss at 11 levels, batch 128, float32. A window counts once
its loss has entered an optimiser step. Each run has a process of its own, so that no peer inherits
another's threads, memory or imports.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONTEXT, HORIZON, HIDDEN, HEADS, LAYERS, WIDTH, STACKS = 60, 5, 128, 4, 1, 512, 3
# the paper embeds each input in `hidden` numbers, as neuralforecast does; the other two would take
# 8
TFT_SIZES = {"hidden_size": HIDDEN, "hidden_continuous_size": HIDDEN, "lstm_layers": LAYERS}
QUANTILES = [0.025, 0.035, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.965, 0.975]
TARGET, PAST, KNOWN = "ret", ["absret", "range", "volume"], ["weekday", "month"]
PACKAGES = {"nf": "neuralforecast", "pf": "pytorch-forecasting", "da": "darts"}
TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
ENDLESS = 1_000_000  # steps or epochs: the clock stops the run, never the trainer's own limit
WARMUP, CHUNKS = 10, 10  # steps before the clock starts; stretches whose rates give the median


@dataclass
class Clock:
    """The end of each training step and the windows in it; runs for `seconds` after the warm-up
    steps."""

    seconds: float
    parameters: int = 0
    ticks: list[tuple[float, int]] = field(default_factory=list)

    def tick(self, windows: int) -> bool:
        """Count one finished step; true once the time is up."""
        self.ticks.append((time.perf_counter(), windows))
        return (
            len(self.ticks) > WARMUP
            and self.ticks[-1][0] - self.ticks[WARMUP - 1][0] >= self.seconds
        )

    def rates(self) -> list[float]:
        """Windows a second in each of about CHUNKS stretches; none without a measured step."""
        if len(self.ticks) <= WARMUP:
            return []
        times, windows = np.array(self.ticks[WARMUP - 1 :]).T
        cuts = np.searchsorted(times, times[0] + np.linspace(0, self.seconds, CHUNKS + 1))
        cuts = np.unique(cuts.clip(max=len(times) - 1))  # a step may be longer than a stretch
        return (np.diff(windows.cumsum()[cuts]) / np.diff(times[cuts])).round(1).tolist()


def peak() -> float:
    """The most memory that this process has had, in MB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_timer(base: type, clock: Clock, count: Callable[[Any], int]) -> Any:
    """A trainer callback on `base`, the Callback of whichever lightning package the peer
    imports."""

    class Timer(base):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            clock.parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
        ) -> None:
            trainer.should_stop = clock.tick(count(batch))

    return Timer()


def read_panel(path: Path) -> pd.DataFrame:
    """Inputs of every bar, standardised over the whole panel: a speed test may look ahead."""
    bars = pd.read_parquet(path).dropna().sort_values(["symbol", "date"], ignore_index=True)
    date, by = pd.to_datetime(bars["date"]), bars["symbol"]
    panel = pd.DataFrame({"symbol": by.astype(str)})
    panel["ret"] = np.log(bars["close"]).groupby(by).diff()
    panel["absret"] = panel["ret"].abs()
    panel["range"] = np.log(bars["high"] / bars["low"])
    panel["volume"] = np.log(bars["volume"].clip(lower=1)).groupby(by).diff()
    panel["weekday"], panel["month"] = date.dt.weekday, date.dt.month
    panel = panel.replace([np.inf, -np.inf], np.nan).dropna().reset_index(drop=True)
    inputs = [TARGET, *PAST, *KNOWN]
    panel[inputs] = ((panel[inputs] - panel[inputs].mean()) / panel[inputs].std()).astype("float32")
    panel["step"] = panel.groupby("symbol").cumcount()
    return panel


def train_nf(kind: str, batch: int, panel: pd.DataFrame, clock: Clock) -> tuple[Any, pd.DataFrame]:
    """neuralforecast: each step draws `windows_batch_size` windows from a batch of all the
    series. Returns what was fitted, and its frame."""
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import NHITS, TFT
    from pytorch_lightning import Callback

    common = {
        "h": HORIZON,
        "input_size": CONTEXT,
        "hist_exog_list": PAST,
        "futr_exog_list": KNOWN,
        "loss": MQLoss(quantiles=QUANTILES),
        "windows_batch_size": batch,
        "max_steps": ENDLESS,
        "val_check_steps": ENDLESS,
        **TRAINER,
        "callbacks": [make_timer(Callback, clock, lambda _: batch)],
    }
    if kind == "tft":
        model = TFT(hidden_size=HIDDEN, n_head=HEADS, n_rnn_layers=LAYERS, **common)
    else:
        model = NHITS(
            stack_types=["identity"] * STACKS, mlp_units=[[WIDTH, WIDTH]] * STACKS, **common
        )
    frame = panel.rename(columns={"symbol": "unique_id", "step": "ds", TARGET: "y"})
    fitted = NeuralForecast(models=[model], freq=1)
    fitted.fit(frame)
    return fitted, frame


def train_pf(kind: str, batch: int, panel: pd.DataFrame, clock: Clock) -> tuple[Any, Any]:
    """pytorch-forecasting: TimeSeriesDataSet, its loader and lightning's trainer, as in its
    tutorials. Returns the model and its data set."""
    from lightning.pytorch import Callback, Trainer
    from pytorch_forecasting import (
        GroupNormalizer,
        NHiTS,
        TemporalFusionTransformer,
        TimeSeriesDataSet,
    )
    from pytorch_forecasting.metrics import QuantileLoss

    data = TimeSeriesDataSet(
        panel,
        time_idx="step",
        target=TARGET,
        group_ids=["symbol"],
        min_encoder_length=CONTEXT,
        max_encoder_length=CONTEXT,
        max_prediction_length=HORIZON,
        time_varying_unknown_reals=[TARGET, *PAST],
        time_varying_known_reals=KNOWN,
        target_normalizer=GroupNormalizer(groups=["symbol"]),  # not a scaler a window
    )
    common = {"loss": QuantileLoss(QUANTILES), "learning_rate": 1e-3}
    if kind == "tft":
        model = TemporalFusionTransformer.from_dataset(
            data, attention_head_size=HEADS, **TFT_SIZES, **common
        )
    else:
        model = NHiTS.from_dataset(
            data, hidden_size=WIDTH, n_blocks=[1] * STACKS, n_layers=2, **common
        )
    timer = make_timer(Callback, clock, lambda b: len(b[1][0]))  # (inputs, (target, weight))
    loader = data.to_dataloader(train=True, batch_size=batch, num_workers=0)
    Trainer(max_epochs=ENDLESS, callbacks=[timer], **TRAINER).fit(model, loader)
    return model, data


def train_da(kind: str, batch: int, panel: pd.DataFrame, clock: Clock) -> tuple[Any, dict]:
    """darts: one TimeSeries a symbol. Its N-HITS has no known inputs, so they go in as past
    covariates. Returns the model and its series."""
    from darts import TimeSeries
    from darts.models import NHiTSModel, TFTModel
    from darts.utils.likelihood_models.torch import QuantileRegression
    from pytorch_lightning import Callback

    def series(columns: list[str]) -> list[TimeSeries]:
        groups = panel.groupby("symbol")
        return [TimeSeries.from_values(group[columns].to_numpy("float32")) for _, group in groups]

    # older releases hand over a tuple that begins with the past target
    timer = make_timer(
        Callback, clock, lambda b: len(b.past_target if hasattr(b, "past_target") else b[0])
    )
    common = {
        "input_chunk_length": CONTEXT,
        "output_chunk_length": HORIZON,
        "batch_size": batch,
        "likelihood": QuantileRegression(QUANTILES),
        "n_epochs": ENDLESS,
        "pl_trainer_kwargs": {**TRAINER, "callbacks": [timer]},
    }
    given = {"series": series([TARGET])}
    if kind == "tft":
        model = TFTModel(num_attention_heads=HEADS, **TFT_SIZES, **common)
        given |= {"past_covariates": series(PAST), "future_covariates": series(KNOWN)}
    else:
        model = NHiTSModel(
            num_stacks=STACKS, num_blocks=1, num_layers=2, layer_widths=WIDTH, **common
        )
        given["past_covariates"] = series(PAST + KNOWN)
    model.fit(**given)
    return model, given


TRAIN = {"nf": train_nf, "pf": train_pf, "da": train_da}


def measure(peer: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one model of one peer in this process; a row of the output, or `{"error": one
    line}`."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name = PACKAGES[peer]
    try:
        import torch

        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        version, clock = importlib.metadata.version(name), Clock(args.seconds)
        TRAIN[peer](kind, args.batch, read_panel(args.data), clock)
    except ImportError as error:  # PackageNotFoundError is one
        return {"error": f"not installed ({error})"}
    except (
        Exception
    ) as error:  # any fault of a peer becomes a line, and the other peers are still measured
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    if not (rates := clock.rates()):
        return {"error": f"stopped after {len(clock.ticks)} steps, before the measurement began"}
    return {
        "peer": name,
        "version": version,
        "model": kind,
        "windows_per_second": round(float(np.median(rates)), 1),
        "parameters": clock.parameters,
        "batch": args.batch,
        "seconds": args.seconds,
        "torch": torch.__version__,
        "threads": args.threads,
        "chunks": rates,
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Training throughput of the peers, in windows a second."
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        help="Parquet with symbol, date, open, high, low, close, volume",
    )
    add("--only", default="nf,pf,da", help="peers, separated by commas")
    add("--model", default="tft,nhits", help="models, separated by commas")
    add("--seconds", type=float, default=30.0, help="measured wall time of each run")
    add("--batch", type=int, default=128, help="windows in an optimiser step")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    args.only, args.model = args.only.split(","), args.model.split(",")
    if not {*args.only} <= {*PACKAGES} or not {*args.model} <= {"tft", "nhits"}:
        parser.error("--only takes nf,pf,da and --model takes tft,nhits, separated by commas")
    if min(args.seconds, args.batch, args.threads) <= 0 or not args.data.is_file():
        parser.error("--data must be a file; --seconds, --batch and --threads must be above 0")
    return args


def in_fresh_process(*job: Any) -> dict[str, Any]:
    """`measure` in a child of its own; a child that dies gives an error too."""
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure, *job).result()
    except BrokenProcessPool:
        return {"error": "the process died (out of memory?)"}


def main(argv: list[str] | None = None) -> int:
    """Measure each peer and model in turn; 0 when at least one was measured, else 1 and no file."""
    args = parse(argv)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before the children import torch
    rows, part = [], args.out.with_name(f"{args.out.name}.{os.getpid()}.part")
    for peer, kind in product(args.only, args.model):
        row = in_fresh_process(peer, kind, args)
        if "error" in row:
            print(f"{PACKAGES[peer]} {kind}: {row['error']}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(row), flush=True)
        rows.append(row)
        part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        os.replace(
            part, args.out
        )  # whole, after each run: an interrupted session keeps what it has
    return 0 if rows else 1


if __name__ == "__main__":
    raise SystemExit(main())
