"""What the benchmarks beside the peers share, and the tables of two of them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from tables import markdown

from tftnhits.files import read_json


def elsewhere(python: str, script: str, *arguments: object) -> dict | list:
    """The JSON that a script of this folder writes to --out under another interpreter, or in a
    process of its own.

    Raises CalledProcessError if it fails.
    """
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [python, here / script, *arguments, "--out", out]
        path = {"PYTHONPATH": str(here.parent)}
        subprocess.run([*map(str, command)], check=True, env={**os.environ, **path})
        return json.loads(out.read_text())


def data_name(data: Path | None) -> str:
    """What the bars of a benchmark are called: those of the DJIA come in a folder."""
    if data is None:
        return "bundled stocks"
    return "DJIA" if data.is_dir() else data.stem


def add_only(parser: argparse.ArgumentParser) -> None:
    """The argument --only."""
    parser.add_argument(
        "--only", metavar="ROW,ROW", help="measure these rows; the result keeps its others"
    )


def plan(only: str | None, names: list[str], out: str) -> tuple[list[str], dict[str, dict]]:
    """The rows to measure, and by name those that the result at `out` keeps.

    Exits with a sentence where --only names none of `names`.
    """
    if only is None:
        return names, {}
    chosen = only.split(",")
    if unknown := set(chosen) - set(names):
        raise SystemExit(f"There is no row {min(unknown)!r}; choose of: {', '.join(names)}.")
    kept = read_json(out)["rows"] if Path(out).exists() else []
    return chosen, {row["name"]: row for row in kept}


def reached(curve: list[list[float]], loss: float) -> float | None:
    """Seconds after which a learning curve was first as low as `loss`; None: never."""
    return next((seconds for seconds, found in curve if found <= loss), None)


def quality(record: dict) -> str:
    """The lowest loss of each run, when it had it, and when ours had it."""
    by_name = {row["name"]: row for row in record["rows"]}
    head = ["network", "setting", "windows a second", "trained, s", "lowest loss", "after, s"]
    rows = []
    for row in record["rows"]:
        who, network, setting = row["name"].split(maxsplit=2)
        name = f"**{network}, {who}**" if who == "ours" else f"{network}, {who} {row['version']}"
        cells = [name, setting, f"{row['windows_per_second']:,.0f}"]
        cells.append(f"{row['seconds']:.0f}" + ("+" if row["ended"] == "time" else ""))
        cells += [f"{row['best']:.3f}", f"{row['best_at']:.1f}"]
        ours = by_name.get(f"ours {network} quick")
        seconds = reached(ours["curve"], row["best"]) if ours and who != "ours" else None
        if seconds is None:
            cells += ["", ""]
        elif not seconds:  # a ratio would tell of the start, not of training
            cells += ["at its start", "–"]
        else:
            cells += [f"{seconds:.1f}", f"1/{row['best_at'] / seconds:.0f}"]
        rows.append(cells)
    told = f"Bars: {record['data']}, {record['symbols']} symbols; {record['threads']} threads."
    told += " Those with a + were ended by the limit, before their steps."
    told += f" Before the first step the loss of ours is {_start(record):.3f}."
    return f"{markdown([*head, 'ours (quick) has it after, s', 'of its time'], rows)}\n\n{told}"


def _start(record: dict) -> float:
    """Of a network of ours before its first step: a volatility scale times quantiles."""
    return next(r["curve"][0][1] for r in record["rows"] if r["name"].startswith("ours"))


def rolling(record: dict) -> str:
    """Rolling forecasts a second beside the fastest peer's of the same network, and memory."""
    head = ["network", "forecasts a second", "times the fastest peer", "peak GB, forecasting"]
    head += ["peak GB, training"]
    rates = fastest(record["rows"])
    rows = []
    for row in sorted(record["rows"], key=lambda r: (r["network"], -r["a_second"])):
        version = f" {row['version']}" if "version" in row else ""
        name = f"**{row['name']}**" if row["name"].startswith("ours") else row["name"] + version
        best = rates.get(row["network"])
        times = f"{row['a_second'] / best:.1f}" if best else "–"
        cells = [name, f"{row['a_second']:,.0f}", times]
        memory = [row.get(key) for key in ("roll_mb", "train_mb")]
        rows.append([*cells, *("–" if mb is None else f"{mb / 1e3:.2f}" for mb in memory)])
    told = f"Bars: {record['data']}, {record['symbols']} symbols × {record['days']} days; "
    return f"{markdown(head, rows)}\n\n{told}{record['threads']} threads."


def fastest(rows: list[dict]) -> dict[str, float]:
    """Forecasts a second of the fastest peer by network; of the ensemble, by both of one peer."""
    rates: dict[str, float] = {}
    seconds: dict[str, list[float]] = {}  # that a forecast by each of a peer's networks takes
    for row in rows:
        if "version" in row:
            rates[row["network"]] = max(row["a_second"], rates.get(row["network"], 0.0))
            seconds.setdefault(row["name"].split()[0], []).append(1 / row["a_second"])
    pairs = [1 / sum(each) for each in seconds.values() if len(each) == 2]
    return {**rates, "ensemble": max(pairs)} if pairs else rates


def imports(record: dict) -> str:
    """How long imports take."""
    rows = [[row["what"], f"{row['median']:.2f}"] for row in record["imports"]]
    return markdown(["in a fresh process", "seconds, median of 5"], rows)
