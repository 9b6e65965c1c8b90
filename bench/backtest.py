"""The walk-forward backtest on the DJIA: time, leaderboard, verdicts, coverage over time.

    python bench/backtest.py --data FOLDER [--preset quick] [--start 2012-01-01] [--end 2015-12-31]
    [--seeds 0,1,2]
        [--jobs 2]

FOLDER holds the bars, which are not bundled (protocol.py says which). Nothing after --end is seen:
by default the years 2012-2015, so that 2016-2017 stay untouched until the final run. Runs that are
in --folder already are kept, and then the time is that of the rest alone (the record says so).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import pandas as pd
from protocol import add_data, djia_bars
from tables import plain

import tftnhits as tn
from tftnhits.evaluation.fold_run import ENSEMBLES
from tftnhits.evaluation.leaderboard import arrays, summary
from tftnhits.evaluation.metrics import scores
from tftnhits.files import write_json

OVER_TIME = (
    "coverage_80",
    "coverage_93",
    "calibrated_coverage_80",
    "calibrated_coverage_93",
    "outcomes",
)


def measure(result: tn.Backtest) -> dict[str, Any]:
    """All tables of the record."""
    frame = result.frame
    board = summary(frame)
    names = board.index.tolist()
    found = {name: arrays(frame, name) for name in names}
    fits = {
        name: scores(a.quantiles, a.levels, a.actual, a.date, a.naive) for name, a in found.items()
    }
    by = {group: summary(frame, by=group) for group in ("fold", "tercile")}
    over_time = {
        group: summary(frame, by=group)[[group, "forecaster", *OVER_TIME]]
        for group in ("quarter", "month")
    }
    record = {
        "leaderboard": board.reset_index(),
        "scores": fits,
        **{f"by {k}": v for k, v in (by | over_time).items()},
    }
    ensembles = [name for name in ENSEMBLES if name in names]
    if len(ensembles) > 1:
        rivals = summary(frame[frame["forecaster"].isin(ensembles)], benchmark=ENSEMBLES[0])
        record["ensembles"] = rivals[["pinball", "dm_p", "mcs_p", "in_mcs"]].reset_index()
    return plain(record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--start", default="2012-01-01")
    parser.add_argument("--end", default="2015-12-31", help="the last bar that is seen")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--symbols", help="a few of them, for a quick look")
    parser.add_argument("--folder", default="notebooks/runs/bench-backtest")
    parser.add_argument("--out", default="data/results/backtest.json")
    options = parser.parse_args()
    bars = djia_bars(options.data, options.symbols)
    bars = bars[bars["date"] <= options.end]
    seeds = tuple(int(s) for s in options.seeds.split(","))
    config = tn.BacktestConfig(
        start=options.start, months=options.months, preset=options.preset, seeds=seeds
    )
    begin = time.time()
    result = tn.backtest(bars, config, options.folder, options.jobs)
    trained = time.time()
    record = {
        "bars": {"symbols": int(bars["symbol"].nunique()), "first": str(bars["date"].min().date())},
        "last": options.end,
        "config": config.to_dict(),
        "versions": result.manifest["versions"],
        "jobs": options.jobs,
        "survivorship": "nearly all symbols are the index's members of 2017, chosen with hindsight",
        "runs": plain(result.report),
        "resumed": any(
            (result.folder / "runs" / f"{r['run']}.json").stat().st_mtime < begin
            for r in result.records
        ),
        "weights": [{k: r[k] for k in ("run", "weights")} for r in result.records],
        **measure(result),
    }
    record["seconds"] = {
        "backtest": trained - begin,
        "scores": time.time() - trained,
        "all": time.time() - begin,
    }
    write_json(options.out, record)
    print(pd.DataFrame(record["leaderboard"]).set_index("forecaster").round(3).to_string())
    print({k: round(v, 1) for k, v in record["seconds"].items()}, options.out)


if __name__ == "__main__":
    main()
