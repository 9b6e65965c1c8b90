"""The DJIA protocol: train on 2006–2013, choose on 2014–2015, score 2016–2017, against baselines.

    python bench/djia.py [--preset quick] [--seeds 0,1,2] [--out data/results/djia.json] [--readme README.md]

Scores are mean pinball losses × 10⁴ of the cumulative log return over the protocol's nine quantile levels. The
test years are scored once, at the end, by the configuration that the preset names; it was chosen on validation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
from readme import fill

import tftnhits as tn
from tftnhits.config import ENSEMBLE_WEIGHTS, preset
from tftnhits.data.windows import Panel
from tftnhits.evaluation.metrics import SCORE_LEVELS, pinball_loss
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import combine
from tftnhits.models.baselines import VOLATILITIES, baseline_quantiles
from tftnhits.training.loop import fit, forecast_rows

SPLITS = ("valid", "test")
Quantiles = dict[str, np.ndarray]  # split -> [K, H, 9]


def networks(panel: Panel, rows: dict[str, np.ndarray], name: str, seed: int) -> dict[str, Quantiles]:
    """Both networks and their ensemble, trained with one seed."""
    tft, nhits, _, train = preset(name)
    pick = [tft.quantiles.index(level) for level in SCORE_LEVELS]
    models = {"TFT": tft, "N-HITS": nhits}
    found = {}
    for label, config in models.items():
        model = fit(config, panel, replace(train, seed=seed)).model
        found[label] = {s: forecast_rows(model, panel, rows[s])[..., pick] for s in SPLITS}
    shares = {"TFT": ENSEMBLE_WEIGHTS["tft"], "N-HITS": ENSEMBLE_WEIGHTS["nhits"]}
    found["ensemble"] = {s: combine({k: found[k][s] for k in models}, shares) for s in SPLITS}
    return found


def score(quantiles: Quantiles, actual: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean loss × 10⁴ of step 1 and of all steps, a split each."""
    out = {}
    for split, found in quantiles.items():
        loss = 1e4 * pinball_loss(found, actual[split], SCORE_LEVELS)
        out |= {f"{split} 1": float(loss[:, 0].mean()), f"{split} 1-5": float(loss.mean())}
    return out


def table(rows: list[dict]) -> str:
    """The scores as a Markdown table, best first."""
    lines = ["| forecaster | test, step 1 | test, steps 1–5 | validation, steps 1–5 |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: r["test 1-5"]):
        cells = [f"{row[k]:.2f}" + (f" ± {row[k + ' sd']:.2f}" if k + " sd" in row else "") for k in COLUMNS]
        lines.append(f"| {row['forecaster']} | {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS = ("test 1", "test 1-5", "valid 1-5")


def averaged(name: str, seeds: list[dict[str, float]]) -> dict:
    """Mean and standard deviation over seeds."""
    row: dict = {"forecaster": name}
    for key in seeds[0]:
        values = [s[key] for s in seeds]
        row |= {key: statistics.mean(values), f"{key} sd": statistics.stdev(values) if len(values) > 1 else 0.0}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default="data/results/djia.json")
    parser.add_argument("--readme", help="a file whose leaderboard section is replaced by the table")
    options = parser.parse_args()
    begin = time.perf_counter()
    config = tn.PanelConfig(train_end="2013-12-31", valid_end="2015-12-31")
    panel = tn.make_panel(tn.load_bars("djia"), config)
    rows = {s: panel.origins(s) for s in SPLITS}
    root = np.sqrt(np.arange(1, config.horizon + 1))
    actual = {s: panel.target[r] * panel.scale[r, None] * root for s, r in rows.items()}

    found = []
    for name in VOLATILITIES:
        quantiles = {s: baseline_quantiles(name, panel, r, SCORE_LEVELS) for s, r in rows.items()}
        found.append({"forecaster": name, **score(quantiles, actual)})
    boosting = preset(options.preset)[2]
    pick = [boosting.quantiles.index(level) for level in SCORE_LEVELS]
    boosted = tn.Boosting(boosting).fit(panel)
    found.append({"forecaster": "gradient boosting", **score(
        {s: boosted.quantiles(panel, r)[..., pick] for s, r in rows.items()}, actual)})  # fmt: skip
    seeds = [int(s) for s in options.seeds.split(",")]
    runs = [networks(panel, rows, options.preset, seed) for seed in seeds]
    for name in runs[0]:
        found.append(averaged(name, [score(run[name], actual) for run in runs]))
    mean = {s: np.mean([run["ensemble"][s] for run in runs], axis=0) for s in SPLITS}
    found.append({"forecaster": f"ensemble, {len(seeds)} seeds averaged", **score(mean, actual)})

    text = table(found)
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015, test 2016-2017; pinball x 1e4, nine levels",
        "preset": options.preset, "seeds": seeds, "origins": {s: len(r) for s, r in rows.items()},
        "data": panel.digest(), "seconds": time.perf_counter() - begin, "rows": found,
    }  # fmt: skip
    write_json(options.out, record)
    if options.readme:
        fill(options.readme, "leaderboard", text)
    print(text)
    print(options.out)


if __name__ == "__main__":
    main()
