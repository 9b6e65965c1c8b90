"""What a forecast was made from, as tables: attention, input selection, N-HITS parts.

None of these prove a cause. Attention and selection weights say where a network looked, not what
would happen had it not (Jain & Wallace 2019; Wiegreffe & Pinter 2019 on when they do inform).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..config import ENSEMBLE_WEIGHTS, LEVEL
from ..data.windows import Panel
from ..errors import ConfigError
from .ensemble import NAMES, Network
from .importance import varying
from .result import Forecast

EVERY = "all"  # the symbol's name in tables that average over symbols
BASELINE = "volatility baseline"
KINDS = ("past", "future", "static")  # of inputs that are selected


@dataclass(frozen=True)
class Explanation:
    """Tidy tables; those of a network that took no part are empty.

    Weights sum to 1 a symbol and step (or date). `lag` counts bars back from the origin: 0 is the
    origin's own bar, -1 the first step ahead. `sd` is the standard deviation over the networks that
    are averaged; of a single one that over the origins (by date: over its symbols), NaN of one.
    `mixed` parts are of stacks whose states attention across scales had mixed: no scale's alone.

    Attributes
    ----------
    attention : symbol, step, lag, weight, sd
    selection : symbol, kind, input, varies, weight, sd; the mean of the next three. An input that
        doesn't vary over the bars that the origins see tells none from another, whatever its weight
    past : symbol, date, lag, input, weight, sd
    future : symbol, date, step, input, weight, sd
    static : symbol, date, input, weight, sd
    parts : symbol, step, stack, scale (bars), mixed, median, width (log returns), their _sd
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
            symbol, model_used, origins; of TFT inputs (the `top` past ones that vary, by
            weight), bars (the `top`, as date, lag and weight, a mean over the steps) and ahead
            (share of attention that the steps ahead get); of N-HITS stacks (median and width at the
            last step).
        """
        tables = [t for t in (self.attention, self.parts) if len(t)]
        names = dict.fromkeys(name for t in tables for name in t["symbol"].unique())
        summaries = [self._summary(name, top) for name in names]
        return summaries[0] if len(summaries) == 1 else summaries

    def _summary(self, symbol: str, top: int) -> dict[str, Any]:
        used = self.model_used.get(symbol)
        summary: dict[str, Any] = {"symbol": symbol, "model_used": used, "origins": self.origins}
        attention, parts = _of(self.attention, symbol), _of(self.parts, symbol)
        if len(attention):
            selection = _of(self.selection, symbol)
            past = selection[(selection["kind"] == "past") & selection["varies"]]
            inputs = past.set_index("input")["weight"]
            by_lag = attention[attention["lag"] >= 0].groupby("lag")["weight"].mean()
            date: Any = {}
            if self.origins == 1:  # a lag of a mean over origins has no date
                past = _of(self.past, symbol).drop_duplicates("lag").set_index("lag")
                date = past["date"].dropna().astype(str)
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
    rows, symbol = rows[last], symbol[last]
    horizon = int(fc.frame["step"].max())
    used = {name: r.model_used for name, r in fc.reports.items() if r.model_used}
    tables: dict[str, pd.DataFrame] = {}
    seeds: dict[str, int] = {}
    for name in ENSEMBLE_WEIGHTS:
        member = predictor.members.get(name)
        took_part = [NAMES[name] in used[panel.symbols[s]] for s in symbol]
        if isinstance(member, Network) and any(took_part):
            tables |= _last_origins(member, panel, rows[took_part], horizon)
            seeds[name] = len(member.models)
    if not tables:
        raise ConfigError(
            f"No network answered but {', '.join(sorted(set(used.values())))}, which has no "
            "attention or stacks; tftnhits.forecast.importance.permutation_importance tells which "
            "inputs matter to any member."
        )
    return Explanation(**tables, seeds=seeds, model_used=used)


def _last_origins(
    member: Network, panel: Panel, rows: np.ndarray, horizon: int
) -> dict[str, pd.DataFrame]:
    """Tables of a member with a symbol for each of `rows` [K], up to step `horizon`."""
    symbols = np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    every = np.arange(len(rows))
    varies = varying(panel, rows, member.context, every)
    stats = _statistics(member, panel, rows, every, every, horizon)
    tables = _overall_tables(stats, symbols, member, panel, varies)
    if "parts" in tables:
        return tables
    names = _input_names(panel)
    lag, steps = np.arange(member.context)[::-1], np.arange(1, horizon + 1)
    by_bar = {
        "past": _table(stats["past"], symbol=symbols, lag=lag, input=names["past"]),
        "future": _table(stats["future"], symbol=symbols, step=steps, input=names["future"]),
        "static": _table(stats["static"], symbol=symbols, input=names["static"]),
    }
    bars = {"past": rows[:, None] - lag, "future": rows[:, None] + steps, "static": rows}
    for kind, table in by_bar.items():
        table.insert(1, "date", np.repeat(panel.date[bars[kind]].ravel(), len(names[kind])))
    return tables | by_bar


def explain_rows(model: Any, panel: Panel, rows: np.ndarray) -> Explanation:
    """Tables of one network, each a mean over the origins `rows` [K], with "all" for the symbol.

    `past` has a row a date: the weights given to that date's own bar, averaged over symbols;
    `future` those of its next session, `static` those of its symbols. `model` is a torch module, or
    a Network, whose seeds are averaged. Memory holds sums. Raises ConfigError without origins.
    """
    member = model if isinstance(model, Network) else Network(model)
    if not len(rows):
        raise ConfigError("There are no origins to explain; give at least one row of the panel.")
    # Days are numbers of bars where there are no dates
    dated = not np.isnat(panel.date[rows]).any()
    day = panel.date[rows] if dated else panel.number(rows)
    days, place = np.unique(day, return_inverse=True)
    next_days = np.empty(len(days), day.dtype)
    next_days[place] = panel.date[rows + 1] if dated else day + 1
    # Selection by day, the rest over all origins
    every, names = np.array([EVERY], object), _input_names(panel)
    stats = _statistics(member, panel, rows, np.zeros(len(rows), int), place)
    varies = varying(panel, rows, member.context)
    tables = _overall_tables(stats, every, member, panel, varies)
    if "parts" in tables:
        return Explanation(**tables, origins=len(rows), seeds={"nhits": len(member.models)})
    past, future, static = (stats[kind] for kind in KINDS)
    return Explanation(
        **tables,
        past=_table(past, symbol=every, date=days, lag=[0], input=names["past"]),
        future=_table(future, symbol=every, date=next_days, step=[1], input=names["future"]),
        static=_table(static, symbol=every, date=days, input=names["static"]),
        origins=len(rows),
        seeds={"tft": len(member.models)},
    )


def _traces(
    model: Any, panel: Panel, rows: np.ndarray, steps: int | None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Index in `rows` [k] and what the network tells of these origins, batch after batch.

    With `steps`, the whole context and so many steps ahead; without, the nearest bar of each.
    """
    from ..training.loop import outputs

    context, horizon = model.config.context, steps or panel.steps
    for output, _, index, (chunk, fork) in outputs(model, panel, rows):
        b, n = np.asarray(chunk)[:, None], np.asarray(fork)[:, None]
        if not hasattr(output, "attention"):
            parts = _parts(model, output.parts[b[:, 0], n[:, 0]].cpu().numpy())[:, :horizon]
            unit = np.asarray(panel.scale)[rows[index], :horizon]
            unit = unit * np.sqrt(np.arange(1, horizon + 1))  # [k, H]
            yield index, {"parts": parts * unit[..., None, None]}
            continue
        bars, ahead = np.arange(context) if steps else [context - 1], np.arange(steps or 1)
        trace = {
            "attention": output.attention[b[:, 0], n[:, 0], :horizon, : context + horizon],
            "past": output.past_weights[b, n + bars],  # [k, C or 1, F_o+F_k]
            "future": output.future_weights[b, n + ahead],  # [k, H or 1, F_k]
            "static": output.static_weights[b],  # [k, 1, F_s]
        }
        trace = {name: values.cpu().numpy() for name, values in trace.items()}
        trace["selection"] = np.concatenate([trace[kind].mean(1) for kind in KINDS], axis=-1)
        yield index, trace


def _parts(model: Any, stacks: np.ndarray) -> np.ndarray:
    """Quantiles of stacks [k, H, S, Q] → median and width [k, H, S+1, 2], the baseline first."""
    base = model.base[: stacks.shape[1]].cpu().numpy()[:, None]  # [H, 1, Q]
    base = np.broadcast_to(base, stacks[:, :, :1].shape)
    quantiles = np.concatenate([base, stacks], axis=2)
    levels = np.asarray(model.config.quantiles)
    wanted = (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2)
    middle, low, high = (np.abs(levels - q).argmin() for q in wanted)
    return np.stack([quantiles[..., middle], quantiles[..., high] - quantiles[..., low]], axis=-1)


def _statistics(
    member: Network,
    panel: Panel,
    rows: np.ndarray,
    group: np.ndarray,
    bar_group: np.ndarray,
    steps: int | None = None,
) -> dict[str, np.ndarray]:
    """By name of the traces, means and deviations [2, G, …] over groups of origins.

    `group` [K] of each origin holds for all but the selection by bar, which goes by `bar_group`.
    The deviation is that of the networks' means; of a single network that of its values, or NaN.
    """
    groups = dict.fromkeys(("attention", "selection", "parts"), group)
    groups |= dict.fromkeys(KINDS, bar_group)
    moments = [_moments(_traces(model, panel, rows, steps), groups) for model in member.models]
    stats = {}
    for name, (mean, square) in moments[0].items():
        sd = np.sqrt(np.maximum(square - mean**2, 0))
        sd[np.bincount(groups[name]) < 2] = np.nan
        if len(moments) > 1:
            means = [each[name][0] for each in moments]
            mean, sd = np.mean(means, 0), np.std(means, 0, ddof=1)
        stats[name] = np.stack([mean, sd])
    return stats


def _moments(traces: Any, groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By name of the traces, means of values and of their squares, [2, G, …]."""
    sums: dict[str, np.ndarray] = {}
    for index, trace in traces:
        for name, values in trace.items():
            group, values = groups[name][index], values.astype(float)
            if name not in sums:
                sums[name] = np.zeros((2, groups[name].max() + 1, *values.shape[1:]))
            np.add.at(sums[name][0], group, values)
            np.add.at(sums[name][1], group, values**2)
    for name, total in sums.items():
        total /= np.bincount(groups[name]).reshape(-1, *[1] * (total.ndim - 2))
    return sums


def _overall_tables(
    stats: Mapping[str, np.ndarray],
    symbols: np.ndarray,
    member: Network,
    panel: Panel,
    varies: Mapping[str, np.ndarray],
) -> dict[str, pd.DataFrame]:
    """Of a TFT attention [2, S, H, C+H] and selection [2, S, F]; of an N-HITS its parts."""
    if "parts" in stats:
        return {"parts": _parts_table(stats["parts"], symbols, member)}
    _, _, horizon, keys = stats["attention"].shape
    steps = np.arange(1, horizon + 1)
    lags = np.r_[np.arange(keys - horizon)[::-1], -steps]
    attention = _table(stats["attention"], symbol=symbols, step=steps, lag=lags)
    seen = -attention["lag"] <= attention["step"]  # a step sees those before it and itself
    names = _input_names(panel)
    inputs = np.concatenate([names[kind] for kind in KINDS]).astype(object)
    kinds = np.repeat(np.array(KINDS, object), [len(names[kind]) for kind in KINDS])
    selection = _table(stats["selection"], symbol=symbols, input=inputs)
    selection.insert(1, "kind", np.tile(kinds, len(symbols)))
    selection.insert(3, "varies", np.hstack([varies[kind] for kind in KINDS]).ravel())
    return {"attention": attention[seen].reset_index(drop=True), "selection": selection}


def _parts_table(stats: np.ndarray, symbols: np.ndarray, member: Network) -> pd.DataFrame:
    """From [2, S, H, S+1, 2]."""
    pools, steps = member.model.config.pools, np.arange(1, stats.shape[2] + 1)
    stacks = [f"stack {i}: {k} bar{'s' if k > 1 else ''}" for i, k in enumerate(pools, 1)]
    columns = ("median", "median_sd", "width", "width_sd")
    axes = {"symbol": symbols, "step": steps, "stack": [BASELINE, *stacks]}
    table = _table(np.moveaxis(stats, -1, 0), columns, **axes)
    table.insert(3, "scale", np.tile([0, *pools], len(table) // (len(pools) + 1)))
    table.insert(4, "mixed", member.model.config.scale_attention)
    return table


def _table(
    values: np.ndarray, columns: tuple[str, ...] = ("weight", "sd"), **axes: Any
) -> pd.DataFrame:
    """A long table of `values`: their first axes are `columns`, then one for each of `axes`."""
    index = pd.MultiIndex.from_product(axes.values(), names=axes)
    return pd.DataFrame(values.reshape(len(columns), -1).T, index, columns).reset_index()


def _of(table: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """The rows of a symbol; tables of networks that took no part have no columns."""
    return table[table["symbol"] == symbol] if len(table) else table


def _input_names(panel: Panel) -> dict[str, tuple[str, ...]]:
    """Names of the inputs that each selection network weighs."""
    names = panel.inputs
    past = (*names["observed"], *names["known"])
    return {"past": past, "future": names["known"], "static": names["static"]}
