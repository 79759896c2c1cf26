"""Calls local models through Celery queues: collects calls that arrive together, waits without polling.

One reply list per API process and one reader that blocks on it; a caller waits on a future. A worker
that dies is noticed by the call's own timeout; its batch comes back to the queue by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.providers.queue_line import Caller, Line, Part
from orchestrator.adapters.providers.queue_message import opened_reply, outcomes, pieces_of
from orchestrator.adapters.providers.queue_post import Post
from orchestrator.adapters.providers.queue_stream import deltas, too_late
from orchestrator.core.errors import CallBroken, CallFailed, CallRefused
from orchestrator.core.types import Call, Delta, Reply
from registry.load import Registry, UnknownModel
from registry.schema import Task

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Sent:
    """A batch under way; `expiry` forgets it once nobody listens any more, `heard` counts its pieces."""

    line: Line
    parts: Sequence[Part]
    expiry: asyncio.TimerHandle
    at: float
    heard: int = 0


class LocalQueueProvider:
    """`Provider` for every card with a queue. Belongs to the event loop of its first call."""

    def __init__(self, redis_url: str, registry: Registry) -> None:
        self._registry = registry
        self._post = Post(redis_url)
        self._lines: dict[tuple[str, Task], Line] = {}
        self._sent: dict[str, _Sent] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._closed = False

    async def complete(self, call: Call) -> Reply:
        """`Reply.data`: embed a float32 array (n, dimensions); rerank a list of {index, score}, best first;
        otherwise a list with one entry per text or image. Raises InferenceFailed with the worker's code,
        CallTimedOut, CallUnreachable (no Redis), CallRefused, CallBroken."""
        line, caller = self._enter(call, streamed=False)
        try:
            async with asyncio.timeout(call.timeout_s):
                return await caller.answered
        except TimeoutError as error:
            raise too_late(call, line.queue) from error
        finally:
            self._leave(line, caller)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[Delta]]:
        """Text as the model makes it; a model that says nothing meanwhile answers in one piece. Raises as `complete`
        does, CallBroken where the stream was cut. Leaving the context stops the inference."""
        line, caller = self._enter(call, streamed=True)
        try:
            yield deltas(caller, line.queue, time.monotonic() + call.timeout_s)
        finally:
            self._leave(line, caller)

    async def close(self) -> None:
        """Fails what still waits with CallBroken and removes this process's reply list."""
        self._closed = True
        tasks = [*self._sending, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting = [part.caller for sent in self._sent.values() for part in sent.parts]
        waiting += [caller for line in self._lines.values() for caller in line.callers]
        for caller in waiting:
            caller.fail(CallBroken("this process is stopping; send the request again"))
        await self._post.close()

    @property
    def batches_under_way(self) -> int:
        """Sent and not answered, of all models."""
        return len(self._sent)

    def held_ms(self, model_id: str) -> float:
        """Work for this model that waits in this process and that no queue's length tells of; 0.0 where nothing does.
        Cheap."""
        return 1e3 * sum(line.held_s() for (model, _), line in self._lines.items() if model == model_id)

    def _enter(self, call: Call, *, streamed: bool) -> tuple[Line, Caller]:
        line = self._line(call)
        caller = Caller(call, asyncio.get_running_loop().create_future(), time.time() + call.timeout_s)
        caller.pieces = asyncio.Queue() if streamed else None
        line.join(caller, time.monotonic())
        if self._reader is None:
            self._reader = asyncio.create_task(self._post.read(self._deliver), name="local queue replies")
        self._pump(line)
        return line, caller

    def _line(self, call: Call) -> Line:
        if self._closed:
            raise CallRefused("this process is stopping; send the request again")
        key = (call.model_id, call.task)
        if key not in self._lines:
            try:
                card = self._registry.get(call.model_id)
            except UnknownModel as error:
                raise CallRefused(str(error)) from error
            if card.queue is None:
                raise CallRefused(f"{card.id} has no queue: it is called over HTTP, not by a local worker")
            self._lines[key] = Line(card, call.task)
        return self._lines[key]

    def _pump(self, line: Line, *, turn_over: bool = False) -> None:
        """Sends what is to be sent now and sets the clock for the rest. Calls made in the same turn of the loop
        travel together; later ones wait only under load."""
        while not self._closed and (wait_s := line.wait_s(time.monotonic())) is not None:
            if wait_s > 0 or not (turn_over or line.is_full()):
                self._set_clock(line, wait_s)
                return
            self._send(line)

    def _set_clock(self, line: Line, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + wait_s
        if line.timer is None or due < line.due:
            if line.timer:
                line.timer.cancel()
            line.due = due
            line.timer = loop.call_later(wait_s, self._turn, line) if wait_s else loop.call_soon(self._turn, line)

    def _turn(self, line: Line) -> None:
        line.timer = None
        self._pump(line, turn_over=True)

    def _send(self, line: Line) -> None:
        now = time.monotonic()
        parts = line.take(now)
        batch = uuid.uuid4().hex
        deadline = max(part.caller.deadline for part in parts)
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(max(0.0, deadline - time.time()), self._forget, batch)
        self._sent[batch] = _Sent(line, parts, expiry, now)
        line.under_way[batch] = now
        for number, part in enumerate(parts):
            part.batch, part.number = batch, number
        self._begin(self._push(batch, line, parts, deadline))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _push(self, batch: str, line: Line, parts: Sequence[Part], deadline: float) -> None:
        try:
            await self._post.send(batch, line.queue, line.model, line.task, [part.item for part in parts], deadline)
        except CallFailed as error:
            for part in parts:
                part.caller.fail(type(error)(error.message))  # each raises its own
            self._forget(batch)

    def _leave(self, line: Line, caller: Caller) -> None:
        """Nobody waits for this call any more: what is not answered yet is not sent, or stopped."""
        caller.close()
        line.leave(caller)
        for part in caller.parts:
            sent = self._sent.get(part.batch) if part.batch and part.reply is None else None
            if sent is None or part.batch is None:
                continue
            alone = all(other.caller.answered.done() for other in sent.parts)
            if not self._closed:
                self._begin(self._post.stop(part.batch, part.number, alone=alone))
            if alone:
                self._forget(part.batch)

    def _forget(self, batch: str) -> _Sent | None:
        """The batch is over: answered, unsendable, or nobody listens any more. Later replies are ignored."""
        sent = self._sent.pop(batch, None)
        if sent:
            sent.expiry.cancel()
            del sent.line.under_way[batch]
            self._pump(sent.line)
        return sent

    def _deliver(self, packed: bytes) -> None:
        reply = opened_reply(packed)
        sent = self._sent.get(reply["batch"]) if reply else None
        if reply is None or sent is None:
            log.info("ignored a reply that nobody waits for")
        elif "say" in reply:
            self._hear(sent, reply)
        else:
            self._answer(sent, reply)

    def _hear(self, sent: _Sent, reply: Mapping[str, Any]) -> None:
        """Pieces of answers; those that were pushed twice are heard once."""
        try:
            for number, text in pieces_of(reply, sent.heard, len(sent.parts)):
                sent.heard += 1
                sent.parts[number].caller.hear(text)
        except CallBroken as error:
            for part in sent.parts:
                if part.caller.pieces is not None:
                    part.caller.fail(CallBroken(error.message))

    def _answer(self, sent: _Sent, reply: Mapping[str, Any]) -> None:
        timings = reply.get("timings_ms")
        if isinstance(timings, dict):
            sent.line.learn(sent.parts, time.monotonic() - sent.at, timings)
        for part, outcome in zip(sent.parts, outcomes(reply, len(sent.parts)), strict=True):
            part.caller.take(part, outcome)
        self._forget(reply["batch"])
