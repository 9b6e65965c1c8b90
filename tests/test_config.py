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
def test_configs_are_small_and_frozen(kind):
    assert len(fields(kind)) <= 10
    with pytest.raises(FrozenInstanceError):
        kind().horizon = 7


@pytest.mark.parametrize("kind", CONFIGS)
def test_json_round_trip(kind):
    changes = {"horizon": 3} if "horizon" in {f.name for f in fields(kind)} else {"epochs": 3}
    original = kind(**changes)
    assert kind.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_every_config_of_the_module_is_tested():
    found = {
        v for v in vars(config).values() if isinstance(v, type) and issubclass(v, config._Config)
    }
    assert found - {config._Config} == set(CONFIGS)


def test_presets_hold_one_config_of_each_kind():
    for name in config.PRESETS:
        assert tuple(map(type, preset(name))) == (
            TFTConfig,
            NHITSConfig,
            BoostingConfig,
            TrainConfig,
        )
    tft, nhits, _, train = preset("cloud")
    assert (tft, nhits, train) == (*preset("quick")[:2], preset("quick")[3]) and config.SEEDS[
        "cloud"
    ] > 1


def test_versions_are_presets():
    for name in ("v1.0", "v2.0"):
        assert preset(name)[:2] == (TFTConfig.classic(), NHITSConfig.classic())
    assert preset("v2.1") == preset("quick") and preset("v2.1")[:2] == (TFTConfig(), NHITSConfig())


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match=r"'huge'.*tiny, quick, cloud") as caught:
        preset("huge")
    assert one_sentence(str(caught.value))


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigError, match="TFTConfig has no field 'layers'"):
        TFTConfig.from_dict({"hidden": 8, "layers": 3})


@pytest.mark.parametrize(
    "kind, values",
    [
        (TFTConfig, {"context": 0}),
        (TFTConfig, {"horizon": -1}),
        (TFTConfig, {"horizon": 2.5}),
        (TFTConfig, {"hidden": True}),
        (TFTConfig, {"hidden": "8"}),
        (TFTConfig, {"hidden": 10, "heads": 4}),
        (TFTConfig, {"dropout": 1.0}),
        (NHITSConfig, {"dropout": -0.1}),
        (NHITSConfig, {"context": None}),
        (TrainConfig, {"epochs": 0}),
        (TrainConfig, {"batch": -3}),
        (TrainConfig, {"origins": 0}),
        (PanelConfig, {"horizon": 0}),
        (BoostingConfig, {"horizon": 0}),
        (PanelConfig, {"embargo": -1}),
    ],
)
def test_bad_values_are_refused(kind, values):
    with pytest.raises(ConfigError, match=rf"{kind.__name__}.*{next(iter(values))}") as caught:
        kind(**values)
    assert one_sentence(str(caught.value))


def test_classic_variants_switch_every_enhancement_off():
    tft, nhits = TFTConfig.classic(hidden=8), NHITSConfig.classic(hidden=8)
    assert (tft.lstm_layers, tft.deep_selection, tft.extra_gate, tft.hidden) == (1, False, False, 8)
    switches = (
        nhits.learned_pooling,
        nhits.neural_interpolation,
        nhits.scale_attention,
        nhits.learned_residual,
    )
    assert not any(switches) and nhits.hidden == 8
    assert TFTConfig().lstm_layers > 1 and TFTConfig().deep_selection and TFTConfig().extra_gate


def test_quantiles_are_symmetric_with_the_median_and_the_93_percent_interval():
    levels = config.QUANTILES
    assert sorted(levels) == list(levels) and {0.5, 0.035, 0.965} <= set(levels)
    assert all(round(1 - q, 6) in {round(p, 6) for p in levels} for q in levels)


@pytest.mark.parametrize(
    "change",
    [
        {"months": 0},
        {"valid_months": 0},
        {"embargo": -1},
        {"embargo": 1.5},
        {"train_years": 0},
        {"train_years": True},
        {"seeds": ()},
        {"seeds": (0, 0)},
        {"seeds": [0]},
        {"seeds": (-1,)},
        {"seeds": (0.5,)},
        {"members": ()},
        {"members": ("HAR", "HAR")},
        {"members": ("HAR", 3)},
        {"members": "HAR"},
        {"start": "01/02/2012"},
        {"start": "20120102"},
        {"end": 2012},
        {"horizon": 0},
    ],
)
def test_a_backtest_that_cannot_run_is_named(change):
    (name,) = change
    with pytest.raises(ConfigError, match=f"BacktestConfig.{name} (is|are) ") as caught:
        BacktestConfig(**change)
    assert one_sentence(str(caught.value))


def test_a_backtests_dates_and_preset_are_checked():
    with pytest.raises(ConfigError, match=r"start 2015-01-01 comes after end 2014-12-31"):
        BacktestConfig(start="2015-01-01", end="2014-12-31")
    assert BacktestConfig(start="2015-01-01", end="2015-01-01").end == "2015-01-01"
    for name in ("huge", None, 3):
        with pytest.raises(ConfigError, match="no preset"):
            BacktestConfig(preset=name)


def test_a_backtest_comes_back_from_json():
    one = BacktestConfig(start="2012-01-01", seeds=(0, 3), members=("HAR", "TFT"), train_years=5)
    assert BacktestConfig.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (TFTConfig, {"quantiles": (0.1, 0.5)}),
        (TFTConfig, {"quantiles": (0.9, 0.5, 0.1)}),
        (NHITSConfig, {"pools": (0,)}),
        (NHITSConfig, {"pools": ()}),
        (TrainConfig, {"seed": -1}),
        (TrainConfig, {"patience": 0}),
        (TrainConfig, {"learning_rate": float("nan")}),
        (TrainConfig, {"clip": 0.0}),
        (TrainConfig, {"averaging": 1.0}),
        (BoostingConfig, {"trees": 0}),
    ],
)
def test_a_value_that_cannot_train_is_named(kind, change):
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{next(iter(change))}"):
        kind(**change)
