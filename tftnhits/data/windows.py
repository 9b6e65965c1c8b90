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
from .calendars import Market, exchange_of, market_of, session_lengths, sessions_ahead
from .markets import Joined, Timeline, join_markets
from .patterns import DAY, recent, step_of, weekday_of
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
    horizon = config.horizon
    grid = _Grid(bars, horizon)
    names = {
        "observed": _chosen(config.observed, F.OBSERVED),
        "known": _chosen(input_names(config)["known"], F.KNOWN),
    }
    column = {name: grid.wide(bars[name].to_numpy(float)) for name in ("close", "volume")}

    # Times: dates ahead and known inputs, and the sessions of all markets that a bar sees
    times = _times(bars, grid, calendar, "session" in names["known"])
    split = _splits(times.local, grid.length, config)

    # The volatility scale; its fit looks HAR_STEPS ahead, whatever the horizon: purged by that
    price = {
        k: np.log(grid.wide(bars[k].to_numpy(float))) for k in ("open", "high", "low", "close")
    }
    parts = F.bar_parts(price)
    har_inputs = F.har_inputs(parts)
    if fitted is None:
        longer = replace(config, horizon=max(horizon, F.HAR_STEPS))
        purged = _splits(times.local, grid.length, longer)
        har = F.fit_har(har_inputs, parts["variance"], purged == 0)
    else:
        fitted = {name: np.asarray(values, float) for name, values in fitted.items()}
        har = fitted["har"]
    sigma = np.exp((har_inputs * har).sum(-1))  # [S, T]

    # Observed inputs, standardised by the training split
    features = F.observed_features(parts, column["volume"], sigma)
    trend = features["volatility_0.15"] - features["volatility_0.015"]
    features |= F.market_features(features["return"], trend, times.session, times.others)
    observed = np.stack([features[name] for name in names["observed"]], axis=-1)
    if fitted is None:
        fitted = {"har": har, **_standard(observed[split == 0], names["observed"])}
    observed = (observed - fitted["center"]) / fitted["spread"]
    observed = np.nan_to_num(observed, nan=0.0, posinf=F.CLIP, neginf=-F.CLIP)
    observed = np.clip(observed, -F.CLIP, F.CLIP)

    # Targets: cumulative log returns in units of the scale
    ahead = np.stack([_ahead(price["close"], step) for step in range(1, horizon + 1)], axis=-1)
    steps = ahead - price["close"][..., None]
    target = steps / (sigma[..., None] * np.sqrt(np.arange(1, horizon + 1)))

    has_volume = np.isfinite(column["volume"]).any(1)
    static = np.insert(times.static, F.STATIC.index("has_volume"), has_volume, axis=1)
    return Panel(
        config=config,
        symbols=grid.symbols,
        start=grid.start,
        length=grid.length,
        date=times.date,
        close=grid.flat(column["close"], np.nan),
        observed=grid.flat(observed, 0.0).astype(np.float32),
        known=times.known[:, [F.KNOWN.index(n) for n in names["known"]]].astype(np.float32),
        static=static.astype(np.float32),
        target=grid.flat(target, np.nan).astype(np.float32),
        scale=grid.flat(sigma, np.nan).astype(np.float32),
        split=grid.flat(split, 3),
        fitted=fitted,
        outrun=times.outrun,
        notes=times.notes,
    )


class _Grid:
    """Bars as cells [S, T] (symbol, bar number), and as rows [R] with H spare ones a symbol."""

    def __init__(self, bars: pd.DataFrame, horizon: int):
        symbol = bars["symbol"].to_numpy()
        first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]
        self.symbols = tuple(symbol[first].tolist())
        self.first = first  # [S] first of the bars
        self.length = np.diff(np.r_[first, len(symbol)])
        self.start = np.r_[0, np.cumsum(self.length + horizon)[:-1]]
        self.horizon, self.rows = horizon, len(symbol) + horizon * len(first)
        self.cells = np.arange(self.length.max()) < self.length[:, None]
        self.target = np.arange(len(symbol)) + np.repeat(self.start - first, self.length)

    def wide(self, column: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """A column of bars as [S, T]."""
        out = np.full(self.cells.shape, fill, column.dtype)
        out[self.cells] = column
        return out

    def flat(self, values: np.ndarray, fill: float) -> np.ndarray:
        """[S, T, …] as rows [R, …]."""
        out = np.full((self.rows, *values.shape[2:]), fill, values.dtype)
        out[self.target] = values[self.cells]
        return out


def _standard(rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Mean and deviation [F_o] of the training rows; the return is of unit size already, and flags stay as they are."""
    center, spread = np.zeros(len(names)), np.ones(len(names))
    for i, name in enumerate(names):
        known = rows[:, i][np.isfinite(rows[:, i])]
        if name != "return" and not name.startswith("has_") and len(known) > 30:
            center[i], spread[i] = known.mean(), max(known.std(), 1e-3)
    return {"center": center, "spread": spread}


def _ahead(x: np.ndarray, h: int) -> np.ndarray:
    """x[t + h] along the last axis, NaN past the end."""
    out = np.full_like(x, np.nan)
    if h < x.shape[1]:
        out[:, :-h] = x[:, h:]
    return out


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


class _Dates(NamedTuple):
    """What the dates of a symbol tell; many share them."""

    local: np.ndarray  # [R] by the market's clock
    line: Timeline | None  # None where there are no dates
    date: np.ndarray  # [R] with H dates ahead, as the source has them
    known: np.ndarray  # [R, F_k]
    static: tuple[float, float, float]  # bar_length, weekends, has_calendar
    told: int  # how many dates ahead the calendar tells


class _Times(NamedTuple):
    """What the dates of all symbols tell."""

    date: np.ndarray  # [R]
    known: np.ndarray  # [R, F_k]
    static: np.ndarray  # [S, 3]
    local: np.ndarray  # [S, T] dates by the markets' clocks
    session: np.ndarray  # [S, T] number of each bar's session
    others: list[np.ndarray]  # [S, T] those of other markets
    outrun: dict[str, tuple[str, int]]
    notes: dict[str, list[str]]


def _times(bars: pd.DataFrame, grid: _Grid, calendar: Any, with_lengths: bool) -> _Times:
    """Dates ahead, known inputs and sessions, computed once for all symbols with the same dates."""
    zones, dates = bars.attrs.get("zones", {}), bars["date"].to_numpy("datetime64[ns]")
    distinct: dict[tuple, int] = {}
    every: list[_Dates] = []
    which = np.zeros(len(grid.symbols), int)
    for s, (symbol, first, size) in enumerate(zip(grid.symbols, grid.first, grid.length)):
        stamps, zone = dates[first : first + size], zones.get(symbol)
        given = calendar.get(symbol) if isinstance(calendar, Mapping) else None
        key = stamps.tobytes(), zone, exchange_of(symbol), repr(given)
        if key not in distinct:
            distinct[key] = len(every)
            market = market_of(pd.DatetimeIndex(stamps), symbol, calendar, zone)
            every.append(_dates(stamps, market, grid.horizon, with_lengths))
        which[s] = distinct[key]
    symbols = [every[i] for i in which]
    outrun = {
        symbol: (d.line.market.calendar, d.told)
        for symbol, d in zip(grid.symbols, symbols)
        if d.told < grid.horizon
    }
    joined = join_markets([d.line for d in every if d.line])
    if every[0].line is None:
        session, others = np.full(grid.cells.shape, -1), []
    else:
        session = grid.wide(np.concatenate([joined.session[i] for i in which]), -1)
        seen = np.concatenate([joined.others[i] for i in which], axis=1)
        others = [grid.wide(row, -1) for row in seen]
    return _Times(
        date=np.concatenate([d.date for d in symbols]),
        known=np.concatenate([d.known for d in symbols]),
        static=np.array([d.static for d in symbols]),
        local=grid.wide(np.concatenate([d.local for d in symbols]), np.datetime64("NaT")),
        session=session,
        others=others,
        outrun=outrun,
        notes=_apart(grid.symbols, which, joined),
    )


def _dates(stamps: np.ndarray, market: Market, horizon: int, with_lengths: bool) -> _Dates:
    """Dates ahead and known inputs of bars at `stamps` [R]."""
    local = market.market_time(stamps)
    future, told = sessions_ahead(pd.DatetimeIndex(local), horizon, market.calendar)
    future = future.to_numpy("datetime64[ns]")
    full = np.concatenate([local, future])
    step = step_of(recent(pd.DatetimeIndex(local)))
    minutes = float(step / np.timedelta64(1, "m"))
    lengths = None
    if with_lengths and step < 1.5 * DAY:
        lengths = session_lengths(pd.DatetimeIndex(full), market.calendar)
    known = F.known_features(full, minutes, lengths)
    date = np.concatenate([stamps, market.source_time(future)])
    if np.isnat(local).any():
        return _Dates(local, None, date, known, (0.0, 0.0, 0.0), told)
    static = np.log10(max(minutes, 1e-3) / 1440), float((weekday_of(local) >= 5).any()), 1.0
    return _Dates(local, Timeline(local, step, market), date, known, static, told)


def _apart(symbols: tuple[str, ...], which: np.ndarray, joined: Joined) -> dict[str, list[str]]:
    """By symbol of an unknown time zone, a sentence on the markets that it is forecast without."""
    notes = {}
    for symbol, i in zip(symbols, which):
        if not joined.timed or joined.timed[i]:
            continue
        group = joined.group[i]
        others = [o for o, j in zip(symbols, which) if joined.group[j] != group]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            notes[symbol] = [
                f"The time zone of {symbol} is unknown, so bars of other markets ({others[0]}{more}) are "
                "no input to its forecast; give a time-zone-aware index or a calendar."
            ]
    return notes


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
