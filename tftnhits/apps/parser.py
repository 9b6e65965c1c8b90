"""What can be typed on the command line, and its help."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import date

from .. import __version__, config
from . import commands

DEBUG = "TFTNHITS_DEBUG"
ENDS = f"""exit codes: 0 done; 1 an error that should not happen ({DEBUG}=1 shows where);
2 wrong usage, or an error that says what to do; 130 interrupted by Ctrl-C.
Data goes to standard output, progress and notes to standard error."""
SOURCES = "files (CSV, JSON, Parquet …); '-' for standard input; symbols of Yahoo Finance; bundled: 'stocks', 'eurusd'"
PRESETS = ", ".join(config.PRESETS)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """What was typed: `command` to call with it, and `again`, said when it is interrupted; exits as argparse does."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    # argparse takes a command's FILE|SYMBOL in one go: those after an option are left over
    if rest and (not hasattr(args, "sources") or any(r.startswith("-") and r != "-" for r in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.sources = [*args.sources, *rest]
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tftnhits",
        description="Forecasts of financial bars by a Temporal Fusion Transformer and N-HITS.",
        epilog=f"tftnhits COMMAND --help has examples.\n\n{ENDS}\n\nResearch and education, not trading advice.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tftnhits {__version__}")
    parser.set_defaults(command=None, again="")
    found = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_add_predict, _add_train, _add_backtest, _add_publish, _add_run, _add_info):
        add(found)
    return parser


def _add(found, command: Callable[[argparse.Namespace], Iterator[str]], about: str, examples: str):
    """The parser of a command that has the function's name; `examples`, one a line, stand under its help."""
    parser = found.add_parser(
        command.__name__,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}\n\n{ENDS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _add_predict(found) -> None:
    examples = """
        tftnhits predict AAPL NVDA
        tftnhits predict bars.csv --horizon 3 --level 0.8 --plot
        tftnhits predict - --csv < bars.csv | head -2
        tftnhits predict bars.csv --json | python -m json.tool
        """
    parser = _add(
        found,
        commands.predict,
        "forecast the bars that follow those in files or of symbols",
        examples,
    )
    _sources(parser, "+")
    parser.add_argument(
        "--horizon", type=int, metavar="N", help="bars ahead; default: all that the model learnt"
    )
    parser.add_argument(
        "--level",
        type=float,
        default=config.LEVEL,
        metavar="L",
        help=f"nominal level of the interval, between 0 and 1 (default: {config.LEVEL})",
    )
    parser.add_argument(
        "--calendar",
        metavar="NAME",
        help="of the dates ahead: XNYS, 24/7; default: by the bars' dates",
    )
    parser.add_argument(
        "--model", metavar="FOLDER_OR_ID", help="a trained model; default: the shipped one"
    )
    forms = _forms(
        parser,
        "the summary as JSON: an object, a list for several symbols",
        "each step's quantiles as CSV",
    )
    forms.add_argument(
        "--plot",
        nargs="?",
        type=_picture,
        const=True,
        metavar="FILE",
        help="draw the fan chart into FILE.png or "
        "FILE.html, by default SYMBOL.png in the current folder; prints the paths",
    )


def _add_train(found) -> None:
    examples = """
        tftnhits train --out model
        tftnhits train bars.csv --out model --preset tiny --train-end 2016-12-31 --valid-end 2018-12-31
        """
    about = "train a model into a folder; the same command goes on where an earlier one stopped"
    parser = _add(found, commands.train, about, examples)
    _fitting(parser)
    parser.add_argument(
        "--seed", type=_whole, default=0, metavar="N", help="of the networks' start (default: 0)"
    )
    parser.add_argument(
        "--train-end", type=_day, metavar="DATE", help="last day of training; default: 70%% of them"
    )
    parser.add_argument(
        "--valid-end", type=_day, metavar="DATE", help="last day of validation; default: 85%%"
    )


def _add_backtest(found) -> None:
    examples = """
        tftnhits backtest --out walk --start 2015-01-01 --end 2018-12-31 --jobs 2
        tftnhits backtest AAPL NVDA --out walk2 --preset tiny --members 'TFT,N-HITS,HAR' --csv > board.csv
        """
    about = "walk forward through the past and print who forecast best; the same command goes on where it stopped"
    parser = _add(found, commands.backtest, about, examples)
    _fitting(parser)
    parser.add_argument(
        "--start",
        type=_day,
        metavar="DATE",
        help="first day tested; default: the last 40%% of days",
    )
    parser.add_argument(
        "--end", type=_day, metavar="DATE", help="last day tested; default: all known outcomes"
    )
    parser.add_argument(
        "--months", type=_count, default=12, metavar="N", help="from refit to refit (default: 12)"
    )
    parser.add_argument(
        "--seeds", type=_wholes, default=(0,), metavar="0,1", help="networks each (default: 0)"
    )
    parser.add_argument(
        "--members", type=_names, metavar="A,B", help="forecasters; default: all that can run here"
    )
    parser.add_argument(
        "--jobs", type=_count, default=1, metavar="N", help="processes side by side (default: 1)"
    )
    _forms(parser, "the leaderboard as JSON", "the leaderboard as CSV")


def _add_publish(found) -> None:
    parser = _add(
        found,
        commands.publish,
        "upload a model's folder to ModelScope",
        "tftnhits publish model me/my-model",
    )
    parser.add_argument("folder", metavar="FOLDER", help="what `tftnhits train` left")
    parser.add_argument("model_id", metavar="OWNER/NAME", help="of the model there")
    parser.add_argument(
        "--private", action="store_true", help="where the model is new, let nobody else see it"
    )


def _add_run(found) -> None:
    examples = """
        tftnhits run --preset tiny
        tftnhits run --only 00,02 --out report -p symbols=AAPL,NVDA
        """
    parser = _add(
        found, commands.run, "execute the notebooks into a folder with a report", examples
    )
    parser.add_argument("--preset", metavar="NAME", help=f"{PRESETS}; default: the notebooks' own")
    parser.add_argument(
        "--only", metavar="00,02", help="numbers or names of notebooks; default: all"
    )
    parser.add_argument("--out", metavar="DIR", help="default: runs/<time> beside the notebooks")
    parser.add_argument(
        "-p",
        dest="pairs",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a notebook's parameter",
    )
    parser.add_argument(
        "--notebooks", metavar="DIR", help="their folder; default: notebooks/ of this checkout"
    )
    parser.add_argument(
        "--timeout", type=int, metavar="S", help="seconds that one cell may take; default: an hour"
    )


def _add_info(found) -> None:
    _add(
        found,
        commands.info,
        "show versions, the shipped model, presets, and whether torch works",
        "tftnhits info",
    )


def _sources(parser: argparse.ArgumentParser, number: str) -> None:
    default = "" if number == "+" else "; default: stocks"
    parser.add_argument("sources", nargs=number, metavar="FILE|SYMBOL", help=SOURCES + default)
    reading = parser.add_argument_group(
        "how files are read, where that isn't told from all of their rows"
    )
    reading.add_argument(
        "--column",
        dest="columns",
        action="append",
        default=[],
        type=_column,
        metavar="ROLE=NAME",
        help="the column that is the date, symbol, open, high, low, close or volume, as in date=trade_date",
    )
    reading.add_argument(
        "--dayfirst", action="store_true", default=None, help="01/02/2020 is the 1st of February"
    )
    reading.add_argument(
        "--monthfirst",
        dest="dayfirst",
        action="store_false",
        help="01/02/2020 is the 2nd of January",
    )
    reading.add_argument("--decimal", choices=(".", ","), help="the decimal mark")
    reading.add_argument(
        "--unadjusted", action="store_true", help="raw prices where a file has adjusted ones, too"
    )
    reading.add_argument(
        "--strict", action="store_true", help="stop at a symbol that can't be read or forecast"
    )


def _fitting(parser: argparse.ArgumentParser) -> None:
    """What training and backtest have in common."""
    _sources(parser, "*")
    parser.set_defaults(again="; the same command goes on from here")
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="where everything is written"
    )
    parser.add_argument(
        "--preset",
        default="quick",
        metavar="NAME",
        help=f"{', '.join(config.PRESETS)}; default: quick",
    )
    parser.add_argument(
        "--horizon", type=_count, default=5, metavar="N", help="bars ahead (default: 5)"
    )


def _forms(
    parser: argparse.ArgumentParser, json: str, csv: str
) -> argparse._MutuallyExclusiveGroup:
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help=json)
    forms.add_argument("--csv", action="store_true", help=csv)
    return forms


def _column(text: str) -> tuple[str, str]:
    role, mark, name = text.partition("=")
    if not (role.strip() and mark and name):
        raise argparse.ArgumentTypeError(f"{text!r} is no ROLE=NAME; write it as date=trade_date")
    return role.strip(), name


def _picture(text: str) -> str:
    if not text.lower().endswith(commands.PICTURES):
        raise argparse.ArgumentTypeError(
            f"{text!r} ends in neither .png nor .html; name symbols and files before it"
        )
    return text


def _day(text: str) -> str:
    try:
        return date(*map(int, text.split("-", 2))).isoformat()
    except (TypeError, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write it as 2012-01-31") from None


def _whole(text: str, least: int = 0, most: int = 2**31 - 1) -> int:
    digits = text.strip()
    if not (digits.isdecimal() and len(digits) < 20 and least <= int(digits) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
    return int(digits)


def _count(text: str) -> int:
    return _whole(text, 1, 1000)


def _wholes(text: str) -> tuple[int, ...]:
    return tuple(map(_whole, text.split(",")))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
