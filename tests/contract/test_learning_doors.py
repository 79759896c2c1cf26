"""One contract for the doors that learn: labels, neighbours and a policy's change, twin and Postgres alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.adapters.memory import MemoryFleet, MemoryPolicies, MemoryProvider, Scripted
from orchestrator.adapters.memory_learning import MemoryLabels, MemoryNeighbours
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.labels import PostgresLabels
from orchestrator.adapters.postgres.neighbours import PostgresNeighbours
from orchestrator.adapters.postgres.stores import PostgresInferences, PostgresPolicies
from orchestrator.adapters.prompt_vectors import PromptVectors
from orchestrator.core.contract.watch import Watch
from orchestrator.core.errors import CallUnreachable, NotFound
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Call
from orchestrator.ports import Label, Labels, Neighbours, Policies
from registry.load import load
from tests.core.test_predict import artefact
from tests.flow.house import vectors
from tests.samples import new_id

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EMBEDDER, LATER = "minilm-l6-builtin", "bge-small-en-v1.5"


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The doors of one kind; a second pair of `labels` and `policies` stands for another process."""

    labels: tuple[Labels, Labels]
    policies: tuple[Policies, Policies]
    neighbours: Neighbours
    provider: MemoryProvider


@pytest.fixture(params=["memory", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


def one_embedder(*up: str) -> MemoryFleet:
    cards = load()
    return MemoryFleet(cards, {model: "it is not downloaded" for model in cards.cards if model not in up})


@pytest.fixture
async def doors(database_url: str | None) -> AsyncIterator[Doors]:
    provider = MemoryProvider(vectors)
    if database_url is None:
        labels, policies = MemoryLabels(), MemoryPolicies()
        yield Doors(
            labels=(labels, labels), policies=(policies, policies), neighbours=MemoryNeighbours(), provider=provider
        )
        return
    databases = Database(database_url), Database(database_url)
    for database in databases:
        await database.open()
    neighbours = PostgresNeighbours(databases[0], PromptVectors(one_embedder(EMBEDDER), {"builtin": provider}))
    yield Doors(
        labels=(PostgresLabels(databases[0]), PostgresLabels(databases[1])),
        policies=(PostgresPolicies(databases[0]), PostgresPolicies(databases[1])),
        neighbours=neighbours,
        provider=provider,
    )
    await neighbours.close()
    for database in databases:
        await database.close()


def a_label(task_class: str = "support", tenant: str = "acme", **changes: Any) -> Label:
    made = Label(
        id=new_id(), tenant=tenant, task_class=task_class, outcomes={"small": 1.0, "large": 0.5}, created_at=NOON
    )
    return replace(made, **changes)


# -- labels


async def test_a_label_comes_back_as_it_was_given(doors: Doors) -> None:
    given = a_label(
        text="How do I return a shoe?",
        request_id=new_id(),
        score=0.125,
        scorer="ff70428b5b0b",
        served="small",
        contract_version="0123456789abcdef",
        inclusion=0.1,
        source="review",
        answers={"small": "It is 4.\nReally.", "large": "Four"},
    )
    assert await doors.labels[0].add(given)
    assert list(await doors.labels[1].of_class("acme", "support")) == [given]


async def test_a_label_of_a_known_id_changes_nothing(doors: Doors) -> None:
    first = a_label()
    assert await doors.labels[0].add(first)
    assert not await doors.labels[1].add(replace(first, outcomes={"small": 0.0}))
    assert list(await doors.labels[0].of_class("acme", "support")) == [first]


async def test_of_one_label_added_many_times_at_once_one_counts(doors: Doors) -> None:
    one = a_label()
    added = await asyncio.gather(*(doors.labels[n % 2].add(one) for n in range(8)))
    assert sorted(added) == [False] * 7 + [True]


async def test_labels_of_a_class_come_oldest_first_of_one_tenant_or_of_all(doors: Doors) -> None:
    late, early = a_label(created_at=NOON + timedelta(hours=1)), a_label(created_at=NOON)
    theirs, other = a_label(tenant="rival", created_at=NOON + timedelta(minutes=1)), a_label("billing")
    for label in (late, early, theirs, other):
        await doors.labels[0].add(label)
    assert [label.id for label in await doors.labels[0].of_class("acme", "support")] == [early.id, late.id]
    assert [label.id for label in await doors.labels[0].of_class(None, "support")] == [early.id, theirs.id, late.id]
    assert list(await doors.labels[0].of_class("acme", "unheard-of")) == []


async def test_the_newest_labels_with_a_text_come_oldest_first(doors: Doors) -> None:
    hours = [a_label(text=f"ask {n}", created_at=NOON + timedelta(hours=n)) for n in range(4)]
    silent = a_label(text=None, created_at=NOON + timedelta(hours=9))
    for label in (hours[2], silent, hours[0], hours[3], hours[1]):
        await doors.labels[0].add(label)
    assert [label.text for label in await doors.labels[1].with_text(3)] == ["ask 1", "ask 2", "ask 3"]


async def test_a_watch_is_moved_on_by_one_label_at_a_time_over_all_processes(doors: Doors) -> None:
    def one_more(watch: Watch | None) -> Watch:
        return (watch or Watch(epsilon=0.05)).observe(served=0.0, reference=1.0)

    await asyncio.gather(*(doors.labels[n % 2].watch("contract-a", one_more) for n in range(10)))
    expected = Watch(epsilon=0.05)
    for _ in range(10):
        expected = expected.observe(served=0.0, reference=1.0)
    assert await doors.labels[1].watched("contract-a") == expected
    assert await doors.labels[1].watched("contract-b") is None
    other = await doors.labels[0].watch("contract-b", lambda watch: watch or Watch(epsilon=0.5))
    assert (other.rows, other.epsilon) == (0, 0.5)


async def test_a_request_is_observed_once_by_each_watch(doors: Doors) -> None:
    def one_more(watch: Watch | None) -> Watch:
        return (watch or Watch(epsilon=0.05)).observe(served=0.0, reference=1.0)

    one, other = new_id(), new_id()
    await asyncio.gather(*(doors.labels[n % 2].watch("contract-a", one_more, once=one) for n in range(6)))
    assert (await doors.labels[0].watch("contract-a", one_more, once=other)).rows == 2
    assert (await doors.labels[0].watch("contract-a", one_more, once=other)).rows == 2
    assert (await doors.labels[0].watch("contract-b", one_more, once=one)).rows == 1


# -- a policy's change


async def test_changes_made_at_once_are_all_kept(doors: Doors) -> None:
    async def learn(number: int) -> None:
        def with_one_more(policy: RoutingPolicy) -> RoutingPolicy:
            return replace(policy, task_order={**policy.task_order, f"task-{number}": ("local",)})

        await doors.policies[number % 2].change(with_one_more, by="test")

    await asyncio.gather(*(learn(number) for number in range(6)))
    current = await doors.policies[1].current()
    assert sorted(current.task_order) == ["task-0", "task-1", "task-2", "task-3", "task-4", "task-5"]


async def test_a_change_that_changes_nothing_leaves_the_policy_as_it_was(doors: Doors) -> None:
    before = await doors.policies[0].current()
    assert (await doors.policies[0].change(lambda policy: policy, by="test")).version == before.version
    assert (await doors.policies[1].current()).version == before.version


# -- neighbours


async def learned(neighbours: Neighbours, tenant: str, text: str, **outcomes: float) -> None:
    await neighbours.learn(tenant, a_label(tenant=tenant, text=text, outcomes=outcomes))


async def test_the_most_alike_prompt_comes_first_with_its_outcomes(doors: Doors) -> None:
    await learned(doors.neighbours, "acme", "apple and banana pie", small=1.0)
    await learned(doors.neighbours, "acme", "xylophone quiz", small=0.0)
    found = await doors.neighbours.like("acme", "apple and banana", 5)
    assert [dict(each.outcomes) for each in found] == [{"small": 1.0}, {"small": 0.0}]
    assert 1.0 >= found[0].similarity > found[1].similarity
    assert [dict(each.outcomes) for each in await doors.neighbours.like("acme", "apple and banana", 1)] == [
        {"small": 1.0}
    ]


async def test_a_tenant_has_no_neighbours_of_another(doors: Doors) -> None:
    await learned(doors.neighbours, "acme", "apple pie", small=1.0)
    assert list(await doors.neighbours.like("rival", "apple pie", 5)) == []


async def test_a_prompt_judged_again_has_its_latest_outcome_of_each_model(doors: Doors) -> None:
    await learned(doors.neighbours, "acme", "apple pie", small=1.0, large=0.5)
    await learned(doors.neighbours, "acme", "apple pie", small=0.0)
    (found,) = await doors.neighbours.like("acme", "apple pie", 5)
    assert dict(found.outcomes) == {"small": 0.0, "large": 0.5}


async def test_a_label_without_a_text_is_nobodys_neighbour(doors: Doors) -> None:
    await doors.neighbours.learn("acme", a_label())
    assert list(await doors.neighbours.like("acme", "apple pie", 5)) == []


# -- what only the real store can do wrong


@dataclass
class Store:
    """Neighbours on Postgres whose embedding model answers as `answer` says."""

    neighbours: PostgresNeighbours
    fleet: MemoryFleet
    provider: MemoryProvider


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    database = Database(postgres_url)
    await database.open()
    fleet, provider = one_embedder(EMBEDDER), MemoryProvider(vectors)
    neighbours = PostgresNeighbours(database, PromptVectors(fleet, {"builtin": provider, "huggingface": provider}))
    yield Store(neighbours, fleet, provider)
    await neighbours.close()
    await database.close()


async def test_where_nothing_is_stored_nothing_is_embedded(store: Store) -> None:
    assert list(await store.neighbours.like("acme", "apple pie", 5)) == []
    assert list(await store.neighbours.like("acme", "apple pie", 5)) == []
    assert store.provider.calls == []


async def test_a_text_is_embedded_once(store: Store) -> None:
    await learned(store.neighbours, "acme", "apple pie", small=1.0)
    for _ in range(3):
        assert len(await store.neighbours.like("acme", "apple pie", 5)) == 1
    assert [call.texts for call in store.provider.calls] == [("apple pie",)]


async def test_a_slow_model_gives_no_neighbours_now_and_its_vector_later(postgres_url: str) -> None:
    answered = asyncio.Event()

    def slow(call: Call) -> Scripted | Awaitable[Scripted]:
        async def later() -> Scripted:
            await answered.wait()
            return vectors(call)

        return vectors(call) if call.texts == ("apple pie",) else later()

    database, provider = Database(postgres_url), MemoryProvider(slow)
    await database.open()
    neighbours = PostgresNeighbours(database, PromptVectors(one_embedder(EMBEDDER), {"builtin": provider}))
    await learned(neighbours, "acme", "apple pie", small=1.0)
    assert list(await neighbours.like("acme", "apple cake", 5)) == []
    answered.set()
    (found,) = [found for _ in range(100) if (found := await neighbours.like("acme", "apple cake", 5))][:1]
    assert [dict(each.outcomes) for each in found] == [{"small": 1.0}]
    assert [call.texts for call in provider.calls] == [("apple pie",), ("apple cake",)]
    await neighbours.close()
    await database.close()


async def test_a_model_that_fails_or_is_away_gives_no_neighbours_and_no_error(postgres_url: str) -> None:
    database, fleet = Database(postgres_url), one_embedder(EMBEDDER)
    await database.open()
    broken = MemoryProvider(lambda _: CallUnreachable("the queue cannot be reached"))
    neighbours = PostgresNeighbours(database, PromptVectors(fleet, {"builtin": broken}))
    await learned(neighbours, "acme", "apple pie", small=1.0)
    assert list(await neighbours.like("acme", "apple pie", 5)) == []
    fleet.down[EMBEDDER] = "its worker is gone"
    await learned(neighbours, "acme", "apple pie", small=1.0)
    assert [call.texts for call in broken.calls] == [("apple pie",)]
    await neighbours.close()
    await database.close()


async def test_the_model_that_embedded_most_of_them_is_asked_again(store: Store) -> None:
    store.fleet.down[EMBEDDER] = "its worker is gone"
    del store.fleet.down[LATER]
    await learned(store.neighbours, "acme", "apple pie", small=1.0)
    del store.fleet.down[EMBEDDER]
    assert len(await store.neighbours.like("acme", "apple cake", 5)) == 1
    assert [call.model_id for call in store.provider.calls] == [LATER, LATER]


async def test_a_database_that_is_away_gives_no_neighbours_and_no_error(postgres_url: str) -> None:
    database = Database(postgres_url)
    neighbours = PostgresNeighbours(
        database, PromptVectors(one_embedder(EMBEDDER), {"builtin": MemoryProvider(vectors)})
    )
    assert list(await neighbours.like("acme", "apple pie", 5)) == []
    await neighbours.close()


async def test_no_prompt_is_kept_among_the_neighbours(store: Store, postgres_url: str) -> None:
    await learned(store.neighbours, "acme", "apple pie", small=1.0)
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select neighbours::text from neighbours").fetchone()
    assert row is not None
    assert "apple" not in row[0]


async def test_the_texts_of_labels_go_with_the_texts_of_the_log(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    labels, now = PostgresLabels(database), datetime.now(UTC)
    await labels.add(a_label(text="old", created_at=now - timedelta(days=31)))
    await labels.add(a_label(text="new", created_at=now - timedelta(days=29)))
    assert await PostgresInferences(database).expire_texts(keep_days=30) == 1
    assert [label.text for label in await labels.of_class("acme", "support")] == [None, "new"]
    await database.close()


async def test_a_kept_artefact_is_read_by_its_version_and_the_shipped_one_by_its_own(doors: Doors) -> None:
    version = await doors.policies[0].keep_predictor(artefact(), {"learned_from": 100}, by="test")
    assert version == "abc"
    assert await doors.policies[0].keep_predictor(artefact(), {}, by="somebody else") == "abc"
    assert (await doors.policies[1].predictor("abc")).read("prove").gain == pytest.approx(0.1)
    shipped = shipped_predictor()
    assert (await doors.policies[1].predictor(shipped.version)) is shipped
    assert (await doors.policies[1].predictor(None)) is shipped
    with pytest.raises(NotFound, match="no routing artefact 'abd'"):
        await doors.policies[0].predictor("abd")


async def test_an_embedding_model_that_answers_nonsense_gives_no_neighbours_and_no_error(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    asked = 0

    def odd(call: Call) -> Scripted:
        nonlocal asked
        asked += 1
        return vectors(call) if asked == 1 else replace(vectors(call), data=[["no", "vector"]])

    neighbours = PostgresNeighbours(database, PromptVectors(one_embedder(EMBEDDER), {"builtin": MemoryProvider(odd)}))
    await learned(neighbours, "acme", "apple pie", small=1.0)
    assert list(await neighbours.like("acme", "apple cake", 5)) == []
    assert asked == 2
    await neighbours.close()
    await database.close()
