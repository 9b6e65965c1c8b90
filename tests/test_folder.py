"""A predictor's folder: the way to disk and back, and folders that are broken."""

import copy
import json

import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import one_sentence, stir, stocks, tiny_members  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.errors import CheckpointError, OutputError  # noqa: E402
from tftnhits.forecast.conformal import Conformal  # noqa: E402


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "META"), "2016-01-01", "2017-12-31")


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars, tn.PanelConfig(known=None))  # all


@pytest.fixture(scope="module")
def members(panel):
    return tiny_members(panel)


@pytest.fixture(scope="module")
def predictor(members, panel):
    return tn.Predictor.from_members(members, panel, {"tft": 1, "nhits": 1})


@pytest.fixture
def folder(predictor, tmp_path):
    return predictor.save(tmp_path / "model")


def names(folder, pattern="*.json"):
    return sorted(path.name for path in folder.glob(pattern))


def test_round_trip_is_equal_to_the_bit(predictor, folder, bars):
    found = tn.Predictor.load(folder)
    for some in (bars, bars.groupby("symbol").tail(9)):
        frames = [p.predict(some).frame for p in (found, predictor)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert found.predict(bars).summary() == predictor.predict(bars).summary()
    for name, calibration in predictor.calibration.items():
        assert found.calibration[name].to_dict() == calibration.to_dict()
    assert found.seen == predictor.seen and found.manifest == predictor.manifest
    assert found.weights == {"tft": 0.5, "nhits": 0.5}
    assert found.panel_config.known is None
    assert len(predictor.members["tft"].model.inputs["known"]) == 9
    found.save(folder)
    assert names(folder) == ["boosting.json", "nhits.json", "predictor.json", "tft.json"]
    assert len(list(folder.iterdir())) == 4 + 3 == 4 + len(names(folder, "*.safetensors"))


def test_all_seeds_are_saved_and_read(members, panel, bars, tmp_path):
    three = [copy.deepcopy(members["nhits"]) for _ in range(3)]
    for seed, model in enumerate(three[1:], 1):
        stir(model, seed)
    predictor = tn.Predictor.from_members({"nhits": three, "tft": [members["tft"]]}, panel)
    folder = predictor.save(tmp_path)
    assert names(folder, "nhits*.json") == ["nhits-1.json", "nhits-2.json", "nhits.json"]
    frames = [p.predict(bars).frame for p in (tn.Predictor.load(folder), predictor)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    (folder / "nhits-1.json").rename(folder / "away")
    assert "nhits-1.json" in tn.Predictor.load(folder).missing["nhits"]
    (folder / "away").rename(folder / "nhits-1.json")
    fewer = tn.Predictor.from_members({"nhits": three[1:], "tft": members["tft"]}, panel)
    fewer.save(folder)  # none is left over
    assert names(folder, "nhits*.json") == ["nhits-1.json", "nhits.json"]
    assert len(names(folder, "*.safetensors")) == 3


def broken(folder):
    with pytest.raises(CheckpointError) as caught:
        tn.Predictor.load(folder)
    assert one_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


def test_broken_folders(folder, tmp_path):
    assert "model folder" in broken(tmp_path / "nowhere")
    path = folder / "predictor.json"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "predictor.json" in broken(folder)
    path.write_bytes(content.replace(b'"format": 1', b'"format": 2'))
    assert "upgrade tftnhits" in broken(folder)
    path.unlink()
    assert "predictor.json" in broken(folder)


@pytest.mark.parametrize(
    "change",
    [
        *({"format": value} for value in (99, None, True, [1])),
        *({"members": value} for value in (None, ["tft", "oracle"], [], [["tft"]])),
        *({"panel": value} for value in ({"horizon": 0}, {"colour": "red"}, [], {"horizon": 3})),
        {"panel": {"observed": ["return", "range"]}},
        *({"fitted": value} for value in (None, {}, {"har": "x"})),
        {"fitted": {"har": [1], "center": [0], "spread": [1]}},
        *({"weights": value} for value in (None, {"tft": "x"}, {"tft": -1, "nhits": 1}, [1, 2])),
        *({"calibration": value} for value in (None, {"ensemble": {"dates": 3}})),
        *(
            {"calibration": {"tft": {"dates": 0, "state": Conformal.start(5).to_dict() | change}}}
            for change in (
                {"rate": "fast"},
                {"grid": 3},
                {"score": None},
                {"score": [[0.0] * 47] * 3},
            )
        ),
        *({"seen": value} for value in (None, {"META": "yesterday"})),
        *({"seeds": value} for value in (None, {"tft": "many"})),
        *({"walk": value} for value in (None, [[0.0, 1.0]])),
        {"levels": [0.1, 0.9]},
    ],
    ids=str,
)
def test_predictor_json_that_makes_no_sense(folder, change):
    path = folder / "predictor.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    broken(folder)


@pytest.mark.parametrize("value", [-1.0, 0.0, None])
def test_a_spread_that_is_no_scale_is_refused(folder, value):
    path = folder / "predictor.json"
    record = json.loads(path.read_text())
    record["fitted"]["spread"][0] = value
    path.write_text(json.dumps(record))
    broken(folder)


def test_a_folder_without_room_is_an_output_error(predictor, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "model", "/proc/tftnhits-model"):
        with pytest.raises(OutputError, match="Can't write") as caught:
            predictor.save(place)
        assert one_sentence(str(caught.value))
