"""Building blocks of the Temporal Fusion Transformer (Lim et al. 2021), [..., D] → [..., D].

Variables are scalars embedded by x·w + b. A matrix applied to such an embedding is x·(wW) + (bW):
the product with W is done once a step on [V, D] instead of once a row, which is exact and saves
most of the selection's work.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 16  # forks that share a window of keys


class Dropout(nn.Module):
    """Dropout whose masks cost a byte of randomness a number instead of a draw.

    The CPU's generator runs on one thread, and with a draw a number it takes a tenth of a training
    step. The chance is rounded to a 256th. Copies that train side by side have a `generator` each.
    """

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance
        self.generator: torch.Generator | None = None  # None: torch's own

    def forward(self, x: Tensor) -> Tensor:
        cut = round(256 * self.chance)
        if not self.training or not cut:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.chance)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None, generator=self.generator)
        keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= cut
        return x * keep.to(x.dtype).mul_(256 / (256 - cut))


class GLU(nn.Module):
    """Gated linear unit, eq. 5: σ(W4 x + b4) ⊙ (W5 x + b5)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.linear(x), -1)


class AddNorm(nn.Module):
    """LayerNorm(skip + GLU(dropout(x))), the gate that every part of the network ends in."""

    def __init__(self, size: int, dropout: float, inputs: int | None = None):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.glu = GLU(inputs or size, size)
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.norm(skip + self.glu(self.dropout(x)))


class GRN(nn.Module):
    """Gated residual network, eqs. 2–4.

    η2 = ELU(W2 x + W3 c + b2); η1 = W1 η2 + b1; LayerNorm(x + GLU(η1)).
    `extra_gate` adds η1 ← η1 + GLU(η1) before the last gate.
    """

    def __init__(self, size: int, dropout: float, context: bool = False, extra_gate: bool = False):
        super().__init__()
        self.input = nn.Linear(size, size)
        self.hidden = nn.Linear(size, size)
        self.context = nn.Linear(size, size, bias=False) if context else None
        self.extra = GLU(size, size) if extra_gate else None
        self.gate = AddNorm(size, dropout)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x [..., D]; context [B, D], the same for all that follows the first axis."""
        eta = self.input(x)
        if context is not None:
            eta = eta + _like(self.context(context), x)
        eta = self.hidden(F.elu(eta))
        if self.extra is not None:
            eta = eta + self.extra(eta)
        return self.gate(eta, x)


def windows(x: Tensor, size: int, step: int = 1) -> Tensor:
    """x [B, T, ...] → [B, K, size, ...], the windows of T that begin `step` apart; a view.

    Where T stands for any number (torch.export) they are copied: a view whose windows overlap would
    tie the program to the order of K and size, and ONNX has none.
    """
    if not isinstance(x.shape[1], torch.SymInt):
        return x.unfold(1, size, step).movedim(-1, 2)
    first = torch.arange(0, x.shape[1] - size + 1, step, device=x.device)
    return x[:, first[:, None] + torch.arange(size, device=x.device)]


def _like(context: Tensor, x: Tensor) -> Tensor:
    """context [B, D] with as many axes as x [B, ..., D]."""
    return context.reshape(context.shape[0], *[1] * (x.dim() - 2), -1)


class Selected(NamedTuple):
    """Output of variable selection."""

    value: Tensor  # [..., D]
    weights: Tensor  # [..., V], sums to 1


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


def _normal(*shape: int) -> nn.Parameter:
    """Drawn, but for shapes alone: there to draw would import torch's compiler, for seconds."""
    x = torch.empty(*shape)
    return nn.Parameter(x if x.is_meta else x.normal_())


class VariableGRNs(nn.Module):
    """One GRN a variable on its own embedding (eq. 7): batched products over stacked weights."""

    def __init__(self, variables: int, size: int, dropout: float, extra_gate: bool = False):
        super().__init__()
        v, d = variables, size
        self.dropout = Dropout(dropout)
        self.w2 = _uniform(v, d, d, fan_in=d)
        self.b2 = _uniform(v, 1, d, fan_in=d)
        self.w1 = _uniform(v, d, d, fan_in=d)
        self.b1 = _uniform(v, 1, d, fan_in=d)
        self.we = _uniform(v, d, 2 * d, fan_in=d) if extra_gate else None
        self.be = _uniform(v, 1, 2 * d, fan_in=d) if extra_gate else None
        self.wg = _uniform(v, d, 2 * d, fan_in=d)
        self.bg = _uniform(v, 1, 2 * d, fan_in=d)
        self.norm_weight = nn.Parameter(torch.ones(v, 1, d))
        self.norm_bias = nn.Parameter(torch.zeros(v, 1, d))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x [R, V] scalars, their embedding's weight and bias [V, D]. Returns [V, R, D]."""
        column = x.t()[..., None]  # [V, R, 1]
        # W2 of the embedding, folded into its weight and bias
        slope = torch.bmm(weight[:, None], self.w2)  # [V, 1, D]
        offset = torch.baddbmm(self.b2, bias[:, None], self.w2)  # [V, 1, D]
        hidden = F.elu(torch.addcmul(offset, column, slope))  # [V, R, D]
        eta = torch.baddbmm(self.b1, hidden, self.w1)
        if self.we is not None:
            eta = eta + F.glu(torch.baddbmm(self.be, eta, self.we), -1)
        gated = F.glu(torch.baddbmm(self.bg, self.dropout(eta), self.wg), -1)
        embedded = torch.addcmul(bias[:, None], column, weight[:, None])
        normed = F.layer_norm(embedded + gated, gated.shape[-1:])
        return torch.addcmul(self.norm_bias, normed, self.norm_weight)


class Selector(nn.Module):
    """Selection weights from all embeddings and a context, eq. 6: softmax(GRN(Ξ, c)).

    Ξ is the concatenation of V embeddings, so its matrices [V, D, ·] fold into [V, ·]. `deep`
    replaces the GRN's one hidden layer by three.
    """

    def __init__(self, variables: int, size: int, dropout: float, context: bool, deep: bool):
        super().__init__()
        v, d = variables, size
        self.input = _uniform(v, d, d, fan_in=v * d)
        self.bias = nn.Parameter(torch.zeros(d))
        self.skip = _uniform(v, d, v, fan_in=v * d)
        self.skip_bias = nn.Parameter(torch.zeros(v))
        self.context = nn.Linear(d, d, bias=False) if context else None
        self.hidden = nn.ModuleList(nn.Linear(d, d) for _ in range(3 if deep else 1))
        self.gate = AddNorm(v, dropout, inputs=d)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor, context: Tensor | None) -> Tensor:
        """x [B, ..., V], embedding's weight and bias [V, D], context [B, D] → [B, ..., V]."""
        both = torch.cat([self.input, self.skip], -1)  # [V, D, D+V]
        slope = torch.einsum("vd,vdk->vk", weight, both)
        offset = torch.einsum("vd,vdk->k", bias, both)
        eta, skip = (x @ slope + offset).split([len(self.bias), len(self.skip_bias)], -1)
        eta = eta + self.bias
        if context is not None:
            eta = eta + _like(self.context(context), x)
        for layer in self.hidden:
            eta = layer(F.elu(eta))
        return self.gate(eta, skip + self.skip_bias).softmax(-1)


class VariableSelection(nn.Module):
    """Variable selection network, section 4.2: scalars → weighted sum of the variables' GRNs."""

    def __init__(
        self, variables: int, size: int, dropout: float, context: bool, deep: bool, extra_gate: bool
    ):
        super().__init__()
        # a bias of the weight's size: of x·w alone the GRN's LayerNorm keeps nothing but the sign
        self.weight = _normal(variables, size)
        self.bias = _normal(variables, size)
        self.grns = VariableGRNs(variables, size, dropout, extra_gate)
        self.selector = Selector(variables, size, dropout, context, deep)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Selected:
        """x [B, ..., V], context [B, D]. Returns value [B, ..., D] and weights [B, ..., V]."""
        weights = self.selector(x, self.weight, self.bias, context)
        rows = x.reshape(-1, x.shape[-1])
        parts = self.grns(rows, self.weight, self.bias)  # [V, R, D]
        value = (parts * weights.reshape(rows.shape).t()[..., None]).sum(0)
        return Selected(value.reshape(*x.shape[:-1], -1), weights)


class ForkedAttention(nn.Module):
    """Interpretable multi-head attention (eqs. 13–16) of all forks at once.

    The heads share their values, so the output needs the heads' mean attention only. Fork n sees
    the `context` bars up to its origin and its own decoder steps up to the one that asks.
    """

    def __init__(self, size: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.context = context
        self.query = nn.Linear(size, size)
        # a bias of the keys would add the same to all scores of a query: softmax takes it out
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size // heads)
        self.output = nn.Linear(size // heads, size, bias=False)

    def forward(self, encoder: Tensor, decoder: Tensor) -> tuple[Tensor, Tensor]:
        """encoder [B, T, D], decoder [B, N, H, D], whose origins are the last N of T bars.

        Returns the output [B, N, H, D] and the mean attention [B, N, H, context + H].
        """
        b, t, d = encoder.shape
        _, n, h, _ = decoder.shape
        heads, size = self.heads, d // self.heads  # size is w below
        # forks in groups: those of a group share one window of keys, so that little is masked
        group = 1 if isinstance(n, torch.SymInt) else math.gcd(n, GROUP)
        groups, span = n // group, self.context + group - 1

        # 1. scores of the bars: each group's queries against the window of its keys
        query = (self.query(decoder) / math.sqrt(size)).view(b, groups, group * h, heads, size)
        first = t - n - self.context + 1
        keys = windows(self.key(encoder)[:, first:], span, group).mT  # [B, n/g, D, span], a view
        keys = keys.unflatten(2, (heads, size))  # [B, n/g, heads, w, span]
        past = (query.transpose(2, 3) @ keys).view(b, groups, heads, group, h, span)
        past = past + self._band(group, encoder)[:, None]

        # 2. scores of the decoder's steps: each fork's queries against its own keys
        step_keys = self.key(decoder).view(b, n, h, heads, size).permute(0, 3, 1, 4, 2)
        step_query = query.reshape(b, n, h, heads, size).permute(0, 3, 1, 2, 4)
        ahead = (step_query @ step_keys).view(b, heads, groups, group, h, h).transpose(1, 2)
        ahead = ahead + self._causal(h, encoder)

        # 3. the heads' mean attention, and the values that it mixes
        attention = torch.cat([past, ahead], -1).softmax(-1).mean(2)  # [B, n/g, g, H, span+H]
        past, ahead = attention.split([span, h], -1)
        values = windows(self.value(encoder)[:, first:], span, group)
        mixed = (past.reshape(b, groups, group * h, span) @ values).view(b, n, h, size)
        ahead = ahead.reshape(b, n, h, h)
        output = self.output(mixed + ahead @ self.value(decoder))

        # 4. of each fork's attention its own context: fork f of a group starts f bars later
        lags = torch.arange(self.context, device=past.device)
        places = torch.arange(group, device=past.device)[:, None] + lags  # [g, context]
        past = past.gather(-1, places[:, None].expand(b, groups, group, h, self.context))
        return output, torch.cat([past.view(b, n, h, self.context), ahead], -1)

    def _band(self, group: int, like: Tensor) -> Tensor:
        """[group, context + group − 1]: 0 where a key lies in a fork's context, −∞ elsewhere."""
        fork = torch.arange(group, device=like.device)[:, None]
        lag = torch.arange(self.context + group - 1, device=like.device) - fork
        return like.new_zeros(lag.shape).masked_fill((lag < 0) | (lag >= self.context), -math.inf)

    @staticmethod
    def _causal(h: int, like: Tensor) -> Tensor:
        return like.new_full((h, h), -math.inf).triu(1)
