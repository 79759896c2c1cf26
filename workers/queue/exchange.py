"""Keeps a batch in work in touch with its callers: pieces of answers out, the wish to stop in; it answers nothing.

A thread of its own does the talking, and only where there is something to say or the batch takes long: a token or a
question costs no round trip to Redis, and a batch of a few milliseconds starts no thread.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

import msgpack
from redis import Redis, RedisError

log = logging.getLogger(__name__)

TICK_S = 0.02  # pieces said meanwhile travel together
LISTEN_S = 0.05  # between two looks whether somebody left; a batch shorter than this is never asked about
KEPT_S = 3600  # the mark that pieces were said: as long as a batch could be delivered again


class Letter(Protocol):
    """What is known of a batch here."""

    @property
    def batch(self) -> str: ...
    @property
    def reply_to(self) -> str: ...


class Exchange:
    """One batch in work. `say` and `stopped` are a `Batch`'s; `close` before its reply is pushed."""

    def __init__(self, order: Letter, redis: Redis, reply_ttl_s: int) -> None:
        self._order, self._redis, self._reply_ttl_s = order, redis, reply_ttl_s
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._said: list[tuple[int, str]] = []
        self._pushed = 0
        self._left: frozenset[int] = frozenset()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, item: int, text: str) -> None:
        """A piece of the answer of this item, in order. Never waits."""
        if text:
            with self._lock:
                self._said.append((item, text))
            self._start()

    def stopped(self, item: int) -> bool:
        """Nobody waits for this item any more, as of LISTEN_S ago. Never waits."""
        if self._thread is None and time.monotonic() - self._began > LISTEN_S:
            self._start()
        return item in self._left

    def close(self) -> None:
        """After this nothing is pushed any more but by `push_rest`."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def push_rest(self, pipe: Any) -> None:
        """Adds what is not pushed yet to a pipeline, before the reply."""
        if self._said:
            pipe.rpush(self._order.reply_to, self._packed(self._said))
            pipe.expire(self._order.reply_to, self._reply_ttl_s)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._over.is_set():
                self._thread = threading.Thread(target=self._talk, name="exchange", daemon=True)
                self._thread.start()

    def _talk(self) -> None:
        listened = float("-inf")
        while not self._over.is_set():
            try:
                self._push()
                if time.monotonic() - listened >= LISTEN_S:
                    listened = time.monotonic()
                    self._listen()
            except RedisError as error:  # what was said is kept and pushed later, or with the reply
                log.warning("batch %s cannot talk to its callers: %s", self._order.batch, error)
            self._over.wait(TICK_S)

    def _push(self) -> None:
        with self._lock:
            said = self._said[:]
        if not said:
            return
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(said_key(self._order.batch), 1, ex=KEPT_S)
        pipe.rpush(self._order.reply_to, self._packed(said))
        pipe.expire(self._order.reply_to, self._reply_ttl_s)
        pipe.execute()
        with self._lock:
            del self._said[: len(said)]
            self._pushed += len(said)

    def _packed(self, said: list[tuple[int, str]]) -> bytes:
        """`at`: how many pieces came before, so that pieces pushed twice are heard once."""
        return bytes(msgpack.packb({"batch": self._order.batch, "at": self._pushed, "say": said}))

    def _listen(self) -> None:
        left: Any = self._redis.smembers(stop_key(self._order.batch))
        self._left = frozenset(int(number) for number in left)


def said_key(batch: str) -> str:
    """Set once pieces of this batch were said: it must not be run again."""
    return f"pennyroute:said:{batch}"


def stop_key(batch: str) -> str:
    """A set of item numbers that nobody waits for; the API writes it."""
    return f"pennyroute:stop:{batch}"
