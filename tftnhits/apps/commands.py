"""The commands: each yields text for standard output; notes and progress go to standard error.

Nothing heavy is imported before a command needs it, so that help comes at once.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .. import __version__, config
from ..errors import OutputError, printable
from ..escape import csv_text
from ..files import atomic_write, safe_name

if TYPE_CHECKING:
    import pandas as pd

    from ..forecast.result import Forecast

DEBUG = "TFTNHITS_DEBUG"
ENDS = f"""\b
Exit codes: 0 done; 1 an error that should not happen ({DEBUG}=1 shows where);
2 wrong usage, or an error that says what to do; 130 interrupted by Ctrl-C.
Data goes to standard output, progress and notes to standard error."""
SOURCES = "FILE|SYMBOL..."
PRESETS = ", ".join(config.PRESETS).replace("v2.1, card", "v2.1 (or card)")
PICTURES = (".png", ".html")
CHECKOUT = Path(__file__).resolve().parents[2]
READING = ("columns", "dayfirst", "decimal", "unadjusted", "strict")
COUNT = click.IntRange(1, 1000)
SEED = click.IntRange(0, 2**31 - 1)


@click.group(epilog=f"tftnhits COMMAND --help has examples.\n\n{ENDS}")
@click.version_option(__version__, message="tftnhits %(version)s")
def cli() -> None:
    """Forecasts of financial bars by a Temporal Fusion Transformer and N-HITS.

    Research and education, not trading advice.
    """


def _command(examples: str, name: str | None = None) -> Callable:
    """A command, called as its function unless told otherwise; its help ends with `examples`."""
    return cli.command(name, epilog=f"\b\nexamples:\n{examples}\n\n{ENDS}")


def _options(*options: Callable) -> Callable:
    def add(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _column(text: str) -> tuple[str, str]:
    role, _, name = text.partition("=")
    if not (role.strip() and name):
        raise click.BadParameter(f"{text!r} is no ROLE=NAME; write it as date=trade_date")
    return role.strip(), name


def _picture(text: str) -> str:
    if text and not text.lower().endswith(PICTURES):
        raise click.BadParameter(f"{text!r} ends in neither .png nor .html")
    return text


def _day(text: str) -> str:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date().isoformat()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date; write it as 2012-01-31") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} are no numbers; write them as 0,1,2") from None


def _presets(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The presets that a shell offers for what has been typed."""
    return [name for name in config.PRESETS if name.startswith(begun)]


def _preset_option(help: str, default: str | None = None) -> Callable:
    given = {"default": default, "show_default": bool(default), "shell_complete": _presets}
    return click.option("--preset", metavar="NAME", help=help, **given)


def _day_option(name: str, help: str) -> Callable:
    return click.option(name, type=_day, metavar="DATE", help=help)


reading = _options(
    click.option(
        "--column",
        "columns",
        multiple=True,
        type=_column,
        metavar="ROLE=NAME",
        help="the column that is the date, symbol, open, high, low, close or volume",
    ),
    click.option(
        "--dayfirst/--monthfirst", default=None, help="whether 01/02/2020 is in February or January"
    ),
    click.option("--decimal", type=click.Choice([".", ","]), help="the decimal mark"),
    click.option("--unadjusted", is_flag=True, help="raw prices where a file has adjusted ones"),
    click.option("--strict", is_flag=True, help="stop at a symbol that can't be read or forecast"),
)
fitting = _options(
    click.option("--out", required=True, metavar="FOLDER", help="where everything is written"),
    _preset_option(PRESETS, default="quick"),
    click.option("--horizon", type=COUNT, default=5, show_default=True, help="bars ahead"),
)
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="for the networks: cuda, cuda:1, mps, cpu; auto: the first that there is, if it pays",
)
workers = _options(
    click.option(
        "--backend", type=click.Choice(("loky", "dask", "ray")), default="loky", show_default=True
    ),
    click.option("--scheduler", "--address", "address", help="of a Dask or Ray cluster that runs"),
)
forms = _options(
    click.option("--json", "as_json", is_flag=True, help="print JSON"),
    click.option("--csv", "as_csv", is_flag=True, help="print CSV"),
)


@_command(
    """  tftnhits predict AAPL NVDA
  tftnhits predict bars.csv --horizon 3 --level 0.8 --plot
  tftnhits predict bars.csv --model model --future dates.csv --keep
  tftnhits predict - --csv < bars.csv | head -2
  tftnhits predict bars.csv --json | python -m json.tool"""
)
@click.argument("sources", nargs=-1, required=True, metavar=SOURCES)
@click.option("--horizon", type=int, help="bars ahead, as many as the model learnt; default: 5")
@click.option(
    "--level", type=float, default=config.LEVEL, show_default=True, help="of the interval"
)
@click.option("--calendar", metavar="NAME", help="of the dates ahead, as XNYS or 24/7")
@click.option("--model", metavar="FOLDER_OR_ID", help="a trained model; default: the shipped one")
@click.option("--future", metavar="FILE", help="dates ahead, with the model's inputs known by then")
@forms
@click.option(
    "--plot",
    is_flag=False,
    flag_value="",
    type=_picture,
    metavar="[FILE]",
    help="draw the fan chart into FILE.png or FILE.html, by default SYMBOL.png; prints the paths",
)
@click.option("--keep", is_flag=True, help="in the journal that tftnhits score looks at")
@device
@reading
def predict(
    sources, horizon, level, calendar, model, future, as_json, as_csv, plot, keep, device, **options
):
    """Forecast the bars that follow those in files or of symbols.

    A source is a file (CSV, JSON, Parquet …), '-' for standard input, a symbol of Yahoo Finance, or
    one of the bundled sets 'stocks' and 'eurusd'.
    """
    if as_json + as_csv + (plot is not None) > 1:
        raise click.UsageError("--json, --csv and --plot are not allowed together.")
    from ..forecast.predictor import Predictor
    from . import text

    predictor = Predictor.load(model, device)
    bars = _read(sources, options, predictor.panel_config.extra)
    forecast = predictor.predict(
        bars, horizon, level, calendar=calendar, strict=options["strict"], future=future
    )
    if as_json or as_csv or plot is not None:
        for warning in text.warnings_of(forecast):
            _say(f"warning: {warning}")
    for line in text.kept_text(forecast.keep()) if keep else ():
        _say(line)
    if as_json:
        yield json.dumps(forecast.summary(), indent=2, default=str)
    elif as_csv:
        yield csv_text(forecast.frame).rstrip("\n")
    elif plot is not None:
        yield from _draw(forecast, plot)
    else:
        yield text.forecast_text(forecast)


def _draw(forecast: Forecast, target: str) -> Iterator[str]:
    """Draw each symbol, with its name in the file's if there are several; the paths."""
    symbols = list(forecast.frame["symbol"].unique())
    for symbol in symbols:
        path = Path(target or f"{safe_name(symbol)}.png")
        if target and len(symbols) > 1:
            path = path.with_name(f"{path.stem}-{safe_name(symbol)}{path.suffix}")
        if path.suffix.lower() == ".html":
            atomic_write(path, forecast.plot(symbol, interactive=True).to_html())
        else:
            picture = io.BytesIO()
            forecast.plot(symbol).savefig(picture, format="png")
            atomic_write(path, picture.getvalue())
        yield str(path)


@_command(
    """  tftnhits train --out model
  tftnhits train bars.csv --out model --preset tiny --train-end 2016-12-31
  tftnhits train bars.csv --out model --observed vix,sentiment --known earnings
  tftnhits train bars.csv --from shipped --out mine"""
)
@click.argument("sources", nargs=-1, metavar=f"[{SOURCES}]")
@fitting
@click.option("--seed", type=SEED, default=0, show_default=True, help="of the networks' start")
@_day_option("--train-end", "last day of training; default: 70% of them")
@_day_option("--valid-end", "last day of validation; default: 85%")
@click.option("--observed", type=_names, default="", metavar="A,B", help="columns that are inputs")
@click.option("--known", type=_names, default="", metavar="A,B", help="those known ahead of time")
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="fine-tune 'shipped', a model's folder or OWNER/NAME instead of training from scratch",
)
@device
@reading
@click.pass_context
def train(context, sources, out, preset, horizon, seed, train_end, valid_end, device, **options):
    """Train a model into a folder, on the bundled stocks unless bars are named.

    With --from a trained model goes on learning, and is never worse on validation than it was. The
    same command goes on where an earlier one stopped.
    """
    start = options.pop("start")
    own = {f"extra_{kind}": options.pop(kind) for kind in ("observed", "known")}
    for name in ("preset", "horizon", "observed", "known"):
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if start is not None and typed:
            raise click.UsageError(f"--{name} is not allowed with --from: the model has its own.")
    from ..forecast.predictor import Predictor, train_predictor
    from . import text

    settings = config.PanelConfig(horizon, train_end, valid_end, **own)
    training = replace(config.preset(preset)[3], seed=seed)
    with _folder(out) as folder:
        if start is not None:
            from .. import fine_tune  # the package says what is missing where torch is
            from ..forecast.finetuning import GENTLE

            model = Predictor.load(None if start == "shipped" else start, device)
            bars = _read(sources or ["stocks"], options, model.panel_config.extra)

            gentle = replace(GENTLE, seed=seed)
            predictor = fine_tune(model, bars, train_end, valid_end, gentle, folder, device=device)
        else:
            from ..data.windows import make_panel
            from ..forecast.ensemble import has_torch

            bars = _read(sources or ["stocks"], options, settings.extra)
            if not has_torch():
                _say("warning: PyTorch can't be imported, so gradient boosting alone is trained")
            panel = make_panel(bars, settings)
            predictor = train_predictor(panel, preset, training, folder, device=device)
    for line in text.training_lines(predictor):
        _say(line)
    yield str(folder)


@_command("  tftnhits publish model me/my-model")
@click.argument("folder", metavar="FOLDER")
@click.argument("model_id", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="where the model is new, let nobody else see it")
def publish(folder, model_id, private):
    """Upload a model's FOLDER to ModelScope."""
    from . import hub

    yield "\n".join(hub.publish(folder, model_id, private))


@_command(
    """  tftnhits run --preset tiny
  tftnhits run --only 00,02 --out report -p symbols=AAPL,NVDA"""
)
@_preset_option(f"{PRESETS}; default: the notebooks' own")
@click.option("--only", metavar="00,02", help="numbers or names of notebooks; default: all")
@click.option("--out", metavar="DIR", help="default: runs/<time> beside the notebooks")
@click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="a notebook's parameter")
@click.option("--notebooks", metavar="DIR", help="default: notebooks/ of this checkout")
@click.option("--timeout", type=int, default=3600, show_default=True, help="seconds for one cell")
def run(preset, only, out, pairs, notebooks, timeout):
    """Execute the notebooks into a folder with a report."""
    from . import batch, parameters

    folder = Path(notebooks or CHECKOUT / "notebooks")
    if not notebooks and not folder.is_dir():  # installed without the checkout
        folder = Path("notebooks")
    given = parameters.parse(batch.find_notebooks(folder, only), list(pairs))
    if preset is not None:
        given["preset"] = preset
    result = batch.run_notebooks(folder, only, out, given, timeout)
    for path in result.forecasts:
        yield f"forecasts  {path}"
    yield f"report     {result.index}"


@_command("  tftnhits info")
def info():
    """Show versions, the shipped model, presets, and whether torch works."""
    from .info import lines

    yield from lines(CHECKOUT)


def _read(sources: Sequence[str], options: dict[str, Any], extra: Any = ()) -> pd.DataFrame:
    from .sources import read_sources

    options["columns"] = dict(options["columns"])
    options["adjusted"] = not options.pop("unadjusted")
    bars, notes = read_sources(sources, extra=extra, **options)
    for note in notes:
        _say(f"note: {note}")
    return bars


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """The folder, made if need be: before hours of work rather than after. Raises OutputError.

    One that was made and is still empty when the work fails goes again.
    """
    there = Path(name).exists()
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"The folder --out {name} can't be made: {error}.") from error
    try:
        yield Path(name)
    except BaseException:
        if not there:
            inside = [path for path in Path(name).rglob("*") if path.is_dir()]
            for path in (*sorted(inside, reverse=True), Path(name)):  # the deepest first
                with suppress(OSError):  # it holds something
                    path.rmdir()
        raise


def _say(line: str) -> None:
    with suppress(OSError):
        print(printable(line, 500), file=sys.stderr, flush=True)
