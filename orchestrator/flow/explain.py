"""Explains a choice as `route` would make it now: same rules, policy, doors. Calls no provider, holds no money.

Past prompts like it are looked up exactly where routing would look them up, which may embed the text on our machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.core.errors import BudgetExceeded, NoModelAvailable, NotEligible
from orchestrator.core.routing.asking import asked_of, candidates, seen
from orchestrator.core.routing.explain import explanation
from orchestrator.core.routing.plan import Asked
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Request
from orchestrator.flow.decide import ruled, weigh
from orchestrator.ports import Deps
from registry.schema import Task


async def explain(deps: Deps, request: Request, *, streamed: bool = False) -> dict[str, Any]:
    """Where nobody may answer the explanation says so; a model that does not exist raises ModelNotFound."""
    request = await ruled(deps, request)
    policy, registry = await deps.policies.current(), deps.fleet.registry()
    try:
        asked, choice = await weigh(deps, request, policy, streamed=streamed)
    except (NotEligible, NoModelAvailable, BudgetExceeded) as refusal:
        return explanation(await _unanswered(deps, request, policy), None, policy, registry, refusal)
    return explanation(asked, choice, policy, registry)


async def _unanswered(deps: Deps, request: Request, policy: RoutingPolicy) -> Asked:
    away = deps.fleet.unavailable()
    if request.task is not Task.GENERATE:
        return Asked(request=request, read=None, scores={}, unavailable=away)
    known = seen(request, await deps.policies.predictor(policy.scorer))
    cards = candidates(request, policy, deps.fleet.registry())
    asked = asked_of(known, policy, cards, away, deps.clock.now(), judge=deps.judge.version)
    budget = await deps.ledger.tightest(request.caller, now=True)
    return replace(asked, budget=budget, contexts=deps.fleet.contexts())
