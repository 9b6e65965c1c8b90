"""Figures of the bars themselves: price and volume, returns, volatility clustering, repairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator
from scipy.stats import kurtosis, norm

from ..data.bars import repairs
from ..errors import DataError
from .style import (
    Theme,
    axis_title,
    canvas,
    count,
    headline,
    legend,
    plotly_axis,
    plotly_figure,
    price,
    price_pattern,
    short,
    shorten,
)

FAR = 4.0  # standard deviations that count as a far move
MOST = 31  # rows in a picture of counts


def of_symbol(bars: pd.DataFrame, symbol: str | None) -> pd.DataFrame:
    """The bars of one symbol (None: the first); raises DataError on one that isn't there."""
    names = bars["symbol"].unique()
    name = names[0] if symbol is None else symbol
    if name not in names:
        raise DataError(
            f"There is no symbol {name!r}; there are {', '.join(map(str, names[:10]))}."
        )
    return bars[bars["symbol"] == name]


def axis_of(part: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What a symbol's bars stand on: their dates, or their numbers where there are none."""
    if part["date"].isna().any():
        return np.arange(len(part)), "bar number"
    return part["date"].to_numpy(), "date"


class Dates(Formatter):
    """Dates as short as their spacing allows: "2014", "May" or "15 Dec"; the year below where it begins or changes."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Any) -> list[str]:
        """Labels of all ticks, matplotlib's day numbers."""
        return labels_of([pd.Timestamp(d).tz_localize(None) for d in mdates.num2date(values)])


def labels_of(dates: Sequence[pd.Timestamp]) -> list[str]:
    """A short label for each of some ascending dates."""
    if all(d.day_of_year == 1 and d == d.normalize() for d in dates):
        return [str(d.year) for d in dates]
    days = all(d == d.normalize() for d in dates)
    months = all(d.day == 1 for d in dates)
    out, before = [], ""
    for d in dates:
        label = (d.strftime("%b") if months else f"{d.day} {d:%b}") if days else d.strftime("%H:%M")
        group = str(d.year) if days else f"{d.day} {d:%b %Y}"
        out.append(label if group == before else f"{label}\n{group}")
        before = group
    return out


def _locator() -> mdates.AutoDateLocator:
    return mdates.AutoDateLocator(minticks=3, maxticks=8)


def date_axis(ax: Any, values: np.ndarray) -> None:
    """Few, short date labels if the axis carries dates."""
    if np.issubdtype(np.asarray(values).dtype, np.datetime64):
        ax.xaxis.set_major_locator(_locator())
        ax.xaxis.set_major_formatter(Dates())


def bar_ticks(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Which of the bars at the dates x [N], ascending, get a label, and the labels."""
    dates = pd.DatetimeIndex(x)
    first, last = dates[[0, -1]].to_pydatetime()
    ticks = mdates.num2date(_locator().tick_values(first, last)) if first < last else [first]
    ticks = pd.DatetimeIndex(ticks).tz_localize(None)
    places = np.searchsorted(dates, ticks)
    inside = (places < len(x)) & ((places > 0) | (ticks >= dates[0]))
    kept: list[int] = []  # in time evenly spaced, in bars they may not be
    for i in np.flatnonzero(inside):
        if not kept or places[i] - places[kept[-1]] >= len(x) / 9:
            kept.append(int(i))
    if len(kept) < 2:
        ends = np.unique([0, len(x) - 1])
        return ends, labels_of(list(dates[ends]))
    own, ticks = dates[places[kept]], ticks[kept]
    if (
        ticks == ticks.normalize()
    ).all():  # a day is named by its date, not by its first bar's hour
        own = own.normalize()
    months = all(
        d.day == 1 and d == d.normalize() for d in ticks
    )  # the first may be a Sunday, its bar the 2nd
    return places[kept], labels_of(list(ticks if months else own))


def bar_axis(ax: Any, x: np.ndarray) -> np.ndarray:
    """Places 0, 1, 2 … for bars at x [N], dates or numbers in order: evenly spaced, no gap where a market is closed.

    Sets the ticks and their labels; returns the places [N].
    """
    x = np.asarray(x)
    if np.issubdtype(x.dtype, np.datetime64):
        ax.set_xticks(*bar_ticks(x))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda i, _: f"{i + x[0]:.0f}"))
    return np.arange(len(x))


def plotly_bars(x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The same for plotly: what to give for bars at x [N], and the settings of their axis.

    Days without a bar are left out of the axis; bars within days stand side by side as categories.
    """
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.datetime64):
        return x, {}
    dates = pd.DatetimeIndex(x)
    if (dates != dates.normalize()).any():
        names = dates.strftime("%Y-%m-%d %H:%M").to_numpy(object)
        places, labels = bar_ticks(x)
        ticks = {
            "tickvals": names[places].tolist(),
            "ticktext": [label.replace("\n", "<br>") for label in labels],
        }
        return names, {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names.tolist(),
            **ticks,
        }
    days = np.unique(dates.to_numpy("datetime64[D]"))
    closed = np.setdiff1d(np.arange(days[0], days[-1] + 1), days)
    daily = (
        len(days) > 1 and int(np.diff(days).min().astype(int)) == 1
    )  # between weekly bars no market is closed
    return x, {"rangebreaks": [{"values": [str(d) for d in closed]}]} if daily and len(
        closed
    ) else {}


def plain_axis(axis: Any, values: Any) -> None:
    """Numbers written out, without an offset or a power that the reader has to apply; `values` show their size."""
    size = float(np.nanmax(np.abs(np.asarray(values, float)), initial=0))
    if 1e-3 <= size < 1e7:
        axis.get_major_formatter().set_useOffset(False)
    else:
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.5g}"))


def plot_candles(
    bars: pd.DataFrame,
    symbol: str | None = None,
    last: int = 120,
    interactive: bool = False,
    theme: str = "light",
) -> Any:
    """Open, high, low and close of the last bars with their volume where it is known; plotly when interactive.

    A bar that closed at or above its open is hollow, one below it filled: no colour is needed to tell them apart.
    Raises DataError on an unknown symbol and ConfigError unless `last` is a whole number from 1.
    """
    own = of_symbol(bars, symbol)
    x, label = axis_of(own)
    part, x = own.tail(count(last, "last")), x[-last:]
    name, close = str(part["symbol"].iloc[0]), part["close"].to_numpy()
    when = f" on {_day(x[-1])}" if label == "date" else ""
    title = f"{short(name)} closed at {price(close[-1])}{when}"
    if len(part) > 1:
        title += (
            f", {close[-1] / close[0] - 1:+.1%} over these {len(part)} bars, "
            f"between {price(part['low'].min())} and {price(part['high'].max())}"
        )
    draw = _plotly_candles if interactive else _candles
    return draw(part, x, label, title, theme)


def _day(date: Any) -> str:
    date = pd.Timestamp(date)
    return f"{date:%Y-%m-%d}" if date == date.normalize() else f"{date:%Y-%m-%d %H:%M}"


def _candles(part: pd.DataFrame, x: np.ndarray, label: str, title: str, theme: str) -> Figure:
    rows = 1 + bool(part["volume"].notna().any())
    grid = {"sharex": True, "gridspec_kw": {"height_ratios": (3, 1)[:rows]}}
    figure, axes, look = canvas(theme, rows, size=(8, 3.6 + 1.2 * (rows - 1)), **grid)
    axes = np.atleast_1d(axes)
    top, rising = axes[0], (part["close"] >= part["open"]).to_numpy()
    at = bar_axis(axes[-1], x)
    body, base = (
        (part["close"] - part["open"]).abs().to_numpy(),
        part[["open", "close"]].min(axis=1).to_numpy(),
    )
    colors = np.where(rising, look.first, look.second)
    top.vlines(at, part["low"], part["high"], color=colors, linewidth=0.8, zorder=2)
    top.bar(
        at,
        body,
        0.7,
        bottom=base,
        edgecolor=colors,
        linewidth=0.8,
        color=np.where(rising, look.paper, look.second),
        zorder=3,
    )
    top.set_xlim(-1, max(len(part), 10))
    top.set_ylabel("price")
    plain_axis(top.yaxis, part[["low", "high"]])
    if rows == 2:
        unit, size = _unit(part["volume"].max())
        axes[1].bar(at, part["volume"].fillna(0) / size, 0.7, color=look.faint)
        axes[1].set_ylabel(f"volume{unit}")
        axes[1].yaxis.set_major_locator(MaxNLocator(3))
    axes[-1].set_xlabel(label)
    headline(figure, title, look)
    return figure


def _unit(largest: float) -> tuple[str, float]:
    """What a volume is counted in."""
    for name, size in ((",\nbillions", 1e9), (",\nmillions", 1e6), (",\nthousands", 1e3)):
        if largest >= size:
            return name, size
    return "", 1.0


def _plotly_candles(part: pd.DataFrame, x: np.ndarray, label: str, title: str, theme: str) -> Any:
    figure, look = plotly_figure(title, theme, height=520, showlegend=False)
    x, axis = plotly_bars(x)
    prices = {k: part[k] for k in ("open", "high", "low", "close")}
    figure.add_candlestick(
        x=x,
        **prices,
        name="price",
        yaxis="y",
        increasing={"line": {"color": look.first, "width": 1.2}, "fillcolor": look.paper},
        decreasing={"line": {"color": look.second, "width": 1.2}, "fillcolor": look.second},
    )
    both = bool(part["volume"].notna().any())
    pattern = price_pattern(part[["low", "high"]])
    figure.update_layout(
        yaxis={
            "domain": [0.3 * both, 1],
            "title": {"text": "price"},
            "tickformat": pattern,
            "hoverformat": pattern,
        },
        xaxis={"rangeslider": {"visible": False}, "title": {"text": label}, **axis},
    )
    if both:
        figure.add_bar(
            x=x, y=part["volume"], name="volume", marker={"color": look.faint}, yaxis="y2"
        )
        second = {
            **plotly_axis(look),
            "domain": [0, 0.22],
            "title": {"text": "volume"},
            "nticks": 4,
        }
        figure.update_layout(yaxis2=second, xaxis={"anchor": "y2"})
    return figure


def log_returns(bars: pd.DataFrame, symbol: str | None = None) -> dict[str, np.ndarray]:
    """Close-to-close log returns of each symbol, or of one."""
    parts = bars if symbol is None else of_symbol(bars, symbol)
    return {
        str(name): np.diff(np.log(part.to_numpy(float)))
        for name, part in parts.groupby("symbol", sort=False)["close"]
    }


def plot_returns(bars: pd.DataFrame, symbol: str | None = None, theme: str = "light") -> Figure:
    """Distribution of the returns against a normal one, on a logarithmic scale that shows the tails.

    Each symbol's returns are divided by their own standard deviation and pooled. It says nothing about the order
    of the returns; see plot_volatility_clustering. Raises DataError where no symbol's close moves.
    """
    parts = log_returns(bars, symbol)
    moving = [(r - r.mean()) / r.std() for r in parts.values() if len(r) > 2 and r.std() > 0]
    if not moving:
        raise DataError(
            "No symbol has more than three bars with closes that differ; give more bars."
        )
    z = np.concatenate(moving)
    far, expected = int((np.abs(z) > FAR).sum()), 2 * norm.sf(FAR) * len(z)
    name = next(iter(parts)) if len(parts) == 1 else f"{len(parts)} symbols"
    title = (
        f"{short(name)}: {far} of {len(z):,} moves went beyond {FAR:.0f} standard deviations where a normal "
        f"distribution gives {expected:.1f}; excess kurtosis {kurtosis(z):.1f}"
    )
    figure, ax, look = canvas(theme)
    edges = np.arange(-10.125, 10.2, 0.25)
    counts, _ = np.histogram(np.clip(z, -10, 10), edges)
    middle, share = (edges[:-1] + edges[1:]) / 2, counts / counts.sum()
    ax.bar(middle, share, 0.22, color=look.first, label="returns")
    grid = np.linspace(-6, 6, 300)
    ax.plot(grid, norm.pdf(grid) * 0.25, color=look.second, linestyle="--", label="normal")
    ax.set(yscale="log", ylim=(min(0.5 / counts.sum(), 0.005), 2 * share.max()), xlim=(-10.3, 10.3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    ax.tick_params(which="minor", colors=look.faint)
    ax.set_xlabel("return, in standard deviations of its symbol (beyond ±10 in the last bars)")
    ax.set_ylabel("share of bars (log scale)")
    legend(ax, look)
    headline(figure, title, look)
    return figure


def autocorrelation(x: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelation [lags] of x [T] at lags 1…lags."""
    centered = x - x.mean()
    total = centered @ centered
    return np.array([centered[k:] @ centered[:-k] / total for k in range(1, lags + 1)])


def plot_volatility_clustering(
    bars: pd.DataFrame, symbol: str | None = None, lags: int = 60, theme: str = "light"
) -> Figure:
    """Autocorrelation of |return| and of the return, averaged over symbols, with the 95% band of white noise.

    The band is that of one symbol of median length. Correlation at a lag is no forecast of a price: |return| has
    no sign. Raises ConfigError unless `lags` is a whole number from 1, DataError where bars are too few for them.
    """
    lags = count(lags, "lags")
    parts = [
        r for r in log_returns(bars, symbol).values() if len(r) > 2 * lags and np.abs(r).std() > 0
    ]
    if not parts:
        raise DataError(f"No symbol has more than {2 * lags} bars; give more bars or fewer lags.")
    size = np.mean([autocorrelation(np.abs(r), lags) for r in parts], axis=0)
    sign = np.mean([autocorrelation(r, lags) for r in parts], axis=0)
    band = 1.96 / np.sqrt(np.median([len(r) for r in parts]))
    inside = int((np.abs(sign) <= band).sum())
    title = (
        f"|return| correlates {size[0]:.2f} with itself after 1 bar and {size[-1]:.2f} after {lags}; "
        f"for the signed return {inside} of {lags} lags lie inside the band of noise"
    )
    figure, ax, look = canvas(theme)
    at = np.arange(1, lags + 1)
    ax.axhspan(-band, band, color=look.faint, alpha=0.25, label="95% of white noise")
    ax.axhline(0, color=look.faint, linewidth=0.8)
    ax.plot(at, size, color=look.first, marker="o", markersize=3, label="|return|")
    ax.plot(at, sign, color=look.second, linestyle="--", marker="s", markersize=2.5, label="return")
    ax.set(xlabel="lag, bars", ylabel="autocorrelation", xlim=(0, lags + 1))
    legend(figure, look, loc="outside lower center")
    headline(figure, title, look)
    return figure


def plot_repairs(bars: pd.DataFrame, theme: str = "light") -> Figure:
    """What load_bars repaired in these bars: by kind and by symbol.

    Cells that are wrong but possible pass every check and are not counted here.
    """
    table = repairs(bars)
    kinds = table.groupby("repair")["count"].sum().sort_values()
    symbols = table.groupby("symbol")["count"].sum().sort_values()
    total, cells = int(kinds.sum()), 5 * len(bars)
    title = f"{total} of {cells:,} cells were repaired ({total / max(cells, 1):.2%})"
    title += f"; {short(symbols.index[-1])} needed most, {symbols.iloc[-1]}" if total else ""
    longest = min(max(len(symbols), len(kinds), 4), MOST)
    figure, (left, right), look = canvas(theme, 1, 2, size=(8, 1.3 + 0.17 * longest))
    for ax, counts, name in ((left, kinds, "by kind"), (right, symbols, "by symbol")):
        _counts(ax, counts.tail(MOST), longest, look)
        left_out = counts.iloc[:-MOST]
        rest = (
            f" (the first {MOST}; {len(left_out)} more have {left_out.sum():,})"
            if len(left_out)
            else ""
        )
        axis_title(ax, name + rest, look, 2.2)
    headline(figure, title, look)
    return figure


def _counts(ax: Any, counts: pd.Series, rows: int, look: Theme) -> None:
    """Bars of one thickness whatever their number, the largest at the top of `rows` places."""
    at = np.arange(len(counts)) + rows - len(counts)
    bars = ax.barh(at, counts.to_numpy(), color=look.first, height=0.7)
    ax.bar_label(bars, padding=2, fontsize=8, color=look.ink)
    ax.set_yticks(at, [shorten(str(k), 2.2, 8) for k in counts.index], fontsize=8)
    ax.grid(False)
    ax.margins(x=0.12)
    ax.set_ylim(-0.6, rows - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("cells repaired")
    if counts.empty:
        ax.set(yticks=[], xticks=[0], xlim=(0, 1))
