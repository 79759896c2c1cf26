"""`POST /v1/moderations` in OpenAI's shape (API reference, "Create moderation"); a face of `/route`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import Field
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

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)
"""OpenAI's; clients expect every one of them. `judged` names those that the answering model looks for."""
_OURS: Mapping[str, str] = {"insult": "harassment", "threat": "harassment/threatening", "toxic": "harassment"}


class ModerationsBody(Strict):
    input: Texts
    model: str = Field("auto", max_length=200)


@router.post("/v1/moderations", openapi_extra=takes(ModerationsBody), tags=["v1"])
async def post_moderations(request: Request, state: AppState) -> Response:
    """Whether texts are toxic, as OpenAI's endpoint answers. What no local model looks for stays unflagged: `judged`
    says what was looked for."""
    key = await authenticate(state.deps, request)
    body = parse(ModerationsBody, await request.body())
    with permit(state):
        answer = await answered(state, key.caller, request, task=Task.TOXICITY, input=body.input, model=body.model)
    told = {
        "id": f"modr-{answer.request.id}",
        "model": answer.answered_by.model_id,
        "results": [_moderated(found) for found in answer.reply.data],
    }
    return json_response(told, headers=answer_headers(answer))


def _moderated(found: Mapping[str, Any]) -> dict[str, Any]:
    """`flagged` is the model's own verdict; a category counts from half on, as that verdict does."""
    scores: dict[str, float] = {}
    for name, score in found["categories"].items():
        theirs = _OURS.get(name, name)
        scores[theirs] = max(score, scores.get(theirs, 0.0))
    every = dict.fromkeys(CATEGORIES, 0.0) | scores
    return {
        "flagged": found["toxic"],
        "categories": {name: score >= 0.5 for name, score in every.items()},
        "category_scores": every,
        "category_applied_input_types": {name: ["text"] if name in scores else [] for name in every},
        "judged": sorted(scores),
    }
