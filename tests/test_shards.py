"""Threads with a share of each batch train the network of one, whatever the number of cores."""

from dataclasses import replace

import pytest
from helpers import NHITS_TINY, TFT_TINY, TRAIN_TINY, made_panel

torch = pytest.importorskip("torch")

from tftnhits import TrainConfig, fit  # noqa: E402
from tftnhits.data.windows import gather, training_starts  # noqa: E402
from tftnhits.models import caller  # noqa: E402
from tftnhits.models.store import build  # noqa: E402
from tftnhits.training.run import Run  # noqa: E402
from tftnhits.training.shards import SHARDS  # noqa: E402

NETWORKS = (TFT_TINY, NHITS_TINY)


@pytest.fixture(scope="module")
def panel():
    return made_panel().with_tensors()


@pytest.fixture
def threads(monkeypatch):
    """Sets torch's number of threads, whatever the machine has."""
    before = torch.get_num_threads()
    monkeypatch.setattr(caller, "cores", lambda: 8)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def batch_of(panel, config, chunks):
    starts = training_starts(panel, config.context, 32, 0)
    return gather(panel, starts[:chunks], config.context, 32, "train")


@pytest.mark.parametrize("chunks", [1, 2, 5])
@pytest.mark.parametrize("config", NETWORKS)
def test_the_gradients_are_those_of_the_whole_batch(panel, threads, config, chunks):
    threads(2)
    torch.manual_seed(0)
    model = build(replace(config, dropout=0.0), panel.inputs).train()
    run, levels = Run(model, TrainConfig(), 1), torch.tensor(config.quantiles)
    batch = batch_of(panel, config, chunks)
    for _ in range(2):  # nothing of an earlier call stays
        value = run.gradients(batch, levels)
    sharded = [weight.grad.clone() for weight in model.parameters()]
    run.shards = None
    assert value == pytest.approx(float(run.gradients(batch, levels)), rel=1e-5)
    for one, whole in zip(sharded, model.parameters(), strict=True):
        whole = torch.zeros_like(whole) if whole.grad is None else whole.grad
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("config", NETWORKS)
def test_the_number_of_threads_changes_no_weight(panel, threads, config):
    found = []
    for number in (1, 2):
        threads(number)
        found.append(fit(config, panel, TRAIN_TINY, progress=False).model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_copies_share_weights_and_draw_masks_of_their_own(panel):
    model = build(NHITS_TINY, panel.inputs).train()
    run = Run(model, TrainConfig(), 1)
    batch = batch_of(panel, NHITS_TINY, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1)  # as the optimiser does, in place
        model.base.add_(1.0)
    quantiles = []
    for _ in range(2):
        torch.manual_seed(7)
        run.shards.seed(7)
        quantiles.append([one(batch).quantiles for one in run.shards.models])
    assert len(run.shards.models) == SHARDS
    (first, second), again = quantiles
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    assert not torch.equal(first, second)
    plain = [one.eval()(batch).quantiles for one in run.shards.models]
    assert torch.equal(*plain)
