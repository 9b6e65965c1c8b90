"""What a run leaves beside the executed notebooks: their HTML, an index page and a manifest."""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_write, versions

if TYPE_CHECKING:
    from .batch import RunResult
    from .many import BatchResult
    from .tasks import Task

WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
PACKAGES = ("tftnhits", "numpy", "pandas", "scipy", "pyarrow", "scikit-learn", "joblib", "torch")
PACKAGES += ("safetensors", "matplotlib", "plotly", "papermill", "nbclient", "yfinance")
# What may stand in the HTML of a cell: nothing that runs, and nothing that is fetched.
TAGS = "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre small"
TAGS += " span strong sub sup table tbody td tfoot th thead tr ul"
SPANS = ["colspan", "rowspan"]
ATTRIBUTES = {"*": ["class", "id"], "a": ["href", "title"], "td": SPANS, "th": SPANS}
FILES = ("forecasts.parquet", "watchlist.parquet", "manifest.json")  # that a batch's index links
ANSWERS = ("status", "model_used", "why")
BATCH_TEXTS = ("symbol", "page", "trend", "status")
SCRIPTS = ("require_js", "mathjax", "mermaid_js", "mermaid_layout_elk_js", "jquery")


def title_and_question(notebook: Any) -> tuple[str, str]:
    """The heading of the first markdown cell and the first paragraph under it, without marks."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("`", "")
    heading = re.match(r"# *(.*)\n*", text)
    body = text[heading.end() :] if heading else text
    paragraph = body.partition("\n\n")[0]
    return heading[1] if heading else "", " ".join(paragraph.split())


def to_html(notebook: Any, path: Path) -> Path:
    """Write `notebook` as a page that needs no network and runs no script but plotly's.

    Its figures share one plotly.min.js.
    """
    from nbconvert import HTMLExporter

    page = deepcopy(notebook)
    page.metadata["title"] = path.stem
    figures = {}
    # how the package gets installed is for who opens the notebook
    page.cells = [c for c in page.cells if "setup" not in c.metadata.get("tags", [])]
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if _shown_without_kernel(out)]
            for out in cell.outputs:
                if PLOTLY in out.get("data", {}):
                    place = f"figure-{secrets.token_hex(8)}"  # no text of the notebook can be it
                    figures[place] = out.data.pop(PLOTLY)
                    out.data["text/html"] = place
    nowhere = {f"{name}_url": "" for name in SCRIPTS}
    exporter = HTMLExporter(sanitize_html=True, **nowhere)
    exporter.register_filter("clean_html", clean_html)
    text, _ = exporter.from_notebook_node(page)
    for place, figure in _drawn(figures, path.parent).items():
        text = text.replace(place, figure)
    return atomic_write(path, text.replace('<script src=""></script>', ""))


def _shown_without_kernel(output: Any) -> bool:
    """Leave the widget out of an output, and say whether there is a picture in its place.

    A progress bar has none: without its widget it would stand at 0% for ever.
    """
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or "image/png" in data


def clean_html(text: str) -> str:
    """HTML of a cell without what could run or fetch: a symbol from a file may be any text."""
    import bleach

    text = re.sub(
        r"<(style|script|iframe)\b.*?</\1\s*>", "", str(text), flags=re.DOTALL | re.IGNORECASE
    )
    return bleach.clean(text, TAGS.split(), ATTRIBUTES)


def _drawn(figures: dict[str, Any], folder: Path) -> dict[str, str]:
    """The HTML of plotly's figures, by their place; it escapes the texts in them."""
    if not figures:
        return {}
    import plotly.io
    from plotly.offline import get_plotlyjs

    atomic_write(folder / "plotly.min.js", get_plotlyjs())
    settings = {"include_plotlyjs": "directory", "full_html": False, "validate": False}
    return {place: plotly.io.to_html(figure, **settings) for place, figure in figures.items()}


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
    page = _rendered(
        "index.html.j2",
        run=run,
        relative=lambda path: path.relative_to(run.folder).as_posix(),
    )
    atomic_write(run.index, page)


def _rendered(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader

    from ..viz.style import THEMES

    environment = Environment(loader=PackageLoader("tftnhits.apps", "."), autoescape=True)
    return environment.get_template(template).render(themes=THEMES, **values)


def write_batch_index(batch: BatchResult) -> None:
    """index.html of a batch: the watchlist of its tasks with links, sorted and filtered there."""
    from ..viz import watchlist

    texts, links = _batch_cells(batch), [_links(batch, task) for task in batch.tasks]
    if not any(links):
        del texts["page"]
    files = [name for name in FILES if (batch.folder / name).exists()]
    page = _rendered(
        "batch.html.j2",
        batch=batch,
        heads={name: "text" if name in BATCH_TEXTS else "" for name in texts},
        rows=zip(batch.tasks, zip(*texts.values()), links, strict=True),
        files=files,
        style=watchlist.style_sheet(),
        sorting=watchlist.SCRIPT,
    )
    atomic_write(batch.index, page)


def _batch_cells(batch: BatchResult) -> dict[str, list[str]]:
    """Texts by head: the watchlist's if there are forecasts, parameters of a sweep, the status."""
    from ..viz import watchlist

    table, tasks = batch.table, batch.tasks
    texts = {"symbol": [task.symbol for task in tasks], "page": [""] * len(tasks)}
    for name in batch.plan.sweep:
        texts[name] = [str(task.parameters[name]) for task in tasks]
    answers = [""] * len(tasks)
    if len(table):
        texts = texts | {k: v for k, v in watchlist.cells(table).items() if k != "symbol"}
        answers = [watchlist.answer_text(*row) for row in zip(*map(table.get, ANSWERS))]
    last = {"completed": "{answer}", "failed": "failed: {error}", "not run": "not run"}
    texts["status"] = [
        last[task.status].format(answer=answer, error=task.error)
        for task, answer in zip(tasks, answers, strict=True)
    ]
    return texts


def _links(batch: BatchResult, task: Task) -> list[tuple[str, str]]:
    """Words and addresses of what there is of a task."""
    pages = [("page", f"pages/{task.name}.html"), ("notebook", f"pages/{task.name}.ipynb")]
    own = sorted(batch.plan.place("files", task, "").glob("*.html"))  # what the notebook made
    pages += [(path.stem, path.relative_to(batch.folder).as_posix()) for path in own]
    return [(word, page) for word, page in pages if (batch.folder / page).exists()]
