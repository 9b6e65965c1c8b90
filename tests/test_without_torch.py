"""The kit in an interpreter that can't import PyTorch."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, environment, python, specific, stocks

import tftnhits as tn

# Imports of torch fail in each of the ways that are met: not there, blocked, a broken library.
BLOCK = """
import importlib.abc, json, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise {error}
sys.meta_path.insert(0, Blocker())
"""
ERRORS = {
    "missing": 'ModuleNotFoundError("No module named \'torch\'", name="torch")',
    "blocked": 'ImportError("torch is blocked")',
    "broken": 'OSError("libtorch_cpu.so: cannot open shared object file")',
}

TRAIN = """
import tftnhits as tn
bars = tn.load_bars("stocks")
bars = bars[bars["symbol"].isin(["AAPL", "META"]) & (bars["date"] >= "2016-06-01")]
panel = tn.make_panel(bars)
folder = sys.argv[1] if len(sys.argv) > 1 else None
predictor = tn.train_predictor(panel, "tiny", folder=folder)
found = predictor.predict(bars)
same = folder is None or found.frame.equals(tn.Predictor.load(folder).predict(bars).frame)
print(json.dumps({"members": list(predictor.members), "summary": found.summary(), "same": same,
                  "torch": "torch" in sys.modules}))
"""

LOAD = """
import tftnhits as tn
predictor = tn.Predictor.load(sys.argv[1])
bars = tn.load_bars(sys.argv[2])
print(json.dumps({"summary": predictor.predict(bars).summary()}))
"""


def answer(code, *args, error="missing"):
    done = python(BLOCK.format(error=ERRORS[error]) + code, *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


DEVICE = """
import tftnhits as tn
predictor = tn.Predictor.load(device="cpu").to("auto")
panel = tn.make_panel(tn.load_bars("eurusd"))
for call in (predictor.to, lambda device: tn.train_predictor(panel, "tiny", device=device)):
    try:
        call("cuda")
    except tn.ConfigError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.parametrize("error", ERRORS)
def test_there_is_the_cpu_alone(error):
    expected = "There is no device 'cuda' here; choose one of auto, cpu."
    assert answer(DEVICE, error=error) == [expected] * 2


@pytest.mark.parametrize("error", ERRORS)
def test_trains_and_answers_by_boosting_alone(tmp_path, error):
    (found,) = answer(TRAIN, tmp_path, error=error)
    assert found["members"] == ["boosting"] and found["same"] and not found["torch"]
    for summary in found["summary"]:
        assert summary["model_used"] == "gradient boosting" and len(summary["path"]) == 5
        assert summary["confidence"] == 0.93 and 0.7 < summary["interval"]["coverage"] <= 1
        (warning,) = specific(summary["warnings"])
        assert "PyTorch can't be imported" in warning and "'torch'" in warning


ANSWERS = {"all": "gradient boosting", "tft": "volatility-scaled random walk"}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_folder_with_networks_is_answered_by_what_needs_no_torch(tmp_path, name):
    bars = stocks(("META",), "2016-01-01", "2017-12-31")
    bars.to_csv(tmp_path / "bars.csv", index=False)
    folder = shutil.copytree(ROOT / "data" / "pretrained", tmp_path / "model")
    if name == "tft":
        record = json.loads((folder / "predictor.json").read_text())
        (folder / "predictor.json").write_text(
            json.dumps({**record, "members": {"tft": record["members"]["tft"]}})
        )
    (loaded,) = answer(LOAD, folder, tmp_path / "bars.csv", error="blocked")
    assert loaded["summary"]["model_used"] == ANSWERS[name]
    assert "PyTorch can't be imported" in loaded["summary"]["warnings"][0]


def test_bars_and_boosting_never_import_torch():
    done = python("""
import sys
import tftnhits
assert "torch" not in sys.modules and "pandas" not in sys.modules
bars = tftnhits.load_bars("stocks")
panel = tftnhits.make_panel(bars[bars["symbol"] == "META"])
tftnhits.Boosting, tftnhits.Forecast, tftnhits.Predictor
boosting = tftnhits.Boosting(tftnhits.preset("tiny")[2]).fit(panel)
assert boosting.quantiles(panel, panel.last_origins()).shape[:2] == (1, 5)
print("torch" in sys.modules, len(bars))
""")
    assert done.returncode == 0, done.stderr
    loaded, count = done.stdout.split()
    assert loaded == "False" and int(count) > 30_000


def test_the_command_answers_by_the_shipped_boosting(tmp_path):
    """Python itself reads sitecustomize.py before anything."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(error=ERRORS["broken"]))
    bars = stocks(("META",), "2017-01-01", "2017-12-31")
    bars.to_csv(tmp_path / "bars.csv", index=False)
    known = environment()
    command = [sys.executable, "-m", "tftnhits", "predict", tmp_path / "bars.csv", "--json"]
    env = known | {"PYTHONPATH": os.pathsep.join([str(tmp_path), known["PYTHONPATH"]])}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["model_used"] == "gradient boosting"
    (warning,) = specific(summary["warnings"])
    assert "PyTorch can't be imported" in warning
    assert done.stderr.splitlines() == [f"warning: {text}" for text in summary["warnings"]]
    # as the same boosting where torch is there and the networks are not
    shipped = ROOT / "data" / "pretrained"
    shutil.copytree(shipped, tmp_path / "model", ignore=shutil.ignore_patterns("tft*", "nhits*"))
    other = tn.Predictor.load(tmp_path / "model").predict(bars).summary()
    assert other["model_used"] == "gradient boosting" and other["warnings"] != summary["warnings"]
    assert summary["prediction"] == pytest.approx(other["prediction"], rel=1e-9)
    assert summary["interval"]["lower"] == pytest.approx(other["interval"]["lower"], rel=1e-9)
    assert summary["interval"]["coverage"] == other["interval"]["coverage"] > 0.8


def test_public_names_are_lazy_and_say_what_they_need():
    for name in tn.__all__:
        assert getattr(tn, name) is not None and name in dir(tn)
    with pytest.raises(AttributeError, match="no attribute 'forecast_everything'"):
        tn.forecast_everything  # noqa: B018
    lost = """
import tftnhits as tn
try:
    tn.{}
except tn.MissingDependency as error:
    print(json.dumps(str(error)))
"""
    for name in ("fit", "fine_tune"):
        for error in ERRORS:
            assert "tftnhits[torch]" in answer(lost.format(name), error=error)[0]
