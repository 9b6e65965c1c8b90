"""Bars, panels and batches that are small enough to test with."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from tftnhits import (
    BoostingConfig,
    NHITSConfig,
    PanelConfig,
    TFTConfig,
    TrainConfig,
    load_bars,
    make_panel,
)
from tftnhits.data.windows import Batch

ROOT = Path(__file__).parents[1]
SYMBOLS = ("AAPL", "GOOG", "META", "NVDA")
TFT_TINY = TFTConfig(hidden=8, heads=2, context=20, dropout=0.1)
NHITS_TINY = NHITSConfig(hidden=16, context=20, pools=(4, 1), dropout=0.1)
BOOSTING_TINY = BoostingConfig(trees=4, rows=2_000, min_leaf=50)
TRAIN_TINY = TrainConfig(epochs=2, batch=4, origins=32)


def stocks(symbols=SYMBOLS, start="2016-01-01", end="2017-12-31") -> pd.DataFrame:
    """Real bars."""
    bars = load_bars("stocks")
    return bars[bars["symbol"].isin(symbols) & bars["date"].between(start, end)].reset_index(
        drop=True
    )


def made_bars(
    symbols=("A", "B", "C", "D"), bars=300, freq="B", volume=True, seed=0
) -> pd.DataFrame:
    """Valid bars of random walks; `freq` None leaves the dates out."""
    parts = []
    for i, symbol in enumerate(symbols):
        rng = np.random.default_rng([seed, i])
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
        open_ = close * np.exp(rng.normal(0, 0.005, bars))
        spread = np.exp(np.abs(rng.normal(0, 0.005, (2, bars))))
        dates = (
            pd.DatetimeIndex([pd.NaT] * bars)
            if freq is None
            else pd.date_range("2015-01-02", periods=bars, freq=freq)
        )
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "date": dates,
                    "open": open_,
                    "high": np.maximum(open_, close) * spread[0],
                    "low": np.minimum(open_, close) / spread[1],
                    "close": close,
                    "volume": np.exp(rng.normal(12, 0.5, bars)) if volume else np.nan,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def made_panel(bars=300, horizon=5, **changes):
    """A panel of made bars."""
    return make_panel(made_bars(bars=bars), PanelConfig(horizon=horizon, **changes))


def tiny_members(panel) -> dict:
    """A TFT, an N-HITS and a boosting, each trained in a second."""
    from tftnhits import fit
    from tftnhits.models.boosting import Boosting

    networks = {"tft": TFT_TINY, "nhits": NHITS_TINY}
    fits = {k: fit(c, panel, TRAIN_TINY, progress=False).model for k, c in networks.items()}
    return {"boosting": Boosting(BOOSTING_TINY).fit(panel), **fits}


def random_inputs(observed=5, known=3, static=3) -> dict[str, tuple[str, ...]]:
    """Names of inputs, "return" among them."""
    return {
        "observed": ("other", "return", *(f"o{i}" for i in range(observed - 2))),
        "known": tuple(f"k{i}" for i in range(known)),
        "static": tuple(f"s{i}" for i in range(static)),
    }


def random_batch(inputs, context=8, origins=4, horizon=3, chunks=2, before=0, seed=0) -> Batch:
    """A batch of random tensors; `before` adds bars that no fork sees."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    bars = context + origins - 1 + before

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return Batch(
        normal(chunks, bars, len(inputs["observed"])),
        normal(chunks, bars + horizon, len(inputs["known"])),
        normal(chunks, len(inputs["static"])),
        normal(chunks, origins, horizon),
        normal(chunks, origins, horizon).abs() + 0.1,
    )


def stir(model, seed=0) -> None:
    """Random values for all parameters, those that start at zero too."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def python(code: str, *args: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a fresh interpreter from the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """For subprocesses: they find the package and these helpers."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def calibrated_by_hand(predictor, name, panel, rows, raw):
    """Quantiles [K, H, Q] of who answers from `rows`, calibrated by the pool and by own history."""
    from tftnhits.forecast.conformal import quantiles_at
    from tftnhits.forecast.own import own_history
    from tftnhits.forecast.pools import pool_scores

    want = norm.ppf(predictor.levels)
    walk, score = (partial(pool_scores, predictor.pools, key, panel) for key in ("walk", name))
    own, _ = own_history(panel, rows, predictor.walk, walk, want, 0.93)
    return quantiles_at(raw, want, np.sort(score(rows, want) + own, axis=-1))


def one_sentence(message: str) -> bool:
    """Whether an error reads as one line that ends in a full stop."""
    return "\n" not in message and message.endswith((".", "?")) and len(message) < 500


def specific(warnings: list[str]) -> list[str]:
    """Those that are not true of most forecasts of old or made-up bars."""
    usual = ("more than 3 ", "What its market did", "was not measured; ", "trained on outcomes")
    usual += ("No coverage is claimed", "Coverage was measured on ")
    return [text for text in warnings if not any(words in text for words in usual)]
