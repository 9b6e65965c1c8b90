"""The panel: validated bars with features and targets in flat arrays, and batches cut from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..device import device_of
from ..errors import ConfigError, DataError, HistoryTooShort, counted
from . import features as F
from . import scale as V
from .bars import validate_bars
from .corpus import Mixture
from .extras import input_names, notes_of, own_inputs, standard, standardised
from .grid import Grid
from .markets import Joined, join_markets
from .measures import measured, times_of
from .splits import NONE, SPLITS, splits_of

if TYPE_CHECKING:
    from .crowd import Crowd


class Batch(NamedTuple):
    """B chunks of T bars whose last N bars are forecast origins; numpy or torch, float32."""

    observed: Any  # [B, T, F_o]
    known: Any  # [B, T+H, F_k]
    static: Any  # [B, F_s]
    # [B, N, h], of the h ≤ H steps that are to be forecast
    target: Any  # log return / (scale · √step), NaN where unknown or outside the split
    scale: Any  # volatility forecast at the origin, of the return over each step's bars by its √


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
    target: Any  # [R, H] float32, of fewer steps after `first`
    scale: Any  # [R, H] float32, as well
    split: np.ndarray  # [R] int8: 0, 1, 2 as in SPLITS; 3 elsewhere (purged, or no outcome yet)
    # Of the training split: "har" [6], "moments" [6, 6], "center", "spread" [F_o + extra_known]
    fitted: dict[str, np.ndarray]
    # [2, S] bars before each symbol's first row, and the sum of their scale's logs; None: no such
    gone: np.ndarray | None = None
    # By symbol: a calendar that tells but so many of the H dates ahead; sentences to warn with
    outrun: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    mixture: Mixture | None = None  # where symbols are of several markets

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Names of the observed, known and static inputs."""
        return input_names(self.config)

    @property
    def steps(self) -> int:
        """Steps ahead that are forecast."""
        return self.target.shape[1]

    def first(self, steps: int) -> Panel:
        """The same panel, of which but the first steps are forecast; a view."""
        return replace(self, target=self.target[:, :steps], scale=self.scale[:, :steps])

    def origins(self, split: str, context: int = 1) -> np.ndarray:
        """Rows [K] that are origins of `split`, the last of at least `context` bars."""
        if split not in SPLITS:
            raise ConfigError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        rows = np.flatnonzero(self.split == SPLITS.index(split))
        return rows[rows - self.start[self.symbol_of(rows)] >= context - 1]

    def judged(self, split: str, context: int) -> tuple[np.ndarray, np.ndarray]:
        """Origins [K] of `split` on which a network is judged, and the weights [K] of their losses.

        All alike, or each market alike where there are several.
        """
        rows = self.origins(split, context)
        if self.mixture is None:
            return rows, np.full(len(rows), 1 / max(len(rows), 1))
        rows = self.mixture.thinned(rows, self.symbol_of(rows))
        return rows, self.mixture.weights(self.symbol_of(rows))

    def last_origins(self, context: int = 1) -> np.ndarray:
        """The last bar of each symbol, [S]; raises HistoryTooShort on fewer than `context` bars."""
        short = np.flatnonzero(self.length < context)
        if len(short):
            symbol = self.symbols[short[0]]
            have = int(self.length[short[0]])
            other = ", or use gradient boosting, which answers from 2 bars on"
            raise HistoryTooShort(
                f"{symbol} has {counted(have, 'bar')} but the model needs {context}; "
                f"give {context - have} more{other if context > 2 else ''}."
            )
        return self.start + self.length - 1

    def symbol_of(self, rows: np.ndarray) -> np.ndarray:
        """Index of the symbol that each row belongs to."""
        return np.searchsorted(self.start, rows, side="right") - 1

    def number(self, rows: np.ndarray) -> np.ndarray:
        """Which of its symbol's bars each of `rows` is, from 0."""
        symbol = self.symbol_of(rows)
        before = 0 if self.gone is None else self.gone[0].astype(int)[symbol]
        return rows - self.start[symbol] + before

    def outcomes(self, rows: np.ndarray) -> np.ndarray:
        """Log returns [K, H] that came true after the origins `rows` [K], NaN where bars end."""
        ahead = self.close[rows[:, None] + 1 + np.arange(self.steps)]
        return np.log(ahead / self.close[rows, None])

    def with_tensors(self, device: str = "cpu") -> Panel:
        """The same panel with torch tensors on `device`, from which batches are gathered there."""
        import torch

        device = device_of() if device == "auto" else device
        names = ("observed", "known", "static", "target", "scale")
        return replace(self, **{n: torch.as_tensor(getattr(self, n), device=device) for n in names})

    def digest(self) -> str:
        """A hash of dates, closes, symbols, inputs, splits and mixture, for manifests."""
        names = np.frombuffer("\0".join(self.symbols).encode(), np.uint8)
        prices = np.nan_to_num(self.close)
        inputs = [np.asarray(self.observed), np.asarray(self.scale)]
        if self.config.extra_known:  # the other known ones follow from the dates
            inputs.append(np.asarray(self.known))
        digest = hashlib.sha256()
        mixture = self.mixture
        drawn = () if mixture is None else (mixture.market, mixture.chunks, mixture.unit)
        for part in (self.date.view(np.int64), prices, names, *inputs, self.split, *drawn):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


def make_panel(
    bars: pd.DataFrame,
    config: PanelConfig | None = None,
    fitted: dict[str, np.ndarray] | None = None,
    calendar: str | Mapping[str, str | None] | None = None,
) -> Panel:
    """Validate bars, compute features and targets, and split by date.

    Parameters
    ----------
    bars : frame of symbol, date, open, high, low, close, volume and the columns that `config` takes
        as inputs; `attrs["zones"]` may name the time zone of a symbol's dates ("UTC+08:00")
    config : horizon, inputs and splits
    fitted : volatility scale, means and deviations of a trained model (Panel.fitted); None fits
        them on the training split
    calendar : a name of exchange_calendars ("XNYS", "24/7"), or names by symbol, tells the sessions
        ahead; None infers it from symbol, zone and dates (calendars.market_of)

    Raises
    ------
    DataError on bars that can't be repaired or lack an input, ConfigError on an unknown feature or
    calendar or dates out of order, MissingDependency where a name needs exchange_calendars.
    """
    config = config or PanelConfig()
    return panel_of(validate_bars(bars, extra=config.extra)[0], config, fitted, calendar)


def panel_of(
    bars: pd.DataFrame,
    config: PanelConfig,
    fitted: dict[str, np.ndarray] | None = None,
    calendar: str | Mapping[str, str | None] | None = None,
    keep: int | None = None,
    crowd: Crowd | None = None,
) -> Panel:
    """`make_panel` of validated bars (load_bars): to do it twice takes as long as the features.

    With `keep` its rows are but the last bars of each symbol, of which the last `keep` have the
    inputs that they have in the whole panel; if any bars are cut there are no splits. `crowd` tells
    what the symbols of all blocks did, where `bars` are one of them.
    """
    names = input_names(config)
    grid = Grid.of(bars, config.horizon)
    join = join_markets if crowd is None else crowd.joined
    times = times_of(bars, grid, config.known or F.KNOWN, calendar, join)
    left = grid.tail(keep and keep + F.LOOKBACK)
    split, train = np.full(grid.cells.shape, NONE, np.int8), None
    if left is grid or fitted is None:
        market_time = grid.wide(times.market, np.datetime64("NaT"))
        split = splits_of(market_time, grid.length, config)
    if fitted is None:
        # The scale's targets reach HAR_STEPS ahead, whatever the horizon: purged by that
        longer = replace(config, horizon=max(config.horizon, V.HAR_STEPS))
        train = splits_of(market_time, grid.length, longer) == 0
    column, parts, scale = measured(bars, grid, times.slot, train, fitted, left.place)
    # Observed inputs: of the markets that bars see, and of the symbol itself, where they are left
    features = _market(times.joined, parts, grid, left, crowd and crowd.sums)
    early = np.where(grid.place < left.before[:, None], np.log(scale.ahead), 0.0)
    scale = scale._replace(**{n: left.cut(getattr(scale, n)) for n in ("sigma", "averages")})
    parts |= F.volume_parts(column["volume"])
    parts = {name: left.cut(values) for name, values in parts.items()}
    features |= F.observed_features(parts, scale, left.place)
    # The frame's own columns; those known ahead are zero in the rows ahead until with_future
    own = own_inputs(bars, config, lenient=fitted is not None)
    features |= {name: left.cut(grid.wide(values)) for name, values in own.items()}
    columns = (*names["observed"], *config.extra_known)
    if fitted is None:
        center, spread = standard(features, columns, split == 0)
        fitted = {"har": scale.har, "moments": scale.moments, "center": center, "spread": spread}
    inputs = np.empty((*left.place.shape, len(columns)), np.float32)
    for i, name in enumerate(columns):
        inputs[..., i] = standardised(features.pop(name), fitted["center"][i], fitted["spread"][i])
    observed, known = np.split(left.flat(inputs, 0.0), [len(names["observed"])], axis=1)
    by_step, close = scale.by_step(), left.cut(column["close"])
    split = left.flat(left.cut(split, NONE), NONE, np.int8)
    static = times.static.copy()
    static[:, F.STATIC.index("has_volume")] = np.isfinite(column["volume"]).any(1)
    panel = Panel(
        config=config,
        symbols=grid.symbols,
        start=left.start,
        length=left.length,
        date=left.cut_rows(times.date),
        close=left.flat(close, np.nan, float),
        observed=np.ascontiguousarray(observed),
        known=np.hstack([left.cut_rows(times.known), known]),
        static=static,
        target=left.flat(_targets(np.log(close), by_step), np.nan),
        scale=left.flat(by_step, np.nan),
        split=split,
        fitted={name: np.asarray(values, float) for name, values in fitted.items()},
        gone=None if left is grid else np.stack([left.before, np.nan_to_num(early).sum(1)]),
        outrun=times.outrun,
        notes=times.notes,
    )
    return notes_of(own, panel, bars.attrs.get("unused", []))


def _market(
    joined: Joined | None,
    parts: dict[str, np.ndarray],
    grid: Grid,
    left: Grid,
    sums: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """The features MARKET of the bars that are left, [S, T] each; NaN without dates.

    `sums` are those of the sessions of all blocks; None makes them of all bars of the grid.
    """
    if joined is None:
        return dict.fromkeys(F.MARKET, np.full(left.place.shape, np.nan))
    session = grid.wide(joined.session, -1)
    if sums is None:
        sums = F.session_sums(parts["shock"], parts["trend"], session)
    others = (left.cut(grid.wide(other, -1), -1) for other in joined.others)
    return F.market_features(sums, left.cut(session, -1), others)


def _targets(close: np.ndarray, by_step: np.ndarray) -> np.ndarray:
    """Cumulative log returns of 1 … H steps by the scale, [S, T, H] float32, NaN past the end.

    `close` [S, T] is in logs, `by_step` [S, T, H] the scale.
    """
    target = np.full(by_step.shape, np.nan, np.float32)
    for step in range(1, min(by_step.shape[2], close.shape[1] - 1) + 1):
        change = close[:, step:] - close[:, :-step]
        target[:, :-step, step - 1] = change / (by_step[:, :-step, step - 1] * np.sqrt(step))
    return target


def blocks(
    panel: Panel, rows: np.ndarray, context: int, origins: int
) -> tuple[np.ndarray, np.ndarray]:
    """First rows of the chunks that cover the origins `rows`, on a grid from each first bar.

    The grid makes a forecast depend on the history alone, not on which other origins are asked for.
    Returns chunk starts [K] and, for each of `rows`, its place k · origins + n in the forecasts.
    """
    symbol = panel.symbol_of(rows)
    place = rows - panel.start[symbol] - (context - 1)
    if (place < 0).any():
        raise DataError(
            f"An origin has fewer than {context} bars before it; use Panel.origins(split, context)."
        )
    first = panel.start[symbol] + place // origins * origins
    starts, inverse = np.unique(first, return_inverse=True)
    return starts, inverse * origins + place % origins


def gather(
    panel: Panel, starts: np.ndarray, context: int, origins: int, split: str | None = None
) -> Batch:
    """The batch of chunks that begin at rows `starts` [B], of context + origins − 1 bars each.

    Rows past a symbol's end repeat its last one and carry no target. With `split`, targets of
    origins outside of it are NaN, so that they weigh nothing.
    """
    symbol = panel.symbol_of(starts)
    horizon = panel.config.horizon
    length = context + origins - 1
    end = (panel.start + panel.length + horizon - 1)[symbol][:, None]
    rows = np.minimum(starts[:, None] + np.arange(length + horizon), end)  # [B, T+H]
    bars = np.minimum(rows[:, :length], end - horizon)
    origin = rows[:, context - 1 : length]  # [B, N]; those past the last bar have no target
    target = panel.target[origin]
    if split is not None:
        target[panel.split[origin] != SPLITS.index(split)] = np.nan
    scale = panel.scale[np.minimum(origin, end - horizon)]
    return Batch(panel.observed[bars], panel.known[rows], panel.static[symbol], target, scale)


def training_starts(panel: Panel, context: int, origins: int, seed: int) -> np.ndarray:
    """Chunk starts of one epoch [K], shuffled: each training origin once, at random offsets."""
    generator = np.random.default_rng(seed)
    rows = panel.origins("train", context)
    if not len(rows):
        longest = int(panel.length.max())
        raise HistoryTooShort(
            f"No training origin has {context} bars of context (the longest history is {longest} "
            "bars before splitting); give more bars or a shorter context."
        )
    symbol = panel.symbol_of(rows)
    shift = generator.integers(0, origins, len(panel.symbols))[symbol]
    place = rows - panel.start[symbol] - (context - 1)
    first = np.maximum((place + shift) // origins * origins - shift, 0)
    starts = np.unique(panel.start[symbol] + first)
    if panel.mixture is not None:
        return starts[panel.mixture.choose(panel.symbol_of(starts), generator)]
    return generator.permutation(starts)
