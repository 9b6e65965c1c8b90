"""Figures of the bars themselves: price and volume, returns, volatility clustering, repairs."""

from __future__ import annotations

from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import kurtosis, norm

from ..data.bars import repairs
from ..errors import DataError
from .style import DOWN, UP, Theme, axis_title, canvas, headline, legend, plotly_figure

FAR = 4.0  # standard deviations that count as a far move


def of_symbol(bars: pd.DataFrame, symbol: str | None) -> pd.DataFrame:
    """The bars of one symbol (None: the first); raises DataError on one that isn't there."""
    names = bars["symbol"].unique()
    name = names[0] if symbol is None else symbol
    if name not in names:
        raise DataError(f"There is no symbol {name!r}; there are {', '.join(map(str, names[:10]))}.")
    return bars[bars["symbol"] == name]


def axis_of(part: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What a symbol's bars stand on: their dates, or their numbers where there are none."""
    if part["date"].isna().any():
        return np.arange(1, len(part) + 1), "bar number"
    return part["date"].to_numpy(), "date"


def date_axis(ax: Any, values: np.ndarray) -> None:
    """Few, short date labels if the axis carries dates."""
    if np.issubdtype(np.asarray(values).dtype, np.datetime64):
        locator = mdates.AutoDateLocator(minticks=4, maxticks=8)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def plot_candles(
    bars: pd.DataFrame,
    symbol: str | None = None,
    last: int = 120,
    interactive: bool = False,
    theme: str = "light",
) -> Any:
    """Open, high, low and close of the last bars with their volume; plotly when interactive.

    A bar that closed at or above its open is hollow, one below it filled: no colour is needed to tell them apart.
    """
    part = of_symbol(bars, symbol).tail(last)
    name, close = str(part["symbol"].iloc[0]), part["close"].to_numpy()
    move = close[-1] / close[0] - 1
    x, label = axis_of(part)
    when = f" on {pd.Timestamp(x[-1]).date()}" if label == "date" else ""
    title = (
        f"{name} closed at {close[-1]:,.2f}{when}, {move:+.1%} over these {len(part)} bars, "
        f"between {part['low'].min():,.2f} and {part['high'].max():,.2f}"
    )
    if interactive:
        return _plotly_candles(part, x, title, theme)
    figure, (price, volume), look = canvas(theme, 2, size=(8, 4.8), sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    width = 0.7 if label != "date" else 0.65 * float(np.median(np.diff(mdates.date2num(x)))) if len(x) > 1 else 0.7
    at = mdates.date2num(x) if label == "date" else x
    rising = (part["close"] >= part["open"]).to_numpy()
    body = np.maximum((part["close"] - part["open"]).abs().to_numpy(), 1e-9)
    base = part[["open", "close"]].min(axis=1).to_numpy()
    colors = np.where(rising, look.first, look.second)
    price.vlines(at, part["low"], part["high"], color=colors, linewidth=0.8, zorder=2)
    price.bar(
        at, body, width, bottom=base, edgecolor=colors, linewidth=0.8,
        color=np.where(rising, look.paper, look.second), zorder=3,
    )  # fmt: skip
    volume.bar(at, part["volume"].fillna(0) / 1e6, width, color=look.faint)
    if label == "date":
        volume.xaxis_date()
        date_axis(volume, x)
    price.set_ylabel("price")
    volume.set_ylabel("volume, millions")
    volume.set_xlabel(label)
    headline(figure, title, look)
    return figure


def _plotly_candles(part: pd.DataFrame, x: np.ndarray, title: str, theme: str) -> Any:
    figure, look = plotly_figure(title, theme, height=520, showlegend=False)
    prices = {k: part[k] for k in ("open", "high", "low", "close")}
    figure.add_candlestick(
        x=x, **prices, name="price", yaxis="y",
        increasing={"line": {"color": UP if theme == "light" else look.first}, "fillcolor": look.paper},
        decreasing={"line": {"color": DOWN}, "fillcolor": DOWN},
    )  # fmt: skip
    figure.add_bar(x=x, y=part["volume"], name="volume", marker={"color": look.faint}, yaxis="y2")
    figure.update_layout(
        yaxis={"domain": [0.3, 1], "title": {"text": "price"}},
        yaxis2={"domain": [0, 0.22], "title": {"text": "volume"}, "gridcolor": "rgba(0,0,0,0)"},
        xaxis={"rangeslider": {"visible": False}, "title": {"text": axis_of(part)[1]}},
    )
    return figure


def log_returns(bars: pd.DataFrame, symbol: str | None = None) -> dict[str, np.ndarray]:
    """Close-to-close log returns of each symbol, or of one."""
    parts = bars if symbol is None else of_symbol(bars, symbol)
    return {
        str(name): np.diff(np.log(part.to_numpy(float))) for name, part in parts.groupby("symbol", sort=False)["close"]
    }


def plot_returns(bars: pd.DataFrame, symbol: str | None = None, theme: str = "light") -> Figure:
    """Distribution of the returns against a normal one, on a logarithmic scale that shows the tails.

    Each symbol's returns are divided by their own standard deviation and pooled. It says nothing about the order
    of the returns; see plot_volatility_clustering.
    """
    parts = log_returns(bars, symbol)
    z = np.concatenate([(r - r.mean()) / r.std() for r in parts.values() if len(r) > 2 and r.std() > 0])
    far, expected = int((np.abs(z) > FAR).sum()), 2 * norm.sf(FAR) * len(z)
    name = next(iter(parts)) if len(parts) == 1 else f"{len(parts)} symbols"
    title = (
        f"{name}: {far} of {len(z):,} moves went beyond {FAR:.0f} standard deviations where a normal "
        f"distribution gives {expected:.1f}; excess kurtosis {kurtosis(z):.1f}"
    )
    figure, ax, look = canvas(theme)
    edges = np.arange(-10.125, 10.2, 0.25)
    counts, _ = np.histogram(np.clip(z, -10, 10), edges)
    middle = (edges[:-1] + edges[1:]) / 2
    ax.bar(middle, counts / counts.sum(), 0.22, color=look.first, alpha=0.75, label="returns")
    grid = np.linspace(-6, 6, 300)
    ax.plot(grid, norm.pdf(grid) * 0.25, color=look.second, linestyle="--", label="normal")
    ax.set(yscale="log", ylim=(0.5 / counts.sum(), 0.3), xlim=(-10.3, 10.3))
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
    no sign.
    """
    parts = [r for r in log_returns(bars, symbol).values() if len(r) > 2 * lags and r.std() > 0]
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
    legend(ax, look)
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
    title += f"; {symbols.index[-1]} needed most, {symbols.iloc[-1]}" if total else ""
    height = 1.6 + 0.16 * max(len(symbols), len(kinds), 8)
    figure, (left, right), look = canvas(theme, 1, 2, size=(8, height))
    _counts(left, kinds, "by kind", look)
    _counts(right, symbols, "by symbol", look)
    headline(figure, title, look)
    return figure


def _counts(ax: Any, counts: pd.Series, name: str, look: Theme) -> None:
    at = np.arange(len(counts))
    bars = ax.barh(at, counts.to_numpy(), color=look.first, height=0.7)
    ax.bar_label(bars, padding=2, fontsize=8, color=look.ink)
    ax.set_yticks(at, [str(k).replace(" taken ", "\ntaken ") for k in counts.index], fontsize=8)
    ax.grid(False)
    ax.margins(x=0.12)
    ax.set_xlabel("cells repaired")
    axis_title(ax, name, look)
