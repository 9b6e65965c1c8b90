"""The Temporal Fusion Transformer: what each fork sees, and what it returns."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from helpers import random_batch, random_inputs, stir  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits import TFTConfig  # noqa: E402
from tftnhits.models.losses import pinball  # noqa: E402
from tftnhits.models.tft import TFT  # noqa: E402

INPUTS = random_inputs()
LEVELS = (0.1, 0.5, 0.9)
CONTEXT, HORIZON, N = 8, 3, 4
SIZES = {"context": CONTEXT, "horizon": HORIZON, "hidden": 8, "heads": 2}
SMALL = {**SIZES, "dropout": 0.3, "quantiles": LEVELS}
CONFIGS = {
    "enhanced": TFTConfig(**SMALL),
    "classic": TFTConfig.classic(**SMALL),
    "one layer": TFTConfig(**SMALL, lstm_layers=1),
    "paper's selection": TFTConfig(**SMALL, deep_selection=False),
    "paper's GRN": TFTConfig(**SMALL, extra_gate=False),
}
variants = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
BATCH = random_batch(INPUTS, CONTEXT, N, HORIZON)
BARS = CONTEXT + N - 1


def made(config, stirred=True):
    torch.manual_seed(0)
    model = TFT(config, INPUTS).eval()
    if stirred:
        stir(model)
    return model


def run(model, batch=BATCH):
    with torch.no_grad():
        return model(batch)


@variants
def test_shapes_and_weights_that_sum_to_one(config):
    out = run(made(config))
    assert out.quantiles.shape == (2, N, HORIZON, 3)
    assert out.past_weights.shape == (2, BARS, 5 + 3)
    assert out.future_weights.shape == (2, N + HORIZON - 1, 3)
    assert out.static_weights.shape == (2, 3)
    assert out.attention.shape == (2, N, HORIZON, CONTEXT + HORIZON)
    for weights in (out.past_weights, out.future_weights, out.static_weights, out.attention):
        assert (weights >= 0).all()
        assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    for step in range(HORIZON):  # a step doesn't attend to later ones
        assert (out.attention[:, :, step, CONTEXT + step + 1 :] == 0).all()
        assert (out.attention[:, :, step, : CONTEXT + step + 1] > 0).all()
    assert all(torch.isfinite(x).all() for x in out)


@variants
def test_a_fork_does_not_see_what_comes_after_its_origin(config):
    model = made(config)
    base = run(model).quantiles
    for fork in range(N - 1):
        origin = BARS - N + fork
        observed, known = BATCH.observed.clone(), BATCH.known.clone()
        observed[:, origin + 1 :] += 5
        known[:, origin + HORIZON + 1 :] += 5
        found = run(model, BATCH._replace(observed=observed, known=known)).quantiles
        assert_close(found[:, : fork + 1], base[:, : fork + 1], atol=1e-6, rtol=0)
        assert (found[:, fork + 1 :] - base[:, fork + 1 :]).abs().amax((1, 2, 3)).min() > 1e-4


@variants
def test_a_known_input_changes_the_step_of_its_date(config):
    model = made(config)
    # the last fork: the dates after its origin are in no encoder
    base = run(model).quantiles[:, -1]
    for step in range(HORIZON):
        known = BATCH.known.clone()
        known[:, BARS + step] += 5
        found = run(model, BATCH._replace(known=known)).quantiles[:, -1]
        change = (found - base).abs().amax((0, 2))
        assert change[step] > 1e-4
        assert (change[:step] < 1e-6).all()  # and no step before it


@variants
@pytest.mark.parametrize("before", [0, 5])
def test_a_fork_equals_the_single_forecast_from_its_history(config, before):
    model, batch = made(config), random_batch(INPUTS, CONTEXT, N, HORIZON, before=before)
    base, bars = run(model, batch), batch.observed.shape[1]
    for fork in range(N):
        seen = bars - N + fork + 1
        one = batch._replace(
            observed=batch.observed[:, :seen],
            known=batch.known[:, : seen + HORIZON],
            target=batch.target[:, fork : fork + 1],
            scale=batch.scale[:, fork : fork + 1],
        )
        alone = run(model, one)
        assert_close(alone.quantiles[:, 0], base.quantiles[:, fork], atol=1e-5, rtol=1e-4)
        assert_close(alone.attention[:, 0], base.attention[:, fork], atol=1e-5, rtol=1e-4)


def test_bars_before_the_context_reach_a_fork_through_the_encoder_only():
    model, batch = made(CONFIGS["classic"]), random_batch(INPUTS, CONTEXT, 1, HORIZON, before=1)
    observed = batch.observed.clone()
    observed[:, 0] += 5
    one, other = run(model, batch), run(model, batch._replace(observed=observed))
    assert one.attention.shape == (2, 1, HORIZON, CONTEXT + HORIZON)
    assert (one.quantiles - other.quantiles).abs().max() > 1e-7  # the encoder's state carries on


@variants
def test_starts_as_its_base(config):
    model = made(config, stirred=False)
    base = torch.tensor([[-1.0, 0, 1], [-2, 0.5, 2], [-3, 1, 3]])
    model.base.copy_(base)
    assert_close(run(model).quantiles, base.expand(2, N, HORIZON, 3))


@variants
def test_gradients_reach_every_parameter(config):
    model = made(config, stirred=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):  # the head starts at zero and lets gradients through after one step
        optimizer.zero_grad()
        pinball(model(BATCH).quantiles, BATCH.target, torch.tensor(LEVELS)).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name


def test_each_enhancement_has_parameters_of_its_own():
    sets = {k: set(dict(TFT(c, INPUTS).named_parameters())) for k, c in CONFIGS.items()}
    assert len({frozenset(s) for s in sets.values()}) == len(CONFIGS)
    singles = ("one layer", "paper's selection", "paper's GRN")
    for name in singles:
        assert sets["classic"] < sets[name] < sets["enhanced"]
    assert sets["classic"] == sets[singles[0]] & sets[singles[1]] & sets[singles[2]]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.1, 3.0, 100.0]))
def test_quantiles_never_cross(seed, size):
    model = made(replace(CONFIGS["classic"], quantiles=(0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)))
    stir(model, seed)
    batch = random_batch(INPUTS, CONTEXT, N, HORIZON, seed=seed)
    found = run(model, batch._replace(observed=batch.observed * size)).quantiles
    assert torch.isfinite(found).all() and (found.diff(dim=-1) >= 0).all()


def test_forward_keeps_nothing_and_dropout_works_in_training_only():
    model = made(CONFIGS["enhanced"])
    before = {id(m): set(vars(m)) for m in model.modules()}
    assert torch.equal(run(model).quantiles, run(model).quantiles)
    assert before == {id(m): set(vars(m)) for m in model.modules()}
    model.train()
    assert not torch.equal(run(model).quantiles, run(model).quantiles)


@variants
def test_one_fork_alone_is_as_among_all(config):
    model, fork = made(config), torch.tensor([2, 0])
    every = run(model)
    with torch.no_grad():
        alone = model(BATCH, fork)
    chunk = torch.arange(2)
    for name in ("quantiles", "attention"):
        torch.testing.assert_close(
            getattr(alone, name), getattr(every, name)[chunk, fork][:, None], msg=name
        )
    for name, size in (("past_weights", CONTEXT), ("future_weights", HORIZON)):
        wanted = torch.stack([getattr(every, name)[b, f : f + size] for b, f in zip(chunk, fork)])
        torch.testing.assert_close(getattr(alone, name), wanted, msg=name)
