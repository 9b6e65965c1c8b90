"""The TFT paper's volatility table: realised variance of 31 stock indices, five sessions ahead.

    python bench/volatility.py --data PATH [--seeds 0,1,2] [--threads 2] [--out
    data/results/volatility.json] python bench/volatility.py --data PATH --choose      looks at
    validation only, to compare settings

PATH is a Parquet file with the columns symbol, date, return_pct (close to close) and rv5 (realised
variance of five-minute returns) from the Oxford-Man Institute's realized library (Heber, Lunde,
Shephard & Sheppard 2009). Protocol of Lim et al. 2021 (Temporal Fusion Transformers, the volatility
experiment): train before 2016, validation 2016-2017, test 2018-01-01 to 2019-06-28; target log rv5
at steps 1-5; q-risk = 2 Σ pinball / Σ |y|, pooled over indices, origins and steps. On strict
windows all 252 + 5 sessions lie in the test years. An origin stands at the end of its calendar
date: inputs hold what any market reported up to that date. Sessions and holidays count as known in
advance. The network learns the departure from a linear model, pooled log-HAR (Corsi 2009) of the
calendar-adjusted series with leverage and market terms; all of it is fitted before 2016, and
settings were chosen on validation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from tftnhits.config import PanelConfig, TFTConfig, TrainConfig
from tftnhits.data.calendars import next_sessions
from tftnhits.data.windows import Panel
from tftnhits.errors import DataError
from tftnhits.files import write_json
from tftnhits.training.loop import fit, forecast_rows

CONTEXT, STEPS, LEVELS = 252, range(1, 6), (0.1, 0.5, 0.9)
ENDS = {"train": "2015-12-31", "valid": "2017-12-31", "test": "2019-06-28"}
NETWORK = TFTConfig.classic(
    context=30, horizon=len(STEPS), hidden=16, heads=2, dropout=0.3, quantiles=LEVELS
)
TRAIN = TrainConfig(epochs=5, patience=5, batch=8, origins=128, mask=0.0)
PUBLISHED = {
    "TFT": (0.039, 0.020),
    "MQRNN": (0.042, 0.021),
    "Seq2Seq": (0.042, 0.021),
}  # Lim et al. 2021
REGIONS = {  # the rest are European
    "us": ("sp500", "dji", "nasdaq", "rut"),
    "asia": ("aord", "hsi", "kospi", "n225", "ssec", "sti", "bsesn", "nifty50", "kse"),
    "other": ("tsx", "mxx", "bvsp"),
}
STALE, RIDGE, CLIP = (
    5,
    3.0,
    8.0,
)  # dates that a closed market's last value stands; calendar penalty; input limit
LINEAR = (
    *(
        "day",
        "ewma_0.5",
        "ewma_0.15",
        "ewma_0.05",
        "long",
        "shock",
        "size",
        "fall_0.5",
        "fall_0.15",
        "world_day",
    ),
    *("world_0.5", "world_0.15", "world_fall", "us_day", "us_fall", "own_day", "own_0.15"),
)  # inputs of the linear model; the network has the others too
OBSERVED = (
    *LINEAR,
    "fall_0.05",
    "overnight",
    "returns",
    "noise_0.05",
    "noise_0.015",
    "world_0.05",
    "world_shock",
    "spread",
    *("us_0.15", "own_0.5", "own_fall", "error", "world_error_0.1", "world_error_0.03"),
)
KNOWN = (
    "weekday_sin",
    "weekday_cos",
    "gap",
    "gap_after",
    "open_us",
    "open_europe",
    "first_friday",
    "effect",
)


class VolatilityPanel(Panel):
    """A panel with static inputs of its own: the region, and how noisy the index is."""

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        return {"observed": OBSERVED, "known": KNOWN, "static": ("us", "asia", "europe", "noise")}


class Task(NamedTuple):
    """The panel, and what its targets are made of: actual = base + unit · √step · target."""

    panel: Panel
    unit: float
    actual: np.ndarray  # [R, H] log rv5
    base: np.ndarray  # [R, H] the linear model's
    simple: dict[str, np.ndarray]  # baseline -> [R, H]
    rows: dict[str, np.ndarray]  # origins by split, and of the strict windows


def read(path: str) -> pd.DataFrame:
    """All indices' sessions, each followed by H weekdays ahead; raises DataError on values that
    can't be used."""
    bars = pd.read_parquet(path)
    if missing := {"symbol", "date", "return_pct", "rv5"} - set(bars):
        raise DataError(f"{path} has no column {min(missing)!r}; give the realized library's bars.")
    if not (np.isfinite(bars["return_pct"]) & (bars["rv5"] > 0)).all():
        raise DataError(f"{path} has rows without a return or a positive rv5; leave them out.")
    parts = []
    for name, group in bars.sort_values(["symbol", "date"]).groupby("symbol"):
        ahead = next_sessions(pd.DatetimeIndex(group["date"]), len(STEPS))
        parts += [group, pd.DataFrame({"symbol": name, "date": ahead.astype(bars["date"].dtype)})]
    out = pd.concat(parts, ignore_index=True)
    code = {name: region for region, names in REGIONS.items() for name in names}
    region = out["symbol"].map(code).fillna("europe")
    return out.assign(level=np.log(out["rv5"]), move=out["return_pct"] / 100, region=region)


def shift(d: pd.DataFrame, x: pd.Series, steps: int) -> pd.Series:
    """x so many sessions ago, of the same index; ahead if negative."""
    return x.groupby(d["symbol"]).shift(steps)


def decayed(d: pd.DataFrame, x: pd.Series, alpha: float) -> pd.Series:
    """Exponential average of an index's values up to now."""
    return x.groupby(d["symbol"]).transform(lambda values: values.ewm(alpha=alpha).mean())


def by_date(d: pd.DataFrame, x: pd.Series, stale: int = 0) -> pd.DataFrame:
    """x by date and index; the value of a closed market stands for so many dates."""
    bars = d["level"].notna()
    table = d[bars].assign(x=x[bars]).pivot(index="date", columns="symbol", values="x")
    return table.ffill(limit=stale) if stale else table


def regional(d: pd.DataFrame, table: pd.DataFrame) -> dict[str, pd.Series]:
    """Means of a table by date over the US, Asia, Europe, the world and each row's own region, at
    its date."""
    region = d.groupby("symbol")["region"].first()
    means = {r: table[region.index[region == r]].mean(axis=1) for r in ("us", "asia", "europe")}
    found = {
        name: d["date"].map(mean) for name, mean in {**means, "world": table.mean(axis=1)}.items()
    }
    own = np.select([d["region"] == r for r in means], [found[r] for r in means], found["world"])
    return {**found, "own": pd.Series(own, d.index)}


def calendar(d: pd.DataFrame) -> dict[str, pd.Series]:
    """What is known of each row's date in advance."""
    date, friday = d["date"].dt, d["date"].dt.day_of_week == 4
    gap = (d["date"] - shift(d, d["date"], 1)).dt.days.fillna(1)
    after, start = shift(d, gap, -1).fillna(1), np.where(date.day_of_week == 0, 3, 1)
    out = {f"weekday_{i}": date.day_of_week == i for i in range(4)}
    out |= {f"month_{i}": date.month == i for i in range(1, 13)}
    out |= {
        "gap": gap.clip(upper=10),
        "gap_after": after.clip(upper=10),
        "month_day": date.day / 31,
    }
    out |= {"after_holiday": gap > start, "before_holiday": after > np.where(friday, 3, 1)}
    out |= {
        "first_friday": friday & (date.day <= 7),
        "third_friday": friday & date.day.between(15, 21),
    }
    out["new_year"] = ((date.month == 12) & (date.day >= 23)) | (
        (date.month == 1) & (date.day <= 2)
    )
    trades = by_date(d, d["level"]).notna()
    share = regional(
        d, trades.astype(float).where(trades.cummax())
    )  # of the indices that have begun
    out |= {f"open_{k}": v.fillna(1.0) for k, v in share.items() if k != "own"}
    return {k: v.astype(float) for k, v in out.items()}


def features(d: pd.DataFrame, level: pd.Series) -> tuple[dict[str, pd.Series], pd.Series]:
    """Inputs of the calendar-adjusted `level`, and the slow average that they are relative to."""
    mean = {a: decayed(d, level, a) for a in (0.5, 0.15, 0.05, 0.015, 0.004)}
    slow, variance = mean[0.015], decayed(d, np.exp(level), 0.15)
    shock = (d["move"] / np.sqrt(shift(d, variance, 1))).clip(-6, 6)
    squares = (level - shift(d, mean[0.15], 1)) ** 2
    out = {
        "day": level - mean[0.15],
        "long": slow - mean[0.004],
        "shock": shock,
        "size": shock.abs(),
    }
    out |= {
        "ewma_0.5": mean[0.5] - mean[0.15],
        "ewma_0.15": mean[0.15] - slow,
        "ewma_0.05": mean[0.05] - slow,
    }
    out |= {f"fall_{a}": decayed(d, shock.clip(upper=0), a) for a in (0.5, 0.15, 0.05)}
    out |= {f"noise_{a}": np.log(decayed(d, squares, a) + 1e-3) for a in (0.05, 0.015)}
    out["overnight"] = np.sqrt((d["move"] ** 2 / np.exp(level)).clip(upper=20))
    out["returns"] = 0.5 * np.log((decayed(d, d["move"] ** 2, 0.15) + 1e-8) / variance)
    relative = {"day": level - slow, **{str(a): mean[a] - slow for a in (0.5, 0.15, 0.05)}}
    for name, x in relative.items():
        table = by_date(d, x, STALE)
        out |= {f"{k}_{name}": v for k, v in regional(d, table).items()}
        if name == "day":
            out["spread"] = d["date"].map(table.std(axis=1, ddof=0))
    shocks = regional(d, by_date(d, shock))
    out |= {f"{k}_fall": v.fillna(0).clip(upper=0) for k, v in shocks.items()}
    return out | {"world_shock": shocks["world"]}, slow


def standard(inputs: dict[str, pd.Series], names: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
    """[R, F], of mean zero and deviation one over the training rows; what is unknown is zero."""
    x = np.stack([inputs[name] for name in names], -1)
    center, spread = np.nanmean(x[rows], 0), np.nanstd(x[rows], 0)
    return np.clip(np.nan_to_num((x - center) / np.maximum(spread, 1e-3)), -CLIP, CLIP)


def least_squares(
    x: np.ndarray, target: np.ndarray, rows: np.ndarray, ridge: float = 0.0
) -> np.ndarray:
    """Fitted values [R, …], from the training rows; the intercept is first and not penalised. x [R,
    F]."""
    x = np.c_[np.ones(len(x)), x]
    penalty = ridge * np.diag(np.r_[0.0, np.ones(x.shape[1] - 1)])
    return x @ np.linalg.solve(x[rows].T @ x[rows] + penalty, x[rows].T @ target[rows])


def calendar_effect(
    d: pd.DataFrame, known: dict[str, pd.Series], surprise: np.ndarray, rows: np.ndarray
) -> pd.Series:
    """What the calendar adds to each row's log variance: ridge regression, by region, of the
    surprises of its date."""
    x, out = standard(known, tuple(known), rows), np.zeros(len(d))
    for region in d["region"].unique():
        members = (d["region"] == region).to_numpy()
        fitted = least_squares(x, surprise, rows & members, RIDGE)
        out[members] = (fitted - fitted[rows & members].mean())[members]
    return pd.Series(out, d.index)


def origins(d: pd.DataFrame) -> dict[str, np.ndarray]:
    """Whether each row is an origin, by split: all its targets lie there, and CONTEXT sessions end
    with it."""
    first, last = shift(d, d["date"], -1), shift(d, d["date"], -len(STEPS))
    level = shift(d, d["level"], -len(STEPS))
    age = d.groupby("symbol").cumcount() + 1
    out, low = {}, pd.Timestamp.min
    for split, end in ENDS.items():
        inside = (first > low) & (last <= pd.Timestamp(end)) & level.notna() & (age >= CONTEXT)
        out[split], low = inside.to_numpy(), pd.Timestamp(end)
    tested = (d["date"] > pd.Timestamp(ENDS["valid"])).groupby(d["symbol"]).cumsum()
    return out | {"strict": out["test"] & (tested >= CONTEXT).to_numpy()}


def ahead(d: pd.DataFrame, x: pd.Series) -> np.ndarray:
    """x at steps 1 … H, [R, H]."""
    return np.stack([shift(d, x, -h) for h in STEPS], -1)


def prepare(d: pd.DataFrame) -> Task:
    """Inputs, linear model, baselines and panel; all of it is fitted on the training split."""
    known, rows, actual = calendar(d), origins(d), ahead(d, d["level"])
    train = rows["train"]
    inputs, slow = features(d, d["level"])
    linear = least_squares(
        standard(inputs, LINEAR, train), actual - slow.to_numpy()[:, None], train
    )
    surprise = shift(
        d, pd.Series(actual[:, 0] - slow - linear[:, 0], d.index), 1
    )  # of the row's own date
    dated = shift(d, pd.Series(train, d.index), 1).fillna(False).to_numpy(bool)
    effect = calendar_effect(d, known, surprise.to_numpy(), dated)
    inputs, slow = features(d, d["level"] - effect)
    base = slow.to_numpy()[:, None] + ahead(d, effect)
    base = base + least_squares(standard(inputs, LINEAR, train), actual - base, train)
    error = shift(
        d, pd.Series(actual[:, 0] - base[:, 0], d.index), 1
    )  # of the last forecast: known by now
    world = by_date(d, error).mean(axis=1)
    inputs |= {"error": error} | {
        f"world_error_{a}": d["date"].map(world.ewm(alpha=a).mean()) for a in (0.1, 0.03)
    }
    angle = 0.4 * np.pi * d["date"].dt.day_of_week
    known |= {"weekday_sin": np.sin(angle), "weekday_cos": np.cos(angle), "effect": effect}
    unit = float(np.std((actual - base)[train]))
    averages = [
        d.groupby("symbol")["level"].transform(lambda v, n=n: v.rolling(n).mean())
        for n in (1, 5, 22)
    ]
    har = np.stack(averages, -1)
    simple = {
        "last value": np.repeat(har[:, :1], len(STEPS), 1),
        "pooled log-HAR": least_squares(har, actual, train),
    }
    simple["linear model under the network"] = base
    observed, columns = standard(inputs, OBSERVED, train), standard(known, KNOWN, train)
    panel = make(d, observed, columns, (actual - base) / unit, rows)
    return Task(
        panel,
        unit,
        actual,
        base,
        simple,
        {k: np.flatnonzero(v) for k, v in rows.items() if k != "train"},
    )


def make(
    d: pd.DataFrame, observed: np.ndarray, known: np.ndarray, target: np.ndarray, rows: dict
) -> VolatilityPanel:
    """The panel of flat rows; its scale is one and its target [R, H] has no √step in it."""
    group = d.groupby("symbol")
    length = group["level"].count().to_numpy()
    size = pd.Series(np.abs(target[:, 0])).where(rows["train"]).groupby(d["symbol"]).mean()
    region = group["region"].first()
    static = np.stack(
        [*(region == r for r in ("us", "asia", "europe")), (size - size.mean()) / size.std(ddof=0)],
        -1,
    )
    split = np.select([rows[k] for k in ENDS], range(len(ENDS)), 3).astype(np.int8)
    config = PanelConfig(horizon=len(STEPS), observed=OBSERVED, known=KNOWN)
    observed, known, static, target = (
        x.astype(np.float32) for x in (observed, known, static, target)
    )
    return VolatilityPanel(
        config,
        tuple(region.index),
        np.r_[0, np.cumsum(length + len(STEPS))[:-1]],
        length,
        d["date"].to_numpy("datetime64[ns]"),
        d["rv5"].to_numpy(),
        observed,
        known,
        static,
        target,
        np.ones(len(d), np.float32),
        split,
        {},
    )


def residual_quantiles(task: Task, point: np.ndarray) -> np.ndarray:
    """[R, H, Q]: a point forecast plus the quantiles of its training errors by step."""
    train = task.panel.origins("train")
    return point[..., None] + np.quantile((task.actual - point)[train], LEVELS, axis=0).T


def network(task: Task, seed: int, rows: np.ndarray) -> np.ndarray:
    """Quantiles [K, H, Q] of log rv5 by a network trained with one seed."""
    model = fit(NETWORK, task.panel, replace(TRAIN, seed=seed)).model
    found = (
        forecast_rows(model, task.panel, rows) / np.sqrt(np.array(STEPS))[:, None]
    )  # undoes its scale · √step
    return task.base[rows][..., None] + task.unit * found


def q_risk(quantiles: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Normalised quantile losses P50 and P90 (Lim et al. 2021, eq. 26). [K, H, Q] and [K, H]."""
    out = {}
    for name, level in (("P50", 0.5), ("P90", 0.9)):
        error = actual - quantiles[..., LEVELS.index(level)]
        out[name] = float(
            2 * np.maximum(level * error, (level - 1) * error).sum() / np.abs(actual).sum()
        )
    return out


def score(
    quantiles: np.ndarray, task: Task, rows: np.ndarray, splits: tuple[str, ...]
) -> dict[str, float]:
    """q-risks by split, of quantiles [K, H, Q] at the rows [K]."""
    found = {split: np.isin(rows, task.rows[split]) for split in splits}
    risks = {
        split: q_risk(quantiles[keep], task.actual[rows[keep]]) for split, keep in found.items()
    }
    return {
        f"{split} {name}": value for split, risk in risks.items() for name, value in risk.items()
    }


def table(task: Task, seeds: list[int], splits: tuple[str, ...]) -> list[dict]:
    """A row for each forecaster: baselines, the network over seeds, and its seeds averaged."""
    rows = np.unique(np.concatenate([task.rows[split] for split in splits]))
    found = [
        {"forecaster": k, **score(residual_quantiles(task, p)[rows], task, rows, splits)}
        for k, p in task.simple.items()
    ]
    runs = [network(task, seed, rows) for seed in seeds]
    scores = [score(run, task, rows, splits) for run in runs]
    mean = {k: statistics.mean(s[k] for s in scores) for k in scores[0]}
    spread = (
        {f"{k} sd": statistics.stdev([s[k] for s in scores]) for k in mean} if len(runs) > 1 else {}
    )
    found.append({"forecaster": "our TFT", **mean, **spread, "seeds": scores})
    averaged = score(np.mean(runs, axis=0), task, rows, splits)
    return [*found, {"forecaster": f"our TFT, {len(runs)} seeds averaged", **averaged}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="Parquet file with symbol, date, return_pct, rv5"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="data/results/volatility.json")
    parser.add_argument(
        "--choose", action="store_true", help="score validation only, and write nothing"
    )
    options = parser.parse_args()
    begin, seeds = time.perf_counter(), [int(seed) for seed in options.seeds.split(",")]
    torch.set_num_threads(options.threads)
    task = prepare(read(options.data))
    splits = ("valid",) if options.choose else ("strict", "test", "valid")
    found = table(task, seeds, splits)
    for row in found:
        print(
            row["forecaster"],
            {k: round(v, 4) for k, v in row.items() if k not in ("forecaster", "seeds")},
        )
    if not options.choose:
        published = [
            {"forecaster": k, "strict P50": a, "strict P90": b} for k, (a, b) in PUBLISHED.items()
        ]
        write_json(
            options.out,
            {
                "protocol": "train < 2016, validation 2016-2017, test to 2019-06-28; q-risk of log "
                "rv5, steps 1-5, pooled",
                "windows": {split: len(task.rows[split]) for split in splits},
                "network": asdict(NETWORK),
                "training": asdict(TRAIN),
                "seeds": seeds,
                "data": task.panel.digest(),
                "seconds": time.perf_counter() - begin,
                "rows": found,
                "published (Lim et al. 2021)": published,
            },
        )
        print(options.out)


if __name__ == "__main__":
    main()
