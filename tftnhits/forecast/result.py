"""What a forecast is: a tidy frame of prices, and a report of each symbol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data import features as F
from ..data.findings import ALL
from ..data.patterns import sessions_since
from ..data.repair import idle
from ..data.windows import Panel
from ..errors import DataError, HistoryTooShort, counted
from .conformal import MEASURED, Calibration
from .own import Measured, binomial_interval
from .pools import bar_days

if TYPE_CHECKING:
    from .predictor import Predictor

BEHIND = np.timedelta64(10, "D")  # a last bar this much older than the newest is stale
STALE = 3  # sessions without a bar before today, or bars where they are longer
LONG = 1.5  # days from which bars are not daily ones


@dataclass
class SymbolReport:
    """Who answers for one symbol, how well such intervals held, and what the reader must know.

    Attributes
    ----------
    model_used : str or None
        None where the symbol was left out; the first warning then says why.
    coverage : float or None
        Share of past outcomes inside such intervals; None if that was never measured. The symbol's
        own are judged by the volatility scale's intervals, calibrated alike (forecast/own.py).
    coverage_interval : tuple of float or None
        Where the probability of an outcome inside lies, at 95%, a date counted once.
    measured : str
        What it was measured on: "over 252 dates of its own to 2017-12-21"; of a symbol with few
        bars, "over 252 dates of daily bars of usual volatility to 2017-12-21".
    warnings : list of str
        One sentence each.
    measurable : bool
        Whether the bars are such that a measured coverage can hold for them.
    """

    model_used: str | None = None
    coverage: float | None = None
    coverage_interval: tuple[float, float] | None = None
    measured: str = ""
    warnings: list[str] = field(default_factory=list)
    measurable: bool = True

    def claim(
        self, level: float, pool: Calibration, kind: str, own: Measured | None, as_measured: bool
    ) -> None:
        """Say how well intervals of a level held: on the symbol's own past, else on its kind's.

        Or why that is not said: not `as_measured` are forecasts by other weights.
        """
        if not self.measurable:  # review and remark have said why
            return
        share, dates, last = own or (pool.realised(level), pool.dates, pool.last)
        if not as_measured:
            why = "the weights given are not those that it was measured with"
        elif not dates:
            why = "no outcome was known when this forecast would have been made"
        elif share is None:
            why = f"it was measured on intervals of {MEASURED[0]:g} to {MEASURED[-1]:g}"
        else:
            self.coverage = share
            self.measured = f"over {dates} dates of {'its own' if own else kind} to {last}"
            self.coverage_interval = binomial_interval(share, dates)
            if own is None:
                self.warnings.append(
                    f"Coverage was measured on {kind} of other symbols or dates, since this one "
                    "has too few outcomes of its own."
                )
            return
        self.warnings.append(f"No coverage is claimed, since {why}.")


@dataclass(repr=False)
class Forecast:
    """Forecasts of one or many symbols and origins.

    Attributes
    ----------
    frame : pandas.DataFrame
        Tidy: symbol, origin, step, date, median, lower, upper, and a column for each quantile named
        by its level ("0.05"), all prices; `origin` is a date, or a bar's number without dates.
    bars : pandas.DataFrame
        The validated bars that it was made from.
    level : float
        Nominal level of [lower, upper].
    reports : dict of SymbolReport
        By symbol, those left out included.
    source : tuple
        (predictor, panel, rows), for explain() and table().
    """

    frame: pd.DataFrame
    bars: pd.DataFrame
    level: float
    reports: dict[str, SymbolReport]
    source: Any = None

    @property
    def skipped(self) -> dict[str, str]:
        """Why a symbol was left out, by symbol."""
        return {name: r.warnings[0] for name, r in self.reports.items() if r.model_used is None}

    @property
    def confidence(self) -> float:
        """The nominal level of the interval; how well it held is a report's `coverage`."""
        return self.level

    def __repr__(self) -> str:
        """A line for each of the first symbols: the frame and the bars would fill the screen."""
        lines = [f"Forecast: {len(self.frame)} rows in .frame"]
        for name, report in list(self.reports.items())[:6]:
            used = report.model_used
            answer = f"{name}: {used}, {self.caption(name)}" if used else f"left out: {name}"
            lines.append(f"  {answer}")
        if len(self.reports) > 6:
            lines.append(f"  and {len(self.reports) - 6} more")
        return "\n".join(lines)

    def caption(self, symbol: str) -> str:
        """The interval in words: "93% interval (held 94% [90–97%] over 252 dates of its own …)"."""
        name, report = f"{100 * self.level:.6g}% interval", self.reports[symbol]
        if report.coverage is None:
            return name
        low, high = report.coverage_interval
        return f"{name} (held {report.coverage:.0%} [{100 * low:.0f}–{high:.0%}] {report.measured})"

    def summary(self) -> dict[str, Any] | list[dict[str, Any]]:
        """The last origin's forecast as plain values; a list of them for several symbols.

        Returns
        -------
        dict
            symbol, origin, prediction (the next bar's median price), interval (level, lower, upper
            of that price, coverage, coverage_interval), confidence (the interval's nominal level),
            model_used, path (step, date, median, lower, upper of each bar ahead), quantiles
            ("0.05": a price a bar ahead), warnings (why other symbols were left out among them).
        """
        groups = self.frame.groupby("symbol", sort=False)
        summaries = [self._summary(str(name), rows) for name, rows in groups]
        return summaries[0] if len(summaries) == 1 else summaries

    def _summary(self, symbol: str, rows: pd.DataFrame) -> dict[str, Any]:
        origin, report = rows["origin"].iloc[-1], self.reports[symbol]
        last = rows[rows["origin"] == origin]
        path = last[["step", "date", "median", "lower", "upper"]].to_dict("records")
        for bar in path:
            bar["date"] = _plain(bar["date"])
        return {
            "symbol": symbol,
            "origin": _plain(origin),
            "prediction": path[0]["median"],
            "interval": {
                "level": self.level,
                "lower": path[0]["lower"],
                "upper": path[0]["upper"],
                "coverage": report.coverage,
                "coverage_interval": report.coverage_interval and [*report.coverage_interval],
            },
            "confidence": self.confidence,
            "model_used": report.model_used,
            "path": path,
            "quantiles": {name: last[name].tolist() for name in quantile_columns(last)},
            "warnings": [*report.warnings, *self.skipped.values()],
        }

    def table(self, levels: Sequence[float] | None = None) -> pd.DataFrame:
        """The watchlist: one row a symbol, in the order of `reports`, of the last origin.

        Parameters
        ----------
        levels : of the intervals; None: 0.8 and the forecast's own. ConfigError outside (0, 1)

        Returns
        -------
        DataFrame
            symbol, origin; of the last step that was asked for: date, step, last (the close),
            median, median_pct (from the close), low_80, high_80, low_93, high_93 (prices; of each
            level), width_vs_year (the 80% interval's width over what the symbol's own volatility
            would have given on average over the last 252 bars), p_up (probability of a close above
            the last); age (sessions without a bar since the last one), trend (the last 60 closes),
            status ("answered", "warned", "left out"), model_used, why (the warnings).
        """
        from .table import watchlist

        return watchlist(self, levels)

    def _repr_html_(self) -> str:
        """The watchlist in a notebook, sorted by a click on a head."""
        from ..viz.watchlist import watchlist_html

        return watchlist_html(self.table())

    def to_csv(self, path: str | Path, tidy: bool = False) -> Path:
        """Write the watchlist, or with `tidy` the frame of all quantiles; raises OutputError."""
        return self._write(path, "csv", tidy)

    def to_parquet(self, path: str | Path, tidy: bool = False) -> Path:
        """As `to_csv`, with the columns' types kept."""
        return self._write(path, "parquet", tidy)

    def to_excel(self, path: str | Path, tidy: bool = False) -> Path:
        """As `to_csv`, a workbook of one sheet; MissingDependency without openpyxl."""
        return self._write(path, "excel", tidy)

    def _write(self, path: str | Path, form: str, tidy: bool) -> Path:
        from .table import write_table

        return write_table(self.frame if tidy else self.table(), path, form)

    def plot(self, symbol: str | None = None, history: int = 60, interactive: bool = False) -> Any:
        """The fan chart of a symbol's last origin: matplotlib to print, or plotly to hover over."""
        from ..viz.forecasts import plot_forecast

        return plot_forecast(self, symbol, history, interactive)

    def report(self, symbol: str | None = None, actual: pd.DataFrame | None = None) -> Any:
        """A symbol's page of HTML, to save or to show in a notebook; see viz.page.report_page."""
        from ..viz.page import report_page

        return report_page(self, symbol, actual)

    def keep(self, folder: str | Path | None = None) -> Any:
        """Keep it in the journal, to be scored when its outcomes are known; see Journal.keep."""
        from ..evaluation.journal import Journal

        return Journal(folder).keep(self)

    def explain(self) -> Any:
        """Which inputs and which past bars the networks used; see forecast.explain.Explanation."""
        from .explain import explain_forecast

        return explain_forecast(self)


def quantile_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a forecast's frame that are named by a level: "0.05", "5e-07"."""
    return [name for name in frame.columns if name[0].isdigit()]


def _plain(time: Any) -> str | int | None:
    """A date, a time or a bar's number for JSON; None where there is no date."""
    if not isinstance(time, pd.Timestamp):
        return None if pd.isna(time) else int(time)
    return str(time.date() if time == time.normalize() else time)


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
