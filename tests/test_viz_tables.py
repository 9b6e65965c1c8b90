"""Tables of notebooks: digits that say something, words, dashes, and nothing that is HTML."""

import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2")

from tftnhits.viz.tables import DASH, p_value, show_table


def cells(frame: pd.DataFrame, **options) -> list[list[str]]:
    """What a reader sees, row by row, the head first."""
    rows = re.findall(r"<tr>(.*?)</tr>", show_table(frame, **options).to_html(), re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]


def test_cells_are_written_by_what_they_are():
    frame = pd.DataFrame(
        {
            "close": [187.2349, 1.23456],
            "volume": [27_123_456.0, 5e6],
            "dm_p": [0.0004, np.nan],
            "loss sd": [0.01234, np.nan],
            "in_mcs": [True, False],
            "date": pd.to_datetime(["2017-12-29 00:00", "2017-12-29 10:30"]),
            "stopped": [[9, None], [8, 7]],
        }
    )
    head, one, two = cells(frame)
    assert head == list(frame)  # no index, which only counts
    assert one == ["187.23", "27,123,456", "&lt; .001", "0.01234", "yes", "2017-12-29", "9, –"]
    assert two == ["1.235", "5,000,000", DASH, DASH, "no", "2017-12-29 10:30", "8, 7"]


def test_an_index_that_says_something_stays_and_forms_come_first():
    frame = pd.DataFrame({"share": [0.935]}, index=pd.Index(["HAR"], name="forecaster"))
    text = show_table(frame, {"share": "{:.1%}"}).to_html()
    assert "HAR" in text and "93.5%" in text
    assert cells(frame)[0] == ["forecaster", "share"]
    assert "HAR" not in re.sub(r"id=\S+", "", show_table(frame, index=False).to_html())
    assert p_value(1.0) == "1.000" and p_value(0.0234) == ".023"


def test_nothing_in_a_table_is_html():
    evil = "<b>&"
    frame = pd.DataFrame({evil: [evil, [evil]]}, index=[evil, "x"])
    text = show_table(frame).to_html()
    assert "<b>" not in text and text.count("&lt;b&gt;&amp;") == 4
