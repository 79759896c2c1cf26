"""Streamed calls of the model that talks as it is told, and workers that run it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.types import Call, Delta, Message
from registry.schema import Task
from tests.contract.talking import Script
from tests.workers.processes import wait_announced


@contextlib.contextmanager
def talking_worker(redis_url: str, data_dir: Path, visibility_timeout_s: int = 60) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.contract.talking_worker", str(data_dir), str(visibility_timeout_s)]
    log = data_dir / f"worker-{time.monotonic_ns()}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env={**os.environ, "REDIS_URL": redis_url}, stdout=output, stderr=output) as process,
    ):
        try:
            wait_announced(redis_url, process, log)
            yield process
        finally:
            process.kill()


def talk(timeout_s: float = 30.0, **script: Any) -> Call:
    return Call(
        attempt_id=uuid.uuid4(),
        model_id="talker",
        api_model="",
        task=Task.GENERATE,
        messages=(Message(role="user", content=Script(**script).prompt()),),
        timeout_s=timeout_s,
    )


async def heard(provider: LocalQueueProvider, asked: Call) -> list[Delta]:
    async with provider.stream(asked) as deltas:
        return [delta async for delta in deltas]


def diary(data_dir: Path) -> list[str]:
    file = data_dir / "models" / "diary"
    return file.read_text().splitlines() if file.exists() else []


async def until_noted(data_dir: Path, line: str, after: int = 0) -> list[str]:
    """What was noted since, once the line is there."""
    deadline = time.monotonic() + 20
    while line not in (lines := diary(data_dir)[after:]):
        assert time.monotonic() < deadline, lines
        await asyncio.sleep(0.02)
    return lines
