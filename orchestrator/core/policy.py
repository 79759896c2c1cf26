"""Chooses: eligible models first, then an ordered plan by the routing policy. Predicts nothing, judges nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.errors import ConfigError, ModelNotFound, NoModelAvailable, NotEligible, usd
from orchestrator.core.types import Complexity, Features, Plan, Request, Rung, Score, Strategy
from registry.load import Registry, UnknownModel
from registry.schema import Billing, Capability, Card, Task, Tier

ALL_TIERS = frozenset(Tier)
LOCAL_TIERS = frozenset({Tier.BUILTIN, Tier.LOCAL})
PAID_TIERS = frozenset({Tier.MID, Tier.PREMIUM})
_PREMIUM_TIERS = frozenset({Tier.PREMIUM})

# A predicted latency is a prior: only a model that would miss the deadline at four times its speed is left out.
_FASTEST_SHARE = 0.25
_DERIVED = frozenset({"name", "version", "entries", "kept"})

_DEFAULT_LADDERS: Mapping[str, tuple[str, ...]] = {
    Complexity.SIMPLE: ("local", "mid", "premium"),
    Complexity.MEDIUM: ("mid", "premium"),
    Complexity.HIGH: ("premium", "creative", "mid"),
    Complexity.CREATIVE: ("creative", "premium"),
    Complexity.PREMIUM_BRAND: ("premium", "creative"),
    "tools": ("premium", "creative"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingPolicy:
    """A versioned, immutable rule. A ladder entry is a role, a tier or a model id, cheapest first; a word
    that is both a role and a tier means the card that holds the role.

    `tier_strength` is the prior quality of a tier in [0, 1], used where a card states none.
    """

    ladders: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(_DEFAULT_LADDERS))
    tier_strength: Mapping[str, float] = field(
        default_factory=lambda: {Tier.BUILTIN: 0.2, Tier.LOCAL: 0.45, Tier.MID: 0.7, Tier.PREMIUM: 0.9}
    )
    task_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    medium_at: float = 0.25
    high_at: float = 0.5
    creative_at: float = 0.5
    brand_at: float = 0.5
    accept_at: float = 0.5
    max_rungs: int = 3
    name: str = "default"
    version: str = field(init=False)
    """Twelve hex digits of the content's SHA-256: same rule, same version."""
    entries: frozenset[str] = field(init=False)
    """Every ladder entry."""
    kept: dict[str, tuple[Card, ...]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "version", hashlib.sha256(text.encode()).hexdigest()[:12])
        object.__setattr__(self, "entries", frozenset(entry for ladder in self.ladders.values() for entry in ladder))

    def reachable(self, registry: Registry) -> tuple[Card, ...]:
        """The generate cards some ladder leads to; the others answer only when a request names them. Asked on
        every request and the same for a registry, so the last answer is kept."""
        kept = self.kept.get(registry.version)
        if kept is None:
            self.kept.clear()
            kept = tuple(card for card in registry.for_task(Task.GENERATE) if self._reaches(card, registry))
            self.kept[registry.version] = kept
        return kept

    def _reaches(self, card: Card, registry: Registry) -> bool:
        if not self.entries.isdisjoint(card.roles) or card.id in self.entries:
            return True
        return card.tier in self.entries and card.tier not in registry.by_role

    def as_dict(self) -> dict[str, Any]:
        """The rule as JSON values: what a row of `routing_policies` holds."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _DERIVED}
        plain["ladders"] = {str(k): list(v) for k, v in self.ladders.items()}
        plain["task_order"] = {str(k): list(v) for k, v in self.task_order.items()}
        plain["tier_strength"] = {str(k): v for k, v in self.tier_strength.items()}
        return plain

    @staticmethod
    def from_dict(data: Mapping[str, Any], name: str = "default") -> RoutingPolicy:
        """The policy of a row; a ladder or tier it leaves out is the default's. Raises ConfigError."""
        unknown = sorted(data.keys() - (RoutingPolicy.__dataclass_fields__.keys() - _DERIVED))
        if unknown:
            raise ConfigError(f"routing policy {name!r} has unknown fields: {', '.join(unknown)}. Correct its row.")
        known, default = dict(data), RoutingPolicy()
        try:
            for key in ("ladders", "task_order"):
                told = {k: tuple(v) for k, v in known.get(key, {}).items()}
                known[key] = {**getattr(default, key), **told}
            known["tier_strength"] = {**default.tier_strength, **known.get("tier_strength", {})}
            return RoutingPolicy(**known, name=name)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"routing policy {name!r} cannot be read: {error}. Correct its row.") from error


def eligible(
    request: Request, features: Features | None, cards: Iterable[Card], scores: Mapping[str, Score] | None
) -> tuple[list[Card], dict[str, str]]:
    """Cards that may answer, and for the rest the first reason why not. Without scores only facts are checked."""
    fit: list[Card] = []
    reasons: dict[str, str] = {}
    for card in cards:
        reason = _refusal(request, features, card)
        if reason is None and scores is not None:
            reason = _costs_too_much(request, card, scores.get(card.id))
        if reason is None:
            fit.append(card)
        else:
            reasons[card.id] = reason
    return fit, reasons


def choose(
    request: Request,
    features: Features | None,
    complexity: Complexity,
    scores: Mapping[str, Score],
    policy: RoutingPolicy,
    registry: Registry,
    unavailable: Mapping[str, str],
) -> Plan:
    """The plan for a request. Raises ModelNotFound, NotEligible, NoModelAvailable.

    `unavailable` maps model ids that cannot be called now to what would make them available.
    """
    if request.model is not None:
        return _named(request, features, complexity, scores, policy, registry, unavailable)
    cards = registry.for_task(request.task)
    candidates = [card for card in cards if card.id in scores or (not scores and card.id not in unavailable)]
    ready, refusals = eligible(request, features, candidates, scores)
    if not ready:
        raise _nobody(request, features, cards, refusals, unavailable)
    ordered = _ordered(request, complexity, ready, scores, policy, registry)
    rungs = tuple(Rung(model_id=card.id, threshold=_threshold(request, policy)) for card in ordered)
    return Plan(rungs=rungs, complexity=complexity, reason=_reason(request, features, complexity, ordered))


def _nobody(
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


def _refusal(request: Request, features: Features | None, card: Card) -> str | None:
    """The first fact of the card that rules it out."""
    options = request.options
    if card.tier not in _tiers(request):
        return f"tier {card.tier} is excluded by strategy {request.strategy} or constraints.tiers"
    if request.task is not Task.GENERATE:
        return None
    if options.tools and Capability.TOOLS not in card.capabilities:
        return "does not support tools"
    if options.tool_choice not in (None, "auto", "none") and "forced_tool_choice" in card.unsupported_options:
        return "refuses a forced tool choice"
    if features and features.images and Capability.VISION not in card.capabilities:
        return "does not read images"
    answer = min(options.max_tokens or 0, card.max_output_tokens or options.max_tokens or 0)
    room = answer + (features.tokens if features else 0)
    if card.context_tokens is not None and room > card.context_tokens:
        return f"its context of {card.context_tokens} tokens is too small for about {room}"
    return None


def _costs_too_much(request: Request, card: Card, score: Score | None) -> str | None:
    """The first prediction that breaks one of the request's own constraints."""
    limits = request.constraints
    if score is None:
        return None if card.billing is Billing.NONE else "no ladder leads to it, or its price is not known"
    if limits.max_cost_nanousd is not None and score.cost_nanousd > limits.max_cost_nanousd:
        return f"would cost about {usd(score.cost_nanousd)}, over constraints.max_cost_usd"
    if request.model is not None:
        return None  # a named model is respected: what is only predicted does not rule it out
    if limits.deadline_ms is not None and score.latency_ms * _FASTEST_SHARE > limits.deadline_ms:
        return f"would take about {score.latency_ms} ms, far over constraints.deadline_ms"
    if limits.min_quality is not None and score.p_adequate < limits.min_quality:
        return f"predicted quality {score.p_adequate:.2f} is under constraints.quality"
    return None


def _tiers(request: Request) -> frozenset[Tier]:
    by_strategy = ALL_TIERS
    if request.strategy is Strategy.LOCAL_ONLY:
        by_strategy = LOCAL_TIERS
    elif request.strategy is Strategy.PREMIUM_ONLY and request.task is Task.GENERATE:
        by_strategy = _PREMIUM_TIERS  # only generate has paid models; the strategy speaks of it alone
    return by_strategy & request.constraints.tiers if request.constraints.tiers else by_strategy


def _named(
    request: Request,
    features: Features | None,
    complexity: Complexity,
    scores: Mapping[str, Score],
    policy: RoutingPolicy,
    registry: Registry,
    unavailable: Mapping[str, str],
) -> Plan:
    assert request.model is not None  # noqa: S101 - the caller's condition, for the type checker
    try:
        card = registry.get(request.model)
    except UnknownModel as unknown:
        raise ModelNotFound(str(unknown), model=request.model) from unknown
    if request.task not in card.tasks:
        can = ", ".join(card.tasks)
        raise NotEligible(
            f"model {card.id!r} cannot {request.task}; it can {can}.", candidates={card.id: f"cannot {request.task}"}
        )
    _, refusals = eligible(request, features, [card], None if card.id in unavailable else scores)
    if refusals:
        raise NotEligible(f"model {card.id!r}: {refusals[card.id]}.", candidates=refusals)
    if card.id in unavailable:
        raise NoModelAvailable(
            f"model {card.id!r} cannot answer now: {unavailable[card.id]}", candidates={card.id: unavailable[card.id]}
        )
    rung = Rung(model_id=card.id, threshold=0.0)
    return Plan(rungs=(rung,), complexity=complexity, reason=f"{card.id} was named by the request")


def _ordered(
    request: Request,
    complexity: Complexity,
    ready: Sequence[Card],
    scores: Mapping[str, Score],
    policy: RoutingPolicy,
    registry: Registry,
) -> list[Card]:
    if request.task is not Task.GENERATE:
        ordered = _by_entries(policy.task_order.get(request.task, ()), ready, scores, registry) or list(_by_tier(ready))
        # Vectors of two models do not compare, so an embedding has no second rung.
        return ordered[: 1 if request.task is Task.EMBED else 2]
    ladder = policy.ladders["tools" if request.options.tools else complexity]
    ordered = _by_entries(ladder, ready, scores, registry)
    rest = [card for card in _by_tier(ready) if card.id not in {taken.id for taken in ordered}]
    if not ordered:
        ordered = rest[:1]  # nothing of the ladder can be had: the best of what is there beats no answer
    if request.strategy is Strategy.LOCAL_FALLBACK:
        local = [c for c in (*ordered, *rest) if c.tier in LOCAL_TIERS][:1]
        ordered = [c for c in ordered if c.tier in PAID_TIERS][: policy.max_rungs - len(local)] + local
    return ordered[: policy.max_rungs]


def _by_entries(
    entries: Iterable[str], ready: Sequence[Card], scores: Mapping[str, Score], registry: Registry
) -> list[Card]:
    """For each entry (role, tier or id) its best ready card not yet taken."""
    ordered: dict[str, Card] = {}
    for entry in entries:
        matching = [card for card in ready if _matches(card, entry, registry) and card.id not in ordered]
        if matching:
            best = min(matching, key=lambda card: _preference(card, scores))
            ordered[best.id] = best
    return list(ordered.values())


def _matches(card: Card, entry: str, registry: Registry) -> bool:
    if entry in registry.by_role:
        return entry in card.roles
    return entry in (card.tier, card.id)


def _preference(card: Card, scores: Mapping[str, Score]) -> tuple[bool, float, int, str]:
    """Within a tier: a card with a role first, then the better, the cheaper, the name."""
    score = scores.get(card.id)
    return not card.roles, -score.p_adequate if score else 0.0, score.cost_nanousd if score else 0, card.id


def _by_tier(ready: Iterable[Card]) -> Iterable[Card]:
    """Downloaded local models before built-in ones, then paid ones from mid upwards; core cards first."""
    order = {Tier.LOCAL: 0, Tier.BUILTIN: 1, Tier.MID: 2, Tier.PREMIUM: 3}
    return sorted(ready, key=lambda card: (order[card.tier], not card.core, card.id))


def _threshold(request: Request, policy: RoutingPolicy) -> float:
    return max(policy.accept_at, request.constraints.min_quality or 0.0)


def _reason(request: Request, features: Features | None, complexity: Complexity, ordered: Sequence[Card]) -> str:
    first = ordered[0]
    if request.task is not Task.GENERATE:
        return f"{first.id} is the first available model for {request.task}"
    signals = ", ".join(_signals(features)) if features else ""
    return f"{complexity}{f' ({signals})' if signals else ''}: {first.tier} first" + (
        f", then {', '.join(card.id for card in ordered[1:])}" if len(ordered) > 1 else ""
    )


def _signals(features: Features) -> Iterable[str]:
    for name in ("code", "maths", "creative", "brand", "reasoning"):
        if getattr(features, name) >= 0.3:
            yield name
    if features.tools:
        yield "tools"
    if features.constraints:
        yield f"{features.constraints} constraint{'s' if features.constraints > 1 else ''}"
    yield f"about {features.tokens} tokens"


def _not_eligible_message(request: Request, reasons: Mapping[str, str]) -> str:
    nearest = sorted(reasons.items(), key=lambda reason: reason[1].startswith("tier "))  # asked for, so least news
    some = "; ".join(f"{model}: {why}" for model, why in nearest[:3])
    return f"no model can {request.task} within this request's constraints ({some or 'none is registered'})."


def _unavailable_message(task: Task, missing: Mapping[str, str], refusals: Mapping[str, str]) -> str:
    some = "; ".join(f"{model}: {how}" for model, how in list(missing.items())[:3])
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
    ruled_out = f" ({len(refusals)} more do not meet this request's constraints)" if refusals else ""
    return f"no model for {task} can be called now. {some}{more}{ruled_out}. `pennyroute doctor` lists every way."
