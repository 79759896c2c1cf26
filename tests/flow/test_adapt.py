"""Abilities learned from labels: from what is stated, little by little, into a new policy version."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.flow.adapt import adapt
from orchestrator.flow.decide import decide
from orchestrator.ports import Label
from tests.flow.house import LOCAL, MID, House, build, registry
from tests.samples import new_id, request

ASK = "What is the capital of France?"


async def judged(house: House, outcomes: dict[str, float], times: int, task_class: str = "facts") -> None:
    for _ in range(times):
        label = Label(id=new_id(), tenant="default", task_class=task_class, text=ASK, outcomes=outcomes)
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


async def test_a_model_that_fails_one_class_only_is_asked_first_in_the_others() -> None:
    house = build()
    await judged(house, {LOCAL: 0.0, MID: 1.0}, 40, "contracts")
    await judged(house, {LOCAL: 1.0, MID: 1.0}, 40, "smalltalk")
    learned = {(each.model_id, each.topic): each for each in await adapt(house.deps, registry(), "test")}
    assert learned[LOCAL, "contracts"].after < 0.1
    assert learned[LOCAL, "smalltalk"].after > 0.5
    assert learned[LOCAL, None].labels == 80
    first = {
        task_class: (await decide(house.deps, request(ASK, task_class=task_class))).plan.rungs[0].model_id
        for task_class in ("contracts", "smalltalk")
    }
    assert first == {"contracts": MID, "smalltalk": LOCAL}


async def test_a_class_with_one_label_stays_near_the_rest() -> None:
    house = build()
    await judged(house, {LOCAL: 1.0}, 40, "smalltalk")
    await judged(house, {LOCAL: 0.0}, 1, "contracts")
    learned = {each.topic: each for each in await adapt(house.deps, registry(), "test")}
    assert learned["contracts"].after > 0.4
    assert learned["contracts"].stated > learned["contracts"].after


async def test_one_class_alone_needs_no_ability_of_its_own() -> None:
    house = build()
    await judged(house, {LOCAL: 1.0}, 40)
    assert [each.topic for each in await adapt(house.deps, registry(), "test")] == [None]
    assert (await house.deps.policies.current()).topics == {}
