"""What a forecast was made from, as tables: attention, input selection, N-HITS parts, permutation importance.

None of these prove a cause. Attention and selection weights say where a network looked, not what would happen had it
not (Jain & Wallace 2019; Wiegreffe & Pinter 2019 on when they do inform); permutation importance says what the loss
would be without an input's timing, to this one trained network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..config import LEVEL
from ..data import features as F
from ..data.windows import Panel
from ..errors import ConfigError
from ..evaluation.metrics import pinball_loss
from ..forecast.ensemble import Network
from ..forecast.result import Forecast

EVERY = "all"  # the symbol's name in tables that average over symbols
BASELINE = "volatility baseline"

# inputs that carry nearly the same news; permuting one alone leaves it to the others
FAMILIES: dict[str, tuple[str, ...]] = {
    "the bar itself": ("return", "overnight", "intraday", "range"),
    "volatility": tuple(f"volatility_{a}" for a in F.ALPHAS),
    "recent shocks": tuple(f"shock_{n}" for n in F.RECENT),
    "volume": F.VOLUME,
    "market": F.MARKET,
    "last year's shocks": F.HISTORY,
    "calendar": F.KNOWN,
}


@dataclass(frozen=True)
class Explanation:
    """Tidy tables; those of a network that is not there are empty. Weights sum to 1 a symbol and step (or date).

    `lag` counts bars back from the origin: 0 is the origin's own bar, -1 the first step ahead.
    """

    attention: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, step, lag, weight
    past: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, date, lag, input, weight
    future: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, step, input, weight
    static: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, input, weight
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, step, stack, median, width (log returns)
    origins: int = 1  # that each row is a mean over


def explain_forecast(fc: Forecast) -> Explanation:
    """Tables of the last origin of every symbol that a network answered for.

    `past` covers the context's bars. `parts` sum over stacks to N-HITS' median and to the width of its interval
    at config.LEVEL, before its quantiles are sorted and calibrated. Where a member averages several seeds, so do the
    tables. Raises ConfigError if no network answered.
    """
    predictor, panel, rows = fc.source
    rows = rows[np.r_[panel.symbol_of(rows)[1:] != panel.symbol_of(rows)[:-1], True]]
    found: dict[str, pd.DataFrame] = {}
    for name in ("tft", "nhits"):
        member = predictor.members.get(name)
        if isinstance(member, Network):
            deep = rows[rows - panel.start[panel.symbol_of(rows)] >= member.context - 1]
            if len(deep):
                found |= _tables(member, panel, deep)
    if not found:
        raise ConfigError(
            "Gradient boosting alone answered, and it has no attention or stacks; use permutation_importance."
        )
    return Explanation(**found)


def explain_rows(model: Any, panel: Panel, rows: np.ndarray) -> Explanation:
    """Tables of one network, each a mean over all the origins `rows` [K], with "all" for the symbol.

    `past` has a row a date: the weights given to that date's own bar, averaged over symbols. `model` is a torch
    module or a Network, whose seeds are averaged.
    """
    member = model if isinstance(model, Network) else Network(model)
    if not len(rows):
        raise ConfigError("There are no origins to explain; give at least one row of the panel.")
    total: dict[str, np.ndarray] = {}
    own = np.zeros((len(rows), sum(len(panel.inputs[k]) for k in ("observed", "known"))), np.float32)
    for index, pieces in _averaged(member, panel, rows):
        if "past" in pieces:
            own[index] += pieces.pop("past")[:, -1]
        for name, values in pieces.items():
            total[name] = total.get(name, 0.0) + values.sum(0, dtype=float)
    mean = {name: values[None] / len(rows) for name, values in total.items()}
    tables = _frames(mean, panel, np.array([EVERY], object), member.model)
    if "attention" in total:
        dates, at = np.unique(panel.date[rows], return_inverse=True)
        if np.isnat(panel.date[rows]).any():
            dates, at = np.unique(rows - panel.start[panel.symbol_of(rows)], return_inverse=True)
        sums = np.zeros((len(dates), own.shape[1]))
        np.add.at(sums, at, own)
        tables["past"] = _long(sums / np.bincount(at)[:, None], {"date": dates, "input": _past_names(panel)})
        tables["past"].insert(0, "symbol", EVERY)
        tables["past"].insert(2, "lag", 0)
    return Explanation(**tables, origins=len(rows))


def _averaged(member: Network, panel: Panel, rows: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """`_pieces` of the member's networks one after the other, as shares that add up to their average."""
    for model in member.models:
        for index, pieces in _pieces(model, panel, rows):
            yield index, {name: values / len(member.models) for name, values in pieces.items()}


def _pieces(model: Any, panel: Panel, rows: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Index in `rows` [k] and what the network shows for these origins, batch after batch.

    TFT: attention [k, H, C+H], past [k, C, F_o+F_k], future [k, H, F_k], static [k, F_s].
    N-HITS: parts [k, H, S+1, 2]: the base and each stack; median and width of the interval, as log returns.
    """
    from ..training.loop import outputs

    horizon, context = model.config.horizon, model.config.context
    for found, _, index, (b, n) in outputs(model, panel, rows):
        if hasattr(found, "attention"):
            past, future = found.past_weights.cpu().numpy(), found.future_weights.cpu().numpy()
            yield (
                index,
                {
                    "attention": found.attention[b, n].cpu().numpy(),
                    "past": past[b[:, None], n[:, None] + np.arange(context)],
                    "future": future[b[:, None], n[:, None] + np.arange(horizon)],
                    "static": found.static_weights[b].cpu().numpy(),
                },
            )
        else:
            levels = np.asarray(model.config.quantiles)
            middle, low, high = (np.abs(levels - q).argmin() for q in (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2))
            parts = found.parts[b, n].cpu().numpy()  # [k, H, S, Q]
            base = np.broadcast_to(model.base.cpu().numpy()[None, :, None], (len(b), horizon, 1, len(levels)))
            parts = np.concatenate([base, parts], 2)
            unit = np.asarray(panel.scale)[rows[index], None] * np.sqrt(np.arange(1, horizon + 1))
            both = np.stack([parts[..., middle], parts[..., high] - parts[..., low]], -1)
            yield index, {"parts": both * unit[..., None, None]}


def _tables(member: Network, panel: Panel, rows: np.ndarray) -> dict[str, pd.DataFrame]:
    """Tables with a symbol for each of `rows` [K]."""
    kept: dict[str, np.ndarray] = {}
    for index, pieces in _averaged(member, panel, rows):
        for name, values in pieces.items():
            kept.setdefault(name, np.zeros((len(rows), *values.shape[1:]), np.float32))[index] += values
    symbols = np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    tables = _frames(kept, panel, symbols, member.model)
    if "past" in kept:
        lag = np.arange(member.context)[::-1]
        table = _long(kept["past"], {"symbol": symbols, "lag": lag, "input": _past_names(panel)})
        bars = rows[:, None] - lag
        table.insert(1, "date", np.repeat(panel.date[bars].ravel(), kept["past"].shape[-1]))
        tables["past"] = table
    return tables


def _frames(kept: dict[str, np.ndarray], panel: Panel, symbols: np.ndarray, model: Any) -> dict[str, pd.DataFrame]:
    """The tables that carry no dates."""
    horizon, context = model.config.horizon, model.config.context
    steps, out = np.arange(1, horizon + 1), {}
    if "attention" in kept:
        lags = np.r_[np.arange(context)[::-1], -steps]
        table = _long(kept["attention"], {"symbol": symbols, "step": steps, "lag": lags})
        # a step sees the steps before it and itself
        out["attention"] = table[-table["lag"] <= table["step"]].reset_index(drop=True)
        names = panel.inputs
        out["future"] = _long(kept["future"], {"symbol": symbols, "step": steps, "input": names["known"]})
        out["static"] = _long(kept["static"], {"symbol": symbols, "input": names["static"]})
    if "parts" in kept:
        stacks = [BASELINE, *(f"stack {i}: {k} bars" for i, k in enumerate(model.config.pools, 1))]
        by = {"symbol": symbols, "step": steps, "stack": stacks}
        table = _long(kept["parts"][..., 0], by).rename(columns={"weight": "median"})
        out["parts"] = table.assign(width=kept["parts"][..., 1].ravel())
    return out


def _past_names(panel: Panel) -> tuple[str, ...]:
    return (*panel.inputs["observed"], *panel.inputs["known"])


def _long(values: np.ndarray, by: Mapping[str, Any]) -> pd.DataFrame:
    """An array with an axis for each key of `by` as a tidy frame with the column `weight`."""
    grids = np.meshgrid(*(np.arange(len(v)) for v in by.values()), indexing="ij")
    columns = {k: np.asarray(v)[g.ravel()] for (k, v), g in zip(by.items(), grids)}
    return pd.DataFrame({**columns, "weight": np.asarray(values, float).ravel()})


def permutation_importance(
    model: Any,
    panel: Panel,
    rows: np.ndarray,
    seed: int = 0,
    repeats: int = 1,
    groups: Mapping[str, tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """Rise of the mean pinball loss over the origins `rows` when an input belongs to other dates.

    Within the stretch of bars that a symbol's origins see, the input's column is rotated by a random number of bars:
    a permutation that keeps each value's neighbours, so that the network sees histories of a kind that it knows.
    `groups` names sets of inputs that move together (FAMILIES, for one); None takes each input alone, and
    understates those whose news others carry too. Known inputs can be named as well as observed ones.
    Returns a frame with columns input, rise (pinball loss × 10⁴ of the log return, mean of `repeats`), spread
    (half the range of them) and percent (of the loss itself), largest first.
    """
    member = model if hasattr(model, "quantiles") else Network(model)
    inputs = {"observed": panel.inputs["observed"], "known": panel.inputs["known"]}
    groups = {name: (name,) for name in inputs["observed"]} if groups is None else groups
    if unknown := {n for g in groups.values() for n in g} - {*F.OBSERVED, *F.KNOWN}:
        raise ConfigError(f"There is no input {min(unknown)!r} to permute; see panel.inputs.")
    generator = np.random.default_rng(seed)
    base, found = _loss(member, panel, rows), []
    for name, members in groups.items():
        if not any(m in names for m in members for names in inputs.values()):
            continue  # this panel does without the whole group
        rises = [
            _loss(member, _rotated(panel, rows, members, member.context, generator), rows) - base
            for _ in range(repeats)
        ]
        mean = float(np.mean(rises))
        found.append((name, mean, (max(rises) - min(rises)) / 2, 100 * mean / base if base > 0 else np.nan))
    table = pd.DataFrame(found, columns=["input", "rise", "spread", "percent"])
    return table.sort_values("rise", ascending=False, ignore_index=True)


def _loss(member: Any, panel: Panel, rows: np.ndarray) -> float:
    """Mean pinball loss × 10⁴ of the log returns from the origins `rows`, where the outcome is known."""
    loss = pinball_loss(member.quantiles(panel, rows), panel.outcomes(rows), member.levels)
    return float(1e4 * np.nanmean(loss))


def _rotated(
    panel: Panel, rows: np.ndarray, names: tuple[str, ...], context: int, generator: np.random.Generator
) -> Panel:
    """`panel` with the named inputs rotated, by symbol, within the bars that the origins `rows` see."""
    changed = {k: np.array(getattr(panel, k)) for k in ("observed", "known")}
    symbol = panel.symbol_of(rows)
    for s in np.unique(symbol):
        own = rows[symbol == s]
        first, last = max(own.min() - context + 1, panel.start[s]), own.max()
        size = last - first + 1
        shift = int(generator.integers(size // 4, max(size - size // 4, size // 4 + 1)))
        for kind, values in changed.items():
            columns = [i for i, n in enumerate(panel.inputs[kind]) if n in names]
            end = last + 1 + (panel.config.horizon if kind == "known" else 0)
            values[first:end, columns] = np.roll(values[first:end, columns], shift, axis=0)
    return replace(panel, **changed)
