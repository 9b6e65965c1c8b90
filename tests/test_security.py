"""A model folder is data: nothing in it is unpickled, imported or run, no name leads out of it."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import (
    ROOT,
    TFT_TINY,
    TRAIN_TINY,
    made_bars,
    made_panel,
    one_sentence,
    python,
    specific,
)
from hypothesis import example, given
from hypothesis import strategies as st

import tftnhits as tn
from tftnhits.files import read_json, safe_name, sha256, write_json

SHIPPED = ROOT / "data" / "pretrained"
ENSEMBLE = "ensemble (0.65 TFT + 0.35 N-HITS)"
ANSWERS = {  # by the members whose weights are none
    ("tft",): "N-HITS",
    ("nhits",): "TFT",
    ("tft", "nhits"): "gradient boosting",
    ("boosting",): ENSEMBLE,
    ("tft", "nhits", "boosting"): "volatility-scaled random walk",
}
ROWS = made_bars(("series",), 80)

# --- nothing that could run what it reads is called

DANGER = re.compile(
    r"^\s*(import|from) (.*, )?_?(pickle|dill|marshal|shelve|cloudpickle|jsonpickle|runpy)\b"
    r"|(?<![\w.])(eval|exec|compile|__import__)\("
    r"|\b(torch|joblib|yaml)\.(\w+\.)?(load|loads|unsafe_load|full_load|dump)\("
    r"|^\s*from (torch|joblib|yaml|os|skops\S*) import .*\b(load|dump|system|popen)\b"
    r"|\b(read_pickle|to_pickle|getoutput|getstatusoutput)\(|\bframe\.eval\("
    r"|\bos\.(system|popen|exec\w+)\(|(allow_pickle|shell)=(?!False)",
    re.MULTILINE,
)
HARMFUL = """\
from pickle import loads
import json, shelve
eval(x)
import torch; torch.load(f)
from torch import load
import numpy as np; np.load(f, allow_pickle=True)
import pandas as pd; pd.read_pickle(f)
import subprocess; subprocess.run(x, shell=y)
import os; os.system(x)"""
HARMLESS = """\
import re; re.compile(x)
model.eval()
import numpy as np; np.load(f, allow_pickle=False)
import safetensors.torch; safetensors.torch.load(f)"""


def dangers(code: str) -> list[str]:
    """What in the code could run data; comments are left out."""
    plain = ast.unparse(ast.parse(code)).replace("safetensors.torch.load(", "")
    plain = plain.replace('__import__("glob")', "")  # of the notebooks' first line: no data
    return [match.group() for match in DANGER.finditer(plain)]


def test_nothing_in_the_package_can_run_what_it_reads():
    assert all(dangers(code) for code in HARMFUL.splitlines())
    assert not any(dangers(code) for code in HARMLESS.splitlines())
    folders = [ROOT / name for name in ("tftnhits", "bench", "data")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 60
    found = {str(path): dangers(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: names for path, names in found.items() if names}


# --- pickles under every name that is read


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


def weights(folder: Path, name: str) -> Path:
    """The file of a member's weights."""
    return folder / read_json(folder / "predictor.json")["members"][name][0]["weights"]


def change(folder: Path, name: str, **values: str) -> None:
    """Other fields in a member's record."""
    record = read_json(folder / "predictor.json")
    record["members"][name][0] |= values
    write_json(folder / "predictor.json", record)


def answer(folder: Path) -> tuple[str, list[str]]:
    """Who answers, and the warnings."""
    report = tn.Predictor.load(folder).predict(ROWS).reports["series"]
    return report.model_used, specific(report.warnings)


@pytest.mark.parametrize("names", ANSWERS, ids="+".join)
def test_pickles_named_as_weights_are_not_read(folder, bomb, names):
    pytest.importorskip("torch")
    for name in names:
        weights(folder, name).write_bytes(bomb)
        change(folder, name, sha256=sha256(bomb))
    model_used, warnings = answer(folder)
    assert model_used == ANSWERS[names] and bool(warnings) != (model_used == ENSEMBLE)
    assert all("can't be used" in text and one_sentence(text) for text in warnings)


def test_a_pickle_named_as_json_is_not_read(folder, bomb):
    (folder / "predictor.json").write_bytes(bomb)
    with pytest.raises(tn.CheckpointError, match="not JSON"):
        tn.Predictor.load(folder)


def test_a_pickle_named_as_a_training_state_is_not_read(tmp_path, bomb):
    pytest.importorskip("torch")
    state = tmp_path / "tft.state"
    for data in (bomb, b"", b"\x80\x04noise"):
        state.write_bytes(data)
        with pytest.raises(tn.CheckpointError, match=r"tft\.state") as caught:
            tn.fit(TFT_TINY, made_panel(100), TRAIN_TINY, checkpoint=state, progress=False)
        assert one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["bars.pkl", "bars.csv", "bars.parquet", "bars.npy"])
def test_pickles_named_as_bars_are_not_read(tmp_path, bomb, name):
    array = io.BytesIO()
    np.save(array, np.array([Bomb(tmp_path / "executed")], object), allow_pickle=True)
    for data in (bomb, array.getvalue(), b"PAR1" + bomb):
        (tmp_path / name).write_bytes(data)
        for source in (tmp_path / name, io.BytesIO(data)):
            with pytest.raises(tn.DataError):
                tn.load_bars(source)


def test_a_pickle_in_the_types_of_a_parquet_file_is_not_read(tmp_path, bomb):
    """Where pyarrow once unpickled types of its own (CVE-2023-47248)."""
    import pyarrow as pa
    from pyarrow import parquet

    hidden = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    hidden[b"ARROW:extension:metadata"] = bomb
    names = ("open", "high", "low", "close")
    schema = pa.schema([pa.field(name, pa.float64(), metadata=hidden) for name in names])
    table = pa.table({name: [1.0, 2.0] for name in names}, schema=schema)
    parquet.write_table(table, tmp_path / "bars.parquet")
    assert len(tn.load_bars(tmp_path / "bars.parquet")) == 2


@pytest.mark.parametrize("run", ["fold-01-seed-0", "../../x", "/etc/passwd", "a\0b", "x" * 300])
def test_a_backtest_reads_no_pickle_and_only_its_own_runs(tmp_path, bomb, run):
    (tmp_path / "runs").mkdir()
    write_json(tmp_path / "manifest.json", {"runs": [run]})
    (tmp_path / "runs" / "fold-01-seed-0.json").write_text('{"run": "../../elsewhere"}')
    (tmp_path / "runs" / "fold-01-seed-0.parquet").write_bytes(bomb)
    with pytest.raises(tn.CheckpointError, match=r"fold-01-seed-0|plain file name"):
        _ = tn.Backtest.load(tmp_path).frame


# --- no code from a model folder

STRAY = ("__init__.py", "conftest.py", "sitecustomize.py", "torch.py", "numpy.py", "tft.py")
STRAY += ("boosting.so", "tft.pyc", "ms_wrapper.py", "setup.py")
USE = """
import sys
from pathlib import Path
import tftnhits as tn
folder, rows = Path(sys.argv[1]), [[50.0 + i % 7, 60, 40, 50.0 + i % 5, 1000] for i in range(80)]
print(tn.Predictor.load(folder).predict(rows).summary()["model_used"])
files = [str(getattr(module, "__file__", "") or "") for module in list(sys.modules.values())]
assert not [file for file in files + sys.path if str(folder) in file]
"""


def test_stray_code_in_a_model_folder_is_not_run(folder, mark):
    for name in STRAY:
        (folder / name).write_text(f"open({str(mark)!r}, 'w')\n")
    done = python(USE, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ensemble" in done.stdout or "boosting" in done.stdout


# --- names


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_out_of_a_model_folder_and_pipes_in_it_are_refused(folder, tmp_path):
    path = weights(folder, "boosting")
    outside = shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(outside)
    assert "link out of its folder" in tn.Predictor.load(folder).missing["boosting"]
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    assert "no regular file" in tn.Predictor.load(folder).missing["boosting"]
    path.unlink()
    shutil.copyfile(outside, folder / "inside")
    path.symlink_to("inside")  # a link inside is as good as the file
    assert "boosting" in tn.Predictor.load(folder).members
    (folder / "predictor.json").unlink()
    (folder / "predictor.json").symlink_to("/dev/zero")
    with pytest.raises(tn.CheckpointError, match="no regular file"):
        tn.Predictor.load(folder)
    (tmp_path / "link").symlink_to(SHIPPED)  # the folder itself may be a link
    assert "boosting" in tn.Predictor.load(tmp_path / "link").members


def test_a_model_that_names_weights_elsewhere_answers_by_the_next_member(folder):
    pytest.importorskip("torch")
    shutil.copyfile(weights(folder, "tft"), folder.parent / "secret.safetensors")
    for name in ("../secret.safetensors", "/etc/hostname", "..\u2215secret.safetensors"):
        change(folder, "tft", weights=name)
        model_used, warnings = answer(folder)
        assert model_used == "N-HITS" and "plain file name" in warnings[0]


HOSTILE = ("../../x", "/etc/passwd", "a\0b", "x" * 300, "", "..", "-rf", "~", "CON", "C:x")
HOSTILE += ("nul.txt", "a\\b", "..∕x", "․․／x", "АAPL", "a\u202egnp.exe", "a\u0301", "\udcff")
SYMBOLS = ("../../x", "/etc/passwd", "a/b", "..", "~", "CON", "$(touch x)", "..\u2215x", "x" * 100)


@given(st.text(max_size=300) | st.text('./\\~-:*?"<>|\0\n ab', max_size=20))
@example("AAPL-0123abcd")
def test_safe_names_stay_in_their_folder_and_apart(name):
    safe = safe_name(name)
    assert re.fullmatch(r"[A-Za-z0-9^_][A-Za-z0-9^_=+. -]{0,79}", safe) and safe[-1] not in ". "
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", safe.split(".")[0])
    assert safe == name or (re.search("-[0-9a-f]{8}$", safe) and safe_name(safe) != safe)


def test_usual_symbols_keep_their_names_and_hostile_ones_become_plain_files(tmp_path):
    for name in ("AAPL", "BRK.B", "^GSPC", "EURUSD=X", "BTC-USD", "005930.KS", "my bars", "X"):
        assert safe_name(name) == name
    for name in HOSTILE:
        assert safe_name(name) != name and safe_name(name).isascii()
        (tmp_path / f"{safe_name(name)}.png").touch()
    assert len(os.listdir(tmp_path)) == len(HOSTILE)


def test_symbols_are_no_part_of_the_files_of_backtests_and_models(tmp_path):
    config = tn.BacktestConfig(
        preset="tiny", members=("random walk",), start="2016-03-01", valid_months=3
    )
    walk, model = tmp_path / "in" / "walk", tmp_path / "in" / "model"
    result = tn.backtest(made_bars(SYMBOLS, 400), config, walk, jobs=1, progress=False)
    assert {*result.frame["symbol"]} == {*SYMBOLS}
    tn.Predictor.load().calibrated(made_bars(SYMBOLS, 80)).save(model)
    assert {*next(iter(tn.Predictor.load(model).pools.values())).seen} >= {*SYMBOLS}
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.parent for path in files} == {walk, walk / "runs", model}
    assert {path.stem for path in (walk / "runs").iterdir()} == {"fold-00-seed-0"}


def test_parameters_arrive_as_values_and_never_as_code(make_notebook, tmp_path, mark):
    for package in ("papermill", "ipykernel", "nbconvert"):
        pytest.importorskip(package)
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    texts = [code, f'"\n{code}\n"', f"'; {code} #", f'\\"; {code} #', f"\\'''{code}"]
    texts += [f'"""\n{code}\n"""', f"!touch {mark}", f"{{{code}}}", "\u2028" + code, "\r" + code]
    values = {"text": texts[1], "items": texts, "table": {text: {text: None} for text in texts}}
    folder = make_notebook(
        "00_say",
        "import json, pathlib\nvalues = {'text': text, 'items': items, 'table': table}\n"
        "pathlib.Path(run_dir, 'said.json').write_text(json.dumps(values))",
        parameters='run_dir = "."\ntext: str = ""\nitems: list = []\ntable: dict = {}',
        intro="# <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>",
    )
    tn.run_notebooks(folder, out=tmp_path / "out", parameters=values)
    assert json.loads((tmp_path / "out" / "said.json").read_text()) == values
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<img src=x" not in page
