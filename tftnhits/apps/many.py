"""A batch: the forecasts of many symbols at once, and a notebook executed for each of them.

    batch = run_batch(["AAPL", "NVDA"], "bars.parquet", "runs/one", notebook="page.ipynb")
    batch.tasks     # what became of each symbol
    batch.index     # the watchlist of all, with links to their pages

The folder says what is done: each task has a small file there once it has ended, so that a batch
that was killed goes on by `resume=True`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

from ..config import WorkerConfig
from ..errors import CheckpointError, ConfigError, printable
from ..files import atomic_write, locked, read_at_most, versions, write_json
from . import report
from .batch import new_folder
from .cluster import cluster
from .numbers import DONE, FRAME, LEFT_OUT, TABLE, make_numbers
from .tasks import LIVE, Plan, Task, kept, make_page, make_plan

MANIFEST = "manifest.json"
MOST = 1 << 28  # bytes of a manifest
KILLED = "its process was killed (out of memory?)"
ROOM = (1 << 16, 1 << 12)  # bytes kept free for index and manifest, and for each task more


@dataclass
class BatchResult:
    """A batch: its folder, what became of each task, and the watchlist, a row a task."""

    plan: Plan
    started: str  # ISO 8601, UTC
    tasks: list[Task]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    error: str | None = None  # why forecasts can't be kept

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.plan.folder

    @property
    def index(self) -> Path:
        """The page of all symbols."""
        return self.folder / "index.html"

    def count(self, status: str) -> int:
        """How many tasks have a status: "completed", "failed", "not run"."""
        return sum(task.status == status for task in self.tasks)


def run_batch(
    symbols: Iterable[str] | None = None,
    source: str | Path | None = None,
    out: str | Path | None = None,
    notebook: str | Path | None = None,
    sweep: Mapping[str, Any] | None = None,
    workers: WorkerConfig | None = None,
    resume: bool = False,
    html: bool = False,
    progress: bool = True,
) -> BatchResult:
    """Forecast many symbols and execute a notebook for each; one that fails stops no other.

    Parameters
    ----------
    symbols : as their bars have them; None: all of the source
    source : a file, a folder of Parquet files, "stocks" or "eurusd"; None: live bars of Yahoo,
        which stay in the folder
    out : the batch's folder; default: runs/<time>
    notebook : a path; it has a parameter `symbol`, and gets `source` and `run_dir` (a folder for
        each task) if it has them; None: forecasts and index alone
    sweep : by parameter a list of values, whose every combination is a task for each symbol:
        horizon, level, calendar, model, device (the forecasts take them, too) or the notebook's own
    workers : how notebooks are executed
    resume : go on with the batch in `out`: what has not ended, or has failed
    html : also write each notebook as a page
    progress : whether to show bars

    Returns
    -------
    BatchResult, in which tasks may have failed

    Raises
    ------
    ConfigError, DataError, MissingDependency before anything runs: an unknown parameter or a wrong
    type, a symbol twice, no source, a folder that has a batch, or one with other symbols,
    parameters or data to resume; OutputError on a folder that can't be written or that another
    process fills; KeyboardInterrupt, after which the folder can be resumed
    """
    if resume and out is None:
        raise ConfigError("To resume a batch takes its folder; name it by out.")
    workers = workers or WorkerConfig()
    plan = make_plan(symbols, source, notebook, sweep, html, Path(out or "runs").absolute())
    with cluster(workers.backend, workers.jobs, workers.address) as jobs:
        if out is None:
            plan = replace(plan, folder=new_folder(plan.folder))
        return _run(plan, resume, workers, jobs, progress)


def _run(plan: Plan, resume: bool, workers: WorkerConfig, jobs: int, progress: bool) -> BatchResult:
    """Do what the folder lacks, and say in it what became of it."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    result = BatchResult(plan, started, plan.tasks())
    with locked(plan.folder / MANIFEST, wait=0):
        key = plan.key()
        _check_folder(plan.folder, key, resume)
        _write_manifest(result, key)
        room = plan.folder / "work" / "room"
        atomic_write(room, bytes(ROOM[0] + ROOM[1] * len(result.tasks)))
        try:
            _work(result, workers, jobs, progress)
        finally:  # whatever happened, what is there is on the page, on a full disk, too
            room.unlink(missing_ok=True)
            report.write_batch_index(result)
            _write_manifest(result, key)
            _clean(result)
    return result


def _check_folder(folder: Path, key: dict[str, Any], resume: bool) -> None:
    """Raises ConfigError unless the folder has this batch, or none if it is not to resume."""
    path = folder / MANIFEST
    if not path.exists():
        if resume:
            raise ConfigError(f"There is no batch in {folder}; leave out resume, or name another.")
        return
    if not resume:
        raise ConfigError(f"{folder} has a batch; resume it, or choose another folder.")
    try:
        old = json.loads(read_at_most(path, MOST))["key"]
        changed = [name for name in key if old.get(name) != key[name]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is no batch's; choose another folder.") from error
    if changed:
        raise ConfigError(
            f"The batch in {folder} was begun with other {', '.join(changed)}; resume it with the "
            "same, or choose another folder."
        )


def _work(result: BatchResult, workers: WorkerConfig, jobs: int, progress: bool) -> None:
    """Make forecasts, then pages, and note in `result` what became of each task."""
    plan = result.plan
    result.table, result.error = make_numbers(plan, progress)
    rows = result.table[["status", "why"]].itertuples(index=False)
    for task, (status, why) in zip(result.tasks, rows, strict=True):
        if status == LEFT_OUT:
            task.status, task.error = "failed", why
        elif plan.notebook is None:
            task.status = "completed"
    answered = [t for t in result.tasks if t.status == "not run"]
    for task in answered:
        vars(task).update(vars(kept(plan, task)))
    todo = {task.name: task for task in answered if task.status != "completed"}
    total, failed = len(answered), 0
    if not todo:
        return
    bar = tqdm(total=total, initial=total - len(todo), desc="pages", disable=not progress)
    with bar, closing(_pages([*todo.values()], plan, workers, jobs)) as done:
        for task in done:
            failed += task.status == "failed"
            vars(todo[task.name]).update(vars(task))
            bar.set_postfix(failed=failed, left=total - bar.n - 1, refresh=False)
            bar.update()


def _pages(todo: list[Task], plan: Plan, workers: WorkerConfig, jobs: int) -> Iterator[Task]:
    """Execute the tasks in worker processes and yield each as it ends, those that failed too."""
    left = {task.name: task for task in todo}
    while left:
        try:
            for task in _side_by_side([*left.values()], plan, workers, jobs):
                del left[task.name]
                yield task
        except Exception as error:  # a process died, and took those beside it along
            begun = [t for t in left.values() if plan.place("work", t, ".ipynb").exists()]
            for task in begun or [*left.values()]:
                del left[task.name]
                yield _alone(task, plan, workers, error)


def _side_by_side(
    tasks: list[Task], plan: Plan, workers: WorkerConfig, jobs: int
) -> Iterator[Task]:
    """`jobs` tasks at a time, in processes even if it is one at a time."""
    streams = get_active_backend()[0].supports_return_generator  # Ray's doesn't
    how = "generator_unordered" if streams else "list"
    starter = os.getpid() if workers.backend == "loky" else None
    given = (workers.timeout, workers.retries, starter)
    small = replace(plan, symbols=())  # it goes along with each task
    calls = (joblib.delayed(make_page)(small, task, *given) for task in tasks)
    # one job would be this very process
    pool = joblib.Parallel(max(jobs, 2), return_as=how, batch_size=1, pre_dispatch=jobs)
    done = pool(calls)
    try:
        yield from done
    finally:
        if streams:
            done.close()  # ends the processes, and their kernels with them


def _alone(task: Task, plan: Plan, workers: WorkerConfig, error: Exception) -> Task:
    """A task of which it is not known whether its process died of it, in one of its own."""
    for task.tries in range(1, workers.retries + 2):
        try:
            (done,) = _side_by_side([task], plan, workers, 1)
            return done
        except Exception as again:
            error = again
    why = KILLED if isinstance(error, TerminatedWorkerError) else f"its worker failed: {error}"
    task.status, task.error = "failed", f"{plan.notebook.name} failed: {printable(why, 300)}."
    write_json(plan.place("state", task, ".json"), asdict(task))
    return task


def _write_manifest(result: BatchResult, key: dict[str, Any]) -> None:
    """manifest.json: what it was made of and by, and what became of each task."""
    statuses = {task.status for task in result.tasks}
    order = ("not run", "failed", "completed")
    known = result.plan.known.get(result.plan.notebook, {})
    default = {"seed": known["seed"].default} if "seed" in known else {}
    given = [default | variant for variant in result.plan.variants]
    values = {
        "status": next(status for status in order if status in statuses),
        "started": result.started,
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "key": key,
        "error": result.error,
        "seeds": [one["seed"] for one in given if "seed" in one],  # a variant
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": versions(*report.PACKAGES),
        "tasks": [asdict(task) for task in result.tasks],
    }
    atomic_write(result.folder / MANIFEST, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _clean(result: BatchResult) -> None:
    """Remove what is of use only while tasks are executed, unless some are left."""
    if result.count("not run"):
        return
    shutil.rmtree(result.folder / "work", ignore_errors=True)
    ours = (MANIFEST, "index.html", FRAME, TABLE, DONE, LIVE)
    hidden = [path for name in ours for path in result.folder.glob(f".{name}.*")]
    hidden += [path for name in ("state", "pages") for path in (result.folder / name).rglob(".*")]
    for path in hidden:  # what a killed process was writing
        path.unlink(missing_ok=True)
