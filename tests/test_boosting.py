"""Gradient boosting: from two bars on, saved without a pickle."""

import json
import pickle
import shutil

import numpy as np
import pytest
import safetensors.numpy
from helpers import BOOSTING_TINY, ROOT, made_bars, one_sentence
from sklearn.linear_model import Ridge

from tftnhits import Boosting, BoostingConfig, PanelConfig, make_panel
from tftnhits.errors import CheckpointError, ConfigError, HistoryTooShort
from tftnhits.files import sha256

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def panel():
    return make_panel(made_bars(bars=260))


@pytest.fixture(scope="module")
def boosting(panel):
    return Boosting(BOOSTING_TINY).fit(panel)


@pytest.fixture
def saved(boosting, tmp_path):
    return boosting.save(tmp_path)


@pytest.fixture
def old(tmp_path):
    """A folder of format 1, which needs skops."""
    pytest.importorskip("skops")
    for path in (ROOT / "tests" / "golden" / "format-1").glob("boosting*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "boosting.json"


def change(path, **values):
    record = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    return path


def put(path, data):
    """Other models under the hash that fits."""
    record = json.loads(path.read_text())
    (path.parent / record["models"]).write_bytes(data)
    return change(path, sha256=sha256(data))


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        Boosting.load(path)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


def test_quantiles_are_finite_sorted_and_of_the_right_shape(boosting, panel):
    rows = panel.last_origins()
    found = boosting.quantiles(panel, rows)
    assert found.shape == (4, 5, len(boosting.levels)) and np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    width = found[..., -1] - found[..., 0]
    assert (width[:, -1] > 1.5 * width[:, 0]).all()  # five steps are wider than one


def test_answers_from_two_bars(boosting, panel):
    short = make_panel(made_bars(("X",), 2, freq=None, volume=False), fitted=panel.fitted)
    assert np.isfinite(boosting.quantiles(short, short.last_origins(boosting.context))).all()
    assert boosting.context == 2 and boosting.horizon == 5


def test_training_coverage_is_near_nominal(panel):
    boosting = Boosting(BoostingConfig(quantiles=LEVELS, trees=40, min_leaf=100, rows=5_000)).fit(
        panel
    )
    rows = panel.origins("train", 2)
    found = boosting.quantiles(panel, rows)
    actual = panel.target[rows] * panel.scale[rows, None] * np.sqrt(np.arange(1, 6))
    share = (actual[..., None] <= found).mean((0, 1))
    np.testing.assert_allclose(share, LEVELS, atol=0.05)


def test_a_seed_gives_the_same_forecast_and_another_does_not(boosting, panel):
    rows = panel.origins("valid")
    again = Boosting(BOOSTING_TINY).fit(panel).quantiles(panel, rows)
    np.testing.assert_array_equal(boosting.quantiles(panel, rows), again)
    other = Boosting(BoostingConfig(**{**BOOSTING_TINY.to_dict(), "seed": 1})).fit(panel)
    assert not np.array_equal(other.quantiles(panel, rows), again)


def test_fitting_again_replaces_the_models(panel):
    boosting = Boosting(BOOSTING_TINY).fit(panel)
    assert boosting.fit(panel).trees.root.shape == (len(boosting.levels), BOOSTING_TINY.trees)


def test_errors_of_fitting(panel):
    with pytest.raises(HistoryTooShort, match="2 bars"):
        Boosting(BOOSTING_TINY).fit(make_panel(made_bars(bars=4)))
    with pytest.raises(ConfigError, match="horizon is 5 but the panel's 2"):
        Boosting(BOOSTING_TINY).fit(make_panel(made_bars(bars=60), PanelConfig(horizon=2)))


def test_round_trip_is_equal_to_the_bit(boosting, saved, panel):
    found = Boosting.load(saved)
    rows = panel.origins("valid")
    np.testing.assert_array_equal(found.quantiles(panel, rows), boosting.quantiles(panel, rows))
    assert found.config == boosting.config
    boosting.save(saved.parent)
    assert len(list(saved.parent.iterdir())) == 2


def test_corrupt_missing_and_foreign_files(saved, tmp_path):
    record = json.loads(saved.read_text())
    models = tmp_path / record["models"]
    data = models.read_bytes()
    assert "upgrade" in refused(change(saved, format=99))
    assert "upgrade" in refused(change(saved, format=None))
    change(saved, format=record["format"])
    assert "plain file name" in refused(change(saved, models="../x.safetensors"))
    change(saved, models=models.name)
    models.write_bytes(data[:-1])
    assert "corrupt" in refused(saved)
    models.unlink()
    assert "can't be read" in refused(saved)
    models.write_bytes(data)
    for config in (None, [], {"trees": 5, "colour": 1}, {"horizon": 0}):
        refused(change(saved, config=config))
    saved.unlink()
    assert "model folder" in refused(saved)


def test_the_same_bytes_again(boosting, panel, tmp_path):
    first, second = (
        b.save(tmp_path / name)
        for b, name in ((boosting, "a"), (Boosting(BOOSTING_TINY).fit(panel), "b"))
    )
    assert {p.name: p.read_bytes() for p in first.parent.iterdir()} == {
        p.name: p.read_bytes() for p in second.parent.iterdir()
    }


def test_arrays_that_are_no_trees_are_refused(boosting, saved, panel):
    arrays = boosting.trees.arrays()
    nodes = len(arrays["value"])
    wrong = [{k: v for k, v in arrays.items() if k != "base"}, {**arrays, "more": np.zeros(3)}]
    for name, value in {
        "child": np.full((nodes, 2), nodes, np.int32),
        "root": -arrays["root"] - 1,
        "feature": -arrays["feature"] - 1,
        "value": np.full(nodes, np.nan),
        "base": arrays["base"][:-1],
        "threshold": np.zeros(nodes, np.int64),
        "depth": np.array(10**9),
    }.items():
        wrong.append({**arrays, name: value})
    for found in wrong:
        refused(
            put(
                saved,
                safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in found.items()}),
            )
        )
    far = {**arrays, "feature": np.where(arrays["feature"] > 0, 999, 0).astype(np.int16)}
    put(saved, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in far.items()}))
    with pytest.raises(CheckpointError, match="inputs"):
        Boosting.load(saved).quantiles(panel, panel.last_origins())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", pickle.dumps({"a": 1})])
@pytest.mark.parametrize("kind", ["saved", "old"])
def test_what_is_no_archive_is_refused(request, kind, data):
    refused(put(request.getfixturevalue(kind), data))


def test_a_folder_of_format_1_is_read_and_saved_in_todays(old, tmp_path):
    found = Boosting.load(old)
    assert found.trees.root.shape == (len(found.levels), found.config.trees)
    path = found.save(tmp_path)
    assert not list(tmp_path.glob("*.skops")) and json.loads(path.read_text())["format"] == 2
    np.testing.assert_array_equal(Boosting.load(path).trees.value, found.trees.value)


def bomb():
    raise AssertionError("executed")


@pytest.mark.parametrize("value", [bomb, [pytest.approx], {"f": Ridge}])
def test_foreign_types_are_refused_and_not_executed(old, value):
    import skops.io

    refused(put(old, skops.io.dumps(value)))


def test_models_of_another_kind_are_refused(old):
    """Types that skops vouches for, but no list of quantile models."""
    import skops.io

    for value in ([1, 2, 3], [Ridge().fit([[0], [1]], [0, 1])], {}):
        refused(put(old, skops.io.dumps(value)))
