"""The command as a person runs it: a process, its output and its exit code."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import tftnhits as tn
from tftnhits.config import PRESETS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data" / "djia.parquet"


def tftnhits(*args: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tftnhits", *map(str, args)],
        cwd=ROOT,
        input=text or "",
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def bars_csv(tmp_path_factory) -> Path:
    """The last 400 bars of two symbols, as CSV."""
    bars = pd.read_parquet(DATA)
    two = bars[bars["symbol"].isin(["AAPL", "IBM"])].sort_values(["symbol", "date"])
    path = tmp_path_factory.mktemp("bars") / "two.csv"
    two.groupby("symbol", observed=True).tail(400).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, bars_csv) -> Path:
    """A small predictor trained on these bars."""
    panel = tn.make_panel(tn.load_bars(bars_csv))
    folder = tmp_path_factory.mktemp("model")
    tn.train_predictor(panel, "tiny", folder=folder, progress=False)
    return folder


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, nothing on stdout, one sentence that holds `words` (after what was repaired)."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    *notes, last = done.stderr.strip().splitlines()
    assert last.startswith("error: ") and all(note.startswith("repaired ") for note in notes), done.stderr
    for word in words:
        assert word in last


def test_no_command_shows_help():
    done = tftnhits()
    assert done.returncode == 2 and "run" in done.stderr and "predict" in done.stderr


def test_info_names_versions_and_presets():
    done = tftnhits("info")
    assert done.returncode == 0
    assert pd.__version__ in done.stdout
    assert all(name in done.stdout for name in PRESETS)


def test_unknown_preset_and_notebook_are_refused(tmp_path, make_notebook):
    folder = make_notebook("00_first", "1", parameters='run_dir = "."\npreset = "quick"')
    where = ("--notebooks", folder, "--out", tmp_path / "out")
    refused(tftnhits("run", *where, "--preset", "huge"), "huge", *PRESETS)
    refused(tftnhits("run", *where, "--only", "05"), "'05'", "00_first")
    refused(tftnhits("run", *where, "-p", "ticker=AAPL"), "'ticker'", "00_first.ipynb", "preset")
    refused(tftnhits("run", *where, "--timeout", "0"), "time-out")
    refused(tftnhits("run", "--notebooks", tmp_path / "none"), "none")
    assert not (tmp_path / "out").exists()


def test_impossible_output_folder_is_refused(tmp_path, make_notebook):
    folder = make_notebook("00_first", "1")
    (tmp_path / "file").write_text("")
    refused(tftnhits("run", "--notebooks", folder, "--out", tmp_path / "file" / "out"), "file/out", "--out")


def test_run_executes_and_ends_with_the_report(tmp_path, make_notebook):
    make_notebook("00_first", "1", parameters="preset = 'quick'\nticker = 'X'\nrun_dir = '.'")
    folder = make_notebook("01_second", "raise RuntimeError('not this one')")
    out = tmp_path / "out"
    done = tftnhits("run", "--notebooks", folder, "--out", out, "--only", "00", "--preset", "tiny", "-p", "ticker=NO")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["report", str(out / "index.html")]
    told = json.loads((out / "manifest.json").read_text())
    assert told["given"] == {"preset": "tiny", "ticker": "NO"}
    assert [n["name"] for n in told["notebooks"]] == ["00_first"]


def test_failed_notebook_fails_the_command(tmp_path, make_notebook):
    folder = make_notebook("00_first", "1 / 0")
    done = tftnhits("run", "--notebooks", folder, "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert "error: 00_first.ipynb failed at code cell 3: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr and str(tmp_path / "out" / "00_first.ipynb") in done.stderr


def test_predict_gives_json_csv_and_text(bars_csv, model):
    said = tftnhits("predict", bars_csv, "--model", model, "--horizon", 2, "--json")
    assert said.returncode == 0, said.stderr
    summary = json.loads(said.stdout)
    assert len(summary) == 2
    assert all({"prediction", "model_used", "confidence", "interval"} <= set(one) for one in summary)
    piped = tftnhits("predict", "-", "--model", model, "--horizon", 2, "--csv", text=bars_csv.read_text())
    assert piped.returncode == 0, piped.stderr
    frame = pd.read_csv(io.StringIO(piped.stdout))
    assert frame.groupby("symbol")["step"].apply(list).to_dict() == {"AAPL": [1, 2], "IBM": [1, 2]}
    assert (frame["lower"] < frame["median"]).all() and (frame["median"] < frame["upper"]).all()
    plain = tftnhits("predict", bars_csv, "--model", model)
    assert plain.returncode == 0 and plain.stdout.count("model_used") == 2


def test_predict_refuses_what_it_can_not_read(tmp_path, bars_csv, model):
    refused(tftnhits("predict", tmp_path / "none.csv"), "none.csv")
    refused(tftnhits("predict", "-", text="date,open\n2020-01-01,1\n"), "close")
    refused(tftnhits("predict", "-", text=""))
    refused(tftnhits("predict", bars_csv, "--model", model, "--horizon", 5000), "5000")
    refused(tftnhits("predict", bars_csv, "--model", model, "--horizon", 0))
    refused(tftnhits("predict", bars_csv, "--model", model, "--level", 1.5), "1.5")
    refused(tftnhits("predict", bars_csv, "--model", tmp_path / "nowhere"), "nowhere")


def test_wrong_usage_exits_with_2(bars_csv):
    assert tftnhits("predict", bars_csv, "--json", "--csv").returncode == 2
    assert tftnhits("predict", bars_csv, "--horizon", "two").returncode == 2
