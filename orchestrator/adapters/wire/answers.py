"""What the wire server says: a recording, a given text, or an openly synthetic one; it must ask no model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from orchestrator.adapters.wire.behaviour import Behaviour
from orchestrator.core.errors import ConfigError
from registry.schema import Usage

WORDS_PER_TOKEN = 0.75
"""The rule of thumb OpenAI publishes for English; this server's own estimate, never a provider's count."""
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 85

Finish = Literal["stop", "length", "tool_calls", "refusal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A chat request in either protocol, reduced to what decides the answer; tokens are estimated."""

    model: str
    last_user: str
    input_tokens: int
    max_tokens: int | None
    stream: bool
    include_usage: bool = True
    logprobs: bool = False
    schema: Mapping[str, Any] | None = None
    forced_tool: Mapping[str, Any] | None = None
    """`{"name", "schema"}` when the request leaves no choice but to call a tool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """An answer before it is put into a protocol's words."""

    text: str
    finish: Finish
    usage: Usage
    source: Literal["replay", "synthetic"]
    tools: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    logprob: float | None = None
    """Of each token of the text, where the request asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One recorded answer; counts that were not recorded are derived."""

    text: str
    usage: Mapping[str, int] = field(default_factory=dict)


class Replay:
    """Recorded answers by (last user message, model); a record without a model answers for every model."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._by_prompt: dict[tuple[str, str | None], Recorded] = {}
        for record in records:
            usage = {name: record[name] for name in ("input_tokens", "output_tokens") if record.get(name) is not None}
            key = (record["prompt"], record.get("model"))
            self._by_prompt[key] = Recorded(text=record["text"], usage=usage)

    @classmethod
    def load(cls, path: Path) -> Replay:
        """JSON lines of `{"prompt", "model" or null, "text"}`, optionally with `input_tokens` and
        `output_tokens`. Raises ConfigError."""
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"cannot read the recorded answers {str(path)!r}: {error.strerror}") from error
        return cls(_record(line, number, path) for number, line in enumerate(lines, 1) if line.strip())

    def find(self, prompt: str, model: str) -> Recorded | None:
        return self._by_prompt.get((prompt, model)) or self._by_prompt.get((prompt, None))

    def __len__(self) -> int:
        return len(self._by_prompt)


def _record(line: bytes, number: int, path: Path) -> Mapping[str, Any]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("prompt", "text")):
        raise ConfigError(f'{path}:{number}: a recorded answer needs the strings "prompt" and "text"')
    return record


def say(ask: Ask, behaviour: Behaviour, replay: Replay) -> Said:
    """The answer to `ask`. Text longer than max_tokens (by the estimate) is cut and finishes with length."""
    recorded = None
    tools = _tools(ask, behaviour)
    if behaviour.text is not None:
        text = behaviour.text
    elif tools:
        text = ""
    elif behaviour.echo:
        text = f"Synthetic echo: {ask.last_user}"
    else:
        recorded = replay.find(ask.last_user, ask.model)
        text = recorded.text if recorded else _synthetic(ask)
    given = dict(recorded.usage) if recorded else {}
    text, finish = (text, None) if given or ask.schema else _within(text, ask.max_tokens)
    return Said(
        text=text,
        finish=behaviour.finish or ("tool_calls" if tools else finish or "stop"),
        usage=_usage(ask, behaviour, given, text, tools),
        source="replay" if recorded else "synthetic",
        tools=tools,
        logprob=behaviour.logprob if ask.logprobs else None,
    )


def _tools(ask: Ask, behaviour: Behaviour) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    if behaviour.tools:
        return tuple((tool.name, tool.arguments) for tool in behaviour.tools)
    if ask.forced_tool is not None:
        return ((ask.forced_tool["name"], instance(ask.forced_tool["schema"])),)
    return ()


def _synthetic(ask: Ask) -> str:
    if ask.schema is not None:
        return orjson.dumps(instance(ask.schema)).decode()
    return (
        "This is a synthetic answer: no model was asked. "
        f"The wire server was sent about {ask.input_tokens} tokens for {ask.model}."
    )


def _within(text: str, max_tokens: int | None) -> tuple[str, Finish | None]:
    if max_tokens is None or len(text) <= max_tokens:  # a word has at least one character
        return text, None
    words = text.split(" ")
    allowed = max(1, int(max_tokens * WORDS_PER_TOKEN))
    return (text, None) if len(words) <= allowed else (" ".join(words[:allowed]), "length")


def _usage(
    ask: Ask, behaviour: Behaviour, recorded: Mapping[str, int], text: str, tools: Sequence[tuple[str, Any]]
) -> Usage:
    told = behaviour.usage
    output = told.output_tokens
    if output is None and behaviour.usage_mode == "full":
        output = ask.max_tokens
    if output is None:
        output = recorded.get("output_tokens")
    if output is None:
        spoken = text + "".join(f" {name} {orjson.dumps(arguments).decode()}" for name, arguments in tools)
        output = estimate_output(spoken)
        output = output if ask.max_tokens is None else min(output, ask.max_tokens)
    given = told.input_tokens if told.input_tokens is not None else recorded.get("input_tokens", ask.input_tokens)
    return Usage(
        input_tokens=given,
        cache_read_tokens=told.cache_read_tokens,
        cache_write_tokens=told.cache_write_tokens,
        cache_write_1h_tokens=told.cache_write_1h_tokens,
        output_tokens=output,
        reasoning_tokens=told.reasoning_tokens,
    )


def estimate_input(texts: Iterable[str], messages: int, images: int = 0) -> int:
    """A quarter token a character, four a message, 85 an image: this server's own estimate."""
    characters = sum(map(len, texts))
    return math.ceil(characters / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * messages + TOKENS_PER_IMAGE * images


def estimate_output(text: str) -> int:
    """Four tokens for three words: this server's own estimate; at least 1."""
    return max(1, math.ceil((text.count(" ") + 1) / WORDS_PER_TOKEN))


def instance(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """A small synthetic value of a JSON schema: enough for objects, arrays, enums and plain types."""
    if "const" in schema:
        return schema["const"]
    for choice in ("enum", "examples"):
        if schema.get(choice):
            return schema[choice][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return instance(schema[union][0], depth)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties[name], depth + 1) for name in properties} if depth < 16 else {}
    if kind == "array":
        return [instance(schema.get("items", {}), depth + 1)] * max(1, schema.get("minItems", 1))
    plain = {
        "integer": schema.get("minimum", 1),
        "number": schema.get("minimum", 0.5),
        "boolean": True,
        "null": None,
    }
    return plain[kind] if kind in plain else "synthetic"[: schema.get("maxLength", 9)]
