"""Causal, scale-free features of bars: the value at t uses rows up to t only, to the bit.

All work is done on padded arrays [S, T] (symbol, bar number), so that 500 symbols cost a few filter
passes. Source: Garman & Klass 1980 (range volatility); the largest shocks of the last four quarters
stand for the earnings cycle.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .scale import ALPHAS, FLOOR, SLOWEST, Scale, ewma

CLIP = 10.0
# Bars since the last four quarters' reports
QUARTERS = ((57, 64), (121, 126), (184, 189), (247, 252))
LOOKBACK = QUARTERS[-1][1] + 4  # bars that a feature of the last ones looks back
RECENT = (4, 20, 40)
MARKET_SYMBOLS = 3  # fewer symbols on a date are no market

PRICE = ("return", "overnight", "intraday", "range")
PRICE += tuple(f"volatility_{alpha}" for alpha in ALPHAS) + tuple(f"shock_{n}" for n in RECENT)
VOLUME = ("volume", "volume_trend", *(f"volume_shock_{n}" for n in RECENT), "has_volume")
MARKET = ("market_return", "market_volatility", "market_dispersion", "has_market")
HISTORY = tuple(f"{name}_q{i}" for name in ("shock", "volume_shock") for i in (1, 2, 3, 4))
HISTORY += ("has_year",)
OBSERVED = PRICE + VOLUME + MARKET + HISTORY
KNOWN = ("weekday_sin", "weekday_cos", "year_sin", "year_cos", "month_day", "gap")
KNOWN += ("hour_sin", "hour_cos", "has_calendar")
STATIC = ("bar_length", "weekends", "has_volume", "has_calendar")
# Masked together: as where a panel has none of them, static inputs included
GROUPS = {
    "volume": VOLUME,
    "market": MARKET,
    "history": HISTORY,
    "calendar": (*KNOWN, "bar_length", "weekends"),
}
# What people call them, in tables and figures
WORDS = {
    "overnight": "overnight return",
    "intraday": "return of the session",
    "range": "range of the bar",
    "volume_trend": "trend of volume",
    "market_dispersion": "spread of the market",
    "month_day": "day of the month",
    "gap": "gap since the last bar",
    "bar_length": "length of a bar",
    "weekends": "trading on weekends",
    "has_year": "a year is known",
    "has_market": "the market is known",
    "has_volume": "volume is known",
    "has_calendar": "dates are known",
}
WORDS |= {f"volatility_{a}": f"{n}-bar volatility" for a, n in zip(ALPHAS, (1, 6, 20, 66))}
WORDS |= {f"shock_{n}": f"largest shock in {n} bars" for n in RECENT}
WORDS |= {f"volume_shock_{n}": f"peak volume in {n} bars" for n in RECENT}
for _i, _when in enumerate(("a quarter", "2 quarters", "3 quarters", "4 quarters"), 1):
    WORDS |= {f"shock_q{_i}": f"shock {_when} ago", f"volume_shock_q{_i}": f"volume {_when} ago"}
for _name, _words in (("weekday", "weekday"), ("year", "time of year"), ("hour", "time of day")):
    WORDS |= {f"{_name}_sin": f"{_words} (sine)", f"{_name}_cos": f"{_words} (cosine)"}


def in_words(name: str) -> str:
    """What an input is called in tables and figures; a family has its words for a name."""
    return WORDS.get(name, name.replace("_", " "))


def _later(x: np.ndarray, rows: int) -> np.ndarray:
    """x [S, T] moved `rows` on, -inf before."""
    out = np.full(x.shape, -np.inf)
    out[:, rows:] = x[:, : max(x.shape[1] - rows, 0)]
    return out


def trailing_max(x: np.ndarray, first: int, last: int) -> np.ndarray:
    """Largest x in rows t - last … t - first, both included, along the last axis; NaN for none."""
    peak, reach = np.where(np.isfinite(x), x, -np.inf), 1  # of the last `reach` rows
    while reach < last - first + 1:
        more = min(reach, last - first + 1 - reach)
        peak = np.maximum(peak, _later(peak, more))
        reach += more
    peak = _later(peak, first)
    return np.where(np.isfinite(peak), peak, np.nan)


def bar_parts(price: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Log returns and the variance (Garman & Klass 1980) of bars, [S, T] each.

    `price` has logs of open, high, low, close, [S, T] each.
    """
    o, h, low, c = (price[name] for name in ("open", "high", "low", "close"))
    before = np.concatenate([np.full_like(c[:, :1], np.nan), c[:, :-1]], axis=1)
    garman_klass = 0.5 * (h - low) ** 2 - (2 * np.log(2) - 1) * (c - o) ** 2
    variance = np.maximum(garman_klass, 0) + np.nan_to_num(o - before) ** 2 + FLOOR
    parts = {"return": c - before, "overnight": o - before, "intraday": c - o, "range": h - low}
    return parts | {"variance": variance}


def volume_parts(volume: np.ndarray) -> dict[str, np.ndarray]:
    """Log volume less its own average to the bar before, and the average's trend, [S, T] each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_volume = np.where(volume > 0, np.log(volume), np.nan)
    fast, slow = ewma(log_volume, 0.2), ewma(log_volume, 0.03)
    move = np.full_like(volume, np.nan)
    move[:, 1:] = log_volume[:, 1:] - slow[:, :-1]
    return {"volume": move, "volume_trend": fast - slow}


def scale_parts(change: np.ndarray, scale: Scale) -> dict[str, np.ndarray]:
    """The volatility that was forecast a bar before each bar, and what its market is told of it.

    That is the return `change` by that volatility, a shock of unit size, and volatility's trend:
    [S, T] each.
    """
    unit = np.concatenate([scale.ahead[:, :1], scale.ahead[:, :-1]], axis=1)
    unit = np.where(np.isfinite(unit), unit, scale.sigma)
    trend = scale.averages[..., ALPHAS.index(0.15)] - scale.averages[..., SLOWEST]
    return {"unit": unit, "shock": change / unit, "trend": trend}


def observed_features(
    parts: dict[str, np.ndarray], scale: Scale, number: np.ndarray
) -> dict[str, np.ndarray]:
    """Every observed feature but the market's, [S, T] each, NaN where unknown.

    `parts` are those of `bar_parts`, `volume_parts` and `scale_parts`, `number` [S, T] counts the
    bars of a symbol.
    """
    unit, sigma = parts["unit"], scale.sigma
    out = {name: parts[name] / unit for name in ("return", "overnight", "intraday")}
    out["range"] = np.log((parts["range"] + 1e-3 * unit) / unit)
    for i, alpha in enumerate(ALPHAS):
        out[f"volatility_{alpha}"] = scale.averages[..., i] - np.log(sigma)
    out |= {name: parts[name] for name in ("volume", "volume_trend")}
    out["has_volume"] = np.isfinite(out["volume"]).astype(float)
    # The largest shocks of late and about one, two, three and four quarters ago
    shocks = {"shock": np.log1p(np.abs(out["return"])), "volume_shock": out["volume"]}
    for name, shock in shocks.items():
        out |= {f"{name}_{n}": trailing_max(shock, 0, n - 1) for n in RECENT}
        out |= {f"{name}_q{i}": trailing_max(shock, *lags) for i, lags in enumerate(QUARTERS, 1)}
    out["has_year"] = (number >= QUARTERS[-1][1]).astype(float)
    for name in HISTORY[:-1]:
        out[name] = np.where(out["has_year"] > 0, out[name], np.nan)
    return out


def session_sums(z: np.ndarray, trend: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Sums over the symbols of each session, and zeros for session -1, [4, M + 1].

    They are how many there are, of standardised returns `z`, their squares and volatility trends
    `trend` [S, T]; `session` [S, T] numbers the M sessions of a bar's own market, -1 for none.
    """
    valid = (session >= 0) & np.isfinite(z) & np.isfinite(trend)
    size = int(session.max(initial=-1)) + 1
    index = session[valid]
    values = np.clip(z[valid], -CLIP, CLIP)
    sums = np.zeros((4, size + 1))
    for row, weight in enumerate((None, values, values**2, trend[valid])):
        sums[row] = np.bincount(index, weight, size + 1)
    return sums


def market_features(
    sums: np.ndarray, session: np.ndarray, others: Iterable[np.ndarray] = ()
) -> dict[str, np.ndarray]:
    """The features MARKET of bars [S, T], NaN where fewer than MARKET_SYMBOLS count.

    `sums` are those of all sessions (session_sums); `session` [S, T] is that of a bar's own market,
    `others` are those that it sees of other markets; -1 for none.
    """
    joined = None
    for other in others:
        joined = (sums[:, session] if joined is None else joined) + sums[:, other]
    count, total, square, trends = sums if joined is None else joined
    count = np.where(count >= MARKET_SYMBOLS, count, np.nan)
    mean = total / count
    out = {
        "market_return": mean,
        "market_volatility": trends / count,
        "market_dispersion": np.log(np.sqrt(np.maximum(square / count - mean**2, 0)) + 0.05),
        "has_market": np.where(np.isfinite(count), 1.0, 0.0),
    }
    if joined is None:
        out = {name: values[session] for name, values in out.items()}
    return {name: np.where(session >= 0, values, np.nan) for name, values in out.items()}


def known_features(date: np.ndarray, minutes: float) -> np.ndarray:
    """Calendar of each bar [R, F_k] from one symbol's datetime64[ns] dates; zeros without dates."""
    if np.isnat(date).any():
        return np.zeros((len(date), len(KNOWN)))
    day = date.astype("datetime64[D]")
    month = date.astype("datetime64[M]").astype("datetime64[D]")
    weekday = (day.astype(np.int64) + 3) % 7
    year = date.astype("datetime64[Y]").astype("datetime64[D]")
    year_share = (day - year).astype(np.int64) / 365.25
    hour_share = (date - day).astype("timedelta64[s]").astype(np.int64) / 86_400
    gap = np.diff(date, prepend=date[:1]).astype("timedelta64[s]").astype(float) / 60
    gap[0] = minutes
    log_gap = np.log(np.maximum(gap, 1e-3) / max(minutes, 1e-3))
    known = {
        "month_day": (day - month).astype(np.int64) / 31 - 0.5,
        "gap": np.clip(log_gap, -CLIP, CLIP),
        "has_calendar": np.ones(len(date)),
    }
    for name, share in (("weekday", weekday / 7), ("year", year_share), ("hour", hour_share)):
        known[f"{name}_sin"] = np.sin(2 * np.pi * share)
        known[f"{name}_cos"] = np.cos(2 * np.pi * share)
    return np.stack([known[name] for name in KNOWN], axis=-1)
