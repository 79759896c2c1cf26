"""Each call as data: method, path, body, and how to read what comes back; sends nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

from pennyroute.answer import Answer, Found, read_answer, read_found
from pennyroute.errors import from_problem

T = TypeVar("T")
Media = bytes | Path
Input = str | Media | Sequence[str] | Sequence[Media] | Sequence[Mapping[str, Any]]


class Options(TypedDict, total=False):
    """`options` of a request: how to answer. `schema`: a JSON schema or a Pydantic model class."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: Sequence[str]
    seed: int
    schema: Any
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str
    labels: Sequence[str]
    language: str
    top_n: int
    dimensions: int
    multi_label: bool
    compare: bool
    profile: Mapping[str, Any]
    timestamps: str
    translate: bool
    store: bool


class Constraints(TypedDict, total=False):
    """`constraints` of a request: what the answer must keep. Dollars as str or Decimal stay exact."""

    quality: float
    max_cost_usd: Any
    deadline_ms: int
    tiers: Sequence[str]
    regions: Sequence[str]


class How(Options, Constraints, total=False):
    """Every keyword of a request. `strategy`: hybrid, local_only, premium_only or local_fallback."""

    task: str
    query: str
    model: str
    strategy: str
    user: str
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    task_class: str
    idempotency_key: str


class About(TypedDict, total=False):
    """What a label is about. With `request_id` (the id of an answer) the server's log knows the rest; else `task_class`
    says what kind of work, and `text` what was asked. `inclusion`: the probability with which it was chosen."""

    request_id: str
    task_class: str
    text: str
    inclusion: float
    source: str
    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask(Generic[T]):
    """One HTTP request and the reader of its answer."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """As arguments of httpx's `build_request`."""
        sent: dict[str, Any] = {"method": self.method, "url": self.path, "headers": dict(self.headers)}
        sent["params"] = {name: value for name, value in self.params.items() if value is not None}
        if self.body is not None:
            sent["content"] = json.dumps(self.body, default=str)
            sent["headers"]["content-type"] = "application/json"
        return sent


def route(given: Input, how: Mapping[str, Any], *, stream: bool = False) -> Ask[Answer]:
    """`how` holds the keywords of `How`; the server names an unknown or wrong one."""
    (body, schema), key = _body(given, how), how.get("idempotency_key")
    headers = {"idempotency-key": key} if key else {}
    read = partial(read_answer, schema=schema)
    return Ask(method="POST", path="/route", body={**body, "stream": stream}, headers=headers, read=read)


def explain(given: Input, how: Mapping[str, Any]) -> Ask[Any]:
    """The same body, asked what would be done with it; its JSON as it stands."""
    return plain("POST", "/explain", _body(given, how)[0])


def _body(given: Input, how: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The body, and the schema as the caller gave it."""
    top, schema = {"input": _input(given), **how}, how.get("schema")
    top.pop("idempotency_key", None)
    options = {name: top.pop(name) for name in Options.__annotations__ if name in top}
    constraints = {name: top.pop(name) for name in Constraints.__annotations__ if name in top}
    if schema is not None and not isinstance(schema, Mapping):
        options["schema"] = schema.model_json_schema()
    return {**top, "options": options, "constraints": constraints}, schema


def search(query: str, limit: int, model: str | None) -> Ask[tuple[Found, ...]]:
    body = {"query": query, "limit": limit, "model": model}
    return Ask(method="POST", path="/embeddings/search", body=body, read=read_found)


def label(outcomes: Mapping[str, float], about: Mapping[str, Any]) -> Ask[Any]:
    told = {name: value for name, value in about.items() if value is not None}
    return plain("POST", "/labels", {"outcomes": dict(outcomes), **told})


def plain(method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Ask[Any]:
    """Any other path, its JSON as it stands."""
    return Ask(method=method, path=path, body=body, params=params or {}, read=lambda found: found)


def _input(given: Any) -> Any:
    if isinstance(given, bytes | Path):
        data = given if isinstance(given, bytes) else given.read_bytes()
        return {"data": base64.b64encode(data).decode("ascii")}
    return given if isinstance(given, str | Mapping) else [_input(part) for part in given]


class Events:
    """Server-sent events, fed line by line: yields pieces of text, then the answer; raises a told problem."""

    def __init__(self, read: Callable[[Any], Answer]) -> None:
        self._read, self._event = read, "message"

    def feed(self, line: str) -> Iterator[str | Answer]:
        name, _, value = line.partition(":")
        if name == "event":
            self._event = value.strip()
        elif name == "data" and self._event == "delta":
            yield json.loads(value)["text"]
        elif name == "data" and self._event == "answer":
            yield self._read(json.loads(value))
        elif name == "data" and self._event == "error":
            problem = json.loads(value)
            raise from_problem(problem, int(problem.get("status", 502)))
