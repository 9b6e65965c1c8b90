"""Questions that paths answer: what may be lost, what is touched, how wide a bar is.

Forecast's methods say what is given and returned. By n paths a probability p is known within
sqrt(p (1 − p) / n), and that of a close much better, since closes are stratified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.names import listed
from ..errors import ConfigError, quoted
from .paths import COLUMNS, Paths, paths_of

if TYPE_CHECKING:
    from .result import Forecast

SIDES = {"long": 1.0, "short": -1.0}


def asked(
    forecast: Forecast,
    weights: Mapping[str, float] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Paths:
    """The paths of each symbol, or of the portfolio that they make by their weights.

    A portfolio's are closes of a symbol whose last one is 1. Raises ConfigError on a weight of a
    symbol that is not there, or that is no number.
    """
    paths = paths_of(forecast, n, seed)
    if weights is None:
        return paths
    share = _by_symbol("weight", weights, paths)
    held, weight = [*share], _numbers(share.values())
    if not held or not np.isfinite(weight).all():
        raise ConfigError(f"The weights are {quoted(weights)}; give a number by symbol.")
    gain = paths.bars["close"][:, held] / paths.last[held, None] - 1  # [H, k, n]
    value = 1 + np.einsum("k,hkn->hn", weight, gain)[:, None]
    bars = {name: np.full_like(value, np.nan) for name in COLUMNS} | {"close": value}
    name, origin, date = "portfolio", paths.origin[held[:1]], paths.date[:, held[:1]]
    warnings = {symbol: paths.warnings[symbol] for symbol in paths.symbol[held]}
    if (paths.origin[held] != origin).any():
        warnings[name] = ["The portfolio's symbols differ in dates; a step is a bar of each."]
    return Paths(np.array([name], object), origin, np.ones(1), date, bars, warnings)


def value_at_risk(paths: Paths, position: float | str, levels: Sequence[float]) -> pd.DataFrame:
    """What is lost with the probabilities `levels`, and on average beyond (Forecast.risk)."""
    size = _number(SIDES.get(position) if isinstance(position, str) else position)
    if not np.isfinite(size) or size == 0:
        raise ConfigError(
            f"The position is {quoted(position)}; give an amount other than 0, 'long' or 'short'."
        )
    gain = size * (paths.bars["close"] / paths.last[:, None] - 1)
    loss = -np.sort(gain, axis=-1)  # largest first
    total = np.cumsum(loss, axis=-1)
    tables = []
    for level in _levels(levels):
        var = np.quantile(loss, 1 - level, axis=-1, method="hazen")
        count = max(level * loss.shape[-1], 1.0)  # of losses beyond; the last counts in part
        last = int(np.ceil(count - 1e-9)) - 1
        beyond = total[..., last] - (last + 1 - count) * loss[..., last]
        tables.append(_rows(paths, level=level, var=var, es=beyond / count))
    return _joined(tables, paths)


def touch_probability(paths: Paths, price: Any, percent: Any) -> pd.DataFrame:
    """How probable it is that a bar touches a level by each step (Forecast.touch)."""
    if (price is None) == (percent is None):
        raise ConfigError("A level is given as a price or in percent; give one of the two.")
    if percent is None:
        levels = _by_symbol("price", price, paths)
    else:
        levels = {k: last * (1 + _numbers(percent) / 100) for k, last in enumerate(paths.last)}
    highest = np.maximum.accumulate(paths.bars["high"], axis=0)
    lowest = np.minimum.accumulate(paths.bars["low"], axis=0)
    tables = []
    for k, value in _each(levels):
        above = value >= paths.last[k]
        reach = (highest if above else lowest)[:, [k]]
        columns = {
            "price": value,
            "percent": 100 * (value / paths.last[k] - 1),
            "side": "above" if above else "below",
            "probability": _share(reach >= value if above else reach <= value, reach),
        }
        tables.append(_rows(paths, [k], **columns))
    return _joined(tables, paths)


def bar_range(paths: Paths, levels: Sequence[float], step: int) -> pd.DataFrame:
    """Quantiles of a bar's high, low and high ÷ low (Forecast.range)."""
    wanted = _levels(levels)
    steps = len(paths.date)
    if not isinstance(step, int | np.integer) or not 1 <= step <= steps:
        raise ConfigError(f"The step is {quoted(step)}; the forecast has steps 1 to {steps}.")
    high, low = paths.bars["high"], paths.bars["low"]
    tables = []
    for what, values in {"high": high, "low": low, "high ÷ low": high / low}.items():
        found = np.quantile(values, wanted, axis=-1)  # [L, H, K]
        tables.append(_rows(paths, what=what, **{f"{q:.12g}": x for q, x in zip(wanted, found)}))
    frame = _joined(tables, paths)
    return frame[frame["step"] == step].reset_index(drop=True)


def close_probability(paths: Paths, above: Any, below: Any) -> pd.DataFrame:
    """How probable a rise is, or a close beyond a price (Forecast.probability)."""
    given = {"above": above, "below": below}
    events = {name: _by_symbol("price", p, paths) for name, p in given.items() if p is not None}
    tables = []
    for event, levels in (events or {"up": dict(enumerate(paths.last))}).items():
        for k, value in _each(levels):
            close = paths.bars["close"][:, [k]]
            hit = _share(close < value if event == "below" else close > value, close)
            tables.append(_rows(paths, [k], event=event, price=value, probability=hit))
    return _joined(tables, paths)


# --- what is given


def _number(value: Any) -> float:
    """A finite number; NaN for anything else."""
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return float(value) if numeric and np.isfinite(value) else float("nan")


def _numbers(values: Any) -> np.ndarray:
    """One number or several."""
    one = isinstance(values, str) or not hasattr(values, "__iter__")
    return np.array([_number(value) for value in ([values] if one else values)])


def _levels(values: Any) -> list[float]:
    levels = _numbers(values)
    if not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ConfigError(f"The levels are {quoted(values)}; give numbers between 0 and 1.")
    return levels.tolist()


def _each(levels: Mapping[int, Any]) -> Iterator[tuple[int, float]]:
    """The number of a symbol and a price, for each of its prices; raises ConfigError."""
    for k, given in levels.items():
        prices = _numbers(given)
        if not prices.size or not (prices > 0).all():
            raise ConfigError(f"The level {quoted(given)} is no price; give numbers above 0.")
        yield from ((k, price) for price in prices.tolist())


def _by_symbol(what: str, given: Any, paths: Paths) -> dict[int, Any]:
    """What is given for each symbol, by its number; raises ConfigError."""
    names = paths.symbol.tolist()
    if not isinstance(given, Mapping):
        if len(names) == 1:
            return {0: given}
        raise ConfigError(f"There are {len(names)} symbols; give a {what} by symbol, as a dict.")
    unknown = [quoted(name) for name in given if name not in names]
    if unknown:
        raise ConfigError(
            f"A {what} is of {listed(unknown)}; the symbols forecast are {listed(names)}."
        )
    return {names.index(name): value for name, value in given.items()}


# --- the answer


def _share(hit: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The share [H, K] of paths, NaN where what it is of isn't `known`, [H, K, n] each."""
    return np.where(np.isnan(known[..., 0]), np.nan, hit.mean(-1))


def _rows(paths: Paths, which: Any = slice(None), **columns: Any) -> dict[str, np.ndarray]:
    """A row a step of the symbols `which`, of columns [H, K] or one value for all."""
    date = paths.date[:, which]
    head = {
        "symbol": np.repeat(paths.symbol[which], len(date)),
        "step": np.tile(np.arange(1, len(date) + 1), date.shape[1]),
        "date": date.T.ravel(),
    }
    return head | {k: np.broadcast_to(v, date.shape).T.ravel() for k, v in columns.items()}


def _joined(tables: list[dict[str, np.ndarray]], paths: Paths) -> pd.DataFrame:
    """One frame, symbol by symbol, with the warnings."""
    frame = pd.DataFrame({name: np.concatenate([t[name] for t in tables]) for name in tables[0]})
    order = pd.Index(paths.symbol).get_indexer(frame["symbol"])
    frame = frame.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
    frame.attrs["warnings"] = paths.told
    return frame
