"""Charts as paths: where values are, and which labels stand there."""

import re

import numpy as np
import pytest

from tftnhits.viz.svg import UNITS, WIDE, Axis, across, band, boxes, line, uprights, view


def test_units_go_down_from_the_highest_value():
    axis = Axis.of([50.0, np.nan], 100.0)
    np.testing.assert_array_equal(axis.units([100.0, 75.0, 50.0]), [0, UNITS / 2, UNITS])
    assert np.isnan(axis.units([np.nan])[0])
    flat = Axis.of([7.0, 7.0])
    assert flat.low < 7 < flat.high and flat.units([7.0]) == UNITS / 2
    assert Axis.of([0.0]).unit > 0


@pytest.mark.parametrize("low, high", [(163.2, 198.9), (1.0832, 1.0911), (3e-11, 5e-11), (0, 3e9)])
def test_labels_are_round_and_stand_at_their_values(low, high):
    axis = Axis.of([low, high])
    ticks = axis.ticks((0, 0, 1, UNITS))
    values = np.array([float(text.replace(",", "")) for _, text in ticks])
    assert 2 <= len(ticks) <= 7 and len({text for _, text in ticks}) == len(ticks)
    np.testing.assert_allclose([at for at, _ in ticks], axis.units(values) / 100, atol=0.5)
    inner = axis.ticks((0, UNITS / 4, 1, UNITS / 2))  # zoomed in
    assert all(0 <= at <= 100 for at, _ in inner) and len(inner) >= 2


def test_the_lower_line_of_a_label_stands_where_it_changes():
    upper, lower = list("abcdefghi"), ["2016"] * 4 + ["2017"] * 5
    labels = across((upper, lower))
    assert [text for _, text in labels] == ["a\n2016", "c", "e\n2017", "g", "i"]
    assert [at for at, _ in labels] == pytest.approx([100 * (k + 0.5) / 9 for k in range(0, 9, 2)])
    assert [text for _, text in across((upper, lower), 7)] == ["h\n2017", "i"]
    assert across((["7"], [""])) == [(50.0, "7")]


def test_a_view_has_all_units_in_it():
    left, top, width, height = view(3, 7, [100.0, np.nan], [300.0])
    assert (left, width) == (WIDE * 2.5, WIDE * 5)
    assert top < 100 and top + height > 300


def test_paths_are_made_of_whole_units():
    x, y = np.array([0, 1, 2]), np.array([5.0, 7.0, 9.0])
    assert line(x, y) == "M0 5L10 7L20 9"
    assert band(x, y, y - 1) == "M0 4L10 6L20 8L20 9L10 7L0 5Z"
    assert uprights(x[:1], y[:1], y[2:]) == "M0 5V9"
    assert boxes(x[:1], y[:1], y[2:]) == "M-3.5 5h7V9h-7Z"
    assert re.fullmatch(r"(M[\d.]+ \d+V\d+)*", uprights(x + 0.5, y, y))
