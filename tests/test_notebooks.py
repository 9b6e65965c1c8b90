"""The notebooks: a style that stays readable, and a real run of all with the preset "tiny"."""

import ast
import statistics
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from helpers import made_bars

from tftnhits import NotebookError, Predictor, load_bars
from tftnhits.apps import batch
from tftnhits.apps.parameters import known_parameters

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
MAX_LINES, MEDIAN_LINES, MAX_RUN, MAX_WIDTH = 25, 6, 3, 88


def read(path: Path) -> list:
    return nbformat.read(path, 4).cells


def code(path: Path) -> list:
    return [cell for cell in read(path) if cell.cell_type == "code"]


def tree(path: Path) -> ast.Module:
    """All code of a notebook; lines for the shell or IPython are left out."""
    lines = "\n".join(cell.source for cell in code(path)).splitlines()
    return ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!"))))


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks_numbered_without_gaps():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(len(NOTEBOOKS)))
    assert len(NOTEBOOKS) >= 8


@each
def test_parameters_are_papermills(path):
    """One tagged cell of `name: type = literal  # what it does`, else papermill ignores values."""
    (cell,) = [c for c in code(path) if "parameters" in c.metadata.get("tags", [])]
    known = known_parameters(path)
    assert [node.target.id for node in ast.parse(cell.source).body] == list(known)
    assert {"run_dir", "preset"} <= set(known) and all(p.kind for p in known.values())
    assert all("#" in line for line in cell.source.splitlines())


@each
def test_opens_with_its_question_and_carries_no_outputs(path):
    first, *_ = read(path)
    assert first.cell_type == "markdown" and first.source.startswith("# ") and "?" in first.source
    assert not [c for c in code(path) if c.outputs or c.execution_count is not None]


@each
def test_cells_are_short_and_stand_between_prose(path):
    lengths = [len(cell.source.splitlines()) for cell in code(path)]
    assert statistics.median(lengths) <= MEDIAN_LINES and max(lengths) <= MAX_LINES
    longest = run = 0
    for cell in read(path):
        run = run + 1 if cell.cell_type == "code" else 0
        longest = max(longest, run)
    assert longest <= MAX_RUN
    wide = [
        line for cell in code(path) for line in cell.source.splitlines() if len(line) > MAX_WIDTH
    ]
    assert not wide


@each
def test_code_belongs_to_the_package(path):
    nodes = list(ast.walk(tree(path)))
    assert not [n for n in nodes if isinstance(n, ast.ClassDef)]
    assert sum(isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in nodes) <= 1
    assert not [
        n for n in nodes if isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names)
    ]
    assert not [n for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n) == "sys.path"]


@pytest.fixture(scope="session")
def executed(tmp_path_factory) -> batch.RunResult:
    """One run of all notebooks, smallest settings."""
    out = tmp_path_factory.mktemp("run")
    return batch.run_notebooks(FOLDER, out=out, parameters={"preset": "tiny"}, timeout=600)


@pytest.mark.slow
@each
def test_every_code_cell_completes(executed, path):
    run = next(run for run in executed.notebooks if run.source == path)
    cells = [c for c in code(run.executed) if c.source.strip()]
    assert len(cells) == 1 + len([c for c in code(path) if c.source.strip()])
    # saving the state of one live figure would take 5 MB
    assert run.executed.stat().st_size < 2_000_000
    assert all(c.execution_count is not None for c in cells)
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert run.parameters["preset"] == "tiny" and run.parameters["run_dir"] == str(executed.folder)


@pytest.mark.slow
def test_a_run_leaves_report_and_forecasts(executed):
    page = executed.index.read_text()
    assert [run.source for run in executed.notebooks] == NOTEBOOKS
    assert all(f'href="{run.name}.html"' in page and run.question for run in executed.notebooks)
    assert executed.figures and executed.forecasts
    frame = pd.read_parquet(executed.forecasts[0])
    assert {"symbol", "origin", "step", "median", "lower", "upper"} <= set(frame) and len(frame)
    assert (frame["lower"] <= frame["upper"]).all()


@pytest.mark.slow
def test_the_backtest_and_the_ablation_leave_their_figures(executed):
    figures = executed.folder / "figures"
    assert {"06_coverage.png", "06_skill.png", "07_live.png"} <= {f.name for f in figures.iterdir()}
    assert len(list(executed.folder.glob("backtest/*/runs/*.parquet"))) == 2  # two yearly folds


def test_your_data_takes_a_file_and_refuses_a_horizon_that_no_model_has(tmp_path):
    made_bars(("A",), bars=320).drop(columns="symbol").to_csv(tmp_path / "my own.csv", index=False)
    given = {"source": str(tmp_path / "my own.csv"), "preset": "tiny", "horizon": 3}
    run = batch.run_notebooks(FOLDER, "11", out=tmp_path / "out", parameters=given, timeout=300)
    assert "Validation chooses" in run.notebooks[0].html.read_text(encoding="utf-8")
    frame = pd.read_parquet(tmp_path / "out" / "forecasts-yours.parquet")
    assert len(frame) == 3 and (frame["symbol"] == "my own").all()
    (folder,) = (tmp_path / "out" / "yours").glob("*/model")
    saved = Predictor.load(folder).predict(load_bars(given["source"]), 3).frame
    pd.testing.assert_frame_equal(saved, frame, rtol=1e-6)
    with pytest.raises(NotebookError, match="1 to"):
        given["horizon"] = 999
        batch.run_notebooks(FOLDER, "11", out=tmp_path / "far", parameters=given, timeout=300)


@pytest.mark.parametrize("names", ["META", "META GOOG"])
def test_the_quickstart_runs_with_some_of_the_symbols(tmp_path, names):
    given = {"symbols": names, "preset": "tiny"}
    run = batch.run_notebooks(FOLDER, "00", out=tmp_path / "out", parameters=given, timeout=300)
    page = run.notebooks[0].html.read_text(encoding="utf-8")
    assert "META: median" in page and "AAPL: median" not in page
