"""Real servers for tests: one Postgres and one Redis per session, one fresh database per test; no mocks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from psycopg import sql

from orchestrator.adapters.embedded.servers import ServerUrls, embedded_servers
from orchestrator.adapters.postgres.migrate import default_folder, migrate

TEMPLATE = "migrated_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUrls]:
    """Both servers on a throw-away data folder; fsync is off, since nothing here outlives the session."""
    path = tmp_path_factory.mktemp("data-folder") / "data"
    unsafe = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
    with embedded_servers(path, postgres_settings=unsafe) as urls:
        yield urls


def with_database(database_url: str, database: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{database}"))


def _admin(database_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(with_database(database_url, "postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def postgres_template(servers: ServerUrls) -> str:
    """Name of a database with every migration and the seed applied; copied, never used."""
    _admin(servers.database_url, sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    asyncio.run(migrate(with_database(servers.database_url, TEMPLATE), default_folder()))
    return TEMPLATE


def _database(servers: ServerUrls, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    create = sql.SQL("create database {} template {}")
    _admin(servers.database_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    yield with_database(servers.database_url, name)
    _admin(servers.database_url, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_url(servers: ServerUrls, postgres_template: str) -> Iterator[str]:
    """URL of a fresh, migrated, seeded database, dropped after the test (open connections are cut)."""
    yield from _database(servers, postgres_template)


@pytest.fixture
def empty_postgres_url(servers: ServerUrls) -> Iterator[str]:
    """URL of a fresh database with nothing in it (pgvector can be created)."""
    yield from _database(servers, "template0")


@pytest.fixture
def redis_url(servers: ServerUrls) -> str:
    """URL of the session's Redis, emptied before the test."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url
