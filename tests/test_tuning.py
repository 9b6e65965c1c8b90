"""The search: starts from the preset, prunes, survives a kill and makes the trials that it would have made."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
optuna = pytest.importorskip("optuna")

from helpers import NHITS_TINY, TRAIN_TINY, environment, made_bars, made_panel, one_sentence  # noqa: E402

from tftnhits import PanelConfig, fit, make_panel, preset  # noqa: E402
from tftnhits.config import PRESETS, SCORE_LEVELS  # noqa: E402
from tftnhits.errors import (  # noqa: E402
    CheckpointError,
    ConfigError,
    HistoryTooShort,
    MissingDependency,
    OutputError,
)
from tftnhits.evaluation.metrics import pinball_loss  # noqa: E402
from tftnhits.training import tuning  # noqa: E402
from tftnhits.training.loop import forecast_rows  # noqa: E402
from tftnhits.training.trials import count_trials, read_trials  # noqa: E402
from tftnhits.training.tuning import spaces, tune, valid_loss  # noqa: E402


@pytest.fixture(scope="module")
def panel():
    return made_panel(160)


@pytest.fixture(scope="module")
def whole(panel, tmp_path_factory):
    """Four trials in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return tune("nhits", panel, "tiny", 4, folder, progress=False), folder


def same(one, other):
    """The same trials but for what the clock says, and for a number that a killed trial took."""
    frames = [
        f.drop(columns=["seconds", "trial"]).sort_values("learning_rate", ignore_index=True)
        for f in (one, other)
    ]
    return frames[0].equals(frames[1])


def test_the_first_trial_is_the_preset_and_the_best_comes_first(whole, panel):
    found, folder = whole
    _, nhits, _, train = preset("tiny")
    frame = found.frame
    assert (
        len(frame) == 4
        and (frame["state"] == "complete").all()
        and frame["valid"].is_monotonic_increasing
    )
    first = frame.set_index("trial").loc[0]
    assert first["preset"] and frame["preset"].sum() == 1
    assert (
        first["hidden"] == nhits.hidden
        and first["pools"] == "4-1"
        and first["batch"] == train.batch
    )
    assert found.configs[frame.index[frame["preset"]][0]] == (nhits, train)
    assert len({c.to_dict()["dropout"] for c, _ in found.configs}) == 4 and all(
        t.seed == 0 for _, t in found.configs
    )
    trials = read_trials(folder / "trials.jsonl")
    assert len(trials) == 4 == count_trials(folder / "trials.jsonl") and set(trials["model"]) == {
        "NHITS"
    }
    assert sorted(trials["valid"]) == pytest.approx(frame["valid"].tolist()) and set(
        trials["study"]
    ) == {"tuning"}


def test_the_best_settings_reach_the_score_again(whole, panel):
    found, _ = whole
    model = fit(found.configs[0][0], panel, found.configs[0][1], progress=False).model
    assert valid_loss(model, panel) == found.frame["valid"].iloc[0]


def test_going_on_in_pieces_makes_the_same_trials(whole, panel, tmp_path, capfd):
    tune("nhits", panel, "tiny", 1, tmp_path, progress=False)
    again = tune("nhits", panel, "tiny", 4, tmp_path, progress=False)
    assert same(whole[0].frame, again.frame) and whole[0].configs == again.configs
    assert tune("nhits", panel, "tiny", 2, tmp_path, progress=False).frame.equals(
        again.frame
    )  # has more already
    assert count_trials(tmp_path / "trials.jsonl") == 4
    assert capfd.readouterr() == ("", "")


HELD = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[2]))
from helpers import made_panel
from tftnhits.training import tuning
fit, count = tuning.fit, 0
def held(*given, watch, **more):
    global count
    count += 1
    def wait(row):
        watch(row)
        if count == 3:
            print("in the third trial", flush=True)
            time.sleep(100)
    return fit(*given, watch=wait, **more)
tuning.fit = held
tuning.tune("nhits", made_panel(160), "tiny", 4, sys.argv[1], progress=False)
"""


def test_a_search_killed_in_a_trial_makes_the_same_trials(whole, panel, tmp_path):
    command = [sys.executable, "-c", HELD, str(tmp_path), str(torch.get_num_threads())]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line == "in the third trial\n", process.stderr.read()
        with pytest.raises(OutputError, match="Another process holds") as caught:
            tune("nhits", panel, "tiny", 4, tmp_path, progress=False)
        assert one_sentence(str(caught.value))
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert len(read_trials(tmp_path / "trials.jsonl")) == 2
    again = tune("nhits", panel, "tiny", 4, tmp_path, progress=False)
    assert same(whole[0].frame, again.frame) and whole[0].configs == again.configs
    assert (
        again.frame["trial"].tolist() != whole[0].frame["trial"].tolist()
    )  # the killed one keeps its number
    assert count_trials(tmp_path / "trials.jsonl") == 4


@pytest.mark.slow
def test_two_jobs_reach_the_total(panel, tmp_path):
    found = tune("nhits", panel, "tiny", 2, tmp_path, jobs=2, progress=False, study="two at once")
    assert sorted(found.frame["trial"]) == [0, 1] and found.frame["preset"].sum() == 1
    assert set(read_trials(tmp_path / "trials.jsonl")["study"]) == {"two at once"}


def longer(monkeypatch, **changes):
    """Gives the tiny preset other training settings."""
    monkeypatch.setitem(
        PRESETS, "tiny", (*PRESETS["tiny"][:3], replace(PRESETS["tiny"][3], **changes))
    )


def test_bad_trials_are_pruned(panel, tmp_path, monkeypatch):
    longer(monkeypatch, epochs=4)
    monkeypatch.setattr(tuning, "UNPRUNED", 2)
    found = tune("nhits", panel, "tiny", 6, tmp_path, progress=False)
    pruned = found.frame[found.frame["state"] == "pruned"]
    assert 1 <= len(pruned) <= 4 and len(found.frame) == 6 == len(pruned) + len(found.configs)
    assert (
        pruned["epochs"].between(tuning.CALM, 3).all()
        and pruned["valid"].isna().all()
        and (pruned["trial"] >= 2).all()
    )
    assert (found.frame["epochs"].drop(pruned.index) == 4).all()
    log = read_trials(tmp_path / "trials.jsonl").set_index("state")
    assert len(log) == 6 and log.loc[["pruned"], "valid"].isna().all()
    curves = {state: [c[0] for c in own["learning_curve"]] for state, own in log.groupby("state")}
    assert min(curves["pruned"]) > min(curves["complete"])


def test_a_loss_that_explodes_is_a_trial_too(panel, tmp_path, monkeypatch):
    longer(monkeypatch, learning_rate=1e30)
    found = tune("nhits", panel, "tiny", 2, tmp_path, progress=False)
    assert found.frame["state"].tolist() == ["diverged"] * 2 and found.configs == []
    assert count_trials(tmp_path / "trials.jsonl") == 2


@pytest.mark.parametrize("name", ["tiny", "quick", "cloud", "v2.0"])
@pytest.mark.parametrize("network", [0, 1])
def test_every_preset_lies_in_its_own_space(panel, name, network):
    config, train = preset(name)[network], preset(name)[3]
    found = spaces(config, train, panel)
    values = {**config.to_dict(), **train.to_dict()}
    for field, space in found.items():
        value = "-".join(map(str, values[field])) if field == "pools" else values[field]
        assert space._contains(space.to_internal_repr(value)), field
        assert len(getattr(space, "choices", (1, 2))) > 1, field
    for width in found["hidden"].choices:
        replace(config, hidden=width)  # splits over the heads
    assert {
        "dropout",
        "context",
        "hidden",
        "learning_rate",
        "weight_decay",
        "batch",
        "averaging",
        "mask",
    } <= set(found)


def test_only_contexts_that_score_on_the_same_origins_are_offered():
    panel = made_panel(120)
    offered = spaces(*(preset("quick")[i] for i in (1, 3)), panel)["context"].choices
    assert 60 in offered and 120 not in offered
    for context in offered:
        assert len(panel.origins("valid", context)) == len(panel.origins("valid"))


def test_valid_loss_by_hand(panel):
    model = fit(NHITS_TINY, panel, TRAIN_TINY, progress=False).model
    rows = panel.origins("valid", NHITS_TINY.context)
    pick = [NHITS_TINY.quantiles.index(level) for level in SCORE_LEVELS]
    quantiles = forecast_rows(model, panel, rows)[..., pick]
    actual = np.stack(
        [np.log(panel.close[rows + h] / panel.close[rows]) for h in range(1, 6)], axis=-1
    )
    expected = 1e4 * pinball_loss(quantiles, actual, SCORE_LEVELS).mean()
    assert valid_loss(model, panel) == pytest.approx(expected, rel=1e-5)
    assert (
        valid_loss(quantiles, panel, rows)
        == valid_loss(model, panel, rows)
        == valid_loss(model, panel)
    )
    assert valid_loss(quantiles[:7], panel, rows[:7]) == pytest.approx(
        1e4 * pinball_loss(quantiles[:7], actual[:7], SCORE_LEVELS).mean(), rel=1e-5
    )


def test_what_cannot_be_scored(panel):
    few = fit(
        replace(NHITS_TINY, quantiles=(0.1, 0.5, 0.9)), panel, TRAIN_TINY, progress=False
    ).model
    rows = panel.origins("valid")
    cases = [
        (few, None, "quantile level 0.025"),
        (np.zeros((len(rows), 5, 8)), rows, "quantiles are"),
    ]
    cases += [(np.zeros((0, 5, 9)), rows[:0], "no validation origin")]
    for model, given, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            valid_loss(model, panel, given)
        assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    "changed, error, words",
    [
        ({"network": "lstm"}, ConfigError, "no network 'lstm'"),
        ({"preset_name": "huge"}, ConfigError, "no preset 'huge'"),
        ({"trials": 0}, ConfigError, "trials is 0"),
        ({"trials": 2.5}, ConfigError, "trials is 2.5"),
        ({"jobs": True}, ConfigError, "jobs is True"),
        ({"seed": -1}, ConfigError, "seed is -1"),
        ({"folder": "a?b"}, OutputError, "choose another"),
        ({"folder": "file/below"}, OutputError, "Can't write"),
    ],
)
def test_bad_arguments(panel, tmp_path, changed, error, words):
    (tmp_path / "file").write_text("")
    given = {
        "network": "nhits",
        "panel": panel,
        "preset_name": "tiny",
        "trials": 1,
        "folder": "f",
        **changed,
    }
    given["folder"] = tmp_path / given["folder"]
    with pytest.raises(error, match=words) as caught:
        tune(**given, progress=False)
    assert one_sentence(str(caught.value))


def test_a_panel_that_cannot_be_tuned_on(tmp_path):
    bars = made_bars(bars=120)
    last = str(bars["date"].max().date())
    with pytest.raises(ConfigError, match="no validation origin"):
        tune(
            "nhits",
            make_panel(bars, PanelConfig(train_end=last, valid_end=last)),
            "tiny",
            1,
            tmp_path,
        )
    with pytest.raises(HistoryTooShort, match="20 bars"):
        tune("nhits", made_panel(22), "tiny", 1, tmp_path)


@pytest.mark.parametrize(
    "changed, word", [("seed", "train"), ("panel", "data"), ("preset", "config")]
)
def test_another_search_in_the_folder_is_refused(
    whole, panel, tmp_path, monkeypatch, changed, word
):
    shutil.copy(whole[1] / "nhits-tiny.sqlite", tmp_path)
    before = (tmp_path / "nhits-tiny.sqlite").read_bytes()
    if changed == "preset":
        tft, nhits, *rest = PRESETS["tiny"]
        monkeypatch.setitem(PRESETS, "tiny", (tft, replace(nhits, scale_attention=False), *rest))
    if changed == "panel":
        panel = made_panel(161)
    with pytest.raises(CheckpointError, match=f"made with another .*{word}") as caught:
        tune("nhits", panel, "tiny", 1, tmp_path, seed=int(changed == "seed"), progress=False)
    assert (
        one_sentence(str(caught.value)) and (tmp_path / "nhits-tiny.sqlite").read_bytes() == before
    )


@pytest.mark.parametrize("content", [b"noise" * 1000, b"SQLite format 3\0" + bytes(100)])
def test_a_broken_search_is_refused(panel, tmp_path, content):
    (tmp_path / "nhits-tiny.sqlite").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"nhits-tiny\.sqlite") as caught:
        tune("nhits", panel, "tiny", 1, tmp_path, progress=False)
    assert one_sentence(str(caught.value))


def test_without_optuna_the_extra_is_named(panel, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[tuning\]") as caught:
        tune("nhits", panel, "tiny", 1, tmp_path)
    assert one_sentence(str(caught.value)) and not list(tmp_path.iterdir())
