"""Who answers: ensemble, TFT alone, N-HITS alone, gradient boosting, random walk.

A candidate of this chain is passed over only for a reason, which becomes a warning in the result: a
clause in which {who} stands for the members that it is true of, and {symbol} for the symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..config import ENSEMBLE_WEIGHTS
from ..data.windows import Panel
from ..errors import CheckpointError, DataError, counted, printable
from .ensemble import NAMES, WALK, Member, combine

NO_TORCH = "PyTorch can't be imported (install the extra 'torch')"
Candidate = dict[str, float]  # the weights of the members that answer together


@dataclass(frozen=True)
class Answer:
    """What one candidate forecasts, for all origins of some symbols."""

    key: str  # "ensemble" or a member's name, as in Pool.calibration
    name: str  # in words
    index: np.ndarray  # [k] of the origins among those asked for
    quantiles: np.ndarray  # [k, H, Q] of the cumulative log return
    warnings: dict[int, list[str]]  # by the symbol's number: why no earlier one answers


def chain(names: Mapping[str, object], weights: Candidate) -> list[Candidate]:
    """The candidates, first to last; `names` are the members that there should be."""
    used = {name: weight for name, weight in weights.items() if weight}
    others = [name for name in ENSEMBLE_WEIGHTS if name not in used]
    networks = [name for name in (*used, *others) if name != WALK]
    alone = [{name: 1.0} for name in (*networks, "boosting", WALK) if name in names]
    return [used, *alone] if len(used) > 1 else alone


def chain_origins(
    panel: Panel, members: Mapping[str, Member], candidates: list[Candidate], every: bool
) -> np.ndarray:
    """Rows [K] to forecast from: each symbol's last, or all that its first candidate can answer.

    Raises HistoryTooShort where none has enough bars.
    """
    complete = [names for names in candidates if all(name in members for name in names)]
    needs = [max(members[name].context for name in names) for names in complete]
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
    candidates: list[Candidate],
) -> list[Answer]:
    """Forecasts from the origins `rows` [K], those of a symbol by one candidate.

    It is passed over for a symbol if a member of it is `missing`, needs more bars, fails on its
    device or gives a number that is not finite. Raises DataError where none answers.
    """
    symbol = panel.symbol_of(rows)  # [K]
    pending = np.ones(len(rows), bool)
    outputs: dict[str, np.ndarray] = {}  # by member, [K, H, Q]
    reasons: dict[str, dict[int, str]] = {}  # by member and symbol: why it doesn't answer
    answers = []
    for weights in candidates:
        # Ask each member once, for what is pending then: a later candidate has no more
        for name in weights:
            if name in reasons:
                continue
            if name in members:
                outputs[name], reasons[name] = _ask(members[name], panel, rows, symbol, pending)
            else:
                reasons[name] = dict.fromkeys(symbol[pending].tolist(), missing[name])
        # Take the symbols for which none of them failed
        failed = set().union(*(reasons[name] for name in weights))
        taken = pending & ~np.isin(symbol, list(failed))
        if taken.any():
            key = "ensemble" if len(weights) > 1 else next(iter(weights))
            quantiles = combine({name: outputs[name][taken] for name in weights}, weights)
            numbers = np.unique(symbol[taken]).tolist()
            warnings = {s: _warnings(panel.symbols[s], s, key, reasons) for s in numbers}
            index = np.flatnonzero(taken)
            answers.append(Answer(key, _in_words(weights), index, quantiles, warnings))
        pending = pending & ~taken
        if not pending.any():
            return answers
    raise DataError(
        f"No member can answer for {panel.symbols[symbol[pending][0]]}; "
        "check its bars and load a whole model folder."
    )


def _ask(
    member: Member, panel: Panel, rows: np.ndarray, symbol: np.ndarray, pending: np.ndarray
) -> tuple[np.ndarray, dict[int, str]]:
    """A member's quantiles [K, H, Q] where `pending` [K], and by symbol why it has none."""
    asked = np.unique(symbol[pending])
    short = asked[panel.length[asked] < member.context].tolist()
    reasons = {
        s: f"{{symbol}} has {counted(panel.length[s], 'bar')} and {{who}} need{{s}} "
        f"{member.context}"
        for s in short
    }
    quantiles = np.full((len(rows), panel.steps, len(member.levels)), np.nan)
    run = pending & ~np.isin(symbol, short)
    if not run.any():
        return quantiles, reasons
    fault = "{who} gave numbers for {symbol} that are not finite"
    try:
        quantiles[run] = member.quantiles(panel, rows[run])
    except CheckpointError as error:  # weights that fit their hash and not their inputs
        fault = unusable(error)
    except (RuntimeError, MemoryError) as error:  # torch's for memory, devices and drivers
        text = printable(f"{type(error).__name__}: {error}".splitlines()[0], 200)
        fault = f"{{who}} failed ({text.rstrip('.: ')})"
    bad = run & ~np.isfinite(quantiles).all((1, 2))
    return quantiles, reasons | dict.fromkeys(symbol[bad].tolist(), fault)


def unusable(error: Exception) -> str:
    """The reason that a member's files give."""
    return f"{{who}} can't be used ({printable(str(error), 250).rstrip('.')})"


def _warnings(
    symbol: str, number: int, key: str, reasons: Mapping[str, Mapping[int, str]]
) -> list[str]:
    """A sentence for each reason why members other than those of `key` don't answer."""
    by_reason: dict[str, list[str]] = {}
    for name, by_symbol in reasons.items():
        if number in by_symbol:
            by_reason.setdefault(by_symbol[number], []).append(name)
    alone = " alone" if key in ENSEMBLE_WEIGHTS else ""
    sentences = []
    for reason, names in by_reason.items():
        who = "the networks" if [*names] == [*ENSEMBLE_WEIGHTS] else " and ".join(map(_the, names))
        clause = reason.replace("{who}", who).replace("{s}", "s" if len(names) == 1 else "")
        clause = clause.replace("{symbol}", symbol)
        if reason.startswith("{who}"):
            clause = clause[0].upper() + clause[1:]
        sentences.append(f"{clause}, so {_the(key)} answers{alone}.")
    return sentences


def _the(name: str) -> str:
    return f"the {NAMES[name]}" if name in ("tft", WALK) else NAMES[name]


def _in_words(weights: Candidate) -> str:
    """ "TFT", or "ensemble (0.65 TFT + 0.35 N-HITS)"."""
    if len(weights) == 1:
        return NAMES[next(iter(weights))]
    terms = [f"{weight:.2f} {NAMES[name]}" for name, weight in weights.items()]
    return f"ensemble ({' + '.join(terms)})"
