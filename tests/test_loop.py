"""Training: repeatable to the bit, resumable after a kill, never worse than where it started."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from helpers import NHITS_TINY, TFT_TINY, TRAIN_TINY, environment, made_bars, one_sentence, stir  # noqa: E402

from tftnhits import PanelConfig, TrainConfig, fit, make_panel  # noqa: E402
from tftnhits.config import SCORE_LEVELS  # noqa: E402
from tftnhits.data import features as F  # noqa: E402
from tftnhits.data.windows import gather, training_starts  # noqa: E402
from tftnhits.errors import CheckpointError, ConfigError, HistoryTooShort  # noqa: E402
from tftnhits.evaluation.metrics import pinball_loss  # noqa: E402
from tftnhits.models.baselines import baseline_quantiles  # noqa: E402
from tftnhits.models.store import build, load_state  # noqa: E402
from tftnhits.training.loop import (  # noqa: E402
    _masked,
    _Run,
    forecast_rows,
    protocol_loss,
    split_loss,
    valid_loss,
)

models = pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY], ids=["TFT", "NHITS"])
LONG = TrainConfig(epochs=8, patience=8, batch=4, origins=16)


@pytest.fixture(scope="module")
def panel():
    return make_panel(made_bars(bars=220))


def trained(config, panel, train=TRAIN_TINY, checkpoint=None):
    return fit(config, panel, train, checkpoint, progress=False)


def weights(model):
    return {k: v.numpy().tobytes() for k, v in model.state_dict().items()}


def curve(found):
    """The learning curve without what the clock says."""
    return [{k: v for k, v in row.items() if k not in ("rate", "seconds")} for row in found.history]


def random_network(config, panel, seed=0):
    model = build(config, panel.inputs).eval()
    stir(model, seed)
    return model


@models
def test_a_seed_gives_the_same_bits_and_another_does_not(config, panel):
    first = trained(config, panel)
    torch.rand(7), np.random.rand(3)  # what else happens in the session doesn't matter
    again, other = trained(config, panel), trained(config, panel, replace(TRAIN_TINY, seed=1))
    assert weights(first.model) == weights(again.model) and curve(first) == curve(again)
    assert weights(first.model) != weights(other.model) and curve(first) != curve(other)
    assert len(first.history) == 2
    assert set(first.history[0]) == {"epoch", "train", "valid", "rate", "seconds"}
    assert not first.model.training and first.seconds > 0


SCRIPT = """
import sys, torch
torch.set_num_threads(int(sys.argv[3]))
from helpers import NHITS_TINY, TFT_TINY, made_bars
from test_loop import LONG
from tftnhits import fit, make_panel
config = {"TFT": TFT_TINY, "NHITS": NHITS_TINY}[sys.argv[2]]
fit(config, make_panel(made_bars(bars=220)), LONG, sys.argv[1], progress=False)
"""


def train_until_killed(path, name):
    """A real process that is killed as soon as its state file shows an epoch."""
    command = [sys.executable, "-c", SCRIPT, str(path), name, str(torch.get_num_threads())]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    limit = time.monotonic() + 90
    try:
        while process.poll() is None and time.monotonic() < limit:
            if path.exists() and load_state(path)[1]["epoch"] >= 1:
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    return load_state(path)[1]["epoch"]


@models
def test_resume_after_kill_9_ends_in_the_same_weights(config, panel, tmp_path):
    path = tmp_path / "run.state"
    done = train_until_killed(path, type(build(config, panel.inputs)).__name__)
    assert 1 <= done < LONG.epochs
    resumed, whole = trained(config, panel, LONG, path), trained(config, panel, LONG)
    assert weights(resumed.model) == weights(whole.model)
    assert curve(resumed) == curve(whole) and len(whole.history) == LONG.epochs
    content = path.read_bytes()
    again = trained(config, panel, LONG, path)  # a finished run is read back
    assert again.history == resumed.history and path.read_bytes() == content
    assert weights(again.model) == weights(resumed.model) and os.listdir(tmp_path) == ["run.state"]


@models
def test_never_worse_on_validation_than_the_baseline_it_starts_from(config, panel):
    rows = panel.origins("valid", config.context)
    steps = np.sqrt(np.arange(1, 6)) * np.asarray(panel.scale)[rows, None]
    quantiles = baseline_quantiles("HAR", panel, rows, config.quantiles) / steps[..., None]
    baseline = pinball_loss(quantiles, panel.target[rows], config.quantiles).mean()
    untrained = build(config, panel.inputs)
    untrained.base.copy_(torch.as_tensor(quantiles[0]))
    assert split_loss(untrained, panel) == pytest.approx(baseline, rel=1e-5)
    for rate in (1e-3, 3.0):  # the second wrecks the network
        found = trained(config, panel, replace(TRAIN_TINY, learning_rate=rate, averaging=0.0))
        assert split_loss(found.model, panel) <= baseline * (1 + 1e-6)
        best = min(row["valid"] for row in found.history)
        assert split_loss(found.model, panel) == pytest.approx(min(best, baseline), rel=1e-5)
    assert best > baseline  # it did wreck it, so that the start was kept


def test_learns_what_there_is_to_learn():
    """Returns that follow a known input: the trained network beats its start by far."""
    bars = made_bars(("A", "B", "C"), 400)
    day = bars["date"].dt.day_of_week.to_numpy()
    move = np.where(day < 2, 0.03, -0.02) + np.random.default_rng(0).normal(0, 0.002, len(bars))
    for symbol in "ABC":
        own = (bars["symbol"] == symbol).to_numpy()
        bars.loc[own, "close"] = 50 * np.exp(np.cumsum(move[own]))
    bars["open"] = bars["close"] * 1.001
    bars["high"], bars["low"] = bars["close"] * 1.01, bars["close"] * 0.99
    panel = make_panel(bars, PanelConfig(horizon=2))
    train = replace(LONG, epochs=12, patience=12, learning_rate=2e-2, averaging=0.9)
    for config in (replace(TFT_TINY, horizon=2), replace(NHITS_TINY, horizon=2)):
        found = trained(config, panel, train)
        assert found.history[-1]["train"] < 0.6 * found.history[0]["train"]
        assert split_loss(found.model, panel) < 0.7 * found.history[0]["valid"]


def test_early_stopping(panel):
    train = replace(TRAIN_TINY, epochs=20, patience=2, learning_rate=3.0, averaging=0.0)
    found = trained(NHITS_TINY, panel, train)
    assert len(found.history) < 20
    losses = [row["valid"] for row in found.history]
    start = losses.index(min(losses)) if split_loss(found.model, panel) == min(losses) else -1
    assert len(losses) == start + 1 + 2  # two epochs that did not better the best


def test_weights_are_averaged(panel):
    train = replace(TRAIN_TINY, averaging=0.7)
    torch.manual_seed(0)
    run = _Run(build(NHITS_TINY, panel.inputs), train, 10)
    tensors, levels = panel.with_tensors(), torch.tensor(NHITS_TINY.quantiles)
    starts = training_starts(panel, NHITS_TINY.context, 16, 0)
    expected = {k: v.clone() for k, v in run.model.named_parameters()}
    for i in range(6):
        run.step(gather(tensors, starts[i : i + 2], NHITS_TINY.context, 16, "train"), levels, i)
        decay = min(0.7, (1 + i) / (10 + i))
        for k, v in run.model.named_parameters():
            expected[k] = decay * expected[k] + (1 - decay) * v.detach()
    for k, v in run.average.named_parameters():
        torch.testing.assert_close(v.detach(), expected[k].detach(), atol=1e-6, rtol=1e-5)
    assert weights(run.average) != weights(run.model)


def test_learning_rate_warms_up_and_anneals_to_zero(panel):
    train = replace(TRAIN_TINY, epochs=10, learning_rate=1e-2)
    run = _Run(build(NHITS_TINY, panel.inputs), train, 20)
    rates = [run.rate(i) for i in range(200)]
    peak = int(np.argmax(rates))
    assert 5 <= peak <= 12 and rates[0] == pytest.approx(1e-3, rel=0.05) and max(rates) <= 1e-2
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-5
    assert rates[100] == pytest.approx(5e-3, rel=0.01)
    group = run.optimizer.param_groups[0]
    assert type(run.optimizer) is torch.optim.AdamW and group["weight_decay"] == 0.01


def test_gradients_are_clipped(panel):
    run = _Run(build(NHITS_TINY, panel.inputs), replace(TRAIN_TINY, clip=1e-3), 20)
    starts = training_starts(panel, NHITS_TINY.context, 16, 0)[:2]
    batch = gather(panel.with_tensors(), starts, NHITS_TINY.context, 16, "train")
    run.step(batch._replace(target=batch.target * 1e3), torch.tensor(NHITS_TINY.quantiles), 0)
    squares = [float((p.grad**2).sum()) for p in run.model.parameters() if p.grad is not None]
    assert math.sqrt(sum(squares)) <= 1.01e-3


def test_masks_hide_whole_groups_of_a_chunk_each_by_chance(panel):
    starts = np.repeat(training_starts(panel, 20, 16, 0)[:1], 400)
    batch = gather(panel.with_tensors(), starts, 20, 16, "train")
    batch = batch._replace(**{k: torch.ones_like(getattr(batch, k)) for k in panel.inputs})
    masked = _masked(batch, panel, 0.3, np.random.default_rng(0))
    of_group = {}
    for name, values in zip(panel.inputs["observed"], masked.observed.unbind(-1)):
        assert (values == values[:, :1]).all()  # for all bars of a chunk alike
        groups = [group for group, members in F.GROUPS.items() if name in members]
        hidden = of_group.setdefault(groups[0] if groups else "none", values[:, 0] == 0)
        assert (hidden == (values[:, 0] == 0)).all(), name  # with its group
    assert not of_group.pop("none").any() and len(of_group) >= 2
    assert all(0.2 < hidden.float().mean() < 0.4 for hidden in of_group.values())
    assert len({tuple(hidden.tolist()) for hidden in of_group.values()}) == len(of_group)


def test_a_hidden_group_looks_like_a_panel_that_lacks_it():
    """What `_masked` makes of full bars is what bars without volume or dates give."""
    bars = made_bars(("A",), 120)
    one = make_panel(bars)
    plain = bars.assign(volume=np.nan, date=np.datetime64("NaT", "ns"))
    start, generator = np.array([30]), np.random.default_rng(0)
    hidden = _masked(gather(one.with_tensors(), start, 20, 16), one, 1.0, generator)
    lacking = gather(make_panel(plain, fitted=one.fitted).with_tensors(), start, 20, 16)
    for name in ("observed", "known", "static"):
        np.testing.assert_array_equal(getattr(hidden, name), getattr(lacking, name), err_msg=name)


@pytest.mark.parametrize("changed", ["train", "config", "data", "panel"])
def test_a_state_of_another_run_is_refused(panel, tmp_path, changed):
    path = tmp_path / "run.state"
    trained(NHITS_TINY, panel, checkpoint=path)
    bars = made_bars(bars=220)
    volumes = bars.assign(volume=bars["volume"] * np.linspace(1, 2, len(bars)))
    fewer = PanelConfig(known=("gap", "has_calendar"))
    other = {
        "train": (NHITS_TINY, panel, replace(TRAIN_TINY, seed=5)),
        "config": (replace(NHITS_TINY, hidden=8), panel, TRAIN_TINY),
        "data": (NHITS_TINY, make_panel(volumes), TRAIN_TINY),
        "panel": (NHITS_TINY, make_panel(bars, fewer), TRAIN_TINY),
    }[changed]
    with pytest.raises(CheckpointError, match=f"made with another .*{changed}") as caught:
        trained(*other, checkpoint=path)
    assert one_sentence(str(caught.value)) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04noise", safetensors.torch.save({"x": torch.ones(2)}, {"record": "[1]"})],
)
def test_a_broken_state_is_refused(panel, tmp_path, content):
    (tmp_path / "run.state").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.state") as caught:
        trained(NHITS_TINY, panel, checkpoint=tmp_path / "run.state")
    assert one_sentence(str(caught.value))


@models
def test_too_few_bars_say_so(config):
    small = make_panel(made_bars(bars=25))
    with pytest.raises(HistoryTooShort) as caught:
        trained(replace(config, context=24), small)
    assert "24 bars" in str(caught.value) and "25 bars" in str(caught.value)
    with pytest.raises(HistoryTooShort):  # too few for the baseline that it starts from
        trained(replace(config, context=5), small)


def test_what_cannot_be_trained_is_named(panel):
    with pytest.raises(ConfigError, match="horizon is 7 but the panel's 5"):
        trained(replace(NHITS_TINY, horizon=7), panel)
    with pytest.raises(ConfigError, match="learning_rate"):  # the loss explodes
        trained(NHITS_TINY, panel, replace(TRAIN_TINY, learning_rate=1e30))
    teacher = build(replace(NHITS_TINY, quantiles=(0.1, 0.5, 0.9)), panel.inputs)
    with pytest.raises(ConfigError, match="teacher has other"):
        fit(NHITS_TINY, panel, TRAIN_TINY, progress=False, teachers=[teacher])


def test_without_validation_the_last_average_is_kept(tmp_path):
    bars = made_bars(bars=120)
    last = str(bars["date"].max().date())
    panel = make_panel(bars, PanelConfig(train_end=last, valid_end=last))
    assert not len(panel.origins("valid"))
    path = tmp_path / "run.state"
    found = trained(NHITS_TINY, panel, TRAIN_TINY, path)
    tensors, record = load_state(path)
    assert len(found.history) == 2 and math.isnan(found.history[0]["valid"])
    assert record["best_loss"] is None
    for k, v in found.model.state_dict().items():
        assert torch.equal(v, tensors["average." + k])
    assert weights(trained(NHITS_TINY, panel, TRAIN_TINY, path).model) == weights(found.model)


@models
def test_forecast_rows_in_any_order_and_company(config, panel):
    model = random_network(config, panel)
    rows = np.random.default_rng(0).permutation(panel.origins("valid", 20))
    found = forecast_rows(model, panel, rows)
    assert found.shape == (len(rows), 5, len(config.quantiles)) and np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    ordered = forecast_rows(model, panel, np.sort(rows))
    np.testing.assert_allclose(found[np.argsort(rows)], ordered, rtol=1e-5, atol=1e-7)
    for i in range(0, len(rows), len(rows) // 7):  # alone: decoded as in its chunk
        alone = forecast_rows(model, panel, rows[i : i + 1])
        np.testing.assert_allclose(alone[0], found[i], rtol=1e-5, atol=1e-7)
    assert forecast_rows(model, panel, rows[:0]).shape == (0, 5, len(config.quantiles))


def test_losses_by_hand(panel):
    model = trained(NHITS_TINY, panel, replace(TRAIN_TINY, epochs=1)).model
    rows = panel.origins("valid", 20)
    quantiles, outcomes = forecast_rows(model, panel, rows), panel.outcomes(rows)
    scale = np.asarray(panel.scale)[rows, None] * np.sqrt(np.arange(1, 6))
    levels = NHITS_TINY.quantiles
    expected = pinball_loss(quantiles / scale[..., None], panel.target[rows], levels).mean()
    assert split_loss(model, panel) == pytest.approx(expected, rel=1e-5)
    scored = quantiles[..., [levels.index(level) for level in SCORE_LEVELS]]
    expected = 1e4 * pinball_loss(scored, outcomes, SCORE_LEVELS).mean()
    assert valid_loss(model, panel) == protocol_loss(scored, panel, rows)
    assert valid_loss(model, panel) == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_scored(panel):
    few = build(replace(NHITS_TINY, quantiles=(0.1, 0.5, 0.9)), panel.inputs)
    with pytest.raises(ConfigError, match=r"quantile level 0\.025"):
        valid_loss(few, panel)
    with pytest.raises(ConfigError, match="no validation origin"):
        protocol_loss(np.zeros((0, 5, 9)), panel, np.zeros(0, int))


def test_progress_shows_losses_and_speed(panel, capsys):
    fit(NHITS_TINY, panel, replace(TRAIN_TINY, epochs=1))
    shown = capsys.readouterr().err
    assert "NHITS" in shown and "loss 0." in shown and "valid 0." in shown and "windows/s" in shown


def test_watch_can_stop_a_run_that_then_goes_on_elsewhere(panel, tmp_path):
    class Enough(Exception):
        pass

    seen = []

    def watch(row):
        seen.append(row.pop("epoch"))  # the row is a copy, and what else happens doesn't matter
        torch.rand(3)
        if seen[-1] == 3:
            raise Enough

    path = tmp_path / "run.state"
    with pytest.raises(Enough):
        fit(NHITS_TINY, panel, LONG, path, progress=False, watch=watch)
    assert seen == [1, 2, 3]
    assert load_state(path)[1]["epoch"] == 3  # the epoch is on disk before anyone sees it
    resumed, whole = trained(NHITS_TINY, panel, LONG, path), trained(NHITS_TINY, panel, LONG)
    assert weights(resumed.model) == weights(whole.model)


@models
def test_a_student_learns_the_teachers_mean(config, panel, tmp_path):
    teachers = [random_network(config, panel, seed) for seed in (1, 2)]
    rows = panel.origins("valid", config.context)
    mean = sum(forecast_rows(t, panel, rows) for t in teachers) / 2
    # no validation, which would refuse to follow teachers that know nothing
    blind = replace(panel, split=np.where(panel.split == 1, 3, panel.split))
    student, train = replace(config, dropout=0.0), replace(TRAIN_TINY, epochs=20, origins=16)
    before = np.abs(forecast_rows(build(student, panel.inputs), panel, rows) - mean).mean()
    found = fit(student, blind, train, tmp_path / "state", progress=False, teachers=teachers)
    after = np.abs(forecast_rows(found.model, panel, rows) - mean).mean()
    assert after < before / 2, (before, after)
    again = fit(student, blind, train, tmp_path / "state", progress=False, teachers=teachers)
    assert weights(again.model) == weights(found.model)  # read back
    with pytest.raises(CheckpointError, match="another teachers"):
        fit(student, blind, train, tmp_path / "state", progress=False, teachers=teachers[:1])
