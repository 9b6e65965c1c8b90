"""The risk of a symbol for its page: levels that are touched, the next bar's range, losses."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import pandas as pd

from ..errors import counted
from ..escape import csv_text
from ..forecast.paths import Paths, paths_of
from ..forecast.result import Forecast
from ..forecast.risk import bar_range, touch_probability, value_at_risk
from .bars import bar_labels
from .sections import when
from .style import price
from .svg import Axis, Plot, across, boxes, line, view

LOST = (0.05, 0.01)  # probabilities of a larger loss
ENDS = (0.035, 0.1, 0.5, 0.9, 0.965)  # levels of the next bar's range
TOUCHED = (0.05, 0.1, 0.25, 0.5)  # probabilities of levels that are drawn
PERCENT = (-10, -5, -3, -2, -1, 1, 2, 3, 5, 10)  # from the last close, of levels in the CSV
NAMED = 3  # percent of the two levels that a sentence names
COLUMNS = ["symbol", "question", "step", "date", "level", "price", "value"]


def risk_section(fc: Forecast) -> dict[str, Any]:
    """What the page says of the last origin of a forecast of one symbol."""
    paths = paths_of(fc)
    lost = value_at_risk(paths, "long", LOST)
    touched = touch_probability(paths, None, PERCENT)
    ahead = bar_range(paths, ENDS, 1)
    count = paths.bars["close"].shape[-1]
    told = {
        "count": count,
        "error": 100 / np.sqrt(count),  # two standard errors of a half, in points
        "levels": LOST,
        "ladder": [
            (step, rows[["var", "es"]].to_numpy().ravel().tolist())
            for step, rows in lost.groupby("step")
        ],
        "reasons": paths.told,
        "csv": b64encode(csv_text(tidy(lost, ahead, touched)).encode()).decode(),
    }
    if np.isnan(paths.bars["high"]).any():
        return told
    named = touched[touched["percent"].round(6).abs() == NAMED].groupby("side").last()
    told["named"] = named.to_dict("index")
    told["range"] = ahead.set_index("what")[["0.1", "0.5", "0.9"]].to_dict("index")
    return told | {"plot": _touch_plot(paths)}


def _touch_plot(paths: Paths) -> Plot:
    """Between which prices [H] lie the levels that are touched by a step with some probability."""
    last, dates = float(paths.last[0]), paths.date[:, 0]
    highest = np.maximum.accumulate(paths.bars["high"][:, 0], axis=0)
    lowest = np.minimum.accumulate(paths.bars["low"][:, 0], axis=0)
    highs = np.maximum(np.quantile(highest, [1 - p for p in TOUCHED], axis=-1), last)
    lows = np.minimum(np.quantile(lowest, TOUCHED, axis=-1), last)
    axis = Axis.of(highs, lows)
    x, close = np.arange(len(dates)), axis.units([last])
    texts = []
    for step, date in enumerate(dates):
        at = f"by {when(date)}" if not np.isnat(date) else f"within {counted(step + 1, 'bar')}"
        ends = zip(TOUCHED, lows[:, step], highs[:, step], strict=True)
        texts.append(f"{at}: " + ", ".join(f"{p:.0%} {price(a)} or {price(b)}" for p, a, b in ends))
    times = x + 1 if np.isnat(dates).any() else dates
    spans = [boxes(x, axis.units(top), axis.units(end)) for top, end in zip(highs, lows)]
    return Plot(
        label="Prices that are touched by each step with a probability",
        axis=axis,
        box=view(0, len(x) - 1, axis.units(highs), axis.units(lows)),
        paths=[("reach", path) for path in spans]
        + [("edge", line([-0.5, len(x) - 0.5], np.repeat(close, 2)))],
        across=across(bar_labels(times)),
        texts=texts,
    )


def tidy(lost: pd.DataFrame, ahead: pd.DataFrame, *others: pd.DataFrame) -> pd.DataFrame:
    """Losses, a bar's range, touches and closes (forecast/risk.py) in one table, a value a row.

    Columns are symbol, question, step, date, level, price, value; `level` is a probability: of a
    larger loss, or of a smaller high, low or range.
    """
    head = ["symbol", "step", "date"]
    parts = [lost.melt([*head, "level"], ["var", "es"], "question")]
    parts.append(ahead.melt([*head, "what"], var_name="level").rename(columns={"what": "question"}))
    for table in others:
        asked = "touch " + table["side"] if "side" in table else "close " + table["event"]
        parts.append(table.rename(columns={"probability": "value"}).assign(question=asked))
    rows = [
        part.reindex(columns=COLUMNS).astype({"level": float, "price": float}) for part in parts
    ]
    return pd.concat(rows, ignore_index=True)
