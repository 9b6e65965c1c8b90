"""A trading rule on quantile forecasts, after costs, and how much of its Sharpe ratio luck explains.

Positions of date t are set at t's close by forecasts made there, and earn the return from t to the next date.
No forecast of daily medians should be expected to pay for its costs; a rule makes that visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.signal import lfilter

from ..errors import ConfigError
from .metrics import interval


@dataclass(frozen=True)
class TradingConfig:
    """The rule's settings; weights are shares of the capital."""

    cost: float = 5.0  # basis points of what is traded, a side
    volatility: float = (
        0.10  # annualised target of each position before it is divided by the number of symbols
    )
    strength: float = (
        10.0  # a position is whole where its edge is 1/strength of the forecast deviation
    )
    cap: float = 0.10  # largest weight of a symbol, long or short
    gross: float = 1.0  # largest sum of weights, long and short
    level: float = 0.8  # the interval whose width tells the deviation
    neutral: bool = False  # weigh symbols against each other: no bet on the market
    periods: int = 252  # bars a year

    def __post_init__(self) -> None:
        for name in ("volatility", "strength", "cap", "gross", "periods"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"TradingConfig.{name} is {getattr(self, name)!r}; give a number above 0."
                )
        if not (self.cost >= 0 and 0 < self.level < 1):
            raise ConfigError(
                f"TradingConfig has cost {self.cost} and level {self.level}; give >= 0 and in (0, 1)."
            )


def positions(
    median: np.ndarray, width: np.ndarray, steps: int, config: TradingConfig | None = None
) -> np.ndarray:
    """Weights [D, S] from the median and interval width [D, S] of the log return over `steps` bars, NaN where unknown.

    The edge is the median less the costs of entering and leaving (none: no position). Over the forecast deviation and
    times `strength`, clipped to ±1, it is the share of a position that has the target volatility. Each target is
    held for `steps` bars: weights are the mean of the last `steps` dates' targets (Jegadeesh & Titman 1993), which
    are then capped. Only rows up to t shape row t.
    """
    c = config or TradingConfig()
    usable = np.isfinite(median) & np.isfinite(width) & (width > 0)
    deviation = np.where(usable, width, 1.0) / (
        2 * stats.norm.ppf((1 + c.level) / 2)
    )  # over all steps
    median = np.where(usable, median, 0.0)
    edge = np.sign(median) * np.maximum(np.abs(median) - 2e-4 * c.cost, 0)
    share = np.clip(c.strength * edge / deviation, -1, 1)
    count = np.maximum(usable.sum(1, keepdims=True), 1)
    if c.neutral:
        share = np.where(usable, share - share.sum(1, keepdims=True) / count, 0.0)
    annual = deviation * np.sqrt(c.periods / steps)
    target = np.where(usable, share * c.volatility / annual / count, 0.0)
    held = lfilter(np.full(steps, 1 / steps), 1.0, target, axis=0)
    weights = np.where(usable, np.clip(held, -c.cap, c.cap), 0.0)  # no forecast: out
    return weights / np.maximum(np.abs(weights).sum(1, keepdims=True) / c.gross, 1)


def trade(weights: np.ndarray, returns: np.ndarray, cost: float) -> pd.DataFrame:
    """A row a date, [D]: `gross` return, `turnover`, `cost` and `net` return of the capital.

    weights [D, S] held from t to t + 1, returns [D, S] the simple returns over that time (NaN earns 0), cost in basis
    points of the turnover. What was held drifts with its return before it is traded to the new weight; the first
    position is bought, the last one not sold.
    """
    returns = np.where(np.isfinite(returns), returns, 0.0)
    gross = (weights * returns).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        drifted = weights * (1 + returns) / (1 + gross)[:, None]
    drifted = np.where(np.isfinite(drifted), drifted, 0.0)  # capital lost whole
    turnover = np.abs(weights - np.concatenate([np.zeros_like(weights[:1]), drifted[:-1]])).sum(1)
    paid = 1e-4 * cost * turnover
    return pd.DataFrame({"gross": gross, "turnover": turnover, "cost": paid, "net": gross - paid})


def holding(returns: np.ndarray) -> np.ndarray:
    """Weights [D, S] of buy and hold: equal, drifting with returns [D, S]; equal again when a symbol comes or goes."""
    there = np.isfinite(returns)
    weights = np.zeros(returns.shape)
    for t, known in enumerate(there):
        if t == 0 or (known != there[t - 1]).any():
            weights[t] = known / max(known.sum(), 1)
        else:
            grown = weights[t - 1] * (1 + np.where(known, returns[t - 1], 0.0))
            weights[t] = grown / grown.sum() if grown.sum() > 0 else 0.0
    return weights


def run_rule(
    symbol: np.ndarray,
    date: np.ndarray,
    quantiles: np.ndarray,
    levels: Sequence[float],
    actual: np.ndarray,
    step: int | None = None,
    config: TradingConfig | None = None,
) -> dict[str, pd.DataFrame]:
    """The rule on forecasts in long form, and buy and hold beside it: "rule" and "buy and hold", as `trade` by date.

    symbol, date [K], quantiles [K, H, Q] and actual [K, H] cumulative log returns, of which the first step is what
    is earned; the rule acts on the forecast of `step` (default H). Raises ConfigError if (symbol, date) repeats.
    """
    c = config or TradingConfig()
    step = quantiles.shape[1] if step is None else step
    lower, upper = interval(quantiles[:, step - 1], levels, c.level)
    middle, _ = interval(quantiles[:, step - 1], levels, 0.0)  # the median, twice
    columns = {"median": middle, "width": upper - lower, "return": np.expm1(actual[:, 0])}
    long = pd.DataFrame({"symbol": symbol, "date": date, **columns})
    if long.duplicated(["symbol", "date"]).any():
        raise ConfigError(
            "The forecasts name a symbol and date twice; give the forecasts of one model, once each."
        )
    wide = {k: long.pivot(index="date", columns="symbol", values=k) for k in columns}
    returns = wide["return"].to_numpy()
    weights = positions(wide["median"].to_numpy(), wide["width"].to_numpy(), step, c)
    found = {
        "rule": trade(weights, returns, c.cost),
        "buy and hold": trade(holding(returns), returns, c.cost),
    }
    return {k: v.set_index(wide["return"].index) for k, v in found.items()}


def summary(trades: pd.DataFrame, periods: int = 252) -> dict[str, float]:
    """Annualised net return, volatility and Sharpe ratio, of gross returns too, turnover a year and worst drawdown."""
    net, capital = trades["net"].to_numpy(), np.cumprod(1 + trades["net"].to_numpy())
    peak = np.maximum.accumulate(np.r_[1.0, capital])[1:]
    return {
        "return": float(net.mean() * periods),
        "volatility": float(net.std(ddof=1) * np.sqrt(periods)) if len(net) > 1 else float("nan"),
        "sharpe": sharpe(net, periods),
        "sharpe_gross": sharpe(trades["gross"].to_numpy(), periods),
        "turnover": float(trades["turnover"].mean() * periods),
        "costs": float(trades["cost"].mean() * periods),
        "drawdown": float((1 - capital / peak).max()),
    }


# --- how much is luck


def sharpe(returns: np.ndarray, periods: int = 1) -> float:
    """Mean over standard deviation, times √periods; NaN where nothing varies."""
    returns = np.asarray(returns, float)
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return (
        float(returns.mean() / deviation * np.sqrt(periods)) if deviation > 1e-12 else float("nan")
    )


def probabilistic_sharpe(
    ratio: float, count: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark` (Bailey & López de Prado 2012, eq. 11).

    `ratio` and `benchmark` a bar, not annualised; `count` returns with that skewness and kurtosis (3 if normal).
    """
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    return (
        float(stats.norm.cdf((ratio - benchmark) * np.sqrt((count - 1) / spread)))
        if spread > 0
        else float("nan")
    )


def expected_best(trials: int, variance: float) -> float:
    """Sharpe ratio that the best of `trials` without skill is expected to show (Bailey & López de Prado 2014, eq. 1).

    `variance` is that of the trials' ratios, in the same unit squared. One trial: 0.
    """
    if trials < 2:
        return 0.0
    normal = stats.norm.isf([1 / trials, 1 / (trials * np.e)])
    return float(np.sqrt(variance) * (normal @ [1 - np.euler_gamma, np.euler_gamma]))


def deflated_sharpe(
    returns: np.ndarray, trials: int, trial_sharpe_variance: float | None = None
) -> float:
    """Probability that the rule's Sharpe ratio is more than the luck of `trials` (Bailey & López de Prado 2014, eq. 2).

    returns [D] a bar; trial_sharpe_variance over the trials' ratios a bar (divide an annualised one by the bars a
    year). None takes that of an estimated ratio without skill, 1 / (D − 1), for trials that were scored by another
    measure. Corrected for the returns' skewness and kurtosis; NaN where nothing varies. Raises ConfigError if
    trials < 1.
    """
    if trials < 1:
        raise ConfigError(
            f"The deflated Sharpe ratio got {trials} trials; count at least the one that is judged."
        )
    returns = np.asarray(returns, float)
    ratio, count = sharpe(returns), len(returns)
    if not np.isfinite(ratio):
        return float("nan")
    variance = 1 / (count - 1) if trial_sharpe_variance is None else trial_sharpe_variance
    skew, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    return probabilistic_sharpe(ratio, count, skew, kurtosis, expected_best(trials, variance))
