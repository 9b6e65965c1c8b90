"""What all symbols did, gathered by block: the same market as of all bars at once."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars

import tftnhits as tn
from tftnhits.data import features as F
from tftnhits.data.crowd import Crowd
from tftnhits.data.windows import panel_of

CONFIG = tn.PanelConfig()


def gaps(bars, symbol, first, last):
    """The bars without those of a symbol before its number `first` and from `last` on."""
    number = bars.groupby("symbol").cumcount()
    return bars[(bars["symbol"] != symbol) | number.between(first, last - 1)]


def market_of(panel):
    return panel.observed[:, [panel.inputs["observed"].index(name) for name in F.MARKET]]


def by_blocks(blocks, fitted):
    """The market's features of all blocks, and the crowd."""
    crowd = Crowd()
    for bars in blocks:
        crowd.add(bars, fitted)
    return [market_of(panel_of(b, CONFIG, fitted, crowd=crowd)) for b in blocks], crowd


def parts_of(bars, size):
    """Validated bars, `size` symbols a block."""
    bars = tn.load_bars(bars)
    code = bars["symbol"].factorize()[0] // size
    return bars, [part.reset_index(drop=True) for _, part in bars.groupby(code)]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_blocks_see_the_market_of_all_symbols(size):
    bars = gaps(gaps(made_bars(bars=400), "B", 90, 400), "D", 0, 250)
    bars, blocks = parts_of(bars, size)
    whole = panel_of(bars, CONFIG)
    found, _ = by_blocks(blocks, whole.fitted)
    np.testing.assert_allclose(np.concatenate(found), market_of(whole), atol=1e-6)
    assert (market_of(whole)[:, -1] == 1).any()


def test_other_markets_are_seen_from_each_block():
    home = made_bars(("A", "B", "C"), 300)
    names = {"A": "A.T", "B": "B.T", "C": "C.T"}
    abroad = made_bars(("A", "B", "C"), 300, seed=1).replace({"symbol": names})
    bars, blocks = parts_of(pd.concat([home, abroad]), 2)
    calendar = {name: "XTKS" for name in names.values()} | dict.fromkeys("ABC", "XNYS")
    whole = panel_of(bars, CONFIG, None, calendar)
    crowd = Crowd()
    for part in blocks:
        crowd.add(part, whole.fitted, calendar)
    found = [market_of(panel_of(b, CONFIG, whole.fitted, calendar, crowd=crowd)) for b in blocks]
    np.testing.assert_allclose(np.concatenate(found), market_of(whole), atol=1e-6)
    assert len(crowd.lines) == 2


def test_memory_grows_with_markets_and_not_with_symbols():
    dates = np.array(pd.bdate_range("2015-01-02", "2016-12-30"))
    from tftnhits.data.sessions import sessions_of

    days = sessions_of("XNYS", dates[0], dates[-1])
    if days is None:
        pytest.skip("needs exchange_calendars")
    open_days = days.day[(days.day >= dates[0]) & (days.day <= dates[-1])]
    bars = made_bars(tuple("ABCDEF"), len(open_days))
    bars["date"] = np.tile(open_days, 6)
    late = bars.groupby("symbol").cumcount() >= bars["symbol"].map(ord) % 7 * 3
    bars, blocks = parts_of(bars[late], 2)
    _, crowd = by_blocks(blocks, panel_of(bars, CONFIG).fitted)
    ((line, sums),) = crowd.lines.values()
    assert len(line.times) == sums.shape[1] and sums[0].max() == 6


def test_bars_without_dates_are_no_market():
    bars, blocks = parts_of(made_bars(bars=120, freq=None), 2)
    found, crowd = by_blocks(blocks, panel_of(bars, CONFIG).fitted)
    assert not crowd.lines and not np.concatenate(found).any()
