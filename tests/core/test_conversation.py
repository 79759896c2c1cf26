"""Keys that follow a conversation from turn to turn, and knowing when a model is at work with tools."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.routing.conversation import in_tool_loop, key_after, key_of
from orchestrator.core.types import FinishReason, Media, Message, Reply, ToolCall
from registry.schema import Usage

SPACE = st.text(alphabet=" \t\r\n", max_size=3)
TEXTS = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e20, 1e20) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
CALLS = st.builds(
    ToolCall,
    id=TEXTS,
    name=st.sampled_from(["search", "add"]),
    arguments=st.dictionaries(TEXTS, JSON, max_size=2).map(json.dumps) | st.sampled_from(["", "{", "no json"]),
)
TOOL_CALLS = st.lists(CALLS, max_size=2).map(tuple)
IMAGES = st.lists(st.builds(Media, content_type=st.just("image/png"), data=st.binary(max_size=3)), max_size=1)


def messages(*roles: str) -> st.SearchStrategy[list[Message]]:
    one = st.builds(
        Message,
        role=st.sampled_from(roles),
        content=TEXTS,
        images=IMAGES.map(tuple),
        tool_calls=TOOL_CALLS,
        tool_call_id=st.none() | TEXTS,
    )
    return st.lists(one, max_size=5)


CONVERSATIONS = messages("system", "user", "assistant", "tool")
NEXT_TURNS = messages("system", "user", "tool")
REPLIES = st.builds(
    Reply,
    usage=st.just(Usage()),
    text=st.none() | TEXTS,
    tool_calls=TOOL_CALLS,
    finish_reason=st.sampled_from(FinishReason),
)


@st.composite
def sent_back(draw: st.DrawFn, message: Message) -> Message:
    """A message as a chat client sends it back: space at its ends changed, tool calls renumbered, arguments read
    and written again in another layout and order of keys, with whole floats as JavaScript writes them."""
    calls = [
        replace(call, id=draw(TEXTS), arguments=draw(SPACE) + rewritten(call.arguments)) for call in message.tool_calls
    ]
    content = draw(SPACE) + message.content.strip() + draw(SPACE)
    return replace(message, content=content, tool_calls=tuple(calls), tool_call_id=draw(st.none() | TEXTS))


def rewritten(arguments: str) -> str:
    try:
        read = json.loads(arguments, parse_float=lambda text: int(float(text)) if float(text) % 1 == 0 else float(text))
    except ValueError:
        return arguments
    return json.dumps(dict(reversed(read.items())), indent=2, ensure_ascii=False)


@given(st.data(), TEXTS, CONVERSATIONS, REPLIES, NEXT_TURNS)
def test_the_next_turn_has_the_key_that_was_given_after_the_answer(
    data: st.DataObject, tenant: str, before: list[Message], reply: Reply, then: list[Message]
) -> None:
    said = Message(role="assistant", content=reply.text or "", tool_calls=reply.tool_calls)
    history = [data.draw(sent_back(message)) for message in (*before, said)]
    assert key_of(tenant, [*history, *then]) == key_after(tenant, before, reply)


@given(TEXTS, TEXTS, CONVERSATIONS, REPLIES, CONVERSATIONS, REPLIES)
def test_two_tenants_never_share_a_key(
    one: str, other: str, here: list[Message], said: Reply, there: list[Message], answered: Reply
) -> None:
    if one != other:
        assert key_after(one, here, said) != key_after(other, there, answered)
        assert key_after(one, here, said) != key_after(other, here, said)


@given(TEXTS, CONVERSATIONS, REPLIES)
def test_each_turn_has_a_key_of_its_own(tenant: str, before: list[Message], reply: Reply) -> None:
    assert key_after(tenant, before, reply) != key_of(tenant, before)


@given(TEXTS, NEXT_TURNS)
def test_before_an_assistant_has_spoken_there_is_no_key(tenant: str, first: list[Message]) -> None:
    assert key_of(tenant, first) is None


ASKED = Message(role="user", content="What is 2+2?")
SAID = Message(role="assistant", content="4")


def test_a_key_is_64_hexadecimal_digits_and_stays_what_it_was() -> None:
    key = "cc8995f1447f342fca99f4854eba7d28bb780fc87882871eab37a897202eadde"  # computed with sha256sum
    assert key_of("acme", [ASKED, SAID]) == key


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ([ASKED], replace(SAID, content="5")),
        ([replace(ASKED, content="What is 2+3?")], SAID),
        ([replace(ASKED, role="system")], SAID),
        ([ASKED, ASKED], SAID),
        ([replace(ASKED, images=(Media(content_type="image/png", data=b"x"),))], SAID),
        ([ASKED], replace(SAID, tool_calls=(ToolCall(id="1", name="add", arguments="{}"),))),
        ([ASKED], replace(SAID, content="4 ", tool_calls=(ToolCall(id="1", name="add", arguments='{"a": 1}'),))),
        ([replace(ASKED, content="What is"), replace(ASKED, content="2+2?")], SAID),
    ],
)
def test_another_conversation_has_another_key(before: list[Message], said: Message) -> None:
    assert key_of("acme", [*before, said]) != key_of("acme", [ASKED, SAID])


@pytest.mark.parametrize(
    ("one", "other"),
    [('{"a": 1.0, "b": [2]}', '{"b":[2],"a":1}'), ("", "{}"), (" { ", "{"), ('{"a": 1e400}', '{"a":1e400}')],
)
def test_arguments_that_say_the_same_are_the_same(one: str, other: str) -> None:
    keys = {
        key_of("acme", [ASKED, replace(SAID, tool_calls=(ToolCall(id="1", name="add", arguments=each),))])
        for each in (one, other)
    }
    assert len(keys) == 1


def test_arguments_nested_beyond_reading_and_half_a_character_still_have_a_key() -> None:
    deep = ToolCall(id="1", name="add", arguments="[" * 100_000)
    assert key_of("acme", [ASKED, replace(SAID, content="\ud83d", tool_calls=(deep,))]) is not None


CALLING = Message(
    role="assistant",
    content="",
    tool_calls=(ToolCall(id="1", name="add", arguments="{}"), ToolCall(id="2", name="add", arguments="{}")),
)


def result(call_id: str | None) -> Message:
    return Message(role="tool", content="4", tool_call_id=call_id)


@pytest.mark.parametrize(
    ("conversation", "inside"),
    [
        ([], False),
        ([ASKED], False),
        ([ASKED, SAID, ASKED], False),
        ([ASKED, CALLING], True),
        ([ASKED, CALLING, result("1")], True),
        ([ASKED, CALLING, result("1"), result("2")], True),
        ([ASKED, CALLING, ASKED], True),
        ([ASKED, CALLING, result("1"), ASKED], True),
        ([ASKED, CALLING, result("1"), result("1"), ASKED], True),
        ([ASKED, CALLING, result("1"), result("2"), ASKED], False),
        ([ASKED, CALLING, result(None), result(None), ASKED], False),
        ([ASKED, CALLING, result("1"), result(None), ASKED], False),
        ([ASKED, CALLING, result("1"), result("2"), SAID, ASKED], False),
        ([ASKED, CALLING, SAID, ASKED], False),
    ],
)
def test_a_model_is_in_a_tool_loop_until_its_calls_are_answered_and_somebody_else_speaks(
    conversation: list[Message], inside: bool
) -> None:
    assert in_tool_loop(conversation) is inside
