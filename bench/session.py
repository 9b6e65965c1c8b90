"""What does the length of each session ahead buy as a known input (half days, known from the
exchange's calendar)?

    python bench/session.py --data FOLDER [--preset quick] [--seeds 0,1,2] [--jobs 2] [--out
    data/results/session.json]

FOLDER holds the bars, which are not bundled (protocol.py says which). Both networks without and
with it, at equal budget, on the DJIA's validation years; the test years are not looked at. Runs,
their parts and what counts as a difference are those of bench/ablation.py.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import joblib
from ablation import Run, execute, summarise
from protocol import add_data, djia_panel

from tftnhits.config import PanelConfig, preset
from tftnhits.evaluation.verdicts import SIGNIFICANT
from tftnhits.files import write_json

WITH, WITHOUT = "with", "without"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", default="build/session", help="where the runs' parts are kept")
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/session.json")
    options = parser.parse_args()
    folder, seeds = Path(options.folder), [int(s) for s in options.seeds.split(",")]
    panels = {
        WITHOUT: djia_panel(options.data),
        WITH: djia_panel(options.data, known=(*PanelConfig().known, "session")),
    }
    tft, nhits, _, train = preset(options.preset)
    runs = [
        Run(network, variant, config, replace(train, seed=seed))
        for seed in seeds
        for network, config in (("TFT", tft), ("N-HITS", nhits))
        for variant in panels
    ]
    digest = panels[WITH].digest()  # of the bars: the same without
    tasks = (
        joblib.delayed(execute)(
            run, panels[run.variant], folder, options.log, "DJIA session length"
        )
        for run in runs
        if not run.part(folder, digest).exists()
    )
    joblib.Parallel(options.jobs, batch_size=1, max_nbytes=None, verbose=5)(tasks)
    rows, records = summarise(runs, folder, panels[WITH], reference=WITH)
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015; pinball x 1e4, nine levels",
        "preset": options.preset,
        "seeds": seeds,
        "data": digest,
        "significant": SIGNIFICANT,
        "rows": rows,
        "runs": records,
    }
    write_json(options.out, record)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
