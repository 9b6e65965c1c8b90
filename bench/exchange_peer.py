"""neuralforecast's N-HITS on the series that bench/exchange.py hands over; runs where the extra
`peers` is installed.

    python bench/exchange_peer.py Z.npy JOB.json OUT.json

It is trained by neuralforecast's own loader and trainer, and scored by its own cross-validation.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS
from pytorch_lightning import Callback


class Best(Callback):
    """Keeps the weights of the best validation, which neuralforecast's early stopping doesn't."""

    def __init__(self) -> None:
        self.loss, self.state = math.inf, None

    def on_validation_end(self, trainer, module) -> None:
        loss = float(trainer.callback_metrics["ptl/val_loss"])
        if loss < self.loss:
            self.loss, self.state = loss, copy.deepcopy(module.state_dict())

    def on_train_end(self, trainer, module) -> None:
        module.load_state_dict(self.state)


def on_paths(scale: float, context: int, base: torch.Tensor) -> type[NHITS]:
    """Their network on our inputs: the path relative to the origin in, changes over scale · √step
    out, on top of base.

    base is [H, Q].
    """
    step = scale * torch.arange(1, len(base) + 1).sqrt()[:, None]

    class Paths(NHITS):
        def forward(self, batch):
            y = batch["insample_y"]
            path = (y - y[:, -1:]) / (scale * math.sqrt(context))
            return y[:, -1:] + (base + super().forward({**batch, "insample_y": path})) * step

    return Paths


def made(name: str, job: dict, seed: int) -> NHITS:
    """Their network with the sizes, optimiser and schedule of the job; "start" adds nothing to its
    base at first."""
    base = torch.tensor(job["base"]) * (name == "start")
    context = job["config"]["context"]
    model = network(NHITS if name == "levels" else on_paths(job["scale"], context, base), job, seed)
    if name == "start":
        for block in model.blocks:
            for values in (block.layers[-1].weight, block.layers[-1].bias):
                torch.nn.init.zeros_(
                    values[context:]
                )  # the knots; the rows before are the backcast's
    return model


def network(kind: type[NHITS], job: dict, seed: int) -> NHITS:
    """One of the two kinds with the job's settings."""
    config, train = job["config"], job["train"]
    horizon, stacks, total = config["horizon"], len(config["pools"]), job["steps"] * train["epochs"]

    def rate(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
        return min((step + 1) / max(job["warmup"] * total, 1), 1.0) * cosine

    # each step counts as in our loss, whose targets are divided by √step
    weight = 1 / torch.arange(1, horizon + 1).sqrt()
    return kind(
        h=horizon,
        input_size=config["context"],
        stack_types=["identity"] * stacks,
        n_blocks=[1] * stacks,
        mlp_units=[[config["hidden"]] * 2] * 2,
        n_pool_kernel_size=config["pools"],
        n_freq_downsample=config["pools"],
        loss=MQLoss(quantiles=config["quantiles"], horizon_weight=weight),
        random_seed=seed,
        batch_size=32,
        windows_batch_size=train["batch"],
        inference_windows_batch_size=2048,
        training_data_availability_threshold=1.0,
        max_steps=total,
        val_check_steps=job["steps"],
        early_stop_patience_steps=train["patience"],
        learning_rate=train["learning_rate"],
        optimizer=torch.optim.AdamW,
        optimizer_kwargs={"weight_decay": train["weight_decay"]},
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR,
        lr_scheduler_kwargs={"lr_lambda": rate},
        gradient_clip_val=train["clip"],
        callbacks=[Best()],
        num_sanity_val_steps=0,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        alias="found",
    )


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    z, job = np.load(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(job["threads"])
    bars, series = z.shape
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"{i}" for i in range(series)], bars),
            "ds": np.tile(np.arange(bars), series),
            "y": z.T.ravel(),
        }
    )
    fitted, scored = (frame[frame["ds"] < job[k]] for k in ("fitted", "rows"))
    config, rows, last, windows = job["config"], [], 0.0, 0
    for name in job["names"]:
        for seed in job["seeds"]:
            begin = time.perf_counter()
            runner = NeuralForecast(models=[made(name, job, seed)], freq=1)
            runner.fit(fitted, val_size=job["valid"])
            model = runner.models[0]
            found = runner.cross_validation(
                scored, test_size=job["scored"], n_windows=None, use_fitted=True
            )
            error = found["y"] - found["found-median"]
            rows.append(
                {
                    "forecaster": job["names"][name],
                    "mse": float((error**2).mean()),
                    "mae": float(error.abs().mean()),
                    "best epoch": 1
                    + int(np.argmin([loss for _, loss in model.valid_trajectories])),
                    "seconds": time.perf_counter() - begin,
                }
            )
            print(rows[-1], flush=True)
            # the windows it was scored on, by the score of their last values
            at_origin = z[found["cutoff"].to_numpy(), found["unique_id"].astype(int).to_numpy()]
            last = float(((found["y"] - at_origin) ** 2).mean())
            windows = len(found) // config["horizon"]
    versions = {"neuralforecast": version("neuralforecast"), "torch beside it": torch.__version__}
    Path(sys.argv[3]).write_text(
        json.dumps({"rows": rows, "last": last, "windows": windows, "versions": versions})
    )


if __name__ == "__main__":
    main()
