"""Keeps in Redis which model answered a conversation's last turn. A hint: whatever goes wrong, it is just missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

PREFIX = "pennyroute:conversation:"
KEPT_S = 86_400  # a conversation that rests longer may well go on with another model
PATIENCE_S = 0.05  # a caller waits for this before anything is decided
GATHER_S = 0.2  # what is answered within this time is written in one go; nobody asks the next thing faster
_MOST_WAITING = 10_000  # while Redis is away; beyond it hints are dropped


class RedisConversations:
    """`Conversations` for all processes on one Redis; about 0.2 kB per answered turn of the last day."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
        self._waiting: dict[str, str] = {}
        self._writer: asyncio.Task[None] | None = None

    async def last(self, key: str) -> str | None:
        if key in self._waiting:
            return self._waiting[key]
        found = await self._within_patience(self._redis.get(PREFIX + key))
        return None if found is None else cast(bytes, found).decode("utf-8", "replace")

    async def remember(self, key: str, model_id: str) -> None:
        """Returns at once; written within moments."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[key] = model_id
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="conversations")

    async def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._redis.aclose()

    async def _write(self) -> None:
        await asyncio.sleep(GATHER_S)
        while self._waiting:
            batch = dict(self._waiting)
            pipe = self._redis.pipeline(transaction=False)
            for key, model_id in batch.items():
                pipe.set(PREFIX + key, model_id, ex=KEPT_S)
            await self._within_patience(pipe.execute())
            for key, model_id in batch.items():
                if self._waiting.get(key) == model_id:
                    del self._waiting[key]

    async def _within_patience(self, command: Awaitable[Any]) -> Any:
        """The command's answer; None where there was none in time. A connection cut off in the middle of a command
        is closed by its client, so that nobody reads another's answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("no word on this conversation: %s", error or type(error).__name__)
            return None
