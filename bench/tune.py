"""Search for settings of both networks on the DJIA's validation years; the test years are not
looked at.

    python bench/tune.py --data FOLDER [--preset quick] [--trials 40] [--out FILE]

FOLDER holds the bars, which are not bundled (protocol.py says which). Train to 2013, score
2014-2015 by mean pinball loss × 10⁴. A second call goes on with a search that was interrupted, or
from a smaller total. The best of many is flattered by luck: `configurations` in the result says of
how many.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from protocol import add_data, djia_panel

from tftnhits.files import write_json
from tftnhits.training.trials import UNIT, Tuned, count_trials, tune

TOP = 10


def record(found: Tuned) -> dict:
    """A search as plain values: the best settings whole, the top ten by what differs between
    them."""
    frame, (config, train) = found.frame, found.configs[0]
    start = frame.loc[frame["preset"], "valid"].dropna()
    return {
        "best": {
            "valid": float(frame["valid"].iloc[0]),
            "config": config.to_dict(),
            "train": train.to_dict(),
        },
        "preset": float(start.iloc[0]) if len(start) else None,
        "top": json.loads(frame[frame["state"] == "complete"].head(TOP).to_json(orient="records")),
        "trials": frame["state"].value_counts().to_dict(),
        "seconds": float(frame["seconds"].sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--networks", default="tft,nhits")
    parser.add_argument("--preset", default="quick")
    parser.add_argument(
        "--trials", type=int, default=40, help="of each network, earlier calls' included"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--symbols", help="some of the DJIA's symbols, such as AAPL,IBM, for a first look"
    )
    parser.add_argument("--folder", default="build/tuning", help="where the searches are kept")
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/tuning.json")
    options = parser.parse_args()
    begin, panel = time.perf_counter(), djia_panel(options.data, options.symbols)
    study = "DJIA tuning" if not options.symbols else f"DJIA, {len(panel.symbols)} symbols, tuning"
    searches = {}
    for network in options.networks.split(","):
        given = (network, panel, options.preset, options.trials, Path(options.folder))
        found = tune(*given, seed=options.seed, log=options.log, study=study)
        searches[network] = record(found)
        print(found.frame.head(TOP).to_string(index=False))
    out = {
        "protocol": "train to 2013-12-31, validation 2014-2015",
        "unit": UNIT,
        "preset": options.preset,
        "seed": options.seed,
        "symbols": list(panel.symbols),
        "data": panel.digest(),
        "configurations": count_trials(options.log),
        "seconds": time.perf_counter() - begin,
        "networks": searches,
    }
    write_json(options.out, out)
    print(options.out)


if __name__ == "__main__":
    main()
