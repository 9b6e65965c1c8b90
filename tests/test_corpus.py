"""Several markets in one panel: fitted on all alike, drawn and judged as the mixture says."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import made_bars, one_sentence

from tftnhits import PanelConfig, make_panel
from tftnhits.data.corpus import Mixture, merge, pool
from tftnhits.data.windows import gather, training_starts
from tftnhits.errors import ConfigError

CHUNKS = np.array([12, 3])


@pytest.fixture(scope="module")
def panels():
    bars = {"days": made_bars(bars=300), "hours": made_bars(("A", "B"), 500, freq="h", seed=1)}
    fitted = pool([make_panel(b).fitted for b in bars.values()])
    return {name: make_panel(b, fitted=fitted) for name, b in bars.items()}


@pytest.fixture(scope="module")
def merged(panels):
    market = np.array([0, 0, 0, 0, 1, 1])
    return merge(panels, Mixture((*panels,), market, CHUNKS, np.array([0.2, 0.1]), judged=100))


def test_all_that_a_panel_tells_stays_each_symbols_own(panels, merged):
    assert merged.symbols == ("days/A", "days/B", "days/C", "days/D", "hours/A", "hours/B")
    hours = panels["hours"]
    for split in ("train", "valid", "test"):
        rows = merged.origins(split, 20)
        own = rows[merged.symbol_of(rows) >= 4]
        there = hours.origins(split, 20)
        np.testing.assert_array_equal(own - merged.start[4], there)
        np.testing.assert_array_equal(merged.outcomes(own), hours.outcomes(there))
        one, other = gather(merged, own - 19, 20, 1), gather(hours, there - 19, 20, 1)
        for mine, its in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, its)


def test_each_market_counts_alike_in_what_is_fitted(panels):
    alone = list(_fits(panels))
    both = pool(alone)
    for name in ("center", "moments"):
        np.testing.assert_allclose(both[name], np.mean([fit[name] for fit in alone], axis=0))
    assert (both["spread"] >= min(fit["spread"].min() for fit in alone) - 1e-12).all()


def _fits(panels):
    for seed, panel in enumerate(panels.values()):
        noise = np.random.default_rng(seed).uniform(0.5, 2, len(panel.fitted["center"]))
        yield panel.fitted | {"center": noise, "spread": noise}


def test_an_epoch_takes_of_each_market_what_the_mixture_says(merged):
    starts = training_starts(merged, 20, 16, seed=3)
    market = merged.mixture.market[merged.symbol_of(starts)]
    np.testing.assert_array_equal(np.bincount(market), CHUNKS)
    assert (np.diff(market) != 0).any()  # shuffled
    assert starts.tolist() == training_starts(merged, 20, 16, seed=3).tolist()
    many = replace(merged, mixture=replace(merged.mixture, chunks=np.array([500, 1])))
    often = training_starts(many, 20, 16, 0)
    assert len(often) == 501 and len({*often.tolist()}) < 100  # each several times
    assert many.digest() != merged.digest()  # a training of one is not gone on with by the other


def test_markets_are_judged_alike_over_their_own_unit(merged):
    rows, weights = merged.judged("valid", 20)
    every = merged.origins("valid", 20)
    assert len(rows) < len(every) and np.isin(rows, every).all()
    symbol = merged.symbol_of(rows)
    for s in np.unique(symbol):  # whole symbols
        assert (symbol == s).sum() == (merged.symbol_of(every) == s).sum()
    market, loss = merged.mixture.market[symbol], np.random.default_rng(0).uniform(size=len(rows))
    expected = np.mean([loss[market == 0].mean() / 0.2, loss[market == 1].mean() / 0.1])
    assert weights @ loss == pytest.approx(expected)
    plain = replace(merged, mixture=None)
    assert plain.judged("valid", 20)[1].sum() == pytest.approx(1)


def test_panels_that_differ_are_refused(panels):
    other = make_panel(made_bars(), PanelConfig(horizon=3))
    mixture = Mixture(("a", "b"), np.zeros(8, int), CHUNKS, np.ones(2), 100)
    for second in (other, make_panel(made_bars())):
        pair = {"a": panels["days"], "b": second}
        with pytest.raises(ConfigError) as caught:
            merge(pair, mixture)
        assert one_sentence(str(caught.value))
