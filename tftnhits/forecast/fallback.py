"""Who answers: ensemble → TFT alone → N-HITS alone → gradient boosting → random walk, each left for a stated reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..config import ENSEMBLE_WEIGHTS
from ..data.windows import Panel
from ..errors import CheckpointError, DataError, one_line
from .ensemble import NAMES, WALK, Member, combine


class Reason(NamedTuple):
    """Why a member can't answer: `kind` is a key of CLAUSES, `detail` what is known beside that."""

    kind: str
    detail: str = ""


CLAUSES = {
    "torch": "PyTorch can't be imported",
    "weights": "{who} can't be used ({detail})",
    "short": "{symbol} has {have} bars and {who} need{s} {detail}",
    "finite": "{who} gave numbers for {symbol} that are not finite",
    "device": "{who} failed ({detail})",
}


@dataclass(frozen=True)
class Answer:
    """What one link says, for all the origins of some symbols."""

    link: str  # "ensemble" or a member's name
    rows: np.ndarray  # [K] origins
    quantiles: np.ndarray  # [K, H, Q] of the cumulative log return
    warnings: dict[str, list[str]]  # by symbol: why no earlier link answers


def chain(names: Mapping[str, object], shares: Mapping[str, float]) -> list[dict[str, float]]:
    """The links first to last, each as its members' weights; `names` are the members that there should be."""
    used = {k: share for k, share in shares.items() if share}
    alone = [*used, *(k for k in ENSEMBLE_WEIGHTS if k not in used), "boosting", WALK]
    return [used] * (len(used) > 1) + [{k: 1.0} for k in alone if k in names]


def chain_origins(
    panel: Panel, members: Mapping[str, Member], links: list[dict[str, float]], every: bool
) -> np.ndarray:
    """Rows [K] to forecast from: every symbol's last, or all that the first link long enough for it can.

    Raises HistoryTooShort where no link has enough bars.
    """
    needs = [
        max(members[k].context for k in link) for link in links if all(k in members for k in link)
    ]
    last = panel.last_origins(min(needs))
    if not every:
        return last
    first = [
        start + next(n for n in needs if n <= size) - 1
        for start, size in zip(panel.start, panel.length)
    ]
    return np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last)])


def answer(
    panel: Panel,
    rows: np.ndarray,
    members: Mapping[str, Member],
    missing: Mapping[str, Reason],
    links: list[dict[str, float]],
) -> list[Answer]:
    """The answers for the origins `rows` [K]; a symbol's come from one link. Raises DataError if no link has one.

    A link is left for a symbol only if a member of it is `missing`, needs more bars, fails on its device, or gives a
    number that is not finite.
    """
    symbol, pending = panel.symbol_of(rows), np.ones(len(rows), bool)
    found: dict[str, np.ndarray] = {}
    why: dict[str, dict[int, Reason]] = {}
    out = []
    for link in links:
        for name in link:
            if name not in found:
                found[name], why[name] = _outputs(
                    panel, rows, name, members, missing, symbol, pending
                )
        lost = {s for name in link for s in why[name]}
        taken = pending & ~np.isin(symbol, list(lost)) if lost else pending
        if taken.any():
            name = next(iter(link)) if len(link) == 1 else "ensemble"
            quantiles = combine({k: found[k][taken] for k in link}, link)
            earlier = {k: reasons for k, reasons in why.items() if name != "ensemble" and k != name}
            said = {
                panel.symbols[s]: _warnings(panel, s, name, earlier)
                for s in np.unique(symbol[taken])
            }
            out.append(Answer(name, rows[taken], quantiles, said))
        pending = pending & ~taken
        if not pending.any():
            return out
    name = panel.symbols[symbol[pending][0]]
    raise DataError(
        f"No link of the chain can answer for {name}; check its bars and load a whole model folder."
    )


def _outputs(
    panel: Panel,
    rows: np.ndarray,
    name: str,
    members: Mapping[str, Member],
    missing: Mapping[str, Reason],
    symbol: np.ndarray,
    pending: np.ndarray,
) -> tuple[np.ndarray, dict[int, Reason]]:
    """A member's quantiles [K, H, Q] where `pending` [K], and by symbol the reason why it has none."""
    asked = np.unique(symbol[pending])
    if name not in members:
        return np.empty((len(rows), 0, 0)), dict.fromkeys(asked.tolist(), missing[name])
    member = members[name]
    short = asked[panel.length[asked] < member.context]
    why = {int(s): Reason("short", str(member.context)) for s in short}
    run = pending & ~np.isin(symbol, short) if len(short) else pending
    out = np.full((len(rows), member.horizon, len(member.levels)), np.nan)
    if not run.any():
        return out, why
    try:
        out[run] = member.quantiles(panel, rows[run])
    except CheckpointError as error:  # weights that fit their hash and not their inputs
        return out, why | dict.fromkeys(
            np.unique(symbol[run]).tolist(),
            Reason("weights", one_line(str(error), 250).rstrip(".")),
        )
    except (
        RuntimeError,
        MemoryError,
    ) as error:  # torch's for memory, devices and drivers are RuntimeErrors
        text = one_line(f"{type(error).__name__}: {error}".splitlines()[0], 200).rstrip(".: ")
        return out, why | dict.fromkeys(np.unique(symbol[run]).tolist(), Reason("device", text))
    bad = run & ~np.isfinite(out).all((1, 2))
    return out, why | dict.fromkeys(np.unique(symbol[bad]).tolist(), Reason("finite"))


def _warnings(
    panel: Panel, symbol: int, link: str, why: Mapping[str, Mapping[int, Reason]]
) -> list[str]:
    """One sentence for each reason why the members in `why` don't answer for the symbol."""
    by_reason: dict[Reason, list[str]] = {}
    for name, reasons in why.items():
        if symbol in reasons:
            by_reason.setdefault(reasons[symbol], []).append(name)
    out = []
    for reason, names in by_reason.items():
        who = "the networks" if {*names} == {*ENSEMBLE_WEIGHTS} else " and ".join(map(_the, names))
        known = {
            "symbol": panel.symbols[symbol],
            "have": panel.length[symbol],
            "detail": reason.detail,
        }
        clause = CLAUSES[reason.kind].format(who=who, s="s" * (len(names) == 1), **known)
        hint = "; install the extra 'torch' for the networks" if reason.kind == "torch" else ""
        alone = " alone" if link in ENSEMBLE_WEIGHTS else ""
        clause = (
            f"The{clause[3:]}" if clause.startswith("the ") else clause
        )  # a symbol keeps its case
        out.append(f"{clause}, so {_the(link)} answers{alone}{hint}.")
    return out


def _the(name: str) -> str:
    return f"the {NAMES[name]}" if name in ("tft", WALK) else NAMES[name]
