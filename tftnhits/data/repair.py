"""Validation of bars: what can be repaired is and is counted; what can't leaves a symbol out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from ..errors import DataError
from .names import COLUMNS, PRICES
from .report import Report, when

MAX_RUN = 5  # bars in a row that may lack a close: a trading week
PRICE_RANGE = (1e-12, 1e15)


def repair(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Bars (code, row, date, five columns of numbers) after all rules, by symbol and date.

    Raises DataError on what can't be repaired, if the report is strict or no symbol is left.
    """
    for rule in RULES:
        bars = rule(bars, report)
    return bars


def order(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Sorted by symbol and date; rows without dates stay in their order."""
    code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
    if (np.diff(code) < 0).any():
        bars = bars.iloc[np.argsort(code, kind="stable")]
        code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
    steps = np.diff(date)
    within = code[1:] == code[:-1]
    falling = within & (steps < np.timedelta64(0))
    if not falling.any():
        return bars
    falls = np.bincount(code[1:][falling], minlength=len(report.names)) > 0
    rises = np.bincount(code[1:][within & (steps > np.timedelta64(0))], minlength=len(falls)) > 0

    def example(i: int) -> str:
        return f"{when(bars, i)} came first"

    report.mark(bars, (falls & ~rises)[code], "descending dates reversed", example)
    report.mark(bars, (falls & rises)[code], "rows sorted by date", example)
    return bars.iloc[np.lexsort((date, code))]


def drop_undated(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Where others have dates, blank rows go, and a bar without a date is a fault."""
    undated = np.isnat(bars["date"].to_numpy())
    if undated.all() or not undated.any():
        return bars
    blank = undated & priceless(bars)
    report.mark(bars, blank, "blank row removed", lambda i: f"row {bars['row'].iloc[i]}")
    bars = bars[~blank]
    why = "column date is empty though others have one; fill it or drop the row"
    return report.fault(bars, undated[~blank], lambda i: f"{report.where(bars, i)}, {why}.")


def drop_copies(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Copies of a bar go, so that a file appended to itself still reads."""
    same = same_as_before(bars, bars["date"].to_numpy())
    if not same.any():
        return bars
    cells = bars[[*COLUMNS[2:]]].to_numpy()
    equal = (cells[1:] == cells[:-1]) | (np.isnan(cells[1:]) & np.isnan(cells[:-1]))
    same[1:] &= equal.all(axis=1)
    report.mark(bars, same, "duplicate row removed", lambda i: f"row {bars['row'].iloc[i]}")
    return bars[~same]


def blank_zeros(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A zero in open, high or low is a missing price, beside a close or where all are zero."""
    prices = np.column_stack([bars[name].to_numpy() for name in PRICES])
    zero = prices == 0
    if not zero.any():
        return bars
    nothing = zero[:, 3] & (zero | np.isnan(prices)).all(axis=1)
    report.mark(bars, nothing, "row of zeros taken as missing", lambda i: "close 0")
    gone = zero & (nothing | (prices[:, 3] > 0))[:, None]
    for i, name in enumerate(PRICES):
        mask = gone[:, i] & ~nothing
        report.mark(bars, mask, f"zero {name} taken as missing", lambda _, name=name: f"{name} 0")
    values = np.where(gone, np.nan, prices)
    return bars.assign(**{name: values[:, i] for i, name in enumerate(PRICES)})


def drop_priceless(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Rows without any price are no bars: days on which a market of a common index was closed."""
    empty = priceless(bars)
    if not empty.any():
        return bars
    if empty.all():
        raise DataError("No row has a price: open, high, low, close are empty; check the source.")
    report.mark(bars, empty, "row without prices removed", lambda i: when(bars, i))
    _doubt_runs(bars, empty, report)
    for code in np.setdiff1d(bars["code"], bars["code"][~empty]):
        name = report.names[code]
        report.skipped.setdefault(name, f"{name} has no price at all.")
    return bars[~empty]


def _doubt_runs(bars: pd.DataFrame, empty: np.ndarray, report: Report) -> None:
    """Says where a symbol has no prices for over a week, but for the time before its first."""
    code = bars["code"].to_numpy()
    priced = np.flatnonzero(~empty)
    stop = np.searchsorted(code, code[priced], side="right")  # the row after the symbol's last
    runs = np.minimum(np.append(priced[1:], len(code)), stop) - priced - 1
    for i, run in zip(priced[runs > MAX_RUN], runs[runs > MAX_RUN], strict=True):
        name = report.names[code[i]]
        said = f"{name} has no prices in {run} rows after {when(bars, i)}; they are left out."
        report.doubt(said, name)


def refuse_second_bars(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Two different bars of one time are a fault."""

    def sentence(i: int) -> str:
        pairs = {name: bars[name].to_numpy()[i - 1 : i + 1] for name in COLUMNS[2:]}
        name = next(n for n, (a, b) in pairs.items() if not (a == b or np.isnan([a, b]).all()))
        former, value = pairs[name]
        return (
            f"{report.where(bars, i)} is a second bar for one date, with {name} {value:.6g} "
            f"instead of {former:.6g} in row {bars['row'].iloc[i - 1]}; keep one of them."
        )

    return report.fault(bars, same_as_before(bars, bars["date"].to_numpy()), sentence)


def merge_last_day(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Today's daily bar at midnight and again at its last trade is one, the later."""
    code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
    again = same_as_before(bars, date.astype("datetime64[D]"))
    last = np.append(code[1:] != code[:-1], True)
    count = np.bincount(code)
    daily = (np.bincount(code[again], minlength=len(count)) == 1) & (count > 3)
    rows = np.flatnonzero(again & last & daily[code])
    if not len(rows):
        return bars
    former = np.zeros(len(bars), bool)
    former[rows - 1] = True
    kind = "last day is there twice, the later bar kept"
    report.mark(bars, former, kind, lambda i: when(bars, i + 1))
    date = date.copy()
    date[rows] = date[rows - 1]
    return bars.assign(date=date)[~former]


def check_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A price that is not positive, finite and of a plausible size is a fault."""
    low, high = PRICE_RANGE

    def sentence(name: str, i: int) -> str:
        value = bars[name].iloc[i]
        why = f"a price must lie within {low:g} and {high:g}; check its unit"
        if value < 0:
            why = "a price must be positive, as returns are logs; leave such bars out"
        elif value == 0 or np.isinf(value):
            why = "a price must be positive and finite; leave a missing one empty"
        return f"{report.where(bars, i)}, column {name} is {value:g}: {why}."

    for name in PRICES:
        values = bars[name].to_numpy()
        bars = report.fault(bars, (values < low) | (values > high), partial(sentence, name))
    return bars


def check_gaps(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A run of bars without close is filled up to a trading week; more would be invention."""
    gap = np.isnan(bars["close"].to_numpy())
    if not gap.any():
        return bars
    stretch = np.cumsum(~gap | starts(bars))  # one begins at each close, and with each symbol
    run = pd.Series(gap).groupby(stretch).cumsum().to_numpy()
    ends = np.append(run[1:] <= run[:-1], True)

    def sentence(i: int) -> str:
        return (
            f"{report.names[bars['code'].iloc[i]]} has no close in {run[i]} bars in a row, from "
            f"{when(bars, i - run[i] + 1)} to {when(bars, i)}; fill or drop them."
        )

    return report.fault(bars, (run > MAX_RUN) & ends, sentence)


def fill_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Missing prices from the bar's others and the close before; the range holds open and close."""
    opening, high, low, close = (bars[name].to_numpy() for name in PRICES)
    crossed = high < low
    if crossed.any():
        kind = "high below low swapped"
        report.mark(bars, crossed, kind, lambda i: f"high {high[i]:.6g}, low {low[i]:.6g}")
        high, low = np.where(crossed, low, high), np.where(crossed, high, low)
    if np.isnan(opening).any() or np.isnan(close).any():
        opening, close = _filled(opening, high, low, close, starts(bars))
    top, bottom = np.maximum(opening, close), np.minimum(opening, close)
    after = {"open": opening, "high": np.fmax(high, top), "low": np.fmin(low, bottom)}
    after["close"] = close

    for name, new in after.items():
        gone = np.isnan(bars[name].to_numpy())
        kind = f"missing {name} filled"
        report.mark(bars, gone, kind, lambda i, n=name, v=new: f"{n} {v[i]:.6g}")
    kind = "high below open or close raised"
    report.mark(bars, high < top, kind, lambda i: f"high {high[i]:.6g} -> {top[i]:.6g}")
    kind = "low above open or close lowered"
    report.mark(bars, low > bottom, kind, lambda i: f"low {low[i]:.6g} -> {bottom[i]:.6g}")
    return bars.assign(**after)


def _filled(
    opening: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Open and close [R] without holes; `first` [R] marks each symbol's first bar."""
    middle = np.where(np.isnan(high), low, np.where(np.isnan(low), high, (high + low) / 2))
    close = np.where(np.isnan(close), opening, close)
    close = np.where(first & np.isnan(close), middle, close)
    # the previous close stands in, but within what the bar itself says of its range
    inside = np.fmin(np.fmax(_last_known(close), low), high)
    close = _last_known(np.where(np.isnan(close), inside, close))
    previous = np.where(first, close, np.roll(close, 1))
    return np.where(np.isnan(opening), np.fmin(np.fmax(previous, low), high), opening), close


def clean_volume(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Volumes that can't be are missing, and so is zero: many feeds mean that by it."""
    volume = bars["volume"].to_numpy()
    absurd, zero = (volume < 0) | np.isinf(volume), volume == 0
    if not (absurd | zero).any():
        return bars
    kind = "negative or infinite volume removed"
    report.mark(bars, absurd, kind, lambda i: f"volume {volume[i]:g}")
    report.mark(bars, zero, "zero volume taken as missing", lambda i: "volume 0")
    return bars.assign(volume=np.where(absurd | zero, np.nan, volume))


RULES = (
    order,
    drop_undated,
    drop_copies,
    blank_zeros,
    drop_priceless,
    refuse_second_bars,
    merge_last_day,
    check_prices,
    check_gaps,
    fill_prices,
    clean_volume,
)


def priceless(bars: pd.DataFrame) -> np.ndarray:
    """Rows [R] without any price."""
    return np.logical_and.reduce([np.isnan(bars[name].to_numpy()) for name in PRICES])


def starts(bars: pd.DataFrame) -> np.ndarray:
    """Each symbol's first row [R], once sorted."""
    code = bars["code"].to_numpy()
    return np.append(True, code[1:] != code[:-1])[: len(code)]


def same_as_before(bars: pd.DataFrame, stamps: np.ndarray) -> np.ndarray:
    """Rows [R] with the symbol and the stamp of the row before; none where there are no dates."""
    code = bars["code"].to_numpy()
    return np.append(False, (code[1:] == code[:-1]) & (stamps[1:] == stamps[:-1]))


def _last_known(values: np.ndarray) -> np.ndarray:
    """Each NaN replaced by the last number before it; a symbol's first row must have one."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(known)]
