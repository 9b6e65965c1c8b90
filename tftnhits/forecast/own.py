"""What a symbol's own outcomes before an origin tell of its intervals.

To forecast a symbol's past again with the networks costs too much for many symbols. The random
walk's forecasts of it cost nothing: the volatility scale times one shape. Under these each outcome
has a normal score, and what stands for a level's score is learnt from them origin by origin, as in
conformal.py: from the pool's state on, in steps of 1 / (PRIOR + outcomes so far) over the density
of a normal score there. So it is, nearly, the quantile of the symbol's outcomes and PRIOR of the
pool's. By what it departs from the pool's for the walk, the scores of whoever answers depart too:
on validation years of stocks, currencies and crypto that did as well as the networks' own past.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.windows import Panel
from ..models.baselines import Walk
from ..probability import beta_quantile, ndtr, ndtri
from .conformal import YEAR, outcome_scores

PRIOR = 100  # outcomes that the pool's state counts for
BLOCK = 252  # origins learn from those of their block and the one before: 252 to 504 at most
WARM = 60  # first bars of a symbol, whose scale is not its own yet
LEAST = 100  # origin dates that a coverage of a symbol's own takes
THIN = 1.96  # normal score from which on the tails' density is taken as there

Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows [K], normal scores [W] → [K, H, W]
Measured = tuple[float, int, str]  # share inside, of how many dates, and the last of these


def own_history(
    panel: Panel, rows: np.ndarray, walk: Walk, pool: Scores, want: np.ndarray, level: float
) -> tuple[np.ndarray, dict[int, Measured]]:
    """By what the scores of origins depart from their pool's, and how well intervals held.

    Parameters
    ----------
    rows : origins [K], each of which knows the bars up to its own
    pool : the walk's scores as of any origins
    want : normal scores [W] of the levels, ascending
    level : nominal, of the interval that is measured

    Returns [K, H, W], and by symbol's number how many of its outcomes were inside the interval as
    calibrated then: of at least LEAST and at most YEAR dates, known by its last origin.
    """
    departure = np.zeros((len(rows), panel.steps, len(want)))
    first = rows - panel.number(rows) + WARM  # row of the first that its scale fits
    grown = np.flatnonzero(rows >= first)
    if not len(grown):
        return departure, {}
    origins, first = rows[grown], first[grown]
    # Origins of a block share a lane: the bars from the block before on
    lanes, lane = np.unique(
        first + np.maximum((origins - first) // BLOCK - 1, 0) * BLOCK, return_inverse=True
    )
    place = origins - lanes[lane]
    score = _scores_under_walk(panel, lanes, int(place.max()) + 1, walk)
    upper, which = np.unique(np.abs(want).round(12), return_inverse=True)
    measured = int(np.argmin(np.abs(upper - ndtri((1 + level) / 2))))
    own, inside = _learn(score, pool(lanes, upper), upper, lane, place, measured)
    signed = np.sign(want.round(12)) * own[..., which]
    departure[grown] = signed - pool(origins, want)
    held = {}
    for k in np.flatnonzero(np.diff(panel.symbol_of(origins), append=-1)):  # each symbol's last
        stop = int(place[k]) - panel.steps + 1  # of the lane's origins whose outcomes are known
        past = slice(max(stop - YEAR, 0), max(stop, 0))
        one = _share(score[lane[k], past], inside[lane[k], past])
        if one[1] >= LEAST:
            last = str(panel.date[lanes[lane[k]] + stop - 1].astype("datetime64[D]"))
            held[int(panel.symbol_of(origins[k]))] = *one, last
    return departure, held


def _share(score: np.ndarray, inside: np.ndarray) -> tuple[float, int]:
    """The share `inside` [T, H] of outcomes that are known, and on how many dates there are."""
    known = np.isfinite(score)
    return float(inside[known].mean()) if known.any() else 0.0, int(known.any(1).sum())


def _scores_under_walk(panel: Panel, lanes: np.ndarray, size: int, walk: Walk) -> np.ndarray:
    """Sizes of the normal scores [L, T, H] of what came after the T bars from each of `lanes`."""
    bars = lanes[:, None] + np.arange(size)
    symbol = panel.symbol_of(lanes)
    end = (panel.start + panel.length)[symbol][:, None]
    target = np.asarray(panel.target, float)[np.minimum(bars, end - 1)]  # of unit size
    shape = np.broadcast_to(walk.shape[: panel.steps], (*target.shape, len(walk.levels)))
    score = np.abs(outcome_scores(shape, ndtri(walk.levels), target))
    return np.where((bars < end)[..., None], score, np.nan)


def _learn(
    score: np.ndarray,
    state: np.ndarray,
    upper: np.ndarray,
    lane: np.ndarray,
    place: np.ndarray,
    measured: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The states [K, H, C] at origins, and whether outcomes [L, T, H] were inside that of then.

    `score` is [L, T, H], `state` the first [L, H, C], for the upper ends `upper` [C] of central
    intervals; origins [K] are at `place` of `lane`; `measured` is the interval that is looked at.
    """
    level = 2 * ndtr(upper) - 1
    density = 2 * np.exp(-(np.minimum(upper, THIN) ** 2) / 2) / np.sqrt(2 * np.pi)
    arriving = np.full_like(score, np.nan)  # at a bar: what came of the origin h bars before
    for h in range(1, score.shape[2] + 1):
        arriving[:, h:, h - 1] = score[:, :-h, h - 1]
    known = np.isfinite(arriving)
    count = np.cumsum(known, axis=1) - known  # [L, T, H], of outcomes before
    step = np.moveaxis(known / (PRIOR + count), 1, 0)[..., None]  # [T, L, H, 1]
    arriving = np.moveaxis(arriving, 1, 0)[..., None]
    rise, fall = level / density, (level - 1) / density
    out, seen = np.empty((len(place), *state.shape[1:])), np.empty(score.shape)
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(score.shape[1] + 1)).tolist()
    for t in range(score.shape[1]):
        state = state + step[t] * np.where(arriving[t] <= state, fall, rise)
        np.maximum(state, 0.0, out=state)
        state.sort(axis=-1)
        seen[:, t] = state[..., measured]
        if bounds[t] < bounds[t + 1]:
            now = order[bounds[t] : bounds[t + 1]]
            out[now] = state[lane[now]]
    return out, score <= seen


def binomial_interval(share: float, count: int) -> tuple[float, float]:
    """Where the probability lies of which `share` of `count` came true (Clopper & Pearson 1934).

    At 95%. Outcomes of a date's steps overlap with those of the dates beside it and move together,
    so a date is to be counted once; simulated, that makes the interval a tenth too narrow.
    """
    hits = share * count
    low = beta_quantile(hits, count - hits + 1, 0.025) if hits > 0 else 0.0
    high = beta_quantile(hits + 1, count - hits, 0.975) if hits < count else 1.0
    return low, high
