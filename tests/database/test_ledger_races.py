"""Races of the ledger's SQL, step by step on two connections, in both orders."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import psycopg
import pytest

from orchestrator.core.types import Caller, Ending, Hold, Inference
from tests.database.sql import apply, books, connections, every, one, until_blocked
from tests.samples import attempt, hold, inference


def settled(held: Hold, cost: int) -> Inference:
    return inference(attempt(held, Ending.SETTLED, cost=cost))


async def test_two_who_make_the_same_period_at_once_share_it_and_its_limit(postgres_url: str) -> None:
    async with connections(postgres_url, 3) as (first, second, watcher):
        await watcher.execute("update budgets set limit_nanousd = 10000")
        await watcher.commit()
        assert await apply(first, holds=[hold(6_000)]) == []
        late = asyncio.create_task(apply(second, holds=[hold(6_000)]))
        await until_blocked(watcher, second)
        await first.commit()
        (refusal,) = await late
        await second.commit()
        assert (refusal["budget"], refusal["used_nanousd"], refusal["asked_nanousd"]) == ("global", 6_000, 6_000)
        assert await books(watcher) == [(0, 6_000)]


async def test_the_second_makes_the_period_when_the_first_rolls_back(postgres_url: str) -> None:
    async with connections(postgres_url, 3) as (first, second, watcher):
        await apply(first, holds=[hold(6_000)])
        late = asyncio.create_task(apply(second, holds=[hold(5_000)]))
        await until_blocked(watcher, second)
        await first.rollback()
        assert await late == []
        await second.commit()
        assert await books(watcher) == [(0, 5_000)]


async def test_an_attempt_settles_in_the_period_it_was_reserved_in(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        before, after = hold(5_000), hold(7_000)
        await apply(connection, holds=[before])
        await connection.execute(  # the month turns
            "update budget_periods set starts_at = starts_at - interval '1 month', ends_at = starts_at"
        )
        await apply(connection, holds=[after])
        assert await books(connection) == [(0, 5_000), (0, 7_000)]
        await apply(connection, ended=[settled(before, 1_000)])
        await apply(connection, ended=[settled(after, 2_000)])
        assert await books(connection) == [(1_000, 0), (2_000, 0)]


async def test_a_sweep_leaves_alone_what_is_just_being_settled(postgres_url: str) -> None:
    async with connections(postgres_url, 2) as (settler, sweeper):
        held = hold(5_000)
        await apply(settler, holds=[held])
        await settler.commit()
        await apply(settler, ended=[settled(held, 1_000)])
        assert await one(sweeper, "select ledger_sweep_v1('0 s')") == (0,)
        await sweeper.commit()
        await settler.commit()
        assert await books(sweeper) == [(1_000, 0)]


async def test_a_settle_behind_a_sweep_corrects_the_lapse_and_its_log_says_settled(postgres_url: str) -> None:
    async with connections(postgres_url, 3) as (sweeper, settler, watcher):
        held = hold(5_000)
        await apply(settler, holds=[held])
        await settler.commit()
        assert await one(sweeper, "select ledger_sweep_v1('0 s')") == (1,)
        late = asyncio.create_task(apply(settler, ended=[settled(held, 1_000)]))
        await until_blocked(watcher, settler)
        await sweeper.commit()
        await late
        await settler.commit()
        assert await books(watcher) == [(1_000, 0)]
        entries = await every(
            watcher, "select kind, reserved_delta_nanousd, spent_delta_nanousd from ledger_entries order by id"
        )
        assert entries == [("reserve", 5_000, 0), ("lapse", -5_000, 5_000), ("adjust", 0, -4_000)]
        assert await every(watcher, "select ending, cost_nanousd from model_inferences") == [("settled", 1_000)]


async def test_a_logged_lapse_is_corrected_in_the_log_too(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        held = hold(5_000)
        lapsed = inference(attempt(held, Ending.LAPSED, cost=5_000), output_text=None)
        await apply(connection, holds=[held])
        await apply(connection, ended=[lapsed])
        assert await every(connection, "select ending, cost_nanousd from model_inferences") == [("lapsed", 5_000)]
        known = replace(lapsed, attempt=attempt(held, Ending.SETTLED, cost=900), output_text="4")
        await apply(connection, ended=[known])
        assert await books(connection) == [(900, 0)]
        rows = await every(
            connection, "select i.ending, i.cost_nanousd, t.output from model_inferences i, inference_texts t"
        )
        assert rows == [("settled", 900, "4")]
        await apply(connection, ended=[lapsed])
        assert await books(connection) == [(900, 0)]


async def test_a_release_in_doubt_waits_for_the_lost_reservation_and_undoes_it(postgres_url: str) -> None:
    async with connections(postgres_url, 3) as (lost, releaser, watcher):
        held = hold(5_000)
        await apply(lost, holds=[held])
        release = asyncio.create_task(apply(releaser, in_doubt=[held]))
        await until_blocked(watcher, releaser)
        await lost.commit()
        await release
        await releaser.commit()
        assert await books(watcher) == [(0, 0)]
        assert await every(watcher, "select state, cost_nanousd from attempts") == [("released", 0)]


async def test_a_lost_reservation_that_comes_after_its_release_fails_whole(postgres_url: str) -> None:
    async with connections(postgres_url, 2) as (lost, releaser):
        held, neighbour = hold(5_000), hold(6_000)
        await apply(releaser, in_doubt=[held])
        await releaser.commit()
        with pytest.raises(psycopg.errors.UniqueViolation):
            await apply(lost, holds=[neighbour, held])
        await lost.rollback()
        assert await books(releaser) == []
        assert await every(releaser, "select id, state from attempts") == [(held.attempt_id, "released")]


async def test_a_release_in_doubt_never_frees_what_was_settled(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        held = hold(5_000)
        await apply(connection, holds=[held])
        await apply(connection, ended=[settled(held, 1_000)])
        await apply(connection, in_doubt=[held])
        assert await books(connection) == [(1_000, 0)]


async def test_two_endings_of_one_attempt_in_one_batch_count_once(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        held = hold(5_000)
        await apply(connection, holds=[held])
        lapsed = inference(attempt(held, Ending.LAPSED, cost=5_000))
        await apply(connection, ended=[lapsed, replace(lapsed, attempt=attempt(held, Ending.SETTLED, cost=700))])
        assert await books(connection) == [(700, 0)]
        assert await every(connection, "select ending, cost_nanousd from model_inferences") == [("settled", 700)]


async def test_batches_that_end_the_same_attempts_in_other_orders_do_not_deadlock(postgres_url: str) -> None:
    async with connections(postgres_url, 4) as workers:
        held = [hold(100) for _ in range(40)]
        await apply(workers[0], holds=held)
        await workers[0].commit()
        dice = random.Random(7)  # noqa: S311 - a repeatable order, nothing secret

        async def end(number: int) -> None:
            for _ in range(10):
                shuffled = dice.sample(held, 20)
                await apply(workers[number], ended=[settled(one, 10) for one in shuffled], holds=[hold(1)])
                await workers[number].commit()

        await asyncio.gather(*(end(number) for number in range(4)))
        ((spent, reserved),) = await books(workers[0])
        done = await one(workers[0], "select count(*) from attempts where state = 'settled'")
        assert (spent, reserved) == (10 * done[0], 100 * (40 - done[0]) + 40)


async def test_a_hold_counts_on_every_budget_it_falls_under_and_on_none_twice(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        await connection.execute(
            "insert into budgets (name, scope, scope_value, period, limit_nanousd) values"
            " ('claude', 'provider', 'anthropic', 'day', 9000), ('acme', 'tenant', 'acme', 'month', 9000),"
            " ('batch', 'tag', 'batch', 'total', 9000), ('other', 'tag', 'other', 'total', 0)"
        )
        await apply(connection, holds=[hold(5_000, caller=Caller(tenant="acme"), tags=("batch", "batch", "new"))])
        found = await every(connection, "select name, reserved_nanousd from budget_states order by name")
        assert found == [("acme", 5_000), ("batch", 5_000), ("claude", 5_000), ("global", 5_000), ("other", 0)]
        (refusal,) = await apply(connection, holds=[hold(4_500, tags=("batch",))])
        assert refusal["budget"] in ("batch", "claude")
        assert await every(connection, "select subject from ledger_disagreements") == []


async def test_a_budget_in_an_unknown_time_zone_is_refused_when_it_is_made(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match='time zone "Mars/Olympus" not recognized'):
            await connection.execute(
                "insert into budgets (name, scope, period, time_zone, limit_nanousd)"
                " values ('m', 'global', 'day', 'Mars/Olympus', 1)"
            )


async def test_a_day_begins_at_midnight_of_the_budgets_time_zone_across_a_clock_change(postgres_url: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        start, end = await one(
            connection,
            "select period_start_v1('day', 'Europe/Berlin', at)::text, period_end_v1('day', 'Europe/Berlin',"
            " period_start_v1('day', 'Europe/Berlin', at))::text"
            " from (select timestamptz '2026-10-25T12:00:00Z' as at) as v",
        )
        assert (start, end) == ("2026-10-24 22:00:00+00", "2026-10-25 23:00:00+00")  # a day of 25 hours


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("update budget_periods set spent_nanousd = spent_nanousd + 1", "balance 0 reserved, 1001 spent"),
        ("update attempts set cost_nanousd = 999", "settled with hold 5000 and cost 999"),
        ("delete from model_inferences", "settled without its row"),
        ("update model_inferences set cost_nanousd = 7", "settled at 1000, logged as settled at 7"),
        ("update model_inferences set ending = 'released'", "settled at 1000, logged as released at 1000"),
    ],
)
async def test_every_damage_to_the_books_is_found(postgres_url: str, damage: str, finding: str) -> None:
    async with connections(postgres_url, 1) as (connection,):
        held = hold(5_000)
        await apply(connection, holds=[held])
        await apply(connection, ended=[settled(held, 1_000)])
        assert await books(connection) == [(1_000, 0)]
        await connection.execute(damage.encode())
        findings = await every(connection, "select finding from ledger_disagreements")
        assert [text for (text,) in findings if finding in text], findings
