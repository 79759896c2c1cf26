"""The ledger reads rows by their keys: what an attempt costs the database does not grow with the log."""

from __future__ import annotations

import asyncio

import psycopg

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.core.types import Ending
from tests.samples import attempt, hold, inference

# Statistics reach the shared counters at most once a second, with the next transaction.
_STATISTICS_DELAY_S = 1.1
_READ = (
    "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint as tuples"
    " from pg_stat_user_tables where relname ~ '^(attempts|ledger_entries|model_inferences|inference_texts)'"
)


async def test_an_attempt_reads_a_few_rows_however_long_the_log_is(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    ledger = PostgresLedger(postgres_url, database)
    await ledger.open()

    async def pay() -> None:
        held = hold(1_000)
        await ledger.reserve(held)
        await ledger.finish(inference(attempt(held, Ending.SETTLED, cost=10)))

    async def tuples_read() -> int:
        await asyncio.sleep(_STATISTICS_DELAY_S)
        await pay()
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            row = await (await connection.execute(_READ)).fetchone()
        assert row is not None
        return int(row[0])

    await pay()  # its plans are made while every table is empty
    await asyncio.gather(*(pay() for _ in range(3_000)))
    before = await tuples_read()
    for _ in range(20):
        await pay()
    per_attempt = (await tuples_read() - before) / 21
    # finish: the attempt for its lock, its state and its update, its entry twice; the rest are inserts
    assert per_attempt <= 12
    await ledger.close()
    await database.close()
