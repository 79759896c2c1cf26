"""The body of the task `pennyroute.infer`: payload in, one reply for the whole batch out; no model here.

A task may run twice and may be killed anywhere. The payload is deleted after the reply was pushed, so
a second run finds nothing to do; a batch that keeps killing its worker is given up after MAX_TRIES, and one whose
callers have heard pieces of the answer is not begun again. Where nobody waits any more the payload is gone too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgpack
from redis import Redis, RedisError

from registry.schema import Task
from workers.modality import Batch, Code, Item, Picture, Result, Turn, WorkerError
from workers.queue.exchange import Exchange, said_key, stop_key
from workers.runtime.running import Runtime

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
    packed, tries, said = _fetched(order, redis)
    if packed is None:
        log.info("batch %s is already answered, has expired, or nobody waits for it", order.batch)
        redis.delete(_tries_key(order))
        return
    started = time.time()
    waited_ms = max(0.0, (started - order.sent) * 1e3)
    reply: dict[str, Any] = {"batch": order.batch, "model": order.model}
    exchange = Exchange(order, redis, REPLY_TTL_S)
    timings: Mapping[str, float] = {}
    with closing(exchange):
        try:
            _refuse_again(tries, said=said)
            results, timings = _run(order, packed, waited_ms, runtime, exchange, lambda: _push_stuck(order, redis))
            reply["results"] = [_packed(result) for result in results]
        except WorkerError as error:
            reply["error"] = _error(error)
        except RedisError:
            raise
        except Exception as error:  # a bug of ours: the callers are told all the same, the message is done
            log.exception("batch %s cannot be run", order.batch)
            reply["error"] = _error(WorkerError(Code.PIPELINE_ERROR, f"the worker failed: {error!r}; see its log"))
    reply["timings_ms"] = {"queue_wait": waited_ms, **timings}
    _push(order, reply, redis, exchange)


def _fetched(order: Order, redis: Redis) -> tuple[bytes | None, int, bool]:
    """The payload, how often this batch was begun, this time included, and whether pieces of its answer were said."""
    pipe = redis.pipeline(transaction=False)
    pipe.get(order.payload)
    pipe.incr(_tries_key(order))
    pipe.expire(_tries_key(order), TRIES_TTL_S)
    pipe.exists(said_key(order.batch))
    packed, tries, _, said = pipe.execute()
    return packed, tries, bool(said)


def _run(
    order: Order,
    packed: bytes,
    waited_ms: float,
    runtime: Runtime,
    exchange: Exchange,
    on_stuck: Callable[[], None],
) -> tuple[Sequence[Result | WorkerError], Mapping[str, float]]:
    left_s = order.deadline - time.time()
    if left_s <= 0:
        raise WorkerError(Code.TIMEOUT, f"the deadline passed {-left_s:.1f} s before work began; nothing was done")
    batch = Batch(
        task=_task(order),
        items=_items(packed),
        deadline=time.monotonic() + left_s,
        say=exchange.say,
        stopped=exchange.stopped,
    )
    return runtime.run(order.model, batch, waited_ms=waited_ms, on_stuck=on_stuck)


def _refuse_again(tries: int, *, said: bool) -> None:
    if tries > MAX_TRIES:
        raise WorkerError(
            Code.INFERENCE_FAILED,
            f"a worker died {MAX_TRIES} times on this batch; it is given up, see the worker's log",
        )
    if said:
        raise WorkerError(
            Code.INFERENCE_FAILED,
            "a worker died after a part of this answer was streamed; it is not begun again, send the request again",
        )


def _push_stuck(order: Order, redis: Redis) -> None:
    """The last word of a process that ends because its inference hangs: the batch does not come back."""
    error = WorkerError(Code.TIMEOUT, "the inference hung beyond its deadline and its worker was ended; see its log")
    _push(order, {"batch": order.batch, "model": order.model, "error": _error(error), "timings_ms": {}}, redis)


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


def _push(order: Order, reply: Mapping[str, Any], redis: Redis, exchange: Exchange | None = None) -> None:
    pipe = redis.pipeline(transaction=True)
    if exchange is not None:
        exchange.push_rest(pipe)
    pipe.rpush(order.reply_to, msgpack.packb(reply))
    pipe.expire(order.reply_to, REPLY_TTL_S)
    pipe.delete(order.payload, _tries_key(order), said_key(order.batch), stop_key(order.batch))
    pipe.execute()


def _tries_key(order: Order) -> str:
    return f"pennyroute:tries:{order.batch}"
