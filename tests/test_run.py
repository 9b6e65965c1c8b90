"""Which networks train with matrix products in bfloat16, and that these give the same gradients."""

from dataclasses import replace

import pytest
from helpers import NHITS_TINY, TFT_TINY, made_panel

torch = pytest.importorskip("torch")

from tftnhits import TrainConfig  # noqa: E402
from tftnhits.data.windows import gather, training_starts  # noqa: E402
from tftnhits.models.store import build  # noqa: E402
from tftnhits.training.run import MIXED, Run, _has_bfloat16  # noqa: E402


def run_of(config, panel):
    torch.manual_seed(0)
    return Run(build(replace(config, dropout=0.0), panel.inputs).train(), TrainConfig(), 10)


@pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY])
def test_wide_networks_alone_take_bfloat16_and_only_where_the_processor_has_it(config):
    panel = made_panel().with_tensors()
    assert not run_of(config, panel).mixed
    wide = run_of(replace(config, hidden=MIXED), panel)
    assert wide.mixed == _has_bfloat16(torch.device("cpu"))
    assert not _has_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY])
def test_bfloat16_points_the_same_way_and_leaves_weights_and_losses_in_float32(config):
    panel = made_panel().with_tensors()
    starts = training_starts(panel, config.context, 32, 0)[:4]
    batch = gather(panel, starts, config.context, 32, "train")
    levels, found = torch.tensor(config.quantiles), []
    for mixed in (False, True):
        run = run_of(replace(config, hidden=MIXED), panel)
        run.mixed = mixed
        for index in range(3):  # the first steps leave the zeros that the last layers begin with
            loss = run.step(batch, levels, index)
        weights = [weight for weight in run.model.parameters() if weight.grad is not None]
        assert {weight.dtype for weight in weights} == {loss.dtype} == {torch.float32}
        gradient = torch.cat([weight.grad.flatten() for weight in weights])
        found.append((float(loss), gradient))
    (exact, gradient), (loss, other) = found
    assert loss != exact  # the products were made in bfloat16
    assert loss == pytest.approx(exact, rel=2e-3)
    assert torch.cosine_similarity(gradient, other, 0) > 0.99
