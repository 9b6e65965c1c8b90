"""What a batch is to do: its symbols, settings and notebook, checked; the page of one symbol."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..config import LEVEL, STEPS
from ..data.bars import BUNDLED, bundled_path
from ..errors import CheckpointError, ConfigError, DataError, TftnhitsError, printable, quoted
from ..files import file_digest, locked, read_json, safe_name, sha256, write_json
from .batch import NotebookRun, execute
from .parameters import Parameter, assign_known, known_parameters

# what a forecast takes of the parameters, whether or not the notebook has them
FORECAST = {
    "horizon": Parameter(STEPS, int),
    "level": Parameter(LEVEL, float),
    "calendar": Parameter(None, str),
    "model": Parameter(None, str),
    "device": Parameter("auto", str),
}
FORECASTS = Path("the forecast")  # as errors name it beside notebooks
OWN = ("symbol", "source", "run_dir")  # what the batch sets itself
LIVE = "bars.parquet"  # in the batch's folder: the live bars that all of it is made of
WATCH = "tftnhits ends with its batch"  # a thread's name


@dataclass
class Task:
    """A symbol under one choice of parameters, and what became of it."""

    symbol: str
    variant: int
    parameters: dict[str, Any]
    name: str  # of its files, less their ending
    status: str = "not run"  # or "completed", "failed"
    error: str | None = None  # one sentence
    seconds: float = 0.0
    tries: int = 0


@dataclass(frozen=True)
class Plan:
    """A batch, checked; `known` are the parameters of the forecast and of the notebook."""

    symbols: tuple[str, ...]
    source: str | None  # a file, a folder or a bundled set; None: live
    notebook: Path | None
    sweep: dict[str, list[Any]]
    html: bool
    folder: Path
    known: dict[Path, dict[str, Parameter]]

    @property
    def variants(self) -> list[dict[str, Any]]:
        """Every combination of the sweep's values."""
        return [dict(zip(self.sweep, values)) for values in product(*self.sweep.values())]

    def tasks(self) -> list[Task]:
        """Each symbol with each variant, whose number is a folder if there are several."""
        variants = self.variants
        folders = [f"{i + 1}/" for i in range(len(variants))] if len(variants) > 1 else [""]
        return [
            Task(symbol, i, values, f"{folders[i]}{safe_name(symbol)}")
            for symbol in self.symbols
            for i, values in enumerate(variants)
        ]

    def settings(self, variant: dict[str, Any]) -> dict[str, Any]:
        """What the forecasts of a variant take: some of FORECAST."""
        return assign_known(self.known, variant)[FORECASTS]

    def values(self, task: Task) -> dict[str, Any]:
        """What the notebook gets for a task."""
        names = self.known[self.notebook]
        source = str(self.folder / LIVE) if self.source is None else self.source
        own = {"source": source, "run_dir": str(self.place("files", task, ""))}
        given = {k: v for k, v in (task.parameters | own).items() if k in names}
        given["symbol"] = task.symbol
        return assign_known({self.notebook: names}, given)[self.notebook]

    def place(self, folder: str, task: Task, ending: str) -> Path:
        """A task's file: the copy in "work" while it is executed, and in "pages" once it is whole;
        its "state" once it has ended; "files", its run_dir, where the notebook itself writes.
        """
        return self.folder / folder / f"{task.name}{ending}"

    def key(self) -> dict[str, Any]:
        """What makes it this batch and no other, for resume."""
        notebook = file_digest(self.notebook) if self.notebook else None
        key = {"symbols": self.symbols, "source": self.source, "data": data_digest(self.source)}
        key |= {"notebook": notebook, "parameters": self.sweep, "html": self.html}
        return json.loads(json.dumps(key))  # as it is read again: tuples are lists


def known_to_batch(notebook: Path | None) -> dict[Path, dict[str, Parameter]]:
    """What a batch's parameters may be: the forecast's, and the notebook's if there is one."""
    return {FORECASTS: FORECAST} | ({notebook: known_parameters(notebook)} if notebook else {})


def make_plan(
    symbols: Iterable[str] | None,
    source: str | Path | None,
    notebook: str | Path | None,
    sweep: Mapping[str, Any] | None,
    html: bool,
    folder: Path,
) -> Plan:
    """The plan, every parameter checked; raises ConfigError and DataError."""
    from ..forecast.blocks import symbols_in  # brings torch, which a page's process does without
    from .sources import read_sources

    if source is None and symbols is None:
        raise ConfigError("A batch needs symbols, or a source of bars; name one of them.")
    if html and notebook is None:
        raise ConfigError("HTML is made of notebooks and none is named; name one.")
    if source is not None and str(source) not in BUNDLED:
        source = os.path.abspath(source)
        if not os.path.exists(source):
            what = f"There is no file or folder {quoted(source, 200)}"
            raise DataError(f"{what}; give the path of bars, or symbols alone for live ones.")
    if symbols is not None:
        names = map(str, symbols.split(",") if isinstance(symbols, str) else symbols)
        chosen = [name.upper() if source is None else name for name in names]  # Yahoo's are so
    elif in_blocks(str(source)):
        chosen = symbols_in(str(source))
    else:
        chosen = read_sources([str(source)])[0]["symbol"].unique().tolist()
    twice = [name for name, count in Counter(chosen).items() if count > 1]
    if twice or not chosen:
        what = f"{quoted(twice[0])} is named twice" if twice else "There are no symbols"
        raise ConfigError(f"{what}; name each symbol of a batch once.")
    path = Path(notebook).absolute() if notebook is not None else None
    place = None if source is None else str(source)
    plan = Plan(tuple(chosen), place, path, _lists(sweep), html, folder, known_to_batch(path))
    _check(plan)
    return plan


def _lists(sweep: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """The values of each parameter, as JSON gives them back; one that is no list is the only one.

    Raises ConfigError.
    """
    lists = {k: v if isinstance(v, list | tuple) else [v] for k, v in (sweep or {}).items()}
    try:
        return json.loads(json.dumps(lists, default=os.fspath, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Parameters take plain values, not {quoted(sweep)}.") from error


def _check(plan: Plan) -> None:
    """Raises ConfigError on a parameter that there isn't, that is set here, or of a wrong type."""
    for name, values in plan.sweep.items():
        if name in OWN:
            raise ConfigError(f"Parameter {name!r} is set by the batch itself; leave it out.")
        if not values:
            raise ConfigError(f"Parameter {name!r} has no values; give at least one.")
    for task in plan.tasks()[: len(plan.variants)]:
        plan.settings(task.parameters)
        if plan.notebook:
            plan.values(task)


def in_blocks(source: str) -> bool:
    """Whether it is Parquet of several symbols, which is read by blocks of them."""
    from ..forecast.blocks import symbols_in

    if os.path.isdir(source):
        return True
    try:
        return source.endswith((".parquet", ".pq")) and bool(symbols_in(source))
    except DataError:
        return False


def data_digest(source: str | None) -> str | None:
    """SHA-256 of the source's bytes, and of the names in a folder; None for live bars."""
    if source is None:
        return None
    path = bundled_path() if source in BUNDLED else Path(source)
    if not path.is_dir():
        return file_digest(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    lines = [f"{one.relative_to(path).as_posix()} {file_digest(one)}\n" for one in files]
    return sha256("".join(lines).encode())


# --- the page of one task, in a worker process


def make_page(
    plan: Plan, task: Task, timeout: int | None, retries: int, starter: int | None
) -> Task:
    """Execute the notebook for a task unless another process has; never raises an Exception.

    A worker with a `starter` (its process id) ends with it, and so does its kernel. Those of a
    cluster (None) outlive a batch that is killed: who resumes it waits for what they have begun.
    """
    if starter is not None and not any(one.name == WATCH for one in threading.enumerate()):
        threading.Thread(target=_end_with, args=(starter,), name=WATCH, daemon=True).start()
    working = plan.place("work", task, ".ipynb")
    wait = -1 if timeout is None else (1 + retries) * (timeout + 120)
    try:
        with locked(working, wait):
            done = kept(plan, task)
            if done.status == "completed":
                return done
            _try(plan, task, timeout, retries)
            write_json(plan.place("state", task, ".json"), asdict(task))
    except Exception as error:
        task.status, task.error = "failed", _sentence(error)
        with suppress(OSError):  # a full disk has room for the others then
            working.unlink(missing_ok=True)
    return task


def _end_with(starter: int) -> None:
    """End this process once the one that started it has."""
    while os.getppid() == starter:
        time.sleep(1)
    os._exit(1)


def _try(plan: Plan, task: Task, timeout: int | None, retries: int) -> None:
    """Execute the notebook until it completes, or has been tried often enough."""
    page, working = (plan.place(folder, task, ".ipynb") for folder in ("pages", "work"))
    page.parent.mkdir(parents=True, exist_ok=True)
    values = plan.values(task)
    for task.tries in range(1, retries + 2):
        if "run_dir" in values:
            shutil.rmtree(values["run_dir"], ignore_errors=True)  # of a try that was cut short
            os.makedirs(values["run_dir"])
        run = NotebookRun(plan.notebook, values)
        html = page.with_name(f"{page.stem}.html") if plan.html else None
        execute(run, working, html, values, timeout, whole=True)
        task.seconds += run.seconds
        task.status, task.error = run.status, f"{run.failure}." if run.error else None
        if not run.error:
            break
    if working.exists():
        os.replace(working, page)


def kept(plan: Plan, task: Task) -> Task:
    """The task as its file has it if it has ended, else as it is."""
    with suppress(CheckpointError, TypeError):  # it has not ended, or its file is none of ours
        return Task(**read_json(plan.place("state", task, ".json")))
    return task


def _sentence(error: Exception) -> str:
    """What went wrong with a full stop, and with the kind of other people's errors."""
    if isinstance(error, TftnhitsError):
        return str(error)
    return f"{printable(f'{type(error).__name__}: {error}', 300).rstrip('.')}."
