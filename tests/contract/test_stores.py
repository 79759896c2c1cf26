"""One contract for each store: the memory twin and Postgres answer alike."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from orchestrator.adapters.memory import (
    MemoryEmbeddings,
    MemoryInferences,
    MemoryKeys,
    MemoryLedger,
    MemoryOverrides,
    MemoryPolicies,
)
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.adapters.postgres.stores import (
    PostgresEmbeddings,
    PostgresInferences,
    PostgresKeys,
    PostgresOverrides,
    PostgresPolicies,
)
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Caller, Ending
from orchestrator.ports import Embeddings, Inferences, Keys, Ledger, Overrides, Policies, StoredText
from tests.samples import USD, attempt, hold, inference, new_id, request

SECRET = bytes(range(32))


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The doors of one kind; `url` is None for the twins."""

    url: str | None
    ledger: Ledger
    inferences: Inferences
    embeddings: Embeddings
    keys: Keys
    policies: Policies
    overrides: Overrides


def twins() -> Stores:
    ledger = MemoryLedger({"global": 200 * USD})
    return Stores(
        url=None,
        ledger=ledger,
        inferences=MemoryInferences(ledger),
        embeddings=MemoryEmbeddings(),
        keys=MemoryKeys(),
        policies=MemoryPolicies(),
        overrides=MemoryOverrides(),
    )


@pytest.fixture(params=["memory", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for the twins. Synchronous, because the database fixtures start their own event loop."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
async def stores(database_url: str | None) -> AsyncIterator[Stores]:
    if database_url is None:
        yield twins()
        return
    database = Database(database_url)
    await database.open()
    ledger = PostgresLedger(database_url, database)
    await ledger.open()
    yield Stores(
        url=database_url,
        ledger=ledger,
        inferences=PostgresInferences(database),
        embeddings=PostgresEmbeddings(database),
        keys=PostgresKeys(database),
        policies=PostgresPolicies(database),
        overrides=PostgresOverrides(database),
    )
    await ledger.close()
    await database.close()


# -- embeddings: directions in the plane of the first two of 384 dimensions


def towards(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))] + [0.0] * 382


def text(words: str, **metadata: Any) -> StoredText:
    return StoredText(id=new_id(), model_id="minilm-l6-builtin", text=words, metadata=metadata)


async def keep(stores: Stores, tenant: str, model: str, *texts: tuple[StoredText, float]) -> None:
    await stores.embeddings.store(tenant, model, [one for one, _ in texts], [towards(at) for _, at in texts])


async def test_the_nearest_texts_come_first_with_their_cosine(stores: Stores) -> None:
    near, far, away = text("near", page=1), text("far"), text("away")
    await keep(stores, "acme", "minilm-l6-builtin", (far, 60), (near, 10), (away, 180))
    found = await stores.embeddings.search("acme", "minilm-l6-builtin", towards(0), 2)
    assert [(one.id, one.text, dict(one.metadata)) for one in found] == [
        (near.id, "near", {"page": 1}),
        (far.id, "far", {}),
    ]
    assert [round(one.similarity or 0, 4) for one in found] == [0.9848, 0.5]
    assert {one.model_id for one in found} == {"minilm-l6-builtin"}


async def test_a_search_sees_one_tenant_and_one_model_only(stores: Stores) -> None:
    mine = text("mine")
    await keep(stores, "acme", "minilm-l6-builtin", (mine, 90))
    await keep(stores, "rival", "minilm-l6-builtin", (text("theirs"), 0))
    await keep(stores, "acme", "bge-small-en-v1.5", (text("of another model"), 0))
    found = await stores.embeddings.search("acme", "minilm-l6-builtin", towards(0), 10)
    assert [one.text for one in found] == ["mine"]
    assert await stores.embeddings.search("nobody", "minilm-l6-builtin", towards(0), 10) == []


async def test_the_model_of_the_newest_text_is_known_per_tenant(stores: Stores) -> None:
    assert await stores.embeddings.newest_model("acme") is None
    for model in ("minilm-l6-builtin", "all-minilm-l6-v2", "gte-multilingual-base", "bge-small-en-v1.5"):
        await keep(stores, "acme", model, (text("mine"), 0), (text("mine too"), 0))
        assert await stores.embeddings.newest_model("acme") == model
    await keep(stores, "rival", "bge-m3", (text("theirs"), 0))
    assert await stores.embeddings.newest_model("acme") == "bge-small-en-v1.5"


async def test_a_rare_tenant_is_found_among_many_rows_of_others(stores: Stores) -> None:
    crowd = [(text(f"other {number}"), number / 100) for number in range(600)]
    await keep(stores, "crowd", "minilm-l6-builtin", *crowd)
    await keep(stores, "acme", "minilm-l6-builtin", *[(text(f"mine {number}"), 90 + number) for number in range(5)])
    found = await stores.embeddings.search("acme", "minilm-l6-builtin", towards(0), 5)
    assert [one.text for one in found] == ["mine 0", "mine 1", "mine 2", "mine 3", "mine 4"]


@pytest.mark.parametrize(("model", "size"), [("bge-m3", 1024), ("minilm-l6-builtin", 64), ("some/model", 3072)])
async def test_vectors_of_any_size_are_kept_and_searched_among_their_like(
    stores: Stores, model: str, size: int
) -> None:
    await keep(stores, "acme", model, (text("of 384"), 0))
    kept = [text("near"), text("far")]
    await stores.embeddings.store(
        "acme", model, kept, [[1.0, 0.2] + [0.0] * (size - 2), [0.1, 1.0] + [0.0] * (size - 2)]
    )
    found = await stores.embeddings.search("acme", model, [1.0] + [0.0] * (size - 1), 10)
    assert [one.text for one in found] == ["near", "far"]


async def test_a_text_stored_again_replaces_itself(stores: Stores) -> None:
    first = text("first")
    again = StoredText(id=first.id, model_id=first.model_id, text="again", metadata={"v": 2})
    await keep(stores, "acme", "minilm-l6-builtin", (first, 0))
    await keep(stores, "acme", "minilm-l6-builtin", (again, 90))
    (found,) = await stores.embeddings.search("acme", "minilm-l6-builtin", towards(90), 10)
    assert (found.text, dict(found.metadata), round(found.similarity or 0, 4)) == ("again", {"v": 2}, 1.0)


# -- keys


async def test_a_key_is_found_by_the_hash_of_its_secret_only(stores: Stores) -> None:
    made = await stores.keys.create("backend", "acme", "operator", SECRET)
    assert (made.name, made.tenant, made.role, dict(made.scopes)) == ("backend", "acme", "operator", {})
    assert await stores.keys.find(SECRET) == made
    assert await stores.keys.find(bytes(32)) is None
    assert made.caller == Caller(key_id=made.id, tenant="acme")


async def test_making_the_same_key_again_gives_the_one_that_is_there(stores: Stores) -> None:
    made = await stores.keys.create("first", "default", "admin", SECRET)
    again = await stores.keys.create("first", "default", "admin", SECRET)
    assert again == made


async def test_a_revoked_key_is_not_found(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    keys = PostgresKeys(database)
    made = await keys.create("old", "acme", "operator", SECRET)
    await database.rows("revoke_key", id=made.id)
    assert await keys.find(SECRET) is None
    await database.close()


# -- policies and settings


async def test_without_an_active_policy_the_default_one_holds(stores: Stores) -> None:
    current = await stores.policies.current()
    assert (current.name, current.version) == ("default", RoutingPolicy().version)


async def test_the_active_policy_is_read_back_as_it_was_written(database_url: str | None) -> None:
    wanted = RoutingPolicy(
        name="cheap", accept_at=0.4, ladders={**RoutingPolicy().ladders, "simple": ("local",)}, max_rungs=1
    )
    policies: Policies = MemoryPolicies(wanted)
    if database_url is None:
        assert await policies.current() == wanted
        return
    insert = "insert into routing_policies (version, name, policy, activated_at) values (%s, %s, %s, now())"
    with psycopg.connect(database_url) as connection:
        connection.execute(insert, (wanted.version, wanted.name, Jsonb(wanted.as_dict())))
    database = Database(database_url)
    await database.open()
    assert await PostgresPolicies(database).current() == wanted
    await database.close()


async def test_settings_are_set_changed_and_taken_away(stores: Stores) -> None:
    assert dict(await stores.overrides.all()) == {}
    await stores.overrides.set("call_timeout_s", 30, by="first")
    await stores.overrides.set("store_texts", False, by="first")
    await stores.overrides.set("call_timeout_s", 45.5, by="second")
    assert dict(await stores.overrides.all()) == {"call_timeout_s": 45.5, "store_texts": False}
    await stores.overrides.set("call_timeout_s", None, by="second")
    await stores.overrides.set("never_was", None, by="second")
    assert dict(await stores.overrides.all()) == {"store_texts": False}


# -- the log


async def log(
    stores: Stores, *, tenant: str = "acme", ending: Ending = Ending.SETTLED, cost: int = 10, **changes: Any
) -> UUID:
    """One paid attempt of a request of its own; returns the attempt's id."""
    caller = Caller(tenant=tenant)
    held = hold(1_000, caller=caller)
    await stores.ledger.reserve(held)
    ended = attempt(held, ending, cost=cost)
    await stores.ledger.finish(inference(ended, **{"request": request(caller=caller), **changes}))
    return ended.id


def ids(rows: Sequence[Any]) -> list[str]:
    return [str(row["id"]) for row in rows]


async def test_a_request_is_found_with_all_its_attempts_in_order_and_by_each_attempts_id(stores: Stores) -> None:
    asked = request(caller=Caller(tenant="acme"))
    first = await log(stores, request=asked, ending=Ending.LAPSED, cost=1_000, output_text=None)
    second = await log(stores, request=asked, output_text="4")
    await log(stores)
    rows = await stores.inferences.of_request(asked.id)
    assert ids(rows) == [str(first), str(second)]
    assert [(row["ending"], row["cost_nanousd"], row["output"]) for row in rows] == [
        ("lapsed", 1_000, None),
        ("settled", 10, "4"),
    ]
    assert ids(await stores.inferences.of_request(second)) == [str(second)]
    assert await stores.inferences.of_request(new_id()) == []


async def test_an_id_that_is_no_moment_finds_nothing_and_breaks_nothing(stores: Stores) -> None:
    await log(stores)
    for odd in (UUID(int=0), UUID(int=2**128 - 1), UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")):
        assert await stores.inferences.of_request(odd) == []


async def test_the_newest_come_first_and_after_an_id_only_later_ones(stores: Stores) -> None:
    logged = [str(await log(stores)) for _ in range(4)]
    assert ids(await stores.inferences.recent(3)) == [logged[3], logged[2], logged[1]]
    assert ids(await stores.inferences.recent(10, UUID(logged[1]))) == [logged[3], logged[2]]
    assert await stores.inferences.recent(10, UUID(logged[3])) == []


async def test_one_tenant_sees_its_own_rows_only(stores: Stores) -> None:
    mine = await log(stores, tenant="acme", cost=7)
    await log(stores, tenant="rival", cost=100)
    assert ids(await stores.inferences.recent(10, tenant="acme")) == [str(mine)]
    since = datetime.now(UTC) - timedelta(hours=1)
    assert [row["cost_nanousd"] for row in await stores.inferences.stats(since, "acme")] == [7]
    assert [row["cost_nanousd"] for row in await stores.inferences.stats(since)] == [107]


async def test_stats_add_up_attempts_costs_tokens_and_latency_since_a_moment(stores: Stores) -> None:
    now = datetime.now(UTC)
    await log(stores, cost=30)
    await log(stores, cost=12)
    await log(stores, ending=Ending.LAPSED, cost=1_000)
    await log(stores, cost=500, created_at=now - timedelta(days=2))
    (row,) = await stores.inferences.stats(now - timedelta(days=1))
    told = {name: row[name] for name in ("task", "model_id", "tier", "attempts", "accepted", "failed", "cost_nanousd")}
    assert told == {
        "task": "generate",
        "model_id": "claude-sonnet",
        "tier": "premium",
        "attempts": 3,
        "accepted": 2,
        "failed": 1,
        "cost_nanousd": 1_042,
    }
    assert (row["input_tokens"], row["output_tokens"]) == (30, 60)
    assert (row["p50_latency_ms"], row["p95_latency_ms"], row["mean_quality"]) == (12.5, 12.5, None)


async def test_partitions_that_stand_are_not_made_again(stores: Stores) -> None:
    assert await stores.inferences.ensure_partitions() == []


async def test_old_texts_are_let_go_and_rows_stay(stores: Stores) -> None:
    old = await log(stores, created_at=datetime.now(UTC) - timedelta(hours=20))
    assert await stores.inferences.expire_texts(keep_days=30) == 0
    assert await stores.inferences.expire_texts(keep_days=0) == 1
    (row,) = await stores.inferences.of_request(old)
    assert (row["input"], row["output"], row["cost_nanousd"]) == (None, None, 10)


async def test_a_logged_lapse_is_corrected_together_with_its_attempt(stores: Stores) -> None:
    held = hold(5_000)
    await stores.ledger.reserve(held)
    lapsed = inference(attempt(held, Ending.LAPSED, cost=5_000))
    await stores.ledger.finish(lapsed)
    settled = attempt(held, Ending.SETTLED, cost=900)
    await stores.ledger.finish(inference(settled, request=lapsed.request, created_at=lapsed.created_at))
    (row,) = await stores.inferences.of_request(held.attempt_id)
    assert (row["ending"], row["cost_nanousd"]) == ("settled", 900)
    (budget,) = await stores.ledger.budgets()
    assert (budget.spent_nanousd, budget.reserved_nanousd) == (900, 0)
