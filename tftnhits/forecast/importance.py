"""Permutation importance: what the loss would be without an input's timing, to one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..data import features as F
from ..data.windows import Panel
from ..errors import ConfigError
from .ensemble import Network, pinball_loss

# Inputs that carry nearly the same news; permuting one alone leaves it to the others
FAMILIES: dict[str, tuple[str, ...]] = {
    "the bar itself": ("return", "overnight", "intraday", "range"),
    "volatility": tuple(f"volatility_{a}" for a in F.ALPHAS),
    "recent shocks": tuple(f"shock_{n}" for n in F.RECENT),
    "volume": F.VOLUME,
    "market": F.MARKET,
    "last year's shocks": F.HISTORY,
    "calendar": F.KNOWN,
}


def varying(
    panel: Panel, rows: np.ndarray, context: int, group: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Whether each input varies, bool [G, F] by kind, over all that a group's origins see.

    "past" are the observed and the known inputs of the contexts' bars, "future" the known ones of
    the steps ahead, "static" those of the symbols. An input that never varies tells none
    of them from another, whatever its weight. `group` [K] is of the origins `rows` [K], the same
    for all of a symbol; None: all are one.
    """
    group = np.zeros(len(rows), int) if group is None else group
    symbol, ends = panel.symbol_of(rows), {}
    for s in np.unique(symbol):
        origins, place = rows[symbol == s], int(group[symbol == s][0])
        past = slice(max(origins.min() - context + 1, panel.start[s]), origins.max() + 1)
        ahead = slice(origins.min() + 1, origins.max() + 1 + panel.config.horizon)
        seen = {
            "past": np.hstack([panel.observed[past], panel.known[past]]),
            "future": panel.known[ahead],
            "static": panel.static[s][None],
        }
        for kind, values in seen.items():
            both = [np.fmin.reduce(values), np.fmax.reduce(values)]
            ends.setdefault(kind, {}).setdefault(place, []).extend(both)
    return {
        kind: np.stack([np.ptp(by_group[g], axis=0) > 0 for g in sorted(by_group)])
        for kind, by_group in ends.items()
    }


def permutation_importance(
    model: Any,
    panel: Panel,
    rows: np.ndarray,
    seed: int = 0,
    repeats: int = 1,
    groups: Mapping[str, tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """Rise of the mean pinball loss over the origins `rows` [K] when an input is of other dates.

    Within the stretch of bars that a symbol's origins see, the input's column is rotated by a
    random number of bars: a permutation that keeps each value's neighbours, so that the network
    sees histories of a kind that it knows.

    `model` is a torch module or any member. `groups` names sets of observed and known inputs that
    move together (FAMILIES, for one); None takes each observed input alone, and understates those
    whose news others carry too. A user's own inputs stand alone in any case, unless a group has
    them. An input that never varies here has nothing to permute and is left out. Raises ConfigError
    on an input that there is not.

    Returns
    -------
    DataFrame
        input, rise (pinball loss × 10⁴ of the log return, mean of `repeats`), spread (standard
        deviation over them, NaN of one) and percent (of the loss itself), largest first.
    """
    member = model if hasattr(model, "quantiles") else Network(model)
    names = (*panel.inputs["observed"], *panel.inputs["known"])
    varies = varying(panel, rows, member.context)["past"][0]
    inputs = {name for name, moves in zip(names, varies) if moves}
    groups = groups or {name: (name,) for name in panel.inputs["observed"]}
    grouped, own = {name for names in groups.values() for name in names}, panel.config.extra
    if unknown := grouped - {*F.OBSERVED, *F.KNOWN, *own}:
        raise ConfigError(f"There is no input {min(unknown)!r} to permute; see panel.inputs.")
    groups = {**groups, **{name: (name,) for name in own if name not in grouped}}
    generator = np.random.default_rng(seed)
    base = _loss(member, panel, rows)
    table = []
    for group, names in groups.items():
        if inputs.isdisjoint(names):
            continue
        changed = (_rotated(panel, rows, names, member.context, generator) for _ in range(repeats))
        rises = [_loss(member, one, rows) - base for one in changed]
        rise = float(np.mean(rises))
        spread = float(np.std(rises, ddof=1)) if repeats > 1 else np.nan
        percent = 100 * rise / base if base > 0 else np.nan
        table.append({"input": group, "rise": rise, "spread": spread, "percent": percent})
    return pd.DataFrame(table).sort_values("rise", ascending=False, ignore_index=True)


def _loss(member: Any, panel: Panel, rows: np.ndarray) -> float:
    """Mean pinball loss × 10⁴ of the log returns from the origins, where the outcome is known."""
    loss = pinball_loss(member.quantiles(panel, rows), panel.outcomes(rows), member.levels)
    return float(1e4 * np.nanmean(loss))


def _rotated(
    panel: Panel, rows: np.ndarray, names: tuple[str, ...], context: int, generator: Any
) -> Panel:
    """`panel` with the inputs rotated, by symbol, within the bars that the origins `rows` see."""
    changed = {"observed": np.array(panel.observed), "known": np.array(panel.known)}
    columns = {k: [i for i, n in enumerate(panel.inputs[k]) if n in names] for k in changed}
    symbol = panel.symbol_of(rows)
    for s in np.unique(symbol):
        origins = rows[symbol == s]
        first, last = max(origins.min() - context + 1, panel.start[s]), origins.max()
        size = last - first + 1
        shift = int(generator.integers(size // 4, max(size - size // 4, size // 4 + 1)))
        stop = {"observed": last + 1, "known": last + 1 + panel.config.horizon}
        for kind, values in changed.items():
            block = np.s_[first : stop[kind], columns[kind]]
            values[block] = np.roll(values[block], shift, axis=0)
    return replace(panel, **changed)
