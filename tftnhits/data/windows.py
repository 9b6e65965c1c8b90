"""The panel: validated bars with features and targets in flat arrays, and batches cut from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..errors import ConfigError, DataError, HistoryTooShort
from . import features as F
from .calendars import session_lengths
from .markets import LONGER, Timeline, join_markets, timelines, unseen_markets
from .patterns import weekday_of
from .repair import validate_bars

SPLITS = ("train", "valid", "test")
EARLIEST, LATEST = np.datetime64("1677-09-22"), np.datetime64("2262-04-11")


class Batch(NamedTuple):
    """B chunks of T bars whose last N bars are forecast origins; numpy or torch, float32."""

    observed: Any  # [B, T, F_o]
    known: Any  # [B, T+H, F_k]
    static: Any  # [B, F_s]
    target: Any  # [B, N, H] log return / (scale · √step), NaN where unknown or outside the split
    scale: Any  # [B, N] one-bar volatility forecast at the origin


@dataclass(frozen=True)
class Panel:
    """All symbols' rows in turn; after each symbol's bars H rows hold its known future."""

    config: PanelConfig
    symbols: tuple[str, ...]
    start: np.ndarray  # [S] first row of each symbol
    length: np.ndarray  # [S] its bars
    date: np.ndarray  # [R] datetime64[ns] as the source has it, NaT where there is none
    close: np.ndarray  # [R] float64, NaN in future rows
    observed: Any  # [R, F_o] float32, zero where unknown
    known: Any  # [R, F_k] float32
    static: Any  # [S, F_s] float32
    target: Any  # [R, H] float32
    scale: Any  # [R] float32
    split: np.ndarray  # [R] int8: 0, 1, 2 as in SPLITS; 3 elsewhere (purged, or no outcome yet)
    fitted: dict[str, np.ndarray]  # of the training split: "har" [6], "center", "spread" [F_o]
    # By symbol: a calendar that tells but so many of the H dates ahead; sentences to warn with
    outrun: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Names of the observed, known and static inputs."""
        return input_names(self.config)

    def origins(self, split: str, context: int = 1) -> np.ndarray:
        """Rows [K] that are origins of `split` with at least `context` bars up to and including them."""
        if split not in SPLITS:
            raise ConfigError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        rows = np.flatnonzero(self.split == SPLITS.index(split))
        return rows[rows - self.start[self.symbol_of(rows)] >= context - 1]

    def last_origins(self, context: int = 1) -> np.ndarray:
        """The last bar of every symbol, [S]; raises HistoryTooShort where a symbol has fewer than `context` bars."""
        if (short := np.flatnonzero(self.length < context)).size:
            name, have = self.symbols[short[0]], self.length[short[0]]
            other = (
                ", or use the gradient boosting fallback, which answers from 2 bars on"
                if context > 2
                else ""
            )
            raise HistoryTooShort(
                f"{name} has {have} bars but the model needs {context}; give {context - have} more{other}."
            )
        return self.start + self.length - 1

    def symbol_of(self, rows: np.ndarray) -> np.ndarray:
        """Index of the symbol that each row belongs to."""
        return np.searchsorted(self.start, rows, side="right") - 1

    def outcomes(self, rows: np.ndarray) -> np.ndarray:
        """Cumulative log returns [K, H] that came true after the origins `rows` [K], NaN where the bars end."""
        ahead = self.close[rows[:, None] + 1 + np.arange(self.config.horizon)]
        return np.log(ahead / self.close[rows, None])

    def with_tensors(self, device: str = "cpu") -> Panel:
        """The same panel with torch tensors on `device`, from which batches are gathered there."""
        import torch

        names = ("observed", "known", "static", "target", "scale")
        return replace(self, **{n: torch.as_tensor(getattr(self, n), device=device) for n in names})

    def digest(self) -> str:
        """A hash of the data, for manifests and for training states: dates, closes, symbols, inputs and splits."""
        names = "\0".join(self.symbols).encode()
        parts = (
            self.date.view(np.int64),
            np.nan_to_num(self.close),
            np.frombuffer(names, np.uint8),
        )
        parts += (np.asarray(self.observed), np.asarray(self.scale), self.split)
        return hashlib.sha256(
            b"".join(np.ascontiguousarray(p).tobytes() for p in parts)
        ).hexdigest()[:16]


def input_names(config: PanelConfig) -> dict[str, tuple[str, ...]]:
    """Names of the observed, known and static inputs of a panel made with `config`."""
    known = config.known or tuple(name for name in F.KNOWN if name not in F.NAMED_ONLY)
    return {"observed": config.observed or F.OBSERVED, "known": known, "static": F.STATIC}


def make_panel(
    bars: pd.DataFrame,
    config: PanelConfig | None = None,
    fitted: dict[str, np.ndarray] | None = None,
    calendar: str | Mapping[str, str | None] | None = None,
) -> Panel:
    """Validate bars, compute features and targets, and split by date.

    Parameters
    ----------
    bars : frame of symbol, date, open, high, low, close, volume; `attrs["zones"]` may name the time
        zone of a symbol's dates ("America/New_York", "UTC+08:00")
    config : horizon, inputs and splits
    fitted : volatility scale, means and deviations of a trained model (Panel.fitted); None fits
        them on the training split
    calendar : a name of exchange_calendars ("XNYS", "24/7"), or names by symbol, tells the sessions
        ahead; None infers it from symbol, zone and dates (calendars.market_of)

    Raises
    ------
    DataError on bars that can't be repaired, ConfigError on an unknown feature or calendar or dates
    out of order, MissingDependency on a calendar's name without exchange_calendars.
    """
    return panel_of(validate_bars(bars)[0], config or PanelConfig(), fitted, calendar)


def panel_of(
    bars: pd.DataFrame,
    config: PanelConfig,
    fitted: dict[str, np.ndarray] | None = None,
    calendar: str | Mapping[str, str | None] | None = None,
) -> Panel:
    """`make_panel` of validated bars (load_bars): to do it twice takes as long as the features."""
    grid, horizon = _Grid(bars, config.horizon), config.horizon
    known_names = _chosen(input_names(config)["known"], F.KNOWN)
    close = grid.wide(bars["close"].to_numpy(float))
    volume = grid.wide(bars["volume"].to_numpy(float))

    # Times: by each market's clock, dates ahead, and the sessions of all markets that a bar sees
    lines, which = timelines(bars, grid.lengths, horizon, calendar)
    times = grid.wide(np.concatenate([lines[i].times for i in which]), np.datetime64("NaT"))
    known = [_known(line, known_names) for line in lines]
    joined = join_markets(lines, which)
    split = _splits(times, grid.length, config)

    date = np.full(grid.rows, np.datetime64("NaT", "ns"))
    date[grid.target] = bars["date"].to_numpy("datetime64[ns]")
    date[grid.ahead] = np.stack([lines[i].market.source_time(lines[i].ahead) for i in which])

    # Prices: their log returns, and the volatility scale that makes these of unit size
    price = {
        k: np.log(grid.wide(bars[k].to_numpy(float))) for k in ("open", "high", "low", "close")
    }
    parts = F.bar_parts(price)
    sigma, har = _scale(parts, times, grid.length, config, fitted)

    # Observed inputs: of the symbol itself, and of its market
    features = F.observed_features(parts, volume, sigma)
    trend = features["volatility_0.15"] - features["volatility_0.015"]
    session, others = grid.wide(joined.session, -1), [grid.wide(x, -1) for x in joined.others]
    features |= F.market_features(features["return"], trend, session, others)
    names = _chosen(config.observed, F.OBSERVED)
    observed = np.stack([features[name] for name in names], axis=-1)
    if fitted is None:
        fitted = {"har": har, **_standard(observed[split == 0], names)}
    observed = _standardised(observed, fitted)

    static = np.array([_static(lines[i], np.isfinite(v).any()) for i, v in zip(which, volume)])
    return Panel(
        config=config,
        symbols=tuple(grid.lengths),
        start=grid.start,
        length=grid.length,
        date=date,
        close=grid.flat(close, np.nan),
        observed=grid.flat(observed, 0.0).astype(np.float32),
        known=np.concatenate([known[i] for i in which]),
        static=static.astype(np.float32),
        target=grid.flat(_targets(price["close"], sigma, horizon), np.nan).astype(np.float32),
        scale=grid.flat(sigma, np.nan).astype(np.float32),
        split=grid.flat(split, 3),
        fitted={name: np.asarray(values, float) for name, values in fitted.items()},
        outrun={
            symbol: (lines[i].market.calendar, lines[i].told)
            for symbol, i in zip(grid.lengths, which)
            if lines[i].told < horizon
        },
        notes=unseen_markets(tuple(grid.lengths), joined),
    )


class _Grid:
    """Bars as cells [S, T] (symbol, bar number), and as rows [R] with H spare ones a symbol."""

    def __init__(self, bars: pd.DataFrame, horizon: int):
        symbol = bars["symbol"].to_numpy()
        first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]
        self.length = np.diff(np.r_[first, len(symbol)])  # [S]
        self.lengths = dict(zip(symbol[first].tolist(), self.length.tolist()))
        self.start = np.r_[0, np.cumsum(self.length + horizon)[:-1]]  # [S]
        self.rows = len(symbol) + horizon * len(first)
        self.cells = np.arange(self.length.max()) < self.length[:, None]
        self.target = np.arange(len(symbol)) + np.repeat(self.start - first, self.length)
        self.ahead = (self.start + self.length)[:, None] + np.arange(horizon)  # [S, H]

    def wide(self, column: np.ndarray, fill: Any = np.nan) -> np.ndarray:
        """A column of bars as [S, T]."""
        out = np.full(self.cells.shape, fill, column.dtype)
        out[self.cells] = column
        return out

    def flat(self, values: np.ndarray, fill: Any) -> np.ndarray:
        """[S, T, …] as rows [R, …]."""
        out = np.full((self.rows, *values.shape[2:]), fill, values.dtype)
        out[self.target] = values[self.cells]
        return out


def _scale(
    parts: dict[str, np.ndarray],
    times: np.ndarray,
    length: np.ndarray,
    config: PanelConfig,
    fitted: dict[str, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The volatility forecast of each bar [S, T], and its coefficients, fitted if there are none."""
    inputs = F.har_inputs(parts)
    if fitted is not None:
        har = np.asarray(fitted["har"], float)
    else:  # it looks HAR_STEPS ahead, whatever the horizon: purged by that
        longer = replace(config, horizon=max(config.horizon, F.HAR_STEPS))
        har = F.fit_har(inputs, parts["variance"], _splits(times, length, longer) == 0)
    return np.exp((inputs * har).sum(-1)), har


def _targets(price: np.ndarray, sigma: np.ndarray, horizon: int) -> np.ndarray:
    """Cumulative log returns of 1 … H steps in units of the scale, [S, T, H]; NaN past the end."""
    out = np.full((*price.shape, horizon), np.nan)
    for step in range(1, min(horizon, price.shape[1] - 1) + 1):
        change = price[:, step:] - price[:, :-step]
        out[:, :-step, step - 1] = change / (sigma[:, :-step] * np.sqrt(step))
    return out


def _known(line: Timeline, names: tuple[str, ...]) -> np.ndarray:
    """Known inputs [R+H, F_k] of bars and of those ahead."""
    times = np.concatenate([line.times, line.ahead])
    lengths = None
    if "session" in names and line.step < LONGER:
        lengths = session_lengths(pd.DatetimeIndex(times), line.market.calendar)
    every = F.known_features(times, line.step / np.timedelta64(1, "m"), lengths)
    return every[:, [F.KNOWN.index(name) for name in names]].astype(np.float32)


def _static(line: Timeline, has_volume: bool) -> tuple[float, ...]:
    """Static inputs of a symbol, [F_s]."""
    if np.isnat(line.times).any():
        return 0.0, 0.0, has_volume, 0.0
    days = max(line.step / np.timedelta64(1, "m"), 1e-3) / 1440
    return np.log10(days), (weekday_of(line.times) >= 5).any(), has_volume, 1.0


def _standardised(observed: np.ndarray, fitted: dict[str, np.ndarray]) -> np.ndarray:
    """Inputs less the training split's means, over its deviations, within ±CLIP; 0 if unknown."""
    out = (observed - fitted["center"]) / fitted["spread"]
    return np.clip(np.nan_to_num(out, nan=0.0, posinf=F.CLIP, neginf=-F.CLIP), -F.CLIP, F.CLIP)


def _standard(rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Mean and deviation [F_o] of the training rows; the return is of unit size already, and flags stay as they are."""
    center, spread = np.zeros(len(names)), np.ones(len(names))
    for i, name in enumerate(names):
        known = rows[:, i][np.isfinite(rows[:, i])]
        if name != "return" and not name.startswith("has_") and len(known) > 30:
            center[i], spread[i] = known.mean(), max(known.std(), 1e-3)
    return {"center": center, "spread": spread}


def _chosen(names: tuple[str, ...] | None, every: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(names or ()) - set(every)):
        raise ConfigError(f"There is no feature {unknown[0]!r}; choose from {', '.join(every)}.")
    return names or every


def _splits(date: np.ndarray, length: np.ndarray, config: PanelConfig) -> np.ndarray:
    """[S, T] int8 split of each origin; 3 if embargoed, or if its outcome would reach over a border."""
    bar = np.broadcast_to(np.arange(date.shape[1]), date.shape)
    dated = ~np.isnat(date)
    if dated.any():
        seen = np.unique(date[dated])
        ends = [seen[int(share * (len(seen) - 1))] for share in (0.7, 0.85)]
        for i, given in enumerate((config.train_end, config.valid_end)):
            if given is not None:
                try:
                    # a date without a time means the whole of that day
                    ends[i] = (
                        pd.Timestamp(given) + pd.Timedelta(days=1, nanoseconds=-1)
                    ).to_datetime64()
                except (ValueError, TypeError) as error:
                    raise ConfigError(
                        f"The split date {given!r} is no date; write it as 2013-12-31."
                    ) from error
        if ends[0] > ends[1]:
            raise ConfigError(
                f"train_end {ends[0]} comes after valid_end {ends[1]}; give them in order."
            )
        begun = position = date
        borders = [np.datetime64("1677-09-22"), *ends, np.datetime64("2262-04-11")]
        begins = [borders[0], *(_embargoed(seen, end, config.embargo) for end in ends)]
    else:
        position, borders = bar / length[:, None], [-1, 0.7, 0.85, 1]
        begun, begins = (bar - config.embargo) / length[:, None], [-np.inf, *borders[1:3]]
    split = np.full(date.shape, 3, np.int8)
    last = _shift_position(position, config.horizon)
    for i in range(3):
        split[
            (begun > begins[i])
            & (last <= borders[i + 1])
            & (bar + config.horizon < length[:, None])
        ] = i
    return split


def _embargoed(seen: np.ndarray, end: np.datetime64, embargo: int) -> np.datetime64:
    """The last moment of the `embargo` sessions after `end`; seen [N] are all dates, ascending."""
    later = np.unique(seen[seen > end].astype("datetime64[D]"))[:embargo]
    return (
        later[-1].astype("datetime64[ns]") + np.timedelta64(86_400 * 10**9 - 1, "ns")
        if len(later)
        else end
    )


def _shift_position(position: np.ndarray, h: int) -> np.ndarray:
    return np.concatenate(
        [position[:, h:], np.repeat(position[:, -1:], min(h, position.shape[1]), axis=1)], axis=1
    )


def blocks(
    panel: Panel, rows: np.ndarray, context: int, origins: int
) -> tuple[np.ndarray, np.ndarray]:
    """First rows of the chunks that cover the origins `rows`, on a grid fixed by each symbol's first bar.

    The grid makes a forecast depend on the history alone, not on which other origins were asked for.
    Returns chunk starts [K] and, for each of `rows`, its place k · origins + n in the chunks' forecasts.
    """
    symbol = panel.symbol_of(rows)
    place = rows - panel.start[symbol] - (context - 1)
    if (place < 0).any():
        raise DataError(
            f"An origin has fewer than {context} bars before it; use Panel.origins(split, context)."
        )
    starts, inverse = np.unique(
        panel.start[symbol] + place // origins * origins, return_inverse=True
    )
    return starts, inverse * origins + place % origins


def gather(
    panel: Panel, starts: np.ndarray, context: int, origins: int, split: str | None = None
) -> Batch:
    """The batch of chunks that begin at rows `starts` [B], of context + origins − 1 bars each.

    Rows past a symbol's end repeat its last one and carry no target. With `split`, targets of origins
    outside of it are NaN, so that they weigh nothing.
    """
    symbol = panel.symbol_of(starts)
    horizon, length = panel.config.horizon, context + origins - 1
    end = (panel.start + panel.length + horizon - 1)[symbol][:, None]
    rows = np.minimum(starts[:, None] + np.arange(length + horizon), end)  # [B, T+H]
    bars = np.minimum(rows[:, :length], end - horizon)
    at = rows[:, context - 1 : length]  # origins [B, N]; those past the last bar have no target
    target = panel.target[at]
    if split is not None:
        target[panel.split[at] != SPLITS.index(split)] = np.nan
    scale = panel.scale[np.minimum(at, end - horizon)]
    return Batch(panel.observed[bars], panel.known[rows], panel.static[symbol], target, scale)


def training_starts(panel: Panel, context: int, origins: int, seed: int) -> np.ndarray:
    """Chunk starts of one epoch, [K], shuffled: each training origin once, in blocks at a random offset."""
    generator = np.random.default_rng(seed)
    rows = panel.origins("train", context)
    if not len(rows):
        longest = int(panel.length.max())
        raise HistoryTooShort(
            f"No training origin has {context} bars of context (the longest history is {longest} bars before "
            f"splitting); give more bars or a shorter context."
        )
    symbol = panel.symbol_of(rows)
    shift = generator.integers(0, origins, len(panel.symbols))[symbol]
    place = rows - panel.start[symbol] - (context - 1)
    first = np.maximum((place + shift) // origins * origins - shift, 0)
    starts = np.unique(panel.start[symbol] + first)
    return generator.permutation(starts)
