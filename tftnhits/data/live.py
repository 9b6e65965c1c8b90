"""Live bars of a symbol, and the bundled ones that stand in where Yahoo Finance fails."""

from __future__ import annotations

import warnings
from datetime import date

import pandas as pd

from ..errors import TftnhitsError
from .bars import bundled_symbols, load_bars
from .yahoo import download_bars

YEARS = 15  # of live bars: enough to train on


def live_bars(symbol: str, seconds: float | None = None) -> pd.DataFrame:
    """Validated bars of one symbol of Yahoo Finance; `seconds` as `download_bars` takes them.

    Where they can't be had its bundled bars stand in, and their forecast's warnings say so. Raises
    what `download_bars` raises where there are none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are among the bars' attrs
            return download_bars([symbol], first_day(), seconds=seconds)
    except TftnhitsError as error:
        if symbol.upper() not in bundled_symbols():
            raise
        return stand_in(symbol, error)


def first_day() -> date:
    """Since when live bars are asked for."""
    today = date.today()
    return today.replace(year=today.year - YEARS, day=min(today.day, 28))


def stand_in(symbol: str, error: TftnhitsError) -> pd.DataFrame:
    """A bundled symbol's bars, with the forecast's warning that they are not live."""
    name = symbol.upper()
    bars = load_bars("stocks", symbol=name)
    doubt = (
        f"Live bars of {name} can't be had ({reason(error)}), so the bundled ones, which "
        f"end on {bars['date'].max():%Y-%m-%d}, are used."
    )
    bars.attrs["doubts"].setdefault(name, []).insert(0, doubt)
    return bars


def reason(error: TftnhitsError) -> str:
    """The first clause of its sentence: the rest tells what to do in Python."""
    return str(error).split(";")[0].split(", and ")[0].rstrip(".")
