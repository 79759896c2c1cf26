"""Under which key the model that answered a conversation's last turn is remembered. Pure: it remembers nothing.

A key names everything up to and including an assistant's message, so it is computed alike after an answer and
from what the client sends back with its next turn. A client that rewrites its history (drops old messages, puts
the time into its system prompt) finds no key, which costs a hint and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from orchestrator.core.types import Message, Reply, ToolCall

_ASSISTANT = "assistant"
_TOOL = "tool"


def key_of(tenant: str, messages: Sequence[Message]) -> str | None:
    """SHA-256 in hex over the tenant and the messages up to the last of the assistant: what `key_after` gave when
    that one was answered. None where no assistant has spoken yet.

    What clients change on the way makes no difference: white space at the ends of a content, the ids of tool
    calls, how the JSON of their arguments is written.
    """
    last = _last_of_assistant(messages)
    return None if last is None else _digest(tenant, messages[: last + 1])


def key_after(tenant: str, messages: Sequence[Message], reply: Reply) -> str:
    """The key that this conversation's next turn will have, when its client sends `reply` back as a message."""
    said = Message(role=_ASSISTANT, content=reply.text or "", tool_calls=reply.tool_calls)
    return _digest(tenant, (*messages, said))


def in_tool_loop(messages: Sequence[Message]) -> bool:
    """Whether a model is in the middle of its work with tools: the last message is a tool's result, or tools the
    assistant asked for last have not answered yet. Another model would have to guess what it was about."""
    if not messages:
        return False
    if messages[-1].role == _TOOL:
        return True
    last = _last_of_assistant(messages)
    return last is not None and _unanswered(messages[last].tool_calls, messages[last + 1 :])


def _last_of_assistant(messages: Sequence[Message]) -> int | None:
    return next((n for n in range(len(messages) - 1, -1, -1) if messages[n].role == _ASSISTANT), None)


def _unanswered(calls: Sequence[ToolCall], after: Sequence[Message]) -> bool:
    """A result without an id answers any one call."""
    results = [message.tool_call_id for message in after if message.role == _TOOL]
    open_calls = sum(call.id not in results for call in calls)
    return open_calls > results.count(None)


def _digest(tenant: str, messages: Sequence[Message]) -> str:
    """Every part stands behind its length and every list behind its count, so no two conversations read alike."""
    digest = sha256()
    for part in (tenant, *(part for message in messages for part in _parts(message))):
        data = part.encode("utf-8", "surrogatepass")  # a model may write half a character
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _parts(message: Message) -> Iterator[str]:
    """An image counts by its type and size: reading megabytes at every turn is not worth a hint."""
    yield message.role
    yield message.content.strip()
    yield str(len(message.images))
    yield from (f"{image.content_type} {len(image.data)}" for image in message.images)
    yield str(len(message.tool_calls))
    for call in message.tool_calls:
        yield call.name
        yield _arguments(call.arguments)


def _arguments(written: str) -> str:
    """Arguments as one text per value: clients parse them and write them again in their own way (JavaScript has
    one kind of number). What is no JSON counts as it stands; nothing is an empty object."""
    if not written.strip():
        return "{}"
    try:
        read = json.loads(written, parse_float=_number)
        return json.dumps(read, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return written.strip()


def _number(written: str) -> Any:
    number = float(written)
    return int(number) if number.is_integer() else number
