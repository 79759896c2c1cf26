"""The shape of the migrated database: what rows.py relies on, partitions, retention, the append-only ledger."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from orchestrator.adapters.postgres.rows import inference_row
from orchestrator.core.types import Ending
from tests.database.sql import Connection, apply, connections, every, one, until_blocked
from tests.samples import attempt, hold, inference


async def log_at(connection: Connection, moment: str) -> None:
    """The row of a local attempt of that moment."""
    ended = inference(attempt(None, Ending.SETTLED, cost=0), created_at=datetime.fromisoformat(moment))
    await one(connection, "select ledger_apply_v1('[]', %s, '[]')", Jsonb([inference_row(ended, paid=False)]))


async def lies_in(connection: Connection, moment: str) -> list[str]:
    query: LiteralString = "select tableoid::regclass::text from model_inferences where created_at = %s"
    return [name for (name,) in await every(connection, query, moment)]


async def test_a_row_of_the_log_names_every_column(postgres_url: str) -> None:
    """A key that is missing would be written as null and not as the column's default."""
    async with connections(postgres_url, 1) as (connection,):
        columns = await every(
            connection, "select column_name from information_schema.columns where table_name = 'model_inferences'"
        )
    row = inference_row(inference(attempt(None, Ending.SETTLED, cost=0)), paid=False)
    assert set(row) == {name for (name,) in columns} | {"paid", "input", "output"}


async def test_this_month_and_the_next_have_partitions_from_the_start(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        assert await every(connection, "select ensure_partitions_v1(now())") == []
        assert await every(connection, "select ensure_partitions_v1(now() + interval '1 month')") == []
        await log_at(connection, datetime.now().astimezone().isoformat())
        found = await every(
            connection, "select tableoid::regclass::text = 'model_inferences_default' from model_inferences"
        )
        assert found == [(False,)]


async def test_a_month_gets_its_partition_once_and_its_rows_lie_there(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        make: LiteralString = "select ensure_partitions_v1('2031-12-31T23:59:59Z')"
        assert await every(connection, make) == [("model_inferences_2031_12",), ("inference_texts_2031_12",)]
        assert await every(connection, make) == []
        await log_at(connection, "2031-12-01T00:00:00+00:00")
        await log_at(connection, "2032-01-01T00:00:00+00:00")
        assert await lies_in(connection, "2031-12-01T00:00:00Z") == ["model_inferences_2031_12"]
        assert await lies_in(connection, "2032-01-01T00:00:00Z") == ["model_inferences_default"]
        indexed = await one(connection, "select count(*) from pg_indexes where tablename = 'model_inferences_2031_12'")
        assert indexed == (3,)
        constraint: LiteralString = "update model_inferences set ending = 'nonsense'"
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(constraint)


async def test_a_month_whose_rows_lie_in_the_default_partition_stays_there_and_the_next_is_made(
    postgres_url: str,
) -> None:
    async with connections(postgres_url, 1) as (connection,):
        await log_at(connection, "2031-05-05T00:00:00+00:00")
        assert await every(connection, "select ensure_partitions_v1('2031-05-01Z')") == []
        assert await lies_in(connection, "2031-05-05T00:00:00Z") == ["model_inferences_default"]
        assert len(await every(connection, "select ensure_partitions_v1('2031-06-01Z')")) == 2


async def test_a_long_reader_delays_the_next_partition_and_never_the_ledger(postgres_url: str) -> None:
    async with connections(postgres_url, 4) as (reader, maker, process, watcher):
        await reader.execute("select count(*) from model_inferences")
        making = asyncio.create_task(every(maker, "select ensure_partitions_v1('2031-05-01Z')"))
        await until_blocked(watcher, maker)
        held = hold(1_000)
        await apply(process, holds=[held])
        await apply(process, ended=[inference(attempt(held, Ending.SETTLED, cost=10))])
        await process.commit()
        assert not making.done()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await making
        await maker.rollback()
        await reader.rollback()
        assert len(await every(maker, "select ensure_partitions_v1('2031-05-01Z')")) == 2


async def test_old_texts_go_and_their_rows_stay(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        await log_at(connection, "2020-01-01T00:00:00+00:00")
        await log_at(connection, datetime.now().astimezone().isoformat())
        assert await one(connection, "select expire_texts_v1('30 days')") == (1,)
        assert await one(connection, "select count(*) from inference_texts") == (1,)
        assert await one(connection, "select count(*) from model_inferences") == (2,)


@pytest.mark.parametrize("change", ["update ledger_entries set spent_delta_nanousd = 0", "truncate ledger_entries"])
async def test_the_ledger_only_grows(postgres_url: str, change: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        await apply(connection, holds=[hold(1_000)])
        with pytest.raises(psycopg.errors.RaiseException, match="append-only: add an adjust entry"):
            await connection.execute(change.encode())


async def test_index_names_of_models_that_look_alike_stay_apart(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        count: LiteralString = "select count(*) from pg_indexes where tablename = 'embeddings'"
        (before,) = await one(connection, count)
        for model in ("org/a-b", "org/a_b", "ORG/A-B", "x" * 80 + "1", "x" * 80 + "2"):
            await connection.execute("select ensure_embedding_index_v2(%s, 384)", (model,))
        assert await one(connection, count) == (before + 5,)


async def test_a_search_by_meaning_uses_the_index_of_its_model_and_size(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        await connection.execute("set enable_seqscan = off")
        await connection.execute("set enable_sort = off")
        plan: LiteralString = (
            "explain select id from embeddings where model_id = 'bge-m3' and dimensions = 1024 and tenant = 'a' "
            "order by embedding::extensions.vector(1024) operator(extensions.<=>) "
            "array_fill(1, array[1024])::extensions.vector limit 3"
        )
        lines = [row[0] for row in await (await connection.execute(plan)).fetchall()]
    assert any("embeddings_hnsw_bge_m3_" in line for line in lines), lines


async def test_one_policy_at_most_is_active(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        insert: LiteralString = (
            "insert into routing_policies (version, name, policy, activated_at) values (%s, 'n', '{}', %s)"
        )
        await connection.execute(insert, ("v1", datetime.now().astimezone()))
        await connection.execute(insert, ("v2", None))
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute("update routing_policies set activated_at = now() where version = 'v2'")
