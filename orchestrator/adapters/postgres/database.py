"""The connection pool and the named queries. Library errors become ours here; no rule, no retry."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import resources
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from orchestrator.core.errors import ConfigError, StoreUnavailable

# A transaction pooler hands each transaction another server session, where a prepared statement is not known.
CONNECTION_ARGUMENTS: Mapping[str, Any] = {"autocommit": True, "prepare_threshold": None, "row_factory": dict_row}
# A request that waits for these is told that the database cannot answer; upkeep and reports may take their time.
_QUERY_TIMEOUT_S, _LONG_QUERY_TIMEOUT_S, _CHECK_TIMEOUT_S = 5.0, 300.0, 2.0
_LONG_QUERIES = frozenset(
    {"sweep_ledger", "ensure_partitions", "expire_texts", "inference_stats", "ledger_disagreements", "labels_of_class"}
)
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read_queries(text: str) -> dict[str, str]:
    """`-- name: word` headers to SQL."""
    parts = _NAME.split(text)[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


QUERIES = read_queries(resources.files(__package__).joinpath("queries.sql").read_text("utf-8"))


class Run(Protocol):
    """Runs a named query inside a transaction that is open."""

    async def __call__(self, name: str, /, **parameters: Any) -> Sequence[Mapping[str, Any]]: ...


class Database:
    """A small pool; each query runs in its own transaction."""

    def __init__(self, url: str, *, max_size: int = 4) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_size,
            open=False,
            timeout=_QUERY_TIMEOUT_S,
            kwargs=dict(CONNECTION_ARGUMENTS),
            reconnect_timeout=1.0,  # then the next request tries anew, at once: no growing pauses after a restart
            check=_check,  # after a restart of the database the pool holds dead connections: nobody should meet one
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def rows(self, name: str, /, **parameters: Any) -> Sequence[Mapping[str, Any]]:
        """Runs the named query. Raises StoreUnavailable when the database cannot answer in time."""
        limit_s = _LONG_QUERY_TIMEOUT_S if name in _LONG_QUERIES else _QUERY_TIMEOUT_S
        with store_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, limit_s):
                    cursor = await connection.execute(QUERIES[name], parameters)
                    return await cursor.fetchall() if cursor.description else []

    async def search_rows(self, name: str, /, **parameters: Any) -> Sequence[Mapping[str, Any]]:
        """A vector search that keeps scanning its index until enough rows pass the other conditions."""
        with store_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, _QUERY_TIMEOUT_S):
                    async with connection.transaction():
                        await connection.execute("set local hnsw.iterative_scan = strict_order")
                        cursor = await connection.execute(QUERIES[name], parameters)
                        return await cursor.fetchall()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Run]:
        """Named queries that take effect together or not at all; an error rolls them back. Raises StoreUnavailable."""
        with store_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, _QUERY_TIMEOUT_S):
                    async with connection.transaction():

                        async def run(name: str, /, **parameters: Any) -> Sequence[Mapping[str, Any]]:
                            cursor = await connection.execute(QUERIES[name], parameters)
                            return await cursor.fetchall() if cursor.description else []

                        yield run

    async def row(self, name: str, /, **parameters: Any) -> Mapping[str, Any] | None:
        rows = await self.rows(name, **parameters)
        return rows[0] if rows else None


@contextmanager
def time_limit(connection: AsyncConnection[Any], limit_s: float) -> Iterator[None]:
    """Past the limit whatever runs on this connection fails with an OperationalError.

    Not by cancelling: psycopg would first ask a server that does not answer to cancel, for ten seconds more.
    """
    watch = asyncio.get_running_loop().call_later(limit_s, cut, connection)
    try:
        yield
    finally:
        watch.cancel()


def cut(connection: AsyncConnection[Any]) -> None:
    """Shuts the connection's socket; who waits on it learns at once. Safe on one that is closed already."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


async def _check(connection: AsyncConnection[Any]) -> None:
    with time_limit(connection, _CHECK_TIMEOUT_S):
        await connection.execute("select 1")


async def reach(url: str) -> None:
    """Connects once and leaves. Raises at once, in the server's words: ConfigError for what is no URL (which is
    not repeated: it may hold a password), else StoreUnavailable. A pool only tells that its time was up."""
    with store_errors():
        try:
            connection = await AsyncConnection.connect(url, connect_timeout=5, **CONNECTION_ARGUMENTS)
        except psycopg.ProgrammingError as error:
            raise ConfigError(
                "the database's address is no Postgres URL. Write postgresql://user:password@host:port/name."
            ) from error
        await connection.close()


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise StoreUnavailable(
            f"the database lacks our tables ({error.diag.message_primary}). Run `pennyroute db push`, then try again."
        ) from error
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise StoreUnavailable(
            f"the database cannot answer ({' '.join(str(error).split()) or type(error).__name__}). "
            "Check DATABASE_URL and `pennyroute doctor`, then try again."
        ) from error
