"""The way to local workers and back over Redis: batches out, replies in, notes that nobody waits; it holds no rule."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from orchestrator.adapters.providers.queue_message import message, payload
from orchestrator.core.errors import CallBroken, CallFailed, CallUnreachable
from registry.schema import Task

log = logging.getLogger(__name__)

PAYLOAD_GRACE_S = 180  # a payload outlives its deadline by two redeliveries, so that the worker can say so
STOP_TTL_S = 600  # of the note that nobody waits; a batch is never in work for longer
RECONNECT_S = (0.1, 0.5, 2.0)


class Post:
    """One reply list of its own; `read` is to be run once, in a task."""

    def __init__(self, redis_url: str) -> None:
        self._redis = _client(redis_url)
        self._replies: Redis = Redis.from_url(redis_url, socket_timeout=None, socket_keepalive=True)
        self._reply_to = f"pennyroute:replies:{uuid.uuid4().hex}"

    async def send(
        self, batch: str, queue: str, model: str, task: Task, items: Sequence[bytes], deadline: float
    ) -> None:
        """`deadline` in unix seconds. Raises CallUnreachable, CallBroken."""
        key = _payload_key(batch)
        kwargs: dict[str, Any] = {
            "batch": batch,
            "model": model,
            "task": task.value,
            "reply_to": self._reply_to,
            "payload": key,
            "deadline": deadline,
            "sent": time.time(),
        }
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(key, payload(items), ex=int(deadline - time.time()) + PAYLOAD_GRACE_S)
        pipe.lpush(queue, message(batch, queue, kwargs))
        try:
            await pipe.execute()
        except (RedisError, OSError) as error:
            raise _unsent(error) from error

    async def stop(self, batch: str, number: int, *, alone: bool) -> None:
        """Tells the worker that nobody waits for this item; a batch still queued finds its payload gone."""
        key = f"pennyroute:stop:{batch}"
        pipe = self._redis.pipeline(transaction=True)
        pipe.sadd(key, number)
        pipe.expire(key, STOP_TTL_S)
        if alone:
            pipe.delete(_payload_key(batch))
        try:
            await pipe.execute()
        except (RedisError, OSError) as error:
            log.info("batch %s runs to its end, Redis cannot be told that nobody waits: %s", batch, error)

    async def read(self, deliver: Callable[[bytes], None]) -> None:
        """Hands over every reply, for ever; a lost connection is made anew."""
        failures = 0
        while True:
            try:
                popped = await self._replies.blpop([self._reply_to], timeout=0)
                failures = 0
                if popped:
                    deliver(cast(bytes, popped[1]))
            except (RedisError, OSError) as error:
                log.warning("cannot read replies of local workers: %s", error)
                await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1

    async def close(self) -> None:
        """Removes the reply list."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(self._reply_to)
        await self._redis.aclose()
        await self._replies.aclose()


def _payload_key(batch: str) -> str:
    return f"pennyroute:payload:{batch}"


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


def _unsent(error: Exception) -> CallFailed:
    if isinstance(error, RedisConnectionError | OSError):
        return CallUnreachable(f"the queue cannot be reached: {error}; check REDIS_URL and that Redis runs")
    return CallBroken(f"the queue refused the work: {error}")
