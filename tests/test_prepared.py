"""Networks as they forecast: the same numbers, whatever came before."""

import copy

import pytest

torch = pytest.importorskip("torch")

from helpers import random_batch, random_inputs, stir  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from tftnhits import TFTConfig  # noqa: E402
from tftnhits.models import prepared as module  # noqa: E402
from tftnhits.models.prepared import prepared  # noqa: E402
from tftnhits.models.tft import TFT  # noqa: E402

INPUTS = random_inputs()
CONFIG = TFTConfig(context=8, horizon=3, hidden=8, heads=2, quantiles=(0.1, 0.5, 0.9))


def test_a_prepared_network_forecasts_the_same_and_keeps_few_contexts(monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    torch.manual_seed(0)
    model = TFT(CONFIG, INPUTS).eval()
    stir(model)
    ready = prepared(model)
    batch = random_batch(INPUTS, 8, 4, 3)
    with torch.inference_mode():
        for step in (0.0, 1.0, 2.0, 0.0):  # other static inputs, and the first again
            moved = batch._replace(static=batch.static + step)
            for one, other in zip(model(moved), ready(moved), strict=True):
                assert_close(one, other, rtol=1e-6, atol=1e-7)
            assert len(ready.known) <= 2


def test_a_network_may_be_trained_on_after_it_was_prepared():
    torch.manual_seed(0)
    model = TFT(CONFIG, INPUTS)
    before = copy.deepcopy(model.state_dict())
    ready = prepared(model)
    assert type(model) is TFT and model.training and not ready.training
    assert model.past_selection.grns.folded is None
    with torch.no_grad():
        model.past_selection.weight.add_(1.0)
    assert_close(ready.state_dict(), before, rtol=0, atol=0)
