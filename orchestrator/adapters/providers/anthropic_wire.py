"""Anthropic's Messages protocol (version 2026-10-21): Call → JSON, JSON → Reply; pure, no I/O, no library errors.

Not sent: temperature, top_p, top_k (this version answers 400 to each, even at its default) and seed (it has
none: unknown fields are a 400). A schema goes as output_config.format, in the subset the SDK's own
`transform_schema` makes of it; what the subset cannot hold stands in the description."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from anthropic import AnthropicError, transform_schema

from orchestrator.adapters.providers.protocol import check_task, refuse
from orchestrator.adapters.providers.reading import (
    Unreadable,
    counts,
    index,
    mapping,
    optional_mapping,
    sequence,
    text,
)
from orchestrator.core.types import Call, FinishReason, Message, Reply, ToolCall
from registry.schema import Usage

API_VERSION = "2026-10-21"
FINISH: Mapping[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
}
"""A stop reason that is not listed reads as stop: new ones are announced, and the answer is whole and paid."""
CHOICES: Mapping[str, Mapping[str, str]] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AnthropicWire:
    """The protocol as the port's adapters use it."""

    provider: str = "anthropic"

    def payload(self, call: Call) -> dict[str, Any]:
        check_task(self.provider, call)
        sent: dict[str, Any] = {
            "model": call.api_model,
            "max_tokens": call.max_tokens or call.options.max_tokens,
            "messages": self._turns(call),
            **self._format(call),
        }
        if sent["max_tokens"] is None:
            raise refuse(self.provider, call, "max_tokens is not set")
        if system := "\n\n".join(m.content for m in call.messages if m.role == "system" and m.content):
            sent["system"] = system
        if call.options.stop:
            sent["stop_sequences"] = list(call.options.stop)
        if call.options.tools:
            sent["tools"] = [_tool(tool) for tool in call.options.tools]
            if choice := call.options.tool_choice:
                sent["tool_choice"] = CHOICES.get(choice, {"type": "tool", "name": choice})
        return sent

    def stream_payload(self, call: Call) -> dict[str, Any]:
        return {**self.payload(call), "stream": True}

    def _turns(self, call: Call) -> list[dict[str, Any]]:
        """Turns of alternating roles: a tool's result is the user's, neighbours of one role are joined."""
        turns: list[dict[str, Any]] = []
        for message in call.messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            blocks = self._blocks(message, call)
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"].extend(blocks)
            else:
                turns.append({"role": role, "content": blocks})
        if not turns:
            raise refuse(self.provider, call, "there are only system messages")
        return [{**turn, "content": _shortest(turn["content"])} for turn in turns]

    def _blocks(self, message: Message, call: Call) -> list[dict[str, Any]]:
        images = [_image(image.content_type, image.data) for image in message.images]
        if message.role == "tool":
            result = [{"type": "text", "text": message.content}, *images] if images else message.content
            return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": result}]
        words = [{"type": "text", "text": message.content}] if message.content else []
        uses = [
            {"type": "tool_use", "id": t.id, "name": t.name, "input": self._arguments(t, call)}
            for t in message.tool_calls
        ]
        return images + words + uses

    def _arguments(self, tool_call: ToolCall, call: Call) -> Any:
        try:
            arguments = orjson.loads(tool_call.arguments or "{}")
        except orjson.JSONDecodeError as error:
            why = f"the arguments of tool call {tool_call.id!r} are not JSON"
            raise refuse(self.provider, call, why) from error
        if not isinstance(arguments, dict):
            raise refuse(self.provider, call, f"the arguments of tool call {tool_call.id!r} are no object")
        return arguments

    def _format(self, call: Call) -> dict[str, Any]:
        if call.options.schema is None:
            return {}
        try:
            schema = transform_schema(dict(call.options.schema))
        except (AnthropicError, ValueError, TypeError, AttributeError, AssertionError) as error:
            raise refuse(self.provider, call, f"its schema cannot be expressed: {error}") from error
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}

    def reply(self, body: Mapping[str, Any], request_id: str | None) -> Reply:
        if body.get("type") != "message":
            raise Unreadable(f"the body's type is {body.get('type')!r:.40}, expected 'message'")
        texts: list[str] = []
        tools: list[ToolCall] = []
        for place, item in enumerate(sequence(body.get("content"), "content")):
            where = f"content[{place}]"
            block = mapping(item, where)
            if block.get("type") == "text":
                texts.append(text(block.get("text"), f"{where}.text"))
            elif block.get("type") == "tool_use":
                arguments = orjson.dumps(optional_mapping(block.get("input"), f"{where}.input")).decode()
                tools.append(_tool_call(block, arguments, where))
        return _reply("".join(texts), tools, body.get("stop_reason"), body.get("usage"), request_id)

    def gather(self, request_id: str | None) -> AnthropicGatherer:
        return AnthropicGatherer(request_id=request_id)


@dataclass(kw_only=True, slots=True)
class AnthropicGatherer:
    """Puts the named events of one stream together."""

    request_id: str | None
    text: str = ""
    _tools: dict[int, tuple[Mapping[str, Any], list[str]]] = field(default_factory=dict)
    _usage: dict[str, Any] = field(default_factory=dict)
    _stop_reason: Any = None
    _begun: bool = False
    _done: bool = False

    def take(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "content_block_start":
            return self._start(event)
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "message_start":
            self._begun = True
            message = mapping(event.get("message"), "message_start.message")
            self._count(message.get("usage"))
        elif kind == "message_delta":
            self._stop_reason = optional_mapping(event.get("delta"), "message_delta.delta").get("stop_reason")
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self._done = True
        return ""

    def _count(self, usage: Any) -> None:
        """Counts of a stream are cumulative: the last one that is told holds."""
        told = optional_mapping(usage, "usage").items()
        self._usage.update((name, value) for name, value in told if value is not None)

    def _start(self, event: Mapping[str, Any]) -> str:
        block = mapping(event.get("content_block"), "content_block")
        if block.get("type") == "tool_use":
            self._tools[index(event.get("index"), "index")] = (block, [])
        return self._say(block.get("text")) if block.get("type") == "text" else ""

    def _delta(self, event: Mapping[str, Any]) -> str:
        delta = mapping(event.get("delta"), "delta")
        if delta.get("type") == "text_delta":
            return self._say(delta.get("text"))
        if delta.get("type") == "input_json_delta":
            place = index(event.get("index"), "index")
            if place not in self._tools:
                raise Unreadable(f"a tool's arguments came for block {place}, which is no tool_use")
            self._tools[place][1].append(text(delta.get("partial_json"), "delta.partial_json"))
        return ""

    def _say(self, value: Any) -> str:
        piece = text(value, "text")
        self.text += piece
        return piece

    def reply(self) -> Reply:
        if not (self._begun and self._done):
            raise Unreadable("the stream ended before message_stop")
        tools = [
            _tool_call(block, "".join(parts) or "{}", f"content[{place}]")
            for place, (block, parts) in sorted(self._tools.items())
        ]
        return _reply(self.text, tools, self._stop_reason, self._usage, self.request_id)


def _reply(words: str, tools: Sequence[ToolCall], stop_reason: Any, usage: Any, request_id: str | None) -> Reply:
    if not isinstance(stop_reason, str):
        raise Unreadable(f"stop_reason is {stop_reason!r:.40}, expected a string")
    return Reply(
        usage=read_usage(mapping(usage, "usage")),
        text=words,
        tool_calls=tuple(tools),
        finish_reason=FINISH.get(stop_reason, FinishReason.STOP),
        provider_request_id=request_id,
    )


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """Anthropic counts tokens read from and written to the cache apart from input_tokens. Raises Unreadable."""
    for name in ("input_tokens", "output_tokens"):
        if usage.get(name) is None:
            raise Unreadable(f"usage.{name} is missing: the cost is unknown")
    totals = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    told = counts(usage, totals, "usage")
    written = optional_mapping(usage.get("cache_creation"), "usage.cache_creation")
    by_time = counts(written, ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), "cache_creation")
    one_hour = by_time["ephemeral_1h_input_tokens"]
    all_written = max(told["cache_creation_input_tokens"], sum(by_time.values()))
    thought = optional_mapping(usage.get("output_tokens_details"), "usage.output_tokens_details")
    return Usage(
        input_tokens=told["input_tokens"],
        cache_read_tokens=told["cache_read_input_tokens"],
        cache_write_tokens=all_written - one_hour,
        cache_write_1h_tokens=one_hour,
        output_tokens=told["output_tokens"],
        reasoning_tokens=counts(thought, ("thinking_tokens",), "output_tokens_details")["thinking_tokens"],
    )


def _tool_call(block: Mapping[str, Any], arguments: str, where: str) -> ToolCall:
    call_id, name = text(block.get("id"), f"{where}.id"), text(block.get("name"), f"{where}.name")
    return ToolCall(id=call_id, name=name, arguments=arguments)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    sent = {"name": tool["name"], "input_schema": tool.get("parameters") or {"type": "object"}}
    return {**sent, "description": tool["description"]} if tool.get("description") else sent


def _image(content_type: str, data: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": content_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def _shortest(blocks: list[dict[str, Any]]) -> Any:
    """A lone text is sent as a string; an empty turn as an empty string, which the provider refuses in words."""
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks
