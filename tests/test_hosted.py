"""The cell that installs the package: the same in each notebook, run for real in a bare virtual environment."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT, environment

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Reports each process that the cell starts, as it does so.
WATCH = """
import sys
sys.addaudithook(lambda event, args: print("STARTED", *args[1], flush=True) if event == "subprocess.Popen" else None)
"""
SEE = """
import importlib.util
print("FOUND", importlib.util.find_spec("tftnhits").origin)
import tftnhits
print("VERSION", tftnhits.__version__)
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
    return folder


def execute(python, code, cwd, tmp_path, **variables) -> subprocess.CompletedProcess[str]:
    """The cell in an interpreter that finds no index: pip builds the package itself and leaves out what it needs."""
    tools = tmp_path / "tools"  # what builds it, in place of the download that pip would make
    tools.mkdir(exist_ok=True)
    setuptools = Path(importlib.util.find_spec("setuptools").origin).parents[1]
    for name in ("setuptools", "_distutils_hack"):
        if not (tools / name).exists():
            (tools / name).symlink_to(setuptools / name)
    kept = ("COLAB_RELEASE_TAG", "MODELSCOPE_ENVIRONMENT", "PYTHONPATH")
    env = {name: value for name, value in environment().items() if name not in kept}
    env |= {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PYTHONPATH": str(tools),
    }
    script = f"{WATCH}\n{code}\n{SEE}"
    run = subprocess.run(
        [python, "-c", script], cwd=cwd, env=env | variables, capture_output=True, text=True
    )
    assert not run.returncode or "Error" in run.stderr
    return run


def started(run) -> list[str]:
    """The commands that the cell itself ran."""
    return [line for line in run.stdout.splitlines() if line.startswith("STARTED")]


@each
def test_each_notebook_has_the_cells_of_the_one_place(hosted, path):
    badges, setup = nbformat.read(path, 4).cells[1:3]
    assert (badges.source, setup.source) == hosted.cells(
        path.name, hosted.repository(ROOT / "pyproject.toml")
    ), "run: python bench/hosted.py"
    assert badges.metadata["tags"] == ["setup"]  # the page leaves it out


def test_the_cells_are_the_same_but_for_the_notebooks_name(hosted):
    address = "https://github.com/some-owner/tftnhits"
    sources = {hosted.cells(path.name, address)[1] for path in NOTEBOOKS}
    badges = {hosted.cells(path.name, address)[0].replace(path.name, "NAME") for path in NOTEBOOKS}
    assert len(sources) == len(badges) == 1
    assert f"{hosted.COLAB}github/some-owner/tftnhits/blob/main/notebooks/NAME" in badges.pop()
    source = sources.pop()
    assert f'"{address}"' in source and max(map(len, source.splitlines())) <= 88
    for known in (address, ""):
        ast.parse(hosted.cells("x", known)[1])


def test_without_an_address_no_badge_names_a_repository(hosted):
    badges, setup = hosted.cells("00_quickstart.ipynb", "")
    assert (
        f"]({hosted.COLAB})" in badges
        and f"]({hosted.MODELSCOPE})" in badges
        and hosted.CLONE in badges
    )
    assert "git" not in setup and "://" not in setup


def test_the_address_is_the_projects(hosted, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\n')
    assert hosted.repository(project) == ""
    project.write_text(
        '[project]\nname = "x"\n[project.urls]\nRepository = "https://github.com/a/b.git"\n'
    )
    assert hosted.repository(project) == "https://github.com/a/b"


@pytest.mark.slow
def test_it_installs_what_is_missing_and_nothing_that_is_there(hosted, bare, clone, tmp_path):
    pytest.importorskip(
        "setuptools", minversion="70.1", reason="builds the package without a download"
    )
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    first = execute(bare, setup, clone / "notebooks", tmp_path)
    assert "pip install -q -e ..[all]" in started(first)[0], first.stderr
    assert (
        f"FOUND {clone / 'tftnhits' / '__init__.py'}" in first.stdout and "VERSION" in first.stdout
    )
    again = execute(bare, setup, clone / "notebooks", tmp_path)
    assert not started(again) and f"FOUND {clone}" in again.stdout, again.stderr
    elsewhere = execute(bare, setup, tmp_path, tmp_path)
    assert not started(elsewhere) and f"FOUND {clone}" in elsewhere.stdout
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["COLAB_RELEASE_TAG", "MODELSCOPE_ENVIRONMENT"])
def test_a_hosted_session_keeps_its_own_jupyter(hosted, bare, clone, tmp_path, host):
    pytest.importorskip(
        "setuptools", minversion="70.1", reason="builds the package without a download"
    )
    colab = tmp_path / "google" / "colab"
    colab.mkdir(parents=True)  # the one thing that exists in Colab only
    (colab / "__init__.py").touch()
    (colab / "output.py").write_text('def enable_custom_widget_manager():\n    print("ENABLED")\n')
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    run = execute(bare, setup, tmp_path, tmp_path, **{host: "1"})
    assert "pip install -q -e ./tftnhits-main[hosted]" in started(run)[0], run.stderr
    assert f"FOUND {clone / 'tftnhits' / '__init__.py'}" in run.stdout
    assert ("ENABLED" in run.stdout) == (host == "COLAB_RELEASE_TAG")
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)


@pytest.mark.slow
def test_alone_it_says_what_to_put_beside_it(hosted, bare, tmp_path):
    (tmp_path / "tftnhits").mkdir()  # what git clone makes can be imported, but has nothing in it
    _, setup = hosted.cells("00_quickstart.ipynb", "")
    run = execute(bare, setup, tmp_path, tmp_path)
    assert run.returncode and not started(run)
    assert run.stderr.rstrip().endswith(
        "FileNotFoundError: Put a clone of tftnhits here, as ./tftnhits-main."
    )


@pytest.mark.slow
def test_alone_it_clones_a_named_repository(hosted, bare, clone, tmp_path):
    pytest.importorskip(
        "setuptools", minversion="70.1", reason="builds the package without a download"
    )
    origin, here = tmp_path / "origin", tmp_path / "here"
    clone.rename(origin)
    here.mkdir()
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", "-C", origin, *command], check=True)
    _, setup = hosted.cells("00_quickstart.ipynb", origin.as_uri())
    run = execute(bare, setup, here, tmp_path)
    assert f"FOUND {here / 'tftnhits-main' / 'tftnhits' / '__init__.py'}" in run.stdout, run.stderr
    subprocess.run([bare, "-m", "pip", "uninstall", "-q", "-y", "tftnhits"], check=True)
