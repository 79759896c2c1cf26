"""Judges what follows an attempt: accept, escalate, fall back, retry or give up. A pure function of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.types import Attempt, Plan

# One repeat on the last rung: a second failure of the same model seconds later is rarely chance.
_TRIES_ON_LAST_RUNG = 2
# Refused, empty, not in the schema: an answer of this grade is as good as a failure.
BROKEN = 0.3
# No grade reaches it: an answer that is there only for the next one to be compared with.
NEVER = 2.0
_RETRYABLE = frozenset({"rate_limited", "provider_unreachable", "provider_error", "timeout"})


class Move(StrEnum):
    START = "start"
    ACCEPT = "accept"
    ESCALATE = "escalate"  # answered, not good enough
    FALL_BACK = "fall_back"  # failed
    RETRY = "retry"  # failed on the last rung, worth one more try
    SETTLE_FOR = "settle_for"  # nothing better is left: the best answer so far
    GIVE_UP = "give_up"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """`rung` is the index to try next; for ACCEPT and SETTLE_FOR `attempt` is the index of the answer."""

    move: Move
    rung: int | None = None
    attempt: int | None = None


def next_rung(plan: Plan, attempts: Sequence[Attempt]) -> Step:
    """What follows, read from the attempts alone, so that a crash is a resume."""
    if not attempts:
        return Step(move=Move.START, rung=0)
    last = attempts[-1]
    if last.error_code is None and _good_enough(plan, attempts):
        return Step(move=Move.ACCEPT, attempt=len(attempts) - 1)
    following = _following(plan, last.rung, fallbacks=last.error_code is not None or _grade(last) < BROKEN)
    if following is not None:
        move = Move.ESCALATE if last.error_code is None else Move.FALL_BACK
        return Step(move=move, rung=following)
    answered = [index for index, attempt in enumerate(attempts) if attempt.error_code is None]
    if answered:
        return Step(move=Move.SETTLE_FOR, attempt=max(answered, key=lambda index: _grade(attempts[index])))
    tries = sum(attempt.rung == last.rung for attempt in attempts)
    if last.error_code in _RETRYABLE and tries < _TRIES_ON_LAST_RUNG:
        return Step(move=Move.RETRY, rung=last.rung)
    return Step(move=Move.GIVE_UP)


def _following(plan: Plan, rung: int, *, fallbacks: bool) -> int | None:
    """The next rung; after an answer that is one, the next that is not there for failures only."""
    for index in range(rung + 1, len(plan.rungs)):
        if fallbacks or not plan.rungs[index].fallback:
            return index
    return None


def _good_enough(plan: Plan, attempts: Sequence[Attempt]) -> bool:
    rung = plan.rungs[attempts[-1].rung]
    compared = sum(attempt.error_code is None for attempt in attempts[:-1])
    return compared >= rung.compared and _grade(attempts[-1]) >= rung.threshold


def _grade(attempt: Attempt) -> float:
    return attempt.quality.value if attempt.quality else 0.0
