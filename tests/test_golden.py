"""A folder that an earlier version saved is read for ever, and forecasts as it did."""

import json

import pandas as pd
import pytest

pytest.importorskip("torch")

from make_golden import FOLDER, golden_bars

import tftnhits as tn


def test_the_golden_folder_forecasts_as_when_it_was_made():
    expected = pd.DataFrame(json.loads((FOLDER / "expected.json").read_text()))
    model = tn.Predictor.load(FOLDER)
    assert set(model.members) == {"boosting", "tft", "nhits"}
    frame = model.predict(golden_bars()).frame
    pd.testing.assert_frame_equal(frame[list(expected)], expected, rtol=1e-6)
