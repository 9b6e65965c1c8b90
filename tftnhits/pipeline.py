"""`import tftnhits.pipeline` registers the kit's pipeline with modelscope."""

from .apps.pipeline import ForecastPipeline

__all__ = ["ForecastPipeline"]
