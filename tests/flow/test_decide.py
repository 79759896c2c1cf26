"""Decisions: which models are considered, and what a decision keeps for replay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.adapters.memory import MemoryLedger
from orchestrator.core.budget import BudgetState
from orchestrator.core.errors import BudgetExceeded, NoModelAvailable
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Caller, Complexity, Options, Strategy
from orchestrator.flow.decide import decide
from registry.schema import Task
from tests.flow.house import CREATIVE, LOCAL, MID, PREMIUM, build
from tests.samples import USD, request

TOOL = {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("text", ["Hi!", "What is 2+2?", "Summarize this text: The Nile is a river in Africa."])
async def test_easy_prompts_stay_local(text: str) -> None:
    plan = (await decide(build().deps, request(text))).plan
    assert (plan.rungs[0].model_id, plan.complexity) == (LOCAL, Complexity.SIMPLE)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Create a FastAPI server", Options()),
        ("Hi!", Options(tools=(TOOL,))),
        ("Summarize this text: short.", Options(tools=(TOOL,))),
    ],
)
async def test_code_and_any_request_with_tools_go_premium(text: str, options: Options) -> None:
    plan = (await decide(build().deps, request(text, options=options))).plan
    assert plan.rungs[0].model_id == PREMIUM


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("What is the capital of France?", LOCAL),
        ("Compare renting and buying a flat and discuss the trade-offs.", MID),
        ("Create a FastAPI server", PREMIUM),
        ("Write the press release for our product launch.", PREMIUM),
        ("Write a haiku about rain.", CREATIVE),
    ],
)
async def test_each_class_begins_where_the_policy_says(text: str, first: str) -> None:
    assert (await decide(build().deps, request(text))).plan.rungs[0].model_id == first


async def test_a_forced_tool_goes_to_a_model_that_takes_one() -> None:
    options = Options(tools=(TOOL,), tool_choice="get_weather")
    assert (await decide(build().deps, request("Hi!", options=options))).plan.rungs[0].model_id == CREATIVE


async def test_a_decision_keeps_what_a_replay_needs() -> None:
    decision = await decide(build().deps, request("Create a FastAPI server"))
    assert decision.features is not None
    assert decision.features.code == 1.0
    assert decision.policy_version == RoutingPolicy().version
    assert len(decision.registry_version) == 16
    assert {score.model_id for score in decision.scores} >= {PREMIUM, CREATIVE, MID}


async def test_tasks_without_paid_models_ignore_premium_only() -> None:
    asked = request(task=Task.SENTIMENT, messages=(), texts=("fine",), strategy=Strategy.PREMIUM_ONLY)
    assert (await decide(build().deps, asked)).plan.rungs[0].model_id == "vader"


async def test_one_key_is_enough_to_be_answered() -> None:
    for only in (PREMIUM, CREATIVE, MID):
        decision = await decide(build(up=frozenset({only})).deps, request("What is 2+2?"))
        assert [rung.model_id for rung in decision.plan.rungs] == [only]


async def test_a_modality_without_a_worker_says_so() -> None:
    asked = request(task=Task.TRANSCRIBE, messages=())
    with pytest.raises(NoModelAvailable, match=r"no model for transcribe can be called now\. faster-whisper-base: "):
        await decide(build().deps, asked)


async def test_another_policy_is_another_version_and_another_plan() -> None:
    policy = RoutingPolicy.from_dict({"ladders": {"simple": ["premium"]}}, "all premium")
    decision = await decide(build(policy=policy).deps, request("Hi!"))
    assert [rung.model_id for rung in decision.plan.rungs] == [PREMIUM]
    assert decision.policy_version == policy.version != RoutingPolicy().version


class StaleLedger(MemoryLedger):
    """What it says lately is behind; asked for now it is right."""

    async def tightest(self, caller: Caller, *, now: bool = False) -> BudgetState | None:
        found = await super().tightest(caller, now=now)
        return found if now or found is None else replace(found, spent_nanousd=found.limit_nanousd)


async def test_nobody_is_refused_for_what_a_budget_left_a_few_seconds_ago() -> None:
    house = build(up=frozenset({PREMIUM}))
    deps = replace(house.deps, ledger=StaleLedger({"global": 200 * USD}))
    assert (await decide(deps, request("Create a FastAPI server"))).plan.rungs[0].model_id == PREMIUM


async def test_a_budget_that_is_spent_now_is_told() -> None:
    house = build(up=frozenset({PREMIUM}), budget_nanousd=0)
    with pytest.raises(BudgetExceeded):
        await decide(house.deps, request("Create a FastAPI server"))


LONG = "Summarize this text: " + "The Nile is a river in Africa. " * 200


async def test_a_prompt_longer_than_a_loaded_model_holds_goes_to_the_next() -> None:
    house = build()
    assert (await decide(house.deps, request(LONG))).plan.rungs[0].model_id == LOCAL
    house.fleet.held[LOCAL] = 1_024
    assert (await decide(house.deps, request(LONG))).plan.rungs[0].model_id == MID


async def test_where_nobody_else_may_answer_the_short_context_does() -> None:
    house = build()
    house.fleet.held[LOCAL] = 1_024
    asked = request(LONG, strategy=Strategy.LOCAL_ONLY)
    assert (await decide(house.deps, asked)).plan.rungs[0].model_id == LOCAL
