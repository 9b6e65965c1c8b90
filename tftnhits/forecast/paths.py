"""Paths: whole bars of the next steps drawn together, as the symbol's own bars hung together.

A path copies a template, which is one of the symbol's own past origins whose outcomes are known by
now. At each step the template of the r-th smallest standardised outcome of n gets the r-th of n
stratified draws from the calibrated quantile function: so each step's closes follow the forecast,
and the steps hang together as they did then (Schaake shuffle, Clark et al. 2004; ensemble copula
coupling, Schefzik et al. 2013). That function is linear in normal scores between the levels, with
generalised-Pareto tails beyond. Gap and wicks of a bar are the template's, times the size of moves
now over that of then; its volume departs from its base as the template's did. Symbols of one origin
date share template dates, weighted so that they are as correlated as they were of late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import ndtr, ndtri

from ..data.windows import Panel
from ..errors import ConfigError, quoted
from .result import quantile_columns

if TYPE_CHECKING:
    from .result import Forecast

WINDOW = 500  # last origins with known outcomes, which are the templates
LEAST = 60  # of them that whole bars take
BARE = 0.1  # share of bars without wicks from which it is said
WARM = 20  # first bars of a symbol, whose scale is not its own yet
FAR = 8.0  # units of volatility beyond which a gap, a wick or a move is a bad print
SHAPE = 0.3  # of the generalised-Pareto tails
NEAR = 4.0  # times the outermost probability, up to which a line gives their steepness
HALF_LIFE = 30  # bars that halve the weight of what correlation was
STEEPEST = 8.0  # the weights' exponent, by a template's correlation
RECENT = 20  # bars whose mean log volume is half of the base
SURGE = 4.0  # log volume from its base at most
BLOCK = 64  # origins drawn for at a time, which bounds memory
FINITE = (1e-290, 1e290)  # prices
SHAPED = ("open", "high", "low")
COLUMNS = (*SHAPED, "close", "volume")


class History(NamedTuple):
    """What each row of a panel tells as a template, NaN where there is no bar; logs of prices."""

    panel: Panel
    target: np.ndarray  # [H, R] standardised outcome of the steps
    unit: np.ndarray  # [H, R] volatility of each bar ahead, as forecast at the row
    move: np.ndarray  # [R] close over the close before
    gap: np.ndarray  # [R] open over the close before
    up: np.ndarray  # [R] high over the larger of open and close
    down: np.ndarray  # [R] the smaller of open and close over low
    volume: np.ndarray  # [R]
    base: np.ndarray  # [R] volume to be expected after the bar


@dataclass(frozen=True)
class Paths:
    """Drawn bars of K origins."""

    symbol: np.ndarray  # [K]
    origin: np.ndarray  # [K]
    last: np.ndarray  # [K] close at the origin
    date: np.ndarray  # [H, K]
    bars: dict[str, np.ndarray]  # by COLUMNS, [H, K, n]; NaN where they can't be told
    warnings: dict[str, list[str]]  # by symbol, why something is missing

    @property
    def told(self) -> list[str]:
        """All warnings."""
        return [sentence for some in self.warnings.values() for sentence in some]

    def frame(self) -> pd.DataFrame:
        """Tidy: symbol, origin, path, step, date, open, high, low, close, volume."""
        steps, origins, n = self.bars["close"].shape
        code = np.repeat(np.arange(origins), n * steps)
        columns = {
            "symbol": pd.Categorical.from_codes(code, pd.Index(self.symbol)),
            "origin": self.origin[code],
            "path": np.tile(np.repeat(np.arange(n), steps), origins),
            "step": np.tile(np.arange(1, steps + 1), origins * n),
            "date": np.broadcast_to(self.date.T[:, None], (origins, n, steps)).ravel(),
        }
        columns |= {name: self.bars[name].transpose(1, 2, 0).ravel() for name in COLUMNS}
        frame = pd.DataFrame(columns, copy=False)
        frame.attrs["warnings"] = self.told
        return frame


def paths_of(forecast: Forecast, n: int = 1000, seed: int = 0) -> Paths:
    """Paths from each symbol's last origin; what is missing is said in the reports, too.

    Raises ConfigError if n or seed is no whole number, or n is not positive.
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            raise ConfigError(f"{name} is {quoted(value)}; give a whole number from {least} on.")
    _, panel, rows = forecast.source
    last = np.flatnonzero(np.diff(panel.symbol_of(rows), append=-1))
    names = quantile_columns(forecast.frame)
    price = forecast.frame[names].to_numpy().reshape(len(rows), panel.steps, len(names))
    rows = rows[last]
    move = np.log(price[last] / panel.close[rows, None, None])
    levels = tuple(map(float, names))
    paths = draw(history(panel, forecast.bars), rows, move, levels, n, seed)
    for symbol, sentences in paths.warnings.items():
        known = forecast.reports[symbol].warnings
        known += [sentence for sentence in sentences if sentence not in known]
    return paths


def history(panel: Panel, bars: pd.DataFrame) -> History:
    """The templates of a panel, from the validated bars that it was made of."""
    # a panel may hold but the last bars of a symbol, and symbols that a page's forecast leaves out
    end = bars.groupby("symbol", sort=False).size().cumsum()
    place = np.full(len(panel.close), len(bars))
    for name, start, length in zip(panel.symbols, panel.start, panel.length, strict=True):
        if name in end:
            place[start : start + length] = np.arange(end[name] - length, end[name])
    with np.errstate(divide="ignore", invalid="ignore"):
        log = {k: np.log(np.append(bars[k].to_numpy(float), np.nan))[place] for k in COLUMNS}
    before = np.r_[np.nan, log["close"][:-1]]  # rows without a bar stand between symbols
    volume = np.where(np.isfinite(log["volume"]), log["volume"], np.nan)
    late = sliding_window_view(np.r_[np.full(RECENT - 1, np.nan), volume], RECENT)
    mean = np.nansum(late, axis=1) / np.maximum(np.isfinite(late).sum(1), 1)
    variance = np.asarray(panel.scale, float) ** 2 * np.arange(1, panel.steps + 1)
    return History(
        panel=panel,
        target=np.ascontiguousarray(np.asarray(panel.target).T),
        unit=np.sqrt(np.diff(variance, axis=1, prepend=0.0).T),
        move=log["close"] - before,
        gap=log["open"] - before,
        up=log["high"] - np.maximum(log["open"], log["close"]),
        down=np.minimum(log["open"], log["close"]) - log["low"],
        volume=volume,
        base=(mean + np.where(np.isfinite(volume), volume, mean)) / 2,
    )


# --- templates


def templates(
    past: History, rows: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Template rows [K, n] of the origins `rows` [K], and of how many each was drawn [K].

    Where a symbol has no bar of a date that others share, another of its own stands for it.
    """
    date, back = past.panel.date, past.panel.steps
    first = past.panel.start[past.panel.symbol_of(rows)] + WARM
    first = np.maximum(first, rows - back - WINDOW + 1)
    count = np.maximum(rows - back + 1 - first, 0)
    offset, order, spare = rng.random(), rng.permutation(n), rng.random(n)
    drawn = np.zeros((len(rows), n), int)
    enough = count >= LEAST
    for day in pd.unique(date[rows[enough]]):
        group = np.flatnonzero(enough & ((date[rows] == day) | np.isnat(day)))
        own = [np.arange(first[k], rows[k] - back + 1) for k in group]
        # what symbols share: dates, or without them the bars up to the origin
        clock = [r - rows[k] if np.isnat(day) else date[r] for k, r in zip(group, own)]
        longest = clock[np.argmax(count[group])]
        found = np.full((len(group), len(longest)), -1)
        for k, mine in enumerate(own):
            _, here, there = np.intersect1d(longest, clock[k], True, return_indices=True)
            found[k, here] = mine[there]
        weight = correlation_weights(past, rows[group], found)
        edges = np.cumsum(weight)[:-1] / weight.sum()  # systematic resampling: as even as can be
        pick = np.searchsorted(edges, (order + offset) / n, side="right")
        picked = found[:, pick]
        other = first[group, None] + (spare * count[group, None]).astype(int)
        drawn[group] = np.where(picked >= 0, picked, other)
    return drawn, count


def correlation_weights(past: History, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Weights of template dates, rows `found` [K, W], under which moves correlate as of late.

    The standardised moves of one date's symbols have a mean product of pairs and a mean square,
    whose ratio is their mean correlation (Engle & Kelly 2012). Its exponential average up to the
    origins `rows` [K] is what exponentially tilted weights aim at.
    """
    weight = np.ones(found.shape[1])
    most = (found >= 0).mean(1) >= 0.5  # a new listing is not to cut the others' past
    rows, found = rows[most], found[most]
    shared = np.flatnonzero((found >= 0).all(0))
    if len(rows) < 2 or len(shared) < LEAST:
        return weight
    late = rows[:, None] - np.arange(1, len(past.target))  # known outcomes of a step
    known = np.hstack([found[:, shared], late[:, ::-1]])
    product, square = _pairs(past.target[:1, known])
    decay = 0.5 ** (np.arange(known.shape[1])[::-1] / HALF_LIFE)
    aim = (decay @ product) / (decay @ square)
    product, square = _pairs(past.target[:, found[:, shared]])
    tilts = np.linspace(-STEEPEST, STEEPEST, 100)[:, None]
    tilted = np.exp(tilts * product / square)
    tilt = np.interp(aim, (tilted @ product) / (tilted @ square), tilts[:, 0])
    weight[:] = 0.0
    weight[shared] = np.exp(tilt * product / square)
    return weight


def _pairs(outcome: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean product of two symbols' outcomes [H, K, W], and their mean square, [W] each."""
    outcome = np.clip(outcome, -FAR / 2, FAR / 2)
    squares, count = (outcome**2).sum(1), outcome.shape[1]
    product = (outcome.sum(1) ** 2 - squares) / (count * (count - 1))
    return product.mean(0), squares.mean(0) / count + 1e-9


# --- bars


def draw(
    past: History,
    rows: np.ndarray,
    move: np.ndarray,
    levels: tuple[float, ...],
    n: int,
    seed: int,
) -> Paths:
    """n paths from the origins `rows` [K], whose log returns at `levels` are `move` [K, H, Q]."""
    panel, rng = past.panel, np.random.default_rng(seed)
    steps = np.arange(1, panel.steps + 1)[:, None]
    low, high, share = _strata(levels, n, rng)
    template, count = templates(past, rows, n, rng)
    bars = {name: np.empty((len(steps), len(rows), n)) for name in COLUMNS}
    for first in range(0, len(rows), BLOCK):
        part = slice(first, first + BLOCK)
        quantiles = move[part].swapaxes(0, 1)  # [H, k, Q]
        start = quantiles[..., low]
        grid = start + share * (quantiles[..., high] - start)  # ascending [H, k, n]
        outcome = past.target[:, template[part]]
        few = count[part] < LEAST  # steps hang together as a random walk's
        outcome[:, few] = np.cumsum(rng.standard_normal(outcome[:, few].shape), axis=0)
        closes = np.empty(grid.shape)
        np.put_along_axis(closes, np.argsort(outcome, axis=-1), grid, axis=-1)
        for name, values in _bars(past, rows[part], template[part], closes).items():
            bars[name][:, part] = values
    names = np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    undated = np.isnat(panel.date[rows]).any()
    origin = panel.number(rows) if undated else panel.date[rows]
    warnings = _blanked(past, names, template, count, bars)
    return Paths(names, origin, panel.close[rows], panel.date[rows + steps], bars, warnings)


def _strata(
    levels: tuple[float, ...], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where n stratified draws lie: between which two of `levels`, and how far along, [n] each.

    In a tail these two are the outermost level and that of NEAR times its probability. Their line
    goes on, to scores that make the tail generalised Pareto, as steep at its start as the line.
    """
    level = (np.arange(n) + np.maximum(rng.random(n), 1e-9)) / n
    score, base = ndtri(level), ndtri(levels)
    low = np.clip(np.searchsorted(base, score) - 1, 0, len(base) - 2)
    high = low + 1
    near = np.searchsorted(levels, NEAR * levels[0])
    lines = ((-1, level, 0, near), (1, 1 - level, len(base) - 1 - near, len(base) - 1))
    for side, tail, first, last in lines:
        end = base[first] if side < 0 else base[last]
        outer = ndtr(side * -end)  # probability beyond it
        beyond = tail < outer
        low[beyond], high[beyond] = first, last
        slope = outer * np.sqrt(2 * np.pi) * np.exp(end**2 / 2)
        score[beyond] = end + side * slope * ((outer / tail[beyond]) ** SHAPE - 1) / SHAPE
    return low, high, (score - base[low]) / (base[high] - base[low])


def _bars(
    past: History, rows: np.ndarray, template: np.ndarray, closes: np.ndarray
) -> dict[str, np.ndarray]:
    """Bars [H, k, n] like those after `template` rows [k, n], with `closes` in logs from now."""
    ahead = template + np.arange(1, len(closes) + 1)[:, None, None]
    unit = past.unit[:, template]
    # The size of moves now, a unit of the template's
    then = np.minimum(np.abs(past.move[ahead]) / unit, FAR).mean(-1, keepdims=True)
    now = np.abs(np.diff(closes, axis=0, prepend=0.0)).mean(-1, keepdims=True)
    now = now / np.maximum(then, 1 / FAR)
    parts = [now * np.clip(x[ahead] / unit, -FAR, FAR) for x in (past.gap, past.up, past.down)]
    gap, up, down = np.minimum(parts, FAR)
    last = past.panel.close[rows][:, None]
    before = np.concatenate([np.zeros_like(closes[:1]), closes[:-1]])
    price = {"open": last * np.exp(before + gap), "close": last * np.exp(closes)}
    price = {name: np.clip(values, *FINITE) for name, values in price.items()}
    high = np.maximum(*price.values()) * np.exp(np.maximum(up, 0.0))
    low = np.minimum(*price.values()) * np.exp(-np.maximum(down, 0.0))
    surge = np.clip(past.volume[ahead] - past.base[template], -SURGE, SURGE)
    volume = np.exp(past.base[rows][:, None] + np.nan_to_num(surge))
    return price | {"high": high, "low": low, "volume": volume}


def _blanked(
    past: History, names: np.ndarray, template: np.ndarray, count: np.ndarray, bars: dict
) -> dict[str, list[str]]:
    """By symbol, why it lacks a part of `bars`, which becomes NaN there."""
    ahead = template[:, :WINDOW] + 1
    # as bars are whose missing cells were filled
    bare = (past.up + past.down == 0)[ahead].mean(-1)
    few = count < LEAST
    lacking = {
        f"has fewer than {LEAST} past origins with known outcomes, so its paths are closes alone, "
        "whose steps are a random walk's": few,
        "has bars without a high and low of their own, so its paths lack open, high and low": (
            ~few & (bare > 0.5)
        ),
        "has no volume, so its paths have none": ~few
        & (np.isnan(past.volume[ahead]).mean(-1) > 0.5),
    }
    few, flat, silent = lacking.values()
    for name, lost in {"volume": few | silent, **dict.fromkeys(SHAPED, few | flat)}.items():
        bars[name][:, lost] = np.nan
    warnings: dict[str, list[str]] = {name: [] for name in names}
    for why, lost in lacking.items():
        for name in names[lost]:
            warnings[name].append(f"{name} {why}.")
    for name in names[~few & ~flat & (bare > BARE)]:
        why = "has many bars without a high and low of their own, so its touches may be too rare"
        warnings[name].append(f"{name} {why}.")
    return warnings
