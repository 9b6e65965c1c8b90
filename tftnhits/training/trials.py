"""The trial log: one JSON line for each configuration ever scored on validation, by any study.

How many were tried decides how much of the best score is luck (Bailey & López de Prado 2014), so the log is only
ever added to, by any number of processes at once, and a line that a kill cut off still counts.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError, DataError, OutputError

try:
    import fcntl
except ImportError:  # Windows: one process at a time
    fcntl = None  # type: ignore[assignment]
BINARY = getattr(os, "O_BINARY", 0)  # there too

UNIT = "mean pinball loss x 1e4 of the cumulative log return, 9 levels"  # the DJIA protocol's
FIELDS = ("time", "study", "model", "config", "train", "valid", "unit", "seed")
START = b'{"time": '  # how each line begins
# no part of a configuration: seeds are replicas, and a walk-forward's dates differ by fold
REPLICAS = ("seed", "train_end", "valid_end")


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[int]:
    """An open file that no other process has locked; it is made if absent, and a dead process holds nothing.

    Yields its descriptor, for reading and appending. Raises OutputError if it can't be opened or, unless `wait`,
    if another process holds it.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | BINARY, 0o644)
    except OSError as error:
        raise OutputError(
            f"Can't write {path}: {error.strerror}; choose a folder that you may write to."
        ) from error
    try:
        if fcntl:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise OutputError(
                    f"Another process holds {path}; wait for it, or choose another folder."
                ) from error
        yield handle
    finally:
        os.close(handle)  # and by that unlocked


def log_trial(
    path: str | Path,
    study: str,
    model: str,
    config: Any,
    train: Any,
    valid: float | None,
    seed: int,
    **more: Any,
) -> None:
    """Append one scored configuration to the log at `path`, whole or not at all.

    config and train are settings of the kit, dicts or None; `valid` is the validation loss in `unit` (UNIT unless
    given), None or NaN where there is none, as for a pruned run. Among `more`, `panel` (a PanelConfig or dict) belongs
    to the configuration, and `count` says for how many configurations the line stands (those before the log began).
    Raises ConfigError on what isn't plain data, OutputError if the file can't be written.
    """
    count = more.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"The trial log's count is {count!r}; give a whole number of at least 1.")
    record = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "study": study,
        "model": model,
    }
    try:
        score = None if valid is None or not math.isfinite(valid) else float(valid)
        record |= {
            "config": config,
            "train": train,
            "valid": score,
            "unit": UNIT,
            "seed": seed,
            **more,
        }
        line = json.dumps(record, default=_plain, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The trial log can't hold a run of {model}: {error}; give plain data."
        ) from error
    with locked(path) as handle:
        try:
            if os.fstat(handle).st_size:
                os.lseek(handle, -1, os.SEEK_END)
                if os.read(handle, 1) != b"\n":
                    line = b"\n" + line  # the last line was cut off: let it not spoil this one
            if os.write(handle, line) < len(line):
                raise OSError(None, "the disk is full")
            os.fsync(handle)
        except OSError as error:
            raise OutputError(f"Can't write {path}: {error.strerror}; make room for it.") from error


def read_trials(path: str | Path) -> pd.DataFrame:
    """The log as a frame, a row a line in the order written, with FIELDS and whatever else was given.

    `config` and `train` are dicts. Lines cut off by a kill are left out; `frame.attrs["cut"]` counts them.
    Raises DataError if there is no such log, or a line is none of `log_trial`'s.
    """
    rows, cut = _lines(path)
    frame = pd.DataFrame(rows, columns=None if rows else list(FIELDS))
    frame.attrs["cut"] = cut
    return frame


def count_trials(path: str | Path, study: str = "") -> int:
    """How many different configurations the log holds: of network, training and, where logged, inputs.

    Runs that differ in nothing but the seed or the split dates count once; a line with a `count` counts that often,
    and a line cut off by a kill once. `study` limits it to studies whose name begins so. Raises as `read_trials`.
    """
    rows, cut = _lines(path)
    rows = [row for row in rows if str(row["study"]).startswith(study)]
    distinct = {_key(row) for row in rows if "count" not in row}
    return len(distinct) + sum(row["count"] for row in rows if "count" in row) + cut


def _key(row: dict[str, Any]) -> str:
    """What makes a configuration, as text."""
    parts = [row.get(k) or {} for k in ("config", "train", "panel")]
    parts = [
        {k: v for k, v in p.items() if k not in REPLICAS} if isinstance(p, dict) else p
        for p in parts
    ]
    return json.dumps([row["model"], *parts], sort_keys=True)


def _lines(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """All whole lines of a log, and how many were cut off."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"The trial log {path} can't be read: {error.strerror}; give the path of one."
        ) from error
    rows, cut = [], 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
            if line[: len(START)] == START[: len(line)]:
                cut += 1
                continue
        if (
            not isinstance(row, dict)
            or not set(FIELDS) <= set(row)
            or not isinstance(row.get("count", 1), int)
        ):
            raise DataError(
                f"{path} is no trial log: line {number} is {line[:40]!r}; give the path of one."
            )
        rows.append(row)
    return rows, cut


def _plain(value: Any) -> Any:
    """For JSON: the kit's settings, numpy's numbers and paths."""
    for method in ("to_dict", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no plain data")
