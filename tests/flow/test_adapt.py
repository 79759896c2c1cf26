"""Abilities learned from labels: from what is stated, little by little, into a new policy version."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.flow.adapt import adapt
from orchestrator.flow.decide import decide
from orchestrator.ports import Label
from tests.flow.house import LOCAL, MID, House, build, registry
from tests.samples import new_id, request

ASK = "What is the capital of France?"


async def judged(house: House, outcomes: dict[str, float], times: int) -> None:
    for _ in range(times):
        label = Label(id=new_id(), tenant="default", task_class="facts", text=ASK, outcomes=outcomes)
        await house.deps.labels.add(label)


async def test_a_model_that_failed_where_it_was_thought_able_is_asked_first_no_more() -> None:
    house = build()
    assert (await decide(house.deps, request(ASK))).plan.rungs[0].model_id == LOCAL
    await judged(house, {LOCAL: 0.0, MID: 1.0}, 40)
    learned = {each.model_id: each for each in await adapt(house.deps, registry(), "test")}
    assert learned[LOCAL].labels == 40
    assert learned[LOCAL].after < 0.1 < learned[LOCAL].stated
    assert learned[MID].after > learned[MID].stated
    assert (await decide(house.deps, request(ASK))).plan.rungs[0].model_id == MID


async def test_few_labels_move_it_a_little() -> None:
    few, many = build(), build()
    await judged(few, {LOCAL: 0.0}, 1)
    await judged(many, {LOCAL: 0.0}, 30)
    [one] = await adapt(few.deps, registry(), "test")
    [thirty] = await adapt(many.deps, registry(), "test")
    assert one.stated > one.after > thirty.after


async def test_a_dry_run_changes_nothing() -> None:
    house = build()
    await judged(house, {LOCAL: 0.0}, 5)
    before = await house.deps.policies.current()
    assert await adapt(house.deps, registry(), "test", dry=True)
    assert await house.deps.policies.current() == before


async def test_the_same_labels_give_the_same_version_again() -> None:
    house = build()
    await judged(house, {LOCAL: 0.0, MID: 1.0}, 7)
    await adapt(house.deps, registry(), "test")
    first = (await house.deps.policies.current()).version
    await adapt(house.deps, registry(), "test")
    assert (await house.deps.policies.current()).version == first


async def test_labels_without_a_text_and_models_without_a_card_teach_nothing() -> None:
    house = build()
    silent = Label(id=new_id(), tenant="default", task_class="facts", outcomes={LOCAL: 0.0})
    await house.deps.labels.add(silent)
    await house.deps.labels.add(replace(silent, id=new_id(), text=ASK, outcomes={"unheard-of": 1.0}))
    assert list(await adapt(house.deps, registry(), "test")) == []
