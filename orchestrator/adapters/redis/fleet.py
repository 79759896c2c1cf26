"""Reads from Redis which workers live and which of their models can be called; it asks nobody on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.adapters.pace import wait_ms
from orchestrator.adapters.redis.measured import measured
from registry.schema import Card

log = logging.getLogger(__name__)

UNACKED = "unacked"  # kombu's hash: delivery tag → [message, exchange, routing key], one entry a message in work
INDEX = "pennyroute:workers"  # sorted set: worker id → unix seconds of its last announcement
ANNOUNCED_WITHIN_S = 10.0  # older: the worker is gone
READ_EVERY_S = 1.0
STALE_AFTER_S = 5.0  # Redis unreadable for longer: what we know is worth nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One live worker process as it announced itself. `models`: id → missing, failed, loaded, device, resident_bytes,
    loads, load_ms, inference_ms, queue_wait_ms, batch_items, tokens_per_s, errors. `memory`: resident_bytes of the
    process, budget_bytes, device; empty from a worker of an earlier version."""

    id: str
    queues: tuple[str, ...]
    models: Mapping[str, Mapping[str, Any]]
    pid: int
    since: float
    memory: Mapping[str, Any] = field(default_factory=dict)


class FleetReader:
    """The live workers, read in the background every second. `missing`, `wait_ms` and `queues` never wait."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(redis_url, socket_timeout=2.0, socket_connect_timeout=2.0)
        self._workers: tuple[Worker, ...] = ()
        self._lengths: Mapping[str, int] = {}
        self._in_work: Mapping[str, int] = {}
        self._waits: dict[str, float] = {}  # as of the last reading, worked out when first asked for
        self._models: Mapping[str, Mapping[str, Any]] | None = None  # likewise
        self._seen: dict[str, float] = {}
        self._read_at: float | None = None
        self._trouble = "Redis has not been read yet; try again in a second"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads once, so that the first request knows, then goes on in the background."""
        await self._read_or_log()
        self._task = asyncio.create_task(self._repeat(), name="fleet reader")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._redis.aclose()

    def missing(self, card: Card) -> str | None:
        """None when a live worker can run this local model now; else one sentence: what is missing and
        what makes it available."""
        if sentence := self._unreadable():
            return sentence
        states = [worker.models[card.id] for worker in self._workers if card.id in worker.models]
        if not states:
            return self._no_worker(card)
        sentences = [state["missing"] for state in states]
        return None if None in sentences else str(sentences[0])

    def wait_ms(self, card: Card) -> float:
        """Until a call of this local model would begin, as of the last reading: see `pace.wait_ms`."""
        if card.id not in self._waits:
            queue = card.queue or ""
            messages = self._lengths.get(queue, 0) + self._in_work.get(queue, 0)
            workers = [worker.models for worker in self._workers if queue in worker.queues]
            self._waits[card.id] = wait_ms(card, workers, messages)
        return self._waits[card.id]

    def queues(self) -> Mapping[str, Mapping[str, Any]]:
        """Per queue that was ever announced: `workers` alive now, `length` (messages waiting), `pids`, and the memory
        of those processes (`resident_bytes` of `budget_bytes`; a process that serves two queues counts in both)."""
        alive: dict[str, list[Worker]] = {queue: [] for queue in self._seen}
        for worker in self._workers:
            for queue in worker.queues:
                alive[queue].append(worker)
        return MappingProxyType(
            {
                queue: {
                    "workers": len(workers),
                    "length": self._lengths.get(queue, 0),
                    "pids": [worker.pid for worker in workers],
                    "resident_bytes": sum(worker.memory.get("resident_bytes", 0) for worker in workers),
                    "budget_bytes": sum(worker.memory.get("budget_bytes", 0) for worker in workers),
                }
                for queue, workers in sorted(alive.items())
            }
        )

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Per model that a live worker announced, as of the last reading: see `measured`."""
        if self._models is None:
            self._models = self._measured()
        return self._models

    def _measured(self) -> Mapping[str, Mapping[str, Any]]:
        states: dict[str, list[Mapping[str, Any]]] = {}
        for worker in self._workers:
            for model, state in worker.models.items():
                states.setdefault(model, []).append(state)
        return MappingProxyType({model: measured(of) for model, of in sorted(states.items())})

    def trouble(self) -> str | None:
        """Why what this reader knows is out of date; None while Redis can be read."""
        return self._unreadable()

    async def read(self) -> None:
        """One reading now. Raises RedisError."""
        now = time.time()
        ids = await self._redis.zrangebyscore(INDEX, now - ANNOUNCED_WITHIN_S, "+inf")
        names = [each.decode("ascii") for each in cast(list[bytes], ids)]
        workers = await self._announced(names)
        for queue in (queue for worker in workers for queue in worker.queues):
            self._seen[queue] = now
        self._lengths, self._in_work = await self._queue_lengths(list(self._seen))
        self._workers = tuple(workers)
        self._waits = {}
        self._models = None
        self._read_at = time.monotonic()

    async def _announced(self, names: Sequence[str]) -> list[Worker]:
        if not names:
            return []
        texts = cast(list[bytes | None], await self._redis.mget([f"pennyroute:worker:{n}" for n in names]))
        return [_worker(name, text) for name, text in zip(names, texts, strict=True) if text]

    async def _queue_lengths(self, queues: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
        """Per queue the messages waiting, and those in work: each worker holds one at most."""
        pipe = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipe.llen(queue)
        pipe.hvals(UNACKED)
        *lengths, held = await pipe.execute()
        return dict(zip(queues, lengths, strict=True)), Counter(map(_queue_of, held))

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S)
            await self._read_or_log()

    async def _read_or_log(self) -> None:
        try:
            await self.read()
        except (RedisError, OSError) as error:
            self._trouble = f"Redis cannot be read ({error}); check REDIS_URL and that it runs"
            log.warning("%s", self._trouble)

    def _unreadable(self) -> str | None:
        if self._read_at is not None and time.monotonic() - self._read_at < STALE_AFTER_S:
            return None
        return self._trouble

    def _no_worker(self, card: Card) -> str:
        if (seen := self._seen.get(card.queue or "")) is None:
            return f"{card.queue} has no worker on this installation yet"
        if any(card.queue in worker.queues for worker in self._workers):
            return f"the {card.queue} worker does not know {card.id}; restart it so that it reads today's cards"
        ago_s = max(0.0, time.time() - seen)
        return f"no {card.queue} worker is running (last seen {ago_s:.0f} s ago); `pennyroute up` restarts it"


def _worker(name: str, text: bytes) -> Worker:
    state = json.loads(text)
    return Worker(
        id=name,
        queues=tuple(state["queues"]),
        models=state["models"],
        pid=state["pid"],
        since=state["since"],
        memory=state.get("memory", {}),
    )


def _queue_of(held: bytes) -> str:
    """The queue that a message in work was taken from; empty where the broker's entry reads otherwise."""
    try:
        return str(json.loads(held)[2])
    except (ValueError, LookupError, TypeError):
        return ""
