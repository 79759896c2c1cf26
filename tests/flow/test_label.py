"""Labels: kept once, completed from the log, learned from, and held against the contract they were answered under."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.core.contract.certificate import Certificate, Contract, State
from orchestrator.core.errors import InvalidInput, NotFound
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Answer, Caller, Message
from orchestrator.flow.label import Standing, label, standings
from orchestrator.flow.route import route
from orchestrator.ports import Label
from tests.flow.house import LOCAL, PREMIUM, House, build
from tests.samples import new_id, request

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def contract(state: State = State.MET, **changes: Any) -> Contract:
    """Every request of class support may go to the local model."""
    certificate = Certificate(state=state, threshold=inf, epsilon=0.05, delta=0.1, n=500, weak_share=1.0, margin=0.02)
    values: dict[str, Any] = {
        "task_class": "support",
        "weak": LOCAL,
        "reference": PREMIUM,
        "scorer": shipped_predictor().version,
        "certificate": certificate,
        "certified_at": NOON,
    }
    return Contract(**{**values, **changes})


def under(*contracts: Contract, **limits: Any) -> House:
    return build(policy=RoutingPolicy(contracts=contracts), **limits)


async def answered(house: House, text: str = "How do I return a shoe?", **changes: Any) -> Answer:
    return await route(house.deps, request(text, **{"task_class": "support", **changes}))


async def judged(house: House, answer: Answer, **outcomes: float) -> Standing:
    return await label(house.deps, a_label(request_id=answer.request.id, outcomes=outcomes))


def a_label(**changes: Any) -> Label:
    return replace(Label(id=new_id(), tenant="default", task_class="", outcomes={LOCAL: 1.0}), **changes)


BAD_HERE = {LOCAL: 0.0, PREMIUM: 1.0}
GOOD_HERE = {LOCAL: 1.0, PREMIUM: 1.0}


async def test_a_label_learns_from_the_log_what_was_asked_served_and_promised() -> None:
    house, promised = under(contract()), contract()
    answer = await answered(house)
    standing = await judged(house, answer, **GOOD_HERE)
    kept = standing.label
    assert (kept.task_class, kept.text, kept.served) == ("support", "How do I return a shoe?", LOCAL)
    assert (kept.contract_version, kept.scorer) == (promised.version, promised.scorer)
    assert kept.score == round(shipped_predictor().read("How do I return a shoe?").gain, 6)
    assert list(await house.deps.labels.of_class("default", "support")) == [kept]
    assert standing.new
    assert standing.contract == promised
    assert standing.watch is not None
    assert (standing.watch.rows, standing.watch.epsilon, standing.watch.alpha) == (1, 0.05, 0.1)


async def test_of_a_conversation_the_last_question_is_the_text() -> None:
    house = build()
    turns = [("system", "Be kind."), ("user", "Hi!"), ("assistant", "Hello."), ("user", "What is 2+2?\nIn words.")]
    asked = request(messages=tuple(Message(role=role, content=words) for role, words in turns))
    answer = await route(house.deps, asked)
    standing = await judged(house, answer, **GOOD_HERE)
    assert standing.label.text == "What is 2+2?\nIn words."
    assert standing.label.task_class == answer.decision.plan.complexity


async def test_a_label_twice_or_at_once_counts_once() -> None:
    house = under(contract())
    given = a_label(request_id=(await answered(house)).request.id, outcomes=GOOD_HERE)
    taken = await asyncio.gather(*(label(house.deps, given) for _ in range(5)))
    assert sorted(standing.new for standing in taken) == [False, False, False, False, True]
    again = await label(house.deps, replace(given, outcomes=BAD_HERE))
    assert not again.new
    (kept,) = await house.deps.labels.of_class(None, "support")
    assert kept.outcomes == GOOD_HERE
    ((_, watch),) = await standings(house.deps)
    assert watch is not None
    assert watch.rows == 1


async def test_a_judged_prompt_becomes_a_neighbour_of_its_tenant() -> None:
    house = build()
    given = a_label(task_class="support", text="How do I return a shoe?", outcomes={LOCAL: 0.0})
    await label(house.deps, given)
    (found,) = await house.deps.neighbours.like("default", "How do I return a shoe?", 5)
    assert (found.similarity, dict(found.outcomes)) == (1.0, {LOCAL: 0.0})
    assert list(await house.deps.neighbours.like("rival", "How do I return a shoe?", 5)) == []


async def test_where_no_texts_are_kept_a_label_keeps_none_and_still_teaches() -> None:
    house = under(contract(), store_texts=False)
    answer = await answered(house)
    standing = await label(house.deps, a_label(request_id=answer.request.id, text="How?", outcomes=GOOD_HERE))
    assert standing.label.text is None
    assert [each.text for each in await house.deps.labels.of_class(None, "support")] == [None]
    assert len(await house.deps.neighbours.like("default", "How?", 5)) == 1
    assert standing.watch is not None


async def test_labels_that_refute_a_contract_revoke_it_and_the_reference_answers_from_then_on() -> None:
    house = under(contract(), contract(task_class="billing"))
    for number in range(60):
        standing = await judged(house, await answered(house, f"Question {number}?"), **BAD_HERE)
        if standing.contract is not None and standing.contract.state is State.REVOKED:
            break
    assert number < 40
    (support, watch), (billing, _) = await standings(house.deps)
    assert (support.state, billing.state) == (State.REVOKED, State.MET)
    assert watch is not None
    assert watch.revoked
    after = await answered(house)
    assert after.answered_by.model_id == PREMIUM
    assert after.decision.plan.promise is not None
    assert after.decision.plan.promise.state == "revoked"


async def test_a_label_of_an_answer_under_the_revoked_contract_revokes_it_again_if_that_was_lost() -> None:
    house = under(contract())
    later = await answered(house)
    standing = await judged(house, await answered(house), **BAD_HERE)
    while standing.contract is not None and standing.contract.state is State.MET:
        standing = await judged(house, await answered(house), **BAD_HERE)
    assert standing.contract is not None
    await house.deps.policies.activate(RoutingPolicy(contracts=(contract(),)), by="somebody's old copy")
    assert (await judged(house, later, **GOOD_HERE)).contract is not None
    ((now, _),) = await standings(house.deps)
    assert now.state is State.REVOKED


async def test_two_judges_of_one_answer_are_one_row_of_the_watch() -> None:
    house = under(contract())
    answer = await answered(house)
    assert (await judged(house, answer, **BAD_HERE)).watch == (await judged(house, answer, **GOOD_HERE)).watch
    ((_, watch),) = await standings(house.deps)
    assert watch is not None
    assert watch.rows == 1


@pytest.mark.parametrize(
    "outcomes",
    [{LOCAL: 0.0}, {PREMIUM: 1.0}, {"deepseek-chat": 0.0, PREMIUM: 1.0}],
    ids=["no reference", "not the one served", "neither"],
)
async def test_a_label_without_the_servers_and_the_references_outcome_says_nothing_of_the_contract(
    outcomes: dict[str, float],
) -> None:
    house = under(contract())
    standing = await judged(house, await answered(house), **outcomes)
    assert standing.new
    assert (standing.contract, standing.watch) == (None, None)
    assert [watch for _, watch in await standings(house.deps)] == [None]


@pytest.mark.parametrize("state", [State.REFERENCE, State.UNCERTIFIED, State.REVOKED])
async def test_a_contract_that_is_not_in_force_is_not_watched(state: State) -> None:
    house = under(contract(state))
    standing = await judged(house, await answered(house), **GOOD_HERE)
    assert (standing.contract, standing.watch) == (None, None)


async def test_rows_chosen_by_chance_weigh_by_it_and_rarer_ones_than_the_first_are_let_be() -> None:
    house = under(contract())

    async def with_chance(inclusion: float) -> Standing:
        answer = await answered(house)
        given = a_label(request_id=answer.request.id, outcomes=BAD_HERE, inclusion=inclusion)
        return await label(house.deps, given)

    first = await with_chance(0.1)
    assert first.watch is not None
    assert (first.watch.least_inclusion, first.watch.rows) == (0.1, 1)
    assert (await with_chance(0.05)).watch is None
    last = await with_chance(1.0)
    assert last.watch is not None
    assert last.watch.rows == 2


async def test_nobody_labels_what_another_tenant_asked() -> None:
    house = build()
    answer = await answered(house, caller=Caller(tenant="rival"))
    with pytest.raises(NotFound, match="no inference"):
        await judged(house, answer, **GOOD_HERE)
    with pytest.raises(NotFound):
        await label(house.deps, a_label(request_id=new_id()))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task_class": ""}, "task_class"),
        ({"outcomes": {}}, "outcomes"),
        ({"outcomes": {LOCAL: 1.1}}, f"outcomes.{LOCAL}"),
        ({"outcomes": {LOCAL: float("nan")}}, f"outcomes.{LOCAL}"),
        ({"inclusion": 0.0}, "inclusion"),
        ({"inclusion": 1.5}, "inclusion"),
    ],
)
async def test_an_impossible_label_is_refused_and_not_kept(changes: dict[str, Any], field: str) -> None:
    house = build()
    with pytest.raises(InvalidInput) as refused:
        await label(house.deps, a_label(**{"task_class": "support", **changes}))
    assert refused.value.details["field"] == field
    assert list(await house.deps.labels.of_class(None, "support")) == []
