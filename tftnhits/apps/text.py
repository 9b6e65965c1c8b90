"""What the commands print for people: tables, and what stands below them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..config import LEVEL
from ..errors import counted, printable

if TYPE_CHECKING:
    import pandas as pd

    from ..evaluation.journal import Kept
    from ..forecast.predictor import Predictor
    from ..forecast.result import Forecast

MAX_NAMED = 6  # symbols that a line names before it counts the rest
WIDTH, SYMBOL = 100, 10  # of a watchlist and its first column, in characters


def typed(sentence: str) -> str:
    """A sentence of the package with what to say on the command line instead of in Python."""

    def options(match: re.Match) -> str:
        return " ".join(f"--column {role}=NAME" for role in re.findall(r"'(\w+)'", match[0]))

    sentence = re.sub(r"columns=\{('\w+': …(, )?)+\}", options, sentence)
    sentence = sentence.replace("by symbol, as a dict", "by symbol, as AAPL=180")
    sentence = sentence.replace("dayfirst=True or False", "--dayfirst or --monthfirst")
    return re.sub(r"decimal='([.,])'", r"--decimal \1", sentence)


def _p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


LEADERBOARD = {  # column of evaluation.leaderboard.summary: head, form
    "pinball": ("loss", "{:.2f}".format),
    "pinball_sd": ("+/-", "{:.2f}".format),
    "pinball_1": ("step 1", "{:.2f}".format),
    "mae": ("MAE", "{:.2f}".format),
    "mse": ("MSE", "{:,.0f}".format),
    "dm_p": ("p: beats HAR", _p_value),
    "in_mcs": ("90% set", {True: "in", False: "out"}.get),
    "calibrated_coverage_93": ("93%: inside", "{:.1%}".format),
    "calibrated_coverage_80": ("80%: inside", "{:.1%}".format),
}
NOTES = {
    "pinball": "loss: mean pinball loss of all steps in basis points of log return; less is better",
    "pinball_sd": "+/-: deviation over the seeds",
    "mae": "MAE: mean absolute error of the median of all steps, in basis points of log return",
    "mse": "MSE: mean squared error of the median, in squared basis points",
    "dm_p": "p: one-sided Diebold-Mariano test against HAR, clustered by date",
    "in_mcs": "90% set: in, if it may still be the best (model confidence set)",
    "calibrated_coverage_93": "inside: outcomes within the intervals, calibrated online",
}


def forecast_text(forecast: Forecast) -> str:
    """A table of steps for each symbol; below them who answered, the coverage, and the warnings."""
    # symbols that were answered alike share their lines
    blocks, alike = [], {}
    for symbol, report in forecast.reports.items():
        if report.model_used:
            blocks.append(_steps(forecast, symbol))
            answer = f"model used: {report.model_used}\n{forecast.caption(symbol)}"
            alike.setdefault(answer, []).append(printable(symbol, 100))
    if forecast.skipped:
        blocks.append("\n".join(f"{printable(name, 100)}: left out" for name in forecast.skipped))
    for answer, symbols in alike.items():
        more = len(symbols) - MAX_NAMED
        named = ", ".join(symbols[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
        blocks.append(answer if len(alike) == 1 else f"{named}\n{answer}")
    if warnings := warnings_of(forecast):
        blocks.append("\n".join(f"warning: {text}" for text in warnings))
    return "\n\n".join(blocks)


def warnings_of(forecast: Forecast) -> list[str]:
    """The warnings of all symbols, each text once."""
    texts = [text for report in forecast.reports.values() for text in report.warnings]
    return [typed(printable(text, 500)) for text in dict.fromkeys(texts)]


def _steps(forecast: Forecast, symbol: str) -> str:
    from ..viz.watchlist import decimals

    bars = forecast.bars[forecast.bars["symbol"] == symbol]
    steps = forecast.frame[forecast.frame["symbol"] == symbol]
    close = float(bars["close"].iloc[-1])
    width = float((steps["upper"] - steps["lower"]).min())
    price = f"{{:,.{decimals(width)}f}}".format
    table = steps[["step", "median"]].assign(change=steps["median"] / close - 1)
    table = table.join(steps[["lower", "upper"]])
    origin = f"at bar {len(bars)}"
    if bars["date"].notna().any():
        origin = f"on {_day(bars['date'].iloc[-1])}"
        table.insert(1, "date", steps["date"].map(_day))
    forms = dict.fromkeys(["median", "lower", "upper"], price) | {"change": "{:+.2%}".format}
    head = f"{printable(symbol, 100)}: close {price(close)} {origin}"
    return f"{head}\n{table.to_string(index=False, formatters=forms)}"


def _day(date: pd.Timestamp) -> str:
    return f"{date:%a %Y-%m-%d}" if date == date.normalize() else f"{date:%a %Y-%m-%d %H:%M}"


def watchlist_text(forecast: Forecast, table: pd.DataFrame) -> str:
    """`Forecast.table` in lines of at most WIDTH; below them who answered, and warnings."""
    steps = int(table["step"].dropna().iloc[0])
    notes = [f"median, intervals and P(up): {counted(steps, 'bar')} ahead"]
    notes += ["width: of the 80% interval, 1 for a usual one of the symbol's last 252 bars"]
    notes += ["age: sessions without a bar since the last one"]
    counts = table["model_used"].value_counts(sort=False)
    notes += [f"model used: {name} ({count} x)" for name, count in counts.items()]
    reasons = {typed(printable(why, 500)) for why in forecast.skipped.values()}  # in their rows
    said = [text for text in warnings_of(forecast) if text not in reasons]
    notes += [f"warning: {text}" for text in said[:MAX_NAMED]]
    if len(said) > MAX_NAMED:
        notes.append(f"and {counted(len(said) - MAX_NAMED, 'more warning')} in --csv")
    return "\n".join([*_rows(table), "", *notes])


def _rows(table: pd.DataFrame) -> list[str]:
    """A watchlist's head and rows; a trend has what is left of the width."""
    from ..viz.watchlist import cells

    columns = cells(table)
    columns["symbol"] = [printable(name, SYMBOL) for name in columns["symbol"]]
    trends = columns.pop("trend")
    left_out = [status == "left out" for status in columns["status"]]
    columns["status"] = ["" if out else text for out, text in zip(left_out, columns["status"])]
    blocks = []
    for head, column in columns.items():
        size = max(map(len, [head, *column]))
        side = "<" if head in ("symbol", "status") else ">"
        blocks.append([f"{text:{side}{size}}" for text in (head, *column)])
    head, *lines = ["  ".join(parts) for parts in zip(*blocks, strict=True)]
    room = max(WIDTH - len(head) - 2, 0)
    rows = [f"{head}  trend"[:WIDTH].rstrip()]
    for name, line, out, trend, why in zip(blocks[0][1:], lines, left_out, trends, table["why"]):
        reason = f"{name}  left out: "
        whole = reason + printable(why, WIDTH - len(reason)) if out else f"{line}  {trend[-room:]}"
        rows.append(whole[:WIDTH].rstrip())
    return rows


def leaderboard_text(board: pd.DataFrame) -> str:
    """The scores of `evaluation.leaderboard.summary`, best first, and what its columns are."""
    columns = [name for name in LEADERBOARD if name in board]
    if not board["pinball_sd"].any():
        columns.remove("pinball_sd")
    forms = dict(LEADERBOARD[name] for name in columns)
    table = board[columns].set_axis([*forms], axis=1).rename_axis(None)
    rows = table.to_string(formatters=forms, na_rep="-")
    return "\n".join([rows, "", *(NOTES[name] for name in columns if name in NOTES)])


def training_lines(predictor: Predictor) -> Iterator[str]:
    """What fine-tuning did to each network on validation, and how well intervals held since."""
    tuned = predictor.manifest.get("fine-tuned")
    if tuned:
        for name, (before, after) in tuned["valid"].items():
            yield f"{name}: validation loss {before:.4f} at the start, {after:.4f} fine-tuned"
        kept = " and ".join(tuned["better"]) or "none: the networks stay as they were"
        yield f"fine-tuned networks that are kept: {kept}"
    for kind, pool in predictor.pools.items():
        for name, calibration in pool.calibration.items():
            coverage = calibration.realised(LEVEL)
            if coverage is not None:
                over = f"{calibration.dates} dates of {kind} to {calibration.last}"
                inside = f"inside the {LEVEL:.0%} interval over {over}"
                yield f"{name}: {coverage:.1%} of outcomes {inside}"


def kept_text(kept: Kept) -> Iterator[str]:
    """What was kept, a sentence a line."""
    if kept.path:
        yield f"kept {counted(kept.origins, 'forecast')} in {kept.path}"
    if kept.known:
        yield f"{counted(kept.known, 'forecast')} had been kept before"
    if kept.late:
        yield f"not kept, since outcomes may be known or bars have no dates: {', '.join(kept.late)}"
