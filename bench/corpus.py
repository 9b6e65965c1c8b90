"""A corpus of markets to train on, as Parquet files that a user names.

A folder holds Parquet files and beside them a corpus.toml with a table for each market:

    [fx_hourly]
    file = "fx_hourly.parquet"    # symbol, date, open, high, low, close, volume
    train_end = "2015-12-31"
    valid_end = "2016-12-31"
    resample = ["2h", "4h"]       # more markets, of longer bars; "W" are weeks
    calendar = "24/7"             # if it can't be told from the dates

`read_corpus` makes one panel of all. Nothing of the bars enters the repository.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import tftnhits as tn
from tftnhits.config import QUANTILES, PanelConfig
from tftnhits.data.corpus import Mixture, merge, pool
from tftnhits.data.windows import Panel, panel_of
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import pinball_loss
from tftnhits.models.baselines import empirical_quantiles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIST = "corpus.toml"
KEYS = {"file", "train_end", "valid_end", "resample", "calendar"}
ARRAYS = ("start", "length", "date", "close", "observed", "known", "static", "target", "scale")
ARRAYS += ("split",)
MIXTURE = ("names", "market", "chunks", "unit", "judged")
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
    markets: Sequence[Market], chunks: int, temperature: float, judged: int = 20_000
) -> Panel:
    """One panel of all markets, of which an epoch takes `chunks` chunks.

    A market's share of them goes with its training origins to the power of `temperature`: 0 takes
    each market alike, 1 each origin.
    """
    fitted = pool({market.name: market.panel() for market in markets})
    panels = {market.name: market.panel(fitted) for market in markets}
    size = np.array([max(len(p.origins("train")), 1) for p in panels.values()], float)
    share = size**temperature / (size**temperature).sum()
    count = [len(panel.symbols) for panel in panels.values()]
    mixture = Mixture(
        names=tuple(panels),
        market=np.repeat(np.arange(len(panels)), count),
        chunks=np.maximum(1, np.round(chunks * share)).astype(int),
        unit=np.ones(len(panels)),
        judged=judged,
    )
    merged = merge(panels, mixture)
    unit = scale_losses(merged, list(panels.values()))
    return replace(merged, mixture=replace(mixture, unit=unit))


def keep(panel: Panel, folder: Path) -> None:
    """Write a corpus's panel, its arrays so that processes can map them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(panel, name))
    mixture = {k: np.asarray(getattr(panel.mixture, k)).tolist() for k in MIXTURE}
    fitted = {name: values.tolist() for name, values in panel.fitted.items()}
    record = {"config": panel.config.to_dict(), "symbols": panel.symbols, "fitted": fitted}
    write_json(folder / "panel.json", record | {"mixture": mixture})


def mapped(folder: Path) -> Panel:
    """The panel that `keep` wrote, memory-mapped: what is not touched takes no memory."""
    record = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    fitted = {name: np.array(values) for name, values in record["fitted"].items()}
    mixture = record["mixture"]
    as_arrays = {name: np.array(mixture[name]) for name in ("market", "chunks", "unit")}
    return Panel(
        config=PanelConfig.from_dict(record["config"]),
        symbols=tuple(record["symbols"]),
        fitted=fitted,
        mixture=Mixture(names=tuple(mixture["names"]), judged=mixture["judged"], **as_arrays),
        **arrays,
    )


def scale_losses(merged: Panel, panels: Sequence[Panel], context: int = 60) -> np.ndarray:
    """Mean pinball loss [M], on the origins judged, of the scale times a market's own quantiles."""
    rows, _ = merged.judged("valid", context)
    market, losses = merged.mixture.market[merged.symbol_of(rows)], []
    for m, panel in enumerate(panels):
        shape = empirical_quantiles(panel, np.asarray(panel.scale, float), QUANTILES)  # [H, Q]
        target = merged.target[rows[market == m]]
        losses.append(np.nanmean(pinball_loss(shape[None], target, QUANTILES)))
    return np.array(losses)
