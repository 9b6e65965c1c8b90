"""The devices that networks can compute on here, by torch's names for them."""

from __future__ import annotations

import os
from typing import Any

from .errors import ConfigError, quoted


def devices() -> list[str]:
    """Names of the devices here, the first of which "auto" is: CUDA, then MPS, then the CPU."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a broken library
        return ["cpu"]
    names = []
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{card}" for card in range(torch.cuda.device_count()))]
    # processes that torchrun started can't add up gradients there, earlier versions lack some
    alone = "TORCHELASTIC_RUN_ID" not in os.environ
    if torch.backends.mps.is_available() and torch.__version__ >= (2, 6) and alone:
        names.append("mps")
    return [*names, "cpu"]


def device_of(name: Any = "auto") -> str:
    """The device that a user means by `name`; ConfigError says which there are."""
    there = devices()
    if str(name) in there:
        return str(name)
    if str(name) != "auto":
        choice = ", ".join(["auto", *there])
        raise ConfigError(f"There is no device {quoted(str(name))} here; choose one of {choice}.")
    return there[0]
