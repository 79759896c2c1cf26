"""What the workers of one model measured, put together; arithmetic on announcements, it reads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

_MEANS = ("load_ms", "inference_ms", "queue_wait_ms", "batch_items", "tokens_per_s")
_SUMS = ("resident_bytes", "loads")


def measured(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One model over its workers: `missing` (None where one of them can run it), `failed` (why the last try
    failed; None where one of them can run it and did not fail), `loaded` and `on_gpu` (how many hold
    it, and there), sums of resident_bytes and loads, means of load_ms, inference_ms, queue_wait_ms, batch_items and
    tokens_per_s over those that measured it (None: none did), the shortest `context_tokens` it is loaded with, `errors`
    by code. Older workers announce less."""
    return {
        "missing": None if any(state["missing"] is None for state in states) else states[0]["missing"],
        "failed": _failed(states),
        "loaded": sum(bool(state.get("loaded")) for state in states),
        "on_gpu": sum(state.get("device") == "cuda" for state in states),
        **{name: sum(int(state.get(name) or 0) for state in states) for name in _SUMS},
        **{name: _mean([state.get(name) for state in states]) for name in _MEANS},
        "context_tokens": min(_known(states, "context_tokens"), default=None),
        "errors": dict(sorted(sum((Counter(state.get("errors") or {}) for state in states), Counter()).items())),
    }


def _failed(states: Sequence[Mapping[str, Any]]) -> str | None:
    if any(state["missing"] is None and state.get("failed") is None for state in states):
        return None
    return next((state["failed"] for state in states if state.get("failed")), None)


def _known(states: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [int(state[name]) for state in states if state.get(name)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 3) if known else None
