"""`tftnhits score`: what came of the forecasts that the journal keeps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import click

from ..escape import csv_text
from ..files import atomic_write
from .commands import _command, _read, _say, reading

if TYPE_CHECKING:
    import pandas as pd

    from ..evaluation.record import Record

SHOWN = {"loss": "{:.2f}", "har": "{:.2f}", "to_har": "{:.3f}", "p": "{:.3f}"}


@_command(
    """  tftnhits predict AAPL KO --keep
  tftnhits score
  tftnhits score bars.csv --by symbol --csv"""
)
@click.argument("sources", nargs=-1, metavar="[FILE|SYMBOL...]")
@click.option("--journal", metavar="FOLDER", help="where forecasts were kept, if not for the user")
@click.option("--by", default="model", show_default=True, help="symbol, model, step, month")
@click.option("--csv", "as_csv", is_flag=True, help="print CSV")
@click.option("--plot", metavar="FILE", help="draw the record into FILE.png")
@reading
def score(sources, journal, by, as_csv, plot, **options):
    """Set forecasts that were kept against what came since.

    Outcomes are those of the sources, as of predict; without any, of Yahoo Finance.
    """
    from ..evaluation.journal import Journal

    bars = _read(sources, options) if sources else None
    record = Journal(journal).score(bars)
    for note in record.notes:
        _say(f"note: {note}")
    table = record.table([name.strip() for name in by.split(",")])
    if plot:
        _draw(record, plot)
    if as_csv:
        yield csv_text(table).rstrip("\n")
    elif len(table):
        yield _text(table)


def _draw(record: Record, path: str) -> None:
    picture = io.BytesIO()
    record.plot().savefig(picture, format="png")
    atomic_write(path, picture.getvalue())


def _text(table: pd.DataFrame) -> str:
    """The table for a terminal: shares in percent with where they lie."""
    shown = table.drop(columns=[c for c in table if c.startswith(("low_", "high_"))])
    for name in ("80", "93"):
        shown[f"inside_{name}"] = [
            f"{share:.1%} [{low:.0%}–{high:.0%}]"
            for share, low, high in table[[f"{c}_{name}" for c in ("inside", "low", "high")]].values
        ]
    for name, pattern in SHOWN.items():
        shown[name] = shown[name].map(pattern.format)
    return shown.to_string(index=False)
