"""Models by id, against a hub on 127.0.0.1 that serves, refuses, breaks off, lies and hangs."""

import logging
import os
import sys
import threading
from pathlib import Path

import pytest
from helpers import one_sentence
from hub_server import FAULTS, FILE, LIST, Handler, hub_server

import tftnhits as tn
from tftnhits.models.hub import Hub, fetch, is_id, is_predictor_file, model_folder

pytest.importorskip("modelscope_hub", reason="needs the extra 'modelscope'")

from tftnhits.models import hub_client

# fetch reads none of them: that is Predictor.load's part
LAST = "tft-3-0123abcd.safetensors"
SMALL = "nhits-89abcdef.safetensors"
MODEL = {"predictor.json": b"{}", "README.md": b"# A model\n", SMALL: b"{1}"}
MODEL |= {LAST: os.urandom(200_000)}
TOKEN = "ms-5ecret-t0ken"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the model me/model, and a fresh cache."""
    with hub_server() as served:
        served.models["me/model"] = dict(MODEL)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", served.address)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        for name in ("MODELSCOPE_API_TOKEN", "TFTNHITS_HUB_SECONDS", "TFTNHITS_HUB_STORAGE"):
            monkeypatch.delenv(name, raising=False)
        yield served


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(error: type[Exception], *args, words=(), seconds=None, **options) -> str:
    """The message of the error that `fetch` raises, given so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if seconds:
            patch.setenv("TFTNHITS_HUB_SECONDS", str(seconds))
        with pytest.raises(error) as caught:
            fetch(*args, **options)
    message = str(caught.value)
    assert one_sentence(message) and all(word in message for word in words), message
    return message


def asked(hub) -> list[str]:
    """Names of the files that were asked for."""
    return [path.split("FilePath=")[1] for _, path, _ in hub.seen if "FilePath=" in path]


def test_downloads_once_and_needs_no_hub_afterwards(hub, monkeypatch):
    folder = fetch("me/model")
    assert content(folder) == MODEL and len(hub.seen) == 1 + len(MODEL)
    assert not list(Path(os.environ["MODELSCOPE_HOME"]).glob("**/*"))
    hub.fail(500)
    assert fetch("me/model") == folder and not hub.seen
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", NOWHERE)
    assert model_folder("me/model") == folder


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", [LIST, FILE])
def test_each_fault_is_one_sentence_in_time_and_the_next_call_goes_on(hub, where, fault):
    hub.fail(fault, where)
    what = f"HTTP {fault}" if isinstance(fault, int) else ""
    refused(tn.HubError, "me/model", seconds=0.5, words=("127.0.0.1", "me/model", what))
    hub.fail(None)
    assert content(fetch("me/model")) == MODEL


@pytest.mark.parametrize("fault", ["altered", "shrunk"])
def test_a_broken_download_keeps_what_is_whole_and_nothing_else(hub, tmp_path, fault):
    hub.fail(fault, LAST)
    refused(tn.HubError, "me/model", words=(LAST, "SHA-256"))
    whole = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.name for path in whole} == MODEL.keys() - {LAST}
    hub.fail(None)
    assert content(fetch("me/model")) == MODEL and asked(hub) == [LAST]


def test_a_changed_cache_is_seen_and_mended(hub, monkeypatch):
    folder = fetch("me/model")
    for harm in (Path.unlink, lambda path: path.write_bytes(b"{2}")):
        harm(folder / SMALL)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", NOWHERE)
        refused(tn.HubError, "me/model", words=("can't be reached", "not whole in the cache"))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        hub.fail(None)
        assert content(fetch("me/model")) == MODEL and asked(hub) == [SMALL]


def test_a_record_that_says_nothing_usable_is_replaced(hub):
    folder = fetch("me/model")
    for record in ("", "[]", '{"files": {}}', '{"files": {"predictor.json": [2]}}', "[" * 9999):
        (folder.parent / "record.json").write_text(record)
        hub.fail(None)
        assert fetch("me/model") == folder and len(hub.seen) == 1  # the list: all are whole


def test_refresh_brings_a_newer_version_and_spares_the_old_one(hub):
    old = fetch("me/model")
    hub.models["me/model"] = MODEL | {SMALL: b"{2}"}
    assert fetch("me/model") == old
    new = fetch("me/model", refresh=True)
    assert new != old and (new / SMALL).read_bytes() == b"{2}" and content(old) == MODEL
    hub.models["me/model"] = {}
    refused(tn.CheckpointError, "me/model", refresh=True, words=("no predictor.json",))
    assert fetch("me/model") == new


FOREIGN = ("evil.pkl", "weights.bin", "ms_wrapper.py", "requirements.txt", ".env", "tft.json")
FOREIGN += tuple(lead + SMALL for lead in ("sub/", "../", "a/../../", "/etc/", "..\\"))
FOREIGN += (SMALL + ".py", "predictor.json.lock")


def test_only_files_of_a_predictor_are_asked_for_and_none_leaves_its_folder(hub, tmp_path):
    hub.extra = [Handler.entry(name, b"import os") for name in (*FOREIGN, SMALL + "\0")]
    folder = fetch("me/model")
    assert content(folder) == MODEL and set(asked(hub)) == MODEL.keys()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in written} == {folder, folder.parent}
    fine = (*MODEL, "nhits-12-00000000.safetensors", "boosting-fa0212b3.safetensors")
    assert all(is_predictor_file(name) for name in fine)
    strange = (*FOREIGN, "tft-3.safetensors", "tft-XYZ.safetensors", "Predictor.json")
    assert not any(is_predictor_file(name) for name in strange)


NO_HASH = {"Path": "nhits-00000000.safetensors", "Size": 3}
BAD_LISTS = [
    (NO_HASH, tn.HubError, "can't be verified"),
    (NO_HASH | {"Sha256": ""}, tn.HubError, "can't be verified"),
    (NO_HASH | {"Size": -3, "Sha256": "0" * 64}, tn.HubError, "can't be verified"),
    (NO_HASH | {"Size": 1 << 40, "Sha256": "0" * 64}, tn.CheckpointError, "bytes"),
    ("nhits.json", tn.HubError, "list"),
    ({"Path": "x" * (9 << 20)}, tn.HubError, "list"),  # without end
]


@pytest.mark.parametrize("entry, error, word", BAD_LISTS)
def test_a_list_that_cant_be_verified_is_refused(hub, entry, error, word):
    hub.extra = [entry]
    refused(error, "me/model", words=(word,))
    assert not asked(hub)


BAD_IDS = ["../x", "/no/such/folder", "a\0b/c", "o/" + "x" * 300, "оwner/name", "owner/ｎame"]
BAD_IDS += ["a/b/c", "owner", "", "owner/", "/name", "./x", "owner/..", ".owner/name", "ow ner/x"]
BAD_IDS += ["owner/name\n", "owner\\name", "owner/name?x=1", "https://host/x", "owner/%2e%2e"]


@pytest.mark.parametrize("text", BAD_IDS)
def test_what_is_no_id_is_refused_without_asking_anyone(hub, text, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # where no folder has such a name
    assert is_id("My-Org_1/tft.n-hits_v2.1") and not is_id(text) and not is_id(b"me/model")
    refused(tn.ConfigError, text, words=("owner/name",))
    with pytest.raises(tn.CheckpointError, match="owner/name") as caught:
        tn.Predictor.load(text)
    assert one_sentence(str(caught.value)) and "\0" not in str(caught.value) and not hub.seen


def test_a_folder_that_is_there_wins_over_an_id(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("me/model").mkdir(parents=True)
    assert model_folder("me/model") == Path("me/model") and model_folder(None) is None
    assert model_folder(Path("you/model")) == Path("you/model")  # a Path is never an id
    assert not hub.seen


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    hub.token = TOKEN
    messages = [refused(tn.HubError, "me/model", words=("HTTP 401", "MODELSCOPE_API_TOKEN"))]
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    hub.cookie = f"session={TOKEN}; Path=/"
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {TOKEN}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with hub_server() as other:  # on another port of the same host
        other.models["me/model"] = dict(MODEL)
        hub.elsewhere = other.address
        monkeypatch.setenv("TFTNHITS_HUB_STORAGE", f"cdn.org {other.address[len('http://') :]}")
        assert content(fetch("me/model")) == MODEL
        assert len(other.seen) == len(MODEL)
        for _, path, headers in other.seen:
            assert TOKEN not in f"{path} {headers}" and not {"Authorization", "Cookie"} & {*headers}
    (tmp_path / "netrc").unlink()
    for _, path, headers in hub.seen[1:]:
        assert TOKEN in headers["Authorization"] and TOKEN not in path
    for fault in (401, 500, "hang"):
        hub.fail(fault)
        messages.append(refused(tn.HubError, "me/model", refresh=True, seconds=0.5))
    with_password = hub.address.replace("//", f"//me:{TOKEN}@")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", with_password)
    hub.fail(500)
    messages.append(refused(tn.HubError, "me/model", refresh=True, words=("HTTP 500",)))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    printed = "".join(capfd.readouterr())
    assert TOKEN not in caplog.text + printed + "".join(messages) and TOKEN.encode() not in written


def test_a_redirect_to_another_server_is_not_followed_unless_it_is_named(hub, monkeypatch):
    with hub_server() as other:
        other.models["me/model"] = dict(MODEL)
        port = other.server_port
        places = [other.address, f"http://localhost:{port}", f"http://x@127.0.0.1:{port}"]
        places += ["https://127.0.0.1:1", "file://", "gopher://x", "http://[::"]
        for place in places:
            hub.elsewhere = place
            for storage in ("", "127.0.0.1", "localhost", ".0.0.1"):
                monkeypatch.setenv("TFTNHITS_HUB_STORAGE", storage)
                refused(tn.HubError, "me/model", words=("127.0.0.1",))
        assert not other.seen
        hub.elsewhere = f"http://localhost:{port}"
        monkeypatch.setenv("TFTNHITS_HUB_STORAGE", f"localhost:{port}")
        assert content(fetch("me/model")) == MODEL


def test_redirects_without_end_are_given_up(hub):
    hub.elsewhere = hub.address
    refused(tn.HubError, "me/model", words=("HTTP 302",))
    assert len(hub.seen) == 1 + 1 + hub_client.REDIRECTS


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is none of its addresses")
def test_no_redirect_into_the_own_network(hub, monkeypatch):
    """As if 127.0.0.1 were public: a test can't ask a hub that is."""
    monkeypatch.setattr(hub_client, "_is_public", lambda address: address == "127.0.0.1")
    with hub_server("127.0.0.2") as other:
        other.models["me/model"] = dict(MODEL)
        hub.elsewhere = other.address
        monkeypatch.setenv("TFTNHITS_HUB_STORAGE", other.address[len("http://") :])
        refused(tn.HubError, "me/model", words=("inside your own network",))
        assert not other.seen
        monkeypatch.setattr(hub_client, "_is_public", lambda address: False)
        assert content(fetch("me/model")) == MODEL


PUBLIC = ("8.8.8.8", "2606:4700::1111")
PRIVATE = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0")
PRIVATE += ("::1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1")


def test_which_addresses_are_public():
    assert all(hub_client._is_public(address) for address in PUBLIC)
    assert not any(hub_client._is_public(address) for address in PRIVATE)


CDN = "https://cdn-lfs-cn-1.modelscope.cn/x"
REDIRECTS = [
    ("https://modelscope.cn", CDN, True),
    ("https://modelscope.cn", "https://www.modelscope.cn/x", True),
    ("https://modelscope.cn", CDN.replace("https", "http"), False),
    ("https://modelscope.cn", "http://modelscope.cn/x", False),
    ("https://modelscope.cn", CDN.replace(".cn/", ".cn:8443/"), False),
    ("https://modelscope.cn", CDN.replace(".cn/", ".cn.evil.org/"), False),
    ("https://modelscope.cn", "https://evilmodelscope.cn/x", False),
    ("http://hub:80", "http://hub/x", True),
    ("http://hub", "http://hub:8080/x", False),
]


@pytest.mark.parametrize("endpoint, target, allowed", REDIRECTS)
def test_where_a_redirect_may_lead(hub, endpoint, target, allowed, tmp_path):
    asked = Hub(endpoint, "hub", tmp_path, "me/model", 1.0, None)
    if allowed:
        return hub_client.check_redirect(asked, f"{endpoint}/y", target)
    with pytest.raises(tn.HubError):
        hub_client.check_redirect(asked, f"{endpoint}/y", target)


@pytest.mark.parametrize("end", ["\nX-Other: 1", " x", "é", "\x7f"])
def test_a_token_that_is_none_is_refused_without_being_shown(hub, monkeypatch, end):
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN + end)
    message = refused(tn.ConfigError, "me/model", words=("MODELSCOPE_API_TOKEN",))
    assert TOKEN not in message and not hub.seen


def test_settings_that_lead_to_no_hub(hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for error, name, value, word in (
        (tn.HubError, "ENDPOINT", NOWHERE, "can't be reached"),
        (tn.ConfigError, "ENDPOINT", "http://[::", "MODELSCOPE_ENDPOINT"),
        (tn.ConfigError, "ENDPOINT", "http://hub:port", "MODELSCOPE_ENDPOINT"),
        (tn.ConfigError, "ENDPOINT", "http://hub:99999", "MODELSCOPE_ENDPOINT"),
        (tn.ConfigError, "ENDPOINT", "ftp://x y", "MODELSCOPE_ENDPOINT"),
        (tn.OutputError, "CACHE", str(tmp_path / "file"), "file"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"MODELSCOPE_{name}", value)
            refused(error, "me/model", words=(word,))
    for limit in ("0", "soon", "nan", "inf"):
        refused(tn.ConfigError, "me/model", seconds=limit, words=("TFTNHITS_HUB_SECONDS", limit))


def test_downloads_at_once_are_all_whole(hub):
    folders, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: folders.append(fetch("me/model"))))
        threads[-1].start()
    for thread in threads:
        thread.join(30)
    assert len(folders) == 4 and len({*folders}) == 1 and content(folders[0]) == MODEL


def test_without_modelscope_it_names_the_extra(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    refused(tn.MissingDependency, "me/model", words=("tftnhits[modelscope]", "local folder"))
    assert not hub.seen
