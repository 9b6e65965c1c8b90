"""What one enhancement of a network buys: the same network without it, with the same seeds, on the same origins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from ..config import NHITSConfig, TFTConfig
from ..errors import ConfigError
from .verdicts import diebold_mariano

SIGNIFICANT = 0.05  # two-sided, over the seeds and over the dates
ENHANCED, CLASSIC = "enhanced", "classic"


def enhancements(config: TFTConfig | NHITSConfig) -> dict[str, Any]:
    """The fields in which a network's default differs from the paper's, with the paper's values."""
    kind = type(config)
    return {k: v for k, v in vars(kind.classic()).items() if v != vars(kind())[k]}


def variants(
    config: TFTConfig | NHITSConfig, names: str = ""
) -> dict[str, TFTConfig | NHITSConfig]:
    """The enhanced network first, then those that lack something.

    names: comma-separated, "classic" for the paper's network or fields of `enhancements`, each of which makes a variant
    "without <field>"; empty: all of them. Raises ConfigError on another name.
    """
    off = enhancements(config)
    every = {CLASSIC: replace(config, **off)} | {
        f"without {k}": replace(config, **{k: v}) for k, v in off.items()
    }
    wanted = [
        n if n == CLASSIC else f"without {n}" for n in names.replace(",", " ").split()
    ] or list(every)
    if unknown := [n.removeprefix("without ") for n in wanted if n not in every]:
        known = ", ".join([CLASSIC, *off])
        raise ConfigError(
            f"{type(config).__name__} has no variant {unknown[0]!r}; choose from {known}."
        )
    return {ENHANCED: config} | {name: every[name] for name in wanted}


def compare(off: np.ndarray, on: np.ndarray, dates: np.ndarray, lags: int) -> dict[str, Any]:
    """Losses [S, K] by seed and origin without (`off`) and with (`on`) an enhancement: difference and verdict.

    `difference` is the mean of off less on, above 0 where the enhancement helps. A difference counts if it shows over
    the seeds (paired t-test) and over the dates [K] (Diebold-Mariano with HAC errors of `lags`, on the seeds' mean).
    `p seeds`, `p dates` and `difference sd` (over seeds) are None where they can't be had.
    """
    by_seed = (off - on).mean(1)
    out: dict[str, Any] = {
        "difference": float(by_seed.mean()),
        "p seeds": None,
        "p dates": None,
        "difference sd": None,
    }
    if not (off - on).any():
        return {**out, "verdict": "no difference measured"}
    test = diebold_mariano(off.mean(0), on.mean(0), dates, lags)
    out["p dates"] = float(2 * min(test.p_value, 1 - test.p_value))
    if len(by_seed) < 2:
        return {**out, "verdict": "one seed, no verdict"}
    out["difference sd"], spread = float(by_seed.std(ddof=1)), np.ptp(by_seed) > 0
    out["p seeds"] = float(stats.ttest_1samp(by_seed, 0).pvalue) if spread else 0.0
    real = max(out["p seeds"], out["p dates"]) < SIGNIFICANT
    word = ("helps" if out["difference"] > 0 else "hurts") if real else "no difference measured"
    return {**out, "verdict": word}
