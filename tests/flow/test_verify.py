"""What is gathered of a reply before it is judged: whom it asks, when it asks nobody, and what a failure costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.errors import CallTimedOut, InferenceFailed
from orchestrator.core.quality.judge import Evidence, judge
from orchestrator.core.types import (
    Complexity,
    Decision,
    Neighbour,
    Plan,
    Reply,
    Request,
    Rung,
    Score,
)
from orchestrator.flow.verify import RELEVANCE_TIMEOUT_S, evidence, judged
from registry.schema import Task, Usage
from tests.flow.house import LOCAL, PREMIUM, UP, House, build
from tests.samples import request

QUESTION = "What should I know about flour before I bake?"
LONG = (
    "Start with a small bowl of flour and water. Leave it near a window for a day, then feed it again with the same "
    "amount of flour. After a week it smells sour and is full of air, and you can bake with it."
)
RERANKER = "minilm-l6-builtin"
CROSS_ENCODER = "ms-marco-minilm-l12-v2"


def ranked(score: Any) -> Reply:
    return Reply(usage=Usage(input_tokens=70), data=[{"index": 0, "score": score}])


def decision(*rungs: Rung, **changes: Any) -> Decision:
    given = rungs or (Rung(model_id=LOCAL, threshold=0.5), Rung(model_id=PREMIUM, threshold=0.0))
    plan = Plan(rungs=given, complexity=Complexity.SIMPLE, reason="for a test")
    known = Decision(plan=plan, features=None, scores=(), registry_version="r", policy_version="p")
    return replace(known, **changes)


def said(text: str = LONG, **changes: Any) -> Reply:
    return Reply(usage=Usage(), text=text, **changes)


async def relevance(
    house: House, reply: Reply, chosen: Decision | None = None, rung: int = 0, asked: Request | None = None
) -> tuple[float | None, int]:
    """The relevance found, and how often the reranker was asked."""
    found, cost, _ = await evidence(
        house.deps, asked or request(QUESTION), chosen or decision(), rung, reply, (), house.deps.judge
    )
    assert cost == 0
    return found.relevance, house.called().count(RERANKER)


async def test_the_local_reranker_is_asked_how_near_a_long_reply_is_to_its_question() -> None:
    house = build(builtin=ranked(0.83))
    assert await relevance(house, said()) == (0.83, 1)
    call = house.providers["builtin"].calls[0]
    assert (call.task, call.query, call.texts) == (Task.RERANK, QUESTION, (LONG,))
    assert call.timeout_s == RELEVANCE_TIMEOUT_S


async def test_a_cross_encoder_is_asked_before_the_embedder_where_it_is_there() -> None:
    house = build(local=ranked(0.98), builtin=ranked(0.83), up=UP | {CROSS_ENCODER})
    found, _, _ = await evidence(house.deps, request(QUESTION), decision(), 0, said(), (), house.deps.judge)
    assert (found.relevance, found.relevance_by) == (0.98, CROSS_ENCODER)
    assert house.called() == [CROSS_ENCODER]


@pytest.mark.parametrize(
    ("chosen", "rung"),
    [
        (decision(), 1),
        (decision(Rung(model_id=LOCAL, threshold=0.5)), 0),
        (decision(Rung(model_id=LOCAL, threshold=0.5), Rung(model_id=PREMIUM, threshold=0.0, fallback=True)), 0),
        (decision(Rung(model_id=LOCAL, threshold=0.0), Rung(model_id=PREMIUM, threshold=0.0)), 0),
    ],
)
async def test_nobody_is_asked_where_no_better_model_is_left(chosen: Decision, rung: int) -> None:
    assert await relevance(build(builtin=ranked(0.83)), said(), chosen, rung) == (None, 0)


@pytest.mark.parametrize(
    "reply",
    [
        said("I'm sorry, but I can't help with that. " + LONG),
        said("Flour is ground corn."),
        said(LONG + " 2 + 2 = 5."),
        said(""),
    ],
)
async def test_nobody_is_asked_where_the_checks_have_decided_or_nothing_shows(reply: Reply) -> None:
    assert await relevance(build(builtin=ranked(0.83)), reply) == (None, 0)


async def test_nobody_is_asked_where_the_reranker_is_away_or_the_judge_knows_no_labels() -> None:
    assert await relevance(build(builtin=ranked(0.83), up=UP - {RERANKER}), said()) == (None, 0)
    house = build(builtin=ranked(0.83))
    found, _, _ = await evidence(house.deps, request(QUESTION), decision(), 0, said(), (), judge)
    assert found.relevance is None
    assert house.called() == []


@pytest.mark.parametrize(
    "answer",
    [
        CallTimedOut("late"),
        InferenceFailed("broken", worker_code="inference_failed"),
        ranked(None),
        ranked(7.5),
        Reply(usage=Usage(), data=[]),
        Reply(usage=Usage(), data=None),
        Reply(usage=Usage(), data=["x"]),
    ],
)
async def test_a_reranker_that_fails_or_talks_nonsense_is_one_that_was_not_asked(answer: Any) -> None:
    assert await relevance(build(builtin=answer), said()) == (None, 1)


async def test_a_reply_about_something_else_is_graded_low_and_the_signals_tell_why() -> None:
    house = build(builtin=ranked(0.5))
    grade, cost = await judged(house.deps, request(QUESTION), decision(), 0, said(), ())
    assert cost == 0
    assert grade.value < 0.1
    assert grade.signals["relevance"] == 0.5
    assert grade.signals["relevance_ms"] == 0.0
    near = build(builtin=ranked(0.85))
    assert (await judged(near.deps, request(QUESTION), decision(), 0, said(), ()))[0].value > 0.7


async def test_what_the_decision_and_the_reply_already_tell_is_handed_on() -> None:
    score = Score(model_id=LOCAL, p_adequate=0.62, output_tokens=1, cost_nanousd=0, latency_ms=1)
    other = Score(model_id=PREMIUM, p_adequate=0.95, output_tokens=1, cost_nanousd=0, latency_ms=1)
    like = tuple(Neighbour(similarity=0.95, outcomes={LOCAL: outcome}) for outcome in (1.0, 1.0, 1.0, 0.0, 1.0))
    chosen = decision(scores=(other, score), neighbours=like)
    before = said("It is 4.")
    found, _, _ = await evidence(
        build().deps, request("2?"), chosen, 0, said("Four.", mean_logprob=-0.25), (before,), judge
    )
    assert found == Evidence(earlier=(before,), mean_logprob=-0.25, neighbours=0.8, predicted=0.62)
    few = decision(neighbours=like[:4])
    assert (await evidence(build().deps, request("2?"), few, 0, said("Four."), (), judge))[0] == Evidence()


async def test_other_tasks_ask_nobody_and_are_graded_by_whether_they_answered() -> None:
    house = build(builtin=ranked(0.83))
    asked = request(task=Task.EMBED, messages=(), texts=("x",))
    grade, cost = await judged(house.deps, asked, decision(), 0, Reply(usage=Usage(), data=[[0.1]]), ())
    assert (grade.value, cost, house.called()) == (1.0, 0, [])
