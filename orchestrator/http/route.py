"""`POST /route` and its faces: reads the body, calls one story, writes the answer. Holds no rule."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.core.errors import InvalidInput, PennyrouteError
from orchestrator.core.types import Answer, Caller, Decision, Media
from orchestrator.core.types import Request as Asked
from orchestrator.flow import embeddings
from orchestrator.flow.route import route
from orchestrator.flow.stream import stream
from orchestrator.http.answer import answer_body, answer_headers, decision_body, json_response
from orchestrator.http.ask import to_request
from orchestrator.http.auth import authenticate
from orchestrator.http.body import MAX_MEDIA, MAX_MEDIA_BYTES, InferBody, OptionsBody, RouteBody, SearchBody, parse
from orchestrator.http.media import UNKNOWN, named_type, sniff
from orchestrator.http.permits import counted, permit
from orchestrator.http.presence import present
from orchestrator.http.problems import problem
from orchestrator.http.state import State, state_of
from registry.load import UnknownModel
from registry.schema import Task

router = APIRouter()
Told = str | Decision | Answer
AppState = Annotated[State, Depends(state_of)]


def takes(model: type[BaseModel], *, multipart: bool = False) -> dict[str, Any]:
    """The OpenAPI words for a body that is parsed by hand (twice as fast as the framework's way)."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    content: dict[str, Any] = {"application/json": schema}
    if multipart:
        fields = {"request": {"type": "string", "description": "the JSON body, without input"}}
        files = {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": {**fields, **files}}}
    return {"requestBody": {"required": True, "content": content}}


@router.post("/route", openapi_extra=takes(RouteBody, multipart=True), tags=["route"])
async def post_route(request: Request, state: AppState) -> Response:
    """Answers one request with the cheapest model that is good enough, and says why."""
    key = await authenticate(state.deps, request)
    body, files = await _read_body(request)
    with permit(state):
        asked = await _asked(state, body, key.caller, files)
        if body.stream:
            story = stream(state.deps, asked)
            decision = await anext(story)  # before the status is sent: who cannot be answered gets it as a status
            return StreamingResponse(_events(state, decision, story), media_type="text/event-stream")
        return await _answered(state, body, asked, request)


async def post_route_directly(request: Request) -> Response:
    """`post_route` for a bare Starlette route."""
    return await post_route(request, await state_of(request))


@router.post("/models/infer", openapi_extra=takes(InferBody), tags=["route"])
async def post_infer(request: Request, state: AppState) -> Response:
    """`/route` with the model named: no routing, same ledger, same log."""
    key = await authenticate(state.deps, request)
    asked_for = parse(InferBody, await request.body())
    body = RouteBody(
        task=_task(state, asked_for),
        model=asked_for.model_id,
        input=asked_for.input,
        query=asked_for.query,
        options=asked_for.options,
    )
    with permit(state):
        return await _answered(state, body, await _asked(state, body, key.caller, ()), request)


@router.post("/embeddings/search", openapi_extra=takes(SearchBody), tags=["route"])
async def post_search(request: Request, state: AppState) -> Response:
    """The stored texts nearest in meaning to the query, of the caller's tenant and one model."""
    key = await authenticate(state.deps, request)
    body = parse(SearchBody, await request.body())
    with permit(state):
        options = OptionsBody(dimensions=body.dimensions)
        wanted = RouteBody(task=Task.EMBED, input=body.query, model=body.model, options=options)
        asked = await _asked(state, wanted, key.caller, ())
        answer, found = await embeddings.search(state.deps, asked, body.limit)
    results = [
        {"id": str(text.id), "text": text.text, "metadata": text.metadata, "similarity": text.similarity}
        for text in found
    ]
    told = {name: value for name, value in answer_body(answer).items() if name != "output"}
    return json_response({"results": results, **told}, headers=answer_headers(answer))


@router.post("/blobs", status_code=201, tags=["route"])
async def post_blob(request: Request, state: AppState) -> Response:
    """Keeps an image or a recording; its id goes into `input: {"blob": id}`."""
    await authenticate(state.deps, request)
    data = await request.body()
    if not data or len(data) > MAX_MEDIA_BYTES:
        raise InvalidInput(f"a blob has between 1 and {MAX_MEDIA_BYTES} bytes, this one {len(data)}.", field="body")
    content_type = named_type(request.headers.get("content-type", ""))
    if content_type in ("", UNKNOWN, "application/x-www-form-urlencoded"):
        content_type = sniff(data)
    blob_id = await state.deps.blobs.put(data, content_type)
    return json_response({"id": blob_id, "content_type": content_type, "bytes": len(data)}, 201)


async def _answered(state: State, body: RouteBody, asked: Asked, request: Request) -> Response:
    answer = await present(request, lambda presence: route(state.deps, asked, presence))
    stored = await embeddings.remember(state.deps, answer) if body.options.store else ()
    return json_response(answer_body(answer, stored), headers=answer_headers(answer))


def _task(state: State, body: InferBody) -> Task:
    """What a named model is asked to do when it is not said: the first thing it can."""
    if body.task is not None:
        return body.task
    try:
        return state.deps.fleet.registry().get(body.model_id).tasks[0]
    except UnknownModel:
        return Task.GENERATE  # routing names the unknown model in its own error


async def _asked(state: State, body: RouteBody, caller: Caller, files: Sequence[Media]) -> Asked:
    deps = state.deps
    return await to_request(body, deps.clock.new_id(), caller, deps.blobs, files, deps.limits.default_strategy)


async def _read_body(request: Request) -> tuple[RouteBody, Sequence[Media]]:
    if named_type(request.headers.get("content-type", "")) != "multipart/form-data":
        return parse(RouteBody, await request.body()), ()
    async with request.form(max_files=MAX_MEDIA, max_fields=16, max_part_size=MAX_MEDIA_BYTES) as form:
        files = [await uploaded(part) for part in form.getlist("file") if isinstance(part, UploadFile)]
        fields: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
    told = _json_field(fields.pop("request", "{}"))
    if not files:
        raise InvalidInput("multipart/form-data needs at least one `file` part.", field="file")
    try:
        raw = orjson.dumps({"input": [], **fields, **told})
    except TypeError as error:
        raise InvalidInput(f"the form field `request` cannot be read: {error}.", field="request") from error
    return parse(RouteBody, raw), files


async def uploaded(part: UploadFile) -> Media:
    """The file of a form. Its first bytes tell its type, else what the client named."""
    data = await part.read()
    sniffed = sniff(data)
    content_type = sniffed if sniffed != UNKNOWN else named_type(part.content_type or "") or UNKNOWN
    return Media(content_type=content_type, data=data)


def _json_field(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the form field `request` is not JSON: {error}.", field="request") from error
    if not isinstance(value, dict):
        raise InvalidInput("the form field `request` must be a JSON object.", field="request")
    return value


async def _events(state: State, decision: Told, story: AsyncGenerator[Told, None]) -> AsyncIterator[bytes]:
    """Server-sent events: decision, delta…, answer; or error, always as the last one."""
    async with aclosing(story):
        with counted(state):
            yield _event(decision)
            try:
                async for event in story:
                    yield _event(event)
            except PennyrouteError as error:
                yield _sse("error", problem(error))


def _event(event: Told) -> bytes:
    if isinstance(event, str):
        return _sse("delta", {"text": event})
    if isinstance(event, Decision):
        return _sse("decision", decision_body(event))
    return _sse("answer", answer_body(event))


def _sse(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data, default=str) + b"\n\n"


def request_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an id (a UUID as answers carry it).", field="id") from error
