"""Tells everything that led to a choice, in words and numbers, as JSON values. It only reads what was decided.

A body of it is what `POST /explain` answers with; `pennyroute explain` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from orchestrator.core.errors import PennyrouteError
from orchestrator.core.routing.eligible import eligible
from orchestrator.core.routing.plan import Asked, Choice, able
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, seen
from orchestrator.core.types import Plan, Score
from registry.load import Registry
from registry.schema import Card

# What each signal means to somebody who reads it for the first time; `core/reading/features.py` says how it is counted.
_MEANINGS: Mapping[str, str] = {
    "tokens": "about how many tokens the model has to read",
    "characters": "length of everything that is sent",
    "sentences": "sentences of the ask",
    "constraints": "words that demand something (must, exactly, at most) and list items",
    "turns": "turns of the user in this conversation",
    "code": "how much it asks for or shows code (0 to 1)",
    "maths": "how much it asks for calculation or proof (0 to 1)",
    "creative": "how much it asks for creative writing (0 to 1)",
    "brand": "how much it speaks for a company in public (0 to 1)",
    "reasoning": "how much it asks to compare, justify or plan (0 to 1)",
    "question": "whether it ends in a question",
    "ambiguity": "how much a short ask points at what is not there (0 to 1)",
    "plain_ask": "whether any model can do it (a greeting, a summary, a translation)",
    "structured": "whether it wants JSON, a table or the like",
    "tools": "whether tools may be called",
    "images": "images that come with it",
    "language": "language it is written in (und: cannot be told)",
}


def explanation(
    asked: Asked,
    choice: Choice | None,
    policy: RoutingPolicy,
    registry: Registry,
    refusal: PennyrouteError | None = None,
) -> dict[str, Any]:
    """`choice` is None where nobody may answer, and then `refusal` says why."""
    read, plan = asked.read, choice.plan if choice else None
    return {
        "task": asked.request.task,
        "complexity": plan.complexity if plan else read.complexity if read else None,
        "reason": plan.reason if plan else refusal.message if refusal else None,
        "refused": {"code": refusal.code, "message": refusal.message} if refusal else None,
        "features": _features(read),
        "reading": _reading(read, policy) if read else None,
        "candidates": list(_candidates(asked, choice, policy, registry)),
        "plans": _plans(choice) if choice else [],
        "target": _target(asked, choice, policy) if choice else None,
        "plan": _rungs(plan, asked.scores) if plan else [],
        "predicted": _predicted(plan) if plan else None,
        "contract": plan.promise.as_dict() if plan and plan.promise else None,
        "neighbours": _neighbours(read),
        "conversation": {"last": asked.last, "bound": asked.bound} if asked.last else None,
        "rule": asked.request.rule,
        "policy": {"name": policy.name, "version": policy.version},
        "scorer": read.scorer if read else None,
        "registry_version": registry.short,
    }


def _features(read: Read | None) -> list[dict[str, Any]]:
    told = read.features.as_dict() if read else {}
    return [{"name": name, "value": value, "meaning": _MEANINGS[name]} for name, value in told.items()]


def _reading(read: Read, policy: RoutingPolicy) -> dict[str, Any]:
    """The artefact's numbers, and what they and the signals come to."""
    reading = read.reading
    return {
        "ease": round(reading.ease, 4),
        "reach": round(reading.reach, 4),
        "gain": round(reading.gain, 4),
        "hardness": round(read.hardness, 4),
        "words": {
            "ease": f"{_more(reading.ease, 'easier', 'harder')} for every model than an average question (log-odds)",
            "reach": f"a model's ability counts {_more(reading.reach, 'more', 'less')} here than usual",
            "gain": f"a strong model adds {_more(reading.gain, 'more', 'less')} quality here than usual",
            "hardness": f"from 0 to 1; medium from {policy.medium_at:g}, high from {policy.high_at:g}",
        },
        "trust": policy.trust,
    }


def _more(value: float, up: str, down: str) -> str:
    if abs(value) < 0.05:
        return f"about as {'much' if up == 'more' else 'easy'}"
    much = "much " if abs(value) > 0.8 else ""
    return f"{much}{up if value > 0 else down}"


def _candidates(
    asked: Asked, choice: Choice | None, policy: RoutingPolicy, registry: Registry
) -> Iterable[dict[str, Any]]:
    """Every model of the task: the predicted ones first, by rising cost; then the ones that cannot be called."""
    cards = able(registry, asked.request.task)
    features = asked.read.features if asked.read else None
    ready, refusals = eligible(asked.request, features, cards, asked.scores or None, asked.budget, asked.contexts)
    reachable = {card.id for card in policy.reachable(registry)} if asked.read else {card.id for card in cards}
    used = _used(choice)
    told = [
        _candidate(card, asked, policy, _why_not(card, asked, refusals, reachable, used), card in ready)
        for card in cards
    ]
    return sorted(told, key=lambda one: (one["p_adequate"] is None, one["cost_nanousd"] or 0, one["model"]))


def _candidate(card: Card, asked: Asked, policy: RoutingPolicy, why_not: str | None, fit: bool) -> dict[str, Any]:
    score = asked.scores.get(card.id)
    times, failed = seen(asked.read.neighbours, card.id) if asked.read else (0, 0)
    away = card.id in asked.unavailable
    return {
        "model": card.id,
        "tier": card.tier,
        "standing": "away" if away else "refused" if why_not and not fit else "idle" if why_not else "in_plan",
        "why_not": why_not,
        "p_adequate": score.p_adequate if score else None,
        "output_tokens": score.output_tokens if score else None,
        "cost_nanousd": score.cost_nanousd if score else None,
        "latency_ms": score.latency_ms if score else None,
        "ability_from": _ability_from(card, policy, asked.read.topic) if asked.read else None,
        "like_prompts": times,
        "like_prompts_failed": failed,
    }


def _why_not(
    card: Card, asked: Asked, refusals: Mapping[str, str], reachable: Iterable[str], used: frozenset[str]
) -> str | None:
    """The first reason why this model is not asked; None where a plan would ask it."""
    if card.id in used:
        return None
    if card.id in asked.unavailable:
        return asked.unavailable[card.id]
    if card.id in refusals and card.id in asked.scores:
        return refusals[card.id]
    if asked.read and card.id not in asked.scores:
        if asked.request.model is not None:
            return "the request names another model"
        if card.id in reachable:
            return "its price is not known"
        return "no ladder of the policy leads to it; a request may name it"
    if card.id in refusals:
        return refusals[card.id]
    return f"not on the policy's ladder for {asked.read.complexity}" if asked.read else "another comes first"


def _used(choice: Choice | None) -> frozenset[str]:
    if choice is None:
        return frozenset()
    return frozenset(rung.model_id for plan in (choice.plan, *choice.considered) for rung in plan.rungs)


def _ability_from(card: Card, policy: RoutingPolicy, topic: str | None) -> str:
    if topic is not None and card.id in policy.topics.get(topic, {}):
        return f"learned from labels of {topic}"
    if card.id in policy.abilities:
        return "learned from labels"
    if card.quality_prior is not None:
        return f"its card's quality prior, {card.quality_prior:g}"
    return f"its tier's stated {policy.tier_strength[card.tier]:g}"


def _plans(choice: Choice) -> list[dict[str, Any]]:
    """Those the choice was made among, the cheapest first; the chosen one alone where nothing was weighed."""
    considered = choice.considered or (choice.plan,)
    ordered = sorted(considered, key=lambda plan: (plan.cost_nanousd or 0, -(plan.quality or 0.0)))
    return [
        {
            "models": _models(plan),
            **_predicted(plan),
            "enough": None if choice.target is None else (plan.quality or 0.0) >= choice.target,
            "chosen": plan.rungs == choice.plan.rungs,
        }
        for plan in ordered
    ]


def _models(plan: Plan) -> list[str]:
    return [rung.model_id for rung in plan.rungs if not rung.fallback]


def _predicted(plan: Plan) -> dict[str, Any]:
    return {"quality": plan.quality, "cost_nanousd": plan.cost_nanousd, "latency_ms": plan.latency_ms}


def _target(asked: Asked, choice: Choice, policy: RoutingPolicy) -> dict[str, Any] | None:
    if choice.target is None or asked.read is None:
        return None
    slack = policy.slack[asked.read.complexity]
    asked_for = asked.request.constraints.min_quality is not None
    why = "asked by constraints.quality" if asked_for else f"the best plan's quality less {slack:.0%}, for this class"
    return {"quality": round(choice.target, 4), "why": why, "close": choice.close}


def _rungs(plan: Plan, scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    return [
        {
            "model": rung.model_id,
            "threshold": rung.threshold,
            "fallback": rung.fallback,
            "p_adequate": scores[rung.model_id].p_adequate if rung.model_id in scores else None,
        }
        for rung in plan.rungs
    ]


def _neighbours(read: Read | None) -> Sequence[dict[str, Any]]:
    found = read.neighbours if read else ()
    return [
        {
            "similarity": round(each.similarity, 4) if isfinite(each.similarity) else None,
            "outcomes": dict(each.outcomes),
        }
        for each in found
    ]
