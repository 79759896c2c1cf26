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

from workers.queue.held import UNACKED_INDEX, Held
from workers.runtime import memory

log = logging.getLogger(__name__)

EVERY_S = 3.0
TTL_S = 10  # three missed announcements: the worker is gone
INDEX = "pennyroute:workers"  # sorted set: worker id → unix seconds of its last announcement


class Announcer:
    """A background thread. `models` is asked at every turn for the state of each model; `facts` stand beside the
    process's memory: its budget and its device.

    It also keeps the messages in `held` from being delivered a second time while this process lives: it moves their
    time of taking to now at every turn.
    """

    def __init__(
        self,
        redis: Redis,
        queues: Sequence[str],
        models: Callable[[], Mapping[str, Mapping[str, Any]]],
        held: Held | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._models = models
        self._since = time.time()
        self._id = uuid.uuid4().hex
        self._held = held or Held()
        self._facts = dict(facts or {})
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

    def announce(self) -> None:
        """One announcement now. Raises RedisError."""
        now = time.time()
        state = {
            "queues": self._queues,
            "models": self._models(),
            "pid": os.getpid(),
            "since": self._since,
            "memory": {"resident_bytes": memory.resident_bytes(), **self._facts},
        }
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(state), ex=TTL_S)
        pipe.zadd(INDEX, {self._id: now})
        pipe.zremrangebyscore(INDEX, "-inf", now - TTL_S)
        if tags := self._held.tags():
            pipe.zadd(UNACKED_INDEX, dict.fromkeys(tags, now), xx=True)
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
            except Exception:  # a worker that stops announcing is taken for dead, however well it works
                log.exception("this turn's announcement is left out")
            if self._stopped.wait(EVERY_S):
                return
