"""Models as safetensors + JSON: the JSON names the weights file and its hash, and is renamed last."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from ..config import NHITSConfig, TFTConfig
from ..errors import CheckpointError, shown
from ..files import atomic_write, data_file, read_json, sha256, write_json
from .nhits import NHITS
from .tft import TFT

FORMAT = 1  # raised when older versions could no longer read what this one writes
NETWORKS = {"TFT": (TFT, TFTConfig), "NHITS": (NHITS, NHITSConfig)}


def build(config: TFTConfig | NHITSConfig, inputs: dict[str, tuple[str, ...]]) -> nn.Module:
    """The network that `config` describes, with fresh weights from torch's generator."""
    return next(
        network(config, inputs) for network, kind in NETWORKS.values() if isinstance(config, kind)
    )


def fingerprint(model: nn.Module) -> str:
    """A hash of the network's weights."""
    return sha256(_bytes(model))


def _bytes(model: nn.Module) -> bytes:
    return safetensors.torch.save(
        {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    )


def save_network(
    folder: str | Path,
    model: nn.Module,
    extra: dict[str, Any] | None = None,
    name: str | None = None,
) -> Path:
    """Write a network to `folder`; `extra` is kept in its JSON. Returns the JSON's path.

    `name` is that of its files, for several networks of a kind; None takes the kind's: "tft" or "nhits".
    """
    kind, folder = type(model).__name__, Path(folder)
    name = name or kind.lower()
    data = _bytes(model)
    digest = sha256(data)
    weights = atomic_write(folder / f"{name}-{digest[:8]}.safetensors", data)
    record = {
        "format": FORMAT,
        "network": kind,
        "config": model.config.to_dict(),
        "inputs": {k: list(v) for k, v in model.inputs.items()},
        "weights": weights.name,
        "sha256": digest,
        **(extra or {}),
    }
    path = write_json(folder / f"{name}.json", record)
    _tidy(folder, name, weights)
    return path


def remove_network(folder: str | Path, name: str) -> None:
    """Delete the files of the network that `save_network` wrote under `name`, if there are any."""
    (Path(folder) / f"{name}.json").unlink(missing_ok=True)
    _tidy(Path(folder), name)


def _tidy(folder: Path, name: str, keep: Path | None = None) -> None:
    """Delete the weights of `name` but `keep`; those of another name that begins alike stay."""
    for old in folder.glob(f"{name}-*.safetensors"):
        if old != keep and re.fullmatch("[0-9a-f]{8}", old.stem[len(name) + 1 :]):
            old.unlink()


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a network by its JSON's path; returns it in evaluation mode with the JSON's record.

    Raises CheckpointError if a file is missing, newer than this version, corrupt (hash) or foreign (shape).
    """
    path = Path(path)
    record = read_json(path)
    if str(record.get("network")) not in NETWORKS or not isinstance(record.get("format"), int):
        raise CheckpointError(
            f"{path} describes no network of this kit; train one, or choose another folder."
        )
    if record["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {shown(record['format'])}, newer than this version reads; upgrade tftnhits."
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
            f"The weights {weights} don't match their hash in {path.name}: corrupt; fetch or save them again."
        )
    network, kind = NETWORKS[record["network"]]
    try:
        config = kind.from_dict(record["config"])
        if 4 * _least(config) > len(data):
            raise ValueError(f"{len(data)} bytes can't hold a network of that size")
        model = network(config, record["inputs"])
        model.load_state_dict(safetensors.torch.load(data))
    except (
        *(
            RuntimeError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
        ),  # whatever the JSON says
        safetensors.SafetensorError,
    ) as error:
        reason = textwrap.shorten(
            str(error).strip().splitlines()[-1].strip().rstrip("."), 200
        )  # torch lists each key
        raise CheckpointError(
            f"The weights {weights} don't fit {path.name}: {reason}; fetch or save them again."
        ) from error
    return model.eval(), record


def _least(config: TFTConfig | NHITSConfig) -> int:
    """Weights that a network has at least: one of a billion is not to be built before its file turns out too small."""
    layers = getattr(config, "lstm_layers", 1)
    return max(
        config.hidden**2 * layers, config.context, config.horizon, *getattr(config, "pools", ())
    )


def save_state(path: str | Path, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
    """Write a training state as one file, so that it is whole at any moment."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    atomic_write(path, safetensors.torch.save(plain, {"record": json.dumps(record)}))


def load_state(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_state` wrote; raises CheckpointError if it is corrupt."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            record = dict(json.loads(file.metadata()["record"]))
            return {k: file.get_tensor(k) for k in file.keys()}, record  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The training state {path} can't be read ({error}); delete it to start over."
        ) from error
