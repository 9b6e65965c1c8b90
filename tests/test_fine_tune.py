"""Fine-tuning: better where bars have something new to teach, and never worse on validation."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    NHITS_TINY,
    TFT_TINY,
    environment,
    made_bars,
    one_sentence,
    tiny_members,
)

import tftnhits as tn  # noqa: E402
from tftnhits import Predictor, TrainConfig, fine_tune, fit, make_panel  # noqa: E402
from tftnhits.errors import CheckpointError, ConfigError, DataError, HistoryTooShort  # noqa: E402
from tftnhits.forecast.ensemble import combine, pinball_loss  # noqa: E402
from tftnhits.forecast.finetuning import GENTLE  # noqa: E402
from tftnhits.models.store import build, fingerprint, load_state  # noqa: E402
from tftnhits.training.loop import split_loss  # noqa: E402
from tftnhits.training.run import WORDS  # noqa: E402

QUICK = TrainConfig(epochs=2, batch=4, origins=32, learning_rate=3e-3)
WILD = replace(QUICK, learning_rate=30.0)


def trending_bars(bars=900, seed=5):
    """Hourly bars of two symbols whose returns go on: a random walk's model can learn from them."""
    parts = []
    for i, symbol in enumerate(("X", "Y")):
        rng = np.random.default_rng([seed, i])
        change = rng.normal(0, 0.002, bars)
        for t in range(1, bars):
            change[t] += 0.7 * change[t - 1]
        close = 100 * np.exp(np.cumsum(change))
        open_ = np.r_[100.0, close[:-1]]
        spread = np.exp(np.abs(rng.normal(0, 0.001, (2, bars))))
        prices = {
            "open": open_,
            "high": np.maximum(open_, close) * spread[0],
            "low": np.minimum(open_, close) / spread[1],
            "close": close,
        }
        dates = pd.date_range("2021-03-01", periods=bars, freq="h")
        parts.append(pd.DataFrame({"symbol": symbol, "date": dates, **prices, "volume": np.nan}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def start():
    panel = make_panel(made_bars(bars=300))
    return Predictor.from_members(tiny_members(panel), panel)


@pytest.fixture(scope="module")
def bars():
    return trending_bars()


@pytest.fixture(scope="module")
def tuned(start, bars):
    return fine_tune(start, bars, train=QUICK, progress=False)


def panel_for(model, bars):
    config = replace(model.panel_config, train_end=None, valid_end=None)
    return make_panel(bars, config, model.fitted)


def networks(model):
    return {name: fingerprint(model.members[name].model) for name in ("tft", "nhits")}


def ensemble_loss(model, panel, split):
    """Mean pinball loss of the ensemble, by hand."""
    rows = panel.origins(split, model.context)
    raw = {name: model.members[name].quantiles(panel, rows) for name in model.weights}
    unit = panel.scale[rows] * np.sqrt(np.arange(1, panel.steps + 1))
    quantiles = combine(raw, model.weights) / unit[..., None]
    return pinball_loss(quantiles, panel.target[rows], model.levels).mean()


def test_it_learns_what_the_start_does_not_know(start, tuned, bars):
    panel = panel_for(start, bars)
    assert ensemble_loss(tuned, panel, "test") < 0.97 * ensemble_loss(start, panel, "test")
    told = tuned.manifest["fine-tuned"]
    assert told["better"] == ["tft", "nhits"] and told["data"] == panel.digest()
    assert told["from"] == {name: [print] for name, print in networks(start).items()}
    for name in ("tft", "nhits"):
        before, after = told["valid"][name]
        assert after < before
        found = split_loss(tuned.members[name].model, panel)
        np.testing.assert_allclose(after, found, rtol=1e-5)
    by_hand = [ensemble_loss(model, panel, "valid") for model in (start, tuned)]
    np.testing.assert_allclose(told["valid"]["ensemble"], by_hand, rtol=1e-6)


def test_what_is_no_network_stays_and_the_start_is_not_touched(start, tuned, bars):
    before = networks(start)
    assert tuned.members["boosting"] is start.members["boosting"] and tuned.walk is start.walk
    assert tuned.weights == start.weights and tuned.fitted is start.fitted
    for name in before:
        ours, theirs = tuned.members[name].model, start.members[name].model
        assert torch.equal(ours.base, theirs.base)  # what it starts from, not the new bars'
    fine_tune(start, bars, train=replace(QUICK, epochs=1), progress=False)
    assert networks(start) == before != networks(tuned)


def told_by(means, spread=0.0):
    """Losses on validation, by call, around these means."""
    calls, random = iter(means), np.random.default_rng(0)

    def losses(member, panel, context):
        size = len(panel.origins("valid", context))
        return next(calls) + spread * random.standard_normal(size)

    return losses


def test_a_loss_that_fell_by_luck_changes_nothing(start, bars, monkeypatch):
    from tftnhits.forecast import finetuning

    means = [2.0, 1.9, 2.0, 1.9, 2.0, 1.98]
    for spread, better in ((0.5, []), (0.01, ["tft", "nhits"])):
        monkeypatch.setattr(finetuning, "_losses", told_by(means, spread))
        found = fine_tune(start, bars, train=QUICK, progress=False)
        assert found.manifest["fine-tuned"]["better"] == better, spread
        assert (networks(found) == networks(start)) == (not better)


def test_never_worse_on_validation_than_it_was(start, bars, monkeypatch):
    """At a rate that wrecks the networks, and where each is better but their average is not."""
    wrecked = fine_tune(start, bars, train=WILD, progress=False)
    assert networks(wrecked) == networks(start)
    told = wrecked.manifest["fine-tuned"]
    assert told["better"] == [] and all(after <= before for before, after in told["valid"].values())
    assert wrecked.manifest["trained to"] == start.manifest["trained to"]
    from tftnhits.forecast import finetuning

    # TFT, N-HITS, ensemble: start, tuned
    monkeypatch.setattr(finetuning, "_losses", told_by([2.0, 1.0, 2.0, 1.0, 2.0, 2.1]))
    kept = fine_tune(start, bars, train=QUICK, progress=False)
    assert networks(kept) == networks(start) and kept.manifest["fine-tuned"]["better"] == []


def test_a_model_in_which_har_has_a_weight_keeps_it(start, bars):
    mixed = replace(start, weights={"tft": 0.5, "nhits": 0.3, "walk": 0.2})
    found = fine_tune(mixed, bars, train=QUICK, progress=False)
    assert found.weights == mixed.weights
    before, after = found.manifest["fine-tuned"]["valid"]["ensemble"]
    assert after < before


def test_a_network_that_is_not_better_stays_alone(start, bars, monkeypatch):
    from tftnhits.forecast import finetuning

    monkeypatch.setattr(finetuning, "_losses", told_by([2.0, 2.0, 2.0, 1.0, 2.0, 1.9]))
    one = fine_tune(start, bars, train=QUICK, progress=False)
    assert one.members["tft"] is start.members["tft"]
    assert one.members["nhits"] is not start.members["nhits"]
    assert one.manifest["fine-tuned"]["better"] == ["nhits"]


def test_a_rate_at_which_nothing_is_finite_is_named(start, bars):
    with pytest.raises(ConfigError, match="learning_rate") as caught:
        fine_tune(start, bars, train=replace(QUICK, learning_rate=1e30), progress=False)
    assert one_sentence(str(caught.value))


def test_calibration_goes_on_and_forecasts_of_trained_dates_say_so(start, tuned, bars):
    assert set(start.pools) < set(tuned.pools)
    (kind,) = set(tuned.pools) - set(start.pools)
    assert kind.startswith("hourly") and set(tuned.pools[kind].seen) == {"X", "Y"}
    panel = panel_for(start, bars)
    last = pd.Timestamp(panel.date[panel.origins("train")].max())
    told = tuned.manifest["trained to"]
    assert told == {**start.manifest["trained to"], kind: str(last.date())}
    report = tuned.predict(bars).reports["X"]
    assert report.coverage is not None and not any("trained on" in w for w in report.warnings)
    early = tuned.predict(bars[bars["date"] <= last]).reports["X"].warnings
    assert any("trained on outcomes to" in text for text in early)


def test_dates_of_its_own_and_bars_without_any(start, bars):
    days = bars["date"].dt.date.astype(str)
    ends = days.iloc[500], days.iloc[700]
    one = fine_tune(start, bars, *ends, train=QUICK, progress=False)
    assert (one.panel_config.train_end, one.panel_config.valid_end) == ends
    rows = bars[bars["symbol"] == "X"][["open", "high", "low", "close"]].to_numpy().tolist()
    undated = fine_tune(start, rows, train=QUICK, progress=False)
    assert undated.manifest["trained to"] == start.manifest["trained to"]
    assert undated.predict(rows).frame["median"].notna().all()


def test_a_folder_or_a_predictor_starts_the_same_and_the_folder_keeps_it(start, bars, tmp_path):
    start.save(tmp_path / "start")
    found = fine_tune(tmp_path / "start", bars, None, None, QUICK, tmp_path / "out", progress=False)
    assert networks(found) == networks(fine_tune(start, bars, train=QUICK, progress=False))
    kept = Predictor.load(tmp_path / "out")
    assert kept.manifest == json.loads(json.dumps(found.manifest))
    pd.testing.assert_frame_equal(kept.predict(bars).frame, found.predict(bars).frame)


# --- resume


SCRIPT = """
import sys, torch
torch.set_num_threads(int(sys.argv[3]))
from test_fine_tune import QUICK, trending_bars
from dataclasses import replace
from tftnhits import fine_tune
train = replace(QUICK, epochs=8, patience=8)
fine_tune(sys.argv[1], trending_bars(), train=train, folder=sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_weights(start, bars, tmp_path):
    start.save(tmp_path / "start")
    arguments = [tmp_path / "start", tmp_path / "out", torch.get_num_threads()]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    path, limit = tmp_path / "out" / "tft.state", time.monotonic() + 90
    while process.poll() is None and not path.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 1 <= load_state(path)[1]["epoch"] < 8
    train = replace(QUICK, epochs=8, patience=8)
    whole = fine_tune(start, bars, train=train, progress=False)
    again = fine_tune(start, bars, train=train, folder=tmp_path / "out", progress=False)
    assert networks(again) == networks(whole)


def test_a_state_is_of_its_start(start, tuned, bars, tmp_path):
    panel, config = panel_for(start, bars), NHITS_TINY
    path = tmp_path / "nhits.state"
    first = start.members["nhits"].model
    fit(config, panel, QUICK, path, progress=False, start=first)
    for other in (tuned.members["nhits"].model, None):
        with pytest.raises(CheckpointError, match=f"differs in {WORDS['start']};") as caught:
            fit(config, panel, QUICK, path, progress=False, start=other)
        assert one_sentence(str(caught.value))


def test_a_start_of_another_kind_is_refused_but_dropout_may_differ(start, bars):
    panel = panel_for(start, bars)
    for model in (start.members["tft"].model, build(replace(NHITS_TINY, hidden=8), panel.inputs)):
        with pytest.raises(ConfigError, match="start from") as caught:
            fit(NHITS_TINY, panel, QUICK, progress=False, start=model)
        assert one_sentence(str(caught.value))
    noisy = replace(TFT_TINY, dropout=0.4)
    begin = start.members["tft"].model
    found = fit(noisy, panel, QUICK, progress=False, start=begin).model
    assert found.config == noisy and split_loss(found, panel) <= split_loss(begin, panel)


# --- what can't be fine-tuned


def test_too_little_history_says_how_much_it_takes(start):
    few = trending_bars(30)
    with pytest.raises(HistoryTooShort, match="as it is") as caught:
        fine_tune(start, few, progress=False)
    text = str(caught.value)
    assert one_sentence(text) and "30 bars" in text
    least = int(text.split("give at least ")[1].split()[0])
    assert 30 < least < 100
    fine_tune(start, trending_bars(least), train=replace(QUICK, epochs=1), progress=False)
    assert start.predict(few).frame["median"].notna().all()


@pytest.mark.parametrize(
    ("error", "words", "change"),
    [
        (
            HistoryTooShort,
            "validation origin",
            {"valid_end": "2021-03-20", "train_end": "2021-03-20"},
        ),
        (HistoryTooShort, "training origin", {"train_end": "2021-03-01"}),
        (ConfigError, "comes after", {"valid_end": "2021-03-02", "train_end": "2021-03-20"}),
        (DataError, "no-such.csv", {"bars": "no-such.csv"}),
        (CheckpointError, "no-such", {"model": "no-such"}),
        (ConfigError, "is missing", {"model": "boosting"}),
        (ConfigError, "is missing", {"model": "half"}),
    ],
)
def test_what_cannot_be_done_is_named(start, bars, error, words, change):
    given = {"model": start, "bars": bars, "train": QUICK, "progress": False} | change
    if given["model"] == "half":
        half = {name: m for name, m in start.members.items() if name != "tft"}
        given["model"] = replace(start, members=half, missing={"tft": "{who} is gone"})
    if given["model"] == "boosting":
        alone = {"boosting": start.members["boosting"]}
        given["model"] = Predictor.from_members(alone, make_panel(made_bars(bars=300)))
    with pytest.raises(error, match=words) as caught:
        fine_tune(**given)
    assert one_sentence(str(caught.value))


def test_the_shipped_model_is_the_default():
    bars = tn.load_bars("eurusd").tail(300)
    train = replace(GENTLE, epochs=1)
    named = fine_tune("shipped", bars, train=train, progress=False)
    assert networks(named) == networks(fine_tune(None, bars, train=train, progress=False))
    before, after = named.manifest["fine-tuned"]["valid"]["ensemble"]
    assert after <= before or not named.manifest["fine-tuned"]["better"]
