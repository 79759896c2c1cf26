"""OpenAI's chat and embeddings protocol, with DeepSeek's usage, as a server speaks it; decides nothing.

Source: the request and chunk types of the openai SDK 3.x; DeepSeek's usage fields from its API reference."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from orchestrator.adapters.wire.answers import Ask, Finish, Said, estimate_input
from orchestrator.adapters.wire.errors import Rejected
from orchestrator.adapters.wire.messages_api import pieces
from registry.schema import Usage

PATHS = ("/v1/chat/completions", "/chat/completions")
EMBEDDING_PATHS = ("/v1/embeddings", "/embeddings")
FINISH_REASONS: Mapping[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}
DONE = b"data: [DONE]\n\n"


def read(body: Mapping[str, Any]) -> Ask:
    """The request as an `Ask`. Raises Rejected as the provider would with a 400."""
    messages = body.get("messages")
    if not isinstance(body.get("model"), str):
        raise Rejected("you must provide a model parameter")
    if not isinstance(messages, list) or not messages:
        raise Rejected("Missing required parameter: 'messages'.")
    texts: list[str] = []
    images, last_user = 0, ""
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or "role" not in message:
            raise Rejected(f"Missing required parameter: 'messages[{number}].role'.")
        found, pictures = _texts(message.get("content"))
        texts.extend(found)
        images += pictures
        if message["role"] == "user" and found:
            last_user = found[-1]
    maximum = body.get("max_completion_tokens", body.get("max_tokens"))
    if maximum is not None and (not isinstance(maximum, int) or maximum < 1):
        raise Rejected(f"Invalid 'max_tokens': integer below minimum value, got {maximum!r}.")
    return Ask(
        model=body["model"],
        last_user=last_user,
        input_tokens=estimate_input(texts, len(messages), images),
        max_tokens=maximum,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        logprobs=body.get("logprobs") is True,
        schema=_schema(body.get("response_format") or {}),
        forced_tool=_forced(body),
    )


def _texts(content: Any) -> tuple[list[str], int]:
    if isinstance(content, str):
        return [content], 0
    parts = content or []
    return [p["text"] for p in parts if p.get("type") == "text"], sum(p.get("type") == "image_url" for p in parts)


def _schema(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if response_format.get("type") == "json_schema":
        schema: Mapping[str, Any] | None = response_format.get("json_schema", {}).get("schema")
        return schema
    return {"type": "object"} if response_format.get("type") == "json_object" else None


def _forced(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choice = body.get("tool_choice")
    functions = [tool.get("function", {}) for tool in body.get("tools") or []]
    if choice == "required" and functions:
        return {"name": functions[0]["name"], "schema": functions[0].get("parameters", {})}
    if not isinstance(choice, dict):
        return None
    name = choice.get("function", {}).get("name")
    for function in functions:
        if function["name"] == name:
            return {"name": name, "schema": function.get("parameters", {})}
    raise Rejected(f"Invalid tool_choice: no tool is named {name!r}.")


def body(ask: Ask, said: Said, answer_id: str, created: int) -> Mapping[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.tools:
        message["tool_calls"] = [_tool_call(answer_id, n, *tool) for n, tool in enumerate(said.tools)]
    told = _logprobs(said, said.text)
    choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": FINISH_REASONS[said.finish]}
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": ask.model,
        "choices": [choice],
        "usage": usage(said.usage, ask.model),
    }


def _logprobs(said: Said, text: str) -> Mapping[str, Any] | None:
    """One token a word, as this server counts them."""
    if said.logprob is None or not text:
        return None
    tokens: list[Any] = [
        {"token": word, "logprob": said.logprob, "bytes": None, "top_logprobs": []} for word in text.split()
    ]
    return {"content": tokens, "refusal": None}


def _tool_call(answer_id: str, number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return {
        "id": f"call_{answer_id.removeprefix('chatcmpl-')}_{number}",
        "type": "function",
        "function": function,
    }


def usage(used: Usage, model: str) -> Mapping[str, Any]:
    """OpenAI's cached tokens are inside prompt_tokens; DeepSeek adds hit and miss."""
    prompt = used.total_input_tokens
    counted: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": used.output_tokens,
        "total_tokens": prompt + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }
    if used.cache_write_tokens:
        counted["prompt_tokens_details"]["cache_write_tokens"] = used.cache_write_tokens
    if model.startswith("deepseek"):
        counted["prompt_cache_hit_tokens"] = used.cache_read_tokens
        counted["prompt_cache_miss_tokens"] = prompt - used.cache_read_tokens
    return counted


def events(ask: Ask, said: Said, answer_id: str, created: int) -> Iterator[bytes]:
    """The chunks of a stream, in order, `[DONE]` last."""
    head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": ask.model}

    def chunk(delta: Mapping[str, Any], finish: str | None = None, told: Mapping[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": told, "finish_reason": finish}
        return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces(said.text) if said.text else ():
        yield chunk({"content": piece}, told=_logprobs(said, piece))
    for number, tool in enumerate(said.tools):
        call = _tool_call(answer_id, number, *tool)
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        start = {**call, "index": number, "function": {"name": tool[0], "arguments": ""}}
        yield chunk({"tool_calls": [start]})
        for piece in (arguments[:half], arguments[half:]):
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield chunk({}, FINISH_REASONS[said.finish])
    if ask.include_usage:
        counted = {**head, "choices": [], "usage": usage(said.usage, ask.model)}
        yield b"data: " + orjson.dumps(counted) + b"\n\n"
    yield DONE


def embeddings(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Synthetic vectors: of unit length, the same for the same text, without meaning. Raises Rejected."""
    model, texts = body.get("model"), body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(model, str) or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise Rejected("'model' must be a string and 'input' a string or a list of strings")
    dimensions = body.get("dimensions", 8)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= 8192:
        raise Rejected(f"'dimensions' must be from 1 to 8192, got {dimensions!r}")
    vectors = [_vector(text, dimensions) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": _base64(v) if as_base64 else v.tolist()}
        for n, v in enumerate(vectors)
    ]
    tokens = estimate_input(texts, 0)
    counted = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": counted}


def _base64(vector: array[float]) -> str:
    return base64.b64encode(vector.tobytes()).decode()


def _vector(text: str, dimensions: int) -> array[float]:
    stream = hashlib.shake_128(text.encode()).digest(dimensions)
    raw = [byte - 127.5 for byte in stream]
    length = sum(value * value for value in raw) ** 0.5
    return array("f", [value / length for value in raw])
