"""Temporal Fusion Transformer (Lim et al. 2021) that forecasts from N origins in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config import TFTConfig
from ..data.windows import Batch
from .layers import (
    GRN,
    AddNorm,
    Dropout,
    ForkedAttention,
    Selected,
    VariableSelection,
    windows,
)
from .losses import rearrange


class TFTOutput(NamedTuple):
    """Forecasts in units of scale · √step, and what they were made from."""

    quantiles: Tensor  # [B, N, H, Q], ascending along Q
    past_weights: Tensor  # [B, T, F_o + F_k]
    future_weights: Tensor  # [B, N+H-1, F_k], the dates after the first origin
    static_weights: Tensor  # [B, F_s]
    attention: Tensor  # [B, N, H, context + H], oldest bar first


class Encoder(nn.LSTM):
    """LSTM over the bars; while it trains, but by cuDNN, its masks between layers are Dropout's.

    MPS ignores its own masks in the gradients (pytorch/pytorch#190056).
    """

    def __init__(self, size: int, layers: int, dropout: float):
        super().__init__(size, size, layers, batch_first=True, dropout=dropout)
        self.between = Dropout(dropout)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        """x [B, T, D], hidden and cell [layers, B, D] → [B, T, D], and the last states or None."""
        if not (self.training and self.dropout and not x.is_cuda):
            return super().forward(x, state)
        for layer, weights in enumerate(self.all_weights):
            inputs = self.between(x) if layer else x
            first = [part[layer : layer + 1] for part in state]
            x = torch.lstm(inputs, first, weights, True, 1, 0.0, True, False, True)[0]
        return x, None


class ForkedDecoder(nn.Module):
    """LSTM over the H steps of every fork; a date's input product is shared by its forks."""

    def __init__(self, size: int, layers: int, dropout: float):
        super().__init__()
        self.start = nn.Linear(size, 2 * layers * size)
        self.input = nn.ModuleList(nn.Linear(size, 4 * size) for _ in range(layers))
        self.state = nn.ModuleList(nn.Linear(size, 4 * size, bias=False) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.layers = layers

    def forward(self, origin: Tensor, known: Tensor, horizon: int) -> Tensor:
        """Encoder's output at the origins [B, N, D], known [B, N+H−1, D] → [B, N, H, D]."""
        n = origin.shape[1]
        states = [s.chunk(2, -1) for s in self.start(origin).chunk(self.layers, -1)]
        states = [(torch.tanh(h), c) for h, c in states]
        shared, out = self.input[0](known), []
        for step in range(horizon):
            gates = shared[:, step : step + n]
            for layer, (hidden, cell) in enumerate(states):
                if layer:
                    gates = self.input[layer](self.dropout(states[layer - 1][0]))
                i, f, g, o = (gates + self.state[layer](hidden)).chunk(4, -1)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                states[layer] = (torch.sigmoid(o) * torch.tanh(cell), cell)
            out.append(states[-1][0])
        return torch.stack(out, 2)


class TFT(nn.Module):
    """Static, observed and known inputs → quantiles of the path ahead.

    The buffer `base` [H, Q] holds the quantiles that the untrained network returns; training sets
    it to the empirical ones of the scaled target, so that it starts as a good baseline.

    Parameters
    ----------
    config : settings
    inputs : names of the inputs by kind (Panel.inputs)
    """

    def __init__(self, config: TFTConfig, inputs: dict[str, tuple[str, ...]]):
        super().__init__()
        self.config = config
        self.inputs = {k: tuple(v) for k, v in inputs.items()}
        d, p, extra = config.hidden, config.dropout, config.extra_gate
        observed, known, static = (len(inputs[k]) for k in ("observed", "known", "static"))

        def select(variables: int, context: bool = True) -> VariableSelection:
            return VariableSelection(variables, d, p, context, config.deep_selection, extra)

        def grn(context: bool = False) -> GRN:
            return GRN(d, p, context, extra)

        # variable selection, and contexts from the static inputs
        self.static_selection = select(static, context=False)
        self.past_selection = select(observed + known)
        self.future_selection = select(known)
        self.to_selection = grn()
        self.to_enrichment = grn()
        self.to_hidden = grn()
        self.to_cell = grn()
        # sequence layer
        between = p if config.lstm_layers > 1 else 0.0
        self.encoder = Encoder(d, config.lstm_layers, between)
        self.decoder = ForkedDecoder(d, config.lstm_layers, between)
        self.sequence_gate = AddNorm(d, p)
        # temporal fusion decoder
        self.enrichment = grn(context=True)
        self.attention = ForkedAttention(d, config.heads, config.context)
        self.attention_gate = AddNorm(d, p)
        self.position_wise = grn()
        self.output_gate = AddNorm(d, p)
        self.head = nn.Linear(d, len(config.quantiles))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("base", torch.zeros(config.horizon, len(config.quantiles)))

    def forward(self, batch: Batch, fork: Tensor | None = None) -> TFTOutput:
        """Forecast from the last N bars of each chunk the steps of batch.scale [B, N, H].

        With `fork` [B] only that one of the N origins of each chunk is decoded, as if N were 1 and
        T the context.
        """
        _, n, horizon = batch.scale.shape
        t, layers = batch.observed.shape[1], self.config.lstm_layers
        # 1. static contexts, eq. 9 and section 4.3
        static = self.static_selection(batch.static)
        selection = self.to_selection(static.value)
        enrichment = self.to_enrichment(static.value)
        # 2. every bar and every date once, whatever the number of forks
        known = batch.known[:, : t + horizon]
        inputs = torch.cat([batch.observed, known[:, :t]], -1)  # [B, T, F_o + F_k]
        past = self.past_selection(inputs, selection)
        ahead = known[:, t - n + 1 :]  # [B, N+H−1, F_k]: the dates after the first origin
        if fork is not None:
            ahead = _rows(ahead, fork, horizon)
        future = self.future_selection(ahead, selection)
        # 3. sequence layer, section 4.5.1
        hidden = self.to_hidden(static.value).expand(layers, -1, -1).contiguous()
        cell = self.to_cell(static.value).expand(layers, -1, -1).contiguous()
        encoded, _ = self.encoder(past.value, (hidden, cell))  # [B, T, D]
        if fork is not None:
            n, t = 1, self.config.context
            encoded = _rows(encoded, fork, t)
            past = Selected(_rows(past.value, fork, t), _rows(past.weights, fork, t))
        forks = windows(future.value, horizon)  # [B, N, H, D], a view
        encoded = self.sequence_gate(encoded, past.value)
        # from the normalised output: the raw one varies so little at first that training stalls
        decoded = self.decoder(encoded[:, t - n :], future.value, horizon)
        decoded = self.sequence_gate(decoded, forks)  # [B, N, H, D]
        # 4. static enrichment, attention, position-wise feed-forward, eqs. 17–22
        rich = self.enrichment(encoded, enrichment)
        queries = self.enrichment(decoded, enrichment)
        attended, attention = self.attention(rich, queries)
        out = self.position_wise(self.attention_gate(attended, queries))
        out = self.output_gate(out, decoded)
        quantiles = rearrange(self.base[:horizon] + self.head(out))
        return TFTOutput(quantiles, past.weights, future.weights, static.weights, attention)


def _rows(x: Tensor, first: Tensor, count: int) -> Tensor:
    """x [B, T, D] → [B, count, D]: of each chunk the rows from `first` [B] on."""
    index = first[:, None] + torch.arange(count, device=x.device)
    return x[torch.arange(len(x), device=x.device)[:, None], index]
