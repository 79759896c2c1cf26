"""Calls local models through Celery queues: collects calls that arrive together, waits without polling.

One reply list per API process and one reader that blocks on it; a caller waits on a future. A worker
that dies is noticed by the call's own timeout; its batch comes back to the queue by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from orchestrator.adapters.providers.queue_message import (
    batch_limit,
    message,
    opened_reply,
    outcomes,
    packed_item,
    payload,
)
from orchestrator.core.errors import CallBroken, CallFailed, CallRefused, CallTimedOut, CallUnreachable
from orchestrator.core.types import Call, Delta, Reply
from registry.load import Registry, UnknownModel
from registry.schema import Task

log = logging.getLogger(__name__)

COLLECT_S = 0.005  # how long a call may wait for others, and only while a batch of its model is under way
BATCH_BYTES = 1 << 20  # a batch is sent at once when its items are this large together
PAYLOAD_GRACE_S = 180  # a payload outlives its deadline by two redeliveries, so that the worker can say so
RECONNECT_S = (0.1, 0.5, 2.0)


@dataclass(slots=True)
class _Waiting:
    """One call that waits: its item, its future, and the unix second after which nobody listens."""

    item: bytes
    answered: asyncio.Future[Reply]
    deadline: float


@dataclass(slots=True)
class _Line:
    """The calls of one model and task that are not sent yet, and how many batches are under way."""

    model: str
    task: Task
    queue: str
    waiting: list[_Waiting] = field(default_factory=list)
    size: int = 0
    under_way: int = 0
    timer: asyncio.TimerHandle | asyncio.Handle | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch under way; `expiry` forgets it once nobody listens any more."""

    line: _Line
    calls: Sequence[_Waiting]
    expiry: asyncio.TimerHandle


class LocalQueueProvider:
    """`Provider` for every card with a queue. Belongs to the event loop of its first call."""

    def __init__(self, redis_url: str, registry: Registry) -> None:
        self._registry = registry
        self._redis = _client(redis_url)
        self._replies: Redis = Redis.from_url(redis_url, socket_timeout=None, socket_keepalive=True)
        self._reply_to = f"pennyroute:replies:{uuid.uuid4().hex}"
        self._lines: dict[tuple[str, Task], _Line] = {}
        self._sent: dict[str, _Sent] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._closed = False

    async def complete(self, call: Call) -> Reply:
        """`Reply.data`: embed a float32 array (n, dimensions); rerank a list of {index, score}, best first;
        otherwise a list with one entry per text or image. Raises InferenceFailed with the worker's code,
        CallTimedOut, CallUnreachable (no Redis), CallRefused, CallBroken."""
        line = self._line(call)
        waiting = _Waiting(packed_item(call), asyncio.get_running_loop().create_future(), time.time() + call.timeout_s)
        self._read_replies()
        self._join(line, waiting)
        try:
            async with asyncio.timeout(call.timeout_s):
                return await waiting.answered
        except TimeoutError as error:
            raise CallTimedOut(
                f"{call.model_id} did not answer within {call.timeout_s:g} s; the {line.queue} queue is long "
                "or its worker is gone: see /health/ready, or allow more time"
            ) from error

    def stream(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Local models on queues answer whole: raises CallRefused."""
        return _refused_stream(call)

    async def close(self) -> None:
        """Fails what still waits with CallBroken and removes this process's reply list."""
        self._closed = True
        tasks = [*self._sending, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting = [call for sent in self._sent.values() for call in sent.calls]
        waiting += [call for line in self._lines.values() for call in line.waiting]
        _fail(waiting, lambda: CallBroken("this process is stopping; send the request again"))
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(self._reply_to)
        await self._redis.aclose()
        await self._replies.aclose()

    def _line(self, call: Call) -> _Line:
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
            self._lines[key] = _Line(model=card.id, task=call.task, queue=card.queue)
        return self._lines[key]

    def _join(self, line: _Line, waiting: _Waiting) -> None:
        """Calls made in the same turn of the loop travel together; later ones wait only under load."""
        line.waiting.append(waiting)
        line.size += len(waiting.item)
        loop = asyncio.get_running_loop()
        if len(line.waiting) >= batch_limit(line.task) or line.size >= BATCH_BYTES:
            self._send(line)
        elif line.timer is None and line.under_way:
            line.timer = loop.call_later(COLLECT_S, self._send, line)
        elif line.timer is None:
            line.timer = loop.call_soon(self._send, line)

    def _send(self, line: _Line) -> None:
        if line.timer:
            line.timer.cancel()
            line.timer = None
        calls = [call for call in line.waiting if not call.answered.done()]
        line.waiting, line.size = [], 0
        if not calls:
            return
        batch = uuid.uuid4().hex
        left_s = max(0.0, max(call.deadline for call in calls) - time.time())
        expiry = asyncio.get_running_loop().call_later(left_s, self._forget, batch)
        self._sent[batch] = _Sent(line, calls, expiry)
        line.under_way += 1
        task = asyncio.create_task(self._push(batch, line, calls))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _push(self, batch: str, line: _Line, calls: Sequence[_Waiting]) -> None:
        deadline = max(call.deadline for call in calls)
        key = f"pennyroute:payload:{batch}"
        kwargs: dict[str, Any] = {
            "batch": batch,
            "model": line.model,
            "task": line.task.value,
            "reply_to": self._reply_to,
            "payload": key,
            "deadline": deadline,
            "sent": time.time(),
        }
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(key, payload([call.item for call in calls]), ex=int(deadline - time.time()) + PAYLOAD_GRACE_S)
        pipe.lpush(line.queue, message(batch, line.queue, kwargs))
        try:
            await pipe.execute()
        except (RedisError, OSError) as error:
            self._forget(batch)
            cause = error
            _fail(calls, lambda: _unsent(cause))

    def _forget(self, batch: str) -> _Sent | None:
        """The batch is over: answered, unsendable, or nobody listens any more. Later replies are ignored."""
        sent = self._sent.pop(batch, None)
        if sent:
            sent.line.under_way -= 1
            sent.expiry.cancel()
        return sent

    def _read_replies(self) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="local queue replies")

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                popped = await self._replies.blpop([self._reply_to], timeout=0)
                failures = 0
                if popped:
                    self._deliver(cast(bytes, popped[1]))
            except (RedisError, OSError) as error:
                log.warning("cannot read replies of local workers: %s", error)
                await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1

    def _deliver(self, packed: bytes) -> None:
        reply = opened_reply(packed)
        sent = self._forget(reply["batch"]) if reply else None
        if reply is None or sent is None:
            log.info("ignored a reply that nobody waits for")
            return
        for call, outcome in zip(sent.calls, outcomes(reply, len(sent.calls)), strict=True):
            if call.answered.done():
                continue
            if isinstance(outcome, CallFailed):
                call.answered.set_exception(outcome)
            else:
                call.answered.set_result(outcome)


def _client(redis_url: str) -> Redis:
    """A pooled connection that Redis closed meanwhile is replaced once. If the first try did arrive, the
    batch is queued twice: the second run finds it answered, or its reply is ignored."""
    return Redis.from_url(
        redis_url,
        socket_timeout=5.0,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[RedisConnectionError],
    )


def _fail(calls: Sequence[_Waiting], error: Callable[[], CallFailed]) -> None:
    for call in calls:
        if not call.answered.done():
            call.answered.set_exception(error())


def _unsent(error: Exception) -> CallFailed:
    if isinstance(error, RedisConnectionError | OSError):
        return CallUnreachable(f"the queue cannot be reached: {error}; check REDIS_URL and that Redis runs")
    return CallBroken(f"the queue refused the work: {error}")


@asynccontextmanager
async def _refused_stream(call: Call) -> AsyncIterator[AsyncIterator[Delta]]:
    raise CallRefused(f"{call.model_id} answers whole, not as a stream; ask without stream")
    yield  # pragma: no cover - makes this a generator
