"""Figures of a walk-forward backtest: its folds, coverage over time, skill by regime, weights, the trading rule.

Each takes a Backtest or its frame, returns the figure and never shows it. The `draw_…` ones fill axes that the
caller made, so that figures and the printed page (viz.page) show the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..config import SCORE_LEVELS
from ..errors import ConfigError, DataError
from ..evaluation.backtest import Backtest
from ..evaluation.leaderboard import BENCHMARK, PERIODS, Arrays, arrays, summary
from ..evaluation.metrics import INTERVALS, hac_variance, pinball_loss, terciles
from ..evaluation.trading import summary as trade_summary
from .bars import date_axis
from .style import DASHES, HATCHES, Theme, axis_title, body, canvas, headline, legend

REGIMES = {-1: "volatility unknown", 0: "calm", 1: "middle", 2: "wild"}
Z95 = 1.96
SPLITS = ("training", "validation", "purged", "embargo", "test")
COVERAGE = (
    "Outcomes overlap and symbols move together, so a month's swing of several points is chance, a lasting drift is "
    "not. Coverage that is right on average can still be too wide in calm times and too narrow in wild ones."
)
SKILL = (
    "Dots: means; lines: 95% intervals (HAC over dates); hollow: can't be told from zero. Of many intervals some leave "
    "zero out by luck, and a lower loss is no profit."
)
RULE = (
    "One path of one rule on one set of stocks: another start, order or cost gives another. Stocks that are known "
    "because they did well flatter buying and holding."
)


def plot_folds(result: Backtest, sessions: np.ndarray, theme: str = "light") -> Figure:
    """Which days each fold trains, validates and tests on, and the last sessions before a test one by one.

    sessions: the days of the bars, in any order. Purged are origins whose outcomes would reach over the border.
    """
    folds, config = result.manifest["folds"], result.manifest["config"]
    horizon, embargo = config["horizon"], config["embargo"]
    figure, (wide, near), look = canvas(
        theme, 1, 2, size=(9.5, 1.9 + 0.34 * len(folds)), width_ratios=(3, 2)
    )
    colors = dict(zip(SPLITS, (look.faint, look.series[3], look.ink, look.paper, look.first)))
    for fold in folds:
        for split, first, last in (
            ("training", "begin", "train_end"),
            ("validation", "valid_begin", "valid_end"),
            ("test", "test_begin", "test_end"),
        ):
            begin, end = np.datetime64(fold[first]), np.datetime64(fold[last])
            wide.barh(fold["number"], end - begin, 0.62, left=begin, color=colors[split])
    wide.set_yticks([f["number"] for f in folds], [f"fold {f['number']}" for f in folds])
    wide.invert_yaxis()
    wide.xaxis_date()
    wide.grid(False)
    axis_title(wide, "all spans", look)
    days = np.unique(np.asarray(sessions, "datetime64[D]"))
    _border(
        near,
        int(np.searchsorted(days, np.datetime64(folds[0]["test_begin"]))),
        horizon,
        embargo,
        colors,
        look,
    )
    handles = [Patch(facecolor=c, edgecolor=look.faint, label=s) for s, c in colors.items()]
    legend(figure, look, handles=handles, loc="outside lower center")
    several = "folds test" if len(folds) > 1 else "fold tests"
    text = (
        f"{len(folds)} {several} {folds[0]['test_begin']} to {folds[-1]['test_end']}, after training on earlier "
        f"bars alone; at each border {horizon} sessions are purged and {embargo} embargoed"
    )
    headline(figure, text, look)
    return figure


def _border(
    ax: Axes, first: int, horizon: int, embargo: int, colors: Mapping[str, str], look: Theme
) -> None:
    """The sessions around a test's first one, each a square."""
    reach = min(2 * (horizon + embargo) + 2, first)
    at = np.arange(-reach, max(horizon, 5))
    split = np.select(
        [at >= 0, at >= -embargo, at >= -embargo - horizon],
        ["test", "embargo", "purged"],
        "validation",
    )
    ax.bar(at, 1, 0.86, color=[colors[s] for s in split], edgecolor=look.faint, linewidth=0.6)
    ax.set(yticks=[], ylim=(-0.6, 1.6), xlabel="sessions from the first origin of the test")
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    axis_title(ax, "the border before the first test, session by session", look)


def plot_coverage(
    frame: pd.DataFrame, forecaster: str, by: str = "month", theme: str = "light"
) -> Figure:
    """Share of outcomes inside the 93% and 80% intervals over time, calibrated online and as forecast.

    frame: Backtest.frame. A month holds some twenty dates whose outcomes overlap and whose symbols move together:
    swings of several points are chance, a drift to one side is not. Raises ConfigError on an unknown name.
    """
    if by not in PERIODS:
        raise ConfigError(f"Coverage over time goes by one of {', '.join(PERIODS)}, not by {by!r}.")
    own = _only(frame, forecaster)
    figure, axes, look = canvas(theme, 2, 1, size=(8, 5.0), caption=COVERAGE, sharex=True)
    table = summary(own, by=by)
    for ax, level in zip(axes, (0.93, 0.8)):
        draw_coverage(ax, table, by, level, look)
    legend(figure, look, *axes[0].get_legend_handles_labels(), loc="outside lower center")
    headline(figure, coverage_finding(own, forecaster), look)
    return figure


def _only(frame: pd.DataFrame, forecaster: str) -> pd.DataFrame:
    own = frame[frame["forecaster"] == forecaster]
    if own.empty:
        known = ", ".join(map(str, frame["forecaster"].unique()))
        raise ConfigError(
            f"There is no forecaster {forecaster!r} in the frame; choose from {known}."
        )
    return own


def coverage_finding(frame: pd.DataFrame, forecaster: str) -> str:
    """One sentence: what the intervals of a forecaster held over all test origins."""
    row = summary(_only(frame, forecaster), verdicts=False).iloc[0]
    if not np.isfinite(row["coverage_93"]):
        raise DataError(
            f"No outcome of {forecaster}'s forecasts is known, so no coverage; give some that came true."
        )
    parts = [
        f"the {100 * v:.0f}% intervals held {row[f'calibrated_coverage_{100 * v:.0f}']:.1%} "
        f"({row[f'coverage_{100 * v:.0f}']:.1%} uncalibrated)"
        for v in sorted(INTERVALS, reverse=True)
    ]
    return f"{forecaster}: {', '.join(parts)}"


def draw_coverage(ax: Axes, table: pd.DataFrame, by: str, level: float, look: Theme) -> None:
    """One level's coverage over time; table: leaderboard.summary of one forecaster by month, quarter or year."""
    key, x = (
        f"{100 * level:.0f}",
        pd.PeriodIndex(table[by], freq=PERIODS[by]).to_timestamp().to_numpy(),
    )
    order = np.argsort(x)
    line = {"markersize": 3, "linewidth": 1.4}
    raw, calibrated = (
        100 * table[f"{kind}coverage_{key}"].to_numpy()[order] for kind in ("", "calibrated_")
    )
    ax.axhline(100 * level, color=look.ink, linestyle=":", linewidth=1, label="nominal")
    ax.plot(x[order], raw, "s--", color=look.second, label="as forecast", **line)
    ax.plot(x[order], calibrated, "o-", color=look.first, label="calibrated online", **line)
    ax.set_ylabel("inside, %")
    date_axis(ax, x[order])
    axis_title(ax, f"{key}% interval, by {by}", look)


def skill(
    frame: pd.DataFrame, forecasters: Sequence[str], benchmark: str = BENCHMARK
) -> pd.DataFrame:
    """Loss relative to the benchmark's, a row a forecaster and group (volatility tercile, then fold).

    Columns: forecaster, group, `skill` (percent by which the mean pinball loss is lower than the benchmark's) and
    `error`, half of its 95% interval (HAC over dates, 2H − 1 lags; seeds averaged). Raises ConfigError on an unknown
    forecaster.
    """
    base = arrays(frame, benchmark)
    against, lags = _losses(base), 2 * base.actual.shape[1] - 1
    by_volatility = pd.Series(terciles(base.scale)).map(REGIMES).to_numpy()
    dates = pd.Series(base.date).groupby(base.fold)
    by_fold = np.array(
        [_span(*pair) for pair in zip(dates.transform("min"), dates.transform("max"))]
    )
    rows = []
    if not np.isfinite(against).any():
        raise DataError(
            "No outcome is known of these forecasts, so there is no skill; give those that have come true."
        )
    for name in forecasters:
        gain = against - _losses(arrays(frame, name))  # [K, H]
        for labels, names in ((by_volatility, REGIMES.values()), (by_fold, np.unique(by_fold))):
            for group in (g for g in names if (labels == g).any()):
                chosen = labels == group
                unit = 100 / np.nanmean(against[chosen])
                error = _error_of_mean(gain[chosen], base.date[chosen], lags)
                rows.append((name, group, unit * np.nanmean(gain[chosen]), unit * error))
    return pd.DataFrame(rows, columns=["forecaster", "group", "skill", "error"])


def _span(begin: pd.Timestamp, end: pd.Timestamp) -> str:
    """Two dates as "2015" if they are in the first and the last month of it, else as "2015-03 to 2016-02"."""
    whole = begin.year == end.year and (begin.month, end.month) == (1, 12)
    return str(begin.year) if whole else f"{begin:%Y-%m} to {end:%Y-%m}"


def _error_of_mean(x: np.ndarray, date: np.ndarray, lags: int) -> float:
    """Half of the 95% interval of the mean over all cells x [K, H], dates [K] being clusters of any size."""
    away = pd.Series(np.nansum(x - np.nanmean(x), axis=1)).groupby(date).sum().to_numpy()
    return float(Z95 * np.sqrt(hac_variance(away, lags) * len(away)) / np.isfinite(x).sum())


def _losses(found: Arrays) -> np.ndarray:
    """[K, H] pinball losses over the protocol's levels."""
    pick = [found.levels.index(level) for level in SCORE_LEVELS]
    return pinball_loss(found.quantiles[..., pick], found.actual, SCORE_LEVELS)


def plot_skill(table: pd.DataFrame, theme: str = "light") -> Figure:
    """Skill against HAR by volatility regime and fold (`skill`), a panel a forecaster; the first is the title's.

    A filled dot's 95% interval leaves 0 out. Of many such intervals some do so by luck: the verdict is the
    leaderboard's, over all origins.
    """
    if table.empty:
        raise DataError("The table of skill is empty; name at least one forecaster.")
    names, groups = table["forecaster"].unique(), table["group"].unique()
    size = (9.5, 1.7 + 0.27 * len(groups))
    grid = {"sharey": True, "sharex": True, "squeeze": False}
    figure, axes, look = canvas(theme, 1, len(names), size=size, caption=SKILL, **grid)
    draw_skill(axes[0], table, look, width=7.2 / len(names))
    reach = 1.08 * (table["skill"].abs() + table["error"]).max() or 1.0
    axes[0, 0].set_xlim(-reach, reach)
    body(figure).supxlabel(f"loss lower than {BENCHMARK}'s by, %", fontsize=9.5, color=look.ink)
    headline(figure, skill_finding(table), look)
    return figure


def skill_finding(table: pd.DataFrame) -> str:
    """One sentence on the first forecaster of a `skill` table."""
    own = table[table["forecaster"] == table["forecaster"].iloc[0]].set_index("group")
    better, worse = (own["skill"] > own["error"]).sum(), (own["skill"] < -own["error"]).sum()
    low, high = own["skill"].idxmin(), own["skill"].idxmax()
    return (
        f"{own['forecaster'].iloc[0]}: measurably better than {BENCHMARK} in {better} of {len(own)} groups, worse in "
        f"{worse}; from {own['skill'][low]:+.2f}% ({low}) to {own['skill'][high]:+.2f}% ({high})"
    )


def draw_skill(
    axes: Sequence[Axes],
    table: pd.DataFrame,
    look: Theme,
    fontsize: float = 9.5,
    width: float = 1.4,
) -> None:
    """A panel a forecaster, of about `width` inches and named in `fontsize`, and a row a group."""
    names, groups = table["forecaster"].unique(), table["group"].unique()
    for ax, name in zip(axes, names):
        own = table[table["forecaster"] == name].set_index("group").reindex(groups)
        at = np.arange(len(groups))
        sure = (own["skill"].abs() > own["error"]).to_numpy()
        ax.axvline(0, color=look.ink, linewidth=0.9)
        ax.hlines(
            at,
            own["skill"] - own["error"],
            own["skill"] + own["error"],
            color=look.first,
            linewidth=1.6,
        )
        face = np.where(sure, look.first, look.paper)
        ax.scatter(
            own["skill"], at, 34, facecolor=face, edgecolor=look.first, linewidth=1.4, zorder=3
        )
        ax.axhline(
            sum(g in REGIMES.values() for g in groups) - 0.5, color=look.faint, linewidth=0.6
        )
        ax.set_yticks(at, groups)
        ax.set_ylim(len(groups) - 0.5, -0.5)
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        ax.grid(False)
        axis_title(ax, name, look, width, fontsize)


def plot_weights(result: Backtest, theme: str = "light") -> Figure:
    """Shares that each fold learnt on its validation (mean over the seeds), below the given ones.

    Raises DataError where no ensemble was made, for lack of the networks.
    """
    weights = pd.DataFrame(
        [
            (r["fold"]["number"], name, *pair)
            for r in result.records
            for name, shares in r["weights"].items()
            for pair in shares.items()
        ],
        columns=["fold", "ensemble", "member", "share"],
    )
    if weights.empty:
        raise DataError(
            f"The backtest in {result.folder} has no ensemble; run it with both networks."
        )
    mean = weights.groupby(["ensemble", "fold", "member"])["share"].mean().unstack().fillna(0)
    learned = [name for name in ("learned weights", "learned weights + HAR") if name in mean.index]
    rows = [("given", mean.loc["ensemble"].iloc[0])]
    rows += [
        (f"{n.replace(' weights', '')}, fold {fold}", share)
        for n in learned
        for fold, share in mean.loc[n].iterrows()
    ]
    figure, ax, look = canvas(theme, size=(8, 1.6 + 0.32 * len(rows)))
    members = [m for m in ("TFT", "N-HITS", BENCHMARK) if m in mean.columns]
    left = np.zeros(len(rows))
    for color, hatch, member in zip((look.first, look.series[2], look.faint), HATCHES, members):
        share = np.array([100 * shares[member] for _, shares in rows])
        ax.barh(
            range(len(rows)),
            share,
            0.7,
            left=left,
            color=color,
            hatch=hatch,
            edgecolor=look.paper,
            label=member,
        )
        left += share
    given, own = 100 * rows[0][1]["TFT"], 100 * mean.loc["learned weights"]["TFT"]
    ax.axvline(given, color=look.ink, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(rows)), [label for label, _ in rows])
    ax.set(xlabel="share, %", xlim=(0, 100))
    ax.invert_yaxis()
    ax.grid(False)
    legend(figure, look, loc="outside lower center")
    span = f"from {own.min():.0f}% to {own.max():.0f}% over {len(own)} fold{'s' * (len(own) > 1)}"
    headline(figure, f"The TFT's learnt share runs {span}; given are {given:.0f}%", look)
    return figure


def plot_rule(trades: Mapping[str, pd.DataFrame], theme: str = "light") -> Figure:
    """Growth of 1 under trading.run_rule: the rule before and after costs, and buy and hold."""
    figure, ax, look = canvas(theme, size=(8, 3.6), caption=RULE)
    rule, hold = trades["rule"], trades["buy and hold"]
    lines = {
        "rule, net of costs": rule["net"],
        "rule, before costs": rule["gross"],
        "buy and hold, net": hold["net"],
    }
    for color, dash, (label, returns) in zip(look.series, DASHES, lines.items()):
        ax.plot(
            rule.index,
            100 * ((1 + returns).cumprod() - 1),
            linestyle=dash,
            color=color,
            linewidth=1.5,
            label=label,
        )
    ax.axhline(0, color=look.faint, linewidth=0.8)
    ax.set_ylabel("return since the start, %")
    date_axis(ax, rule.index.to_numpy())
    legend(figure, look, loc="outside lower center")
    a, b = trade_summary(rule), trade_summary(hold)
    text = (
        f"After costs of {a['costs']:.2%} a year the rule returned {a['return']:+.1%} a year (Sharpe {a['sharpe']:.2f}"
        f"), buying and holding {b['return']:+.1%} ({b['sharpe']:.2f})"
    )
    headline(figure, text, look)
    return figure
