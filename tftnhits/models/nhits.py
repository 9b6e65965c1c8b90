"""N-HITS (Challu et al. 2023) that forecasts from N origins of a chunk in one pass.

The target's own history, as a path of standardised returns that ends in 0 at the origin, goes down
the doubly residual stacks. The other inputs enter each stack by their values at the origin (they
are averages and extremes over many scales already; their full history trained worse: 39.8 against
39.6 on validation) and, where known, by those of the next dates: of more than STEPS a user's own
inputs alone, since the holidays of a month tell which month it is, and dates are learnt by heart
(39.49 against 39.40).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import STEPS, NHITSConfig
from ..data.features import KNOWN
from ..data.windows import Batch
from ..errors import ConfigError
from .layers import Dropout, windows
from .losses import rearrange


class NHITSOutput(NamedTuple):
    """Forecasts in units of scale · √step; base + parts.sum(3), sorted along Q, is the forecast."""

    quantiles: Tensor  # [B, N, H, Q], ascending along Q
    parts: Tensor  # [B, N, H, S, Q] what each stack adds
    backcasts: Tensor  # [B, N, S−1, L] what each stack but the last explains, newest bar first


class Pooling(nn.Module):
    """Down-samples by `kernel`: the maximum, or a learned mean that starts as the plain one."""

    def __init__(self, kernel: int, learned: bool):
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.zeros(kernel)) if learned and kernel > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., L] → [..., ⌈L / kernel⌉]; a short last window is filled with its last value."""
        if self.kernel == 1:
            return x
        x = F.pad(x, (0, -x.shape[-1] % self.kernel), mode="replicate")
        x = x.unflatten(-1, (-1, self.kernel))  # [..., ⌈L / kernel⌉, kernel]
        return x.amax(-1) if self.weight is None else x @ self.weight.softmax(0)


class Interpolation(nn.Module):
    """Knots → `length` steps by lines (eq. 4), plus a network that starts at zero if `neural`."""

    def __init__(self, knots: int, length: int, neural: bool, hidden: int = 16):
        super().__init__()
        rows = torch.empty(knots, length)
        if not rows.is_meta:  # of shapes alone it would import torch's compiler, for seconds
            rows = F.interpolate(torch.eye(knots)[None], size=length, mode="linear")[0]
        self.register_buffer("matrix", rows, persistent=False)  # [K, length]
        self.network = None
        if neural:
            self.network = nn.Sequential(
                nn.Linear(knots, hidden), nn.ReLU(), nn.Linear(hidden, length)
            )
            nn.init.zeros_(self.network[2].weight)
            nn.init.zeros_(self.network[2].bias)

    def forward(self, knots: Tensor) -> Tensor:
        """[..., K] → [..., length]."""
        out = knots @ self.matrix
        return out if self.network is None else out + self.network(knots)


class Stack(nn.Module):
    """Pool → two hidden layers → backcast [L] and forecast knots [Q, K], eqs. 1–3.

    The `last` stack has no backcast: nothing would be left to explain, so nothing would train it.
    """

    def __init__(
        self, config: NHITSConfig, pool: int, inputs: dict[str, tuple[str, ...]], last: bool
    ):
        super().__init__()
        length, width, levels = config.context, config.hidden, len(config.quantiles)
        observed, known, static = (len(inputs[k]) for k in ("observed", "known", "static"))
        extra = known - len({*inputs["known"]} & {*KNOWN})  # a user's own, the last ones
        knots = math.ceil(config.horizon / pool)
        self.horizon = config.horizon
        self.shape = (levels, knots)
        self.pool = Pooling(pool, config.learned_pooling)
        points = math.ceil(length / pool)
        self.path = nn.Linear(points, width)
        self.observed = nn.Linear(observed, width, bias=False)
        self.near = min(config.horizon, STEPS)
        self.known = nn.Conv1d(known, width, self.near, bias=False) if known else None
        later = config.horizon - self.near
        self.later = nn.Conv1d(extra, width, later, bias=False) if extra and later else None
        self.static = nn.Linear(static, width, bias=False) if static else None
        self.hidden = nn.Linear(width, width)
        self.dropout = Dropout(config.dropout)
        self.backcast = None if last else nn.Linear(width, length)
        if self.backcast is not None and config.backcast.endswith("knots"):
            lines = Interpolation(points, length, neural=False)
            self.backcast = nn.Sequential(nn.Linear(width, points), lines)
        self.forecast = nn.Linear(width, levels * knots)
        nn.init.zeros_(self.forecast.weight)
        nn.init.zeros_(self.forecast.bias)
        self.interpolation = Interpolation(knots, config.horizon, config.neural_interpolation)

    def inputs(self, batch: Batch) -> Tensor:
        """What the other inputs add to the first layer, [B, N, W]."""
        n, t = batch.scale.shape[1], batch.observed.shape[1]
        total = self.observed(batch.observed[:, t - n :])
        if self.known is not None:
            ahead = batch.known[:, t - n + 1 : t + self.near].transpose(1, 2)
            total = total + self.known(ahead).transpose(1, 2)
        if self.later is not None:
            own = batch.known[:, t - n + 1 + self.near : t + self.horizon]
            own = own[..., -self.later.in_channels :].transpose(1, 2)
            total = total + self.later(own).transpose(1, 2)
        return total if self.static is None else total + self.static(batch.static)[:, None]

    def forward(self, residual: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """residual [B, N, L], newest first → hidden state [B, N, W] and backcast [B, N, L]."""
        state = self.dropout(F.relu(self.path(self.pool(residual)) + inputs))
        state = self.dropout(F.relu(self.hidden(state)))
        return state, None if self.backcast is None else self.backcast(state)

    def part(self, state: Tensor) -> Tensor:
        """Hidden state [B, N, W] → what the stack adds to the forecast, [B, N, H, Q]."""
        return self.interpolation(self.forecast(state).unflatten(-1, self.shape)).transpose(-1, -2)


class ScaleAttention(nn.Module):
    """Multi-head attention over the S stacks' states; adds nothing at the start."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        inner = heads * max(width // (4 * heads), 1)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * inner)
        self.output = nn.Linear(inner, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[B, N, S, W] → [B, N, S, W]."""
        qkv = self.qkv(states).unflatten(-1, (3, self.heads, -1))  # [B, N, S, 3, heads, w]
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each [B, N, heads, S, w]
        mixed = ((q @ k.mT) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return states + self.output(mixed.transpose(2, 3).flatten(-2))


class NHITS(nn.Module):
    """Stacks of falling pooling kernels, each explaining what the ones before it left.

    Parameters
    ----------
    config : settings
    inputs : names of the inputs by kind (Panel.inputs), the observed "return" among them

    Raises
    ------
    ConfigError : without that
    """

    def __init__(self, config: NHITSConfig, inputs: dict[str, tuple[str, ...]]):
        super().__init__()
        if "return" not in inputs["observed"]:
            raise ConfigError(
                "N-HITS needs the observed input 'return'; add it to PanelConfig.observed."
            )
        self.config = config
        self.inputs = {k: tuple(v) for k, v in inputs.items()}
        self.column = self.inputs["observed"].index("return")
        last = len(config.pools) - 1
        self.stacks = nn.ModuleList(
            Stack(config, k, self.inputs, i == last) for i, k in enumerate(config.pools)
        )
        weighted = config.backcast.startswith("weighted") and last > 0
        self.residual = nn.Parameter(torch.ones(last)) if weighted else None
        self.across = ScaleAttention(config.hidden) if config.scale_attention else None
        self.register_buffer("base", torch.zeros(config.horizon, len(config.quantiles)))

    def path(self, batch: Batch) -> Tensor:
        """[B, N, L] path of standardised returns relative to the origin, newest first."""
        n, length = batch.scale.shape[1], self.config.context
        path = batch.observed[..., self.column].cumsum(1)[:, -(n + length - 1) :]
        paths = windows(path, length)  # a view
        return ((paths - paths[..., -1:]) / math.sqrt(length)).flip(-1)

    def forward(self, batch: Batch) -> NHITSOutput:
        """Forecast from the last N bars of each chunk the steps of batch.scale [B, N, H]."""
        # 1. down the stacks: each takes what it explains from the path (section 3.2)
        residual = self.path(batch)
        states: list[Tensor] = []
        backcasts: list[Tensor] = []
        for i, stack in enumerate(self.stacks):
            state, backcast = stack(residual, stack.inputs(batch))
            states.append(state)
            if backcast is not None:
                weight = 1.0 if self.residual is None else self.residual[i]
                residual = residual - weight * backcast
                backcasts.append(backcast)
        # 2. across the scales, then each stack's part of the forecast
        if self.across is not None:
            states = self.across(torch.stack(states, 2)).unbind(2)
        parts = [stack.part(state) for stack, state in zip(self.stacks, states, strict=True)]
        steps = batch.scale.shape[2]
        parts = torch.stack(parts, 3)[:, :, :steps]  # [B, N, H, S, Q]
        explained = torch.stack(backcasts, 2) if backcasts else residual[:, :, None][:, :, :0]
        return NHITSOutput(rearrange(self.base[:steps] + parts.sum(3)), parts, explained)
