"""Answers of local models that are cut half-way: workers killed or hung in mid-sentence, on real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis as blocking

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.errors import CallBroken, InferenceFailed
from tests.contract.queue_talks import diary, heard, talk, talking_worker, until_noted
from tests.contract.talking_worker import registry

pytestmark = pytest.mark.slow


@pytest.fixture
async def bare_provider(redis_url: str) -> AsyncIterator[LocalQueueProvider]:
    """On an emptied Redis without any worker."""
    opened = LocalQueueProvider(redis_url, registry())
    yield opened
    await opened.close()


async def test_a_stream_whose_worker_was_killed_half_way_ends_and_is_not_begun_again(
    redis_url: str, tmp_path: Path, bare_provider: LocalQueueProvider
) -> None:
    """The message comes back after the visibility timeout; by then the caller has read three words."""
    with talking_worker(redis_url, tmp_path, 3) as first:
        async with bare_provider.stream(talk(pieces=9, pause_s=0.1, die_at=3)) as deltas:
            words = [(await anext(deltas)).text for _ in range(3)]
            await asyncio.to_thread(first.wait, 20)
            again = "died after a part of this answer was streamed; it is not begun again"
            with talking_worker(redis_url, tmp_path, 3), pytest.raises(InferenceFailed, match=again):
                await anext(deltas)
    assert words == ["word0 ", "word1 ", "word2 "]
    assert diary(tmp_path) == ["batch of 1"]


async def test_a_stream_that_falls_silent_ends_with_the_calls_time(
    redis_url: str, tmp_path: Path, bare_provider: LocalQueueProvider
) -> None:
    silent = r"talker fell silent after [123] pieces and did not end within 1\.5 s"
    with talking_worker(redis_url, tmp_path), pytest.raises(CallBroken, match=silent):
        await heard(bare_provider, talk(pieces=9, pause_s=0.05, die_at=3, timeout_s=1.5))


async def test_a_worker_told_to_stop_finishes_what_it_runs_and_takes_its_announcement_back(
    redis_url: str, tmp_path: Path, bare_provider: LocalQueueProvider
) -> None:
    with talking_worker(redis_url, tmp_path) as worker:
        waiting = asyncio.create_task(bare_provider.complete(talk(pieces=40, pause_s=0.05)))
        await until_noted(tmp_path, "batch of 1")
        worker.terminate()
        assert len(str((await waiting).text).split()) == 40
        assert await asyncio.to_thread(worker.wait, 20) == 0
    with blocking.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("pennyroute:worker:*")) == []
        assert client.hlen("unacked") == 0
