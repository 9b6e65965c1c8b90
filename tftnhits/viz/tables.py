"""How notebooks show a table: digits that say something, words instead of codes, all escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from .style import price

DASH = "–"  # where there is no number: one seed has no deviation, the benchmark no test
PRICES = {"open", "high", "low", "close", "median", "lower", "upper"}
P_VALUES = {"set", "dm_p", "mcs_p", "pt_p", "dm p against HAR"}  # and all that begin with "p "
Form = str | Callable[[Any], str]


def show_table(
    frame: pd.DataFrame, forms: Mapping[Any, Form] | None = None, index: bool | None = None
) -> Styler:
    """`frame` as a notebook shows it.

    Parameters
    ----------
    forms : by column, how its cells are written, where what their kind suggests does not do
    index : whether to show the index; None: unless it only counts the rows. One with a name becomes
        columns, so that the head is one line
    """
    counts = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    index = not counts if index is None else index
    if index and all(name is not None for name in frame.index.names):
        frame, index = frame.reset_index(), False
    given = forms or {}
    chosen = {name: given.get(name) or _form(name, frame[name]) for name in frame}
    styler = frame.style.format(chosen, na_rep=DASH, escape="html")
    for axis in (0, 1):
        styler.format_index(_label, axis=axis, escape="html")
    left = [name for name in frame if frame[name].map(lambda cell: isinstance(cell, str)).any()]
    styler.set_properties(subset=left, **{"text-align": "left"})
    return styler if index else styler.hide(axis="index")


def p_value(p: float) -> str:
    """Three digits of a probability, which can't be above 1."""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _form(name: Any, cells: pd.Series) -> Form:
    """What suits a column, by its name and by what is in it."""
    known = cells.dropna()
    if len(known) and known.map(pd.api.types.is_bool).all():
        return lambda cell: "yes" if cell else "no"
    if known.dtype.kind != "f":
        return "{:,}" if known.dtype.kind in "iu" else _label
    last = name[-1] if isinstance(name, tuple) else name
    if last in P_VALUES or str(last).startswith("p "):
        return lambda p: escape(p_value(p))
    if last in PRICES:
        return price
    # four digits of the largest, and two decimals at least: differences are of that size
    largest = float(known.abs().max()) if len(known) else 0.0
    if not 0 < largest < math.inf:
        return "{:.2f}"
    digits = 0 if largest >= 1e4 else min(max(3 - math.floor(math.log10(largest)), 2), 6)
    return f"{{:,.{digits}f}}"


def _label(value: Any) -> str:
    """A date without its midnight; lists by their parts, with a dash for none."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):  # a Styler escapes texts alone
        return ", ".join(DASH if part is None else escape(str(part)) for part in value)
    return str(value)
