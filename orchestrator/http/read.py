"""What can be looked at: models, inferences, stats, budgets, settings, health. Reads, and sets what admins set."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.budget import NANOUSD_PER_USD, BudgetState
from orchestrator.core.errors import ConfigError, InvalidInput, ModelNotFound, NotFound
from orchestrator.http.answer import json_response, usd
from orchestrator.http.auth import authenticate
from orchestrator.http.body import Strict, parse, plain_json
from orchestrator.http.route import AppState, request_id, takes
from orchestrator.ports import ApiKey, Fleet
from orchestrator.settings import LIVE
from registry.load import UnknownModel
from registry.schema import Card, Task, Tier

router = APIRouter()
_BUDGET_NAME = re.compile(r"[\w.@:-]{1,128}")


class BudgetBody(Strict):
    limit_usd: Decimal = Field(ge=0, le=9_000_000)


class SettingBody(Strict):
    value: Annotated[Any, AfterValidator(plain_json)] = Field(description="null takes the database's value away again")


@router.get("/models", tags=["models"])
async def list_models(
    request: Request, state: AppState, task: Task | None = None, tier: Tier | None = None
) -> Response:
    """Every model of the registry, and whether it can be called now; if not, what makes it available."""
    await authenticate(state.deps, request, "viewer")
    fleet = state.deps.fleet
    cards = [c for c in fleet.registry().cards.values() if _wanted(c, task, tier)]
    return json_response({"models": [_model(card, what_hinders(fleet, card)) for card in cards]})


@router.get("/models/{model_id:path}", tags=["models"])
async def get_model(request: Request, state: AppState, model_id: str) -> Response:
    """One card, whole, and what our workers measured of it."""
    await authenticate(state.deps, request, "viewer")
    try:
        card = state.deps.fleet.registry().get(model_id)
    except UnknownModel as error:
        raise ModelNotFound(str(error), model=model_id) from error
    fleet = state.deps.fleet
    told = {**_model(card, what_hinders(fleet, card)), "card": card.model_dump(mode="json")}
    return json_response({**told, "measured": fleet.measured(card.id)})


@router.get("/inferences", tags=["log"])
async def list_inferences(
    request: Request, state: AppState, limit: Annotated[int, Query(ge=1, le=1_000)] = 50, after: UUID | None = None
) -> Response:
    """The newest attempts of the key's tenant first (an admin's: of all); `after` an id gives only later ones."""
    key = await authenticate(state.deps, request, "viewer")
    return json_response({"inferences": await state.deps.inferences.recent(limit, after, _seen_by(key))})


@router.get("/inferences/{inference_id}", tags=["log"])
async def get_inference(request: Request, state: AppState, inference_id: str) -> Response:
    """One request's whole story: every attempt with its money, by the id an answer carries."""
    key = await authenticate(state.deps, request, "viewer")
    rows = await state.deps.inferences.of_request(request_id(inference_id))
    rows = [row for row in rows if _seen_by(key) in (None, row["tenant"])]
    if not rows:
        raise NotFound(f"no inference {inference_id}; it is found by the id of an answer or of an attempt.")
    total = sum(int(row["cost_nanousd"]) for row in rows)
    story = {"id": str(rows[0]["request_id"]), "cost_usd": usd(total), "cost_nanousd": total, "attempts": rows}
    return json_response(story)


@router.get("/stats", tags=["log"])
async def get_stats(
    request: Request, state: AppState, days: Annotated[float, Query(gt=0, le=3_650, allow_inf_nan=False)] = 30
) -> Response:
    """Cost, volume, latency and quality per task and model of the key's tenant (an admin's: of all), equal to
    the log to the nano-dollar."""
    key = await authenticate(state.deps, request, "viewer")
    since = state.deps.clock.now() - timedelta(days=days)
    rows = await state.deps.inferences.stats(since, _seen_by(key))
    total = sum(int(row["cost_nanousd"]) for row in rows)
    return json_response({"since": since, "models": rows, "cost_nanousd": total, "cost_usd": usd(total)})


@router.get("/budgets", tags=["money"])
async def list_budgets(request: Request, state: AppState) -> Response:
    """The global budget and the tenant's own; an admin sees every one."""
    key = await authenticate(state.deps, request, "viewer")
    seen = ("global", f"tenant:{key.tenant}")
    budgets = [b for b in await state.deps.ledger.budgets() if key.role == "admin" or b.scope in seen]
    return json_response({"budgets": [_budget(budget) for budget in budgets]})


@router.put("/budgets/{name}", openapi_extra=takes(BudgetBody), tags=["money"])
async def put_budget(request: Request, state: AppState, name: str) -> Response:
    """Sets a monthly limit: `global`, or of the tenant of that name."""
    await authenticate(state.deps, request, "admin")
    if not _BUDGET_NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a budget: `global` or a tenant's.", field="name")
    body = parse(BudgetBody, await request.body())
    return json_response(_budget(await state.deps.ledger.set_budget(name, int(body.limit_usd * NANOUSD_PER_USD))))


@router.get("/settings", tags=["settings"])
async def list_settings(request: Request, state: AppState) -> Response:
    """What the database says over environment and file."""
    await authenticate(state.deps, request, "admin")
    return json_response({"settings": await state.deps.overrides.all(), "changeable": sorted(LIVE)})


@router.put("/settings/{name}", openapi_extra=takes(SettingBody), tags=["settings"])
async def put_setting(request: Request, state: AppState, name: str) -> Response:
    """Changes a live setting in every process within seconds."""
    key = await authenticate(state.deps, request, "admin")
    if name not in LIVE:
        raise ConfigError(f"{name!r} cannot be changed while running; these can: {', '.join(sorted(LIVE))}.")
    value = parse(SettingBody, await request.body()).value
    if value is not None:
        state.settings.over({name: value})
    await state.deps.overrides.set(name, value, by=key.name)
    return json_response({"name": name, "value": value})


@router.get("/health/live", tags=["health"])
async def live() -> Response:
    """This process answers."""
    return json_response({"status": "live"})


@router.get("/health/ready", tags=["health"])
async def ready(state: AppState) -> Response:
    """Database, Redis, every worker queue, disk and memory; 503 when something required is not well."""
    checks = await state.deps.health.checks()
    well = all(check["ok"] for check in checks.values() if check["required"])
    return json_response({"status": "ready" if well else "not ready", "checks": checks}, 200 if well else 503)


def _seen_by(key: ApiKey) -> str | None:
    """The tenant whose rows this key may read; None is every tenant."""
    return None if key.role == "admin" else key.tenant


def _wanted(card: Card, task: Task | None, tier: Tier | None) -> bool:
    return (task is None or task in card.tasks) and (tier is None or card.tier is tier)


def what_hinders(fleet: Fleet, card: Card) -> str | None:
    """What is missing of this model, or why its last try failed, as people are told. The router does try again."""
    return fleet.unavailable().get(card.id) or (fleet.measured(card.id) or {}).get("failed")


def _model(card: Card, missing: str | None) -> dict[str, Any]:
    return {
        "id": card.id,
        "name": card.name,
        "tasks": card.tasks,
        "tier": card.tier,
        "provider": card.provider,
        "roles": card.roles,
        "capabilities": sorted(card.capabilities),
        "context_tokens": card.context_tokens,
        "dimensions": card.dimensions,
        "licence": card.licence,
        "available": missing is None,
        "missing": missing,
    }


def _budget(budget: BudgetState) -> dict[str, Any]:
    return {
        "name": budget.name,
        "scope": budget.scope,
        "window": budget.window,
        "limit_usd": usd(budget.limit_nanousd),
        "spent_usd": usd(budget.spent_nanousd),
        "reserved_usd": usd(budget.reserved_nanousd),
        "limit_nanousd": budget.limit_nanousd,
        "spent_nanousd": budget.spent_nanousd,
        "reserved_nanousd": budget.reserved_nanousd,
        "resets_at": budget.resets_at,
    }
