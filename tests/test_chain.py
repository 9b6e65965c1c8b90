"""Each link of the chain broken in turn: who answers, why, and with whose interval."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from helpers import BOOSTING_TINY, NHITS_TINY, TFT_TINY, TRAIN_TINY, one_sentence, stocks  # noqa: E402

import tftnhits as tn  # noqa: E402
from tftnhits.errors import CheckpointError, DataError  # noqa: E402
from tftnhits.forecast.ensemble import NAMES, Network  # noqa: E402
from tftnhits.forecast.fallback import answer, chain  # noqa: E402
from tftnhits.models.boosting import Boosting  # noqa: E402
from tftnhits.models.baselines import Walk  # noqa: E402

FILES = {
    "tft": "tft-*.safetensors",
    "nhits": "nhits-*.safetensors",
    "boosting": "boosting-*.safetensors",
}
WALK = NAMES["walk"]
# members broken, and who answers then
FAULTS = {
    ("tft",): "N-HITS",
    ("nhits",): "TFT",
    ("tft", "nhits"): "gradient boosting",
    ("tft", "nhits", "boosting"): WALK,
    ("boosting",): "ensemble (0.65 TFT + 0.35 N-HITS)",
}


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "META"), "2016-01-01", "2017-12-31")


@pytest.fixture(scope="module")
def panel(bars):
    return tn.make_panel(bars)


@pytest.fixture(scope="module")
def members(panel):
    networks = {"tft": TFT_TINY, "nhits": NHITS_TINY}
    trained = {
        name: tn.fit(config, panel, TRAIN_TINY, progress=False).model
        for name, config in networks.items()
    }
    return {**trained, "boosting": Boosting(BOOSTING_TINY).fit(panel)}


@pytest.fixture(scope="module")
def predictor(members, panel):
    return tn.Predictor.from_members(members, panel)


@pytest.fixture
def folder(predictor, tmp_path):
    return predictor.save(tmp_path / "model")


def own(predictor, panel, bars, name):
    """What the member alone says, with its own calibration: the frame that its link must give."""
    if name.startswith("ensemble"):
        return predictor.predict(bars).frame
    link = next(k for k, label in NAMES.items() if label == name)
    member = predictor.walk if link == "walk" else predictor.members[link]
    found = member.quantiles(
        tn.make_panel(bars, predictor.panel_config, predictor.fitted), panel.last_origins()
    )
    state = predictor.calibration[link].state
    levels = predictor.levels
    return state.calibrate(found, levels, levels)


def check(found, predictor, panel, bars, name, words):
    """The link's name, its quantiles calibrated as its own, and the reasons; "words" are in each warning."""
    assert set(found.model_used.values()) == {name}
    if name.startswith("ensemble"):
        assert not any(found.warnings.values())
        pd.testing.assert_frame_equal(found.frame, predictor.predict(bars).frame)
        return
    for warnings in found.warnings.values():
        assert warnings and all(
            one_sentence(w) and any(word in w for word in words) for w in warnings
        ), warnings
        assert all(
            w.rstrip(".").split("so ")[-1].startswith((name, f"the {name}")) for w in warnings
        ), warnings
    wanted = own(predictor, panel, bars, name)
    close = panel.close[panel.last_origins()][:, None]
    got = np.stack(
        [found.frame[f"{q:.12g}"].to_numpy().reshape(2, 5) for q in predictor.levels], -1
    )
    np.testing.assert_allclose(got, close[..., None] * np.exp(wanted), rtol=1e-6)
    link = next(k for k, label in NAMES.items() if label == name)
    assert set(found.coverage.values()) == {predictor.calibration[link].realised(0.93)}


@pytest.mark.parametrize("fault", ["corrupt", "missing", "newer", "torn"])
@pytest.mark.parametrize("broken", FAULTS, ids="+".join)
def test_weights_that_can_not_be_used(predictor, panel, bars, folder, broken, fault):
    for name in broken:
        (weights,) = folder.glob(FILES[name])
        if fault == "corrupt":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
        elif fault == "missing":
            weights.unlink()
        elif fault == "torn":
            (folder / f"{name}.json").write_text((folder / f"{name}.json").read_text()[:40])
        else:
            path = folder / f"{name}.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    loaded = tn.Predictor.load(folder)
    words = {
        "corrupt": ["corrupt"],
        "missing": ["can't be read"],
        "torn": ["JSON"],
        "newer": ["upgrade"],
    }[fault]
    check(loaded.predict(bars), predictor, panel, bars, FAULTS[broken], words)
    with pytest.raises(CheckpointError, match="would be lost"):
        loaded.save(folder)


@pytest.mark.parametrize("broken", [b for b in FAULTS if "boosting" not in b], ids="+".join)
def test_weights_that_are_not_numbers(members, predictor, panel, bars, tmp_path, broken):
    bad = {k: copy.deepcopy(m) if k in broken else m for k, m in members.items()}
    for name in broken:
        with torch.no_grad():
            next(p for n, p in bad[name].named_parameters() if "bias" in n).fill_(float("nan"))
    sick = copy.copy(predictor)
    sick.members = {k: Network(m) if k in NAMES and k != "boosting" else m for k, m in bad.items()}
    loaded = tn.Predictor.load(sick.save(tmp_path))  # whole by its hash
    check(loaded.predict(bars), predictor, panel, bars, FAULTS[broken], ["not finite"])


@pytest.mark.parametrize("broken", [b for b in FAULTS if "boosting" not in b], ids="+".join)
def test_a_device_that_fails(members, predictor, panel, bars, broken):
    sick = copy.copy(predictor)
    # the meta device computes nothing: whoever asks it for a number gets torch's own error
    sick.members = {
        k: Network(copy.deepcopy(members[k]).to("meta")) if k in broken else m
        for k, m in predictor.members.items()
    }
    check(
        sick.predict(bars), predictor, panel, bars, FAULTS[broken], ["failed (NotImplementedError"]
    )


def test_memory_that_runs_out(predictor, panel, bars):
    class Hungry:
        context, horizon, levels = 20, predictor.horizon, predictor.levels

        def quantiles(self, panel, rows):
            return np.empty((1 << 46, len(rows)))

    sick = copy.copy(predictor)
    sick.members = {**predictor.members, "tft": Hungry()}
    check(sick.predict(bars), predictor, panel, bars, "N-HITS", ["failed (", "allocate"])


def test_a_history_too_short_for_some(predictor, bars):
    mixed = pd.concat([bars[bars["symbol"] == "AAPL"], bars[bars["symbol"] == "META"].tail(7)])
    found = predictor.predict(mixed, origins="all")
    assert found.model_used == {
        "AAPL": "ensemble (0.65 TFT + 0.35 N-HITS)",
        "META": "gradient boosting",
    }
    assert not found.warnings["AAPL"]
    assert found.warnings["META"] == [
        "META has 7 bars and the networks need 20, so gradient boosting answers."
    ]
    counts = found.frame.groupby("symbol")["origin"].nunique()
    assert counts["AAPL"] == (mixed["symbol"] == "AAPL").sum() - 19 and counts["META"] == 6


def test_one_origin_that_fails_moves_the_whole_symbol(predictor, panel, bars):
    class Patchy:
        context, horizon, levels = 20, predictor.horizon, predictor.levels

        def quantiles(self, panel, rows):
            out = np.array(predictor.members["tft"].quantiles(panel, rows))
            out[(panel.symbol_of(rows) == 1) & (rows % 50 == 0)] = np.inf
            return out

    sick = copy.copy(predictor)
    sick.members = {**predictor.members, "tft": Patchy()}
    found = sick.predict(bars, origins="all")
    assert found.model_used == {"AAPL": "ensemble (0.65 TFT + 0.35 N-HITS)", "META": "N-HITS"}
    assert found.warnings["META"] == [
        "The TFT gave numbers for META that are not finite, so N-HITS answers alone."
    ]
    assert np.isfinite(found.frame["median"]).all()


def test_the_one_who_was_asked_for_comes_first(predictor, bars, folder):
    assert set(predictor.predict(bars, weights={"nhits": 1}).model_used.values()) == {"N-HITS"}
    next(folder.glob(FILES["nhits"])).unlink()
    found = tn.Predictor.load(folder).predict(bars, weights={"nhits": 1})
    assert (
        set(found.model_used.values()) == {"TFT"}
        and "N-HITS can't be used" in found.warnings["META"][0]
    )


def test_order_of_the_links():
    members = dict.fromkeys(NAMES)
    every = [list(link) for link in chain(members, {"tft": 0.65, "nhits": 0.35})]
    assert every == [["tft", "nhits"], ["tft"], ["nhits"], ["boosting"], ["walk"]]
    assert [list(link) for link in chain(members, {"tft": 0.0, "nhits": 1.0})][:2] == [
        ["nhits"],
        ["tft"],
    ]
    assert [list(link) for link in chain({"boosting": 1, "walk": 1}, {})] == [
        ["boosting"],
        ["walk"],
    ]


def test_no_link_at_all_is_one_sentence(panel):
    rows, links = panel.last_origins(), [{"boosting": 1.0}]
    with pytest.raises(DataError, match="No link") as caught:
        answer(panel, rows, {}, {"boosting": "gone"}, links)
    assert one_sentence(str(caught.value))


def test_the_walk_has_no_drift_and_follows_the_scale(predictor, panel):
    found = predictor.walk.quantiles(panel, panel.origins("test"))
    middle = predictor.levels.index(0.5)
    assert np.abs(found[..., middle]).max() < 1e-15
    np.testing.assert_allclose(found, -found[..., ::-1], atol=1e-12)
    actual = panel.outcomes(panel.origins("test"))[:, 0]
    wide = found[:, 0, predictor.levels.index(0.965)]
    inside = np.abs(actual) <= wide
    assert 0.85 < inside[np.isfinite(actual)].mean() < 0.99
    normal = Walk.normal(3, (0.1, 0.5, 0.9))
    assert normal.shape[0].tolist() == pytest.approx([-1.2815516, 0.0, 1.2815516])


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
    found = sick.predict(
        bars[bars["symbol"] == "META"].tail(size), weights={"tft": share, "nhits": 1 - share}
    )
    (used,), (warnings,) = found.model_used.values(), found.warnings.values()
    assert np.isfinite(found.frame[["lower", "median", "upper"]]).all(axis=None)
    networks = [n for n in ("tft", "nhits") if n not in lost and size >= 20]
    if len(networks) == 2:
        wanted = {0.0: "N-HITS", 1.0: "TFT"}.get(share, "ensemble")
        assert used.startswith(wanted) and not warnings
    else:
        assert used == (
            NAMES[networks[0]] if networks else WALK if "boosting" in lost else "gradient boosting"
        )
        asked = {0.0: "nhits", 1.0: "tft"}.get(share)
        assert warnings if not networks or networks[0] != asked else not warnings
