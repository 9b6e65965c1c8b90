"""Where networks compute: the names of devices, what "auto" is, and what each device can't do."""

from pathlib import Path

import numpy as np
import pytest
from helpers import NHITS_TINY, TFT_TINY, TRAIN_TINY, made_bars, made_panel, tiny_members

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.data.windows import gather, training_starts  # noqa: E402
from tftnhits.device import device_of, devices  # noqa: E402
from tftnhits.forecast import ensemble  # noqa: E402
from tftnhits.forecast.explain import explain_rows  # noqa: E402
from tftnhits.models.caller import own_torch  # noqa: E402
from tftnhits.models.store import build  # noqa: E402
from tftnhits.training.loop import _masked, _seed, forecast_rows, split_loss  # noqa: E402
from tftnhits.training.run import Run  # noqa: E402

TINY = pytest.mark.parametrize("config", [TFT_TINY, NHITS_TINY], ids=lambda c: type(c).__name__)
CPU_ONLY = pytest.mark.skipif(len(devices()) > 1, reason="there is a GPU here")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
COMPOSITE = "Composite"
LEFT_TO_THE_CPU = ("mkldnn_rnn_layer", "mkldnn_rnn_layer_backward")  # elsewhere each has its LSTM


@pytest.fixture
def machine(monkeypatch):
    """Pretends that there are so many CUDA cards, and maybe Apple's GPU."""

    def pretend(cards: int = 0, mps: bool = False, version: str = "2.13.0") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))

    return pretend


def test_auto_is_cuda_then_mps_then_the_cpu(machine, monkeypatch):
    machine(cards=2, mps=True)
    assert devices() == ["cuda", "cuda:0", "cuda:1", "mps", "cpu"] and device_of() == "cuda"
    assert all(device_of(name) == name for name in devices())
    assert device_of(torch.device("cuda", 1)) == "cuda:1"
    machine(mps=True)
    assert device_of() == "mps" and device_of("cpu") == "cpu"
    monkeypatch.setenv(
        "TORCHELASTIC_RUN_ID", "one"
    )  # several processes have no way to add up there
    assert device_of() == "cpu"
    machine()
    assert device_of() == "cpu"


def test_an_old_torch_trains_on_no_mps(machine):
    machine(mps=True, version="2.5.1")  # unfold_backward came after it
    assert devices() == ["cpu"]
    machine(mps=True, version="2.6.0+cpu")
    assert devices() == ["mps", "cpu"]


@pytest.mark.parametrize("name", ["cuda:2", "mps", "gpu", "", None, 1])
def test_a_device_that_is_not_here_is_one_sentence_with_those_that_are(machine, name):
    machine(cards=1)
    with pytest.raises(tn.ConfigError, match=r"choose one of auto, cuda, cuda:0, cpu\.$"):
        device_of(name)


def test_everything_that_takes_a_device_refuses_one_that_is_not_here():
    panel, where = made_panel(), {"device": "cuda:99"}
    for call in (
        lambda: tn.fit(TFT_TINY, panel, TRAIN_TINY, progress=False, **where),
        lambda: tn.train_predictor(panel, "tiny", progress=False, **where),
        lambda: tn.Predictor.load(**where),
        lambda: tn.Predictor.load().to("cuda:99"),
        lambda: tn.fine_tune(None, made_bars(), progress=False, **where),
    ):
        with pytest.raises(tn.ConfigError, match="no device 'cuda:99' here; choose one of auto, "):
            call()


@CPU_ONLY
@TINY
def test_the_cpu_by_name_trains_the_weights_of_auto(config):
    panel = made_panel()
    fits = [tn.fit(config, panel, TRAIN_TINY, progress=False, device=d) for d in ("auto", "cpu")]
    for one, other in zip(*(fit.model.state_dict().values() for fit in fits), strict=True):
        assert torch.equal(one, other)


def test_auto_moves_copies_of_the_networks_once_it_pays(monkeypatch):
    panel = made_panel()
    torch.manual_seed(0)
    given = build(TFT_TINY, panel.inputs).eval()
    member, rows = ensemble.Network(given), panel.origins("valid", TFT_TINY.context)
    alone = member.quantiles(panel, rows)
    monkeypatch.setattr(ensemble, "WORTH", len(rows))
    member.quantiles(panel, rows[1:])
    assert member.device == "auto" and member.model is given
    moved = member.quantiles(panel, rows)
    assert member.device == device_of() and member.model is not given
    assert next(given.parameters()).is_cpu
    np.testing.assert_allclose(moved, alone, rtol=1e-3, atol=1e-5)


def test_a_predictor_forecasts_on_the_device_that_it_was_sent_to():
    panel = made_panel(bars=400)
    predictor = tn.Predictor.from_members(tiny_members(panel), panel)
    expected = predictor.predict(made_bars(bars=400)).frame
    sent = predictor.to("cpu")
    assert sent is predictor
    assert [sent.members[k].device for k in ("tft", "nhits")] == ["cpu", "cpu"]
    assert sent.predict(made_bars(bars=400)).frame.equals(expected)


class Seen(TorchDispatchMode):
    """Notes the operators and the types of all tensors that they take and give."""

    def __init__(self):
        super().__init__()
        self.operators: set[str] = set()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.namespace == "aten":
            self.operators.add(str(function).removeprefix("aten.").removesuffix(".default"))
        for value in torch.utils._pytree.tree_leaves((args, kwargs, result)):
            if isinstance(value, torch.Tensor):
                self.types.add(value.dtype)
        return result


def seen_by_a_device(config) -> Seen:
    """Of a training step as on a GPU that is no CUDA card, of validation, forecast, explanation."""
    panel, train = made_panel(), TRAIN_TINY
    tensors = panel.with_tensors("cpu")
    run = Run(build(config, panel.inputs).train(), train, steps=10)
    run.shards = None  # of the CPU alone
    levels = torch.tensor(config.quantiles, dtype=torch.float32)
    starts = training_starts(panel, config.context, train.origins, 0)[: train.batch]
    rows = panel.origins("valid", config.context)[:40]
    with Seen() as seen:
        batch = gather(tensors, starts, config.context, train.origins, "train")
        batch = _masked(batch, tensors, 0.5, np.random.default_rng(0))
        run.step(batch, levels, 0)
        split_loss(run.average, tensors)
        forecast_rows(run.average, tensors, rows)
        forecast_rows(run.average, tensors, rows[-1:])
        explain_rows(run.average, tensors, rows)
    assert {"gather" if config is TFT_TINY else "cumsum", "_fused_adamw_"} <= seen.operators
    return seen


@TINY
def test_no_tensor_on_a_device_is_of_a_type_that_mps_lacks(config):
    assert seen_by_a_device(config).types.isdisjoint({torch.float64, torch.complex128})


@TINY
def test_mps_has_every_operator(config):
    """By the list that torch itself is made from; there is no Mac to run them on."""
    torchgen, yaml = pytest.importorskip("torchgen"), pytest.importorskip("yaml")
    (path,) = Path(torchgen.__file__).parent.glob("packaged/ATen/native/native_functions.yaml")
    listed = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    entries = {entry["func"].partition("(")[0]: entry for entry in listed}
    for name in seen_by_a_device(config).operators - {*LEFT_TO_THE_CPU}:
        kernels = entries[entries[name].get("structured_delegate", name)].get(
            "dispatch", [COMPOSITE]
        )
        assert any("MPS" in key or key.startswith(COMPOSITE) for key in kernels), name


def test_apples_stream_is_seeded_and_given_back(monkeypatch):
    """By a generator in its place."""
    stream = torch.Generator()
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device: stream.get_state())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device: stream.set_state(state))
    monkeypatch.setattr(torch.mps, "manual_seed", stream.manual_seed)
    before = stream.get_state()
    with own_torch("mps"):
        _seed(7, "mps")
        assert stream.initial_seed() == 7
    assert torch.equal(stream.get_state(), before)


@GPU
def test_a_gpu_trains_and_forecasts_and_gives_its_stream_back():
    panel = made_panel()
    before = torch.cuda.get_rng_state()
    fit = tn.fit(TFT_TINY, panel, TRAIN_TINY, progress=False, device="cuda:0")
    assert torch.equal(torch.cuda.get_rng_state(), before) and next(fit.model.parameters()).is_cpu
    rows = panel.origins("valid", TFT_TINY.context)
    there, here = (
        ensemble.Network(fit.model).to(d).quantiles(panel, rows) for d in ("cuda", "cpu")
    )
    np.testing.assert_allclose(there, here, atol=3e-4)
