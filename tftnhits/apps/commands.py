"""What the commands do: each yields text for standard output, and says all else on standard error.

Nothing heavy is imported here before a command needs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import math
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config
from ..errors import CheckpointError, ConfigError, OutputError
from ..files import atomic_write, read_json, safe_name, versions
from . import text

if TYPE_CHECKING:
    import pandas as pd

    from ..forecast.predictor import Predictor
    from ..forecast.result import Forecast

PICTURES = (".png", ".html")
PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "torch",
    "papermill",
    "plotly",
    "yfinance",
    "modelscope",
)
CHECKOUT = Path(__file__).resolve().parents[2]


def predict(args: argparse.Namespace) -> Iterator[str]:
    """The forecast from the last bar of every symbol, as a table, JSON, CSV or figures."""
    bars = _bars(args, args.sources)
    from ..forecast.predictor import Predictor

    forecast = Predictor.load(args.model).predict(
        bars, args.horizon, args.level, calendar=args.calendar, strict=args.strict
    )
    if args.json or args.csv or args.plot:
        for warning in text.warnings_of(forecast):
            _say(f"warning: {warning}")
    if args.json:
        yield json.dumps(forecast.summary(), indent=2, default=str)
    elif args.csv:
        yield forecast.frame.to_csv(index=False).rstrip("\n")
    elif args.plot:
        for path, symbol in _figures(forecast, args.plot):
            yield str(_draw(forecast, symbol, path))
    else:
        yield text.forecast_text(forecast)


def _figures(forecast: Forecast, target: str | bool) -> list[tuple[Path, str]]:
    """Where each symbol's figure goes: into `target`, with the symbol in its name if there are several."""
    symbols = [str(name) for name in forecast.frame["symbol"].unique()]
    if target is True:
        return [(Path(f"{safe_name(symbol)}.png"), symbol) for symbol in symbols]
    path = Path(str(target))
    if len(symbols) == 1:
        return [(path, symbols[0])]
    return [
        (path.with_name(f"{path.stem}-{safe_name(symbol)}{path.suffix}"), symbol)
        for symbol in symbols
    ]


def _draw(forecast: Forecast, symbol: str, path: Path) -> Path:
    if path.name.lower().endswith(".html"):
        return atomic_write(path, forecast.plot(symbol, interactive=True).to_html())
    picture = io.BytesIO()
    forecast.plot(symbol).savefig(picture, format="png")
    return atomic_write(path, picture.getvalue())


def train(args: argparse.Namespace) -> Iterator[str]:
    """A trained predictor in the folder --out, and that folder's path."""
    settings = config.PanelConfig(
        horizon=args.horizon, train_end=args.train_end, valid_end=args.valid_end
    )
    training = replace(config.preset(args.preset)[3], seed=args.seed)
    folder = _folder(args.out)
    bars = _bars(args, args.sources or ["stocks"])
    from ..data.windows import make_panel
    from ..forecast.ensemble import has_torch
    from ..forecast.predictor import train_predictor

    if not has_torch():
        _say("warning: PyTorch can't be imported, so gradient boosting alone is trained")
    predictor = train_predictor(make_panel(bars, settings), args.preset, training, folder)
    for line in _losses(folder) + _coverages(predictor):
        _say(line)
    yield str(folder)


def _losses(folder: Path) -> list[str]:
    """The best validation loss of each network, from the training states."""
    if not (states := sorted(folder.glob("*.state"))):
        return []
    from ..models.store import load_state

    records = {path.stem: load_state(path)[1] for path in states}
    return [
        f"{name}: best validation loss {record['best_loss']:.4f}, {record['epoch']} epochs trained"
        for name, record in records.items()
        if record.get("best_loss") is not None
    ]


def _coverages(predictor: Predictor) -> list[str]:
    found = {
        link: calibration.realised(config.LEVEL)
        for link, calibration in predictor.calibration.items()
    }
    return [
        f"{link}: {share:.1%} of outcomes inside the {config.LEVEL:.0%} interval {predictor.measured()}"
        for link, share in found.items()
        if share is not None
    ]


def backtest(args: argparse.Namespace) -> Iterator[str]:
    """The leaderboard of a walk-forward backtest that is kept in the folder --out."""
    names = ("start", "end", "months", "preset", "seeds", "members", "horizon")
    settings = config.BacktestConfig(**{name: getattr(args, name) for name in names})
    folder = _folder(args.out)
    bars = _bars(args, args.sources or ["stocks"])
    from ..evaluation.backtest import backtest as walk
    from ..evaluation.leaderboard import summary

    result = walk(bars, settings, folder, args.jobs)
    judged = importlib.util.find_spec("arch") is not None
    if not judged:
        _say(
            "note: without arch there are no tests of who is better: pip install 'tftnhits[evaluation]'"
        )
    board = summary(result.frame, verdicts=judged)
    _say(f"note: every forecast that was made is in {folder}")
    if args.json:
        yield json.dumps(_records(board), indent=2)
    else:
        yield board.to_csv().rstrip("\n") if args.csv else text.leaderboard_text(board)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values for JSON; None where there is no number."""
    rows = table.reset_index().astype(object).to_dict("records")
    plain = [{k: v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in rows]
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in plain
    ]


def publish(args: argparse.Namespace) -> Iterator[str]:
    """The files that were uploaded."""
    from .hub import publish as upload

    yield "\n".join(upload(args.folder, args.model_id, args.private))


def run(args: argparse.Namespace) -> Iterator[str]:
    """Where the executed notebooks' forecasts and report are."""
    from . import batch, parameters

    preset = {"preset": args.preset} if args.preset is not None else {}
    folder = Path(args.notebooks) if args.notebooks else _notebooks()
    names = args.only.split(",") if args.only is not None else None
    given = parameters.parse(batch.find_notebooks(folder, names), args.pairs) | preset
    timeout = batch.CELL_TIMEOUT if args.timeout is None else args.timeout
    result = batch.run_notebooks(folder, names, args.out, given, timeout=timeout)
    for path in result.forecasts:
        yield f"forecasts  {path}"
    yield f"report     {result.index}"


def _notebooks() -> Path:
    """notebooks/ of the checkout that this package stands in, or of the current folder."""
    places = [CHECKOUT / "notebooks", Path.cwd() / "notebooks"]
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(
        f"There is no folder {places[0]}; name the notebooks' folder with --notebooks."
    )


def info(args: argparse.Namespace) -> Iterator[str]:
    """Versions, the shipped model, the presets; last, since it takes a second, whether torch works."""
    found = versions("tftnhits", *PACKAGES)
    yield f"tftnhits {found['tftnhits']}, Python {platform.python_version()}"
    yield text.aligned([["", name, found[name]] for name in PACKAGES], left=(1, 2))
    yield "\n".join(_shipped(CHECKOUT / "data" / "pretrained"))
    yield "presets"
    rows = []
    for name, (tft, nhits, boosting, training) in config.PRESETS.items():
        kind = "enhanced" if tft.extra_gate else "classic"
        sizes = f"TFT hidden {tft.hidden}, N-HITS hidden {nhits.hidden}, context {tft.context}, {boosting.trees} trees"
        seeds = config.SEEDS.get(name, 1)
        rows.append(["", name, f"{kind}, {sizes}, up to {training.epochs} epochs, seeds: {seeds}"])
    yield text.aligned(rows, left=(1, 2))
    try:
        import torch

        yield f"torch runs on {torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'the CPU'}"
    except (ImportError, OSError):  # OSError: a broken library
        yield "torch can't be imported: gradient boosting answers (pip install 'tftnhits[torch]' for the networks)"


def _shipped(folder: Path) -> list[str]:
    """What the shipped model's JSON files say of it; its weights are not read."""
    try:
        record = read_json(folder / "predictor.json")
        size = sum(path.stat().st_size for path in folder.iterdir())
        lines = [
            f"shipped model: {folder}, {size / 1e6:.1f} MB, up to {record['panel']['horizon']} bars ahead"
        ]
        rows = []
        for name in record["members"]:
            context = read_json(folder / f"{name}.json")["config"]["context"]
            seeds = record.get("seeds", {}).get(name)
            kind = f"{seeds} network{'s' * (seeds > 1)}" if seeds else "trees"
            rows.append(["", name, kind, f"from {context} bars on"])
        return [*lines, text.aligned(rows, left=(1, 2, 3))]
    except (CheckpointError, OSError, LookupError, TypeError) as error:
        return [f"shipped model: none that can be read in {folder} ({error})"]


def _bars(args: argparse.Namespace, names: Sequence[str]) -> pd.DataFrame:
    from .sources import read_sources

    options = {"dayfirst": args.dayfirst, "decimal": args.decimal, "strict": args.strict}
    options |= {"columns": dict(args.columns), "adjusted": not args.unadjusted}
    bars, notes = read_sources(names, **options)
    for note in notes:
        _say(f"note: {note}")
    return bars


def _folder(name: str) -> Path:
    """The folder, made if need be: before hours of work rather than after. Raises OutputError."""
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"The folder {name} can't be made: {error}; choose another with --out."
        ) from error
    return Path(name)


def _say(line: str) -> None:
    with suppress(OSError):
        print(text.printable(line), file=sys.stderr, flush=True)
