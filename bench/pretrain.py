"""Train the model that data/pretrained ships: the preset `cloud` on the DJIA panel, several seeds
of each network.

    python bench/pretrain.py --data FOLDER [--preset cloud] [--seeds 0,1,2,3,4] [--students 0,1,2]
    [--jobs 2]
        [--out data/pretrained]

FOLDER holds the bars, which are not bundled (protocol.py says which). Train to 2013, validation
2014–2015. The seeds of a network teach one that forecasts as their average does: the first of
`--students` is shipped whatever the others reach, which tell how much that depends on its seed.
Each training has one thread and keeps its state in the work folder, so that a second call goes on
where a killed one ended; the teachers are left in its folder teachers. The output folder gets the
predictor (its calibration then moves on over 2016–2017, which trains nothing) and ModelScope's two
files, and data/results/pretrained.json says what was trained; bench/djia.py scores it on the test
years, and bench/card.py writes the model card.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch
from protocol import add_data, djia_panel
from torch import nn

import tftnhits as tn
from tftnhits.apps.hub import add_modelscope_files
from tftnhits.config import SEEDS, preset
from tftnhits.data.windows import Panel
from tftnhits.files import write_json
from tftnhits.training.loop import fit, forecast_rows, protocol_loss, valid_loss
from tftnhits.training.trials import log_trial


def train(
    kind: str,
    name: str,
    seed: int,
    panel: Panel,
    work: Path,
    log: str,
    teachers: Sequence[nn.Module] = (),
) -> tuple[nn.Module, dict]:
    """One network with one seed, by outcomes or by `teachers`, and the record of its training."""
    torch.set_num_threads(1)
    tft, nhits, _, settings = preset(name)
    config, settings = {"tft": tft, "nhits": nhits}[kind], replace(settings, seed=seed)
    config = replace(config, dropout=0.0) if teachers else config
    label = f"{kind}-{name}{'-student' * bool(teachers)}-{seed}"
    found = fit(config, panel, settings, work / f"{label}.state", progress=False, teachers=teachers)
    size = sum(p.numel() for p in found.model.parameters())
    record = {
        "network": kind,
        "seed": seed,
        "valid": valid_loss(found.model, panel),
        "epochs": len(found.history),
        "stopped": found.stopped,
        "seconds": sum(h["seconds"] for h in found.history),
        "weights": size,
    }
    more = {k: record[k] for k in ("epochs", "stopped", "seconds", "weights")}
    more["teachers"] = len(teachers)
    log_trial(
        log,
        "DJIA pretrain",
        type(found.model).__name__,
        config,
        settings,
        record["valid"],
        seed,
        panel=panel.config,
        **more,
    )
    print(f"{label}: validation {record['valid']:.2f}, {record['epochs']} epochs", flush=True)
    return found.model, record


def averaged(models: list[nn.Module], panel: Panel) -> float:
    """Validation loss of the mean of the seeds' quantiles."""
    rows = panel.origins("valid", models[0].config.context)
    pick = [models[0].config.quantiles.index(level) for level in tn.config.SCORE_LEVELS]
    return protocol_loss(
        np.mean([forecast_rows(m, panel, rows)[..., pick] for m in models], axis=0), panel, rows
    )


def run(
    jobs: int, tasks: list[tuple], name: str, panel: Panel, work: Path, log: str
) -> list[tuple[nn.Module, dict]]:
    """`train` for each (network, seed, teachers), in processes side by side."""
    return joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(train)(kind, name, seed, panel, work, log, taught)
        for kind, seed, taught in tasks
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--preset", default="cloud")
    parser.add_argument("--seeds", default=",".join(map(str, range(SEEDS["cloud"]))))
    parser.add_argument(
        "--students", default="0,1,2", help="seeds of the distilled networks; the first is shipped"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", type=Path, default=Path("data/pretrained"))
    parser.add_argument("--results", default="data/results/pretrained.json")
    options = parser.parse_args()
    begin = time.perf_counter()
    seeds, students = (
        [int(s) for s in given.split(",")] for given in (options.seeds, options.students)
    )
    panel, kinds = djia_panel(options.data), ("tft", "nhits")
    common = (options.preset, panel, options.work, options.log)
    done = run(options.jobs, [(kind, seed, ()) for kind in kinds for seed in seeds], *common)
    teachers = {kind: [m for m, r in done if r["network"] == kind] for kind in kinds}
    tn.Predictor.from_members(teachers, panel).save(options.work / "teachers")
    taught = run(
        options.jobs, [(kind, seed, teachers[kind]) for kind in kinds for seed in students], *common
    )
    members = {kind: next(m for m, r in taught if r["network"] == kind) for kind in kinds}
    boosting = tn.Boosting(preset(options.preset)[2]).fit(panel)
    predictor = tn.Predictor.from_members({**members, "boosting": boosting}, panel)
    predictor.save(options.out)
    add_modelscope_files(options.out)
    files = {p.name: p.stat().st_size for p in sorted(options.out.iterdir()) if p.suffix != ".lock"}
    record = {
        "preset": options.preset,
        "seeds": seeds,
        "data": panel.digest(),
        "symbols": len(panel.symbols),
        "horizon": predictor.horizon,
        "context": predictor.context,
        "origins": len(panel.origins("train", predictor.context)),
        "runs": [record for _, record in done],
        "students": [record for _, record in taught],
        "averaged": {kind: averaged(models, panel) for kind, models in teachers.items()},
        "seconds": time.perf_counter() - begin,
    }
    write_json(options.results, record)
    print(
        f"{options.out}: {sum(files.values()) / 1e6:.1f} MB in {len(files)} files; "
        f"{options.results}"
    )


if __name__ == "__main__":
    main()
