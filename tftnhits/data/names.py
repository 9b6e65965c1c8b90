"""What a column is: synonyms of the field's names, one normal form for all of them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, one_line, shown

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
# by any of these, or of strikes, a table is one of options
OPTIONS = {"strike", "strikeprice", "optiontype", "callput", "impliedvolatility"}
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
        text = shown(cell)
    return text.strip().encode("utf-8", "replace").decode()


def normal(label: Any) -> str:
    """The label in small letters, without signs, spaces and what stands in brackets."""
    text = unicodedata.normalize("NFKC", text_of(label)[:200]).casefold()
    text = _BRACKETS.sub(" ", _ENUMERATED.sub("", text))
    return re.sub(r"[\W_]+", "", text)


def role_of(label: Any) -> tuple[str, int] | None:
    """The role that a label names and its rank among the synonyms; None if it names none."""
    name = normal(label)
    if name in ROLE:
        return ROLE[name]
    if name.startswith("volume"):  # "Volume BTC" goes before "Volume USDT"
        return "volume", 200 if name[6:] in MONEY else 100
    return None


def match_columns(labels: Iterable[Any]) -> dict[str, list[int]]:
    """Positions of the columns that name each role, the preferred first; no price comes twice."""
    labels = list(labels)
    matches = [role_of(label) for label in labels]
    if len({match[0] for match in matches if match} & {*PRICES}) < 4:
        matches = [role_of(label) for label in _bare(labels)]
    candidates: dict[str, list[tuple[int, int]]] = {}
    for i, match in enumerate(matches):
        if match:
            candidates.setdefault(match[0], []).append((match[1], i))
    for role, places in candidates.items():
        ranks = [rank for rank, _ in places]
        if role in (*PRICES, "symbol") and len({*ranks}) < len(ranks):
            raise _twice(role, labels)
    return {role: [i for _, i in sorted(places)] for role, places in candidates.items()}


def _bare(labels: list[Any]) -> list[str]:
    """The labels without a word that all four prices begin or end with: "AAPL.Open", "high_bid"."""
    words = [re.split(r"[\W_]+", text_of(label).strip(), maxsplit=20) for label in labels]
    bare = [text_of(label) for label in labels]
    for word, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        common: dict[str, set[str]] = {}
        for one in words:
            match = role_of(" ".join(one[rest])) if len(one) > 1 else None
            if match and match[0] in PRICES:
                common.setdefault(one[word], set()).add(match[0])
        for shared in (name for name, roles in common.items() if len(roles) == len(PRICES)):
            bare = [
                " ".join(one[rest]) if len(one) > 1 and one[word] == shared else label
                for one, label in zip(words, bare, strict=True)
            ]
    return bare


def _twice(label: Any, labels: Iterable[Any]) -> DataError:
    return DataError(
        f"Column {one_line(text_of(label))} is there more than once; found {listed(labels)}. "
        "Keep one of them."
    )


def listed(labels: Iterable[Any]) -> str:
    """The first column names, for a message."""
    return one_line(", ".join(text_of(label) for label in list(labels)[:12]), 160) or "none"


def chosen_columns(given: Any, labels: pd.Index) -> dict[str, int]:
    """The positions of the columns that a user names by role; raises DataError on others."""
    if not isinstance(given, dict | None):
        raise DataError(f"columns is {shown(given)}; give a dict such as {{'date': 'trade_date'}}.")
    places = {}
    for role, label in (given or {}).items():
        if role not in SYNONYMS:
            raise DataError(
                f"There is no role {shown(role)}; name columns for {', '.join(COLUMNS)}."
            )
        exact = [i for i, name in enumerate(labels) if text_of(name) == text_of(label)]
        close = exact or [i for i, name in enumerate(labels) if normal(name) == normal(label)]
        if not close:
            raise DataError(f"There is no column {shown(label)}; found {listed(labels)}.")
        if len(close) > 1:
            raise _twice(label, labels)
        places[role] = close[0]
    if len({*places.values()}) < len(places):
        raise DataError(
            f"columns={shown(given, 100)} names one column for two roles; name another."
        )
    return places
