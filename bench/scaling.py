"""What more markets and wider networks buy: each network at four widths on four sets of markets.

    python bench/scaling.py --corpus FOLDER… --sets djia=djia us100=us_daily:100 us800=us_daily all
    [--widths 16,32,64,128] [--networks tft,nhits] [--seeds 0,1] [--chunks 4096] [--epochs 2]
    [--jobs 2] [--out data/results/scaling.json]

A set is a name and the markets that it trains on, from corpus.toml, with how many symbols at most
(no markets: all of them). Every network is trained as bench/pretrain.py trains its seeds, on as
many chunks of each set, and judged by its own set's validation; its row has the validation loss
over that of the volatility scale on every market of the corpus. What --out holds is not trained
again, so that a killed run goes on. Where torch sees a GPU, that trains.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch
from corpus import market_losses, markets_in, read_corpus, restricted
from pretrain import NETWORKS, SHORTER, TRAINING

from tftnhits.config import with_horizon
from tftnhits.device import device_of
from tftnhits.files import read_json, write_json
from tftnhits.training.loop import fit

TEMPERATURE = 0.5

JUDGED = 10_000  # validation origins of a market, about


def trained(
    kind: str, width: int, chosen: str, seed: int, corpus: tuple, chunks: int, epochs: int
) -> dict:
    """A row of the table."""
    torch.set_num_threads(1)
    chunks = chunks // SHORTER if kind == "nhits" else chunks
    panel = read_corpus(*corpus, chunks, TEMPERATURE, JUDGED)  # mapped, so that it is not copied
    name, _, markets = chosen.partition("=")
    own = restricted(panel, [market for market in markets.split(",") if market])
    config = with_horizon(replace(NETWORKS[kind], hidden=width), panel.config.horizon)
    settings = replace(TRAINING, epochs=epochs, patience=epochs, seed=seed)
    found = fit(config, own, settings, progress=False)
    row = {"network": kind, "hidden": width, "set": name, "seed": seed}
    device = device_of()
    row["device"] = torch.cuda.get_device_name(0) if device == "cuda" else device.upper()
    row |= {"markets": market_losses(found.model.to(device), panel)}
    row |= {"weights": sum(p.numel() for p in found.model.parameters())}
    row |= {"seconds": found.seconds, "rate": float(np.median([h["rate"] for h in found.history]))}
    return row | {"origins": len(own.origins("train"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--sets", required=True, nargs="+", metavar="NAME=MARKETS")
    parser.add_argument("--widths", default="16,32,64,128")
    parser.add_argument("--networks", default="tft,nhits")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("data/results/scaling.json"))
    options = parser.parse_args()
    markets = markets_in(options.corpus, options.horizon)
    corpus = (markets, options.work / "panel")
    read_corpus(*corpus, options.chunks, TEMPERATURE, JUDGED)
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
    settings = {"chunks": options.chunks, "epochs": options.epochs, "temperature": TEMPERATURE}
    every = (joblib.delayed(trained)(*t, corpus, options.chunks, options.epochs) for t in tasks)
    for row in work(every):
        rows.append(row)
        write_json(options.out, {"settings": settings, "rows": rows})
        mean = np.mean(list(row["markets"].values()))
        print(f"{row['network']} {row['hidden']} on {row['set']}: {mean:.4f}", flush=True)


if __name__ == "__main__":
    main()
