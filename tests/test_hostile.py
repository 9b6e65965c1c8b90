"""Hostile inputs, drawn from fixed seeds: each ends in a sound forecast or one typed sentence."""

from __future__ import annotations

import collections
import faulthandler
import json
import logging
import random
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, one_sentence
from hostile import (
    CALENDARS,
    COLUMNS,
    HORIZONS,
    INF,
    JSON,
    LEVELS,
    ORIGINS,
    WEIGHTS,
    hostile,
    options,
    rows,
)

import tftnhits as tn
from tftnhits.errors import quoted
from tftnhits.forecast.table import tidy

CHUNK = 50  # seeds of one test: 200 daily, 1,000 weekly (pytest -m weekly runs the other 800)
CHUNKS = [*range(4), *(pytest.param(i, marks=pytest.mark.weekly) for i in range(4, 20))]
SECONDS = 20.0  # of processor time; more is a hang, nearly all take milliseconds


def picture(value: Any) -> str:
    """All there is of an input, to see whether it was changed."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        if isinstance(value, pd.DataFrame):
            cells = [value.iloc[:, i].tolist() for i in range(value.shape[1])]
            labels = value.columns.tolist(), value.index.tolist(), value.dtypes.tolist()
            return repr((labels, value.attrs, cells))
        if isinstance(value, np.ndarray):
            return repr((value.dtype, value.shape, value.flags.writeable, value.tolist()))
        if isinstance(value, dict) and any(isinstance(v, pd.DataFrame) for v in value.values()):
            return repr([(name, picture(part)) for name, part in value.items()])
        return repr(value) if not hasattr(value, "read") else ""
    except RecursionError:
        return "deep"
    finally:
        sys.set_int_max_str_digits(limit)


def short_line(text: str) -> bool:
    return len(text) < 400 and not any(ord(c) < 32 or ord(c) == 127 for c in text)


def short_sentence(text: str) -> bool:
    return one_sentence(text) and short_line(text)


def quiet_sentence(text: str) -> bool:
    """One that quotes a path may be longer."""
    return one_sentence(text) and not any(ord(c) < 32 or ord(c) == 127 for c in text)


def check_forecast(found: tn.Forecast, chosen: bool) -> None:
    """`chosen`: whether weights were given, so that a network alone may be the first link."""
    table = found.frame
    quantiles = [name for name in table.columns if name[0] == "0"]
    values = table[["lower", "median", "upper", *quantiles]].to_numpy(float)
    assert len(table) and np.isfinite(values).all() and (values > 0).all()
    assert (table["lower"] <= table["median"]).all() and (table["median"] <= table["upper"]).all()
    assert (np.diff(table[quantiles].to_numpy(), axis=1) >= 0).all()
    assert {*table["symbol"]} == {*found.reports} - {*found.skipped}
    assert all(map(short_sentence, found.skipped.values())), found.skipped
    for symbol in found.reports.keys() - found.skipped:
        used, said = found.reports[symbol].model_used, found.reports[symbol].warnings
        first = used.startswith("ensemble") or (chosen and used in ("TFT", "N-HITS"))
        assert first or said, used  # a later link says why
        assert all(map(short_sentence, said)), said
    found.summary()


def check(
    call: Callable[[], Any], source: Any, sentence: Callable[[str], bool] = short_sentence
) -> str:
    """Runs `call`, which reads `source`; what it came to: "answered", or the error's name."""
    before, began = picture(source), time.process_time()
    faulthandler.dump_traceback_later(10 * SECONDS, exit=True)  # what hangs ends with its place
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            call()
            outcome = "answered"
        except tn.TftnhitsError as error:
            assert sentence(str(error)), str(error)[:1000]
            outcome = type(error).__name__
        finally:
            faulthandler.cancel_dump_traceback_later()
    assert time.process_time() - began < SECONDS
    assert not heard, [str(one.message) for one in heard]
    assert picture(source) == before, "the input was changed"
    return outcome


def check_chunk(
    chunk: int, call: Callable[[int, Any], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Seeds of one chunk; a failure names its seed and kind."""
    outcomes: collections.Counter[str] = collections.Counter()
    capfd.readouterr()
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy and pandas, about what is built here
            kind, source = hostile(seed)
        try:
            outcomes[check(partial(call, seed, source), source)] += 1
        except Exception as error:
            why = f"{type(error).__name__}: {str(error)[:1000]}"
            raise AssertionError(f"hostile({seed}), {kind}: {why}") from error
    # neither all hopeless nor all sound
    assert outcomes["answered"] >= 3 and outcomes["DataError"] >= 10, outcomes
    assert not capfd.readouterr().err


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of small forecasts: on busy cores a second thread would cost ten times the time."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def predictor() -> tn.Predictor:
    found = tn.Predictor.load()
    found.predict(
        rows(random.Random(0), 5)
    )  # what is imported late is no part of the first case's time
    return found


@pytest.mark.parametrize("chunk", CHUNKS)
def test_predict_ends_in_a_sound_forecast_or_a_typed_sentence(predictor, chunk, capfd):
    def call(seed: int, source: Any) -> None:
        given = options(seed)
        check_forecast(predictor.predict(source, **given), bool(given.get("weights")))

    check_chunk(chunk, call, capfd)


@pytest.fixture(scope="module")
def pipe() -> Any:
    """The ModelScope pipeline of the shipped model."""
    modelscope = pytest.importorskip("modelscope", reason="needs the extra 'modelscope'")
    pytest.importorskip("torch", reason="modelscope's pipelines import torch")
    logging.getLogger("modelscope").setLevel(logging.ERROR)
    return modelscope.pipeline(
        task="time-series-forecasting",
        model=str(ROOT / "data" / "pretrained"),
        trust_remote_code=True,
    )


@pytest.mark.parametrize("chunk", CHUNKS)
def test_the_pipeline_ends_in_a_sound_answer_or_a_typed_sentence(pipe, chunk, capfd):
    def call(seed: int, source: Any) -> None:
        given = {k: v for k, v in options(seed).items() if k in ("horizon", "level")}
        found = pipe(source, **given)
        json.dumps(found, allow_nan=False)  # plain values
        for one in found if isinstance(found, list) else [found]:
            check_answer(one)

    check_chunk(chunk, call, capfd)


def check_answer(answer: dict[str, Any]) -> None:
    interval, sentences = answer["interval"], answer["warnings"]
    assert 0 < interval["lower"] <= answer["prediction"] <= interval["upper"] < np.inf
    path = [[bar[name] for name in ("lower", "median", "upper")] for bar in answer["path"]]
    assert np.isfinite(path).all() and np.min(path) > 0 and (np.diff(path) >= 0).all()
    assert (np.diff(list(answer["quantiles"].values()), axis=0) >= 0).all()
    assert answer["model_used"].startswith("ensemble") or any(map(short_sentence, sentences))
    assert all(map(short_line, sentences)), sentences  # repairs among them, which are none


OPTIONS = {"horizon": HORIZONS, "level": LEVELS, "origins": ORIGINS, "weights": WEIGHTS}
OPTIONS["calendar"] = CALENDARS


@pytest.mark.parametrize(("name", "values"), OPTIONS.items())
def test_options_of_any_type_are_taken_or_refused_in_a_sentence(predictor, name, values):
    outcomes: collections.Counter[str] = collections.Counter()
    days = pd.date_range("2020-01-01", periods=5)
    bars = pd.DataFrame(rows(random.Random(0), 5), columns=COLUMNS, index=days)
    for value in values:

        def call(value: Any = value) -> None:
            check_forecast(predictor.predict(bars, **{name: value}), name == "weights")

        try:
            outcomes[check(call, bars)] += 1
        except Exception as error:
            raise AssertionError(f"{quoted(value)}: {type(error).__name__}: {error}") from error
    assert {*outcomes} <= {"answered", "ConfigError", "MissingDependency"}, outcomes
    assert outcomes["answered"] >= 2 and outcomes["answered"] < 0.6 * len(values), outcomes


# -- models


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of everything in a JSON value, of long lists of the first three."""
    if isinstance(value, list):
        value = dict(enumerate(value[:3]))
    for key, part in value.items() if isinstance(value, dict) else ():
        yield (*at, key)
        yield from paths(part, (*at, key))


def broken(r: random.Random, record: dict[str, Any]) -> dict[str, Any]:
    """A model's JSON with something else in one place, or without it."""
    *above, last = r.choice([*paths(record)])
    holder = reduce(lambda part, key: part[key], above, record)
    if r.random() < 0.15:
        del holder[last]
    else:
        holder[last] = r.choice(JSON)
    return record


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return shutil.copytree(
        ROOT / "data" / "pretrained", tmp_path_factory.mktemp("hostile") / "model"
    )


def check_loaded(folder: Path, bars: list[Any]) -> None:
    check_forecast(tn.Predictor.load(folder).predict(bars), chosen=True)


@pytest.mark.parametrize("chunk", range(4))
def test_whatever_a_models_json_says_ends_in_an_answer_or_a_typed_sentence(folder, chunk):
    bars, outcomes = rows(random.Random(0), 80), collections.Counter()
    for seed in range(chunk * 30, (chunk + 1) * 30):
        r = random.Random(seed)
        path = folder / "predictor.json"
        good = path.read_bytes()
        path.write_text(json.dumps(broken(r, json.loads(good))))
        try:
            outcomes[check(lambda: check_loaded(folder, bars), bars, quiet_sentence)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {path.name}: {str(error)[:1000]}") from error
        finally:
            path.write_bytes(good)
    assert min(outcomes["answered"], outcomes["CheckpointError"]) >= 5, outcomes


SIZES = [("tft", {key: 10**9}) for key in ("lstm_layers", "hidden", "context")]
SIZES += [
    ("nhits", {"hidden": 10**6}),
    ("nhits", {"horizon": 10**9}),
    ("nhits", {"pools": [10**9]}),
]


@pytest.mark.parametrize(("name", "change"), SIZES)
def test_a_network_of_a_size_that_its_file_can_not_have_is_not_built(folder, name, change):
    pytest.importorskip("torch")
    path = folder / "predictor.json"
    good = path.read_bytes()
    record = json.loads(good)
    record["members"][name][0]["config"] |= change
    path.write_text(json.dumps(record))
    try:
        found = tn.Predictor.load(folder).predict(rows(random.Random(0), 80))
    finally:
        path.write_bytes(good)
    assert found.reports["series"].model_used == {"tft": "N-HITS", "nhits": "TFT"}[name]
    assert "that size" in found.reports["series"].warnings[0]


def test_prices_beyond_what_a_float_holds_are_its_bounds(predictor):
    """A tail of bars that leap, of a model that looks far ahead."""
    panel = tn.make_panel(
        tn.load_bars(rows(random.Random(0), 5)), predictor.panel_config, predictor.fitted
    )
    levels = (0.1, 0.5, 0.9)
    quantiles = np.broadcast_to([-2000.0, 0.0, 2000.0], (1, predictor.horizon, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tidy(panel, panel.last_origins(), quantiles, levels, 0.8)
    assert (found["lower"] > 0).all() and (found["upper"] < INF).all()
    assert (found["lower"] < found["median"]).all()
