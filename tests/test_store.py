"""Saved networks: the same bits back, one clear sentence for whatever else lies in the folder."""

import struct
import sys

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from helpers import (  # noqa: E402
    NHITS_TINY,
    TFT_TINY,
    one_sentence,
    python,
    random_batch,
    random_inputs,
    stir,
)

from tftnhits.errors import CheckpointError  # noqa: E402
from tftnhits.files import MAX_JSON, MAX_WEIGHTS  # noqa: E402
from tftnhits.models.checkpoint import Part, load_part, save_part  # noqa: E402
from tftnhits.models.store import build, load_state, network_of, network_part  # noqa: E402

INPUTS = random_inputs()
CLASSIC = type(NHITS_TINY).classic(context=20, hidden=16)


def network(config=NHITS_TINY, seed=0):
    torch.manual_seed(seed)
    model = build(config, INPUTS).eval()
    stir(model, seed)
    return model


@pytest.fixture
def saved(tmp_path):
    """The record of a network whose weights lie in `tmp_path`."""
    return save_part(tmp_path, "nhits", network_part(network()))


def load(folder, record):
    return network_of(load_part(folder, record))


def change(record, **values):
    """The record with other fields; None removes one."""
    return {k: v for k, v in {**record, **values}.items() if v is not None}


def refused(load, *args):
    with pytest.raises(CheckpointError) as caught:
        load(*args)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY, CLASSIC])
def test_round_trip_is_equal_to_the_bit(config, tmp_path):
    model, batch = network(config), random_batch(INPUTS, 20, 3, 5)
    model.base.copy_(torch.randn(model.base.shape))
    loaded = load(tmp_path, save_part(tmp_path, "x", network_part(model)))
    assert (type(loaded), loaded.config, loaded.inputs) == (type(model), config, INPUTS)
    assert not loaded.training and torch.equal(model(batch).quantiles, loaded(batch).quantiles)
    for (k, v), (other, w) in zip(model.state_dict().items(), loaded.state_dict().items()):
        assert k == other and torch.equal(v, w)


@pytest.mark.parametrize("damage", [0, 9, -1])
def test_damaged_weights_are_found_by_their_hash(saved, tmp_path, damage):
    path = tmp_path / saved["weights"]
    data = bytearray(path.read_bytes())
    data[damage] ^= 1
    path.write_bytes(data)
    assert "corrupt" in refused(load, tmp_path, saved)


def test_missing_and_endless_files(saved, tmp_path):
    path = tmp_path / saved["weights"]
    path.unlink()
    assert "No such file" in refused(load, tmp_path, saved)
    with open(path, "wb") as file:
        file.truncate(MAX_WEIGHTS + 1)
    assert str(MAX_WEIGHTS) in refused(load, tmp_path, saved)


FOREIGN = [
    {"network": "Transformer"},
    {"network": ["TFT"]},
    {"network": "TFT", "config": TFT_TINY.to_dict()},
    {"format": None},
    {"weights": 5},
    {"weights": "../secret.safetensors"},
    {"weights": "/etc/hostname"},
    {"sha256": None},
    {"config": []},
    {"config": {"hidden": 16, "colour": "red"}},
    *({"config": {name: 10**9}} for name in ("hidden", "horizon", "context")),
    {"network": "TFT", "config": {"lstm_layers": 10**9}},
    {"config": {**CLASSIC.to_dict(), "pools": [10**9]}},
    {"config": {"quantiles": "abc"}},
    {"inputs": {"observed": 3, "known": [], "static": []}},
    {"inputs": {"observed": ["range"], "known": [], "static": []}},
]


@pytest.mark.parametrize("values", FOREIGN, ids=str)
def test_records_that_do_not_describe_a_network(saved, tmp_path, values):
    refused(load, tmp_path, change(saved, **values))


def test_what_does_not_fit_is_named(saved, tmp_path):
    assert "upgrade" in refused(load, tmp_path, change(saved, format=99))
    other = change(saved, config={**NHITS_TINY.to_dict(), "hidden": 8})
    assert "size" in refused(load, tmp_path, other)
    for record in (None, [], {}, {"format": 1}, "x"):
        refused(load, tmp_path, record)


def test_a_header_that_lies_about_its_size(saved):
    for header in (2**40, MAX_JSON + 1, 3):
        refused(network_of, Part(saved, struct.pack("<Q", header) + b"{}"))


# by the tensors that a file of a few hundred kB may have
GREEDY = """
import json, resource
import safetensors.torch, torch
from tftnhits.config import NHITSConfig
from tftnhits.errors import CheckpointError
from tftnhits.models.checkpoint import Part
from tftnhits.models.store import NHITS, network_of
classic = NHITSConfig.classic(context=20, hidden=1, quantiles=(0.1, 0.5, 0.9), pools=(1,))
inputs = {"observed": ["return"], "known": [], "static": []}
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 300 * 2**20,) * 2)


def refused(tensors, **values):
    config = {**classic.to_dict(), **values}
    record = {"network": "NHITS", "config": config, "inputs": inputs}
    try:
        network_of(Part(record, safetensors.torch.save(tensors)))
    except CheckpointError as error:
        return "t fit it" in str(error)


some = {"a": torch.zeros(50_000)}
assert refused(some, horizon=40_000)  # its interpolation is a matrix of the square
assert refused(some, hidden=40_000) and refused(some, pools=[1] * 40_000)
assert refused({str(i): torch.zeros(1) for i in range(9_999)}, pools=[1] * 9_999)
with torch.device("meta"):
    shapes = NHITS(NHITSConfig.from_dict({**classic.to_dict(), "horizon": 12_000}), inputs)
fitting = {k: torch.zeros(v.shape) for k, v in shapes.state_dict().items()}
assert refused(fitting, horizon=12_000)  # its tensors fit
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_small_file_makes_no_large_network():
    """In a process that may take 300 MB more than it has."""
    done = python(GREEDY, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_state_without_a_record_is_refused(tmp_path):
    path = tmp_path / "x.state"
    assert "x.state" in refused(load_state, path)
    for data in (safetensors.torch.save({"a": torch.ones(1)}), b"", b"noise" * 50):
        path.write_bytes(data)
        assert "x.state" in refused(load_state, path)
