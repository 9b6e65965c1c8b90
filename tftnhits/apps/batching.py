"""`tftnhits batch`: forecasts of many symbols, and a notebook executed for each."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import DataError, NotebookError, quoted
from .commands import CHECKOUT, COUNT, _command, _names, workers

SECONDS = click.IntRange(min=1)


@_command(
    """  tftnhits batch --symbols AAPL,BRK-B,^GSPC --out live
  tftnhits batch --source bars.parquet --out numbers
  tftnhits batch --source bars.parquet --notebook 12 --html --jobs 2 --out pages
  tftnhits batch --source bars.parquet -p horizon=3,5 -p level=0.8,0.93 --out sweep --resume"""
)
@click.option("--symbols", type=_names, metavar="A,B", help="default: all of the source")
@click.option("--symbols-file", metavar="FILE", help="symbols, one a line")
@click.option("--source", metavar="FILE", help="bars, as Parquet of all symbols; default: live")
@click.option("--notebook", metavar="FILE|NAME", help="executed for each symbol; default: none")
@click.option(
    "-p", "pairs", multiple=True, metavar="NAME=V1,V2", help="parameter; all combinations are made"
)
@click.option("--out", metavar="DIR", help="default: runs/<time>")
@click.option("--jobs", type=COUNT, help="notebooks side by side; default: 1, or a whole cluster")
@workers
@click.option("--timeout", type=SECONDS, default=3600, show_default=True, help="of a notebook")
@click.option("--retries", type=click.IntRange(0, 10), default=1, show_default=True)
@click.option("--resume", is_flag=True, help="what has not ended, or failed, of the batch in --out")
@click.option("--html", is_flag=True, help="write each notebook as a page, too")
def batch(symbols, symbols_file, source, notebook, pairs, out, resume, html, **how):
    """Forecast many symbols at once, and execute a notebook for each of them.

    The folder gets forecasts.parquet, watchlist.parquet, index.html with all of them, and the
    executed notebooks. A symbol that fails stops no other.
    """
    from ..config import WorkerConfig
    from .batch import find_notebooks
    from .many import run_batch
    from .parameters import parse_lists
    from .tasks import known_to_batch

    if symbols and symbols_file:
        raise click.UsageError("--symbols and --symbols-file are not allowed together.")
    names = _lines(symbols_file) if symbols_file else symbols or None
    if notebook and not notebook.endswith(".ipynb"):
        folder = CHECKOUT / "notebooks"
        (notebook,) = find_notebooks(folder if folder.is_dir() else "notebooks", [notebook])
    path = Path(notebook).absolute() if notebook else None
    sweep = parse_lists(known_to_batch(path), list(pairs))
    settings = WorkerConfig(**how)
    result = run_batch(names, source, out, path, sweep, settings, resume, html)
    if result.plan.notebook:
        yield f"pages      {result.folder / 'pages'}"
    yield f"forecasts  {result.folder / 'forecasts.parquet'}"
    yield f"index      {result.index}"
    if failed := result.count("failed"):
        raise NotebookError(
            f"{failed} of {len(result.tasks)} failed and {result.index} says why; the same command "
            f"with --out {result.folder} --resume tries them again."
        )


def _lines(path: str) -> list[str]:
    """The symbols in a file, as written."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise DataError(f"The symbols in {quoted(path, 200)} can't be read: {reason}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
