"""Sentence embeddings, and what their similarity tells: reranking and zero-shot classes; it stores nothing.

Rerank by similarity is the rung below a cross-encoder, classify by similarity the rung below NLI.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from registry.schema import Card, Prefixes, Task
from workers.encoder.inputs import (
    each_item,
    flag,
    invalid,
    require_labels,
    require_readable,
    require_texts,
    whole_number,
)
from workers.encoder.model import Model, forward, open_model
from workers.encoder.pooling import Pooling, unit
from workers.encoder.similarity import CONFIDENCE, DESCRIPTION, UNMEASURED, Confidence, Vectors, classified, ranked
from workers.encoder.tokens import Tokens
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

LABELS_KEPT = 1000  # label vectors a loaded model remembers: 1.5 MB at 384 dimensions


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """A loaded model: texts in, unit vectors of `dimensions` out. `labels`: vectors of classes met before."""

    model: Model
    prefixes: Prefixes
    confidence: Confidence = UNMEASURED
    labels: dict[str, Vectors] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        return self.model.width


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One item, checked: the texts to embed with their prefixes, and its options."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    dimensions: int | None = None
    top_n: int | None = None


def load(card: Card, machine: Machine) -> Encoder:
    """The encoder of this card, with its own pooling and prefixes.

    Raises WorkerError `invalid_config` where the card's facts and the weights disagree or the
    architecture cannot be run here.
    """
    model = open_model(card, machine, _pooling(card, machine))
    if card.dimensions != model.width:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id}: its card says {card.dimensions} dimensions, its weights have {model.width}",
        )
    confidence = CONFIDENCE.get(card.id, UNMEASURED)
    return Encoder(model=model, prefixes=card.prefixes, confidence=confidence)


def infer(loaded: Encoder, batch: Batch) -> list[Result | WorkerError]:
    """All texts of all items go through the model together, shortest first. Every result tells `tokens`, what was
    read, and `truncated`, how many texts were cut at the model's limit.

    embed: {"f32": little-endian float32 bytes, "shape": [n, dimensions]}. Rows are the item's texts as
    documents; a `query`, where given, is the last row. options.dimensions keeps the first so many of each
    vector, at length 1 again.
    rerank: {"results": [{"index", "score"}, …]}, best first. The score maps the cosine c of query and
    document from [−1, 1] to [0, 1] as (1 + c) / 2; it orders, it is not a probability.
    classify: {"results": [{"label", "score", "scores"}, …], "calibrated"}, one per text.
    """
    calls = each_item(batch.items, lambda item: _call(loaded, item, batch.task))
    good = [call for call in calls if isinstance(call, _Call)]
    _learn_labels(loaded, {label for call in good for label in call.labels}, batch)
    vectors, read = embed(loaded, [text for call in good for text in call.texts], batch)
    results: list[Result | WorkerError] = []
    start = 0
    for call in calls:
        if isinstance(call, WorkerError):
            results.append(call)
            continue
        rows = slice(start, start + len(call.texts))
        start += len(call.texts)
        found = _result(loaded, call, batch.task, vectors[rows])
        results.append({**found, **_told(read[rows])})
    return results


def embed(encoder: Encoder, texts: Sequence[str], batch: Batch) -> tuple[Vectors, list[Tokens]]:
    """Unit vectors (n, dimensions) in the order of `texts`, and what the model read of each."""
    read = encoder.model.reader.read(texts)
    return forward(encoder.model, read, batch), read


def _call(encoder: Encoder, item: Item, task: Task) -> _Call:
    """Raises WorkerError `invalid_input`."""
    alone = task is Task.EMBED and not item.texts and item.query is not None
    texts = () if alone else require_texts(item, task)
    documents = tuple(encoder.prefixes.document + text for text in texts)
    if task is Task.CLASSIFY:
        return _Call(texts=documents, labels=require_labels(item), multi_label=flag(item, "multi_label"))
    if task is Task.RERANK and item.query is None:
        raise invalid("rerank needs a `query` to compare the texts with; none was given")
    query = () if item.query is None else (encoder.prefixes.query + require_readable(item.query, "query", task),)
    return _Call(
        texts=documents + query,
        dimensions=_dimensions(encoder, item) if task is Task.EMBED else None,
        top_n=whole_number(item, "top_n"),
    )


def _dimensions(encoder: Encoder, item: Item) -> int | None:
    wanted = whole_number(item, "dimensions")
    if wanted is not None and wanted > encoder.dimensions:
        raise invalid(f"options.dimensions is {wanted}; {encoder.model.id} has {encoder.dimensions}, ask for fewer")
    return wanted


def _result(encoder: Encoder, call: _Call, task: Task, vectors: Vectors) -> Result:
    if task is Task.RERANK:
        return {"results": ranked(vectors[:-1] @ vectors[-1], call.top_n)}
    if task is Task.CLASSIFY:
        cosines = vectors @ np.stack([encoder.labels[label] for label in call.labels]).T
        found = classified(cosines, call.labels, encoder.confidence, call.multi_label)
        return {"results": found, "calibrated": encoder.confidence.measured}
    cut = vectors if call.dimensions in (None, encoder.dimensions) else unit(vectors[:, : call.dimensions])
    return {"f32": cut.astype("<f4", copy=False).tobytes(), "shape": list(cut.shape)}


def _told(read: Sequence[Tokens]) -> dict[str, int]:
    return {"tokens": sum(map(len, read)), "truncated": sum(each.cut for each in read)}


def _learn_labels(encoder: Encoder, labels: set[str], batch: Batch) -> None:
    """Embeds the classes not met before: the same ones come with every call."""
    new = sorted(labels - encoder.labels.keys())
    if len(encoder.labels) + len(new) > LABELS_KEPT:
        encoder.labels.clear()
        new = sorted(labels)
    sentences = [encoder.prefixes.query + DESCRIPTION.format(label=label) for label in new]
    vectors, _ = embed(encoder, sentences, batch)
    encoder.labels.update(zip(new, vectors, strict=True))


def _pooling(card: Card, machine: Machine) -> Pooling:
    """The card's, else what the model's own 1_Pooling/config.json says. Raises WorkerError `invalid_config`."""
    if card.pooling is not None:
        return card.pooling
    found = machine.placed(card)
    file = found.folder / "1_Pooling" / "config.json" if found else None
    if file is not None and file.is_file():
        said = json.loads(file.read_text(encoding="utf-8"))
        ways = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
        named = [way for way, name in ways.items() if said.get(name) or said.get("pooling_mode") == way]
        if len(named) == 1:
            return cast(Pooling, named[0])
    raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: neither its card nor its files say how to pool (mean or cls)")
