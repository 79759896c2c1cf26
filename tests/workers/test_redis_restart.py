"""A worker whose Redis goes away while it works, and comes back: it must take work again, not only say so."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.redis import EmbeddedRedis
from orchestrator.adapters.embedded.supervisor import Supervisor
from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.errors import CallFailed
from registry.load import load
from tests.contract.queue_calls import call
from tests.contract.test_local_queue_kills import LONG_WORK, _until_held
from tests.workers.processes import running_worker


def _wait_logged(folder: Path, *words: str) -> None:
    deadline = time.monotonic() + 60
    while not any(word in log.read_text() for log in folder.glob("worker-*.log") for word in words):
        assert time.monotonic() < deadline, f"the worker never said any of {words}"
        time.sleep(0.05)


@pytest.mark.slow
async def test_a_worker_that_could_not_acknowledge_takes_work_when_redis_is_back(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        redis = EmbeddedRedis(folder)
        redis.prepare()
        first = Supervisor(logs=folder.logs, run=folder.run)
        with first:
            first.start(redis.process())
            with running_worker(redis.url, tmp_path, ["embeddings"], "--visibility-timeout-s", "6"):
                provider = LocalQueueProvider(redis.url, load())
                await provider.complete(call("load the model"))
                await _until_held(redis.url, 0)
                lost = asyncio.create_task(provider.complete(call(*LONG_WORK, timeout_s=30.0)))
                await _until_held(redis.url, 1)
                await asyncio.to_thread(first.stop)
                # its work is done, its answer and its acknowledgement found no Redis
                await asyncio.to_thread(_wait_logged, tmp_path, "Couldn't ack", "Connection to broker lost")
                with Supervisor(logs=folder.logs, run=folder.run) as second:
                    second.start(redis.process())
                    answered = await provider.complete(call("and now?", timeout_s=30.0))
                    assert answered.data.shape == (1, 384)
                    outcome = (await asyncio.gather(lost, return_exceptions=True))[0]
                    assert isinstance(outcome, CallFailed) or outcome.data.shape == (150, 384)  # type: ignore[union-attr]
                    await provider.close()
