"""Executes the numbered notebooks in order by papermill, into a run folder with a report."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ConfigError, MissingDependency, NotebookError, OutputError
from ..files import atomic_write
from . import report
from .parameters import assign, from_paths, known_parameters, read_notebook

CELL_TIMEOUT = 3600  # seconds; a cell that takes longer fails its notebook


@dataclass
class NotebookRun:
    """One notebook of a batch; `status` is "not run", "completed", "failed" or "interrupted"."""

    source: Path
    parameters: dict[str, Any]  # every parameter with the value that it ran with
    title: str = ""
    question: str = ""
    status: str = "not run"
    seconds: float = 0.0
    cells: int = 0  # code cells completed
    executed: Path | None = None  # the executed copy, partial if the notebook failed
    html: Path | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.source.stem


@dataclass
class RunResult:
    """A batch: the folder that it filled and what is there."""

    source: Path
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

    @property
    def manifest(self) -> Path:
        """Versions, seed, parameters and times as JSON."""
        return self.folder / "manifest.json"


def find_notebooks(folder: str | Path, names: Iterable[str] | None = None) -> list[Path]:
    """The notebooks NN_topic.ipynb in `folder` in order, or those named by number or name.

    Raises ConfigError on a folder without notebooks and on a name that is not there.
    """
    folder = Path(folder).resolve()
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ConfigError(f"There are no notebooks NN_topic.ipynb in {folder}.")
    if names is None:
        return found
    chosen = set()
    for name in names.split(",") if isinstance(names, str) else names:
        fits = [p for p in found if name in (p.stem, p.name, p.stem[:2])]
        if not fits:
            raise ConfigError(
                f"There is no notebook {name!r}; there are {', '.join(p.stem for p in found)}."
            )
        chosen.update(fits)
    if not chosen:
        raise ConfigError("No notebook was chosen; leave the names out to run all.")
    return sorted(chosen)


def run_notebooks(
    folder: str | Path,
    names: Iterable[str] | None = None,
    out: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    timeout: int | None = CELL_TIMEOUT,
) -> RunResult:
    """Executes notebooks in order, each in a kernel of its own, and reports.

    `names`: numbers or names ("02", "02_train_tft"); None runs all. `out`: the run's folder; None makes
    `folder`/runs/<time>. `parameters` go to each notebook that has them; `run_dir` is set to the run's
    folder. `timeout` is in seconds for one cell. The first failure ends the batch; what there is by then,
    the partial copy among it, is reported on the index page all the same.

    Raises ConfigError (before anything runs) on an unknown notebook, parameter or preset or a value of a
    wrong type, OutputError on a folder that can't be written, NotebookError on a cell that failed, took
    too long or lost its kernel.
    """
    if timeout is not None and (not isinstance(timeout, int) or timeout < 1):
        raise ConfigError(
            f"The time-out of a cell is {timeout!r}; give whole seconds of at least 1."
        )
    paths, given = find_notebooks(folder, names), from_paths(parameters)
    if isinstance(given.get("preset"), str):
        config.preset(given["preset"])
    assign(paths, given, run_dir="")  # every mistake shows before a folder is made
    started, clock = datetime.now(timezone.utc), time.perf_counter()
    target = _make_folder(Path(out) if out is not None else _dated(paths[0].parent / "runs"))
    values = assign(paths, given, run_dir=str(target))
    runs = [_planned(path, values[path]) for path in paths]
    result = RunResult(paths[0].parent, target, runs, started.isoformat(timespec="seconds"))
    try:
        for number, run in enumerate(runs, 1):
            _say(f"[{number}/{len(runs)}] {run.name} ... ", end="")
            try:
                _execute(run, target, values[run.source], timeout)
            finally:
                _say(f"{run.status}, {run.seconds:.1f} s")
    finally:
        status = next((run.status for run in runs if run.status != "completed"), "completed")
        result.seconds = time.perf_counter() - clock
        result.figures = _made_since(target, "*.png", started)
        result.forecasts = _made_since(
            target, "forecasts*.parquet", started
        )  # no parts of a backtest
        report.write_manifest(result, status, given)
        report.write_index(result)
    return result


def _planned(path: Path, values: dict[str, Any]) -> NotebookRun:
    title, question = report.title_and_question(read_notebook(path))
    defaults = {name: parameter.default for name, parameter in known_parameters(path).items()}
    return NotebookRun(path, defaults | values, title, question)


def _execute(run: NotebookRun, target: Path, values: dict[str, Any], timeout: int | None) -> None:
    """Runs one notebook and fills in `run`; raises NotebookError, OutputError or KeyboardInterrupt."""
    copy, clock = target / run.source.name, time.perf_counter()
    with suppress(FileNotFoundError):
        copy.unlink()  # so that a copy of an earlier run is never taken for this one's
    run.status = "interrupted"
    try:
        run.error = _papermill(run.source, copy, values, timeout)
        run.status = "failed" if run.error else "completed"
    except OSError as exc:
        run.status, run.error = "failed", f"the copy can't be written: {exc}"
        raise OutputError(
            f"{copy} can't be written: {exc.strerror or exc}; choose another folder."
        ) from exc
    finally:
        run.seconds = time.perf_counter() - clock
        if copy.exists():
            run.executed = copy
    notebook = read_notebook(copy) if run.executed else None
    if notebook is not None:
        if notebook.metadata.pop(
            "widgets", None
        ):  # 5 MB a live figure; where it isn't stored, Output widgets fail
            atomic_write(copy, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        number, done, total = _progress(notebook)
        run.cells = max(number - 1, 0) if run.error else done
        if not run.error and done < total:
            run.status, run.error = "failed", f"only {run.cells} of {total} code cells completed"
        run.html = report.to_html(notebook, copy.with_suffix(".html"))
    if run.error:
        where = f"at code cell {number}" if run.executed and number else "before its first cell"
        left = f"; the partial copy is {copy}" if run.executed else ""
        raise NotebookError(f"{run.source.name} failed {where}: {run.error.rstrip('.')}{left}.")


def _papermill(source: Path, copy: Path, values: dict[str, Any], timeout: int | None) -> str | None:
    """Executes `source` into `copy`; returns what went wrong in one line, None if nothing did."""
    try:
        import papermill
        from jupyter_client.kernelspec import NoSuchKernel
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill.exceptions import PapermillExecutionError
    except ImportError as exc:
        raise MissingDependency(
            "Running notebooks needs papermill: pip install 'tftnhits[notebook]'."
        ) from exc
    try:
        papermill.execute_notebook(
            _no_braces(source),
            _no_braces(copy),
            values,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=120,
            execution_timeout=timeout,
            extra_arguments=["--IPKernelApp.log_level=40"],  # its warnings would break up our lines
            resources={
                "metadata": {"path": str(source.parent)}
            },  # where the kernel starts, as in JupyterLab
        )
    except PapermillExecutionError as exc:
        return _one_line(f"{exc.ename}: {exc.evalue}")
    except CellTimeoutError:
        return f"it took longer than {timeout} s (raise --timeout)"
    except DeadKernelError:
        return "its kernel died (out of memory, or the process was ended)"
    except (NoSuchKernel, RuntimeError) as exc:
        return _one_line(f"its kernel did not start: {exc}")
    return None


def _progress(notebook: Any) -> tuple[int, int, int]:
    """(the last code cell that started, how many completed, how many there are), blank cells left out.

    Cells are numbered as their prompts are. papermill marks the cell that killed its kernel, and all after
    it, as completed; only a start time and an execution count prove that a cell ran.
    """
    cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    begun = [i for i, c in enumerate(cells, 1) if c.metadata.get("papermill", {}).get("start_time")]
    done = sum(c.execution_count is not None for c in cells)
    return (begun[-1] if begun else 0), done, len(cells)


def _make_folder(folder: Path) -> Path:
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as exc:
        raise OutputError(
            f"The output folder {folder} can't be written: {exc.strerror}; choose another with --out."
        ) from exc


def _dated(runs: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    free = (runs / f"{stamp}{suffix}" for suffix in ["", *(f"-{n}" for n in range(2, 100))])
    return next(path for path in free if not path.exists())


def _made_since(folder: Path, pattern: str, since: datetime) -> list[Path]:
    # one second less, as file systems round
    return sorted(p for p in folder.rglob(pattern) if p.stat().st_mtime >= since.timestamp() - 1)


def _no_braces(path: Path) -> str:
    # papermill fills {name} in paths
    return str(path).replace("{", "{{").replace("}", "}}")


def _one_line(text: str, limit: int = 400) -> str:
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)
