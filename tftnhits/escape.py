"""Text from outside, such as a symbol, made plain at the boundary to Markdown, HTML and CSV.

For a terminal there is `tftnhits.errors.printable`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MARKS = re.compile(r"[^\w\s,]|_")  # what may mean something to Markdown or HTML
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula


def markdown(text: object) -> str:
    """Any text as Markdown that shows it letter by letter, on one line.

    Marks become numbered entities, which neither Markdown nor HTML takes for marks.
    """
    line = " ".join(str(text).split())
    return MARKS.sub(lambda mark: f"&#{ord(mark[0])};", line)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame without its index as CSV in which no text starts a spreadsheet's formula."""
    return without_formulas(frame).to_csv(index=False)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy in which no text starts a spreadsheet's formula.

    Such a text gets an apostrophe before it, as OWASP advises; numbers stay as they are.
    """
    safe = frame.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biufcmM":
            safe[name] = safe[name].map(_cell)
    return safe


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
