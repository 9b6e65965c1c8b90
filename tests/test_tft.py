"""The Temporal Fusion Transformer: what each fork sees, and what it returns."""

import pytest

torch = pytest.importorskip("torch")

from helpers import random_batch, random_inputs, stir  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits import TFTConfig  # noqa: E402
from tftnhits.models.tft import TFT, Encoder  # noqa: E402

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


def test_bars_before_the_context_reach_a_fork_through_the_encoder_only():
    model, batch = made(CONFIGS["classic"]), random_batch(INPUTS, CONTEXT, 1, HORIZON, before=1)
    observed = batch.observed.clone()
    observed[:, 0] += 5
    one, other = run(model, batch), run(model, batch._replace(observed=observed))
    assert one.attention.shape == (2, 1, HORIZON, CONTEXT + HORIZON)
    assert (one.quantiles - other.quantiles).abs().max() > 1e-7  # the encoder's state carries on


def test_each_enhancement_has_parameters_of_its_own():
    sets = {k: set(dict(TFT(c, INPUTS).named_parameters())) for k, c in CONFIGS.items()}
    assert len({frozenset(s) for s in sets.values()}) == len(CONFIGS)
    for name in ("one layer", "paper's selection", "paper's GRN"):
        assert sets["classic"] < sets[name] < sets["enhanced"]


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


def test_the_encoder_with_masks_is_the_lstm_layer_by_layer():
    torch.manual_seed(0)
    encoder = Encoder(4, 2, 0.5).train()
    x, state = torch.randn(3, 7, 4), (torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    masked = encoder(x, state)[0]
    assert not torch.equal(masked, encoder(x, state)[0])
    encoder.between.chance = 0.0
    layered = encoder(x, state)[0]
    torch.testing.assert_close(layered, encoder.eval()(x, state)[0])
    mean = torch.stack([encoder.train()(x, state)[0] for _ in range(3)]).mean(0)
    torch.testing.assert_close(mean, layered)


def test_masks_between_layers_are_torchs_own_on_cuda_alone():
    encoder = Encoder(4, 2, 0.5)
    x, state = torch.zeros(3, 5, 4, device="meta"), torch.zeros(2, 3, 4, device="meta")
    assert encoder.to("meta")(x, (state, state))[1] is None  # layer by layer, as on MPS
    assert encoder.eval()(x, (state, state))[1] is not None
