"""Recorded steps: their losses and gradients are those of steps that are not."""

import pytest
import torch
from torch import nn

from tftnhits.data.windows import Batch
from tftnhits.training.graphs import SEEN, Graphs


def network_and_batches(device: str, shapes: list[int]) -> tuple[nn.Module, list[Batch]]:
    torch.manual_seed(0)
    network = nn.Linear(3, 1).to(device)
    batches = [Batch(*(torch.randn(size, 3, device=device) for _ in range(5))) for size in shapes]
    return network, batches


def steps(device: str, shapes: list[int]) -> None:
    """Check each of the batches' losses and gradients."""
    network, batches = network_and_batches(device, shapes)

    def loss_of(batch: Batch) -> torch.Tensor:
        return (network(batch.observed) - batch.target).square().mean()

    graphs = Graphs(loss_of, list(network.parameters()))
    losses = []
    for batch in batches:
        losses.append(graphs(batch))
        found = [weight.grad.clone() for weight in network.parameters()]
        wanted = torch.autograd.grad(loss_of(batch), list(network.parameters()))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)
        assert not losses[-1].requires_grad
    # an earlier loss stays what it was
    for loss, batch in zip(losses, batches, strict=True):
        torch.testing.assert_close(loss, loss_of(batch).detach())


def test_first_batches_of_a_shape_are_not_recorded():
    steps("cpu", [4, 5] * SEEN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
def test_recorded_steps_are_those_of_eager_ones():
    steps("cuda", [4, 5, 4, 4, 5, 5, 4, 5, 6, 4])
