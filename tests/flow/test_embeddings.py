"""Texts remembered and found again by meaning, within one tenant and one model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.errors import InvalidInput, NoModelAvailable
from orchestrator.core.types import Call, Caller, Options, Reply, Request
from orchestrator.flow.embeddings import remember, search
from orchestrator.flow.route import route
from registry.schema import Task
from tests.flow.house import House, build, vectors
from tests.samples import request

FRUIT = ("bananas and cabbage", "xylophone quiz", "apple and banana pie")


def embed(*texts: str, tenant: str = "default", model: str | None = None, dimensions: int | None = None) -> Request:
    options = Options(dimensions=dimensions)
    caller = Caller(tenant=tenant)
    return request(task=Task.EMBED, messages=(), texts=texts, caller=caller, model=model, options=options)


def sized(call: Call) -> Reply:
    """Vectors as long as asked for."""
    whole = vectors(call)
    return replace(whole, data=[vector[: call.options.dimensions] for vector in whole.data])


async def keep(house: House, *texts: str, tenant: str = "default") -> int:
    answered = await route(house.deps, embed(*texts, tenant=tenant))
    return len(await remember(house.deps, answered))


async def test_what_was_remembered_is_found_nearest_first() -> None:
    house = build()
    assert await keep(house, *FRUIT) == 3
    answered, found = await search(house.deps, embed("banana"), limit=2)
    assert [text.text for text in found] == ["bananas and cabbage", "apple and banana pie"]
    assert 1.0 >= (found[0].similarity or 0) > (found[1].similarity or 0) > 0
    assert answered.answered_by.model_id == "minilm-l6-builtin"


async def test_a_model_that_arrives_later_hides_nothing_that_was_stored_before() -> None:
    house = build()
    await keep(house, *FRUIT)
    house.fleet.down = {}
    assert (await route(house.deps, embed("x"))).answered_by.model_id != "minilm-l6-builtin"
    answered, found = await search(house.deps, embed("banana"), limit=1)
    assert (answered.answered_by.model_id, found[0].text) == ("minilm-l6-builtin", "bananas and cabbage")


async def test_a_tenant_never_finds_anothers_texts() -> None:
    house = build()
    await keep(house, *FRUIT, tenant="a")
    assert (await search(house.deps, embed("banana", tenant="b"), limit=10))[1] == []
    assert len((await search(house.deps, embed("banana", tenant="a"), limit=10))[1]) == 3


async def test_an_embedding_has_one_rung_since_vectors_of_two_models_do_not_compare() -> None:
    house = build(up=frozenset({"minilm-l6-builtin", "bge-small-en-v1.5", "all-minilm-l6-v2"}))
    answered = await route(house.deps, embed("x"))
    assert len(answered.decision.plan.rungs) == 1


async def test_vectors_of_another_size_are_kept_apart() -> None:
    house = build(up=frozenset({"bge-m3"}), local=sized)
    for size in (None, 8):
        await remember(house.deps, await route(house.deps, embed(*FRUIT, model="bge-m3", dimensions=size)))
    _, found = await search(house.deps, embed("banana", model="bge-m3", dimensions=8), limit=10)
    assert [text.text for text in found] == ["bananas and cabbage", "apple and banana pie", "xylophone quiz"]


async def test_a_search_needs_exactly_one_text() -> None:
    for wrong in (embed("one", "two"), request("a chat")):
        with pytest.raises(InvalidInput, match="exactly one query text"):
            await search(build().deps, wrong, limit=3)


async def test_without_an_embedding_model_a_search_says_how_to_get_one() -> None:
    with pytest.raises(NoModelAvailable, match="no model for embed can be called now"):
        await search(build(up=frozenset()).deps, embed("banana"), limit=3)


async def test_options_of_chat_do_not_disturb_an_embedding() -> None:
    asked = request(task=Task.EMBED, messages=(), texts=("x",), options=Options(temperature=1.0))
    assert (await route(build().deps, asked)).cost_nanousd == 0
