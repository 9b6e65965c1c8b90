"""The walk-forward backtest: every fold and seed as a part of its own, side by side, each kept when done.

    result = backtest(bars, BacktestConfig(start="2012-01-01"), "runs/backtest", jobs=2)
    result.frame    # every forecast made, with what came true
    result.report   # a row a part: spans, epochs, seconds, missing outcomes

On a cluster the same call runs inside `with joblib.parallel_config(backend="dask")` (or "ray"), with a folder that all
machines see.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
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
from ..files import data_file, read_json, sha256, versions, write_json
from ..forecast.ensemble import has_torch
from .folds import check_fold, fold_bars, make_folds
from .part import MEMBERS, NETWORKS, Part, Run, attempt, context_of

FORMAT = 1  # of the files; raised when older parts no longer mean the same


@dataclass
class Backtest:
    """A backtest's folder, read: what ran, with what, and every forecast."""

    folder: Path
    manifest: dict[str, Any]  # key, versions, folds, parts, missing, seconds
    records: list[
        dict[str, Any]
    ]  # a part each, of those that are done: weights, calibration, epochs, seconds

    @classmethod
    def load(cls, folder: str | Path) -> Backtest:
        """Read a backtest, also one that is not complete; raises CheckpointError if there is none."""
        folder = Path(folder)
        manifest = read_json(folder / "manifest.json")
        try:
            files = [data_file(folder / "parts", f"{name}.json") for name in manifest["parts"]]
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder} holds no backtest; run one, or choose another folder."
            ) from error
        return cls(
            folder, manifest, [{**read_json(f), "part": f.stem} for f in files if f.exists()]
        )

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every forecast made: a row for each forecaster, origin and step; prices as at the origin's date.

        Columns: symbol, origin, step, date, fold, seed, forecaster, close (at the origin), scale (one-bar volatility
        there), naive (mean absolute one-bar return of the symbol in training), actual (NaN where the bars end
        before), the quantiles by level ("0.05"), and the calibrated
        lower_80, upper_80, lower_93, upper_93. Raises CheckpointError if a file is missing or corrupt.
        """
        parts = [self._read(record["part"]) for record in self.records]
        if not parts:
            raise CheckpointError(f"No part of the backtest in {self.folder} is done; run it.")
        return pd.concat(parts, ignore_index=True)

    @property
    def missing(self) -> list[str]:
        """Names of the parts that are not done."""
        return [
            name for name in self.manifest["parts"] if name not in {r["part"] for r in self.records}
        ]

    @property
    def report(self) -> pd.DataFrame:
        """A row a part that is done: spans, origins, missing outcomes, epochs, validation losses, weights, seconds."""
        rows = []
        for record in self.records:
            row = {
                "part": record["part"],
                "seed": record["seed"],
                **record["fold"],
                "origins": record["origins"]["test"],
            }
            row["missing outcomes"] = sum(record["missing_outcomes"].values())
            for name, notes in record["members"].items():
                row |= {
                    f"{name} {k}": notes[k] for k in ("epochs", "validation_loss") if k in notes
                }
            for name, share in record["weights"].get("learned weights + HAR", {}).items():
                row[f"learned weight of {name}"] = share
            rows.append(row | {"seconds": record["seconds"]})
        return pd.DataFrame(rows)

    def _read(self, part: str) -> pd.DataFrame:
        path = self.folder / "parts" / f"{part}.parquet"
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
            raise CheckpointError(
                f"{path} can't be read ({error}); delete {part}.json beside it and run the backtest again."
            ) from error


def backtest(
    bars: pd.DataFrame,
    config: BacktestConfig,
    folder: str | Path,
    jobs: int | None = None,
    progress: bool = True,
) -> Backtest:
    """Walk forward through `bars` (as of load_bars) and leave every forecast in `folder`.

    `jobs` processes work side by side (None: as many as joblib's context says; without one, this process alone).
    Parts that an earlier call finished are kept, one that was cut short goes on from its last epoch. If a process
    is killed, the parts that were under way are tried once more, each alone, and the others go on.
    Raises, before anything is trained, HistoryTooShort (says how many folds would fit), ConfigError, DataError (a fold
    without outcomes, a symbol whose closes never change), CheckpointError (the folder is another backtest's); once all
    other parts are done, what the first part that failed ended with: an error of this package (such as DataError on a
    forecast that is not finite) with the part's name in front, BacktestIncomplete for any other exception; and
    BacktestIncomplete for parts whose process was killed twice.
    """
    begin, folder = datetime.now(timezone.utc), Path(folder)
    bars, _ = validate_bars(bars)
    members = _members(config)
    context = context_of(config, members)
    folds = make_folds(bars, config, context)
    for fold in folds:
        check_fold(fold_bars(bars, fold, config.horizon), fold, config, context)
    seeds = (
        config.seeds if {*NETWORKS} & {*members} else config.seeds[:1]
    )  # nothing else has replicas
    parts = [Part(fold, seed, seed == seeds[0]) for fold in folds for seed in seeds]
    models = [
        settings.to_dict() for settings in preset(config.preset)
    ]  # a preset may change, and keep its name
    key = {
        "format": FORMAT,
        "config": config.to_dict(),
        "models": models,
        "members": list(members),
        "data": _digest(bars),
    }
    _claim(folder, key)
    manifest = {
        "key": key,
        "versions": versions("tftnhits", "torch", "scikit-learn", "arch", "numpy", "pandas"),
        "started": begin.isoformat(timespec="seconds"),
        "folds": [fold.to_dict() for fold in folds],
        "parts": [part.name for part in parts],
    }
    write_json(folder / "manifest.json", manifest)
    one_thread = joblib.effective_n_jobs(jobs) > 1
    symbols = tuple(bars["symbol"].unique().tolist())
    run = Run(
        config,
        members,
        symbols,
        folder,
        sha256(json.dumps(key, sort_keys=True).encode())[:16],
        one_thread,
    )
    todo = [part for part in parts if not _done(part, run)]
    with tqdm(
        total=len(parts), initial=len(parts) - len(todo), desc="backtest", disable=not progress
    ) as bar:
        errors = _Crew(bars, run, jobs, bar).work(todo)
    missing = [part for part in todo if not _done(part, run)]
    manifest["seconds"] = (datetime.now(timezone.utc) - begin).total_seconds()
    manifest["missing"] = [part.name for part in missing]
    write_json(folder / "manifest.json", manifest)
    if errors:
        raise errors[min(errors)]
    if missing:
        raise BacktestIncomplete(
            f"The process of {', '.join(part.name for part in missing)} was killed twice (out of memory?); the other "
            f"{len(parts) - len(missing)} parts are kept in {folder}: call backtest again with this folder to resume."
        )
    return Backtest.load(folder)


class _Crew:
    """Works through parts in processes, and around those that get killed."""

    def __init__(self, bars: pd.DataFrame, run: Run, jobs: int | None, bar: tqdm):
        self.bars, self.run, self.jobs, self.bar = bars, run, jobs, bar
        self.errors: dict[str, TftnhitsError] = {}

    def work(self, todo: list[Part]) -> dict[str, TftnhitsError]:
        """Run all parts, those that were under way as a process died once more, each alone; returns errors by part."""
        suspects: list[Part] = []
        while todo:
            for part in todo:
                _marker(part, self.run).unlink(missing_ok=True)
            try:
                self._side_by_side(todo, self.jobs)
                break
            except TerminatedWorkerError:  # it takes the processes beside it along
                left = self._left(todo)
                suspects += [part for part in left if _marker(part, self.run).exists()] or left
                todo = [part for part in left if part not in suspects]
        for part in suspects:
            with suppress(TerminatedWorkerError):
                self._side_by_side(
                    [part], 2
                )  # of two processes one works: one job would be this very process
        return self.errors

    def _left(self, parts: list[Part]) -> list[Part]:
        return [
            part for part in parts if not _done(part, self.run) and part.name not in self.errors
        ]

    def _side_by_side(self, parts: list[Part], jobs: int | None) -> None:
        tasks = (
            joblib.delayed(_named)(bars, part, self.run) for part, bars in self._with_bars(parts)
        )
        streams = get_active_backend()[0].supports_return_generator  # Ray's doesn't
        how = "generator_unordered" if streams else "list"
        # max_nbytes: memory maps would make the frames read-only
        pool = joblib.Parallel(n_jobs=jobs, return_as=how, batch_size=1, max_nbytes=None)
        for name, error in pool(tasks):
            if error:
                self.errors[name] = error
            self.bar.update(1)

    def _with_bars(self, parts: list[Part]) -> Iterator[tuple[Part, pd.DataFrame]]:
        """Each part with the bars that it may see, and no others."""
        for part in parts:
            yield part, fold_bars(self.bars, part.fold, self.run.config.horizon)


def _named(bars: pd.DataFrame, part: Part, run: Run) -> tuple[str, TftnhitsError | None]:
    return part.name, attempt(bars, part, run)


def _marker(part: Part, run: Run) -> Path:
    return part.files(run.folder)[2] / "started"


def _done(part: Part, run: Run) -> bool:
    """Whether a part's files are there; raises CheckpointError if they are another backtest's."""
    forecasts, record, _ = part.files(run.folder)
    if not (record.exists() and forecasts.exists()):
        return False
    if read_json(record).get("key") != run.key:
        raise CheckpointError(
            f"{record} belongs to another backtest; delete it, or choose another folder."
        )
    return True


def _members(config: BacktestConfig) -> tuple[str, ...]:
    """The forecasters asked for, or all that can run here; raises ConfigError, MissingDependency."""
    if unknown := [m for m in config.members or () if m not in MEMBERS]:
        raise ConfigError(
            f"There is no forecaster {unknown[0]!r}; the members are {', '.join(MEMBERS)}."
        )
    wanted = config.members or MEMBERS
    lacking = set(NETWORKS) if {*NETWORKS} & {*wanted} and not has_torch() else set()
    if importlib.util.find_spec("arch") is None:
        lacking.add("GARCH-t")
    if config.members and (found := [m for m in config.members if m in lacking]):
        extra = "torch" if found[0] in NETWORKS else "evaluation"
        raise MissingDependency(
            f"{found[0]} can't run here; install it with pip install 'tftnhits[{extra}]', or leave it out of members."
        )
    return tuple(m for m in wanted if m not in lacking)


def _claim(folder: Path, key: dict[str, Any]) -> None:
    """Raises CheckpointError if the folder holds another backtest."""
    path = folder / "manifest.json"
    if not path.exists():
        return
    old = read_json(path).get("key")
    new = json.loads(json.dumps(key))  # as it was written: tuples are lists
    if old == new:
        return
    changed = [k for k in new if not isinstance(old, dict) or old.get(k) != new[k]]
    if changed[0] == "config" and isinstance(old.get("config"), dict):
        changed[0] = (
            f"config ({', '.join(k for k, v in new['config'].items() if old['config'].get(k, v) != v)})"
        )
    raise CheckpointError(
        f"{folder} holds a backtest with another {', '.join(changed)}; choose another folder, or delete this one."
    )


def _digest(bars: pd.DataFrame) -> str:
    """A hash of validated bars."""
    numbers = bars[["open", "high", "low", "close", "volume"]].to_numpy(float)
    dates = bars["date"].to_numpy("datetime64[ns]").view(np.int64)
    zones = repr(sorted(bars.attrs.get("zones", {}).items())).encode()
    symbols = "\0".join(bars["symbol"]).encode()
    return sha256(symbols + zones + dates.tobytes() + np.nan_to_num(numbers).tobytes())[:16]
