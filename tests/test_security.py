"""A model folder is data: nothing in it is unpickled, imported or run, and no name leads out of its folder."""

from __future__ import annotations

import ast
import io
import itertools
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, TFT_TINY, TRAIN_TINY, made_bars, made_panel, one_sentence, python

import tftnhits as tn
from tftnhits.files import data_file, read_json, sha256, write_json

SHIPPED, GOLDEN = ROOT / "data" / "pretrained", ROOT / "tests" / "golden" / "format-1"
ENSEMBLE = "ensemble (0.65 TFT + 0.35 N-HITS)"
ANSWERS = {  # by the members whose weights are none
    ("tft",): "N-HITS",
    ("nhits",): "TFT",
    ("tft", "nhits"): "gradient boosting",
    ("boosting",): ENSEMBLE,
    ("tft", "nhits", "boosting"): "volatility-scaled random walk",
}
ROWS = made_bars(("series",), 80)
NAMES = (  # that would leave their folder, or are no names of files
    *(
        "../x",
        "../../x.safetensors",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\0b",
        "x" * 300,
        "\u2025/x",
        "..\u2215x",
    ),
    *(
        "..\uff0fx",
        "\u2024\u2024",
        "..\\x",
        "C:\\x",
        "C:x",
        "x:y",
        "CON",
        "nul.safetensors",
        "COM1",
        "-rf",
        ".hidden",
    ),
    *("x\n", "a b", "~", "$HOME", "\udc80", "é", None, 3, ["x"], {"x": 1}, True),
)

# -- nothing that could run what it reads is called

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "jsonpickle",
    "runpy",
    "code",
}
CALLS = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "execfile",
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
    ),
    *(
        "joblib.load",
        "joblib.dump",
        "pandas.read_pickle",
        "pandas.eval",
        "yaml.load",
        "yaml.unsafe_load",
        "os.system",
    ),
    *(
        "yaml.full_load",
        "os.popen",
        "os.execv",
        "os.execvp",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    ),
    *("numpy.core.records.load", "skops.io.load", "importlib.util.spec_from_file_location"),
}
METHODS = {"read_pickle", "to_pickle", "eval"}  # of frames; a network's eval() takes nothing


def dangers(code: str) -> Iterator[str]:
    """What in the code could run data, by its full name."""
    tree, known = ast.parse(code), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                full = f"{module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                known[alias.asname or alias.name.split(".")[0]] = (
                    full if alias.asname or module else full.split(".")[0]
                )
                if full.split(".")[0] in MODULES:
                    yield f"import {full}"
                if full in CALLS:
                    yield full
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, options = full_name(node.func, known), {k.arg: k.value for k in node.keywords}
        method = name.rpartition(".")[2]
        if name in CALLS or (method in METHODS and "." in name and (node.args or node.keywords)):
            yield name
        if name == "numpy.load" and not is_false(options.get("allow_pickle"), default=True):
            yield "numpy.load(allow_pickle)"
        if not is_false(options.get("shell"), default=True):
            yield f"{name}(shell)"


def full_name(node: ast.AST, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "(expression)"


def is_false(node: ast.AST | None, default: bool) -> bool:
    return default if node is None else isinstance(node, ast.Constant) and node.value is False


HARMFUL = """\
import pickle
from pickle import loads
import dill as d
import json, shelve
def f(): import marshal
eval(x)
exec("x")
import torch; torch.load(f)
from torch import load
import torch as t; t.load(f, weights_only=True)
import joblib; joblib.load(f)
import numpy as np; np.load(f, allow_pickle=True)
from numpy import load; load(f, allow_pickle=x)
import pandas as pd; pd.read_pickle(f)
frame.eval("a")
frame.to_pickle(f)
import subprocess as s; s.run(x, shell=True)
from subprocess import run; run(x, shell=y)
import os; os.system(x)
from os import system
import yaml; yaml.load(f)"""


HARMLESS = """\
import re; re.compile(x)
model.eval()
import numpy as np; np.load(f); np.load(f, allow_pickle=False)
import safetensors.torch; safetensors.torch.load(f)
import joblib; joblib.Parallel(2)
import subprocess; subprocess.run([x]); subprocess.run([x], shell=False)
import yaml; yaml.safe_load(f)"""


@pytest.mark.parametrize("code", HARMFUL.splitlines())
def test_the_search_finds_what_it_looks_for(code):
    assert list(dangers(code))


@pytest.mark.parametrize("code", HARMLESS.splitlines())
def test_the_search_leaves_what_is_harmless(code):
    assert not list(dangers(code))


def test_nothing_in_the_package_can_run_what_it_reads():
    files = sorted(
        path for folder in ("tftnhits", "bench", "data") for path in (ROOT / folder).rglob("*.py")
    )
    assert len(files) > 60
    found = {str(path): list(dangers(path.read_text(encoding="utf-8"))) for path in files}
    assert not {path: names for path, names in found.items() if names}


# -- pickles and foreign types, under every name that is read


class Bomb:
    """What a hostile pickle does when it is read."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def mark(tmp_path) -> Iterator[Path]:
    """A file that there is once something was executed."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def bomb(mark) -> bytes:
    data = pickle.dumps(Bomb(mark))
    pickle.loads(data)
    assert mark.exists()  # it works
    mark.unlink()
    return data


@pytest.fixture
def folder(tmp_path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "model")


def plant(folder: Path, name: str, data: bytes) -> None:
    """`data` as the weights of a member, with the hash that fits."""
    path = folder / f"{name}.json"
    record = read_json(path)
    key = "models" if name == "boosting" else "weights"
    (folder / record[key]).write_bytes(data)
    write_json(path, record | {"sha256": sha256(data)})


def answer(folder: Path) -> tuple[str, list[str]]:
    """Who answers, and what is said."""
    found = tn.Predictor.load(folder).predict(ROWS)
    return found.reports["series"].model_used, found.reports["series"].warnings


@pytest.mark.parametrize("names", ANSWERS, ids="+".join)
def test_pickles_named_as_weights_are_not_read(folder, bomb, names):
    pytest.importorskip("torch")
    for name in names:
        plant(folder, name, bomb)
    used, said = answer(folder)
    assert used == ANSWERS[names]
    assert bool(said) != (used == ENSEMBLE)
    assert all("can't be used" in text and one_sentence(text) for text in said)


@pytest.mark.parametrize("name", ["predictor", "tft", "nhits", "boosting"])
def test_pickles_named_as_json_are_not_read(folder, bomb, name):
    pytest.importorskip("torch")
    (folder / f"{name}.json").write_bytes(bomb)
    if name == "predictor":
        with pytest.raises(tn.CheckpointError, match="not JSON"):
            tn.Predictor.load(folder)
    else:
        assert answer(folder)[0] == ANSWERS[(name,)]


IDS = itertools.count(1)  # nodes of one would be taken for the same object


def node(loader: str, module: str, name: str, **rest: Any) -> dict[str, Any]:
    return {
        "__class__": name,
        "__module__": module,
        "__loader__": loader,
        "__id__": next(IDS),
        **rest,
    }


def archives(mark: Path) -> dict[str, dict[str, Any]]:
    """Skops archives that would run something, if what they name were called."""
    text = node("JsonNode", "builtins", "str", content=json.dumps(f"touch {mark}"), is_json=True)
    arguments = node("TupleNode", "builtins", "tuple", content=[text])
    nothing = node(
        "DictNode",
        "builtins",
        "dict",
        content={},
        key_types=node("ListNode", "builtins", "list", content=[]),
    )
    system, kind = (
        node("FunctionNode", "os", "system", content="os.system"),
        node("TypeNode", "os", "system"),
    )
    partial = {"func": system, "args": arguments, "kwds": nothing, "namespace": nothing}
    return {
        "type": kind,
        "function": system,
        "builtin": node("FunctionNode", "builtins", "eval", content="builtins.eval"),
        "object": node("ObjectNode", "subprocess", "Popen", content=arguments),
        "operator": node("OperatorFuncNode", "operator", "call", attrs=arguments),
        "foreign operator": node("OperatorFuncNode", "os", "system", attrs=arguments),
        "method": node("MethodNode", "os", "system", content={"func": "__call__", "obj": kind}),
        "partial": node("PartialNode", "functools", "partial", content=partial),
        "no such loader": node("ReduceNode", "os", "system", content=arguments),
    }


@pytest.mark.parametrize("kind", [*archives(Path("x")), "pickle", "zip of a pickle"])
def test_foreign_types_in_a_skops_archive_are_refused(tmp_path, mark, bomb, kind):
    pytest.importorskip("skops")
    folder, data = shutil.copytree(GOLDEN, tmp_path / "old"), io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        if kind in archives(mark):
            content = node("ListNode", "builtins", "list", content=[archives(mark)[kind]])
            archive.writestr(
                "schema.json", json.dumps(content | {"protocol": 2, "_skops_version": "0.16.0"})
            )
        else:
            archive.writestr("schema.json", bomb)
            archive.writestr("data.pkl", bomb)
    assert tn.Boosting.load(folder / "boosting.json")  # before
    plant(folder, "boosting", bomb if kind == "pickle" else data.getvalue())
    with pytest.raises(tn.CheckpointError) as caught:
        tn.Boosting.load(folder / "boosting.json")
    assert "foreign type" in str(caught.value) or "can't be read" in str(caught.value)


def test_a_pickle_named_as_a_training_state_is_not_read(tmp_path, bomb):
    pytest.importorskip("torch")
    (tmp_path / "tft.state").write_bytes(bomb)
    with pytest.raises(tn.CheckpointError, match=r"tft\.state") as caught:
        tn.fit(
            TFT_TINY, made_panel(100), TRAIN_TINY, checkpoint=tmp_path / "tft.state", progress=False
        )
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["bars.pkl", "bars.csv", "bars.parquet", "bars.npy", "bars"])
def test_pickles_named_as_bars_are_not_read(tmp_path, bomb, name):
    array = io.BytesIO()
    np.save(array, np.array([Bomb(tmp_path / "executed")], object), allow_pickle=True)
    for data in (bomb, array.getvalue(), b"PAR1" + bomb):
        (tmp_path / name).write_bytes(data)
        for source in (tmp_path / name, io.BytesIO(data)):
            with pytest.raises(tn.DataError) as caught:
                tn.load_bars(source)
            assert one_sentence(str(caught.value))


def test_a_pickle_in_the_types_of_a_parquet_file_is_not_read(tmp_path, bomb):
    """Where pyarrow once unpickled types of its own (CVE-2023-47248)."""
    import pyarrow as pa
    from pyarrow import parquet

    hidden = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": bomb,
    }
    names = ("open", "high", "low", "close")
    schema = pa.schema([pa.field(name, pa.float64(), metadata=hidden) for name in names])
    parquet.write_table(
        pa.table({name: [1.0, 2.0] for name in names}, schema=schema), tmp_path / "bars.parquet"
    )
    assert len(tn.load_bars(tmp_path / "bars.parquet")) == 2


def test_a_pickle_in_a_backtest_is_not_read(tmp_path, bomb):
    (tmp_path / "parts").mkdir()
    write_json(tmp_path / "manifest.json", {"parts": ["fold-01-seed-0"]})
    write_json(tmp_path / "parts" / "fold-01-seed-0.json", {"part": "../../elsewhere"})
    (tmp_path / "parts" / "fold-01-seed-0.parquet").write_bytes(bomb)
    found = tn.Backtest.load(tmp_path)
    with pytest.raises(tn.CheckpointError, match="fold-01-seed-0"):
        _ = found.frame


# -- no code from a model folder


STRAY = (
    "__init__.py",
    "conftest.py",
    "sitecustomize.py",
    "usercustomize.py",
    "torch.py",
    "numpy.py",
    "tft.py",
)
STRAY += ("boosting.so", "predictor.so", "tft.pyc", "ms_wrapper.py", "setup.py")
USE = """
import sys
from pathlib import Path
import tftnhits as tn
folder, rows = Path(sys.argv[1]), [[50.0 + i % 7, 60, 40, 50.0 + i % 5, 1000] for i in range(80)]
print(tn.Predictor.load(folder).predict(rows).reports["series"].model_used)
if sys.argv[2] == "pipeline":
    from modelscope import pipeline
    print(pipeline(task="time-series-forecasting", model=str(folder))(rows)["model_used"])
inside = [m.__name__ for m in [*sys.modules.values()] if str(folder) in str(getattr(m, "__file__", "") or "")]
assert not inside, inside
assert not any(str(folder) in place for place in sys.path), sys.path
"""


def test_the_shipped_folder_holds_data_alone():
    files = {
        path.name
        for path in SHIPPED.rglob("*")
        if path.suffix not in (".json", ".safetensors", ".md")
    }
    assert files == {"ms_wrapper.py"}  # for trust_remote_code; test_pretrained says what is in it
    assert not any(os.access(path, os.X_OK) for path in SHIPPED.iterdir())


@pytest.mark.parametrize("how", ["folder", "pipeline"])
def test_stray_code_in_a_model_folder_is_not_run(folder, mark, how):
    if how == "pipeline":
        pytest.importorskip("modelscope"), pytest.importorskip("torch")
    for name in STRAY:
        (folder / name).write_text(f"open({str(mark)!r}, 'w')\n")
    (folder / "requirements.txt").write_text("no-such-package-of-ours\n")
    done = python(USE, folder, how)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ensemble" in done.stdout or "boosting" in done.stdout


# -- names


@pytest.mark.parametrize("name", NAMES)
def test_names_of_weights_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(tn.CheckpointError, match="plain file name") as caught:
        data_file(tmp_path, name)
    assert one_sentence(str(caught.value)) and "\0" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/hostname", "x" * 300, "..\u2215secret.safetensors"]
)
def test_a_model_that_names_such_weights_answers_by_the_next_link(folder, name):
    pytest.importorskip("torch")
    shutil.copyfile(
        folder / read_json(folder / "tft.json")["weights"], folder.parent / "secret.safetensors"
    )
    write_json(folder / "tft.json", read_json(folder / "tft.json") | {"weights": name})
    used, said = answer(folder)
    assert used == "N-HITS" and "plain file name" in said[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_out_of_a_model_folder_and_pipes_in_it_are_refused(folder, tmp_path):
    weights = folder / read_json(folder / "boosting.json")["models"]
    outside = shutil.move(weights, tmp_path / "elsewhere")
    weights.symlink_to(outside)
    with pytest.raises(tn.CheckpointError, match="link out of its folder"):
        tn.Boosting.load(folder / "boosting.json")
    weights.unlink()
    os.mkfifo(weights)  # reading it would wait for ever
    with pytest.raises(tn.CheckpointError, match="no regular file"):
        tn.Boosting.load(folder / "boosting.json")
    weights.unlink()
    shutil.copyfile(outside, folder / "kept")
    weights.symlink_to("kept")  # a link inside is as good as the file
    assert tn.Boosting.load(folder / "boosting.json")
    (folder / "predictor.json").unlink()
    (folder / "predictor.json").symlink_to("/dev/zero")
    with pytest.raises(tn.CheckpointError, match="no regular file"):
        tn.Predictor.load(folder)
    (tmp_path / "link").symlink_to(SHIPPED)  # the folder itself may be a link
    assert tn.Boosting.load(tmp_path / "link" / "boosting.json")


@pytest.mark.parametrize("part", ["../../x", "/etc/passwd", "a\0b", "x" * 300, None, 5])
def test_a_backtest_reads_only_its_own_parts(tmp_path, part):
    write_json(tmp_path / "manifest.json", {"parts": [part]})
    if isinstance(part, str):
        with pytest.raises(tn.CheckpointError, match="plain file name"):
            tn.Backtest.load(tmp_path)
    else:
        assert not tn.Backtest.load(tmp_path).records


# -- symbols and parameters


SYMBOLS = ("../../x", "/etc/passwd", "a/b", "..", "~", "CON", "$(touch x)", "..\u2215x", "x" * 100)


def test_symbols_are_no_part_of_a_backtests_files(tmp_path):
    config = tn.BacktestConfig(
        preset="tiny", members=("random walk",), start="2016-03-01", valid_months=3
    )
    folder = tmp_path / "in" / "here"
    found = tn.backtest(made_bars(SYMBOLS, 400), config, folder, jobs=1, progress=False)
    assert {*found.frame["symbol"]} == {*SYMBOLS}
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    part = "in/here/parts/fold-00-seed-0"
    assert files == {"in/here/manifest.json", f"{part}.json", f"{part}.parquet"}


def test_symbols_are_no_part_of_a_models_files(tmp_path):
    predictor = tn.Predictor.load()
    bars = made_bars(SYMBOLS, 80)
    predictor.calibrated(bars).save(tmp_path / "in" / "here")
    assert {*tn.Predictor.load(tmp_path / "in" / "here").seen} >= {*SYMBOLS}
    assert all(
        path.parent == tmp_path / "in" / "here" for path in tmp_path.rglob("*") if path.is_file()
    )


def test_control_characters_and_endless_names_are_no_symbols():
    for name in ("A\0B", "A\nB", "\x1b[2J", "A\u2028B", "x" * 101):
        with pytest.raises(tn.DataError, match="symbol") as caught:
            tn.load_bars({name: ROWS.drop(columns="symbol")})
        assert one_sentence(str(caught.value)) and str(caught.value).isprintable()


def test_parameters_arrive_as_values_and_never_as_code(make_notebook, tmp_path, mark):
    for package in ("papermill", "ipykernel", "nbconvert"):
        pytest.importorskip(package)
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    texts = [
        code,
        f'"\n{code}\n"',
        f"'; {code} #",
        f'\\"; {code} #',
        f"\\'''{code}",
        f'"""\n{code}\n"""',
        f"!touch {mark}",
    ]
    texts += [
        f"%%bash\ntouch {mark}",
        f"{{{code}}}",
        "\u2028" + code,
        "\r" + code,
        "\\N{QUOTATION MARK}" + code,
        "\0",
    ]
    given = {
        "text": texts[1],
        "items": texts,
        "table": {text: [text, {text: None}] for text in texts},
    }
    folder = make_notebook(
        "00_say",
        "import json, pathlib\nvalues = {'text': text, 'items': items, 'table': table}\n"
        "pathlib.Path(run_dir, 'said.json').write_text(json.dumps(values))",
        parameters='run_dir = "."\ntext: str = ""\nitems: list = []\ntable: dict = {}',
    )
    tn.run_notebooks(folder, out=tmp_path / "out", parameters=given)
    assert json.loads((tmp_path / "out" / "said.json").read_text()) == given
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page


@pytest.mark.parametrize("value", [Bomb(Path("x")), print, object(), {"a": {1, 2}}, b"x", 1j])
def test_parameters_that_are_no_plain_values_are_refused(make_notebook, tmp_path, value):
    pytest.importorskip("nbformat")
    folder = make_notebook("00_say", "1", parameters='run_dir = "."\ntext = None')
    with pytest.raises(tn.TftnhitsError, match="text"):
        tn.run_notebooks(folder, out=tmp_path / "out", parameters={"text": value})
    assert not (tmp_path / "out").exists()
