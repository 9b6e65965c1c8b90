"""Classic N-HITS on the Exchange rates of the N-HITS paper, beside neuralforecast's N-HITS and the
last value.

    python bench/exchange.py --data exchange_rate.csv --peers PYTHON [--out
    data/results/exchange.json]

The file is the long-horizon benchmark's: a date and eight rates, daily, 1990 to 2010; it isn't
bundled. PYTHON is an interpreter with the extra `peers`; bench/exchange_peer.py runs there.
Protocol: 70/10/20 in time, z-scored on the training share, MSE and MAE of the median over all
windows whose outcomes lie in the test share. Both sides have the same sizes, inputs' length,
optimiser, schedule, loss, batches of random windows, and the best epoch on validation. Two things
set ours apart: it reads the path relative to the origin, and it starts from the training share's
quantiles (and is free to stay there: best epoch 0). So theirs runs three times: as shipped, on
levels; on such paths; and on such paths from that start, where nothing but the two implementations
and trainers differs.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tables
import torch

from tftnhits.config import NHITSConfig, PanelConfig, TrainConfig
from tftnhits.data.features import STATIC
from tftnhits.data.windows import SPLITS, Panel, training_starts
from tftnhits.files import sha256, write_json
from tftnhits.models.baselines import empirical_quantiles
from tftnhits.training.loop import fit, forecast_rows, split_loss
from tftnhits.training.run import WARMUP

SHARES = (0.7, 0.1, 0.2)
LEVELS = (0.1, 0.5, 0.9)
# random windows, theirs' default number a step; averaging is off, since theirs has none
TRAIN = TrainConfig(
    epochs=10, patience=3, batch=1024, origins=1, learning_rate=1e-3, averaging=0.0, mask=0.0
)
OURS, SHIPPED, PATHS = (
    "N-HITS, classic",
    "N-HITS, neuralforecast",
    "N-HITS, neuralforecast on our inputs",
)
START = "N-HITS, neuralforecast on our inputs from our start"
LAST, PAPER = "last value", "N-HITS, as published"
PUBLISHED = {
    96: 0.092,
    192: 0.208,
    336: 0.371,
    720: 0.888,
}  # MSE in the README of the paper's code; not measured here


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Series [T, S], z-scored on the training share, and the last row [3] of each share."""
    rates = pd.read_csv(path).iloc[:, 1:].to_numpy(float)
    train, test = (int(share * len(rates)) for share in (SHARES[0], SHARES[2]))
    ends = np.array([train, len(rates) - test, len(rates)]) - 1
    return (rates - rates[:train].mean(0)) / rates[:train].std(0), ends


def make_panel(z: np.ndarray, ends: np.ndarray, horizon: int) -> Panel:
    """The series as a panel: "return" is the one-day change over one scale for all, their training
    deviation."""
    bars, series = z.shape
    rows = bars + horizon
    scale = float(np.diff(z[: ends[0] + 1], axis=0).std())

    def flat(x: np.ndarray, fill: float) -> np.ndarray:  # [T, S, ...] → [S·(T+H), ...]
        x = np.concatenate([x, np.full((horizon, *x.shape[1:]), fill, x.dtype)])
        return np.ascontiguousarray(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]))

    ahead = np.full((bars, series, horizon), np.nan)
    for h in range(1, horizon + 1):
        ahead[:-h, :, h - 1] = (z[h:] - z[:-h]) / (scale * math.sqrt(h))
    split, first = np.full(bars, 3, np.int8), 0
    for i, end in enumerate(ends):  # an outcome never reaches over a border
        split[first : end - horizon + 1] = i
        first = end  # the last row of a share is the first origin of the next
    change = np.diff(z, axis=0, prepend=z[:1]) / scale
    return Panel(
        config=PanelConfig(horizon=horizon, observed=("return",), known=("has_calendar",)),
        symbols=tuple(f"{i}" for i in range(series)),
        start=np.arange(series) * rows,
        length=np.full(series, bars),
        date=np.full(series * rows, np.datetime64("NaT"), "datetime64[ns]"),
        close=flat(z, np.nan),
        observed=flat(change[..., None].astype(np.float32), 0),
        known=np.zeros((series * rows, 1), np.float32),
        static=np.zeros((series, len(STATIC)), np.float32),
        target=flat(ahead.astype(np.float32), np.nan),
        scale=np.full((series * rows, horizon), scale, np.float32),
        split=flat(np.repeat(split[:, None], series, 1), 3),
        fitted={},
    )


def scores(forecast: np.ndarray, panel: Panel, rows: np.ndarray) -> dict[str, float]:
    """Errors in z-scores of forecast changes [K, H]; zeros repeat the last value."""
    root = np.sqrt(np.arange(1, panel.config.horizon + 1))
    error = panel.target[rows] * panel.scale[rows] * root - forecast
    return {
        "mse": float((error.astype(float) ** 2).mean()),
        "mae": float(np.abs(error).mean(dtype=float)),
    }


def ours(config: NHITSConfig, panel: Panel, rows: np.ndarray, seeds: list[int]) -> list[dict]:
    """Scores of our network, a seed each."""
    found = []
    for seed in seeds:
        begin = time.perf_counter()
        done = fit(config, panel, TrainConfig(**{**TRAIN.to_dict(), "seed": seed}), progress=False)
        median = forecast_rows(done.model, panel, rows)[..., LEVELS.index(0.5)]
        seconds, kept = time.perf_counter() - begin, split_loss(done.model, panel)
        best = next(
            (
                row["epoch"]
                for row in done.history
                if math.isclose(row["valid"], kept, rel_tol=1e-6)
            ),
            0,
        )
        found.append(
            {
                "forecaster": OURS,
                **scores(median, panel, rows),
                "best epoch": best,
                "seconds": seconds,
            }
        )
        print(found[-1], flush=True)
    return found


def theirs(python: str, job: dict, z: np.ndarray) -> dict:
    """What bench/exchange_peer.py measures under another interpreter; raises CalledProcessError if
    it fails."""
    with tempfile.TemporaryDirectory() as folder:
        series, out = Path(folder) / "z.npy", Path(folder) / "out.json"
        np.save(series, z)
        (Path(folder) / "job.json").write_text(json.dumps(job))
        here = str(Path(__file__).with_name("exchange_peer.py"))
        subprocess.run(
            [python, here, str(series), str(Path(folder) / "job.json"), str(out)],
            check=True,
            cwd=folder,
        )
        return json.loads(out.read_text())


def compare(
    options: argparse.Namespace, horizon: int, z: np.ndarray, ends: np.ndarray
) -> tuple[list, list, dict]:
    """All forecasters' scores at one horizon, a row each; the verdicts on ours; and the peers'
    versions."""
    config = NHITSConfig.classic(
        context=options.contexts * horizon,
        horizon=horizon,
        hidden=options.hidden,
        pools=options.pools,
        quantiles=LEVELS,
        dropout=0.0,
        backcast="bars",  # as neuralforecast has it, which it stands beside
    )
    panel, seeds = make_panel(z, ends, horizon), list(range(options.seeds))
    rows = panel.origins(options.split, config.context)
    steps = math.ceil(len(training_starts(panel, config.context, 1, 0)) / TRAIN.batch)
    which = SPLITS.index(options.split)
    job = {
        "config": config.to_dict(),
        "train": TRAIN.to_dict(),
        "seeds": seeds,
        "steps": steps,
        "warmup": WARMUP,
        "scale": float(panel.scale[0, 0]),
        "fitted": int(ends[1]) + 1,
        "valid": int(ends[1] - ends[0]),
        "rows": int(ends[which]) + 1,
        "scored": int(ends[which] - ends[which - 1]),
        "threads": options.threads,
        "base": empirical_quantiles(panel, panel.scale, LEVELS).tolist(),
        "names": {"levels": SHIPPED, "paths": PATHS, "start": START},
    }
    last = scores(np.zeros((1, 1)), panel, rows)
    runs, versions = ours(config, panel, rows, seeds), {}
    if options.peers:
        found = theirs(options.peers, job, z)
        if found["windows"] != len(rows) or not math.isclose(
            found["last"], last["mse"], rel_tol=1e-4
        ):
            raise SystemExit(
                f"At horizon {horizon} the two sides were scored on different windows; "
                f"compare {found}."
            )
        runs, versions = runs + found["rows"], found["versions"]
    table = [{"forecaster": LAST, "horizon": horizon, "windows": len(rows), **last}]
    if options.split == "test" and horizon in PUBLISHED:
        table.append({"forecaster": PAPER, "horizon": horizon, "mse": PUBLISHED[horizon]})
    names = list(dict.fromkeys(run["forecaster"] for run in runs))
    by_name = {name: [run for run in runs if run["forecaster"] == name] for name in names}
    table += [
        {"forecaster": name, "horizon": horizon, **averaged(same)} for name, same in by_name.items()
    ]
    others = names[1:] if len(seeds) > 1 else []  # one seed has no spread
    return table, [verdict(horizon, by_name[OURS], by_name[name]) for name in others], versions


def averaged(runs: list[dict]) -> dict:
    """Mean and standard deviation over seeds."""
    row: dict = {"seeds": len(runs)}
    for key in ("mse", "mae", "best epoch", "seconds"):
        values = [run[key] for run in runs]
        row |= {
            key: statistics.mean(values),
            f"{key} sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
    return row


def verdict(horizon: int, own: list[dict], other: list[dict]) -> dict:
    """Whether the means' difference is smaller than the spread of a difference of two single
    runs."""
    out: dict = {"horizon": horizon, "against": other[0]["forecaster"]}
    for key in ("mse", "mae"):
        a, b = averaged(own), averaged(other)
        spread = math.hypot(a[f"{key} sd"], b[f"{key} sd"])
        difference = a[key] - b[key]
        out |= {
            f"{key} difference": difference,
            f"{key} spread": spread,
            f"{key} equal": abs(difference) < spread,
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the peers installed"
    )
    parser.add_argument("--horizons", default="96,192")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--contexts", type=int, default=2, help="length of the inputs in horizons; the paper has 5"
    )
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument(
        "--pools", type=lambda text: tuple(int(k) for k in text.split(",")), default=(16, 8, 1)
    )
    parser.add_argument(
        "--split", choices=SPLITS[1:], default="test", help="valid while you choose settings"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="data/results/exchange.json")
    options = parser.parse_args()
    horizons = [int(h) for h in options.horizons.split(",")]
    if any(h % k for h in horizons for k in options.pools):
        parser.error(
            "each of --horizons must be a multiple of each of --pools: of other knots, "
            "ours round up, theirs down"
        )
    torch.set_num_threads(options.threads)
    z, ends = read(options.data)
    begin, table, verdicts = time.perf_counter(), [], []
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    for horizon in horizons:
        rows, found, peer = compare(options, horizon, z, ends)
        table, verdicts, versions = table + rows, verdicts + found, versions | peer
    record = {
        "protocol": "eight series, 70/10/20 in time, z-scored on train, every test window, "
        "median forecast",
        "split": options.split,
        "data": sha256(options.data.read_bytes())[:16],
        "versions": versions,
        "settings": {
            "context": f"{options.contexts} horizons",
            "hidden": options.hidden,
            "pools": options.pools,
            "levels": LEVELS,
            "loss": "pinball over 1/sqrt(step)",
            "train": TRAIN.to_dict(),
            "warmup": WARMUP,
        },
        "threads": options.threads,
        "seconds": time.perf_counter() - begin,
        "rows": table,
        "equal": "the means differ by less than the root of the sum of the seeds' variances",
        "verdicts": verdicts,
    }
    write_json(options.out, record)
    print(tables.exchange(record), *verdicts, options.out, sep="\n")


if __name__ == "__main__":
    main()
