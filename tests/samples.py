"""Small valid values for tests: one request, one decision, holds and attempts."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orchestrator.core.types import (
    Attempt,
    Caller,
    Complexity,
    Decision,
    Ending,
    Hold,
    Inference,
    Message,
    Plan,
    Request,
    Rung,
)
from registry.schema import Task, Tier, Usage

USD = 10**9
_numbers = itertools.count(1)


def new_id() -> UUID:
    """A UUIDv7 with a counter in its random part."""
    return UUID(int=(int(time.time() * 1000) << 80) | (7 << 76) | (2 << 62) | next(_numbers))


def request(text: str = "What is 2+2?", **changes: Any) -> Request:
    values: dict[str, Any] = {
        "id": new_id(),
        "task": Task.GENERATE,
        "messages": (Message(role="user", content=text),),
    }
    return Request(**{**values, **changes})


def decision() -> Decision:
    plan = Plan(rungs=(Rung(model_id="claude-sonnet", threshold=0.5),), complexity=Complexity.HIGH, reason="for a test")
    return Decision(plan=plan, features=None, scores=(), registry_version="r1", policy_version="p1")


def hold(amount_nanousd: int, **changes: Any) -> Hold:
    values: dict[str, Any] = {
        "attempt_id": new_id(),
        "request_id": new_id(),
        "amount_nanousd": amount_nanousd,
        "model_id": "claude-sonnet",
        "provider": "anthropic",
        "task": Task.GENERATE,
        "caller": Caller(),
    }
    return Hold(**{**values, **changes})


def attempt(held: Hold | None, ending: Ending, *, cost: int) -> Attempt:
    return Attempt(
        id=held.attempt_id if held else new_id(),
        rung=0,
        model_id=held.model_id if held else "minilm-l6-builtin",
        tier=Tier.PREMIUM if held else Tier.BUILTIN,
        ending=ending,
        hold_nanousd=held.amount_nanousd if held else 0,
        cost_nanousd=cost,
        latency_ms=12.5,
        usage=Usage(input_tokens=10, output_tokens=20),
        accepted=ending is Ending.SETTLED,
        error_code=None if ending is Ending.SETTLED else "provider_error",
    )


def inference(ended: Attempt, **changes: Any) -> Inference:
    values: dict[str, Any] = {
        "attempt": ended,
        "request": request(),
        "decision": decision(),
        "provider": "anthropic",
        "created_at": datetime.now(UTC),
        "input_text": "What is 2+2?",
        "output_text": "4",
    }
    return Inference(**{**values, **changes})
