"""`tftnhits risk`: what may be lost, which prices are touched, how wide the next bar is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import printable
from ..escape import csv_text
from .commands import SEED, SOURCES, _command, _read, _say, device, forms, reading

if TYPE_CHECKING:
    import pandas as pd

    from ..forecast.paths import Paths

NOTES = """VaR: loss in % of the position, exceeded with that probability; ES: mean loss beyond it
up, above, below: probability of such a close; touch: of a high or low there until then"""
Given = Sequence[tuple[str, float]]


def _price(text: str) -> tuple[str, float]:
    """A symbol, or "", and its price."""
    symbol, _, price = text.rpartition("=")
    return symbol.strip(), click.FLOAT.convert(price, None, None)


def _touched(text: str) -> tuple[str, float]:
    """As `_price`; a percentage has "%" for a symbol."""
    if text.endswith("%"):
        return "%", click.FLOAT.convert(text[:-1], None, None)
    return _price(text)


def _weights(text: str) -> dict[str, float]:
    pairs = [_price(part) for part in text.split(",")]
    if "" in dict(pairs) or len(dict(pairs)) < len(pairs):
        raise click.BadParameter(f"{text!r} are no weights; write them as AAPL=0.6,KO=0.4")
    return dict(pairs)


@_command(
    """  tftnhits risk AAPL --touch 180 --short
  tftnhits risk AAPL NVDA --weights AAPL=0.6,NVDA=0.4 --touch -5%
  tftnhits risk AAPL NVDA --above AAPL=180 --above NVDA=500
  tftnhits risk bars.csv --level 0.025 --paths 10000 --csv > risk.csv"""
)
@click.argument("sources", nargs=-1, required=True, metavar=SOURCES)
@click.option(
    "--touch",
    type=_touched,
    multiple=True,
    metavar="PRICE|PCT%",
    help="that a bar may touch: 180, of several symbols AAPL=180; or -5% from the last close",
)
@click.option("--above", type=_price, multiple=True, metavar="PRICE", help="or close above")
@click.option("--below", type=_price, multiple=True, metavar="PRICE", help="or close below")
@click.option("--short", is_flag=True, help="a position that was sold")
@click.option("--weights", type=_weights, metavar="A=0.6,B=0.4", help="of a portfolio")
@click.option("--horizon", type=int, help="bars ahead, as many as the model learnt; default: 5")
@click.option(
    "--level",
    "levels",
    type=float,
    multiple=True,
    default=(0.05, 0.01),
    show_default=True,
    help="probability of a larger loss",
)
@click.option("--paths", "n", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="of the paths")
@click.option("--model", metavar="FOLDER_OR_ID", help="a trained model; default: the shipped one")
@forms
@device
@reading
def risk(sources, short, weights, horizon, n, seed, model, as_json, as_csv, device, **options):
    """Say what a position may lose and which prices are touched, by paths of whole bars.

    Sources are those of predict.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are not allowed together.")
    names = ("levels", "touch", "above", "below")
    asked = {name: [*dict.fromkeys(options.pop(name))] for name in names}
    from ..forecast.paths import paths_of
    from ..forecast.predictor import Predictor
    from ..forecast.risk import asked as drawn
    from . import text

    predictor = Predictor.load(model, device)
    bars = _read(sources, options, predictor.panel_config.extra)
    forecast = predictor.predict(bars, horizon, strict=options["strict"])
    paths = [paths_of(forecast, n, seed)]
    if weights:
        named = {_named(name, paths[0]): weight for name, weight in weights.items()}
        paths.append(drawn(forecast, named, n, seed))  # the portfolio's
    position = "short" if short else "long"
    tables = _answers(paths, position, **asked)
    told = dict.fromkeys([*text.warnings_of(forecast), *paths[-1].told])
    for line in told if as_json or as_csv else ():
        _say(f"warning: {line}")
    if as_json:
        head = {"paths": n, "seed": seed, "position": position, "warnings": [*told]}
        records = {name: _records(table) for name, table in tables.items()}
        yield json.dumps(head | records, indent=2, allow_nan=False)
    elif as_csv:
        from ..viz.risks import tidy

        yield csv_text(tidy(*tables.values())).rstrip("\n")
    else:
        for symbol in tables["risk"]["symbol"].unique():
            mine = {name: rows[rows["symbol"] == symbol] for name, rows in tables.items()}
            yield f"{printable(symbol, 100)}, {position}\n{_block(mine)}\n"
        yield "\n".join([NOTES, *(f"warning: {line}" for line in told)])


def _answers(
    paths: list[Paths],
    position: str,
    levels: Sequence[float],
    touch: Given,
    above: Given,
    below: Given,
) -> dict[str, pd.DataFrame]:
    """Tables of what is lost, the next bar's range, closes, and what is touched if it was asked.

    The first of `paths` are the symbols', and there may be the portfolio's. Raises ConfigError.
    """
    import pandas as pd

    from ..forecast.risk import bar_range, close_probability, touch_probability, value_at_risk
    from ..viz.risks import ENDS

    symbols = paths[0]
    tables = {"risk": [value_at_risk(one, position, levels) for one in paths]}
    tables["range"] = [bar_range(symbols, ENDS, 1)]
    tables["closes"] = [close_probability(one, None, None) for one in paths]
    if above or below:
        prices = (_prices(above, symbols), _prices(below, symbols))
        tables["closes"].append(close_probability(symbols, *prices))
    prices = _prices([one for one in touch if one[0] != "%"], symbols)
    percent = [number for symbol, number in touch if symbol == "%"]
    if prices:
        tables["touched"] = [touch_probability(symbols, prices, None)]
    if percent:
        tables.setdefault("touched", []).append(touch_probability(symbols, None, percent))
    return {name: pd.concat(some, ignore_index=True) for name, some in tables.items()}


def _named(symbol: str, paths: Paths) -> str:
    """A symbol as it is forecast: aapl is AAPL."""
    return symbol if symbol in paths.symbol else symbol.upper()


def _prices(given: Given, paths: Paths) -> dict[str, list[float]] | list[float] | None:
    """Prices as questions take them: by symbol, where one is named."""
    if not any(symbol for symbol, _ in given):
        return [price for _, price in given] or None
    prices: dict[str, list[float]] = {}
    for symbol, price in given:
        prices.setdefault(_named(symbol, paths), []).append(price)
    return prices


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON; null is what can't be told."""
    from ..viz.sections import when

    shown = table.assign(date=[when(date) or None for date in table["date"]])
    return json.loads(shown.to_json(orient="records", double_precision=15))


def _block(tables: dict[str, pd.DataFrame]) -> str:
    """One symbol's answers by step, and the next bar's range."""
    import pandas as pd

    from ..viz.sections import when
    from ..viz.style import price

    lost, closes = tables["risk"], tables["closes"]
    columns = {"date": lost.groupby("step")["date"].first().map(when)}
    for level, rows in lost.groupby("level", sort=False):
        for name, head in (("var", "VaR"), ("es", "ES")):
            columns[f"{head} {100 * level:g}%"] = rows.set_index("step")[name].map("{:.2%}".format)
    if "touched" in tables:
        closes = pd.concat([closes, tables["touched"].assign(event="touch")])
    for (event, at), rows in closes.groupby(["event", "price"], sort=False):
        head = event if event == "up" else f"{event} {price(at)}"
        share = rows.set_index("step")["probability"]
        columns[head] = share.map("{:.1%}".format, na_action="ignore").fillna("-")
    lines = [pd.DataFrame(columns).rename_axis("step").reset_index().to_string(index=False)]
    for row in tables["range"].dropna().to_dict("records"):
        ends = f"{price(row['0.1'])} to {price(row['0.9'])}"
        lines.append(f"next {row['what']}: {price(row['0.5'])}, with 80% {ends}")
    return "\n".join(lines)
