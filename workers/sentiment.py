"""Sentiment of English texts by VADER's lexicon and rules; it learns nothing and loads no network.

C. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014.
"""

from __future__ import annotations

from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from registry.schema import Card
from registry.weights import packaged_folder, verify
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

POSITIVE_FROM = 0.05  # VADER's own thresholds for its compound score
NEGATIVE_TO = -0.05
LONGEST_CHARACTERS = 20_000  # VADER's time grows with the square of the words: 0.5 s at this length


def load(card: Card, machine: Machine) -> SentimentIntensityAnalyzer:
    """The analyser with its packaged lexicon, after the card's digests were checked."""
    folder = packaged_folder(card)
    if folder is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the lexicon of {card.id} is not on this machine")
    verify(card, folder)
    return SentimentIntensityAnalyzer()


def infer(loaded: SentimentIntensityAnalyzer, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"label", "score", "scores"}, …]}, one per text.

    label: positive, neutral or negative. score: VADER's compound, −1 (most negative) to 1 (most positive).
    scores: the shares of positive, neutral and negative words, adding up to 1.
    """
    return [_item(loaded, item, batch) for item in batch.items]


def _item(analyser: SentimentIntensityAnalyzer, item: Item, batch: Batch) -> Result | WorkerError:
    if not item.texts:
        return WorkerError(Code.INVALID_INPUT, "sentiment needs at least one text; `texts` is empty")
    for number, text in enumerate(item.texts):
        if len(text) > LONGEST_CHARACTERS:
            return WorkerError(
                Code.INVALID_INPUT,
                f"texts[{number}] has {len(text)} characters, sentiment reads at most {LONGEST_CHARACTERS}; split it",
            )
    found = []
    for text in item.texts:
        batch.check_time()
        found.append(_read(analyser.polarity_scores(text)))
    return {"results": found}


def _read(scores: dict[str, float]) -> dict[str, Any]:
    compound = scores["compound"]
    shares = {"positive": scores["pos"], "neutral": scores["neu"], "negative": scores["neg"]}
    return {"label": _label(compound), "score": compound, "scores": shares}


def _label(compound: float) -> str:
    if compound >= POSITIVE_FROM:
        return "positive"
    return "negative" if compound <= NEGATIVE_TO else "neutral"
