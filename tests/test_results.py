"""What README.md, docs/results.md and the model card say is what data/results/*.json say."""

import importlib
import json
import re
import sys
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "data" / "results"
MEMBERS = ("tft-", "nhits-", "boosting-")


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of bench/, which import each other from their folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    yield importlib.import_module
    for name in ("card", "path_tables", "readme", "tables"):
        sys.modules.pop(name, None)


def test_documents_show_what_was_measured(bench):
    readme, seen = bench("readme"), []
    for document in readme.DOCUMENTS:
        text = (ROOT / document).read_text()
        assert readme.rendered(text, RESULTS) == text, "run: python bench/readme.py"
        seen += readme.sections(text)
    assert sorted(seen) == sorted(readme.SECTIONS), "each table is in one document"


def test_model_card_shows_what_was_measured(bench):
    card = bench("card").render(RESULTS)
    assert card == (ROOT / "data" / "pretrained" / "README.md").read_text()
    assert card.startswith("---\n") and "time-series-forecasting" in card.split("---\n")[1]
    assert "not trading advice" in card and "$" not in card
    # its section on files names each kind that is there, and their size
    shipped = [
        path
        for path in (ROOT / "data" / "pretrained").iterdir()
        if path.suffix not in (".lock", ".md")
    ]
    files = card.split("## Files")[1]
    told = float(re.search(r"([\d.]+) MB in all", files)[1])
    assert told == pytest.approx(sum(path.stat().st_size for path in shipped) / 1e6, abs=0.05)
    assert all(path.name in files or path.name.startswith(MEMBERS) for path in shipped)


def test_readme_card_and_citation_name_the_same_version_and_licence():
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)[1]
    assert f"version: {version}\nlicense: Apache-2.0" in (ROOT / "CITATION.cff").read_text()
    for document in ("README.md", "data/pretrained/README.md"):
        entry = (ROOT / document).read_text().split("```bibtex")[1].split("```")[0]
        assert f"{{{version}}}" in entry and "{Apache-2.0}" in entry
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_readme_says_which_version_is_better_only_where_it_is(bench):
    tables, record = bench("tables"), json.loads((RESULTS / "presets.json").read_text())
    plain = [row | {"verdict": "no difference measured"} for row in record["rows"]]
    assert "none is measurably better" in tables.versions({"rows": plain})
    plain[0]["verdict"] = "better than quick"
    words = f"measurably better is the {plain[0]['network']} of `{plain[0]['preset']}`"
    assert words in tables.versions({"rows": plain})
    assert "not measured" in tables.versions({"rows": plain[:1]})
    assert tables.presets(record).count("\n") == 1 + len(record["rows"])


def test_the_gallery_shows_each_notebook_with_what_its_figures_say():
    page = (ROOT / "docs" / "gallery.md").read_text()
    notebooks = {path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert set(re.findall(r"\(../notebooks/([^)]+)\)", page)) == notebooks
    shown = re.findall(r"^(.+)\n\n!\[.*\]\((gallery/.+\.png)\)$", page, re.MULTILINE)
    folder = ROOT / "docs" / "gallery"
    assert {path.name for path in folder.iterdir()} == {Path(name).name for _, name in shown}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1_500_000
    for sentence, name in shown:
        with Image.open(ROOT / "docs" / name) as image:
            assert unescape(sentence) == f"{image.info['Title']}."


def test_losers_are_shown_too():
    losses = {
        row["forecaster"]: row["test 1-5"]
        for row in json.loads((RESULTS / "djia.json").read_text())["rows"]
    }
    text = (ROOT / "docs" / "results.md").read_text()
    section = text.split("<!-- leaderboard -->")[1].split("<!-- /leaderboard -->")[0]
    names = re.findall(r"^\| \*{0,2}([^|*]+?)\*{0,2} \|", section, re.MULTILINE)
    assert names[2:] == sorted(losses, key=losses.get)  # below the head and its rule
    assert {"random walk", "HAR", "GARCH-t", "gradient boosting"} <= set(names)
