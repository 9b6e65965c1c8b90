"""Rolling forecasts by the peers, and their peak memory, for bench/rolling.py, which runs it where
the extra `peers` is.

    python bench/rolling_peer.py {train,roll} {nf,pf,da} {tft,nhits} --data bars.parquet --days 500
        --seconds 3 --threads 2 --out OUT

Inputs, sizes and training are those of bench/peers.py. Each forecasts as its documentation shows:
neuralforecast by cross_validation without refitting, pytorch-forecasting by predict on a
TimeSeriesDataSet of all windows, darts by historical_forecasts without retraining; batches are
those of their tutorials or larger where that is faster.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import peers
from peers import CONTEXT, HORIZON, PACKAGES, TRAIN, TRAINER

BATCH = 1280  # of pytorch-forecasting's loader: ten times that of training, as in its tutorial


def faster(call: Callable[[], int]) -> dict:
    """How many forecasts `call` says it made, and the seconds of the faster of two calls."""
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        forecasts = call()
        seconds.append(time.perf_counter() - begin)
    best = min(seconds)
    return {"forecasts": forecasts, "seconds": best, "a_second": forecasts / best}


def roll_nf(fitted: Any, frame: pd.DataFrame, days: int) -> int:
    """neuralforecast: as many test windows as days, each a step after the last."""
    tail = frame.groupby("unique_id").tail(CONTEXT + days + HORIZON - 1)
    ahead = days + HORIZON - 1
    found = fitted.cross_validation(
        tail, test_size=ahead, n_windows=None, step_size=1, use_fitted=True
    )
    return len(found) // HORIZON


def roll_pf(model: Any, data: Any, panel: pd.DataFrame, days: int) -> int:
    """pytorch-forecasting: a data set of the last windows, and the quantiles of all."""
    from pytorch_forecasting import TimeSeriesDataSet

    tail = panel.groupby("symbol").tail(CONTEXT + days + HORIZON - 1)
    rolled = TimeSeriesDataSet.from_dataset(data, tail, stop_randomization=True)
    loader = rolled.to_dataloader(train=False, batch_size=BATCH, num_workers=0)
    return len(model.predict(loader, mode="quantiles", trainer_kwargs=dict(TRAINER)))


def roll_da(model: Any, series: dict, days: int) -> int:
    """darts: historical forecasts whose last ends with the series, their quantiles not sampled."""
    found = model.historical_forecasts(
        **series,
        start=-(days + HORIZON - 1),
        start_format="position",
        forecast_horizon=HORIZON,
        stride=1,
        retrain=False,
        last_points_only=False,
        predict_likelihood_parameters=True,
        show_warnings=False,
    )
    return sum(map(len, found))


def roll(peer: str, kind: str, panel: pd.DataFrame, days: int) -> dict:
    """The rate of the rolling forecasts, after a token training."""
    model, data = TRAIN[peer](kind, 128, panel, peers.Clock(seconds=0))
    if peer == "nf":
        return faster(lambda: roll_nf(model, data, days))
    if peer == "da":
        return faster(lambda: roll_da(model, data, days))
    return faster(lambda: roll_pf(model, data, panel, days))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("what", choices=("train", "roll"))
    add("peer", choices=PACKAGES)
    add("kind", choices=("tft", "nhits"))
    add("--data", type=Path, required=True)
    add("--days", type=int, default=500)
    add("--seconds", type=float, default=3.0)
    add("--threads", type=int, default=2)
    add("--out", type=Path, required=True)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(args.threads)
    panel, row = peers.read_panel(args.data), {}
    if args.what == "roll":
        row = roll(args.peer, args.kind, panel, args.days)
    else:
        TRAIN[args.peer](args.kind, 128, panel, peers.Clock(args.seconds))
    version = importlib.metadata.version(PACKAGES[args.peer])
    row |= {f"{args.what}_mb": peers.peak(), "version": version}
    args.out.write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
