"""A predictor's folder: safetensors for the members' weights, predictor.json for all the rest."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from ..config import PanelConfig
from ..errors import CheckpointError, ConfigError, MissingDependency, quoted
from ..files import locked, read_json, sha256, write_json
from ..models.baselines import Walk
from ..models.boosting import Boosting
from ..models.caller import first_of_ranks
from ..models.checkpoint import STATES, Part, is_weights, load_part, save_part
from .conformal import Calibration
from .ensemble import MEMBERS, Member, Network, has_torch
from .fallback import NO_TORCH, unusable
from .pools import Pool

if TYPE_CHECKING:
    from .predictor import Predictor

FORMAT = 2  # of predictor.json; raised when its fields change
PATIENCE = 60.0  # seconds for another writer of the folder
ATTEMPTS = 50  # to read a folder whole that others write: each takes milliseconds
_BEGUN = re.compile(r"\.(?P<name>.+)\.\w+")  # atomic_write's temporary name for `name`
SHIPPED = Path(__file__).resolve().parents[2] / "data" / "pretrained"


def write_folder(folder: Path, predictor: Predictor) -> Path:
    """Write a predictor beside those who read the one before it; raises OutputError.

    No file that the one before names is changed, and predictor.json, replaced in one step, makes
    the new ones the folder's: whoever reads has all of the one or all of the other, and so has a
    folder whose writer was killed.
    """
    path = folder / "predictor.json"
    if not first_of_ranks():
        return folder
    with locked(path, PATIENCE):
        members = {
            name: [
                save_part(folder, f"{name}-{seed}" if seed else name, part)
                for seed, part in enumerate(_parts_of(member))
            ]
            for name, member in predictor.members.items()
        }
        states = save_part(folder, STATES, _states_part(predictor.pools))
        record = {
            "format": FORMAT,
            "members": members,
            "calibrations": states,
            **_settings(predictor),
        }
        write_json(path, record)
        _delete_others(folder, files_named(record))
    return folder


def _parts_of(member: Member) -> list[Part]:
    """A member's models as data: of a network one for each seed."""
    if not isinstance(member, Network):
        return [member.to_part()]
    from ..models.store import network_part

    return [network_part(model) for model in member.models]


def model_name(predictor: Predictor) -> str:
    """A short hash of a predictor's weights, whatever its calibration."""
    parts = [_parts_of(predictor.members[name]) for name in sorted(predictor.members)]
    digests = [sha256(part.weights) for member in parts for part in member]
    shares = sorted(predictor.weights.items())
    return sha256(repr((digests, shares)).encode())[:12]


def _settings(predictor: Predictor) -> dict[str, Any]:
    """All but the members, as plain values."""
    return {
        "panel": predictor.panel_config.to_dict(),
        "fitted": {k: np.asarray(v).tolist() for k, v in predictor.fitted.items()},
        "levels": list(predictor.levels),
        "walk": predictor.walk.shape.tolist(),
        "calibration": {
            kind: {name: c.to_dict() for name, c in pool.calibration.items()}
            for kind, pool in predictor.pools.items()
        },
        "weights": predictor.weights,
        "seen": {kind: pool.seen for kind, pool in predictor.pools.items()},
        "depth": predictor.depth,
        "manifest": predictor.manifest,
    }


def _states_part(pools: dict[str, Pool]) -> Part:
    """The arrays of all calibrations as one file."""
    arrays = {}
    for kind, pool in pools.items():
        for name, calibration in pool.calibration.items():
            for what, values in calibration.arrays().items():
                arrays[f"{kind}/{name}/{what}"] = np.ascontiguousarray(values)
    return Part({}, safetensors.numpy.save(arrays))


def files_named(record: dict[str, Any]) -> set[str]:
    """The files that a folder's record names."""
    parts = [part for parts in record["members"].values() for part in parts]
    return {part["weights"] for part in (*parts, record["calibrations"])}


def _delete_others(folder: Path, named: set[str]) -> None:
    """Delete weights that the folder's record doesn't name, and what killed writers began."""
    for path in folder.iterdir():
        begun = _BEGUN.fullmatch(path.name)
        left = begun and (is_weights(begun["name"]) or begun["name"] == "predictor.json")
        if left or (is_weights(path.name) and path.name not in named):
            with suppress(OSError):  # Windows keeps what is being read; the next writer deletes it
                path.unlink()


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
    folder = folder or SHIPPED
    for _ in range(ATTEMPTS):
        record = _read_record(folder)
        parts, missing = _read_parts(folder, record)
        # where a file is gone, a writer may have put others in its place
        if not missing or _read_record(folder) == record:
            break
    return _predictor(folder, record, parts, missing, make)


def _read_record(folder: Path) -> dict[str, Any]:
    """What predictor.json holds, members that this version knows among it."""
    if folder.is_dir() and not (folder / "predictor.json").exists():
        raise CheckpointError(
            f"The folder '{folder}' holds no model (predictor.json is missing); name one that "
            "tftnhits train made."
        )
    record = read_json(folder / "predictor.json")
    number = record.get("format")
    if type(number) is not int or number != FORMAT:
        raise CheckpointError(
            f"{folder} has format {quoted(number)}, not the one of this version, {FORMAT}; "
            "upgrade tftnhits, or train again."
        )
    members = record.get("members")
    lists = isinstance(members, dict) and all(isinstance(v, list) and v for v in members.values())
    if not lists or not members or any(name not in MEMBERS for name in members):
        raise CheckpointError(
            f"{folder} has the members {quoted(members)}, of which this version knows "
            f"{', '.join(MEMBERS)}; save its predictor again."
        )
    return record


def _read_parts(
    folder: Path, record: dict[str, Any]
) -> tuple[dict[str, list[Part]], dict[str, str]]:
    """The members and STATES as data, and why others are missing; quickly, before any is built."""
    parts: dict[str, list[Part]] = {}
    missing: dict[str, str] = {}
    for name, records in record["members"].items():
        if name != "boosting" and not has_torch():
            missing[name] = NO_TORCH
            continue
        try:
            parts[name] = [load_part(folder, one) for one in records]
        except CheckpointError as error:
            missing[name] = unusable(error)
    try:
        parts[STATES] = [load_part(folder, record.get("calibrations"))]
    except CheckpointError as error:
        missing[STATES] = str(error)
    return parts, missing


def _predictor(
    folder: Path,
    record: dict[str, Any],
    parts: dict[str, list[Part]],
    missing: dict[str, str],
    make: type[Predictor],
) -> Predictor:
    """What `read_folder` returns, of what it has read."""
    if STATES in missing:
        raise CheckpointError(missing[STATES])
    members: dict[str, Member] = {}
    for name, some in parts.items():
        if name == STATES:
            continue
        try:
            members[name] = _built(name, some)
        except (CheckpointError, ConfigError, MissingDependency) as error:
            missing[name] = unusable(error)
    try:
        manifest = dict(record["manifest"])
        np.array(list(dict(manifest["trained to"]).values()), "datetime64[D]")  # are they dates
        return make(
            members=members,
            missing=missing,
            walk=Walk(record["walk"], tuple(float(level) for level in record["levels"])),
            panel_config=PanelConfig.from_dict(record["panel"]),
            fitted={k: np.array(v, float) for k, v in record["fitted"].items()},
            weights=dict(record["weights"]),
            pools=_pools(record, parts[STATES][0]),
            depth=int(record["depth"]),
            manifest=manifest,
        )
    except Exception as error:  # a foreign record can fail wherever it is read
        raise CheckpointError(
            f"{folder} can't be used ({str(error).rstrip('.')}); save its predictor again."
        ) from error


def _pools(record: dict[str, Any], states: Part) -> dict[str, Pool]:
    """The pools of a folder's record, their arrays from its file."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for name, values in safetensors.numpy.load(states.weights).items():
        key, _, what = name.rpartition("/")
        arrays.setdefault(key, {})[what] = values
    return {
        kind: Pool(
            {k: Calibration.restored(v, arrays[f"{kind}/{k}"]) for k, v in values.items()},
            {name: str(np.datetime64(day)) for name, day in record["seen"][kind].items()},
        )
        for kind, values in record["calibration"].items()
    }


def _built(name: str, parts: list[Part]) -> Member:
    if name == "boosting":
        return Boosting.from_part(parts[0])
    from ..models.store import network_of

    return Network([network_of(part) for part in parts])
