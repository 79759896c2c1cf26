"""Predicts, before calling: how hard a request is, and P(adequate), cost and latency of each candidate.

The weights here are a stated prior, not a fit: they order requests and tiers sensibly until labels
calibrate them. Nothing in this module chooses; `policy` does.
"""

from __future__ import annotations

import math
from datetime import datetime

from orchestrator.core.policy import RoutingPolicy
from orchestrator.core.types import Complexity, Features, Options, Score
from registry.pricing import cost_nanousd
from registry.schema import Billing, Capability, Card, Usage

# Logistic slope: a model one tier (0.25) above the difficulty is adequate with P = 0.88.
_SLOPE = 8.0
_CREATIVE_GAIN = 0.15
# Latency priors in ms per output token, by where the model runs; replaced by measurements as they come.
_MS_PER_TOKEN_LOCAL = 60.0
_MS_PER_TOKEN_API = 15.0
_MS_FIRST_TOKEN = 400.0
_EXPECTED_OUTPUT = {Complexity.SIMPLE: 120, Complexity.MEDIUM: 350, Complexity.HIGH: 800}
_EXPECTED_OUTPUT_OTHER = 500


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
    )
    return min(1.0, raw * (0.35 if features.plain_ask else 1.0))


def classify(features: Features, policy: RoutingPolicy) -> Complexity:
    """The class a request is read as. Brand beats creative beats difficulty; tools are never simple."""
    if features.brand >= policy.brand_at:
        return Complexity.PREMIUM_BRAND
    if features.creative >= policy.creative_at and features.creative >= features.code:
        return Complexity.CREATIVE  # "a Python script that prints a haiku" is code
    hard = difficulty(features)
    if hard >= policy.high_at or features.tools:
        return Complexity.HIGH
    return Complexity.MEDIUM if hard >= policy.medium_at else Complexity.SIMPLE


def score(
    card: Card, features: Features, complexity: Complexity, options: Options, policy: RoutingPolicy, at: datetime
) -> Score:
    """One candidate's prediction. Raises registry's `UnpricedModel` for a paid card without a price."""
    strength = card.quality_prior if card.quality_prior is not None else policy.tier_strength[card.tier]
    if complexity is Complexity.CREATIVE and Capability.CREATIVE in card.capabilities:
        strength += _CREATIVE_GAIN
    output = _EXPECTED_OUTPUT.get(complexity, _EXPECTED_OUTPUT_OTHER)
    output = min(output, options.max_tokens or output)
    usage = Usage(input_tokens=features.tokens, output_tokens=output)
    local = card.billing is Billing.NONE
    pace = _MS_PER_TOKEN_LOCAL if local else _MS_PER_TOKEN_API
    return Score(
        model_id=card.id,
        p_adequate=round(1 / (1 + math.exp(-_SLOPE * (strength - difficulty(features)))), 4),
        output_tokens=output,
        cost_nanousd=cost_nanousd(card, usage, at),
        latency_ms=int(_MS_FIRST_TOKEN + pace * output),
    )
