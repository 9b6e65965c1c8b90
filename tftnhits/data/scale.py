"""The volatility scale: the size of move that a bar and the next ones make, as known at the bar.

A pooled HAR regression (Corsi 2009) on range volatilities (Garman & Klass 1980), by four means fit
for any market and bar length: its slopes sum to one, so that it reverts to the symbol's own long
average and to no market's level; the season of the session is divided out and put back; the
coefficients are drawn from the pool's to the symbol's own as its history grows; and so is how far
closes move for such a range. All of it is causal to the bit, on padded arrays [S, T] (symbol, bar
number).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .patterns import INTRADAY

ALPHAS = (0.5, 0.15, 0.05, 0.015)  # decay of the volatility averages, about 1, 6, 20 and 66 bars
SLOWEST = len(ALPHAS) - 1
SPAN = 64  # bars that are summed at once: decay^-SPAN is to be far from overflow
RETURN_ALPHA = 0.06  # RiskMetrics' 0.94
LONG_ALPHA = 0.001  # of the average to which volatility reverts
HAR_STEPS = 5  # HAR forecasts the mean of the next five bars
HAR_SIZE = 2 + len(ALPHAS)  # of its coefficients: one, and the other averages less the slowest
FLOOR = 1e-14  # variance of a bar that did not move; keeps logarithms finite
# The season of the session
PART = np.timedelta64(30, "m")  # of a day, whose bars have a variance of their own
PARTS = 48
LONG_GAP = 2.5  # times the usual time between bars, from which on a bar comes after a gap
SEASON_DECAY = 0.5 ** (1 / 250)  # a part's own bars that halve the weight
SEASON_PRIOR = 20  # bars that say there is no season
LARGEST_RATIO = 8.0  # of a bar's variance to the average
# Own history: chosen on validation over six markets (daily and hourly)
OWN_DECAY = 0.5 ** (1 / 1000)  # bars that halve the weight
OWN_PRIOR = 500  # bars that the pool's coefficients count for
RIDGE = 1e-4  # where bars that never move tell nothing
LARGEST_ERROR = 1.5  # of log volatility: a stray print is no news
REACH = 0.75  # mean move from close to close in units of the scale; smaller than a Gaussian's .8
REACH_PRIOR = 250  # bars that it counts for
LARGEST_MOVE = 4.0  # in such units: a stray print is no news
BLOCK = 1 << 16  # bars solved for at a time, which bounds memory


class Scale(NamedTuple):
    """What the bars' volatility tells, [S, T] symbol and bar number."""

    sigma: np.ndarray  # [S, T] volatility of the next bars, from close to close, without season
    season: np.ndarray  # [S, T, H] float32, variance of the step ahead relative to that of any
    ahead: np.ndarray  # [S, T] volatility of the next bar, with season
    averages: np.ndarray  # [S, T, 6] logs of past volatility: at ALPHAS, of returns, the long one
    har: np.ndarray  # [6] the pool's coefficients
    moments: np.ndarray  # [6, 6] mean product of HAR's inputs in the pool

    def by_step(self) -> np.ndarray:
        """Volatility of the return over h bars, over √h, [S, T, H] float32."""
        out = np.cumsum(self.season, axis=-1)
        out /= np.arange(1, out.shape[-1] + 1, dtype=np.float32)
        np.sqrt(out, out=out)
        out *= self.sigma[..., None].astype(np.float32)
        return out


def volatility_scale(
    variance: np.ndarray,
    returns: np.ndarray,
    slot: np.ndarray,
    train: np.ndarray | None = None,
    fitted: dict[str, np.ndarray] | None = None,
    place: np.ndarray | None = None,
) -> Scale:
    """The scale of bars; its HAR is `fitted`, or else fitted on the bars `train` [S, T].

    variance, returns : [S, T] of bars, NaN where there is none
    slot : [S, T+H] part of the session (`session_slots`), H bars ahead too; -1 for none
    place : [S, K] numbers of the bars whose season ahead is wanted; None for all of them
    """
    bars = np.broadcast_to(np.arange(variance.shape[1]), variance.shape)
    place = bars if place is None else place
    past, after, before = _seasons(variance, slot)
    following = _season_ahead(after, before, bars, 1)[..., 0]
    calm = variance / past
    averages = _log_averages(calm, returns**2 / past)
    design, rest = _regression(averages, calm)
    if fitted is None:
        har, moments = fit_har(design, rest, train)
    else:
        har, moments = np.asarray(fitted["har"], float), np.asarray(fitted["moments"], float)
    own = _own_har(design, rest, har, moments)
    sigma = np.exp(averages[..., SLOWEST] + (design * own).sum(-1))
    season = _season_ahead(after, before, place, slot.shape[1] - variance.shape[1])
    ahead = sigma * np.sqrt(following)
    reach = _reach(ahead, returns)
    return Scale(sigma * reach, season, ahead * reach, averages, har, moments)


def _reach(ahead: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """How far closes moved for what was `ahead` [S, T], relative to a usual symbol's, [S, T].

    Ranges do not tell it all: an index opens where it closed, so its gaps are in no range.
    """
    moved = np.full(returns.shape, np.nan)
    moved[:, 1:] = np.abs(returns[:, 1:]) / ahead[:, :-1]
    seen = np.isfinite(moved)
    moved = np.where(seen, np.minimum(moved, LARGEST_MOVE), 0.0)
    total = REACH_PRIOR * REACH + decayed_sums(moved, OWN_DECAY)
    return total / (REACH_PRIOR + decayed_sums(seen, OWN_DECAY)) / REACH


def decayed_sums(x: np.ndarray, decay: float) -> np.ndarray:
    """y[:, t] = x[:, t] + decay · y[:, t - 1], of x [S, T, ...]; `decay` is from 0.5 to 1.

    Within a block it is a running sum of x[t] / decay^t, which is small enough; each block begins
    with the end of the one before.
    """
    symbols, size, *rest = x.shape
    blocks = -(-size // SPAN)
    sums = np.zeros((symbols, blocks * SPAN, *rest))
    sums[:, :size] = x
    tiles = sums.reshape(symbols, blocks, SPAN, math.prod(rest))  # a view
    power = decay ** np.arange(SPAN)[:, None]
    tiles /= power
    np.cumsum(tiles, axis=2, out=tiles)
    tiles *= power
    for block in range(1, blocks):
        tiles[:, block] += decay * power * tiles[:, block - 1, -1:]
    return sums[:, :size]


def ewma(x: np.ndarray, alpha: float) -> np.ndarray:
    """Bias-corrected exponential moving average along the last axis; NaN cells carry no weight.

    x: [S, T]. Returns [S, T], NaN until the first number, and so long after the last that its
    weight underflows.
    """
    seen = np.isfinite(x)
    weight = alpha * decayed_sums(seen, 1 - alpha)
    weight = np.where(weight > 1e-250, weight, np.nan)
    return alpha * decayed_sums(np.where(seen, x, 0.0), 1 - alpha) / weight


# --- the season


def session_slots(times: np.ndarray, step: np.timedelta64) -> np.ndarray:
    """The part of its session that each bar [R] is in: half-hours, and apart those after a gap.

    `times` are by the market's clock, `step` is between bars. Bars of a day or more have one part.
    """
    gap = np.diff(times, prepend=times[:1]) > LONG_GAP * step
    if step >= INTRADAY:
        return gap.astype(np.int16)
    part = (times - times.astype("datetime64[D]")) // PART
    return (part + PARTS * gap).astype(np.int16)


def _seasons(variance: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relative variance of each bar's part of the session, [S, T] as it was known before the bar.

    And what `_by_part` tells of all cells, [S, T+H] each.
    """
    bars = variance.shape[1]
    slow = ewma(variance, ALPHAS[-1])
    ratio = np.full(slot.shape, np.nan)
    ratio[:, 1:bars] = np.minimum(variance[:, 1:] / slow[:, :-1], LARGEST_RATIO)
    after, before = _by_part(ratio, slot)
    past = np.where(before >= 0, after[before], 1.0).reshape(slot.shape)[:, :bars]
    return past, after.reshape(slot.shape), before.reshape(slot.shape)


def _season_ahead(
    after: np.ndarray, before: np.ndarray, place: np.ndarray, steps: int
) -> np.ndarray:
    """Relative variance of the parts of the `steps` bars after those at `place` [S, K].

    [S, K, H] float32, as known there: of the last of their part that is no later than the origin.
    """
    here = place + before.shape[1] * np.arange(len(before))[:, None]
    after, before = after.ravel(), before.ravel()
    season = np.ones((*place.shape, steps), np.float32)
    for step in range(steps):
        last = before[here + step + 1]
        season[..., step] = np.where(last >= 0, after[last], 1.0)
        late = np.nonzero(last > here)  # it lies ahead too, and knows what that one knows
        season[(*late, step)] = season[(*late, (last - here)[late] - 1)]
    return season


def _by_part(ratio: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Averages of `ratio` over the bars of one part, flat over the cells [S · (T+H)].

    After each bar; and the index of the bar of its part before it, -1 for none.
    """
    cells = np.flatnonzero(slot >= 0)
    symbol = cells // slot.shape[1]
    part = symbol * (2 * PARTS) + slot.ravel()[cells]
    order = np.argsort(part, kind="stable")
    cells, part = cells[order], part[order]
    first = np.r_[True, part[1:] != part[:-1]]
    group = np.cumsum(first) - 1
    place = np.arange(len(cells)) - np.flatnonzero(first)[group]
    # One row a part, padded
    rows = np.full((group[-1] + 1, place.max() + 1), np.nan)
    rows[group, place] = ratio.ravel()[cells]
    seen = np.isfinite(rows)
    count = SEASON_PRIOR + decayed_sums(seen, SEASON_DECAY)
    average = (SEASON_PRIOR + decayed_sums(np.where(seen, rows, 0.0), SEASON_DECAY)) / count
    after, before = np.ones(slot.size), np.full(slot.size, -1)
    after[cells] = average[group, place]
    before[cells[1:]] = np.where(first[1:], -1, cells[:-1])
    return after, before


# --- HAR


def _log_averages(variance: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Half-logs [S, T, 6] of averages: of variances at ALPHAS, of squared returns, the long one."""
    logs = [0.5 * np.log(ewma(variance, alpha)) for alpha in ALPHAS]
    returns = 0.5 * np.log(ewma(squares, RETURN_ALPHA) + FLOOR)
    returns = np.where(np.isfinite(returns), returns, logs[2])  # a first bar has no return
    return np.stack([*logs, returns, 0.5 * np.log(ewma(variance, LONG_ALPHA))], axis=-1)


def _regression(averages: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HAR's inputs [S, T, 6] and what it forecasts [S, T], both less the average at the last alpha.

    So its slopes sum to one: it forecasts the next five bars' log volatility over that average.
    """
    slowest = averages[..., SLOWEST]
    design = np.ones(averages.shape)
    design[..., 1:] = np.delete(averages, SLOWEST, axis=-1) - slowest[..., None]
    rest = np.full_like(variance, np.nan)
    bars = variance.shape[1]
    total = sum(variance[:, i : bars - HAR_STEPS + i] for i in range(1, HAR_STEPS + 1))
    rest[:, :-HAR_STEPS] = 0.5 * np.log(total / HAR_STEPS) - slowest[:, :-HAR_STEPS]
    return design, rest


def fit_har(
    design: np.ndarray, rest: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pool's least squares: coefficients [6], and mean products of the inputs [6, 6].

    `train` [S, T] is true where the five bars ahead are for training. With too few rows they are
    those of a plain average.
    """
    rows = train & np.isfinite(rest) & np.isfinite(design).all(-1)
    if rows.sum() < 30 * HAR_SIZE:
        spread = np.full(HAR_SIZE - 1, 0.05)
        return np.r_[0.0, np.full(HAR_SIZE - 1, 1 / HAR_SIZE)], np.diag(np.r_[1.0, spread])
    x = design[rows]
    moments = x.T @ x / len(x) + RIDGE * np.eye(HAR_SIZE)
    return np.linalg.lstsq(x, rest[rows], rcond=None)[0], moments


def _own_har(
    design: np.ndarray, rest: np.ndarray, har: np.ndarray, moments: np.ndarray
) -> np.ndarray:
    """Coefficients [S, T, 6] as of each bar: the pool's, drawn to those of the symbol's own past.

    Recursive least squares with forgetting, in which the pool counts as OWN_PRIOR bars. An error
    is known HAR_STEPS bars after its own.
    """
    error = rest - (design * har).sum(-1)
    known = np.isfinite(error)
    error = np.where(known, np.clip(error, -LARGEST_ERROR, LARGEST_ERROR), 0.0)
    x = np.where(known[..., None], design, 0.0)
    out = np.empty(design.shape)
    block = max(1, BLOCK // x.shape[1])  # symbols
    for first in range(0, len(x), block):
        part = slice(first, first + block)
        products = _past_sums(x[part, :, :, None] * x[part, :, None, :])  # [S, T, 6, 6]
        gradient = _past_sums(x[part] * error[part, :, None])  # [S, T, 6]
        gap = np.linalg.solve(products + OWN_PRIOR * moments, gradient[..., None])
        out[part] = har + gap[..., 0]
    return out


def _past_sums(x: np.ndarray) -> np.ndarray:
    """Discounted sums along the second axis of what was known HAR_STEPS bars later."""
    late = np.zeros_like(x)
    late[:, HAR_STEPS:] = x[:, :-HAR_STEPS]
    return decayed_sums(late, OWN_DECAY)
