"""Out-of-fold scores of the learned in-domain router, kept on disk for other benches; grades nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from routing_regimes import before_call, out_of_fold
from routing_sets import Floats, Table
from routing_views import views

HERE = Path(__file__).resolve().parent
SOURCES = ("routing_fit.py", "routing_views.py", "routing_regimes.py", "../../orchestrator/core/reading/lexical.py")
"""What decides the scores: when one of these changes, scores kept before are not used."""


def keep(scores: Mapping[str, Floats], tables: Mapping[str, Table], cache: Path) -> None:
    """Writes each set's scores under a digest of its rows, its labels and the code that made them."""
    cache.mkdir(parents=True, exist_ok=True)
    for name, values in scores.items():
        np.save(_file(tables[name], cache), values)


def scores_of(table: Table, cache: Path, say: Callable[[str], None], jobs: int = 1) -> Floats:
    """The set's kept scores, or the same computed now (a minute for a large set, more where vectors are missing)."""
    file = _file(table, cache)
    if file.exists():
        return np.asarray(np.load(file), dtype=np.float64)
    say(f"{table.name}: scores are not in {cache}, so they are learned now")
    scores = out_of_fold(table, views({table.name: table}, cache, say, jobs)[table.name].before_answer(), before_call)
    keep({table.name: scores}, {table.name: table}, cache)
    return scores


def _file(table: Table, cache: Path) -> Path:
    digest = hashlib.sha256(repr((table.name, table.ids, table.queries, table.gain.tolist())).encode())
    for source in SOURCES:
        digest.update((HERE / source).read_bytes())
    return cache / f"oof-{table.name}-{digest.hexdigest()[:16]}.npy"
