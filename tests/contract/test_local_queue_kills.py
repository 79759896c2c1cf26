"""The queue adapter when workers die or stop, on real processes; nobody may be left waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis as blocking

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.adapters.redis.fleet import FleetReader
from orchestrator.core.errors import CallBroken, CallTimedOut
from orchestrator.core.types import Reply
from registry.load import load
from tests.contract.queue_calls import MINILM, call, until
from tests.workers.processes import running_worker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker-data")


@pytest.fixture
async def bare_provider(redis_url: str) -> AsyncIterator[LocalQueueProvider]:
    """On an emptied Redis without any worker."""
    opened = LocalQueueProvider(redis_url, load())
    yield opened
    await opened.close()


async def test_a_process_that_stops_fails_its_callers_instead_of_leaving_them(
    bare_provider: LocalQueueProvider,
) -> None:
    waiting = asyncio.create_task(bare_provider.complete(call("a")))
    await asyncio.sleep(0.05)
    await bare_provider.close()
    with pytest.raises(CallBroken, match="this process is stopping"):
        await waiting


async def _until_held(url: str, messages: int) -> None:
    """Until workers hold so many messages: they are in kombu's hash of what is not acknowledged."""
    with blocking.Redis.from_url(url) as client:
        deadline = time.monotonic() + 20
        while client.hlen("unacked") != messages:
            assert time.monotonic() < deadline, f"{messages} messages were never held"
            await asyncio.sleep(0.02)


async def _with_work(url: str, provider: LocalQueueProvider, texts: int, timeout_s: float) -> asyncio.Task[Reply]:
    """A call that a worker with a loaded model is working on."""
    await provider.complete(call("load the model"))
    await _until_held(url, 0)
    waiting = asyncio.create_task(provider.complete(call(*LONG_WORK[:texts], timeout_s=timeout_s)))
    await _until_held(url, 1)
    await asyncio.sleep(0.2)
    assert not waiting.done()
    return waiting


LONG_WORK = tuple(f"sentence {number} " + "about rivers and trade " * 40 for number in range(150))


async def test_work_of_a_worker_killed_in_mid_inference_is_done_by_the_next(
    redis_url: str, data_dir: Path, bare_provider: LocalQueueProvider
) -> None:
    extra = ("--visibility-timeout-s", "6")
    with running_worker(redis_url, data_dir, ["embeddings"], *extra) as first:
        waiting = await _with_work(redis_url, bare_provider, 150, 60.0)
        first.kill()
        first.wait()
    with running_worker(redis_url, data_dir, ["embeddings"], *extra):
        assert (await waiting).data.shape == (150, 384)


async def test_a_caller_of_a_killed_worker_is_told_when_its_time_is_up(
    redis_url: str, data_dir: Path, bare_provider: LocalQueueProvider
) -> None:
    fleet = FleetReader(redis_url)
    with running_worker(redis_url, data_dir, ["embeddings"]) as worker:
        waiting = await _with_work(redis_url, bare_provider, 150, 2.0)
        await fleet.read()
        worker.kill()
        worker.wait()
        with pytest.raises(CallTimedOut, match="minilm-l6-builtin did not answer within 2 s"):
            await waiting
    await until(fleet, lambda: fleet.missing(load().get(MINILM)) is not None)
    assert "no embeddings worker is running (last seen " in (fleet.missing(load().get(MINILM)) or "")
    await fleet.close()


async def test_api_and_worker_find_back_to_redis_after_every_connection_was_cut(
    redis_url: str, data_dir: Path, bare_provider: LocalQueueProvider
) -> None:
    with running_worker(redis_url, data_dir, ["embeddings"]):
        await bare_provider.complete(call("load the model"))
        for _ in range(2):
            with blocking.Redis.from_url(redis_url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            reply = await bare_provider.complete(call("after the cut", timeout_s=25.0))
            assert reply.data.shape == (1, 384)
