"""What the commands print for people: aligned tables of plain ASCII, apart from the names that come from data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..forecast.result import Forecast

NAMED = 6  # symbols that a line names before it counts the rest


def printable(text: object) -> str:
    """`text` with control characters spelled out, so that names from data can't steer a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(text)
    )


def aligned(rows: Sequence[Sequence[str]], left: Iterable[int] = ()) -> str:
    """Columns as wide as their widest cell, flush right but for those in `left`."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    pads = [str.ljust if i in left else str.rjust for i in range(len(widths))]
    return "\n".join(
        "  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths)).rstrip()
        for row in rows
    )


def forecast_text(forecast: Forecast) -> str:
    """A table of steps for each symbol; below them who answered, how the intervals held, and the warnings."""
    blocks = [
        _steps(forecast, str(symbol), part)
        for symbol, part in forecast.frame.groupby("symbol", sort=False)
    ]
    left_out = "\n".join(f"{printable(name)}: left out" for name in forecast.skipped)
    blocks += [left_out] if left_out else []
    answers: dict[str, list[str]] = {}
    for symbol, report in forecast.reports.items():
        if report.model_used:
            answer = f"model used: {report.model_used}\n{forecast.caption(symbol)}"
            answers.setdefault(answer, []).append(symbol)
    several = len(answers) > 1
    found = [f"{_named(symbols)}\n" * several + answer for answer, symbols in answers.items()]
    return "\n\n".join([*blocks, ("\n\n" if several else "\n").join(found + _warnings(forecast))])


def warnings_of(forecast: Forecast) -> list[str]:
    """The warnings of all symbols, each text once."""
    reports = forecast.reports.values()
    return list(dict.fromkeys(text for report in reports for text in report.warnings))


def _warnings(forecast: Forecast) -> list[str]:
    found = [f"warning: {printable(text)}" for text in warnings_of(forecast)]
    return ["\n".join(found)] if found else []


def _steps(forecast: Forecast, symbol: str, part: pd.DataFrame) -> str:
    own = forecast.bars[forecast.bars["symbol"] == symbol]
    close = float(own["close"].iloc[-1])
    dated = bool(own["date"].notna().any())
    origin = f"on {_day(own['date'].iloc[-1])}" if dated else f"at bar {len(own)}"
    digits = _digits(float((part["upper"] - part["lower"]).min()))
    head = ["step", *["date"] * dated, "median", "change", "lower", "upper"]
    rows = []
    for row in part.itertuples():
        prices = [f"{price:,.{digits}f}" for price in (row.median, row.lower, row.upper)]
        change = f"{row.median / close - 1:+.2%}"
        rows.append(
            [str(row.step), *([_day(row.date)] if dated else []), prices[0], change, *prices[1:]]
        )
    table = aligned([head, *rows], left=(1,) if dated else ())
    return f"{printable(symbol)}: close {close:,.{digits}f} {origin}\n" + table


def _day(date: pd.Timestamp) -> str:
    return f"{date:%a %Y-%m-%d}" + ("" if date == date.normalize() else f" {date:%H:%M}")


def _digits(width: float) -> int:
    """Decimals of which the last is at most a thirtieth of an interval's width; two at least."""
    return min(max(2, math.ceil(math.log10(30 / width))), 15) if 0 < width < math.inf else 6


def _named(symbols: Sequence[str]) -> str:
    more = len(symbols) - NAMED
    shown = symbols if more <= 1 else symbols[:NAMED]
    return ", ".join(map(printable, shown)) + (f" and {more} more" if more > 1 else "")


def leaderboard_text(board: pd.DataFrame) -> str:
    """The scores of `evaluation.leaderboard.summary`, best first, and what its columns are."""
    form: dict[str, tuple[str, Any]] = {
        "loss": ("pinball", "{:.2f}".format),
        "+/-": ("pinball_sd", lambda spread: f"{spread:.2f}" if spread else "-"),
        "step 1": ("pinball_1", "{:.2f}".format),
        "p: beats HAR": ("dm_p", lambda p: "< .001" if p < 0.001 else f"{p:.3f}"),
        "90% set": ("in_mcs", lambda inside: "in" if inside else "out"),
        "93%: inside": ("calibrated_coverage_93", "{:.1%}".format),
        "80%: inside": ("calibrated_coverage_80", "{:.1%}".format),
    }
    shown = {head: (key, show) for head, (key, show) in form.items() if key in board}
    if not board["pinball_sd"].any():
        del shown["+/-"]
    rows = [["forecaster", *shown]]
    for name, row in board.iterrows():
        rows.append(
            [
                str(name),
                *("-" if row[key] != row[key] else show(row[key]) for key, show in shown.values()),
            ]
        )
    notes = ["loss: mean pinball loss of all steps in basis points of log return; lower is better"]
    if "+/-" in shown:
        notes.append("+/-: deviation over the seeds")
    if "dm_p" in board:
        notes.append("p: one-sided Diebold-Mariano test against HAR, clustered by date")
    if "in_mcs" in board:
        notes.append("90% set: in, if it may still be the best (model confidence set)")
    notes.append("inside: outcomes within the intervals of that level, calibrated online")
    return "\n".join([aligned(rows, left=(0,)), "", *notes])
