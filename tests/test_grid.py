"""Bars as cells and as rows: what is cut keeps its place, whatever the lengths."""

import numpy as np
import pytest
from helpers import made_bars

from tftnhits.data.grid import ORIGINS, Grid


@pytest.fixture(scope="module")
def grid():
    bars = made_bars(("A", "B", "C"), 300)
    gone = (bars["symbol"] == "B") & (bars["close"].index % 300 >= 40)
    return Grid.of(bars[~gone], 5)


def test_rows_follow_each_other_with_spare_ones(grid):
    assert grid.symbols == ("A", "B", "C") and grid.length.tolist() == [300, 40, 300]
    assert grid.start.tolist() == [0, 305, 350] and grid.size == 655
    assert grid.rows[[0, 299, 300, 340]].tolist() == [0, 299, 305, 350]
    column = np.arange(640.0)
    assert np.isnan(grid.wide(column)[1, 40:]).all()
    np.testing.assert_array_equal(grid.flat(grid.wide(column), -1.0)[grid.rows], column)


@pytest.mark.parametrize("keep", [1, 100, 200])
def test_a_tail_has_the_last_bars_cut_by_whole_chunks(grid, keep):
    left = grid.tail(keep)
    assert not (left.before % ORIGINS).any() and left.before[1] == 0
    assert (left.length >= np.minimum(grid.length, keep)).all()
    assert (left.length[[0, 2]] < keep + ORIGINS).all()
    number = grid.wide(np.concatenate([np.arange(n) for n in grid.length]), -1)
    cut = left.cut(number, -1)
    assert cut.max(1).tolist() == [299, 39, 299] and (cut[:, 0] == left.before).all()
    np.testing.assert_array_equal(cut[left.cells], left.place[left.cells])
    # rows of bars and of those ahead
    rows = grid.flat(number, 7, int)
    np.testing.assert_array_equal(left.cut_rows(rows), left.flat(cut, 7, int))


def test_what_is_short_or_whole_is_not_cut(grid):
    assert grid.tail(None) is grid and grid.tail(300) is grid
