"""Shared by all tests: few threads (the machines that test us have two cores) and small notebooks to run."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(min(2, torch.get_num_threads()))

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in a shell's background: processes that we start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "weekly: many more seeds; runs only with -m weekly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is weekly, unless it is asked for."""
    if "weekly" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("weekly")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes NN_topic.ipynb into tmp_path/notebooks: intro, parameters cell, then the code cells given."""
    import nbformat
    from nbformat import v4

    folder = tmp_path / "notebooks"
    folder.mkdir()

    def make(
        name: str, *cells: str, parameters: str = 'run_dir = "."', intro: str = "# Title\n\nWhy?"
    ) -> Path:
        tagged = v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = v4.new_notebook(
            cells=[
                v4.new_markdown_cell(intro),
                tagged,
                *(v4.new_code_cell(cell) for cell in cells),
            ],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, folder / f"{name}.ipynb")
        return folder

    return make
