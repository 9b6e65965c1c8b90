"""The parts of a symbol's report below its prices: numbers for the template, and charts.

A part that can't be made is its reason: a dict with `reason` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ..data.features import in_words
from ..errors import ConfigError, DataError
from ..forecast.conformal import outcome_scores
from ..forecast.explain import BASELINE
from ..forecast.own import binomial_interval
from ..forecast.past import past_forecasts
from ..forecast.result import Forecast, quantile_columns
from ..forecast.table import INNER, central
from .bars import bar_labels
from .explanations import SUMMARY
from .svg import Axis, Plot, across, boxes, line, uprights, view

BINS = 10  # of the next bar's distribution on each side of the last close
TICKS = (2, 6, 10, 14, 18)  # edges of them that have labels
EDGE = 0.995  # level up to which they reach


def inner_ends(path: pd.DataFrame, last: Any) -> np.ndarray:
    """Prices [N, 2] between which the INNER interval lies, of rows of a frame; `last` closes."""
    names, last = quantile_columns(path), np.broadcast_to(last, len(path))[:, None]
    move = np.log(path[names].to_numpy() / last)
    return last * np.exp(central(move, ndtri(np.array(names, float)), INNER))


def past_and_volatility(fc: Forecast, symbol: str) -> dict[str, dict[str, Any]]:
    """The last forecasts against what came, and how wide they were beside HAR's."""
    try:
        past = past_forecasts(fc, symbol)
    except DataError as error:
        reason = {"reason": str(error)}
        return {"past": reason, "volatility": reason}
    return {
        "past": _past(past.frame, fc.level),
        "volatility": _volatility(past.frame, past.har),
    }


def _past(frame: pd.DataFrame, level: float) -> dict[str, Any]:
    """How many of the next bars closed inside their interval, and how many of all steps."""
    known = frame[frame["came"].notna()]
    inside = known["came"].between(known["lower"], known["upper"])
    next_bar = known["step"] == 1
    rows, held = known[next_bar], inside[next_bar].to_numpy()
    percent = {
        name: 100 * (rows[name] / rows["last"] - 1).to_numpy()
        for name in ("lower", "median", "upper", "came")
    }
    axis = Axis.of(*percent.values())
    low, median, high, came = map(axis.units, percent.values())
    x, times = np.arange(len(rows)), _times(rows)
    box = view(0, len(rows) - 1, low, high, came)
    names = ("lower", "upper", "median", "came")
    texts = [
        f"{when(time)}: {100 * level:.6g}% {a:+.2f}% to {b:+.2f}%, median {m:+.2f}%, came {c:+.2f}%"
        for time, a, b, m, c in zip(times, *(percent[name] for name in names), strict=True)
    ]
    plot = Plot(
        label="The last forecasts of the next bar, in percent of the close before, and what came",
        box=box,
        paths=[
            ("span", uprights(x, high, low)),
            ("mid dot", uprights(x, median, median)),
            ("hit dot", uprights(x[held], came[held], came[held])),
            ("miss dot", uprights(x[~held], came[~held], came[~held])),
        ],
        across=across(bar_labels(times)),
        up=axis.ticks(box),
        texts=texts,
    )
    return {
        "plot": plot,
        "count": len(rows),
        "inside": int(held.sum()),
        "interval": binomial_interval(float(held.mean()), len(rows)),
        "steps": int(known["step"].max()),
        "all": float(inside.mean()),
        "all_interval": binomial_interval(float(inside.mean()), len(rows)),
    }


def _volatility(frame: pd.DataFrame, har: pd.DataFrame) -> dict[str, Any]:
    """Half the width of the INNER interval of the next bar, the model's and HAR's, in percent."""
    next_bar = frame["step"] == 1
    model, other = (_half(table) for table in (frame, har))
    moved = 100 * np.log(frame["came"] / frame["last"]).abs().to_numpy()
    ratio, steps = model / other, int(frame["step"].max())
    model, other, moved = (values[next_bar] for values in (model, other, moved))
    axis = Axis.of([0.0], model, other, moved)
    units = [axis.units(values) for values in (model, other, moved)]
    x, known = np.arange(len(model)), np.isfinite(moved)
    times = _times(frame[next_bar])
    box = view(0, len(x) - 1, *units, axis.units(0.0))
    dot = units[2][known]
    plot = Plot(
        label="Half the width of the 80% interval of the next bar, and how far closes moved",
        box=box,
        paths=[
            ("hit dot", uprights(x[known], dot, dot)),
            ("har", line(x, units[1])),
            ("median", line(x, units[0])),
        ],
        across=across(bar_labels(times)),
        up=axis.ticks(box),
        texts=[
            f"{when(time)}: model ±{a:.2f}%, HAR ±{b:.2f}%, moved {c:.2f}%".replace(
                ", moved nan%", ""
            )
            for time, a, b, c in zip(times, model, other, moved, strict=True)
        ],
    )
    return {
        "plot": plot,
        "now": float(model[-1]),
        "har": float(other[-1]),
        "ratio": float(ratio[-steps]),
        "far": float(ratio[-1]),
        "steps": steps,
        "count": int(known.sum()),
        "below": int((moved[known] <= model[known]).sum()),
        "below_har": int((moved[known] <= other[known]).sum()),
    }


def _half(table: pd.DataFrame) -> np.ndarray:
    """Half the width [N] of the INNER interval of each row, in percent of log return."""
    ends = np.log(inner_ends(table, table["last"].to_numpy()))
    return 50 * (ends[:, 1] - ends[:, 0])


def _times(rows: pd.DataFrame) -> np.ndarray:
    """Dates of the bars that were forecast, or their numbers."""
    if rows["date"].isna().any():
        return (rows["origin"] + rows["step"]).to_numpy()
    return rows["date"].to_numpy()


def when(x: Any) -> str:
    """A date, a time or a bar's number; empty where there is none."""
    if not isinstance(x, np.datetime64 | pd.Timestamp):
        return "" if pd.isna(x) else str(x)
    return str(pd.Timestamp(x)).removesuffix(" 00:00:00").removesuffix(":00")


def next_bar(path: pd.DataFrame, last: float) -> dict[str, Any]:
    """The probabilities of ranges of the next close, which meet at the last one."""
    names = quantile_columns(path)
    base = ndtri(np.array(names, float))
    move = np.log(path[names].to_numpy(float)[:1] / last)  # [1, Q]
    reach = max(float(np.abs(central(move, base, EDGE)).max()), 1e-12)
    edge = np.linspace(-reach, reach, 2 * BINS + 1)
    below = ndtr(outcome_scores(np.repeat(move, len(edge), 0), base, edge))
    share = 100 * np.diff(below)  # [2 BINS]
    percent = 100 * np.expm1(edge)
    axis = Axis.of([0.0], share)
    x, top, zero = np.arange(2 * BINS), axis.units(share), axis.units(0 * share)
    box = view(0, len(x) - 1, top, zero)
    down, up = slice(BINS), slice(BINS, None)
    plot = Plot(
        label="Probability of ranges of the next close",
        box=box,
        paths=[
            ("fall", boxes(x[down], top[down], zero[down])),
            ("rise", boxes(x[up], top[up], zero[up])),
            ("edge", uprights([BINS - 0.5], axis.units([axis.high]), axis.units([0.0]))),
        ],
        across=[
            (50 * k / BINS, f"{percent[k]:+.1f}%" if k != BINS else "last close") for k in TICKS
        ],
        up=axis.ticks(box),
        texts=[
            f"{a + 0.0:+.2f}% to {b + 0.0:+.2f}%: {p:.1f}%"
            for a, b, p in zip(percent[:-1], percent[1:], share, strict=True)
        ],
    )
    middle = np.interp([0.25, 0.75], np.array(names, float), path[names].to_numpy(float)[0])
    return {"plot": plot, "up": float(1 - below[BINS]), "middle": middle.tolist()}


def drivers(fc: Forecast) -> dict[str, Any]:
    """What the networks of a symbol's forecast weighed, for sentences."""
    try:
        explanation = fc.explain()
    except ConfigError as error:
        return {"reason": str(error)}
    summary = explanation.summary(top=3)
    out: dict[str, Any] = {"note": SUMMARY}
    if "inputs" in summary:
        inputs = {in_words(name): weight for name, weight in summary["inputs"].items()}
        past = explanation.attention.query("lag >= 0").groupby("lag")["weight"].mean()
        share = past.sort_index().cumsum().to_numpy()
        half = int(np.searchsorted(share, share[-1] / 2)) + 1
        count = int((explanation.selection["kind"] == "past").sum())
        out["tft"] = {"inputs": inputs, "count": count, "half": half, "context": len(past)}
        out["tft"]["ahead"] = summary["ahead"]
    if "stacks" in summary:
        stacks = summary["stacks"]
        base = stacks.pop(BASELINE)
        width, median = (sum(one[name] for one in stacks.values()) for name in ("width", "median"))
        out["nhits"] = {"width": 100 * width / base["width"], "median": 100 * median}
    return out
