"""Translates a body from the wire to core's `Request`. What a type cannot say is checked in `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from orchestrator.core.budget import NANOUSD_PER_USD
from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Caller, Constraints, Media, Message, Options, Request, Strategy, ToolCall
from orchestrator.http.body import ConstraintsBody, MediaBody, MessageBody, OptionsBody, RouteBody
from orchestrator.http.fit import CHAT, require_fit
from orchestrator.http.media import decode, sniff
from orchestrator.ports import Blobs


async def to_request(
    body: RouteBody, request_id: UUID, caller: Caller, blobs: Blobs, files: Sequence[Media], default: Strategy
) -> Request:
    """`files` are the uploads of a form. Raises InvalidInput, and NotFound for a blob nobody uploaded."""
    messages, texts, media = await _read_input(body, blobs)
    if files and body.task in CHAT:
        messages = _with_images(messages, files)
    else:
        media = (*media, *files)
    require_fit(body, messages, texts, media)
    return Request(
        id=request_id,
        task=body.task,
        messages=messages,
        texts=texts,
        query=body.query,
        media=media,
        options=_options(body.options),
        constraints=_constraints(body.constraints),
        strategy=body.strategy or default,
        model=None if body.model == "auto" else body.model,
        caller=caller,
        user=body.user,
        task_class=body.task_class,
        metadata=body.metadata,
        tags=tuple(body.tags),
    )


async def _read_input(body: RouteBody, blobs: Blobs) -> tuple[tuple[Message, ...], tuple[str, ...], tuple[Media, ...]]:
    given = body.input
    items: Sequence[Any] = given if isinstance(given, list) else [given]
    if items and isinstance(items[0], MediaBody):
        one = not isinstance(given, list)
        return (
            (),
            (),
            tuple([await _media(item, blobs, "input" if one else f"input.{n}") for n, item in enumerate(items)]),
        )
    if items and isinstance(items[0], MessageBody):
        return tuple([await _message(item, blobs, n) for n, item in enumerate(items)]), (), ()
    if body.task in CHAT and len(items) == 1:
        return (Message(role="user", content=items[0]),), (), ()
    return (), tuple(items), ()


async def _message(body: MessageBody, blobs: Blobs, number: int) -> Message:
    images = [await _media(image, blobs, f"input.{number}.images.{n}") for n, image in enumerate(body.images)]
    calls = [
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments) for call in body.tool_calls
    ]
    return Message(
        role=body.role,
        content=body.content or "",
        images=tuple(images),
        tool_calls=tuple(calls),
        tool_call_id=body.tool_call_id,
    )


async def _media(body: MediaBody, blobs: Blobs, field: str) -> Media:
    if body.blob is not None:
        data, content_type = await blobs.get(body.blob)
        return Media(content_type=body.content_type or content_type, data=data)
    content_type, data = decode(body.data or "", f"{field}.data")
    return Media(content_type=body.content_type or content_type or sniff(data), data=data)


def _with_images(messages: tuple[Message, ...], files: Sequence[Media]) -> tuple[Message, ...]:
    """The uploads of a chat belong to the turn that is asked now."""
    if not messages or messages[-1].role != "user":
        raise InvalidInput("uploaded files belong to a user's turn, and the last message is none.", field="file")
    asked = messages[-1]
    return (*messages[:-1], replace(asked, images=(*asked.images, *files)))


def _options(body: OptionsBody) -> Options:
    return Options(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        max_tokens=body.max_tokens,
        stop=tuple(body.stop),
        seed=body.seed,
        schema=body.json_schema,
        tools=tuple(body.tools),
        tool_choice=body.tool_choice,
        labels=tuple(body.labels),
        language=body.language,
        top_n=body.top_n,
        dimensions=body.dimensions,
        multi_label=body.multi_label,
        compare=body.compare,
        profile=body.profile,
        timestamps=body.timestamps,
        translate=body.translate,
    )


def _constraints(body: ConstraintsBody) -> Constraints:
    return Constraints(
        min_quality=body.quality,
        max_cost_nanousd=None if body.max_cost_usd is None else int(body.max_cost_usd * NANOUSD_PER_USD),
        deadline_ms=body.deadline_ms,
        tiers=frozenset(body.tiers) if body.tiers else None,
        regions=frozenset(body.regions) if body.regions else None,
    )
