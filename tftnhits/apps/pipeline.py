"""The pipeline for ModelScope: pipeline(task="time-series-forecasting", model=folder)(bars).

`import tftnhits.pipeline` registers it, or a folder's ms_wrapper.py by trust_remote_code=True.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from modelscope.pipelines import builder
from modelscope.pipelines.base import Pipeline

from ..config import LEVEL
from ..data.bars import repairs
from ..errors import DataError
from ..forecast.predictor import Predictor
from ..forecast.result import Forecast
from .hub import CONFIGURATION

TASK = CONFIGURATION["task"]
NAME = CONFIGURATION["pipeline"]["type"]
# modelscope's list of pipelines whose folders are nothing but configuration: for those it runs no
# code from the folder, and asks for no trust_remote_code
builder._CONFIG_ONLY_PIPELINES = getattr(builder, "_CONFIG_ONLY_PIPELINES", frozenset()) | {NAME}


@builder.PIPELINES.register_module(TASK, module_name=NAME, force=True)
class ForecastPipeline(Pipeline):
    """Forecasts from the last bar of one symbol or of many.

        import tftnhits.pipeline  # or trust_remote_code=True
        from modelscope import pipeline
        pipe = pipeline(task="time-series-forecasting", model="/path/to/model")
        pipe([[open, high, low, close, volume], ...])

    Parameters
    ----------
    model : absolute path of a folder with the files of hub.add_modelscope_files; "a/b" is an id to
        modelscope, which downloads by itself whatever the repository holds, while
        `str(tftnhits.fetch("owner/name"))` is the verified download
    device : ignored: the networks are small and run on the CPU
    """

    def __init__(self, model: str, device: str = "cpu", **kwargs: Any):
        super().__init__(model=model, device="cpu", auto_collate=False, **kwargs)
        self.predictor = Predictor.load(Path(model), "cpu")

    def __call__(
        self, input: Any, horizon: int | None = None, level: float = LEVEL
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The forecast as plain values for JSON.

        Parameters
        ----------
        input : rows of [open, high, low, close, volume], the last the newest; a frame; a dict of
            columns; a dict symbol -> rows, frame or columns; or a frame with a column of symbols
        horizon : bars ahead, at most those trained for; default: 5
        level : nominal level of the interval, inside (0, 1)

        Returns
        -------
        For one symbol the dict of `Forecast.summary`, for several a list of them: prediction is the
        next bar's median price, interval {level, lower, upper, coverage, coverage_interval},
        confidence its level, path all bars ahead, model_used who answers, warnings what was
        repaired and guessed, too.

        Raises
        ------
        DataError, HistoryTooShort, ConfigError
        """
        # the base class would make a call of each row
        return self.postprocess(self.forward(self.preprocess(input), horizon=horizon, level=level))

    def preprocess(self, inputs: Any) -> Any:
        """The bars; no file's name, since a pipeline may be served to others than its owner."""
        if isinstance(inputs, str | bytes | os.PathLike) or hasattr(inputs, "read"):
            raise DataError(
                "The pipeline takes bars, no file; give rows, a frame, a dict, or load_bars(file)."
            )
        return inputs

    def forward(self, inputs: Any, **options: Any) -> Forecast:
        """The predictor's forecast."""
        return self.predictor.predict(inputs, **options)

    def postprocess(self, inputs: Forecast) -> dict[str, Any] | list[dict[str, Any]]:
        """The forecast as plain values; repairs of a symbol's bars are among its warnings."""
        summaries = inputs.summary()
        repaired = repairs(inputs.bars)
        for summary in summaries if isinstance(summaries, list) else [summaries]:
            summary["warnings"] += [
                f"{row.repair} ({row.count} x, first {row.first})"
                for row in repaired[repaired["symbol"] == summary["symbol"]].itertuples(index=False)
            ]
        return summaries
