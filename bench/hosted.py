"""Write the badges and the cell that installs the package into all notebooks: the same in each,
from one place.

    python bench/hosted.py

The place is [project.urls] in pyproject.toml. While it names no Repository, the badges open the
hosts' own pages, where this notebook and a clone can be uploaded; once it does, Colab's badge opens
the notebook itself and the cell clones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COLAB = "https://colab.research.google.com/"
MODELSCOPE = "https://modelscope.cn/my/mynotebook"
# no name that could be imported: a folder "tftnhits" would stand before the package
CLONE = "tftnhits-main"
BADGES = """[<kbd>Open in Colab</kbd>]({colab}) [<kbd>Open in ModelScope</kbd>]({modelscope})

The next cell installs the package where it is missing, and does nothing where it is there. {how}"""
HOW = {
    True: "In ModelScope, upload this notebook first.",
    False: "In a hosted session, upload this notebook and put a clone of its repository, named "
    f"`{CLONE}`, beside it.",
}
SETUP = """import os
import site
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

colab = "COLAB_RELEASE_TAG" in os.environ
modelscope = "MODELSCOPE_ENVIRONMENT" in os.environ or Path("/mnt/workspace").is_dir()
found = find_spec("tftnhits")
if found is None or found.origin is None:  # a folder of that name is no package
    clone = ".." if Path("../tftnhits/__init__.py").is_file() else "./{clone}"
    if not Path(clone).is_dir():
        {missing}
    project = f"{{clone}}[{{'hosted' if colab or modelscope else 'all'}}]"
    command = [sys.executable, "-m", "pip", "install", "-q", "-e", project]
    subprocess.run(command, check=True)
    site.addsitedir(sysconfig.get_path("purelib"))
if colab:
    from google.colab import output

    output.enable_custom_widget_manager()"""
MISSING = {
    True: 'repository = "{repository}"\n        '
    'subprocess.run(["git", "clone", "-q", repository, clone], check=True)',
    False: 'raise FileNotFoundError(f"Put a clone of tftnhits here, as {{clone}}.")',
}


def repository(pyproject: str | Path = "pyproject.toml") -> str:
    """The address that [project.urls] names, "" without one."""
    urls = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"].get("urls", {})
    return urls.get("Repository", "").rstrip("/").removesuffix(".git")


def cells(name: str, address: str) -> tuple[str, str]:
    """The markdown and the code of the notebook `name`: badges, and what installs the package."""
    colab, parts = COLAB, urlsplit(address)
    if parts.hostname == "github.com":  # the one host that Colab opens notebooks from
        colab += f"github{parts.path}/blob/main/notebooks/{name}"
    known = bool(address)
    missing = MISSING[known].format(repository=address)
    return BADGES.format(colab=colab, modelscope=MODELSCOPE, how=HOW[known]), SETUP.format(
        clone=CLONE, missing=missing
    )


def write(path: Path, address: str) -> None:
    """Put both cells into the notebook at `path`: they are its second and third."""
    notebook = nbformat.read(path, 4)
    badges, setup = notebook.cells[1:3]
    if (badges.cell_type, setup.cell_type) != (
        "markdown",
        "code",
    ) or "find_spec" not in setup.source:
        raise ValueError(
            f"{path} doesn't begin with a question, badges and the cell that installs the package."
        )
    badges.source, setup.source = cells(path.name, address)
    badges.metadata["tags"] = ["setup"]
    nbformat.write(notebook, path)


def main() -> None:
    address = repository()
    for path in sorted(Path("notebooks").glob("[0-9][0-9]_*.ipynb")):
        write(path, address)
        print(path)


if __name__ == "__main__":
    main()
