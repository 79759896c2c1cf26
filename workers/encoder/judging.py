"""What a classifier says of whole texts, long ones read window by window; it gives the labels no meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.encoder.calibration import Doubles, softmax
from workers.encoder.inputs import each_item, require_texts
from workers.encoder.model import Model, forward
from workers.modality import Batch, Result, WorkerError


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Of one text: a row of probabilities per window, each adding up to 1, and the tokens of each window."""

    shares: Doubles
    tokens: tuple[int, ...]

    def mean(self) -> Doubles:
        """Each window counts by its tokens."""
        return np.asarray(np.average(self.shares, axis=0, weights=self.tokens))


def judged(model: Model, batch: Batch, tell: Callable[[Judgement], Result]) -> list[Result | WorkerError]:
    """{"results": [tell(judgement), …], "tokens"} per item. Nothing of a text is cut off: what the model cannot
    read at once is read in windows."""
    checked = each_item(batch.items, lambda item: require_texts(item, batch.task))
    judgements = iter(_judge(model, [text for texts in checked if isinstance(texts, tuple) for text in texts], batch))
    results: list[Result | WorkerError] = []
    for texts in checked:
        if isinstance(texts, WorkerError):
            results.append(texts)
            continue
        own = [next(judgements) for _ in texts]
        tokens = sum(sum(each.tokens) for each in own)
        results.append({"results": [tell(each) for each in own], "tokens": tokens})
    return results


def _judge(model: Model, texts: Sequence[str], batch: Batch) -> list[Judgement]:
    windows = model.reader.read_whole(texts)
    shares = softmax(forward(model, [window for each in windows for window in each], batch))
    found, start = [], 0
    for each in windows:
        rows = shares[start : start + len(each)]
        start += len(each)
        found.append(Judgement(shares=rows, tokens=tuple(map(len, each))))
    return found
