"""`POST /explain`: the body of `/route`, answered with everything that would decide, and no model called."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.flow.explain import explain
from orchestrator.http.answer import json_response
from orchestrator.http.ask import to_request
from orchestrator.http.auth import authenticate
from orchestrator.http.body import RouteBody, parse
from orchestrator.http.permits import permit
from orchestrator.http.route import AppState, takes

router = APIRouter()


@router.post("/explain", openapi_extra=takes(RouteBody), tags=["route"])
async def post_explain(request: Request, state: AppState) -> Response:
    """What `/route` would do with this body now, and why: features, candidates, plans, contract. Spends nothing."""
    key = await authenticate(state.deps, request)
    body = parse(RouteBody, await request.body())
    deps = state.deps
    with permit(state):
        asked = await to_request(body, deps.clock.new_id(), key.caller, deps.blobs, (), deps.limits.default_strategy)
        return json_response(await explain(deps, asked, streamed=body.stream))
