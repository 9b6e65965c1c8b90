"""What if the last bar had been another, or the next ones were these: the shock, both forecasts, what differs.

A shock changes what the networks are shown, not the market: it tells what this model would say, never what such a bar
would cause. Bars after the origin are kept as the outcome and enter no forecast. The panel for it is viz.widgets.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from ..config import LEVEL
from ..data.bars import load_bars
from ..data.calendars import calendar_of, market_of, next_sessions
from ..data.features import MARKET_SYMBOLS
from ..errors import ConfigError, DataError, shown
from ..forecast.ensemble import Member
from ..forecast.predictor import Predictor
from ..forecast.result import Forecast
from ..viz.style import price, signed, unit_of

KEEP = 400  # bars that a forecast is made from: with all there are, its width differs by about 1e-4 of itself
USUAL = 20  # bars whose medians are the range and the volume of a hypothetical bar
MAX_BARS = 20  # of a path
PRICES = ("median", "lower", "upper")


@dataclass(frozen=True)
class Shock:
    """What is assumed; `Shock()` assumes nothing.

    With `bars` 0 the last bar is another: its close is `change` percent higher, its open as it was, and high and low
    give way as far as they must to hold the close; then log(high / low) is multiplied by `range` around its middle,
    but the bar gets no shorter than its body; its volume is multiplied by `volume`. Each other symbol with a bar on
    that date closes `market` percent higher, and its high and low hold that too.

    With `bars` 1 to 20 so many hypothetical bars follow on the next sessions, and the forecast is made from the last of
    them. Each opens at the close before it and closes `change` percent higher; high and low lie evenly beyond this
    body, so that log(high / low) is `range` times the median of the last 20 real bars, unless the body is longer; the
    volume is `volume` times their median. Each other symbol with a bar on the origin's date goes on in the same way by
    `market` percent a bar, with its own usual range and volume. So a path of no change is one of quiet bars.

    A missing volume stays missing. Raises ConfigError on a number that makes no bar.
    """

    change: float = 0.0  # percent
    range: float = 1.0
    volume: float = 1.0
    market: float = 0.0  # percent
    bars: int = 0

    def __post_init__(self) -> None:
        for name, least in {
            "change": -100,
            "market": -100,
            "volume": 0,
            "range": -math.ulp(0.0),
        }.items():
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not (number and least < value < math.inf):
                low = "of at least 0" if name == "range" else f"above {least}"
                raise ConfigError(f"The shock's {name} is {shown(value)}; give a number {low}.")
        whole = isinstance(self.bars, int | np.integer) and not isinstance(self.bars, bool)
        if not (whole and 0 <= self.bars <= MAX_BARS):
            raise ConfigError(
                f"The shock has {shown(self.bars)} bars; give a whole number from 0 to {MAX_BARS}."
            )

    def __str__(self) -> str:
        """In words: "last bar -5.0%, range ×2"."""
        each = " each" if self.bars > 1 else ""
        said = [f"{self.change:+.1f}%{each}"] if self.change else []
        said += [
            f"{n} ×{v:g}" for n, v in (("range", self.range), ("volume", self.volume)) if v != 1
        ]
        said += [f"market {self.market:+.1f}%{each}"] if self.market else []
        where = (
            "last bar"
            if not self.bars
            else "1 more bar"
            if self.bars == 1
            else f"{self.bars} more bars"
        )
        return f"{where} {', '.join(said) or 'of no change'}"


NOTHING = Shock()


def shocked(bars: pd.DataFrame, symbol: str, shock: Shock) -> pd.DataFrame:
    """Validated bars (load_bars) up to the origin, which is the last one of `symbol`, as `shock` assumes them.

    The result needs no repair, short of prices that no source has. Raises DataError on an unknown symbol.
    """
    names, date = bars["symbol"].to_numpy(), bars["date"].to_numpy("datetime64[ns]")
    last = np.flatnonzero(np.r_[names[1:] != names[:-1], True])  # each symbol's last bar
    if symbol not in names[last]:
        raise DataError(
            f"There is no symbol {shown(symbol)}; there are {', '.join(map(str, names[last][:10]))}."
        )
    own = last[names[last] == symbol][0]
    rows = np.r_[own, last[(date[last] == date[own]) & (last != own)]]  # NaT equals nothing
    change = np.where(rows == own, shock.change, shock.market) / 100
    stretch, volume = (np.where(rows == own, factor, 1.0) for factor in (shock.range, shock.volume))
    if not shock.bars:
        return _changed(bars, rows, change, stretch, volume)
    first = np.r_[0, last[:-1] + 1][np.searchsorted(last, rows)]
    times = pd.DatetimeIndex(date[first[0] : own + 1])
    market = market_of(times, symbol, None, bars.attrs.get("zones", {}).get(symbol))
    dates = next_sessions(times, shock.bars, market)
    more = [
        _ahead(bars.iloc[max(begin, row + 1 - USUAL) : row + 1], dates, *how)
        for begin, row, *how in zip(first, rows, change, stretch, volume)
    ]
    out = pd.concat([bars, *more]).sort_values("symbol", kind="stable", ignore_index=True)
    out.attrs = bars.attrs
    return out


def _changed(
    bars: pd.DataFrame,
    rows: np.ndarray,
    change: np.ndarray,
    stretch: np.ndarray,
    volume: np.ndarray,
) -> pd.DataFrame:
    """The bars `rows` [M] with other closes, ranges and volumes; to the bit as they were where nothing is assumed."""
    cells = {
        k: bars[k].to_numpy(float, copy=True) for k in ("open", "high", "low", "close", "volume")
    }
    opened, close = cells["open"][rows], cells["close"][rows] * (1 + change)
    high, low = np.maximum(cells["high"][rows], close), np.minimum(cells["low"][rows], close)
    middle, half = (np.log(high) + np.log(low)) / 2, (np.log(high) - np.log(low)) / 2
    high = np.where(stretch == 1, high, np.exp(middle + stretch * half))
    low = np.where(stretch == 1, low, np.exp(middle - stretch * half))
    cells["high"][rows] = np.maximum.reduce([high, opened, close])
    cells["low"][rows] = np.minimum.reduce([low, opened, close])
    cells["close"][rows] = close
    cells["volume"][rows] *= volume
    return bars.assign(**cells)


def _ahead(
    recent: pd.DataFrame, dates: pd.DatetimeIndex, change: float, stretch: float, volume: float
) -> pd.DataFrame:
    """Hypothetical bars on `dates` after the `recent` ones of a symbol."""
    close = recent["close"].iloc[-1] * (1 + change) ** np.arange(len(dates) + 1)
    top, bottom = np.maximum(close[1:], close[:-1]), np.minimum(close[1:], close[:-1])
    usual = float(np.median(np.log(recent["high"].to_numpy() / recent["low"].to_numpy())))
    beyond = np.exp(np.maximum(stretch * usual - np.log(top / bottom), 0) / 2)
    traded = recent["volume"].to_numpy()
    traded = traded[np.isfinite(traded)]
    cells = {"open": close[:-1], "high": top * beyond, "low": bottom / beyond, "close": close[1:]}
    cells["volume"] = volume * float(np.median(traded)) if len(traded) else np.nan
    return pd.DataFrame({"symbol": recent["symbol"].iloc[0], "date": dates, **cells})


@dataclass(frozen=True)
class Comparison:
    """A forecast and what it would be after a shock; `x` is a bar's date, or its number where bars have no dates."""

    symbol: str
    shock: Shock
    before: Forecast
    after: Forecast
    past: pd.DataFrame  # the symbol's bars up to the origin, with the column x
    assumed: pd.DataFrame  # the same, as the shock assumes them
    came: pd.DataFrame  # its bars after the origin, which no forecast has seen

    @property
    def axis(self) -> str:
        """What x is: "date" or "bar number"."""
        return "date" if self.past["x"].dtype.kind == "M" else "bar number"

    @property
    def changed(self) -> pd.DataFrame:
        """The bars that the shock makes, and the one before them; empty without a shock."""
        return (
            self.assumed.tail(max(self.shock.bars, 1) + 1)
            if self.shock != NOTHING
            else self.assumed.head(0)
        )

    @cached_property
    def fans(self) -> dict[str, pd.DataFrame]:
        """ "before" and "after": x, median, lower, upper and quantiles by step; step 0 is the close they start from."""
        out = {}
        for name, fc, bars in (
            ("before", self.before, self.past),
            ("after", self.after, self.assumed),
        ):
            fan, last = fc.frame.drop(columns=["symbol", "origin"]).set_index("step"), bars.iloc[-1]
            date = fan.pop("date")
            x = date if self.axis == "date" else last["x"] + fan.index.to_series()
            fan.loc[0] = last["close"]
            x.loc[0] = last["x"]
            fan.insert(0, "x", x)
            out[name] = fan.sort_index()
        return out

    @cached_property
    def table(self) -> pd.DataFrame:
        """By step: x, median, lower and upper in price and, named with "%", in percent of the close they start from.

        Columns of two levels: "before", "after", and "change": by what percent the three prices, and the interval's
        width in percent of the close, are higher after. On a path the same step lies later in "after".
        """
        parts = {}
        for name, fan in self.fans.items():
            prices = fan[list(PRICES)]
            percent = (100 * (prices / prices["median"].loc[0] - 1)).add_suffix(" %")
            parts[name] = pd.concat([fan[["x"]], prices, percent], axis=1).iloc[1:]
        before, after = parts["before"], parts["after"]
        change = 100 * (after[list(PRICES)] / before[list(PRICES)] - 1)
        widths = [part["upper %"] - part["lower %"] for part in (before, after)]
        change["width"] = 100 * (widths[1] / widths[0] - 1)
        return pd.concat({**parts, "change": change}, axis=1)

    @cached_property
    def title(self) -> str:
        """The finding, in one sentence."""
        table, fc = self.table, self.before
        last, level = table.iloc[-1], f"{100 * fc.level:g}% interval"
        ahead = f"{len(table)} {unit_of(self.past['x'])}{'s' * (len(table) > 1)}"
        median = f"median {signed(last['after', 'median %'])}% in {ahead}"
        if self.shock == NOTHING:
            low, high = last["before", "lower"], last["before", "upper"]
            text = f"{self.symbol}, no shock: {median}, {level} {price(low)} to {price(high)}"
            if len(self.came) < len(table):
                return text
            value = float(self.came["close"].iloc[len(table) - 1])
            return f"{text}; it came to {price(value)}, {'inside' if low <= value <= high else 'outside'}"
        wide = last["change", "width"]
        how = (
            "as wide"
            if abs(wide) < 0.5
            else f"{abs(wide):.0f}% {'wider' if wide > 0 else 'narrower'}"
        )
        text = f"{self.symbol}, {self.shock}: {median} instead of {signed(last['before', 'median %'])}%, {level} {how}"
        before, after = self.models
        return (
            text
            if before == after
            else f"{text}; part of it is a change of model, from {before} to {after}"
        )

    @property
    def models(self) -> tuple[str, str]:
        """Who answers before and after: where a path gives a longer history, it may be another link of the chain."""
        return self.before.reports[self.symbol].model_used, self.after.reports[self.symbol].model_used

    def drivers(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Where TFT looked, before and after, in percent: its past inputs, and its past bars by x; the largest first.

        inputs (columns before, after): selection weights, mean over the context's bars. days (before, after, and the
        bar's return and what is assumed for it): attention, mean over the steps ahead; NaN outside of a context.
        They don't prove that an input or a day made the forecast: other weights may give the same output (Jain &
        Wallace 2019). Raises ConfigError where TFT didn't answer.
        """
        inputs, days = {}, {}
        for name, fc, bars in (
            ("before", self.before, self.past),
            ("after", self.after, self.assumed),
        ):
            found = fc.explain()
            if found.attention.empty:
                raise ConfigError(
                    "TFT didn't answer here, and no other member says where it looked."
                )
            inputs[name] = 100 * found.past.groupby("input")["weight"].mean()
            seen = found.attention[found.attention["lag"] >= 0].groupby("lag")["weight"].mean()
            days[name] = pd.Series(
                100 * seen.to_numpy(), bars["x"].to_numpy()[-1 - seen.index.to_numpy()]
            )
        by_day = pd.DataFrame(days).rename_axis("x")
        for name, bars in (("return", self.past), ("assumed", self.assumed)):
            by_day[name] = 100 * bars.set_index("x")["close"].pct_change()
        inputs, by_day = (
            t.sort_values(["after", "before"], ascending=False)
            for t in (pd.DataFrame(inputs), by_day)
        )
        return inputs, by_day


class _One:
    """A member that answers for one symbol of a panel; the others are there for the market's inputs."""

    def __init__(self, member: Member, symbol: str, keep: Callable[..., np.ndarray]):
        self.member, self.symbol, self.keep = member, symbol, keep
        self.context, self.horizon, self.levels = member.context, member.horizon, member.levels

    def quantiles(self, panel: Any, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q], zero for other symbols' origins."""
        own = np.asarray(panel.symbols)[panel.symbol_of(rows)] == self.symbol
        out = np.zeros((len(rows), self.horizon, len(self.levels)))
        if own.any():
            out[own] = self.keep(lambda: self.member.quantiles(panel, rows[own]))
        return out


class WhatIf:
    """Bars (anything load_bars takes; None: the bundled ones) and a model (a Predictor, or what loads one) to ask.

    A forecast sees the last KEEP bars of each symbol up to the origin. What was last asked is kept, so that another
    shock costs one forecast and not two. Raises what load_bars and Predictor.load raise.
    """

    def __init__(self, bars: Any = None, model: Any = None):
        self.bars = load_bars("stocks" if bars is None else bars)
        self.bars.attrs.pop("repairs")  # pandas copies them at every step
        self.model = model if isinstance(model, Predictor) else Predictor.load(model)
        names = self.bars["symbol"].to_numpy()
        first = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        self.span = {
            str(names[a]): (int(a), int(b)) for a, b in zip(first, [*first[1:], len(names)])
        }
        self.symbols = tuple(self.span)
        self.date = self.bars["date"].to_numpy("datetime64[ns]")
        self.dated = not np.isnat(self.date).any()
        day = self.date.astype("datetime64[D]")
        # a date names one bar
        self.by_day = self.dated and bool(np.delete(day[1:] != day[:-1], first[1:] - 1).all())
        self.least = min(
            m.context for m in (*self.model.members.values(), self.model.walk)
        )  # bars for an answer
        self._kept: dict[Any, tuple[Any, Any]] = {}  # what -> (for which question, answer)

    def bar_at(self, symbol: str, origin: Any = None) -> int:
        """Number (from 0) of the last bar up to `origin`: a date, all of that day, or such a number; None: the last.

        Raises DataError on an unknown symbol, on what is no origin, and where there is no bar so early.
        """
        if symbol not in self.symbols:
            raise DataError(
                f"There is no symbol {shown(symbol)}; there are {', '.join(self.symbols[:10])}."
            )
        first, end = self.span[symbol]
        if origin is None:
            return end - first - 1
        whole = isinstance(origin, int | np.integer) and not isinstance(origin, bool)
        if whole and 0 <= origin < end - first:
            return int(origin)
        if whole or not self.dated:
            raise DataError(
                f"{symbol} has no bar {shown(origin)}; its bars have the numbers 0 to {end - first - 1}."
            )
        try:
            when = pd.Timestamp(origin).tz_localize(None)
            when += (
                pd.Timedelta(days=1, nanoseconds=-1)
                if when == when.normalize()
                else pd.Timedelta(0)
            )
            at = int(np.searchsorted(self.date[first:end], when.to_datetime64(), side="right")) - 1
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"The origin {shown(origin)} is no date; write it as 2015-08-21."
            ) from error
        if at < 0:
            begin, last = (pd.Timestamp(self.date[i]).date() for i in (first, end - 1))
            raise DataError(
                f"{symbol} has no bar up to {when.date()}; choose a date from {begin} to {last}."
            )
        return at

    def ask(
        self,
        symbol: str,
        origin: Any = None,
        shock: Shock = NOTHING,
        horizon: int | None = None,
        level: float = LEVEL,
        weights: dict[str, float] | None = None,
    ) -> Comparison:
        """The forecasts from `origin` (see bar_at) without and with the shock; the rest is as for Predictor.predict.

        Without a shock both are one. Raises DataError and ConfigError as bar_at and Predictor.predict do, and
        HistoryTooShort where the origin has too few bars before it.
        """
        at, (first, end) = self.bar_at(symbol, origin), self.span[symbol]
        settings = {
            "horizon": horizon,
            "level": level,
            "weights": weights,
            "calendar": self._calendar(symbol, at),
        }
        bars, key = self._cut(symbol, at), (symbol, at)
        before = self._keep(
            "before", (*key, repr(settings)), lambda: self._predict("before", key, bars, settings)
        )
        after = before
        if shock != NOTHING:
            after = self._predict("after", (*key, shock), shocked(bars, symbol, shock), settings)
        came = self.bars.iloc[
            first + at + 1 : min(first + at + 1 + shock.bars + len(after.frame), end)
        ]
        begin = at + 1 - len(before.bars)
        past, assumed, came = map(
            self._with_x, (before.bars, after.bars, came), (begin, begin, at + 1)
        )
        return Comparison(symbol, shock, before, after, past, assumed, came)

    def has_market(self, symbol: str, origin: Any = None) -> bool:
        """Whether enough symbols have a bar on the origin's date for the market's inputs to be known."""
        at = self.bar_at(symbol, origin)
        same = self._cut(symbol, at)["date"].to_numpy() == self.date[self.span[symbol][0] + at]
        return int(same.sum()) >= MARKET_SYMBOLS

    def _with_x(self, bars: pd.DataFrame, number: int) -> pd.DataFrame:
        return bars.assign(
            x=bars["date"] if self.dated else number + np.arange(len(bars))
        ).reset_index(drop=True)

    def _keep(self, what: Any, key: Any, make: Callable[[], Any]) -> Any:
        if what not in self._kept or self._kept[what][0] != key:
            self._kept[what] = key, make()
        return self._kept[what][1]

    def _cut(self, symbol: str, at: int) -> pd.DataFrame:
        """The last KEEP bars of every symbol up to the date of the symbol's bar number `at`."""
        return self._keep(
            "cut",
            (symbol, at),
            lambda: self.bars.iloc[self._rows(symbol, at)].reset_index(drop=True),
        )

    def _calendar(
        self, symbol: str, at: int
    ) -> dict[str, str | None]:  # one with a shock and without
        begin, zone = self.span[symbol][0], self.bars.attrs.get("zones", {}).get(symbol)
        times = pd.DatetimeIndex(self.date[begin + max(at + 1 - KEEP, 0) : begin + at + 1])
        return self._keep(
            "calendar", (symbol, at), lambda: {symbol: calendar_of(times, symbol, zone=zone)}
        )

    def _rows(self, symbol: str, at: int) -> np.ndarray:
        origin, found = self.span[symbol][0] + at, []
        for name, (begin, end) in self.span.items():
            stop = origin + 1
            if name != symbol:
                stop = begin + int(
                    np.searchsorted(self.date[begin:end], self.date[origin], side="right")
                )
                if (
                    not self.dated or stop - begin < self.least
                ):  # one too short for a panel would stop all others
                    continue
            found.append(np.arange(max(begin, stop - KEEP), stop))
        return np.concatenate(found)

    def _predict(
        self, which: str, key: tuple, bars: pd.DataFrame, settings: dict[str, Any]
    ) -> Forecast:
        """The forecast of the symbol, the first of `key`, of a panel of all; what the members say of `key` is kept."""
        symbol, alone = key[0], copy.copy(self.model)
        alone.members = {
            name: _One(member, symbol, partial(self._keep, (which, name), key))
            for name, member in self.model.members.items()
        }
        fc = alone.predict(bars, **settings)
        if symbol in fc.skipped:
            raise DataError(fc.skipped[symbol])
        _, panel, rows = fc.source
        source = self.model, panel, rows[panel.symbol_of(rows) == panel.symbols.index(symbol)]
        frame, own = (f[f["symbol"] == symbol].reset_index(drop=True) for f in (fc.frame, fc.bars))
        reports = {symbol: fc.reports[symbol]}
        return replace(fc, frame=frame, bars=own, source=source, reports=reports)


def sensitivity(
    lab: WhatIf,
    symbol: str,
    origin: Any = None,
    changes: Iterable[float] = range(-10, 11),
    **settings: Any,
) -> pd.DataFrame:
    """What becomes of the last step when the last bar's close moves by each of `changes` (percent).

    `settings` as WhatIf.ask takes them; `shock` among them says what else is assumed. Returns columns change, and
    median and width of the interval, in percent of the close that the forecast starts from.
    """
    shock, rows = settings.pop("shock", NOTHING), []
    for change in changes:
        fan = lab.ask(symbol, origin, replace(shock, change=float(change)), **settings).fans[
            "after"
        ]
        start, last = fan["median"].iloc[0], fan.iloc[-1]
        rows.append(
            (
                change,
                100 * (last["median"] / start - 1),
                100 * (last["upper"] - last["lower"]) / start,
            )
        )
    table = pd.DataFrame(rows, columns=["change", "median", "width"])
    table.attrs["interval"] = f"{100 * settings.get('level', LEVEL):g}% interval"
    return table
