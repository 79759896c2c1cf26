"""Postgres and Redis together for the length of a `with`: for tests and demos; applies no migration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.redis import EmbeddedRedis
from orchestrator.adapters.embedded.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerUrls:
    database_url: str
    redis_url: str


@contextlib.contextmanager
def embedded_servers(path: Path, *, postgres_settings: Mapping[str, str] | None = None) -> Iterator[ServerUrls]:
    """Run both servers, supervised, on the data folder at `path`; they end with the `with` or the process."""
    with DataFolder.open(path) as folder:
        postgres = EmbeddedPostgres(folder, settings=postgres_settings)
        redis = EmbeddedRedis(folder)
        postgres.prepare()
        redis.prepare()
        with Supervisor(logs=folder.logs, run=folder.run, held=(folder.lock_fd,)) as supervisor:
            supervisor.start(postgres.process(), redis.process())
            yield ServerUrls(database_url=postgres.url, redis_url=redis.url)
