"""The messages this process has taken and not yet answered, and their way back into the queue; it answers none."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

log = logging.getLogger(__name__)

UNACKED = "unacked"  # kombu's hash: delivery tag → [message, exchange, routing key]
UNACKED_INDEX = "unacked_index"  # kombu's sorted set: delivery tag → when the message was taken


class Held:
    """Delivery tags, added by the threads that work on their messages and read by others."""

    def __init__(self) -> None:
        self._tags: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, tag: str) -> Iterator[None]:
        """The message with this tag is in work, or waits for its turn, for the length of the `with`."""
        with self._lock:
            self._tags.add(tag)
        try:
            yield
        finally:
            with self._lock:
                self._tags.discard(tag)

    def tags(self) -> list[str]:
        with self._lock:
            return sorted(self._tags)

    def give_back(self, redis: Redis) -> None:
        """Puts them back to where the next worker takes from, as kombu would after the visibility timeout: for a
        process that is about to end without an orderly stop. Raises RedisError."""
        for tag in self.tags():
            _put_back(redis, tag)


def _put_back(redis: Redis, tag: str) -> None:
    held = redis.hget(UNACKED, tag)
    if not isinstance(held, bytes):
        return  # answered meanwhile
    message, _, queue = json.loads(held)
    pipe = redis.pipeline(transaction=True)
    pipe.zrem(UNACKED_INDEX, tag)
    pipe.hdel(UNACKED, tag)
    pipe.rpush(queue, json.dumps(message))  # the end that is taken from
    pipe.execute()
    log.info("message %s is back in %s", tag, queue)
