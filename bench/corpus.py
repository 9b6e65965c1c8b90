"""A corpus of markets to train on, as Parquet files that a user names.

A folder holds Parquet files and beside them a corpus.toml with a table for each market:

    [fx_hourly]
    file = "fx_hourly.parquet"    # symbol, date, open, high, low, close, volume
    train_end = "2015-12-31"
    valid_end = "2016-12-31"
    resample = ["2h", "4h"]       # more markets, of longer bars; "W" are weeks
    calendar = "24/7"             # if it can't be told from the dates

`read_corpus` makes one panel of all, in files that training maps into memory. Nothing of the bars
enters the repository.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tftnhits as tn
from tftnhits.config import QUANTILES, STEPS, PanelConfig
from tftnhits.data.corpus import Mixture, merge, pool
from tftnhits.data.splits import NONE
from tftnhits.data.windows import Panel, panel_of
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import pinball_loss
from tftnhits.models.baselines import empirical_quantiles
from tftnhits.training.loop import forecast_rows

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIST = "corpus.toml"
KEYS = {"file", "train_end", "valid_end", "resample", "calendar"}
ARRAYS = ("start", "length", "date", "close", "observed", "known", "static", "target", "scale")
ARRAYS += ("split",)
RECORD = "panel.json"
JUDGED = 20_000  # validation origins of a market that are looked at, about
PARTS = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


@dataclass(frozen=True)
class Market:
    """A file's bars, or longer ones made of them, and where its training and validation end."""

    name: str
    path: Path
    config: PanelConfig
    rule: str | None = None  # of resampling
    calendar: str | None = None

    def panel(self, fitted: dict[str, np.ndarray] | None = None) -> Panel:
        """Its panel; exits with a sentence on a file that is not bars, or of one symbol."""
        try:
            bars = tn.load_bars(self.path)
        except tn.TftnhitsError as error:
            raise SystemExit(f"{self.path}: {error}") from error
        if bars["symbol"].nunique() < 2:
            raise SystemExit(f"{self.path} holds one symbol; a market to learn from has several.")
        if self.rule:
            bars = tn.load_bars(resampled(bars, self.rule))
        return panel_of(bars, self.config, fitted, self.calendar)


def markets_in(folders: Sequence[str | Path], horizon: int) -> list[Market]:
    """The markets that the folders' lists name; exits with a sentence on a list that names none."""
    markets = []
    for folder in map(Path, folders):
        try:
            listed = tomllib.loads((folder / LIST).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SystemExit(f"{folder} has no readable {LIST} ({error}); write one.") from error
        for name, entry in listed.items():
            markets += _derived(name, folder, entry, horizon)
    names = [market.name for market in markets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"Two markets are called {min(twice)}; name them apart.")
    return markets


def _derived(name: str, folder: Path, entry: dict, horizon: int) -> Iterator[Market]:
    """A market and those of longer bars."""
    if not isinstance(entry, dict):
        raise SystemExit(
            f"{folder / LIST} has {name} outside of a market; put it below [its name]."
        )
    lacking = {"file", "train_end", "valid_end"} - entry.keys()
    if lacking or not entry.keys() <= KEYS:
        what = f"lacks {min(lacking)}" if lacking else f"has {min(entry.keys() - KEYS)}"
        raise SystemExit(f"[{name}] in {folder / LIST} {what}; its keys are {sorted(KEYS)}.")
    ends = {"train_end": entry["train_end"], "valid_end": entry["valid_end"]}
    config = PanelConfig(horizon=horizon, **ends)
    path, calendar = folder / entry["file"], entry.get("calendar")
    yield Market(name, path, config, None, calendar)
    for rule in entry.get("resample", ()):
        yield Market(f"{name}_{rule}", path, config, rule, calendar)


def resampled(bars: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Longer bars: weeks ("W") by their last date, hours ("4h") by the first."""
    weeks = rule == "W"
    period = bars["date"].dt.to_period("W").dt.start_time if weeks else bars["date"].dt.floor(rule)
    groups = bars.groupby(["symbol", period.rename("period")], sort=True, observed=True)
    longer = groups.agg({**PARTS, "date": "last" if weeks else "first"}).reset_index()
    return longer.drop(columns="period")


def read_corpus(
    markets: Sequence[Market],
    folder: Path,
    chunks: int,
    temperature: float,
    judged: int = JUDGED,
) -> Panel:
    """One panel of all markets, memory-mapped from `folder`, of which an epoch takes `chunks`.

    A market's share of the chunks goes with its training origins to the power of `temperature`: 0
    takes each market alike, 1 each origin. What `folder` holds is taken if it was made of the same
    files.
    """
    made_of = [repr((market, market.path.stat().st_mtime_ns)) for market in markets]
    if _made_of(folder) != made_of:
        _write(markets, folder, made_of)
    panel = _mapped(folder)
    count = len(panel.mixture.names)
    rows = panel.origins("train")
    size = np.bincount(panel.mixture.market[panel.symbol_of(rows)], minlength=count)
    share = np.maximum(size, 1) ** temperature
    share = np.maximum(1, np.round(chunks * share / share.sum())).astype(int)
    return replace(panel, mixture=replace(panel.mixture, chunks=share, judged=judged))


def restricted(panel: Panel, markets: Sequence[str]) -> Panel:
    """The panel in which only `markets` train and judge: "name", or "name:symbols at most"."""
    if not markets:
        return panel
    mixture, keep = panel.mixture, np.zeros(len(panel.symbols), bool)
    for market in markets:
        name, _, most = market.partition(":")
        if name not in mixture.names:
            raise SystemExit(
                f"There is no market {name}; the corpus has {', '.join(mixture.names)}."
            )
        own = np.flatnonzero(mixture.market == mixture.names.index(name))
        every = -(-len(own) // int(most)) if most else 1
        keep[own[::every]] = True
    rows = np.arange(len(panel.close))
    split = np.where(keep[panel.symbol_of(rows)], panel.split, NONE).astype(np.int8)
    some = np.bincount(mixture.market[keep], minlength=len(mixture.names)) > 0
    chunks = np.where(some, mixture.chunks, 0)
    chunks = np.round(chunks * mixture.chunks.sum() / chunks.sum()).astype(int)
    return replace(panel, split=split, mixture=replace(mixture, chunks=chunks))


def market_losses(model: torch.nn.Module, panel: Panel) -> dict[str, float]:
    """By market, a network's validation loss over that of the market's volatility scale."""
    panel = panel.first(STEPS)
    rows, _ = panel.judged("valid", model.config.context)
    return losses_of(forecast_rows(model, panel, rows), panel, rows)


def losses_of(quantiles: np.ndarray, panel: Panel, rows: np.ndarray) -> dict[str, float]:
    """`market_losses` of forecasts [K, H, Q] from the origins `rows` [K]."""
    market = panel.mixture.market[panel.symbol_of(rows)]
    unit = panel.scale[rows] * np.sqrt(np.arange(1, panel.steps + 1))
    loss = pinball_loss(quantiles / unit[..., None], panel.target[rows], QUANTILES)
    return {
        name: float(np.nanmean(loss[market == m]) / panel.mixture.unit[m])
        for m, name in enumerate(panel.mixture.names)
        if (market == m).any()
    }


def _made_of(folder: Path) -> list[str] | None:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))["made of"]
    except OSError:
        return None


def _write(markets: Sequence[Market], folder: Path, made_of: list[str]) -> None:
    """The panel of all markets as arrays that processes can map; no two in memory at once."""
    fitted = pool([market.panel().fitted for market in markets])
    panels, names = {}, []
    for m, market in enumerate(markets):
        panels[market.name] = _on_disk(market.panel(fitted), folder / "parts" / str(m))
        names += [m] * len(panels[market.name].symbols)
    mixture = Mixture(
        names=tuple(panels),
        market=np.array(names),
        chunks=np.ones(len(panels), int),
        unit=np.ones(len(panels)),
        judged=JUDGED,
    )
    merged = _on_disk(merge(panels, mixture), folder)
    record = {
        "made of": made_of,
        "config": merged.config.to_dict(),
        "symbols": merged.symbols,
        "fitted": {name: values.tolist() for name, values in fitted.items()},
        "names": mixture.names,
        "market": names,
        "unit": scale_losses(merged, panels.values()).tolist(),
    }
    write_json(folder / RECORD, record)
    shutil.rmtree(folder / "parts")


def _on_disk(panel: Panel, folder: Path) -> Panel:
    """The panel with its arrays mapped from files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(panel, name))
    return replace(panel, **_arrays(folder))


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}


def _mapped(folder: Path) -> Panel:
    """The panel that `_write` left: what is not touched takes no memory."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    names = tuple(record["names"])
    mixture = Mixture(
        names=names,
        market=np.array(record["market"]),
        chunks=np.ones(len(names), int),
        unit=np.array(record["unit"]),
        judged=JUDGED,
    )
    return Panel(
        config=PanelConfig.from_dict(record["config"]),
        symbols=tuple(record["symbols"]),
        fitted={name: np.array(values) for name, values in record["fitted"].items()},
        mixture=mixture,
        **_arrays(folder),
    )


def scale_losses(merged: Panel, panels: Iterable[Panel], context: int = 60) -> np.ndarray:
    """Mean pinball loss [M], on the origins judged, of the scale times a market's own quantiles."""
    merged = merged.first(STEPS)
    rows, _ = merged.judged("valid", context)
    market, losses = merged.mixture.market[merged.symbol_of(rows)], []
    for m, panel in enumerate(panels):
        panel = panel.first(STEPS)
        shape = empirical_quantiles(panel, np.asarray(panel.scale, float), QUANTILES)  # [h, Q]
        target = merged.target[rows[market == m]]
        losses.append(np.nanmean(pinball_loss(shape[None], target, QUANTILES)))
    return np.array(losses)
