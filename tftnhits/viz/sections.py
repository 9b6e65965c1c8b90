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
from ..evaluation.journal import Journal
from ..evaluation.record import INTERVALS
from ..forecast.conformal import outcome_scores
from ..forecast.explain import BASELINE
from ..forecast.own import binomial_interval
from ..forecast.past import PAST, past_forecasts
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
    """How many of the next bars closed inside their interval, and how many of all steps.

    The chart has the last ones.
    """
    known = frame[frame["came"].notna()]
    inside = known["came"].between(known["lower"], known["upper"])
    first = known["step"] == 1
    held, count = inside[first], int(first.sum())
    return {
        "plot": _past_plot(known[first].tail(PAST), held.tail(PAST).to_numpy(), level),
        "count": count,
        "inside": int(held.sum()),
        "interval": binomial_interval(float(held.mean()), count),
        "steps": int(known["step"].max()),
        "all": float(inside.mean()),
        "all_interval": binomial_interval(float(inside.mean()), count),
    }


def kept_forecasts(fc: Forecast, symbol: str) -> dict[str, Any]:
    """The symbol's forecasts in the user's journal against what came in the forecast's bars."""
    journal = Journal()
    try:
        record = journal.score(fc.bars, symbol)
    except Exception as error:  # whatever is wrong with the journal, the report is made
        why = error if isinstance(error, DataError) else f"The journal can't be read ({error})."
        return {"reason": str(why).replace(str(journal.folder), "the journal")}
    frame = record.frame.sort_values(["origin", "step"])
    if not (frame["step"] == 1).any():
        return {"reason": " ".join([f"No kept forecast of {symbol} has come yet.", *record.notes])}
    low, high = INTERVALS["93"]
    names = {low: "lower", "0.5": "median", high: "upper", "outcome": "came"}
    prices = np.exp(frame[[*names]]).rename(columns=names).assign(last=1.0)
    told = _past(frame[["origin", "step", "date"]].join(prices), 0.93)
    notes = [note.replace(str(journal.folder), "the journal") for note in record.notes]
    models = {"models": frame["model"].nunique(), "notes": notes}
    return told | models | record.whole()[["loss", "har", "to_har", "p"]].to_dict()


def _past_plot(rows: pd.DataFrame, held: np.ndarray, level: float) -> Plot:
    """Intervals of the next bar [N], in percent of the close before, and what came."""
    columns = ("lower", "upper", "median", "came")
    percent = [100 * (rows[name] / rows["last"] - 1).to_numpy() for name in columns]
    axis = Axis.of(*percent)
    low, high, median, came = map(axis.units, percent)
    x, times, name = np.arange(len(rows)), _times(rows), f"{100 * level:.6g}%"
    return Plot(
        label="The last forecasts of the next bar, in percent of the close before, and what came",
        axis=axis,
        box=view(0, len(x) - 1, low, high, came),
        paths=[
            ("span", uprights(x, high, low)),
            ("mid dot", uprights(x, median, median)),
            ("hit dot", uprights(x[held], came[held], came[held])),
            ("miss dot", uprights(x[~held], came[~held], came[~held])),
        ],
        across=across(bar_labels(times)),
        texts=[
            f"{when(time)}: {name} {a:+.2f}% to {b:+.2f}%, median {m:+.2f}%, came {c:+.2f}%"
            for time, a, b, m, c in zip(times, *percent, strict=True)
        ],
    )


def _volatility(frame: pd.DataFrame, har: pd.DataFrame) -> dict[str, Any]:
    """Half the width of the INNER interval, the model's and HAR's, and how far closes moved."""
    steps, first = int(frame["step"].max()), (frame["step"] == 1).to_numpy()
    widths = [_half(table) for table in (frame, har)]
    ratio = widths[0] / widths[1]
    model, other = (width[first] for width in widths)
    moved = 100 * np.log(frame["came"] / frame["last"]).abs().to_numpy()[first]
    known = np.isfinite(moved)
    return {
        "plot": _volatility_plot(_times(frame[first]), model, other, moved),
        "now": float(model[-1]),
        "har": float(other[-1]),
        "ratio": float(ratio[-steps]),
        "far": float(ratio[-1]),
        "steps": steps,
        "count": int(known.sum()),
        "below": int((moved <= model)[known].sum()),
        "below_har": int((moved <= other)[known].sum()),
    }


def _volatility_plot(
    times: np.ndarray, model: np.ndarray, har: np.ndarray, moved: np.ndarray
) -> Plot:
    """Of the next bar, [N] each in percent; `moved` is NaN where none came."""
    axis = Axis.of([0.0], model, har, moved)
    x, known = np.arange(len(times)), np.isfinite(moved)
    dot = axis.units(moved[known])
    texts = [
        f"{when(time)}: model ±{a:.2f}%, HAR ±{b:.2f}%"
        for time, a, b in zip(times, model, har, strict=True)
    ]
    came = [f", moved {c:.2f}%" if np.isfinite(c) else "" for c in moved]
    return Plot(
        label="Half the width of the 80% interval of the next bar, and how far closes moved",
        axis=axis,
        box=view(0, len(x) - 1, axis.units([axis.low, axis.high])),
        paths=[
            ("hit dot", uprights(x[known], dot, dot)),
            ("har", line(x, axis.units(har))),
            ("median", line(x, axis.units(model))),
        ],
        across=across(bar_labels(times)),
        texts=[a + b for a, b in zip(texts, came, strict=True)],
    )


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
    return {
        "plot": _next_plot(100 * np.expm1(edge), 100 * np.diff(below)),
        "up": float(1 - below[BINS]),
        "middle": (last * np.exp(central(move, base, 0.5)))[0].tolist(),
    }


def _next_plot(edge: np.ndarray, share: np.ndarray) -> Plot:
    """A bar for the `share` of each range, [2 BINS], between edges [2 BINS + 1], all in percent."""
    axis = Axis.of([0.0], share)
    x, top, zero = np.arange(2 * BINS), axis.units(share), axis.units(0 * share)
    down, up = slice(BINS), slice(BINS, None)
    labels = ["last close" if k == BINS else f"{edge[k]:+.1f}%" for k in TICKS]
    return Plot(
        label="Probability of ranges of the next close",
        axis=axis,
        box=view(0, len(x) - 1, top, zero),
        paths=[
            ("fall", boxes(x[down], top[down], zero[down])),
            ("rise", boxes(x[up], top[up], zero[up])),
            ("edge", uprights([BINS - 0.5], axis.units([axis.high]), axis.units([0.0]))),
        ],
        across=[(50 * k / BINS, text) for k, text in zip(TICKS, labels, strict=True)],
        texts=[
            f"{a + 0.0:+.2f}% to {b + 0.0:+.2f}%: {p:.1f}%"
            for a, b, p in zip(edge[:-1], edge[1:], share, strict=True)
        ],
    )


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
