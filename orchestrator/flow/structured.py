"""Calls for a schema: mends what is JSON but for its form, and asks an open server of our own again. Judges nothing.

Our workers constrain decoding and paid providers have their own ways. A server that we only know to speak OpenAI's
protocol may know no grammar: it is asked in words too, without `response_format` if it refuses that, and up to
TRIES times with what was wrong. Such calls are free, so they are one attempt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.core.errors import CallRefused
from orchestrator.core.quality import json_schema, relaxed_json
from orchestrator.core.types import Call, Message, Reply
from orchestrator.ports import Provider
from registry.schema import Billing, Card, Usage

TRIES = 3


async def complete(provider: Provider, card: Card, call: Call) -> Reply:
    """Raises CallFailed and its children. The reply's text keeps the schema where any reading of it does."""
    schema = call.options.schema
    if schema is None:
        return await provider.complete(call)
    if card.billing is not Billing.NONE or card.queue is not None:
        return _mended(await provider.complete(call), schema)
    return await _insist(provider, _in_words(call, schema), schema)


async def _insist(provider: Provider, call: Call, schema: Mapping[str, Any]) -> Reply:
    usage = Usage()
    for tries_left in reversed(range(TRIES)):
        try:
            reply = await provider.complete(call)
        except CallRefused:
            if call.options.schema is None:
                raise
            call = replace(call, options=replace(call.options, schema=None))  # it knows no response_format
            reply = await provider.complete(call)
        usage = _sum(usage, reply.usage)
        reply = _mended(reply, schema)
        wrong = _wrong(reply, schema)
        if wrong is None or not tries_left:
            break
        call = _again(call, reply, wrong)
    return replace(reply, usage=usage)


def _in_words(call: Call, schema: Mapping[str, Any]) -> Call:
    asked = Message(role="system", content=relaxed_json.instruction(schema))
    return replace(call, messages=(asked, *call.messages))


def _again(call: Call, reply: Reply, wrong: str) -> Call:
    told = f"That is not what was asked for: {wrong}. Answer again, with the JSON only."
    said = Message(role="assistant", content=reply.text or "…")
    return replace(call, messages=(*call.messages, said, Message(role="user", content=told)))


def _mended(reply: Reply, schema: Mapping[str, Any]) -> Reply:
    """JSON inside a fence or a sentence, with a comma too many or quotes of the wrong kind, is taken for what it says:
    where that keeps the schema, the text is that JSON."""
    if reply.tool_calls or _wrong(reply, schema) is None:
        return reply
    try:
        value = relaxed_json.parse(reply.text or "")
    except relaxed_json.NoJson:
        return reply
    if not json_schema.fits(schema, value):
        return reply
    return replace(reply, text=json.dumps(value, ensure_ascii=False))


def _wrong(reply: Reply, schema: Mapping[str, Any]) -> str | None:
    try:
        value = json.loads(reply.text or "")
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return json_schema.misfit(schema, value)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
