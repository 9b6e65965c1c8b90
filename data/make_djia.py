"""Packs the CSV files of the "DJIA 30 Stock Time Series" into data/djia.parquet, unrepaired.

    python data/make_djia.py SOURCE_FOLDER

The files are called like AAPL_2006-01-01_to_2018-01-01.csv; README.md says where they come from.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd

TARGET = Path(__file__).resolve().parent / "djia.parquet"
COLUMNS = {"Name": "symbol", "Date": "date", "Open": "open", "High": "high", "Low": "low", "Close": "close"}
COLUMNS |= {"Volume": "volume"}


def read(folder: Path) -> pd.DataFrame:
    """All bars as they come, empty cells and zero volumes included, by symbol and date."""
    files = sorted(folder.glob("*_to_*.csv"))
    if not files:
        raise SystemExit(f"{folder} has no files like AAPL_2006-01-01_to_2018-01-01.csv; give their folder.")
    frames = [pd.read_csv(file, parse_dates=["Date"]) for file in files]
    bars = pd.concat(frames, ignore_index=True)[list(COLUMNS)].rename(columns=COLUMNS)
    numbers = dict.fromkeys(list(COLUMNS.values())[2:], "float64")  # float32 would lose cents
    bars = bars.astype({"symbol": "category", "date": "datetime64[ns]", **numbers})
    return bars.sort_values(["symbol", "date"], kind="stable", ignore_index=True)


def write(bars: pd.DataFrame, target: Path) -> None:
    """Under a temporary name first: a reader never sees half a file."""
    part = target.with_suffix(".part")
    bars.to_parquet(part, compression="zstd", compression_level=19, index=False)
    os.replace(part, target)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python data/make_djia.py SOURCE_FOLDER")
    bars = read(Path(arguments[0]))
    write(bars, TARGET)
    size = TARGET.stat().st_size / 1e6
    print(f"{len(bars)} bars of {bars['symbol'].nunique()} symbols, {size:.1f} MB: {TARGET}")


if __name__ == "__main__":
    main(sys.argv[1:])
