"""The trial log: whole lines from any number of processes, and every configuration counted once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers import NHITS_TINY, TFT_TINY, TRAIN_TINY, environment, one_sentence, python

from tftnhits import BoostingConfig, PanelConfig
from tftnhits.errors import ConfigError, DataError, OutputError
from tftnhits.training.trials import FIELDS, UNIT, count_trials, locked, log_trial, read_trials


def log(path, config=NHITS_TINY, train=TRAIN_TINY, valid=39.5, seed=0, study="DJIA tuning", **more):
    log_trial(path, study, type(config).__name__, config, train, valid, seed, **more)


def test_what_is_logged_is_read_back(tmp_path):
    path = tmp_path / "results" / "trials.jsonl"
    log(path, valid=np.float32(39.5), seed=np.int64(3), panel=PanelConfig(), epochs=2)
    log(path, TFT_TINY, valid=float("nan"), unit="q-risk", where=tmp_path)
    frame = read_trials(path)
    assert list(frame.columns[: len(FIELDS)]) == list(FIELDS) and frame.attrs["cut"] == 0
    assert frame["valid"].iloc[0] == 39.5 and np.isnan(frame["valid"].iloc[1])
    assert frame["unit"].tolist() == [UNIT, "q-risk"] and frame["seed"].tolist() == [3, 0]
    assert frame["config"].iloc[0] == json.loads(json.dumps(NHITS_TINY.to_dict()))
    assert frame["train"].iloc[0]["learning_rate"] == TRAIN_TINY.learning_rate
    assert frame["time"].is_monotonic_increasing and path.read_text().count("\n") == 2


def test_counts_configurations_not_runs(tmp_path):
    path = tmp_path / "trials.jsonl"
    for seed in range(3):
        log(path, train=replace(TRAIN_TINY, seed=seed), seed=seed)
    assert count_trials(path) == 1
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
from pathlib import Path
from tftnhits.training.trials import log_trial
path, name, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
Path(path + name).touch()
while not Path(path + ".go").exists():
    pass
for i in range(lines):
    log_trial(path, "study", name, {"i": i}, {}, float(i), 0, text=name * 20_000)
"""


def writer(path, name, lines):
    return subprocess.Popen(
        [sys.executable, "-c", APPEND, str(path), name, str(lines)], env=environment()
    )


def test_many_processes_write_whole_lines(tmp_path):
    path = tmp_path / "trials.jsonl"
    processes = [writer(path, name, 50) for name in "abcd"]
    while sum(p.poll() is None for p in processes) == 4 and len(os.listdir(tmp_path)) < 4:
        time.sleep(0.01)
    (tmp_path / "trials.jsonl.go").touch()
    assert [p.wait(60) for p in processes] == [0] * 4
    frame = read_trials(path)
    assert frame.attrs["cut"] == 0 and len(frame) == 200 == count_trials(path)
    for name, own in frame.groupby("model"):  # each one's lines in order, none mixed with another's
        assert own["valid"].tolist() == list(range(50)) and set(own["text"]) == {name * 20_000}
    assert frame["model"].ne(frame["model"].shift()).sum() > 4  # they did write at once


def test_kill_9_leaves_a_log_to_go_on_with(tmp_path):
    path = tmp_path / "trials.jsonl"
    (tmp_path / "trials.jsonl.go").touch()
    process, limit = writer(path, "a", 1_000_000), time.monotonic() + 60
    try:
        while (not path.exists() or path.stat().st_size < 500_000) and time.monotonic() < limit:
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = read_trials(path)
    assert (
        len(before) >= 20
        and before["valid"].tolist() == list(range(len(before)))
        and before.attrs["cut"] <= 1
    )
    log(path)  # the dead process holds no lock
    after = read_trials(path)
    assert len(after) == len(before) + 1 and after.attrs["cut"] == before.attrs["cut"]


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
        frame = read_trials(path)
        assert frame["model"].tolist() == ["NHITSConfig", "TFTConfig"] and frame.attrs["cut"] == 1
        assert count_trials(path) == 3
    path.write_bytes(whole[:-1])  # only its end is missing
    log(path, TFT_TINY)
    assert len(read_trials(path)) == 3 and count_trials(path) == 3


def test_an_empty_log_has_no_rows(tmp_path):
    (tmp_path / "trials.jsonl").touch()
    frame = read_trials(tmp_path / "trials.jsonl")
    assert list(frame.columns) == list(FIELDS) and len(frame) == 0 == count_trials(
        tmp_path / "trials.jsonl"
    )


@pytest.mark.parametrize(
    "more", [{"count": 0}, {"count": True}, {"count": 1.5}, {"x": object()}, {"x": float("nan")}]
)
def test_what_is_no_plain_data_is_refused(tmp_path, more):
    with pytest.raises(ConfigError) as caught:
        log(tmp_path / "trials.jsonl", **more)
    assert one_sentence(str(caught.value)) and not (tmp_path / "trials.jsonl").exists()


def test_a_valid_loss_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="plain"):
        log(tmp_path / "trials.jsonl", valid="39.5")


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "trials.jsonl"):
        with pytest.raises(OutputError) as caught:
            log(path)
        assert one_sentence(str(caught.value)) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"a,b\n1,2\n", b"[1]\n", b'{"time": 3}\n', b"\x80\x04"])
def test_what_is_no_log_is_refused(tmp_path, content):
    path = tmp_path / "trials.jsonl"
    if content is not None:
        path.write_bytes(content)
    for read in (read_trials, count_trials):
        with pytest.raises(DataError, match=r"trials\.jsonl") as caught:
            read(path)
        assert one_sentence(str(caught.value))


def test_a_lock_keeps_another_process_out(tmp_path):
    path = tmp_path / "lock"
    code = """
import sys
from tftnhits.errors import OutputError
from tftnhits.training.trials import locked
try:
    with locked(sys.argv[1], wait=False):
        print("in")
except OutputError as error:
    print(error)
"""
    with locked(path):
        assert "Another process holds" in python(code, path).stdout
    assert python(code, path).stdout == "in\n"
