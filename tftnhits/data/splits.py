"""Which origins train, validate and test: split by date, purged and embargoed at the borders."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..config import PanelConfig
from ..errors import ConfigError

SPLITS = ("train", "valid", "test")
NONE = len(SPLITS)  # of an origin that is in no split
SHARES = 0.7, 0.85  # of the dates, or else of each history, that training and validation end with
WHOLE_DAY = pd.Timedelta(days=1, nanoseconds=-1)


def splits_of(date: np.ndarray, length: np.ndarray, config: PanelConfig) -> np.ndarray:
    """[S, T] int8 split of each origin; NONE if embargoed, or if its outcome crosses a border.

    date [S, T] is NaT past the `length` [S] of each history, or all through without dates. Raises
    ConfigError on a split date that is none, or on dates out of order.
    """
    horizon = config.horizon
    bar = np.broadcast_to(np.arange(date.shape[1]), date.shape)
    if np.isnat(date).all():
        position, begun = bar / length[:, None], (bar - config.embargo) / length[:, None]
        begins, ends = [-np.inf, *SHARES], [*SHARES, 1.0]
    else:
        position = begun = date
        seen = np.unique(date[~np.isnat(date)])
        borders = _borders(seen, config)
        begins = [np.datetime64("1677-09-22"), *(_embargoed(seen, b, config) for b in borders)]
        ends = [*borders, np.datetime64("2262-04-11")]
    # An outcome comes `horizon` bars after its origin
    past_end = np.repeat(position[:, -1:], min(horizon, date.shape[1]), axis=1)
    last = np.concatenate([position[:, horizon:], past_end], axis=1)
    has_outcome = bar + horizon < length[:, None]
    split = np.full(date.shape, NONE, np.int8)
    for i in range(len(SPLITS)):
        split[(begun > begins[i]) & (last <= ends[i]) & has_outcome] = i
    return split


def _borders(seen: np.ndarray, config: PanelConfig) -> list[np.datetime64]:
    """The last moments of training and validation; seen [N] are all dates, ascending."""
    borders = [seen[int(share * (len(seen) - 1))] for share in SHARES]
    for i, given in enumerate((config.train_end, config.valid_end)):
        if given is None:
            continue
        try:
            borders[i] = (pd.Timestamp(given) + WHOLE_DAY).to_datetime64()
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"The split date {given!r} is no date; write it as 2013-12-31."
            ) from error
    if borders[0] > borders[1]:
        raise ConfigError(
            f"train_end {borders[0]} comes after valid_end {borders[1]}; give them in order."
        )
    return borders


def _embargoed(seen: np.ndarray, border: np.datetime64, config: PanelConfig) -> np.datetime64:
    """The last moment of the sessions that are embargoed after a border."""
    later = np.unique(seen[seen > border].astype("datetime64[D]"))[: config.embargo]
    return (pd.Timestamp(later[-1]) + WHOLE_DAY).to_datetime64() if len(later) else border
