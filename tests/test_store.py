"""Saved networks: the same bits back, one clear sentence for whatever else lies in the folder."""

import json
import struct
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from helpers import NHITS_TINY, TFT_TINY, one_sentence, random_batch, random_inputs, stir  # noqa: E402

from tftnhits.errors import CheckpointError  # noqa: E402
from tftnhits.files import sha256  # noqa: E402
from tftnhits.models.checkpoint import remove_checkpoint  # noqa: E402
from tftnhits.models.store import build, load_network, load_state, save_network  # noqa: E402

INPUTS = random_inputs()
CLASSIC = type(NHITS_TINY).classic(context=20, hidden=16)


def network(config=NHITS_TINY, seed=0):
    torch.manual_seed(seed)
    model = build(config, INPUTS).eval()
    stir(model, seed)
    return model


@pytest.fixture
def saved(tmp_path):
    return save_network(tmp_path, network())


def change(path, **values):
    """Rewrites fields of the JSON; None removes one."""
    record = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    return path


def weights_of(path):
    return path.parent / json.loads(path.read_text())["weights"]


def refused(path, load=load_network):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY, CLASSIC])
def test_round_trip_is_equal_to_the_bit(config, tmp_path):
    model, batch = network(config), random_batch(INPUTS, 20, 3, 5)
    model.base.copy_(torch.randn(model.base.shape))
    loaded = load_network(save_network(tmp_path, model))
    assert (type(loaded), loaded.config, loaded.inputs) == (type(model), config, INPUTS)
    assert not loaded.training and torch.equal(model(batch).quantiles, loaded(batch).quantiles)
    for (k, v), (other, w) in zip(model.state_dict().items(), loaded.state_dict().items()):
        assert k == other and torch.equal(v, w)


@pytest.mark.parametrize("residual, backcast", [(True, "weighted bars"), (False, "bars")])
def test_a_network_of_format_1_is_the_same_today(residual, backcast, tmp_path):
    """Its settings said whether the residual is weighed, and knew no knots in the backcast."""
    config, batch = replace(NHITS_TINY, backcast=backcast), random_batch(INPUTS, 20, 3, 5)
    model = network(config)
    path = save_network(tmp_path, model)
    old = {k: v for k, v in config.to_dict().items() if k != "backcast"}
    change(path, format=1, config=old | {"learned_residual": residual})
    loaded = load_network(path)
    assert loaded.config == config
    assert torch.equal(model(batch).quantiles, loaded(batch).quantiles)


def test_several_networks_of_a_kind_under_their_own_names(tmp_path):
    for seed in range(4):  # each replaces its own weights only
        save_network(tmp_path, network(seed=seed), f"nhits-{seed % 2}")
    assert len(list(tmp_path.iterdir())) == 4
    for seed in (2, 3):
        loaded = load_network(tmp_path / f"nhits-{seed % 2}.json")
        assert torch.equal(loaded.residual, network(seed=seed).residual)
    for _ in range(2):  # the second time nothing is left to remove
        remove_checkpoint(tmp_path, "nhits-0")
        assert len(list(tmp_path.iterdir())) == 2 and load_network(tmp_path / "nhits-1.json")


@pytest.mark.parametrize("damage", [0, 9, -1])
def test_damaged_weights_are_found_by_their_hash(saved, damage):
    data = bytearray(weights_of(saved).read_bytes())
    data[damage] ^= 1
    weights_of(saved).write_bytes(data)
    assert "corrupt" in refused(saved)


def test_missing_files(saved, tmp_path):
    weights_of(saved).unlink()
    assert "No such file" in refused(saved)
    assert "model folder" in refused(tmp_path / "tft.json")


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
    {"config": {"hidden": 10**9}},
    {"config": {"quantiles": "abc"}},
    {"inputs": {"observed": 3, "known": [], "static": []}},
    {"inputs": {"observed": ["range"], "known": [], "static": []}},
]


@pytest.mark.parametrize("values", FOREIGN, ids=str)
def test_json_that_does_not_describe_a_network(saved, values):
    refused(change(saved, **values))


def test_what_does_not_fit_is_named(saved):
    assert "upgrade" in refused(change(saved, format=99))
    change(saved, format=1)
    assert "size" in refused(change(saved, config={**NHITS_TINY.to_dict(), "hidden": 8}))
    for text in ("", "[]", "{}", '{"format": 1}', "\x80"):
        saved.write_text(text)
        refused(saved)


def test_a_header_that_lies_about_its_size(saved):
    for header in (2**40, 3):
        data = struct.pack("<Q", header) + b"{}"
        weights_of(saved).write_bytes(data)
        refused(change(saved, sha256=sha256(data)))


def test_a_state_without_a_record_is_refused(tmp_path):
    path = tmp_path / "x.state"
    assert "x.state" in refused(path, load_state)
    for data in (safetensors.torch.save({"a": torch.ones(1)}), b"", b"noise" * 50):
        path.write_bytes(data)
        assert "x.state" in refused(path, load_state)
