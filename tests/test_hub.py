"""ModelScope: its pipeline finds and runs ours, and a folder that is published comes back the same."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, environment, made_bars, one_sentence, python, stocks
from hub_server import hub_server
from hypothesis import given, settings
from hypothesis import strategies as st

import tftnhits as tn
from tftnhits.apps.hub import CONFIGURATION, add_modelscope_files

SHIPPED = ROOT / "data" / "pretrained"
GOLDEN = ROOT / "tests" / "golden"
TASK = "time-series-forecasting"
KEYS = ["prediction", "model_used", "confidence", "interval", "quantiles", "warnings"]
TOKEN = "ms-5ecret-t0ken"
COLUMNS = ["open", "high", "low", "close", "volume"]
ROWS = made_bars(("A",), 300)[COLUMNS].to_numpy().tolist()


def needs_pipelines():
    for name in ("torch", "modelscope", "datasets", "addict", "simplejson", "sortedcontainers"):
        pytest.importorskip(
            name, reason="modelscope's pipelines need the extras 'modelscope' and 'torch'"
        )


@pytest.fixture(scope="module")
def pipe():
    """The shipped model by modelscope's own factory, in this process."""
    needs_pipelines()
    from modelscope import pipeline

    return pipeline(task=TASK, model=str(SHIPPED))


@pytest.fixture(scope="module")
def shipped():
    needs_pipelines()
    return tn.Predictor.load()


def same(result: dict, summary: dict) -> None:
    """The pipeline's answer has exactly its keys, plain values, and the predictor's numbers."""
    assert list(result) == KEYS and json.loads(json.dumps(result, allow_nan=False)) == result
    for key in ("model_used", "confidence"):
        assert result[key] == summary[key]
    assert np.allclose(result["prediction"], summary["prediction"], rtol=1e-6, atol=0)
    for key, value in summary["interval"].items():
        own = result["interval"][key]  # the coverage is None where none was measured
        assert own == value or np.allclose(own, value, rtol=1e-6, atol=0), key
    assert result["quantiles"]["0.5"] == result["prediction"]
    tail = f"{(1 - result['confidence']) / 2:.12g}"
    assert result["quantiles"][tail] == result["interval"]["lower"]
    table = np.array(list(result["quantiles"].values()))
    assert (
        list(result["quantiles"]) == sorted(result["quantiles"], key=float)
        and (np.diff(table, axis=0) >= 0).all()
    )


@pytest.mark.parametrize("bars", [2, 30, 59, 60, 300, 3000])
def test_rows_without_dates(pipe, shipped, bars):
    rows = made_bars(("A",), bars, freq=None)[COLUMNS].to_numpy().tolist()
    result = pipe(rows)
    same(result, shipped.predict(rows).summary())
    assert len(result["prediction"]) == shipped.horizon
    short = bars < shipped.context
    assert ("boosting" in result["model_used"]) == short and len(result["warnings"]) == 1 + short
    assert "no dates" in result["warnings"][-1]


def test_frames_and_dicts_with_dates(pipe, shipped):
    frame = stocks(("META",))
    expected = shipped.predict(frame).summary()
    columns = {
        name: frame[name].astype(str if name == "date" else float).tolist()
        for name in ["date", *COLUMNS]
    }
    for bars in (frame, frame.drop(columns="symbol"), frame.set_index("date"), columns):
        same(pipe(bars), expected)


def test_many_symbols(pipe, shipped):
    frame = stocks(("META", "GOOG", "AAPL"), "2017-01-01")
    parts = {str(symbol): part for symbol, part in frame.groupby("symbol")}
    rows = {symbol: part[COLUMNS].to_numpy().tolist() for symbol, part in parts.items()}
    for bars, given_ in ((frame, frame), (parts, frame), (rows, rows)):
        found = pipe(bars)
        assert list(found) == ["AAPL", "GOOG", "META"]
        for summary in shipped.predict(given_).summary():
            same(found[summary["symbol"]], summary)


def test_options_of_the_call(pipe, shipped):
    result = pipe(ROWS, horizon=2, level=0.5)
    same(result, shipped.predict(ROWS, horizon=2, level=0.5).summary())
    assert len(result["prediction"]) == 2 and result["confidence"] == 0.5
    assert min(pipe(ROWS, level=0.999999)["quantiles"], key=float) == "5e-07"
    for options in ({"horizon": 99}, {"horizon": 0}, {"level": 1}, {"level": "much"}):
        with pytest.raises(tn.ConfigError) as caught:
            pipe(ROWS, **options)
        assert one_sentence(str(caught.value))


def test_what_was_repaired_is_among_the_warnings(pipe):
    rows = [list(row) for row in ROWS]
    rows[5][1], rows[5][2] = rows[5][2], rows[5][1]
    undated, warning = pipe(rows)["warnings"]
    assert "no dates" in undated and "swapped" in warning and "row 6" in warning
    found = pipe({"A": rows, "B": ROWS})
    assert found["A"]["warnings"] == [undated, warning] and found["B"]["warnings"] == [undated]


def test_a_broken_folder_is_our_own_error(pipe, tmp_path):
    from modelscope import pipeline

    add_modelscope_files(tmp_path)
    (tmp_path / "predictor.json").write_text("{")
    with pytest.raises(tn.CheckpointError, match="JSON") as caught:
        pipeline(task=TASK, model=str(tmp_path))
    assert one_sentence(str(caught.value))


def test_a_file_is_not_read(pipe, tmp_path):
    stocks(("META",)).to_csv(tmp_path / "bars.csv")
    for bars in (
        "stocks",
        str(tmp_path / "bars.csv"),
        tmp_path / "bars.csv",
        b"stocks",
        open(tmp_path / "bars.csv"),
    ):
        with pytest.raises(tn.DataError, match="no file"):
            pipe(bars)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=30,
)
NUMBERS = st.lists(
    st.lists(st.floats() | st.sampled_from([0, -1, 1e308, 5, "x", None]), min_size=3, max_size=6)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(JUNK | NUMBERS | st.fixed_dictionaries({name: JUNK for name in COLUMNS}))
def test_junk_ends_in_a_result_or_a_sentence(pipe, bars):
    try:
        found = pipe(bars)
    except tn.TftnhitsError as error:
        assert one_sentence(str(error)), error
    else:
        assert found and json.dumps(found)


def test_importing_the_kit_imports_nothing_large():
    done = python("import sys, tftnhits; print(*sys.modules)")
    assert not {"modelscope", "modelscope_hub", "torch", "numpy", "requests"} & set(
        done.stdout.split()
    )


def test_no_key_of_the_configuration_makes_modelscope_look_for_its_own_model(tmp_path):
    add_modelscope_files(tmp_path)
    assert json.loads((tmp_path / "configuration.json").read_text()) == CONFIGURATION
    assert "model" not in CONFIGURATION and CONFIGURATION["task"] == TASK
    assert (tmp_path / "ms_wrapper.py").read_bytes() == (
        ROOT / "tftnhits" / "apps" / "ms_wrapper.py"
    ).read_bytes()


def fresh(code: str, *args: object, **variables: str) -> dict:
    """What `code` prints last, as JSON, from an interpreter with only these settings of modelscope."""
    needs_pipelines()
    clean = {k: v for k, v in environment().items() if not k.startswith("MODELSCOPE")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**clean, "MODELSCOPE_LOG_LEVEL": "40", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# modelscope first; the hostile folder's own code would write a file, the shipped one's wrapper imports tftnhits
MODELSCOPE_FIRST = """
import json, pathlib, sys
from modelscope import pipeline
shipped, hostile, mark, rows = *sys.argv[1:3], pathlib.Path(sys.argv[3]), json.loads(sys.argv[4])
task = "time-series-forecasting"
found = {}
for folder in (shipped, hostile):
    try:
        pipeline(task=task, model=folder)
    except RuntimeError as error:
        found[folder] = str(error)
assert "tftnhits" not in sys.modules and not mark.exists()
found["wrapped"] = pipeline(task=task, model=shipped, trust_remote_code=True)(rows)
assert "tftnhits" in sys.modules
found["hostile"] = [pipeline(task=task, model=hostile, trust_remote_code=trust)(rows) for trust in (False, True)]
found["ran"] = mark.exists()
print(json.dumps(found))
"""


def test_no_code_of_a_folder_runs_unless_trusted_and_then_the_wrapper_is_enough(shipped, tmp_path):
    hostile, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(SHIPPED, hostile)
    for name in ("ms_wrapper.py", "evil.py", "__init__.py"):
        (hostile / name).write_text(f"open({str(mark)!r}, 'w').write('ran')")
    (hostile / "requirements.txt").write_text("tftnhits-has-no-such-package\n")
    (hostile / "configuration.json").write_text(json.dumps(CONFIGURATION | {"plugins": ["evil"]}))
    found = fresh(
        MODELSCOPE_FIRST,
        SHIPPED,
        hostile,
        mark,
        json.dumps(ROWS),
        MODELSCOPE_CACHE=str(tmp_path / "cache"),
    )
    assert all("trust_remote_code" in found[str(folder)] for folder in (SHIPPED, hostile))
    for result in (found["wrapped"], *found["hostile"]):
        same(result, shipped.predict(ROWS).summary())
    assert not found["ran"]


def test_the_wrapper_says_what_is_missing():
    code = """
import sys
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tftnhits":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent)
exec(open("tftnhits/apps/ms_wrapper.py").read())
"""
    done = python(code)
    assert done.returncode and "install it" in done.stderr.splitlines()[-1]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty hub that asks for TOKEN, which the environment has."""
    pytest.importorskip("modelscope_hub", reason="needs the extra 'modelscope'")
    with hub_server() as served:
        served.token = TOKEN
        monkeypatch.setenv("HOME", str(tmp_path / "user"))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", served.address)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("MODELSCOPE_HOME", raising=False)
        monkeypatch.delenv("TFTNHITS_HUB_SECONDS", raising=False)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
        yield served


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model's folder in which other things lie."""
    pytest.importorskip("torch")
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN, folder)  # with expected.json, which is no part of the model
    (folder / "README.md").write_text("# A model\n")
    for name in ("notes.txt", ".env", "tft.state", "requirements.txt", "evil.pkl", "ms_wrapper.py"):
        (folder / name).write_text(f"SECRET={name}")
    (folder / "configuration.json").write_text('{"model": "theirs", "plugins": ["evil"]}')
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "tft.json").write_text("{}")
    (tmp_path / "outside").write_text("SECRET=link")
    (folder / "nhits-9.json").symlink_to(tmp_path / "outside")
    return folder


def parts(folder: Path) -> dict[str, bytes]:
    """What of the folder is the model."""
    return {
        name: (folder / name).read_bytes() for name in os.listdir(GOLDEN) if name != "expected.json"
    }


STAYS = (
    *("expected.json", "notes.txt", ".env", "tft.state"),
    *("requirements.txt", "evil.pkl", "__pycache__"),
)


def test_only_the_model_is_published_and_the_token_is_seen_by_the_hub_alone(
    hub, folder, tmp_path, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    before = parts(folder)
    names = tn.publish(folder, "me/model", private=True)
    there = hub.models["me/model"]
    assert (
        names
        == sorted(there)
        == sorted([*before, "README.md", "configuration.json", "ms_wrapper.py"])
    )
    assert before.items() <= there.items() and not any(b"SECRET" in data for data in there.values())
    assert json.loads(there["configuration.json"]) == CONFIGURATION and hub.private == {"me/model"}
    assert there["ms_wrapper.py"] == (ROOT / "tftnhits" / "apps" / "ms_wrapper.py").read_bytes()
    assert all(name in caplog.text for name in (*STAYS, "nhits-9.json")) and parts(folder) == before
    assert all(
        TOKEN in headers.get("Authorization", "") and TOKEN not in path
        for _, path, headers in hub.seen
    )
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    printed = "".join(capfd.readouterr())
    assert TOKEN not in caplog.text + printed and TOKEN.encode() not in written
    assert not (tmp_path / "user").exists()  # modelscope keeps nothing at home


# tftnhits first
ROUND_TRIP = """
import json, sys
import tftnhits as tn
from modelscope import HubApi, pipeline, snapshot_download
rows = json.loads(sys.argv[1])
listed = [file["Path"] for file in HubApi().get_model_files("me/model")]
local = tn.Predictor.load("me/model").predict(rows).summary()
by_id = pipeline(task="time-series-forecasting", model="me/model")(rows)
print(json.dumps({"listed": listed, "snapshot": snapshot_download("me/model"), "predictor": local, "pipeline": by_id}))
"""


def test_published_listed_downloaded_and_the_same_again(hub, folder, tmp_path):
    names = tn.publish(folder, "me/model")
    cache = {"MODELSCOPE_CACHE": str(tmp_path / "fresh"), "MODELSCOPE_HOME": str(tmp_path / "home")}
    variables = {"MODELSCOPE_ENDPOINT": hub.address, "MODELSCOPE_API_TOKEN": TOKEN, **cache}
    found = fresh(ROUND_TRIP, json.dumps(ROWS), **variables)
    assert sorted(found["listed"]) == names and not hub.private
    snapshot = Path(found["snapshot"])
    assert {name: (snapshot / name).read_bytes() for name in names} == hub.models["me/model"]
    expected = tn.Predictor.load(folder).predict(ROWS).summary()
    same(found["pipeline"], expected)
    assert np.allclose(found["predictor"]["prediction"], expected["prediction"], rtol=1e-6, atol=0)
    assert found["predictor"]["model_used"] == expected["model_used"]


def test_publishing_again_removes_what_an_older_version_left(hub, folder):
    hub.models["me/model"] = {
        "tft-7.json": b"{}",
        "boosting-01234567.skops": b"old",
        "picture.png": b"theirs",
    }
    names = tn.publish(folder, "me/model")
    assert sorted(hub.models["me/model"]) == sorted([*names, "picture.png"])


def test_the_login_of_modelscope_will_do(hub, folder, tmp_path, monkeypatch):
    from modelscope_hub import HubConfig

    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    with pytest.raises(tn.HubError, match="MODELSCOPE_API_TOKEN"):
        tn.publish(folder, "me/model")
    assert not hub.seen
    HubConfig(endpoint=hub.address, config_dir=tmp_path / "login").save_token(TOKEN)
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "login"))
    assert tn.publish(folder, "me/model") == sorted(hub.models["me/model"])


def no_publishing(error: type[Exception], *args, words=(), **options) -> None:
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        tn.publish(*args, **options)
    assert time.monotonic() - begin < 12
    message = str(caught.value)
    assert (
        one_sentence(message) and all(word in message for word in words) and TOKEN not in message
    ), message


@pytest.mark.parametrize(
    ("fault", "where", "words"),
    [
        (401, "", ("HTTP 401", "may not publish", "check MODELSCOPE_API_TOKEN")),
        (404, "/models", ("HTTP 404", "check its name")),
        (429, "", ("HTTP 429", "wait a minute")),
        (500, "", ("HTTP 500", "try again later")),
        (403, "/commit/", ("HTTP 403", "may not publish")),
        ("hang", "/blobs/", ("more than 2 s",)),
    ],
)
def test_each_fault_in_publishing_is_one_sentence_in_time(hub, folder, fault, where, words):
    hub.fail(fault, where)
    limit = 2.0 if fault == "hang" else 30.0
    no_publishing(
        tn.HubError, folder, "me/model", words=("127.0.0.1", "me/model", *words), seconds=limit
    )
    assert "predictor.json" not in hub.models.get("me/model", {})


def test_publishing_where_no_hub_is(hub, folder, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    no_publishing(
        tn.HubError, folder, "me/model", words=("127.0.0.1:9", "me/model", "can't be reached")
    )


def test_a_folder_that_is_not_whole_is_not_published(hub, folder, tmp_path):
    weights = next(folder.glob("tft-*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "tft"))
    weights.unlink()
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "tft"))
    weights.write_bytes(whole)
    (folder / "predictor.json").write_text("{")
    no_publishing(tn.CheckpointError, folder, "me/model", words=(str(folder), "JSON"))
    no_publishing(tn.CheckpointError, tmp_path / "none", "me/model", words=("none",))
    for text in ("../x", "me", "me/model/x", "", "me/mödel"):
        no_publishing(tn.ConfigError, folder, text, words=("owner/name",))
    assert not hub.seen


def test_frames_of_one_symbol_answer_flat(pipe):
    one = pd.DataFrame(ROWS, columns=COLUMNS).assign(symbol="X")
    assert list(pipe(one)) == KEYS and list(pipe({"X": ROWS})) == KEYS
