"""`tn.report` and `tftnhits report`: a page of HTML a symbol, by the same code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import LEVEL
from ..errors import ConfigError, DataError, quoted
from .commands import SOURCES, _command, _day_option, _folder, _read, _say, device, reading

if TYPE_CHECKING:
    import pandas as pd

    from ..forecast.predictor import Predictor
    from ..viz.page import Page


def report(
    symbol: str | None = None,
    source: Any = None,
    start: str | None = None,
    end: str | None = None,
    origin: str | None = None,
    horizon: int | None = None,
    level: float = LEVEL,
    model: Any = None,
    output: str | Path | None = None,
) -> Page:
    """The page of a symbol: prices and forecast, its past forecasts, volatility, what drove it.

    Parameters
    ----------
    symbol : one of the source's (None: the first); without a source one of Yahoo Finance, whose
        bundled bars stand in where live ones can't be had
    source : a file, "stocks" or "eurusd", or anything else that load_bars takes
    start, end : first and last day of the bars that are taken
    origin : the last day that the forecast knows; the bars after it are drawn as what came
    horizon, level : as those of Predictor.predict
    model : a Predictor, or what Predictor.load takes
    output : a file, or a folder that is there, for the page

    Raises
    ------
    As load_bars, Predictor.load and Predictor.predict; MissingDependency without jinja2,
    OutputError where the page can't be written.
    """
    from ..forecast.predictor import Predictor
    from .sources import read_sources

    predictor = model if isinstance(model, Predictor) else Predictor.load(model or None)
    named = symbol if source is None else source
    if named is None:
        raise ConfigError("A report takes a symbol or a source of bars; name one of them.")
    if isinstance(named, str):
        bars, _ = read_sources([named], extra=predictor.panel_config.extra)
    else:
        bars = predictor.read(named)
    names = set(bars["symbol"].unique())
    symbol = symbol or bars["symbol"].iloc[0]
    symbol = symbol.upper() if symbol not in names and symbol.upper() in names else symbol
    bars = between(bars, start, end)
    asked = {"horizon": horizon, "level": level, "symbols": [symbol]}
    (page,) = pages(predictor, bars, origin, **asked)
    if output:
        page.save(output)
    return page


def pages(
    predictor: Predictor, bars: pd.DataFrame, origin: str | None, **options: Any
) -> Iterator[Page]:
    """The pages of all symbols that can be forecast, as of the day `origin` (None: the last)."""
    forecast = predictor.predict(between(bars, None, origin), **options)
    for why in forecast.skipped.values():
        _say(f"warning: {why}")
    for symbol in forecast.frame["symbol"].unique():
        yield forecast.report(symbol, bars if origin else None)


def between(bars: pd.DataFrame, first: str | None, last: str | None) -> pd.DataFrame:
    """The bars from the day `first` to the day `last` (None: all); ConfigError, DataError."""
    if not first and not last:
        return bars
    if bars["date"].isna().any():
        raise ConfigError("These bars have no dates; leave start, end and origin out.")
    day = bars["date"].dt.normalize()
    begin, end = _day(first) or day.min(), _day(last) or day.max()
    kept = bars[day.between(begin, end)].reset_index(drop=True)
    if kept.empty:
        since = f"from {begin:%Y-%m-%d} " if first else ""
        raise DataError(
            f"There are no bars {since}to {end:%Y-%m-%d}; they begin on {day.min():%Y-%m-%d} and "
            f"end on {day.max():%Y-%m-%d}."
        )
    return kept


def _day(text: str | None) -> pd.Timestamp | None:
    import pandas as pd

    try:
        return pd.Timestamp(text).tz_localize(None) if text else None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{quoted(text)} is no day; write it as 2012-01-31.") from error


@_command(
    """  tftnhits report AAPL MSFT
  tftnhits report bars.csv --out pages --level 0.8
  tftnhits report stocks --out pages --origin 2023-06-30""",
    "report",
)
@click.argument("sources", nargs=-1, required=True, metavar=SOURCES)
@click.option("--out", default=".", metavar="FOLDER", help="for the pages; default: here")
@_day_option("--origin", "the last day that the forecasts know; default: the last there is")
@click.option("--horizon", type=int, help="bars ahead, as many as the model learnt; default: 5")
@click.option("--level", type=float, default=LEVEL, show_default=True, help="of the interval")
@click.option("--calendar", metavar="NAME", help="of the dates ahead, as XNYS or 24/7")
@click.option("--model", metavar="FOLDER_OR_ID", help="a trained model; default: the shipped one")
@device
@reading
def command(sources, out, origin, horizon, level, calendar, model, device, **options):
    """Write a page of HTML for each symbol, which needs no network.

    Sources are those of predict.
    """
    from ..forecast.predictor import Predictor

    predictor = Predictor.load(model, device)
    asked = {"horizon": horizon, "level": level, "calendar": calendar, "strict": options["strict"]}
    bars = _read(sources, options, predictor.panel_config.extra)
    with _folder(out) as folder:
        for page in pages(predictor, bars, origin, **asked):
            yield str(page.save(folder))
