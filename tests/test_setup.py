"""pyproject.toml is the one place for dependencies; environment.yml, constraints.txt and README agree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TESTED = PROJECT["dependencies"] + EXTRAS["all"] + EXTRAS["app"] + EXTRAS["browser"] + EXTRAS["dev"]
CARD = {
    "torch",
    "pandas",
    "matplotlib",
    "plotly",
    "ipywidgets",
    "yfinance",
    "papermill",
    "modelscope",
    "jupyterlab",
}


def expand(requirements: list[str]) -> dict[str, Requirement]:
    """Name -> requirement; `tftnhits[a,b]` stands for the extras a and b."""
    found = {}
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                found |= expand(EXTRAS[extra])
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def environment() -> tuple[dict[str, Requirement], list[str]]:
    """Name -> requirement of both sections of environment.yml, and pip's lines that are options."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(line["pip"] for line in lines if isinstance(line, dict))
    names = [line for line in lines if isinstance(line, str)] + [
        line for line in pip if not line.startswith("-")
    ]
    requirements = map(Requirement, names)
    return {canonicalize_name(r.name): r for r in requirements}, [
        line for line in pip if line.startswith("-")
    ]


def constraints() -> dict[str, list[Requirement]]:
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def test_environment_has_the_bounds_of_pyproject():
    ours = expand(PROJECT["dependencies"] + EXTRAS["all"])
    theirs, options = environment()
    assert (
        theirs.pop("python").specifier
        == Requirement("python" + PROJECT["requires-python"]).specifier
    )
    assert not theirs.pop("pip").specifier
    assert set(theirs) == CARD
    assert {n: str(r.specifier) for n, r in theirs.items()} == {
        n: str(ours[n].specifier) for n in theirs
    }
    assert options == ["-e .[all]"]


def test_every_bound_is_a_lower_one():
    for name, requirement in expand(TESTED).items():
        bounds = (
            [">=", "<="] if name == "datasets" else [">="]
        )  # modelscope works with no later one
        assert sorted((s.operator for s in requirement.specifier), reverse=True) == bounds, name


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_constraints_pin_each_dependency_once_within_its_bounds(python):
    where, pins = {"python_version": python}, constraints()
    for name, requirement in expand(TESTED).items():
        if requirement.marker and not requirement.marker.evaluate(where):
            continue
        fitting = [p for p in pins.get(name, []) if p.marker is None or p.marker.evaluate(where)]
        assert len(fitting) == 1, f"{name} has {len(fitting)} pins for Python {python}"
        (pin,) = fitting[0].specifier
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), fitting[0]
        assert Version(pin.version).local is None, (
            "a local build such as +cpu can't be had everywhere"
        )


def test_extras_keep_torch_and_peers_out_of_the_core():
    core, everything = expand(PROJECT["dependencies"]), expand(EXTRAS["all"])
    assert "torch" not in core and "torch" in everything
    assert not set(expand(EXTRAS["peers"])) & set(everything) and "dask" not in everything
    extras = {
        "torch",
        "widgets",
        "notebook",
        "live-data",
        "modelscope",
        "evaluation",
        "tuning",
        "cluster",
        "peers",
    }
    assert set(EXTRAS) == {*extras, "hosted", "app", "browser", "all", "dev"}


def test_a_hosted_session_keeps_the_hosts_jupyter():
    core, hosted = expand(PROJECT["dependencies"]), expand(EXTRAS["hosted"])
    assert {"torch", "plotly", "ipywidgets"} <= set(hosted) and set(hosted) < set(
        expand(EXTRAS["all"])
    )
    assert not set(core | hosted) & {
        "jupyterlab",
        "ipykernel",
        "nbconvert",
        "papermill",
        "voila",
        "playwright",
    }


def test_old_pins_lie_within_the_bounds():
    ours = expand(PROJECT["dependencies"] + EXTRAS["hosted"])
    pins = [
        Requirement(line)
        for line in (ROOT / "tests" / "old.txt").read_text().splitlines()
        if line[0] != "#"
    ]
    assert {pin.name for pin in pins} >= {"pandas", "plotly", "ipywidgets", "numpy"}
    for pin in pins:
        (version,) = pin.specifier
        assert version.operator == "==" and ours[canonicalize_name(pin.name)].specifier.contains(
            version.version
        ), pin


def test_readme_names_only_targets_that_the_makefile_has():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", "\n".join(_code((ROOT / "README.md").read_text()))))
    assert {"run", "test", "lab"} <= named <= targets


def _code(markdown: str) -> list[str]:
    """Fenced blocks and `spans`: "make sense" in prose is no target."""
    return re.findall(r"^```.*?^```", markdown, re.MULTILINE | re.DOTALL) + re.findall(
        r"`[^`\n]+`", markdown
    )


def test_readme_installs_the_clone_so_that_it_finds_its_data():
    """Weights and bundled bars are no part of the package: only an editable install has them beside it."""
    own = re.findall(
        r"pip install (.*?['\"]?\.(?:\[\w+\])?['\"]?)`", (ROOT / "README.md").read_text()
    )
    assert own and all(command.startswith("-e ") for command in own)
    assert any(line.startswith("-e ") for line in environment()[1])


def test_ci_runs_the_readmes_test_command():
    assert "\nmake test" in (ROOT / ".ci" / "run").read_text()


def test_makefile_refuses_an_old_python(tmp_path):
    old = tmp_path / "python2.5"
    # a real interpreter that says it is old: the version check must not trust the name
    says = "import sys; sys.version_info = (3, 8, 1); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{says}' \"$2\"\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for python, said in (
        (old, "tftnhits needs Python 3.10 to 3.13"),
        ("no-such", "There is no 'no-such' here"),
    ):
        made = subprocess.run(
            ["make", "setup", f"PYTHON={python}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode and said in made.stdout + made.stderr
        assert "Traceback" not in made.stderr and not (tmp_path / ".venv").exists()
