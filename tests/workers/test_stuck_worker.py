"""A real worker whose inference hangs: its caller is told, the process ends, and what else it held is not lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.errors import CallTimedOut, InferenceFailed
from orchestrator.core.types import Call
from registry.load import load
from registry.schema import Task
from tests.contract.queue_calls import call
from tests.workers.processes import wait_announced
from tests.workers.test_runtime import card
from workers.runtime.watchdog import STUCK_EXIT_CODE

pytestmark = pytest.mark.slow


@contextmanager
def worker(redis_url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "worker.log"
    command = [sys.executable, "-m", "tests.workers.stuck_worker", redis_url, str(folder)]
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            wait_announced(redis_url, process, log)
            yield process
        finally:
            process.kill()


def read(text: str, timeout_s: float, model: str = "first") -> Call:
    return call(text, task=Task.SENTIMENT, model=model, timeout_s=timeout_s)


@pytest.fixture
async def provider(redis_url: str) -> AsyncIterator[LocalQueueProvider]:
    opened = LocalQueueProvider(redis_url, load().with_cards([card("first"), card("second")]))
    yield opened
    await opened.close()


async def test_a_worker_that_hangs_ends_and_its_other_messages_are_answered_by_the_next(
    redis_url: str, tmp_path: Path, provider: LocalQueueProvider
) -> None:
    with worker(redis_url, tmp_path) as hanging:
        # Two models with room for one: from now on this worker holds several messages at once.
        for model in ("first", "second", "first"):
            await provider.complete(read("one", 60.0, model))
        hung = asyncio.create_task(provider.complete(read("hang", 3.0)))
        await asyncio.sleep(0.5)
        calls = [provider.complete(read(text, 120.0, "second")) for text in ("three", "seven!")]
        others = asyncio.gather(*calls)
        with pytest.raises((CallTimedOut, InferenceFailed)):
            await hung
        assert await asyncio.to_thread(hanging.wait, 60) == STUCK_EXIT_CODE
    with worker(redis_url, tmp_path):  # messages would come back by themselves after an hour
        assert [reply.data for reply in await others] == [[5], [6]]
