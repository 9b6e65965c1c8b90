"""Forecasts of financial bars by a Temporal Fusion Transformer and N-HITS.

Research and education, not trading advice. Public names are loaded when first used, so that
`import tftnhits` costs nothing and works without torch.
"""

from importlib import import_module

from .errors import MissingDependency

__version__ = "2.1.0"

_HOMES = {
    "config": "BacktestConfig BoostingConfig NHITSConfig PanelConfig TFTConfig TrainConfig "
    "WorkerConfig preset",
    "errors": "TftnhitsError DataError HistoryTooShort ConfigError CheckpointError OutputError "
    "NotebookError BacktestIncomplete HubError DownloadError",
    "data.bars": "load_bars repairs validate_bars",
    "data.yahoo": "download_bars",
    "data.windows": "Panel make_panel",
    "models.boosting": "Boosting",
    "training.loop": "Fit fit",
    "forecast.result": "Forecast",
    "forecast.blocks": "predict_folder",
    "forecast.predictor": "Predictor train_predictor",
    "forecast.finetuning": "fine_tune",
    "forecast.export": "export_model",
    "models.hub": "fetch",
    "evaluation.backtest": "Backtest backtest",
    "evaluation.journal": "Journal journal",
    "whatif.panel": "what_if",
    "apps.batch": "run_notebooks",
    "apps.many": "run_batch",
    "apps.hub": "publish",
    "apps.reporting": "report",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = ["MissingDependency", *sorted(_MODULE_OF)]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tftnhits' has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except MissingDependency:
        raise
    except (ImportError, OSError) as error:  # OSError: a broken library
        if "torch" not in f"{getattr(error, 'name', '')} {error}":
            raise
        raise MissingDependency(
            f"tftnhits.{name} needs PyTorch; install it with pip install 'tftnhits[torch]'."
        ) from error


def __dir__():
    return [*globals(), *_MODULE_OF]
