"""What a run leaves beside the executed notebooks: their HTML, an index page and a manifest."""

from __future__ import annotations

import html
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..files import atomic_write

if TYPE_CHECKING:
    from .batch import RunResult

_WIDGET = "application/vnd.jupyter.widget-view+json"
_PLOTLY = "application/vnd.plotly.v1+json"
_PACKAGES = ("tftnhits", "numpy", "pandas", "scipy", "pyarrow", "scikit-learn", "joblib", "torch")
_PACKAGES += ("safetensors", "matplotlib", "plotly", "papermill", "nbclient", "yfinance")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; background: #fff; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .6rem; border-bottom: 1px solid #d9e0e7; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.completed { color: #17693a; } .failed, .interrupted { color: #a61b1b; font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
.figures img { width: 100%; border: 1px solid #d9e0e7; }
.dim, .not-run, footer { color: #5d6b7a; } footer { margin-top: 3rem; }
"""


def title_and_question(notebook: Any) -> tuple[str, str]:
    """The heading of the first markdown cell and the first paragraph under it."""
    text = next((c.source for c in notebook.cells if c.cell_type == "markdown"), "")
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("`", "")
    title, question = "", ""
    for block in re.split(r"\n\s*\n|(?<=\n)(?=#)|(?<=^)(?=#)", text):
        heading, _, rest = (
            block.strip().partition("\n") if block.strip().startswith("#") else ("", "", block)
        )
        title = title or heading.lstrip("# ")
        question = question or " ".join(rest.split())
    return title, question


def to_html(notebook: Any, path: Path) -> Path:
    """Writes `notebook` as a page whose figures need no network: they share one plotly.min.js beside it."""
    from nbconvert import HTMLExporter

    page = deepcopy(notebook)
    page.metadata["title"] = path.stem
    for cell in page.cells:  # a progress bar without its widget would stand at 0% for ever
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if _WIDGET not in o.get("data", {})]
    outputs = [o for c in page.cells for o in c.get("outputs", []) if _PLOTLY in o.get("data", {})]
    if outputs:
        import plotly.io
        from plotly.offline import get_plotlyjs

        script = path.parent / "plotly.min.js"
        if not script.exists():
            atomic_write(script, get_plotlyjs())
        for output in outputs:
            output.data["text/html"] = plotly.io.to_html(
                output.data.pop(_PLOTLY),
                include_plotlyjs="directory",
                full_html=False,
                validate=False,
            )
    text, _ = HTMLExporter(require_js_url="").from_notebook_node(page)
    return atomic_write(path, text.replace('<script src=""></script>', ""))


def write_manifest(result: RunResult, status: str, given: dict[str, Any]) -> Path:
    """manifest.json: versions, seed, parameters, times and files, enough to run the same again."""
    seeds = {run.parameters["seed"] for run in result.notebooks if "seed" in run.parameters}
    values = {
        "status": status,
        "started": result.started,
        "seconds": round(result.seconds, 2),
        "given": given,
        "seed": seeds.pop() if len(seeds) == 1 else sorted(seeds, key=str) or None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
        "git": _git(result.source),
        "notebooks": [
            {
                "name": r.name,
                "status": r.status,
                "seconds": round(r.seconds, 2),
                "code_cells": r.cells,
            }
            | {"parameters": r.parameters, "error": r.error}
            for r in result.notebooks
        ],
        "figures": [_relative(p, result.folder) for p in result.figures],
        "forecasts": [_relative(p, result.folder) for p in result.forecasts],
    }
    return atomic_write(
        result.manifest, json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"
    )


def version(package: str) -> str | None:
    """Installed version, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> str | None:
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def write_index(result: RunResult) -> Path:
    """index.html: every notebook with its question, status, time and links, then forecasts and figures."""
    rows = "".join(_row(run, result.folder) for run in result.notebooks)
    forecasts = "".join(f"<li>{_link(p, result.folder)}</li>" for p in result.forecasts)
    figures = "".join(_figure(p, result.folder) for p in result.figures)
    body = f"""<h1>tftnhits run</h1>
<p class="dim">Started {result.started}, {result.seconds:.0f} s. Versions, parameters and times:
{_link(result.manifest, result.folder)}</p>
<table><thead><tr><th>Notebook</th><th>Status</th><th>Seconds</th><th>Open</th></tr></thead>
<tbody>{rows}</tbody></table>
<h2>Forecasts</h2>{f"<ul>{forecasts}</ul>" if forecasts else '<p class="dim">None were made.</p>'}
<h2>Figures</h2>{f'<div class="figures">{figures}</div>' if figures else '<p class="dim">None were made.</p>'}
<footer>Research and education, not trading advice.</footer>"""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>tftnhits run</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
    return atomic_write(result.index, page)


def _row(run: Any, folder: Path) -> str:
    links = [
        _link(p, folder, text) for p, text in ((run.html, "HTML"), (run.executed, "notebook")) if p
    ]
    error = f'<br><span class="failed">{html.escape(run.error)}</span>' if run.error else ""
    return (
        f"<tr><td><strong>{html.escape(run.title or run.name)}</strong>"
        f'<br><span class="dim">{html.escape(run.question)}</span>{error}</td>'
        f'<td class="{run.status.replace(" ", "-")}">{run.status}</td>'
        f'<td class="n">{run.seconds:.1f}</td><td>{"<br>".join(links)}</td></tr>\n'
    )


def _figure(path: Path, folder: Path) -> str:
    target, name = quote(_relative(path, folder)), html.escape(path.stem.replace("_", " "))
    return f'<a href="{target}"><img src="{target}" alt="{name}" loading="lazy">{name}</a>\n'


def _link(path: Path, folder: Path, text: str = "") -> str:
    relative = _relative(path, folder)
    return f'<a href="{quote(relative)}">{html.escape(text or relative)}</a>'


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
