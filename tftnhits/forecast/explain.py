"""What a forecast was made from, as tables: attention, input selection, N-HITS parts, importance.

None of these prove a cause. Attention and selection weights say where a network looked, not what
would happen had it not (Jain & Wallace 2019; Wiegreffe & Pinter 2019 on when they do inform);
permutation importance says what the loss would be without an input's timing, to this network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, LEVEL
from ..data import features as F
from ..data.windows import Panel
from ..errors import ConfigError
from .ensemble import NAMES, Network, pinball_loss
from .result import Forecast

EVERY = "all"  # the symbol's name in tables that average over symbols
BASELINE = "volatility baseline"
KINDS = ("past", "future", "static")  # of inputs that are selected

# Inputs that carry nearly the same news; permuting one alone leaves it to the others
FAMILIES: dict[str, tuple[str, ...]] = {
    "the bar itself": ("return", "overnight", "intraday", "range"),
    "volatility": tuple(f"volatility_{a}" for a in F.ALPHAS),
    "recent shocks": tuple(f"shock_{n}" for n in F.RECENT),
    "volume": F.VOLUME,
    "market": F.MARKET,
    "last year's shocks": F.HISTORY,
    "calendar": F.KNOWN,
}


class TFTTrace(NamedTuple):
    """What a TFT shows for k origins; of past and steps ahead all bars, or the nearest alone."""

    attention: np.ndarray  # [k, H, C+H]
    past: np.ndarray  # selection weights, [k, C, F_o+F_k] or [k, F_o+F_k]
    future: np.ndarray  # [k, H, F_k] or [k, F_k]
    static: np.ndarray  # [k, F_s]


class NHITSTrace(NamedTuple):
    """What an N-HITS shows for k origins."""

    parts: np.ndarray  # [k, H, S+1, 2] of baseline and stacks: median and interval's width


class Stats(NamedTuple):
    """Means and standard deviations, arrays of one shape."""

    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """Tidy tables; those of a network that took no part are empty.

    Weights sum to 1 a symbol and step (or date). `lag` counts bars back from the origin: 0 is the
    origin's own bar, -1 the first step ahead. `sd` is the standard deviation over the networks that
    are averaged; of a single one that over the origins (by date: over its symbols), NaN of one.

    Attributes
    ----------
    attention : symbol, step, lag, weight, sd
    selection : symbol, kind, input, weight, sd; the mean of the next three
    past : symbol, date, lag, input, weight, sd
    future : symbol, date, step, input, weight, sd
    static : symbol, date, input, weight, sd
    parts : symbol, step, stack, scale (bars), median, width (log returns), median_sd, width_sd
    origins : number of origins that each row is a mean over
    seeds : networks averaged, by member
    model_used : by symbol, who answered; of a forecast
    """

    attention: pd.DataFrame = field(default_factory=pd.DataFrame)
    selection: pd.DataFrame = field(default_factory=pd.DataFrame)
    past: pd.DataFrame = field(default_factory=pd.DataFrame)
    future: pd.DataFrame = field(default_factory=pd.DataFrame)
    static: pd.DataFrame = field(default_factory=pd.DataFrame)
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)
    origins: int = 1
    seeds: dict[str, int] = field(default_factory=dict)
    model_used: dict[str, str] = field(default_factory=dict)

    def summary(self, top: int = 5) -> dict[str, Any] | list[dict[str, Any]]:
        """Plain values; a list of them for several symbols.

        Returns
        -------
        dict
            symbol, model_used, origins; of TFT inputs (the `top` past ones, by weight), bars (the
            `top`, as date, lag and weight, a mean over the steps) and ahead (share of attention
            that the steps ahead get); of N-HITS stacks (median and width at the last step).
        """
        tables = [t for t in (self.attention, self.parts) if len(t)]
        names = dict.fromkeys(name for t in tables for name in t["symbol"].unique())
        summaries = [self._summary(name, top) for name in names]
        return summaries[0] if len(summaries) == 1 else summaries

    def _summary(self, symbol: str, top: int) -> dict[str, Any]:
        used = self.model_used.get(symbol)
        summary: dict[str, Any] = {"symbol": symbol, "model_used": used, "origins": self.origins}
        tables = (self.attention, self.selection, self.past, self.parts)
        attention, selection, past, parts = (
            table[table["symbol"] == symbol] if len(table) else table for table in tables
        )
        if len(attention):
            inputs = selection[selection["kind"] == "past"].set_index("input")["weight"]
            by_lag = attention[attention["lag"] >= 0].groupby("lag")["weight"].mean()
            # A lag of a mean over origins has no date
            date = past.drop_duplicates("lag").set_index("lag")["date"].dropna().astype(str)
            date = {} if self.origins > 1 else date
            summary["inputs"] = inputs.nlargest(top).to_dict()
            summary["bars"] = [
                {"date": date.get(lag), "lag": lag, "weight": weight}
                for lag, weight in by_lag.nlargest(top).to_dict().items()
            ]
            summary["ahead"] = float(1 - by_lag.sum())
        if len(parts):
            last = parts[parts["step"] == parts["step"].max()].set_index("stack")
            summary["stacks"] = last[["median", "width"]].to_dict("index")
        return summary

    def plot(self, symbol: str | None = None, theme: str = "light") -> Any:
        """One picture of a symbol's tables (None: the first): inputs, bars and stacks."""
        from ..viz.explanations import plot_explanation

        return plot_explanation(self, symbol, theme)


def explain_forecast(fc: Forecast) -> Explanation:
    """Tables of every symbol's last origin, of the networks that took part in its answer.

    `past` covers the context's bars; steps end with the forecast's horizon. `parts` sum over stacks
    to N-HITS' median and to the width of its interval at config.LEVEL, before its quantiles are
    sorted and calibrated. Raises ConfigError if no network took part for any symbol.
    """
    predictor, panel, rows = fc.source
    symbol = panel.symbol_of(rows)
    last = np.r_[symbol[1:] != symbol[:-1], True]
    rows, horizon = rows[last], int(fc.frame["step"].max())
    used = {name: r.model_used for name, r in fc.reports.items() if r.model_used}
    tables: dict[str, pd.DataFrame] = {}
    seeds: dict[str, int] = {}
    for name in ENSEMBLE_WEIGHTS:
        member = predictor.members.get(name)
        took_part = np.array([NAMES[name] in used[panel.symbols[s]] for s in symbol[last]])
        if isinstance(member, Network) and took_part.any():
            tables |= _forecast_tables(member, panel, rows[took_part], horizon)
            seeds[name] = len(member.models)
    if not tables:
        raise ConfigError(
            f"No network answered but {', '.join(sorted(set(used.values())))}, which has no "
            "attention or stacks; permutation_importance tells which inputs matter to any member."
        )
    return Explanation(**tables, seeds=seeds, model_used=used)


def explain_rows(model: Any, panel: Panel, rows: np.ndarray) -> Explanation:
    """Tables of one network, each a mean over the origins `rows` [K], with "all" for the symbol.

    `past` has a row a date: the weights given to that date's own bar, averaged over symbols;
    `future` those of its next session, `static` those of its symbols. `model` is a torch module, or
    a Network, whose seeds are averaged. Memory holds sums. Raises ConfigError without origins.
    """
    member = model if isinstance(model, Network) else Network(model)
    if not len(rows):
        raise ConfigError("There are no origins to explain; give at least one row of the panel.")
    dated = not np.isnat(panel.date[rows]).any()
    keys = panel.date[rows] if dated else rows - panel.start[panel.symbol_of(rows)]
    dates, place = np.unique(keys, return_inverse=True)
    group = dict.fromkeys(("attention", "parts"), np.zeros(len(rows), int))
    group |= dict.fromkeys(KINDS, place)
    sums = [_sums(_traces(model, panel, rows), group) for model in member.models]
    every, count, names = np.array([EVERY], object), len(rows), _input_names(panel)
    if "parts" in sums[0]:
        parts = _parts_table(_stats([s["parts"] for s in sums], count), every, member)
        return Explanation(parts=parts, origins=count, seeds={"nhits": len(sums)})
    overall = {k: _stats([s[k].sum(1, keepdims=True) for s in sums], count) for k in KINDS}
    attention = _stats([s["attention"] for s in sums], count)
    tables = _overall_tables(attention, overall, every, names)
    ahead = np.empty(len(dates), keys.dtype)
    ahead[place] = panel.date[rows + 1] if dated else keys + 1
    for kind in KINDS:
        mean, sd = _stats([s[kind] for s in sums], np.bincount(place)[:, None])  # [D, F]
        days = ahead if kind == "future" else dates
        tables[kind] = _long(
            Stats(mean[None], sd[None]), symbol=every, date=days, input=names[kind]
        )
    tables["past"].insert(2, "lag", 0)
    tables["future"].insert(2, "step", 1)
    return Explanation(**tables, origins=count, seeds={"tft": len(sums)})


def _forecast_tables(
    member: Network, panel: Panel, rows: np.ndarray, horizon: int
) -> dict[str, pd.DataFrame]:
    """Tables of a member with a symbol for each of `rows` [K], up to step `horizon`."""
    symbols, names = np.asarray(panel.symbols, object)[panel.symbol_of(rows)], _input_names(panel)
    group = dict.fromkeys((*TFTTrace._fields, *NHITSTrace._fields), np.arange(len(rows)))
    sums = [_sums(_traces(model, panel, rows, horizon), group) for model in member.models]
    stats = {name: _stats([s[name] for s in sums], 1) for name in sums[0]}
    if "parts" in stats:
        return {"parts": _parts_table(stats["parts"], symbols, member)}
    overall = {kind: _stats([s[kind].mean(2) for s in sums], 1) for kind in ("past", "future")}
    overall["static"] = stats["static"]
    lag, steps = np.arange(member.context)[::-1], np.arange(1, horizon + 1)
    tables = _overall_tables(stats["attention"], overall, symbols, names)
    tables["past"] = _long(stats["past"], symbol=symbols, lag=lag, input=names["past"])
    tables["future"] = _long(stats["future"], symbol=symbols, step=steps, input=names["future"])
    tables["static"] = _long(stats["static"], symbol=symbols, input=names["static"])
    bars = {"past": rows[:, None] - lag, "future": rows[:, None] + steps, "static": rows}
    for kind in KINDS:
        tables[kind].insert(1, "date", np.repeat(panel.date[bars[kind]].ravel(), len(names[kind])))
    return tables


def _traces(
    model: Any, panel: Panel, rows: np.ndarray, steps: int | None = None
) -> Iterator[tuple[np.ndarray, TFTTrace | NHITSTrace]]:
    """Index in `rows` [k] and what the network shows for these origins, batch after batch.

    With `steps`, the whole context and so many steps ahead; without, the nearest bar of each.
    """
    from ..training.loop import outputs

    context, horizon = model.config.context, steps or model.config.horizon
    for output, _, index, (chunk, fork) in outputs(model, panel, rows):
        b, n = np.asarray(chunk), np.asarray(fork)
        if hasattr(output, "attention"):
            attention = output.attention[b, n, :horizon, : context + horizon].cpu().numpy()
            past, future = output.past_weights.cpu().numpy(), output.future_weights.cpu().numpy()
            if steps:
                past = past[b[:, None], n[:, None] + np.arange(context)]
                future = future[b[:, None], n[:, None] + np.arange(horizon)]
            else:
                past, future = past[b, n + context - 1], future[b, n]
            yield index, TFTTrace(attention, past, future, output.static_weights[b].cpu().numpy())
            continue
        parts = output.parts[b, n].cpu().numpy()  # [k, H, S, Q]
        base = np.broadcast_to(model.base.cpu().numpy()[:, None], parts[:, :, :1].shape)
        parts = np.concatenate([base, parts], axis=2)[:, :horizon]  # [k, H, S+1, Q]
        levels = np.asarray(model.config.quantiles)
        tails = (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2)
        middle, low, high = (np.abs(levels - q).argmin() for q in tails)
        both = np.stack([parts[..., middle], parts[..., high] - parts[..., low]], axis=-1)
        unit = np.asarray(panel.scale)[rows[index], None] * np.sqrt(np.arange(1, horizon + 1))
        yield index, NHITSTrace(both * unit[..., None, None])


def _sums(traces: Any, group: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By field of the traces, sums of its values and of their squares, [2, G, …]; group: [K]."""
    sums: dict[str, np.ndarray] = {}
    for index, trace in traces:
        for name, values in zip(trace._fields, trace, strict=True):
            at, values = group[name][index], values.astype(float)
            if name not in sums:
                sums[name] = np.zeros((2, group[name].max() + 1, *values.shape[1:]))
            np.add.at(sums[name][0], at, values)
            np.add.at(sums[name][1], at, values**2)
    return sums


def _stats(sums: list[np.ndarray], count: Any) -> Stats:
    """From each network's sums [2, G, …] of `count` values: means, and deviations over networks.

    Of a single network the deviation is that of its values, NaN of one value.
    """
    means = [total / count for total, _ in sums]
    if len(sums) > 1:
        return Stats(np.mean(means, 0), np.std(means, 0, ddof=1))
    variance = np.maximum(sums[0][1] / count - means[0] ** 2, 0)
    return Stats(means[0], np.where(np.asarray(count) > 1, np.sqrt(variance), np.nan))


def _overall_tables(
    attention: Stats, selection: Mapping[str, Stats], symbols: np.ndarray, names: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """Attention from [S, H, C+H], selection from [S, F] of each kind."""
    _, horizon, keys = attention.mean.shape
    steps = np.arange(1, horizon + 1)
    lags = np.r_[np.arange(keys - horizon)[::-1], -steps]
    table = _long(attention, symbol=symbols, step=steps, lag=lags)
    table = table[-table["lag"] <= table["step"]]  # a step sees the steps before it and itself
    kinds = []
    for kind in KINDS:
        kinds.append(_long(selection[kind], symbol=symbols, input=names[kind]))
        kinds[-1].insert(1, "kind", kind)
    chosen = pd.concat(kinds).sort_values("symbol", kind="stable", ignore_index=True)
    return {"attention": table.reset_index(drop=True), "selection": chosen}


def _parts_table(stats: Stats, symbols: np.ndarray, member: Network) -> pd.DataFrame:
    """From [S, H, S+1, 2]."""
    pools, steps = member.model.config.pools, np.arange(1, stats.mean.shape[1] + 1)
    stacks = [f"stack {i}: {k} bar{'s' if k > 1 else ''}" for i, k in enumerate(pools, 1)]
    by = {"symbol": symbols, "step": steps, "stack": [BASELINE, *stacks]}
    median, width = (_long(Stats(stats.mean[..., i], stats.sd[..., i]), **by) for i in (0, 1))
    table = median.rename(columns={"weight": "median", "sd": "median_sd"})
    table.insert(3, "scale", np.tile([0, *pools], len(table) // (len(pools) + 1)))
    return table.assign(width=width["weight"], width_sd=width["sd"])


def _input_names(panel: Panel) -> dict[str, tuple[str, ...]]:
    """Names of the inputs that each selection network weighs."""
    names = panel.inputs
    past = (*names["observed"], *names["known"])
    return {"past": past, "future": names["known"], "static": names["static"]}


def _long(stats: Stats, **by: Any) -> pd.DataFrame:
    """Arrays with an axis for each of `by` as a tidy frame with the columns weight and sd."""
    index = pd.MultiIndex.from_product(by.values(), names=by)
    columns = {"weight": stats.mean.ravel(), "sd": stats.sd.ravel()}
    return pd.DataFrame(columns, index).reset_index()


def permutation_importance(
    model: Any,
    panel: Panel,
    rows: np.ndarray,
    seed: int = 0,
    repeats: int = 1,
    groups: Mapping[str, tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """Rise of the mean pinball loss over the origins `rows` [K] when an input is of other dates.

    Within the stretch of bars that a symbol's origins see, the input's column is rotated by a
    random number of bars: a permutation that keeps each value's neighbours, so that the network
    sees histories of a kind that it knows.

    `model` is a torch module or any member. `groups` names sets of observed and known inputs that
    move together (FAMILIES, for one); None takes each observed input alone, and understates those
    whose news others carry too. Raises ConfigError on an input that there is not.

    Returns
    -------
    DataFrame
        input, rise (pinball loss × 10⁴ of the log return, mean of `repeats`), spread (standard
        deviation over them, NaN of one) and percent (of the loss itself), largest first.
    """
    member = model if hasattr(model, "quantiles") else Network(model)
    inputs = {*panel.inputs["observed"], *panel.inputs["known"]}
    groups = groups or {name: (name,) for name in panel.inputs["observed"]}
    if unknown := {name for names in groups.values() for name in names} - {*F.OBSERVED, *F.KNOWN}:
        raise ConfigError(f"There is no input {min(unknown)!r} to permute; see panel.inputs.")
    generator = np.random.default_rng(seed)
    base = _loss(member, panel, rows)
    table = []
    for group, names in groups.items():
        if inputs.isdisjoint(names):
            continue
        rises = []
        for _ in range(repeats):
            changed = _rotated(panel, rows, names, member.context, generator)
            rises.append(_loss(member, changed, rows) - base)
        rise = float(np.mean(rises))
        spread = float(np.std(rises, ddof=1)) if repeats > 1 else np.nan
        percent = 100 * rise / base if base > 0 else np.nan
        table.append({"input": group, "rise": rise, "spread": spread, "percent": percent})
    return pd.DataFrame(table).sort_values("rise", ascending=False, ignore_index=True)


def _loss(member: Any, panel: Panel, rows: np.ndarray) -> float:
    """Mean pinball loss × 10⁴ of the log returns from the origins, where the outcome is known."""
    loss = pinball_loss(member.quantiles(panel, rows), panel.outcomes(rows), member.levels)
    return float(1e4 * np.nanmean(loss))


def _rotated(
    panel: Panel, rows: np.ndarray, names: tuple[str, ...], context: int, generator: Any
) -> Panel:
    """`panel` with the inputs rotated, by symbol, within the bars that the origins `rows` see."""
    changed = {"observed": np.array(panel.observed), "known": np.array(panel.known)}
    columns = {k: [i for i, n in enumerate(panel.inputs[k]) if n in names] for k in changed}
    symbol = panel.symbol_of(rows)
    for s in np.unique(symbol):
        origins = rows[symbol == s]
        first, last = max(origins.min() - context + 1, panel.start[s]), origins.max()
        size = last - first + 1
        shift = int(generator.integers(size // 4, max(size - size // 4, size // 4 + 1)))
        stop = {"observed": last + 1, "known": last + 1 + panel.config.horizon}
        for kind, values in changed.items():
            block = np.s_[first : stop[kind], columns[kind]]
            values[block] = np.roll(values[block], shift, axis=0)
    return replace(panel, **changed)
