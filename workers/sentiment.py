"""Sentiment of texts by a classifier, or by VADER's lexicon as the rung below; a card's weights decide which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.engines import Engine
from registry.schema import Card
from workers.encoder.judging import Judgement, judged
from workers.encoder.model import Model, open_model
from workers.modality import Batch, Code, Machine, Result, WorkerError

if TYPE_CHECKING:
    from workers.vader import Analyser

POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"


def load(card: Card, machine: Machine) -> Model | Analyser:
    """The lexicon of a card whose variant runs built in, else a classifier whose labels are positive, negative and
    perhaps neutral. Raises WorkerError `invalid_config` where it has others."""
    if any(variant.runs_on is Engine.BUILTIN for variant in card.variants):
        from workers.vader import open_lexicon  # noqa: PLC0415 - its lexicon takes 20 MB that a classifier does not need

        return open_lexicon(card)
    model = open_model(card, machine, "logits")
    names = {label.lower() for label in model.labels}
    if not {POSITIVE, NEGATIVE} <= names <= {POSITIVE, NEUTRAL, NEGATIVE}:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id} has the labels {', '.join(model.labels)}; sentiment needs positive, negative",
        )
    return model


def infer(loaded: Model | Analyser, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"label", "score", "scores"}, …]}, one per text; a classifier adds "tokens".

    label: positive, neutral or negative, the likeliest. score: −1 (most negative) to 1 (most positive).
    scores: their shares, adding up to 1. A classifier without neutral names the two it knows; its score is
    the probability of positive less that of negative, and a text longer than it reads at once is judged by
    the mean of its windows. VADER's score and shares are told in workers/vader.py.
    """
    if not isinstance(loaded, Model):
        return loaded.infer(batch)
    return judged(loaded, batch, lambda judgement: _told(loaded.labels, judgement))


def _told(labels: tuple[str, ...], judgement: Judgement) -> dict[str, Any]:
    shares = {label.lower(): float(share) for label, share in zip(labels, judgement.mean(), strict=True)}
    return {
        "label": max(shares, key=shares.__getitem__),
        "score": shares[POSITIVE] - shares[NEGATIVE],
        "scores": shares,
    }
