"""The DJIA protocol's panel: train to 2013, validation 2014–2015, test 2016–2017."""

from __future__ import annotations

from typing import Any

import tftnhits as tn
from tftnhits.data.windows import Panel

TRAIN_END, VALID_END = "2013-12-31", "2015-12-31"


def djia_panel(symbols: str | None = None, **more: Any) -> Panel:
    """Of the bundled bars; `symbols`, separated by commas, are some of them for a first look; `more` as PanelConfig."""
    bars = tn.load_bars("djia")
    if symbols:
        bars = bars[bars["symbol"].isin(symbols.split(","))].reset_index(drop=True)
    return tn.make_panel(bars, tn.PanelConfig(train_end=TRAIN_END, valid_end=VALID_END, **more))
