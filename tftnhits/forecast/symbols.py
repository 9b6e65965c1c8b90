"""Which symbols of a frame can be forecast, and what must be said of each that is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.repair import ALL, behind, idle
from ..errors import DataError, HistoryTooShort


def answerable(
    bars: pd.DataFrame, least: int, strict: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The bars of the symbols that can be forecast, and why each other one is left out.

    Left out are symbols of fewer than `least` bars and of a price that never moves, as long as others stay.
    Raises HistoryTooShort or DataError at the first of them if `strict`.
    """
    skipped = dict(bars.attrs.get("skipped", {}))
    first, stop = _spans(bars)
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    names = bars["symbol"].to_numpy()[first]
    out = {}
    for name, a, b in zip(names, first, stop, strict=True):
        if b - a < least:
            out[name] = (
                f"{name} is left out, since it has {b - a} bars and a forecast needs {least}."
            )
            error = HistoryTooShort(
                f"{name} has {b - a} bars and a forecast needs {least}; give more."
            )
        elif (
            b - a > 1
            and high[a] == low[a]
            and idle(close[a:b], high[a:b], low[a:b]).endswith("never moves")
        ):
            out[name] = f"{name} is left out, since its price never moves: halted or stale."
            error = DataError(
                f"{name} has a price that never moves: it is halted or stale; leave it out."
            )
        else:
            continue
        if strict:
            raise error
    if not out or len(out) == len(names):
        return bars, skipped
    return bars[~bars["symbol"].isin([*out])].reset_index(drop=True), skipped | out


def remarks(bars: pd.DataFrame) -> tuple[dict[str, list[str]], set[str]]:
    """What to say of each symbol, and those of which no coverage can be claimed.

    Said is what was guessed when the bars were read, that a symbol is halted or stale, and that its last bar is much
    older than that of others. Without dates, and where a price doesn't move, a measured coverage means nothing.
    """
    doubts = bars.attrs.get("doubts", {})
    first, stop = _spans(bars)
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    names = bars["symbol"].to_numpy()[first]
    last = bars["date"].to_numpy()[stop - 1]
    old, newest = behind(last), last.max() if len(last) else None
    said: dict[str, list[str]] = {}
    unclaimed = set()
    for i, (name, a, b) in enumerate(zip(names, first, stop, strict=True)):
        said[name] = [*doubts.get(ALL, []), *doubts.get(name, [])]
        if np.isnat(last[i]):
            unclaimed.add(name)
        if why := idle(close[a:b], high[a:b], low[a:b]):
            said[name].append(f"{name} is halted or stale: {why}, so no coverage is claimed.")
            unclaimed.add(name)
        if old[i]:
            said[name].append(
                f"The last bar of {name} is of {_day(last[i])}; the newest here is of {_day(newest)}."
            )
    return said, unclaimed


def _spans(bars: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """First row of each symbol [S], and the row after its last."""
    symbol = bars["symbol"].to_numpy()
    first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]
    return first, np.r_[first[1:], len(symbol)]


def _day(date: np.datetime64) -> str:
    return str(date)[:10]
