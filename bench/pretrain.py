"""Train a model on a corpus of markets, several seeds of each network, that could be shipped.

    python bench/pretrain.py --corpus FOLDER… [--preset cloud] [--seeds 0,1,2] [--students 0]
    [--horizon 20] [--chunks 4096] [--temperature 0.7] [--jobs 2] [--out build/pretrain/model]

Each FOLDER holds Parquet files of bars and a corpus.toml that names them (bench/corpus.py). The
seeds of both networks teach one of each that forecasts as their average does, its median drawn to
the market's drift: the first of `--students` is shipped whatever the others reach. Validation is
the mean over markets of a network's loss over that of the volatility scale.

Each training has one thread and keeps its state in the work folder after each epoch, a few minutes
of --chunks chunks, so that a second call goes on where a killed one ended; the teachers are left in
its folder teachers. The output folder gets the
predictor (its calibration is taught by some symbols of each market, over validation and test years,
which trains nothing) and ModelScope's two files, and the results file says what was trained.
bench/djia.py and bench/holdout.py score it by --model. To ship it, in place of data/pretrained, is
a decision: what data/pretrained holds was made by an earlier version of this command, from the
DJIA's bars alone, and is better on US stocks than what this one has made so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from corpus import Market, losses_of, market_losses, markets_in, read_corpus
from torch import Tensor, nn

import tftnhits as tn
from tftnhits.apps.hub import add_modelscope_files
from tftnhits.config import ENSEMBLE_WEIGHTS, SEEDS, STEPS, preset, with_horizon
from tftnhits.data.windows import Batch, Panel
from tftnhits.files import write_json
from tftnhits.forecast.ensemble import combine
from tftnhits.models.checkpoint import save_part
from tftnhits.models.store import network_part
from tftnhits.training.loop import fit, forecast_rows
from tftnhits.training.trials import log_trial

KINDS = ("tft", "nhits")
SHORTER = 4  # of TFT's chunks N-HITS gets one in so many: it knows the training dates by heart soon
WEIGHTS = (0.35, 0.5, 0.65)  # of N-HITS among the teachers
SHARES = (0.0, 0.5, 1.0)  # of the way of their median to the drift
TAUGHT = 10_000  # validation or test origins of a market that teach the calibration, about


@dataclass(frozen=True)
class Corpus:
    """What every training of a call shares."""

    markets: tuple
    folder: Path
    chunks: int
    temperature: float
    preset: str
    log: str

    def panel(self) -> Panel:
        """Mapped from the files that the first call wrote."""
        return read_corpus(self.markets, self.folder / "panel", self.chunks, self.temperature)


def train(
    kind: str, seed: int, corpus: Corpus, teachers: Sequence[nn.Module] = ()
) -> tuple[nn.Module, dict]:
    """One network with one seed, by outcomes or by `teachers`, and the record of its training."""
    torch.set_num_threads(1)
    brief = kind == "nhits" and not teachers
    corpus = replace(corpus, chunks=corpus.chunks // SHORTER) if brief else corpus
    panel = corpus.panel()
    tft, nhits, _, settings = preset(corpus.preset)
    config = with_horizon({"tft": tft, "nhits": nhits}[kind], panel.config.horizon)
    config = replace(config, dropout=0.0) if teachers else config
    settings = replace(settings, seed=seed)
    label = f"{kind}-{corpus.preset}{'-student' * bool(teachers)}-{seed}"
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
        )
    print(f"{label}: validation {record['valid']:.5f}, {record['epochs']} epochs", flush=True)
    return found.model, record


def run(
    jobs: int, tasks: Sequence[tuple[str, int]], corpus: Corpus, teachers: dict[str, list]
) -> dict[str, list[tuple[nn.Module, dict]]]:
    """`train` for each (network, seed), in processes side by side; by network."""
    done = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(train)(kind, seed, corpus, teachers.get(kind, ())) for kind, seed in tasks
    )
    return {kind: [one for one in done if one[1]["network"] == kind] for kind in KINDS}


@dataclass(frozen=True)
class Drift:
    """What a bar of each kind of market gains, in units of its scale: all that is known ahead."""

    kinds: np.ndarray  # [K, F] their static inputs
    gain: np.ndarray  # [K]

    @classmethod
    def of(cls, panel: Panel) -> Drift:
        """Medians of training, shrunk by their standard error over dates (James & Stein 1961)."""
        kinds, kind = np.unique(panel.static, axis=0, return_inverse=True)
        rows, gain = panel.origins("train"), []
        symbols = kind.reshape(-1)[panel.symbol_of(rows)]
        for k in range(len(kinds)):
            own = rows[symbols == k]
            target = pd.Series(panel.target[own, STEPS - 1] / np.sqrt(STEPS))
            ups = np.sign(target).groupby(panel.date[own]).mean()  # of those less downs, by date
            error = ups.std() * np.sqrt(STEPS / len(ups))  # outcomes of STEPS dates overlap
            gain.append(target.median() * max(0.0, 1 - (error / ups.mean()) ** 2))
        return cls(kinds, np.array(gain))

    def at(self, static: Tensor, steps: int) -> Tensor:
        """[B, H] for static inputs [B, F], as the nearest kind, in units of scale · √step."""
        nearest = torch.cdist(static, torch.as_tensor(self.kinds, device=static.device)).argmin(1)
        gain = torch.as_tensor(self.gain, dtype=static.dtype, device=static.device)[nearest]
        return gain[:, None] * torch.arange(1, steps + 1, device=static.device).sqrt()


def drawn(quantiles: Tensor, drift: Tensor, share: float) -> Tensor:
    """Quantiles [B, N, H, Q] with their median moved by `share` of the way to `drift` [B, H]."""
    middle = quantiles.shape[-1] // 2
    return quantiles + share * (drift[:, None, :, None] - quantiles[..., middle : middle + 1])


class Teacher(nn.Module):
    """All seeds of both networks as one, its median drawn to drift; else as the first of `kind`."""

    def __init__(self, networks: dict[str, list[nn.Module]], kind: str, chosen: dict, drift: Drift):
        super().__init__()
        self.networks = nn.ModuleDict({k: nn.ModuleList(v) for k, v in networks.items()})
        self.kind, self.drift = kind, drift
        # as buffers, since what teaches is told apart by its tensors
        self.register_buffer("weight", torch.tensor([1 - chosen["weight"], chosen["weight"]]))
        self.register_buffer("share", torch.tensor(chosen["share"]))
        self.register_buffer("gain", torch.as_tensor(drift.gain))
        self.config, self.inputs = networks[kind][0].config, networks[kind][0].inputs

    def forward(self, batch: Batch) -> Any:
        """The output of the first network of its kind, with the quantiles of all."""
        found: dict[str, list] = {k: [m(batch) for m in v] for k, v in self.networks.items()}
        means = [torch.stack([one.quantiles for one in found[k]]).mean(0) for k in KINDS]
        quantiles = self.weight[0] * means[0] + self.weight[1] * means[1]
        drift = self.drift.at(batch.static, quantiles.shape[-2])
        return found[self.kind][0]._replace(quantiles=drawn(quantiles, drift, self.share))


def blend(teachers: dict[str, list[nn.Module]], panel: Panel, drift: Drift) -> dict:
    """N-HITS' weight among the teachers and how far their median is drawn to the drift.

    By the mean over markets.
    """
    panel = panel.first(STEPS)
    rows, _ = panel.judged("valid", teachers["nhits"][0].config.context)
    unit = panel.scale[rows] * np.sqrt(np.arange(1, STEPS + 1))  # [K, h]
    gain = drift.at(torch.as_tensor(panel.static[panel.symbol_of(rows)]), STEPS).numpy() * unit
    mean = {
        kind: sum(forecast_rows(model, panel, rows) for model in models) / len(models)
        for kind, models in teachers.items()
    }
    table = []
    for weight in WEIGHTS:
        both = (1 - weight) * mean["tft"] + weight * mean["nhits"]
        for share in SHARES:
            moved = drawn(torch.as_tensor(both[:, None]), torch.as_tensor(gain), share)[:, 0]
            losses = losses_of(moved.numpy(), panel, rows)
            row = {"weight": weight, "share": share, "markets": losses}
            table.append(row | {"valid": float(np.mean(list(losses.values())))})
    chosen = min(table, key=lambda row: row["valid"])
    each = {kind: losses_of(quantiles, panel, rows) for kind, quantiles in mean.items()}
    return {"chosen": chosen, "tried": table, "averaged": each}


def ensemble_losses(networks: dict[str, nn.Module], panel: Panel) -> dict[str, float]:
    """By market, what `market_losses` tells of both networks together, not calibrated."""
    panel = panel.first(STEPS)
    rows, _ = panel.judged("valid", networks["tft"].config.context)
    each = {kind: forecast_rows(model, panel, rows) for kind, model in networks.items()}
    return losses_of(combine(each, ENSEMBLE_WEIGHTS), panel, rows)


def predictor_of(members: dict[str, nn.Module], corpus: Corpus) -> tn.Predictor:
    """The networks with boosting, calibrated on some symbols of each market."""
    panel = corpus.panel()
    config = with_horizon(preset(corpus.preset)[2], panel.config.horizon)
    boosting = tn.Boosting(config).fit(panel)
    some = replace(panel, mixture=replace(panel.mixture, judged=TAUGHT))
    return tn.Predictor.from_members({**members, "boosting": boosting}, some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--preset", default="cloud")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--seeds", default=",".join(map(str, range(SEEDS["cloud"]))))
    parser.add_argument("--students", default="0", help="seeds of the distilled networks")
    parser.add_argument("--chunks", type=int, default=4096, help="of 64 origins, an epoch")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--log", default="data/results/trials.jsonl")
    parser.add_argument("--out", type=Path, default=Path("build/pretrain/model"))
    parser.add_argument("--results", default="build/pretrain/pretrained.json")
    options = parser.parse_args()
    begin = time.perf_counter()
    corpus = Corpus(
        markets=tuple(markets_in(options.corpus, options.horizon)),
        folder=options.work,
        chunks=options.chunks,
        temperature=options.temperature,
        preset=options.preset,
        log=options.log,
    )
    panel = corpus.panel()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    students = [int(seed) for seed in options.students.split(",")]
    # 1. the teachers
    tasks = [(kind, seed) for kind in KINDS for seed in seeds]
    done = run(options.jobs, tasks, corpus, {})
    teachers = {kind: [model for model, _ in pairs] for kind, pairs in done.items()}
    save_teachers(teachers, options.work / "teachers")
    # 2. their students, whose weights and median validation chose
    tasks = [(kind, seed) for kind in KINDS for seed in students]
    drift = Drift.of(panel)
    chosen = blend(teachers, panel, drift)
    one = {kind: [Teacher(teachers, kind, chosen["chosen"], drift)] for kind in KINDS}
    taught = run(options.jobs, tasks, corpus, one)
    # 3. the predictor
    networks = {kind: pairs[0][0] for kind, pairs in taught.items()}
    predictor = predictor_of(networks, corpus)
    predictor.manifest["corpus"] = trained_on(panel, corpus.markets)
    predictor.save(options.out)
    add_modelscope_files(options.out)
    record = {
        "preset": options.preset,
        "seeds": seeds,
        "data": panel.digest(),
        "corpus": described(panel),
        "horizon": predictor.horizon,
        "context": predictor.context,
        "runs": [record for pairs in done.values() for _, record in pairs],
        "students": [record for pairs in taught.values() for _, record in pairs],
        "blend": chosen,
        "drift": {"kinds": drift.kinds.tolist(), "gain": drift.gain.tolist()},
        "shipped": ensemble_losses(networks, panel),
        "seconds": time.perf_counter() - begin,
    }
    write_json(options.results, record)
    print(f"{options.out}; {options.results}")


def trained_on(panel: Panel, markets: Sequence[Market]) -> dict[str, dict]:
    """By market, the last day of its training and its symbols, for bench/holdout.py."""
    every = np.array([name.partition("/")[2] for name in panel.symbols], object)
    return {
        market.name: {
            "train_end": market.config.train_end,
            "symbols": every[panel.mixture.market == m].tolist(),
        }
        for m, market in enumerate(markets)
    }


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
