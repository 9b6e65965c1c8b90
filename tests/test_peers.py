"""Given the same weights, our classic networks' parts give what the peers' give, to 1e-5.

Every copy is an explicit map of tensors, theirs on the left. What the peers do otherwise is said
where it is mapped.
"""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from helpers import random_batch, stir  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits import NHITSConfig  # noqa: E402
from tftnhits.models.layers import ForkedAttention, VariableSelection  # noqa: E402
from tftnhits.models.nhits import NHITS  # noqa: E402

# their warnings aren't ours to mend
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WIDTH, CHUNKS, FORKS = 24, 3, 4
D, V = 6, 8


@pytest.fixture(scope="module")
def nf():
    """neuralforecast's network and loss."""
    pytest.importorskip("neuralforecast", reason="the extra 'peers' is not installed")
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import NHITS

    return SimpleNamespace(NHITS=NHITS, MQLoss=MQLoss)


@pytest.fixture(scope="module")
def pf():
    """pytorch-forecasting's parts of the TFT."""
    pytest.importorskip("pytorch_forecasting", reason="the extra 'peers' is not installed")
    from pytorch_forecasting.models.temporal_fusion_transformer import sub_modules

    return sub_modules


def copy(pairs) -> None:
    """Give each of their parameters the value of ours: (theirs, ours)."""
    with torch.no_grad():
        for theirs, ours in pairs:
            assert theirs.shape == ours.shape
            theirs.copy_(ours)


def linear(theirs, ours) -> list:
    """The pairs of two linear layers, with the bias where ours has one."""
    return [(getattr(theirs, name), value) for name, value in ours.named_parameters()]


def made(kind, *args, **kwargs):
    torch.manual_seed(0)
    module = kind(*args, **kwargs).eval()
    stir(module)
    return module


def share_of(horizon: int, pool: int) -> int:
    """Their n_freq_downsample r with ⌊H / r⌋ knots, as many as our ⌈H / pool⌉ (the paper's)."""
    return next(r for r in range(1, horizon + 1) if horizon // r == math.ceil(horizon / pool))


def their_nhits(nf, config: NHITSConfig):
    """Their N-HITS of the sizes of ours: one block a stack, max pooling, linear interpolation."""
    stacks = len(config.pools)
    model = nf.NHITS(
        h=config.horizon,
        input_size=config.context,
        stack_types=["identity"] * stacks,
        n_blocks=[1] * stacks,
        mlp_units=[[config.hidden, config.hidden]] * 2,
        n_pool_kernel_size=list(config.pools),
        n_freq_downsample=[share_of(config.horizon, k) for k in config.pools],
        loss=nf.MQLoss(quantiles=list(config.quantiles)),
        stat_exog_list=["a", "b"],
    )
    return model.eval()


def copy_nhits(theirs, ours: NHITS) -> None:
    """All weights of ours into theirs."""
    config = ours.config
    for block, stack in zip(theirs.blocks, ours.stacks):
        first, second, _, third, _, head = block.layers
        last = stack.backcast is None  # theirs has a backcast that nobody reads; ours has none
        backcast = nn.Linear(config.hidden, config.context) if last else stack.backcast
        # two linear layers without an activation between them: ours, then the identity
        pairs = [
            (first.weight, torch.cat([stack.path.weight, stack.static.weight], 1)),
            (first.bias, stack.path.bias),
            (second.weight, torch.eye(config.hidden)),
            (second.bias, torch.zeros(config.hidden)),
            (head.weight, torch.cat([backcast.weight, stack.forecast.weight])),
            (head.bias, torch.cat([backcast.bias, stack.forecast.bias])),
        ]
        copy(pairs + linear(third, stack.hidden))


def windows(ours: NHITS, batch) -> dict:
    """What theirs takes: the path oldest first, one window a fork, and no missing value.

    It ends in 0 at the origin, so the last value that they add to the forecast adds nothing.
    """
    path = ours.path(batch).flatten(0, 1).flip(-1)[..., None]
    assert (path[:, -1] == 0).all()
    names = ("futr_exog", "hist_exog", "stat_exog")
    return {"insample_y": path, "insample_mask": torch.ones_like(path), **dict.fromkeys(names)}


SIZES = {
    "windows that don't fill": (25, 5, (8, 4, 1)),
    "long": (120, 48, (24, 12, 1)),
    "one step": (10, 1, (3, 1)),
}


@pytest.mark.parametrize("context, horizon, pools", SIZES.values(), ids=SIZES)
def test_nhits_is_neuralforecasts(nf, context, horizon, pools):
    sizes = {"context": context, "horizon": horizon, "hidden": WIDTH, "pools": pools}
    # theirs has a backcast of a value a bar, which the paper interpolates between knots
    config = NHITSConfig.classic(**sizes, quantiles=LEVELS, backcast="bars")
    names = {"observed": ("return",), "known": (), "static": ("a", "b")}
    ours, theirs = made(NHITS, config, names), their_nhits(nf, config)
    ours.base.normal_()
    # ours sees the last return beside the path; theirs pools a window of such inputs
    for stack in ours.stacks:
        nn.init.zeros_(stack.observed.weight)
    copy_nhits(theirs, ours)
    batch = random_batch(names, context, FORKS, horizon, CHUNKS)
    inputs = windows(ours, batch) | {"stat_exog": batch.static.repeat_interleave(FORKS, 0)}
    with torch.no_grad():
        found, expected = ours(batch), theirs(inputs)  # [B, N, H, Q], [B·N, H, Q]
    assert found.parts.abs().amax((0, 1, 2, 4)).min() > 0.05  # every stack has its say
    assert_close(found.parts.sum(3).flatten(0, 1), expected, **CLOSE)
    # theirs lets quantiles cross and starts from no baseline: sorted and on top of ours, the same
    assert_close(found.quantiles.flatten(0, 1), (ours.base + expected).sort(-1).values, **CLOSE)


def gate_pairs(theirs, gate) -> list:
    """Their GateAddNorm and our AddNorm."""
    theirs = theirs.gate_norm
    return linear(theirs.glu.fc, gate.glu.linear) + linear(theirs.add_norm.norm, gate.norm)


@pytest.mark.parametrize("context", [False, True])
def test_variable_selection_is_pytorch_forecastings(pf, context):
    """The same but for the skip of the selecting GRN, from V · D numbers to V.

    Ours is a linear map, as the authors' code has it. Theirs interpolates the concatenated
    embeddings, scales and normalises them before the sum, which no weights of ours can repeat: a
    linear layer takes its place here. And their selecting GRN is min(D, V) wide, ours D: with
    V ≥ D it is the same.
    """
    ours = made(VariableSelection, V, D, 0.3, context, False, False)
    names = [f"x{i}" for i in range(V)]
    theirs = pf.VariableSelectionNetwork(
        dict.fromkeys(names, D), D, {}, dropout=0.3, context_size=D if context else None
    ).eval()
    grns, chooser, selector = ours.grns, theirs.flattened_grn, ours.selector
    for i, name in enumerate(names):
        one, embed = theirs.single_variable_grns[name], theirs.prescalers[name]
        gate, norm = one.gate_norm.glu.fc, one.gate_norm.add_norm.norm
        copy([(embed.weight, ours.weight[i][:, None]), (embed.bias, ours.bias[i])])
        copy([(one.fc1.weight, grns.w2[i].T), (one.fc1.bias, grns.b2[i, 0])])
        copy([(one.fc2.weight, grns.w1[i].T), (one.fc2.bias, grns.b1[i, 0])])
        copy([(gate.weight, grns.wg[i].T), (gate.bias, grns.bg[i, 0])])
        copy([(norm.weight, grns.norm_weight[i, 0]), (norm.bias, grns.norm_bias[i, 0])])
    skip = chooser.resample_norm = nn.Linear(V * D, V)
    copy([(skip.weight, selector.skip.flatten(0, 1).T), (skip.bias, selector.skip_bias)])
    first = selector.input.flatten(0, 1).T
    copy([(chooser.fc1.weight, first), (chooser.fc1.bias, selector.bias)])
    copy(linear(chooser.fc2, selector.hidden[0]) + gate_pairs(chooser, selector.gate))
    copy(linear(chooser.context, selector.context) if context else [])
    x, c = torch.randn(3, 5, V), torch.randn(3, D) if context else None
    found = ours(x, c)
    each = {n: x[..., i : i + 1] for i, n in enumerate(names)}
    value, weights = theirs(each, None if c is None else c[:, None])
    assert found.weights.std() > 0.02  # the variables aren't weighed alike
    assert_close(found.weights, weights.squeeze(-2), **CLOSE)
    assert_close(found.value, value, **CLOSE)


@pytest.mark.parametrize("context, forks, before", [(7, 1, 0), (7, 4, 3), (20, 16, 0)])
def test_attention_is_pytorch_forecastings(pf, context, forks, before):
    """Fork by fork: their queries are its decoder steps, their keys its context and those steps."""
    heads, steps, size = 2, 3, D // 2
    ours = made(ForkedAttention, D, heads, context)
    theirs = pf.InterpretableMultiHeadAttention(heads, D).eval()
    for i, (query, key) in enumerate(zip(theirs.q_layers, theirs.k_layers)):
        part = slice(i * size, (i + 1) * size)
        copy([(query.weight, ours.query.weight[part]), (query.bias, ours.query.bias[part])])
        # their keys have a bias, whatever its value: it adds the same to all scores of a query
        copy([(key.weight, ours.key.weight[part]), (key.bias, torch.randn(size))])
    copy(linear(theirs.v_layer, ours.value) + linear(theirs.w_h, ours.output))
    bars = context + forks - 1 + before
    encoder, decoder = torch.randn(CHUNKS, bars, D), torch.randn(CHUNKS, forks, steps, D)
    output, attention = ours(encoder, decoder)
    # a step sees itself and those before it (eq. 12); their TFT's own mask hides itself too
    mask = torch.cat([torch.zeros(steps, context), torch.ones(steps, steps).triu(1)], 1).bool()
    mask = mask.expand(CHUNKS, -1, -1)
    for fork in range(forks):
        origin = bars - forks + fork
        seen = torch.cat([encoder[:, origin - context + 1 : origin + 1], decoder[:, fork]], 1)
        expected, weights = theirs(decoder[:, fork], seen, seen, mask)
        assert_close(output[:, fork], expected, **CLOSE)
        assert_close(attention[:, fork], weights.mean(2), **CLOSE)  # theirs keeps the heads apart
