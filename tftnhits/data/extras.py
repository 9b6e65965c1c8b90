"""A user's own inputs: columns of the bars' frame, observed at their bar or known ahead of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..errors import ConfigError, DataError, quoted
from . import features as F
from .columns import input_numbers
from .dates import parse_dates
from .names import COLUMNS, check_inputs, listed, role_of, text_of
from .read import Table, file_bytes, parse_bytes, readable
from .sources import plain_frame

if TYPE_CHECKING:
    from .windows import Panel

SHOWN = 3  # dates that a sentence names before it counts the rest


def input_names(config: PanelConfig) -> dict[str, tuple[str, ...]]:
    """Names of the observed, known and static inputs; raises ConfigError on a wrong one."""
    known = config.known or F.KNOWN
    observed = config.observed or F.OBSERVED
    for names, every in ((observed, F.OBSERVED), (known, F.KNOWN)):
        if unknown := sorted({*names} - {*every}):
            choice = ", ".join(every)
            raise ConfigError(f"There is no feature {unknown[0]!r}; choose from {choice}.")
    check_inputs(config.extra)
    if taken := {*config.extra} & {*F.OBSERVED, *F.KNOWN, *F.STATIC}:
        raise ConfigError(
            f"The input {min(taken)!r} has the name of a built-in feature; give its column another."
        )
    return {
        "observed": (*observed, *config.extra_observed),
        "known": (*known, *config.extra_known),
        "static": F.STATIC,
    }


def own_inputs(bars: pd.DataFrame, config: PanelConfig, lenient: bool) -> dict[str, np.ndarray]:
    """The extra columns of validated bars by name, [N] each, NaN where missing.

    Raises DataError on a column that is not there, unless `lenient`.
    """
    columns = {}
    for name in config.extra:
        values = np.full(len(bars), np.nan)
        if name in bars.columns:
            values = bars[name].to_numpy(float)
        elif not lenient:
            raise DataError(
                f"The bars have no column {quoted(name)} for the model to learn from; found "
                f"{listed(bars.columns)}. Give it, and load_bars keeps it by extra=({name!r},)."
            )
        columns[name] = np.where(np.isfinite(values), values, np.nan)
    return columns


def standard(
    features: Mapping[str, np.ndarray], names: tuple[str, ...], train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations [F] on the bars `train`; returns (of unit size) and flags stay so.

    A stray print of a feature counts as CLIP at most; a user's own input can be of any size. Raises
    DataError on one of fewer than two values.
    """
    center, spread = np.zeros(len(names)), np.ones(len(names))
    for i, name in enumerate(names):
        known = features[name][train]
        known = known[np.isfinite(known)]
        if name not in F.OBSERVED:
            if not len(known) or known.min() == known.max():
                raise DataError(
                    f"The input {quoted(name)} has {'one' if len(known) else 'no'} value in the "
                    "training split, from which nothing is learnt; give its values there, 0 where "
                    "there is no event, or leave it out."
                )
            center[i] = known.mean()
            spread[i] = known.std()
        elif name != "return" and not name.startswith("has_") and len(known) > 30:
            known = np.clip(known, -F.CLIP, F.CLIP)
            center[i] = known.mean()
            spread[i] = max(known.std(), 1e-3)
    return center, spread


def standardised(values: np.ndarray, center: Any, spread: Any) -> np.ndarray:
    """Inputs in deviations from their mean, CLIP at most, zero where unknown."""
    values = np.minimum(np.maximum((values - center) / spread, -F.CLIP), F.CLIP)
    return np.where(np.isnan(values), 0.0, values)


def notes_of(own: Mapping[str, np.ndarray], panel: Panel, unused: list[str]) -> Panel:
    """The panel with notes on columns that are no inputs, and on inputs that a last bar lacks.

    `own` are the extra columns of all bars, [N] each.
    """
    said = []
    what = " or ".join(map(quoted, unused[:5]))
    ignored = f"The model knows no input {what}; it was trained without it and ignores it."
    for symbol, last in zip(panel.symbols, np.cumsum(panel.length) - 1, strict=True):
        said += [(symbol, ignored)] if unused else []
        for name, column in own.items():
            if np.isnan(column[last]):
                why = f"has no {quoted(name)}, so the mean of the training stands in for it."
                said.append((symbol, f"The last bar of {symbol} {why}"))
    return _noted(panel, said)


def _noted(panel: Panel, said: Iterable[tuple[str, str]]) -> Panel:
    """The panel with more notes, (symbol, sentence) each."""
    notes = {symbol: [*sentences] for symbol, sentences in panel.notes.items()}
    for symbol, sentence in said:
        notes.setdefault(symbol, []).append(sentence)
    return replace(panel, notes=notes)


def with_future(panel: Panel, future: Any = None) -> Panel:
    """The panel whose bars ahead have the inputs that `future` tells, and notes of those it lacks.

    Parameters
    ----------
    panel : of bars to forecast from
    future : frame, records or file of dates ahead: symbol (none: of all), date, and a column for
        each of PanelConfig.extra_known

    Raises DataError on a future that can't be read.
    """
    names = panel.config.extra_known
    horizon = panel.config.horizon
    if not names:
        ignored = "The model has no inputs of its own that are known ahead; ignored: future."
        return _noted(panel, [(s, ignored) for s in panel.symbols if future is not None])
    told = _read_future({"date": []} if future is None else future, names)
    # The rows ahead, and what is told of their dates, by day unless bars are shorter
    rows = (panel.start + panel.length)[:, None] + np.arange(horizon)  # [S, H]
    unit = "D" if (panel.static[:, F.STATIC.index("bar_length")] >= 0).all() else "ns"
    ahead = pd.DataFrame({"symbol": np.repeat(panel.symbols, horizon)})
    ahead["date"] = pd.DatetimeIndex(panel.date[rows].ravel()).floor(unit)
    told["date"] = told["date"].dt.floor(unit)
    keys = [name for name in ("symbol", "date") if name in told]
    ahead = ahead.merge(told.drop_duplicates(keys, keep="last"), "left", keys)
    values = ahead[[*names]].to_numpy().reshape(*rows.shape, -1)  # [S, H, E]
    center, spread = (panel.fitted[name][-len(names) :] for name in ("center", "spread"))
    known = np.array(panel.known)
    known[rows, -len(names) :] = standardised(values, center, spread)
    said = []
    for symbol, lacks, dates in zip(panel.symbols, np.isnan(values), panel.date[rows], strict=True):
        for name, gone in zip(names, lacks[: panel.steps].T, strict=True):
            if gone.any():
                said.append((symbol, _lacking(name, dates[: panel.steps][gone])))
    return _noted(replace(panel, known=known), said)


def _lacking(name: str, dates: np.ndarray) -> str:
    """The sentence on the dates ahead for which an input is not told."""
    days = [str(pd.Timestamp(date)).removesuffix(" 00:00:00") for date in dates]
    when = ", ".join(days[:SHOWN]) + f" and {len(days) - SHOWN} more" * (len(days) > SHOWN)
    if np.isnat(dates).any():
        when = "the bars ahead, which have no dates"
    return (
        f"Nothing is known of {quoted(name)} on {when}, so the mean of the training stands in for "
        "it; predict(…, future=frame) takes it."
    )


def _read_future(future: Any, names: tuple[str, ...]) -> pd.DataFrame:
    """Rows of symbol (if there is one), date and the inputs `names`, NaN where missing."""
    if isinstance(future, str | os.PathLike):
        future = parse_bytes(file_bytes(future), quoted(os.fspath(future), 200))
    with readable("future can't be read"):
        frame = plain_frame(future.frame if isinstance(future, Table) else pd.DataFrame(future))
    columns = {}
    for i, label in enumerate(frame.columns):
        role = {"time": "date"}.get(role_of(label), role_of(label))
        columns.setdefault(role if role in COLUMNS[:2] else text_of(label), frame.iloc[:, i])
    dates = columns.get("date", columns.get("index"))  # an index without a name
    if dates is None:
        raise DataError(f"future has no column of dates, but {listed(columns)}; add date.")
    read = parse_dates(dates, np.zeros(len(frame), np.int64))
    if read.bad.any():
        cell = quoted(dates.iloc[int(np.argmax(read.bad))])
        raise DataError(f"future has {cell} for a date; write it as YYYY-MM-DD.")
    own = input_numbers({name: columns[name] for name in names if name in columns})
    out = pd.DataFrame({"date": read.local, **own}).reindex(columns=["date", *names])
    if "symbol" in columns:
        out["symbol"] = columns["symbol"].map(text_of).to_numpy()
    return out.dropna(subset="date")
