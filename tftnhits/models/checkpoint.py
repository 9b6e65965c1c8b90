"""A saved model: NAME.json, renamed last, and its safetensors, which it names with their hash.

Needs no torch: the networks (store.py) and the boosted trees (boosting.py) are saved alike.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, quoted
from ..files import atomic_write, data_file, read_json, sha256, write_json


def save_checkpoint(folder: str | Path, name: str, weights: bytes, record: dict[str, Any]) -> Path:
    """Write `weights`, the bytes of a safetensors file, then `name`.json: `record` and their hash.

    The weights that an earlier call left under `name` are deleted. Returns the JSON's path.
    Raises OutputError.
    """
    folder, digest = Path(folder), sha256(weights)
    path = atomic_write(folder / f"{name}-{digest[:8]}.safetensors", weights)
    record = {**record, "weights": path.name, "sha256": digest}
    written = write_json(folder / f"{name}.json", record)
    _delete_weights(folder, name, keep=path)
    return written


def load_checkpoint(path: str | Path, newest: int) -> tuple[dict[str, Any], bytes]:
    """The record and the weights that `save_checkpoint` wrote, by the JSON's path.

    Raises CheckpointError if a file is missing, corrupt (hash) or of a format above `newest`.
    """
    path = Path(path)
    record = read_json(path)
    number = record.get("format")
    if type(number) is not int or not 1 <= number <= newest:
        raise CheckpointError(
            f"{path} has format {quoted(number)}, not one this version reads; upgrade tftnhits."
        )
    weights = data_file(path.parent, record.get("weights"))
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The weights {weights} can't be read: {error.strerror}; save the model again."
        ) from error
    if sha256(data) != record.get("sha256"):
        raise CheckpointError(
            f"The weights {weights} don't match their hash in {path.name}: corrupt; "
            f"fetch or save them again."
        )
    return record, data


def remove_checkpoint(folder: str | Path, name: str) -> None:
    """Delete the files that `save_checkpoint` wrote under `name`, if there are any."""
    (Path(folder) / f"{name}.json").unlink(missing_ok=True)
    _delete_weights(Path(folder), name)


def _delete_weights(folder: Path, name: str, keep: Path | None = None) -> None:
    """Delete the weights of `name` but `keep`; those of another name that begins alike stay."""
    for path in folder.glob(f"{name}-*.safetensors"):
        if path != keep and re.fullmatch("[0-9a-f]{8}", path.stem[len(name) + 1 :]):
            path.unlink()
