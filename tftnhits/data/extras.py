"""A user's own inputs: columns of the bars' frame, observed at their bar or known ahead of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..errors import ConfigError, DataError, counted, quoted
from . import features as F
from .columns import input_numbers
from .dates import parse_dates
from .names import check_inputs, listed, role_of, text_of
from .read import Table, file_bytes, parse_bytes, readable
from .sources import plain_frame

if TYPE_CHECKING:
    from .windows import Panel

SHOWN = 3  # dates that a sentence names before it counts the rest
DATED = ("date", "time")


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
        if name in bars.columns:
            columns[name] = bars[name].to_numpy(float)
        elif lenient:
            columns[name] = np.full(len(bars), np.nan)
        else:
            raise DataError(
                f"The bars have no column {quoted(name)} for the model to learn from; found "
                f"{listed(bars.columns)}. Give it, and load_bars keeps it by extra=({name!r},)."
            )
    return columns


def standard(rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Mean and deviation [F] of training rows [K, F]; returns (of unit size) and flags stay so.

    A stray print of a feature counts as CLIP at most. Raises DataError on an own input that has
    fewer than two values.
    """
    center, spread = np.zeros(len(names)), np.ones(len(names))
    for i, name in enumerate(names):
        known = rows[:, i][np.isfinite(rows[:, i])]
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
    return {"center": center, "spread": spread}


def standardised(values: np.ndarray, center: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Inputs [..., F] in deviations from their mean, CLIP at most, zero where unknown."""
    values = (values - center) / spread
    values = np.nan_to_num(values, nan=0.0, posinf=F.CLIP, neginf=-F.CLIP)
    return np.clip(values, -F.CLIP, F.CLIP)


def notes_of(
    bars: pd.DataFrame, config: PanelConfig, notes: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """By symbol, `notes` and what is to be said of inputs of validated bars.

    That is an input that the frame, or a symbol's last bar, doesn't have, and columns that the
    model doesn't know.
    """
    common = []
    if unused := bars.attrs.get("unused", []):
        many = len(unused) > 1
        common.append(
            f"The model knows no input{'s' * many} {', '.join(map(quoted, unused[:5]))}; it was "
            f"trained without {'them' if many else 'it'} and ignores {'them' if many else 'it'}."
        )
    for name in config.extra:
        if name not in bars.columns:
            common.append(
                f"The bars have no column {quoted(name)}, which the model was trained with, so its "
                "mean of the training stands in for it."
            )
    given = [name for name in config.extra if name in bars.columns]
    if not common and not given:
        return dict(notes)
    last = bars.drop_duplicates("symbol", keep="last")
    out = {}
    for i, symbol in enumerate(last["symbol"]):
        out[symbol] = [*notes.get(symbol, []), *common]
        for name in given:
            if np.isnan(last[name].iloc[i]):
                out[symbol].append(
                    f"{quoted(name)} is missing on the last bar of {symbol}, so its mean of the "
                    "training stands in for it."
                )
    return out


# --- what is known ahead


def with_future(panel: Panel, future: Any = None) -> Panel:
    """The panel whose bars ahead have the inputs that `future` tells, and notes of those it lacks.

    Parameters
    ----------
    panel : of bars to forecast from
    future : frame, records or file of the dates ahead: symbol (none: of all), date, and a column
        for each of PanelConfig.extra_known

    Raises DataError on a future that can't be read.
    """
    names, horizon = panel.config.extra_known, panel.config.horizon
    notes = {symbol: list(panel.notes.get(symbol, [])) for symbol in panel.symbols}
    if not names:
        for said in notes.values() if future is not None else ():
            said.append("The model has no inputs of its own that are known ahead; ignored: future.")
        return replace(panel, notes=notes)
    given, doubt = ({}, "") if future is None else _read_future(future, names)
    center, spread = (panel.fitted[name][-len(names) :] for name in ("center", "spread"))
    known = np.array(panel.known)
    for s, symbol in enumerate(panel.symbols):
        ahead = panel.start[s] + panel.length[s] + np.arange(horizon)
        daily = panel.static[s, F.STATIC.index("bar_length")] >= 0  # log10 of days
        values = np.full((horizon, len(names)), np.nan)
        rows = given.get(symbol, given.get(""))
        if rows is not None:
            values = _on_dates(rows, panel.date[ahead], "D" if daily else "ns")
        known[ahead, -len(names) :] = standardised(values, center, spread)
        gone = np.isnan(values[: panel.steps])
        notes[symbol] += [doubt] if doubt else []
        for name, dates in zip(names, gone.T, strict=True):
            notes[symbol] += _lacking(name, panel.date[ahead[: panel.steps]][dates])
    return replace(panel, known=known, notes=notes)


def _on_dates(rows: pd.DataFrame, dates: np.ndarray, unit: str) -> np.ndarray:
    """The numbers [H, E] of the rows of the `dates` [H], by day or to the ns; NaN where none is."""
    index = pd.DatetimeIndex(rows["date"]).floor(unit)
    values = rows.drop(columns=["symbol", "date"]).set_axis(index)
    values = values[~index.duplicated(keep="last") & index.notna()]
    return values.reindex(pd.DatetimeIndex(dates).floor(unit)).to_numpy()


def _lacking(name: str, dates: np.ndarray) -> list[str]:
    """The sentence about dates ahead of which an input is not known, if there are any."""
    if not len(dates):
        return []
    if np.isnat(dates).any():
        when = "the bars ahead, which have no dates"
    else:
        when = ", ".join(str(pd.Timestamp(day)).removesuffix(" 00:00:00") for day in dates[:SHOWN])
        when += f" and {counted(len(dates) - SHOWN, 'more date')}" * (len(dates) > SHOWN)
    return [
        f"Nothing is known of {quoted(name)} on {when}, so its mean of the training stands in for "
        "it; predict(…, future=frame) takes it."
    ]


def _read_future(future: Any, names: tuple[str, ...]) -> tuple[dict[str, pd.DataFrame], str]:
    """Rows of date and inputs by symbol, "" for all of them; a sentence on how dates were read."""
    text = False
    if isinstance(future, str | os.PathLike):
        future = parse_bytes(file_bytes(future), quoted(os.fspath(future), 200))
    if isinstance(future, Table):
        text, future = future.text, future.frame
    with readable("future can't be read"):
        frame = plain_frame(pd.DataFrame(future))
    columns = {text_of(label): frame.iloc[:, i] for i, label in enumerate(frame.columns)}
    dated = [label for label in columns if role_of(label) in DATED or label == "index"]
    if not dated:
        raise DataError(
            f"future has no column of dates; found {listed(columns)}. Give date, the symbol if "
            f"there are several, and {', '.join(names)}."
        )
    dates = parse_dates(columns[dated[0]], np.zeros(len(frame), np.int64))
    if dates.bad.any():
        cell = quoted(columns[dated[0]].iloc[int(np.argmax(dates.bad))])
        raise DataError(f"future has {cell} for a date; write it as YYYY-MM-DD.")
    symbols = [label for label in columns if role_of(label) == "symbol"]
    rows = pd.DataFrame({"symbol": "", "date": dates.local}, index=range(len(frame)))
    if symbols:
        rows["symbol"] = columns[symbols[0]].map(text_of).to_numpy()
    given = {name: columns[name] for name in names if name in columns}
    given = input_numbers(given, text=text)
    for name in names:
        rows[name] = given.get(name, np.nan)
    return dict(list(rows.groupby("symbol"))), dates.doubt
