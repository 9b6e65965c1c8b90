"""Is one forecaster better than another? Tests on losses, always on means by origin date.

Symbols of a day move together and forecasts of several steps overlap, so that neither are
independent draws: losses are averaged over the symbols and steps of an origin date, and the series
of these means is treated as autocorrelated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..config import NHITSConfig, TFTConfig
from ..errors import ConfigError, MissingDependency
from .metrics import ROUNDING, by_date, hac_variance

SIGNIFICANT = 0.05  # two-sided, over the seeds and over the dates of an ablation
ENHANCED, CLASSIC = "enhanced", "classic"
Network = TFTConfig | NHITSConfig


class DM(NamedTuple):
    """Diebold-Mariano test of a against b; a small p-value says that a is better."""

    statistic: float  # negative where a's loss is the smaller one
    p_value: float  # one-sided
    difference: float  # mean over dates of a's loss less b's
    dates: int


def diebold_mariano(loss_a: np.ndarray, loss_b: np.ndarray, date: np.ndarray, lags: int) -> DM:
    """Test of a smaller loss, clustered by date (Diebold & Mariano 1995).

    With Newey-West variance, the small-sample correction of Harvey, Leybourne & Newbold (1997, eq.
    9, lags + 1 for the horizon) and Student's t with n − 1 degrees. Equal losses give statistic 0
    and p 0.5, a constant difference an infinite statistic, one date NaN.

    Parameters
    ----------
    loss_a, loss_b : [K] or [K, H] of the same forecasts; cells that either lacks are left out
    date : [K] of the origins
    lags : at least H − 1
    """
    losses = date_losses({"a": loss_a, "b": loss_b}, date)
    difference = (losses["a"] - losses["b"]).to_numpy()
    n, mean = len(difference), float(difference.mean())
    if n < 2:
        return DM(float("nan"), float("nan"), mean, n)
    h = min(lags + 1, n - 1)
    variance = hac_variance(difference, h - 1)
    if variance > ROUNDING * (losses**2).mean().sum():
        correction = (n + 1 - 2 * h + h * (h - 1) / n) / n
        statistic = float(mean / np.sqrt(variance / n) * np.sqrt(correction))
    elif abs(mean) <= 1e-10 * losses["a"].abs().mean():
        statistic = 0.0
    else:
        statistic = float(np.copysign(np.inf, mean))
    return DM(statistic, float(stats.t.cdf(statistic, n - 1)), mean, n)


def date_losses(losses: Mapping[str, np.ndarray], date: np.ndarray) -> pd.DataFrame:
    """A column a forecaster, a row an origin date: means over the cells that all of them have."""
    arrays = {name: np.asarray(loss, float) for name, loss in losses.items()}
    shapes = {loss.shape for loss in arrays.values()}
    if len(shapes) != 1 or min(shapes)[0] != len(date):
        raise ConfigError("The losses can't be compared; give at least one, and all of one shape.")
    known = np.all([np.isfinite(v) for v in arrays.values()], axis=0)
    frame = pd.DataFrame({k: by_date(np.where(known, v, np.nan), date) for k, v in arrays.items()})
    if frame.empty:
        raise ConfigError("No origin has a loss from each forecaster; score the same origins.")
    return frame


def confidence_set(
    losses: Mapping[str, np.ndarray],
    date: np.ndarray,
    size: float = 0.10,
    reps: int = 2000,
    seed: int = 0,
    block: int = 10,
) -> pd.DataFrame:
    """Model confidence set: who may still be the best (Hansen, Lunde & Nason 2011).

    With the range statistic, by a stationary bootstrap of date means.

    Parameters
    ----------
    losses : by forecaster, [K] or [K, H]
    date : [K] of the origins
    size : share of such sets that may lose the best one
    reps, seed, block : draws, and the mean length of their blocks in dates (at least 2H)

    Returns
    -------
    DataFrame : a row a forecaster, best first: `loss` (mean over dates), `p_value` (that it belongs
        to the best), `included` (p > size); forecasters with equal losses share one verdict
    """
    try:
        from arch import bootstrap
    except ImportError as error:
        need = "Confidence sets need arch; pip install 'tftnhits[evaluation]'."
        raise MissingDependency(need) from error
    frame = date_losses(losses, date)
    twin = _twins(frame)
    rivals = [name for name in frame if twin[name] == name]
    p_value = dict.fromkeys(rivals, 1.0)
    if len(rivals) > 1 and len(frame) > 2:
        options = {"block_size": max(1, min(block, len(frame) // 2)), "reps": reps, "seed": seed}
        test = bootstrap.MCS(frame[rivals], size, method="R", **options)
        test.compute()
        p_value |= test.pvalues["Pvalue"].to_dict()
    table = pd.DataFrame({"loss": frame.mean()}).rename_axis("forecaster")
    table["p_value"] = [float(p_value[twin[name]]) for name in frame]
    table["included"] = table["p_value"] > size
    return table.sort_values("loss", kind="stable")


def _twins(frame: pd.DataFrame) -> dict[str, str]:
    """For each column the first one that equals it, but for rounding."""
    twin: dict[str, str] = {}
    for name in frame:
        near = np.sqrt(ROUNDING * (frame[name] ** 2).mean())
        equal = [k for k in twin if np.allclose(frame[name], frame[k], rtol=0, atol=near)]
        twin[name] = twin[equal[0]] if equal else name
    return twin


# --- ablation: the same network without an enhancement, with the same seeds, on the same origins


def enhancements(config: Network) -> dict[str, Any]:
    """The fields in which a network's default differs from the paper's, with the paper's values."""
    default = vars(type(config)())
    classic = vars(type(config).classic())
    return {name: value for name, value in classic.items() if value != default[name]}


def variants(config: Network, names: str = "") -> dict[str, Network]:
    """The enhanced network first, then those that lack something.

    Parameters
    ----------
    config : the enhanced network
    names : comma-separated, "classic" for the paper's network or fields of `enhancements`, each of
        which makes a variant "without <field>"; empty: all of them
    """
    off = enhancements(config)
    out = {ENHANCED: config}
    for name in names.replace(",", " ").split() or [CLASSIC, *off]:
        if name == CLASSIC:
            out[CLASSIC] = replace(config, **off)
        elif name in off:
            out[f"without {name}"] = replace(config, **{name: off[name]})
        else:
            known = ", ".join([CLASSIC, *off])
            raise ConfigError(f"There is no variant {name!r}; choose from {known}.")
    return out


def compare(off: np.ndarray, on: np.ndarray, dates: np.ndarray, lags: int) -> dict[str, Any]:
    """What an enhancement buys.

    Parameters
    ----------
    off, on : losses [S, K] by seed and origin, without and with the enhancement
    dates : [K] of the origins
    lags : of the HAC errors over the dates

    Returns
    -------
    dict : `difference`, the mean of off less on, above 0 where it helps; `difference sd` over the
        seeds; `p seeds` (paired t-test) and `p dates` (Diebold-Mariano on the seeds' mean), None
        where they can't be had; `verdict`, for which it must show over both
    """
    by_seed = (off - on).mean(1)
    out: dict[str, Any] = {
        "difference": float(by_seed.mean()),
        **dict.fromkeys(("p seeds", "p dates", "difference sd")),
        "verdict": "no difference measured",
    }
    if not (off - on).any():
        return out
    test = diebold_mariano(off.mean(0), on.mean(0), dates, lags)
    out["p dates"] = float(2 * min(test.p_value, 1 - test.p_value))
    if len(by_seed) < 2:
        return out | {"verdict": "one seed, no verdict"}
    out["difference sd"] = float(by_seed.std(ddof=1))
    # Seeds that all differ alike leave nothing to chance
    out["p seeds"] = float(stats.ttest_1samp(by_seed, 0).pvalue) if np.ptp(by_seed) > 0 else 0.0
    if max(out["p seeds"], out["p dates"]) < SIGNIFICANT:
        out["verdict"] = "helps" if out["difference"] > 0 else "hurts"
    return out
