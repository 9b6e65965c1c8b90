"""Time to quality: seconds of training until a validation loss is reached, beside neuralforecast.

    python bench/quality.py [DATA] [--peers PYTHON] [--only RUN,RUN] [--limit 120] [--threads 2]
        [--out data/results/quality.json]

DATA is the folder of the DJIA's bars (protocol.py says which) or a file of others; without it the
bundled stocks are taken. Every run trains on the training split, with the same nine levels, and is
judged by the same loss: the mean pinball loss × 10⁴ of the cumulative log return over five steps,
from every THIN-th validation origin. The clock runs over training alone: it stands while a network
is judged, and what is made before the first step (features, data sets) is on no clock. PYTHON is an
interpreter with the peers; bench/quality_peer.py says what they are given. A run ends with its
steps, or after --limit seconds of training or of being judged. The result is written after each;
--only repeats some of a finished result's runs (as `ours TFT quick`) and keeps the others.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import beside
import numpy as np
import torch
from protocol import djia_panel

import tftnhits as tn
from tftnhits.config import SCORE_LEVELS, NHITSConfig, TFTConfig, TrainConfig, preset
from tftnhits.data.windows import Panel, gather, training_starts
from tftnhits.files import write_json
from tftnhits.models.baselines import empirical_quantiles
from tftnhits.models.store import build
from tftnhits.training.loop import forecast_rows, protocol_loss
from tftnhits.training.run import Run

CONTEXT, HORIZON = 60, 5
THIN = 7  # seven gives each symbol other dates
GROWTH, LOOKS = 1.2, 16  # steps between two looks grow so, up to one of so many parts of the run
TFT, NHITS, _, TRAIN = preset("quick")
SLOW = replace(TRAIN, learning_rate=1e-3)  # the peers' default
WIDE = TFTConfig.classic(hidden=128, heads=4, dropout=0.1)  # as neuralforecast's by default
# as many weights as the peers' 512 wide, and like theirs a backcast of a value a bar
FLAT = NHITSConfig.classic(hidden=640, dropout=0.0, backcast="bars")
OURS: dict[str, tuple[Any, TrainConfig]] = {
    "ours TFT quick": (TFT, TRAIN),
    "ours TFT as the peer's defaults": (WIDE, SLOW),
    "ours N-HITS quick": (NHITS, TRAIN),
    "ours N-HITS as the peer's defaults": (FLAT, SLOW),
}
THEIRS = tuple(
    f"neuralforecast {network} {setting}"
    for network in ("TFT", "N-HITS")
    for setting in ("small", "middle", "defaults", "ours")
)


@dataclass
class Curve:
    """Validation loss by seconds of training: the clock stands while `judge` is asked."""

    steps: int  # of the whole run
    limit: float  # seconds
    judge: Callable[[], float] = float
    points: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    judging: float = 0.0  # seconds that it took
    windows: int = 0
    done: int = 0
    due: int = 0  # the step after which the next look is

    def start(self, judge: Callable[[], float]) -> None:
        """Judge the network before its first step, and start the clock."""
        self.judge = judge
        self._look()
        self.mark = time.perf_counter()

    def step(self, windows: int) -> bool:
        """Count a step, judge if it is time to; true once all are done or the time is up."""
        self.seconds += time.perf_counter() - self.mark
        self.done, self.windows = self.done + 1, self.windows + windows
        over = self.done >= self.steps or max(self.seconds, self.judging) >= self.limit
        if self.done >= self.due or over:
            self._look()
        self.mark = time.perf_counter()
        return over

    def _look(self) -> None:
        begin = time.perf_counter()
        self.points.append((round(self.seconds, 4), round(self.judge(), 4)))
        self.judging += time.perf_counter() - begin
        ahead = min(math.ceil(self.done * (GROWTH - 1)), math.ceil(self.steps / LOOKS))
        self.due = self.done + max(ahead, 1)

    def row(self, parameters: int) -> dict:
        """What was measured: the whole curve, the rate, the lowest loss and when it was reached."""
        best, at = min((loss, seconds) for seconds, loss in self.points)
        row = {"parameters": parameters, "steps": self.done, "seconds": self.seconds}
        row["judging"] = self.judging
        row["ended"] = "steps" if self.done >= self.steps else "time"
        row |= {"windows_per_second": self.windows / self.seconds, "best": best, "best_at": at}
        return row | {"curve": self.points}


def make_task(data: Path | None) -> tuple[Panel, np.ndarray]:
    """The panel, and the validation origins [K] by which all are judged."""
    if data is not None and data.is_dir():
        panel = djia_panel(data)
    else:
        panel = tn.make_panel(tn.load_bars(data or "stocks"), tn.PanelConfig())
    return panel, panel.origins("valid", CONTEXT)[::THIN]


def train_ours(config, train: TrainConfig, panel: Panel, rows: np.ndarray, limit: float) -> dict:
    """The learning curve of the averaged weights, which are what training returns."""
    config = replace(config, quantiles=SCORE_LEVELS)
    torch.manual_seed(train.seed)
    model, levels = build(config, panel.inputs), torch.tensor(SCORE_LEVELS)
    scale = np.asarray(panel.scale, float)
    model.base.copy_(torch.as_tensor(empirical_quantiles(panel, scale, SCORE_LEVELS)))
    panel = panel.with_tensors()
    chunks = len(training_starts(panel, config.context, train.origins, 0))
    steps = math.ceil(chunks / train.batch)
    run = Run(model, train, steps)
    curve = Curve(run.total, limit)
    model.train()
    curve.start(lambda: protocol_loss(forecast_rows(run.average, panel, rows), panel, rows))
    over, step = False, 0
    while not over:
        epoch, part = divmod(step, steps)
        if part == 0:
            starts = training_starts(panel, config.context, train.origins, epoch)
        chosen = starts[part * train.batch : (part + 1) * train.batch]
        batch = gather(panel, chosen, config.context, train.origins, "train")
        run.step(batch, levels, step)
        over = curve.step(int(torch.isfinite(batch.target[..., 0]).sum()))
        step += 1
    settings = {"network": config.to_dict(), "train": train.to_dict()}
    return {**curve.row(sum(p.numel() for p in model.parameters())), "settings": settings}


def train_theirs(name: str, options: argparse.Namespace) -> dict:
    """A run under the peers' interpreter; raises CalledProcessError if it fails."""
    given = [*name.split()[1:], "--limit", options.limit, "--threads", options.threads]
    given += ["--data", options.data] if options.data else []
    return beside.elsewhere(options.peers, "quality_peer.py", *given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="folder of the DJIA's bars, or a file")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the peers installed"
    )
    beside.add_only(parser)
    parser.add_argument("--limit", type=float, default=120, help="seconds of training, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="data/results/quality.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    panel, rows = make_task(options.data)
    names = [*OURS, *(THEIRS if options.peers else ())]
    chosen, found = beside.plan(options.only, names, options.out)
    record = {
        "data": beside.data_name(options.data),
        "symbols": len(panel.symbols),
        "validation origins": len(rows),
        "threads": options.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name in chosen:
        if name in OURS:
            row = train_ours(*OURS[name], panel, rows, options.limit)
        else:
            row = train_theirs(name, options)
        found[name] = {"name": name, "network": name.split()[1], **row}
        record["rows"] = [found[known] for known in names if known in found]
        write_json(options.out, record)  # after each, so that what is measured stays
        print(f"{name:40s} {row['best']:.3f} after {row['best_at']:.1f} s", flush=True)
    print(beside.quality(record), options.out, sep="\n")


if __name__ == "__main__":
    main()
