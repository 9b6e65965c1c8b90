"""A trading rule on quantile forecasts, after costs, and how much of its Sharpe ratio is luck.

Positions of date t are set at t's close by forecasts made there, and earn the return from t to the
next date. No forecast of daily medians should be expected to pay for its costs; a rule shows that.
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

LEVEL = 0.8  # the interval whose width tells the deviation


@dataclass(frozen=True)
class TradingConfig:
    """The rule's settings; weights are shares of the capital."""

    cost: float = 5.0  # basis points of what is traded, a side
    volatility: float = 0.10  # annualised target of a position, before it is divided by the symbols
    strength: float = 10.0  # a position is whole where its edge is 1/strength of the deviation
    cap: float = 0.10  # largest weight of a symbol, long or short
    gross: float = 1.0  # largest sum of weights, long and short
    periods: int = 252  # bars a year

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value > 0 or (name == "cost" and value == 0)):
                raise ConfigError(f"TradingConfig.{name} is {value!r}; give a number above 0.")


def positions(
    median: np.ndarray, width: np.ndarray, steps: int, config: TradingConfig | None = None
) -> np.ndarray:
    """Weights [D, S] from median and interval width [D, S] of the log return over `steps` bars.

    The edge is the median less the costs of entering and leaving (none: no position). Over the
    forecast deviation and times `strength`, clipped to ±1, it is the share of a position that has
    the target volatility. Each target is held for `steps` bars: weights are the mean of the last
    dates' targets (Jegadeesh & Titman 1993), then capped. Only rows up to t shape row t.
    """
    c = config or TradingConfig()
    usable = np.isfinite(median) & np.isfinite(width) & (width > 0)
    deviation = np.where(usable, width, 1.0) / (2 * stats.norm.ppf((1 + LEVEL) / 2))
    median = np.where(usable, median, 0.0)
    edge = np.sign(median) * np.maximum(np.abs(median) - 2e-4 * c.cost, 0)
    share = np.clip(c.strength * edge / deviation, -1, 1)
    annual = deviation * np.sqrt(c.periods / steps)
    symbols = np.maximum(usable.sum(1, keepdims=True), 1)
    target = np.where(usable, share * c.volatility / annual / symbols, 0.0)
    smooth = lfilter(np.full(steps, 1 / steps), 1.0, target, axis=0)
    weights = np.where(usable, np.clip(smooth, -c.cap, c.cap), 0.0)  # no forecast: out
    return weights / np.maximum(np.abs(weights).sum(1, keepdims=True) / c.gross, 1)


def trade(weights: np.ndarray, returns: np.ndarray, cost: float) -> pd.DataFrame:
    """A row a date: `gross` return, `turnover`, `cost` and `net` return of the capital.

    weights [D, S] are held from t to t + 1 and earn the simple returns [D, S] (NaN: 0); cost is in
    basis points of the turnover. What was held drifts with its return before it is traded to the
    new weight; the first position is bought, the last one not sold.
    """
    returns = np.where(np.isfinite(returns), returns, 0.0)
    gross = (weights * returns).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        drifted = weights * (1 + returns) / (1 + gross)[:, None]
    drifted = np.where(np.isfinite(drifted), drifted, 0.0)  # capital lost whole
    before = np.concatenate([np.zeros_like(weights[:1]), drifted[:-1]])
    turnover = np.abs(weights - before).sum(1)
    paid = 1e-4 * cost * turnover
    return pd.DataFrame({"gross": gross, "turnover": turnover, "cost": paid, "net": gross - paid})


def holding(returns: np.ndarray) -> np.ndarray:
    """Weights [D, S] of buy and hold: drifting, but equal when a symbol comes or goes."""
    listed = np.isfinite(returns)
    weights = np.zeros(returns.shape)
    for t, known in enumerate(listed):
        if t == 0 or (known != listed[t - 1]).any():
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
    config: TradingConfig | None = None,
) -> dict[str, pd.DataFrame]:
    """The rule, and buy and hold beside it.

    Parameters
    ----------
    symbol, date : [K] of the origins, of one forecaster
    quantiles : [K, H, Q] of the cumulative log return at `levels`; the last step is acted on
    actual : [K, H] cumulative log returns; the first step is what is earned
    config : the rule's settings

    Returns
    -------
    dict : "rule" and "buy and hold", each with a row a date as `trade` makes them
    """
    config = config or TradingConfig()
    lower, upper = interval(quantiles[:, -1], levels, LEVEL)
    median, _ = interval(quantiles[:, -1], levels, 0.0)
    columns = {"median": median, "width": upper - lower, "return": np.expm1(actual[:, 0])}
    long = pd.DataFrame({"symbol": symbol, "date": date, **columns})
    if long.duplicated(["symbol", "date"]).any():
        raise ConfigError("A symbol and date come twice; give the forecasts of one model, once.")
    wide = long.pivot(index="date", columns="symbol")
    median, width, returns = (wide[name].to_numpy() for name in columns)  # [D, S]
    weights = positions(median, width, quantiles.shape[1], config)
    trades = {
        "rule": trade(weights, returns, config.cost),
        "buy and hold": trade(holding(returns), returns, config.cost),
    }
    return {name: table.set_index(wide.index) for name, table in trades.items()}


def summary(trades: pd.DataFrame, periods: int = 252) -> dict[str, float]:
    """Annualised net return, volatility, Sharpe ratio, turnover and costs, and the worst drawdown.

    Parameters
    ----------
    trades : as of `run_rule`
    periods : bars a year
    """
    net = trades["net"].to_numpy()
    capital = np.cumprod(1 + net)
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
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    if deviation <= 1e-12:
        return float("nan")
    return float(returns.mean() / deviation * np.sqrt(periods))


def probabilistic_sharpe(
    ratio: float, count: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio a bar exceeds `benchmark`, from `count` returns.

    Bailey & López de Prado 2012, eq. 11.
    """
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    if spread <= 0:
        return float("nan")
    return float(stats.norm.cdf((ratio - benchmark) * np.sqrt((count - 1) / spread)))


def expected_best(trials: int, variance: float) -> float:
    """Sharpe ratio that the best of `trials` without skill is expected to show; 0 for one trial.

    Bailey & López de Prado 2014, eq. 1; `variance` is that of the trials' ratios.
    """
    if trials < 2:
        return 0.0
    normal = stats.norm.isf([1 / trials, 1 / (trials * np.e)])
    return float(np.sqrt(variance) * (normal @ [1 - np.euler_gamma, np.euler_gamma]))


def deflated_sharpe(returns: np.ndarray, trials: int) -> float:
    """Probability that a Sharpe ratio is more than luck (Bailey & López de Prado 2014, eq. 2).

    Corrected for the returns' skewness and kurtosis; NaN where nothing varies.

    Parameters
    ----------
    returns : [D] a bar
    trials : how many were tried, the one that is judged among them; their ratios are taken to vary
        as estimated ratios without skill do, by 1 / (D − 1)
    """
    if trials < 1:
        raise ConfigError(f"A ratio can't be the best of {trials} trials; count it too.")
    ratio, count = sharpe(returns), len(returns)
    if np.isnan(ratio):
        return float("nan")
    skew = float(stats.skew(returns))
    kurtosis = float(stats.kurtosis(returns, fisher=False))
    best = expected_best(trials, 1 / (count - 1))
    return probabilistic_sharpe(ratio, count, skew, kurtosis, best)
