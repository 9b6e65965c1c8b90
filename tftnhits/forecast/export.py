"""What forecasts in an ensemble, as programs that need this package no more: torch.export, ONNX.

A program is what a member computes of its inputs, for any number of chunks and of origins. How bars
become inputs, and how intervals are calibrated, stays the package's (docs/serving.md).
"""

from __future__ import annotations

import copy
import io
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..data.extras import input_names
from ..data.windows import Batch
from ..errors import CheckpointError, ConfigError, MissingDependency, printable
from ..files import atomic_write, locked, sha256, versions, write_json
from ..models.tft import TFT
from .ensemble import NAMES, Member, Network
from .folder import PATIENCE, model_name
from .predictor import PACKAGES, Predictor

FORMAT = 1  # of export.json


class Program(nn.Module):
    """A member on plain tensors: the mean of its networks, or the random walk's shape."""

    def __init__(self, member: Member, context: int):
        super().__init__()
        networks = member.models if isinstance(member, Network) else ()
        self.networks = nn.ModuleList(copy.deepcopy(one).cpu() for one in networks)
        self.requires_grad_(False).eval()
        self.context = context  # of all members: a network may look at fewer bars
        self.register_buffer("step", torch.arange(1.0, member.horizon + 1))
        shape = torch.zeros(1, 1) if networks else torch.as_tensor(member.shape).float()
        self.register_buffer("shape", shape)  # [H, Q]

    def forward(self, observed: Tensor, known: Tensor, static: Tensor, scale: Tensor) -> Tensor:
        """Inputs as in Batch → quantiles [B, N, H, Q] of the cumulative log return."""
        # said first: of a T that is not known to follow N, slices would be traced for N > 1 alone
        bars = scale.shape[1] + self.context - 1
        torch._check(observed.shape[1] == bars)
        torch._check(known.shape[1] == bars + scale.shape[2])
        scaled = self.shape
        for network in self.networks:
            first = self.context - network.config.context
            batch = Batch(observed[:, first:], known[:, first:], static, scale, scale)
            # with oneDNN an LSTM is traced for any T, without it for one; a convolution is traced
            # for any B without it, and with it for few or for many
            with torch.backends.mkldnn.flags(enabled=isinstance(network, TFT)):
                scaled = scaled + network(batch).quantiles / len(self.networks)
        return scaled * (scale * self.step.sqrt())[..., None]


def export_model(model: Predictor, folder: str | Path, onnx: bool = False) -> Path:
    """Write the members that have a weight as programs, and export.json; returns the folder.

    Their weighted mean is the ensemble's quantiles [B, N, H, Q] of the cumulative log return, not
    calibrated. NAME.pt2 is for torch.export.load, NAME.onnx for a runtime of ONNX; export.json says
    what goes in and comes out.

    Raises
    ------
    CheckpointError : a model without networks, or loaded without one of them
    ConfigError : a version of PyTorch that can't; MissingDependency : ONNX without 'export'
    OutputError : the folder can't be written
    """
    if onnx and not (find_spec("onnx") and find_spec("onnxscript")):
        raise MissingDependency(
            "ONNX files need onnx and onnxscript; install them with pip install 'tftnhits[export]'."
        )
    weights = {name: weight for name, weight in model.weights.items() if weight}
    lost = [NAMES[name] for name in weights if name not in model.able]
    if lost or not weights:
        raise CheckpointError(
            f"The model lacks {' and '.join(lost) or 'networks'}; name one that forecasts by its "
            "whole ensemble."
        )
    context = max(model.able[name].context for name in weights)
    dims = _shapes(model, context, Dim("batch", min=1), Dim("origins", min=1))
    record = _record(model, context, dims)
    path = Path(folder) / "export.json"
    with locked(path, PATIENCE):
        for name, weight in weights.items():
            program = Program(model.able[name], context)
            some = tuple(map(torch.zeros, _shapes(model, context, 2, 3).values()))
            hashes = {}
            for ending, data in _exported(program, some, dims, onnx, NAMES[name]).items():
                file = atomic_write(path.with_name(f"{name}.{ending}"), data)
                hashes[file.name] = sha256(data)
            record["programs"][name] = {"weight": weight, "files": hashes}
        write_json(path, record)
    return path.parent


def _shapes(model: Predictor, context: int, chunks: Any, origins: Any) -> dict[str, tuple]:
    """Shapes of the inputs, where `chunks` and `origins` are numbers or Dims."""
    columns = input_names(model.panel_config)
    return {
        "observed": (chunks, origins + (context - 1), len(columns["observed"])),
        "known": (chunks, origins + (context - 1 + model.horizon), len(columns["known"])),
        "static": (chunks, len(columns["static"])),
        "scale": (chunks, origins, model.horizon),
    }


def _record(model: Predictor, context: int, dims: dict[str, tuple]) -> dict[str, Any]:
    """What export.json says but for the programs; sizes that may vary are words."""
    columns = input_names(model.panel_config)
    named = {name: [getattr(n, "__name__", n) for n in shape] for name, shape in dims.items()}
    quantiles = [*named["scale"], len(model.levels)]
    return {
        "format": FORMAT,
        "model": model_name(model),
        "context": context,
        "levels": list(model.levels),
        "inputs": [
            {"name": name, "shape": shape, "columns": list(columns.get(name, ()))}
            for name, shape in named.items()
        ],
        "output": {"name": "quantiles", "shape": quantiles, "price": "close * exp(quantiles)"},
        "dtype": "float32",
        "programs": {},
        "versions": versions(*PACKAGES, "onnx", "onnxscript"),
    }


def _exported(
    program: Program, some: tuple, dims: dict[str, tuple], onnx: bool, name: str
) -> dict[str, bytes]:
    """The program's files by their ending; `some` inputs have the shapes `dims`."""
    vary = {k: {i: n for i, n in enumerate(v) if not isinstance(n, int)} for k, v in dims.items()}
    files = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what PyTorch will change, and of other devices
            graph = torch.export.export(program, some, dynamic_shapes=vary, strict=False)
            torch.export.save(graph, file := io.BytesIO())
            files["pt2"] = file.getvalue()
            if onnx:
                words = {"input_names": [*dims], "output_names": ["quantiles"], "verbose": False}
                made = torch.onnx.export(program, some, dynamo=True, dynamic_shapes=vary, **words)
                files["onnx"] = made.model_proto.SerializeToString()
    except Exception as error:  # of many kinds
        reason = printable(str(error), 150).rstrip(". ")
        raise ConfigError(
            f"PyTorch {torch.__version__} can't export {name}: {reason}; use constraints.txt's."
        ) from error
    return files
