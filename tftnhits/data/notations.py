"""Texts become dates: a handful of notations, one of which must fit the whole column."""

from __future__ import annotations

import re
import unicodedata
import warnings
from datetime import date

import numpy as np
import pandas as pd

NAT = np.datetime64("NaT", "ns")
# how months' names begin in English, German, French, Spanish, Portuguese, Italian, Russian
MONTHS = (
    *("jan ene gen янв", "feb fev fév фев", "mar mär mrz mrt мар", "apr abr avr апр"),
    *("may mai mag mei май мая", "jun juin giu июн", "jul juil lug июл", "aug ago aoû авг"),
    *("sep set сен", "oct okt out ott окт", "nov ноя", "dec dez dic déc дек"),
)
OFFSET = re.compile(
    r"(?<=[\d MmPp])\s*(Z|UTC|GMT|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?(?::\d\d)?)$", re.IGNORECASE
)
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,]?(?P<part>\d{1,9}))?)?)?"
    r"\s*-?(?:(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_WEEKDAY = r"(?:[^\W\d]{2,10}\.?,?\s+)?"
_NAME = r"(?P<name>[^\W\d]{3,12})\.?"
NOTATIONS = tuple(
    re.compile(_WEEKDAY + notation)
    for notation in (
        r"(?P<year>\d{4})[-/. ](?P<month>\d{1,2})[-/. ](?P<day>\d{1,2})",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
        r"(?P<a>\d{1,2})[-/. ](?P<b>\d{1,2})[-/. ](?P<c>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[-/. ]*(?:de )?"
        + _NAME
        + r"[-/., ]*(?:de )?(?P<year>\d{4}|\d{2})",
        _NAME + r"[-/ ]*(?P<day>\d{1,2})(?:st|nd|rd|th)?[-/, ]+(?P<year>\d{4}|\d{2})",
        r"(?P<year>\d{4})[-/ ]" + _NAME + r"[-/ ](?P<day>\d{1,2})",
        r"(?P<year>\d{4})[-/.](?P<month>\d{2})",
        r"(?P<month>\d{1,2})[-/.](?P<year>\d{4})",
        _NAME + r"[-/ ]*(?P<year>\d{4})",
    )
)
_DAY_AND_CLOCK = re.compile(
    r"(?P<day>.*\d)(?:[T ]|, ?)\s*(?P<clock>\d{1,2}(?::\d.*|[\s-]*[AaPp]\.?[Mm]\.?))"
    r"|(?P<digits>\d{8})[T ]?(?P<more>\d{2,9}(?:\.\d+)?)"
)


def plain_text(text: str) -> str:
    """2020年01月02日 as 2020-01-02, and digits and signs of full width as plain ones."""
    text = text[:80].strip(" '")
    if "(" in text:
        text = re.sub(r"\s*\([^)]*\)$", "", text)
    if " " in text:
        text = re.sub(r"(?<=\d[-/.])\s+(?=\d)", "", text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(\d+)\s*[年년]\s*(\d+)\s*[月월]\s*(\d+)\s*[日일]?", r"\1-\2-\3", text)
    return re.sub(
        r"(\d+)\s*[時时시:]\s*(\d+)\s*[分분]\s*(?:(\d+)\s*[秒초])?", r"\1:\2:\3", text
    ).strip(": ")


def is_zone(name: object) -> bool:
    """Whether pandas knows a time zone by its name: not those of dateutil, say."""
    try:
        return pd.Timestamp(0, tz=name) is not None
    except Exception:  # of a class that depends on the zone and the version
        return False


def shift_of(offset: str) -> int:
    """Seconds east of UTC of "+02:00", "-0530", "GMT+8" or "Z"."""
    match = re.search(r"([+-])(\d\d?):?(\d\d)?:?(\d\d)?$", offset)
    if not match:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60 + int(match[4] or 0)
    return -seconds if match[1] == "-" else seconds


def iso_dates(texts: list[str]) -> np.ndarray | None:
    """Texts that are all as ISO 8601 has them, without offsets, as datetime64[ns] [G]."""
    if texts[0].isdigit() or min(map(len, texts)) < 8:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about mixed zones
        try:
            dates = pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601")
        except (ValueError, TypeError, OverflowError):
            return None
    if isinstance(dates.dtype, np.dtype) and dates.dtype.kind == "M":
        return nanoseconds(dates.to_numpy())
    return None


def read_texts(texts: list[str]) -> dict[str, np.ndarray]:
    """The readings of texts without offsets: datetime64[ns] [G] by name, NaT where unreadable.

    One reading, called "", or several where 01/02/03 can be meant in several orders. If no notation
    fits all texts, the one that fits most.
    """
    if (iso := iso_dates(texts)) is not None:
        return {"": iso}

    # days and clocks repeat: each is read once
    parts = [_DAY_AND_CLOCK.fullmatch(text) for text in texts]
    days = [(m["day"] or m["digits"]) if m else text for m, text in zip(parts, texts, strict=True)]
    clocks = [(m["clock"] or m["more"]) if m else "0" for m in parts]
    day_place, days = pd.factorize(np.array(days, object))
    clock_place, clocks = pd.factorize(np.array(clocks, object))
    matches = [_CLOCK.fullmatch(clock) for clock in clocks]
    since = _clock([match.groupdict() if match else {} for match in matches])
    readings = _read_days(days)
    return {name: values[day_place] + since[clock_place] for name, values in readings.items()}


def _read_days(days: list[str]) -> dict[str, np.ndarray]:
    """The readings of days without a clock, [U] each."""
    best, most = {"": np.full(len(days), NAT)}, 0
    for notation in NOTATIONS:
        matches = [notation.fullmatch(text) for text in days]
        if not any(matches):
            continue
        rows = [match.groupdict() if match else {} for match in matches]
        readings = _of_parts(rows, dotted=all("." in text for text in days))
        read = {name: int((~np.isnat(values)).sum()) for name, values in readings.items()}
        if max(read.values()) > most:
            most = max(read.values())
            best = {name: values for name, values in readings.items() if read[name] == most}
        if most == len(days):
            break
    return best


def _of_parts(rows: list[dict[str, str | None]], dotted: bool) -> dict[str, np.ndarray]:
    """Dates [U] of the parts that a notation found in each text."""

    def dated(year: str, month: str, day: str) -> np.ndarray:
        years = [_year(row.get(year) or "") for row in rows]
        months = [int(row.get(month) or _month(row.get("name") or "")) for row in rows]
        days = [int(row.get(day) or 1) for row in rows]
        return date_of(np.array(years), np.array(months), np.array(days))

    if "c" not in next(row for row in rows if row):
        return {"": dated("year", "month", "day")}
    readings = {"day first": dated("c", "b", "a")}
    if not dotted:  # 31.12.2020 is never written month first
        readings = {"month first": dated("c", "a", "b"), **readings}
    if all(len(row.get("c") or "") == 2 for row in rows):
        readings["year first"] = dated("a", "b", "c")
    return readings


def _clock(rows: list[dict[str, str | None]]) -> np.ndarray:
    """Times of the day [U] as timedelta64[ns]; NaT where there is none such."""
    hour, minute, second = (
        np.array([int(row.get(name) or 0) for row in rows]) for name in ("hour", "minute", "second")
    )
    half = np.array([(row.get("half") or "").lower() for row in rows])
    hour = np.where((half == "p") & (hour < 12), hour + 12, hour)
    hour = np.where((half == "a") & (hour == 12), 0, hour)
    nano = np.array([int(f"{row.get('part') or 0:0<9}") for row in rows])
    since = (((hour * 60 + minute) * 60 + second) * 10**9 + nano).astype("timedelta64[ns]")
    sound = (hour < 24) & (minute < 60) & (second < 60) & np.array([bool(row) for row in rows])
    return np.where(sound, since, np.timedelta64("NaT", "ns"))


def date_of(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """datetime64[ns] [U] of whole numbers; NaT where there is no such day."""
    valid = (year > 1677) & (year < 2262) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (np.where(valid, day, 1) - 1)
    valid &= days.astype("datetime64[M]") == months
    return np.where(valid, days.astype("datetime64[ns]"), NAT)


def nanoseconds(values: np.ndarray) -> np.ndarray:
    """Any datetime64 unit to nanoseconds; what doesn't fit becomes NaT and doesn't wrap around."""
    fits = (values >= np.datetime64("1678-01-01", "s")) & (
        values < np.datetime64("2262-01-01", "s")
    )
    return np.where(fits, values, np.datetime64("NaT")).astype("datetime64[ns]")


def _year(text: str) -> int:
    number = int(text or 0)
    if len(text) != 2:
        return number
    return number + (2000 if 2000 + number <= date.today().year + 1 else 1900)  # bars have been


def _month(name: str) -> int:
    """1 to 12 by how a month's name begins; 0 if it is none."""
    starts = enumerate(MONTHS, 1)
    return next((i for i, begins in starts if name.lower().startswith(tuple(begins.split()))), 0)
