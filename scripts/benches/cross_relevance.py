"""Measures a cross-encoder's relevance: how its scores part replies from replies dealt to the wrong ask. Needs weights.

Used by `scripts/train-quality --models DIR`: its curve goes beside the embedder's into the quality artefact, and a
judge then reads that model's scores by it instead of taking them at their word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from routing_sets import Floats, Table

from orchestrator.core.quality.judge import CROSS_ENCODERS
from registry import weights
from registry.load import load
from registry.schema import Task
from workers import rerank
from workers.modality import Batch, Item, Machine, WorkerError

MOST_PAIRS = 300
"""Of each set, evenly spaced."""
LONGEST_CHARACTERS = 4_000


def scored(
    models_dir: Path, tables: Sequence[Table], say: Callable[[str], None]
) -> Mapping[str, list[tuple[Floats, Floats]]]:
    """Card → per set the relevance of each reply to its own ask, and to the next one's. Only models that are there."""
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for name in CROSS_ENCODERS:
        card = load().get(name)
        if weights.placed(card, models_dir) is None:
            say(f"{name} is not in {models_dir}: its relevance is not measured")
            continue
        model = rerank.load(card, Machine(models_dir=models_dir))
        found[name] = [_of(model, table, say) for table in tables]
    return found


def _of(model: object, table: Table, say: Callable[[str], None]) -> tuple[Floats, Floats]:
    rows = np.unique(np.linspace(0, len(table.queries) - 1, min(MOST_PAIRS, len(table.queries))).astype(int))
    answers = table.weak_answers or ()
    pairs = [(table.queries[row], answers[row], answers[row - 1]) for row in rows]
    say(f"{table.name}: {len(pairs)} asks, each with its reply and another's")
    both = np.array([_scores(model, ask, (own, dealt)) for ask, own, dealt in pairs])
    return both[:, 0], both[:, 1]


def _scores(model: object, ask: str, texts: tuple[str, str]) -> tuple[float, float]:
    """By position: a reply without a letter is as far as can be."""
    cut = tuple(text[:LONGEST_CHARACTERS] or "…" for text in texts)
    (told,) = rerank.infer(model, Batch(task=Task.RERANK, items=(Item(texts=cut, query=ask[:LONGEST_CHARACTERS]),)))  # type: ignore[arg-type]
    if isinstance(told, WorkerError):
        raise told
    by_index = {each["index"]: each["score"] for each in told["results"]}
    return by_index[0], by_index[1]
