"""A column of dates in any notation becomes local times: one reading holds for the whole column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from ..errors import DataError
from .cells import NO_VALUE, distinct, missing
from .names import text_of
from .notations import (
    NAT,
    OFFSET,
    is_zone,
    iso_dates,
    nanoseconds,
    plain_text,
    read_texts,
    shift_of,
)

DAY = np.timedelta64(1, "D")
UNITS = (("s", 8, 11), ("ms", 11, 14), ("us", 14, 17), ("ns", 17, 19))  # powers of ten, since 1970
# dates written in so many digits, as YYYYMMDD[HHMM[SS[mmm]]]
WRITTEN = {
    4: {"": "{}0101"},
    6: {"as months": "{}01", "as days": "20{}"},
    10: {"as hours": "{}00", "as minutes": "20{}"},
    **{size: {"": "{}"} for size in (8, 12, 14, 17)},
}
# zones tried, in this order, on local times whose offset from UTC changes with the season
SEASONAL = (
    *("America/New_York", "Europe/London", "Europe/Berlin", "America/Chicago", "Australia/Sydney"),
    *("Europe/Athens", "America/Los_Angeles", "America/Denver", "America/Halifax", "Africa/Cairo"),
    *("Asia/Jerusalem", "Pacific/Auckland", "Australia/Adelaide", "Australia/Lord_Howe"),
    *("America/Sao_Paulo", "America/Santiago", "America/St_Johns", "Europe/Moscow"),
)
REGULAR = 0.05  # share of its days, weeks or months that a regular series may lack
FEW = 8  # dates with fewer don't prove which number is the month
_CLOCKED = re.compile(r"\d[T ]\d|:")  # 2020-01-02 ends in no offset
_DIGITS = re.compile(r"[+-]?\d+(\.0*)?|\d{9,10}\.\d+|\d\.\d+[eE]\+?\d+")


@dataclass
class Dates:
    """Local times without a zone, and what is known of the zone."""

    local: np.ndarray  # [R] datetime64[ns], NaT where missing or unreadable
    bad: np.ndarray  # [R] cells that are no dates
    utc: np.ndarray | None = None  # [R] the same in UTC, where the source tells it
    zone: str = ""  # of all rows, if the column has one
    notes: list[tuple[str, str]] = field(default_factory=list)  # repair, example
    doubt: str = ""


def parse_dates(
    series: pd.Series,
    code: np.ndarray,
    clock: pd.Series | None = None,
    dayfirst: bool | None = None,
) -> Dates:
    """The dates of a column [R], whatever its type and notation; `code` [R] numbers the symbols.

    `clock` [R] has times of the day, if they are in a column of their own. If `dayfirst` is None,
    01/02 is read so that fewer days, weeks or months lack, and month first where that doesn't tell.
    """
    gone = missing(series)
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        out = _zoned(series)
    elif isinstance(series.dtype, np.dtype) and series.dtype.kind == "M":
        out = Dates(nanoseconds(series.to_numpy()), gone)
    else:
        out = _read(series, code, dayfirst)
        gone = gone | out.bad
    out.bad = np.isnat(out.local) & ~gone
    if clock is not None and not out.bad.any():
        since, wrong = clock_times(clock)
        out.local = out.local.astype("datetime64[D]").astype("datetime64[ns]") + since
        out.bad = wrong & ~gone
    return out


def _zoned(series: pd.Series) -> Dates:
    zone = str(series.dtype.tz)
    utc = nanoseconds(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if not is_zone(zone):
        return Dates(utc, np.isnat(utc), utc, "UTC")
    local = nanoseconds(series.dt.tz_localize(None).to_numpy())
    return Dates(local, np.isnat(local), utc, zone)


def _read(series: pd.Series, code: np.ndarray, dayfirst: bool | None) -> Dates:
    """Dates of numbers or texts, each distinct one read once; so far those missing are `bad`."""
    place, unique = distinct(series, "Column date", "dates; give one date a row")
    zone, offsets = "", None
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiu":
        readings = of_numbers(np.asarray(unique))
    else:
        texts = [text_of(cell) for cell in unique]
        given = np.array([text.lower() not in NO_VALUE for text in texts] + [False])
        place = np.where(given, np.cumsum(given) - 1, -1)[place]  # -1 stands for missing ones
        texts, zone = _without_zone([text for text, one in zip(texts, given) if one])
        readings, offsets = _of_texts(texts)
    readings = {name: np.append(values, NAT)[place] for name, values in readings.items()}
    blank = place < 0
    chosen, doubtful = _chosen(readings, dayfirst, code)
    out = Dates(readings[chosen], blank)
    if zone:
        index = pd.DatetimeIndex(out.local).tz_localize(zone, True, "shift_forward")
        out.zone, out.utc = zone, index.tz_convert("UTC").tz_localize(None).to_numpy()
    elif offsets is not None:
        out.utc = out.local - np.append(offsets, np.timedelta64(0, "s"))[place]
    if len(readings) > 1 and not blank.all():
        i = int(np.flatnonzero(~blank)[0])
        example, day = text_of(series.iloc[i])[:40], str(out.local[i])[:10]
        out.notes.append(
            ("ambiguous dates" if doubtful else f"dates read {chosen}", f"{example} as {day}")
        )
        if doubtful:
            other = next(name for name in readings if name != chosen)
            told = f"say dayfirst={other == 'day first'}"
            told = "write them as YYYY-MM-DD" if other == "year first" else told
            out.doubt = (
                f"Dates such as {example!r} are read {chosen}, as {day}, but may be {other}; "
                f"{told} if so."
            )
    return out


def _without_zone(texts: list[str]) -> tuple[list[str], str]:
    """Texts without the zone that all end with, such as US/Eastern, and that zone."""
    match = re.search(r"\s([A-Z]\w+/[A-Z]\w+)$", texts[0]) if texts else None
    if not match or not is_zone(match[1]) or not all(text.endswith(match[0]) for text in texts):
        return texts, ""
    return [text[: -len(match[0])] for text in texts], match[1]


def of_numbers(values: np.ndarray) -> dict[str, np.ndarray]:
    """The readings [U] of numbers: dates written as digits if all can be, else time since 1970."""
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (values >= 0) & (values < 9e18) & (values == np.floor(values))
        fraction = (values > 1e8) & (values < 1e11) & ~whole
    number = np.where(whole, values, 0).astype(np.int64)
    since = np.full(len(values), NAT)
    for unit, low, high in UNITS:
        hit = (number >= 10**low) & (number < 10**high)
        since[hit] = nanoseconds(number[hit].astype(f"datetime64[{unit}]"))
    since[fraction] = (values[fraction] * 1e6).round().astype(np.int64).astype("datetime64[us]")

    texts = [str(n) for n in number[whole].tolist()]
    sizes = {len(text) for text in texts}
    size = sizes.pop() if len(sizes) == 1 else 0
    latest = np.datetime64(f"{date.today().year + 2}-01-01")
    if size == 10 and (since[whole] < latest).all():
        return {"": since}
    readings = {}
    for name, form in WRITTEN.get(size, {}).items():
        (written,) = read_texts([form.format(text) for text in texts]).values()
        sound = (written > np.datetime64("1800-01-01")) & (written < np.datetime64("2200-01-01"))
        if sound.all() and (not name or (written < latest).all()):
            readings[name] = np.full(len(values), NAT)
            readings[name][whole] = written
    written = (number >= 10**7) & (number < 10**8)
    if not readings and 2 * written.sum() > len(values):  # a slip among dates that are written so
        since = np.full(len(values), NAT)
        (since[written],) = read_texts([str(n) for n in number[written].tolist()]).values()
    return readings or {"": since}


def _of_texts(texts: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Readings [U] of distinct texts, and offsets from UTC [U], if any."""
    if not texts:
        return {"": np.array([], "datetime64[ns]")}, None
    if (iso := iso_dates(texts)) is not None:
        return {"": iso}, None
    texts = list(map(plain_text, texts))
    if all(map(_DIGITS.fullmatch, texts)):
        whole = all("." not in text and len(text) < 19 for text in texts)
        return of_numbers(np.array([int(t) if whole else min(float(t), 9e18) for t in texts])), None
    matches = [OFFSET.search(text[-14:]) if _CLOCKED.search(text) else None for text in texts]
    sizes = [len(match[0]) if match else 0 for match in matches]
    local = [text[: len(text) - size].strip() for text, size in zip(texts, sizes, strict=True)]
    shifts = np.array([shift_of(match[1]) if match else 0 for match in matches], "timedelta64[s]")
    return read_texts(local), shifts if any(matches) else None


def _chosen(
    readings: dict[str, np.ndarray], dayfirst: bool | None, code: np.ndarray
) -> tuple[str, bool]:
    """The reading of a column that lacks fewest of its days, and whether another is as good."""
    asked = {True: "day first", False: "month first"}.get(dayfirst)
    if asked and {*readings} & {"day first", "month first"}:
        if asked not in readings:
            raise DataError(f"The dates can't all be read {asked}; leave dayfirst out.")
        return asked, False
    if len(readings) == 1:
        return next(iter(readings)), False
    lacking = {name: _lacking(values, code) for name, values in readings.items()}
    best = min(lacking, key=lambda name: lacking[name])
    different = [name for name in readings if (readings[name] != readings[best]).any()]
    equal = [name for name in different if lacking[name] <= max(lacking[best], REGULAR)]
    few = len(np.unique(readings[best])) < FEW
    return (next(iter(readings)) if equal else best), bool(equal) or (few and bool(different))


def _lacking(dates: np.ndarray, code: np.ndarray) -> float:
    """Share of the days, weeks, months, quarters or years from first to last without a bar."""
    shares = []
    for symbol in np.unique(code)[:20]:
        stamps = dates[(code == symbol) & ~np.isnat(dates)]
        days = np.unique(stamps.astype("datetime64[D]"))
        if len(days) < 3:
            continue
        step = float(np.median(np.diff(days) / DAY))
        if step >= 4 and len(stamps) < 2 * len(days):  # bars of hours come on days in a row
            unit = min((7, 30.44, 91.3, 365.25), key=lambda length: abs(np.log(step / length)))
            expected = round((days[-1] - days[0]) / DAY / unit) + 1
        elif ((days.astype(np.int64) + 3) % 7 >= 5).any():  # 1970-01-01 was a Thursday
            expected = (days[-1] - days[0]) / DAY + 1
        else:
            expected = np.busday_count(days[0], days[-1]) + 1
        shares.append(abs(1 - len(days) / expected))
    return float(np.mean(shares)) if shares else 0.0


def clock_times(series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Times of the day [R], timedelta64[ns], and which are none: 9:30, 09:30:00, 93000, 9:30 PM."""
    place, unique = distinct(series, "Column time", "times; write them as 09:30")
    texts = [re.sub(r"\.0$|^0 days ", "", text_of(cell)) for cell in unique]
    size = 6 if any(text.isdigit() and len(text) > 4 for text in texts) else 4
    texts = [f"2000-01-01 {text.zfill(size) if text.isdigit() else text}" for text in texts]
    times = np.append(next(iter(read_texts(texts).values())), NAT)[place]
    since = times - np.datetime64("2000-01-01", "ns")
    return np.where(np.isnat(times), np.timedelta64(0), since), np.isnat(times)


def settle_zones(dates: Dates, code: np.ndarray, names: list[str]) -> dict[str, str]:
    """The zone of each symbol, as far as the source tells it.

    Local times stay as they are if each comes once. Offsets that change with the season are those
    of a zone in `SEASONAL`; where none fits, and where an hour comes twice as clocks go back,
    `dates.local` becomes UTC, unless all bars are stamped at midnight.
    """
    if dates.utc is None:
        return {}
    known = ~np.isnat(dates.local)
    zones = {}
    for i, name in enumerate(names):
        rows = known & (code == i)
        if rows.any():
            zones[name] = dates.zone or _zone_of(dates.local[rows], dates.utc[rows])
    days = dates.local[known].astype("datetime64[D]")
    stamps = pd.DataFrame({"code": code, "local": dates.local, "utc": dates.utc})
    twice = stamps[["code", "local"]].duplicated() & ~stamps.duplicated()
    example = ", ".join(sorted({*zones.values()} - {""})[:3])
    if twice.any() or ("" in zones.values() and (days != dates.local[known]).any()):
        dates.local = dates.utc
        dates.notes.append(("mixed time zones turned into UTC", example))
        return dict.fromkeys(zones, "UTC")
    dates.notes.append(("time zone dropped, local time kept", example))
    return {name: zone for name, zone in zones.items() if zone}


def _zone_of(local: np.ndarray, utc: np.ndarray) -> str:
    """The name of the zone of these times [K]; an empty text if none fits."""
    offsets = local - utc
    if (offsets == offsets[0]).all():
        minutes = int(offsets[0] / np.timedelta64(1, "m"))
        sign = "-" if minutes < 0 else "+"
        return f"UTC{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "UTC"
    index = pd.DatetimeIndex(utc).tz_localize("UTC")
    for zone in SEASONAL:
        if (index.tz_convert(zone).tz_localize(None).to_numpy("datetime64[ns]") == local).all():
            return zone
    return ""
