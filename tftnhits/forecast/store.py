"""A predictor's folder: safetensors for the members, predictor.json for the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import PanelConfig
from ..errors import CheckpointError, ConfigError, MissingDependency, one_line, shown
from ..files import read_json, write_json
from ..models.boosting import Boosting
from ..models.baselines import Walk
from .conformal import Calibration
from .ensemble import MEMBERS, Member, Network, has_torch
from .fallback import Reason

FORMAT = 3  # still read: 1, without calibration, and 2, without the random walk


@dataclass
class Parts:
    """All that makes a predictor."""

    members: dict[str, Member]
    missing: dict[str, Reason]  # why other members that there should be are not here
    walk: Walk
    panel_config: PanelConfig
    fitted: dict[str, np.ndarray]
    weights: dict[str, float]
    calibration: dict[str, Calibration]  # by link; empty where a folder of format 1 was read
    seen: dict[str, str]  # last origin date of each symbol that the calibration has taken in
    depth: int  # bars that each origin of the calibration had at least
    bar_days: float | None  # how long the calibration's bars are; None where that is not known
    manifest: dict[str, Any]


def save_parts(folder: str | Path, parts: Parts) -> Path:
    """Write `parts` to `folder`, predictor.json last; returns the folder. Raises OutputError."""
    folder, seeds = Path(folder), {}
    for name, member in parts.members.items():
        if isinstance(member, Network):
            seeds[name] = len(member.models)
            _save_network(folder, name, member)
        else:
            member.save(folder)
    record = {
        "format": FORMAT,
        "members": list(parts.members),
        "seeds": seeds,
        "weights": parts.weights,
        "panel": parts.panel_config.to_dict(),
        "fitted": {k: np.asarray(v).tolist() for k, v in parts.fitted.items()},
        "levels": list(parts.walk.levels),
        "walk": parts.walk.shape.tolist(),
        "calibration": {k: c.to_dict() for k, c in parts.calibration.items()},
        "seen": parts.seen,
        "depth": parts.depth,
        "bar_days": parts.bar_days,
        "manifest": parts.manifest,
    }
    write_json(folder / "predictor.json", record)
    return folder


def load_parts(folder: str | Path | None = None) -> Parts:
    """Read what `save_parts` wrote, by default from data/pretrained beside the package.

    A member that is missing, corrupt or can't run here is left out, and `missing` says why. Raises CheckpointError if
    predictor.json is missing, corrupt, foreign or newer.
    """
    folder = _default() if folder is None else Path(folder)
    record = read_json(folder / "predictor.json")
    if type(record.get("format")) is not int or not 1 <= record["format"] <= FORMAT:
        raise CheckpointError(
            f"{folder} has format {shown(record.get('format'))}, not one this version reads; upgrade tftnhits."
        )
    try:
        names, seeds = (
            list(record["members"]),
            {k: int(n) for k, n in record.get("seeds", {}).items()},
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _incomplete(folder, error) from error
    if unknown := [n for n in names if n not in MEMBERS]:
        raise CheckpointError(
            f"{folder} holds the unknown member {unknown[0]!r}; upgrade tftnhits."
        )
    if not names or min(seeds.values(), default=1) < 1:
        raise CheckpointError(
            f"{folder} names no members, or one without networks; save the predictor again."
        )
    members: dict[str, Member] = {}
    missing: dict[str, Reason] = {}
    for name in names:
        if name != "boosting" and not has_torch():
            missing[name] = Reason("torch")
            continue
        try:
            members[name] = _load_member(folder, name, seeds.get(name, 1))
        except (CheckpointError, ConfigError, MissingDependency) as error:
            missing[name] = Reason("weights", one_line(str(error), 250).rstrip("."))
    return _parts(folder, record, members, missing)


def _parts(
    folder: Path, record: dict[str, Any], members: dict[str, Member], missing: dict[str, Reason]
) -> Parts:
    """The members with what predictor.json says of the rest."""
    old = record["format"]
    try:
        config = PanelConfig.from_dict(record["panel"])
        levels = record["levels"] if old > 2 else next(iter(members.values())).levels
        levels = tuple(float(level) for level in levels)
        parts = Parts(
            members,
            missing,
            Walk(record["walk"], levels) if old > 2 else Walk.normal(config.horizon, levels),
            config,
            {k: np.array(v, float) for k, v in record["fitted"].items()},
            dict(record["weights"]),
            {}
            if old == 1
            else {k: Calibration.from_dict(v) for k, v in record["calibration"].items()},
            {} if old == 1 else {k: str(np.datetime64(v)) for k, v in record["seen"].items()},
            int(record["depth"]) if old > 2 else 0,
            None if record.get("bar_days") is None else float(record["bar_days"]),
            record["manifest"],
        )
    except CheckpointError:
        raise
    except StopIteration:
        why = (
            next(iter(missing.values()), Reason("")).detail
            or "PyTorch is missing; install the extra 'torch'"
        )
        raise CheckpointError(f"No member of {folder} can be used: {why}.") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _incomplete(folder, error) from error
    for calibration in parts.calibration.values():
        if len(calibration.state.score) != config.horizon:
            raise CheckpointError(
                f"{folder} has a calibration for another horizon; save the predictor again."
            )
    return parts


def _incomplete(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{folder / 'predictor.json'} is incomplete ({error}); save the predictor again."
    )


def _default() -> Path:
    folder = Path(__file__).resolve().parents[2] / "data" / "pretrained"
    if not folder.is_dir():
        raise CheckpointError(
            f"No trained model is at {folder}; install the clone by pip install -e, or name a model's folder: `make "
            f"run` leaves one in notebooks/runs/<time>/model."
        )
    return folder


def _file(name: str, seed: int) -> str:
    return f"{name}-{seed}" if seed else name


def _save_network(folder: Path, name: str, member: Network) -> None:
    from ..models.checkpoint import remove_checkpoint
    from ..models.store import save_network

    for seed, model in enumerate(member.models):
        save_network(folder, model, name=_file(name, seed))
    for old in folder.glob(f"{name}-*.json"):  # of an earlier predictor with more seeds
        seed = old.stem[len(name) + 1 :]
        if re.fullmatch("[1-9][0-9]*", seed) and int(seed) >= len(member.models):
            remove_checkpoint(folder, old.stem)


def _load_member(folder: Path, name: str, seeds: int) -> Member:
    if name == "boosting":
        return Boosting.load(folder / "boosting.json")
    from ..models.store import load_network

    models = [load_network(folder / f"{_file(name, seed)}.json") for seed in range(seeds)]
    return Network(models)
