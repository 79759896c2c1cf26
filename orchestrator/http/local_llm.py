"""`/api/local-llm/*`: one small model on our own machine, asked plainly; thin faces of `/route` with `local_only`."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.errors import InvalidInput, PennyrouteError
from orchestrator.core.types import Answer, Caller, Strategy
from orchestrator.http.answer import answer_headers, json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import MAX_MESSAGES, MAX_TEXT_CHARACTERS, Json, MessageBody, Strict, parse
from orchestrator.http.permits import permit
from orchestrator.http.problems import status_of
from orchestrator.http.read import what_hinders
from orchestrator.http.route import AppState, takes
from orchestrator.http.state import State
from orchestrator.http.v1.ask import answered
from registry.schema import Card, Task

router = APIRouter(prefix="/api/local-llm", tags=["local llm"])


class _Asked(Strict):
    json_schema: Json | None = Field(None, alias="schema", description="a JSON schema that `data` must keep")
    temperature: float = Field(0.3, ge=0, le=2)
    max_tokens: int = Field(2_048, ge=1, le=1_000_000)
    model: str = Field("auto", max_length=200)


class GenerateBody(_Asked):
    """One prompt."""

    prompt: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)


class ChatBody(_Asked):
    """A conversation; its last message is the user's."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=MAX_MESSAGES)]


@router.post("/generate", openapi_extra=takes(GenerateBody))
async def post_generate(request: Request, state: AppState) -> Response:
    """Answers one prompt: success, data (text, or a value that keeps the schema), error, model_used,
    inference_time_ms."""
    key = await authenticate(state.deps, request)
    try:
        body = parse(GenerateBody, await request.body())
    except InvalidInput as error:
        return _refused(error)
    return await _told(state, key.caller, request, body, body.prompt)


@router.post("/chat", openapi_extra=takes(ChatBody))
async def post_chat(request: Request, state: AppState) -> Response:
    """The same for a conversation."""
    key = await authenticate(state.deps, request)
    try:
        body = parse(ChatBody, await request.body())
    except InvalidInput as error:
        return _refused(error)
    return await _told(state, key.caller, request, body, body.messages)


@router.get("/models")
async def list_models(request: Request, state: AppState) -> Response:
    """The language models of this machine, and what makes the absent ones available."""
    await authenticate(state.deps, request, "viewer")
    fleet = state.deps.fleet
    cards = [card for card in fleet.registry().by_task[Task.GENERATE] if card.billing == "none"]
    return json_response({"models": [_model(card, what_hinders(fleet, card)) for card in cards]})


def _model(card: Card, missing: str | None) -> dict[str, Any]:
    told = {"id": card.id, "name": card.name, "provider": card.provider, "context_tokens": card.context_tokens}
    return {**told, "licence": card.licence, "available": missing is None, "missing": missing}


async def _told(
    state: State, caller: Caller, request: Request, body: _Asked, given: str | list[MessageBody]
) -> Response:
    """A failure is told in the same shape, under the status it has everywhere."""
    options = {"temperature": body.temperature, "max_tokens": body.max_tokens, "schema": body.json_schema}
    try:
        with permit(state):
            answer = await answered(
                state,
                caller,
                request,
                options=options,
                task=Task.GENERATE,
                input=given,
                model=body.model,
                strategy=Strategy.LOCAL_ONLY,
            )
        return json_response(_answer(answer, body.json_schema is not None), headers=answer_headers(answer))
    except PennyrouteError as error:
        return _refused(error)


def _refused(error: PennyrouteError) -> Response:
    return json_response(_failure(error.message, None, 0.0, error.code), status_of(error))


def _answer(answer: Answer, structured: bool) -> dict[str, Any]:
    text, model = answer.reply.text or "", answer.answered_by.model_id
    took_ms = round(answer.reply.timings_ms.get("inference", answer.answered_by.latency_ms), 1)
    data: Any = text
    if structured:
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return _failure(f"{model} answered no JSON: {error}; text: {text[:200]!r}", model, took_ms, "no_json")
    return {"success": True, "data": data, "error": None, "model_used": model, "inference_time_ms": took_ms}


def _failure(told: str, model: str | None, took_ms: float, code: str) -> dict[str, Any]:
    return {
        "success": False,
        "data": None,
        "error": told,
        "code": code,
        "model_used": model,
        "inference_time_ms": took_ms,
    }
