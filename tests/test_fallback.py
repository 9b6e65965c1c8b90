"""Each member of the chain broken in turn: who answers, why, and with whose interval."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from helpers import (  # noqa: E402
    calibrated_by_hand,
    one_sentence,
    specific,
    stocks,
    tiny_members,
)

import tftnhits as tn  # noqa: E402
from tftnhits.errors import CheckpointError, DataError, HistoryTooShort  # noqa: E402
from tftnhits.forecast.ensemble import NAMES, Network  # noqa: E402
from tftnhits.forecast.fallback import answer, chain  # noqa: E402

ENSEMBLE = "ensemble (0.65 TFT + 0.35 N-HITS)"
# Members broken, and who answers then
FAULTS = {
    ("tft",): "nhits",
    ("nhits",): "tft",
    ("tft", "nhits"): "boosting",
    ("tft", "nhits", "boosting"): "walk",
    ("boosting",): "ensemble",
}
NETWORK_FAULTS = [broken for broken in FAULTS if "boosting" not in broken]


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "META"), "2016-01-01", "2017-12-31")


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars)


@pytest.fixture(scope="module")
def predictor(panel):
    return tn.Predictor.from_members(tiny_members(panel), panel)


@pytest.fixture
def folder(predictor, tmp_path):
    return predictor.save(tmp_path / "model")


def changed(predictor, **members):
    """The predictor with other members."""
    out = copy.copy(predictor)
    out.members = {**predictor.members, **members}
    return out


def used(forecast):
    return {name: report.model_used for name, report in forecast.reports.items()}


def check(forecast, predictor, panel, name, words):
    """`name` answers for all, with its own calibration; one of `words` is in each warning."""
    label = NAMES.get(name, ENSEMBLE)
    assert set(used(forecast).values()) == {label}
    member = {**predictor.members, "walk": predictor.walk}.get(name)
    for report in forecast.reports.values():
        assert 0.7 < report.coverage <= 1 and "dates of its own to" in report.measured
        assert bool(specific(report.warnings)) == (name != "ensemble")
        for text in specific(report.warnings):
            assert one_sentence(text) and any(word in text for word in words), text
            assert text.split("so ")[-1].startswith((label, f"the {label}")), text
    if member is None:
        return
    rows = panel.last_origins()
    raw = member.quantiles(panel, rows)
    returns = calibrated_by_hand(predictor, name, panel, rows, raw)
    expected = panel.close[rows, None, None] * np.exp(returns)
    found = forecast.frame[[f"{q:.12g}" for q in predictor.levels]].to_numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "fault, word",
    [("corrupt", "corrupt"), ("missing", "can't be read"), ("newer", "upgrade")],
)
@pytest.mark.parametrize("broken", FAULTS, ids="+".join)
def test_weights_that_can_not_be_used(predictor, panel, bars, folder, broken, fault, word):
    for name in broken:
        (weights,) = folder.glob(f"{name}-*.safetensors")
        path = folder / "predictor.json"
        if fault == "corrupt":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
        elif fault == "missing":
            weights.unlink()
        else:
            record = json.loads(path.read_text())
            record["members"][name][0]["format"] = 99
            path.write_text(json.dumps(record))
    loaded = tn.Predictor.load(folder)
    check(loaded.predict(bars), predictor, panel, FAULTS[broken], [word])
    with pytest.raises(CheckpointError, match="would be lost"):
        loaded.save(folder)


@pytest.mark.parametrize("broken", NETWORK_FAULTS, ids="+".join)
def test_weights_that_are_not_numbers_and_devices_that_fail(
    predictor, panel, bars, tmp_path, broken
):
    sick, dead = {}, {}
    for name in broken:
        model = copy.deepcopy(predictor.members[name].model)
        with torch.no_grad():
            next(p for n, p in model.named_parameters() if "bias" in n).fill_(float("nan"))
        sick[name] = Network(model)
        # The meta device computes nothing: whoever asks for a number gets torch's own error
        dead[name] = Network(copy.deepcopy(model).to("meta"))
    loaded = tn.Predictor.load(changed(predictor, **sick).save(tmp_path))  # whole by its hash
    check(loaded.predict(bars), predictor, panel, FAULTS[broken], ["not finite"])
    failing = changed(predictor, **dead).predict(bars)
    check(failing, predictor, panel, FAULTS[broken], ["failed (NotImplementedError"])


class Stub:
    """A TFT of another mind."""

    context = 20

    def __init__(self, predictor, quantiles):
        self.horizon, self.levels = predictor.horizon, predictor.levels
        self.quantiles = quantiles


def test_memory_that_runs_out(predictor, panel, bars):
    hungry = Stub(predictor, lambda panel, rows: np.empty((1 << 46, len(rows))))
    found = changed(predictor, tft=hungry).predict(bars)
    check(found, predictor, panel, "nhits", ["allocate"])


def test_one_origin_that_fails_moves_the_whole_symbol(predictor, bars):
    def patchy(panel, rows):
        out = np.array(predictor.members["tft"].quantiles(panel, rows))
        out[(panel.symbol_of(rows) == 1) & (rows % 50 == 0)] = np.inf
        return out

    found = changed(predictor, tft=Stub(predictor, patchy)).predict(bars, origins="all")
    assert used(found) == {"AAPL": ENSEMBLE, "META": "N-HITS"}
    assert specific(found.reports["META"].warnings) == [
        "The TFT gave numbers for META that are not finite, so N-HITS answers alone."
    ]
    assert np.isfinite(found.frame["median"]).all()


def test_a_history_too_short_for_some(predictor, bars):
    short = bars[bars["symbol"] == "META"].tail(7)
    mixed = pd.concat([bars[bars["symbol"] == "AAPL"], short])
    found = predictor.predict(mixed, origins="all")
    assert used(found) == {"AAPL": ENSEMBLE, "META": "gradient boosting"}
    assert not specific(found.reports["AAPL"].warnings)
    assert specific(found.reports["META"].warnings) == [
        "META has 7 bars and the networks need 20, so gradient boosting answers.",
        "META has 7 bars and coverage was measured on origins of 20 and more, so none is claimed; "
        "give more bars.",
    ]
    counts = found.frame.groupby("symbol")["origin"].nunique()
    assert counts["AAPL"] == (mixed["symbol"] == "AAPL").sum() - 19 and counts["META"] == 6
    together = predictor.predict(mixed).frame.query("symbol == 'META'")
    np.testing.assert_allclose(together["median"], predictor.predict(short).frame["median"])
    networks = {k: predictor.members[k] for k in ("tft", "nhits")}
    walk = tn.Predictor.from_members(networks, tn.make_panel(bars)).predict(short).summary()
    assert walk["model_used"] == NAMES["walk"] and "need 20" in walk["warnings"][0]
    with pytest.raises(HistoryTooShort, match="META has 1 bar but the model needs 2") as caught:
        predictor.predict(short.tail(1))
    assert one_sentence(str(caught.value))


def test_the_one_who_was_asked_for_comes_first(predictor, bars, folder):
    assert set(used(predictor.predict(bars, weights={"nhits": 1})).values()) == {"N-HITS"}
    next(folder.glob("nhits-*.safetensors")).unlink()
    found = tn.Predictor.load(folder).predict(bars, weights={"nhits": 1})
    assert set(used(found).values()) == {"TFT"}
    assert "N-HITS can't be used" in found.reports["META"].warnings[0]


@pytest.mark.parametrize(
    "names, weights, expected",
    [
        (NAMES, {"tft": 0.65, "nhits": 0.35}, ["tft+nhits", "tft", "nhits", "boosting", "walk"]),
        (NAMES, {"tft": 0.0, "nhits": 1.0}, ["nhits", "tft", "boosting", "walk"]),
        (["boosting", "walk"], {}, ["boosting", "walk"]),
    ],
)
def test_order_of_the_candidates(names, weights, expected):
    assert ["+".join(one) for one in chain(dict.fromkeys(names), weights)] == expected


def test_no_member_at_all_is_one_sentence(panel):
    with pytest.raises(DataError, match="No member") as caught:
        answer(panel, panel.last_origins(), {}, {"boosting": "gone"}, [{"boosting": 1.0}])
    assert one_sentence(str(caught.value))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lost=st.sets(st.sampled_from(["tft", "nhits", "boosting"])),
    size=st.integers(2, 60),
    share=st.sampled_from([0.0, 0.3, 0.65, 1.0]),
)
def test_whatever_is_broken_there_is_an_answer_and_it_says_who(predictor, bars, lost, size, share):
    sick = copy.copy(predictor)
    sick.members = {k: m for k, m in predictor.members.items() if k not in lost}
    sick.missing = dict.fromkeys(lost, "{who} was lost in a test")
    weights = {"tft": share, "nhits": 1 - share}
    found = sick.predict(bars[bars["symbol"] == "META"].tail(size), weights=weights)
    report = found.reports["META"]
    assert np.isfinite(found.frame[["lower", "median", "upper"]]).all(axis=None)
    networks = [n for n in ("tft", "nhits") if n not in lost and size >= 20]
    first = {0.0: "N-HITS", 1.0: "TFT"}.get(share, "ensemble")
    if len(networks) == 2:
        assert report.model_used.startswith(first)
    else:
        other = NAMES["walk"] if "boosting" in lost else "gradient boosting"
        assert report.model_used == (NAMES[networks[0]] if networks else other)
    assert bool(specific(report.warnings)) != report.model_used.startswith(first)
