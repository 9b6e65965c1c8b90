"""Put the tables of data/results/*.json into README.md, docs/results.md and the model card: no
number is typed.

python bench/readme.py
"""

from __future__ import annotations

from pathlib import Path

import beside
import card
import path_tables
import tables

from tftnhits.files import atomic_write, read_json

RESULTS = Path("data/results")
DOCUMENTS = ("README.md", "docs/results.md", "docs/planning.md")
SECTIONS = {  # section of a document -> the results' files and their table
    "headline": ("djia", tables.headline),
    "leaderboard": ("djia", tables.leaderboard),
    "intervals": ("djia", tables.intervals),
    "corpus": ("pretrained", tables.corpus),
    "holdout": ("holdout", tables.holdout),
    "elsewhere": ("holdout", tables.elsewhere),
    "weights": ("djia", tables.weights),
    "backtest": ("backtest", tables.backtest),
    "folds": ("backtest", tables.folds),
    "walk-weights": ("backtest", tables.walk_weights),
    "ablation": ("ablation", tables.ablation),
    "presets": ("presets", tables.presets),
    "versions": ("presets", tables.versions),
    "volatility": ("volatility", tables.volatility),
    "exchange": ("exchange", tables.exchange),
    "speed": ("speed", tables.speed),
    "quality": ("quality", beside.quality),
    "rolling": ("rolling", beside.rolling),
    "imports": ("rolling", beside.imports),
    "gpu": ("gpu", tables.gpu),
    "panel-scale": ("panel_scale", tables.panel_scale),
    "pages": ("pages", tables.pages),
    "planning": ("panel_scale gpu pretrained", tables.planning),
    "latency": ("latency", tables.latency),
    "finetune": ("finetune", tables.finetune),
    "browser": ("browser", tables.browser),
    "paths": ("paths", path_tables.paths),
    "bar-coverage": ("paths", path_tables.bar_coverage),
    "touches": ("paths", path_tables.touches),
    "value-at-risk": ("paths", path_tables.value_at_risk),
    "portfolios": ("paths", path_tables.portfolios),
    "paths-speed": ("paths", path_tables.paths_speed),
}


def sections(text: str) -> list[str]:
    """Those of SECTIONS that a document holds."""
    return [name for name in SECTIONS if f"<!-- {name} -->" in text]


def rendered(text: str, results: Path = RESULTS) -> str:
    """`text` with what stands between <!-- section --> and <!-- /section --> made anew."""
    for section in sections(text):
        sources, table = SECTIONS[section]
        opening, closing = f"<!-- {section} -->", f"<!-- /{section} -->"
        before, rest = text.split(opening)
        after = rest.split(closing)[1]
        content = table(*(read_json(results / f"{name}.json") for name in sources.split()))
        text = f"{before}{opening}\n{content}\n{closing}{after}"
    return text


def main() -> None:
    for document in DOCUMENTS:
        print(atomic_write(document, rendered(Path(document).read_text())))
    print(atomic_write("data/pretrained/README.md", card.render(RESULTS)))


if __name__ == "__main__":
    main()
