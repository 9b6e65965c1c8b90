"""Put the tables of data/results/*.json into README.md and write the model card: no number there is typed.

python bench/readme.py
"""

from __future__ import annotations

from pathlib import Path

import card
import tables

from tftnhits.files import atomic_write, read_json

RESULTS = Path("data/results")
SECTIONS = {  # section of README.md -> the result's file and its table
    "leaderboard": ("djia", tables.leaderboard),
    "intervals": ("djia", tables.intervals),
    "weights": ("djia", tables.weights),
    "backtest": ("backtest", tables.backtest),
    "folds": ("backtest", tables.folds),
    "walk-weights": ("backtest", tables.walk_weights),
    "ablation": ("ablation", tables.ablation),
    "volatility": ("volatility", tables.volatility),
    "exchange": ("exchange", tables.exchange),
    "speed": ("speed", tables.speed),
    "latency": ("latency", tables.latency),
    "browser": ("browser", tables.browser),
}


def rendered(text: str, results: Path = RESULTS) -> str:
    """`text` with what stands between <!-- section --> and <!-- /section --> made anew for each of SECTIONS."""
    for section, (name, table) in SECTIONS.items():
        before, rest = text.split(f"<!-- {section} -->")
        after = rest.split(f"<!-- /{section} -->")[1]
        text = f"{before}<!-- {section} -->\n{table(read_json(results / f'{name}.json'))}\n<!-- /{section} -->{after}"
    return text


def main() -> None:
    path = Path("README.md")
    print(atomic_write(path, rendered(path.read_text())))
    print(atomic_write("data/pretrained/README.md", card.render(RESULTS)))


if __name__ == "__main__":
    main()
