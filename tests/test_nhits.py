"""N-HITS: its stacks, what each fork sees, and what its enhancements start as."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from helpers import random_batch, random_inputs, stir  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits import NHITSConfig  # noqa: E402
from tftnhits.errors import ConfigError  # noqa: E402
from tftnhits.models.nhits import NHITS, Interpolation, Pooling, ScaleAttention  # noqa: E402

INPUTS = random_inputs()
LEVELS = (0.1, 0.5, 0.9)
CONTEXT, HORIZON, N = 10, 4, 3
BARS = CONTEXT + N - 1
SIZES = {"context": CONTEXT, "horizon": HORIZON, "hidden": 16, "pools": (4, 2, 1)}
SMALL = {**SIZES, "dropout": 0.3, "quantiles": LEVELS}
SWITCHES = {
    "learned_pooling": False,
    "neural_interpolation": False,
    "scale_attention": False,
    "backcast": "bars",  # without the learnt weights, and no knots in their place
}
CONFIGS = {
    "enhanced": NHITSConfig(**SMALL),
    "classic": NHITSConfig.classic(**SMALL),
    **{f"no {name}": NHITSConfig(**SMALL, **{name: off}) for name, off in SWITCHES.items()},
    "v2.0": NHITSConfig(**SMALL, scale_attention=False, backcast="weighted knots"),
    "one stack": NHITSConfig(**{**SMALL, "pools": (3,)}),
}
variants = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
BATCH = random_batch(INPUTS, CONTEXT, N, HORIZON)


def made(config, stirred=True, inputs=INPUTS):
    torch.manual_seed(0)
    model = NHITS(config, inputs).eval()
    if stirred:
        stir(model)
    return model


def run(model, batch=BATCH):
    with torch.no_grad():
        return model(batch)


@variants
def test_stacks_add_up_to_the_forecast(config):
    model, stacks = made(config), len(config.pools)
    model.base.copy_(torch.randn(HORIZON, 3))
    out = run(model)
    assert out.parts.shape == (2, N, HORIZON, stacks, 3)
    assert out.backcasts.shape == (2, N, stacks - 1, CONTEXT)
    assert all(torch.isfinite(x).all() for x in out)
    assert out.parts.abs().amax((0, 1, 2, 4)).min() > 1e-3  # every stack has its say
    assert_close(out.quantiles, (model.base + out.parts.sum(3)).sort(-1).values)


def test_classic_stacks_step_by_step():
    """The doubly residual stacking of the paper, one origin at a time."""
    model = made(CONFIGS["classic"])
    out = run(model)
    for fork in range(N):
        origin = BARS - N + fork
        returns = BATCH.observed[:, origin - CONTEXT + 1 : origin + 1, model.column]
        back = -returns.flip(1).cumsum(1)[:, :-1]
        levels = torch.cat([torch.zeros(2, 1), back], 1)  # newest first, 0 at the origin
        residual, total = levels / math.sqrt(CONTEXT), torch.zeros(2, HORIZON, 3)
        for i, (stack, pool) in enumerate(zip(model.stacks, SMALL["pools"])):
            padded = torch.cat([residual, residual[:, -1:].expand(-1, -CONTEXT % pool)], 1)
            pooled = padded.view(2, -1, pool).amax(-1)
            other = BATCH.observed[:, origin] @ stack.observed.weight.T
            other = other + BATCH.static @ stack.static.weight.T
            for h in range(HORIZON):
                other = other + BATCH.known[:, origin + 1 + h] @ stack.known.weight[:, :, h].T
            state = torch.relu(stack.hidden(torch.relu(stack.path(pooled) + other)))
            knots = stack.forecast(state).view(2, 3, -1)
            part = torch.nn.functional.interpolate(knots, size=HORIZON, mode="linear").mT
            assert_close(out.parts[:, fork, :, i], part, atol=1e-5, rtol=1e-4)
            total = total + part
            if i < 2:
                knots = stack.backcast[0](state)[:, None]  # as many as the stack sees points
                assert knots.shape[-1] == math.ceil(CONTEXT / pool)
                backcast = torch.nn.functional.interpolate(knots, size=CONTEXT, mode="linear")[:, 0]
                assert_close(out.backcasts[:, fork, i], backcast, atol=1e-5, rtol=1e-4)
                residual = residual - backcast
        assert_close(out.quantiles[:, fork], total.sort(-1).values, atol=1e-5, rtol=1e-4)


@variants
def test_known_inputs_count_up_to_the_horizon_and_not_beyond(config):
    model = made(config)
    base = run(model).quantiles[:, 0]
    for step in range(1, HORIZON + N):
        known = BATCH.known.clone()
        known[:, CONTEXT - 1 + step] += 5
        change = (run(model, BATCH._replace(known=known)).quantiles[:, 0] - base).abs().max()
        assert change > 1e-4 if step <= HORIZON else change < 1e-6


def test_each_enhancement_has_parameters_of_its_own():
    names = {k: set(dict(NHITS(c, INPUTS).named_parameters())) for k, c in CONFIGS.items()}
    extra = [names["enhanced"] - names[f"no {name}"] for name in SWITCHES]
    plain = NHITS(replace(CONFIGS["classic"], backcast="bars"), INPUTS).named_parameters()
    assert all(extra) and set(dict(plain)) == names["enhanced"] - set.union(*extra)
    assert sum(map(len, extra)) == len(set.union(*extra))  # no two share one


@pytest.mark.parametrize("length, kernel", [(8, 4), (10, 4), (3, 5), (7, 1)])
def test_learned_pooling_starts_as_the_mean_and_weighs_within_its_windows(length, kernel):
    pool, x = Pooling(kernel, True), torch.randn(2, 3, length)
    padded = torch.cat([x, x[..., -1:].expand(-1, -1, -length % kernel)], -1)
    windows = padded.unflatten(-1, (-1, kernel))
    assert_close(pool(x), windows.mean(-1))
    stir(pool)
    pooled = pool(x)
    assert (pooled <= windows.amax(-1) + 1e-6).all() and (pooled >= windows.amin(-1) - 1e-6).all()
    assert_close(Pooling(kernel, False)(x), windows.amax(-1))


@pytest.mark.parametrize("knots, horizon", [(1, 5), (2, 5), (3, 12), (4, 3)])
def test_neural_interpolation_starts_as_the_linear_one(knots, horizon):
    x = torch.randn(2, 3, knots)
    linear = Interpolation(knots, horizon, neural=False)(x)
    expected = torch.nn.functional.interpolate(x, size=horizon, mode="linear")
    assert_close(linear, expected, atol=1e-6, rtol=1e-5)
    neural = Interpolation(knots, horizon, neural=True)
    assert_close(neural(x), linear)
    stir(neural)
    assert (neural(x) - linear).abs().max() > 1e-2


def test_residual_weights_scale_what_is_subtracted():
    model = made(CONFIGS["enhanced"])
    with torch.no_grad():
        model.residual.zero_()  # nothing is subtracted: every stack sees the whole path
        path = model.path(BATCH)
        states = [stack(path, stack.inputs(BATCH))[0] for stack in model.stacks]
        mixed = model.across(torch.stack(states, 2)).unbind(2)
        expected = torch.stack([stack.part(s) for stack, s in zip(model.stacks, mixed)], 3)
    assert_close(run(model).parts, expected)


def test_scale_attention_starts_as_nothing_and_is_attention_over_the_stacks():
    torch.manual_seed(0)
    layer, states = ScaleAttention(32, heads=4), torch.randn(2, 3, 5, 32)
    assert_close(layer(states), states)
    stir(layer)
    q, k, v = layer.qkv(states).unflatten(-1, (3, 4, -1)).transpose(2, 4).unbind(3)
    heads = torch.nn.functional.scaled_dot_product_attention(q, k, v)  # [B, N, heads, S, ·]
    expected = states + layer.output(heads.transpose(2, 3).flatten(3))
    assert_close(layer(states), expected, atol=1e-5, rtol=1e-4)


def test_needs_the_return():
    inputs = {**INPUTS, "observed": ("range", "volume")}
    with pytest.raises(ConfigError, match="'return'"):
        NHITS(CONFIGS["enhanced"], inputs)


def test_of_dates_far_ahead_only_a_users_own_inputs_are_seen():
    """The first five dates by all that is known of them; by holidays of later ones none is told."""
    inputs = INPUTS | {"known": ("weekday_sin", "gap", "report")}
    model = made(replace(CONFIGS["enhanced"], horizon=9), inputs=inputs)
    batch = random_batch(inputs, CONTEXT, N, 9)
    before = run(model, batch).quantiles
    last = BARS - 1  # the origin of the last fork
    for column, ahead, seen in ((0, 5, True), (1, 6, False), (2, 6, True), (2, 9, True)):
        known = batch.known.clone()
        known[:, last + ahead, column] += 3
        after = run(model, batch._replace(known=known)).quantiles[:, -1]
        assert torch.equal(after, before[:, -1]) != seen
    short = made(replace(CONFIGS["enhanced"], horizon=9), inputs=INPUTS | {"known": ("gap",)})
    assert all(stack.later is None for stack in short.stacks)
