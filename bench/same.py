"""Whether two checkouts of the kit forecast the same: the shipped model on the bundled bars, to
1e-6.

python bench/same.py --write /tmp/before.parquet      # in the checkout before a change
python bench/same.py --against /tmp/before.parquet    # in the one after it
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import tftnhits as tn

DAYS = 250  # bars of each symbol whose forecasts are compared
TOLERANCE = 1e-6  # largest relative difference of a price


def forecasts() -> pd.DataFrame:
    """Every origin's forecast of the last bars of both bundled sets, one row a symbol, origin and
    step."""
    model = tn.Predictor.load()
    frames = []
    for name in ("stocks", "eurusd"):
        bars = tn.load_bars(name).groupby("symbol").tail(DAYS)
        frame = model.predict(bars, origins="all").frame
        frames.append(
            frame.assign(origin=frame["origin"].astype(str), date=frame["date"].astype(str))
        )
    return pd.concat(frames, ignore_index=True)


def compare(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Largest relative difference of any price; raises ValueError where rows or columns differ."""
    keys = ["symbol", "origin", "step", "date"]
    if [*before.columns] != [*after.columns] or not before[keys].equals(after[keys]):
        raise ValueError("The two checkouts forecast other rows or columns.")
    old, new = (frame.drop(columns=keys).to_numpy(float) for frame in (before, after))
    return float(np.max(abs(new / old - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", type=Path, help="keep this checkout's forecasts in a Parquet file"
    )
    parser.add_argument(
        "--against", type=Path, help="compare with the forecasts of another checkout"
    )
    options = parser.parse_args()
    found = forecasts()
    if options.write:
        found.to_parquet(options.write)
    if options.against:
        worst = compare(pd.read_parquet(options.against), found)
        print(f"{len(found):,} rows; the largest relative difference is {worst:.2g}")
        raise SystemExit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
