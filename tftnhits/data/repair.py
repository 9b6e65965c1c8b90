"""Validation of bars: what can be repaired is and is counted; what can't leaves a symbol out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError, counted
from .findings import Report, when
from .names import COLUMNS, PRICES

RECENT = 5  # last bars of a symbol, on which a forecast leans so much that their repair is a doubt
SLIGHT = 1e-4  # relative change of a price, one basis point, that is mere rounding
SHOWN = 3  # changes that such a doubt names before it counts the rest
MAX_RUN = 5  # bars in a row that may lack a close: a trading week
PRICE_RANGE = (1e-12, 1e15)
CROSSED = 0.05  # share of rows with the high below the low from which columns are mislabelled
OUTSIDE = 0.5  # share of rows whose open or close lies well outside the range, likewise
DOUBTFUL = 0.2  # share of such rows from which the repair is a doubt
LEAST = 3  # rows; fewer prove nothing
SECTION = 10  # symbols of one bar each from which a table is one day of a market
SPLITS = (2, 3, 4, 5, 7, 10, 15, 20)
NEAR, CALM = 0.06, 0.15  # log distance from a split's ratio; largest usual overnight move around it
AROUND = 5  # bars before and after that must be calm
NEWS = 4  # times the volume that a split explains, from which a fall is one on news
IDLE = 10  # bars without any move that say that a symbol is halted


def repair(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Bars (code, row, date, five columns of numbers) after all rules, by symbol and date.

    Raises DataError on what can't be repaired, if the report is strict or no symbol is left, and
    on a table that is no history of bars.
    """
    refuse_others(bars, report)
    given = bars
    code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
    within = code[1:] == code[:-1]
    if (np.diff(code) < 0).any() or (within & (np.diff(date) < np.timedelta64(0))).any():
        bars = sort(bars, report)
        code, date = bars["code"].to_numpy(), bars["date"].to_numpy()
        within = code[1:] == code[:-1]
    days = date.astype("datetime64[D]")
    same_day = (within & (days[1:] == days[:-1])).any()
    prices = np.stack([bars[name].to_numpy() for name in PRICES])
    sound = ((prices >= PRICE_RANGE[0]) & (prices <= PRICE_RANGE[1])).all()
    if not sound or same_day or 0 < np.isnat(days).sum() < len(bars):
        for rule in RULES:
            bars = rule(bars, report)
    bars = fit_ranges(bars, report)
    if bars is not given:
        doubt_recent(given, bars, report)
    suspect_splits(bars, report)
    return bars


def refuse_others(bars: pd.DataFrame, report: Report) -> None:
    """Raises DataError on a cross-section, and on columns that can't be what they are called."""
    count = len(np.unique(bars["code"].to_numpy()))
    if count >= SECTION and count >= 0.9 * len(bars):
        what = "a bar of one day for each" if bars["date"].nunique() <= 1 else "about a row each"
        raise DataError(
            f"The table holds {count} symbols (stocks), {what}, not a history of them; give the "
            "days of each one below the other, or say columns={'symbol': …} if it is another."
        )
    opening, high, low, close = (bars[name].to_numpy() for name in PRICES)
    crossed = high < low
    top, bottom = np.fmax(opening, close), np.fmin(opening, close)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = (top > high * 1.001) | (bottom < low * 0.999)
    mislabelled = crossed.sum() >= LEAST and crossed.mean() > CROSSED
    if mislabelled or (outside.sum() > 4 * LEAST and outside.mean() > OUTSIDE):
        raise DataError(
            f"The high is below the low in {crossed.mean():.0%} of the rows, and open or close is "
            f"outside of them in {outside.mean():.0%}: columns are probably mislabelled, or only "
            "some adjusted; mend the header, or say columns={'high': …, 'low': …}."
        )
    if outside.sum() > 4 * LEAST and outside.mean() > DOUBTFUL:
        report.doubt(
            f"Open or close lies outside of low and high in {outside.mean():.0%} of the rows, "
            "whose ranges are widened; check that the columns are named right."
        )


def sort(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
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
    for kind, mask in (("descending dates reversed", ~rises), ("rows sorted by date", rises)):
        report.mark(bars, (falls & mask)[code], kind, lambda i: f"{when(bars, i)} came first")
    return bars.iloc[np.lexsort((date, code))]


# -- rules for what is rare: rows that are no bars, and prices that are missing


def drop_empty(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Zeros are missing prices; rows without any go: days on which another market was open."""
    prices = bars[[*PRICES]].to_numpy()
    zero = prices == 0
    nothing = zero[:, 3] & (zero | np.isnan(prices)).all(axis=1)
    report.mark(bars, nothing, "row of zeros taken as missing", lambda i: "close 0")
    gone = zero & (nothing | (prices[:, 3] > 0))[:, None]  # beside a close, or where all are zero
    for i, name in enumerate(PRICES):
        kind = f"zero {name} taken as missing"
        report.mark(bars, gone[:, i] & ~nothing, kind, lambda _, name=name: f"{name} 0")
    prices = np.where(gone, np.nan, prices)
    bars = bars.assign(**{name: prices[:, i] for i, name in enumerate(PRICES)})

    empty = np.isnan(prices).all(axis=1)
    if empty.all():
        raise DataError("No row has a price: open, high, low, close are empty; check the source.")
    undated = np.isnat(bars["date"].to_numpy()) & bars["date"].notna().any()
    report.mark(bars, empty & undated, "blank row removed", lambda i: when(bars, i))
    empty_days = empty & ~undated
    report.mark(bars, empty_days, "row without prices removed", lambda i: when(bars, i))
    code = bars["code"].to_numpy()
    for symbol in np.setdiff1d(code, code[~empty]):
        name = report.names[symbol]
        report.skipped.setdefault(name, f"{name} has no price at all.")

    # a symbol without prices for over a week or at its end, but for the time before its first
    priced = np.flatnonzero(~empty)
    stop = np.searchsorted(code, code[priced], side="right")  # the row after the symbol's last
    following = np.append(priced[1:], len(code))
    runs = np.minimum(following, stop) - priced - 1
    said = (runs > MAX_RUN) | ((runs > 0) & (following >= stop))
    for i, run in zip(priced[said], runs[said], strict=True):
        name, rows = report.names[code[i]], counted(run, "row")
        report.doubt(f"{name} has no prices in {rows} after {when(bars, i)}; left out.", name)
    why = ", column date is empty though others have one; fill it or drop the row."
    return report.fault(bars[~empty], undated[~empty], lambda i: why)


def drop_copies(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Copies of a bar go; two different bars of one time are a fault."""
    same = same_as_before(bars, bars["date"].to_numpy())
    if not same.any():
        return bars
    cells = bars[[*COLUMNS[2:]]].to_numpy()
    equal = (cells[1:] == cells[:-1]) | (np.isnan(cells[1:]) & np.isnan(cells[:-1]))
    copies = same & np.append(False, equal.all(axis=1))
    report.mark(bars, copies, "duplicate row removed", lambda i: f"row {bars['row'].iloc[i]}")
    bars, cells = bars[~copies], cells[~copies]

    def sentence(i: int) -> str:
        k = int(np.argmax(~np.isclose(cells[i - 1], cells[i], rtol=0, atol=0, equal_nan=True)))
        return (
            f" is a second bar for one date, with {COLUMNS[2 + k]} {cells[i, k]:.6g} instead of "
            f"{cells[i - 1, k]:.6g} in row {bars['row'].iloc[i - 1]}; keep one of them, or say "
            "columns={'symbol': …} if there are several symbols."
        )

    return report.fault(bars, (same & ~copies)[~copies], sentence)


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
    former = np.isin(np.arange(len(bars)), rows - 1)
    kind = "last day is there twice, the later bar kept"
    report.mark(bars, former, kind, lambda i: when(bars, i + 1))
    for i in rows.tolist():
        name = report.names[code[i]]
        report.doubt(
            f"The last day of {name} is there twice, as {when(bars, i - 1)} and {when(bars, i)}; "
            "the later bar is kept, so drop it if it is not the whole day's.",
            name,
        )
    date = date.copy()
    date[rows] = date[rows - 1]
    return bars.assign(date=date)[~former]


def check_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A price that is not positive, finite and of a plausible size is a fault."""
    low, high = PRICE_RANGE
    for name in PRICES:
        values = bars[name].to_numpy()

        def sentence(i: int, name: str = name, values: np.ndarray = values) -> str:
            return (
                f", column {name} is {values[i]:g}: a price must be positive, within {low:g} and "
                f"{high:g}; check its unit, leave a missing one empty."
            )

        bars = report.fault(bars, (values < low) | (values > high), sentence)
    return bars


def check_gaps(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """A run of bars without close is filled up to a trading week; more would be invention."""
    gap = np.isnan(bars["close"].to_numpy())
    stretch = np.cumsum(
        ~gap | ~same_as_before(bars)
    )  # one begins at each close, and with each symbol
    run = pd.Series(gap).groupby(stretch).cumsum().to_numpy()
    ends = np.append(run[1:] <= run[:-1], True)

    def sentence(i: int) -> str:
        begin = when(bars, i - run[i] + 1)
        return f" ends {run[i]} bars in a row without a close, from {begin} on; fill or drop them."

    return report.fault(bars, (run > MAX_RUN) & ends, sentence)


def fill_prices(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Missing opens and closes from the bar's other prices and the close before."""
    opening, high, low, close = (bars[name].to_numpy() for name in PRICES)
    high, low = np.where(high < low, low, high), np.where(high < low, high, low)
    first = ~same_as_before(bars)
    middle = np.where(np.isnan(high), low, np.where(np.isnan(low), high, (high + low) / 2))
    close = np.where(np.isnan(close), opening, close)
    close = np.where(first & np.isnan(close), middle, close)
    # the previous close stands in, but within what the bar itself says of its range
    inside = np.fmin(np.fmax(_last_known(close), low), high)
    close = _last_known(np.where(np.isnan(close), inside, close))
    previous = np.where(first, close, np.roll(close, 1))
    inside = np.fmin(np.fmax(previous, low), high)
    opening = np.where(np.isnan(opening), inside, opening)
    for name, values in (("open", opening), ("close", close)):
        gone = np.isnan(bars[name].to_numpy())
        kind = f"missing {name} filled"
        report.mark(bars, gone, kind, lambda i, n=name, v=values: f"{n} {v[i]:.6g}")
    return bars.assign(open=opening, close=close)


RULES = (drop_empty, drop_copies, merge_last_day, check_prices, check_gaps, fill_prices)


def fit_ranges(bars: pd.DataFrame, report: Report) -> pd.DataFrame:
    """High and low hold open and close; a volume that can't be, or is zero, is missing."""
    opening, high, low, close = (bars[name].to_numpy() for name in PRICES)
    volume = bars["volume"].to_numpy()
    crossed = high < low
    upper, lower = np.where(crossed, low, high), np.where(crossed, high, low)
    top, bottom = np.maximum(opening, close), np.minimum(opening, close)
    absurd, zero = (volume < 0) | np.isinf(volume), volume == 0  # many feeds mean missing by zero
    kinds = (
        ("missing high filled", np.isnan(high), "high", high, top),
        ("missing low filled", np.isnan(low), "low", low, bottom),
        ("high below low swapped", crossed, "high", high, upper),
        ("high below open or close raised", upper < top, "high", upper, top),
        ("low above open or close lowered", lower > bottom, "low", lower, bottom),
        ("negative or infinite volume removed", absurd, "volume", volume, volume * np.nan),
        ("zero volume taken as missing", zero, "volume", volume, volume * np.nan),
    )
    if not any(mask.any() for _, mask, *_ in kinds):
        return bars
    for kind, mask, name, old, new in kinds:
        report.mark(
            bars, mask, kind, lambda i, n=name, a=old, b=new: f"{n} {a[i]:.6g} -> {b[i]:.6g}"
        )
    volume = np.where(absurd | zero, np.nan, volume)
    return bars.assign(high=np.fmax(upper, top), low=np.fmin(lower, bottom), volume=volume)


# -- helpers of the rules


def same_as_before(bars: pd.DataFrame, *columns: np.ndarray) -> np.ndarray:
    """Rows [R] with the symbol, and what else is given [R], of the row before; NaT is never so."""
    same = np.ones(len(bars) - 1, bool)
    for values in (bars["code"].to_numpy(), *columns):
        same &= values[1:] == values[:-1]
    return np.append(False, same)


def _last_known(values: np.ndarray) -> np.ndarray:
    """Each NaN replaced by the last number before it; a symbol's first row must have one."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(known)]


# -- what is odd, and said


def doubt_recent(given: pd.DataFrame, bars: pd.DataFrame, report: Report) -> None:
    """A doubt for each symbol one of whose last bars has another value than was `given`.

    Compared are the cells themselves, so that no kind of repair can be forgotten here.
    """
    code = bars["code"].to_numpy()
    from_end = np.searchsorted(code, code, side="right") - np.arange(len(code))
    last = bars[from_end <= RECENT]
    before = given.loc[last.index, [*COLUMNS[2:]]].to_numpy()
    after = last[[*COLUMNS[2:]]].to_numpy()
    changed = ~np.isclose(after, before, rtol=SLIGHT, atol=0, equal_nan=True)
    # a volume that is never known, such as that of currencies, is no repair of these bars
    traded = np.unique(code[bars["volume"].notna()])
    changed[:, -1] &= np.isin(last["code"], traded)
    for one in np.unique(last["code"].to_numpy()[changed.any(axis=1)]):
        rows = np.flatnonzero((last["code"] == one) & changed.any(axis=1))[::-1]  # the newest first
        changes = [
            f"the {COLUMNS[2 + k]} of {when(last, i)} was {_value(before[i, k])} and is taken to "
            f"be {_value(after[i, k])}"
            for i in rows
            for k in np.flatnonzero(changed[i])
        ]
        more = [f"{len(changes) - SHOWN} more were mended"] if len(changes) > SHOWN else []
        name = report.names[one]
        report.doubt(
            f"Among the last {RECENT} bars of {name}, on which its forecast leans most, "
            f"{', '.join(changes[:SHOWN] + more)}; give what is right.",
            name,
        )


def _value(number: float) -> str:
    return "missing" if np.isnan(number) else f"{number:.6g}"


def suspect_splits(bars: pd.DataFrame, report: Report) -> None:
    """A doubt for each overnight move by a split's ratio among calm ones, which lasts."""
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
        news = volume[i + 1] / (NEWS * ratio) > usual
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
