"""A predictor's folder: safetensors and skops for the members, predictor.json for the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import PanelConfig
from ..errors import CheckpointError, ConfigError
from ..files import read_json, write_json
from ..models.boosting import Boosting
from .conformal import Calibration
from .ensemble import NAMES, Member, Network, has_torch

FORMAT = 2  # 1: without calibration; it is still read


@dataclass
class Parts:
    """All that makes a predictor."""

    members: dict[str, Member]
    panel_config: PanelConfig
    fitted: dict[str, np.ndarray]
    weights: dict[str, float]
    calibration: dict[str, Calibration]  # by link; empty where a folder of format 1 was read
    seen: dict[str, str]  # last origin date of each symbol that the calibration has taken in
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
        "calibration": {k: c.to_dict() for k, c in parts.calibration.items()},
        "seen": parts.seen,
        "manifest": parts.manifest,
    }
    write_json(folder / "predictor.json", record)
    return folder


def load_parts(folder: str | Path | None = None) -> Parts:
    """Read what `save_parts` wrote, by default from data/pretrained beside the package.

    Raises CheckpointError if a part is missing, corrupt, foreign or newer. Without torch the networks are left out.
    """
    folder = _default() if folder is None else Path(folder)
    record = read_json(folder / "predictor.json")
    if type(record.get("format")) is not int or not 1 <= record["format"] <= FORMAT:
        raise CheckpointError(
            f"{folder} has format {record.get('format')!r}, not one this version reads; upgrade tftnhits."
        )
    names, seeds, parts = _parts(folder, record)
    if unknown := [n for n in names if str(n) not in NAMES]:
        raise CheckpointError(f"{folder} holds the unknown member {unknown[0]!r}; upgrade tftnhits.")
    if not has_torch():
        names = [n for n in names if n == "boosting"]
        if not names:
            raise CheckpointError(f"{folder} holds networks only and PyTorch is missing; install the extra 'torch'.")
    parts.members = {n: _load_member(folder, n, seeds.get(n, 1)) for n in names}
    return parts


def _parts(folder: Path, record: dict[str, Any]) -> tuple[list[str], dict[str, int], Parts]:
    """The members' names, how many networks each has, and what predictor.json says of the rest."""
    try:
        names, old = list(record["members"]), record["format"] == 1
        seeds = {} if old else {k: int(n) for k, n in record["seeds"].items()}
        parts = Parts(
            {},
            PanelConfig.from_dict(record["panel"]),
            {k: np.array(v, float) for k, v in record["fitted"].items()},
            dict(record["weights"]),
            {} if old else {k: Calibration.from_dict(v) for k, v in record["calibration"].items()},
            {} if old else {k: str(np.datetime64(v)) for k, v in record["seen"].items()},
            record["manifest"],
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'predictor.json'} is incomplete ({error}); save the predictor again."
        ) from error
    if min(seeds.values(), default=1) < 1:
        raise CheckpointError(f"{folder} names a member without networks; save the predictor again.")
    for calibration in parts.calibration.values():
        if len(calibration.state.score) != parts.panel_config.horizon:
            raise CheckpointError(f"{folder} has a calibration for another horizon; save the predictor again.")
    return names, seeds, parts


def _default() -> Path:
    folder = Path(__file__).resolve().parents[2] / "data" / "pretrained"
    if not folder.is_dir():
        raise CheckpointError(
            f"No trained model is at {folder}; name the folder of one: `make run` leaves one in "
            f"notebooks/runs/<time>/model."
        )
    return folder


def _file(name: str, seed: int) -> str:
    return f"{name}-{seed}" if seed else name


def _save_network(folder: Path, name: str, member: Network) -> None:
    from ..training.checkpoint import remove_network, save_network

    for seed, model in enumerate(member.models):
        save_network(folder, model, name=_file(name, seed))
    for old in folder.glob(f"{name}-*.json"):  # of an earlier predictor with more seeds
        seed = old.stem[len(name) + 1 :]
        if re.fullmatch("[1-9][0-9]*", seed) and int(seed) >= len(member.models):
            remove_network(folder, old.stem)


def _load_member(folder: Path, name: str, seeds: int) -> Member:
    if name == "boosting":
        return Boosting.load(folder / "boosting.json")
    from ..training.checkpoint import load_network

    models = [load_network(folder / f"{_file(name, seed)}.json")[0] for seed in range(seeds)]
    try:
        return Network(models)
    except ConfigError as error:
        raise CheckpointError(f"{folder} can't be used: {error}") from error
