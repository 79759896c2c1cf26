"""Postgres and Redis together for the length of a `with`: for tests and demos; restarts nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.process import ProcessSpec, spawn
from orchestrator.adapters.embedded.redis import EmbeddedRedis


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerUrls:
    database_url: str
    redis_url: str


@contextlib.contextmanager
def embedded_servers(
    path: Path, *, postgres_settings: Mapping[str, str] | None = None
) -> Iterator[ServerUrls]:
    """Run both servers on the data folder at `path`; call from a thread that outlives the `with`."""
    with DataFolder.open(path) as folder:
        postgres = EmbeddedPostgres(folder, settings=postgres_settings)
        redis = EmbeddedRedis(folder)
        postgres.prepare()
        redis.prepare()
        with running(postgres.process(), folder.logs), running(redis.process(), folder.logs):
            postgres.wait_ready()
            redis.wait_ready()
            yield ServerUrls(database_url=postgres.url, redis_url=redis.url)


@contextlib.contextmanager
def running(spec: ProcessSpec, logs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one program, unsupervised, for the length of the `with`."""
    process = spawn(spec, logs / f"{spec.name}.log")
    try:
        yield process
    finally:
        stop(process, spec)


def stop(process: subprocess.Popen[bytes], spec: ProcessSpec) -> None:
    """Stop a spawned program and what is left of its process group; returns when it has ended."""
    if process.poll() is None:
        process.send_signal(spec.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(spec.stop_timeout_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
