"""Toxicity of texts by a classifier, or by our own word list as the rung below; a card's weights decide which."""

from __future__ import annotations

from typing import Any

from registry.schema import Card
from workers.encoder.judging import Judgement, judged
from workers.encoder.model import Model, open_model
from workers.modality import Batch, Code, Machine, Result, WorkerError
from workers.wordlist import TOXIC_FROM, WordList, open_list

HARMLESS = ("neutral", "non-toxic", "not toxic", "non_toxic", "normal", "safe")


def load(card: Card, machine: Machine) -> Model | WordList:
    """The word list of a card without weights, else a classifier of two or more labels, of which one means that
    nothing is wrong. Raises WorkerError `invalid_config` where none does."""
    if card.hub_id is None and not card.variants:
        return open_list()
    model = open_model(card, machine, "logits")
    if sum(label.lower() in HARMLESS for label in model.labels) != 1 or len(model.labels) < 2:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id} has the labels {', '.join(model.labels)}; exactly one must be {' or '.join(HARMLESS)}",
        )
    return model


def infer(loaded: Model | WordList, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"toxic", "score", "categories"}, …]}, one per text; a classifier adds "tokens".

    A classifier's score is the probability that something is wrong, categories are its other labels' own,
    toxic: score ≥ 0.5. A text longer than it reads at once is as toxic as the worst of its windows. The word
    list's numbers are told in workers/wordlist.py.
    """
    if isinstance(loaded, WordList):
        return loaded.infer(batch)
    return judged(loaded, batch, lambda judgement: _told(loaded.labels, judgement))


def _told(labels: tuple[str, ...], judgement: Judgement) -> dict[str, Any]:
    harmless = next(number for number, label in enumerate(labels) if label.lower() in HARMLESS)
    worst = judgement.shares[judgement.shares[:, harmless].argmin()]
    score = 1.0 - float(worst[harmless])
    categories = {label.lower(): float(worst[number]) for number, label in enumerate(labels) if number != harmless}
    return {"toxic": score >= TOXIC_FROM, "score": score, "categories": categories}
