"""The ledger on a Postgres that is killed, paused or slow, and with entries it refuses: the books must agree after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.core.errors import LedgerUnavailable, StoreUnavailable
from orchestrator.core.types import Ending, Hold, Inference
from tests.database.server import PostgresServer, running_postgres
from tests.database.sql import count_rows
from tests.samples import attempt, hold, inference, request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("faults") / "data") as server:
        asyncio.run(migrate(server.url))
        yield server


@pytest.fixture
def fresh(server: PostgresServer) -> PostgresServer:
    """The server with empty books."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("alter table ledger_entries disable trigger ledger_entries_append_only")
        connection.execute("truncate ledger_entries, attempts, budget_periods, model_inferences, inference_texts")
        connection.execute("alter table ledger_entries enable trigger ledger_entries_append_only")
    return server


@asynccontextmanager
async def open_ledger(url: str) -> AsyncIterator[PostgresLedger]:
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        ledger = PostgresLedger(url, database)
        await ledger.open()
        stack.push_async_callback(ledger.close)
        yield ledger


def settled(held: Hold, cost: int) -> Inference:
    return inference(attempt(held, Ending.SETTLED, cost=cost))


def books(url: str) -> tuple[int, int]:
    """(spent, reserved); checks that everything agrees."""
    assert count_rows(url, "select count(*) from ledger_disagreements") == 0
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select coalesce(sum(spent_nanousd), 0)::bigint, coalesce(sum(reserved_nanousd), 0)::bigint"
            " from budget_periods"
        ).fetchone()
        assert row is not None
        return row


def states(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("select state, count(*) from attempts group by state").fetchall())


async def until_waiting(url: str) -> None:
    """Until the ledger's transaction waits for a lock that the test holds."""
    query = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and strpos(query, 'ledger_apply_v1') > 0"
    )
    for _ in range(1000):
        if count_rows(url, query):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the ledger never waited")


@pytest.mark.slow
async def test_kill_9_of_postgres_under_load_loses_no_settle_and_leaks_no_hold(fresh: PostgresServer) -> None:
    settles, refused = 0, 0
    enough = asyncio.Event()

    async def caller() -> None:
        nonlocal settles, refused
        rounds = 0
        while rounds < 8:
            held = hold(5_000)
            try:
                await ledger.reserve(held)
            except LedgerUnavailable:
                refused += 1
                await asyncio.sleep(0.1)
                continue
            await ledger.finish(settled(held, 1_000))  # never fails: it waits for the database to come back
            rounds += 1
            settles += 1
            if settles == 200:
                enough.set()

    async def killer() -> None:
        await enough.wait()
        fresh.kill()

    async with open_ledger(fresh.url) as ledger:
        await asyncio.gather(killer(), *(caller() for _ in range(100)))
    assert settles == 800
    assert refused > 0, "the kill met nobody; the test proved nothing"
    assert books(fresh.url) == (800_000, 0)
    found = states(fresh.url)
    assert found.pop("settled") == 800
    assert set(found) <= {"released"}
    assert count_rows(fresh.url, "select count(*) from model_inferences where ending = 'settled'") == 800


@pytest.mark.slow
async def test_a_paused_postgres_refuses_reserves_keeps_settles_and_goes_on_after(fresh: PostgresServer) -> None:
    async with open_ledger(fresh.url) as ledger:
        held = hold(5_000)
        await ledger.reserve(held)
        with fresh.paused():
            settle = asyncio.create_task(ledger.finish(settled(held, 1_000)))
            attempts = [asyncio.create_task(ledger.reserve(hold(7_000))) for _ in range(20)]
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * 20
            assert not settle.done()
        await settle
        await ledger.reserve(hold(3_000))
    # what the paused server had already been sent it does after the pause: none of it stays reserved
    assert books(fresh.url) == (1_000, 3_000)
    assert states(fresh.url).get("reserved") == 1
    assert states(fresh.url).get("settled") == 1


@pytest.mark.slow
async def test_a_paused_postgres_is_told_to_readers_instead_of_letting_them_hang(fresh: PostgresServer) -> None:
    database = Database(fresh.url)
    await database.open()
    assert await database.rows("ledger_disagreements") == []
    with fresh.paused(), pytest.raises(StoreUnavailable, match="the database cannot answer"):
        await database.rows("list_budgets")
    assert [row["name"] for row in await database.rows("list_budgets")] == ["global"]
    await database.close()


async def test_one_refused_reservation_in_a_batch_fails_alone(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        holds = [hold(1_000), hold(2_000), hold(-1), hold(4_000)]
        outcomes = await asyncio.gather(*map(ledger.reserve, holds), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), type(None), LedgerUnavailable, type(None)]
        assert "attempts_hold_nanousd_check" in str(outcomes[2])
    assert books(postgres_url) == (0, 7_000)


async def test_one_refused_row_in_a_batch_of_endings_fails_alone_and_its_hold_lapses(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        holds = [hold(1_000) for _ in range(3)]
        await asyncio.gather(*map(ledger.reserve, holds))
        ended = [settled(held, 10) for held in holds]
        object.__setattr__(ended[1].attempt, "rung", 99_999)  # more than its smallint
        outcomes = await asyncio.gather(*map(ledger.finish, ended), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), LedgerUnavailable, type(None)]
        assert books(postgres_url) == (20, 1_000)
        assert await ledger.sweep(older_than_s=0) == 1
    assert books(postgres_url) == (1_020, 0)


async def test_words_that_postgres_cannot_hold_are_mended_and_not_refused(postgres_url: str) -> None:
    metadata = {"nul": "a\x00b", "big": 10**30, "half": "\ud800", "nan": float("nan"), "list": ({"\x00": 1},)}
    async with open_ledger(postgres_url) as ledger:
        held = hold(1_000, tags=("a\x00b",))
        await ledger.reserve(held)
        asked = request(user="u\x00", metadata=metadata, tags=("t\x00",))
        ended = attempt(held, Ending.SETTLED, cost=10)
        await ledger.finish(inference(ended, request=asked, input_text="in\x00\ud800", output_text="out"))
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select user_ref, tags, metadata::text from model_inferences").fetchone()
        texts = connection.execute("select input, output from inference_texts").fetchone()
    assert row is not None
    assert row[:2] == ("u\ufffd", ["t\ufffd"])
    assert str(10**30) in row[2]
    assert texts == ("in\ufffd?", "out")
    assert books(postgres_url) == (10, 0)


async def test_texts_of_many_megabytes_go_in_several_transactions(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        big = [inference(attempt(None, Ending.SETTLED, cost=0), output_text="x" * 6_000_000) for _ in range(3)]
        await asyncio.gather(*map(ledger.finish, big))
    assert count_rows(postgres_url, "select count(distinct xmin::text) from inference_texts") == 2


async def test_a_reservation_whose_caller_leaves_is_given_back_sent_or_not(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger, await psycopg.AsyncConnection.connect(postgres_url) as other:
        await ledger.reserve(hold(100))
        await other.execute("select from budget_periods for update")
        sent = asyncio.create_task(ledger.reserve(hold(1_000)))
        await until_waiting(postgres_url)
        queued = asyncio.create_task(ledger.reserve(hold(2_000)))
        await asyncio.sleep(0)
        sent.cancel()
        queued.cancel()
        outcomes = await asyncio.gather(sent, queued, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        await other.rollback()
    assert books(postgres_url) == (0, 100)
    assert states(postgres_url) == {"reserved": 1, "released": 1}


async def test_a_settle_whose_caller_leaves_is_recorded_all_the_same(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger, await psycopg.AsyncConnection.connect(postgres_url) as other:
        held = hold(1_000)
        await ledger.reserve(held)
        await other.execute("select from budget_periods for update")
        settle = asyncio.create_task(ledger.finish(settled(held, 10)))
        await until_waiting(postgres_url)
        settle.cancel()
        await asyncio.gather(settle, return_exceptions=True)
        await other.rollback()
    assert books(postgres_url) == (10, 0)


async def test_closing_commits_what_is_on_its_way_and_what_waits(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        async with await psycopg.AsyncConnection.connect(postgres_url) as other:
            held, late = hold(1_000), inference(attempt(None, Ending.SETTLED, cost=0))
            await ledger.reserve(held)
            await other.execute("select from budget_periods for update")
            settle = asyncio.create_task(ledger.finish(settled(held, 10)))
            await until_waiting(postgres_url)
            local = asyncio.create_task(ledger.finish(late))
            await asyncio.sleep(0)
            closing = asyncio.create_task(ledger.close())
            await asyncio.sleep(0.05)
            await other.rollback()
            await closing
        await asyncio.gather(settle, local)
        with pytest.raises(LedgerUnavailable, match="the ledger is closed"):
            await ledger.reserve(hold(1))
    assert books(postgres_url) == (10, 0)
    assert count_rows(postgres_url, "select count(*) from model_inferences") == 2


async def test_nobody_waits_for_ever_when_the_ledger_closes_without_its_database(postgres_url: str) -> None:
    ledger = PostgresLedger("postgresql://nobody@127.0.0.1:9/none", Database(postgres_url))
    await ledger.open()
    local = asyncio.create_task(ledger.finish(inference(attempt(None, Ending.SETTLED, cost=0))))
    with pytest.raises(LedgerUnavailable, match="cannot be reached, so no paid call is made"):
        await ledger.reserve(hold(1_000))
    await ledger.close()
    with pytest.raises(LedgerUnavailable, match="this process stopped before the ledger answered"):
        await local


async def test_a_connection_closed_while_idle_is_replaced_before_money_depends_on_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.postgres.group_commit._CHECK_IDLE_AFTER_S", 0.0)
    async with open_ledger(postgres_url) as ledger:
        await ledger.reserve(hold(1_000))
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where pid <> pg_backend_pid() and datname = current_database()"
            )
        await ledger.reserve(hold(2_000))
        assert [budget.reserved_nanousd for budget in await ledger.budgets()] == [3_000]
