"""One contract for every ledger: the memory twin and Postgres keep the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from orchestrator.adapters.memory import MemoryLedger
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.core.errors import BudgetExceeded
from orchestrator.core.types import Caller, Ending
from orchestrator.ports import Ledger
from tests.samples import USD, attempt, hold, inference


@pytest.fixture(params=["memory", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for the twin. Synchronous, because the database fixtures start their own event loop."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
async def ledger(database_url: str | None) -> AsyncIterator[Ledger]:
    if database_url is None:
        yield MemoryLedger({"global": 200 * USD})
        return
    database = Database(database_url)
    await database.open()
    ledger = PostgresLedger(database_url, database)
    await ledger.open()
    yield ledger
    await ledger.close()
    await database.close()


async def spent_and_reserved(ledger: Ledger) -> tuple[int, int]:
    (budget,) = await ledger.budgets()
    return budget.spent_nanousd, budget.reserved_nanousd


async def test_the_default_budget_is_two_hundred_dollars_a_month(ledger: Ledger) -> None:
    (budget,) = await ledger.budgets()
    assert (budget.name, budget.window, budget.limit_nanousd) == ("global", "month", 200_000_000_000)


async def test_a_settled_attempt_moves_its_hold_to_its_cost(ledger: Ledger) -> None:
    held = hold(5_000)
    await ledger.reserve(held)
    assert await spent_and_reserved(ledger) == (0, 5_000)
    await ledger.finish(inference(attempt(held, Ending.SETTLED, cost=1_234)))
    assert await spent_and_reserved(ledger) == (1_234, 0)


async def test_a_released_attempt_gives_its_hold_back(ledger: Ledger) -> None:
    held = hold(5_000)
    await ledger.reserve(held)
    await ledger.finish(inference(attempt(held, Ending.RELEASED, cost=0)))
    assert await spent_and_reserved(ledger) == (0, 0)


async def test_a_lapsed_attempt_counts_its_whole_hold_as_spent(ledger: Ledger) -> None:
    held = hold(5_000)
    await ledger.reserve(held)
    await ledger.finish(inference(attempt(held, Ending.LAPSED, cost=5_000)))
    assert await spent_and_reserved(ledger) == (5_000, 0)


async def test_a_lapse_is_corrected_when_the_cost_becomes_known(ledger: Ledger) -> None:
    held = hold(5_000)
    await ledger.reserve(held)
    assert await ledger.sweep(older_than_s=0) == 1
    await ledger.finish(inference(attempt(held, Ending.SETTLED, cost=1_000)))
    assert await spent_and_reserved(ledger) == (1_000, 0)


async def test_finishing_twice_changes_nothing(ledger: Ledger) -> None:
    held = hold(5_000)
    await ledger.reserve(held)
    settled = inference(attempt(held, Ending.SETTLED, cost=1_000))
    await ledger.finish(settled)
    await ledger.finish(settled)
    await ledger.finish(replace(settled, attempt=replace(settled.attempt, cost_nanousd=9_999)))
    assert await spent_and_reserved(ledger) == (1_000, 0)


async def test_a_hold_that_does_not_fit_is_refused_and_names_the_budget(ledger: Ledger) -> None:
    await ledger.set_budget("global", 10_000)
    await ledger.reserve(hold(6_000))
    with pytest.raises(BudgetExceeded, match="budget 'global' has") as refused:
        await ledger.reserve(hold(4_001))
    assert refused.value.details["limit_nanousd"] == 10_000
    assert refused.value.details["used_nanousd"] == 6_000
    assert refused.value.details["asked_nanousd"] == 4_001
    assert refused.value.details["resets_at"] is not None
    await ledger.reserve(hold(4_000))
    assert await spent_and_reserved(ledger) == (0, 10_000)


async def test_two_hundred_at_once_on_a_budget_for_ten_grant_exactly_ten(ledger: Ledger) -> None:
    await ledger.set_budget("global", 10_000)
    outcomes = await asyncio.gather(*(ledger.reserve(hold(1_000)) for _ in range(200)), return_exceptions=True)
    assert outcomes.count(None) == 10
    assert sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes) == 190
    assert await spent_and_reserved(ledger) == (0, 10_000)


async def test_a_small_hold_behind_a_refused_large_one_still_fits(ledger: Ledger) -> None:
    await ledger.set_budget("global", 10_000)
    outcomes = await asyncio.gather(
        ledger.reserve(hold(8_000)), ledger.reserve(hold(8_000)), ledger.reserve(hold(2_000)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), BudgetExceeded, type(None)]


async def test_money_freed_is_usable_at_once(ledger: Ledger) -> None:
    await ledger.set_budget("global", 1_000)
    for _ in range(5):
        held = hold(1_000)
        await ledger.reserve(held)
        await ledger.finish(inference(attempt(held, Ending.RELEASED, cost=0)))
    assert await spent_and_reserved(ledger) == (0, 0)


async def test_local_attempts_need_no_reservation_and_leave_a_row(ledger: Ledger) -> None:
    await ledger.finish(inference(attempt(None, Ending.SETTLED, cost=0)))
    assert await spent_and_reserved(ledger) == (0, 0)


async def test_two_processes_cannot_overrun_one_budget(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    ledgers = [PostgresLedger(postgres_url, database) for _ in range(4)]
    for one in ledgers:
        await one.open()
    await ledgers[0].set_budget("global", 10_000)
    tries = [ledgers[n % 4].reserve(hold(1_000)) for n in range(400)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert outcomes.count(None) == 10
    for one in ledgers:
        await one.close()
    await database.close()


async def test_the_books_agree_after_a_mixed_run(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    ledger = PostgresLedger(postgres_url, database)
    await ledger.open()

    async def one(n: int) -> None:
        held = hold(1_000 + n)
        await ledger.reserve(held)
        ending = (Ending.SETTLED, Ending.RELEASED, Ending.LAPSED)[n % 3]
        cost = {Ending.SETTLED: 500, Ending.RELEASED: 0, Ending.LAPSED: held.amount_nanousd}[ending]
        await ledger.finish(inference(attempt(held, ending, cost=cost)))

    await asyncio.gather(*(one(n) for n in range(90)))
    assert await database.rows("ledger_disagreements") == []
    # 30 settled at 500 and 30 lapsed at 1,000 + n for n = 2, 5, … 89
    assert await spent_and_reserved(ledger) == (30 * 500 + 30 * 1_000 + sum(range(2, 90, 3)), 0)
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            await connection.execute("delete from ledger_entries")
    await ledger.close()
    await database.close()


async def test_the_tightest_budget_of_a_caller_is_told_for_planning(ledger: Ledger) -> None:
    await ledger.set_budget("global", 5_000)
    await ledger.set_budget("acme", 700)
    await ledger.set_budget("other", 1)
    mine = await ledger.tightest(Caller(tenant="acme"))
    theirs = await ledger.tightest(Caller(tenant="somebody"))
    assert mine is not None
    assert theirs is not None
    assert (mine.name, mine.remaining_nanousd) == ("acme", 700)
    assert (theirs.name, theirs.remaining_nanousd) == ("global", 5_000)


async def test_what_another_process_changed_is_seen_when_it_is_asked_for_now(
    ledger: Ledger, database_url: str | None
) -> None:
    await ledger.set_budget("global", 1)
    assert (await ledger.tightest(Caller())) is not None
    if database_url is None:
        await ledger.set_budget("global", 900)
    else:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            await other.execute("update budgets set limit_nanousd = 900 where name = 'global'")
    seen = await ledger.tightest(Caller(), now=True)
    assert seen is not None
    assert seen.limit_nanousd == 900
