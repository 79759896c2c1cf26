"""What a caller hears of an answer while it is written; it reads no queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from orchestrator.adapters.providers.queue_line import Caller
from orchestrator.adapters.providers.queue_message import unsaid
from orchestrator.core.errors import CallBroken, CallFailed, CallTimedOut
from orchestrator.core.types import Call, Delta


async def deltas(caller: Caller, queue: str, until: float) -> AsyncIterator[Delta]:
    """`until` is in monotonic seconds. What was said is a beginning of the whole text, or the stream is broken."""
    assert caller.pieces is not None  # noqa: S101 - `LocalQueueProvider.stream` made it so
    said: list[str] = []
    while True:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                piece = await caller.pieces.get()
        except TimeoutError as error:
            raise too_late(caller.call, queue, said=len(said)) from error
        if piece is None:
            break
        said.append(piece)
        yield Delta(text=piece)
    reply = caller.answered.result()
    yield Delta(text=unsaid(reply, "".join(said)), reply=reply)


def too_late(call: Call, queue: str, said: int = 0) -> CallFailed:
    """The error of a call whose time is up after so many pieces."""
    if said:
        return CallBroken(
            f"{call.model_id} fell silent after {said} pieces and did not end within {call.timeout_s:g} s; "
            "its worker may be gone: see /health/ready, or allow more time"
        )
    return CallTimedOut(
        f"{call.model_id} did not answer within {call.timeout_s:g} s; the {queue} queue is long "
        "or its worker is gone: see /health/ready, or allow more time"
    )
