"""Calls the ledger's SQL as one process would, step by step, so that a test can hold a transaction open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from orchestrator.adapters.postgres.rows import ending_row, hold_row, inference_row
from orchestrator.core.types import Hold, Inference

Connection = AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[Connection]]:
    """Each with transactions of its own making (not autocommit)."""
    async with AsyncExitStack() as stack:
        opened = [await AsyncConnection.connect(url) for _ in range(count)]
        yield [await stack.enter_async_context(connection) for connection in opened]


async def apply(
    connection: Connection,
    *,
    holds: Sequence[Hold] = (),
    ended: Sequence[Inference] = (),
    in_doubt: Sequence[Hold] = (),
) -> Any:
    """`ledger_apply_v1`; returns the refusals. The transaction stays open."""
    endings = [ending_row(inference.attempt) for inference in ended]
    endings += [{**hold_row(hold), "ending": "released", "cost_nanousd": 0, "in_doubt": True} for hold in in_doubt]
    rows = [inference_row(inference, paid=True) for inference in ended]
    found = await one(
        connection,
        "select ledger_apply_v1(%s, %s, %s)",
        Jsonb(endings),
        Jsonb(rows),
        Jsonb([hold_row(hold) for hold in holds]),
    )
    return found[0]


async def one(connection: Connection, query: LiteralString, *parameters: Any) -> tuple[Any, ...]:
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return row


async def every(connection: Connection, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, parameters)).fetchall()


async def books(connection: Connection) -> list[tuple[int, int]]:
    """(spent, reserved) of each period of the only budget, oldest first; checks that everything agrees."""
    assert await every(connection, "select subject, finding from ledger_disagreements") == []
    return [
        (spent, reserved)
        for spent, reserved in await every(
            connection, "select spent_nanousd, reserved_nanousd from budget_periods order by starts_at"
        )
    ]


async def until_blocked(watcher: Connection, blocked: Connection) -> None:
    """Until the server says that `blocked` waits for a lock."""
    query: LiteralString = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    for _ in range(1000):
        if (await one(watcher, query, blocked.info.backend_pid))[0]:
            await watcher.rollback()
            return
        await watcher.rollback()  # the view is a snapshot of the transaction
        await asyncio.sleep(0.005)
    raise AssertionError("it never waited for a lock")


def count_rows(url: str, query: LiteralString, *parameters: Any) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0])
