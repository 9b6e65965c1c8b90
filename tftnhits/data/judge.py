"""Whether a table is what it claims: tables that are no bars are refused, what is odd is said."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError
from .names import PRICES
from .report import Report, when

CROSSED = 0.05  # share of rows with the high below the low from which columns are mislabelled
OUTSIDE = 0.2  # share of rows whose open or close lies well outside the range, likewise
LEAST = 3  # rows; fewer prove nothing
SECTION = 10  # symbols of one bar each from which a table is one day of a market
SPLITS = (2, 3, 4, 5, 7, 10, 15, 20)
NEAR, CALM = 0.06, 0.15  # log distance from a split's ratio; largest usual overnight move around it
AROUND = 5  # bars before and after that must be calm
NEWS = 4  # times the volume that a split explains, from which a fall is one on news
IDLE = 10  # bars without any move that say that a symbol is halted
BEHIND = np.timedelta64(10, "D")  # a last bar this much older than the newest is stale


def refuse_section(bars: pd.DataFrame) -> None:
    """Raises DataError on a cross-section: about as many symbols as rows."""
    count = len(np.unique(bars["code"]))
    if count < SECTION or count < 0.9 * len(bars):
        return
    if bars["date"].nunique() <= 1:
        raise DataError(
            f"The table holds one day of {count} stocks, a bar each, not a history of them; "
            "give the days of each symbol one below the other."
        )
    raise DataError(
        "Column symbol has another value in nearly every row, so it names no symbol; leave it "
        "out, or say columns={'symbol': …}."
    )


def refuse_mislabelled(bars: pd.DataFrame) -> None:
    """Raises DataError where high and low, or open and close, can't be what they are called."""
    opening, high, low, close = (bars[name].to_numpy() for name in PRICES)
    crossed = high < low
    if crossed.sum() >= LEAST and crossed.mean() > CROSSED:
        raise DataError(
            f"The high is below the low in {crossed.mean():.0%} of the rows: columns are probably "
            "mislabelled; name them right, or say columns={'high': …, 'low': …}."
        )
    with np.errstate(invalid="ignore"):
        top, bottom = np.fmax(opening, close), np.fmin(opening, close)
        outside = (top > high * 1.001) | (bottom < low * 0.999)
    if outside.sum() > 4 * LEAST and outside.mean() > OUTSIDE:
        raise DataError(
            f"Open or close lies outside of low and high in {outside.mean():.0%} of the rows: "
            "columns are probably mislabelled, or only some are adjusted; mend the header."
        )


def suspect_splits(bars: pd.DataFrame, report: Report) -> None:
    """A doubt for each overnight move by a split's ratio among calm ones, which lasts."""
    if len(bars) < 2:
        return
    code, opening, close, volume = (
        bars[name].to_numpy() for name in ("code", "open", "close", "volume")
    )
    move = np.log(opening[1:] / close[:-1])
    move[code[1:] != code[:-1]] = 0.0
    large = np.flatnonzero(abs(move) > np.log(SPLITS[0]) - NEAR)
    for i in large.tolist():
        ratio = min(SPLITS, key=lambda split: abs(abs(move[i]) - np.log(split)))
        if abs(abs(move[i]) - np.log(ratio)) > NEAR:
            continue
        around = np.r_[move[max(i - AROUND, 0) : i], move[i + 1 : i + 1 + AROUND]]
        after = close[i + 1 : i + 4][code[i + 1 : i + 4] == code[i]]
        lasts = abs(np.log(np.median(after) / close[i]) - move[i]) < 2 * CALM
        before = slice(max(i - 20, 0), i + 1)
        usual = np.median(volume[before][code[before] == code[i]])
        news = volume[i + 1] > NEWS * ratio * usual
        if lasts and not news and abs(around).max(initial=0.0) < CALM:
            symbol = report.names[code[i]]
            kind = f"{ratio}:1 split" if move[i] < 0 else f"1:{ratio} reverse split"
            report.doubt(
                f"{symbol} opens at {opening[i + 1]:.6g} on {when(bars, i + 1)} after a close of "
                f"{close[i]:.6g}, which looks like a {kind}; give adjusted prices if it is one.",
                symbol,
            )


def idle(close: np.ndarray, high: np.ndarray, low: np.ndarray) -> str:
    """Why a symbol claims no coverage, if its last bars [K] do not move; else an empty text."""
    flat = (high == low) & (close == close[-1])
    if len(close) > 1 and flat.all():
        return "its price never moves"
    if len(close) >= IDLE and flat[-IDLE:].all():
        moving = np.flatnonzero(~flat)
        return f"its last {len(close) - 1 - moving[-1]} bars do not move"
    return ""


def behind(last: np.ndarray) -> np.ndarray:
    """Which symbols' last bars [S] are much older than the newest."""
    if np.isnat(last).any():
        return np.zeros(len(last), bool)
    return last < last.max() - BEHIND
