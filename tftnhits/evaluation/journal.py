"""A journal of forecasts whose outcomes were still to come, and how they did.

A back-test is of forecasts that could have been made; these were. The journal is a folder of
Parquet files, one a run, in a folder for each month in which forecasts were kept, and files are
only ever added. A row is an origin's step: symbol, origin, bar (the length of one, in days), step,
date (when that bar is due), made (when it was kept, UTC), close (at the origin), model (a hash of
the weights and of who answered by them), model_used, and the cumulative log return's quantiles:
"0.05" as forecast, "har 0.05" of the volatility scale alone.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from platformdirs import user_data_path
from pyarrow import parquet

from ..data.bars import load_bars
from ..data.dates import moved
from ..data.windows import Panel
from ..data.yahoo import download_bars
from ..errors import ConfigError, DataError
from ..files import atomic_write, locked, sha256
from ..forecast.folder import model_name
from ..forecast.pools import bar_days
from ..forecast.result import quantile_columns
from .record import HAR, LEVELS, Record

if TYPE_CHECKING:
    from ..forecast.result import Forecast

FOLDER = "TFTNHITS_JOURNAL"  # environment variable that names the journal's folder
KEY = ["symbol", "origin", "bar", "model"]
GROUP = 2_000  # rows of a file that are read for a symbol, at least: files are sorted by it


@dataclass(frozen=True)
class Kept:
    """What `Journal.keep` did."""

    origins: int  # newly in the journal
    known: int  # that were there already
    late: list[str]  # symbols whose outcomes are past, or whose bars have no dates
    path: Path | None  # the new file, None where nothing was new


class Journal:
    """The forecasts kept in a folder.

    Parameters
    ----------
    folder : of the journal; None: that of the environment variable TFTNHITS_JOURNAL, or else
        "journal" in the user's data folder
    """

    def __init__(self, folder: str | Path | None = None):
        given = folder or os.environ.get(FOLDER)
        self.folder = Path(given) if given else user_data_path("tftnhits", False) / "journal"

    def __repr__(self) -> str:
        return f"Journal({str(self.folder)!r})"

    def keep(self, forecast: Forecast, now: pd.Timestamp | None = None) -> Kept:
        """Add a forecast's last origins whose next bars are not over yet.

        Parameters
        ----------
        forecast : of Predictor.predict
        now : the time in UTC, without a zone; None: the clock's

        Raises
        ------
        OutputError : a folder that can't be written
        ConfigError : a model that lacks a level of SCORE_LEVELS
        """
        now = pd.Timestamp.now("UTC").tz_localize(None) if now is None else now
        rows, late = _rows_of(forecast, now)
        if rows.empty:
            return Kept(0, 0, late, None)
        with locked(self.folder / "journal"):
            known = self._keys()
            new = rows[~pd.MultiIndex.from_frame(rows[KEY]).isin(known)]
            origins, every = (len(frame.drop_duplicates(KEY)) for frame in (new, rows))
            path = None
            if origins:
                name = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.parquet"
                path = self.folder / f"made={now:%Y-%m}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                new = new.sort_values("symbol", kind="stable")
                atomic_write(path, new.to_parquet(index=False, row_group_size=GROUP))
        return Kept(origins, every - origins, late, path)

    def _keys(self) -> pd.MultiIndex:
        """The keys of what is kept; a file that can't be read holds none."""
        frame, _ = self._read(KEY)
        return pd.MultiIndex.from_frame(frame)

    def _read(self, columns: Any = None, symbol: str | None = None) -> tuple[pd.DataFrame, list]:
        """Rows, all or a symbol's, as they were kept, and why files were passed over."""
        parts, notes = [], []
        how = {"columns": columns, "use_threads": False, "partitioning": None}
        how["filters"] = None if symbol is None else [("symbol", "==", symbol)]
        for path in sorted(self.folder.glob("made=*/*.parquet")):
            try:
                parts.append(parquet.read_table(path, **how))
            except (OSError, ValueError) as error:  # pyarrow's own are of these
                notes.append(f"{path} can't be read ({error}); its forecasts are left out.")
        if not parts:
            return pd.DataFrame(columns=KEY), notes
        return pa.concat_tables(parts, promote_options="permissive").to_pandas(), notes

    def frame(self) -> pd.DataFrame:
        """All that is kept, as the module's docstring has it; raises DataError if there is none."""
        return self._all()[0]

    def _all(self, symbol: str | None = None) -> tuple[pd.DataFrame, list[str]]:
        """As `frame`, or of a symbol alone, and why files were passed over."""
        frame, notes = self._read(symbol=symbol)
        if frame.empty:
            said = f" {notes[0]}" if notes else ""
            what = "forecast" if symbol is None else f"forecast of {symbol}"
            raise DataError(
                f"No {what} is kept in {self.folder}; keep some by forecast.keep() or by "
                f"tftnhits predict --keep.{said}"
            )
        return frame.drop_duplicates([*KEY, "step"], ignore_index=True), notes

    def score(self, bars: Any = None, symbol: str | None = None) -> Record:
        """What came of the forecasts.

        Parameters
        ----------
        bars : anything that load_bars takes, with the origins and later bars; None: downloads them
        symbol : whose alone are scored, which is fast; None: all

        Raises
        ------
        DataError : nothing is kept, or bars that load_bars refuses; DownloadError
        """
        kept, notes = self._all(symbol)
        if bars is None:
            names, first = kept["symbol"].unique(), kept["origin"].min()
            bars = download_bars([*names], start=(first - pd.Timedelta(days=7)).date())
        else:
            bars = load_bars(bars)
        return Record.of(kept, bars, notes)


def journal(folder: str | Path | None = None) -> Journal:
    """The journal in a folder, or the user's own; see Journal."""
    return Journal(folder)


def _rows_of(forecast: Forecast, now: pd.Timestamp) -> tuple[pd.DataFrame, list[str]]:
    """A forecast's last origins as the journal's rows, and the symbols that it can't keep."""
    predictor, panel, origins = forecast.source
    last = np.flatnonzero(np.diff(panel.symbol_of(origins), append=-1))  # of each symbol
    rows = origins[last]
    steps = panel.steps
    frame = forecast.frame.iloc[(last[:, None] * steps + np.arange(steps)).ravel()]
    close = np.repeat(panel.close[rows], steps)
    names = quantile_columns(frame)
    if lacking := {*LEVELS} - {*names}:
        raise ConfigError(f"The model has no quantile level {min(lacking)}, by which it is scored.")
    columns = {name: np.log(frame[name].to_numpy(float) / close) for name in names}
    har = predictor.walk.quantiles(panel, rows).reshape(len(close), -1)
    columns |= {f"{HAR}{level:g}": har[:, q] for q, level in enumerate(predictor.levels)}
    used = {name: report.model_used for name, report in forecast.reports.items()}
    weights = model_name(predictor)
    model = {name: sha256(f"{weights} {who}".encode())[:12] for name, who in used.items()}
    out = frame[["symbol", "origin", "step", "date"]].reset_index(drop=True)
    length = bar_days(panel, panel.symbol_of(rows)).round(4)
    out = out.assign(made=now, close=close, bar=np.repeat(length, steps))
    out = out.assign(model=out["symbol"].map(model), model_used=out["symbol"].map(used), **columns)
    # an origin is kept whole, or not at all: its first bar must not be over
    to_come = _ends(forecast, panel, rows) > now.to_datetime64()  # NaT is not
    late = [panel.symbols[s] for s in panel.symbol_of(rows[~to_come])]
    return out[np.repeat(to_come, steps)].reset_index(drop=True), late


def _ends(forecast: Forecast, panel: Panel, rows: np.ndarray) -> np.ndarray:
    """When the first bars ahead of the origins `rows` [K] are over, in UTC where zones are known.

    A bar that is a day or longer is over with its day.
    """
    days = np.minimum(np.nan_to_num(bar_days(panel, panel.symbol_of(rows))), 1.0)
    end = panel.date[rows + 1] + (days * 86_400e9).astype("timedelta64[ns]")
    zones = forecast.bars.attrs.get("zones", {})
    for k, s in enumerate(panel.symbol_of(rows)):
        if zone := zones.get(panel.symbols[s]):
            end[k : k + 1] = moved(end[k : k + 1], zone, "UTC")
    return end
