"""Write the badges and the cell that installs the package into all notebooks: the same in each,
from one place.

    python bench/hosted.py

The cell is one line, collapsed: it runs notebooks/_setup.py, which does the work. The badges' place
is [project.urls] in pyproject.toml. While it names no Repository, they open the hosts' own pages,
where this notebook and a clone can be uploaded; once it does, Colab's badge opens the notebook
itself and the cell clones first.
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
The collapsed line installs the package where it is missing; {how}"""
HOW = {
    True: "in ModelScope, upload this notebook first.",
    False: f"hosted, put a clone named `{CLONE}` beside this notebook.",
}
# the one beside the notebook, else the clone's: where a notebook alone was uploaded
SETUP = """%run {{[*__import__("glob").glob("_setup.py"), "{clone}/notebooks/_setup.py"][0]}}"""
GIT = """from pathlib import Path

if not Path("_setup.py").exists() and not Path("{clone}").exists():
    !git clone -q {repository} {clone}
"""
# collapsed in JupyterLab, and in Colab
COLLAPSED = {"tags": ["setup"], "jupyter": {"source_hidden": True}, "cellView": "form"}


def repository(pyproject: str | Path = "pyproject.toml") -> str:
    """The address that [project.urls] names, "" without one."""
    urls = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"].get("urls", {})
    return urls.get("Repository", "").rstrip("/").removesuffix(".git")


def cells(name: str, address: str) -> tuple[str, str]:
    """The markdown and the code of the notebook `name`: badges, and what installs the package."""
    colab, parts = COLAB, urlsplit(address)
    if parts.hostname == "github.com":  # the one host that Colab opens notebooks from
        colab += f"github{parts.path}/blob/main/notebooks/{name}"
    setup = SETUP.format(clone=CLONE)
    if address:
        setup = GIT.format(repository=address, clone=CLONE) + setup
    how = HOW[bool(address)]
    return BADGES.format(colab=colab, modelscope=MODELSCOPE, how=how), setup


def write(path: Path, address: str) -> None:
    """Put both cells into the notebook at `path`: they are its second and third."""
    notebook = nbformat.read(path, 4)
    badges, setup = notebook.cells[1:3]
    kinds = (badges.cell_type, setup.cell_type)
    if kinds != ("markdown", "code") or "_setup.py" not in setup.source:
        raise ValueError(
            f"{path} doesn't begin with a question, badges and the cell that installs the package."
        )
    badges.source, setup.source = cells(path.name, address)
    badges.metadata["tags"] = ["setup"]
    setup.metadata = nbformat.from_dict(COLLAPSED)
    nbformat.write(notebook, path)


def main() -> None:
    address = repository()
    for path in sorted(Path("notebooks").glob("[0-9][0-9]_*.ipynb")):
        write(path, address)
        print(path)


if __name__ == "__main__":
    main()
