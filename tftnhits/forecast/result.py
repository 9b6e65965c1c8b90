"""What a forecast is: a tidy frame of prices, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..data.windows import Panel

FLOAT = np.finfo(float)


@dataclass
class SymbolReport:
    """Who answers for one symbol, how well such intervals held, and what the reader must know.

    Attributes
    ----------
    model_used : str or None
        None where the symbol was left out; the first warning then says why.
    coverage : float or None
        Share of past outcomes inside such intervals; None if that was never measured.
    warnings : list of str
        One sentence each.
    """

    model_used: str | None
    coverage: float | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(repr=False)
class Forecast:
    """Forecasts of one or many symbols and origins.

    `frame` is tidy: symbol, origin, step, date, median, lower, upper, and a column for each quantile named by
    its level ("0.05"), all prices; `origin` is a date, or a bar's number where bars have no dates. `coverage` is
    the share of outcomes inside such intervals, calibrated online, over the walk-forward origins of `measured`.
    """

    frame: pd.DataFrame
    bars: pd.DataFrame  # the validated bars that it was made from
    level: float  # nominal level of [lower, upper]
    reports: dict[str, SymbolReport]  # by symbol, those left out included
    measured: str = ""  # what coverage was measured on: "over 252 dates to 2017-12-21"
    source: Any = None  # (predictor, panel, rows), for explain()

    @property
    def skipped(self) -> dict[str, str]:
        """Why a symbol was left out, by symbol."""
        return {name: r.warnings[0] for name, r in self.reports.items() if r.model_used is None}

    @property
    def model_used(self) -> dict[str, str]:
        return {name: r.model_used for name, r in self.reports.items() if r.model_used}

    @property
    def coverage(self) -> dict[str, float | None]:
        return {name: r.coverage for name, r in self.reports.items() if r.model_used}

    @property
    def warnings(self) -> dict[str, list[str]]:
        return {name: r.warnings for name, r in self.reports.items()}

    def __repr__(self) -> str:
        """A line for each of the first symbols: the frame and the bars would fill the screen."""
        names = list(self.model_used)
        lines = [f"  {name}: {self.model_used[name]}, {self.caption(name)}" for name in names[:5]]
        more = [f"  and {len(names) - 5} more"] * (len(names) > 5)
        more += [f"  left out: {name}" for name in list(self.skipped)[:5]]
        return "\n".join([f"Forecast: {len(self.frame)} rows in .frame", *lines, *more])

    @property
    def confidence(self) -> float:
        """The nominal level of the interval; how well it was kept is `coverage`."""
        return self.level

    def caption(self, symbol: str) -> str:
        """The interval in words: "93% interval (held 94% over 252 dates to 2017-12-21)"."""
        name, share = f"{100 * self.level:.6g}% interval", self.coverage[symbol]
        return name if share is None else f"{name} (held {share:.0%} {self.measured})"

    def summary(self) -> dict[str, Any] | list[dict[str, Any]]:
        """The last origin's forecast as plain values; a list of them for several symbols.

        Keys: symbol, origin, prediction (median price a step), interval (level, lower, upper, coverage),
        confidence (the interval's nominal level), model_used, warnings (why other symbols were left out among them).
        """
        out = [
            self._summary(str(name), part)
            for name, part in self.frame.groupby("symbol", sort=False)
        ]
        return out[0] if len(out) == 1 else out

    def _summary(self, symbol: str, part: pd.DataFrame) -> dict[str, Any]:
        last = part[part["origin"] == part["origin"].iloc[-1]]
        interval = {
            "level": self.level,
            "lower": last["lower"].tolist(),
            "upper": last["upper"].tolist(),
        }
        interval["coverage"] = self.coverage[symbol]
        origin = last["origin"].iloc[0]
        return {
            "symbol": symbol,
            "origin": str(origin.date() if origin == origin.normalize() else origin)
            if isinstance(origin, pd.Timestamp)
            else int(origin),
            "prediction": last["median"].tolist(),
            "interval": interval,
            "confidence": self.confidence,
            "model_used": self.model_used[symbol],
            "warnings": [*self.warnings[symbol], *self.skipped.values()],
        }

    def plot(self, symbol: str | None = None, history: int = 60, interactive: bool = False) -> Any:
        """The fan chart of one symbol's last origin: matplotlib to print, or plotly to hover over."""
        from ..viz.forecasts import plot_forecast

        return plot_forecast(self, symbol, history, interactive)

    def explain(self) -> Any:
        """Which inputs and which past bars the networks used; see viz.explain.Explanation."""
        from .explain import explain_forecast

        return explain_forecast(self)


def tidy(
    panel: Panel, rows: np.ndarray, quantiles: np.ndarray, levels: tuple[float, ...], level: float
) -> pd.DataFrame:
    """Quantiles [K, H, Q] of log returns → the tidy frame of prices, K · H rows.

    Among `levels` are .5 and the two of the interval of nominal `level`.
    """
    k, h, _ = quantiles.shape
    with np.errstate(over="ignore", under="ignore"):
        price = panel.close[rows, None, None] * np.exp(np.asarray(quantiles, float))
    price = np.clip(
        price, FLOAT.tiny, FLOAT.max
    )  # of bars that leap, a tail can be beyond what a float holds
    symbol = panel.symbol_of(rows)
    ahead = rows[:, None] + 1 + np.arange(h)
    date = panel.date[rows]
    origin = rows - panel.start[symbol] if np.isnat(date).any() else date
    find = {round(q, 12): i for i, q in enumerate(levels)}
    tail = (1 - level) / 2
    columns = {
        "symbol": np.repeat(np.asarray(panel.symbols, object)[symbol], h),
        "origin": np.repeat(origin, h),
        "step": np.tile(np.arange(1, h + 1), k),
        "date": panel.date[ahead].ravel(),
        "median": price[..., find[0.5]].ravel(),
        "lower": price[..., find[round(tail, 12)]].ravel(),
        "upper": price[..., find[round(1 - tail, 12)]].ravel(),
    }
    return pd.DataFrame(
        columns | {f"{q:.12g}": price[..., i].ravel() for i, q in enumerate(levels)}
    )
