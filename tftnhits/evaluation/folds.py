"""Walk-forward folds by date: which sessions each fold trains, validates and tests on.

A session is a day with bars of any symbol. Around the border between two splits stand the purge (no
outcome of the earlier split reaches over it; `make_panel` sees to that) and, after it, the embargo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..config import BacktestConfig, PanelConfig
from ..errors import ConfigError, DataError, HistoryTooShort

TRAIN_ORIGINS = 100  # bars of training beyond the context that a fold needs
TEST_SHARE = 0.4  # of the sessions, tested at the most where no start is given
LATE = np.timedelta64(10, "D")  # a history that begins later than a rolling window fills it still


@dataclass(frozen=True)
class Fold:
    """The days of one refit: first and last origin of training, validation and test.

    Training and validation are purged, so that their outcomes lie inside as well.
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

    `context` is how many bars an origin needs, itself included. Raises HistoryTooShort if the first
    fold can't be trained (says how many would fit), ConfigError if the settings leave a fold
    without validation or lie outside the bars, DataError without dates or sessions.
    """
    if bars["date"].isna().any():
        raise DataError("A backtest goes by dates and these bars lack some; give a column 'date'.")
    days = np.unique(day_of(bars["date"]))
    bars_a_day = bars["date"].nunique() / len(days)
    end = _last_test_day(days, config, bars_a_day)
    bounds = _test_bounds(days, config, end)
    first = np.searchsorted(days, bounds)  # [F+1] index of each fold's first test day
    begin, valid = _starts(days, first[:-1], config)
    needed = math.ceil((context + config.horizon + TRAIN_ORIGINS) / bars_a_day)
    if valid[0] - config.embargo - begin[0] < needed:
        raise _too_short(days, config, end, needed, first[0])
    folds = []
    for i in range(len(bounds) - 1):
        if first[i] == first[i + 1]:
            gap = f"{bounds[i]} to {bounds[i + 1] - 1}"
            raise DataError(f"Fold {i} has no session from {gap}; give longer folds or fill it.")
        train_end, valid_end = valid[i] - config.embargo - 1, first[i] - config.embargo - 1
        if valid_end - valid[i] < config.horizon / bars_a_day:
            raise ConfigError(
                f"Fold {i} has no validation left after embargo and horizon; raise valid_months."
            )
        places = [begin[i], train_end, valid[i], valid_end, first[i], first[i + 1] - 1]
        folds.append(Fold(i, *days[places]))
    return folds


def day_of(dates: pd.Series) -> np.ndarray:
    """[N] datetime64[D]."""
    return dates.to_numpy("datetime64[ns]").astype("datetime64[D]")


def _last_test_day(days: np.ndarray, config: BacktestConfig, bars_a_day: float) -> np.datetime64:
    if config.end is None:  # the last one whose outcomes are all known
        return days[max(len(days) - 1 - math.ceil(config.horizon / bars_a_day), 0)]
    place = np.searchsorted(days, np.datetime64(config.end), side="right")
    if not place:
        raise ConfigError(f"The end {config.end} comes before the first bar, {days[0]}.")
    return days[place - 1]


def _test_bounds(days: np.ndarray, config: BacktestConfig, end: np.datetime64) -> np.ndarray:
    """[F+1] first day of each fold's test span, and the day after the last one's."""
    if config.start is None:  # as many whole folds as TEST_SHARE holds, one at least
        earliest = days[int((1 - TEST_SHARE) * (len(days) - 1))]
        count = 1
        while _months_later(end + 1, -(count + 1) * config.months) >= earliest:
            count += 1
        start = _months_later(end + 1, -count * config.months)
    else:
        start = np.datetime64(config.start)
    if start > end:
        raise ConfigError(f"The start {start} comes after the last possible test date, {end}.")
    bounds = [start]
    while bounds[-1] <= end:
        bounds.append(min(_months_later(start, len(bounds) * config.months), end + 1))
    return np.array(bounds)


def _months_later(day: np.datetime64, months: int) -> np.datetime64:
    """So many calendar months later; the last of a month where there is no such day."""
    return np.datetime64((pd.Timestamp(day) + pd.DateOffset(months=months)).date())


def _starts(
    days: np.ndarray, first: np.ndarray, config: BacktestConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Indices [F] of the first day of training and of validation before tests from `first` [F].

    The training's is past all days where the history doesn't reach back far enough.
    """
    valid_begin = pd.DatetimeIndex(days[first]) - pd.DateOffset(months=config.valid_months)
    valid = np.searchsorted(days, day_of(valid_begin))
    if config.train_years is None:
        return np.zeros_like(valid), valid
    train_end = pd.DatetimeIndex(days[np.maximum(valid - config.embargo - 1, 0)] + 1)
    begin = day_of(train_end - pd.DateOffset(years=config.train_years))
    return np.where(begin + LATE < days[0], len(days), np.searchsorted(days, begin)), valid


def _too_short(
    days: np.ndarray, config: BacktestConfig, end: np.datetime64, needed: int, first: int
) -> HistoryTooShort:
    """The error that says how much would fit."""
    window = f"{needed} sessions"
    if config.train_years is not None:
        window = f"{config.train_years} years (and {window})"
    problem = (
        f"The history is too short, {len(days)} sessions from {days[0]} to {days[-1]}: a test from "
        f"{days[first]} on needs {window} before {config.valid_months} months of validation"
    )
    begin, valid = _starts(days, np.arange(np.searchsorted(days, end) + 1), config)
    enough = np.flatnonzero(valid - config.embargo - begin >= needed)
    if not len(enough):
        return HistoryTooShort(f"{problem}, and no test date has that; give more bars.")
    earliest = days[enough[0]]
    folds = len(_test_bounds(days, replace(config, start=str(earliest)), end)) - 1
    return HistoryTooShort(
        f"{problem}; the earliest possible start is {earliest}, which makes {folds} folds."
    )


def fold_bars(bars: pd.DataFrame, fold: Fold, horizon: int) -> pd.DataFrame:
    """The bars that a fold may see: from its begin to its last test day, and `horizon` beyond."""
    day = day_of(bars["date"])
    bars, day = bars[day >= fold.begin], day[day >= fold.begin]
    later = pd.Series(day > fold.test_end, bars.index)
    ahead = later.groupby(bars["symbol"], observed=True).cumsum()
    listed = bars["symbol"].isin(bars["symbol"][~later])  # a symbol that comes later is not seen
    return bars[listed & (ahead <= horizon)].reset_index(drop=True)


def check_fold(bars: pd.DataFrame, fold: Fold, config: BacktestConfig, context: int) -> None:
    """Raise DataError on a split without an outcome or a close that never moves in training.

    `bars` are those of `fold_bars`.
    """
    day = day_of(bars["date"])
    dates = bars.groupby("symbol", sort=False, observed=True)["date"]
    deep = dates.cumcount().to_numpy() >= context - 1
    reach = day_of(dates.shift(-config.horizon))  # NaT compares false
    followed = dates.shift(-1).notna().to_numpy()
    origins = {
        "training": deep & (reach <= fold.train_end),
        "validation": deep & (day >= fold.valid_begin) & (reach <= fold.valid_end),
        "test": deep & (day >= fold.test_begin) & (day <= fold.test_end) & followed,
    }
    for split, chosen in origins.items():
        if not chosen.any():
            raise DataError(
                f"No outcomes in the {split} of {fold}: no symbol has {context} bars before an "
                f"origin there and bars after it; give more bars."
            )
    trained = bars["symbol"].isin(bars["symbol"][origins["training"]]) & (day <= fold.train_end)
    closes = bars[trained].groupby("symbol", sort=False, observed=True)["close"]
    moves = closes.nunique() > 1
    if not moves.all():
        flat = ", ".join(moves.index[~moves][:6])
        raise DataError(
            f"The close of {flat} never changes in the training of {fold}; leave it out."
        )
