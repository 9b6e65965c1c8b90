"""pyproject.toml is the one place for dependencies; environment.yml, pins and README agree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TESTED = PROJECT["dependencies"] + EXTRAS["all"] + EXTRAS["app"] + EXTRAS["browser"] + EXTRAS["dev"]


def expand(requirements: list[str]) -> dict[str, Requirement]:
    """Name -> requirement; `tftnhits[a,b]` stands for the extras a and b."""
    found = {}
    for requirement in map(Requirement, requirements):
        if requirement.name != PROJECT["name"]:
            found[canonicalize_name(requirement.name)] = requirement
        for extra in requirement.extras if requirement.name == PROJECT["name"] else ():
            found |= expand(EXTRAS[extra])
    return found


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_environment_has_the_bounds_of_pyproject_and_installs_the_clone():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(line["pip"] for line in lines if isinstance(line, dict))
    names = [line for line in [*lines, *pip] if isinstance(line, str) and line[0] != "-"]
    theirs = {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, names)}
    python = Requirement("python" + PROJECT["requires-python"])
    assert theirs.pop("python") == str(python.specifier) and not theirs.pop("pip")
    ours = expand(PROJECT["dependencies"] + EXTRAS["all"])
    assert theirs == {name: str(ours[name].specifier) for name in theirs}
    assert {"torch", "pandas", "jupyterlab"} <= set(theirs)
    assert [line for line in pip if line[0] == "-"] == ["-e .[all]"]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_constraints_pin_each_dependency_once_within_its_bounds(python):
    where, constraints = {"python_version": python}, pins("constraints.txt")
    for name, requirement in expand(TESTED).items():
        if requirement.marker and not requirement.marker.evaluate(where):
            continue
        named = [p for p in constraints if canonicalize_name(p.name) == name]
        fitting = [p for p in named if p.marker is None or p.marker.evaluate(where)]
        assert len(fitting) == 1, f"{name} has {len(fitting)} pins for Python {python}"
        (pin,) = fitting[0].specifier
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), fitting[0]
        assert "+" not in pin.version, "a local build such as +cpu can't be had everywhere"


def test_extras_keep_torch_and_peers_out_and_the_hosts_jupyter():
    core, everything = expand(PROJECT["dependencies"]), expand(EXTRAS["all"])
    hosted = expand(EXTRAS["hosted"])
    assert "torch" not in core and {"torch", "optuna"} <= set(everything)
    assert not set(expand(EXTRAS["peers"])) & set(everything)
    assert "torch" in hosted and set(hosted) < set(everything)
    jupyter = {"jupyterlab", "ipykernel", "nbconvert", "papermill", "voila", "playwright"}
    assert not set(core | hosted) & jupyter


def test_old_pins_lie_within_the_bounds():
    ours = expand(PROJECT["dependencies"] + EXTRAS["hosted"])
    for pin in pins("tests/old.txt"):
        (version,) = pin.specifier
        assert ours[canonicalize_name(pin.name)].specifier.contains(version.version), pin


def test_readme_names_what_makefile_and_ci_have():
    readme = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", readme, re.MULTILINE | re.DOTALL))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test", "lab"} <= set(re.findall(r"`?make ([a-z]+)", code)) <= targets
    # weights and bundled bars are no part of the package: an editable install has them beside it
    installs = re.findall(r"pip install (.*?['\"]?\.(?:\[\w+\])?['\"]?)`", readme)
    assert installs and all(command.startswith("-e ") for command in installs)
    assert "\nmake test" in (ROOT / ".ci" / "run").read_text()


def test_makefile_refuses_an_old_python(tmp_path):
    old = tmp_path / "python2.5"
    # a real interpreter that says it is old: the version check must not trust the name
    says = "import sys; sys.version_info = (3, 8, 1); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{says}' \"$2\"\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for python, words in (
        (old, "tftnhits needs Python 3.10 to 3.13"),
        ("no-such", "There is no 'no-such' here"),
    ):
        command = ["make", "setup", f"PYTHON={python}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode and words in done.stdout + done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / ".venv").exists()
