"""Pinball loss against a loop, and quantiles that never cross."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from tftnhits.models.losses import pinball, rearrange  # noqa: E402

LEVELS = (0.1, 0.5, 0.9)


def looped(quantiles, target):
    losses = []
    for row, y in zip(quantiles.reshape(-1, len(LEVELS)), target.reshape(-1)):
        if np.isfinite(y):
            losses += [q * (y - f) if y >= f else (1 - q) * (f - y) for q, f in zip(LEVELS, row)]
    return np.mean(losses)


def test_pinball_against_a_loop_with_unknown_targets():
    rng = np.random.default_rng(0)
    quantiles, target = rng.normal(size=(3, 4, 2, 3)), rng.normal(size=(3, 4, 2))
    target[0, 1], target[2, 2, 1] = np.nan, np.nan
    found = pinball(torch.tensor(quantiles), torch.tensor(target), torch.tensor(LEVELS))
    assert float(found) == pytest.approx(looped(quantiles, target), rel=1e-6)


def test_unknown_targets_send_no_gradient():
    quantiles = torch.zeros(2, 3, requires_grad=True)
    pinball(quantiles, torch.tensor([1.0, float("nan")]), torch.tensor(LEVELS)).backward()
    assert (quantiles.grad[0] != 0).all() and (quantiles.grad[1] == 0).all()


def test_no_known_target_is_no_loss():
    quantiles = torch.randn(2, 3, requires_grad=True)
    loss = pinball(quantiles, torch.full((2,), float("nan")), torch.tensor(LEVELS))
    loss.backward()
    assert float(loss.detach()) == 0 and (quantiles.grad == 0).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=12))
def test_rearranged_quantiles_never_cross_and_none_is_lost(raw):
    found = rearrange(torch.tensor([raw]))[0].tolist()
    assert found == sorted(raw)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(-10, 10))
def test_rearranging_never_raises_the_loss(raw, y):
    levels, target, raw = (torch.tensor(x, dtype=torch.float64) for x in (LEVELS, [y], [raw]))
    assert pinball(rearrange(raw), target, levels) <= pinball(raw, target, levels) + 1e-12
