"""Online conformal calibration of quantile forecasts: adaptive inference in normal scores.

The quantiles of a forecast at its trained levels p make a quantile function Q(z) of the normal
score z = Φ⁻¹(p): linear between the trained levels, and beyond the outermost ones with the slope of
the end segment, so that the tails are Gaussian. An outcome y has the score z(y) = Q⁻¹(y). The state
is, for each step ahead h and each level τ of GRID, a score s_h(τ): the calibrated quantile is
Q(s_h(τ)). The identity is s_h(τ) = Φ⁻¹(τ).

As outcomes become known, s_h(τ) moves by rate · (τ − share of them with z(y) ≤ s_h(τ)): the update
of Gibbs & Candès 2021 (eq. 2) for levels, in the form that Angelopoulos, Candès & Tibshirani 2023
(quantile tracking) give it for scores. Both tails move alike, by the share of outcomes inside the
central interval, and the median stays: on forecasts of 2008–2015 levels that each go their own way
cover no better, and their median chases the market's drift. A score is unbounded, so nothing is
clipped, and over T dates the share of outcomes inside a central interval differs from its level by
at most 2 (FAR + |s_h(τ) at the start| + rate) / (rate · T), whatever the series does.

Where no outcomes come to follow, the mean of s_h(τ) over the updates stands for it: its last value
is noisy, and the mean had a third less error on markets that it had not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError
from ..probability import ndtri

_TAIL = (0.0025, 0.005, 0.01, 0.0175)
GRID = (*_TAIL, *(round(0.025 * i, 3) for i in range(1, 40)), *(1 - q for q in _TAIL[::-1]))
RATE = 0.03
FAR = 8.0  # |z| of an outcome beyond a tail of no width; Φ(−8) is 6e-16
YEAR = 252  # origin dates over which realised coverage is measured
MEASURED = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.93, 0.95, 0.98, 0.99)  # nominal levels at which it is
_KNOTS = ndtri(np.array(GRID))


@dataclass(frozen=True)
class Conformal:
    """State of the calibration after some outcomes; it never changes: `run` returns the next one.

    Parameters
    ----------
    score : [H, G], the normal score that stands for each level of GRID at each step, ascending in G
    rate : size of the updates, at least 0; the default was chosen on forecasts of 2008–2015
    mean : [H, G], of the score after each of the `updates`; None where there was none
    """

    score: np.ndarray
    rate: float = RATE
    mean: np.ndarray | None = None
    updates: int = 0

    @classmethod
    def start(cls, horizon: int, rate: float = RATE) -> Conformal:
        """The state that changes nothing, for steps 1…`horizon`; raises ConfigError on the rate."""
        if not 0 <= rate < np.inf:
            raise ConfigError(f"The calibration's rate is {rate!r}; give a number of at least 0.")
        return cls(np.tile(_KNOTS, (horizon, 1)), float(rate))

    @property
    def steady(self) -> np.ndarray:
        """The scores [H, G] of forecasts that no outcomes follow: their mean, once there is one."""
        return self.score if self.mean is None else self.mean

    def run(
        self,
        quantiles: np.ndarray,
        levels: Sequence[float],
        actual: np.ndarray,
        date: np.ndarray,
        wanted: Sequence[float] | None = None,
        known: np.ndarray | None = None,
        states: list[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, Conformal]:
        """Go through origins date by date: forecast with the state of then, learn what comes true.

        All outcomes of a step that come to be known on one date are one update with their mean
        error, since symbols are not independent; it precedes the forecasts made on that date.

        Parameters
        ----------
        quantiles : [K, H, Q] at `levels`
        actual : outcomes [K, H], NaN where unknown
        date : [K] of the origin, anything that sorts
        wanted : levels [W] of the forecasts; None for `levels`
        known : [K, H], the date by which an outcome is known; None: h of the dates later
        states : a list to which each origin date's `steady` is added, in order

        Returns the calibrated forecasts [K, H, W] and the state once all outcomes are in. Raises
        ConfigError unless `levels` (two at least) and `wanted` are ascending and inside (0, 1).
        """
        quantiles, (base, want) = np.asarray(quantiles, float), _scores(levels, wanted)
        score = outcome_scores(quantiles, base, np.asarray(actual, float))  # [K, H]
        made, due = _times(np.asarray(date), known, score)
        # Outcomes in the order in which they come to be known, origins in that of their dates
        k, h = np.nonzero(np.isfinite(score))
        order = np.argsort(due[k, h], kind="stable")
        arriving, step, value = due[k, h][order], h[order], score[k, h][order]
        origins = np.argsort(made, kind="stable")
        times = np.union1d(made, arriving)
        first, last = (np.searchsorted(arriving, times, side=s) for s in ("left", "right"))
        begin, end = (np.searchsorted(made[origins], times, side=s) for s in ("left", "right"))
        out, state = np.empty((*quantiles.shape[:2], len(want))), self
        for i in range(len(times)):
            if last[i] > first[i]:
                state = state._learn(step[first[i] : last[i]], value[first[i] : last[i]])
            if end[i] > begin[i]:
                if states is not None:
                    states.append(state.steady)
                rows = origins[begin[i] : end[i]]
                now = shifted(state.score, want)[: quantiles.shape[1]]
                out[rows] = quantiles_at(quantiles[rows], base, now)
        return out, state

    def _learn(self, step: np.ndarray, value: np.ndarray) -> Conformal:
        """The state after outcomes of scores `value` [N] at steps `step` [N], known at once."""
        member = step == np.arange(len(self.score))[:, None]  # [H, N]
        count = member.sum(1)[:, None]
        below = member.astype(float) @ (value[:, None] <= self.score[step])  # [H, G]
        error = np.where(count, GRID - below / np.maximum(count, 1), 0.0)
        error = (error - error[:, ::-1]) / 2  # both ends of an interval make good half of its error
        score, count = np.sort(self.score + self.rate * error, axis=1), self.updates + 1
        mean = self.steady + (score - self.steady) / count
        return Conformal(score, self.rate, mean, count)


@dataclass(frozen=True)
class Past:
    """How a calibration was on earlier dates: the origin dates of a month are an entry."""

    date: np.ndarray  # [T, 2] datetime64[ns], an entry's first and last, ascending
    score: np.ndarray  # [T, H, G] float32, Conformal's `steady` on the first
    until: np.datetime64  # from when on the calibration is as it is now

    def check(self, horizon: int) -> None:
        """Raises CheckpointError on arrays that don't fit each other or a calibration's horizon."""
        size = len(self.date)
        fits = (self.date.shape, self.score.shape) == ((size, 2), (size, horizon, len(GRID)))
        if not fits or not size or not (np.diff(self.date.ravel()) >= np.timedelta64(0)).all():
            raise CheckpointError("A calibration's past doesn't fit its dates; save it again.")
        if not (np.diff(self.score) >= 0).all():
            raise CheckpointError("A calibration's past holds no scores; save it again.")

    def followed_by(self, later: Past) -> Past:
        """This past, and of the later one what comes after it.

        A run that began with today's state has nothing to say of the dates before: its states have
        learnt from what came later.
        """
        new = later.date[:, 0] >= self.until
        return Past(
            date=np.concatenate([self.date, later.date[new]]),
            score=np.concatenate([self.score, later.score[new]]),
            until=max(self.until, later.until),
        )


@dataclass(frozen=True)
class Calibration:
    """A state, and the share of outcomes inside the intervals that it gave over YEAR dates."""

    state: Conformal
    coverage: tuple[float, ...] = ()  # at the levels MEASURED; empty if never measured
    dates: int = 0  # that it was measured on
    last: str = ""  # of these dates; empty without dates
    past: Past | None = None  # None without dates, and where nothing was learnt

    def update(
        self,
        quantiles: np.ndarray,
        levels: Sequence[float],
        actual: np.ndarray,
        date: np.ndarray,
        known: np.ndarray,
    ) -> Calibration:
        """After origins as `Conformal.run` takes them; the oldest dates make room for theirs."""
        states: list[np.ndarray] = []
        _, state = self.state.run(quantiles, levels, actual, date, known=known, states=states)
        seen = np.isfinite(actual)
        dates = np.unique(date[seen.any(1)])[-YEAR:]
        if not len(dates):
            return replace(self, state=state)
        upper = ndtri((1 + np.array(MEASURED)) / 2)
        ends = shifted(np.array(states), np.r_[-upper, upper])  # [T, H, 2 M]
        low, high = np.split(ends[np.unique(date, return_inverse=True)[1]], 2, axis=-1)
        value = outcome_scores(np.asarray(quantiles, float), ndtri(levels), actual)[..., None]
        inside = (low <= value) & (value <= high)  # [K, H, M]
        coverage = inside[seen & (date >= dates[0])[:, None]].mean(0)
        old = min(self.dates, YEAR - len(dates))
        if old:
            weighted = len(dates) * coverage + old * np.array(self.coverage)
            coverage = weighted / (len(dates) + old)
        past, last = self.past, ""
        if np.issubdtype(date.dtype, np.datetime64):
            last = str(dates[-1].astype("datetime64[D]"))
            past = _past(states, date, known[seen].max())
            past = past if self.past is None else self.past.followed_by(past)
        return Calibration(state, tuple(coverage.tolist()), len(dates) + old, last, past)

    def as_of(self, date: np.ndarray) -> Iterator[tuple[np.ndarray, Calibration]]:
        """For origins of dates [K]: which of them, and the calibration as of then; in order.

        Those before the first date that it knows have the state that it began with; those without
        dates, and since the last outcome that it took in, have it as it is.
        """
        size = 0 if self.past is None else len(self.past.date)
        place = np.full(len(date), size)  # the size: as it is
        if size:
            early = date < self.past.until
            entry = np.searchsorted(self.past.date[:, 0], date[early], side="right") - 1
            place[early] = np.maximum(entry, 0)
        for i in np.unique(place):
            if i == size:
                yield np.flatnonzero(place == i), self
            else:  # with no coverage, since what was measured came later
                state = Conformal(self.past.score[i].astype(float), self.state.rate)
                yield np.flatnonzero(place == i), Calibration(state, past=self.past)

    def realised(self, level: float) -> float | None:
        """Coverage of intervals of a level, interpolated; None where it was not measured."""
        if not self.dates or not MEASURED[0] <= level <= MEASURED[-1]:
            return None
        return float(np.interp(level, MEASURED, self.coverage))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of all but the arrays."""
        coverage = {f"{level:g}": share for level, share in zip(MEASURED, self.coverage)}
        record = {"dates": self.dates, "last": self.last, "coverage": coverage}
        return record | {"rate": self.state.rate, "updates": self.state.updates}

    def arrays(self) -> dict[str, np.ndarray]:
        """The scores and the past, by name."""
        arrays = {"score": self.state.score, "mean": self.state.steady}
        if self.past:
            arrays["past"], arrays["date"] = self.past.score, self.past.date.view(np.int64)
            arrays["until"] = np.array([self.past.until], "datetime64[ns]").view(np.int64)
        return arrays

    @classmethod
    def restored(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Calibration:
        """Inverse of `to_dict` and `arrays`; CheckpointError on scores that fit no levels."""
        measured = MEASURED if values["dates"] else ()
        coverage = tuple(float(values["coverage"][f"{level:g}"]) for level in measured)
        score, mean, past = arrays["score"], arrays["mean"], None
        fits = score.shape[1:] == (len(GRID),) and score.shape == mean.shape
        if not fits or not (np.diff([score, mean]) >= 0).all():
            raise CheckpointError("A calibration's scores don't fit its levels; save it again.")
        if "past" in arrays:
            date, until = (arrays[name].view("datetime64[ns]") for name in ("date", "until"))
            past = Past(date, arrays["past"], until[0])
            past.check(len(score))
        state = Conformal(score, float(values["rate"]), mean, int(values["updates"]))
        return cls(state, coverage, int(values["dates"]), str(values["last"]), past)


def _past(states: list[np.ndarray], date: np.ndarray, until: np.datetime64) -> Past:
    """A run's past, of its `states` by origin date: the first of each month."""
    every = np.unique(date)
    begins = np.flatnonzero(np.diff(every.astype("datetime64[M]").astype(int), prepend=-1))
    ends = np.r_[begins[1:] - 1, len(every) - 1]
    score = np.array([states[i] for i in begins], np.float32)
    return Past(np.stack([every[begins], every[ends]], axis=1), score, until)


def outcome_scores(quantiles: np.ndarray, base: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Normal scores […] of outcomes […] under quantiles […, Q] at scores `base` [Q]; or NaN."""
    segment = np.clip((quantiles <= actual[..., None]).sum(-1) - 1, 0, len(base) - 2)
    low = np.take_along_axis(quantiles, segment[..., None], -1)[..., 0]
    high = np.take_along_axis(quantiles, segment[..., None] + 1, -1)[..., 0]
    width = high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.where(actual == high, 1.0, np.inf * (actual - high))
        share = np.where(width > 0, (actual - low) / width, flat)
    return np.clip(base[segment] + share * (base[segment + 1] - base[segment]), -FAR, FAR)


def _scores(
    levels: Sequence[float], wanted: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of the forecasts' levels [Q] and of the wanted ones [W]; raises ConfigError."""
    scores = []
    for given in (levels, levels if wanted is None else wanted):
        values = np.asarray(given, float)
        inside = values.ndim == 1 and ((values > 0) & (values < 1)).all()
        if not inside or not (np.diff(values) > 0).all():
            raise ConfigError(
                f"The levels {tuple(given)} can't be used; give ascending ones between 0 and 1."
            )
        scores.append(ndtri(values))
    if len(scores[0]) < 2:
        raise ConfigError("Forecasts at 1 level can't be calibrated; give at least 2 levels.")
    return scores[0], scores[1]


def shifted(scores: np.ndarray, want: np.ndarray) -> np.ndarray:
    """What stands for the normal scores `want` [W] where `scores` […, G] do for those of GRID."""
    segment, share = _between(_KNOTS, np.clip(want, _KNOTS[0], _KNOTS[-1]))
    shift = scores - _KNOTS  # beyond the outermost knots theirs hold
    return want + (1 - share) * shift[..., segment] + share * shift[..., segment + 1]


def quantiles_at(quantiles: np.ndarray, base: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Quantiles [K, H, Q] at scores `base` [Q] → those at `score` ([H, W] or [K, H, W])."""
    segment, share = _between(base, np.broadcast_to(score, (len(quantiles), *score.shape[-2:])))
    low = np.take_along_axis(quantiles, segment, -1)
    return low + share * (np.take_along_axis(quantiles, segment + 1, -1) - low)


def _between(knots: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The segments of `knots` that `x` lie on, or those beside, and how far along in them."""
    segment = np.clip(np.searchsorted(knots, x) - 1, 0, len(knots) - 2)
    return segment, (x - knots[segment]) / (knots[segment + 1] - knots[segment])


def _times(
    date: np.ndarray, known: np.ndarray | None, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """When forecasts are made [K] and outcomes known [K, H], as whole numbers on one clock."""
    if known is None:
        made = np.unique(date, return_inverse=True)[1].reshape(-1)
        return made, made[:, None] + 1 + np.arange(score.shape[1])
    clock = np.unique(np.r_[date, np.asarray(known)[np.isfinite(score)]])
    return np.searchsorted(clock, date), np.searchsorted(clock, known)
