"""What a run leaves beside the executed notebooks: their HTML, an index page and a manifest."""

from __future__ import annotations

import json
import os
import platform
import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_write, versions

if TYPE_CHECKING:
    from .batch import RunResult

WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
PACKAGES = ("tftnhits", "numpy", "pandas", "scipy", "pyarrow", "scikit-learn", "joblib", "torch")
PACKAGES += ("safetensors", "matplotlib", "plotly", "papermill", "nbclient", "yfinance")


def title_and_question(notebook: Any) -> tuple[str, str]:
    """The heading of the first markdown cell and the first paragraph under it, without marks."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("`", "")
    heading = re.match(r"# *(.*)\n*", text)
    body = text[heading.end() :] if heading else text
    paragraph = body.partition("\n\n")[0]
    return heading[1] if heading else "", " ".join(paragraph.split())


def to_html(notebook: Any, path: Path) -> Path:
    """Write `notebook` as a page whose figures need no network: they share one plotly.min.js."""
    from nbconvert import HTMLExporter

    page = deepcopy(notebook)
    page.metadata["title"] = path.stem
    figures = []
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if _shown_without_kernel(out)]
            figures += [out for out in cell.outputs if PLOTLY in out.get("data", {})]
    if figures:
        import plotly.io
        from plotly.offline import get_plotlyjs

        atomic_write(path.parent / "plotly.min.js", get_plotlyjs())
        for figure in figures:
            figure.data["text/html"] = plotly.io.to_html(
                figure.data.pop(PLOTLY),
                include_plotlyjs="directory",
                full_html=False,
                validate=False,
            )
    text, _ = HTMLExporter(require_js_url="").from_notebook_node(page)
    return atomic_write(path, text.replace('<script src=""></script>', ""))


def _shown_without_kernel(output: Any) -> bool:
    """Leave the widget out of an output, and say whether there is a picture in its place.

    A progress bar has none: without its widget it would stand at 0% for ever.
    """
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or "image/png" in data


def write_manifest(run: RunResult, given: dict[str, Any]) -> None:
    """manifest.json: versions, seed, parameters, times and files, enough to run the same again."""
    fields = ("name", "status", "error", "seconds", "parameters")
    notebooks = [{field: getattr(n, field) for field in fields} for n in run.notebooks]
    statuses = [n.status for n in run.notebooks]
    values = {
        "status": next((status for status in statuses if status != "completed"), "completed"),
        "started": run.started,
        "seconds": run.seconds,
        "given": given,
        "seeds": sorted({n.parameters["seed"] for n in run.notebooks if "seed" in n.parameters}),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": versions(*PACKAGES),
        "notebooks": notebooks,
        "figures": [path.relative_to(run.folder).as_posix() for path in run.figures],
        "forecasts": [path.relative_to(run.folder).as_posix() for path in run.forecasts],
    }
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
    atomic_write(run.folder / "manifest.json", f"{text}\n")


def write_index(run: RunResult) -> None:
    """index.html: every notebook with its question, status, time and links; forecasts, figures."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("tftnhits.apps", "."), autoescape=True)
    template = environment.get_template("index.html.j2")
    page = template.render(run=run, relative=lambda path: path.relative_to(run.folder).as_posix())
    atomic_write(run.index, page)
