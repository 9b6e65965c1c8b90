"""The batch runs real notebooks in real kernels, and every way to fail is named."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from tftnhits.apps import batch, parameters, report
from tftnhits.errors import ConfigError, NotebookError, OutputError

ALL = """run_dir: str = "."
ticker: str = "AAPL"  # what to look at
days: int = 5
rate: float = 0.5
fast: bool = False
tickers: list = ["AAPL"]
since: str | None = None
"""
HAND_OVER = "import pathlib\nout = pathlib.Path(run_dir)"


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_success_leaves_copies_pages_index_and_manifest(make_notebook, tmp_path, capsys):
    make_notebook(
        "00_first",
        HAND_OVER,
        '(out / "seen.txt").write_text(f"{ticker} {days}")',
        '(out / "a figure.png").write_bytes(b"png")',
        parameters='run_dir = "."\nticker = "X"\ndays = 1\nseed = 7',
        intro="# First & best\n\nDoes **it** run <b>at all</b>?\n\nSome minutes.",
    )
    folder = make_notebook(
        "01_second",
        HAND_OVER,
        '(out / "forecasts.parquet").write_bytes((out / "seen.txt").read_bytes())',
        "import os\nprint(os.getcwd())",
    )
    out = tmp_path / "o u{t"
    result = batch.run_notebooks(folder, out=out, parameters={"ticker": "000001", "days": 3})

    assert (out / "seen.txt").read_text() == "000001 3"  # text stayed text
    assert [run.status for run in result.notebooks] == ["completed", "completed"]
    assert result.figures == [out / "a figure.png"] and result.forecasts == [
        out / "forecasts.parquet"
    ]
    page = result.index.read_text()
    assert "First &amp; best" in page and "Does it run &lt;b&gt;at all&lt;/b&gt;?" in page
    assert "Research and education, not trading advice." in page
    targets = {t.replace("%20", " ") for t in re.findall(r'(?:href|src)="([^"]+)"', page)}
    assert targets >= {
        "00_first.html",
        "01_second.ipynb",
        "forecasts.parquet",
        "a figure.png",
        "manifest.json",
    }
    assert all((out / target).is_file() for target in targets)
    told = manifest(out)
    assert told["status"] == "completed" and told["seed"] == 7 and told["packages"]["numpy"]
    assert told["notebooks"][0]["parameters"]["ticker"] == "000001"
    executed = nbformat.read(out / "01_second.ipynb", 4)
    assert executed.cells[-1].outputs[0].text.strip() == str(folder)  # as in JupyterLab
    progress = capsys.readouterr().err.splitlines()
    assert len(progress) == 2 and re.fullmatch(
        r"\[2/2\] 01_second \.\.\. completed, \d+\.\d s", progress[1]
    )


def test_default_folder_is_dated_and_never_taken_twice(make_notebook):
    folder = make_notebook("00_first", "1 + 1")
    first, second = (batch.run_notebooks(folder).folder for _ in range(2))
    assert first != second and first.parent == second.parent == folder / "runs"
    assert re.fullmatch(r"\d{8}-\d{6}", first.name)


def test_failing_cell_is_named_and_its_partial_copy_left(make_notebook, tmp_path):
    make_notebook("00_first", "x = 1\nx", "raise ValueError('no bars\\nhere')", "never = True")
    folder = make_notebook("01_second", "1")
    with pytest.raises(NotebookError) as caught:
        batch.run_notebooks(folder, out=tmp_path / "out")
    copy = tmp_path / "out" / "00_first.ipynb"
    # prompts count: parameters 1, the injected run_dir 2, x 3, the error 4
    assert "00_first.ipynb failed at code cell 4: ValueError: no bars here" in str(caught.value)
    assert str(copy) in str(caught.value)
    cells = [c for c in nbformat.read(copy, 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == [1, 2, 3, 4, None]
    told = manifest(tmp_path / "out")
    assert told["status"] == "failed"
    assert [(n["status"], n["code_cells"]) for n in told["notebooks"]] == [
        ("failed", 3),
        ("not run", 0),
    ]
    assert "no bars here" in (tmp_path / "out" / "index.html").read_text()


def test_output_widgets_work_and_no_state_of_widgets_is_kept(make_notebook, tmp_path):
    pytest.importorskip("ipywidgets")
    show = "shown.clear_output(wait=True)\nwith shown:\n    print('in it')"
    folder = make_notebook(
        "00_first", f"import ipywidgets\nshown = ipywidgets.Output()\n{show}\nshown", show, "1 + 1"
    )
    run = batch.run_notebooks(folder, out=tmp_path / "out", timeout=60).notebooks[0]
    notebook = nbformat.read(run.executed, 4)
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "2"
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize(
    "death", ["import os; os._exit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_killed_kernel_is_named(make_notebook, tmp_path, death):
    folder = make_notebook("00_first", "1", death, "2")
    with pytest.raises(
        NotebookError, match=r"00_first\.ipynb failed at code cell 4: its kernel died"
    ):
        batch.run_notebooks(folder, out=tmp_path / "out")
    assert (tmp_path / "out" / "00_first.ipynb").is_file()
    assert manifest(tmp_path / "out")["notebooks"][0]["status"] == "failed"


def test_time_out_is_named_and_its_kernel_gone(make_notebook, tmp_path):
    folder = make_notebook("00_first", "import time", "time.sleep(600)")
    with pytest.raises(NotebookError, match=r"failed at code cell 4: it took longer than 2 s"):
        batch.run_notebooks(folder, out=tmp_path / "out", timeout=2)
    assert manifest(tmp_path / "out")["notebooks"][0]["code_cells"] == 3
    alive = [
        c for c in psutil.Process().children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE
    ]
    assert not [c for c in alive if "ipykernel" in " ".join(c.cmdline())]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"tikcer": "X"},
            r"No chosen notebook has a parameter 'tikcer'; known are, 00_first\.ipynb: run_dir, tic",
        ),
        ({"days": "5"}, r"00_first\.ipynb: parameter 'days' takes int \(default 5\), not '5'"),
        ({"days": True}, "takes int"),
        ({"days": 1.5}, "takes int"),
        ({"fast": 1}, "takes bool"),
        ({"ticker": 1}, "takes str"),
        ({"since": 1}, "takes str or NoneType|takes NoneType or str"),
        ({"tickers": [object()]}, "takes list"),
        ({"run_dir": "/tmp"}, "'run_dir' is set by the batch"),
        ({"preset": "huge"}, "no preset 'huge'"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(make_notebook, tmp_path, given, message):
    folder = make_notebook("00_first", "1", parameters=ALL)
    with pytest.raises(ConfigError, match=message):
        batch.run_notebooks(folder, out=tmp_path / "out", parameters=given)
    assert not (tmp_path / "out").exists()


def test_a_parameter_goes_to_those_notebooks_that_have_it(make_notebook):
    make_notebook("00_first", parameters="days = 5")
    folder = make_notebook("01_second", parameters="rate: float = 0.5\nrun_dir = '.'")
    paths = batch.find_notebooks(folder)
    values = parameters.assign(paths, {"days": 3, "rate": 1}, run_dir="/there")
    assert list(values.values()) == [{"days": 3}, {"rate": 1, "run_dir": "/there"}]
    with pytest.raises(ConfigError, match="'days'"):
        parameters.assign(paths[1:], {"days": 3})


def test_values_reach_the_kernel_with_their_types(make_notebook, tmp_path):
    given = {
        "ticker": "NO",
        "days": 2,
        "rate": 1.5,
        "fast": True,
        "tickers": ("000001", "NO"),
        "since": "None",
    }
    cell = '(out / "seen").write_text(repr([ticker, days, rate, fast, tickers, since]))'
    folder = make_notebook("00_first", HAND_OVER, cell, parameters=ALL)
    batch.run_notebooks(folder, out=tmp_path / "out", parameters=given)
    assert (
        tmp_path / "out" / "seen"
    ).read_text() == "['NO', 2, 1.5, True, ['000001', 'NO'], 'None']"


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("ticker=000001", "000001"),
        ("ticker=NO", "NO"),
        ("ticker=a=b", "a=b"),
        ("ticker=", ""),
        ("days=-7", -7),
        ("rate=1", 1.0),
        ("fast=yes", True),
        ("fast=False", False),
        ("tickers=000001, NO", ["000001", "NO"]),
        ('tickers=["A", "B"]', ["A", "B"]),
        ("since=None", None),
        ("since=2015", "2015"),
    ],
)
def test_text_is_read_by_the_type_of_the_default(make_notebook, pair, value):
    paths = batch.find_notebooks(make_notebook("00_first", parameters=ALL))
    read = parameters.parse(paths, [pair])[pair.split("=")[0]]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "pair", ["days=1.5", "days=x", "days=", "rate=fast", "fast=2", "tickers=[1", "nodash"]
)
def test_text_that_can_not_be_read_is_refused(make_notebook, pair):
    paths = batch.find_notebooks(make_notebook("00_first", parameters=ALL))
    with pytest.raises(ConfigError, match=re.escape(pair.split("=")[0])):
        parameters.parse(paths, [pair])


@pytest.mark.parametrize(
    "source", ["days = 2 + 3", "import os", "%matplotlib inline", "a, b = 1, 2", "days: int"]
)
def test_parameters_must_be_literals(make_notebook, source):
    folder = make_notebook("00_first", parameters=source)
    with pytest.raises(ConfigError, match=r"00_first\.ipynb"):
        batch.run_notebooks(folder)


def test_unknown_notebooks_and_foreign_files_are_refused(make_notebook, tmp_path):
    folder = make_notebook("00_first", "1")
    assert [p.stem for p in batch.find_notebooks(folder, "00")] == ["00_first"]
    with pytest.raises(ConfigError, match="no notebook '07'; there are 00_first"):
        batch.find_notebooks(folder, ["00", "07"])
    with pytest.raises(ConfigError, match="no notebooks"):
        batch.find_notebooks(tmp_path / "nowhere")
    (folder / "01_broken.ipynb").write_text("{not json")
    with pytest.raises(ConfigError, match=r"01_broken\.ipynb can't be read"):
        batch.run_notebooks(folder)


def test_impossible_output_folders_are_refused(make_notebook, tmp_path):
    folder = make_notebook("00_first", "1")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/tftnhits")):
        with pytest.raises(OutputError, match=re.escape(str(out))):
            batch.run_notebooks(folder, out=out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_folder_is_refused(make_notebook, tmp_path):
    folder = make_notebook("00_first", "1")
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="can't be written"):
        batch.run_notebooks(folder, out=tmp_path / "out")


def test_interactive_figures_show_without_a_network(make_notebook, tmp_path):
    pytest.importorskip("plotly")
    cell = "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 2])).show(renderer='plotly_mimetype')"
    result = batch.run_notebooks(make_notebook("00_first", cell), out=tmp_path / "out")
    page = result.notebooks[0].html.read_text()
    assert (
        "Plotly.newPlot" in page and 'src="plotly.min.js"' in page and "require.min.js" not in page
    )
    assert (tmp_path / "out" / "plotly.min.js").stat().st_size > 1_000_000


def test_interrupt_ends_the_kernel_and_is_reported(make_notebook, tmp_path):
    folder = make_notebook("00_first", "import time; time.sleep(600)")
    command = [
        sys.executable,
        "-m",
        "tftnhits",
        "run",
        "--notebooks",
        folder,
        "--out",
        tmp_path / "out",
    ]
    process = subprocess.Popen(
        [*map(str, command), "--only", "00"], stderr=subprocess.PIPE, text=True
    )
    # "sleep" has begun once papermill has saved its start; then Ctrl-C
    copy, deadline = tmp_path / "out" / "00_first.ipynb", time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not _begun(copy):
        time.sleep(0.2)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (
        err.splitlines()[-1] == "interrupted" and "tftnhits/apps" not in err
    )  # no traceback of ours
    assert manifest(tmp_path / "out")["status"] == "interrupted"
    assert kernels and not psutil.wait_procs(kernels, timeout=10)[1]


def _begun(copy: Path) -> bool:
    if not copy.exists():
        return False
    cells = json.loads(copy.read_text() or "{}").get("cells", [{}])
    return bool(cells[-1].get("metadata", {}).get("papermill", {}).get("start_time"))


def test_title_and_question_come_from_the_first_markdown_cell():
    def read(text):
        cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell(text)]
        return report.title_and_question(nbformat.v4.new_notebook(cells=cells))

    assert read("# A `b`\nWhy *it*\nis?\n\nMore") == ("A b", "Why *it* is?")
    assert read("See [this](there).") == ("", "See this.")
    assert read("# Only") == ("Only", "")
