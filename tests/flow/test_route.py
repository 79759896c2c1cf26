"""The main story on memory twins: plans climbed, failures told, money ended in every way out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.core.errors import (
    AllRungsFailed,
    BudgetExceeded,
    CallBroken,
    CallFailed,
    CallRateLimited,
    CallRefused,
    CallTimedOut,
    CallUnreachable,
    DeadlineExceeded,
    InferenceFailed,
    LedgerUnavailable,
    ModelNotFound,
    NoModelAvailable,
    NotEligible,
)
from orchestrator.core.types import (
    Answer,
    Call,
    Constraints,
    Ending,
    FinishReason,
    Options,
    Reply,
    Request,
    Strategy,
    ToolCall,
)
from orchestrator.flow.route import route
from registry.schema import Task, Tier
from tests.flow.house import BAD, CREATIVE, GOOD, LOCAL, MID, PREMIUM, UP, House, always, build, cut_short, reply
from tests.samples import request

HARD = "Create a FastAPI server"
TOOL = {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}}
PAID = UP - {LOCAL}


async def answer(house: House, text: str = "What is 2+2?", **changes: Any) -> Answer:
    return await route(house.deps, request(text, **changes))


def told(answered: Answer) -> list[tuple[str, Ending, str | None, bool]]:
    return [(a.model_id, a.ending, a.error_code, a.accepted) for a in answered.attempts]


async def test_a_simple_prompt_is_answered_locally_for_nothing() -> None:
    house = build()
    answered = await answer(house)
    assert (answered.answered_by.model_id, answered.cost_nanousd, answered.reply.text) == (LOCAL, 0, GOOD)
    assert told(answered) == [(LOCAL, Ending.SETTLED, None, True)]
    assert await house.money() == (0, 0)


async def test_a_paid_answer_costs_its_usage_to_the_nano_dollar() -> None:
    house = build(premium=reply(tokens_in=1_000, tokens_out=500))
    answered = await answer(house, HARD)
    assert answered.answered_by.model_id == PREMIUM
    # $2 and $10 a million tokens: 1,000 · 2,000 + 500 · 10,000 nano-dollars
    assert answered.cost_nanousd == 7_000_000
    assert await house.money() == (7_000_000, 0)


async def test_a_bad_answer_escalates_and_both_attempts_are_in_the_log() -> None:
    house = build(local=reply(BAD))
    answered = await answer(house)
    assert told(answered) == [(LOCAL, Ending.SETTLED, None, False), (MID, Ending.SETTLED, None, True)]
    assert answered.reply.text == GOOD
    assert [(row["model_id"], row["accepted"], row["rung"]) for row in house.rows()] == [
        (LOCAL, False, 0),
        (MID, True, 1),
    ]


async def test_a_failed_model_falls_back_to_the_next() -> None:
    house = build(local=InferenceFailed("out of memory", worker_code="memory_exceeded"))
    answered = await answer(house)
    assert told(answered) == [
        (LOCAL, Ending.RELEASED, "memory_exceeded", False),
        (MID, Ending.SETTLED, None, True),
    ]


async def test_claude_is_the_last_resort_of_a_simple_prompt() -> None:
    house = build(local=CallTimedOut("slow"), mid=CallBroken("500"))
    answered = await answer(house)
    assert [a.model_id for a in answered.attempts] == [LOCAL, MID, PREMIUM]


@pytest.mark.parametrize(
    ("failure", "ending"),
    [
        (CallRefused("400"), Ending.RELEASED),
        (CallRateLimited("429"), Ending.RELEASED),
        (CallUnreachable("refused"), Ending.RELEASED),
        (CallTimedOut("60 s"), Ending.LAPSED),
        (CallBroken("500"), Ending.LAPSED),
    ],
)
async def test_an_unbilled_failure_is_released_and_an_unknown_one_lapses(failure: CallFailed, ending: Ending) -> None:
    house = build(mid=failure, up=PAID)
    answered = await answer(house)
    first = answered.attempts[0]
    assert (first.model_id, first.ending) == (MID, ending)
    assert first.hold_nanousd > 0
    assert first.cost_nanousd == (first.hold_nanousd if ending is Ending.LAPSED else 0)
    assert await house.money() == (answered.cost_nanousd, 0)


async def test_the_last_model_is_asked_once_more_after_a_passing_failure() -> None:
    house = build(premium=always(CallRateLimited("429"), reply()), up=frozenset({PREMIUM}))
    before = house.clock.monotonic()
    answered = await answer(house, HARD)
    assert told(answered) == [
        (PREMIUM, Ending.RELEASED, "rate_limited", False),
        (PREMIUM, Ending.SETTLED, None, True),
    ]
    assert house.clock.monotonic() - before == pytest.approx(0.25)


async def test_a_refused_call_is_not_repeated() -> None:
    house = build(premium=CallRefused("400: bad request"), up=frozenset({PREMIUM}))
    with pytest.raises(AllRungsFailed, match="claude-sonnet: 400: bad request"):
        await answer(house, HARD)
    assert house.called() == [PREMIUM]


async def test_when_nothing_is_good_enough_the_best_answer_is_served() -> None:
    house = build(local=cut_short(), mid=reply(BAD), premium=reply(BAD))
    answered = await answer(house)
    assert answered.answered_by.model_id == LOCAL  # 0.4 for a cut answer against 0.2 for a refusal
    assert [a.quality.value for a in answered.attempts if a.quality] == [0.4, 0.2, 0.2]


async def test_when_all_fail_every_attempt_is_told() -> None:
    house = build(local=InferenceFailed("no memory", worker_code="memory_exceeded"), mid=CallBroken("bad gateway"))
    house.fleet.down |= {PREMIUM: "no key", CREATIVE: "no key", "claude-opus-5-5": "no key"}
    with pytest.raises(AllRungsFailed) as failed:
        await answer(house)
    assert failed.value.details["attempts"] == [
        {"model": LOCAL, "code": "memory_exceeded", "message": "no memory"},
        {"model": MID, "code": "provider_error", "message": "bad gateway"},
        {"model": MID, "code": "provider_error", "message": "bad gateway"},
    ]
    assert len(house.rows()) == 3
    assert [row["ending"] for row in house.rows()] == ["released", "lapsed", "lapsed"]


async def test_a_workers_word_on_bad_input_is_the_callers_mistake() -> None:
    house = build(builtin=InferenceFailed("text 3 is empty", worker_code="invalid_input"))
    with pytest.raises(AllRungsFailed) as failed:
        await answer(house, task=Task.SENTIMENT, messages=(), texts=("",))
    assert {attempt["code"] for attempt in failed.value.details["attempts"]} == {"invalid_input"}


# -- budgets ----------------------------------------------------------------------------------------


async def test_a_spent_budget_refuses_by_name_and_calls_nobody() -> None:
    house = build(budget_nanousd=1_000, up=frozenset({PREMIUM}))
    with pytest.raises(BudgetExceeded, match=r"budget 'global' has \$0.000001 of \$0.000001 left"):
        await answer(house, HARD)
    assert house.called() == []
    assert house.rows() == []
    assert await house.money() == (0, 0)


async def test_a_spent_budget_falls_back_to_our_own_machine_where_asked() -> None:
    house = build(budget_nanousd=1_000)
    answered = await answer(house, HARD, strategy=Strategy.LOCAL_FALLBACK)
    assert told(answered) == [(LOCAL, Ending.SETTLED, None, True)]
    assert house.called() == [LOCAL]


async def test_a_spent_budget_serves_the_poor_local_answer_rather_than_none() -> None:
    house = build(local=cut_short(), budget_nanousd=1_000)
    answered = await answer(house)
    assert (answered.answered_by.model_id, answered.reply.text) == (LOCAL, GOOD)
    assert house.called() == [LOCAL]


async def test_a_spent_budget_after_a_failed_local_model_is_told_as_the_budget() -> None:
    house = build(local=InferenceFailed("no memory", worker_code="memory_exceeded"), budget_nanousd=1_000)
    with pytest.raises(BudgetExceeded):
        await answer(house)
    assert [row["model_id"] for row in house.rows()] == [LOCAL]


async def test_a_hundred_at_once_never_overrun_a_budget_for_three() -> None:
    one = build(up=frozenset({PREMIUM}))
    hold = (await answer(one, HARD, options=Options(max_tokens=100))).attempts[0].hold_nanousd
    house = build(premium=reply(tokens_in=0, tokens_out=100), up=frozenset({PREMIUM}), budget_nanousd=3 * hold)
    tries = [answer(house, HARD, options=Options(max_tokens=100)) for _ in range(100)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    spent, reserved = await house.money()
    assert spent <= 3 * hold
    assert reserved == 0
    assert len(house.called()) == sum(isinstance(outcome, Answer) for outcome in outcomes)
    assert sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes) == 100 - len(house.called())


async def test_without_a_ledger_no_paid_call_is_made() -> None:
    house = build(up=frozenset({PREMIUM}))
    house.ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await answer(house, HARD)
    assert house.called() == []


async def test_the_most_a_request_may_cost_is_never_passed() -> None:
    def spends(call: Call) -> Reply:
        return reply(tokens_in=30, tokens_out=call.max_tokens or 0, finish_reason=FinishReason.LENGTH)

    house = build(premium=spends, creative=spends, mid=spends)
    limit = 20_000_000  # two cents, for up to three attempts
    answered = await answer(house, HARD, constraints=Constraints(max_cost_nanousd=limit))
    assert 0 < answered.cost_nanousd <= limit
    assert answered.attempts[0].hold_nanousd <= limit


async def test_a_model_too_dear_for_the_rest_of_max_cost_is_passed_over() -> None:
    house = build()
    bulky = "Create a FastAPI server. " + "Mind the data. " * 1_000  # 15 kB: up to 15,000 tokens, 3 cents with Claude
    answered = await answer(house, bulky, constraints=Constraints(max_cost_nanousd=25_000_000))
    assert answered.answered_by.model_id == MID
    assert house.called() == [MID]


# -- time -------------------------------------------------------------------------------------------


async def test_a_call_never_waits_longer_than_the_deadline_leaves() -> None:
    house = build(up=frozenset({PREMIUM}))
    await answer(house, HARD, constraints=Constraints(deadline_ms=20_000))
    assert house.providers["anthropic"].calls[0].timeout_s == 20.0


async def test_a_deadline_that_passed_stops_before_the_next_call() -> None:
    house = build(premium=lambda call: late(house, CallTimedOut("30 s")))
    with pytest.raises(DeadlineExceeded, match="deadline of 30000 ms passed after 31000 ms"):
        await answer(house, HARD, constraints=Constraints(deadline_ms=30_000))
    assert house.called() == [PREMIUM]


async def test_a_deadline_that_passed_serves_the_poor_answer_that_came_in_time() -> None:
    house = build(premium=lambda call: late(house, cut_short()))
    answered = await answer(house, HARD, constraints=Constraints(deadline_ms=30_000))
    assert (answered.answered_by.model_id, answered.reply.text) == (PREMIUM, GOOD)


async def late(house: House, outcome: Reply | Exception) -> Reply | Exception:
    house.clock.advance(31)
    return outcome


async def test_local_and_paid_calls_have_their_own_time_limits() -> None:
    house = build(local=reply(BAD), call_timeout_s=11.0, local_timeout_s=7.0)
    await answer(house)
    assert house.providers["huggingface"].calls[0].timeout_s == 7.0
    assert house.providers["deepseek"].calls[0].timeout_s == 11.0


async def test_a_caller_who_leaves_lets_the_attempt_lapse() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang() -> Reply:
        begun.set()
        await never.wait()
        return reply()

    house = build(premium=lambda call: hang(), up=frozenset({PREMIUM}))
    task = asyncio.create_task(answer(house, HARD))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = house.rows()
    assert (row["ending"], row["error_code"], row["error"]) == ("lapsed", "abandoned", "the caller left")
    assert await house.money() == (row["hold_nanousd"], 0)


async def test_a_bug_in_an_adapter_lapses_the_money_and_is_not_told_as_the_callers_leaving() -> None:
    house = build(premium=lambda call: 1 // 0, up=frozenset({PREMIUM}))  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        await answer(house, HARD)
    (row,) = house.rows()
    assert (row["ending"], row["error_code"]) == ("lapsed", "internal")
    assert row["error"].startswith("ZeroDivisionError")


# -- what is called ---------------------------------------------------------------------------------


async def test_options_a_model_answers_with_an_error_are_not_sent_to_it() -> None:
    house = build(premium=reply(BAD))
    await answer(house, HARD, options=Options(temperature=0.3, top_p=0.9, seed=7))
    claude, gpt = house.providers["anthropic"].calls[0], house.providers["openai"].calls[0]
    assert (claude.options.temperature, claude.options.top_p, claude.options.seed) == (None, None, 7)
    assert (gpt.options.temperature, gpt.options.top_p, gpt.options.seed) == (0.3, 0.9, 7)


async def test_max_tokens_is_always_set_and_within_the_models_limit() -> None:
    house = build(default_max_tokens=500)
    await answer(house)
    await answer(house, "Write a haiku about rain.", options=Options(max_tokens=900_000), model=CREATIVE)
    assert house.providers["huggingface"].calls[0].max_tokens == 500
    assert house.providers["openai"].calls[0].max_tokens == 16_384


async def test_a_named_model_skips_routing() -> None:
    house = build()
    answered = await answer(house, "Hi!", model="claude-opus")
    assert (answered.answered_by.model_id, answered.decision.plan.reason) == (
        "claude-opus-5-5",
        "claude-opus-5-5 was named by the request",
    )


async def test_an_unknown_model_names_its_nearest() -> None:
    with pytest.raises(ModelNotFound, match="No model 'claude-sonet' in the registry; did you mean 'claude-sonnet'"):
        await answer(build(), model="claude-sonet")


async def test_a_named_model_that_cannot_do_the_task_says_what_it_can() -> None:
    with pytest.raises(NotEligible, match="model 'vader' cannot generate; it can sentiment"):
        await answer(build(), model="vader")


async def test_without_keys_and_weights_the_answer_says_how_to_get_them() -> None:
    with pytest.raises(NoModelAvailable, match="is away; fetch it") as refused:
        await answer(build(up=frozenset({"vader"})))
    assert set(refused.value.details["candidates"]) >= {LOCAL, MID, PREMIUM, CREATIVE}
    assert "`pennyroute doctor`" in refused.value.message


async def test_constraints_nobody_meets_say_why_for_each() -> None:
    with pytest.raises(NotEligible) as refused:
        await answer(build(), options=Options(tools=(TOOL,)), strategy=Strategy.LOCAL_ONLY)
    assert refused.value.details["candidates"][LOCAL] == "does not support tools"


@pytest.mark.parametrize(
    ("strategy", "models"),
    [
        (Strategy.HYBRID, [LOCAL, MID, PREMIUM]),
        (Strategy.LOCAL_ONLY, [LOCAL]),
        (Strategy.PREMIUM_ONLY, [PREMIUM]),
        (Strategy.LOCAL_FALLBACK, [MID, PREMIUM, LOCAL]),
    ],
)
async def test_each_strategy_has_its_ladder_for_a_simple_prompt(strategy: Strategy, models: list[str]) -> None:
    answered = await answer(build(), strategy=strategy)
    assert [rung.model_id for rung in answered.decision.plan.rungs] == models


async def test_a_tool_call_is_an_answer() -> None:
    called = ToolCall(id="call-1", name="get_weather", arguments="{}")
    house = build(premium=reply("", tool_calls=(called,)))
    answered = await answer(house, "Hi!", options=Options(tools=(TOOL,)))
    assert answered.answered_by.tier is Tier.PREMIUM
    assert answered.reply.tool_calls[0].name == "get_weather"


# -- the log ----------------------------------------------------------------------------------------


async def test_the_row_carries_decision_texts_and_versions() -> None:
    house = build()
    answered = await answer(house, "What is 2+2?", tags=("demo",), metadata={"ticket": 7}, user="u-1")
    (row,) = house.rows()
    assert (row["input"], row["output"]) == ("user: What is 2+2?", GOOD)
    assert (row["tags"], row["metadata"], row["user_ref"]) == (["demo"], {"ticket": 7}, "u-1")
    assert row["policy_version"] == answered.decision.policy_version
    assert row["features"]["plain_ask"] is False
    assert row["propensity"] == 1.0


async def test_texts_are_not_kept_where_the_setting_says_so() -> None:
    house = build(store_texts=False)
    await answer(house)
    assert (house.rows()[0]["input"], house.rows()[0]["output"]) == (None, None)


async def test_the_same_request_gets_the_same_plan() -> None:
    asked: Request = request(HARD)
    first, second = await route(build().deps, asked), await route(build().deps, asked)
    assert first.decision == second.decision
