"""Training: repeatable to the bit, resumable after a kill, never worse than where it started."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    NHITS_TINY,
    TFT_TINY,
    TRAIN_TINY,
    environment,
    made_bars,
    one_sentence,
    python,
    stir,
)

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
    forecast_rows,
    protocol_loss,
    split_loss,
    valid_loss,
)
from tftnhits.training.run import WORDS, Run  # noqa: E402

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
torch.set_num_threads(int(sys.argv[2]))
from helpers import NHITS_TINY, made_bars
from test_loop import LONG
from tftnhits import fit, make_panel
fit(NHITS_TINY, make_panel(made_bars(bars=220)), LONG, sys.argv[1], progress=False)
"""


def train_until_killed(path):
    """A real process that is killed as soon as its state file shows an epoch."""
    command = [sys.executable, "-c", SCRIPT, str(path), str(torch.get_num_threads())]
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


def test_resume_after_kill_9_ends_in_the_same_weights(panel, tmp_path):
    path, config = tmp_path / "run.state", NHITS_TINY
    done = train_until_killed(path)
    assert 1 <= done < LONG.epochs
    resumed, whole = trained(config, panel, LONG, path), trained(config, panel, LONG)
    assert weights(resumed.model) == weights(whole.model)
    assert curve(resumed) == curve(whole) and len(whole.history) == LONG.epochs
    content = path.read_bytes()
    again = trained(config, panel, LONG, path)  # a finished run is read back
    assert again.history == resumed.history and path.read_bytes() == content
    assert weights(again.model) == weights(resumed.model)
    assert {*os.listdir(tmp_path)} == {"run.state", "run.state.lock"}


@models
def test_never_worse_on_validation_than_the_baseline_it_starts_from(config, panel):
    rows = panel.origins("valid", config.context)
    steps = np.sqrt(np.arange(1, 6)) * np.asarray(panel.scale)[rows]
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
    assert found.stopped == len(losses)


def test_early_stopping_is_told_in_the_fit_and_by_the_progress_bar(panel, tmp_path, capsys):
    wild = replace(TRAIN_TINY, epochs=20, patience=1, learning_rate=3.0, averaging=0.0)
    path = tmp_path / "run.state"
    for _ in range(2):  # the second time it is read back
        found = fit(NHITS_TINY, panel, wild, path)
        epoch = len(found.history)
        assert found.stopped == epoch < 20
        assert f"stopped early after epoch {epoch} of 20" in capsys.readouterr().err
    # patience that runs out with the last epoch ended nothing
    assert trained(NHITS_TINY, panel, replace(wild, epochs=epoch)).stopped is None
    whole = fit(NHITS_TINY, panel, replace(LONG, epochs=1))
    assert whole.stopped is None and "stopped" not in capsys.readouterr().err


def test_a_step_clips_and_averages_and_the_rate_anneals(panel):
    train = replace(TRAIN_TINY, epochs=10, learning_rate=1e-2, clip=1e-3, averaging=0.7)
    torch.manual_seed(0)
    run = Run(build(NHITS_TINY, panel.inputs), train, 20)
    rates = [run.rate(i) for i in range(200)]
    peak = int(np.argmax(rates))
    assert 5 <= peak <= 12 and max(rates) <= 1e-2 and rates[-1] < 1e-5
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) < 0).all()
    before = {k: v.detach().clone() for k, v in run.model.named_parameters()}
    starts = training_starts(panel, NHITS_TINY.context, 16, 0)[:2]
    batch = gather(panel.with_tensors(), starts, NHITS_TINY.context, 16, "train")
    run.step(batch._replace(target=batch.target * 1e3), torch.tensor(NHITS_TINY.quantiles), 0)
    squares = [float((p.grad**2).sum()) for p in run.model.parameters() if p.grad is not None]
    assert math.sqrt(sum(squares)) <= 1.01e-3
    for k, v in run.average.named_parameters():  # the first step weighs 0.9
        expected = 0.1 * before[k] + 0.9 * dict(run.model.named_parameters())[k]
        torch.testing.assert_close(v.detach(), expected.detach(), atol=1e-6, rtol=1e-5)


def test_masks_hide_whole_groups_of_a_chunk_each_by_chance(panel):
    starts = np.repeat(training_starts(panel, 20, 16, 0)[:1], 400)
    batch = gather(panel.with_tensors(), starts, 20, 16, "train")
    batch = batch._replace(observed=torch.ones_like(batch.observed))
    hidden = _masked(batch, panel, 0.3, np.random.default_rng(0)).observed == 0
    assert (hidden == hidden[:, :1]).all()  # for all bars of a chunk alike
    of_input = dict(zip(panel.inputs["observed"], hidden[:, 0].unbind(-1)))
    assert not of_input["return"].any()
    for members in F.GROUPS.values():
        groups = [of_input[name] for name in members if name in of_input]
        assert all(torch.equal(groups[0], one) for one in groups)
        assert not groups or 0.2 < groups[0].float().mean() < 0.4


def test_a_hidden_group_looks_like_a_panel_that_lacks_it():
    """What `_masked` makes of full bars is what bars without volume or dates give."""
    bars = made_bars(("A",), 120, freq="D")  # without gaps, which the scale would know
    one = make_panel(bars)
    plain = bars.assign(volume=np.nan, date=np.datetime64("NaT", "ns"))
    start, generator = np.array([30]), np.random.default_rng(0)
    hidden = _masked(gather(one.with_tensors(), start, 20, 16), one, 1.0, generator)
    lacking = gather(make_panel(plain, fitted=one.fitted).with_tensors(), start, 20, 16)
    for name in ("observed", "known", "static"):
        np.testing.assert_array_equal(getattr(hidden, name), getattr(lacking, name), err_msg=name)


@pytest.mark.parametrize("changed", ["train", "config", "data", "panel"])
def test_a_state_of_another_run_is_refused(panel, tmp_path, changed):
    path, bars = tmp_path / "run.state", made_bars(bars=220)
    trained(NHITS_TINY, panel, checkpoint=path)
    other = {
        "train": (NHITS_TINY, panel, replace(TRAIN_TINY, seed=5)),
        "config": (replace(NHITS_TINY, hidden=8), panel),
        "data": (NHITS_TINY, make_panel(bars.assign(volume=bars["open"]))),
        "panel": (NHITS_TINY, make_panel(bars, PanelConfig(known=("gap", "has_calendar")))),
    }[changed]
    words = re.escape(WORDS[changed])
    with pytest.raises(CheckpointError, match=f"differs in .*{words}") as caught:
        trained(*other, checkpoint=path)
    assert one_sentence(str(caught.value)) and str(path) in str(caught.value)


def test_what_cannot_be_trained_or_scored_is_named(panel):
    small = make_panel(made_bars(bars=25))
    few = build(replace(NHITS_TINY, quantiles=(0.1, 0.5, 0.9)), panel.inputs)
    wild = replace(TRAIN_TINY, learning_rate=1e30)
    for error, words, call, *args in (
        (HistoryTooShort, "24 bars", trained, replace(NHITS_TINY, context=24), small),
        (HistoryTooShort, "bars", trained, replace(TFT_TINY, context=5), small),  # for the baseline
        (ConfigError, "horizon is 7", trained, replace(NHITS_TINY, horizon=7), panel),
        (ConfigError, "learning_rate", trained, NHITS_TINY, panel, wild),  # the loss explodes
        (ConfigError, "teacher", fit, NHITS_TINY, panel, TRAIN_TINY, None, False, None, [few]),
        (ConfigError, r"level 0\.025", valid_loss, few, panel),
        (ConfigError, "no validation", protocol_loss, np.zeros((0, 5, 9)), panel, np.zeros(0, int)),
    ):
        with pytest.raises(error, match=words) as caught:
            call(*args)
        assert one_sentence(str(caught.value))


def test_without_validation_the_last_average_is_kept(tmp_path):
    bars = made_bars(bars=120)
    last = str(bars["date"].max().date())
    panel = make_panel(bars, PanelConfig(train_end=last, valid_end=last))
    path = tmp_path / "run.state"
    found = trained(NHITS_TINY, panel, TRAIN_TINY, path)
    tensors, _ = load_state(path)
    assert len(found.history) == 2 and math.isnan(found.history[0]["valid"])
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
    two = forecast_rows(model, panel.first(2), rows)
    np.testing.assert_allclose(two, found[:, :2], rtol=1e-4, atol=1e-7)


def test_losses_by_hand(panel):
    model = trained(NHITS_TINY, panel, replace(TRAIN_TINY, epochs=1)).model
    rows = panel.origins("valid", 20)
    quantiles, outcomes = forecast_rows(model, panel, rows), panel.outcomes(rows)
    scale = np.asarray(panel.scale)[rows] * np.sqrt(np.arange(1, 6))
    levels = NHITS_TINY.quantiles
    expected = pinball_loss(quantiles / scale[..., None], panel.target[rows], levels).mean()
    assert split_loss(model, panel) == pytest.approx(expected, rel=1e-5)
    scored = quantiles[..., [levels.index(level) for level in SCORE_LEVELS]]
    expected = 1e4 * pinball_loss(scored, outcomes, SCORE_LEVELS).mean()
    assert valid_loss(model, panel) == protocol_loss(scored, panel, rows)
    assert valid_loss(model, panel) == pytest.approx(expected, rel=1e-5)


OTHER = """
import sys
from dataclasses import replace
from helpers import NHITS_TINY, TRAIN_TINY, made_bars
from tftnhits import fit, make_panel
from tftnhits.errors import CheckpointError
train = replace(TRAIN_TINY, seed=int(sys.argv[2]), epochs=2)
try:
    fit(NHITS_TINY, make_panel(made_bars(bars=220)), train, sys.argv[1], progress=False)
    print("done")
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize("seed, answer", [(TRAIN_TINY.seed, "done"), (5, "settings of training")])
def test_two_processes_at_one_state_lose_none_of_it(panel, tmp_path, seed, answer):
    """One begins before the other's first epoch is kept, and goes on after that one's last."""
    path = tmp_path / "run.state"
    begun = []

    def watch(row):
        if not begun:
            begun.append(path.read_bytes())
            path.unlink()  # as where both begin at once
            begun.append(python(OTHER, path, 0).stdout)
            begun.append(path.read_bytes())

    train = replace(TRAIN_TINY, seed=seed)
    if seed == TRAIN_TINY.seed:
        found = fit(NHITS_TINY, panel, train, path, progress=False, watch=watch)
        assert weights(found.model) == weights(trained(NHITS_TINY, panel).model)
    else:
        with pytest.raises(CheckpointError, match=answer):
            fit(NHITS_TINY, panel, train, path, progress=False, watch=watch)
    assert begun[1] == "done\n" and path.read_bytes() == begun[2]


def test_watch_can_stop_a_run_whose_epochs_are_on_disk(panel, tmp_path, capsys):
    def watch(row):
        if row["epoch"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(NHITS_TINY, panel, LONG, tmp_path / "run.state", watch=watch)
    assert load_state(tmp_path / "run.state")[1]["epoch"] == 2
    shown = capsys.readouterr().err
    assert "NHITS" in shown and "loss 0." in shown and "valid 0." in shown


def test_a_student_learns_the_teachers_mean(panel, tmp_path):
    config = NHITS_TINY
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
    with pytest.raises(CheckpointError, match="networks to learn from"):
        fit(student, blind, train, tmp_path / "state", progress=False, teachers=teachers[:1])
