"""What fine-tuning the shipped model on bars of several kinds buys, and by which settings.

    python bench/finetune.py [--bars FILE ...] [--out data/results/finetune.json]

Each set's bars end where a user's validation would: what is scored here is a test split inside of
these, so that the settings are chosen without the last 15% of any set. A row a setting and set: the
ensemble's loss as shipped and fine-tuned, and by which share the latter is lower.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from corpus import resampled

import tftnhits as tn
from tftnhits.config import TrainConfig
from tftnhits.data.splits import SHARES
from tftnhits.data.windows import Panel, panel_of
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import pinball_loss
from tftnhits.forecast.predictor import Predictor

GRID = {"learning_rate": (3e-4, 1e-3, 3e-3), "batch": (2, 8), "epochs": (4, 8)}
SYMBOL = "AAPL"


def sets(files: list[str]) -> dict[str, pd.DataFrame]:
    """Bars by name: bundled ones, longer ones made of them, and those of files."""
    stocks, euro = tn.load_bars("stocks"), tn.load_bars("eurusd")
    found = {
        "EURUSD, hourly": euro,
        "EURUSD, 4 hours": tn.load_bars(resampled(euro, "4h")),
        "stocks, daily": stocks,
        f"{SYMBOL}, daily": stocks[stocks["symbol"] == SYMBOL].reset_index(drop=True),
        "stocks, weekly": tn.load_bars(resampled(stocks, "W")),
    }
    found |= {Path(name).stem: tn.load_bars(name) for name in files}
    return {name: _before_test(bars) for name, bars in found.items()}


def _before_test(bars: pd.DataFrame) -> pd.DataFrame:
    dates = np.sort(bars["date"].unique())
    return bars[bars["date"] <= dates[int(SHARES[1] * (len(dates) - 1))]].reset_index(drop=True)


def loss(model: Predictor, panel: Panel) -> float:
    """Mean pinball loss of the ensemble over the test split, in units of scale · √step."""
    rows = panel.origins("test", model.context)
    unit = panel.scale[rows] * np.sqrt(np.arange(1, panel.steps + 1))
    quantiles = model.quantiles(panel, rows) / unit[..., None]
    return float(pinball_loss(quantiles, panel.target[rows], model.levels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bars", nargs="*", default=[], help="more files of bars")
    parser.add_argument("--out", default="data/results/finetune.json")
    given = parser.parse_args()
    start, rows = Predictor.load(), []
    for name, bars in sets(given.bars).items():
        config = replace(start.panel_config, train_end=None, valid_end=None)
        panel = panel_of(bars, config, start.fitted)
        before = loss(start, panel)
        for values in itertools.product(*GRID.values()):
            train = TrainConfig(patience=3, **dict(zip(GRID, values)))
            begin = time.perf_counter()
            tuned = tn.fine_tune(start, bars, train=train, progress=False)
            after, found = loss(tuned, panel), tuned.manifest["fine-tuned"]
            row = {"set": name, **dict(zip(GRID, values)), "start": before, "tuned": after}
            row |= {"gain": 1 - after / before, "better": found["better"]}
            rows.append(row | {"seconds": time.perf_counter() - begin})
            print(name, *values, f"{row['gain']:+.3%}", f"{rows[-1]['seconds']:.0f} s", flush=True)
            write_json(given.out, {"rows": rows})


if __name__ == "__main__":
    main()
