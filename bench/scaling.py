"""What more markets and wider networks buy: each network at four widths on four sets of markets.

    python bench/scaling.py --corpus FOLDER… --sets djia=djia us100=us_daily:100 us800=us_daily all
    [--widths 16,32,64,128] [--networks tft,nhits] [--seeds 0] [--chunks 2048] [--epochs 2]
    [--jobs 2] [--out data/results/scaling.json]

A set is a name and the markets that it trains on, from corpus.toml, with how many symbols at most
(no markets: all of them). Every network is trained on as many chunks and judged by its own set's
validation; its row has the validation loss over that of the volatility scale on every market of the
corpus. What --out holds is not trained again, so that a killed run goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch
from corpus import market_losses, markets_in, read_corpus, restricted

from tftnhits.config import TrainConfig, preset, with_horizon
from tftnhits.files import read_json, write_json
from tftnhits.training.loop import fit

TEMPERATURE = 0.7
TRAIN = TrainConfig(learning_rate=3e-3, averaging=0.995)
JUDGED = 10_000  # validation origins of a market, about


def trained(kind: str, width: int, chosen: str, seed: int, corpus: tuple, epochs: int) -> dict:
    """A row of the table."""
    torch.set_num_threads(1)
    panel = read_corpus(*corpus)  # mapped: to send it to a process would copy it
    tft, nhits, *_ = preset("quick")
    name, _, markets = chosen.partition("=")
    own = restricted(panel, [market for market in markets.split(",") if market])
    config = with_horizon({"tft": tft, "nhits": nhits}[kind], panel.config.horizon)
    settings = replace(TRAIN, epochs=epochs, patience=epochs, seed=seed)
    found = fit(replace(config, hidden=width), own, settings, progress=False)
    row = {"network": kind, "hidden": width, "set": name, "seed": seed}
    row |= {"markets": market_losses(found.model, panel)}
    row |= {"weights": sum(p.numel() for p in found.model.parameters())}
    return row | {"seconds": found.seconds, "origins": len(own.origins("train"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--sets", required=True, nargs="+", metavar="NAME=MARKETS")
    parser.add_argument("--widths", default="16,32,64,128")
    parser.add_argument("--networks", default="tft,nhits")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("data/results/scaling.json"))
    options = parser.parse_args()
    markets = markets_in(options.corpus, options.horizon)
    corpus = (markets, options.work / "panel", options.chunks, TEMPERATURE, JUDGED)
    read_corpus(*corpus)
    rows = read_json(options.out)["rows"] if options.out.exists() else []
    known = {(row["network"], row["hidden"], row["set"], row["seed"]) for row in rows}
    tasks = [
        (kind, width, chosen, seed)
        for seed in map(int, options.seeds.split(","))
        for width in map(int, options.widths.split(","))  # the dear ones last
        for chosen in options.sets
        for kind in options.networks.split(",")
        if (kind, width, chosen.partition("=")[0], seed) not in known
    ]
    work = joblib.Parallel(options.jobs, return_as="generator_unordered")
    for row in work(joblib.delayed(trained)(*task, corpus, options.epochs) for task in tasks):
        rows.append(row)
        settings = {"chunks": options.chunks, "epochs": options.epochs, "temperature": TEMPERATURE}
        write_json(options.out, {"settings": settings, "rows": rows})
        mean = np.mean(list(row["markets"].values()))
        print(f"{row['network']} {row['hidden']} on {row['set']}: {mean:.4f}", flush=True)


if __name__ == "__main__":
    main()
