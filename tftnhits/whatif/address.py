"""The panel's state in the address of the page that Voila serves, for who shares or reloads it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from ..errors import ConfigError, quoted

READERS = {  # by the kind of a control's value; each raises one of two errors
    bool: {"0": False, "1": True}.__getitem__,
    date: date.fromisoformat,
    int: int,
    float: float,
    str: str,
}
CHOICES = {bool: "0 or 1", date: "a date, such as 2015-08-21"}


def on_page() -> bool:
    """Whether Voila runs this kernel, which tells it the address: JupyterLab's is its own."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def asked(names: Iterable[str]) -> dict[str, str]:
    """What the page's address has of `names`; in a notebook nothing."""
    query = dict(parse_qsl(os.environ.get("QUERY_STRING", ""))) if on_page() else {}
    return {name: query[name] for name in names if name in query}


def value_of(text: str, name: str, control: Any) -> Any:
    """A control's value that was written by `text_of`; raises ConfigError on what is none."""
    kind = date if control.value is None else type(control.value)  # only an origin is empty
    low, high = (getattr(control, end, None) for end in ("min", "max"))
    try:
        value = READERS[kind](text)
        if low is None or low <= value <= high:
            return value
    except (ValueError, KeyError):
        pass
    choice = CHOICES.get(kind) or f"a number from {low:g} to {high:g}"
    raise ConfigError(f"The address has {quoted(text)} as {name}; give {choice}.")


def text_of(value: Any) -> str:
    """A control's value, as an address has it; empty is left out of it."""
    if isinstance(value, bool):
        return "1" if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)
