"""Streamed answers on memory twins: failing over before the first word, telling the truth after it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from orchestrator.adapters.memory import Cut
from orchestrator.core.errors import (
    AllRungsFailed,
    BudgetExceeded,
    CallBroken,
    CallRateLimited,
    CallTimedOut,
    CallUnreachable,
)
from orchestrator.core.types import Answer, Decision, Strategy
from orchestrator.flow.stream import stream
from tests.flow.house import BAD, CREATIVE, GOOD, LOCAL, MID, PREMIUM, House, build, reply
from tests.samples import request

HARD = "Create a FastAPI server"


async def collect(house: House, seen: list[object]) -> None:
    async for event in stream(house.deps, request(HARD)):
        seen.append(event)


async def events(house: House, text: str = HARD, **changes: Any) -> list[str | Decision | Answer]:
    return [event async for event in stream(house.deps, request(text, **changes))]


async def test_a_stream_is_the_decision_then_its_words_then_the_answer() -> None:
    house = build(premium=reply("Here it is.", tokens_in=100, tokens_out=10))
    decision, *words, answered = await events(house)
    assert isinstance(decision, Decision)
    assert words == ["Here", " it", " is."]
    assert isinstance(answered, Answer)
    assert (answered.reply.text, answered.cost_nanousd) == ("Here it is.", 100 * 2_000 + 10 * 10_000)
    assert await house.money() == (300_000, 0)


async def test_a_failure_before_the_first_word_falls_back_unseen() -> None:
    house = build(premium=CallUnreachable("refused"), creative=reply("From GPT."))
    _, *words, answered = await events(house)
    assert "".join(word for word in words if isinstance(word, str)) == "From GPT."
    assert isinstance(answered, Answer)
    assert [(a.model_id, a.error_code) for a in answered.attempts] == [
        (PREMIUM, "provider_unreachable"),
        (CREATIVE, None),
    ]


async def test_a_cut_after_the_first_word_is_told_with_what_was_said_and_lapses() -> None:
    house = build(premium=Cut("Half of it", CallBroken("connection reset")))
    seen: list[object] = []
    with pytest.raises(CallBroken, match="stream of claude-sonnet was cut after 3 pieces: connection reset") as cut:
        await collect(house, seen)
    assert seen[1:] == ["Half", " of", " it"]
    assert cut.value.details["partial_text"] == "Half of it"
    (row,) = house.rows()
    assert (row["ending"], row["error_code"], row["output"]) == ("lapsed", "provider_error", "Half of it")
    assert await house.money() == (row["hold_nanousd"], 0)
    assert house.called() == [PREMIUM]


async def test_a_poor_streamed_answer_is_judged_served_and_never_escalated() -> None:
    house = build(premium=reply(BAD))
    answered = (await events(house))[-1]
    assert isinstance(answered, Answer)
    assert answered.answered_by.quality is not None
    assert answered.answered_by.quality.value == 0.2
    assert house.called() == [PREMIUM]
    assert house.rows()[0]["accepted"] is True


async def test_a_consumer_who_leaves_closes_the_stream_and_lets_the_attempt_lapse() -> None:
    house = build(premium=reply("one two three four"))
    async with aclosing(stream(house.deps, request(HARD))) as story:
        async for event in story:
            if event == " two":
                break
    (row,) = house.rows()
    assert (row["ending"], row["error_code"]) == ("lapsed", "abandoned")
    assert house.providers["anthropic"].open_streams == 0
    assert await house.money() == (row["hold_nanousd"], 0)


async def test_a_consumer_who_leaves_after_the_decision_costs_nothing() -> None:
    house = build()
    async with aclosing(stream(house.deps, request(HARD))) as story:
        assert isinstance(await anext(story), Decision)
    assert house.called() == []
    assert await house.money() == (0, 0)


async def test_a_refused_budget_streams_from_our_own_machine_where_the_plan_has_it() -> None:
    house = build(local=reply("Local words."), budget_nanousd=1_000)
    answered = (await events(house, strategy=Strategy.LOCAL_FALLBACK))[-1]
    assert isinstance(answered, Answer)
    assert (answered.answered_by.model_id, house.called()) == (LOCAL, [LOCAL])


async def test_a_refused_budget_is_told_before_any_call() -> None:
    house = build(budget_nanousd=1_000)
    with pytest.raises(BudgetExceeded):
        await events(house)
    assert house.called() == []


async def test_when_every_model_fails_before_its_first_word_all_are_told() -> None:
    house = build(premium=CallRateLimited("429"), creative=CallTimedOut("60 s"), mid=CallUnreachable("refused"))
    with pytest.raises(AllRungsFailed) as failed:
        await events(house)
    assert [a["model"] for a in failed.value.details["attempts"]] == [PREMIUM, CREATIVE, MID]
    assert [row["ending"] for row in house.rows()] == ["released", "lapsed", "released"]


async def test_a_local_stream_costs_nothing() -> None:
    house = build()
    answered = (await events(house, "Hi!"))[-1]
    assert isinstance(answered, Answer)
    assert (answered.answered_by.model_id, answered.cost_nanousd, answered.reply.text) == (LOCAL, 0, GOOD)
    assert MID not in house.called()
