"""The shipped model on bars that nobody here has seen, against baselines fitted on these bars.

    python bench/holdout.py FOLDER… [--model data/pretrained] [--share 0.5] [--out FILE.json]

FOLDER holds Parquet files, each of one market; a file, or a name that `load_bars` takes, is one
market, too. The baselines are fitted on the first `--share` of its dates, all are scored on the
rest: the mean pinball loss × 10⁴ of the cumulative log return, over the protocol's nine levels, by
the first five steps; one-sided Diebold-Mariano tests against HAR, errors clustered by date; and
what intervals held, by third of the volatility. HAR is the textbook
one (Corsi 2009, on range volatilities): least squares on the market's own first part, without
season or own history. The shipped model is shown as it forecasts and with its raw quantiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from protocol import seen_by
from tables import REGIMES

import tftnhits as tn
from tftnhits.config import QUANTILES, SCORE_LEVELS, PanelConfig
from tftnhits.data import features as F
from tftnhits.data import scale as V
from tftnhits.data.names import PRICES
from tftnhits.data.windows import Panel, panel_of
from tftnhits.errors import MissingDependency, TftnhitsError
from tftnhits.evaluation.metrics import pinball_loss, terciles
from tftnhits.evaluation.verdicts import diebold_mariano
from tftnhits.files import write_json
from tftnhits.models.baselines import GARCH, Baseline, empirical_quantiles

GAP = 0.02  # share of the dates between what baselines are fitted on and what is scored
SHIPPED, RAW, SCALE = "shipped", "shipped, not calibrated", "shipped scale"
HAR, LOCAL = "HAR", "our scale, fitted here"
STEPS = 5  # that are scored
BATCH = 40  # symbols forecast at a time, which bounds memory
INTERVALS = {"93": (0.035, 0.965), "80": (0.1, 0.9)}
SCORED = [QUANTILES.index(level) for level in SCORE_LEVELS]


def split_dates(bars: pd.DataFrame, share: float) -> tuple[str, str]:
    """The last day of the first `share` of the dates, and the day after which all are scored."""
    days = np.unique(bars["date"].dt.normalize().dropna())
    if len(days) < 60:
        raise SystemExit("The bars have fewer than 60 dates; a hold-out takes more.")
    ends = (share, min(share + GAP, 1.0))
    return tuple(str(days[int(end * (len(days) - 1))])[:10] for end in ends)


def textbook_har(bars: pd.DataFrame, panel: Panel) -> np.ndarray:
    """Volatility [R] of a pooled HAR with six free coefficients, fitted on the training split."""
    inputs, ahead = np.full((len(panel.close), 6), np.nan), np.full(len(panel.close), np.nan)
    logs = np.log(bars[[*PRICES]].to_numpy(float))
    first = np.cumsum(panel.length) - panel.length
    for start, size, at in zip(panel.start, panel.length, first, strict=True):
        price = dict(zip(PRICES, logs[at : at + size].T[:, None], strict=True))
        parts = F.bar_parts(price)
        variance = parts["variance"]
        averages = V._log_averages(variance, parts["return"] ** 2)[0, :, :-1]
        inputs[start : start + size] = np.column_stack([np.ones(size), averages])
        mean = pd.Series(variance[0])[::-1].rolling(V.HAR_STEPS).mean()[::-1].shift(-1)
        ahead[start : start + size] = 0.5 * np.log(mean)
    rows = panel.origins("train", 20)
    rows = rows[np.isfinite(ahead[rows]) & np.isfinite(inputs[rows]).all(1)]
    har = np.linalg.lstsq(inputs[rows], ahead[rows], rcond=None)[0]
    return np.exp(inputs @ har)


def forecasts(bars: pd.DataFrame, panel: Panel, rows: np.ndarray, model: Any) -> dict[str, Any]:
    """Quantiles [K, H, 11] of log returns from the origins `rows` [K], by forecaster."""
    root = np.sqrt(np.arange(1, panel.config.horizon + 1))
    volatility = textbook_har(bars, panel)
    shape = empirical_quantiles(panel, volatility, QUANTILES)
    out = {HAR: (volatility[rows, None] * root)[..., None] * shape}
    for name in ("HAR", "EWMA", GARCH, "random walk"):
        label = LOCAL if name == "HAR" else name
        try:
            out[label] = Baseline(name, panel, QUANTILES).quantiles(panel, rows)
        except MissingDependency as error:
            print(f"{name} is left out: {error}")
    seen = seen_by(model, bars, panel, rows)
    out[SCALE] = model.walk.quantiles(*seen)
    out[RAW] = model.quantiles(*seen)
    out[SHIPPED] = calibrated(bars, panel, rows, model)
    return out


def calibrated(bars: pd.DataFrame, panel: Panel, rows: np.ndarray, model: Any) -> np.ndarray:
    """The shipped model's forecasts [K, H, 11] as `predict` makes them, as of each origin."""
    columns = [f"{level:g}" for level in QUANTILES]
    out = np.full((len(rows), STEPS, len(columns)), np.nan)
    names = np.array(panel.symbols, object)
    for first in range(0, len(names), BATCH):
        chosen = [*names[first : first + BATCH]]
        frame = model.predict(bars, STEPS, origins="all", symbols=chosen).frame
        for name, part in frame.groupby("symbol", sort=False):
            s = panel.symbols.index(name)
            own = np.flatnonzero(panel.symbol_of(rows) == s)
            cube = part[columns].to_numpy(float).reshape(-1, STEPS, len(columns))
            made = panel.start[s] + panel.length[s] - len(cube) + np.arange(len(cube))
            place = rows[own] - made[0]
            known = place >= 0
            close = panel.close[rows[own[known]], None, None]
            out[own[known]] = np.log(cube[place[known]] / close)
    return out


def seen_in_training(panel: Panel, rows: np.ndarray, model: Any) -> str:
    """A sentence on a symbol that the model was trained on until after a scored origin, or none."""
    symbol, day = panel.symbol_of(rows), panel.date[rows]
    for kind, market in model.manifest.get("corpus", {}).items():
        shared = np.isin(symbol, np.flatnonzero(np.isin(panel.symbols, market["symbols"])))
        begin, end = (np.datetime64(market[name]) for name in ("begins", "train_end"))
        early = shared & (begin <= day) & (day <= end)  # a coin may be called as a stock is
        if early.any():
            first = np.flatnonzero(early)[0]
            return (
                f"{panel.symbols[symbol[first]]} of {str(day[first])[:10]} may be what the model "
                f"learnt from ({kind} to {market['train_end']}); give other symbols or later bars."
            )
    return ""


def scored(name: str, quantiles: np.ndarray, actual: np.ndarray, third: np.ndarray) -> dict:
    """Losses by step and what intervals held, of one forecaster."""
    loss = 1e4 * pinball_loss(quantiles[..., SCORED], actual, SCORE_LEVELS)  # [K, H]
    row: dict[str, Any] = {"forecaster": name, "loss": float(loss.mean())}
    row["by step"] = loss.mean(0).tolist()
    for label, (low, high) in INTERVALS.items():
        lower = quantiles[..., QUANTILES.index(low)]
        upper = quantiles[..., QUANTILES.index(high)]
        inside = (actual >= lower) & (actual <= upper)
        row[f"{label}% holds"] = float(inside.mean())
        row[f"{label}% holds, by third"] = [float(inside[third == i].mean()) for i in range(3)]
    return row


def score(source: str, model: Any, share: float) -> dict[str, Any]:
    """All forecasters on one market."""
    bars = tn.load_bars(source)
    if bars["date"].isna().any():
        raise SystemExit(f"{source} has no dates; a hold-out is split by them.")
    train_end, valid_end = split_dates(bars, share)
    config = PanelConfig(horizon=STEPS, train_end=train_end, valid_end=valid_end)
    panel = panel_of(bars, config)
    rows = panel.origins("test", model.context)
    if not len(rows):
        raise SystemExit(f"{source} has no origin after {valid_end} with its outcomes; give more.")
    if overlap := seen_in_training(panel, rows, model):
        raise SystemExit(f"{source}: {overlap}")
    actual = panel.outcomes(rows)
    found = forecasts(bars, panel, rows, model)
    third = terciles(panel.scale[rows, 0])
    losses = {k: pinball_loss(q[..., SCORED], actual, SCORE_LEVELS) for k, q in found.items()}
    table = []
    for name, quantiles in found.items():
        row = scored(name, quantiles, actual, third)
        test = diebold_mariano(losses[name], losses[HAR], panel.date[rows], 2 * STEPS - 1)
        row["to HAR"] = row["loss"] / (1e4 * float(losses[HAR].mean()))
        row["p"] = None if name == HAR else float(test.p_value)
        table.append(row)
    claims = [r.coverage for r in model.predict(bars).reports.values() if r.coverage is not None]
    return {
        "bars": Path(str(source)).stem,
        "symbols": len(panel.symbols),
        "origins": len(rows),
        "fitted to": train_end,
        "scored": [str(panel.date[rows].min())[:10], str(panel.date[rows].max())[:10]],
        "claimed coverage": float(np.mean(claims)) if claims else None,
        "claims": len(claims),
        "rows": table,
    }


def markets_of(sources: list[str]) -> list[str]:
    """The Parquet files of those that are folders, and the others as they are."""
    found = []
    for source in sources:
        files = sorted(map(str, Path(source).glob("*.parquet"))) if Path(source).is_dir() else None
        if files == []:
            raise SystemExit(f"{source} has no Parquet file; give a folder of bars.")
        found += files or [source]
    return found


def shown(market: dict[str, Any]) -> str:
    """A market's table for the terminal."""
    head = f"{market['bars']}: {market['symbols']} symbols, {market['origins']:,} origins, "
    head += f"{market['scored'][0]} to {market['scored'][1]}"
    lines = [head]
    for row in sorted(market["rows"], key=lambda row: row["loss"]):
        thirds = " ".join(
            f"{name} {100 * share:.1f}" for name, share in zip(REGIMES, row["93% holds, by third"])
        )
        p = "–" if row["p"] is None else f"{row['p']:.2g}"
        lines.append(
            f"  {row['forecaster']:24s} {row['loss']:8.3f}  to HAR {row['to HAR']:.4f}  p {p:8s}"
            f"  93% {100 * row['93% holds']:.1f} ({thirds})  80% {100 * row['80% holds']:.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", metavar="FOLDER")
    parser.add_argument("--model", default=None, help="a predictor's folder; the shipped one")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model, markets = tn.Predictor.load(options.model), []
    for source in markets_of(options.sources):
        try:
            markets.append(score(source, model, options.share))
        except TftnhitsError as error:
            raise SystemExit(f"{source}: {error}") from error
        print(shown(markets[-1]), flush=True)
    if options.out:
        write_json(options.out, {"share": options.share, "markets": markets})


if __name__ == "__main__":
    main()
