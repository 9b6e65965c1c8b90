"""Execute the numbered notebooks in order by papermill, into a run folder with a report."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ConfigError, NotebookError, OutputError, printable
from ..files import atomic_write, locked
from . import report
from .parameters import assign, known_parameters

MADE = ("*.png", "forecasts*.parquet")  # by a run, that its report shows


@dataclass
class NotebookRun:
    """One notebook of a run; `status` is "not run", "completed", "failed" or "interrupted"."""

    source: Path
    parameters: dict[str, Any]  # every parameter with the value that it ran with
    title: str = ""
    question: str = ""
    status: str = "not run"
    seconds: float = 0.0
    executed: Path | None = None  # the executed copy, partial if the notebook failed
    html: Path | None = None
    error: str | None = None
    begun: int = 0  # code cells that were begun

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.source.stem

    @property
    def failure(self) -> str:
        """What failed, where, and why, without a full stop."""
        where = f"at code cell {self.begun}" if self.begun else "before its first cell"
        return f"{self.source.name} failed {where}: {(self.error or '').rstrip('.')}"


@dataclass
class RunResult:
    """A run of notebooks: the folder that it filled and what is there."""

    folder: Path
    notebooks: list[NotebookRun]
    started: str  # ISO 8601, UTC
    seconds: float = 0.0
    figures: list[Path] = field(default_factory=list)
    forecasts: list[Path] = field(default_factory=list)

    @property
    def index(self) -> Path:
        """The page that links everything."""
        return self.folder / "index.html"


def find_notebooks(folder: str | Path, names: Iterable[str] | None = None) -> list[Path]:
    """The notebooks NN_topic.ipynb in `folder` in order, or those named by number or name.

    Raises ConfigError on a folder without notebooks and on a name that is not there.
    """
    folder = Path(folder).resolve()
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ConfigError(f"There are no notebooks NN_topic.ipynb in {folder}.")
    if names is None:
        return notebooks
    chosen = set()
    for name in names.split(",") if isinstance(names, str) else names:
        matches = [path for path in notebooks if name in _names_of(path)]
        if not matches:
            known = ", ".join(path.stem for path in notebooks)
            raise ConfigError(f"There is no notebook {name!r}; there are {known}.")
        chosen.update(matches)
    return sorted(chosen)


def _names_of(path: Path) -> tuple[str, ...]:
    """What a notebook may be called: 00_quickstart.ipynb, 00_quickstart, 00, quickstart."""
    return (path.name, path.stem, path.stem[:2], path.stem[3:])


def run_notebooks(
    folder: str | Path,
    names: Iterable[str] | None = None,
    out: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    timeout: int | None = 3600,
) -> RunResult:
    """Execute notebooks in order, each in a kernel of its own, and report.

    The first failure ends the run; what there is by then, the partial copy among it, is on the
    index page all the same.

    Parameters
    ----------
    folder : where the notebooks NN_topic.ipynb lie
    names : numbers or names, as "02" or "02_train_tft"; default: all
    out : the run's folder; default: `folder`/runs/<time>
    parameters : go to each notebook that has them; `run_dir` is set to the run's folder
    timeout : seconds for one cell

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigError before anything runs, on an unknown notebook, parameter or preset, or a wrong type;
    OutputError on a folder that can't be written or that another run is filling; NotebookError on
    a cell that failed, took too long or lost its kernel
    """
    if timeout is not None and (not isinstance(timeout, int) or timeout < 1):
        raise ConfigError(f"The time-out of a cell is {timeout!r}; give whole seconds above 0.")
    # everything that can be wrong is checked before anything runs
    paths = find_notebooks(folder, names)
    given = dict(parameters or {})
    if "run_dir" in given:
        raise ConfigError("Parameter 'run_dir' is set by the run itself; name its folder by out.")
    if isinstance(given.get("preset"), str):
        config.preset(given["preset"])
    values = assign(paths, given)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    target = new_folder(paths[0].parent / "runs") if out is None else Path(out).absolute()
    runs = [_planned(path, values[path], target) for path in paths]
    result = RunResult(target, runs, started)
    with locked(target / "manifest.json", wait=0):  # OutputError, too, where nothing can be written
        _execute_all(result, values, timeout, given)
    return result


def new_folder(parent: Path) -> Path:
    """A folder named by the time, and by a number where another run began in that second."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():  # something on the way to it is no folder
                raise OutputError(f"{folder} can't be made; choose another folder.") from None
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"Can't write {folder}: {reason}; choose another folder.") from error


def _execute_all(
    result: RunResult,
    values: dict[Path, dict[str, Any]],
    timeout: int | None,
    given: dict[str, Any],
) -> None:
    """Run one notebook after the other, each in a kernel of its own, and report."""
    runs, target = result.notebooks, result.folder
    before = _there(target)
    try:
        for number, run in enumerate(runs, 1):
            print(f"[{number}/{len(runs)}] {run.name} ... ", end="", file=sys.stderr, flush=True)
            try:
                _execute(run, target, values[run.source], timeout)
            finally:
                print(f"{run.status}, {run.seconds:.1f} s", file=sys.stderr, flush=True)
    finally:  # whatever happened, what is there is on the page
        result.seconds = sum(run.seconds for run in runs)
        # by what changed, not by when: the clock may have been set back
        made = [path for path, state in _there(target).items() if before.get(path) != state]
        result.figures = [path for path in made if path.suffix == ".png"]
        result.forecasts = [path for path in made if path.suffix == ".parquet"]
        report.write_manifest(result, given)
        report.write_index(result)


def _planned(path: Path, values: dict[str, Any], target: Path) -> NotebookRun:
    """A notebook with what it is to run with; `run_dir` joins the `values` if it has one."""
    import nbformat

    defaults = {name: parameter.default for name, parameter in known_parameters(path).items()}
    if "run_dir" in defaults:
        values["run_dir"] = str(target)
    title, question = report.title_and_question(nbformat.read(path, as_version=4))
    return NotebookRun(path, defaults | values, title, question)


def _execute(run: NotebookRun, target: Path, values: dict[str, Any], timeout: int | None) -> None:
    """Run one notebook and fill in `run`; raises NotebookError, OutputError, KeyboardInterrupt."""
    copy = target / run.source.name
    execute(run, copy, copy.with_suffix(".html"), values, timeout)
    if run.error:
        raise NotebookError(f"{run.failure}; see {copy}.")


def execute(
    run: NotebookRun,
    copy: Path,
    html: Path | None,
    values: dict[str, Any],
    timeout: int | None,
    whole: bool = False,
) -> None:
    """Run one notebook into `copy` and, unless it is None, the page `html`; fills in `run`.

    `timeout` is in seconds for one cell, or for the `whole` notebook. A notebook that fails is
    told in `run`; raises OutputError and KeyboardInterrupt.
    """
    import nbformat

    copy.unlink(missing_ok=True)  # one of an earlier run is never taken for this one's
    run.status = "interrupted"
    clock = time.perf_counter()
    try:
        run.error = _papermill(run.source, copy, values, timeout, whole)
    except OSError as error:
        run.status, run.error = "failed", f"the copy can't be written: {error}"
        raise OutputError(f"{copy} can't be written: {error}; choose another folder.") from error
    finally:
        run.seconds = time.perf_counter() - clock
        run.executed = copy if copy.exists() else None
    if run.executed:
        notebook = nbformat.read(copy, as_version=4)
        # the state of one live figure is 5 MB, and where part of it is stored, Output widgets fail
        if notebook.metadata.pop("widgets", None):
            atomic_write(copy, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        run.html = report.to_html(notebook, html) if html else None
        # cells after one that killed its kernel count as completed, but have no start
        cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
        run.begun = sum(bool(c.metadata.get("papermill", {}).get("start_time")) for c in cells)
        idle = sum(c.execution_count is None for c in cells)
        if idle and not run.error:
            run.error = f"{idle} of {len(cells)} code cells did not run"
    run.status = "failed" if run.error else "completed"


def _papermill(
    source: Path, copy: Path, values: dict[str, Any], timeout: int | None, whole: bool
) -> str | None:
    """Execute `source` into `copy`; returns what went wrong in one line, None if nothing did."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    limit: dict[str, Any] = {"execution_timeout": timeout}
    if whole and timeout is not None:  # each cell has what the cells before it left
        end = time.monotonic() + timeout
        limit = {"timeout_func": lambda cell: max(end - time.monotonic(), 0.1)}
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, copy)]
    try:
        papermill.execute_notebook(
            *paths,  # papermill fills {name} in them
            values,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=120,
            **limit,
            extra_arguments=["--IPKernelApp.log_level=40"],  # its warnings would break up our lines
            # where the kernel starts, as in JupyterLab
            resources={"metadata": {"path": str(source.parent)}},
        )
    except PapermillExecutionError as error:
        return printable(re.sub(r"\x1b\[[0-9;]*m", "", f"{error.ename}: {error.evalue}"), 300)
    except CellTimeoutError:
        return f"it took longer than {timeout} s (raise --timeout)"
    except DeadKernelError:
        return "its kernel died (out of memory, or the process was ended)"
    except (NoSuchKernel, RuntimeError) as error:
        return printable(f"its kernel did not start: {error}", 300)
    return None


def _there(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """The pictures and forecasts in a folder, and what changes when one is written again."""
    files = [path for pattern in MADE for path in folder.rglob(pattern)]
    stats = {path: path.stat() for path in sorted(files)}
    return {path: (s.st_ino, s.st_mtime_ns, s.st_size) for path, s in stats.items()}
