"""The watchlist as people read it: cells in words, and HTML for a notebook, sorted by a click."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import pandas as pd

SHOWN = 500  # rows in a notebook
TEXTS = ("symbol", "trend", "status")
# The page's one listener serves the tables of all cells, whichever are there when it is clicked
SCRIPT = """
if (!window.tftnhitsSorts) {
  window.tftnhitsSorts = true;
  document.documentElement.classList.add("tftnhits-sorts");
  const sort = (event) => {
    const head = event.target.closest?.(".tftnhits-watchlist th");
    if (!head || (event.type === "keydown" && event.key !== "Enter")) return;
    const up = head.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const place = head.cellIndex, text = head.className === "text", order = new Intl.Collator();
    const keyed = [...body.rows].map((row) => [row.cells[place].textContent, row]);
    keyed.sort(([a], [b]) => {
      if (!a || !b) return !a - !b;
      return sign * (text ? order.compare(a, b) : parseFloat(a) - parseFloat(b));
    });
    body.append(...keyed.map(([, row]) => row));
  };
  document.addEventListener("click", sort);
  document.addEventListener("keydown", sort);
}
"""
STYLE = """
.tftnhits-watchlist { max-height: 34em; overflow: auto; color-scheme: light dark; PAPER-light; }
.tftnhits-watchlist table { table-layout: auto; border-collapse: separate; border-spacing: 0; }
.tftnhits-watchlist table { margin: 0; font-variant-numeric: tabular-nums; }
.tftnhits-watchlist :not(td, a) { background: inherit !important; color: inherit; }
.tftnhits-watchlist :is(th, td) { padding: .25em .6em; text-align: right; white-space: nowrap; }
.tftnhits-watchlist td { border-top: 1px solid #8895A355; overflow-wrap: anywhere; }
.tftnhits-watchlist :is(th, td):first-child { position: sticky; left: 0; background: inherit; }
.tftnhits-watchlist td:first-child { min-width: 7.5em; max-width: 14em; white-space: normal; }
.tftnhits-watchlist thead th { position: sticky; top: 0; z-index: 1; }
.tftnhits-watchlist thead th:first-child { z-index: 2; }
.tftnhits-watchlist .text { text-align: left; }
.tftnhits-watchlist td:nth-last-child(2) { font-size: .7em; white-space: pre; }
.tftnhits-watchlist td:last-child { white-space: normal; min-width: 16em; }
.tftnhits-sorts .tftnhits-watchlist th { cursor: pointer; }
.tftnhits-sorts .tftnhits-watchlist th::after { content: "▲"; font-size: .7em; opacity: 0; }
.tftnhits-sorts .tftnhits-watchlist th::after { position: absolute; margin: .3em 0 0 .1em; }
.tftnhits-sorts .tftnhits-watchlist th:is(:hover, :focus-visible)::after { opacity: .5; }
.tftnhits-sorts .tftnhits-watchlist th[aria-sort]::after { opacity: 1; }
.tftnhits-sorts .tftnhits-watchlist th[aria-sort=descending]::after { content: "▼"; }
@media screen and (prefers-color-scheme: dark) { .tftnhits-watchlist { PAPER-dark; } }
"""


def decimals(width: float, price: float = 1.0) -> int:
    """Decimals of prices: the last one is at most a thirtieth of an interval's `width`."""
    least = 0 if price >= 10_000 else 2
    if not 0 < width < math.inf:
        return 6
    return min(max(least, math.ceil(math.log10(30 / width))), 15)


def cells(table: pd.DataFrame) -> dict[str, list[str]]:
    """What people read of `Forecast.table`: texts [S] by head; empty where nothing is known."""
    levels = [name.removeprefix("low_") for name in table if name.startswith("low_")]
    low, high = (table[f"{end}_{levels[0]}"] for end in ("low", "high"))
    digits = [decimals(w, p) for w, p in zip(high - low, table["last"], strict=True)]
    texts = {"symbol": table["symbol"].tolist(), "last": _prices(table["last"], digits)}
    texts["median"] = _written(table["median_pct"], lambda x: f"{round(x, 1) + 0.0:+.1f}%")
    for level in levels:
        ends = (_prices(table[f"{end}_{level}"], digits) for end in ("low", "high"))
        texts[f"{level}%"] = ["-".join(filter(None, pair)) for pair in zip(*ends, strict=True)]
    texts["width"] = _written(table["width_vs_year"], "{:.2f}".format)
    texts["P(up)"] = _written(table["p_up"], "{:.0%}".format)
    texts["age"] = _written(table["age"], str)
    texts["trend"] = table["trend"].tolist()
    texts["status"] = table["status"].tolist()
    return texts


def _written(values: Iterable[Any], form: Callable[[Any], str]) -> list[str]:
    return ["" if pd.isna(value) else form(value) for value in values]


def _prices(values: Iterable[float], digits: list[int]) -> list[str]:
    pairs = zip(values, digits, strict=True)
    return ["" if pd.isna(value) else f"{value:.{many}f}" for value, many in pairs]


def watchlist_html(table: pd.DataFrame) -> str:
    """`Forecast.table` as HTML of the first rows, all texts escaped; nothing is fetched.

    A click on a head, or Enter, sorts by it. Where scripts may not run it is a plain table.
    """
    shown = table.head(SHOWN)
    texts, why = cells(shown), shown["why"].tolist()
    answers = zip(texts["status"], shown["model_used"], why, strict=True)
    texts["status"] = [answer_text(*answer) for answer in answers]
    kind = {head: ' class="text"' if head in TEXTS else "" for head in texts}
    head = "".join(f'<th{kind[name]} tabindex="0">{escape(name)}</th>' for name in texts)
    lines = []
    for i, reason in enumerate(why):
        row = [f"<td{kind[name]}>{escape(column[i])}</td>" for name, column in texts.items()]
        lines.append(f'<tr title="{escape(reason)}">{"".join(row)}</tr>')
    more = len(table) - len(shown)
    note = f"<p>and {more:,} more in .table()</p>" if more else ""
    return (
        f'<style>{style_sheet()}</style><div class="tftnhits-watchlist"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{note}</div><script>{SCRIPT}</script>"
    )


def answer_text(status: str, model: Any, why: str) -> str:
    """Who answered, without the weights, "ensemble, warned", or why none did."""
    if status == "left out":
        return f"{status}: {why}"
    name = model.partition(" (")[0]
    return name if status == "answered" else f"{name}, {status}"


def style_sheet() -> str:
    """The style sheet, in the colours of the figures' themes."""
    from .style import THEMES  # brings matplotlib, which a terminal's table does without

    text = STYLE
    for name, theme in THEMES.items():
        text = text.replace(f"PAPER-{name}", f"background: {theme.paper}; color: {theme.ink}")
    return text
