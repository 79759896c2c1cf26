"""Calls of local models for tests, and waiting for what a fleet reader sees."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from orchestrator.adapters.redis.fleet import FleetReader
from orchestrator.core.types import Call
from registry.schema import Task

MINILM = "minilm-l6-builtin"


def call(*texts: str, task: Task = Task.EMBED, model: str = MINILM, **facts: Any) -> Call:
    return Call(
        attempt_id=uuid.uuid4(),
        model_id=model,
        api_model="",
        task=task,
        texts=texts,
        timeout_s=facts.pop("timeout_s", 30.0),
        **facts,
    )


async def until(fleet: FleetReader, holds: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, fleet.queues()
        await asyncio.sleep(0.05)
        await fleet.read()
