"""`POST /labels` and `GET /contracts`: how good answers were, and what is promised because of it. Holds no rule."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.contract.certificate import Contract, State
from orchestrator.core.contract.watch import Watch
from orchestrator.core.errors import InvalidInput
from orchestrator.flow.label import Standing, label, standings
from orchestrator.http.answer import json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import Strict, parse
from orchestrator.http.route import AppState, takes
from orchestrator.ports import ApiKey, Deps, Label
from registry.load import Registry, UnknownModel

router = APIRouter()
_MOST_MODELS = 64
_MOST_CHARACTERS = 100_000

T = TypeVar("T")
Quality = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class LabelBody(Strict):
    """How good each model's answer to one request was. `request_id` is the id of an answer: the log then tells text,
    class, model served and contract; without it `task_class` is needed, and `text` to learn from."""

    outcomes: dict[Annotated[str, Field(min_length=1, max_length=200)], Quality] = Field(
        min_length=1, max_length=_MOST_MODELS, description="model → quality of its answer, 0 useless to 1 right"
    )
    request_id: UUID | None = None
    task_class: str | None = Field(None, min_length=1, max_length=64)
    text: str | None = Field(None, min_length=1, max_length=_MOST_CHARACTERS, description="what was asked")
    answers: dict[
        Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(max_length=_MOST_CHARACTERS)]
    ] = Field(default_factory=dict, max_length=_MOST_MODELS, description="model → what it answered")
    inclusion: float = Field(1.0, gt=0, le=1, description="the probability with which this request was chosen")
    source: str = Field("person", min_length=1, max_length=64, description="who judged: person, tests, judge-model")
    id: UUID | None = Field(None, description="your own id: sent twice, a label counts once")


@router.post("/labels", status_code=201, openapi_extra=takes(LabelBody), tags=["contracts"])
async def post_label(request: Request, state: AppState) -> Response:
    """Keeps the quality of a request's answers: contracts are certified on these and watched with them, and prompts
    like it are scored by them. 201 when new, 200 when a label of this id was there already."""
    key = await authenticate(state.deps, request, "viewer")
    standing = await label(state.deps, _label(state.deps, key, parse(LabelBody, await request.body())))
    return json_response(_standing(standing), 201 if standing.new else 200)


@router.get("/contracts", tags=["contracts"])
async def list_contracts(request: Request, state: AppState) -> Response:
    """Every quality contract of the active policy: the promise, how it stands, and what live labels say against it."""
    await authenticate(state.deps, request, "viewer")
    found = await standings(state.deps)
    version = (await state.deps.policies.current()).version
    contracts = [{**contract_body(contract), "watch": watch_body(watch)} for contract, watch in found]
    return json_response({"policy_version": version, "contracts": contracts})


def contract_body(contract: Contract) -> dict[str, Any]:
    """`threshold`: scores below it go to the weak model; null where none does, or where all do (then `weak_share`
    is 1). The score of a contract that reads the answer is the negative of the answer's grade."""
    certificate = contract.certificate
    return {
        "task_class": contract.task_class,
        "weak": contract.weak,
        "reference": contract.reference,
        "promise": promise_words(contract),
        "state": contract.state,
        "standing": standing_words(contract),
        "epsilon": certificate.epsilon,
        "delta": certificate.delta,
        "n": certificate.n,
        "weak_share": certificate.weak_share,
        "margin": certificate.margin,
        "more_labels": certificate.more_labels,
        "threshold": None if isinf(certificate.threshold) else certificate.threshold,
        "reads": contract.reads,
        "compared": list(contract.compared),
        "scorer": contract.scorer,
        "version": contract.version,
        "certified_at": contract.certified_at,
    }


def promise_words(contract: Contract) -> str:
    certificate = contract.certificate
    return (
        f"at least {1 - certificate.epsilon:.1%} of {contract.reference}'s quality on {contract.task_class}, "
        f"with probability {1 - certificate.delta:.0%}"
    )


def standing_words(contract: Contract) -> str:
    certificate, weak, reference = contract.certificate, contract.weak, contract.reference
    if contract.state is State.MET:
        how = f", where it is graded well beside {' and '.join(contract.compared)}" if contract.compared else ""
        return f"met: {weak} may answer about {certificate.weak_share:.0%} of requests{how}"
    if contract.state is State.REVOKED:
        return f"revoked: live labels or an operator refuted it; {reference} answers"
    if contract.state is State.UNCERTIFIED:
        return f"{certificate}; until then {reference} answers"
    return f"reference: on these labels {weak} cannot keep the promise; {reference} answers"


def watch_body(watch: Watch | None) -> dict[str, Any] | None:
    """`wealth` is the evidence against the promise: at 1/alpha it is refuted."""
    if watch is None:
        return None
    return {"rows": watch.rows, "wealth": watch.wealth, "revokes_at": 1 / watch.alpha, "revoked": watch.revoked}


def _standing(standing: Standing) -> dict[str, Any]:
    kept, contract = standing.label, standing.contract
    return {
        "id": str(kept.id),
        "new": standing.new,
        "task_class": kept.task_class,
        "request_id": str(kept.request_id) if kept.request_id else None,
        "served": kept.served,
        "contract": {**contract_body(contract), "watch": watch_body(standing.watch)} if contract else None,
    }


def _label(deps: Deps, key: ApiKey, body: LabelBody) -> Label:
    return Label(
        id=body.id or deps.clock.new_id(),
        tenant=key.tenant,
        task_class=body.task_class or "",
        outcomes=_by_card(deps.fleet.registry(), body.outcomes, "outcomes"),
        text=body.text,
        answers=_by_card(deps.fleet.registry(), body.answers, "answers"),
        request_id=body.request_id,
        inclusion=body.inclusion,
        source=body.source,
    )


def _by_card(registry: Registry, told: Mapping[str, T], field: str) -> dict[str, T]:
    """By the ids of the cards: a label under a mistyped name would never be found again."""
    found: dict[str, T] = {}
    for name, value in told.items():
        try:
            model = registry.get(name).id
        except UnknownModel as error:
            raise InvalidInput(str(error), field=f"{field}.{name}") from error
        if model in found:
            raise InvalidInput(f"{model} is named twice, once as {name!r}; give one.", field=f"{field}.{name}")
        found[model] = value
    return found
