"""A saved model: its weights, a safetensors file named by its content, and the record of them.

The record goes into the folder's predictor.json (forecast/folder.py), which thereby says of every
file what is in it. Needs no torch: networks (store.py) and trees (boosting.py) are saved alike.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..config import ENSEMBLE_WEIGHTS
from ..errors import CheckpointError, OutputError, quoted
from ..files import MAX_WEIGHTS, atomic_write, data_file, read_at_most, sha256

FORMAT = 1  # of record and weights; raised when older versions could no longer read them
STATES = "calibration"  # is saved alike: the arrays of a predictor's calibrations
_NAMES = "|".join((*ENSEMBLE_WEIGHTS, "boosting", STATES))
_WEIGHTS = re.compile(rf"({_NAMES})(-[0-9]+)?-[0-9a-f]{{8}}\.safetensors")


class Part(NamedTuple):
    """A model as data: what describes it, and its weights."""

    record: dict[str, Any]  # plain values
    weights: bytes  # of a safetensors file


def is_weights(name: str) -> bool:
    """Whether a file of that name is one of `save_part`'s."""
    return _WEIGHTS.fullmatch(name) is not None


def save_part(folder: Path, name: str, part: Part) -> dict[str, Any]:
    """Write the weights; returns the record with their file's name and SHA-256.

    The name is `name` ("tft", "tft-1" for a second one) with the hash's first digits, so that no
    file that is in use ever changes. Raises OutputError.
    """
    if len(part.weights) > MAX_WEIGHTS:
        raise OutputError(
            f"The weights of {name} have {len(part.weights)} bytes, more than the {MAX_WEIGHTS} "
            "that are read again; train a smaller network."
        )
    digest = sha256(part.weights)
    path = atomic_write(folder / f"{name}-{digest[:8]}.safetensors", part.weights)
    return {"format": FORMAT, **part.record, "weights": path.name, "sha256": digest}


def load_part(folder: Path, record: Any) -> Part:
    """What `save_part` wrote, by the record that it returned.

    Raises CheckpointError if the record is none or of a newer format, and if the file is missing,
    too large or corrupt (hash).
    """
    number = record.get("format") if isinstance(record, dict) else None
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise CheckpointError(
            f"A model of {folder} has format {quoted(number)}, not one this version reads; "
            "upgrade tftnhits."
        )
    path = data_file(folder, record.get("weights"))
    try:
        data = read_at_most(path, MAX_WEIGHTS)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(
            f"The weights {path} can't be read: {reason}; save the model again."
        ) from error
    if sha256(data) != record.get("sha256"):
        raise CheckpointError(
            f"The weights {path} don't match their hash in predictor.json: corrupt; "
            "fetch or save them again."
        )
    return Part(record, data)
