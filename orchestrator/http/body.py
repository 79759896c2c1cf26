"""The shape of a request on the wire: typed, bounded, and translated to core's `Request`. Decides nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestrator.core.budget import NANOUSD_PER_USD
from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Caller, Constraints, Media, Message, Options, Request, Strategy, ToolCall
from orchestrator.ports import Blobs
from registry.schema import Task, Tier

T = TypeVar("T", bound=BaseModel)

MAX_TEXT_BYTES = 10_000_000
MAX_MESSAGES = 1_000
MAX_TEXTS = 2_048
MAX_MEDIA = 16
MAX_MEDIA_BYTES = 25_000_000
CHAT = frozenset({Task.GENERATE})
TEXT = frozenset({Task.EMBED, Task.SENTIMENT, Task.TOXICITY, Task.CLASSIFY, Task.RERANK})
MEDIA = frozenset({Task.OCR, Task.DOCUMENT, Task.VISION, Task.TRANSCRIBE})


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MediaBody(Strict):
    """An image or a recording: base64 `data` (a data: URL too) or the id of an uploaded `blob`."""

    data: str | None = Field(None, max_length=MAX_MEDIA_BYTES * 4 // 3 + 200)
    blob: str | None = Field(None, max_length=64)
    content_type: str | None = Field(None, max_length=100, pattern=r"^[\w.+-]+/[\w.+-]+$")

    @model_validator(mode="after")
    def _one_source(self) -> MediaBody:
        if (self.data is None) == (self.blob is None):
            raise ValueError("give either data (base64) or blob (an id of POST /blobs)")
        return self


class FunctionBody(Strict):
    name: str = Field(max_length=128)
    arguments: str = Field(max_length=1_000_000)


class ToolCallBody(Strict):
    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: FunctionBody


class MessageBody(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = Field(None, max_length=MAX_TEXT_BYTES)
    images: list[MediaBody] = Field(default_factory=list, max_length=MAX_MEDIA)
    tool_calls: list[ToolCallBody] = Field(default_factory=list, max_length=128)
    tool_call_id: str | None = Field(None, max_length=256)


class OptionsBody(Strict):
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, le=1_000)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    stop: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=4)
    seed: int | None = Field(None, ge=0, lt=2**53)
    json_schema: dict[str, Any] | None = Field(None, alias="schema", description="a JSON schema the output must keep")
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=128)
    tool_choice: str | None = Field(None, max_length=128, description="auto, none, required or a tool's name")
    labels: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(default_factory=list, max_length=1_000)
    language: str | None = Field(None, max_length=35)
    top_n: int | None = Field(None, ge=1, le=MAX_TEXTS)
    store: bool = Field(False, description="embed: keep the texts with their vectors for POST /embeddings/search")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Draft202012Validator.check_schema(value)
            except SchemaError as error:
                raise ValueError(f"is not a JSON schema: {error.message}") from error
        return value

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [_tool(number, tool) for number, tool in enumerate(value)]


class ConstraintsBody(Strict):
    quality: float | None = Field(None, ge=0, le=1, description="least predicted and judged quality")
    max_cost_usd: Decimal | None = Field(None, ge=0, le=1_000)
    deadline_ms: int | None = Field(None, ge=1, le=3_600_000)
    tiers: list[Tier] | None = Field(None, min_length=1)


class RouteBody(Strict):
    """One request to `/route`."""

    task: Task = Task.GENERATE
    input: str | list[str] | list[MessageBody] | MediaBody | list[MediaBody]
    query: str | None = Field(None, max_length=MAX_TEXT_BYTES, description="rerank: what the input is ranked for")
    options: OptionsBody = OptionsBody()
    constraints: ConstraintsBody = ConstraintsBody()
    strategy: Strategy | Literal["claude_only"] | None = None
    model: str | None = Field(None, max_length=200, description="names a model and skips routing; `auto` routes")
    user: str | None = Field(None, max_length=256)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=64)
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=16)
    stream: bool = False


class InferBody(Strict):
    """`POST /models/infer`: `/route` with the model named."""

    model_id: str = Field(max_length=200)
    input: str | list[str] | list[MessageBody] | MediaBody | list[MediaBody]
    task: Task | None = Field(None, description="needed only for a model that can do several")
    query: str | None = Field(None, max_length=MAX_TEXT_BYTES)
    options: OptionsBody = OptionsBody()


class SearchBody(Strict):
    query: str = Field(min_length=1, max_length=MAX_TEXT_BYTES)
    limit: int = Field(10, ge=1, le=100)
    model: str | None = Field(None, max_length=200)


def parse(model: type[T], raw: bytes) -> T:
    """Raises InvalidInput naming the first wrong field and its value."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> InvalidInput:
    """The most telling of pydantic's findings: of a union's branches, the one that went deepest."""
    findings = error.errors(include_url=False, include_context=False)
    first = max(findings, key=lambda finding: (finding["type"] == "json_invalid", len(finding["loc"])))
    field = ".".join(str(part) for part in first["loc"]) or "body"
    shown = repr(first.get("input"))
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    return InvalidInput(f"{field}: {first['msg']}; got {shown}. GET /docs shows the shape.", field=field)


async def to_request(
    body: RouteBody, request_id: UUID, caller: Caller, blobs: Blobs, files: Sequence[Media], default: Strategy
) -> Request:
    """Checks what a type cannot say: that the input fits the task, the order of roles, sizes. Raises InvalidInput."""
    messages, texts, media = await _read_input(body, blobs)
    media = (*media, *files)
    _require_fit(body, messages, texts, media)
    return Request(
        id=request_id,
        task=body.task,
        messages=messages,
        texts=texts,
        query=body.query,
        media=media if body.task in MEDIA else (),
        options=_options(body.options),
        constraints=_constraints(body.constraints),
        strategy=Strategy.PREMIUM_ONLY if body.strategy == "claude_only" else Strategy(body.strategy or default),
        model=None if body.model == "auto" else body.model,
        caller=caller,
        user=body.user,
        metadata=body.metadata,
        tags=tuple(body.tags),
    )


async def _read_input(body: RouteBody, blobs: Blobs) -> tuple[tuple[Message, ...], tuple[str, ...], tuple[Media, ...]]:
    given = body.input
    items: Sequence[Any] = given if isinstance(given, list) else [given]
    if items and isinstance(items[0], MediaBody):
        return (), (), tuple([await _media(item, blobs, f"input.{n}") for n, item in enumerate(items)])
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
    content_type, text = body.content_type or "", body.data or ""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        content_type = content_type or head[5:].split(";")[0]
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{field}.data is not base64: {error}.", field=f"{field}.data") from error
    return Media(content_type=content_type or sniff(data), data=data)


def sniff(data: bytes) -> str:
    """The media type by the first bytes; application/octet-stream when none is known."""
    for magic, content_type in _MAGIC:
        if data.startswith(magic):
            return content_type
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "application/octet-stream")
    return "application/octet-stream"


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
)


def _require_fit(body: RouteBody, messages: Sequence[Message], texts: Sequence[str], media: Sequence[Media]) -> None:
    task = body.task
    wanted, given = ("messages", messages) if task in CHAT else ("texts", texts) if task in TEXT else ("media", media)
    if not given:
        shapes = {
            "messages": "a text or chat messages",
            "texts": "a text or a list of texts",
            "media": "an image or audio",
        }
        raise InvalidInput(f"task {task} needs {shapes[wanted]} as input.", field="input")
    if sum(len(m.content) for m in messages) + sum(map(len, texts)) > MAX_TEXT_BYTES:
        raise InvalidInput(f"the input is over {MAX_TEXT_BYTES} characters; split it.", field="input")
    if len(messages) > MAX_MESSAGES or len(texts) > MAX_TEXTS or len(media) > MAX_MEDIA:
        raise InvalidInput(
            f"too many parts: at most {MAX_MESSAGES} messages, {MAX_TEXTS} texts, {MAX_MEDIA} media.", field="input"
        )
    if any(not item.data or len(item.data) > MAX_MEDIA_BYTES for item in media):
        raise InvalidInput(f"each file must have between 1 and {MAX_MEDIA_BYTES} bytes.", field="input")
    if any(not text.strip() for text in texts):
        raise InvalidInput("a text is empty.", field="input")
    if (task is Task.RERANK) != (body.query is not None):
        raise InvalidInput("rerank needs a query, and only rerank takes one.", field="query")
    if body.options.store and task is not Task.EMBED:
        raise InvalidInput("options.store is for task embed.", field="options.store")
    if body.stream and task is not Task.GENERATE:
        raise InvalidInput(f"only generate can be streamed, not {task}.", field="stream")
    _require_order(messages)


def _require_order(messages: Sequence[Message]) -> None:
    """System first; a tool result answers a call made before it; the last turn is the user's or a tool's."""
    open_calls: set[str] = set()
    spoken = False
    for number, message in enumerate(messages):
        field = f"input.{number}"
        if message.role == "system" and spoken:
            raise InvalidInput("a system message must come before every other role.", field=f"{field}.role")
        spoken = spoken or message.role != "system"
        if message.role == "tool" and message.tool_call_id not in open_calls:
            raise InvalidInput(
                f"tool_call_id {message.tool_call_id!r} answers no tool call before it.", field=f"{field}.tool_call_id"
            )
        if message.role != "assistant" and message.tool_calls:
            raise InvalidInput("only the assistant makes tool calls.", field=f"{field}.tool_calls")
        if not (message.content.strip() or message.images or message.tool_calls or message.role == "tool"):
            raise InvalidInput("the message is empty.", field=f"{field}.content")
        open_calls |= {call.id for call in message.tool_calls}
    if messages and messages[-1].role not in ("user", "tool"):
        raise InvalidInput(
            f"the last message is of role {messages[-1].role}; it must be user or tool.",
            field=f"input.{len(messages) - 1}",
        )


def _tool(number: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's `{"type": "function", "function": {…}}` and the plain `{"name", "parameters"}` are one."""
    inner = tool.get("function") if tool.get("type") == "function" else tool
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise ValueError(f"tool {number} has no name")
    parameters = inner.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(parameters, dict):
        raise ValueError(f"tool {number}: parameters must be a JSON schema object")
    return {"name": inner["name"], "description": str(inner.get("description", "")), "parameters": parameters}


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
    )


def _constraints(body: ConstraintsBody) -> Constraints:
    return Constraints(
        min_quality=body.quality,
        max_cost_nanousd=None if body.max_cost_usd is None else int(body.max_cost_usd * NANOUSD_PER_USD),
        deadline_ms=body.deadline_ms,
        tiers=frozenset(body.tiers) if body.tiers else None,
    )
