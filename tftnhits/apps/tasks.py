"""What a batch is to do: its symbols, settings and notebook, checked; the page of one symbol."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ..config import LEVEL, STEPS
from ..data.bars import BUNDLED, bundled_path
from ..errors import CheckpointError, ConfigError, DataError, OutputError, printable, quoted
from ..files import file_digest, locked, read_json, safe_name, sha256, write_json
from .batch import NotebookRun, execute
from .parameters import Parameter, assign_known, known_parameters

# what a forecast takes of the parameters, whether or not the notebook has them
FORECAST = {
    "horizon": Parameter(STEPS, int),
    "level": Parameter(LEVEL, float),
    "calendar": Parameter(None, str),
    "model": Parameter(None, str),
}
OWN = ("symbol", "source", "run_dir")  # what the batch sets itself
FORECASTS = Path("the forecast")  # as errors name it beside notebooks
LIVE = "bars.parquet"  # in the run's folder: the live bars that all of it is made of


@dataclass
class Task:
    """A symbol under one choice of parameters, and what became of it.

    `status` is "not run", "completed" or "failed"; `name` is that of its files without ending.
    """

    symbol: str
    variant: int
    parameters: dict[str, Any]
    name: str
    status: str = "not run"
    error: str | None = None  # one sentence
    seconds: float = 0.0
    tries: int = 0


@dataclass(frozen=True)
class Plan:
    """A batch, checked. `sweep` are lists of values by parameter; their product are variants."""

    symbols: tuple[str, ...]
    source: str | None  # a file, a folder or a bundled set; None: live
    notebook: Path | None
    sweep: dict[str, list[Any]]
    html: bool
    folder: Path

    @cached_property
    def variants(self) -> list[dict[str, Any]]:
        """Every combination of the sweep's values."""
        return [dict(zip(self.sweep, values)) for values in product(*self.sweep.values())]

    @cached_property
    def known(self) -> dict[Path, dict[str, Parameter]]:
        """The parameters of the forecast and of the notebook."""
        return known_to_batch(self.notebook)

    def tasks(self) -> list[Task]:
        """Each symbol with each variant, whose number is a folder if there are several."""
        many = len(self.variants) > 1
        return [
            Task(symbol, i, values, f"{i + 1}/{safe_name(symbol)}" if many else safe_name(symbol))
            for symbol in self.symbols
            for i, values in enumerate(self.variants)
        ]

    def settings(self, variant: int) -> dict[str, Any]:
        """What the forecasts of a variant take: some of horizon, level, calendar, model."""
        return assign_known(self.known, self.variants[variant])[FORECASTS]

    def values(self, task: Task) -> dict[str, Any]:
        """What the notebook gets for a task."""
        names = self.known[self.notebook]
        source = str(self.folder / LIVE) if self.source is None else self.source
        own = {"symbol": task.symbol, "source": source, "run_dir": str(self.files(task))}
        given = {name: value for name, value in task.parameters.items() if name in names}
        own = {name: value for name, value in own.items() if name in names or name == "symbol"}
        return assign_known({self.notebook: names}, given | own)[self.notebook]

    def files(self, task: Task) -> Path:
        """The task's run_dir: what the notebook itself writes."""
        return self.folder / "files" / task.name

    def page(self, task: Task, ending: str = ".ipynb") -> Path:
        """The executed copy, there once it is whole."""
        return self.folder / "pages" / f"{task.name}{ending}"

    def working(self, task: Task) -> Path:
        """The copy while it is executed."""
        return self.folder / "work" / f"{task.name}.ipynb"

    def state(self, task: Task) -> Path:
        """What is kept of a task once it has ended."""
        return self.folder / "state" / f"{task.name}.json"

    def key(self) -> dict[str, Any]:
        """What makes it this batch and no other, for --resume."""
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
    sweep: Mapping[str, Sequence[Any]] | None,
    html: bool,
    folder: Path,
) -> Plan:
    """The plan, every parameter checked; raises ConfigError and DataError."""
    if source is not None and str(source) not in BUNDLED:
        source = os.path.abspath(source)
        if not os.path.exists(source):
            raise DataError(
                f"There is no file or folder {quoted(source, 200)}; give the path of bars, or name "
                "symbols alone for live ones."
            )
    if source is None and symbols is None:
        raise ConfigError("A batch needs symbols, or a source of bars; name one of them.")
    chosen = symbols_of(str(source)) if symbols is None else list(symbols)
    if source is None:
        chosen = [name.upper() for name in chosen]  # as Yahoo writes them
    twice = [name for name, count in Counter(chosen).items() if count > 1]
    if twice or not chosen:
        what = f"{quoted(twice[0])} is named twice" if twice else "There are no symbols"
        raise ConfigError(f"{what}; name each symbol of a batch once.")
    if html and notebook is None:
        raise ConfigError("HTML is made of notebooks and none is named; name one.")
    path = Path(notebook).absolute() if notebook is not None else None
    lists = {name: list(values) for name, values in (sweep or {}).items()}
    plan = Plan(tuple(chosen), source and str(source), path, lists, html, folder)
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """Raises ConfigError on a parameter that there isn't, that is set here, or of a wrong type."""
    for name, values in plan.sweep.items():
        if name in OWN:
            raise ConfigError(f"Parameter {name!r} is set by the batch itself; leave it out.")
        if not values:
            raise ConfigError(f"Parameter {name!r} has no values; give at least one.")
    for i in range(len(plan.variants)):
        plan.settings(i)
    if plan.notebook:
        for task in plan.tasks()[: len(plan.variants)]:
            plan.values(task)


def symbols_of(source: str) -> list[str]:
    """The symbols of a source that is no list of symbols; raises DataError."""
    from ..forecast.blocks import symbols_in
    from .sources import read_sources

    if in_blocks(source):
        return symbols_in(source)
    bars, _ = read_sources([source])
    return [*bars["symbol"].unique(), *bars.attrs.get("skipped", {})]


def in_blocks(source: str | None) -> bool:
    """Whether it is Parquet of several symbols, which is read by blocks of them."""
    from ..forecast.blocks import symbols_in

    if source is None or not (os.path.isdir(source) or source.endswith((".parquet", ".pq"))):
        return False
    try:
        return bool(symbols_in(source))
    except DataError:
        return os.path.isdir(source)


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


def make_page(plan: Plan, task: Task, timeout: int | None, retries: int) -> Task:
    """Execute the notebook for a task unless another process has; never raises an Exception.

    Worker processes outlive a batch that is killed: whoever goes on waits for what they have begun.
    """
    wait = -1 if timeout is None else (1 + retries) * (timeout + 120)
    try:
        with locked(plan.working(task), wait):
            done = kept(plan, task)
            if done.status == "completed":
                return done
            _execute(plan, task, timeout, retries)
            write_json(plan.state(task), asdict(task))
    except Exception as error:
        task.status, task.error = "failed", as_sentence(error)
        with suppress(OSError):  # a full disk has room for the others then
            plan.working(task).unlink(missing_ok=True)
    return task


def _execute(plan: Plan, task: Task, timeout: int | None, retries: int) -> None:
    """Execute the notebook until it completes, or has been tried often enough."""
    working, html = plan.working(task), plan.page(task, ".html") if plan.html else None
    for folder in (working.parent, plan.page(task).parent):
        folder.mkdir(parents=True, exist_ok=True)
    for task.tries in range(1, retries + 2):
        values = plan.values(task)
        if "run_dir" in values:
            shutil.rmtree(plan.files(task), ignore_errors=True)  # of a try that was cut short
            plan.files(task).mkdir(parents=True)
        run = NotebookRun(plan.notebook, values)
        execute(run, working, html, values, timeout, whole=True)
        task.seconds += run.seconds
        task.status, task.error = run.status, f"{run.failure}." if run.error else None
        if not run.error:
            break
    if working.exists():
        os.replace(working, plan.page(task))


def kept(plan: Plan, task: Task) -> Task:
    """The task as its file has it if it has ended, else as it is."""
    with suppress(CheckpointError, TypeError):  # it has not ended, or its file is none of ours
        return Task(**read_json(plan.state(task)))
    return task


def as_sentence(error: Exception) -> str:
    """What went wrong, with a full stop: of other people's errors with their kind."""
    if isinstance(error, OutputError | DataError | ConfigError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f" at {error.filename}" if error.filename else ""
        return f"Can't write{where}: {error.strerror}; choose a folder that you may write to."
    return f"{printable(f'{type(error).__name__}: {error}', 300).rstrip('.')}."
