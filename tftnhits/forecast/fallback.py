"""Who answers: ensemble, TFT alone, N-HITS alone, gradient boosting, random walk.

A link of this chain is left only for a reason, which becomes a warning in the result: a clause in
which {who} stands for the members that it is true of, and {symbol} for the symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..config import ENSEMBLE_WEIGHTS
from ..data.windows import Panel
from ..errors import CheckpointError, DataError, one_line
from .ensemble import NAMES, WALK, Member, combine

NO_TORCH = "PyTorch can't be imported (install the extra 'torch')"
Link = dict[str, float]  # the weights of the members that answer together


@dataclass(frozen=True)
class Answer:
    """What one link forecasts, for all origins of some symbols."""

    link: str  # "ensemble" or a member's name, as in Predictor.calibration
    name: str  # in words
    place: np.ndarray  # [k] of the origins among those asked for
    quantiles: np.ndarray  # [k, H, Q] of the cumulative log return
    warnings: dict[int, list[str]]  # by the symbol's number: why no earlier link answers


def chain(names: Mapping[str, object], weights: Link) -> list[Link]:
    """The links, first to last; `names` are the members that there should be."""
    used = {name: weight for name, weight in weights.items() if weight}
    others = [name for name in ENSEMBLE_WEIGHTS if name not in used]
    alone = [{name: 1.0} for name in (*used, *others, "boosting", WALK) if name in names]
    return [used, *alone] if len(used) > 1 else alone


def chain_origins(
    panel: Panel, members: Mapping[str, Member], links: list[Link], every: bool
) -> np.ndarray:
    """Rows [K] to forecast from: each symbol's last, or all that its first link can answer for.

    Raises HistoryTooShort where no link has enough bars.
    """
    complete = [link for link in links if all(name in members for name in link)]
    needs = [max(members[name].context for name in link) for link in complete]
    last = panel.last_origins(min(needs))
    if not every:
        return last
    rows = []
    for start, length, end in zip(panel.start, panel.length, last, strict=True):
        need = next(n for n in needs if n <= length)
        rows.append(np.arange(start + need - 1, end + 1))
    return np.concatenate(rows)


def answer(
    panel: Panel,
    rows: np.ndarray,
    members: Mapping[str, Member],
    missing: Mapping[str, str],
    links: list[Link],
) -> list[Answer]:
    """Forecasts from the origins `rows` [K], those of a symbol by one link.

    A link is left for a symbol if a member of it is `missing`, needs more bars, fails on its device
    or gives a number that is not finite. Raises DataError where no link answers.
    """
    symbol = panel.symbol_of(rows)  # [K]
    pending = np.ones(len(rows), bool)
    outputs: dict[str, np.ndarray] = {}  # by member, [K, H, Q]
    reasons: dict[str, dict[int, str]] = {}  # by member and symbol: why it doesn't answer
    answers = []
    for link in links:
        for name in link:
            if name in reasons:
                continue
            if name in members:
                outputs[name], reasons[name] = _ask(members[name], panel, rows, symbol, pending)
            else:
                reasons[name] = dict.fromkeys(symbol[pending].tolist(), missing[name])
        failed = set().union(*(reasons[name] for name in link))
        taken = pending & ~np.isin(symbol, list(failed))
        if taken.any():
            key = "ensemble" if len(link) > 1 else next(iter(link))
            quantiles = combine({name: outputs[name][taken] for name in link}, link)
            numbers = np.unique(symbol[taken]).tolist()
            warnings = {s: _warnings(panel.symbols[s], s, key, reasons) for s in numbers}
            answers.append(Answer(key, _in_words(link), np.flatnonzero(taken), quantiles, warnings))
        pending = pending & ~taken
        if not pending.any():
            return answers
    raise DataError(
        f"No link of the chain can answer for {panel.symbols[symbol[pending][0]]}; "
        "check its bars and load a whole model folder."
    )


def _ask(
    member: Member, panel: Panel, rows: np.ndarray, symbol: np.ndarray, pending: np.ndarray
) -> tuple[np.ndarray, dict[int, str]]:
    """A member's quantiles [K, H, Q] where `pending` [K], and by symbol why it has none."""
    asked = np.unique(symbol[pending])
    short = asked[panel.length[asked] < member.context].tolist()
    reasons = {
        s: f"{{symbol}} has {panel.length[s]} bars and {{who}} need{{s}} {member.context}"
        for s in short
    }
    quantiles = np.full((len(rows), member.horizon, len(member.levels)), np.nan)
    run = pending & ~np.isin(symbol, short)
    if not run.any():
        return quantiles, reasons
    fault = "{who} gave numbers for {symbol} that are not finite"
    try:
        quantiles[run] = member.quantiles(panel, rows[run])
    except CheckpointError as error:  # weights that fit their hash and not their inputs
        fault = unusable(error)
    except (RuntimeError, MemoryError) as error:  # torch's for memory, devices and drivers
        text = one_line(f"{type(error).__name__}: {error}".splitlines()[0], 200)
        fault = f"{{who}} failed ({text.rstrip('.: ')})"
    bad = run & ~np.isfinite(quantiles).all((1, 2))
    return quantiles, reasons | dict.fromkeys(symbol[bad].tolist(), fault)


def unusable(error: Exception) -> str:
    """The reason that a member's files give."""
    return f"{{who}} can't be used ({one_line(str(error), 250).rstrip('.')})"


def _warnings(
    symbol: str, number: int, link: str, reasons: Mapping[str, Mapping[int, str]]
) -> list[str]:
    """A sentence for each reason why members other than those of `link` don't answer."""
    by_reason: dict[str, list[str]] = {}
    for name, by_symbol in reasons.items():
        if number in by_symbol:
            by_reason.setdefault(by_symbol[number], []).append(name)
    alone = " alone" if link in ENSEMBLE_WEIGHTS else ""
    sentences = []
    for reason, names in by_reason.items():
        who = "the networks" if [*names] == [*ENSEMBLE_WEIGHTS] else " and ".join(map(_the, names))
        clause = reason.replace("{who}", who).replace("{s}", "s" if len(names) == 1 else "")
        clause = clause.replace("{symbol}", symbol)
        if reason.startswith("{who}"):
            clause = clause[0].upper() + clause[1:]
        sentences.append(f"{clause}, so {_the(link)} answers{alone}.")
    return sentences


def _the(name: str) -> str:
    return f"the {NAMES[name]}" if name in ("tft", WALK) else NAMES[name]


def _in_words(link: Link) -> str:
    """A link's name: "TFT", or "ensemble (0.65 TFT + 0.35 N-HITS)"."""
    if len(link) == 1:
        return NAMES[next(iter(link))]
    parts = [f"{weight:.2f} {NAMES[name]}" for name, weight in link.items()]
    return f"ensemble ({' + '.join(parts)})"
