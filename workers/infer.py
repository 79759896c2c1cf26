"""The body of the task `pennyroute.infer`: payload in, one reply for the whole batch out; no model here.

A task may run twice and may be killed anywhere. The payload is deleted after the reply was pushed, so
a second run finds nothing to do; a batch that keeps killing its worker is given up after MAX_TRIES.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from redis import Redis

from registry.schema import Task
from workers.modality import Batch, Code, Item, Picture, Result, Turn, WorkerError
from workers.runtime import Runtime

log = logging.getLogger(__name__)

REPLY_TTL_S = 600  # a reply nobody fetches: its API process is gone
MAX_TRIES = 2
TRIES_TTL_S = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The message of one batch. `sent` and `deadline` are unix seconds on the sender's clock."""

    batch: str
    model: str
    task: str
    reply_to: str
    payload: str
    deadline: float
    sent: float


def answer(order: Order, runtime: Runtime, redis: Redis) -> None:
    """Runs the batch and pushes exactly one reply, unless another run has already done so.

    Raises only redis errors: without Redis nobody can be answered, and the task comes back.
    """
    packed: Any = redis.get(order.payload)
    if packed is None:
        log.info("batch %s is already answered or has expired", order.batch)
        return
    started = time.time()
    reply: dict[str, Any] = {"batch": order.batch, "model": order.model}
    try:
        results, timings = _run(order, packed, runtime, redis)
        reply["results"] = [_packed(result) for result in results]
    except WorkerError as error:
        timings = {}
        reply["error"] = _error(error)
    reply["timings_ms"] = {"queue_wait": max(0.0, (started - order.sent) * 1e3), **timings}
    _push(order, reply, redis)


def _run(
    order: Order, packed: bytes, runtime: Runtime, redis: Redis
) -> tuple[Sequence[Result | WorkerError], Mapping[str, float]]:
    left_s = order.deadline - time.time()
    if left_s <= 0:
        raise WorkerError(Code.TIMEOUT, f"the deadline passed {-left_s:.1f} s before work began; nothing was done")
    _refuse_poison(order, redis)
    batch = Batch(task=_task(order), items=_items(packed), deadline=time.monotonic() + left_s)
    return runtime.run(order.model, batch)


def _refuse_poison(order: Order, redis: Redis) -> None:
    key = f"pennyroute:tries:{order.batch}"
    pipe = redis.pipeline(transaction=False)
    pipe.incr(key)
    pipe.expire(key, TRIES_TTL_S)
    tries = pipe.execute()[0]
    if tries > MAX_TRIES:
        raise WorkerError(
            Code.INFERENCE_FAILED,
            f"a worker died {MAX_TRIES} times on this batch; it is given up, see the worker's log",
        )


def _task(order: Order) -> Task:
    try:
        return Task(order.task)
    except ValueError as error:
        raise WorkerError(Code.INVALID_CONFIG, f"no task {order.task!r}; API and workers differ in version") from error


def _items(packed: bytes) -> tuple[Item, ...]:
    try:
        return tuple(_item(raw) for raw in msgpack.unpackb(packed))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WorkerError(
            Code.PIPELINE_ERROR, f"the batch cannot be read: {error}; API and workers differ in version"
        ) from error


def _item(raw: Mapping[str, Any]) -> Item:
    media = (Picture(content_type=each["content_type"], data=each["data"]) for each in raw["media"])
    return Item(
        texts=tuple(raw["texts"]),
        query=raw["query"],
        media=tuple(media),
        turns=tuple(Turn(role=each["role"], content=each["content"]) for each in raw["turns"]),
        options=raw["options"],
    )


def _packed(result: Result | WorkerError) -> dict[str, Any]:
    return {"error": _error(result)} if isinstance(result, WorkerError) else {"ok": result}


def _error(error: WorkerError) -> dict[str, str]:
    return {"code": error.code.value, "message": error.message}


def _push(order: Order, reply: Mapping[str, Any], redis: Redis) -> None:
    pipe = redis.pipeline(transaction=True)
    pipe.rpush(order.reply_to, msgpack.packb(reply))
    pipe.expire(order.reply_to, REPLY_TTL_S)
    pipe.delete(order.payload, f"pennyroute:tries:{order.batch}")
    pipe.execute()
