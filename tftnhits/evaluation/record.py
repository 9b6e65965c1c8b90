"""What came of the forecasts that a journal keeps: losses, coverage and reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..config import SCORE_LEVELS, STEPS
from ..errors import ConfigError, counted
from ..forecast.ensemble import pinball_loss
from ..forecast.own import binomial_interval
from .verdicts import diebold_mariano

HAR = "har "  # before a level's name: the volatility scale's quantile
LEVELS = [f"{level:g}" for level in SCORE_LEVELS]
INTERVALS = {"80": ("0.1", "0.9"), "93": ("0.035", "0.965")}
GROUPS = ("symbol", "model", "model_used", "step", "month")
POINTS = 1e4
ALIKE = 1.5  # ratio up to which bars count as equally long
MOVED = 0.005  # relative change of an origin's close: bars were adjusted since


@dataclass(frozen=True)
class Record:
    """Kept forecasts beside what came.

    Attributes
    ----------
    frame : DataFrame
        The journal's rows with an outcome (cumulative log return), and loss and har (mean pinball
        losses × 10⁴), inside_80 and inside_93.
    notes : list of str
        What has no outcome yet, and what was passed over.
    """

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, kept: pd.DataFrame, bars: pd.DataFrame, notes: Sequence[str] = ()) -> Record:
        """Look up each kept row's outcome in `bars`, as long ones as those that were forecast."""
        alike = _as_long(kept, bars)
        outcome, close = _outcomes(kept[alike], bars)
        other = kept["symbol"][~alike].unique()
        if len(other):
            notes = [*notes, f"Bars of {_listed(other)} are longer or shorter than those forecast."]
        kept = kept[alike]
        notes = [*notes, *_notes(kept, outcome, close)]
        seen = np.isfinite(outcome)
        frame = kept[seen].assign(outcome=outcome[seen]).reset_index(drop=True)
        actual = frame["outcome"].to_numpy(float)
        for name, prefix in (("loss", ""), ("har", HAR)):
            quantiles = frame[[prefix + level for level in LEVELS]].to_numpy(float)
            frame[name] = POINTS * pinball_loss(quantiles, actual, SCORE_LEVELS)
        for name, (low, high) in INTERVALS.items():
            frame[f"inside_{name}"] = (frame[low] <= actual) & (actual <= frame[high])
        return cls(frame, notes)

    def table(self, by: str | Sequence[str] = "model") -> pd.DataFrame:
        """How forecasts did, a row a group.

        Parameters
        ----------
        by : of "symbol", "model", "model_used", "step", "month" (of the origin)

        Returns
        -------
        DataFrame : dates (of origins), outcomes, loss, har, to_har (their ratio), p (one-sided
        Diebold-Mariano test of a lower loss than HAR's, clustered by date), and of the 80% and the
        93% intervals the share inside and where its probability lies (at 95%, a date counted once)

        Raises
        ------
        ConfigError : another name in `by`
        """
        names = [by] if isinstance(by, str) else [*by]
        if not names or not set(names) <= set(GROUPS):
            raise ConfigError(
                f"A record is told by {', '.join(GROUPS)}, not by {', '.join(names)}."
            )
        frame = self.frame.assign(month=self.frame["origin"].dt.strftime("%Y-%m"))
        groups = frame.groupby(names, sort=True)
        rows = [dict(zip(names, key, strict=True)) | _told(group) for key, group in groups]
        return pd.DataFrame(rows)

    def whole(self) -> pd.Series:
        """The row of `table` for all forecasts together."""
        return pd.Series(_told(self.frame))

    def reliability(self) -> pd.DataFrame:
        """By level of the quantiles (nominal), the share of outcomes below: of ours and HAR's."""
        actual = self.frame["outcome"].to_numpy(float)[:, None]
        shares = [
            (actual <= self.frame[[prefix + level for level in LEVELS]].to_numpy(float)).mean(0)
            for prefix in ("", HAR)
        ]
        return pd.DataFrame({"level": SCORE_LEVELS, "below": shares[0], "har": shares[1]})

    def plot(self) -> Any:
        """The picture of the record (viz/journal.py)."""
        from ..viz.journal import plot_record

        return plot_record(self)


def _as_long(kept: pd.DataFrame, bars: pd.DataFrame) -> np.ndarray:
    """Whether each kept row is of bars as long as the symbol's in `bars`, or it has none there."""
    apart = bars.groupby("symbol", sort=False)["date"].diff() / pd.Timedelta(days=1)
    usual = apart.groupby(bars["symbol"].astype(object)).median()
    ratio = kept["bar"].to_numpy(float) / kept["symbol"].map(usual).to_numpy(float)
    return ~(np.abs(np.log(ratio)) > np.log(ALIKE))


def _outcomes(kept: pd.DataFrame, bars: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of each kept row the log return to its step, and the origin's close now; NaN if unknown."""
    number = bars.groupby("symbol", sort=False).cumcount()
    keyed = pd.Series(np.arange(len(bars)), index=[bars["symbol"].astype(object), bars["date"]])
    keyed = keyed[~keyed.index.duplicated()]
    place = keyed.reindex([kept["symbol"].astype(object), kept["origin"]]).to_numpy(float)
    size = bars.groupby("symbol", sort=False)["close"].transform("size").to_numpy()
    found = np.isfinite(place)
    row = np.where(found, place, 0).astype(int)
    step = kept["step"].to_numpy(int)
    there = found & (number.to_numpy()[row] + step < size[row])
    close = np.log(bars["close"].to_numpy(float))
    outcome = np.full(len(kept), np.nan)
    outcome[there] = close[row[there] + step[there]] - close[row[there]]
    return outcome, np.where(found, np.exp(close[row]), np.nan)


def _notes(kept: pd.DataFrame, outcome: np.ndarray, close: np.ndarray) -> list[str]:
    """What has no outcome, and what changed since."""
    notes = []
    absent = kept["symbol"][~np.isfinite(close)].unique()
    waiting = int((np.isfinite(close) & ~np.isfinite(outcome)).sum())
    moved = np.abs(close / kept["close"].to_numpy(float) - 1) > MOVED
    changed = kept["symbol"][moved].unique()
    if len(absent):
        notes.append(f"The bars lack origins of {_listed(absent)}; those are not scored.")
    if waiting:
        notes.append(f"{counted(waiting, 'outcome')} of {len(kept)} will be known by later bars.")
    if len(changed):
        notes.append(
            f"Bars of {_listed(changed)} were adjusted since; returns are those of the bars given."
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _told(group: pd.DataFrame) -> dict[str, Any]:
    """A group's row of `Record.table`."""
    date = group["origin"].to_numpy()
    dates = len(np.unique(date))
    loss, har = (group[name].to_numpy(float) for name in ("loss", "har"))
    test = diebold_mariano(loss, har, date, STEPS - 1)
    row = {"dates": dates, "outcomes": len(group), "loss": loss.mean(), "har": har.mean()}
    row |= {"to_har": loss.mean() / har.mean(), "p": test.p_value}
    for name in INTERVALS:
        share = float(group[f"inside_{name}"].mean())
        low, high = binomial_interval(share, dates)
        row |= {f"inside_{name}": share, f"low_{name}": low, f"high_{name}": high}
    return row
