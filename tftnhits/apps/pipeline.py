"""The pipeline for ModelScope: pipeline(task="time-series-forecasting", model=<folder or id>)(bars).

Only modelscope imports this module, when the pipeline is first asked for (register.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES

from ..config import LEVEL
from ..data.bars import repairs
from ..errors import DataError
from ..forecast.predictor import Predictor
from ..forecast.result import Forecast
from .register import PIPELINE, TASK

KEYS = ("prediction", "model_used", "confidence", "interval", "quantiles", "warnings")


@PIPELINES.register_module(TASK, module_name=PIPELINE, force=True)
class ForecastPipeline(Pipeline):
    """Forecasts from the last bar of one symbol or of many.

        import tftnhits  # or, without it, trust_remote_code=True: then the folder's ms_wrapper.py imports it
        from modelscope import pipeline
        pipe = pipeline(task="time-series-forecasting", model="/path/to/model")
        pipe([[open, high, low, close, volume], ...])

    A folder that Predictor.save wrote needs hub.add_modelscope_files(folder) once; a published one has the files.
    Name it by its absolute path: modelscope takes "a/b" for a model's id, and asks the hub about it, even where
    a folder of that name is. For an id modelscope itself needs the network each time, downloads whatever the repository
    holds, and raises its own errors; `model=str(tftnhits.fetch("owner/name"))` is the verified download, offline after
    the first time. The networks are small and run on the CPU, whatever `device` says.
    """

    def __init__(self, model: str, device: str = "cpu", **kwargs: Any):
        super().__init__(model=model, device="cpu", auto_collate=False, **kwargs)
        self.predictor = Predictor.load(Path(model))

    def __call__(
        self, input: Any, horizon: int | None = None, level: float = LEVEL
    ) -> dict[str, Any]:
        """A dict with KEYS for one symbol; for several, a dict of such dicts by symbol. All plain values for JSON.

        input: a list of [open, high, low, close, volume] rows (2 to thousands of them, the last the newest), a
        DataFrame, a dict of columns, a dict symbol -> rows, frame or columns, or a frame with a column of symbols;
        horizon: bars ahead, all that were trained by default; level: the nominal one of the interval, inside (0, 1).
        prediction: median price a step; interval: {level, lower, upper, coverage}; confidence: its level; quantiles:
        {"0.05": price a step, ...}. Raises DataError on bad bars, HistoryTooShort, ConfigError.
        """
        # the base class would make a call of each row
        return self.postprocess(self.forward(self.preprocess(input), horizon=horizon, level=level))

    def preprocess(self, inputs: Any) -> Any:
        """The bars as given; no file's name, since a pipeline may be served to others than the files' owner."""
        if isinstance(inputs, str | bytes | os.PathLike) or hasattr(inputs, "read"):
            raise DataError(
                "The pipeline takes bars, no file; give rows, a frame, a dict, or tn.load_bars(file)."
            )
        return inputs

    def forward(self, inputs: Any, **options: Any) -> Forecast:
        """The predictor's forecast."""
        return self.predictor.predict(inputs, **options)

    def postprocess(self, inputs: Forecast) -> dict[str, Any]:
        """The forecast as plain values; what was repaired in a symbol's bars is among its warnings."""
        frames = dict(iter(inputs.frame.groupby("symbol", sort=False)))
        repaired: dict[str, list[str]] = {symbol: [] for symbol in frames}
        for symbol, repair, count, first, _ in repairs(inputs.bars).itertuples(index=False):
            if (
                symbol in repaired
            ):  # "all" stands for remarks on the whole source, such as bars without dates
                repaired[symbol].append(f"{repair} ({count} x, first {first})")
        summary = inputs.summary()
        found = {
            s["symbol"]: _result(s, frames[s["symbol"]], repaired[s["symbol"]])
            for s in (summary if isinstance(summary, list) else [summary])
        }
        return found if len(found) > 1 else next(iter(found.values()))


def _result(summary: dict[str, Any], frame: pd.DataFrame, repaired: list[str]) -> dict[str, Any]:
    quantiles = {
        name: frame[name].tolist() for name in frame.columns if name[0].isdigit()
    }  # "0.05", "5e-07"
    added = {"quantiles": quantiles, "warnings": summary["warnings"] + repaired}
    return {key: (summary | added)[key] for key in KEYS}
