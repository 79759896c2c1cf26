"""Learns how able each model is from labels, starting from what its card states; a new policy version carries it.

Once over all labels, and once per task class: there the prior is the mean of what the card states and what each other
class says by itself, so that no label counts twice and a class with few labels stays near the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
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
    labels. `topic` None: over all; else of one task class, where `stated` is the prior from card and other classes."""

    model_id: str
    labels: int
    stated: float
    before: float
    after: float
    topic: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    topic: str
    read: Read
    outcome: float


async def adapt(desk: Desk, registry: Registry, by: str, *, dry: bool = False) -> Sequence[Learned]:
    """The abilities of every model that labels with a text know of; in force unless `dry`. The same labels give the
    same policy version."""
    policy = await desk.policies.current()
    predictor = await desk.policies.predictor(policy.scorer)
    known = _outcomes(await desk.labels.with_text(MOST_LABELS), predictor, policy)
    learned = [
        _overall(registry, policy, model, known[model]) for model in sorted(known.keys() & registry.cards.keys())
    ]
    by_topic = [
        each for model in learned for each in _by_topic(registry, policy, model.model_id, known[model.model_id])
    ]
    if learned and not dry:
        await desk.policies.change(lambda active: _taught(active, learned, by_topic), by)
    return [_told(each) for each in (*learned, *by_topic)]


def _overall(registry: Registry, policy: RoutingPolicy, model_id: str, known: Sequence[_Known]) -> Learned:
    """In log-odds, as are those below."""
    stated = stated_ability(registry.get(model_id), policy)
    return Learned(
        model_id=model_id,
        labels=len(known),
        stated=stated,
        before=policy.abilities.get(model_id, stated),
        after=_fitted(stated, known, policy),
    )


def _by_topic(registry: Registry, policy: RoutingPolicy, model_id: str, known: Sequence[_Known]) -> Iterator[Learned]:
    topics = sorted({each.topic for each in known})
    if len(topics) == 1:
        return
    stated = stated_ability(registry.get(model_id), policy)
    of_topic = {topic: [each for each in known if each.topic == topic] for topic in topics}
    alone = {topic: _fitted(stated, mine, policy) for topic, mine in of_topic.items()}
    for topic, mine in of_topic.items():
        prior = fmean([stated, *(able for other, able in alone.items() if other != topic)])
        yield Learned(
            model_id=model_id,
            labels=len(mine),
            stated=prior,
            before=policy.topics.get(topic, {}).get(model_id, prior),
            after=_fitted(prior, mine, policy),
            topic=topic,
        )


def _fitted(prior: float, known: Sequence[_Known], policy: RoutingPolicy) -> float:
    return round(adapted(prior, [(each.read, each.outcome) for each in known], policy), _DIGITS)


def _taught(active: RoutingPolicy, learned: Sequence[Learned], by_topic: Sequence[Learned]) -> RoutingPolicy:
    topics = {topic: dict(abilities) for topic, abilities in active.topics.items()}
    for each in by_topic:
        topics.setdefault(each.topic or "", {})[each.model_id] = each.after
    abilities = {each.model_id: each.after for each in learned}
    return replace(active, abilities={**active.abilities, **abilities}, topics=topics)


def _outcomes(labels: Sequence[Label], predictor: Predictor, policy: RoutingPolicy) -> Mapping[str, list[_Known]]:
    found: dict[str, list[_Known]] = {}
    for label in labels:
        asked = Request(id=label.id, task=Task.GENERATE, messages=(Message(role="user", content=label.text or ""),))
        read = read_as(features.read(asked), predictor.read(label.text or ""), predictor.version, policy)
        for model_id, outcome in label.outcomes.items():
            found.setdefault(model_id, []).append(_Known(topic=label.task_class, read=read, outcome=outcome))
    return found


def _told(each: Learned) -> Learned:
    stated, before, after = (round(share(able), 3) for able in (each.stated, each.before, each.after))
    return replace(each, stated=stated, before=before, after=after)
