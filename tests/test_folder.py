"""A predictor's folder: the way to disk and back, and folders that are broken."""

import copy
import dataclasses
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import ROOT, environment, one_sentence, stir, stocks, tiny_members  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.errors import CheckpointError, OutputError  # noqa: E402
from tftnhits.files import MAX_JSON  # noqa: E402
from tftnhits.forecast.pools import Pool  # noqa: E402


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


def stems(folder):
    """The models whose weights lie in a folder, beside one file of its calibration's past."""
    names = sorted(path.stem[: -len("-01234567")] for path in folder.glob("*.safetensors"))
    names.remove("calibration")
    return names


def test_round_trip_is_equal_to_the_bit(predictor, folder, bars):
    found = tn.Predictor.load(folder)
    for some in (bars, bars.groupby("symbol").tail(9)):
        frames = [p.predict(some).frame for p in (found, predictor)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert found.predict(bars).summary() == predictor.predict(bars).summary()
    assert [*found.pools] == [*predictor.pools]
    for kind, pool in predictor.pools.items():
        assert found.pools[kind].seen == pool.seen
        for name, calibration in pool.calibration.items():
            again = found.pools[kind].calibration[name]
            assert again.to_dict() == calibration.to_dict()
            for what, values in calibration.arrays().items():
                np.testing.assert_array_equal(again.arrays()[what], values)
    assert found.manifest == predictor.manifest
    assert found.weights == {"tft": 0.5, "nhits": 0.5}
    assert found.panel_config.known is None
    assert len(predictor.members["tft"].model.inputs["known"]) == 9
    found.save(folder)
    assert stems(folder) == ["boosting", "nhits", "tft"]
    others = {path.name for path in folder.iterdir() if path.suffix != ".safetensors"}
    assert others == {"predictor.json", "predictor.json.lock"}


def test_all_seeds_are_saved_and_read(members, panel, bars, tmp_path):
    three = [copy.deepcopy(members["nhits"]) for _ in range(3)]
    for seed, model in enumerate(three[1:], 1):
        stir(model, seed)
    predictor = tn.Predictor.from_members({"nhits": three, "tft": [members["tft"]]}, panel)
    folder = predictor.save(tmp_path)
    assert stems(folder) == ["nhits", "nhits-1", "nhits-2", "tft"]
    frames = [p.predict(bars).frame for p in (tn.Predictor.load(folder), predictor)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    (second,) = folder.glob("nhits-1-*")
    second.rename(folder / "away")
    assert second.name in tn.Predictor.load(folder).missing["nhits"]
    (folder / "away").rename(second)
    fewer = tn.Predictor.from_members({"nhits": three[1:], "tft": members["tft"]}, panel)
    fewer.save(folder)  # none is left over
    assert stems(folder) == ["nhits", "nhits-1", "tft"]


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
    path.write_bytes(content.replace(b'"format": 2', b'"format": 3'))
    assert "upgrade tftnhits" in broken(folder)
    path.unlink()
    assert "predictor.json" in broken(folder)


@pytest.mark.parametrize(
    "change",
    [
        *({"format": value} for value in (99, None, True, [1])),
        *({"members": value} for value in (None, ["tft"], {}, {"tft": []}, {"oracle": [{}]})),
        *({"panel": value} for value in ({"horizon": 0}, {"colour": "red"}, [], {"horizon": 3})),
        {"panel": {"observed": ["return", "range"]}},
        *({"fitted": value} for value in (None, {}, {"har": "x"})),
        {"fitted": {"har": [1], "center": [0], "spread": [1]}},
        *({"weights": value} for value in (None, {"tft": "x"}, {"tft": -1, "nhits": 1}, [1, 2])),
        *({"calibration": value} for value in (None, {"ensemble": {"dates": 3}})),
        *({"calibration": {"x": value}, "seen": {"x": {}}} for value in (None, {"tft": {}}, [3])),
        *({"seen": value} for value in (None, {"META": "yesterday"})),
        *({"manifest": value} for value in (None, 3, {"trained to": {"x": "soon"}})),
        *(
            {"calibrations": value}
            for value in (None, {}, {"format": 1, "weights": "past.safetensors"})
        ),
        {"members": {"tft": {"format": 1}}},
        {"horizon": 10**9, "panel": {"horizon": 10**9}},
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


# --- writers and readers at once, as processes of their own

WRITER = """
import sys, time
from pathlib import Path
import tftnhits as tn
folder, generations = Path(sys.argv[1]), [tn.Predictor.load(Path(name)) for name in sys.argv[3:]]
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for one in generations:
        one.save(folder)
"""


def writer(*args):
    """A process that saves predictors in turn, once it has begun."""
    command = [sys.executable, "-c", WRITER, *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.fixture
def two(predictor, tmp_path):
    """Folders of two predictors, each of whose parts says which of the two it is of."""
    folders = []
    for generation in (1, 2):
        members = {k: copy.deepcopy(v) for k, v in predictor.members.items()}
        for name in ("tft", "nhits"):
            members[name].model.base.fill_(generation)
        members["boosting"].trees.base.fill(generation)
        made = dataclasses.replace(predictor, members=members, depth=generation)
        folders.append(made.save(tmp_path / str(generation)))
    return folders


def generations(folder):
    """Which predictors the parts of the one in the folder are of."""
    found = tn.Predictor.load(folder)
    assert not found.missing, found.missing
    bases = [found.members[name].model.base for name in ("tft", "nhits")]
    bases.append(found.members["boosting"].trees.base)
    return {found.depth, *(int(base.flat[0]) for base in map(np.asarray, bases))}


def test_readers_beside_writers_see_one_whole_predictor(two, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "model")
    writers = [writer(folder, 300, *order) for order in (two, two[::-1])]
    seen = [generations(folder) for _ in range(12)]
    for process in writers:
        assert process.poll() is None
        process.kill()
        process.wait()
    assert all(len(one) == 1 for one in seen) and len(set.union(*seen)) == 2, seen


def test_a_folder_whose_writer_is_killed_is_whole(two, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "model")
    for wait in (0.005, 0.03):
        process = writer(folder, 60, *two)
        time.sleep(wait)
        process.kill()
        process.wait()
        assert len(generations(folder)) == 1
    (folder / "tft-00000000.safetensors").touch()  # what a killed one can leave
    (folder / ".tft-00000000.safetensors.abcdefgh").touch()
    (folder / ".predictor.json.abcdefgh").touch()
    (folder / "notes.txt").touch()
    tn.Predictor.load(two[0]).save(folder)
    kept = {path.name for path in two[0].iterdir()} | {"notes.txt"}
    assert {path.name for path in folder.iterdir()} == kept


def test_a_record_too_large_to_be_read_is_not_written(predictor, folder):
    before = (folder / "predictor.json").read_bytes()
    pool = Pool({}, {f"S{i}": "2020-01-01" for i in range(60_000)})
    many = dataclasses.replace(predictor, pools=predictor.pools | {"many": pool})
    with pytest.raises(OutputError, match="fewer symbols") as caught:
        many.save(folder)
    assert one_sentence(str(caught.value)) and (folder / "predictor.json").read_bytes() == before
    (folder / "predictor.json").write_bytes(before + b" " * MAX_JSON)
    assert str(MAX_JSON) in broken(folder)
