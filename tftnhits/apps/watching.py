"""`tftnhits watch`: the forecast of many symbols as a table with a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..escape import csv_text
from .commands import SOURCES, _command, _read, device, reading

if TYPE_CHECKING:
    import pandas as pd

SORTS = {"symbol": "symbol", "last": "last", "median": "median_pct", "width": "width_vs_year"}
SORTS |= {"up": "p_up", "age": "age", "status": "status"}


def _sort(text: str) -> tuple[str, bool]:
    """The column to sort by, and whether ascending."""
    name = text.removeprefix("-")
    if name not in SORTS:
        raise click.BadParameter(f"{text!r} is none of {', '.join(SORTS)}")
    return SORTS[name], name == text


@_command(
    """  tftnhits watch AAPL KO NVDA
  tftnhits watch stocks --sort -width
  tftnhits watch bars.csv --horizon 3 --csv > watchlist.csv"""
)
@click.argument("sources", nargs=-1, required=True, metavar=SOURCES)
@click.option("--horizon", type=int, help="bars ahead, as many as the model learnt; default: 5")
@click.option("--calendar", metavar="NAME", help="of the dates ahead, as XNYS or 24/7")
@click.option("--model", metavar="FOLDER_OR_ID", help="a trained model; default: the shipped one")
@click.option(
    "--sort",
    type=_sort,
    metavar="[-]COLUMN",
    help=f"{', '.join(SORTS)}; with - the largest first; default: the order of the sources",
)
@click.option("--csv", "as_csv", is_flag=True, help="print CSV: all columns, with every warning")
@device
@reading
def watch(sources, horizon, calendar, model, sort, as_csv, device, **options):
    """Show a watchlist: the forecast of each symbol in one row.

    Sources are those of predict. Symbols that can't be read or forecast have a row that says why.
    """
    from ..forecast.predictor import Predictor
    from . import text

    predictor = Predictor.load(model, device)
    bars = _read(sources, options, predictor.panel_config.extra)
    forecast = predictor.predict(bars, horizon, calendar=calendar, strict=options["strict"])
    table = _ordered(forecast.table(), sources)
    if sort:
        table = table.sort_values(sort[0], ascending=sort[1], kind="stable", ignore_index=True)
    if as_csv:
        yield csv_text(table).rstrip("\n")
    else:
        yield text.watchlist_text(forecast, table)


def _ordered(table: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """As the symbols were typed, those left out among them; as it is where a source is a file."""
    typed = [name.upper() for name in sources]
    if not set(typed) <= set(table["symbol"]):
        return table
    return table.set_index("symbol").loc[typed].reset_index()
