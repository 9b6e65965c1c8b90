"""What bench/gpu.py measures on a GPU, for some steps on the CPU."""

import importlib
import math
import sys

import pytest
from helpers import ROOT

pytest.importorskip("torch")


@pytest.fixture
def gpu(monkeypatch):
    """The module, which imports others of its folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    module = importlib.import_module("gpu")
    monkeypatch.setattr(module.graphs, "SEEN", module.graphs.SEEN)
    backends = module.torch.backends
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    yield module
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = before
    sys.modules.pop("gpu", None)


@pytest.mark.parametrize(("precision", "how"), [("float32", "eager"), ("bfloat16", "graph")])
def test_steps_in_nvidias_configuration_are_measured(gpu, precision, how):
    panel = gpu.electricity("cpu", series=4, bars=300)
    row = gpu.measure(panel, (2, 8), precision, how, seconds=0.0)
    assert (row["shape"], row["precision"], row["how"]) == ((2, 8), precision, how)
    assert row["origins a second"] == pytest.approx(16e3 / row["milliseconds a step"])
    assert 0 < row["loss"] < 2 and math.isfinite(row["loss"]) and row["peak GB"] is None
