"""Whole bars as paths, judged walking forward: are highs, lows, ranges, touches, volumes and
losses what was said of them, and who says it best?

    python bench/paths.py [FILE] [--fit-end 2013-12-31] [--from 2016-01-01] [--to 2018-01-01]
        [--model FOLDER] [--out data/results/paths.json]
    python bench/paths.py --time [--out data/results/paths.json]

FILE holds bars as load_bars takes them, or is the folder of the DJIA protocol (protocol.py);
without one it is the bundled stocks. From each origin of the scored dates there are paths of ours,
calibrated as of its date, and as many of the rivals, of the same template dates: filtered
historical simulation of whole bars (their parts over a volatility of then, times that of now) on
RiskMetrics' EWMA, on a HAR fitted on the bars to --fit-end and on our own forecast's size of moves;
bars as they were (block bootstrap); and GARCH(1,1)-t, fitted to --fit-end, of closes alone.
Settings of ours were chosen on 2014 and 2015. Scores are means over symbols and dates, p-values
are of one-sided Diebold-Mariano tests that ours are the better ones. With --time it measures how
long paths of a made-up market take (bench/market.py), and adds that to the file.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from market import block_bars
from protocol import TRAIN_END, djia_bars
from scoringrules import es_ensemble, vs_ensemble
from tables import plain
from tqdm.auto import tqdm

import tftnhits as tn
from tftnhits.evaluation import risk
from tftnhits.evaluation.verdicts import diebold_mariano
from tftnhits.files import read_json, write_json
from tftnhits.forecast import paths as P
from tftnhits.forecast.result import quantile_columns
from tftnhits.models.baselines import _ewma

N = 500  # paths of an origin
PAIRED = 100  # of them whose distances the energy score takes
LEVELS = (0.05, 0.01)  # of the value at risk
BARRIERS = (-5, -3, -2, -1, 1, 2, 3, 5)  # percent of the close, to be touched within the horizon
OURS, HAR, OWN = "ours", "simulation on HAR", "simulation on our scale"
EWMA, PLAIN, GARCH = "simulation on EWMA", "block bootstrap", "GARCH-t"
PARTS = ("high", "low", "range", "highest", "lowest", "volume")  # of bars, and of the horizon
Bars = dict[str, np.ndarray]  # logs over the close at the origin (volume: logs), [H, K, n]


class Task:
    """Bars, our forecasts of every origin, and the templates."""

    def __init__(self, bars: pd.DataFrame, model: tn.Predictor, fit_end: str):
        forecast = model.predict(bars, origins="all")
        _, self.panel, rows = forecast.source
        names = quantile_columns(forecast.frame)
        self.levels = tuple(map(float, names))
        price = forecast.frame[names].to_numpy().reshape(len(rows), self.panel.steps, len(names))
        self.move = np.full((len(self.panel.close), self.panel.steps, len(names)), np.nan)
        self.move[rows] = np.log(price / self.panel.close[rows, None, None])
        self.rows = rows
        self.past = P.history(self.panel, forecast.bars)
        config = tn.PanelConfig(horizon=self.panel.config.horizon, train_end=fit_end)
        own = tn.make_panel(forecast.bars, config).first(self.panel.steps)
        ewma = np.broadcast_to(_ewma(self.panel), self.past.unit.shape)
        self.units = {HAR: P.history(own, forecast.bars).unit, EWMA: ewma}
        self.units[PLAIN] = np.ones_like(self.past.unit)
        self.garch = fit_garch(self.panel, fit_end)

    def days(self, first: str, stop: str) -> list[np.ndarray]:
        """The origins of each date whose outcomes are known."""
        date, end = self.panel.date[self.rows], self.panel.start + self.panel.length
        symbol = self.panel.symbol_of(self.rows)
        scored = (date >= np.datetime64(first)) & (date < np.datetime64(stop))
        scored &= self.rows + self.panel.steps < end[symbol]
        scored &= self.rows - self.panel.start[symbol] >= P.WARM + P.LEAST + self.panel.steps
        return [self.rows[scored & (date == day)] for day in np.unique(date[scored])]

    def actual(self, rows: np.ndarray) -> Bars:
        """What came, as paths are given, [H, K]."""
        ahead = rows + np.arange(1, self.panel.steps + 1)[:, None]
        close = np.log(self.panel.close[ahead] / self.panel.close[rows])
        past = self.past
        open_ = close - past.move[ahead] + past.gap[ahead]
        return {
            "close": close,
            "high": np.maximum(open_, close) + past.up[ahead],
            "low": np.minimum(open_, close) - past.down[ahead],
            "volume": past.volume[ahead],
        }

    def drawn(self, rows: np.ndarray, seed: int) -> dict[str, Bars]:
        """The paths of every forecaster."""
        past, n = self.past, N
        ours = P.draw(past, rows, self.move[rows], self.levels, n, seed)
        last = np.log(ours.last)[:, None]
        found = {OURS: {k: np.log(v) - last for k, v in ours.bars.items() if k != "volume"}}
        found[OURS]["volume"] = np.log(ours.bars["volume"])
        rng = np.random.default_rng(seed)
        rng.random(n)  # as in draw: the same templates
        template, _ = P.templates(past, rows, n, rng)
        for name, unit in self.units.items():
            found[name] = simulated(past, template, unit[:, rows, None] / unit[:, template])
        ahead = template + np.arange(1, len(self.past.unit) + 1)[:, None, None]
        unit = past.unit[:, template]
        then = np.abs(past.move[ahead] / unit).mean(-1, keepdims=True)
        step = np.diff(found[OURS]["close"], axis=0, prepend=0.0)
        now = np.abs(step).mean(-1, keepdims=True) / then
        found[OWN] = simulated(past, template, now / unit)
        found[PLAIN]["volume"] = past.volume[ahead]
        found[GARCH] = {"close": garch_paths(self.panel, self.garch, rows, n, seed)}
        return found


def simulated(past: P.History, template: np.ndarray, ratio: np.ndarray) -> Bars:
    """The templates' bars, all parts times `ratio` [H, K, n]."""
    ahead = template + np.arange(1, len(ratio) + 1)[:, None, None]
    close = np.cumsum(past.move[ahead] * ratio, axis=0)
    open_ = close - (past.move[ahead] - past.gap[ahead]) * ratio
    high = np.maximum(open_, close) + past.up[ahead] * ratio
    low = np.minimum(open_, close) - past.down[ahead] * ratio
    return {"close": close, "high": high, "low": low}


# --- GARCH-t


def fit_garch(panel: tn.Panel, fit_end: str) -> np.ndarray:
    """[S, 6] mean, deviation, omega, alpha, beta and degrees of freedom, of the bars to a date."""
    from arch import arch_model

    out = np.full((len(panel.symbols), 6), np.nan)
    for s, (start, length) in enumerate(zip(panel.start, panel.length)):
        bars = slice(start, start + length)
        known = panel.date[bars] <= np.datetime64(fit_end)
        returns = np.diff(np.log(panel.close[bars][known]))
        if len(returns) < 250:
            continue
        size = returns.std()
        model = arch_model(returns / size, vol="GARCH", p=1, q=1, dist="t", rescale=False)
        fit = model.fit(disp="off", show_warning=False).params
        keys = ("omega", "alpha[1]", "beta[1]", "nu")
        out[s] = fit["mu"] * size, size, *(fit[key] for key in keys)
    typical = np.nanmedian(out, axis=0)
    return np.where(np.isfinite(out), out, typical)


def garch_paths(
    panel: tn.Panel, fitted: np.ndarray, rows: np.ndarray, n: int, seed: int
) -> np.ndarray:
    """Closes [H, K, n] simulated from each origin."""
    rng, steps = np.random.default_rng([seed, 1]), panel.steps
    close = np.full((steps, len(rows), n), np.nan)
    back = 500  # bars after which the first variance is forgotten
    for k, (row, s) in enumerate(zip(rows, panel.symbol_of(rows))):
        mean, size, omega, alpha, beta, nu = fitted[s]
        bars = panel.close[max(panel.start[s], row - back) : row + 1]
        variance = 1.0
        for shock in (np.diff(np.log(bars)) - mean) / size:
            variance = omega + alpha * shock**2 + beta * variance
        variance, total = np.full(n, variance), np.zeros(n)
        for h in range(steps):
            shock = rng.standard_t(nu, n) * np.sqrt(variance * (nu - 2) / nu)
            total = total + mean + size * shock
            variance = omega + alpha * shock**2 + beta * variance
            close[h, k] = total
    return close


# --- scores


def parts_of(bars: Bars) -> dict[str, np.ndarray]:
    """What is scored besides closes, of [H, K, …]."""
    if "high" not in bars:
        return {}
    high, low = bars["high"], bars["low"]
    parts = {
        "high": high,
        "low": low,
        "range": np.log(high - low + 1e-5),
        "highest": high.max(0, keepdims=True),
        "lowest": low.min(0, keepdims=True),
    }
    return parts | ({"volume": bars["volume"]} if "volume" in bars else {})


def crps(draws: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Of n draws [..., n] (Gneiting & Raftery 2007)."""
    n = draws.shape[-1]
    error = np.abs(draws - actual[..., None]).mean(-1)
    weight = (2 * np.arange(1, n + 1) - n - 1) / n**2
    return error - (np.sort(draws, axis=-1) * weight).sum(-1)


def scored(bars: Bars, actual: Bars) -> dict[str, np.ndarray]:
    """Losses and hits of a date's origins, [K] each."""
    close, came = 1e4 * bars["close"], 1e4 * actual["close"]
    draws = np.moveaxis(close[..., :PAIRED], 0, -1)  # [K, n, H]
    out = {
        "energy": es_ensemble(came.T, draws, m_axis=-2),
        "variogram": vs_ensemble(came.T, np.moveaxis(close, 0, -1), m_axis=-2, p=0.5),
    }
    truth = parts_of(actual)
    for name, values in parts_of(bars).items():
        scale = 1.0 if name in ("range", "volume") else 1e4
        out[f"crps {name}"] = scale * crps(values, truth[name]).mean(0)
        for level in (0.93, 0.8):
            ends = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=-1)
            inside = (ends[0] <= truth[name]) & (truth[name] <= ends[1])
            known = np.where(np.isfinite(truth[name]), inside, np.nan)  # a volume may be missing
            out[f"{100 * level:g} {name}"] = known.mean(0)
    highest, lowest = (bars.get(k, bars["close"]) for k in ("high", "low"))
    for percent in BARRIERS:
        barrier = np.log1p(percent / 100)
        if percent > 0:
            touched, came = highest.max(0) >= barrier, actual["high"].max(0) >= barrier
        else:
            touched, came = lowest.min(0) <= barrier, actual["low"].min(0) <= barrier
        out[f"touch {percent}"], out[f"came {percent}"] = touched.mean(-1), came.astype(float)
        out[f"brier {percent}"] = (out[f"touch {percent}"] - out[f"came {percent}"]) ** 2
    out["brier"] = np.mean([out[f"brier {percent}"] for percent in BARRIERS], axis=0)
    return out | losses(bars["close"][0], actual["close"][0])


def losses(close: np.ndarray, came: np.ndarray) -> dict[str, np.ndarray]:
    """Of a day: what was lost, value at risk and shortfall."""
    drawn = np.sort(1 - np.exp(close), axis=-1)
    out = {"loss": 1 - np.exp(came), "draws": drawn[:, :: max(1, drawn.shape[-1] // 100)]}
    for level in LEVELS:
        out[f"var {level}"] = np.quantile(drawn, 1 - level, axis=-1, method="hazen")
        out[f"es {level}"] = drawn[:, -round(level * drawn.shape[-1]) :].mean(-1)
    return out


def portfolios(bars: Bars, actual: Bars, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Whether portfolios' gains, by weights [M, S], are inside their intervals: [M]."""
    gain = np.einsum("ms,hsn->hmn", weights, np.expm1(bars["close"]))
    came = np.einsum("ms,hs->hm", weights, np.expm1(actual["close"]))
    out = {}
    for level in (0.93, 0.8):
        ends = np.quantile(gain, [(1 - level) / 2, (1 + level) / 2], axis=-1)
        out[f"{100 * level:g}"] = ((ends[0] <= came) & (came <= ends[1])).mean(0)
    return out


def weights_of(symbols: int) -> dict[str, np.ndarray]:
    """Portfolios by kind, [M, S]: of equal parts, of random ones, and one stock against another."""
    rng = np.random.default_rng(0)
    pairs = np.zeros((40, symbols))
    for one in pairs:
        bought, sold = rng.permutation(symbols)[:2]
        one[bought], one[sold] = 1.0, -1.0
    kinds = {"equal parts": np.full((1, symbols), 1 / symbols)}
    kinds["random parts"] = rng.dirichlet(np.full(symbols, 0.3), 40)
    kinds["one against another"] = pairs
    return kinds


def dependences(task: Task, rows: np.ndarray, seed: int) -> dict[str, Bars]:
    """Our closes with weighted template dates, with the same unweighted, and with own ones."""
    weigh, draw = P.correlation_weights, partial(P.draw, task.past)
    args = task.levels, N, seed
    found = {"weighted dates": draw(rows, task.move[rows], *args)}
    try:
        P.correlation_weights = lambda past, rows, found: np.ones(found.shape[1])
        found["common dates"] = draw(rows, task.move[rows], *args)
    finally:
        P.correlation_weights = weigh
    close = {k: np.log(v.bars["close"] / v.last[:, None]) for k, v in found.items()}
    rng = np.random.default_rng(seed)
    close["own dates"] = rng.permuted(close["common dates"].swapaxes(0, 1), axis=-1).swapaxes(0, 1)
    return {name: {"close": values} for name, values in close.items()}


# --- what they tell


def gather(task: Task, days: list[np.ndarray]) -> tuple[dict, dict, dict]:
    """Scores by forecaster and name, [K]; shares inside of portfolios; one path's ranges."""
    cells: dict[str, dict[str, list]] = {}
    held: dict[tuple[str, str, str], list] = {}
    ranges: dict[str, list] = {OURS: [], "came": []}
    most = max(map(len, days))
    kinds = weights_of(most) if most > 1 else {}
    for seed, rows in enumerate(tqdm(days)):
        actual = task.actual(rows)
        drawn = task.drawn(rows, seed)
        for name, bars in drawn.items():
            for key, values in scored(bars, actual).items():
                cells.setdefault(name, {}).setdefault(key, []).append(values)
        scale = np.log(task.past.unit[:, rows])
        ranges[OURS].append(parts_of(drawn[OURS])["range"][..., 0] - scale)
        ranges["came"].append(parts_of(actual)["range"] - scale)
        if len(rows) < most or not kinds:
            continue
        for name, bars in dependences(task, rows, seed).items():
            for kind, weights in kinds.items():
                for level, inside in portfolios(bars, actual, weights).items():
                    held.setdefault((kind, name, level), []).append(inside.mean())
    joined = {
        name: {key: np.concatenate(v) for key, v in found.items()} for name, found in cells.items()
    }
    follow = {}
    for name, parts in ranges.items():
        values = np.concatenate(parts, axis=1)  # [H, K]
        follow[name] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairwise(values)])
    shares: dict[str, dict] = {}
    for (kind, name, level), values in held.items():
        shares.setdefault(f"{kind}, {name}", {})[level] = float(np.mean(values))
    return joined, shares, follow


def summary(cells: dict, rows: np.ndarray, task: Task) -> list[dict]:
    """A row a forecaster."""
    date, lags = task.panel.date[rows], 2 * task.panel.steps - 1
    symbol = task.panel.symbol_of(rows)
    out = []
    for name, found in cells.items():
        row: dict = {"forecaster": name}
        for key in ("energy", "variogram", "brier", *(f"crps {part}" for part in PARTS)):
            if key not in found or not np.isfinite(found[key]).any():
                continue
            row[key] = float(np.nanmean(found[key]))
            if name != OURS:
                test = diebold_mariano(cells[OURS][key], found[key], date, lags)
                row[f"p {key}"], row[f"t {key}"] = test.p_value, test.statistic
        for key in found:
            if key[:2] in ("93", "80") and np.isfinite(found[key]).any():
                row[key] = float(np.nanmean(found[key]))
        row["slopes"] = slopes(found)
        row["reliability"] = reliability(found)
        row["var"] = {str(level): var_tests(found, symbol, level) for level in LEVELS}
        out.append(row)
    return out


def slopes(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Of touches on their probabilities, for each barrier and for both sides of a distance."""
    sides = {f"{percent:+d}%": [percent] for percent in BARRIERS}
    both = {f"±{percent}%": [-percent, percent] for percent in BARRIERS if percent > 0}
    out = {}
    for name, some in (sides | both).items():
        told, came = (
            np.concatenate([found[f"{what} {percent}"] for percent in some])
            for what in ("touch", "came")
        )
        out[name] = risk.calibration_slope(told, came)
    return out


def reliability(found: dict[str, np.ndarray]) -> list[dict]:
    """By tenths of the probability of a touch, of all barriers: how often it came."""
    told = np.concatenate([found[f"touch {percent}"] for percent in BARRIERS])
    came = np.concatenate([found[f"came {percent}"] for percent in BARRIERS])
    place = np.minimum((10 * told).astype(int), 9)
    return [
        {"told": float(told[place == i].mean()), "came": float(came[place == i].mean())}
        for i in range(10)
        if (place == i).any()
    ]


def var_tests(found: dict[str, np.ndarray], symbol: np.ndarray, level: float) -> dict:
    """The back-tests of a step's value at risk: shares of the symbols that pass at 5%."""
    loss, var, shortfall = (found[key] for key in ("loss", f"var {level}", f"es {level}"))
    rng, passed, z = np.random.default_rng(0), [], []
    for s in np.unique(symbol):
        mine = symbol == s
        hit = loss[mine] > var[mine]
        draws = rng.permuted(found["draws"][mine], axis=1)
        shortfalls = risk.acerbi_szekely(loss[mine], var[mine], shortfall[mine], level, draws)
        tests = [
            risk.kupiec(hit, level),
            risk.christoffersen(hit),
            risk.dynamic_quantile(hit, var[mine], level),
            shortfalls,
        ]
        passed.append([test.p_value > 0.05 for test in tests])
        z.append(shortfalls.statistic)
    names = ("kupiec", "christoffersen", "dynamic quantile", "acerbi-szekely")
    shares = dict(zip(names, np.mean(passed, axis=0).tolist()))
    hits = float((loss > var).mean())
    return {"hits": hits, "symbols": len(passed), "shortfall": float(np.mean(z)), **shares}


def timed(model: tn.Predictor) -> dict:
    """Seconds of 1,000 paths of 5 steps, the medians of some runs, and the peak of memory."""
    out = {}
    for symbols, runs in ((1, 30), (500, 5)):
        forecast = model.predict(block_bars(0, symbols, 1000, 0))
        seconds = []
        for _ in range(runs + 1):
            begin = time.perf_counter()
            frame = forecast.paths()
            seconds.append(time.perf_counter() - begin)
        out[str(symbols)] = {"seconds": float(np.median(seconds[1:])), "rows": len(frame)}
    del frame
    tracemalloc.start()
    forecast.paths()
    out["peak MB"] = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", default="stocks", help="bars, or the protocol's folder")
    parser.add_argument("--fit-end", default=TRAIN_END, help="last date that HAR and GARCH learn")
    parser.add_argument("--from", dest="first", default="2016-01-01", help="first origin scored")
    parser.add_argument("--to", default="2018-01-01", help="first date that is not")
    parser.add_argument("--every", type=int, default=1, help="take but every so manyth date")
    parser.add_argument("--model", help="a predictor's folder; by default the shipped one")
    parser.add_argument("--time", action="store_true", help="measure the time that paths take")
    parser.add_argument("--out", help="JSON file to write, such as data/results/paths.json")
    options = parser.parse_args()
    model = tn.Predictor.load(options.model)
    old = read_json(options.out) if options.out and Path(options.out).exists() else {}
    if options.time:
        record = old | {"speed": timed(model)}
    else:
        record = old | plain(judged(options, model))
    if options.out:
        print(write_json(options.out, record))
    else:
        print(json.dumps(record, indent=1))


def judged(options: argparse.Namespace, model: tn.Predictor) -> dict:
    """All that is said of the paths of the bars that were given."""
    begin, source = time.perf_counter(), Path(options.file)
    bars = djia_bars(source) if source.is_dir() else tn.load_bars(options.file)
    task = Task(bars, model, options.fit_end)
    days = task.days(options.first, options.to)[:: options.every]
    if not days:
        raise SystemExit("No origin of these dates has its outcomes in the bars; give others.")
    cells, held, follow = gather(task, days)
    rows = np.concatenate(days)
    return {
        "scored": [str(task.panel.date[x].astype("datetime64[D]")) for x in (rows[0], rows[-1])],
        "symbols": len(np.unique(task.panel.symbol_of(rows))),
        "origins": len(rows),
        "paths": N,
        "fitted to": options.fit_end,
        "rows": summary(cells, rows, task),
        "portfolios": held,
        "successive ranges over the scale": follow,
        "seconds": time.perf_counter() - begin,
    }


if __name__ == "__main__":
    main()
