"""Predicts, before calling: how hard a request is, and P(adequate), cost and latency of each candidate.

    logit P(adequate) = ability + EASE − WEIGHT × hardness + trust × reach × (ability − centre)
    hardness          = difficulty of the text's signals − trust × the artefact's ease / WEIGHT,  in [0, 1]

`difficulty` is a stated prior, the artefact is learned (`predict`) and trusted in part on texts unlike its training
sets; outcomes of like prompts correct both. Nothing in this module chooses; `plan` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.core.reading.predict import CENTRE, Reading, ability, most_probable_ability, share
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Complexity, Features, Neighbour, Options, Pace, Score
from registry.pricing import cost_nanousd
from registry.schema import Billing, Capability, Card, Usage

# Log-odds by which an everyday request of no difficulty is easier than an average exam question, and what a
# difficulty of one takes away. Stated: no exam set holds everyday requests.
_EASE = 2.0
_WEIGHT = 6.0
_CREATIVE_GAIN = 0.8  # log-odds; stated
_LEAST_REACH, _MOST_REACH = -0.5, 1.5  # as in `predict`: text unlike the training sets may read as anything
# Latency priors in ms per output token, by where the model runs; `Pace` corrects them as answers come.
_MS_PER_TOKEN_LOCAL = 60.0
_MS_PER_TOKEN_API = 15.0
_MS_FIRST_TOKEN = 400.0
_EXPECTED_OUTPUT = {Complexity.SIMPLE: 120, Complexity.MEDIUM: 350, Complexity.HIGH: 800}
_EXPECTED_OUTPUT_OTHER = 500
# Neighbours count from this cosine on, fully at 1; the prediction itself counts as this many of them.
_LEAST_SIMILARITY = 0.5
_PRIOR_NEIGHBOURS = 4.0
_AS_STATED = Pace()


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A request, read: its signals, what the artefact says of it (and which artefact), its class and hardness, and
    past prompts like it."""

    features: Features
    reading: Reading
    scorer: str
    complexity: Complexity
    hardness: float
    topic: str | None = None
    """Its task class, else its complexity: labels are kept by it."""
    neighbours: Sequence[Neighbour] = ()
    gains: Mapping[str, float] = field(default_factory=dict)
    """What other artefacts read, by version: a contract is scored by the one that certified it."""

    def gain_of(self, scorer: str) -> float | None:
        """None where that artefact has not read this request."""
        return self.reading.gain if scorer == self.scorer else self.gains.get(scorer)


def read_as(
    features: Features, reading: Reading, scorer: str, policy: RoutingPolicy, task_class: str | None = None
) -> Read:
    """The class is read off the same hardness the score uses. Brand beats creative beats hardness; tools are never
    simple."""
    hard = min(1.0, max(0.0, difficulty(features) - policy.trust * reading.ease / _WEIGHT))
    complexity = _class(features, hard, policy)
    return Read(
        features=features,
        reading=reading,
        scorer=scorer,
        complexity=complexity,
        hardness=hard,
        topic=task_class or complexity,
    )


def difficulty(features: Features) -> float:
    """In [0, 1]: 0 = any model will do. Material quoted in a plain ask weighs less than the ask.

    The weights are a stated prior: three signs of code or of reasoning make a request high by themselves,
    two signs of reasoning or of maths make it medium, and so do about 3,300 tokens to read.
    """
    size = min(1.0, math.log1p(features.tokens / 150) / 4)
    raw = (
        0.55 * features.code
        + 0.45 * features.maths
        + 0.50 * features.reasoning
        + 0.15 * min(1.0, features.constraints / 6)
        + 0.32 * size
        + 0.05 * min(1.0, (features.turns - 1) / 6)
        + 0.10 * features.structured
        + 0.10 * features.ambiguity
    )
    return min(1.0, raw * (0.35 if features.plain_ask else 1.0))


def score(
    card: Card, read: Read, options: Options, policy: RoutingPolicy, at: datetime, pace: Pace = _AS_STATED
) -> Score:
    """One candidate's prediction. Raises registry's `UnpricedModel` for a paid card without a price."""
    output = max(1, int(stated_output_tokens(read.complexity, options) * pace.verbosity))
    output = min(output, options.max_tokens or output)
    return Score(
        model_id=card.id,
        p_adequate=round(_p_adequate(card, read, policy), 4),
        output_tokens=output,
        cost_nanousd=cost_nanousd(card, Usage(input_tokens=read.features.tokens, output_tokens=output), at),
        latency_ms=int(pace.wait_ms + pace.slowness * stated_latency_ms(card, output)),
    )


def stated_output_tokens(complexity: Complexity, options: Options) -> int:
    """The prior that `Pace.verbosity` corrects."""
    stated = _EXPECTED_OUTPUT.get(complexity, _EXPECTED_OUTPUT_OTHER)
    return min(stated, options.max_tokens or stated)


def stated_latency_ms(card: Card, output_tokens: int) -> float:
    """The prior that `Pace.slowness` corrects."""
    per_token_ms = _MS_PER_TOKEN_LOCAL if card.billing is Billing.NONE else _MS_PER_TOKEN_API
    return _MS_FIRST_TOKEN + per_token_ms * output_tokens


def ability_of(card: Card, policy: RoutingPolicy, topic: str | None = None) -> float:
    """Log-odds: learned from labels of this topic, else from any, else as stated."""
    learned = policy.topics.get(topic, policy.abilities).get(card.id) if topic else None
    learned = policy.abilities.get(card.id) if learned is None else learned
    return stated_ability(card, policy) if learned is None else learned


def stated_ability(card: Card, policy: RoutingPolicy) -> float:
    """Log-odds of the card's own quality prior, else of its tier's."""
    return ability(card.quality_prior if card.quality_prior is not None else policy.tier_strength[card.tier])


def adapted(prior: float, labels: Sequence[tuple[Read, float]], policy: RoutingPolicy) -> float:
    """The ability of a model after outcomes in [0, 1] of requests read under this policy."""
    terms = [(1 + _reach(read, policy), _odds(0.0, read, policy), outcome) for read, outcome in labels]
    return most_probable_ability(prior, terms)


def seen(neighbours: Sequence[Neighbour], model_id: str) -> tuple[int, int]:
    """Of so many like prompts with a known outcome of this model, so many failed."""
    outcomes = [each.outcomes[model_id] for each in neighbours if model_id in each.outcomes and _weight(each) > 0]
    return len(outcomes), sum(outcome < 0.5 for outcome in outcomes)


def _p_adequate(card: Card, read: Read, policy: RoutingPolicy) -> float:
    able = ability_of(card, policy, read.topic)
    if read.complexity is Complexity.CREATIVE and Capability.CREATIVE in card.capabilities:
        able += _CREATIVE_GAIN
    p = share(_odds(able, read, policy))
    told, total = p * _PRIOR_NEIGHBOURS, _PRIOR_NEIGHBOURS
    for each in read.neighbours:
        outcome = each.outcomes.get(card.id)
        if outcome is not None:
            told, total = told + _weight(each) * outcome, total + _weight(each)
    return told / total


def _odds(able: float, read: Read, policy: RoutingPolicy) -> float:
    return able + _EASE - _WEIGHT * read.hardness + _reach(read, policy) * (able - CENTRE)


def _reach(read: Read, policy: RoutingPolicy) -> float:
    return policy.trust * min(_MOST_REACH, max(_LEAST_REACH, read.reading.reach))


def _weight(neighbour: Neighbour) -> float:
    return max(0.0, (neighbour.similarity - _LEAST_SIMILARITY) / (1 - _LEAST_SIMILARITY))


def _class(features: Features, hard: float, policy: RoutingPolicy) -> Complexity:
    if features.brand >= policy.brand_at:
        return Complexity.PREMIUM_BRAND
    if features.creative >= policy.creative_at and features.creative >= features.code:
        return Complexity.CREATIVE  # "a Python script that prints a haiku" is code
    if hard >= policy.high_at or features.tools:
        return Complexity.HIGH
    return Complexity.MEDIUM if hard >= policy.medium_at else Complexity.SIMPLE
