"""Shared by all tests: few threads, for machines of two cores, and small notebooks to run."""

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

# in a shell's background: processes that we start inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory):
    """What tests forecast is kept in no user's journal, and calendars in no user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFTNHITS_JOURNAL", str(tmp_path_factory.mktemp("journal")))
        patch.setenv("TFTNHITS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes NN_topic.ipynb into tmp_path/notebooks: intro, parameters, then the code cells."""
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
