"""Reads a set's cheap answers as the judge reads replies, with the evidence about them; it weighs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import numpy as np
from routing_embedding import Shelf
from routing_sets import LOCAL, Floats, Indices, Table, UnreadableSet

from orchestrator.core.quality import demands, traits
from orchestrator.core.quality.judge import judge
from orchestrator.core.reading import answers
from orchestrator.core.types import Message, Reply, Request
from registry.schema import Task, Usage

NEAREST = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One set's cheap answers: (n, TRAITS), labels in [0, 1], and each kind of evidence, NaN where there is none.
    `agreement` is with all other local models, `agreement_one` with the first of them."""

    name: str
    traits: Floats
    cap: Floats
    """1 where no check of the text found a broken promise."""
    label: Floats
    keys: tuple[str, ...]
    agreement: Floats
    agreement_one: Floats
    relevance: Floats
    dealt: Floats
    """Relevance of the answer to the next query of the set: what a reply about something else looks like."""
    vectors: Floats

    def __len__(self) -> int:
        return len(self.label)

    @property
    def base(self) -> float:
        return float(self.label.mean())

    def take(self, rows: Indices) -> Answers:
        parts = ("traits", "cap", "label", "agreement", "agreement_one", "relevance", "dealt", "vectors")
        taken = {name: getattr(self, name)[rows] for name in parts}
        return replace(self, keys=tuple(self.keys[row] for row in rows), **taken)


def answers_of(table: Table, cache: Path, say: Callable[[str], None] | None = None) -> Answers:
    """Reads a set as the judge would read each of its answers."""
    if table.weak_answers is None or table.weak is None:
        raise UnreadableSet(f"{table.name} has no weak outputs or no labels: the calibration needs both")
    read, finals, caps = [], [], []
    for ask, text in zip(table.queries, table.weak_answers, strict=True):
        asked = replace(demands.read(ask), closed=True)
        read.append(traits.traits(asked, ask, text, text.split()))
        caps.append(_cap(ask, text))
        finals.append(traits.final_of(asked, text))
    shelf = Shelf((*table.queries, *table.weak_answers), cache, say)
    asks, said = shelf.of(table.queries), shelf.of(table.weak_answers)
    return Answers(
        name=table.name,
        traits=np.array(read),
        cap=np.array(caps),
        label=np.clip(table.weak, 0, 1),
        keys=table.split_keys,
        agreement=_agreement(table, finals, None),
        agreement_one=_agreement(table, finals, 1),
        relevance=np.asarray((1 + (asks * said).sum(axis=1)) / 2, dtype=np.float64),
        dealt=np.asarray((1 + (asks * np.roll(said, 1, axis=0)).sum(axis=1)) / 2, dtype=np.float64),
        vectors=np.asarray(asks, dtype=np.float64),
    )


def _cap(ask: str, text: str) -> float:
    messages = (Message(role="user", content=ask),)
    request = Request(id=UUID(int=0), task=Task.GENERATE, messages=messages)
    return math.prod(judge(request, Reply(usage=Usage(), text=text)).signals.values())


def _agreement(table: Table, finals: Sequence[str], most: int | None) -> Floats:
    nothing = [math.nan] * len(traits.AGREEMENTS)
    if table.local_preds is None:
        return np.array([nothing] * len(finals))
    option = table.name == "mmlu_pro"
    others = [table.local_preds[model] for model in LOCAL[table.name][1:]][:most]
    rows = zip(finals, *others, strict=True)
    found = (
        traits.agreement_of(final, [answers.normalised(pred) for pred in preds], option=option)
        for final, *preds in rows
    )
    return np.array([nothing if each is None else each for each in found])


def neighbours_of(known: Answers, asked: Answers, *, same: bool) -> Floats:
    """Share of the NEAREST labelled queries of the same set that the model answered well; rows of one split key
    never count for each other."""
    close = asked.vectors @ known.vectors.T
    if same:
        keys = np.array(known.keys)
        close[np.array(asked.keys)[:, None] == keys[None, :]] = -2
    nearest = np.argpartition(-close, NEAREST, axis=1)[:, :NEAREST]
    return np.asarray(known.label[nearest].mean(axis=1))
