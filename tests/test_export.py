"""Programs for a server: what they compute without this package is what the networks compute."""

import json
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    NHITS_TINY,
    ROOT,
    TFT_TINY,
    environment,
    made_panel,
    one_sentence,
    python,
    stir,
)

import tftnhits as tn  # noqa: E402
from tftnhits.apps.cli import main  # noqa: E402
from tftnhits.data.grid import ORIGINS  # noqa: E402
from tftnhits.data.windows import Batch, blocks, gather  # noqa: E402
from tftnhits.errors import CheckpointError, ConfigError, MissingDependency, OutputError  # noqa: E402
from tftnhits.forecast.ensemble import combine  # noqa: E402
from tftnhits.forecast.export import Program  # noqa: E402
from tftnhits.models.boosting import Boosting  # noqa: E402
from tftnhits.models.store import build  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
SIZES = [(1, 1), (3, 1), (1, 50), (3, 50)]  # chunks, origins
WEIGHTS = {"tft": 0.5, "nhits": 0.3, "walk": 0.2}
SEEN = """
import importlib.abc, json, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tftnhits", "helpers"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
import numpy as np, torch
folder, asked, found = sys.argv[1:]
given, out = np.load(asked), {}
record = json.load(open(f"{folder}/export.json"))
names = [i["name"] for i in record["inputs"]]
for member in record["programs"]:
    program = torch.export.load(f"{folder}/{member}.pt2").module()
    for case in sorted({key.split("/")[0] for key in given}):
        inputs = [torch.from_numpy(given[f"{case}/{name}"]) for name in names]
        out[f"{member}/{case}"] = program(*inputs).numpy()
np.savez(found, **out)
"""


def random_network(config, inputs, seed):
    torch.manual_seed(seed)
    network = build(config, inputs).eval()
    stir(network, seed)
    torch.nn.init.normal_(network.base)
    return network


@pytest.fixture(scope="module")
def model():
    """Untrained networks whose every weight counts, of two contexts, N-HITS of two seeds; HAR."""
    panel = made_panel(bars=120, horizon=3)
    tft = random_network(replace(TFT_TINY, horizon=3), panel.inputs, 1)
    short = replace(NHITS_TINY, horizon=3, context=12)
    nhits = [random_network(short, panel.inputs, seed) for seed in (2, 3)]
    members = {"tft": tft, "nhits": nhits}
    return tn.Predictor.from_members(members, panel, WEIGHTS)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return tn.export_model(model, tmp_path_factory.mktemp("exported"))


def given(record, chunks, origins):
    """Random inputs of the shapes that export.json says."""
    generator = np.random.default_rng([chunks, origins])
    sizes = {"batch": chunks, "origins": origins}
    arrays = {}
    for one in record["inputs"]:
        shape = [eval(size, {}, sizes) if isinstance(size, str) else size for size in one["shape"]]
        arrays[one["name"]] = generator.normal(size=shape).astype(np.float32)
    return arrays | {"scale": np.abs(arrays["scale"]) + 0.5}


def expected(model, arrays):
    """Each member's quantiles of the log return by the networks themselves."""
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    unit = (tensors["scale"] * torch.arange(1, model.horizon + 1).sqrt())[..., None].numpy()
    found = {"walk": unit * model.walk.shape}
    origins = arrays["scale"].shape[1]
    for name, member in model.members.items():
        bars = origins + member.context - 1
        seen = {
            "observed": tensors["observed"][:, -bars:],
            "known": tensors["known"][:, -bars - model.horizon :],
        }
        batch = Batch(**(tensors | seen), target=None)
        with torch.inference_mode():
            scaled = [network(batch).quantiles.numpy() for network in member.models]
        found[name] = unit * np.mean(scaled, axis=0)
    return found


def record_of(folder):
    return json.loads((folder / "export.json").read_text())


def test_programs_give_the_networks_quantiles_where_the_package_is_not(model, exported, tmp_path):
    record = record_of(exported)
    cases = {f"{b}-{n}": given(record, b, n) for b, n in SIZES}
    flat = {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
    np.savez(tmp_path / "asked.npz", **flat)
    done = python(SEEN, exported, tmp_path / "asked.npz", tmp_path / "found.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    for case, arrays in cases.items():
        for name, wanted in expected(model, arrays).items():
            assert np.ptp(wanted) > 1
            np.testing.assert_allclose(found[f"{name}/{case}"], wanted, rtol=1e-5, atol=1e-5)
    assert len(found) == len(cases) * len(WEIGHTS)


def test_chunks_of_a_panel_give_the_members_quantiles(model, exported):
    panel = made_panel(bars=150, horizon=3)
    rows = np.r_[panel.start + 70, panel.last_origins(model.context)]
    starts, place = blocks(panel, rows, model.context, ORIGINS)
    batch = gather(panel, starts, model.context, ORIGINS)
    record = record_of(exported)
    inputs = [torch.as_tensor(getattr(batch, one["name"])) for one in record["inputs"]]
    parts = {}
    for name in record["programs"]:
        quantiles = torch.export.load(exported / f"{name}.pt2").module()(*inputs)
        parts[name] = quantiles.flatten(0, 1).numpy()[place]
    weights = {name: program["weight"] for name, program in record["programs"].items()}
    assert weights == pytest.approx(WEIGHTS)
    wanted = model.quantiles(panel, rows)
    np.testing.assert_allclose(combine(parts, weights), wanted, rtol=1e-4, atol=1e-6)


def test_the_record_names_columns_levels_and_hashes(model, exported):
    from tftnhits.files import file_digest

    record = record_of(exported)
    for one in record["inputs"]:
        assert len(one["columns"]) in (0, one["shape"][-1])
    assert record["inputs"][0]["columns"] == list(model.members["tft"].model.inputs["observed"])
    assert record["inputs"][0]["shape"][1] == f"origins + {model.context - 1}"
    assert record["levels"] == list(model.levels) and record["context"] == 20
    assert record["output"]["shape"] == ["batch", "origins", 3, len(model.levels)]
    named = {k: v for program in record["programs"].values() for k, v in program["files"].items()}
    assert {path.name for path in exported.glob("*.pt2")} == set(named)
    assert all(file_digest(exported / name) == digest for name, digest in named.items())


@pytest.mark.slow
def test_onnx_gives_the_networks_quantiles(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    tn.export_model(model, tmp_path, onnx=True)
    record = record_of(tmp_path)
    for name, program in record["programs"].items():
        assert set(program["files"]) == {f"{name}.pt2", f"{name}.onnx"}
        session = runtime.InferenceSession(tmp_path / f"{name}.onnx")
        for chunks, origins in SIZES:
            arrays = given(record, chunks, origins)
            (found,) = session.run(None, arrays)
            wanted = expected(model, arrays)[name]
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# --- docs/serving.md


def block(number):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[number]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder in which `tftnhits export` was typed."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["export", str(GOLDEN)]) == 0
    return folder


@pytest.fixture
def server(served):
    """The page's server of the golden model's programs; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = SEEN.split("import numpy")[0] + block(0).replace("8000", str(port))
    (served / "server.py").write_text(code)
    process = subprocess.Popen([sys.executable, "server.py"], cwd=served, env=environment())
    try:
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def test_the_pages_server_answers_the_pages_client(server, monkeypatch):
    from urllib.error import HTTPError
    from urllib.request import urlopen

    assert len(block(0).splitlines()) <= 30 and "tftnhits" not in block(0)
    golden = tn.Predictor.load(GOLDEN)
    monkeypatch.setattr(tn.Predictor, "load", lambda: golden)
    names = {}
    exec(block(1).replace("8000", str(server)), names)
    panel, rows = names["panel"], names["rows"]
    parts = {}
    tensors = Batch(*map(torch.as_tensor, names["batch"]))
    for name in golden.weights:
        program = Program(golden.able[name], golden.context)
        with torch.inference_mode():
            parts[name] = program(tensors.observed, tensors.known, tensors.static, tensors.scale)
    wanted = combine(parts, golden.weights)[:, 0]
    np.testing.assert_allclose(names["quantiles"], wanted, atol=1e-5)
    close = panel.close[rows]
    middle = golden.levels.index(0.5)
    assert (np.abs(names["prices"][..., middle] / close[:, None] - 1) < 0.2).all()
    with pytest.raises(HTTPError, match="400"):
        urlopen(f"http://127.0.0.1:{server}", b'{"observed": []}')


# --- errors


def test_what_cannot_be_exported_says_so(model, tmp_path, monkeypatch):
    panel = made_panel(bars=120, horizon=3)
    trees = Boosting(tn.BoostingConfig(horizon=3, trees=2)).fit(panel)
    boosted = tn.Predictor.from_members({"boosting": trees}, panel)
    cases = [
        (CheckpointError, "lacks networks", (boosted, "a")),
        (OutputError, "file", (model, tmp_path / "file" / "below")),
        (CheckpointError, "lacks TFT", (replace_missing(model), "b")),
    ]
    (tmp_path / "file").write_text("")
    for error, words, (what, folder) in cases:
        with pytest.raises(error, match=words) as raised:
            tn.export_model(what, tmp_path / folder)
        assert one_sentence(str(raised.value))
    monkeypatch.setattr("tftnhits.forecast.export.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="export") as raised:
        tn.export_model(model, tmp_path / "c", onnx=True)
    assert one_sentence(str(raised.value)) and not (tmp_path / "c").exists()


def replace_missing(model):
    able = {name: m for name, m in {**model.members, "walk": model.walk}.items() if name != "tft"}
    return SimpleNamespace(weights=model.weights, able=able)


def test_a_pytorch_that_cannot_export_is_named(model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("Constraints violated (origins)!\nmore")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(ConfigError, match=r"can't export TFT: Constraints violated") as raised:
        tn.export_model(model, tmp_path)
    assert one_sentence(str(raised.value))
    assert not list(tmp_path.glob("*.pt2")) and not (tmp_path / "export.json").exists()


def test_the_command_writes_the_programs(served, tmp_path, capsys):
    assert {path.suffix for path in (served / "exported").iterdir()} == {".json", ".lock", ".pt2"}
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "a")]) == 2
    assert "holds no model" in capsys.readouterr().err and not (tmp_path / "a").exists()
    assert main(["export", str(GOLDEN), "--out", str(GOLDEN / "predictor.json")]) == 2
    assert "can't be made" in capsys.readouterr().err


def test_without_torch_the_command_says_what_is_missing():
    done = python(
        "import sys; sys.modules['torch'] = None\n"
        "from tftnhits.apps.cli import main; sys.exit(main(['export', 'shipped']))"
    )
    assert done.returncode == 2 and "tftnhits[torch]" in done.stderr
    assert one_sentence(done.stderr.strip())
