"""What does the length of each session ahead buy as a known input (half days, known from the exchange's calendar)?

    python bench/session.py [--preset quick] [--seeds 0,1,2] [--jobs 2] [--out data/results/session.json]

Both networks without and with it, at equal budget, on the DJIA's validation years; the test years are not looked at.
Runs, their parts and what counts as a difference are those of bench/ablation.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from ablation import Run, execute
from protocol import TRAIN_END, VALID_END, djia_panel

import tftnhits as tn
from tftnhits.config import preset
from tftnhits.data.windows import Panel
from tftnhits.evaluation.ablation import SIGNIFICANT, compare
from tftnhits.files import write_json

STUDY = "DJIA session length"


def panels() -> dict[str, Panel]:
    """Without and with the input."""
    plain = djia_panel()
    known = (*(plain.config.known or ()), "session")
    config = tn.PanelConfig(train_end=TRAIN_END, valid_end=VALID_END, known=known)
    return {"without": plain, "with": tn.make_panel(tn.load_bars("djia"), config)}


def read(run: Run, folder: Path, panel: Panel) -> tuple[np.ndarray, dict[str, Any]]:
    """Loss × 10⁴ of each validation origin [K], and the run's record."""
    with np.load(run.part(folder, panel.digest())) as part:
        return part["loss"], json.loads(str(part["record"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", default="build/session", help="where the runs' parts are kept")
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/session.json")
    options = parser.parse_args()
    folder, seeds, both = Path(options.folder), [int(s) for s in options.seeds.split(",")], panels()
    tft, nhits, _, train = preset(options.preset)
    runs = [
        (Run(network, variant, config, replace(train, seed=seed)), panel)
        for seed in seeds
        for network, config in (("TFT", tft), ("N-HITS", nhits))
        for variant, panel in both.items()
    ]
    missing = [(run, panel) for run, panel in runs if not run.part(folder, panel.digest()).exists()]
    tasks = (joblib.delayed(execute)(run, panel, folder, options.log, STUDY) for run, panel in missing)
    joblib.Parallel(options.jobs, batch_size=1, max_nbytes=None, verbose=5)(tasks)
    rows = []
    for network, config in (("TFT", tft), ("N-HITS", nhits)):
        found = {v: [read(r, folder, p) for r, p in runs if (r.network, r.variant) == (network, v)] for v in both}
        loss = {v: np.stack([one[0] for one in parts]) for v, parts in found.items()}
        date = both["with"].date[both["with"].origins("valid", config.context)]
        row = {"network": network, **{v: [one[1]["valid"] for one in parts] for v, parts in found.items()}}
        rows.append(row | compare(loss["without"], loss["with"], date, 2 * both["with"].config.horizon - 1))
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015; pinball x 1e4, nine levels",
        "preset": options.preset, "seeds": seeds, "data": both["with"].digest(), "significant": SIGNIFICANT,
        "rows": rows,
    }  # fmt: skip
    write_json(options.out, record)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
