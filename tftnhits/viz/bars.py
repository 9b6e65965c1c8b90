"""Figures of the bars themselves: price and volume, returns, volatility clustering, repairs.

In all of them `bars` is the tidy frame, `symbol` one of its symbols (None: the first, or all), and
`theme` "light" or "dark"; an unknown symbol raises DataError, an unknown theme ConfigError.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.stats import kurtosis, norm

from ..data.bars import repairs
from ..errors import DataError
from . import style

FAR = 4.0  # standard deviations that count as a far move
MOST = 31  # rows in a picture of counts
LABELS = 6  # of a date axis


def of_symbol(table: pd.DataFrame, symbol: str | None) -> pd.DataFrame:
    """A table's rows of one symbol (None: the first); raises DataError on one that isn't there."""
    names = table["symbol"].unique()
    if symbol is None and len(names):
        symbol = names[0]
    if symbol not in names:
        known = ", ".join(map(str, names[:10]))
        raise DataError(f"There is no symbol {symbol!r}; there are {known or 'none'}.")
    return table[table["symbol"] == symbol]


def axis_of(bars: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What a symbol's bars stand on: their dates, or their numbers where there are none."""
    if bars["date"].isna().any():
        return np.arange(len(bars)), "bar number"
    return bars["date"].to_numpy(), "date"


def bar_ticks(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Places of evenly spaced labels among bars at the dates x [N], and the labels.

    A label is the day, or the hour; the year, or the day, stands below it where it changes.
    """
    places = np.unique(np.linspace(0, len(x) - 1, LABELS).astype(int))
    upper, lower = map(np.asarray, bar_labels(x[places], _whole_days(x)))
    changes = np.r_[True, lower[1:] != lower[:-1]]
    return places, [f"{a}\n{b}" if new else a for a, b, new in zip(upper, lower, changes)]


def bar_labels(x: np.ndarray, days: bool | None = None) -> tuple[list[str], list[str]]:
    """What stands below each bar at x [N]: the day or the hour, and in the next line the rest.

    Numbers of bars are themselves. `days` tells whether all bars are of whole days.
    """
    if x.dtype.kind != "M":
        return list(map(str, x)), [""] * len(x)
    days = _whole_days(x) if days is None else days
    forms = ("%d %b", "%Y") if days else ("%H:%M", "%d %b %Y")
    upper, lower = (pd.DatetimeIndex(x).strftime(form).tolist() for form in forms)
    return upper, lower


def _whole_days(x: np.ndarray) -> bool:
    return bool((x == x.astype("datetime64[D]")).all())


def bar_axis(ax: Axes, x: np.ndarray) -> np.ndarray:
    """Places [N] for bars at x [N], dates or numbers in order, and the ticks of their axis.

    They are 0, 1, 2 …: evenly spaced, no gap where a market is closed.
    """
    x = np.asarray(x)
    if x.dtype.kind == "M":
        ax.set_xticks(*bar_ticks(x))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place + x[0]:.0f}"))
    return np.arange(len(x))


def plotly_bars(x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The same for plotly: what to give for bars at x [N], and the settings of their axis.

    Days without a bar are left out of the axis; bars within days stand side by side as categories.
    """
    x = np.asarray(x)
    if x.dtype.kind != "M":
        return x, {}
    dates = pd.DatetimeIndex(x)
    if not _whole_days(x):
        names = dates.strftime("%Y-%m-%d %H:%M").to_numpy(object)
        places, labels = bar_ticks(x)
        return names, {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names.tolist(),
            "tickvals": names[places].tolist(),
            "ticktext": [label.replace("\n", "<br>") for label in labels],
        }
    closed = pd.date_range(dates[0], dates[-1]).difference(dates)
    daily = (np.diff(x) == np.timedelta64(1, "D")).any()  # between weekly bars no market is closed
    breaks = {"values": closed.strftime("%Y-%m-%d").tolist()}
    return x, {"rangebreaks": [breaks]} if daily and len(closed) else {}


def plot_candles(
    bars: pd.DataFrame,
    symbol: str | None = None,
    last: int = 120,
    interactive: bool = False,
    theme: str = "light",
) -> Any:
    """Open, high, low and close of the last bars, with their volume where it is known.

    A bar that closed at or above its open is hollow, one below it filled: no colour is needed.

    Parameters
    ----------
    last : how many bars; ConfigError unless a whole number from 1.
    interactive : a plotly figure instead of matplotlib's.
    """
    every = of_symbol(bars, symbol)
    x, label = axis_of(every)
    part, x = every.tail(style.count(last, "last")), x[-last:]
    close = part["close"].to_numpy()
    when = ""
    if label == "date":
        when = f" on {pd.Timestamp(x[-1]):%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    title = f"{style.shorten(part['symbol'].iloc[0])} closed at {style.price(close[-1])}{when}"
    if len(part) > 1:
        title += (
            f", {close[-1] / close[0] - 1:+.1%} over these {len(part)} bars, "
            f"between {style.price(part['low'].min())} and {style.price(part['high'].max())}"
        )
    draw = _plotly_candles if interactive else _candles
    return draw(part, x, label, title, theme)


def _candles(part: pd.DataFrame, x: np.ndarray, label: str, title: str, theme: str) -> Figure:
    rows = 2 if part["volume"].notna().any() else 1
    grid = {"sharex": True, "squeeze": False, "height_ratios": (3, 1)[:rows]}
    figure, axes, colors = style.canvas(theme, rows, size=(8, 2.4 + 1.2 * rows), **grid)
    top, bottom = axes[0, 0], axes[-1, 0]
    places = bar_axis(bottom, x)
    # prices
    rising = (part["close"] >= part["open"]).to_numpy()
    edge = np.where(rising, colors.first, colors.second)
    face = np.where(rising, colors.paper, colors.second)
    body = (part["close"] - part["open"]).abs()
    base = part[["open", "close"]].min(axis=1)
    top.vlines(places, part["low"], part["high"], color=edge, linewidth=0.8, zorder=2)
    top.bar(places, body, 0.7, base, edgecolor=edge, linewidth=0.8, color=face, zorder=3)
    top.set_xlim(-1, max(len(part), 10))
    top.set_ylabel("price")
    style.plain_axis(top.yaxis, part[["low", "high"]])
    # volume
    if rows == 2:
        millions = part["volume"].fillna(0) / 1e6
        bottom.bar(places, millions, 0.7, color=colors.faint)
        bottom.set_ylabel("volume,\nmillions")
        bottom.yaxis.set_major_locator(MaxNLocator(3))
        style.plain_axis(bottom.yaxis, millions)
    bottom.set_xlabel(label)
    return style.headline(figure, title, colors)


def _plotly_candles(part: pd.DataFrame, x: np.ndarray, label: str, title: str, theme: str) -> Any:
    figure, colors = style.plotly_figure(title, theme, height=520, showlegend=False)
    x, axis = plotly_bars(x)
    figure.add_candlestick(**candlestick(part, x, colors, name="price"))
    pattern = style.price_pattern(part[["low", "high"]])
    figure.update_xaxes(rangeslider_visible=False, title_text=label, **axis)
    figure.update_yaxes(title_text="price", tickformat=pattern, hoverformat=pattern)
    if part["volume"].notna().any():
        bars = {"name": "volume", "marker": {"color": colors.faint}, "yaxis": "y2"}
        figure.add_bar(x=x, y=part["volume"], **bars)
        below = {"domain": [0, 0.22], "title": {"text": "volume"}, "nticks": 4}
        figure.update_layout(yaxis={"domain": [0.3, 1]}, yaxis2=below, xaxis={"anchor": "y2"})
    return figure


def candlestick(part: pd.DataFrame, x: Any, colors: style.Theme, **more: Any) -> dict[str, Any]:
    """Candles for plotly at x [N] of `part`'s open, high, low and close; hollow where it rose."""
    return {
        "x": x,
        **{name: part[name] for name in ("open", "high", "low", "close")},
        "increasing": {"line": {"color": colors.first, "width": 1.2}, "fillcolor": colors.paper},
        "decreasing": {"line": {"color": colors.second, "width": 1.2}, "fillcolor": colors.second},
        **more,
    }


def log_returns(bars: pd.DataFrame, symbol: str | None = None) -> dict[str, np.ndarray]:
    """Close-to-close log returns [T - 1] of each symbol, or of one."""
    parts = bars if symbol is None else of_symbol(bars, symbol)
    by_symbol = parts.groupby("symbol", sort=False)["close"]
    return {str(name): np.diff(np.log(close.to_numpy(float))) for name, close in by_symbol}


def plot_returns(bars: pd.DataFrame, symbol: str | None = None, theme: str = "light") -> Figure:
    """Distribution of the returns against a normal one, on a scale that shows the tails.

    Each symbol's returns are divided by their own standard deviation and pooled. It says nothing of
    the order of the returns; see plot_volatility_clustering. DataError where no close moves.
    """
    returns = log_returns(bars, symbol)
    moving = [(r - r.mean()) / r.std() for r in returns.values() if len(r) > 2 and r.std() > 0]
    if not moving:
        raise DataError("No symbol has four bars with closes that differ; give more bars.")
    z = np.concatenate(moving)
    far, expected = int((np.abs(z) > FAR).sum()), 2 * norm.sf(FAR) * len(z)
    name = next(iter(returns)) if len(returns) == 1 else f"{len(returns)} symbols"
    title = (
        f"{style.shorten(name)}: {far} of {len(z):,} moves went beyond {FAR:.0f} standard "
        f"deviations where a normal distribution gives {expected:.1f}; "
        f"excess kurtosis {kurtosis(z):.1f}"
    )
    figure, ax, colors = style.canvas(theme)
    middle = np.arange(-10, 10.1, 0.25)
    counts, _ = np.histogram(np.clip(z, -10, 10), np.append(middle, 10.25) - 0.125)
    share = counts / counts.sum()
    ax.bar(middle, share, 0.22, color=colors.first, label="returns")
    grid = np.linspace(-6, 6, 300)
    ax.plot(grid, norm.pdf(grid) * 0.25, color=colors.second, linestyle="--", label="normal")
    ax.set(yscale="log", ylim=(min(0.5 / counts.sum(), 0.005), 2 * share.max()), xlim=(-10.3, 10.3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    ax.set_xlabel("return, in standard deviations of its symbol (beyond ±10 in the last bars)")
    ax.set_ylabel("share of bars (log scale)")
    style.legend(ax, colors)
    return style.headline(figure, title, colors)


def autocorrelation(x: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelation [lags] of x [T] at lags 1…lags."""
    centered = x - x.mean()
    total = centered @ centered
    return np.array([centered[k:] @ centered[:-k] / total for k in range(1, lags + 1)])


def plot_volatility_clustering(
    bars: pd.DataFrame, symbol: str | None = None, lags: int = 60, theme: str = "light"
) -> Figure:
    """Autocorrelation of |return| and of the return, averaged over symbols.

    The band is white noise's 95%, of one symbol of median length. Correlation at a lag is no
    forecast of a price: |return| has no sign. DataError where bars are too few for the lags.
    """
    lags = style.count(lags, "lags")
    returns = log_returns(bars, symbol).values()
    returns = [r for r in returns if len(r) > 2 * lags and np.abs(r).std() > 0]
    if not returns:
        raise DataError(f"No symbol has more than {2 * lags} bars; give more bars or fewer lags.")
    size = np.mean([autocorrelation(np.abs(r), lags) for r in returns], axis=0)
    sign = np.mean([autocorrelation(r, lags) for r in returns], axis=0)
    band = 1.96 / np.sqrt(np.median([len(r) for r in returns]))
    inside = int((np.abs(sign) <= band).sum())
    title = (
        f"|return| correlates {size[0]:.2f} with itself after 1 bar and {size[-1]:.2f} after "
        f"{lags}; for the signed return {inside} of {lags} lags lie inside the band of noise"
    )
    figure, ax, colors = style.canvas(theme)
    lag = np.arange(1, lags + 1)
    ax.axhspan(-band, band, color=colors.faint, alpha=0.25, label="95% of white noise")
    ax.axhline(0, color=colors.faint, linewidth=0.8)
    ax.plot(lag, size, "o-", color=colors.first, markersize=3, label="|return|")
    ax.plot(lag, sign, "s--", color=colors.second, markersize=2.5, label="return")
    ax.set(xlabel="lag, bars", ylabel="autocorrelation", xlim=(0, lags + 1))
    style.legend(figure, colors)
    return style.headline(figure, title, colors)


def plot_repairs(bars: pd.DataFrame, theme: str = "light") -> Figure:
    """What load_bars repaired in these bars: by kind and by symbol.

    Cells that are wrong but possible pass every check and are not counted here.
    """
    table = repairs(bars)
    kinds = table.groupby("repair")["count"].sum().sort_values()
    symbols = table.groupby("symbol")["count"].sum().sort_values()
    total, cells = int(kinds.sum()), 5 * len(bars)
    title = f"{total} of {cells:,} cells were repaired ({total / max(cells, 1):.2%})"
    if total:
        title += f"; {style.shorten(symbols.index[-1])} needed most, {symbols.iloc[-1]}"
    rows = min(max(len(symbols), len(kinds), 4), MOST)
    figure, axes, colors = style.canvas(theme, 1, 2, size=(8, 1.3 + 0.17 * rows))
    for ax, counts, name in zip(axes, (kinds, symbols), ("by kind", "by symbol")):
        _draw_counts(ax, counts.tail(MOST), rows, colors)
        others = counts.iloc[:-MOST]
        if len(others):
            name += f" (the first {MOST}; {len(others)} more have {others.sum():,})"
        style.axis_title(ax, name, colors, 32)
    return style.headline(figure, title, colors)


def _draw_counts(ax: Axes, counts: pd.Series, rows: int, colors: style.Theme) -> None:
    """Bars of one thickness whatever their number, the largest at the top of `rows` places."""
    places = np.arange(len(counts)) + rows - len(counts)
    bars = ax.barh(places, counts.to_numpy(), color=colors.first, height=0.7)
    ax.bar_label(bars, padding=2, fontsize=8, color=colors.ink)
    ax.set_yticks(places, [style.shorten(name) for name in counts.index], fontsize=8)
    ax.grid(False)
    ax.margins(x=0.12)
    ax.set(xlabel="cells repaired", ylim=(-0.6, rows - 0.4))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if counts.empty:
        ax.set(yticks=[], xticks=[0], xlim=(0, 1))
