"""The contract of `Provider.stream`: pieces as they come, the whole reply last, and every way it can break."""

from __future__ import annotations

import pytest

from orchestrator.adapters.wire import chat_api, messages_api
from orchestrator.adapters.wire.answers import Ask, Said
from orchestrator.core.errors import CallBroken, CallFailed, CallRateLimited, CallTimedOut, CallUnreachable
from orchestrator.core.types import Delta, FinishReason, Options
from registry.schema import Usage
from tests.contract.providers.conftest import Way, sdk_provider
from tests.contract.providers.test_complete import WEATHER

TEXT = "Paris is the capital of France and has been so for a long time."


async def read(way: Way, into: list[str] | None = None, **changes: object) -> list[Delta]:
    """All deltas; their texts also one by one into `into`, which keeps them where the stream breaks."""
    read_so_far: list[Delta] = []
    async with way.provider.stream(way.call(**changes)) as deltas:
        async for delta in deltas:
            read_so_far.append(delta)
            if into is not None:
                into.append(delta.text)
    return read_so_far


async def test_the_pieces_join_to_the_reply_that_comes_last(streaming: Way) -> None:
    streaming.script(text=TEXT, usage={"input_tokens": 9, "cache_read_tokens": 4, "output_tokens": 17})
    deltas = await read(streaming)
    assert len(deltas) == 5
    assert "".join(delta.text for delta in deltas) == TEXT
    assert [delta.reply is None for delta in deltas] == [True] * 4 + [False]
    reply = deltas[-1].reply
    assert reply is not None
    assert reply.text == TEXT
    assert reply.usage == Usage(input_tokens=9, cache_read_tokens=4, output_tokens=17)
    assert reply.finish_reason is FinishReason.STOP
    assert reply.provider_request_id == "req_wire1"


async def test_a_streamed_reply_equals_the_whole_one(streaming: Way) -> None:
    usage = {"input_tokens": 9, "cache_write_tokens": 2, "output_tokens": 30, "reasoning_tokens": 8}
    for _ in range(2):
        streaming.script(text=TEXT, usage=usage, finish="length")
    whole = await streaming.provider.complete(streaming.call())
    streamed = (await read(streaming))[-1].reply
    assert streamed is not None
    assert (streamed.text, streamed.usage, streamed.finish_reason) == (
        whole.text,
        whole.usage,
        whole.finish_reason,
    )


async def test_a_streamed_tool_call_is_put_together(streaming: Way) -> None:
    calls = (
        {"name": "weather", "arguments": {"city": "Oslo"}},
        {"name": "weather", "arguments": {"city": "Rome"}},
    )
    streaming.script(tools=calls, text="Let me look.")
    deltas = await read(streaming, options=Options(tools=(WEATHER,)))
    reply = deltas[-1].reply
    assert reply is not None
    assert [t.arguments for t in reply.tool_calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    assert reply.text == "Let me look."
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("after_events", range(1, 8))
async def test_a_cut_stream_is_broken_and_tells_the_text_so_far(streaming: Way, after_events: int) -> None:
    streaming.script(do="cut", text=TEXT, after_events=after_events)
    pieces: list[str] = []
    with pytest.raises(CallBroken) as caught:
        await read(streaming, into=pieces)
    assert caught.value.details["partial_text"] == "".join(pieces)
    assert TEXT.startswith("".join(pieces))
    assert not caught.value.unbilled
    await streaming.wait_for(cut=1)


async def test_a_stream_that_is_refused_is_refused_on_entering(streaming: Way) -> None:
    streaming.script(do="error", status=429, retry_after="3")
    with pytest.raises(CallRateLimited) as caught:
        await read(streaming)
    assert caught.value.retry_after_s == 3.0
    assert streaming.counts["requests"] == 1


async def test_a_stream_that_never_begins_times_out(streaming: Way) -> None:
    streaming.script(do="hang")
    with pytest.raises(CallTimedOut):
        await read(streaming, timeout_s=0.2)
    await streaming.wait_for(left=1)


async def test_a_stream_that_stalls_between_events_times_out_with_the_text_so_far(streaming: Way) -> None:
    streaming.script(text=TEXT, event_ms=60_000)
    with pytest.raises(CallTimedOut) as caught:
        await read(streaming, timeout_s=0.2)
    assert caught.value.details["partial_text"] == ""
    await streaming.wait_for(left=1)


async def test_a_slow_stream_may_last_longer_than_the_limit_between_its_events(streaming: Way) -> None:
    streaming.script(text=TEXT, event_ms=60)
    deltas = await read(streaming, timeout_s=0.4)
    assert "".join(delta.text for delta in deltas) == TEXT


async def test_leaving_early_closes_the_connection(streaming: Way) -> None:
    streaming.script(text=TEXT, event_ms=30)
    async with streaming.provider.stream(streaming.call()) as deltas:
        first = await anext(deltas)
    assert first.text == "Paris is the capital" if streaming.kind == "anthropic" else first.text
    await streaming.wait_for(left=1)


async def test_a_stream_to_nowhere_is_unreachable(streaming: Way) -> None:
    provider = sdk_provider(streaming.kind, "http://127.0.0.1:9")
    with pytest.raises(CallUnreachable):
        async with provider.stream(streaming.call()):
            pass
    await provider.close()


ODD_STREAMS = (
    "", "data", "data: ", "data: {", "data: null\n\n", "data: 5\n\n", "data: []\n\n", "data: {}\n\n", "event: x\n\n",
    "data: [DONE]\n\n", 'data: {"error": {"message": "boom"}}\n\n', 'data: {"choices": [5]}\n\n',
    'data: {"choices": [{"delta": {"content": 5}}]}\n\n', 'data: {"choices": [{"delta": {"tool_calls": {}}}]}\n\n',
    'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}\n\n',
    "event: message_start\ndata: {}\n\n", 'event: message_start\ndata: {"type": "message_start"}\n\n',
    'event: message_start\ndata: {"type": "message_start", "message": 5}\n\n', "event: message_stop\ndata: null\n\n",
    'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"type": "text_delta"}}\n\n',
    'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 7, "delta": '
    '{"type": "input_json_delta", "partial_json": "{"}}\n\n', "<html>busy</html>",
)  # fmt: skip


async def test_a_stream_truncated_anywhere_is_broken_or_whole(streaming: Way) -> None:
    usage = Usage(input_tokens=3, output_tokens=17)
    said = Said(text=TEXT, finish="stop", usage=usage, source="synthetic")
    ask = Ask(model=streaming.model, last_user="", input_tokens=3, max_tokens=64, stream=True)
    anthropic = streaming.kind == "anthropic"
    events = messages_api.events(ask, said, "msg_1") if anthropic else chat_api.events(ask, said, "chatcmpl-1", 0)
    whole, outcomes = b"".join(events).decode(), []
    for length in range(0, len(whole) + 1, 61):
        streaming.script(do="garbage", body=whole[:length])
        outcomes.append(await outcome(streaming))
    assert outcomes[0] == "broken"
    assert set(outcomes) <= {"broken", (TEXT, usage, FinishReason.STOP)}


async def outcome(way: Way) -> object:
    try:
        reply = (await read(way))[-1].reply
    except CallBroken:
        return "broken"
    return reply and (reply.text, reply.usage, reply.finish_reason)


@pytest.mark.parametrize("body", ODD_STREAMS)
async def test_an_odd_stream_is_broken(streaming: Way, body: str) -> None:
    streaming.script(do="garbage", body=body)
    with pytest.raises(CallFailed) as caught:
        await read(streaming)
    assert type(caught.value) is CallBroken
