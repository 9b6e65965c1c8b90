"""`tftnhits export`: a model's networks as programs for a server."""

from __future__ import annotations

import logging

import click

from .commands import _command, _folder


@_command(
    """  tftnhits export shipped
  tftnhits export model --out served --onnx"""
)
@click.argument("model", metavar="FOLDER")
@click.option("--out", default="exported", show_default=True, metavar="DIR", help="for the files")
@click.option("--onnx", is_flag=True, help="write programs for ONNX runtimes too")
def export(model, out, onnx):
    """Write the networks of a model's FOLDER, or of 'shipped', as programs for a server.

    They run by PyTorch alone, or by a runtime of ONNX; export.json says what goes in and comes out.
    What bars are to them, and the calibration, stays here: docs/serving.md has a server.
    """
    from .. import export_model  # the package says what is missing where torch is
    from ..forecast.predictor import Predictor

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators not used here
    predictor = Predictor.load(None if model == "shipped" else model)
    with _folder(out) as folder:
        yield str(export_model(predictor, folder, onnx))
