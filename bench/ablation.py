"""What each enhancement buys: classic, enhanced, and enhanced without each one, at equal budget, on
validation alone.

    python bench/ablation.py --data FOLDER [--preset quick] [--seeds 0,1,2] [--jobs 2]
        [--out data/results/ablation.json]

FOLDER holds the bars, which are not bundled (protocol.py says which). Train to 2013, score
2014-2015 by mean pinball loss × 10⁴ (the DJIA protocol); the test years are not looked at. Each run
(network, variant, seed) has one thread and leaves a part file in the work folder, so that a second
call goes on where a killed one ended. A difference is called one only if it shows over the seeds
(paired t-test, same seeds) and over the dates (Diebold-Mariano with HAC errors, of the seeds' mean
loss), each with two-sided p < 0.05.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import tables
import torch
from protocol import add_data, djia_panel
from tqdm.auto import tqdm

from tftnhits.config import SCORE_LEVELS, NHITSConfig, TFTConfig, TrainConfig, preset
from tftnhits.data.windows import Panel
from tftnhits.evaluation.metrics import pinball_loss
from tftnhits.evaluation.verdicts import ENHANCED, SIGNIFICANT, compare, variants
from tftnhits.files import atomic_write, write_json
from tftnhits.training.loop import fit, forecast_rows
from tftnhits.training.trials import log_trial


@dataclass(frozen=True)
class Run:
    """One training run."""

    network: str
    variant: str
    config: TFTConfig | NHITSConfig
    train: TrainConfig

    def part(self, folder: Path, data: str) -> Path:
        """Where its result is kept: another setting or other data has another name."""
        what = json.dumps([self.config.to_dict(), self.train.to_dict(), data])
        digest = hashlib.sha256(what.encode()).hexdigest()[:10]
        return folder / f"{self.network}-{self.variant}-{self.train.seed}-{digest}.npz".replace(
            " ", "-"
        )


def plan(name: str, seeds: list[int]) -> list[Run]:
    """All runs, seed by seed, so that an early end leaves whole comparisons."""
    tft, nhits, _, train = preset(name)
    return [
        Run(network, variant, config, replace(train, seed=seed))
        for seed in seeds
        for network, enhanced in (("TFT", tft), ("N-HITS", nhits))
        for variant, config in variants(enhanced).items()
    ]


def execute(run: Run, panel: Panel, folder: Path, log: str, study: str) -> None:
    """Train and score one run; its part holds the loss × 10⁴ of each validation origin, [K], and a
    record."""
    torch.set_num_threads(1)
    part = run.part(folder, panel.digest())
    state = part.with_suffix(".state")  # a long run goes on from its last epoch
    found = fit(run.config, panel, run.train, state, progress=False)
    rows = panel.origins("valid", run.config.context)
    pick = [run.config.quantiles.index(level) for level in SCORE_LEVELS]
    quantiles = forecast_rows(found.model, panel, rows)[..., pick]
    loss = 1e4 * pinball_loss(quantiles, panel.outcomes(rows), SCORE_LEVELS).mean(-1)  # [K]
    record = {
        "network": run.network,
        "variant": run.variant,
        "seed": run.train.seed,
        "valid": float(loss.mean()),
        "weights": sum(p.numel() for p in found.model.parameters()),
        "epochs": len(found.history),
        "stopped": found.stopped,
        "seconds": sum(row["seconds"] for row in found.history),
    }
    more = {k: record[k] for k in ("variant", "weights", "epochs", "stopped", "seconds")}
    model = type(found.model).__name__
    log_trial(
        log,
        study,
        model,
        run.config,
        run.train,
        record["valid"],
        run.train.seed,
        panel=panel.config,
        **more,
    )
    buffer = io.BytesIO()
    np.savez(buffer, loss=loss, record=json.dumps(record))
    atomic_write(part, buffer.getvalue())
    state.unlink(missing_ok=True)


def summarise(runs: list[Run], folder: Path, panel: Panel) -> tuple[list[dict], list[dict]]:
    """A row a variant, all compared with the enhanced network, and every run's record."""
    records, losses = [], {}
    for run in runs:
        with np.load(run.part(folder, panel.digest())) as part:
            records.append(json.loads(str(part["record"])))
            losses.setdefault((run.network, run.variant), []).append(part["loss"])
    dates = {
        n: panel.date[panel.origins("valid", c.context)]
        for n, c in {r.network: r.config for r in runs}.items()
    }
    rows = []
    for (network, variant), found in losses.items():
        own = [r for r in records if (r["network"], r["variant"]) == (network, variant)]
        row: dict[str, Any] = {"network": network, "variant": variant, "weights": own[0]["weights"]}
        for key in ("valid", "epochs", "seconds"):
            row[key] = statistics.mean(r[key] for r in own)
        row["valid sd"] = statistics.stdev(r["valid"] for r in own) if len(own) > 1 else None
        if variant != ENHANCED:
            against = np.stack(losses[network, ENHANCED])
            row |= compare(np.stack(found), against, dates[network], 2 * panel.config.horizon - 1)
        rows.append(row)
    return rows, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--symbols", help="some of the DJIA's symbols, such as AAPL,IBM, for a first look"
    )
    parser.add_argument("--folder", default="build/ablation", help="where the runs' parts are kept")
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/ablation.json")
    options = parser.parse_args()
    panel = djia_panel(options.data, options.symbols)
    folder, seeds = Path(options.folder), [int(s) for s in options.seeds.split(",")]
    study = (
        "DJIA ablation" if not options.symbols else f"DJIA, {len(panel.symbols)} symbols, ablation"
    )
    runs = plan(options.preset, seeds)
    missing = [run for run in runs if not run.part(folder, panel.digest()).exists()]
    tasks = (joblib.delayed(execute)(run, panel, folder, options.log, study) for run in missing)
    found = joblib.Parallel(
        options.jobs, return_as="generator_unordered", batch_size=1, max_nbytes=None
    )(tasks)
    for _ in tqdm(found, total=len(runs), initial=len(runs) - len(missing), desc="runs"):
        pass
    rows, records = summarise(runs, folder, panel)
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015; pinball x 1e4, nine levels",
        "preset": options.preset,
        "seeds": seeds,
        "symbols": list(panel.symbols),
        "data": panel.digest(),
        "budget": runs[0].train.to_dict(),
        "significant": SIGNIFICANT,
        "seconds": sum(r["seconds"] for r in records),
        "rows": rows,
        "runs": records,
    }
    write_json(options.out, record)
    print(tables.ablation(record))
    print(options.out)


if __name__ == "__main__":
    main()
