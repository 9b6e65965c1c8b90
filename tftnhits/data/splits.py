"""Which origins train, validate and test: split by date, purged and embargoed at the borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..errors import ConfigError

SPLITS = ("train", "valid", "test")
NONE = len(SPLITS)  # of an origin that is in no split
SHARES = (0.7, 0.85)  # of the dates, or else of each history: training and validation end there


def splits_of(date: np.ndarray, length: np.ndarray, config: PanelConfig) -> np.ndarray:
    """[S, T] int8 split of each origin; NONE if embargoed, or if its outcome crosses a border.

    date [S, T] is NaT past the `length` [S] of each history, or all through without dates. Raises
    ConfigError on a split date that is none, or on dates out of order.
    """
    bar = np.broadcast_to(np.arange(date.shape[1]), date.shape)
    if np.isnat(date).all():
        # By shares of each history; an embargo counts bars
        position = bar / length[:, None]
        begun = (bar - config.embargo) / length[:, None]
        begins = [-np.inf, *SHARES]
        ends = [*SHARES, 1.0]
    else:
        # By date; an embargo counts days with bars of any symbol
        position = begun = date
        seen = np.unique(date[~np.isnat(date)])
        ends = [seen[int(share * (len(seen) - 1))] for share in SHARES]
        for i, given in enumerate((config.train_end, config.valid_end)):
            if given is not None:
                ends[i] = _end_of_day(given)
        if ends[0] > ends[1]:
            raise ConfigError(
                f"train_end {str(ends[0])[:10]} comes after valid_end {str(ends[1])[:10]}; give "
                "them in order."
            )
        begins = [seen[0] - 1]
        for end in ends:
            later = np.unique(seen[seen > end].astype("datetime64[D]"))[: config.embargo]
            begins.append(_end_of_day(later[-1]) if len(later) else end)
        ends.append(seen[-1])
    # An outcome comes `horizon` bars after its origin
    past_end = np.repeat(position[:, -1:], min(config.horizon, date.shape[1]), axis=1)
    last = np.concatenate([position[:, config.horizon :], past_end], axis=1)
    has_outcome = bar + config.horizon < length[:, None]
    split = np.full(date.shape, NONE, np.int8)
    for i in range(len(SPLITS)):
        split[(begun > begins[i]) & (last <= ends[i]) & has_outcome] = i
    return split


def _end_of_day(day: Any) -> np.datetime64:
    try:
        return (pd.Timestamp(day) + pd.Timedelta(days=1, nanoseconds=-1)).to_datetime64()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The split date {day!r} is no date; write it as 2013-12-31.") from error
