"""OpenAI's chat completions: Call → JSON, JSON → Reply, in three flavours; pure, no I/O, no library errors.

openai: max_completion_tokens, no top_k (an unknown argument is a 400); the o-series and gpt-5 take no
temperature, top_p or stop (documented refusal), so those are not sent to them. deepseek: max_tokens, no top_k,
usage as cache hit and miss, and response_format json_object only, so the schema is written into the system
message. server (Ollama, llama-server, vLLM, …): max_tokens, top_k, usage may be missing (nobody is paid), and the
log-probabilities of its tokens are asked for: they are free, and tell how sure the model was."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite
from typing import Any, Literal

import orjson

from orchestrator.adapters.providers.protocol import check_task
from orchestrator.adapters.providers.reading import (
    Unreadable,
    counts,
    index,
    mapping,
    optional_mapping,
    sequence,
    text,
)
from orchestrator.adapters.providers.strict_schema import strict_schema
from orchestrator.core.types import Call, FinishReason, Message, Reply, ToolCall
from registry.schema import Usage

Flavour = Literal["openai", "deepseek", "server"]
FINISH: Mapping[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.REFUSAL,
}
INTERRUPTED = "insufficient_system_resource"
"""DeepSeek's finish reason for an answer that its own lack of resources cut short."""
LEAST_LOGPROB = -20.0
"""Some servers say −9999 for a token they gave no chance; one such token must not outweigh all others."""
FIXED_SAMPLING = re.compile(r"^(o\d|gpt-5($|-(?!chat)))")
"""Reasoning models whose sampling is fixed: o1, o3, o4-mini, gpt-5, gpt-5-mini (not gpt-5-chat, not gpt-5.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAIWire:
    """The protocol as the port's adapters use it."""

    provider: str
    flavour: Flavour

    def payload(self, call: Call) -> dict[str, Any]:
        check_task(self.provider, call)
        options, maximum = call.options, call.max_tokens or call.options.max_tokens
        sent: dict[str, Any] = {"model": call.api_model, "messages": self._messages(call)}
        if maximum is not None:
            sent["max_completion_tokens" if self.flavour == "openai" else "max_tokens"] = maximum
        sent |= {name: value for name, value in self._sampling(call).items() if value is not None}
        if options.schema is not None:
            sent["response_format"] = self._format(options.schema)
        if options.tools:
            sent["tools"] = [_tool(tool) for tool in options.tools]
            if choice := options.tool_choice:
                known = choice in ("auto", "none", "required")
                sent["tool_choice"] = choice if known else {"type": "function", "function": {"name": choice}}
        return sent

    def stream_payload(self, call: Call) -> dict[str, Any]:
        return {**self.payload(call), "stream": True, "stream_options": {"include_usage": True}}

    def _sampling(self, call: Call) -> dict[str, Any]:
        options = call.options
        sent: dict[str, Any] = {"seed": options.seed}
        if not (self.flavour == "openai" and FIXED_SAMPLING.match(call.api_model)):
            sent |= {"temperature": options.temperature, "top_p": options.top_p}
            sent["stop"] = list(options.stop) or None
        if self.flavour == "server":
            sent["top_k"] = options.top_k
            # llama-server answers logprobs together with streamed tools with a 400.
            sent["logprobs"] = None if options.tools else True
        return sent

    def _format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.flavour == "deepseek":
            return {"type": "json_object"}
        strict = strict_schema(schema) if self.flavour == "openai" else dict(schema)
        described = {"name": "answer", "schema": dict(schema) if strict is None else strict}
        return {"type": "json_schema", "json_schema": {**described, "strict": strict is not None}}

    def _messages(self, call: Call) -> list[dict[str, Any]]:
        sent = [_message(message) for message in call.messages]
        if self.flavour == "deepseek" and call.options.schema is not None:
            asked = orjson.dumps(call.options.schema).decode()
            order = f"Answer with one JSON object that is valid against this JSON schema: {asked}"
            sent.insert(0, {"role": "system", "content": order})
        return sent

    def reply(self, body: Mapping[str, Any], request_id: str | None) -> Reply:
        choices = sequence(body.get("choices"), "choices")
        if not choices:
            raise Unreadable("the body has no choices")
        choice = mapping(choices[0], "choices[0]")
        message = mapping(choice.get("message"), "choices[0].message")
        tools = []
        for place, item in enumerate(sequence(message.get("tool_calls"), "tool_calls")):
            where = f"tool_calls[{place}]"
            function = mapping(mapping(item, where).get("function"), f"{where}.function")
            tools.append(
                ToolCall(
                    id=text(item.get("id"), f"{where}.id"),
                    name=text(function.get("name"), f"{where}.name"),
                    arguments=text(function.get("arguments"), f"{where}.arguments"),
                )
            )
        said, refused = text(message.get("content"), "content"), text(message.get("refusal"), "refusal")
        logprobs = _logprobs(choice)
        heard = _Heard(text=said or refused, refused=bool(refused), tools=tools, logprobs=logprobs)
        return self._reply(heard, choice.get("finish_reason"), body.get("usage"), request_id)

    def gather(self, request_id: str | None) -> OpenAIGatherer:
        return OpenAIGatherer(wire=self, request_id=request_id)

    def _reply(self, heard: _Heard, finish: Any, usage: Any, request_id: str | None) -> Reply:
        if not isinstance(finish, str) or finish == INTERRUPTED:
            raise Unreadable(f"finish_reason is {finish!r:.40}: the answer is not whole")
        reason = FinishReason.TOOL_CALLS if heard.tools else FINISH.get(finish, FinishReason.STOP)
        return Reply(
            usage=self.read_usage(usage),
            text=heard.text,
            tool_calls=tuple(heard.tools),
            finish_reason=FinishReason.REFUSAL if heard.refused else reason,
            provider_request_id=request_id,
            mean_logprob=fsum(heard.logprobs) / len(heard.logprobs) if heard.logprobs else None,
        )

    def read_usage(self, usage: Any) -> Usage:
        """Cached and written tokens stand inside prompt_tokens. Raises Unreadable where a paid call names none."""
        if usage is None and self.flavour == "server":
            return Usage()
        usage = mapping(usage, "usage")
        if self.flavour != "server" and (usage.get("prompt_tokens") is None or usage.get("completion_tokens") is None):
            raise Unreadable("usage.prompt_tokens or usage.completion_tokens is missing: the cost is unknown")
        told = counts(usage, ("prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens"), "usage")
        details = optional_mapping(usage.get("prompt_tokens_details"), "usage.prompt_tokens_details")
        cache = counts(details, ("cached_tokens", "cache_write_tokens"), "prompt_tokens_details")
        output = optional_mapping(usage.get("completion_tokens_details"), "usage.completion_tokens_details")
        prompt = told["prompt_tokens"]
        # A count that contradicts its total is cut to it, so that the parts never add up to less than was billed.
        read = min(prompt, told["prompt_cache_hit_tokens"] or cache["cached_tokens"])
        written = min(prompt - read, cache["cache_write_tokens"])
        return Usage(
            input_tokens=prompt - read - written,
            cache_read_tokens=read,
            cache_write_tokens=written,
            output_tokens=told["completion_tokens"],
            reasoning_tokens=counts(output, ("reasoning_tokens",), "completion_tokens_details")["reasoning_tokens"],
        )


@dataclass(kw_only=True, slots=True)
class _Heard:
    text: str
    refused: bool
    tools: Sequence[ToolCall]
    logprobs: Sequence[float]


@dataclass(kw_only=True, slots=True)
class OpenAIGatherer:
    """Puts the chunks of one stream together; it is whole once a finish reason came (and, if paid, usage)."""

    wire: OpenAIWire
    request_id: str | None
    text: str = ""
    _refused: bool = False
    _tools: dict[int, dict[str, str]] = field(default_factory=dict)
    _logprobs: list[float] = field(default_factory=list)
    _finish: Any = None
    _usage: Any = None

    def take(self, event: Mapping[str, Any]) -> str:
        if event.get("usage") is not None:
            self._usage = event["usage"]
        choices = sequence(event.get("choices"), "choices")
        if not choices:
            return ""
        choice = mapping(choices[0], "choices[0]")
        if choice.get("finish_reason") is not None:
            self._finish = choice["finish_reason"]
        self._logprobs += _logprobs(choice)
        delta = optional_mapping(choice.get("delta"), "delta")
        for item in sequence(delta.get("tool_calls"), "tool_calls"):
            self._add_tool(mapping(item, "tool_calls[]"))
        refusal = text(delta.get("refusal"), "refusal")
        self._refused = self._refused or bool(refusal)
        piece = text(delta.get("content"), "content") + refusal
        self.text += piece
        return piece

    def _add_tool(self, item: Mapping[str, Any]) -> None:
        tool = self._tools.setdefault(index(item.get("index"), "index"), {"id": "", "name": "", "arguments": ""})
        function = optional_mapping(item.get("function"), "function")
        tool["id"] = tool["id"] or text(item.get("id"), "id")
        tool["name"] = tool["name"] or text(function.get("name"), "name")
        tool["arguments"] += text(function.get("arguments"), "arguments")

    def reply(self) -> Reply:
        if self._finish is None:
            raise Unreadable("the stream ended before a finish reason")
        tools = [ToolCall(**tool) for _, tool in sorted(self._tools.items())]
        heard = _Heard(text=self.text, refused=self._refused, tools=tools, logprobs=self._logprobs)
        return self.wire._reply(heard, self._finish, self._usage, self.request_id)


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    """Of each token of the content; none where the server tells none, or oddly: they are a hint, and no answer that
    can be read is lost for them."""
    told = choice.get("logprobs")
    tokens = told.get("content") if isinstance(told, Mapping) else None
    found: list[float] = []
    for token in tokens if isinstance(tokens, list) else ():
        each = token.get("logprob") if isinstance(token, Mapping) else None
        if isinstance(each, bool) or not isinstance(each, int | float) or not isfinite(each):
            return []
        found.append(min(0.0, max(LEAST_LOGPROB, float(each))))
    return found


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if message.images:
        images = [_image(image.content_type, image.data) for image in message.images]
        words = [{"type": "text", "text": message.content}] if message.content else []
        return {"role": message.role, "content": [*images, *words]}
    sent: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        sent["content"] = message.content or None
        sent["tool_calls"] = [
            {"id": t.id, "type": "function", "function": {"name": t.name, "arguments": t.arguments}}
            for t in message.tool_calls
        ]
    return sent


def _image(content_type: str, data: bytes) -> dict[str, Any]:
    url = f"data:{content_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool.get("parameters") or {"type": "object"}}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}
