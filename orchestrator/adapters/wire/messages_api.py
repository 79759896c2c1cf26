"""Anthropic's Messages protocol (version 2026-10-21) as a server speaks it; it must not decide what is said.

Source: the request and event types of the anthropic SDK 2.x and its documentation of streaming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from orchestrator.adapters.wire.answers import Ask, Finish, Said, estimate_input
from orchestrator.adapters.wire.errors import Rejected
from registry.schema import Usage

PATH = "/v1/messages"
SAMPLING = ("temperature", "top_p", "top_k")
STOP_REASONS: Mapping[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}


def read(body: Mapping[str, Any], version: str | None) -> Ask:
    """The request as an `Ask`. Raises Rejected as the provider would with a 400."""
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise Rejected(f"{name}: Field required")
    messages, max_tokens = body["messages"], body["max_tokens"]
    if not isinstance(messages, list) or not messages:
        raise Rejected("messages: at least one message is required")
    if not isinstance(max_tokens, int) or max_tokens < 1:
        raise Rejected(f"max_tokens: Input should be greater than or equal to 1, got {max_tokens!r}")
    if version != "2023-06-01":
        for name in SAMPLING:
            if name in body:
                raise Rejected(f"{name}: Extra inputs are not permitted")
    texts: list[str] = []
    images, last_user = 0, ""
    if "system" in body:
        texts.extend(_texts(body["system"])[0])
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise Rejected(f"messages.{number}.role: Input should be 'user', 'assistant' or 'system'")
        found, pictures = _texts(message.get("content", ""))
        texts.extend(found)
        images += pictures
        if message["role"] == "user" and found:
            last_user = found[-1]
    if messages[-1]["role"] == "assistant":
        raise Rejected("messages: the conversation must end with a user message; prefill is not supported")
    return Ask(
        model=body["model"],
        last_user=last_user,
        input_tokens=estimate_input(texts, len(messages), images),
        max_tokens=max_tokens,
        stream=bool(body.get("stream")),
        schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
        forced_tool=_forced(body),
    )


def _texts(content: Any) -> tuple[list[str], int]:
    """The texts of a content (the words of the user last) and how many images it holds."""
    if isinstance(content, str):
        return [content], 0
    texts: list[str] = []
    images = 0
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(block["text"])
        elif kind == "image":
            images += 1
        elif kind == "tool_result":
            inner, pictures = _texts(block.get("content", ""))
            texts.extend(inner)
            images += pictures
        elif kind == "tool_use":
            texts.append(orjson.dumps(block.get("input", {})).decode())
    return texts, images


def _forced(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choice, tools = body.get("tool_choice") or {}, body.get("tools") or []
    if choice.get("type") == "any" and tools:
        return {"name": tools[0]["name"], "schema": tools[0].get("input_schema", {})}
    if choice.get("type") != "tool":
        return None
    for tool in tools:
        if tool["name"] == choice.get("name"):
            return {"name": tool["name"], "schema": tool.get("input_schema", {})}
    raise Rejected(f"tool_choice.name: no tool is named {choice.get('name')!r}")


def body(ask: Ask, said: Said, message_id: str) -> Mapping[str, Any]:
    content = [{"type": "text", "text": said.text}] if said.text else []
    content += [_tool_use(message_id, number, *tool) for number, tool in enumerate(said.tools)]
    return {
        **_message(ask, message_id),
        "content": content,
        "stop_reason": STOP_REASONS[said.finish],
        "usage": usage(said.usage),
    }


def _message(ask: Ask, message_id: str) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _tool_use(message_id: str, number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    call_id = f"toolu_{message_id.removeprefix('msg_')}_{number}"
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def usage(used: Usage) -> Mapping[str, Any]:
    """Anthropic counts cached tokens apart from input_tokens."""
    return {
        "input_tokens": used.input_tokens,
        "cache_creation_input_tokens": used.cache_write_tokens + used.cache_write_1h_tokens,
        "cache_read_input_tokens": used.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": used.cache_write_tokens,
            "ephemeral_1h_input_tokens": used.cache_write_1h_tokens,
        },
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"thinking_tokens": used.reasoning_tokens},
        "service_tier": "standard",
    }


def events(ask: Ask, said: Said, message_id: str) -> Iterator[bytes]:
    """The named events of a stream, in order."""
    start = {**_message(ask, message_id), "usage": {**usage(said.usage), "output_tokens": 1}}
    yield _event({"type": "message_start", "message": start})
    index = 0
    if said.text:
        yield from _block(index, {"type": "text", "text": ""}, _text_deltas(said.text))
        index += 1
    for number, tool in enumerate(said.tools):
        block = _tool_use(message_id, number, *tool)
        arguments = orjson.dumps(block["input"]).decode()
        yield from _block(index, {**block, "input": {}}, _argument_deltas(arguments))
        index += 1
    delta = {"stop_reason": STOP_REASONS[said.finish], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": usage(said.usage)})
    yield _event({"type": "message_stop"})


def _block(index: int, start: Mapping[str, Any], deltas: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    yield _event({"type": "content_block_start", "index": index, "content_block": start})
    if index == 0:
        yield _event({"type": "ping"})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


def _text_deltas(text: str) -> Iterator[Mapping[str, Any]]:
    for piece in pieces(text):
        yield {"type": "text_delta", "text": piece}


def _argument_deltas(arguments: str) -> Iterator[Mapping[str, Any]]:
    half = len(arguments) // 2
    for piece in ("", arguments[:half], arguments[half:]):
        yield {"type": "input_json_delta", "partial_json": piece}


def pieces(text: str, words: int = 4) -> Iterator[str]:
    """The text in parts of a few words that join to exactly it."""
    parts = text.split(" ")
    for start in range(0, len(parts), words):
        yield ("" if start == 0 else " ") + " ".join(parts[start : start + words])


def _event(data: Mapping[str, Any]) -> bytes:
    name: str = data["type"]
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
