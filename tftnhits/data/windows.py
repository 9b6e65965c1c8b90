"""The panel: validated bars with features and targets in flat arrays, and the batches that are cut from it."""

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
from .calendars import bar_minutes, calendar_of, session_lengths, sessions_ahead
from .bars import validate_bars

SPLITS = ("train", "valid", "test")


class Batch(NamedTuple):
    """B chunks of T bars whose last N bars are forecast origins; arrays of numpy or torch, float32."""

    observed: Any  # [B, T, F_o]
    known: Any  # [B, T+H, F_k]
    static: Any  # [B, F_s]
    target: Any  # [B, N, H] cumulative log return / (scale · √step), NaN where unknown or outside the split
    scale: Any  # [B, N] one-bar volatility forecast at the origin


@dataclass(frozen=True)
class Panel:
    """All symbols' rows one after the other; each symbol's bars are followed by H rows that hold its known future."""

    config: PanelConfig
    symbols: tuple[str, ...]
    start: np.ndarray  # [S] first row of each symbol
    length: np.ndarray  # [S] its bars
    date: np.ndarray  # [R] datetime64[ns], NaT where there is none
    close: np.ndarray  # [R] float64, NaN in future rows
    observed: Any  # [R, F_o] float32, zero where unknown
    known: Any  # [R, F_k] float32
    static: Any  # [S, F_s] float32
    target: Any  # [R, H] float32
    scale: Any  # [R] float32
    split: np.ndarray  # [R] int8: 0, 1, 2 as in SPLITS; 3 elsewhere (purged, or no outcome yet)
    fitted: dict[str, np.ndarray]  # of the training split: "har" [6], "center" and "spread" [F_o]
    outrun: dict[str, tuple[str, int]] = field(
        default_factory=dict
    )  # calendar that tells but so many of H dates ahead

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

    `fitted` holds the volatility scale and the inputs' means and deviations of a trained model (Panel.fitted);
    None fits them on the training split. `calendar` tells the sessions ahead: a name of exchange_calendars ("XNYS",
    "24/7"), or names by symbol; None infers it from symbol and dates (calendars.calendar_of).
    Raises DataError on bars that can't be repaired, ConfigError on an unknown feature or calendar or dates out of
    order, MissingDependency on a calendar's name without exchange_calendars.
    """
    return panel_of(validate_bars(bars)[0], config or PanelConfig(), fitted, calendar)


def panel_of(
    bars: pd.DataFrame,
    config: PanelConfig,
    fitted: dict[str, np.ndarray] | None = None,
    calendar: str | Mapping[str, str | None] | None = None,
) -> Panel:
    """`make_panel` of bars that were validated (load_bars): to do it twice takes as long as the features."""
    ahead = config.horizon
    symbol = bars["symbol"].to_numpy()
    first = np.r_[0, np.flatnonzero(symbol[1:] != symbol[:-1]) + 1]
    length = np.diff(np.r_[first, len(symbol)])
    cells = np.arange(length.max()) < length[:, None]  # [S, T] where a symbol has a bar

    def wide(column: np.ndarray, fill: float = np.nan) -> np.ndarray:
        out = np.full(cells.shape, fill, column.dtype)
        out[cells] = column
        return out

    price = {k: np.log(wide(bars[k].to_numpy(float))) for k in ("open", "high", "low", "close")}
    close = wide(bars["close"].to_numpy(float))
    volume, date = wide(bars["volume"].to_numpy(float)), bars["date"].to_numpy("datetime64[ns]")
    split = _splits(wide(date, np.datetime64("NaT")), length, config)
    parts = F.bar_parts(price)
    x = F.har_inputs(parts)
    known_scale = {} if fitted is None else {k: np.asarray(v, float) for k, v in fitted.items()}
    har = known_scale.get("har")
    if har is None:  # it looks HAR_STEPS ahead, whatever the horizon: purge by that
        purged = _splits(
            wide(date, np.datetime64("NaT")),
            length,
            replace(config, horizon=max(ahead, F.HAR_STEPS)),
        )
        har = F.fit_har(x, parts["variance"], purged == 0)
    sigma = np.exp((x * har).sum(-1))  # [S, T]

    found = F.observed_features(parts, volume, sigma)
    code = wide(pd.factorize(date, use_na_sentinel=True)[0], -1)
    found |= F.market_features(
        found["return"], found["volatility_0.15"] - found["volatility_0.015"], code
    )
    names = _chosen(config.observed, F.OBSERVED)
    observed = np.stack([found[n] for n in names], axis=-1)
    fitted = known_scale or {"har": har, **_standard(observed[split == 0], names)}
    observed = (observed - fitted["center"]) / fitted["spread"]
    observed = np.clip(
        np.nan_to_num(observed, nan=0.0, posinf=F.CLIP, neginf=-F.CLIP), -F.CLIP, F.CLIP
    )
    steps = (
        np.stack([_ahead(price["close"], h) for h in range(1, ahead + 1)], axis=-1)
        - price["close"][..., None]
    )
    target = steps / (sigma[..., None] * np.sqrt(np.arange(1, ahead + 1)))

    flat = _Flat(length, ahead, cells)
    symbols = tuple(symbol[first].tolist())
    chosen = _chosen(input_names(config)["known"], F.KNOWN)
    dates, known, static, outrun = _calendar(
        date, symbols, length, volume, ahead, calendar, "session" in chosen
    )
    columns = [F.KNOWN.index(n) for n in chosen]
    return Panel(
        config, symbols, flat.start, length, dates, flat(close, np.nan),
        flat(observed, 0.0).astype(np.float32), known[:, columns].astype(np.float32), static.astype(np.float32),
        flat(target, np.nan).astype(np.float32), flat(sigma, np.nan).astype(np.float32), flat(split, 3), fitted, outrun,
    )  # fmt: skip


class _Flat:
    """Turns [S, T, …] into rows [R, …] with H spare rows after each symbol's bars."""

    def __init__(self, length: np.ndarray, ahead: int, cells: np.ndarray):
        self.start = np.r_[0, np.cumsum(length + ahead)[:-1]]
        self.rows, self.cells = int((length + ahead).sum()), cells
        self.target = np.concatenate(
            [s + np.arange(n) for s, n in zip(self.start, length, strict=True)]
        )

    def __call__(self, x: np.ndarray, fill: float) -> np.ndarray:
        out = np.full((self.rows, *x.shape[2:]), fill, x.dtype)
        out[self.target] = x[self.cells]
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


def _calendar(
    date, symbols, length, volume, ahead, calendar, lengths
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, tuple[str, int]]]:
    """Dates [R] and known features [R, F_k] with H sessions ahead of each symbol's end; static features [S, F_s].

    And by symbol, where its calendar tells fewer than H dates ahead, its name and how many.
    """
    dates, known, static, outrun, done, begin = [], [], [], {}, {}, 0
    for s, (symbol, size) in enumerate(zip(symbols, length, strict=True)):
        own = date[begin : begin + size]
        begin += size
        times = pd.DatetimeIndex(own)
        key = (
            own.tobytes(),
            calendar_of(times, symbol, calendar),
        )  # most symbols of a panel share them
        if key not in done:
            minutes = bar_minutes(times)
            minutes = minutes if np.isfinite(minutes) else 1440.0  # a single bar counts as daily
            future, told = sessions_ahead(times, ahead, key[1])
            full = np.r_[own, future.to_numpy("datetime64[ns]")]
            session = (
                session_lengths(pd.DatetimeIndex(full), key[1])
                if lengths and minutes < 1.5 * 1440
                else None
            )
            known_rows = F.known_features(full, minutes, session)
            has = bool(known_rows[0, F.KNOWN.index("has_calendar")])
            weekends = has and bool((times.day_of_week >= 5).any())
            bar_length = np.log10(max(minutes, 1e-3) / 1440) if has else 0.0
            done[key] = full, known_rows, bar_length, float(weekends), float(has), told
        full, known_rows, bar_length, weekends, has, told = done[key]
        if told < ahead:
            outrun[symbol] = key[1], told
        dates.append(full)
        known.append(known_rows)
        static.append([bar_length, weekends, float(np.isfinite(volume[s]).any()), has])
    return np.concatenate(dates), np.concatenate(known), np.array(static), outrun


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
