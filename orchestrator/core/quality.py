"""Grades a reply after calling: deterministic signals, each in [0, 1], combined into one quality score.

The grade is a stated rule, not yet a calibrated probability. It never looks at which model answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from orchestrator.core import json_schema
from orchestrator.core.types import FinishReason, QualityScore, Reply, Request
from registry.schema import Task

_REFUSAL = re.compile(
    r"^\W*(?:i(?:['’]m| am) (?:sorry|unable|not able)|i can(?:no|['’])t (?:help|assist|do|answer|provide)"
    r"|as an ai(?: language)? model|i do(?:n['’]t| not) have (?:the ability|access))",
    re.IGNORECASE,
)
_REPEAT_WINDOW_WORDS = 8
_REPEAT_ENOUGH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of a reply beside its text; None where nobody knows. `earlier` are the other answers to the same
    request, `relevance` how well the reply answers the ask, in [0, 1], by a model that reads both, `mean_logprob` per
    token as the runtime told it (0 or less), `neighbours` the share of like past prompts this model answered well."""

    earlier: tuple[Reply, ...] = ()
    relevance: float | None = None
    mean_logprob: float | None = None
    neighbours: float | None = None


NO_EVIDENCE = Evidence()


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Grades replies. `accept_right` and `accept_wrong` are P(accepted at 0.5 | adequate) and P(… | inadequate) of a
    reply read alone; `agreed_right` and `agreed_wrong` where answers of other models are known too."""

    accept_right: float = 0.95
    accept_wrong: float = 0.6
    agreed_right: float = 0.95
    agreed_wrong: float = 0.6

    def __call__(self, request: Request, reply: Reply, evidence: Evidence = NO_EVIDENCE) -> QualityScore:
        """Product of the signals that apply: one broken promise cannot be averaged away."""
        if request.task is not Task.GENERATE:
            return QualityScore(value=1.0 if reply.data is not None else 0.0, signals={})
        signals = {name: check(request, reply) for name, check in _SIGNALS.items()}
        return QualityScore(value=round(prod(signals.values()), 4), signals=signals)


judge = Judge()
"""The judge that knows no labels: stated priors only. `load` makes one that was calibrated."""


def _answered(request: Request, reply: Reply) -> float:
    return 1.0 if reply.tool_calls or (reply.text or "").strip() else 0.0


def _complete(request: Request, reply: Reply) -> float:
    """A cut answer is still of use when the caller asked for a short one."""
    if reply.finish_reason is not FinishReason.LENGTH:
        return 1.0
    return 0.8 if request.options.max_tokens else 0.4


def _willing(request: Request, reply: Reply) -> float:
    refused = reply.finish_reason is FinishReason.REFUSAL or bool(_REFUSAL.match(reply.text or ""))
    return 0.2 if refused else 1.0


def _valid(request: Request, reply: Reply) -> float:
    """The schema asked for is kept: 1, parses but does not validate: 0.3, does not parse: 0."""
    if request.options.schema is None or reply.tool_calls:
        return 1.0
    try:
        value = json.loads(reply.text or "")
    except (ValueError, RecursionError):
        return 0.0
    return 1.0 if json_schema.fits(request.options.schema, value) else 0.3


def _fresh(request: Request, reply: Reply) -> float:
    """A text that says the same eight words again and again is a model stuck in a loop."""
    words = (reply.text or "").split()
    windows: dict[tuple[str, ...], int] = {}
    for start in range(0, len(words) - _REPEAT_WINDOW_WORDS + 1):
        window = tuple(words[start : start + _REPEAT_WINDOW_WORDS])
        windows[window] = windows.get(window, 0) + 1
        if windows[window] >= _REPEAT_ENOUGH and len(set(window)) > 1:
            return 0.2
    return 1.0


_SIGNALS: Mapping[str, Callable[[Request, Reply], float]] = {
    "answered": _answered,
    "complete": _complete,
    "willing": _willing,
    "valid": _valid,
    "fresh": _fresh,
}
