"""The benchmarks beside the peers: what a learning curve keeps, and what its loss is."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import ROOT, made_bars

import tftnhits as tn
from tftnhits.config import SCORE_LEVELS, preset
from tftnhits.evaluation.metrics import pinball_loss
from tftnhits.models.baselines import empirical_quantiles


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of bench/, which import each other from their folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    yield importlib.import_module
    for name in ("quality", "beside", "protocol", "tables"):
        sys.modules.pop(name, None)


def test_a_curve_is_judged_ever_less_often_and_at_its_end(bench):
    curve, asked = bench("quality").Curve(steps=40, limit=1e9), []

    def judge() -> float:
        asked.append(curve.done)
        return 1.0 / (1 + curve.done)

    curve.start(judge)
    overs = [curve.step(windows=3) for _ in range(40)]
    assert overs == [False] * 39 + [True]
    assert asked[:5] == [0, 1, 2, 3, 4] and asked[-1] == 40
    assert np.diff(asked).max() == 3  # a sixteenth of the run, rounded up
    row = curve.row(parameters=7)
    assert row["best"] == round(1 / 41, 4) and row["best_at"] == row["curve"][-1][0]
    assert row["steps"] == 40 and len(row["curve"]) == len(asked)


def test_a_curve_ends_when_the_time_is_up(bench):
    curve = bench("quality").Curve(steps=1_000, limit=0.0)
    curve.start(lambda: 1.0)
    assert curve.step(windows=1)


def test_a_run_of_ours_is_judged_by_the_protocols_loss(bench):
    panel = tn.make_panel(made_bars(bars=320), tn.PanelConfig())
    rows = panel.origins("valid", 20)
    tft, *_, train = preset("tiny")
    config = replace(tft, quantiles=SCORE_LEVELS)
    row = bench("quality").train_ours(config, train, panel, rows, limit=60.0)
    # before its first step it is the volatility scale times the quantiles of the past
    scale = np.asarray(panel.scale, float)
    unit = scale[rows] * np.sqrt(np.arange(1, 6))
    found = empirical_quantiles(panel, scale, SCORE_LEVELS) * unit[..., None]
    expected = 1e4 * pinball_loss(found, panel.outcomes(rows), SCORE_LEVELS).mean()
    assert row["curve"][0] == (0.0, pytest.approx(expected, rel=1e-4))
    assert row["curve"][-1][1] != row["curve"][0][1] and row["windows_per_second"] > 0


def test_the_table_says_when_ours_was_as_good(bench):
    measured = {"network": "TFT", "windows_per_second": 9.0, "parameters": 7}
    ours = {**measured, "name": "ours TFT quick", "seconds": 9.0, "ended": "steps", "best": 1.0}
    ours |= {"best_at": 8.0, "curve": [[0.0, 4.0], [2.0, 2.0], [8.0, 1.0]]}
    rival = {**measured, "name": "neuralforecast TFT small", "version": "3", "seconds": 60.0}
    rival |= {"ended": "time", "best": 2.5, "best_at": 50.0, "curve": [[0.0, 9.0], [50.0, 2.5]]}
    record = {"data": "made", "symbols": 4, "threads": 1, "rows": [ours, rival]}
    line = bench("beside").quality(record).splitlines()[3]
    assert line.endswith("| 60+ | 2.500 | 50.0 | 2.0 | 1/25 |")
