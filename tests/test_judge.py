"""What is odd in bars is said: splits, halts, stale symbols; each with its symbol."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.names import PRICES


def moved(ratio, at=150, bars=300, until=None):
    """Bars whose prices are multiplied by `ratio` from bar `at` on."""
    table = made_bars(("A",), bars)
    rows = (np.arange(bars) >= at) & (np.arange(bars) < (until or bars))
    table.loc[rows, list(PRICES)] *= ratio
    return table


@pytest.mark.parametrize("split", [2, 3, 4, 5, 7, 10, 15, 20])
def test_a_split_that_was_not_adjusted_is_pointed_out(split):
    for ratio, name in ((1 / split, f"{split}:1 split"), (split, f"1:{split} reverse split")):
        for at in (150, 298):
            (sentence,) = load_bars(moved(ratio, at)).attrs["doubts"]["A"]
            day = f"{made_bars(('A',), 300)['date'][at]:%Y-%m-%d}"
            assert name in sentence and day in sentence and one_sentence(sentence)


def test_other_moves_are_no_splits():
    for table in (moved(0.7), moved(1.4), moved(0.1, until=151), moved(0.4)):
        assert not load_bars(table).attrs["doubts"]
    crash = moved(0.5)
    crash.loc[150, "volume"] *= (
        100  # so many trade on news, not since there are twice as many shares
    )
    assert not load_bars(crash).attrs["doubts"]
    wild = made_bars(("A",), 300)
    wild[list(PRICES)] *= np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.5, 300)))[:, None]
    assert not load_bars(wild).attrs["doubts"]


def test_doubts_go_with_the_bars_and_their_symbol():
    bars = load_bars(
        {
            "GOOD": made_bars(("A",)).drop(columns="symbol"),
            "SPLIT": moved(0.1).drop(columns="symbol"),
        }
    )
    assert [*bars.attrs["doubts"]] == ["SPLIT"]
    again = load_bars(bars)
    assert again.attrs["doubts"] == bars.attrs["doubts"]


def test_todays_bar_twice_is_one_bar():
    table = made_bars(("A",), 60)
    last = table.iloc[[-1]].assign(
        date=table["date"].iloc[-1] + pd.Timedelta("16h"), close=table["low"].iloc[-1]
    )
    bars = load_bars(pd.concat([table, last]))
    assert len(bars) == 60 and bars["close"].iloc[-1] == table["low"].iloc[-1]
    assert bars["date"].iloc[-1] == table["date"].iloc[-1]
    assert repairs(bars)["repair"].tolist() == ["last day is there twice, the later bar kept"]
    hours = made_bars(("A",), 60, "h")
    assert len(load_bars(hours)) == 60
