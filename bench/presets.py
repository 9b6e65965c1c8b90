"""What each version buys: the presets v1.0, v2.0, v2.1 and quick beside each other, on validation
alone.

    python bench/presets.py --data FOLDER [--presets v2.1,quick,v1.0,v2.0] [--seeds 0,1,2]
        [--jobs 2] [--out data/results/presets.json]

FOLDER holds the bars, which are not bundled (protocol.py says which). Train to 2013, score
2014-2015; the test years are not looked at. Each preset has its own widths and budget, which is
what it is. A run (network, preset, seed) has one thread, goes on from its last epoch, and leaves a
part in the work folder; the result is written after each, so that what is measured stays, and names
the runs that are missing. Parts and differences are those of bench/ablation.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import tables
from ablation import Run, execute
from protocol import add_data, djia_panel
from tqdm.auto import tqdm

from tftnhits.config import preset
from tftnhits.data.windows import Panel
from tftnhits.evaluation.verdicts import SIGNIFICANT, compare
from tftnhits.files import write_json

PRESETS = "v2.1,quick,v1.0,v2.0"  # the longest first, so that it doesn't end alone
PLACES = {"N-HITS": 1, "TFT": 0}  # of their settings in a preset; the quicker network first
REFERENCE = "quick"  # as wide as what is shipped
Parts = list[tuple[dict, np.ndarray]]  # record and losses [K] of each run


def plan(names: list[str], seeds: list[int]) -> list[Run]:
    """All runs, seed by seed, so that an early end leaves whole comparisons."""
    return [
        Run(network, name, preset(name)[place], replace(preset(name)[3], seed=seed))
        for seed in seeds
        for network, place in PLACES.items()
        for name in names
    ]


def settings(run: Run, data: str) -> str:
    """How the name of its part ends: alike where presets share a network and its training."""
    return run.part(Path(), data).name.rsplit("-", 1)[1]


def read(run: Run, folder: Path, data: str) -> tuple[dict, np.ndarray] | None:
    """Record and losses [K] of a run that is finished, by whichever preset, None of another."""
    paths = list(folder.glob(f"*-{settings(run, data)}"))
    if not paths:
        return None
    with np.load(paths[0]) as part:
        record = json.loads(str(part["record"]))
        return record | {"variant": run.variant}, part["loss"]


def row(own: Parts, reference: Parts, dates: np.ndarray, lags: int) -> dict[str, Any]:
    """The runs of one network by one preset, compared with the reference's of the same seeds."""
    records = [record for record, _ in own]
    valid = [r["valid"] for r in records]
    out = {
        "network": records[0]["network"],
        "preset": records[0]["variant"],
        "seeds": [r["seed"] for r in records],
        "weights": records[0]["weights"],
        "valid": statistics.mean(valid),
        "valid sd": statistics.stdev(valid) if len(valid) > 1 else None,
        "epochs": [r["epochs"] for r in records],
        "stopped": [r["stopped"] for r in records],
        "seconds": statistics.mean(r["seconds"] for r in records),
    }
    against = {r["seed"]: loss for r, loss in reference}
    shared = [(loss, against[r["seed"]]) for r, loss in own if r["seed"] in against]
    if records[0]["variant"] == REFERENCE or not shared:
        return out
    mine, theirs = (np.stack(losses) for losses in zip(*shared))
    found = compare(mine, theirs, dates, lags)
    words = {"helps": f"worse than {REFERENCE}", "hurts": f"better than {REFERENCE}"}
    found["verdict"] = words.get(found["verdict"], found["verdict"])
    return out | found


def summarise(runs: list[Run], folder: Path, panel: Panel) -> dict[str, Any]:
    """A row a network and preset, of the runs that are finished, and which are not."""
    digest, done, missing = panel.digest(), {}, []
    for run in runs:
        part = read(run, folder, digest)
        if part is None:
            missing.append([run.network, run.variant, run.train.seed])
        else:
            done.setdefault((run.network, run.variant), []).append(part)
    dates = panel.date[panel.origins("valid", runs[0].config.context)]
    lags = 2 * panel.config.horizon - 1
    rows = [
        row(own, done.get((network, REFERENCE), []), dates, lags)
        for (network, _), own in done.items()
    ]
    records = [record for own in done.values() for record, _ in own]
    return {"rows": rows, "runs": records, "missing": missing}


def write(path: str, runs: list[Run], folder: Path, panel: Panel) -> dict[str, Any]:
    """The result of what is measured by now."""
    budgets = {run.variant: run.train.to_dict() for run in runs}
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015; pinball x 1e4, nine levels",
        "seeds": sorted({run.train.seed for run in runs}),
        "symbols": len(panel.symbols),
        "data": panel.digest(),
        "significant": SIGNIFICANT,
        "budgets": budgets,
        **summarise(runs, folder, panel),
    }
    write_json(path, record)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--presets", default=PRESETS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2, help="0: only write what is measured")
    parser.add_argument("--folder", default="build/presets", help="where the runs' parts are kept")
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/presets.json")
    options = parser.parse_args()
    panel, folder = djia_panel(options.data), Path(options.folder)
    runs = plan(options.presets.split(","), [int(s) for s in options.seeds.split(",")])
    digest = panel.digest()
    distinct: dict[str, Run] = {}  # once where presets share a run, as v2.0 and quick do the TFT
    for run in runs:
        distinct.setdefault(settings(run, digest), run)
    missing = [run for run in distinct.values() if read(run, folder, digest) is None]
    if options.jobs:
        given = (panel, folder, options.log, "DJIA presets")
        tasks = (joblib.delayed(execute)(run, *given) for run in missing)
        pool = joblib.Parallel(
            options.jobs, return_as="generator_unordered", batch_size=1, max_nbytes=None
        )
        for _ in tqdm(pool(tasks), total=len(missing), desc="runs"):
            write(options.out, runs, folder, panel)
    print(tables.presets(write(options.out, runs, folder, panel)))
    print(options.out)


if __name__ == "__main__":
    main()
