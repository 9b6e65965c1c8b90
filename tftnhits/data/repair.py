"""Validation of bars: what can be repaired is and is counted; what can't leaves a symbol out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError
from .names import COLUMNS, PRICES
from .report import Report, when

MAX_RUN = 5  # bars in a row that may lack a close: a trading week
PRICE_RANGE = (1e-12, 1e15)


def repair(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Bars that went through all rules, sorted by symbol and date.

    Parameters
    ----------
    bars : code, row, date and the five columns of numbers, [R] each, NaN and NaT where missing
    report : takes what is repaired; its `names` tell the symbols of the codes

    Raises
    ------
    DataError
        On what can't be repaired, where the report is strict or no symbol would be left.
    """
    for rule in RULES:
        bars = rule(bars, report)
    return bars


def drop_undated(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Where others have dates, rows without date and prices go, and a bar without a date is a fault."""
    undated = np.isnat(bars["date"].to_numpy())
    if undated.all() or not undated.any():
        return bars
    empty = undated & priceless(bars)
    report.mark(bars, empty, "blank row removed", lambda i: f"row {bars['row'].iloc[i]}")
    dated = bars[~empty]
    return report.fault(
        dated,
        np.isnat(dated["date"].to_numpy()),
        lambda i: (
            f"{report.where(dated, i)}, column date is empty though others have one; fill it or "
            "drop the row."
        ),
    )


def drop_copies(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Copies of a bar go wherever they stand, so that a file appended to itself still reads."""
    stamps = bars[["code", "date"]]
    if (
        np.isnat(bars["date"].to_numpy()).any()
        or not (shared := stamps.duplicated(keep=False)).any()
    ):
        return bars
    copies = shared & bars.drop(columns="row").duplicated()
    report.mark(bars, copies, "duplicate row removed", lambda i: f"row {bars['row'].iloc[i]}")
    return bars[~copies]


def order(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Sorted by symbol and date; rows without dates stay in their order."""
    code = bars["code"].to_numpy()
    if (np.diff(code) < 0).any():
        bars = bars.iloc[np.argsort(code, kind="stable")]
    steps = np.diff(bars["date"].to_numpy()).astype(np.int64)
    if np.isnat(bars["date"].to_numpy()).any():
        return bars
    code = bars["code"].to_numpy()
    inside = code[1:] == code[:-1]
    count = len(report.names)
    falls = np.bincount(code[1:][inside & (steps < 0)], minlength=count)
    rises = np.bincount(code[1:][inside & (steps > 0)], minlength=count)
    if not falls.any():
        return bars
    falling, mixed = (falls > 0) & (rises == 0), (falls > 0) & (rises > 0)
    report.mark(
        bars, falling[code], "descending dates reversed", lambda i: f"{when(bars, i)} came first"
    )
    report.mark(bars, mixed[code], "rows sorted by date", lambda i: f"{when(bars, i)} came first")
    return bars.iloc[np.lexsort((bars["date"].to_numpy(), code))]


def check_stamps(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Two different bars of one time are a fault; of one day at the end of daily bars, the later stays."""
    if np.isnat(bars["date"].to_numpy()).any() or len(bars) < 2:
        return bars
    code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
    same = np.append(False, (code[1:] == code[:-1]) & (date[1:] == date[:-1]))

    def sentence(i: int) -> str:
        pairs = {name: bars[name].to_numpy()[[i - 1, i]] for name in COLUMNS[2:]}
        name = next(n for n, (a, b) in pairs.items() if not (a == b or np.isnan([a, b]).all()))
        return (
            f"{report.where(bars, i)} is a second bar for one date, with {name} {pairs[name][1]:.6g} "
            f"instead of {pairs[name][0]:.6g} in row {bars['row'].iloc[i - 1]}; keep one of them."
        )

    bars = report.fault(bars, same, sentence)
    code, day = bars["code"].to_numpy(), bars["date"].to_numpy().astype("datetime64[D]")
    last = np.append(code[1:] != code[:-1], True)
    again = np.append(False, (code[1:] == code[:-1]) & (day[1:] == day[:-1]))
    twice = again & last  # today's bar, at midnight and at its last trade
    if not twice.any():
        return bars
    rows = np.flatnonzero(twice)
    daily = [(np.diff(day[code == code[i]][:-1]) > np.timedelta64(0)).all() for i in rows]
    rows = rows[[bool(d) and (code == code[i]).sum() > 3 for d, i in zip(daily, rows, strict=True)]]
    former = np.zeros(len(bars), bool)
    former[rows - 1] = True
    report.mark(
        bars, former, "last day is there twice, the later bar kept", lambda i: when(bars, i + 1)
    )
    date = bars["date"].to_numpy().copy()
    date[rows] = date[rows - 1]
    return bars.assign(date=date)[~former]


def blank_zeros(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A zero in open, high or low is a feed's missing price, beside a close or where all are zero."""
    close = bars["close"].to_numpy()
    zero = {name: bars[name].to_numpy() == 0 for name in PRICES}
    if not any(mask.any() for mask in zero.values()):
        return bars
    others = np.logical_and.reduce([zero[n] | bars[n].isna().to_numpy() for n in PRICES[:3]])
    nothing = zero["close"] & others
    report.mark(bars, nothing, "row of zeros taken as missing", lambda i: "close 0")
    blanked = {}
    for name in PRICES:
        gone = zero[name] & (nothing | (close > 0))
        report.mark(
            bars, gone & ~nothing, f"zero {name} taken as missing", lambda i, n=name: f"{n} 0"
        )
        blanked[name] = np.where(gone, np.nan, bars[name].to_numpy())
    return bars.assign(**blanked)


def drop_priceless(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Rows without any price are no bars: days on which a market of a common index was closed."""
    empty = priceless(bars)
    if not empty.any():
        return bars
    if empty.all():
        raise DataError(
            "No row has a price: open, high, low and close are all empty; check the source."
        )
    report.mark(bars, empty, "row without prices removed", lambda i: when(bars, i))
    _doubt_runs(bars, empty, report)
    for code in np.setdiff1d(bars["code"], bars["code"][~empty]):
        report.skipped.setdefault(report.names[code], f"{report.names[code]} has no price at all.")
    return bars[~empty]


def _doubt_runs(bars: pd.DataFrame, empty: np.ndarray, report: Report) -> None:
    """Says where a symbol has no prices for more than a week, but for the time before its first."""
    code = bars["code"].to_numpy()
    priced = np.flatnonzero(~empty)
    ends = np.append(np.flatnonzero(np.diff(code[priced])), len(priced) - 1)
    after = np.diff(priced, append=len(code))
    stop = np.searchsorted(code, code[priced[ends]], side="right")
    after[ends] = stop - priced[ends]
    for k in np.flatnonzero(after > MAX_RUN + 1).tolist():
        symbol, run = report.names[code[priced[k]]], int(after[k]) - 1
        report.doubt(
            f"{symbol} has no prices in {run} rows after {when(bars, priced[k])}; they are left out.",
            symbol,
        )


def check_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A price that is not positive, finite and of a plausible size is a fault."""
    low, high = PRICE_RANGE
    for name in PRICES:
        values = bars[name].to_numpy()

        def sentence(i: int, name: str = name, values: np.ndarray = values) -> str:
            if values[i] < 0:
                why = "a price must be positive, as returns are logs; leave such bars out"
            elif values[i] == 0:
                why = "a price must be positive; leave a missing one empty"
            elif np.isinf(values[i]):
                why = "a price must be finite; leave a missing one empty"
            else:
                why = f"a price must lie within {low:g} and {high:g}; check its unit"
            return f"{report.where(bars, i)}, column {name} is {values[i]:g}: {why}."  # noqa: B023

        bars = report.fault(bars, (values < low) | (values > high), sentence)
    return bars


def check_gaps(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A run of bars without close is filled up to a trading week; beyond that it would be invention."""
    gap = np.isnan(bars["close"].to_numpy())
    if not gap.any():
        return bars
    place = np.arange(len(gap))
    since = np.maximum.accumulate(
        np.where(gap & ~starts(bars), -1, place)
    )  # last that breaks the run
    begin = np.where(gap[since], since, since + 1)
    run = np.where(gap, place - begin + 1, 0)
    ends = np.append((run[1:] <= run[:-1]), True)

    def sentence(i: int) -> str:
        return (
            f"{report.names[bars['code'].iloc[i]]} has no close in {run[i]} bars in a row, from "
            f"{when(bars, int(begin[i]))} to {when(bars, i)}; fill them, or drop them if it didn't trade."
        )

    return report.fault(bars, (run > MAX_RUN) & ends, sentence)


def fill_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Missing prices from the bar's others and the close before; high and low hold open and close."""
    before = {name: bars[name].to_numpy() for name in PRICES}
    crossed = before["high"] < before["low"]
    high = np.where(crossed, before["low"], before["high"])
    low = np.where(crossed, before["high"], before["low"])
    opening, close = before["open"], before["close"]
    if any(np.isnan(values).any() for values in before.values()):
        opening, close = _filled(opening, high, low, close, starts(bars))
    top, bottom = np.maximum(opening, close), np.minimum(opening, close)
    after = {
        "open": opening,
        "high": np.fmax(high, top),
        "low": np.fmin(low, bottom),
        "close": close,
    }
    for name in PRICES:
        gone = np.isnan(before[name])
        report.mark(
            bars, gone, f"missing {name} filled", lambda i, n=name: f"{n} {after[n][i]:.6g}"
        )
    masks = {
        "high below low swapped": crossed,
        "high below open or close raised": high < top,
        "low above open or close lowered": low > bottom,
    }
    examples = (
        lambda i: f"high {before['high'][i]:.6g}, low {before['low'][i]:.6g}",
        lambda i: f"high {high[i]:.6g} -> {top[i]:.6g}",
        lambda i: f"low {low[i]:.6g} -> {bottom[i]:.6g}",
    )
    for (repair_, mask), example in zip(masks.items(), examples, strict=True):
        report.mark(bars, mask, repair_, example)
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
    report.mark(
        bars, absurd, "negative or infinite volume removed", lambda i: f"volume {volume[i]:g}"
    )
    report.mark(bars, zero, "zero volume taken as missing", lambda i: "volume 0")
    return bars.assign(volume=np.where(absurd | zero, np.nan, volume))


RULES = (
    drop_undated,
    drop_copies,
    order,
    blank_zeros,
    drop_priceless,
    check_stamps,
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


def _last_known(values: np.ndarray) -> np.ndarray:
    """Each NaN replaced by the last number before it; the first row of each symbol must have one."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(known)]
