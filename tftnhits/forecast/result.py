"""What a forecast is: a tidy frame of prices, and a report of each symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .conformal import MEASURED, Calibration
from .own import Measured, binomial_interval


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

    def paths(self, n: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Whole bars ahead, n of them drawn together from each symbol's last origin (paths.py).

        Returns symbol, origin, path, step, date, open, high, low, close, volume; what is missing is
        NaN, and why is said in `attrs["warnings"]` and the reports. ConfigError on an n below 1.
        """
        from .paths import paths_of

        return paths_of(self, n, seed).frame()

    def risk(
        self,
        position: float | str = 1.0,
        weights: Mapping[str, float] | None = None,
        levels: Sequence[float] = (0.05, 0.01),
    ) -> pd.DataFrame:
        """What a position may lose until each step's close, by the same paths.

        Parameters
        ----------
        position : an amount of money, below zero if sold; "long" and "short" are 1 and -1
        weights : by symbol its share of the position; None: each symbol alone
        levels : probabilities of a larger loss

        Returns symbol ("portfolio" with weights), step, date, level, and in units of the position
        var, the loss that is exceeded with that probability, and es, the mean loss beyond it
        (expected shortfall, Acerbi & Tasche 2002). ConfigError on what can't be asked.
        """
        from .risk import asked, value_at_risk

        return value_at_risk(asked(self, weights), position, levels)

    def touch(self, price: Any = None, percent: Any = None) -> pd.DataFrame:
        """How probable it is that a bar touches a level by each step, by the same paths.

        A high touches a level that is no lower than the last close, a low one below. It is given as
        a price or several, by symbol where there are several symbols, or in percent from the last
        close. Returns symbol, step, date, price, percent, side, probability. ConfigError as `risk`.
        """
        from .risk import asked, touch_probability

        return touch_probability(asked(self), price, percent)

    def range(
        self, levels: Sequence[float] = (0.035, 0.1, 0.5, 0.9, 0.965), step: int = 1
    ) -> pd.DataFrame:
        """Quantiles of a bar's high, low and high ÷ low (`what`), a column for each level."""
        from .risk import asked, bar_range

        return bar_range(asked(self), levels, step)

    def probability(
        self, above: Any = None, below: Any = None, weights: Mapping[str, float] | None = None
    ) -> pd.DataFrame:
        """How probable a close above or below prices is, or without any a rise, at each step.

        Prices are given as to `touch`, weights as to `risk`; a portfolio's price is 1 today.
        Returns symbol, step, date, event ("up", "above", "below"), price, probability.
        """
        from .risk import asked, close_probability

        return close_probability(asked(self, weights), above, below)

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
