"""The walk-forward backtest: a run for each fold and seed, side by side, each kept when done.

    result = backtest(bars, BacktestConfig(start="2012-01-01"), "runs/backtest", jobs=2)
    result.frame    # every forecast made, with what came true
    result.report   # a row a run: spans, epochs, weights, missing outcomes, seconds

On a cluster the same call goes inside `with joblib.parallel_config(backend="dask")` (or "ray"),
with a folder that all machines see.
"""

from __future__ import annotations

import importlib.util
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

from ..config import BacktestConfig, preset
from ..data.bars import validate_bars
from ..errors import (
    BacktestIncomplete,
    CheckpointError,
    ConfigError,
    MissingDependency,
    TftnhitsError,
)
from ..files import data_file, locked, read_json, sha256, versions, write_json
from ..forecast.ensemble import has_torch
from .fold_run import MEMBERS, NETWORKS, FoldRun, Setup, attempt
from .folds import check_fold, fold_bars, make_folds

FORMAT = 2  # of the files; raised when older runs no longer mean the same


@dataclass
class Backtest:
    """A backtest's folder, read."""

    folder: Path
    manifest: dict[str, Any]  # config, versions, folds, names of the runs
    records: list[dict[str, Any]]  # of the runs that are done: fold, seed, weights, calibration …

    @classmethod
    def load(cls, folder: str | Path) -> Backtest:
        """Read a backtest, also an incomplete one; raises CheckpointError if there is none."""
        folder = Path(folder)
        manifest = read_json(folder / "manifest.json")
        if not isinstance(manifest.get("runs"), list):
            raise CheckpointError(f"{folder} holds no backtest; run one, or choose another folder.")
        files = [data_file(folder / "runs", f"{name}.json") for name in manifest["runs"]]
        records = [read_json(file) | {"run": file.stem} for file in files if file.exists()]
        return cls(folder, manifest, records)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every forecast made: a row for each forecaster, origin and step.

        Columns: symbol, origin, step, date, fold, seed, forecaster, close (at the origin), scale
        (one-bar volatility there), naive (mean absolute one-bar return of the symbol in training),
        actual (NaN where the bars end before), the quantiles by level ("0.05"), and the calibrated
        ends of the intervals (lower_93, lower_80, upper_80, upper_93). Prices are those of the
        origin's date. Raises CheckpointError if a file is missing or corrupt, or no run is done.
        """
        if not self.records:
            raise CheckpointError(f"No run of the backtest in {self.folder} is done; run it.")
        frames = []
        for record in self.records:
            path = self.folder / "runs" / f"{record['run']}.parquet"
            try:
                frames.append(pd.read_parquet(path))
            except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
                raise CheckpointError(
                    f"{path} can't be read ({error}); delete it and run the backtest again."
                ) from error
        return pd.concat(frames, ignore_index=True)

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are not done."""
        done = {record["run"] for record in self.records}
        return [name for name in self.manifest["runs"] if name not in done]

    @property
    def report(self) -> pd.DataFrame:
        """A row a run that is done: its record in flat columns, such as members.TFT.epochs."""
        bulky = ("key", "fitted", "calibration")
        records = [{k: v for k, v in r.items() if k not in bulky} for r in self.records]
        return pd.json_normalize(records)


def backtest(
    bars: pd.DataFrame,
    config: BacktestConfig,
    folder: str | Path,
    jobs: int | None = None,
    progress: bool = True,
    device: str = "auto",
) -> Backtest:
    """Walk forward through bars and leave every forecast in a folder.

    Runs that an earlier call finished are kept, one that was cut short goes on from its last epoch.
    If a process is killed, as for want of memory, the runs that are left go one by one.

    Parameters
    ----------
    bars : as of load_bars
    config : dates, forecasters and seeds
    folder : where manifest, forecasts and records go
    jobs : processes side by side; None: as joblib's context says, else this process alone
    progress : whether to show a bar
    device : of the networks, as of training.loop.fit

    Raises
    ------
    HistoryTooShort, ConfigError, DataError, MissingDependency, CheckpointError
        Before anything is trained: a first fold without history (says how many folds would fit),
        settings that don't fit, a fold without outcomes, a symbol whose closes never change, a
        folder that is another backtest's.
    OutputError
        A folder that can't be written, or that another process is backtesting into.
    BacktestIncomplete
        Once all other runs are done: a run's process was killed twice, or it ended with an
        exception; an error of this package keeps its class. Each names the run.
    """
    bars, _ = validate_bars(bars)
    members = _members(config)
    key = {"format": FORMAT, **config.to_dict(), "members": members, "data": _digest(bars)}
    key["models"] = [models.to_dict() for models in preset(config.preset)]  # a preset may change
    setup = Setup(
        config,
        members,
        symbols=tuple(bars["symbol"].unique().tolist()),
        folder=Path(folder),
        key=sha256(json.dumps(key, sort_keys=True).encode())[:16],
        one_thread=joblib.effective_n_jobs(jobs) > 1,
        device=device,
    )
    folds = make_folds(bars, config, setup.context)
    for fold in folds:
        check_fold(fold_bars(bars, fold, config.horizon), fold, config, setup.context)
    # Without networks nothing has replicas
    seeds = config.seeds if {*NETWORKS} & {*members} else config.seeds[:1]
    runs = [FoldRun(fold, seed, seed == seeds[0]) for fold, seed in product(folds, seeds)]
    manifest = {
        "key": key,
        "config": config.to_dict(),
        "versions": versions("tftnhits", "torch", "scikit-learn", "arch", "numpy", "pandas"),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "folds": [fold.to_dict() for fold in folds],
        "runs": [run.name for run in runs],
    }
    # a second process would train the same again, or pass another backtest's forecasts for these
    with locked(setup.folder / "manifest.json", wait=0):
        _check_folder(setup.folder, key)
        todo = [run for run in runs if not _is_done(run, setup)]
        write_json(setup.folder / "manifest.json", manifest)
        done = len(runs) - len(todo)
        with tqdm(total=len(runs), initial=done, desc="backtest", disable=not progress) as bar:
            errors = _work(todo, bars, setup, jobs, bar)
    if errors:
        raise errors[min(errors)]
    result = Backtest.load(setup.folder)
    if result.missing:
        raise BacktestIncomplete(
            f"The process of {', '.join(result.missing)} was killed twice (out of memory?); call "
            f"backtest again with {folder} to resume."
        )
    return result


def _work(
    todo: list[FoldRun], bars: pd.DataFrame, setup: Setup, jobs: int | None, bar: tqdm
) -> dict[str, TftnhitsError]:
    """Do all runs, those left after a process died one by one; returns errors by run."""
    errors: dict[str, TftnhitsError] = {}

    def side_by_side(runs: list[FoldRun], jobs: int | None) -> None:
        # Each run with the bars that it may see, and no others
        tasks = (
            joblib.delayed(attempt)(fold_bars(bars, run.fold, setup.config.horizon), run, setup)
            for run in runs
        )
        streams = get_active_backend()[0].supports_return_generator  # Ray's doesn't
        how = "generator_unordered" if streams else "list"
        # max_nbytes: memory maps would make the frames read-only
        pool = joblib.Parallel(n_jobs=jobs, return_as=how, batch_size=1, max_nbytes=None)
        for name, error in pool(tasks):
            if error:
                errors[name] = error
            bar.update(1)

    try:
        side_by_side(todo, jobs)
    except TerminatedWorkerError:  # it takes the processes beside it along
        left = [run for run in todo if run.name not in errors and not _is_done(run, setup)]
        for run in left:
            with suppress(TerminatedWorkerError):
                # Of two processes one works: one job would be this very process
                side_by_side([run], 2)
    return errors


def _is_done(run: FoldRun, setup: Setup) -> bool:
    """Whether a run's files are there; raises CheckpointError if they are another backtest's."""
    record = setup.folder / "runs" / f"{run.name}.json"
    if not (record.exists() and record.with_suffix(".parquet").exists()):
        return False
    if read_json(record).get("key") != setup.key:
        raise CheckpointError(f"{record} is of another backtest; choose another folder.")
    return True


def _check_folder(folder: Path, key: dict[str, Any]) -> None:
    """Raise CheckpointError if the folder holds a backtest of other bars, settings or models."""
    path = folder / "manifest.json"
    if path.exists():
        old = read_json(path).get("key", {})
        new = json.loads(json.dumps(key))  # as it was written: tuples are lists
        changed = [name for name in new if old.get(name) != new[name]]
        if changed:
            what = ", ".join(changed)
            raise CheckpointError(
                f"{folder} is a backtest of another {what}; choose another folder."
            )


def _members(config: BacktestConfig) -> tuple[str, ...]:
    """The forecasters asked for, or all that can run here."""
    wanted = config.members or MEMBERS
    lacking: dict[str, str] = {}  # the extra that a member needs and that is not installed
    if {*NETWORKS} & {*wanted} and not has_torch():
        lacking |= dict.fromkeys(NETWORKS, "torch")
    if importlib.util.find_spec("arch") is None:
        lacking["GARCH-t"] = "evaluation"
    for name in config.members or ():
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise ConfigError(f"There is no forecaster {name!r}; the members are {known}.")
        if name in lacking:
            extra = f"tftnhits[{lacking[name]}]"
            raise MissingDependency(f"{name} can't run here; pip install '{extra}', or omit it.")
    return tuple(name for name in wanted if name not in lacking)


def _digest(bars: pd.DataFrame) -> str:
    """A hash of validated bars."""
    rows = pd.util.hash_pandas_object(bars, index=False).to_numpy()
    zones = repr(sorted(bars.attrs.get("zones", {}).items()))
    return sha256(rows.tobytes() + zones.encode())[:16]
