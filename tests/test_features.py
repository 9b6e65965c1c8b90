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
    moved = np.exp(rng.normal(0, size, (later.sum(), 1)))
    changed.loc[later, PRICES] *= moved
    changed.loc[later, "high"] *= np.exp(rng.exponential(size, later.sum()))
    changed.loc[later, "volume"] *= np.exp(rng.normal(0, 3, later.sum()))
    other = make_panel(changed, panel.config, panel.fitted)
    rows = past(panel, t)
    for name in ("observed", "scale", "known", "close", "date"):
        assert same_bits(getattr(panel, name)[rows], getattr(other, name)[rows]), name
    assert same_bits(panel.static, other.static)
    settled = past(panel, t - panel.config.horizon) if t >= panel.config.horizon else rows[:0]
    assert same_bits(panel.target[settled], other.target[settled])
    assert not same_bits(panel.observed, other.observed)  # the change itself was seen


@settings(max_examples=10, deadline=None, derandomize=True)
@given(t=st.integers(30, BARS - 2))
def test_the_past_is_the_same_if_the_future_is_not_there(bars, panel, t):
    short = make_panel(bars[bars.groupby("symbol").cumcount() <= t], panel.config, panel.fitted)
    for name in ("observed", "scale"):
        assert same_bits(
            getattr(panel, name)[past(panel, t)], getattr(short, name)[past(short, t)]
        ), name
    np.testing.assert_array_equal(panel.known[past(panel, t)], short.known[past(short, t)])


def test_the_past_of_real_bars_is_the_same_if_the_future_is_not_there():
    bars = stocks(("AAPL", "GOOG", "META"), "2014-01-01", "2015-12-31")
    panel = make_panel(bars)
    for t in (1, 60, 300, 480):
        short = make_panel(bars[bars.groupby("symbol").cumcount() <= t], panel.config, panel.fitted)
        assert same_bits(panel.observed[past(panel, t)], short.observed[past(short, t)])
        assert same_bits(panel.scale[past(panel, t)], short.scale[past(short, t)])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(price=st.sampled_from([1e-6, 0.01, 7.3, 1e6]), volume=st.sampled_from([1e-3, 12.0, 1e6]))
def test_scale_free(bars, panel, price, volume):
    factor = bars["symbol"].map({"A": 1.0, "B": price, "C": 1 / price, "D": price}).to_numpy()
    scaled = bars.assign(
        **{name: bars[name] * factor for name in PRICES}, volume=bars["volume"] * volume
    )
    other = make_panel(scaled, panel.config, panel.fitted)
    np.testing.assert_allclose(other.observed, panel.observed, atol=1e-5)
    np.testing.assert_allclose(other.scale, panel.scale, rtol=1e-5)
    np.testing.assert_allclose(other.target, panel.target, atol=1e-5)


def test_what_is_fitted_depends_on_the_training_split_alone():
    bars = stocks(("AAPL", "GOOG", "META"), "2014-01-01", "2015-12-31")
    later = bars["date"] > "2015-01-30"
    changed = bars.copy()
    changed.loc[later, ["high", "close"]] *= np.linspace(1.1, 3, later.sum())[:, None]
    changed.loc[later, "volume"] *= 9
    for horizon in (1, 5):
        config = PanelConfig(horizon=horizon, train_end="2015-01-30", valid_end="2015-06-30")
        one, other = make_panel(bars, config), make_panel(changed, config)
        assert one.fitted.keys() == other.fitted.keys() == {"har", "center", "spread"}
        for name, value in one.fitted.items():
            assert same_bits(value, other.fitted[name]), (horizon, name)


def test_all_features_are_there_bounded_and_finite(panel):
    assert panel.observed.shape[1] == len(F.OBSERVED) == len(set(F.OBSERVED))
    assert panel.known.shape[1] == len(panel.inputs["known"]) and panel.static.shape == (
        4,
        len(F.STATIC),
    )
    for values in (panel.observed, panel.known, panel.static):
        assert (
            values.dtype == np.float32
            and np.isfinite(values).all()
            and np.abs(values).max() <= F.CLIP
        )
    assert (feature(panel, "has_volume")[past(panel, 200)] == 1).mean() > 0.98
    assert set(np.unique(feature(panel, "has_year"))) == {0.0, 1.0}


def test_training_rows_are_standardised_but_flags_and_returns_are_not(panel):
    rows = panel.origins("train")
    for i, name in enumerate(panel.inputs["observed"]):
        if name == "return" or name.startswith("has_"):
            assert (panel.fitted["center"][i], panel.fitted["spread"][i]) == (0, 1)
        elif name in ("range", "intraday", "volatility_0.5"):
            own = panel.observed[rows, i]
            np.testing.assert_allclose([own.mean(), own.std()], [0, 1], atol=0.02)
    assert 0.7 < feature(panel, "return")[rows].std() < 1.4  # a shock of unit size


def test_return_is_the_log_return_over_the_scale_known_before(bars, panel):
    close = bars.loc[bars["symbol"] == "B", "close"].to_numpy()
    start = panel.start[1]
    expected = np.log(close[1:] / close[:-1]) / panel.scale[start : start + BARS - 1]
    np.testing.assert_allclose(
        feature(panel, "return")[start + 1 : start + BARS], expected, rtol=1e-4, atol=1e-5
    )


def test_target_is_the_cumulative_log_return_over_scale_and_root_of_step(bars, panel):
    close = bars.loc[bars["symbol"] == "C", "close"].to_numpy()
    at, start = 100, panel.start[2]
    for h in range(1, 6):
        expected = np.log(close[at + h] / close[at]) / (panel.scale[start + at] * np.sqrt(h))
        np.testing.assert_allclose(panel.target[start + at, h - 1], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(panel.target[start + BARS - 1]).all()
    assert np.isfinite(panel.target[start + BARS - 3]).tolist() == [True, True, False, False, False]


series = st.lists(st.one_of(st.floats(-5, 5), st.just(float("nan"))), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(x=series, first=st.integers(0, 8), width=st.integers(1, 9))
def test_trailing_max_against_a_loop(x, first, width):
    x, last = np.array([x, x[::-1]]), first + width - 1
    found = F.trailing_max(x, first, last)
    for s, t in np.ndindex(*x.shape):
        window = x[s, max(0, t - last) : max(0, t - first + 1)]
        window = window[np.isfinite(window)]
        np.testing.assert_equal(found[s, t], window.max() if len(window) else np.nan)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(x=series, alpha=st.floats(0.01, 0.9))
def test_ewma_against_a_loop(x, alpha):
    x = np.array([x])
    found = F.ewma(x, alpha)
    for t in range(x.shape[1]):
        seen = np.flatnonzero(np.isfinite(x[0, : t + 1]))
        weights = (1 - alpha) ** (t - seen)
        expected = (weights * x[0, seen]).sum() / weights.sum() if len(seen) else np.nan
        np.testing.assert_allclose(found[0, t], expected, rtol=1e-9, atol=1e-9)


def test_variance_of_a_bar_by_hand():
    price = {
        k: np.log(np.array([v]))
        for k, v in zip(PRICES, ([10.0, 11], [12.0, 12], [9.0, 10], [10.5, 11]))
    }
    parts = F.bar_parts(price)
    second = (
        0.5 * np.log(1.2) ** 2 + np.log(11 / 10.5) ** 2
    )  # Garman-Klass of an unmoved close, and the gap
    np.testing.assert_allclose(parts["variance"][0, 1], second)
    np.testing.assert_allclose(parts["return"][0], [np.nan, np.log(11 / 10.5)])
    np.testing.assert_allclose(parts["overnight"][0, 1], np.log(11 / 10.5))
    assert parts["intraday"][0, 1] == 0


def test_har_fit_recovers_known_coefficients():
    rng = np.random.default_rng(0)
    truth = np.array([0.2, 0.5, 0.2, -0.1, 0.15, 0.25])
    variance = np.exp(rng.normal(0, 1, (2, 400)))
    train = np.arange(400) < np.array([[250], [300]])
    x = np.concatenate([np.ones((2, 400, 1)), rng.normal(size=(2, 400, 5))], axis=-1)
    ahead = np.full((2, 400), np.nan)
    for t in range(395):
        ahead[:, t] = 0.5 * np.log(
            variance[:, t + 1 : t + 6].mean(1)
        )  # log volatility of the next five bars
    x[..., 5] = (ahead - x[..., :5] @ truth[:5]) / truth[5]
    x[~train] = 1e6  # no such row may be used
    np.testing.assert_allclose(F.fit_har(x, variance, train), truth, rtol=1e-8)


@pytest.mark.parametrize("bars", [1, 2, 3, 4, 5, 6, 40])
def test_har_of_too_few_rows_is_a_plain_average(bars):
    x, variance = np.ones((2, bars, 6)), np.ones((2, bars))
    np.testing.assert_allclose(F.fit_har(x, variance, np.ones((2, bars), bool)), [0, *[0.2] * 5])


def test_the_scale_follows_the_volatility():
    rng = np.random.default_rng(1)
    sigma = np.repeat([0.005, 0.03, 0.005, 0.03, 0.005, 0.03], 100)
    bars = made_bars(("A",), 600)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 1, 600) * sigma))
    edge = np.exp(sigma)
    calm = bars.assign(open=close, close=close, high=close * edge, low=close / edge)
    panel = make_panel(calm, PanelConfig(train_end=str(calm["date"][450].date())))
    levels = [np.median(panel.scale[i * 100 + 50 : i * 100 + 100]) for i in range(6)]
    for quiet, loud in zip(levels[::2], levels[1::2]):
        assert loud > 3 * quiet


def test_market_features_by_hand():
    z = np.array([[1.0, 2.0, 3.0], [3.0, np.nan, 5.0], [5.0, 4.0, 99.0]])
    trend = np.array([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.0, 0.0]])
    code = np.array([[0, 1, 2], [0, 1, 2], [0, 1, -1]])
    found = F.market_features(z, trend, code)
    np.testing.assert_allclose(found["market_return"][:, 0], 3)
    np.testing.assert_allclose(found["market_volatility"][:, 0], 0.2)
    np.testing.assert_allclose(found["market_dispersion"][:, 0], np.log(np.std([1, 3, 5]) + 0.05))
    assert (found["has_market"][:, 0] == 1).all() and (found["has_market"][:, 1] == 0).all()
    assert np.isnan(found["market_return"][:, 1:]).all()  # two symbols are no market
    assert np.isnan(found["has_market"][2, 2])


def test_sessions_of_other_markets_count_too():
    z = np.array([[1.0, 2.0], [3.0, 4.0], [8.0, -20.0]])
    trend = np.array([[0.1, 0.2], [0.3, 0.4], [0.8, 0.0]])
    session = np.array([[0, 1], [0, 1], [2, 3]])  # the third symbol is of a market of its own
    others = [np.array([[-1, 2], [-1, 2], [-1, -1]]), np.array([[-1, -1], [-1, -1], [-1, 1]])]
    found = F.market_features(z, trend, session, iter(others))
    np.testing.assert_array_equal(found["has_market"], [[0, 1], [0, 1], [0, 1]])
    seen = [2, 4, 8], [2, 4, -10]  # clipped
    np.testing.assert_allclose(found["market_return"][::2, 1], [np.mean(x) for x in seen])
    np.testing.assert_allclose(found["market_volatility"][::2, 1], [np.mean([0.2, 0.4, 0.8]), 0.2])
    np.testing.assert_allclose(
        found["market_dispersion"][::2, 1], [np.log(np.std(x) + 0.05) for x in seen]
    )
    assert np.isnan(found["market_return"][:, 0]).all()


def test_known_features_by_hand():
    date = pd.DatetimeIndex(["2024-02-29 09:00", "2024-03-01 09:00", "2024-03-04 15:00"]).to_numpy(
        "datetime64[ns]"
    )
    found = {name: column for name, column in zip(F.KNOWN, F.known_features(date, 1440.0).T)}
    np.testing.assert_allclose(
        found["weekday_sin"], np.sin(2 * np.pi * np.array([3, 4, 0]) / 7), atol=1e-12
    )
    np.testing.assert_allclose(
        found["weekday_cos"], np.cos(2 * np.pi * np.array([3, 4, 0]) / 7), atol=1e-12
    )
    np.testing.assert_allclose(found["month_day"], np.array([28, 0, 3]) / 31 - 0.5)
    np.testing.assert_allclose(found["gap"], np.log([1, 1, 3.25]))
    np.testing.assert_allclose(
        found["hour_cos"], np.cos(2 * np.pi * np.array([9, 9, 15]) / 24), atol=1e-12
    )
    np.testing.assert_allclose(
        found["year_sin"], np.sin(2 * np.pi * np.array([59, 60, 63]) / 365.25)
    )
    assert (found["has_calendar"] == 1).all()
    assert not found["session"].any()  # no calendar
    short = F.known_features(date, 1440.0, np.array([0, -0.6, 0]))[:, F.KNOWN.index("session")]
    np.testing.assert_allclose(short, [0, -0.6, 0])
    undated = F.known_features(np.array(["NaT", "NaT"], "datetime64[ns]"), float("nan"))
    assert undated.shape == (2, len(F.KNOWN)) and not undated.any()


def flags(panel):
    """Whether volume, market and calendar are known anywhere, from the inputs and from the static inputs."""
    static = dict(zip(F.STATIC, panel.static.T))
    return (
        *(
            bool(feature(panel, f"has_{name}")[: panel.length[0]].max())
            for name in ("volume", "market")
        ),
        bool(panel.known[:, panel.inputs["known"].index("has_calendar")].max()),
        bool(static["has_volume"].max()),
        bool(static["has_calendar"].max()),
    )


@pytest.mark.parametrize(
    "bars, expected",
    [
        (made_bars(bars=120), (True, True, True, True, True)),
        (made_bars(bars=120, volume=False), (False, True, True, False, True)),
        (made_bars(bars=120, freq=None), (True, False, False, True, False)),
        (made_bars(("A",), 120), (True, False, True, True, True)),
        (made_bars(("A",), 120, freq=None, volume=False), (False, False, False, False, False)),
        (made_bars(("A", "B"), 1), (False, False, True, True, True)),
        (made_bars(("A",), 2, freq=None), (True, False, False, True, False)),
        (made_bars(("A",), 400, freq="min"), (True, False, True, True, True)),
    ],
    ids=["full", "no volume", "no dates", "one symbol", "bare", "one bar", "two bars", "minutes"],
)
def test_what_is_unknown_is_masked_and_all_is_finite(bars, expected):
    panel = make_panel(bars)
    assert flags(panel) == expected
    for values in (
        panel.observed,
        panel.known,
        panel.static,
        panel.scale[np.isfinite(panel.close)],
    ):
        assert np.isfinite(values).all()
    for name, members in (("has_volume", F.VOLUME), ("has_market", F.MARKET)):
        off = feature(panel, name) == 0
        for member in members:
            if member.startswith(("volume_shock", "volume_trend")):
                continue  # they reach back over bars that had a volume
            assert not feature(panel, member)[off & np.isfinite(panel.close)].any(), member


def test_a_panel_without_volume_has_no_volume_input_at_all():
    panel = make_panel(made_bars(bars=300, volume=False))
    for name in F.VOLUME + tuple(n for n in F.HISTORY if n.startswith("volume")):
        assert not feature(panel, name).any(), name


def test_bars_that_never_move_are_finite():
    bars = made_bars(("A", "B", "C"), 120)
    flat = bars.assign(**dict.fromkeys(PRICES, 10.0), volume=5.0)
    panel = make_panel(flat)
    assert np.isfinite(panel.observed).all() and (panel.scale[np.isfinite(panel.close)] > 0).all()
    assert np.isfinite(panel.target[panel.origins("train")]).all()
