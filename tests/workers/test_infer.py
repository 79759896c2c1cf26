"""The task's body on a real Redis: exactly one reply per batch, whatever happened to it before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from redis import Redis

from registry.load import load
from tests.workers import counting
from tests.workers.test_runtime import card
from workers.modality import Machine, Room
from workers.queue.infer import Order, answer
from workers.runtime.running import Runtime
from workers.runtime.watchdog import Watchdog


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    counting.seen = counting.Ledger()
    registry = load().with_cards([card("first")])
    return Runtime(registry, {"sentiment": Room(module="tests.workers.counting")}, Machine(models_dir=tmp_path))


def order(redis: Redis, *texts: str, packed: bytes | None = None, **changes: Any) -> Order:
    """A batch of one text each, its payload stored."""
    items = [{"texts": [text], "query": None, "media": [], "turns": [], "options": {}} for text in texts]
    redis.set("payload", msgpack.packb(items) if packed is None else packed)
    now = time.time()
    facts = {"model": "first", "task": "sentiment", "deadline": now + 30, "sent": now, **changes}
    return Order(batch="b1", reply_to="replies", payload="payload", **facts)


def replies(redis: Redis) -> list[Any]:
    return [msgpack.unpackb(packed) for packed in redis.lrange("replies", 0, -1)]  # type: ignore[union-attr]


def test_a_batch_gets_one_reply_with_a_result_or_error_per_item(redis: Redis, runtime: Runtime) -> None:
    answer(order(redis, "one", "refuse"), runtime, redis)
    (reply,) = replies(redis)
    assert reply["results"] == [
        {"ok": {"results": [3]}},
        {"error": {"code": "invalid_input", "message": "refused as asked"}},
    ]
    assert (reply["batch"], reply["model"]) == ("b1", "first")
    assert set(reply["timings_ms"]) == {"queue_wait", "load", "inference"}


def test_nothing_is_left_in_redis_but_the_reply_and_that_expires(redis: Redis, runtime: Runtime) -> None:
    answer(order(redis, "one"), runtime, redis)
    assert redis.keys("*") == [b"replies"]
    assert redis.ttl("replies") == 600


def test_a_second_delivery_of_an_answered_batch_does_nothing(redis: Redis, runtime: Runtime) -> None:
    message = order(redis, "one")
    answer(message, runtime, redis)
    answer(message, runtime, redis)
    assert len(replies(redis)) == 1
    assert counting.seen.batches == [1]


def test_a_batch_past_its_deadline_is_dropped_without_work(redis: Redis, runtime: Runtime) -> None:
    answer(order(redis, "one", deadline=time.time() - 5), runtime, redis)
    (reply,) = replies(redis)
    assert reply["error"]["code"] == "timeout"
    assert reply["error"]["message"].endswith("before work began; nothing was done")
    assert counting.seen.loads == []


def test_a_batch_that_kills_its_worker_twice_is_given_up(redis: Redis, runtime: Runtime) -> None:
    message = order(redis, "one")
    redis.set("pennyroute:tries:b1", 2)
    answer(message, runtime, redis)
    (reply,) = replies(redis)
    assert reply["error"] == {
        "code": "inference_failed",
        "message": "a worker died 2 times on this batch; it is given up, see the worker's log",
    }
    assert counting.seen.loads == []


def test_a_batch_whose_answer_was_begun_by_a_worker_that_died_is_not_begun_again(
    redis: Redis, runtime: Runtime
) -> None:
    message = order(redis, "one")
    redis.set("pennyroute:said:b1", 1)
    answer(message, runtime, redis)
    (reply,) = replies(redis)
    assert reply["error"] == {
        "code": "inference_failed",
        "message": "a worker died after a part of this answer was streamed; it is not begun again, "
        "send the request again",
    }
    assert counting.seen.loads == []
    assert redis.keys("*") == [b"replies"]


def test_the_last_word_of_a_hung_inference_is_a_timeout_and_the_batch_does_not_come_back(
    redis: Redis, tmp_path: Path
) -> None:
    counting.seen = counting.Ledger()
    ended = threading.Event()
    watchdog = Watchdog(end=ended.set, grace_s=0.1, last_word_s=60.0)
    rooms = {"sentiment": Room(module="tests.workers.counting")}
    registry = load().with_cards([card("first")])
    watched = Runtime(registry, rooms, Machine(models_dir=tmp_path), watchdog=watchdog)
    watched.prewarm(["first"])
    message = order(redis, "hang", deadline=time.time() + 2.0)
    hung = threading.Thread(target=answer, args=(message, watched, redis))
    hung.start()
    assert ended.wait(30)  # here the process ends; in this test the thread that hung goes on below
    (reply,) = replies(redis)
    assert reply["error"]["code"] == "timeout"
    assert reply["error"]["message"].startswith("the inference hung beyond its deadline")
    assert redis.get(message.payload) is None
    counting.seen.go_on.set()
    hung.join()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"packed": b"\xc1"}, "pipeline_error", "API and workers differ in version"),
        ({"packed": msgpack.packb([{"texts": []}])}, "pipeline_error", "API and workers differ in version"),
        ({"packed": msgpack.packb(7)}, "pipeline_error", "API and workers differ in version"),
        ({"task": "sing"}, "invalid_config", "no task 'sing'"),
        ({"model": "nobody"}, "model_not_found", "No model 'nobody' in the registry"),
    ],
)
def test_what_cannot_be_understood_is_answered_with_an_error(
    redis: Redis, runtime: Runtime, changes: dict[str, Any], code: str, words: str
) -> None:
    answer(order(redis, "one", **changes), runtime, redis)
    (reply,) = replies(redis)
    assert reply["error"]["code"] == code
    assert words in reply["error"]["message"]
