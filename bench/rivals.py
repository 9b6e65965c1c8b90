"""Rivals for the DJIA leaderboard: neuralforecast's TFT and N-HITS, trained on the same bars and
inputs as ours.

    python bench/rivals.py --data FOLDER --out build/rivals.parquet [--seeds 0,1,2] [--threads 1]

FOLDER holds the bars, which are not bundled (protocol.py says which). Runs where neuralforecast is
installed, with this package on the path. It trains on origins to 2013-12-31, stops early on
2014-2015, and writes a Parquet of quantiles of the cumulative log return at steps 1 to 5 from every
origin of 2014-2017: `forecaster, seed, symbol, origin, step` and a column a level. Only 2014-2015
is scored here.

What gives these networks their best chance, chosen on 2014-2015: the target is the log price, and
each window is centred on its last close and divided by the HAR volatility at its origin, as our
networks' targets are (on the plain log price or on returns they do much worse); the inputs are our
panel's; both networks are small and regularised. Training ends with the best weights put back,
which neuralforecast does not do by itself, and crossed quantiles are sorted. neuralforecast's
scalers by series are not used: they would be fitted on the test years too.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS, TFT
from protocol import TRAIN_END, VALID_END, add_data, djia_panel
from pytorch_lightning import Callback

from tftnhits.data.windows import Panel
from tftnhits.evaluation.metrics import SCORE_LEVELS, pinball_loss
from tftnhits.files import atomic_write
from tftnhits.training.trials import log_trial

CONTEXT, HORIZON = 60, 5
# the frame's column of HAR volatility: no input of the networks, only their windows' scale
SCALE = "scale"
TRAINER = {**peers.TRAINER, "num_sanity_val_steps": 0}
COMMON = {
    "valid_batch_size": 8,
    "inference_windows_batch_size": 256,  # small ones are faster
    "num_lr_decays": 3,
    "scaler_type": "standard",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "TFT": {
        "hidden_size": 16,
        "dropout": 0.3,
        "learning_rate": 5e-3,
        "batch_size": 4,
        "windows_batch_size": 128,
        "max_steps": 320,
        "val_check_steps": 40,
        "early_stop_patience_steps": 3,
    },
    "N-HITS": {
        "mlp_units": 3 * [[64, 64]],
        "dropout_prob_theta": 0.4,
        "learning_rate": 5e-4,
        "batch_size": 8,
        "windows_batch_size": 512,
        "max_steps": 400,
        "val_check_steps": 50,
        "early_stop_patience_steps": 4,
    },
}


class OriginScaled:
    """Window scaling for neuralforecast's models: (log price − that of the origin) / HAR volatility
    at the origin.

    Overrides two methods of its BaseModel (release 3.3) that aren't part of its public interface.
    """

    thin = 1  # early stopping looks at every so many validation windows

    def _normalization(self, windows: dict[str, Any], y_idx: int) -> dict[str, Any]:
        temporal, last = windows["temporal"], self.input_size - 1  # [W, L+H, C, 1]
        column = windows["temporal_cols"].get_loc(SCALE)
        self.scaler.x_shift = temporal[:, last : last + 1, y_idx : y_idx + 1].clone()
        self.scaler.x_scale = temporal[:, last : last + 1, column : column + 1].clone()
        price = temporal[:, :, y_idx : y_idx + 1]
        temporal[:, :, y_idx : y_idx + 1] = (price - self.scaler.x_shift) / self.scaler.x_scale
        return windows

    def _create_windows(self, batch: dict[str, Any], step: str) -> tuple:
        windows, static, static_columns, chosen, weight, columns = super()._create_windows(
            batch, step
        )
        return (
            windows,
            static,
            static_columns,
            chosen[:: self.thin] if step == "val" else chosen,
            weight,
            columns,
        )


class ScaledTFT(OriginScaled, TFT):
    """neuralforecast's TFT with OriginScaled windows."""

    # a whole look would take longer than the steps between two; 7 gives each symbol other dates
    thin = 7


class ScaledNHITS(OriginScaled, NHITS):
    """neuralforecast's N-HITS with OriginScaled windows."""


NETWORKS = {"TFT": ScaledTFT, "N-HITS": ScaledNHITS}


class KeepBest(Callback):
    """Puts back the weights of the lowest validation loss when training ends."""

    def __init__(self) -> None:
        self.loss, self.weights = float("inf"), None

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if (loss := float(trainer.callback_metrics["ptl/val_loss"])) < self.loss:
            self.loss, self.weights = loss, {k: v.clone() for k, v in module.state_dict().items()}

    def on_train_end(self, trainer: Any, module: Any) -> None:
        module.load_state_dict(self.weights)


def varying(values: np.ndarray, names: tuple[str, ...]) -> list[int]:
    """Columns of `values` [R, F] that are not one constant over the panel."""
    return [i for i in range(len(names)) if np.ptp(values[:, i]) > 0]


def make_frame(panel: Panel) -> tuple[pd.DataFrame, list[str], list[str]]:
    """neuralforecast's long frame of every bar, and the names of its observed and known inputs."""
    bars = np.concatenate(
        [s + np.arange(n) for s, n in zip(panel.start, panel.length, strict=True)]
    )
    symbol = panel.symbol_of(bars)
    frame = {
        "unique_id": np.array(panel.symbols)[symbol],
        "ds": bars
        - panel.start[symbol],  # bar numbers, since the symbols' sessions differ a little
        "y": np.log(panel.close[bars]),
        SCALE: panel.scale[bars, 0],
        "date": panel.date[bars],
    }
    names = {}
    for kind, values in (("observed", panel.observed[bars]), ("known", panel.known[bars])):
        labels = panel.inputs[kind]
        names[kind] = [f"{kind}_{labels[i]}" for i in varying(values, labels)]
        frame |= {f"{kind}_{labels[i]}": values[:, i] for i in varying(values, labels)}
    return pd.DataFrame(frame), names["observed"], names["known"]


def train(
    kind: str, frame: pd.DataFrame, inputs: dict[str, list[str]], seed: int, **changes: Any
) -> NeuralForecast:
    """Fit one network on bars to VALID_END, of which those after TRAIN_END stop it."""
    settings = {**COMMON, **SETTINGS[kind], **changes}
    model = NETWORKS[kind](
        h=HORIZON,
        input_size=CONTEXT,
        hist_exog_list=inputs["observed"],
        futr_exog_list=inputs["known"],
        loss=MQLoss(quantiles=list(SCORE_LEVELS)),
        random_seed=seed,
        alias="rival",
        callbacks=[KeepBest()],
        **TRAINER,
        **settings,
    )
    past = frame[frame["date"] <= VALID_END]
    held_out = past[past["date"] > TRAIN_END].groupby("unique_id").size()
    fitted = NeuralForecast(models=[model], freq=1)
    fitted.fit(past.drop(columns="date"), val_size=int(held_out.max()))
    return fitted


def forecast(fitted: NeuralForecast, frame: pd.DataFrame) -> pd.DataFrame:
    """Quantiles of the cumulative log return from every origin after TRAIN_END: a row an origin and
    step."""
    ahead = int((frame["date"] > TRAIN_END).groupby(frame["unique_id"]).sum().max())
    bars = frame.drop(columns="date")
    found = fitted.cross_validation(
        bars, test_size=ahead, n_windows=None, step_size=1, use_fitted=True
    )
    levels = [c for c in found if c.startswith("rival")]
    origin = frame.rename(columns={"ds": "cutoff"})[["unique_id", "cutoff", "date", "y"]]
    found = found.drop(columns="y").merge(
        origin, on=["unique_id", "cutoff"], validate="many_to_one"
    )
    quantiles = np.sort(found[levels].to_numpy(float) - found[["y"]].to_numpy(), axis=1).astype(
        np.float32
    )  # [K, Q]
    out = pd.DataFrame(
        {
            "symbol": found["unique_id"],
            "origin": found["date"],
            "step": found["ds"] - found["cutoff"],
        }
    )
    out = out.assign(**{str(level): quantiles[:, i] for i, level in enumerate(SCORE_LEVELS)})
    return out[out["origin"] > TRAIN_END].reset_index(drop=True)


def check_causal(fitted: NeuralForecast, frame: pd.DataFrame) -> None:
    """Raise RuntimeError if any forecast of one symbol changes when all that comes after its origin
    does."""
    own = frame[frame["unique_id"] == frame["unique_id"].iloc[0]].reset_index(drop=True)
    cut = len(own) - 200
    columns = [c for c in own if c in ("y", SCALE) or c.startswith("observed_")]
    stirred = own.astype(dict.fromkeys(columns, float))
    stirred.loc[cut + 1 :, columns] = 1.0 + stirred.loc[cut + 1 :, columns].to_numpy()[::-1]
    before, after = (forecast(fitted, f) for f in (own, stirred))
    seen = (before["origin"] <= own["date"][cut]).to_numpy()
    levels = [str(level) for level in SCORE_LEVELS]
    if not np.allclose(before.loc[seen, levels], after.loc[seen, levels], atol=1e-9):
        raise RuntimeError(
            "A forecast changed with bars that came after its origin; don't use these forecasts."
        )
    if np.allclose(before.loc[~seen, levels], after.loc[~seen, levels], atol=1e-9):
        raise RuntimeError(
            "No forecast changed with the bars before its origin; the check can't tell anything."
        )


def score(panel: Panel, forecasts: pd.DataFrame) -> float:
    """Mean pinball loss × 10⁴ over validation origins, steps and levels."""
    rows = panel.origins("valid")
    index = pd.MultiIndex.from_arrays(
        [np.array(panel.symbols)[panel.symbol_of(rows)], panel.date[rows]]
    )
    levels = [str(level) for level in SCORE_LEVELS]
    by_step = [
        forecasts[forecasts["step"] == h].set_index(["symbol", "origin"])[levels]
        for h in range(1, HORIZON + 1)
    ]
    quantiles = np.stack([found.loc[index].to_numpy() for found in by_step], axis=1)  # [K, H, Q]
    return 1e4 * float(pinball_loss(quantiles, panel.outcomes(rows), SCORE_LEVELS).mean())


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add_data(parser)
    add("--out", type=Path, required=True, help="Parquet to write")
    add("--only", default="TFT,N-HITS", help="networks, separated by commas")
    add("--seeds", default="0,1,2", help="whole numbers, separated by commas")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--trials", type=Path, help="the trial log that each validation score is added to")
    args = parser.parse_args(argv)
    args.only = args.only.split(",")
    if not {*args.only} <= {*NETWORKS}:
        parser.error("--only takes TFT,N-HITS, separated by commas")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    return args


def main(argv: list[str] | None = None) -> int:
    """Train and forecast with each network and seed, and write all quantiles in one file."""
    args = parse(argv)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    panel = djia_panel(args.data)
    frame, observed, known = make_frame(panel)
    inputs, parts = {"observed": observed, "known": known}, []
    for kind in args.only:
        for seed in args.seeds:
            begin = time.perf_counter()
            fitted = train(kind, frame, inputs, seed)
            trained = time.perf_counter() - begin
            check_causal(fitted, frame)
            found = forecast(fitted, frame)
            line = {
                "forecaster": f"neuralforecast {kind}",
                "seed": seed,
                "valid": round(score(panel, found), 3),
                "train_seconds": round(trained, 1),
                "seconds": round(time.perf_counter() - begin, 1),
                "parameters": sum(
                    p.numel() for p in fitted.models[0].parameters() if p.requires_grad
                ),
                "curve": [round(v, 5) for _, v in fitted.models[0].valid_trajectories],
                "settings": {**COMMON, **SETTINGS[kind]},
            }
            print(json.dumps(line), flush=True)
            if args.trials:
                name = line["forecaster"]
                log_trial(
                    args.trials, "DJIA rivals", name, line["settings"], None, line["valid"], seed
                )
            found.insert(0, "forecaster", line["forecaster"])
            found.insert(1, "seed", seed)
            parts.append(found)
            buffer = io.BytesIO()
            pd.concat(parts, ignore_index=True).to_parquet(buffer, index=False)
            atomic_write(
                args.out, buffer.getvalue()
            )  # after each run: an interrupted session keeps what it has
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
