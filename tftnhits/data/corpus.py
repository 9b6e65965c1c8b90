"""Several markets in one panel: what all of them fit, and how they weigh in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError

if TYPE_CHECKING:
    from .windows import Panel

JOINED = ("length", "date", "close", "observed", "known", "static", "target", "scale", "split")


@dataclass(frozen=True)
class Mixture:
    """The markets of a panel, M of them."""

    names: tuple[str, ...]
    market: np.ndarray  # [S] index of each symbol's market
    chunks: np.ndarray  # [M] that an epoch takes of each
    unit: np.ndarray  # [M] what a market's validation loss is divided by: that of its volatility
    judged: int  # validation origins of a market that are looked at, about

    def choose(self, symbol: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Index [K] of an epoch's chunks among those whose symbols are `symbol` [N], shuffled.

        A market with too few chunks gives each several times.
        """
        market, chosen = self.market[symbol], []
        for m, count in enumerate(self.chunks):
            own = generator.permutation(np.flatnonzero(market == m))
            chosen.append(np.resize(own, count if len(own) else 0))
        return generator.permutation(np.concatenate(chosen))

    def thinned(self, rows: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """Those of the origins `rows` [K], of `symbol` [K], on which a network is judged.

        Of a market with more than `judged` some symbols, evenly, with all of their origins.
        """
        market, keep = self.market[symbol], np.zeros(len(rows), bool)
        for m in range(len(self.names)):
            own = np.unique(symbol[market == m])
            every = max(1, round((market == m).sum() / self.judged))
            keep |= np.isin(symbol, own[::every])
        return rows[keep]

    def draw(self, symbol: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Index [count] of origins of `symbol` [K], drawn by the markets' shares of chunks."""
        market = self.market[symbol]
        size = np.bincount(market, minlength=len(self.names))
        chance = (self.chunks / np.maximum(size, 1))[market]
        return generator.choice(len(market), count, p=chance / chance.sum())

    def weights(self, symbol: np.ndarray) -> np.ndarray:
        """Weights [K] of the origins of `symbol` [K]: their losses' sum is the mean over markets.

        Each market's mean loss counts alike, divided by its unit.
        """
        market = self.market[symbol]
        count = np.bincount(market, minlength=len(self.names))
        return 1 / (self.unit * count * (count > 0).sum())[market]


def pool(every: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What markets' panels fit (Panel.fitted), over all of them, each market alike."""
    moments = np.mean([one["moments"] for one in every], axis=0)
    sums = np.mean([one["moments"] @ one["har"] for one in every], axis=0)
    # deviations over all bars: those within the markets, and those between their means
    center = np.mean([one["center"] for one in every], axis=0)
    within = np.mean([one["spread"] ** 2 for one in every], axis=0)
    between = np.var([one["center"] for one in every], axis=0)
    return {
        "har": np.linalg.solve(moments, sums),
        "moments": moments,
        "center": center,
        "spread": np.sqrt(within + between),
    }


def merge(panels: Mapping[str, Panel], mixture: Mixture) -> Panel:
    """One panel of the symbols of all, with the inputs and the fit of the first.

    ConfigError on panels that were made otherwise.
    """
    first, *others = panels.values()
    alike = all(
        other.inputs == first.inputs
        and other.config.horizon == first.config.horizon
        and all(np.array_equal(other.fitted[name], first.fitted[name]) for name in first.fitted)
        for other in others
    )
    if not alike:
        raise ConfigError("The markets' panels differ in inputs, horizon or fit; make them alike.")
    rows = np.cumsum([0, *(len(panel.close) for panel in panels.values())])
    start = [panel.start + row for panel, row in zip(panels.values(), rows)]

    def joined(name: str) -> Any:
        return np.concatenate([getattr(panel, name) for panel in panels.values()])

    return replace(
        first,
        symbols=tuple(f"{name}/{s}" for name, panel in panels.items() for s in panel.symbols),
        start=np.concatenate(start),
        mixture=mixture,
        **{name: joined(name) for name in JOINED},
        outrun={},
        notes={},
    )
