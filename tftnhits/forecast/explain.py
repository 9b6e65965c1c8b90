"""What a forecast was made from, as tables: attention, input selection, N-HITS parts, permutation importance.

None of these prove a cause. Attention and selection weights say where a network looked, not what would happen had it
not (Jain & Wallace 2019; Wiegreffe & Pinter 2019 on when they do inform); permutation importance says what the loss
would be without an input's timing, to this one trained network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..config import LEVEL
from ..data import features as F
from ..data.windows import Panel
from ..errors import ConfigError
from .ensemble import NAMES, Network, pinball_loss
from .result import Forecast

EVERY = "all"  # the symbol's name in tables that average over symbols
BASELINE = "volatility baseline"
KINDS = ("past", "future", "static")  # of inputs that are selected

# inputs that carry nearly the same news; permuting one alone leaves it to the others
FAMILIES: dict[str, tuple[str, ...]] = {
    "the bar itself": ("return", "overnight", "intraday", "range"),
    "volatility": tuple(f"volatility_{a}" for a in F.ALPHAS),
    "recent shocks": tuple(f"shock_{n}" for n in F.RECENT),
    "volume": F.VOLUME,
    "market": F.MARKET,
    "last year's shocks": F.HISTORY,
    "calendar": F.KNOWN,
}


@dataclass(frozen=True)
class Explanation:
    """Tidy tables; those of a network that took no part are empty. Weights sum to 1 a symbol and step (or date).

    `lag` counts bars back from the origin: 0 is the origin's own bar, -1 the first step ahead. `sd` is the standard
    deviation over the seeds where several networks are averaged; of a single network that over the origins (in
    `past`, `future` and `static`: over the symbols of the date), NaN where there is but one.
    """

    attention: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, step, lag, weight, sd
    selection: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # symbol, kind, input, weight, sd; mean of these:
    past: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, date, lag, input, weight, sd
    future: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # symbol, date, step, input, weight, sd
    static: pd.DataFrame = field(default_factory=pd.DataFrame)  # symbol, date, input, weight, sd
    # symbol, step, stack, scale (bars), median, width (log returns), median_sd, width_sd
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)
    origins: int = 1  # that each row is a mean over
    seeds: dict[str, int] = field(
        default_factory=dict
    )  # networks averaged, by member: "tft", "nhits"
    model_used: dict[str, str] = field(
        default_factory=dict
    )  # by symbol, of a forecast: who answered

    def summary(self, top: int = 5) -> dict[str, Any] | list[dict[str, Any]]:
        """The heaviest inputs and bars and the stacks' parts as plain values; a list of them for several symbols.

        Keys: symbol, model_used, origins; of TFT inputs (the `top` past ones, by weight), bars (the `top`, as date,
        lag, weight: the mean over the steps) and ahead (share of the attention that the steps ahead get); of N-HITS
        stacks (median and width of the interval at the last step, log returns).
        """
        names = dict.fromkeys(
            n for t in (self.attention, self.parts) if len(t) for n in t["symbol"].unique()
        )
        out = [self._summary(str(name), top) for name in names]
        return out[0] if len(out) == 1 else out

    def _summary(self, symbol: str, top: int) -> dict[str, Any]:
        out: dict[str, Any] = {
            "symbol": symbol,
            "model_used": self.model_used.get(symbol),
            "origins": self.origins,
        }
        attention, parts = (
            t[t["symbol"] == symbol] if len(t) else t for t in (self.attention, self.parts)
        )
        if len(attention):
            chosen = self.selection[
                (self.selection["symbol"] == symbol) & (self.selection["kind"] == "past")
            ]
            out["inputs"] = {
                k: float(v) for k, v in chosen.set_index("input")["weight"].nlargest(top).items()
            }
            seen = attention[attention["lag"] >= 0].groupby("lag")["weight"].mean()
            dates = (
                self.past[(self.past["symbol"] == symbol)]
                .drop_duplicates("lag")
                .set_index("lag")["date"]
            )
            dates = (
                dates if self.origins == 1 else dates.iloc[:0]
            )  # of a mean over origins a lag has no date
            out["bars"] = [
                {"date": _plain_date(dates.get(lag)), "lag": int(lag), "weight": float(weight)}
                for lag, weight in seen.nlargest(top).items()
            ]
            out["ahead"] = float(1 - seen.sum())
        if len(parts):
            last = parts[parts["step"] == parts["step"].max()].set_index("stack")
            out["stacks"] = {
                k: {"median": float(r["median"]), "width": float(r["width"])}
                for k, r in last.iterrows()
            }
        return out

    def plot(self, symbol: str | None = None, theme: str = "light") -> Any:
        """One picture of a symbol's tables (None: the first): inputs, bars and stacks, whichever there are."""
        from ..viz.explanations import plot_explanation

        return plot_explanation(self, symbol, theme)


def _plain_date(date: Any) -> str | None:
    if date is None or pd.isna(date):
        return None
    return str(date.date() if date == date.normalize() else date)


def explain_forecast(fc: Forecast) -> Explanation:
    """Tables of the last origin of every symbol, of the networks that took part in its answer (`fc.model_used`).

    `past` covers the context's bars; steps end with the forecast's horizon. `parts` sum over stacks to N-HITS' median
    and to the width of its interval at config.LEVEL, before its quantiles are sorted and calibrated. Where a member
    averages several seeds, so do the tables. Raises ConfigError if no network took part for any symbol.
    """
    predictor, panel, rows = fc.source
    symbol = panel.symbol_of(rows)
    last = np.r_[symbol[1:] != symbol[:-1], True]
    rows, symbol, horizon = rows[last], symbol[last], int(fc.frame["step"].max())
    found: dict[str, pd.DataFrame] = {}
    seeds: dict[str, int] = {}
    for name in ("tft", "nhits"):
        member = predictor.members.get(name)
        asked = np.array([NAMES[name] in fc.model_used.get(panel.symbols[s], "") for s in symbol])
        if isinstance(member, Network) and asked.any():
            found |= _tables(member, panel, rows[asked], horizon)
            seeds[name] = len(member.models)
    if not found:
        who = ", ".join(sorted(set(fc.model_used.values())))
        raise ConfigError(
            f"No network answered but {who}, which has no attention or stacks; "
            "permutation_importance tells of any member which inputs matter to it."
        )
    return Explanation(**found, seeds=seeds, model_used=dict(fc.model_used))


def explain_rows(model: Any, panel: Panel, rows: np.ndarray) -> Explanation:
    """Tables of one network, each a mean over all the origins `rows` [K], with "all" for the symbol.

    `past` has a row a date: the weights given to that date's own bar, averaged over symbols; `future` the weights of
    its next session, `static` those of its symbols. `model` is a torch module or a Network, whose seeds are averaged.
    Memory holds sums, not origins. Raises ConfigError without origins.
    """
    member = model if isinstance(model, Network) else Network(model)
    if not len(rows):
        raise ConfigError("There are no origins to explain; give at least one row of the panel.")
    dated = not np.isnat(panel.date[rows]).any()
    keys = panel.date[rows] if dated else rows - panel.start[panel.symbol_of(rows)]
    dates, place = np.unique(keys, return_inverse=True)
    found: dict[str, list[_Sums]] = {}  # name -> a network each
    for i, model in enumerate(member.models):
        for index, pieces in _pieces(model, panel, rows, whole=False):
            for name, values in pieces.items():
                each = found.setdefault(name, [])
                if len(each) == i:
                    each.append(_Sums.of(len(dates) if name in KINDS else 1, values.shape[1:]))
                each[i].add(place[index] if name in KINDS else np.zeros(len(index), int), values)
    every = np.array([EVERY], object)
    overall = {name: _combine([s.of_all() for s in sums]) for name, sums in found.items()}
    tables, seeds = _frames(overall, panel, every, member.model), len(member.models)
    if "parts" in found:
        return Explanation(**tables, origins=len(rows), seeds={"nhits": seeds})
    ahead = np.empty(len(dates), keys.dtype)
    ahead[place] = panel.date[rows + 1] if dated else keys + 1
    for kind in KINDS:
        by = {
            "symbol": every,
            "date": ahead if kind == "future" else dates,
            "input": _input_names(panel)[kind],
        }
        stats = _combine([s.by_group() for s in found[kind]])
        tables[kind] = _long(Stats(stats.mean[None], stats.sd[None]), by)
    tables["past"].insert(2, "lag", 0)
    tables["future"].insert(2, "step", 1)
    return Explanation(**tables, origins=len(rows), seeds={"tft": seeds})


class Stats(NamedTuple):
    """Means and standard deviations, arrays of one shape."""

    mean: np.ndarray
    sd: np.ndarray


def _combine(found: list[Stats]) -> Stats:
    """Mean and deviation over networks that differ by seed; a single one keeps its own deviation."""
    if len(found) == 1:
        return found[0]
    means = np.stack([stats.mean for stats in found])
    return Stats(means.mean(0), means.std(0, ddof=1))


@dataclass
class _Sums:
    """Sums of values, and of their squares, by group: all that means and deviations need of any number of origins."""

    count: np.ndarray  # [G]
    total: np.ndarray  # [G, ...]
    square: np.ndarray  # [G, ...]

    @classmethod
    def of(cls, groups: int, shape: tuple[int, ...]) -> _Sums:
        return cls(np.zeros(groups, int), np.zeros((groups, *shape)), np.zeros((groups, *shape)))

    def add(self, at: np.ndarray, values: np.ndarray) -> None:
        """Take in values [k, ...] of the groups `at` [k]."""
        order = np.argsort(at, kind="stable")
        group, first = np.unique(at[order], return_index=True)
        values = values[order].astype(float)
        self.count += np.bincount(at, minlength=len(self.count))
        self.total[group] += np.add.reduceat(values, first, axis=0)
        self.square[group] += np.add.reduceat(values**2, first, axis=0)

    def by_group(self) -> Stats:
        """Of each group, [G, ...]; the deviation of one value is NaN."""
        count = self.count.reshape(-1, *[1] * (self.total.ndim - 1))
        mean = self.total / count
        spread = np.sqrt(np.maximum(self.square / count - mean**2, 0))
        return Stats(mean, np.where(count > 1, spread, np.nan))

    def of_all(self) -> Stats:
        """Over all groups' values, [1, ...]."""
        return _Sums(
            self.count.sum(keepdims=True), self.total.sum(0)[None], self.square.sum(0)[None]
        ).by_group()


def _pieces(
    model: Any, panel: Panel, rows: np.ndarray, whole: bool
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Index in `rows` [k] and what the network shows for these origins, batch after batch.

    TFT: attention [k, H, C+H], past [k, C, F_o+F_k], future [k, H, F_k], static [k, F_s]; unless `whole`, past
    [k, F_o+F_k] of the origin's own bar and future [k, F_k] of the next session alone.
    N-HITS: parts [k, H, S+1, 2]: the base and each stack; median and width of the interval, as log returns.
    """
    from ..training.loop import outputs

    horizon, context = model.config.horizon, model.config.context
    for found, _, index, (b, n) in outputs(model, panel, rows):
        if hasattr(found, "attention"):
            past, future = found.past_weights.cpu().numpy(), found.future_weights.cpu().numpy()
            b, n = np.asarray(b), np.asarray(n)
            bars, ahead = n + context - 1, n
            if whole:
                bars, ahead = n[:, None] + np.arange(context), n[:, None] + np.arange(horizon)
            at = b[:, None] if whole else b
            yield (
                index,
                {
                    "attention": found.attention[b, n].cpu().numpy(),
                    "past": past[at, bars],
                    "future": future[at, ahead],
                    "static": found.static_weights[b].cpu().numpy(),
                },
            )
        else:
            levels = np.asarray(model.config.quantiles)
            middle, low, high = (
                np.abs(levels - q).argmin() for q in (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2)
            )
            parts = found.parts[b, n].cpu().numpy()  # [k, H, S, Q]
            base = np.broadcast_to(
                model.base.cpu().numpy()[None, :, None], (len(b), horizon, 1, len(levels))
            )
            parts = np.concatenate([base, parts], 2)
            unit = np.asarray(panel.scale)[rows[index], None] * np.sqrt(np.arange(1, horizon + 1))
            both = np.stack([parts[..., middle], parts[..., high] - parts[..., low]], -1)
            yield index, {"parts": both * unit[..., None, None]}


def _tables(
    member: Network, panel: Panel, rows: np.ndarray, horizon: int
) -> dict[str, pd.DataFrame]:
    """Tables with a symbol for each of `rows` [K], up to step `horizon`."""
    found: dict[str, list[np.ndarray]] = {}
    for i, model in enumerate(member.models):
        for index, pieces in _pieces(model, panel, rows, whole=True):
            for name, values in pieces.items():
                values = values[:, :horizon] if name in ("attention", "future", "parts") else values
                values = values[..., : member.context + horizon] if name == "attention" else values
                each = found.setdefault(name, [])
                if len(each) == i:
                    each.append(np.empty((len(rows), *values.shape[1:])))
                each[i][index] = values
    symbols = np.asarray(panel.symbols, object)[panel.symbol_of(rows)]
    kept = {name: _combine([_alone(v) for v in values]) for name, values in found.items()}
    means = kept | {
        k: _combine([_alone(v.mean(1)) for v in found[k]]) for k in ("past", "future") if k in found
    }
    out = _frames(means, panel, symbols, member.model)
    if "past" in kept:
        lag, steps, ahead = (
            np.arange(member.context)[::-1],
            np.arange(1, horizon + 1),
            rows[:, None],
        )
        for kind, by, bars in (
            ("past", {"lag": lag}, ahead - lag),
            ("future", {"step": steps}, ahead + steps),
            ("static", {}, ahead),
        ):
            names = _input_names(panel)[kind]
            out[kind] = _long(kept[kind], {"symbol": symbols, **by, "input": names})
            out[kind].insert(1, "date", np.repeat(panel.date[bars].ravel(), len(names)))
    return out


def _alone(values: np.ndarray) -> Stats:
    return Stats(values, np.full_like(values, np.nan))


def _frames(
    kept: Mapping[str, Stats], panel: Panel, symbols: np.ndarray, model: Any
) -> dict[str, pd.DataFrame]:
    """The tables that carry no dates; past, future and static are [K, F] here."""
    out = {}
    if "attention" in kept:
        _, horizon, keys = kept["attention"].mean.shape
        steps, names = np.arange(1, horizon + 1), _input_names(panel)
        lags = np.r_[np.arange(keys - horizon)[::-1], -steps]
        table = _long(kept["attention"], {"symbol": symbols, "step": steps, "lag": lags})
        # a step sees the steps before it and itself
        out["attention"] = table[-table["lag"] <= table["step"]].reset_index(drop=True)
        both = Stats(*(np.concatenate([kept[k][i] for k in KINDS], 1) for i in (0, 1)))
        out["selection"] = _long(
            both, {"symbol": symbols, "input": [n for k in KINDS for n in names[k]]}
        )
        kinds = np.repeat(KINDS, [len(names[k]) for k in KINDS])
        out["selection"].insert(1, "kind", np.tile(kinds, len(symbols)))
    if "parts" in kept:
        pools, horizon = model.config.pools, kept["parts"].mean.shape[1]
        stacks = [BASELINE, *(f"stack {i}: {k} bar{'s' * (k > 1)}" for i, k in enumerate(pools, 1))]
        by = {"symbol": symbols, "step": np.arange(1, horizon + 1), "stack": stacks}
        median, width = (_long(Stats(*(a[..., i] for a in kept["parts"])), by) for i in (0, 1))
        table = median.rename(columns={"weight": "median", "sd": "median_sd"})
        table.insert(3, "scale", np.tile([0, *pools], len(table) // len(stacks)))
        out["parts"] = table.assign(width=width["weight"], width_sd=width["sd"])
    return out


def _input_names(panel: Panel) -> dict[str, tuple[str, ...]]:
    """Names of the inputs that each selection network weighs."""
    names = panel.inputs
    return {
        "past": (*names["observed"], *names["known"]),
        "future": names["known"],
        "static": names["static"],
    }


def _long(stats: Stats, by: Mapping[str, Any]) -> pd.DataFrame:
    """Arrays with an axis for each key of `by` as a tidy frame with the columns `weight` and `sd`."""
    columns, inner, outer = {}, stats.mean.size, 1
    for key, values in by.items():
        inner //= len(values)
        columns[key] = np.tile(np.repeat(np.asarray(values), inner), outer)
        outer *= len(values)
    return pd.DataFrame({**columns, "weight": stats.mean.ravel(), "sd": stats.sd.ravel()})


def permutation_importance(
    model: Any,
    panel: Panel,
    rows: np.ndarray,
    seed: int = 0,
    repeats: int = 1,
    groups: Mapping[str, tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """Rise of the mean pinball loss over the origins `rows` when an input belongs to other dates.

    Within the stretch of bars that a symbol's origins see, the input's column is rotated by a random number of bars:
    a permutation that keeps each value's neighbours, so that the network sees histories of a kind that it knows.
    `groups` names sets of inputs that move together (FAMILIES, for one); None takes each input alone, and
    understates those whose news others carry too. Known inputs can be named as well as observed ones.
    Returns a frame with columns input, rise (pinball loss × 10⁴ of the log return, mean of `repeats`), spread
    (standard deviation over them, NaN of one) and percent (of the loss itself), largest first.
    """
    member = model if hasattr(model, "quantiles") else Network(model)
    inputs = {"observed": panel.inputs["observed"], "known": panel.inputs["known"]}
    groups = {name: (name,) for name in inputs["observed"]} if groups is None else groups
    if unknown := {n for g in groups.values() for n in g} - {*F.OBSERVED, *F.KNOWN}:
        raise ConfigError(f"There is no input {min(unknown)!r} to permute; see panel.inputs.")
    generator = np.random.default_rng(seed)
    base, found = _loss(member, panel, rows), []
    for name, members in groups.items():
        if not any(m in names for m in members for names in inputs.values()):
            continue  # this panel does without the whole group
        rises = [
            _loss(member, _rotated(panel, rows, members, member.context, generator), rows) - base
            for _ in range(repeats)
        ]
        mean, spread = (
            float(np.mean(rises)),
            float(np.std(rises, ddof=1)) if repeats > 1 else np.nan,
        )
        found.append((name, mean, spread, 100 * mean / base if base > 0 else np.nan))
    table = pd.DataFrame(found, columns=["input", "rise", "spread", "percent"])
    return table.sort_values("rise", ascending=False, ignore_index=True)


def _loss(member: Any, panel: Panel, rows: np.ndarray) -> float:
    """Mean pinball loss × 10⁴ of the log returns from the origins `rows`, where the outcome is known."""
    loss = pinball_loss(member.quantiles(panel, rows), panel.outcomes(rows), member.levels)
    return float(1e4 * np.nanmean(loss))


def _rotated(
    panel: Panel,
    rows: np.ndarray,
    names: tuple[str, ...],
    context: int,
    generator: np.random.Generator,
) -> Panel:
    """`panel` with the named inputs rotated, by symbol, within the bars that the origins `rows` see."""
    changed = {k: np.array(getattr(panel, k)) for k in ("observed", "known")}
    symbol = panel.symbol_of(rows)
    for s in np.unique(symbol):
        own = rows[symbol == s]
        first, last = max(own.min() - context + 1, panel.start[s]), own.max()
        size = last - first + 1
        shift = int(generator.integers(size // 4, max(size - size // 4, size // 4 + 1)))
        for kind, values in changed.items():
            columns = [i for i, n in enumerate(panel.inputs[kind]) if n in names]
            end = last + 1 + (panel.config.horizon if kind == "known" else 0)
            values[first:end, columns] = np.roll(values[first:end, columns], shift, axis=0)
    return replace(panel, **changed)
