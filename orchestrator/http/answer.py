"""The shape of an answer on the wire: output, cost, and why. Translates; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from starlette.responses import Response

from orchestrator.core.budget import NANOUSD_PER_USD
from orchestrator.core.types import Answer, Attempt, Decision, Reply


def usd(nanousd: int) -> str:
    """Exact decimal dollars: 1234567 → "0.001234567"."""
    return f"{nanousd // NANOUSD_PER_USD}.{nanousd % NANOUSD_PER_USD:09d}"


def answer_body(answer: Answer, stored_ids: Sequence[UUID] = ()) -> dict[str, Any]:
    served, reply = answer.answered_by, answer.reply
    body: dict[str, Any] = {
        "id": str(answer.request.id),
        "task": answer.request.task,
        "output": reply.data if reply.data is not None else reply.text,
        "model": served.model_id,
        "tier": served.tier,
        "cost_usd": usd(answer.cost_nanousd),
        "cost_nanousd": answer.cost_nanousd,
        "latency_ms": round(answer.latency_ms, 1),
        "quality_score": served.quality.value if served.quality else None,
        "finish_reason": reply.finish_reason,
        "usage": _usage(reply),
        "why": {**decision_body(answer.decision), "attempts": [_attempt(attempt) for attempt in answer.attempts]},
    }
    if reply.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ]
    if reply.notes:
        body["notes"] = dict(reply.notes)
    if stored_ids:
        body["stored_ids"] = [str(stored) for stored in stored_ids]
    return body


def decision_body(decision: Decision) -> dict[str, Any]:
    plan, scores = decision.plan, {score.model_id: score for score in decision.scores}
    return {
        "complexity": plan.complexity,
        "reason": plan.reason,
        "plan": [
            {
                "model": rung.model_id,
                "threshold": rung.threshold,
                "fallback": rung.fallback,
                "p_adequate": scores[rung.model_id].p_adequate if rung.model_id in scores else None,
            }
            for rung in plan.rungs
        ],
        "predicted": {"quality": plan.quality, "cost_nanousd": plan.cost_nanousd, "latency_ms": plan.latency_ms},
        "contract": plan.promise.as_dict() if plan.promise else None,
        "features": decision.features.as_dict() if decision.features else None,
        "policy_version": decision.policy_version,
        "scorer": decision.scorer,
        "past_prompts": len(decision.neighbours),
        "took_ms": round(decision.took_ms, 3),
        "registry_version": decision.registry_version,
    }


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """orjson, numpy arrays included (an embedding costs microseconds instead of milliseconds)."""
    return Response(
        orjson.dumps(body, default=str, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json"
    )


def answer_headers(answer: Answer) -> dict[str, str]:
    return {
        "x-pennyroute-id": str(answer.request.id),
        "x-pennyroute-model": answer.answered_by.model_id,
        "x-pennyroute-cost-usd": usd(answer.cost_nanousd),
    }


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    return {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": str(attempt.id),
        "model": attempt.model_id,
        "tier": attempt.tier,
        "rung": attempt.rung,
        "ending": attempt.ending,
        "cost_nanousd": attempt.cost_nanousd,
        "hold_nanousd": attempt.hold_nanousd,
        "latency_ms": round(attempt.latency_ms, 1),
        "quality_score": attempt.quality.value if attempt.quality else None,
        "signals": dict(attempt.quality.signals) if attempt.quality else {},
        "accepted": attempt.accepted,
        "error_code": attempt.error_code,
        "error": attempt.error,
    }
