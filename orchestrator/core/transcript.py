"""What of a request and its reply is kept as text in the log. Media are named, never stored here."""

from __future__ import annotations

import json

from orchestrator.core.types import Message, Reply, Request

_MAX_CHARACTERS = 100_000


def input_text(request: Request) -> str:
    """Chat as `role: content` lines, texts as lines, media as `[image/png, 1234 bytes]`."""
    lines = [_turn(message) for message in request.messages]
    lines += [request.query] if request.query else []
    lines += list(request.texts)
    lines += [f"[{media.content_type}, {len(media.data)} bytes]" for media in request.media]
    return "\n".join(lines)[:_MAX_CHARACTERS]


def output_text(reply: Reply) -> str | None:
    """The text, or the tool calls as JSON; None for data such as vectors, which are stored elsewhere."""
    if reply.tool_calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in reply.tool_calls]
        return json.dumps({"text": reply.text, "tool_calls": calls}, ensure_ascii=False)[:_MAX_CHARACTERS]
    return reply.text[:_MAX_CHARACTERS] if reply.text is not None else None


def last_ask(text: str) -> str:
    """The last user turn of a chat kept by `input_text`; a text that is no chat as it is. What a caller pasted may
    look like a turn: then it is taken for one."""
    _, marker, last = text.rpartition("\nuser: ")
    return last if marker else text.removeprefix("user: ")


def _turn(message: Message) -> str:
    images = "".join(f" [{image.content_type}, {len(image.data)} bytes]" for image in message.images)
    return f"{message.role}: {message.content}{images}"
