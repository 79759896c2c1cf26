"""What of a call travels to a local worker."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack

from orchestrator.adapters.providers.queue_message import outcomes, packed_item
from orchestrator.core.types import Call, Message, Options, Reply
from registry.schema import Task


def options(**asked: Any) -> Any:
    call = Call(
        attempt_id=UUID("01980000-0000-7000-8000-000000000001"),
        model_id="tiny",
        api_model="tiny",
        task=Task.GENERATE,
        messages=(Message(role="user", content="Hi"),),
        options=Options(**asked),
        max_tokens=64,
        timeout_s=1.0,
    )
    return msgpack.unpackb(packed_item(call))["options"]


def test_only_what_was_asked_for_travels() -> None:
    assert options() == {"max_tokens": 64}


def test_greedy_and_a_seed_of_zero_travel_too() -> None:
    assert options(temperature=0.0, seed=0) == {"temperature": 0.0, "seed": 0, "max_tokens": 64}


def test_what_a_worker_says_of_how_it_answered_is_kept_and_nothing_else() -> None:
    cut = {"ok": {"results": [{"label": "a"}], "truncated": 2, "calibrated": False, "secret": 1}}
    whole = {"ok": {"results": [{"label": "a"}], "truncated": 0, "calibrated": True}}
    first, second = outcomes({"model": "m", "timings_ms": {}, "results": [cut, whole]}, 2)
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert first.notes == {"truncated": 2, "calibrated": False}
    assert second.notes == {"calibrated": True}
