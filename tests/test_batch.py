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

from tftnhits.apps import batch, parameters
from tftnhits.errors import ConfigError, NotebookError, OutputError

ALL = """run_dir: str = "."
ticker: str = "AAPL"  # what to look at
days: int = 5
rate: float = 0.5
fast: bool = False
tickers: list = ["AAPL"]
since: str = None
"""
HAND_OVER = "import pathlib\nout = pathlib.Path(run_dir)"


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_success_leaves_copies_pages_index_and_manifest(make_notebook, tmp_path, capsys):
    make_notebook(
        "00_first",
        HAND_OVER,
        '(out / "seen.txt").write_text(repr([ticker, days, rate, fast, tickers, since, pair]))',
        '(out / "a figure.png").write_bytes(b"png")',
        parameters=ALL + "seed = 7\npair: tuple = (1, 2)",
        intro="# First & best\n\nDoes **it** run <b>at all</b>?\n\nSome minutes.",
    )
    folder = make_notebook(
        "01_second",
        HAND_OVER,
        '(out / "forecasts.parquet").write_bytes((out / "seen.txt").read_bytes())',
        "import os\nprint(os.getcwd())",
    )
    out = tmp_path / "o u{t"
    given = {"ticker": "000001", "days": 2, "rate": 1, "fast": True, "tickers": ("NO", "1")}
    result = batch.run_notebooks(folder, out=out, parameters=given)
    assert (out / "seen.txt").read_text() == "['000001', 2, 1, True, ['NO', '1'], None, (1, 2)]"
    assert [run.status for run in result.notebooks] == ["completed", "completed"]
    assert result.figures == [out / "a figure.png"]
    assert result.forecasts == [out / "forecasts.parquet"]
    page = result.index.read_text()
    assert "First &amp; best" in page and "Does it run &lt;b&gt;at all&lt;/b&gt;?" in page
    assert "Research and education, not trading advice." in page
    targets = {t.replace("%20", " ") for t in re.findall(r'(?:href|src)="([^"]+)"', page)}
    assert targets >= {"00_first.html", "01_second.ipynb", "forecasts.parquet", "a figure.png"}
    assert "manifest.json" in targets and all((out / target).is_file() for target in targets)
    told = manifest(out)
    assert told["status"] == "completed" and told["seeds"] == [7] and told["packages"]["numpy"]
    assert told["notebooks"][0]["parameters"]["ticker"] == "000001"
    executed = nbformat.read(out / "01_second.ipynb", 4)
    assert executed.cells[-1].outputs[0].text.strip() == str(folder)  # as in JupyterLab
    progress = capsys.readouterr().err.splitlines()
    assert len(progress) == 2
    assert re.fullmatch(r"\[2/2\] 01_second \.\.\. completed, \d+\.\d s", progress[1])


def test_figures_are_this_runs_whatever_the_clock_says(make_notebook, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("old.png", "again.png"):
        (out / name).write_bytes(b"png")
        os.utime(out / name, (4_000_000_000, 4_000_000_000))  # the clock has been set back since
    draw = "(out / 'again.png').write_bytes(b'new')\n(out / 'new.png').write_bytes(b'png')"
    past = "import os\nos.utime(out / 'new.png', (0, 0))"
    result = batch.run_notebooks(make_notebook("00_first", HAND_OVER, draw, past), out=out)
    assert result.figures == [out / "again.png", out / "new.png"]


def test_failing_cell_is_named_and_its_partial_copy_left(make_notebook, tmp_path):
    make_notebook("00_first", "x = 1\nx", "raise ValueError('no bars\\nhere')", "never = True")
    folder = make_notebook("01_second", "1")
    out = tmp_path / "out"
    with pytest.raises(NotebookError) as caught:
        batch.run_notebooks(folder, out=out)
    copy = out / "00_first.ipynb"
    # prompts count: parameters 1, the injected run_dir 2, x 3, the error 4
    assert "00_first.ipynb failed at code cell 4: ValueError: no bars here" in str(caught.value)
    assert str(copy) in str(caught.value)
    cells = [c for c in nbformat.read(copy, 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == [1, 2, 3, 4, None]
    told = manifest(out)
    assert told["status"] == "failed"
    assert [notebook["status"] for notebook in told["notebooks"]] == ["failed", "not run"]
    assert "no bars here" in (out / "index.html").read_text()


ENDS = [("import os; os._exit(1)", "its kernel died"), ("import time; time.sleep(600)", "3 s")]


@pytest.mark.parametrize("cell, words", ENDS)
def test_dead_and_endless_kernels_are_named_and_gone(make_notebook, tmp_path, cell, words):
    folder = make_notebook("00_first", "1", cell, "2")
    with pytest.raises(NotebookError, match=rf"00_first\.ipynb failed at code cell 4: .*{words}"):
        batch.run_notebooks(folder, out=tmp_path / "out", timeout=3)
    (told,) = manifest(tmp_path / "out")["notebooks"]
    assert told["status"] == "failed"
    children = psutil.Process().children(recursive=True)
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in alive if "ipykernel" in " ".join(child.cmdline())]


# A picture stands in for a widget; a progress bar has none.
WIDGETS = """
from IPython.display import display
widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}
display(widget | {"text/plain": "panel", "image/png": "iVBORw0KGgo="}, raw=True)
display(widget | {"text/plain": "50%"}, raw=True)
"""


def test_widgets_and_interactive_figures_need_no_network(make_notebook, tmp_path):
    pytest.importorskip("ipywidgets"), pytest.importorskip("plotly")
    show = "shown.clear_output(wait=True)\nwith shown:\n    print('in it')"
    figure = "import plotly.graph_objects as go\nfigure = go.Figure(go.Scatter(y=[1, 2]))"
    folder = make_notebook(
        "00_first",
        f"import ipywidgets\nshown = ipywidgets.Output()\n{show}\nshown",
        show,
        f"{figure}\nfigure.show(renderer='plotly_mimetype')",
        WIDGETS,
        "1 + 1",
    )
    run = batch.run_notebooks(folder, out=tmp_path / "out", timeout=120).notebooks[0]
    notebook = nbformat.read(run.executed, 4)
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "2"
    assert "widgets" not in notebook.metadata
    page = run.html.read_text()
    assert "Plotly.newPlot" in page and 'src="plotly.min.js"' in page
    assert "require.min.js" not in page
    assert page.count("data:image/png;base64,iVBORw0KGgo=") == 1 and "<pre>50%" not in page
    assert (tmp_path / "out" / "plotly.min.js").stat().st_size > 1_000_000


WRONG = [
    ({"tikcer": "X"}, "'tikcer'"),
    ({"days": "5"}, "'days' takes int"),
    ({"days": True}, "takes int"),
    ({"fast": 1}, "takes bool"),
    ({"since": 1}, "takes str"),
    ({"tickers": [object()]}, "plain values"),
    ({"ticker": "\udcff"}, "plain values"),
    ({"run_dir": "/tmp"}, "'run_dir'"),
    ({"preset": "huge"}, "'huge'"),
]


@pytest.mark.parametrize("given, message", WRONG)
def test_wrong_parameters_are_refused_before_anything_runs(make_notebook, tmp_path, given, message):
    folder = make_notebook("00_first", "1", parameters=ALL)
    with pytest.raises(ConfigError, match=message):
        batch.run_notebooks(folder, out=tmp_path / "out", parameters=given)
    assert not (tmp_path / "out").exists()


def test_a_parameter_goes_to_those_notebooks_that_have_it(make_notebook):
    make_notebook("00_first", parameters="days = 5")
    folder = make_notebook("01_second", parameters="rate: float = 0.5\nrun_dir = '.'")
    paths = batch.find_notebooks(folder)
    values = parameters.assign(paths, {"days": 3, "rate": 1})
    assert list(values.values()) == [{"days": 3}, {"rate": 1}]
    with pytest.raises(ConfigError, match="'days'"):
        parameters.assign(paths[1:], {"days": 3})


def test_text_is_read_by_the_type_of_the_default(make_notebook):
    paths = batch.find_notebooks(make_notebook("00_first", parameters=ALL))
    for name, text, value in (
        ("ticker", "000001", "000001"),
        ("ticker", "a=b", "a=b"),
        ("days", "-7", -7),
        ("rate", "1", 1.0),
        ("fast", "yes", True),
        ("tickers", "000001, NO", ["000001", "NO"]),
        ("tickers", '["A", "B"]', ["A", "B"]),
        ("since", "2015", "2015"),
    ):
        read = parameters.parse(paths, [f"{name}={text}"])[name]
        assert read == value and type(read) is type(value)
    for pair in ("days=1.5", "days=", "rate=fast", "fast=2", "tickers=[1", "nodash"):
        with pytest.raises(ConfigError, match=pair.split("=")[0]):
            parameters.parse(paths, [pair])


def test_what_is_no_notebook_of_ours_is_refused(make_notebook, tmp_path):
    folder = make_notebook("00_first", "1")
    assert [path.stem for path in batch.find_notebooks(folder, "00")] == ["00_first"]
    assert [path.stem for path in batch.find_notebooks(folder, "first")] == ["00_first"]
    with pytest.raises(ConfigError, match="no notebook '07'; there are 00_first"):
        batch.find_notebooks(folder, ["00", "07"])
    with pytest.raises(ConfigError, match="no notebooks"):
        batch.find_notebooks(tmp_path / "nowhere")
    (folder / "01_broken.ipynb").write_text("{not json")
    with pytest.raises(ConfigError, match=r"01_broken\.ipynb can't be read"):
        batch.run_notebooks(folder)
    make_notebook("01_broken", parameters="days = 2 + 3")
    with pytest.raises(ConfigError, match=r"01_broken\.ipynb: the parameter 'days' is no literal"):
        batch.run_notebooks(folder)


def test_the_run_folder_is_dated_or_refused(make_notebook, tmp_path):
    folder = make_notebook("00_first", "1")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/tftnhits")):
        with pytest.raises(OutputError, match=re.escape(str(out))):
            batch.run_notebooks(folder, out=out)
    first = batch.run_notebooks(folder).folder
    assert first.parent == folder / "runs" and re.fullmatch(r"\d{8}-\d{6}", first.name)


def test_two_runs_never_share_a_folder(make_notebook, tmp_path, monkeypatch):
    assert len({batch.new_folder(tmp_path / "runs") for _ in range(3)}) == 3
    folder, out, ends = make_notebook("00_first", "1"), tmp_path / "out", []
    where = ("--notebooks", str(folder), "--out", str(out))
    execute = batch._execute

    def execute_beside_another(*task):
        command = [sys.executable, "-m", "tftnhits", "run", *where]
        ends.append(subprocess.run(command, capture_output=True, text=True))
        execute(*task)

    monkeypatch.setattr(batch, "_execute", execute_beside_another)
    batch.run_notebooks(folder, out=out)
    assert ends[0].returncode and f"Another process holds {out}" in ends[0].stderr
    assert manifest(out)["status"] == "completed"


def test_interrupt_ends_the_kernel_and_is_reported(make_notebook, tmp_path):
    folder = make_notebook("00_first", "import time; time.sleep(600)")
    out = tmp_path / "out"
    where = ("--notebooks", str(folder), "--out", str(out))
    command = [sys.executable, "-m", "tftnhits", "run", *where]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    # "sleep" has begun once papermill has saved its start; then Ctrl-C
    copy, deadline = out / "00_first.ipynb", time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None and not _begun(copy):
        time.sleep(0.2)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted" and "tftnhits/apps" not in err
    assert manifest(out)["status"] == "interrupted"
    assert kernels and not psutil.wait_procs(kernels, timeout=30)[1]


def _begun(copy: Path) -> bool:
    if not copy.exists():
        return False
    cells = json.loads(copy.read_text() or "{}").get("cells", [{}])
    return bool(cells[-1].get("metadata", {}).get("papermill", {}).get("start_time"))
