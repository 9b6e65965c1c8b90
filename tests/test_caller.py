"""The caller's process: its forks, its global state and its cores, each in a process of its own."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from helpers import python, stocks

pytest.importorskip("torch")

import torch

from tftnhits import Predictor
from tftnhits.models import caller
from tftnhits.models.caller import cgroup_cores

FORK = """
import multiprocessing, sys
from helpers import BOOSTING_TINY, made_bars
import tftnhits as tn, torch
torch.set_num_threads(2)  # as on any machine with several cores
model, bars = tn.Predictor.load(), made_bars()
panel = tn.make_panel(bars)

def answer():
    {work}

def child(results):
    results.put(answer())

here = answer()
context = multiprocessing.get_context("fork")
results = context.SimpleQueue()
process = context.Process(target=child, args=(results,))
process.start()
process.join(60)
alive = process.is_alive()
process.kill()
print("hangs" if alive else results.get() == here)
"""
WORK = {
    "predict": "return model.predict(bars).frame['median'].tolist()",
    "boosting": "return tn.Boosting(BOOSTING_TINY).fit(panel).trees.value.tolist()",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("work", WORK)
def test_a_forked_child_answers_as_its_parent_did(work):
    assert python(FORK.format(work=WORK[work])).stdout.split() == ["True"]


STATE = """
import random, sys
import numpy as np, torch
from helpers import BOOSTING_TINY, NHITS_TINY, TFT_TINY, TRAIN_TINY, made_bars
import tftnhits as tn

def state():
    torch_state = torch.get_rng_state().numpy().tobytes(), torch.get_default_dtype()
    grad = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()
    return torch_state, grad, random.getstate(), np.random.get_state()[1].tobytes()

def hashes():
    panel = tn.make_panel(made_bars(bars=200))
    networks = [tn.fit(c, panel, TRAIN_TINY, progress=False) for c in (TFT_TINY, NHITS_TINY)]
    bytes_ = [v.numpy().tobytes() for n in networks for v in n.model.state_dict().values()]
    curves = [(row["train"], row["valid"]) for n in networks for row in n.history]
    trees = tn.Boosting(BOOSTING_TINY).fit(panel).trees.value.tobytes()
    return bytes_, curves, trees

def loaded():
    forecast = tn.Predictor.load().predict(made_bars())
    return forecast.frame["median"].tolist(), forecast.reports["A"].model_used

usual = hashes(), loaded()
torch.manual_seed(7), random.seed(7), np.random.seed(7)
torch.set_default_dtype(torch.float64)
for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
    with mode:
        before = state()
        print((hashes(), loaded()) == usual, state() == before)
"""


def test_training_and_loading_neither_heed_nor_change_the_callers_state():
    assert python(STATE).stdout.split() == ["True"] * 6


IMPORT = """
import random
from helpers import BOOSTING_TINY, made_panel
import tftnhits as tn
panel = made_panel()
before = random.getstate()
tn.Boosting(BOOSTING_TINY).fit(panel)
print(random.getstate() == before)
"""


def test_the_first_boosting_draws_nothing():
    """What scikit-learn imports does."""
    assert python(IMPORT).stdout.split() == ["True"]


CORES = """
import os, torch
from helpers import NHITS_TINY, TRAIN_TINY, made_panel
from tftnhits.training import loop
panel, seen = made_panel(), []
build = loop.gather
loop.gather = lambda *args: seen.append(torch.get_num_threads()) or build(*args)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
for threads in (3, 1):
    torch.set_num_threads(threads)
    watched = []
    found = loop.fit(NHITS_TINY, panel, TRAIN_TINY, progress=False,
                     watch=lambda row: watched.append(torch.get_num_threads()))
    print(min(seen), {*watched} == {threads}, torch.get_num_threads() == threads)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_are_no_more_than_the_cores_while_our_code_runs():
    assert python(CORES).stdout.split() == ["1", "True", "True"] * 2


@pytest.mark.parametrize(
    "memberships, files, cores",
    [
        ("0::/\n", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/\n", {"cpu.max": "max 100000"}, float("inf")),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1.0),
        ("0::/host/path\n", {"cpu.max": "50000 100000"}, 0.5),  # a container's own is the root
        (
            "4:memory:/\n3:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"},
            4.0,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            float("inf"),
        ),
        ("", {}, float("inf")),
    ],
)
def test_quotas_of_both_versions_of_cgroups(tmp_path, memberships, files, cores):
    (tmp_path / "memberships").write_text(memberships)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cgroup_cores(tmp_path / "memberships", tmp_path / "root") == cores


@pytest.fixture
def two_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(caller, "cores", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_calls_go_side_by_side_in_turn_with_a_core_each(two_threads):
    meet = threading.Barrier(2, timeout=60)

    def call(item):
        if item < 2:
            meet.wait()  # for ever if there were one thread
        return item, torch.get_num_threads()

    assert list(caller.side_by_side(call, range(9))) == [(item, 1) for item in range(9)]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:  # nor has a new thread of the caller's lost a core
        assert pool.submit(torch.get_num_threads).result() == 2


def test_a_call_that_fails_raises_and_one_left_half_way_ends(two_threads):
    with pytest.raises(ZeroDivisionError):
        list(caller.side_by_side(lambda item: 1 // item, [2, 1, 0, 1]))
    calls = []
    left = caller.side_by_side(calls.append, range(1000))
    next(left)
    left.close()
    assert len(calls) < 10 and torch.get_num_threads() == 2


def test_forecasts_of_two_threads_are_those_of_one_to_the_bit(two_threads):
    model, bars = Predictor.load(), stocks(start="2017-01-01")
    two = model.predict(bars, origins="all").frame
    torch.set_num_threads(1)
    pd.testing.assert_frame_equal(two, model.predict(bars, origins="all").frame, check_exact=True)
