"""Networks and training states on disk, as safetensors + JSON."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from ..config import NHITSConfig, TFTConfig
from ..errors import CheckpointError
from ..files import atomic_write, sha256
from .checkpoint import load_checkpoint, save_checkpoint
from .nhits import NHITS
from .tft import TFT

FORMAT = 2  # raised when older versions could no longer read what this one writes
NETWORKS = {"TFT": (TFT, TFTConfig), "NHITS": (NHITS, NHITSConfig)}


def build(config: TFTConfig | NHITSConfig, inputs: dict[str, tuple[str, ...]]) -> nn.Module:
    """The network that `config` describes, with fresh weights from torch's generator."""
    return (TFT if isinstance(config, TFTConfig) else NHITS)(config, inputs)


def fingerprint(model: nn.Module) -> str:
    """A hash of the network's weights."""
    return sha256(_to_bytes(model.state_dict()))


def save_network(folder: str | Path, model: nn.Module, name: str | None = None) -> Path:
    """Write a network to `folder`; returns its JSON's path.

    `name` is that of its files, for several networks of a kind; None takes "tft" or "nhits".
    """
    kind = type(model).__name__
    record = {
        "format": FORMAT,
        "network": kind,
        "config": model.config.to_dict(),
        "inputs": {k: list(v) for k, v in model.inputs.items()},
    }
    return save_checkpoint(folder, name or kind.lower(), _to_bytes(model.state_dict()), record)


def load_network(path: str | Path) -> nn.Module:
    """Read a network by its JSON's path, in evaluation mode.

    Raises CheckpointError if a file is missing, newer than this version, corrupt (hash) or
    foreign (shape).
    """
    record, data = load_checkpoint(path, FORMAT)
    kind, inputs = record.get("network"), record.get("inputs")
    if kind not in list(NETWORKS) or not _are_inputs(inputs):
        raise CheckpointError(
            f"{path} describes no network of this kit; train one, or choose another folder."
        )
    network, settings = NETWORKS[kind]
    try:
        config = settings.from_dict(_migrated(record.get("config")))
        if 4 * _least_size(config) > len(data):
            raise ValueError(f"{len(data)} bytes can't hold a network of that size")
        model = network(config, inputs)
        model.load_state_dict(safetensors.torch.load(data))
    except (ValueError, RuntimeError, ArithmeticError, safetensors.SafetensorError) as error:
        last = str(error).strip().splitlines()[-1]  # torch lists each key
        reason = textwrap.shorten(last.strip().rstrip("."), 200)
        raise CheckpointError(
            f"The weights of {path} don't fit it: {reason}; fetch or save them again."
        ) from error
    return model.eval()


def _migrated(config: Any) -> Any:
    """Settings as today's fields say them: format 1 had no knots in the backcast of N-HITS."""
    if not isinstance(config, dict) or "learned_residual" not in config:
        return config
    rest = {k: v for k, v in config.items() if k != "learned_residual"}
    return rest | {"backcast": "weighted bars" if config["learned_residual"] else "bars"}


def _are_inputs(inputs: Any) -> bool:
    """Whether they are lists of names by kind."""
    if not isinstance(inputs, dict) or set(inputs) != {"observed", "known", "static"}:
        return False
    return all(isinstance(v, list) and all(isinstance(n, str) for n in v) for v in inputs.values())


def _least_size(config: TFTConfig | NHITSConfig) -> int:
    """Numbers that a network holds at least: one of a billion is not to be built in vain."""
    layers = getattr(config, "lstm_layers", 1)
    pools = getattr(config, "pools", ())
    return max(config.hidden**2 * layers, config.context, config.horizon, *pools)


def _to_bytes(tensors: dict[str, Tensor], record: str | None = None) -> bytes:
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    return safetensors.torch.save(plain, None if record is None else {"record": record})


def save_state(path: str | Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write a training state as one file, so that it is whole at any moment."""
    atomic_write(path, _to_bytes(tensors, json.dumps(record)))


def load_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote; raises CheckpointError if it is corrupt."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            record = dict(json.loads(file.metadata()["record"]))
            return {k: file.get_tensor(k) for k in file.keys()}, record  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The training state {path} can't be read ({error}); delete it to start over."
        ) from error
