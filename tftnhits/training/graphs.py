"""A step's loss and gradients by CUDA graph: one launch instead of a thousand small kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.windows import Batch

SEEN = 2  # times that a shape of batch must have come before it is worth a graph


class _Graph(NamedTuple):
    """A recorded step and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    loss: Tensor
    gradients: list[Tensor | None]


class Graphs:
    """Calls `loss` and sets the gradients of `weights`, from a recording where there is one.

    Parameters
    ----------
    loss : of a batch, a scalar; the same kernels for all batches of a shape
    weights : that it depends on, never replaced
    """

    def __init__(self, loss: Callable[[Batch], Tensor], weights: Sequence[Tensor]):
        self.loss, self.weights = loss, list(weights)
        self.seen: dict[tuple, int] = {}
        self.graphs: dict[tuple, _Graph] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of `batch`, detached; its gradients are those of the weights."""
        shape = tuple(value.shape for value in batch)
        self.seen[shape] = self.seen.get(shape, 0) + 1
        if self.seen[shape] <= SEEN:
            return self._eager(batch)
        if shape not in self.graphs:
            self.graphs[shape] = self._record(batch)
        graph, inputs, loss, gradients = self.graphs[shape]
        for to, value in zip(inputs, batch, strict=True):
            to.copy_(value)
        graph.replay()
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss.clone()

    def _eager(self, batch: Batch) -> Tensor:
        self._forget()
        loss = self.loss(batch)
        loss.backward()
        return loss.detach()

    def _record(self, batch: Batch) -> _Graph:
        inputs = Batch(*(value.clone() for value in batch))
        # what a first call sets up may not be recorded: it happens beside
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._eager(inputs)
        torch.cuda.current_stream().wait_stream(side)
        # without gradients the recording writes them, and does not add to them
        self._forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.loss(inputs)
            loss.backward()
        return _Graph(graph, inputs, loss.detach(), [weight.grad for weight in self.weights])

    def _forget(self) -> None:
        for weight in self.weights:
            weight.grad = None
