"""Files are whole or absent."""

import importlib.metadata
import os

import pytest
from helpers import one_sentence

from tftnhits.errors import CheckpointError, OutputError
from tftnhits.files import atomic_write, data_file, read_json, sha256, versions, write_json


def test_writes_what_it_is_given_into_a_new_folder(tmp_path):
    path = atomic_write(tmp_path / "new" / "deep" / "a.txt", "héllo")
    assert path.read_text(encoding="utf-8") == "héllo"
    assert atomic_write(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = atomic_write(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError, match=r"a\.txt: No space left on device") as caught:
        atomic_write(path, "new")
    assert one_sentence(str(caught.value))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", "old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        atomic_write(tmp_path / "file" / "a.txt", "x")


def test_json_round_trip_and_no_nan(tmp_path):
    value = {"a": [1, 2.5, None], "b": "é"}
    assert read_json(write_json(tmp_path / "a.json", value)) == value
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"3", b"\xff\xfe", b"[" * 200_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_a_missing_json_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="model folder"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError):
        read_json(tmp_path)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/etc/passwd", "", ".", "..", "a\0b", None, 3, ["x"]]
)
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="plain file name"):
        data_file(tmp_path, name)


def test_plain_names_stay_in_the_folder(tmp_path):
    assert data_file(tmp_path, "a-1.safetensors") == tmp_path / "a-1.safetensors"


def test_sha256_of_known_texts():
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_versions_name_what_is_missing():
    found = versions("numpy", "no-such-package")
    assert (
        list(found) == ["python", "numpy", "no-such-package"]
        and found["no-such-package"] == "not installed"
    )
    assert found["numpy"] == importlib.metadata.version("numpy")
