"""Reads a request, scores the candidates and chooses a plan. Asks the fleet and the policy; calls no model."""

from __future__ import annotations

from contextlib import suppress

from orchestrator.core import features as reading
from orchestrator.core import policy as policies
from orchestrator.core.score import classify, score
from orchestrator.core.types import Complexity, Decision, Features, Request, Score
from orchestrator.ports import Deps
from registry.pricing import UnpricedModel
from registry.schema import Task


async def decide(deps: Deps, request: Request) -> Decision:
    """Raises ModelNotFound, NotEligible, NoModelAvailable."""
    policy, registry = await deps.policies.current(), deps.fleet.registry()
    unavailable = deps.fleet.unavailable()
    read: Features | None = None
    complexity = Complexity.SIMPLE
    scores: dict[str, Score] = {}
    if request.task is Task.GENERATE:
        read = reading.read(request)
        complexity = classify(read, policy)
        now, named = deps.clock.now(), registry.by_alias.get(request.model or "", request.model)
        candidates = [c for c in (registry.cards.get(named),) if c] if named else policy.reachable(registry)
        for card in candidates:
            if card.id not in unavailable:
                with suppress(UnpricedModel):  # without a score a paid card is not eligible, and says so
                    scores[card.id] = score(card, read, complexity, request.options, policy, now)
    plan = policies.choose(request, read, complexity, scores, policy, registry, unavailable)
    return Decision(
        plan=plan,
        features=read,
        scores=tuple(scores.values()),
        registry_version=registry.short,
        policy_version=policy.version,
    )
