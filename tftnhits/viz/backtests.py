"""Figures of a walk-forward backtest and of an ablation.

In all of them `theme` is "light" or "dark"; an unknown one raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import stats

from ..errors import ConfigError, DataError
from ..evaluation.backtest import Backtest
from ..evaluation.leaderboard import BENCHMARK, arrays, loss_of
from ..evaluation.metrics import hac_variance, terciles
from ..evaluation.trading import summary as trade_summary
from ..evaluation.verdicts import CLASSIC, ENHANCED
from . import style

REGIMES = {-1: "volatility unknown", 0: "calm", 1: "middle", 2: "wild"}
RIVALS = ("TFT", "N-HITS", "gradient boosting", "GARCH-t")  # worth a panel beside the ensemble
COVERAGE = (
    "Outcomes overlap and symbols move together: a month's swing of several points is chance, a "
    "lasting drift is not. Right on average can be too wide in calm and too narrow in wild times."
)
SKILL = (
    "Dots: means; lines: 95% intervals (HAC over dates); hollow: can't be told from zero. Of many "
    "intervals some leave zero out by luck, and a lower loss is no profit."
)
RULE = (
    "One path of one rule: another start, order or cost gives another. Stocks that are known "
    "because they did well flatter buying and holding."
)
ABLATION = (
    "Dots: means over the seeds; lines: 95% intervals (Student's t); filled: measurable, over the "
    "dates too. Nothing was tuned anew, and what buys nothing here may with other data."
)
# field of TFTConfig or NHITSConfig -> its name, and what it is
ENHANCEMENTS = {
    "lstm_layers": ("second LSTM layer", "a second recurrent layer; the paper has one"),
    "deep_selection": ("three-layer selection", "variable weights from three layers, not one GRN"),
    "extra_gate": ("extra gate", "a second gated layer in every gated residual network"),
    "learned_pooling": ("learned pooling", "stacks learn to pool; the paper takes the maximum"),
    "neural_interpolation": ("neural interpolation", "a network, not lines, between the knots"),
    "scale_attention": ("attention across scales", "stacks are weighed, not added up"),
    "backcast": ("weighted backcast", "a learnt share of a value a bar, not knots and all of it"),
}


def plot_folds(result: Backtest, sessions: np.ndarray, theme: str = "light") -> Figure:
    """Which days each fold trains, validates and tests on, and the sessions around its border.

    Purged are origins whose outcomes would reach over the border. `sessions` are the bars' days.
    """
    folds, config = result.manifest["folds"], result.manifest["config"]
    size = (9.5, 1.9 + 0.34 * len(folds))
    figure, (spans, border), colors = style.canvas(theme, 1, 2, size, width_ratios=(3, 2))
    fills = {
        "training": colors.faint,
        "validation": colors.series[3],
        "purged": colors.ink,
        "embargo": colors.paper,
        "test": colors.first,
    }
    # all spans
    for fold in folds:
        for split, key in (("training", "train"), ("validation", "valid"), ("test", "test")):
            first = fold["begin"] if split == "training" else fold[f"{key}_begin"]
            begin, end = np.datetime64(first), np.datetime64(fold[f"{key}_end"])
            spans.barh(f"fold {fold['number']}", end - begin, 0.62, begin, color=fills[split])
    spans.invert_yaxis()
    spans.grid(False)
    style.date_axis(spans)
    style.axis_title(spans, "all spans", colors)
    _draw_border(border, result, sessions, fills, colors)
    handles = [Patch(facecolor=c, edgecolor=colors.faint, label=s) for s, c in fills.items()]
    style.legend(figure, colors, handles)
    several = "folds test" if len(folds) > 1 else "fold tests"
    title = (
        f"{len(folds)} {several} {folds[0]['test_begin']} to {folds[-1]['test_end']}, after "
        f"training on earlier bars alone; at each border {config['horizon']} sessions are purged "
        f"and {config['embargo']} embargoed"
    )
    return style.headline(figure, title, colors)


def _draw_border(
    ax: Axes, result: Backtest, sessions: Any, fills: dict[str, str], colors: style.Theme
) -> None:
    """The sessions around the first origin of the first test, a bar each."""
    config, begin = result.manifest["config"], result.manifest["folds"][0]["test_begin"]
    horizon, embargo = config["horizon"], config["embargo"]
    days = np.unique(np.asarray(sessions, "datetime64[D]"))
    before = int(np.searchsorted(days, np.datetime64(begin)))
    x = np.arange(-min(2 * (horizon + embargo) + 2, before), max(horizon, 5))
    conditions = [x >= 0, x >= -embargo, x >= -embargo - horizon]
    split = np.select(conditions, ["test", "embargo", "purged"], "validation")
    edge = {"edgecolor": colors.faint, "linewidth": 0.6}
    ax.bar(x, 1, 0.86, color=[fills[s] for s in split], **edge)
    ax.set(yticks=[], ylim=(-0.6, 1.6), xlabel="sessions from the first origin of the test")
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    style.axis_title(ax, "the border before the first test, session by session", colors)


def plot_coverage(frame: pd.DataFrame, forecaster: str, theme: str = "light") -> Figure:
    """Share of outcomes inside the 93% and 80% intervals by month, calibrated and as forecast.

    Parameters
    ----------
    frame : Backtest.frame; DataError where no outcome is known.
    forecaster : one of the frame's; else ConfigError.
    """
    known = frame["forecaster"].unique()
    if forecaster not in known:
        raise ConfigError(f"There is no forecaster {forecaster!r}; choose from {', '.join(known)}.")
    rows = frame[(frame["forecaster"] == forecaster) & frame["actual"].notna()]
    if rows.empty:
        raise DataError(f"No outcome of {forecaster}'s forecasts is known; give some that are.")
    figure, axes, colors = style.canvas(theme, 2, 1, (8, 5.0), COVERAGE, sharex=True)
    period = rows["origin"].dt.to_period("M").dt.to_timestamp()
    findings = []
    for ax, level in zip(axes, (93, 80)):
        low, high = (f"{(50 + side * level / 2) / 100:g}" for side in (-1, 1))
        raw = rows["actual"].between(rows[low], rows[high])
        calibrated = rows["actual"].between(rows[f"lower_{level}"], rows[f"upper_{level}"])
        ax.axhline(level, color=colors.ink, linestyle=":", linewidth=1, label="nominal")
        line = {"markersize": 3, "linewidth": 1.4}
        share = 100 * raw.groupby(period).mean()
        ax.plot(share, "s--", color=colors.second, label="as forecast", **line)
        share = 100 * calibrated.groupby(period).mean()
        ax.plot(share, "o-", color=colors.first, label="calibrated online", **line)
        ax.set_ylabel("inside, %")
        style.axis_title(ax, f"{level}% interval, by month", colors)
        held = f"{calibrated.mean():.1%} ({raw.mean():.1%} uncalibrated)"
        findings.append(f"the {level}% intervals held {held}")
    style.date_axis(axes[1])
    style.legend(figure, colors)
    return style.headline(figure, f"{forecaster}: {', '.join(findings)}", colors)


def skill(
    frame: pd.DataFrame, forecasters: Sequence[str], benchmark: str = BENCHMARK
) -> pd.DataFrame:
    """Loss relative to the benchmark's, a row a forecaster and group (volatility third, then fold).

    Parameters
    ----------
    frame : Backtest.frame; DataError where no outcome is known.
    forecasters : some of the frame's; ConfigError on an unknown one.

    Returns
    -------
    Columns forecaster, group, `skill` (percent by which the mean pinball loss is lower than the
    benchmark's) and `error`, half of its 95% interval (HAC over dates, 2H - 1 lags).
    """
    base = arrays(frame, benchmark)
    loss = loss_of(base)  # [K, H]
    if not np.isfinite(loss).any():
        raise DataError("No outcome of these forecasts is known; give those that have come true.")
    lags = 2 * loss.shape[1] - 1
    regime = pd.Series(terciles(base.scale)).map(REGIMES).to_numpy()
    dates = pd.Series(base.date)
    ends = dates.dt.strftime("%Y-%m").groupby(base.fold).agg(["min", "max"])
    spans = ends["min"] + " to " + ends["max"]
    fold = pd.Series(base.fold).map(spans).to_numpy()
    rows = []
    for name in forecasters:
        gain = loss - loss_of(arrays(frame, name))
        for labels, groups in ((regime, REGIMES.values()), (fold, spans)):
            for group in groups:
                chosen = labels == group
                if chosen.any():
                    unit = 100 / np.nanmean(loss[chosen])
                    error = _error_of_mean(gain[chosen], base.date[chosen], lags)
                    rows.append((name, group, unit * np.nanmean(gain[chosen]), unit * error))
    return pd.DataFrame(rows, columns=["forecaster", "group", "skill", "error"])


def _error_of_mean(x: np.ndarray, date: np.ndarray, lags: int) -> float:
    """Half of the 95% interval of the mean of x [K, H], dates [K] being clusters of any size."""
    away = pd.Series(np.nansum(x - np.nanmean(x), axis=1)).groupby(date).sum().to_numpy()
    return float(1.96 * np.sqrt(hac_variance(away, lags) * len(away)) / np.isfinite(x).sum())


def plot_skill(table: pd.DataFrame, theme: str = "light") -> Figure:
    """Skill against HAR by volatility regime and fold, a panel a forecaster of a `skill` table.

    A filled dot's 95% interval leaves 0 out. Of many such intervals some do so by luck: the verdict
    is the leaderboard's, over all origins. DataError on an empty table.
    """
    if table.empty:
        raise DataError("The table of skill is empty; name at least one forecaster.")
    names, groups = table["forecaster"].unique(), table["group"].unique()
    size = (9.5, 1.7 + 0.27 * len(groups))
    grid = {"caption": SKILL, "sharey": True, "sharex": True, "squeeze": False}
    figure, axes, colors = style.canvas(theme, 1, len(names), size, **grid)
    regimes = sum(group in REGIMES.values() for group in groups)
    for ax, name in zip(axes[0], names):
        rows = table[table["forecaster"] == name].set_index("group").reindex(groups)
        sure = rows["skill"].abs() > rows["error"]
        _draw_dots(ax, rows["skill"], rows["error"], sure, colors)
        ax.axhline(regimes - 0.5, color=colors.faint, linewidth=0.6)
        ax.set_yticks(range(len(groups)), groups)
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        style.axis_title(ax, name, colors, int(80 / len(names)))
    reach = 1.08 * (table["skill"].abs() + table["error"]).max() or 1.0
    axes[0, 0].set_xlim(-reach, reach)
    label = f"loss lower than {BENCHMARK}'s by, %"
    figure.body.supxlabel(label, fontsize=9.5, color=colors.ink)
    first = table[table["forecaster"] == names[0]].set_index("group")
    better, worse = first["skill"] > first["error"], first["skill"] < -first["error"]
    low, high = first["skill"].idxmin(), first["skill"].idxmax()
    title = (
        f"{names[0]}: measurably better than {BENCHMARK} in {better.sum()} of {len(first)} groups, "
        f"worse in {worse.sum()}; from {first['skill'][low]:+.2f}% ({low}) "
        f"to {first['skill'][high]:+.2f}% ({high})"
    )
    return style.headline(figure, title, colors)


def _draw_dots(
    ax: Axes, mean: pd.Series, error: pd.Series, sure: pd.Series, colors: style.Theme
) -> None:
    """Means with their intervals, a row each, filled where `sure`."""
    y = np.arange(len(mean))
    ax.axvline(0, color=colors.ink, linewidth=0.9)
    ax.hlines(y, mean - error, mean + error, color=colors.first, linewidth=1.6)
    face = np.where(sure, colors.first, colors.paper)
    edge = {"edgecolor": colors.first, "linewidth": 1.4, "zorder": 3}
    ax.scatter(mean, y, 36, facecolor=face, **edge)
    ax.set_ylim(len(mean) - 0.5, -0.5)
    ax.grid(False)


def plot_weights(result: Backtest, theme: str = "light") -> Figure:
    """Shares that each fold learnt on its validation (mean over the seeds), below the given ones.

    DataError where no ensemble was made, for lack of the networks.
    """
    records = [
        {"fold": record["fold"]["number"], "ensemble": name, **shares}
        for record in result.records
        for name, shares in record["weights"].items()
    ]
    if not records:
        raise DataError(f"{result.folder} has no ensemble; run the backtest with both networks.")
    # a row for the given weights, and one for each fold's learnt ones
    mean = 100 * pd.DataFrame(records).groupby(["ensemble", "fold"]).mean().fillna(0)
    rows = {"given": mean.loc["ensemble"].iloc[0]}
    for name in ("learned weights", "learned weights + HAR"):
        if name in mean.index:
            for fold, shares in mean.loc[name].iterrows():
                rows[f"{name.replace(' weights', '')}, fold {fold}"] = shares
    table = pd.DataFrame(rows).T
    figure, ax, colors = style.canvas(theme, size=(8, 1.6 + 0.32 * len(table)))
    # stacked bars, hatched for eyes that don't tell the colours apart
    left = np.zeros(len(table))
    members = {"TFT": colors.first, "N-HITS": colors.series[2], BENCHMARK: colors.faint}
    for hatch, (member, color) in zip(style.HATCHES, members.items()):
        if member in table:
            marks = {"color": color, "hatch": hatch, "edgecolor": colors.paper}
            ax.barh(table.index, table[member], 0.7, left, label=member, **marks)
            left += table[member].to_numpy()
    given, learned = table.loc["given", "TFT"], mean.loc["learned weights"]["TFT"]
    ax.axvline(given, color=colors.ink, linestyle=":", linewidth=1)
    ax.set(xlabel="share, %", xlim=(0, 100))
    ax.invert_yaxis()
    ax.grid(False)
    style.legend(figure, colors)
    folds = f"{len(learned)} fold{'s' * (len(learned) > 1)}"
    span = f"from {learned.min():.0f}% to {learned.max():.0f}% over {folds}"
    title = f"The TFT's learnt share runs {span}; given are {given:.0f}%"
    return style.headline(figure, title, colors)


def plot_rule(trades: Mapping[str, pd.DataFrame], theme: str = "light") -> Figure:
    """Growth under the `trades` of trading.run_rule, before and after costs, and buy and hold."""
    figure, ax, colors = style.canvas(theme, size=(8, 3.6), caption=RULE)
    rule, hold = trades["rule"], trades["buy and hold"]
    lines = {
        "rule, net of costs": rule["net"],
        "rule, before costs": rule["gross"],
        "buy and hold, net": hold["net"],
    }
    for color, dash, (label, returns) in zip(colors.series, style.DASHES, lines.items()):
        growth = 100 * ((1 + returns).cumprod() - 1)
        ax.plot(rule.index, growth, dash, color=color, linewidth=1.5, label=label)
    ax.axhline(0, color=colors.faint, linewidth=0.8)
    ax.set_ylabel("return since the start, %")
    style.date_axis(ax)
    style.legend(figure, colors)
    a, b = trade_summary(rule), trade_summary(hold)
    title = (
        f"After costs of {a['costs']:.2%} a year the rule returned {a['return']:+.1%} a year "
        f"(Sharpe {a['sharpe']:.2f}), buying and holding {b['return']:+.1%} ({b['sharpe']:.2f})"
    )
    return style.headline(figure, title, colors)


def plot_ablation(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]] = (), theme: str = "light"
) -> Figure:
    """Each variant's validation loss less the enhanced network's; to the right is worse without.

    Parameters
    ----------
    rows : network, variant, `difference`, `difference sd` (over seeds, or None), `verdict`;
        DataError unless a variant is compared with the enhanced network.
    runs : network, variant, seed, `valid`; where given, each seed's own difference is a tick.
    """
    table = pd.DataFrame([row for row in rows if row.get("verdict")])
    if table.empty:
        raise DataError("No row has a verdict; compare at least one variant with the enhanced.")
    networks, most = table["network"].unique(), table.groupby("network").size().max()
    grid = {"caption": ABLATION, "sharex": True, "squeeze": False}
    figure, axes, colors = style.canvas(theme, 1, len(networks), (9.5, 1.7 + 0.34 * most), **grid)
    for ax, network in zip(axes[0], networks):
        variants = table[table["network"] == network]
        differences = _by_seed(runs, network)
        seeds = variants["variant"].map(differences.count()).astype(float)  # NaN without runs
        deviation = variants["difference sd"].astype(float)
        error = stats.t.ppf(0.975, seeds - 1) * deviation / np.sqrt(seeds)
        sure = variants["verdict"].isin(["helps", "hurts"])
        _draw_dots(ax, variants["difference"], error, sure, colors)
        for y, variant in enumerate(variants["variant"]):
            if variant in differences:
                x = differences[variant]
                ax.plot(x, np.full(len(x), y + 0.24), "|", color=colors.second, markersize=6)
        ax.set_yticks(range(len(variants)), [_variant_name(v) for v in variants["variant"]])
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        style.axis_title(ax, network, colors)
    label = "validation loss less the enhanced network's, × 10⁴ (right of 0: worse without it)"
    label += "; ticks: the seeds" if len(runs) else ""
    figure.body.supxlabel(label, fontsize=9.5, color=colors.ink)
    return style.headline(figure, _ablation_title(table), colors)


def _by_seed(runs: Sequence[Mapping[str, Any]], network: str) -> pd.DataFrame:
    """Differences to the enhanced network, a row a seed and a column a variant."""
    runs = pd.DataFrame([run for run in runs if run["network"] == network])
    if runs.empty:
        return runs
    valid = runs.pivot(index="seed", columns="variant", values="valid")
    return valid.sub(valid[ENHANCED], axis=0)


def _variant_name(variant: str) -> str:
    """A variant's name for readers: "without extra_gate" is "without extra gate"."""
    if variant == CLASSIC:
        return "without all of them (classic)"
    field = variant.removeprefix("without ")
    if field not in ENHANCEMENTS:  # of an earlier version
        return variant.replace("_", " ")
    return f"without {ENHANCEMENTS[field][0]}"


def _ablation_title(table: pd.DataFrame) -> str:
    """What the verdicts say, in one sentence."""
    names = table["network"] + " " + table["variant"].map(_variant_name)
    named = names + table["difference"].map(" (loss {:+.3f})".format)
    measured = named[table["verdict"].isin(["helps", "hurts"])]
    if table["verdict"].str.startswith("one seed").all():
        return "One seed gives no verdict: what differs here may be luck"
    if len(measured):
        rest = f"{len(table) - len(measured)} of {len(table)} differences can't be told from zero"
        return f"Measurable: {', '.join(measured)}; {rest}"
    largest = named[table["difference"].abs().idxmax()]
    return f"No enhancement is measurably better than none; largest of {len(table)}: {largest}"
