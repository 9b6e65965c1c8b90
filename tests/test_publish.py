"""A published folder comes back the same; nothing else goes up; each fault is a sentence."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import pytest
import requests
from helpers import ROOT, made_bars, one_sentence
from hub_server import hub_server
from requests.adapters import HTTPAdapter

import tftnhits as tn
from tftnhits.apps.hub import CONFIGURATION, _stay_at
from tftnhits.models import hub_client
from tftnhits.models.hub import connect

pytest.importorskip("torch")
pytest.importorskip("modelscope_hub", reason="needs the extra 'modelscope'")

SHIPPED = ROOT / "data" / "pretrained"
TOKEN = "ms-5ecret-t0ken"
LINK, LEFT = "nhits-9-00000000.safetensors", "tft-00000000.safetensors"
STRAY = ("notes.txt", ".env", "tft.state", "requirements.txt", "evil.pkl", "ms_wrapper.py")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty hub that asks for TOKEN, which the environment has."""
    with hub_server() as served:
        served.token = TOKEN
        monkeypatch.setenv("HOME", str(tmp_path / "user"))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", served.address)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("MODELSCOPE_HOME", raising=False)
        monkeypatch.delenv("TFTNHITS_HUB_SECONDS", raising=False)
        monkeypatch.delenv("TFTNHITS_HUB_STORAGE", raising=False)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
        yield served


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model's folder in which other things lie."""
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED, folder)
    for name in STRAY:
        (folder / name).write_text(f"SECRET={name}")
    (folder / "configuration.json").write_text('{"model": "theirs", "plugins": ["evil"]}')
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "tft.json").write_text("{}")
    (tmp_path / "outside").write_text("SECRET=link")
    (folder / LINK).symlink_to(tmp_path / "outside")
    (folder / "predictor.json.lock").touch()  # as `save` leaves it
    (folder / LEFT).write_text("SECRET=left by a killed writer")
    return folder


def test_only_the_model_is_published_and_the_token_is_seen_by_the_hub_alone(
    hub, folder, tmp_path, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    names = tn.publish(folder, "me/model", private=True)
    there = hub.models["me/model"]
    assert names == sorted(there) == sorted(os.listdir(SHIPPED))
    assert not any(b"SECRET" in data for data in there.values()) and hub.private == {"me/model"}
    for name in names:
        if name != "configuration.json":
            assert there[name] == (SHIPPED / name).read_bytes()
    assert json.loads(there["configuration.json"]) == CONFIGURATION
    assert all(name in caplog.text for name in (*STRAY[:-1], LINK, LEFT, "__pycache__"))
    for _, path, headers in hub.seen:
        assert TOKEN in headers.get("Authorization", "") and TOKEN not in path
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    printed = "".join(capfd.readouterr())
    assert TOKEN not in caplog.text + printed and TOKEN.encode() not in written
    assert not (tmp_path / "user").exists()  # modelscope keeps nothing at home


def test_what_is_published_forecasts_the_same(hub, folder):
    tn.publish(folder, "me/model")
    assert not hub.private
    rows = made_bars(("A",), 300).drop(columns="symbol")
    ours, theirs = (tn.Predictor.load(source).predict(rows) for source in (folder, "me/model"))
    assert ours.frame.equals(theirs.frame)


def test_publishing_again_removes_what_an_older_version_left(hub, folder):
    old = {
        "tft-7-76543210.safetensors": b"{}",
        "boosting-01234567.safetensors": b"old",
        "picture.png": b"theirs",
    }
    hub.models["me/model"] = old
    names = tn.publish(folder, "me/model")
    assert sorted(hub.models["me/model"]) == sorted([*names, "picture.png"])


def test_the_login_of_modelscope_will_do(hub, folder, tmp_path, monkeypatch):
    from modelscope_hub import HubConfig

    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    no_publishing(tn.HubError, folder, "me/model", words=("MODELSCOPE_API_TOKEN",))
    HubConfig(endpoint=hub.address, config_dir=tmp_path / "login").save_token(TOKEN)
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "login"))
    assert tn.publish(folder, "me/model") == sorted(hub.models["me/model"])


def no_publishing(error: type[Exception], *args, words=()) -> None:
    with pytest.raises(error) as caught:
        tn.publish(*args)
    message = str(caught.value)
    assert one_sentence(message) and TOKEN not in message, message
    assert all(word in message for word in words), message


def test_files_go_to_the_hub_and_its_storage_and_the_token_to_the_hub(hub, folder, monkeypatch):
    with hub_server() as other:  # on another port of the same host
        hub.blobs_at, other.blobs = other.address, hub.blobs
        no_publishing(tn.HubError, folder, "me/model", words=("TFTNHITS_HUB_STORAGE",))
        assert not other.seen
        monkeypatch.setenv("TFTNHITS_HUB_STORAGE", other.address[len("http://") :])
        assert tn.publish(folder, "me/model") == sorted(hub.models["me/model"])
        assert other.seen and not any(TOKEN in f"{path} {h}" for _, path, h in other.seen)


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is none of its addresses")
def test_nothing_is_sent_into_the_own_network(hub, monkeypatch):
    """As if 127.0.0.1 were public; in this process, where that can be said."""
    refused: list[str] = []
    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)  # to be put back
    monkeypatch.setattr(hub_client, "_is_public", lambda address: address == "127.0.0.1")
    with hub_server("127.0.0.2") as other:
        monkeypatch.setenv("TFTNHITS_HUB_STORAGE", other.address[len("http://") :])
        _stay_at(connect("me/model"), refused)
        requests.get(hub.address, timeout=9)
        with pytest.raises(hub_client.Inside):
            requests.put(other.address, data=b"weights", timeout=9)
        assert one_sentence(refused[0]) and "inside your own network" in refused[0]
        assert not other.seen


FAULTS = [(401, "", "MODELSCOPE_API_TOKEN"), (404, "/models", "HTTP 404"), (500, "", "HTTP 500")]
FAULTS += [(403, "/commit/", "can't be published"), ("hang", "", "more than 3 s")]


@pytest.mark.parametrize("fault, where, word", FAULTS)
def test_each_fault_in_publishing_is_one_sentence_in_time(
    hub, folder, monkeypatch, fault, where, word
):
    hub.fail(fault, where)
    monkeypatch.setenv("TFTNHITS_HUB_SECONDS", "3" if fault == "hang" else "60")
    no_publishing(tn.HubError, folder, "me/model", words=("127.0.0.1", "me/model", word))
    assert "predictor.json" not in hub.models.get("me/model", {})
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    no_publishing(tn.HubError, folder, "me/model", words=("127.0.0.1:9", "me/model"))


def test_a_folder_that_is_not_whole_is_not_published(hub, folder, tmp_path):
    (folder / LEFT).unlink()
    (weights,) = folder.glob("tft-*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "tft"))
    weights.unlink()
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "tft"))
    (folder / "predictor.json").write_text("{")
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "JSON"))
    no_publishing(tn.CheckpointError, tmp_path / "none", "me/model", words=("none",))
    for text in ("../x", "me", "me/model/x", ""):
        no_publishing(tn.ConfigError, folder, text, words=("owner/name",))
    assert not hub.seen
