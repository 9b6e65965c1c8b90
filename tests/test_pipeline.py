"""ModelScope runs our pipeline, by an import or by trust_remote_code, and no other code."""

import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, environment, made_bars, one_sentence, specific, stocks
from hub_server import hub_server

import tftnhits as tn
from tftnhits.apps.hub import CONFIGURATION
from tftnhits.config import STEPS

for name in ("torch", "modelscope", "datasets", "addict", "simplejson", "sortedcontainers"):
    pytest.importorskip(name, reason="needs the extras 'modelscope' and 'torch'")

SHIPPED = ROOT / "data" / "pretrained"
BOUNDS = ("lower", "upper")
COLUMNS = ["open", "high", "low", "close", "volume"]
ROWS = made_bars(("A",), 300)[COLUMNS].to_numpy().tolist()


@pytest.fixture(scope="module")
def pipe():
    """The shipped model by modelscope's own factory, in this process."""
    from modelscope import pipeline

    import tftnhits.pipeline  # noqa: F401

    return pipeline(task="time-series-forecasting", model=str(SHIPPED))


@pytest.fixture(scope="module")
def shipped():
    return tn.Predictor.load()


def same(result: dict, summary: dict) -> None:
    """The pipeline's answer has the summary's keys, plain values, and the predictor's numbers."""
    assert list(result) == list(summary) and len(result) == 9
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for key in ("origin", "model_used", "confidence"):
        assert result[key] == summary[key]
    assert isinstance(result["prediction"], float)
    assert result["prediction"] == pytest.approx(summary["prediction"], rel=1e-6)
    for key, value in summary["interval"].items():  # a coverage that wasn't measured is None
        assert result["interval"][key] == (value and pytest.approx(value, rel=1e-6)), key
    first = result["path"][0]
    assert first["step"] == 1 and first["median"] == result["prediction"]
    assert (first["lower"], first["upper"]) == tuple(result["interval"][k] for k in BOUNDS)
    tail = f"{(1 - result['confidence']) / 2:.12g}"
    assert result["quantiles"]["0.5"] == [bar["median"] for bar in result["path"]]
    assert result["quantiles"][tail] == [bar["lower"] for bar in result["path"]]
    assert list(result["quantiles"]) == sorted(result["quantiles"], key=float)
    assert (np.diff(list(result["quantiles"].values()), axis=0) >= 0).all()


@pytest.mark.parametrize("bars", [2, 59, 60, 300])
def test_rows_without_dates(pipe, shipped, bars):
    rows = made_bars(("A",), bars, freq=None)[COLUMNS].to_numpy().tolist()
    result = pipe(rows)
    same(result, shipped.predict(rows).summary())
    assert len(result["path"]) == STEPS < shipped.horizon
    short = bars < shipped.context
    # of few bars, who answers and that no coverage is claimed
    assert ("boosting" in result["model_used"]) == short
    assert len(result["warnings"]) == 2 + 2 * short
    assert "no dates" in specific(result["warnings"])[-1]


def test_frames_and_dicts_of_one_symbol_and_of_many(pipe, shipped):
    frame = stocks(("META",))
    expected = shipped.predict(frame).summary()
    columns = {name: frame[name].tolist() for name in COLUMNS}
    columns["date"] = frame["date"].astype(str).tolist()
    for bars in (frame, frame.drop(columns="symbol"), frame.set_index("date"), columns):
        same(pipe(bars), expected)
    frame = stocks(("META", "GOOG", "AAPL"), "2017-01-01")
    parts = {str(symbol): part for symbol, part in frame.groupby("symbol")}
    for bars in (frame, parts):
        results = pipe(bars)
        assert [result["symbol"] for result in results] == ["AAPL", "GOOG", "META"]
        for result, summary in zip(results, shipped.predict(frame).summary(), strict=True):
            same(result, summary)


def test_options_of_the_call(pipe, shipped):
    result = pipe(ROWS, horizon=2, level=0.5)
    same(result, shipped.predict(ROWS, horizon=2, level=0.5).summary())
    assert len(result["path"]) == 2 and result["confidence"] == 0.5
    assert min(pipe(ROWS, level=0.999999)["quantiles"], key=float) == "5e-07"
    for options in ({"horizon": 99}, {"horizon": 0}, {"level": 1}, {"level": "much"}):
        with pytest.raises(tn.ConfigError) as caught:
            pipe(ROWS, **options)
        assert one_sentence(str(caught.value))


def test_what_was_repaired_is_among_the_warnings(pipe):
    rows = [list(row) for row in ROWS]
    rows[5][1], rows[5][2] = rows[5][2], rows[5][1]
    undated, warning = specific(pipe(rows)["warnings"])
    assert "no dates" in undated and "swapped" in warning and "row 6" in warning
    spoiled, sound = pipe({"A": rows, "B": ROWS})
    assert specific(spoiled["warnings"]) == [undated, warning]
    assert sound["warnings"] == spoiled["warnings"][:-1]


def test_a_file_is_not_read(pipe, tmp_path):
    path = tmp_path / "bars.csv"
    stocks(("META",)).to_csv(path)
    for bars in ("stocks", str(path), path, b"stocks", io.StringIO("1,2")):
        with pytest.raises(tn.DataError, match="no file"):
            pipe(bars)
    for junk in (None, [], {}, [[1, 2]], [["x"] * 5], {"A": None}):
        with pytest.raises(tn.DataError) as caught:
            pipe(junk)
        assert one_sentence(str(caught.value))


def fresh(code: str, *args: object, **variables: str) -> dict:
    """What `code` prints last, as JSON, in an interpreter with these settings of modelscope."""
    clean = {k: v for k, v in environment().items() if not k.startswith("MODELSCOPE")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**clean, "MODELSCOPE_LOG_LEVEL": "40", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SHOWN = {  # the lines as they are shown, and the model that stands in them
    "README.md": '"/path/to/model"',
    "data/pretrained/README.md": '"/path/to/this/folder"',
    "notebooks/08_modelscope.ipynb": "str(folder)",
}


def shown(name: str) -> str:
    """The lines for modelscope in a document or notebook."""
    text = (ROOT / name).read_text()
    if name.endswith(".md"):
        blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        return next(block for block in blocks if "modelscope" in block)
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    (cell,) = (cell for cell in cells if "import tftnhits.pipeline\n" in cell)
    return cell


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("at_hub", [False, True])
def test_the_lines_as_shown_run_in_a_fresh_interpreter(shipped, tmp_path, name, at_hub):
    lines = shown(name)
    first = next(
        line.strip()
        for line in lines.splitlines()
        if "import" in line and line.strip() != "import os"
    )
    assert first.startswith("import tftnhits.pipeline")
    assert lines.count(SHOWN[name]) == 1
    setting = {"MODELSCOPE_CACHE": str(tmp_path / "c"), "MODELSCOPE_HOME": str(tmp_path / "h")}
    code = lines.replace(SHOWN[name], "sys.argv[1]").replace("predictor(", "answer = predictor(")
    code = f"import json, os, sys\nrows = json.loads(sys.argv[2])\n{code}\n"
    code += "print(json.dumps([answer, globals().get('financial_data', rows)]))"
    with hub_server() as hub:
        hub.models["me/model"] = {path.name: path.read_bytes() for path in SHIPPED.iterdir()}
        setting["MODELSCOPE_ENDPOINT"] = hub.address
        source = "me/model" if at_hub else SHIPPED
        result, data = fresh(code, source, json.dumps(ROWS), **setting)
    same(result, shipped.predict(data).summary())


# modelscope first; the hostile folder's code would write a file, the shipped one's imports tftnhits
UNTRUSTED = """
import json, pathlib, sys
from modelscope import pipeline
shipped, hostile, mark, rows = *sys.argv[1:3], pathlib.Path(sys.argv[3]), json.loads(sys.argv[4])
task = "time-series-forecasting"
found = {}
for folder in (shipped, hostile):
    try:
        pipeline(task=task, model=folder)
    except RuntimeError as error:
        found[folder] = str(error)
assert "tftnhits" not in sys.modules and not mark.exists()
found["wrapped"] = pipeline(task=task, model=shipped, trust_remote_code=True)(rows)
assert "tftnhits" in sys.modules
for trust in (False, True):
    found[trust] = pipeline(task=task, model=hostile, trust_remote_code=trust)(rows)
found["ran"] = mark.exists()
print(json.dumps(found))
"""


def test_no_code_of_a_folder_runs_unless_trusted_and_then_the_wrapper_is_enough(shipped, tmp_path):
    hostile, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(SHIPPED, hostile)
    for name in ("ms_wrapper.py", "evil.py", "__init__.py"):
        (hostile / name).write_text(f"open({str(mark)!r}, 'w').write('ran')")
    (hostile / "requirements.txt").write_text("tftnhits-has-no-such-package\n")
    (hostile / "configuration.json").write_text(json.dumps(CONFIGURATION | {"plugins": ["evil"]}))
    cache = {"MODELSCOPE_CACHE": str(tmp_path / "cache")}
    found = fresh(UNTRUSTED, SHIPPED, hostile, mark, json.dumps(ROWS), **cache)
    assert all("trust_remote_code" in found[str(folder)] for folder in (SHIPPED, hostile))
    for result in (found["wrapped"], found["false"], found["true"]):
        same(result, shipped.predict(ROWS).summary())
    assert not found["ran"]
