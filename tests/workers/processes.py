"""Starts real worker processes for tests, and ends exactly those."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis


@contextlib.contextmanager
def running_worker(
    redis_url: str, data_dir: Path, queues: Sequence[str], *extra: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that has announced itself; killed at the end if it still lives."""
    log = (data_dir / f"worker-{time.monotonic_ns()}.log").open("wb")
    command = [
        sys.executable,
        "-m",
        "workers",
        "--queues",
        ",".join(queues),
        "--data-dir",
        str(data_dir),
        *extra,
    ]
    environment = {**os.environ, "REDIS_URL": redis_url}
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            wait_announced(redis_url, process, Path(log.name))
            yield process
        finally:
            process.kill()


def wait_announced(redis_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until this worker has announced itself. Raises AssertionError with its log when it does not."""
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(600):
            texts = [client.get(key) or b"" for key in client.scan_iter("pennyroute:worker:*")]
            if any(f'"pid": {process.pid},'.encode() in text for text in texts):
                return
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise AssertionError(f"the worker did not start; its log:\n{log.read_text()}")
