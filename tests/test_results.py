"""What README.md and the model card say is what data/results/*.json say."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "data" / "results"


@pytest.fixture(scope="module")
def bench():
    """bench/readme.py and bench/card.py, which import each other from their folder."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        found = {}
        for name in ("card", "readme"):
            spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
            found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found[name])
        yield found
    finally:
        sys.path.remove(str(ROOT / "bench"))
        for name in ("card", "readme", "tables"):
            sys.modules.pop(name, None)


def test_documents_show_what_was_measured(bench):
    documents = {name: (ROOT / name).read_text() for name in bench["readme"].DOCUMENTS}
    for text in documents.values():
        assert bench["readme"].rendered(text, RESULTS) == text, "run: python bench/readme.py"
    held = [section for text in documents.values() for section in bench["readme"].sections(text)]
    assert sorted(held) == sorted(bench["readme"].SECTIONS)


def test_readme_is_short():
    assert (ROOT / "README.md").read_text().count("\n") <= 180


def test_model_card_shows_what_was_measured(bench):
    card = (ROOT / "data" / "pretrained" / "README.md").read_text()
    assert bench["card"].render(RESULTS) == card, "run: python bench/readme.py"


def test_card_has_front_matter_and_disclaimer(bench):
    card = bench["card"].render(RESULTS)
    assert card.startswith("---\n") and "time-series-forecasting" in card.split("---\n")[1]
    assert "not trading advice" in card and "$" not in card


def test_losers_are_shown_too():
    record = json.loads((RESULTS / "djia.json").read_text())
    text = (ROOT / "docs" / "results.md").read_text()
    section = text.split("<!-- leaderboard -->")[1].split("<!-- /leaderboard -->")[0]
    shown = re.findall(r"^\| \*{0,2}([^|*]+?)\*{0,2} \|", section, re.MULTILINE)[1:]
    shown = [name for name in shown if name.strip("- ")]
    assert sorted(shown) == sorted(row["forecaster"] for row in record["rows"])
    assert {"random walk", "HAR", "GARCH-t", "gradient boosting"} <= set(shown)
    losses = {row["forecaster"]: row["test 1-5"] for row in record["rows"]}
    assert [losses[name] for name in shown] == sorted(losses.values())
