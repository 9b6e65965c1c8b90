"""What if the last bar had been another, or the next ones were these: a shock and both forecasts.

A shock changes what the networks see, not the market: it tells what this model would say, never
what such a bar would cause. Bars after the origin are the outcome and enter no forecast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from ..data.calendars import market_of, next_sessions
from ..errors import ConfigError, DataError, HistoryTooShort, printable, quoted
from ..forecast.paths import paths_of
from ..forecast.predictor import Predictor
from ..forecast.result import Forecast
from ..viz.paths import median_candles
from ..viz.style import price, signed, unit_of

CONTEXT = 400  # bars that a forecast is made from: with all there are its width differs by 1e-4
USUAL = 20  # bars whose medians are the range and the volume of a hypothetical bar
MAX_BARS = 20  # of a path
LEAST = {"change": -100, "range": 0, "volume": 0, "market": -100}  # what its numbers lie above
PRICES = ["median", "lower", "upper"]  # of a forecast


@dataclass(frozen=True)
class Shock:
    """What is assumed of the last bar, or of bars that follow it; `Shock()` assumes nothing.

    The last bar's open stays, high and low give way to hold the new close. Bars that follow open at
    the close before them, with high and low evenly beyond their bodies; range and volume are
    multiples of the last 20 real bars' medians. Raises ConfigError on a number that makes no bar.

    Parameters
    ----------
    change : percent by which the close is moved, or by which each bar that follows moves
    range : factor of log(high / low) around its middle; no bar gets shorter than its body
    volume : factor; a volume that is not known stays so
    market : as change, for each other symbol with a bar on the origin's date
    bars : how many follow, 0 to 20; 0 shocks the last bar
    inputs : what is added to the last bar's own inputs (PanelConfig.extra_observed), by name
    """

    change: float = 0.0
    range: float = 1.0
    volume: float = 1.0
    market: float = 0.0
    bars: int = 0
    inputs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not (is_number and least < value < np.inf):
                raise ConfigError(
                    f"The shock's {name} is {quoted(value)}; give a number above {least}."
                )
        if not (isinstance(self.bars, Integral) and 0 <= self.bars <= MAX_BARS):
            raise ConfigError(
                f"The shock has {quoted(self.bars)} bars; give a whole number from 0 to {MAX_BARS}."
            )

    def __str__(self) -> str:
        """In words: "last bar -5.0%, range ×2"."""
        each = " each" if self.bars > 1 else ""
        words = [
            f"{self.change:+.1f}%{each}" if self.change else "",
            f"range ×{self.range:g}" if self.range != 1 else "",
            f"volume ×{self.volume:g}" if self.volume != 1 else "",
            f"market {self.market:+.1f}%{each}" if self.market else "",
            *(f"{name} {more:+g}" for name, more in self.inputs.items() if more),
        ]
        which = f"{self.bars} more bar{'s' * (self.bars > 1)}" if self.bars else "last bar"
        return f"{which} {', '.join(filter(None, words)) or 'of no change'}"


NOTHING = Shock()


def shocked(
    bars: pd.DataFrame, symbol: str, shock: Shock, observed: Sequence[str] = ()
) -> pd.DataFrame:
    """Validated bars up to the last one of `symbol`, the origin, as the shock assumes them.

    On bars that follow, the own inputs `observed` stay what they are; those known ahead are NaN.
    """
    names, dates = bars["symbol"].to_numpy(), bars["date"].to_numpy()
    last = np.flatnonzero(np.r_[names[1:] != names[:-1], True])  # row of each symbol's last bar
    origin = last[names[last] == symbol]
    # The others move if their last bar is of the same date; NaT equals nothing.
    rows = np.union1d(origin, last[dates[last] == dates[origin]])
    change = np.where(rows == origin, shock.change, shock.market) / 100
    stretch = np.where(rows == origin, shock.range, 1.0)
    volume = np.where(rows == origin, shock.volume, 1.0)
    moves = pd.DataFrame({"change": change, "stretch": stretch, "volume": volume}, index=rows)
    for name, more in shock.inputs.items():
        if name not in bars.columns:
            raise ConfigError(f"The bars have no input {quoted(name)} to shock; name a column.")
        bars = bars.assign(**{name: bars[name] + more * np.isin(np.arange(len(bars)), origin)})
    if not shock.bars:
        return _changed(bars, moves)

    times = pd.DatetimeIndex(dates[names == symbol])
    zone = bars.attrs.get("zones", {}).get(symbol)
    ahead = next_sessions(times, shock.bars, market_of(times, symbol, None, zone))
    parts = [bars]
    for row, move in moves.iterrows():
        recent = bars.iloc[max(0, row + 1 - USUAL) : row + 1]
        path = _path(recent[recent["symbol"] == names[row]], ahead, move)
        kept = {name: bars[name].iloc[row] for name in observed if name in bars.columns}
        parts.append(path.assign(**kept))
    out = pd.concat(parts).sort_values("symbol", kind="stable", ignore_index=True)
    out.attrs = bars.attrs
    return out


def _changed(bars: pd.DataFrame, moves: pd.DataFrame) -> pd.DataFrame:
    """Other bars in the rows of `moves`; no bit changes where none is assumed."""
    rows, stretch = moves.index.to_numpy(), moves["stretch"].to_numpy()
    cells = {name: bars[name].to_numpy(float, copy=True) for name in bars.columns[2:]}
    opened, close = cells["open"][rows], cells["close"][rows] * (1 + moves["change"].to_numpy())
    high, low = np.maximum(cells["high"][rows], close), np.minimum(cells["low"][rows], close)
    middle, half = np.log(high * low) / 2, np.log(high / low) / 2
    high = np.where(stretch == 1, high, np.exp(middle + stretch * half))
    low = np.where(stretch == 1, low, np.exp(middle - stretch * half))
    cells["high"][rows] = np.maximum.reduce([high, opened, close])
    cells["low"][rows] = np.minimum.reduce([low, opened, close])
    cells["close"][rows] = close
    cells["volume"][rows] *= moves["volume"].to_numpy()
    return bars.assign(**cells)


def _path(recent: pd.DataFrame, dates: pd.DatetimeIndex, move: pd.Series) -> pd.DataFrame:
    """Hypothetical bars on `dates` [N] after the `recent` ones of a symbol."""
    close = recent["close"].iloc[-1] * (1 + move["change"]) ** np.arange(len(dates) + 1)  # [N + 1]
    top, bottom = np.maximum(close[1:], close[:-1]), np.minimum(close[1:], close[:-1])
    usual = np.log(recent["high"] / recent["low"]).median()
    beyond = np.exp(np.maximum(move["stretch"] * usual - np.log(top / bottom), 0) / 2)
    path = pd.DataFrame({"symbol": recent["symbol"].iloc[0], "date": dates, "open": close[:-1]})
    path["high"] = top * beyond
    path["low"] = bottom / beyond
    path["close"] = close[1:]
    path["volume"] = move["volume"] * recent["volume"].median()  # of those that are known
    return path


@dataclass(frozen=True)
class Comparison:
    """A forecast, and what it would be after a shock.

    The frames hold the symbol's bars by their dates or (where there are none) their numbers: `past`
    up to the origin, `assumed` the same with the shock, and `came` after the origin.
    """

    symbol: str
    shock: Shock
    before: Forecast
    after: Forecast  # the same without a shock
    past: pd.DataFrame
    assumed: pd.DataFrame
    came: pd.DataFrame

    @property
    def axis(self) -> str:
        """What the bars stand on: "date" or "bar number"."""
        return "date" if isinstance(self.past.index, pd.DatetimeIndex) else "bar number"

    @property
    def changed(self) -> pd.DataFrame:
        """The bars that the shock makes, and the one before them; empty without a shock."""
        return self.assumed.tail(0 if self.shock == NOTHING else max(self.shock.bars, 1) + 1)

    @property
    def models(self) -> tuple[str, ...]:
        """Who answers before and after: the longer history of a path may suffice for another."""
        return tuple(fc.reports[self.symbol].model_used for fc in (self.before, self.after))

    @cached_property
    def fans(self) -> dict[str, pd.DataFrame]:
        """By step from 0, the origin: x (date or number), median, lower, upper and quantiles."""
        fans = {}
        for which, fc, bars in self._both:
            columns = fc.frame.columns.drop(["symbol", "origin", "step", "date"])
            close, origin = bars["close"].iloc[-1], bars.index[-1:]
            ahead = fc.frame["date"] if self.axis == "date" else origin[0] + fc.frame["step"]
            x = origin.append(pd.Index(ahead))
            prices = {name: np.r_[close, fc.frame[name]] for name in columns}
            fans[which] = pd.DataFrame({"x": x, **prices})
        return fans

    @cached_property
    def candles(self) -> dict[str, pd.DataFrame]:
        """By step from 1: x and what viz.paths.median_candles tells, of paths of the same seed."""
        return {
            which: median_candles(paths_of(fc), 0, fc.level).assign(x=self.fans[which]["x"])
            for which, fc, _ in self._both
        }

    def finding(self, candles: bool) -> str:
        """The title, or what the candles show, in one sentence."""
        if not candles:
            return self.title
        (before, after), unit = self.candles.values(), unit_of(self.past.index)
        now, then = (f"{table['range'].iloc[0] - 1:.1%}" for table in (after, before))
        text, last = f"median range of the next {unit} {now}", after.iloc[-1]
        shock = "no shock" if self.shock == NOTHING else self.shock
        text += "" if self.shock == NOTHING else f" instead of {then}"
        return (
            f"{self.symbol}, {shock}: {text}; {last['inside']:.0%} of bars {len(after)} ahead lie "
            f"between {price(last['lower'])} and {price(last['upper'])}"
        )

    @property
    def _both(self) -> tuple[tuple[str, Forecast, pd.DataFrame], ...]:
        return ("before", self.before, self.past), ("after", self.after, self.assumed)

    @cached_property
    def table(self) -> pd.DataFrame:
        """By step, columns of two levels, "before", "after" and "change".

        The first two have x, prices (median, lower, upper), these in percent of the close that they
        start from ("median %", …), and so the interval's width. "change" is by how many percent
        prices and width differ. On a path the same step lies later in "after".
        """
        columns = {}
        for which, fan in self.fans.items():
            start, ahead = fan["median"].iloc[0], fan.iloc[1:]
            columns[which, "x"] = ahead["x"]
            for name in PRICES:
                columns[which, name] = ahead[name]
                columns[which, f"{name} %"] = 100 * (ahead[name] / start - 1)
            columns[which, "width"] = columns[which, "upper %"] - columns[which, "lower %"]
        for name in (*PRICES, "width"):
            ratio = columns["after", name] / columns["before", name]
            columns["change", name] = 100 * (ratio - 1)
        return pd.DataFrame(columns)

    @cached_property
    def title(self) -> str:
        """The finding, in one sentence."""
        last, steps = self.table.iloc[-1], len(self.table)
        before, after, change = last["before"], last["after"], last["change"]
        unit = unit_of(self.past.index) + "s" * (steps > 1)
        median, interval = signed(after["median %"]), f"{100 * self.before.level:g}% interval"
        if self.shock == NOTHING:
            text = f"{self.symbol}, no shock: median {median}% in {steps} {unit}, {interval} "
            text += f"{price(before['lower'])} to {price(before['upper'])}"
            if len(self.came) >= steps:
                outcome = self.came["close"].iloc[steps - 1]
                inside = before["lower"] <= outcome <= before["upper"]
                text += f"; it came to {price(outcome)}, {'inside' if inside else 'outside'}"
            return text
        wider = f"{abs(change['width']):.0f}% {'wider' if change['width'] > 0 else 'narrower'}"
        text = f"{self.symbol}, {self.shock}: median {median}% in {steps} {unit} "
        text += f"instead of {signed(before['median %'])}%, {interval} {wider}"
        if len({*self.models}) > 1:
            text += "; part of it is a change of model, from {} to {}".format(*self.models)
        return text

    def drivers(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Where TFT looked before and after, in percent: its past inputs, and its past bars.

        Inputs that vary have their selection weights (means over the context), bars their attention
        (means over the steps ahead, NaN outside of the context) and the return that was assumed.
        They prove no cause: Jain & Wallace 2019. Raises ConfigError where TFT didn't answer.
        """
        inputs, days = {}, {}
        for name, fc, bars in self._both:
            explanation = fc.explain()
            attention = explanation.attention
            if attention.empty:
                raise ConfigError("TFT didn't answer; no other member says where it looked.")
            selection = explanation.selection
            past = selection[(selection["kind"] == "past") & selection["varies"]]
            inputs[name] = 100 * past.set_index("input")["weight"]
            by_lag = attention[attention["lag"] >= 0].groupby("lag")["weight"].mean()
            days[name] = 100 * by_lag.set_axis(bars.index[-1 - by_lag.index])
        days = pd.DataFrame(days)
        days["return"] = 100 * self.assumed["close"].pct_change()
        order = {"by": ["after", "before"], "ascending": False}
        return pd.DataFrame(inputs).sort_values(**order), days.sort_values(**order)


class WhatIf:
    """Bars (what `load_bars` takes) and a model (a Predictor, or what its `load` takes) to ask."""

    def __init__(self, bars: Any = "stocks", model: Any = None):
        self.model = model if isinstance(model, Predictor) else Predictor.load(model)
        self.bars = self.model.read(bars)
        self.dated = not self.bars["date"].isna().any()
        days = self.bars.assign(date=self.bars["date"].dt.normalize())
        self.daily = self.dated and not days.duplicated(["symbol", "date"]).any()
        self.by_symbol = {
            str(name): self._on_axis(rows) for name, rows in self.bars.groupby("symbol", sort=False)
        }
        self._last: tuple[Any, Any] = (None, None)  # a question without a shock, and its answer

    def _on_axis(self, bars: pd.DataFrame, first: int = 0) -> pd.DataFrame:
        """A symbol's bars by their dates, or their numbers from `first`."""
        numbers = pd.RangeIndex(first, first + len(bars))
        return bars.set_axis(pd.DatetimeIndex(bars["date"], name=None) if self.dated else numbers)

    def bar_at(self, symbol: str, origin: Any = None) -> int:
        """Number, from 0, of the last bar up to `origin` that can be forecast from.

        `origin` is a day or time, or without dates a bar's number; None is the last bar. Raises
        DataError on an unknown symbol or origin, HistoryTooShort on too few bars up to it.
        """
        if symbol not in self.by_symbol:
            some = ", ".join(list(self.by_symbol)[:10])
            raise DataError(f"There is no symbol {quoted(symbol)}; there are {some}.")
        bars = self.by_symbol[symbol]
        try:
            stop = bars.index[-1] if origin is None else origin
            count = len(bars.loc[: str(stop) if self.dated else int(stop)])
        except (ValueError, TypeError, OverflowError) as error:
            kind = "date, such as 2015-08-21" if self.dated else "bar's number"
            raise DataError(f"The origin {quoted(origin)} is no {kind}.") from error
        if count < self.model.walk.context:
            raise HistoryTooShort(
                f"{symbol} has {count} bars up to {printable(str(origin))}, too few to forecast; "
                f"its bars are from {when(bars.index[0])} to {when(bars.index[-1])}."
            )
        return count - 1

    def ask(
        self, symbol: str, origin: Any = None, shock: Shock = NOTHING, **settings: Any
    ) -> Comparison:
        """The forecasts from an origin (see `bar_at`) without and with the shock.

        `settings` are horizon, level and weights as `Predictor.predict` takes them. Raises what it
        and `bar_at` raise.
        """
        number = self.bar_at(symbol, origin)
        settings["symbols"] = [symbol]
        question = (number, repr(settings))
        own = self.model.panel_config
        if own.extra_known:
            # from an origin of the past, what was known ahead
            settings["future"] = self.bars[self.bars["symbol"] == symbol]
        if question != self._last[0]:  # else another shock would cost two forecasts
            bars = self._context(symbol, number)
            self._last = question, self.model.predict(bars, **settings)
        before = after = self._last[1]
        if shock != NOTHING:
            bars = shocked(before.bars, symbol, shock, own.extra_observed)
            after = self.model.predict(bars, **settings)
        bars, first = self.by_symbol[symbol], max(0, number + 1 - CONTEXT)
        assumed = self._on_axis(after.bars[after.bars["symbol"] == symbol], first)
        came = bars.iloc[number + 1 :].head(shock.bars + len(after.frame))
        past = bars.iloc[first : number + 1]
        return Comparison(symbol, shock, before, after, past, assumed, came)

    def _context(self, symbol: str, number: int) -> pd.DataFrame:
        """The last bars of every symbol up to the origin; without dates of this one."""
        bars = self.by_symbol[symbol].iloc[: number + 1]
        if self.dated:
            bars = self.bars[self.bars["date"] <= bars.index[-1]]
        return bars.groupby("symbol", sort=False).tail(CONTEXT)


def when(x: Any) -> str:
    """A date without a time that says nothing; a bar's number as it is."""
    return str(x).removesuffix(" 00:00:00")
