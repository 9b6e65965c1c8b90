"""Outside text at the boundary to Markdown and CSV."""

import io
import re
from html import unescape

import mistune
import pandas as pd
import pytest

from tftnhits.escape import csv_text, markdown

HOSTILE = ["<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "*b* _c_ `d` $e$ ~~f~~"]
HOSTILE += ["# g", "> h", "1. i", "- j", "&lt;k", "a\\b", "^GSPC", "BRK.B", "![l](http://x/y.png)"]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_any_text_letter_by_letter(text):
    render = mistune.create_markdown(escape=False, plugins=["strikethrough", "url", "table"])
    for line in (f"For {markdown(text)}: it is", markdown(text)):
        tags = re.findall("<.*?>", render(line))
        assert tags == ["<p>", "</p>"], line
    shown = unescape(re.sub("<.*?>", "", render(markdown(text))))
    assert shown.strip() == text


def test_no_text_of_a_csv_starts_a_formula_and_numbers_stay():
    odd = ["=1+1", "+A", "-B", "@C", "\tD", "^GSPC", "BRK-B"]
    frame = pd.DataFrame({"symbol": odd, "change": -1.5, "date": pd.Timestamp("2020-01-02")})
    read = pd.read_csv(io.StringIO(csv_text(frame)), keep_default_na=False)
    assert read["symbol"].tolist() == [f"'{name}" for name in odd[:5]] + odd[5:]
    assert (read["change"] == -1.5).all() and (read["date"] == "2020-01-02").all()
    assert csv_text(pd.DataFrame({"symbol": ["\rE"]})) == "symbol\n'\rE\n"
    for kind in ("string", "category"):
        assert csv_text(frame.astype({"symbol": kind})) == csv_text(frame)
    assert frame["symbol"].tolist() == odd
