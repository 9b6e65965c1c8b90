"""neuralforecast's TFT and N-HITS for bench/quality.py, which runs it where the extra `peers` is.

    python bench/quality_peer.py NETWORK SETTING [--data DATA] [--limit 120] [--threads 2] --out OUT

What they forecast is what they do best at (bench/rivals.py): the log price, centred on its last
close and divided by the volatility at the origin, so that their loss is of the same cumulative log
returns as ours, from the same inputs. Of the four settings of each, three are theirs: `small` is
what bench/rivals.py found best on validation; `defaults` are neuralforecast's sizes and rate, for
the TFT with 128 windows a step, since one of 1,024 takes seconds; `middle` lies between. `ours` has
the sizes, rate, dropout and windows a step of our preset. They sample windows, step and decay as
neuralforecast does; its own validation is off.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from pytorch_lightning import Callback
from quality import CONTEXT, HORIZON, NHITS, TFT, TRAIN, Curve, make_task
from rivals import COMMON, NETWORKS, SCALE, SETTINGS, make_frame

from tftnhits.config import SCORE_LEVELS
from tftnhits.data.windows import Panel
from tftnhits.files import write_json
from tftnhits.training.loop import protocol_loss

STOPPING = ("val_check_steps", "early_stop_patience_steps")  # not needed: the curve is whole
WINDOWS = TRAIN.batch * TRAIN.origins
TRIED: dict[str, dict[str, dict[str, Any]]] = {
    "TFT": {
        "small": {k: v for k, v in SETTINGS["TFT"].items() if k not in STOPPING},
        "middle": {"hidden_size": 64, "dropout": 0.2, "learning_rate": 2e-3, "max_steps": 500},
        "defaults": {"hidden_size": 128, "learning_rate": 1e-3, "max_steps": 250},
        "ours": {
            "hidden_size": TFT.hidden,
            "n_head": TFT.heads,
            "n_rnn_layers": TFT.lstm_layers,
            "dropout": TFT.dropout,
            "learning_rate": TRAIN.learning_rate,
            "windows_batch_size": WINDOWS,
            "max_steps": 300,
        },
    },
    "N-HITS": {
        "small": {k: v for k, v in SETTINGS["N-HITS"].items() if k not in STOPPING},
        "middle": {
            "mlp_units": 3 * [[128, 128]],
            "dropout_prob_theta": 0.2,
            "learning_rate": 1e-3,
            "windows_batch_size": 512,
            "max_steps": 400,
        },
        "defaults": {"learning_rate": 1e-3, "windows_batch_size": 1024, "max_steps": 200},
        "ours": {
            "mlp_units": 3 * [[NHITS.hidden, NHITS.hidden]],
            "n_pool_kernel_size": list(NHITS.pools),
            "n_freq_downsample": [3, 2, 1],  # as many knots as ours
            "dropout_prob_theta": NHITS.dropout,
            "learning_rate": TRAIN.learning_rate,
            "windows_batch_size": WINDOWS,
            "max_steps": 940,
        },
    },
}


def make_watch(curve: Curve, judge: Callable[[torch.nn.Module], float], windows: int) -> Callback:
    """A callback that tells `curve` of each step; neuralforecast trains copies of what it is given,
    of a callback's attributes too."""

    class Watch(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            curve.start(lambda: judge(module))

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = curve.step(windows)

    return Watch()


def validation(panel: Panel, frame: pd.DataFrame, inputs: dict, rows: np.ndarray) -> dict:
    """The windows before the origins `rows` [K] as the networks take them, scaled as in training;
    frame holds the panel's bars in their order."""
    place = rows - panel.config.horizon * panel.symbol_of(rows)  # rows after each symbol's bars
    past, all_steps = (
        place[:, None] + np.arange(1 - CONTEXT, 1),
        np.arange(1 - CONTEXT, HORIZON + 1),
    )
    price, scale = frame["y"].to_numpy(), frame[SCALE].to_numpy()
    path = (price[past] - price[place][:, None]) / scale[place][:, None]  # [K, L]
    values = {
        "insample_y": path[..., None],
        "insample_mask": np.ones_like(path)[..., None],
        "hist_exog": frame[inputs["observed"]].to_numpy()[past],
        "futr_exog": frame[inputs["known"]].to_numpy()[place[:, None] + all_steps],
    }
    return {k: torch.as_tensor(v, dtype=torch.float32) for k, v in values.items()}


def quantiles(model: torch.nn.Module, windows: dict, scale: np.ndarray) -> np.ndarray:
    """[K, H, Q] of the cumulative log return, in ascending order; `scale` is [K]."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for first in range(0, len(scale), COMMON["inference_windows_batch_size"]):
            part = slice(first, first + COMMON["inference_windows_batch_size"])
            parts.append(model({"stat_exog": None, **{k: v[part] for k, v in windows.items()}}))
    model.train()
    return np.sort(torch.cat(parts).numpy() * scale[:, None, None], axis=-1)


def train(network: str, setting: str, panel: Panel, rows: np.ndarray, limit: float) -> dict:
    """The learning curve of a network with a setting."""
    settings = {**COMMON, "windows_batch_size": 128, **TRIED[network][setting]}
    frame, observed, known = make_frame(panel)
    inputs = {"observed": observed, "known": known}
    windows, scale = validation(panel, frame, inputs, rows), np.asarray(panel.scale)[rows, 0]
    curve = Curve(settings["max_steps"], limit)

    def judge(model: torch.nn.Module) -> float:
        return protocol_loss(quantiles(model, windows, scale), panel, rows)

    model = NETWORKS[network](
        h=HORIZON,
        input_size=CONTEXT,
        hist_exog_list=observed,
        futr_exog_list=known,
        loss=MQLoss(quantiles=list(SCORE_LEVELS)),
        random_seed=0,
        val_check_steps=peers.ENDLESS,
        callbacks=[make_watch(curve, judge, settings["windows_batch_size"])],
        **peers.TRAINER,
        **settings,
    )
    last = panel.date[panel.origins("train") + HORIZON].max()  # the outcomes trained on end here
    fitted = NeuralForecast(models=[model], freq=1)
    fitted.fit(frame[frame["date"] <= last].drop(columns="date"))
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {**curve.row(weights), "settings": settings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=TRIED)
    parser.add_argument("setting", choices=TRIED["TFT"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    panel, rows = make_task(options.data)
    row = train(options.network, options.setting, panel, rows, options.limit)
    write_json(options.out, row | {"version": importlib.metadata.version("neuralforecast")})


if __name__ == "__main__":
    main()
