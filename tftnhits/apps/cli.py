"""The command line: run the notebooks, forecast a file, show what is installed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from .. import config
from ..data.bars import repairs
from ..errors import ConfigError, TftnhitsError
from . import batch, parameters, report


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, the `code` of a TftnhitsError, 2 on wrong usage, or 130 on Ctrl-C."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        args.command(args)
        sys.stdout.flush()
    except TftnhitsError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tftnhits",
        description="Forecasts of financial bars by a Temporal Fusion Transformer and N-HITS.",
        epilog="Research and education, not trading advice.",
    )
    parser.add_argument("--version", action="version", version=f"tftnhits {report.version('tftnhits')}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_run(commands)
    _add_predict(commands)
    info = commands.add_parser("info", help="versions, presets, and whether torch is there")
    info.set_defaults(command=_info)
    return parser


def _add_run(commands) -> None:
    run = commands.add_parser("run", help="execute the notebooks into a folder with a report")
    run.add_argument("--preset", help=f"{', '.join(config.PRESETS)}; default: the notebooks' own")
    run.add_argument("--only", metavar="00,02", help="numbers or names of notebooks; default: all")
    run.add_argument("--out", metavar="DIR", help="default: runs/<time> beside the notebooks")
    run.add_argument(
        "-p", dest="pairs", action="append", default=[], metavar="NAME=VALUE", help="a notebook's parameter"
    )
    run.add_argument("--notebooks", metavar="DIR", help="their folder; default: notebooks/ of this checkout")
    run.add_argument("--timeout", type=int, default=batch.CELL_TIMEOUT, help="seconds for one cell")
    run.set_defaults(command=_run)


def _add_predict(commands) -> None:
    predict = commands.add_parser("predict", help="forecast the bars in a CSV or Parquet file")
    predict.add_argument("file", metavar="FILE", help="CSV or Parquet, or 'djia'; '-' reads standard input")
    predict.add_argument("--model", metavar="FOLDER", help="a saved model; default: the shipped one")
    predict.add_argument("--horizon", type=int, metavar="N", help="bars ahead; default: all that it learnt")
    predict.add_argument(
        "--level", type=float, default=config.LEVEL, help="of the interval, between 0 and 1 (default: 0.93)"
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the summary as JSON")
    form.add_argument("--csv", action="store_true", help="every step and quantile as CSV")
    predict.set_defaults(command=_predict)


def _run(args: argparse.Namespace) -> None:
    preset = {"preset": args.preset} if args.preset is not None else {}
    folder = Path(args.notebooks) if args.notebooks else _notebooks()
    names = args.only.split(",") if args.only is not None else None
    paths = batch.find_notebooks(folder, names)
    given = parameters.parse(paths, args.pairs) | preset
    result = batch.run_notebooks(folder, names, args.out, given, timeout=args.timeout)
    for path in result.forecasts:
        print(f"forecasts  {path}")
    print(f"report     {result.index}")


def _notebooks() -> Path:
    """notebooks/ of the checkout that this package stands in, or of the current folder."""
    places = [Path(__file__).resolve().parents[2] / "notebooks", Path.cwd() / "notebooks"]
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(f"There is no folder {places[0]}; name the notebooks' folder with --notebooks.")


def _predict(args: argparse.Namespace) -> None:
    import tftnhits as tn

    bars = tn.load_bars(sys.stdin.buffer if args.file == "-" else args.file)
    for _, row in repairs(bars).iterrows():
        print(
            f"repaired {row['symbol']}: {row['count']} x {row['repair']}, first {row['first']}",
            file=sys.stderr,
        )
    model = tn.Predictor.load(args.model) if args.model else tn.Predictor.load()
    ahead = {} if args.horizon is None else {"horizon": args.horizon}
    forecast = model.predict(bars, level=args.level, **ahead)
    summary = forecast.summary()
    if args.json:
        print(json.dumps(summary, indent=2, ensure_ascii=False, default=str))
    elif args.csv:
        forecast.frame.to_csv(sys.stdout, index=False)
    else:
        for one in summary if isinstance(summary, list) else [summary]:
            one["confidence"] = forecast.caption(one["symbol"])
            print("\n".join(f"{key:<12} {value}" for key, value in one.items()), end="\n\n")


def _info(args: argparse.Namespace) -> None:
    print(f"tftnhits {report.version('tftnhits') or '(not installed)'}, Python {platform.python_version()}")
    for package in ("numpy", "pandas", "scikit-learn", "torch", "papermill", "plotly", "yfinance"):
        print(f"  {package:<14}{report.version(package) or 'not installed'}")
    try:
        import torch

        where = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
        print(f"torch runs on {where}")
    except ImportError:
        print("torch can't be imported: forecasts come from gradient boosting (pip install 'tftnhits[torch]')")
    print("presets:")
    for name, (tft, nhits, boosting, train) in config.PRESETS.items():
        print(
            f"  {name:<8}TFT hidden {tft.hidden}, N-HITS hidden {nhits.hidden}, context {tft.context}, "
            f"{boosting.trees} trees, up to {train.epochs} epochs, seeds: {config.SEEDS.get(name, 1)}"
        )
