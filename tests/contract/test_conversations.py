"""One contract for the memory of conversations, twin and Redis; and Redis away, slow or full of something else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis

from orchestrator.adapters.memory_learning import MemoryConversations
from orchestrator.adapters.redis.conversations import RedisConversations
from orchestrator.ports import Conversations

KEY = "5f" * 32


@pytest.fixture(params=["memory", "redis"])
async def conversations(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Conversations]:
    if request.param == "memory":
        yield MemoryConversations()
        return
    kept = RedisConversations(redis_url)
    yield kept
    await kept.close()


@pytest.fixture
async def kept(redis_url: str) -> AsyncIterator[RedisConversations]:
    one = RedisConversations(redis_url)
    yield one
    await one.close()


async def test_the_model_of_the_last_turn_is_known_under_its_key_alone(conversations: Conversations) -> None:
    assert await conversations.last(KEY) is None
    await conversations.remember(KEY, "claude-sonnet")
    assert await conversations.last(KEY) == "claude-sonnet"
    assert await conversations.last("00" * 32) is None


async def test_a_turn_answered_again_belongs_to_the_model_that_answered_it_then(conversations: Conversations) -> None:
    await conversations.remember(KEY, "claude-sonnet")
    await conversations.remember(KEY, "ollama/llama3:8b")
    assert await conversations.last(KEY) == "ollama/llama3:8b"


async def test_a_turn_is_forgotten_a_day_later(redis_url: str) -> None:
    kept = RedisConversations(redis_url)
    await kept.remember(KEY, "vader")
    await kept.close()  # writes what still waits
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(f"pennyroute:conversation:{KEY}") == b"vader"
        left = client.ttl(f"pennyroute:conversation:{KEY}")
    assert isinstance(left, int)
    assert 86_000 < left <= 86_400


async def test_without_redis_nothing_is_known_and_nothing_is_raised() -> None:
    away = RedisConversations("redis://127.0.0.1:1/0")
    await away.remember(KEY, "vader")
    await away.close()  # the write was tried
    assert await away.last(KEY) is None
    await away.close()


async def test_a_redis_that_keeps_still_is_not_waited_for_and_is_asked_again_later(
    kept: RedisConversations, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"pennyroute:conversation:{KEY}", "vader")
        client.execute_command("CLIENT", "PAUSE", 1_000, "ALL")
        assert await kept.last(KEY) is None  # one that waits would find it within the second
        client.ping()  # answered when the pause is over
    assert await kept.last(KEY) == "vader"


async def test_a_key_that_holds_something_else_is_a_missing_hint(kept: RedisConversations, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(f"pennyroute:conversation:{KEY}", "x")
    assert await kept.last(KEY) is None
