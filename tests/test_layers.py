"""The TFT's parts against plain, unfolded computations."""

import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from helpers import stir  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits.models.layers import GRN, Dropout, ForkedAttention, VariableSelection  # noqa: E402

D, V = 6, 5


def made(kind, *args, **kwargs):
    torch.manual_seed(0)
    module = kind(*args, **kwargs).eval()
    stir(module)
    return module


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("context", [False, True])
def test_grn_is_equations_2_to_5(extra, context):
    grn, x, c = made(GRN, D, 0.3, context, extra), torch.randn(2, 3, 4, D), torch.randn(2, D)
    eta2 = x @ grn.input.weight.T + grn.input.bias
    if context:
        eta2 = eta2 + (c @ grn.context.weight.T)[:, None, None]
    eta1 = F.elu(eta2) @ grn.hidden.weight.T + grn.hidden.bias
    if extra:
        eta1 = eta1 + grn.extra(eta1)
    w, b = grn.gate.glu.linear.weight, grn.gate.glu.linear.bias
    gated = torch.sigmoid(eta1 @ w[D:].T + b[D:]) * (eta1 @ w[:D].T + b[:D])
    expected = F.layer_norm(x + gated, (D,), grn.gate.norm.weight, grn.gate.norm.bias)
    assert_close(grn(x, c) if context else grn(x), expected)


def plain_selection(vsn, x, context):
    """Section 4.2 for one row of V scalars, variable by variable, nothing folded."""
    embedded = [x[v] * vsn.weight[v] + vsn.bias[v] for v in range(V)]  # V times [D]
    g, s = vsn.grns, vsn.selector
    parts = []
    for v, e in enumerate(embedded):
        eta = F.elu(e @ g.w2[v] + g.b2[v, 0]) @ g.w1[v] + g.b1[v, 0]
        if g.we is not None:
            eta = eta + F.glu(eta @ g.we[v] + g.be[v, 0], -1)
        gated = F.glu(eta @ g.wg[v] + g.bg[v, 0], -1)
        parts.append(F.layer_norm(e + gated, (D,)) * g.norm_weight[v, 0] + g.norm_bias[v, 0])
    every = torch.cat(embedded)  # Ξ, [V·D]
    eta = every @ s.input.reshape(V * D, D) + s.bias
    if context is not None:
        eta = eta + context @ s.context.weight.T
    for layer in s.hidden:
        eta = F.elu(eta) @ layer.weight.T + layer.bias
    skip = every @ s.skip.reshape(V * D, V) + s.skip_bias
    scores = F.layer_norm(skip + s.gate.glu(eta), (V,), s.gate.norm.weight, s.gate.norm.bias)
    weights = scores.softmax(-1)
    return sum(w * p for w, p in zip(weights, parts)), weights


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("context", [False, True])
def test_folded_selection_equals_the_plain_one(deep, extra, context):
    vsn = made(VariableSelection, V, D, 0.4, context, deep, extra)
    x, c = torch.randn(2, 3, V), torch.randn(2, D) if context else None
    found = vsn(x, c)
    assert found.value.shape == (2, 3, D) and found.weights.shape == (2, 3, V)
    for b in range(2):
        for t in range(3):
            value, weights = plain_selection(vsn, x[b, t], None if c is None else c[b])
            assert_close(found.value[b, t], value, atol=1e-5, rtol=1e-4)
            assert_close(found.weights[b, t], weights, atol=1e-5, rtol=1e-4)
    assert_close(found.weights.sum(-1), torch.ones(2, 3))


@pytest.mark.parametrize("context, n, before", [(5, 4, 0), (5, 1, 0), (1, 3, 0), (4, 3, 6)])
def test_forked_attention_equals_one_fork_after_the_other(context, n, before):
    heads, h = 2, 3
    layer = made(ForkedAttention, D, heads, context)
    t = context + n - 1 + before
    encoder, decoder = torch.randn(2, t, D), torch.randn(2, n, h, D)
    output, attention = layer(encoder, decoder)
    later = torch.ones(h, context + h).triu(context + 1).bool()
    for fork in range(n):
        origin = t - n + fork
        past = encoder[:, origin - context + 1 : origin + 1]
        seen = torch.cat([past, decoder[:, fork]], 1)
        query = layer.query(decoder[:, fork]).unflatten(-1, (heads, -1))
        key = layer.key(seen).unflatten(-1, (heads, -1))
        scores = torch.einsum("bqhw,bkhw->bhqk", query, key) / math.sqrt(D // heads)
        weights = scores.masked_fill(later, -torch.inf).softmax(-1).mean(1)
        assert_close(attention[:, fork], weights, atol=1e-6, rtol=1e-5)
        mixed = layer.output(weights @ layer.value(seen))
        assert_close(output[:, fork], mixed, atol=1e-5, rtol=1e-4)


def test_dropout_keeps_mean_share_and_independence():
    torch.manual_seed(0)
    drop, x = Dropout(0.3).train(), torch.ones(512, 1001)
    y = drop(x)
    zero = y == 0
    cut = round(256 * 0.3) / 256
    assert abs(float(zero.float().mean()) - cut) < 0.003
    torch.testing.assert_close(y[~zero], torch.full_like(y[~zero], 1 / (1 - cut)))
    by_byte = zero.flatten()[: zero.numel() // 8 * 8].view(-1, 8).float()
    correlation = torch.corrcoef(by_byte.T) - torch.eye(8)
    assert float(correlation.abs().max()) < 0.02
    assert torch.equal(drop.eval()(x), x) and torch.equal(Dropout(0.0).train()(x), x)
