"""What both networks promise: causal forks, a start as the base, gradients, no crossing."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import test_nhits  # noqa: E402
import test_tft  # noqa: E402
from helpers import random_batch, stir  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits.models.losses import pinball  # noqa: E402

CASES = {f"TFT {name}": (test_tft, config) for name, config in test_tft.CONFIGS.items()}
CASES |= {f"N-HITS {name}": (test_nhits, config) for name, config in test_nhits.CONFIGS.items()}
networks = pytest.mark.parametrize("kind, config", CASES.values(), ids=CASES)


@networks
def test_a_fork_does_not_see_what_comes_after_its_origin(kind, config):
    model, batch = kind.made(config), kind.BATCH
    base = kind.run(model).quantiles
    for fork in range(kind.N - 1):
        origin = kind.BARS - kind.N + fork
        observed, known = batch.observed.clone(), batch.known.clone()
        observed[:, origin + 1 :] += 5
        known[:, origin + kind.HORIZON + 1 :] += 5
        changed = batch._replace(observed=observed, known=known)
        found = kind.run(model, changed).quantiles
        assert_close(found[:, : fork + 1], base[:, : fork + 1], atol=1e-5, rtol=0)
        assert (found[:, fork + 1 :] - base[:, fork + 1 :]).abs().amax((1, 2, 3)).min() > 1e-4


@networks
@pytest.mark.parametrize("before", [0, 7])
def test_a_fork_equals_the_single_forecast_from_its_history(kind, config, before):
    model = kind.made(config)
    batch = random_batch(kind.INPUTS, kind.CONTEXT, kind.N, kind.HORIZON, before=before)
    base, bars = kind.run(model, batch), batch.observed.shape[1]
    for fork in range(kind.N):
        end = bars - kind.N + fork + 1
        first = end - kind.CONTEXT if kind is test_nhits else 0  # the TFT's encoder carries on
        one = batch._replace(
            observed=batch.observed[:, first:end],
            known=batch.known[:, first : end + kind.HORIZON],
            target=batch.target[:, fork : fork + 1],
            scale=batch.scale[:, fork : fork + 1],
        )
        alone, name = kind.run(model, one), "parts" if kind is test_nhits else "attention"
        assert_close(alone.quantiles[:, 0], base.quantiles[:, fork], atol=1e-5, rtol=1e-4)
        theirs, ours = getattr(alone, name)[:, 0], getattr(base, name)[:, fork]
        assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


@networks
def test_starts_as_its_base(kind, config):
    model = kind.made(config, stirred=False)
    base = torch.linspace(-1, 1, 3) * torch.arange(1, kind.HORIZON + 1)[:, None]
    model.base.copy_(base)
    assert_close(kind.run(model).quantiles, base.expand(2, kind.N, kind.HORIZON, 3))


@networks
def test_gradients_reach_every_parameter(kind, config):
    model = kind.made(config, stirred=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(4):  # layers that start at zero stand one behind the other
        optimizer.zero_grad()
        loss = pinball(model(kind.BATCH).quantiles, kind.BATCH.target, torch.tensor(kind.LEVELS))
        loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize("kind", [test_tft, test_nhits])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.1, 3.0, 100.0]))
def test_quantiles_never_cross(kind, seed, size):
    levels = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
    model = kind.made(replace(kind.CONFIGS["enhanced"], quantiles=levels))
    stir(model, seed)
    batch = random_batch(kind.INPUTS, kind.CONTEXT, kind.N, kind.HORIZON, seed=seed)
    found = kind.run(model, batch._replace(observed=batch.observed * size)).quantiles
    assert torch.isfinite(found).all() and (found.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("kind", [test_tft, test_nhits])
def test_forward_keeps_nothing_and_dropout_works_in_training_only(kind):
    model = kind.made(kind.CONFIGS["enhanced"])
    before = {id(m): set(vars(m)) for m in model.modules()}
    assert torch.equal(kind.run(model).quantiles, kind.run(model).quantiles)
    assert before == {id(m): set(vars(m)) for m in model.modules()}
    model.train()
    assert not torch.equal(kind.run(model).quantiles, kind.run(model).quantiles)
