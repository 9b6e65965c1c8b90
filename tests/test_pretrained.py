"""The shipped model answers, offline, for symbols that it never saw."""

import json
import socket

import numpy as np
import pytest
from helpers import ROOT, made_bars, specific

import tftnhits as tn

FOLDER = ROOT / "data" / "pretrained"


@pytest.fixture(scope="module")
def shipped():
    pytest.importorskip("torch")
    return tn.Predictor.load()


def test_folder_is_small_whole_and_without_code_or_pickle():
    files = [p for p in FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 25e6
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md", ".py"}
    (code,) = (p for p in files if p.suffix == ".py")  # for ModelScope, only with trust_remote_code
    assert code.name == "ms_wrapper.py"
    assert code.read_bytes() == (ROOT / "tftnhits" / "apps" / "ms_wrapper.py").read_bytes()
    configuration = json.loads((FOLDER / "configuration.json").read_text())
    assert set(configuration) == {"framework", "task", "pipeline", "allow_remote"}
    assert configuration["task"] == "time-series-forecasting" and configuration["pipeline"]["type"]


def test_it_forecasts_the_bundled_bars_with_no_network(shipped, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    bars = tn.load_bars("stocks")
    found = tn.Predictor.load().predict(bars[bars["symbol"].isin(["META", "GOOG"])])
    used = {report.model_used for report in found.reports.values()}
    assert used == {"ensemble (0.65 TFT + 0.35 N-HITS)"}
    for summary in found.summary():
        assert not specific(summary["warnings"]) and summary["confidence"] == 0.93
        coverage = summary["interval"]["coverage"]  # over the symbol's own last year
        assert abs(coverage - 0.93) < 0.04


def test_it_answers_for_symbols_and_scales_that_it_never_saw(shipped):
    bars = made_bars(symbols=("NEW", "OTHER"), bars=400, seed=5)
    found = shipped.predict(bars, level=0.8, origins="all")
    frame = found.frame
    assert set(frame["symbol"]) == {"NEW", "OTHER"} and np.isfinite(frame["median"]).all()
    close = bars.set_index(["symbol", "date"])["close"]
    later = close.reindex(frame.set_index(["symbol", "date"]).index).to_numpy()
    known = np.isfinite(later)
    inside = ((frame["lower"] <= later) & (later <= frame["upper"]))[known].mean()
    assert 0.7 < inside < 0.9  # random walks with a constant volatility
    cents = bars.assign(**{k: bars[k] / 1000 for k in ("open", "high", "low", "close")})
    again = shipped.predict(cents, level=0.8, origins="all").frame
    assert np.allclose(again["upper"] * 1000, frame["upper"], rtol=1e-4)


def test_members_are_distilled_from_several_seeds(shipped):
    record = json.loads((ROOT / "data" / "results" / "pretrained.json").read_text())
    for name in ("tft", "nhits"):
        students = [run for run in record["students"] if run["network"] == name]
        seeds = [run["valid"] for run in record["runs"] if run["network"] == name]
        assert len(seeds) == len(record["seeds"]) > 1
        assert len(shipped.members[name].models) == 1
        assert students[0]["valid"] < np.mean(seeds)  # the shipped one is better than a seed is
