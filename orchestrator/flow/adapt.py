"""Learns how able each model is from labels, starting from what its card states; a new policy version carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.core.reading import features
from orchestrator.core.reading.predict import Predictor, share
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, adapted, read_as, stated_ability
from orchestrator.core.types import Message, Request
from orchestrator.ports import Label, Labels, Policies
from registry.load import Registry
from registry.schema import Task

MOST_LABELS = 20_000
_DIGITS = 4


class Desk(Protocol):
    """The doors that adapting opens."""

    @property
    def labels(self) -> Labels: ...
    @property
    def policies(self) -> Policies: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """One model's ability, as the share of average queries it answers adequately: stated, in force, and after the
    labels."""

    model_id: str
    labels: int
    stated: float
    before: float
    after: float


async def adapt(desk: Desk, registry: Registry, by: str, *, dry: bool = False) -> Sequence[Learned]:
    """The abilities of every model that labels with a text know of; in force unless `dry`. The same labels give the
    same policy version."""
    policy = await desk.policies.current()
    predictor = await desk.policies.predictor(policy.scorer)
    known = _outcomes(await desk.labels.with_text(MOST_LABELS), predictor, policy)
    learned: dict[str, tuple[float, int]] = {}
    for model_id in sorted(known.keys() & registry.cards.keys()):
        stated = stated_ability(registry.get(model_id), policy)
        learned[model_id] = round(adapted(stated, known[model_id], policy), _DIGITS), len(known[model_id])
    abilities = {model_id: able for model_id, (able, _) in learned.items()}
    if abilities and not dry:
        await desk.policies.change(lambda active: replace(active, abilities={**active.abilities, **abilities}), by)
    return [_told(registry, policy, model_id, *found) for model_id, found in learned.items()]


def _outcomes(
    labels: Sequence[Label], predictor: Predictor, policy: RoutingPolicy
) -> Mapping[str, list[tuple[Read, float]]]:
    found: dict[str, list[tuple[Read, float]]] = {}
    for label in labels:
        asked = Request(id=label.id, task=Task.GENERATE, messages=(Message(role="user", content=label.text or ""),))
        read = read_as(features.read(asked), predictor.read(label.text or ""), predictor.version, policy)
        for model_id, outcome in label.outcomes.items():
            found.setdefault(model_id, []).append((read, outcome))
    return found


def _shown(able: float) -> float:
    return round(share(able), 3)


def _told(registry: Registry, policy: RoutingPolicy, model_id: str, able: float, labels: int) -> Learned:
    stated = stated_ability(registry.get(model_id), policy)
    before = policy.abilities.get(model_id, stated)
    return Learned(model_id=model_id, labels=labels, stated=_shown(stated), before=_shown(before), after=_shown(able))
