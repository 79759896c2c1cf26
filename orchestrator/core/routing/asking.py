"""Reads and scores one request where everything is given: what is known before a choice, with no door to open.

Neighbours, conversations and paces are learned in a running service; without one there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.reading import features as signals
from orchestrator.core.reading.predict import Predictor, Reading
from orchestrator.core.routing.plan import Asked
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, read_as, score
from orchestrator.core.types import Features, Request, Score
from registry.load import Registry
from registry.pricing import UnpricedModel
from registry.schema import Card, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A request as the artefact reads it, before any policy: the same for every policy that scores with it."""

    request: Request
    features: Features
    reading: Reading
    scorer: str


def seen(request: Request, predictor: Predictor) -> Seen:
    reading = predictor.read(signals.ask_of(request))
    return Seen(request=request, features=signals.read(request), reading=reading, scorer=predictor.version)


def asked_of(
    known: Seen,
    policy: RoutingPolicy,
    cards: Iterable[Card],
    unavailable: Mapping[str, str],
    at: datetime,
    *,
    judge: str | None = None,
) -> Asked:
    """What a choice among these cards is made from. A paid card without a price gets no score, as in service; `judge`
    is the version of the one that would grade the answers."""
    read = read_as(known.features, known.reading, known.scorer, policy, known.request.task_class)
    return Asked(
        request=known.request,
        read=read,
        scores=scores_of(known.request, read, policy, (card for card in cards if card.id not in unavailable), at),
        unavailable=unavailable,
        judge=judge,
    )


def scores_of(
    request: Request, read: Read, policy: RoutingPolicy, cards: Iterable[Card], at: datetime
) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for card in cards:
        with suppress(UnpricedModel):
            found[card.id] = score(card, read, request.options, policy, at)
    return found


def candidates(request: Request, policy: RoutingPolicy, registry: Registry) -> tuple[Card, ...]:
    """The cards that are scored: the one that is named, else those that the policy leads to."""
    if request.model is not None:
        named = registry.cards.get(registry.by_alias.get(request.model, request.model))
        return (named,) if named and Task.GENERATE in named.tasks else ()
    return policy.reachable(registry)
