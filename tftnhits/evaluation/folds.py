"""Walk-forward folds by date: which sessions each fold trains, validates and tests on.

A session is a day with bars of any symbol. Around the border between two splits stand the purge (no outcome of
the earlier split reaches over it; `make_panel` sees to that) and, after it, the embargo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..config import BacktestConfig, PanelConfig
from ..errors import ConfigError, DataError, HistoryTooShort

TRAIN_ORIGINS = 100  # bars of training beyond the context that a fold needs
TEST_SHARE = 0.4  # of the sessions, tested at the most where no start is given
LATE = np.timedelta64(
    10, "D"
)  # a history that begins this much later than a rolling window still fills it


@dataclass(frozen=True)
class Fold:
    """The days of one refit, each the first or last of its span; spans of origins, both ends included.

    Origins of training lie in begin … train_end, of validation in valid_begin … valid_end, of test in
    test_begin … test_end; the first two are purged, so that their outcomes lie inside as well.
    """

    number: int
    begin: np.datetime64  # datetime64[D], as all of them
    train_end: np.datetime64
    valid_begin: np.datetime64
    valid_end: np.datetime64
    test_begin: np.datetime64
    test_end: np.datetime64

    def panel_config(self, config: BacktestConfig) -> PanelConfig:
        """Settings of the panel with just these splits."""
        ends = {"train_end": str(self.train_end), "valid_end": str(self.valid_end)}
        return PanelConfig(horizon=config.horizon, embargo=config.embargo, **ends)

    def to_dict(self) -> dict[str, int | str]:
        """Plain values for JSON."""
        return {k: v if k == "number" else str(v) for k, v in vars(self).items()}

    def __str__(self) -> str:
        return f"fold {self.number} (test {self.test_begin} to {self.test_end})"


def make_folds(bars: pd.DataFrame, config: BacktestConfig, context: int = 1) -> list[Fold]:
    """The folds of a backtest; their test spans follow one another without hole or overlap.

    bars: validated, dated. `context` is how many bars an origin needs, itself included.
    Raises HistoryTooShort if the first fold can't be trained (says how many folds would fit), ConfigError if the
    settings leave a fold without validation or lie outside the bars, DataError on a fold without sessions.
    """
    if bars["date"].isna().any():
        raise DataError(
            "A walk-forward backtest goes by dates and these bars have none; give a column 'date'."
        )
    days = np.unique(_day(bars["date"]))
    a_day = len(bars.drop_duplicates("date")) / len(days)
    need = math.ceil((context + config.horizon + TRAIN_ORIGINS) / a_day)
    end = _end(days, config, a_day)
    bounds = _bounds(days, config, end)
    first = np.searchsorted(days, bounds)  # [F+1] index of each fold's first test day
    begin, valid = _before(days, first[:-1], config)
    if (valid - config.embargo - begin < need)[0]:
        raise _too_short(days, config, end, need, first[0])
    for i in np.flatnonzero(np.diff(first) == 0):
        raise DataError(
            f"Fold {i} has no session from {bounds[i]} to {bounds[i + 1] - 1}; give longer folds or fill the gap."
        )
    folds = []
    for i in range(len(first) - 1):
        train_end, valid_end = (int(border) - config.embargo - 1 for border in (valid[i], first[i]))
        places = (begin[i], train_end, valid[i], valid_end, first[i], first[i + 1] - 1)
        if valid_end - valid[i] < config.horizon / a_day:
            raise ConfigError(
                f"Fold {i} is left without validation: its {first[i] - valid[i]} sessions less embargo and horizon "
                f"are none; raise BacktestConfig.valid_months."
            )
        folds.append(Fold(i, *(days[p] for p in places)))
    return folds


def _day(dates: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """[N] datetime64[D]."""
    return dates.to_numpy("datetime64[ns]").astype("datetime64[D]")


def _end(days: np.ndarray, config: BacktestConfig, a_day: float) -> np.datetime64:
    """The last test day."""
    if config.end is None:
        return days[max(len(days) - 1 - math.ceil(config.horizon / a_day), 0)]
    if np.datetime64(config.end) < days[0]:
        raise ConfigError(
            f"BacktestConfig.end {config.end} comes before the first bar, {days[0]}; give a later one."
        )
    return days[np.searchsorted(days, np.datetime64(config.end), side="right") - 1]


def _bounds(days: np.ndarray, config: BacktestConfig, end: np.datetime64) -> np.ndarray:
    """[F+1] first day of each fold's test span, and the day after the last one's."""
    if config.start is not None:
        start = np.datetime64(config.start)
        if start > end:
            raise ConfigError(
                f"BacktestConfig.start {start} comes after the last possible test date, {end}; give an earlier one."
            )
    else:
        share = days[int((1 - TEST_SHARE) * (len(days) - 1))]
        count = 1
        while _months(end + 1, -(count + 1) * config.months) >= share:
            count += 1
        start = _months(end + 1, -count * config.months)
    bounds = [start]
    while bounds[-1] <= end:
        bounds.append(min(_months(start, len(bounds) * config.months), end + 1))
    return np.array(bounds)


def _months(day: np.datetime64, months: int) -> np.datetime64:
    """`day` so many calendar months later; the last of a month where there is no such day."""
    return np.datetime64((pd.Timestamp(day) + pd.DateOffset(months=months)).date())


def _before(
    days: np.ndarray, first: np.ndarray, config: BacktestConfig
) -> tuple[np.ndarray, np.ndarray]:
    """For tests that begin at the days `first` [F]: the index of the first training and the first validation day.

    The training's is past all of training where the history doesn't reach back far enough.
    """
    test = pd.DatetimeIndex(days[first])
    valid = np.searchsorted(days, _day(test - pd.DateOffset(months=config.valid_months)))
    begin = np.zeros_like(valid)
    if config.train_years is not None:
        edge = days[np.maximum(valid - config.embargo - 1, 0)] + 1
        wanted = _day(pd.DatetimeIndex(edge) - pd.DateOffset(years=config.train_years))
        begin = np.where(wanted + LATE < days[0], len(days), np.searchsorted(days, wanted))
    return begin, valid


def _too_short(
    days: np.ndarray, config: BacktestConfig, end: np.datetime64, need: int, first: int
) -> HistoryTooShort:
    """The error that says how much would fit."""
    last = np.searchsorted(days, end)
    begin, valid = _before(days, np.arange(last + 1), config)
    fits = np.flatnonzero(valid - config.embargo - begin >= need)
    have = f"{len(days)} sessions from {days[0]} to {days[-1]}"
    window = (
        f"{need} sessions"
        if config.train_years is None
        else f"{config.train_years} years (and {need} sessions)"
    )
    before = f"a test from {days[first]} on needs {window} of training before {config.valid_months} months of validation"
    if not len(fits):
        return HistoryTooShort(
            f"The history is too short, {have}: {before}, and no test date has that; give more bars."
        )
    folds = 1
    while _months(days[fits[0]], folds * config.months) <= end:
        folds += 1
    return HistoryTooShort(
        f"The history is too short, {have}: {before}; the earliest possible start is {days[fits[0]]}, which "
        f"makes {folds} folds of {config.months} months at the most."
    )


def fold_bars(bars: pd.DataFrame, fold: Fold, horizon: int) -> pd.DataFrame:
    """The bars that a fold may see: from its begin to its last test day, and `horizon` more of each symbol."""
    day = _day(bars["date"])
    later = day > fold.test_end
    rank = pd.Series(later).groupby(bars["symbol"].to_numpy(), sort=False).cumsum().to_numpy()
    seen = bars["symbol"].isin(bars["symbol"][(day >= fold.begin) & ~later])
    return bars[seen & (day >= fold.begin) & (rank <= horizon)].reset_index(drop=True)


def check_fold(bars: pd.DataFrame, fold: Fold, config: BacktestConfig, context: int) -> None:
    """Raise DataError if a fold can't be trained or tested; `bars` are the fold's own.

    Names the fold and its split without an origin with an outcome, or the symbol whose close never moves in training.
    """
    day = _day(bars["date"])
    by = bars.groupby("symbol", sort=False)["date"]
    deep = by.cumcount().to_numpy() >= context - 1
    reach = _day(by.shift(-config.horizon))  # NaT compares false
    following = by.shift(-1).notna().to_numpy()
    found = {
        "training": deep & (reach <= fold.train_end),
        "validation": deep & (day >= fold.valid_begin) & (reach <= fold.valid_end),
        "test": deep & (day >= fold.test_begin) & (day <= fold.test_end) & following,
    }
    for split, rows in found.items():
        if not rows.any():
            raise DataError(
                f"F{str(fold)[1:]} has no outcomes in its {split}: no symbol has {context} bars before an origin there "
                f"and bars after it; give more bars, or move start and end."
            )
    trained = bars["symbol"].isin(bars["symbol"][found["training"]]) & (day <= fold.train_end)
    closes = bars[trained].groupby("symbol", sort=False, observed=True)["close"]
    if flat := closes.min().index[closes.min() == closes.max()].tolist():
        more = f" (and of {len(flat) - 1} more: {', '.join(flat[1:6])})" if flat[1:] else ""
        raise DataError(
            f"The close of {flat[0]}{more} never changes in the training of {fold}, so that there is nothing to learn "
            f"or to scale by; leave it out."
        )
