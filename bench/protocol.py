"""The DJIA protocol's bars and panel: train to 2013, validation 2014–2015, test 2016–2017.

The bars are those of the "DJIA 30 Stock Time Series"
(github.com/szrlee/Stock-Time-Series-Analysis): 31 US stocks, daily, 2006 to 2017, adjusted for
splits and not for dividends. They are not bundled, since nothing says what their licence is:
whoever wants to measure gives the folder of the files. Nearly all are members of the index in 2017,
looked at from 2006 on, so that those that fell out are missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import tftnhits as tn
from tftnhits.data.windows import Panel, panel_of

TRAIN_END, VALID_END = "2013-12-31", "2015-12-31"
FILES = "*_to_*.csv"


def add_data(parser: argparse.ArgumentParser) -> None:
    """The argument --data of all commands of the protocol."""
    text = "folder of the protocol's files, called like AAPL_2006-01-01_to_2018-01-01.csv"
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help=text)


def djia_bars(folder: Path, symbols: str | None = None) -> pd.DataFrame:
    """Validated bars of all files in `folder`, or of `symbols`, separated by commas, for a first
    look.

    Exits with a sentence if there is no such file.
    """
    files = sorted(folder.glob(FILES))
    if not files:
        raise SystemExit(
            f"{folder} has no files like AAPL_2006-01-01_to_2018-01-01.csv; give their folder."
        )
    bars = tn.load_bars(pd.concat([pd.read_csv(file) for file in files], ignore_index=True))
    return bars[bars["symbol"].isin(symbols.split(","))].reset_index(drop=True) if symbols else bars


def seen_by(
    model: tn.Predictor, bars: pd.DataFrame, panel: Panel, rows: np.ndarray
) -> tuple[Panel, np.ndarray]:
    """The panel that a model makes of bars, of as many steps as `panel`, and `rows` [K] in it."""
    own = panel_of(bars, model.panel_config, model.fitted).first(panel.steps)
    spare = model.horizon - panel.config.horizon  # rows after each symbol's bars
    return own, rows + spare * panel.symbol_of(rows)


def djia_panel(folder: Path, symbols: str | None = None) -> Panel:
    """The panel of `djia_bars`."""
    config = tn.PanelConfig(train_end=TRAIN_END, valid_end=VALID_END)
    return tn.make_panel(djia_bars(folder, symbols), config)
