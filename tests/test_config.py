"""Settings: what they refuse, and their way to JSON and back."""

import json
from dataclasses import FrozenInstanceError, fields

import pytest
from helpers import one_sentence

from tftnhits import (
    BacktestConfig,
    BoostingConfig,
    NHITSConfig,
    PanelConfig,
    TFTConfig,
    TrainConfig,
    config,
    preset,
)
from tftnhits.errors import ConfigError

CONFIGS = (PanelConfig, TFTConfig, NHITSConfig, BoostingConfig, TrainConfig, BacktestConfig)


@pytest.mark.parametrize("kind", CONFIGS)
def test_configs_are_small_frozen_and_come_back_from_json(kind):
    assert len(fields(kind)) <= 10
    changes = {"epochs": 3} if kind is TrainConfig else {"horizon": 3}
    original = kind(**changes)
    with pytest.raises(FrozenInstanceError):
        original.horizon = 7
    assert kind.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_tuples_come_back_from_json():
    one = BacktestConfig(start="2012-01-01", seeds=(0, 3), members=("HAR", "TFT"), train_years=5)
    assert BacktestConfig.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_presets_and_versions():
    kinds = (TFTConfig, NHITSConfig, BoostingConfig, TrainConfig)
    assert all(tuple(map(type, preset(name))) == kinds for name in config.PRESETS)
    assert config.SEEDS["cloud"] > 1 and all(name in config.PRESETS for name in config.SEEDS)
    assert preset("quick")[:2] == (TFTConfig(), NHITSConfig())


def test_versions_differ_by_what_they_are():
    papers, improved, card = preset("v1.0"), preset("v2.0"), preset("v2.1")
    assert papers[:2] == (TFTConfig.classic(), NHITSConfig.classic())
    assert improved[0] == TFTConfig() and not improved[1].scale_attention
    assert improved[1].learned_pooling and improved[1].neural_interpolation
    assert papers[1].backcast == "knots" and improved[1].backcast == "weighted knots"
    assert preset("card") is card


def test_v2_1_is_the_description_to_the_letter():
    tft, nhits, _, train = preset("v2.1")
    assert (tft.hidden, tft.heads, tft.lstm_layers, nhits.hidden) == (128, 4, 2, 128)
    assert tft.dropout > 0 and tft.deep_selection
    assert nhits.learned_pooling and nhits.neural_interpolation and nhits.scale_attention
    assert nhits.backcast == "weighted bars"
    assert (train.epochs, train.weight_decay, train.clip) == (100, 0.01, 1.0)
    assert train.patience < train.epochs  # early stopping may end it


def test_classic_variants_switch_every_enhancement_off():
    tft, nhits = TFTConfig.classic(hidden=8), NHITSConfig.classic(hidden=8)
    assert (tft.lstm_layers, tft.deep_selection, tft.extra_gate, tft.hidden) == (1, False, False, 8)
    switches = ("learned_pooling", "neural_interpolation", "scale_attention")
    assert not any(getattr(nhits, name) for name in switches)
    assert (nhits.backcast, nhits.hidden) == ("knots", 8)
    assert TFTConfig().lstm_layers > 1 and TFTConfig().deep_selection and TFTConfig().extra_gate


BAD = [
    *((TFTConfig, "context", value) for value in (0, -1, 2.5, True, "8", None)),
    (TFTConfig, "dropout", 1.0),
    (TFTConfig, "hidden", 10),  # over 4 heads
    *((TFTConfig, "quantiles", value) for value in ((0.1, 0.5), (0.9, 0.5, 0.1), (0.5,), "abc", 3)),
    (NHITSConfig, "dropout", -0.1),
    *((NHITSConfig, "pools", value) for value in ((0,), (), 3)),
    *((NHITSConfig, "backcast", value) for value in ("weighted", "", None, True, ["knots"])),
    (TrainConfig, "epochs", 0),
    (TrainConfig, "seed", -1),
    *((TrainConfig, "learning_rate", value) for value in (0.0, float("nan"), "fast")),
    (TrainConfig, "averaging", 1.0),
    (BoostingConfig, "leaves", 1),
    (PanelConfig, "embargo", -1),
    *((BacktestConfig, "train_years", value) for value in (0, True)),
    *((BacktestConfig, "seeds", value) for value in ((), (0, 0), [0], (-1,), (0.5,))),
    *((BacktestConfig, "members", value) for value in ((), ("HAR", "HAR"), ("HAR", 3), "HAR")),
    *((BacktestConfig, "start", value) for value in ("01/02/2012", "20120102", 2012)),
]


@pytest.mark.parametrize("kind, name, value", BAD)
def test_a_bad_value_is_refused_by_its_fields_name(kind, name, value):
    with pytest.raises(ConfigError, match=f"^{kind.__name__}.{name} ") as caught:
        kind(**{name: value})
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: preset("huge"), "no preset 'huge'; choose one of tiny, quick, cloud"),
        (lambda: BacktestConfig(preset=None), "no preset None"),
        (lambda: TFTConfig.from_dict({"hidden": 8, "layers": 3}), "no field 'layers'"),
        (lambda: TFTConfig.from_dict([]), "TFTConfig can't be made of"),
        (lambda: BacktestConfig(start="2015-01-01", end="2014-12-31"), "comes after end"),
    ],
)
def test_what_does_not_fit_together_is_named(call, words):
    with pytest.raises(ConfigError, match=words) as caught:
        call()
    assert one_sentence(str(caught.value))
