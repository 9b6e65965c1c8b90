"""Train the model that data/pretrained ships: the preset `cloud` on the DJIA panel, several seeds of each network.

    python bench/pretrain.py [--preset cloud] [--seeds 0,1,2,3,4] [--jobs 2] [--out data/pretrained]

Train to 2013, validation 2014–2015. Each (network, seed) has one thread and keeps its training state in the work
folder, so that a second call goes on where a killed one ended. The folder gets the predictor (its calibration then
moves on over 2016–2017, which trains nothing), ModelScope's configuration.json, and data/results/pretrained.json says
what was trained; bench/djia.py scores it on the test years, and bench/card.py writes the model card.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch
from protocol import djia_panel
from torch import nn

import tftnhits as tn
from tftnhits.config import SEEDS, preset
from tftnhits.data.windows import Panel
from tftnhits.files import write_json
from tftnhits.training.loop import fit, forecast_rows
from tftnhits.training.trials import log_trial
from tftnhits.training.tuning import valid_loss

# ModelScope asks for these three; a key "model" would make it look for a class of its own
CONFIGURATION = {
    "framework": "pytorch",
    "task": "time-series-forecasting",
    "pipeline": {"type": "tft-nhits-forecasting"},
}


def train(kind: str, name: str, seed: int, panel: Panel, work: Path, log: str) -> tuple[nn.Module, dict]:
    """One network with one seed, and the record of its training."""
    torch.set_num_threads(1)
    tft, nhits, _, settings = preset(name)
    config, settings = {"tft": tft, "nhits": nhits}[kind], replace(settings, seed=seed)
    found = fit(config, panel, settings, work / f"{kind}-{name}-{seed}.state", progress=False)
    size = sum(p.numel() for p in found.model.parameters())
    record = {
        "network": kind, "seed": seed, "valid": valid_loss(found.model, panel), "epochs": len(found.history),
        "seconds": sum(h["seconds"] for h in found.history), "weights": size,
    }  # fmt: skip
    more = {k: record[k] for k in ("epochs", "seconds", "weights")}
    log_trial(log, "DJIA pretrain", type(found.model).__name__, config, settings, record["valid"], seed,
              panel=panel.config, **more)  # fmt: skip
    print(f"{kind} seed {seed}: validation {record['valid']:.2f}, {record['epochs']} epochs", flush=True)
    return found.model, record


def averaged(models: list[nn.Module], panel: Panel) -> float:
    """Validation loss of the mean of the seeds' quantiles."""
    rows = panel.origins("valid", models[0].config.context)
    pick = [models[0].config.quantiles.index(level) for level in tn.config.SCORE_LEVELS]
    return valid_loss(np.mean([forecast_rows(m, panel, rows)[..., pick] for m in models], axis=0), panel, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cloud")
    parser.add_argument("--seeds", default=",".join(map(str, range(SEEDS["cloud"]))))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", type=Path, default=Path("data/pretrained"))
    parser.add_argument("--results", default="data/results/pretrained.json")
    options = parser.parse_args()
    begin, seeds = time.perf_counter(), [int(s) for s in options.seeds.split(",")]
    panel = djia_panel()
    tasks = [(kind, seed) for kind in ("tft", "nhits") for seed in seeds]
    done = joblib.Parallel(n_jobs=options.jobs)(
        joblib.delayed(train)(kind, options.preset, seed, panel, options.work, options.log) for kind, seed in tasks
    )
    members = {kind: [m for (k, _), (m, _) in zip(tasks, done) if k == kind] for kind in ("tft", "nhits")}
    boosting = tn.Boosting(preset(options.preset)[2]).fit(panel)
    predictor = tn.Predictor({**members, "boosting": boosting}, panel)
    predictor.save(options.out)
    write_json(options.out / "configuration.json", CONFIGURATION)
    files = {p.name: p.stat().st_size for p in sorted(options.out.iterdir())}
    record = {
        "preset": options.preset, "seeds": seeds, "data": panel.digest(), "symbols": len(panel.symbols),
        "horizon": predictor.horizon, "context": predictor.context,
        "origins": len(panel.origins("train", predictor.context)), "runs": [record for _, record in done],
        "averaged": {kind: averaged(models, panel) for kind, models in members.items()},
        "bytes": files, "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    write_json(options.results, record)
    print(f"{options.out}: {sum(files.values()) / 1e6:.1f} MB in {len(files)} files; {options.results}")


if __name__ == "__main__":
    main()
