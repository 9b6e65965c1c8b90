"""Paths: bars that are none violate nothing, closes follow the forecast, and no future is seen."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import genpareto, spearmanr

import tftnhits as tn
from tftnhits.config import PanelConfig
from tftnhits.forecast import paths as P
from tftnhits.forecast.conformal import outcome_scores
from tftnhits.forecast.result import quantile_columns

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
STEPS = 5


@pytest.fixture(scope="module")
def model():
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def fc(model):
    return model.predict(stocks(("AAPL", "GOOG", "NVDA"), "2014-01-01", "2017-12-31"))


def drawn(bars, back=0, n=1000, seed=0, fitted=None, width=1.0):
    """Paths from the bar `back` before each symbol's last one, of Gaussian quantiles."""
    panel = tn.make_panel(bars, PanelConfig(horizon=STEPS), fitted)
    rows = panel.start + panel.length - 1 - back
    scale = np.asarray(panel.scale, float)[rows] * np.sqrt(np.arange(1, STEPS + 1))
    move = width * scale[..., None] * ndtri(LEVELS)
    return P.draw(P.history(panel, bars), rows, move, LEVELS, n, seed)


def violations(paths):
    """How many bars are none."""
    bars = paths.bars
    top = np.maximum(bars["open"], bars["close"])
    bottom = np.minimum(bars["open"], bars["close"])
    good = (bars["high"] >= top) & (bottom >= bars["low"]) & (bars["low"] > 0)
    good &= np.isfinite(bars["high"]) & (bars["volume"] >= 0) & np.isfinite(bars["volume"])
    return int((~good).sum())


def test_the_frame_is_tidy_and_of_each_symbols_last_origin(fc):
    frame = fc.paths(n=50)
    assert list(frame) == ["symbol", "origin", "path", "step", "date", *P.COLUMNS]
    assert len(frame) == 3 * 50 * STEPS and frame.attrs["warnings"] == []
    ahead = fc.frame.drop_duplicates(["symbol", "step"], keep="last")
    keys = ["symbol", "origin", "step", "date"]
    mine = frame[frame["path"] == 49][keys].astype({"symbol": str}).reset_index(drop=True)
    expected = ahead[keys].astype({"symbol": str}).reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, expected, check_dtype=False)


@pytest.mark.parametrize("n", [70_000, pytest.param(700_000, marks=pytest.mark.weekly)])
def test_no_bar_of_a_million_is_violated(fc, n):
    assert 3 * n * STEPS >= 1e6
    assert violations(P.paths_of(fc, n)) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 0.1, 1.0, 30.0]), st.floats(0.0, 1.0))
def test_no_bar_is_violated_whatever_the_bars_were(seed, width, prints):
    bars = made_bars(("A",), 150, seed=seed)
    rng = np.random.default_rng(seed)
    bad = rng.random(len(bars)) < 0.1 * prints
    bars.loc[bad, "high"] *= np.exp(rng.exponential(2.0, bad.sum()))
    bars.loc[bad, "low"] /= np.exp(rng.exponential(2.0, bad.sum()))
    assert violations(drawn(bars, n=400, seed=seed, width=width)) == 0


def test_closes_follow_the_calibrated_quantiles(fc):
    n = 100_000
    paths, names = P.paths_of(fc, n), quantile_columns(fc.frame)
    levels = np.array(names, float)
    last = fc.frame.groupby("symbol", sort=False).tail(STEPS)
    move = np.log(last[names].to_numpy()).reshape(3, STEPS, 1, len(names))
    close = np.log(np.sort(paths.bars["close"], axis=-1)).swapaxes(0, 1)  # [K, H, n]
    score = outcome_scores(np.repeat(move, n, axis=2), ndtri(levels), close)
    body = np.abs(score) < ndtri(levels[-1])
    rank = np.broadcast_to((np.arange(n) + 0.5) / n, score.shape)
    assert np.abs(ndtr(score) - rank)[body].max() < 0.005  # Kolmogorov's distance
    below = (close[..., None] <= move).mean(2)
    np.testing.assert_allclose(below, np.broadcast_to(levels, below.shape), atol=2 / n)


def test_the_tail_is_generalised_pareto_and_starts_as_steep_as_the_quantiles_end():
    low, high, share = P._strata(LEVELS, 1_000_000, np.random.default_rng(0))
    base = ndtri(LEVELS)
    score = base[low] + share * (base[high] - base[low])
    assert (np.diff(score) >= 0).all()
    np.testing.assert_array_equal(LEVELS[high[0]], 0.1)  # the line that goes on
    outer = 0.025
    start = outer * np.sqrt(2 * np.pi) * np.exp(base[0] ** 2 / 2)
    for beyond in (base[0] - score[score < base[0]], score[score > base[-1]] - base[-1]):
        wanted = genpareto.ppf([0.1, 0.5, 0.9, 0.99], P.SHAPE, scale=start)
        found = np.quantile(beyond, [0.1, 0.5, 0.9, 0.99])
        np.testing.assert_allclose(found, wanted, rtol=0.002)
    inner = np.quantile(score, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(inner, ndtri([0.1, 0.5, 0.9]), atol=1e-4)


def test_the_same_seed_gives_the_same_paths_and_another_others(fc):
    one, same, other = fc.paths(200), fc.paths(200), fc.paths(200, seed=1)
    pd.testing.assert_frame_equal(one, same)
    assert (one["close"] != other["close"]).mean() > 0.9


@pytest.fixture
def one_thread():
    """Two would round the forecasts of twins apart, in the last digits of float32."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_one_symbol_alone_has_its_paths_of_a_shared_date(model, one_thread):
    bars = stocks(("AAPL",), "2014-01-01", "2017-12-31")
    twice = pd.concat([bars, bars.assign(symbol="TWIN")], ignore_index=True)
    paths = P.paths_of(model.predict(twice))
    for values in paths.bars.values():
        np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=1e-9)


def test_a_page_of_one_of_several_symbols_goes_on_with_paths(fc):
    alone = fc.report("GOOG").forecast.paths()
    assert set(alone["symbol"]) == {"GOOG"} and alone["high"].notna().all()
    mine = fc.frame.query("symbol == 'GOOG'").set_index("step")["median"]
    median = alone.groupby("step")["close"].median()
    np.testing.assert_allclose(median, mine, rtol=1e-3)


def test_later_bars_change_nothing():
    bars = made_bars(("A", "B"), 400)
    fitted = tn.make_panel(bars, PanelConfig(horizon=STEPS)).fitted
    before = drawn(bars, back=60, fitted=fitted)
    later = bars.groupby("symbol").cumcount() >= 400 - 60
    changed = bars.copy()
    changed.loc[later, ["open", "high", "low", "close"]] *= 1.5
    changed.loc[later, "volume"] *= 9
    after = drawn(changed, back=60, fitted=fitted)
    for name in P.COLUMNS:
        np.testing.assert_array_equal(before.bars[name], after.bars[name])


def test_a_template_is_known_by_its_origin_and_no_bad_print_leaves_the_last_bars():
    bars = made_bars(("A", "B"), 700)
    panel = tn.make_panel(bars, PanelConfig(horizon=STEPS))
    rows = panel.start + 650
    drawn_rows, count = P.templates(P.history(panel, bars), rows, 2000, np.random.default_rng(0))
    age = rows[:, None] - drawn_rows
    assert age.min() == STEPS and age.max() == STEPS + P.WINDOW - 1
    assert (count == P.WINDOW).all()
    np.testing.assert_array_equal(age[0], age[1])  # the same dates


def test_symbols_with_gaps_share_dates_where_they_can():
    bars = made_bars(("A", "B"), 400)
    holes = (bars["symbol"] == "B") & bars["date"].dt.day.isin([3, 17])
    holes &= bars["date"] != bars["date"].max()
    bars = bars[~holes].reset_index(drop=True)
    panel = tn.make_panel(bars, PanelConfig(horizon=STEPS))
    rows = panel.start + panel.length - 1
    found, _ = P.templates(P.history(panel, bars), rows, 1000, np.random.default_rng(0))
    date = panel.date[found]
    assert (date[0] == date[1]).mean() == 1.0  # only dates that both have are drawn
    assert (panel.symbol_of(found[1]) == 1).all()


def test_steps_hang_together_as_those_of_the_past():
    """Bars whose returns undo each other: a step's close says what the next one is."""
    rng = np.random.default_rng(0)
    bars = made_bars(("A",), 600)
    noise = np.exp(rng.normal(0, 0.02, 600))
    close = 50 * noise  # around a level, so that returns are negatively correlated
    bars = bars.assign(close=close, open=close, high=close * 1.01, low=close / 1.01)
    paths = drawn(bars)
    closes = np.log(paths.bars["close"][:, 0])
    step = np.diff(closes, axis=0)
    assert spearmanr(step[0], step[1])[0] == pytest.approx(-0.5, abs=0.15)


def test_portfolios_are_as_correlated_as_they_were_of_late():
    """Two years of equal moves, then a quarter of independent ones, and the other way round."""
    rng = np.random.default_rng(0)
    together, apart = rng.normal(0, 0.01, (2, 500, 4)), rng.normal(0, 0.01, (2, 90, 4))
    together = np.repeat(together[:, :, :1], 4, axis=2) + 0.3 * together
    spread = {}
    for name, moves in {
        "calm": np.vstack([together[0], apart[0]]),
        "coupled": np.vstack([rng.normal(0, 0.01, (500, 4)), together[1][:90]]),
    }.items():
        bars = made_bars("ABCD", 590)
        close = 50 * np.exp(np.cumsum(moves, axis=0)).T.ravel()
        bars = bars.assign(close=close, open=close, high=close * 1.002, low=close / 1.002)
        closes = np.log(drawn(bars).bars["close"])
        spread[name] = np.corrcoef(closes[0])[np.triu_indices(4, 1)].mean()
    assert spread["calm"] < 0.35 < 0.45 < spread["coupled"]


@pytest.mark.parametrize("n", [0, -1, 2.5, "many", True, None])
def test_a_number_of_paths_that_is_none_is_refused(fc, n):
    with pytest.raises(tn.ConfigError, match=r"^n is ") as caught:
        fc.paths(n)
    assert one_sentence(str(caught.value))


def test_what_can_be_answered_is_and_the_rest_is_missing_with_its_reason(model):
    whole = made_bars(("FULL",), 300)
    few = made_bars(("FEW",), 300).tail(70)
    flat = made_bars(("CLOSES",), 300)
    flat = flat.assign(**dict.fromkeys(("open", "high", "low"), flat["close"]))
    silent = made_bars(("SILENT",), 300, volume=False)
    fc = model.predict(pd.concat([whole, few, flat, silent], ignore_index=True))
    frame = fc.paths(100)
    missing = (
        frame.drop(columns="date")
        .groupby("symbol", observed=True)
        .agg(lambda column: column.isna().mean())[list(P.COLUMNS)]
    )
    assert missing.loc["FULL"].tolist() == [0, 0, 0, 0, 0]
    assert missing.loc["FEW"].tolist() == [1, 1, 1, 0, 1]
    assert missing.loc["CLOSES"].tolist() == [1, 1, 1, 0, 0]
    assert missing.loc["SILENT"].tolist() == [0, 0, 0, 0, 1]
    told = frame.attrs["warnings"]
    assert {text.split()[0] for text in told} == {"FEW", "CLOSES", "SILENT"}
    assert all(map(one_sentence, told))
    fc.paths(100)  # a second time nothing is said twice
    for text in told:
        assert fc.reports[text.split()[0]].warnings.count(text) == 1
    assert fc.touch(percent=1)["probability"].isna().sum() == 2 * STEPS
    assert fc.probability()["probability"].notna().all() and fc.risk()["es"].notna().all()


def test_bars_without_dates_have_paths_too(model):
    bars = made_bars(("A", "B"), 300, freq=None).drop(columns="date")
    frame = model.predict(bars).paths(20)
    assert (frame["origin"] == 299).all() and frame["date"].isna().all()
    assert frame[list(P.COLUMNS)].notna().all().all()


@pytest.mark.parametrize("missing", [["open", "high", "low"], ["high", "low"]])
def test_highs_that_were_filled_are_none_to_draw_from(model, missing):
    bars = stocks(("AAPL",), "2014-01-01", "2017-12-31")
    bars[missing] = np.nan
    forecast = model.predict(bars)
    frame = forecast.paths(50)
    assert frame["close"].notna().all() and frame[["open", "high", "low"]].isna().all().all()
    assert "lack open, high and low" in " ".join(frame.attrs["warnings"])
    assert forecast.touch(percent=3)["probability"].isna().all()
    assert forecast.risk()["var"].notna().all()


def test_some_highs_that_were_filled_are_told(model):
    bars = stocks(("AAPL",), "2014-01-01", "2017-12-31")
    bars.loc[bars.index % 4 == 0, ["open", "high", "low"]] = np.nan
    frame = model.predict(bars).paths(50)
    assert frame["high"].notna().all()
    assert "touches may be too rare" in " ".join(frame.attrs["warnings"])
