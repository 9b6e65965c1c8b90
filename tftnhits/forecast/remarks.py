"""What must be said of symbols before and after their forecast: a report of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data import features as F
from ..data.findings import ALL
from ..data.patterns import sessions_since
from ..data.repair import idle
from ..data.windows import Panel
from ..errors import DataError, HistoryTooShort, counted
from .pools import bar_days
from .result import SymbolReport

if TYPE_CHECKING:
    from .predictor import Predictor

BEHIND = np.timedelta64(10, "D")  # a last bar this much older than the newest is stale
STALE = 3  # sessions without a bar before today, or bars where they are longer
LONG = 1.5  # days from which bars are not daily ones


def review(
    bars: pd.DataFrame, least: int, strict: bool = False
) -> tuple[pd.DataFrame, dict[str, SymbolReport]]:
    """The bars of the symbols that can be forecast, and a report of every symbol.

    Left out are symbols of fewer than `least` bars and of a price that never moves, as long as
    others stay; with `strict` the first one is a HistoryTooShort or DataError. Said of the others
    is what was guessed when their bars were read, that they are halted, and that they are stale.
    """
    symbol = bars["symbol"].to_numpy()
    first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]  # row of each symbol [S]
    stop = np.r_[first[1:], len(symbol)]
    names, last = symbol[first], bars["date"].to_numpy()[stop - 1]
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    doubts = bars.attrs.get("doubts", {})
    # each symbol by itself: what was guessed of it, and whether it can be forecast
    reports: dict[str, SymbolReport] = {}
    unfit: dict[str, DataError] = {}
    for name, a, b, day in zip(names, first, stop, last, strict=True):
        halted = idle(close[a:b], high[a:b], low[a:b])
        report = SymbolReport(warnings=[*doubts.get(ALL, []), *doubts.get(name, [])])
        report.measurable = not np.isnat(day) and not halted
        if halted:
            report.warnings.append(
                f"{name} is halted or stale: {halted}, so no coverage is claimed."
            )
        if b - a < least:
            unfit[name] = HistoryTooShort(
                f"{name} can't be forecast, since it has {counted(b - a, 'bar')} and a forecast "
                f"needs {least}."
            )
        elif halted.endswith("never moves"):
            unfit[name] = DataError(f"{name} can't be forecast, since {halted}: halted or stale.")
        reports[name] = report
    if unfit and strict:
        raise next(iter(unfit.values()))
    if len(unfit) == len(names):
        unfit = {}  # the chain's errors say what all of them lack
    stay = np.array([name not in unfit for name in names])
    # beside the others: a last bar that is much older than theirs (none is without dates)
    newest = last[stay].max()
    old = last[stay] < newest - BEHIND
    for name, day in zip(names[stay][old], last[stay][old], strict=True):
        reports[name].warnings.append(
            f"The last bar of {name} is of {str(day)[:10]}; the newest here is of "
            f"{str(newest)[:10]}."
        )
    skipped = bars.attrs.get("skipped", {}) | {name: str(error) for name, error in unfit.items()}
    reports = {name: reports[name] for name in names[stay]}
    reports |= {name: SymbolReport(warnings=[why]) for name, why in skipped.items()}
    if unfit:
        bars = bars[np.repeat(stay, stop - first)].reset_index(drop=True)
    return bars, reports


def remark(
    report: SymbolReport, panel: Panel, rows: np.ndarray, horizon: int, model: Predictor, kind: str
) -> None:
    """Add to a symbol's report what must be said of its forecasts from the origins `rows`.

    That is bars that are old, or of a `kind` that the predictor was not calibrated on; inputs that
    are missing; origins that it was trained on; and a calendar that ends before the horizon does.
    """
    s = int(panel.symbol_of(rows[:1])[0])
    symbol, days = panel.symbols[s], float(bar_days(panel, s))
    remarks = []
    report.measurable &= bool(model.pools) and bool(panel.length[s] >= model.depth)
    if report.measurable and kind not in model.pools:
        report.measurable = False
        remarks.append(
            f"How well intervals hold on {kind} was not measured; calibrated() measures it."
        )
    elif panel.length[s] < model.depth:
        remarks.append(
            f"{symbol} has {counted(panel.length[s], 'bar')} and coverage was measured on "
            f"origins of {model.depth} and more, so none is claimed; give more bars."
        )
    calendar, told = panel.outrun.get(symbol, ("", horizon))
    if told < horizon:
        remarks.append(
            f"The calendar {calendar} tells {told} of the {horizon} dates ahead of {symbol}; "
            "the later ones go by the pattern of its bars, which knows no holidays."
        )
    report.warnings = [*remarks, *panel.notes.get(symbol, []), *report.warnings]
    trained = model.manifest["trained to"].get(kind)
    if trained and panel.date[rows[0]] < np.datetime64(trained) + np.timedelta64(1, "D"):
        report.warnings.append(
            f"The model was trained on outcomes to {trained} of {kind}, so what it forecasts from "
            "before may be what it has seen."
        )
    # what is true of many forecasts comes last
    report.warnings += filter(None, [_missing_market(panel, s), _staleness(panel, s, days)])


def _staleness(panel: Panel, s: int, days: float) -> str:
    """That the last bar of a symbol, `days` long, is of long ago; else an empty text."""
    last = panel.date[panel.start[s] + panel.length[s] - 1].astype("datetime64[D]")
    if np.isnat(last):
        return ""
    weekends = panel.static[s, F.STATIC.index("weekends")] > 0
    if sessions_since(last, weekends) <= STALE * max(days, 1.0):
        return ""
    unit = "bars" if days > LONG else "sessions"
    return f"The last bar is of {last}, more than {STALE} {unit} ago."


def _missing_market(panel: Panel, s: int) -> str:
    """That the model, which knows the market's move, isn't told of it; else an empty text."""
    names = panel.inputs["observed"]
    last = panel.start[s] + panel.length[s] - 1
    if "has_market" not in names or panel.observed[last, names.index("has_market")] > 0:
        return ""
    return (
        f"What its market did on the last bar's date is unknown, since it takes bars of "
        f"{F.MARKET_SYMBOLS} symbols, so the interval may be too narrow where all of them moved."
    )
