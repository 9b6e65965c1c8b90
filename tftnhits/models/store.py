"""Networks and training states on disk, as safetensors + JSON."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..config import NHITSConfig, TFTConfig
from ..errors import CheckpointError
from ..files import MAX_JSON, atomic_write, sha256
from .caller import own_torch
from .checkpoint import Part
from .nhits import NHITS
from .tft import TFT

LAYER = 7  # tensors that a stack, or a layer of the LSTMs, has at least
DERIVED = 16  # numbers that a network may compute of its settings, for each that it was given
NETWORKS = {"TFT": (TFT, TFTConfig), "NHITS": (NHITS, NHITSConfig)}


def build(config: TFTConfig | NHITSConfig, inputs: dict[str, tuple[str, ...]]) -> nn.Module:
    """The network that `config` describes, with fresh weights from torch's generator."""
    return (TFT if isinstance(config, TFTConfig) else NHITS)(config, inputs)


def fingerprint(model: nn.Module) -> str:
    """A hash of the network's weights."""
    return sha256(_to_bytes(model.state_dict()))


def network_part(model: nn.Module) -> Part:
    """The network as data, to be saved."""
    record = {
        "network": type(model).__name__,
        "config": model.config.to_dict(),
        "inputs": {k: list(v) for k, v in model.inputs.items()},
    }
    return Part(record, _to_bytes(model.state_dict()))


@own_torch()  # it is built with weights of its own before it is filled
def network_of(part: Part) -> nn.Module:
    """Inverse of `network_part`, in evaluation mode.

    Raises CheckpointError if it describes no network, or one that the weights don't fit (shape).
    """
    kind, inputs = part.record.get("network"), part.record.get("inputs")
    if kind not in list(NETWORKS) or not _are_inputs(inputs):
        raise CheckpointError(
            "The record describes no network of this kit; train one, or choose another folder."
        )
    network, settings = NETWORKS[kind]
    try:
        config = settings.from_dict(part.record.get("config"))
        tensors = _tensors(part.weights)
        _check_shapes(network, config, inputs, tensors)
        model = network(config, inputs)
        model.load_state_dict(tensors)
    except (ValueError, RuntimeError, ArithmeticError, safetensors.SafetensorError) as error:
        last = str(error).strip().splitlines()[-1]  # torch lists each key
        reason = textwrap.shorten(last.strip().rstrip("."), 200)
        raise CheckpointError(
            f"The network's weights don't fit it: {reason}; fetch or save them again."
        ) from error
    return model.eval()


def _are_inputs(inputs: Any) -> bool:
    """Whether they are lists of names by kind."""
    if not isinstance(inputs, dict) or set(inputs) != {"observed", "known", "static"}:
        return False
    return all(isinstance(v, list) and all(isinstance(n, str) for n in v) for v in inputs.values())


def _tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, whose header is JSON like any other."""
    if int.from_bytes(data[:8], "little") > MAX_JSON:
        raise ValueError(f"their header has more than {MAX_JSON} bytes")
    return safetensors.torch.load(data)


def _check_shapes(
    network: type[nn.Module],
    config: TFTConfig | NHITSConfig,
    inputs: dict[str, list[str]],
    tensors: dict[str, Tensor],
) -> None:
    """Raise ValueError unless the tensors are the network's, before anything of its size is made.

    What no tensor has the size of is bounded by how many numbers there are: the layers, each of
    which has several tensors, the kernels, and the matrices that interpolate.
    """
    held = sum(tensor.numel() for tensor in tensors.values())
    problem = ValueError(f"{held} numbers in {len(tensors)} tensors can't be one of that size")
    pools = getattr(config, "pools", ())
    layers = getattr(config, "lstm_layers", len(pools))
    longest = max(config.hidden**2, config.context, config.horizon, *pools)
    if layers * LAYER > len(tensors) or longest > held:
        raise problem
    with torch.device("meta"):  # shapes alone
        model = network(config, inputs)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    fits = expected == {name: tensor.shape for name, tensor in tensors.items()}
    if not fits or sum(buffer.numel() for buffer in model.buffers()) > DERIVED * held:
        raise problem


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
