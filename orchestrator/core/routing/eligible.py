"""Rules out the models that may not answer a request, each with its reason. Orders and predicts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.core.budget import BudgetState
from orchestrator.core.errors import BudgetExceeded, NoModelAvailable, NotEligible, usd
from orchestrator.core.types import Features, Request, Score, Strategy
from registry.schema import Billing, Capability, Card, Task, Tier

ALL_TIERS = frozenset(Tier)
LOCAL_TIERS = frozenset({Tier.BUILTIN, Tier.LOCAL})
PAID_TIERS = frozenset({Tier.MID, Tier.PREMIUM})
_PREMIUM_TIERS = frozenset({Tier.PREMIUM})

_AS_STATED: Mapping[str, int] = {}
# A predicted latency is a prior: only a model that would miss the deadline at four times its speed is left out.
FASTEST_SHARE = 0.25


def eligible(
    request: Request,
    features: Features | None,
    cards: Iterable[Card],
    scores: Mapping[str, Score] | None,
    budget: BudgetState | None = None,
    contexts: Mapping[str, int] = _AS_STATED,
) -> tuple[list[Card], dict[str, str]]:
    """Cards that may answer, and for the rest the first reason why not. Without scores only facts are checked.
    `budget` is the one that leaves the caller least, `contexts` what loaded models hold, if less than stated."""
    fit: list[Card] = []
    reasons: dict[str, str] = {}
    for card in cards:
        reason = _refusal(request, features, card, contexts.get(card.id))
        if reason is None and scores is not None:
            reason = _costs_too_much(request, card, scores.get(card.id)) or _overruns(scores.get(card.id), budget)
        if reason is None:
            fit.append(card)
        else:
            reasons[card.id] = reason
    return fit, reasons


def nobody(
    request: Request,
    features: Features | None,
    cards: Iterable[Card],
    refusals: dict[str, str],
    unavailable: Mapping[str, str],
) -> NotEligible | NoModelAvailable:
    """Which of the two it is: a model that would do is away, or none would do."""
    away, more = eligible(request, features, (card for card in cards if card.id in unavailable), None)
    if not away:
        refusals = refusals | more
        return NotEligible(_not_eligible_message(request, refusals), candidates=refusals)
    nearest = sorted(away, key=lambda card: (not card.roles, not card.core, card.queue is not None))
    missing = {card.id: unavailable[card.id] for card in nearest}
    return NoModelAvailable(_unavailable_message(request.task, missing, refusals), candidates=missing | refusals)


def _refusal(request: Request, features: Features | None, card: Card, held: int | None) -> str | None:
    """The first fact of the card that rules it out."""
    options = request.options
    if card.tier not in _tiers(request):
        return f"tier {card.tier} is excluded by strategy {request.strategy} or constraints.tiers"
    if request.task is not Task.GENERATE:
        return None
    if elsewhere := _elsewhere(request, card):
        return elsewhere
    if features and _speaks_not(features, card):
        return f"is not known to speak {features.language!r}; it speaks {', '.join(card.languages)}"
    if options.tools and Capability.TOOLS not in card.capabilities:
        return "does not support tools"
    if options.tool_choice not in (None, "auto", "none") and "forced_tool_choice" in card.unsupported_options:
        return "refuses a forced tool choice"
    if features and features.images and Capability.VISION not in card.capabilities:
        return "does not read images"
    answer = min(options.max_tokens or 0, card.max_output_tokens or options.max_tokens or 0)
    room = answer + (features.tokens if features else 0)
    context = min((tokens for tokens in (card.context_tokens, held) if tokens is not None), default=None)
    if context is not None and room > context:
        return f"its context of {context} tokens is too small for about {room}"
    return None


def _elsewhere(request: Request, card: Card) -> str | None:
    """Weights that run here keep the data here; a provider must say where it keeps them."""
    regions = request.constraints.regions
    if regions is None or card.billing is Billing.NONE:
        return None
    if card.regions is None:
        return "where its provider keeps the data is not known, and constraints.regions asks"
    outside = sorted(set(card.regions) - regions)
    return f"may keep the data in {', '.join(outside)}, outside constraints.regions" if outside else None


def _speaks_not(features: Features, card: Card) -> bool:
    return bool(card.languages) and features.language not in (*card.languages, "und") and "mul" not in card.languages


def _costs_too_much(request: Request, card: Card, score: Score | None) -> str | None:
    """The first prediction that breaks one of the request's own constraints."""
    limits = request.constraints
    if score is None:
        return None if card.billing is Billing.NONE else "no ladder leads to it, or its price is not known"
    if limits.max_cost_nanousd is not None and score.cost_nanousd > limits.max_cost_nanousd:
        return f"would cost about {usd(score.cost_nanousd)}, over constraints.max_cost_usd"
    if request.model is not None:
        return None  # a named model is respected: what is only predicted does not rule it out
    if limits.deadline_ms is not None and score.latency_ms * FASTEST_SHARE > limits.deadline_ms:
        return f"would take about {score.latency_ms} ms, far over constraints.deadline_ms"
    return None


def _overruns(score: Score | None, budget: BudgetState | None) -> str | None:
    if score is None or budget is None or score.cost_nanousd <= max(0, budget.remaining_nanousd):
        return None
    left = usd(max(0, budget.remaining_nanousd))
    return f"would cost about {usd(score.cost_nanousd)}, and budget {budget.name!r} has {left} left"


def overrun(budget: BudgetState, scores: Iterable[Score]) -> BudgetExceeded:
    """The answer where only this budget stands between the request and every model that would do."""
    return BudgetExceeded(
        budget=budget.name,
        limit_nanousd=budget.limit_nanousd,
        used_nanousd=budget.spent_nanousd + budget.reserved_nanousd,
        asked_nanousd=min(score.cost_nanousd for score in scores if score.cost_nanousd),
        resets_at=budget.resets_at,
    )


def _tiers(request: Request) -> frozenset[Tier]:
    by_strategy = ALL_TIERS
    if request.strategy is Strategy.LOCAL_ONLY:
        by_strategy = LOCAL_TIERS
    elif request.strategy is Strategy.PREMIUM_ONLY and request.task is Task.GENERATE:
        by_strategy = _PREMIUM_TIERS  # only generate has paid models; the strategy speaks of it alone
    asked = request.constraints.tiers
    return by_strategy if asked is None else by_strategy & asked


def _not_eligible_message(request: Request, reasons: Mapping[str, str]) -> str:
    nearest = sorted(reasons.items(), key=lambda reason: reason[1].startswith("tier "))  # asked for, so least news
    some = "; ".join(f"{model}: {why}" for model, why in nearest[:3])
    return f"no model can {request.task} within this request's constraints ({some or 'none is registered'})."


def _unavailable_message(task: Task, missing: Mapping[str, str], refusals: Mapping[str, str]) -> str:
    some = "; ".join(f"{model}: {how.rstrip('.')}" for model, how in list(missing.items())[:3])
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
    ruled_out = f" ({len(refusals)} more do not meet this request's constraints)" if refusals else ""
    return f"no model for {task} can be called now. {some}{more}{ruled_out}. `pennyroute doctor` lists every way."
