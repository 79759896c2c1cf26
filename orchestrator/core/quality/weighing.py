"""Turns what was read off an answer, and what else is known of it, into one probability: logistic weights from labels.

    logit P(adequate) = logit(predicted) + bias + text × t + agreement + relevance + neighbours,    t = weights · traits

One row of weights for each set of evidence that is there (pattern submodels: Fletcher Mercaldo & Blume 2020,
Biostatistics 21(2)), so what is missing is never guessed. Learns nothing; `scripts/train-quality` does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.errors import InvalidInput
from orchestrator.core.quality.traits import AGREEMENTS, TRAITS

FORMAT = 1
MISMATCHED = 0.05
"""Stated: the share of replies in the field that are about something else."""
CLIP = 2.5  # deviations: an answer unlike every labelled one must not be judged by one trait alone
_MOST_LOGIT = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Weights for one set of evidence; those of what is absent are zero."""

    bias: float
    text: float
    agreement: tuple[float, ...] = (0.0,) * len(AGREEMENTS)
    relevance: float = 0.0
    neighbours: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighing:
    """What `scripts/train-quality` learnt. `base` is the share of adequate answers where nothing was predicted;
    `match` is slope and intercept of the log-odds that a reply with this relevance was written for this ask."""

    version: str
    base: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]
    heads: Mapping[str, Head]
    relevance_by: str
    relevance_mean: float
    relevance_deviation: float
    match: tuple[float, float]
    rates: Mapping[str, float]
    matches_by: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """As `match`, for other rerankers that were measured: card id → slope and intercept."""

    def log_odds(
        self,
        read: Sequence[float],
        *,
        agreement: Sequence[float] | None = None,
        relevance: float | None = None,
        neighbours: float | None = None,
        predicted: float | None = None,
    ) -> float:
        """Of an adequate answer. `read` are the TRAITS, `agreement` the AGREEMENTS."""
        expected = self.base if predicted is None else predicted
        head = self.heads[pattern(agreement is not None, relevance is not None, neighbours is not None)]
        total = logit(expected) + head.bias + head.text * self.text(read)
        if agreement is not None:
            total += sum(weight * value for weight, value in zip(head.agreement, agreement, strict=True))
        if relevance is not None:
            total += head.relevance * _standard(relevance, self.relevance_mean, self.relevance_deviation)
        if neighbours is not None:
            total += head.neighbours * (neighbours - expected)
        return total

    def text(self, read: Sequence[float]) -> float:
        """The answer's own part: its traits, standardised and weighed."""
        parts = zip(read, self.mean, self.deviation, self.weights, strict=True)
        return sum(weight * _standard(value, mean, deviation) for value, mean, deviation, weight in parts)

    def matches(self, relevance: float, by: str | None = None) -> float:
        """P(the reply was written for this ask) by its relevance, where one in twenty is not. `by` names the reranker
        (None: the one this was trained with); of one that was not measured, its score is taken at its word: the
        probability that the text is relevant, were half of them so."""
        if by in (None, self.relevance_by):
            slope, intercept = self.match
        elif by in self.matches_by:
            slope, intercept = self.matches_by[by]
        else:
            return share(logit(relevance) + logit(1 - MISMATCHED))
        return share(slope * relevance + intercept)


def pattern(agreement: bool, relevance: bool, neighbours: bool) -> str:
    """The name of a set of evidence: `agreement+relevance`; "" where there is none."""
    present = (("agreement", agreement), ("relevance", relevance), ("neighbours", neighbours))
    return "+".join(name for name, there in present if there)


PATTERNS = tuple(pattern(bool(bits & 4), bool(bits & 2), bool(bits & 1)) for bits in range(8))


def logit(p: float) -> float:
    p = min(0.98, max(0.02, p))
    return math.log(p / (1 - p))


def share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(_MOST_LOGIT, max(-_MOST_LOGIT, log_odds))))


def read(data: bytes) -> Weighing:
    """From an artefact's bytes (JSON written by scripts/train-quality). Raises InvalidInput."""
    try:
        facts = json.loads(data)
        if facts["format"] != FORMAT or tuple(facts["traits"]) != TRAITS or set(facts["heads"]) != set(PATTERNS):
            raise InvalidInput(
                f"the quality artefact has format {facts['format']} and {len(facts['traits'])} traits; this one reads "
                f"format {FORMAT} with {len(TRAITS)}: run scripts/train-quality again"
            )
        return _weighing(facts)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"the quality artefact cannot be read ({error!r}): run scripts/train-quality again"
        ) from error


def _weighing(facts: Mapping[str, Any]) -> Weighing:
    return Weighing(
        version=str(facts["version"]),
        base=float(facts["base"]),
        mean=_row(facts["mean"], len(TRAITS)),
        deviation=_row(facts["deviation"], len(TRAITS)),
        weights=_row(facts["weights"], len(TRAITS)),
        heads={name: _head(head) for name, head in facts["heads"].items()},
        relevance_by=str(facts["relevance"]["model"]),
        relevance_mean=float(facts["relevance"]["mean"]),
        relevance_deviation=float(facts["relevance"]["deviation"]),
        match=(float(facts["relevance"]["match"][0]), float(facts["relevance"]["match"][1])),
        rates={name: float(value) for name, value in facts["rates"].items()},
        matches_by={
            name: (float(curve[0]), float(curve[1])) for name, curve in facts["relevance"].get("others", {}).items()
        },
    )


def _head(facts: Mapping[str, Any]) -> Head:
    return Head(
        bias=float(facts["bias"]),
        text=float(facts["text"]),
        agreement=_row(facts["agreement"], len(AGREEMENTS)),
        relevance=float(facts["relevance"]),
        neighbours=float(facts["neighbours"]),
    )


def _row(values: Sequence[Any], size: int) -> tuple[float, ...]:
    row = tuple(float(value) for value in values)
    if len(row) != size or not all(map(math.isfinite, row)):
        raise ValueError(f"a row of {len(row)} numbers, {size} finite ones expected")
    return row


def _standard(value: float, mean: float, deviation: float) -> float:
    return min(CLIP, max(-CLIP, (value - mean) / deviation))
