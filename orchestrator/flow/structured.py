"""Calls for a schema: mends what is JSON but for its form, and asks an open server of our own again. Judges nothing.

Our workers constrain decoding and paid providers have their own ways. A server that we only know to speak OpenAI's
protocol may know no grammar: it is asked in words too, without `response_format` if it refuses that, and up to
TRIES times with what was wrong. Such calls are free, so they are one attempt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.errors import CallFailed, CallRefused, CallTimedOut
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
    """All tries together take no longer than one call may: what was said by then is the answer."""
    replies: list[Reply] = []
    try:
        async with asyncio.timeout(call.timeout_s):
            await _ask_until_kept(provider, call, schema, replies)
    except TimeoutError as error:
        if not replies:
            raise CallTimedOut(f"{call.model_id} did not answer within {call.timeout_s:g} s") from error
    except CallFailed:
        if not replies:
            raise
    return replace(replies[-1], usage=_sum([reply.usage for reply in replies]))


async def _ask_until_kept(provider: Provider, call: Call, schema: Mapping[str, Any], replies: list[Reply]) -> None:
    """Each reply is added as it comes. Raises CallFailed and its children."""
    for _ in range(TRIES):
        try:
            reply = await provider.complete(call)
        except CallRefused:
            if call.options.schema is None:
                raise
            call = replace(call, options=replace(call.options, schema=None))  # it knows no response_format
            reply = await provider.complete(call)
        reply = _mended(reply, schema)
        replies.append(reply)
        wrong = None if reply.tool_calls else _wrong(reply, schema)
        if wrong is None:
            return
        call = _again(call, reply, wrong)


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


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        cache_read_tokens=sum(usage.cache_read_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )
