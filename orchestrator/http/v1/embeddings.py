"""`POST /v1/embeddings` in OpenAI's shape (API reference, "Create embeddings"); a face of `/route`."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.http.answer import answer_headers, json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import Strict, Texts, parse
from orchestrator.http.permits import permit
from orchestrator.http.route import AppState, takes
from orchestrator.http.v1.ask import answered
from registry.schema import Task

router = APIRouter()


class EmbeddingsBody(Strict):
    """`model` names a model or `auto`; token ids are refused: every model has its own tokenizer."""

    input: Texts
    model: str = Field("auto", max_length=200)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=4_096)
    user: str | None = Field(None, max_length=256)

    @field_validator("input", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        first = next(iter(value), None) if isinstance(value, list) else value
        if isinstance(first, int | list):
            raise ValueError("must be text: token ids belong to one model's tokenizer, and models differ here")
        return value


@router.post("/v1/embeddings", openapi_extra=takes(EmbeddingsBody), tags=["v1"])
async def post_embeddings(request: Request, state: AppState) -> Response:
    """Unit vectors of texts, as OpenAI's endpoint answers."""
    key = await authenticate(state.deps, request)
    body = parse(EmbeddingsBody, await request.body())
    with permit(state):
        answer = await answered(
            state,
            key.caller,
            request,
            task=Task.EMBED,
            input=body.input,
            model=body.model,
            user=body.user,
            options={"dimensions": body.dimensions},
        )
    rows = np.asarray(answer.reply.data, dtype="<f4")
    tokens = answer.reply.usage.total_input_tokens
    told = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _written(row, body.encoding_format)}
            for number, row in enumerate(rows)
        ],
        "model": answer.answered_by.model_id,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json_response(told, headers=answer_headers(answer))


def _written(row: np.ndarray[Any, np.dtype[np.float32]], encoding: str) -> Any:
    return row if encoding == "float" else base64.b64encode(row.tobytes()).decode("ascii")
