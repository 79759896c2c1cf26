"""Tells the API over Redis which queues and models this worker process serves; it never runs a model."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis, RedisError

log = logging.getLogger(__name__)

EVERY_S = 3.0
TTL_S = 10  # three missed announcements: the worker is gone
INDEX = "pennyroute:workers"  # sorted set: worker id → unix seconds of its last announcement
UNACKED_INDEX = "unacked_index"  # kombu's: delivery tag → when the message was taken


class Announcer:
    """A background thread. `models` is asked at every turn for the state of each model.

    It also keeps the message in work from being delivered a second time while this process lives:
    `working_on(delivery_tag)` moves its time of taking to now at every turn.
    """

    def __init__(
        self, redis: Redis, queues: Sequence[str], models: Callable[[], Mapping[str, Mapping[str, Any]]]
    ) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._models = models
        self._since = time.time()
        self._id = uuid.uuid4().hex
        self._tag: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes the announcement back, so that nobody waits for this worker."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=EVERY_S)
        try:
            self._redis.delete(self._key)
            self._redis.zrem(INDEX, self._id)
        except RedisError as error:
            log.warning("the announcement stays until it expires: %s", error)

    def working_on(self, delivery_tag: str | None) -> None:
        """The message in work; None when there is none."""
        self._tag = delivery_tag

    def announce(self) -> None:
        """One announcement now. Raises RedisError."""
        now = time.time()
        state = {"queues": self._queues, "models": self._models(), "pid": os.getpid(), "since": self._since}
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(state), ex=TTL_S)
        pipe.zadd(INDEX, {self._id: now})
        pipe.zremrangebyscore(INDEX, "-inf", now - TTL_S)
        if tag := self._tag:
            pipe.zadd(UNACKED_INDEX, {tag: now}, xx=True)
        pipe.execute()

    @property
    def _key(self) -> str:
        return f"pennyroute:worker:{self._id}"

    def _repeat(self) -> None:
        while True:
            try:
                self.announce()
            except RedisError as error:
                log.warning("cannot announce this worker: %s", error)
            if self._stopped.wait(EVERY_S):
                return
