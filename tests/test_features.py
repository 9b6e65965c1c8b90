"""Features: causal to the bit, free of scale, and equal to what a loop would compute."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, stocks
from hypothesis import given, settings
from hypothesis import strategies as st

from tftnhits import PanelConfig, make_panel
from tftnhits.data import features as F

PRICES = ["open", "high", "low", "close"]
BARS, SYMBOLS = 290, ("A", "B", "C", "D")  # longer than the four quarters


@pytest.fixture(scope="module")
def bars():
    return made_bars(SYMBOLS, BARS)


@pytest.fixture(scope="module")
def panel(bars):
    return make_panel(bars, PanelConfig(observed=None, known=None))  # all there are


def feature(panel, name):
    return panel.observed[:, panel.inputs["observed"].index(name)]


def past(panel, bar):
    """Rows of every symbol up to its bar number `bar`."""
    return np.concatenate([start + np.arange(bar + 1) for start in panel.start])


def same_bits(a, b):
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    t=st.integers(0, BARS - 2),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-3, 0.1, 2.0]),
    symbols=st.sets(st.sampled_from(SYMBOLS), min_size=1),
)
def test_the_past_is_unchanged_to_the_bit_whatever_comes_after(bars, panel, t, seed, size, symbols):
    rng = np.random.default_rng(seed)
    changed = bars.copy()
    later = (changed.groupby("symbol").cumcount() > t) & changed["symbol"].isin(symbols)
    changed.loc[later, PRICES] *= np.exp(rng.normal(0, size, (later.sum(), 1)))
    changed.loc[later, "high"] *= np.exp(rng.exponential(size, later.sum()))
    changed.loc[later, "volume"] *= np.exp(rng.normal(0, 3, later.sum()))
    other = make_panel(changed, panel.config, panel.fitted)
    rows = past(panel, t)
    for name in ("observed", "scale", "known", "close", "date"):
        assert same_bits(getattr(panel, name)[rows], getattr(other, name)[rows]), name
    assert same_bits(panel.static, other.static)
    settled = past(panel, max(t - panel.config.horizon, -1))
    assert same_bits(panel.target[settled], other.target[settled])
    assert not same_bits(panel.observed, other.observed)  # the change itself was seen


@pytest.mark.parametrize("price, volume", [(1e-6, 12.0), (7.3, 1e-3), (1e6, 1e6)])
def test_scale_free(bars, panel, price, volume):
    factor = bars["symbol"].map({"A": 1.0, "B": price, "C": 1 / price, "D": price}).to_numpy()
    prices = {name: bars[name] * factor for name in PRICES}
    scaled = bars.assign(**prices, volume=bars["volume"] * volume)
    other = make_panel(scaled, panel.config, panel.fitted)
    np.testing.assert_allclose(other.observed, panel.observed, atol=1e-5)
    np.testing.assert_allclose(other.scale, panel.scale, rtol=1e-5)
    np.testing.assert_allclose(other.target, panel.target, atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 5])
def test_what_is_fitted_depends_on_the_training_split_alone(horizon):
    bars = stocks(("AAPL", "GOOG", "META"), "2014-01-01", "2015-12-31")
    later = bars["date"] > "2015-01-30"
    changed = bars.copy()
    changed.loc[later, ["high", "close"]] *= np.linspace(1.1, 3, later.sum())[:, None]
    changed.loc[later, "volume"] *= 9
    config = PanelConfig(horizon=horizon, train_end="2015-01-30", valid_end="2015-06-30")
    one, other = make_panel(bars, config), make_panel(changed, config)
    assert one.fitted.keys() == other.fitted.keys() == {"har", "moments", "center", "spread"}
    assert all(same_bits(value, other.fitted[name]) for name, value in one.fitted.items())


def test_all_features_are_there_bounded_and_standardised(panel):
    assert panel.inputs["observed"] == F.OBSERVED
    for values in (panel.observed, panel.known, panel.static):
        assert values.dtype == np.float32 and np.isfinite(values).all()
        assert np.abs(values).max() <= F.CLIP
    assert set(np.unique(feature(panel, "has_year"))) == {0.0, 1.0}
    rows = panel.origins("train")
    assert 0.7 < feature(panel, "return")[rows].std() < 1.4  # a shock of unit size, as it is
    for i, name in enumerate(F.OBSERVED):
        if name == "return" or name.startswith("has_"):
            assert (panel.fitted["center"][i], panel.fitted["spread"][i]) == (0, 1)
        elif name in ("range", "intraday", "volatility_0.5"):
            mine = panel.observed[rows, i]
            np.testing.assert_allclose([mine.mean(), mine.std()], [0, 1], atol=0.02)


def test_returns_and_targets_are_by_the_scale_known_before(bars, panel):
    close = np.log(bars.loc[bars["symbol"] == "B", "close"].to_numpy())
    rows = panel.start[1] + np.arange(BARS)
    expected = np.diff(close) / panel.scale[rows[:-1], 0]
    np.testing.assert_allclose(feature(panel, "return")[rows[1:]], expected, rtol=1e-4, atol=1e-5)
    for step in range(1, 6):
        expected = (close[step:] - close[:-step]) / (
            panel.scale[rows[:-step], step - 1] * np.sqrt(step)
        )
        target = panel.target[rows, step - 1]
        np.testing.assert_allclose(target[:-step], expected, rtol=1e-4, atol=1e-5)
        assert np.isnan(target[-step:]).all()


series = st.lists(st.one_of(st.floats(-5, 5), st.just(float("nan"))), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(x=series, first=st.integers(0, 8), width=st.integers(1, 9), alpha=st.floats(0.01, 0.9))
def test_windows_are_those_of_pandas(x, first, width, alpha):
    plain = pd.Series(x, dtype=float)
    peak = plain.shift(first).rolling(width, min_periods=1).max()
    np.testing.assert_array_equal(F.trailing_max(np.array([x]), first, first + width - 1)[0], peak)
    mean = plain.ewm(alpha=alpha).mean()
    np.testing.assert_allclose(F.ewma(np.array([x]), alpha)[0], mean, rtol=1e-9, atol=1e-9)


def test_variance_of_a_bar_by_hand():
    cells = ([10.0, 11], [12.0, 12], [9.0, 10], [10.5, 11])
    parts = F.bar_parts({k: np.log([v]) for k, v in zip(PRICES, cells, strict=True)})
    gap = np.log(11 / 10.5)
    variance = 0.5 * np.log(1.2) ** 2 + gap**2  # Garman-Klass of an unmoved close, and the gap
    np.testing.assert_allclose(parts["variance"][0, 1], variance)
    np.testing.assert_allclose(parts["return"][0], [np.nan, gap])


def test_the_scale_follows_the_volatility():
    sigma = np.repeat([0.005, 0.03, 0.005, 0.03, 0.005, 0.03], 100)
    bars = made_bars(("A",), 600)
    close = 50 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1, 600) * sigma))
    edge = np.exp(sigma)
    bars = bars.assign(open=close, close=close, high=close * edge, low=close / edge)
    panel = make_panel(bars, PanelConfig(train_end=str(bars["date"][450].date())))
    levels = [np.median(panel.scale[i * 100 + 50 : i * 100 + 100, 0]) for i in range(6)]
    assert min(levels[1::2]) > 3 * max(levels[::2])


def test_market_features_by_hand():
    z = np.array([[1.0, 2.0, 3.0], [3.0, np.nan, 5.0], [5.0, 4.0, 99.0]])
    trend = np.array([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.0, 0.0]])
    session = np.array([[0, 1, 2], [0, 1, 2], [0, 1, -1]])
    market = F.market_features(F.session_sums(z, trend, session), session)
    np.testing.assert_allclose(market["market_return"][:, 0], 3)
    np.testing.assert_allclose(market["market_volatility"][:, 0], 0.2)
    np.testing.assert_allclose(market["market_dispersion"][:, 0], np.log(np.std([1, 3, 5]) + 0.05))
    assert (market["has_market"][:, 0] == 1).all() and (market["has_market"][:, 1] == 0).all()
    assert np.isnan(market["market_return"][:, 1:]).all()  # two symbols are no market
    assert np.isnan(market["has_market"][2, 2])


def test_known_features_by_hand():
    texts = ["2024-02-29 09:00", "2024-03-01 09:00", "2024-03-04 15:00"]
    date = pd.DatetimeIndex(texts).to_numpy("datetime64[ns]")
    known = dict(zip(F.KNOWN, F.known_features(date, 1440.0).T, strict=True))
    turn = 2 * np.pi
    for name, expected in {
        "weekday_sin": np.sin(turn * np.array([3, 4, 0]) / 7),
        "weekday_cos": np.cos(turn * np.array([3, 4, 0]) / 7),
        "month_day": np.array([28, 0, 3]) / 31 - 0.5,
        "gap": np.log([1, 1, 3.25]),
        "hour_cos": np.cos(turn * np.array([9, 9, 15]) / 24),
        "year_sin": np.sin(turn * np.array([59, 60, 63]) / 365.25),
        "has_calendar": [1, 1, 1],
    }.items():
        np.testing.assert_allclose(known[name], expected, atol=1e-12, err_msg=name)
    undated = F.known_features(np.array(["NaT", "NaT"], "datetime64[ns]"), float("nan"))
    assert undated.shape == (2, len(F.KNOWN)) and not undated.any()


FLAT = dict.fromkeys(PRICES, 10.0)
ONE = ("A",)
KINDS = {  # bars, and whether volume, a market and dates are known
    "full": (made_bars(bars=120), True, True, True),
    "no volume": (made_bars(bars=300, volume=False), False, True, True),
    "bare": (made_bars(ONE, 120, freq=None, volume=False), False, False, False),
    "one bar": (made_bars(("A", "B"), 1), False, False, True),
    "two bars": (made_bars(ONE, 2, freq=None), True, False, False),
    "minutes": (made_bars(ONE, 400, freq="min"), True, False, True),
    "flat": (made_bars(("A", "B", "C"), 120).assign(**FLAT, volume=5.0), True, True, True),
}


@pytest.mark.parametrize("bars, volume, market, dates", KINDS.values(), ids=KINDS)
def test_what_is_unknown_is_masked_and_all_is_finite(bars, volume, market, dates):
    panel = make_panel(bars)
    assert feature(panel, "has_volume").any() == volume
    assert feature(panel, "has_market").any() == market
    assert panel.known[:, panel.inputs["known"].index("has_calendar")].any() == dates
    assert panel.static[:, F.STATIC.index("has_calendar")].any() == dates
    finite = (panel.observed, panel.known, panel.static, panel.scale[np.isfinite(panel.close)])
    assert all(np.isfinite(values).all() for values in finite)
    masked = [] if market else [*F.MARKET]
    if not bars["volume"].notna().any():
        masked += [*F.VOLUME, *(name for name in F.HISTORY if name.startswith("volume"))]
    for name in masked:
        assert not feature(panel, name).any(), name
