"""The DJIA protocol: train on 2006–2013, choose on 2014–2015, score 2016–2017, the shipped model
against all others.

    python bench/djia.py --data FOLDER [--model data/pretrained] [--teachers FOLDER] [--rivals FILE]
        [--out data/results/djia.json]

FOLDER of --data holds the bars, which are not bundled (protocol.py says which). The networks and
the gradient boosting are those of a predictor's folder, and the seeds that taught them those of
another (both by bench/pretrain.py); their configuration was chosen on validation. Baselines are
fitted here, and FILE holds forecasts of other packages (bench/rivals.py). Losses are mean pinball
losses × 10⁴ of the cumulative log return over the protocol's nine quantile levels and five steps.
All forecasters are calibrated online in the same way, over validation and then over the test years,
for the intervals. Verdicts are on the test years: Diebold-Mariano against HAR, the 90% model
confidence set.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tables
from protocol import TRAIN_END, VALID_END, add_data, djia_bars, seen_by
from tables import REGIMES, SHIPPED

import tftnhits as tn
from tftnhits.config import ENSEMBLE_WEIGHTS, SCORE_LEVELS
from tftnhits.data.windows import Panel
from tftnhits.evaluation import trading
from tftnhits.evaluation.metrics import (
    by_group,
    hac_variance,
    pinball_loss,
    random_walk_mae,
    scores,
    terciles,
)
from tftnhits.evaluation.verdicts import confidence_set, date_losses, diebold_mariano
from tftnhits.files import read_json, write_json
from tftnhits.forecast.conformal import Conformal
from tftnhits.forecast.ensemble import Network, combine, learn_weights
from tftnhits.models.baselines import BASELINES, Baseline
from tftnhits.models.checkpoint import load_part
from tftnhits.models.store import network_of
from tftnhits.training.trials import count_trials

BLOCK = 10  # dates: mean length of the bootstrap's blocks
CONTEXT, STEPS = 60, 5  # every forecaster answers for the same origins
BENCHMARK, RAW = "HAR", "ensemble, not calibrated"
WANTED = (0.035, 0.1, 0.5, 0.9, 0.965)
LABELS = {"tft": "TFT", "nhits": "N-HITS"}


@dataclass
class Forecaster:
    """Quantiles [K, H, Q] of log returns at `levels`, over validation and test origins; a run a
    seed."""

    levels: tuple[float, ...]
    runs: list[np.ndarray]
    seeds: int | None = None  # trained, whether averaged or a run each; None without any
    calibrated: bool = False  # already, as the shipped ensemble's are


@dataclass
class Task:
    """The origins of the protocol and what came true."""

    bars: pd.DataFrame
    panel: Panel
    rows: np.ndarray  # [K] validation origins first
    actual: np.ndarray  # [K, H]
    valid: np.ndarray  # [K] bool

    @classmethod
    def make(cls, data: Path) -> Task:
        """From the bars in a folder."""
        bars = djia_bars(data)
        config = tn.PanelConfig(train_end=TRAIN_END, valid_end=VALID_END)
        panel = tn.make_panel(bars, config)
        parts = [panel.origins(split, CONTEXT) for split in ("valid", "test")]
        rows = np.concatenate(parts)
        valid = np.arange(len(rows)) < len(parts[0])
        return cls(bars, panel, rows, panel.outcomes(rows), valid)

    def online(
        self, found: np.ndarray, levels: tuple[float, ...], wanted: tuple[float, ...]
    ) -> np.ndarray:
        """[K, H, W] at nominal levels, calibrated at each origin by the outcomes known then."""
        date = self.panel.date[self.rows]
        due = self.panel.date[self.rows[:, None] + 1 + np.arange(self.actual.shape[1])]
        return Conformal.start(self.actual.shape[1]).run(
            found, levels, self.actual, date, wanted, due
        )[0]


def read_teachers(folder: Path) -> dict[str, list]:
    """Networks by kind, a seed each."""
    parts = read_json(folder / "teachers.json")
    return {
        kind: [network_of(load_part(folder, record)) for record in records]
        for kind, records in parts.items()
    }


def networks(predictor: tn.Predictor, teachers: dict, task: Task) -> dict[str, Forecaster]:
    """Each network by seed, averaged and distilled, and the ensembles of each; one is as
    shipped."""
    levels, kinds = tuple(predictor.levels), list(ENSEMBLE_WEIGHTS)
    seen = seen_by(predictor, task.bars, task.panel, task.rows)
    runs = {k: [Network(model).quantiles(*seen) for model in teachers[k]] for k in kinds}
    mean = {k: np.mean(v, axis=0) for k, v in runs.items()}
    taught = {k: predictor.members[k].quantiles(*seen) for k in kinds}
    pairs = [combine(dict(zip(kinds, pair)), predictor.weights) for pair in zip(*runs.values())]
    shipped = combine(taught, predictor.weights)
    n = len(pairs)
    found = {f"{LABELS[k]}, one seed": Forecaster(levels, v, n) for k, v in runs.items()}
    found |= {f"{LABELS[k]}, seeds averaged": Forecaster(levels, [v], n) for k, v in mean.items()}
    found |= {f"{LABELS[k]}, distilled": Forecaster(levels, [v], n) for k, v in taught.items()}
    found["ensemble, one seed"] = Forecaster(levels, pairs, n)
    found["ensemble, seeds averaged"] = Forecaster(levels, [combine(mean, predictor.weights)], n)
    found[RAW] = Forecaster(levels, [shipped], n)
    found[SHIPPED] = Forecaster(levels, [task.online(shipped, levels, levels)], n, calibrated=True)
    return found


def weighted(
    found: dict[str, Forecaster], task: Task
) -> tuple[dict[str, Forecaster], dict[str, dict]]:
    """Ensembles of other weights, of the distilled networks: equal, learnt on validation, and with
    HAR as a third."""
    parts = {label: found[f"{label}, distilled"] for label in LABELS.values()} | {
        BENCHMARK: found[BENCHMARK]
    }
    levels, own = parts["TFT"].levels, {k: f.runs[0] for k, f in parts.items()}
    nets = {k: own[k] for k in LABELS.values()}
    known = {k: v[task.valid] for k, v in own.items()}
    weights = {
        "equal weights": dict.fromkeys(nets, 1 / len(nets)),
        "learned weights": learn_weights(
            {k: known[k] for k in nets}, task.actual[task.valid], levels
        ),
        "learned weights, HAR too": learn_weights(known, task.actual[task.valid], levels),
    }
    seeds = parts["TFT"].seeds
    return {
        f"ensemble, {k}": Forecaster(levels, [combine(own, w)], seeds) for k, w in weights.items()
    }, weights


def rivals(path: str, task: Task) -> dict[str, Forecaster]:
    """Other packages' forecasts from the same origins, by seed and averaged; raises ValueError if
    one is missing."""
    frame, steps = pd.read_parquet(path), task.actual.shape[1]
    symbol = np.asarray(task.panel.symbols, object)[task.panel.symbol_of(task.rows)]
    index = pd.MultiIndex.from_arrays(
        [
            np.repeat(symbol, steps),
            np.repeat(task.panel.date[task.rows], steps),
            np.tile(np.arange(1, steps + 1), len(symbol)),
        ]
    )
    columns = [c for c in frame.columns if c[:1].isdigit()]
    out: dict[str, Forecaster] = {}
    for (name, _), part in frame.groupby(["forecaster", "seed"], observed=True):
        part = part.assign(
            origin=part["origin"].astype("datetime64[ns]"), symbol=part["symbol"].astype(object)
        )
        cells = part.set_index(["symbol", "origin", "step"])[columns].reindex(index).to_numpy()
        if not np.isfinite(cells).all():
            raise ValueError(
                f"{path} lacks {name} from {index[~np.isfinite(cells).all(1)][0]}; make it again."
            )
        forecaster = out.setdefault(str(name), Forecaster(tuple(float(c) for c in columns), []))
        forecaster.runs.append(cells.reshape(len(symbol), steps, len(columns)))
    found: dict[str, Forecaster] = {}
    for name, f in out.items():
        found[f"{name}, one seed"] = Forecaster(f.levels, f.runs, len(f.runs))
        found[f"{name}, seeds averaged"] = Forecaster(
            f.levels, [np.mean(f.runs, axis=0)], len(f.runs)
        )
    return found


def row(name: str, forecaster: Forecaster, task: Task) -> tuple[dict, np.ndarray]:
    """A forecaster's scores and its test losses [K, H], means over seeds; all else is of its first
    run."""
    pick = [forecaster.levels.index(level) for level in SCORE_LEVELS]
    test, panel = ~task.valid, task.panel
    date, naive = panel.date[task.rows], random_walk_mae(panel)[panel.symbol_of(task.rows)]
    losses = [
        1e4 * pinball_loss(run[..., pick], task.actual, SCORE_LEVELS) for run in forecaster.runs
    ]
    parts = {
        "test 1": (test, 1),
        "test 1-5": (test, 5),
        "valid 1": (~test, 1),
        "valid 1-5": (~test, 5),
    }
    out: dict = {"forecaster": name, "seeds": forecaster.seeds}
    for key, (chosen, steps) in parts.items():
        values = [float(loss[chosen, :steps].mean()) for loss in losses]
        out |= {
            key: float(np.mean(values)),
            f"{key} sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        }
    first = forecaster.runs[0]
    intervals = (
        task.online(first, forecaster.levels, WANTED)
        if not forecaster.calibrated
        else np.stack([first[..., forecaster.levels.index(q)] for q in WANTED], -1)
    )
    out["raw"] = scores(first[test], forecaster.levels, task.actual[test], date[test], naive[test])
    regime = np.array(REGIMES)[terciles(panel.scale[task.rows[test], 0])]
    groups = [
        by_group(intervals[test], WANTED, task.actual[test], group)
        for group in (np.full(test.sum(), "all"), regime)
    ]
    out["calibrated"] = pd.concat(groups).to_dict("index")
    return out, np.mean(losses, axis=0)[test]


def verdicts(rows: list[dict], losses: dict[str, np.ndarray], task: Task) -> dict:
    """Adds each row's p-values; returns the tests between the ensembles and of superior ability."""
    date, steps = task.panel.date[task.rows[~task.valid]], task.actual.shape[1]
    # one of each kind, seeds averaged (ours: distilled) where there are seeds, as forecast and as
    # calibrated online
    own = {
        f"{label}, {kind}"
        for label in (*LABELS.values(), "ensemble")
        for kind in ("seeds averaged", "distilled")
    }
    field = {k: v for k, v in losses.items() if "one seed" not in k}
    leaders = {k: v for k, v in field.items() if k not in own and "weights" not in k and k != RAW}
    raw = {k: v for k, v in field.items() if k not in own and "weights" not in k and k != SHIPPED}
    sets = {"set": leaders, "set, not calibrated": raw, "set of all": field}
    found_sets = {key: confidence_set(v, date)["p_value"] for key, v in sets.items()}
    for found in rows:
        name = found["forecaster"]
        test = diebold_mariano(losses[name], losses[BENCHMARK], date, 2 * steps - 1)
        found["dm p against HAR"] = None if name == BENCHMARK else test.p_value
        for key, best in found_sets.items():
            found[key] = float(best[name]) if name in best else None
    ensembles = [k for k in losses if k.startswith("ensemble, ") and "weights" in k]
    pairs = {k: diebold_mariano(losses[RAW], losses[k], date, 2 * steps - 1) for k in ensembles}
    return {
        "weights": {
            k: {"difference": t.difference, "p two-sided": 2 * min(t.p_value, 1 - t.p_value)}
            for k, t in pairs.items()
        },
        "superior to HAR, p": superior_ability(leaders, BENCHMARK, date),
        "superior to the shipped, p": superior_ability(leaders, SHIPPED, date),
    }


def superior_ability(
    losses: dict[str, np.ndarray], benchmark: str, date: np.ndarray, reps: int = 2000
) -> float:
    """p-value of "none of the others beats `benchmark`" (Hansen 2005, consistent), from date means.

    Differences are divided by their HAC deviation, which arch leaves to its caller.
    """
    from arch.bootstrap import SPA

    frame = date_losses(losses, date)
    excess = frame.drop(columns=benchmark).sub(frame[benchmark], axis=0)
    deviation = [np.sqrt(hac_variance(v.to_numpy(), BLOCK)) for _, v in excess.items()]
    test = SPA(np.zeros(len(frame)), excess / deviation, block_size=BLOCK, reps=reps, seed=0)
    test.compute()
    return max(float(test.pvalues["consistent"]), 1 / (reps + 1))  # draws can't tell of less


def rule(forecaster: Forecaster, task: Task, trials: int) -> dict:
    """The trading rule on the test years, after costs, and its Sharpe ratio deflated by the number
    of trials."""
    test, panel = ~task.valid, task.panel
    symbol = np.asarray(panel.symbols, object)[panel.symbol_of(task.rows)][test]
    date = panel.date[task.rows][test]
    trades = trading.run_rule(
        symbol, date, forecaster.runs[0][test], forecaster.levels, task.actual[test]
    )
    found = {name: trading.summary(table) for name, table in trades.items()}
    found["rule"] |= {
        "trials": trials,
        "deflated": trading.deflated_sharpe(trades["rule"]["net"].to_numpy(), trials),
    }
    return found


def all_origins(predictor: tn.Predictor, data: Path, days: int = 500) -> dict:
    """How long forecasts from each of the last `days` bars of every symbol take, bars to frame."""
    bars = djia_bars(data).groupby("symbol").tail(days + CONTEXT - 1).reset_index(drop=True)
    begin = time.perf_counter()
    frame = predictor.predict(bars, STEPS, origins="all").frame
    seconds = time.perf_counter() - begin
    return {
        "symbols": frame["symbol"].nunique(),
        "forecasts": len(frame) // STEPS,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(parser)
    parser.add_argument(
        "--model", default=None, help="a predictor's folder; by default the shipped one"
    )
    parser.add_argument(
        "--teachers",
        default=Path("build/pretrain/teachers"),
        type=Path,
        help="the seeds, as bench/pretrain.py left them",
    )
    parser.add_argument(
        "--rivals", help="a Parquet of other packages' forecasts, by bench/rivals.py"
    )
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", default="data/results/djia.json")
    options = parser.parse_args()
    begin, task = time.perf_counter(), Task.make(options.data)
    predictor = tn.Predictor.load(options.model)
    teachers = read_teachers(options.teachers)
    levels = tuple(predictor.levels)
    found = {
        name: Forecaster(
            levels, [Baseline(name, task.panel, levels).quantiles(task.panel, task.rows)]
        )
        for name in BASELINES
    }
    seen = seen_by(predictor, task.bars, task.panel, task.rows)
    boosting = predictor.members["boosting"].quantiles(*seen)
    found["gradient boosting"] = Forecaster(levels, [boosting])
    found |= networks(predictor, teachers, task)
    ensembles, weights = weighted(found, task)
    found |= ensembles | (rivals(options.rivals, task) if options.rivals else {})
    rows, losses = [], {}
    for name, forecaster in found.items():
        line, losses[name] = row(name, forecaster, task)
        rows.append(line)
    record = {
        "protocol": "train to 2013-12-31, validation 2014-2015, test 2016-2017; "
        "pinball x 1e4, nine levels",
        "seeds": len(teachers["tft"]),
        "origins": {"valid": int(task.valid.sum()), "test": int((~task.valid).sum())},
        "data": task.panel.digest(),
        "weights": weights,
        "verdicts": verdicts(rows, losses, task),
        "trading": rule(found[SHIPPED], task, count_trials(options.log, "DJIA")),
        "rows": rows,
        "all origins": all_origins(predictor, options.data),
        "seconds": time.perf_counter() - begin,
    }
    record = tables.plain(record)
    write_json(options.out, record)
    print(tables.leaderboard(record), tables.intervals(record), tables.weights(record), sep="\n\n")
    print(record["verdicts"], record["trading"], options.out, sep="\n")


if __name__ == "__main__":
    main()
