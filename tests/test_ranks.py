"""Several processes train one network as one process does."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, stocks

import tftnhits as tn

ONE = """
import sys
from dataclasses import replace
import torch
sys.path.insert(0, "tests")
from helpers import NHITS_TINY, TFT_TINY, stocks
from tftnhits import TrainConfig, fit, make_panel
from tftnhits.models.caller import first_of_ranks
torch.set_num_threads(1)
out, dropout = sys.argv[1], float(sys.argv[2])
panel = make_panel(stocks())
train = TrainConfig(epochs=2, batch=5, origins=32)  # odd: shares differ by a chunk
for config in (TFT_TINY, NHITS_TINY):
    config = replace(config, dropout=dropout)
    name = f"{out}/{type(config).__name__}"
    found = fit(config, panel, train, name + ".state", progress=False)
    if first_of_ranks():
        losses = [(row["train"], row["valid"]) for row in found.history]
        torch.save((found.model.state_dict(), losses), name + ".pt")
"""
NAMES = ("TFTConfig", "NHITSConfig")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def trained(folder, processes: int, dropout: float = 0.0) -> dict:
    """Weights and losses of each network that so many processes trained."""
    import torch

    folder.mkdir(exist_ok=True)
    script = folder / "one.py"
    script.write_text(ONE)
    start = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    line = [*start, str(script), str(folder), str(dropout)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in NAMES}


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(tmp_path):
    alone, both = trained(tmp_path / "one", 1), trained(tmp_path / "two", 2)
    for name in NAMES:
        (weights, losses), (shared, theirs) = alone[name], both[name]
        np.testing.assert_allclose(theirs, losses, atol=1e-4)
        for part, values in weights.items():
            np.testing.assert_allclose(shared[part], values, atol=1e-4, err_msg=f"{name} {part}")


@pytest.mark.slow
def test_a_state_of_two_processes_goes_on_in_one(tmp_path):
    trained(tmp_path / "run", 2, dropout=0.1)  # whose dropout differs by process
    states = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.state")}
    assert len(states) == 2
    trained(tmp_path / "run", 1, dropout=0.1)  # finished: nothing is left to train
    assert states == {path: path.read_bytes() for path in states}


@pytest.mark.slow
def test_the_command_trains_by_torchrun_and_writes_once(tmp_path):
    stocks().to_csv(tmp_path / "bars.csv", index=False)
    train = ["train", str(tmp_path / "bars.csv"), "--out", str(tmp_path / "model")]
    line = [*TORCHRUN, "2", "-m", "tftnhits", *train, "--preset", "tiny"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "model" / "predictor.json").read_text())
    assert {"tft", "nhits", "boosting"} <= set(record["members"])
    assert len(tn.Predictor.load(tmp_path / "model").predict(stocks()).frame)
