"""What the similarity of unit vectors tells: an order of documents, a class of texts; it embeds nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.encoder.calibration import sigmoid, softmax
from workers.encoder.choice import Choice, chosen

Vectors = NDArray[np.float32]
DESCRIPTION = "This is about {label}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """How cosines become probabilities: softmax(cosine / `temperature`) where one class is right, and
    sigmoid((cosine − `middle`) / `spread`) where each stands alone. `measured`: on labelled texts."""

    temperature: float
    middle: float
    spread: float
    measured: bool


UNMEASURED = Confidence(temperature=0.05, middle=0.3, spread=0.05, measured=False)
"""For models whose weights were not at hand: the order of classes is right, the figures are not probabilities."""

_MINILM = Confidence(temperature=0.0241, middle=0.1951, spread=0.0412, measured=True)

CONFIDENCE: Mapping[str, Confidence] = MappingProxyType(
    {"minilm-l6-builtin": _MINILM, "all-minilm-l6-v2": _MINILM}  # the same weights
)
"""Fitted on 96 labelled sentences of eight topics (tests/data/topics.json; scripts/bench zero_shot fits them anew)."""


def ranked(cosines: Vectors, top_n: int | None) -> list[dict[str, Any]]:
    """Best first. A cosine c is told as (1 + c) / 2: it orders, it is not a probability."""
    scores = np.clip((1.0 + cosines) / 2.0, 0.0, 1.0)
    order = np.argsort(-scores, kind="stable")[:top_n]
    return [{"index": int(index), "score": float(scores[index])} for index in order]


def classified(cosines: Vectors, labels: Sequence[str], confidence: Confidence, multi_label: bool) -> list[Choice]:
    """One choice per row of cosines (texts, labels). One label alone is judged like many: it may not fit."""
    if multi_label or len(labels) == 1:
        shares = sigmoid((cosines - confidence.middle) / confidence.spread)
    else:
        shares = softmax(cosines, confidence.temperature)
    return [chosen(labels, row) for row in shares]
