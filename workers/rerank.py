"""Reranks documents by a cross-encoder that reads query and document together; it embeds nothing.

R. Nogueira and K. Cho, "Passage Re-ranking with BERT", arXiv 1901.04085.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.schema import Card, Task
from workers.encoder.calibration import sigmoid
from workers.encoder.inputs import each_item, invalid, require_readable, require_texts, whole_number
from workers.encoder.model import Model, forward, open_model
from workers.encoder.pooling import Floats
from workers.encoder.tokens import Tokens
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

DOCUMENT_TOKENS = 32  # at least so many must be left for a document beside the query and the special tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One item, checked."""

    query: str
    texts: tuple[str, ...]
    top_n: int | None


def load(card: Card, machine: Machine) -> Model:
    """The cross-encoder of this card. Raises WorkerError `invalid_config` where it does not give one logit per pair."""
    model = open_model(card, machine, "logits")
    if model.width != 1:
        raise WorkerError(
            Code.INVALID_CONFIG, f"{card.id} gives {model.width} logits per pair; a cross-encoder gives one"
        )
    return model


def infer(loaded: Model, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"index", "score"}, …], "tokens", "truncated"}, best first; at most options.top_n.

    The score is sigmoid(logit), 0 to 1: MS MARCO's cross-encoders learn logits, which their own library
    returns as they are. Documents too long for the model lose their end, and are counted as `truncated`.
    """
    calls = each_item(batch.items, lambda item: _call(loaded, item))
    pairs = [(call.query, text) for call in calls if isinstance(call, _Call) for text in call.texts]
    read = loaded.reader.read_pairs(pairs, "only_second")
    logits = forward(loaded, read, batch)[:, 0]
    results: list[Result | WorkerError] = []
    start = 0
    for call in calls:
        if isinstance(call, WorkerError):
            results.append(call)
            continue
        rows = slice(start, start + len(call.texts))
        start += len(call.texts)
        results.append(_result(call, logits[rows], read[rows]))
    return results


def _call(model: Model, item: Item) -> _Call:
    """Raises WorkerError `invalid_input`."""
    texts = require_texts(item, Task.RERANK)
    if item.query is None:
        raise invalid("rerank needs a `query` to compare the texts with; none was given")
    query = require_readable(item.query, "query", Task.RERANK)
    longest = model.reader.limit - DOCUMENT_TOKENS
    if (tokens := model.reader.length(query)) > longest:
        raise invalid(f"the query has {tokens} tokens, {model.id} takes {longest} beside a document; shorten it")
    return _Call(query=query, texts=texts, top_n=whole_number(item, "top_n"))


def _result(call: _Call, logits: Floats, read: Sequence[Tokens]) -> Result:
    scores = sigmoid(logits)
    order = np.argsort(-logits, kind="stable")[: call.top_n]
    results: list[dict[str, Any]] = [{"index": int(index), "score": float(scores[index])} for index in order]
    return {
        "results": results,
        "tokens": sum(map(len, read)),
        "truncated": sum(each.cut for each in read),
    }
