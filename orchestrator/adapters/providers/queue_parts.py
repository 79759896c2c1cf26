"""Cuts a call for many texts into parts that travel alone and joins their replies again; it sends nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.core.types import Call, Reply
from registry.schema import Task, Usage

BYTES_PER_TOKEN = 4  # of UTF-8, as a guess: what counts is that a long text weighs more than a short one
TOKENS_PER_TEXT = 2  # the special tokens around each
CUTTABLE = frozenset({Task.EMBED, Task.RERANK, Task.SENTIMENT, Task.TOXICITY, Task.CLASSIFY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Sized:
    """A call, or a part of one, and about how many tokens a model reads of it."""

    call: Call
    tokens: int


def cut(call: Call, most_tokens: int, tokens_per_text: int | None = None) -> list[Sized]:
    """Parts of about `most_tokens` each, texts in order; one part where a task needs its input whole.

    `tokens_per_text`: what the model reads of a text at most. The `query` of embed, whose vector is the last row,
    goes with the last part; every part of a rerank has it.
    """
    weights = [min(_tokens(text), tokens_per_text or _tokens(text)) * _times(call) for text in call.texts]
    if call.task is Task.RERANK:
        weights = [weight + _tokens(call.query or "") for weight in weights]
    if call.task not in CUTTABLE or sum(weights) <= most_tokens:
        return [Sized(call=call, tokens=sum(weights))]
    groups = list(_groups(weights, most_tokens))
    query = call.query if call.task is Task.RERANK else None
    parts = [
        Sized(
            call=replace(call, texts=call.texts[group.start : group.stop], query=query),
            tokens=sum(weights[i] for i in group),
        )
        for group in groups
    ]
    parts[-1] = replace(parts[-1], call=replace(parts[-1].call, query=call.query))
    return parts


def joined(call: Call, replies: Sequence[Reply], texts: Sequence[int]) -> Reply:
    """One reply out of those of all parts; `texts` says how many each part had. Raises nothing: shapes were checked
    where replies are read."""
    if len(replies) == 1:
        return replies[0]
    usage = Usage(
        input_tokens=sum(reply.usage.input_tokens for reply in replies),
        output_tokens=sum(reply.usage.output_tokens for reply in replies),
    )
    data, notes = _joined_data(call, replies, texts), _joined_notes(replies)
    return Reply(usage=usage, data=data, timings_ms=_joined_timings(replies), notes=notes)


def _joined_notes(replies: Sequence[Reply]) -> dict[str, Any]:
    """Counts add up; what is said of one part's scores holds for all."""
    notes: dict[str, Any] = {}
    for reply in replies:
        for name, told in reply.notes.items():
            notes[name] = told if isinstance(told, bool) else notes.get(name, 0) + told
    return notes


def _joined_data(call: Call, replies: Sequence[Reply], texts: Sequence[int]) -> Any:
    if call.task is Task.EMBED:
        vectors = np.concatenate([reply.data for reply in replies])
        vectors.setflags(write=False)
        return vectors
    if call.task is Task.RERANK:
        return _merged(replies, texts, call.options.top_n)
    return [found for reply in replies for found in reply.data]


def _merged(replies: Sequence[Reply], texts: Sequence[int], top_n: int | None) -> list[dict[str, Any]]:
    starts = np.cumsum([0, *texts])
    found = [
        {**each, "index": each["index"] + int(start)}
        for reply, start in zip(replies, starts[:-1], strict=True)
        for each in reply.data
    ]
    return sorted(found, key=lambda each: -each["score"])[:top_n]  # stable: equal scores stay in the order of texts


def _joined_timings(replies: Sequence[Reply]) -> dict[str, float]:
    """Waits overlap, so the longest counts; work adds up."""
    names = {name for reply in replies for name in reply.timings_ms}
    return {
        name: (max if name == "queue_wait" else sum)(reply.timings_ms.get(name, 0.0) for reply in replies)
        for name in names
    }


def _groups(weights: Sequence[int], most: int) -> Iterator[range]:
    start, total = 0, 0
    for index, weight in enumerate(weights):
        if index > start and total + weight > most:
            yield range(start, index)
            start, total = index, 0
        total += weight
    yield range(start, len(weights))


def _tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size // BYTES_PER_TOKEN + TOKENS_PER_TEXT


def _times(call: Call) -> int:
    """An entailment model reads each text once per label."""
    return max(1, len(call.options.labels)) if call.task is Task.CLASSIFY else 1
