"""Contracts, rules, neighbours, conversations and pace in the main story, on memory twins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.adapters.memory_learning import MemoryConversations, MemoryNeighbours
from orchestrator.core.contract.certificate import Certificate, Contract, State
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.rules import Rule
from orchestrator.core.types import Call, Message, Pace, Reply, Strategy
from orchestrator.flow.route import route
from orchestrator.flow.stream import stream
from orchestrator.ports import Label
from tests.flow.house import BAD, LOCAL, MID, PREMIUM, UP, Script, always, build, reply
from tests.samples import new_id, request


def policy(state: State = State.MET, threshold: float = inf) -> RoutingPolicy:
    certificate = Certificate(state=state, threshold=threshold, epsilon=0.05, delta=0.1, n=900)
    contract = Contract(
        task_class="support",
        weak=MID,
        reference=PREMIUM,
        scorer=shipped_predictor().version,
        certificate=certificate,
        certified_at=datetime(2026, 11, 20, tzinfo=UTC),
    )
    return RoutingPolicy(contracts=(contract,))


async def test_a_met_contract_sends_its_class_to_the_weak_model_and_says_so_in_every_row() -> None:
    house = build(policy=policy())
    answered = await route(house.deps, request("Create a FastAPI server", task_class="support"))
    assert answered.answered_by.model_id == MID
    row = house.rows()[0]
    assert row["task_class"] == "support"
    assert row["scorer"] == shipped_predictor().version
    assert row["contract"]["state"] == "met"
    assert row["contract"]["threshold"] is None  # every request may go to the weak model


async def test_a_poor_answer_of_the_weak_model_still_escalates_to_the_reference() -> None:
    house = build(policy=policy(), mid=reply(BAD))
    answered = await route(house.deps, request("Create a FastAPI server", task_class="support"))
    assert [attempt.model_id for attempt in answered.attempts] == [MID, PREMIUM]


async def test_a_revoked_contract_serves_the_reference() -> None:
    house = build(policy=policy(State.REVOKED))
    answered = await route(house.deps, request("Hi!", task_class="support"))
    assert answered.answered_by.model_id == PREMIUM


async def test_a_rule_for_a_user_holds_through_the_whole_story() -> None:
    house = build(
        policy=RoutingPolicy(rules=(Rule(name="interns", users=("intern-*",), strategy=Strategy.LOCAL_ONLY),))
    )
    answered = await route(house.deps, request("Create a FastAPI server", user="intern-3"))
    assert answered.answered_by.model_id == LOCAL
    assert answered.decision.plan.reason.endswith("under rule 'interns'")
    assert house.rows()[0]["strategy"] == "local_only"


async def test_past_prompts_are_asked_for_only_where_the_choice_is_close() -> None:
    house = build()
    neighbours = house.deps.neighbours
    assert isinstance(neighbours, MemoryNeighbours)
    await route(house.deps, request("Create a FastAPI server", model=PREMIUM))
    assert neighbours.asked == 0
    await route(house.deps, request("What is 2+2?"))  # local is predicted just good enough
    assert neighbours.asked == 1


async def test_outcomes_of_like_prompts_change_the_plan() -> None:
    house = build()
    for n in range(8):
        text, outcomes = f"What is 2+2? ({n})", {LOCAL: 0.0, MID: 1.0}
        label = Label(id=new_id(), tenant="default", task_class="x", text=text, outcomes=outcomes)
        await house.deps.neighbours.learn("default", label)
    answered = await route(house.deps, request("What is 2+2?"))
    assert answered.answered_by.model_id == MID
    assert f"of 8 past prompts like this {LOCAL} failed 8" in answered.decision.plan.reason


async def test_another_tenants_outcomes_change_nothing() -> None:
    house = build()
    label = Label(id=new_id(), tenant="acme", task_class="x", text="What is 2+2?", outcomes={LOCAL: 0.0})
    for _ in range(8):
        await house.deps.neighbours.learn("acme", label)
    assert (await route(house.deps, request("What is 2+2?"))).answered_by.model_id == LOCAL


async def test_the_next_turn_stays_with_the_model_that_answered() -> None:
    house = build(local=always(reply(BAD), reply("Fine.")), mid=reply("Four, because two and two make four."))
    first = await route(house.deps, request("What is 2+2?"))
    assert first.answered_by.model_id == MID
    turns = (
        *first.request.messages,
        Message(role="assistant", content=first.reply.text or ""),
        Message(role="user", content="And 3+3?"),
    )
    second = await route(house.deps, request(messages=turns))
    assert second.answered_by.model_id == MID
    assert f"the conversation stays with {MID}" in second.decision.plan.reason


async def test_a_streamed_answer_is_remembered_too() -> None:
    house = build()
    async for _ in stream(house.deps, request("Hi!")):
        pass
    conversations = house.deps.conversations
    assert isinstance(conversations, MemoryConversations)
    assert list(conversations.models.values()) == [LOCAL]


async def test_what_a_call_took_is_told_to_the_fleet_against_what_was_stated() -> None:
    house = build(mid=reply(tokens_out=240))
    await route(house.deps, request("Hi!", model=MID))
    [(model, latency, output)] = house.fleet.observed
    assert (model, output) == (MID, 2.0)  # twice the 120 tokens stated for a simple request
    assert 0 < latency < 1


async def test_a_long_queue_is_part_of_the_predicted_latency() -> None:
    house = build()
    house.fleet.paces[LOCAL] = Pace(wait_ms=9_000.0, slowness=2.0)
    slow = (await route(house.deps, request("Hi!"))).decision
    usual = (await route(build().deps, request("Hi!"))).decision
    of = {score.model_id: score.latency_ms for score in slow.scores}
    stated = {score.model_id: score.latency_ms for score in usual.scores}
    assert of[LOCAL] == 9_000 + 2 * stated[LOCAL]
    assert of[MID] == stated[MID]


async def test_the_policys_contract_is_part_of_its_version() -> None:
    met, revoked = policy(), policy(State.REVOKED)
    assert met.version != revoked.version
    assert replace(met, name="other").version == met.version


SECOND = "qwen2.5-3b-instruct"
SUM = "A farmer has 17 sheep and buys 25 more, then sells 8. How many sheep does he have? Give a number."


VOTES = RoutingPolicy(
    ladders={**RoutingPolicy().ladders, "medium": ("local", "premium")},
    accept_right=0.4,
    accept_wrong=0.1,
    agree_rates=(0.9, 0.05),
    accept_at=0.7,
)


def two_locals(first: str, second: str) -> Script:
    return lambda call: reply(first if call.model_id == LOCAL else second)


async def test_two_cheap_models_that_agree_need_no_dear_one() -> None:
    house = build(
        policy=VOTES, up=UP | {SECOND}, local=two_locals("The answer is 34.", "He has 34 sheep. The answer is 34.")
    )
    answered = await route(house.deps, request(SUM))
    assert sorted(attempt.model_id for attempt in answered.attempts) == sorted([LOCAL, SECOND])
    assert answered.cost_nanousd == 0
    assert answered.answered_by.quality is not None
    assert answered.answered_by.quality.signals["agreement"] == 1.0


async def test_two_cheap_models_that_differ_are_decided_by_the_better_one() -> None:
    house = build(policy=VOTES, up=UP | {SECOND}, local=two_locals("The answer is 34.", "The answer is 50."))
    answered = await route(house.deps, request(SUM))
    assert len(answered.attempts) == 3
    assert answered.attempts[-1].model_id == PREMIUM


async def test_a_caller_who_leaves_while_the_answer_is_read_pays_what_it_cost() -> None:
    asked, leave = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> Reply:
        asked.set()
        await leave.wait()
        return reply()

    points = ". ".join(f"Point {n} is that a rent {n} moves and a home {n} stays" for n in range(12))
    house = build(builtin=slow, mid=reply(f"{points}."))
    waiting = asyncio.create_task(
        route(house.deps, request("Compare renting and buying a flat: which would you choose, and why?"))
    )
    await asyncio.wait_for(asked.wait(), 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    leave.set()
    [row] = house.rows()
    assert row["ending"] == "settled"
    spent, reserved = await house.money()
    assert (spent, reserved) == (row["cost_nanousd"], 0)
