"""What the seeds of a corpus teach: their average, its median drawn to the market's drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from corpus import losses_of
from torch import Tensor, nn

from tftnhits.config import STEPS
from tftnhits.data.windows import Batch, Panel
from tftnhits.training.loop import forecast_rows

KINDS = ("tft", "nhits")
WEIGHTS = (0.35, 0.5, 0.65)  # of N-HITS
SHARES = (0.0, 0.5, 1.0)  # of the way of the median to the drift


@dataclass(frozen=True)
class Drift:
    """What a bar of each kind of market gains, in units of its scale: all that is known ahead."""

    kinds: np.ndarray  # [K, F] their static inputs
    gain: np.ndarray  # [K]

    @classmethod
    def of(cls, panel: Panel) -> Drift:
        """Medians of training, shrunk by their standard error over dates (James & Stein 1961)."""
        kinds, kind = np.unique(panel.static, axis=0, return_inverse=True)
        rows, gain = panel.origins("train"), []
        symbols = kind.reshape(-1)[panel.symbol_of(rows)]
        for k in range(len(kinds)):
            own = rows[symbols == k]
            target = pd.Series(panel.target[own, STEPS - 1] / np.sqrt(STEPS))
            ups = np.sign(target).groupby(panel.date[own]).mean()  # of those less downs, by date
            error = ups.std() * np.sqrt(STEPS / len(ups))  # outcomes of STEPS dates overlap
            gain.append(target.median() * max(0.0, 1 - (error / ups.mean()) ** 2))
        return cls(kinds, np.array(gain))

    def nearest(self, static: Tensor) -> Tensor:
        """Index [B] of the kind that static inputs [B, F] are nearest to."""
        return torch.cdist(static, torch.as_tensor(self.kinds, device=static.device)).argmin(1)

    def at(self, static: Tensor, steps: int) -> Tensor:
        """[B, H] for static inputs [B, F], in units of scale · √step."""
        gain = torch.as_tensor(self.gain, dtype=static.dtype, device=static.device)
        root = torch.arange(1, steps + 1, device=static.device).sqrt()
        return gain[self.nearest(static)][:, None] * root


def kinds_of(panel: Panel, drift: Drift, markets: Sequence[str]) -> np.ndarray:
    """Which of the drift's kinds [K] are those of `markets`."""
    chosen = [panel.mixture.names.index(name) for name in markets]
    static = panel.static[np.isin(panel.mixture.market, chosen)]
    return np.isin(np.arange(len(drift.kinds)), drift.nearest(torch.as_tensor(static)))


def drawn(quantiles: Tensor, drift: Tensor, share: float) -> Tensor:
    """Quantiles [B, N, H, Q] with their median moved by `share` of the way to `drift` [B, H]."""
    middle = quantiles.shape[-1] // 2
    return quantiles + share * (drift[:, None, :, None] - quantiles[..., middle : middle + 1])


class Average(nn.Module):
    """All seeds of both networks as one, its median drawn to the drift."""

    def __init__(self, networks: dict[str, Sequence[nn.Module]], chosen: dict, drift: Drift):
        super().__init__()
        self.networks = nn.ModuleDict({k: nn.ModuleList(v) for k, v in networks.items()})
        self.drift = drift
        # as buffers, since what teaches is told apart by its tensors
        self.register_buffer("weight", torch.tensor([1 - chosen["weight"], chosen["weight"]]))
        self.register_buffer("share", torch.tensor(chosen["share"]))
        self.register_buffer("gain", torch.as_tensor(drift.gain))

    def forward(self, batch: Batch) -> Tensor:
        """Quantiles [B, N, H, Q]."""
        tft, nhits = (
            torch.stack([model(batch).quantiles for model in self.networks[kind]]).mean(0)
            for kind in KINDS
        )
        quantiles = self.weight[0] * tft + self.weight[1] * nhits
        return drawn(quantiles, self.drift.at(batch.static, quantiles.shape[-2]), self.share)


class Lesson(NamedTuple):
    """What a student is to forecast."""

    quantiles: Tensor  # [B, N, H, Q]


class Teacher(nn.Module):
    """Teaches each chunk what those say who know its kind: the specialists, or else the others."""

    def __init__(self, others: Average, specialists: Average | None, special: np.ndarray):
        super().__init__()
        self.others, self.specialists = others, specialists
        self.register_buffer("special", torch.as_tensor(special))  # [K] kinds of the specialists
        first = others.networks["tft"][0]
        self.config, self.inputs = first.config, first.inputs

    def forward(self, batch: Batch) -> Lesson:
        """The quantiles that a student learns."""
        if self.specialists is None:
            return Lesson(self.others(batch))
        special = self.special[self.others.drift.nearest(batch.static)]  # [B]
        parts = []
        for average, mine in ((self.specialists, special), (self.others, ~special)):
            index = mine.nonzero()[:, 0]
            if len(index):
                parts.append((index, average(Batch(*(values[index] for values in batch)))))
        order = torch.cat([index for index, _ in parts]).argsort()
        return Lesson(torch.cat([quantiles for _, quantiles in parts])[order])


def blend(teachers: dict[str, list[nn.Module]], panel: Panel, drift: Drift) -> dict:
    """N-HITS' weight among the teachers and how far their median is drawn to the drift.

    By the mean over the panel's markets.
    """
    panel = panel.first(STEPS)
    rows, _ = panel.judged("valid", teachers["nhits"][0].config.context)
    unit = panel.scale[rows] * np.sqrt(np.arange(1, STEPS + 1))  # [K, h]
    gain = drift.at(torch.as_tensor(panel.static[panel.symbol_of(rows)]), STEPS).numpy() * unit
    mean = {
        kind: sum(forecast_rows(model, panel, rows) for model in models) / len(models)
        for kind, models in teachers.items()
    }
    table = []
    for weight in WEIGHTS:
        both = (1 - weight) * mean["tft"] + weight * mean["nhits"]
        for share in SHARES:
            moved = drawn(torch.as_tensor(both[:, None]), torch.as_tensor(gain), share)[:, 0]
            losses = losses_of(moved.numpy(), panel, rows)
            row = {"weight": weight, "share": share, "markets": losses}
            table.append(row | {"valid": float(np.mean(list(losses.values())))})
    chosen = min(table, key=lambda row: row["valid"])
    each = {kind: losses_of(quantiles, panel, rows) for kind, quantiles in mean.items()}
    return {"chosen": chosen, "tried": table, "averaged": each}
