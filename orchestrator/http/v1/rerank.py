"""`POST /v1/rerank` in Cohere's shape (API reference, "Rerank"; v2's body too); a face of `/route`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.http.answer import answer_headers, json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import MAX_TEXT_CHARACTERS, MAX_TEXTS, Strict, parse
from orchestrator.http.permits import permit
from orchestrator.http.route import AppState, takes
from orchestrator.http.v1.ask import answered
from registry.schema import Task

router = APIRouter()


class DocumentBody(Strict):
    text: str = Field(max_length=MAX_TEXT_CHARACTERS)


class RerankBody(Strict):
    """`documents` are texts or `{"text"}`; `model` names a model or `auto`."""

    query: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)
    documents: Annotated[list[str | DocumentBody], Field(min_length=1, max_length=MAX_TEXTS)]
    model: str = Field("auto", max_length=200)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


@router.post("/v1/rerank", openapi_extra=takes(RerankBody), tags=["v1"])
@router.post("/v2/rerank", openapi_extra=takes(RerankBody), tags=["v1"], include_in_schema=False)
async def post_rerank(request: Request, state: AppState) -> Response:
    """Documents by their relevance to a query, best first, as Cohere's endpoint answers."""
    key = await authenticate(state.deps, request)
    body = parse(RerankBody, await request.body())
    texts = [each.text if isinstance(each, DocumentBody) else each for each in body.documents]
    top_n = None if body.top_n is None else min(body.top_n, len(texts))
    with permit(state):
        answer = await answered(
            state,
            key.caller,
            request,
            task=Task.RERANK,
            input=texts,
            query=body.query,
            model=body.model,
            options={"top_n": top_n},
        )
    results = [
        {"index": each["index"], "relevance_score": each["score"]}
        | ({"document": {"text": texts[each["index"]]}} if body.return_documents else {})
        for each in answer.reply.data
    ]
    tokens = answer.reply.usage.total_input_tokens
    meta = {
        "api_version": {"version": request.url.path[2]},
        "billed_units": {"search_units": 0},
        "tokens": {"input_tokens": tokens, "output_tokens": 0},
    }
    told = {"id": str(answer.request.id), "results": results, "meta": meta, "model": answer.answered_by.model_id}
    return json_response(told, headers=answer_headers(answer))
