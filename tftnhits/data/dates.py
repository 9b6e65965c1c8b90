"""A column of dates in any notation becomes local times: one reading holds for the whole column."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from ..errors import DataError
from .cells import NO_VALUE
from .names import text_of
from .patterns import DAY, midnight
from .read import readable

NAT = np.datetime64("NaT", "ns")
UNITS = (("s", 8, 11), ("ms", 11, 14), ("us", 14, 17), ("ns", 17, 19))  # powers of ten, since 1970
# dates written in so many digits, and what completes them to YYYYMMDDHHMMSS and a fraction
WRITTEN = {
    4: {"": "{}0101"},
    6: {"as months": "{}01", "as days": "20{}"},
    10: {"as hours": "{}00"},
    **{size: {"": "{}"} for size in (8, 12, 14, 17)},
}
# zones tried, in this order, on local times whose offset from UTC changes with the season
SEASONAL = (
    *("America/New_York", "Europe/London", "Europe/Berlin", "America/Chicago", "Australia/Sydney"),
    *("Europe/Athens", "America/Los_Angeles", "America/Denver", "America/Halifax", "Africa/Cairo"),
    *("Asia/Jerusalem", "Pacific/Auckland", "Australia/Adelaide", "Australia/Lord_Howe"),
    *("America/Sao_Paulo", "America/Santiago", "America/St_Johns", "Europe/Moscow"),
)
ALIKE = 3.0  # times by which the unevenness of two readings must differ to tell them apart
FEW = 8  # dates with fewer don't prove which number is the month
# how months' names begin in English, German, French, Spanish, Portuguese, Italian, Russian
MONTHS = (
    *("jan ene gen янв", "feb fev fév фев", "mar mär mrz mrt мар", "apr abr avr апр"),
    *("may mai mag mei май мая", "jun juin giu июн", "jul juil lug июл", "aug ago aoû авг"),
    *("sep set сен", "oct okt out ott окт", "nov ноя", "dec dez dic déc дек"),
)
_CLOCK = (
    r"(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,]?(?P<part>\d{1,9}))?)?)?"
    r"\s*-?(?:(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?:\s*(?P<offset>Z|UTC|GMT|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?)|\s(?P<zone>[A-Z]\w+/\w+))?"
_NAME = r"(?P<name>[^\W\d]{3,12})\.?"
NOTATIONS = (
    r"(?P<y>\d{4})[-/. ](?P<m>\d{1,2})[-/. ](?P<d>\d{1,2})",
    r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
    r"(?P<a>\d{1,2})[-/. ](?P<b>\d{1,2})[-/. ](?P<c>\d{4}|\d{2})",
    rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-/. ]*(?:de )?{_NAME}[-/., ]*(?:de )?(?P<y>\d{{4}}|\d\d)",
    rf"{_NAME}[-/ ]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-/, ]+(?P<y>\d{{4}}|\d\d)",
    rf"(?P<y>\d{{4}})[-/ ]{_NAME}[-/ ](?P<d>\d{{1,2}})",
    r"(?P<y>\d{4})[-/.](?P<m>\d{2})",
    r"(?P<m>\d{1,2})[-/.](?P<y>\d{4})",
    rf"{_NAME}[-/ ]*(?P<y>\d{{4}})",
)
_WHOLE = [
    re.compile(rf"(?:[^\W\d]{{2,10}}\.?,?\s+)?{day}(?:(?:[T ]|, ?)\s*{_CLOCK}{_ZONE})?")
    for day in NOTATIONS
]
_ISO = re.compile(  # what pandas reads at once, but for offsets that change
    r"(?P<local>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(?P<offset>Z|[+-]\d\d:\d\d|)"
)
_DIGITS = re.compile(r"[+-]?\d+(\.\d*)?([eE]\+?\d+)?")


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
    01/02 is read so that steps are more even, and month first where that doesn't tell.
    """
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        zone = str(series.dtype.tz)
        utc = nanoseconds(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
        local = nanoseconds(series.dt.tz_localize(None).to_numpy())
        out = Dates(local, np.isnat(local) & ~series.isna().to_numpy(), utc, zone)
        if not is_zone(zone):
            out.local, out.zone = utc, "UTC"
    elif isinstance(series.dtype, np.dtype) and series.dtype.kind == "M":
        local = nanoseconds(series.to_numpy())
        out = Dates(local, np.isnat(local) & ~series.isna().to_numpy())
    else:
        with readable("Column date can't be read"):
            out = _read(series, code, dayfirst)
    if clock is not None and not out.bad.any():
        since, wrong = clock_times(clock)
        out.bad = wrong & ~np.isnat(out.local)
        out.local = midnight(out.local) + since
    return out


def _read(series: pd.Series, code: np.ndarray, dayfirst: bool | None) -> Dates:
    """Dates of numbers or texts, each distinct one read once."""
    # the distinct cells in each reading that fits all of them
    place, unique = pd.factorize(series)  # -1 stands for missing ones
    offset = None  # [U] from UTC
    zone = ""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiu":
        readings = of_numbers(np.asarray(unique))
    else:
        texts = pd.Series([text_of(cell) for cell in unique], dtype=object)
        given = ~texts.str.lower().isin(NO_VALUE).to_numpy(bool)
        place = np.append(np.where(given, np.cumsum(given) - 1, -1), -1)[place]
        readings, offset, zone = of_texts(texts[given].tolist())
    readings = {name: np.append(values, NAT)[place] for name, values in readings.items()}
    # one reading for the whole column, and UTC where zone or offset is told
    chosen, doubtful = _chosen(readings, dayfirst, code)
    local = readings[chosen]
    out = Dates(local, np.isnat(local) & (place >= 0), zone=zone)
    if zone:
        out.utc = moved(local, zone, "UTC")
    elif offset is not None:
        out.utc = local - np.append(offset, np.timedelta64(0, "s"))[place]
    # what a reader must know where another reading fits as well
    if len(readings) > 1 and (place >= 0).any():
        i = int(np.argmax(place >= 0))
        example, day = text_of(series.iloc[i])[:40], str(local[i])[:10]
        kind = "ambiguous dates" if doubtful else f"dates read {chosen}"
        out.notes.append((kind, f"{example} as {day}"))
        if doubtful:
            other = next(name for name in readings if name != chosen)
            out.doubt = (
                f"Dates such as {example!r} are read {chosen}, as {day}, but may be {other}; say "
                "dayfirst=True or False, or write them as YYYY-MM-DD."
            )
    return out


def of_numbers(values: np.ndarray) -> dict[str, np.ndarray]:
    """The readings [U] of numbers: dates written as digits if most can be, else time since 1970."""
    with np.errstate(invalid="ignore"):
        whole = (values >= 0) & (values < 9e18) & (values == np.floor(values))
    number = np.where(whole, values, 0).astype(np.int64)
    since = np.full(len(values), NAT)
    for unit, low, high in UNITS:
        hit = (number >= 10**low) & (number < 10**high)
        since[hit] = nanoseconds(number[hit].astype(f"datetime64[{unit}]"))
    texts = np.array([str(n) for n in number.tolist()], object)
    sizes = np.array([len(text) for text in texts])
    size = int(np.bincount(sizes).argmax()) if len(sizes) else 0
    latest = np.datetime64(f"{date.today().year + 2}-01-01")
    alike = sizes == size
    if size == 10 and (since[alike] < latest).all():
        return {"": since}
    readings = {}
    for name, form in WRITTEN.get(size, {}).items():
        cells = [form.format(text) for text in texts[alike]]
        (written,) = read_texts([f"{cell[:8]} {cell[8:]}".strip() for cell in cells])[0].values()
        sound = (written > np.datetime64("1800-01-01")) & (written < np.datetime64("2200-01-01"))
        if 2 * sound.sum() > len(values) and (not name or (written[sound] < latest).all()):
            readings[name] = np.full(len(values), NAT)
            readings[name][alike] = np.where(sound, written, NAT)
    return readings or {"": since}


def of_texts(texts: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray | None, str]:
    """Readings [U] of distinct texts, and their offsets from UTC [U] or the zone of all, if any."""
    if not texts:
        return {"": np.array([], "datetime64[ns]")}, None, ""
    matches = [_ISO.fullmatch(text) for text in texts]
    if all(matches):
        with suppress(ValueError, OverflowError):
            plain = pd.Series([match["local"] for match in matches], dtype=object)
            local = pd.to_datetime(plain, format="ISO8601").to_numpy()
            return {"": nanoseconds(local)}, _shifts([match["offset"] for match in matches]), ""
    texts = list(map(plain_text, texts))
    if all(map(_DIGITS.fullmatch, texts)):
        exact = all(text.isdigit() and len(text) < 19 for text in texts)
        numbers = [int(text) if exact else min(float(text), 9e18) for text in texts]
        return of_numbers(np.array(numbers)), None, ""
    return read_texts(texts)


def plain_text(text: str) -> str:
    """2020年01月02日 as 2020-01-02, and digits and signs of full width as plain ones."""
    text = text[:80].strip(" '")
    if text.isascii():
        return re.sub(r"\s*\([^)]*\)$", "", text)  # "Fri Jan 03 2020 00:00:00 GMT+0000 (UTC)"
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(\d+)\s*[年년]\s*(\d+)\s*[月월]\s*(\d+)\s*[日일]?", r"\1-\2-\3", text)
    text = re.sub(r"(\d+)\s*[時时시:]\s*(\d+)\s*[分분]\s*(?:(\d+)\s*[秒초])?", r"\1:\2:\3", text)
    return text.strip(": ")


def read_texts(texts: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray | None, str]:
    """As `of_texts`, by the notation that fits most texts; NaT where it doesn't.

    One reading, called "", or several where 01/02/03 can be meant in several orders.
    """
    best: dict[str, np.ndarray] = {"": np.full(len(texts), NAT)}
    best_parts, most = [{"": ""}] * len(texts), 0
    for notation in _WHOLE:
        matches = [notation.fullmatch(text) for text in texts]
        if not any(matches):
            continue
        parts = [match.groupdict("") if match else {} for match in matches]
        orders = {"": "ymd"}
        if "c" in notation.groupindex:
            orders = {"month first": "cab", "day first": "cba", "year first": "abc"}
            if all("." in text.split()[0] for text in texts):  # 31.12.2020
                del orders["month first"]
            if any(len(one.get("c", "")) == 4 for one in parts):
                del orders["year first"]
        readings = {name: _assembled(parts, order) for name, order in orders.items()}
        read = {name: int((~np.isnat(values)).sum()) for name, values in readings.items()}
        if max(read.values()) > most:
            most, best_parts = max(read.values()), parts
            best = {name: values for name, values in readings.items() if read[name] == most}
        if most == len(texts):
            break
    # what the texts say of the zone
    zones = {one.get("zone", "") for one in best_parts}
    zone = zones.pop() if len(zones) == 1 else ""
    if zones or (zone and not is_zone(zone)):
        named = np.array([one.get("zone", "") != "" for one in best_parts])
        return {name: np.where(named, NAT, values) for name, values in best.items()}, None, ""
    return best, _shifts([one.get("offset", "") for one in best_parts]), zone


def _assembled(parts: list[dict[str, str]], order: str) -> np.ndarray:
    """datetime64[ns] [U] of what a notation matched; `order` has its keys of year, month, day."""
    this_year = date.today().year
    texts = []
    for one in parts:
        year, month, day = (one.get(key, "") for key in order)
        if len(year) == 2:
            year = f"20{year}" if 2000 + int(year) <= this_year + 1 else f"19{year}"  # it has been
        month = month or _month(one.get("name", ""))
        hour = int(one.get("hour") or 0)
        if one.get("half"):
            hour = hour % 12 + 12 * (one["half"] in "Pp")
        minute, second, part = (one.get(key) or "0" for key in ("minute", "second", "part"))
        clock = f"{hour:02}:{minute:0>2}:{second:0>2}.{part}"
        texts.append(f"{year}-{month:0>2}-{day or '01':0>2} {clock}")
    dates = pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", errors="coerce")
    return nanoseconds(dates.to_numpy())


def _month(name: str) -> str:
    """1 to 12 by how a month's name begins; 0 if it is none."""
    for i, begins in enumerate(MONTHS, 1):
        if name.lower().startswith(tuple(begins.split())):
            return str(i)
    return "0"


def _shifts(offsets: list[str]) -> np.ndarray | None:
    """Seconds [U] east of UTC of "+02:00", "-0530", "GMT+8", "Z"; None where no text has any."""
    seconds = {}
    for offset in {*offsets}:
        match = re.search(r"([+-])(\d\d?):?(\d\d)?$", offset)
        hours, minutes = (int(match[2]), int(match[3] or 0)) if match else (0, 0)
        east = -1 if match and match[1] == "-" else 1
        seconds[offset] = east * (3600 * hours + 60 * minutes)
    if not any(seconds):
        return None
    return np.array([seconds[offset] for offset in offsets], "timedelta64[s]")


def nanoseconds(values: np.ndarray) -> np.ndarray:
    """Any datetime64 unit to nanoseconds; what doesn't fit becomes NaT and doesn't wrap around."""
    first, end = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")
    fits = (values >= first) & (values < end)
    return np.where(fits, values, np.datetime64("NaT")).astype("datetime64[ns]")


def clock_times(series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Times of the day [R], timedelta64[ns], and which are none: 9:30, 09:30:00, 93000, 9:30 PM."""
    with readable("Column time can't be read"):
        place, unique = pd.factorize(series)
    texts = [re.sub(r"\.0$|^0 days ", "", text_of(cell)) for cell in unique]
    size = 6 if any(text.isdigit() and len(text) > 4 for text in texts) else 4
    texts = [f"20000101 {text.zfill(size) if text.isdigit() else text}" for text in texts]
    (times,) = read_texts(texts)[0].values()
    since = np.append(times, NAT)[place] - np.datetime64("2000-01-01", "ns")
    return np.where(np.isnat(since), np.timedelta64(0), since), np.isnat(since)


def _chosen(
    readings: dict[str, np.ndarray], dayfirst: bool | None, code: np.ndarray
) -> tuple[str, bool]:
    """The reading of a column with the most even steps, and whether another is as good."""
    asked = {True: "day first", False: "month first"}.get(dayfirst)
    if asked and {*readings} & {"day first", "month first"}:
        if asked not in readings:
            raise DataError(f"The dates can't all be read {asked}; leave dayfirst out.")
        return asked, False
    if len(readings) == 1:
        return next(iter(readings)), False
    uneven = {name: _unevenness(values, code) for name, values in readings.items()}
    best = min(uneven, key=lambda name: uneven[name])
    different = [name for name in readings if (readings[name] != readings[best]).any()]
    equal = [name for name in different if uneven[name] < ALIKE * uneven[best]]
    few = len(np.unique(readings[best])) < FEW
    if not equal:
        return best, few and bool(different)
    # of readings as even, the one without weekends, if the others have some
    days = {name: readings[name].astype("datetime64[D]") for name in (best, *equal)}
    workdays = [name for name, one in days.items() if np.is_busday(one[~np.isnat(one)]).all()]
    if len(workdays) == 1:
        return workdays[0], few
    return next(iter(readings)), True


def _unevenness(dates: np.ndarray, code: np.ndarray) -> float:
    """The longest step between dates over the usual one; a thousand more if they go to and fro."""
    ratios = [1.0]
    for symbol in np.unique(code)[:20]:
        stamps = dates[(code == symbol) & ~np.isnat(dates)]
        steps = np.diff(stamps)
        if len(steps) > 1:
            to_and_fro = (steps > np.timedelta64(0)).any() and (steps < np.timedelta64(0)).any()
            steps = np.diff(np.sort(stamps)) / DAY
            ratios.append(steps.max() / (np.median(steps) or 1.0) + 1000 * to_and_fro)
    return float(np.mean(ratios))


# -- zones


def is_zone(name: object) -> bool:
    """Whether pandas knows a time zone by its name: not those of dateutil, say."""
    try:
        return pd.Timestamp(0, tz=name) is not None
    except Exception:  # of a class that depends on the zone and the version
        return False


def moved(times: np.ndarray, zone: str | None, other: str | None) -> np.ndarray:
    """Wall times [R] of a zone as those of another one; as they are if one is unknown.

    Of an hour that comes twice as the clocks go back, the first is meant.
    """
    if zone is None or other is None or zone == other:
        return times
    local = pd.DatetimeIndex(times).tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    return local.tz_convert(other).tz_localize(None).to_numpy("datetime64[ns]")


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
    return next((zone for zone in SEASONAL if (moved(utc, "UTC", zone) == local).all()), "")
