"""What `tftnhits info` prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import config
from ..device import device_of
from ..errors import CheckpointError
from ..files import read_json, versions

PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "papermill", "plotly")
PACKAGES += ("yfinance", "modelscope")


def lines(checkout: Path) -> Iterator[str]:
    """Versions, the model shipped with a checkout, the presets, and whether torch works."""
    installed = versions("tftnhits", *PACKAGES)
    yield f"tftnhits {installed.pop('tftnhits')}, Python {installed.pop('python')}"
    for name, version in installed.items():
        yield f"  {name:<12}  {version}"
    folder = checkout / "data" / "pretrained"
    try:
        record = read_json(folder / "predictor.json")
        yield f"shipped model: {folder}, up to {record['panel']['horizon']} bars ahead"
        for name, models in record["members"].items():
            yield f"  {name:<12}  from {models[0]['config']['context']} bars on"
    except (CheckpointError, LookupError, TypeError, AttributeError) as error:
        yield f"shipped model: none that can be read in {folder} ({error})"
    yield "presets"
    for name, (tft, nhits, boosting, training) in config.PRESETS.items():
        sizes = f"TFT hidden {tft.hidden}, N-HITS hidden {nhits.hidden}, {boosting.trees} trees"
        kind = "classic"
        if tft.extra_gate:
            kind = "enhanced" if nhits.scale_attention else "enhanced without attention over scales"
        seeds = config.SEEDS.get(name, 1)
        yield f"  {name:<12}  {kind}, {sizes}, up to {training.epochs} epochs, seeds: {seeds}"
    try:  # last, since it takes a second
        import torch

        names = {"cpu": "the CPU", "mps": "Apple's GPU"}
        yield f"torch runs on {names.get(device_of()) or torch.cuda.get_device_name()}"
    except (ImportError, OSError):  # OSError: a broken library
        yield "torch can't be imported: gradient boosting answers; pip install 'tftnhits[torch]'"
