"""Train a model on a corpus of markets, several seeds of each network, that could be shipped.

    python bench/pretrain.py --corpus FOLDER… [--seeds 0,1,2] [--students 0]
    [--horizon 20] [--chunks 4096] [--temperature 0.5]
    [--specialists MARKET…] [--jobs 2] [--out build/pretrain/model]
    [--backend dask --scheduler tcp://host:8786 | --backend ray --address host:6379]

Each FOLDER holds Parquet files of bars and a corpus.toml that names them (bench/corpus.py). The
seeds of both networks teach one of each that forecasts as their average does, its median drawn to
the market's drift: the first of `--students` is shipped whatever the others reach. Of the markets
of `--specialists`, bars of their kind are taught by as many seeds that learnt these markets alone.
Validation is the mean over markets of a network's loss over that of the volatility scale.

Each training has one thread and keeps its state in the work folder after each epoch, a few minutes
of --chunks chunks (N-HITS a quarter of them, since it soon knows dates by heart), so that a second
call goes on where a killed one ended; the teachers, or the specialists if there are any, are left
in its folder teachers. The output folder gets the predictor (its calibration is taught by some
symbols of each market, over validation and test years, which trains nothing) and ModelScope's two
files, and the results file says what was trained. bench/djia.py and bench/holdout.py score it by
--model.

A cluster trains a network on each of its workers. They see the same folders, and find the modules
of bench/ (PYTHONPATH=bench where they are started).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import torch
from corpus import Market, losses_of, market_losses, markets_in, read_corpus, restricted
from teachers import KINDS, Average, Drift, Teacher, blend, kinds_of
from torch import nn

import tftnhits as tn
from tftnhits.apps.cluster import cluster
from tftnhits.apps.hub import add_modelscope_files
from tftnhits.config import (
    ENSEMBLE_WEIGHTS,
    STEPS,
    BoostingConfig,
    NHITSConfig,
    TFTConfig,
    TrainConfig,
    with_horizon,
)
from tftnhits.data.windows import Panel
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import combine
from tftnhits.models.checkpoint import Part, save_part
from tftnhits.models.store import network_of, network_part
from tftnhits.training.loop import fit, forecast_rows
from tftnhits.training.trials import log_trial

# Wider than a preset, with smaller steps: chosen on validation over markets
NETWORKS = {"tft": TFTConfig(hidden=32, dropout=0.2), "nhits": NHITSConfig(hidden=128, dropout=0.3)}
BOOSTING = BoostingConfig(rows=300_000, min_leaf=1_000)
TRAINING = TrainConfig(patience=8, learning_rate=3e-3, averaging=0.995)
SHORTER = 4  # of TFT's chunks N-HITS gets one in so many: it knows the training dates by heart soon
TAUGHT = 10_000  # validation or test origins of a market that teach the calibration, about


@dataclass(frozen=True)
class Corpus:
    """What every training of a call shares."""

    markets: tuple
    folder: Path
    chunks: int
    temperature: float
    log: str
    only: tuple[str, ...] = ()  # markets that are learnt, by specialists

    def panel(self) -> Panel:
        """Mapped from the files that the first call wrote."""
        path = self.folder / "panel"
        every = read_corpus(self.markets, path, self.chunks, self.temperature)
        return restricted(every, self.only)


def train(
    kind: str, seed: int, corpus: Corpus, teachers: Sequence[nn.Module] = ()
) -> tuple[Part, dict]:
    """One network with one seed, by outcomes or by `teachers`, and the record of its training.

    As plain data: Dask takes modules apart, LSTMs among them, and can't send them.
    """
    torch.set_num_threads(1)
    brief = kind == "nhits" and not teachers
    corpus = replace(corpus, chunks=corpus.chunks // SHORTER) if brief else corpus
    panel = corpus.panel()
    config = with_horizon(NETWORKS[kind], panel.config.horizon)
    config = replace(config, dropout=0.0) if teachers else config
    settings = replace(TRAINING, seed=seed)
    what = "-student" if teachers else "-special" if corpus.only else ""
    label = f"{kind}{what}-{seed}"
    state = corpus.folder / f"{label}.state"
    epochs: list[dict] = []  # of this call
    found = fit(
        config, panel, settings, state, progress=False, watch=epochs.append, teachers=teachers
    )
    losses = market_losses(found.model, panel)
    record = {
        "network": kind,
        "seed": seed,
        "valid": float(np.mean(list(losses.values()))),
        "markets": losses,
        "epochs": len(found.history),
        "stopped": found.stopped,
        "seconds": sum(h["seconds"] for h in found.history),
        "rate": float(np.median([h["rate"] for h in found.history])),
        "weights": sum(p.numel() for p in found.model.parameters()),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    if epochs:  # a finished training that is read again is no new trial
        log_trial(
            corpus.log,
            "corpus pretrain",
            type(found.model).__name__,
            config,
            settings,
            record["valid"],
            seed,
            panel=panel.config,
            markets=losses,
            temperature=corpus.temperature,
            chunks=corpus.chunks,
            teachers=len(teachers),
            only=corpus.only,
        )
    print(f"{label}: validation {record['valid']:.5f}, {record['epochs']} epochs", flush=True)
    return network_part(found.model), record


def run(
    jobs: int | None,
    seeds: Sequence[int],
    corpora: Sequence[Corpus],
    teachers: Sequence[nn.Module] = (),
) -> list[dict[str, list[tuple[nn.Module, dict]]]]:
    """`train` both networks by each seed on each corpus, side by side; a dict by network each."""
    tasks = [(c, kind, seed) for kind in KINDS for c in range(len(corpora)) for seed in seeds]
    done = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(train)(kind, seed, corpora[c], teachers) for c, kind, seed in tasks
    )
    found: list[dict] = [{kind: [] for kind in KINDS} for _ in corpora]
    for (c, kind, _), one in zip(tasks, done, strict=True):
        part, record = one
        found[c][kind].append((network_of(part), record))
    return found


def ensemble_losses(networks: dict[str, nn.Module], panel: Panel) -> dict[str, float]:
    """By market, what `market_losses` tells of both networks together, not calibrated."""
    panel = panel.first(STEPS)
    rows, _ = panel.judged("valid", networks["tft"].config.context)
    each = {kind: forecast_rows(model, panel, rows) for kind, model in networks.items()}
    return losses_of(combine(each, ENSEMBLE_WEIGHTS), panel, rows)


def predictor_of(members: dict[str, nn.Module], corpus: Corpus) -> tn.Predictor:
    """The networks with boosting, calibrated on some symbols of each market."""
    panel = corpus.panel()
    config = with_horizon(BOOSTING, panel.config.horizon)
    boosting = tn.Boosting(config).fit(panel)
    some = replace(panel, mixture=replace(panel.mixture, judged=TAUGHT))
    return tn.Predictor.from_members({**members, "boosting": boosting}, some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--students", default="0", help="seeds of the distilled networks")
    parser.add_argument("--chunks", type=int, default=4096, help="of 64 origins, an epoch")
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--specialists", nargs="*", default=[], metavar="MARKET")
    parser.add_argument("--jobs", type=int, help="default: 2, or a whole cluster")
    parser.add_argument("--backend", default="loky", choices=("loky", "dask", "ray"))
    parser.add_argument("--scheduler", "--address", dest="address", help="of a cluster that runs")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", type=Path, default=Path("build/pretrain/model"))
    parser.add_argument("--results", default="build/pretrain/pretrained.json")
    options = parser.parse_args()
    jobs = options.jobs or (2 if options.backend == "loky" else None)
    with cluster(options.backend, jobs, options.address, ("tftnhits", "corpus")) as jobs:
        pretrain(options, jobs)


def pretrain(options: argparse.Namespace, jobs: int) -> None:
    """Teachers, students and the predictor, with `jobs` trainings side by side."""
    begin = time.perf_counter()
    corpus = Corpus(
        markets=tuple(markets_in([one.absolute() for one in options.corpus], options.horizon)),
        folder=options.work.absolute(),
        chunks=options.chunks,
        temperature=options.temperature,
        log=os.path.abspath(options.log),
    )
    panel = corpus.panel()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    students = [int(seed) for seed in options.students.split(",")]
    # 1. the teachers
    special = [replace(corpus, only=tuple(options.specialists))] if options.specialists else []
    corpora = [corpus, *special]
    done = run(jobs, seeds, corpora)
    models = [{k: [model for model, _ in pairs] for k, pairs in one.items()} for one in done]
    save_teachers(models[-1], options.work / "teachers")
    # 2. their students; validation chose the teachers' weights and median
    drift = Drift.of(panel)
    chosen = [blend(one, each.panel(), drift) for one, each in zip(models, corpora, strict=True)]
    averages = [Average(one, how["chosen"], drift) for one, how in zip(models, chosen, strict=True)]
    theirs = kinds_of(panel, drift, options.specialists)
    teacher = Teacher(averages[0], averages[1] if special else None, theirs)
    (taught,) = run(jobs, students, [corpus], [teacher])
    # 3. the predictor
    networks = {kind: pairs[0][0] for kind, pairs in taught.items()}
    predictor = predictor_of(networks, corpus)
    predictor.manifest["corpus"] = trained_on(panel, corpus.markets)
    predictor.save(options.out)
    add_modelscope_files(options.out)
    record = {
        "seeds": seeds,
        "data": panel.digest(),
        "corpus": described(panel),
        "horizon": predictor.horizon,
        "context": predictor.context,
        "runs": records(done[0]),
        "specialists": [record for one in done[1:] for record in records(one)],
        "students": records(taught),
        "blend": chosen[0],
        "specialists' blend": chosen[1:],
        "drift": {"kinds": drift.kinds.tolist(), "gain": drift.gain.tolist()},
        "shipped": ensemble_losses(networks, panel),
        "seconds": time.perf_counter() - begin,
    }
    write_json(options.results, record)
    print(f"{options.out}; {options.results}")


def records(done: dict[str, list[tuple[nn.Module, dict]]]) -> list[dict]:
    """What `run` tells of each training."""
    return [record for pairs in done.values() for _, record in pairs]


def trained_on(panel: Panel, markets: Sequence[Market]) -> dict[str, dict]:
    """By market, the first and last day of its training and its symbols, for bench/holdout.py."""
    every = np.array([name.partition("/")[2] for name in panel.symbols], object)
    told = {}
    for m, market in enumerate(markets):
        own = np.flatnonzero(panel.mixture.market == m)
        told[market.name] = {
            "begins": str(panel.date[panel.start[own]].min())[:10],
            "train_end": market.config.train_end,
            "symbols": every[own].tolist(),
        }
    return told


def save_teachers(teachers: dict[str, list[nn.Module]], folder: Path) -> None:
    """For bench/djia.py, as a predictor's folder keeps its networks."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        kind: [save_part(folder, f"{kind}-{i}", network_part(m)) for i, m in enumerate(models)]
        for kind, models in teachers.items()
    }
    write_json(folder / "teachers.json", parts)


def described(panel: Panel) -> list[dict]:
    """Of each market its symbols, training origins, share of an epoch, and first and last bar."""
    mixture, rows = panel.mixture, panel.origins("train")
    origins = np.bincount(mixture.market[panel.symbol_of(rows)], minlength=len(mixture.names))
    table = []
    for m, name in enumerate(mixture.names):
        symbols = np.flatnonzero(mixture.market == m)
        last = panel.start[symbols] + panel.length[symbols] - 1
        table.append(
            {
                "market": name,
                "symbols": len(symbols),
                "bars": int(panel.length[symbols].sum()),
                "origins": int(origins[m]),
                "share": float(mixture.chunks[m] / mixture.chunks.sum()),
                "from": str(panel.date[panel.start[symbols]].min())[:10],
                "to": str(panel.date[last].max())[:10],
            }
        )
    return table


if __name__ == "__main__":
    main()
