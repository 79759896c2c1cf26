"""What a real worker announces of its times, and the wait that a fleet reads off it: cold, loaded, with work ahead."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis as blocking

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.adapters.redis.fleet import FleetReader
from registry.load import load
from tests.contract.queue_calls import MINILM, call, until
from tests.workers.processes import running_worker

CARD = load().get(MINILM)


@pytest.fixture
async def provider(redis_url: str) -> AsyncIterator[LocalQueueProvider]:
    opened = LocalQueueProvider(redis_url, load())
    yield opened
    await opened.close()


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[FleetReader]:
    opened = FleetReader(redis_url)
    yield opened
    await opened.close()


def announced(client: blocking.Redis) -> dict[str, Any]:
    """What the only worker says of MiniLM now."""
    (key,) = client.scan_iter("pennyroute:worker:*")
    text: Any = client.get(key)
    state: dict[str, Any] = json.loads(text)["models"][MINILM]
    return state


async def holds(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "it never held"
        await asyncio.sleep(0.02)


async def test_a_call_waits_for_the_load_at_first_and_later_for_the_messages_before_it(
    redis_url: str, tmp_path: Path, provider: LocalQueueProvider, fleet: FleetReader
) -> None:
    with (
        blocking.Redis.from_url(redis_url) as client,
        running_worker(redis_url, tmp_path, ["embeddings"]) as worker,
    ):
        await fleet.read()
        assert (announced(client)["load_ms"], announced(client)["inference_ms"]) == (None, None)
        assert fleet.wait_ms(CARD) == pytest.approx(1413.35235)  # as estimated: 500 + 91 MB at 100 MB/s

        await provider.complete(call("load the model"))
        await until(fleet, lambda: fleet.wait_ms(CARD) == 0.0)
        measured = announced(client)
        assert measured["load_ms"] > 1
        assert measured["inference_ms"] > 0

        worker.send_signal(signal.SIGSTOP)  # it takes no message, and what it announced stands still
        others = [LocalQueueProvider(redis_url, load()) for _ in range(2)]  # other processes of the API
        waiting = []
        for number, sender in enumerate((provider, *others)):  # the first one goes to who waits already
            waiting.append(asyncio.create_task(sender.complete(call(f"question {number}"))))
            await holds(lambda number=number: client.llen("embeddings") == number)  # type: ignore[misc]
        await fleet.read()
        assert fleet.wait_ms(CARD) == pytest.approx(2 * announced(client)["inference_ms"])

        worker.send_signal(signal.SIGCONT)
        assert [len(reply.data) for reply in await asyncio.gather(*waiting)] == [1, 1, 1]
        await until(fleet, lambda: fleet.wait_ms(CARD) == 0.0)
        for sender in others:
            await sender.close()


async def test_a_message_in_work_counts_for_its_own_queue_and_an_entry_nobody_can_read_for_none(
    redis_url: str, tmp_path: Path, fleet: FleetReader
) -> None:
    with (
        blocking.Redis.from_url(redis_url) as client,
        running_worker(redis_url, tmp_path, ["embeddings", "sentiment"]),
    ):
        entries = {
            "1": json.dumps([{}, "", "sentiment"]),
            "2": json.dumps([{}, "", "sentiment"]),
            "3": json.dumps([{}, "", "upkeep"]),
            "4": "no JSON",
            "5": json.dumps({"routing_key": "sentiment"}),
            "6": json.dumps([]),
        }
        client.hset("unacked", mapping=entries)
        await fleet.read()
        assert fleet.wait_ms(CARD) == pytest.approx(1413.35235)
        vader = load().get("vader")
        # two messages at a second each, for nothing was measured; 0.56 MB of word list still to be loaded
        assert fleet.wait_ms(vader) == pytest.approx(2000 + 500 + 5.5629)
        client.delete("unacked")
