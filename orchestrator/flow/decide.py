"""Reads a request, scores the candidates and chooses a plan. Asks the fleet and the policy; calls no model."""

from __future__ import annotations

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
        now, options = deps.clock.now(), request.options
        for card in registry.for_task(request.task):
            if card.id not in unavailable:
                try:
                    scores[card.id] = score(card, read, complexity, options, policy, now)
                except UnpricedModel:
                    continue  # without a score a paid card is not eligible, and says so
    plan = policies.choose(request, read, complexity, scores, policy, registry, unavailable)
    return Decision(
        plan=plan,
        features=read,
        scores=tuple(scores.values()),
        registry_version=registry.short,
        policy_version=policy.version,
    )
