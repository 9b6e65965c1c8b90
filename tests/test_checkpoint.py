"""Saved networks: the same bits back, and one clear sentence for whatever else lies in the folder."""

import json
import pickle
import struct

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from helpers import NHITS_TINY, TFT_TINY, one_sentence, random_batch, random_inputs, stir  # noqa: E402

from tftnhits.errors import CheckpointError, OutputError  # noqa: E402
from tftnhits.files import sha256  # noqa: E402
from tftnhits.models.store import (
    build,
    load_network,
    load_state,
    remove_network,
    save_network,
    save_state,
)

INPUTS = random_inputs()


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


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    message = str(caught.value)
    assert one_sentence(message), message
    return message


@pytest.mark.parametrize(
    "config", [TFT_TINY, NHITS_TINY, type(NHITS_TINY).classic(context=20, hidden=16)]
)
def test_round_trip_is_equal_to_the_bit(config, tmp_path):
    model = network(config)
    model.base.copy_(torch.randn(model.base.shape))
    path = save_network(tmp_path, model, {"note": "tested"})
    found, record = load_network(path)
    assert type(found) is type(model) and found.config == config and found.inputs == INPUTS
    assert record["note"] == "tested" and not found.training
    for (k, v), (other, w) in zip(model.state_dict().items(), found.state_dict().items()):
        assert k == other and torch.equal(v, w)
    batch = random_batch(INPUTS, 20, 3, 5)
    assert torch.equal(model(batch).quantiles, found(batch).quantiles)


def test_a_folder_keeps_one_set_of_weights_of_each_network(tmp_path):
    for seed in (0, 1):
        path = save_network(tmp_path, network(seed=seed))
        save_network(tmp_path, network(TFT_TINY, seed))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [n.split("-")[0] for n in names] == ["nhits", "nhits.json", "tft", "tft.json"]
    assert torch.equal(load_network(path)[0].residual, network(seed=1).residual)


def test_several_networks_of_a_kind_under_their_own_names(tmp_path):
    names = ("nhits", "nhits-1", "nhits-2")
    for again in (0, 10):  # the second time, each replaces its own weights only
        for seed, name in enumerate(names):
            path = save_network(tmp_path, network(seed=seed + again), name=name)
            assert path == tmp_path / f"{name}.json"
    assert len(list(tmp_path.iterdir())) == 6
    for seed, name in enumerate(names):
        assert torch.equal(
            load_network(tmp_path / f"{name}.json")[0].residual, network(seed=seed + 10).residual
        )
    remove_network(tmp_path, "nhits")
    assert {p.name for p in tmp_path.glob("*.json")} == {"nhits-1.json", "nhits-2.json"}
    assert len(list(tmp_path.iterdir())) == 4 and load_network(tmp_path / "nhits-1.json")
    remove_network(tmp_path, "nhits")  # nothing is left to remove


@pytest.mark.parametrize("place", [0, 9, 0.5, -1])
def test_a_flipped_byte_is_found(saved, place):
    weights = weights_of(saved)
    data = bytearray(weights.read_bytes())
    data[int(len(data) * place) if isinstance(place, float) else place] ^= 1
    weights.write_bytes(data)
    assert "corrupt" in refused(saved)


def test_truncated_weights_are_found(saved):
    weights = weights_of(saved)
    weights.write_bytes(weights.read_bytes()[:-7])
    assert "corrupt" in refused(saved)


def test_missing_files(saved, tmp_path):
    weights_of(saved).unlink()
    assert "No such file" in refused(saved)
    assert "model folder" in refused(tmp_path / "tft.json")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 1}', '{"network": "TFT"}', '"x"', "\x80\x04."]
)
def test_foreign_json(saved, content):
    saved.write_text(content)
    refused(saved)


@pytest.mark.parametrize(
    "values",
    [
        {"network": "Transformer"},
        {"network": ["TFT"]},
        {"format": "one"},
        {"format": None},
        {"weights": None},
        {"weights": 5},
        {"sha256": None},
        {"config": None},
        {"config": []},
        {"config": "x"},
        {"config": {"hidden": 16, "colour": "red"}},
        {"config": {"hidden": 0}},
        {"config": {"hidden": "16"}},
        {"config": {"pools": [0]}},
        {"config": {"pools": 3}},
        {"config": {"quantiles": "abc"}},
        {"inputs": None},
        {"inputs": []},
        {"inputs": {"observed": ["return"]}},
        {"inputs": {"observed": 3, "known": [], "static": []}},
        {"inputs": {"observed": ["range"], "known": [], "static": []}},
    ],
    ids=str,
)
def test_json_that_does_not_describe_a_network(saved, values):
    if "inputs" not in values and "config" not in values:
        refused(change(saved, **values))
        return
    config = values.get("config", json.loads(saved.read_text())["config"])
    refused(change(saved, **{**values, "config": config}))


def test_a_newer_format_asks_for_an_upgrade(saved):
    assert "upgrade" in refused(change(saved, format=99))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/hostname", "a/b", "..", "x\0y"])
def test_weights_never_come_from_outside_the_folder(saved, name):
    (saved.parent.parent / "secret.safetensors").write_bytes(weights_of(saved).read_bytes())
    assert "plain file name" in refused(change(saved, weights=name))


def test_another_shape_is_named(saved):
    message = refused(change(saved, config={**NHITS_TINY.to_dict(), "hidden": 8}))
    assert "size mismatch" in message
    assert "don't fit" in refused(change(saved, network="TFT", config=TFT_TINY.to_dict()))


class Bomb:
    """What a hostile pickle does when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_hostile_pickle_is_not_executed(saved, tmp_path):
    mark = tmp_path / "executed"
    data = pickle.dumps(Bomb(mark))
    pickle.loads(data).close()
    assert mark.exists()  # it does work
    mark.unlink()
    weights_of(saved).write_bytes(data)
    assert "corrupt" in refused(saved)
    refused(change(saved, sha256=sha256(data)))  # with the hash that fits, too
    (tmp_path / "bomb.state").write_bytes(data)
    with pytest.raises(CheckpointError):
        load_state(tmp_path / "bomb.state")
    assert not mark.exists()


@pytest.mark.parametrize("header", [2**40, 3])
def test_a_header_that_lies_about_its_size(saved, header):
    data = struct.pack("<Q", header) + b"{}"
    weights_of(saved).write_bytes(data)
    refused(change(saved, sha256=sha256(data)))


def test_an_impossible_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        save_network(tmp_path / "file" / "model", network())
    assert one_sentence(str(caught.value))


def test_state_round_trip(tmp_path):
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(7.0)}
    save_state(tmp_path / "x.state", tensors, {"epoch": 3, "names": ["ä"]})
    found, record = load_state(tmp_path / "x.state")
    assert record == {"epoch": 3, "names": ["ä"]} and found.keys() == tensors.keys()
    assert all(torch.equal(v, found[k]) for k, v in tensors.items())


def test_a_state_without_a_record_is_refused(tmp_path):
    path = tmp_path / "x.state"
    for data in (safetensors.torch.save({"a": torch.ones(1)}), b"", b"noise" * 50):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"x\.state") as caught:
            load_state(path)
        assert one_sentence(str(caught.value))
    with pytest.raises(CheckpointError):
        load_state(tmp_path / "none.state")
