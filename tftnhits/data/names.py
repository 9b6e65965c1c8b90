"""What a column is: synonyms of the field's names, one normal form for all of them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError, DataError, printable, quoted

PRICES = ("open", "high", "low", "close")
COLUMNS = ("symbol", "date", *PRICES, "volume")
ADJUSTED = tuple(f"adj{name}" for name in (*PRICES, "volume"))

# what files call our columns in a dozen languages, the preferred names first, as `normal` has them
SYNONYMS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("synonyms.json").read_text(encoding="utf-8")
)
ROLE = {
    name: (role, rank)
    for role, names in reversed(SYNONYMS.items())
    for rank, name in enumerate(names)
}
# columns of factors by which raw prices would have to be adjusted
FACTORS = {"adjfactor", "adjustmentfactor", "splitfactor", "cumfactor", "复权因子"}
# a volume column of this ending counts money, not pieces: it is taken only if there is no other
MONEY = ("usd", "usdt", "usdc", "busd", "eur", "gbp", "jpy", "cny", "krw", "quote", "quoteasset")
_ENUMERATED = re.compile(r"^\s*\d+[a-z]?\.\s+")  # "1. open", "1a. open (USD)"
_BRACKETS = re.compile(r"\(.*?\)|\[.*?\]|\{.*?\}|（.*?）")


def text_of(cell: object) -> str:
    """The cell as text that can be written as UTF-8."""
    try:
        text = str(cell)
    except (ValueError, RecursionError):  # an integer of 5,000 digits
        text = quoted(cell)
    return text.strip().encode("utf-8", "replace").decode()


def normal(label: Any) -> str:
    """The label in small letters, without signs, spaces and what stands in brackets."""
    text = unicodedata.normalize("NFKC", text_of(label)[:200]).casefold()
    text = _BRACKETS.sub(" ", _ENUMERATED.sub("", text))
    return re.sub(r"[\W_]+", "", text)


def match_of(label: Any) -> tuple[str, int]:
    """The role that a label names and its rank among the synonyms; "" if it names none."""
    name = normal(label)
    if name.startswith("volume") and name not in ROLE:  # "Volume BTC" before "Volume USDT"
        return "volume", 200 if name[6:] in MONEY else 100
    return ROLE.get(name, ("", 0))


def role_of(label: Any) -> str:
    """The role that a label names; "" if it names none."""
    return match_of(label)[0]


def match_columns(labels: Iterable[Any]) -> dict[str, list[int]]:
    """Positions of the columns that name each role, the preferred first; no price comes twice."""
    labels = list(labels)
    matches = [match_of(label) for label in labels]
    if not {*PRICES} <= {role for role, _ in matches}:
        matches = _without_shared_word(labels, matches)
    candidates: dict[str, list[tuple[int, int]]] = {}
    for i, (role, rank) in enumerate(matches):
        candidates.setdefault(role, []).append((rank, i))
    candidates.pop("", None)
    for role in {*PRICES, "symbol"} & {*candidates}:
        if len({rank for rank, _ in candidates[role]}) < len(candidates[role]):
            raise DataError(
                f"Column {role} is there more than once; found {listed(labels)}. Keep one of them."
            )
    return {role: [i for _, i in sorted(places)] for role, places in candidates.items()}


def _without_shared_word(labels: list[Any], matches: list[tuple[str, int]]) -> list:
    """What labels name without a word that all four prices share: "AAPL.Open", "high_bid"."""
    words = [re.split(r"[\W_]+", text_of(label)[:200]) for label in labels]
    for place, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        groups: dict[str, dict[int, tuple[str, int]]] = {}
        for i, parts in enumerate(words):
            if len(parts) > 1:
                groups.setdefault(parts[place], {})[i] = match_of(" ".join(parts[rest]))
        for bare in groups.values():
            if {*PRICES} <= {role for role, _ in bare.values()}:
                matches = [bare.get(i, match) for i, match in enumerate(matches)]
    return matches


def chosen_columns(given: Any, labels: pd.Index) -> dict[str, int]:
    """The positions of the columns that a user names by role; raises DataError on others."""
    if not isinstance(given, dict | None):
        raise DataError(f"columns is {quoted(given)}; give a dict as {{'date': 'trade_date'}}.")
    places = {}
    for role, label in (given or {}).items():
        if role not in SYNONYMS:
            raise DataError(
                f"There is no role {quoted(role)}; name columns for {', '.join(COLUMNS)}."
            )
        exact = [i for i, name in enumerate(labels) if text_of(name) == text_of(label)]
        alike = exact or [i for i, name in enumerate(labels) if normal(name) == normal(label)]
        if len(alike) != 1:
            many = "more than one" if alike else "no"
            raise DataError(f"There is {many} column {quoted(label)}; found {listed(labels)}.")
        places[role] = alike[0]
    if len({*places.values()}) < len(places):
        raise DataError(
            f"columns={quoted(given, 100)} names one column for two roles; name another."
        )
    return places


def check_inputs(names: Any) -> None:
    """Raises ConfigError on what can't be the names of a user's own inputs."""
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"extra is {quoted(names)}; give names of columns, such as ('vix',).")
    for name in names:
        if normal(name) in (*ROLE, "row") or names.count(name) > 1:
            raise ConfigError(
                f"The input {quoted(name)} comes twice, or has the name of a column of bars; "
                "give its column another name."
            )


def listed(labels: Iterable[Any]) -> str:
    """The first column names, for a message."""
    return printable(", ".join(text_of(label) for label in list(labels)[:12]), 160) or "none"
