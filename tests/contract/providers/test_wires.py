"""The two wires as pure functions: what a call becomes, what a body becomes, and that nonsense is always named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.providers.anthropic_wire import AnthropicWire
from orchestrator.adapters.providers.failures import provider_message, retry_after_s
from orchestrator.adapters.providers.openai_wire import OpenAIWire
from orchestrator.adapters.providers.protocol import WireProtocol
from orchestrator.adapters.providers.reading import Unreadable, json_object
from orchestrator.adapters.providers.strict_schema import strict_schema
from orchestrator.core.errors import CallRefused
from orchestrator.core.types import Call, Media, Message, Options, Reply, ToolCall
from registry.schema import Task, Usage

ANTHROPIC = AnthropicWire()
OPENAI = OpenAIWire(provider="openai", flavour="openai")
DEEPSEEK = OpenAIWire(provider="deepseek", flavour="deepseek")
SERVER = OpenAIWire(provider="server", flavour="server")
ALL_WIRES = (ANTHROPIC, OPENAI, DEEPSEEK, SERVER)
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Look:", images=(Media(content_type="image/png", data=b"\x89PNG"),)),
    Message(role="assistant", content="", tool_calls=(ToolCall(id="t1", name="see", arguments='{"x":1}'),)),
    Message(role="tool", content="a cat", tool_call_id="t1"),
    Message(role="user", content="So?"),
)


def call(api_model: str = "m", messages: tuple[Message, ...] = (Message(role="user", content="Hi"),), **o: Any) -> Call:
    return Call(
        attempt_id=UUID("01980000-0000-7000-8000-000000000001"),
        model_id="p/m",
        api_model=api_model,
        task=Task.GENERATE,
        messages=messages,
        options=Options(**o),
        max_tokens=10,
    )


def test_anthropic_gets_the_system_apart_and_turns_that_alternate() -> None:
    sent = ANTHROPIC.payload(call(messages=CONVERSATION))
    assert sent["system"] == "Be brief."
    assert sent["messages"] == [
        {
            "role": "user",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="},
                },
                {"type": "text", "text": "Look:"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "see", "input": {"x": 1}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "a cat"},
                {"type": "text", "text": "So?"},
            ],
        },
    ]


def test_openai_gets_the_conversation_turn_by_turn() -> None:
    assert OPENAI.payload(call(messages=CONVERSATION))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "Look:"},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "see", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "a cat"},
        {"role": "user", "content": "So?"},
    ]


HEARD = {"seed": 7, "temperature": 0.2, "top_p": 0.9, "stop": ["END"]}
SAMPLING = {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ("END",)}


@pytest.mark.parametrize(
    ("wire", "model", "expected"),
    [
        (ANTHROPIC, "claude-sonnet-5-5", {"max_tokens": 10, "stop_sequences": ["END"]}),
        (OPENAI, "gpt-4o", {"max_completion_tokens": 10, **HEARD}),
        (OPENAI, "o3", {"max_completion_tokens": 10, "seed": 7}),
        (OPENAI, "gpt-5-mini", {"max_completion_tokens": 10, "seed": 7}),
        (OPENAI, "gpt-5.2", {"max_completion_tokens": 10, **HEARD}),
        (DEEPSEEK, "deepseek-chat", {"max_tokens": 10, **HEARD}),
        (
            SERVER,
            "qwen2.5",
            {"max_tokens": 10, "top_k": 40, "logprobs": True, **HEARD},
        ),
    ],
)  # fmt: skip
def test_options_a_model_documents_to_refuse_are_not_sent(wire: WireProtocol, model: str, expected: Any) -> None:
    sent = wire.payload(call(model, **SAMPLING))
    assert {k: v for k, v in sent.items() if k not in ("model", "messages")} == expected


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"type": "string"}},
    "required": ["n"],
}


def test_openai_gets_a_strict_schema() -> None:
    assert OPENAI.payload(call(schema=SCHEMA))["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {**SCHEMA, "required": ["n", "s"], "additionalProperties": False},
        },
    }


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}},
        },
        {"type": "object", "properties": {"any": {"type": "object"}}},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}},
    ],
)
def test_a_schema_that_strict_mode_cannot_say_is_sent_as_it_is(schema: Any) -> None:
    assert strict_schema(schema) is None
    assert OPENAI.payload(call(schema=schema))["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": schema,
        "strict": False,
    }


def test_deepseek_gets_the_schema_in_words_and_json_mode() -> None:
    sent = DEEPSEEK.payload(call(schema={"type": "object"}))
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0] == {
        "role": "system",
        "content": 'Answer with one JSON object that is valid against this JSON schema: {"type":"object"}',
    }


def test_anthropic_gets_the_schema_as_output_format() -> None:
    sent = ANTHROPIC.payload(call(schema=SCHEMA))["output_config"]["format"]
    assert sent["type"] == "json_schema"
    assert sent["schema"]["additionalProperties"] is False
    assert sent["schema"]["required"] == ["n"]


def test_a_schema_anthropic_cannot_express_is_refused_before_any_request() -> None:
    with pytest.raises(CallRefused, match="its schema cannot be expressed"):
        ANTHROPIC.payload(call(schema={"properties": {}}))


@pytest.mark.parametrize(
    ("choice", "anthropic", "openai"),
    [
        ("auto", {"type": "auto"}, "auto"),
        ("none", {"type": "none"}, "none"),
        ("required", {"type": "any"}, "required"),
        ("see", {"type": "tool", "name": "see"}, {"type": "function", "function": {"name": "see"}}),
    ],
)
def test_tools_and_their_choice_are_said_in_each_protocol(choice: str, anthropic: Any, openai: Any) -> None:
    tool = {"name": "see", "description": "looks", "parameters": {"type": "object"}}
    asked = call(tools=(tool,), tool_choice=choice)
    assert ANTHROPIC.payload(asked)["tool_choice"] == anthropic
    assert OPENAI.payload(asked)["tool_choice"] == openai
    assert ANTHROPIC.payload(asked)["tools"] == [
        {"name": "see", "description": "looks", "input_schema": {"type": "object"}}
    ]
    assert OPENAI.payload(asked)["tools"] == [{"type": "function", "function": tool}]


def test_anthropics_cache_writes_are_split_by_time() -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 6,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    body = {"type": "message", "content": [], "stop_reason": "end_turn", "usage": usage}
    assert ANTHROPIC.reply(body, None).usage == Usage(
        input_tokens=5, cache_read_tokens=7, cache_write_tokens=10, cache_write_1h_tokens=20, output_tokens=6
    )


@pytest.mark.parametrize(
    "usage",
    [
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 60,
            "prompt_cache_miss_tokens": 40,
        },
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
    ],
)
def test_cached_tokens_are_taken_out_of_the_prompt(usage: Any) -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    assert DEEPSEEK.reply(body, None).usage == Usage(input_tokens=40, cache_read_tokens=60, output_tokens=5)


def test_only_an_unpaid_server_may_leave_usage_out() -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    assert SERVER.reply(body, None) == Reply(usage=Usage(), text="x")
    for wire in (OPENAI, DEEPSEEK):
        with pytest.raises(Unreadable, match="usage"):
            wire.reply(body, None)


def test_an_answer_deepseek_interrupted_itself_is_not_an_answer() -> None:
    choice = {"message": {"content": "x"}, "finish_reason": "insufficient_system_resource"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    with pytest.raises(Unreadable, match="not whole"):
        DEEPSEEK.reply({"choices": [choice], "usage": usage}, None)


@pytest.mark.parametrize("wire", ALL_WIRES, ids=lambda wire: wire.provider)
def test_a_call_without_messages_is_refused_before_any_request(wire: WireProtocol) -> None:
    asked = call(messages=())
    with pytest.raises(CallRefused, match="there is no message"):
        wire.payload(asked)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "a"}}', "a"),
        (b'{"error": "b"}', "b"),
        (b'{"message": "c"}', "c"),
        (b'{"detail": "d"}', "d"),
        (b'{"error": {"code": 5}}', '{"code":5}'),
        (b"[1]", "[1]"),
        (b"<html>busy</html>", "<html>busy</html>"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_the_providers_message_is_found_in_every_shape(body: bytes, words: str) -> None:
    assert provider_message(body) == words


# Nonsense: whatever a provider sends, reading it gives a Reply or Unreadable, nothing else.

WHOLE = (
    {
        "type": "message",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 6, "cache_creation": {"ephemeral_1h_input_tokens": 2}},
    },
    {
        "choices": [
            {
                "message": {
                    "content": "hi",
                    "tool_calls": [{"id": "t", "function": {"name": "n", "arguments": "{}"}}],
                },
                "logprobs": {"content": [{"token": "hi", "logprob": -0.5}]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 2}},
    },
)
EVENTS = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "n"},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
    {"choices": [{"delta": {"content": "x", "tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]},
    {"choices": [{"delta": {"content": "y"}, "logprobs": {"content": [{"token": "y", "logprob": -0.5}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def assert_says_where(error: Unreadable) -> None:
    assert str(error)


@st.composite
def damaged(draw: st.DrawFn, wholes: tuple[Any, ...]) -> Any:
    """A well-formed value with one part, anywhere, replaced by nonsense or left out."""
    value = json.loads(json.dumps(draw(st.sampled_from(wholes))))
    at = value
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        deeper = isinstance(at[key], dict | list) and len(at[key]) > 0
        if deeper and draw(st.booleans()):
            at = at[key]
            continue
        if isinstance(at, dict) and draw(st.booleans()):
            del at[key]
        else:
            at[key] = draw(JSON)
        return value


@settings(max_examples=300, deadline=None)
@given(body=damaged(WHOLE), wire=st.sampled_from(ALL_WIRES))
def test_a_damaged_body_is_read_or_named_unreadable(body: Any, wire: WireProtocol) -> None:
    try:
        assert isinstance(wire.reply(body, None), Reply)
    except Unreadable as error:
        assert_says_where(error)


@settings(max_examples=300, deadline=None)
@given(events=st.lists(st.sampled_from(EVENTS) | damaged(EVENTS), max_size=8), wire=st.sampled_from(ALL_WIRES))
def test_damaged_events_are_read_or_named_unreadable(events: list[Any], wire: WireProtocol) -> None:
    gathered = wire.gather(None)
    try:
        said = "".join(gathered.take(event) for event in events)
        assert gathered.reply().text == said
    except Unreadable as error:
        assert_says_where(error)


@settings(max_examples=100, deadline=None)
@given(whole=st.sampled_from(WHOLE), share=st.floats(0, 0.999))
def test_a_truncated_body_is_named_unreadable(whole: Any, share: float) -> None:
    content = json.dumps(whole).encode()
    with pytest.raises(Unreadable):
        json_object(content[: int(share * len(content))])
