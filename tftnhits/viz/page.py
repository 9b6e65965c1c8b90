"""The report of a symbol: a page of HTML that fetches nothing, and says what it does not know.

What is computed is here and in sections.py; templates/report.html has the sentences around it.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from ..data.bars import repairs
from ..data.findings import ALL
from ..errors import DataError, MissingDependency, counted
from ..escape import csv_text
from ..files import atomic_write, safe_name
from ..forecast.result import Forecast
from . import style
from .bars import bar_labels, of_symbol
from .forecasts import Fan, fan_of
from .risks import risk_section
from .sections import drivers, inner_ends, kept_forecasts, next_bar, past_and_volatility, when
from .svg import WIDE, Axis, Plot, across, band, boxes, line, uprights, view
from .watchlist import decimals

MONTHS = {"1m": 1, "3m": 3, "1y": 12}  # that buttons show of daily bars
LENGTHS = (21, 63, 252)  # bars that they show of others
MOST = 400  # bars on a page


@dataclass(frozen=True, repr=False)
class Page:
    """A page of HTML, whole in itself.

    Attributes
    ----------
    forecast : what it shows, of the symbol alone
    """

    symbol: str
    html: str
    forecast: Forecast

    def save(self, path: str | Path) -> Path:
        """Write it to a file, or into a folder by the symbol's name; raises OutputError."""
        path = Path(path)
        inside = path / f"{safe_name(self.symbol)}.html"
        return atomic_write(inside if path.is_dir() else path, self.html)

    def __repr__(self) -> str:
        size = len(self.html.encode()) / 1000
        return f"Page of {self.symbol!r}, {size:.0f} kB in .html; .save(path) writes it"

    def _repr_html_(self) -> str:
        """The page in a notebook, in a frame that can't reach the notebook."""
        style = "width: 100%; height: 900px; border: 0"
        rights = "allow-scripts allow-downloads"
        return f'<iframe sandbox="{rights}" style="{style}" srcdoc="{escape(self.html)}"></iframe>'


def report_page(
    fc: Forecast, symbol: str | None = None, actual: pd.DataFrame | None = None
) -> Page:
    """The page of a symbol's last origin.

    Parameters
    ----------
    symbol : one of the forecast's (None: the first)
    actual : bars that go on after the origin, which are drawn as what came

    Raises
    ------
    DataError : an unknown symbol, or one that was left out
    MissingDependency : without jinja2
    """
    template = _template()
    fc = alone(fc, symbol)
    (symbol,) = fc.reports
    bars = fc.bars if actual is None else of_symbol(actual, symbol)
    return Page(symbol, template.render(_context(fc, symbol, bars)), fc)


def _context(fc: Forecast, symbol: str, known: pd.DataFrame) -> dict[str, Any]:
    """What the template takes; `known` are the symbol's bars, those after the origin too."""
    path = fc.frame[fc.frame["origin"] == fc.frame["origin"].iloc[-1]]
    row = fc.table().iloc[0]
    last, level = float(row["last"]), f"{100 * fc.level:.6g}%"
    digits = decimals(float(row["high_80"] - row["low_80"]), last)
    fan = fan_of(fc, path, known, _shown(fc.bars))
    chart, volume, data = price_chart(fan, fc.bars.tail(len(fan.close)))
    inner = inner_ends(path, last)
    parts = {**past_and_volatility(fc, symbol), "next": next_bar(path, last)}
    parts |= {"kept": kept_forecasts(fc, symbol), "risk": risk_section(fc)}
    # what the script needs to tell the values under the pointer
    data |= {"path": path[["median", "lower", "upper"]].to_numpy().tolist()}
    data |= {"inner": inner.tolist(), "digits": digits, "level": level}
    data["texts"] = {name: one["plot"].texts for name, one in parts.items() if "plot" in one}
    names = {"symbol": symbol, "file": safe_name(symbol), "level": level, "digits": digits}
    names |= {"unit": style.unit_of(fc.bars["date"]), "version": __version__}
    shown = {"fan": fan, "chart": chart, "volume": volume, "data": data, "themes": style.THEMES}
    told = {"fc": fc, "report": fc.reports[symbol], "row": row, "path": path.to_dict("records")}
    told |= {"inner": inner, "repairs": _repairs(fc), "drivers": drivers(fc)}
    return names | shown | told | parts | {"csv": b64encode(csv_text(path).encode()).decode()}


def alone(fc: Forecast, symbol: str | None) -> Forecast:
    """The part of a forecast that is of a symbol (None: the first); raises DataError."""
    if symbol in fc.skipped:
        raise DataError(fc.skipped[symbol])
    frame = of_symbol(fc.frame, symbol)
    symbol = str(frame["symbol"].iloc[0])
    predictor, panel, rows = fc.source
    rows = rows[panel.symbol_of(rows) == panel.symbols.index(symbol)]
    bars = fc.bars[fc.bars["symbol"] == symbol].reset_index(drop=True)
    reports = {symbol: fc.reports[symbol]}
    return replace(fc, frame=frame, bars=bars, reports=reports, source=(predictor, panel, rows))


def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise MissingDependency(
            "A report needs jinja2; pip install 'tftnhits[notebook]'."
        ) from error
    loader = PackageLoader("tftnhits.viz", "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True)
    environment.filters |= {"price": price, "signed": style.signed, "counted": counted}
    environment.filters["when"] = when
    return environment.get_template("report.html")


def price(value: float, digits: int) -> str:
    """A price for people, with `digits` decimals."""
    if digits > 9 or not abs(value) < 1e12:
        return f"{value:.6g}"
    return f"{value:,.{digits}f}"


def _repairs(fc: Forecast) -> list[dict[str, Any]]:
    """What was repaired in the symbol's bars, or in all."""
    table = repairs(fc.bars)
    return table[table["symbol"].isin([*fc.reports, ALL])].to_dict("records")


# --- the chart of prices


def _shown(bars: pd.DataFrame) -> int:
    """Bars of the last year, or as many as are shown of others than daily ones."""
    if style.unit_of(bars["date"]) != "session":
        return LENGTHS[-1]
    year = bars["date"] > bars["date"].iloc[-1] - pd.DateOffset(years=1)
    return min(max(int(year.sum()), 2), MOST)


def _starts(bars: pd.DataFrame) -> dict[str, int]:
    """The first bar of what each button shows."""
    if style.unit_of(bars["date"]) != "session":
        return {counted(size, "bar"): max(len(bars) - size, 0) for size in LENGTHS}
    last = bars["date"].iloc[-1]
    begin = {name: last - pd.DateOffset(months=count) for name, count in MONTHS.items()}
    return {name: int((bars["date"] <= date).sum()) for name, date in begin.items()}


def price_chart(fan: Fan, bars: pd.DataFrame) -> tuple[Plot, Plot | None, dict[str, Any]]:
    """Candles with the fan over them, the volume where it is known, and the data to zoom with."""
    low = np.r_[bars["low"], fan.path["lower"].iloc[1:]]
    high = np.r_[bars["high"], fan.path["upper"].iloc[1:]]
    axis = Axis.of(low, high, fan.outcome, *(edge for _, *edges in fan.bands for edge in edges))
    top, bottom = axis.units(high), axis.units(low)
    labels, starts = bar_labels(fan.x), _starts(bars)
    first = list(starts.values())[1]
    box = view(first, len(fan.x) - 1, top[first:], bottom[first:])
    chart = Plot(
        label=f"Candles of the last {counted(len(bars), 'bar')} and the forecast's fan",
        axis=axis,
        box=box,
        paths=[*_fan(axis, fan), *_candles(axis, bars)],
        across=across(labels, first),
    )
    # What a script needs to zoom, and to tell the values under the pointer
    columns = bars[["open", "high", "low", "close", "volume"]].astype(object)
    data = {
        "bars": columns.where(columns.notna(), None).to_numpy().tolist(),
        "labels": labels,
        "starts": [*starts.items()],
        "came": fan.outcome[1:].tolist(),
        "axis": [axis.high, axis.unit],
        "top": top.tolist(),
        "bottom": bottom.tolist(),
    }
    volume = _volume(bars["volume"].to_numpy(), box)
    return chart, volume, data


def _fan(axis: Axis, fan: Fan) -> list[tuple[str, str]]:
    """Bands on top of each other, the interval's edges, the median, and the outcome."""
    x = len(fan.close) - 1 + np.arange(len(fan.path))
    paths = [("band", band(x, axis.units(low), axis.units(high))) for _, low, high in fan.bands]
    paths += [("edge", line(x, axis.units(fan.path[name]))) for name in ("lower", "upper")]
    paths.append(("median", line(x, axis.units(fan.path["median"]))))
    came = axis.units(fan.outcome)
    if len(came) > 1:
        x = x[: len(came)]
        paths += [("came", line(x, came)), ("came dot", uprights(x[1:], came[1:], came[1:]))]
    return paths


def _candles(axis: Axis, bars: pd.DataFrame) -> list[tuple[str, str]]:
    """Hollow where a bar closed at or above its open, filled below: no colour is needed."""
    units = {name: axis.units(bars[name]) for name in ("open", "high", "low", "close")}
    rising, paths = (bars["close"] >= bars["open"]).to_numpy(), []
    for name, chosen in (("rise", rising), ("fall", ~rising)):
        x = np.flatnonzero(chosen)
        o, high, low, c = (values[chosen] for values in units.values())
        paths.append((f"{name} wick", uprights(x, high, low)))
        paths.append((name, boxes(x, np.minimum(o, c), np.maximum(o, c))))
    return paths


def _volume(volume: np.ndarray, above: tuple[float, ...]) -> Plot | None:
    """The volume [N] of the bars that the box `above` shows; None where it is unknown."""
    known = np.nan_to_num(volume)
    if not known.any():
        return None
    axis = Axis.of([0.0], known)
    top, zero = axis.units(known), axis.units(0 * known)
    paths = [("volume", boxes(np.arange(len(known)), top, zero))]
    shown = top[int(above[0] / WIDE + 1) :]
    box = (above[0], float(shown.min()), above[2], float(zero[0] - shown.min()))
    return Plot("Volume of these bars", axis, box, paths)
