"""The contract of `Provider.complete`: the SDK path and the plain path answer alike."""

from __future__ import annotations

import socket

import pytest

from orchestrator.adapters.providers.plain import PlainProvider
from orchestrator.core.errors import (
    CallBroken,
    CallFailed,
    CallRateLimited,
    CallRefused,
    CallTimedOut,
    CallUnauthorized,
    CallUnreachable,
)
from orchestrator.core.types import FinishReason, Media, Message, Options, ToolCall
from registry.schema import Task, Usage
from tests.contract.providers.conftest import KEY, Way, sdk_provider

WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def test_an_answer_comes_back_with_text_usage_and_the_providers_request_id(way: Way) -> None:
    way.script(text="Paris is the capital.", usage={"input_tokens": 12, "output_tokens": 5})
    reply = await way.provider.complete(way.call())
    assert reply.text == "Paris is the capital."
    assert reply.finish_reason is FinishReason.STOP
    assert reply.usage == Usage(input_tokens=12, output_tokens=5)
    assert reply.provider_request_id == "req_wire1"
    assert way.counts["answered"] == 1


async def test_tokens_read_from_the_cache_are_counted_apart(way: Way) -> None:
    way.script(
        text="ok",
        usage={"input_tokens": 10, "cache_read_tokens": 90, "output_tokens": 7, "reasoning_tokens": 3},
    )
    reply = await way.provider.complete(way.call())
    assert reply.usage == Usage(input_tokens=10, cache_read_tokens=90, output_tokens=7, reasoning_tokens=3)


async def test_tokens_written_to_the_cache_are_counted_apart(way: Way) -> None:
    way.script(text="ok", usage={"input_tokens": 10, "cache_write_tokens": 40, "output_tokens": 7})
    reply = await way.provider.complete(way.call())
    assert reply.usage == Usage(input_tokens=10, cache_write_tokens=40, output_tokens=7)


async def test_max_tokens_reaches_the_provider_and_a_cut_answer_finishes_with_length(way: Way) -> None:
    reply = await way.provider.complete(way.call(max_tokens=4))
    assert reply.text == "This is a"
    assert reply.finish_reason is FinishReason.LENGTH
    assert way.sent["max_completion_tokens" if way.kind == "openai" else "max_tokens"] == 4


async def test_a_refusal_is_a_finish_reason_not_an_error(way: Way) -> None:
    way.script(text="I cannot help with that.", finish="refusal")
    reply = await way.provider.complete(way.call())
    assert reply.finish_reason is FinishReason.REFUSAL
    assert reply.text == "I cannot help with that."


async def test_tool_calls_come_back_with_their_arguments(way: Way) -> None:
    way.script(tools=({"name": "weather", "arguments": {"city": "Oslo"}},))
    reply = await way.provider.complete(way.call(options=Options(tools=(WEATHER,), tool_choice="required")))
    assert [(t.name, t.arguments) for t in reply.tool_calls] == [("weather", '{"city":"Oslo"}')]
    assert reply.tool_calls[0].id
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    assert reply.text == ""


async def test_a_tool_named_in_tool_choice_is_the_one_that_is_called(way: Way) -> None:
    other = {"name": "time", "description": "The time", "parameters": {"type": "object", "properties": {}}}
    reply = await way.provider.complete(way.call(options=Options(tools=(other, WEATHER), tool_choice="weather")))
    assert [(t.name, t.arguments) for t in reply.tool_calls] == [("weather", '{"city":"synthetic"}')]


async def test_a_conversation_with_a_tool_result_and_an_image_is_taken(way: Way) -> None:
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Weather here?", images=(Media(content_type="image/png", data=b"\x89PNG"),)),
        Message(
            role="assistant",
            content="",
            tool_calls=(ToolCall(id="t1", name="weather", arguments='{"city":"Oslo"}'),),
        ),
        Message(role="tool", content="rain", tool_call_id="t1"),
        Message(role="user", content="And tomorrow?"),
    )
    way.script(echo=True)
    reply = await way.provider.complete(way.call(messages=messages, options=Options(tools=(WEATHER,))))
    assert reply.text == "Synthetic echo: And tomorrow?"


async def test_a_schema_makes_the_text_json(way: Way) -> None:
    reply = await way.provider.complete(way.call(options=Options(schema=CITY)))
    # DeepSeek's JSON mode is told the schema in words only, which the wire server does not follow.
    assert reply.text == ("{}" if way.kind == "deepseek" else '{"city":"synthetic"}')


async def test_stop_sequences_reach_the_provider(way: Way) -> None:
    await way.provider.complete(way.call(options=Options(stop=("END",))))
    assert way.sent["stop_sequences" if way.kind == "anthropic" else "stop"] == ["END"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, CallRefused),
        (401, CallUnauthorized),
        (402, CallUnauthorized),
        (403, CallUnauthorized),
        (404, CallRefused),
        (413, CallRefused),
        (422, CallRefused),
        (429, CallRateLimited),
        (500, CallBroken),
        (502, CallBroken),
        (503, CallRateLimited),
        (504, CallBroken),
        (529, CallRateLimited),
    ],
)
async def test_a_status_becomes_our_error(way: Way, status: int, kind: type[CallFailed]) -> None:
    way.script(do="error", status=status, message="the provider's own words")
    with pytest.raises(CallFailed) as caught:
        await way.provider.complete(way.call())
    assert type(caught.value) is kind
    assert caught.value.unbilled is (kind is not CallBroken)
    assert f"{way.kind} answered {way.model} with status {status}: the provider's own words" in str(caught.value)
    assert caught.value.details["status"] == status
    assert way.counts["requests"] == 1, "the adapter must not retry"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), (None, None)])
async def test_retry_after_in_seconds_is_told(way: Way, header: str | None, seconds: float | None) -> None:
    way.script(do="error", status=429, retry_after=header)
    with pytest.raises(CallRateLimited) as caught:
        await way.provider.complete(way.call())
    assert caught.value.retry_after_s == seconds


async def test_neither_the_key_nor_the_prompt_is_in_the_message(way: Way) -> None:
    said = f"Incorrect API key provided: {KEY}; you asked: What is the capital of France?"
    way.script(do="error", status=401, message=said)
    with pytest.raises(CallUnauthorized) as caught:
        await way.provider.complete(way.call())
    assert "Incorrect API key provided: …; you asked: …" in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY not in str(caught.value.details)


async def test_a_provider_that_hangs_times_out_and_the_connection_is_closed(way: Way) -> None:
    way.script(do="hang")
    with pytest.raises(CallTimedOut, match=r"sent no answer for .* within 0.2 s"):
        await way.provider.complete(way.call(timeout_s=0.2))
    await way.wait_for(left=1)


async def test_a_connection_dropped_before_any_byte_is_broken_and_maybe_billed(way: Way) -> None:
    way.script(do="drop")
    with pytest.raises(CallBroken, match="the connection was lost") as caught:
        await way.provider.complete(way.call())
    assert not caught.value.unbilled
    assert way.counts["requests"] == 1


async def test_half_a_body_is_broken(way: Way) -> None:
    way.script(do="cut", text="Paris is the capital.")
    with pytest.raises(CallBroken):
        await way.provider.complete(way.call())
    await way.wait_for(cut=1)


async def test_a_port_where_nobody_listens_is_unreachable_and_unbilled(way: Way) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        inner = sdk_provider(way.kind, f"http://127.0.0.1:{held.getsockname()[1]}")
        provider = PlainProvider(inner) if way.name.endswith("plain") else inner
        with pytest.raises(CallUnreachable, match="cannot connect to") as caught:
            await provider.complete(way.call())
        await provider.close()
    assert caught.value.unbilled


ODD_BODIES = (
    "", "null", "[]", "5", '"text"', "{}", "<html>busy</html>", '{"choices": []}', '{"choices": null}',
    '{"choices": [null]}', '{"choices": [{"message": null}]}', '{"choices": [{"message": {"content": 5}}]}',
    '{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": -1}}',
    '{"type": "message"}', '{"type": "message", "content": [null], "stop_reason": "end_turn"}',
    '{"type": "message", "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": "many"}}',
    '{"type": "message", "content": [{"type": "text", "text": 5}], "stop_reason": "end_turn"}',
    '{"type": "error"}', "\u0000", '{"a": ' * 50,
)  # fmt: skip


@pytest.mark.parametrize("body", ODD_BODIES)
async def test_an_odd_body_with_status_200_is_broken(way: Way, body: str) -> None:
    way.script(do="garbage", body=body)
    with pytest.raises(CallBroken):
        await way.provider.complete(way.call())


async def test_the_key_is_sent_and_the_protocol_version_named(way: Way) -> None:
    await way.provider.complete(way.call())
    headers = way.wire.app.recent[-1]["headers"]
    assert headers["authorization"] == "…test"
    assert headers.get("anthropic-version") == ("2026-10-21" if way.kind == "anthropic" else None)


async def test_a_task_the_wire_does_not_know_is_refused_without_a_request(way: Way) -> None:
    with pytest.raises(CallRefused, match="task 'embed' is not generate"):
        await way.provider.complete(way.call(task=Task.EMBED, messages=(), texts=("hi",)))
    assert way.counts["requests"] == 0


async def test_connections_are_reused(way: Way) -> None:
    for _ in range(5):
        await way.provider.complete(way.call())
    assert len(way.wire.app.connections) == 1
