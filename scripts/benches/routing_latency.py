"""Times one decision in this process on one thread, with and without MiniLM; decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from routing_embedding import encoder

from orchestrator.core.reading import predict
from registry.schema import Task
from workers import embeddings
from workers.runtime.running import Batch

QUERIES, WARM_UP = 300, 20


def measure(queries: Sequence[str], artefact: Path, cache: Path) -> dict[str, dict[str, float]]:
    """p50 and p95 in ms; `bare` is the features and the score, the other has one embedding before them."""
    router, model = predict.load(artefact.read_bytes()), encoder(cache)
    weak, strong = predict.ability(0.5), predict.ability(0.8)
    chosen = [queries[i] for i in np.random.default_rng(0).permutation(len(queries))[: QUERIES + WARM_UP]]

    def bare(text: str) -> None:
        predict.gain(router.read(text), weak=weak, strong=strong)

    def embedded(text: str) -> None:
        vectors, _ = embeddings.embed(model, [text], Batch(task=Task.EMBED, items=()))
        predict.gain(router.read(text, vectors[0]), weak=weak, strong=strong)

    return {"without embedding": _times(bare, chosen), "with embedding": _times(embedded, chosen)}


def _times(decide: Callable[[str], None], texts: Sequence[str]) -> dict[str, float]:
    taken = []
    for text in texts:
        began = time.perf_counter()
        decide(text)
        taken.append((time.perf_counter() - began) * 1000)
    low, high = np.quantile(taken[WARM_UP:], [0.5, 0.95])
    return {"p50": float(low), "p95": float(high)}
