"""Baselines that are hard to beat, with the networks' interface: quantiles [K, H, Q].

Each is a volatility at the origin times √step times empirical quantiles, by step, of returns over
that volatility. The first four differ in the volatility and take the quantiles of all training
origins. HAR's is the scale of the panel (data/scale.py), which the networks start from: harder to
beat than the textbook's, as it knows the session's season and the symbol's own past. Filtered
historical simulation takes HAR's volatility and each symbol's own last 500 outcomes. The
volatility-scaled random walk is the answer that is always there: HAR's volatility and symmetric
quantiles.

What validation chose (DJIA, 2014-2015, mean pinball × 10⁴): for GARCH-t empirical quantiles over
those of the fitted t distribution (40.23, 40.38); for the simulation HAR's volatility over
GARCH-t's and EWMA's (40.22, 40.44, 40.83).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.scale import RETURN_ALPHA, ewma
from ..data.windows import Panel
from ..errors import CheckpointError, ConfigError, HistoryTooShort, MissingDependency
from ..probability import ndtri

WARM_UP = 20  # bars before a volatility means something
FLOOR = 1e-8  # volatility of a series that does not move
WINDOW = 500  # outcomes that filtered historical simulation looks back on
LEAST = 250  # fewest outcomes of its own, and fewest training returns for a GARCH fit of its own
BLOCK = 2048  # origins simulated at a time, which bounds memory at 8 MB


def _constant(panel: Panel) -> np.ndarray:
    return np.ones(len(panel.close))


def _har(panel: Panel) -> np.ndarray:
    return np.asarray(panel.scale, float)


def _ewma(panel: Panel) -> np.ndarray:
    """RiskMetrics volatility: exponential average of squared returns, decay 0.94."""
    out = np.full(len(panel.close), np.nan)
    for start, size in zip(panel.start, panel.length, strict=True):
        squares = _returns(panel, start, size) ** 2
        out[start : start + size] = np.sqrt(ewma(squares[None], RETURN_ALPHA)[0])
    return np.maximum(out, FLOOR)


VOLATILITIES: dict[str, Callable[[Panel], np.ndarray]] = {
    "random walk": _constant,
    "EWMA": _ewma,
    "HAR": _har,
}
GARCH, SIMULATION = "GARCH-t", "filtered historical simulation"
BASELINES = (*VOLATILITIES, GARCH, SIMULATION)


class Baseline:
    """One of BASELINES, fitted on the training split of a panel; forecasts on that or any other.

    Parameters
    ----------
    name : one of BASELINES
    panel : another one must carry its volatility scale (make_panel's `fitted`) for HAR's sake
    levels : quantile levels, ascending

    Raises
    ------
    ConfigError : an unknown name, levels outside (0, 1)
    HistoryTooShort : no training origin
    MissingDependency : GARCH-t lacks the package arch
    """

    context = WARM_UP

    def __init__(self, name: str, panel: Panel, levels: tuple[float, ...]):
        if name not in BASELINES:
            raise ConfigError(
                f"There is no baseline {name!r}; choose one of {', '.join(BASELINES)}."
            )
        self.name = name
        self.levels = tuple(levels)
        self.horizon = panel.config.horizon
        ascending = list(self.levels) == sorted(set(self.levels))
        if not self.levels or not ascending or not all(0 < level < 1 for level in self.levels):
            raise ConfigError(
                f"The levels {self.levels} can't be used; give ascending numbers between 0 and 1."
            )
        self.garch = fit_garch(panel) if name == GARCH else {}
        self.shape = empirical_quantiles(panel, self.volatility(panel), self.levels)  # [H, Q]

    def volatility(self, panel: Panel) -> np.ndarray:
        """Volatility a √step, [R] where it is the same for all steps, else [R, H]."""
        if self.name == GARCH:
            return garch_volatility(panel, self.garch, self.horizon)
        if self.name == SIMULATION:
            return _har(panel)
        return VOLATILITIES[self.name](panel)

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        if panel.config.horizon < self.horizon:
            raise ConfigError(
                f"The baseline's horizon is {self.horizon} but the panel's "
                f"{panel.config.horizon}; make both the same."
            )
        volatility, shape = self.volatility(panel), self.shape
        if self.name == SIMULATION:
            shape = _simulated(panel, volatility, rows, self.levels, shape)  # [K, H, Q]
        root = np.sqrt(np.arange(1, self.horizon + 1))
        return (volatility.reshape(len(volatility), -1)[rows] * root)[..., None] * shape


class Walk:
    """Volatility-scaled random walk: no drift, scale · √step times symmetric quantiles.

    The scale is HAR's volatility forecast (data/features.py), so the intervals follow the market.

    Parameters
    ----------
    shape : [H, Q] quantiles of the training outcomes over that scale
    levels : quantile levels [Q], symmetric around the median
    """

    context = 2

    def __init__(self, shape: np.ndarray, levels: tuple[float, ...]):
        self.shape = np.asarray(shape, float)
        self.levels = tuple(levels)
        self.horizon = len(self.shape)
        fits = self.horizon and self.shape.shape == (self.horizon, len(levels))
        if not fits or not np.isfinite(self.shape).all() or (np.diff(self.shape) < 0).any():
            raise CheckpointError(
                "The random walk's quantiles don't fit its levels; save the model again."
            )

    @classmethod
    def fit(cls, panel: Panel, levels: tuple[float, ...]) -> Walk:
        """From the training split's outcomes; a normal distribution's if there are none."""
        try:
            shape = empirical_quantiles(panel, _har(panel), levels)
        except HistoryTooShort:
            return cls(np.tile(ndtri(np.array(levels)), (panel.config.horizon, 1)), levels)
        return cls((shape - shape[:, ::-1]) / 2, levels)

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        unit = _har(panel)[rows] * np.sqrt(np.arange(1, panel.steps + 1))  # [K, H]
        return unit[..., None] * self.shape[: panel.steps]


def baseline_quantiles(
    name: str, panel: Panel, rows: np.ndarray, levels: tuple[float, ...]
) -> np.ndarray:
    """Quantiles [K, H, Q] from `rows` [K] by one of BASELINES, fitted on the training split."""
    return Baseline(name, panel, levels).quantiles(panel, rows)


def empirical_quantiles(
    panel: Panel, volatility: np.ndarray, levels: tuple[float, ...]
) -> np.ndarray:
    """[H, Q] quantiles over all training origins of return / (volatility · √step).

    `volatility` is [R] or [R, H]. Raises HistoryTooShort without a training origin.
    """
    rows = panel.origins("train", WARM_UP)
    volatility = volatility.reshape(len(volatility), -1)[rows]
    scaled = np.asarray(panel.target)[rows] * (np.asarray(panel.scale)[rows] / volatility)
    scaled = scaled[np.isfinite(scaled).all(1)].astype(float)
    if not len(scaled):
        raise HistoryTooShort(
            f"No training origin has {WARM_UP} bars up to it; give more bars or move train_end."
        )
    return np.quantile(scaled, levels, axis=0).T


def _returns(panel: Panel, start: int, size: int) -> np.ndarray:
    """Log returns [T] of the symbol whose bars begin at row `start`, NaN first."""
    return np.diff(np.log(panel.close[start : start + size]), prepend=np.nan)


# --- GARCH(1,1) with Student's t


def fit_garch(panel: Panel) -> dict[str, np.ndarray]:
    """Maximum likelihood of GARCH(1,1) with t innovations (Bollerslev 1987), a fit a symbol.

    Uses the returns that the training split spans, over their standard deviation, so that the
    optimiser meets the same numbers whatever the units. Returns for each symbol [5]: mean and
    deviation of the returns, and omega (in units of the squared deviation), alpha, beta. "" holds
    the median omega, alpha and beta, for symbols with fewer than LEAST training returns, that never
    moved, whose fit failed or that come later: there a mean of 0 and the mean square of their own
    returns so far take the place of mean and deviation.
    """
    try:
        from arch import arch_model
    except ImportError as error:
        raise MissingDependency(
            f"GARCH-t needs arch, which can't be imported ({error}): "
            f"pip install 'tftnhits[evaluation]'."
        ) from error
    fitted = {}
    for name, start, size in zip(panel.symbols, panel.start, panel.length, strict=True):
        train = np.flatnonzero(panel.split[start : start + size] == 0)
        span = slice(train[0], train[-1] + panel.config.horizon + 1) if len(train) else slice(0)
        returns = _returns(panel, start, size)[span]
        returns = returns[np.isfinite(returns)]
        deviation = returns.std() if len(returns) else 0.0
        if len(returns) < LEAST or not deviation > FLOOR:
            continue
        model = arch_model(returns / deviation, vol="GARCH", p=1, q=1, dist="t", rescale=False)
        fit = model.fit(disp="off", show_warning=False)
        mean, *values = (fit.params[k] for k in ("mu", "omega", "alpha[1]", "beta[1]"))
        if fit.convergence_flag == 0 and np.isfinite(values).all():
            fitted[name] = np.array([mean * deviation, deviation, *values])
    typical = np.median([v[2:] for v in fitted.values()], axis=0) if fitted else (0.02, 0.05, 0.93)
    return {"": np.array([0.0, np.nan, *typical]), **fitted}


def garch_volatility(panel: Panel, fitted: dict[str, np.ndarray], horizon: int) -> np.ndarray:
    """[R, H]: root of the variance forecast for steps 1 … h, over √h, by `fit_garch`'s parameters.

    The variance after bar t is omega + alpha · e_t² + beta · (that before); a step further ahead,
    omega + (alpha + beta) · (the step before), summed over the steps. NaN at a symbol's first bar.
    """
    from scipy.signal import lfilter  # it takes half a second to import, and few want GARCH

    out = np.full((len(panel.close), horizon), np.nan)
    for name, start, size in zip(panel.symbols, panel.start, panel.length, strict=True):
        mean, deviation, omega, alpha, beta = fitted.get(name, fitted[""])
        if size < 2:
            continue
        squares = (_returns(panel, start, size)[1:] - mean) ** 2
        known = np.isfinite(squares)
        if np.isfinite(deviation):
            level = np.full(size - 1, deviation**2)
        else:
            level = np.cumsum(np.where(known, squares, 0.0)) / np.maximum(np.cumsum(known), 1)
        constant = omega * level
        shock = constant + alpha * np.where(known, squares, level)
        variance = lfilter([1.0], [1.0, -beta], shock, zi=[beta * level[0]])[0]
        total = np.zeros(size - 1)
        for h in range(horizon):
            total = total + variance
            out[start + 1 : start + size, h] = np.sqrt(total / (h + 1))
            variance = constant + (alpha + beta) * variance
    return np.maximum(out, FLOOR)


# --- filtered historical simulation


def _simulated(
    panel: Panel,
    volatility: np.ndarray,
    rows: np.ndarray,
    levels: tuple[float, ...],
    pooled: np.ndarray,
) -> np.ndarray:
    """[K, H, Q] quantiles of each symbol's last WINDOW outcomes over the volatility of their time.

    Hull & White 1998; Barone-Adesi, Giannopoulos & Vosper 1999. An outcome of h steps is known h
    bars later, so that the window of step h ends h bars before the origin. With fewer than LEAST
    outcomes: `pooled` [H, Q].
    """
    log_close = np.log(panel.close)
    first = panel.start[panel.symbol_of(rows)]
    out = np.empty((len(rows), *pooled.shape))
    for h in range(1, len(pooled) + 1):
        scaled = np.full(len(log_close), np.nan, np.float32)
        unit = volatility[:-h, h - 1] * np.sqrt(h)
        scaled[:-h] = (log_close[h:] - log_close[:-h]) / unit
        for k in range(0, len(rows), BLOCK):
            block = slice(k, k + BLOCK)
            back = rows[block, None] - h - np.arange(WINDOW)
            window = np.where(back >= first[block, None], scaled[np.maximum(back, 0)], np.nan)
            quantiles, known = _sorted_quantiles(np.sort(window, axis=1), levels)
            out[block, h - 1] = np.where(known[:, None] >= LEAST, quantiles, pooled[h - 1])
    return out


def _sorted_quantiles(
    ordered: np.ndarray, levels: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated quantiles [K, Q] of rows [K, W] sorted with NaN last, and the count [K]."""
    known = np.isfinite(ordered).sum(1)
    last = np.maximum(known - 1, 0)[:, None]
    place = np.asarray(levels) * last
    low = place.astype(int)
    below = np.take_along_axis(ordered, low, axis=1)
    above = np.take_along_axis(ordered, np.minimum(low + 1, last), axis=1)
    return below + (place - low) * (above - below), known
