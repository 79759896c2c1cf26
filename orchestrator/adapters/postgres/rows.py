"""Translates core values to the JSON rows that the SQL functions read. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, overload

import orjson

from orchestrator.core.types import Attempt, Decision, Hold, Inference


def to_json(value: object) -> bytes:
    """A JSON text that jsonb accepts; values come from the functions below, which clean their texts."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits in somebody's metadata: jsonb holds it
        return json.dumps(value).encode()


def hold_row(hold: Hold) -> dict[str, Any]:
    return {
        "attempt_id": str(hold.attempt_id),
        "request_id": str(hold.request_id),
        "model_id": hold.model_id,
        "provider": hold.provider,
        "hold_nanousd": hold.amount_nanousd,
        "tenant": hold.caller.tenant,
        "key_id": str(hold.caller.key_id or ""),
        "task": hold.task,
        "tags": [clean(tag) for tag in hold.tags],
    }


def ending_row(attempt: Attempt) -> dict[str, Any]:
    return {"attempt_id": str(attempt.id), "ending": attempt.ending, "cost_nanousd": attempt.cost_nanousd}


def inference_row(inference: Inference, *, paid: bool) -> dict[str, Any]:
    """All columns of `model_inferences` plus `paid`, `input`, `output`."""
    attempt, request, decision = inference.attempt, inference.request, inference.decision
    quality, usage = attempt.quality, attempt.usage
    return {
        "id": str(attempt.id),
        "request_id": str(request.id),
        "created_at": inference.created_at.isoformat(),
        "tenant": request.caller.tenant,
        "key_id": str(request.caller.key_id) if request.caller.key_id else None,
        "user_ref": clean(request.user),
        "task": request.task,
        "model_id": attempt.model_id,
        "provider": inference.provider,
        "tier": attempt.tier,
        "strategy": request.strategy,
        "complexity": decision.plan.complexity,
        "rung": attempt.rung,
        "accepted": attempt.accepted,
        "ending": attempt.ending,
        "quality_score": quality.value if quality else None,
        "signals": dict(quality.signals) if quality else {},
        "hold_nanousd": attempt.hold_nanousd,
        "cost_nanousd": attempt.cost_nanousd,
        "latency_ms": round(attempt.latency_ms, 3),
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "finish_reason": inference.finish_reason,
        "error_code": attempt.error_code,
        "error": clean(attempt.error),
        "routing_reason": decision.plan.reason,
        "plan": _plan(decision),
        "features": decision.features.as_dict() if decision.features else None,
        "task_class": clean(request.task_class),
        "contract": decision.plan.promise.as_dict() if decision.plan.promise else None,
        "scorer": decision.scorer,
        "registry_version": decision.registry_version,
        "policy_version": decision.policy_version,
        "propensity": decision.plan.propensity,
        "tags": [clean(tag) for tag in request.tags],
        "metadata": clean_value(dict(request.metadata)),
        "paid": paid,
        "input": clean(inference.input_text),
        "output": clean(inference.output_text),
    }


def _plan(decision: Decision) -> dict[str, Any]:
    plan, scores = decision.plan, {score.model_id: score.p_adequate for score in decision.scores}
    return {
        "rungs": [
            {
                "model": rung.model_id,
                "threshold": rung.threshold,
                "fallback": rung.fallback,
                "p_adequate": scores.get(rung.model_id),
            }
            for rung in plan.rungs
        ],
        "quality": plan.quality,
        "cost_nanousd": plan.cost_nanousd,
        "latency_ms": plan.latency_ms,
        "past_prompts": len(decision.neighbours),
        "took_ms": round(decision.took_ms, 3),
    }


@overload
def clean(text: str) -> str: ...
@overload
def clean(text: None) -> None: ...
def clean(text: str | None) -> str | None:
    """Postgres text holds neither NUL nor lone surrogates."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean_value(value: Any) -> Any:
    """The same for a JSON value, whole; what JSON cannot say (NaN, a date) becomes null or its text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): clean_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else clean(str(value))
