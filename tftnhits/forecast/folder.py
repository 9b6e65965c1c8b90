"""A predictor's folder: safetensors for the members, predictor.json for the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import PanelConfig
from ..errors import CheckpointError, ConfigError, MissingDependency, quoted
from ..files import read_json, write_json
from ..models.baselines import Walk
from ..models.boosting import Boosting
from .conformal import Calibration
from .ensemble import MEMBERS, Member, Network, has_torch
from .fallback import NO_TORCH, unusable

if TYPE_CHECKING:
    from .predictor import Predictor

FORMAT = 1  # of predictor.json; raised when its fields change
SHIPPED = Path(__file__).resolve().parents[2] / "data" / "pretrained"


def write_folder(folder: Path, predictor: Predictor) -> Path:
    """Write a predictor, predictor.json last; raises OutputError."""
    seeds = {}
    for name, member in predictor.members.items():
        if isinstance(member, Network):
            seeds[name] = len(member.models)
            _save_network(folder, name, member)
        else:
            member.save(folder)
    record = {
        "format": FORMAT,
        "members": list(predictor.members),
        "seeds": seeds,
        "panel": predictor.panel_config.to_dict(),
        "fitted": {k: np.asarray(v).tolist() for k, v in predictor.fitted.items()},
        "levels": list(predictor.levels),
        "walk": predictor.walk.shape.tolist(),
        "calibration": {k: c.to_dict() for k, c in predictor.calibration.items()},
        "weights": predictor.weights,
        "seen": predictor.seen,
        "depth": predictor.depth,
        "bar_days": predictor.bar_days,
        "manifest": predictor.manifest,
    }
    write_json(folder / "predictor.json", record)
    return folder


def read_folder(folder: Path | None, make: type[Predictor]) -> Predictor:
    """The predictor in a folder, by default the shipped one's; `make` is its class.

    A member that is missing, corrupt or can't run is left out, and `missing` says why. Raises
    CheckpointError if predictor.json is missing, corrupt, of another format, or makes no sense.
    """
    if folder is None and not SHIPPED.is_dir():
        raise CheckpointError(
            f"No trained model is at {SHIPPED}; install the clone by pip install -e, or name a "
            "model's folder: `make run` leaves one in notebooks/runs/<time>/model."
        )
    # the record first: what it doesn't name isn't read
    folder = folder or SHIPPED
    record = read_json(folder / "predictor.json")
    number = record.get("format")
    if type(number) is not int or number != FORMAT:
        raise CheckpointError(
            f"{folder} has format {quoted(number)}, not the one of this version, {FORMAT}; "
            "upgrade tftnhits, or train again."
        )
    try:
        members, missing = _read_members(folder, record)
        days = record["bar_days"]
        return make(
            members=members,
            missing=missing,
            walk=Walk(record["walk"], tuple(float(level) for level in record["levels"])),
            panel_config=PanelConfig.from_dict(record["panel"]),
            fitted={k: np.array(v, float) for k, v in record["fitted"].items()},
            weights=dict(record["weights"]),
            calibration={k: Calibration.from_dict(v) for k, v in record["calibration"].items()},
            seen={k: str(np.datetime64(v)) for k, v in record["seen"].items()},
            depth=int(record["depth"]),
            bar_days=None if days is None else float(days),
            manifest=record["manifest"],
        )
    except Exception as error:  # a foreign record can fail wherever it is read
        raise CheckpointError(
            f"{folder} can't be used ({str(error).rstrip('.')}); save its predictor again."
        ) from error


def _read_members(folder: Path, record: dict[str, Any]) -> tuple[dict[str, Member], dict[str, str]]:
    """The members by name, and why others are missing."""
    names = list(record["members"])
    if not names or any(name not in MEMBERS for name in names):
        raise CheckpointError(
            f"It has the members {quoted(names)}, of which this version knows {', '.join(MEMBERS)}."
        )
    members: dict[str, Member] = {}
    missing: dict[str, str] = {}
    for name in names:
        if name != "boosting" and not has_torch():
            missing[name] = NO_TORCH
            continue
        try:
            members[name] = _read_member(folder, name, int(record["seeds"].get(name, 1)))
        except (CheckpointError, ConfigError, MissingDependency) as error:
            missing[name] = unusable(error)
    return members, missing


def _network_name(name: str, seed: int) -> str:
    """Of a network's files: "tft", "tft-1"."""
    return f"{name}-{seed}" if seed else name


def _save_network(folder: Path, name: str, member: Network) -> None:
    from ..models.checkpoint import remove_checkpoint
    from ..models.store import save_network

    for seed, model in enumerate(member.models):
        save_network(folder, model, name=_network_name(name, seed))
    for stale in folder.glob(f"{name}-*.json"):  # of an earlier predictor with more seeds
        seed = stale.stem[len(name) + 1 :]
        if re.fullmatch("[1-9][0-9]*", seed) and int(seed) >= len(member.models):
            remove_checkpoint(folder, stale.stem)


def _read_member(folder: Path, name: str, seeds: int) -> Member:
    if name == "boosting":
        return Boosting.load(folder / "boosting.json")
    from ..models.store import load_network

    paths = [folder / f"{_network_name(name, seed)}.json" for seed in range(seeds)]
    return Network([load_network(path) for path in paths])
