"""Checks what a type cannot say: that the input fits the task, the order of roles, sizes. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Media, Message
from orchestrator.http.body import (
    MAX_MEDIA,
    MAX_MEDIA_BYTES,
    MAX_MESSAGES,
    MAX_TEXT_CHARACTERS,
    MAX_TEXTS,
    OptionsBody,
    RouteBody,
)
from registry.schema import Task

CHAT = frozenset({Task.GENERATE})
TEXT = frozenset({Task.EMBED, Task.SENTIMENT, Task.TOXICITY, Task.CLASSIFY, Task.RERANK})
# What to rank by, to ask a page, to match images with; how names in a recording are spelled.
_QUERIED = frozenset({Task.RERANK, Task.DOCUMENT, Task.VISION, Task.TRANSCRIBE})
_SHAPES = {
    "messages": "a text or chat messages",
    "texts": "a text or a list of texts",
    "media": "files: images, PDFs or recordings (as data, blob or upload)",
}
_ONLY_FOR: Mapping[str, frozenset[Task]] = {
    "tools": CHAT,
    "schema": CHAT,
    "store": frozenset({Task.EMBED}),
    "labels": frozenset({Task.CLASSIFY, Task.VISION}),
    "multi_label": frozenset({Task.CLASSIFY, Task.VISION}),
    "dimensions": frozenset({Task.EMBED}),
    "compare": frozenset({Task.VISION}),
    "profile": frozenset({Task.VISION}),
    "timestamps": frozenset({Task.TRANSCRIBE}),
    "translate": frozenset({Task.TRANSCRIBE}),
}


def require_fit(body: RouteBody, messages: Sequence[Message], texts: Sequence[str], media: Sequence[Media]) -> None:
    """Raises InvalidInput."""
    task = body.task
    given: dict[str, Collection[object]] = {"messages": messages, "texts": texts, "media": media}
    wanted = "messages" if task in CHAT else "texts" if task in TEXT else "media"
    if not given[wanted] or any(parts for name, parts in given.items() if name != wanted):
        raise InvalidInput(f"task {task} needs {_SHAPES[wanted]} as input, and nothing else.", field="input")
    _require_sizes(messages, texts, media)
    if any(not text.strip() for text in texts):
        raise InvalidInput("a text is empty.", field="input")
    if body.query is not None and task not in _QUERIED:
        raise InvalidInput(f"{task} takes no query; {', '.join(sorted(_QUERIED))} do.", field="query")
    if task is Task.RERANK and body.query is None:
        raise InvalidInput("rerank needs a query to rank the texts by.", field="query")
    if body.stream and task is not Task.GENERATE:
        raise InvalidInput(f"only generate can be streamed, not {task}.", field="stream")
    _require_options(task, body.options)
    _require_images(messages)
    _require_order(messages)


def _require_sizes(messages: Sequence[Message], texts: Sequence[str], media: Sequence[Media]) -> None:
    if sum(len(m.content) for m in messages) + sum(map(len, texts)) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(f"the input is over {MAX_TEXT_CHARACTERS} characters; split it.", field="input")
    files = (*media, *(image for message in messages for image in message.images))
    if len(messages) > MAX_MESSAGES or len(texts) > MAX_TEXTS or len(files) > MAX_MEDIA:
        raise InvalidInput(
            f"too many parts: at most {MAX_MESSAGES} messages, {MAX_TEXTS} texts, {MAX_MEDIA} files.", field="input"
        )
    if any(not item.data or len(item.data) > MAX_MEDIA_BYTES for item in files):
        raise InvalidInput(f"each file must have between 1 and {MAX_MEDIA_BYTES} bytes.", field="input")


def _require_options(task: Task, options: OptionsBody) -> None:
    for name, tasks in _ONLY_FOR.items():
        if getattr(options, "json_schema" if name == "schema" else name) and task not in tasks:
            raise InvalidInput(f"options.{name} is for {' and '.join(sorted(tasks))}.", field=f"options.{name}")
    if task is Task.CLASSIFY and not options.labels:
        raise InvalidInput("classify needs options.labels, the classes to choose from.", field="options.labels")


def _require_images(messages: Sequence[Message]) -> None:
    for number, message in enumerate(messages):
        field = f"input.{number}.images"
        if message.images and message.role != "user":
            raise InvalidInput("only the user shows images.", field=field)
        for image in message.images:
            if not image.content_type.startswith("image/"):
                raise InvalidInput(f"a chat takes images, not {image.content_type}.", field=field)


def _require_order(messages: Sequence[Message]) -> None:
    """System first; each tool call is answered before the next turn; the last turn is the user's or a tool's."""
    waiting: set[str] = set()
    spoken = False
    for number, message in enumerate(messages):
        field = f"input.{number}"
        if message.role == "system" and spoken:
            raise InvalidInput("a system message must come before every other role.", field=f"{field}.role")
        spoken = spoken or message.role != "system"
        _require_tool_turn(message, waiting, field)
        if not (message.content.strip() or message.images or message.tool_calls or message.role == "tool"):
            raise InvalidInput("the message is empty.", field=f"{field}.content")
        waiting -= {message.tool_call_id or ""}
        waiting |= {call.id for call in message.tool_calls}
    last = len(messages) - 1
    if messages and messages[-1].role not in ("user", "tool"):
        raise InvalidInput(
            f"the last message is of role {messages[-1].role}; it must be user or tool.", field=f"input.{last}.role"
        )
    if waiting:
        raise InvalidInput(f"the tool call {min(waiting)!r} has no result yet.", field=f"input.{last}")


def _require_tool_turn(message: Message, waiting: Collection[str], field: str) -> None:
    if message.role == "tool" and message.tool_call_id not in waiting:
        raise InvalidInput(
            f"tool_call_id {message.tool_call_id!r} answers no open tool call before it.", field=f"{field}.tool_call_id"
        )
    if message.role != "tool" and message.tool_call_id is not None:
        raise InvalidInput("only a tool's message has a tool_call_id.", field=f"{field}.tool_call_id")
    if message.role != "tool" and waiting:
        raise InvalidInput(f"the tool call {min(waiting)!r} needs its result before this turn.", field=f"{field}.role")
    if message.role != "assistant" and message.tool_calls:
        raise InvalidInput("only the assistant makes tool calls.", field=f"{field}.tool_calls")
