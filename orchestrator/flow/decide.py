"""Reads a request, scores the candidates and chooses a plan. Asks the fleet and the policy; calls no model.

Past prompts like it are looked up only where the rest does not decide with margin: most requests need no embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from orchestrator.core.contract.certificate import Reads
from orchestrator.core.errors import BudgetExceeded, NotFound
from orchestrator.core.reading import features as signals
from orchestrator.core.routing import conversation, rules
from orchestrator.core.routing.plan import Asked, Choice, choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, read_as, score
from orchestrator.core.types import Answer, Decision, Request, Score
from orchestrator.ports import Deps
from registry.load import Registry
from registry.pricing import UnpricedModel
from registry.schema import Card, Task

NEIGHBOURS = 14


async def ruled(deps: Deps, request: Request) -> Request:
    """The request as the operator's rules leave it."""
    return rules.applied(request, (await deps.policies.current()).rules)


async def remember(deps: Deps, answer: Answer) -> None:
    """Which model answered, so that the conversation's next turn can stay with it."""
    request = answer.request
    if request.task is Task.GENERATE:
        key = conversation.key_after(request.caller.tenant, request.messages, answer.reply)
        await deps.conversations.remember(key, answer.answered_by.model_id)


async def decide(deps: Deps, request: Request, *, streamed: bool = False) -> Decision:
    """Raises ModelNotFound, NotEligible, NoModelAvailable, BudgetExceeded."""
    started = deps.clock.monotonic()
    policy = await deps.policies.current()
    asked, choice = await weigh(deps, request, policy, streamed=streamed)
    plan = choice.plan
    if request.rule is not None:
        plan = replace(plan, reason=f"{plan.reason}; under rule {request.rule!r}")
    return Decision(
        plan=plan,
        features=asked.read.features if asked.read else None,
        scores=tuple(asked.scores.values()),
        registry_version=deps.fleet.registry().short,
        policy_version=policy.version,
        scorer=asked.read.scorer if asked.read else None,
        neighbours=tuple(asked.read.neighbours) if asked.read else (),
        took_ms=(deps.clock.monotonic() - started) * 1000,
    )


async def weigh(deps: Deps, request: Request, policy: RoutingPolicy, *, streamed: bool = False) -> tuple[Asked, Choice]:
    """What is known of the request and its candidates, and the choice made from it. Raises as `decide` does."""
    registry = deps.fleet.registry()
    if request.task is not Task.GENERATE:
        asked = Asked(request=request, read=None, scores={}, unavailable=deps.fleet.unavailable())
        return asked, choose(asked, policy, registry)
    read = await _read(deps, request, policy)
    last, bound = await _conversation(deps, request)
    asked = Asked(
        request=request,
        read=read,
        scores=_scores(deps, request, read, policy, registry, last),
        unavailable=deps.fleet.unavailable(),
        budget=await deps.ledger.tightest(request.caller),
        contexts=deps.fleet.contexts(),
        last=last,
        bound=bound,
        judge=deps.judge.version,
        streamed=streamed,
    )
    asked, choice = await _chosen(deps, asked, policy, registry)
    if not choice.close:
        return asked, choice
    found = await deps.neighbours.like(request.caller.tenant, signals.ask_of(request), NEIGHBOURS)
    if not found:
        return asked, choice
    read = replace(read, neighbours=found)
    asked = replace(asked, read=read, scores=_scores(deps, request, read, policy, registry, last))
    return asked, choose(asked, policy, registry)


async def _chosen(deps: Deps, asked: Asked, policy: RoutingPolicy, registry: Registry) -> tuple[Asked, Choice]:
    """Nobody is refused, nor given less, for what a budget left a few seconds ago."""
    try:
        choice = choose(asked, policy, registry)
        if choice.plan.beyond is None:
            return asked, choice
    except BudgetExceeded:
        pass
    asked = replace(asked, budget=await deps.ledger.tightest(asked.request.caller, now=True))
    return asked, choose(asked, policy, registry)


async def _read(deps: Deps, request: Request, policy: RoutingPolicy) -> Read:
    predictor = await deps.policies.predictor(policy.scorer)
    reading = predictor.read(signals.ask_of(request))
    read = read_as(signals.read(request), reading, predictor.version, policy, request.task_class)
    return replace(read, gains=await _gains(deps, request, read, policy)) if policy.contracts else read


async def _gains(deps: Deps, request: Request, read: Read, policy: RoutingPolicy) -> dict[str, float]:
    """A contract's score is that of the artefact that certified it, which may have been learned for its class alone."""
    contracts = policy.contracts_of(request.task_class or read.complexity)
    scorers = {contract.scorer for contract in contracts if contract.reads is Reads.QUERY}
    found: dict[str, float] = {}
    for scorer in scorers - {read.scorer}:
        with suppress(NotFound):  # then the contract does not count, and says so
            found[scorer] = (await deps.policies.predictor(scorer)).read(signals.ask_of(request)).gain
    return found


async def _conversation(deps: Deps, request: Request) -> tuple[str | None, bool]:
    """The model that answered the last turn, and whether it must go on."""
    key = conversation.key_of(request.caller.tenant, request.messages)
    last = await deps.conversations.last(key) if key else None
    return last, conversation.in_tool_loop(request.messages)


def _scores(
    deps: Deps, request: Request, read: Read, policy: RoutingPolicy, registry: Registry, last: str | None
) -> dict[str, Score]:
    now, unavailable = deps.clock.now(), deps.fleet.unavailable()
    found: dict[str, Score] = {}
    for card in _candidates(request, policy, registry, last):
        if card.id not in unavailable:
            with suppress(UnpricedModel):  # without a score a paid card is not eligible, and says so
                found[card.id] = score(card, read, request.options, policy, now, deps.fleet.pace(card.id))
    return found


def _candidates(request: Request, policy: RoutingPolicy, registry: Registry, last: str | None) -> Sequence[Card]:
    if request.model is not None:
        named = registry.cards.get(registry.by_alias.get(request.model, request.model))
        return [named] if named else []
    reachable = policy.reachable(registry)
    known = registry.cards.get(last) if last else None
    return reachable if known is None or known in reachable else (*reachable, known)
