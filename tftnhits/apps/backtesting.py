"""`tftnhits backtest`: a walk through the past, and who forecast best."""

from __future__ import annotations

import importlib.util

import click

from ..config import BacktestConfig
from ..escape import csv_text
from .commands import (
    COUNT,
    READING,
    SOURCES,
    _command,
    _day_option,
    _folder,
    _names,
    _read,
    _say,
    _seeds,
    device,
    fitting,
    forms,
    reading,
    workers,
)


@_command(
    """  tftnhits backtest --out walk --start 2015-01-01 --end 2018-12-31 --jobs 2
  tftnhits backtest AAPL --out walk2 --preset tiny --members 'TFT,N-HITS,HAR' --csv > board.csv"""
)
@click.argument("sources", nargs=-1, metavar=f"[{SOURCES}]")
@fitting
@_day_option("--start", "first day tested; default: the last 40% of days")
@_day_option("--end", "last day tested; default: all known outcomes")
@click.option("--months", type=COUNT, default=12, show_default=True, help="from refit to refit")
@click.option("--seeds", default="0", type=_seeds, show_default=True, help="networks each")
@click.option("--members", type=_names, metavar="A,B", help="forecasters; default: all here")
@click.option("--jobs", type=COUNT, help="runs side by side; default: 1, or a whole cluster")
@device
@workers
@forms
@reading
def backtest(sources, out, jobs, backend, address, as_json, as_csv, device, **settings):
    """Walk forward through the past and print who forecast best.

    The same command goes on where an earlier one stopped.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are not allowed together.")
    options = {name: settings.pop(name) for name in READING}
    plan = BacktestConfig(**settings)
    from ..evaluation.backtest import backtest as walk
    from ..evaluation.leaderboard import summary
    from . import text
    from .cluster import cluster

    with _folder(out) as folder:
        bars = _read(sources or ["stocks"], options)
        with cluster(backend, jobs, address) as jobs:
            result = walk(bars, plan, folder, jobs, device=device)
    judged = importlib.util.find_spec("arch") is not None
    if not judged:
        _say("note: no tests of who is better without arch: pip install 'tftnhits[evaluation]'")
    board = summary(result.frame, verdicts=judged)
    _say(f"note: every forecast that was made is in {folder}")
    if as_json:
        yield board.reset_index().to_json(orient="records", indent=2, double_precision=15)
    elif as_csv:
        yield csv_text(board.reset_index()).rstrip("\n")
    else:
        yield text.leaderboard_text(board)
