"""Sentiment of English texts by VADER's lexicon and rules; it learns nothing and loads no network.

C. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from registry.schema import Card, Task
from registry.weights import packaged_folder, verify
from workers.encoder.inputs import each_item, require_texts
from workers.modality import Batch, Code, Item, Result, WorkerError

POSITIVE_FROM = 0.05  # VADER's own thresholds for its compound score
NEGATIVE_TO = -0.05
LONGEST_CHARACTERS = 20_000  # VADER's time grows with the square of the words: 0.5 s at this length


@dataclass(frozen=True, kw_only=True, slots=True)
class Analyser:
    """VADER with its packaged lexicon."""

    vader: SentimentIntensityAnalyzer

    def infer(self, batch: Batch) -> list[Result | WorkerError]:
        """{"results": [{"label", "score", "scores"}, …]}, one per text.

        label: positive, neutral or negative. score: VADER's compound, −1 (most negative) to 1 (most positive).
        scores: the shares of positive, neutral and negative words, adding up to 1.
        """
        return each_item(batch.items, lambda item: self._item(item, batch))

    def _item(self, item: Item, batch: Batch) -> Result:
        texts = require_texts(item, Task.SENTIMENT, LONGEST_CHARACTERS)
        found = []
        for text in texts:
            batch.check_time()
            found.append(_read(self.vader.polarity_scores(text)))
        return {"results": found}


def open_lexicon(card: Card) -> Analyser:
    """After the card's digests were checked. Raises WorkerError `model_not_found`, and DamagedWeights."""
    folder = packaged_folder(card)
    if folder is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the lexicon of {card.id} is not on this machine")
    verify(card, folder)
    return Analyser(vader=SentimentIntensityAnalyzer())


def _read(scores: dict[str, float]) -> dict[str, Any]:
    compound = scores["compound"]
    shares = {"positive": scores["pos"], "neutral": scores["neu"], "negative": scores["neg"]}
    return {"label": _label(compound), "score": compound, "scores": shares}


def _label(compound: float) -> str:
    if compound >= POSITIVE_FROM:
        return "positive"
    return "negative" if compound <= NEGATIVE_TO else "neutral"
