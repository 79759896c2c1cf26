"""Pieces of streamed answers as they travel: nothing twice, nothing lost unseen; and what a worker pushes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from redis import Redis

from orchestrator.adapters.providers.queue_message import pieces_of, unsaid
from orchestrator.core.errors import CallBroken
from orchestrator.core.types import Reply
from registry.schema import Usage
from workers.queue.exchange import Exchange
from workers.queue.infer import Order

THREE = [[0, "a"], [0, "b"], [1, "c"]]


def test_pieces_that_were_pushed_twice_are_heard_once() -> None:
    assert pieces_of({"at": 4, "say": THREE}, heard=4, items=2) == [(0, "a"), (0, "b"), (1, "c")]
    assert pieces_of({"at": 2, "say": THREE}, heard=4, items=2) == [(1, "c")]
    assert pieces_of({"at": 0, "say": THREE}, heard=4, items=2) == []


def test_pieces_that_are_missing_are_an_error() -> None:
    with pytest.raises(CallBroken, match="2 pieces of the answer were lost on the way"):
        pieces_of({"at": 6, "say": THREE}, heard=4, items=2)


def test_pieces_nobody_can_read_are_an_error() -> None:
    for said in (
        {"say": THREE},
        {"at": 0, "say": [[0]]},
        {"at": "x", "say": THREE},
        {"at": 0, "say": 7},
        {"at": 0, "say": [[2, "x"]]},
    ):
        with pytest.raises(CallBroken, match="API and workers differ in version"):
            pieces_of(said, heard=0, items=2)


@pytest.mark.parametrize(
    ("whole", "said", "rest"),
    [("all of it", "", "all of it"), ("all of it", "all of", " it"), ("all", " all ", ""), ("", "", "")],
)
def test_the_last_piece_is_what_was_not_said_yet(whole: str, said: str, rest: str) -> None:
    assert unsaid(Reply(usage=Usage(), text=whole), said) == rest


def test_another_text_than_was_said_is_an_error() -> None:
    with pytest.raises(CallBroken, match="another text than it had streamed"):
        unsaid(Reply(usage=Usage(), text="all of it"), "nothing")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def exchange(redis: Redis) -> Iterator[Exchange]:
    now = time.time()
    order = Order(batch="b1", model="m", task="generate", reply_to="replies", payload="p", deadline=now + 30, sent=now)
    opened = Exchange(order, redis, 600)
    yield opened
    opened.close()


def pushed(redis: Redis) -> list[Any]:
    packed: Any = redis.lrange("replies", 0, -1)
    return [msgpack.unpackb(each) for each in packed]


def until(holds: Any) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.005)


def test_what_is_said_is_pushed_in_order_with_its_place_and_the_rest_with_the_reply(
    redis: Redis, exchange: Exchange
) -> None:
    for number in range(200):
        exchange.say(number % 2, f"{number} ")
    until(lambda: pushed(redis))
    exchange.close()
    exchange.say(0, "after the last word")
    pipe = redis.pipeline()
    exchange.push_rest(pipe)
    pipe.execute()
    letters = pushed(redis)
    places = [letter["at"] for letter in letters]
    said = [tuple(piece) for letter in letters for piece in letter["say"]]
    assert said == [(number % 2, f"{number} ") for number in range(200)] + [(0, "after the last word")]
    assert places == [sum(len(before["say"]) for before in letters[:index]) for index in range(len(letters))]
    assert redis.get("pennyroute:said:b1") == b"1"
    assert 0 < redis.ttl("replies") <= 600  # type: ignore[operator]


def test_nothing_is_said_or_asked_for_a_short_batch(redis: Redis, exchange: Exchange) -> None:
    assert exchange.stopped(0) is False
    exchange.close()
    assert redis.keys("*") == []


def test_who_left_is_seen_while_a_batch_takes_long(redis: Redis, exchange: Exchange) -> None:
    redis.sadd("pennyroute:stop:b1", 1)
    until(lambda: exchange.stopped(1))
    assert exchange.stopped(0) is False
