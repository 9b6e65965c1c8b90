"""The cell that installs the package: the same in each notebook, run in a bare environment."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT, environment
from IPython.core.inputtransformer2 import TransformerManager

pytest.importorskip("setuptools", minversion="70.1", reason="builds the package offline")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# Reports each process that the cell starts, as it does so, then where the package was found.
WATCH = """
import sys
def watch(event, args):
    if event == "subprocess.Popen":
        print("STARTED", *args[1], flush=True)
sys.addaudithook(watch)
"""
# What a notebook's kernel makes of the cell's lines that are no Python.
KERNEL = """
import re, runpy, subprocess
class Kernel:
    def run_line_magic(self, name, line):
        path = re.sub(r"\\{(.*)\\}", lambda found: str(eval(found[1])), line)
        assert name == "run"
        runpy.run_path(path, run_name="__main__")
    def system(self, line):
        subprocess.run(line, shell=True, check=True)
def get_ipython():
    return Kernel()
"""
SEE = """
import importlib.util, tftnhits
print("FOUND", importlib.util.find_spec("tftnhits").origin, tftnhits.__version__)
"""


@pytest.fixture(scope="module")
def hosted():
    """bench/hosted.py, which writes the cells."""
    spec = importlib.util.spec_from_file_location("hosted", ROOT / "bench" / "hosted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """An interpreter of its own that has nothing but pip."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def clone(tmp_path) -> Path:
    """A clone with all that an installation reads."""
    folder = tmp_path / "tftnhits-main"
    shutil.copytree(
        ROOT / "tftnhits", folder / "tftnhits", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "_setup.py", folder / "notebooks")
    return folder


def execute(python, code, cwd, tmp_path, **variables) -> subprocess.CompletedProcess[str]:
    """The cell in an interpreter that finds no index: pip builds the package by what is here."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    setuptools = Path(importlib.util.find_spec("setuptools").origin).parents[1]
    for name in ("setuptools", "_distutils_hack"):
        if not (tools / name).exists():
            (tools / name).symlink_to(setuptools / name)
    host = ("COLAB_RELEASE_TAG", "MODELSCOPE_ENVIRONMENT")
    env = {name: value for name, value in environment().items() if name not in host}
    env |= {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    env |= {"PYTHONPATH": str(tools), **variables}
    cell = TransformerManager().transform_cell(code)
    script = f"{WATCH}\n{KERNEL}\n{cell}\n{SEE}"
    run = subprocess.run([python, "-c", script], cwd=cwd, env=env, capture_output=True, text=True)
    assert not run.returncode or "Error" in run.stderr
    return run


def started(run) -> list[str]:
    """The commands that the cell itself ran."""
    return [line for line in run.stdout.splitlines() if line.startswith("STARTED")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_has_the_cells_of_the_one_place(hosted, path):
    badges, setup = nbformat.read(path, 4).cells[1:3]
    assert len(setup.source.splitlines()) == 1 and setup.metadata == hosted.COLLAPSED
    expected = hosted.cells(path.name, hosted.repository(ROOT / "pyproject.toml"))
    assert (badges.source, setup.source) == expected, "run: python bench/hosted.py"
    assert badges.metadata["tags"] == ["setup"]  # the page leaves it out


def test_the_cells_know_the_repository_or_name_none(hosted, tmp_path):
    address = "https://github.com/some-owner/tftnhits"
    badges, setup = hosted.cells("00.ipynb", address)
    assert f"{hosted.COLAB}github/some-owner/tftnhits/blob/main/notebooks/00.ipynb" in badges
    assert address in setup and max(map(len, setup.splitlines())) <= 88
    ast.parse(TransformerManager().transform_cell(setup))
    badges, setup = hosted.cells("00.ipynb", "")
    assert f"]({hosted.COLAB})" in badges and f"]({hosted.MODELSCOPE})" in badges
    assert hosted.CLONE in badges and "git" not in setup and "://" not in setup
    ast.parse(TransformerManager().transform_cell(setup))
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\n')
    assert hosted.repository(project) == ""
    project.write_text('[project.urls]\nRepository = "https://github.com/a/b.git"\n[project]\n')
    assert hosted.repository(project) == "https://github.com/a/b"


@pytest.mark.slow
def test_it_installs_what_is_missing_and_nothing_that_is_there(hosted, bare, clone, tmp_path):
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    first = execute(bare, setup, clone / "notebooks", tmp_path)
    assert f"pip install -q -e {clone}[all]" in started(first)[0], first.stderr
    for folder in (clone / "notebooks", tmp_path):
        again = execute(bare, setup, folder, tmp_path)
        assert not started(again), again.stderr
        assert f"FOUND {clone / 'tftnhits' / '__init__.py'}" in again.stdout
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["COLAB_RELEASE_TAG", "MODELSCOPE_ENVIRONMENT"])
def test_a_hosted_session_keeps_its_own_jupyter(hosted, bare, clone, tmp_path, host):
    colab = tmp_path / "google" / "colab"
    colab.mkdir(parents=True)  # the one thing that exists in Colab only
    (colab / "__init__.py").touch()
    (colab / "output.py").write_text('def enable_custom_widget_manager():\n    print("ENABLED")\n')
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    run = execute(bare, setup, tmp_path, tmp_path, **{host: "1"})
    assert f"pip install -q -e {clone}[hosted]" in started(run)[0], run.stderr
    assert f"FOUND {clone / 'tftnhits' / '__init__.py'}" in run.stdout
    assert ("ENABLED" in run.stdout) == (host == "COLAB_RELEASE_TAG")
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)


@pytest.mark.slow
def test_alone_it_says_what_to_put_beside_it_or_clones(hosted, bare, clone, tmp_path):
    here, origin = tmp_path / "here", tmp_path / "origin"
    (here / "tftnhits").mkdir(parents=True)  # a folder of that name is no package
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    run = execute(bare, setup, here, tmp_path)
    assert run.returncode and not started(run)
    assert "tftnhits-main/notebooks/_setup.py" in run.stderr.splitlines()[-1]  # what it looked for
    (here / "tftnhits").rmdir()
    clone.rename(origin)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", "-C", origin, *command], check=True)
    _, setup = hosted.cells("00_quickstart.ipynb", origin.as_uri())
    run = execute(bare, setup, here, tmp_path)
    assert f"FOUND {here / 'tftnhits-main' / 'tftnhits' / '__init__.py'}" in run.stdout, run.stderr
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)
