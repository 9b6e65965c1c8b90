"""Makes tests/golden afresh: a tiny predictor's folder and what it forecast, for test_golden.py.

    python tests/make_golden.py     # only when the format of the folder changes on purpose

A later change that reads an old folder otherwise, or no more, fails that test.
"""

import json
import shutil
from pathlib import Path

import pandas as pd

import tftnhits as tn

FOLDER = Path(__file__).parent / "golden"
INPUTS = {
    "observed": ("return", "range", "volatility_0.15", "volatility_0.015"),
    "known": ("weekday_sin", "weekday_cos", "has_calendar"),
}


def golden_bars() -> pd.DataFrame:
    """Bundled bars of two symbols that end where no holiday is ahead."""
    bars = tn.load_bars("stocks")
    dates = bars["date"].between("2014-01-01", "2017-12-08")
    return bars[dates & bars["symbol"].isin(["GOOG", "META"])].reset_index(drop=True)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    panel = tn.make_panel(golden_bars(), tn.PanelConfig(horizon=3, **INPUTS))
    model = tn.train_predictor(panel, "tiny", folder=FOLDER, progress=False)
    for state in FOLDER.glob("*.state"):
        state.unlink()
    frame = model.predict(golden_bars()).frame
    table = frame[["symbol", "step", "median", "lower", "upper"]].round(9).to_dict("list")
    (FOLDER / "expected.json").write_text(json.dumps(table, indent=1) + "\n")
