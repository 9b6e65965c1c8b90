"""The trial log counts every configuration once; a search survives a kill and makes its trials."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    NHITS_TINY,
    TFT_TINY,
    TRAIN_TINY,
    environment,
    made_bars,
    made_panel,
    one_sentence,
)

import tftnhits as tn
from tftnhits import BoostingConfig, PanelConfig, make_panel, preset
from tftnhits.config import PRESETS
from tftnhits.training import trials
from tftnhits.training.trials import (
    FIELDS,
    UNIT,
    count_trials,
    log_trial,
    read_trials,
    spaces,
    tune,
)


def log(path, config=NHITS_TINY, train=TRAIN_TINY, valid=39.5, seed=0, study="DJIA tuning", **more):
    log_trial(path, study, type(config).__name__, config, train, valid, seed, **more)


def refused(error, call, *args, match="", **kwargs):
    with pytest.raises(error, match=match) as caught:
        call(*args, **kwargs)
    assert one_sentence(str(caught.value))


# --- the log


def test_what_is_logged_is_read_back(tmp_path):
    path = tmp_path / "results" / "trials.jsonl"
    log(path, valid=np.float32(39.5), seed=np.int64(3), panel=PanelConfig(), epochs=2)
    log(path, TFT_TINY, valid=float("nan"), unit="q-risk")
    frame = read_trials(path)
    assert list(frame.columns[: len(FIELDS)]) == list(FIELDS) and frame.attrs["cut"] == 0
    assert frame["valid"].iloc[0] == 39.5 and np.isnan(frame["valid"].iloc[1])
    assert frame["unit"].tolist() == [UNIT, "q-risk"] and frame["seed"].tolist() == [3, 0]
    assert frame["config"].iloc[0] == json.loads(json.dumps(NHITS_TINY.to_dict()))
    assert frame["train"].iloc[0]["learning_rate"] == TRAIN_TINY.learning_rate


def test_counts_configurations_not_runs(tmp_path):
    path = tmp_path / "trials.jsonl"
    for seed in range(3):
        log(path, train=replace(TRAIN_TINY, seed=seed), seed=seed)
    log(path, study="DJIA ablation")  # the same again elsewhere
    assert count_trials(path) == 1
    log(path, replace(NHITS_TINY, dropout=0.2))
    log(path, train=replace(TRAIN_TINY, learning_rate=1e-3))
    log(path, TFT_TINY)
    assert count_trials(path) == 4
    for seed in (0, 1):
        log(path, BoostingConfig(seed=seed), None)
    assert count_trials(path) == 5
    for end in ("2012-12-31", "2013-12-31"):  # folds
        log(path, panel=PanelConfig(train_end=end))
    log(path, panel=PanelConfig(known=("gap",)))
    assert count_trials(path) == 7
    log(path, None, None, None, study="DJIA before the log", count=30)
    assert count_trials(path) == 37
    assert count_trials(path, "DJIA before") == 30 and count_trials(path, "DJIA ablation") == 1
    assert count_trials(path, "volatility") == 0


APPEND = """
import sys
from tftnhits.training.trials import log_trial
path, name = sys.argv[1:]
for i in range(50):
    log_trial(path, "study", name, {"i": i}, {}, float(i), 0, text=name * 20_000)
"""


def test_many_processes_write_whole_lines(tmp_path):
    path = tmp_path / "trials.jsonl"
    command = [sys.executable, "-c", APPEND, str(path)]
    running = [subprocess.Popen([*command, name], env=environment()) for name in "abc"]
    assert [process.wait(60) for process in running] == [0] * 3
    frame = read_trials(path)
    assert frame.attrs["cut"] == 0 and len(frame) == 150 == count_trials(path)
    for name, lines in frame.groupby("model"):  # in order, none mixed with another's
        assert lines["valid"].tolist() == list(range(50)) and set(lines["text"]) == {name * 20_000}


def test_a_line_cut_anywhere_counts_and_spoils_nothing(tmp_path):
    path = tmp_path / "trials.jsonl"
    for dropout in (0.1, 0.2):
        log(path, replace(NHITS_TINY, dropout=dropout))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in (first + 1, first + 5, first + 40, len(whole) - 2):
        path.write_bytes(whole[:size])
        frame = read_trials(path)
        assert len(frame) == 1 and frame.attrs["cut"] == 1 and count_trials(path) == 2
        log(path, TFT_TINY)
        assert read_trials(path)["model"].tolist() == ["NHITSConfig", "TFTConfig"]
        assert count_trials(path) == 3
    path.write_bytes(b"")
    assert list(read_trials(path).columns) == list(FIELDS) and count_trials(path) == 0


@pytest.mark.parametrize("content", [None, b"[1]\n", b'{"time": 3}\n', b"\x80\x04"])
def test_what_is_no_log_is_refused(tmp_path, content):
    path = tmp_path / "trials.jsonl"
    if content is not None:
        path.write_bytes(content)
    refused(tn.DataError, count_trials, path, match=r"trials\.jsonl")


@pytest.fixture(scope="module")
def panel():
    pytest.importorskip("torch")
    pytest.importorskip("optuna")
    return made_panel(160)


@pytest.fixture(scope="module")
def whole(panel, tmp_path_factory):
    """Four trials in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return tune("nhits", panel, "tiny", 4, folder, progress=False), folder


def same(one, other):
    """The same trials but for the clock, and for a number that a killed trial took."""
    frames = [tuned.frame.drop(columns=["seconds", "trial"]) for tuned in (one, other)]
    first, second = (frame.sort_values("valid", ignore_index=True) for frame in frames)
    return first.equals(second) and one.configs == other.configs


def test_the_first_trial_is_the_preset_and_the_best_comes_first(whole, panel):
    from tftnhits.training.loop import fit, valid_loss

    tuned, folder = whole
    _, nhits, _, train = preset("tiny")
    frame = tuned.frame
    assert frame["valid"].is_monotonic_increasing and (frame["state"] == "complete").all()
    assert frame.loc[frame["preset"], "trial"].tolist() == [0]
    assert tuned.configs[frame.index[frame["preset"]][0]] == (nhits, train)
    assert len({config.dropout for config, _ in tuned.configs}) == 4
    lines = read_trials(folder / "trials.jsonl")
    assert count_trials(folder / "trials.jsonl") == 4 and set(lines["model"]) == {"NHITS"}
    assert sorted(lines["valid"]) == pytest.approx(frame["valid"].tolist())
    model = fit(tuned.configs[0][0], panel, tuned.configs[0][1], progress=False).model
    assert valid_loss(model, panel) == frame["valid"].iloc[0]  # the best settings reach it again


HELD = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[2]))
from helpers import made_panel
from tftnhits.training import loop, trials
fit, count = loop.fit, 0
def held(*given, watch, **more):
    global count
    count += 1
    def wait(row):
        watch(row)
        if count == 3:
            print("in the third trial", flush=True)
            time.sleep(100)
    return fit(*given, watch=wait, **more)
loop.fit = held
trials.tune("nhits", made_panel(160), "tiny", 4, sys.argv[1], progress=False)
"""


def test_a_search_killed_in_a_trial_makes_the_same_trials(whole, panel, tmp_path):
    import torch

    command = [sys.executable, "-c", HELD, str(tmp_path), str(torch.get_num_threads())]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "in the third trial\n"
        refused(tn.OutputError, tune, "nhits", panel, "tiny", 4, tmp_path, match="Another process")
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert len(read_trials(tmp_path / "trials.jsonl")) == 2
    again = tune("nhits", panel, "tiny", 4, tmp_path, progress=False)
    fewer = tune("nhits", panel, "tiny", 2, tmp_path, progress=False)  # has more already
    assert same(whole[0], again) and fewer.frame.equals(again.frame)
    assert count_trials(tmp_path / "trials.jsonl") == 4


def longer(monkeypatch, **changes):
    """Gives the tiny preset other training settings."""
    *models, train = PRESETS["tiny"]
    monkeypatch.setitem(PRESETS, "tiny", (*models, replace(train, **changes)))


def test_bad_trials_are_pruned(panel, tmp_path, monkeypatch):
    longer(monkeypatch, epochs=4)
    monkeypatch.setattr(trials, "UNPRUNED", 2)
    tuned = tune("nhits", panel, "tiny", 6, tmp_path, progress=False)
    pruned = tuned.frame[tuned.frame["state"] == "pruned"]
    assert 1 <= len(pruned) <= 4 and len(tuned.frame) == 6 == len(pruned) + len(tuned.configs)
    assert pruned["epochs"].between(trials.FIRST_PRUNED, 3).all() and pruned["valid"].isna().all()
    assert (tuned.frame["epochs"].drop(pruned.index) == 4).all()
    lines = read_trials(tmp_path / "trials.jsonl").set_index("state")
    assert len(lines) == 6 and lines.loc[["pruned"], "valid"].isna().all()


def test_a_loss_that_explodes_is_a_trial_too(panel, tmp_path, monkeypatch):
    longer(monkeypatch, learning_rate=1e30)
    tuned = tune("nhits", panel, "tiny", 2, tmp_path, progress=False)
    assert tuned.frame["state"].tolist() == ["diverged"] * 2 and tuned.configs == []
    assert count_trials(tmp_path / "trials.jsonl") == 2


@pytest.mark.parametrize("name", ["tiny", "quick", "cloud", "v2.0", "v2.1"])
@pytest.mark.parametrize("network", [0, 1])
def test_every_preset_lies_in_its_own_space(panel, name, network):
    config, train = preset(name)[network], preset(name)[3]
    space = spaces(config, train, panel)
    values = {**config.to_dict(), **train.to_dict()}
    for field, distribution in space.items():
        value = "-".join(map(str, values[field])) if field == "pools" else values[field]
        assert distribution._contains(distribution.to_internal_repr(value)), field
    for width in space["hidden"].choices:
        replace(config, hidden=width)  # splits over the heads
    for context in space["context"].choices:  # scores on the same origins
        assert len(panel.origins("valid", context)) == len(panel.origins("valid", config.context))


def test_bad_arguments_and_places(panel, tmp_path):
    (tmp_path / "file").write_text("")
    bars = made_bars(bars=120)
    last = str(bars["date"].max().date())
    blind = make_panel(bars, PanelConfig(train_end=last, valid_end=last))
    for path in (tmp_path, tmp_path / "file" / "trials.jsonl"):
        refused(tn.OutputError, log, path, match="Can't write")
    for error, words, *args in (
        (tn.ConfigError, "no network 'lstm'", "lstm", panel, "tiny", 1, tmp_path),
        (tn.ConfigError, "no preset 'huge'", "nhits", panel, "huge", 1, tmp_path),
        (tn.ConfigError, "seed is -1", "nhits", panel, "tiny", 1, tmp_path, -1),
        (tn.OutputError, "Can't write", "nhits", panel, "tiny", 1, tmp_path / "file" / "below"),
        (tn.ConfigError, "no validation origin", "nhits", blind, "tiny", 1, tmp_path),
        (tn.HistoryTooShort, "20 bars", "nhits", made_panel(22), "tiny", 1, tmp_path),
    ):
        refused(error, tune, *args, match=words)


def test_another_search_in_the_folder_starts_anew(whole, panel, tmp_path):
    shutil.copy(whole[1] / "nhits-tiny.sqlite", tmp_path)
    for seed, other in ((1, panel), (0, made_panel(161))):
        tuned = tune("nhits", other, "tiny", 1, tmp_path, seed, progress=False)
        assert len(tuned.frame) == 1 and tuned.configs[0][1].seed == seed
    assert same(whole[0], tune("nhits", panel, "tiny", 4, tmp_path, progress=False))


def test_a_broken_search_is_refused(panel, tmp_path):
    (tmp_path / "nhits-tiny.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    where = ("nhits", panel, "tiny", 1, tmp_path)
    refused(tn.CheckpointError, tune, *where, match="nhits-tiny.sqlite")


def test_without_optuna_the_extra_is_named(panel, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    args = ("nhits", panel, "tiny", 1, tmp_path)
    refused(tn.MissingDependency, tune, *args, match=r"tftnhits\[tuning\]")
    assert not list(tmp_path.iterdir())
