"""What data/results/*.json say, as Markdown tables: for README.md and for the model card."""

from __future__ import annotations

import math
import statistics
from typing import Any

from tftnhits.evaluation.metrics import INTERVALS

SHIPPED = "ensemble, as shipped"
REGIMES = ("calm", "middle", "wild")
ALPHA = 0.10  # of the model confidence set


def plain(value: Any) -> Any:
    """For JSON: frames as lists of rows, numpy's numbers as Python's, NaN as null."""
    if hasattr(value, "to_dict"):
        value = value.to_dict("records")
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(row: dict, key: str, form: str = ".2f") -> str:
    """Mean and, over seeds, deviation; a dash where there is none."""
    if row.get(key) is None:
        return "–"
    spread = row.get(f"{key} sd")
    return f"{row[key]:{form}}" + (f" ± {spread:{form.lstrip('+')}}" if spread is not None else "")


def p_value(p: float | None) -> str:
    """Three digits."""
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def member(p: float | None) -> str:
    """Of a model confidence set."""
    return "–" if p is None else f"{'in' if p > ALPHA else 'out'} ({p_value(p)})"


def errors(scores: dict) -> list[str]:
    """MAE and MSE of the medians, × 10⁴ and × 10⁸ of the log return."""
    return [number(scores, "mae", ".1f"), number(scores, "mse", ",.0f")]


def corpus(record: dict) -> str:
    """The markets of the training, and how networks did on their validation years."""
    head = ["market", "symbols", "training origins", "share of an epoch", "bars from", "to"]
    head += ["TFT", "N-HITS", "shipped"]
    runs = record["runs"]
    rows = []
    for market in record["corpus"]:
        name = market["market"]
        row = [name, f"{market['symbols']}", f"{market['origins']:,}", f"{market['share']:.0%}"]
        row += [market["from"][:7], market["to"][:7]]
        for kind in ("tft", "nhits"):
            found = [run["markets"][name] for run in runs if run["network"] == kind]
            row.append(f"{sum(found) / len(found):.4f}")
        rows.append([*row, f"{record['shipped'][name]:.4f}"])
    return markdown(head, rows)


def holdout(record: dict) -> str:
    """Bars not looked at before: losses over those of a HAR fitted there, and coverage."""
    head = ["bars", "scored", "loss of HAR", "shipped ÷ HAR", "p", "its scale ÷ HAR"]
    head += ["93% holds, raw", "93% holds", "by third of volatility", "80% holds", "coverage told"]
    rows = []
    for market in record["markets"]:
        by = {row["forecaster"]: row for row in market["rows"]}
        shipped = by["shipped"]
        thirds = " / ".join(f"{share:.1%}" for share in shipped["93% holds, by third"])
        rows.append(
            [
                f"{market['bars']} ({market['symbols']})",
                " to ".join(market["scored"]),
                f"{by['HAR']['loss']:.2f}",
                f"{shipped['to HAR']:.4f}",
                p_value(shipped["p"]),
                f"{by['shipped scale']['to HAR']:.4f}",
                f"{by['shipped, not calibrated']['93% holds']:.1%}",
                f"{shipped['93% holds']:.1%}",
                thirds,
                f"{shipped['80% holds']:.1%}",
                "–" if market["claimed coverage"] is None else f"{market['claimed coverage']:.1%}",
            ]
        )
    return markdown(head, rows)


def elsewhere(record: dict) -> str:
    """The hold-outs in a sentence."""
    told = []
    for market in record["markets"]:
        by = {row["forecaster"]: row for row in market["rows"]}
        shipped = by["shipped"]
        told.append(
            f"{market['bars']} {shipped['to HAR']:.3f} (p {p_value(shipped['p'])}; 93% intervals "
            f"hold {shipped['93% holds']:.1%})"
        )
    return (
        "**On bars of other markets and years**, which it was not trained on, the shipped model's "
        f"loss over that of a HAR fitted there (`python bench/holdout.py`): {', '.join(told)}."
    )


def leaderboard(record: dict) -> str:
    """The DJIA protocol's scores and verdicts, best first."""
    head = ["forecaster", "seeds", "test, step 1", "test, steps 1–5", "validation, steps 1–5"]
    head += ["MAE", "MSE", "p: beats HAR", "90% set", "90% set of all"]
    rows = []
    for row in sorted(record["rows"], key=lambda r: r["test 1-5"]):
        cells = [str(row["seeds"]) if row["seeds"] else "–"]
        cells += [number(row, key) for key in ("test 1", "test 1-5", "valid 1-5")]
        cells += errors(row["raw"])
        cells += [p_value(row["dm p against HAR"]), member(row["set"]), member(row["set of all"])]
        rows.append([_name(row), *cells])
    return markdown(head, rows)


def headline(record: dict) -> str:
    """The shipped ensemble beside its rivals in one table, best first: loss, verdicts, the 93%
    interval."""
    head = ["forecaster", "loss", "MAE", "MSE", "p: beats HAR", "90% set", "93% holds", "width, bp"]
    rows = []
    rivals = [row for row in record["rows"] if row["set"] is not None]
    for row in sorted(rivals, key=lambda r: r["test 1-5"]):
        interval = row["calibrated"]["all"]
        cells = [_name(row), f"{row['test 1-5']:.2f}", *errors(row["raw"])]
        cells += [p_value(row["dm p against HAR"])]
        cells += ["in" if row["set"] > ALPHA else "out"]
        cells += [f"{100 * interval['coverage_93']:.1f}%", f"{interval['width_93']:.0f}"]
        rows.append(cells)
    return markdown(head, rows)


def intervals(record: dict) -> str:
    """Coverage and width of the calibrated intervals on the test years, overall and by regime."""
    head = ["forecaster"]
    for level in INTERVALS:
        head += [f"{100 * level:g}%: inside", *REGIMES, "width"]
    rows = []
    shown = [r for r in record["rows"] if r["set"] is not None]
    for row in sorted(shown, key=lambda r: r["calibrated"]["all"]["winkler_93"]):
        cells, groups = [_name(row)], row["calibrated"]
        for level in INTERVALS:
            key = f"{100 * level:g}"
            cells += [f"{100 * groups[g][f'coverage_{key}']:.1f}" for g in ("all", *REGIMES)]
            cells.append(f"{groups['all'][f'width_{key}']:.0f}")
        rows.append(cells)
    return markdown(head, rows)


def _name(row: dict) -> str:
    return f"**{row['forecaster']}**" if row["forecaster"] == SHIPPED else row["forecaster"]


def weights(record: dict) -> str:
    """The ensembles of other weights against 65/35, on the test years."""
    by_name = {row["forecaster"]: row for row in record["rows"]}
    head = ["weights", "TFT", "N-HITS", "HAR", "test, steps 1–5", "minus 65/35", "p, two-sided"]
    shares = {"TFT": 0.65, "N-HITS": 0.35}
    base = by_name["ensemble, not calibrated"]
    rows = [["65/35", *_shares(shares), f"{base['test 1-5']:.2f}", "–", "–"]]
    for name, shares in record["weights"].items():
        test = record["verdicts"]["weights"][f"ensemble, {name}"]
        loss = by_name[f"ensemble, {name}"]["test 1-5"]
        rows.append(
            [
                name,
                *_shares(shares),
                f"{loss:.2f}",
                f"{-test['difference']:+.3f}",
                p_value(test["p two-sided"]),
            ]
        )
    return markdown(head, rows)


def _shares(found: dict[str, float]) -> list[str]:
    return [f"{found[k]:.2f}" if k in found else "–" for k in ("TFT", "N-HITS", "HAR")]


def walk_weights(record: dict) -> str:
    """The ensembles of the walk-forward backtest against 65/35, best first."""
    head = ["weights", "loss, steps 1–5", "p: beats 65/35", "90% set of the four"]
    names = {"ensemble": "65/35"}
    rows = [
        [
            names.get(row["forecaster"], row["forecaster"]),
            f"{row['pinball']:.2f}",
            p_value(row["dm_p"]),
            member(row["mcs_p"]),
        ]
        for row in record["ensembles"]
    ]
    return markdown(head, rows)


def folds(record: dict) -> str:
    """The walk-forward backtest's losses by fold (its year), less HAR's."""
    cells = {(row["fold"], row["forecaster"]): row["pinball"] for row in record["by fold"]}
    numbers = sorted({fold for fold, _ in cells})
    first = int(record["config"]["start"][:4])
    head = ["loss less HAR's", *(str(first + i) for i in numbers)]
    names = [row["forecaster"] for row in record["leaderboard"] if row["forecaster"] != "HAR"]
    return markdown(
        head, [[n, *(f"{cells[i, n] - cells[i, 'HAR']:+.2f}" for i in numbers)] for n in names]
    )


def backtest(record: dict) -> str:
    """The walk-forward backtest, best first; MAE and MSE are of the average of the seeds."""
    head = [
        "forecaster",
        "loss, steps 1–5",
        "MAE",
        "MSE",
        "p: beats HAR",
        "90% set",
        "93%: inside",
        "80%: inside",
    ]
    rows = []
    for row in record["leaderboard"]:
        cells = [
            row["forecaster"],
            f"{row['pinball']:.2f}",
            *errors(record["scores"][row["forecaster"]]),
            p_value(row["dm_p"]),
            "in" if row["in_mcs"] else "out",
        ]
        rows.append([*cells, *(f"{100 * row[f'calibrated_coverage_{k}']:.1f}%" for k in (93, 80))])
    return markdown(head, rows)


def ablation(record: dict) -> str:
    """What each enhancement buys on validation: loss without it, and how much more that is."""
    head = [
        "network",
        "variant",
        "weights",
        "validation",
        "minus enhanced",
        "p seeds",
        "p dates",
        "what is left out",
    ]
    rows = []
    for row in record["rows"]:
        cells = [row["network"], row["variant"], f"{row['weights']:,}", number(row, "valid", ".3f")]
        cells += [
            number(row, "difference", "+.3f"),
            p_value(row.get("p seeds")),
            p_value(row.get("p dates")),
        ]
        rows.append([*cells, row.get("verdict", "–")])
    return markdown(head, rows)


def presets(record: dict) -> str:
    """What each version reaches on validation, best first, and when early stopping ended it."""
    head = ["network", "preset", "seeds", "weights", "validation", "minus quick", "epochs"]
    head += ["stopped early", "verdict"]
    rows = []
    for row in sorted(record["rows"], key=lambda r: (r["network"] != "TFT", r["valid"])):
        cells = [row["network"], row["preset"], str(len(row["seeds"])), f"{row['weights']:,}"]
        cells += [number(row, "valid", ".3f"), number(row, "difference", "+.3f")]
        cells.append(", ".join(map(str, row["epochs"])))
        stopped = sum(epoch is not None for epoch in row["stopped"])
        cells.append(f"{stopped} of {len(row['stopped'])}")
        rows.append([*cells, row.get("verdict", "–")])
    return markdown(head, rows)


def versions(record: dict) -> str:
    """What the presets reach on one market, in two lines."""
    by_name = {(row["network"], row["preset"]): row for row in record["rows"]}
    losses = []
    for name in ("quick", "v1.0", "v2.0", "v2.1"):
        found = [by_name.get((network, name)) for network in ("TFT", "N-HITS")]
        cells = [f"{row['valid']:.2f}" if row else "not measured" for row in found]
        losses.append(f"`{name}` {' / '.join(cells)}")
    verdicts = {f"the {n} of `{p}`": row.get("verdict", "") for (n, p), row in by_name.items()}
    better = [name for name, verdict in verdicts.items() if verdict.startswith("better")]
    said = "none is measurably better"
    if better:
        said = f"measurably better is {' and '.join(better)}"
    elif any(verdict.startswith("one seed") for verdict in verdicts.values()):
        said = "one seed gives no verdict on who is better"
    return (
        f"**What is shipped is wider**, trained on many markets and distilled from several seeds. "
        f"On the DJIA alone, validation loss of one network, TFT / N-HITS:\n"
        f"{', '.join(losses)}; {said} than `quick`."
    )


def volatility(record: dict) -> str:
    """The TFT paper's volatility table, published rows last."""
    head = ["forecaster", "P50, strict windows", "P90, strict windows", "P50, all", "P90, all"]
    keys = ("strict P50", "strict P90", "test P50", "test P90")
    rows = [
        [row["forecaster"], *(number(row, key, ".4f") for key in keys)] for row in record["rows"]
    ]
    published = record["published (Lim et al. 2021)"]
    rows += [
        [f"{row['forecaster']}, as published", *(number(row, key, ".3f") for key in keys)]
        for row in published
    ]
    return markdown(head, rows)


def exchange(record: dict) -> str:
    """N-HITS on Exchange, best first by horizon."""
    rows = []
    for row in sorted(record["rows"], key=lambda r: (r["horizon"], r["mse"])):
        cells = [number(row, key, ".4f") for key in ("mse", "mae")]
        rows.append([str(row["horizon"]), row["forecaster"], *cells])
    return markdown(["horizon", "forecaster", "MSE", "MAE"], rows)


def speed(record: dict) -> str:
    """Training speed, fastest first of each kind; the ratio is to the fastest peer of the kind."""
    rows = []
    for kind in ("TFT", "N-HITS"):
        same = [p for p in record["peers"] if p["model"] == kind.replace("-", "").lower()]
        best = max((p["windows_per_second"] for p in same), default=float("nan"))
        own: list[tuple[str, dict[str, Any]]] = []
        own += [(f"**{r['network']}**", r) for r in record["rows"] if r["network"].startswith(kind)]
        own += [(f"{kind}, {p['peer']} {p['version']}", p) for p in same]
        for name, row in sorted(own, key=lambda x: -x[1]["windows_per_second"]):
            rate = row["windows_per_second"]
            shape = f"{row['batch']} × {row['origins']}" if "origins" in row else f"{row['batch']}"
            share = f"{row['share']:.0%}" if "share" in row else ""
            cells = [f"{rate:,.0f}", f"{row['parameters']:,}", f"{rate / best:.1f}", share]
            rows.append([name, row.get("precision", "float32"), shape, *cells])
    head = ["network", "products in", "windows a batch", "windows a second", "weights"]
    head.append("times the fastest peer")
    rates = [f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in record["products"].items()]
    told = f"{record['threads']} threads; a product of two large matrices does "
    told += f"{' and '.join(rates)} here, of which the last column is the share."
    return f"{markdown([*head, 'of a matrix product'], rows)}\n\n{told}"


def browser(record: dict) -> str:
    """What a person waits for in JupyterLab and on the page."""
    rows = []
    for row in record["rows"]:
        median, unit = row["median"], row["unit"]
        less = unit == "s" and row["limit"] < 1
        rows.append(
            [
                row["measure"],
                *(
                    f"{1e3 * v:.0f} ms" if less else f"{v:.0f} {unit}"
                    for v in (median, row["limit"])
                ),
            ]
        )
    return markdown(["what is waited for", "median", "target"], rows)


PLANS = {  # symbols and bars of each
    "500 symbols, 10 years of days": (500, 2_520),
    "5,000 symbols, 10 years of days": (5_000, 2_520),
    "500 symbols, 10 years of hours": (500, 17_640),
    "10,000 symbols, a year of minutes": (10_000, 98_280),
}


def panel_scale(record: dict) -> str:
    """Seconds and memory of forecasts at the last bar, by the number of symbols."""
    head = ["symbols", "way", "seconds", "peak, GB", "of it before, GB"]
    rows = [
        [
            f"{row['symbols']:,}",
            row["way"],
            f"{row['seconds']:.1f}",
            f"{row['peak_mb'] / 1e3:.1f}",
            f"{row['before_mb'] / 1e3:.1f}",
        ]
        for row in record["rows"]
    ]
    grown = ", ".join(f"{way} {power:.2f}" for way, power in record["exponent"].items())
    rate = record["every origin"]["a_second"]
    told = f"{record['bars']:,} bars a symbol, {record['threads']} of {record['cores']} cores. "
    told += f"Seconds grow with the number of symbols to the power of {grown}. "
    told += f"Of all origins of two years {rate:,.0f} are forecast a second."
    return f"{markdown(head, rows)}\n\n{told}"


def pages(record: dict) -> str:
    """What a report by function costs, and a page by papermill."""
    head = ["symbols in the file", "report by function, s", "page by papermill, s"]
    head += ["of it overhead, s", "two at once, times as fast"]
    names = ("report", "page", "overhead")
    rows = [
        [
            f"{row['listed']:,}",
            *(f"{row[name]:.1f}" for name in names),
            f"{row['times as fast']:.2f}",
        ]
        for row in record["rows"]
    ]
    told = f"{record['bars']:,} bars a symbol, medians of {record['symbols']} pages, "
    return f"{markdown(head, rows)}\n\n{told}one thread a process, {record['cores']} cores."


def planning(scale: dict, gpu: dict, trained: dict) -> str:
    """What larger plans need: measured rates, multiplied."""
    largest = {row["way"]: row for row in scale["rows"]}  # the last of each way
    bars = largest["by blocks"]["symbols"] * scale["bars"]
    memory = largest["in memory"]["peak_mb"] - largest["in memory"]["before_mb"]
    each = {way: row["seconds"] / bars for way, row in largest.items()}
    card = next(r for r in gpu["corpus"] if r["network"] == "tft" and r["how"] == "graph")
    core = statistics.median(r["rate"] for r in trained["runs"] if r["network"] == "tft")
    head = ["plan", "bars", "memory, all at once", "forecasts at the last bar, by blocks"]
    head += ["an epoch of every origin, GPU", "a core"]
    rows = []
    for name, (symbols, length) in PLANS.items():
        count = symbols * length
        row = [name, f"{count / 1e6:,.0f} M", f"{count * memory / bars / 1e3:,.1f} GB"]
        row += [_time(count * each["by blocks"])]
        rows.append(row + [_time(count / card["origins a second"]), _time(count / core)])
    return markdown(head, rows)


def _time(seconds: float) -> str:
    """Seconds as the largest unit of which there are two or more."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"


def gpu(record: dict) -> str:
    """Origins a second trained on a GPU, at NVIDIA's sizes and on the corpus."""
    rows = []
    for row in record["electricity"]:
        batch = "{} × {}".format(*row["shape"])
        rate = f"{row['origins a second']:,.0f}"
        cells = ["TFT 128, 168 + 24 steps", batch, row["precision"], row["how"], rate]
        rows.append([*cells, f"{row['peak GB']:.1f}"])
    for row in record["corpus"]:
        name = {"tft": "TFT", "nhits": "N-HITS"}[row["network"]]
        precision = "TF32" if row["TF32"] else "float32"
        cells = [f"{name} {row['hidden']}, the corpus", f"{row['batch']} × 64", precision]
        rows.append([*cells, row["how"], f"{row['origins a second']:,.0f}", "–"])
    head = ["network", "chunks × origins", "precision", "steps", "origins a second", "peak GB"]
    return f"{record['card']}, torch {record['torch']}\n\n" + markdown(head, rows)


def latency(record: dict) -> str:
    """How long forecasts take."""
    rows = []
    for row in record["rows"]:
        median = row["median"]
        rows.append([row["what"], f"{median:.1f} s" if median >= 1 else f"{1e3 * median:.0f} ms"])
    return markdown(["forecast", "median"], rows)


def finetune(record: dict) -> str:
    """By which share fine-tuning lowers the loss, a row a setting and a column a kind of bars."""
    names = list(dict.fromkeys(row["set"] for row in record["rows"]))
    settings: dict[tuple, dict[str, float]] = {}
    for row in record["rows"]:
        key = row["learning_rate"], row["batch"], row["epochs"]
        settings.setdefault(key, {})[row["set"]] = row["gain"]
    rows = []
    for key, gain in settings.items():
        mean = sum(gain.values()) / len(gain)
        shares = [gain[name] for name in names]
        rows.append([*map(str, key), *(f"{100 * x:.2f}%" for x in (*shares, mean))])
    return markdown(["rate", "batch", "epochs", *names, "mean"], rows)
