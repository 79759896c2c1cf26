"""The shape of a request on the wire: typed and bounded. `ask` translates it; nothing is decided here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from orchestrator.core.errors import InvalidInput
from orchestrator.core.quality import json_schema as schemas
from orchestrator.core.types import Strategy
from registry.schema import Task, Tier

T = TypeVar("T", bound=BaseModel)

MAX_TEXT_CHARACTERS = 10_000_000
MAX_MESSAGES = 1_000
MAX_TEXTS = 2_048
MAX_MEDIA = 16
MAX_MEDIA_BYTES = 25_000_000
# What both OpenAI and Anthropic take as the name of a tool.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_JSON_DEPTH = 64
_MAX_JSON_VALUES = 50_000


def plain_json(value: Any) -> Any:
    """JSON that every store and provider can hold. Raises ValueError for what RFC 8259 or Postgres cannot."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if depth > _MAX_JSON_DEPTH or seen > _MAX_JSON_VALUES:
            raise ValueError(f"is over {_MAX_JSON_DEPTH} levels deep or {_MAX_JSON_VALUES} values long")
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError("holds a number that is infinite or not a number")
        if isinstance(part, int) and part.bit_length() > 63:
            raise ValueError("holds a whole number of more than 64 bits; write it as a string")
        if isinstance(part, str) and "\x00" in part:
            raise ValueError("holds a NUL character")
        if isinstance(part, dict):
            waiting += [(each, depth + 1) for pair in part.items() for each in pair]
        elif isinstance(part, list):
            waiting += [(each, depth + 1) for each in part]
    return value


Json = Annotated[dict[str, Any], AfterValidator(plain_json)]

# OpenAI's "string or array of strings". One shape within, so that an error names what is wrong and not what else it
# could have been.
Texts = Annotated[
    Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    content: str | None = Field(None, max_length=MAX_TEXT_CHARACTERS)
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
    json_schema: Json | None = Field(None, alias="schema", description="a JSON schema the output must keep")
    tools: list[Json] = Field(default_factory=list, max_length=128)
    tool_choice: str | None = Field(None, max_length=128, description="auto, none, required or a tool's name")
    labels: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(default_factory=list, max_length=1_000)
    language: str | None = Field(None, max_length=35)
    top_n: int | None = Field(None, ge=1, le=MAX_TEXTS)
    dimensions: int | None = Field(None, ge=1, le=4_096, description="embed: cut vectors to their first so many")
    multi_label: bool = Field(False, description="classify, vision: every label alone, not one of them")
    compare: bool = Field(False, description="vision: each image against the others")
    profile: Json | None = Field(None, description="vision: a brand to match, {name, texts}")
    timestamps: Literal["segment", "word"] | None = Field(None, description="transcribe: how fine times are told")
    translate: bool = Field(False, description="transcribe: answer in English")
    store: bool = Field(False, description="embed: keep the texts with their vectors for POST /embeddings/search")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and (objection := schemas.objection(value)):
            raise ValueError(f"the schema {objection}")
        return value

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        tools = [_tool(number, tool) for number, tool in enumerate(value)]
        names = [tool["name"] for tool in tools]
        if len(set(names)) < len(names):
            raise ValueError("two tools have the same name")
        return tools

    @model_validator(mode="after")
    def _chooses_a_tool_that_is_there(self) -> OptionsBody:
        names = [tool["name"] for tool in self.tools]
        if self.tool_choice is not None and not names:
            raise ValueError("tool_choice needs tools")
        if self.tool_choice not in (None, "auto", "none", "required", *names):
            raise ValueError(f"tool_choice is auto, none, required or one of {', '.join(names)}")
        return self


class ConstraintsBody(Strict):
    quality: float | None = Field(None, ge=0, le=1, description="least predicted and judged quality")
    max_cost_usd: Decimal | None = Field(None, ge=0, le=1_000)
    deadline_ms: int | None = Field(None, ge=1, le=3_600_000)
    tiers: list[Tier] | None = Field(None, min_length=1)
    regions: list[Annotated[str, Field(min_length=1, max_length=32)]] | None = Field(
        None, min_length=1, max_length=32, description="where a provider may keep the data; local models keep it here"
    )


def _shape(value: Any) -> str | None:
    """Which of the five shapes an input has, by its first part, so that an error names one field and not five."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict | MediaBody):
        return "file"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    if isinstance(first, str):
        return "texts"
    if isinstance(first, MediaBody) or (isinstance(first, dict) and not first.keys().isdisjoint({"data", "blob"})):
        return "files"
    return "messages" if isinstance(first, dict | MessageBody) else None


_SHAPES = frozenset({"text", "texts", "messages", "file", "files"})
Input = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Tag("texts")]
    | Annotated[list[MessageBody], Tag("messages")]
    | Annotated[MediaBody, Tag("file")]
    | Annotated[list[MediaBody], Tag("files")],
    Discriminator(
        _shape,
        custom_error_type="input_shape",
        custom_error_message="must be a text, a list of texts, a list of chat messages, or files as data or blob",
    ),
]


def _strategy(value: Any) -> Any:
    return Strategy.PREMIUM_ONLY.value if value == "claude_only" else value


class RouteBody(Strict):
    """One request to `/route`."""

    task: Task = Task.GENERATE
    input: Input
    query: str | None = Field(None, max_length=MAX_TEXT_CHARACTERS, description="rerank: what the input is ranked for")
    options: OptionsBody = Field(default_factory=OptionsBody)
    constraints: ConstraintsBody = Field(default_factory=ConstraintsBody)
    strategy: Annotated[
        Strategy | None, BeforeValidator(_strategy), Field(description="`claude_only` is another word for premium_only")
    ] = None
    model: str | None = Field(None, max_length=200, description="names a model and skips routing; `auto` routes")
    user: str | None = Field(None, max_length=256)
    task_class: str | None = Field(
        None, min_length=1, max_length=64, description="what kind of work this is; quality contracts are made per class"
    )
    metadata: Json = Field(default_factory=dict, max_length=64)
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=16)
    stream: bool = False


class InferBody(Strict):
    """`POST /models/infer`: `/route` with the model named."""

    model_id: str = Field(max_length=200)
    input: Input
    task: Task | None = Field(None, description="needed only for a model that can do several")
    query: str | None = Field(None, max_length=MAX_TEXT_CHARACTERS)
    options: OptionsBody = Field(default_factory=OptionsBody)


class SearchBody(Strict):
    query: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)
    limit: int = Field(10, ge=1, le=100)
    model: str | None = Field(None, max_length=200)
    dimensions: int | None = Field(None, ge=1, le=4_096, description="of the texts stored with that many")


def parse(model: type[T], raw: bytes) -> T:
    """Raises InvalidInput naming the first wrong field and its value."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> InvalidInput:
    """The first of pydantic's findings, with the path as the caller wrote it."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = [
        part for n, part in enumerate(first["loc"]) if not (n == 1 and part in _SHAPES and first["loc"][0] == "input")
    ]
    field = ".".join(str(part) for part in path) or "body"
    if first["type"] in _PLAIN_WORDS:
        return InvalidInput(f"{field}: {_PLAIN_WORDS[first['type']]}. GET /docs shows the shape.", field=field)
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    return InvalidInput(f"{field}: {said}; got {_shown(first.get('input'))}. GET /docs shows the shape.", field=field)


_PLAIN_WORDS: Mapping[str, str] = {
    "missing": "this field is missing",
    "extra_forbidden": "this request has no such field",
}


def _shown(value: object) -> str:
    shown = repr(value[:200] if isinstance(value, str | bytes | list) else value)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


def _tool(number: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's `{"type": "function", "function": {…}}`, Anthropic's `input_schema` and the plain
    `{"name", "parameters"}` are one."""
    inner = tool.get("function") if tool.get("type") == "function" else tool
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise ValueError(f"tool {number} has no name")
    if not _TOOL_NAME.fullmatch(inner["name"]):
        raise ValueError(f"tool {number}: a name has 1 to 64 letters, digits, _ or -, unlike {inner['name'][:80]!r}")
    parameters = inner.get("parameters", inner.get("input_schema", {"type": "object", "properties": {}}))
    if not isinstance(parameters, dict):
        raise ValueError(f"tool {number}: parameters must be a JSON schema object")
    if objection := schemas.objection(parameters):
        raise ValueError(f"tool {number}: the schema of its parameters {objection}")
    return {"name": inner["name"], "description": str(inner.get("description", "")), "parameters": parameters}
