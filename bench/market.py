"""A made-up stock market for tests of scale: regimes, jumps, holidays, late listings, delistings.

    python bench/market.py FOLDER [--symbols 5000] [--bars 2500] [--block 250] [--seed 0]

Writes a Parquet file for each range of symbols. A symbol's bars depend on the seed, the number of
bars and its block alone, so that a small market is the beginning of a large one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.tseries import holiday as H
from scipy.signal import lfilter

END = "2025-12-31"
LATE, GONE, GAPS = 0.2, 0.05, 0.02  # shares of symbols: listed late, delisted, with days missing
JUMP, NEWS = 0.004, 4.0  # chance of a jump on a day, and its size in daily volatilities
DAILY = 0.01  # volatility of the market's calm days
STORMY = 2.5  # times that of the stormy ones
SPELLS = (250, 60)  # mean bars of a calm and of a stormy regime


class Exchange(H.AbstractHolidayCalendar):
    """The days on which New York is shut, but for days of mourning."""

    rules = [  # noqa: RUF012
        H.Holiday("New Year", month=1, day=1, observance=H.sunday_to_monday),
        H.USMartinLutherKingJr,
        H.USPresidentsDay,
        H.GoodFriday,
        H.USMemorialDay,
        H.Holiday("Juneteenth", month=6, day=19, start_date="2022", observance=H.nearest_workday),
        H.Holiday("Independence", month=7, day=4, observance=H.nearest_workday),
        H.USLaborDay,
        H.USThanksgivingDay,
        H.Holiday("Christmas", month=12, day=25, observance=H.nearest_workday),
    ]


def sessions(bars: int) -> np.ndarray:
    """The last `bars` days of trading up to END, datetime64[ns]."""
    days = pd.bdate_range(end=END, periods=bars + bars // 20 + 30)
    days = days.difference(Exchange().holidays(days[0], days[-1]))
    return days.to_numpy("datetime64[ns]")[-bars:]


def market_moves(bars: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The market's log returns and their volatility [T]: calm and stormy spells in turn, jumps."""
    generator = np.random.default_rng([seed, 0])
    spells = generator.geometric(1 / np.tile(SPELLS, bars))
    spell = np.searchsorted(np.cumsum(spells), np.arange(bars), side="right")
    volatility = np.where(spell % 2, STORMY, 1.0) * DAILY
    moves = generator.standard_normal(bars) + _jumps(generator, (bars,))
    return volatility * moves, volatility


def _jumps(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(generator.random(shape) < JUMP, generator.normal(0, NEWS, shape), 0.0)


def block_bars(first: int, symbols: int, bars: int, seed: int) -> pd.DataFrame:
    """Bars of the symbols from number `first` on, in one tidy frame."""
    generator = np.random.default_rng([seed, 1, first])
    market, calm = market_moves(bars, seed)
    shape = symbols, bars
    # Returns: the market's by a beta, and the symbol's own with a volatility that wanders
    wander = lfilter([0.1], [1, -0.98], generator.standard_normal(shape), axis=1)
    own = calm * np.exp(wander) * generator.uniform(0.8, 2.5, (symbols, 1))
    moves = generator.standard_normal(shape) + _jumps(generator, shape)
    returns = generator.uniform(0.3, 1.7, (symbols, 1)) * market + own * moves
    start = np.log(generator.uniform(5, 200, (symbols, 1)))
    close = start + np.cumsum(returns - 0.5 * own**2, axis=1)
    # The bar around it, and a volume that moves with it
    night = generator.uniform(0.1, 0.5, shape) * returns
    opening = np.concatenate([close[:, :1], close[:, :-1]], axis=1) + night
    reach = np.abs(generator.normal(0, 0.4, (2, *shape))) * own
    trend = lfilter([0.3], [1, -0.9], generator.standard_normal(shape), axis=1)
    volume = np.exp(generator.uniform(10, 16, (symbols, 1)) + trend + np.abs(moves) / 3)
    columns = {
        "open": np.exp(opening),
        "high": np.exp(np.maximum(opening, close) + reach[0]),
        "low": np.exp(np.minimum(opening, close) - reach[1]),
        "close": np.exp(close),
        "volume": np.round(volume),
    }
    traded = _traded(generator, shape)
    names = np.array([f"S{number:05d}" for number in range(first, first + symbols)])
    keys = {"symbol": np.repeat(names, traded.sum(1))}
    keys["date"] = np.broadcast_to(sessions(bars), shape)[traded]
    return pd.DataFrame(keys | {name: values[traded] for name, values in columns.items()})


def _traded(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Which bars [S, T] there are: from the listing on, until the delisting, few days missing."""
    symbols, bars = shape
    day = np.arange(bars)
    listed = np.where(generator.random(symbols) < LATE, generator.integers(0, bars, symbols), 0)
    listed = np.minimum(listed, bars - bars // 8)
    gone = np.where(generator.random(symbols) < GONE, generator.integers(0, bars, symbols), bars)
    gone = np.maximum(gone, listed + bars // 8)
    missing = (generator.random((symbols, 1)) < GAPS) & (generator.random(shape) < 0.01)
    return (day >= listed[:, None]) & (day < gone[:, None]) & ~missing


def blocks(symbols: int, bars: int, block: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    """The bars of a market, `block` symbols at a time."""
    for first in range(0, symbols, block):
        yield block_bars(first, min(block, symbols - first), bars, seed)


def write_market(folder: Path, symbols: int, bars: int, block: int = 250, seed: int = 0) -> Path:
    """Write a market as a Parquet file for each range of symbols; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in blocks(symbols, bars, block, seed):
        first, last = frame["symbol"].iloc[[0, -1]]
        frame.to_parquet(folder / f"{first}-{last}.parquet", index=False, row_group_size=1 << 17)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--symbols", type=int, default=5000)
    parser.add_argument("--bars", type=int, default=2500)
    parser.add_argument("--block", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_market(**vars(options))
    print(options.folder)


if __name__ == "__main__":
    main()
