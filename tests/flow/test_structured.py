"""A schema kept by servers that may know no grammar: words, mending, asking again; never by making anything up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.adapters.memory import MemoryFleet
from orchestrator.core.errors import AllRungsFailed, CallRefused
from orchestrator.core.types import Call, Options, Reply, ToolCall
from orchestrator.flow.route import route
from registry.load import open_server_card
from tests.flow.house import LOCAL, PREMIUM, House, always, build, registry, reply
from tests.samples import request

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
SERVER = "ollama/mistral"


def asked(model: str) -> Any:
    return request("Score this essay.", model=model, options=Options(schema=SCHEMA))


def house_with_server(*answers: Any) -> House:
    """A house with an open server that answers in turn."""
    house = build(local=answers[0] if callable(answers[0]) else always(*answers))
    fleet = MemoryFleet(registry().with_cards([open_server_card("ollama", "mistral")]))
    providers = {**house.deps.providers, "ollama": house.providers["huggingface"]}
    return replace(house, deps=replace(house.deps, fleet=fleet, providers=providers))


async def text_of(house: House, model: str = SERVER) -> str | None:
    return (await route(house.deps, asked(model))).reply.text


def calls(house: House) -> list[Call]:
    return house.providers["huggingface"].calls


async def test_json_in_a_fence_with_a_comma_too_many_is_taken_for_what_it_says() -> None:
    house = build(premium=reply("Here you are:\n```json\n{'score': 4,}\n```"))
    assert await text_of(house, PREMIUM) == '{"score": 4}'
    assert house.called() == [PREMIUM]


async def test_what_does_not_keep_the_schema_is_left_as_it_was_said() -> None:
    said = 'I say {"score": "four"}.'
    assert await text_of(build(premium=reply(said)), PREMIUM) == said


async def test_an_open_server_is_asked_in_words_too() -> None:
    house = house_with_server(reply('{"score": 4}'))
    assert await text_of(house) == '{"score": 4}'
    (call,) = calls(house)
    assert call.messages[0].role == "system"
    assert '"score"' in call.messages[0].content
    assert call.options.schema == SCHEMA


async def test_an_open_server_is_asked_again_with_what_was_wrong() -> None:
    house = house_with_server(reply('{"score": "four"}', tokens_in=10, tokens_out=5), reply('{"score": 4}'))
    answer = await route(house.deps, asked(SERVER))
    assert answer.reply.text == '{"score": 4}'
    assert "$.score: 'four' is not of type 'integer'" in calls(house)[1].messages[-1].content
    assert (answer.reply.usage.input_tokens, answer.reply.usage.output_tokens) == (20, 25)
    assert len(answer.attempts) == 1


async def test_it_is_asked_three_times_at_most() -> None:
    house = house_with_server(reply("I would rather not."))
    answer = await route(house.deps, asked(SERVER))
    assert len(calls(house)) == 3
    assert answer.answered_by.quality is not None
    assert answer.answered_by.quality.value == 0.0


async def test_a_server_without_response_format_is_asked_in_words_alone() -> None:
    house = house_with_server(CallRefused("response_format is not supported"), reply('Sure: {"score": 4}'))
    assert await text_of(house) == '{"score": 4}'
    assert [call.options.schema for call in calls(house)] == [SCHEMA, None]


async def test_a_server_that_refuses_the_request_itself_is_not_asked_for_ever() -> None:
    house = house_with_server(CallRefused("no such model"))
    with pytest.raises(AllRungsFailed, match="no such model"):
        await text_of(house)
    assert len(calls(house)) == 2


async def test_an_error_that_names_its_model_is_told_with_one_name() -> None:
    house = build(local=CallRefused(f"{LOCAL}: the prompt is too long"))
    with pytest.raises(AllRungsFailed, match=rf"^every model of the plan failed\. {LOCAL}: the prompt is too long$"):
        await text_of(house, LOCAL)


async def test_a_worker_that_constrains_its_words_is_asked_once() -> None:
    house = build(local=reply("broken"))
    await text_of(house, LOCAL)
    assert len(calls(house)) == 1
    assert all(message.role == "user" for message in calls(house)[0].messages)


async def test_without_a_schema_nothing_is_mended() -> None:
    house = build(premium=reply("```json\n{'a': 1,}\n```"))
    said: Reply = (await route(house.deps, request("Hi", model=PREMIUM))).reply
    assert said.text == "```json\n{'a': 1,}\n```"


async def test_a_tool_call_is_an_answer_although_it_is_no_json() -> None:
    asked_for = ToolCall(id="1", name="look_up", arguments="{}")
    house = house_with_server(reply("", tool_calls=(asked_for,)))
    answer = await route(house.deps, asked(SERVER))
    assert answer.reply.tool_calls == (asked_for,)
    assert len(calls(house)) == 1


async def test_asking_again_takes_no_longer_than_one_call_may() -> None:
    async def slow(call: Call) -> Reply:
        await asyncio.sleep(0.2)
        return reply("I would rather not.")

    house = house_with_server(slow)
    limits = replace(house.deps.limits, local_timeout_s=0.3)
    deps = replace(house.deps, live_limits=lambda: limits)
    answer = await asyncio.wait_for(route(deps, asked(SERVER)), 5)
    assert answer.reply.text == "I would rather not."
    assert len(calls(house)) == 2
