"""Files are whole or absent, and a text from outside is safe in messages and as a file's name."""

import importlib.metadata
import os

import pytest
from helpers import one_sentence

from tftnhits.errors import CheckpointError, DataError, OutputError, printable, quoted
from tftnhits.files import atomic_write, data_file, read_json, sha256, versions, write_json


def test_writes_what_it_is_given_into_a_new_folder(tmp_path):
    path = atomic_write(tmp_path / "new" / "deep" / "a.txt", "héllo")
    assert path.read_text(encoding="utf-8") == "héllo"
    assert atomic_write(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "raised, seen",
    [(OSError(28, "No space left on device"), OutputError), (KeyboardInterrupt(), None)],
)
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step, raised, seen):
    path = atomic_write(tmp_path / "a.txt", "old")

    def fail(*_):
        raise raised

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(seen or KeyboardInterrupt) as caught:
        atomic_write(path, "new")
    assert seen is None or (one_sentence(str(caught.value)) and "a.txt" in str(caught.value))
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


@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"3", b"\xff\xfe", b"[" * 200_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json") as caught:
        read_json(tmp_path / "a.json")
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "", "..", "a\0b", "con", None, 3])
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="plain file name"):
        data_file(tmp_path, name)
    assert data_file(tmp_path, "a-1.safetensors") == tmp_path / "a-1.safetensors"


def test_hashes_and_versions():
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    installed = versions("numpy", "no-such-package")
    assert list(installed) == ["python", "numpy", "no-such-package"]
    assert installed["numpy"] == importlib.metadata.version("numpy")
    assert installed["no-such-package"] == "not installed"


def test_text_is_safe_for_a_terminal():
    hostile = "a\x1b[2J\r\nb\u202ec\ud800" + "x" * 1000
    for text in (printable(hostile), quoted(hostile), str(DataError(hostile + " Do this."))):
        assert text.isprintable() and one_sentence(text + ".")
    assert str(DataError(hostile + " Do this.")).endswith("Do this.")  # what to do is not cut off
    assert len(printable(hostile)) == len(quoted(hostile)) == 60 and "..." in printable(hostile)


def test_a_value_is_quoted_whatever_it_is():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    numpy = pytest.importorskip("numpy")
    assert quoted(numpy.int64(5)) == "5" and quoted("5") == "'5'" and quoted(Rude()) == "<Rude>"
